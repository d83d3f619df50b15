"""A request as the core reads it, and an answer of ours, as plain values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from .events import Event


class Request:
    """What the core reads of an HTTP request or of a WebSocket handshake.

    `path` is decoded and relative to the root that the application is mounted at. `header` takes a
    lower-case name and returns the field's value, several joined by ", " as RFC 9110 s5.3 says (by
    "; " for Cookie, RFC 9113 s8.2.3), or None. `body` takes the most octets to read, and is only
    ever asked. `credentials` is the Authorization field as the door got it, if it is one.
    """

    __slots__ = ("body", "credentials", "header", "is_websocket", "method", "path")

    def __init__(
        self,
        method: str,
        path: str,
        header: Callable[[str], str | None],
        body: Callable[[int], Any] | None = None,
        *,
        is_websocket: bool = False,
        credentials: str | bytes | None = None,
    ) -> None:
        self.credentials = credentials
        self.method = method
        self.path = path
        self.header = header
        self.body = body
        self.is_websocket = is_websocket


Headers: TypeAlias = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Response:
    """An answer of ours. Header names are lower-case; the body is complete."""

    status: int
    headers: Headers
    body: bytes

    def __repr__(self) -> str:
        return f"<Response {self.status}>"  # the rest may have tokens in it


@dataclass(slots=True)
class Reply:
    """The decision to answer a request ourselves, and what happened."""

    response: Response
    events: tuple[Event, ...] = ()
