"""What a fleet costs its store: `python -m benchmarks.fleet_feed [TREE] [--processes 50]`.

So many processes on one server each answer a request a second, and so ask for ended grants; another
one ends grants. The server's CPU is that of all its processes, less what it takes with the writer
alone; what is printed for a thousand is reckoned on. `--each K` makes K middlewares in a process,
with a store each: the server can't tell them from processes. With TREE, a checkout of another
commit, its package is measured, too. `--sync-every 30` is the setting for fleets.

It needs Linux: the CPU of processes comes from /proc, octets from the sockets.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jwt_middleware import KeySet
from tests.engines import postgres, redis
from tests.engines.pgbouncer import pgbouncer

from .feed import cpu

HERE = Path(__file__).parent
WARM_UP = 3.0  # seconds from when all have had an answer until what they do counts
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Engine:
    """What a fleet asks, and what is asked about it."""

    url: str
    cpu: Callable[[], float]  # seconds so far
    connections: Callable[[], int]
    pooler: Callable[[], float] = lambda: 0.0


def reaped(pid: int) -> float:
    """Return the CPU of the processes that have ended below this one."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / TICKS


@contextmanager
def on_postgres(*, pooled: bool = False) -> Generator[Engine]:
    server = postgres.Server(max_connections="1300")
    try:
        server.start()
        first = server.processes()[0]

        def used() -> float:
            return cpu(server.processes()) + reaped(first)

        def connections() -> int:
            return int(
                server.ask(
                    "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
                    " AND pid <> pg_backend_pid()"
                )
            )

        if not pooled:
            yield Engine(server.url(), used, connections)
            return
        program = os.environ.get("JWT_TEST_PGBOUNCER")
        with pgbouncer(
            server.url(),
            "transaction",
            program=program,
            default_pool_size=8,
            max_client_conn=1300,
        ) as url:
            port = url.rpartition(":")[2].partition("/")[0]
            pid = listening(int(port))
            yield Engine(url, used, connections, lambda: cpu([pid]))
    finally:
        server.stop()


def listening(port: int) -> int:
    """Return the id of the process whose folder of settings names a port."""
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        words = one.read_bytes().split(b"\0")
        config = next((word.decode() for word in words if word.endswith(b"/ini")), None)
        if config and f"listen_port = {port}\n" in Path(config).read_text():
            return int(one.parent.name)
    raise SystemExit("no PgBouncer runs")


@contextmanager
def on_redis() -> Generator[Engine]:
    with redis.Server("redis") as server:
        process = server._process
        assert process is not None
        yield Engine(
            server.url,
            lambda: cpu([process.pid]),
            lambda: int(server.do("CLIENT", "LIST").count("\n")),
        )


ENGINES: dict[str, Callable[[], Any]] = {
    "PostgreSQL": on_postgres,
    "PgBouncer": lambda: on_postgres(pooled=True),
    "Redis": on_redis,
}


class Fleet:
    """The processes of one tree at one engine."""

    def __init__(self, tree: Path, engine: Engine, folder: Path, arguments: Any) -> None:
        self._tree, self._engine, self._arguments = tree, engine, arguments
        options = {} if arguments.sync_every is None else {"sync_every": arguments.sync_every}
        url = engine.url + (f"?{arguments.store_options}" if arguments.store_options else "")
        self._given = {"url": url, "keys": str(folder / "keys.json"), "options": options}

    def start(self, what: str, **more: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                sys.executable,
                str(HERE / "fleet_process.py"),
                json.dumps(self._given | {"what": what} | more),
            ],
            env=os.environ | {"PYTHONPATH": str(self._tree)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def measure(self) -> dict[str, float]:
        """Return what the fleet and its server take."""
        given, engine = self._arguments, self._engine
        (token,) = said(self.start("token"))
        writer = self.start("write", rate=given.rate)
        alone = during(engine, given.seconds, writer)
        sizes = {"processes": given.processes, "each": given.each}
        readers = self.start("read", token=token, **sizes)
        together = during(engine, given.seconds, readers)
        connections = engine.connections()
        (found,) = said(readers)
        said(writer)
        errors = [one["error"] for one in found if "error" in one]
        if errors:
            raise SystemExit(f"{len(errors)} processes failed: {errors[0]}")
        names = ("octets", "sockets", "requests", "refused")
        return {name: sum(one[name] for one in found) for name in names} | {
            "client": sum(one["cpu"] for one in found),
            "server": together["server"] - alone["server"],
            "pooler": together["pooler"] - alone["pooler"],
            "connections": connections,
        }


def said(process: subprocess.Popen[str]) -> list[Any]:
    """End a process, and return what it said, of which each line is JSON."""
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit("a process of the fleet failed")
    return [json.loads(line) for line in out.splitlines()]


def during(engine: Engine, seconds: float, what: subprocess.Popen[str]) -> dict[str, float]:
    """Return the cores that the server and a pooler use for some seconds, when all is ready."""
    assert what.stdout is not None
    assert what.stdout.readline() == "ready\n"
    time.sleep(WARM_UP)
    begun, server, pooler = time.monotonic(), engine.cpu(), engine.pooler()
    time.sleep(seconds)
    took = time.monotonic() - begun
    return {"server": (engine.cpu() - server) / took, "pooler": (engine.pooler() - pooler) / took}


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description="a fleet of processes on one store")
    parser.add_argument("tree", type=Path, nargs="?", help="a checkout of another commit")
    parser.add_argument("--processes", type=int, default=50)
    parser.add_argument("--each", type=int, default=1, metavar="K")
    parser.add_argument("--rate", type=int, default=50, help="grants that end in a second")
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--sync-every", type=float)
    parser.add_argument("--store-options", default="", help="of the address: feed_idle=0")
    parser.add_argument("--engine", choices=ENGINES, action="append")
    parser.add_argument("--quick", action="store_true", help="a look: 10 processes, 4 seconds")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.processes, arguments.seconds = 10, 4
    trees = {"here": HERE.parent}
    if arguments.tree:
        trees = {"there": arguments.tree, **trees}
    total = arguments.processes * arguments.each
    print(f"{total} middlewares in {arguments.processes} processes, {arguments.rate} ends/s")
    print(
        f"{'':17}{'requests/s':>11}{'refused':>8}{'server':>8}{'pooler':>8}{'clients':>8}{'MB/s':>8}"
        f"{'sockets':>8}{'at server':>10}   for 1,000: server, MB/s"
    )
    for name in arguments.engine or ENGINES:
        for label, tree in trees.items():
            with tempfile.TemporaryDirectory() as folder, ENGINES[name]() as engine:
                KeySet.generate().save(Path(folder, "keys.json"))
                found = Fleet(tree, engine, Path(folder), arguments).measure()
            more = 1000 / total
            print(
                f"{name:11}{label:6}{found['requests']:11.0f}{found['refused']:8.0f}"
                f"{found['server']:8.3f}{found['pooler']:8.3f}{found['client']:8.3f}"
                f"{found['octets'] / 1e6:8.3f}{found['sockets']:8.0f}{found['connections']:10.0f}"
                f"   {found['server'] * more:.2f} cores, {found['octets'] / 1e6 * more:.1f}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
