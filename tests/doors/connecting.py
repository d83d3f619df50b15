"""One websocket, or one streamed response, through the ASGI door; and what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from jwt_middleware import Issuer, Refresh, Settings, Tokens
from jwt_middleware.asgi import JWTMiddleware
from jwt_middleware.events import ConnectionEnded
from tests.issuing import AUDIENCE, ISSUER, KEYS, Clock
from tests.waiting import PATIENCE

EVENTS = [(b"content-type", b"text/event-stream; charset=utf-8")]
FILE = [(b"content-type", b"application/zip"), (b"content-length", b"1000000")]


async def until(condition: Callable[[], Any]) -> Any:
    """Wait for what comes true soon."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while True:
        if found := condition():
            return found
        assert asyncio.get_running_loop().time() < deadline, "it doesn't come true"
        await asyncio.sleep(0.005)


async def looks(times: int = 3) -> None:
    """Let the timer look a few times: what should not end has had its chance to."""
    await asyncio.sleep(0.05 * (times + 1))


class Site:
    """Settings with a store, a clock that stands, and a quick feed; and an issuer."""

    def __init__(self, store: Any = "memory://", *, every: float = 0.05, **settings: Any) -> None:
        self.clock = Clock()
        self.events: list[Any] = []
        if callable(store):
            store = store(self.clock, None)
        refresh = {"store": store, "sync_every": every} | settings.pop("refresh", {})
        self.settings = Settings(
            issuer=ISSUER,
            audience=AUDIENCE,
            keys=KEYS,
            refresh=Refresh(**refresh),
            clock=self.clock,
            on_event=self.events.append,
            **settings,
        )
        self.issuer = Issuer(self.settings)

    async def login(self, user: str = "alice", **more: Any) -> Tokens:
        return await self.issuer.aissue(user, **more)

    @property
    def ended(self) -> list[tuple[str, str]]:
        """What was told of connections: reasons and kinds."""
        told = [event for event in self.events if isinstance(event, ConnectionEnded)]
        return [(event.reason, event.kind) for event in told]


class Opened:
    """A connection that an application serves in a task, as a server does."""

    def __init__(self, app: Any, scope: dict[str, Any], first: dict[str, Any]) -> None:
        self.sent: list[dict[str, Any]] = []
        self._coming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._coming.put_nowait(first)
        self.task = asyncio.create_task(app(scope, self._coming.get, self._send))

    async def _send(self, message: dict[str, Any]) -> None:
        if not message["type"].startswith(("http.", "websocket.")):
            raise RuntimeError(f"unexpected message {message['type']}")
        self.sent.append(message)
        if message["type"] == "websocket.close":
            self.receive({"type": "websocket.disconnect", "code": message["code"]})

    def receive(self, message: dict[str, Any]) -> None:
        self._coming.put_nowait(message)

    @property
    def kinds(self) -> list[str]:
        return [message["type"].rpartition(".")[2] for message in self.sent]

    @property
    def code(self) -> int | None:
        """The code with which a websocket was closed."""
        closes = [one["code"] for one in self.sent if one["type"] == "websocket.close"]
        return closes[-1] if closes else None

    async def over(self) -> BaseException | None:
        """Wait until the application's call is over, and return what it raised."""
        await asyncio.wait([self.task], timeout=PATIENCE)
        assert self.task.done(), "it is still open"
        return self.task.exception()

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


def bearer(token: str | None) -> list[tuple[bytes, bytes]]:
    return [] if token is None else [(b"authorization", f"Bearer {token}".encode())]


def http_scope(token: str | None, path: str = "/feed", **more: Any) -> dict[str, Any]:
    scope = {"type": "http", "method": "GET", "path": path, "headers": bearer(token)}
    return scope | more


def get(app: Any, token: str | None, path: str = "/feed", **more: Any) -> Opened:
    body = {"type": "http.request", "body": b"", "more_body": False}
    return Opened(app, http_scope(token, path, **more), body)


def socket(app: Any, token: str | None, path: str = "/ws", **more: Any) -> Opened:
    scope = {"type": "websocket", "path": path, "headers": bearer(token), "subprotocols": []} | more
    return Opened(app, scope, {"type": "websocket.connect"})


def streaming(
    headers: list[tuple[bytes, bytes]], body: Callable[[Any, Any], Awaitable[None]] | None = None
) -> Any:
    """Return an application that starts a response, sends one chunk, and goes on with `body`."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        if body is None:
            await asyncio.Event().wait()
        else:
            await body(scope, send)

    return app


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer each message of a websocket until it is closed."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


def door(site: Site, app: Any = echo) -> JWTMiddleware:
    return JWTMiddleware(app, site.settings)
