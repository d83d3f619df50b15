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
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from typing import Protocol

from ..values.decisions import Forward
from ..values.tokens import AccessToken, FrozenDict, User

MAX_CACHED = 4096  # octets of credentials; larger ones are rare, and would crowd out ten others
MAX_ROUNDS = 64  # second rounds given for one new entry, so that no request pays for a whole lap


class KeyState(Protocol):
    """The keys of an issuer, as far as a hit needs to know.

    From `since` and before `due` they serve; `generation` changes when a key does.
    """

    generation: int
    since: float
    due: float


# Of texts that are equal, the one that came first. It forgets.
_first: Callable[[str], str] = lru_cache(maxsize=1024)(str)
_COMMON = ("iss", "aud", "client_id", "scope")  # claims that many tokens say the same in


def slimmed(token: AccessToken) -> AccessToken:
    """Return an equal token that shares with others what they have in common.

    The names of claims and such values are half of what a token takes in memory, and new strings in
    each that was parsed.
    """
    members = {_first(name): value for name, value in token.claims.items()}
    for name in _COMMON:
        value = members.get(name)
        if type(value) is str:
            members[name] = _first(value)
    return AccessToken(FrozenDict(members), token.own, token.scopes)


def life_of(token: AccessToken) -> float:
    """Return the seconds from a token's issue to its end: its own word, whoever issued it."""
    claims = token.claims
    return float(claims["exp"] - claims.get("iat", 0))


class Entry(Forward):
    """The step for one verified token, and until when it is one. Nothing changes but `seen`."""

    __slots__ = ("end", "generation", "grant_id", "keys", "life", "seen", "start")

    def __init__(
        self,
        token: AccessToken,
        user: User,
        *,
        start: float,
        end: float,
        keys: KeyState,
        generation: int,
    ) -> None:
        super().__init__(token, user)
        # As the clock's kind of number: to compare two kinds takes Python several times as long.
        self.start = float(start)  # the latest of `nbf` and `iat`, less the leeway
        self.end = float(end)  # `exp` and the leeway, or earlier
        self.keys = keys
        self.generation = generation
        self.grant_id = token.grant_id
        self.life = life_of(token)
        self.seen = False

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
