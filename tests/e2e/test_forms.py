"""The sites of docs/pages.md, as they are printed there, in a browser: pages, links and forms.

`127.0.0.1` and `localhost` are two sites (HTML s7.1.1). On the second one are a mail with a link,
and forms that nobody asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from jwt_middleware import Issuer, KeySet, Settings
from jwt_middleware.cli.demo.server import DemoServer
from jwt_middleware.values import events
from tests import serving
from tests.rules import accepts, refuses
from tests.test_docs import ROOT, blocks

from .browsing import SWITCHES, Clock, chromium, cookies, listening

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

PAGE = (ROOT / "docs" / "pages.md").read_text("utf-8")
SHOWN = [one.text for one in blocks(PAGE) if one.language == "python"]
FRAMEWORKS = {"flask": 1, "starlette": 2}  # the blocks' numbers
WORKER = b"""self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(clients.claim()));
self.addEventListener("fetch", (event) => {
    if (event.request.mode === "navigate") event.respondWith(fetch(event.request));
});"""
EXPIRED = 700.0  # seconds, after which an access token has expired
LOGIN = {"name": "alice", "password": "wonderland"}


@dataclass
class Site:
    """A site of the page, and the requests that reached its server."""

    url: str
    elsewhere: str
    module: ModuleType
    clock: Clock
    events: list[events.Event]
    seen: list[tuple[str, str, int]] = field(default_factory=list)  # method, path, status

    @property
    def issuer(self) -> Issuer:
        issuer: Issuer = self.module.issuer
        return issuer

    @property
    def notes(self) -> list[str]:
        notes: list[str] = self.module.NOTES["alice"]
        return notes

    def log_in(self, page: Page, path: str = "/notes") -> None:
        page.goto(self.url + path)
        page.get_by_label("Name").fill("alice")
        page.get_by_label("Password").fill("wonderland")
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(self.url + path)

    def paths(self) -> list[tuple[str, str, int]]:
        """Return what was asked for since the last call, without icons."""
        found, self.seen[:] = [one for one in self.seen if "favicon" not in one[1]], []
        return found

    def mail(self, page: Page, path: str = "/notes") -> None:
        """Open a mail on another site, and follow its link."""
        page.goto(f"{self.elsewhere}/mail?{self.url}{path}")
        page.get_by_role("link").click()


def others(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Serve pages of another site, which lead to the address in their query."""
    where = environ["QUERY_STRING"]
    start_response("200 OK", [("Content-Type", "text/html")])
    policy = (
        '<meta name="referrer" content="no-referrer">' if environ["PATH_INFO"] == "/quiet" else ""
    )
    return [
        f'<!doctype html><title>Elsewhere</title>{policy}<a href="{where}">Look</a>'
        f'<form method="post" action="{where}"><input name="note" value="evil">'
        f'<input name="name" value="mallory"><button>Win</button></form>'.encode()
    ]


def made(
    url: str, framework: str, folder: Path, clock: Clock, told: list[events.Event]
) -> ModuleType:
    """Return the module that a reader makes of the page, with this URL, folder and clock."""
    KeySet.generate().save(folder / "keys.json")
    module = ModuleType(f"notes_{framework}")
    text = SHOWN[0]
    for old, new in (
        ('"http://localhost:8000",', f'"{url}", clock=clock, on_event=told.append,'),
        ("keys.json", f"{folder}/keys.json"),
        ("grants.db", f"{folder}/grants.db"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    vars(module).update(clock=clock, told=told)
    for block in (text, SHOWN[FRAMEWORKS[framework]]):
        exec(compile(block, "docs/pages.md", "exec", dont_inherit=True), vars(module))
    return module


def watched_by_wsgi(site: Site, app: Any) -> Any:
    def watching(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/worker.js":
            start_response("200 OK", [("Content-Type", "text/javascript")])
            return [WORKER]

        def start(status: str, *rest: Any) -> Any:
            site.seen.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], int(status[:3])))
            return start_response(status, *rest)

        answer: Iterable[bytes] = app(environ, start)
        return answer

    return watching


