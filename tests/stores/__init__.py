"""What the tests of stores share: a clock that stands still, grants, and other processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from jwt_middleware.stores import new_grant_id
from jwt_middleware.stores.sqlite import SQLiteStore
from jwt_middleware.values.frozen import FrozenDict
from jwt_middleware.values.model import Grant

ROOT = Path(__file__).parent.parent.parent
NOW = 1_800_000_000.0
RETENTION = 700.0
LIFE = 1000.0


class SetClock:
    """Time that stands still until it is set."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def new_grant(now: float = NOW, **changes: Any) -> Grant:
    """Return a grant that begins now and lives 1,000 seconds."""
    fields: dict[str, Any] = {
        "id": new_grant_id(changes.get("subject", "alice")),
        "subject": "alice",
        "client_id": "web",
        "scope": "read write",
        "claims": FrozenDict(),
        "bound_key": None,
        "generation": 1,
        "parent": None,
        "rotated_at": now,
        "created_at": now,
        "expires_at": now + LIFE,
    }
    return Grant(**(fields | changes))


@contextmanager
def sqlite(path: Path, clock: Any = None, **options: Any) -> Generator[SQLiteStore, None, None]:
    """Open a store, and close it at the end."""
    store = SQLiteStore(path, clock=clock or SetClock(), retention=RETENTION, **options)
    try:
        yield store
    finally:
        store.close()


class Process:
    """A program of `tests.stores.programs` in a process of its own."""

    def __init__(self, program: str, *args: object) -> None:
        command = [sys.executable, "-W", "error", "-m", "tests.stores.programs", program]
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

    def go(self) -> None:
        """Let a program go on that waits."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
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
