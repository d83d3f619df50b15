"""Starlette, wrapped by `add_middleware` or in its list of middleware."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.authentication import requires
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from jwt_middleware import AccessToken, current_token
from jwt_middleware.asgi import JWTMiddleware
from tests.wrapped import FACTORY, SETTINGS, Promises, forged, report

OURS = Middleware(JWTMiddleware, settings=SETTINGS)


class TestStarlette(Promises):
    @pytest.fixture
    def calls(self) -> list[str]:
        return []

    @pytest.fixture
    def client(self, calls: list[str]) -> Iterator[TestClient]:
        async def view(request: Request) -> JSONResponse:
            calls.append(request.url.path)
            assert request.state.jwt is request.scope["jwt_middleware.token"]
            return JSONResponse(report(request.state.jwt))

        app = Starlette(routes=[Route(path, view) for path in ("/me", "/open", "/admin/users")])
        app.add_middleware(JWTMiddleware, settings=SETTINGS)
        with TestClient(app) as client:
            yield client


def who(request: HTTPConnection) -> list[Any]:
    user = request.user
    return [user.is_authenticated, user.display_name, user.identity, list(request.auth.scopes)]


def test_request_user_and_auth_are_what_starlette_expects() -> None:
    def view(request: Request) -> JSONResponse:
        return JSONResponse(who(request))

    client = TestClient(Starlette(routes=[Route("/{any}", view)], middleware=[OURS]))
    answer = client.get("/me", headers=FACTORY.bearer(sub="bob", scope="read write"))
    assert answer.json() == [True, "bob", "bob", ["read", "write", "authenticated"]]
    assert client.get("/open").json() == [False, "", "", []]


def test_requires_reads_the_scopes_of_the_token() -> None:
    @requires("editor")
    async def edit(request: Request) -> Response:
        return PlainTextResponse("edited")

    @requires("authenticated", redirect="login")
    def page(request: Request) -> Response:
        return PlainTextResponse("page")

    routes = [Route("/edit", edit), Route("/me", page), Route("/open", page)]
    routes.append(Route("/login", page, name="login"))
    client = TestClient(Starlette(routes=routes, middleware=[OURS]), follow_redirects=False)
    assert client.get("/edit", headers=FACTORY.bearer(scope="read editor")).text == "edited"
    assert client.get("/edit", headers=FACTORY.bearer(scope="read")).status_code == 403
    assert client.get("/me", headers=FACTORY.bearer()).text == "page"
    to_login = client.get("/open", headers=FACTORY.bearer())
    assert (to_login.status_code, "/login?next=" in to_login.headers["location"]) == (303, True)


def test_requires_guards_a_websocket_too() -> None:
    @requires("editor")
    async def edit(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_json([websocket.state.jwt.claims["sub"], *who(websocket)])
        await websocket.close()

    client = TestClient(Starlette(routes=[WebSocketRoute("/ws", edit)], middleware=[OURS]))
    with client.websocket_connect("/ws", headers=FACTORY.bearer(scope="editor")) as session:
        assert session.receive_json() == [
            "alice", True, "alice", "alice", ["editor", "authenticated"]
        ]  # fmt: skip
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("/ws", headers=FACTORY.bearer(scope="read")),
    ):
        pass


def test_a_websocket_without_a_good_token_never_reaches_the_endpoint() -> None:
    async def never(websocket: WebSocket) -> None:
        raise AssertionError("reached")

    client = TestClient(Starlette(routes=[WebSocketRoute("/ws", never)], middleware=[OURS]))
    for headers in ({}, forged()):
        with (
            pytest.raises(WebSocketDenialResponse) as refused,
            client.websocket_connect("/ws", headers=headers),
        ):
            pass
        assert refused.value.status_code == 401
        assert refused.value.headers["www-authenticate"].startswith('Bearer realm="api"')


def test_the_token_is_current_in_threads_streams_and_background_tasks() -> None:
    seen: list[AccessToken | None] = []

    def note() -> None:
        seen.append(current_token())

    def view(request: Request) -> Response:
        note()  # Starlette calls a `def` endpoint in a thread

        async def chunks() -> AsyncIterator[bytes]:
            note()
            yield b"str"
            note()
            yield b"eam"

        return StreamingResponse(chunks(), background=BackgroundTask(note))

    client = TestClient(Starlette(routes=[Route("/me", view)], middleware=[OURS]))
    assert client.get("/me", headers=FACTORY.bearer()).text == "stream"
    assert [one.subject for one in seen if one is not None] == ["alice"] * 4
    assert len({id(one) for one in seen}) == 1


class Signed(BaseHTTPMiddleware):
    """Starlette's own base runs what is inside in a task of its own."""

    def __init__(self, app: Any, name: str) -> None:
        super().__init__(app)
        self.name = name

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        token = current_token()
        response.headers[self.name] = token.subject if token else "nobody"
        return response


def test_a_base_http_middleware_inside_sees_the_token_and_one_outside_does_not() -> None:
    def view(request: Request) -> JSONResponse:
        return JSONResponse(report(request.state.jwt))

    stack = [Middleware(Signed, name="outside"), OURS, Middleware(Signed, name="inside")]
    client = TestClient(Starlette(routes=[Route("/me", view)], middleware=stack))
    answer = client.get("/me", headers=FACTORY.bearer())
    assert (answer.json()["same"], answer.json()["subject"]) == (True, "alice")
    assert (answer.headers["outside"], answer.headers["inside"]) == ("nobody", "alice")


def test_the_state_of_the_lifespan_stays_beside_ours() -> None:
    pool = object()
    given: list[dict[str, Any]] = []

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[dict[str, Any]]:
        yield {"pool": pool}

    def view(request: Request) -> JSONResponse:
        given.append(dict(request.state._state))
        return JSONResponse(request.state.pool is pool)

    app = Starlette(routes=[Route("/{any}", view)], middleware=[OURS], lifespan=lifespan)
    with TestClient(app) as client:
        assert client.get("/me", headers=FACTORY.bearer()).json() is True
        assert client.get("/open").json() is True
    assert [set(state) for state in given] == [{"pool", "jwt"}] * 2
    # What one request was given is not what the next one finds.
    assert given[0]["jwt"].subject == "alice"
    assert given[1]["jwt"] is None


def test_routes_count_from_the_mount_of_what_is_wrapped() -> None:
    def view(request: Request) -> JSONResponse:
        return JSONResponse(report(request.state.jwt))

    inner = Starlette(routes=[Route("/open", view), Route("/me", view)], middleware=[OURS])
    client = TestClient(Starlette(routes=[Mount("/api", inner)]))
    assert client.get("/api/open").json()["subject"] is None
    assert client.get("/api/me").status_code == 401
    assert client.get("/api/me", headers=FACTORY.bearer()).json()["subject"] == "alice"
