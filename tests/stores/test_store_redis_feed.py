"""The feed of ended grants and the mark of a mass end in Redis and Valkey: nothing is missed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Self

import pytest

from jwt_middleware import StoreUnavailable
from jwt_middleware.stores import PAGE, SHARDS, Ended, Mark
from jwt_middleware.stores.redis import AsyncRedisStore, RedisStore, feed, server_facts
from jwt_middleware.stores.redis.rows import unpacked_mark
from jwt_middleware.stores.redis.start_checks import RIGHTS_TO_SERVE
from jwt_middleware.testing import Clock
from tests.engines import redis as engines
from tests.stores import RETENTION, new_grant
from tests.stores.test_store_redis_faults import (
    a_grant,
    each_kind,
    fails,
    migrate,
    on_each_engine,
    opened,
    owner,
)

park = engines.park
HOUR = 3600.0


def begun(store: Any, count: int, **changes: Any) -> list[str]:
    """Begin grants, and return their ids."""
    fields = {"expires_at": time.time() + 4 * HOUR, **changes}
    grants = [new_grant(time.time(), **fields) for _ in range(count)]
    for one in grants:
        store.add(one, 1000)
    return [one.id for one in grants]


def ended(store: Any, count: int) -> list[str]:
    """Begin grants and end each of them; return their ids."""
    ids = begun(store, count)
    for one in ids:
        assert store.end(one, "logout")
    return ids


def read_on(store: Any, cursor: Any, horizon: float = RETENTION) -> tuple[list[str], Any]:
    """Return what all pages from a cursor on have, and the cursor after them."""
    found: list[str] = []
    while True:
        answer: Ended = store.ended(cursor, horizon)
        assert len(answer.grant_ids) <= PAGE
        found += answer.grant_ids
        cursor = answer.cursor
        if not answer.more:
            return found, cursor


def scores(server: Any, ids: Iterable[str]) -> list[float]:
    """Return the scores of ended grants of alice's."""
    log = f"{{jwt{next(iter(ids))[0]}:}}e"
    return [server.do("ZSCORE", log, one) for one in ids]


def write_ends(server: Any, letter: str, ends: dict[str, float]) -> None:
    """Write ends as a process of the former version does."""
    flat = [part for one, score in ends.items() for part in (score, one)]
    for begin in range(0, len(flat), 20_000):
        server.do("ZADD", f"{{jwt{letter}:}}e", *flat[begin : begin + 20_000])


@contextmanager
def shifted(server: Any, kind: str = "waiting") -> Generator[tuple[Any, Clock], None, None]:
    """Open a store whose clock can be set."""
    clock = Clock()
    with opened(kind, server.url, offset=lambda: clock.offset) as store:
        yield store, clock


# --- numbers that only grow


@on_each_engine
def test_each_end_has_a_higher_number(park: engines.Park, engine: str) -> None:
    server = park("own", engine)
    with shifted(server) as (store, clock):
        ids = begun(store, 50)
        assert set(store.end_subject("alice", "logout")) == set(ids)
        numbers = scores(server, ids)
        assert numbers == sorted(set(numbers)), "in one script, in one millisecond"
        assert numbers[0] == pytest.approx(1000 * time.time(), abs=5000)
        clock.advance(-HOUR)
        (late,) = ended(store, 1)
        assert scores(server, [late])[0] == numbers[-1] + 1 / 1024
        clock.advance(HOUR)
        (last,) = ended(store, 1)
        assert scores(server, [last])[0] > numbers[-1] + 1 / 1024


@each_kind
@on_each_engine
def test_each_end_is_read_once(park: engines.Park, engine: str, kind: str) -> None:
    with shifted(park("own", engine), kind) as (store, _):
        _, cursor = read_on(store, None)
        found: list[str] = []
        expected: list[str] = []
        for _ in range(30):
            expected += ended(store, 2)
            expected += begun(store, 5)
            store.end_subject("alice", "disabled")
            for _ in range(2):
                ids, cursor = read_on(store, cursor)
                found += ids
        assert sorted(found) == sorted(expected)


