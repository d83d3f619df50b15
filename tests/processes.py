"""Servers and programs in processes of their own: what is the same about all of them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from secrets import randbelow
from typing import Any, ClassVar, Self

import pytest

from .waiting import PATIENCE

HOST = "127.0.0.1"
ROOT = Path(__file__).parent.parent
_PORTS = range(11000, 32768)
# What a server begins with that must not serve as the administrator; empty for everybody else.
_SETPRIV = ("/usr/bin/setpriv", "--reuid=www-data", "--regid=www-data", "--clear-groups")
AS_ITS_USER = _SETPRIV if os.geteuid() == 0 else ()


def on(*names: str) -> pytest.MarkDecorator:
    """Run a test with each of these servers, and all tests of one server in one process."""
    params = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in names]
    return pytest.mark.parametrize("server", params, indirect=True, scope="module")


def free_port(*above: int) -> int:
    """Return a port that nobody listens at, as at those that are so much above it.

    Nobody gets it before the server that it is for: it is none of those that Linux gives to
    connections and to `bind(0)`, 32768 and more, and until this process ends it holds the UDP ports
    of the same numbers, so that no other test finds it free.
    """
    while True:
        port = _PORTS.start + randbelow(len(_PORTS) - max(above, default=0))
        with ExitStack() as tried, suppress(OSError):
            claims = []
            for one in (port, *(port + more for more in above)):
                tried.enter_context(socket.create_server((HOST, one)))
                claim = tried.enter_context(socket.socket(type=socket.SOCK_DGRAM))
                claim.bind((HOST, one))
                claims.append(claim)
            for claim in claims:
                claim.detach()
            return port


@contextmanager
def running(command: Sequence[str], port: int, log: Path, **options: Any) -> Generator[None]:
    """Run a program until the block is left; give it when it listens."""
    with log.open("wb") as said:
        process = subprocess.Popen[bytes](command, stdout=said, stderr=said, **options)
    try:
        wait_open(port, process, log)
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


def started(
    command: Sequence[str], port: int, log: Path, **variables: str
) -> subprocess.Popen[bytes]:
    """Start a module, or a program by its path, with arguments that may name the port.

    What it says goes to a file.

    It leads a group of processes, so that all it starts can be ended with it.
    """
    module, *arguments = (part.format(port=port) for part in command)
    program = [module] if os.sep in module else [sys.executable, "-m", module]
    with log.open("wb") as said:
        return subprocess.Popen(
            [*program, *arguments],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_open(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a process listens. Nothing is asked: the first request is the test's."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with suppress(OSError):
            return socket.create_connection((HOST, port)).close()
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


class Process:
    """A program, `python -m MODULE NAME ...`, with which a test talks in lines of JSON."""

    module: ClassVar[str]

    def __init__(self, program: str, *args: object) -> None:
        command = [sys.executable, "-W", "error", "-m", self.module, program]
        self._process = subprocess.Popen(
            [*command, *map(str, args)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def hear(self) -> Any:
        """Return the next thing that the program says; None: it has said all."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line.endswith("\n") else None

    def tell(self, what: object) -> None:
        """Say something to a program that waits for it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps(what)}\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        self._process.kill()

    def wait(self) -> int:
        return self._process.wait(60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.kill()
