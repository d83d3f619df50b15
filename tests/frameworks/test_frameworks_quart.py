"""Quart, wrapped by `app.asgi_app = JWTMiddleware(app.asgi_app, settings)`."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from quart import Quart, ResponseReturnValue, jsonify, request, websocket
from starlette.testclient import TestClient

from jwt_middleware import current_token
from jwt_middleware.asgi import JWTMiddleware
from tests.wrapped import FACTORY, SETTINGS, Promises, report


@pytest.fixture
def app() -> Any:
    app: Any = Quart(__name__)
    app.asgi_app = JWTMiddleware(app.asgi_app, SETTINGS)
    return app


class TestQuart(Promises):
    @pytest.fixture
    def calls(self) -> list[str]:
        return []

    @pytest.fixture
    def client(self, app: Any, calls: list[str]) -> Iterator[TestClient]:
        async def view() -> ResponseReturnValue:
            calls.append(request.path)
            scope: Any = request.scope
            return jsonify(report(scope["jwt_middleware.token"]))

        for path in ("/me", "/open", "/admin/users"):
            app.add_url_rule(path, view_func=view)
        with TestClient(app) as client:
            yield client


async def test_the_token_is_current_in_threads_and_streams(app: Any) -> None:
    @app.get("/me")
    def view() -> Any:  # Quart calls a `def` view in a thread
        before = current_token()

        async def chunks() -> AsyncIterator[str]:
            for one in (before, current_token()):
                yield f"{one.subject if one else None} "

        return chunks(), 200

    answer = await app.test_client().get("/me", headers=FACTORY.bearer())
    assert await answer.get_data() == b"alice alice "


async def test_a_websocket_reads_the_token(app: Any) -> None:
    @app.websocket("/ws")
    async def echo() -> None:
        scope: Any = websocket.scope
        await websocket.send_json(report(scope["jwt_middleware.token"]))

    async with app.test_client().websocket("/ws", headers=FACTORY.bearer(sub="bob")) as session:
        seen = await session.receive_json()
    assert (seen["same"], seen["subject"]) == (True, "bob")