@on_each_engine
def test_an_end_by_a_former_process_below_the_highest_number_is_read(
    park: engines.Park, engine: str
) -> None:
    server = park("own", engine)
    with shifted(server) as (store, _):
        clock = store._verbs
        log = "{jwta:}e"
        _, cursor = read_on(store, None)
        now = int(1000 * time.time())
        # Many ends at once have pushed the numbers a minute ahead of the clock, not more.
        write_ends(server, "a", {"ahead": now + 50_000})
        found, cursor = read_on(store, cursor)
        assert found == ["ahead"]
        server.do("ZADD", log, int(1000 * time.time()), "former")
        found, cursor = read_on(store, cursor)
        assert found == ["former"]
        assert read_on(store, cursor)[0] == []
        assert clock.serve


@on_each_engine
def test_answers_are_pages(park: engines.Park, engine: str) -> None:
    server = park("own", engine)
    with shifted(server) as (store, _):
        now = int(1000 * time.time())
        ends = {f"a{number}": now - 600_000 + number / 8 for number in range(23_000)}
        write_ends(server, "a", ends)
        # So many that a former process ended at once have one number.
        same = {f"b{number}": now - 500_000.0 for number in range(2_000)}
        write_ends(server, "b", same | {"b first": now - 500_001, "b last": now - 499_999})
        answer = store.ended(None, RETENTION)
        assert answer.more
        found, cursor = read_on(store, None)
        assert set(found) == {*ends, *same, "b first", "b last"}
        assert len(found) < 1.01 * len(set(found))
        assert read_on(store, cursor)[0] == []


# --- another history


def answers(store: Any) -> bool:
    """Say whether a store is reached; it may find its connection dead first."""
    with suppress(StoreUnavailable):
        store.is_living("none")
        return True
    return False


def notices(answer: Ended) -> list[str]:
    return list(answer.notices)


@each_kind
@on_each_engine
@pytest.mark.parametrize("behind", [0, 3])
def test_a_failover_that_lost_ends_hides_none_of_the_new_ones(
    engine: str, kind: str, behind: int
) -> None:
    clock = Clock()
    with (
        engines.Server(engine) as primary,
        engines.Server(engine) as replica,
        engines.Wire(primary.port) as wire,
        opened(kind, wire.url, offset=lambda: clock.offset) as store,
    ):
        replica.do("REPLICAOF", engines.HOST, primary.port)
        engines.until(lambda: engines.follows(replica))
        new = begun(store, 40)
        kept = ended(store, 5)
        found, cursor = read_on(store, None)
        assert set(found) == set(kept)
        engines.until(lambda: engines.offset(replica) == engines.offset(primary))
        replica.do("REPLICAOF", "NO", "ONE")
        lost = ended(store, 20)
        found, cursor = read_on(store, cursor)
        assert set(found) == set(lost)
        primary.kill()
        wire.to = replica.port
        clock.advance(-behind)
        engines.until(partial(answers, store))
        for one in new:
            assert store.end(one, "logout")
        answer = store.ended(cursor, RETENTION)
        assert set(answer.grant_ids) == {*kept, *new}
        assert notices(answer) == [feed.OTHER_HISTORY]
        answer = store.ended(answer.cursor, RETENTION)
        assert (answer.grant_ids, answer.notices) == ((), ())


@each_kind
@on_each_engine
def test_a_server_started_anew_from_a_snapshot_hides_no_end(engine: str, kind: str) -> None:
    snapshots = ("--save", "3600", "1000000")
    with engines.Server(engine, *snapshots) as server, opened(kind, server.url) as store:
        ids = ended(store, 3)
        server.do("SAVE")
        ids += ended(store, 3)
        cursor = store.ended(None, RETENTION).cursor
        server.kill()
        server.start()
        engines.until(partial(answers, store))
        answer = store.ended(cursor, RETENTION)
        assert set(answer.grant_ids) == set(ids[:3])
        assert notices(answer) == [feed.OTHER_HISTORY]


