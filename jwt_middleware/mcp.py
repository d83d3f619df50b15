"""For MCP servers: hand the verified token to the MCP SDK, as the SDK's own type.

The SDK gives clients things to bring back later: a session, or the sealed state of a request in
several rounds. It binds these to the user that it knows. If it knows no user, they are bound to
nobody, and one user could go on with what another began.
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
    token, with all of its claims, and None on a public route. Its field `token` isn't the token but
    a digest of its claims, which opens nothing.

    Args:
        app: the ASGI application of the MCP SDK.

    Raises:
        RuntimeError: for a request that hasn't passed through `JWTMiddleware`.

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
            # The SDK reads both: the scope for sessions, its context variable for sealed state.
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

    The SDK's own class takes the client's name, and is authenticated for every issuer.
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
    audience = token.claims.get("aud")
    if isinstance(audience, tuple):
        # If there are several audiences, none is given here; `claims` has all of them.
        audience = audience[0] if len(audience) == 1 else None
    text = to_json(token.claims)
    return _SDKToken(
        token=_name_by_claims(text),
        # Other issuers may leave it out; then the SDK uses issuer and subject.
        client_id=token.client_id or "",
        scopes=sorted(token.scopes),
        expires_at=int(token.expires_at),
        resource=audience,
        subject=token.subject,
        claims=loads(text),  # with lists, as users of the SDK's type expect; they may change them
    )


def _name_by_claims(claims: str) -> str:
    """Return a digest of the claims, in place of the token's text.

    Tools would log the text and hand it on, and MCP forbids a server to pass on the token that it
    got. Code that exchanges the token (RFC 8693) finds it in the request. An empty text would be
    worse: an application that keeps data by this name would have one entry for all users. The
    digest has a colon, which tokens can't have (RFC 6750 s2.1), so that it can't be taken for a
    token.
    """
    return "sha256:" + b64url_encode(sha256(claims.encode()).digest()).decode()
