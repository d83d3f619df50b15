"""The rules of the cookie jar keep their promises in every run of a small world; simpler ones don't.

What the world is, and why it is enough, stands in jar_model.py. `pytest -s` shows the
counterexamples to the rules that are broken on purpose.
"""

import sys
from random import Random

import pytest

from jwt_middleware import Cookies, Route, Settings
from jwt_middleware.grant import endpoints
from jwt_middleware.values.events import Reused
from tests.browser import Browser
from tests.issuing import DOORS, HOUR, REFRESH, REVOKE, opened
from tests.jar_model import (
    FOUR,
    USERS,
    Cookie,
    Flight,
    Jar,
    Kind,
    Life,
    Model,
    Phase,
    Rules,
    State,
    World,
    cleared,
    newest_first,
    search,
)
from tests.rules import accepts, refuses
from tests.world import Answer

RULES = Rules()
OURS, PLAIN = (True,), (False,)  # our client names the login that it logs out of; a plain page can't


def show(*lines: str) -> None:
    sys.stdout.write("\n".join(("", *lines, "")))


# --- Whatever comes late, the browser is who logged in last

WORLDS = {
    "our client": World(names=OURS, clocks_differ=True),
    "plain pages": World(names=PLAIN, clocks_differ=True),
    "both, three logins": World(logins=3, requests=2, clocks_differ=True),
    "both, by one clock": World(requests=2),
}
MORE_WORLDS = {
    "both": World(clocks_differ=True),
    "both, three requests by one clock": World(),
    "both, four logins": World(logins=4, requests=2, clocks_differ=True),
    "plain pages, three logins": World(logins=3, names=PLAIN, clocks_differ=True),
}


def check(world: World) -> None:
    found = search(RULES, world)
    show(f"{world}: nothing in {found.states} states", found.trace)
    assert found.broken == 0


@accepts("RT-26")
@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_a_late_answer_changes_nothing_about_a_newer_login_or_log_out(world: World) -> None:
    check(world)


@pytest.mark.long
@pytest.mark.parametrize("world", MORE_WORLDS.values(), ids=MORE_WORLDS)
def test_a_late_answer_changes_nothing_in_a_larger_world(world: World) -> None:
    check(world)


def test_two_are_tried_at_most_before_one_that_lives() -> None:
    """What is ended and newer than what lives was served while the new login was handled: one."""
    two = Rules(tried=lambda brought: newest_first(brought)[:2])
    assert search(two, World(requests=2)).broken == 0
    assert search(two, World(logins=3, requests=2)).broken == 0
    assert FOUR == endpoints.MOST == 4


# --- What remains


def test_a_log_out_that_names_nothing_and_is_repeated_after_a_new_login_ends_that() -> None:
    found = search(RULES, World(requests=2, names=PLAIN, repeats=True))
    assert found.broken == 1
    assert found.trace == (
        "a page asks for a login, and brings no cookie\n"
        "the server logs alice in\n"
        "the answer comes to a page that logs in: the jar has alice's cookie\n"
        "a page asks for a login, and brings alice's cookie\n"
        "a page logs out, and brings alice's cookie\n"
        "the server logs bob in\n"
        "the answer comes to a page that logs in: the jar has bob's cookie\n"
        "a page REPEATS its log-out, and brings bob's cookie\n"
        "the server handles a log-out, and ends bob\n"
        "THE NEXT REFRESH IS SERVED AS nobody, and not as bob"
    )
    show(found.trace)


@pytest.mark.parametrize(
    ("names", "broken", "how"),
    [
        (OURS, 2, "THE NEXT REFRESH IS SERVED AS alice, after the log-out"),
        (PLAIN, 1, "THE NEXT REFRESH IS SERVED AS alice, and not as bob"),
    ],
)
def test_two_logins_at_once_both_live(names: tuple[bool, ...], broken: int, how: str) -> None:
    """Neither has brought the other's cookie; then it matters which is newer, and what is named."""
    found = search(RULES, World(requests=2, names=names, logins_at_once=True))
    assert (found.broken, found.trace.splitlines()[-1]) == (broken, how)
    show(found.trace)


def latest_login(brought: Jar) -> Jar:
    """Order by when the logins began, and not by when their tokens were minted."""
    return tuple(sorted(brought, reverse=True))[:FOUR]


def test_two_logins_at_once_do_no_harm_to_plain_pages_where_the_later_login_is_taken() -> None:
    world = World(requests=2, names=PLAIN, logins_at_once=True)
    assert search(Rules(tried=latest_login), world).broken == 0


# --- The rules can't be simpler: what is broken on purpose is found


def one_name(login: int) -> int:
    return 0


def cleared_by_login(kind: Kind, brought: Jar, ended: set[int]) -> set[int]:
    came = {cookie.login for cookie in brought}
    return came if kind is Kind.LOGIN else cleared(kind, brought, ended)


def cleared_by_logout(kind: Kind, brought: Jar, ended: set[int]) -> set[int]:
    came = {cookie.login for cookie in brought}
    return came if kind is Kind.LOGOUT else cleared(kind, brought, ended)


def ends_none(brought: Jar) -> set[int]:
    return set()


def ends_all(brought: Jar, named: int | None) -> set[int]:
    return {cookie.login for cookie in brought}


SMALL = World(requests=2)
BROKEN = {
    "one name for all": (Rules(name=one_name), 1),
    "one name, and an old cookie is served as the login that replaced it": (
        Rules(name=one_name, follows=True),
        3,
    ),
    "a login only clears": (Rules(ended_by_login=ends_none, cleared=cleared_by_login), 1),
    "a login does nothing to others": (Rules(ended_by_login=ends_none), 2),
    "the newest decides, though ended": (
        Rules(tried=lambda brought: newest_first(brought)[:1]),
        1,
    ),
    "an answer clears what lives": (Rules(cleared=cleared_by_logout), 1),
    "a refused refresh clears all": (Rules(refusal_clears_jar=True), 1),
    "a log-out ends what it doesn't name": (Rules(ended_by_logout=ends_all), 1),
}


@pytest.mark.parametrize(("rules", "broken"), BROKEN.values(), ids=BROKEN)
def test_a_rule_that_is_broken_on_purpose_is_found(rules: Rules, broken: int) -> None:
    found = search(rules, SMALL)
    assert found.broken == broken
    show(found.trace)


def test_the_newest_could_decide_if_every_end_were_known_at_once() -> None:
    """It can't be: between the last look at the store and the answer there is always some time."""
    newest = Rules(tried=lambda brought: newest_first(brought)[:1])
    assert search(newest, World(requests=2, lag=False)).broken == 0


def test_a_counterexample_is_told_in_words() -> None:
    assert search(Rules(name=one_name), SMALL).trace == (
        "a page asks for a login, and brings no cookie\n"
        "the server logs alice in\n"
        "the answer comes to a page that logs in: the jar has alice's cookie\n"
        "a page asks for a login, and brings alice's cookie\n"
        "a page refreshes, and brings alice's cookie\n"
        "the server logs bob in\n"
        "the answer comes to a page that logs in: the jar has bob's cookie\n"
        "the server refuses the refresh that brought alice's cookie\n"
        "the answer comes to a page that refreshes: the jar has no cookie\n"
        "THE NEXT REFRESH IS SERVED AS nobody, and not as bob"
    )
