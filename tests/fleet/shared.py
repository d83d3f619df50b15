"""What a test and the processes of its fleet have in common; a page of memory among it."""

from __future__ import annotations

import struct
import time
from dataclasses import replace
from mmap import mmap
from pathlib import Path
from typing import Any

from jwt_middleware.stores.contract import STORE_VERBS

ISSUER, AUDIENCE = "https://login.example", "https://api.example"
LIFETIME = 7200  # seconds of an access token: what refuses it here is never its age
WORK, WORKS = "/work", 0.05  # a path, and the seconds that the application waits there
TIME_OUT = 0.5  # seconds for a question about ended grants: `HEARING`
VERBS = STORE_VERBS

_NUMBER = struct.Struct("d")
_AHEAD, _HANGS = 0, _NUMBER.size


class Page:
    """Two numbers: how far the clock is ahead, and for how long the store hangs."""

    def __init__(self, path: str | Path) -> None:
        with Path(path).open("r+b") as file:
            self._memory = mmap(file.fileno(), 0)

    @classmethod
    def new(cls, path: Path) -> Page:
        path.write_bytes(bytes(2 * _NUMBER.size))
        return cls(path)

    def _read(self, offset: int) -> float:
        found: float = _NUMBER.unpack_from(self._memory, offset)[0]
        return found

    def clock(self) -> float:
        """Return the time of the whole fleet."""
        return time.time() + self.ahead()

    def ahead(self) -> float:
        """Return the seconds by which it is ahead of the machine's, and of an engine's."""
        return self._read(_AHEAD)

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        _NUMBER.pack_into(self._memory, _AHEAD, self.ahead() + seconds)

    @property
    def hangs(self) -> float:
        """Seconds after which a question to a store that hangs is given up; 0: it answers."""
        return self._read(_HANGS)

    @hangs.setter
    def hangs(self, seconds: float) -> None:
        _NUMBER.pack_into(self._memory, _HANGS, seconds)


def shift(store: Any, page: Page) -> None:
    """Let an engine, which has a clock of its own, go by the time of the fleet."""
    match type(store).__name__:
        case "PostgresStore" | "AsyncPostgresStore":
            store._options = replace(store._options, offset=page.ahead)
        case "RedisStore":
            store._verbs._offset = store._ear._verbs._offset = page.ahead
        case "AsyncRedisStore":
            store._verbs._offset = page.ahead
        case "SQLiteStore":
            pass  # it is given the clock
        case name:
            raise AssertionError(f"by which clock goes {name}?")
