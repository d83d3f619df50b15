"""What is known of ended grants has an age, and the age says what a request does."""

import pytest

from jwt_middleware.grant.ended_grants import BACK_OFF, LEASE, EndedGrants, Plan

EVERY, LIMIT, LIFE, MARGIN = 10.0, 120.0, 640.0, 60.0
RETENTION = LIFE + MARGIN
ALL = (None, RETENTION)  # what was asked: no cursor, and how far back


def new(*, every: float = EVERY, passing: bool = False) -> EndedGrants:
    return EndedGrants(every=every, limit=LIMIT, life=LIFE, margin=MARGIN, passing=passing)


def synced(at: float = 1000, *, every: float = EVERY, passing: bool = False) -> EndedGrants:
    ended = new(every=every, passing=passing)
    ended.succeeded(at, ALL, (), "cursor")
    return ended


# --- the three ages


def test_nothing_is_known_at_the_start() -> None:
    ended = new()
    assert [ended.plan(1000, LIFE), ended.plan(1000, LIFE)] == ["ask", "ask"]
    assert ended.cursor is None


def test_what_is_young_is_not_asked_for() -> None:
    ended = synced(1000)
    assert [ended.plan(now, LIFE) for now in (1000, 1005, 1000 + EVERY)] == ["go on"] * 3
    assert ended.cursor == "cursor"


def test_later_one_asks_for_all() -> None:
    ended = synced(1000)
    plans = [ended.plan(1000 + EVERY + 0.1, LIFE) for _ in range(4)]
    assert plans == ["ask", "go on", "go on", "go on"]


def test_who_is_overtaken_by_the_one_that_asks_need_not_ask() -> None:
    # Between the moment at which a request comes and its plan lies the check of a signature.
    ended = synced(1000)
    assert ended.plan(1000 + EVERY + 0.2, LIFE) == "ask"
    assert ended.plan(1000 + EVERY + 0.1, LIFE) == "go on"
    for _ in BACK_OFF:
        ended.failed(1500)
    assert [ended.plan(1499.9, LIFE), ended.plan(1500, LIFE)] == ["refuse"] * 2


def test_who_never_comes_back_holds_nobody_up_for_longer_than_his_lease() -> None:
    ended = synced(1000)
    begin = 1000 + EVERY + 0.1
    assert ended.plan(begin, LIFE) == "ask"
    assert ended.plan(begin + LEASE - 0.01, LIFE) == "go on"
    assert [ended.plan(begin + LEASE, LIFE), ended.plan(begin + LEASE, LIFE)] == ["ask", "go on"]


def test_who_comes_back_gives_the_lease_back() -> None:
    ended = synced(1000)
    assert ended.plan(1019, LIFE) == "ask"
    ended.succeeded(1019, ALL, (), None)
    assert ended.plan(1019 + EVERY, LIFE) == "go on"
    assert ended.plan(1019 + EVERY + 0.1, LIFE) == "ask"


def test_what_is_old_is_asked_for_by_everyone() -> None:
    ended = synced(1000)
    assert ended.plan(1000 + 2 * EVERY, LIFE) == "ask", "the one with the lease"
    assert ended.plan(1000 + 2 * EVERY, LIFE) == "go on"
    assert [ended.plan(1000 + 2 * EVERY + 0.01, LIFE) for _ in range(3)] == ["ask"] * 3
    assert [ended.plan(1600, LIFE) for _ in range(3)] == ["ask"] * 3, "idle for ten minutes"


def test_the_age_counts_from_the_start_of_a_sync() -> None:
    ended = synced(1000)
    assert ended.plan(1019, LIFE) == "ask"
    ended.succeeded(1019, ALL, (), None)  # which came back at 1025, say
    assert ended.plan(1030, LIFE) == "ask"


def test_every_zero_asks_for_every_request() -> None:
    ended = synced(1000, every=0)
    assert [ended.plan(now, LIFE) for now in (1000, 1000, 1000.001, 1001)] == ["ask"] * 4


