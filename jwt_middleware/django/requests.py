"""Django's requests as the core reads them, and what they are given: token, user, fewer cookies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.core.handlers.asgi import ASGIRequest

from ..process.request_bodies import Body
from ..process.runtime import Runtime
from ..process.view_rules import DOOR
from ..request import client_certificate
from ..settings.settings import Settings
from ..values.requests import Request
from ..values.tokens import Forward, Hidden, User

if TYPE_CHECKING:
    from ..request.cookies import Jars

# The names are those of the WSGI and the ASGI middleware, in `request.META` under both.
TOKEN, HELD, PROOF = "jwt_middleware.token", "jwt_middleware.held", "jwt_middleware.proof"
_PLAIN = ("CONTENT_TYPE", "CONTENT_LENGTH")  # PEP 3333: these two have no HTTP_ in front


def meta_name(field: str) -> str:
    """Return the name of a header field in `request.META`."""
    key = field.upper().replace("-", "_")
    return key if key in _PLAIN else f"HTTP_{key}"


class DjangoRequest(Request):
    """A request as Django has read it. The path is the one that Django resolves."""

    __slots__ = ("_request",)

    def __init__(self, request: Any) -> None:
        self._request = request
        self.method = request.method or ""
        # RFC 3986 s6.2.3: an empty path is "/".
        self.path = request.path_info or "/"
        self.credentials = request.META.get("HTTP_AUTHORIZATION")
        self.is_websocket = False
        self.is_body_asked_for = False

    def header(self, name: str) -> str | None:
        if name == "cookie" and isinstance(self._request, ASGIRequest):
            # Before 6.0 Django joins several fields by a comma, which isn't read.
            return _cookies_of(self._request.scope)
        key = meta_name(name)
        value: str | None = self._request.META.get(key)
        return value or None if key in _PLAIN else value

    def place(self) -> tuple[str, str]:
        meta = self._request.META
        query: str = meta.get("QUERY_STRING") or ""
        if isinstance(self._request, ASGIRequest):
            query = query.encode().decode("latin-1")  # Django has read the octets as UTF-8
        return meta["SCRIPT_NAME"], query

    def connection(self) -> tuple[str, str | None]:
        if isinstance(self._request, ASGIRequest):
            return client_certificate.of_asgi(self._request.scope)
        return client_certificate.of_wsgi(self._request.META)

    def body(self, limit: int) -> Hidden[bytes]:
        self.is_body_asked_for = True
        return Body(self._environ()).read(limit)

    def drain(self, status: int) -> None:
        """Throw away what a refused client still sends. Under ASGI Django has all of it."""
        if not (self.is_body_asked_for or isinstance(self._request, ASGIRequest)):
            Body(self._environ()).drain(self, status)

    def _environ(self) -> dict[str, Any]:
        # It is read through Django's request: a middleware above ours may have read it already, and
        # code that reads it after us must not wait for octets that have been taken.
        meta = self._request.META
        return {
            "wsgi.input": self._request,
            "wsgi.input_terminated": isinstance(self._request, ASGIRequest),
            "CONTENT_LENGTH": meta.get("CONTENT_LENGTH"),
            "REMOTE_ADDR": meta.get("REMOTE_ADDR", ""),
        }


def is_inside(found: Mapping[str, Any], runtime: Runtime) -> bool:
    """Say whether our own middleware of the same settings stands around the application."""
    passed = found.get(DOOR)
    return isinstance(passed, tuple) and getattr(passed[0], "runtime", None) is runtime


def let_in_outside(request: Any, runtime: Runtime) -> Forward | None:
    """Return the decision of our own middleware around the application, if there is one.

    It counts if it has the same settings: then nothing is checked or taken out twice.
    """
    meta = request.META
    given = request.scope if isinstance(request, ASGIRequest) else meta
    # A project that is mounted resolves another path than the middleware outside has decided on.
    if not is_inside(given, runtime) or (given[DOOR][1] or "/") != _as_outside(request, given):
        return None
    if given is meta:
        name = meta.get("REMOTE_USER", "").encode("latin-1").decode()
    else:
        name = given["user"].display_name
        meta[DOOR], meta[HELD], meta[PROOF] = given[DOOR], given.get(HELD), given.get(PROOF)
    return Forward(given[TOKEN], User(is_authenticated=bool(name), display_name=name))


def _as_outside(request: Any, given: Mapping[str, Any]) -> str:
    """Return the path that Django resolves, as our middleware outside writes it."""
    path: str = request.path_info or "/"
    return path if isinstance(request, ASGIRequest) else path.encode().decode("latin-1")


def take_refresh_cookies(jars: Jars, request: Any) -> None:
    """Take the refresh cookies out of what the application sees; a login gets them as `held`."""
    meta, is_asgi = request.META, isinstance(request, ASGIRequest)
    cookies = DjangoRequest(request).header("cookie") or ""
    held = meta[HELD] = jars.held(cookies)
    if not held.refresh and jars.refresh.prefix not in meta.get("HTTP_COOKIE", ""):
        return
    left = jars.without_refresh(cookies)
    meta["HTTP_COOKIE"] = left
    if is_asgi:
        fields = [(name, value) for name, value in request.scope["headers"] if name != b"cookie"]
        kept = [(b"cookie", left.encode("latin-1"))] if left else []
        request.scope = {**request.scope, "headers": fields + kept}
    # What a middleware above ours has read is made anew from what is left.
    for made in ("COOKIES", "headers"):
        vars(request).pop(made, None)


def credential_fields(settings: Settings) -> tuple[str, ...]:
    """Return the names of the header fields in which a token may come."""
    cookies = settings.refresh.cookies if settings.refresh is not None else None
    fields = ["Authorization"]
    if settings.credentials_header:
        fields.append(settings.credentials_header)
    if cookies is not None and cookies.access:
        fields.append("Cookie")
    return tuple(fields)


def _cookies_of(scope: Any) -> str | None:
    found = [value for name, value in scope["headers"] if name == b"cookie"]
    return b"; ".join(found).decode("latin-1") if found else None
