"""For Quart: what a view asks for, beside it. The middleware stands around the application.

app.asgi_app = JWTMiddleware(app.asgi_app, settings)

@app.post("/orders")
@require(scope="orders:write")
async def order(): ...
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from quart import Response, current_app, has_websocket_context, request, websocket

from .process.view_rules import RULE, refusal, view_rule
from .values.arrays import Several


def require(
    *, scope: str = "", max_age: int | None = None, acr_values: Several[str] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Awaitable[Any]]]:
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
    rule = view_rule(scope, max_age, acr_values)

    def beside(view: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        @wraps(view)
        async def checked(*args: Any, **kwargs: Any) -> Any:
            asked: Any = websocket if has_websocket_context() else request
            refused = refusal(asked.scope, rule)
            if refused is not None:
                # An answer to a handshake that wasn't accepted refuses it.
                return Response(refused.body, refused.status, dict(refused.headers))
            return await current_app.ensure_async(view)(*args, **kwargs)

        setattr(checked, RULE, rule)
        return checked

    return beside
