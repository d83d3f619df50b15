"""A request as the core reads it, and an answer of ours, as plain values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from .events import Event
from .tokens import Hidden


class Request:
    """What the core reads of an HTTP request or of a WebSocket handshake.

    `path` is decoded and relative to the root that the application is mounted at. `credentials` is
    the Authorization field as the server gave it, if there is exactly one. Each middleware, WSGI
    and ASGI, has a subclass that reads `header`, `place` and `body` from its server's objects.
    """

    __slots__ = (
        "_body",
        "_header",
        "_place",
        "credentials",
        "is_body_asked_for",
        "is_websocket",
        "method",
        "path",
    )

    def __init__(
        self,
        method: str,
        path: str,
        header: Callable[[str], str | None],
        body: Callable[[int], Any] | None = None,
        *,
        is_websocket: bool = False,
        credentials: str | bytes | None = None,
        place: tuple[str, str] = ("", ""),
    ) -> None:
        self.credentials = credentials
        self.method = method
        self.path = path
        self.is_websocket = is_websocket
        self.is_body_asked_for = False
        self._header = header
        self._body = body
        self._place = place

    def header(self, name: str) -> str | None:
        """Return the value of a field by its lower-case name, or None.

        Several fields of one name are joined by ", " (RFC 9110 s5.3), Cookie by "; " (RFC 9113
        s8.2.3).
        """
        return self._header(name)

    def place(self) -> tuple[str, str]:
        """Return the root that the application is mounted at, and the query, not decoded."""
        return self._place

    def connection(self) -> tuple[str, str | None]:
        """Return the address of the peer, "" where it has none, and the certificate it has shown.

        That is in PEM (RFC 7468), from the server's own TLS; None: none, or not known. A request
        that says nothing of its peer has come from nowhere that anybody trusts.
        """
        return "unknown", None

    def body(self, limit: int) -> Any:
        """Return the body, Hidden, of `limit` octets at most; under ASGI it has to be awaited.

        Raises:
            InvalidRequest: the client has gone, or takes too long.
            TooLarge: there are more octets.
            Unavailable: too many bodies are read at once.

        """
        return self._body(limit) if self._body is not None else Hidden(b"")


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
    close_code: int | None = None  # accept the websocket, and close it with this
