"""Idle means not used: the rule holds in every run of a small world; simpler ones don't.

What the world is, and why it is enough, stands in idle_model.py. `pytest -s` shows the
counterexamples to the rules that are broken on purpose.
"""

import sys
from dataclasses import replace
from typing import Any

import pytest

from jwt_middleware.grant import rotation_rule as rotation
from jwt_middleware.grant.rotation_rule import Limits, Outcome, Presented, Swap, decide
from jwt_middleware.values.tokens import Grant
from tests.idle_model import HOUR, IDLE, Model, Rule, World, find, records
from tests.rotation_model import SERVED
from tests.rules import accepts, refuses

NEVER = (False,)
HONEST = {
    "a client that adopts new tokens or doesn't": World(),
    "one that never does": World(adopts=NEVER),
    "a bound grant": World(bound=True),
    "a row with a longer limit than the settings'": World(idle_limit=2 * IDLE, tick=HOUR),
    "a row with a shorter limit": World(idle_limit=IDLE / 2, tick=HOUR // 4),
    "a bound one with a shorter limit": World(idle_limit=IDLE / 2, bound=True, tick=HOUR // 4),
}
any_client = pytest.mark.parametrize("world", HONEST.values(), ids=HONEST)


def show(*lines: str) -> None:
    sys.stdout.write("\n".join(("", *lines, "")))


def check(world: World) -> None:
    found = find(Rule(), world)
    show(f"{world}: no honest logout, and nothing undead, in {found.states} states")
    assert found.logout == ""
    assert found.undead == ""


@accepts("RT-28")
@refuses("RT-10", "RT-28")
@any_client
def test_gone_is_what_was_not_served_for_the_idle_limit_and_nothing_else(world: World) -> None:
    check(world)


@pytest.mark.long
@any_client
def test_it_is_so_in_finer_ticks(world: World) -> None:
    check(replace(world, tick=world.tick // 2))


@accepts("RT-12")
def test_a_client_that_adopts_new_tokens_is_not_gone_when_a_failover_loses_a_rotation() -> None:
    """The token itself says when a refresh was served: the rule counts its `iat`."""
    assert find(Rule(), World(adopts=(True,), lost_writes=1)).logout == ""


def test_one_that_does_not_adopt_loses_a_use_with_its_record() -> None:
    # What remains: a failover at the record of the only use within the limit.
    trace = find(Rule(), World(adopts=NEVER, lost_writes=1)).logout
    show("A client that adopts nothing, and a failover:", trace)
    assert "A FAILOVER LOSES 1 WRITE" in trace
    assert trace.endswith("gone")


# --- What is broken on purpose is found


def as_before(
    presented: Presented, swap: Swap, advanced: bool, row: Grant | None, now: float, limits: Limits
) -> Outcome | Swap:
    """Count rotations and the token's own time only, without a gate."""
    assert row is not None
    if now > max(row.rotated_at, presented.issued_at) + limits.idle:
        return Outcome.GONE
    return decide(presented, swap, advanced, row, now, replace(limits, idle=1e9))


def without_gate(
    presented: Presented, swap: Swap, advanced: bool, row: Grant | None, now: float, limits: Limits
) -> Outcome | Swap:
    assert row is not None
    if now > max(row.used_at, presented.issued_at) + limits.idle:
        return Outcome.GONE
    return decide(presented, swap, advanced, row, now, limits)


def by_row_alone(
    presented: Presented, swap: Swap, advanced: bool, row: Grant | None, now: float, limits: Limits
) -> Outcome | Swap:
    """Count what the store has recorded, and not the token's own time."""
    assert row is not None
    if now > row.used_at + limits.idle + rotation.gate(limits.idle):
        return Outcome.GONE
    return decide(presented, swap, advanced, row, now, limits)


def by_settings(presented: Presented, now: float, limits: Limits) -> Swap:
    """Don't know the row's own limit when the first question is asked."""
    return rotation.first(presented._replace(idle=None), now, limits)


def by_read(outcome: Outcome | None, *rest: Any) -> bool:
    return records(outcome or Outcome.KEPT, *rest)


def by_refusal(outcome: Outcome | None, *rest: Any) -> bool:
    return records(Outcome.KEPT if outcome is Outcome.REFUSED else outcome, *rest)


def every_other_gate(outcome: Outcome | None, row: Grant, now: float, limits: Limits) -> bool:
    gate = 2 * rotation.gate(limits.idle)
    return outcome in SERVED and now - row.used_at >= gate


SHORT = World(idle_limit=IDLE / 2)
BOUND, FAILOVER = World(bound=True), World(adopts=(True,), lost_writes=1)
BROKEN = {
    "only a rotation is a use": (Rule(decide=as_before), World(adopts=NEVER), "honest"),
    "no gate is added": (Rule(decide=without_gate), World(adopts=NEVER), "honest"),
    "a use is recorded more seldom": (Rule(records=every_other_gate), World(), "honest"),
    "the token's own time isn't counted": (Rule(decide=by_row_alone), FAILOVER, "honest"),
    "a use is recorded by a read": (Rule(records=by_read), World(), "undead"),
    "a use is recorded by a refused request": (Rule(records=by_refusal), BOUND, "undead"),
    "a row's shorter limit isn't known at first": (Rule(first=by_settings), SHORT, "undead"),
}


@pytest.mark.parametrize(("rule", "world", "fails"), BROKEN.values(), ids=BROKEN)
def test_a_rule_that_is_broken_on_purpose_is_found(rule: Rule, world: World, fails: str) -> None:
    _, logout, undead = find(rule, world)
    assert (logout != "", undead != "") == (fails == "honest", fails == "undead")
    show(logout or undead)


def test_a_shorter_limit_of_a_row_must_be_known_to_the_first_question() -> None:
    """Otherwise it rotates an unused grant before `decide` sees the row, and nobody can tell."""
    found = find(Rule(first=by_settings), SHORT)
    show("By the settings' limit an unused grant is served:", found.undead)
    assert found.undead == "  6.00 h a refresh: rotated, and the client adopts the new token"


@pytest.mark.parametrize("limit", [IDLE / 2, 2 * IDLE])
def test_a_row_that_is_over_by_its_own_limit_does_not_move(limit: float) -> None:
    """No swap is asked for where the grant may be over: after that nobody could tell any more."""
    model = Model(Rule(), World(idle_limit=limit, tick=HOUR))
    state, dead = model.start(), 0
    for _ in range(int(limit / HOUR) + 5):
        state = model._tick(state)
        after, outcome = model.refresh(state, None)
        if outcome is Outcome.GONE:
            assert after == state
            dead += 1
    assert dead >= 3


def test_a_counterexample_is_told_in_words() -> None:
    assert find(Rule(records=by_refusal), BOUND).undead == (
        "  1.00 h a refresh with another key: refused\n 11.50 h a refresh: kept"
    )
