"""What a poll for ended grants costs, beside another tree: `python -m benchmarks.feed TREE`.

TREE is a checkout of another commit. Both packages live in this process under two names, each with
a store of its own at the same engine. One round is one second of the store's clock, which is moved:
so many grants end, then each package asks once, in turns. Before the first round that counts, a
minute of ends has passed, which the package before this one sent again with each answer.

Ids, octets and CPU are those of one poll. The client's CPU is this process's, the server's is that
of all its processes; nothing else asks meanwhile. What is new is the number of grants that ended in
the round. The other tree's poll that finds nothing, and the octets of an id in a first answer, say
what octets would be enough. `--gate` says by its exit code whether the limits hold, `--quick` is a
look.

It needs Linux: the CPU of processes comes from /proc, octets from the sockets.
"""

from __future__ import annotations

import argparse
import importlib
import os
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

from tests.engines import postgres, redis

from .against import loaded

RETENTION, HORIZON = 700, 670  # seconds
OVERLAP = 60  # rounds before those that count
RATES, ROUNDS = (0, 50, 500), 40
QUICK = ((0, 50), 5)
MORE = 1.2  # ids and octets of a poll, by what is new
LESS = 3.0  # CPU of the other tree by ours, where something ends
IDLE = 1.1  # CPU of ours by the other tree's where nothing ends: a tenth is noise
RECEIVED = 128  # where in Linux's tcp_info the octets received are: linux/tcp.h


@dataclass
class Shifted:
    """The seconds by which the clock of a store is ahead."""

    offset: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.offset


@dataclass
class Poll:
    """What one poll took."""

    ids: int
    octets: int
    client: float  # seconds
    server: float  # seconds


@dataclass
class Feed:
    """A store of one of the packages, and its reader."""

    store: Any
    grant: Any  # one to be added with other ids
    clock: Shifted
    server: Callable[[], float]  # seconds of CPU so far
    cursor: Any = None
    polls: list[Poll] = field(default_factory=list)

    def begin(self, count: int) -> list[str]:
        """Add grants, each of a subject of its own, and return their ids."""
        now = self.clock()
        grants = [self.grant(now) for _ in range(count)]
        for one in grants:
            self.store.add(one, 100)
        return [one.id for one in grants]

    def end(self, grant_ids: list[str]) -> None:
        for one in grant_ids:
            self.store.end(one, "logout")

    def poll(self) -> Poll:
        octets, server, client = received(), self.server(), time.process_time()
        ids, more = 0, True
        while more:
            answer = self.store.ended(self.cursor, HORIZON)
            self.cursor, more = answer.cursor, getattr(answer, "more", False)
            ids += len(answer.grant_ids)
        client = time.process_time() - client
        return Poll(ids, received() - octets, client, self.server() - server)

    def typical(self, name: str) -> float:
        return median(getattr(one, name) for one in self.polls)


def received() -> int:
    """Return the octets that the TCP sockets of this process have received."""
    total = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(name))) as one:
                told = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        except OSError:  # it was closed meanwhile, or is no TCP
            continue
        total += struct.unpack_from("Q", told, RECEIVED)[0]
    return total


def cpu(pids: list[int]) -> float:
    """Return the seconds of CPU that these processes have used, all their threads."""
    nanoseconds = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                nanoseconds += int(task.read_text().split()[0])
            except OSError:  # it has ended
                continue
    return nanoseconds / 1e9


def family(pid: int) -> list[int]:
    """Return the ids of a process and its children, without a program, which would take caches."""
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


class Package:
    """One of the two packages, and what makes its stores."""

    def __init__(self, module: ModuleType) -> None:
        self.name = module.__name__

    def part(self, name: str) -> Any:
        return importlib.import_module(f"{self.name}.{name}")

    def grant(self, now: float) -> Any:
        tokens, contract = self.part("values.tokens"), self.part("stores.contract")
        subject = os.urandom(18).hex()
        return tokens.Grant(
            id=contract.new_grant_id(subject),
            subject=subject,
            client_id="web",
            scope="read write",
            claims=tokens.FrozenDict(),
            bound_key=None,
            generation=1,
            parent=None,
            rotated_at=now,
            created_at=now,
            expires_at=now + 30 * 86400,
        )

    def feed(self, store: Any, clock: Shifted, server: Callable[[], float]) -> Feed:
        return Feed(store, self.grant, clock, server)

    def on_postgres(self, url: str, clock: Shifted) -> Any:
        kind = self.part("stores.postgres").PostgresStore
        store = kind(
            url,
            retention=RETENTION,
            schema=self.name,
            offset=lambda: clock.offset,
            synchronous_commit="off",
        )
        store.check()
        return store

    def on_redis(self, url: str, clock: Shifted) -> Any:
        address, given = self.part("stores.redis.address").parse_redis_url(url)
        kind = self.part("stores.redis").RedisStore
        more = {"prefix": self.name, "offset": lambda: clock.offset}
        return kind(address.client, retention=RETENTION, **given, **more)

    def on_sqlite(self, folder: Path, clock: Shifted) -> Any:
        kind = self.part("stores.sqlite").SQLiteStore
        path = folder / f"{self.name}.db"
        return kind(path, clock=clock, retention=RETENTION, synchronous="NORMAL")


