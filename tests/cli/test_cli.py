"""The command line, and the demo as far as it goes without a browser; the rest is in tests/e2e."""

from __future__ import annotations

import json
import os
import re
import runpy
import signal
import socket
import struct
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, get_args

import pytest

from jwt_middleware import Event, __version__
from jwt_middleware.cli import demo
from jwt_middleware.cli.__main__ import main
from jwt_middleware.cli.demo.app import PAGE_FILES
from jwt_middleware.cli.demo.server import DemoServer
from jwt_middleware.cli.demo.words import in_words
from jwt_middleware.testing import Prover
from jwt_middleware.values import reasons
from jwt_middleware.values.events import (
    Ahead,
    ConnectionEnded,
    Issued,
    KeyMismatch,
    KeysBack,
    KeysChanged,
    KeysFailed,
    KeySkipped,
    Refreshed,
    Refused,
    Restored,
    Reused,
    Revoked,
    StoreBack,
    StoreFailed,
    StoreNotice,
    SyncLate,
)

FOLDER = Path(demo.__file__).parent
EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "browser"


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What stderr has, which is one line."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("jwt-middleware: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("", "COMMAND"),
        ("keys", "COMMAND"),
        ("dance", "dance"),
        ("keys new --algorithm none", "none"),
        ("keys new --out /nowhere/keys.json", "/nowhere/keys.json: No such file"),
        ("demo --port many", "many"),
        ("demo --port 99999", "99999: no such port"),
        ("demo --port 0 --access-lifetime 1", "refresh.access_lifetime: must be"),
        ("demo --port 0 --settle 301", "refresh.settle: must be"),
        ("demo --port 0 --host 192.0.2.1", "192.0.2.1"),
    ],
)
def test_what_goes_wrong_is_one_line_and_exit_2(
    arguments: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments.split()) == 2
    assert says in one_line(capsys)


def test_an_output_that_is_full_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["keys", "new", "--out", str(tmp_path / "keys.json")]) == 2
    assert "No space left on device" in one_line(capsys)


