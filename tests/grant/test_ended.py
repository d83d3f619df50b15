"""What is known of ended grants has an age, and the age says what a request does."""

import sys
import tracemalloc

import pytest

from jwt_middleware.grant.ended_grants import BACK_OFF, FAILING, EndedGrants, Plan
from jwt_middleware.stores.contract import Mark
from jwt_middleware.values.randomness import identifier
from jwt_middleware.values.tokens import octets_of_grant

EVERY, LIMIT, LIFE, MARGIN = 10.0, 120.0, 640.0, 60.0
RETENTION = LIFE + MARGIN
ALL = (None, RETENTION)  # what was asked: no cursor, and how far back
ONE = octets_of_grant("one")


def new(*, every: float = EVERY, passing: bool = False) -> EndedGrants:
    return EndedGrants(every=every, limit=LIMIT, life=LIFE, margin=MARGIN, passing=passing)


def hear(
    ended: EndedGrants,
    at: float,
    *grant_ids: str,
    cursor: object = "cursor",
    mark: Mark | None = None,
    asked: tuple[object | None, float] = ALL,
) -> None:
    """Let a whole answer come, to a question of that time."""
    ended.heard(grant_ids, mark, at, more=False)
    ended.succeeded(at, asked, cursor)


def synced(at: float = 1000, *, every: float = EVERY, passing: bool = False) -> EndedGrants:
    ended = new(every=every, passing=passing)
    hear(ended, at)
    return ended


def plan(ended: EndedGrants, now: float, life: float = LIFE) -> Plan:
    """Return the plan for a token that was issued just now."""
    return ended.plan(now, ONE, life, now)


def what(ended: EndedGrants, now: float) -> tuple[Plan, bool]:
    """Return the plan, and whether a sync should begin."""
    return plan(ended, now), ended.is_due(now)


# --- the three ages


def test_nothing_is_known_at_the_start() -> None:
    ended = new()
    assert what(ended, 1000) == ("wait", True)
    assert ended.cursor is None


def test_what_is_young_is_not_asked_for() -> None:
    ended = synced(1000)
    assert {what(ended, now) for now in (1000, 1005, 1000 + EVERY)} == {("go on", False)}
    assert ended.cursor == "cursor"


def test_later_a_sync_is_due_and_nobody_waits_for_it() -> None:
    ended = synced(1000)
    for now in (1000 + EVERY + 0.1, 1000 + 2 * EVERY):
        assert what(ended, now) == ("go on", True)
    hear(ended, 1019)
    assert what(ended, 1029) == ("go on", False)


def test_for_what_is_old_everyone_waits() -> None:
    ended = synced(1000)
    for now in (1000 + 2 * EVERY + 0.01, 1600):
        assert what(ended, now) == ("wait", True)


def test_the_age_counts_from_the_start_of_a_sync() -> None:
    ended = synced(1000)
    hear(ended, 1019)  # which came back at 1025, say
    assert what(ended, 1030) == ("go on", True)
    assert what(ended, 1039.1) == ("wait", True)


def test_every_zero_waits_for_every_request() -> None:
    ended = synced(1000, every=0)
    assert [plan(ended, now) for now in (1000, 1000, 1000.001, 1001)] == ["wait"] * 4
    assert not ended.lets_pass(ONE, LIFE, 1000, 1000)
    assert not ended.is_due(1001), "each has its own asked"
    ended.failed(1002)
    assert [ended.is_due(now) for now in (1002, 1003, 1002 + FAILING + 1)] == [False, True, False]


def test_nothing_is_known_when_the_clock_was_set_back() -> None:
    ended = synced(1000)
    assert what(ended, 900) == ("wait", True)
    hear(ended, 900)
    assert what(ended, 900) == ("go on", False)


