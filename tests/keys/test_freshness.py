"""The rule of how fresh keys are: what holds in every order of requests, answers and moments."""

from __future__ import annotations

from copy import copy
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from jwt_middleware import KeySet
from jwt_middleware.keys.freshness import (
    FETCH_AHEAD,
    FETCH_BACK_OFF,
    JOINED,
    SET_BACK,
    SPREAD,
    Freshness,
    KeyLimits,
    fixed,
)

START = 1_800_000_000.0
ONE, TWO = KeySet.generate(kid="one"), KeySet.generate(kid="two")
BOTH = KeySet((*ONE.keys, *TWO.keys))
SETS = (ONE, TWO, BOTH)
NAMES = ("one", "two", "none of them", None)
BEGINS = ("start", "ask")

moments = st.one_of(
    st.floats(0, 2),
    st.floats(0, 60),
    st.floats(0, 1000),
    st.sampled_from((*FETCH_BACK_OFF, 0.0, 0.99, 6.0, 30.0, 480.0, 600.0, 3600.0, 4200.0)),
)


class Machine(RuleBasedStateMachine):
    """Requests come, time passes, fetches succeed, fail and get lost, and clocks are set back."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.flight: float | None = None  # when the one under way began
        self.good: tuple[float, float] | None = None  # when the last answer was asked for, its end
        self.failures = 0
        self.rests_until = -inf
        self.asked_at = -inf  # for the sake of an unknown kid, or otherwise
        self.generation = 0
        self.is_child = False  # of a process that was fetching
        self.is_put_off = False  # the last fetch found no place: the next request tries again

    @initialize(
        stale=st.sampled_from((0, 60, 3600)),
        cool_down=st.sampled_from((1, 30, 600)),
        lease=st.sampled_from((1.1, 6.0, 31.0)),
        alone=st.booleans(),
    )
    def begin(self, stale: float, cool_down: float, lease: float, *, alone: bool) -> None:
        self.limits = KeyLimits(stale=stale, cool_down=cool_down, lease=lease)
        self.alone = alone
        self.fresh = Freshness(self.limits, stands_alone=alone)

    @property
    def usable(self) -> bool:
        return self.good is not None and self.now < self.good[1] + self.limits.stale

    @rule(seconds=moments)
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(kid=st.sampled_from(NAMES))
    def request(self, kid: str | None) -> None:
        fresh, now = self.fresh, self.now
        known, usable, alone = kid in fresh.keys, self.usable, self.alone
        # What threads decide without the lock is what the lock's owner decides.
        is_quick = known and fresh.since <= now < fresh.due
        plan = fresh.plan(kid, now)
        self.lose()
        assert fresh.is_usable(now) is usable
        assert not is_quick or plan == "go on"
        if known and usable:
            assert plan in ("go on", "start"), "no known key ever waits"
        else:
            assert plan not in ("go on", "start"), "nothing else goes on"
        if plan in BEGINS:
            assert self.flight is None, "one fetch at a time"
            assert now >= self.rests_until, "one fetch for each step of the back-off"
            if plan == "ask" and usable and not self.failures:
                assert now - self.asked_at >= self.limits.cool_down
            if plan == "start":
                assert self.good is not None
                is_time = now >= self.good[0] + (self.good[1] - self.good[0]) * 0.75
                assert is_time or self.failures or self.is_child or self.is_put_off
            self.flight = self.asked_at = now
            self.is_child = self.is_put_off = False
        if plan == "join":
            assert self.flight is not None
            assert not self.failures, "nobody waits beside who tries"
            assert (alone and not usable) or now - self.flight < JOINED
        if plan == "unknown":
            assert usable
            assert not known
            assert kid is None or not self.failures, "while it fails, nobody can say"
        if plan == "refuse":
            assert self.failures or self.flight is not None or now < self.rests_until
            assert 1 <= fresh.retry_after(now) <= FETCH_BACK_OFF[-1]

    def lose(self) -> None:
        """Take note of what should have come back."""
        if self.flight is not None and self.now > self.flight + self.limits.lease:
            self.fail_at(self.flight + self.limits.lease)

    def fail_at(self, now: float) -> None:
        self.flight = None
        self.rests_until = now + FETCH_BACK_OFF[min(self.failures, len(FETCH_BACK_OFF) - 1)]
        self.failures += 1

    @precondition(lambda self: self.flight is not None)
    @rule()
    def put_off(self) -> None:
        """It has found no place: that costs the shortest back-off, and is no failure."""
        if self.fresh.is_lost(self.now):
            return  # that one counts as failed, which the next request notes
        self.flight, self.is_put_off = None, True
        self.asked_at, self.rests_until = -inf, self.now + FETCH_BACK_OFF[0]
        self.fresh.put_off(self.now)

    @precondition(lambda self: self.flight is not None)
    @rule(
        keys=st.sampled_from(SETS), lifetime=st.sampled_from((60.0, 600.0)), spread=st.floats(0, 1)
    )
    def succeed(self, keys: KeySet, lifetime: float, spread: float) -> None:
        assert self.flight is not None
        changed = keys.by_kid is not self.fresh.keys
        self.fresh.succeeded(self.flight, keys.by_kid, lifetime, spread)
        assert self.fresh.keys is keys.by_kid, "what a good answer lacks is gone at once"
        self.generation += changed
        self.good = self.flight, self.flight + lifetime
        self.flight, self.failures, self.rests_until = None, 0, -inf

    @precondition(lambda self: self.flight is not None)
    @rule()
    def fail(self) -> None:
        before = self.fresh.keys
        if self.fresh.is_lost(self.now):
            return
        self.fresh.failed(self.now)
        assert self.fresh.keys is before
        self.fail_at(self.now)

    @rule()
    def fork(self) -> None:
        """Go on as the child does: the thread that fetches is its parent's."""
        self.fresh.reset()
        self.is_child = self.is_child or self.flight is not None
        self.flight = None

    @rule(seconds=st.floats(SET_BACK + 0.01, 5000))
    def set_back(self, seconds: float) -> None:
        self.now -= seconds
        was_usable = self.usable
        self.fresh.plan("none of them", self.now)
        if was_usable and self.limits.stale:
            assert self.fresh.is_usable(self.now), "no clock takes keys away"
        # All that was counted by the other clock counts no more: begin with the keys as they are.
        self.fresh = Freshness(self.limits, stands_alone=self.alone)
        self.good, self.flight, self.failures = None, None, 0
        self.rests_until = self.asked_at = -inf
        self.generation, self.is_child, self.is_put_off = 0, False, False

    @invariant()
    def gone_keys_serve_nobody(self) -> None:
        if self.good is not None:
            assert self.fresh.due <= self.good[1] + self.limits.stale

    @invariant()
    def the_generation_grows_with_the_keys(self) -> None:
        if hasattr(self, "fresh"):
            assert self.fresh.generation == self.generation

    @invariant()
    def somebody_asks_again_in_time(self) -> None:
        """From every state, a minute or a cool-down later a stranger's request begins a fetch."""
        if not hasattr(self, "fresh"):
            return
        later = copy(self.fresh)
        now = self.now + self.limits.lease + 0.01
        later.plan("none of them", now)
        if later._lease > -inf:
            later.failed(now)
        wait = max(FETCH_BACK_OFF[-1], self.limits.cool_down) + 0.01
        assert later.plan("none of them", now + wait) == "ask"


