"""Public documents, such as key sets and metadata: made once, the same for every client."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Protocol

from ..jose.strict_json import to_json
from ..values.errors import NotAllowed, OAuthError
from ..values.flows import Flow
from ..values.requests import Headers, Reply, Request, Response
from .origins import Anyone, Origins, is_preflight

MAX_AGE = 600  # seconds; as long as our own remote key sets keep one


class Answering(Protocol):
    """What answers requests at paths of ours by a flow."""

    def answer(self, request: Request) -> Flow[Reply]:
        """Return the answer to any request. Raises OAuthError."""
        ...

    def refusal_headers(self, request: Request, error: OAuthError, /) -> Headers:
        """Return the header fields of a refusal, beside the usual ones."""
        ...


class Document:
    """One JSON object at one path, for GET and HEAD. Scripts of the `readers` may read it."""

    __slots__ = ("_body", "_content", "_etag", "_kept", "_readers")

    def __init__(self, members: Mapping[str, object], readers: Origins | Anyone) -> None:
        self._body = to_json(members).encode()
        self._etag = f'"{sha256(self._body).hexdigest()[:32]}"'
        self._content: Headers = (
            ("content-type", "application/json"),
            ("content-length", str(len(self._body))),
        )
        self._kept: Headers = (
            ("etag", self._etag),
            ("cache-control", f"public, max-age={MAX_AGE}"),
        )
        self._readers = readers

    def answer(self, request: Request) -> Response:
        """Return the answer to any request. Raises NotAllowed."""
        if request.method not in ("GET", "HEAD"):
            return other_method(request, self._readers, "GET", "HEAD")
        headers = self._kept + self._readers.headers(request)
        # RFC 9110 s13.1.2: "*" matches any version of the document.
        known = request.header("if-none-match") or ""
        if self._etag in known or known.strip(" \t") == "*":
            return Response(304, headers, b"")
        return Response(
            200, self._content + headers, b"" if request.method == "HEAD" else self._body
        )

    def refusal_headers(self, request: Request, _: OAuthError) -> Headers:
        """Return the header fields of a refusal at this path, beside the usual ones."""
        return self._readers.headers(request)


def other_method(request: Request, readers: Origins | Anyone, *methods: str) -> Response:
    """Return the answer for OPTIONS where only `methods` are known. Raises NotAllowed."""
    allow = ", ".join((*methods, "OPTIONS"))
    if request.method != "OPTIONS":
        raise NotAllowed(allow)
    headers: Headers = (("allow", allow), ("cache-control", "no-store"))
    if is_preflight(request):
        headers += readers.preflight(request, ", ".join(methods))
    return Response(204, headers, b"")
