"""One SQLite file: its schema, its address, its cost, and several processes at it."""

from __future__ import annotations

import gc
import re
import sqlite3
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from jwt_middleware.stores import PAGE
from jwt_middleware.stores.sqlite import SQLiteStore
from jwt_middleware.stores.sqlite import connections as engine
from jwt_middleware.stores.sqlite.purging import DELETED_AT_ONCE
from jwt_middleware.stores.sqlite.schema import (
    APPLICATION_ID,
    LAST_BREAKING_LEVEL,
    SQLITE_LEVELS,
    SQLITE_STATEMENTS,
)
from jwt_middleware.stores.sqlite.store import parse_sqlite_url
from jwt_middleware.values.errors import ConfigurationError, StoreUnavailable
from jwt_middleware.values.tokens import FrozenDict
from tests.stores import NOW, RETENTION, Process, SetClock, new_grant, sqlite


def ask(path: Path, sql: str) -> Any:
    """Ask the file by a connection that isn't the store's."""
    with closing(sqlite3.connect(path)) as db:
        found = db.execute(sql).fetchall()
        db.commit()
    return found[0][0] if found else None


# --- the schema is ours


def test_check_makes_the_file_and_may_be_repeated(tmp_path: Path) -> None:
    path = tmp_path / "grants.db"
    with sqlite(path) as store:
        store.check()
        store.add(new_grant(), 100)
        store.check()
        assert len(store.grants("alice")) == 1
    assert ask(path, "PRAGMA user_version") == LAST_BREAKING_LEVEL
    assert ask(path, "SELECT value FROM facts WHERE name = 'level'") == len(SQLITE_LEVELS)
    assert ask(path, "PRAGMA journal_mode") == "wal"


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    with sqlite(tmp_path / "grants.db") as store:
        store.add(new_grant(), 100)
        modes = {one.name: one.stat().st_mode & 0o777 for one in tmp_path.iterdir()}
    assert modes == {"grants.db": 0o600, "grants.db-wal": 0o600, "grants.db-shm": 0o600}


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "grants.db"
    with sqlite(path) as store:
        store.check()
    ask(path, f"PRAGMA user_version = {len(SQLITE_LEVELS) + 1}")
    with sqlite(path) as store:
        with pytest.raises(ConfigurationError, match="newer version of this package") as caught:
            store.check()
        assert caught.value.field == "refresh.store"
        with pytest.raises(StoreUnavailable):
            store.grants("alice")
    assert ask(path, "PRAGMA user_version") == len(SQLITE_LEVELS) + 1


def make_as_before(path: Path, *ends: tuple[str, float]) -> None:
    """Make a file as the first version did, with grants that ended."""
    with closing(sqlite3.connect(path)) as db:
        for statement in SQLITE_LEVELS[0]:
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("PRAGMA user_version = 1")
        db.executemany(
            "INSERT INTO grants (id, subject, client_id, scope, generation, rotated_at, "
            "created_at, expires_at, ended_at) VALUES (?, 'alice', 'web', '', 7, 1, 1, 9e9, ?)",
            [*ends, ("old", None)],
        )
        db.commit()


def test_the_first_schema_is_brought_up_to_date_and_its_grants_go_on(tmp_path: Path) -> None:
    path = tmp_path / "grants.db"
    make_as_before(path, ("late", NOW - 1), ("early", NOW - 80_000), ("before", NOW - 90_000))
    with sqlite(path) as store:
        store.check()
        assert store.grants("alice") == (
            new_grant(
                1.0,
                id="old",
                scope="",
                generation=7,
                rotated_at=1.0,
                created_at=1.0,
                expires_at=9e9,
            ),
        )
        store.use("old")
        assert store.advance("old", 7, 8, "parent").grant == replace(
            store.grants("alice")[0], last_used_at=NOW, generation=8, parent="parent"
        )
        assert store.end("old", "logout")
    assert ask(path, "PRAGMA user_version") == LAST_BREAKING_LEVEL
    assert ask(path, "SELECT group_concat(id) FROM ends") == "early,late,old", "of a day"


def test_threads_bring_a_file_up_to_date_at_once(tmp_path: Path) -> None:
    path = tmp_path / "grants.db"
    make_as_before(path)
    stores = [SQLiteStore(path, clock=SetClock(), retention=RETENTION) for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda store: store.use("old"), stores))
    assert ask(path, "SELECT value FROM facts WHERE name = 'level'") == len(SQLITE_LEVELS)
    assert stores[0].grants("alice")[0].last_used_at == NOW
    for store in stores:
        store.close()