def test_a_clock_that_was_set_back_asks_for_all_and_forgets_in_time() -> None:
    ended = synced(1_000_000)
    ended.add(("a",), 1_000_000)
    hear(ended, 1_000_001, cursor="then")
    assert (plan(ended, 1_000_000.5), ended.cursor) == ("wait", "then"), "overtaken, not set back"
    assert (plan(ended, 1000), ended.cursor) == ("wait", None)
    hear(ended, 1000, "b", cursor="now")
    assert "a" in ended
    for later in (1, 2):
        hear(ended, 1000 + later * (RETENTION + 1), cursor="later")
    assert ["a" in ended, "b" in ended] == [False, False]


def test_who_was_away_for_long_reads_only_the_ends_that_matter() -> None:
    ended = synced(1000)
    assert (plan(ended, 1000 + RETENTION), ended.cursor) == ("wait", "cursor")
    assert (plan(ended, 1000 + RETENTION + 1), ended.cursor) == ("wait", None)


def test_a_forked_child_knows_the_ends_and_not_their_age() -> None:
    ended = synced(1000)
    ended.add(("a",), 1000)
    ended.failed(1001)
    ended.reset()
    assert "a" in ended
    assert what(ended, 1001) == ("wait", True)
    assert ended.cursor is None


def test_a_sync_serves_all_who_came_before_it_and_a_little_earlier() -> None:
    ended = synced(1000)
    assert ended.serves(1000, 1000 + EVERY)
    assert not ended.serves(1000, 1000 + EVERY + 0.1)
    assert ended.serves(1600, 1000)
    every_time = synced(1000, every=0)
    assert not every_time.serves(1000, 1000), "it may have read before"
    assert every_time.serves(1000.1, 1000)


# --- the store doesn't answer


def test_the_next_try_backs_off_from_one_to_five_seconds() -> None:
    ended = synced(1000, passing=True)
    now, waits = 1600.0, []
    for _ in range(6):
        ended.failed(now)
        waited = next(one for one in range(100) if ended.is_due(now + one / 4)) / 4
        waits.append(waited)
        now += waited
    assert waits == [*BACK_OFF, 5, 5] == [1, 2, 4, 5, 5, 5]
    hear(ended, now)
    ended.failed(now + 100)
    assert ended.is_due(now + 101), "begins anew"


def test_while_it_fails_nobody_waits() -> None:
    ended = synced(1000)
    ended.failed(1030)
    assert what(ended, 1030.5) == ("go on", False)
    assert what(ended, 1031) == ("go on", True)
    assert what(ended, 1030 + FAILING) == ("go on", True)
    assert what(ended, 1030 + FAILING + 0.1) == ("wait", True), "nobody has tried for long"
    hear(ended, 1060)
    assert what(ended, 1060 + 3 * EVERY) == ("wait", True), "it answers again"


def test_a_failure_makes_what_is_young_no_older() -> None:
    ended = synced(1000)
    ended.failed(1001)
    assert what(ended, 1002) == ("go on", False)
    assert what(ended, 1015) == ("go on", True)


@pytest.mark.parametrize(("passing", "late"), [(False, "refuse"), (True, "go on")])
def test_without_the_store_it_goes_on_until_the_limit(passing: bool, late: Plan) -> None:
    ended = synced(1000, passing=passing)
    for now in (1030, 1000 + LIMIT):
        ended.failed(now - 0.5)
        assert not ended.is_late(now)
        assert (plan(ended, now), ended.without_sync(now, ONE, LIFE, now)) == ("go on", "go on")
    now = 1000 + LIMIT + 0.1
    ended.failed(now)
    assert ended.is_late(now)
    assert (plan(ended, now), ended.without_sync(now, ONE, LIFE, now)) == (late, late)


def test_a_process_that_never_heard_of_ends_refuses_at_once() -> None:
    ended = new()
    ended.failed(1000)
    assert [plan(ended, 1000), plan(ended, 1001)] == ["refuse", "refuse"]
    assert plan(ended, 1000 + FAILING + 1) == "wait"


def test_open_is_open_from_the_start() -> None:
    ended = new(passing=True)
    ended.failed(1000)
    assert plan(ended, 1000.5) == "go on"


