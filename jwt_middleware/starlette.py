"""For Starlette: what an endpoint asks for, beside it. The middleware is around the application.

In the application:

    app.add_middleware(JWTMiddleware, settings=settings)

    @require(scope="orders:write")
    async def order(request): ...

For FastAPI see `jwt_middleware.fastapi`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.websockets import WebSocket

from .process.view_rules import View, beside, by_kind, refusal, view_rule
from .request.routes import RouteRule
from .values import requests
from .values.arrays import Several

__all__ = ["require"]

DENIAL = "websocket.http.response"  # the server can answer a handshake like a request


def require(
    *, scope: str = "", max_age: int | None = None, acr_values: Several[str] = ()
) -> Callable[[View], View]:
    """Refuse a request, or a WebSocket's handshake, before its endpoint is called.

    For functions, and for methods of an `HTTPEndpoint`. The rule of the route (`Settings.routes`)
    holds, too.

    Args:
        scope: all of these, separated by one space, are needed; "": any valid token.
        max_age: seconds since the user authenticated (RFC 9470 s4).
        acr_values: one of these must be the claim `acr` (RFC 9470 s4).

    Raises:
        ConfigurationError: for a scope that no token can have, and a wrong `max_age`; at once.
        RuntimeError: at a request, where no middleware of ours is around the application.
        TypeError: at a request, where the endpoint isn't given the request.

    """
    return beside(view_rule(scope, max_age, acr_values), by_kind(_plain, _awaited))


def _plain(endpoint: View, rule: RouteRule) -> View:
    def checked(*args: Any, **kwargs: Any) -> Any:
        refused = refusal(_connection(args, kwargs).scope, rule)
        return endpoint(*args, **kwargs) if refused is None else _answer(refused)

    return checked


def _awaited(endpoint: View, rule: RouteRule) -> View:
    async def checked(*args: Any, **kwargs: Any) -> Any:
        connection = _connection(args, kwargs)
        refused = refusal(connection.scope, rule)
        if refused is None:
            return await endpoint(*args, **kwargs)
        if isinstance(connection, WebSocket):
            await _deny(connection, refused)
            return None
        return _answer(refused)

    return checked


def _connection(args: tuple[Any, ...], kwargs: dict[str, Any]) -> HTTPConnection:
    for one in (*args, *kwargs.values()):
        if isinstance(one, HTTPConnection):
            return one
    raise TypeError(
        "require stands beside an endpoint that takes the request; "
        "in FastAPI use jwt_middleware.fastapi.RequireScope"
    )


def _answer(refused: requests.Response) -> Response:
    return Response(refused.body, refused.status, dict(refused.headers))


async def _deny(websocket: WebSocket, refused: requests.Response) -> None:
    if DENIAL in websocket.scope.get("extensions", {}):
        await websocket.send_denial_response(_answer(refused))
    else:
        await websocket.close(1008)  # RFC 6455 s7.4.1: policy; the server answers with 403
