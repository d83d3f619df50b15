"""The real servers, each a process of its own, with an application that needs one."""

import contextlib
import http.client
import json
import os
import signal
import socket
import sys
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.processes import ROOT, free_port, on, started, wait_open
from tests.rules import refuses
from tests.waiting import PATIENCE
from tests.wrapped import FACTORY, forged

ASGI, WSGI = "tests.servers.asgi_app:app", "tests.servers.wsgi_app:app"
GUNICORN = ("--bind=127.0.0.1:{port}", "--no-control-socket")
COMMANDS = {
    "uvicorn": ("uvicorn", "--port={port}", ASGI),
    "uvicorn-wsproto": ("uvicorn", "--ws=wsproto", "--port={port}", ASGI),
    "hypercorn": ("hypercorn", "--workers=0", "--bind=127.0.0.1:{port}", ASGI),
    "granian-asgi": ("granian", "--interface=asgi", "--port={port}", ASGI),
    "granian-wsgi": ("granian", "--interface=wsgi", "--port={port}", WSGI),
    "gunicorn": ("gunicorn", "--threads=4", *GUNICORN, WSGI),
    "gunicorn-asgi": ("gunicorn", "--worker-class=asgi", *GUNICORN, ASGI),
    "waitress": ("waitress", "--listen=127.0.0.1:{port}", WSGI),
}
# Not among those of every run: it is built from its source, by `make uwsgi`, for `make long`.
UWSGI = (
    *(str(ROOT / ".venv-uwsgi" / "bin" / "uwsgi"), f"--venv={sys.prefix}", "--master"),
    *("--http-socket=127.0.0.1:{port}", f"--module={WSGI}", "--need-app", "--lazy-apps"),
    *("--enable-threads", "--threads=4", "--die-on-term"),
)
ASGI_SERVERS = [name for name, command in COMMANDS.items() if command[-1] == ASGI]
WSGI_SERVERS = [name for name, command in COMMANDS.items() if command[-1] == WSGI]


class Server:
    """One server with its application, from the first connection to the end of its process."""

    def __init__(self, name: str, log: Path, command: Sequence[str] = ()) -> None:
        self.name = name
        self.log = log
        self.notes = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.notes.bind(("127.0.0.1", 0))
        self.notes.settimeout(PATIENCE)
        self.heard: list[str] = []
        self.alive = socket.create_server(("127.0.0.1", 0))
        self.port = free_port()
        self.process = started(
            command or COMMANDS[name],
            self.port,
            log,
            TEST_ISSUER=FACTORY.issuer,
            TEST_AUDIENCE=FACTORY.audience,
            TEST_JWKS=json.dumps(FACTORY.keys.public_jwks()),
            TEST_NOTES=str(self.notes.getsockname()[1]),
            TEST_ALIVE=str(self.alive.getsockname()[1]),
        )

    def wait(self) -> None:
        """Wait until the port is open."""
        wait_open(self.port, self.process, self.log)

    def stop(self) -> None:
        """Ask the server to end, as an operator does."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)

    def kill(self) -> None:
        """End all its processes, whatever they are at."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.notes.close()
        self.alive.close()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def get(self, path: str, headers: dict[str, str] | None = None, *, method: str = "GET") -> Any:
        """Return status, header fields and content of one request."""
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def hear(self, wanted: str) -> None:
        """Wait until the application has told this."""
        while wanted not in self.heard:
            try:
                self.heard.append(self.notes.recv(1000).decode())
            except TimeoutError:
                raise AssertionError(f"{wanted!r} not in {self.heard}") from None
        self.heard.remove(wanted)


@contextlib.contextmanager
def serving(name: str, folder: Path) -> Generator[Server]:
    server = Server(name, folder / "log")
    try:
        server.wait()
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with serving(request.param, tmp_path_factory.mktemp(request.param)) as one:
        yield one


everywhere = on(*COMMANDS)


