"""Which grants have ended, known without asking the store at each request.

Nothing here waits: the functions take the time, and say what to do. The knowledge has an age,
counted from the start of the last completed sync with the store. Up to `every` seconds nothing is
asked. Beyond that the next sync is due, and up to twice that requests don't wait for it. Beyond
that (after an idle time, in a new or thawed process), every request waits for an answer. While the
store fails, a sync is tried after each back-off, and requests go on with what is known.

An end must be remembered for as long as any access token of the grant can live. Another process may
have issued that token, with a longer life than this process would give. So the knowledge reaches
back for tokens of a certain life (`reach`). A token that lives longer waits until older ends have
been read. `reach` only grows. While many ends are read, page by page, a request asks the store for
its own grant.

A mass end is one mark for the whole store: no grant lives that began before a time. A token doesn't
say when its grant began, but when it was issued itself. Issued well before that time, its grant has
ended. Issued well after the mark was made, its grant lives, because a refresh looks at the mark.
In between the store is asked for the grant, once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from math import inf
from typing import Literal, TypeAlias

from ..stores.contract import Cursor, Mark
from ..values.tokens import octets_of_grant

OVERTAKEN = 1.0  # seconds: requests are looked at in another order than they arrived
BACK_OFF = (1.0, 2.0, 4.0, 5.0)  # seconds, after the first, second ... failure
# Seconds for which a failure counts: longer than the back-off and the next try together. After that
# no request has tried, and the store may be back.
FAILING = 20.0
LONGEST = 86400.0  # seconds that an access token of ours can live: `Refresh.access_lifetime`


# What a request does about ended grants, beside beginning a sync that is due.
Plan: TypeAlias = Literal[
    "go on",
    "wait",  # for a sync
    "ask",  # the store for the grant itself
    "refuse",  # the knowledge is older than the limit, and the store doesn't answer
]


class EndedGrants:
    """The grants that ended lately, within the life of an access token: a small set.

    Args:
        every: seconds between questions to the store.
        limit: seconds without an answer after which the knowledge is too old.
        life: seconds that access tokens live, as known at the start of this process.
        margin: seconds that are added to that: the leeway, and the difference between clocks.
        passing: whether tokens pass when the knowledge is too old.

    Threads share it without a lock: every step is one assignment or one operation on a set. A lost
    race costs one more question to the store, and never a wrong answer.
    """

    __slots__ = (
        "_every",
        "_failed_at",
        "_failures",
        "_former",
        "_is_loading",
        "_life",
        "_limit",
        "_margin",
        "_next_try",
        "_open",
        "_recent",
        "_survivors",
        "_turned_at",
        "cursor",
        "hear",
        "mark",
        "marked_until",
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
        # Two sets by age. When the older one has reached the age at which ends can be forgotten, it
        # is dropped as a whole, and the other takes its place.
        self._recent: set[bytes] = set()
        self._former: set[bytes] = set()
        self._turned_at = -inf
        # Called with the octets of grants that were added, and without any when a new mark came.
        self.hear: Callable[[Collection[bytes]], None] | None = None
        self.mark: Mark | None = None
        self.marked_until = -inf  # a token that was issued before that must be looked at
        self._survivors: set[bytes] = set()  # grants that the mark is known not to have ended
        self.reach = 0.0  # the longest token life for which enough is known
        self.reset()

    def reset(self) -> None:
        """Reset the time of the last sync, as a forked child must. The known ends are kept."""
        self.cursor: Cursor | None = None
        self.synced_at = -inf
        self._is_loading = False  # the answer to a sync has come in part
        self._failed_at = self._next_try = -inf
        self._failures = 0

    def __contains__(self, grant_id: str) -> bool:
        # Mostly nothing has ended lately: then the digest, a fiftieth of a refresh, isn't needed.
        return bool(self._recent or self._former) and self.has(octets_of_grant(grant_id))

    def __len__(self) -> int:
        return len(self._recent) + len(self._former)

    def has(self, octets: bytes) -> bool:
        """Say whether a grant is known to have ended, by its octets."""
        return octets in self._recent or octets in self._former

    def lets_pass(self, octets: bytes, life: float, issued: float, now: float) -> bool:
        """Say whether a grant is known not to have ended, so that no plan is needed.

        `life` and `issued` are those of a token: the seconds that it lives, and its `iat`.
        """
        return (
            octets not in self._recent
            and octets not in self._former
            and 0 <= now - self.synced_at < self._every
            and life <= self.reach
            and issued >= self.marked_until
        )

    def add(self, grant_ids: Iterable[str], now: float) -> None:
        """Add ends, which the store reported or this process made."""
        if not -OVERTAKEN <= now - self._turned_at <= self._life + self._margin:
            # Also after a clock was set back: what was learnt before is kept for as long again.
            self._former, self._recent, self._turned_at = self._recent, set(), now
        octets = [octets_of_grant(one) for one in grant_ids]
        self._recent.update(octets)
        if octets and self.hear is not None:
            self.hear(octets)

    def survived(self, octets: bytes) -> None:
        """Record that the store has said, under the present mark, that a grant lives."""
        self._survivors.add(octets)

    # --- what a request does

    def is_due(self, now: float) -> bool:
        """Say whether a sync should begin."""
        if self.is_resting(now):
            return False
        if not self._every:  # every request waits for its own, unless the store fails
            return self._is_failing(now)
        return not 0 <= now - self.synced_at <= self._every

    def is_due_for_open(self, now: float) -> bool:
        """Say whether a sync should begin for connections that are open, though nobody asks."""
        return self.is_due(now) or not (self._every or self.is_resting(now))

    def refuses_open(self, now: float) -> bool:
        """Say whether connections end because the store hasn't answered for too long."""
        return self._is_failing(now) and self.is_late(now) and not self._open

    def plan(self, now: float, octets: bytes, life: float, issued: float) -> Plan:
        """Say what a request does at `now`, with a token of this life and `iat`, of a grant."""
        if life > self._life:
            self._life = life
            self.cursor = None
        age = now - self.synced_at
        # After a clock was set back the age is negative. Then the age counts as unknown, and ends
        # that were dropped as too old by the earlier time are read again. After a long time only
        # the ends that still matter are read, not all since the cursor.
        if age < -OVERTAKEN or age > self._life + self._margin:
            self.cursor = None
        if self._every and 0 <= age <= 2 * self._every and life <= self.reach:
            return self._by_mark(octets, issued)
        if self._is_failing(now):
            return self.without_sync(now, octets, life, issued)
        return "ask" if self._is_loading else "wait"

    def after_sync(self, octets: bytes, life: float, issued: float) -> Plan:
        """Return the plan when the answer of a sync has come, or its first page."""
        if self._is_loading or life > self.reach:
            return "ask"
        return self._by_mark(octets, issued)

    def _by_mark(self, octets: bytes, issued: float) -> Plan:
        is_clear = issued >= self.marked_until or octets in self._survivors
        return "go on" if is_clear else "ask"

    def without_sync(self, now: float, octets: bytes, life: float, issued: float) -> Plan:
        """Return the plan when the store can't be asked: go on with the known ends to the limit."""
        if self._open:
            return "go on"
        is_enough = life <= self.reach and not self.is_late(now)
        return self._by_mark(octets, issued) if is_enough else "refuse"

    def is_marked(self, issued: float, now: float) -> bool:
        """Say whether a token is so old that its grant has ended by the mark."""
        # After the clock was set back, new tokens have such times, too: the store is asked.
        return (
            self.mark is not None
            and issued < self.mark.before - self._margin
            and now >= self.mark.made_at - self._margin
        )

    def is_late(self, now: float) -> bool:
        """Say whether the knowledge is older than the limit."""
        return not 0 <= now - self.synced_at <= self._limit

    def serves(self, started: float, arrival: float) -> bool:
        """Say whether a sync that started then is new enough for a request of `arrival`."""
        # With `every` at zero, only a sync that began after the request came counts.
        return started >= arrival - self._every if self._every else started > arrival

    def _is_failing(self, now: float) -> bool:
        return 0 <= now - self._failed_at <= FAILING

    def is_resting(self, now: float) -> bool:
        """Say whether a sync has failed just now, so that none begins for a while."""
        return 0 < self._next_try - now <= BACK_OFF[-1] + OVERTAKEN

    # --- a sync: a question, its answer in pages, and success or failure

    def question(self) -> tuple[Cursor | None, float]:
        """Return what to ask the store: `ended(cursor, horizon)`."""
        return self.cursor, self._life + self._margin

    def heard(
        self, grant_ids: Iterable[str], mark: Mark | None, started: float, *, more: bool
    ) -> None:
        """Take a page of the answer to a sync that was asked at `started`."""
        self.add(grant_ids, started)
        if mark is not None and mark != self.mark:
            self._survivors = set()
            self.marked_until = mark.made_at + self._margin
            self.mark = mark
            if self.hear is not None:
                self.hear(())
        self._is_loading = more

    def succeeded(self, started: float, asked: tuple[Cursor | None, float], cursor: Cursor) -> None:
        """Record that the whole answer to a question of `started` was taken."""
        since, horizon = asked
        if since is None:
            self.reach = max(self.reach, horizon - self._margin)
        # A token that lives longer may have come meanwhile: then all ends must be read again.
        self.cursor = cursor if self.reach >= self._life else None
        self.synced_at = started
        self._failed_at = self._next_try = -inf
        self._failures = 0
        if self._survivors and started > self.marked_until + self._life + self._margin:
            self._survivors = set()  # no token lives that is so old

    def failed(self, now: float) -> None:
        """Record a sync that failed: the next one is tried after the back-off."""
        self._next_try = now + BACK_OFF[min(self._failures, len(BACK_OFF) - 1)]
        self._failed_at = now
        self._failures += 1
        self._is_loading = False
