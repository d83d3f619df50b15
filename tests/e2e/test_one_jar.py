"""One browser, one cookie jar: answers that come late, or never, log nobody out and nobody back in.

The server is the real one. Between it and the browser is a wire that holds requests and answers
back, and loses answers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from json import dumps, loads
from random import Random
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, Literal

import pytest

from jwt_middleware import Cookies, Issuer, KeySet, Refresh, Route, Settings
from jwt_middleware.cli.demo.server import DemoServer
from jwt_middleware.values import events
from jwt_middleware.wsgi import JWTMiddleware

from .browsing import cookies, listening
from .scripted import CLIENT, PAGE, PATIENCE, open_page

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

LOGIN, REFRESH, REVOKE, ME = "/auth/login", "/auth/refresh", "/auth/revoke", "/me"
RUNS = 50
ROUNDS = 20
Moment = Literal["request", "answer", "lost"]
LATE: tuple[Moment, ...] = ("request", "answer")
LOST: Moment = "lost"


@dataclass
class Held:
    """A request that is held before the server, or its answer behind it; or that gets none."""

    moment: Moment
    arrived: Event = field(default_factory=Event)
    gate: Event = field(default_factory=Event)

    def wait(self) -> None:
        assert self.arrived.wait(PATIENCE)


class Wire:
    """Carries requests to an application and answers back, as the test says."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._lock = Lock()
        self._held: dict[str, list[Held]] = defaultdict(list)

    def hold(self, path: str, *moments: Moment) -> list[Held]:
        """Hold the next requests for a path, each at its moment."""
        found = [Held(moment) for moment in moments]
        with self._lock:
            self._held[path] += found
        return found

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Serve one request."""
        with self._lock:
            waiting = self._held[environ["PATH_INFO"]]
            held = waiting.pop(0) if waiting else None
        if held is None:
            answer: Iterable[bytes] = self._app(environ, start_response)
            return answer
        if held.moment == "request":
            held.arrived.set()
            assert held.gate.wait(PATIENCE)
        started: list[Any] = []
        body = list(self._app(environ, lambda *found: started.append(found)))
        if held.moment == "answer":
            held.arrived.set()
            assert held.gate.wait(PATIENCE)
        if held.moment == "lost":
            held.arrived.set()
            raise ConnectionResetError
        start_response(*started[0])
        return body


class Service:
    """An application with a login, its page, and the client that the page imports."""

    def __init__(self, url: str, *, access: bool) -> None:
        self.url = url
        self.events: list[events.Event] = []
        self.settings = Settings(
            issuer=url,
            audience=f"{url}/api",
            keys=KeySet.generate(),
            routes=(
                Route(LOGIN, methods=("POST",), public=True, own_origin=True),
                Route("/page", public=True),
                Route("/jwt-client.js", public=True),
            ),
            # Without settling, every refresh rotates and sets the cookie: the worst case.
            refresh=Refresh(store="memory://", cookies=Cookies(access=access), settle=0),
            on_event=self.events.append,
        )
        self.issuer = Issuer(self.settings)
        self.wire = Wire(JWTMiddleware(self._serve, self.settings))

    def _serve(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/page":
                start_response("200 OK", [("Content-Type", "text/html")])
                return [PAGE]
            case "/jwt-client.js":
                start_response("200 OK", [("Content-Type", "text/javascript")])
                return [CLIENT.read_bytes()]
            case "/auth/login":
                name = loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))["name"]
                tokens = self.issuer.issue(name, replaces=environ["jwt_middleware.held"])
                kind = ("Content-Type", "application/json")
                start_response("200 OK", [kind, ("Cache-Control", "no-store"), *tokens.cookies])
                return [dumps(tokens).encode()]
            case _:
                start_response("200 OK", [("Content-Type", "text/plain")])
                return [environ["REMOTE_USER"].encode()]

    def count(self, kind: type[events.Event]) -> int:
        return sum(isinstance(event, kind) for event in self.events)


@pytest.fixture(params=[False, True], ids=["cookie", "access cookie"])
def service(request: pytest.FixtureRequest, context: BrowserContext) -> Iterator[Service]:
    with ExitStack() as stack:
        server = stack.enter_context(DemoServer("127.0.0.1", 0))
        found = Service(server.url, access=request.param)
        server.set_app(found.wire)
        stack.enter_context(listening(server))
        yield found
        context.close()
        found.settings.close()


# --- with our client

WHO = f"client.fetch('{ME}').then((answer) => answer.text())"
WHO_NOW = f"""{WHO}.catch((error) => {{
    if (error.name !== "LoginChanged") throw error;
    return error.name;
}})"""


def log_in(page: Page, name: str, *tabs: Page) -> None:
    """Log in, and wait until the other tabs see it: what a tab writes reaches them a bit later."""
    page.evaluate(f"client.login('{LOGIN}', {{ name: '{name}' }}).then(() => null)")
    login = page.evaluate("localStorage.getItem('jwt:login')")
    for tab in tabs:
        tab.wait_for_function("login => localStorage.getItem('jwt:login') === login", arg=login)


def under_way(page: Page, call: str) -> None:
    """Let the page begin something, one of several."""
    page.evaluate(f"void (window.all = [...(window.all ?? []), {call}.catch(() => null)])")


def finished(page: Page) -> None:
    """Wait until the page has done all that it began."""
    page.evaluate("Promise.all(window.all ?? []).then(() => { window.all = []; })")


def old_calls(service: Service, page: Page, random: Random) -> list[Held]:
    """Begin a refresh, a log-out or both; return what is on its way when this returns."""
    late = random.choice(LATE)
    match random.choice(["refresh", "logout", "both"]):
        case "both":
            [refresh] = service.wire.hold(REFRESH, random.choice(LATE))
            under_way(page, "client.refresh()")
            refresh.wait()
            [revoke] = service.wire.hold(REVOKE, late)
            under_way(page, "client.logout()")
            revoke.wait()
            return [refresh, revoke]
        case which:
            path = REFRESH if which == "refresh" else REVOKE
            # Half of the time the first answer gets lost, and it is the repetition that is late.
            moments: list[tuple[Moment, ...]] = [(late,), ("lost", late)]
            held = service.wire.hold(path, *random.choice(moments))
            under_way(page, f"client.{which}()")
            held[-1].wait()
            return [held[-1]]


def test_a_new_login_stands_whatever_becomes_of_the_old_one(
    context: BrowserContext, service: Service
) -> None:
    options = {"mode": "cookie", "lockTimeout": 20, "delays": [1]}
    tabs = [open_page(context, f"{service.url}/page", **options) for _ in range(2)]
    for run in range(RUNS):
        random = Random(run)
        random.shuffle(tabs)
        old, new = tabs[0], random.choice(tabs)
        log_in(old, "alice", *tabs)
        held = old_calls(service, old, random)
        random.shuffle(held)
        early = held.pop() if random.random() < 0.2 else None
        if early:
            early.gate.set()
        log_in(new, "bob", *tabs)
        for one in held:
            one.gate.set()
        finished(old)
        for page in tabs:
            page.wait_for_function("client.isLoggedIn")
            # On a busy machine the 20 ms for the lock may pass, and a call comes back refused, or
            # says that the login has changed. What must hold is the login: the next is served.
            assert "bob" in (page.evaluate(WHO_NOW), page.evaluate(WHO_NOW)), run
        assert new.evaluate("client.refresh().then(() => client.isLoggedIn)") is True, run
        assert new.evaluate(WHO) == "bob", run
        [grant] = service.issuer.grants("bob")
        endings = {cookie["name"][-8:] for cookie in cookies(context)}
        # Of alice's login, which is over, a late answer may have left a cookie: one, until the next
        # login takes it away.
        assert grant.id[-8:] in endings, run
        assert len(endings) <= 2, run
    assert service.count(events.Reused) == 0


def test_two_tabs_with_slow_and_lost_answers_stay_logged_in(
    context: BrowserContext, service: Service
) -> None:
    random = Random(0)
    for timeout in (10_000, 1):  # taking turns, and both at once
        options = {"mode": "cookie", "lockTimeout": timeout, "delays": [1, 1, 1]}
        tabs = [open_page(context, f"{service.url}/page", **options) for _ in range(2)]
        log_in(tabs[0], "alice", *tabs)
        for _ in range(ROUNDS):
            moments = random.choices((*LATE, LOST), k=random.randrange(4))
            held = service.wire.hold(REFRESH, *moments)
            random.shuffle(held)
            for page in tabs:
                under_way(page, "client.refresh()")
            for one in held:
                one.gate.set()
            for page in tabs:
                finished(page)
                assert page.evaluate(WHO) == "alice"
        assert tabs[0].evaluate("told.filter(([type]) => type === 'logout')") == []
        assert tabs[1].evaluate("told.filter(([type]) => type === 'logout')") == []
        assert len(service.issuer.grants("alice")) == 1
    assert service.count(events.Reused) == 0


# --- with a page that only fetches

PLAIN = """
window.post = (path, body) => fetch(path, {
    method: "POST", headers: { "X-Requested-With": "fetch" }, body,
});
window.who = async (hasAccessCookie) => {
    const headers = {};
    if (!hasAccessCookie) {
        const { access_token } = await (await post("/auth/refresh")).json();
        headers.Authorization = `Bearer ${access_token}`;
    }
    return (await fetch("/me", { headers })).text();
};
"""


def test_a_new_login_stands_in_a_page_that_only_fetches(
    context: BrowserContext, service: Service
) -> None:
    context.add_init_script(PLAIN)
    page = context.new_page()
    page.goto(f"{service.url}/page")
    has_access_cookie = service.settings.refresh.cookies.access  # type: ignore[union-attr]
    for run in range(RUNS):
        random = Random(run)
        page.evaluate(f"post('{LOGIN}', '{{\"name\": \"alice\"}}').then(() => null)")
        held = []
        for path in random.choice([(REFRESH,), (REVOKE,), (REFRESH, REVOKE), (REVOKE, REFRESH)]):
            held += service.wire.hold(path, random.choice(LATE))
            under_way(page, f"post('{path}')")
            held[-1].wait()
        random.shuffle(held)
        if random.random() < 0.2:
            held.pop().gate.set()
        page.evaluate(f"post('{LOGIN}', '{{\"name\": \"bob\"}}').then(() => null)")
        for one in held:
            one.gate.set()
        finished(page)
        for _ in range(2):
            assert page.evaluate("who", has_access_cookie) == "bob", run
        assert page.evaluate(f"post('{REFRESH}').then(({{ status }}) => status)") == 200, run
        assert len(service.issuer.grants("bob")) == 1, run
    assert service.count(events.Reused) == 0
