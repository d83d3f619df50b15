"""For MCP servers: hand the verified token to the MCP SDK, as the SDK's own type.

The SDK binds what a client brings back later (the sealed state of a request of several rounds, a
session) to the user that it knows, and where it knows none to nobody: then one user can go on with
what another began.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from json import loads
from typing import Any

from .jose.strict_json import b64url_encode, to_json
from .values.errors import ConfigurationError
from .values.tokens import AccessToken, User

try:
    from mcp.server.auth.middleware.auth_context import auth_context_var
    from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
    from mcp.server.auth.provider import AccessToken as SDKToken
    from starlette.types import ASGIApp, Receive, Scope, Send
except ImportError:
    raise ConfigurationError(
        "jwt_middleware.mcp",
        "needs the MCP SDK, which isn't here",
        "pip install 'wsgi-asgi-jwt-middleware[mcp]'",
    ) from None

__all__ = ["MCPMiddleware"]


class MCPMiddleware:
    """Let the MCP SDK know whose request it serves. It stands inside `JWTMiddleware`.

        app = JWTMiddleware(MCPMiddleware(server.streamable_http_app()), settings)

    In a tool `mcp.server.auth.middleware.auth_context.get_access_token()` then returns the verified
    token, with all of its claims, and None on a public route. Its field `token` is no token, but a
    name for one: the same for the same claims, another for others, and nothing that opens anything.

    Raises:
        RuntimeError: by a request that comes without having been through `JWTMiddleware`.

    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; what isn't HTTP passes untouched."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if "jwt_middleware.token" not in scope:
            raise RuntimeError(
                "MCPMiddleware has to stand inside JWTMiddleware, which checks the token: "
                "JWTMiddleware(MCPMiddleware(app), settings)"
            )
        token, user = scope["jwt_middleware.token"], None
        if token is not None:
            # The SDK looks at both: at the scope for sessions, at its variable for sealed state.
            user = _SDKUser(_for_sdk(token), scope["user"])
            scope = {**scope, "user": user}
        before = auth_context_var.set(user)
        try:
            await self.app(scope, receive, send)
        finally:
            auth_context_var.reset(before)


class _SDKToken(SDKToken):
    """The SDK's token. Its `repr` holds no claim, so that logs don't either."""

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        yield "expires_at", self.expires_at


class _SDKUser(AuthenticatedUser):
    """The SDK's user, with the name of the application's.

    The SDK's own is called after the client, and is authenticated whatever the issuer.
    """

    def __init__(self, token: SDKToken, user: User) -> None:
        super().__init__(token)
        self._user = user

    @property
    def is_authenticated(self) -> bool:
        return self._user.is_authenticated

    @property
    def display_name(self) -> str:
        return self._user.display_name

    @property
    def identity(self) -> str:
        return self._user.identity


def _for_sdk(token: AccessToken) -> SDKToken:
    audience = token.claims["aud"]
    if not isinstance(audience, str):
        # Of several audiences none is told; `claims` has all of them.
        audience = audience[0] if len(audience) == 1 else None
    text = to_json(token.claims)
    return _SDKToken(
        token=_name_by_claims(text),
        # Foreign issuers may leave it out; then the SDK goes by issuer and subject.
        client_id=token.client_id or "",
        scopes=token.scope.split(),
        expires_at=int(token.expires_at),
        resource=audience,
        subject=token.subject,
        claims=loads(text),  # with lists, as readers of the SDK's type expect, and theirs to change
    )


def _name_by_claims(claims: str) -> str:
    """Return what stands where the SDK has the token's text: a digest of what it says.

    Not the text, which tools would hand on and log: MCP's rules forbid a server to pass on the
    token that it got, and who exchanges it (RFC 8693) finds it in the request. Not an empty text
    either, or what an application keeps by it would be one entry for all users. A colon stands in
    no token (RFC 6750 s2.1), so that no service takes this for one.
    """
    return "sha256:" + b64url_encode(sha256(claims.encode()).digest()).decode()
