"""Real faults of the file and the disk: one kind of error, nothing half done, then it goes on."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from jwt_middleware.stores.sqlite import SQLiteStore
from jwt_middleware.stores.sqlite.store import LARGEST_LOG
from jwt_middleware.values.errors import ConfigurationError, StoreUnavailable
from jwt_middleware.values.tokens import FrozenDict
from tests.stores import NOW, RETENTION, Process, SetClock, new_grant, sqlite

DAMAGED = "a damaged row|OperationalError"  # no JSON, or no text
SECRET = "a-value-that-no-error-shows"


def writes(store: SQLiteStore) -> list[Callable[[], object]]:
    grant = new_grant(id=SECRET, subject=SECRET, scope=SECRET)
    return [
        lambda: store.add(grant, 1),
        lambda: store.advance(SECRET, 1, 2, SECRET),
        lambda: store.use(SECRET),
        lambda: store.end(SECRET, SECRET),
        lambda: store.end_subject(SECRET, SECRET),
        lambda: store.admit(SECRET, NOW),
        lambda: store.purge(NOW),
        lambda: store.end_before(None),
    ]


def reads(store: SQLiteStore) -> list[Callable[[], object]]:
    return [
        lambda: store.advance(SECRET, 1, 1, None),
        lambda: store.grants(SECRET),
        lambda: store.is_living(SECRET),
        lambda: store.ended(None, RETENTION),
    ]


def assert_unavailable(calls: Iterable[Callable[[], object]], detail: str) -> None:
    for call in calls:
        with pytest.raises(StoreUnavailable, match=detail) as caught:
            call()
        assert caught.value.status == 503
        assert SECRET not in str(caught.value)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


# --- busy


def test_a_lock_of_another_process_is_waited_for_and_no_longer(tmp_path: Path) -> None:
    path = tmp_path / "grants.db"
    with sqlite(path, timeout=0.1) as store:
        store.add(new_grant(id="living"), 1)
        with Process("lock", path) as process:
            assert process.hear() == "ready"
            assert_unavailable(writes(store), "SQLITE_BUSY")
            assert len(store.grants("alice")) == 1, "reads go on"
            held = pytest.raises(ConfigurationError, match="holds a lock on it")
            with sqlite(path, timeout=0.1) as other, held:
                other.check()
            process.go()
            assert process.wait() == 0
        assert store.advance("living", 1, 2, None).advanced


def test_the_change_to_write_ahead_is_tried_again(tmp_path: Path) -> None:
    # SQLite gives up at once here, whatever it was told to wait.
    path = tmp_path / "grants.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db, sqlite(path) as store:
        db.execute("BEGIN IMMEDIATE")
        thread = Thread(target=store.check)
        thread.start()
        thread.join(0.1)
        assert thread.is_alive()
        db.execute("ROLLBACK")
        thread.join()
        assert store.grants("alice") == ()


def test_a_short_lock_is_just_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "grants.db"
    with sqlite(path) as store, Process("lock", path) as process:
        store.add(new_grant(id="living"), 1)
        assert process.hear() == "ready"
        ended: list[bool] = []
        thread = Thread(target=lambda: ended.append(store.end("living", "logout")))
        thread.start()
        process.go()
        thread.join()
        assert ended == [True]


def test_threads_wait_for_their_turn_and_no_longer(tmp_path: Path) -> None:
    entered, leave, clock = Event(), Event(), SetClock()

    def slow() -> float:
        if entered.is_set() or not armed:
            return clock.now
        entered.set()
        leave.wait(60)
        return clock.now

    armed = False
    with sqlite(tmp_path / "grants.db", slow, timeout=0.1) as store:
        store.add(new_grant(id="living"), 1)
        armed = True
        thread = Thread(target=store.end, args=("living", "logout"))
        thread.start()
        entered.wait(60)
        assert_unavailable(writes(store), "another thread has its turn")
        assert len(store.grants("alice")) == 1, "reads go on"
        leave.set()
        thread.join()
        assert store.grants("alice") == ()


# --- no room, no rights


def test_a_full_file_takes_back_the_whole_step(tmp_path: Path) -> None:
    with sqlite(tmp_path / "grants.db") as store:
        store.add(new_grant(id="living"), 1)
        store._write(lambda db: db.execute("PRAGMA max_page_count = 1"))  # no more than there are
        claims = FrozenDict(text="x" * 100_000)
        with pytest.raises(StoreUnavailable, match="SQLITE_FULL"):
            store.add(new_grant(claims=claims), 1)
        assert [one.id for one in store.grants("alice")] == ["living"]
        # The limit was the connection's, and after a fault there is a new one.
        assert store.add(new_grant(claims=claims), 1) == ("living",)


def test_a_commit_that_finds_no_room_takes_back_the_whole_step(tmp_path: Path) -> None:
    with Process("have_no_room", tmp_path / "grants.db") as process:
        kinds, living, advances = process.hear()
        assert process.wait() == 0
    assert {"SQLITE_IOERR_WRITE", "SQLITE_FULL"} >= set(kinds)
    assert living == ["old"], "neither the new one nor the end of the old one"
    assert advances, "when there is room again"


def test_a_file_without_rights_is_found_at_the_start() -> None:
    # Not in pytest's own directory, which only its owner may enter; root becomes nobody.
    folder = Path(tempfile.mkdtemp())
    try:
        path = folder / "grants.db"
        with sqlite(path) as store:
            store.check()
        with Process("have_no_rights", path) as process:
            at_start, at_login, in_folder = [process.hear() for _ in range(3)]
            assert process.wait() == 0
    finally:
        folder.chmod(0o700)
        shutil.rmtree(folder)
    for message in (at_start, in_folder):
        assert message.startswith("refresh.store: ")
        assert "its directory must be there, and this process be allowed to write" in message
    assert at_login.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN"))


# --- no file, no database


def test_a_directory_that_is_not_there_is_found_at_the_start(tmp_path: Path) -> None:
    with sqlite(tmp_path / "missing" / "grants.db") as store:
        with pytest.raises(ConfigurationError, match=r"FileNotFoundError \(its directory must be"):
            store.check()
        assert_unavailable(writes(store) + reads(store), "FileNotFoundError")


def test_a_path_that_is_a_directory_is_found_at_the_start(tmp_path: Path) -> None:
    with sqlite(tmp_path) as store, pytest.raises(ConfigurationError, match="SQLITE_CANTOPEN"):
        store.check()


def test_a_directory_that_goes_away_is_no_reason_to_begin_anew(tmp_path: Path) -> None:
    folder, aside = tmp_path / "data", tmp_path / "aside"
    folder.mkdir()
    with sqlite(folder / "grants.db") as store:
        store.add(new_grant(id="living"), 1)
        folder.rename(aside)
        assert_unavailable(writes(store) + reads(store), "FileNotFoundError")
        folder.mkdir()
        assert_unavailable(writes(store) + reads(store), "FileNotFoundError")
        assert list(folder.iterdir()) == [], "an empty file would log everybody out"
        folder.rmdir()
        aside.rename(folder)
        assert store.advance("living", 1, 2, None).advanced


def test_a_file_that_was_moved_away_is_not_made_anew(tmp_path: Path) -> None:
    path, aside = tmp_path / "grants.db", tmp_path / "aside.db"
    with sqlite(path) as store, sqlite(path) as worker:
        store.add(new_grant(id="living"), 1)
        path.rename(aside)
        assert_unavailable(writes(store) + reads(store), "FileNotFoundError")
        for name in ("grants.db-wal", "grants.db-shm"):
            with pytest.raises(ConfigurationError, match=f"isn't there, but {name} is") as caught:
                worker.check()
            assert caught.value.remedy.startswith("stop them and put it back")
            assert_unavailable(writes(worker)[:1] + reads(worker)[:1], "log everybody out")
            path.with_name(name).rename(aside.with_name(f"aside{name}"))
        assert not path.exists()
        for name in ("grants.db-wal", "grants.db-shm"):
            aside.with_name(f"aside{name}").rename(path.with_name(name))
        aside.rename(path)
        worker.check()
        assert worker.is_living("living")
        assert store.advance("living", 1, 2, None).advanced


def test_two_processes_that_make_the_file_at_once_are_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "grants.db"
    exists = Path.exists
    asked: list[Path] = []

    def made_meanwhile(one: Path) -> bool:
        if one == path and not asked:
            asked.append(one)
            with sqlite(tmp_path / "other.db") as other:
                other.check()
                for suffix in ("-wal", "-shm"):
                    (tmp_path / f"grants.db{suffix}").touch()
                path.touch()
            return False
        return exists(one)

    monkeypatch.setattr(Path, "exists", made_meanwhile)
    with sqlite(path) as store:
        store._check_not_moved()
    assert asked


def test_a_new_file_is_told_of_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "grants.db"
    with sqlite(path) as store, sqlite(path) as other:
        store.check()
        store.check()
        other.check()
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("jwt_middleware", "WARNING")
    assert record.getMessage().startswith(f"{path} wasn't there, so it was made anew: nobody is")


def test_the_log_shrinks_after_a_long_reader(tmp_path: Path) -> None:
    path, log = tmp_path / "grants.db", tmp_path / "grants.db-wal"
    with sqlite(path, synchronous="NORMAL") as store:
        store.add(new_grant(id="living"), 1)
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM grants").fetchall()
            fill = "INSERT INTO admitted VALUES (?, 1)"
            rows = [("x" * 2000 + str(number),) for number in range(10_000)]
            store._write(lambda db: db.executemany(fill, rows))
            assert log.stat().st_size > 2 * LARGEST_LOG
        for generation in (1, 2):  # one writes the log back, the next begins it anew
            store.advance("living", generation, generation + 1, "parent")
        assert log.stat().st_size <= LARGEST_LOG


def test_a_backup_that_takes_the_place_of_the_file_is_what_counts(tmp_path: Path) -> None:
    path, backup = tmp_path / "grants.db", tmp_path / "backup.db"
    with sqlite(path) as store:
        store.add(new_grant(id="living"), 1)
        with closing(sqlite3.connect(path)) as db, closing(sqlite3.connect(backup)) as copy:
            db.backup(copy)
        store.end("living", "logout")
        store.close()
        with sqlite(path) as other:
            assert other.grants("alice") == ()
            os.replace(backup, path)
            assert [one.id for one in other.grants("alice")] == ["living"]
            assert other.end("living", "logout")


def test_a_foreign_database_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    path, foreign = tmp_path / "grants.db", tmp_path / "foreign.db"
    with closing(sqlite3.connect(foreign)) as db:
        db.execute("CREATE TABLE grants (id)")
    with sqlite(path) as store:
        store.check()
        os.replace(foreign, path)
        assert_unavailable(writes(store) + reads(store), "something else")


def test_what_is_no_database_is_found_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "grants.db"
    path.write_bytes(b"This is no database. " * 1000)
    with sqlite(path) as store:
        with pytest.raises(ConfigurationError, match=r"SQLITE_NOTADB \(give the grants a file"):
            store.check()
        assert_unavailable(writes(store) + reads(store), "SQLITE_NOTADB")


def test_damaged_pages_are_an_error_of_the_store(tmp_path: Path) -> None:
    path = tmp_path / "grants.db"
    with sqlite(path) as store:
        store.add(new_grant(id=SECRET, subject=SECRET), 1)
        store.end(SECRET, "logout")
    damage(path, first_page=2)
    with sqlite(path) as store:
        with pytest.raises(ConfigurationError, match=r"SQLITE_CORRUPT \(restore a backup"):
            store.check()
        assert_unavailable([*writes(store), *reads(store)], "SQLITE_CORRUPT")


def test_a_damaged_table_is_an_error_of_the_store(tmp_path: Path) -> None:
    path = tmp_path / "grants.db"
    with sqlite(path) as store:
        store.add(new_grant(id=SECRET, subject=SECRET), 1)
        store.end(SECRET, "logout")
    damage(path, first_page=2, last_page=6)  # the grants and their indexes
    with sqlite(path) as store:
        store.check()
        assert_unavailable([*writes(store)[:5], *reads(store)[:3]], "SQLITE_CORRUPT")


def damage(path: Path, first_page: int, last_page: int | None = None) -> None:
    with path.open("r+b") as file:
        file.seek((first_page - 1) * 4096)
        end = path.stat().st_size if last_page is None else last_page * 4096
        file.write(b"\xff" * (end - file.tell()))


@pytest.mark.parametrize("claims", ["no JSON", "[]", "5", b"\xff"])
def test_a_damaged_row_is_an_error_of_the_store(tmp_path: Path, claims: Any) -> None:
    path = tmp_path / "grants.db"
    with sqlite(path) as store:
        store.add(new_grant(id="grant"), 1)
        with closing(sqlite3.connect(path)) as db:
            db.execute("UPDATE grants SET claims = CAST(? AS TEXT)", (claims,))
            db.commit()
        assert_unavailable([lambda: store.advance("grant", 1, 2, None)], DAMAGED)
        assert_unavailable([lambda: store.grants("alice")], DAMAGED)
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("SELECT generation FROM grants").fetchall() == [(1,)], "taken back"


def test_a_file_system_that_shares_no_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An in-memory database answers as a network file system does: it stays in another mode.
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda _, **options: connect(":memory:", **options))
    refused = pytest.raises(ConfigurationError, match="can't share memory")
    with sqlite(tmp_path / "grants.db") as store, refused:
        store.check()


def test_an_error_of_the_clock_is_its_own_and_nothing_is_left_locked(tmp_path: Path) -> None:
    clock = SetClock()
    with sqlite(tmp_path / "grants.db", lambda: clock(), timeout=0.1) as store:
        store.add(new_grant(id="living"), 1)
        clock.__class__ = BrokenClock
        with pytest.raises(ZeroDivisionError):
            store.end("living", "logout")
        clock.__class__ = SetClock
        assert store.end("living", "logout")


class BrokenClock(SetClock):
    def __call__(self) -> float:
        return 1 / 0
