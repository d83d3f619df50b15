"""Every example starts as its first lines say, and the curl lines it prints do what it promises."""

import ast
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
PATIENCE = 30  # seconds until a server on a busy machine answers


def promised(example: Path) -> list[tuple[str, int, bool]]:
    """Return what an example's first lines promise: path, status, and whether a token is sent."""
    text = ast.get_docstring(ast.parse(example.read_text("utf-8"))) or ""
    found = re.findall(r"^curl -i http://127.0.0.1:8000(/\w*)(.*)# (\d{3})", text, re.MULTILINE)
    return [(path, int(status), "$TOKEN" in options) for path, options, status in found]


@contextmanager
def started(example: Path, log: Path) -> Generator[list[str]]:
    """Start an example in a process of its own; yield the curl lines that it prints."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [sys.executable, str(example)],
            env=os.environ | {"PORT": str(port)},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            lines: list[str] = []
            while len(lines) < 3:
                line = process.stdout.readline()
                assert line, log.read_text()
                lines += [line] if line.startswith("curl") else []
            wait_for(port)
            yield lines
        finally:
            process.terminate()


def wait_for(port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "the server doesn't listen"
            time.sleep(0.02)
        else:
            return


def status_of(line: str) -> int:
    """Run a curl line and return the status; where there is no curl, send the same by hand."""
    if shutil.which("curl"):
        command = [*shlex.split(line), "--silent", "--show-error", "--noproxy", "*"]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return int(answer.split()[1])
    return by_hand(line)


def by_hand(line: str) -> int:
    _, _, url, *options = shlex.split(line)
    headers = dict(option.split(": ", 1) for option in options[1::2])
    there = urlsplit(url)
    connection = HTTPConnection(there.hostname or "", there.port, timeout=PATIENCE)
    try:
        connection.request("GET", there.path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("example", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_an_example_does_what_its_first_lines_say(example: Path, tmp_path: Path) -> None:
    with started(example, tmp_path / "log") as lines:
        shown = [
            (urlsplit(line.split()[2]).path, status_of(line), "Bearer" in line) for line in lines
        ]
        assert shown == promised(example)
        assert [by_hand(line) for line in lines] == [401, 200, 403]
        assert by_hand(lines[0].replace("/notes", "/")) == 200  # the public route


def test_there_is_an_example_for_each_way_to_run() -> None:
    names = {"fastapi_app", "flask_app", "plain_asgi", "plain_wsgi", "starlette_app"}
    assert {path.stem for path in EXAMPLES} == names
