"""Cookie mode with the page on one origin and the service on another of the same site.

A site is a scheme and a host without its port (HTML s7.1.1), so that two ports of one host are two
origins of one site: SameSite=Strict lets the cookie pass, CORS decides who may read the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from json import dumps, loads
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import jwt_middleware.cli
from jwt_middleware import Cookies, Issuer, KeySet, Proofs, Refresh, Route, Settings
from jwt_middleware.cli.demo.server import DemoServer
from jwt_middleware.values.events import Event, Refreshed, Refused, Revoked
from jwt_middleware.wsgi import JWTMiddleware

from .browsing import cookies, listening

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

CLIENT = Path(jwt_middleware.cli.__file__).parent / "demo" / "jwt-client.js"
PAGE = b"<!doctype html><title>A page</title>"
ALLOWED = "Authorization, Content-Type, X-Requested-With, DPoP"


def pages(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Serve a page, and the client that its scripts import."""
    is_client = environ["PATH_INFO"] == "/jwt-client.js"
    kind = "text/javascript" if is_client else "text/html"
    start_response("200 OK", [("Content-Type", kind)])
    return [CLIENT.read_bytes() if is_client else PAGE]


class Service:
    """An application with a login, which answers the pages of one origin."""

    def __init__(self, url: str, page: str) -> None:
        self.events: list[Event] = []
        self.settings = Settings(
            issuer=url,
            audience=f"{url}/api",
            keys=KeySet.generate(),
            routes=(Route("/auth/login", public=True, own_origin=True),),
            proofs=Proofs(access=True),
            refresh=Refresh(store="memory://", cookies=Cookies(), settle=0),
            origins=(page,),
            on_event=self.events.append,
        )
        self.issuer = Issuer(self.settings)
        self.app = JWTMiddleware(partial(self._serve, page), self.settings)

    def _serve(self, page: str, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        # The application's own answers are its own affair, as with any CORS library.
        fields = [
            ("Access-Control-Allow-Origin", page),
            ("Access-Control-Allow-Credentials", "true"),
            ("Vary", "Origin"),
        ]
        if environ["REQUEST_METHOD"] == "OPTIONS":
            start_response("204 No Content", [*fields, ("Access-Control-Allow-Headers", ALLOWED)])
            return [b""]
        if environ["PATH_INFO"] == "/auth/login":
            length = int(environ["CONTENT_LENGTH"])
            name = loads(environ["wsgi.input"].read(length))["name"]
            tokens = self.issuer.issue(name, proof=environ["jwt_middleware.proof"])
            start_response("200 OK", [*fields, *tokens.cookies])
            return [dumps(tokens).encode()]
        start_response("200 OK", fields)
        return [environ["REMOTE_USER"].encode()]

    def count(self, kind: type[Event]) -> int:
        return sum(isinstance(event, kind) for event in self.events)


@dataclass
class Site:
    """A page, its service, and pages that are not its own."""

    page: str
    service: Service
    neighbour: str  # another origin of the same site
    stranger: str  # another site
    context: BrowserContext

    def open(self, url: str) -> Page:
        """Open a page whose `client` is one of the service."""
        page = self.context.new_page()
        page.goto(url)
        page.evaluate(
            """async (api) => {
                const { JWTClient } = await import("/jwt-client.js");
                window.client = new JWTClient({ api, mode: "cookie", delays: [] });
                window.reasons = [];
                client.addEventListener("logout", ({ detail }) => reasons.push(detail.reason));
            }""",
            self.service.settings.issuer,
        )
        return page

    def log_in(self) -> Page:
        page = self.open(self.page)
        login = "client.login('/auth/login', { name: 'alice' }).then((answer) => answer.status)"
        assert page.evaluate(login) == 200
        return page


@pytest.fixture
def site(browser: Browser) -> Iterator[Site]:
    with ExitStack() as stack:
        servers = [stack.enter_context(DemoServer("127.0.0.1", 0)) for _ in range(4)]
        own, other, neighbour, stranger = servers
        service = Service(other.url, own.url)
        for server in servers:
            server.set_app(service.app if server is other else pages)
            stack.enter_context(listening(server))
        context = stack.enter_context(browser.new_context())
        elsewhere = f"http://localhost:{stranger.server_port}"
        yield Site(own.url, service, neighbour.url, elsewhere, context)


ME = "client.fetch('/me').then((answer) => answer.text())"
# What a script can do without the client: send, and see what comes back.
TRY = """([url, headers]) => fetch(url, { method: "POST", credentials: "include", headers })
    .then((answer) => answer.status, (error) => error.name)"""
OURS = {"X-Requested-With": "x"}


def test_a_page_of_another_origin_logs_in_refreshes_and_logs_out(site: Site) -> None:
    page = site.log_in()
    (cookie,) = cookies(site.context)
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
    assert page.evaluate("Object.keys(localStorage)") == ["jwt:login"]
    assert page.evaluate(ME) == "alice"
    assert page.evaluate("client.refresh().then((tokens) => Object.keys(tokens).length > 0)")
    (rotated,) = cookies(site.context)
    assert rotated["value"] != cookie["value"]
    assert page.evaluate("client.logout()") is None
    assert cookies(site.context) == []
    assert page.evaluate("[client.isLoggedIn, reasons]") == [False, ["logout"]]
    assert site.service.count(Revoked) == 1


def test_a_page_of_another_origin_reads_the_nonce_that_its_proofs_need(site: Site) -> None:
    page = site.open(site.page)
    page.evaluate("client.key = 'required'")
    assert page.evaluate("client.login('/auth/login', { name: 'alice' }).then(() => null)") is None
    assert page.evaluate("client.tokens.token_type") == "DPoP"
    assert page.evaluate(ME) == "alice"
    assert page.evaluate("client.refresh().then((tokens) => tokens.token_type)") == "DPoP"
    assert page.evaluate(ME) == "alice"
    refused = [event.reason for event in site.service.events if isinstance(event, Refused)]
    assert refused == ["proof_nonce"]


def test_a_token_goes_to_no_other_origin(site: Site) -> None:
    page = site.log_in()
    with page.expect_request("**/me") as sent:
        page.evaluate("fetch('/me')")
    assert "authorization" not in sent.value.headers
    refused = page.evaluate("client.fetch(location.href).catch((error) => error.message)")
    assert refused.startswith(f"tokens are for {site.service.settings.issuer}")


def test_a_reload_finds_the_login_by_the_cookie(site: Site) -> None:
    site.log_in().close()
    page = site.open(site.page)
    assert page.evaluate("[client.isLoggedIn, client.tokens]") == [True, None]
    assert page.evaluate(ME) == "alice"
    assert site.service.count(Refreshed) == 1


def test_an_ended_grant_is_a_logout_with_its_reason(site: Site) -> None:
    page = site.log_in()
    site.service.issuer.revoke_all("alice")
    # The refusal and its challenge are readable across origins, or the client could not know.
    assert page.evaluate("client.fetch('/me').then((answer) => answer.status)") == 401
    assert page.evaluate("reasons") == ["invalid_grant"]
    assert cookies(site.context) == []


@pytest.mark.parametrize(
    ("where", "endpoint", "headers", "refusals"),
    [
        # Another origin's script needs a preflight to send the header, and doesn't get it.
        ("neighbour", "refresh", OURS, []),
        ("neighbour", "revoke", OURS, []),
        ("stranger", "refresh", OURS, []),
        ("stranger", "revoke", OURS, []),
        # Without it the request arrives: from a neighbour with the cookie, else without.
        ("neighbour", "refresh", {}, [403]),
        ("neighbour", "revoke", {}, [403]),
        ("stranger", "refresh", {}, [400]),
        ("stranger", "revoke", {}, []),  # RFC 7009 s2.2: no error where there is nothing to end
    ],
)
def test_a_foreign_page_gets_nothing_and_changes_nothing(
    site: Site, where: str, endpoint: str, headers: dict[str, str], refusals: list[int]
) -> None:
    victim = site.log_in()
    before = cookies(site.context)
    foreign = site.open(getattr(site, where))
    url = f"{site.service.settings.issuer}/auth/{endpoint}"
    assert foreign.evaluate(TRY, [url, headers]) == "TypeError"
    assert cookies(site.context) == before
    assert site.service.count(Refreshed) == site.service.count(Revoked) == 0
    refused = [event.status for event in site.service.events if isinstance(event, Refused)]
    assert refused == refusals
    assert victim.evaluate(ME) == "alice"
