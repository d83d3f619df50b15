"""Behind PgBouncer, in each of its modes: several processes share what it has, and nothing leaks.

Debian's PgBouncer knows no prepared statements of clients. A named statement of one process would
meet that of another there, and what one process sets would hold for the others.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from urllib.parse import urlsplit

import pytest
from psycopg_pool import ConnectionPool

from jwt_middleware.stores.postgres import AsyncPostgresStore, PostgresStore, server_check
from jwt_middleware.stores.postgres.schema import schema_sql
from jwt_middleware.stores.postgres.sql import SERVER
from jwt_middleware.stores.postgres.wire import Session
from jwt_middleware.testing.store_contract import CASES, Case
from jwt_middleware.values.errors import ConfigurationError, StoreUnavailable
from tests.engines.pgbouncer import SIZE, pgbouncer
from tests.engines.pooler import pgpool, standby
from tests.engines.postgres import ask, postgres, session
from tests.engines.zoo import a_server
from tests.stores import RETENTION, new_grant
from tests.waiting import until

SPAWN = get_context("spawn")
each_case = pytest.mark.parametrize("case", CASES, ids=str)
SHOWN = "SELECT string_agg(setting, ' ' ORDER BY name) FROM pg_settings WHERE name IN ({})"
OURS = (
    "'statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', "
    "'synchronous_commit', 'default_transaction_isolation'"
)


@pytest.fixture(scope="module", params=["session", "transaction"])
def pooled(request: pytest.FixtureRequest, postgres_url: str) -> Iterator[str]:
    with pgbouncer(postgres_url, request.param) as url:
        yield url


@pytest.fixture
def by_transaction(postgres_url: str) -> Iterator[str]:
    with pgbouncer(postgres_url, "transaction") as url:
        yield url


@each_case
@pytest.mark.parametrize("kind", [PostgresStore, AsyncPostgresStore])
def test_it_keeps_the_contract_beside_other_processes(
    case: Case, kind: type, pooled: str, schema: str
) -> None:
    # Two stores with another schema have used the sessions, as two processes would.
    for name in (f"{schema}_a", f"{schema}_b"):
        with postgres(pooled, schema=name, pool_max=SIZE // 2) as other:
            other.add(new_grant(time.time(), id="one"), 5)
            other.advance("one", 1, 2, None)
            other.end("one", "logout")
    case.run(
        lambda clock, retention: kind(
            pooled,
            retention=retention,
            schema=schema,
            pool_max=2,  # beside that for ended grants: in session mode each holds a session
            offset=lambda: clock.offset,
            synchronous_commit="off",
        )
    )
    for name in (f"{schema}_a", f"{schema}_b"):
        ask(pooled, f"SET client_min_messages = error; DROP SCHEMA {name} CASCADE")


def test_a_process_starts_while_the_standby_has_no_schema_yet() -> None:
    with a_server() as server, standby(server) as replica, pgpool(server, replica) as url:
        replica.ask("SELECT pg_wal_replay_pause()")
        for _ in range(2):  # the first one makes the schema
            store = PostgresStore(url, retention=RETENTION)
            store.check()
            store.close()


def work(url: str, schema: str, number: int) -> list[str]:
    """Log in, refresh and log out; return what went wrong."""
    wrong = []
    with postgres(url, schema=schema, timeout=9) as store:
        ended = store.ended(None, RETENTION)
        for step in range(40):
            grant = new_grant(time.time(), id=f"{number} {step}", subject=f"user {number}")
            store.add(grant, 1000)
            advanced, row = store.advance(grant.id, 1, 2, f"parent {step}")
            if not advanced or row is None or (row.id, row.generation) != (grant.id, 2):
                wrong.append(f"rotation {step}: {row}")
            if not store.end(grant.id, "logout"):
                wrong.append(f"end {step}")
            ended = store.ended(ended.cursor, RETENTION)
            if grant.id not in ended.grant_ids or store.is_living(grant.id):
                wrong.append(f"ended {step}")
    return wrong


def test_processes_that_share_the_sessions_get_their_own_answers(
    by_transaction: str, postgres_url: str, schema: str
) -> None:
    with ProcessPoolExecutor(2, mp_context=SPAWN) as processes:
        calls = [processes.submit(work, by_transaction, schema, number) for number in range(4)]
        assert [call.result() for call in calls] == [[], [], [], []]
    count = f"SELECT count(*) FROM {schema}.grants WHERE generation = 2 AND ended_at IS NOT NULL"
    assert ask(postgres_url, count) == 160


def test_nothing_that_we_did_reaches_other_clients(
    by_transaction: str, postgres_url: str, schema: str
) -> None:
    default = ask(postgres_url, SHOWN.format(OURS))
    with (
        postgres(by_transaction, schema=schema, synchronous_commit="off") as store,
        ThreadPoolExecutor(2 * SIZE) as threads,
    ):
        store.check()
        grants = [new_grant(time.time(), id=str(number)) for number in range(40)]
        list(threads.map(lambda grant: store.add(grant, 100), grants))
        list(threads.map(lambda grant: store.advance(grant.id, 1, 2, None), grants))
        store.ended(None, RETENTION)
        for _ in range(3 * SIZE):
            assert ask(by_transaction, SHOWN.format(OURS)) == default
            assert ask(by_transaction, "SELECT count(*) FROM pg_prepared_statements") == 0


def test_a_write_that_takes_too_long_is_cancelled_through_it(
    by_transaction: str, postgres_url: str, schema: str
) -> None:
    with postgres(by_transaction, schema=schema, timeout=1) as store:
        store.add(new_grant(time.time(), id="grant"), 1)
        with session(postgres_url) as db:
            db.execute(f"SELECT FROM {schema}.grants FOR UPDATE")
            with pytest.raises(StoreUnavailable, match="TimedOut"):
                store.end("grant", "logout")
            until(lambda: ask(postgres_url, "SELECT count(*) = 0 FROM pg_locks WHERE NOT granted"))
        assert store.is_living("grant"), "what was given up was not done later"
        assert store.end("grant", "logout")


def test_a_pool_of_the_application_before_it_prepares_nothing(
    by_transaction: str, schema: str
) -> None:
    with ConnectionPool(by_transaction, min_size=2, max_size=2) as pool:
        store = PostgresStore.from_pool(pool, retention=RETENTION, schema=schema)
        store.add(new_grant(time.time(), id="grant"), 1)
        assert store.advance("grant", 1, 2, None).advanced
        assert store.ended(None, RETENTION).grant_ids == ()
    assert ask(by_transaction, "SELECT count(*) FROM pg_prepared_statements") == 0


def test_where_it_allows_no_transaction_the_schema_is_made_beside_it(
    postgres_url: str, schema: str
) -> None:
    with pgbouncer(postgres_url, "statement") as url:
        with postgres(url, schema=schema) as store:
            with pytest.raises(ConfigurationError, match="pooler") as caught:
                store.check()
            assert f"grants schema --schema {schema} --since 0" in str(caught.value.remedy)
        ask(postgres_url, schema_sql(schema))
        with postgres(url, schema=schema) as store:
            store.check()
            store.add(new_grant(time.time(), id="grant"), 1)
            assert store.advance("grant", 1, 2, None).advanced
            assert store.end("grant", "logout")
            assert store.ended(None, RETENTION).grant_ids == ("grant",)


# --- a pooler that isn't seen


@pytest.mark.parametrize("fault", ["DEALLOCATE ALL", "PREPARE"])
def test_a_name_that_means_nothing_is_never_used_again(
    postgres_url: str, schema: str, fault: str
) -> None:
    with postgres(postgres_url, schema=schema, pool_max=1) as store:
        for grant_id in ("other", "grant"):  # the second time prepares it
            store.add(new_grant(time.time(), id=grant_id), 2)
        store.advance("grant", 1, 1, None)
        store.advance("other", 1, 2, None)
        pool = store._connections.own_pool().pool
        with pool.connection() as connection:
            known = Session.of(connection)
            if fault == "PREPARE":
                connection.execute(f'PREPARE "{known._name}_2_0" AS SELECT 1')
            else:
                connection.execute(fault)
        for generation in (1, 2):
            assert store.advance("grant", generation, generation + 1, None).advanced
            assert store.add(new_grant(time.time()), 9) == ()
        with pool.connection() as connection:
            names = connection.execute("SELECT name FROM pg_prepared_statements").fetchall()
        # Those of before; after the fault nothing is prepared on this connection any more.
        assert len(names) == (2 if fault == "PREPARE" else 1)


def test_no_two_connections_have_a_name_in_common() -> None:
    assert len({Session()._name for _ in range(100)}) == 100


# --- PGlite, which has one session for all its clients


@pytest.mark.parametrize("connections", [1, 3])
def test_a_pglite_that_takes_one_connection_is_found_at_the_start(
    postgres_url: str, schema: str, monkeypatch: pytest.MonkeyPatch, connections: int
) -> None:
    monkeypatch.setattr(server_check, "SERVER", SERVER.replace("version()", "'(PGlite 0.5)'"))
    ask(postgres_url, f"CREATE ROLE {schema} LOGIN CONNECTION LIMIT {connections}")
    ask(postgres_url, f"CREATE SCHEMA {schema} AUTHORIZATION {schema}")
    where = urlsplit(postgres_url)
    url = where._replace(netloc=f"{schema}@{where.netloc.rpartition('@')[2]}").geturl()
    try:
        with postgres(url, schema=schema) as store:
            if connections == 1:
                with pytest.raises(ConfigurationError, match="one connection at a time") as caught:
                    store.check()
                assert caught.value.remedy == "start its server with -m 20"
            else:
                store.check()
    finally:
        ask(postgres_url, f"DROP OWNED BY {schema} CASCADE")
        ask(postgres_url, f"DROP ROLE {schema}")
