"""Litestar: as its `middleware`, which sees routed requests only, and around it, which sees all."""

from collections.abc import Iterator
from typing import Any

import pytest
from litestar import Litestar, Request, WebSocket, get, websocket
from litestar.connection import ASGIConnection
from litestar.exceptions import PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.middleware import DefineMiddleware
from litestar.testing import TestClient

from jwt_middleware import current_token
from jwt_middleware.asgi import JWTMiddleware
from jwt_middleware.values.tokens import Auth, User
from tests.wrapped import FACTORY, SETTINGS, Promises, report

# Litestar's types know its own TypedDicts only.
MIDDLEWARE: Any = JWTMiddleware
OURS = DefineMiddleware(MIDDLEWARE, settings=SETTINGS)


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.fixture
def handler(calls: list[str]) -> Any:
    @get(["/me", "/open", "/admin/users"])
    async def view(request: Request) -> dict[str, Any]:
        calls.append(request.url.path)
        scope: Any = request.scope
        assert request.state["jwt"] is scope["jwt_middleware.token"]
        return report(request.state["jwt"])

    return view


class TestAround(Promises):
    @pytest.fixture
    def client(self, handler: Any) -> Iterator[Any]:
        inside: Any = Litestar([handler], logging_config=None)
        app: Any = JWTMiddleware(inside, SETTINGS)
        with TestClient(app) as client:
            yield client

    def test_what_litestar_cannot_route_needs_a_token_too(self, client: Any) -> None:
        assert client.get("/nowhere").status_code == 401
        assert client.get("/nowhere", headers=FACTORY.bearer()).status_code == 404


class TestWithin(Promises):
    @pytest.fixture
    def client(self, handler: Any) -> Iterator[Any]:
        with TestClient(Litestar([handler], middleware=[OURS], logging_config=None)) as client:
            yield client


def test_handlers_in_threads_guards_and_websockets_read_the_token() -> None:
    def editors(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        if "editor" not in connection.auth.scopes:
            raise PermissionDeniedException

    @get("/edit", guards=[editors], sync_to_thread=True)
    def edit(request: Request[User, Auth, Any]) -> list[Any]:
        token = current_token()
        return [token.subject if token else None, request.user.identity, request.auth.scopes]

    @websocket("/ws")
    async def echo(socket: WebSocket[User, Auth, Any]) -> None:
        await socket.accept()
        await socket.send_json(report(current_token())["subject"])
        await socket.close()

    with TestClient(Litestar([edit, echo], middleware=[OURS], logging_config=None)) as client:
        answer = client.get("/edit", headers=FACTORY.bearer(scope="editor"))
        assert answer.json() == ["alice", "alice", ["editor", "authenticated"]]
        assert client.get("/edit", headers=FACTORY.bearer(scope="read")).status_code == 403
        with client.websocket_connect("/ws", headers=FACTORY.bearer(sub="bob")) as session:
            assert session.receive_json() == "bob"
