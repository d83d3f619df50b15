"""What an access token must satisfy: its issuer's policy, its type, and the checks of its claims.

RFC 7519 s4.1, RFC 9068 s2.2 and s4. The signature has been checked before, by `jose.jws`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn, TypeAlias

from ..jose.jws import Parsed
from ..values import reasons
from ..values.errors import InvalidToken
from ..values.tokens import AccessToken, FrozenDict
from .profiles import Profile

MAX_TIME = 253402300800  # seconds: the end of the year 9999; a later time is an attack or a mistake

TokenCheck: TypeAlias = Callable[[AccessToken], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What one issuer's access tokens must satisfy."""

    issuer: str  # the exact `iss`
    audience: frozenset[str]  # names of this service, one of which must be in `aud`
    profile: Profile
    leeway: float  # seconds that clocks may differ by
    checks: tuple[TokenCheck, ...] = ()  # the application's own
    own: bool = True  # our own issuer: its subjects are our users, its `sid` is a grant of ours
    scopes: frozenset[str] | None = None  # the scopes that the issuer may give; None: any


def check_issuer(claims: FrozenDict, policy: Policy, _: float) -> None:
    """Compare code points: no normalization, no case, no trailing slash (RFC 9068 s4)."""
    if claims["iss"] != policy.issuer:
        raise InvalidToken(reasons.ISSUER)


def check_audience(claims: FrozenDict, policy: Policy, _: float) -> None:
    """Check that one of our names is in the audience (RFC 7519 s4.1.3)."""
    # "If the principal processing the claim does not identify itself with a value in the "aud"
    # claim when this claim is present, then the JWT MUST be rejected."
    given = claims["aud"]
    if type(given) is str:
        if given in policy.audience:
            return
    elif type(given) is not tuple or not all(type(one) is str for one in given):
        _refuse_claim("aud")
    elif not policy.audience.isdisjoint(given):
        return
    raise InvalidToken(reasons.AUDIENCE)


def check_expiration(claims: FrozenDict, policy: Policy, now: float) -> None:
    """Check `exp`."""
    # RFC 7519 s4.1.4: "on or after which the JWT MUST NOT be accepted for processing".
    if now >= _required_time(claims, "exp") + policy.leeway:
        raise InvalidToken(reasons.EXPIRED)


def check_not_before(claims: FrozenDict, policy: Policy, now: float) -> None:
    """Check `nbf`, which is optional."""
    # RFC 7519 s4.1.5: "before which the JWT MUST NOT be accepted for processing".
    if "nbf" in claims and now < _required_time(claims, "nbf") - policy.leeway:
        raise InvalidToken(reasons.NOT_YET_VALID)


def check_issued_at(claims: FrozenDict, policy: Policy, now: float) -> None:
    """Refuse a token from the future: its issuer's clock is wrong (RFC 7519 s4.1.6)."""
    if "iat" in claims and now < _required_time(claims, "iat") - policy.leeway:
        raise InvalidToken(reasons.ISSUED_IN_FUTURE)


def check_identifiers(claims: FrozenDict, policy: Policy, _: float) -> None:
    """Check that identifiers are strings fit for a log and a database key."""
    for name in IDENTIFIERS:
        if name in claims and not is_identifier(claims[name]):
            _refuse_claim(name)


def is_identifier(value: object) -> bool:
    """Say whether a value is a string fit for a log and a database key."""
    if type(value) is not str or not value:
        return False
    # `isprintable` is fast. It is False for a few good characters, too, so then the pattern
    # decides.
    return value.isprintable() or not _CONTROL.search(value)


def check_scope(claims: FrozenDict, policy: Policy, _: float) -> None:
    """Check that `scope` is one string of scope tokens (RFC 9068 s2.2.3, RFC 6749 s3.3)."""
    if "scope" not in claims:
        return
    value = claims["scope"]
    if type(value) is not str or not is_scope(value):
        _refuse_claim("scope")


def check_sender_constraint(claims: FrozenDict, policy: Policy, _: float) -> None:
    """Refuse a token that is bound to a key, because nothing here has seen that key."""
    # RFC 9449 s7.2: "MUST reject [...] a DPoP-bound access token received as a bearer token".
    if "cnf" in claims:
        raise InvalidToken(reasons.SENDER_CONSTRAINED)


CLAIM_CHECKS: Mapping[str, Callable[[FrozenDict, Policy, float], None]] = {
    "issuer": check_issuer,
    "audience": check_audience,
    "expiration": check_expiration,
    "not_before": check_not_before,
    "issued_at": check_issued_at,
    "identifiers": check_identifiers,
    "scope": check_scope,
    "sender": check_sender_constraint,
}


