"""The rotation rule, line by line, and what holds for whatever is presented."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwt_middleware.grant.refresh import SWAPS
from jwt_middleware.grant.rotation_rule import (
    GATE,
    Limits,
    Outcome,
    Presented,
    Swap,
    decide,
    first,
    gate,
    is_over,
)
from jwt_middleware.values.tokens import FrozenDict, Grant
from tests.rules import accepts, refuses

SETTLE, IDLE, RESTORE = 60, 7 * 86400, 8
LONGEST = IDLE + GATE  # without a recorded use
LIMITS = Limits(settle=SETTLE, idle=IDLE, restore=RESTORE)
NOW = 1_800_000_000
END = NOW + 20 * 86400
ROW = Grant(
    id="g",
    subject="alice",
    client_id="shop",
    scope="",
    claims=FrozenDict(),
    bound_key=None,
    generation=5,
    parent="parent",
    rotated_at=NOW - 3600,
    created_at=NOW - 10 * 86400,
    expires_at=END,
)
OLD = Presented(5, "a sibling", NOW - 3600)
READ = Swap(5, 5, None)


def judged(token: Presented, row: Grant | None = ROW, now: float = NOW) -> Outcome | Swap:
    """Return the decision where nothing was written."""
    read = Swap(token.generation, token.generation, None)
    return decide(token, read, False, row, now, LIMITS)


class Store:
    """One row, and the compare-and-swap of `advance`."""

    def __init__(self, row: Grant | None, now: float) -> None:
        self.row, self.now = row, now
        self.before: Callable[[], None] = lambda: None  # what somebody else does first

    def advance(self, source: int, target: int, parent: str | None) -> tuple[bool, Grant | None]:
        self.before()
        row = self.row
        if row is None or row.ended_at is not None or self.now >= row.expires_at:
            return False, row
        if row.generation != source or source == target or row.bound_key is not None:
            return False, row
        self.row = replace(row, generation=target, parent=parent, rotated_at=self.now)
        return True, self.row

    def exchange(self, token: Presented, tries: int = SWAPS) -> Outcome | None:
        """Go through the loop of an exchange; None: the tries were used up."""
        swap = first(token, self.now, LIMITS)
        for _ in range(tries):
            decision = decide(token, swap, *self.advance(*swap), self.now, LIMITS)
            if isinstance(decision, Outcome):
                return decision
            swap = decision
        return None


# --- The first question


def test_a_rotation_is_tried_where_the_token_alone_allows_it() -> None:
    assert first(OLD, NOW, LIMITS) == Swap(5, 6, "a sibling")


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (0, READ),
        (SETTLE - 1, READ),
        (SETTLE, Swap(5, 6, "a sibling")),
        (IDLE, Swap(5, 6, "a sibling")),
        (IDLE + 1, READ),
        (-1, READ),  # minted by a server whose clock is ahead
    ],
)
def test_a_token_that_is_young_or_idle_changes_nothing_at_first(age: int, expected: Swap) -> None:
    assert first(OLD._replace(issued_at=NOW - age), NOW, LIMITS) == expected


def test_a_bound_token_changes_nothing_at_first() -> None:
    assert first(OLD._replace(bound=True, key="k"), NOW, LIMITS) == READ


# --- The table: Gone, Refused


@pytest.mark.parametrize("generation", [1, 4, 5, 6, 13, 14])
@pytest.mark.parametrize("bound_key", [None, "k"])
def test_what_there_is_no_more_is_gone(generation: int, bound_key: str | None) -> None:
    token, row = OLD._replace(generation=generation), replace(ROW, bound_key=bound_key)
    assert judged(token, None) is Outcome.GONE
    assert judged(token, replace(row, ended_at=NOW - 1, end_reason="logout")) is Outcome.GONE
    assert judged(token, replace(row, expires_at=NOW)) is Outcome.GONE
    idle = OLD._replace(generation=generation, issued_at=NOW - IDLE - GATE - 1)
    assert judged(idle, replace(row, rotated_at=NOW - IDLE - GATE - 1)) is Outcome.GONE


@refuses("RT-09")
@pytest.mark.parametrize(("early", "gone"), [(1, False), (0, True), (-1, True)])
def test_the_absolute_end_is_the_second_itself(early: int, *, gone: bool) -> None:
    token = OLD._replace(issued_at=END - 3600)
    found = judged(token, replace(ROW, rotated_at=END - 3600), END - early)
    assert (found is Outcome.GONE) is gone


@refuses("RT-10")
@pytest.mark.parametrize(
    ("rotated", "used", "token", "gone"),
    [
        (LONGEST, LONGEST, LONGEST, False),
        (LONGEST + 1, LONGEST + 1, LONGEST + 1, True),
        (LONGEST + 1, None, LONGEST + 1, True),
        (LONGEST, None, LONGEST + 1, False),
        (LONGEST + 1, LONGEST, LONGEST + 1, False),  # whoever never adopts a new token
        (LONGEST + 1, None, LONGEST, False),  # a sibling that was minted since
    ],
)
def test_idleness_counts_from_the_last_served_refresh(
    rotated: int, used: int | None, token: int, *, gone: bool
) -> None:
    used_at = None if used is None else NOW - used
    row = replace(ROW, rotated_at=NOW - rotated, last_used_at=used_at)
    found = judged(OLD._replace(issued_at=NOW - token), row)
    assert (found is Outcome.GONE) is gone


@refuses("RT-10", "RT-28")
@pytest.mark.parametrize(
    ("limit", "longest"), [(3600, 3600 + 360), (90 * 86400, 90 * 86400 + 3600)]
)
def test_a_row_may_have_an_idle_limit_of_its_own(limit: float, longest: float) -> None:
    for age, gone in ((longest, False), (longest + 1, True)):
        row = replace(ROW, rotated_at=NOW - age, idle_limit=limit, expires_at=NOW + 1)
        found = judged(OLD._replace(issued_at=NOW - age), row)
        assert (found is Outcome.GONE) is gone


def test_a_use_is_recorded_at_most_once_a_gate() -> None:
    assert gate(600) == 60
    assert gate(IDLE) == GATE == 3600
    assert ROW.used_at == ROW.rotated_at
    assert replace(ROW, last_used_at=ROW.rotated_at + 1).used_at == ROW.rotated_at + 1
    assert replace(ROW, last_used_at=ROW.rotated_at - 1).used_at == ROW.rotated_at


@refuses("RT-10")
@pytest.mark.parametrize("limit", [None, 3600, 30 * 86400])
def test_past_the_rows_own_limit_the_first_question_writes_nothing(limit: float | None) -> None:
    token = OLD._replace(idle=limit)
    longest = limit or IDLE
    assert first(token, token.issued_at + longest, LIMITS) == Swap(5, 6, "a sibling")
    assert first(token, token.issued_at + longest + 1, LIMITS) == READ


@given(
    limit=st.none() | st.integers(60, 400 * 86400),
    later=st.integers(0, 3600),
    beyond=st.integers(-3600, 3 * 3600),
)
def test_a_login_is_over_only_where_no_token_of_it_can_be_served(
    limit: int | None, later: int, beyond: int
) -> None:
    """A list of logins may show one that is over, and never lacks one that isn't."""
    idle = limit or IDLE
    row = replace(ROW, rotated_at=NOW, idle_limit=limit, expires_at=NOW + 900 * 86400)
    last, now = gate(idle), NOW + idle + beyond  # what is later than `last` was recorded
    for issued_at in (NOW + min(later, last), NOW + last):
        token = Presented(row.generation, "any", issued_at, idle=limit)
        if is_over(row, now, LIMITS):
            assert Store(row, now).exchange(token) is Outcome.GONE
    assert is_over(row, now, LIMITS) is (now > NOW + last + idle + last)


