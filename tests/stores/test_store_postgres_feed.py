"""What has ended, read from PostgreSQL: each end once, however late it is committed, none lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from jwt_middleware.stores import PAGE, Ended
from jwt_middleware.stores.postgres import PostgresStore
from jwt_middleware.stores.postgres.feed_cursor import FeedAnswer, FeedCursor, first_cursor
from jwt_middleware.values.errors import StoreUnavailable
from tests.engines.postgres import Server, ask, postgres, session
from tests.stores import RETENTION, new_grant
from tests.waiting import until


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server(max_prepared_transactions="5").start()
    yield one
    one.stop()


@pytest.fixture
def store(postgres_url: str, schema: str) -> Iterator[PostgresStore]:
    with postgres(postgres_url, schema=schema) as one:
        one.check()
        yield one


def all_pages(store: PostgresStore, ended: Ended) -> list[str]:
    """Return the ids of an answer and of those that follow at once."""
    found = list(ended.grant_ids)
    while ended.more:
        assert len(ended.grant_ids) == PAGE
        ended = store.ended(ended.cursor, RETENTION)
        assert ended.notices == ()
        found += ended.grant_ids
    return found


def ending(number: int) -> str:
    """Return SQL that ends a grant that `begin` has made."""
    return f"UPDATE {{0}}.grants SET ended_at = date_part('epoch', now()) WHERE id = '{number}'"


def begin(store: PostgresStore, *numbers: int) -> None:
    for number in numbers:
        store.add(new_grant(time.time(), id=str(number)), 1000)


# --- each end once


def test_an_end_that_is_committed_late_is_read_once(
    store: PostgresStore, postgres_url: str, schema: str
) -> None:
    begin(store, 1, 2, 3, 4)
    found = store.ended(None, RETENTION)
    with session(postgres_url) as late:
        late.execute(ending(1).format(schema))
        store.end("2", "logout")
        read: list[str] = []
        for number in (3, 4):
            found = store.ended(found.cursor, RETENTION)
            read += found.grant_ids
            store.end(str(number), "logout")
        late.commit()
    for _ in range(3):
        found = store.ended(found.cursor, RETENTION)
        read += found.grant_ids
        assert not found.notices
    assert sorted(read) == ["1", "2", "3", "4"], "and no other twice, while one held xmin back"


def test_pages_hold_all_of_one_transaction_and_none_twice(
    store: PostgresStore, postgres_url: str, schema: str
) -> None:
    before = store.ended(None, RETENTION)
    ends = (
        f"INSERT INTO {schema}.ends (id, ended_at) SELECT 'id' || n, date_part('epoch', now()) "
        f"FROM generate_series(1, {2 * PAGE + 1}) AS n"
    )
    ask(postgres_url, ends)
    expected = sorted(f"id{number}" for number in range(1, 2 * PAGE + 2))
    first = store.ended(before.cursor, RETENTION)
    assert first.more
    assert sorted(all_pages(store, first)) == expected
    by_time, pages = store.ended(None, RETENTION), 1
    begin(store, 1)
    with session(postgres_url) as late:
        late.execute(ending(1).format(schema))
        while by_time.more:  # the last page comes before the commit
            by_time, pages = store.ended(by_time.cursor, RETENTION), pages + 1
        assert pages == 3
        late.commit()
    assert store.ended(by_time.cursor, RETENTION).grant_ids == ("1",), "ended meanwhile"
    assert sorted(all_pages(store, store.ended(None, RETENTION))) == ["1", *expected]


def test_a_number_that_came_with_a_dump_means_nothing(
    store: PostgresStore, postgres_url: str, schema: str
) -> None:
    before = store.ended(None, RETENTION)
    for xid, grant_id in ((2**40, "above"), (5, "below")):
        ask(
            postgres_url,
            f"INSERT INTO {schema}.ends VALUES ('{xid}', date_part('epoch', now()), '{grant_id}')",
        )
    assert store.ended(before.cursor, RETENTION).grant_ids == ()
    assert set(store.ended(None, RETENTION).grant_ids) == {"above", "below"}
    begin(store, 1)
    store.end("1", "logout")
    assert store.ended(before.cursor, RETENTION).grant_ids == ("1",)


def test_a_prepared_transaction_holds_up_nothing(server: Server) -> None:
    with postgres(server.url()) as store:
        begin(store, *range(8))
        found = store.ended(None, RETENTION)
        server.ask("CREATE DATABASE other")
        with session(f"{server.url().rpartition('/')[0]}/other") as db:
            db.execute("CREATE TABLE t ()")
            db.execute("PREPARE TRANSACTION 'forgotten'")
        for number in range(4):
            store.end(str(number), "logout")
            found = store.ended(found.cursor, RETENTION)
            assert found.grant_ids == (str(number),)
        assert isinstance(found.cursor, FeedCursor)
        held = found.cursor.bound
        hour: Any = found.cursor
        for _ in range(3):  # each silence counts as half a minute
            hour = hour._replace(answered_at=hour.answered_at - 1200)
            hour = store.ended(hour, RETENTION).cursor
        assert hour.bound > held, "what was long ago isn't looked through"
        store.end("4", "logout")
        found = store.ended(hour, RETENTION)
        assert found.grant_ids == ("4",)


# --- where nothing happens


def quiet(store: PostgresStore) -> Any:
    """Return a cursor of a time when nothing was committed."""
    found = store.ended(None, RETENTION)
    for _ in range(20):  # the server itself may commit something
        found = store.ended(found.cursor, RETENTION)
        if isinstance(found.cursor, FeedCursor) and found.cursor.is_quiet:
            return found.cursor
    raise AssertionError("never quiet")


def test_what_comes_after_a_quiet_time_is_read(server: Server) -> None:
    with postgres(server.url()) as store:
        begin(store, 1, 2)
        for number in (1, 2):
            cursor = quiet(store)
            store.end(str(number), "logout")
            assert store.ended(cursor, RETENTION).grant_ids == (str(number),)
        cursor = quiet(store)
        assert store.ended(cursor, RETENTION).mark is None
        mark = store.end_before(None)
        assert store.ended(cursor, RETENTION).mark == mark
        assert store.ended(quiet(store), RETENTION).mark == mark, "also where nothing is new"


def test_a_quiet_time_ends_with_another_snapshot_or_history() -> None:
    first = first_cursor(answer("5:5:", 0))
    assert not first.is_quiet
    cursor = first.after(answer("5:5:", 1, mark="1 2"))
    assert cursor.is_quiet
    found = cursor.unchanged("1 00000001 3", "5:5:", (2.0, 2.1))
    assert found == answer("5:5:", 2, mark="1 2", answered_at=2.1)
    assert cursor.unchanged("1 00000001 3", "5:6:", (2.0, 2.1)) is None
    assert cursor.unchanged("1 00000002 3", "5:5:", (2.0, 2.1)) is None
    assert not cursor.after(answer("5:6:", 2)).is_quiet


# --- the history


def test_a_connection_of_ours_is_asked_for_its_history_once(
    postgres_url: str, schema: str, store: PostgresStore
) -> None:
    def prepares_nothing(connection: Any) -> None:
        connection.prepare_threshold = None

    change = (
        f"CREATE OR REPLACE FUNCTION {schema}.history() RETURNS text LANGUAGE sql "
        "AS $$ SELECT 'another 1 1' $$"
    )
    with ConnectionPool(postgres_url, min_size=1, configure=prepares_nothing) as pool:
        shared = PostgresStore.from_pool(pool, retention=RETENTION, schema=schema)
        cursor = quiet(store)
        for one in (store, shared):
            assert one.ended(cursor, RETENTION).notices == ()
        begin(store, 1)
        for one in (store, shared):
            assert one.ended(cursor, RETENTION).notices == ()
        ask(postgres_url, change)
        assert store.ended(cursor, RETENTION).notices == ()
        assert len(shared.ended(cursor, RETENTION).notices) == 1, "another may answer each time"
        store._connections.own_pool().feed.connection.close()
        assert len(store.ended(cursor, RETENTION).notices) == 1, "a new connection"


def test_a_session_that_turns_out_to_be_shared_is_asked_each_time(
    postgres_url: str, schema: str, store: PostgresStore
) -> None:
    cursor = store.ended(None, RETENTION).cursor
    begin(store, 1)
    for _ in range(3):
        store.ended(cursor, RETENTION)
    connection = store._connections.own_pool().feed.connection
    connection.execute("DEALLOCATE ALL")
    store.end("1", "logout")
    asked = f"CREATE OR REPLACE FUNCTION {schema}.history() RETURNS text LANGUAGE sql "
    ask(postgres_url, asked + "AS $$ SELECT 'another 1 1' $$")
    found = store.ended(cursor, RETENTION)
    assert found.grant_ids == ("1",)
    assert len(found.notices) == 1


def test_a_crash_begins_the_reading_anew(server: Server) -> None:
    with postgres(server.url()) as store:
        begin(store, 1, 2)
        store.end("1", "logout")
        before = store.ended(None, RETENTION)
        with session(server.url()) as db:
            history = "SELECT jwt_middleware.history()"
            of_before = server.ask(history)
            os.kill(db.info.backend_pid, signal.SIGKILL)
            until(lambda: server.ask(history) != of_before, passing=(psycopg.OperationalError,))
        store.end("2", "logout")
        after = store.ended(before.cursor, RETENTION)
        assert set(after.grant_ids) == {"1", "2"}
        assert len(after.notices) == 1
        assert "recovered from a crash" in after.notices[0]
        again = store.ended(after.cursor, RETENTION)
        assert (again.grant_ids, again.notices) == ((), ())


def test_a_standby_that_was_promoted_begins_the_reading_anew_and_the_old_primary_is_told(
    server: Server,
) -> None:
    with postgres(server.url()) as store:
        begin(store, *range(40))
        server.ask("CHECKPOINT")
    other = standby_of(server)
    try:
        with postgres(server.url()) as store:
            for number in range(20):  # these are lost
                store.end(str(number), "logout")
            before = store.ended(None, RETENTION)
            assert len(before.grant_ids) == 20
        other.ask("SELECT pg_promote()")
        with postgres(other.url()) as store:
            for number in range(20, 40):
                store.end(str(number), "logout")
            after = store.ended(before.cursor, RETENTION)
            assert len(after.grant_ids) == 20
            assert "is on 2: a standby was promoted" in after.notices[0]
        with postgres(server.url()) as store:
            back = store.ended(after.cursor, RETENTION)
            assert "former primary has come back" in back.notices[0]
            assert len(back.grant_ids) == 20
    finally:
        other.stop()


def standby_of(server: Server) -> Server:
    """Return a hot standby made from a copy of a server's folder, which receives nothing more."""
    server.kill()
    other = Server(max_prepared_transactions="5")
    shutil.rmtree(other.folder / "data")
    shutil.copytree(server.folder / "data", other.folder / "data", symlinks=True)
    (other.folder / "data" / "postmaster.pid").unlink(missing_ok=True)
    (other.folder / "data" / "standby.signal").touch()
    for path in [other.folder / "data", *(other.folder / "data").rglob("*")]:
        if other._user is not None:
            os.chown(path, other._user.pw_uid, other._user.pw_gid, follow_symlinks=False)
    (other.folder / "data").chmod(0o700)
    server.start()
    return other.start()


