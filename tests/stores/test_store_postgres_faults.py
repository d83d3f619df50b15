"""Real faults of the server and the network: one kind of error, nothing half done, then it goes on.

Each is met by both kinds of the store, called in the same way.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from random import Random
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from jwt_middleware.stores.postgres import (
    AsyncPostgresStore,
    PostgresStore,
    connections,
    server_check,
)
from jwt_middleware.stores.postgres import verbs as postgres_verbs
from jwt_middleware.stores.postgres.sql import statements
from jwt_middleware.stores.postgres.verbs import VerbOptions, Verbs
from jwt_middleware.stores.postgres.wire import Rows, Statement
from jwt_middleware.values import flows
from jwt_middleware.values.errors import ConfigurationError, StoreUnavailable
from jwt_middleware.values.tokens import FrozenDict
from tests.engines.postgres import Server, ask, postgres, session
from tests.engines.proxy import Proxy
from tests.processes import free_port
from tests.stores import RETENTION, new_grant
from tests.waiting import until

SECRET = "a-value-that-no-error-shows"
TIMEOUT = 2.0  # seconds
SLACK = 2.0  # seconds for what a busy machine does beside


class Calls:
    """A store of either kind. An awaited one has its loop in a thread of its own."""

    def __init__(self, kind: type[Any], url: str = "", pool: Any = None, **options: Any) -> None:
        self._loop = asyncio.new_event_loop() if kind is AsyncPostgresStore else None
        if self._loop is not None:
            self._thread = Thread(target=self._loop.run_forever)
            self._thread.start()
        options = {"retention": RETENTION, "timeout": TIMEOUT, **options}
        self.store: Any = kind.from_pool(pool, **options) if pool else kind(url, **options)

    def wait_for(self, coroutine: Any) -> Any:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        call = getattr(self.store, verb)
        return call if self._loop is None else lambda *args: self.wait_for(call(*args))

    def close(self) -> None:
        if self._loop is None:
            self.store.close()
            return
        self.wait_for(self.store.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


Open = Callable[..., Calls]


@pytest.fixture(params=[PostgresStore, AsyncPostgresStore], ids=["sync", "async"])
def open_store(request: pytest.FixtureRequest) -> Iterator[Open]:
    opened: list[Calls] = []

    def open_(url: str = "", **options: Any) -> Calls:
        opened.append(Calls(request.param, url, **options))
        return opened[-1]

    yield open_
    for one in opened:
        one.close()


@pytest.fixture
def wire(postgres_url: str) -> Iterator[Proxy]:
    port = urlsplit(postgres_url).port
    assert port is not None
    with Proxy(port) as proxy:
        yield proxy


@pytest.fixture
def wired_url(postgres_url: str, wire: Proxy) -> str:
    return postgres_url.replace(f":{urlsplit(postgres_url).port}", f":{wire.port}")


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server().start()
    yield one
    one.stop()


def verbs(store: Any) -> list[Callable[[], object]]:
    grant = new_grant(id=SECRET, subject=SECRET, scope=SECRET)
    return [
        lambda: store.add(grant, 1),
        lambda: store.advance(SECRET, 1, 2, SECRET),
        lambda: store.advance(SECRET, 1, 1, None),
        lambda: store.end(SECRET, SECRET),
        lambda: store.end_subject(SECRET, SECRET),
        lambda: store.admit(SECRET, 1.0),
        lambda: store.purge(1.0),
        lambda: store.grants(SECRET),
        lambda: store.ended(None, RETENTION),
        lambda: store.end_before(1.0),
        lambda: store.is_living(SECRET),
    ]


def assert_unavailable(call: Callable[[], object], detail: str | None = None) -> float:
    """Expect the one error, soon; return the seconds that it took."""
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable, match=detail) as caught:
        call()
    took = time.monotonic() - begun
    assert took < TIMEOUT + 0.5 + SLACK
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__
    return took


# --- the server goes away and comes back


def test_a_killed_server_is_an_error_at_once_and_none_when_it_is_back(
    server: Server, open_store: Open
) -> None:
    store = open_store(server.url())
    store.add(new_grant(time.time(), id="grant"), 1)
    server.kill()
    for call in verbs(store):
        assert assert_unavailable(call) < TIMEOUT, "nobody waits for what isn't there"
    server.start()
    assert store.advance("grant", 1, 2, None).advanced, "the first request that comes"
    with ThreadPoolExecutor(5) as threads:  # fills the pool
        list(threads.map(lambda _: store.grants("alice"), range(50)))
    server.kill()
    server.start()
    for _ in range(10):
        assert store.end("nothing", "logout") is False, "what died meanwhile is not used"


def test_what_was_acknowledged_survives_a_kill_in_the_middle_of_a_load(
    server: Server, open_store: Open
) -> None:
    store = open_store(server.url())
    store.check()
    done: list[tuple[str, int, str | None]] = []
    stopping = Event()

    def load(number: int) -> None:
        for step in range(100_000):
            if stopping.is_set():
                return
            grant = new_grant(time.time(), id=f"grant {number} {step}", subject=f"user {number}")
            with suppress(StoreUnavailable):
                store.add(grant, 1000)
                done.append((grant.id, 1, None))
                if store.advance(grant.id, 1, 2, "parent").advanced:
                    done[done.index((grant.id, 1, None))] = (grant.id, 2, None)
                if step % 2 and store.end(grant.id, "logout"):
                    done[done.index((grant.id, 2, None))] = (grant.id, 2, "logout")

    threads = [Thread(target=load, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        time.sleep(Random().uniform(0.2, 0.5))
        server.kill()
        server.start()
    reached = len(done)
    deadline = time.monotonic() + 20
    while len(done) < reached + 20:
        assert time.monotonic() < deadline, "it goes on"
        time.sleep(0.01)
    stopping.set()
    for thread in threads:
        thread.join()
    for grant_id, generation, reason in done:
        row = store.advance(grant_id, 0, 0, None).grant
        assert row is not None
        # More may have been done than was acknowledged, never less.
        assert row.generation >= generation
        assert reason is None or row.end_reason == reason


def test_a_rotation_that_a_crash_took_back_is_as_if_it_had_not_been(open_store: Open) -> None:
    server = Server(wal_writer_delay="10s").start()
    try:
        store = open_store(server.url(), synchronous_commit="off")
        store.add(new_grant(time.time(), id="grant"), 1)
        assert store.advance("grant", 1, 2, "parent").advanced
        server.kill()
        server.start()
        row = store.advance("grant", 0, 0, None).grant
        assert row is not None, "a login waits for the disk"
        assert (row.generation, row.parent) == (1, None)
        assert store.advance("grant", 1, 2, None).advanced, "Restored"
        assert store.end("grant", "logout")
        server.kill()
        server.start()
        row = store.advance("grant", 0, 0, None).grant
        assert row is not None
        assert (row.generation, row.end_reason) == (2, "logout"), "and all before an end, too"
    finally:
        server.stop()


def test_a_server_that_hangs_costs_its_time_and_no_more(server: Server, open_store: Open) -> None:
    store = open_store(server.url())
    store.add(new_grant(time.time(), id="grant"), 1)
    server.pause()
    try:
        for call in (*verbs(store)[:2], lambda: store.grants("alice")):
            assert assert_unavailable(call, r"TimedOut|PoolTimeout") > TIMEOUT * 0.8
        other = open_store(server.url())
        with pytest.raises(ConfigurationError, match="must be right, and the server be running"):
            other.check()
    finally:
        server.resume()
    assert store.end("grant", "logout")
    other.check()


def test_who_asks_for_ended_grants_has_all_of_the_time_and_waits_for_nobody(
    server: Server, open_store: Open
) -> None:
    store = open_store(server.url(), pool_max=1)
    store.add(new_grant(time.time(), id="grant"), 1)
    with session(server.url()) as db, ThreadPoolExecutor(2) as threads:
        db.execute("LOCK jwt_middleware.grants")
        calls = [threads.submit(assert_unavailable, partial(store.end, "grant", "")) for _ in "12"]
        before = store.ended(None, RETENTION)  # the pool's only connection is under way
        for call in calls:
            call.result()
    server.pause()
    try:
        for _ in range(2):  # on a connection that was there, and on one that is to be made
            assert assert_unavailable(partial(store.ended, before.cursor, 1.0)) > TIMEOUT * 0.8
    finally:
        server.resume()
    found = store.ended(before.cursor, RETENTION)
    assert (found.grant_ids, found.notices) == ((), ())


def test_a_read_that_takes_too_long_is_given_up_without_asking_to_cancel_it(server: Server) -> None:
    async def ask() -> float:
        store = AsyncPostgresStore(server.url(), retention=RETENTION, timeout=TIMEOUT)
        assert await store.grants("alice") == ()
        server.pause()
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await store.grants("alice")
        took = time.monotonic() - begun
        server.resume()
        assert await store.grants("alice") == ()
        await store.aclose()
        return took

    assert TIMEOUT * 0.8 < asyncio.run(ask()) < TIMEOUT + SLACK


def test_a_call_that_is_cancelled_does_not_wait_for_a_server_that_hangs(server: Server) -> None:
    async def hang_up() -> float:
        store = AsyncPostgresStore(server.url(), retention=RETENTION)
        await store.grants("alice")
        server.pause()
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(store.grants("alice"), 0.2)
        took = time.monotonic() - begun
        server.resume()
        assert await store.grants("alice") == ()
        await store.aclose()
        return took

    assert asyncio.run(hang_up()) < 0.2 + SLACK


# --- the network


def test_a_broken_connection_is_noticed_before_it_is_used(
    wire: Proxy, wired_url: str, schema: str, open_store: Open
) -> None:
    store = open_store(wired_url, schema=schema)
    store.add(new_grant(time.time(), id="grant"), 1)
    for _ in range(3):
        wire.cut()
        assert store.advance("grant", 1, 2, None).grant is not None
    assert store.end("grant", "logout")


def test_a_write_that_may_have_been_done_is_not_done_again(
    wire: Proxy, wired_url: str, schema: str, open_store: Open
) -> None:
    store = open_store(wired_url, schema=schema, pool_max=1)
    store.add(new_grant(time.time(), id="grant"), 1)
    for _ in range(2):  # the second time prepares it
        store.advance("grant", 0, 1, None)
    wire.reset_after_answer()
    assert_unavailable(lambda: store.advance("grant", 1, 2, "parent"), "OperationalError")
    advanced, row = store.advance("grant", 1, 2, "parent")
    assert not advanced
    assert (row.generation, row.parent) == (2, "parent"), "the client's retry is Repeated"
    for _ in range(2):
        store.end("nothing", "logout")
    wire.reset_after_answer()
    assert_unavailable(lambda: store.end("grant", "logout"), "OperationalError")
    assert store.advance("grant", 2, 2, None).grant.end_reason == "logout"


def test_a_read_is_asked_again(wire: Proxy, wired_url: str, schema: str, open_store: Open) -> None:
    store = open_store(wired_url, schema=schema)
    store.add(new_grant(time.time(), id="grant"), 1)
    reads: list[Callable[[], Any]] = [
        lambda: store.advance("grant", 1, 1, None).grant.id,
        lambda: store.grants("alice")[0].id,
        lambda: store.ended(None, RETENTION).grant_ids,
        lambda: store.is_living("grant"),
    ]
    for read in reads:
        expected = read()
        wire.reset_after_answer()
        assert read() == expected


def test_a_wire_that_hangs_costs_its_time_and_no_more(
    wire: Proxy, wired_url: str, schema: str, open_store: Open
) -> None:
    store = open_store(wired_url, schema=schema)
    store.add(new_grant(time.time(), id="grant"), 1)
    wire.hang()
    assert assert_unavailable(lambda: store.end("grant", "logout")) > TIMEOUT * 0.8
    wire.resume()
    store.end("grant", "logout")
    assert store.grants("alice") == ()


# --- locks, and transactions that are taken back


def test_a_lock_is_waited_for_and_no_longer(
    postgres_url: str, schema: str, open_store: Open
) -> None:
    store = open_store(postgres_url, schema=schema)
    store.add(new_grant(time.time(), id="grant"), 1)
    with session(postgres_url) as db:
        db.execute(f"SELECT FROM {schema}.grants FOR UPDATE")
        took = assert_unavailable(lambda: store.end("grant", "logout"))
        assert took > TIMEOUT * 0.8
        assert len(store.grants("alice")) == 1, "reads go on"
    assert len(store.grants("alice")) == 1, "what was given up was not done later"
    assert store.end("grant", "logout")


IDLE = "SELECT count(*) = 0 FROM pg_locks WHERE NOT granted"


def test_what_is_given_up_is_given_up_by_the_server_too(postgres_url: str, schema: str) -> None:
    # The application's own pool sets no time-outs: it is asked to cancel.
    pool = ConnectionPool(postgres_url, min_size=1, max_size=2, open=True)
    apool = AsyncConnectionPool(postgres_url, min_size=1, max_size=2, open=False)
    awaited = Calls(AsyncPostgresStore, pool=apool, schema=schema)
    awaited.wait_for(apool.open())
    try:
        for store in (Calls(PostgresStore, pool=pool, schema=schema), awaited):
            store.add(new_grant(time.time(), id="grant"), 1)
            with session(postgres_url) as db:
                db.execute(f"SELECT FROM {schema}.grants FOR UPDATE")
                assert_unavailable(partial(store.end, "grant", "logout"), "TimedOut")
                # A cancellation is on its way for a moment; the lock is held meanwhile.
                until(lambda: ask(postgres_url, IDLE))
            assert len(store.grants("alice")) == 1
    finally:
        awaited.wait_for(apool.close())
        awaited.close()
        pool.close()


def test_a_pool_with_nothing_left_is_waited_for_and_no_longer(
    postgres_url: str, schema: str, open_store: Open
) -> None:
    store = open_store(postgres_url, schema=schema, pool_max=1)
    store.add(new_grant(time.time(), id="grant"), 1)
    with session(postgres_url) as db, ThreadPoolExecutor(1) as threads:
        db.execute(f"SELECT FROM {schema}.grants FOR UPDATE")
        ending = threads.submit(store.end, "grant", "logout")
        time.sleep(TIMEOUT / 4)
        begun = time.monotonic()
        with suppress(StoreUnavailable):
            store.grants("alice")
        assert time.monotonic() - begun < TIMEOUT + SLACK
        with pytest.raises(StoreUnavailable):
            ending.result()


def test_a_transaction_that_was_taken_back_is_tried_again(postgres_url: str, schema: str) -> None:
    with (
        ConnectionPool(postgres_url, min_size=1, max_size=1) as pool,
        session(postgres_url) as db,
        ThreadPoolExecutor(1) as threads,
    ):
        store = PostgresStore.from_pool(pool, retention=RETENTION, schema=schema)
        store.add(new_grant(time.time(), id="grant"), 1)
        with pool.connection() as connection:
            connection.execute("SET default_transaction_isolation = serializable")
        db.execute(f"UPDATE {schema}.grants SET generation = 2")
        advancing = threads.submit(store.advance, "grant", 1, 2, "parent")
        while not ask(postgres_url, "SELECT count(*) FROM pg_locks WHERE NOT granted"):
            time.sleep(0.01)
        db.commit()
        advanced, row = advancing.result()
    assert not advanced
    assert row is not None
    assert row.generation == 2


def test_no_login_escapes_a_log_out_everywhere_that_waits(
    postgres_url: str, schema: str, open_store: Open
) -> None:
    store = open_store(postgres_url, schema=schema, timeout=5)
    old, new = new_grant(time.time()), new_grant(time.time())
    store.add(old, 5)
    with session(postgres_url) as db, ThreadPoolExecutor(2) as threads:
        db.execute(f"UPDATE {schema}.grants SET generation = 2")  # a refresh on its way
        ending = threads.submit(store.end_subject, "alice", "logout")
        until_waiting(postgres_url, 1)
        adding = threads.submit(store.add, new, 5)
        until_waiting(postgres_url, 2)
        db.commit()
        assert ending.result() == (old.id,)
        assert adding.result() == ()
    assert [one.id for one in store.grants("alice")] == [new.id], "it came after"


def test_a_login_ends_nobody_where_a_log_out_makes_room_meanwhile(
    postgres_url: str, schema: str, open_store: Open
) -> None:
    store = open_store(postgres_url, schema=schema, timeout=5)
    first, second, third = (new_grant(time.time() + number) for number in range(3))
    store.add(first, 5)
    store.add(second, 5)
    with session(postgres_url) as db, ThreadPoolExecutor(1) as threads:
        db.execute(f"UPDATE {schema}.grants SET generation = 2 WHERE id = '{first.id}'")
        adding = threads.submit(store.add, third, 2)
        until_waiting(postgres_url, 1)
        assert store.end(second.id, "logout")
        db.commit()
        assert adding.result() == ()
    assert {one.id for one in store.grants("alice")} == {first.id, third.id}


def test_a_login_that_comes_between_two_questions_is_no_living_row_that_did_not_advance(
    postgres_url: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = Verbs._ask

    def late(self: Verbs, verb: str, /, **params: Any) -> flows.Flow[Rows]:
        asked.append(verb)
        rows = yield from real(self, verb, **params)
        if asked == ["advance"]:
            yield from self.add(new_grant(time.time(), id="grant"), 1)
        return rows

    monkeypatch.setattr(Verbs, "_ask", late)
    with postgres(postgres_url, schema=schema) as store:
        advanced, grant = store.advance("grant", 1, 2, "parent")
    assert asked == ["advance", "add", "read", "advance"]
    assert advanced
    assert grant is not None
    assert (grant.generation, grant.parent) == (2, "parent")


def until_waiting(url: str, count: int) -> None:
    while ask(url, "SELECT count(*) FROM pg_locks WHERE NOT granted") < count:
        time.sleep(0.01)


def test_sessions_that_would_not_see_each_other_are_refused(postgres_url: str, schema: str) -> None:
    isolation = "?options=-c%20default_transaction_isolation%3Dserializable"
    with ConnectionPool(postgres_url + isolation, min_size=1) as pool:
        store = PostgresStore.from_pool(pool, retention=RETENTION, schema=schema)
        with pytest.raises(ConfigurationError, match="sessions are serializable"):
            store.check()
    with postgres(postgres_url + isolation, schema=schema) as store:
        store.check()  # its own it sets right


def test_a_deadlock_is_got_out_of(postgres_url: str, schema: str, open_store: Open) -> None:
    # The server looks for a deadlock once in a wait: that of the store shall be the later one.
    url = f"{postgres_url}?options=-c%20deadlock_timeout%3D2s"
    store = open_store(url, schema=schema, timeout=9)
    for one in ("a", "b"):
        store.add(new_grant(time.time(), id=one), 5)
    with session(postgres_url) as db, ThreadPoolExecutor(1) as threads:
        db.execute("SET deadlock_timeout = '60s'")
        db.execute(f"UPDATE {schema}.grants SET scope = '' WHERE id = 'b'")
        ending = threads.submit(store.end_subject, "alice", "logout")
        while not ask(postgres_url, "SELECT count(*) FROM pg_locks WHERE NOT granted"):
            time.sleep(0.01)
        db.execute(f"UPDATE {schema}.grants SET scope = '' WHERE id = 'a'")
        db.commit()
        assert set(ending.result()) == {"a", "b"}


def test_nothing_is_tried_for_ever() -> None:
    slept: list[float] = []
    asked: list[str] = []

    def fetch(statement: Statement) -> flows.Flow[Rows]:
        asked.append(statement.sql)
        return (yield from flows.ask(fail))

    def fail() -> Rows:
        raise psycopg.errors.DeadlockDetected

    known = statements("x", is_waiting=True)
    verbs = Verbs(VerbOptions("x", known, 1.0, True, float, slept.append), fetch)
    with pytest.raises(psycopg.errors.DeadlockDetected):
        flows.run(verbs.end("grant", "logout"))
    assert asked == [known["end"]] * postgres_verbs.TRIES
    assert len(slept) == postgres_verbs.TRIES - 1


# --- no room, no writing, no right database


def test_a_full_disk_takes_back_the_whole_step(open_store: Open) -> None:
    # No file may grow beyond, as when a quota is used up; those of the log are smaller.
    server = Server(wal_segment="1").start()
    try:
        store = open_store(server.url(), timeout=5)
        store.add(new_grant(time.time(), id="old"), 1)
        server.kill()
        server.start(largest_file=2 << 20)
        random = Random(1)
        kinds = set()
        for _ in range(40):
            grant = new_grant(time.time(), subject="bob", claims=noise(random))
            try:
                store.add(grant, 100)
            except StoreUnavailable as error:
                kinds.add(error.detail)
        # The server has no name for "file too large", and one for "no space left".
        assert kinds
        assert kinds <= {"DiskFull", "InternalError_"}
        claims = noise(random)
        assert_unavailable(lambda: store.add(new_grant(time.time(), claims=claims), 1))
        assert [one.id for one in store.grants("alice")] == ["old"], "nor was the old one ended"
        server.kill()
        server.start()
        assert store.add(new_grant(time.time(), claims=claims), 1) == ("old",)
    finally:
        server.stop()


def noise(random: Random) -> FrozenDict:
    """Return claims of 200 kB that don't get smaller."""
    return FrozenDict(noise=b64encode(random.randbytes(150_000)).decode())


