"""The site's own tests. `jwt_factory` and `jwt_clock` are the middleware's (docs/testing.md)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.security import generate_password_hash

from jwt_middleware import Issuer, KeySet, Settings, StoreUnavailable
from jwt_middleware.testing import Clock, TokenFactory

from . import create_app
from .login import device_name
from .models import Database, Note, User
from .settings import make_settings

# What a browser says about itself when it loads a page, and when it sends a form.
PAGE = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "same-origin"}
FORM = PAGE | {"Origin": "http://localhost:8000"}
LOGIN = "<h1>Log in</h1>"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
EDGE = "Mozilla/5.0 (Windows NT 10.0) Chrome/140.0 Safari/537.36 Edg/140.0"


@pytest.fixture
def jwt_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    KeySet.generate().save("keys.json")
    return make_settings()


@pytest.fixture
def app(jwt_factory: TokenFactory) -> Iterator[Flask]:
    settings = jwt_factory.settings()  # the site's own, with another store, keys and clock
    app = create_app(settings)
    for name, role in (("alice", "admin"), ("bob", "reader")):
        with Database.begin() as db:
            hashed = generate_password_hash(f"{name}'s", "pbkdf2:sha256:1")  # a fast one, for tests
            db.add(User(name=name, role=role, password_hash=hashed))
    yield app
    settings.close()
    Database.kw["bind"].dispose()


class Browser:
    """A browser of one person, with a jar for cookies."""

    def __init__(self, app: Flask, user_agent: str = FIREFOX) -> None:
        self.client: FlaskClient = app.test_client()
        self.agent = {"User-Agent": user_agent}
        self.url = "http://localhost:8000"

    def load(self, path: str) -> tuple[int, str]:
        """Load a page, through all redirects; return the status and the text."""
        answer = self.client.get(
            path, base_url=self.url, headers=PAGE | self.agent, follow_redirects=True
        )
        return answer.status_code, answer.text

    def send(self, path: str, **fields: str) -> tuple[int, str]:
        """Send a form, likewise."""
        headers = FORM | self.agent
        answer = self.client.post(path, base_url=self.url, headers=headers, data=fields)
        while answer.status_code == 307:  # Werkzeug's client would send the form without its fields
            path = answer.location or ""
            answer = self.client.post(path, base_url=self.url, headers=headers, data=fields)
        if answer.status_code == 303:
            return self.load(answer.location or "")
        return answer.status_code, answer.text

    def log_in(self, name: str, **fields: str) -> tuple[int, str]:
        return self.send("/login?next=/notes", name=name, password=f"{name}'s", **fields)


@pytest.fixture
def browser(app: Flask) -> Browser:
    return Browser(app)


@pytest.fixture
def issuer(app: Flask) -> Issuer:
    found: Issuer = app.extensions["issuer"]
    return found


def id_of(name: str) -> str:
    with Database() as db:
        return db.scalars(select(User.id).where(User.name == name)).one()


def role_of(name: str, role: str) -> None:
    with Database.begin() as db:
        db.scalars(select(User).where(User.name == name)).one().role = role


def notes_of(name: str) -> list[str]:
    with Database() as db:
        return list(db.scalars(select(Note.text).where(Note.user_id == id_of(name))))


def test_a_stranger_is_led_to_the_login_and_back(browser: Browser) -> None:
    assert "Hello stranger" in browser.load("/")[1]
    assert LOGIN in browser.load("/notes")[1]
    status, page = browser.send("/login?next=/notes", name="bob", password="alice's")
    assert (status, "Wrong name or password" in page) == (403, True)
    assert browser.send("/login", name="nobody", password="")[0] == 403
    assert "Notes of bob" in browser.log_in("bob")[1]
    assert "Hello bob" in browser.load("/")[1]
    assert "Hello stranger" in browser.send("/logout")[1]
    assert LOGIN in browser.load("/notes")[1]


def test_pages_are_not_kept_and_stand_in_no_frame(browser: Browser) -> None:
    answer = browser.client.get("/login")
    assert answer.headers["Cache-Control"] == "no-store"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    with browser.client.get("/static/style.css") as style:
        assert "no-store" not in style.headers["Cache-Control"]


def test_a_page_and_a_form_go_on_after_the_tokens_end(browser: Browser, jwt_clock: Clock) -> None:
    role_of("bob", "editor")
    browser.log_in("bob")
    jwt_clock.advance(700)
    assert "Notes of bob" in browser.load("/notes")[1]
    jwt_clock.advance(700)
    assert "Call the &lt;b&gt;plumber" in browser.send("/notes", text="Call the <b>plumber")[1]
    assert notes_of("bob") == ["Call the <b>plumber"]


@pytest.mark.parametrize(
    ("stay", "seconds", "lives"),
    [({}, 3 * 3600, False), ({"stay": "yes"}, 29 * 86400, True), ({"stay": "yes"}, 3e6, False)],
    ids=["session", "stays", "stayed"],
)
def test_a_login_lasts_as_long_as_was_asked_for(
    browser: Browser, jwt_clock: Clock, stay: dict[str, str], seconds: float, *, lives: bool
) -> None:
    browser.log_in("bob", **stay)
    jwt_clock.advance(seconds)
    assert ("Notes of bob" in browser.load("/notes")[1]) == lives


def test_a_session_has_cookies_without_an_age(browser: Browser) -> None:
    answer = browser.client.post("/login", data={"name": "bob", "password": "bob's"})
    cookies = answer.headers.getlist("Set-Cookie")
    assert [cookie for cookie in cookies if "Max-Age" in cookie] == []
    assert len(cookies) == 2


def test_a_new_login_of_a_browser_ends_the_one_before(browser: Browser, issuer: Issuer) -> None:
    browser.log_in("alice")
    browser.log_in("bob")
    assert issuer.grants(id_of("alice")) == ()


def test_devices_are_shown_and_ended(
    browser: Browser, app: Flask, issuer: Issuer, jwt_clock: Clock
) -> None:
    browser.log_in("bob", stay="yes")
    others = [Browser(app, EDGE), Browser(app, "curl/8")]
    for other in others:
        other.log_in("bob")
    page = browser.load("/devices")[1]
    assert page.count("This device") == 1
    for name in ("Firefox on Linux", "Edge on Windows", "A browser"):
        assert name in page
    edge = next(one for one in issuer.grants(id_of("bob")) if "Edge" in (one.label or ""))
    assert "Edge" not in browser.send(f"/devices/{edge.id}/end")[1]
    assert browser.send(f"/devices/{edge.id}/end")[0] == 404
    assert LOGIN in others[0].load("/notes")[1]
    assert "A browser" not in browser.send("/devices/end-others")[1]
    assert "Notes of bob" in browser.load("/notes")[1]
    others[0].log_in("bob")
    jwt_clock.advance(3 * 3600)  # a session of two hours: nobody can use it any more
    assert "Edge" not in browser.load("/devices")[1]


def test_nobody_ends_another_users_login(browser: Browser, app: Flask, issuer: Issuer) -> None:
    Browser(app).log_in("alice")
    browser.log_in("bob")
    (hers,) = issuer.grants(id_of("alice"))
    assert browser.send(f"/devices/{hers.id}/end")[0] == 404
    browser.send("/devices/end-others")
    assert issuer.grants(id_of("alice")) == (hers,)


def test_a_role_changes_during_a_login(browser: Browser, app: Flask, jwt_clock: Clock) -> None:
    browser.log_in("bob")
    assert browser.send("/notes", text="No")[0] == 403
    alice = Browser(app)
    alice.log_in("alice")
    assert alice.send(f"/admin/{id_of('bob')}/role", role="editor")[0] == 200
    assert browser.send("/notes", text="Not yet")[0] == 403
    jwt_clock.advance(700)
    assert browser.send("/notes", text="Yes")[0] == 200
    assert notes_of("bob") == ["Yes"]


def test_an_admin_begins_and_ends_with_a_login(browser: Browser, app: Flask) -> None:
    alice, bobs = Browser(app), id_of("bob")
    alice.log_in("alice")
    browser.log_in("bob")
    assert browser.load("/admin")[0] == 403
    assert browser.send(f"/admin/{bobs}/role", role="admin")[0] == 403
    alice.send(f"/admin/{bobs}/role", role="admin")
    assert LOGIN in browser.load("/admin")[1]
    browser.log_in("bob")
    assert browser.load("/admin")[0] == 200
    alice.send(f"/admin/{bobs}/role", role="reader")
    assert LOGIN in browser.load("/admin")[1]
    assert alice.send(f"/admin/{bobs}/role", role="king")[0] == 400
    assert alice.send("/admin/nobody/role", role="reader")[0] == 404


def test_a_role_stays_where_logins_cant_be_ended(
    app: Flask, browser: Browser, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("no route to the engine")

    browser.log_in("alice")
    with monkeypatch.context() as patch:
        patch.setattr(issuer, "revoke_all", away)
        assert browser.send(f"/admin/{id_of('bob')}/role", role="admin")[0] == 503
    assert browser.load("/admin")[1].count("<option selected>admin") == 1


def test_an_admin_needs_the_fresh_role_too(browser: Browser, jwt_clock: Clock) -> None:
    browser.log_in("alice")
    role_of("alice", "reader")  # by hand, in the database
    jwt_clock.advance(700)
    assert browser.load("/admin")[0] == 403


def test_an_admin_logs_a_user_out_everywhere(app: Flask, issuer: Issuer) -> None:
    alice, bobs = Browser(app), [Browser(app), Browser(app, EDGE)]
    alice.log_in("alice")
    for one in bobs:
        one.log_in("bob")
    assert alice.send(f"/admin/{id_of('bob')}/log-out")[0] == 200
    assert issuer.grants(id_of("bob")) == ()
    assert [LOGIN in one.load("/notes")[1] for one in bobs] == [True, True]


def test_a_user_who_is_deleted_is_logged_out(browser: Browser, jwt_clock: Clock) -> None:
    browser.log_in("bob")
    with Database.begin() as db:
        db.delete(db.get_one(User, id_of("bob")))
    jwt_clock.advance(700)
    assert LOGIN in browser.load("/notes")[1]


def test_a_store_that_is_away_is_said(
    browser: Browser, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("no route to the engine")

    monkeypatch.setattr(issuer, "issue", away)
    status, page = browser.log_in("bob")
    assert (status, "try again" in page) == (503, True)


def test_users_are_added_by_a_command(app: Flask, browser: Browser) -> None:
    command = ["add-user", "carol", "--role", "editor", "--password", "carol's"]
    assert app.test_cli_runner().invoke(args=command).exit_code == 0
    assert "Notes of carol" in browser.log_in("carol")[1]


def test_attacks_are_refused(app: Flask, jwt_factory: TokenFactory) -> None:
    client = app.test_client(use_cookies=False)  # attacks bring their own
    for attack in jwt_factory.attacks(app.extensions["settings"]):
        answer = client.open(
            attack.path or "/notes", method=attack.method, headers=list(attack.headers)
        )
        assert answer.status_code in attack.statuses, attack
        assert "Set-Cookie" not in answer.headers, attack


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [(FIREFOX, "Firefox on Linux"), (EDGE, "Edge on Windows"), ("", "A browser")],
)
def test_a_device_has_a_name(user_agent: str, name: str) -> None:
    assert device_name(user_agent) == name
