"""What stays open: a websocket, an event stream, downloads. The middleware ends each in time."""

import asyncio
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from fastapi import APIRouter, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse, StreamingResponse
from fastapi.sse import EventSourceResponse

from jwt_middleware import AccessToken
from jwt_middleware.asgi import renew
from jwt_middleware.fastapi import CurrentToken
from jwt_middleware.values.errors import OAuthError

router = APIRouter()


class Hub:
    """Hands every line on to all who listen in this process. Several need a broker between them."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[str]] = set()

    @contextmanager
    def listening(self) -> Generator[asyncio.Queue[str]]:
        """Give the lines that are told from now on."""
        lines: asyncio.Queue[str] = asyncio.Queue(100)
        self._listeners.add(lines)
        try:
            yield lines
        finally:
            self._listeners.discard(lines)

    def tell(self, line: str) -> None:
        """Tell all. Who is a hundred lines behind misses this one."""
        for lines in self._listeners:
            if not lines.full():
                lines.put_nowait(line)


@router.websocket("/live/chat")
async def chat(websocket: WebSocket, token: CurrentToken) -> None:
    """Talk: `{"say": "hello"}`, or `{"token": "..."}` to go on with a fresh access token.

    A page connects by `new WebSocket(url, ["bearer", token])`. Nothing here ends the connection:
    the middleware closes it, with the code 4401, at its token's end, and at a log-out anywhere.
    """
    hub: Hub = websocket.app.state.chat
    await websocket.accept()
    with hub.listening() as lines:
        pouring = asyncio.create_task(pour(websocket, lines))
        try:
            while True:
                match await websocket.receive_json():
                    case {"token": str(text)}:
                        token = await renewed(websocket, text) or token
                    case {"say": str(line)} if token.has_scope("notes:write"):
                        hub.tell(f"{token.subject}: {line[:200]}")
                    case _:
                        await websocket.send_json({"error": "you may only listen"})
        except (WebSocketDisconnect, ValueError, KeyError):
            return
        finally:
            pouring.cancel()


async def pour(websocket: WebSocket, lines: asyncio.Queue[str]) -> None:
    """Send the lines until the client has gone."""
    with suppress(WebSocketDisconnect, RuntimeError):
        while True:
            await websocket.send_json({"line": await lines.get()})


async def renewed(websocket: WebSocket, text: str) -> AccessToken | None:
    """Let the connection go on with the next token of the same login."""
    try:
        token = await renew(websocket.scope, text)
    except OAuthError as error:
        await websocket.send_json({"error": error.error})
        return None
    await websocket.send_json({"renewed": int(token.expires_at)})
    return token


@router.get("/live/events", response_class=EventSourceResponse, tags=["live"])
async def events(request: Request) -> AsyncIterator[str]:
    """Send every line of the chat as a server-sent event, until the token ends or the login."""
    hub: Hub = request.app.state.chat
    with hub.listening() as lines:
        while True:
            yield await lines.get()


PAGES = 400
PAUSE = 0.05  # seconds that a page takes to be made


@router.get("/live/export", tags=["live"])
async def export() -> StreamingResponse:
    """Make a large file while it is sent. It outlives its token, but not the login.

    Then it is cut by an error, and never looks complete.
    """

    async def pages() -> AsyncIterator[str]:
        for page in range(PAGES):
            yield f"{page},a row of the archive\n" * 500
            await asyncio.sleep(PAUSE)

    return StreamingResponse(pages(), media_type="text/csv")


@router.get("/live/archive", tags=["live"])
async def archive(request: Request) -> FileResponse:
    """Send a large file that is there. It has a Content-Length, so half of it is known as such."""
    path: Path = request.app.state.archive
    return FileResponse(path, filename="archive.bin")
