"""For Channels: the door for websockets, which never pass `MIDDLEWARE`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from channels.db import database_sync_to_async

from ..asgi import JWTMiddleware as ASGIMiddleware
from ..asgi import Receive, Scope, Send
from ..settings.settings import Settings
from ..values import reasons
from ..values.errors import InvalidToken
from .project import jwt_settings
from .requests import TOKEN
from .users import UserTable, nobody

__all__ = ["JWTAuthMiddleware"]

_FOUND = "jwt_middleware.user_outside"


class JWTAuthMiddleware:
    """Check the token of every handshake by the project's settings, then call the application.

        application = ProtocolTypeRouter({
            "http": get_asgi_application(),
            "websocket": JWTAuthMiddleware(URLRouter([...])),
        })

    The rules are the same as for requests: a path without a rule needs a token. Consumers read
    `scope["user"]`, Django's user as `request.user` in a view, and `scope["jwt_middleware.token"]`.
    On a public route `scope["user"]` is what a middleware outside has found (AuthMiddlewareStack),
    else anonymous.

    Args:
        app: the application of websockets, such as a URLRouter.

    Raises:
        ConfigurationError: when the project's settings are wrong.

    """

    asks_for_tokens = True  # `checks.py` looks for it

    def __init__(self, app: Callable[..., Awaitable[Any]]) -> None:
        self.app = app
        self._follow(jwt_settings())

    def _follow(self, settings: Settings) -> None:
        self._settings = settings
        self._door = ASGIMiddleware(self._with_user, settings)
        users = UserTable.of_project()
        self._find = database_sync_to_async(users.find) if users is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        # `override_settings` gives a test other settings, and nobody makes this door anew for it,
        # as Django's test client does with `MIDDLEWARE`.
        settings = jwt_settings()
        if settings is not self._settings:
            self._follow(settings)
        await self._door({**scope, _FOUND: scope.get("user")}, receive, send)

    async def _with_user(self, scope: Scope, receive: Receive, send: Send) -> None:
        outside, user = scope.pop(_FOUND), scope["user"]
        if self._find is not None:
            if scope[TOKEN] is None:
                scope["user"] = outside or nobody()
            elif user.is_authenticated:
                scope["user"] = await self._find(user.identity)
            else:
                scope["user"] = nobody()
        if scope["user"] is None:
            error = InvalidToken(reasons.USER_REFUSED)
            error.grant_id = scope[TOKEN].grant_id
            await self._door.refuse(scope, receive, send, error)
            return
        await self.app(scope, receive, send)
