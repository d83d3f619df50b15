"""CORS: origins that are named can read our refusals; what the application answers is its own."""

from typing import Any

import flask
import pytest
from flask_cors import CORS
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route as StarletteRoute
from starlette.testclient import TestClient
from werkzeug.test import Client

from jwt_middleware import ConfigurationError, Route
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.testing import TokenFactory
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware
from tests.world import World, standing

FACTORY = TokenFactory(clock=standing)
SHOP, OTHER = "https://shop.example", "https://other.example"
ROUTES = (Route("/open", public=True), Route("/admin/*", scope="admin"))
SETTINGS = FACTORY.settings(routes=ROUTES, origins=(SHOP, "http://localhost:5173"))
ASKED = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}


@pytest.fixture
def world() -> World:
    return World(SETTINGS)


# Our own answers


@pytest.mark.parametrize(
    ("path", "token", "status"),
    [
        ("/me", None, 401),
        ("/me", "spoilt", 401),
        ("/me", "a b", 400),
        ("/admin/users", FACTORY.token(), 403),
        ("//admin", FACTORY.token(), 400),
    ],
)
def test_every_refusal_can_be_read_by_an_origin_that_is_named(
    world: World, path: str, token: str | None, status: int
) -> None:
    answer = world.get(path, token, headers=[("Origin", SHOP)])
    assert (answer.status, answer.reached) == (status, False)
    assert answer.header("access-control-allow-origin") == SHOP
    # Without this, a script can't see whether to refresh or to log in.
    assert answer.header("access-control-expose-headers") == "WWW-Authenticate, Retry-After"
    assert answer.header("vary") == "Origin"
    # Tokens come in a header that a script sets: no credentials in the sense of the Fetch standard.
    assert answer.header("access-control-allow-credentials") is None


@pytest.mark.parametrize(
    "origin",
    [
        OTHER,
        "null",
        "",
        "*",
        SHOP + "/",
        SHOP.upper(),
        SHOP + ":443",
        SHOP + ".evil.example",
        "https://evil" + SHOP.removeprefix("https://"),
        "http://shop.example",
        "http://localhost:51730",
        f"{SHOP}, {SHOP}",
        "https://shop.example\u00e9",
    ],
)
def test_an_origin_is_matched_exactly(world: World, origin: str) -> None:
    answer = world.get(headers=[("Origin", origin)])
    assert answer.status == 401
    assert answer.header("access-control-allow-origin") is None
    assert answer.header("access-control-expose-headers") is None
    # Or a cache would hand one origin's answer to another.
    assert answer.header("vary") == "Origin"


def test_without_an_origin_the_answer_still_varies(world: World) -> None:
    answer = world.get()
    assert answer.header("vary") == "Origin"
    assert answer.header("access-control-allow-origin") is None


def test_without_the_setting_nothing_is_said() -> None:
    answer = World(FACTORY.settings()).get(headers=[("Origin", SHOP)])
    assert [name for name, _ in answer.headers if "access-control" in name or name == "vary"] == []


def test_the_same_refusal_serves_each_origin_by_turns(world: World) -> None:
    for origin, allowed in ((SHOP, SHOP), (OTHER, None), ("http://localhost:5173",) * 2):
        answer = world.get(headers=[("Origin", origin)])
        assert answer.header("access-control-allow-origin") == allowed


@pytest.mark.parametrize(
    "origin",
    ["*", "shop.example", SHOP + "/", "https://Shop.example", "http://shop.example", "null"],
)
def test_what_is_no_origin_of_a_browsers_is_refused_at_start(origin: str) -> None:
    with pytest.raises(ConfigurationError, match="origins: "):
        FACTORY.settings(origins=(origin,))


# Preflights


@pytest.mark.parametrize("path", ["/me", "/admin/users"])
def test_a_preflight_from_an_unknown_origin_needs_a_token_like_everything(
    world: World, path: str
) -> None:
    answer = world.request("OPTIONS", path, headers=[("Origin", OTHER), *ASKED.items()])
    assert (answer.status, answer.reached) == (401, False)


@pytest.mark.parametrize("path", ["/me", "/admin/users", "/open"])
def test_a_preflight_passes_to_the_application_and_has_no_token(world: World, path: str) -> None:
    answer = world.request("OPTIONS", path, headers=[("Origin", SHOP), *ASKED.items()])
    assert (answer.status, answer.reached) == (200, True)
    assert (answer.token, answer.user) == (None, None)
    # The application answers it as it likes.
    assert answer.header("access-control-allow-origin") is None
    assert answer.header("vary") is None


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("OPTIONS", {}, 401),
        ("OPTIONS", {"Origin": SHOP}, 401),
        ("OPTIONS", {"Access-Control-Request-Method": "GET"}, 401),
        # A browser sends no credentials with it, so that this is none: its token is checked.
        ("OPTIONS", {"Origin": SHOP, **ASKED, "Authorization": "Bearer spoilt"}, 401),
        ("OPTIONS", {"Origin": SHOP, **ASKED, "Authorization": "Basic YTpi"}, 401),
        ("OPTIONS", {"Origin": SHOP, **ASKED, "Authorization": "Bearer"}, 400),
        ("GET", {"Origin": SHOP, **ASKED}, 401),
        ("POST", {"Origin": SHOP, **ASKED, "X-HTTP-Method-Override": "OPTIONS"}, 401),
        ("options", {"Origin": SHOP, **ASKED}, 401),
    ],
)
def test_what_only_looks_like_a_preflight_needs_a_token(
    world: World, method: str, headers: dict[str, str], status: int
) -> None:
    answer = world.request(method, "/me", headers=headers.items())
    assert (answer.status, answer.reached) == (status, False)


