"""The site's own tests. `jwt_factory` and `jwt_clock` are the middleware's (docs/testing.md)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from jwt_middleware import KeySet, Settings, StoreUnavailable
from jwt_middleware.testing import Clock, TokenFactory

from .app import make_app, make_settings

URL = "http://localhost:8000"
# What a browser says about itself when it loads a page, and when it sends a form.
PAGE = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "same-origin"}
FORM = PAGE | {"Origin": URL}
LOGIN = "<h1>Log in</h1>"
ALICE = {"name": "alice", "password": "wonderland"}


@pytest.fixture
def jwt_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    KeySet.generate().save("keys.json")
    return make_settings()


@pytest.fixture
def app(jwt_factory: TokenFactory) -> Iterator[Starlette]:
    settings = jwt_factory.settings()  # the site's own, with another store, keys and clock
    yield make_app(settings)
    settings.close()


@pytest.fixture
def browser(app: Starlette) -> TestClient:
    return TestClient(app, base_url=URL, headers=FORM)


def test_a_stranger_is_led_to_the_login_and_back(browser: TestClient) -> None:
    assert "Hello stranger" in browser.get("/").text
    assert LOGIN in browser.get("/notes").text
    for name, password in (("alice", "x"), ("bob", ""), ("", "")):
        answer = browser.post("/login?next=/notes", data={"name": name, "password": password})
        assert (answer.status_code, "Wrong name or password" in answer.text) == (403, True)
    assert "Notes of alice" in browser.post("/login?next=/notes", data=ALICE).text
    assert "Hello alice" in browser.get("/").text
    assert "Hello stranger" in browser.post("/logout").text
    assert not browser.cookies
    assert LOGIN in browser.get("/notes").text


def test_a_page_and_a_form_go_on_after_the_tokens_end(
    browser: TestClient, jwt_clock: Clock
) -> None:
    browser.post("/login", data=ALICE)
    jwt_clock.advance(700)
    assert "Notes of alice" in browser.get("/notes").text
    jwt_clock.advance(700)
    answer = browser.post("/notes", data={"text": "Call the <b>plumber"})
    assert "<li>Call the &lt;b&gt;plumber</li>" in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    jwt_clock.advance(8 * 86400)
    assert LOGIN in browser.get("/notes").text


def test_a_store_that_is_away_is_said(
    app: Starlette, browser: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("no route to the engine")

    monkeypatch.setattr(app.state.issuer, "aissue", away)
    answer = browser.post("/login", data=ALICE)
    assert (answer.status_code, "try again" in answer.text) == (503, True)


def test_attacks_are_refused(app: Starlette, jwt_factory: TokenFactory) -> None:
    settings = jwt_factory.settings()
    for attack in jwt_factory.attacks(settings):
        client = TestClient(make_app(settings), follow_redirects=False)
        answer = client.request(attack.method, attack.path or "/notes", headers=attack.raw)
        assert answer.status_code in attack.statuses, attack
        assert "set-cookie" not in answer.headers, attack
    settings.close()