@refuses("RT-12")
def test_a_repeat_alone_writes_nothing_to_the_row() -> None:
    parent = Presented(4, "parent", NOW - LONGEST)
    store = Store(replace(ROW, rotated_at=NOW - LONGEST), NOW)
    assert store.exchange(parent) is Outcome.REPEATED
    store.now += 1
    assert store.exchange(parent) is Outcome.GONE


@pytest.mark.parametrize("generation", [1, 4, 5, 6, 13, 14])
@pytest.mark.parametrize("key", [None, "other"])
def test_another_key_is_refused_before_the_generation_counts(
    generation: int, key: str | None
) -> None:
    token = Presented(generation, "any", NOW, bound=True, key=key)
    store = Store(replace(ROW, bound_key="k"), NOW)
    assert store.exchange(token) is Outcome.REFUSED
    assert store.row == replace(ROW, bound_key="k")


# --- The table: Kept, Rotated


@accepts("RT-06")
@pytest.mark.parametrize(
    ("age", "expected"),
    [(0, Outcome.KEPT), (SETTLE - 1, Outcome.KEPT), (SETTLE, Outcome.ROTATED)],
)
def test_a_token_of_the_generation_is_kept_until_it_settles(age: int, expected: Outcome) -> None:
    assert Store(ROW, NOW).exchange(OLD._replace(issued_at=NOW - age)) is expected


