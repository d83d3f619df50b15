"""What `manage.py check` says of a project; a wrong order of `MIDDLEWARE` stops the start, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import getmro, isclass
from typing import Any, TypeAlias

from django.apps import apps
from django.conf import settings as project_settings
from django.core import checks
from django.utils.module_loading import import_string

from ..asgi import JWTMiddleware as ASGIMiddleware
from ..values.errors import ConfigurationError
from .project import jwt_settings
from .users import UserTable

Found: TypeAlias = list[Any]  # Django's messages

OURS = "jwt_middleware.django.middleware.JWTMiddleware"
# What must stand above ours, and below it, and why.
_ABOVE = {
    "django.middleware.security.SecurityMiddleware": "our refusals would lack its headers",
    "django.contrib.sessions.middleware.SessionMiddleware": "AuthenticationMiddleware needs it",
    "django.contrib.auth.middleware.AuthenticationMiddleware": (
        "it would put the session's user in the place of the token's"
    ),
    # It keeps an answer before ours has said what that depends on. CacheMiddleware is both, and has
    # no good place.
    "django.middleware.cache.UpdateCacheMiddleware": "it would keep one user's answer for all",
}
_BELOW = {
    "django.middleware.cache.FetchFromCacheMiddleware": (
        "it would answer from the cache before a token is asked for"
    ),
}
_REMOTE_USER = "django.contrib.auth.middleware.RemoteUserMiddleware"
_INSIDE = ("inner", "application", "app")  # where wrappers keep the application that they wrap
_DEEPEST = 20  # wrappers around each other


def check_order() -> None:
    """Check that `MIDDLEWARE` has an order that keeps our promises. Raises ConfigurationError."""
    for problem in _misplaced():
        raise ConfigurationError("MIDDLEWARE", problem, "move jwt_middleware.django.JWTMiddleware")


@checks.register("jwt_middleware")
def check_project(app_configs: Any = None, **options: Any) -> Found:
    """Return what is wrong with the settings, the order, the user's field, and websockets."""
    found: Found = [
        *_raised(jwt_settings, "E001"),
        *(checks.Error(f"MIDDLEWARE: {one}", id="jwt_middleware.E002") for one in _misplaced()),
        *_raised(UserTable.of_project, "E003"),
    ]
    stands = _place_of(OURS) is not None
    if not stands:
        found.append(
            checks.Warning(
                "jwt_middleware.django.JWTMiddleware isn't in MIDDLEWARE: without a middleware of "
                "ours around the application no token is asked for",
                id="jwt_middleware.W001",
            )
        )
    if _place_of(_REMOTE_USER) is not None:
        found.append(
            checks.Warning(
                "RemoteUserMiddleware makes a user whose *name* is the token's subject, and a "
                "session for each request",
                hint="Remove it: request.user is the token's user without it.",
                id="jwt_middleware.W002",
            )
        )
    # Without settings there is nothing to look for.
    has_settings = not any(one.id == "jwt_middleware.E001" for one in found)
    if has_settings and apps.is_installed("channels"):
        found += _check_sockets()
    return found


def _raised(make: Callable[[], object], number: str) -> Iterator[Any]:
    try:
        make()
    except ConfigurationError as error:
        yield checks.Error(
            f"{error.field}: {error.problem}",
            hint=error.remedy or None,
            id=f"jwt_middleware.{number}",
        )


# --- the order


def _misplaced() -> Iterator[str]:
    """Yield what stands above or below ours and must not, and why."""
    ours = _place_of(OURS)
    if ours is None:
        return
    for names, is_wrong, where in (
        (_ABOVE, ours.__lt__, "below"),
        (_BELOW, ours.__gt__, "above"),
    ):
        for name, why in names.items():
            place = _place_of(name)
            if place is not None and is_wrong(place):
                yield f"{name.rpartition('.')[2]} stands {where} ours: {why}"


def _place_of(name: str) -> int | None:
    """Return the first place in `MIDDLEWARE` of a class, or of one that inherits from it."""
    for place, path in enumerate(project_settings.MIDDLEWARE):
        try:
            one = import_string(path)
        except ImportError:  # Django reports it, at the start
            continue
        if isclass(one) and name in (f"{c.__module__}.{c.__qualname__}" for c in getmro(one)):
            return place
    return None


# --- websockets, which never pass `MIDDLEWARE`


def _check_sockets() -> Iterator[Any]:
    path = getattr(project_settings, "ASGI_APPLICATION", None)
    if path is None:
        return
    try:
        app = import_string(path)
    except Exception as error:  # noqa: BLE001  (it is the project's code)
        yield checks.Error(
            f"ASGI_APPLICATION: {path!r} can't be imported, so nothing is known of its websockets: "
            f"{type(error).__name__}",
            id="jwt_middleware.E004",
        )
        return
    if not _asks_for_tokens(app):
        yield checks.Error(
            f"ASGI_APPLICATION: websockets of {path!r} are served without a token, because they "
            "don't pass through MIDDLEWARE",
            hint='ProtocolTypeRouter({"websocket": JWTAuthMiddleware(URLRouter([...])), ...}) with '
            "jwt_middleware.django.channels.JWTAuthMiddleware",
            id="jwt_middleware.E005",
        )


def _asks_for_tokens(app: Any) -> bool:
    """Say whether a middleware of ours is around all websockets of an application."""
    for _ in range(_DEEPEST):
        if isinstance(app, ASGIMiddleware) or getattr(app, "asks_for_tokens", False):
            return True
        by_protocol = getattr(app, "application_mapping", None)
        if by_protocol is not None:
            if "websocket" not in by_protocol:
                return True
            app = by_protocol["websocket"]
            continue
        app = next((vars(app)[one] for one in _INSIDE if one in getattr(app, "__dict__", ())), None)
    return False
