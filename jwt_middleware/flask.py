"""For Flask: what a view asks for, beside it. The middleware stands around the application.

In the application:

    app.wsgi_app = JWTMiddleware(app.wsgi_app, settings)

    @app.post("/orders")
    @require(scope="orders:write")
    def order(): ...
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Response, current_app, request

from .process.view_rules import View, beside, refusal, view_rule
from .request.routes import RouteRule
from .values.arrays import Several

__all__ = ["require"]


def require(
    *, scope: str = "", max_age: int | None = None, acr_values: Several[str] = ()
) -> Callable[[View], View]:
    """Refuse a request before its view is called, as the middleware would (RFC 6750 s3.1).

    The rule of the route (`Settings.routes`) holds, too. On a public route no token is read, so
    that every request is refused.

    Args:
        scope: all of these, separated by one space, are needed; "": any valid token.
        max_age: seconds since the user authenticated (RFC 9470 s4).
        acr_values: one of these must be the claim `acr` (RFC 9470 s4).

    Raises:
        ConfigurationError: for a scope that no token can have, and a wrong `max_age`; at once.
        RuntimeError: at a request, where no middleware of ours is around the application.

    """
    return beside(view_rule(scope, max_age, acr_values), _plain)


def _plain(view: View, rule: RouteRule) -> View:
    def checked(*args: Any, **kwargs: Any) -> Any:
        refused = refusal(request.environ, rule)
        if refused is not None:
            return Response(refused.body, refused.status, list(refused.headers))
        return current_app.ensure_sync(view)(*args, **kwargs)

    return checked
