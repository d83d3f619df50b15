"""A WSGI application that needs a server: streams, files, failures."""

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper

from jwt_middleware.wsgi import JWTMiddleware

from .common import PIECE, PIECES, SETTINGS, note, report, who

Environ = dict[str, Any]
Start = Callable[..., Any]

go_on = threading.Event()


def me(environ: Environ, start: Start) -> Iterable[bytes]:
    body = json.dumps(report(environ["jwt_middleware.token"])).encode()
    start("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]


def stream(environ: Environ, start: Start) -> Iterator[bytes]:
    go_on.clear()
    start("200 OK", [("Content-Type", "text/plain")])
    try:
        yield f"first {who()}\n".encode()
        # The test says so when it has read the first.
        yield f"{'second' if go_on.wait(5) else 'late'} {who()}\n".encode()
    finally:
        note("stream closed")


def go(environ: Environ, start: Start) -> Iterable[bytes]:
    go_on.set()
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "0")])
    return [b""]


def endless(environ: Environ, start: Start) -> Iterator[bytes]:
    start("200 OK", [("Content-Type", "text/plain")])
    try:
        for _ in range(PIECES):
            yield PIECE
        note("nobody stopped me")
    finally:
        note("endless closed")


def file(environ: Environ, start: Start) -> Iterable[bytes]:
    path = Path(__file__)
    wrapper = environ.get("wsgi.file_wrapper")
    size = str(path.stat().st_size)
    kind = "the server's" if wrapper else "ours"
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", size), ("X-Wrapper", kind)])
    return (wrapper or FileWrapper)(path.open("rb"), 256)


def fail(environ: Environ, start: Start) -> Iterable[bytes]:
    raise ZeroDivisionError("meant to be seen in the log of a server under test")


def written(environ: Environ, start: Start) -> Iterable[bytes]:
    write = start("200 OK", [("Content-Type", "text/plain")])
    write(b"written ")
    return [b"returned"]


PATHS: dict[str, Any] = {
    "/me": me,
    "/stream": stream,
    "/go": go,
    "/endless": endless,
    "/file": file,
    "/fail": fail,
    "/written": written,
}


def application(environ: Environ, start: Start) -> Iterable[bytes]:
    return PATHS.get(environ["PATH_INFO"], me)(environ, start)


app = JWTMiddleware(application, SETTINGS)
