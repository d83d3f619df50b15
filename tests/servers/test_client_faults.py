"""Faults of the engines in the middle of a load, as clients see them through both doors.

503 with Retry-After and a retry that succeeds, or a success that stands. Where the engine keeps
what it has acknowledged, nobody is logged out; and never do two lines of a grant both go on.
`tests/clients` says what clients do, and what is checked when they are done.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from threading import Thread
from typing import Any, NamedTuple

import psycopg
import pytest

from jwt_middleware import Issuer, Refresh, StoreUnavailable
from jwt_middleware.stores import shard
from tests.clients import (
    ASGIDoor,
    Crowd,
    Held,
    WSGIDoor,
    held_of,
    is_out,
    is_put_off,
    patient,
    settled,
)
from tests.engines import postgres
from tests.engines import redis as engines
from tests.engines.proxy import Proxy
from tests.issuing import REVOKE, form_octets, posted
from tests.rules import accepts, refuses
from tests.stores.test_store_redis_faults import kill_replicated, migrate, owner
from tests.world import Sent

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


# --- another takes its place


@accepts("RT-12")
@pytest.mark.parametrize(
    "engine",
    [
        pytest.param("redis", marks=pytest.mark.xdist_group("clients-sentinel")),
        pytest.param("valkey", marks=[pytest.mark.long, pytest.mark.xdist_group("clients-valkey")]),
    ],
)
def test_clients_of_sentinels_whose_primary_is_lost(engine: str) -> None:
    with (
        engines.Sentinels(engine) as found,
        Crowd(f"{found.url}?wait_replicas=1") as clients,
    ):
        clients.goes_on()
        before = found.primary
        kill_replicated(before, [one for one in found.data if one is not before])
        clients.is_put_off()
        engines.until(lambda: found.primary is not before)
        clients.goes_on()


on_clusters = pytest.mark.parametrize(
    "engine",
    [
        pytest.param("redis", marks=[pytest.mark.long, pytest.mark.xdist_group("clients-redis")]),
        pytest.param("valkey", marks=pytest.mark.xdist_group("clients-cluster")),
    ],
)


@accepts("RT-12")
@on_clusters
def test_clients_of_a_cluster_whose_slots_migrate(engine: str) -> None:
    with engines.Cluster(engine) as found, Crowd(found.url) as clients:
        clients.goes_on()
        for letter in {one.held.grant_id[0] for one in clients.visitors}:
            source = owner(found, f"{{jwt{letter}:}}")
            at = found.servers.index(source)
            migrate(source, found.servers[at - 1], found, f"{{jwt{letter}:}}")
            clients.goes_on()


@accepts("RT-12")
@on_clusters
def test_clients_of_a_cluster_that_loses_a_primary(engine: str) -> None:
    with (
        engines.Cluster(engine, replicas=True) as found,
        Crowd(f"{found.url}?wait_replicas=1") as clients,
    ):
        clients.goes_on()
        # That of those who log out.
        primary = owner(found, f"{{jwt{shard(clients.clients[-1].name)}:}}")
        replica = found.servers[found.servers.index(primary) + 3]
        kill_replicated(primary, [replica])
        clients.is_put_off()
        engines.until(lambda: replica.do("ROLE")[0] == "master")
        primary.start()  # as a replica: without one, nobody would be told that he is logged out
        clients.goes_on()


# --- what was acknowledged is lost


@accepts("RT-12")
@pytest.mark.parametrize(
    "engine",
    [
        pytest.param("redis", marks=pytest.mark.xdist_group("clients-sentinel")),
        pytest.param("valkey", marks=[pytest.mark.long, pytest.mark.xdist_group("clients-valkey")]),
    ],
)
def test_clients_whose_rotations_are_lost_before_they_are_replicated(engine: str) -> None:
    with (
        engines.Server(engine) as primary,
        engines.Server(engine, "--replicaof", f"{engines.HOST} {primary.port}") as replica,
        engines.Wire(primary.port) as wire,
        Crowd(wire.url, keeps=False) as clients,
    ):
        clients.goes_on()
        clients.rests()
        engines.until(lambda: engines.offset(replica) == engines.offset(primary))
        replica.do("REPLICAOF", "NO", "ONE")
        clients.rests(visitor=3)
        primary.kill()
        clients.resumes()
        clients.is_put_off()
        wire.to = replica.port
        clients.goes_on()
        assert clients.restored == {one.held.grant_id for one in clients.visitors}


@accepts("RT-12")
@pytest.mark.xdist_group("clients-postgres")
def test_clients_whose_rotations_a_crash_takes_back() -> None:
    server = postgres.Server(wal_writer_delay="10s").start()
    try:
        with Crowd(f"{server.url(synchronous_commit='off')}", keeps=False) as clients:
            clients.goes_on()
            clients.rests()
            server.ask("CHECKPOINT")
            clients.rests(visitor=3)
            server.kill()
            clients.resumes()
            clients.is_put_off()
            server.start()
            clients.goes_on()
            assert clients.restored, "what didn't wait for the disk"
    finally:
        server.stop()


# --- a log-out is answered when it stands


def log_out(held: Held) -> Sent:
    return posted(REVOKE, form_octets({"token": held.refresh}))


def nobody_is_told(doors: list[Any], held: Held) -> None:
    """Log out at one door after the other: who finds it done isn't told so too early."""
    for door in doors:
        assert is_put_off(door.send(log_out(held)))
    for door in doors[:-1]:
        with pytest.raises(StoreUnavailable):
            Issuer(door.settings).revoke_all("alice")


