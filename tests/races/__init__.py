"""Other processes that a test lets race, fork or die: `python -m tests.races.programs NAME ...`."""

from __future__ import annotations

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parent.parent.parent
NOW = 1_800_000_000.0  # as `tests.issuing.Clock` begins
SECRET = sha256(b"the processes of a test share it").digest()


class Process:
    """A program of `tests.races.programs` in a process of its own."""

    def __init__(self, program: str, *args: object) -> None:
        command = [sys.executable, "-W", "error", "-m", "tests.races.programs", program]
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

    def wait(self) -> int:
        return self._process.wait(60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.kill()
