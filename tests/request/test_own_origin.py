"""RT-27: a login sets cookies, so that other sites' requests must not reach it.

A form of another site could plant the login of its author: the user would go on in that account.
"""

from __future__ import annotations

from typing import Any

import pytest

from jwt_middleware import ConfigurationError, Cookies, KeySet, Refresh, Route, Settings
from jwt_middleware.request.origins import origin_of
from tests.issuing import AUDIENCE, DOORS, ISSUER, KEYS, World, opened
from tests.rules import accepts, refuses
from tests.world import World as Verifying

SHOP, EVIL = "https://shop.example", "https://evil.example"
LOGIN = Route("/login", public=True, own_origin=True)
ROUTES = (LOGIN, Route("/open", public=True), Route("/maybe", optional=True, own_origin=True))
SETTINGS: dict[str, Any] = {
    "routes": ROUTES,
    "origins": (SHOP,),
    "refresh": {"cookies": Cookies(), "public_url": "https://www.example/app"},
}

Page = tuple[tuple[str, str], ...]

OWN: dict[str, Page] = {
    "same-origin": (("Origin", "https://any.example"), ("Sec-Fetch-Site", "same-origin")),
    "same-origin-without-origin": (("Sec-Fetch-Site", "same-origin"),),
    "known": (("Origin", SHOP), ("Sec-Fetch-Site", "cross-site")),
    "the-issuer": (("Origin", ISSUER),),
    "the-public-url": (("Origin", "https://www.example"),),
    "no-browser": (),
}
OTHERS: dict[str, Page] = {
    "a-form": (("Origin", EVIL), ("Sec-Fetch-Site", "cross-site")),
    "a-form-of-an-old-browser": (("Origin", EVIL),),
    "a-form-without-origin": (("Sec-Fetch-Site", "cross-site"),),
    "a-sibling": (("Origin", "https://blog.login.example"), ("Sec-Fetch-Site", "same-site")),
    "a-sibling-without-origin": (("Sec-Fetch-Site", "same-site"),),
    "no-referrer": (("Origin", "null"), ("Sec-Fetch-Site", "cross-site")),
    "a-sandbox": (("Origin", "null"),),
    "typed": (("Sec-Fetch-Site", "none"),),
    "another-port": (("Origin", f"{ISSUER}:8443"),),
    "in-clear": (("Origin", ISSUER.replace("https", "http")),),
    "the-host-it-was-sent-to": (("Origin", "https://api.example"), ("Host", "api.example")),
}


@pytest.fixture
def world() -> Any:
    with opened(DOORS, **SETTINGS) as one:
        yield one


@accepts("RT-27")
@pytest.mark.parametrize("page", OWN.values(), ids=OWN)
def test_a_login_from_a_page_of_ours_is_served(world: World, page: Page) -> None:
    answer = world.send("POST", "/login", headers=page, query="alice")
    assert (answer.status, len(answer.cookies)) == (200, 1)
    assert world.send("POST", "/maybe", headers=page).reached


@refuses("RT-27")
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "post", "X"])
@pytest.mark.parametrize("page", OTHERS.values(), ids=OTHERS)
def test_a_login_from_elsewhere_is_refused(world: World, page: Page, method: str) -> None:
    answer = world.send(method, "/login", headers=page, query="mallory")
    assert (answer.status, answer.reason, answer.cookies) == (403, "cross_site", ())
    assert not answer.reached
    answer = world.send(method, "/maybe", headers=page)
    assert (answer.status, answer.reached) == (403, False)


@accepts("RT-27")
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_its_form_can_be_looked_at_from_anywhere(world: World, method: str) -> None:
    with opened(DOORS, routes=ROUTES) as one:
        for page in OTHERS.values():
            assert one.send(method, "/maybe", headers=page).reached


@accepts("RT-27")
def test_routes_that_do_not_say_so_take_every_request(world: World) -> None:
    for page in OTHERS.values():
        assert world.send("POST", "/open", headers=page).reached


@refuses("RT-27")
def test_a_token_that_is_known_opens_no_optional_route_from_elsewhere(world: World) -> None:
    token = world.login().access_token
    for _ in range(3):
        assert world.send("POST", "/maybe", token=token).user == "alice"
        assert world.send("POST", "/maybe", token=token, headers=OTHERS["a-form"]).status == 403


@refuses("RT-27")
def test_a_service_that_issues_nothing_has_no_origin_of_its_own() -> None:
    public = KeySet.from_jwks(KEYS.public_jwks())
    settings = Settings(issuer=ISSUER, audience=AUDIENCE, keys=public, routes=ROUTES)
    world = Verifying(settings)
    assert world.request("POST", "/open", headers=OWN["the-issuer"]).reached
    assert world.request("POST", "/login", headers=OWN["the-issuer"]).status == 403
    assert world.request("POST", "/login", headers=OWN["same-origin"]).reached


def test_the_own_origin_is_not_known_to_cors(world: World) -> None:
    for origin in (ISSUER, "https://www.example"):
        answer = world.send("GET", "/", headers=[("Origin", origin)])
        assert answer.header("access-control-allow-origin") is None
        ask = [("Origin", origin), ("Access-Control-Request-Method", "POST")]
        assert world.send("OPTIONS", "/", headers=ask).status == 401
    assert world.send("GET", "/", headers=[("Origin", SHOP)]).header("vary") == "Origin"


@refuses("RT-27")
def test_it_is_for_routes_that_need_no_token() -> None:
    given: tuple[dict[str, Any], ...] = ({}, {"scope": "admin"})
    for options in given:
        with pytest.raises(ConfigurationError, match="own_origin: is for routes that log in"):
            Route("/login", own_origin=True, **options)
    with pytest.raises(ConfigurationError, match="own_origin: must be True or False"):
        Route("/login", public=True, own_origin="yes")  # type: ignore[arg-type]


ORIGINS = {
    "https://login.example": "https://login.example",
    "https://Login.Example:443/path?query": "https://login.example",
    "http://localhost:80": "http://localhost",
    "http://localhost:5000/": "http://localhost:5000",
    "https://[::1]:8443/x": "https://[::1]:8443",
    "https://bücher.example": "https://xn--bcher-kva.example",
    "https://[0:0:0:0:0:0:0:1]": "https://[::1]",
    "https://[::g]": None,
    "https://a..b": None,
    "urn:login": None,
    "login": None,
    "https://": None,
    "https://a:b": None,
    "ftp://login.example": None,
}


@pytest.mark.parametrize(("url", "origin"), ORIGINS.items(), ids=ORIGINS)
def test_an_origin_is_what_a_browser_makes_of_a_url(url: str, origin: str | None) -> None:
    assert origin_of(url) == origin


def test_an_issuer_that_is_no_url_has_no_origin() -> None:
    settings = Settings(
        issuer="login", audience=AUDIENCE, keys=KEYS, refresh=Refresh(store="memory://")
    )
    assert settings.own_origins == frozenset()
