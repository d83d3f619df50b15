"""An ASGI application whose responses go on until their grant ends, under a real server."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, WebSocketRoute
from starlette.routing import Route as At
from starlette.websockets import WebSocket

from jwt_middleware import Issuer, KeySet, Refresh, Route, Settings
from jwt_middleware.asgi import JWTMiddleware

from .lifeline import end_with_the_test

settings = Settings(
    issuer="https://login.example",
    audience="https://api.example",
    keys=KeySet.generate("Ed25519"),
    routes=(
        Route("/login", public=True),
        Route("/end/*", public=True),
        Route("/running", public=True),
    ),
    refresh=Refresh(store="memory://"),
)
issuer = Issuer(settings)
after = asyncio.Event()
running: list[WebSocket] = []


async def login(request: Request) -> Response:
    tokens = await issuer.aissue("alice")
    return JSONResponse({"token": tokens.access_token, "grant": tokens.grant_id})


async def end(request: Request) -> Response:
    await issuer.arevoke(request.path_params["grant"])
    return PlainTextResponse("ended")


async def lines() -> AsyncIterator[bytes]:
    yield b"first\n"
    while True:
        await asyncio.sleep(30)
        yield b"more\n"


async def chunked(request: Request) -> Response:
    return StreamingResponse(lines())


async def length(request: Request) -> Response:
    return StreamingResponse(lines(), headers={"content-length": "1000"})


async def events(request: Request) -> Response:
    async def data() -> AsyncIterator[str]:
        yield "first"
        await asyncio.Event().wait()

    return EventSourceResponse(data(), ping=30)


class Plain:
    """Streams from a task of its own, while the call waits for the client to go."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def pour() -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"first\n", "more_body": True})
            await asyncio.Event().wait()

        pouring = asyncio.create_task(pour())
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            pouring.cancel()


async def passing(request: Request, call_next: Any) -> Any:
    return await call_next(request)


async def background(request: Request) -> Response:
    async def later() -> None:
        await asyncio.sleep(0.5)
        after.set()

    return PlainTextResponse("answered", background=BackgroundTask(later))


async def ran(request: Request) -> Response:
    await asyncio.wait_for(after.wait(), 20)
    return PlainTextResponse("ran")


async def count(request: Request) -> Response:
    return PlainTextResponse(str(len(running)))


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


async def pushing(websocket: WebSocket) -> None:
    """Send, and never receive."""
    await websocket.accept()
    running.append(websocket)
    try:
        while True:
            await websocket.send_text("tick")
            await asyncio.sleep(0.1)
    finally:
        running.remove(websocket)


async def pondering(websocket: WebSocket) -> None:
    """Never accept."""
    assert (await websocket.receive())["type"] == "websocket.connect"
    await websocket.receive()


ways = [
    At("/chunked", chunked),
    At("/length", length),
    At("/events", events),
]
inner = Starlette(
    routes=[
        At("/login", login),
        At("/end/{grant}", end),
        At("/background", background),
        At("/ran", ran),
        At("/running", count),
        Mount("/base", routes=ways, middleware=[Middleware(BaseHTTPMiddleware, dispatch=passing)]),
        Mount("/gzip", routes=ways, middleware=[Middleware(GZipMiddleware)]),
        Mount("/plain", Plain()),
        WebSocketRoute("/ws", echo),
        WebSocketRoute("/pushing", pushing),
        WebSocketRoute("/pondering", pondering),
        *ways,
    ]
)
inner.add_middleware(JWTMiddleware, settings=settings)
# One that stands outside, as those of trackers and log writers do.
app = BaseHTTPMiddleware(inner, dispatch=passing) if os.environ.get("TEST_OUTSIDE") else inner

if "TEST_ALIVE" in os.environ:
    end_with_the_test(int(os.environ["TEST_ALIVE"]))
