"""Take the access token out of the `Authorization` header (RFC 6750 s2.1), or of a gateway's."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable
from urllib.parse import unquote_plus

from ..jose.jws import MAX_TOKEN
from ..values import reasons
from ..values.errors import InvalidClient, InvalidRequest, InvalidToken
from ..values.requests import Request

# RFC 6750 s2.1: credentials = "Bearer" 1*SP b64token. RFC 9110 s11.1: the scheme may be written in
# any case.
_BEARER_SCHEME = "bearer"
_DPOP_SCHEME = "dpop"  # RFC 9449 s7.1, with the same syntax
_B64TOKEN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"
# Servers join two header lines with a comma. No parameter of another scheme has this form.
_SECOND = re.compile(r"(?i), *(?:bearer|dpop)(?: |$)")


class Credentials:
    """An access token as it came, and the key that it has in the cache of known tokens, if any.

    `is_proved` says that it came with the scheme DPoP, so that a proof must have come with it. Its
    `repr` shows no token: error trackers send the locals of frames.
    """

    __slots__ = ("is_proved", "name", "text")

    def __init__(self, text: str, name: str | bytes | None, *, is_proved: bool = False) -> None:
        self.text = text
        self.name = name
        self.is_proved = is_proved

    def __repr__(self) -> str:
        return "<Credentials>"


def in_header(request: Request) -> Credentials | None:
    """Return the token of a request's Authorization field, or None. Raises as `bearer` does.

    Its key in the cache is the field as the middleware got it, text or octets: so a known token is
    found before the field is parsed.
    """
    given = request.credentials
    if given is None:  # no such field, or more than one
        text = bearer(request.header("authorization"))
        return None if text is None else Credentials(text, None)
    field = given.decode("latin-1") if isinstance(given, bytes) else given
    # RFC 9110 s11.1 lets the scheme be written in any case, with space around it. Only the
    # commonest spelling is cached, or one token could fill the cache in a thousand spellings.
    if field.startswith("Bearer ") and len(field) <= MAX_TOKEN:
        text = field[len("Bearer ") :]
        if is_b64token(text):
            return Credentials(text, given)
    found = bearer(field)
    if found is None:
        return None
    name = f"Bearer {found}"
    return Credentials(found, name.encode() if isinstance(given, bytes) else name)


def in_either_scheme(
    request: Request, *, is_known: Callable[[str], bool] = lambda name: False
) -> Credentials | None:
    """Return the token of an Authorization field with the scheme Bearer or DPoP (RFC 9449 s7.1).

    `is_known` says whether a whole field is one that was good: then it isn't parsed again. Raises
    as `bearer` does.
    """
    given = request.credentials
    if given is None:  # no such field, or more than one
        given = request.header("authorization")
    elif isinstance(given, bytes):
        given = given.decode("latin-1")
    if given is not None and is_known(given):
        return Credentials(given[len("DPoP ") :], given, is_proved=True)
    text = of_scheme(_DPOP_SCHEME, given)
    if text is None:
        return in_header(request)
    return Credentials(text, f"DPoP {text}", is_proved=True)


def attempts_proof(request: Request) -> bool:
    """Say whether a request's Authorization field has the scheme DPoP, well-formed or not."""
    given = (request.header("authorization") or "").lstrip(" \t")
    return given[: len(_DPOP_SCHEME)].lower() == _DPOP_SCHEME and given[4:5] in ("", " ", "\t", ",")


def in_named_header(
    request: Request,
    *,
    name: str,
    otherwise: Callable[[Request], Credentials | None] = in_header,
) -> Credentials | None:
    """Return the token of the field called `name`, which has the token alone, without a scheme.

    Without that field the token may be in Authorization, as always. Raises as `bearer` does.
    """
    token = (request.header(name) or "").strip(" \t")
    if not token:
        return otherwise(request)
    # RFC 6750 s2: "Clients MUST NOT use more than one method to transmit the token in each
    # request". Whatever the other field has, it must not be left open who is asking.
    if request.header("authorization") is not None:
        raise InvalidRequest(reasons.CREDENTIALS_TWICE)
    if len(token) > MAX_TOKEN:
        raise InvalidToken(reasons.TOO_LONG)
    if not is_b64token(token):
        if "," in token:
            raise InvalidRequest(reasons.CREDENTIALS_TWICE)
        detail = "its base64url is padded (RFC 7515 s2)" if "=" in token else ""
        raise InvalidRequest(reasons.CREDENTIALS_MALFORMED, detail)
    return Credentials(token, f"Bearer {token}")


def bearer(authorization: str | None) -> str | None:
    """Return the token of a `Bearer` header. See `of_scheme`."""
    return of_scheme(_BEARER_SCHEME, authorization)


def of_scheme(scheme: str, authorization: str | None) -> str | None:
    """Return the token of a header with this scheme; None without one, or with another scheme's.

    Raises:
        InvalidRequest: for a scheme without a token68 after it, and for two credentials.
        InvalidToken: for a token over the size limit.

    """
    if authorization is None:
        return None
    # RFC 9110 s5.5: a field value has no white space around it.
    authorization = authorization.strip(" \t")
    end = len(scheme)
    if authorization[:end].lower() != scheme or authorization[end : end + 1] not in (
        "",
        " ",
        "\t",
        ",",
    ):
        # The length is checked first: the time of the search grows with it.
        if len(authorization) <= 2 * MAX_TOKEN and _SECOND.search(authorization):
            raise InvalidRequest(reasons.CREDENTIALS_TWICE)
        return None
    token = authorization[end:].lstrip(" ")
    if len(token) > MAX_TOKEN:
        raise InvalidToken(reasons.TOO_LONG)
    if authorization[end : end + 1] != " " or not is_b64token(token):
        raise InvalidRequest(
            reasons.CREDENTIALS_TWICE if "," in token else reasons.CREDENTIALS_MALFORMED
        )
    return token


def basic(authorization: str | None) -> str | None:
    """Return the client of a `Basic` header without a password (RFC 6749 s2.3.1); else None.

    A `Bearer` header is ignored: browser clients send their expired token with every request.

    Raises:
        InvalidClient: for a password, and for another scheme, because clients aren't authenticated
            here.

    """
    authorization = (authorization or "").strip(" \t")
    scheme, _, credentials = authorization.partition(" ")
    if not authorization or scheme.lower().startswith(_BEARER_SCHEME):
        return None
    # RFC 7617 s2: the base64 of user-id ":" password.
    try:
        octets = (
            b64decode(credentials.strip(" "), validate=True) if scheme.lower() == "basic" else b""
        )
        client_id, _, password = octets.decode().partition(":")
    except ValueError:
        client_id = password = ""
    if password or not client_id:
        raise InvalidClient(reasons.CLIENT_AUTHENTICATION)
    # RFC 6749 s2.3.1: "encoded using the application/x-www-form-urlencoded encoding algorithm".
    return unquote_plus(client_id)


def is_b64token(token: str) -> bool:
    """Say whether a text can be a token in a header field (RFC 6750 s2.1)."""
    # RFC 6750 s2.1: 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="
    octets = token.encode("utf-8", "replace").rstrip(b"=")
    return bool(octets) and not octets.translate(None, _B64TOKEN)
