"""An access token, from text to a verified value (RFC 9068 s4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..jose import jws
from ..jose.jws import Parsed
from ..jose.strict_json import parse_object, quote, rewrite, to_json
from ..values import reasons
from ..values.errors import InvalidToken
from ..values.tokens import AccessToken, FrozenDict, Grant
from .claims import check
from .profiles import Profile

Check = Callable[[AccessToken], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What one issuer's access tokens must satisfy."""

    issuer: str
    audience: frozenset[str]
    profile: Profile
    leeway: float  # seconds
    checks: tuple[Check, ...] = field(default=())
    own: bool = True  # our own issuer: its subjects are our users, its `sid` is a grant of ours
    scopes: frozenset[str] | None = None  # that the issuer may give; None: all that its tokens say


def check_type(parsed: Parsed, profile: Profile) -> None:
    """Check the header `typ`, before any key is looked up. Raises InvalidToken."""
    typ = parsed.header.members.get("typ", "")
    # RFC 7515 s4.1.9: a `typ` without "/" is to be read as with "application/" in front; case
    # doesn't count.
    if type(typ) is not str or (not typ and "typ" in parsed.header.members):
        raise InvalidToken(reasons.TYPE)
    if typ.lower().removeprefix("application/") not in profile.types:
        raise InvalidToken(reasons.TYPE)


def accept(parsed: Parsed, policy: Policy, now: float) -> AccessToken:
    """Return the token, its signature being good, when its claims hold. Raises InvalidToken."""
    claims = parsed.claims
    check(claims, policy, now)
    token = AccessToken(claims, policy.own, policy.scopes)
    for one in policy.checks:
        try:
            accepted = one(token)
        except Exception as error:
            # A check that can't decide doesn't let in. The kind of error goes to the log, its text
            # doesn't: it may quote a claim.
            raise InvalidToken(reasons.CHECK_FAILED, type(error).__name__) from error
        # `True` and nothing that is merely true or that was forgotten to be returned.
        if accepted is not True:
            raise InvalidToken(reasons.CHECK_REFUSED, getattr(one, "__name__", "check"))
    return token


# RFC 7519 s4.1, RFC 8693 s4, and what a grant stands for: an application that could set them could
# forge.
RESERVED = frozenset(
    ("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "scope", "sid", "cnf")
)
TYPE = "at+jwt"
JITTER = 0.05  # of the lifetime, so that a fleet that logged in together doesn't refresh together


def own_claims(claims: Mapping[str, Any]) -> FrozenDict:
    """Return the application's claims, read-only and as they will be read. Raises ValueError."""
    try:
        # Read back before they are looked at: pairs make an object, too.
        found = parse_object(to_json(dict(claims)).encode())
    except (TypeError, ValueError) as error:
        # Without the error's own words: they may have the value of a claim in them.
        raise ValueError(
            f"claims: not JSON: {type(error).__name__} (give dates and identifiers as text, sets "
            "as lists)"
        ) from None
    taken = RESERVED.intersection(found)
    if taken:
        raise ValueError(f"claims: {min(taken)!r} is set by the issuer and can't be given")
    return found


def beginning(issuer: str, audience: tuple[str, ...]) -> str:
    """Return how the claims of all access tokens of an issuer begin: its name and the audience."""
    aud = audience[0] if len(audience) == 1 else audience
    return to_json({"iss": issuer, "aud": aud}).removesuffix("}")


def payload(
    beginning: str, grant: Grant, jti: str, scope: str, issued_at: int, expires_at: int
) -> str:
    """Return the claims of an access token of a grant, as JSON (RFC 9068 s2.2)."""
    # RFC 9068 s2.2.1: when the user authenticated; a refresh doesn't move it.
    others = rewrite({"auth_time": int(grant.created_at), **grant.claims})[1:]
    return (
        f'{beginning},"sub":{quote(grant.subject)},"exp":{expires_at},"iat":{issued_at},'
        f'"jti":"{jti}","client_id":{quote(grant.client_id)},"sid":"{grant.id}",'
        + (f'"scope":"{scope}",{others}' if scope else others)
    )


def check_size(token: str) -> None:
    """Check that servers take a token. Raises ValueError."""
    if len(token) > jws.MAX_TOKEN:
        raise ValueError(
            f"claims: they make an access token of {len(token)} octets, and {jws.MAX_TOKEN} is the "
            "most: put an identifier into the token and the rest into a database"
        )
