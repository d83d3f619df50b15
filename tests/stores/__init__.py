"""What the tests of stores share: a clock that stands still, grants, and other processes."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jwt_middleware.stores import new_grant_id
from jwt_middleware.stores.sqlite import SQLiteStore
from jwt_middleware.values.tokens import FrozenDict, Grant
from tests import processes

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


class Process(processes.Process):
    """A program of `tests.stores.programs` in a process of its own."""

    module = "tests.stores.programs"

    def go(self) -> None:
        """Let a program go on that waits."""
        self.tell("go")