@contextmanager
def opened(url: str) -> Generator[list[Any], None, None]:
    """Open three processes, the last of them with an ASGI door."""
    with ExitStack() as stack:
        doors: list[Any] = []
        for kind in (WSGIDoor, WSGIDoor, ASGIDoor):
            doors.append(kind(settled(Refresh(store=url, settle=0, cookies=None))))
            stack.callback(doors[-1].close)
        yield doors


@refuses("RT-14")
@pytest.mark.parametrize(
    "engine",
    [
        pytest.param("redis", marks=pytest.mark.xdist_group("clients-sentinel")),
        pytest.param("valkey", marks=pytest.mark.xdist_group("clients-valkey")),
    ],
)
def test_a_log_out_is_answered_when_a_replica_has_it(engine: str) -> None:
    with ExitStack() as stack:
        primary = stack.enter_context(engines.Server(engine))
        follow = ("--replicaof", f"{engines.HOST} {primary.port}")
        replica = stack.enter_context(engines.Server(engine, *follow))
        engines.until(lambda: engines.follows(replica))
        url = f"{primary.url}?wait_replicas=1&wait_timeout=0.5"
        doors = stack.enter_context(opened(url))
        held, other = (held_of(doors[0].log_in("alice")) for _ in range(2))
        engines.until(lambda: engines.offset(replica) == engines.offset(primary))
        with replica.paused():
            nobody_is_told(doors, held)
        assert patient(doors[0], log_out(held)).status == 200
        primary.kill()
        replica.do("REPLICAOF", "NO", "ONE")
        with opened(replica.url) as (door, *_):
            assert is_out(door, held)
            assert is_out(door, other)


def waits_for_a_standby(server: postgres.Server) -> bool:
    """Say whether a commit waits. Sessions show a setting before the checkpointer makes it hold."""
    with postgres.session(server.url(), autocommit=True) as db:
        pid = db.info.backend_pid
        commit = Thread(target=db.execute, args=["SELECT pg_logical_emit_message(true, '', '')"])
        commit.start()
        waiting = f"SELECT wait_event FROM pg_stat_activity WHERE pid = {pid}"
        engines.until(lambda: not commit.is_alive() or server.ask(waiting) == "SyncRep")
        if found := commit.is_alive():
            server.ask(f"SELECT pg_cancel_backend({pid})")
        commit.join()
        return found


@refuses("RT-14")
@pytest.mark.xdist_group("clients-postgres")
def test_a_log_out_is_answered_when_a_standby_has_it(postgres_server: postgres.Server) -> None:
    with (
        postgres.fresh_schema(postgres_server.url()) as schema,
        opened(f"{postgres_server.url(schema=schema)}&timeout=1") as doors,
    ):
        held, other = (held_of(doors[0].log_in("alice")) for _ in range(2))
        # A standby that never comes.
        postgres_server.ask("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        postgres_server.ask("SELECT pg_reload_conf()")
        try:
            engines.until(lambda: waits_for_a_standby(postgres_server))
            nobody_is_told(doors, held)
        finally:
            postgres_server.ask("ALTER SYSTEM RESET synchronous_standby_names")
            postgres_server.ask("SELECT pg_reload_conf()")
        assert patient(doors[0], log_out(held)).status == 200
        assert is_out(doors[0], held)
        assert is_out(doors[0], other)
