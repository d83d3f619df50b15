"""The cache of verified tokens: what is checked once, and what is checked at every hit.

A hit is one look-up in a dictionary and a few comparisons: no lock, no reordering, no allocation.
What can change is checked at each hit: the token's own times, and whether its issuer's keys are
still those that verified it. Routes and ended grants aren't kept here at all. Only tokens that were
good get in, so that strangers can't fill the cache. The key of an entry is the whole text of the
credentials, so that two tokens can't be confused.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from functools import lru_cache, partial
from hashlib import sha256
from typing import Any, Protocol, TypeAlias, cast

from ..request.routes import RouteRule, Routes
from ..values.errors import InvalidRequest
from ..values.metrics import KNOWN_TOKEN, LET_IN, Counts
from ..values.tokens import AccessToken, Forward, FrozenDict, octets_of_grant

MAX_CACHED = 4096  # octets of credentials; larger ones are rare, and take the room of ten
MAX_ROUNDS = 64  # entries passed over for one new one, to bound the time of a request


class KeyState(Protocol):
    """What a hit needs to know about an issuer's keys.

    From `since` and before `due` they serve; `generation` changes when a key does.
    """

    generation: int
    since: float
    due: float


# Texts that many tokens have in common are kept once: the last 1024 different ones.
_shared: Callable[[str], str] = lru_cache(maxsize=1024)(str)
_COMMON = ("iss", "aud", "client_id", "scope")  # claims with the same text in many tokens


def slimmed(token: AccessToken) -> AccessToken:
    """Return an equal token that shares its common texts with other tokens.

    The names of claims and such values are half of a token's memory, and parsing makes new strings
    for each token.
    """
    members = {_shared(name): value for name, value in token.claims.items()}
    for name in _COMMON:
        value = members.get(name)
        if type(value) is str:
            members[name] = _shared(value)
    return AccessToken(
        FrozenDict(members), token.own, token.scopes, token.subject_claim, token.client_claim
    )


class Entry(Forward):
    """The decision about one verified token, and until when it holds.

    `Core` makes it and says from when and until when. After that only `seen` changes.

    Times are floats, as the clock's: to compare a float with an int takes Python several times as
    long.
    """

    __slots__ = (
        "end",
        "generation",
        "grant_octets",
        "hashed",
        "issued",
        "keys",
        "life",
        "seen",
        "start",
    )

    start: float  # the latest of `nbf` and `iat`, less the leeway
    end: float  # `exp` and the leeway, or earlier
    keys: KeyState
    generation: int  # of the keys, when the token was verified
    life: float  # seconds from the token's issue to its end
    seen: bool  # whether it was found since it was put into the cache
    grant_octets: bytes  # by which ended grants are known; only where they are
    issued: float  # the token's `iat`; only there, too
    hashed: str  # of a bound token, as proofs name it; "": not needed so far

    def prepare_grant(self) -> None:
        """Prepare the look whether its grant has ended, for a process that knows of ends."""
        grant_id = self.grant_id
        self.grant_octets = b"" if grant_id is None else octets_of_grant(grant_id)
        self.issued = float(self.verified.claims.get("iat", 0))

    @property
    def verified(self) -> AccessToken:
        """Return the token, which is there."""
        return cast("AccessToken", self.token)


class Cache:
    """At most `size` entries, by credentials. Old ones make room, unless they were seen meanwhile.

    This is the algorithm CLOCK: a hit sets a flag, and an entry with a flag is kept for another
    round. Each step on the dictionary is one call that no thread can interrupt. A race can lose an
    entry, and the token's next request makes it again.
    """

    __slots__ = ("_entries", "_size", "get", "name")

    def __init__(self, size: int, *, hashed: bool = False) -> None:
        self._size = size
        self._entries: OrderedDict[str | bytes, Entry] = OrderedDict()
        # Makes the key of an entry from the credentials: the credentials themselves, or a digest
        # where others may read the memory.
        self.name: Callable[[str | bytes], str | bytes] = _digest if hashed else _itself
        self.get: Callable[[str | bytes], Entry | None] = (
            self._get_hashed if hashed else self._entries.get
        )

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, credentials: str | bytes, entry: Entry) -> None:
        """Keep a token that was verified just now."""
        if len(credentials) > MAX_CACHED:
            return
        entry.token = slimmed(cast("AccessToken", entry.token))
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


def _itself(given: Any) -> Any:
    return given


def _digest(credentials: str | bytes) -> bytes:
    if isinstance(credentials, str):
        credentials = credentials.encode("utf-8", "surrogatepass")
    return sha256(credentials).digest()


# Takes a method, a path and credentials. Returns the decision, or None: `Core.decide` must look.
WarmPath: TypeAlias = Callable[[str, str, str | bytes], Entry | None]


def warm_path(
    get: Callable[[str | bytes], Entry | None],
    timed: Any,
    ours: Collection[str] = (),
    below: str = "",
    find: Callable[[str, str], RouteRule] | None = None,
    lets_pass: Callable[[bytes, float, float, float], bool] | None = None,
) -> WarmPath:
    """Return the function that decides about a request with a known token, all prepared.

    Args:
        get: returns the entry of credentials.
        timed: an object whose method `time` is the clock.
        ours: the paths that we answer ourselves.
        below: how other paths begin that we may answer ourselves; "": there are none.
        find: returns the rule for a method and a path; None: a token is all that is asked for.
        lets_pass: takes a grant's octets, a token's life and issue, and the time; says whether the
            grant is known to live. None: there are no grants.

    """
    has_ours = bool(ours)

    def warm(method: str, path: str, credentials: str | bytes) -> Entry | None:
        """Return the decision about a known token, or None: not known, or not to be decided here.

        After None `Core.decide` looks at the token.
        """
        entry = get(credentials)
        if entry is None:
            return None
        del credentials  # error trackers send locals, and the clock below may raise
        now, keys = timed.time(), entry.keys
        # No chained comparisons here: the interpreter does these in place, and chains by calls.
        if not (entry.start <= now and now < entry.end):
            return None
        if not (keys.since <= now and now < keys.due and keys.generation == entry.generation):
            return None
        if has_ours and (path in ours or (below and path.startswith(below))):
            return None
        if find is not None:
            try:
                rule = find(method, path)
            except InvalidRequest:
                return None
            if rule.is_special or (rule.scopes and not rule.scopes <= entry.scopes):
                return None
        if (
            lets_pass is not None
            and entry.grant_id is not None
            and not lets_pass(entry.grant_octets, entry.life, entry.issued, now)
        ):
            return None
        entry.seen = True
        return entry

    return warm


def by_rules(
    looks: Callable[..., WarmPath],
    get: Callable[[str | bytes], Entry | None],
    routes: Routes,
    counts: Counts | None,
) -> WarmPath:
    """Return the warm path for these rules; with `counts` it counts what it decides about, by rule.

    `looks` is `warm_path`, given all but `get` and `find`.
    """
    find = routes.find
    if counts is None:
        return looks(get, find=None if routes.is_uniform else find)
    # For each rule, a warm path that knows this rule alone and is given the entry; and its count.
    kept = {
        rule: (
            looks(_itself, find=None if rule.is_plain else partial(_always, rule)),
            counts.adder(LET_IN, rule.name, KNOWN_TOKEN),
        )
        for rule in routes.rules
    }

    def warm(method: str, path: str, credentials: str | bytes) -> Entry | None:
        entry = get(credentials)
        if entry is None:
            return None
        del credentials  # error trackers send locals, as above
        try:
            look, add = kept[find(method, path)]
        except InvalidRequest:
            return None
        found = look(method, path, cast("bytes", entry))
        if found is not None:
            add()
        return found

    return warm


def _always(rule: RouteRule, method: str, path: str) -> RouteRule:
    return rule


def know_nothing(credentials: str | bytes) -> None:
    """Used in place of the cache when it is off, or when cookies carry the token."""
