"""What the tokens of the former libraries have in them, in the versions that the guides name."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from fastapi.testclient import TestClient
from werkzeug.test import Client

from .clients import bearer, claims_of
from .pages import load_module

ALICE = {"name": "alice", "password": "wonderland"}
Load = Callable[[str], Any]


@pytest.fixture
def former(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Return what loads the application of a guide as it was."""
    monkeypatch.chdir(tmp_path)
    for name in ("JWT_SECRET_KEY", "SECRET_KEY", "SECRET"):
        monkeypatch.setenv(name, secrets.token_urlsafe(32))
    return lambda page: load_module(page, "before", tmp_path, monkeypatch).app


def kinds(token: str) -> dict[str, type]:
    """Return the claims of a token, and the type of each."""
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
    return {name: type(value) for name, value in claims_of(token).items()}


def test_flask_jwt_extended_has_a_type_a_name_and_a_value_against_forgery(former: Load) -> None:
    client = Client(former("from-flask-jwt-extended.md"))
    tokens = client.post("/login", json=ALICE).json
    assert tokens is not None
    whole = {"fresh": bool, "csrf": str, "jti": str, "sub": str, "type": str}
    times = {"iat": int, "nbf": int, "exp": int}
    for kind in ("access", "refresh"):
        token = tokens[f"{kind}_token"]
        assert kinds(token) == whole | times
        assert claims_of(token)["type"] == kind
    refreshed = client.post("/refresh", headers=bearer(tokens["refresh_token"])).json
    assert refreshed is not None
    assert list(refreshed) == ["access_token"]


def test_authx_has_times_with_fractions_and_scopes(former: Load) -> None:
    client = TestClient(former("from-authx.md"))
    tokens = client.post("/login", json=ALICE).json()
    both = {"csrf": str, "jti": str, "sub": str, "type": str, "scopes": list}
    times = {"iat": int, "exp": float}
    assert kinds(tokens["access_token"]) == both | times | {"fresh": bool}
    assert kinds(tokens["refresh_token"]) == both | times
    refreshed = client.post("/refresh", headers=bearer(tokens["refresh_token"])).json()
    assert list(refreshed) == ["access_token"]


def test_fastapi_users_has_no_name_and_no_beginning(former: Load) -> None:
    with TestClient(former("from-fastapi-users.md")) as client:
        alice = {"email": "alice@shop.example", "password": "wonderland"}
        assert client.post("/auth/register", json=alice).status_code == 201
        form = {"username": alice["email"], "password": alice["password"]}
        answer = client.post("/auth/jwt/login", data=form).json()
    assert answer["token_type"] == "bearer"
    assert kinds(answer["access_token"]) == {"sub": str, "aud": list, "exp": int}
    assert claims_of(answer["access_token"])["aud"] == ["fastapi-users:auth"]


def test_flask_login_has_one_remember_cookie_for_all_devices(former: Load) -> None:
    app = former("from-flask-login.md")

    def log_in() -> dict[str, str]:
        answer = Client(app).post("/login", data=ALICE | {"stay": "yes"})
        fields = answer.headers.getlist("Set-Cookie")
        return dict(field.partition(";")[0].split("=", 1) for field in fields)

    one, two = log_in(), log_in()
    assert one.keys() == {"session", "remember_token"}
    assert one["remember_token"] == two["remember_token"]
