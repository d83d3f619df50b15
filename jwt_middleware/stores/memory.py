"""Grants in the memory of one process: for tests, demos, and services that may lose logins."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import replace
from heapq import heappop, heappush
from os import getpid
from threading import Lock
from typing import cast

from ..values.tokens import Grant
from .contract import Advanced, Cursor, Ended
from .store_options import wrong_store

OVERLAP = 60.0  # seconds that a cursor lies back
PURGE_AT_MOST = 5000  # rows of each kind


class MemoryStore:
    """A store whose grants end with the process. Every verb holds one lock for microseconds."""

    blocking = False  # it never waits, so async code may call it directly

    def __init__(self, *, clock: Callable[[], float], retention: float) -> None:
        self._clock = clock
        self._retention = retention
        self._lock = Lock()
        self._pid: int | None = getpid()
        self._grants: dict[str, Grant] = {}
        self._subjects: dict[str, dict[str, None]] = {}  # ids, the oldest grant first
        self._ended: list[tuple[float, str]] = []  # sorted, also when the clock was set back
        self._admitted: dict[str, float] = {}
        self._due: list[tuple[float, str]] = []  # heaps of what `purge` may delete, and from when
        self._due_keys: list[tuple[float, str]] = []

    @classmethod
    def from_url(cls, url: str, *, clock: Callable[[], float], retention: float) -> MemoryStore:
        """Return an empty store; `url` is memory:// and nothing more. Raises ConfigurationError."""
        if url != "memory://":
            raise wrong_store(f"{url!r} has options that memory:// has not")
        return cls(clock=clock, retention=retention)

    def check(self) -> None:
        """Do nothing: memory needs no check."""

    def close(self) -> None:
        """Do nothing: other middlewares of the same settings may still use it."""

    def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        """See `Store.add`."""
        with self._locked():
            if grant.id in self._grants:
                return ()
            self._grants[grant.id] = grant
            self._subjects.setdefault(grant.subject, {})[grant.id] = None
            heappush(self._due, (grant.expires_at, grant.id))
            living = self._living(grant.subject)
            oldest = [one.id for one in living[: max(len(living) - limit, 0)]]
            return tuple(one for one in oldest if self._end(one, "limit"))

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
            grant = grant.rotated(target, parent, now)
            self._grants[grant_id] = grant
            return Advanced(True, grant)

    def use(self, grant_id: str) -> None:
        """See `Store.use`."""
        with self._locked():
            grant = self._grants.get(grant_id)
            now = self._clock()
            if grant is not None and grant.ended_at is None and now < grant.expires_at:
                self._grants[grant_id] = replace(grant, last_used_at=now)

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

    def ended(self, cursor: Cursor | None, horizon: float) -> Ended:
        """See `Store.ended`."""
        with self._locked():
            now = self._clock()
            start = bisect_left(self._ended, (since(cursor, now, horizon), ""))
            return Ended(tuple(one for _, one in self._ended[start:]), now - OVERLAP)

    def admit(self, key: str, until: float) -> bool:
        """See `Store.admit`."""
        with self._locked():
            if self._admitted.get(key, float("-inf")) > self._clock():
                return False
            self._admitted[key] = until
            heappush(self._due_keys, (until, key))
            return True

    def purge(self, now: float) -> int:
        """See `Store.purge`."""
        with self._locked():
            return self._purge_grants(now) + self._purge_keys(now)

    def _purge_grants(self, now: float) -> int:
        count = 0
        while self._due and self._due[0][0] <= now and count < PURGE_AT_MOST:
            _, grant_id = heappop(self._due)
            grant = self._grants[grant_id]
            if grant.ended_at is not None and now < grant.ended_at + self._retention:
                heappush(self._due, (grant.ended_at + self._retention, grant_id))
                continue
            count += 1
            del self._grants[grant_id]
            ids = self._subjects[grant.subject]
            del ids[grant_id]
            if not ids:
                del self._subjects[grant.subject]
        if count:
            self._ended = [one for one in self._ended if one[1] in self._grants]
        return count

    def _purge_keys(self, now: float) -> int:
        count = 0
        while self._due_keys and self._due_keys[0][0] <= now and count < PURGE_AT_MOST:
            until, key = heappop(self._due_keys)
            # Not if it was admitted again since then: the later time has its own entry.
            if self._admitted.get(key) == until:
                count += 1
                del self._admitted[key]
        return count

    def hand_over(self) -> None:
        """Let the next process that uses it own it: the only child that a server forks."""
        self._pid = None

    def _locked(self) -> Lock:
        if self._pid is None:
            self._pid = getpid()
        if getpid() != self._pid:
            raise wrong_store(
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
        insort(self._ended, (now, grant_id))
        return True


def since(cursor: Cursor | None, now: float, horizon: float) -> float:
    """Return the time from which ends are to be read. A cursor is a time, some seconds back."""
    if cursor is None:
        return now - horizon
    # After the clock was set back, new ends have times before the cursor; so go back, too.
    return min(cast("float", cursor), now - OVERLAP)
