"""A process of a service that takes proofs: `python -m tests.proofs.one_service STORE SECRET`.

It reads requests as lines of JSON, waits for the moment that each names, and says the status.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from jwt_middleware import KeySet, Proofs, Refresh, Settings
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware
from tests.world import Application, Sent, by_asgi, by_wsgi


def main(store: str, secret: str) -> None:
    settings = Settings(
        issuer="https://login.example",
        audience="https://api.example",
        keys=KeySet.secret(secret),
        proofs=Proofs(urls=("https://api.example",), nonces=False),
        refresh=Refresh(store=store),
    )
    application = Application()
    wsgi = WSGIMiddleware(application.wsgi, settings)
    asgi = ASGIMiddleware(application.asgi, settings)

    async def serve() -> None:
        warm = Sent("GET", "/", [])
        by_wsgi(wsgi, warm)
        await by_asgi(asgi, warm)
        for line in sys.stdin:
            given = json.loads(line)
            sent = Sent("GET", "/", [(name, value.encode()) for name, value in given["fields"]])
            await asyncio.sleep(max(given["at"] - time.time(), 0))
            raw = by_wsgi(wsgi, sent) if given["door"] == "wsgi" else await by_asgi(asgi, sent)
            sys.stdout.write(f"{json.dumps([raw[0], dict(raw[1]).get('www-authenticate', '')])}\n")
            sys.stdout.flush()

    asyncio.run(serve())


if __name__ == "__main__":
    main(*sys.argv[1:])
