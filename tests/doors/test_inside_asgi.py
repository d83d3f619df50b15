"""A WSGI application that an adapter mounts inside the ASGI door knows the token, too."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
from a2wsgi import WSGIMiddleware
from asgiref.wsgi import WsgiToAsgi
from starlette.testclient import TestClient

from jwt_middleware import Route
from jwt_middleware.asgi import JWTMiddleware
from jwt_middleware.testing import TokenFactory
from jwt_middleware.wsgi import inside_asgi

FACTORY = TokenFactory()
SETTINGS = FACTORY.settings(routes=(Route("/open", public=True),))
NAMES = ("REMOTE_USER", "AUTH_TYPE")


def starlette(app: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and used
        from starlette.middleware import wsgi
    return wsgi.WSGIMiddleware(app)


ADAPTERS: dict[str, Callable[[Any], Any]] = {
    "a2wsgi": WSGIMiddleware,
    "asgiref": WsgiToAsgi,
    "starlette": starlette,
}


@pytest.fixture(params=ADAPTERS)
def client(request: pytest.FixtureRequest) -> tuple[TestClient, list[dict[str, Any]]]:
    seen: list[dict[str, Any]] = []

    def inner(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]

    app = JWTMiddleware(ADAPTERS[request.param](inside_asgi(inner)), SETTINGS)
    return TestClient(app), seen


def test_it_has_the_token_and_the_user(client: tuple[TestClient, list[dict[str, Any]]]) -> None:
    asking, seen = client
    answer = asking.get("/", headers=FACTORY.bearer(sub="zoë", scope="read"))
    assert (answer.status_code, answer.text) == (200, "hello")
    (environ,) = seen
    assert environ["jwt_middleware.token"].scope == "read"
    assert environ["REMOTE_USER"].encode("latin-1").decode() == "zoë"
    assert environ["AUTH_TYPE"] == "Bearer"


def test_a_public_route_has_nobody(client: tuple[TestClient, list[dict[str, Any]]]) -> None:
    asking, seen = client
    assert asking.get("/open", headers={"Remote-User": "root"}).status_code == 200
    (environ,) = seen
    assert environ["jwt_middleware.token"] is None
    assert not set(NAMES) & set(environ)


def test_a_client_that_acts_for_itself_is_no_user(
    client: tuple[TestClient, list[dict[str, Any]]],
) -> None:
    asking, seen = client
    headers = FACTORY.bearer(sub="cron", client_id="cron")
    assert asking.get("/", headers=headers).status_code == 200
    assert seen[0]["jwt_middleware.token"].is_client
    assert "REMOTE_USER" not in seen[0]


def test_what_stood_there_before_is_taken_away() -> None:
    seen: list[dict[str, Any]] = []

    def inner(environ: dict[str, Any], _: Any) -> list[bytes]:
        seen.append(environ)
        return []

    app = inside_asgi(inner)
    app({"REMOTE_USER": "root", "AUTH_TYPE": "Basic"}, print)
    assert seen == [{"jwt_middleware.token": None}]
