"""djangorestframework-simplejwt, with its own views, and its blacklist where rotation is on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import django
import jwt
from django.conf import settings
from django.test.utils import CaptureQueriesContext

from tests.comparison import rows

ROTATING = {"ROTATE_REFRESH_TOKENS": True, "BLACKLIST_AFTER_ROTATION": True}


def configure() -> None:
    settings.configure(
        SECRET_KEY=rows.SECRET,
        SIMPLE_JWT=ROTATING,
        ROOT_URLCONF="tests.comparison.simplejwt_urls",
        ALLOWED_HOSTS=["*"],
        USE_TZ=True,
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "rest_framework_simplejwt.token_blacklist",
        ],
        REST_FRAMEWORK={
            "DEFAULT_AUTHENTICATION_CLASSES": [
                "rest_framework_simplejwt.authentication.JWTAuthentication"
            ]
        },
    )
    django.setup()


def main() -> None:
    configure()
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.db import connection
    from rest_framework.test import APIClient
    from rest_framework_simplejwt.backends import TokenBackend
    from rest_framework_simplejwt.settings import DEFAULTS, api_settings

    call_command("migrate", verbosity=0)
    User.objects.create_user("alice", password="pw")
    client: Any = APIClient()

    def login() -> Any:
        return client.post("/login", {"username": "alice", "password": "pw"}).json()

    def refresh(token: str) -> Any:
        return client.post("/refresh", {"refresh": token})

    def me(token: str) -> int:
        return client.get("/me", headers={"Authorization": f"Bearer {token}"}).status_code

    tokens = login()
    with CaptureQueriesContext(connection) as queries:
        assert me(tokens["access"]) == 200
    questions = len(queries)
    confused = me(tokens["refresh"])
    client.post("/logout", {"refresh": tokens["refresh"]})
    after = me(tokens["access"])
    assert refresh(tokens["refresh"]).status_code == 401

    assert DEFAULTS["ROTATE_REFRESH_TOKENS"] is DEFAULTS["BLACKLIST_AFTER_ROTATION"] is False
    first = login()["refresh"]
    second = refresh(first).json()["refresh"]
    lost = refresh(first).status_code
    third = refresh(second).json()["refresh"]
    reused, lives = refresh(first).status_code, refresh(third).status_code
    assert (lost, lives) == (401, 200)

    def weak() -> None:
        backend = TokenBackend("HS256", rows.SHORT)
        backend.encode({"exp": timedelta(minutes=5).total_seconds()})

    rows.tell(
        "djangorestframework-simplejwt",
        {
            rows.TYP: f"`{jwt.get_unverified_header(tokens['access'])['typ']}`",
            rows.ALG: str(api_settings.ALGORITHM),
            rows.WEAK: rows.warned(weak),
            rows.CONFUSED: f"{confused}, by the claim `token_type`",
            rows.RENEWED: "no; with `ROTATE_REFRESH_TOKENS` yes",
            rows.LOST: f"{lost}, logged out (rotation and blacklist)",
            rows.REUSED: f"{reused}, and the newer one is served (the same)",
            rows.LOGGED_OUT: "served until `exp`; the refresh token isn't" if after == 200 else "",
            rows.ASKED: f"{questions}, for the user; none with its stateless class",
            rows.COOKIE: "has no cookies",
        },
    )


if __name__ == "__main__":
    main()