@pytest.mark.parametrize("rotated", [0, SETTLE - 1, SETTLE, IDLE])
def test_young_is_what_the_token_says_not_what_the_row_says(rotated: int) -> None:
    row = replace(ROW, rotated_at=NOW - rotated)
    assert judged(OLD._replace(issued_at=NOW - SETTLE + 1), row) is Outcome.KEPT
    assert judged(OLD._replace(issued_at=NOW - SETTLE), row) == Swap(5, 6, "a sibling")


def test_a_rotation_remembers_what_was_exchanged() -> None:
    store = Store(ROW, NOW)
    assert store.exchange(OLD) is Outcome.ROTATED
    assert store.row == replace(ROW, generation=6, parent="a sibling", rotated_at=NOW)


@pytest.mark.parametrize("age", [0, SETTLE, IDLE])
def test_a_bound_token_is_kept_at_any_age(age: int) -> None:
    row = replace(ROW, bound_key="k")
    token = Presented(5, "a sibling", NOW - age, bound=True, key="k")
    store = Store(row, NOW)
    assert store.exchange(token) is Outcome.KEPT
    assert store.row == row


# --- The table: Repeated, Reused


@accepts("RT-12")
@pytest.mark.parametrize("age", [0, SETTLE, IDLE, IDLE + 1])
@pytest.mark.parametrize("parent", ["parent", None])
def test_the_parent_is_repeated_at_any_age_and_writes_nothing(age: int, parent: str | None) -> None:
    row = replace(ROW, parent=parent)
    store = Store(row, NOW)
    assert store.exchange(Presented(4, "parent", NOW - age)) is Outcome.REPEATED
    assert store.row == row


@refuses("RT-13")
@pytest.mark.parametrize("age", [0, SETTLE, IDLE])
def test_a_sibling_of_the_parent_is_reuse(age: int) -> None:
    assert Store(ROW, NOW).exchange(Presented(4, "another", NOW - age)) is Outcome.REUSED


@refuses("RT-13")
@pytest.mark.parametrize("parent", ["parent", "any", None])
@pytest.mark.parametrize("generation", [3, 2, 1, 0, -1])
def test_what_is_older_than_the_parent_is_reuse_whatever_its_name(
    generation: int, parent: str | None
) -> None:
    row = replace(ROW, parent=parent)
    assert Store(row, NOW).exchange(Presented(generation, "any", NOW)) is Outcome.REUSED


# --- The table: Restored, Ahead


@accepts("RT-12")
@pytest.mark.parametrize("age", [0, SETTLE, IDLE])
@pytest.mark.parametrize("ahead", [1, 2, RESTORE])
def test_what_a_failover_lost_is_restored(ahead: int, age: int) -> None:
    store = Store(ROW, NOW)
    assert store.exchange(Presented(5 + ahead, "any", NOW - age)) is Outcome.RESTORED
    assert store.row == replace(ROW, generation=5 + ahead, parent=None, rotated_at=NOW)


@pytest.mark.parametrize("ahead", [RESTORE + 1, RESTORE + 100])
def test_what_an_old_backup_lost_is_gone_and_the_grant_untouched(ahead: int) -> None:
    store = Store(ROW, NOW)
    assert store.exchange(Presented(5 + ahead, "any", NOW - SETTLE)) is Outcome.AHEAD
    assert store.row == ROW


def test_without_a_restore_limit_nothing_is_restored() -> None:
    limits = Limits(settle=SETTLE, idle=IDLE, restore=0)
    token = OLD._replace(generation=6)
    assert decide(token, Swap(6, 7, "a sibling"), False, ROW, NOW, limits) is Outcome.AHEAD


# --- Whoever else is at work


@accepts("RT-11")
def test_who_comes_second_is_told_what_the_first_one_did() -> None:
    store = Store(ROW, NOW)
    assert store.exchange(OLD) is Outcome.ROTATED
    assert store.exchange(OLD) is Outcome.REPEATED
    assert store.exchange(OLD._replace(jti="another sibling")) is Outcome.REUSED


