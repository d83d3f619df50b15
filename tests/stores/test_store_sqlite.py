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

from jwt_middleware.stores.sqlite import SQLiteStore
from jwt_middleware.stores.sqlite import connections as engine
from jwt_middleware.stores.sqlite.schema import (
    APPLICATION_ID,
    LAST_BREAKING_LEVEL,
    SQLITE_LEVELS,
    SQLITE_STATEMENTS,
)
from jwt_middleware.stores.sqlite.store import DELETED_AT_ONCE, parse_sqlite_url
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
        assert store.purge(clock.now) == 0
        assert ask(path, "SELECT count(*) FROM ends") == 0
        store.add(new_grant(id="five"), 3)
        store.end("five", "logout")
    assert ask(path, "SELECT number FROM ends") == 5, "no number is given twice"


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
            (0, store.purge, (NOW,)),
            (3, store.purge, (NOW + 1e6,)),
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
            if name == "purge_ends":  # by its LIMIT it reads a batch: see below
                assert "SCAN ends" in plan
                continue
            assert not [step for step in plan if step.startswith("SCAN")], (name, plan)


def test_to_purge_ends_reads_no_more_than_a_batch(tmp_path: Path) -> None:
    with sqlite(tmp_path / "grants.db", synchronous="NORMAL") as store:
        store.check()
        steps: list[int] = []
        with store._writing() as db:
            ends = ((str(number), NOW) for number in range(100_000))
            db.executemany("INSERT INTO ends (id, ended_at) VALUES (?, ?)", ends)
            db.set_progress_handler(lambda: steps.append(1), 1)
        store.purge(NOW + 1)
        assert len(steps) < 100 * DELETED_AT_ONCE
        steps.clear()
        store.purge(NOW + RETENTION)
        with store._reading() as db:
            assert db.execute("SELECT count(*) FROM ends").fetchone() == (100_000 - 5000,)
        assert steps


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
        with store._writing() as db:
            assert db.execute("PRAGMA synchronous").fetchone() == (level,)


def test_purge_forgets_everything_in_batches(tmp_path: Path) -> None:
    clock = SetClock()
    with sqlite(tmp_path / "grants.db", clock, synchronous="NORMAL") as store:
        store.check()
        with store._writing() as db:
            rows = [(f"key {number}", NOW + 1) for number in range(6001)]
            db.executemany("INSERT INTO admitted VALUES (?, ?)", rows)
        assert [store.purge(NOW + 1) for _ in range(3)] == [5000, 1001, 0]


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