@each_kind
@on_each_engine
def test_a_clock_set_back_hides_no_end_of_a_former_process(
    park: engines.Park, engine: str, kind: str
) -> None:
    server = park("own", engine)
    with shifted(server, kind) as (store, clock):
        ids = ended(store, 3)
        _, cursor = read_on(store, None)
        clock.advance(-HOUR)
        write_ends(server, "a", {"former": 1000 * clock()})
        answer = store.ended(cursor, RETENTION)
        assert set(answer.grant_ids) == {*ids, "former"}
        (notice,) = answer.notices
        assert "set back by 3" in notice
        late = ended(store, 2)
        answer = store.ended(answer.cursor, RETENTION)
        assert (set(answer.grant_ids), answer.notices) == (set(late), ())
        assert store.ended(answer.cursor, RETENTION).grant_ids == ()


@on_each_engine
def test_a_small_step_back_of_the_clock_is_nothing_to_tell(park: engines.Park, engine: str) -> None:
    server = park("own", engine)
    with shifted(server) as (store, clock):
        _, cursor = read_on(store, None)
        clock.advance(-0.5)
        write_ends(server, "a", {"former": 1000 * clock()})
        answer = store.ended(cursor, RETENTION)
        assert (answer.grant_ids, answer.notices) == (("former",), ())


@on_each_engine
def test_data_that_was_replaced_is_noticed_while_a_clock_is_behind(
    park: engines.Park, engine: str
) -> None:
    server = park("own", engine)
    with shifted(server) as (store, clock):
        clock.advance(HOUR)
        ended(store, 1)
        _, cursor = read_on(store, None)
        clock.advance(-HOUR)
        answer = store.ended(cursor, RETENTION)
        answer = store.ended(answer.cursor, RETENTION)
        assert (answer.grant_ids, answer.notices) == ((), ())
        server.do("FLUSHALL")
        ids = ended(store, 1)
        answer = store.ended(answer.cursor, RETENTION)
        assert answer.grant_ids == tuple(ids)
        assert notices(answer) == [feed.LOST_SCORE]


# --- each read finds a replica out


@each_kind
@on_each_engine
def test_each_read_finds_out_that_it_is_on_a_replica(engine: str, kind: str) -> None:
    with (
        engines.Server(engine) as primary,
        engines.Server(engine) as replica,
        engines.Wire(primary.port) as wire,
        opened(kind, wire.url) as store,
    ):
        replica.do("REPLICAOF", engines.HOST, primary.port)
        engines.until(lambda: engines.follows(replica))
        grant, over = a_grant(), a_grant()
        for one in (grant, over):
            store.add(one, 100)
        store.end(over.id, "logout")
        cursor = store.ended(None, RETENTION).cursor
        store.check()
        engines.until(lambda: engines.offset(replica) == engines.offset(primary))
        reads: dict[str, tuple[Any, ...]] = {
            "advance": (grant.id, 1, 1, None),
            "advance from another": (grant.id, 5, 6, None),
            "advance of none": ("none", 1, 2, None),
            "grants": (grant.subject,),
            "is_living": (grant.id,),
            "ended": (cursor, RETENTION),
            "ended for None": (None, RETENTION),
            "end of none": ("none", "logout"),
            "end of an ended one": (over.id, "logout"),
        }
        if kind == "waiting":
            reads["page"] = (None, 10)
        for words, args in reads.items():
            verb = getattr(store, words.split(" ")[0])
            verb(*args)
            wire.to = replica.port
            wire.cut()
            getattr(store, "rest", time.sleep)(0.05)
            before = wire.connections
            assert fails(verb, *args) in {"ReadOnlyError", "ConnectionError"}, words
            assert fails(verb, *args) == "ReadOnlyError", words
            wire.to = primary.port
            verb(*args)  # on a new connection
            assert wire.connections > before


