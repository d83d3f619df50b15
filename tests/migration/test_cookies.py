"""A page of Flask-JWT-Extended, with its tokens in cookies, stays open during the switch."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, jsonify
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    create_refresh_token,
    set_access_cookies,
    set_refresh_cookies,
)
from werkzeug.test import Client, TestResponse

from jwt_middleware import Cookies, KeySet
from jwt_middleware.wsgi import JWTMiddleware

from .pages import load_module, without_grant

HOST = "https://shop.example"


class Page:
    """A page in a browser, and what scripts of the former application do in it."""

    def __init__(self, app: Any, cookies: Mapping[str, str]) -> None:
        self.client = Client(app)
        self.csrf = cookies["csrf_refresh_token"]
        for name, value in cookies.items():
            self.client.set_cookie(name, value, domain="shop.example", path="/", secure=True)

    def names(self) -> set[str]:
        """Return the names of the browser's cookies, ours without the grant's characters."""
        held = self.client._cookies or {}
        return {without_grant(cookie.decoded_key) for cookie in held.values()}

    def ask(self, method: str, path: str, *, csrf: str | None = None) -> TestResponse:
        headers = {"Sec-Fetch-Site": "same-origin", "Origin": HOST}
        headers |= {} if csrf is None else {"X-CSRF-TOKEN": csrf}
        return self.client.open(path, method=method, base_url=HOST, headers=headers)


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Page:
    """Return a page of a user who logged in with the former library."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JWT_SECRET_KEY", secret := secrets.token_urlsafe(32))
    KeySet.generate().save(tmp_path / "keys.json")
    former = Flask("former")
    former.config |= {"JWT_SECRET_KEY": secret, "JWT_TOKEN_LOCATION": ["cookies"]}
    JWTManager(former)

    @former.post("/login")
    def login() -> Any:
        answer = jsonify("welcome")
        set_access_cookies(answer, create_access_token("alice"))
        set_refresh_cookies(answer, create_refresh_token("alice"))
        return answer

    cookies = SimpleCookie()
    for field in Client(former).post("/login").headers.getlist("Set-Cookie"):
        cookies.load(field)
    after = load_module("from-flask-jwt-extended.md", "after", tmp_path, monkeypatch)
    group = replace(after.settings.refresh, cookies=Cookies(access=True, header="X-CSRF-TOKEN"))
    app = Flask("after")
    app.get("/api/me")(after.me)
    app.post("/api/me")(lambda: "changed")
    settings = after.settings.replace(refresh=group)
    app.wsgi_app = JWTMiddleware(app.wsgi_app, settings)  # type: ignore[method-assign]
    return Page(app, {name: morsel.value for name, morsel in cookies.items()})


OLD = {"access_token_cookie", "refresh_token_cookie", "csrf_access_token", "csrf_refresh_token"}
OURS = {"__Host-access_token", "__Host-refresh_token"}


def test_an_open_page_goes_on_and_gets_our_cookies(page: Page) -> None:
    assert page.names() == OLD
    assert page.ask("GET", "/api/me").json == {"name": "alice"}
    assert page.ask("POST", "/api/me", csrf=page.csrf).text == "changed"
    assert page.ask("POST", "/refresh", csrf=page.csrf).status_code == 200
    assert page.names() == OURS | {"csrf_access_token", "csrf_refresh_token"}
    assert page.ask("GET", "/api/me").json == {"name": "alice"}
    assert page.ask("POST", "/refresh", csrf=page.csrf).status_code == 200


def test_a_form_of_another_site_has_no_header(page: Page) -> None:
    assert page.ask("POST", "/api/me").status_code == 403
    assert page.ask("POST", "/refresh").status_code == 403
    assert page.names() == OLD