def test_a_server_that_is_read_only_is_found_at_the_start_and_later(
    postgres_url: str, schema: str, open_store: Open
) -> None:
    url = f"{postgres_url}?application_name={schema}"
    store = open_store(url, schema=schema)
    store.add(new_grant(time.time(), id="grant"), 1)
    ask(postgres_url, "ALTER SYSTEM SET default_transaction_read_only = on")
    ask(postgres_url, "SELECT pg_reload_conf()")
    try:
        while ask(postgres_url, "SELECT current_setting('default_transaction_read_only')") != "on":
            time.sleep(0.01)
        with pytest.raises(ConfigurationError, match=r"read-only \(give the primary's address"):
            store.check()
        assert_unavailable(lambda: store.end("grant", "logout"), "ReadOnlySqlTransaction")
        assert len(store.grants("alice")) == 1, "reads go on"
    finally:
        with session(postgres_url, autocommit=True) as db:
            db.execute("SET default_transaction_read_only = off")
            db.execute("ALTER SYSTEM RESET default_transaction_read_only")
            db.execute("SELECT pg_reload_conf()")
    while ask(postgres_url, "SELECT current_setting('default_transaction_read_only')") == "on":
        time.sleep(0.01)
    assert store.end("grant", "logout")


def test_another_encoding_is_found_at_the_start(
    postgres_url: str, schema: str, open_store: Open
) -> None:
    ask(
        postgres_url,
        f"CREATE DATABASE {schema} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0",
    )
    try:
        url = f"{postgres_url.rpartition('/')[0]}/{schema}"
        with pytest.raises(ConfigurationError, match="encoding is LATIN1"):
            open_store(url).check()
    finally:
        ask(postgres_url, f"DROP DATABASE {schema} WITH (FORCE)")