def test_a_restoration_that_another_was_faster_with_is_decided_anew() -> None:
    store = Store(ROW, NOW)

    def faster() -> None:
        store.row = replace(ROW, generation=7, parent=None)

    others = iter([lambda: None, faster])
    store.before = lambda: next(others)()
    assert store.exchange(Presented(7, "any", NOW)) is Outcome.KEPT
    assert next(others, None) is None


def test_a_grant_that_moves_during_every_try_is_given_up() -> None:
    store = Store(replace(ROW, generation=1), NOW)

    def restored_by_another() -> None:
        assert store.row is not None
        store.row = replace(store.row, generation=store.row.generation + 1)

    store.before = restored_by_another
    assert store.exchange(Presented(9, "any", NOW)) is None


def test_an_end_that_comes_between_is_seen() -> None:
    store = Store(ROW, NOW)

    def end() -> None:
        store.row = replace(ROW, ended_at=NOW)

    store.before = end
    assert store.exchange(OLD) is Outcome.GONE
    assert store.row == replace(ROW, ended_at=NOW)


# --- Whatever is presented

ages = st.sampled_from(
    [-SETTLE, -1, 0, 1, SETTLE - 1, SETTLE, SETTLE + 1, 3600, IDLE - 1, IDLE, IDLE + 1, 2 * IDLE]
) | st.integers(-2 * SETTLE, 2 * IDLE)
names = st.sampled_from(["a", "b", "c"])
generations = st.integers(1, 20)
keys = st.sampled_from([None, None, "k", "l"])
times = ages.map(lambda age: NOW - age)
idles = st.sampled_from([None, None, 60.0, 3600.0, float(IDLE)])  # settings take 60 and more
tokens = st.builds(Presented, generations, names, times, st.booleans(), keys, idles)
rows = st.builds(
    lambda **fields: replace(ROW, **fields),
    generation=generations,
    parent=st.none() | names,
    rotated_at=times,
    expires_at=st.sampled_from([NOW - 1, NOW, NOW + 1, END]),
    ended_at=st.none() | st.just(NOW),
    bound_key=keys,
)
swaps = st.builds(Swap, generations, generations, st.none() | names)


@given(tokens, st.booleans(), keys, swaps, st.booleans(), st.none() | rows)
def test_there_is_a_decision_for_everything(
    token: Presented,
    bound: bool,
    key: str | None,
    swap: Swap,
    advanced: bool,
    row: Grant | None,
) -> None:
    token = token._replace(bound=bound, key=key)
    assert isinstance(first(token, NOW, LIMITS), Swap)
    decision = decide(token, swap, advanced, row, NOW, LIMITS)
    assert isinstance(decision, (Outcome, Swap))
    if isinstance(decision, Swap):
        assert row is not None
        assert (decision.source, decision.target > decision.source) == (row.generation, True)


@given(tokens, keys, st.none() | rows)
def test_alone_a_request_is_decided_within_two_swaps(
    token: Presented, key: str | None, row: Grant | None
) -> None:
    """And what is written is what the outcome says: nothing, except for Rotated and Restored."""
    bound = row is not None and row.bound_key is not None  # a grant's tokens all say so
    token = token._replace(bound=bound, key=key)
    store = Store(row, NOW)
    outcome = store.exchange(token, tries=2)
    assert outcome is not None
    expected = row
    match outcome:
        case Outcome.ROTATED:
            assert row is not None
            expected = replace(
                row, generation=token.generation + 1, parent=token.jti, rotated_at=NOW
            )
        case Outcome.RESTORED:
            assert row is not None
            expected = replace(row, generation=token.generation, parent=None, rotated_at=NOW)
        case _:
            pass
    assert store.row == expected
    assert row is None or expected is None or expected.generation >= row.generation


@given(st.lists(st.tuples(st.integers(0, 40), ages.map(abs)), max_size=25))
def test_generations_only_grow_whatever_is_presented(steps: list[tuple[int, int]]) -> None:
    """Present any token ever seen, at any time: the row only moves forward, or ends."""
    store = Store(replace(ROW, generation=1, parent=None, rotated_at=NOW, expires_at=math.inf), NOW)
    seen = [Presented(1, "0", NOW)]
    for which, seconds in steps:
        store.now += seconds
        row = store.row
        assert row is not None
        outcome = store.exchange(seen[which % len(seen)])
        after = store.row
        assert after is not None
        assert after.generation - row.generation == (1 if outcome is Outcome.ROTATED else 0)
        if outcome in {Outcome.ROTATED, Outcome.REPEATED}:
            seen.append(Presented(after.generation, str(len(seen)), store.now))
        elif outcome is Outcome.REUSED:
            store.row = replace(after, ended_at=store.now)
        elif outcome is Outcome.GONE:
            idle = store.now > after.rotated_at + IDLE
            assert idle or after.ended_at is not None
        else:
            assert outcome is Outcome.KEPT


