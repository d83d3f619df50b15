"""Servers in processes of their own: what is the same about all of them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from .waiting import PATIENCE

HOST = "127.0.0.1"
ROOT = Path(__file__).parent.parent


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.create_server((HOST, 0)) as free:
        port: int = free.getsockname()[1]
        return port


def started(
    command: Sequence[str], port: int, log: Path, **variables: str
) -> subprocess.Popen[bytes]:
    """Start a module, with arguments that may name the port; what it says goes to a file.

    It leads a group of processes, so that all it starts can be ended with it.
    """
    module, *arguments = (part.format(port=port) for part in command)
    with log.open("wb") as said:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
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
