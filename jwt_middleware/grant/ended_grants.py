"""Which grants have ended, known without a question per request. Pure: time in, a plan out.

The state has an age, counted from the start of the last completed sync. Up to `every` nothing is
asked; up to twice that, one request asks for all; older, every request waits for an answer. While
the store fails, one request tries again after each back-off, and the others go on with what is
known. After an idle time nothing is known of the store, so that every request asks.

An end must be remembered for as long as any access token of the grant can live, and another process
may have issued it, for longer than this one would. So what is known reaches back for tokens of some
life, and a token that lives longer waits until more has been read. It only ever grows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

LEASE = 1.0  # seconds after which a sync that never came back is taken for lost
OVERTAKEN = 1.0  # seconds: requests are planned in another order than they arrived
SYNC_AHEAD = 10.0  # seconds that a sync may begin after a request that waits for it
BACK_OFF = (1.0, 2.0, 4.0, 5.0)  # seconds, after the first, second ... failure
LONGEST = 86400.0  # seconds that an access token of ours can live: `Refresh.access_lifetime`


# What a request does about ended grants.
Plan: TypeAlias = Literal[
    "go on",
    "ask",
    "refuse",  # what is known is older than the limit, and the store doesn't answer
]


class EndedGrants:
    """The ids of grants that ended within the life of any access token that was seen: a small set.

    Args:
        every: seconds between questions to the store.
        limit: seconds without an answer after which what is known is too old.
        life: seconds that access tokens live, as far as this process knows at its beginning.
        margin: seconds beyond that for which an end is remembered: the leeway, and for clocks.
        passing: whether tokens pass when what is known is too old.

    Shared by threads without a lock: every step is one assignment or one dictionary operation, and
    a lost race costs a question more, never an answer.
    """

    __slots__ = (
        "_every",
        "_failures",
        "_lease",
        "_life",
        "_limit",
        "_margin",
        "_next_try",
        "_open",
        "cursor",
        "ids",
        "reach",
        "synced_at",
    )

    def __init__(
        self, *, every: float, limit: float, life: float, margin: float, passing: bool
    ) -> None:
        self._every = float(every)  # as the clock: beside a whole number it takes twice as long
        self._limit = limit
        self._life = life  # that is asked for
        self._margin = margin
        self._open = passing
        self.ids: dict[str, float] = {}
        self.reach = 0.0  # for tokens of this life what is known reaches back far enough
        self.reset()

    def reset(self) -> None:
        """Forget when the last sync was, as a forked child does. An end is for ever, and kept."""
        self.cursor: object | None = None
        self.synced_at = float("-inf")
        self._lease = float("-inf")
        self._next_try = float("-inf")
        self._failures = 0

    def __contains__(self, grant_id: str) -> bool:
        return grant_id in self.ids

    def lets_pass(self, grant_id: str, life: float, now: float) -> bool:
        """Say whether a grant is known not to have ended, so that there is nothing to plan."""
        return (
            grant_id not in self.ids
            and 0 <= now - self.synced_at < self._every
            and life <= self.reach
        )

    def add(self, grant_ids: Iterable[str], now: float) -> None:
        """Remember ends, learnt from the store or made by this process itself."""
        for grant_id in grant_ids:
            self.ids.setdefault(grant_id, now)

    def question(self) -> tuple[object | None, float]:
        """Return what to ask the store: `ended(cursor, horizon)`."""
        return self.cursor, self._life + self._margin

    def plan(self, now: float, life: float) -> Plan:
        """Say what a request does at `now`, with a token that lives for `life` seconds.

        To ask may mean to take the lease for all.
        """
        if life > self._life:
            self._life = life
            self.cursor = None
        age = now - self.synced_at
        # A clock that was set back makes the age negative: then nothing is known about it, and what
        # was forgotten as too old by that clock is asked for again.
        if age < -OVERTAKEN:
            self.cursor = None
        if self.is_resting(now):
            return self.without_sync(now, life)
        if life > self.reach:
            return "ask"
        if 0 <= age <= self._every and self._every:
            return "go on"
        # A store that hangs must not hold all threads up: while it fails, too, one asks for all.
        if self.is_failing(now) or (0 <= age <= 2 * self._every and self._every):
            # One asks for all. A request that arrived a moment before it, and is planned after it,
            # needs no question of its own.
            if 0 < self._lease - now <= LEASE + OVERTAKEN:
                return self.without_sync(now, life)
            self._lease = now + LEASE
        return "ask"

    def is_resting(self, now: float) -> bool:
        """Say whether a sync has failed just now, so that nobody asks for a while."""
        return 0 < self._next_try - now <= BACK_OFF[-1] + OVERTAKEN

    def is_failing(self, now: float) -> bool:
        """Say whether the last sync failed just now, so that the store is still to be avoided."""
        # Under load a request tries again as soon as the back-off is over, and a new failure is
        # known within a lease. If none is known by then, no request has tried.
        return self._failures > 0 and 0 <= now - self._next_try <= 2 * LEASE

    def without_sync(self, now: float, life: float) -> Plan:
        """Say what to do when the store can't be asked: go on with what is known, for a while."""
        is_enough = life <= self.reach and not self.is_late(now)
        return "go on" if self._open or is_enough else "refuse"

    def is_late(self, now: float) -> bool:
        """Say whether what is known is older than the limit."""
        return not 0 <= now - self.synced_at <= self._limit

    def serves(self, arrival: float) -> bool:
        """Say whether a sync completed meanwhile is good enough for a request of `arrival`."""
        # With `every` at zero only what was asked after the request came may serve it.
        if self.reach < self._life:
            return False
        since = arrival - self._every
        heard = self.synced_at >= since if self._every else self.synced_at > since
        # An answer from the future came before the clock was set back, and says nothing now.
        return heard and self.synced_at <= arrival + SYNC_AHEAD

    def succeeded(
        self,
        started: float,
        asked: tuple[object | None, float],
        grant_ids: Iterable[str],
        cursor: object,
    ) -> None:
        """Take over the answer to a sync that was asked at `started`."""
        if started < self.synced_at - OVERTAKEN:
            # What was learnt in a future that never came grows old from now on.
            self.ids.update(dict.fromkeys(list(self.ids), started))
        self.add(grant_ids, started)
        since, horizon = asked
        if since is None:
            self.reach = max(self.reach, horizon - self._margin)
        # A token that lives longer may have come meanwhile: then all is to be read again.
        self.cursor = cursor if self.reach >= self._life else None
        self.synced_at = started
        self._next_try = float("-inf")
        self._failures = 0
        self._lease = float("-inf")
        self._forget(started)

    def failed(self, now: float) -> None:
        """Take note of a sync that failed: the next is tried after the back-off."""
        self._next_try = now + BACK_OFF[min(self._failures, len(BACK_OFF) - 1)]
        self._failures += 1
        self._lease = float("-inf")

    def _forget(self, now: float) -> None:
        # In the order of their arrival, so that the loop ends at the first young one.
        for grant_id, since in list(self.ids.items()):
            if now - since <= self._life + self._margin:
                return
            self.ids.pop(grant_id, None)
