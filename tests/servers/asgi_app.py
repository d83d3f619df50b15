"""An ASGI application that needs a server: streams, disconnects, websockets, a lifespan."""

import asyncio
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.websockets import WebSocket

from jwt_middleware.asgi import JWTMiddleware

from .common import PIECE, PIECES, SETTINGS, note, report, who

go_on = asyncio.Event()


async def me(scope: Any, receive: Any, send: Any) -> None:
    body = report(scope["jwt_middleware.token"]) | {"pool": scope["state"].get("pool")}
    await JSONResponse(body)(scope, receive, send)


async def stream(scope: Any, receive: Any, send: Any) -> None:
    go_on.clear()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send(piece(f"first {who()}\n".encode()))
    try:
        # The test says so when it has read the first.
        await asyncio.wait_for(go_on.wait(), 5)
        await send(piece(f"second {who()}\n".encode()))
        await send(piece(b"", more=False))
    finally:
        note("stream closed")


def piece(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def go(scope: Any, receive: Any, send: Any) -> None:
    go_on.set()
    await Response()(scope, receive, send)


async def endless(scope: Any, receive: Any, send: Any) -> None:
    async def pour() -> None:
        for _ in range(PIECES):
            await send(piece(PIECE))
            await asyncio.sleep(0)  # to a client that has gone, a server sends without waiting
        note("nobody stopped me")

    await send({"type": "http.response.start", "status": 200, "headers": []})
    pouring = asyncio.create_task(pour())
    while (await receive())["type"] != "http.disconnect":
        pass
    note("disconnected")
    pouring.cancel()


async def later() -> None:
    await asyncio.wait_for(go_on.wait(), 5)
    note("background")


async def background(request: Request) -> Response:
    go_on.clear()
    return PlainTextResponse("answered", background=BackgroundTask(later))


async def fail(scope: Any, receive: Any, send: Any) -> None:
    raise ZeroDivisionError("meant to be seen in the log of a server under test")


async def echo(scope: Any, receive: Any, send: Any) -> None:
    websocket = WebSocket(scope, receive, send)
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(f"{text}, {who()}")
    note("websocket closed")


async def lifespan(scope: Any, receive: Any, send: Any) -> None:
    for event in ("startup", "shutdown"):
        assert (await receive())["type"] == f"lifespan.{event}"
        if "state" in scope:
            scope["state"]["pool"] = "of the lifespan"
        note(event)
        await send({"type": f"lifespan.{event}.complete"})


PATHS: dict[str, Any] = {
    "/stream": stream,
    "/go": go,
    "/endless": endless,
    "/background": Starlette(routes=[Route("/background", background)]),
    "/fail": fail,
    "/ws": echo,
}


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
    else:
        await PATHS.get(scope["path"], me)(scope, receive, send)


app = JWTMiddleware(application, SETTINGS)
