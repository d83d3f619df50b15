"""The rotation rule keeps its two promises in every run of a small world; simpler rules don't.

What the world is, and why it is enough, stands in rotation_model.py. `pytest -s` shows the bounds,
and the counterexamples to the rules that are broken on purpose.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from jwt_middleware import Cookies
from jwt_middleware.grant.rotation_rule import Limits, Outcome, Presented, Swap, decide
from jwt_middleware.values.tokens import Grant
from tests.browser import Browser
from tests.issuing import DOORS, opened
from tests.rotation_model import (
    Client,
    Decide,
    Flight,
    Model,
    Row,
    Rule,
    Search,
    State,
    Token,
    World,
    find_logout,
    find_windows,
    found_after,
    on_the_tick,
)
from tests.rules import accepts, refuses

RULE = Rule()  # ticks of 15 seconds
COARSE = Rule(settle=2)  # of 30 seconds: requests may be late by as much
FINE = Rule(settle=12)  # of 5 seconds


def show(*lines: str) -> None:
    sys.stdout.write("\n".join(("", *lines, "")))


# --- (a) Without a thief nobody is logged out

# Those that make nothing of a token that they have sent: ours, cookie jars, and whoever compares.
CAREFUL = (Client.IGNORES, Client.COMPARES)
SIZES = ((1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (3, 0))
LARGER = ((3, 1), (3, 2), (4, 0))


def worlds(sizes: tuple[tuple[int, int], ...]) -> list[World]:
    return [
        World(tabs=tabs, lost_writes=lost, client=client)
        for tabs, lost in sizes
        for client in CAREFUL
    ]


def name(world: World) -> str:
    name = f"{world.tabs} tabs, {world.lost_writes} writes lost, {world.client.name.lower()}"
    return f"{name}, {world.burst} at once" if world.burst else name


def check_honest(rule: Rule, world: World) -> None:
    found = find_logout(rule, world)
    show(f"{name(world)}: no honest logout in {found.states} states")
    assert found.trace == ""
    # It would be easy to log nobody out where nothing happens.
    expected = {Outcome.KEPT, Outcome.ROTATED, Outcome.REPEATED}
    assert found.outcomes == expected | ({Outcome.RESTORED} if world.lost_writes else set())


@accepts("RT-11", "RT-12")
@pytest.mark.parametrize("world", worlds(SIZES), ids=name)
def test_no_honest_client_is_logged_out(world: World) -> None:
    check_honest(RULE, world)


@pytest.mark.long
@pytest.mark.parametrize("world", worlds(LARGER), ids=name)
def test_no_honest_client_is_logged_out_in_a_larger_world(world: World) -> None:
    check_honest(RULE, world)


@accepts("RT-12")
@pytest.mark.parametrize("client", CAREFUL)
def test_a_client_may_lose_what_its_store_was_given_in_the_last_ten_seconds(client: Client) -> None:
    check_honest(FINE, World(tabs=2, late=3, crash=2, client=client))


# --- A client that writes whatever it gets

# With four requests within a `settle` and a tick, however many of them at once.
WRITES = [
    World(tabs=tabs, lost_writes=lost, burst=4, client=Client.WRITES)
    for tabs, lost in ((2, 0), (3, 0), (4, 0))
]
MORE_WRITES = [
    World(tabs=tabs, lost_writes=lost, burst=4, client=Client.WRITES)
    for tabs, lost in ((2, 1), (2, 2), (3, 1), (4, 1))
]


@accepts("RT-28")
@pytest.mark.parametrize("world", WRITES, ids=name)
def test_a_client_that_writes_what_it_gets_is_not_logged_out(world: World) -> None:
    check_honest(RULE, world)


@pytest.mark.long
@pytest.mark.parametrize("world", MORE_WRITES, ids=name)
def test_a_client_that_writes_what_it_gets_is_not_logged_out_in_a_larger_world(
    world: World,
) -> None:
    check_honest(RULE, world)


@pytest.mark.long
def test_a_client_that_writes_what_it_gets_is_not_logged_out_in_finer_ticks() -> None:
    # Four requests within 65 s.
    check_honest(FINE, World(tabs=2, late=3, burst=4, client=Client.WRITES))


@accepts("RT-28")
@pytest.mark.parametrize("lost", [0, 1, 2])
def test_with_one_request_at_a_time_it_may_send_any_number(lost: int) -> None:
    check_honest(RULE, World(lost_writes=lost, client=Client.WRITES))


@pytest.mark.long
@pytest.mark.parametrize(("burst", "is_found"), [(6, False), (7, True)])
def test_with_answers_ten_seconds_late_it_takes_seven_requests(
    burst: int, *, is_found: bool
) -> None:
    # A chain of requests, each on its way while the next is answered, as long as `settle`.
    rule = on_the_tick(Rule(settle=6))  # ticks of 10 seconds
    found = find_logout(rule, World(tabs=2, burst=burst, client=Client.WRITES))
    assert (found.trace != "") is is_found


def test_five_requests_within_settle_can_log_out_a_client_that_writes_what_it_gets() -> None:
    """This remains: two at once, 15 s late, so that an older token is written over a newer one."""
    found = find_logout(on_the_tick(RULE), World(tabs=2, burst=5, client=Client.WRITES))
    assert found.trace == (
        "  45 s a tab sends 1a\n"
        "  60 s a tab sends 1a\n"
        "  60 s the server takes 1a: rotated, answers 2a\n"
        "  60 s the server takes 1a: repeated, answers 2b\n"
        "  60 s a tab saves 2b\n"
        "  75 s a tab sends 2b\n"
        "  75 s the server takes 2b: kept, answers 2b\n"
        "  75 s a tab saves 2a\n"
        "  90 s a tab sends 2a\n"
        "  90 s a tab saves 2b\n"
        "  90 s a tab sends 2b\n"
        " 105 s the server takes 2b: rotated, answers 3a\n"
        " 105 s the server takes 2a: reused"
    )
    show("A client that writes what it gets is logged out:", found.trace)


# --- A client that never adopts a new token


@accepts("RT-12", "RT-28")
@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_client_that_never_adopts_a_new_token_is_not_logged_out(lost: int) -> None:
    found = find_logout(RULE, World(tabs=2, lost_writes=lost, adopts=False))
    assert found.trace == ""
    assert found.outcomes == {Outcome.KEPT, Outcome.ROTATED, Outcome.REPEATED}


@pytest.mark.long
def test_three_tabs_may_lose_what_their_store_was_given() -> None:
    check_honest(FINE, World(tabs=3, late=3, crash=2))


@pytest.mark.parametrize(("late", "crash"), [(4, 0), (3, 3)])
def test_settle_is_longer_than_three_late_requests_and_a_crash(late: int, crash: int) -> None:
    """With `settle` = 60 s it holds for 3 x 15 s + 10 s, as above; here are 3 x 20, 3 x 15 + 15."""
    found = find_logout(on_the_tick(FINE), World(tabs=2, late=late, crash=crash))
    show(f"settle is 60 s, requests are up to {late * 5} s late, a crash loses {crash * 5} s")
    show(found.trace)
    assert found.trace.endswith("reused")


# --- (b) Victim and thief are not both served for long

# The world, its ticks, and the most windows in which both are served: as many as some run has that
# is surely real, and as many as no run exceeds.
THEFTS = {
    "one copy": (World(copies=1), RULE, 4, 5),
    "two copies, from the second on": (World(copies=2), COARSE, 5, 6),
    "one copy, and all that it brought": (World(copies=1, hoards=True), COARSE, 6, 6),
    "one copy, and a client that crashes": (World(copies=1, crash=1), COARSE, 5, 7),
    "one copy, and a failover": (World(copies=1, lost_writes=1), COARSE, 7, 8),
    "one copy, a client that compares": (World(copies=1, client=Client.COMPARES), RULE, 4, 5),
    "one copy, a client that writes": (World(copies=1, client=Client.WRITES), RULE, 5, 5),
    "a client that never adopts": (World(copies=1, adopts=False), RULE, 4, 6),
    "a client that never adopts, two copies": (World(copies=2, adopts=False), RULE, 6, 9),
    "a client that never adopts, and a failover": (
        World(copies=1, adopts=False, lost_writes=1),
        RULE,
        6,
        8,
    ),
    "a thief who never adopts": (World(copies=1, thief_adopts=False), RULE, 6, 6),
    "a thief who never adopts, two copies": (World(copies=2, thief_adopts=False), RULE, 6, 6),
    "a thief who never adopts, and a failover": (
        World(copies=1, thief_adopts=False, lost_writes=1),
        RULE,
        8,
        8,
    ),
}
MORE_THEFTS = {
    "one copy, finer ticks": (World(copies=1, late=3), FINE, 5),
    "one copy, two tabs": (World(copies=1, tabs=2), RULE, 5),
    "two copies, two tabs": (World(copies=2, tabs=2), COARSE, 7),
    "two copies, and all that they brought": (World(copies=2, hoards=True), COARSE, 6),
    "one copy, and two failovers": (World(copies=1, lost_writes=2), COARSE, 11),
    "compares, two tabs": (World(copies=1, tabs=2, client=Client.COMPARES), COARSE, 5),
    "compares, two copies": (World(copies=2, client=Client.COMPARES), COARSE, 6),
    "writes, two tabs": (World(copies=1, tabs=2, client=Client.WRITES), COARSE, 6),
    "writes, two copies": (World(copies=2, client=Client.WRITES), COARSE, 6),
    "writes, all that it brought": (
        World(copies=1, hoards=True, client=Client.WRITES),
        COARSE,
        6,
    ),
    "writes, and a client that crashes": (
        World(copies=1, crash=1, client=Client.WRITES),
        COARSE,
        7,
    ),
    "writes, and a failover": (World(copies=1, lost_writes=1, client=Client.WRITES), COARSE, 8),
}
a_theft = pytest.mark.parametrize(("world", "rule", "least", "most"), THEFTS.values(), ids=THEFTS)


@refuses("RT-13")
@a_theft
def test_victim_and_thief_are_not_both_served_for_long(
    world: World, rule: Rule, least: int, most: int
) -> None:
    found = find_windows(rule, world)
    show(f"{world}: {found.states} states", f"both are served in {found.windows} windows at most")
    assert least <= found.windows == most
    assert Outcome.REUSED in found.outcomes


@pytest.mark.long
@pytest.mark.parametrize(("world", "rule", "most"), MORE_THEFTS.values(), ids=MORE_THEFTS)
def test_victim_and_thief_are_not_both_served_in_a_larger_world(
    world: World, rule: Rule, most: int
) -> None:
    assert find_windows(rule, world).windows == most


@pytest.mark.long
@a_theft
def test_the_bound_is_hardly_lower(world: World, rule: Rule, least: int, most: int) -> None:
    found = find_windows(on_the_tick(rule), world)
    show(f"{world}: this run has {found.windows} windows, none has more than {most}", found.trace)
    assert found.windows == least


@pytest.mark.parametrize("hoards", [False, True])
def test_two_that_never_adopt_a_new_token_are_both_served_until_the_absolute_end(
    hoards: bool,
) -> None:
    """By design: the server sees what it sees of one client that has lost every answer."""
    world = World(copies=1, adopts=False, thief_adopts=False, hoards=hoards)
    found = find_windows(on_the_tick(RULE), world)
    assert found.windows == math.inf
    assert Outcome.REUSED not in found.outcomes
    show("Victim and thief both present the token of the login for ever:", found.trace)


@pytest.mark.parametrize(
    ("processes", "in_a_row", "refreshes"),
    [(2, 1, {4}), (2, 2, {3, 4, 5}), (3, 1, {5}), (3, 2, {3, 4, 5, 6}), (4, 1, {6})],
)
def test_processes_with_copies_of_one_token_are_found_as_theft(
    processes: int, in_a_row: int, refreshes: set[int]
) -> None:
    """They share a file, and each goes on with what it has in memory: two holders are a theft."""
    assert found_after(on_the_tick(RULE), processes, in_a_row) == refreshes


# --- The rule can't be simpler: what is broken on purpose is found


def changed(change: Callable[[Outcome | Swap, Presented, Grant], Outcome | Swap]) -> Decide:
    """Return a rule that changes what the real one decides."""

    def decide_else(
        presented: Presented, swap: Swap, advanced: bool, row: Grant | None, *rest: Any
    ) -> Outcome | Swap:
        assert row is not None
        return change(decide(presented, swap, advanced, row, *rest), presented, row)

    return decide_else


# Every second use is reuse.
strict = changed(
    lambda found, _, __: Outcome.REUSED if found is Outcome.REPEATED else found,
)
# The predecessor is good, whichever it is.
lenient = changed(
    lambda found, presented, row: (
        Outcome.REPEATED
        if found is Outcome.REUSED and presented.generation == row.generation - 1
        else found
    )
)
# A token that is used while it is young is young again.
sliding = changed(lambda found, _, __: Outcome.REPEATED if found is Outcome.KEPT else found)


def ask_only(presented: Presented, now: float, limits: Limits) -> Swap:
    return Swap(presented.generation, presented.generation, None)


def by_row(
    presented: Presented, swap: Swap, advanced: bool, row: Grant | None, now: float, limits: Limits
) -> Outcome | Swap:
    """What is young, the row's clock says."""
    assert row is not None
    presented = presented._replace(issued_at=row.rotated_at)
    return decide(presented, swap, advanced, row, now, limits)


