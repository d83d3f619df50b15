"""The WSGI middleware: turns environments into requests, and replies into responses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from functools import partial
from http.client import responses
from types import MethodType
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from .process.application_kind import check_kind
from .process.current_token import current_token
from .process.request_bodies import Body
from .process.runtime import Runtime
from .process.view_rules import DOOR
from .process.watched_body import Watch
from .request import client_certificate
from .settings.settings import Settings
from .values.errors import InvalidToken
from .values.flows import run
from .values.proved_key import ForwardLogin
from .values.requests import Reply, Request, Response
from .values.tokens import AccessToken, Forward, Hidden

if TYPE_CHECKING:
    from contextvars import ContextVar

    from .core.known_tokens import Entry
    from .request.cookies import Jars
    from .request.routes import RouteRule

__all__ = ["JWTMiddleware", "inside_asgi", "is_current"]

Environ: TypeAlias = dict[str, Any]
StartResponse: TypeAlias = Callable[..., Any]
WSGIApplication: TypeAlias = Callable[..., Any]  # as wide as the types of frameworks

_PLAIN = ("CONTENT_TYPE", "CONTENT_LENGTH")  # PEP 3333: these two have no HTTP_ in front
_WHOLE = (list, tuple)  # bodies that are complete already


class JWTMiddleware:
    """Check the access token of every request, then call the application.

    The application reads `environ["jwt_middleware.token"]` (an `AccessToken`, or None on public
    routes), `REMOTE_USER` and `AUTH_TYPE`, or calls `jwt_middleware.current_token()`.

    Args:
        app: the WSGI application.
        settings: one object for all doors of this process.

    Raises:
        ConfigurationError: the settings don't fit this door, or the store can't be used.

    """

    def __init__(self, app: WSGIApplication, settings: Settings) -> None:
        check_kind(app, takes=2)
        self.app = app
        self.runtime = Runtime.of(settings)
        self._core = self.runtime.core(asynchronous=False)
        self._warm = self._core.warm
        jars = self._core.jars
        self._inside = app if jars is None else partial(_without_cookies, app, jars)
        self._current = self.runtime.current
        try:
            self.runtime.check_workers()
            self.runtime.check()
        except BaseException:
            self.runtime.close()
            raise

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request. Exceptions of the application pass unchanged."""
        step: Forward | None = None
        scheme = "Bearer"  # the cache of the warm path has no bound token
        # As they came: applications that are mounted change the environment.
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO")
        if path and path.isascii() and "HTTP_AUTHORIZATION" in environ:
            # Not kept as a local: error trackers send locals.
            warm = self._warm
            step = warm(method, path, environ["HTTP_AUTHORIZATION"])
        if step is None:
            request = _WSGIRequest(environ)
            answer = run(self._core.decide(request))
            if isinstance(answer, Reply):
                self.runtime.tell(answer.events)
                response = answer.response
                if not request.is_body_asked_for:
                    Body(environ).drain(request, response.status)
                start_response(
                    f"{response.status} {responses[response.status]}", list(response.headers)
                )
                return [response.body]
            step = answer
            proved = step.proved if isinstance(step, ForwardLogin) else None
            environ["jwt_middleware.proof"] = proved
            scheme = _scheme_of(step.token)
        token, user = step.token, step.remote_user
        environ["jwt_middleware.token"] = token
        environ[DOOR] = self, path
        # Both are always overwritten: a server in front, or a client's header, may have set them.
        if user:
            environ["REMOTE_USER"] = user
        else:
            environ.pop("REMOTE_USER", None)
        if token is not None:
            environ["AUTH_TYPE"] = scheme
        else:
            environ.pop("AUTH_TYPE", None)
        app, current = self._inside, self._current
        started: list[Any] = []
        if token is not None:
            started = [start_response, ()]
            start_response = MethodType(_start_watched, started)
        before = current.set(token)
        try:
            body: Iterable[bytes] = app(environ, start_response)
        finally:
            current.reset(before)
        if isinstance(body, _WHOLE) or _is_file(body, environ):
            return body
        if token is None and current.get() is None:
            return body
        watch = partial(self.watch, started, step, method, path) if started else None
        return _Body(body, token, current, watch)

    def refusal(self, found: MutableMapping[str, Any], rule: RouteRule) -> Response | None:
        """Return the answer to a request that a view's own rule refuses (`view_rules.py`)."""
        request = _WSGIRequest(cast("Environ", found))
        # The path that the rules have seen: applications that are mounted change the environment.
        request.path = _path(found[DOOR][1])
        held = found.get("jwt_middleware.held")
        step = self._core.refuse_view(request, found["jwt_middleware.token"], rule, held)
        if step is None:
            return None
        self.runtime.tell(step.events)
        return step.response

    def watch(
        self, started: list[Any], step: Forward, method: str, raw: str | None
    ) -> Callable[[], None] | None:
        """Return what looks at the token before each chunk of a streamed response, if anything."""
        path = _path(raw)
        if self._core.keeps(method, path):
            return None
        entry = cast("Entry", step)
        return Watch(self.runtime, self._core, entry, path, started[1]).look


def is_current(token: AccessToken, settings: Settings) -> bool:
    """Say whether an access token that was verified before still holds, in any process.

    It does until it expires or its grant ends. For what runs longer than a request: jobs, messages
    of a queue.

    Args:
        token: from an earlier request, of any process.
        settings: the application's.

    Raises:
        Unavailable: that isn't known at the moment.

    """
    tokens = Runtime.of(settings).core(asynchronous=False).open_tokens
    try:
        run(tokens.check_current(token))
    except InvalidToken:
        return False
    return True


