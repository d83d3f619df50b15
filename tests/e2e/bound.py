"""A real service that binds logins to a key, and what any script in its page can do with it."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from io import BytesIO
from json import dumps, loads
from typing import Any

from jwt_middleware import Cookies, Issuer, KeySet, Proofs, Refresh, Route, Settings
from jwt_middleware.cli.demo.server import DemoServer
from jwt_middleware.token.proof import Proof, ProofReader
from jwt_middleware.values.events import Event
from jwt_middleware.wsgi import JWTMiddleware

from .browsing import Clock, listening
from .scripted import CLIENT, PAGE

LOGIN, REFRESH, REVOKE, ME = "/auth/login", "/auth/refresh", "/auth/revoke", "/me"
LOG_IN = f"client.login('{LOGIN}', {{ name: 'alice' }}).then((answer) => answer.status)"
WHO = f"client.fetch('{ME}').then((answer) => answer.text())"
REFRESHES = "client.refresh().then((tokens) => tokens !== null)"
# What every script of the origin can find out about the keys that IndexedDB has.
KEYS = """(async () => {
    const found = [];
    for (const { name } of await indexedDB.databases()) {
        const opening = indexedDB.open(name);
        await new Promise((resolve) => (opening.onsuccess = resolve));
        const asked = opening.result.transaction("keys").objectStore("keys").getAll();
        await new Promise((resolve) => (asked.onsuccess = resolve));
        opening.result.close();
        found.push(...asked.result);
    }
    const formats = ["jwk", "pkcs8", "raw"];
    const tries = found.flatMap(({ privateKey }) =>
        formats.map((format) => crypto.subtle.exportKey(format, privateKey)));
    const exported = await Promise.allSettled(tries);
    return {
        text: JSON.stringify(found),
        types: found.map(({ privateKey }) => privateKey.type),
        exported: exported.filter(({ status }) => status === "fulfilled").length,
        tried: exported.length,
    };
})()"""


@dataclass(frozen=True)
class Sent:
    """A request of a page, its proof, and how it was answered."""

    path: str
    status: int
    scheme: str | None
    proof: Proof | None
    body: bytes


class Service:
    """An application with a login, its page, and the client that the page imports."""

    def __init__(self, url: str, mode: str, *, access: bool) -> None:
        self.url = url
        self.clock = Clock()
        self.events: list[Event] = []
        self.sent: list[Sent] = []
        self.settings = Settings(
            issuer=url,
            audience=f"{url}/api",
            keys=KeySet.generate(),
            routes=(
                Route(LOGIN, methods=("POST",), public=True, own_origin=True),
                Route("/page", public=True),
                Route("/jwt-client.js", public=True),
            ),
            proofs=Proofs(access=access),
            refresh=Refresh(
                store="memory://",
                cookies=Cookies() if mode == "cookie" else None,
                settle=0,
                access_lifetime=3600,  # longer than a nonce is good
            ),
            on_event=self.events.append,
            clock=self.clock,
        )
        self.issuer = Issuer(self.settings)
        self._door = JWTMiddleware(self._serve, self.settings)
        self.mode = mode
        self._reader = ProofReader()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Serve one request, and note what came."""
        status = 0

        def start(line: str, fields: Any, exc_info: Any = None) -> Any:
            nonlocal status
            status = int(line[:3])
            return start_response(line, fields, exc_info)

        environ["test.body"] = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0))
        environ["wsgi.input"] = BytesIO(environ["test.body"])
        answer = list(self._door(environ, start))
        text, scheme = environ.get("HTTP_DPOP"), environ.get("HTTP_AUTHORIZATION")
        self.sent.append(
            Sent(
                environ["PATH_INFO"],
                status,
                scheme and scheme.partition(" ")[0],
                text and self._reader.read(text),
                environ["test.body"],
            )
        )
        return answer

    def _serve(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/page":
                return _answer(start_response, "text/html", PAGE)
            case "/jwt-client.js":
                return _answer(start_response, "text/javascript", CLIENT.read_bytes())
            case "/auth/login":
                return self._log_in(environ, start_response)
            case _:
                who = environ["REMOTE_USER"].encode()
                return _answer(start_response, "text/plain", who + environ["test.body"])

    def _log_in(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        name = loads(environ["test.body"])["name"]
        if name == "nobody":
            return _answer(start_response, "application/json", b"{}", 403)
        tokens = self.issuer.issue(
            name, proof=environ["jwt_middleware.proof"], replaces=environ.get("jwt_middleware.held")
        )
        body = dumps(dict(tokens)).encode()
        return _answer(start_response, "application/json", body, 200, *tokens.cookies)

    def to(self, path: str) -> list[Sent]:
        return [one for one in self.sent if one.path == path]

    def proofs(self) -> list[Proof]:
        return [one.proof for one in self.sent if one.proof is not None]


def _answer(
    start_response: Any, kind: str, body: bytes, status: int = 200, *fields: tuple[str, str]
) -> Iterable[bytes]:
    headers = [("Content-Type", kind), ("Cache-Control", "no-store"), *fields]
    start_response(f"{status} {HTTPStatus(status).phrase}", headers)
    return [body]


@contextmanager
def serving(mode: str, *, access: bool) -> Generator[Service, None, None]:
    """Give a service that listens."""
    with DemoServer("127.0.0.1", 0) as server:
        found = Service(server.url, mode, access=access)
        server.set_app(found)
        with listening(server):
            yield found
        found.settings.close()