def test_nothing_is_known_when_the_clock_was_set_back() -> None:
    ended = synced(1000)
    assert [ended.plan(900, LIFE), ended.plan(900, LIFE)] == ["ask", "ask"]
    assert not ended.serves(900), "what was heard in the future"
    ended.succeeded(900, ALL, (), None)
    assert [ended.plan(900, LIFE), ended.serves(900)] == ["go on", True]


def test_a_clock_that_was_set_back_asks_for_all_and_forgets_in_time() -> None:
    ended = synced(1_000_000)
    ended.add(("a",), 1_000_000)
    ended.succeeded(1_000_001, ALL, (), "then")
    assert [ended.plan(1_000_000.5, LIFE), ended.cursor] == ["ask", "then"], (
        "overtaken, and not set back"
    )
    assert [ended.plan(1000, LIFE), ended.cursor] == ["ask", None]
    ended.succeeded(1000, ALL, ("b",), "now")
    assert "a" in ended
    ended.succeeded(1000 + RETENTION + 1, ALL, (), "later")
    assert ["a" in ended, "b" in ended] == [False, False]


def test_a_forked_child_knows_the_ends_and_not_their_age() -> None:
    ended = synced(1000)
    ended.add(("a",), 1000)
    ended.failed(1001)
    ended.reset()
    assert "a" in ended
    assert [ended.plan(1001, LIFE), ended.cursor] == ["ask", None]


# --- who waited while another asked


def test_a_sync_serves_all_who_waited_for_it() -> None:
    ended = synced(1000)
    assert not ended.serves(1000 + EVERY + 0.1), "who has the lease really asks"
    assert not ended.serves(1600)
    ended.succeeded(1600, ALL, (), None)
    assert ended.serves(1600)
    assert ended.serves(1600.4), "that came while it was under way"


def test_with_every_zero_only_a_sync_that_began_later_serves() -> None:
    ended = synced(1000, every=0)
    assert not ended.serves(1000), "it may have read before"
    assert not ended.serves(1000.4)
    ended.succeeded(1000.5, ALL, (), None)
    assert ended.serves(1000.4)


# --- the store doesn't answer


def test_the_next_try_backs_off_from_one_to_five_seconds() -> None:
    ended = synced(1000, passing=True)
    now, waits = 1600.0, []
    assert ended.plan(now, LIFE) == "ask"
    for _ in range(6):
        ended.failed(now)
        waited = next(one for one in range(100) if ended.plan(now + one / 4, LIFE) == "ask") / 4
        waits.append(waited)
        now += waited
    assert waits == [*BACK_OFF, 5, 5] == [1, 2, 4, 5, 5, 5]
    ended.succeeded(now, ALL, (), None)
    ended.failed(now + 100)
    assert ended.plan(now + 101, LIFE) == "ask", "begins anew"


@pytest.mark.parametrize(("passing", "others"), [(False, "refuse"), (True, "go on")])
def test_while_it_fails_one_tries_again_for_all(passing: bool, others: Plan) -> None:
    ended = synced(1000, passing=passing)
    now = 1030.0
    for back_off in (*BACK_OFF, BACK_OFF[-1]):
        ended.failed(now - back_off)
        assert [ended.plan(now, LIFE) for _ in range(4)] == ["ask", "go on", "go on", "go on"]
        assert ended.plan(now + LEASE - 0.01, LIFE) == "go on"
        assert ended.plan(now + LEASE, LIFE) == "ask", "who tried never came back"
        now += back_off
    now = 1000 + LIMIT + 6
    ended.failed(now - BACK_OFF[-1])
    assert [ended.plan(now, LIFE) for _ in range(4)] == ["ask", others, others, others]
    ended.succeeded(now, ALL, (), None)
    assert [ended.plan(now + 3 * EVERY, LIFE) for _ in range(3)] == ["ask"] * 3, "it answers again"


def test_who_was_idle_after_a_failure_knows_nothing_of_the_store() -> None:
    ended = synced(1000)
    ended.failed(1030)
    idle = 1030 + BACK_OFF[0] + 2 * LEASE
    assert [ended.plan(idle, LIFE), ended.plan(idle, LIFE)] == ["ask", "go on"], (
        "a try may be on its way"
    )
    assert [ended.plan(idle + 0.1, LIFE) for _ in range(3)] == ["ask"] * 3


