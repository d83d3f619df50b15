"""The table of docs/rotation: honest clients stay logged in, and a thief's copy ends the grant.

Each story is played in all five sites at once. Then chance tells stories: tabs that send, answers
that are lost, late or out of order, crashes and failovers; and thieves at any pace.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jwt_middleware import Grant, Refresh, Settings
from jwt_middleware.values.events import Refreshed, Restored, Reused
from jwt_middleware.wsgi import JWTMiddleware
from tests.issuing import (
    AUDIENCE,
    DAY,
    HOUR,
    ISSUER,
    KEYS,
    MINUTE,
    Clock,
    Kind,
    Site,
    World,
    memory,
    opened,
    sqlite,
)
from tests.rules import accepts, refuses
from tests.world import Answer, Application, Sent, by_wsgi, encoded

SETTLE, LATE = 60, 15  # seconds
ONE_OF_EACH: tuple[Kind, ...] = (("wsgi", memory), ("asgi", sqlite))
AGENT = "Browser/1"


class Client:
    """A browser with one token store for all its tabs, an app, or a thief with a copy."""

    def __init__(self, world: World, token: str, agent: str | None = AGENT) -> None:
        self.world = world
        self.token = token
        self.agent = agent
        self.access = ""

    def copy(self, agent: str | None = AGENT) -> Client:
        return Client(self.world, self.token, agent)

    def asks(self) -> Answer:
        """Send what the store holds; the answer may be lost, or be saved later."""
        headers = [("User-Agent", self.agent)] if self.agent else []
        return replace(self.world.refresh(self.token, headers=headers), sent=self.token)

    def saves(self, answer: Answer) -> bool:
        """Keep what came. A token that equals the one sent is no news: its answer may be late."""
        if answer.status != 200:
            return False
        if answer.json["refresh_token"] != answer.sent:
            self.token = answer.json["refresh_token"]
        self.access = answer.json["access_token"]
        return True

    def refreshes(self) -> bool:
        return self.saves(self.asks())

    def is_in(self) -> bool:
        return self.world.call(self.access).status == 200


def logged_in(world: World) -> Client:
    tokens = world.login(user_agent=AGENT)
    client = Client(world, tokens.refresh_token)
    client.access = tokens.access_token
    world.clock.forward(HOUR)
    return client


def goes_on(client: Client) -> None:
    """Show that the session is as good as new."""
    for _ in range(3):
        client.world.clock.forward(HOUR)
        assert client.refreshes()
        assert client.is_in()


def row(world: World) -> Grant:
    (grant,) = world.each(lambda site: site.ask("grants", "alice"))
    found: Grant = grant
    return found


# --- honest clients

Story = Callable[[Client], None]


def response_lost(later: float, agent: str = AGENT) -> Story:
    def play(client: Client) -> None:
        client.asks()
        client.world.clock.forward(later)
        client.agent = agent
        assert client.refreshes()

    return play


def lost_again_and_again(client: Client) -> None:
    for _ in range(6):
        client.asks()
        client.world.clock.forward(DAY)
    assert client.refreshes()


def two_tabs(client: Client) -> None:
    first, second = client.asks(), client.asks()
    assert client.saves(first)
    assert client.saves(second)


def out_of_order(client: Client) -> None:
    first, second = client.asks(), client.asks()
    assert client.saves(second)
    client.world.clock.forward(LATE)
    assert client.saves(first)


def a_delayed_third(client: Client) -> None:
    late = client.copy()  # a request with the old token, on its way for long
    answers = [client.asks(), client.asks()]
    assert all(client.saves(one) for one in answers)
    client.world.clock.forward(LATE)
    assert client.saves(late.asks())


def tabs_in_step(client: Client) -> None:
    for _ in range(4):
        answers = [client.asks() for _ in range(3)]
        client.world.clock.forward(LATE)
        assert all(client.saves(one) for one in reversed(answers))
        client.world.clock.forward(HOUR)


def late_answers_about_young_tokens(client: Client) -> None:
    # Two siblings that tabs keep sending while answers about the other are on their way.
    answers = [client.asks(), client.asks()]
    for _ in range(8):
        sent = []
        for one in answers:
            assert client.saves(one)
            sent.append(client.asks())
        client.world.clock.forward(LATE - 1)
        answers = sent
    assert all(client.saves(one) for one in answers)


def died_before_saving(client: Client) -> None:
    doomed = client.copy()
    assert doomed.refreshes()
    assert doomed.is_in()
    client.world.clock.forward(3 * DAY)
    assert client.refreshes()


def two_died_before_saving(client: Client) -> None:
    for _ in range(2):
        doomed = client.copy()
        assert doomed.refreshes()
        assert doomed.refreshes(), "young: kept"
        client.world.clock.forward(DAY)
    assert client.refreshes()


def never_adopts(client: Client) -> None:
    # Google's library for Node keeps the first token that it was given.
    first = client.token
    for _ in range(27):
        client.world.clock.forward(DAY)
        assert client.saves(client.asks())
        assert client.is_in()
        client.token = first


def failover(writes: int) -> Story:
    def play(client: Client) -> None:
        before = row(client.world)
        for _ in range(writes):
            assert client.refreshes()
            client.world.clock.forward(2 * MINUTE)
        client.world.each(lambda site: site.put_back(before))
        assert client.refreshes()
        assert client.is_in()
        (restored,) = [one for one in client.world.events if isinstance(one, Restored)]
        assert restored.lost == writes

    return play


def failover_and_two_tabs(client: Client) -> None:
    before = row(client.world)
    answers = [client.asks(), client.asks()]
    client.world.each(lambda site: site.put_back(before))
    answers.append(client.asks())
    assert all(client.saves(one) for one in answers)


STORIES: dict[str, Story] = {
    "a response is lost, retry after 3 s": response_lost(3),
    "a response is lost, retry after 1 h": response_lost(HOUR),
    "a response is lost, retry after 3 days": response_lost(3 * DAY),
    "responses are lost for six days": lost_again_and_again,
    "the browser is updated between loss and retry": response_lost(HOUR, "Browser/2"),
    "two tabs at once": two_tabs,
    "answers out of order": out_of_order,
    "a delayed third": a_delayed_third,
    "three tabs in step": tabs_in_step,
    "late answers about young tokens": late_answers_about_young_tokens,
    "the client died before saving": died_before_saving,
    "two clients died before saving": two_died_before_saving,
    "a client that never adopts a new token, daily for a month": never_adopts,
    "a failover lost the last write": failover(1),
    "a failover lost the last two": failover(2),
    "a failover lost eight": failover(8),
    "a failover between two tabs": failover_and_two_tabs,
}


@accepts("RT-11", "RT-12")
@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_an_honest_client_stays_logged_in(story: Story) -> None:
    with opened() as world:
        client = logged_in(world)
        story(client)
        goes_on(client)
        assert not [one for one in world.events if isinstance(one, Reused)]


class Flight:
    """A request on its way to the server, or its answer on the way back."""

    def __init__(self, client: Client) -> None:
        self.sender = client.copy()
        self.since = client.world.clock.now
        self.answer: Answer | None = None

    def handled(self) -> Answer:
        if self.answer is None:
            self.answer = self.sender.asks()
            assert self.answer.status == 200, self.answer.reason
        return self.answer


class Tabs:
    """Some tabs of one browser, led by chance."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.flights: list[Flight] = []
        self.losses = 2
        self.past = [row(client.world)]

    def _one(self, which: float) -> list[Flight]:
        at = int(which * len(self.flights))
        return self.flights[at : at + 1]

    def _note(self) -> None:
        now = row(self.client.world)
        if now.generation != self.past[-1].generation:
            self.past.append(now)

    def send(self, _: float) -> None:
        if len(self.flights) < 3:
            self.flights.append(Flight(self.client))

    def handle(self, which: float) -> None:
        for flight in self._one(which):
            flight.handled()
            self._note()

    def arrive(self, which: float) -> None:
        for flight in self._one(which):
            assert self.client.saves(flight.handled())
            self._note()
            self.flights.remove(flight)

    def lose(self, which: float) -> None:
        for flight in self._one(which):
            self.flights.remove(flight)

    def wait(self, share: float) -> None:
        """Let up to two minutes pass; what is late by then has never come."""
        clock = self.client.world.clock
        clock.forward(share * 2 * MINUTE)
        self.flights = [one for one in self.flights if clock.now - one.since < LATE]

    def wait_long(self, share: float) -> None:
        self.client.world.clock.forward(share * 3 * DAY)
        self.flights = []

    def fail_over(self, share: float) -> None:
        lost = min(1 + int(share * 2), self.losses, len(self.past) - 1)
        if lost > 0:
            self.losses -= lost
            del self.past[-lost:]
            self.client.world.each(lambda site: site.put_back(self.past[-1]))


