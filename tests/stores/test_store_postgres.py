"""PostgreSQL: its schema, its address, its cost, and several processes at it."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import re
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from typing import Any
from urllib.parse import urlsplit

import pytest
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from jwt_middleware.stores.postgres import (
    AsyncPostgresStore,
    PostgresStore,
    connections,
    server_check,
)
from jwt_middleware.stores.postgres import schema as postgres_schema
from jwt_middleware.stores.postgres.address import conninfo, postgres_address
from jwt_middleware.stores.postgres.schema import LOCKS, lock_sql, schema_sql
from jwt_middleware.stores.postgres.schema_levels import REFUSED_LEVEL, SCHEMA_LEVELS
from jwt_middleware.stores.postgres.sql import STATEMENTS, statements
from jwt_middleware.testing.store_contract import CASES, Case
from jwt_middleware.values.errors import ConfigurationError, StoreUnavailable
from tests.engines.postgres import ask, postgres, session
from tests.engines.proxy import Proxy
from tests.stores import RETENTION, new_grant

each_case = pytest.mark.parametrize("case", CASES, ids=str)
SPAWN = get_context("spawn")
NEWER = (
    *SCHEMA_LEVELS,
    (
        "ALTER TABLE <schema>.ends ADD COLUMN more text",
        "UPDATE <schema>.facts SET value = '5' WHERE name = 'level'",
    ),
)


@each_case
@pytest.mark.parametrize("kind", [PostgresStore, AsyncPostgresStore])
def test_postgres_keeps_the_contract(
    case: Case, kind: type, postgres_url: str, schema: str
) -> None:
    case.run(
        lambda clock, retention: kind(
            postgres_url,
            retention=retention,
            schema=schema,
            offset=lambda: clock.offset,
            synchronous_commit="off",
        )
    )


@each_case
def test_a_pool_of_the_application_keeps_the_contract(
    case: Case, postgres_url: str, schema: str
) -> None:
    with ConnectionPool(postgres_url, min_size=1, max_size=8, kwargs={"row_factory": dict_row}) as (
        pool
    ):
        case.run(
            lambda clock, retention: PostgresStore.from_pool(
                pool, retention=retention, schema=schema, offset=lambda: clock.offset
            )
        )
        with pool.connection() as connection:
            assert not connection.autocommit, "as it was"


# --- the schema is ours


def test_check_makes_the_schema_and_may_be_repeated(postgres_url: str, schema: str) -> None:
    with postgres(postgres_url, schema=schema) as store:
        store.check()
        store.add(new_grant(time.time()), 100)
        store.check()
        assert len(store.grants("alice")) == 1
    assert levels(postgres_url, schema) == (REFUSED_LEVEL, len(SCHEMA_LEVELS))


def levels(url: str, schema: str) -> tuple[int, int]:
    """Return what a former package looks at, and how far the additions have come."""
    version = ask(url, f"SELECT number FROM {schema}.version")
    return version, int(ask(url, f"SELECT value FROM {schema}.facts WHERE name = 'level'"))


def test_a_schema_of_a_newer_version_is_refused(postgres_url: str, schema: str) -> None:
    with postgres(postgres_url, schema=schema) as store:
        store.check()
    ask(postgres_url, f"UPDATE {schema}.version SET number = {len(SCHEMA_LEVELS) + 1}")
    with postgres(postgres_url, schema=schema) as store:
        with pytest.raises(ConfigurationError, match="newer version of this package") as caught:
            store.check()
        assert caught.value.field == "refresh.store"
        with pytest.raises(StoreUnavailable, match="newer version"):
            store.grants("alice")


def test_an_older_schema_is_brought_up_to_date_with_its_rows(
    postgres_url: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres(postgres_url, schema=schema) as store:
        store.add(new_grant(time.time(), id="old"), 100)
    with monkeypatch.context() as patch:
        for one in (postgres_schema, server_check):
            patch.setattr(one, "SCHEMA_LEVELS", NEWER)
        with postgres(postgres_url, schema=schema) as store:
            store.check()
            assert [one.id for one in store.grants("alice")] == ["old"]
    assert levels(postgres_url, schema) == (REFUSED_LEVEL, len(NEWER))
    assert "CREATE SCHEMA" not in schema_sql(schema, since=1)
    with postgres(postgres_url, schema=schema) as store:
        store.check()  # a level that this package doesn't know is nothing to stop at
        assert [one.id for one in store.grants("alice")] == ["old"]
    assert levels(postgres_url, schema) == (REFUSED_LEVEL, len(NEWER))


def make_at_level(
    level: int, postgres_url: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Make the schema as the package did when it knew so many levels."""
    with monkeypatch.context() as patch:
        patch.setattr(postgres_schema, "SCHEMA_LEVELS", SCHEMA_LEVELS[:level])
        ask(postgres_url, schema_sql(schema))


