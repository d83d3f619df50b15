"""Real servers in threads of the test's own process, on loopback."""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import uvicorn


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def asgi(make: Callable[[str], Any], *, lifespan: Any = "off", ws: Any = "none") -> Generator[str]:
    """Serve the ASGI application that `make` returns for its URL; give the URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        config = uvicorn.Config(make(url), log_level="warning", lifespan=lifespan, ws=ws)
        server = uvicorn.Server(config)
        thread = Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield url
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def wsgi(make: Callable[[str], Any]) -> Generator[str]:
    """Serve the WSGI application that `make` returns for its URL; give the URL."""
    with WSGIServer(("127.0.0.1", 0), _Quiet) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        server.set_app(make(url))
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield url
        finally:
            server.shutdown()
            thread.join()


SERVERS = {"asgi": asgi, "wsgi": wsgi}
