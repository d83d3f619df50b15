"""The method QUERY (RFC 10008): safe by its definition, and new to the programs that it reaches.

With tokens in cookies it is treated as a method that isn't safe. Code that was written before June
2026 asks "is it a GET?" and takes all else for a change, so a QUERY of another site must not reach
it with the user's cookie. A page's own scripts send the header anyway.
"""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from flask import Flask, request
from starlette.testclient import TestClient
from werkzeug.test import Client

from jwt_middleware import Cookies, Route
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.cli import endpoints
from jwt_middleware.fastapi import RequireScope, describe
from jwt_middleware.testing import TokenFactory
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware
from tests.browser import OWN_PAGE, Browser
from tests.issuing import DOORS, REFRESH, REVOKE, World, opened
from tests.rules import accepts, refuses
from tests.world import World as Verifying
from tests.world import standing

FACTORY = TokenFactory(clock=standing)
SHOP, EVIL = "https://shop.example", "https://evil.example"
ROUTES = (
    Route("/login", public=True, own_origin=True),
    Route("/books", methods=("GET",), public=True),
    Route("/shelves", methods=("QUERY",), optional=True),
    Route("/admin", scope="admin"),
)
READ, ADMIN = FACTORY.token(scope="read"), FACTORY.token(scope="admin")


@pytest.fixture
def world() -> Verifying:
    return Verifying(FACTORY.settings(routes=ROUTES, origins=(SHOP,)))


@pytest.mark.parametrize(
    ("path", "token", "status"),
    [
        ("/", None, 401),
        ("/", READ, 200),
        ("/books", None, 401),  # a rule for GET says nothing of QUERY
        ("/shelves", None, 200),
        ("/admin", READ, 403),
        ("/admin", ADMIN, 200),
    ],
)
def test_routes_take_it_for_a_method_like_any(
    world: Verifying, path: str, token: str | None, status: int
) -> None:
    assert world.request("QUERY", path, token).status == status


@refuses("RT-27")
def test_another_site_does_not_log_in_by_it(world: Verifying) -> None:
    other = (("Origin", EVIL), ("Sec-Fetch-Site", "cross-site"))
    assert world.request("QUERY", "/login", headers=other).reason == "cross_site"
    assert world.request("QUERY", "/login").reached


def test_its_preflight_passes_for_origins_that_are_named(world: Verifying) -> None:
    asked = ("Access-Control-Request-Method", "QUERY")
    assert world.request("OPTIONS", "/", headers=(asked, ("Origin", SHOP))).reached
    assert world.request("OPTIONS", "/", headers=(asked, ("Origin", EVIL))).status == 401


@pytest.fixture
def site() -> Iterator[World]:
    with opened(DOORS, refresh={"cookies": Cookies(access=True)}, origins=(SHOP,)) as one:
        yield one


@accepts("RT-20")
def test_a_page_of_ours_may_query_with_its_cookie(site: World) -> None:
    browser = Browser(site)
    browser.login()
    assert browser.request("QUERY", "/", OWN_PAGE).user == "alice"


@refuses("RT-20")
@pytest.mark.parametrize(
    "page",
    [
        (),
        (("Sec-Fetch-Site", "same-origin"),),  # by a form, once browsers have such forms
        (("Origin", EVIL), ("Sec-Fetch-Site", "cross-site")),
        (("Sec-Fetch-Site", "none"),),
    ],
)
def test_a_cookie_alone_is_not_enough(page: tuple[tuple[str, str], ...], site: World) -> None:
    browser = Browser(site)
    browser.login()
    answer = browser.request("QUERY", "/", page)
    assert (answer.status, answer.reason) == (403, "cross_site")


@pytest.mark.parametrize("path", [REFRESH, REVOKE, "/.well-known/jwks.json"])
def test_our_endpoints_do_not_know_it(path: str, site: World) -> None:
    answer = site.send("QUERY", path, body=b"x", headers=[("Content-Length", "1")])
    assert answer.status == 405
    assert "QUERY" not in (answer.header("allow") or "")
    asked = (("Origin", SHOP), ("Access-Control-Request-Method", "QUERY"))
    preflight = site.send("OPTIONS", path, headers=asked)
    assert "QUERY" not in (preflight.header("access-control-allow-methods") or "")


# --- with its content, through frameworks


def test_flask_gets_the_content() -> None:
    app = Flask(__name__)

    @app.route("/find", methods=["QUERY"])
    def find() -> bytes:
        return request.get_data()

    client = Client(WSGIMiddleware(app.wsgi_app, FACTORY.settings()))
    sent: dict[str, Any] = {"method": "QUERY", "data": b"title=sea"}
    answer = client.open("/find", headers=FACTORY.bearer(), **sent)
    assert (answer.status_code, answer.data) == (200, b"title=sea")
    # A refusal takes the content in, or a proxy in front would answer 502.
    stream = io.BytesIO(b"title=sea")
    refused = client.open("/find", method="QUERY", input_stream=stream, content_length=9)
    assert refused.status_code == 401
    assert stream.read() == b""


def fastapi_app() -> FastAPI:
    from starlette.requests import Request

    app = FastAPI()

    @app.api_route("/find", methods=["QUERY"], dependencies=[RequireScope("read")])
    async def find(request: Request) -> str:
        return (await request.body()).decode()

    return app


def test_fastapi_gets_the_content() -> None:
    app = fastapi_app()
    client = TestClient(ASGIMiddleware(app, FACTORY.settings()))
    answer = client.request(
        "QUERY", "/find", content=b"title=sea", headers=FACTORY.bearer(scope="read")
    )
    assert (answer.status_code, answer.json()) == (200, "title=sea")
    assert client.request("QUERY", "/find", content=b"title=sea").status_code == 401
    assert client.request("QUERY", "/find", headers=FACTORY.bearer()).status_code == 403


def test_the_documentation_of_fastapi_and_the_list_of_endpoints_know_it() -> None:
    app = fastapi_app()
    settings = FACTORY.settings(routes=(Route("/find", methods=("QUERY",), scope="read"),))
    describe(app, settings)
    described = app.openapi()["paths"]["/find"]["query"]
    assert list(described["security"][0].values()) == [["read"]]
    assert "QUERY /find" in [line.what for line in endpoints.endpoint_lines(app, settings)]
