"""Both doors, one world: every request goes through both, and both must answer the same."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from wsgiref.validate import validator

from jwt_middleware import AccessToken, Issuer, Settings, current_token
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.values.events import Event, Refused
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware

Headers = Iterable[tuple[str, str | bytes]]
Receive = Callable[[], Awaitable[Any]]
Raw = tuple[int, list[tuple[str, str]], bytes]

NOW = 1_800_000_000.0  # where the clock of most tests stands


def standing() -> float:
    """Return `NOW`: the clock of modules that make tokens when they are imported."""
    return NOW


@dataclass(frozen=True)
class Sent:
    """A request, as a server hands it on. `path` is decoded, and below `root`."""

    method: str
    path: str = "/"
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    body: bytes = b""
    root: str = ""
    query: str = ""


@dataclass(frozen=True)
class Answer:
    """What came back. `token` is what the application saw, `reached` whether it was called."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    reached: bool
    token: AccessToken | None = None
    user: str | None = None
    events: tuple[Event, ...] = field(default=(), compare=False)
    sent: str = field(default="", compare=False)  # the refresh token that this answers, for clients

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key == name.lower()]
        assert len(found) <= 1, f"{name} comes {len(found)} times"
        return found[0] if found else None

    @property
    def cookies(self) -> tuple[str, ...]:
        """The Set-Cookie fields, in their order."""
        return tuple(value for key, value in self.headers if key == "set-cookie")

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def challenge(self) -> str:
        return self.header("www-authenticate") or ""

    @property
    def error(self) -> str | None:
        """The OAuth error code of the body, which must be the challenge's."""
        code = self.json.get("error") if self.body else None
        if self.body and self.status != 503:
            assert (f'error="{code}"' in self.challenge) is (code is not None)
        return code

    @property
    def reason(self) -> str | None:
        """The private reason, from the event."""
        refused = [event for event in self.events if isinstance(event, Refused)]
        return str(refused[-1].reason) if refused else None


