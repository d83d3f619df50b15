"""The sites of examples/ in Chromium, by keyboard alone; axe looks at each page."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from werkzeug.security import generate_password_hash

from examples import flask_site
from examples.flask_site import models
from examples.flask_site import settings as flask_settings
from examples.native_and_browser import server as both
from examples.starlette_site import app as starlette_app
from jwt_middleware import Issuer, KeySet, Settings, StoreUnavailable
from jwt_middleware.cli.demo.server import DemoServer
from jwt_middleware.stores.sqlite.store import SQLiteStore
from tests import axe, serving
from tests.django import site as django_site
from tests.waiting import until

from .browsing import Clock, cookies, listening

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Page

pytestmark = pytest.mark.xdist_group("axe")
EXPIRED = 700.0  # seconds, after which an access token has expired
MOST_TABS = 40
HAS_FOCUS = "(one) => one === document.activeElement"
IS_SEEN = "(one) => getComputedStyle(one).outlineStyle !== 'none'"


@pytest.fixture(scope="module", autouse=True)
def _axe() -> None:
    axe.install()


@dataclass
class Address:
    """Where a site is; its clock can be put forward, unless it runs in another process."""

    url: str
    clock: Clock


@dataclass
class Site(Address):
    """A site in this process."""

    settings: Settings

    @property
    def issuer(self) -> Issuer:
        return Issuer(self.settings)


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Site]:
    """Return what makes a site's settings for a URL, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    KeySet.generate().save("keys.json")

    def prepare(url: str, make_settings: Callable[[], Settings]) -> Site:
        monkeypatch.setenv("SITE_URL", url)
        clock = Clock()
        return Site(url, clock, make_settings().replace(clock=clock))

    return prepare


@contextmanager
def in_flask(
    prepared: Callable[..., Site], make_settings: Any, make_app: Any
) -> Generator[Site, None, None]:
    with DemoServer("127.0.0.1", 0) as server:
        site = prepared(server.url, make_settings)
        server.set_app(make_app(site.settings))
        with listening(server):
            yield site
        site.settings.close()


@pytest.fixture
def flask(prepared: Callable[..., Site]) -> Iterator[Site]:
    with in_flask(prepared, flask_settings.make_settings, flask_site.create_app) as site:
        for name, role in (("alice", "admin"), ("bob", "editor"), ("carol", "reader")):
            hashed = generate_password_hash("wonderland", "pbkdf2:sha256:1")
            with models.Database.begin() as db:
                db.add(models.User(id=f"{name}s", name=name, role=role, password_hash=hashed))
        yield site
        models.Database.kw["bind"].dispose()


@pytest.fixture
def starlette(prepared: Callable[..., Site]) -> Iterator[Site]:
    with ExitStack() as stack:
        sites: list[Site] = []

        def make(url: str) -> Any:
            sites.append(prepared(url, starlette_app.make_settings))
            return starlette_app.make_app(sites[0].settings)

        stack.enter_context(serving.asgi(make))
        yield sites[0]
        sites[0].settings.close()