@on_each_engine
def test_what_can_be_read_is_read_though_nothing_can_be_written(
    park: engines.Park, engine: str
) -> None:
    server = park("own", engine)
    with opened("waiting", server.url) as store:
        grant = a_grant()
        store.add(grant, 100)
        server.do("CONFIG SET", "min-replicas-to-write", "1")
        try:
            assert store.advance(grant.id, 1, 1, None).grant is not None
            assert store.advance("none", 1, 1, None).grant is None
            assert store.is_living(grant.id)
            assert len(store.grants(grant.subject)) == 1
        finally:
            server.do("CONFIG SET", "min-replicas-to-write", "0")


# --- the mark


def test_a_mark_may_be_damaged() -> None:
    assert unpacked_mark(None) is None
    assert unpacked_mark(b"1500 2500") == Mark(1.5, 2.5)
    for text in (b"", b"1", b"a b"):
        with pytest.raises(StoreUnavailable, match="damaged"):
            unpacked_mark(text)


@on_each_engine
def test_the_mark_stays_for_ever_in_each_shard(park: engines.Park, engine: str) -> None:
    server = park("own", engine)
    with opened("waiting", server.url) as store:
        grant = a_grant()
        store.add(grant, 100)
        mark = store.end_before(None)
        texts = {server.do("GET", f"{{jwt{letter}:}}t") for letter in SHARDS}
        assert {unpacked_mark(text.encode()) for text in texts} == {mark}
        assert {server.do("PTTL", f"{{jwt{letter}:}}t") for letter in SHARDS} == {-1}
        assert store.page(None, 100).grants == ()
        new = a_grant()
        store.add(new, 100)
        assert [one.id for one in store.page(None, 100).grants] == [new.id]


@each_kind
@on_each_engine
def test_a_mass_end_waits_for_replicas(park: engines.Park, engine: str, kind: str) -> None:
    url = f"{park('own', engine).url}?wait_replicas=1&wait_timeout=0.05"
    with opened(kind, url) as store:
        for _ in range(2):
            assert fails(store.end_before, None) == "WAIT: 0 of 1 replicas"
        assert store.ended(None, RETENTION).mark is None, "the shard that readers ask comes last"


@each_kind
@pytest.mark.xdist_group("migration-valkey")
@pytest.mark.parametrize("is_made", [False, True])
@pytest.mark.parametrize("engine", engines.ENGINES)
def test_the_mark_is_found_while_a_slot_moves(engine: str, is_made: bool, kind: str) -> None:
    with engines.Cluster(engine) as found, opened(kind, found.url) as store:
        plain, late = a_grant("a"), a_grant("a")
        store.add(plain, 100)
        if is_made:
            store.end_before(None)
        store.add(late, 100)
        cursor = store.ended(None, RETENTION).cursor
        source = owner(found, "{jwta:}")
        target = next(one for one in found.servers if one is not source)
        slot = source.do("CLUSTER KEYSLOT", "{jwta:}")
        target.do("CLUSTER SETSLOT", slot, "IMPORTING", found.node_id(source))
        source.do("CLUSTER SETSLOT", slot, "MIGRATING", found.node_id(target))
        keys = {
            "nothing": None,
            "the row": store_keys().row(late.id),
            "the mark": b"{jwta:}t",
            "the other row": store_keys().row(plain.id),
        }
        generation = 1
        for key in keys.values():
            if key is not None:
                source.do("MIGRATE", engines.HOST, target.port, key, 0, 5000)
            assert store.advance(late.id, generation, generation + 1, None).advanced
            generation += 1
            row = store.advance(plain.id, 1, 1, None).grant
            assert row is not None
            assert (row.end_reason == "end_before") is is_made
            assert store.is_living(plain.id) is not is_made
            assert store.is_living(late.id)
            answer = store.ended(cursor, RETENTION)
            assert (answer.mark is not None) is is_made
        if not is_made:
            store.end_before(None)  # it is made where the slot goes to
        migrate(source, target, found, "{jwta:}")
        assert not store.is_living(plain.id)
        assert store.is_living(late.id) is is_made
        answer = store.ended(cursor, RETENTION)
        assert answer.mark is not None


def store_keys() -> Any:
    return RedisStore(None, retention=700)._verbs


# --- the feed's connection


