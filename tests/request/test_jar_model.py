"""The rules of the cookie jar hold in every run of a small world; simpler ones don't.

What the world is, and why it is enough, stands in jar_model.py. `pytest -s` shows the
counterexamples to the rules that are broken on purpose.
"""

import sys
from random import Random

import pytest

from jwt_middleware import Cookies, Route
from jwt_middleware.grant import endpoints
from tests.browser import Browser
from tests.issuing import DOORS, HOUR, REFRESH, REVOKE, opened
from tests.issuing import World as Doors
from tests.jar_model import (
    FOUR,
    NEW,
    USERS,
    Cookie,
    Flight,
    Jar,
    Kind,
    Life,
    Model,
    Phase,
    Rules,
    World,
    cleared,
    newest_first,
    search,
)
from tests.rules import accepts
from tests.world import Answer

RULES = Rules()
OURS = (True,)  # our client names the login that it logs out of
PLAIN = (False,)  # a plain page can't


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
    "plain pages, three logins": World(logins=3, names=PLAIN, clocks_differ=True),
    "our client, four logins": World(logins=4, requests=2, names=OURS, clocks_differ=True),
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
    assert search(two, World(logins=3, requests=2, names=OURS)).broken == 0
    assert FOUR == endpoints.MOST_COOKIES == 4


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


# --- The doors do what the model says


class Walk:
    """One run of the model at random, and the same requests through the doors."""

    def __init__(self, doors: Doors, seed: int) -> None:
        self.doors, self.random = doors, Random(seed)
        self.model = Model(RULES, World(logins=4, logins_at_once=True, repeats=True))
        self.state = self.model.start()
        self.browser = Browser(doors)
        self.grants: list[str] = []  # of the logins, as the model counts them
        self.sent: list[Browser | Answer] = []  # beside the model's flights: what is on its way
        self.steps = 0

    def step(self) -> bool:
        """Do one thing more; False: a token was reused, which this model knows nothing of."""
        self.steps += 1
        self.doors.clock.forward(self.random.choice((1, HOUR)))
        asks = list(self.model.ask(self.state))
        at = self.random.randrange(len(self.sent) + 1)
        if at == len(self.sent):
            if asks and len(self.sent) < self.model.world.requests:
                self.state = self.random.choice(asks).after
                sender = Browser(self.doors)
                sender.cookies = dict(self.browser.cookies)  # as they are now
                self.sent.append(sender)
            return True
        flight = self.state.flights[at]
        rest = self.state.flights[:at] + self.state.flights[at + 1 :]
        moving = self.sent.pop(at)
        if isinstance(moving, Browser):
            answer = self._send(moving, flight)
            if answer.reason == "refresh_token_reused":
                return False
            self._handle(rest, flight, answer)
        elif self.random.random() < 0.8:
            self.state = self.model.arrive(self.state._replace(flights=rest), flight).after
            self.browser.take(moving.cookies)
        else:
            self.state = self.state._replace(flights=rest)
        return True

    def _send(self, sender: Browser, flight: Flight) -> Answer:
        if flight.kind is Kind.LOGIN:
            return sender.asks_to_log_in(USERS[len(self.grants)])
        if flight.kind is Kind.REFRESH:
            return sender.asks("POST", REFRESH)
        named = "" if flight.login is None else f"sid={self.grants[flight.login]}"
        return sender.asks("POST", REVOKE, form=named)

    def _handle(self, rest: tuple[Flight, ...], flight: Flight, answer: Answer) -> None:
        if flight.kind is Kind.LOGIN:
            self.grants.append(answer.json["sid"])
        (move,) = self.model.handle(self.state, rest, flight)
        after = move.after
        if flight.kind is Kind.REFRESH:
            taken = after.flights[-1] if len(after.flights) > len(rest) else None
            login = taken.login if taken and taken.phase is Phase.TAKEN else None
            assert answer.json.get("sid") == (None if login is None else self.grants[login])
            if taken and login is not None:
                new, kept = self.model.serve(after, rest, taken)
                is_set = any("Max-Age=0" not in field for field in answer.cookies)
                after = (new if is_set else kept).after
        # The model's times are steps; what was just minted is of this one.
        flights = tuple(
            one._replace(sets=Cookie(one.sets.login, self.steps))
            if one.sets and one.sets.minted == NEW
            else one
            for one in after.flights
        )
        self.state = after._replace(flights=flights)
        if len(flights) > len(rest):
            self.sent.append(answer)

    def check(self) -> None:
        """Compare what lives, and whose cookies of those the jar has."""
        alive = [self.doors.is_alive(grant) for grant in self.grants]
        assert alive == [life is Life.LIVES for life in self.state.lives[: len(alive)]]
        held = {name[-8:] for name in self.browser.cookies}
        found = [login for login, grant in enumerate(self.grants) if grant[-8:] in held]
        living = [login for login in found if alive[login]]
        assert living == sorted({one.login for one in self.state.jar if alive[one.login]})


@accepts("RT-26")
@pytest.mark.parametrize("seed", range(20))
def test_the_doors_do_what_the_model_says(seed: int) -> None:
    routes = (Route("/login", public=True, own_origin=True),)
    with opened(DOORS, refresh={"cookies": Cookies()}, routes=routes) as doors:
        walk = Walk(doors, seed)
        while walk.steps < 60 and walk.step():
            walk.check()
        assert len(walk.grants) > 1
