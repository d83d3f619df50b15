"""Replies of ours as Django's responses, and the token that stays current while a body streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any

from django.http import HttpResponse

from ..values.requests import Response
from ..values.tokens import AccessToken

Current = ContextVar[AccessToken | None]


def django_response(ours: Response) -> HttpResponse:
    """Return an answer of ours as Django sends it."""
    made = HttpResponse(ours.body, status=ours.status)
    del made["Content-Type"]  # a preflight's answer has none
    for name, value in ours.headers:
        if name == "set-cookie":
            made.cookies.load(value)  # Django keeps cookies apart: there may be several
        else:
            made[name] = value
    return made


def keep_current(response: Any, token: AccessToken, current: Current) -> None:
    """Let `current_token()` hold while a chunk of a streamed body is made, not between chunks."""
    if getattr(response, "file_to_stream", None) is not None:
        return  # a server sends it faster if it gets Django's own wrapper of a file
    if response.is_async:
        response.streaming_content = _achunks(response.streaming_content, token, current)
    else:
        response.streaming_content = _chunks(response.streaming_content, token, current)


def _chunks(body: Iterator[bytes], token: AccessToken, current: Current) -> Iterator[bytes]:
    while True:
        before = current.set(token)
        try:
            chunk = next(body, None)
        finally:
            current.reset(before)
        if chunk is None:
            return
        yield chunk


async def _achunks(
    body: AsyncIterator[bytes], token: AccessToken, current: Current
) -> AsyncIterator[bytes]:
    while True:
        before = current.set(token)
        try:
            chunk = await anext(body, None)
        finally:
            current.reset(before)
        if chunk is None:
            return
        yield chunk
