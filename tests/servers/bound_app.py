"""An application that says what it was let in with, under either interface, for tests of proofs."""

from __future__ import annotations

import json
import os
from typing import Any

from jwt_middleware import ClientCertificates, KeySet, Proofs, Settings
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware

from .lifeline import end_with_the_test

ROOT = "https://api.example"
SETTINGS = Settings(
    issuer=os.environ["TEST_ISSUER"],
    audience=os.environ["TEST_AUDIENCE"],
    keys=KeySet.from_jwks(json.loads(os.environ["TEST_JWKS"])),
    proofs=Proofs(urls=(ROOT,), nonces=False),
    client_certificates=ClientCertificates(header="Client-Cert", proxies=("127.0.0.0/8",)),
)


def _wsgi(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
    return [b"let in"]


async def _asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    fields = [(b"content-type", b"text/plain"), (b"content-length", b"6")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": b"let in"})


wsgi, asgi = WSGIMiddleware(_wsgi, SETTINGS), ASGIMiddleware(_asgi, SETTINGS)
end_with_the_test(int(os.environ["TEST_ALIVE"]))