def test_a_clock_that_was_set_back_prolongs_no_back_off() -> None:
    ended = synced(1000)
    ended.failed(1100)
    assert what(ended, 500) == ("wait", True)
    # How old it is, nobody knows: too old.
    ended.failed(500)
    assert what(ended, 500.5) == ("refuse", False)


# --- many ends, in pages


def test_while_many_ends_are_read_a_request_asks_for_its_own_grant() -> None:
    ended = new()
    ended.heard(("a",), None, 1000, more=True)
    assert "a" in ended
    assert what(ended, 1000) == ("ask", True)
    assert ended.after_sync(ONE, LIFE, 1000) == "ask"
    ended.heard(("b",), None, 1000, more=False)
    ended.succeeded(1000, ALL, "cursor")
    assert what(ended, 1001) == ("go on", False)
    assert ended.after_sync(ONE, LIFE, 1000) == "go on"


def test_pages_of_what_is_new_hold_nobody_up_who_knows_enough() -> None:
    ended = synced(1000)
    ended.heard(("a",), None, 1011, more=True)
    assert plan(ended, 1012) == "go on"
    assert plan(ended, 1021) == "ask", "what was known is old by now"
    assert ended.after_sync(ONE, LIFE, 1021) == "ask"


def test_an_answer_that_broke_off_counts_as_none() -> None:
    ended = new()
    ended.heard(("a",), None, 1000, more=True)
    ended.failed(1001)
    assert plan(ended, 1002) == "refuse"
    assert ended.after_sync(ONE, LIFE, 1002) == "ask"
    assert "a" in ended


def test_only_an_answer_that_goes_back_far_enough_widens_the_reach() -> None:
    ended = synced(1000)
    longer = 2 * LIFE
    asked = ended.question()
    assert asked[0] == "cursor"
    assert plan(ended, 1001, longer) == "wait"
    assert ended.question() == (None, longer + MARGIN)
    assert ended.after_sync(ONE, longer, 1001) == "ask"
    # It was asked before the longer token came, for what is new only.
    hear(ended, 1001, asked=("cursor", longer + MARGIN), cursor="next")
    assert ended.reach == LIFE
    assert ended.question() == (None, longer + MARGIN)
    assert plan(ended, 1002, longer) == "wait"
    hear(ended, 1002, asked=ended.question(), cursor="all")
    assert (ended.reach, ended.cursor) == (longer, "all")
    assert plan(ended, 1003, longer) == "go on"


# --- mass ends

MARK = Mark(before=5000, made_at=5400)  # at 5400: all that began before 5000
FIRST, LAST = 5000 - MARGIN, 5400 + MARGIN  # what is issued between them must be asked for


def marked() -> EndedGrants:
    ended = new()
    hear(ended, 5410, mark=MARK)
    return ended


def test_a_token_of_long_before_a_mass_end_is_refused_and_one_of_long_after_passes() -> None:
    ended = marked()
    for issued, has_ended, its_plan in (
        (FIRST - 1, True, "ask"),
        (FIRST, False, "ask"),
        (LAST - 1, False, "ask"),
        (LAST, False, "go on"),
    ):
        assert ended.is_marked(issued, 5411) is has_ended
        assert ended.plan(5411, ONE, LIFE, issued) == its_plan
        assert ended.lets_pass(ONE, LIFE, issued, 5411) is (its_plan == "go on")
    assert not synced().is_marked(0, 5411)


def test_after_a_clock_was_set_back_a_mass_end_refuses_no_new_login_unasked() -> None:
    ended = marked()
    assert ended.is_marked(1800, MARK.made_at - MARGIN)
    assert not ended.is_marked(1800, MARK.made_at - MARGIN - 1)
    hear(ended, 1800, mark=MARK)
    assert ended.plan(1800, ONE, LIFE, 1800) == "ask"
    ended.survived(ONE)
    assert ended.plan(1800, ONE, LIFE, 1800) == "go on"


