"""Trusted issuers: chosen by the exact `iss`, before any key is looked up or fetched.

A token names its issuer. Nothing else in it is used until a key of that very issuer has verified it
(RFC 8725 s3.8). Nothing here waits.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from math import inf
from typing import Any

from ..jose import jws
from ..jose.jwk import Key
from ..jose.jws import Header, Parsed
from ..keys.freshness import SET_BACK
from ..keys.key_set import KeySet
from ..keys.key_sources import MAX_URL
from ..keys.live_keys import LiveKeys, Tell
from ..keys.stranger_limits import Places
from ..settings.groups import TrustedIssuer
from ..settings.proof_groups import confirmations
from ..settings.settings import Settings
from ..token.claims import Lifetime, Policy, accept, check_type, is_identifier
from ..values import reasons
from ..values.errors import InvalidToken, Unavailable
from ..values.metrics import UNNAMED
from ..values.tokens import NOBODY, AccessToken, User

# Issuers that the application named, about 5 KiB each: the least used is removed. Issuers without a
# good token so far are counted apart: strangers can make up names, and would push out the others.
MAX_TENANTS = 4096
MAX_UNPROVED = 1024  # issuers without a good token so far
TENANT_AGE = 600.0  # seconds for which the application's answer about an issuer is kept
NOBODY_AGE = 5.0  # the same for the answer that a name is no issuer
MAX_NOBODY = 1024  # names that are known to be no issuer

# Of each issuer, and of all. One whose tokens have a new header each pushes out its own.
MAX_HEADERS = 16
MAX_ALL_HEADERS = 1024
MAX_SEGMENT = 1024  # octets of a header that is remembered


class Trust:
    """One issuer: its keys as they are now, and the rules for its tokens."""

    __slots__ = ("given", "headers", "keys", "policy", "since", "until", "user")

    def __init__(
        self,
        given: Settings | TrustedIssuer,
        policy: Policy,
        keys: LiveKeys,
        named: float | None = None,
    ) -> None:
        # The time for which the application's answer holds. A clock that is set back doesn't
        # prolong it.
        self.since = -inf if named is None else named - SET_BACK
        self.until = inf if named is None else named + TENANT_AGE
        self.given = given
        self.policy = policy
        self.keys = keys
        self.user = given.user if isinstance(given, TrustedIssuer) else None
        # The header segments of its verified tokens, the oldest first.
        self.headers: OrderedDict[bytes, None] = OrderedDict()


class Issuers:
    """Every trusted issuer, by its exact name."""

    def __init__(
        self,
        settings: Settings,
        tell: Tell = lambda events: None,
        watch: Callable[[str], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._watch = watch
        # The headers of verified tokens, by their segment, the oldest first.
        self.headers: OrderedDict[bytes, Header] = OrderedDict()
        self.places = Places()
        self.has_let_in = False  # whether any token was good, in this process
        self._settings = settings
        self._tell = tell
        self.find_more = settings.issuer_for
        self.own = Trust(settings, self._policy(settings), self._live(settings))
        self._by_name: dict[str, Trust] = {settings.issuer: self.own}
        for one in settings.trusted_issuers:
            self._by_name[one.issuer] = self._trust(one)
        # The keys of the trusted issuers that the settings name.
        self.others = tuple(one.keys for one in self._by_name.values() if one is not self.own)
        self._tenants: OrderedDict[str, Trust] = OrderedDict()
        self._unproved: OrderedDict[str, Trust] = OrderedDict()
        self._nobody: OrderedDict[str, float] = OrderedDict()  # and when the application answered

    def reset(self) -> None:
        """Start without a fetch under way, as a forked child must."""
        self.places.reset()
        tenants = (*self._tenants.values(), *self._unproved.values())
        for trust in (*self._by_name.values(), *tenants):
            trust.keys.reset()

    def find(self, name: object, now: float) -> Trust | None:
        """Return the issuer called exactly `name`; None: only the application may know it.

        Raises:
            InvalidToken: the issuer isn't trusted.

        """
        # RFC 7519 s4.1.1: a case-sensitive string; RFC 9068 s4: "MUST exactly match".
        if type(name) is str:
            trust = self._by_name.get(name)
            if trust is not None:
                return trust
            if self.find_more is not None:
                return self._tenant(name, now)
        raise InvalidToken(reasons.ISSUER)

    def is_known(self, name: str) -> bool:
        """Say whether this is an issuer that the application named, with a good token already."""
        return name in self._tenants

    def adopt(self, name: str, answer: Any, now: float) -> Trust:
        """Return the issuer that the application's function gave for `name`, and keep it.

        Raises:
            InvalidToken: the application doesn't trust this name.
            Unavailable: the function returned a wrong type, which isn't the client's fault.

        """
        if answer is None:
            self._tenants.pop(name, None)
            self._unproved.pop(name, None)
            self._nobody[name] = now
            _trim(self._nobody, MAX_NOBODY)
            raise InvalidToken(reasons.ISSUER)
        if not isinstance(answer, TrustedIssuer) or answer.issuer != name:
            raise Unavailable(reasons.ISSUER_HOOK, "not the TrustedIssuer of that name")
        self._nobody.pop(name, None)
        places = None if name in self._tenants else self.places
        trust = Trust(answer, self._policy(answer), self._live(answer, places, UNNAMED), now)
        # One atomic step: of two threads with the same new name, the second gets the first one's
        # keys.
        known = self._tenants.get(name) or self._unproved.setdefault(name, trust)
        if known is not trust:
            # The same object again, or an equal one: the keys are here already.
            if _is_same(known.given.keys, answer.keys):
                trust = Trust(answer, self._policy(answer), known.keys, now)
            place = self._tenants if name in self._tenants else self._unproved
            place[name] = trust
        _trim(self._unproved, MAX_UNPROVED)
        return trust

    def accept(
        self, parsed: Parsed, trust: Trust, key: Key, now: float
    ) -> tuple[AccessToken, Lifetime]:
        """Return the token that an issuer's key has signed, after checking its claims.

        Raises:
            InvalidToken: it isn't one of the issuer's access tokens, or doesn't hold now.

        """
        # No part of a token is a local here: error trackers send locals if a check raises.
        is_remembered = (
            parsed.header_segment in trust.headers and parsed.header_segment in self.headers
        )
        if not is_remembered:
            check_type(parsed, trust.policy.profile)
        jws.check_signature(parsed, key)
        if not is_remembered:
            self.remember(trust, parsed.header_segment, parsed.header)
        accepted = accept(parsed, trust.policy, now)
        self.proved(trust)
        return accepted

    def proved(self, trust: Trust) -> None:
        """Record that a token of an issuer is good: only this counts as a use of the issuer."""
        self.has_let_in = True
        if trust.until == inf:
            return
        name = trust.policy.issuer
        if name not in self._tenants:
            self._tenants[name] = trust
            trust.keys.places = None
            self._unproved.pop(name, None)
            _trim(self._tenants, MAX_TENANTS)
        with suppress(KeyError):  # another thread has just removed it
            self._tenants.move_to_end(name)

    def remember(self, trust: Trust, segment: bytes, header: Header) -> None:
        """Keep a header that the issuer's key has signed: its next token has the same one."""
        if segment in trust.headers:
            self.headers.setdefault(segment, header)
        elif len(segment) <= MAX_SEGMENT:
            trust.headers[segment] = None
            self.headers[segment] = header
            if len(trust.headers) > MAX_HEADERS:
                oldest, _ = trust.headers.popitem(last=False)
                self.headers.pop(oldest, None)
        _trim(self.headers, MAX_ALL_HEADERS)

    def _tenant(self, name: str, now: float) -> Trust | None:
        found = self._tenants.get(name) or self._unproved.get(name)
        if found is not None and found.since <= now < found.until:
            return found
        # The application is asked only for names that an issuer can have: its database may raise
        # for a NUL, say. A name is never longer than a URL.
        if not is_identifier(name) or len(name) > MAX_URL:
            raise InvalidToken(reasons.CLAIM_MALFORMED, "iss")
        if 0 <= now - self._nobody.get(name, -inf) < NOBODY_AGE:
            raise InvalidToken(reasons.ISSUER)
        return None

    def _trust(self, given: TrustedIssuer) -> Trust:
        return Trust(given, self._policy(given), self._live(given))

    def fetched(self) -> Iterator[tuple[str, float]]:
        """Yield the names of the configured issuers, and when their present keys were fetched.

        All others have one name, and the newest of their times.
        """
        for name, trust in self._by_name.items():
            when = trust.keys.fresh.fetched_at
            if when is not None:
                yield name, when
        found = [one.keys.fresh.fetched_at for one in tuple(self._tenants.values())]
        whens = [when for when in found if when is not None]
        if whens:
            yield UNNAMED, max(whens)

    def _live(
        self, given: Settings | TrustedIssuer, places: Places | None = None, label: str = ""
    ) -> LiveKeys:
        return LiveKeys(
            given.keys,
            given.issuer,
            clock=self._settings.clock,
            tell=self._tell,
            stands_alone=given is self._settings,
            places=places,
            watch=partial(self._watch, label or given.issuer),
        )

    def _policy(self, given: Settings | TrustedIssuer) -> Policy:
        is_own = given is self._settings
        scopes = given.scopes if isinstance(given, TrustedIssuer) else None
        return Policy(
            issuer=given.issuer,
            audience=frozenset(given.audience),
            profile=given.profile,
            leeway=self._settings.leeway,
            checks=tuple(self._settings.checks),
            own=is_own,
            scopes=None if scopes is None else frozenset(scopes),
            confirmations=confirmations(self._settings),
            bound_only=isinstance(given, TrustedIssuer) and given.proof == "required",
        )


def _trim(kept: OrderedDict[Any, Any], size: int) -> None:
    if len(kept) > size:
        kept.popitem(last=False)


def _is_same(before: KeySet, after: KeySet) -> bool:
    return before is after or (before.source is not None and before.source == after.source)


def foreign_user(token: AccessToken, trust: Trust) -> User:
    """Return the user of another issuer's token: none, unless the settings name one."""
    if trust.user is None or token.is_client:
        return NOBODY
    try:
        name: Any = trust.user(token)
    except Exception as error:
        # As with `checks`: a function that fails lets nobody in.
        raise InvalidToken(reasons.USER_HOOK, type(error).__name__) from error
    if name is None:
        return NOBODY
    if not isinstance(name, str) or not name or not name.isprintable():
        raise InvalidToken(reasons.USER_HOOK, "not a name")
    return User(True, name)
