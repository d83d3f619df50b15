"""Applications with what only their process knows: a store in memory, or keys made at start."""

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import make_server

import uvicorn
from flask import Flask
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route as Path

from jwt_middleware import KeySet, Refresh, Route, Settings, asgi, wsgi

from .lifeline import end_with_the_test

HAS_STORE = os.environ["TEST_OWN"] == "store"
SECRET = "the same in each process: 6kZ0VtQn7m2yX9hR4cLw8uBfE3pJ5sAd"
SETTINGS = Settings(
    issuer="https://login.example",
    audience="https://api.example",
    keys=KeySet.secret(SECRET) if HAS_STORE else KeySet.generate(),
    routes=(Route("/open", public=True),),
    refresh=Refresh(store="memory://") if HAS_STORE else None,
)


async def plain(scope: Any, receive: Any, send: Any) -> None:
    """Answer 200; know no lifespan."""
    assert scope["type"] == "http"
    await PlainTextResponse("served")(scope, receive, send)


async def view(request: Request) -> PlainTextResponse:
    return PlainTextResponse("served")


def pep_3333(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
    return [b"served"]


def make_added() -> Starlette:
    """Return an application whose door is made when it is first called, in its lifespan."""
    starlette = Starlette(routes=[Path("/open", view)])
    starlette.add_middleware(asgi.JWTMiddleware, settings=SETTINGS)
    return starlette


if "TEST_ALIVE" in os.environ:
    end_with_the_test(int(os.environ["TEST_ALIVE"]))


def make_flask() -> Flask:
    flask = Flask(__name__)
    flask.add_url_rule("/open", view_func=lambda: "served")
    flask.wsgi_app = wsgi.JWTMiddleware(flask.wsgi_app, SETTINGS)  # type: ignore[method-assign]
    return flask


KINDS: dict[str, Callable[[], Any]] = {
    "added": make_added,
    "asgi": lambda: asgi.JWTMiddleware(plain, SETTINGS),
    "wsgi": lambda: wsgi.JWTMiddleware(pep_3333, SETTINGS),
    "flask": make_flask,
}
app = KINDS[os.environ["TEST_KIND"]]()

if __name__ == "__main__":
    port, server = int(sys.argv[1]), sys.argv[2]
    if server == "uvicorn":
        uvicorn.run("tests.servers.own_app:app", port=port, workers=2)
    else:
        make_server("127.0.0.1", port, app).serve_forever()
