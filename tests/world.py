"""Both doors, one world: each request goes through WSGI and ASGI, and both must answer the same."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from wsgiref.validate import validator

from jwt_middleware import AccessToken, Settings, current_token
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.values.events import Event
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware

Headers = Iterable[tuple[str, str | bytes]]


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

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key == name.lower()]
        assert len(found) <= 1, f"{name} comes {len(found)} times"
        return found[0] if found else None

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
        return str(self.events[-1].reason) if self.events else None


class World:
    """One settings object behind both doors, with a plain application inside each."""

    def __init__(self, settings: Settings) -> None:
        self.events: list[Event] = []
        told = settings.on_event

        def on_event(event: Event) -> None:
            self.events.append(event)
            if told is not None:
                told(event)

        self.settings = settings.replace(on_event=on_event)
        self.wsgi = validator(WSGIMiddleware(validator(self._wsgi_app), self.settings))
        self.asgi = ASGIMiddleware(self._asgi_app, self.settings)
        self._seen: tuple[AccessToken | None, str | None] | None = None

    def _wsgi_app(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        token = environ["jwt_middleware.token"]
        assert current_token() is token
        user = environ.get("REMOTE_USER")
        self._seen = token, user.encode("latin-1").decode() if user is not None else None
        start_response("200 OK", [("content-type", "text/plain")])
        return [b"application"]

    async def _asgi_app(self, scope: Any, receive: Any, send: Any) -> None:
        token = scope["jwt_middleware.token"]
        assert current_token() is token
        assert scope["state"]["jwt"] is token
        user = scope["user"]
        self._seen = token, user.display_name if user.is_authenticated else None
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"application"})

    def get(self, path: str = "/", token: str | None = None, *, headers: Headers = ()) -> Answer:
        return self.request("GET", path, token, headers=headers)

    def request(
        self, method: str, path: str = "/", token: str | None = None, *, headers: Headers = ()
    ) -> Answer:
        """Send one request through both doors. `path` is decoded, as a server hands it on."""
        sent = [
            (name, value.encode() if isinstance(value, str) else value) for name, value in headers
        ]
        if token is not None:
            sent.append(("Authorization", b"Bearer " + token.encode("utf-8", "surrogatepass")))
        by_wsgi = self.through_wsgi(method, path, sent)
        by_asgi = self.through_asgi(method, path, sent)
        assert by_wsgi == by_asgi, "the doors disagree"
        assert by_wsgi.reason == by_asgi.reason
        return by_asgi

    def through_wsgi(self, method: str, path: str, headers: list[tuple[str, bytes]]) -> Answer:
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path.encode("utf-8", "surrogatepass").decode("latin-1"),
            "QUERY_STRING": "",
            "SERVER_NAME": "api.example",
            "SERVER_PORT": "443",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            # What a client or a server in front may have put there must not survive.
            "jwt_middleware.token": "forged",
            "REMOTE_USER": "forged",
            "AUTH_TYPE": "forged",
        }
        for name, value in headers:
            key = "HTTP_" + name.upper().replace("-", "_")
            joined = value.decode("latin-1")
            environ[key] = f"{environ[key]},{joined}" if key in environ else joined
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, found: list[tuple[str, str]], exc_info: Any = None) -> Any:
            started.append((status, found))
            return lambda chunk: None

        self._seen, before = None, len(self.events)
        # wsgiref's validator refuses hostile methods and paths; they are ours to refuse.
        app = (
            self.wsgi if _is_plain(method, path) else WSGIMiddleware(self._wsgi_app, self.settings)
        )
        chunks = app(environ, start_response)
        body = b"".join(chunks)
        getattr(chunks, "close", lambda: None)()
        ((status, found),) = started
        return self._result(int(status[:3]), found, body, before)

    def through_asgi(self, method: str, path: str, headers: list[tuple[str, bytes]]) -> Answer:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "https",
            "path": path,
            "raw_path": path.encode("utf-8", "surrogatepass"),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.lower().encode(), value) for name, value in headers],
            "client": ("203.0.113.9", 50000),
            "server": ("api.example", 443),
            "jwt_middleware.token": "forged",
            "user": "forged",
            "auth": "forged",
        }
        messages: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            messages.append(message)

        self._seen, before = None, len(self.events)
        asyncio.run(self.asgi(scope, receive, send))
        start, *chunks = messages
        assert start["type"] == "http.response.start"
        found = [(name.decode(), value.decode("latin-1")) for name, value in start["headers"]]
        body = b"".join(chunk.get("body", b"") for chunk in chunks)
        return self._result(start["status"], found, body, before)

    def _result(
        self, status: int, headers: list[tuple[str, str]], body: bytes, before: int
    ) -> Answer:
        token, user = self._seen if self._seen is not None else (None, None)
        lowered = tuple((name.lower(), value) for name, value in headers)
        return Answer(
            status,
            lowered,
            body,
            reached=self._seen is not None,
            token=token,
            user=user,
            events=tuple(self.events[before:]),
        )


def _is_plain(method: str, path: str) -> bool:
    return method in (
        "GET",
        "HEAD",
        "POST",
        "OPTIONS",
        "PUT",
        "DELETE",
        "PATCH",
    ) and path.startswith("/")
