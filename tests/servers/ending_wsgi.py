"""A WSGI application whose responses go on until their grant ends, under a real server."""

import json
import os
import time
from collections.abc import Iterator
from typing import Any

from jwt_middleware import Issuer, KeySet, Refresh, Route, Settings
from jwt_middleware.wsgi import JWTMiddleware

from .lifeline import end_with_the_test

settings = Settings(
    issuer="https://login.example",
    audience="https://api.example",
    keys=KeySet.generate("Ed25519"),
    routes=(Route("/login", public=True), Route("/end/*", public=True)),
    refresh=Refresh(store="memory://"),
)
issuer = Issuer(settings)


def lines() -> Iterator[bytes]:
    yield b"first\n"
    for _ in range(300):
        time.sleep(0.1)
        yield b"more\n"


def inner(environ: Any, start_response: Any) -> Any:
    path = environ["PATH_INFO"]
    if path == "/login":
        tokens = issuer.issue("alice")
        body = json.dumps({"token": tokens.access_token, "grant": tokens.grant_id}).encode()
    elif path.startswith("/end/"):
        issuer.revoke(path.removeprefix("/end/"))
        body = b"ended"
    else:
        length = [("Content-Length", "100000")] if path == "/length" else []
        kind = "text/event-stream" if path == "/events" else "text/plain"
        start_response("200 OK", [("Content-Type", kind), *length])
        return lines()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


app = JWTMiddleware(inner, settings)

if "TEST_ALIVE" in os.environ:
    end_with_the_test(int(os.environ["TEST_ALIVE"]))