@contextmanager
def on_postgres(*packages: Package) -> Generator[list[Feed]]:
    server = postgres.Server()
    try:
        first = server.start().processes()[0]
        clock = Shifted()
        with ExitStack() as stack:
            feeds = []
            for one in packages:
                store = one.on_postgres(server.url(), clock)
                stack.callback(store.close)
                feeds.append(one.feed(store, clock, lambda: cpu(family(first))))
            yield feeds
    finally:
        server.stop()


@contextmanager
def on_redis(*packages: Package) -> Generator[list[Feed]]:
    clock = Shifted()
    with ExitStack() as stack:
        feeds = []
        for one in packages:
            server = stack.enter_context(redis.Server("redis"))
            store = one.on_redis(server.url, clock)
            stack.callback(store.close)
            pid = server._process.pid if server._process else 0
            feeds.append(one.feed(store, clock, lambda pid=pid: cpu([pid])))  # type: ignore[misc]
        yield feeds


@contextmanager
def on_sqlite(*packages: Package) -> Generator[list[Feed]]:
    clock = Shifted()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        feeds = []
        for one in packages:
            store = one.on_sqlite(Path(folder), clock)
            stack.callback(store.close)
            feeds.append(one.feed(store, clock, lambda: 0.0))
        yield feeds


ENGINES = {"PostgreSQL": on_postgres, "Redis": on_redis, "SQLite": on_sqlite}


def run(feeds: list[Feed], rate: int, rounds: int) -> float:
    """Let grants end and the feeds be read; return the octets that would be enough for a poll."""
    clock = feeds[0].clock
    ids = {id(one): one.begin(rate * (OVERLAP + rounds)) for one in feeds}
    clock.offset += 3600  # what ended before this is older than any reader looks back
    for one in feeds:
        one.cursor, one.polls = None, []
        one.poll()
    empty, enough = (float(min(one.poll().octets for _ in range(3))) for one in feeds)
    for number in range(OVERLAP + rounds):
        begun = time.monotonic()
        for one in feeds:
            one.end(ids[id(one)][number * rate : (number + 1) * rate])
        if number == 0 and rate:
            # Of ids that nobody has asked for before: what the engine's way to say one takes.
            first, cursor = feeds[0].poll(), feeds[0].cursor
            enough += first.octets - empty
            feeds[0].cursor = cursor
        clock.offset += max(1 - (time.monotonic() - begun), 0)
        for one in feeds if number % 2 else reversed(feeds):
            found = one.poll()
            if number >= OVERLAP:
                one.polls.append(found)
    return enough


def show(name: str, rate: int, feeds: list[Feed], enough: float) -> int:
    """Print what was found; return how many limits were missed."""
    here, there = feeds
    missed = 0
    for what, factor in (("ids", 1.0), ("octets", 1.0), ("client", 1e6), ("server", 1e6)):
        ours, theirs = (one.typical(what) * factor for one in (here, there))
        if not (ours or theirs):
            continue  # SQLite has no server, and speaks to none
        if what in ("ids", "octets"):
            need = rate if what == "ids" else enough
            holds = ours <= MORE * need
            limit = f"<= {MORE} x {need:.0f}"
        elif rate:
            holds, limit = theirs >= LESS * ours, f"<= 1/{LESS:.0f}"
        else:
            holds, limit = ours <= IDLE * theirs, f"<= {IDLE}"
        missed += not holds
        unit = what if factor == 1 else f"{what}, µs"
        ratio = ours / theirs if theirs else 0
        verdict = "PASS" if holds else "FAIL"
        figures = f"{theirs:11.0f}{ours:11.0f}{ratio:9.3f}   {limit:16}{verdict}"
        print(f"{name:10} {rate:4}/s {unit:12}{figures}", flush=True)
    return missed


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description="the feed of ended grants beside another tree")
    parser.add_argument("tree", type=Path, help="a checkout of another commit")
    parser.add_argument("--quick", action="store_true", help="a look: few rounds")
    parser.add_argument("--gate", action="store_true", help="exit with 1 where a limit is missed")
    parser.add_argument("--engine", choices=ENGINES, action="append")
    arguments = parser.parse_args()
    packages = [
        Package(loaded(tree, name))
        for tree, name in (
            (Path(__file__).parent.parent, "jwt_here"),
            (arguments.tree, "jwt_there"),
        )
    ]
    rates, rounds = QUICK if arguments.quick else (RATES, ROUNDS)
    missed = 0
    print(f"{'a poll':17} {'':13}{'there':>10}{'here':>11}{'ratio':>9}   limit")
    for name in arguments.engine or ENGINES:
        for rate in rates:
            with ENGINES[name](*packages) as feeds:
                missed += show(name, rate, feeds, run(feeds, rate, rounds))
    return int(arguments.gate and missed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
