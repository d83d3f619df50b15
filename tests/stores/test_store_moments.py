"""The very moment of an end belongs to what comes after, in both stores of the process."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from jwt_middleware.stores import Store
from jwt_middleware.stores.memory import MemoryStore
from tests.stores import LIFE, NOW, RETENTION, SetClock, new_grant, sqlite


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture(params=["memory", "sqlite"])
def store(
    request: pytest.FixtureRequest, clock: SetClock, tmp_path: Path
) -> Generator[Store, None, None]:
    if request.param == "memory":
        yield MemoryStore(clock=clock, retention=RETENTION)
        return
    with sqlite(tmp_path / "grants.db", clock) as opened:
        yield opened


def test_at_its_end_a_grant_is_not_alive(store: Store, clock: SetClock) -> None:
    store.add(new_grant(id="grant"), 1)
    clock.now = NOW + LIFE
    assert not store.advance("grant", 1, 2, None).advanced
    assert store.grants("alice") == ()
    assert store.end_subject("alice", "logout") == ()
    clock.now -= 0.001
    assert len(store.grants("alice")) == 1
    assert store.advance("grant", 1, 2, None).advanced


def test_an_end_at_the_horizon_is_found(store: Store, clock: SetClock) -> None:
    store.add(new_grant(id="grant"), 1)
    cursor = store.ended(None, RETENTION).cursor
    store.end("grant", "logout")
    clock.now = NOW + RETENTION
    assert store.ended(cursor, RETENTION).grant_ids == ("grant",)
    assert store.ended(None, RETENTION).grant_ids == ("grant",)
    clock.now += 0.001
    assert store.ended(cursor, RETENTION).grant_ids == ("grant",)
    assert store.ended(None, RETENTION).grant_ids == ()


def test_ends_of_one_moment_are_on_both_sides_of_a_cursor(store: Store, clock: SetClock) -> None:
    for one in ("first", "second"):
        store.add(new_grant(id=one), 2)
    store.end("first", "logout")
    cursor = store.ended(None, RETENTION).cursor
    store.end("second", "logout")
    assert store.ended(cursor, RETENTION).grant_ids == ("second",)


def test_what_begins_at_the_moment_of_a_mass_end_lives(store: Store, clock: SetClock) -> None:
    store.add(new_grant(id="old"), 1)
    clock.now += 0.001
    assert store.end_before(clock.now + 0.001) is None
    assert store.end_before(clock.now) == (clock.now, clock.now)
    store.add(new_grant(id="new", subject="bob"), 1)
    assert (store.is_living("old"), store.is_living("new")) == (False, True)
    clock.now += 0.001
    assert store.end_before(None) == (clock.now, clock.now)
    assert not store.is_living("new")


def test_an_expired_grant_can_be_ended_for_its_access_tokens(store: Store, clock: SetClock) -> None:
    store.add(new_grant(id="grant"), 1)
    clock.now = NOW + LIFE + 10
    assert store.end("grant", "logout")
    assert store.ended(None, RETENTION).grant_ids == ("grant",)


def test_purge_keeps_an_end_for_exactly_the_retention(store: Store, clock: SetClock) -> None:
    store.add(new_grant(id="grant"), 1)
    clock.now = NOW + LIFE - 10
    store.end("grant", "logout")
    gone = clock.now + RETENTION
    clock.now = gone + 1
    assert store.purge(gone - 0.001) == 0
    assert store.purge(gone) == 2, "the grant, and the record of its end"
    assert store.advance("grant", 1, 1, None).grant is None


def test_purge_forgets_at_the_very_end(store: Store, clock: SetClock) -> None:
    store.add(new_grant(), 1)
    clock.now = NOW + LIFE + 1
    assert store.purge(NOW + LIFE - 0.001) == 0
    assert store.purge(NOW + LIFE) == 1


def test_purge_goes_by_the_stores_clock(store: Store, clock: SetClock) -> None:
    store.add(new_grant(), 1)
    clock.now = NOW + LIFE - 0.001
    assert store.purge(NOW + LIFE) == 0
    assert store.purge(float("inf")) == 0
    clock.now = NOW + LIFE
    assert store.purge(float("inf")) == 1


def test_a_key_is_new_again_at_its_very_end(store: Store, clock: SetClock) -> None:
    assert store.admit("key", NOW + 10)
    clock.now = NOW + 9.999
    assert not store.admit("key", NOW + 10)
    clock.now = NOW + 10
    assert store.admit("key", NOW + 20)
