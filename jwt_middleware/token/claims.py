"""The claim checks, one table (RFC 7519 s4.1, RFC 9068 s2.2 and s4)."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NoReturn, Protocol

from ..values import reasons
from ..values.errors import InvalidToken
from ..values.tokens import FrozenDict
from .profiles import Profile

MAX_TIME = (
    253402300800  # seconds: the end of the year 9999; what lies beyond is an attack or a mistake
)


class Expected(Protocol):
    """What the checks compare with."""

    @property
    def issuer(self) -> str:
        """Return the exact `iss`."""
        ...

    @property
    def audience(self) -> frozenset[str]:
        """Return the names that we go by; one of them must be in `aud`."""
        ...

    @property
    def profile(self) -> Profile:
        """Return which claims are required."""
        ...

    @property
    def leeway(self) -> float:
        """Return the seconds that clocks may differ by."""
        ...


def issuer(claims: FrozenDict, expected: Expected, _: float) -> None:
    """Compare code points: no normalization, no case, no trailing slash (RFC 9068 s4)."""
    if claims["iss"] != expected.issuer:
        raise InvalidToken(reasons.ISSUER)


def audience(claims: FrozenDict, expected: Expected, _: float) -> None:
    """Look for ourselves among the audience (RFC 7519 s4.1.3)."""
    # "If the principal processing the claim does not identify itself with a value in the "aud"
    # claim when this claim is present, then the JWT MUST be rejected."
    given = claims["aud"]
    if type(given) is str:
        if given in expected.audience:
            return
    elif type(given) is not tuple or not all(type(one) is str for one in given):
        _malformed("aud")
    elif not expected.audience.isdisjoint(given):
        return
    raise InvalidToken(reasons.AUDIENCE)


def expiration(claims: FrozenDict, expected: Expected, now: float) -> None:
    """Check `exp`."""
    # RFC 7519 s4.1.4: "on or after which the JWT MUST NOT be accepted for processing".
    exp = claims["exp"]
    if type(exp) is not int or not 0 <= exp < MAX_TIME:
        exp = _time(claims, "exp")
    if now >= exp + expected.leeway:
        raise InvalidToken(reasons.EXPIRED)


def not_before(claims: FrozenDict, expected: Expected, now: float) -> None:
    """Check `nbf`, which is optional."""
    # RFC 7519 s4.1.5: "before which the JWT MUST NOT be accepted for processing".
    if "nbf" in claims and now < _time(claims, "nbf") - expected.leeway:
        raise InvalidToken(reasons.NOT_YET_VALID)


def issued_at(claims: FrozenDict, expected: Expected, now: float) -> None:
    """Refuse a token from the future: its issuer's clock is wrong (RFC 7519 s4.1.6)."""
    iat = claims.get("iat", 0)
    if type(iat) is not int or not 0 <= iat < MAX_TIME:
        iat = _time(claims, "iat")
    if now < iat - expected.leeway:
        raise InvalidToken(reasons.ISSUED_IN_FUTURE)


def identifiers(claims: FrozenDict, expected: Expected, _: float) -> None:
    """Check that identifiers are strings fit for a log and a database key."""
    for name in _IDENTIFIERS:
        if name in claims and not is_identifier(claims[name]):
            _malformed(name)


def is_identifier(value: object) -> bool:
    """Say whether a value is a string fit for a log and a database key."""
    if type(value) is not str or not value:
        return False
    # `isprintable` is the fast path; a few letters fail it, so that the pattern decides.
    return value.isprintable() or not _CONTROL.search(value)


def scope(claims: FrozenDict, expected: Expected, _: float) -> None:
    """Check that `scope` is one string of scope tokens (RFC 9068 s2.2.3, RFC 6749 s3.3)."""
    if "scope" not in claims:
        return
    value = claims["scope"]
    if type(value) is not str or not is_scope(value):
        _malformed("scope")


def sender(claims: FrozenDict, expected: Expected, _: float) -> None:
    """Refuse a token that is bound to a key, because nothing here has seen that key."""
    # RFC 9449 s7.2: "MUST reject [...] a DPoP-bound access token received as a bearer token".
    if "cnf" in claims:
        raise InvalidToken(reasons.SENDER_CONSTRAINED)


CHECKS: tuple[Callable[[FrozenDict, Expected, float], None], ...] = (
    issuer,
    audience,
    expiration,
    not_before,
    issued_at,
    identifiers,
    scope,
    sender,
)


def check(claims: FrozenDict, expected: Expected, now: float) -> None:
    """Run every check, or raise InvalidToken with the first reason."""
    if not expected.profile.required <= claims.keys():
        missing = expected.profile.required.difference(claims)
        raise InvalidToken(reasons.CLAIM_MISSING, min(missing))
    if _plainly_hold(claims, expected, now):
        return
    for one in CHECKS:
        one(claims, expected, now)


def _plainly_hold(claims: FrozenDict, expected: Expected, now: float) -> bool:
    """Say whether claims of the commonest form hold; False says nothing.

    What this takes, every check takes: it asks the same of fewer forms, in half the time, which is
    more than a tenth of what a token costs beside its signature.
    """
    get, leeway = claims.get, expected.leeway
    try:
        exp, iat = claims["exp"], claims["iat"]
        ids = claims["sub"], get("jti", "-"), get("client_id", "-"), get("sid", "-")
        return (
            claims["iss"] == expected.issuer
            and claims["aud"] in expected.audience
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
# ). Some issuers send "" for no scope; that opens nothing.
_SCOPE = re.compile(r"(?:[!#-\[\]-~]+(?: [!#-\[\]-~]+)*)?")
_IDENTIFIERS = ("sub", "jti", "client_id", "sid")


def is_scope(value: str) -> bool:
    """Say whether `value` is a scope (RFC 6749 s3.3), or "" for none."""
    return _SCOPE.fullmatch(value) is not None


# There are few scopes among many tokens.
_is_known_scope: Callable[[str], bool] = lru_cache(maxsize=256)(is_scope)


_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def time_of(claims: FrozenDict, name: str) -> float | None:
    """Return a NumericDate in seconds, or None where it is absent or no such number."""
    value: Any = claims.get(name)
    # A bool is an int in Python; a string is none in JSON; NaN and Infinity never come this far.
    if (type(value) is int or type(value) is float) and 0 <= value < MAX_TIME:
        return float(value) if type(value) is float else value
    return None


def lifetime(claims: FrozenDict, leeway: float) -> tuple[float, float]:
    """Return from when and until before when claims that hold now go on holding, in seconds.

    The same comparisons as in the checks above, for all that moves with time.
    """
    start = max(claims.get("nbf", 0), claims.get("iat", 0)) - leeway
    return start, claims["exp"] + leeway


def life_of(claims: FrozenDict) -> float:
    """Return the seconds from a token's issue to its end: its own word, whoever issued it."""
    return float(claims["exp"] - claims.get("iat", 0))


def _time(claims: FrozenDict, name: str) -> float:
    value = time_of(claims, name)
    return _malformed(name) if value is None else value


def _malformed(name: str) -> NoReturn:
    raise InvalidToken(reasons.CLAIM_MALFORMED, name)