@pytest.fixture
def native(prepared: Callable[..., Site]) -> Iterator[Site]:
    with in_flask(prepared, both.make_settings, both.make_app) as site:
        yield site


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a copy of the project in Django."""
    return django_site.make(tmp_path_factory.mktemp("site") / "django_site").folder


@pytest.fixture(params=django_site.SERVERS)
def django(request: pytest.FixtureRequest, project: Path, tmp_path: Path) -> Iterator[Address]:
    with django_site.serve(project, tmp_path, request.param) as served:
        yield Address(served.environment["SITE_URL"], Clock())


class Person:
    """Somebody with a keyboard and an address bar, and no mouse. Every page is looked at by axe."""

    def __init__(self, browser: Browser, site: Address, **options: Any) -> None:
        self.context: BrowserContext = browser.new_context(**options)
        self.context.set_default_timeout(10_000)
        self.page: Page = self.context.new_page()
        self.site = site
        self.complaints: list[str] = []

    def opens(self, path: str) -> None:
        self.page.goto(self.site.url + path)
        self.looks()

    def visits(self, path: str) -> str:
        """Open a page; return the address at which that ends."""
        self.opens(path)
        return self.page.url

    def goes_to(self, what: Locator) -> None:
        """Press Tab until it has the focus, and see that this can be seen."""
        for _ in range(MOST_TABS):
            self.page.keyboard.press("Tab")
            if what.evaluate(HAS_FOCUS):
                assert what.evaluate(IS_SEEN)
                return
        raise AssertionError(f"no Tab leads to {what}")

    def types(self, label: str, text: str) -> None:
        self.goes_to(self.page.get_by_label(label, exact=True))
        self.page.keyboard.type(text)

    def presses(
        self, name: str | re.Pattern[str], role: Any = "button", key: str = "Enter"
    ) -> None:
        """Go to a button or a link, press a key, and wait for the next page."""
        self.goes_to(self.page.get_by_role(role, name=name, exact=True))
        self.sends(key)

    def sends(self, key: str = "Enter") -> None:
        with self.page.expect_navigation():
            self.page.keyboard.press(key)
        self.looks()

    def sees(self, heading: str) -> None:
        self.page.get_by_role("heading", name=heading, exact=True, level=1).wait_for()

    def looks(self) -> None:
        self.page.wait_for_load_state()
        assert axe.violations(self.page) == []

    def logs_in(
        self, name: str, *, stays: bool = False, labels: tuple[str, str] = ("Name", "Password")
    ) -> None:
        self.sees("Log in")
        self.types(labels[0], name)
        self.types(labels[1], "wonderland")
        if stays:
            self.goes_to(self.page.get_by_role("checkbox"))
            self.page.keyboard.press("Space")
        self.sends()

    def forgets_access(self) -> None:
        """Let the browser do what it does when the Max-Age of a cookie is over."""
        self.context.clear_cookies(name=re.compile("access_token"))


@pytest.fixture
def person(browser: Browser) -> Iterator[Callable[..., Person]]:
    people: list[Person] = []

    def meet(site: Address, **options: Any) -> Person:
        people.append(Person(browser, site, **options))
        return people[-1]

    yield meet
    for one in people:
        one.context.close()


People = Callable[..., Person]
DJANGOS = ("Username:", "Password:")  # labels
FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Version/19.0 Mobile Safari/604.1"


def adds_a_note(one: Person, label: str, *, text: str, shown: str = "") -> None:
    """Type a note, take so long that the token expires meanwhile, and send it."""
    one.types(label, text)
    one.site.clock.seconds += EXPIRED
    one.forgets_access()
    one.sends()
    one.page.get_by_text(shown or text, exact=True).wait_for()
    assert one.page.get_by_text(shown or text, exact=True).count() == 1


def test_notes_in_flask_from_the_login_to_the_log_out(flask: Site, person: People) -> None:
    bob = person(flask)
    bob.opens("/")
    bob.sees("Hello stranger")
    bob.presses("Log in", "link")
    bob.types("Name", "bob")
    bob.types("Password", "wrong")
    bob.sends()
    bob.page.get_by_role("alert").wait_for()
    bob.page.get_by_role("alert").get_by_text("Wrong name or password").wait_for()
    bob.opens("/notes")
    bob.logs_in("bob", stays=True)
    bob.sees("Notes of bob")
    adds_a_note(bob, "A note", text="Call the <b>plumber</b>")
    ages = [one["expires"] for one in cookies(bob.context)]
    assert len(ages) == 2
    assert -1 not in ages  # he stays
    flask.clock.seconds += EXPIRED
    bob.presses("Home", "link")
    bob.sees("Hello stranger")  # a page for all shows nobody then ...
    bob.presses("Log in", "link")
    bob.sees("Hello bob")  # ... and the link "Log in" has him back
    bob.presses("Your notes", "link")
    bob.presses("Log out")
    bob.sees("Hello stranger")
    assert cookies(bob.context) == []
    assert flask.issuer.grants("bobs") == ()
    bob.page.go_back()
    bob.page.wait_for_load_state()
    assert "plumber" not in bob.page.content()
    bob.opens("/notes")
    bob.sees("Log in")


def test_devices_in_flask_are_ended_one_and_all(flask: Site, person: People) -> None:
    bob, *others = (person(flask, user_agent=agent) for agent in (None, FIREFOX, PHONE, PHONE))
    for one in (bob, *others):
        one.opens("/notes")
        one.logs_in("bob")
    bob.presses("Your devices", "link")
    bob.sees("Your devices")
    assert bob.page.get_by_text("This device").count() == 1
    assert bob.page.get_by_role("rowheader").count() == 4
    assert bob.page.get_by_role("rowheader", name="Chrome on Linux").count() == 1
    assert -1 in [one["expires"] for one in cookies(bob.context)]  # he didn't ask to stay
    button = bob.page.get_by_role("button", name=re.compile("^Log out Firefox on Windows, "))
    bob.goes_to(button)
    bob.sends()
    assert bob.page.get_by_role("rowheader").count() == 3
    others[0].presses("Your notes", "link")
    others[0].sees("Log in")
    others[1].presses("Your notes", "link")
    others[1].sees("Notes of bob")
    bob.presses("Log out all other devices")
    assert bob.page.get_by_role("rowheader").count() == 1
    for one in others[1:]:
        one.presses("Your notes", "link")
        one.sees("Log in")
    bob.presses("Your notes", "link")
    bob.sees("Notes of bob")


def test_an_admin_in_flask_changes_roles_and_ends_logins(flask: Site, person: People) -> None:
    alice, carol = person(flask), person(flask)
    for one, name in ((alice, "alice"), (carol, "carol")):
        one.opens("/notes")
        one.logs_in(name)
    assert carol.page.get_by_role("link", name="Users").count() == 0
    assert carol.page.get_by_label("A note").count() == 0
    alice.presses("Users", "link")
    alice.sees("Users")
    alice.goes_to(alice.page.get_by_label("Role of carol", exact=True))
    alice.page.keyboard.press("ArrowDown")
    alice.presses("Set the role of carol")
    assert alice.page.get_by_label("Role of carol", exact=True).input_value() == "editor"
    flask.clock.seconds += EXPIRED
    carol.presses("Your notes", "link")
    adds_a_note(carol, "A note", text="I may write")
    alice.presses("Log out everywhere: carol")
    carol.presses("Your notes", "link")
    carol.sees("Log in")
    alice.sees("Users")


def test_notes_in_starlette_from_the_login_to_the_log_out(starlette: Site, person: People) -> None:
    alice = person(starlette)
    alice.opens("/")
    alice.sees("Hello stranger")
    alice.presses("Your notes", "link")
    alice.types("Name", "alice")
    alice.types("Password", "wrong")
    alice.sends()
    alice.page.get_by_role("alert").get_by_text("Wrong name or password").wait_for()
    alice.opens("/notes")
    alice.logs_in("alice")
    alice.sees("Notes of alice")
    adds_a_note(alice, "A note", text="Call the <b>plumber</b>")
    alice.presses("Home", "link")
    alice.sees("Hello alice")
    alice.presses("Log out")
    alice.sees("Hello stranger")
    assert cookies(alice.context) == []
    assert starlette.issuer.grants("alice") == ()
    alice.opens("/notes")
    alice.sees("Log in")


def test_notes_devices_and_the_admin_in_django(django: Address, person: People) -> None:
    alice = person(django)
    alice.opens("/")
    alice.sees("Hello stranger")
    alice.opens("/devices")
    alice.types(DJANGOS[0], "alice")
    alice.types(DJANGOS[1], "wrong")
    alice.sends()
    alice.page.get_by_text("Please enter a correct username and password").wait_for()
    alice.logs_in("alice", labels=DJANGOS)
    alice.sees("Your devices")
    alice.presses("Your notes", "link")
    alice.sees("Hello alice")
    adds_a_note(alice, "A note", text="Call <b>Bob</b>", shown="Call <b>Bob</b> (alice)")
    alice.opens("/")
    alice.sees("Hello alice")
    phone = person(django, user_agent=PHONE)
    phone.opens("/password")
    phone.logs_in("alice", labels=DJANGOS)
    phone.sees("Change your password")
    alice.presses("Your devices", "link")
    assert alice.page.get_by_role("listitem").count() == 2
    assert alice.page.get_by_text("(this one)").count() == 1
    alice.goes_to(alice.page.get_by_role("listitem").first.get_by_role("button"))
    alice.sends()
    assert alice.page.get_by_role("listitem").count() == 1
    until(lambda: "/login?" in phone.visits("/devices"))  # another worker hears of it
    # The admin's login is a session of Django's own: its pages are Django's, too.
    alice.page.goto(f"{django.url}/admin/auth/group/add/")
    alice.types(DJANGOS[0], "alice")
    alice.types(DJANGOS[1], "wonderland")
    with alice.page.expect_navigation():
        alice.page.keyboard.press("Enter")
    alice.page.get_by_label("Name:", exact=True).wait_for()
    alice.opens("/")
    alice.sees("Hello alice")
    alice.presses("Log out")
    alice.sees("Hello stranger")
    alice.page.go_back()
    alice.page.wait_for_load_state()
    assert "Call" not in alice.page.content()
    alice.page.goto(f"{django.url}/admin/")
    assert "Site administration" in alice.page.content()


def test_a_browser_beside_a_program(native: Site, person: People) -> None:
    alice = person(native)
    program = native.issuer.issue("alice", client_id="notes-program", label="notes.py")
    alice.opens("/")
    alice.logs_in("alice")
    alice.sees("Your notes")
    alice.page.get_by_text("notes.py").wait_for()
    adds_a_note(alice, "A note", text="By the browser")
    alice.presses("Log out")
    alice.sees("Log in")
    assert cookies(alice.context) == []
    assert [one.id for one in native.issuer.grants("alice")] == [program.grant_id]


@pytest.mark.parametrize("name", ["flask", "starlette", "native"])
def test_a_site_whose_store_is_away_says_so(
    name: str, request: pytest.FixtureRequest, person: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailable("no route to the engine")

    site: Site = request.getfixturevalue(name)
    alice = person(site)
    alice.opens("/notes" if name != "native" else "/")
    monkeypatch.setattr(SQLiteStore, "add", away)
    alice.logs_in("alice")
    assert "try again" in alice.page.content()
    assert cookies(alice.context) == []


def test_axe_finds_what_keeps_people_out(browser: Browser) -> None:
    page = browser.new_page()
    page.set_content('<html lang="en"><title>A</title><main><h1>A</h1><input name="name"></main>')
    assert [found.split(":")[0] for found in axe.violations(page)] == ["label (critical)"]
    page.close()
