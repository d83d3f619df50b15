"""Take the access token out of the `Authorization` header (RFC 6750 s2.1)."""

from __future__ import annotations

from ..jose.jws import MAX_TOKEN
from ..values import reasons
from ..values.errors import InvalidRequest, InvalidToken
from ..values.later import pattern

# RFC 6750 s2.1: credentials = "Bearer" 1*SP b64token. RFC 9110 s11.1: the scheme's case doesn't
# count.
_SCHEME = "bearer"
_B64TOKEN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"
# A server in front joins two header lines with a comma. No parameter of another scheme has this
# form.
_SECOND = pattern(r"(?i), *bearer(?: |$)")


def bearer(authorization: str | None) -> str | None:
    """Return the token of a `Bearer` header; None without the header, or with another scheme's.

    Raises:
        InvalidRequest: for a `Bearer` that no token68 follows, and for two credentials.
        InvalidToken: for a token longer than any that could be good.

    """
    if authorization is None:
        return None
    # RFC 9110 s5.5: a field value has no white space around it.
    authorization = authorization.strip(" \t")
    if authorization[:6].lower() != _SCHEME or authorization[6:7] not in ("", " ", "\t", ","):
        # Before anything that takes time in proportion to what was sent.
        if len(authorization) <= 2 * MAX_TOKEN and _SECOND().search(authorization):
            raise InvalidRequest(reasons.CREDENTIALS_TWICE)
        return None
    token = authorization[6:].lstrip(" ")
    if len(token) > MAX_TOKEN:
        raise InvalidToken(reasons.TOO_LONG)
    if authorization[6:7] != " " or not _is_b64token(token):
        twice = "," in token
        raise InvalidRequest(reasons.CREDENTIALS_TWICE if twice else reasons.CREDENTIALS_MALFORMED)
    return token


def _is_b64token(token: str) -> bool:
    # RFC 6750 s2.1: 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="
    octets = token.encode("utf-8", "replace").rstrip(b"=")
    return bool(octets) and not octets.translate(None, _B64TOKEN)
