"""Refused uploads behind a real nginx: if the connection breaks before the answer, it says 502.

Its users would see an error where their client should have refreshed the token.
"""

import contextlib
import http.client
import os
import shutil
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.processes import free_port, running
from tests.servers.test_servers import COMMANDS, UWSGI, Server
from tests.waiting import PATIENCE
from tests.wrapped import forged

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("nginx")]

SERVERS = {
    name: COMMANDS[name]
    for name in (
        "gunicorn",
        "gunicorn-asgi",
        "granian-asgi",
        "granian-wsgi",
        "hypercorn",
        "uvicorn",
    )
} | {"uwsgi": UWSGI}
SIZES = (60_000, 200_000, 1_000_000, 5_000_000)
TIMES = 8

CONFIGURATION = """
daemon off;
{user}
pid {folder}/pid;
error_log {folder}/errors;
events {{}}
http {{
  access_log off;
  client_max_body_size 20m;
  client_body_temp_path {folder}/bodies;
  proxy_temp_path {folder}/answers;
  fastcgi_temp_path {folder}/1;
  uwsgi_temp_path {folder}/2;
  scgi_temp_path {folder}/3;
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://127.0.0.1:{upstream}; }}
  }}
}}
"""


@contextlib.contextmanager
def nginx(upstream: int, folder: Path) -> Generator[int]:
    """Run nginx in front of a port; give its own."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("no nginx on the PATH: apt-get install nginx-light")
    port = free_port()
    folder.mkdir()
    # Its workers must be able to write where root made the folder.
    user = "user root;" if os.geteuid() == 0 else ""
    configuration = folder / "nginx.conf"
    configuration.write_text(
        CONFIGURATION.format(user=user, folder=folder, port=port, upstream=upstream)
    )
    command = [program, "-p", str(folder), "-c", str(configuration)]
    with running(command, port, folder / "log"):
        yield port


@pytest.fixture(scope="module", params=SERVERS)
def port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    command, folder = SERVERS[request.param], tmp_path_factory.mktemp(request.param)
    if command is UWSGI and not Path(UWSGI[0]).exists():
        pytest.skip("no uWSGI: make uwsgi")
    server = Server(request.param, folder / "log", command)
    try:
        server.wait()
        with nginx(server.port, folder / "nginx") as port:
            yield port
    finally:
        server.kill()


def uploaded(port: int, size: int, headers: dict[str, str]) -> int:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, PATIENCE)) as connection:
        connection.request("POST", "/me", b"x" * size, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status


@pytest.mark.parametrize("size", SIZES)
def test_every_refused_upload_is_answered_401(port: int, size: int) -> None:
    assert [uploaded(port, size, forged()) for _ in range(TIMES)] == [401] * TIMES


def test_two_at_a_time_are_answered_so_as_well(port: int) -> None:
    with ThreadPoolExecutor(2) as pool:
        answers = pool.map(lambda _: uploaded(port, 1_000_000, {}), range(TIMES))
    assert list(answers) == [401] * TIMES