def test_an_old_server_is_found_at_the_start(
    postgres_url: str, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_check, "OLDEST_SERVER", 99)
    store = open_store(postgres_url)
    with pytest.raises(ConfigurationError, match="is too old"):
        store.check()
    assert_unavailable(lambda: store.grants("alice"), "is too old")


@pytest.mark.parametrize("wrong", ["host", "database"])
def test_an_address_that_leads_nowhere_is_found_at_the_start(
    postgres_url: str, open_store: Open, wrong: str
) -> None:
    url = postgres_url.rpartition("/")[0]
    url = f"{url}/not_there" if wrong == "database" else "postgresql://u:secret@127.0.0.1:1/db"
    store = open_store(url)
    with pytest.raises(ConfigurationError, match="can't be used: OperationalError") as caught:
        store.check()
    assert "secret" not in str(caught.value)
    assert "database, user and password must be right" in str(caught.value.remedy)
    assert_unavailable(lambda: store.grants("alice"), "OperationalError")


def test_a_lock_on_the_schema_is_found_at_the_start(
    postgres_url: str, schema: str, open_store: Open
) -> None:
    store = open_store(postgres_url, schema=schema)
    store.check()
    with session(postgres_url) as db:
        db.execute(f"LOCK {schema}.version")
        with pytest.raises(ConfigurationError, match=r"no session hold a lock|that holds a lock"):
            open_store(postgres_url, schema=schema).check()