def test_a_dump_that_was_loaded_into_another_server_begins_the_reading_anew(
    server: Server,
) -> None:
    url = server.url()
    with postgres(url) as store:
        begin(store, *range(100))  # so its numbers are ahead of the other server's
        store.end("1", "logout")
        before = store.ended(None, RETENTION)
    dump = [str(server._bin / "pg_dump"), "--no-owner", url]
    text = subprocess.run(dump, check=True, capture_output=True).stdout
    other = Server().start()
    try:
        load = [str(server._bin / "psql"), "-q", "-v", "ON_ERROR_STOP=1", other.url()]
        subprocess.run(load, check=True, input=text, stdout=subprocess.DEVNULL)
        with postgres(other.url()) as store:
            store.check()
            after = store.ended(before.cursor, RETENTION)
            assert after.grant_ids == ("1",)
            assert "in another database than before" in after.notices[0]
            for number in range(2, 60):  # past the numbers that came with the dump
                store.end(str(number), "logout")
                after = store.ended(after.cursor, RETENTION)
                assert str(number) in after.grant_ids
                assert set(after.grant_ids) <= {"1", str(number)}
            assert store.end_before(None) is not None
    finally:
        other.stop()


def test_a_server_that_was_restarted_in_order_goes_on(server: Server) -> None:
    with postgres(server.url()) as store:
        begin(store, 1)
        before = store.ended(None, RETENTION)
        assert server._process is not None
        server._process.send_signal(signal.SIGINT)  # a fast shutdown
        server._process.wait()
        server.start()
        store.end("1", "logout")
        after = store.ended(before.cursor, RETENTION)
        assert (after.grant_ids, after.notices) == (("1",), ())


