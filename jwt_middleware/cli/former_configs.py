"""What the configuration of each former library says, for `migrate check`.

A library is known by the names of its classes, so that none is imported that isn't used. Secrets
are handed on to be judged, and are in no text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from inspect import iscoroutine
from pkgutil import resolve_name
from typing import Any, TypeAlias

from .lines import Line

Reader: TypeAlias = Callable[[Any], "FormerApp | None"]  # None: it says nothing


@dataclass(frozen=True)
class FormerApp:
    """What an application has now."""

    library: str  # as people call it, with its version
    preset: str  # its name in `migrations`; "": its tokens or sessions aren't JWT
    secret: Any = field(default=None, repr=False)  # verifies its tokens: never shown
    secret_name: str = ""  # the setting that holds it
    algorithm: str = "HS256"
    issuer: str = ""
    audience: tuple[str, ...] = ()
    access: float | None = 0  # seconds; None: for ever; 0: it has no such token
    refresh: float | None = 0
    cookies: bool = False  # tokens travel in cookies
    changes: Mapping[str, Any] = field(default_factory=dict)  # of the preset's fields
    blocklist: str = ""  # the function that is asked: MODULE:NAME, or "?" where it has none
    lines: tuple[Line, ...] = ()  # what is to be decided because of this library


def unknown() -> FormerApp:
    """Return what can be said where no known library is found: PyJWT by hand, or none at all."""
    line = Line(
        "warn",
        "by hand",
        "where an application calls PyJWT itself, only its code says the algorithm, the claims, "
        "and how long tokens live",
        "look at its calls of jwt.encode, and fill in the parts in < >: docs/from-pyjwt.md",
    )
    kinds = {one: {"<claim>": f"<{one}>"} for one in ("refresh", "access")}
    return FormerApp(
        "none that is known here: tokens made by hand?",
        "PYJWT",
        secret_name="the secret",
        refresh=30 * 86400.0,
        changes=kinds,
        lines=(line,),
    )


def reader_of(one: Any) -> Reader | None:
    """Return what reads an object of a known class; None: its class isn't known."""
    for cls in type(one).__mro__:
        read = READERS.get((cls.__module__.partition(".")[0], cls.__name__))
        if read is not None:
            return read
    return None


def _named(name: str, package: str = "") -> str:
    try:
        return f"{name} {version(package or name)}"
    except PackageNotFoundError:  # it was copied into the project
        return name


def _seconds(life: Any) -> float | None:
    """Return a lifetime; None: for ever, however the library spells it."""
    if life is None or isinstance(life, bool):
        return None
    return life.total_seconds() if isinstance(life, timedelta) else float(life)


