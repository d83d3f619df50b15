"""examples/fastapi_site in Chromium: its page, by keyboard alone, and FastAPI's page about it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from examples.fastapi_site import live
from examples.fastapi_site.app import make_app
from examples.fastapi_site.settings import make_settings
from examples.fastapi_site.users import Users
from jwt_middleware import Issuer, KeySet, Settings
from jwt_middleware.values import events
from tests import axe, serving, swagger
from tests.waiting import PATIENCE, until

from .browsing import Clock, cookies

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Page


@dataclass
class Site:
    """The site in a thread, whose clock can be moved."""

    url: str
    users: Users
    settings: Settings
    clock: Clock
    issuer: Issuer
    told: list[events.Event] = field(default_factory=list)

    def log_in(self, page: Page, name: str = "alice") -> None:
        """Log in by keyboard."""
        page.goto(self.url)
        page.keyboard.press("Tab")
        page.keyboard.type(name)
        page.keyboard.press("Tab")
        page.keyboard.type(f"{name}'s password")
        page.keyboard.press("Enter")
        page.get_by_text("Logged in.").wait_for()
        page.get_by_text(f"{name}, ").wait_for()
        page.get_by_text("(connected)").last.wait_for()


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a table of users: made once, because hashing takes its time."""
    path = tmp_path_factory.mktemp("users") / "users.db"
    users = Users(path)
    for name, role in (("alice", "editor"), ("bob", "reader"), ("grace", "admin")):
        users.add(name, f"{name}'s password", role)
    return path


@pytest.fixture
def site(table: Path, tmp_path: Path) -> Iterator[Site]:
    users, clock = Users(Path(shutil.copy(table, tmp_path))), Clock()
    (tmp_path / "archive.bin").write_bytes(bytes(100))
    sites: list[Site] = []

    def make(url: str) -> Any:
        made = make_settings(url, KeySet.generate(), users, f"sqlite:///{tmp_path}/grants.db")
        told: list[events.Event] = []
        settings = made.replace(clock=clock, on_event=told.append)
        sites.append(Site(url, users, settings, clock, Issuer(settings), told))
        return make_app(settings, users, tmp_path / "archive.bin")

    with serving.asgi(make, lifespan="on", ws="auto"):
        yield sites[0]


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    context.set_default_timeout(PATIENCE * 1000)
    yield context.new_page()
    context.close()


def device(browser: Browser) -> BrowserContext:
    """Return another browser of the same user."""
    context = browser.new_context(user_agent="A phone")
    context.set_default_timeout(PATIENCE * 1000)
    return context


def focus(page: Page, wanted: Locator) -> None:
    """Press Tab until an element has the focus, as a person does who has no mouse."""
    wanted.wait_for()
    for _ in range(100):
        page.keyboard.press("Tab")
        if wanted.evaluate("one => one === document.activeElement"):
            return
    raise AssertionError(f"no Tab leads to {wanted}")


def press(page: Page, name: str) -> None:
    """Go to a button by Tab, and press Enter."""
    focus(page, page.get_by_role("button", name=name, exact=True))
    page.keyboard.press("Enter")


# --- the page


def test_a_person_logs_in_talks_writes_and_logs_out_by_keyboard(site: Site, page: Page) -> None:
    site.log_in(page)
    page.get_by_label("Message").focus()
    page.keyboard.type("Is anybody <b>here</b>?")
    page.keyboard.press("Enter")
    page.get_by_text("alice: Is anybody <b>here</b>?").wait_for()
    page.get_by_label("Note").focus()
    page.keyboard.type("Call the plumber")
    page.keyboard.press("Enter")
    page.get_by_text("alice: Call the plumber").wait_for()
    page.get_by_text("alice has put up a note").wait_for()
    (cookie,) = cookies(page.context)
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    page.reload()
    page.get_by_text("alice, editor: notes:read, notes:write").wait_for()
    press(page, "Log out")
    page.get_by_text("Logged out.").wait_for()
    assert page.get_by_label("Name").is_visible()
    assert not page.get_by_role("heading", name="Chat").is_visible()
    until(lambda: cookies(page.context) == [])  # the page shows it before the server knows
    assert site.issuer.grants("alice") == ()


@pytest.mark.xdist_group("axe")
def test_axe_finds_nothing_wrong_with_the_page(site: Site, page: Page) -> None:
    axe.install()
    page.goto(site.url)
    page.get_by_label("Name").wait_for()
    assert axe.violations(page) == []
    site.log_in(page)
    page.get_by_text("(this one)").wait_for()
    assert axe.violations(page) == []


def test_a_wrong_password_is_told(site: Site, page: Page) -> None:
    page.goto(site.url)
    page.get_by_label("Name").fill("alice")
    page.get_by_label("Password").fill("guess")
    page.get_by_role("button", name="Log in").click()
    page.get_by_text("wrong name or password").wait_for()


def test_a_reader_may_listen_only(site: Site, page: Page) -> None:
    site.log_in(page, "bob")
    page.get_by_label("Message").fill("hello")
    page.keyboard.press("Enter")
    page.get_by_text("you may only listen").wait_for()
    page.get_by_label("Note").fill("hello")
    page.keyboard.press("Enter")
    page.get_by_text("Refused: 403").wait_for()


