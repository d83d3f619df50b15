"""Faults of the engines in the middle of a load, as clients see them through both doors.

503 with Retry-After and a retry that succeeds, or a success that stands. Where the engine keeps
what it has acknowledged, nobody is logged out; and never do two lines of a grant both go on.
`tests/clients` says what clients do, and what is checked when they are done.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import suppress
from itertools import count
from typing import Any, NamedTuple

import psycopg
import pytest

from tests.clients import Crowd
from tests.engines import postgres
from tests.engines import redis as engines
from tests.engines.proxy import Proxy
from tests.rules import accepts

_numbers = count()


class Weight(NamedTuple):
    rounds: int  # times that the fault happens
    visitors: int
    passers: int


QUICK, HEAVY = Weight(1, 3, 1), Weight(5, 12, 4)


class Fault(NamedTuple):
    """What is done to a server while clients are at work, and how their stores are opened."""

    happens: Callable[[Any, Crowd], None]  # it is over when this returns
    options: str = ""
    is_wired: bool = False  # the clients reach it by a wire that can be cut


class Stage(NamedTuple):
    server: Any
    wire: Any
    name: str  # of what holds the grants


def play(server: Any, fault: Fault, name: str, weight: Weight, url: str) -> None:
    """Let clients work, let the fault happen, and let them go on; then all is checked."""
    with Proxy(server.port) as wire:
        if fault.is_wired:
            url = url.replace(f":{server.port}", f":{wire.port}")
        with Crowd(url, visitors=weight.visitors, passers=weight.passers) as clients:
            for _ in range(weight.rounds):
                clients.goes_on()
                fault.happens(Stage(server, wire, name), clients)
            clients.goes_on()


# --- what happens


def killed(stage: Stage, clients: Crowd) -> None:
    stage.server.kill()
    clients.is_put_off()
    stage.server.start()


def reset_after_commit(stage: Stage, clients: Crowd) -> None:
    clients.is_put_off(stage.wire.reset_after_answer)


def cut(stage: Stage, clients: Crowd) -> None:
    for _ in range(3):
        stage.wire.cut()
        clients.goes_on()


def hanging(stage: Stage, clients: Crowd) -> None:
    stage.wire.hang()
    try:
        clients.is_put_off()
    finally:
        stage.wire.resume()


def paused_postgres(stage: Stage, clients: Crowd) -> None:
    stage.server.pause()
    try:
        clients.is_put_off()
    finally:
        stage.server.resume()


def locked(stage: Stage, clients: Crowd) -> None:
    with postgres.session(stage.server.url()) as db:
        db.execute(f"SELECT FROM {stage.name}.grants FOR UPDATE")
        clients.is_put_off()


def read_only(stage: Stage, clients: Crowd) -> None:
    read_only = "default_transaction_read_only"
    stage.server.ask(f"ALTER SYSTEM SET {read_only} = on")
    stage.server.ask("SELECT pg_reload_conf()")
    try:
        clients.is_put_off()
    finally:
        with postgres.session(stage.server.url(), autocommit=True) as db:
            db.execute(f"SET {read_only} = off")
            db.execute(f"ALTER SYSTEM RESET {read_only}")
            db.execute("SELECT pg_reload_conf()")


FILL = """DO $$ BEGIN LOOP
    INSERT INTO {}.grants (generation, rotated_at, created_at, expires_at, id, subject, client_id,
        scope, claims)
    SELECT 1, 0, 0, 2e9, gen_random_uuid(), gen_random_uuid(), 'web', 'read',
        string_agg(md5(random()::text), '') FROM generate_series(1, {});
    COMMIT;
