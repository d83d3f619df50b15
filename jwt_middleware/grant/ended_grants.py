"""Which grants have ended, known without asking the store at each request.

Nothing here waits: the functions take the time, and return a plan. The knowledge has an age,
counted from the start of the last completed sync with the store. Up to `every` seconds nothing is
asked. Up to twice that, one request asks for all. Beyond that, every request waits for an answer.
While the store fails, one request tries again after each back-off, and the others go on with what
is known. After an idle time every request asks, because nothing is known about the store.

An end must be remembered for as long as any access token of the grant can live. Another process may
have issued that token, with a longer life than this process would give. So the knowledge reaches
back for tokens of a certain life (`reach`). A token that lives longer waits until older ends have
been read. `reach` only grows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

LEASE = 1.0  # seconds after which a sync without an answer counts as lost
OVERTAKEN = 1.0  # seconds: requests are planned in another order than they arrived
SYNC_AHEAD = 10.0  # seconds that a sync may begin after a request that waits for it
BACK_OFF = (1.0, 2.0, 4.0, 5.0)  # seconds, after the first, second ... failure
LONGEST = 86400.0  # seconds that an access token of ours can live: `Refresh.access_lifetime`


# What a request does, according to the plan.
Plan: TypeAlias = Literal[
    "go on",
    "ask",
    "refuse",  # the knowledge is older than the limit, and the store doesn't answer
]


class EndedGrants:
    """The ids of the grants that ended lately, within the life of an access token: a small set.

    Args:
        every: seconds between questions to the store.
        limit: seconds without an answer after which the knowledge is too old.
        life: seconds that access tokens live, as known at the start of this process.
        margin: seconds that are added to that: the leeway, and the difference between clocks.
        passing: whether tokens pass when the knowledge is too old.

    Threads share it without a lock: every step is one assignment or one dictionary operation. A
    lost race costs one more question to the store, and never a wrong answer.
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
        self._every = float(every)  # as the clock's: to compare with an int takes twice as long
        self._limit = limit
        self._life = life  # the life for which the next sync reads
        self._margin = margin
        self._open = passing
        self.ids: dict[str, float] = {}
        self.reach = 0.0  # the longest token life for which enough is known
        self.reset()

    def reset(self) -> None:
        """Reset the time of the last sync, as a forked child must. The known ends are kept."""
        self.cursor: object | None = None
        self.synced_at = float("-inf")
        self._lease = float("-inf")
        self._next_try = float("-inf")
        self._failures = 0

    def __contains__(self, grant_id: str) -> bool:
        return grant_id in self.ids

    def lets_pass(self, grant_id: str, life: float, now: float) -> bool:
        """Say whether a grant is known not to have ended, so that no plan is needed."""
        return (
            grant_id not in self.ids
            and 0 <= now - self.synced_at < self._every
            and life <= self.reach
        )

    def add(self, grant_ids: Iterable[str], now: float) -> None:
        """Add ends, which the store reported or this process made."""
        for grant_id in grant_ids:
            self.ids.setdefault(grant_id, now)

    def question(self) -> tuple[object | None, float]:
        """Return what to ask the store: `ended(cursor, horizon)`."""
        return self.cursor, self._life + self._margin

    def plan(self, now: float, life: float) -> Plan:
        """Say what a request does at `now`, with a token that lives for `life` seconds.

        A request that asks for all takes the lease.
        """
        if life > self._life:
            self._life = life
            self.cursor = None
        age = now - self.synced_at
        # After a clock was set back the age is negative. Then the age counts as unknown, and ends
        # that were dropped as too old by the earlier time are read again.
        if age < -OVERTAKEN:
            self.cursor = None
        if self.is_resting(now):
            return self.without_sync(now, life)
        if life > self.reach:
            return "ask"
        if 0 <= age <= self._every and self._every:
            return "go on"
        # Only one asks, while the store fails, too: a store that hangs must not hold up all
        # threads.
        if self.is_failing(now) or (0 <= age <= 2 * self._every and self._every):
            # One request asks for all. A request that arrived a moment before that one, and is
            # planned after it, needn't ask again.
            if 0 < self._lease - now <= LEASE + OVERTAKEN:
                return self.without_sync(now, life)
            self._lease = now + LEASE
        return "ask"

    def is_resting(self, now: float) -> bool:
        """Say whether a sync has failed just now, so that no request asks for a while."""
        return 0 < self._next_try - now <= BACK_OFF[-1] + OVERTAKEN

    def is_failing(self, now: float) -> bool:
        """Say whether the last sync failed lately, so that the store should still be avoided."""
        # Under load a request tries again as soon as the back-off is over, and a new failure is
        # known within the lease. If no failure is known by then, no request has tried.
        return self._failures > 0 and 0 <= now - self._next_try <= 2 * LEASE

    def without_sync(self, now: float, life: float) -> Plan:
        """Return the plan when the store can't be asked: go on with the known ends to the limit."""
        is_enough = life <= self.reach and not self.is_late(now)
        return "go on" if self._open or is_enough else "refuse"

    def is_late(self, now: float) -> bool:
        """Say whether the knowledge is older than the limit."""
        return not 0 <= now - self.synced_at <= self._limit

    def serves(self, arrival: float) -> bool:
        """Say whether the last completed sync is new enough for a request of `arrival`."""
        # With `every` at zero, only a sync that began after the request came counts.
        if self.reach < self._life:
            return False
        since = arrival - self._every
        heard = self.synced_at >= since if self._every else self.synced_at > since
        # An answer with a later time than now came before the clock was set back: it doesn't count.
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
            # The clock was set back: the age of what was learnt before counts from now.
            self.ids.update(dict.fromkeys(list(self.ids), started))
        self.add(grant_ids, started)
        since, horizon = asked
        if since is None:
            self.reach = max(self.reach, horizon - self._margin)
        # A token that lives longer may have come meanwhile: then all ends must be read again.
        self.cursor = cursor if self.reach >= self._life else None
        self.synced_at = started
        self._next_try = float("-inf")
        self._failures = 0
        self._lease = float("-inf")
        self._forget(started)

    def failed(self, now: float) -> None:
        """Record a sync that failed: the next one is tried after the back-off."""
        self._next_try = now + BACK_OFF[min(self._failures, len(BACK_OFF) - 1)]
        self._failures += 1
        self._lease = float("-inf")

    def _forget(self, now: float) -> None:
        # The ids are in the order of their arrival, so that the loop stops at the first young one.
        for grant_id, since in list(self.ids.items()):
            if now - since <= self._life + self._margin:
                return
            self.ids.pop(grant_id, None)