def test_a_log_out_elsewhere_closes_the_chat_and_the_page(
    site: Site, page: Page, browser: Browser
) -> None:
    site.log_in(page)
    phone = device(browser)
    other = phone.new_page()
    site.log_in(other)
    other.get_by_label("Message").fill("from the phone")
    other.keyboard.press("Enter")
    page.get_by_text("alice: from the phone").wait_for()
    page.reload()
    page.get_by_text("A phone").wait_for()
    press(page, "Log this one out")
    other.get_by_text("You were logged out: invalid_grant.").wait_for()
    ended = [one for one in site.told if isinstance(one, events.ConnectionEnded)]
    assert [(one.kind, one.path, one.reason) for one in ended] == [
        ("websocket", "/live/chat", "grant_ended")
    ]
    page.get_by_text("alice, editor").wait_for()
    assert len(site.issuer.grants("alice")) == 1
    phone.close()


def test_to_log_out_everywhere_ends_both_pages(site: Site, page: Page, browser: Browser) -> None:
    site.log_in(page)
    phone = device(browser)
    other = phone.new_page()
    site.log_in(other)
    press(page, "Log out everywhere")
    for one in (page, other):
        one.get_by_text("You were logged out:").wait_for()
        assert one.get_by_label("Name").is_visible()
    assert site.issuer.grants("alice") == ()
    phone.close()


def test_a_download_is_cut_when_the_login_ends(
    site: Site, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.log_in(page)
    page.get_by_role("button", name="Download the export").click()
    page.get_by_text("Downloading:").wait_for()
    site.issuer.revoke_all("alice")
    page.get_by_text("The download was cut after").wait_for()
    page.get_by_text("You were logged out: invalid_grant.").wait_for()
    monkeypatch.setattr(live, "PAUSE", 0)
    site.log_in(page)
    page.get_by_role("button", name="Download the export").click()
    page.get_by_text(re.compile(r"Downloaded: \d{7} octets")).wait_for()


def test_the_chat_goes_on_with_fresh_tokens_and_roles(site: Site, page: Page) -> None:
    page.clock.install()
    site.log_in(page)
    site.users.change_role("alice", "admin")
    for times in range(3):
        site.clock.seconds += 500
        page.clock.fast_forward(500_000)
        page.get_by_text("the chat goes on with a fresh token").nth(times).wait_for()
    site.clock.seconds += 20
    page.get_by_label("Message").fill("still here")
    page.keyboard.press("Enter")
    page.get_by_text("alice: still here").wait_for()
    assert page.get_by_text("closed:").count() == 0
    page.reload()
    page.get_by_text("alice, admin: notes:read, notes:write").wait_for()


def test_a_page_that_slept_connects_again(site: Site, page: Page) -> None:
    site.log_in(page)
    site.clock.seconds += 700  # the page's own clock stands: it has refreshed nothing
    page.get_by_text("(closed: 4401 expired)").wait_for()
    page.get_by_text("(connected)").nth(1).wait_for()
    page.get_by_label("Message").fill("awake")
    page.keyboard.press("Enter")
    page.get_by_text("alice: awake").wait_for()


# --- FastAPI's page


def authorize(page: Page, *, scope: str = "") -> None:
    """Log in by the button, and close its dialog."""
    press(page, "Authorize")
    dialog = page.locator(".dialog-ux")
    focus(page, dialog.get_by_label("username"))
    page.keyboard.type("alice")
    focus(page, dialog.get_by_label("password"))
    page.keyboard.type("alice's password")
    if scope:
        # Swagger UI 5 hides its boxes, so that no keyboard leads to them.
        dialog.get_by_text(scope, exact=True).click()
    focus(page, dialog.get_by_role("button", name="Apply given OAuth2 credentials"))
    page.keyboard.press("Enter")
    dialog.get_by_text("Logout").wait_for()
    focus(page, dialog.get_by_role("button", name="Close"))
    page.keyboard.press("Enter")


def execute(page: Page, operation: str) -> Locator:
    """Open an operation of the page, try it out, and return its live answer."""
    found = page.locator(f"#operations-{operation}")
    focus(page, found.locator("button.opblock-summary-control"))
    page.keyboard.press("Enter")
    focus(page, found.get_by_role("button", name="Try it out"))
    page.keyboard.press("Enter")
    focus(page, found.get_by_role("button", name="Execute"))
    page.keyboard.press("Enter")
    return found.locator(".live-responses-table")


@pytest.fixture
def docs(site: Site, page: Page) -> Page:
    """Open FastAPI's page about the site."""
    swagger.serve(page)
    page.goto(f"{site.url}/docs")
    return page


@pytest.mark.xdist_group("swagger")
def test_the_button_authorize_logs_in_and_endpoints_answer_by_keyboard(
    site: Site, docs: Page
) -> None:
    answer = execute(docs, "notes-read_api_notes_get")
    answer.locator(".response-col_status").get_by_text("401").wait_for()
    docs.reload()
    authorize(docs)
    answer = execute(docs, "notes-write_api_notes_post")
    answer.locator(".response-col_status").get_by_text("201").wait_for()
    answer = execute(docs, "login-me_api_me_get")
    answer.locator(".response-col_status").get_by_text("200").wait_for()
    assert '"name": "alice"' in answer.inner_text()
    (grant,) = site.issuer.grants("alice")
    assert grant.scope == "notes:read notes:write"


@pytest.mark.xdist_group("swagger")
def test_a_scope_that_is_not_ticked_is_not_there(site: Site, docs: Page) -> None:
    authorize(docs, scope="notes:read")
    answer = execute(docs, "notes-read_api_notes_get")
    answer.locator(".response-col_status").get_by_text("200").wait_for()
    answer = execute(docs, "notes-write_api_notes_post")
    answer.locator(".response-col_status").get_by_text("403").wait_for()
    assert "insufficient_scope" in answer.inner_text()
    (grant,) = site.issuer.grants("alice")
    assert grant.scope == "notes:read"