def test_who_reads_the_output_may_go(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = str(tmp_path / "keys.json")
    assert main(["keys", "new", "--out", path]) == 0
    capsys.readouterr()
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        assert main(["keys", "list", "--file", path]) == 2
    assert capsys.readouterr() == ("", "")


def test_ctrl_c_leaves_no_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Where it strikes while the application's own module is imported, say.
    (tmp_path / "broken_off.py").write_text("raise KeyboardInterrupt")
    monkeypatch.chdir(tmp_path)
    assert main(["check", "--settings", "broken_off:settings"]) == 130
    assert capsys.readouterr() == ("", "")


def test_the_package_runs_as_a_module(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["jwt-middleware", "--version"])
    monkeypatch.delitem(sys.modules, "jwt_middleware.cli.__main__")
    # pytest loads packages that have a plugin by a loader of its own, which runpy can't use.
    others = [one for one in sys.meta_path if type(one).__name__ != "AssertionRewritingHook"]
    monkeypatch.setattr(sys, "meta_path", others)
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module("jwt_middleware.cli", run_name="__main__")
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"jwt-middleware {__version__}\n"


# --- the demo as a command


def stop(with_: signal.Signals, is_ready: Callable[[], bool]) -> Thread:
    """Send a signal to the main thread, as a terminal does, when the demo is ready."""
    main_thread = threading.main_thread().ident
    assert main_thread is not None

    def wait() -> None:
        deadline = time.monotonic() + 20
        while not is_ready() and time.monotonic() < deadline:
            time.sleep(0.01)
        signal.pthread_kill(main_thread, with_)

    thread = Thread(target=wait)
    thread.start()
    return thread


def serves(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=1).close()
    except OSError:
        return False
    return True


@pytest.fixture
def grants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary directories are made."""
    folder = tmp_path / "grants"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_the_demo_opens_a_browser_and_ends_by_ctrl_c(
    tmp_path: Path,
    grants: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen, browser = tmp_path / "seen", tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {seen}.new && mv {seen}.new {seen}\n')
    browser.chmod(0o700)
    monkeypatch.setattr("webbrowser._tryorder", None)  # who looked before must look again
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    monkeypatch.setenv("DISPLAY", ":0")
    # A shell that starts something in the background has it ignore Ctrl-C; a terminal doesn't.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        thread = stop(signal.SIGINT, seen.exists)
        assert main(["demo", "--port", "0"]) == 0
    finally:
        signal.signal(signal.SIGINT, before)
    thread.join()
    assert seen.read_text().strip() in capsys.readouterr().out
    assert list(grants.iterdir()) == []


def test_the_demo_leaves_nothing_when_the_system_ends_it(grants: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with DemoServer("127.0.0.1", 0) as server:
        port, url = server.server_port, server.url
    thread = stop(signal.SIGTERM, lambda: serves(url))
    assert main(["demo", "--port", str(port), "--no-browser"]) == 0
    thread.join()
    assert list(grants.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_without_a_screen_no_browser_takes_the_terminal() -> None:
    is_desk = sys.platform in ("darwin", "win32")
    assert demo.has_screen({}) is is_desk
    assert demo.has_screen({"WAYLAND_DISPLAY": "wayland-0"})


def test_a_port_that_is_taken_is_named_with_the_way_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with DemoServer("127.0.0.1", 0) as server:
        assert main(["demo", "--no-browser", "--port", str(server.server_port)]) == 2
    assert f"{server.server_port}: Address already in use; another one" in one_line(capsys)


def test_who_listens_everywhere_is_found_at_localhost() -> None:
    with DemoServer("0.0.0.0", 0) as server:
        assert server.url == f"http://localhost:{server.server_port}"


# --- the demo as a service


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return time.time() + self.seconds


@dataclass
class Answer:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Client:
    """A client of the running demo, without the least magic."""

    url: str
    clock: Clock

    def send(
        self, method: str, path: str, body: object = None, token: str = "", **headers: str
    ) -> Answer:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            fields["Authorization"] = f"Bearer {token}"
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        if isinstance(body, dict):
            fields.setdefault("Content-Type", "application/json")
        request = urllib.request.Request(self.url + path, data, fields, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def log_in(self, *, role: str = "editor", keeps: str = "header", **headers: str) -> Answer:
        login = {"name": "alice", "role": role, "keeps": keeps}
        return self.send("POST", "/login", login, **headers)

    def refresh(self, token: str) -> Answer:
        body = {"grant_type": "refresh_token", "refresh_token": token}
        return self.send("POST", "/auth/refresh", body)

    def events(self, after: int = 0) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.send("GET", f"/events?after={after}").json["events"]
        return found

    def titles(self) -> list[str]:
        return [event["title"] for event in self.events()]


@pytest.fixture
def client() -> Iterator[Client]:
    clock = Clock()
    with demo.serving(clock=clock) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Client(server.url, clock)
        server.shutdown()
        thread.join()


def test_a_login_opens_what_its_role_allows(client: Client) -> None:
    editor, admin = client.log_in().json, client.log_in(role="admin").json
    me = client.send("GET", "/api/me", token=editor["access_token"])
    assert me.json == {"you": "alice", "roles": ["editor"], "scope": "read write"}
    refused = client.send("GET", "/api/admin", token=editor["access_token"])
    assert (refused.status, 'scope="admin"' in refused.headers["WWW-Authenticate"]) == (403, True)
    allowed = client.send("GET", "/api/admin", token=admin["access_token"])
    assert allowed.json == {"your_logins": 2}
    assert client.send("GET", "/api/me").status == 401
    assert client.send("GET", "/api/none", token=editor["access_token"]).status == 404


def test_the_list_of_events_tells_the_whole_story(client: Client) -> None:
    first = client.log_in().json["refresh_token"]
    assert client.refresh(first).json["refresh_token"] == first  # kept
    client.clock.seconds += 5
    client.refresh(first)
    stolen = client.refresh(first).json["refresh_token"]
    client.clock.seconds += 5
    latest = client.refresh(stolen).json
    assert client.refresh(first).status == 400
    assert client.send("GET", "/api/me", token=latest["access_token"]).status == 401
    assert client.titles() == [
        *("Logged in", "Kept", "Rotated", "Repeated", "Rotated", "Reuse found"),
        *("Refused with 400", "Refused with 401"),
    ]
    events = client.events()
    assert [event["generation"] for event in events][:5] == [1, 1, 2, 2, 3]
    assert len({event["grants"][0] for event in events}) == 1
    assert client.events(events[-2]["number"]) == events[-1:]
    assert client.send("GET", "/events?after=x").status == 400


def test_no_token_is_in_the_list_of_events(client: Client) -> None:
    tokens = client.log_in().json
    client.refresh(tokens["refresh_token"])
    client.send("GET", "/api/me", token=tokens["access_token"] + "x")
    told_ = client.send("GET", "/events").body.decode()
    assert not re.search(r"eyJ[A-Za-z0-9_-]+\.", told_)
    assert "alice" not in told_


def test_log_out_everywhere_ends_every_login_of_the_user(client: Client) -> None:
    one, two = client.log_in().json, client.log_in().json
    path = "/api/logout-everywhere"
    assert client.send("POST", path, token=one["access_token"]).json == {"ended": 2}
    for tokens in (one, two):
        assert client.send("GET", "/api/me", token=tokens["access_token"]).status == 401
        assert client.refresh(tokens["refresh_token"]).status == 400


def test_in_cookie_mode_the_refresh_token_is_in_the_cookie_alone(client: Client) -> None:
    answer = client.log_in(keeps="cookie")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(f"demo_refresh-{answer.json['sid'][-8:]}=")
    assert cookie.endswith("Max-Age=600; Path=/; HttpOnly; SameSite=Strict")
    assert {"access_token", "expires_in", "scope", "sid", "token_type"} <= answer.json.keys()
    assert "refresh_token" not in answer.json


def test_a_login_ends_the_one_whose_cookie_it_brings(client: Client) -> None:
    old = client.log_in(keeps="cookie")
    new = client.log_in(keeps="cookie", Cookie=old.headers["Set-Cookie"].partition(";")[0])
    assert client.send("GET", "/api/me", token=old.json["access_token"]).status == 401
    assert client.send("GET", "/api/me", token=new.json["access_token"]).status == 200
    assert client.log_in(Cookie="demo_refresh=;[=").status == 200


def test_a_login_with_a_proof_is_bound_to_its_key(client: Client) -> None:
    prover = Prover(client.url)
    asked = client.log_in(DPoP=prover.proof("POST", "/login"))
    assert (asked.status, asked.json["error"]) == (401, "use_dpop_nonce")
    prover.nonce = asked.headers["DPoP-Nonce"]
    tokens = client.log_in(DPoP=prover.proof("POST", "/login")).json
    assert tokens["token_type"] == "DPoP"
    assert client.refresh(tokens["refresh_token"]).json["error"] == "invalid_grant"
    assert client.send("GET", "/api/me", token=tokens["access_token"]).status == 401
    proved = prover.headers("GET", "/api/me", tokens["access_token"])
    assert client.send("GET", "/api/me", None, "", **proved).json["you"] == "alice"
    assert client.titles()[:4] == [
        *("Refused with 401", "Logged in", "Wrong key", "Refused with 400")
    ]


@pytest.mark.parametrize(
    "login",
    [
        b"",
        b"[]",
        b"name=alice",
        {"name": "alice", "role": "editor"},
        {"name": "alice", "role": "king", "keeps": "header"},
        {"name": "   ", "role": "editor", "keeps": "header"},
        {"name": "x" * 33, "role": "editor", "keeps": "header"},
        {"name": 7, "role": "editor", "keeps": "header"},
        {"name": "demo-page", "role": "editor", "keeps": "header"},  # the client's own name
        {"name": "x" * 2000, "role": "editor", "keeps": "header"},
    ],
)
def test_a_login_that_makes_no_sense_is_refused(client: Client, login: object) -> None:
    kind = "application/json"
    answer = client.send("POST", "/login", login, Content_Type=kind)
    assert (answer.status, answer.json) == (400, {"error": "invalid_login"})


def test_a_form_of_another_site_logs_nobody_in(client: Client) -> None:
    login = b'{"name": "alice", "role": "editor", "keeps": "cookie"}'
    for status, fields in (
        (400, {"Content_Type": "text/plain"}),
        (403, {"Content_Type": "application/json", "Origin": "https://evil.example"}),
    ):
        answer = client.send("POST", "/login", login, **fields)
        assert (answer.status, answer.headers["Set-Cookie"]) == (status, None)


@pytest.mark.parametrize("path", PAGE_FILES)
def test_the_page_comes_whole_and_under_a_strict_policy(client: Client, path: str) -> None:
    answer = client.send("GET", path)
    assert answer.body == (FOLDER / PAGE_FILES[path][0]).read_bytes()
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; ")
    assert "unsafe" not in policy
    assert client.send("HEAD", path).body == b""


def test_the_page_needs_nothing_from_elsewhere_and_nothing_inline() -> None:
    for name, _ in PAGE_FILES.values():
        text = (FOLDER / name).read_text("utf-8")
        assert set(re.findall(r"https?://[^\s\"')]+", text)) <= {"http://www.w3.org/2000/svg"}, name
    page = (FOLDER / "index.html").read_text("utf-8")
    assert not re.search(r"<style|\bstyle=|\bon[a-z]+=|<script(?! type=\"module\" src=)", page)


def test_the_example_client_is_the_one_that_the_demo_runs() -> None:
    client = (FOLDER / "jwt-client.js").read_bytes()
    assert (EXAMPLE / "jwt-client.js").read_bytes() == client
    copied = EXAMPLE.parent / "fastapi_site" / "static" / "jwt-client.js"
    assert copied.read_bytes() == client


def test_a_browser_that_goes_away_is_no_news(
    client: Client, capfd: pytest.CaptureFixture[str]
) -> None:
    host, port = client.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET / HT")
        # No farewell: the connection is reset, as by a closed tab.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert client.send("GET", "/events").status == 200
    assert capfd.readouterr().err == ""


def test_another_error_of_a_connection_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with DemoServer("127.0.0.1", 0) as server:
        try:
            raise RuntimeError("a fault of ours")
        except RuntimeError:
            server.handle_error(None, ("127.0.0.1", 1))
    assert "a fault of ours" in capsys.readouterr().err


# --- events in words

ONE_OF_EACH: dict[str, Event] = {
    "Logged in": Issued(grant_id="g", client_id="c"),
    "Rotated": Refreshed(grant_id="g", how="rotated", generation=2),
    "Kept": Refreshed(grant_id="g", how="kept", generation=2),
    "Repeated": Refreshed(grant_id="g", how="repeated", generation=2),
    "Restored": Restored(grant_id="g", generation=4, lost=2),
    "Reuse found": Reused(grant_id="g", gap=1, seconds=4.2),
    "Store too old": Ahead(grant_id="g", gap=20),
    "Wrong key": KeyMismatch(grant_id="g"),
    "Revoked": Revoked(grant_ids=("g", "h"), reason="logout"),
    "Refused with 503": Refused(reason=reasons.STORE, status=503, method="GET", path="/api/me"),
    "Connection ended": ConnectionEnded(reason="expired", kind="websocket", path="/chat"),
    "Store failed": StoreFailed(verb="advance", detail="full"),
    "Store back": StoreBack(seconds=3.2),
    "Store noticed": StoreNotice(notice="its history is another one"),
    "Out of date": SyncLate(seconds=130, passing=False),
    "Keys changed": KeysChanged(issuer="i", added=("a",), removed=()),
    "Key skipped": KeySkipped(issuer="i", kid="a", problem="too short"),
    "Keys failed": KeysFailed(issuer="i", detail="it answers 500"),
    "Keys back": KeysBack(issuer="i", seconds=3.2),
}


def test_every_event_has_words() -> None:
    assert {type(event) for event in ONE_OF_EACH.values()} == set(get_args(Event))
    for title, event in ONE_OF_EACH.items():
        words = in_words(event)
        assert words.title == title
        assert not words.text[0].islower()
        assert words.text.endswith(".")
        assert "{" not in words.text
    assert "2 grants ended: logout." in in_words(ONE_OF_EACH["Revoked"]).text
    assert "had lost 2 rotations" in in_words(ONE_OF_EACH["Restored"]).text
    assert "GET /api/me: store unavailable." in in_words(ONE_OF_EACH["Refused with 503"]).text
