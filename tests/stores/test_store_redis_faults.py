"""What Redis and Valkey may do to a store: a verb is done, or it is StoreUnavailable, in time.

And what was answered stands, where the engine keeps what it has acknowledged.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import replace
from threading import Event as Flag
from threading import Thread
from typing import Any, Self, cast

import pytest
import redis

from jwt_middleware import ConfigurationError, Issuer, Refresh, Settings, StoreUnavailable
from jwt_middleware.stores import SHARDS, new_grant_id
from jwt_middleware.stores.redis import RedisStore
from jwt_middleware.values.events import Event, Restored
from jwt_middleware.wsgi import JWTMiddleware
from tests.engines import redis as engines
from tests.issuing import AUDIENCE, ISSUER, KEYS, REFRESH, form_octets, posted, refresh_form
from tests.stores import RETENTION, new_grant
from tests.world import Application, by_wsgi

park = engines.park

each_kind = pytest.mark.parametrize("kind", ["waiting", "awaited"])
on_each_engine = pytest.mark.parametrize(
    "engine",
    [
        pytest.param(engine, marks=pytest.mark.xdist_group(f"faults-{engine}"))
        for engine in engines.ENGINES
    ],
)


class Awaited:
    """An AsyncRedisStore, called as the other kind is."""

    def __init__(self, url: str, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._store = engines.an_async_store(url, **options)

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        async def call(*args: Any) -> Any:
            return await getattr(self._store, verb)(*args)

        return lambda *args: self._runner.run(call(*args))

    def rest(self, seconds: float) -> None:
        self._runner.run(asyncio.sleep(seconds))

    def close(self) -> None:
        self._runner.run(self._store.aclose())
        self._runner.close()


@contextmanager
def opened(kind: str, url: str, **options: Any) -> Generator[Any, None, None]:
    """Open a store of either kind, and close it."""
    store: Any = Awaited(url, **options) if kind == "awaited" else engines.a_store(url, **options)
    try:
        yield store
    finally:
        store.close()


def a_grant(letter: str | None = None, **changes: Any) -> Any:
    """Return a grant that begins now, in a certain shard if wanted."""
    number = 0
    while True:
        subject = f"user {number}"
        if letter is None or new_grant_id(subject)[0] == letter:
            return new_grant(time.time(), subject=subject, **changes)
        number += 1


def fails(call: Callable[..., object], *args: object) -> str:
    """Return why it fails: by StoreUnavailable, in less than 10 seconds."""
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable) as caught:
        call(*args)
    assert time.monotonic() - begun < 10
    return caught.value.detail


class Load:
    """Someone who refreshes all the time, and keeps count of what was answered."""

    def __init__(self, store: Any, grants: Iterable[Any]) -> None:
        self._store = store
        self.seen = {grant.id: 1 for grant in grants}  # acknowledged generations
        self.faults: list[str] = []
        self.rounds = 0  # in which all were refreshed
        self.strange: list[BaseException] = []
        self._stop = Flag()
        self._thread = Thread(target=self._work)

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                before = len(self.faults)
                for grant_id in self.seen:
                    self._advance(grant_id)
                self.rounds += before == len(self.faults)
        except BaseException as error:  # noqa: BLE001
            self.strange.append(error)

    def _advance(self, grant_id: str) -> None:
        seen = self.seen[grant_id]
        try:
            _, row = self._store.advance(grant_id, seen, seen + 1, f"parent {seen}")
        except StoreUnavailable as error:
            self.faults.append(error.detail)
            time.sleep(0.02)
            return
        assert row is not None, "a grant is lost"
        assert row.generation >= seen, "an acknowledged rotation is lost"
        assert row.generation <= seen + 1, "nobody else rotates it"
        self.seen[grant_id] = row.generation

    def goes_on(self) -> bool:
        """Wait until all are refreshed again."""
        before = self.rounds
        return bool(engines.until(lambda: self.strange or self.rounds >= before + 2))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        assert self.strange == []


# --- the server goes, and comes back


@each_kind
@on_each_engine
def test_killed_and_started_anew_under_load(engine: str, kind: str) -> None:
    always = ("--appendonly", "yes", "--appendfsync", "always")
    with engines.Server(engine, *always) as server, opened(kind, server.url) as store:
        grants = [a_grant() for _ in range(5)]
        for grant in grants:
            store.add(grant, 100)
        ended = a_grant()
        store.add(ended, 100)
        with Load(store, grants) as load:
            load.goes_on()
            server.kill()
            engines.until(lambda: load.faults)
            server.start()
            load.goes_on()
        for grant_id, generation in load.seen.items():
            row = store.advance(grant_id, 0, 0, None).grant
            assert row is not None
            assert row.generation == generation
        assert store.end(ended.id, "logout")
        server.kill()
        assert fails(store.end, ended.id, "logout") == "ConnectionError"
        server.start()
        assert ended.id in store.ended(None, RETENTION).grant_ids


@each_kind
@on_each_engine
def test_what_was_done_and_not_answered_is_not_done_again(
    park: engines.Park, engine: str, kind: str
) -> None:
    with (
        engines.Wire(park("own", engine).port) as wire,
        opened(kind, wire.url) as store,
    ):
        grant = a_grant()
        store.add(grant, 100)
        assert store.advance(grant.id, 1, 2, "first").advanced
        before = wire.packets
        wire.hang_up = True
        assert fails(store.advance, grant.id, 2, 3, "second") == "ConnectionError"
        wire.hang_up = False
        assert wire.packets - before == 1
        advanced, row = store.advance(grant.id, 2, 3, "second")
        assert not advanced, "it was done"
        assert (row.generation, row.parent) == (3, "second")


@each_kind
@on_each_engine
def test_an_applications_client_that_repeats_does_not_here(
    park: engines.Park, engine: str, kind: str
) -> None:
    with engines.Wire(park("own", engine).port) as wire:
        grant = a_grant()
        with redis.Redis(port=wire.port) as client:  # which repeats 10 times
            store = RedisStore(client, retention=700)
            store.add(grant, 100)
            store.advance(grant.id, 1, 1, None)
            before = wire.packets
            wire.hang_up = True
            fails(store.advance, grant.id, 1, 2, "parent")
            assert wire.packets - before == 1


@each_kind
@on_each_engine
def test_a_connection_found_dead_is_replaced(park: engines.Park, engine: str, kind: str) -> None:
    server = park("own", engine)
    with opened(kind, server.url) as store:
        grant = a_grant()
        store.add(grant, 100)
        for seen in range(1, 4):
            server.do("CLIENT KILL", "TYPE", "normal", "SKIPME", "yes")
            # An event loop hears of it only when it runs.
            getattr(store, "rest", time.sleep)(0.05)
            assert store.advance(grant.id, seen, seen + 1, None).advanced


@each_kind
@on_each_engine
def test_a_paused_server_costs_no_more_than_the_timeout(
    park: engines.Park, engine: str, kind: str
) -> None:
    server = park("own", engine)
    with opened(kind, f"{server.url}?timeout=0.4&wait_timeout=0.1") as store:
        grant = a_grant()
        store.add(grant, 100)
        with server.paused():
            begun = time.monotonic()
            assert fails(store.advance, grant.id, 1, 2, "parent") == "TimeoutError"
            assert fails(store.grants, grant.subject) == "TimeoutError"
            assert time.monotonic() - begun < 1.5
        engines.until(lambda: store.grants(grant.subject))


@on_each_engine
def test_who_asks_for_ended_grants_waits_for_no_other_verb(park: engines.Park, engine: str) -> None:
    server = park("single", engine)
    url = f"{server.url}?pool_max=1&timeout=2&client_name=feed-{engine}"
    store = RedisStore.from_url(url, clock=time.time, retention=700)
    link = store._link()
    busy = link.client.connection_pool.get_connection()
    for _ in range(3):
        store.ended(None, RETENTION)  # on a connection of its own
    assert fails(store.grants, "alice") == "ConnectionError", "no connection was free"
    link.client.connection_pool.release(busy)
    names = [one["name"] for one in server.do("CLIENT LIST")]
    assert names.count(f"feed-{engine}") == 2
    store.close()
    engines.until(lambda: "feed" not in str(server.do("CLIENT LIST")))


@on_each_engine
def test_a_paused_server_costs_who_asks_for_ended_grants_the_timeout(
    park: engines.Park, engine: str
) -> None:
    server = park("own", engine)
    store = RedisStore.from_url(f"{server.url}?timeout=0.8", clock=time.time, retention=700)
    ended = store.ended(None, RETENTION)
    with server.paused():
        for _ in range(2):  # on a connection that was there, and on one that is to be made
            begun = time.monotonic()
            assert fails(store.ended, ended.cursor, RETENTION) == "TimeoutError"
            assert time.monotonic() - begun < 3
    engines.until(lambda: store.ended(ended.cursor, RETENTION))
    store.close()


@on_each_engine
def test_who_connects_too_slowly_sends_nothing(
    park: engines.Park, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = park("own", engine)
    with opened("waiting", server.url) as store:
        grant = a_grant()
        store.add(grant, 100)
        pool = store._link().client.connection_pool
        real = pool.get_connection

        def slowly() -> Any:
            time.sleep(0.3)
            return real()

        monkeypatch.setattr(pool, "get_connection", slowly)
        store._link().patience = 0.2
        assert fails(store.end, grant.id, "logout") == "TimeoutError"
        store._link().patience = 2
        assert store.advance(grant.id, 1, 2, None).advanced


@each_kind
@on_each_engine
def test_forgotten_scripts_are_told_again(park: engines.Park, engine: str, kind: str) -> None:
    server = park("own", engine)
    with opened(kind, server.url) as store:
        grant = a_grant()
        store.add(grant, 100)
        server.do("SCRIPT FLUSH")
        assert store.advance(grant.id, 1, 2, "parent").advanced
        server.do("SCRIPT FLUSH")
        assert store.end(grant.id, "logout")


# --- the server can't write


@each_kind
@on_each_engine
def test_a_primary_that_became_a_replica_is_told(engine: str, kind: str) -> None:
    with (
        engines.Server(engine) as other,
        engines.Server(engine) as server,
        opened(kind, server.url) as store,
    ):
        grant = a_grant()
        store.add(grant, 100)
        server.do("REPLICAOF", engines.HOST, other.port)
        assert fails(store.add, a_grant(), 100) == "ReadOnlyError"
        server.do("REPLICAOF", "NO", "ONE")
        store.add(grant, 100)
        assert store.advance(grant.id, 1, 2, None).advanced


FULL = {
    "memory": ("OutOfMemoryError", "maxmemory", "1", "0"),
    "replicas": ("NOREPLICAS", "min-replicas-to-write", "1", "0"),
}


@each_kind
@on_each_engine
@pytest.mark.parametrize("lack", FULL)
def test_nothing_is_done_by_half_for_lack_of(
    park: engines.Park, engine: str, kind: str, lack: str
) -> None:
    word, setting, bad, good = FULL[lack]
    server = park("own", engine)
    with opened(kind, server.url) as store:
        grants = [a_grant() for _ in range(3)]
        for grant in grants:
            store.add(grant, 100)
        before = store.grants(grants[0].subject)
        server.do("CONFIG SET", setting, bad)
        try:
            assert fails(store.add, a_grant(), 1) == word
            assert fails(store.advance, grants[0].id, 1, 2, None) == word
            assert fails(store.end, grants[0].id, "logout") == word
            assert fails(store.end_subject, grants[0].subject, "logout") == word
            assert fails(store.admit, "key", time.time() + 100) == word
            assert store.grants(grants[0].subject) == before, "to read is possible"
            assert store.ended(None, RETENTION).grant_ids == ()
        finally:
            server.do("CONFIG SET", setting, good)
        assert store.end(grants[0].id, "logout")
        assert store.grants(grants[0].subject) == before[:-1]


@each_kind
@on_each_engine
def test_a_full_disk_is_told(engine: str, kind: str) -> None:
    snapshots = ("--save", "3600", "1000000")
    with engines.Server(engine, *snapshots) as server, opened(kind, server.url) as store:
        grant = a_grant()
        store.add(grant, 100)
        shutil.rmtree(server.folder)  # so that no snapshot can be written there
        server.do("BGSAVE")
        engines.until(lambda: "err" in server.do("INFO", "persistence")["rdb_last_bgsave_status"])
        assert fails(store.advance, grant.id, 1, 2, None) == "MISCONF"
        assert fails(store.end, grant.id, "logout") == "MISCONF"
        assert [one.generation for one in store.grants(grant.subject)] == [1]
        server.do("CONFIG SET", "stop-writes-on-bgsave-error", "no")
        assert store.end(grant.id, "logout")


LOG = ("--appendonly", "yes", "--aof-use-rdb-preamble", "no")


@each_kind
@on_each_engine
@pytest.mark.parametrize(
    ("policy", "word"), [("everysec", "MISCONF"), ("always", "ConnectionError")]
)
def test_a_full_disk_takes_no_log_out_back(engine: str, kind: str, policy: str, word: str) -> None:
    with engines.Server(engine, *LOG, "--appendfsync", policy) as server:
        server.kill()
        server.largest_file = 16384
        server.start()
        with opened(kind, server.url) as store:
            done = log_outs_until(store, word)
            if policy == "everysec":
                assert fails(store.admit, "key", time.time() + 100) == word
                assert set(done) <= set(store.ended(None, RETENTION).grant_ids), (
                    "to read is possible"
                )
                # What was answered while it began to fail is of the last second: not promised.
                done = done[:-1]
        server.kill()
        server.largest_file = None
        server.start()
        with opened(kind, server.url) as store:
            assert set(done) <= set(store.ended(None, RETENTION).grant_ids)
            assert store.admit("key", time.time() + 100)


def log_outs_until(store: Any, word: str) -> list[str]:
    """Let one after the other log in and out until that fails; return who got an answer."""
    done: list[str] = []

    def go_on() -> None:
        while len(done) < 500:
            grant = a_grant()
            store.add(grant, 1000)
            assert store.end(grant.id, "logout")
            done.append(grant.id)

    with pytest.raises(StoreUnavailable, match=word):
        go_on()
    assert len(done) > 5
    return done


SLOWLY = ("--key-load-delay", "5000", "--loading-process-events-interval-bytes", "1024")


@each_kind
@on_each_engine
def test_a_server_that_still_reads_its_data_is_told(engine: str, kind: str) -> None:
    with engines.Server(engine, *SLOWLY) as server, opened(kind, server.url) as store:
        store.check()
        grant = a_grant()
        store.add(grant, 100)
        with server.client() as client:
            client.mset({f"key {number}": "x" * 100 for number in range(600)})
            client.save()
        server.kill()
        server.launch()
        while (word := fails(store.advance, grant.id, 1, 2, None)) == "ConnectionError":
            time.sleep(0.01)  # it doesn't listen yet
        assert word == "BusyLoadingError"
        with pytest.raises(ConfigurationError) as caught:
            store.check()
        assert "still reading its data" in str(caught.value.remedy)
        engines.until(lambda: not server.do("INFO", "persistence")["loading"])
        assert store.advance(grant.id, 1, 2, None).advanced, "it wasn't done before"
        store.check()


@each_kind
@on_each_engine
def test_too_few_replicas_for_an_end_are_told(park: engines.Park, engine: str, kind: str) -> None:
    url = f"{park('own', engine).url}?wait_replicas=1&wait_timeout=0.05"
    with opened(kind, url) as store:
        grant = a_grant()
        store.add(grant, 100)
        assert store.advance(grant.id, 1, 2, None).advanced, "only ends wait"
        assert fails(store.end, grant.id, "logout") == "WAIT: 0 of 1 replicas"
        assert store.ended(None, RETENTION).grant_ids == (grant.id,), "it may be done"
        with pytest.raises(Exception, match="WAIT"):
            store.check()


# --- another takes its place


def kill_replicated(primary: engines.Server, replicas: list[engines.Server]) -> None:
    """Kill a primary at a moment when a replica has all that was acknowledged.

    Redis loses what wasn't replicated yet: see below what becomes of that.
    """
    primary.do("CLIENT PAUSE", 60_000, "WRITE")
    engines.until(lambda: any(engines.offset(one) == engines.offset(primary) for one in replicas))
    primary.kill()


@each_kind
@on_each_engine
def test_sentinels_failover_under_load(engine: str, kind: str) -> None:
    with (
        engines.Sentinels(engine) as found,
        opened(kind, f"{found.url}?wait_replicas=1") as store,
    ):
        grants, ended = [a_grant() for _ in range(3)], a_grant()
        for grant in (*grants, ended):
            store.add(grant, 100)
        assert store.end(ended.id, "logout")
        with Load(store, grants) as load:
            load.goes_on()
            before = found.primary
            kill_replicated(before, [one for one in found.data if one is not before])
            engines.until(lambda: found.primary is not before)
            load.goes_on()
        assert load.faults
        assert ended.id in store.ended(None, RETENTION).grant_ids


@on_each_engine
def test_a_rotation_that_a_failover_lost_is_restored(engine: str) -> None:
    events: list[Event] = []
    with (
        engines.Server(engine) as primary,
        engines.Server(engine, "--replicaof", f"{engines.HOST} {primary.port}") as replica,
        engines.Wire(primary.port) as wire,
        opened("waiting", wire.url) as store,
    ):
        engines.until(lambda: engines.follows(replica))
        settings = Settings(
            issuer=ISSUER,
            audience=AUDIENCE,
            keys=KEYS,
            refresh=Refresh(store=store, settle=0, cookies=None),
            on_event=events.append,
        )
        tokens = Issuer(settings).issue("alice", client_id="web", scope="read")
        door: Any = JWTMiddleware(cast("Any", Application()), settings)

        def refresh(token: str) -> tuple[int, Any, dict[str, str]]:
            status, headers, body = by_wsgi(door, posted(REFRESH, form_octets(refresh_form(token))))
            return status, json.loads(body), dict(headers)

        status, first, _ = refresh(tokens.refresh_token)
        assert status == 200
        engines.until(lambda: engines.offset(replica) == engines.offset(primary))
        replica.do("REPLICAOF", "NO", "ONE")
        status, second, _ = refresh(first["refresh_token"])
        assert status == 200, "acknowledged, and lost"
        primary.kill()
        status, _, headers = refresh(second["refresh_token"])
        assert status == 503
        assert "retry-after" in headers
        wire.to = replica.port
        status, _, _ = refresh(second["refresh_token"])
        assert status == 200
        assert [one.lost for one in events if isinstance(one, Restored)] == [1]


# --- in a Cluster


def migrate(source: Any, target: Any, found: engines.Cluster, key: str) -> None:
    """Move a slot with its keys from one node to another, slowly."""
    slot = source.do("CLUSTER KEYSLOT", key)
    target.do("CLUSTER SETSLOT", slot, "IMPORTING", found.node_id(source))
    source.do("CLUSTER SETSLOT", slot, "MIGRATING", found.node_id(target))
    while keys := source.do("CLUSTER GETKEYSINSLOT", slot, 1):
        source.do("MIGRATE", engines.HOST, target.port, "", 0, 5000, "KEYS", *keys)
        time.sleep(0.01)
    for node in (target, source):
        node.do("CLUSTER SETSLOT", slot, "NODE", found.node_id(target))


def owner(found: engines.Cluster, key: str) -> engines.Server:
    """Return who has the slot of a key in a Cluster that is as it was made."""
    slot = found.servers[0].do("CLUSTER KEYSLOT", key)
    return found.servers[slot * 3 // 16384]


@each_kind
@pytest.mark.parametrize(
    "engine",
    [
        pytest.param("redis", marks=[pytest.mark.long, pytest.mark.xdist_group("migration-redis")]),
        pytest.param("valkey", marks=pytest.mark.xdist_group("migration-valkey")),
    ],
)
def test_slots_migrate_under_load(engine: str, kind: str) -> None:
    with engines.Cluster(engine) as found, opened(kind, found.url) as store:
        grants = [a_grant("a") for _ in range(8)]
        for grant in grants:
            store.add(grant, 100)
        key = "{jwta:}"
        source = owner(found, key)
        target = next(one for one in found.servers if one is not source)
        with Load(store, grants) as load:
            load.goes_on()
            migrate(source, target, found, key)
            load.goes_on()
            # On to a node that has no slots yet, so that no client knows of it.
            new = found.add(engine, *engines.CLUSTERED)
            new.do("CLUSTER MEET", engines.HOST, found.servers[0].port)
            engines.until(lambda: all(found.knows_all(one) for one in found.servers))
            engines.until(lambda: found.is_ok(new))
            migrate(target, new, found, key)
            load.goes_on()
        ended = store.end_subject(grants[0].subject, "logout")
        assert set(ended) == {grant.id for grant in grants}
        assert set(store.ended(None, RETENTION).grant_ids) == set(ended)


@each_kind
@pytest.mark.xdist_group("migration-valkey")
def test_keys_that_are_half_moved_cost_a_503(kind: str) -> None:
    with engines.Cluster("valkey") as found, opened(kind, found.url) as store:
        first, second = a_grant("a"), a_grant("a")
        for grant in (first, second):
            store.add(grant, 100)
        store.end(first.id, "logout")
        source = owner(found, "{jwta:}")
        target = next(one for one in found.servers if one is not source)
        slot = source.do("CLUSTER KEYSLOT", "{jwta:}")
        target.do("CLUSTER SETSLOT", slot, "IMPORTING", found.node_id(source))
        source.do("CLUSTER SETSLOT", slot, "MIGRATING", found.node_id(target))
        source.do("MIGRATE", engines.HOST, target.port, "{jwta:}e", 0, 5000)
        assert fails(store.end, second.id, "logout") == "TryAgainError"
        assert store.advance(second.id, 1, 2, None).advanced, "its key is in one place"
        assert store.ended(None, RETENTION).grant_ids == (first.id,)
        migrate(source, target, found, "{jwta:}")
        assert store.end(second.id, "logout")


@each_kind
@pytest.mark.xdist_group("migration-valkey")
def test_nothing_that_is_half_moved_is_taken_for_missing(kind: str) -> None:
    with engines.Cluster("valkey") as found, opened(kind, found.url) as store:
        plain, used = a_grant("a"), a_grant("a", label="phone", idle_limit=60.0)
        for grant in (plain, used):
            store.add(grant, 100)
        store.use(used.id)
        ended = a_grant("a")
        store.add(ended, 100)
        store.end(ended.id, "logout")
        expected = store.advance(used.id, 1, 1, None).grant
        assert expected is not None
        source = owner(found, "{jwta:}")
        target = next(one for one in found.servers if one is not source)
        slot = source.do("CLUSTER KEYSLOT", "{jwta:}")
        target.do("CLUSTER SETSLOT", slot, "IMPORTING", found.node_id(source))
        source.do("CLUSTER SETSLOT", slot, "MIGRATING", found.node_id(target))
        keys = RedisStore(None, retention=700)

        def move(*names: bytes) -> None:
            for name in names:
                source.do("MIGRATE", engines.HOST, target.port, name, 0, 5000)

        # Its row and what is beside it at one node, at two, and again at one.
        generation = 1
        for step in ((), (keys._verbs.row(used.id),), (keys._verbs.beside(used.id),)):
            move(*step)
            advanced, row = store.advance(used.id, generation, generation + 1, "parent")
            generation += 1
            assert advanced
            assert row is not None
            assert row == replace(
                expected, generation=generation, parent="parent", rotated_at=row.rotated_at
            )
        assert store.advance(plain.id, 1, 2, None).grant is not None, "it has nothing beside"
        assert fails(store.use, plain.id) == "TryAgainError"
        store.use(used.id)  # both are at one node
        # The index and the log have gone ahead: no living grant may be left out of the index.
        move(keys._verbs.index(used.subject), keys._verbs.logs["a"])
        for verb, *args in ((store.grants,), (store.end_subject, "logout")):
            fails(verb, used.subject, *args)
        fails(store.add, a_grant("a"), 100)
        migrate(source, target, found, "{jwta:}")
        assert {one.id for one in store.grants(used.subject)} == {plain.id, used.id}
        assert set(store.end_subject(used.subject, "logout")) == {plain.id, used.id}


@each_kind
def test_a_cluster_that_is_gone_costs_a_503(kind: str) -> None:
    with engines.Cluster("valkey") as found, opened(kind, found.url) as store:
        grants = [a_grant(letter) for letter in SHARDS]
        for grant in grants:
            store.add(grant, 100)
        for server in found.servers:
            server.kill()
        for grant in grants:
            fails(store.advance, grant.id, 1, 2, None)
        fails(store.ended, None, RETENTION)
        for server in found.servers:
            server.launch()
        engines.until(lambda: all(found.is_ok(one) for one in found.servers))
        assert engines.until(lambda: store.ended(None, RETENTION))


@each_kind
@pytest.mark.parametrize(
    "engine",
    [
        pytest.param("redis", marks=pytest.mark.xdist_group("failover")),
        pytest.param("valkey", marks=[pytest.mark.long, pytest.mark.xdist_group("failover")]),
    ],
)
def test_a_clusters_failover_under_load(engine: str, kind: str) -> None:
    with engines.Cluster(engine, replicas=True) as found, opened(kind, found.url) as store:
        grants = [a_grant(letter) for letter in SHARDS]
        for grant in grants:
            store.add(grant, 100)
        assert store.end(grants[0].id, "logout")
        cursor = store.ended(None, RETENTION).cursor
        with Load(store, grants[1:]) as load:
            load.goes_on()
            first = found.servers[1]
            kill_replicated(first, [found.servers[4]])
            engines.until(lambda: load.faults)
            load.goes_on()
        for grant in grants[1:]:
            assert store.end(grant.id, "logout")
        assert set(store.ended(cursor, RETENTION).grant_ids) == {grant.id for grant in grants}