STEPS = st.sampled_from(
    [Tabs.send, Tabs.handle, Tabs.arrive, Tabs.wait] * 3
    + [Tabs.lose, Tabs.wait_long, Tabs.fail_over]
)
SHARES = st.floats(0, 1, exclude_max=True)
HALF = settings(max_examples=settings().max_examples // 2)


@accepts("RT-11", "RT-12")
@HALF
@given(st.lists(st.tuples(STEPS, SHARES), max_size=25))
def test_no_chance_logs_an_honest_client_out(steps: list[tuple[Any, float]]) -> None:
    # Ends by time are by design, and another story.
    with opened(
        ONE_OF_EACH, refresh={"idle_limit": 400 * DAY, "absolute_limit": 400 * DAY}
    ) as world:
        tabs = Tabs(logged_in(world))
        for step, share in steps:
            step(tabs, share)
        goes_on(tabs.client)


# --- thieves


class Theft:
    """Victim and thief, each of whom refreshes now and then; counts the windows of both.

    A window ends as soon as `settle` has passed and both have been served in it.
    """

    def __init__(self, victim: Client, thief: Client) -> None:
        self.victim, self.thief = victim, thief
        self.world = victim.world
        self.windows = 0
        self.is_found = False
        self._begin, self._served = self.world.clock.now, set[int]()

    def refresh(self, who: Client) -> None:
        if self.is_found:
            return
        if not who.refreshes():
            self.is_found = True
            return
        self._served.add(id(who))
        if self.world.clock.now - self._begin >= SETTLE and len(self._served) == 2:
            self.windows += 1
            self._begin, self._served = self.world.clock.now, set()

    def all_are_out(self) -> None:
        """Show that nobody is in any more, by any token."""
        for one in (self.victim, self.thief):
            assert not one.refreshes()
            assert not one.access or not one.is_in()
        assert len([one for one in self.world.events if isinstance(one, Reused)]) == 1


PACES = {
    "in step": (0, 0),
    "the thief 2 s before": (0, 2),
    "the thief 2 s after": (2, 0),
    "half a window apart": (0, SETTLE / 2),
}
EVERY = {"window": SETTLE + 1, "ten minutes": 10 * MINUTE, "day": DAY}


@refuses("RT-13")
@pytest.mark.parametrize("every", EVERY.values(), ids=[f"every {one}" for one in EVERY])
@pytest.mark.parametrize(("thief_at", "victim_at"), PACES.values(), ids=PACES)
@pytest.mark.parametrize("start", ["the newest", "one behind", "one ahead"])
def test_a_thief_is_found_within_five_windows(
    start: str, thief_at: float, victim_at: float, every: float
) -> None:
    with opened(ONE_OF_EACH) as world:
        is_found_within_five_windows(world, start, thief_at, victim_at, every)


def is_found_within_five_windows(
    world: World, start: str, thief_at: float, victim_at: float, every: float
) -> None:
    victim = logged_in(world)
    thief = victim.copy("curl/8" if every == DAY else AGENT)
    if start == "one behind":
        assert victim.refreshes()
    elif start == "one ahead":
        assert thief.refreshes()
    theft = Theft(victim, thief)
    begin = world.clock.now
    turns = sorted([(thief_at, thief), (victim_at, victim)], key=lambda turn: turn[0])
    for window in range(1, 7):
        for at, who in turns:
            world.clock.now = begin + window * every + at
            theft.refresh(who)
    assert theft.is_found
    assert theft.windows <= 5
    theft.all_are_out()


@refuses("RT-13")
@HALF
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2 * SETTLE)), min_size=40, max_size=40))
def test_a_thief_of_any_pace_is_found_within_five_windows(turns: list[tuple[bool, int]]) -> None:
    with opened((("wsgi", memory),)) as world:
        victim = logged_in(world)
        theft = Theft(victim, victim.copy())
        for is_thief, pause in turns:
            world.clock.forward(pause)
            theft.refresh(theft.thief if is_thief else victim)
        assert theft.windows <= 5
        # However it went so far: with both at work it comes out.
        for _ in range(12):
            world.clock.forward(SETTLE + 1)
            theft.refresh(theft.thief)
            theft.refresh(victim)
        assert theft.is_found
        theft.all_are_out()


