"""What runs in each process: an application with a login, or one that only verifies."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from jwt_middleware import Issuer, KeySet, Refresh, Route, Settings
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware
from tests.servers.lifeline import end_with_the_test

GIVEN: dict[str, Any] = json.loads(os.environ["TEST_ROTATING"])
ISSUER, AUDIENCE = "https://login.example", "https://api.example"
SPEED = 10  # seconds of these processes' clocks in one


def clock() -> float:
    return GIVEN["began"] + (time.time() - GIVEN["began"]) * SPEED


def issuing() -> Settings:
    end_with_the_test(GIVEN["alive"])
    return Settings(
        issuer=ISSUER,
        audience=AUDIENCE,
        keys=KeySet.load(GIVEN["keys"]),
        clock=clock,
        routes=(Route("/login", public=True, own_origin=True),),
        # Every refresh rotates. Nobody logs out, so that nothing is to be heard in a hurry.
        refresh=Refresh(
            store=GIVEN["store"],
            access_lifetime=120,
            settle=0,
            sync_every=20,
            sync_limit=3600,
            grants_per_subject=10_000,
        ),
    )


def wsgi() -> Any:
    settings = issuing()
    issuer = Issuer(settings)

    def application(environ: Any, start_response: Any) -> Any:
        body = b"{}"
        if environ["PATH_INFO"] == "/login":
            body = json.dumps(issuer.issue("alice")).encode()
        start_response("200 OK", [("Content-Type", "application/json")])
        return [body]

    return WSGIMiddleware(application, settings)


async def _answer(send: Any, body: bytes) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def asgi() -> Any:
    settings = issuing()
    issuer = Issuer(settings)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        is_login = scope["path"] == "/login"
        body = json.dumps(await issuer.aissue("alice")).encode() if is_login else b"{}"
        await _answer(send, body)

    return ASGIMiddleware(application, settings)


def verifier() -> Any:
    end_with_the_test(GIVEN["alive"])
    settings = Settings(
        issuer=ISSUER,
        audience=AUDIENCE,
        # The clock runs fast: what a real process would wait for is shorter here by as much.
        keys=KeySet.remote(GIVEN["jwks"], timeout=30, cool_down=10),
        clock=clock,
    )

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await _answer(send, b"{}")

    return ASGIMiddleware(application, settings)
