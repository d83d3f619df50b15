"""The ASGI middleware: turns scopes into requests, and replies into messages. The core decides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from .process.request_bodies import AsyncBody
from .process.runtime import Runtime
from .request.routes import below_root
from .settings.settings import Settings
from .values.errors import ConfigurationError, OAuthError
from .values.flows import arun
from .values.requests import Reply, Request, Response
from .values.tokens import Forward, Hidden

if TYPE_CHECKING:
    from .request.cookies import Jars

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
# As wide as the types of frameworks: Litestar and Quart have message types of their own.
ASGIApplication: TypeAlias = Callable[[Any, Any, Any], Awaitable[Any]]

POLICY_VIOLATION = 1008  # RFC 6455 s7.4.1; a server answers the handshake with 403


class JWTMiddleware:
    """Check the access token of every request and WebSocket handshake, then call the application.

    The application reads `scope["jwt_middleware.token"]` (an `AccessToken`, or None on public
    routes), `scope["user"]` and `scope["auth"]` as Starlette expects them, `scope["state"]["jwt"]`,
    or calls `jwt_middleware.current_token()`.

    Put it outside all code that asks for the user, and inside middleware that compresses or logs.
    """

    def __init__(self, app: ASGIApplication, settings: Settings) -> None:
        _check_root(app)
        self.app = app
        self._runtime = Runtime.of(settings)
        self._core = self._runtime.core(asynchronous=True)
        self._warm = self._core.warm
        jars = self._core.jars
        self._inside = app if jars is None else partial(_without_cookies, app, jars)
        if self._runtime.has_inner_door:
            self._inside = partial(_marked, self._inside, self._runtime)
        self._current = self._runtime.current
        self._is_asked_again = self._runtime.check_workers()
        self._runtime.check_place()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection. Exceptions of the application pass unchanged."""
        step: Forward | None = None
        if scope["type"] == "http":
            path, root, warm = scope["path"], scope.get("root_path"), self._warm
            if root or not path:
                path = below_root(path, root or "")
            # Not kept as a local: error trackers send locals.
            step = warm(scope["method"], path, _credentials(scope["headers"]))
        if step is None:
            if scope["type"] == "lifespan":
                await _check_asyncio(receive, send)
                if self._runtime.store is not None or self._is_asked_again:
                    receive, send = _watched(self._runtime, receive, send)
                await self.app(scope, receive, send)
                return
            step = await self._decided(scope, receive, send)
            if step is None:
                return
        # A copy, so that nothing of this request is seen outside. The state is copied with its
        # contents.
        scope = {**scope}
        token = scope["jwt_middleware.token"] = step.token
        scope["user"], scope["auth"] = step.user, step.auth
        try:
            state = scope["state"]
        except KeyError:
            state = scope["state"] = {}
        state["jwt"] = token
        app, current = self._inside, self._current
        before = current.set(token)
        try:
            await app(scope, receive, send)
        finally:
            current.reset(before)

    async def refuse(self, scope: Scope, receive: Receive, send: Send, error: OAuthError) -> None:
        """Answer a connection that can't be served, though its token is good."""
        reply = self._core.refuse(_ASGIRequest(scope, receive), error)
        self._runtime.tell(reply.events)
        await _answer(scope, receive, send, reply.response)

    async def _decided(self, scope: Scope, receive: Receive, send: Send) -> Forward | None:
        """Let the core decide. None: the request has been answered."""
        request = _ASGIRequest(scope, receive)
        step = await arun(self._core.decide(request), self._runtime.carry)
        if not isinstance(step, Reply):
            return step
        self._runtime.tell(step.events)
        if not request.is_body_asked_for:
            await AsyncBody(receive).drain(request, step.response.status)
        await _answer(scope, receive, send, step.response)
        return None


