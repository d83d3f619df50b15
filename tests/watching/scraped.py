"""A real application on a real store, in use, and a real Prometheus that scrapes it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry, start_http_server

from jwt_middleware import Issuer, KeySet, KeysUnavailable, Refresh, Route, Settings, TrustedIssuer
from jwt_middleware.keys import Fetched
from jwt_middleware.prometheus import Prometheus
from jwt_middleware.testing import TokenFactory
from jwt_middleware.wsgi import JWTMiddleware
from tests.engines import redis as engines
from tests.issuing import form_octets, posted, refresh_form
from tests.processes import free_port
from tests.waiting import until
from tests.world import Sent, by_wsgi, encoded

ROOT = Path(__file__).parent.parent.parent
ALERTS = ROOT / "docs" / "watching" / "alerts.yml"
DASHBOARD = ROOT / "docs" / "watching" / "dashboard.json"
JOB = "shop"
CONFIGURATION = """
global: {{scrape_interval: {every}, evaluation_interval: 1s}}
rule_files: ["{alerts}"]
scrape_configs:
  - job_name: {job}
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


class Served:
    """A Prometheus server."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **parameters: Any) -> Any:
        """Return the data of an answer of its API."""
        with urlopen(f"{self.url}/api/v1/{path}?{urlencode(parameters)}", timeout=30) as answer:
            found = json.loads(answer.read())
        assert found["status"] == "success"
        return found["data"]

    def query(self, expression: str) -> list[Any]:
        """Return the series of an expression, as they are now."""
        found: list[Any] = self.get("query", query=expression)["result"]
        return found


def found(name: str) -> str:
    """Return a program of Debian's package; without it the test is skipped, which CI refuses."""
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"no {name} on the PATH: apt-get install prometheus")
    return program


@contextmanager
def prometheus(folder: Path, port: int, every: str = "200ms") -> Generator[Served]:
    """Start a Prometheus that scrapes a port of this machine, with our alerts."""
    program = found("prometheus")
    (folder / "prometheus.yml").write_text(
        CONFIGURATION.format(every=every, alerts=ALERTS, job=JOB, port=port)
    )
    listening = free_port()
    with (folder / "prometheus.log").open("wb") as log:
        server = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{listening}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        served = Served(f"http://127.0.0.1:{listening}")
        until(lambda: served.query(f'up{{job="{JOB}"}} == 1'), passing=(URLError, ConnectionError))
        yield served
    finally:
        server.terminate()
        server.wait(30)


class Partner:
    """Another issuer, whose key endpoint may fail."""

    def __init__(self) -> None:
        self.factory = TokenFactory(issuer="https://partner.example")
        self.fails = False
        self._body = json.dumps(self.factory.settings().keys.public_jwks()).encode()

    def fetch(self, url: str, *, timeout: float, limit: int) -> Fetched:
        """See `Fetcher`."""
        if self.fails:
            raise KeysUnavailable("down")
        return Fetched(200, self._body, "max-age=60", url)

    def trusted(self, audience: str) -> TrustedIssuer:
        keys = KeySet.remote("https://partner.example/jwks", fetcher=self, cool_down=1)
        return TrustedIssuer(issuer=self.factory.issuer, audience=audience, keys=keys)


class Shop:
    """An application with users, on Valkey, behind the WSGI door."""

    def __init__(self, store: engines.Server, registry: CollectorRegistry) -> None:
        self.store = store
        self.random = Random(1)
        self.partner = Partner()
        self.settings = Settings(
            issuer="https://login.example",
            audience="https://shop.example",
            keys=KeySet.generate(),
            trusted_issuers=(self.partner.trusted("https://shop.example"),),
            routes=(
                Route("/login", public=True),
                Route("/news", optional=True),
                Route("/admin/*", scope="admin"),
            ),
            refresh=Refresh(store=store.url, settle=0),
            metrics=Prometheus(registry),
        )
        self.issuer = Issuer(self.settings)
        self.door = JWTMiddleware(_ok, self.settings)
        self.users: list[dict[str, Any]] = []
        self.waits = False  # users who would refresh or log in do so later

    def log_in(self) -> None:
        """Let another user log in."""
        tokens = self.issuer.issue(f"user{len(self.users)}", scope="read")
        self.users.append({"access": tokens.access_token, "refresh": tokens.refresh_token})

    def get(self, path: str, token: str | None = None) -> int:
        return by_wsgi(self.door, Sent("GET", path, encoded([], token)))[0]

    def refresh(self, user: dict[str, Any]) -> int:
        """Refresh as a client does: keep what comes."""
        form = form_octets(refresh_form(user["refresh"]))
        status, _, body = by_wsgi(self.door, posted("/auth/refresh", form))
        if status == 200:
            answer = json.loads(body)
            user["access"], user["refresh"] = answer["access_token"], answer["refresh_token"]
        return status

    def browse(self) -> None:
        """Send some requests, most of them good."""
        choose, user = self.random.random, self.random.choice(self.users)
        self.get(self.random.choice(["/items", "/items/7", "/cart"]), user["access"])
        if choose() < 0.1:
            self.get("/news")
        if choose() < 0.05:
            self.get("/admin/users", user["access"])
        if choose() < 0.03:
            self.get("/items")
        if choose() < 0.02 and not self.waits:
            self.refresh(user)
        if choose() < 0.02:
            self.get("/items", self.partner.factory.token(aud="https://shop.example"))

    def steal(self) -> None:
        """Let a thief use a copy of a refresh token, and its owner come after."""
        self.log_in()
        owner = self.users.pop()
        thief = dict(owner)
        assert self.refresh(thief) == 200
        assert self.refresh(thief) == 200
        assert self.refresh(owner) == 400

    def log_out(self) -> None:
        """Let a user log out, and come again with what the browser kept."""
        self.log_in()
        user = self.users.pop()
        self.get("/items", user["access"])
        form = form_octets({"token": user["refresh"]})
        by_wsgi(self.door, posted("/auth/revoke", form))
        assert self.get("/items", user["access"]) == 401


def _ok(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"ok"]


@contextmanager
def shop() -> Generator[tuple[Shop, int]]:
    """Open a shop; give it and the port of its metrics."""
    registry, port = CollectorRegistry(), free_port()
    with engines.Server("valkey") as store:
        made = Shop(store, registry)
        server, thread = start_http_server(port, "127.0.0.1", registry)
        try:
            yield made, port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
            made.settings.close()