def watched_by_asgi(site: Site, app: Any) -> Any:
    async def watching(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/worker.js":
            headers = [(b"content-type", b"text/javascript")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": WORKER})
            return

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                site.seen.append((scope["method"], scope["path"], message["status"]))
            await send(message)

        await app(scope, receive, sending)

    return watching


@pytest.fixture(params=FRAMEWORKS)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(ignore_cleanup_errors=True)))
        far = stack.enter_context(DemoServer("127.0.0.1", 0))
        far.set_app(others)
        stack.enter_context(listening(far))
        told: list[events.Event] = []
        sites: list[Site] = []

        def make(url: str) -> Any:
            clock = Clock()
            module = made(url, request.param, folder, clock, told)
            found = Site(url, f"http://localhost:{far.server_port}", module, clock, told)
            sites.append(found)
            watched = watched_by_wsgi if request.param == "flask" else watched_by_asgi
            return watched(found, module.app if request.param == "flask" else module.site)

        if request.param == "flask":
            server = stack.enter_context(DemoServer("127.0.0.1", 0))
            server.set_app(make(server.url))
            stack.enter_context(listening(server))
        else:
            stack.enter_context(serving.asgi(make))
        yield sites[0]
        settings: Settings = sites[0].module.settings
        settings.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    yield context.new_page()
    context.close()


def forget_access(context: BrowserContext) -> None:
    """Do what a browser does when the Max-Age of a cookie is over."""
    context.clear_cookies(name=re.compile("access_token"))


# --- what a person does


@accepts("RT-32")
def test_a_person_comes_from_nothing_to_a_note_and_out_again_by_keyboard(
    site: Site, page: Page
) -> None:
    page.goto(f"{site.url}/notes?page=2")
    assert page.url == f"{site.url}/login?next=/notes%3Fpage%3D2"
    press = page.keyboard.press
    press("Tab")
    page.keyboard.type("alice")
    press("Tab")
    page.keyboard.type("wrong")
    press("Enter")
    page.get_by_text("Wrong name or password").wait_for()
    press("Tab")
    page.keyboard.type("alice")
    press("Tab")
    page.keyboard.type("wonderland")
    press("Enter")
    page.wait_for_url(f"{site.url}/notes?page=2")
    assert len(cookies(page.context)) == 2
    press("Tab")
    page.keyboard.type("Call the <b>plumber</b>")
    press("Enter")
    page.get_by_text("Call the <b>plumber</b>").wait_for()
    assert site.notes == ["Buy milk", "Call the <b>plumber</b>"]
    for _ in range(3):
        press("Tab")
    press("Enter")
    page.get_by_role("heading", name="Hello stranger").wait_for()
    assert cookies(page.context) == []
    assert site.issuer.grants("alice") == ()
    page.go_back()
    page.wait_for_load_state()
    assert "milk" not in page.content()
    page.goto(f"{site.url}/notes")
    assert page.url == f"{site.url}/login?next=/notes"


@accepts("RT-32")
@pytest.mark.parametrize("kept", ["expired", "gone"])
def test_an_expired_page_load_goes_on_by_itself(site: Site, page: Page, kept: str) -> None:
    site.log_in(page)
    site.clock.seconds += EXPIRED
    if kept == "gone":
        forget_access(page.context)
    site.paths()
    page.goto(f"{site.url}/notes?a=%2F&b=%22")
    assert page.url == f"{site.url}/notes?a=%2F&b=%22"
    page.get_by_role("heading", name="Notes of alice").wait_for()
    assert site.paths() == [
        ("GET", "/notes", 303),
        ("GET", "/auth/continue", 303),
        ("GET", "/notes", 200),
    ]
    # A page for everyone shows nobody then, and the link that its "Log in" should be helps.
    site.clock.seconds += EXPIRED
    page.goto(site.url)
    page.get_by_role("heading", name="Hello stranger").wait_for()
    page.goto(f"{site.url}/auth/continue?next=/")
    page.get_by_role("heading", name="Hello alice").wait_for()


