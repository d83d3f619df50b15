"""FastAPI, wrapped by `add_middleware`; the token comes to endpoints as a dependency."""

from collections.abc import Iterator
from typing import Annotated

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.requests import HTTPConnection
from fastapi.testclient import TestClient

from jwt_middleware import AccessToken, current_token
from jwt_middleware.asgi import JWTMiddleware
from tests.wrapped import FACTORY, SETTINGS, Promises, report


def token_of(connection: HTTPConnection) -> AccessToken | None:
    """Return the verified token of a request or of a WebSocket."""
    found: AccessToken | None = connection.scope["jwt_middleware.token"]
    return found


Token = Annotated[AccessToken | None, Depends(token_of)]


class TestFastAPI(Promises):
    @pytest.fixture
    def calls(self) -> list[str]:
        return []

    @pytest.fixture
    def client(self, calls: list[str]) -> Iterator[TestClient]:
        app = FastAPI()
        app.add_middleware(JWTMiddleware, settings=SETTINGS)

        async def view(request: Request, token: Token) -> dict:
            calls.append(request.url.path)
            return report(token)

        for path in ("/me", "/open", "/admin/users"):
            app.get(path)(view)
        with TestClient(app) as client:
            yield client


@pytest.fixture
def app() -> FastAPI:
    app = FastAPI()
    app.add_middleware(JWTMiddleware, settings=SETTINGS)
    return app


def test_the_token_is_current_in_threads_and_background_tasks(app: FastAPI) -> None:
    seen: list[AccessToken | None] = []

    def note() -> None:
        seen.append(current_token())

    @app.get("/me", dependencies=[Depends(note)])
    def view(tasks: BackgroundTasks, token: Token) -> str:
        seen.append(token)
        note()
        tasks.add_task(note)
        return "done"

    assert TestClient(app).get("/me", headers=FACTORY.bearer()).json() == "done"
    assert [one.subject for one in seen if one is not None] == ["alice"] * 4
    assert len({id(one) for one in seen}) == 1


def test_a_dependency_decides_by_the_claims(app: FastAPI) -> None:
    def editor(token: Token) -> AccessToken:
        if token is None or "editor" not in token.claims.get("roles", ()):
            raise HTTPException(403, "for editors")
        return token

    @app.put("/page")
    def edit(token: Annotated[AccessToken, Depends(editor)]) -> str:
        return token.subject

    client = TestClient(app)
    assert client.put("/page", headers=FACTORY.bearer(roles=["editor"])).json() == "alice"
    answer = client.put("/page", headers=FACTORY.bearer(roles=["reader"]))
    # An answer of the application's, as it made it.
    assert (answer.status_code, answer.json()) == (403, {"detail": "for editors"})
    assert "www-authenticate" not in answer.headers


def test_a_websocket_has_the_same_dependency(app: FastAPI) -> None:
    @app.websocket("/ws")
    async def echo(websocket: WebSocket, token: Token) -> None:
        await websocket.accept()
        await websocket.send_json(report(token)["subject"])
        await websocket.close()

    with TestClient(app).websocket_connect("/ws", headers=FACTORY.bearer(sub="bob")) as session:
        assert session.receive_json() == "bob"