TestFreshness = Machine.TestCase


def good(fresh: Freshness, now: float = START, keys: KeySet = ONE, **more: float) -> None:
    assert fresh.plan("one", now) == "ask"
    fresh.succeeded(now, keys.by_kid, **({"lifetime": 600.0, "spread": 0.5} | more))


@pytest.fixture
def fresh() -> Freshness:
    return Freshness(KeyLimits(stale=3600, cool_down=30, lease=6))


@given(st.floats(0, 1))
def test_it_is_fetched_ahead_between_75_and_85_percent(spread: float) -> None:
    one = Freshness(KeyLimits(stale=3600, cool_down=30, lease=6))
    good(one, spread=spread)
    assert pytest.approx(0.75) == FETCH_AHEAD - SPREAD
    assert START + 450 - 1e-3 <= one.due <= START + 510 + 1e-3


def test_the_back_off_grows_to_30_s_and_begins_anew_after_success(fresh: Freshness) -> None:
    now, waits = START, []
    for _ in range(8):
        assert fresh.plan("one", now) == "ask"
        fresh.failed(now)
        waits.append(fresh.retry_after(now))
        assert fresh.plan("one", now + waits[-1] - 0.01) == "refuse"
        now += waits[-1]
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]
    good(fresh, now)
    now += 600
    assert fresh.plan("one", now) == "start"
    fresh.failed(now)
    assert fresh.retry_after(now) == 1