@everywhere
def test_refusals_arrive_intact_and_the_connection_goes_on(server: Server) -> None:
    bearer = FACTORY.bearer(roles=["editor"])
    with contextlib.closing(server.connect()) as connection:
        connection.connect()
        assert connection.sock is not None
        first = connection.sock.getsockname()
        for method, headers, body, status in (
            ("GET", {}, None, 401),
            ("HEAD", {}, None, 401),
            ("GET", forged(), None, 401),
            ("GET", bearer, None, 200),
            ("HEAD", bearer, None, 200),
            ("GET", {}, None, 401),
        ):
            connection.request(method, "/me", body, headers)
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status == status
            if status == 200:
                assert not content or json.loads(content)["claims"]["roles"] == ["editor"]
                continue
            assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="api"')
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Content-Type"] == "application/json"
            assert int(answer.headers["Content-Length"]) > 0
            if method == "GET":
                assert len(content) == int(answer.headers["Content-Length"])
                assert "error_description" in json.loads(content)
            else:
                assert content == b""
        assert connection.sock is not None
        assert connection.sock.getsockname() == first


@everywhere
def test_a_request_that_is_refused_with_its_body_unread_spoils_no_other(server: Server) -> None:
    with contextlib.closing(server.connect()) as connection:
        for size in (10, 10, 1000):
            connection.request("POST", "/me", b"x" * size)
            answer = connection.getresponse()
            assert (answer.status, answer.read()[:1]) == (401, b"{")
            # A server may close such a connection. What it must not do is to read the body as the
            # next request.
            try:
                connection.request("GET", "/me", headers=FACTORY.bearer())
                answer = connection.getresponse()
            except ConnectionError:
                connection.close()
                continue
            assert (answer.status, json.loads(answer.read())["same"]) == (200, True)


@everywhere
def test_a_refusal_reaches_a_client_that_sends_all_of_its_upload_first(server: Server) -> None:
    # As proxies do: what the client hears while it still sends is a connection that breaks.
    size = 5_000_000
    with contextlib.closing(server.connect()) as connection:
        for _ in range(3):
            connection.request("POST", "/me", b"x" * size, forged())
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status == 401
            assert len(content) == int(answer.headers["Content-Length"])
            assert "error_description" in json.loads(content)


@refuses("RS-03")
@everywhere
def test_two_authorization_fields_are_refused(server: Server) -> None:
    good, other = FACTORY.bearer()["Authorization"], FACTORY.bearer(sub="bob")["Authorization"]
    for second in (other, good, "Basic YTpi"):
        with contextlib.closing(server.connect()) as connection:
            connection.putrequest("GET", "/me")
            connection.putheader("Authorization", good)
            connection.putheader("Authorization", second)
            connection.endheaders()
            assert connection.getresponse().status == 400


@everywhere
def test_a_stream_arrives_in_pieces_and_each_has_its_token(server: Server) -> None:
    with contextlib.closing(server.connect()) as connection:
        connection.request("GET", "/stream", headers=FACTORY.bearer(sub="reader"))
        answer = connection.getresponse()
        assert answer.readline() == b"first reader\n"
        # Only now does the application make the second.
        assert server.get("/go")[0] == 200
        assert answer.readline() == b"second reader\n"
        assert answer.read() == b""
    server.hear("stream closed by reader")


@everywhere
def test_the_application_learns_that_the_client_has_gone(server: Server) -> None:
    with contextlib.closing(server.connect()) as connection:
        connection.request("GET", "/endless", headers=FACTORY.bearer(sub="gone"))
        answer = connection.getresponse()
        assert answer.read(1000) == b"x" * 1000
        answer.close()
    what = "disconnected" if COMMANDS[server.name][-1] == ASGI else "endless closed"
    server.hear(f"{what} by gone")
    assert "nobody stopped me by gone" not in server.heard
    assert server.get("/me", FACTORY.bearer())[0] == 200


@everywhere
def test_what_the_application_raises_is_500_and_the_server_goes_on(server: Server) -> None:
    for _ in range(2):
        status, _, body = server.get("/fail", FACTORY.bearer())
        assert status == 500
        assert b"ZeroDivisionError" not in body
        assert server.get("/me", FACTORY.bearer())[0] == 200


