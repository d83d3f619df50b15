"""Replies of ours as Django's responses, and the token that stays current while a body streams."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.http import HttpResponse, HttpResponseRedirect

from ..values.errors import ConnectionCut
from ..values.requests import Response
from ..values.tokens import AccessToken

if TYPE_CHECKING:
    from ..process.connection import Connection

Current = ContextVar[AccessToken | None]


def django_response(ours: Response) -> HttpResponse:
    """Return an answer of ours as Django sends it."""
    # Django's test client reads the `url` of a redirect. The Location is set below, like the rest.
    is_redirect = any(name == "location" for name, _ in ours.headers)
    made = HttpResponseRedirect("/") if is_redirect else HttpResponse(ours.body)
    made.status_code = ours.status
    del made["Content-Type"]  # a preflight's answer has none
    for name, value in ours.headers:
        if name == "set-cookie":
            made.cookies.load(value)  # Django keeps cookies apart: there may be several
        else:
            made[name] = value
    return made


def keep_current(
    response: Any, token: AccessToken, current: Current, watch: Any, body: Any
) -> None:
    """Let `current_token()` hold while a chunk of a streamed body is made, not between chunks.

    `watch` is called when the body begins. Under WSGI it returns what looks before each chunk
    whether the token still holds; under ASGI it returns the connection, which ends by itself.
    `body` is the request's, which Django doesn't close after an error of a stream.
    """
    if getattr(response, "file_to_stream", None) is not None:
        return  # a server sends it faster if it gets Django's own wrapper of a file
    chunks = response.streaming_content
    if response.is_async:

        async def close() -> None:
            await sync_to_async(response.close)()
            body.close()

        response.streaming_content = _achunks(chunks, token, current, watch, close)
    else:
        response.streaming_content = _chunks(chunks, token, current, watch)


def _chunks(
    body: Iterator[bytes],
    token: AccessToken,
    current: Current,
    watch: Callable[[], Callable[[], None]] | None,
) -> Iterator[bytes]:
    look = watch() if watch is not None else None
    while True:
        if look is not None:
            look()
        before = current.set(token)
        try:
            chunk = next(body, None)
        finally:
            current.reset(before)
        if chunk is None:
            return
        yield chunk


async def _achunks(
    body: AsyncIterator[bytes],
    token: AccessToken,
    current: Current,
    watch: Callable[[], Connection] | None,
    close: Callable[[], Awaitable[None]],
) -> AsyncIterator[bytes]:
    connection = watch() if watch is not None else None
    try:
        while True:
            before = current.set(token)
            try:
                chunk = await anext(body, None)
            finally:
                current.reset(before)
            if chunk is None:
                return
            yield chunk
    except CancelledError as error:
        reason = connection.reason if connection is not None else None
        if connection is None or reason is None or not connection.took(error):
            raise
        await close()
        raise ConnectionCut(reason) from None
    finally:
        if connection is not None:
            connection.forget()
