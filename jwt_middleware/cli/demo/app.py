"""The demo's application: a login without a password, two calls, and the page to watch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from json import dumps, loads
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from ... import AccessToken, Cookies, Event, Issuer, KeySet, Proofs, Refresh, Route, Settings
from ...settings.settings import wall_clock
from ...wsgi import Environ, JWTMiddleware, StartResponse
from .words import in_words

Fields: TypeAlias = Iterable[tuple[str, str]]
Answer: TypeAlias = tuple[int, object, Fields]  # status, JSON, more header fields

PAGE_FILES = {
    "/": ("index.html", "text/html"),
    "/style.css": ("style.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/jwt-client.js": ("jwt-client.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
# Only files of this server, nothing inline, so an injected script doesn't run.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
SAFE: Fields = (
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
)
ROLES = {"reader": "read", "editor": "read write", "admin": "read write admin"}
MAX_LOGIN = 1000  # octets of a login's body
MAX_NAME = 32
EVENTS_KEPT = 200  # events kept for a page that is opened later


class Demo:
    """A WSGI application behind the middleware with these `settings`."""

    def __init__(
        self,
        origin: str,
        store: str,
        *,
        access_lifetime: float = 20,  # seconds; short, so that its end can be watched
        settle: float = 3,  # seconds; the default of 60 would hide every second click
        clock: Callable[[], float] = wall_clock,
    ) -> None:
        self._lock = Lock()
        self._events: deque[dict[str, object]] = deque(maxlen=EVENTS_KEPT)
        self._count = 0
        folder = Path(__file__).parent
        self._page = {
            path: ((folder / name).read_bytes(), f"{kind}; charset=utf-8")
            for path, (name, kind) in PAGE_FILES.items()
        }
        refresh = Refresh(
            store=store,
            cookies=Cookies(name="demo_refresh"),
            client_id="demo-page",
            access_lifetime=access_lifetime,
            settle=settle,
            idle_limit=600,
            absolute_limit=3600,
        )
        self._limits = {
            "access_lifetime": refresh.access_lifetime,
            "settle": refresh.settle,
            "idle": refresh.idle_limit,
            "absolute": refresh.absolute_limit,
        }
        self.settings = Settings(
            issuer=origin,
            audience=f"{origin}/api",
            # A new KeySet of the keys, because a generated set logs a warning: other processes
            # don't have it. The demo is one process.
            keys=KeySet(KeySet.generate().keys),
            routes=(
                *(Route(path, methods=("GET",), public=True) for path in (*PAGE_FILES, "/events")),
                Route("/login", methods=("POST",), public=True, own_origin=True),
                Route("/api/admin", scope="admin"),
            ),
            proofs=Proofs(urls=_both_hosts(origin), access=True),
            refresh=refresh,
            realm="demo",
            leeway=0,  # one machine has one clock
            on_event=self._note,
            clock=clock,
        )
        self._issuer = Issuer(self.settings)
        self._door = JWTMiddleware(self._serve, self.settings)
        self._calls: Mapping[tuple[str, str], Callable[[Environ], Answer]] = {
            ("POST", "/login"): self._log_in,
            ("GET", "/events"): self._tell,
            ("GET", "/api/me"): self._me,
            ("GET", "/api/admin"): self._admin,
            ("POST", "/api/logout-everywhere"): self._log_out_everywhere,
        }

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        return self._door(environ, start_response)

    def _serve(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        status: int = HTTPStatus.OK
        more: Fields = ()
        if path in self._page and method in ("GET", "HEAD"):
            body, kind = self._page[path]
        else:
            call = self._calls.get((method, path))
            answer = (HTTPStatus.NOT_FOUND, {"error": "not_found"}, ())
            status, value, more = answer if call is None else call(environ)
            body, kind = dumps(value).encode(), "application/json"
        fields = [("Content-Type", kind), ("Content-Length", str(len(body))), *SAFE, *more]
        start_response(f"{status:d} {HTTPStatus(status).phrase}", fields)
        return [b"" if method == "HEAD" else body]

    # --- what an application does

    def _log_in(self, environ: Environ) -> Answer:
        """Begin a grant. A real application checks a password here; the demo believes the name."""
        try:
            name, role, keeps = _login(environ)
            tokens = self._issuer.issue(
                name,
                scope=ROLES[role],
                claims={"roles": [role]},
                replaces=environ["jwt_middleware.held"],
                proof=environ["jwt_middleware.proof"],
                user_agent=environ.get("HTTP_USER_AGENT"),
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            return HTTPStatus.BAD_REQUEST, {"error": "invalid_login"}, ()
        if keeps == "cookie":
            return HTTPStatus.OK, tokens, tokens.cookies
        # The page keeps the refresh token itself, and so gets it in the body.
        return HTTPStatus.OK, {**tokens, "refresh_token": tokens.refresh_token}, ()

    def _me(self, environ: Environ) -> Answer:
        token = _token_of(environ)
        roles = list(token.claims["roles"])
        return HTTPStatus.OK, {"you": token.subject, "roles": roles, "scope": token.scope}, ()

    def _admin(self, environ: Environ) -> Answer:
        grants = self._issuer.grants(_token_of(environ).subject)
        return HTTPStatus.OK, {"your_logins": len(grants)}, ()

    def _log_out_everywhere(self, environ: Environ) -> Answer:
        subject = _token_of(environ).subject
        ended = self._issuer.revoke_all(subject, reason="log out everywhere")
        return HTTPStatus.OK, {"ended": len(ended)}, ()

    # --- what the page watches

    def _note(self, event: Event) -> None:
        words = in_words(event)
        with self._lock:
            self._count += 1
            self._events.append(
                {
                    "number": self._count,
                    "at": self.settings.clock(),
                    "tone": words.tone,
                    "title": words.title,
                    "text": words.text,
                    "grants": words.grant_ids,
                    "generation": words.generation,
                }
            )

    def _tell(self, environ: Environ) -> Answer:
        try:
            after = int(environ["QUERY_STRING"].removeprefix("after=") or 0)
        except ValueError:
            return HTTPStatus.BAD_REQUEST, {"error": "invalid_request"}, ()
        with self._lock:
            events = [one for one in self._events if int(str(one["number"])) > after]
        return HTTPStatus.OK, {"events": events, "limits": self._limits}, ()


def _both_hosts(origin: str) -> tuple[str, ...]:
    """Return the URLs that proofs may be for: people open the demo by any name of their machine."""
    names = ("127.0.0.1", "localhost", "[::1]")
    return (origin, *(f"http://{name}:{urlsplit(origin).port}" for name in names))


def _token_of(environ: Environ) -> AccessToken:
    token: AccessToken = environ["jwt_middleware.token"]
    return token


def _login(environ: Environ) -> tuple[str, str, str]:
    """Return name, role, and where the refresh token goes. Raises what `_log_in` catches."""
    # A form on another site can't send this type, so another site can't start a login.
    if environ.get("CONTENT_TYPE") != "application/json":
        raise ValueError("not JSON")
    octets = environ["wsgi.input"].read(min(int(environ["CONTENT_LENGTH"]), MAX_LOGIN))
    found: dict[str, Any] = loads(octets)
    name = found["name"].strip()
    if len(name) > MAX_NAME:
        raise ValueError("too long")
    return name, found["role"], found["keeps"]
