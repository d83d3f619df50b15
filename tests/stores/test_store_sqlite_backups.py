"""Backups of the SQLite file are made and restored under processes that use it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from jwt_middleware.stores.sqlite import SQLiteStore, backups
from jwt_middleware.stores.sqlite.schema import APPLICATION_ID, SQLITE_LEVELS
from jwt_middleware.values.errors import ConfigurationError, StoreUnavailable
from tests.stores import NOW, RETENTION, Process, SetClock, new_grant, sqlite


def ask(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as db:
        found = db.execute(sql).fetchall()
        db.commit()
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "grants.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    with sqlite(path) as one:
        one.add(new_grant(id="stays"), 9)
        one.add(new_grant(id="leaves"), 9)
        yield one


def living(store: SQLiteStore) -> set[str]:
    return {one.id for one in store.grants("alice")}


def test_a_backup_is_one_file_for_its_owner_with_all_that_was_committed(
    store: SQLiteStore, tmp_path: Path
) -> None:
    target = tmp_path / "backup" / "copy.db"
    target.parent.mkdir()
    store.backup(target)
    assert [one.name for one in target.parent.iterdir()] == ["copy.db"]
    assert target.stat().st_mode & 0o777 == 0o600
    assert ask(target, "SELECT id FROM grants ORDER BY id") == [("leaves",), ("stays",)]
    assert ask(target, "PRAGMA integrity_check") == [("ok",)]
    assert living(store) == {"stays", "leaves"}


def test_a_backup_takes_the_place_of_nothing(store: SQLiteStore, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    target.write_text("dear")
    with pytest.raises(ConfigurationError, match=r"copy\.db is there already"):
        store.backup(target)
    assert target.read_text() == "dear"
    with pytest.raises(ConfigurationError, match=r"No such file or directory"):
        store.backup(tmp_path / "nowhere" / "copy.db")


def test_a_backup_that_fails_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    missing = pytest.raises(StoreUnavailable, match="FileNotFoundError")
    with sqlite(tmp_path / "missing.db") as store, missing:
        store.backup(target)
    ask(tmp_path / "other.db", "CREATE TABLE users (id)")
    foreign = pytest.raises(ConfigurationError, match="something else")
    with sqlite(tmp_path / "other.db") as store, foreign:
        store.backup(target)
    assert [one.name for one in tmp_path.iterdir()] == ["other.db"]


def test_restoring_brings_back_what_was(store: SQLiteStore, path: Path, tmp_path: Path) -> None:
    with sqlite(path) as other:
        store.end("leaves", "logout")
        cursor = other.ended(None, RETENTION).cursor
        store.backup(tmp_path / "copy.db")
        store.end("stays", "logout")
        store.add(new_grant(id="later"), 9)
        assert other.ended(cursor, RETENTION).grant_ids == ("stays",)
        other.restore(tmp_path / "copy.db")
        for one in (store, other):
            assert living(one) == {"stays"}, "on connections that were open"
        answer = store.ended(cursor, RETENTION)
        assert answer.grant_ids == ("leaves",)
        assert "content was replaced" in answer.notices[0]
        store.end("stays", "logout")
        answer = store.ended(answer.cursor, RETENTION)
        assert (answer.grant_ids, answer.notices) == (("stays",), ())
        assert store._write(lambda db: db.execute("PRAGMA journal_mode").fetchone()) == ("wal",)
    names = {one.name for one in tmp_path.iterdir()}
    assert names == {"grants.db", "grants.db-wal", "grants.db-shm", "copy.db"}
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]


def test_each_restore_is_a_history_of_its_own(
    store: SQLiteStore, path: Path, tmp_path: Path
) -> None:
    store.backup(tmp_path / "copy.db")
    histories = set()
    for _ in range(3):
        histories.add(ask(path, "SELECT value FROM facts WHERE name = 'history'")[0][0])
        store.restore(tmp_path / "copy.db")
    assert len(histories) == 3


def test_a_mass_end_outlives_a_restore(store: SQLiteStore, path: Path, tmp_path: Path) -> None:
    store.backup(tmp_path / "before.db")
    clock = SetClock(NOW + 10)
    with sqlite(path, clock) as later:
        mark = later.end_before(None)
        later.backup(tmp_path / "after.db")
        for name in ("before.db", "after.db"):
            later.restore(tmp_path / name)
            assert later.ended(None, RETENTION).mark == mark
            assert living(later) == set()
        clock.now += 10
        newer = later.end_before(None)
        later.restore(tmp_path / "after.db")
        assert later.ended(None, RETENTION).mark == newer
    with sqlite(tmp_path / "another.db") as empty:
        empty.restore(tmp_path / "after.db")
        assert empty.ended(None, RETENTION).mark == mark


def test_where_there_is_no_file_it_is_made(store: SQLiteStore, tmp_path: Path) -> None:
    store.backup(tmp_path / "copy.db")
    with sqlite(tmp_path / "new.db") as other:
        other.restore(tmp_path / "copy.db")
        assert living(other) == {"stays", "leaves"}
        assert (tmp_path / "new.db").stat().st_mode & 0o777 == 0o600


def test_a_backup_of_a_former_level_is_brought_up_to_date(
    store: SQLiteStore, tmp_path: Path
) -> None:
    old = tmp_path / "old.db"
    with closing(sqlite3.connect(old)) as db:
        for statement in SQLITE_LEVELS[0]:
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("PRAGMA user_version = 1")
        db.commit()
    before = old.read_bytes()
    store.restore(old)
    assert living(store) == set()
    store.add(new_grant(id="new"), 9)
    assert old.read_bytes() == before


def test_a_copy_with_its_log_is_restored_with_it(
    store: SQLiteStore, path: Path, tmp_path: Path
) -> None:
    (tmp_path / "copy").mkdir()
    for suffix in ("", "-wal"):
        copy = tmp_path / "copy" / f"grants.db{suffix}"
        copy.write_bytes(path.with_name(path.name + suffix).read_bytes())
    store.end_subject("alice", "logout")
    store.restore(tmp_path / "copy" / "grants.db")
    assert living(store) == {"stays", "leaves"}


def no_database(path: Path) -> None:
    path.write_bytes(b"This is no database. " * 1000)


def something_else(path: Path) -> None:
    ask(path, "CREATE TABLE users (id)")


def newer(path: Path) -> None:
    with sqlite(path) as store:
        store.check()
    ask(path, "PRAGMA user_version = 99")


def damaged(path: Path) -> None:
    with sqlite(path, synchronous="NORMAL") as store:
        for number in range(100):
            store.add(new_grant(subject=str(number)), 1)
    with path.open("r+b") as file:
        file.seek(4096 * 2)
        file.write(b"\xff" * 4096 * 3)


def nothing(_: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (nothing, "is no backup"),
        (Path.mkdir, "is no backup"),
        (Path.touch, "something else"),
        (no_database, "SQLITE_NOTADB"),
        (something_else, "something else"),
        (newer, "newer version of this package"),
        (damaged, r"is damaged|SQLITE_CORRUPT"),
    ],
)
def test_what_is_no_backup_is_refused_and_changes_nothing(
    store: SQLiteStore, tmp_path: Path, make: Callable[[Path], None], problem: str
) -> None:
    source = tmp_path / "source.db"
    make(source)
    with pytest.raises(ConfigurationError, match=problem):
        store.restore(source)
    assert living(store) == {"stays", "leaves"}
    assert not [one for one in tmp_path.iterdir() if "restoring" in one.name]
    with sqlite(tmp_path / "new.db") as other, pytest.raises(ConfigurationError, match=problem):
        other.restore(source)
    assert not (tmp_path / "new.db").exists()


def test_the_file_itself_is_no_backup_of_it(store: SQLiteStore, path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is no backup"):
        store.restore(path)
    assert living(store) == {"stays", "leaves"}


def test_restoring_waits_for_another_process_and_not_for_ever(
    store: SQLiteStore, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.backup(tmp_path / "copy.db")
    store.end("leaves", "logout")
    store.close()
    with sqlite(path, timeout=0.1) as hurried, Process("lock", path) as process:
        assert living(hurried) == {"stays"}
        assert process.hear() == "ready"
        with pytest.raises(StoreUnavailable, match="SQLITE_BUSY: another process writes"):
            hurried.restore(tmp_path / "copy.db")
        assert living(hurried) == {"stays"}
        process.go()
        assert process.wait() == 0
        hurried.restore(tmp_path / "copy.db")
        assert living(hurried) == {"stays", "leaves"}


def test_processes_go_on_while_backups_are_made_and_restored(
    store: SQLiteStore, path: Path, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        pollers = [stack.enter_context(Process("poll", path)) for _ in range(2)]
        workers = [
            stack.enter_context(Process("log_in_and_out", path, f"user {one}")) for one in range(2)
        ]
        for process in (*pollers, *workers):
            assert process.hear() == "ready"
        for number in range(3):
            time.sleep(0.1)  # work to be lost; no test depends on how much
            store.backup(tmp_path / f"{number}.db")
            assert ask(tmp_path / f"{number}.db", "PRAGMA integrity_check") == [("ok",)]
            time.sleep(0.1)
            store.restore(tmp_path / f"{number}.db")
        for worker in workers:
            worker.go()
        acknowledged = {one for worker in workers for one in worker.hear()}
        for poller in pollers:
            poller.go()
            found, notices = poller.hear()
            known = {one for (one,) in ask(path, "SELECT id FROM ends")}
            assert known <= set(found), "no end is missed"
            assert known <= acknowledged
            assert len(notices) in range(1, 4), "it may poll seldom"
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]
    assert backups.PAUSE < 0.001, "as often as other processes try, else it never comes to it"