def test_a_table_that_was_made_anew_is_another_history(
    store: PostgresStore, postgres_url: str, schema: str
) -> None:
    begin(store, 1)
    store.end("1", "logout")
    before = store.ended(None, RETENTION)
    with session(postgres_url) as db:
        db.execute(f"CREATE TABLE {schema}.copy (LIKE {schema}.ends INCLUDING ALL)")
        db.execute(f"INSERT INTO {schema}.copy SELECT * FROM {schema}.ends")
        db.execute(f"DROP TABLE {schema}.ends; ALTER TABLE {schema}.copy RENAME TO ends")
        db.commit()
    after = store.ended(before.cursor, RETENTION)
    assert after.grant_ids == ("1",)
    assert "in another database than before" in after.notices[0]


def test_numbers_that_went_back_begin_the_reading_anew(store: PostgresStore) -> None:
    begin(store, 1)
    store.end("1", "logout")
    cursor: Any = store.ended(None, RETENTION).cursor
    xmax = int(cursor.seen.split(":")[1]) + 10**6
    ahead = cursor._replace(seen=f"{xmax}:{xmax}:", bound=xmax)
    after = store.ended(ahead, RETENTION)
    assert after.grant_ids == ("1",)
    assert "have gone back" in after.notices[0]
    between = cursor._replace(goal=(f"{xmax}:{xmax}:", xmax), place=(str(xmax), ""))
    assert "have gone back" in store.ended(between, RETENTION).notices[0]


