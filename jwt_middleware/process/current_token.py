"""The token of the present request, as a context variable that the middlewares set."""

from __future__ import annotations

from contextvars import ContextVar

from ..values.tokens import AccessToken

CURRENT: ContextVar[AccessToken | None] = ContextVar("jwt_middleware.token", default=None)


def current_token() -> AccessToken | None:
    """Return the verified token of the request that this code serves, or None."""
    return CURRENT.get()


def required_token() -> AccessToken:
    """Return the verified token of the request that this code serves.

    Raises:
        LookupError: there is none: the route is public or optional, or this code serves no request
            (a thread of the application's own, say).

    """
    token = CURRENT.get()
    if token is None:
        raise LookupError(
            "no verified token here: the route is public or optional, or this code runs outside a "
            "request"
        )
    return token