def test_the_first_schema_is_brought_up_to_date_and_its_grants_go_on(
    postgres_url: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_at_level(1, postgres_url, schema, monkeypatch)
    ask(
        postgres_url,
        f"INSERT INTO {schema}.grants (id, subject, client_id, scope, generation, rotated_at, "
        "created_at, expires_at) SELECT 'old', 'alice', 'web', '', 7, t, t, t + 1000 "
        "FROM date_part('epoch', now()) AS t",
    )
    with postgres(postgres_url, schema=schema) as store:
        store.check()
        advanced, row = store.advance("old", 7, 8, "parent")
        assert advanced
        assert row is not None
        assert row == store.grants("alice")[0]
        assert (row.generation, row.parent) == (8, "parent")
        assert store.end("old", "logout")
    assert levels(postgres_url, schema) == (REFUSED_LEVEL, len(SCHEMA_LEVELS))


@pytest.mark.parametrize("level", range(len(SCHEMA_LEVELS) + 1))
def test_what_is_printed_since_a_level_makes_the_same_as_check(
    postgres_url: str, schema: str, monkeypatch: pytest.MonkeyPatch, level: int
) -> None:
    if level:
        make_at_level(level, postgres_url, schema, monkeypatch)
    ask(postgres_url, schema_sql(schema, since=level))
    assert levels(postgres_url, schema) == (REFUSED_LEVEL, len(SCHEMA_LEVELS))
    with postgres(postgres_url, schema=schema) as store:
        store.check()
        store.add(new_grant(time.time(), id="one", label="phone"), 100)
        store.use("one")
        assert store.end("one", "logout")
    assert ask(postgres_url, f"SELECT id FROM {schema}.ends") == "one"
    assert ask(postgres_url, f"SELECT count(*) FROM {schema}.ends") == 1


def test_the_ends_of_the_last_day_are_kept_with_the_others(
    postgres_url: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_at_level(2, postgres_url, schema, monkeypatch)
    ask(
        postgres_url,
        f"INSERT INTO {schema}.grants (id, subject, client_id, scope, generation, rotated_at, "
        "created_at, expires_at, ended_at) SELECT back::text, 'alice', 'web', '', 1, t, t, t + 9, "
        "t - back FROM date_part('epoch', now()) AS t, "
        "unnest(ARRAY[1, 86000, 86700, 86900]) AS back",
    )
    with postgres(postgres_url, schema=schema) as store:
        store.check()
        assert set(store.ended(None, 90_000).grant_ids) == {"1", "86000", "86700"}
    found = ask(postgres_url, f"SELECT string_agg(id, ' ' ORDER BY id) FROM {schema}.ends")
    assert found == "1 86000 86700", "a token that lives a day, and what clocks differ by"


def test_an_end_is_kept_in_its_transaction_and_forgotten_after_the_retention(
    postgres_url: str, schema: str
) -> None:
    later = [0.0]
    with postgres(postgres_url, schema=schema, offset=lambda: later[0]) as store:
        for number in range(4):
            store.add(new_grant(time.time() + number, id=f"id {number}", label="x"), 3)
        store.end("id 1", "logout")
        store.end("id 1", "logout")
        store.end("nothing", "logout")
        store.end_subject("alice", "logout")
        ids = f"SELECT string_agg(ends.id, ',' ORDER BY ends.xid, ends.id) FROM {schema}.ends"
        assert ask(postgres_url, ids) == "id 0,id 1,id 2,id 3"
        same = f"{ids} JOIN {schema}.grants ON grants.id = ends.id"
        assert ask(postgres_url, f"{same} WHERE ends.ended_at = grants.ended_at") is not None
        assert ask(postgres_url, f"SELECT count(DISTINCT xid) FROM {schema}.ends") == 3
        store.purge(time.time())
        assert ask(postgres_url, ids) is not None
        later[0] = RETENTION
        assert store.purge(time.time() + RETENTION) == 4
        assert ask(postgres_url, ids) is None
        assert ask(postgres_url, f"SELECT count(*) FROM {schema}.grants_more") == 4
        later[0] = 2 * RETENTION
        assert store.purge(time.time() + 2 * RETENTION) == 4
        assert ask(postgres_url, f"SELECT count(*) FROM {schema}.grants_more") == 0, "with them"


def test_a_plain_login_writes_one_row(postgres_url: str, schema: str) -> None:
    with postgres(postgres_url, schema=schema) as store:
        store.add(new_grant(time.time(), id="plain"), 100)
        store.advance("plain", 1, 2, "parent")
        count = f"SELECT count(*) FROM {schema}.grants_more"
        assert ask(postgres_url, count) == 0
        store.use("plain")
        store.use("plain")
        assert ask(postgres_url, count) == 1


def test_to_purge_ends_reads_no_more_than_a_batch(postgres_url: str, schema: str) -> None:
    with postgres(postgres_url, schema=schema) as store:
        store.check()
        ask(
            postgres_url,
            f"INSERT INTO {schema}.ends SELECT n::text::xid8, date_part('epoch', now()), 'id' || n "
            "FROM generate_series(1, 20000) AS n",
        )
        ask(postgres_url, f"ANALYZE {schema}.ends")
        sql = statements(schema, is_waiting=True)["purge_ends"]
        asked = {"batch": 500, "retention": 700.0, "at": time.time(), "offset": 0.0}
        with session(postgres_url) as db:
            plan = db.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", asked).fetchone()
        assert plan is not None
        top = plan[0][0]["Plan"]
        assert top["Shared Hit Blocks"] + top["Shared Read Blocks"] < 30, plan


def test_the_printed_sql_makes_what_check_wants(postgres_url: str, schema: str) -> None:
    ask(postgres_url, schema_sql(schema))
    before = ask(postgres_url, f"SELECT '{schema}.grants'::regclass::oid")
    with postgres(postgres_url, schema=schema) as store:
        store.check()
        store.add(new_grant(time.time()), 100)
    assert ask(postgres_url, f"SELECT '{schema}.grants'::regclass::oid") == before


def test_threads_make_the_schema_at_once(postgres_url: str, schema: str) -> None:
    stores = [PostgresStore(postgres_url, retention=RETENTION, schema=schema) for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda store: store.check(), stores))
        list(threads.map(lambda store: store.add(new_grant(time.time()), 100), stores))
    assert len(stores[0].grants("alice")) == 8
    for store in stores:
        store.close()


def test_whoever_waited_finds_the_schema_made(postgres_url: str, schema: str) -> None:
    with postgres(postgres_url, schema=schema) as store, session(postgres_url) as db:
        db.execute(lock_sql(schema))
        with ThreadPoolExecutor(1) as threads:
            checking = threads.submit(store.check)
            wait_for_lock(postgres_url, "advisory")
            db.execute("".join(schema_sql(schema).splitlines(keepends=True)[2:-1]))
            db.commit()
            checking.result()
        assert store.grants("alice") == ()


def wait_for_lock(url: str, kind: str) -> None:
    """Wait until another session waits for a lock of a kind."""
    sql = f"SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = '{kind}'"
    deadline = time.monotonic() + 30
    while not ask(url, sql):
        assert time.monotonic() < deadline


# --- its address


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://h/db", ("postgresql://h/db", {})),
        ("postgres://u:%40@h/d?port=5", ("postgres://u:%40@h/d?port=5", {})),
        ("postgresql://h/db?timeout=2.5", ("postgresql://h/db", {"timeout": 2.5})),
        (
            "postgresql://?schema=x&options=-c%20a%3Db+c&pool_min=1&pool_max=3",
            (
                "postgresql://?options=-c%20a%3Db+c",
                {"schema": "x", "pool_min": 1, "pool_max": 3},
            ),
        ),
        (
            "postgresql:///db?synchronous_commit=OFF",
            ("postgresql:///db", {"synchronous_commit": "off"}),
        ),
    ],
)
def test_an_address_is_read(url: str, expected: object) -> None:
    assert postgres_address(url) == expected


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("postgresql://u:secret@h:port/db", "can't be read"),
        ("postgresql://u:sec/ret@h/db", "can't be read"),
        ("postgresql://u:a?secret@h/db", "no option what is given"),
        ("postgresql://h/db?pool=3", "no option 'pool'"),
        ("postgresql://h/db?pool_max=many", "pool_max can't be read"),
        ("postgresql://h/db?timeout=1&timeout=2", "timeout twice"),
        ("postgresql://h/db?timeout=9.5", "at most 9"),
        ("postgresql://h/db?timeout=0", "more than 0"),
        ("postgresql://h/db?timeout=nan", "at most 9"),
        ("postgresql://h/db?pool_max=0", "at least 1"),
        ("postgresql://h/db?feed_idle=-1", "feed_idle must not be negative"),
        ("postgresql://h/db?pool_min=3&pool_max=2", "pool_min not more"),
        ("postgresql://h/db?synchronous_commit=local", "on or off"),
        ("postgresql://h/db?schema=Robert%27)%3B", "a-z, 0-9"),
    ],
)
def test_a_wrong_address_is_refused_and_never_quoted(url: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        PostgresStore.from_url(url, clock=time.time, retention=RETENTION)
    assert caught.value.remedy
    assert not re.search("secret|/ret|sec/", str(caught.value))
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_what_can_hang_has_a_limit_and_the_address_may_set_it() -> None:
    assert "connect_timeout=5 " in conninfo("postgresql://h/db", 4.2)
    assert "connect_timeout=3" in conninfo("postgresql://h/db?connect_timeout=3", 5)
    assert "target_session_attrs" not in conninfo("postgresql://h/db", 5)
    assert "target_session_attrs=read-write" in conninfo("postgresql://a,b/db", 5)


def test_without_its_driver_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "jwt_middleware.stores.postgres.store")
    monkeypatch.setitem(sys.modules, "psycopg_pool", None)
    with pytest.raises(ConfigurationError, match=r"wsgi-asgi-jwt-middleware\[postgres\]"):
        import_module("jwt_middleware.stores.postgres.store")


