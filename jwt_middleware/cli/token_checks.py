"""Why a token is refused: what the middleware checks, one check after the other, and what to do.

Each check is the middleware's own. Here stands in which order they are made, and what is said of
them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from .. import Settings
from ..core.trusted_issuers import Trust
from ..jose import jws
from ..jose.jwk import Key
from ..jose.jws import Parsed
from ..process.runtime import Runtime
from ..token import claims as rules
from ..token.access import accept, check_type
from ..token.claims import time_of
from ..values import reasons
from ..values.errors import InvalidToken, OAuthError, Unavailable
from ..values.tokens import FrozenDict
from . import waited
from .lines import Line, moment, origin


@dataclass
class Examined:
    """A token under examination: what is known of it so far."""

    text: str
    settings: Settings
    now: float  # seconds
    parsed: Parsed = field(init=False)
    trust: Trust = field(init=False)
    key: Key = field(init=False)

    @property
    def claims(self) -> FrozenDict:
        return self.parsed.claims


class TokenCheck(NamedTuple):
    """One check: it returns what it saw, or raises OAuthError. `shows` says what, if it did."""

    what: str
    run: Callable[[Examined], str | Awaitable[str]]
    shows: Callable[[Examined], str] = lambda case: ""
    is_needed: bool = True  # by the next


async def examine(text: str, settings: Settings) -> AsyncIterator[Line]:
    """Yield what each check finds."""
    case = Examined(text, settings, settings.clock())
    is_over = has_failed = False
    for check in TOKEN_CHECKS:
        # The application's own checks come last, and see no token in which anything is wrong.
        if is_over or (has_failed and check.run is _checks_of_the_application):
            yield Line("-", check.what, "not looked at")
            continue
        try:
            yield Line("ok", check.what, await waited(check.run, case))
        except OAuthError as error:
            has_failed, is_over = True, check.is_needed
            shown = check.shows(case)
            seen = f"{error}: {shown}" if shown else f"{error}"
            yield Line("FAIL", check.what, seen, ADVICE[error.reason])


def _form(case: Examined) -> str:
    case.parsed = jws.parse(case.text)
    header = case.parsed.header
    return f"{len(case.text)} octets, alg {header.algorithm}, kid {header.kid or 'none'}"


async def _issuer(case: Examined) -> str:
    name = case.claims.get("iss")
    if name is None:
        raise InvalidToken(reasons.CLAIM_MISSING, "iss")
    issuers = Runtime.of(case.settings).issuers
    trust = issuers.find(name, case.now)
    where = "our own" if trust is issuers.own else "in trusted_issuers"
    if trust is None:
        where = "by issuer_for"
        try:
            answer = await waited(issuers.find_more, name)
        except Exception as error:
            raise Unavailable(reasons.ISSUER_HOOK, f"{type(error).__name__}: {error}") from error
        trust = issuers.adopt(str(name), answer, case.now)
    case.trust = trust
    return f"{name!r}, {where}"


def _shows_issuer(case: Examined) -> str:
    others = [one.issuer for one in case.settings.trusted_issuers]
    names = ", ".join(map(repr, (case.settings.issuer, *others)))
    return f"it says {case.claims.get('iss')!r}; trusted are {names}"


def _type(case: Examined) -> str:
    check_type(case.parsed, case.trust.policy.profile)
    return _shows_type(case)


def _shows_type(case: Examined) -> str:
    profile = case.trust.policy.profile
    wanted = " or ".join(one or "none" for one in sorted(profile.types))
    return f"typ {case.parsed.header.members.get('typ', 'none')!r}; {profile.name} has {wanted}"


async def _find_key(case: Examined) -> str:
    case.key = await case.trust.keys.afind(case.parsed.header.kid, case.now)
    return f"{case.key.kid}, {case.key.algorithm.name}, from {origin(case.trust.given.keys)}"


def _shows_keys(case: Examined) -> str:
    known = ", ".join(key.kid for key in case.trust.keys.key_set.keys) or "none"
    place = origin(case.trust.given.keys)
    return f"it says kid {case.parsed.header.kid or 'none'}; from {place} there are {known}"


def _signature(case: Examined) -> str:
    jws.check_signature(case.parsed, case.key)
    return f"by {case.key.kid}"


def _shows_algorithm(case: Examined) -> str:
    wanted = case.key.algorithm.name
    return f"alg {case.parsed.header.algorithm}; the key called {case.key.kid} is for {wanted}"


def _required(case: Examined) -> str:
    required = case.trust.policy.profile.required
    missing = required.difference(case.claims)
    if missing:
        raise InvalidToken(reasons.CLAIM_MISSING, ", ".join(sorted(missing)))
    return ", ".join(sorted(required))


def _checks_of_the_application(case: Examined) -> str:
    accept(case.parsed, case.trust.policy, case.now)
    return f"{len(case.trust.policy.checks)} of the application's own"


def _of_claims(rule: Callable[..., None], shows: Callable[[Examined], str]) -> TokenCheck:
    def run(case: Examined) -> str:
        rule(case.claims, case.trust.policy, case.now)
        return shows(case)

    return TokenCheck(rule.__name__, run, shows, is_needed=False)


def _shows_audience(case: Examined) -> str:
    given = case.claims["aud"]
    names = given if isinstance(given, tuple) else (given,)
    ours = ", ".join(repr(one) for one in sorted(case.trust.policy.audience))
    return f"for {', '.join(map(repr, names)) or 'nobody'}; this service is {ours}"


def _shows_time(name: str, words: str) -> Callable[[Examined], str]:
    def shows(case: Examined) -> str:
        value = time_of(case.claims, name)
        if value is None:
            return f"{name} {case.claims[name]!r}" if name in case.claims else f"no {name}"
        return f"{words} {moment(value, case.now)}; leeway {case.trust.policy.leeway:g} s"

    return shows


def _shows_identifiers(case: Examined) -> str:
    names = ("sub", "client_id", "jti", "sid")
    return ", ".join(f"{one} {case.claims[one]!r}" for one in names if one in case.claims)


def _shows_scope(case: Examined) -> str:
    if "scope" not in case.claims:
        return "none"
    given, limit = case.claims["scope"], case.trust.policy.scopes
    some = "" if limit is None else f"; this issuer may give {' '.join(sorted(limit)) or 'none'}"
    return f"{given!r}{some}"


def _shows_sender(case: Examined) -> str:
    return "bound to a key (cnf)" if "cnf" in case.claims else "a bearer token"


_SHOWS: Mapping[Callable[..., None], Callable[[Examined], str]] = {
    rules.audience: _shows_audience,
    rules.expiration: _shows_time("exp", "ends"),
    rules.not_before: _shows_time("nbf", "begins"),
    rules.issued_at: _shows_time("iat", "issued"),
    rules.identifiers: _shows_identifiers,
    rules.scope: _shows_scope,
    rules.sender: _shows_sender,
}

# In the order in which the core has them. What the issuer's line has said isn't said again.
TOKEN_CHECKS: tuple[TokenCheck, ...] = (
    TokenCheck("form", _form),
    TokenCheck("issuer", _issuer, _shows_issuer),
    TokenCheck("type", _type, _shows_type),
    TokenCheck("key", _find_key, _shows_keys),
    TokenCheck("signature", _signature, _shows_algorithm),
    TokenCheck(
        "claims",
        _required,
        lambda case: f"{case.trust.policy.profile.name} requires it",
    ),
    *(_of_claims(rule, _SHOWS[rule]) for rule in rules.CHECKS if rule is not rules.issuer),
    TokenCheck("checks", _checks_of_the_application),
)

# What to do about it; docs/errors.md has more words.
ADVICE: Mapping[str, str] = {
    reasons.TOO_LONG: "the issuer puts too much in: groups, permissions",
    reasons.SEGMENTS: "a signed JWT is needed, alone: no opaque or encrypted token, no part of "
    "one, no quotes around it, and of a JSON answer only what `access_token` has",
    reasons.ENCODING: "damaged, or forged",
    reasons.JSON: "damaged, or forged",
    reasons.HEADER_UNSUPPORTED: "have the issuer give signed tokens, neither encrypted nor nested",
    reasons.ALGORITHM: "the issuer changed it: load its new keys; or somebody tries something",
    reasons.KEY_ID: "the issuer's header is broken, or forged",
    reasons.KEY_UNKNOWN: "a token from another environment, or a new key: look at the issuer's set",
    reasons.KEY_USE: 'mend the key set: its key_ops need "verify"',
    reasons.TYPE: "an ID token? Or an issuer that needs profile=profiles.FOREIGN",
    reasons.SIGNATURE: "somebody else's key under this kid, or a changed token: compare the sets",
    reasons.CLAIM_MISSING: "mend the issuer, or profile=profiles.FOREIGN",
    reasons.CLAIM_MALFORMED: "a bug of the issuer: numbers as text, control characters",
    reasons.ISSUER: "compare letter by letter (a slash at the end, http), or add a TrustedIssuer",
    reasons.AUDIENCE: "the client must ask for this service, or `audience` is set wrong",
    reasons.EXPIRED: "normal for an old token: refresh it. For all: is this machine's clock right?",
    reasons.NOT_YET_VALID: "clocks differ: jwt-middleware doctor compares them",
    reasons.ISSUED_IN_FUTURE: "clocks differ: jwt-middleware doctor compares them",
    reasons.SENDER_CONSTRAINED: "have the issuer give bearer tokens: proofs aren't supported yet",
    reasons.CHECK_REFUSED: "your own rule, in `checks`",
    reasons.CHECK_FAILED: "a bug in your own `checks`",
    reasons.USER_HOOK: "a bug in TrustedIssuer(user=...)",
    reasons.KEYS: "jwt-middleware doctor fetches them, and says why not",
    reasons.ISSUER_HOOK: "mend `issuer_for`",
    reasons.GRANT_ENDED: "logged out, or a copied refresh token was found: log in anew",
    reasons.STORE: "jwt-middleware doctor tries the store",
    reasons.LIFE: "have Issuer make the tokens: none of its own lives longer than a day",
    reasons.SYNC: "jwt-middleware doctor tries the store",
    reasons.SCOPE: "the client must ask for that scope, or the user may not do this",
    reasons.AUTHENTICATION_AGE: "log in anew; where it never helps: the issuer sends no auth_time",
    reasons.AUTHENTICATION_CONTEXT: "log in as the route asks; or the issuer sends no such acr",
    reasons.PATH_ODD: "servers read this path in different ways: mend the client",
    reasons.CREDENTIALS_MALFORMED: "white space or other characters in the middle of the token",
}