def test_a_backup_of_the_former_version_may_take_the_files_place(tmp_path: Path) -> None:
    path, backup = tmp_path / "grants.db", tmp_path / "backup.db"
    make_as_before(backup)
    with sqlite(path) as store:
        store.add(new_grant(id="new", subject="bob"), 1)
        store.close()
        backup.replace(path)
        assert [one.id for one in store.grants("alice")] == ["old"], "by what reads"
        store.use("old")
        make_as_before(backup)
        store.close()
        backup.replace(path)
        store.use("old")
        assert [one.last_used_at for one in store.grants("alice")] == [NOW], "by what writes"


def test_a_level_that_a_newer_package_has_added_is_nothing_to_stop_at(tmp_path: Path) -> None:
    path = tmp_path / "grants.db"
    with sqlite(path) as store:
        store.check()
        ask(path, "UPDATE facts SET value = 9 WHERE name = 'level'")
        store.check()
        store.add(new_grant(), 1)
    assert ask(path, "SELECT value FROM facts WHERE name = 'level'") == 9


def test_an_end_is_numbered_whatever_made_it(tmp_path: Path) -> None:
    path = tmp_path / "grants.db"
    clock = SetClock()
    with sqlite(path, clock, synchronous="NORMAL") as store:
        for name in ("one", "two", "three", "four"):
            store.add(new_grant(id=name), 3)
        store.end("two", "logout")
        store.end("two", "logout")
        store.end("nothing", "logout")
        store.end_subject("alice", "logout")
        assert ask(path, "SELECT group_concat(id) FROM ends") == "one,two,three,four"
        clock.now = NOW + RETENTION
        assert store.purge(clock.now) == 4
        assert ask(path, "SELECT count(*) FROM ends") == 0
        store.add(new_grant(id="five"), 3)
        store.end("five", "logout")
    assert ask(path, "SELECT number FROM ends") == 5, "no number is given twice"


# --- what has ended


def test_ends_come_in_pages_and_none_is_repeated(tmp_path: Path) -> None:
    with sqlite(tmp_path / "grants.db", synchronous="NORMAL") as store:
        begin = store.ended(None, RETENTION).cursor
        rows = [(str(number), NOW) for number in range(2 * PAGE + 1)]
        sql = "INSERT INTO ends (id, ended_at) VALUES (?, ?)"
        store._write(lambda db: db.executemany(sql, rows))
        for first in (None, begin):
            found: list[str] = []
            cursor = first
            for size, more in ((PAGE, True), (PAGE, True), (1, False), (0, False)):
                answer = store.ended(cursor, RETENTION)
                assert (len(answer.grant_ids), answer.more) == (size, more)
                found += answer.grant_ids
                cursor = answer.cursor
            assert found == [one for one, _ in rows]


def test_a_full_last_page_says_that_there_is_no_more(tmp_path: Path) -> None:
    with sqlite(tmp_path / "grants.db", synchronous="NORMAL") as store:
        rows = [(str(number), NOW) for number in range(PAGE)]
        sql = "INSERT INTO ends (id, ended_at) VALUES (?, ?)"
        store._write(lambda db: db.executemany(sql, rows))
        assert not store.ended(None, RETENTION).more


def test_a_purge_takes_nothing_from_a_cursor(tmp_path: Path) -> None:
    clock = SetClock()
    with sqlite(tmp_path / "grants.db", clock) as store:
        for name in ("one", "two"):
            store.add(new_grant(id=name), 3)
        store.end("one", "logout")
        cursor = store.ended(None, RETENTION).cursor
        clock.now += RETENTION
        assert store.purge(clock.now) == 1
        answer = store.ended(cursor, RETENTION)
        assert (answer.grant_ids, answer.notices) == ((), ())
        store.end("two", "logout")
        assert store.ended(answer.cursor, RETENTION).grant_ids == ("two",)


def test_ends_of_a_clock_that_was_set_back_are_found_by_who_begins_later(tmp_path: Path) -> None:
    clock = SetClock()
    with sqlite(tmp_path / "grants.db", clock) as store:
        for name in ("old", "before", "meanwhile", "after"):
            store.add(new_grant(id=name), 9)
        clock.now = NOW - 2 * RETENTION
        store.end("old", "logout")
        for name, now in (("before", NOW), ("meanwhile", NOW - 3600), ("after", NOW + 1)):
            clock.now = now
            store.end(name, "logout")
        found = store.ended(None, RETENTION).grant_ids
        assert found == ("before", "meanwhile", "after")


