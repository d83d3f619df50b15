"""The ASGI middleware: turns scopes into requests, and replies into messages. The core decides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from functools import partial
from types import MethodType
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from .process.application_kind import check_kind, check_root
from .process.asgi_request import ASGIRequest, path_of
from .process.request_bodies import AsyncBody
from .process.runtime import Runtime
from .process.view_rules import DOOR
from .request import subprotocol
from .request.routes import below_root
from .settings.settings import Settings
from .values.errors import ConfigurationError, ConnectionCut, InvalidToken, OAuthError
from .values.flows import arun
from .values.proved_key import ForwardLogin
from .values.requests import Reply, Response
from .values.tokens import AccessToken, Forward, Hidden

if TYPE_CHECKING:
    from .core.known_tokens import Entry
    from .process.connection import Connection
    from .request.cookies import Jars
    from .request.routes import RouteRule

__all__ = ["JWTMiddleware", "is_current", "renew"]

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

    Args:
        app: the ASGI application.
        settings: one object for all doors of this process.

    """

    def __init__(self, app: ASGIApplication, settings: Settings) -> None:
        check_kind(app, takes=3)
        check_root(app)
        self.app = app
        self.runtime = Runtime.of(settings)
        self._core = self.runtime.core(asynchronous=True)
        self._warm = self._core.warm
        jars = self._core.jars
        self._inside = app if jars is None else partial(_without_cookies, app, jars)
        self._current = self.runtime.current
        connections = self._connections = self.runtime.open_connections()
        self._running_loop, self._current_task = connections.running_loop, connections.current_task
        connections.mark_as_async(_send_watched)
        self._takes_subprotocol = settings.websockets.subprotocol
        self._is_asked_again = self.runtime.check_workers()
        self.runtime.check_place()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection. Exceptions of the application pass unchanged."""
        step: Forward | None = None
        kind = scope["type"]
        path = ""
        if kind == "http":
            path, root, warm = scope["path"], scope.get("root_path"), self._warm
            if root or not path:
                path = below_root(path, root or "")
            # Not kept as a local: error trackers send locals.
            step = warm(scope["method"], path, _credentials(scope["headers"]))
        if step is None:
            step = await self._decided(scope, receive, send)
            if step is None:
                return
            # A copy, so that nothing of this request is seen outside. The state is copied with its
            # contents.
            scope = {**scope}
            proved = step.proved if isinstance(step, ForwardLogin) else None
            scope["jwt_middleware.proof"] = proved
        else:
            scope = {**scope}
        token = scope["jwt_middleware.token"] = step.token
        scope["user"], scope["auth"] = step.user, step.auth
        scope[DOOR] = self, path
        scope.setdefault("state", {})["jwt"] = token
        watched: list[Any] | None = None
        if kind == "websocket":
            send, watched = self._socket(scope, step, send)
        elif token is not None and (loop := self._running_loop()) is not None:
            # The task is asked for now, because frameworks stream in tasks of their own.
            task = self._current_task(loop)
            watched = [None, send, None, self._connections, step, task, scope["method"], path]
            send = MethodType(_send_watched, watched)
            if "extensions" in scope:
                self._connections.withhold(scope, path)
        app, current = self._inside, self._current
        before = current.set(token)
        try:
            await app(scope, receive, send)
        except BaseException as error:
            if watched is None or watched[0] is None or not watched[0].took(error):
                raise
        finally:
            current.reset(before)
            if watched is not None and watched[0] is not None:
                watched[0].forget()
        if watched is not None and watched[0] is not None:
            await watched[0].finish(watched[1])

    def _socket(self, scope: Scope, step: Forward, send: Send) -> tuple[Send, list[Any]]:
        """Watch a websocket that was let in; return the `send` of the application, and it."""
        if step.token is None:
            connection = None
        else:
            path = path_of(scope)
            connection = self._connections.watch_socket(cast("Entry", step), path, send)
        # What an outer middleware has put there is another one's.
        scope["jwt_middleware.connection"] = connection
        if self._takes_subprotocol:
            send = _without_subprotocol(scope, send)
        return send, [connection, send]

    def refusal(self, found: MutableMapping[str, Any], rule: RouteRule) -> Response | None:
        """Return the answer to a request that a view's own rule refuses (`view_rules.py`)."""
        request = ASGIRequest(found, cast("Receive", None))  # nothing is read of its body
        # The path that the rules have seen: a router that mounts changes the scope.
        request.path = found[DOOR][1] or request.path
        held = found.get("jwt_middleware.held")
        step = self._core.refuse_view(request, found["jwt_middleware.token"], rule, held)
        if step is None:
            return None
        self.runtime.tell(step.events)
        return step.response

    async def refuse(self, scope: Scope, receive: Receive, send: Send, error: OAuthError) -> None:
        """Answer a connection that can't be served, though its token is good."""
        reply = self._core.refuse(ASGIRequest(scope, receive), error)
        self.runtime.tell(reply.events)
        await _answer(scope, receive, send, reply.response)

    async def _decided(self, scope: Scope, receive: Receive, send: Send) -> Forward | None:
        """Let the core decide. None: the request, or the lifespan, has been served."""
        if scope["type"] == "lifespan":
            await _check_asyncio(receive, send)
            if self.runtime.store is not None or self._is_asked_again:
                receive, send = _watched(self.runtime, receive, send)
            await self.app(scope, receive, send)
            return None
        request = ASGIRequest(scope, receive)
        step = await arun(self._core.decide(request), self.runtime.carry)
        if not isinstance(step, Reply):
            return step
        self.runtime.tell(step.events)
        if not request.is_body_asked_for:
            await AsyncBody(receive).drain(request, step.response.status)
        if step.close_code is not None:
            await _explain(scope, receive, send, step)
        else:
            await _answer(scope, receive, send, step.response)
        return None


