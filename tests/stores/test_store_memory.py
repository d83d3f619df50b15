"""Grants in the memory of one process: what the contract doesn't say about it."""

from __future__ import annotations

import pytest

from jwt_middleware.stores.memory import PURGE_AT_MOST, MemoryStore
from jwt_middleware.values.errors import ConfigurationError
from tests.stores import NOW, RETENTION, Process, SetClock, new_grant


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


def test_an_end_is_found_when_the_clock_has_been_set_back() -> None:
    clock = SetClock()
    store = make(clock)
    for grant_id in ("before", "after"):
        store.add(new_grant(id=grant_id), 100)
    store.end("before", "logout")
    cursor = store.ended(None, RETENTION).cursor
    clock.now -= 500
    store.end("after", "logout")
    assert set(store.ended(cursor, RETENTION).grant_ids) == {"before", "after"}
    clock.now += 500
    assert store.ended(cursor, RETENTION).grant_ids == ("before",)
    assert store.ended(None, RETENTION).grant_ids == ("after", "before")


def test_a_key_that_is_admitted_once_more_is_kept_for_its_second_time() -> None:
    clock = SetClock()
    store = make(clock)
    assert store.admit("key", NOW + 10)
    clock.now += 10
    assert store.admit("key", NOW + 30)
    assert store.purge(NOW + 20) == 0
    assert not store.admit("key", NOW + 40)
    assert store.purge(NOW + 30) == 1


def test_purge_forgets_everything_in_batches() -> None:
    store = make()
    for number in range(PURGE_AT_MOST + 1):
        store.admit(str(number), NOW + 1)
        store.add(new_grant(id=str(number), subject=str(number)), 1)
    later = NOW + RETENTION + 1000
    assert [store.purge(later) for _ in range(3)] == [2 * PURGE_AT_MOST, 2, 0]
    assert vars(store)["_subjects"] == {}


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