def _texts(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


# --- JWT_*: flask-jwt-extended and AuthX


def _of_flask(app: Any) -> FormerApp | None:
    manager = app.extensions.get("flask-jwt-extended")
    if manager is None:
        login = hasattr(app, "login_manager")
        return _of_flask_login(app.config) if login else None
    found = _of_jwt_config(app.config, "FLASK_JWT_EXTENDED", _named("flask-jwt-extended"))
    hooks = [one for one in _FLASK_HOOKS if _is_own(getattr(manager, one))]
    blocklist = manager._token_in_blocklist_callback
    if not found.secret and found.secret_name == "JWT_SECRET_KEY":
        # flask-jwt-extended takes Flask's own then.
        found = replace(found, secret=app.config.get("SECRET_KEY"), secret_name="SECRET_KEY")
    return replace(
        found,
        blocklist=_dotted(blocklist) if _is_own(blocklist) else "",
        lines=(*found.lines, *(Line("warn", "hook", *_FLASK_HOOKS[one]) for one in hooks)),
    )


_FLASK_HOOKS = {
    "_user_claims_callback": ("additional claims are made", "Refresh(claims_for=...)"),
    "_user_identity_callback": ("subjects are made of users", "do so where you call `issue`"),
    "_decode_key_callback": (
        "the key is looked for with each token",
        "name every key that is still good: Migration(keys=...)",
    ),
    "_token_verification_callback": ("claims are checked", "Settings(checks=(...,))"),
}


def _is_own(function: Any) -> bool:
    return not function.__module__.startswith("flask_jwt_extended.")


def _dotted(function: Any) -> str:
    return "?" if "<" in function.__qualname__ else f"{function.__module__}:{function.__qualname__}"


def _of_authx(auth: Any) -> FormerApp:
    blocklist = auth.callback_is_token_in_blocklist
    found = _of_authx_config(auth.config)
    return found if blocklist is None else replace(found, blocklist=_dotted(blocklist))


def _of_authx_config(config: Any) -> FormerApp:
    values = {name: getattr(config, name) for name in type(config).model_fields}
    return _of_jwt_config(values, "AUTHX", _named("AuthX", "authx"))


def _of_jwt_config(config: Mapping[str, Any], preset: str, library: str) -> FormerApp:
    algorithm, locations = config["JWT_ALGORITHM"], _texts(config["JWT_TOKEN_LOCATION"])
    secret_name = "JWT_SECRET_KEY" if algorithm.startswith("HS") else "JWT_PUBLIC_KEY"
    return FormerApp(
        library,
        preset,
        secret=config[secret_name],
        secret_name=secret_name,
        algorithm=algorithm,
        issuer=config["JWT_ENCODE_ISSUER"] or "",
        audience=_texts(config["JWT_ENCODE_AUDIENCE"]),
        access=_seconds(config["JWT_ACCESS_TOKEN_EXPIRES"]),
        refresh=_seconds(config["JWT_REFRESH_TOKEN_EXPIRES"]),
        cookies="cookies" in locations,
        changes=dict(_jwt_changes(config, locations)),
        lines=(*_jwt_algorithms(config), *_jwt_places(config, locations)),
    )


def _jwt_changes(config: Mapping[str, Any], locations: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Yield how the tokens and the places differ from those of the presets."""
    if config["JWT_IDENTITY_CLAIM"] != "sub":
        yield "subject_claim", config["JWT_IDENTITY_CLAIM"]
    if "headers" not in locations:
        yield "bearer", False
    if "json" in locations and config["JWT_REFRESH_JSON_KEY"] != "refresh_token":
        yield "parameter", config["JWT_REFRESH_JSON_KEY"]
    for kind in ("refresh", "access"):
        name = config[f"JWT_{kind.upper()}_COOKIE_NAME"]
        if "cookies" in locations and name != f"{kind}_token_cookie":
            yield f"{kind}_cookie", name


def _jwt_algorithms(config: Mapping[str, Any]) -> Iterator[Line]:
    algorithm = config["JWT_ALGORITHM"]
    others = sorted({*_texts(config["JWT_DECODE_ALGORITHMS"])} - {algorithm})
    if others and algorithm.startswith("HS") != all(one.startswith("HS") for one in others):
        yield Line(
            "warn",
            "algorithms",
            f"{algorithm} signs, and JWT_DECODE_ALGORITHMS takes {', '.join(others)}, too: a "
            "secret and a public key verify the same tokens",
            f"a key has one algorithm here: {algorithm} alone is taken",
        )
    if algorithm.startswith("HS") and config["JWT_PUBLIC_KEY"]:
        yield Line(
            "warn",
            "algorithms",
            f"{algorithm} signs with a secret, and there is a JWT_PUBLIC_KEY, for nothing",
            "is the secret meant? A public key must never be one: everybody knows it",
        )
    if config.get("JWT_PREVIOUS_SECRET_KEY"):
        yield Line(
            "warn",
            "secret",
            "there is a JWT_PREVIOUS_SECRET_KEY, too",
            "are its tokens still alive? Then Migration(secret=(the present, the previous))",
        )


def _jwt_places(config: Mapping[str, Any], locations: Iterable[str]) -> Iterator[Line]:
    for place, problem in (
        ("query_string", "tokens come in URLs, which stand in logs and histories: not read here"),
        ("json", "access tokens come in bodies: not read here"),
    ):
        if place in locations:
            yield Line(
                "warn", "locations", problem, "clients send `Authorization: Bearer`, or a cookie"
            )
    if config["JWT_HEADER_TYPE"] != "Bearer" and "headers" in locations:
        yield Line(
            "warn",
            "header",
            "the scheme isn't Bearer (JWT_HEADER_TYPE)",
            "clients must send `Authorization: Bearer`: there is no other here (RFC 6750)",
        )
    if config["JWT_HEADER_NAME"] != "Authorization" and "headers" in locations:
        yield Line(
            "warn",
            "header",
            "tokens come in a header of their own (JWT_HEADER_NAME)",
            "Settings(credentials_header=...), or clients change: docs/gateways.md",
        )
    if "cookies" not in locations:
        return
    if not config["JWT_COOKIE_CSRF_PROTECT"]:
        yield Line(
            "warn",
            "CSRF",
            "other sites' forms are served with the user's cookies (JWT_COOKIE_CSRF_PROTECT)",
            "ours are always checked: scripts send the header of Cookies(header=...)",
        )
    else:
        yield Line(
            "warn",
            "CSRF",
            "scripts send the value of a cookie in X-CSRF-TOKEN",
            'a fixed header and the origin do that: Cookies(header="X-CSRF-TOKEN") takes what they '
            "send now, with any value",
        )
    if config["JWT_COOKIE_DOMAIN"]:
        yield Line(
            "warn",
            "cookies",
            "JWT_COOKIE_DOMAIN gives them to other hosts of the domain",
            "ours go to one host (__Host-); other services get the token in Authorization",
        )


# --- Django: simplejwt, sessions


def of_django(settings: Mapping[str, Any]) -> FormerApp:
    """Return what Django's settings say."""
    classes = str(settings.get("REST_FRAMEWORK", ""))
    installed = settings["INSTALLED_APPS"]
    if "rest_framework_simplejwt" not in f"{classes} {installed}" and "SIMPLE_JWT" not in settings:
        return _of_django_sessions(settings)
    given = {**_SIMPLEJWT, "SIGNING_KEY": settings["SECRET_KEY"], **settings.get("SIMPLE_JWT", {})}
    algorithm = given["ALGORITHM"]
    hs = algorithm.startswith("HS")
    own_key = "SIGNING_KEY" in settings.get("SIMPLE_JWT", {})
    kind, claim = given["TOKEN_TYPE_CLAIM"], given["USER_ID_CLAIM"]
    changes: dict[str, Any] = {} if claim == "user_id" else {"subject_claim": claim}
    if kind != "token_type":
        changes |= {one: {kind: one} if kind else {} for one in ("refresh", "access")}
    return FormerApp(
        _named("simplejwt", "djangorestframework-simplejwt"),
        "SIMPLEJWT",
        secret=given["SIGNING_KEY"] if hs else given["VERIFYING_KEY"],
        secret_name=("SIGNING_KEY" if own_key else "SECRET_KEY") if hs else "VERIFYING_KEY",
        algorithm=algorithm,
        issuer=given["ISSUER"] or "",
        audience=_texts(given["AUDIENCE"]),
        access=_seconds(given["ACCESS_TOKEN_LIFETIME"]),
        refresh=_seconds(given["REFRESH_TOKEN_LIFETIME"]),
        changes=changes,
        blocklist=_BLACKLISTED if _BLACKLIST in installed else "",
        lines=tuple(_simplejwt_lines(given, settings)),
    )


_BLACKLISTED = "rest_framework_simplejwt.token_blacklist.models:BlacklistedToken"
_BLACKLIST = "rest_framework_simplejwt.token_blacklist"
# Its defaults (version 5.5), of what is read here.
_SIMPLEJWT: Mapping[str, Any] = {
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=5),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=1),
    "ROTATE_REFRESH_TOKENS": False,
    "ALGORITHM": "HS256",
    "VERIFYING_KEY": "",
    "AUDIENCE": None,
    "ISSUER": None,
    "JWK_URL": None,
    "AUTH_HEADER_TYPES": ("Bearer",),
    "AUTH_HEADER_NAME": "HTTP_AUTHORIZATION",
    "USER_ID_FIELD": "id",
    "USER_ID_CLAIM": "user_id",
    "AUTH_TOKEN_CLASSES": ("rest_framework_simplejwt.tokens.AccessToken",),
    "TOKEN_TYPE_CLAIM": "token_type",
    "CHECK_REVOKE_TOKEN": False,
}