def _credentials(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the Authorization field; for none, and for two, octets that no cached token has."""
    found: bytes | None = None
    for name, value in headers:
        if name == b"authorization":
            if found is not None:
                return b""  # the core refuses two
            found = value
    return found or b""


def _without_cookies(
    app: ASGIApplication, jars: Jars, scope: Scope, receive: Receive, send: Send
) -> Awaitable[Any]:
    """Call the application without the refresh cookies; a login gets them as `held`."""
    _take_cookies(jars, scope)
    return app(scope, receive, send)


def _take_cookies(jars: Jars, scope: Scope) -> None:
    cookies = [value.decode("latin-1") for name, value in scope["headers"] if name == b"cookie"]
    held = scope["jwt_middleware.held"] = jars.held("; ".join(cookies))
    if held.refresh or any(jars.refresh.prefix in one for one in cookies):
        left = "; ".join(filter(None, map(jars.without_refresh, cookies)))
        others = [(name, value) for name, value in scope["headers"] if name != b"cookie"]
        scope["headers"] = others + ([(b"cookie", left.encode("latin-1"))] if left else [])


def _marked(
    app: ASGIApplication, runtime: Runtime, scope: Scope, receive: Receive, send: Send
) -> Awaitable[Any]:
    """Call the application, and tell the middleware in it that ours has let this request in."""
    scope["jwt_middleware.door"] = runtime
    return app(scope, receive, send)


def _check_root(app: Any) -> None:
    # Starlette and FastAPI add this root to the scope after us: their router would see another path
    # than our rules. In Flask and Quart the same attribute is a folder.
    root = getattr(app, "root_path", "")
    if isinstance(root, str) and root and not hasattr(app, "import_name"):
        raise ConfigurationError(
            "app",
            f"has root_path={root!r}, which changes the path after the rules have seen it",
            "give the root to the server (--root-path), or use app.add_middleware",
        )


async def _check_asyncio(receive: Receive, send: Send) -> None:
    """Refuse to start on another event loop than asyncio's. Raises ConfigurationError."""
    from asyncio import get_running_loop

    try:
        get_running_loop()
    except RuntimeError:
        error = ConfigurationError(
            "app",
            "the ASGI door needs asyncio, and this server runs it on another event loop",
            "not trio: hypercorn --worker-class asyncio; or the WSGI door",
        )
        await receive()
        # A server that only sees an exception takes it for "no lifespan here" and goes on.
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        raise error from None


def _watched(runtime: Runtime, receive: Receive, send: Send) -> tuple[Receive, Send]:
    """Open and close with the application, which sees the messages unchanged."""

    async def watched_receive() -> Message:
        message = await receive()
        if message["type"] == "lifespan.startup":
            try:
                runtime.check_workers(at_startup=True)
                await runtime.acheck()
            except Exception as error:
                # A server that only sees an exception takes it for "no lifespan here" and goes on.
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                raise
        return message

    async def watched_send(message: Message) -> None:
        if message["type"].startswith("lifespan.shutdown"):
            await runtime.aclose()
        await send(message)

    return watched_receive, watched_send


class _ASGIRequest(Request):
    __slots__ = ("_headers", "_receive")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.is_websocket = scope["type"] == "websocket"
        if not self.is_websocket and scope["type"] != "http":
            # What such a scope opens, and how to refuse it, can't be known.
            raise RuntimeError(
                f"scope type {scope['type']!r} can't be checked for a token and is refused: "
                "serve it outside JWTMiddleware"
            )
        # RFC 6455 s4.1: the handshake is a GET; the scope doesn't say so.
        self.method = "GET" if self.is_websocket else scope["method"]
        # The path as the server decoded it. Never the URL: it is rebuilt from what the client sent.
        path, root = scope["path"], scope.get("root_path")
        self.path = below_root(path, root or "") if root or not path else path
        self._headers = scope["headers"]
        credentials = [value for name, value in self._headers if name == b"authorization"]
        self.credentials = credentials[0] if len(credentials) == 1 else None
        self.is_body_asked_for = False
        self._receive = receive

    def header(self, name: str) -> str | None:
        octets = name.encode("ascii")
        found = [value for key, value in self._headers if key == octets]
        if not found:
            return None
        return (b"; " if name == "cookie" else b", ").join(found).decode("latin-1")

    def body(self, limit: int) -> Awaitable[Hidden[bytes]]:
        self.is_body_asked_for = True
        return AsyncBody(self._receive).read(limit)


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
        # Always with `body`: some servers read it without looking whether it is there.
        await send({"type": "websocket.http.response.body", "body": response.body})
    else:
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": ""})