def test_what_a_managed_server_hides_is_left_out(
    postgres_url: str, schema: str, store: PostgresStore
) -> None:
    before = ask(postgres_url, f"SELECT {schema}.history()").split()
    assert "-" not in before
    role = f"role_{schema}"
    ask(postgres_url, f"CREATE ROLE {role} LOGIN")
    ask(postgres_url, f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    ask(postgres_url, "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    ask(postgres_url, "REVOKE EXECUTE ON FUNCTION pg_walfile_name(pg_lsn) FROM PUBLIC")
    try:
        with session(postgres_url, autocommit=True) as db:
            db.execute(f"SET ROLE {role}")
            row = db.execute(f"SELECT {schema}.history()").fetchone()
        assert row is not None
        assert row[0].split() == ["-", "-", *before[2:]]
    finally:
        ask(postgres_url, "GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC")
        ask(postgres_url, "GRANT EXECUTE ON FUNCTION pg_walfile_name(pg_lsn) TO PUBLIC")
        ask(postgres_url, f"DROP OWNED BY {role}")
        ask(postgres_url, f"DROP ROLE {role}")


# --- the cursor alone


def answer(snapshot: str, at: float, **changes: Any) -> FeedAnswer:
    fields: dict[str, Any] = {"history": "1 00000001 3 2", "grant_ids": [], "last": None}
    fields |= {"mark": None}
    fields |= {"snapshot": snapshot, "asked_at": at, "answered_at": at + 0.1, **changes}
    return FeedAnswer(**fields)


def test_the_bound_is_xmin_and_where_that_is_held_what_was_long_ago() -> None:
    cursor = first_cursor(answer("100:100:", 0))
    assert (cursor.seen, cursor.bound) == ("100:100:", 100)
    cursor = cursor.after(answer("150:160:", 1))
    assert cursor.bound == 150
    at = {}
    for second in range(2, 200):
        cursor = cursor.after(answer(f"150:{200 + second}:150", float(second)))
        at[second] = cursor.bound
    assert at[59] == 150
    assert at[100] in range(200 + 100 - 72, 200 + 100 - 59), "60 s back, and a note's distance"
    assert len(cursor.notes) < 10


def test_a_silence_brings_no_end_nearer_to_its_commit() -> None:
    cursor = first_cursor(answer("100:200:100", 0))
    cursor = cursor.after(answer("100:300:100", 3600))
    assert cursor.bound == 100, "a server that stood still for an hour may commit it now"
    cursor = cursor.after(answer("100:400:100", 3601))
    assert cursor.bound == 100
    assert cursor.after(answer("100:500:100", 7200)).bound == 200


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ("1 00000001 3 2", ""),
        ("9 00000001 3 2", "in another database"),
        ("1 00000001 3 9", "in another database"),
        ("1 0000000A 9 2", "timeline 1, and is on 10: a standby was promoted"),
        ("1 00000000 9 2", "is on 0: a former primary has come back"),
        ("1 00000001 9 2", "recovered from a crash"),
        ("1 - 9 2", "former primary"),
    ],
)
def test_another_history_is_named(now: str, words: str) -> None:
    said = first_cursor(answer("1:1:", 0)).contradiction(answer("1:1:", 1, history=now))
    assert words in said
    assert bool(said) == bool(words)