@accepts("RT-32")
@pytest.mark.parametrize("kept", ["good", "expired", "gone"])
def test_a_link_in_a_mail_ends_on_the_page_logged_in(site: Site, page: Page, kept: str) -> None:
    site.log_in(page)
    if kept != "good":
        site.clock.seconds += EXPIRED
    if kept == "gone":
        forget_access(page.context)
    site.paths()
    site.mail(page, "/notes?from=mail")
    page.wait_for_url(f"{site.url}/notes?from=mail")
    page.get_by_role("heading", name="Notes of alice").wait_for()
    assert site.paths() == [
        ("GET", "/notes", 303),
        ("GET", "/auth/continue", 200),
        ("GET", "/auth/continue", 303),
        ("GET", "/notes", 200),
    ]
    # "Back" leads to the mail, not into the page between.
    page.go_back(wait_until="commit")
    page.wait_for_url(f"{site.elsewhere}/**", wait_until="commit")


@refuses("RT-32")
def test_a_link_in_a_mail_with_a_dead_login_ends_on_the_login_page(site: Site, page: Page) -> None:
    site.log_in(page)
    site.clock.seconds += EXPIRED
    site.issuer.revoke_all("alice")
    site.paths()
    site.mail(page)
    page.wait_for_url(f"{site.url}/login?next=/notes")
    assert [status for *_, status in site.paths()] == [303, 200, 303, 200]
    assert cookies(page.context) == []
    page.get_by_label("Name").fill("alice")
    page.get_by_label("Password").fill("wonderland")
    page.get_by_role("button").click()
    page.wait_for_url(f"{site.url}/notes")


@refuses("RT-32")
def test_a_stranger_who_follows_a_link_ends_on_the_login_page(site: Site, page: Page) -> None:
    site.mail(page)
    page.wait_for_url(f"{site.url}/login?next=/notes")
    assert [status for *_, status in site.paths()] == [303, 200, 303, 200]


@refuses("RT-32")
def test_with_cookies_blocked_nothing_goes_round(site: Site, browser: Browser) -> None:
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        (profile := Path(folder, "Default")).mkdir()
        blocked = {"profile": {"default_content_setting_values": {"cookies": 2}}}
        (profile / "Preferences").write_text(json.dumps(blocked), "utf-8")
        context = browser.browser_type.launch_persistent_context(
            folder, executable_path=chromium(), args=list(SWITCHES)
        )
        page = context.pages[0]
        site.mail(page)
        page.wait_for_url(f"{site.url}/login?next=/notes")
        page.get_by_label("Name").fill("alice")
        page.get_by_label("Password").fill("wonderland")
        page.get_by_role("button", name="Log in").click()
        page.wait_for_load_state()
        assert page.url == f"{site.url}/login?next=/notes"
        assert cookies(context) == []
        assert [status for *_, status in site.paths()] == [303, 200, 303, 200, 303, 303, 200]
        context.close()


# --- forms


@accepts("RT-32")
@pytest.mark.parametrize("kind", ["plain", "no-referrer", "multipart", "two-tabs"])
def test_a_form_with_an_expired_token_loses_no_text(site: Site, page: Page, kind: str) -> None:
    site.log_in(page)
    text = "A long story. " * 500
    page.get_by_label("A note").fill(text)
    if kind == "no-referrer":
        page.evaluate(
            """document.head.append(Object.assign(
                document.createElement("meta"), { name: "referrer", content: "no-referrer" }))"""
        )
    if kind == "multipart":
        page.evaluate(
            """() => {
                const form = document.querySelector("form");
                form.enctype = "multipart/form-data";
                form.append(Object.assign(
                    document.createElement("input"), { type: "file", name: "file" }));
            }"""
        )
        octets = {"name": "a.bin", "mimeType": "application/octet-stream", "buffer": b"x" * 500_000}
        page.set_input_files("input[type=file]", octets)  # type: ignore[arg-type]
    site.clock.seconds += EXPIRED
    forget_access(page.context)
    if kind == "two-tabs":
        other = page.context.new_page()
        other.goto(f"{site.url}/notes")
        forget_access(page.context)
    site.paths()
    page.get_by_role("button", name="Add").click()
    page.get_by_text("A long story.").wait_for()
    assert site.notes == ["Buy milk", text]
    assert site.paths() == [
        ("POST", "/notes", 307),
        ("POST", "/auth/continue", 307),
        ("POST", "/notes", 303),
        ("GET", "/notes", 200),
    ]


