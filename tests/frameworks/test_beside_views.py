"""A rule beside the view, in each framework: it refuses as the middleware does, and both hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

import falcon
import falcon.asgi
import fastapi
import flask
import litestar
import pytest
import quart
import starlette.applications
import starlette.endpoints
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, WebSocketRoute
from starlette.routing import Route as Path
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from jwt_middleware import (
    AccessToken,
    ConfigurationError,
    Cookies,
    Issuer,
    Refresh,
    Route,
    asgi,
    wsgi,
)
from jwt_middleware.events import Event, Refused
from jwt_middleware.falcon import require as require_in_falcon
from jwt_middleware.fastapi import CurrentToken, RequireScope, access_token, describe
from jwt_middleware.flask import require as require_in_flask
from jwt_middleware.litestar import GuardRefused, answer
from jwt_middleware.litestar import require as require_in_litestar
from jwt_middleware.quart import require as require_in_quart
from jwt_middleware.starlette import require as require_in_starlette
from jwt_middleware.testing import TokenFactory, as_browser

FACTORY = TokenFactory()
EVENTS: list[Event] = []
SETTINGS = FACTORY.settings(
    routes=[
        Route("/open", public=True),
        Route("/maybe", optional=True),
        Route("/both", scope="read"),
        Route("/rule", scope="write"),
    ],
    origins=["https://shop.example"],
    on_event=EVENTS.append,
)
PATHS = ("/plain", "/open", "/maybe", "/both", "/rule", "/sync")
FRESH = "/fresh"  # needs a login of the last minute


def of_flask() -> Any:
    app = flask.Flask("shop")

    @require_in_flask(scope="write")
    async def view() -> str:
        return "in"

    @require_in_flask(scope="write")
    def sync_view() -> str:
        return "in"

    for path in PATHS:
        app.add_url_rule(
            path, path, sync_view if path == "/sync" else view, methods=["GET", "POST"]
        )
    app.add_url_rule(FRESH, FRESH, require_in_flask(max_age=60)(lambda: "in"))
    return app


def of_quart() -> Any:
    app = quart.Quart("shop")

    @require_in_quart(scope="write")
    async def view() -> str:
        return "in"

    @require_in_quart(scope="write")
    def sync_view() -> str:
        return "in"

    for path in PATHS:
        app.add_url_rule(
            path, path, sync_view if path == "/sync" else view, methods=["GET", "POST"]
        )
    app.add_url_rule(FRESH, FRESH, require_in_quart(max_age=60)(lambda: "in"))
    return app


def of_starlette() -> Any:
    @require_in_starlette(scope="write")
    async def endpoint(request: Any) -> PlainTextResponse:
        return PlainTextResponse("in")

    @require_in_starlette(scope="write")
    def sync_endpoint(request: Any) -> PlainTextResponse:
        return PlainTextResponse("in")

    class OfClass(starlette.endpoints.HTTPEndpoint):
        @require_in_starlette(scope="write")
        async def get(self, request: Any) -> PlainTextResponse:
            return PlainTextResponse("in")

        post = get

    @require_in_starlette(max_age=60)
    async def fresh(request: Any) -> PlainTextResponse:
        return PlainTextResponse("in")

    kinds = {"/sync": sync_endpoint, "/both": OfClass}
    routes = [
        Path(path, kinds.get(path, endpoint), methods=None if path == "/both" else ["GET", "POST"])
        for path in PATHS
    ]
    return starlette.applications.Starlette(routes=[*routes, Path(FRESH, fresh)])


def of_fastapi() -> Any:
    app = fastapi.FastAPI()
    describe(app, SETTINGS)

    async def endpoint() -> Any:
        return fastapi.Response("in")

    for path in PATHS:
        app.add_api_route(
            path,
            endpoint,
            methods=["GET", "POST"],
            dependencies=[RequireScope("write")],
        )
    fresh = [RequireScope(max_age=60)]
    app.add_api_route(FRESH, endpoint, dependencies=fresh)
    return app


def of_litestar() -> Any:
    guards: list[Any] = [require_in_litestar(scope="write")]

    @litestar.route(list(PATHS), http_method=["GET", "POST"], guards=guards, status_code=200)
    async def handler() -> str:
        return "in"

    @litestar.get(FRESH, guards=[require_in_litestar(max_age=60)])
    async def fresh() -> str:
        return "in"

    return litestar.Litestar(
        [handler, fresh],
        exception_handlers={GuardRefused: answer},
        openapi_config=None,
        logging_config=None,
    )


class Resource:
    @require_in_falcon(scope="write")
    def on_get(self, req: Any, resp: Any) -> None:
        resp.text = "in"

    on_post = on_get

    @require_in_falcon(max_age=60)
    def on_get_fresh(self, req: Any, resp: Any) -> None:
        resp.text = "in"


class AwaitedResource:
    @require_in_falcon(scope="write")
    async def on_get(self, req: Any, resp: Any) -> None:
        resp.text = "in"

    on_post = on_get

    @require_in_falcon(max_age=60)
    async def on_get_fresh(self, req: Any, resp: Any) -> None:
        resp.text = "in"


def of_falcon(app: Any, resource: Any) -> Any:
    for path in PATHS:
        app.add_route(path, resource)
    app.add_route(FRESH, resource, suffix="fresh")
    return app


def get_of_wsgi(app: Any) -> Callable[..., Any]:
    client = Client(wsgi.JWTMiddleware(app, SETTINGS), use_cookies=False)
    return client.get


def get_of_asgi(app: Any) -> Callable[..., Any]:
    return TestClient(asgi.JWTMiddleware(app, SETTINGS)).get


APPS: dict[str, Callable[[], Callable[..., Any]]] = {
    "flask": lambda: get_of_wsgi(of_flask()),
    "quart": lambda: get_of_asgi(of_quart()),
    "starlette": lambda: get_of_asgi(of_starlette()),
    "fastapi": lambda: get_of_asgi(of_fastapi()),
    "litestar": lambda: get_of_asgi(of_litestar()),
    "falcon": lambda: get_of_wsgi(of_falcon(falcon.App(), Resource())),
    "falcon.asgi": lambda: get_of_asgi(of_falcon(falcon.asgi.App(), AwaitedResource())),
}


@pytest.fixture(params=APPS)
def get(request: pytest.FixtureRequest) -> Callable[..., Any]:
    EVENTS.clear()
    return APPS[request.param]()


def bearer(scope: str = "", **claims: Any) -> dict[str, str]:
    return FACTORY.bearer(scope=scope, **claims)


def test_the_scope_opens_the_view(get: Callable[..., Any]) -> None:
    for path in ("/plain", "/maybe", "/rule", "/sync"):
        answer = get(path, headers=bearer("write"))
        assert (answer.status_code, answer.text) == (200, "in"), path
    assert get("/both", headers=bearer("write read")).text == "in"


def test_both_rules_hold(get: Callable[..., Any]) -> None:
    for scope in ("read", "write"):
        refused = get("/both", headers=bearer(scope))
        assert refused.status_code == 403
    # The view names what its route asks for, too.
    assert 'scope="read write"' in get("/both", headers=bearer("read")).headers["WWW-Authenticate"]


def test_the_view_refuses_with_the_middlewares_own_answer(get: Callable[..., Any]) -> None:
    """/plain is refused by its view, /rule by the middleware: the same octets."""
    origin = {"Origin": "https://shop.example"}
    by_view = get("/plain", headers=bearer("read") | origin)
    by_rule = get("/rule", headers=bearer("read") | origin)
    assert by_view.status_code == by_rule.status_code == 403
    assert by_view.text == by_rule.text
    for name in dict(by_rule.headers):
        assert by_view.headers[name] == by_rule.headers[name], name
    assert by_view.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    told = [one for one in EVENTS if isinstance(one, Refused)]
    assert [(one.reason, one.path, one.detail) for one in told] == [
        ("scope_insufficient", "/plain", "write"),
        ("scope_insufficient", "/rule", "write"),
    ]


def test_without_a_token_the_view_refuses(get: Callable[..., Any]) -> None:
    for path in ("/maybe", "/open"):
        refused = get(path)
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"] == 'Bearer realm="api", scope="write"'
    # A public route reads no token, so a good one doesn't help.
    assert get("/open", headers=bearer("write")).status_code == 401


def test_a_view_may_ask_for_a_fresh_login(get: Callable[..., Any]) -> None:
    now = int(FACTORY.clock())
    assert get(FRESH, headers=bearer(auth_time=now)).text == "in"
    refused = get(FRESH, headers=bearer(auth_time=now - 600))
    assert refused.status_code == 401
    assert "insufficient_user_authentication" in refused.headers["WWW-Authenticate"]
    assert 'max_age="60"' in refused.headers["WWW-Authenticate"]


@pytest.mark.parametrize("require", [require_in_flask, require_in_starlette, RequireScope])
def test_a_scope_that_no_token_can_have_is_refused_at_once(require: Any) -> None:
    with pytest.raises(ConfigurationError, match="scope"):
        require(scope='two  spaces and "quotes"')


def test_without_the_middleware_nobody_gets_in() -> None:
    with pytest.raises(RuntimeError, match="no JWTMiddleware"):
        TestClient(of_starlette()).get("/plain", headers=bearer("write"))
    assert Client(of_flask()).get("/plain", headers=bearer("write")).status_code == 500


def test_an_endpoint_without_the_request_is_told() -> None:
    @require_in_starlette(scope="write")
    async def endpoint() -> None: ...

    with pytest.raises(TypeError, match="RequireScope"):
        asyncio.run(endpoint())


# --- paths that a router has cut, and pages


def test_below_a_mount_the_refusal_is_about_the_whole_path() -> None:
    @require_in_starlette(scope="write")
    async def endpoint(request: Any) -> PlainTextResponse:
        return PlainTextResponse("in")

    inner = starlette.applications.Starlette(routes=[Path("/rule", endpoint), Path("/z", endpoint)])
    outer = starlette.applications.Starlette(routes=[Mount("/m", inner)])
    get = get_of_asgi(outer)
    for path in ("/m/rule", "/m/z"):
        refused = get(path, headers=bearer("read"))
        assert refused.status_code == 403
        # The rule of /rule is about another path.
        assert 'scope="write"' in refused.headers["WWW-Authenticate"], path
    app = flask.Flask("shop")
    app.add_url_rule("/rule", "rule", require_in_flask(scope="more")(lambda: "in"))
    mounted: Any = DispatcherMiddleware(flask.Flask("root"), {"/m": app})
    refused = get_of_wsgi(mounted)("/m/rule", headers=bearer("read"))
    assert 'scope="more"' in refused.headers["WWW-Authenticate"]


@pytest.mark.parametrize("route", [{"optional": True}, {"public": True}], ids=str)
def test_a_page_whose_login_lives_is_continued(route: dict[str, Any]) -> None:
    """The application sees no refresh cookie; the view's refusal knows of it all the same."""
    mine = FACTORY.settings(
        routes=[Route("/login", public=True, own_origin=True), Route("/x", **route)],
        login_url="/login",
        refresh=Refresh(store="memory://", cookies=Cookies(access=True, forms=True)),
    )
    tokens = Issuer(mine).issue("alice")
    fields = as_browser(tokens, mine, by="load")
    only = [one for one in fields["Cookie"].split("; ") if "refresh" in one]

    @require_in_starlette()
    async def endpoint(request: Any) -> PlainTextResponse:
        return PlainTextResponse("in")

    app = starlette.applications.Starlette(routes=[Path("/x", endpoint)])
    view = flask.Flask("shop")
    view.add_url_rule("/x", "x", require_in_flask()(lambda: "in"))
    by_asgi: Any = TestClient(asgi.JWTMiddleware(app, mine), follow_redirects=False)
    by_wsgi = Client(wsgi.JWTMiddleware(view, mine), use_cookies=False)
    for client in (by_asgi, by_wsgi):
        answer = client.get("/x", headers=fields | {"Cookie": only[0]})
        assert answer.status_code == 303
        to = "/auth/continue" if "optional" in route else "/login"
        assert answer.headers["Location"] == f"{to}?next=/x"