TABS, FAILOVERS = World(tabs=2), World(lost_writes=2)
BROKEN = {
    "strict": (Rule(decide=strict), World(), "honest"),
    "accept the predecessor": (Rule(decide=lenient), TABS, "theft"),
    "the same successor for all": (Rule(one_successor=True), TABS, "theft"),
    "sliding window": (Rule(decide=sliding), TABS, "honest theft"),
    "the row's clock": (Rule(first=ask_only, decide=by_row, row_clock=True), TABS, "honest"),
    "restore limit 1": (Rule(restore=1), FAILOVERS, "honest"),
    "a kept answer in Set-Cookie": (Rule(kept_sets_cookie=True), TABS, "honest"),
}


@pytest.mark.parametrize(("rule", "world", "fails"), BROKEN.values(), ids=BROKEN)
def test_a_rule_that_is_broken_on_purpose_is_found(rule: Rule, world: World, fails: str) -> None:
    # On the tick: what is found isn't owed to the model, it can happen.
    logout = find_logout(on_the_tick(rule), world)
    theft = find_windows(on_the_tick(replace(rule, settle=2)), World(copies=1))
    assert (logout.trace != "") is ("honest" in fails)
    assert (theft.windows == math.inf) is ("theft" in fails)
    if logout.trace:
        show("An honest client is logged out:", logout.trace)
    if theft.windows == math.inf:
        show("Victim and thief are both served for ever:", theft.trace)


