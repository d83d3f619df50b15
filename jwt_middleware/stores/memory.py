"""Grants in the memory of one process: for tests, demos, and services that may lose logins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from heapq import heappop, heappush
from itertools import takewhile
from os import getpid
from threading import Lock
from typing import cast

from ..values.tokens import Grant
from .contract import PAGE, Advanced, Cursor, Ended, Mark
from .store_options import wrong_store

__all__ = ["MemoryStore"]

PURGE_AT_MOST = 500  # rows of each kind
OTHER_STORE = (
    "memory:// was read with a cursor of another store: all ends that still matter are read again"
)


class MemoryStore:
    """A store whose grants end with the process. Every verb holds one lock for microseconds.

    Args:
        clock: seconds since 1970-01-01 UTC.
        retention: seconds that ends are kept, longer than any access token can live.

    """

    blocking = False  # it never waits, so async code may call it directly

    def __init__(self, *, clock: Callable[[], float], retention: float) -> None:
        self._clock = clock
        self._retention = retention
        self._lock = Lock()
        self._pid: int | None = getpid()
        self._grants: dict[str, Grant] = {}
        self._subjects: dict[str, dict[str, None]] = {}  # ids, the oldest grant first
        self._history = object()  # what a cursor of this store begins with
        self._ended: list[tuple[float, str]] = []  # times and ids, in the order of the ends
        self._forgotten = 0  # ends that were dropped there: the number of the first that is kept
        self._mark: Mark | None = None
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
            begun = max(self._clock(), self._mark.before if self._mark is not None else 0)
            self._grants[grant.id] = replace(grant, created_at=begun)
            self._subjects.setdefault(grant.subject, {})[grant.id] = None
            heappush(self._due, (grant.expires_at, grant.id))
            living = self._living(grant.subject)
            oldest = [one.id for one in living[: max(len(living) - limit, 0)]]
            return tuple(one for one in oldest if self._end(one, "limit"))

    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        """See `Store.advance`."""
        with self._locked():
            grant, now = self._grants.get(grant_id), self._clock()
            if grant is not None and self._mark is not None:
                grant = self._mark.applied(grant)
            if (
                grant is None
                or source == target
                or grant.generation != source
                or grant.bound_key is not None
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
            grant = self._row(grant_id)
            if grant is not None and self._is_current(grant):
                self._grants[grant_id] = replace(grant, last_used_at=self._clock())

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

    def end_before(self, time: float | None) -> Mark | None:
        """See `Store.end_before`."""
        with self._locked():
            now = self._clock()
            before = now if time is None else time
            if before > now:
                return None
            if self._mark is None or self._mark.before < before:
                self._mark = Mark(before, now)
            return self._mark

    def is_living(self, grant_id: str) -> bool:
        """See `Store.is_living`."""
        with self._locked():
            grant = self._row(grant_id)
            return grant is not None and grant.ended_at is None

    def ended(self, cursor: Cursor | None, horizon: float) -> Ended:
        """See `Store.ended`. A cursor is this store's history and the number of the next end.

        Without one, the answer begins with the first end of the last `horizon` seconds, and has all
        later ones: where a clock was set back, they have earlier times.
        """
        with self._locked():
            history, number = cast("tuple[object, int]", cursor or (None, 0))
            begin = max(number - self._forgotten, 0)
            if history is not self._history:
                since = self._clock() - horizon
                times = (place for place, (at, _) in enumerate(self._ended) if at >= since)
                begin = next(times, len(self._ended))
            end = min(begin + PAGE, len(self._ended))
            return Ended(
                tuple(grant_id for _, grant_id in self._ended[begin:end]),
                (self._history, self._forgotten + end),
                end < len(self._ended),
                self._mark,
                () if cursor is None or history is self._history else (OTHER_STORE,),
            )

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
            now = min(now, self._clock())
            return self._purge_grants(now) + self._purge_keys(now) + self._purge_ends(now)

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
        return count

    def _purge_ends(self, now: float) -> int:
        first = self._ended[:PURGE_AT_MOST]
        count = len(list(takewhile(lambda end: end[0] + self._retention <= now, first)))
        del self._ended[:count]
        self._forgotten += count
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

    def _row(self, grant_id: str) -> Grant | None:
        grant = self._grants.get(grant_id)
        return grant if grant is None or self._mark is None else self._mark.applied(grant)

    def _is_current(self, grant: Grant) -> bool:
        return grant.ended_at is None and self._clock() < grant.expires_at

    def _living(self, subject: str) -> list[Grant]:
        rows = (self._row(grant_id) for grant_id in self._subjects.get(subject, ()))
        return [one for one in rows if one is not None and self._is_current(one)]

    def _end(self, grant_id: str, reason: str) -> bool:
        grant = self._row(grant_id)
        if grant is None or grant.ended_at is not None:
            return False
        now = self._clock()
        self._grants[grant_id] = replace(grant, ended_at=now, end_reason=reason)
        self._ended.append((now, grant_id))
        return True
