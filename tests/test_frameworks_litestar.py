"""Litestar: as its `middleware`, which sees routed requests only, and around it, which sees all."""

from collections.abc import Iterator
from typing import Any

import pytest
from litestar import Litestar, Request, WebSocket, get, websocket
from litestar.middleware import DefineMiddleware
from litestar.testing import TestClient

from jwt_middleware import AccessToken, current_token
from jwt_middleware.asgi import JWTMiddleware

from .wrapped import FACTORY, SETTINGS, Promises, report


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.fixture
def handler(calls: list[str]) -> Any:
    @get(["/me", "/open", "/admin/users"])
    async def view(request: Request) -> dict[str, Any]:
        calls.append(request.url.path)
        token = request.scope["jwt_middleware.token"]  # type: ignore[typeddict-item]
        assert request.state["jwt"] is token
        return report(token)

    return view


class TestAround(Promises):
    @pytest.fixture
    def client(self, handler: Any) -> Iterator[Any]:
        app = JWTMiddleware(Litestar([handler], logging_config=None), SETTINGS)  # type: ignore[arg-type]
        with TestClient(app) as client:  # type: ignore[arg-type]
            yield client

    def test_what_litestar_cannot_route_needs_a_token_too(self, client: Any) -> None:
        assert client.get("/nowhere").status_code == 401
        assert client.get("/nowhere", headers=FACTORY.bearer()).status_code == 404


class TestWithin(Promises):
    @pytest.fixture
    def client(self, handler: Any) -> Iterator[Any]:
        ours = DefineMiddleware(JWTMiddleware, settings=SETTINGS)
        with TestClient(Litestar([handler], middleware=[ours], logging_config=None)) as client:
            yield client