class Plain:
    """A store of a URL, of either kind, called as the sync kind is."""

    def __init__(self, kind: str, url: str) -> None:
        made = AsyncRedisStore if kind == "awaited" else RedisStore
        self._store: Any = made.from_url(url, clock=time.time, retention=700)
        self._runner = asyncio.Runner() if kind == "awaited" else None

    def __getattr__(self, verb: str) -> Any:
        def call(*args: Any) -> Any:
            if self._runner is None:
                return getattr(self._store, verb)(*args)
            return self._runner.run(self._await(verb, args))

        return call

    async def _await(self, verb: str, args: Any) -> Any:
        return await getattr(self._store, verb)(*args)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._runner is None:
            self._store.close()
        else:
            self.aclose()
            self._runner.close()


@each_kind
@on_each_engine
def test_a_connection_that_is_seldom_used_is_not_kept(
    park: engines.Park, engine: str, kind: str
) -> None:
    server = park("own", engine)

    def names() -> int:
        return [one["name"] for one in server.do("CLIENT LIST")].count("feed")

    with Plain(kind, f"{server.url}?feed_idle={HOUR}&client_name=feed") as store:
        cursor = store.ended(None, RETENTION).cursor
        engines.until(lambda: names() == 0)  # the pause before the first question isn't known
        for _ in range(3):
            cursor = store.ended(cursor, RETENTION).cursor
            assert names() == 1
        store._store._pace._asked_at -= HOUR
        store.ended(cursor, RETENTION)
        engines.until(lambda: names() == 0)
    with Plain(kind, f"{server.url}?client_name=feed") as store:
        cursor = store.ended(None, RETENTION).cursor
        store.grants("nobody")
        store._store._pace._asked_at -= HOUR
        store.ended(cursor, RETENTION)
        assert names() == 2
    engines.until(lambda: names() == 0)


# --- the server's memory, looked at again


@each_kind
@on_each_engine
def test_a_server_that_begins_to_forget_is_told_once(
    park: engines.Park, engine: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MEMORY_EVERY", 2)
    server = park("own", engine)
    told: list[str] = []

    def polls(store: Any, cursor: Any, count: int) -> Any:
        for _ in range(count):
            answer = store.ended(cursor, RETENTION)
            told.extend(answer.notices)
            cursor = answer.cursor
        return cursor

    with opened(kind, server.url) as store, opened(kind, server.url, serve=False) as hearing:
        cursor, other = polls(store, None, 3), polls(hearing, None, 3)
        assert told == []
        server.do("CONFIG SET", "maxmemory-policy", "allkeys-lru")
        server.do("CONFIG SET", "maxmemory", "1gb")
        try:
            cursor = polls(store, cursor, 6)
            assert told == [feed.MAY_FORGET]
            server.do("SET", "other", "data")
            server.do("CONFIG SET", "maxmemory", "1")
            cursor = polls(store, cursor, 6)
        finally:
            server.do("CONFIG SET", "maxmemory", "0")
            server.do("CONFIG SET", "maxmemory-policy", "noeviction")
        assert "has evicted" in told[1]
        assert len(told) == 2
        polls(hearing, other, 6)
        polls(store, cursor, 6)
        assert len(told) == 2


@on_each_engine
def test_a_user_who_may_not_look_at_the_memory_is_served(park: engines.Park, engine: str) -> None:
    server = park("own", engine)
    rights = RIGHTS_TO_SERVE.replace("<prefix>", "jwt").replace("+info", "+info|replication")
    server.do("ACL", "SETUSER", "narrow", "reset", "on", ">secret", *rights.split())
    with opened("waiting", server.url.replace("://", "://narrow:secret@")) as store:
        store.check()
        ids = ended(store, 1)
        answer = store.ended(None, RETENTION)
        assert set(ids) <= set(answer.grant_ids)
        assert answer.notices == ()


def test_what_a_server_does_not_say_is_no_error() -> None:
    assert server_facts.history(b"# Replication\r\nrole:master\r\n") == b""
    assert server_facts.evicted(b"# Stats\r\n") == 0
