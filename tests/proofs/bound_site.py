"""A site whose login binds to the key that its request proves, behind either door."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from jwt_middleware import Issuer, Proofs, Refresh, Route, Settings
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.values.events import Event, Refused
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware
from tests.issuing import AUDIENCE, KEYS, Clock
from tests.serving import SERVERS

LOGIN = "/login"


class BoundSite:
    """A login, the endpoints, and pages that need a token, at one URL."""

    def __init__(self, url: str, door: str, proofs: Proofs) -> None:
        self.url = url
        self.clock = Clock()
        self.clock.now = time.time()  # clients have a clock, too
        self.events: list[Event] = []
        self.settings = Settings(
            issuer=url,
            audience=AUDIENCE,
            keys=KEYS,
            clock=self.clock,
            on_event=self.events.append,
            proofs=proofs,
            routes=(Route(LOGIN, public=True, own_origin=True),),
            refresh=Refresh(store="memory://", settle=60),
        )
        self.issuer = Issuer(self.settings)
        self.application: Any
        if door == "wsgi":
            self.application = WSGIMiddleware(self._wsgi, self.settings)
        else:
            self.application = ASGIMiddleware(self._asgi, self.settings)

    @property
    def bound_keys(self) -> list[str | None]:
        """What the logins of the only user are bound to."""
        return [one.bound_key for one in self.issuer.grants("alice")]

    def refused(self) -> list[str]:
        """Return why requests were refused since this was asked last."""
        found = [str(one.reason) for one in self.events if isinstance(one, Refused)]
        self.events.clear()
        return found

    def _wsgi(self, environ: Any, start_response: Any) -> list[bytes]:
        found: dict[str, Any] = {"path": environ["PATH_INFO"]}
        if environ["PATH_INFO"] == LOGIN:
            proof = environ["jwt_middleware.proof"]
            found = dict(self.issuer.issue("alice", client_id="web", proof=proof))
        start_response("200 OK", [*_FIELDS])
        return [json.dumps(found).encode()]

    async def _asgi(self, scope: Any, receive: Any, send: Any) -> None:
        found: dict[str, Any] = {"path": scope["path"]}
        if scope["path"] == LOGIN:
            proof = scope["jwt_middleware.proof"]
            found = dict(await self.issuer.aissue("alice", client_id="web", proof=proof))
        fields = [(name.encode(), value.encode()) for name, value in _FIELDS]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": json.dumps(found).encode()})


_FIELDS = (("content-type", "application/json"), ("cache-control", "no-store"))


@contextmanager
def served(door: str, proofs: Proofs) -> Generator[BoundSite]:
    """Serve the site by a real server."""
    sites: list[BoundSite] = []

    def made(url: str) -> Any:
        sites.append(BoundSite(url, door, proofs))
        return sites[0].application

    with SERVERS[door](made):
        try:
            yield sites[0]
        finally:
            sites[0].settings.close()