def test_a_cursor_of_another_history_begins_anew_and_says_so(tmp_path: Path) -> None:
    path, aside = tmp_path / "grants.db", tmp_path / "aside.db"
    clock = SetClock()

    def notice(cursor: object) -> str:
        answer = store.ended(cursor, RETENTION)
        assert answer.grant_ids == ("one",)
        again = store.ended(answer.cursor, RETENTION)
        assert (again.grant_ids, again.notices) == ((), ())
        assert "grants end --all-before now" in answer.notices[0]
        return answer.notices[0]

    with sqlite(path, clock) as store:
        store.add(new_grant(id="one"), 1)
        store.end("one", "logout")
        cursor = store.ended(None, RETENTION).cursor
        ask(path, "UPDATE facts SET value = 'another' WHERE name = 'history'")
        assert "content was replaced" in notice(cursor)
        cursor = store.ended(None, RETENTION).cursor
        store.close()
        aside.write_bytes(path.read_bytes())
        aside.replace(path)
        assert "file was replaced" in notice(cursor)
        store.add(new_grant(id="two"), 1)
        store.end("two", "logout")
        cursor = store.ended(None, RETENTION).cursor
        ask(path, "DELETE FROM ends WHERE id = 'two'")
        ask(path, "UPDATE sqlite_sequence SET seq = 1")
        assert "lost its last ends: 2 were read, and it knows of 1" in notice(cursor)


def test_what_has_ended_waits_for_no_reader_and_no_writer(tmp_path: Path) -> None:
    entered, leave = Event(), Event()

    def hang(_: sqlite3.Connection) -> None:
        entered.set()
        leave.wait(60)

    with sqlite(tmp_path / "grants.db") as store, ThreadPoolExecutor(1) as threads:
        store.add(new_grant(id="one"), 1)
        store.end("one", "logout")
        with store._reader.taken():
            written = threads.submit(store._write, hang)
            entered.wait(60)
            assert store.ended(None, RETENTION).grant_ids == ("one",)
        leave.set()
        written.result()


def test_a_process_of_the_level_before_works_beside(tmp_path: Path) -> None:
    path = tmp_path / "grants.db"
    with closing(sqlite3.connect(path)) as db:
        for statement in (one for level in SQLITE_LEVELS[:2] for one in level):
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("PRAGMA user_version = 1")
        db.execute("PRAGMA journal_mode = WAL")
        insert = (
            "INSERT INTO grants (id, subject, client_id, scope, generation, rotated_at, "
            f"created_at, expires_at) VALUES (?, 'alice', '', '', 1, 1, {NOW - 10}, 9e9)"
        )
        end = f"UPDATE grants SET ended_at = {NOW}, end_reason = 'x' WHERE id = ?"
        db.executemany(insert, [("early",), ("late",), ("last",)])
        db.execute(end, ("early",))
        db.commit()
        with sqlite(path) as store:
            answer = store.ended(None, RETENTION)
            assert answer.grant_ids == ("early",)
            db.execute(end, ("late",))
            db.commit()
            assert store.ended(answer.cursor, RETENTION).grant_ids == ("late",)
            store.end("last", "logout")
            found = db.execute("SELECT id FROM grants WHERE ended_at >= 0").fetchall()
            assert sorted(found) == [("early",), ("last",), ("late",)]
            db.execute(insert, ("new",))
            db.commit()
            assert store.is_living("new")
            mark = store.end_before(None)
            assert mark is not None
            assert store.grants("alice") == ()
            assert not store.end("new", "logout")


def test_a_mass_end_writes_one_page_or_two_whatever_there_is(tmp_path: Path) -> None:
    path = tmp_path / "grants.db"
    with sqlite(path) as store:
        store._write(
            lambda db: db.execute(
                "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20000) "
                "INSERT INTO grants (id, subject, client_id, scope, generation, rotated_at, "
                f"created_at, expires_at) SELECT 'g' || n, 's' || n, '', '', 1, 0, {NOW - 1}, 9e9 "
                "FROM n"
            )
        )
        ask(path, "PRAGMA wal_checkpoint(TRUNCATE)")
        assert store.end_before(None) == (NOW, NOW)
        assert path.with_name(f"{path.name}-wal").stat().st_size < 3 * 4200
        assert not store.is_living("g20000")
        assert store.page(None, 10).grants == ()