# --- WebSockets


@require_in_starlette(scope="write")
async def socket(websocket: Any) -> None:
    await websocket.accept()
    await websocket.send_text("in")
    await websocket.close()


def test_a_handshake_is_refused_before_it_is_accepted() -> None:
    app = starlette.applications.Starlette(routes=[WebSocketRoute("/ws", socket)])
    client = TestClient(asgi.JWTMiddleware(app, SETTINGS))
    with client.websocket_connect("/ws", headers=bearer("write")) as opened:
        assert opened.receive_text() == "in"
    with pytest.raises(WebSocketDenialResponse) as denied:
        client.websocket_connect("/ws", headers=bearer("read")).__enter__()
    assert denied.value.status_code == 403
    assert "insufficient_scope" in denied.value.headers["WWW-Authenticate"]

    async def without_denial(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "extensions": {}}, receive, send)

    plain = TestClient(asgi.JWTMiddleware(without_denial, SETTINGS))
    with pytest.raises(WebSocketDisconnect) as closed:
        plain.websocket_connect("/ws", headers=bearer("read")).__enter__()
    assert closed.value.code == 1008


def test_quart_refuses_a_handshake() -> None:
    app = quart.Quart("shop")

    @app.websocket("/ws")
    @require_in_quart(scope="write")
    async def socket() -> None:
        await quart.websocket.send("in")

    client = TestClient(asgi.JWTMiddleware(app, SETTINGS))
    with client.websocket_connect("/ws", headers=bearer("write")) as opened:
        assert opened.receive_text() == "in"
    with pytest.raises((WebSocketDenialResponse, WebSocketDisconnect)):
        client.websocket_connect("/ws", headers=bearer("read")).__enter__()