def _start_watched(started: list[Any], status: str, headers: Any, exc_info: Any = None) -> Any:
    """Start a response, and keep its fields as an iterator, whose `repr` doesn't show them."""
    started[1] = iter(headers)
    if exc_info is None:
        return started[0](status, headers)
    return started[0](status, headers, exc_info)


def _without_cookies(
    app: WSGIApplication, jars: Jars, environ: Environ, start_response: StartResponse
) -> Any:
    """Call the application without the refresh cookies; a login gets them as `held`."""
    _take_cookies(jars, environ)
    return app(environ, start_response)


def _take_cookies(jars: Jars, environ: Environ) -> None:
    cookies = environ.get("HTTP_COOKIE", "")
    environ["jwt_middleware.held"] = jars.held(cookies)
    left = jars.without_refresh(cookies)
    if left:
        environ["HTTP_COOKIE"] = left
    elif cookies:
        del environ["HTTP_COOKIE"]


def inside_asgi(app: WSGIApplication) -> WSGIApplication:
    """Hand the token on to a WSGI application that an adapter mounts inside the ASGI middleware.

    Adapters (a2wsgi, asgiref, Starlette's) hand on only the headers of a scope; `current_token()`
    works in their threads. Put around the application, this sets `jwt_middleware.token`,
    `REMOTE_USER` and `AUTH_TYPE` as our WSGI middleware does. It checks nothing, and sets no user
    for another issuer's token.

    Args:
        app: the WSGI application.

    """

    def handing_on(environ: Environ, start_response: StartResponse) -> Any:
        token = environ["jwt_middleware.token"] = current_token()
        for name in ("REMOTE_USER", "AUTH_TYPE"):
            environ.pop(name, None)
        if token is not None:
            environ["AUTH_TYPE"] = _scheme_of(token)
            if token.own and not token.is_client:
                environ["REMOTE_USER"] = token.subject.encode().decode("latin-1")
        return app(environ, start_response)

    return handing_on


def _scheme_of(token: AccessToken | None) -> str:
    """Return the scheme that a token came with: one that is bound to a key comes with no other."""
    return "Bearer" if token is None or token.bound_key is None else "DPoP"


def _path(raw: str | None) -> str:
    # RFC 3986 s6.2.3: an empty path is "/". A mounted application gets it for its root.
    path = raw or "/"
    if not path.isascii():
        # PEP 3333: the octets of a path come decoded as Latin-1. If they aren't UTF-8, frameworks
        # read them in different ways: U+FFFD takes their place, which makes the path odd.
        path = path.encode("latin-1", "replace").decode("utf-8", "replace")
    return path


class _WSGIRequest(Request):
    __slots__ = ("_environ",)

    def __init__(self, environ: Environ) -> None:
        self.path = _path(environ.get("PATH_INFO"))
        self.method = environ["REQUEST_METHOD"]
        self.credentials = environ.get("HTTP_AUTHORIZATION")
        self.is_websocket = False
        self.is_body_asked_for = False
        self._environ = environ

    def connection(self) -> tuple[str, str | None]:
        return client_certificate.of_wsgi(self._environ)

    def header(self, name: str) -> str | None:
        key = name.upper().replace("-", "_")
        value: str | None = self._environ.get(key if key in _PLAIN else f"HTTP_{key}")
        return value or None if key in _PLAIN else value

    def place(self) -> tuple[str, str]:
        return self._environ.get("SCRIPT_NAME") or "", self._environ.get("QUERY_STRING") or ""

    def body(self, limit: int) -> Hidden[bytes]:
        self.is_body_asked_for = True
        return Body(self._environ).read(limit)


def _is_file(body: Iterable[bytes], environ: Environ) -> bool:
    # A server sends a file faster if it gets its own wrapper back: a class, or the file itself.
    wrapper = environ.get("wsgi.file_wrapper")
    return hasattr(body, "read") or (isinstance(wrapper, type) and isinstance(body, wrapper))


class _Body:
    """The application's body: `current_token()` holds while a chunk is made, not between chunks.

    With more than one chunk it is a stream, which ends by an error when its token no longer holds.

    Args:
        body: the application's.
        token: that of the request.
        current: the context variable.
        watch: of a request with a token; returns what looks at it before each further chunk.

    """

    __slots__ = ("_body", "_chunks", "_current", "_look", "_token", "_watch")

    def __init__(
        self,
        body: Iterable[bytes],
        token: AccessToken | None,
        current: ContextVar[AccessToken | None],
        watch: Callable[[], Callable[[], None] | None] | None,
    ) -> None:
        self._watch = watch
        self._look: Callable[[], None] | None = None
        self._body = body
        self._chunks: Iterator[bytes] | None = None
        self._token = token
        self._current = current

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        before = self._current.set(self._token)
        try:
            if self._chunks is None:
                self._chunks = iter(self._body)
                return next(self._chunks)
            chunk = next(self._chunks)
        finally:
            self._current.reset(before)
        if self._watch is not None:
            self._look, self._watch = self._watch(), None
        if self._look is not None:
            self._look()
        return chunk

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is None:
            return
        before = self._current.set(self._token)
        try:
            close()
        finally:
            self._current.reset(before)
