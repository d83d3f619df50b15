"""Both doors for any server and adapter: `asgi`, `wsgi`, and each behind adapters to the other.

Each is two doors, of which the second, below /cookies, takes tokens from cookies. Behind both is one
application, which reads a path as generously as any router may. A main program is for servers that
have none of their own.
"""

from __future__ import annotations

import base64
import json
import os
import posixpath
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote

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
            from a2wsgi import WSGIMiddleware as adapter

            return adapter(wsgi)
        case "a2wsgi_wsgi":
            from a2wsgi import ASGIMiddleware as adapter

            return adapter(asgi)
        case "asgiref_asgi":
            from asgiref.wsgi import WsgiToAsgi

            return WsgiToAsgi(wsgi)
        case "starlette_asgi":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it is deprecated, and used
                from starlette.middleware.wsgi import WSGIMiddleware as adapter
            return adapter(wsgi)
    raise AttributeError(name)


def serve_mangum(port: int) -> None:
    """Make an event of API Gateway (version 2.0) of each request, as the gateway does."""
    import asyncio
    from http.server import BaseHTTPRequestHandler, HTTPServer

    from mangum import Mangum

    asyncio.set_event_loop(asyncio.new_event_loop())
    handler = Mangum(asgi, lifespan=os.environ.get("TEST_LIFESPAN", "off"))

    class Gateway(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            if "Transfer-Encoding" in self.headers:
                return self.send_error(411)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fields = {name.lower() for name in self.headers}
            joined = {one: ",".join(self.headers.get_all(one) or ()) for one in fields}
            cookies = [one.strip() for one in joined.pop("cookie", "").split(";") if one.strip()]
            path, _, query = self.path.partition("?")
            http = {"method": self.command, "path": path, "sourceIp": "203.0.113.7"}
            event = {
                "version": "2.0",
                "rawPath": path,
                "rawQueryString": query,
                "cookies": cookies,
                "headers": joined,
                "requestContext": {"http": http | {"protocol": "HTTP/1.1"}},
                "body": base64.b64encode(body).decode(),
                "isBase64Encoded": True,
            }
            answered: Any = handler(event, {})
            content = answered["body"]
            octets = (
                base64.b64decode(content) if answered["isBase64Encoded"] else content.encode()
            )
            self.send_response(answered["statusCode"])
            for name, value in answered["headers"].items():
                self.send_header(name, value)
            for cookie in answered.get("cookies", ()):
                self.send_header("Set-Cookie", cookie)
            self.end_headers()
            self.wfile.write(octets)

        do_GET = do_HEAD = do_POST = do_OPTIONS = handle_any

    HTTPServer(("127.0.0.1", port), Gateway).serve_forever()


def main(server: str, port: int) -> None:
    """Run a server that has no program of its own."""
    match server:
        case "bjoern":
            import bjoern

            bjoern.run(wsgi, "127.0.0.1", port)
        case "gevent":
            from gevent.pywsgi import WSGIServer

            WSGIServer(("127.0.0.1", port), wsgi).serve_forever()
        case "werkzeug":
            from werkzeug.serving import run_simple

            run_simple("127.0.0.1", port, wsgi, threaded=True)
        case "wsgiref":
            from wsgiref.simple_server import make_server

            make_server("127.0.0.1", port, wsgi).serve_forever()
        case _:
            serve_mangum(port)


if alive := os.environ.get("TEST_ALIVE"):
    from .lifeline import end_with_the_test

    end_with_the_test(int(alive))

if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
