"""Engines and poolers that users have, beside those that all tests run on: a name, and what starts.

Those with a variable take their program from the environment, because it has to be built:
`make long` runs them where the variable is set.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.engines import postgres, redis
from tests.engines.pgbouncer import pgbouncer
from tests.engines.pooler import pgpool, standby


@dataclass(frozen=True)
class Running:
    """A store's address, and what of it can be asked without what stands before it."""

    url: str
    direct: str  # the address of the server itself


Opens = Callable[[], AbstractContextManager[Running]]


@contextmanager
def on_postgres(programs_in: Callable[[], Path | None] = postgres.programs) -> Generator[Running]:
    with a_server(programs_in=programs_in()) as server:
        yield Running(server.url(), server.url())


@contextmanager
def a_server(**settings: Any) -> Generator[postgres.Server]:
    server = postgres.Server(**settings)
    try:
        yield server.start()
    finally:
        server.stop()


@contextmanager
def behind_pgbouncer(mode: str, variable: str = "", **settings: object) -> Generator[Running]:
    program = os.environ.get(variable) if variable else None
    if variable and not program:
        pytest.skip(f"{variable} names no program")
    if mode == "session":
        settings |= {"default_pool_size": 60}  # each client has one for itself
    with a_server() as server, pgbouncer(server.url(), mode, program=program, **settings) as url:
        yield Running(url, server.url())


@contextmanager
def behind_pgpool() -> Generator[Running]:
    """Give a primary and a standby behind one address."""
    with a_server() as server, standby(server) as replica, pgpool(server, replica) as url:
        yield Running(url, server.url())


@contextmanager
def on_redis(engine: str) -> Generator[Running]:
    with redis.Server(engine) as server:
        yield Running(server.url, server.url)


NEW = "JWT_TEST_PGBOUNCER"  # a PgBouncer from 1.21 on

USUAL: dict[str, Opens] = {
    "postgresql": on_postgres,
    "redis": partial(on_redis, "redis"),
    "valkey": partial(on_redis, "valkey"),
}
OTHERS: dict[str, Opens] = {
    "postgresql-debian": partial(on_postgres, postgres.debian),
    "pgbouncer-session": partial(behind_pgbouncer, "session"),
    "pgbouncer-transaction": partial(behind_pgbouncer, "transaction"),
    "pgpool": behind_pgpool,
    "redis-6.2": partial(on_redis, "redis-6.2"),
    "redis-8": partial(on_redis, "redis-8"),
}
BUILT: dict[str, Opens] = {
    "new-pgbouncer-session": partial(behind_pgbouncer, "session", NEW),
    "new-pgbouncer-transaction": partial(behind_pgbouncer, "transaction", NEW),
    "new-pgbouncer-unprepared": partial(
        behind_pgbouncer, "transaction", NEW, max_prepared_statements=0
    ),
}
ALL = USUAL | OTHERS | BUILT


def parameters(*groups: dict[str, Opens]) -> list[Any]:
    """Return the names of engines as parameters: each in one process of the tests."""
    marks = {name: [pytest.mark.long] if name in BUILT else [] for name in ALL}
    return [
        pytest.param(name, marks=[pytest.mark.xdist_group(f"zoo {name}"), *marks[name]])
        for group in groups
        for name in group
    ]
