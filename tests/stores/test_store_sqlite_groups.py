"""What threads write at the same time is one commit, and each has its own answer or error."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from jwt_middleware.stores.sqlite import SQLiteStore, grouped_commits
from jwt_middleware.stores.sqlite.grouped_commits import GroupedWriter
from jwt_middleware.values.errors import StoreUnavailable
from tests.stores import Process, SetClock, sqlite
from tests.waiting import until


class Gate:
    """A writer whose first work waits, so that others come into the queue behind it."""

    def __init__(self, store: SQLiteStore, threads: ThreadPoolExecutor) -> None:
        self.store = store
        self.statements: list[str] = []
        self._threads = threads
        self._entered, self._leave = Event(), Event()
        store.check()
        store._write(lambda db: db.set_trace_callback(self.statements.append))
        self.first = self.submit(self._wait)
        assert self._entered.wait(60)
        self.statements.clear()

    def _wait(self, _: sqlite3.Connection) -> str:
        self._entered.set()
        assert self._leave.wait(60)
        return "first"

    def submit(self, work: Callable[[sqlite3.Connection], object]) -> Future[Any]:
        """Have a thread write, and return when its work is in the queue."""
        writer = self.store._writer
        before = len(writer._waiting)
        future = self._threads.submit(self.store._write, work)
        if hasattr(self, "first"):
            until(lambda: len(writer._waiting) > before)
        return future

    def open(self) -> None:
        """Let all go on."""
        self._leave.set()

    def commits(self) -> int:
        return self.statements.count("COMMIT")


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(100) as pool:
        yield pool


@pytest.fixture
def gate(tmp_path: Path, threads: ThreadPoolExecutor) -> Iterator[Gate]:
    with sqlite(tmp_path / "grants.db") as store:
        one = Gate(store, threads)
        yield one
        one.open()


def added(number: int) -> Callable[[sqlite3.Connection], int]:
    def work(db: sqlite3.Connection) -> int:
        db.execute("INSERT INTO admitted VALUES (?, 9e9)", (f"key {number}",))
        return number

    return work


def keys(store: SQLiteStore) -> list[str]:
    sql = "SELECT key FROM admitted ORDER BY key"
    return store._write(lambda db: [one for (one,) in db.execute(sql).fetchall()])


def test_what_waits_is_one_commit_and_each_has_its_answer(gate: Gate) -> None:
    futures = [gate.submit(added(number)) for number in range(9)]
    gate.open()
    assert [one.result() for one in futures] == list(range(9))
    assert gate.first.result() == "first"
    assert gate.commits() == 2, "that of the first, and one for nine"
    assert gate.statements.count("SAVEPOINT work") == 9
    assert len(keys(gate.store)) == 9


def test_a_single_work_needs_no_savepoint(tmp_path: Path) -> None:
    statements: list[str] = []
    with sqlite(tmp_path / "grants.db") as store:
        store._write(lambda db: db.set_trace_callback(statements.append))
        assert store._write(added(1)) == 1
    assert [one.partition(" ")[0] for one in statements] == ["COMMIT", "BEGIN", "INSERT", "COMMIT"]


def test_a_group_has_a_bound(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouped_commits, "LARGEST_GROUP", 4)
    futures = [gate.submit(added(number)) for number in range(9)]
    gate.open()
    assert [one.result() for one in futures] == list(range(9))
    assert gate.commits() == 1 + 3, "four, four, one"


def test_an_error_is_that_of_one_work_and_takes_back_no_other(gate: Gate) -> None:
    def divides(db: sqlite3.Connection) -> float:
        added(50)(db)
        return 1 / 0

    def twice(db: sqlite3.Connection) -> None:
        added(51)(db)
        added(51)(db)

    good, wrong, late, again = (gate.submit(one) for one in (added(1), divides, added(2), twice))
    gate.open()
    assert (good.result(), late.result()) == (1, 2)
    with pytest.raises(ZeroDivisionError):
        wrong.result()
    with pytest.raises(StoreUnavailable, match="SQLITE_CONSTRAINT_PRIMARYKEY"):
        again.result()
    assert keys(gate.store) == ["key 1", "key 2"]
    assert gate.commits() == 2, "after an error the connection is a new one, and isn't traced"


def test_an_error_of_the_leaders_own_work_in_a_group(gate: Gate) -> None:
    wrong, good = gate.submit(lambda _: 1 / 0), gate.submit(added(1))
    gate.open()
    with pytest.raises(ZeroDivisionError):
        wrong.result()
    assert good.result() == 1
    assert keys(gate.store) == ["key 1"]


def test_an_error_of_the_commit_is_everybodys(gate: Gate) -> None:
    def prepare(db: sqlite3.Connection) -> None:
        # SQLite checks a deferred foreign key when it commits.
        db.execute("CREATE TEMP TABLE parent (id PRIMARY KEY)")
        db.execute(
            "CREATE TEMP TABLE child (id REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)"
        )
        db.execute("INSERT INTO child VALUES (1)")

    gate.open()
    gate.first.result()
    gate.store._write(lambda _: None)
    gate.store._writer._db.execute("PRAGMA foreign_keys = ON")  # type: ignore[union-attr]
    gate._leave.clear()
    gate._entered.clear()
    del gate.first
    gate.first = gate.submit(gate._wait)
    gate._entered.wait(60)
    futures = [gate.submit(one) for one in (added(1), prepare, added(2))]
    gate.open()
    for one in futures:
        with pytest.raises(StoreUnavailable, match="SQLITE_CONSTRAINT_FOREIGNKEY"):
            one.result()
    assert keys(gate.store) == []


def test_where_sqlite_rolls_back_everything_it_is_everybodys_error(gate: Gate) -> None:
    def needs_room(db: sqlite3.Connection) -> None:
        db.execute("PRAGMA max_page_count = 1")  # no more than there are
        db.execute("INSERT INTO admitted VALUES (?, 1)", ("x" * 100_000,))

    futures = [gate.submit(one) for one in (added(1), needs_room, added(2))]
    gate.open()
    for one in futures:
        with pytest.raises(StoreUnavailable, match="SQLITE_FULL"):
            one.result()
    assert keys(gate.store) == []
    assert gate.store._write(added(3)) == 3, "the limit was the connection's"


def test_an_interrupted_leader_leaves_nobody_waiting(gate: Gate) -> None:
    def interrupted(_: sqlite3.Connection) -> None:
        raise KeyboardInterrupt

    leader, other = gate.submit(interrupted), gate.submit(added(1))
    gate.open()
    with pytest.raises(KeyboardInterrupt):
        leader.result()
    with pytest.raises(StoreUnavailable, match="was interrupted"):
        other.result()
    assert keys(gate.store) == []
    assert gate.store._write(added(2)) == 2


def test_a_leader_that_vanished_stops_the_others_for_a_limited_time(tmp_path: Path) -> None:
    with sqlite(tmp_path / "grants.db", timeout=0.05) as store:
        store.check()
        assert store._writer._may_lead(grouped_commits._Work(lambda _: None)), "and is never seen"
        for _ in range(grouped_commits.LEADS_FOR):
            with pytest.raises(StoreUnavailable, match="another thread has its turn"):
                store._write(added(1))
        assert not store._writer._waiting
        assert store._write(added(2)) == 2


def test_what_has_waited_too_long_is_taken_out_and_never_done(
    tmp_path: Path, threads: ThreadPoolExecutor
) -> None:
    with sqlite(tmp_path / "grants.db", timeout=0.1) as store:
        gate = Gate(store, threads)
        late = gate.submit(added(1))
        with pytest.raises(StoreUnavailable, match="another thread has its turn"):
            late.result()
        gate.open()
        assert gate.first.result() == "first"
        assert keys(store) == []


def test_what_hangs_after_it_was_begun_may_be_done_or_not(
    tmp_path: Path, threads: ThreadPoolExecutor
) -> None:
    entered, leave = Event(), Event()

    def hangs(_: sqlite3.Connection) -> None:
        entered.set()
        assert leave.wait(60)

    with sqlite(tmp_path / "grants.db", timeout=0.2) as store:
        gate = Gate(store, threads)
        leader, begun = gate.submit(hangs), gate.submit(added(1))
        gate.open()
        assert entered.wait(60)
        with pytest.raises(StoreUnavailable, match="another thread has its turn"):
            begun.result()
        leave.set()
        leader.result()
        assert keys(store) == ["key 1"]


def test_who_is_made_leader_at_the_last_moment_does_not_miss_it(tmp_path: Path) -> None:
    class Late(GroupedWriter):
        def _wait(self, work: Any, deadline: float) -> None:
            self._leave(self._leader)  # type: ignore[arg-type]
            super()._wait(work, deadline)

    writer = Late(tmp_path / "x.db", 0.2, lambda _: None)
    (tmp_path / "x.db").touch()
    writer._may_lead(grouped_commits._Work(lambda _: None))
    assert writer.write(lambda db: db.execute("SELECT 1").fetchone()) == (1,)
    assert writer._leader is None
    writer.close()


def test_a_leader_that_can_not_begin_is_the_only_one_that_is_told(
    tmp_path: Path, threads: ThreadPoolExecutor
) -> None:
    path = tmp_path / "grants.db"
    with sqlite(path, timeout=5) as store, Process("lock", path) as process:
        store.check()
        gate = Gate.__new__(Gate)
        gate.store, gate._threads = store, threads
        assert process.hear() == "ready"
        store._timeout = store._writer._timeout = 0.05
        leader = threads.submit(store._write, added(1))
        with pytest.raises(StoreUnavailable, match="SQLITE_BUSY"):
            leader.result()
        store._timeout = store._writer._timeout = 9
        other = threads.submit(store._write, added(2))
        process.go()
        assert other.result() == 2
        assert keys(store) == ["key 2"]


def test_a_child_does_nothing_of_what_its_parent_had_queued(gate: Gate) -> None:
    writer = gate.store._writer
    queued = gate.submit(added(1))
    waiting, mutex, leader = writer._waiting, writer._mutex, writer._leader
    writer._empty_queue()  # as the child sees it
    assert not writer._waiting
    writer._waiting, writer._mutex, writer._leader = waiting, mutex, leader
    gate.open()
    assert queued.result() == 1


@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
def test_what_was_acknowledged_under_load_survives_a_kill(tmp_path: Path, synchronous: str) -> None:
    path = tmp_path / "grants.db"
    acknowledged: dict[str, int] = {}
    with Process("refresh_in_threads", path, synchronous) as process:
        while len(acknowledged) < 16 or sum(acknowledged.values()) < 1000:
            grant_id, generation = process.hear()
            acknowledged[grant_id] = generation
        process.kill()
        while (said := process.hear()) is not None:
            acknowledged[said[0]] = said[1]
        assert process.wait() == -signal.SIGKILL
    with sqlite(path, SetClock(0.0)) as store:
        for grant_id, generation in acknowledged.items():
            row = store.advance(grant_id, 0, 0, None).grant
            assert row is not None
            assert row.generation in (generation, generation + 1)
        assert store._write(lambda db: db.execute("PRAGMA integrity_check").fetchone()) == ("ok",)