# --- what it costs


class Calls:
    """Both kinds of a store, called in the same way."""

    def __init__(self, store: Any, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._store, self._loop = store, loop

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        call = getattr(self._store, verb)
        loop = self._loop
        return call if loop is None else lambda *args: loop.run_until_complete(call(*args))


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_verb_is_one_round_trip(kind: str, postgres_url: str, schema: str) -> None:
    port = urlsplit(postgres_url).port
    assert port is not None
    loop = asyncio.new_event_loop()
    with Proxy(port) as proxy:
        url = postgres_url.replace(f":{port}", f":{proxy.port}")
        store: Calls
        if kind == "sync":
            store = Calls(PostgresStore(url, retention=RETENTION, schema=schema))
        else:
            store = Calls(AsyncPostgresStore(url, retention=RETENTION, schema=schema), loop)
        grant = new_grant(time.time())
        store.check()
        assert proxy.trips < 20, "to connect, to make the schema, and to look at it"
        # The pool's own worker may connect meanwhile: it doesn't each time.
        again = []
        for _ in range(3):
            before = proxy.trips
            store.check()
            again.append(proxy.trips - before)
        assert min(again) < 10, "what is far away isn't asked for each right"
        store.add(grant, 100)
        calls: list[tuple[str, tuple[Any, ...]]] = [
            ("add", (new_grant(time.time()), 1)),
            ("add", (new_grant(time.time(), label="phone"), 1)),
            ("advance", (grant.id, 1, 2, "parent")),
            ("advance", (grant.id, 1, 2, "parent")),
            ("advance", (grant.id, 2, 2, None)),
            ("grants", ("alice",)),
            ("ended", (None, 700.0)),
            ("ended", (store.ended(None, 700.0).cursor, 700.0)),
            ("end_before", (1.0,)),
            ("is_living", (grant.id,)),
            ("use", (grant.id,)),
            ("use", ("unknown",)),
            ("end", (grant.id, "logout")),
            ("end_subject", ("alice", "logout")),
            ("admit", ("key", time.time() + 60)),
        ]
        for verb, args in calls:
            for _ in range(2):  # the second time prepares it
                getattr(store, verb)(*args)
            before = proxy.trips
            getattr(store, verb)(*args)
            assert proxy.trips == before + 1, (verb, args)
        assert proxy.connections == 6, "four of checks, one of the pool, that of `ended`"
        store.close() if kind == "sync" else store.aclose()
        loop.close()


def test_no_verb_reads_a_whole_table(postgres_url: str, schema: str) -> None:
    with postgres(postgres_url, schema=schema) as store:
        store.check()
    known = statements(schema, is_waiting=True)
    with session(postgres_url, autocommit=True) as db:
        db.execute(
            f"INSERT INTO {schema}.grants SELECT 1, n, n, n + 1000, CASE WHEN n % 2 = 0 THEN n END,"
            f" 'id' || n, 'subject' || n, 'web', '' FROM generate_series(1, 20000) AS n"
        )
        db.execute(f"INSERT INTO {schema}.grants_more (id, last_used_at) "
                   f"SELECT id, 1 FROM {schema}.grants")  # fmt: skip
        db.execute(f"INSERT INTO {schema}.ends SELECT n::text::xid8, n, 'id' || n "
                   "FROM generate_series(1, 20000) AS n")  # fmt: skip
        db.execute(f"INSERT INTO {schema}.admitted SELECT sha256(n::text::bytea), n "
                   "FROM generate_series(1, 20000) AS n")  # fmt: skip
        db.execute("ANALYZE")
        db.execute("SET plan_cache_mode = force_generic_plan")
        for verb in STATEMENTS.keys() - {"version", "level", "add", "add_with", "end_subject"}:
            names: list[str] = []

            def number(found: re.Match[str], names: list[str] = names) -> str:
                if found[1] not in names:
                    names.append(found[1])
                return f"${names.index(found[1]) + 1}"

            sql = re.sub(r"%\((\w+)\)s", number, known[verb])
            db.execute(f"PREPARE its_{verb} AS {sql}")
            nothing = ", ".join("NULL" for _ in names)
            asked = f"its_{verb}({nothing})" if names else f"its_{verb}"
            plan = db.execute(f"EXPLAIN EXECUTE {asked}").fetchall()
            text = "\n".join(line for (line,) in plan)
            assert "Seq Scan" not in text.replace("Seq Scan on facts", ""), (verb, text)


def test_a_rotation_stays_one_row_in_its_page_and_touches_no_index(
    postgres_url: str, schema: str
) -> None:
    grants = [new_grant(time.time()) for _ in range(100)]
    with postgres(postgres_url, schema=schema, synchronous_commit="off") as store:
        for grant in grants:
            store.add(grant, 1000)
        sizes = f"SELECT pg_total_relation_size('{schema}.grants')"
        before = ask(postgres_url, sizes)
        for generation in range(1, 10):
            for grant in grants:
                store.advance(grant.id, generation, generation + 1, "p" * 22)
        assert ask(postgres_url, sizes) == before
    # What the sessions counted comes with their end.
    updated = (
        "SELECT CASE WHEN n_tup_upd = 900 THEN n_tup_hot_upd END FROM pg_stat_user_tables "
        f"WHERE schemaname = '{schema}' AND relname = 'grants'"
    )
    deadline = time.monotonic() + 10
    while (found := ask(postgres_url, updated)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert found > 890, "another's look may keep a page from being tidied"


def test_a_swap_that_fails_writes_nothing(postgres_url: str, schema: str) -> None:
    written = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text"
    with postgres(postgres_url, schema=schema) as store:
        grant = new_grant(time.time())
        store.add(grant, 1)
        store.advance(grant.id, 1, 2, "parent")
        store.end("nothing", "logout")
        found = []
        for _ in range(5):  # something else may write at the same moment
            before = ask(postgres_url, written)
            store.advance(grant.id, 1, 2, "other")
            store.advance(grant.id, 2, 2, None)
            store.end("nothing", "logout")
            found.append(ask(postgres_url, written) == before)
        assert any(found)


@pytest.mark.parametrize("option", ["on", "off"])
@pytest.mark.parametrize("default", ["on", "off", "remote_apply"])
def test_an_end_is_durable_whatever_the_default_is(
    postgres_url: str, schema: str, option: str, default: str
) -> None:
    address = f"{postgres_url}?options=-c%20synchronous_commit%3D{default}"
    with postgres(address, schema=schema, synchronous_commit=option) as store:
        store.check()
        # A deferred trigger sees what holds at the commit.
        ask(
            postgres_url,
            f"CREATE TABLE {schema}.seen (how text);"
            f"CREATE FUNCTION {schema}.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"INSERT INTO {schema}.seen VALUES (current_setting('synchronous_commit')); "
            "RETURN NULL; END $$;"
            f"CREATE CONSTRAINT TRIGGER see AFTER INSERT OR UPDATE ON {schema}.grants "
            f"DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {schema}.see()",
        )

        def seen() -> object:
            found = ask(postgres_url, f"SELECT string_agg(how, ' ') FROM {schema}.seen")
            ask(postgres_url, f"TRUNCATE {schema}.seen")
            return found

        durable = "on" if default == "off" else default
        store.add(new_grant(time.time(), id="one"), 2)
        assert seen() == durable
        store.advance("one", 1, 2, None)
        assert seen() == ("off" if option == "off" else default)
        store.end("one", "logout")
        assert seen() == durable
        store.add(new_grant(time.time()), 2)
        seen()
        store.end_subject("alice", "logout")
        assert seen() == durable


def test_purge_forgets_everything_in_batches_and_waits_for_nobody(
    postgres_url: str, schema: str
) -> None:
    with postgres(postgres_url, schema=schema) as store:
        store.check()
        ask(
            postgres_url,
            f"INSERT INTO {schema}.admitted SELECT sha256(n::text::bytea), 1 "
            "FROM generate_series(1, 601) AS n",
        )
        with session(postgres_url) as db:
            db.execute(f"SELECT FROM {schema}.admitted LIMIT 1 FOR UPDATE")
            assert [store.purge(math.inf) for _ in range(3)] == [500, 100, 0]
        assert store.purge(1) == 1


def test_a_process_whose_clock_runs_ahead_purges_nobody_who_lives(
    postgres_url: str, schema: str
) -> None:
    with postgres(postgres_url, schema=schema) as store:
        store.add(new_grant(time.time(), id="one"), 5)
        store.admit("key", time.time() + 600)
        assert store.purge(time.time() + 1e9) == 0
        assert [one.id for one in store.grants("alice")] == ["one"]


# --- races


def test_a_login_or_rotation_beside_a_mass_end_is_before_or_after_it(
    postgres_url: str, schema: str
) -> None:
    with postgres(postgres_url, schema=schema) as store, ThreadPoolExecutor(3) as threads:
        grant = new_grant(time.time(), id="old")
        store.add(grant, 5)
        with session(postgres_url) as db:
            # Both have begun, and wait: the one for the row, the other for its subject's lock.
            db.execute(f"SELECT FROM {schema}.grants FOR UPDATE")
            db.execute(f"SELECT pg_advisory_xact_lock({LOCKS}, hashtext('alice'))")
            rotation = threads.submit(store.advance, "old", 1, 2, "parent")
            wait_for_lock(postgres_url, "transactionid")
            login = threads.submit(store.add, new_grant(time.time(), id="new"), 5)
            wait_for_lock(postgres_url, "advisory")
            assert store.end_before(None) is not None
            db.commit()
        assert login.result() == (), "it counts no grant that the mark ended"
        rotation.result()
        assert [one.id for one in store.grants("alice")] == ["new"]
        row = store.advance("old", 2, 3, "parent").grant
        assert row is not None
        assert row.end_reason == "end_before"


def test_the_function_that_former_versions_call_swaps_nothing_under_the_mark(
    postgres_url: str, schema: str
) -> None:
    with postgres(postgres_url, schema=schema) as store:
        store.add(new_grant(time.time(), id="old"), 5)
        store.end_before(None)
        store.add(new_grant(time.time(), id="new"), 5)
        swap = f"SELECT {schema}.advance_grant('{{}}', 1, 2, 'parent', 0)"
        assert ask(postgres_url, swap.format("old")) is None
        assert ask(postgres_url, swap.format("new")) is not None


def test_of_two_marks_at_once_the_later_one_stays(postgres_url: str, schema: str) -> None:
    with postgres(postgres_url, schema=schema) as store, ThreadPoolExecutor(2) as threads:
        store.end_before(1.0)
        with session(postgres_url) as db:
            db.execute(f"SELECT FROM {schema}.facts FOR UPDATE")
            calls = [threads.submit(store.end_before, at) for at in (300.0, 200.0)]
            while not ask(postgres_url, "SELECT count(*) > 1 FROM pg_locks WHERE NOT granted"):
                time.sleep(0.01)
            db.commit()
        for call in calls:
            mark = call.result()
            assert mark is not None
            assert mark.before >= 200
        mark = store.ended(None, 1.0).mark
        assert mark is not None
        assert mark.before == 300


def test_the_listing_goes_on_behind_what_a_mark_ended(postgres_url: str, schema: str) -> None:
    with postgres(postgres_url, schema=schema) as store:
        for number in range(3):
            store.add(new_grant(time.time(), id=f"{number}"), 5)
        store.end_before(None)
        store.add(new_grant(time.time(), id="3"), 5)
        found = store.page(None, 2)
        assert (found.grants, found.position) == ((), "1")
        found = store.page(found.position, 2)
        assert ([one.id for one in found.grants], found.position) == (["3"], "3")
        assert store.page(found.position, 2) == ((), None)


def test_who_had_to_wait_is_told_of_the_row_as_it_is_now(postgres_url: str, schema: str) -> None:
    with postgres(postgres_url, schema=schema) as store, ThreadPoolExecutor(1) as threads:
        store.add(new_grant(time.time(), id="grant"), 1)
        with session(postgres_url) as db:
            db.execute(f"UPDATE {schema}.grants SET generation = 2, parent = 'first'")
            second = threads.submit(store.advance, "grant", 1, 2, "second")
            wait_for_lock(postgres_url, "transactionid")
            db.commit()
        advanced, row = second.result()
        assert not advanced
        assert row is not None
        assert (row.generation, row.parent) == (2, "first")


def test_who_waited_for_a_row_that_went_away_finds_none(postgres_url: str, schema: str) -> None:
    with postgres(postgres_url, schema=schema) as store, ThreadPoolExecutor(1) as threads:
        store.add(new_grant(time.time(), id="grant"), 1)
        with session(postgres_url) as db:
            db.execute(f"DELETE FROM {schema}.grants")
            second = threads.submit(store.advance, "grant", 1, 2, "second")
            wait_for_lock(postgres_url, "transactionid")
            db.commit()
        assert second.result() == (False, None)


def test_an_end_is_stamped_when_it_is_made_not_when_it_began_to_wait(
    postgres_url: str, schema: str
) -> None:
    with postgres(postgres_url, schema=schema) as store, ThreadPoolExecutor(1) as threads:
        store.add(new_grant(time.time(), id="grant"), 1)
        with session(postgres_url) as db:
            db.execute(f"UPDATE {schema}.grants SET generation = 2")
            ending = threads.submit(store.end, "grant", "logout")
            wait_for_lock(postgres_url, "transactionid")
            released = ask(postgres_url, "SELECT extract(epoch FROM clock_timestamp())::float8")
            db.commit()
        assert ending.result()
        row = store.advance("grant", 1, 1, None).grant
        assert row is not None
        assert row.ended_at is not None
        assert row.ended_at >= released


def climb(url: str, schema: str, grant_id: str, top: int) -> list[int]:
    """Advance a grant against others, and return the generations that were won."""
    won, seen = [], 1
    with postgres(url, schema=schema) as store:
        while seen < top:
            advanced, row = store.advance(grant_id, seen, seen + 1, f"{os.getpid()} {seen}")
            assert row is not None
            if advanced:
                won.append(seen)
            seen = row.generation
    return won


def test_of_many_processes_one_wins_each_generation(postgres_url: str, schema: str) -> None:
    top, grant = 200, new_grant(time.time())
    with (
        postgres(postgres_url, schema=schema) as store,
        ProcessPoolExecutor(4, mp_context=SPAWN) as processes,
    ):
        store.add(grant, 100)
        climbers: list[Future[list[int]]] = [
            processes.submit(climb, postgres_url, schema, grant.id, top) for _ in range(4)
        ]
        won = [one for climber in climbers for one in climber.result()]
    assert sorted(won) == list(range(1, top))


def check_and_add(url: str, schema: str) -> None:
    with postgres(url, schema=schema) as store:
        store.check()
        store.add(new_grant(time.time()), 2)


def test_processes_make_the_schema_at_once_and_keep_to_the_limit(
    postgres_url: str, schema: str
) -> None:
    with ProcessPoolExecutor(3, mp_context=SPAWN) as processes:
        for one in [processes.submit(check_and_add, postgres_url, schema) for _ in range(9)]:
            one.result()
    with postgres(postgres_url, schema=schema) as store:
        assert len(store.grants("alice")) == 2


# --- connections: closed, forked, in several loops, borrowed


def test_a_closed_store_opens_again(postgres_url: str, schema: str) -> None:
    with postgres(postgres_url, schema=schema) as store:
        store.add(new_grant(time.time()), 100)
        store.close()
        store.close()
        assert len(store.grants("alice")) == 1
        own_pool = store._connections.own_pool
        assert own_pool() is own_pool(), "however many threads come at first"


def fork(url: str, schema: str) -> tuple[list[int], bool, int]:
    """Fork with a connection open; both go on, on connections of their own."""
    import warnings

    warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: not beside threads
    store = PostgresStore(url, retention=RETENTION, schema=schema)
    store.add(new_grant(time.time(), id="grant"), 100)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        store.advance("grant", 1, 2, None)
        os.write(writer, bytes([len(store.grants("alice"))]))
        store.close()
        gc.collect()
        os._exit(0)
    os.waitpid(child, 0)
    answer = list(os.read(reader, 1))
    advanced = store.advance("grant", 2, 3, None).advanced
    count = ask(url, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'forked'")
    store.close()
    return answer, advanced, count


def test_a_forked_child_connects_anew_and_leaves_its_parent_alone(
    postgres_url: str, schema: str
) -> None:
    with ProcessPoolExecutor(1, mp_context=SPAWN) as processes:
        url = f"{postgres_url}?application_name=forked"
        # The parent's connection and the asking one: the child's has gone.
        assert processes.submit(fork, url, schema).result() == ([1], True, 2)


def test_a_child_begins_with_nothing_open(
    postgres_url: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As the child sees it; the test that really forks is the one above.
    inherited: list[dict[Any, connections.OwnPool]] = []
    monkeypatch.setattr(connections, "_of_parents", inherited)
    awaited = AsyncPostgresStore(postgres_url, retention=RETENTION, schema=schema)
    with postgres(postgres_url, schema=schema) as store:
        store.check()
        assert store.grants("alice") == ()
        connections.leave_connections_to_parent()
        assert store.grants("alice") == ()
        own_pools = [own for one in inherited for own in one.values()]
        pools = [one.pool for one in own_pools if isinstance(one.pool, ConnectionPool)]
        assert len(pools) == 1
        assert not pools[0].closed
        pools[0].close()
    del awaited


def test_each_event_loop_has_a_pool_and_one_that_went_is_thrown_away(
    postgres_url: str, schema: str
) -> None:
    address = f"{postgres_url}?application_name={schema}"
    store = AsyncPostgresStore(address, retention=RETENTION, schema=schema)
    grant = new_grant(time.time())
    assert asyncio.run(store.add(grant, 1)) == ()

    async def twice() -> None:
        await asyncio.gather(*(store.grants("alice") for _ in range(20)))
        count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{}'"
        assert 1 <= ask(postgres_url, count.format(schema)) <= 10
        await store.aclose()
        await store.aclose()
        assert len(await store.grants("alice")) == 1
        await store.aclose()

    asyncio.run(twice())
    gc.collect()


def test_a_pool_that_is_not_open_yet_is_looked_at_by_the_first_verb(
    postgres_url: str, schema: str
) -> None:
    pool = ConnectionPool(postgres_url, min_size=1, open=False)
    store = PostgresStore.from_pool(pool, retention=RETENTION, schema=schema)
    store.check()
    with pytest.raises(StoreUnavailable, match="PoolClosed"):
        store.grants("alice")
    with pool:
        assert store.grants("alice") == ()
        store.check()
        store.close()
        assert not pool.closed, "it isn't ours"


async def test_an_awaited_pool_of_the_application_is_borrowed_from(
    postgres_url: str, schema: str
) -> None:
    pool = AsyncConnectionPool(postgres_url, min_size=1, max_size=2, open=False)
    store = AsyncPostgresStore.from_pool(pool, retention=RETENTION, schema=schema)
    await store.check()
    async with pool:
        await store.check()
        await store.add(new_grant(time.time()), 1)
        await store.aclose()
        assert len(await store.grants("alice")) == 1
        async with pool.connection() as connection:
            assert not connection.autocommit, "as it was"


def forgets(connection: Any) -> None:
    connection.execute("DISCARD ALL")


def prepares_nothing(connection: Any) -> None:
    connection.prepare_threshold = None


@pytest.mark.parametrize(
    "options",
    [{"reset": forgets, "kwargs": {"autocommit": True}}, {"configure": prepares_nothing}],
    ids=["whose connections forget", "that wants nothing prepared"],
)
def test_a_pool_of_the_application(postgres_url: str, schema: str, options: Any) -> None:
    with ConnectionPool(postgres_url, min_size=1, max_size=1, **options) as pool:
        store = PostgresStore.from_pool(pool, retention=RETENTION, schema=schema)
        grant = new_grant(time.time())
        store.add(grant, 1)
        for generation in range(1, 4):
            assert store.advance(grant.id, generation, generation + 1, None).advanced
        assert store.end(grant.id, "logout")
        with pool.connection() as connection:
            names = connection.execute("SELECT name FROM pg_prepared_statements").fetchall()
        assert not names, "what was prepared is forgotten, or nothing was"


def test_rows_that_no_writer_of_ours_made_are_an_error_of_the_store(
    postgres_url: str, schema: str
) -> None:
    with postgres(postgres_url, schema=schema) as store:
        store.add(new_grant(time.time(), id="grant"), 1)
        for claims in ("no JSON", "[]", "5"):
            ask(postgres_url, f"UPDATE {schema}.grants SET claims = '{claims}'")
            with pytest.raises(StoreUnavailable, match="a damaged row"):
                store.advance("grant", 1, 1, None)


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
def test_what_no_row_can_hold_is_an_error_of_the_store(
    postgres_url: str, schema: str, text: str
) -> None:
    with postgres(postgres_url, schema=schema) as store:
        with pytest.raises(StoreUnavailable) as caught:
            store.grants(text)
        assert text not in str(caught.value)
        assert store.admit(text, time.time() + 60), "only its hash is kept"
