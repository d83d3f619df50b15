"""Verified tokens, remembered: what has been checked once, and what is checked at every hit.

A hit is a question to a dictionary and a few comparisons: no lock, no reordering, no allocation.
What moves with time or can be taken back is asked anew each time: the token's own times, and
whether its issuer's keys are still those that it was verified with. The rest of the answer (route,
ended grants) isn't kept here at all. Only tokens that were good get in, so that a stranger can
neither fill nor read it; the key is all of the credentials, so that no two tokens can be taken for
each other.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any, Protocol, TypeAlias, cast

from ..request.routes import Routes
from ..values.errors import InvalidRequest
from ..values.tokens import AccessToken, Forward, FrozenDict

MAX_CACHED = 4096  # octets of credentials; larger ones are rare, and would crowd out ten others
MAX_ROUNDS = 64  # second rounds given for one new entry, so that no request pays for a whole lap


class KeyState(Protocol):
    """The keys of an issuer, as far as a hit needs to know.

    From `since` and before `due` they serve; `generation` changes when a key does.
    """

    generation: int
    since: float
    due: float


# Texts that many tokens have in common, each kept once: the last 1024 different ones.
_shared: Callable[[str], str] = lru_cache(maxsize=1024)(str)
_COMMON = ("iss", "aud", "client_id", "scope")  # claims that many tokens say the same in


def slimmed(token: AccessToken) -> AccessToken:
    """Return an equal token that shares with others what they have in common.

    The names of claims and such values are half of what a token takes in memory, and new strings in
    each that was parsed.
    """
    members = {_shared(name): value for name, value in token.claims.items()}
    for name in _COMMON:
        value = members.get(name)
        if type(value) is str:
            members[name] = _shared(value)
    return AccessToken(FrozenDict(members), token.own, token.scopes)


@dataclass(slots=True, eq=False)
class Entry:
    """What is decided for one verified token, and until when. Nothing changes but `seen`.

    Times are floats, as the clock's: to compare two kinds of numbers takes Python several times as
    long.
    """

    forward: Forward
    start: float  # the latest of `nbf` and `iat`, less the leeway
    end: float  # `exp` and the leeway, or earlier
    keys: KeyState
    generation: int  # of the keys, when the token was verified
    grant_id: str | None
    life: float  # seconds from the token's issue to its end
    seen: bool = False

    def holds(self, now: float) -> bool:
        """Say whether the token is still good: by its own times, and by its issuer's keys."""
        keys = self.keys
        if self.start <= now < self.end and keys.since <= now < keys.due:
            return keys.generation == self.generation
        return False


class Cache:
    """At most `size` entries, by credentials. Old ones make room, unless they were seen meanwhile.

    This is CLOCK: a hit sets a flag, and who has one gets a second round. Each step on the
    dictionary is one call that no thread can interrupt; what a race loses is an entry, and it comes
    again.
    """

    __slots__ = ("_entries", "_size", "get", "name")

    def __init__(self, size: int, *, hashed: bool = False) -> None:
        self._size = size
        self._entries: OrderedDict[str | bytes, Entry] = OrderedDict()
        # What the entry of credentials is called: they themselves, or what tells nobody what they
        # are, where memory may be read by others.
        self.name: Callable[[str | bytes], str | bytes] = _digest if hashed else _itself
        self.get: Callable[[str | bytes], Entry | None] = (
            self._get_hashed if hashed else self._entries.get
        )

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, credentials: str | bytes, entry: Entry) -> None:
        """Remember a token that was verified just now."""
        if len(credentials) > MAX_CACHED:
            return
        entry.forward.token = slimmed(cast("AccessToken", entry.forward.token))
        entries = self._entries
        entries[self.name(credentials)] = entry
        rounds = MAX_ROUNDS
        while len(entries) > self._size:
            name, oldest = entries.popitem(last=False)
            rounds -= 1
            if oldest.seen and rounds > 0:
                oldest.seen = False
                entries[name] = oldest

    def _get_hashed(self, credentials: str | bytes) -> Entry | None:
        return self._entries.get(_digest(credentials))


def _itself(credentials: str | bytes) -> str | bytes:
    return credentials


def _digest(credentials: str | bytes) -> bytes:
    if isinstance(credentials, str):
        credentials = credentials.encode("utf-8", "surrogatepass")
    return sha256(credentials).digest()


# Of a method, a path and credentials: what to do, or None where more is to be looked at.
WarmPath: TypeAlias = Callable[[str, str, str | bytes], Forward | None]


def warm_path(
    get: Callable[[str | bytes], Entry | None],
    timed: Any,
    ours: Collection[str],
    routes: Routes,
    lets_pass: Callable[[str, float, float], bool] | None,
) -> WarmPath:
    """Return what serves a request with a known token. All that it needs is prepared here.

    Args:
        get: returns the entry of credentials.
        timed: an object whose method `time` is the clock.
        ours: the paths that we answer ourselves.
        routes: the rules.
        lets_pass: says of a grant, a token's life and the time that the grant is known to live;
            None: there are no grants.

    """
    has_rules, find = not routes.is_uniform, routes.find
    has_ours = bool(ours)

    def warm(method: str, path: str, credentials: str | bytes) -> Forward | None:
        """Return the decision about a known token, or None: not known, or not to be decided here.

        None says nothing about the token. `Core.decide` looks at it then.
        """
        entry = get(credentials)
        if entry is None:
            return None
        del credentials  # error trackers send what is in frames, and a clock may fail
        now, keys = timed.time(), entry.keys
        # As `entry.holds(now)`, written out: that call was 13 % of a known token under WSGI
        # (`python -m benchmarks.against`). A property in tests/core/test_token_cache.py holds both.
        if not (entry.start <= now and now < entry.end):
            return None
        if not (keys.since <= now and now < keys.due and keys.generation == entry.generation):
            return None
        if has_ours and path in ours:
            return None
        if has_rules:
            try:
                rule = find(method, path)
            except InvalidRequest:
                return None
            if rule.is_special or (rule.scopes and not rule.scopes <= entry.forward.scopes):
                return None
        if lets_pass is not None:
            grant_id = entry.grant_id
            if grant_id is not None and not lets_pass(grant_id, entry.life, now):
                return None
        entry.seen = True
        return entry.forward

    return warm


def know_nothing(credentials: str | bytes) -> None:
    """Used in place of the cache when it is off, or when cookies carry the token."""
