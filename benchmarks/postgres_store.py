"""What a grant costs in PostgreSQL: `python -m benchmarks.postgres_store [--gate] [--quick]`.

A rotation is `advance` with asynchronous commit; what it is compared with is a SELECT of a row by
its primary key, prepared, by a cursor of psycopg's, through the same pool. The store itself asks
without a cursor, which is quicker: `advance` that only reads shows by how much. All are timed by
the clock on the wall, because the server's time counts, in turns, and on one core with the server:
to wake another core takes longer than what is compared, and makes the ratio smaller.

Bytes are those of table and indexes after VACUUM, of grants with a subject (the text of a UUID), a
client and a scope, and no claims; the server itself rotates and ends them for that, each in a
transaction of its own. They end by fifths, with a VACUUM after each: that is when autovacuum comes.

The servers are our own; the one that is timed waits for its disk. JWT_BENCH_POSTGRES is the address
of another.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from jwt_middleware.stores.postgres import PostgresStore
from jwt_middleware.stores.postgres.sql import statements
from jwt_middleware.values.randomness import identifier
from tests.engines.postgres import Server

from .grants import new_grant, one_core
from .measure import Times, measure

SCHEMA = "jwt_benchmark"
GRANTS, LOADED = 100_000, 1_000_000
ROUNDS = 60
BURST = 20_000_000  # ns: some hundred calls
TURNS, CALLS = 10, 300
ROTATIONS = 3  # of every grant
FIFTHS = 5
END = "ended_at = date_part('epoch', clock_timestamp())"  # as a log-out leaves it
PARENT = "parent = left(md5(random()::text), 22)"
RATIO, BYTES, GROWTH = 1.4, 340, 1.15
ROTATE, SELECT, READ = "rotation", "SELECT by primary key", "`advance` that only reads"


class Bench:
    """A store with grants in it, and the present generation of each."""

    def __init__(self, url: str, schema: str = SCHEMA) -> None:
        self._url, self._schema = url, schema
        self.ask(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        self.store = PostgresStore(url, retention=700, schema=schema, synchronous_commit="off")
        self.store.check()
        self.store._connections.own_pool().pool.open()
        self.generations: dict[str, int] = {}
        self.ids: list[str] = []
        self._sql: Any = statements(schema, is_waiting=False)["read"]
        self._random = random.Random(1)
        self._parents = [
            identifier() for _ in range(1000)
        ]  # made before, because making them isn't the store's work

    def ask(self, sql: Any) -> Any:
        with psycopg.connect(self._url, autocommit=True) as db:
            cursor = db.execute(sql)
            return cursor.fetchall() if cursor.description else None

    def load(self, count: int) -> None:
        """Add many at once, with keys in random order, as in a real service."""
        columns = "generation, rotated_at, created_at, expires_at, id, subject, client_id, scope"
        copy: Any = f"COPY {self._schema}.grants ({columns}) FROM STDIN"
        ids = []
        with psycopg.connect(self._url) as db, db.cursor().copy(copy) as rows:
            for _ in range(count):
                one = new_grant()
                ids.append(one.id)
                rows.write_row([getattr(one, name) for name in columns.split(", ")])
        self.ids += ids
        self.generations.update(dict.fromkeys(ids, 1))

    def rotate_any(self) -> None:
        grant_id = self.any()
        generation = self.generations[grant_id]
        self.generations[grant_id] = generation + 1
        parent = self._parents[generation % len(self._parents)]
        advanced, _ = self.store.advance(grant_id, generation, generation + 1, parent)
        assert advanced

    def each(self, change: str, share: float = 1.0) -> None:
        """Change grants in random order, each in a transaction of its own."""
        self.ask(
            "DO $$ DECLARE one text; BEGIN "
            f"FOR one IN SELECT id FROM {self._schema}.grants WHERE ended_at IS NULL "
            f"ORDER BY random() LIMIT {share * len(self.ids)} LOOP "
            f"UPDATE {self._schema}.grants SET {change} WHERE id = one; COMMIT; END LOOP; END $$"
        )

    def any(self) -> str:
        return self._random.choice(self.ids)

    def settle(self) -> None:
        self.ask(f"VACUUM ANALYZE {self._schema}.grants")
        self.ask("CHECKPOINT")

    def close(self) -> None:
        self.store.close()
        self.ask(f"DROP SCHEMA {self._schema} CASCADE")

    def select(self) -> None:
        with self.store._connections.own_pool().pool.connection() as connection:
            cursor = psycopg.Cursor(connection, row_factory=tuple_row)
            assert cursor.execute(self._sql, {"id": self.any()}, prepare=True).fetchall()

    def sizes(self) -> dict[str, float]:
        """Return bytes per grant of the table and of each index."""
        self.ask(f"VACUUM {self._schema}.grants")
        rows = self.ask(
            "SELECT relname, pg_table_size(pg_class.oid)::float8 FROM pg_class JOIN pg_namespace "
            f"ON relnamespace = pg_namespace.oid WHERE nspname = '{self._schema}' "
            "AND (relname LIKE 'grants%')"
        )
        return {name: size / len(self.ids) for name, size in rows}

    def end_size(self) -> float:
        """Return the bytes that an end takes beside its grant, for as long as ends are kept."""
        rows = self.ask(
            f"SELECT pg_total_relation_size('{self._schema}.ends')::float8 / count(*) "
            f"FROM {self._schema}.ends"
        )
        return float(rows[0][0])

    def times(self, rounds: int) -> Times:
        functions: dict[str, Callable[[], object]] = {
            ROTATE: self.rotate_any,
            SELECT: self.select,
            READ: lambda: self.store.advance(self.any(), 0, 0, None),
        }
        return measure(functions, rounds=rounds, burst=BURST, clock=time.perf_counter_ns)


class Results:
    """The findings, as lines of tables, and whether all are within their limits."""

    def __init__(self) -> None:
        self.missed = 0

    def line(self, name: str, value: str, limit: str = "", *, holds: bool | None = None) -> None:
        verdict = "" if holds is None else "PASS" if holds else "FAIL"
        self.missed += holds is False
        print(f"| {name} | {value} | {limit} | {verdict} |", flush=True)

    def head(self, title: str) -> None:
        print(f"\n| {title} | | limit | |\n|---|---:|---:|---|", flush=True)

    def bytes(self, name: str, sizes: dict[str, float]) -> None:
        total = sum(sizes.values())
        parts = ", ".join(f"{one} {size:.0f}" for one, size in sorted(sizes.items()))
        self.line(f"{name} ({parts})", f"{total:.0f}", f"{BYTES}", holds=total <= BYTES)

    def times(self, name: str, times: Times) -> None:
        for one in (SELECT, READ, ROTATE):
            self.line(f"{name}: {one}, µs", f"{times.typical(one) / 1000:.0f}")
        low, high = times.spread(ROTATE, SELECT)
        ratio = times.ratio(ROTATE, SELECT)
        found = f"{ratio:.2f} ({low:.2f} to {high:.2f})"
        to_read = f"{times.ratio(ROTATE, READ):.2f}"
        self.line(f"{name}: rotation / `advance` that only reads", to_read)
        self.line(f"{name}: rotation / SELECT", found, f"{RATIO}", holds=ratio <= RATIO)


@contextmanager
def address(**settings: str) -> Generator[tuple[str, Server | None], None, None]:
    """Give an address, and the server where its processes can be looked at."""
    if url := os.environ.get("JWT_BENCH_POSTGRES"):
        yield url, None
        return
    given: dict[str, Any] = dict(settings)
    server = Server(**given).start()
    try:
        yield server.url(), server if sys.platform == "linux" else None
    finally:
        server.stop()


def sizes(results: Results, url: str, grants: int) -> None:
    results.head(f"bytes per grant, of {grants}")
    bench = Bench(url)
    bench.load(grants)
    results.bytes("begun", bench.sizes())
    for count in range(1, ROTATIONS + 1):
        bench.each(f"generation = generation + 1, rotated_at = rotated_at + 1, {PARENT}")
        results.bytes(f"rotated {count} times", bench.sizes())
    for count in range(1, FIFTHS + 1):
        bench.each(END, 1 / FIFTHS)
        results.bytes(f"{count} of {FIFTHS} ended", bench.sizes())
    results.line("an end, for a day", f"{bench.end_size():.0f}")
    bench.close()


def used(server: Server, *steps: Callable[[], object]) -> list[float]:
    """Return the µs of CPU that a call of each takes of this thread and of the server's processes.

    Other work on the machine makes every call slower by the clock, and longer calls more so. CPU
    time depends on it less.
    """

    def clock() -> float:
        files = [Path(f"/proc/{pid}/schedstat") for pid in server.processes()]
        return time.thread_time_ns() + sum(int(one.read_text().split()[0]) for one in files)

    found = [0.0] * len(steps)
    for _ in range(TURNS):
        for number, step in enumerate(steps):
            begun = clock()
            for _ in range(CALLS):
                step()
            found[number] += clock() - begun
    return [one / TURNS / CALLS / 1000 for one in found]


def times(results: Results, url: str, server: Server | None, rounds: int, *counts: int) -> None:
    benches = []
    for count in counts:
        results.head(f"time, with {count} grants")
        bench = Bench(url, f"{SCHEMA}_{count}")
        benches.append(bench)
        bench.load(count)
        bench.settle()
        results.times(f"{count} grants", bench.times(rounds))
        if server is not None:
            select, rotate = used(server, bench.select, bench.rotate_any)
            name = f"{count} grants: the same in CPU time of both sides"
            results.line(name, f"{rotate:.0f} / {select:.0f} µs = {rotate / select:.2f}")
    few, many = (str(count) for count in counts)
    rotations = {str(count): one.rotate_any for count, one in zip(counts, benches, strict=True)}
    found = measure(rotations, rounds=rounds, burst=BURST, clock=time.perf_counter_ns)
    growth = found.ratio(many, few)
    name = f"a rotation among {many} over one among {few}, in turns"
    results.line(name, f"{growth:.2f}", f"{GROWTH}", holds=growth <= GROWTH)
    for bench in benches:
        bench.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gate", action="store_true", help="exit with 1 where a limit is missed")
    parser.add_argument("--quick", action="store_true", help="a tenth of the grants")
    options = parser.parse_args()
    grants, loaded = (GRANTS // 10, LOADED // 10) if options.quick else (GRANTS, LOADED)
    results = Results()
    print(f"psycopg {psycopg.__version__} ({psycopg.pq.__impl__})")
    with address() as (url, _):  # the disk doesn't matter for the number of bytes
        sizes(results, url, grants)
    timed = address(fsync="on", full_page_writes="on", shared_buffers="256MB")
    with one_core(), timed as (url, server):
        times(results, url, server, ROUNDS, grants, loaded)
    if options.gate and results.missed:
        sys.exit(1)


if __name__ == "__main__":
    main()
