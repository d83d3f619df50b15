"""Other versions of the engines, and poolers before them, keep the contract, or don't start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from redis import Redis

from jwt_middleware.stores.postgres import AsyncPostgresStore, PostgresStore
from jwt_middleware.testing.store_contract import CASES, Case
from jwt_middleware.values.errors import ConfigurationError
from tests.engines import redis, zoo
from tests.engines.pooler import pglite
from tests.engines.postgres import fresh_schema
from tests.stores import RETENTION

# Behind PgBouncer of the system, `test_store_poolers.py` has them.
VERSIONS = {name: one for name, one in zoo.OTHERS.items() if not name.startswith("pgbouncer")}
PATIENTLY = "?timeout=5"  # a race of fifty threads, on a machine that does ten other things


@pytest.fixture(scope="module")
def park() -> Iterator[Callable[[str], zoo.Running]]:
    """Start engines when they are asked for, and stop them when the tests are done."""
    with ExitStack() as stack:
        running: dict[str, zoo.Running] = {}

        def start(name: str) -> zoo.Running:
            if name not in running:
                running[name] = stack.enter_context(zoo.ALL[name]())
            return running[name]

        yield start


def run_on_postgres(case: Case, kind: str, one: zoo.Running) -> None:
    store: Any = {"sync": PostgresStore, "async": AsyncPostgresStore}[kind]
    with fresh_schema(one.direct) as schema:
        case.run(
            lambda clock, retention: store(
                one.url, retention=retention, schema=schema, offset=lambda: clock.offset, timeout=5
            )
        )


def run_on_redis(case: Case, kind: str, one: zoo.Running) -> None:
    make: Any = {"sync": redis.a_store, "async": redis.an_async_store}[kind]
    with Redis.from_url(one.direct) as client:
        client.flushall()
    case.run(
        lambda clock, retention: make(
            one.url + PATIENTLY, retention=retention, offset=lambda: clock.offset
        )
    )


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("engine", zoo.parameters(VERSIONS, zoo.BUILT))
def test_keeps_the_contract(
    engine: str, kind: str, case: Case, park: Callable[[str], zoo.Running]
) -> None:
    one = park(engine)
    run = run_on_postgres if one.url.startswith("postgres") else run_on_redis
    run(case, kind, one)


# --- that can't serve


@pytest.mark.xdist_group("zoo pglite")
def test_pglite_with_one_connection_is_refused_at_the_start() -> None:
    with pglite() as url:
        store = PostgresStore(url, retention=RETENTION)
        try:
            with pytest.raises(ConfigurationError, match="takes one connection at a time"):
                store.check()
        finally:
            store.close()
