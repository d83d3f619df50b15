"""For Quart: what a view asks for, beside it. The middleware stands around the application.

In the application:

    app.asgi_app = JWTMiddleware(app.asgi_app, settings)

    @app.post("/orders")
    @require(scope="orders:write")
    async def order(): ...
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from quart import Response, current_app, has_websocket_context, request, websocket

from .process.view_rules import View, beside, refusal, view_rule
from .request.routes import RouteRule
from .values.arrays import Several

__all__ = ["require"]


def require(
    *, scope: str = "", max_age: int | None = None, acr_values: Several[str] = ()
) -> Callable[[View], View]:
    """Refuse a request, or a WebSocket's handshake, before its view is called.

    The rule of the route (`Settings.routes`) holds, too.

    Args:
        scope: all of these, separated by one space, are needed; "": any valid token.
        max_age: seconds since the user authenticated (RFC 9470 s4).
        acr_values: one of these must be the claim `acr` (RFC 9470 s4).

    Raises:
        ConfigurationError: for a scope that no token can have, and a wrong `max_age`; at once.
        RuntimeError: at a request, where no middleware of ours is around the application.

    """
    return beside(view_rule(scope, max_age, acr_values), _awaited)


def _awaited(view: View, rule: RouteRule) -> View:
    async def checked(*args: Any, **kwargs: Any) -> Any:
        asked: Any = websocket if has_websocket_context() else request
        refused = refusal(asked.scope, rule)
        if refused is not None:
            # An answer to a handshake that wasn't accepted refuses it.
            return Response(refused.body, refused.status, dict(refused.headers))
        return await current_app.ensure_async(view)(*args, **kwargs)

    return checked
