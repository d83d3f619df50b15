"""The access tokens that our own issuer makes (RFC 9068 s2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..jose import jws
from ..jose.strict_json import parse_object, quote, to_json
from ..values.tokens import FrozenDict, Grant

# The claims of RFC 7519 s4.1, RFC 8693 s4, and those that name a grant: with these, an application
# could make tokens of other users and grants.
RESERVED = frozenset(
    ("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "scope", "sid", "cnf")
)
AUTH_TIME = "auth_time"
# A login that was moved here: when its user authenticated isn't known, but it wasn't just now.
LONG_AGO: Mapping[str, int] = {AUTH_TIME: 0}
ACCESS_TYPE = "at+jwt"
JITTER = 0.05  # of the lifetime: clients that logged in together don't refresh together


def own_claims(claims: Mapping[str, Any], grant: Grant | None = None) -> FrozenDict:
    """Return the application's claims, read-only and as they will be read. Raises ValueError.

    `grant`: `claims_for` gave them for it. If its row says when the user authenticated, because the
    login is older than the grant, that stays: else the login would become a fresh one.
    """
    row = grant.claims if grant is not None else {}
    said = {AUTH_TIME: row[AUTH_TIME]} if AUTH_TIME in row else {}
    try:
        # Written and read back first, because `dict` also takes pairs: the result shows the names.
        found = parse_object(to_json(said | dict(claims)).encode())
    except (TypeError, ValueError) as error:
        # Without the error's own text, which may contain the value of a claim.
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
    # RFC 9068 s2.2.1: when the user authenticated; a refresh doesn't move it. After a refresh it is
    # the store's time, whose clock may be ahead of this machine's.
    auth_time = min(round(grant.created_at), issued_at)
    others = to_json({AUTH_TIME: auth_time, **grant.claims})[1:]
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