class Application:
    """A plain application for each door; it keeps what the last request showed it.

    With an issuer it has a login: the user is who the query says.
    """

    def __init__(self, issuer: Issuer | None = None) -> None:
        self.issuer = issuer
        self.seen: tuple[AccessToken | None, str | None] | None = None
        self.cookie: str | None = None  # that the last request had, as it was seen here

    def wsgi(self, environ: dict[str, Any], start_response: Any) -> Any:
        return checked(self._wsgi, environ)(environ, start_response)

    def _wsgi(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        token = environ["jwt_middleware.token"]
        assert current_token() is token
        user = environ.get("REMOTE_USER")
        self.seen = token, user.encode("latin-1").decode() if user is not None else None
        self.cookie = environ.get("HTTP_COOKIE")
        if self.issuer is not None and environ["PATH_INFO"] == "/login":
            held = environ["jwt_middleware.held"]
            tokens = self.issuer.issue(environ["QUERY_STRING"], replaces=held)
            start_response("200 OK", [("content-type", "application/json"), *tokens.cookies])
            return [json.dumps(tokens).encode()]
        start_response("200 OK", [("content-type", "text/plain")])
        return [b"application"]

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        token = scope["jwt_middleware.token"]
        assert current_token() is token
        assert scope["state"]["jwt"] is token
        user = scope["user"]
        self.seen = token, user.display_name if user.is_authenticated else None
        cookies = [value for name, value in scope["headers"] if name == b"cookie"]
        self.cookie = b"; ".join(cookies).decode("latin-1") if cookies else None
        headers, body = [(b"content-type", b"text/plain")], b"application"
        if self.issuer is not None and scope["path"] == "/login":
            held = scope["jwt_middleware.held"]
            tokens = await self.issuer.aissue(scope["query_string"].decode(), replaces=held)
            headers = [(b"content-type", b"application/json")]
            headers += [(name.encode(), value.encode()) for name, value in tokens.cookies]
            body = json.dumps(tokens).encode()
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def answer(self, raw: Raw, events: Iterable[Event]) -> Answer:
        """Return what came back, with what was seen here meanwhile."""
        status, headers, body = raw
        token, user = self.seen if self.seen is not None else (None, None)
        lowered = tuple((name.lower(), value) for name, value in headers)
        return Answer(
            status,
            lowered,
            body,
            reached=self.seen is not None,
            token=token,
            user=user,
            events=tuple(events),
        )


def encoded(headers: Headers, token: str | None) -> list[tuple[str, bytes]]:
    """Return the headers as octets, with the token as the Authorization header has it."""
    sent = [(name, value.encode() if isinstance(value, str) else value) for name, value in headers]
    if token is not None:
        sent.append(("Authorization", b"Bearer " + token.encode("utf-8", "surrogatepass")))
    return sent


def by_wsgi(app: Any, sent: Sent, **more: Any) -> Raw:
    """Send one request to a WSGI application; `more` goes into the environment."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": sent.method,
        "SCRIPT_NAME": sent.root,
        "PATH_INFO": sent.path.encode("utf-8", "surrogatepass").decode("latin-1"),
        "QUERY_STRING": sent.query,
        "SERVER_NAME": "api.example",
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(sent.body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        # What a client or a server in front may have put there must not survive.
        "jwt_middleware.token": "forged",
        "REMOTE_USER": "forged",
        "AUTH_TYPE": "forged",
        **more,
    }
    for name, value in sent.headers:
        key = name.upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        # RFC 9113 s8.2.3: cookies are joined as one Cookie field has them.
        comma = "; " if key == "HTTP_COOKIE" else ","
        joined = value.decode("latin-1")
        environ[key] = f"{environ[key]}{comma}{joined}" if key in environ else joined
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, found: list[tuple[str, str]], exc_info: Any = None) -> Any:
        started.append((status, found))
        return lambda chunk: None

    chunks = checked(app, environ)(environ, start_response)
    body = b"".join(chunks)
    if hasattr(chunks, "close"):
        chunks.close()
    ((status, found),) = started
    return int(status[:3]), found, body


async def by_asgi(app: Any, sent: Sent, receive: Receive | None = None, **more: Any) -> Raw:
    """Send one request to an ASGI application; `more` goes into the scope."""
    path = sent.root + sent.path
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": sent.method,
        "scheme": "https",
        "path": path,
        "raw_path": path.encode("utf-8", "surrogatepass"),
        "query_string": sent.query.encode(),
        "root_path": sent.root,
        "headers": [(name.lower().encode(), value) for name, value in sent.headers],
        "client": ("203.0.113.9", 50000),
        "server": ("api.example", 443),
        "jwt_middleware.token": "forged",
        "user": "forged",
        "auth": "forged",
        **more,
    }
    messages: list[Any] = []

    async def whole() -> Any:
        return {"type": "http.request", "body": sent.body, "more_body": False}

    async def send(message: Any) -> None:
        messages.append(message)

    await app(scope, receive or whole, send)
    start, *chunks = messages
    assert start["type"] == "http.response.start"
    found = [(name.decode(), value.decode("latin-1")) for name, value in start["headers"]]
    return start["status"], found, b"".join(chunk.get("body", b"") for chunk in chunks)


class World:
    """One settings object behind both doors, with a plain application inside each.

    Behind one of them alone, where a setting is only good there.
    """

    def __init__(self, settings: Settings, doors: Iterable[str] = ("wsgi", "asgi")) -> None:
        self.events: list[Event] = []
        told = settings.on_event

        def on_event(event: Event) -> None:
            self.events.append(event)
            if told is not None:
                told(event)

        self.settings = settings.replace(on_event=on_event)
        self.application = Application()
        if "wsgi" in doors:
            self.wsgi = WSGIMiddleware(self.application.wsgi, self.settings)
        if "asgi" in doors:
            self.asgi = ASGIMiddleware(self.application.asgi, self.settings)

    def get(self, path: str = "/", token: str | None = None, *, headers: Headers = ()) -> Answer:
        return self.request("GET", path, token, headers=headers)

    def request(
        self, method: str, path: str = "/", token: str | None = None, *, headers: Headers = ()
    ) -> Answer:
        """Send one request through both doors. `path` is decoded, as a server hands it on."""
        sent = encoded(headers, token)
        by_wsgi = self.through_wsgi(method, path, sent)
        by_asgi = self.through_asgi(method, path, sent)
        assert by_wsgi == by_asgi, "the doors disagree"
        assert by_wsgi.reason == by_asgi.reason
        return by_asgi

    def through_wsgi(self, method: str, path: str, headers: list[tuple[str, bytes]]) -> Answer:
        self.application.seen, before = None, len(self.events)
        raw = by_wsgi(self.wsgi, Sent(method, path, headers))
        return self.application.answer(raw, self.events[before:])

    def through_asgi(self, method: str, path: str, headers: list[tuple[str, bytes]]) -> Answer:
        self.application.seen, before = None, len(self.events)
        raw = asyncio.run(by_asgi(self.asgi, Sent(method, path, headers)))
        return self.application.answer(raw, self.events[before:])


def checked(app: Any, environ: dict[str, Any]) -> Any:
    """Return the application inside wsgiref's validator, for requests that this one takes.

    It refuses some that hostile clients send; those are ours to refuse.
    """
    path, length = environ["PATH_INFO"], environ.get("CONTENT_LENGTH", "")
    is_plain = (
        environ["REQUEST_METHOD"] in _METHODS
        and (path.startswith("/") or (not path and environ["SCRIPT_NAME"] != ""))
        and (not length or (length.isascii() and length.isdigit() and len(length) < 20))
    )
    return validator(app) if is_plain else app


_METHODS = ("GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH")


async def shake_hands(app: Any, path: str, headers: Headers = ()) -> Any:
    """Ask an ASGI application for a WebSocket; return the first message of its answer."""
    scope = {
        "type": "websocket",
        "path": path,
        "headers": [(name.lower().encode(), value) for name, value in encoded(headers, None)],
        "extensions": {"websocket.http.response": {}},
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]
