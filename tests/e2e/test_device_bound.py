"""Chromium binds the cookies to a key of its own (DBSC), and renews them by itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jwt_middleware import Cookies, Issuer, KeySet, Refresh, Route, Settings
from jwt_middleware.cli.demo.server import DemoServer
from jwt_middleware.wsgi import JWTMiddleware
from tests.waiting import until
from tests.world import Sent, by_wsgi

from .browsing import Clock, chromium, cookies, listening
from .secure_site import HOST, Certificate, profile

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

REGISTER, RENEW = "/auth/device/register", "/auth/device/refresh"


class Site:
    """An application with a login, and what came to it."""

    def __init__(self, folder: Path) -> None:
        self.certificate = Certificate(folder)
        self.server = DemoServer("127.0.0.1", 0)
        self.server.set_app(self)
        self.certificate.secure(self.server)
        self.url = f"https://{HOST}:{self.server.server_port}"
        self.clock = Clock()
        self.settings = Settings(
            issuer=self.url,
            audience=f"{self.url}/api",
            keys=KeySet.generate(),
            routes=(
                Route("/", public=True),
                Route("/login", public=True, own_origin=True),
                Route("/favicon.ico", public=True),
            ),
            refresh=Refresh(
                store=f"sqlite:///{folder}/grants.db?synchronous=NORMAL",
                cookies=Cookies(access=True, device_bound=True),
                settle=0,
            ),
            clock=self.clock,
        )
        self.issuer = Issuer(self.settings)
        self.app = JWTMiddleware(self.application, self.settings)
        self.came: list[tuple[str, int]] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        path = environ["PATH_INFO"]

        def started(status: str, headers: Any, *more: Any) -> Any:
            self.came.append((path, int(status[:3])))
            return start_response(status, headers, *more)

        return self.app(environ, started)

    def application(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        headers = [("Content-Type", "text/html")]
        if environ["PATH_INFO"] == "/login":
            tokens = self.issuer.issue("alice", replaces=environ["jwt_middleware.held"])
            headers += tokens.cookies
        start_response("200 OK", headers)
        return [b"<!doctype html><title>site</title>"]

    def paths(self) -> list[str]:
        return [path for path, _ in self.came if path != "/favicon.ico"]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    if find_spec("playwright") is None or chromium() is None:
        pytest.skip("LEFT OUT: no test ran in a browser. Needs Chromium (apt-get install chromium)")
    made = Site(tmp_path)
    with listening(made.server):
        yield made
    made.server.server_close()
    made.settings.close()


def fetched(page: Page, path: str, method: str = "GET") -> int:
    status: int = page.evaluate(
        "async ([path, method]) => (await fetch(path, {method, headers: "
        "{'X-Requested-With': 'fetch'}})).status",
        [path, method],
    )
    return status


def named(context: BrowserContext, part: str) -> list[dict[str, Any]]:
    return [one for one in cookies(context) if part in one["name"]]


def drop(context: BrowserContext, part: str) -> None:
    """Let a cookie's time be over."""
    for one in named(context, part):
        context.clear_cookies(name=one["name"])


def payload(token: str) -> Any:
    from jwt_middleware.jose import jws

    return jws.parse(token).claims


def stolen(site: Site, found: list[dict[str, Any]]) -> int:
    """Refresh with a copy of cookies, as a program elsewhere does; return the status."""
    pairs = "; ".join(f"{one['name']}={one['value']}" for one in found)
    fields = {"Cookie": pairs, "X-Requested-With": "fetch", "Origin": site.url}
    sent = Sent("POST", "/auth/refresh", [(name, text.encode()) for name, text in fields.items()])
    status, _, body = by_wsgi(site.app, sent)
    assert status == 200 or json.loads(body)["error"] == "invalid_grant"
    return status


def test_chromium_registers_renews_and_a_copy_buys_nothing(site: Site, tmp_path: Path) -> None:
    folder, spki = tmp_path / "profile", site.certificate.spki
    with profile(folder, spki) as context:
        page = context.pages[0]
        page.goto(site.url + "/")
        assert fetched(page, "/login", "POST") == 200
        until(lambda: named(context, "device") != [])
        assert (REGISTER, 200) in site.came
        # While the cookie is there, nothing is held.
        assert fetched(page, "/api") == 200
        assert RENEW not in site.paths()

        drop(context, "device")
        drop(context, "access")
        assert fetched(page, "/api") == 200
        assert site.came[-2:] == [(RENEW, 200), ("/api", 200)]
        (bound,) = (one for one in named(context, "refresh") if "device" not in one["name"])
        assert payload(bound["value"])["device"]
        # The page itself may refresh, too.
        assert fetched(page, "/auth/refresh", "POST") == 200

    # The key outlives the browser. A challenge of long ago needs one more round trip.
    site.clock.seconds += 3600
    with profile(folder, spki) as context:
        page = context.pages[0]
        drop(context, "device")
        site.came.clear()
        page.goto(site.url + "/")
        assert site.came[:3] == [(RENEW, 403), (RENEW, 200), ("/", 200)]
        assert fetched(page, "/api") == 200

        copy = cookies(context)
        (bound,) = (one for one in copy if "refresh" in one["name"] and "device" not in one["name"])
        assert stolen(site, [bound]) == 400
        site.clock.seconds += 331
        assert stolen(site, copy) == 400
        (grant,) = site.issuer.grants("alice")  # untouched

        drop(context, "device")
        assert fetched(page, "/api") == 200

        # A log-out ends the browser's session with the next request that it holds.
        assert fetched(page, "/auth/revoke", "POST") == 200
        assert site.issuer.grants("alice") == ()
        assert named(context, "refresh") == []
        site.came.clear()
        assert fetched(page, "/api") == 401
        assert (RENEW, 400) in site.came
        assert fetched(page, "/api") == 401
        assert site.paths().count(RENEW) == 1
        assert grant.bound_key is None


def test_chromium_without_it_goes_on_as_today(site: Site, tmp_path: Path) -> None:
    with profile(tmp_path / "profile", site.certificate.spki, features="") as context:
        page = context.pages[0]
        page.goto(site.url + "/")
        assert fetched(page, "/login", "POST") == 200
        drop(context, "access")
        assert fetched(page, "/auth/refresh", "POST") == 200
        assert fetched(page, "/api") == 200
        assert named(context, "device") == []
        assert not {REGISTER, RENEW} & {*site.paths()}
