"""Delete what is over, and don't believe a clock that has suddenly gone far ahead.

The store keeps the time that it believes, as a fact. It never goes on faster than twice the time
that `time.monotonic` has measured since, which no setting of the clock changes, and which is the
same for all processes of a machine, also for those that begin later. A machine that begins anew
counts from 0: that is less than the time that has passed, never more.

So where a clock is a month ahead for an hour, grants are deleted that end within the next three
hours. And after a month of rest, with a clock that is right, rows stay for another month. Keys of
proofs are deleted by the clock alone: they are many and last for minutes, and a proof that old is
refused by the same clock.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import time
from collections.abc import Callable
from typing import Final

from .schema import SQLITE_STATEMENTS

DELETED_AT_ONCE: Final = 200  # rows of each kind in one transaction: other writers wait for it
SLACK: Final = 3600.0  # seconds: a clock that was set by an hour is nothing to doubt
FASTEST: Final = 2  # seconds of the clock for one that has passed: so it comes up with the clock
WRITTEN_EVERY: Final = 300.0  # seconds that pass before the believed time is written again


class Purging:
    """The verb `purge` of one store."""

    def __init__(self, clock: Callable[[], float], retention: float) -> None:
        self._clock = clock
        self._retention = retention
        self._has_warned = False

    def purge(self, db: sqlite3.Connection, now: float) -> int:
        """Delete some rows in a transaction, and return how many. See `Store.purge`."""
        clock = min(now, self._clock())
        at = self._believed(db, clock, is_sure=now == math.inf)
        asked = {"at": at, "now": clock, "retention": self._retention, "batch": DELETED_AT_ONCE}
        return sum(
            db.execute(SQLITE_STATEMENTS[one], asked).rowcount
            for one in ("purge", "purge_ends", "purge_keys")
        )

    def _believed(self, db: sqlite3.Connection, clock: float, *, is_sure: bool) -> float:
        """Return the time until which grants that end are over."""
        passed = time.monotonic()
        known, known_at, oldest = db.execute(SQLITE_STATEMENTS["believed"]).fetchone()
        elapsed = math.inf  # since it was written
        if is_sure:
            believed = clock
        elif oldest is None:
            return clock  # there is no grant
        elif known is None:
            believed = min(clock, float(oldest))
        else:
            elapsed = passed - known_at if passed >= known_at else passed
            # A clock that was set back takes nothing of it, else it would be doubted afterwards.
            believed = max(known, min(clock, known + FASTEST * elapsed))
        if elapsed >= WRITTEN_EVERY or passed < known_at:
            for name, value in (("believed", believed), ("believed_at", passed)):
                db.execute(SQLITE_STATEMENTS["set_fact"], {"name": name, "value": value})
        if clock > believed + SLACK:
            self._warn(clock, believed)
        return min(clock, believed + SLACK)

    def _warn(self, clock: float, believed: float) -> None:
        if self._has_warned:
            return
        self._has_warned = True
        logging.getLogger("jwt_middleware").warning(
            "the clock is %.1f days ahead of what the grants' file has seen: is it right? Grants "
            "that expire in these days are kept for now. After a long rest there is nothing to "
            "do; `jwt-middleware grants purge` believes the clock",
            (clock - believed) / 86400,
        )
