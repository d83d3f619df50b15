"""Grants in the memory of one process: for tests, demos and what may forget its logins."""

import os
from collections.abc import Callable
from dataclasses import replace
from threading import Lock
from typing import cast

from ..values.errors import ConfigurationError
from ..values.model import Grant
from . import Advanced, Cursor, Ended

OVERLAP = 60.0  # seconds that a cursor lies back
PURGE_AT_MOST = 5000  # rows


class MemoryStore:
    """A store that ends with its process. Every verb holds one lock for microseconds."""

    blocking = False  # it never waits, so it may be called in an event loop

    def __init__(self, *, clock: Callable[[], float], retention: float) -> None:
        self._clock = clock
        self._retention = retention
        self._lock = Lock()
        self._pid = os.getpid()
        self._grants: dict[str, Grant] = {}
        self._subjects: dict[str, dict[str, None]] = {}  # ids in the order of their beginning
        self._ended: dict[str, float] = {}  # in the order of their end
        self._admitted: dict[str, float] = {}

    @classmethod
    def from_url(cls, url: str, *, clock: Callable[[], float], retention: float) -> "MemoryStore":
        """Return an empty store; `url` is memory:// and nothing more. Raises ConfigurationError."""
        if url != "memory://":
            raise ConfigurationError("refresh.store", f"{url!r} has options that memory:// has not")
        return cls(clock=clock, retention=retention)

    def check(self) -> None:
        """Do nothing: memory is there."""

    def close(self) -> None:
        """Do nothing: other doors of the same settings may go on."""

    def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        """See `Store.add`."""
        with self._locked():
            if grant.id in self._grants:
                return ()
            self._grants[grant.id] = grant
            self._subjects.setdefault(grant.subject, {})[grant.id] = None
            living = self._living(grant.subject)
            return tuple(
                one.id
                for one in living[: max(len(living) - limit, 0)]
                if self._end(one.id, "limit")
            )

    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        """See `Store.advance`."""
        with self._locked():
            grant = self._grants.get(grant_id)
            now = self._clock()
            if (
                grant is None
                or source == target
                or grant.generation != source
                or grant.ended_at is not None
                or now >= grant.expires_at
            ):
                return Advanced(False, grant)
            grant = replace(grant, generation=target, parent=parent, rotated_at=now)
            self._grants[grant_id] = grant
            return Advanced(True, grant)

    def end(self, grant_id: str, reason: str) -> bool:
        """See `Store.end`."""
        with self._locked():
            return self._end(grant_id, reason)

    def end_subject(self, subject: str, reason: str) -> tuple[str, ...]:
        """See `Store.end_subject`."""
        with self._locked():
            return tuple(one.id for one in self._living(subject) if self._end(one.id, reason))

    def grants(self, subject: str) -> tuple[Grant, ...]:
        """See `Store.grants`."""
        with self._locked():
            return tuple(reversed(self._living(subject)))

    def ended(self, cursor: Cursor | None) -> Ended:
        """See `Store.ended`."""
        with self._locked():
            now = self._clock()
            since = now - self._retention if cursor is None else cast("float", cursor)
            found: list[str] = []
            for grant_id, ended_at in reversed(self._ended.items()):
                if ended_at < since:
                    break
                found.append(grant_id)
            return Ended(tuple(found), now - OVERLAP)

    def admit(self, key: str, until: float) -> bool:
        """See `Store.admit`."""
        with self._locked():
            if self._admitted.get(key, 0.0) > self._clock():
                return False
            self._admitted[key] = until
            return True

    def purge(self, now: float) -> int:
        """See `Store.purge`."""
        with self._locked():
            dead = [
                one
                for one in self._grants.values()
                if now >= one.expires_at
                and (one.ended_at is None or now >= one.ended_at + self._retention)
            ][:PURGE_AT_MOST]
            for grant in dead:
                del self._grants[grant.id]
                self._ended.pop(grant.id, None)
                ids = self._subjects[grant.subject]
                del ids[grant.id]
                if not ids:
                    del self._subjects[grant.subject]
            old = [key for key, until in self._admitted.items() if now >= until][:PURGE_AT_MOST]
            for key in old:
                del self._admitted[key]
            return len(dead) + len(old)

    def _locked(self) -> Lock:
        if os.getpid() != self._pid:
            raise ConfigurationError(
                "refresh.store",
                "memory:// is one process's own, and this one was forked from it: each worker "
                "would have grants that no other knows",
                "use sqlite:///grants.db, or one worker",
            )
        return self._lock

    def _living(self, subject: str) -> list[Grant]:
        now = self._clock()
        rows = (self._grants[grant_id] for grant_id in self._subjects.get(subject, ()))
        return [one for one in rows if one.ended_at is None and now < one.expires_at]

    def _end(self, grant_id: str, reason: str) -> bool:
        grant = self._grants.get(grant_id)
        if grant is None or grant.ended_at is not None:
            return False
        now = self._clock()
        self._grants[grant_id] = replace(grant, ended_at=now, end_reason=reason)
        self._ended[grant_id] = now
        return True