END LOOP; END $$"""


def disk_full_of_postgres(stage: Stage, clients: Crowd) -> None:
    # No file may grow beyond, as when a quota is used up; those of the log are smaller.
    stage.server.kill()
    stage.server.start(largest_file=2 << 20)
    for pieces in (40, 0):  # of 32 octets; at last there is no room for a login
        with suppress(psycopg.Error):
            stage.server.ask(FILL.format(stage.name, pieces))
    clients.is_put_off()
    stage.server.kill()
    stage.server.start()


def paused_redis(stage: Stage, clients: Crowd) -> None:
    with stage.server.paused():
        clients.is_put_off()


def scripts_flushed(stage: Stage, clients: Crowd) -> None:
    before = clients.refusals.copy()
    for _ in range(3):
        stage.server.do("SCRIPT FLUSH")
        clients.goes_on()
    assert clients.refusals == before, "nobody hears of it"


def made_a_replica(stage: Stage, clients: Crowd) -> None:
    # Of a primary that isn't there, so that it keeps what it has.
    stage.server.do("REPLICAOF", engines.HOST, 1)
    clients.is_put_off()
    stage.server.do("REPLICAOF", "NO", "ONE")


def out_of_memory(stage: Stage, clients: Crowd) -> None:
    stage.server.do("CONFIG SET", "maxmemory", 1)
    clients.is_put_off()
    stage.server.do("CONFIG SET", "maxmemory", 0)


def disk_full_of_redis(stage: Stage, clients: Crowd) -> None:
    def saved(status: str) -> bool:
        with suppress(Exception):  # one is on its way
            stage.server.do("BGSAVE")
        return bool(stage.server.do("INFO", "persistence")["rdb_last_bgsave_status"] == status)

    # No snapshot can take the place of a folder with something in it.
    (stage.server.folder / "dump.rdb").unlink(missing_ok=True)
    (stage.server.folder / "dump.rdb" / "in the way").mkdir(parents=True)
    engines.until(lambda: saved("err"))
    clients.is_put_off()
    (stage.server.folder / "dump.rdb" / "in the way").rmdir()
    (stage.server.folder / "dump.rdb").rmdir()
    engines.until(lambda: saved("ok"))


# --- one server

HASTE = "timeout=1"  # seconds that a client waits for what doesn't come
ON_POSTGRES = {
    "killed": Fault(killed),
    "connection reset after commit": Fault(reset_after_commit, is_wired=True),
    "connections cut": Fault(cut, is_wired=True),
    "wire hangs": Fault(hanging, HASTE, is_wired=True),
    "paused": Fault(paused_postgres, HASTE),
    "rows locked": Fault(locked, HASTE),
    "read-only": Fault(read_only),
}
REDIS_HASTE = f"{HASTE}&wait_timeout=0.1"
ON_REDIS = {
    "killed": Fault(killed),
    "connection reset after commit": Fault(reset_after_commit, is_wired=True),
    "connections cut": Fault(cut, is_wired=True),
    "wire hangs": Fault(hanging, REDIS_HASTE, is_wired=True),
    "paused": Fault(paused_redis, REDIS_HASTE),
    "scripts flushed": Fault(scripts_flushed),
    "made a replica": Fault(made_a_replica),
    "out of memory": Fault(out_of_memory),
    "disk full": Fault(disk_full_of_redis),
}
weights = pytest.mark.parametrize(
    "weight",
    [pytest.param(QUICK, id="quick"), pytest.param(HEAVY, id="heavy", marks=pytest.mark.long)],
)


@pytest.fixture(scope="module")
def postgres_server() -> Generator[postgres.Server, None, None]:
    server = postgres.Server(wal_segment="1").start()
    yield server
    server.stop()


def on_postgres(server: postgres.Server, fault: Fault, weight: Weight) -> None:
    with postgres.fresh_schema(server.url()) as schema:
        url = f"{server.url(schema=schema)}&{fault.options}".rstrip("&")
        play(server, fault, schema, weight, url)


@accepts("RT-12")
@pytest.mark.xdist_group("clients-postgres")
@weights
@pytest.mark.parametrize("fault", ON_POSTGRES.values(), ids=ON_POSTGRES)
def test_clients_of_postgresql(
    postgres_server: postgres.Server, fault: Fault, weight: Weight
) -> None:
    on_postgres(postgres_server, fault, weight)


@accepts("RT-12")
@pytest.mark.xdist_group("clients-postgres")
@weights
def test_clients_of_postgresql_whose_disk_is_full(
    postgres_server: postgres.Server, weight: Weight
) -> None:
    on_postgres(postgres_server, Fault(disk_full_of_postgres), weight._replace(rounds=1))


@pytest.fixture(scope="module")
def redis_server(request: pytest.FixtureRequest) -> Generator[engines.Server, None, None]:
    # Nothing is answered before it is on the disk.
    always = ("--appendonly", "yes", "--appendfsync", "always", "--save", "3600", "1000000")
    with engines.Server(request.param, *always) as server:
        yield server


@accepts("RT-12")
@weights
@pytest.mark.parametrize("fault", ON_REDIS.values(), ids=ON_REDIS)
@pytest.mark.parametrize(
    "redis_server",
    [
        pytest.param("redis", marks=[pytest.mark.long, pytest.mark.xdist_group("clients-redis")]),
        pytest.param("valkey", marks=pytest.mark.xdist_group("clients-valkey")),
    ],
    indirect=True,
)
def test_clients_of_redis(redis_server: engines.Server, fault: Fault, weight: Weight) -> None:
    name = f"clients{os.getpid()}.{next(_numbers)}"
    url = f"{redis_server.url}?prefix={name}&{fault.options}".rstrip("&")
    play(redis_server, fault, name, weight, url)