def _send_watched(watched: list[Any], message: Message) -> Awaitable[None]:
    """Send a message of the application, and notice a response that is streamed.

    `watched` has the connection, if there is one; the server's `send`; what reads the start of the
    response; and what makes a connection. It shows no header field: error trackers send locals.

    This isn't async, because that would make one more coroutine for each message; and a class or a
    closure would take longer to make. It may run in another thread than the event loop's (asgiref).
    """
    if "status" in message:  # the start of the response
        watched[2] = message.get
    elif watched[0] is not None or message.get("more_body"):
        return _send_streamed(watched, message)
    sent: Awaitable[None] = watched[1](message)
    return sent


async def _send_streamed(watched: list[Any], message: Message) -> None:
    """Send a message of a response that is streamed. Raises ConnectionCut after its end."""
    if watched[0] is None:
        _, _, start, connections, *request = watched
        headers = () if start is None else start("headers", ())
        watched[0] = connections.begin(*request, headers)
    elif watched[0].reason is not None:
        raise ConnectionCut(watched[0].reason)
    elif not message.get("more_body"):
        watched[0].forget()
    await watched[1](message)


async def renew(scope: Scope, text: str, *, proof: str | None = None) -> AccessToken:
    """Let a websocket go on with a fresh access token, and return that: what follows is its own.

    It is checked as that of a handshake at the same path, and must be of the same subject and
    grant. The scope and `current_token()` have the fresh token from then on.

    Args:
        scope: that of the websocket.
        text: the token, as a message of the client has brought it.
        proof: of a token that is bound to a key: the client's proof for a GET of the socket's URL,
            as for a handshake. Each is good once.

    Raises:
        OAuthError: the token isn't good for this connection, which goes on with the one it has. A
            `NonceNeeded` has the `nonce` for another proof.
        ConnectionCut: the connection has ended meanwhile.
        RuntimeError: this scope isn't that of a websocket which came with a token.

    """
    connection: Connection | None = scope.get("jwt_middleware.connection")
    if connection is None or not connection.is_websocket:
        raise RuntimeError("renew() needs the scope of a websocket that came with a token")
    scheme = b"Bearer " if proof is None else b"DPoP "
    credentials = Hidden((scheme + text.encode("utf-8", "surrogatepass"), proof))
    del text, proof  # error trackers send locals
    token: AccessToken = await connection.renew(credentials, scope)
    return token


async def is_current(token: AccessToken, settings: Settings) -> bool:
    """Do what `wsgi.is_current` does, in asynchronous code."""
    tokens = Runtime.of(settings).core(asynchronous=True).open_tokens
    try:
        await arun(tokens.check_current(token))
    except InvalidToken:
        return False
    return True


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


def _without_subprotocol(scope: Scope, send: Send) -> Send:
    """Take the token out of a handshake; return a `send` that answers `bearer` if it must."""
    name = subprotocol.FIELD.encode()
    fields = [value.decode("latin-1") for key, value in scope["headers"] if key == name]
    offered = subprotocol.split(",".join(fields))
    if subprotocol.MARK not in offered:
        return send
    left = subprotocol.others(offered)
    others = [(key, value) for key, value in scope["headers"] if key != name]
    scope["headers"] = others + ([(name, ", ".join(left).encode("latin-1"))] if left else [])
    scope["subprotocols"] = left

    def answering(message: Message) -> Awaitable[None]:
        # A browser closes a websocket whose server has chosen none of its subprotocols.
        if message["type"] == "websocket.accept" and not message.get("subprotocol"):
            message = {**message, "subprotocol": subprotocol.MARK}
        return send(message)

    return answering


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


async def _explain(scope: Scope, receive: Receive, send: Send, reply: Reply) -> None:
    """Accept a websocket and close it, because a page sees nothing of a refused handshake."""
    if (await receive())["type"] != "websocket.connect":
        return
    request = ASGIRequest(scope, receive)
    chosen = subprotocol.shown(subprotocol.split(request.header(subprotocol.FIELD) or ""))
    await send({"type": "websocket.accept", "subprotocol": chosen, "headers": []})
    await send({"type": "websocket.close", "code": reply.close_code, "reason": ""})


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
