"""For Falcon, WSGI and ASGI: what a responder asks for, beside it.

In the application:

    app = JWTMiddleware(falcon.App(), settings)

    class Orders:
        @require(scope="orders:write")
        def on_post(self, req, resp): ...
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from falcon import HTTPStatus

from .process.view_rules import View, beside, by_kind, refusal, view_rule
from .request.routes import RouteRule
from .values.arrays import Several

__all__ = ["require"]


def require(
    *, scope: str = "", max_age: int | None = None, acr_values: Several[str] = ()
) -> Callable[[View], View]:
    """Refuse a request before its responder is called, as the middleware would (RFC 6750 s3.1).

    The rule of the route (`Settings.routes`) holds, too.

    Args:
        scope: all of these, separated by one space, are needed; "": any valid token.
        max_age: seconds since the user authenticated (RFC 9470 s4).
        acr_values: one of these must be the claim `acr` (RFC 9470 s4).

    Raises:
        ConfigurationError: for a scope that no token can have, and a wrong `max_age`; at once.
        RuntimeError: at a request, where no middleware of ours is around the application.

    """
    return beside(view_rule(scope, max_age, acr_values), by_kind(_plain, _awaited))


def _plain(responder: View, rule: RouteRule) -> View:
    def checked(self: Any, req: Any, *args: Any, **kwargs: Any) -> Any:
        _check(req.env, rule)
        return responder(self, req, *args, **kwargs)

    return checked


def _awaited(responder: View, rule: RouteRule) -> View:
    async def checked(self: Any, req: Any, *args: Any, **kwargs: Any) -> Any:
        _check(req.scope, rule)
        return await responder(self, req, *args, **kwargs)

    return checked


def _check(found: Any, rule: RouteRule) -> None:
    refused = refusal(found, rule)
    if refused is not None:
        # Not an HTTPError: its body would be written anew, in Falcon's form.
        raise HTTPStatus(refused.status, dict(refused.headers), refused.body.decode())
