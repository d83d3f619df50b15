"""What a grant costs in an SQLite file: `python -m benchmarks.sqlite_store [DIRECTORY]`.

Bytes are those of the whole file, indexes and free space included. A rotation is one commit; the
floor is an UPDATE of one number by `sqlite3` alone, under the same pragmas. Times are medians; they
depend on the disk, so only the differences are meaningful.
"""

from __future__ import annotations

import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median

from jwt_middleware.stores.sqlite import SQLiteStore
from jwt_middleware.values.randomness import identifier
from jwt_middleware.values.tokens import FrozenDict

from .grants import new_grant

GRANTS = 10_000
ROTATIONS = 10_000
SAMPLES = 300
CLAIMS = FrozenDict(roles=("editor", "author"), tenant="example")


def open_store(path: Path, synchronous: str = "NORMAL") -> SQLiteStore:
    return SQLiteStore(path, clock=time.time, retention=700, synchronous=synchronous)


def sizes(folder: Path, claims: FrozenDict) -> tuple[float, float, float]:
    """Return bytes per grant: as begun, rotated twice in any order, and ended."""
    path = folder / f"{len(claims)}.db"
    store = open_store(path)
    ids = []
    for _ in range(GRANTS):
        grant = new_grant(claims)
        store.add(grant, 100)
        ids.append(grant.id)
    begun = size(store, path)
    order = random.Random(1)
    for generation in (1, 2):
        order.shuffle(ids)
        for grant_id in ids:
            store.advance(grant_id, generation, generation + 1, identifier())
    rotated = size(store, path)
    order.shuffle(ids)
    for grant_id in ids:
        store.end(grant_id, "logout")
    return begun, rotated, size(store, path)


def size(store: SQLiteStore, path: Path) -> float:
    store.close()  # which writes the log back
    return path.stat().st_size / GRANTS


def timed(step: Callable[[], object]) -> float:
    """Return the median of microseconds."""
    costs = []
    for _ in range(SAMPLES):
        begun = time.perf_counter()
        step()
        costs.append(time.perf_counter() - begun)
    return median(costs) * 1e6


class Rotating:
    """One grant that is rotated again and again."""

    def __init__(self, folder: Path, synchronous: str) -> None:
        self.path = folder / f"{synchronous}.db"
        self.store = open_store(self.path, synchronous)
        self.grant = new_grant(FrozenDict())
        self.generation = 1
        self.store.add(self.grant, 100)

    def __call__(self) -> None:
        target = self.generation + 1
        answer = self.store.advance(self.grant.id, self.generation, target, identifier())
        assert answer.advanced
        self.generation = target

    def read(self) -> None:
        self.store.advance(self.grant.id, 1, 1, None)

    def rows_and_pages(self) -> tuple[int, int]:
        with closing(sqlite3.connect(self.path)) as db:
            (rows,) = db.execute("SELECT count(*) FROM grants").fetchone()
            (pages,) = db.execute("PRAGMA page_count").fetchone()
        return rows, pages


def floor(folder: Path, synchronous: str) -> float:
    path = folder / f"floor {synchronous}.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {synchronous}")
        db.execute("CREATE TABLE one (number)")
        db.execute("INSERT INTO one VALUES (0)")
        return timed(lambda: db.execute("UPDATE one SET number = number + 1"))


def main(folder: Path) -> None:
    print(f"SQLite {sqlite3.sqlite_version}, {GRANTS} grants; bytes per grant\n")
    print("| grant | begun | rotated twice | ended |\n|---|---:|---:|---:|")
    for name, claims in (("no claims", FrozenDict()), ("two claims", CLAIMS)):
        print(f"| {name} | " + " | ".join(f"{one:.0f}" for one in sizes(folder, claims)) + " |")
    print("\n| microseconds | FULL | NORMAL |\n|---|---:|---:|")
    modes = ("FULL", "NORMAL")
    rotating = {mode: Rotating(folder, mode) for mode in modes}
    table = {"a bare commit (floor)": [floor(folder, mode) for mode in modes]}
    table["a rotation, of the first 300"] = [timed(rotating[mode]) for mode in modes]
    early = {mode: one.rows_and_pages() for mode, one in rotating.items()}
    for one in rotating.values():
        while one.generation < ROTATIONS:
            one()
    table[f"a rotation, after {ROTATIONS}"] = [timed(rotating[mode]) for mode in modes]
    table["a read"] = [timed(rotating[mode].read) for mode in modes]
    for name, costs in table.items():
        print(f"| {name} | " + " | ".join(f"{cost:.0f}" for cost in costs) + " |")
    for mode, one in rotating.items():
        late = one.rows_and_pages()
        print(f"\n{mode}: {early[mode]} rows and pages early, {late} after {one.generation - 1}")
        one.store.close()
        assert early[mode] == late


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as made:
        main(Path(made))
