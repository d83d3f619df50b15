"""Bottle, wrapped as a whole."""

from typing import Any

import bottle
import pytest
from werkzeug.test import Client

from jwt_middleware import current_token
from jwt_middleware.wsgi import JWTMiddleware
from tests.wrapped import FACTORY, SETTINGS, Promises, report


class TestBottle(Promises):
    @pytest.fixture
    def calls(self) -> list[str]:
        return []

    @pytest.fixture
    def client(self, calls: list[str]) -> Client:
        def view() -> dict[str, Any]:
            calls.append(bottle.request.path)
            return report(bottle.request.environ["jwt_middleware.token"])

        app = bottle.Bottle()
        app.route(["/me", "/open", "/admin/users"], callback=view)
        return Client(JWTMiddleware(app, SETTINGS))


@pytest.fixture
def app() -> Any:
    return bottle.Bottle()


def test_the_claims_are_an_answer_by_themselves(app: Any) -> None:
    @app.get("/me")
    def view() -> Any:
        return bottle.request.environ["jwt_middleware.token"].claims

    answer = Client(JWTMiddleware(app, SETTINGS)).get("/me", headers=FACTORY.bearer(roles=["a"]))
    assert answer.json is not None
    assert (answer.json["sub"], answer.json["roles"]) == ("alice", ["a"])


def test_request_auth_is_the_user(app: Any) -> None:
    @app.get("/<path>")
    def view(path: str) -> dict[str, Any]:
        return {"auth": bottle.request.auth, "type": bottle.request.environ.get("AUTH_TYPE")}

    client = Client(JWTMiddleware(app, SETTINGS))
    assert client.get("/me", headers=FACTORY.bearer()).json == {
        "auth": ["alice", None],
        "type": "Bearer",
    }
    assert client.get("/open", headers=FACTORY.bearer()).json == {"auth": None, "type": None}


def test_the_token_is_current_in_a_stream(app: Any) -> None:
    @app.get("/me")
    def view() -> Any:
        for _ in range(2):
            token = current_token()
            yield f"{token.subject if token else None} "

    answer = Client(JWTMiddleware(app, SETTINGS)).get("/me", headers=FACTORY.bearer())
    assert answer.text == "alice alice "
    assert current_token() is None