# --- what only FastAPI has


def test_the_token_is_a_dependency() -> None:
    app = fastapi.FastAPI()
    describe(app, SETTINGS)

    @app.get("/me")
    def me(token: CurrentToken) -> str:
        return token.subject

    @app.get("/staff")
    def staff(token: Annotated[AccessToken, RequireScope("staff")]) -> str:
        return token.subject

    @app.get("/maybe")
    def maybe(token: CurrentToken) -> str:
        return token.subject

    get = get_of_asgi(app)
    assert get("/me", headers=bearer(sub="bob")).json() == "bob"
    assert get("/staff", headers=bearer("staff", sub="bob")).json() == "bob"
    assert get("/staff", headers=bearer("read")).status_code == 403
    assert get("/maybe", headers=bearer()).json() == "alice"
    refused = get("/maybe")
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, 'Bearer realm="api"')


def test_a_dependency_that_is_overridden_does_not_open_the_middleware() -> None:
    app = fastapi.FastAPI()

    @app.get("/plain", dependencies=[RequireScope("write")])
    def plain() -> str:
        return "in"

    app.dependency_overrides[access_token] = lambda: None
    get = get_of_asgi(app)
    assert get("/plain").status_code == 401  # the middleware's word
    assert get("/plain", headers=bearer()).json() == "in"  # the view's rule is off


def test_without_describe_the_status_and_the_challenge_are_the_same() -> None:
    app = fastapi.FastAPI()

    @app.get("/plain", dependencies=[RequireScope("write")])
    def plain() -> str:
        return "in"

    refused = get_of_asgi(app)("/plain", headers=bearer("read"))
    assert refused.status_code == 403
    assert 'error="insufficient_scope"' in refused.headers["WWW-Authenticate"]


def test_a_guard_without_the_handler_answers_in_litestars_form() -> None:
    @litestar.get("/plain", guards=[require_in_litestar(scope="write")])
    async def plain() -> str:
        return "in"

    refused = get_of_asgi(litestar.Litestar([plain], logging_config=None))(
        "/plain", headers=bearer("read")
    )
    assert refused.status_code == 403
    assert 'error="insufficient_scope"' in refused.headers["WWW-Authenticate"]