def test_a_failure_makes_what_is_young_no_older() -> None:
    ended = synced(1000)
    ended.failed(1001)
    assert ended.plan(1002, LIFE) == "go on"
    assert [ended.plan(1015, LIFE), ended.plan(1015, LIFE)] == ["ask", "go on"]


@pytest.mark.parametrize(("passing", "late"), [(False, "refuse"), (True, "go on")])
def test_without_the_store_it_goes_on_until_the_limit(passing: bool, late: Plan) -> None:
    ended = synced(1000, passing=passing)
    for now in (1030, 1000 + LIMIT):
        ended.failed(now - 0.5)
        assert not ended.is_late(now)
        assert (ended.plan(now, LIFE), ended.without_sync(now, LIFE)) == ("go on", "go on")
    now = 1000 + LIMIT + 0.1
    ended.failed(now)
    assert ended.is_late(now)
    assert (ended.plan(now, LIFE), ended.without_sync(now, LIFE)) == (late, late)


def test_a_process_that_never_heard_of_ends_refuses_at_once() -> None:
    ended = new()
    ended.failed(1000)
    assert [ended.plan(1000, LIFE), ended.plan(1000.9, LIFE)] == ["refuse", "refuse"]
    assert ended.plan(1001, LIFE) == "ask"


def test_open_is_open_from_the_start() -> None:
    ended = new(passing=True)
    ended.failed(1000)
    assert ended.plan(1000.5, LIFE) == "go on"


def test_a_clock_that_was_set_back_prolongs_no_back_off() -> None:
    ended = synced(1000)
    ended.failed(1100)
    assert ended.plan(500, LIFE) == "ask"
    # How old it is, nobody knows: too old.
    ended.failed(500)
    assert ended.plan(500.5, LIFE) == "refuse"
    never = new()
    never.failed(1100)
    assert never.plan(500, LIFE) == "ask"


# --- the set itself


def test_an_end_is_forgotten_when_no_token_of_it_can_live() -> None:
    ended = synced(1000)
    ended.succeeded(1010, ALL, ("a",), None)
    ended.add(("b",), 1500)
    ended.succeeded(1010 + RETENTION, ALL, (), None)
    assert "a" in ended
    ended.succeeded(1010 + RETENTION + 1, ALL, (), None)
    assert ("a" in ended, "b" in ended) == (False, True)


def test_to_hear_of_an_end_again_keeps_it_no_longer() -> None:
    ended = synced(1000)
    for now in range(1000, 1100, 10):  # syncs overlap
        ended.succeeded(now, ALL, ("a",), None)
    ended.succeeded(1000 + RETENTION + 1, ALL, (), None)
    assert "a" not in ended


def test_it_stays_as_large_as_what_ended_lately() -> None:
    ended = new()
    for number in range(3000):
        now = 1000.0 + number
        ended.succeeded(now, ALL, (f"grant {number}",), None)
    assert sum(f"grant {number}" in ended for number in range(3000)) == RETENTION + 1


# --- the shortcut, and what a partial answer tells


def test_the_shortcut_ends_with_the_clock_that_was_set_back() -> None:
    ended = synced(1000)
    assert ended.lets_pass("one", LIFE, 1000)
    assert ended.lets_pass("one", LIFE, 1000 + EVERY - 0.1)
    assert not ended.lets_pass("one", LIFE, 1000 + EVERY)
    assert not ended.lets_pass("one", LIFE, 999)


def test_only_an_answer_that_goes_back_far_enough_widens_the_reach() -> None:
    ended = synced(1000)
    longer = 2 * LIFE
    asked = ended.question()
    assert asked[0] == "cursor"
    assert ended.plan(1001, longer) == "ask"
    # It was asked before the longer token came, for what is new only.
    ended.succeeded(1001, ("cursor", longer + MARGIN), (), "next")
    assert ended.reach == LIFE
    assert ended.question() == (None, longer + MARGIN)
    assert ended.plan(1002, longer) == "ask"
    ended.succeeded(1002, ended.question(), (), "all")
    assert (ended.reach, ended.cursor) == (longer, "all")
    assert ended.plan(1003, longer) == "go on"
