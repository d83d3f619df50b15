"""Used by all measurements: an issuer, its tokens, a request, a caller for each interface."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from jwt_middleware import Settings, TokenCache
from jwt_middleware.testing import TokenFactory

PATH = "/items/1"
LIVE = 10_000  # tokens in use at one time
CLAIMS: dict[str, Any] = {
    "scope": "read write",
    "sid": "zq4yJ3b9TfK2mWv7",
    "auth_time": 1,
    "roles": ["editor", "author"],
    "email": "alice@example.com",
    # Two libraries require these in every access token.
    "type": "access",
    "fresh": False,
}
# What a browser sends, as a server hands it on.
HEADERS = (
    ("host", "api.example.com"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "*/*"),
    ("accept-encoding", "gzip, deflate, br"),
    ("accept-language", "en"),
    ("x-request-id", "0c5a7b1e"),
    ("connection", "keep-alive"),
)

Function = Callable[[], object]
NextToken = Callable[[], str]


class Issuer:
    """An issuer with one RS256 key, its tokens, and forged ones that look like them."""

    def __init__(self, algorithm: str = "RS256") -> None:
        self.factory = TokenFactory(algorithm=algorithm)
        self.token = self.factory.token(**CLAIMS)
        header, payload, signature = self.token.split(".")
        self.forged = f"{header}.{payload}.{'A' * 10}{signature[10:]}"

    @property
    def pem(self) -> str:
        """Return the public key as most libraries want it."""
        public: Any = self.factory.key.public
        found: bytes = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return found.decode()

    def settings(self, entries: int = 4096, **more: Any) -> Settings:
        """Return settings that take its tokens."""
        return self.factory.settings(token_cache=TokenCache(entries=entries), **more)

    def tokens(self, count: int) -> list[str]:
        """Return `count` different tokens."""
        return [self.factory.token(**CLAIMS) for _ in range(count)]


def always(token: str) -> NextToken:
    """Return a source of one token."""
    return lambda: token


def any_of(tokens: Sequence[str], *, weights: Sequence[float] | None = None) -> NextToken:
    """Return a source of many tokens, in a random order that was chosen before."""
    chosen = random.Random(1).choices(tokens, weights=weights, k=8 * len(tokens))
    return cycle(chosen).__next__


# --- ASGI


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """Answer at once, so that only the middleware is measured."""
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS]


async def _receive() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(message: Any) -> None:
    pass


def _scope(token: str) -> dict[str, Any]:
    # A new object for each request, as from a socket, because `bytes` caches its hash.
    credentials = f"Bearer {token}".encode()
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [*_HEADERS, (b"authorization", credentials)],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }


def asgi(app: Any, token: NextToken) -> Function:
    """Return one request to an application that never has to wait."""

    def call() -> None:
        coroutine = app(_scope(token()), _receive, _send)
        try:
            coroutine.send(None)
        except StopIteration:
            return
        raise RuntimeError("this application waits, and can't be measured without a loop")

    return call


def asgi_in_loop(app: Any, token: NextToken, loop: asyncio.AbstractEventLoop) -> Function:
    """Return one request to an application that uses threads, in a loop that waits for them."""

    def call() -> None:
        loop.run_until_complete(app(_scope(token()), _receive, _send))

    return call


def asgi_status(app: Any, token: str) -> int:
    """Return the status of the answer, from within a loop, as at a first request."""
    found = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            found.append(message["status"])

    asyncio.run(app(_scope(token), _receive, send))
    (status,) = found
    return int(status)


# --- WSGI


def wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
    """Answer at once, as `asgi_app` does."""
    start_response("200 OK", [("content-length", "2")])
    return [b"ok"]


_ENVIRON = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "PATH_INFO": PATH,
    "QUERY_STRING": "",
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "8000",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "127.0.0.1",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.input": None,
    "wsgi.errors": None,
    "wsgi.multithread": False,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
    **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in HEADERS},
}


def _environ(token: str) -> dict[str, Any]:
    return {**_ENVIRON, "HTTP_AUTHORIZATION": f"Bearer {token}"}


def _start(status: str, headers: Any, exc_info: Any = None) -> None:
    pass


def wsgi(app: Any, token: NextToken) -> Function:
    """Return one request, its body read to the end."""

    def call() -> None:
        body = app(_environ(token()), _start)
        for _ in body:
            pass
        close = getattr(body, "close", None)
        if close is not None:
            close()

    return call


def wsgi_status(app: Any, token: str) -> int:
    """Return the status of the answer."""
    found = []

    def start(status: str, headers: Any, exc_info: Any = None) -> None:
        found.append(int(status.split(maxsplit=1)[0]))

    b"".join(app(_environ(token), start))
    return found[-1]


def checked(status: Callable[[Any, str], int], app: Any, good: str, bad: str) -> Any:
    """Return the application, after a check that it accepts `good` and refuses `bad`."""
    found = status(app, good), status(app, bad)
    assert found[0] == 200, (app, found)
    assert found[1] in (401, 403, 422), (app, found)
    return app