def _simplejwt_lines(given: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[Line]:
    if _texts(given["AUTH_HEADER_TYPES"])[:1] != ("Bearer",):
        yield Line(
            "warn",
            "header",
            "the scheme isn't Bearer (AUTH_HEADER_TYPES)",
            "clients must send `Authorization: Bearer`: there is no other here (RFC 6750)",
        )
    if any("Sliding" in str(one) for one in given["AUTH_TOKEN_CLASSES"]):
        yield Line(
            "warn",
            "sliding",
            "a sliding token opens views and buys tokens: nothing tells the two apart",
            "their users log in once more; there is no such token here",
        )
    if given["TOKEN_TYPE_CLAIM"] is None:
        yield Line(
            "FAIL",
            "kinds",
            "no claim says what a token is (TOKEN_TYPE_CLAIM): an access token would buy tokens",
            "leave out `migrate`: all log in once more",
        )
    if given["USER_ID_FIELD"] not in ("id", "pk"):
        yield Line(
            "warn",
            "users",
            f"tokens name users by {given['USER_ID_FIELD']} (USER_ID_FIELD)",
            f"JWT_MIDDLEWARE_USER_FIELD = {given['USER_ID_FIELD']!r}, and `issue` with the same",
        )
    if given["CHECK_REVOKE_TOKEN"]:
        yield Line(
            "warn",
            "passwords",
            "tokens end with a change of the password (CHECK_REVOKE_TOKEN)",
            "call revoke_all(str(user.pk)) where passwords change; is_blocked for old tokens",
        )
    if given["JWK_URL"]:
        yield Line(
            "warn",
            "issuer",
            "keys come from JWK_URL: another service issues",
            "then only verify, docs/issuers.md: Settings(keys=KeySet.remote()), without `refresh`",
        )


def _of_django_sessions(settings: Mapping[str, Any]) -> FormerApp:
    engine = settings["SESSION_ENGINE"].rpartition(".")[2]
    return FormerApp(
        _named("Django sessions", "django"),
        "",
        refresh=float(settings["SESSION_COOKIE_AGE"]),
        cookies=True,
        lines=(
            Line(
                "warn",
                "sessions",
                f"{settings['SESSION_COOKIE_NAME']} ({engine}) stays until each user has tokens",
                "a view that gives a session its tokens, once: docs/from-django-sessions.md",
            ),
        ),
    )


def _of_wsgi_django(_: Any) -> FormerApp:
    settings = resolve_name("django.conf:settings")
    return of_django({name: getattr(settings, name) for name in dir(settings) if name.isupper()})


# --- fastapi-users


def _of_backend(backend: Any) -> FormerApp:
    """Read a backend of fastapi-users: how tokens travel, and what they are."""
    transport, strategy = backend.transport, None
    with suppress(TypeError):  # it wants what only a request has
        strategy = backend.get_strategy()
    read = reader_of(strategy)
    found = (read(strategy) if read is not None else None) or _without_strategy(strategy)
    in_cookies = type(transport).__name__ == "CookieTransport"
    seen = f"{transport.cookie_name} is read from a cookie" if in_cookies else "a header is read"
    return replace(
        found,
        cookies=in_cookies,
        lines=(
            *found.lines,
            Line("ok", "transport", seen, "Cookies(access=True)" if in_cookies else ""),
        ),
    )


def _without_strategy(strategy: Any) -> FormerApp:
    if iscoroutine(strategy):
        strategy.close()
    kept = type(strategy).__name__ if strategy is not None else "a strategy that asks the request"
    return FormerApp(
        _named("fastapi-users"),
        "",
        lines=(
            Line(
                "warn",
                "strategy",
                f"{kept}: its tokens can't be read from here",
                "tokens of a database or Redis are exchanged in a view, once: issue(once=token)",
            ),
        ),
    )


def _of_strategy(strategy: Any) -> FormerApp:
    is_public = bool(strategy.public_key)
    key = strategy.public_key if is_public else strategy.secret
    with suppress(AttributeError):
        key = key.get_secret_value()  # pydantic's SecretStr
    life = _seconds(strategy.lifetime_seconds or None)
    return FormerApp(
        _named("fastapi-users"),
        "FASTAPI_USERS",
        secret=key,
        secret_name="public_key" if is_public else "secret",
        algorithm=strategy.algorithm,
        audience=_texts(strategy.token_audience),
        access=life,
        lines=(
            Line(
                "warn",
                "kinds",
                "it has one kind of token, and nothing to refresh with",
                "a view exchanges it for ours while it lives: docs/from-fastapi-users.md",
            ),
        ),
    )


def _of_fastapi_users(users: Any) -> FormerApp | None:
    return next(iter(map(_of_backend, users.authenticator.backends)), None)


# --- Flask-Login


def _of_flask_login(config: Mapping[str, Any]) -> FormerApp:
    life = _seconds(config.get("REMEMBER_COOKIE_DURATION", timedelta(days=365)))
    return FormerApp(
        _named("Flask-Login"),
        "",
        refresh=life if life is not None else math.inf,
        cookies=True,
        lines=(
            Line(
                "warn",
                "sessions",
                "a signed cookie has the user's id, and no key of its own",
                "a view that gives a session its tokens, once: docs/from-flask-login.md",
            ),
        ),
    )


# By the package and the name of a class; those before know more than those behind.
READERS: Mapping[tuple[str, str], Reader] = {
    ("flask", "Flask"): _of_flask,
    ("django", "WSGIHandler"): _of_wsgi_django,
    ("django", "ASGIHandler"): _of_wsgi_django,
    ("authx", "AuthX"): _of_authx,
    ("authx", "AuthXConfig"): _of_authx_config,
    ("fastapi_users", "FastAPIUsers"): _of_fastapi_users,
    ("fastapi_users", "AuthenticationBackend"): _of_backend,
    ("fastapi_users", "JWTStrategy"): _of_strategy,
}