@pytest.mark.parametrize("sql", ["CREATE TABLE users (id)", "PRAGMA user_version = 1"])
def test_a_database_of_something_else_is_refused_and_left_alone(tmp_path: Path, sql: str) -> None:
    path = tmp_path / "app.db"
    ask(path, sql)
    before = path.read_bytes()
    with sqlite(path) as store, pytest.raises(ConfigurationError, match="something else"):
        store.check()
    assert path.read_bytes() == before


def test_an_sqlite_without_returning_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    older = pytest.raises(ConfigurationError, match=r"is older than 3\.35")
    with sqlite(tmp_path / "grants.db") as store, older:
        store.check()


def test_threads_make_the_file_at_once(tmp_path: Path) -> None:
    stores = [
        SQLiteStore(tmp_path / "grants.db", clock=SetClock(), retention=RETENTION) for _ in range(8)
    ]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda store: store.check(), stores))
        list(threads.map(lambda store: store.add(new_grant(), 100), stores))
    assert len(stores[0].grants("alice")) == 8
    for store in stores:
        store.close()


def test_processes_make_the_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "grants.db"
    with (
        Process("check", path) as one,
        Process("check", path) as two,
        Process("check", path) as three,
    ):
        processes = (one, two, three)
        assert [process.hear() for process in processes] == ["ready"] * 3
        for process in processes:
            process.go()
        assert [(process.hear(), process.hear()) for process in processes] == [(None, None)] * 3
    assert ask(path, "SELECT count(*) FROM grants") == 3


