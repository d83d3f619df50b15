"""A world that issues: one scenario is played in five sites, and all must answer byte for byte.

A site is a door before a store. Each has grants of its own, because a refresh changes what the next
one meets; with one clock, one key and the same randomness they can't be told apart from outside.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sqlite3
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import shake_256
from os import urandom
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Barrier
from types import MappingProxyType
from typing import Any, TypeVar, cast
from urllib.parse import urlencode

import pytest

from jwt_middleware import Grant, Issuer, KeySet, Refresh, Settings, StoreUnavailable, Tokens
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.process.runtime import Runtime
from jwt_middleware.stores.memory import MemoryStore
from jwt_middleware.values import randomness
from jwt_middleware.values.events import Event, Reused
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware
from tests.world import (
    NOW,
    Answer,
    Application,
    Headers,
    Raw,
    Sent,
    by_asgi,
    by_wsgi,
    encoded,
)

T = TypeVar("T")
Form = Mapping[str, str]

ISSUER, AUDIENCE = "https://login.example", "https://api.example"
KEYS = KeySet.generate("Ed25519")  # RFC 8032: signing the same twice gives the same
FORM, JSON = "application/x-www-form-urlencoded", "application/json"
REFRESH, REVOKE, KEY_SET = "/auth/refresh", "/auth/revoke", "/.well-known/jwks.json"
MINUTE, HOUR, DAY = 60, 3600, 86400  # seconds
# Members of every answer with tokens that say how long the login lasts.
LASTS = {"refresh_token_expires_in", "refresh_token_timeout", "authorization_expires_in"}


def form_octets(form: Form) -> bytes:
    return urlencode(form).encode()


def refresh_form(token: str, **parameters: str) -> dict[str, str]:
    return {"grant_type": "refresh_token", "refresh_token": token, **parameters}


def posted(path: str, body: bytes, kind: str = FORM, headers: Headers = ()) -> Sent:
    """Return a POST with its type and length."""
    own = [("Content-Type", kind), ("Content-Length", str(len(body)))]
    return Sent("POST", path, encoded([*own, *headers], None), body)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += seconds


class FaultyStore:
    """A store in memory that fails when told to: before or after it has done what it was asked."""

    blocking = False

    def __init__(self, clock: Clock, _: Path | None = None) -> None:
        self._store = MemoryStore(clock=clock, retention=HOUR)
        self.fails: set[str] = set()
        self.is_done_before_it_fails = False
        self.calls: list[str] = []

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        real = getattr(self._store, verb)

        def call(*args: Any) -> Any:
            self.calls.append(verb)
            if verb not in self.fails:
                return real(*args)
            if self.is_done_before_it_fails:
                real(*args)
            raise StoreUnavailable("no route to the engine")

        return call


class AwaitedStore:
    """A store whose verbs are awaited, and let others run before they answer."""

    def __init__(self, clock: Clock, _: Path) -> None:
        self._store = MemoryStore(clock=clock, retention=HOUR)

    async def _do(self, verb: str, *args: Any) -> Any:
        await asyncio.sleep(0)
        return getattr(self._store, verb)(*args)

    async def add(self, *args: Any) -> Any:
        return await self._do("add", *args)

    async def advance(self, *args: Any) -> Any:
        return await self._do("advance", *args)

    async def use(self, *args: Any) -> Any:
        return await self._do("use", *args)

    async def end(self, *args: Any) -> Any:
        return await self._do("end", *args)

    async def end_subject(self, *args: Any) -> Any:
        return await self._do("end_subject", *args)

    async def grants(self, *args: Any) -> Any:
        return await self._do("grants", *args)

    async def end_before(self, *args: Any) -> Any:
        return await self._do("end_before", *args)

    async def is_living(self, *args: Any) -> Any:
        return await self._do("is_living", *args)

    async def ended(self, *args: Any) -> Any:
        return await self._do("ended", *args)

    async def admit(self, *args: Any) -> Any:
        return await self._do("admit", *args)

    async def purge(self, *args: Any) -> Any:
        return await self._do("purge", *args)


def memory(_: Clock, __: Path) -> str:
    return "memory://"


def sqlite(_: Clock, folder: Path) -> str:
    # A test survives no power cut, so that it needn't wait for the disk.
    return f"sqlite:///{folder}/grants.db?synchronous=NORMAL"


Kind = tuple[str, Callable[[Clock, Path], Any]]  # a door, and what makes its store

DURABLE: tuple[Kind, ...] = (("wsgi", sqlite), ("asgi", sqlite))
DOORS: tuple[Kind, ...] = (("wsgi", memory), ("asgi", memory))  # where the store is no matter
SITES: tuple[Kind, ...] = (*DOORS, *DURABLE, ("asgi", AwaitedStore))
FAULTY: tuple[Kind, ...] = (("wsgi", FaultyStore), ("asgi", FaultyStore))


class Site:
    """One door before one store, and the issuer that shares it."""

    def __init__(
        self, kind: Kind, clock: Clock, folder: Path, *, refresh: dict[str, Any], **settings: Any
    ) -> None:
        self.door, make = kind
        self._put_back = getattr(make, "put_back", None)  # of an engine
        self.name = f"{self.door} before {make.__name__}"
        self.clock = clock
        self.folder = folder
        self.events: list[Event] = []
        self.numbers = 0  # of the pieces of randomness drawn here
        given: dict[str, Any] = {"issuer": ISSUER, "audience": AUDIENCE, "keys": KEYS}
        self.settings = Settings(
            **(given | settings),
            clock=clock,
            on_event=self.events.append,
            refresh=Refresh(store=make(clock, folder), **refresh),
        )
        self.runner = asyncio.Runner()
        self._open()

    def _open(self) -> None:
        self.issuer = Issuer(self.settings)
        self._open_door(self.issuer)

    def _open_door(self, issuer: Issuer | None = None) -> None:
        self.application = Application(issuer)
        self.asgi: Any = None
        self.wsgi: Any = None
        if self.door == "asgi":
            self.asgi = ASGIMiddleware(self.application.asgi, self.settings)
        else:
            self.wsgi = WSGIMiddleware(self.application.wsgi, self.settings)

    def restart(self, *, refresh: Mapping[str, Any] | None = None, **changes: Any) -> None:
        """Do what a new process does: forget everything but the store. Settings may be others."""
        self.settings.close()
        group = dataclasses.replace(cast("Refresh", self.settings.refresh), **(refresh or {}))
        # A copy without the live side.
        self.settings = self.settings.replace(**changes, refresh=group)
        self._open()

    def close(self) -> None:
        if self.door == "asgi":
            self.runner.run(self.settings.aclose())
        else:
            self.settings.close()
        self.runner.close()

    @property
    def store(self) -> Any:
        return Runtime.of(self.settings).store

    def send(self, sent: Sent) -> Answer:
        """Send one request through the door."""
        self.application.seen, before = None, len(self.events)
        if self.door == "asgi":
            raw = self.runner.run(by_asgi(self.asgi, sent))
        else:
            raw = by_wsgi(self.wsgi, sent)
        return self.application.answer(raw, self.events[before:])

    def at_once(self, requests: list[Sent]) -> list[Raw]:
        """Send requests at the same time: in threads, or as tasks of one event loop."""
        if self.door == "asgi":

            async def gathered() -> list[Raw]:
                return await asyncio.gather(*(by_asgi(self.asgi, one) for one in requests))

            return self.runner.run(gathered())
        barrier = Barrier(len(requests))

        def send(one: Sent) -> Raw:
            barrier.wait()
            return by_wsgi(self.wsgi, one)

        with ThreadPoolExecutor(len(requests)) as pool:
            return list(pool.map(send, requests))

    def ask(self, verb: str, *args: Any, **options: Any) -> Any:
        """Call a verb of the issuer: its twin where the door awaits."""
        if self.door == "asgi":
            return self.runner.run(getattr(self.issuer, f"a{verb}")(*args, **options))
        return getattr(self.issuer, verb)(*args, **options)

    def row(self, grant_id: str) -> Grant:
        """Return a grant as it stands in the store."""
        answer = self.store.advance(grant_id, 0, 0, None)
        grant: Grant | None
        _, grant = self.runner.run(answer) if asyncio.iscoroutine(answer) else answer
        assert grant is not None
        return grant

    def put_back(self, grant: Grant) -> None:
        """Make the store forget what happened since: a failover to what was written by then."""
        if self._put_back is not None:
            self._put_back(grant)
            return
        path = self.folder / "grants.db"
        if not path.exists():
            getattr(self.store, "_store", self.store)._grants[grant.id] = grant
            return
        db = sqlite3.connect(path, isolation_level=None)
        db.execute(
            "UPDATE grants SET generation = ?, parent = ?, rotated_at = ?, ended_at = ?, "
            "end_reason = ? WHERE id = ?",
            (
                *(grant.generation, grant.parent, grant.rotated_at),
                *(grant.ended_at, grant.end_reason, grant.id),
            ),
        )
        db.close()


class Randomness:
    """What looks random and is the same in every site: its count, hashed."""

    site: Site | None = None

    def octets(self, count: int) -> bytes:
        if self.site is None:
            return urandom(count)
        self.site.numbers += 1
        return shake_256(str(self.site.numbers).encode()).digest(count)


def _whole(value: object) -> object:
    """Return all of a value that is to be compared."""
    match value:
        case Answer():
            return value, _whole(value.events)
        case tuple() | list():
            return [_whole(one) for one in value]
        case Grant() | Reused():
            # An engine's own clock, shifted, is some milliseconds ahead of the one that stands.
            return [
                round(member) if isinstance(member, float) else member
                for member in dataclasses.astuple(value)
            ]
        case Tokens():
            return dict(value), value.access_token, value.refresh_token, value.cookies
        case _:
            return value


class World:
    """Sites in step. What they give is one, or the test fails."""

    def __init__(self, sites: list[Site], clock: Clock, source: Randomness) -> None:
        self.sites = sites
        self.clock = clock
        self._source = source

    @property
    def site(self) -> Site:
        """Return the site that is at work."""
        assert self._source.site is not None
        return self._source.site

    @property
    def events(self) -> list[Event]:
        """Return all that was told so far."""
        return self.each(lambda site: list(site.events))

    def each(self, step: Callable[[Site], T]) -> T:
        """Do a step in every site; return what it gave, in all of them alike."""
        found: list[T] = []
        for site in self.sites:
            self._source.site = site
            found.append(step(site))
            assert _whole(found[-1]) == _whole(found[0]), (
                f"{site.name} differs from {self.sites[0].name}"
            )
        return found[0]

    def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        headers: Headers = (),
        token: str | None = None,
        root: str = "",
        query: str = "",
    ) -> Answer:
        sent = Sent(method, path, encoded(headers, token), body, root, query)
        return self.each(lambda site: site.send(sent))

    def get(self, path: str = "/", token: str | None = None, *, headers: Headers = ()) -> Answer:
        return self.send("GET", path, headers=headers, token=token)

    def post(self, path: str, form: Form = MappingProxyType({}), **more: Any) -> Answer:
        """Send a form, with its type and length."""
        return self.post_octets(path, form_octets(form), FORM, **more)

    def post_json(self, path: str, value: object, **more: Any) -> Answer:
        return self.post_octets(path, json.dumps(value).encode(), JSON, **more)

    def post_octets(
        self, path: str, body: bytes, kind: str, *, headers: Headers = (), **more: Any
    ) -> Answer:
        own = [("Content-Type", kind), ("Content-Length", str(len(body)))]
        return self.send("POST", path, body=body, headers=[*own, *headers], **more)

    # --- what an application, its clients and a thief do

    def login(self, subject: str = "alice", **options: Any) -> Tokens:
        return self.each(lambda site: site.ask("issue", subject, **options))

    def refresh(self, token: str, *, headers: Headers = (), **parameters: str) -> Answer:
        return self.post(REFRESH, refresh_form(token, **parameters), headers=headers)

    def renewed(self, token: str, **more: Any) -> dict[str, Any]:
        """Return what a client has after a refresh that is answered."""
        answer = self.refresh(token, **more)
        assert answer.status == 200, (answer.reason, answer.body)
        # RFC 6749 s6: where no new refresh token comes, the old one stays.
        return {"refresh_token": token, **answer.json}

    def revoke(self, token: str, *, headers: Headers = (), **parameters: str) -> Answer:
        return self.post(REVOKE, {"token": token, **parameters}, headers=headers)

    def revoke_all(self, subject: str) -> tuple[str, ...]:
        return self.each(lambda site: site.ask("revoke_all", subject))

    def call(self, token: str) -> Answer:
        """Call the application."""
        return self.get("/", token)

    def row(self, grant_id: str) -> Grant:
        return self.each(lambda site: site.row(grant_id))

    def is_alive(self, grant_id: str) -> bool:
        return self.row(grant_id).ended_at is None


@contextmanager
def opened(
    kinds: Iterable[Kind] = SITES, *, refresh: Mapping[str, Any] | None = None, **settings: Any
) -> Generator[World]:
    """Open a site of every kind; `refresh` are options of that group, the rest of `Settings`."""
    source, clock = Randomness(), Clock()
    with (
        TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(randomness, "octets", source.octets)
        sites: list[Site] = []
        try:
            for number, kind in enumerate(kinds):
                own = Path(folder, str(number))
                own.mkdir()
                sites.append(Site(kind, clock, own, refresh=dict(refresh or {}), **settings))
            yield World(sites, clock, source)
        finally:
            for site in sites:
                site.close()


@contextmanager
def single(
    kind: Kind, *, refresh: Mapping[str, Any] | None = None, **settings: Any
) -> Generator[Site]:
    """Open one site, with real randomness: for what runs at the same time."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        site = Site(kind, Clock(), Path(folder), refresh=dict(refresh or {}), **settings)
        try:
            yield site
        finally:
            site.close()
