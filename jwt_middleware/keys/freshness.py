"""How fresh one issuer's keys are, and what that means for a request. Pure: time in, a plan out.

Fresh keys serve. Near the end of their lifetime they are fetched again, while they go on serving. A
request with an unknown `kid` fetches the keys at once, but the next fetch for an unknown `kid` must
wait for the cool-down. While the source fails, one request tries again after each back-off, and the
keys serve as stale ones until the limit; then they are gone. A running fetch holds a lease with a
deadline, so a fetch that never ends counts as failed. When the clock is set back, the age of the
keys is unknown: they are stale, not gone, until the next answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, inf
from typing import Literal, TypeAlias

from ..jose.jwk import Key

FETCH_BACK_OFF = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # seconds, after the first, second ... failure
FETCH_AHEAD = 0.8  # of the lifetime, after which the next fetch begins
SPREAD = 0.05  # of the lifetime, more or less, so that many processes don't ask at once
OLD = 60.0  # seconds beyond their lifetime; after that, requests wait for `near` keys to be read
SET_BACK = 10.0  # seconds that a clock may be set back without making the keys' age unknown
JOINED = 1.0  # seconds that requests wait for the fetch of another, while known keys serve

KeysByName = Mapping[str | None, Key]


# What a request does about its issuer's keys.
FetchPlan: TypeAlias = Literal[
    "go on",
    "start",  # a fetch, and go on meanwhile
    "ask",  # begin a fetch, and wait for it
    "join",  # wait for the fetch under way
    "unknown",  # refuse the token: the issuer has no such key, and it is too early to fetch again
    "refuse",  # the source fails: it is unknown whether there is such a key
]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """How long keys of one source serve. All in seconds."""

    stale: float  # beyond their lifetime, while the source doesn't answer
    cool_down: float  # between a fetch and the next one for an unknown `kid`
    lease: float  # that a fetch takes at most
    near: bool = False  # a look is cheap (a file): after an idle time, requests wait for it


class Freshness:
    """The known keys, since when they are known, and the fetch that is running.

    Threads read `keys`, `since` and `due` without a lock: between `since` and `due`, a known key
    serves without a decision. Everything else happens under the lock of `LiveKeys`.
    """

    __slots__ = (
        "_begun_at",
        "_expires_at",
        "_failures",
        "_lease",
        "_limits",
        "_next_try",
        "_stands_alone",
        "due",
        "generation",
        "keys",
        "since",
    )

    def __init__(self, limits: KeyLimits, *, stands_alone: bool = True) -> None:
        self._limits = limits
        self._stands_alone = stands_alone  # without these keys, no request can be served at all
        self.keys: KeysByName = {}
        self.generation = 0  # grows when the keys change, and never shrinks
        self.since = inf
        self.due = -inf
        self._expires_at = -inf  # end of the lifetime, after which the keys are stale
        self._begun_at = -inf  # of the last fetch
        self._failures = 0
        self._next_try = -inf
        self._lease = -inf  # end of the time of the fetch under way

    def reset(self) -> None:
        """Drop the running fetch in a forked child: its thread exists in the parent only."""
        if self._lease > -inf:
            self._lease = -inf
            self._set_due(-inf)

    def plan(self, kid: str | None, now: float) -> FetchPlan:
        """Say what a request that names `kid` does. After "start" and "ask" a lease has begun."""
        if now < self.since < inf:  # the clock was set back
            self._expires_at = min(self._expires_at, now)
            self._set_due(-inf)
            self.since = now - SET_BACK
        if self.is_lost(now):
            self.failed(min(self._lease, now))
        usable = self.is_usable(now)
        if usable and kid in self.keys:
            if now < self.due or self._lease > -inf or self._is_resting(now):
                return "go on"
            self._begin(now)
            return "start"
        # A token without `kid` needs a set of one key; another fetch would hardly bring one.
        if usable and kid is None:
            return "unknown"
        if self._lease > -inf:
            # Tokens of strangers must not block every thread of a server whose known keys are good:
            # only the request that fetches waits for a source that has just failed or is slow.
            is_slow = not self.is_worth_waiting(now) and now - self._begun_at >= JOINED
            return "refuse" if self._failures or is_slow else "join"
        if self._is_resting(now):
            return "refuse"
        is_cooling_down = 0 <= now - self._begun_at < self._limits.cool_down
        if usable and not self._failures and is_cooling_down:
            return "unknown"
        self._begin(now)
        return "ask"

    def is_usable(self, now: float) -> bool:
        """Say whether the keys may serve: they are fresh, or stale within the limit."""
        return self.since <= now < self._gone_at

    def is_worth_waiting(self, now: float) -> bool:
        """Say whether every request may wait: without these keys, none can be served."""
        return self._stands_alone and not self.is_usable(now)

    def is_lost(self, now: float) -> bool:
        """Say whether the running fetch is past its lease."""
        # After a clock was set back, the lease would otherwise never end.
        return self._lease > -inf and not 0 <= self._lease - now <= self._limits.lease + SET_BACK

    def is_old(self, now: float) -> bool:
        """Say whether the last look at the source succeeded, and was long ago."""
        return now - self._expires_at >= OLD and not self._failures

    @property
    def fetched_at(self) -> float | None:
        """Return when the fetch of the known keys began; None: no keys, or they never change."""
        return self.since + SET_BACK if -inf < self.since < inf else None

    @property
    def is_failing(self) -> bool:
        """Say whether the last fetch failed."""
        return self._failures > 0

    def retry_after(self, now: float) -> int:
        """Return the whole seconds until the next try, at least 1."""
        return max(1, ceil(self._next_try - now)) if self._is_resting(now) else 1

    def succeeded(self, begun: float, keys: KeysByName, lifetime: float, spread: float) -> None:
        """Replace the known keys by those of the fetch that began at `begun`.

        `spread` is a random number from 0 to 1.
        """
        if keys is not self.keys:
            self.keys = keys
            self.generation += 1
        self._failures = 0
        self._next_try = -inf
        self._lease = -inf
        self._begun_at = max(self._begun_at, begun)
        self._expires_at = begun + lifetime
        # `due` before `since`: threads read both without the lock, and an early look does no harm.
        self._set_due(begun + lifetime * (FETCH_AHEAD + SPREAD * (2 * spread - 1)))
        self.since = begun - SET_BACK

    def failed(self, now: float) -> None:
        """Record a failed fetch: the next one is tried after the back-off."""
        self._next_try = now + FETCH_BACK_OFF[min(self._failures, len(FETCH_BACK_OFF) - 1)]
        self._failures += 1
        self._lease = -inf
        self._set_due(self._next_try)

    def put_off(self, now: float) -> None:
        """Record a fetch that got no place: the issuer wasn't asked, so this is no failure."""
        self._next_try = now + FETCH_BACK_OFF[0]
        self._begun_at = self._lease = -inf
        self._set_due(self._next_try)

    @property
    def _gone_at(self) -> float:
        return self._expires_at + self._limits.stale

    def _is_resting(self, now: float) -> bool:
        return 0 < self._next_try - now <= FETCH_BACK_OFF[-1]

    def _begin(self, now: float) -> None:
        self._begun_at = now
        self._lease = now + self._limits.lease
        self._set_due(self._lease)

    def _set_due(self, when: float) -> None:
        self.due = min(when, self._gone_at)


def fixed(keys: KeysByName) -> Freshness:
    """Return the freshness of keys that never change."""
    found = Freshness(KeyLimits(stale=inf, cool_down=inf, lease=inf))
    found.keys = keys
    found.generation = 1
    found.since, found.due, found._expires_at = -inf, inf, inf
    return found