def test_a_counterexample_is_told_in_words() -> None:
    assert find_logout(on_the_tick(Rule(decide=strict)), World()).trace == (
        "  45 s a tab sends 1a\n"
        "  60 s the server takes 1a: rotated, answers 2a\n"
        "  60 s the answer is lost: 2a\n"
        "  60 s a tab sends 1a\n"
        "  60 s the server takes 1a: reused"
    )


def test_a_cycle_is_told_in_words() -> None:
    told = find_windows(on_the_tick(Rule(settle=2, one_successor=True)), World(copies=1)).trace
    begin, cycle = told.split("\n       and from here on for ever:\n")
    assert begin.count("THE THIEF COPIES") == 1
    assert "COPIES" not in cycle
    assert "rotated" in cycle
    assert cycle.count("--- both were served in this window ---") >= 1


# --- The model is what it says


def renamed(state: State) -> State:
    """Return the state as it is after five more generations, with other names."""

    def token(one: Token) -> Token:
        return Token(one.generation + 5, one.jti + 50, one.age)

    def row(one: Row) -> Row:
        return Row(one.generation + 5, None if one.parent is None else one.parent + 50, one.rotated)

    def flight(one: Flight) -> Flight:
        pending = one.pending
        if pending:
            source, target, parent = pending.swap
            parent = None if parent is None else str(int(parent) + 50)
            pending = pending._replace(swap=Swap(source + 5, target + 5, parent))
        return Flight(token(one.token), one.waited, pending, one.answer and token(one.answer))

    return state._replace(
        row=row(state.row),
        past=tuple(map(row, state.past)),
        store=token(state.store),
        disk=token(state.disk),
        flights=tuple(map(flight, state.flights)),
        copies=tuple(map(token, state.copies)),
    )


def test_names_and_generations_make_no_difference_to_what_can_happen() -> None:
    model = Model(RULE, World(tabs=2, lost_writes=1, copies=1))

    def future(state: State) -> set[tuple[object, ...]]:
        return {
            (move.what, move.served, move.ended, model.canonical(move.after)[0])
            for move in model.moves(state)
        }

    for state in Search(RULE, World(tabs=2, lost_writes=1)).states[::20]:
        stolen = state._replace(copies=(state.store,))
        assert model.canonical(renamed(stolen))[0] == model.canonical(stolen)[0]
        assert future(renamed(stolen)) == future(model.canonical(stolen)[0])


@accepts("RT-28")
def test_a_kept_answer_repeats_the_token_in_its_body_and_sets_no_cookie() -> None:
    """What the model takes for granted, and what `kept_sets_cookie` above is about."""
    with opened() as world:
        token = world.login()["refresh_token"]
        answer = world.refresh(token)
        assert (answer.status, answer.json["refresh_token"]) == (200, token)
    with opened(DOORS, refresh={"cookies": Cookies()}) as world:
        browser = Browser(world)
        browser.login()
        answer = browser.refresh()
        assert answer.status == 200
        assert answer.cookies == ()
