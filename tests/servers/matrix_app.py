"""Both doors for any server and adapter: `asgi`, `wsgi`, and each behind adapters to the other.

Each is two doors, of which the second, below /cookies, takes tokens from cookies. Behind both is
one application, which reads a path as generously as any router may. The main program is for servers
that have none of their own.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import posixpath
import sys
import warnings
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import import_module
from typing import Any
from urllib.parse import unquote
from wsgiref.simple_server import make_server

from jwt_middleware import KeySet
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware

from .matrix_settings import COOKIES, settings_with


def answer(method: str, path: str, token: Any) -> bytes:
    """Return what the view at a path says."""
    if path == "/fail":
        raise ZeroDivisionError("meant to be seen in the log of a server under test")
    # A framework that merges slashes, resolves dots, decodes once more or cuts parameters off: what
    # one of them takes for /admin is /admin.
    read = posixpath.normpath(unquote(path).partition(";")[0]).replace("//", "/")
    view = "admin" if f"{read}/".startswith("/admin/") else "any"
    said = {"user": token.subject, "view": view}
    return b"" if method == "HEAD" else json.dumps(said).encode()


async def asgi_inside(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        for event in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{event}.complete"})
        return
    body = answer(scope["method"], scope["path"], scope["jwt_middleware.token"])
    length = (b"content-length", str(len(body)).encode())
    headers = [(b"content-type", b"application/json"), length]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def wsgi_inside(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    body = answer(method, path, environ["jwt_middleware.token"])
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


HOST = "127.0.0.1"
_keys, _store = KeySet.load(os.environ["TEST_KEYS"]), os.environ["TEST_STORE"]
_plain, _cookies = (settings_with(_keys, _store, cookies=one) for one in (False, True))
_asgi = [ASGIMiddleware(asgi_inside, one) for one in (_plain, _cookies)]
_wsgi = [WSGIMiddleware(wsgi_inside, one) for one in (_plain, _cookies)]


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    await _asgi[scope.get("path", "").startswith(f"{COOKIES}/")](scope, receive, send)


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    door = _wsgi[environ["PATH_INFO"].startswith(f"{COOKIES}/")]
    return door(environ, start_response)


def __getattr__(name: str) -> Any:
    """Return one of the doors behind an adapter, which few environments hold all of."""
    match name:
        case "a2wsgi_asgi":
            return import_module("a2wsgi").WSGIMiddleware(wsgi)
        case "a2wsgi_wsgi":
            return import_module("a2wsgi").ASGIMiddleware(asgi)
        case "asgiref_asgi":
            return import_module("asgiref.wsgi").WsgiToAsgi(wsgi)
        case "starlette_asgi":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it is deprecated, and used
                return import_module("starlette.middleware.wsgi").WSGIMiddleware(wsgi)
    raise AttributeError(name)


class Gateway(BaseHTTPRequestHandler):
    """Makes an event of API Gateway (version 2.0) of each request, as the gateway does."""

    handler: Any

    def parse_request(self) -> bool:
        """Answer a request by itself, whatever its method."""
        if super().parse_request():
            self.answer()
        return False

    def answer(self) -> None:
        if "Transfer-Encoding" in self.headers:
            self.send_error(411)
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fields = {name.lower() for name in self.headers}
        path, _, query = self.path.partition("?")
        http = {"method": self.command, "path": path, "sourceIp": "203.0.113.7"}
        event = {
            "version": "2.0",
            "rawPath": path,
            "rawQueryString": query,
            "cookies": [
                one for line in self.headers.get_all("Cookie") or () for one in line.split("; ")
            ],
            "headers": {
                one: ",".join(self.headers.get_all(one) or ()) for one in fields - {"cookie"}
            },
            "requestContext": {"http": http | {"protocol": "HTTP/1.1"}},
            "body": base64.b64encode(body).decode(),
            "isBase64Encoded": True,
        }
        answered = self.handler(event, {})
        content = answered["body"]
        octets = base64.b64decode(content) if answered["isBase64Encoded"] else content.encode()
        self.send_response(answered["statusCode"])
        for name, value in answered["headers"].items():
            self.send_header(name, value)
        for cookie in answered.get("cookies", ()):
            self.send_header("Set-Cookie", cookie)
        self.end_headers()
        self.wfile.write(octets)


def main(server: str, port: int) -> None:
    """Run a server that has no program of its own."""
    match server:
        case "bjoern":
            import_module("bjoern").run(wsgi, HOST, port)
        case "gevent":
            import_module("gevent.pywsgi").WSGIServer((HOST, port), wsgi).serve_forever()
        case "werkzeug":
            import_module("werkzeug.serving").run_simple(HOST, port, wsgi, threaded=True)
        case "wsgiref":
            make_server(HOST, port, wsgi).serve_forever()
        case "mangum":
            asyncio.set_event_loop(asyncio.new_event_loop())
            Gateway.handler = import_module("mangum").Mangum(asgi, lifespan="off")
            HTTPServer((HOST, port), Gateway).serve_forever()


if alive := os.environ.get("TEST_ALIVE"):
    from .lifeline import end_with_the_test

    end_with_the_test(int(alive))

if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
