"""Readiness: 200 where this process can serve, one look a second, and nothing told to strangers."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jwt_middleware import (
    ConfigurationError,
    KeySet,
    Migration,
    Refresh,
    Route,
    Settings,
    TrustedIssuer,
    migrations,
)
from jwt_middleware.asgi import JWTMiddleware
from jwt_middleware.process.runtime import Runtime
from jwt_middleware.readiness import Readiness, aready, ready
from jwt_middleware.stores.sqlite import SQLiteStore
from jwt_middleware.testing import TokenFactory
from jwt_middleware.values.events import StoreFailed
from jwt_middleware.values.flows import ask
from tests.engines import postgres as engine
from tests.engines.redis import Server
from tests.issuing import DOORS, FAULTY, SITES, Clock, Kind, Site, World
from tests.issuing import opened as opened_sites
from tests.keys.test_signer import Local
from tests.keyserver import KeyServer, hang, key_set
from tests.waiting import until
from tests.world import Answer, Sent, by_asgi
from tests.world import World as Both

READY = "/ready"
WELL = {"keys": True, "store": True, "feed": True}
FACTORY = TokenFactory()


def opened(
    kinds: Iterable[Kind], *, refresh: Mapping[str, Any] | None = None, **settings: Any
) -> AbstractContextManager[World]:
    """Open sites whose requests wait long for the store: a machine may be busy."""
    return opened_sites(kinds, refresh={"sync_wait": 30, **(refresh or {})}, **settings)


@pytest.fixture
def faulty() -> Iterator[World]:
    with opened(FAULTY, ready_path=READY) as world:
        yield world


def said(answer: Answer) -> tuple[int, bool, dict[str, bool]]:
    assert answer.header("content-type") == "application/json"
    assert answer.header("cache-control") == "no-store"
    assert answer.header("retry-after") == ("1" if answer.status == 503 else None)
    assert set(answer.json) == {"ready", "parts"}
    return answer.status, answer.json["ready"], answer.json["parts"]


def calls(world: World) -> list[list[str]]:
    """What each store was asked, without the check at a start."""
    return [[one for one in store.calls if one != "check"] for store in stores(world)]


def stores(world: World) -> list[Any]:
    return [site.settings.refresh.store for site in world.sites]  # type: ignore[union-attr]


def fail(world: World, *verbs: str) -> None:
    for store in stores(world):
        store.fails = set(verbs)
        store.calls.clear()


# -- What is answered


def test_a_process_is_ready_when_its_parts_are(tmp_path: Path) -> None:
    with opened(SITES, ready_path=READY) as world:
        answer = world.get(READY)
        assert said(answer) == (200, True, WELL)
        assert not answer.reached
        assert world.events == []


def test_a_token_and_a_rule_make_no_difference() -> None:
    with opened(DOORS, ready_path=READY, routes=(Route("/*", scope="admin"),)) as world:
        tokens = world.login()
        assert world.get(READY, tokens.access_token).status == 200
        assert world.get(READY, "forged").status == 200
        assert world.call(tokens.access_token).status == 403


def test_without_the_setting_the_path_is_the_applications() -> None:
    with opened(DOORS) as world:
        tokens = world.login()
        assert world.get(READY, tokens.access_token).reached
        assert world.get(READY).status == 401


def test_a_known_token_doesnt_lead_past_it() -> None:
    with opened(DOORS, ready_path=READY) as world:
        tokens = world.login()
        assert world.call(tokens.access_token).reached
        assert not world.get(READY, tokens.access_token).reached


def test_head_is_answered_as_get_without_content() -> None:
    with opened(DOORS, ready_path=READY) as world:
        get, head = world.get(READY), world.send("HEAD", READY)
        assert (head.status, head.headers, head.body) == (get.status, get.headers, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_other_methods_are_refused(method: str) -> None:
    with opened(DOORS, ready_path=READY) as world:
        answer = world.send(method, READY, body=b"x", headers=[("Content-Length", "1")])
        assert (answer.status, answer.header("allow")) == (405, "GET, HEAD, OPTIONS")
        assert not answer.reached


def test_options_says_the_methods_and_lets_no_other_origin_read() -> None:
    with opened(DOORS, ready_path=READY, origins=("https://shop.example",)) as world:
        asked = [("Origin", "https://shop.example"), ("Access-Control-Request-Method", "GET")]
        answer = world.send("OPTIONS", READY, headers=asked)
        assert (answer.status, answer.header("allow")) == (204, "GET, HEAD, OPTIONS")
        assert answer.header("access-control-allow-origin") is None


def test_the_path_is_relative_to_the_root() -> None:
    with opened(DOORS, ready_path=READY) as world:
        assert world.send("GET", READY, root="/shop").status == 200


def test_no_part_says_more_than_its_name(faulty: World) -> None:
    for store in stores(faulty):
        store.fails = {"is_living"}
    answer = faulty.get(READY)
    assert answer.status == 503
    assert answer.body == (b'{"ready":false,"parts":{"keys":true,"store":false,"feed":false}}')
    (event,) = faulty.events
    assert isinstance(event, StoreFailed)  # the operator's log says why


# -- When it is ready


def test_at_first_the_store_must_have_answered(faulty: World) -> None:
    fail(faulty, "is_living")
    assert said(faulty.get(READY)) == (503, False, {"keys": True, "store": False, "feed": False})
    fail(faulty)
    faulty.clock.forward(1)
    assert said(faulty.get(READY)) == (200, True, WELL)


def test_at_first_the_feed_must_have_been_read(faulty: World) -> None:
    fail(faulty, "ended")
    assert said(faulty.get(READY)) == (503, False, {"keys": True, "store": False, "feed": False})


def test_a_store_that_goes_away_counts_when_good_tokens_are_refused(faulty: World) -> None:
    tokens = faulty.login()
    assert faulty.get(READY).status == 200
    fail(faulty, "is_living", "ended", "advance")
    faulty.clock.forward(3)
    assert faulty.call(tokens.access_token).reached
    assert said(faulty.get(READY)) == (200, True, WELL | {"store": False})
    faulty.clock.forward(120)
    assert faulty.call(tokens.access_token).status == 503
    assert said(faulty.get(READY)) == (503, False, WELL | {"store": False, "feed": False})
    fail(faulty)
    faulty.clock.forward(30)
    assert said(faulty.get(READY)) == (200, True, WELL)
    assert faulty.call(tokens.access_token).reached


def test_where_tokens_pass_without_the_store_it_never_counts_after_the_start() -> None:
    with opened(FAULTY, ready_path=READY, refresh={"sync_failure": "open"}) as world:
        fail(world, "is_living")
        assert world.get(READY).status == 503
        fail(world)
        world.clock.forward(1)
        assert world.get(READY).status == 200
        fail(world, "ended")
        world.clock.forward(1000)
        assert said(world.get(READY)) == (200, True, WELL | {"store": False})


def test_a_store_that_has_just_failed_isnt_asked(faulty: World) -> None:
    faulty.get(READY)
    fail(faulty, "ended")
    faulty.clock.forward(2)
    faulty.get(READY)
    for _ in range(2):
        faulty.clock.forward(1)
        assert faulty.get(READY).json["parts"]["store"] is False
    for store in stores(faulty):
        assert len(store.calls) < 3


# -- What it costs


@pytest.mark.parametrize("every", [0, 1])
def test_a_second_has_one_look(every: int) -> None:
    with opened(FAULTY, ready_path=READY, refresh={"sync_every": every}) as world:
        world.get(READY)
        assert calls(world) == [["is_living", "ended"]] * 2
        fail(world)
        for _ in range(20):
            assert world.get(READY).status == 200
            world.clock.forward(0.04)
        assert calls(world) == [[]] * 2
        world.clock.forward(1.5)
        world.get(READY)
        assert calls(world) == [["ended"]] * 2  # the pool is open


def test_many_probes_at_once_have_one_look() -> None:
    with opened(FAULTY, ready_path=READY) as world:
        for site in world.sites:
            raws = site.at_once([Sent("GET", READY)] * 16)
            assert {raw[0] for raw in raws} <= {200, 503}
            assert 200 in {raw[0] for raw in raws}
        assert calls(world) == [["is_living", "ended"]] * 2


def waiting_look(settings: Settings) -> Any:
    """Begin a look, and leave it where it waits."""
    probe: Any = Runtime.of(settings).probe(asynchronous=False)

    def check(_: float) -> Any:
        return (yield from ask(lambda: None))

    real, probe._check = probe._check, check
    flow = probe.look()
    next(flow)
    probe._check = real
    return flow


@contextmanager
def count_looks(settings: Settings) -> Generator[list[int]]:
    """Give a list with the number of looks that have begun."""
    probe: Any = Runtime.of(settings).probe(asynchronous=False)
    looks, real = [0], probe._check

    def check(now: float) -> Any:
        looks[0] += 1
        return (yield from real(now))

    probe._check = check
    yield looks
    probe._check = real


def test_a_look_that_never_ends_is_lost() -> None:
    clock = Clock()
    settings = FACTORY.settings(clock=clock)
    flow = waiting_look(settings)
    assert ready(settings) == Readiness(is_ready=False, parts={})
    clock.forward(31)
    assert ready(settings)
    flow.close()


def test_a_look_that_is_broken_off_leaves_its_turn() -> None:
    clock = Clock()
    settings = FACTORY.settings(clock=clock)
    flow = waiting_look(settings)
    flow.close()  # as where the client of an asynchronous server has gone
    assert not ready(settings)
    clock.forward(1)
    assert ready(settings)


def test_a_clock_that_is_set_back_stops_no_look() -> None:
    clock = Clock()
    settings = FACTORY.settings(clock=clock)
    assert ready(settings)
    clock.forward(-3600)
    with count_looks(settings) as looks:
        assert ready(settings)
    assert looks == [1]


# -- Keys


def remote(server: KeyServer) -> KeySet:
    return KeySet.remote(server.url, private_addresses=True)


def test_a_service_that_only_verifies_fetches_its_keys() -> None:
    with KeyServer() as server:
        server.publish(key_set(FACTORY.keys))
        world = Both(FACTORY.settings(keys=remote(server), ready_path=READY))
        answer = world.get(READY)
        assert said(answer) == (200, True, {"keys": True})
        assert server.count == 1
        assert world.get("/", FACTORY.token()).reached
        assert server.count == 1  # the first request found them


def test_without_keys_it_isnt_ready() -> None:
    with KeyServer() as server:
        server.go_down()
        clock = Clock()
        world = Both(FACTORY.settings(keys=remote(server), ready_path=READY, clock=clock))
        assert said(world.get(READY)) == (503, False, {"keys": False})
        server.publish(key_set(FACTORY.keys))
        server.come_up()
        clock.forward(2)
        assert said(world.get(READY)) == (200, True, {"keys": True})
        server.go_down()
        clock.forward(700)
        assert world.get(READY).status == 200  # stale ones serve for an hour


def test_a_key_set_of_several_is_found() -> None:
    with KeyServer() as server:
        server.publish(key_set(FACTORY.keys, KeySet.generate()))
        assert ready(FACTORY.settings(keys=remote(server)))


def partner(name: str, keys: KeySet) -> TrustedIssuer:
    return TrustedIssuer(issuer=f"https://{name}.example", audience="api", keys=keys)


def test_keys_of_others_are_fetched_and_dont_decide() -> None:
    with KeyServer() as good, KeyServer() as bad:
        good.publish(key_set(KeySet.generate()))
        bad.publish(hang)
        others = (
            partner("good", remote(good)),
            partner("hanging", remote(bad)),
            partner("late", remote(bad)),
            partner("here", KeySet.generate()),
        )
        clock = Clock()
        world = Both(FACTORY.settings(trusted_issuers=others, ready_path=READY, clock=clock))
        assert said(world.get(READY)) == (200, True, {"keys": True, "trusted_issuers": False})
        assert good.count == 1
        bad.mend(key_set(KeySet.generate()))
        clock.forward(60)

        def is_well() -> bool:
            clock.forward(2)
            return bool(world.through_wsgi("GET", READY, []).json["parts"]["trusted_issuers"])

        until(is_well)
        clock.forward(2)
        assert said(world.get(READY)) == (200, True, {"keys": True, "trusted_issuers": True})


def test_a_signer_elsewhere_signs_once() -> None:
    signer = Local()
    signer.answer = RuntimeError("no permission")
    given = {"keys": signer.key_set, "ready_path": READY}
    with opened(DOORS, refresh={"secret": "8yN3vQf0-hK2mWxZ7bTg5RcEj1LpAuSd"}, **given) as world:
        assert said(world.get(READY)) == (503, False, WELL | {"keys": False})
        signer.answer = None
        world.clock.forward(2)
        assert world.get(READY).status == 200
        calls = len(signer.calls)
        world.clock.forward(2)
        assert world.get(READY).status == 200
        assert len(signer.calls) == calls
        assert all(b"." not in one for one in signer.calls)


# -- Real engines


def test_a_schema_of_a_later_version_isnt_ready(postgres_url: str, schema: str) -> None:
    told: list[Any] = []
    store = f"{postgres_url}?schema={schema}"

    def settings() -> Settings:
        return FACTORY.settings(
            keys=FACTORY.keys, refresh=Refresh(store=store, sync_wait=30), on_event=told.append
        )

    async def asked(given: Settings) -> Readiness:
        try:
            return await aready(given)
        finally:
            await given.aclose()

    assert asyncio.run(asked(settings())) == Readiness(is_ready=True, parts=WELL)
    engine.ask(postgres_url, f"UPDATE {schema}.version SET number = 99 RETURNING number")
    found = asyncio.run(asked(settings()))
    assert found == Readiness(is_ready=False, parts=WELL | {"store": False, "feed": False})
    assert any(isinstance(one, StoreFailed) for one in told)


def test_a_server_that_dies_and_comes_back() -> None:
    with Server("valkey") as server:
        clock = Clock()
        group = Refresh(store=f"{server.url}?timeout=5", sync_wait=30)
        settings = FACTORY.settings(keys=FACTORY.keys, refresh=group, clock=clock)
        assert ready(settings)
        server.kill()

        def look() -> Readiness:
            clock.forward(7)  # after every back-off
            return ready(settings)

        assert look() == Readiness(is_ready=True, parts=WELL | {"store": False})
        clock.forward(120)
        assert look() == Readiness(is_ready=False, parts=WELL | {"store": False, "feed": False})
        server.start()
        until(look)
        assert look().parts == WELL
        settings.close()


# -- By code


@pytest.mark.parametrize("kind", SITES, ids=lambda kind: f"{kind[0]}-{kind[1].__name__}")
def test_the_issuer_says_the_same(kind: Any, tmp_path: Path) -> None:
    site = Site(kind, Clock(), tmp_path, refresh={"sync_wait": 30})
    try:
        found = site.ask("ready")
        assert found == Readiness(is_ready=True, parts=WELL)
        assert found
    finally:
        site.close()


def test_a_service_that_only_verifies_is_asked_by_a_function() -> None:
    settings = FACTORY.settings()
    assert ready(settings) == Readiness(is_ready=True, parts={"keys": True})
    assert asyncio.run(aready(settings)) == ready(settings)


def test_a_store_that_must_be_awaited_is_refused_in_sync_code(tmp_path: Path) -> None:
    site = Site(SITES[-1], Clock(), tmp_path, refresh={"sync_wait": 30})
    try:
        with pytest.raises(ConfigurationError, match="asynchronous"):
            ready(site.settings)
    finally:
        site.close()


# -- Beginning and end


@pytest.mark.parametrize("kind", DOORS, ids=lambda kind: str(kind[0]))
def test_after_the_end_nothing_is_opened_again(kind: Any, tmp_path: Path) -> None:
    def store(clock: Clock, folder: Path) -> Any:
        return SQLiteStore(folder / "grants.db", clock=clock, retention=3600)

    site = Site((kind[0], store), Clock(), tmp_path, refresh={"sync_wait": 30}, ready_path=READY)
    try:
        tokens = site.ask("issue", "alice")
        assert site.send(Sent("GET", READY)).status == 200
        site.settings.close()
        (tmp_path / "grants.db").rename(tmp_path / "away.db")
        site.clock.forward(5)
        assert said(site.send(Sent("GET", READY))) == (503, False, {})
        assert not (tmp_path / "grants.db").exists()
        (tmp_path / "away.db").rename(tmp_path / "grants.db")
        bearer = [("Authorization", f"Bearer {tokens.access_token}".encode())]
        assert site.send(Sent("GET", "/", bearer)).reached  # a request opens it anew
        assert site.send(Sent("GET", READY)).status == 200
    finally:
        site.close()


def test_in_a_lifespan_it_is_ready_when_startup_is_complete(tmp_path: Path) -> None:
    settings = FACTORY.settings(
        keys=KeySet.generate(),
        refresh=Refresh(store=f"sqlite:///{tmp_path}/grants.db", sync_wait=30),
        ready_path=READY,
    )
    heard: list[str] = []

    async def app(scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        for word in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{word}"
            await send({"type": f"lifespan.{word}.complete"})

    async def whole() -> None:
        door = JWTMiddleware(app, settings)
        over = asyncio.Event()
        messages = iter(["lifespan.startup", "lifespan.shutdown"])

        async def receive() -> Any:
            name = next(messages)
            if name.endswith("shutdown"):
                await over.wait()
            return {"type": name}

        async def send(message: Any) -> None:
            heard.append(message["type"])
            if message["type"] == "lifespan.startup.complete":
                status, _, body = await by_asgi(door, Sent("GET", READY))
                assert (status, json.loads(body)["ready"]) == (200, True)
                over.set()

        await door({"type": "lifespan"}, receive, send)
        status, _, body = await by_asgi(door, Sent("GET", READY))
        assert (status, json.loads(body)) == (503, {"ready": False, "parts": {}})

    asyncio.run(whole())
    assert heard == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_a_forked_child_looks_anew() -> None:
    settings = FACTORY.settings()
    assert ready(settings)
    Runtime.of(settings).reset()
    probe: Any = Runtime.of(settings).probe(asynchronous=False)
    assert not probe._known
    assert ready(settings)


# -- The setting


@pytest.mark.parametrize(
    "path", ["/auth/refresh", "/auth/revoke", "/.well-known/jwks.json", "/auth/sessions/x"]
)
def test_a_path_that_is_taken_is_refused(path: str) -> None:
    group = Refresh(store="memory://", sessions=True)
    with pytest.raises(ConfigurationError, match="ready_path: is another endpoint's path"):
        FACTORY.settings(keys=KeySet.generate(), refresh=group, ready_path=path)


def test_the_old_path_of_a_former_library_is_taken() -> None:
    ends = datetime.fromtimestamp(FACTORY.clock() + 86400, UTC)
    secret = secrets.token_urlsafe(48)
    moved = Migration(library=migrations.SIMPLEJWT, until=ends, secret=secret, path="/old")
    group = Refresh(store="memory://", migrate=moved)
    with pytest.raises(ConfigurationError, match="ready_path: is another endpoint's path"):
        FACTORY.settings(keys=KeySet.generate(), refresh=group, ready_path="/old")


@pytest.mark.parametrize("path", ["ready", "/", "/re ady", "/../x", 5])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(ConfigurationError, match="ready_path"):
        FACTORY.settings(ready_path=path)