def test_there_is_one_fetch_while_it_is_under_way(fresh: Freshness) -> None:
    assert fresh.plan("one", START) == "ask"
    assert fresh.plan("one", START + 5) == "join"
    assert fresh.plan(None, START + 5) == "join"
    good_at = START + 5
    fresh.succeeded(START, ONE.by_kid, 600, 0.5)
    assert fresh.plan("one", good_at) == "go on"
    assert fresh.plan("one", START + 500) == "start"
    assert fresh.plan("one", START + 500) == "go on"
    assert fresh.plan("two", START + 500.9) == "join"
    assert fresh.plan("two", START + 501) == "refuse"
    assert fresh.plan("one", START + 506) == "go on"
    # It never comes back, and has failed.
    assert fresh.is_lost(START + 506.1)
    assert fresh.plan("one", START + 506.1) == "go on"
    assert fresh.is_failing
    assert fresh.plan("one", START + 507) == "start"


def test_while_it_fails_a_stranger_begins_the_next_try_and_nobody_joins(fresh: Freshness) -> None:
    good(fresh)
    assert fresh.plan("two", START + 30) == "ask"
    fresh.failed(START + 30)
    assert fresh.plan("two", START + 30.9) == "refuse"
    assert fresh.plan("two", START + 31) == "ask"
    assert fresh.plan("two", START + 31) == "refuse"
    assert fresh.plan("one", START + 31) == "go on"


def test_keys_whose_clock_was_set_back_are_stale_from_then_on(fresh: Freshness) -> None:
    good(fresh)
    for seconds in (0.0, -SET_BACK):
        assert fresh.plan("one", START + seconds) == "go on"
    earlier = START - 1000
    assert not fresh.is_usable(earlier)
    assert fresh.plan("one", earlier) == "start"
    fresh.failed(earlier)
    assert fresh.plan("one", earlier + 3599) == "start"
    fresh.failed(earlier + 3599)
    assert fresh.plan("one", earlier + 3601) == "ask"


def test_a_clock_that_was_set_back_keeps_nobody_from_asking_for_an_unknown_key(
    fresh: Freshness,
) -> None:
    good(fresh)
    assert fresh.plan("two", START + 29.9) == "unknown"
    # Else a new key of the issuer's would be unknown until that time comes again.
    assert fresh.plan("two", START - 1000) == "ask"


def test_keys_that_are_gone_do_not_come_back_with_the_clock(fresh: Freshness) -> None:
    good(fresh)
    assert fresh.plan("one", START + 4200) == "ask"
    fresh.failed(START + 4200)
    assert fresh.plan("one", START + 4202) == "ask"


def test_a_lease_of_a_clock_that_was_set_back_ends_at_once(fresh: Freshness) -> None:
    assert fresh.plan("one", START) == "ask"
    assert not fresh.is_lost(START - SET_BACK)
    assert fresh.is_lost(START - SET_BACK - 1)
    assert fresh.plan("one", START - SET_BACK - 1) == "refuse"
    assert fresh.plan("one", START - SET_BACK) == "ask"


def test_a_late_answer_counts_from_when_it_was_asked_for(fresh: Freshness) -> None:
    assert fresh.plan("one", START) == "ask"
    fresh.succeeded(START, ONE.by_kid, 60, 0.5)
    assert fresh.plan("two", START + 29.9) == "unknown"
    assert fresh.plan("two", START + 30) == "ask"


@pytest.mark.parametrize("now", [-inf, 0.0, START, 1e12])
def test_keys_that_never_change_are_never_asked_for(now: float) -> None:
    one: Any = fixed(ONE.by_kid)
    one.reset()
    assert one.since <= now < one.due
    assert one.plan("one", now) == "go on"
    assert one.plan("two", now) in ("unknown", "ask")
    assert one.generation == 1
