"""Browsers that Flask-Login logged in load pages of the guide's new site."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

from jwt_middleware import KeySet

from .pages import load_module, without_grant

PAGE, HOST = "from-flask-login.md", "https://shop.example"
LOAD = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "same-origin"}


class Browser:
    """A browser with cookies of its own, which follows redirects as browsers do."""

    def __init__(self, app: Any, cookies: dict[str, str]) -> None:
        self._client = Client(app)
        self.cookies = cookies
        for name, value in cookies.items():
            self._client.set_cookie(name, value, domain="shop.example", secure=True)

    def load(self, path: str, **options: Any) -> TestResponse:
        headers = LOAD | {"Origin": HOST}
        return self._client.open(
            path, base_url=HOST, headers=headers, follow_redirects=True, **options
        )

    def names(self) -> list[str]:
        held = self._client._cookies or {}
        return sorted(without_grant(cookie.decoded_key) for cookie in held.values())


class Sites:
    """The site as it was, and as it is."""

    def __init__(self, load: Callable[[str], Any]) -> None:
        self.before, self.after = load("before"), load("after")

    def browser(self, *, stay: bool = False) -> Browser:
        """Return a browser whose user logged in before."""
        form = {"name": "alice", "password": "wonderland"} | ({"stay": "yes"} if stay else {})
        answer = Client(self.before.app).post("/login", data=form)
        fields = answer.headers.getlist("Set-Cookie")
        cookies = dict(field.partition(";")[0].split("=", 1) for field in fields)
        return Browser(self.after.app, cookies)

    def again(self, browser: Browser, *names: str) -> Browser:
        """Return a browser that has the same cookies, or these of them."""
        kept = names or tuple(browser.cookies)
        return Browser(self.after.app, {name: browser.cookies[name] for name in kept})

    def logins(self) -> int:
        return len(self.after.issuer.grants("alice"))


@pytest.fixture
def sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sites:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET_KEY", secrets.token_urlsafe(32))
    KeySet.generate().save(tmp_path / "keys.json")
    return Sites(lambda part: load_module(PAGE, part, tmp_path, monkeypatch))


def test_a_page_load_moves_the_login_and_removes_the_old_cookies(sites: Sites) -> None:
    alice = sites.browser(stay=True)
    assert alice.load("/notes").text == "Notes of alice"
    assert alice.names() == ["__Host-access_token", "__Host-refresh_token"]
    assert alice.load("/notes").text == "Notes of alice"
    assert sites.logins() == 1


def test_two_loads_at_once_and_a_lost_answer_are_one_login(sites: Sites) -> None:
    alice = sites.browser()
    for tab in (sites.again(alice), sites.again(alice), alice):
        assert tab.load("/notes").text == "Notes of alice"
    assert sites.logins() == 1


def test_a_browser_that_was_closed_has_the_remember_cookie_alone(sites: Sites) -> None:
    alice = sites.browser(stay=True)
    restarted = sites.again(alice, "remember_token")
    assert restarted.load("/notes").text == "Notes of alice"
    (grant,) = sites.after.issuer.grants("alice")
    assert not grant.is_session


def test_a_form_that_was_open_must_be_sent_again(sites: Sites) -> None:
    alice = sites.browser()
    answer = alice.load("/notes", method="POST", data={"note": "Buy milk"})
    assert (answer.request.method, answer.text) == ("GET", "Notes of alice")


def test_a_log_out_is_final_for_the_old_cookie(sites: Sites) -> None:
    alice = sites.browser()
    alice.load("/notes")
    assert "Password" in alice.load("/logout", method="POST").text
    assert "Password" in sites.again(alice).load("/notes").text
    assert sites.logins() == 0


def test_a_moved_login_is_not_fresh(sites: Sites) -> None:
    sites.browser().load("/notes")
    (grant,) = sites.after.issuer.grants("alice")
    assert grant.claims["auth_time"] == 0


def test_a_forged_session_moves_nobody(sites: Sites) -> None:
    alice = sites.browser()
    forged = Browser(sites.after.app, {"session": alice.cookies["session"][:-6] + "AAAAAA"})
    assert "Password" in forged.load("/notes").text
    named = Browser(sites.after.app, {"remember_token": f"alice|{'0' * 128}"})
    assert "Password" in named.load("/notes").text
    assert sites.logins() == 0


def test_from_the_date_on_old_logins_are_over(sites: Sites) -> None:
    sites.after.MOVING_UNTIL = date.min
    assert "Password" in sites.browser().load("/notes").text
