"""Redis and Valkey keep the contract: single, Cluster and Sentinel, sync and async."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from threading import Thread
from typing import Any, Self

import pytest
import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.backoff import ConstantBackoff, ExponentialWithJitterBackoff, NoBackoff
from redis.crc import key_slot
from redis.exceptions import NoPermissionError
from redis.retry import Retry
from redis.sentinel import Sentinel

import jwt_middleware.stores.redis
from jwt_middleware import ConfigurationError, StoreUnavailable
from jwt_middleware.stores import SHARDS, new_grant_id, shard
from jwt_middleware.stores.redis import AsyncRedisStore, RedisStore
from jwt_middleware.stores.redis.address import Queue, parse_redis_url
from jwt_middleware.stores.redis.rows import packed, packed_more, unpacked
from jwt_middleware.stores.redis.start_checks import (
    RIGHTS_IN_A_CLUSTER,
    RIGHTS_TO_HEAR,
    RIGHTS_TO_SERVE,
    kind_of,
    refused,
)
from jwt_middleware.testing.store_contract import CASES, Case
from jwt_middleware.values.tokens import FrozenDict
from tests.engines import redis as engines
from tests.processes import ROOT
from tests.stores import RETENTION, new_grant

park = engines.park
PATIENTLY = "?timeout=5"  # for a crowd at once, where the usual second is short on a busy machine


def topologies(*, all_long: bool = False) -> list[Any]:
    """Return each topology on each engine; with CI's patience Cluster and Sentinel on one."""
    found = []
    for topology, engine in (
        (topology, engine)
        for topology in ("single", "cluster", "sentinel")
        for engine in engines.ENGINES
    ):
        name = f"{topology}-{engine}"
        marks = [pytest.mark.xdist_group(name)]
        if all_long or name in {"cluster-redis", "sentinel-valkey"}:
            marks.append(pytest.mark.long)
        found.append(pytest.param(topology, engine, id=name, marks=marks))
    return found


everywhere = pytest.mark.parametrize(("topology", "engine"), topologies())
each_case = pytest.mark.parametrize("case", CASES, ids=str)
on_each_engine = pytest.mark.parametrize(
    "engine",
    [
        pytest.param(engine, marks=pytest.mark.xdist_group(f"single-{engine}"))
        for engine in engines.ENGINES
    ],
)


@each_case
@everywhere
def test_keeps_the_contract(case: Case, park: engines.Park, topology: str, engine: str) -> None:
    url = park(topology, engine).url + PATIENTLY
    case.run(
        lambda clock, retention: engines.a_store(
            url, retention=retention, offset=lambda: clock.offset
        )
    )


@each_case
@everywhere
def test_keeps_the_contract_awaited(
    case: Case, park: engines.Park, topology: str, engine: str
) -> None:
    url = park(topology, engine).url + PATIENTLY
    case.run(
        lambda clock, retention: engines.an_async_store(
            url, retention=retention, offset=lambda: clock.offset
        )
    )


# --- keys and rows


