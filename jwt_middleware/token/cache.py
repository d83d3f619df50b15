"""Verified tokens, remembered: what has been checked once, and what is checked at every hit.

A hit is a question to a dictionary and a few comparisons: no lock, no reordering, no allocation.
What moves with time or can be taken back is asked anew each time: the token's own times, and
whether its issuer's keys are still those that it was verified with. The rest of the answer (route,
ended grants) isn't kept here at all. Only tokens that were good get in, so that a stranger can
neither fill nor read it; the key is all of the credentials, so that no two tokens can be taken for
each other.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from typing import Any, Protocol

from ..values.frozen import FrozenDict
from ..values.steps import Forward

MAX_CACHED = 4096  # octets of credentials; larger ones are rare, and would crowd out ten others
MAX_ROUNDS = 64  # second rounds given for one new entry, so that no request pays for a whole lap
MAX_TEXTS = 1024  # that are shared: more would be a claim whose value is every user's own
_COMMON = frozenset(("iss", "aud", "client_id", "scope"))


class KeyState(Protocol):
    """The keys of an issuer, as far as a hit needs to know.

    From `since` and before `due` they serve; `generation` changes when a key does.
    """

    generation: int
    since: float
    due: float


class Entry:
    """One verified token, and until when it is one. Everything in it is immutable but `seen`."""

    __slots__ = ("end", "forward", "generation", "grant_id", "keys", "scopes", "seen", "start")

    def __init__(
        self, forward: Forward, *, start: float, end: float, keys: KeyState, generation: int
    ) -> None:
        token = forward.token
        self.forward = forward
        self.start = start  # the latest of `nbf` and `iat`, less the leeway
        self.end = end  # `exp` and the leeway, or earlier
        self.keys = keys
        self.generation = generation
        self.scopes = _set_of(forward.auth.scopes)
        self.grant_id = None if token is None else token.grant_id
        self.seen = False

    def holds(self, now: float) -> bool:
        """Say whether the token is still good: by its own times, and by its issuer's keys."""
        keys = self.keys
        return (
            self.start <= now < self.end
            and keys.generation == self.generation
            and keys.since <= now < keys.due
        )


@lru_cache(256)
def _set_of(scopes: tuple[str, ...]) -> frozenset[str]:
    return frozenset(scopes)


class Cache:
    """At most `size` entries, by credentials. Old ones make room, unless they were seen meanwhile.

    This is CLOCK: a hit sets a flag, and who has one gets a second round. Each step on the
    dictionary is one call that no thread can interrupt; what a race loses is an entry, and it comes
    again.
    """

    __slots__ = ("_entries", "_size", "_texts", "get", "name")

    def __init__(self, size: int, *, hashed: bool = False) -> None:
        self._size = size
        self._entries: OrderedDict[str | bytes, Entry] = OrderedDict()
        self._texts: dict[str, str] = {}
        # What the entry of credentials is called: they themselves, or what tells nobody what they
        # are, where memory may be read by others.
        self.name: Callable[[str | bytes], str | bytes] = _digest if hashed else _itself
        self.get: Callable[[str | bytes], Entry | None] = (
            self._get_hashed if hashed else self._entries.get
        )

    def __len__(self) -> int:
        return len(self._entries)

    def share(self, claims: FrozenDict) -> FrozenDict:
        """Return equal claims, which have what all tokens have in common with the others here.

        Names and what an issuer says in every token are a third of what a token takes.
        """
        return FrozenDict(
            (self._one(name), self._one(value) if name in _COMMON else value)
            for name, value in claims.items()
        )

    def _one(self, value: Any) -> Any:
        """Return the first of equal texts."""
        if type(value) is not str:
            return value
        if len(self._texts) >= MAX_TEXTS:
            return self._texts.get(value, value)
        return self._texts.setdefault(value, value)

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
