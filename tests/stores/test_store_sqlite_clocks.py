"""A clock that is far ahead deletes nobody's grant; one that is right deletes what is over."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jwt_middleware.stores.sqlite import SQLiteStore, purging
from tests.stores import NOW, SetClock, new_grant, sqlite

DAY = 86400.0
HOUR = 3600.0


class Passing:
    """The time that passes, whatever clock and calendar say; it begins with that of a boot."""

    def __init__(self) -> None:
        self.since_boot = 1000.0

    def __call__(self) -> float:
        return self.since_boot


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> Passing:
    one = Passing()
    monkeypatch.setattr(time, "monotonic", one)
    return one


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def store(tmp_path: Path, clock: SetClock) -> Iterator[SQLiteStore]:
    with sqlite(tmp_path / "grants.db", clock, synchronous="NORMAL") as one:
        for day in range(31):
            one.add(new_grant(id=f"day {day}", expires_at=NOW + day * DAY + 60), 100)
        yield one


def left(store: SQLiteStore) -> int:
    (count,) = store._write(lambda db: db.execute("SELECT count(*) FROM grants").fetchone())
    return int(count)


def purged(store: SQLiteStore, now: float) -> int:
    return sum(iter(lambda: store.purge(now), 0))


def pass_time(clock: SetClock, passing: Passing, seconds: float) -> None:
    clock.now += seconds
    passing.since_boot += seconds


def test_a_clock_that_is_a_month_ahead_is_not_believed(
    store: SQLiteStore, clock: SetClock, caplog: pytest.LogCaptureFixture
) -> None:
    clock.now = NOW + 31 * DAY
    with caplog.at_level(logging.WARNING, "jwt_middleware"):
        assert [store.purge(clock.now) for _ in range(3)] == [1, 0, 0]
    assert left(store) == 30
    (record,) = caplog.records
    assert "31.0 days ahead" in record.getMessage()
    assert "grants purge` believes the clock" in record.getMessage()


def test_nor_by_many_workers_that_begin_again_and_again(
    tmp_path: Path, store: SQLiteStore, clock: SetClock, passing: Passing
) -> None:
    store.purge(NOW)
    clock.now = NOW + 31 * DAY
    for _ in range(100):
        with sqlite(tmp_path / "grants.db", clock, synchronous="NORMAL") as worker:
            passing.since_boot += 36
            worker.purge(clock.now)
    assert left(store) == 30, "an hour, with what would have ended in three hours"
    clock.now = NOW + HOUR
    assert purged(store, clock.now) == 0
    clock.now = NOW + 31 * DAY
    store.purge(clock.now)
    assert left(store) == 30, "a clock that goes to and fro is believed no more"


def test_a_clock_that_is_right_is_followed(
    store: SQLiteStore, clock: SetClock, passing: Passing, caplog: pytest.LogCaptureFixture
) -> None:
    for day in range(31):
        pass_time(clock, passing, 61)
        assert purged(store, clock.now) == 1, day
        pass_time(clock, passing, DAY - 61)
    assert left(store) == 0
    assert not caplog.records


def test_what_ended_is_kept_for_its_readers_too(
    tmp_path: Path, store: SQLiteStore, clock: SetClock, passing: Passing
) -> None:
    store.purge(NOW)
    store.end_subject("alice", "logout")
    store.close()
    keeping = SQLiteStore(tmp_path / "grants.db", clock=clock, retention=DAY)
    clock.now = NOW + 31 * DAY
    assert keeping.purge(clock.now) == 0
    clock.now = NOW + 10
    assert len(keeping.ended(None, DAY).grant_ids) == 31
    keeping.close()


def test_keys_of_proofs_go_by_the_clock(store: SQLiteStore, clock: SetClock) -> None:
    store.admit("key", NOW + DAY)
    store.purge(NOW)
    clock.now = NOW + 31 * DAY
    store.purge(clock.now)
    assert store._write(lambda db: db.execute("SELECT count(*) FROM admitted").fetchone()) == (0,)
    assert left(store) > 0


def test_after_a_rest_the_store_comes_up_with_the_clock(
    store: SQLiteStore, clock: SetClock, passing: Passing
) -> None:
    store.purge(NOW)
    clock.now += 10 * DAY  # at rest; and the machine began anew
    passing.since_boot = 5.0
    for _ in range(10):
        pass_time(clock, passing, DAY)
        purged(store, clock.now)
    assert left(store) == 11, "20 days have passed, and it has seen 10"


def test_the_machine_s_start_is_no_time_that_has_passed(
    store: SQLiteStore, clock: SetClock, passing: Passing
) -> None:
    passing.since_boot = 100 * DAY
    store.purge(NOW)
    passing.since_boot = 10.0
    clock.now += 31 * DAY
    store.purge(clock.now)
    store.purge(clock.now)
    assert left(store) == 30


def test_the_operator_s_word_counts_and_is_remembered(
    store: SQLiteStore, clock: SetClock, passing: Passing
) -> None:
    store.purge(NOW)
    clock.now = NOW + 15 * DAY
    assert purged(store, math.inf) == 15
    pass_time(clock, passing, 60)
    assert purged(store, clock.now) == 1
    assert left(store) == 15


def test_a_clock_that_was_set_back_deletes_nothing_and_is_no_trouble_later(
    store: SQLiteStore, clock: SetClock, passing: Passing
) -> None:
    store.purge(NOW)
    clock.now = 0.0  # a machine without a battery
    passing.since_boot += 600
    assert purged(store, clock.now) == 0
    clock.now = NOW + 601
    assert purged(store, clock.now) == 1


def test_an_empty_file_believes_any_clock(
    tmp_path: Path, clock: SetClock, passing: Passing
) -> None:
    with sqlite(tmp_path / "other.db", clock) as store:
        assert store.purge(clock.now) == 0
        clock.now += 100 * DAY
        assert store.purge(clock.now) == 0
        store.add(new_grant(clock.now), 1)
        pass_time(clock, passing, 2000)
        assert store.purge(clock.now) == 1


def test_the_believed_time_is_written_now_and_then(
    store: SQLiteStore, clock: SetClock, passing: Passing
) -> None:
    def written() -> float:
        sql = "SELECT value FROM facts WHERE name = 'believed'"
        (value,) = store._write(lambda db: db.execute(sql).fetchone())
        return float(value)

    store.purge(NOW)
    assert written() == NOW
    pass_time(clock, passing, purging.WRITTEN_EVERY - 1)
    store.purge(clock.now)
    assert written() == NOW
    pass_time(clock, passing, 1)
    store.purge(clock.now)
    assert written() == clock.now