@pytest.mark.parametrize("prefix", ["jwt", "x", "shop:jwt", "a-rather-long-prefix"])
def test_each_sixteenth_of_the_slots_has_one_shard(prefix: str) -> None:
    slots = [key_slot(f"{prefix}{letter}:".encode()) for letter in SHARDS]
    assert sorted(slot // 1024 for slot in slots) == list(range(16))


def test_what_belongs_together_has_one_slot() -> None:
    store = RedisStore(None, retention=700)
    grant = new_grant(subject="Zoë")
    letter = shard("Zoë")
    keys = [
        store._verbs.row(grant.id),
        store._verbs.beside(grant.id),
        store._verbs.index("Zoë"),
        store._verbs.logs[letter],
    ]
    assert {key[: key.index(b"}") + 1] for key in keys} == {f"{{jwt{letter}:}}".encode()}
    assert all(len(key) <= 30 for key in keys), "a longer key takes more memory than it says"


@pytest.mark.parametrize("text", ["", "\0", "\n", "ÿþý", "\ud7ff\ue000\U0010ffff", "a\0b\n" * 9000])
def test_a_row_comes_back_whatever_is_in_it(text: str) -> None:
    given: dict[str, Any] = dict.fromkeys(("subject", "client_id", "scope", "parent"), text)
    grant = new_grant(
        id="id",
        **given,
        bound_key=text,
        claims=FrozenDict({text: text}),
        generation=2**40 + 1,
        rotated_at=1_800_000_000.123,
    )
    assert unpacked("id", packed(grant)) == grant
    extras = {"last_used_at": 1_800_000_001.5, "idle_limit": 0.25, "is_session": True}
    for given in ({}, {"label": text}, {"label": text, **extras}, extras):
        grant = replace(grant, **given)
        assert unpacked("id", packed(grant), 0, packed_more(grant) or None) == grant


def test_what_a_grant_has_more_may_be_damaged_too() -> None:
    row = packed(new_grant(id="id"))
    for more in (b"", b"short", b"\0" * 12 + b"\2\xff"):
        with pytest.raises(StoreUnavailable, match="damaged"):
            unpacked("id", row, 0, more)


@pytest.mark.parametrize(
    "row", [b"", b"short", b"x" * 24, b"x" * 24 + b"\xff" * 3, b"\0" * 24 + b"\xfd"]
)
def test_a_damaged_row_is_told(row: bytes) -> None:
    with pytest.raises(StoreUnavailable, match="damaged"):
        unpacked("id", row)


@on_each_engine
def test_everything_expires_by_itself(park: engines.Park, engine: str) -> None:
    server = park("own", engine)
    store = engines.a_store(server.url, retention=-59.5)
    now = time.time()
    grants = [new_grant(now, expires_at=now + 0.5) for _ in range(3)]
    for grant in grants:
        store.add(grant, 2)
    store.use(grants[2].id)
    store.add(new_grant(now, expires_at=now + 0.5, subject="bob", label="phone"), 2)
    store.end(grants[1].id, "logout")
    store.admit("proof", now + 0.5)
    assert server.do("DBSIZE") == 10  # rows, two with more, indexes, log, proof
    assert store.purge(now) == 0
    engines.until(lambda: server.do("DBSIZE") == 0, 5)
    store.close()


# --- one round trip

VERBS: dict[str, Callable[[RedisStore, Any], object]] = {
    "add": lambda store, one: store.add(new_grant(time.time()), 100),
    "advance": lambda store, one: store.advance(one.id, 1, 2, "parent"),
    "add with more": lambda store, one: store.add(new_grant(time.time(), label="phone"), 100),
    "use": lambda store, one: store.use(one.id),
    "read": lambda store, one: store.advance(one.id, 1, 1, None),
    "end": lambda store, one: store.end(one.id, "logout"),
    "end_subject": lambda store, one: store.end_subject(one.subject, "logout"),
    "grants": lambda store, one: store.grants(one.subject),
    "ended": lambda store, one: store.ended(None, RETENTION),
    "is_living": lambda store, one: store.is_living(one.id),
    "admit": lambda store, one: store.admit("key", time.time() + 100),
}


@on_each_engine
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_one_round_trip(park: engines.Park, engine: str, verb: str) -> None:
    with engines.Wire(park("own", engine).port) as wire:
        store = engines.a_store(wire.url)
        store.check()  # so that the server knows the scripts
        grant = new_grant(time.time())
        store.add(grant, 100)
        before = wire.packets, wire.connections
        answer: Any = VERBS[verb](store, grant)
        # Who has no cursor yet looks first where to begin.
        trips = 2 if verb == "ended" else 1
        assert (wire.packets - before[0], wire.connections) == (trips, before[1])
        if verb == "ended":
            store.ended(answer.cursor, RETENTION)
            assert wire.packets - before[0] == 3
        store.close()


# --- clients of the application's own


@on_each_engine
@pytest.mark.parametrize(
    "options", [{"decode_responses": True}, {"protocol": 3}, {"protocol": 2, "encoding": "latin-1"}]
)
async def test_any_client_of_the_applications_will_do(
    park: engines.Park, engine: str, options: dict[str, Any]
) -> None:
    port = park("own", engine).port
    grant = new_grant(time.time(), subject="Zoë")
    options = {**options, "retry": Retry(NoBackoff(), 0)}
    aoptions: dict[str, Any] = options | {"retry": AsyncRetry(NoBackoff(), 0)}
    with redis.Redis(port=port, **options) as client:
        store = RedisStore(client, retention=700)
        store.check()
        store.add(grant, 100)
        assert [one.id for one in store.grants("Zoë")] == [grant.id]
        store.close()
        assert client.ping(), "it is the application's to close"
    async with redis.asyncio.Redis(port=port, **aoptions) as aclient:
        astore = AsyncRedisStore(aclient, retention=700)
        await astore.check()
        assert [one.id for one in await astore.grants("Zoë")] == [grant.id]
        assert await astore.end(grant.id, "logout")
        assert grant.id in (await astore.ended(None, RETENTION)).grant_ids
        await astore.aclose()
        await astore.aclose()
        assert await aclient.ping(), "it is the application's to close"


@pytest.mark.xdist_group("cluster-valkey")
async def test_a_cluster_client_of_the_applications_will_do(park: engines.Park) -> None:
    port = park("cluster", "valkey").servers[0].port
    grant = new_grant(time.time())
    options: dict[str, Any] = {"host": engines.HOST, "port": port, "socket_timeout": 2}
    options["socket_connect_timeout"] = 2
    with redis.RedisCluster(**options, retry=Retry(NoBackoff(), 1)) as client:
        store = RedisStore(client, retention=700)
        store.check()
        store.add(grant, 100)
        store.close()
        assert client.ping()
    aretry = AsyncRetry(NoBackoff(), 1)
    async with redis.asyncio.RedisCluster(**options, retry=aretry) as aclient:
        astore = AsyncRedisStore(aclient, retention=700)
        await astore.check()
        assert await astore.end(grant.id, "logout")
        await astore.aclose()
        assert await aclient.ping()


@pytest.mark.xdist_group("sentinel-redis")
async def test_a_sentinels_client_of_the_applications_will_do(park: engines.Park) -> None:
    hosts = [(engines.HOST, one.port) for one in park("sentinel", "redis").sentinels]
    grant = new_grant(time.time())
    sentinel = Sentinel(hosts, socket_timeout=2, retry=Retry(NoBackoff(), 0))
    with sentinel.master_for("grants") as client:
        store = RedisStore(client, retention=700)
        store.check()
        store.add(grant, 100)
        store.close()
    with (
        sentinel.slave_for("grants") as replica,
        pytest.raises(ConfigurationError, match="replica"),
    ):
        RedisStore(replica, retention=700).check()
    for one in sentinel.sentinels:
        one.close()
    asentinel = AsyncSentinel(hosts, socket_timeout=2, retry=AsyncRetry(NoBackoff(), 0))
    async with asentinel.master_for("grants") as aclient:
        astore = AsyncRedisStore(aclient, retention=700)
        await astore.check()
        assert await astore.end(grant.id, "logout")
    for aone in asentinel.sentinels:
        await aone.aclose()


@pytest.mark.parametrize("seconds", [None, 60])
async def test_a_client_that_would_wait_for_ever_is_refused(seconds: float | None) -> None:
    port = engines.free_port()  # it isn't even asked
    with (
        redis.Redis(port=port, socket_timeout=seconds) as client,
        pytest.raises(ConfigurationError, match="socket_timeout"),
    ):
        RedisStore(client, retention=700).check()
    async with redis.asyncio.Redis(port=port, socket_timeout=seconds) as aclient:
        with pytest.raises(ConfigurationError, match="socket_timeout"):
            await AsyncRedisStore(aclient, retention=700).check()


@pytest.mark.parametrize(
    ("backoff", "retries"),
    [
        (ExponentialWithJitterBackoff(base=1, cap=10), 3),  # redis-py 6.4 and 7
        (ExponentialWithJitterBackoff(base=0.01, cap=1), 10),  # redis-py 8
        (NoBackoff(), -1),
        (NoBackoff(), 4),
        (ConstantBackoff(3), 2),
    ],
)
async def test_a_client_that_tries_again_for_too_long_is_refused(
    backoff: Any, retries: int
) -> None:
    options: dict[str, Any] = {"port": engines.free_port(), "socket_timeout": 2}
    with (
        redis.Redis(**options, retry=Retry(backoff, retries)) as client,
        pytest.raises(ConfigurationError) as caught,
    ):
        RedisStore(client, retention=700).check()
    assert "retry=Retry(NoBackoff(), 0)" in str(caught.value.remedy)
    async with redis.asyncio.Redis(**options, retry=AsyncRetry(backoff, retries)) as aclient:
        with pytest.raises(ConfigurationError) as awaited:
            await AsyncRedisStore(aclient, retention=700).check()
    assert str(awaited.value) == str(caught.value)


@on_each_engine
def test_a_client_that_tries_again_shortly_will_do(park: engines.Park, engine: str) -> None:
    retry = Retry(ConstantBackoff(0.5), 2)
    port = park("own", engine).port
    seconds: dict[str, Any] = {"socket_timeout": 2, "socket_connect_timeout": 2}
    with redis.Redis(port=port, retry=retry, **seconds) as client:
        RedisStore(client, retention=700).check()


# --- processes and loops


@on_each_engine
def test_a_store_may_be_used_in_one_loop_after_the_other(park: engines.Park, engine: str) -> None:
    store = engines.an_async_store(park("single", engine).url)
    grant = new_grant(time.time())

    async def begin() -> None:
        await store.add(grant, 100)
        await store.aclose()

    async def go_on() -> bool:
        answer = await store.advance(grant.id, 1, 2, "parent")
        await store.aclose()
        return answer.advanced

    asyncio.run(begin())
    assert asyncio.run(go_on())


@on_each_engine
def test_a_child_opens_connections_of_its_own(park: engines.Park, engine: str) -> None:
    warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: threads don't survive
    store = engines.a_store(park("single", engine).url)
    grant = new_grant(time.time())
    store.add(grant, 100)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with store._locks[os.getppid()]:  # a thread of the parent's was just opening
            answers = [store.advance(grant.id, seen, seen + 1, None).advanced for seen in (1, 2, 3)]
        os.write(writing, repr(answers).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 100) == b"[True, True, True]"
    assert store.advance(grant.id, 4, 5, None).advanced
    os.close(reading)
    os.close(writing)
    store.close()


@on_each_engine
def test_many_threads_open_one_client(park: engines.Park, engine: str) -> None:
    made = []
    address, _ = parse_redis_url(park("single", engine).url)

    def make() -> Any:
        made.append(address.client())
        time.sleep(0.05)
        return made[-1]

    store = RedisStore(make, retention=700)
    threads = [Thread(target=store.grants, args=("alice",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    store.close()
    store.close()


@on_each_engine
def test_of_many_processes_one_wins_each_generation(park: engines.Park, engine: str) -> None:
    url, top = park("single", engine).url, 100
    grant = new_grant(time.time())
    store = engines.a_store(url)
    store.add(grant, 100)
    climb = (
        "import sys; from tests.engines.redis import a_store\n"
        "store, seen, won = a_store(sys.argv[1]), 1, []\n"
        "while seen < int(sys.argv[3]):\n"
        "    advanced, row = store.advance(sys.argv[2], seen, seen + 1, 'parent')\n"
        "    won += [seen] if advanced else []\n"
        "    seen = row.generation\n"
        "print(won)\n"
    )
    command = [sys.executable, "-c", climb, url, grant.id, str(top)]
    climbers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(3)
    ]
    won = [generation for one in climbers for generation in eval(one.communicate()[0])]
    assert sorted(won) == list(range(1, top))
    store.close()


# --- at start


def test_without_redis_py_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    path = jwt_middleware.stores.redis.__file__
    spec = importlib.util.spec_from_file_location("jwt_middleware.stores.another", path)
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ConfigurationError, match=r"pip install .*\[redis\]"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


@pytest.mark.parametrize("version", ["5.2.1", "6.3.9"])
def test_an_old_redis_py_is_told(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis, "__version__", version)
    path = jwt_middleware.stores.redis.__file__
    spec = importlib.util.spec_from_file_location("jwt_middleware.stores.another", path)
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ConfigurationError, match=f"6.4 or newer, and this is {version}"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


class Closing:
    """A proxy that closes the connection for a command that it doesn't know, as nutcracker does."""

    def __init__(self) -> None:
        self._listener = socket.create_server((engines.HOST, 0))
        self.url = f"redis://{engines.HOST}:{self._listener.getsockname()[1]}"
        Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with client:
                    while count := client.recv(1 << 16).count(b"CLIENT"):
                        client.sendall(b"+OK\r\n" * count)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def test_a_proxy_that_hangs_up_is_told_at_start() -> None:
    with Closing() as proxy:
        error = check(proxy.url)
        assert "hangs up" in error.problem
        assert "twemproxy" in str(error.remedy)
        assert "rediss" in str(error.remedy)


def test_a_proxy_that_resets_is_told_at_start() -> None:
    verbs = RedisStore(None, retention=700)._verbs
    error = redis.ConnectionError("reading")
    assert "hangs up" not in refused(verbs, error).problem
    error.__cause__ = ConnectionResetError()
    assert "hangs up" in refused(verbs, error).problem


@pytest.mark.parametrize(
    ("missing", "remedy"),
    [(("EVAL", "EVALSHA"), "Lua"), (("TIME",), "proxy"), (("INFO",), "proxy")],
)
@pytest.mark.parametrize("engine", engines.ENGINES)
def test_a_server_that_lacks_a_command_is_told(
    engine: str, missing: tuple[str, ...], remedy: str
) -> None:
    words = [word for one in missing for word in ("--rename-command", one, "")]
    with engines.Server(engine, *words) as server:
        error = check(server.url)
        assert f"no command {missing[-1]}" in error.problem
        assert remedy in str(error.remedy)


def test_fakeredis_is_told() -> None:
    from jwt_middleware.stores.redis import start_checks as module

    hello = {b"server": b"fakeredis", b"version": b"2.40.0"}  # as fakeredis 2.40 says
    with pytest.raises(ConfigurationError, match="fakeredis"):
        module._check_server(hello)


def check(url: str, **options: Any) -> ConfigurationError:
    """Return what both kinds of stores say at start."""
    store, astore = engines.a_store(url, **options), engines.an_async_store(url, **options)

    async def acheck() -> None:
        try:
            await astore.check()
        finally:
            await astore.aclose()

    with pytest.raises(ConfigurationError) as caught:
        store.check()
    store.close()
    with pytest.raises(ConfigurationError) as awaited:
        asyncio.run(acheck())
    assert str(awaited.value) == str(caught.value)
    assert "secret" not in str(caught.value)
    return caught.value


def test_nobody_there_is_told_at_start() -> None:
    error = check(f"redis://user:secret@{engines.HOST}:{engines.free_port()}")
    assert "ConnectionError" in error.problem
    error = check(f"redis+cluster://user:secret@{engines.HOST}:{engines.free_port()}")
    assert "Cluster" in error.remedy
    error = check(f"redis+sentinel://user:secret@{engines.HOST}:{engines.free_port()}/grants")
    assert "Sentinel" in error.remedy


@on_each_engine
def test_a_wrong_password_is_told_at_start(park: engines.Park, engine: str) -> None:
    port = park("own", engine).port
    error = check(f"redis://user:secret@{engines.HOST}:{port}")
    assert "password" in error.remedy


@pytest.mark.xdist_group("sentinel-redis")
def test_the_wrong_kind_of_server_is_told_at_start(park: engines.Park) -> None:
    found = park("sentinel", "redis")
    replica = next(one for one in found.data if one is not found.primary)
    assert "replica" in check(replica.url).problem
    assert "redis+sentinel://" in check(found.sentinels[0].url).remedy
    assert "no Sentinel" in check(found.url.replace("grants", "others")).remedy
    assert "Cluster" in check(found.primary.url.replace("redis:", "redis+cluster:")).remedy


@pytest.mark.xdist_group("cluster-valkey")
def test_a_cluster_that_is_taken_for_one_server_is_told_at_start(park: engines.Park) -> None:
    assert "redis+cluster://" in check(park("cluster", "valkey").servers[0].url).remedy
    error = check(park("cluster", "valkey").servers[0].url, serve=False)
    assert "redis+cluster://" in error.remedy


@on_each_engine
def test_a_server_that_forgets_is_refused(park: engines.Park, engine: str) -> None:
    server = park("own", engine)
    store = engines.a_store(server.url)
    server.do("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
    store.check()  # there is no limit, so nothing is evicted
    server.do("CONFIG", "SET", "maxmemory", "1gb")
    try:
        assert "noeviction" in check(server.url).remedy
    finally:
        server.do("CONFIG", "SET", "maxmemory-policy", "noeviction")
    store.check()
    server.do("CONFIG", "SET", "maxmemory", "0")
    store.close()


def test_an_old_server_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from jwt_middleware.stores.redis import start_checks as module

    hello = {b"version": b"6.0.16", b"mode": b"standalone", b"role": b"master"}
    with pytest.raises(ConfigurationError, match=r"6\.0 is older than 6\.2"):
        module._check_server(hello)
    with pytest.raises(redis.ResponseError):
        module._check_memory(redis.ResponseError("ERR"))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("MISCONF Errors writing to the AOF file", "MISCONF"),
        (
            "Error running script (call to f_1): @user_script:1: -OOM command not allowed",
            "OutOfMemoryError",
        ),
        ("Error running script: @user_script:1: -NOPERM this user", "NoPermissionError"),
        ("unknown command", "ResponseError"),
    ],
)
def test_an_error_is_called_by_the_servers_word(text: str, kind: str) -> None:
    assert kind_of(redis.ResponseError(text)) == kind


# --- rights


def user(server: Any, name: str, rights: str) -> str:
    """Make a user who has exactly these rights, and return the URL."""
    words = rights.replace("<prefix>", "jwt").split()
    server.do("ACL", "SETUSER", name, "reset", "on", ">secret", *words)
    return f"redis://{name}:secret@{engines.HOST}:{server.port}"


@on_each_engine
async def test_a_serving_user_needs_these_rights(park: engines.Park, engine: str) -> None:
    url = user(park("own", engine), "serving", RIGHTS_TO_SERVE)
    store, astore = engines.a_store(url), engines.an_async_store(url)
    store.check()
    await astore.check()
    grant = new_grant(time.time())
    for verb in VERBS.values():
        verb(store, grant)
    with pytest.raises(NoPermissionError):
        store._link().client.keys()
    store.close()
    await astore.aclose()


@on_each_engine
@pytest.mark.parametrize("missing", sorted({*RIGHTS_TO_SERVE.split()} - {"+eval", "+wait"}))
def test_a_missing_right_is_told_at_start(park: engines.Park, engine: str, missing: str) -> None:
    server = park("own", engine)
    engines_store = engines.a_store(server.url)
    engines_store.check()  # the scripts are known
    engines_store.close()
    url = user(
        server, "serving", " ".join(one for one in RIGHTS_TO_SERVE.split() if one != missing)
    )
    error = check(url)
    assert "ACL SETUSER" in error.remedy
    assert missing.replace("<prefix>", "jwt") in error.remedy


@on_each_engine
def test_who_only_hears_needs_less(park: engines.Park, engine: str) -> None:
    server = park("own", engine)
    url = user(server, "hearing", RIGHTS_TO_HEAR)
    serving = engines.a_store(server.url)
    grant = new_grant(time.time())
    serving.add(grant, 100)
    serving.end(grant.id, "logout")
    store = engines.a_store(url, serve=False)
    store.check()
    assert store.ended(None, RETENTION).grant_ids == (grant.id,)
    assert not store.is_living(grant.id)
    with pytest.raises(StoreUnavailable, match="NoPermissionError"):
        store.end_before(None)
    asyncio.run(hear(engines.an_async_store(url, serve=False), grant.id))
    for name, verb in VERBS.items():
        if name not in {"ended", "is_living"}:
            with pytest.raises(StoreUnavailable, match="NoPermissionError"):
                verb(store, grant)
    assert "ACL SETUSER" in check(url).remedy, "it can't serve"
    former = "~{<prefix>?:}e +time +zrangebyscore +exists"
    for rights in ("+time", former):
        url = user(server, "less", rights)
        assert RIGHTS_TO_HEAR.replace("<prefix>", "jwt") in str(check(url, serve=False).remedy)
        less = engines.a_store(url, serve=False)
        with pytest.raises(StoreUnavailable, match="NoPermissionError"):
            less.is_living(grant.id)
        less.close()
    for one in (serving, store):
        one.close()


async def hear(store: AsyncRedisStore, grant_id: str) -> None:
    await store.check()
    assert (await store.ended(None, RETENTION)).grant_ids == (grant_id,)
    await store.aclose()


@pytest.mark.xdist_group("cluster-valkey")
async def test_the_rights_in_a_cluster(park: engines.Park) -> None:
    found = park("cluster", "valkey")
    for server in found.servers:
        user(server, "serving", f"{RIGHTS_TO_SERVE} {RIGHTS_IN_A_CLUSTER}")
        user(server, "hearing", f"{RIGHTS_TO_HEAR} {RIGHTS_IN_A_CLUSTER}")
    for name, serve in (("serving", True), ("hearing", False)):
        url = found.url.replace("://", f"://{name}:secret@")
        store = engines.a_store(url, serve=serve)
        astore = engines.an_async_store(url, serve=serve)
        store.check()
        await astore.check()
        store.close()
        await astore.aclose()


def test_the_docs_name_these_rights() -> None:
    page = (ROOT / "docs" / "stores.md").read_text("utf-8")
    for rights in (RIGHTS_TO_SERVE, RIGHTS_TO_HEAR, RIGHTS_IN_A_CLUSTER):
        assert rights.replace("<prefix>", "jwt") in page


# --- addresses


def test_no_sentinel_is_lost_where_two_look_for_the_primary_at_once() -> None:
    asked = Queue(["first", "second", "third"])
    # Each goes through them, and puts the one that answered in front, as redis-py does.
    one, other = iter(enumerate(asked)), iter(enumerate(asked))
    for place, found in [*zip(one, other, strict=True)][-1]:
        asked[0], asked[place] = found, asked[0]
    assert asked == ["third", "first", "second"]


def settings_of(url: str) -> tuple[Any, dict[str, Any]]:
    address, options = parse_redis_url(url)
    return vars(address), options


def test_an_address_says_everything() -> None:
    found, options = settings_of(
        "redis://user:p%40ss@host:1234/3?prefix=shop&timeout=2&pool_max=5"
        "&wait_replicas=1&wait_timeout=0.5&client_name=web"
    )
    assert found["hosts"] == [("host", 1234)]
    assert (
        found["settings"] | {"username": "user", "password": "p@ss", "db": 3} == found["settings"]
    )
    assert found["settings"]["client_name"] == "web"
    address, _ = parse_redis_url("redis://host?timeout=2")
    assert address.client().connection_pool.connection_kwargs["socket_timeout"] == 1
    assert options == {
        "prefix": "shop",
        "timeout": 2,
        "wait_replicas": 1,
        "wait_timeout": 0.5,
    }
    RedisStore.from_url("redis://host?timeout=0.5", clock=time.time, retention=700)
    found, _ = settings_of("rediss+sentinel://:pw@[::1]:1,two/my%20grants/2?sentinel_username=s")
    assert found["hosts"] == [("::1", 1), ("two", 26379)]
    assert (found["service"], found["settings"]["db"]) == ("my grants", 2)
    assert (found["settings"]["username"], found["settings"]["ssl"]) == (None, True)
    assert found["sentinel"] | {"username": "s", "ssl": True} == found["sentinel"]
    found, _ = settings_of("rediss+cluster://one,two:2?ssl_ca_certs=/ca.pem")
    assert found["hosts"] == [("one", 6379), ("two", 2)]
    assert found["settings"]["ssl_ca_certs"] == "/ca.pem"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis://", "no address"),
        ("http://user:secret@host", "no address"),
        ("redis://user:secret@host#x", "no address"),
        ("redis://secret@one,two", "one host"),
        ("redis://host/secret", "path"),
        ("redis+cluster://host/1", "path"),
        ("redis+sentinel://host", "path"),
        ("redis+sentinel://host/grants/secret", "path"),
        ("redis://ho]st", "can't be read"),
        ("redis://host:secret", "can't be read"),
        ("redis://host?x=secret", "has no option x"),
        ("redis://host?ssl_ca_certs=secret", "has no option"),
        ("redis://host?sentinel_password=secret", "has no option"),
        ("rediss+cluster://host?ssl_password=secret", "has no option ssl_password"),
        ("redis://host?serve=secret", "has no option serve"),
        ("redis://host?timeout=secret", "can't be read"),
        ("redis://host?secret", "can't be read"),
        ("redis://host?timeout=1&timeout=2", "twice"),
        ("redis://host?timeout=10", "less than 10"),
        ("redis://host?timeout=0", "more than 0"),
        ("redis://host?pool_max=0", "at least 1"),
        ("redis://host?feed_idle=-1", "negative"),
        ("redis://host?feed_idle=nan", "negative"),
        ("redis://host?wait_replicas=-1", "wait_timeout"),
        ("redis://host?wait_timeout=2", "wait_timeout"),
        ("redis://host?prefix=a{b", "prefix"),
        ("redis://host?prefix=", "prefix"),
    ],
)
def test_a_wrong_address_is_told(url: str, problem: str) -> None:
    for kind in (RedisStore, AsyncRedisStore):
        with pytest.raises(ConfigurationError, match=problem) as caught:
            kind.from_url(url, clock=time.time, retention=700)
        assert "secret" not in str(caught.value)


@on_each_engine
async def test_a_url_is_enough(park: engines.Park, engine: str) -> None:
    url = park("single", engine).url
    store = RedisStore.from_url(url, clock=time.time, retention=700)
    assert store.blocking
    assert store.grants("nobody") == ()
    store.close()
    astore = AsyncRedisStore.from_url(url, clock=time.time, retention=700)
    assert await astore.grants("nobody") == ()
    assert await astore.purge(0) == 0
    await astore.aclose()


def test_an_id_says_its_shard() -> None:
    assert new_grant_id("alice")[0] == shard("alice")
