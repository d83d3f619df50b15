"""What a grant costs in Redis or Valkey: `python -m benchmarks.redis_store [--engine E] [--gate]`.

A rotation is compared with a GET of a row of the same size through the same client, in turns, by
wall clock: both wait for the same socket. Bytes are the server's `used_memory`, its tables and the
slack of its allocator included. `--millions 1` loads so many grants into one server and few into
another, and compares the rotation of any of them, in turns, too; `--gate` says by its exit code
whether all limits hold. Run it on a machine at rest.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from time import perf_counter_ns
from typing import Any

from benchmarks.grants import new_grant, one_core
from benchmarks.measure import Times, measure
from jwt_middleware.stores.redis import RedisStore
from jwt_middleware.stores.redis.links import WAITING, NodeAddress, Question, ServerLink
from jwt_middleware.stores.redis.scripts import SCRIPTS
from jwt_middleware.stores.redis.verbs import RedisVerbs
from jwt_middleware.values.flows import Flow, ask
from jwt_middleware.values.randomness import identifier
from tests.engines.redis import ENGINES, Server

ROTATION_OVER_GET = 1.35
BYTES = 450
LOADED_OVER_EMPTY = 1.1  # "unchanged", as far as this can be measured
FEW = 1000
SIZES = (30_000, 66_000)  # grants; the last just after a table of the server has doubled


class Rotating:
    """Grants that are rotated: each call rotates the next of them."""

    def __init__(self, store: RedisStore, *grant_ids: str) -> None:
        self._store = store
        self._ids = grant_ids
        self._calls = 0
        self._parents = [identifier() for _ in range(1000)]

    def __call__(self) -> None:
        round_, place = divmod(self._calls, len(self._ids))
        parent = self._parents[self._calls % 1000]
        answer = self._store.advance(self._ids[place], round_ + 1, round_ + 2, parent)
        assert answer.advanced
        self._calls += 1


def ratio(server: Server, rounds: int) -> tuple[float, float, float]:
    """Return the microseconds of a rotation and of a GET, and their ratio."""
    with server.client() as client:
        # The store's own connections are configured like those of any client.
        own = RedisStore(client, retention=700)
        grant = new_grant()
        own.add(grant, 100)
        rotate = Rotating(own, grant.id)
        row = f"{{jwt{grant.id[0]}:}}g{grant.id[1:]}"

        def get() -> None:
            assert client.get(row)

        rotate()
        # One call each, in turns, so that other work on the machine slows both equally.
        times = measure(
            {"rotate": rotate, "get": get}, rounds=rounds, burst=1, clock=perf_counter_ns
        )
        own.close()
    return times.typical("rotate") / 1000, times.typical("get") / 1000, times.ratio("rotate", "get")


def growth(engine: str, count: int, rounds: int) -> Times:
    """Compare the rotation of grants among many with that among few, in turns and in any order."""
    with one_core(), Server(engine) as small, Server(engine) as large, ExitStack() as stack:
        rotations: dict[str, Callable[[], None]] = {}
        for name, server, grants in (("few", small, FEW), ("many", large, count)):
            store = RedisStore(stack.enter_context(server.client()), retention=700)
            stack.callback(store.close)
            ids = load(server, grants)
            random.Random(1).shuffle(ids)
            # Copied in this order, so that only the server's memory is accessed at random.
            rotations[name] = Rotating(store, *(one.encode().decode() for one in ids))
        return measure(rotations, rounds=rounds, burst=1, clock=perf_counter_ns)


def sizes(server: Server, count: int) -> Iterator[tuple[str, float]]:
    """Yield bytes per grant: as begun, rotated often, and ended."""
    server.do("FLUSHALL")
    empty = used(server)
    verbs = RedisVerbs(Recorder, retention=700)
    ids = []

    def begin() -> Iterator[Flow[Any]]:
        for _ in range(count):
            grant = new_grant()
            ids.append(grant.id)
            yield verbs.add(grant, 100)

    batched(server, begin())
    yield "begun", (used(server) - empty) / count
    for generation in range(1, 6):
        batched(
            server,
            (verbs.advance(one, generation, generation + 1, identifier()) for one in ids),
        )
    yield "rotated 5 times", (used(server) - empty) / count
    batched(server, (verbs.end(one, "logout") for one in ids))
    yield "ended, in the log", (used(server) - empty) / count


def used(server: Server) -> int:
    # The server moves a growing table bit by bit, and has two of them meanwhile: wait for the end.
    time.sleep(2)
    return int(server.do("INFO", "memory")["used_memory"])


def load(server: Server, count: int) -> list[str]:
    """Add grants, and return their ids."""
    verbs = RedisVerbs(Recorder, retention=700)
    grants = [new_grant() for _ in range(count)]
    batched(server, (verbs.add(one, 100) for one in grants))
    return [one.id for one in grants]


def batched(server: Server, flows: Iterable[Flow[Any]]) -> None:
    """Do what the verbs do, a thousand in one packet."""
    with server.client() as client:
        for script in SCRIPTS.values():
            client.script_load(script.decode())
        pipe = client.pipeline(transaction=False)
        for flow in flows:
            _, (command,), _ = next(flow)
            pipe.execute_command(*command)
            if len(pipe) == 1000:
                pipe.execute()
        pipe.execute()


class Recorder(ServerLink):
    """A link that only yields the command that would be sent."""

    def __init__(self) -> None:
        super().__init__(WAITING, None, is_ours=False, patience=0)

    def send(
        self, key: bytes, commands: Sequence[Question], where: NodeAddress | None = None
    ) -> Flow[list[Any]]:
        return ask(lambda *_: [], *commands)


class Report:
    """Lines of a table, and whether all is within its limits."""

    def __init__(self) -> None:
        self.passed = True
        print("| | measured | limit | |\n|---|---:|---:|---|")

    def line(self, what: str, measured: float, limit: float, form: Callable[[float], str]) -> None:
        passed = measured <= limit
        self.passed &= passed
        print(f"| {what} | {form(measured)} | {form(limit)} | {'PASS' if passed else 'FAIL'} |")
        sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=ENGINES, action="append")
    parser.add_argument("--rounds", type=int, default=10_000)
    parser.add_argument("--millions", type=float, default=0)
    parser.add_argument("--gate", action="store_true")
    given = parser.parse_args()
    report = Report()
    for engine in given.engine or ENGINES:
        with Server(engine) as server:
            measure_one(report, engine, server, given)
    return 0 if report.passed or not given.gate else 1


def measure_one(report: Report, engine: str, server: Server, given: argparse.Namespace) -> None:
    rotate, get, times = ratio(server, given.rounds)
    what = f"{engine}: a rotation ({rotate:.0f} µs) over a GET ({get:.0f} µs)"
    report.line(what, times, ROTATION_OVER_GET, "{:.2f}".format)
    for count in SIZES:
        for state, size in sizes(server, count):
            report.line(
                f"{engine}: bytes of a grant, {state}, of {count:,}", size, BYTES, "{:.0f}".format
            )
    if given.millions:
        count = round(1_000_000 * given.millions)
        found = growth(engine, count, given.rounds)
        many, few = found.typical("many") / 1000, found.typical("few") / 1000
        what = f"{engine}: a rotation among {count:,} ({many:.0f} µs) over few ({few:.0f} µs)"
        report.line(what, found.ratio("many", "few"), LOADED_OVER_EMPTY, "{:.2f}".format)


if __name__ == "__main__":
    sys.exit(main())
