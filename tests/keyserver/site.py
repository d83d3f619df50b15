"""One door before an application that trusts the issuer of a key server.

Each door has settings, and so keys, of its own: what one has fetched the other would know.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Event as Signal
from typing import Any, NamedTuple

from jwt_middleware import KeySet, Settings
from jwt_middleware.keys import Fetched
from jwt_middleware.keys.http import HttpFetcher
from jwt_middleware.keys.live_keys import LiveKeys
from jwt_middleware.process.runtime import Runtime
from jwt_middleware.testing import TokenFactory
from jwt_middleware.values.events import Event, Refused
from tests.issuing import Clock
from tests.waiting import PATIENCE, until
from tests.world import Answer, Raw, Sent, World, by_asgi, by_wsgi, encoded

DOORS = ("wsgi", "asgi")
FETCHER = "jwt_middleware_keys"  # how the threads are called that fetch


def fetchers() -> list[threading.Thread]:
    """Return the threads that are fetching."""
    return [one for one in threading.enumerate() if one.name == FETCHER]


def settle() -> None:
    """Wait until no fetch is under way, and what it has to tell is told."""
    until(lambda: not fetchers())


class Timed(NamedTuple):
    """An answer, and for how long it was waited."""

    status: int
    seconds: float
    raw: Raw


class Site:
    """One door, and what happened at it."""

    def __init__(self, door: str, settings: Settings) -> None:
        self.door = door
        self.world = World(settings, [door])
        self.settings = self.world.settings

    @property
    def live(self) -> LiveKeys:
        return Runtime.of(self.settings).issuers.own.keys

    @property
    def told(self) -> list[Event]:
        """What was told of keys, in order."""
        return [one for one in self.world.events if not isinstance(one, Refused)]

    def get(self, token: str, path: str = "/") -> Answer:
        through = getattr(self.world, f"through_{self.door}")
        answer: Answer = through("GET", path, encoded((), token))
        return answer

    def served(self, token: str) -> bool:
        """Whether it reaches the application; else it is a 401 or a 503, as it must be."""
        answer = self.get(token)
        assert answer.status in (200, 401, 503)
        assert answer.reached is (answer.status == 200)
        assert (answer.header("retry-after") is not None) is (answer.status == 503)
        assert (answer.header("www-authenticate") is not None) is (answer.status == 401)
        return answer.reached

    def flood(self, tokens: Iterable[str], threads: int = 64) -> list[Timed]:
        """Send a request for each token, all at once: in threads, or in tasks of one loop."""
        requests = [Sent("GET", "/", encoded((), token)) for token in tokens]
        if self.door == "wsgi":
            with ThreadPoolExecutor(threads) as pool:
                return list(pool.map(self._by_wsgi, requests))

        async def all_at_once() -> list[Timed]:
            return list(await asyncio.gather(*map(self.by_asgi, requests)))

        return asyncio.run(all_at_once())

    def _by_wsgi(self, sent: Sent) -> Timed:
        began = time.perf_counter()
        raw = by_wsgi(self.world.wsgi, sent)
        return Timed(raw[0], time.perf_counter() - began, raw)

    async def by_asgi(self, sent: Sent) -> Timed:
        began = time.perf_counter()
        raw = await by_asgi(self.world.asgi, sent)
        return Timed(raw[0], time.perf_counter() - began, raw)


class Paced:
    """The real fetcher: a test brings its time-out forward, puts its end off, and counts."""

    def __init__(self) -> None:
        self.count = 0
        self.most = PATIENCE  # seconds for a fetch
        self.may_end = Signal()
        self.may_end.set()

    def fetch(self, url: str, *, timeout: float, limit: int) -> Fetched:
        self.count += 1
        try:
            return HttpFetcher().fetch(url, timeout=min(timeout, self.most), limit=limit)
        finally:
            self.may_end.wait(PATIENCE)


class Author:
    """Whoever signs the tokens: an issuer whose keys the server publishes, or doesn't."""

    def __init__(self, issuer: str, clock: Clock) -> None:
        self.clock = clock
        self.factory = TokenFactory(issuer=issuer, clock=clock)

    @property
    def keys(self) -> KeySet:
        return self.factory.keys

    @property
    def kid(self) -> str:
        return self.factory.key.kid

    def token(self, **claims: Any) -> str:
        return self.factory.token(**claims)

    def rotated(self) -> Author:
        """Return the same issuer with a new key."""
        return Author(self.factory.issuer, self.clock)

    def settings(self, keys: KeySet, **more: Any) -> Settings:
        return self.factory.settings(keys=keys, **more)
