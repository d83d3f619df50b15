"""What a token request asks for: its parameters, in our words, and its client (RFC 6749)."""

from __future__ import annotations

from ..request.body_parameters import faulty
from ..request.cookies import Jars
from ..request.credentials import basic, bearer
from ..token.former_libraries import FormerLibrary
from ..values import reasons
from ..values.errors import InvalidRequest
from ..values.requests import Request
from ..values.tokens import Hidden

_TWO_CLIENTS = "The parameter client_id and the Authorization field name different clients"


class Parameters:
    """The parameters of a token request's body. Its `repr` shows nothing: it holds tokens."""

    __slots__ = ("_found",)

    def __init__(self, found: dict[str, str]) -> None:
        self._found = found

    def __bool__(self) -> bool:
        return bool(self._found)

    def get(self, name: str) -> str | None:
        """Return a parameter that isn't a token."""
        return self._found.get(name)

    def token(self, name: str) -> Hidden[str] | None:
        """Return a parameter that is a token."""
        text = self._found.get(name)
        return None if text is None else Hidden(text)

    def naming(self, text: Hidden[str]) -> Parameters:
        """Return the same with this refresh token, and the `grant_type` for it, if it has none."""
        return Parameters(
            {"grant_type": "refresh_token", **self._found, "refresh_token": text.value}
        )


def as_before(
    library: FormerLibrary, request: Request, found: Parameters, *, has_cookie: bool
) -> Parameters:
    """Return the parameters of a request as the library's clients send it, in our words."""
    text = found.token(library.parameter) or found.token("refresh_token")
    if text is None and library.bearer and not has_cookie:
        in_field = bearer(request.header("authorization"))
        text = None if in_field is None else Hidden(in_field)
    return found if text is None else found.naming(text)


def client_named(request: Request, found: Parameters) -> str | None:
    """Return the client that a request with a token in its body names. Raises OAuthError."""
    named, field = found.get("client_id"), request.header("authorization")
    authenticated = basic(field) if field is not None else None
    if named is not None and authenticated not in (None, named):
        raise InvalidRequest(reasons.CREDENTIALS_TWICE, "client_id", description=_TWO_CLIENTS)
    return named or authenticated


def nothing_came(found: Parameters, jars: Jars | None) -> InvalidRequest:
    """Return the error for a refresh without `grant_type`."""
    error = faulty("grant_type", "is missing")
    if not found and jars is not None:
        # A page sends no parameters in cookie mode: it is the cookie that it lacks.
        error.description = "The request has neither a refresh cookie nor parameters"
    return error