# --- What the model in rotation_model.py builds on

whole_seconds = st.integers(-(10**6), 10**6)


@given(tokens, swaps, st.booleans(), rows, whole_seconds, st.integers(0, 50))
def test_the_rule_knows_distances_only(
    token: Presented,
    swap: Swap,
    advanced: bool,
    row: Grant,
    seconds: int,
    more: int,
) -> None:
    later = row.ended_at and row.ended_at + seconds
    moved_row = replace(
        row,
        generation=row.generation + more,
        parent=row.parent and f"renamed {row.parent}",
        rotated_at=row.rotated_at + seconds,
        expires_at=row.expires_at + seconds,
        ended_at=later,
    )
    moved = token._replace(
        generation=token.generation + more,
        jti=f"renamed {token.jti}",
        issued_at=token.issued_at + seconds,
    )

    def move(found: Outcome | Swap) -> Outcome | Swap:
        if isinstance(found, Outcome):
            return found
        source, target, parent = found
        return Swap(source + more, target + more, parent and f"renamed {parent}")

    asked = move(first(token, NOW, LIMITS))
    assert first(moved, NOW + seconds, LIMITS) == asked
    swapped = move(swap)
    assert isinstance(swapped, Swap)
    decision = move(decide(token, swap, advanced, row, NOW, LIMITS))
    assert decide(moved, swapped, advanced, moved_row, NOW + seconds, LIMITS) == decision


@given(tokens, swaps, st.booleans(), rows, times)
def test_but_for_idleness_the_time_of_rotation_has_no_part_in_the_rule(
    token: Presented, swap: Swap, advanced: bool, row: Grant, rotated_at: int
) -> None:
    limits = Limits(settle=SETTLE, idle=math.inf, restore=RESTORE)
    decision = decide(token, swap, advanced, row, NOW, limits)
    other = replace(row, rotated_at=rotated_at)
    assert decide(token, swap, advanced, other, NOW, limits) == decision


@given(tokens, times, swaps, st.booleans(), rows)
def test_of_two_old_tokens_none_is_older(
    token: Presented, issued_at: int, swap: Swap, advanced: bool, row: Grant
) -> None:
    # None is idle: neither by the settings nor by a limit of the row's own, which the token says.
    limits = Limits(settle=SETTLE, idle=math.inf, restore=RESTORE)
    token = token._replace(issued_at=min(token.issued_at, NOW - SETTLE), idle=None)
    other = token._replace(issued_at=min(issued_at, NOW - SETTLE))
    assert first(token, NOW, limits) == first(other, NOW, limits)
    decision = decide(token, swap, advanced, row, NOW, limits)
    assert decide(other, swap, advanced, row, NOW, limits) == decision


# --- A grant that is bound to a key


@accepts("RT-22")
@given(tokens, st.booleans(), swaps)
def test_who_has_proved_the_key_is_served_whatever_token_came(
    token: Presented, bound: bool, swap: Swap
) -> None:
    """A bound row never changes by a refresh, so this is all that can happen to it."""
    row = replace(ROW, bound_key="k", rotated_at=NOW)
    proved = token._replace(bound=bound, key="k")
    assert decide(proved, swap, False, row, NOW, LIMITS) is Outcome.KEPT
    store = Store(row, NOW)
    assert store.exchange(proved) is Outcome.KEPT
    assert store.row == row


@refuses("RT-22")
@given(tokens, st.booleans(), swaps, st.none() | st.just("other"))
def test_who_has_not_is_refused_and_nothing_moves(
    token: Presented, bound: bool, swap: Swap, key: str | None
) -> None:
    row = replace(ROW, bound_key="k", rotated_at=NOW)
    without = token._replace(bound=bound, key=key)
    assert decide(without, swap, False, row, NOW, LIMITS) is Outcome.REFUSED
    store = Store(row, NOW)
    assert store.exchange(without) is Outcome.REFUSED
    assert store.row == row