@accepts("RT-20")
def test_a_page_without_referrer_sends_a_form(site: Site, page: Page) -> None:
    site.log_in(page)
    page.evaluate(
        """document.head.append(Object.assign(
            document.createElement("meta"), { name: "referrer", content: "no-referrer" }))"""
    )
    page.get_by_label("A note").fill("Shh")
    with page.expect_request(f"{site.url}/notes") as sent:
        page.get_by_role("button", name="Add").click()
    assert sent.value.all_headers()["origin"] == "null"
    page.get_by_text("Shh").wait_for()


@refuses("RT-32")
def test_a_form_of_a_dead_login_goes_to_the_login_page(site: Site, page: Page) -> None:
    site.log_in(page)
    site.issuer.revoke_all("alice")
    page.get_by_label("A note").fill("Lost")
    page.get_by_role("button", name="Add").click()
    page.wait_for_url(f"{site.url}/login?next=/notes")
    assert site.notes == ["Buy milk"]


@refuses("RT-20", "RT-32")
@pytest.mark.parametrize("kind", ["form", "quiet"])
@pytest.mark.parametrize("worker", [False, True], ids=["", "with a service worker"])
def test_a_form_of_another_site_changes_nothing(
    site: Site, page: Page, kind: str, *, worker: bool
) -> None:
    site.log_in(page)
    if worker:
        with_worker(page)
    for expired in (False, True):
        site.clock.seconds += EXPIRED if expired else 0
        for path in ("/notes", "/logout", "/auth/continue?next=/notes"):
            page.goto(f"{site.elsewhere}/{kind}?{site.url}{path}")
            site.paths()
            page.get_by_role("button").click()
            page.wait_for_url(site.url + path)
            ((method, _, status),) = site.paths()
            assert (method, status // 100) == ("POST", 4)
    assert site.notes == ["Buy milk"]
    assert len(site.issuer.grants("alice")) == 1


@refuses("RT-27", "RT-32")
def test_another_site_plants_no_login(site: Site, page: Page) -> None:
    site.module.USERS["mallory"] = ""
    page.goto(f"{site.elsewhere}/form?{site.url}/login?next=/notes")
    page.get_by_role("button").click()
    page.wait_for_url(f"{site.url}/login?next=/notes")
    assert cookies(page.context) == []
    assert site.issuer.grants("mallory") == ()


# --- what isn't a page load, and what is one all the same


def with_worker(page: Page) -> None:
    """Let a service worker answer the page loads of this site from now on."""
    page.evaluate(
        """navigator.serviceWorker.register("/worker.js")
            .then(() => navigator.serviceWorker.ready)
            .then(() => navigator.serviceWorker.controller || new Promise((resolve) => {
                navigator.serviceWorker.addEventListener("controllerchange", resolve);
            })).then(() => null)"""
    )


@accepts("RT-32")
def test_a_service_worker_that_hands_page_loads_on_changes_nothing(site: Site, page: Page) -> None:
    site.log_in(page)
    with_worker(page)
    site.clock.seconds += EXPIRED
    page.goto(f"{site.url}/notes?by=worker")
    page.get_by_role("heading", name="Notes of alice").wait_for()
    site.clock.seconds += EXPIRED
    page.get_by_label("A note").fill("By a worker")
    page.get_by_role("button", name="Add").click()
    page.get_by_text("By a worker").wait_for()
    assert site.notes == ["Buy milk", "By a worker"]
    site.clock.seconds += EXPIRED
    site.mail(page)
    page.wait_for_url(f"{site.url}/notes")
    page.get_by_role("heading", name="Notes of alice").wait_for()
    site.issuer.revoke_all("alice")
    page.reload()
    page.wait_for_url(f"{site.url}/login?next=/notes")


AHEAD_PATHS = {"/notes", "/auth/continue"}
AHEAD = """(rules) => {
    const script = document.createElement("script");
    script.type = "speculationrules";
    script.textContent = JSON.stringify(rules);
    document.head.append(script);
}"""


@refuses("RT-32")
@pytest.mark.parametrize("kind", ["prefetch", "prerender"])
def test_what_is_loaded_in_advance_exchanges_nothing(site: Site, page: Page, kind: str) -> None:
    site.log_in(page)
    site.clock.seconds += EXPIRED
    page.goto(site.url)
    site.paths()
    before = len(site.events)
    for path in AHEAD_PATHS:
        where = f"{path}?next=/notes"
        rule = {"source": "list", "urls": [where], "eagerness": "immediate"}
        page.evaluate(AHEAD, {kind: [rule]})
    wait_until(page, lambda: len({path for _, path, _ in site.seen} & AHEAD_PATHS) == 2)
    assert sorted(status for *_, status in site.paths()) == [400, 401]
    assert [one for one in site.events[before:] if not isinstance(one, events.Refused)] == []
    page.get_by_role("link", name="Your notes").click()
    page.wait_for_url(f"{site.url}/notes")
    page.get_by_role("heading", name="Notes of alice").wait_for()


@refuses("RT-32")
def test_a_frame_and_a_script_get_401(site: Site, page: Page) -> None:
    page.goto(site.url)
    site.paths()
    page.evaluate(
        """document.body.append(Object.assign(
            document.createElement("iframe"), { src: "/notes" }))"""
    )
    wait_until(page, lambda: ("GET", "/notes", 401) in site.seen)
    assert page.evaluate("fetch('/notes').then(({ status }) => status)") == 401
    fetched = "fetch('/auth/continue?next=/').then(({ status }) => status)"
    assert page.evaluate(fetched) == 400
    assert [status for *_, status in site.paths()] == [401, 401, 400]


@refuses("RT-32")
def test_no_link_leads_to_another_host(site: Site, page: Page) -> None:
    site.log_in(page)
    far = site.elsewhere.removeprefix("http:")
    for where in (far, site.elsewhere, f"/\\{far[2:]}", "javascript:alert(1)", f"/%09{far}"):
        for path in ("/auth/continue", "/login"):
            answer = page.goto(f"{site.url}{path}?next={where}")
            assert answer is not None
            assert answer.status == 400
            assert page.url.startswith(site.url + path)


@accepts("RT-32")
def test_two_tabs_that_load_at_once_are_both_logged_in(site: Site, page: Page) -> None:
    site.log_in(page)
    pages = [page, *(page.context.new_page() for _ in range(3))]
    for one in pages[1:]:
        one.goto(site.url)
    for _ in range(3):
        site.clock.seconds += EXPIRED
        forget_access(page.context)
        for one in pages:
            one.evaluate("setTimeout(() => { location.href = '/notes?' + Math.random(); }, 10)")
        for one in pages:
            one.wait_for_url(f"{site.url}/notes?*")
            one.get_by_role("heading", name="Notes of alice").wait_for()
            one.goto(site.url)
    assert not any(isinstance(event, events.Reused) for event in site.events)
    assert len(site.issuer.grants("alice")) == 1


def wait_until(page: Page, holds: Any, seconds: float = 20) -> None:
    for _ in range(int(seconds * 20)):
        if holds():
            return
        page.wait_for_timeout(50)
    raise AssertionError("nothing came")