def test_many_first_requests_wait_for_one_look_and_no_longer(
    postgres_url: str, schema: str, open_store: Open
) -> None:
    open_store(postgres_url, schema=schema).check()
    store = open_store(postgres_url, schema=schema)
    with session(postgres_url) as db, ThreadPoolExecutor(8) as threads:
        db.execute(f"LOCK {schema}.version")
        calls = [
            threads.submit(
                assert_unavailable,
                partial(store.grants, "alice"),
                r"TimedOut|Timeout|QueryCanceled|LockNot",
            )
            for _ in range(8)
        ]
        for call in calls:
            call.result()
    assert store.grants("alice") == ()


def test_while_the_server_is_down_the_driver_warns_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "psycopg.pool"):
        (seldom,) = [
            one
            for one in logging.getLogger("psycopg.pool").filters
            if isinstance(one, connections._SeldomWarned)
        ]
        seldom._next = -math.inf
        store = PostgresStore(f"postgresql://127.0.0.1:{free_port()}/x", retention=RETENTION)
        store._is_prepared = True  # or a connection beside the pool would fail first
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                store.grants("alice")
        store.close()
        logger = logging.getLogger("psycopg.pool")
        logger.warning("error connecting in %r: %s", "the application's", "refused")
        seldom._next = -math.inf
        logger.warning("error connecting in %r: %s", connections.POOL_NAME, "a minute later")
    warned = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert len(warned) == 3
    assert warned[0].startswith("error connecting in 'jwt_middleware'")
    assert warned[1:] == [
        'error connecting in "the application\'s": refused',
        "error connecting in 'jwt_middleware': a minute later",
    ]
