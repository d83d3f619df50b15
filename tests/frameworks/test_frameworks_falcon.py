"""Falcon has applications of both kinds; each is wrapped as a whole."""

from typing import Any

import falcon
import falcon.asgi
import pytest
from starlette.testclient import TestClient
from werkzeug.test import Client

from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware
from tests.wrapped import SETTINGS, Promises, report

PATHS = ("/me", "/open", "/admin/users")


@pytest.fixture
def calls() -> list[str]:
    return []


class TestWSGI(Promises):
    @pytest.fixture
    def client(self, calls: list[str]) -> Client:
        class View:
            def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
                calls.append(req.path)
                resp.media = report(req.env["jwt_middleware.token"])

        app = falcon.App()
        for path in PATHS:
            app.add_route(path, View())
        return Client(WSGIMiddleware(app, SETTINGS))


class TestASGI(Promises):
    @pytest.fixture
    def client(self, calls: list[str]) -> TestClient:
        class View:
            async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
                calls.append(req.path)
                resp.media = report(req.scope["jwt_middleware.token"])

        app: Any = falcon.asgi.App()
        for path in PATHS:
            app.add_route(path, View())
        return TestClient(ASGIMiddleware(app, SETTINGS))
