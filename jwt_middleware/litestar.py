"""For Litestar: a guard, for handlers, controllers, routers and applications.

In the application:

    @post("/orders", guards=[require(scope="orders:write")])
    async def order() -> None: ...

    app = JWTMiddleware(Litestar([order], exception_handlers={GuardRefused: answer}), settings)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from litestar import Request, Response
from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler

from .process.view_rules import RULE, refusal, view_rule
from .values import requests
from .values.arrays import Several

__all__ = ["GuardRefused", "answer", "require"]

Guard = Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], None]


class GuardRefused(HTTPException):
    """A request that a guard refuses. `answer` turns it into the middleware's own answer.

    Without that, Litestar writes the body in its own form, with the same status and header fields.

    Attributes:
        refused: the middleware's own answer.

    """

    def __init__(self, refused: requests.Response) -> None:
        super().__init__(status_code=refused.status, headers=dict(refused.headers))
        self.refused = refused


def answer(_: Request[Any, Any, Any], error: GuardRefused) -> Response[bytes]:
    """Return the middleware's own answer: `exception_handlers={GuardRefused: answer}`.

    Args:
        _: the request, which Litestar gives.
        error: what the guard raised.

    """
    refused = error.refused
    headers = dict(refused.headers)
    return Response(
        refused.body,
        status_code=refused.status,
        headers=headers,
        media_type=headers["content-type"],
    )


def require(*, scope: str = "", max_age: int | None = None, acr_values: Several[str] = ()) -> Guard:
    """Return a guard that refuses requests, as the middleware would (RFC 6750 s3.1).

    The rule of the route (`Settings.routes`) holds, too.

    Args:
        scope: all of these, separated by one space, are needed; "": any valid token.
        max_age: seconds since the user authenticated (RFC 9470 s4).
        acr_values: one of these must be the claim `acr` (RFC 9470 s4).

    Raises:
        ConfigurationError: for a scope that no token can have, and a wrong `max_age`; at once.
        RuntimeError: at a request, where no middleware of ours is around the application.
        GuardRefused: by the guard, for a request that is refused.

    """
    rule = view_rule(scope, max_age, acr_values)

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        refused = refusal(connection.scope, rule)  # type: ignore[arg-type]
        if refused is not None:
            raise GuardRefused(refused)

    setattr(guard, RULE, rule)
    return guard
