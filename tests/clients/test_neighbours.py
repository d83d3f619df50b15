"""What docs/frameworks.md says of slowapi and Mangum."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from mangum import Mangum
from slowapi import Limiter
from slowapi.middleware import SlowAPIASGIMiddleware, SlowAPIMiddleware
from slowapi.util import get_remote_address
from starlette.requests import Request
from starlette.testclient import TestClient

from jwt_middleware import Issuer, KeySet, Refresh, Settings, current_token
from jwt_middleware.asgi import JWTMiddleware
from jwt_middleware.testing import TokenFactory

FACTORY = TokenFactory()


def by_user(request: Request) -> str:
    token = current_token()
    return token.subject if token is not None else get_remote_address(request)


def limited(*order: Any) -> TestClient:
    """Return an application that allows two requests a minute; the last middleware is outermost."""
    app = FastAPI()
    app.state.limiter = Limiter(key_func=by_user, default_limits=["2/minute"])

    @app.get("/me")
    async def me() -> dict[str, str]:
        return {}

    settings = FACTORY.settings()
    for one in order:
        app.add_middleware(one, **({"settings": settings} if one is JWTMiddleware else {}))
    return TestClient(app)


@pytest.mark.filterwarnings("ignore:'asyncio.iscoroutinefunction':DeprecationWarning")
@pytest.mark.parametrize("kind", [SlowAPIMiddleware, SlowAPIASGIMiddleware])
def test_slowapi_inside_counts_a_users_requests_and_outside_an_addresss(kind: Any) -> None:
    def statuses(client: TestClient, headers: Any) -> list[int]:
        return [client.get("/me", headers=headers).status_code for _ in range(3)]

    alice, bob = FACTORY.bearer(sub="alice"), FACTORY.bearer(sub="bob")
    inside = limited(kind, JWTMiddleware)
    assert statuses(inside, {}) == [401, 401, 401]
    assert statuses(inside, alice) == [200, 200, 429]
    assert statuses(inside, bob) == [200, 200, 429]
    outside = limited(JWTMiddleware, kind)
    assert statuses(outside, {}) == [401, 401, 429]
    assert statuses(outside, alice) == [429, 429, 429]


@pytest.fixture
def loop() -> Iterator[None]:
    """Give Mangum the event loop that it takes for itself."""
    own = asyncio.new_event_loop()
    asyncio.set_event_loop(own)
    yield
    asyncio.set_event_loop(None)
    own.close()


def event(method: str, path: str, body: str = "", **headers: str) -> dict[str, Any]:
    http = {"method": method, "path": path, "sourceIp": "203.0.113.7", "protocol": "HTTP/1.1"}
    return {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {"http": http},
        "body": body,
        "isBase64Encoded": False,
    }


@pytest.mark.usefixtures("loop")
@pytest.mark.parametrize("lifespan", ["off", "auto"])
def test_mangum_serves_event_after_event(tmp_path: Path, lifespan: Any) -> None:
    settings = Settings(
        issuer="https://login.example",
        audience="https://api.example",
        keys=KeySet(KeySet.generate().keys),
        refresh=Refresh(store=f"sqlite:///{tmp_path}/grants.db"),
    )
    app = FastAPI()
    tokens = Issuer(settings).issue("alice")
    handler = Mangum(JWTMiddleware(app, settings), lifespan=lifespan)
    context: Any = {}
    form = f"grant_type=refresh_token&refresh_token={tokens['refresh_token']}"
    kind = {"content-type": "application/x-www-form-urlencoded"}
    answer = handler(event("POST", "/auth/refresh", form, **kind), context)
    assert answer["statusCode"] == 200
    bearer = "Bearer " + json.loads(answer["body"])["access_token"]
    for path, status in (("/openapi.json", 200), ("/nothing", 404)):
        asked = event("GET", path, authorization=bearer)
        assert handler(asked, context)["statusCode"] == status
    settings.close()