@refuses("RT-13")
def test_two_clients_with_a_copy_each_are_as_theft() -> None:
    with opened() as world:
        two_copies_are_as_theft(world)


def two_copies_are_as_theft(world: World) -> None:
    laptop = logged_in(world)
    phone = laptop.copy("Phone/1")
    theft = Theft(laptop, phone)
    for _ in range(3):
        world.clock.forward(HOUR)
        theft.refresh(laptop)
        theft.refresh(phone)
    assert theft.is_found
    theft.all_are_out()


@accepts("RT-13")
def test_a_thief_whose_victim_never_comes_back_has_until_the_absolute_end() -> None:
    # What rotation can't find; docs say so.
    with opened(ONE_OF_EACH) as world:
        victim = logged_in(world)
        thief, end = victim.copy(), row(world).expires_at
        while world.clock.now + DAY < end:
            world.clock.forward(DAY)
            assert thief.refreshes()
        world.clock.now = end
        assert not thief.refreshes()
        world.clock.forward(31)
        assert not thief.is_in()


# --- other services


def service(clock: Clock, store: str | None) -> Callable[[str], int]:
    """Return a service of its own process, with the store or without; it answers with a status."""
    group = None if store is None else Refresh(store=store)
    keys = KEYS if group else type(KEYS).from_jwks(KEYS.public_jwks())
    settings_ = Settings(issuer=ISSUER, audience=AUDIENCE, keys=keys, clock=clock, refresh=group)
    app = JWTMiddleware(Application().wsgi, settings_)
    return lambda token: by_wsgi(app, Sent("GET", "/", encoded((), token)))[0]