def test_a_grant_that_survived_a_mass_end_is_asked_for_once() -> None:
    ended = marked()
    ended.survived(ONE)
    assert ended.plan(5411, ONE, LIFE, 5399) == "go on"
    assert ended.plan(5411, octets_of_grant("other"), LIFE, 5399) == "ask"
    hear(ended, 5412, mark=MARK)
    assert ended.plan(5413, ONE, LIFE, 5399) == "go on", "the same mark"
    hear(ended, 5414, mark=Mark(5100, 5413))
    assert ended.plan(5415, ONE, LIFE, 5399) == "ask", "another one"


def test_the_survivors_are_forgotten_when_no_token_of_that_time_lives() -> None:
    ended = marked()
    ended.survived(ONE)
    for at in (LAST + RETENTION, LAST + RETENTION + 1):
        hear(ended, at, mark=MARK)
        assert ended.plan(at, ONE, LIFE, 5399) == ("go on" if at == LAST + RETENTION else "ask")


def test_while_the_store_fails_what_a_mass_end_leaves_open_must_be_asked_for() -> None:
    ended = marked()
    ended.failed(5440)
    assert ended.plan(5440, ONE, LIFE, 5399) == "ask"
    assert ended.plan(5440, ONE, LIFE, LAST) == "go on"
    passing = new(passing=True)
    hear(passing, 5410, mark=MARK)
    passing.failed(5440)
    assert passing.plan(5440, ONE, LIFE, 5399) == "go on"


# --- the set itself


def test_an_end_is_remembered_until_no_token_of_it_can_live_and_then_forgotten() -> None:
    ended = synced(1000)
    hear(ended, 1010, "a")
    hear(ended, 1000 + RETENTION + 1, "b")
    assert ("a" in ended, "b" in ended) == (True, True)
    hear(ended, 1001 + 2 * RETENTION)
    assert "a" in ended
    hear(ended, 1002 + 2 * RETENTION)
    assert ("a" in ended, "b" in ended) == (False, True)


def test_it_stays_as_large_as_what_ended_lately() -> None:
    ended = new()
    for number in range(3000):
        now = 1000.0 + number
        hear(ended, now, f"grant {number}")
        assert all(f"grant {max(number - back, 0)}" in ended for back in (0, 100, 640))
        assert len(ended) <= 2 * (RETENTION + 2)


def test_an_end_takes_at_most_100_octets() -> None:
    ids = [identifier() for _ in range(10_000)]
    ended = new()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for page in range(10):
            ended.heard([f"{page}{one}" for one in ids], None, 1000, more=True)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(ended) == 100_000
    assert (after - before) / len(ended) <= 100
    assert sys.getsizeof(octets_of_grant("x")) <= 48


def test_odd_ids_are_told_apart() -> None:
    ended = synced()
    ended.add(("\ud800", "", "Zoë"), 1000)
    assert all(one in ended for one in ("\ud800", "", "Zoë"))
    assert not any(one in ended for one in ("\ud801", " ", "zoë"))


# --- the shortcut


def test_the_shortcut_ends_with_the_clock_that_was_set_back() -> None:
    ended = synced(1000)
    assert ended.lets_pass(ONE, LIFE, 1000, 1000)
    assert ended.lets_pass(ONE, LIFE, 1000, 1000 + EVERY - 0.1)
    assert not ended.lets_pass(ONE, LIFE, 1000, 1000 + EVERY)
    assert not ended.lets_pass(ONE, LIFE, 1000, 999)
    assert not ended.lets_pass(ONE, LIFE + 1, 1000, 1000)


def test_the_shortcut_lets_no_ended_grant_pass_however_long_ago_it_ended() -> None:
    ended = synced(1000)
    ended.add(("one",), 1000)
    for at in (1001, 1001 + RETENTION):
        hear(ended, at)
        assert not ended.lets_pass(ONE, LIFE, at, at)
        assert ended.lets_pass(octets_of_grant("other"), LIFE, at, at)
