"""Why a token is refused: the middleware's checks, one after the other.

Each check is the middleware's own. This module has their order, and the texts about them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import TypeAlias

from .. import Settings
from ..core.trusted_issuers import Trust
from ..jose import jws
from ..jose.jws import Parsed
from ..process.runtime import Runtime
from ..token import claims as rules
from ..token.claims import IDENTIFIERS, Policy, accept, check_type, missing_claims, time_of
from ..token.profiles import Profile
from ..values import reasons
from ..values.errors import InvalidToken, OAuthError, Unavailable
from ..values.tokens import FrozenDict
from . import waited
from .lines import Line, moment, origin
from .token_advice import Examined, advice, scopes_elsewhere, telling_apart
from .token_kinds import fits, other_kind

Shows: TypeAlias = Callable[
    [FrozenDict, Policy, float], str
]  # returns the values that a check of the claims compares


async def examine(text: str, settings: Settings) -> AsyncIterator[Line]:
    """Yield what each check finds, in the order in which the middleware makes them.

    If the signature is good, the claims are all checked even after a failure, so that all faults
    are shown at once.
    """
    now = settings.clock()
    what, case = "form", Examined(text, settings)
    shows: Callable[[], str] = str  # returns what is shown beside the error
    try:
        parsed = jws.parse(text)
        case = case._replace(parsed=parsed)
        algorithm, kid = parsed.header.algorithm, parsed.header.kid
        yield Line("ok", what, f"{len(text)} octets, alg {algorithm}, kid {kid or 'none'}")
        what, shows = "issuer", lambda: _shows_trusted(parsed, settings)
        trust, where = await _issuer(parsed, settings, now)
        case = case._replace(trust=trust)
        policy, place = trust.policy, origin(trust.given.keys)
        yield Line("ok", what, where)
        what, shows = "type", lambda: _shows_type(parsed, policy.profile)
        check_type(parsed, policy.profile)
        yield _type_line(parsed, policy.profile, shows())
        what, shows = "key", lambda: _shows_keys(trust, kid)
        key = trust.keys.find(kid, now)
        yield Line("ok", what, f"{key.kid}, {key.algorithm.name}, from {place}")
        wanted = f"the key called {key.kid} is for {key.algorithm.name}"
        what, shows = "signature", lambda: f"alg {algorithm}; {wanted}"
        jws.check_signature(parsed, key)
        yield Line("ok", what, f"by {key.kid}")
        what, shows = "claims", lambda: f"{policy.profile.name} requires it"
        yield Line("ok", what, _required(parsed.claims, policy))
    except OAuthError as error:
        yield _failed_line(what, error, shows(), case)
        for rest in TOKEN_CHECKS[TOKEN_CHECKS.index(what) + 1 :]:
            yield Line("-", rest, "not looked at")
        return
    for line in _claims_and_checks(parsed, policy, now, case):
        yield line


def _claims_and_checks(
    parsed: Parsed, policy: Policy, now: float, case: Examined
) -> Iterator[Line]:
    has_failed = False
    for name, shows in _SHOWS.items():
        shown = shows(parsed.claims, policy, now)
        try:
            rules.CLAIM_CHECKS[name](parsed.claims, policy, now)
            yield Line("ok", name, shown)
        except InvalidToken as error:
            has_failed = True
            yield _failed_line(name, error, shown, case)
    yield _scope_line(parsed.claims, policy)
    # The application's own checks run only for a token that passed all others.
    if has_failed:
        yield Line("-", "checks", "not looked at")
        return
    try:
        accept(parsed, policy, now)
        yield Line("ok", "checks", f"{len(policy.checks)} of the application's own")
    except InvalidToken as error:
        yield _failed_line("checks", error, "", case)


def _failed_line(what: str, error: OAuthError, shown: str, case: Examined) -> Line:
    return Line("FAIL", what, f"{error}: {shown}" if shown else f"{error}", advice(error, case))


async def _issuer(parsed: Parsed, settings: Settings, now: float) -> tuple[Trust, str]:
    """Return the issuer of the token, and its description. Raises OAuthError."""
    name = parsed.claims.get("iss")
    if name is None:
        raise InvalidToken(reasons.CLAIM_MISSING, "iss")
    issuers = Runtime.of(settings).issuers
    trust = issuers.find(name, now)
    if trust is not None:
        return trust, f"{name!r}, {'our own' if trust is issuers.own else 'in trusted_issuers'}"
    try:
        answer = await waited(issuers.find_more, name)
    except Exception as error:
        raise Unavailable(reasons.ISSUER_HOOK, f"{type(error).__name__}: {error}") from error
    return issuers.adopt(name, answer, now), f"{name!r}, by issuer_for"


def _shows_trusted(parsed: Parsed, settings: Settings) -> str:
    names = [settings.issuer, *(one.issuer for one in settings.trusted_issuers)]
    return f"it says {parsed.claims.get('iss')!r}; trusted are {', '.join(map(repr, names))}"


def _shows_type(parsed: Parsed, profile: Profile) -> str:
    wanted = " or ".join(one or "none" for one in sorted(profile.types))
    return f"typ {parsed.header.members.get('typ', 'none')!r}; {profile.name} has {wanted}"


def _type_line(parsed: Parsed, profile: Profile, shown: str) -> Line:
    """Warn of a type that tokens of another kind have, too: the token looks like one of them."""
    kind = other_kind(parsed, profile)
    if kind and fits(parsed, profile):
        return Line("warn", "type", f"{shown}; but it looks like {kind}", telling_apart(parsed))
    return Line("ok", "type", shown)


def _shows_keys(trust: Trust, kid: str | None) -> str:
    known = ", ".join(key.kid for key in trust.keys.key_set.keys) or "none"
    return f"it says kid {kid or 'none'}; from {origin(trust.given.keys)} there are {known}"


def _required(claims: FrozenDict, policy: Policy) -> str:
    missing = missing_claims(claims, policy)
    if missing:
        raise InvalidToken(reasons.CLAIM_MISSING, ", ".join(missing))
    return ", ".join(sorted({*policy.required, *map(" or ".join, policy.one_of)}))


def _shows_audience(claims: FrozenDict, policy: Policy, now: float) -> str:
    given = claims[policy.audience_claim]
    names = given if isinstance(given, tuple) else (given,)
    ours = ", ".join(repr(one) for one in sorted(policy.audience))
    where = "" if policy.audience_claim == "aud" else f" by {policy.audience_claim}"
    return f"for {', '.join(map(repr, names)) or 'nobody'}{where}; this service is {ours}"


def _shows_values(claims: FrozenDict, policy: Policy, now: float) -> str:
    wanted = policy.profile.claims
    shown = [f"{one} {claims[one]!r}, wanted {wanted[one]!r}" for one in wanted]
    if policy.profile.scope_is_text and "scope" in claims:
        shown.append(f"scope {claims['scope']!r}, wanted one text (RFC 9068 s2.2.3)")
    return ", ".join(shown) or "none"


def _shows_time(name: str, words: str) -> Shows:
    def shows(claims: FrozenDict, policy: Policy, now: float) -> str:
        value = time_of(claims, name)
        if value is None:
            return f"{name} {claims[name]!r}" if name in claims else f"no {name}"
        return f"{words} {moment(value, now)}; leeway {policy.leeway:g} s"

    return shows


def _shows_identifiers(claims: FrozenDict, policy: Policy, now: float) -> str:
    names = (*IDENTIFIERS, *policy.more_identifiers)
    return ", ".join(f"{one} {claims[one]!r}" for one in names if one in claims)


def _scope_line(claims: FrozenDict, policy: Policy) -> Line:
    """Show what gives scopes. A token is never refused for its scope alone."""
    reader, limit = policy.reader, policy.scopes
    found = " ".join(sorted(reader.read(claims))) or "none"
    given = ", ".join(f"{name} {value!r}" for name, value in reader.sources(claims))
    some = "" if limit is None else f"; this issuer may give {' '.join(sorted(limit)) or 'none'}"
    seen = f"{found}; from {given}{some}" if given else f"{found}{some}"
    if not given and (elsewhere := scopes_elsewhere(claims, policy.profile)):
        seen = f"none: {elsewhere}"
    if found == "none" and any(value not in ("", ()) for _, value in reader.sources(claims)):
        return Line("warn", "scope", seen, "see `scope_claims` and what follows it in Profile")
    return Line("ok", "scope", seen)


def _shows_sender(claims: FrozenDict, policy: Policy, now: float) -> str:
    return "bound to a key (cnf)" if "cnf" in claims else "a bearer token"


_SHOWS: Mapping[str, Shows] = {
    "audience": _shows_audience,
    "values": _shows_values,
    "expiration": _shows_time("exp", "ends"),
    "not_before": _shows_time("nbf", "begins"),
    "issued_at": _shows_time("iat", "issued"),
    "identifiers": _shows_identifiers,
    "sender": _shows_sender,
}

TOKEN_CHECKS: tuple[str, ...] = (
    *("form", "issuer", "type", "key", "signature", "claims"),
    *_SHOWS,
    "scope",
    "checks",
)