def test_options_with_a_good_token_passes_like_any_method(world: World) -> None:
    answer = world.request("OPTIONS", "/me", FACTORY.token(), headers=[("Origin", SHOP)])
    assert (answer.status, answer.user) == (200, "alice")


def test_a_preflight_for_an_odd_path_is_refused(world: World) -> None:
    answer = world.request("OPTIONS", "//admin", headers=[("Origin", SHOP), *ASKED.items()])
    assert (answer.status, answer.reached) == (400, False)


# With the CORS of a framework, which allows one origin more than ours


def cors(answer: Any) -> dict[str, list[str]]:
    """Return what an answer of either test client says about origins, every occurrence."""
    # The `items` of Starlette's client would join what came twice.
    fields = getattr(answer.headers, "multi_items", answer.headers.items)()
    found: dict[str, list[str]] = {}
    for name, value in fields:
        if name.lower().startswith("access-control-") or name.lower() == "vary":
            found.setdefault(name.lower().removeprefix("access-control-"), []).append(value)
    return found


def view(request: Request) -> PlainTextResponse:
    return PlainTextResponse("application")


OURS = Middleware(ASGIMiddleware, settings=SETTINGS)
THEIRS = Middleware(CORSMiddleware, allow_origins=[SHOP, OTHER], allow_headers=["Authorization"])


def starlette(*middleware: Middleware) -> TestClient:
    return TestClient(Starlette(routes=[StarletteRoute("/me", view)], middleware=list(middleware)))


def with_flask_cors() -> Client:
    app = flask.Flask(__name__)
    CORS(app, origins=[SHOP, OTHER], allow_headers=["Authorization"])
    app.add_url_rule("/me", view_func=lambda: "application")
    return Client(WSGIMiddleware(app, SETTINGS))


INSIDE = [
    pytest.param(lambda: starlette(OURS, THEIRS), id="starlette"),
    pytest.param(with_flask_cors, id="flask-cors"),
]


@pytest.mark.parametrize("make", INSIDE)
def test_inside_us_it_answers_for_the_application_and_we_for_ourselves(make: Any) -> None:
    client = make()
    refused = client.get("/me", headers={"Origin": SHOP})
    assert refused.status_code == 401
    assert cors(refused) == {
        "allow-origin": [SHOP],
        "expose-headers": ["WWW-Authenticate, Retry-After"],
        "vary": ["Origin"],
    }
    # An origin that only the application allows reads the application's answers, and not ours.
    assert cors(client.get("/me", headers={"Origin": OTHER})) == {"vary": ["Origin"]}
    for origin in (SHOP, OTHER):
        served = client.get("/me", headers={"Origin": origin, **FACTORY.bearer()})
        assert served.text == "application"
        assert cors(served) == {"allow-origin": [origin], "vary": ["Origin"]}


@pytest.mark.parametrize("make", INSIDE)
def test_inside_us_it_answers_preflights(make: Any) -> None:
    client = make()
    answer = client.options("/me", headers={"Origin": SHOP, **ASKED})
    assert answer.status_code == 200
    assert cors(answer)["allow-origin"] == [SHOP]
    assert "authorization" in cors(answer)["allow-headers"][0].lower()
    # An origin that only the application allows needs its name in `origins`, too.
    assert client.options("/me", headers={"Origin": OTHER, **ASKED}).status_code == 401
    refused = client.options("/me", headers={"Origin": SHOP})
    assert (refused.status_code, cors(refused)["allow-origin"]) == (401, [SHOP])


@pytest.mark.parametrize("origins", [(SHOP,), ()])
def test_outside_us_it_answers_for_both_and_nothing_comes_twice(origins: tuple[str, ...]) -> None:
    ours = Middleware(ASGIMiddleware, settings=SETTINGS.replace(origins=origins))
    client = starlette(THEIRS, ours)
    for origin in (SHOP, OTHER):
        assert client.options("/me", headers={"Origin": origin, **ASKED}).status_code == 200
        for fields, status in (({}, 401), (FACTORY.bearer(), 200)):
            answer = client.get("/me", headers={"Origin": origin, **fields})
            assert answer.status_code == status
            found = cors(answer)
            assert found["allow-origin"] == [origin]
            assert {len(values) for values in found.values()} == {1}
            assert set(found["vary"][0].split(", ")) == {"Origin"}
