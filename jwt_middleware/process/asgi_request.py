"""A request as an ASGI server gives it: a scope, and messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ..request import client_certificate
from ..request.routes import below_root
from ..values.requests import Request
from ..values.tokens import Hidden
from .request_bodies import AsyncBody


def path_of(scope: MutableMapping[str, Any]) -> str:
    """Return the path below the root that the application is mounted at."""
    # The path as the server decoded it. Never the URL: it is rebuilt from what the client sent.
    path, root = scope["path"], scope.get("root_path")
    return below_root(path, root or "") if root or not path else path


class ASGIRequest(Request):
    """A request, read from a scope and the messages of its server."""

    __slots__ = ("_headers", "_receive", "_scope")

    def __init__(
        self, scope: MutableMapping[str, Any], receive: Callable[[], Awaitable[Any]]
    ) -> None:
        self.is_websocket = scope["type"] == "websocket"
        if not self.is_websocket and scope["type"] != "http":
            # What such a scope opens, and how to refuse it, can't be known.
            raise RuntimeError(
                f"scope type {scope['type']!r} can't be checked for a token and is refused: "
                "serve it outside JWTMiddleware"
            )
        # RFC 6455 s4.1: the handshake is a GET; the scope doesn't say so.
        self.method = "GET" if self.is_websocket else scope["method"]
        self.path = path_of(scope)
        self._headers = scope["headers"]
        credentials = [value for name, value in self._headers if name == b"authorization"]
        self.credentials = credentials[0] if len(credentials) == 1 else None
        self.is_body_asked_for = False
        self._receive = receive
        self._scope = scope

    def connection(self) -> tuple[str, str | None]:
        """See `Request.connection`."""
        return client_certificate.of_asgi(self._scope)

    def header(self, name: str) -> str | None:
        """See `Request.header`."""
        octets = name.encode("ascii")
        found = [value for key, value in self._headers if key == octets]
        if not found:
            return None
        return (b"; " if name == "cookie" else b", ").join(found).decode("latin-1")

    def place(self) -> tuple[str, str]:
        """See `Request.place`."""
        query: bytes = self._scope.get("query_string") or b""
        return self._scope.get("root_path") or "", query.decode("latin-1")

    def body(self, limit: int) -> Awaitable[Hidden[bytes]]:
        """See `Request.body`."""
        self.is_body_asked_for = True
        return AsyncBody(self._receive).read(limit)
