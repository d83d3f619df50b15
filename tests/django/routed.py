"""Django's router, bare and behind our middleware, for tests that compare routers with rules."""

import asyncio
import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse, HttpResponseNotAllowed
from django.test import override_settings
from django.urls import path as django_path
from django.utils.decorators import sync_and_async_middleware

import tests.django.project  # noqa: F401
from jwt_middleware import Settings
from tests.django.project import OURS

# Method, path, root, token -> status, endpoint that was reached.
Served = tuple[int, str | None]
Call = Callable[[str, bytes, str, str | None], Served]
Endpoints = Mapping[str, tuple[str, list[str]]]
reached: list[str] = []


class WSGI:
    """Calls under WSGI."""

    @staticmethod
    def seen(method: str, path: bytes, root: str) -> tuple[str, str]:
        # Octets that aren't UTF-8 are percent-encoded again: then no rule opens the path, as if
        # they were replaced.
        return method.upper(), path.decode("utf-8", "replace") or "/"

    def call(self, app: Any, method: str, path: bytes, root: str, token: str | None) -> int:
        statuses: list[int] = []
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": root.lstrip("!"),
            "PATH_INFO": path.decode("latin-1"),
            "SERVER_NAME": "api.example",
            "SERVER_PORT": "443",
            "HTTP_HOST": "x/login?",
            "HTTP_X_HTTP_METHOD_OVERRIDE": "GET",
            "wsgi.url_scheme": "https",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": io.StringIO(),
        }
        if token:
            environ["HTTP_AUTHORIZATION"] = f"Bearer {token}"
        list(app(environ, lambda status, headers, exc_info=None: statuses.append(int(status[:3]))))
        return statuses[0]


class ASGI:
    """Calls under ASGI."""

    @staticmethod
    def seen(method: str, path: bytes, root: str) -> tuple[str, str]:
        # Versions cut the root off in different ways; what Django resolves is what counts.
        request = ASGIRequest(ASGI.scope(method, path, root, None), io.BytesIO())
        return method.upper(), request.path_info or "/"

    @staticmethod
    def scope(method: str, path: bytes, root: str, token: str | None) -> dict[str, Any]:
        headers = [(b"x-http-method-override", b"GET"), (b"host", b"x/login?")]
        if token:
            headers.append((b"authorization", f"Bearer {token}".encode()))
        return {
            "type": "http",
            "method": method,
            "path": ("" if root[:1] == "!" else root) + path.decode("utf-8", "replace"),
            "root_path": root.lstrip("!"),
            "query_string": b"",
            "headers": headers,
        }

    def call(self, app: Any, method: str, path: bytes, root: str, token: str | None) -> int:
        return asyncio.run(self._call(app, self.scope(method, path, root, token)))

    async def _call(self, app: Any, scope: dict[str, Any]) -> int:
        statuses: list[int] = []
        messages = iter([{"type": "http.request", "body": b""}])

        async def receive() -> Any:
            for message in messages:
                return message
            return await asyncio.Event().wait()  # the client stays

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        await app(scope, receive, send)
        return statuses[0]


# What is resolved under each kind, for the middleware below; a urlconf may be a tuple.
URLS: dict[bool, tuple[Any, ...]] = {}


@sync_and_async_middleware
def routed(get_response: Any) -> Any:
    """Let Django resolve these paths, and not those of the tests' project."""
    is_async = iscoroutinefunction(get_response)  # pyright: ignore[reportDeprecated]

    def middleware(request: Any) -> Any:
        request.urlconf = URLS[is_async]
        return get_response(request)

    if is_async:
        markcoroutinefunction(middleware)
    return middleware


def app(endpoints: Endpoints, kind: WSGI | ASGI, settings: Settings | None) -> Call:
    """Return Django with these endpoints as one call; `settings`: behind our middleware."""
    is_async = isinstance(kind, ASGI)
    URLS[is_async] = tuple(_patterns(endpoints, is_async=is_async))
    above = ["tests.django.routed.routed"]
    with override_settings(
        MIDDLEWARE=above if settings is None else [*above, OURS], JWT_MIDDLEWARE=settings
    ):
        handler = ASGIHandler() if is_async else WSGIHandler()

    def call(method: str, path: bytes, root: str, token: str | None) -> Served:
        reached.clear()
        status = kind.call(handler, method, path, root, token)
        return status, reached[0] if reached else None

    return call


def _patterns(endpoints: Endpoints, *, is_async: bool) -> Iterator[Any]:
    by_path: dict[str, dict[str, str]] = {}
    for name, (path, methods) in endpoints.items():
        by_path.setdefault(path, {}).update(dict.fromkeys(methods, name))
    for path, names in by_path.items():
        converted = path[1:].replace("{path}", "<path:path>").replace("{one}", "<one>")
        yield django_path(converted, _view(names, is_async=is_async))


def _view(names: dict[str, str], *, is_async: bool) -> Any:
    def serve(request: Any, **parameters: str) -> HttpResponse:
        name = names.get("GET" if request.method == "HEAD" else request.method)
        if name is None:
            return HttpResponseNotAllowed(names)
        reached.append(name)
        return HttpResponse(name.encode())

    async def aserve(request: Any, **parameters: str) -> HttpResponse:
        return serve(request, **parameters)

    return aserve if is_async else serve
