"""The ASGI door: scopes to requests, replies to messages. The core decides."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from .request.routes import below_root
from .runtime import Runtime, arun
from .settings import Settings
from .values.errors import ConfigurationError
from .values.model import Request, Response
from .values.steps import Forward, Reply

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
# As wide as frameworks type theirs: Litestar and Quart name message types of their own.
Application: TypeAlias = Callable[[Any, Any, Any], Awaitable[Any]]

POLICY_VIOLATION = 1008  # RFC 6455 s7.4.1; a server turns it into a 403 of the handshake


class JWTMiddleware:
    """Check the access token of every request and WebSocket handshake, then call the application.

    The application reads `scope["jwt_middleware.token"]` (an `AccessToken`, or None on public
    routes), `scope["user"]` and `scope["auth"]` as Starlette expects them, `scope["state"]["jwt"]`,
    or calls `jwt_middleware.current_token()`.

    Put it outside everything that reads who the user is, and inside what compresses or logs.
    """

    def __init__(self, app: Application, settings: Settings) -> None:
        _check_root(app)
        self.app = app
        self._runtime = Runtime.of(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection. What the application raises passes untouched."""
        token = None
        if scope["type"] != "lifespan":
            step = await arun(self._runtime.core, _request(scope))
            if isinstance(step, Reply):
                self._runtime.tell(step.events)
                await _answer(scope, receive, send, step.response)
                return
            token = step.token
            scope = _hand_over(scope, step)
        current = self._runtime.current
        before = current.set(token)
        try:
            await self.app(scope, receive, send)
        finally:
            current.reset(before)


def _check_root(app: Any) -> None:
    # Starlette and FastAPI add this root to the scope inside us: the router would see another path
    # than the rules do. In Flask's family the same name is a folder.
    root = getattr(app, "root_path", "")
    if isinstance(root, str) and root and not hasattr(app, "import_name"):
        raise ConfigurationError(
            "app",
            f"has root_path={root!r}, which changes the path after the rules have seen it",
            "give the root to the server (--root-path), or use app.add_middleware",
        )


def _request(scope: Scope) -> Request:
    if scope["type"] == "http":
        method = scope["method"]
    elif scope["type"] == "websocket":
        method = "GET"  # RFC 6455 s4.1: the handshake is a GET; the scope doesn't say so
    else:
        # Nobody can say what such a scope opens, or how to refuse it in its own words.
        raise RuntimeError(
            f"scope type {scope['type']!r} can't be checked for a token and is refused: "
            "serve it outside JWTMiddleware"
        )
    headers = scope["headers"]

    def header(name: str) -> str | None:
        wanted = name.encode("ascii")
        found = [value for key, value in headers if key == wanted]
        return b", ".join(found).decode("latin-1") if found else None

    # The path as the server decoded it. Never the URL: it is rebuilt from what the client sent.
    return Request(method, below_root(scope["path"], scope.get("root_path") or ""), header)


def _hand_over(scope: Scope, step: Forward) -> Scope:
    # A copy, so that nothing of this request is seen outside; with the request's own state, so that
    # what stands in it already is not lost.
    inner = dict(scope)
    inner["jwt_middleware.token"] = step.token
    inner["user"] = step.user
    inner["auth"] = step.auth
    state = inner.setdefault("state", {})
    state["jwt"] = step.token
    return inner


async def _answer(scope: Scope, receive: Receive, send: Send, response: Response) -> None:
    start = {
        "status": response.status,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in response.headers],
    }
    if scope["type"] == "http":
        await send({"type": "http.response.start", **start})
        await send({"type": "http.response.body", "body": response.body})
        return
    if (await receive())["type"] != "websocket.connect":
        return
    if "websocket.http.response" in (scope.get("extensions") or {}):
        await send({"type": "websocket.http.response.start", **start})
        # Always with `body`: some servers read it without asking.
        await send({"type": "websocket.http.response.body", "body": response.body})
    else:
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": ""})