def check_claims(claims: FrozenDict, policy: Policy, now: float) -> None:
    """Run every check, or raise InvalidToken with the first reason."""
    if not policy.profile.required <= claims.keys():
        missing = policy.profile.required.difference(claims)
        raise InvalidToken(reasons.CLAIM_MISSING, min(missing))
    if _plainly_hold(claims, policy, now):
        return
    for check in CLAIM_CHECKS.values():
        check(claims, policy, now)


def _plainly_hold(claims: FrozenDict, policy: Policy, now: float) -> bool:
    """Say whether claims of the most common form hold; False: the checks decide.

    A shorter way through all checks, for speed: it takes half their time, which saves more than a
    tenth of what a new token costs beside its signature. A property test compares the two.
    """
    get, leeway = claims.get, policy.leeway
    try:
        exp, iat = claims["exp"], claims["iat"]
        ids = claims["sub"], get("jti", "-"), get("client_id", "-"), get("sid", "-")
        return (
            claims["iss"] == policy.issuer
            and claims["aud"] in policy.audience
            and type(exp) is type(iat) is int
            and 0 <= iat <= exp < MAX_TIME
            and iat - leeway <= now < exp + leeway
            and "" not in ids
            and "".join(ids).isprintable()
            and _is_known_scope(get("scope", ""))
            and "nbf" not in claims
            and "cnf" not in claims
        )
    except (KeyError, TypeError):
        return False


# RFC 6749 s3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E ), scope = scope-token *( SP scope-token
# ). Some issuers send "" for no scope.
_SCOPE = re.compile(r"(?:[!#-\[\]-~]+(?: [!#-\[\]-~]+)*)?")
IDENTIFIERS = ("sub", "jti", "client_id", "sid")


def is_scope(value: str) -> bool:
    """Say whether `value` is a scope (RFC 6749 s3.3), or "" for none."""
    return _SCOPE.fullmatch(value) is not None


def is_scope_token(value: object) -> bool:
    """Say whether `value` is one word of a scope (RFC 6749 s3.3)."""
    return isinstance(value, str) and value != "" and " " not in value and is_scope(value)


# Cached, because many tokens have the same few scopes.
_is_known_scope: Callable[[str], bool] = lru_cache(maxsize=256)(is_scope)


_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def time_of(claims: FrozenDict, name: str) -> float | None:
    """Return a NumericDate in seconds, or None where it is absent or not valid."""
    value: Any = claims.get(name)
    # `type`, because a bool is an int, too. The parser has refused NaN and Infinity.
    return value if type(value) in (int, float) and 0 <= value < MAX_TIME else None


def lifetime(claims: FrozenDict, leeway: float) -> tuple[float, float, float]:
    """Return from when, and before when, claims that hold now keep holding, and their life.

    All in seconds. The first two are the comparisons of the checks above that depend on the time;
    the life is what the token says of it, from its issue to its end, without the leeway.
    """
    issued, end = claims.get("iat", 0), claims["exp"]
    return max(claims.get("nbf", 0), issued) - leeway, end + leeway, float(end - issued)


def _required_time(claims: FrozenDict, name: str) -> float:
    value = time_of(claims, name)
    return _refuse_claim(name) if value is None else value


def _refuse_claim(name: str) -> NoReturn:
    raise InvalidToken(reasons.CLAIM_MALFORMED, name)


def check_type(parsed: Parsed, profile: Profile) -> None:
    """Check the header `typ`, before any key is looked up. Raises InvalidToken."""
    typ = parsed.header.members.get("typ", "")
    # RFC 7515 s4.1.9: a `typ` without "/" is to be read as with "application/" in front; case
    # doesn't count.
    if type(typ) is not str or (not typ and "typ" in parsed.header.members):
        raise InvalidToken(reasons.TYPE)
    if typ.lower().removeprefix("application/") not in profile.types:
        raise InvalidToken(reasons.TYPE)


class Accepted(NamedTuple):
    """A token whose claims hold, from `start` and before `end`; times are in seconds."""

    token: AccessToken
    start: float
    end: float
    life: float  # what the token says of it, from its issue to its end, without the leeway


def accept(parsed: Parsed, policy: Policy, now: float) -> Accepted:
    """Return the token, its signature being good, when its claims hold. Raises InvalidToken."""
    claims = parsed.claims
    check_claims(claims, policy, now)
    token = AccessToken(claims, policy.own, policy.scopes)
    for one in policy.checks:
        try:
            accepted = one(token)
        except Exception as error:
            # A check that raises refuses the token. The type of the error is logged, but not its
            # text, which may quote a claim.
            raise InvalidToken(reasons.CHECK_FAILED, type(error).__name__) from error
        # Only `True` accepts: a check that forgets its `return` gives None, which refuses.
        if accepted is not True:
            raise InvalidToken(reasons.CHECK_REFUSED, getattr(one, "__name__", "check"))
    return Accepted(token, *lifetime(claims, policy.leeway))