@refuses("RT-07", "RT-25")
def test_a_theft_that_was_found_is_over_in_every_service() -> None:
    with opened((("wsgi", sqlite),)) as world:
        (site,) = world.sites
        sharing = service(world.clock, f"sqlite:///{site.folder}/grants.db?synchronous=NORMAL")
        verifying = service(world.clock, None)
        victim = logged_in(world)
        thief = victim.copy()
        assert thief.refreshes()
        assert (sharing(thief.access), verifying(thief.access)) == (200, 200)
        world.clock.forward(SETTLE + 1)
        assert thief.refreshes()
        found = world.clock.now
        assert not victim.refreshes(), "found"
        assert not thief.is_in()
        world.clock.now = found + 2.001
        assert sharing(thief.access) == 401
        # A service without the store relies on `exp` alone.
        world.clock.now = found + 9 * MINUTE
        assert verifying(thief.access) == 200
        world.clock.now = found + 10 * MINUTE + 30
        assert verifying(thief.access) == 401


def test_what_became_of_each_refresh_is_told() -> None:
    with opened(ONE_OF_EACH) as world:
        client = logged_in(world)
        lost = client.copy()
        lost.asks()
        assert client.refreshes()
        assert client.refreshes()
        hows = [one.how for one in world.events if isinstance(one, Refreshed)]
        assert hows == ["rotated", "repeated", "kept"]


def test_restarts_make_no_difference() -> None:
    with opened((("wsgi", sqlite), ("asgi", sqlite))) as world:
        client = logged_in(world)
        thief = client.copy()
        for _ in range(3):
            client.asks()
            world.each(Site.restart)
            assert client.refreshes()
            world.clock.forward(HOUR)
        world.each(Site.restart)
        assert not thief.refreshes()
        assert not client.refreshes()