@everywhere
def test_paths_beyond_ascii_are_the_same_paths_everywhere(server: Server) -> None:
    for path in ("/stra%C3%9Fe", "/stra%c3%9fe/", "/stra%C3%9Fe/1"):
        assert server.get(path, FACTORY.bearer(scope="read"))[0] == 403
        assert server.get(path, FACTORY.bearer(scope="admin"))[0] == 200
    # What is no UTF-8 is read in different ways: Bottle reads /%FFadmin as /admin.
    assert server.get("/stra%FFe", FACTORY.bearer(scope="admin"))[0] == 400
    for path in ("/%C5%BE", "/%F0%9F%A6%8A"):
        assert server.get(path)[0] == 401, path
        assert server.get(path, FACTORY.bearer())[0] == 200, path


@on(*WSGI_SERVERS)
def test_a_file_is_sent_whole(server: Server) -> None:
    with contextlib.closing(server.connect()) as connection:
        for _ in range(2):
            connection.request("GET", "/file", headers=FACTORY.bearer())
            answer = connection.getresponse()
            assert answer.read() == (ROOT / "tests/servers/wsgi_app.py").read_bytes()
            # granian has no wrapper of its own.
            expected = "ours" if server.name == "granian-wsgi" else "the server's"
            assert answer.headers["X-Wrapper"] == expected


@on("gunicorn", "waitress")
def test_write_writes(server: Server) -> None:
    assert server.get("/written", FACTORY.bearer())[2] == b"written returned"


@on(*ASGI_SERVERS)
def test_a_background_task_runs_after_the_answer(server: Server) -> None:
    # The task waits for the second request, which is sent when the answer is complete.
    assert server.get("/background", FACTORY.bearer(sub="worker"))[2] == b"answered"
    assert server.get("/go")[0] == 200
    server.hear("background by worker")


@on(*ASGI_SERVERS)
def test_a_websocket_with_a_good_token_talks(server: Server) -> None:
    url = f"ws://127.0.0.1:{server.port}/ws"
    with connect(url, additional_headers=FACTORY.bearer(sub="talker"), proxy=None) as session:
        for text in ("hello", "again"):
            session.send(text)
            assert session.recv(PATIENCE) == f"{text}, talker"
    server.hear("websocket closed by talker")


@on(*ASGI_SERVERS)
def test_a_websocket_without_one_is_refused_by_an_answer(server: Server) -> None:
    url = f"ws://127.0.0.1:{server.port}/ws"
    for headers in ({}, forged()):
        with (
            pytest.raises(InvalidStatus) as refused,
            connect(url, additional_headers=headers, proxy=None),
        ):
            pass
        answer = refused.value.response
        if server.name == "gunicorn-asgi":  # without the extension: a close before the handshake
            assert answer.status_code == 403
            continue
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="api"')
        assert answer.body is not None
        assert "error_description" in json.loads(answer.body)
    assert server.get("/me", FACTORY.bearer())[0] == 200


@pytest.mark.parametrize("name", ASGI_SERVERS)
def test_the_lifespan_of_the_application_begins_and_ends(name: str, tmp_path: Path) -> None:
    with serving(name, tmp_path) as server:  # one of its own: it is stopped
        server.hear("startup by nobody")
        assert json.loads(server.get("/me", FACTORY.bearer())[2])["pool"] == "of the lifespan"
        server.stop()
        server.hear("shutdown by nobody")


def test_a_server_on_trio_ends_at_its_start_and_is_told_why(tmp_path: Path) -> None:
    log, port = tmp_path / "log", free_port()
    command = ("hypercorn", "--workers=0", "--worker-class=trio", "--bind=127.0.0.1:{port}", ASGI)
    variables = {
        "TEST_ISSUER": FACTORY.issuer,
        "TEST_AUDIENCE": FACTORY.audience,
        "TEST_JWKS": json.dumps(FACTORY.keys.public_jwks()),
        "TEST_NOTES": "1",
        "TEST_ALIVE": str(port),
    }
    with socket.create_server(("127.0.0.1", 0)) as alive:
        variables["TEST_ALIVE"] = str(alive.getsockname()[1])
        process = started(command, port, log, **variables)
        try:
            process.wait(PATIENCE)
        finally:
            process.kill()
            process.wait()
    assert (
        "app: the ASGI door needs asyncio, and this server runs it on another event loop (not trio"
        in log.read_text()
    )