# --- its address


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///grants.db", ("grants.db", {})),
        ("sqlite:////var/lib/app/grants.db", ("/var/lib/app/grants.db", {})),
        ("sqlite:///my%20grants%3F.db", ("my grants?.db", {})),
        ("sqlite:///g.db?synchronous=normal", ("g.db", {"synchronous": "NORMAL"})),
        ("sqlite:///g.db?timeout=2.5", ("g.db", {"timeout": 2.5})),
    ],
)
def test_an_address_is_read(url: str, expected: object) -> None:
    assert parse_sqlite_url(url) == expected


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("sqlite://grants.db", "no address of a file"),
        ("sqlite://host/grants.db", "no address of a file"),
        ("sqlite:///", "no address of a file"),
        ("sqlite:///?timeout=1", "no address of a file"),
        ("sqlite:///a#b.db", "no address of a file"),
        ("sqlite:grants.db", "no address of a file"),
        ("sqlite:///:memory:", "path of a file"),
        ("sqlite:///a%00b", "path of a file"),
        ("sqlite:///g.db?mode=ro", "no option 'mode'"),
        ("sqlite:///g.db?synchronous=OFF", "FULL or NORMAL"),
        ("sqlite:///g.db?timeout=10", "less than 10"),
        ("sqlite:///g.db?timeout=0", "more than 0"),
        ("sqlite:///g.db?timeout=nan", "less than 10"),
        ("sqlite:///g.db?timeout=soon", "can't be read"),
        ("sqlite:///g.db?timeout", "can't be read"),
        ("sqlite:///g.db?timeout=1&timeout=2", "twice"),
    ],
)
def test_a_wrong_address_is_refused(url: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        SQLiteStore.from_url(url, clock=SetClock(), retention=RETENTION)
    assert caught.value.remedy


@pytest.mark.parametrize("name", ["a b.db", "100%.db", "a?mode=memory.db", "ä#ö.db", "file:x.db"])
def test_any_file_name_is_a_file_name(tmp_path: Path, name: str) -> None:
    with sqlite(tmp_path / name) as store:
        store.add(new_grant(), 100)
    assert [one.name for one in tmp_path.iterdir()] == [name]


def test_a_relative_path_is_relative_to_where_the_process_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with sqlite(Path("grants.db")) as store:
        monkeypatch.chdir("/")
        store.check()
    assert (tmp_path / "grants.db").exists()


# --- what it costs


def commits(path: Path) -> int:
    """Count the transactions in the log (https://www.sqlite.org/fileformat.html, 4.1)."""
    log = path.with_name(f"{path.name}-wal").read_bytes()
    page_size = struct.unpack(">I", log[8:12])[0]
    headers = range(32, len(log), 24 + page_size)
    return sum(1 for at in headers if struct.unpack(">I", log[at + 4 : at + 8])[0])


def test_a_verb_is_one_commit_and_a_read_is_none(tmp_path: Path) -> None:
    path, grant, clock = tmp_path / "grants.db", new_grant(), SetClock()
    with sqlite(path, clock) as store:
        store.add(new_grant(subject="bob"), 1)
        calls: list[tuple[int, Any, Any]] = [
            (1, store.add, (grant, 1)),
            (0, store.add, (grant, 1)),
            (1, store.add, (new_grant(id="newer"), 1)),
            (1, store.advance, ("newer", 1, 2, "parent")),
            (0, store.advance, ("newer", 2, 2, None)),
            (0, store.advance, ("newer", 1, 2, "parent")),
            (0, store.advance, ("unknown", 1, 2, "parent")),
            (0, store.grants, ("alice",)),
            (0, store.ended, (None, RETENTION)),
            (1, store.use, ("newer",)),
            (0, store.use, ("unknown",)),
            (1, store.end, ("newer", "logout")),
            (0, store.use, ("newer",)),
            (0, store.end, ("newer", "logout")),
            (0, store.end_subject, ("alice", "logout")),
            (1, store.admit, ("key", NOW + 1)),
            (0, store.admit, ("key", NOW + 1)),
            (0, store.is_living, ("newer",)),
            (1, store.end_before, (None,)),
            (0, store.end_before, (None,)),
            (1, store.purge, (NOW,)),  # it writes the time that it believes, now and then
            (0, store.purge, (NOW,)),
            (1, store.purge, (float("inf"),)),
        ]
        for expected, verb, args in calls:
            before = commits(path)
            verb(*args)
            assert commits(path) - before == expected, (verb.__name__, args)


def test_no_verb_reads_a_whole_table(tmp_path: Path) -> None:
    path = tmp_path / "grants.db"
    with sqlite(path) as store:
        store.check()
    with closing(sqlite3.connect(path)) as db:
        for name, sql in SQLITE_STATEMENTS.items():
            nothing = dict.fromkeys(re.findall(r":(\w+)", sql))
            plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", nothing)]
            # No table at all, and one of a single row: it has the last number of `ends`.
            read = {"SCAN CONSTANT ROW", *(["SCAN sqlite_sequence"] * (name == "newest_end"))}
            assert not [one for one in plan if one.startswith("SCAN") and one not in read], name


def test_to_purge_ends_reads_no_more_than_a_batch(tmp_path: Path) -> None:
    clock = SetClock()
    with sqlite(tmp_path / "grants.db", clock, synchronous="NORMAL") as store:
        store.check()
        steps: list[int] = []

        def prepare(db: sqlite3.Connection) -> None:
            ends = ((str(number), NOW) for number in range(100_000))
            db.executemany("INSERT INTO ends (id, ended_at) VALUES (?, ?)", ends)
            db.set_progress_handler(lambda: steps.append(1), 1)

        store._write(prepare)
        assert store.purge(NOW + 1) == 0
        assert len(steps) < 1000
        clock.now = NOW + RETENTION
        assert store.purge(clock.now) == DELETED_AT_ONCE
        assert DELETED_AT_ONCE < len(steps) < 100 * DELETED_AT_ONCE


def test_a_grant_stays_one_row_whatever_is_done_with_it(tmp_path: Path) -> None:
    path, grant = tmp_path / "grants.db", new_grant()
    with sqlite(path, synchronous="NORMAL") as store:
        store.add(grant, 100)
        store.advance(grant.id, 1, 2, "p" * 22)
        pages = ask(path, "PRAGMA page_count")
        for generation in range(2, 300):
            assert store.advance(grant.id, generation, generation + 1, "p" * 22).advanced
    assert ask(path, "SELECT count(*) FROM grants") == 1
    assert ask(path, "PRAGMA page_count") == pages


@pytest.mark.parametrize(("synchronous", "level"), [("FULL", 2), ("NORMAL", 1)])
def test_how_durable_a_commit_is_can_be_chosen(
    tmp_path: Path, synchronous: str, level: int
) -> None:
    with sqlite(tmp_path / "grants.db", synchronous=synchronous) as store:
        store.check()
        found = store._write(lambda db: db.execute("PRAGMA synchronous").fetchone())
        assert found == (level,)


def test_purge_forgets_everything_in_batches(tmp_path: Path) -> None:
    clock = SetClock()
    with sqlite(tmp_path / "grants.db", clock, synchronous="NORMAL") as store:
        rows = [(f"key {number}", NOW + 1) for number in range(401)]
        store._write(lambda db: db.executemany("INSERT INTO admitted VALUES (?, ?)", rows))
        assert store.purge(NOW + 1) == 0, "not by the store's clock"
        clock.now += 1
        assert [store.purge(NOW + 1) for _ in range(4)] == [200, 200, 1, 0]


# --- several processes, and the same file again


def test_what_was_acknowledged_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "grants.db"
    claims = FrozenDict(roles=("editor",), name="Zoë")
    one, two = new_grant(claims=claims), new_grant(subject="bob")
    with sqlite(path) as store:
        store.add(one, 100)
        store.add(two, 100)
        row = store.advance(one.id, 1, 2, "parent").grant
        store.end(two.id, "logout")
        store.admit("key", NOW + 1)
    with sqlite(path) as store:
        assert store.grants("alice") == (row,)
        assert store.ended(None, RETENTION).grant_ids == (two.id,)
        assert not store.admit("key", NOW + 1)


def test_a_closed_store_opens_again(tmp_path: Path) -> None:
    with sqlite(tmp_path / "grants.db") as store:
        store.add(new_grant(), 100)
        store.close()
        store.close()
        assert len(store.grants("alice")) == 1


def test_two_stores_see_each_others_writes_at_once(tmp_path: Path) -> None:
    path, grant = tmp_path / "grants.db", new_grant()
    with sqlite(path) as here, sqlite(path) as there:
        here.add(grant, 100)
        assert there.advance(grant.id, 1, 2, "there").advanced
        assert not here.advance(grant.id, 1, 2, "here").advanced
        there.end(grant.id, "logout")
        assert here.ended(None, RETENTION).grant_ids == (grant.id,)


def test_a_store_that_is_dropped_is_closed(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "grants.db", clock=SetClock(), retention=RETENTION)
    store.add(new_grant(), 100)
    assert len(list(tmp_path.iterdir())) == 3
    del store
    gc.collect()
    assert [one.name for one in tmp_path.iterdir()] == ["grants.db"]


def test_during_a_fork_nothing_is_open_and_everybody_waits(tmp_path: Path) -> None:
    with sqlite(tmp_path / "grants.db") as store, ThreadPoolExecutor(1) as threads:
        store.add(new_grant(id="grant"), 100)
        engine.before_fork()
        assert [one.name for one in tmp_path.iterdir()] == ["grants.db"]
        ended = threads.submit(store.end, "grant", "logout")
        time.sleep(0.05)
        assert not ended.done()
        engine.after_fork()
        assert ended.result()


def test_a_fork_does_not_wait_for_ever(tmp_path: Path) -> None:
    entered, leave, clock = Event(), Event(), SetClock()

    def slow() -> float:
        entered.set()
        leave.wait(60)
        return clock()

    path = tmp_path / "grants.db"
    with sqlite(path, slow, timeout=0.1) as store, ThreadPoolExecutor(1) as threads:
        ended = threads.submit(store.end, "grant", "logout")
        entered.wait(60)
        engine.before_fork()
        engine.after_fork()
        assert store.advance("grant", 1, 1, None) == (False, None)
        leave.set()
        assert ended.result() is False


def test_a_child_begins_with_locks_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As the child sees it; the tests that really fork are the next ones.
    inherited: list[sqlite3.Connection] = []
    monkeypatch.setattr(engine, "_inherited_connections", inherited)
    with sqlite(tmp_path / "grants.db") as store:
        store.check()
        engine.before_fork()
        engine.after_fork_in_child()
        assert store.grants("alice") == ()
        engine.after_fork_in_child()  # as if a verb had hung, and its connection is still open
        assert len(inherited) == 1
        with pytest.raises(StoreUnavailable, match="forked while the file was open"):
            store.grants("alice")
        inherited[0].close()


def test_a_fork_inherits_nothing_open(tmp_path: Path) -> None:
    with Process("fork", tmp_path / "grants.db") as process:
        assert process.hear() == [False, True, 1], "the child"
        assert process.hear() == [True, True, True], "the parent"
        assert process.wait() == 0
    assert ask(tmp_path / "grants.db", "SELECT generation FROM grants") == 3


def test_a_child_that_inherits_a_connection_refuses_to_go_on(tmp_path: Path) -> None:
    with Process("fork_in_a_verb", tmp_path / "grants.db") as process:
        refused = process.hear()
        assert [one.partition(":")[0] for one in refused] == [
            "this process was forked while the file was open",
            "this process was forked while the file was open",
        ], "the child"
        assert process.hear() == "logout", "the parent"
        assert process.wait() == 0