# --- a replica


def test_every_read_finds_out_that_it_is_on_a_replica(server: Server) -> None:
    with postgres(server.url()) as store:
        begin(store, 1)
        found = store.ended(None, RETENTION)
    other = standby_of(server)
    try:
        with postgres(other.url()) as store:
            store._is_prepared = True  # the check saw the primary
            reads: list[Callable[[], object]] = [
                lambda: store.grants("alice"),
                lambda: store.grants("nobody"),
                lambda: store.is_living("1"),
                lambda: store.is_living("unknown"),
                lambda: store.advance("1", 1, 1, None),
                lambda: store.advance("unknown", 1, 2, None),
                lambda: store.advance("1", 1, 2, None),
                lambda: store.page(None, 5),
                lambda: store.ended(None, RETENTION),
                lambda: store.ended(found.cursor, RETENTION),
            ]
            for read in reads:
                with pytest.raises(StoreUnavailable, match="ReadOnlySqlTransaction"):
                    read()
            assert store._connections.own_pool().feed.connection is None, "the next is a new one"
            other.ask("SELECT pg_promote()")
            assert store.grants("alice")[0].id == "1"
    finally:
        other.stop()


# --- its connection


def test_the_feed_has_a_connection_of_its_own_that_may_be_given_back(
    postgres_url: str, schema: str
) -> None:
    url = f"{postgres_url}?application_name={schema}"
    count = f"SELECT count(*) FROM pg_stat_activity WHERE application_name = '{schema}'"
    with postgres(url, schema=schema, feed_idle=3600) as store:
        cursor = store.ended(None, RETENTION).cursor
        until(lambda: ask(postgres_url, count) == 0)
        begin(store, 1)  # by a connection of the pool
        feed = store._connections.own_pool().feed
        for _ in range(2):
            cursor = store.ended(cursor, RETENTION).cursor
        until(lambda: ask(postgres_url, count) == 2)
        feed.used_at -= 3600
        store.ended(cursor, RETENTION)
        until(lambda: ask(postgres_url, count) == 1)
    with postgres(url, schema=schema) as store:
        for _ in range(2):
            store.ended(cursor, RETENTION)
            until(lambda: ask(postgres_url, count) == 1)
        ask(postgres_url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE "
            f"application_name = '{schema}'")  # fmt: skip
        store.ended(cursor, RETENTION)
    until(lambda: ask(postgres_url, count) == 0)
