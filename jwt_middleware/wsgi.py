"""The WSGI door: environments to requests, replies to responses. The core decides."""

from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias

from .runtime import Runtime, run
from .settings import Settings
from .values.model import AccessToken, Request
from .values.steps import Forward, Reply

if TYPE_CHECKING:
    from contextvars import ContextVar

Environ: TypeAlias = dict[str, Any]
StartResponse: TypeAlias = Callable[..., Any]
Application: TypeAlias = Callable[..., Any]  # as wide as frameworks type theirs

_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


class JWTMiddleware:
    """Check the access token of every request, then call the application.

    The application reads `environ["jwt_middleware.token"]` (an `AccessToken`, or None on public
    routes), `REMOTE_USER` and `AUTH_TYPE`, or calls `jwt_middleware.current_token()`.
    """

    def __init__(self, app: Application, settings: Settings) -> None:
        self.app = app
        self._runtime = Runtime.of(settings)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request. What the application raises passes untouched."""
        step = run(self._runtime.core, _request(environ))
        if isinstance(step, Reply):
            self._runtime.tell(step.events)
            response = step.response
            start_response(_STATUS_LINES[response.status], list(response.headers))
            return [response.body]
        _hand_over(environ, step)
        current = self._runtime.current
        before = current.set(step.token)
        try:
            body: Iterable[bytes] = self.app(environ, start_response)
        finally:
            current.reset(before)
        if isinstance(body, list | tuple) or _is_file(body, environ):
            return body
        if step.token is None and current.get() is None:
            return body
        return _Body(body, step.token, current)


def _request(environ: Environ) -> Request:
    def header(name: str) -> str | None:
        value: str | None = environ.get("HTTP_" + name.upper().replace("-", "_"))
        return value

    # RFC 3986 s6.2.3: an empty path is "/"; it is the root of an application that is mounted.
    path: str = environ.get("PATH_INFO", "") or "/"
    if not path.isascii():
        # PEP 3333 hands octets on as Latin-1, for UTF-8 that was decoded so. What is neither can't
        # be told apart by all frameworks: it becomes U+FFFD, and with it an odd path.
        path = path.encode("latin-1", "replace").decode("utf-8", "replace")
    return Request(environ["REQUEST_METHOD"], path, header)


def _hand_over(environ: Environ, step: Forward) -> None:
    environ["jwt_middleware.token"] = step.token
    # Whatever a server in front or a client's header made of them: who the user is, we say.
    environ.pop("REMOTE_USER", None)
    environ.pop("AUTH_TYPE", None)
    if step.token is not None:
        environ["AUTH_TYPE"] = "Bearer"
        if step.user.is_authenticated:
            environ["REMOTE_USER"] = step.user.display_name.encode().decode("latin-1")


def _is_file(body: Iterable[bytes], environ: Environ) -> bool:
    # A server sends a file by a short cut, if it sees its own wrapper: a class, or the file itself.
    wrapper = environ.get("wsgi.file_wrapper")
    return hasattr(body, "read") or (isinstance(wrapper, type) and isinstance(body, wrapper))


class _Body:
    """The application's body: the token is current while a chunk is made, never between."""

    __slots__ = ("_body", "_chunks", "_current", "_token")

    def __init__(
        self,
        body: Iterable[bytes],
        token: AccessToken | None,
        current: "ContextVar[AccessToken | None]",
    ) -> None:
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
        finally:
            self._current.reset(before)

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is None:
            return
        before = self._current.set(self._token)
        try:
            close()
        finally:
            self._current.reset(before)
