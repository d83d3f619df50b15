"""What Django's settings say: simplejwt, or sessions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pkgutil import resolve_name
from typing import Any

from .former_app import FormerApp, lasting, texts, versioned
from .lines import Line


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
        versioned("simplejwt", "rest_framework_simplejwt"),
        "SIMPLEJWT",
        secret=given["SIGNING_KEY"] if hs else given["VERIFYING_KEY"],
        secret_name=("SIGNING_KEY" if own_key else "SECRET_KEY") if hs else "VERIFYING_KEY",
        algorithm=algorithm,
        issuer=given["ISSUER"] or "",
        audience=texts(given["AUDIENCE"]),
        access=lasting(given["ACCESS_TOKEN_LIFETIME"]),
        refresh=lasting(given["REFRESH_TOKEN_LIFETIME"]),
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
    if texts(given["AUTH_HEADER_TYPES"])[:1] != ("Bearer",):
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
        versioned("Django sessions", "django"),
        "",
        refresh=float(settings["SESSION_COOKIE_AGE"]),
        cookies=True,
        forms=True,
        lines=(
            Line(
                "warn",
                "sessions",
                f"{settings['SESSION_COOKIE_NAME']} ({engine}) stays until each user has tokens",
                "a view that gives a session its tokens, once: docs/from-django-sessions.md",
            ),
        ),
    )


def of_django_handler(_: Any) -> FormerApp:
    settings = resolve_name("django.conf:settings")
    return of_django({name: getattr(settings, name) for name in dir(settings) if name.isupper()})
