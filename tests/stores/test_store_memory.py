"""Grants in the memory of one process: what the contract doesn't say about it."""

from __future__ import annotations

from math import inf

import pytest

from jwt_middleware.stores import PAGE, Mark
from jwt_middleware.stores.memory import OTHER_STORE, PURGE_AT_MOST, MemoryStore
from jwt_middleware.values.errors import ConfigurationError
from tests.stores import LIFE, NOW, RETENTION, Process, SetClock, new_grant

HOUR, MONTH = 3600.0, 31 * 86400.0


def make(clock: SetClock | None = None) -> MemoryStore:
    return MemoryStore.from_url("memory://", clock=clock or SetClock(), retention=RETENTION)


def test_it_never_waits_and_needs_no_opening() -> None:
    store = make()
    assert not store.blocking
    store.check()
    store.add(new_grant(), 1)
    store.close()
    assert len(store.grants("alice")) == 1, "other doors go on"


@pytest.mark.parametrize("url", ["memory://x", "memory:///", "memory://?size=3"])
def test_it_has_no_options(url: str) -> None:
    with pytest.raises(ConfigurationError, match="options that memory:// has not"):
        MemoryStore.from_url(url, clock=SetClock(), retention=RETENTION)


@pytest.mark.parametrize("seconds", [500, HOUR, MONTH])
def test_an_end_is_found_when_the_clock_has_been_set_back(seconds: float) -> None:
    clock = SetClock()
    store = make(clock)
    for grant_id in ("before", "after"):
        store.add(new_grant(id=grant_id, expires_at=NOW + 2 * MONTH), 100)
    store.end("before", "logout")
    cursor = store.ended(None, RETENTION).cursor
    clock.now -= seconds
    store.end("after", "logout")
    assert store.ended(None, RETENTION).grant_ids == ("before", "after")
    clock.now += seconds
    assert store.ended(cursor, RETENTION).grant_ids == ("after",)
    assert store.ended(None, RETENTION).grant_ids == ("before", "after")


def with_ends(store: MemoryStore, count: int) -> list[str]:
    ids = [f"grant {number}" for number in range(count)]
    for one in ids:
        store.add(new_grant(id=one, subject=one), 1)
        store.end(one, "logout")
    return ids


def test_a_page_has_at_most_ten_thousand_ends_and_says_whether_there_are_more() -> None:
    store = make()
    ids = with_ends(store, PAGE)
    first = store.ended(None, RETENTION)
    assert (list(first.grant_ids), first.more) == (ids, False)
    last = new_grant(id="last")
    store.add(last, 1)
    store.end(last.id, "logout")
    first = store.ended(None, RETENTION)
    assert (list(first.grant_ids), first.more) == (ids, True)
    second = store.ended(first.cursor, RETENTION)
    assert (second.grant_ids, second.more) == (("last",), False)


def test_a_cursor_of_another_store_begins_anew_and_says_so() -> None:
    clock = SetClock()
    former, store = make(clock), make(clock)
    with_ends(former, 5)
    ids = with_ends(store, 3)  # fewer than the cursor has seen
    found = store.ended(former.ended(None, RETENTION).cursor, RETENTION)
    assert list(found.grant_ids) == ids
    assert found.notices == (OTHER_STORE,)
    again = store.ended(found.cursor, RETENTION)
    assert (again.grant_ids, again.notices) == ((), ())


def test_a_reader_that_slept_goes_on_with_what_is_kept() -> None:
    clock = SetClock()
    store = make(clock)
    begin = store.ended(None, RETENTION).cursor
    with_ends(store, 3)
    clock.now += RETENTION
    assert store.purge(clock.now) == 3
    store.add(new_grant(clock.now, id="late"), 1)
    store.end("late", "logout")
    found = store.ended(begin, RETENTION)
    assert (found.grant_ids, found.notices) == (("late",), ())


def test_a_mark_is_no_later_than_now() -> None:
    store = make()
    assert store.end_before(NOW + 0.001) is None
    assert store.ended(None, RETENTION).mark is None


def test_a_later_mark_takes_the_place_of_the_former_one() -> None:
    clock = SetClock()
    store = make(clock)
    store.add(new_grant(id="grant", expires_at=NOW + MONTH), 1)
    marks = []
    for _ in range(2):
        clock.now += HOUR
        marks.append(store.end_before(None))
        assert store.ended(None, RETENTION).mark == marks[-1] == Mark(clock.now, clock.now)
    clock.now -= HOUR
    assert store.end_before(None) == marks[-1], "which ends as much"
    assert store.end_before(NOW) == marks[-1]


def test_a_key_that_is_admitted_once_more_is_kept_for_its_second_time() -> None:
    clock = SetClock()
    store = make(clock)
    assert store.admit("key", NOW + 10)
    clock.now += 10
    assert store.admit("key", NOW + 30)
    clock.now += 10
    assert store.purge(clock.now) == 0
    assert not store.admit("key", NOW + 40)
    clock.now += 10
    assert store.purge(clock.now) == 1


def test_purge_forgets_everything_in_batches() -> None:
    clock = SetClock()
    store = make(clock)
    for one in with_ends(store, PURGE_AT_MOST + 1):
        store.admit(one, NOW + 1)
    clock.now += RETENTION + LIFE
    assert [store.purge(inf) for _ in range(3)] == [3 * PURGE_AT_MOST, 3, 0]
    assert vars(store)["_subjects"] == {}


def test_purge_believes_no_clock_that_is_ahead() -> None:
    store = make()
    store.add(new_grant(id="grant"), 1)
    store.admit("key", NOW + 1)
    assert store.purge(NOW + MONTH) == store.purge(inf) == 0
    assert store.is_living("grant")


def test_a_forked_process_is_refused() -> None:
    with Process("fork_memory") as process:
        refusal = process.hear()
        assert process.wait() == 0
    assert "use sqlite:///grants.db, or one worker" in refusal


def test_a_store_that_is_handed_over_belongs_to_the_process_that_uses_it_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = make()
    store.hand_over()
    monkeypatch.setattr("jwt_middleware.stores.memory.getpid", lambda: 1)
    assert store.grants("alice") == ()
    monkeypatch.setattr("jwt_middleware.stores.memory.getpid", lambda: 2)
    with pytest.raises(ConfigurationError, match="this one was forked from it"):
        store.grants("alice")


def test_a_process_that_is_not_its_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    store = make()
    monkeypatch.setattr("jwt_middleware.stores.memory.getpid", lambda: 0)
    with pytest.raises(ConfigurationError, match="this one was forked from it"):
        store.grants("alice")
