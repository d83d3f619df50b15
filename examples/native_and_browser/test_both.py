"""The tests of both halves, through a server. `jwt_factory` and `jwt_clock`: docs/testing.md."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from flask import Flask
from flask.testing import FlaskClient

from jwt_middleware import Event, Issuer, KeySet, Settings
from jwt_middleware.testing import Clock, TokenFactory

from . import notes
from .server import make_app, make_settings

# What a browser says about itself when it loads a page, and when it sends a form.
PAGE = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "same-origin"}
FORM = PAGE | {"Origin": "http://localhost:8000"}
BROWSER: dict[str, Any] = {"base_url": "http://localhost:8000", "headers": FORM}


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def jwt_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    KeySet.generate().save("keys.json")
    return make_settings()


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def settings(jwt_factory: TokenFactory, told: list[Event]) -> Iterator[Settings]:
    settings = jwt_factory.settings(on_event=told.append)
    yield settings
    settings.close()


@pytest.fixture
def issuer(settings: Settings) -> Issuer:
    return Issuer(settings)


@pytest.fixture
def app(settings: Settings) -> Flask:
    return make_app(settings)


@pytest.fixture
def browser(app: Flask) -> FlaskClient:
    client = app.test_client()
    client.post("/login", data={"name": "alice", "password": "wonderland"}, **BROWSER)
    return client


Said = Callable[..., str]


@pytest.fixture
def program(
    app: Flask,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Said]:
    """Serve the application, and give the program: what it prints, or the end that it comes to."""
    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(notes, "URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(notes, "TOKENS", tmp_path / "notes" / "tokens.json")
        monkeypatch.setattr("getpass.getpass", lambda: "wonderland")

        def said(*arguments: str) -> str:
            try:
                notes.main(*arguments)
            except SystemExit as end:
                return str(end)
            return capsys.readouterr().out

        yield said
        server.shutdown()
        thread.join()


def test_both_are_logged_in_at_the_same_time(
    program: Said, browser: FlaskClient, issuer: Issuer, jwt_clock: Clock
) -> None:
    assert program("login", "alice") == ""
    program("add", "By the program")
    browser.post("/", data={"text": "By the browser"}, **BROWSER)
    assert program("list") == "By the program\nBy the browser\n"
    jwt_clock.advance(700)
    assert program("list") == "By the program\nBy the browser\n"
    page = browser.get("/", follow_redirects=True, **BROWSER).text
    assert "By the program" in page
    assert "<li>notes.py on " in page
    assert "<li>A browser</li>" in page
    assert program("logout") == ""
    assert len(issuer.grants("alice")) == 1
    assert "By the program" in browser.get("/", **BROWSER).text
    assert program("list").startswith("You are not logged in")
    program("login", "alice")
    browser.post("/logout", **BROWSER)
    assert browser.get("/", **BROWSER).location == "/login?next=/"
    assert "By the program" in program("list")


def test_each_gets_its_tokens_in_its_own_way(browser: FlaskClient, app: Flask) -> None:
    sent = {"name": "alice", "password": "wonderland"}
    answer = app.test_client().post("/api/login", json=sent)
    assert "Set-Cookie" not in answer.headers
    assert answer.headers["Cache-Control"] == "no-store"
    token = {"grant_type": "refresh_token", "refresh_token": answer.get_json()["refresh_token"]}
    again = app.test_client().post("/auth/refresh", data=token)
    assert {"access_token", "refresh_token"} <= again.get_json().keys()
    assert "Set-Cookie" not in again.headers
    # The browser's scripts, which there are none of, would see no token either.
    page = browser.post("/auth/refresh", **BROWSER)
    assert {"access_token", "refresh_token"} & page.get_json().keys() == set()
    # A page of another site can't use the program's login to plant one.
    evil = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert app.test_client().post("/api/login", json=sent, headers=evil).status_code == 403


def test_a_wrong_password_and_a_command_that_there_is_not(
    program: Said, browser: FlaskClient
) -> None:
    assert program("login", "bob") == "Wrong name or password"
    assert program("list").startswith("You are not logged in")
    assert program() == notes.__doc__
    form = {"name": "alice", "password": "x"}
    assert browser.post("/login", data=form, **BROWSER).status_code == 403


def test_many_processes_refresh_once(
    program: Said, told: list[Event], jwt_clock: Clock, issuer: Issuer
) -> None:
    program("login", "alice")
    program("add", "Milk")
    jwt_clock.advance(700)
    told.clear()
    command = [sys.executable, str(Path(notes.__file__)), "list"]
    places = os.environ | {"NOTES_URL": notes.URL, "NOTES_TOKENS": str(notes.TOKENS)}
    processes = [
        subprocess.Popen(command, env=places, stdout=subprocess.PIPE, text=True) for _ in range(5)
    ]
    assert [one.communicate(timeout=60)[0] for one in processes] == ["Milk\n"] * 5
    assert [event.name for event in told if event.name != "refused"] == ["refreshed"]
    assert len(issuer.grants("alice")) == 1


def test_the_file_is_for_its_user_alone(program: Said) -> None:
    program("login", "alice")
    assert notes.TOKENS.stat().st_mode & 0o777 == 0o600
    assert notes.TOKENS.parent.stat().st_mode & 0o777 == 0o700


def test_a_new_login_ends_the_one_before(program: Said, issuer: Issuer) -> None:
    program("login", "alice")
    program("login", "alice")
    assert len(issuer.grants("alice")) == 1
    assert program("list") == "\n"


def test_a_login_that_was_ended_is_told(program: Said, issuer: Issuer) -> None:
    program("login", "alice")
    issuer.revoke_all("alice")
    assert program("list").startswith("Your login has ended")
    assert program("list").startswith("You are not logged in")


def test_a_busy_server_is_asked_again(
    app: Flask, program: Said, jwt_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("login", "alice")
    jwt_clock.advance(700)
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    inside, busy = app.wsgi_app, 2

    def outside(environ: Any, start_response: Any) -> Any:
        nonlocal busy
        if environ["PATH_INFO"] == "/auth/refresh" and busy:
            busy -= 1
            start_response("503 Service Unavailable", [("Retry-After", "7")])
            return [b""]
        return inside(environ, start_response)

    monkeypatch.setattr(app, "wsgi_app", outside)
    assert program("list") == "\n"
    assert waited == [7, 7]
    jwt_clock.advance(700)
    busy = 5
    assert program("list").startswith("The server can't refresh the login now (503)")
    assert program("list") == "\n"  # the login is still there


def test_a_server_that_is_away_ends_no_login(
    program: Said, jwt_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("login", "alice")
    jwt_clock.advance(700)
    with monkeypatch.context() as patch:
        patch.setattr(notes, "URL", "http://127.0.0.1:1")
        assert program("list").startswith("No answer from")
    assert program("list") == "\n"


def test_attacks_are_refused(app: Flask, settings: Settings, jwt_factory: TokenFactory) -> None:
    client = app.test_client(use_cookies=False)
    for attack in jwt_factory.attacks(settings):
        answer = client.open(
            attack.path or "/api/notes", method=attack.method, headers=list(attack.headers)
        )
        assert answer.status_code in attack.statuses, attack
        assert "Set-Cookie" not in answer.headers, attack
