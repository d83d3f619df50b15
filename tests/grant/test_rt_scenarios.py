"""What logs honest people out elsewhere doesn't here, and thieves are found: the table in the docs.

Each scenario is played in five sites: both doors, before stores in memory, in a file, and awaited.
"""

import pytest

from jwt_middleware.values.events import Ahead, Refreshed, Restored, Reused
from tests.issuing import DAY, DURABLE, HOUR, Site, World, opened
from tests.rules import accepts, refuses

WINDOW = 61  # seconds: a little more than the settle window


class Client:
    """Who holds a refresh token: a browser's tab, an app, a thief."""

    def __init__(self, world: World, token: str, agent: str = "Browser/1") -> None:
        self.world = world
        self.token = token
        self.agent = agent
        self.access = ""

    def copy(self, agent: str = "Browser/1") -> "Client":
        return Client(self.world, self.token, agent)

    def asks(self) -> dict[str, str] | None:
        """Refresh; return what comes without keeping it."""
        answer = self.world.refresh(self.token, headers=[("User-Agent", self.agent)])
        return answer.json if answer.status == 200 else None

    def keeps(self, found: dict[str, str] | None) -> bool:
        if found is not None:
            # RFC 6749 s6: where no new refresh token comes, the old one stays.
            self.token = found.get("refresh_token", self.token)
            self.access = found["access_token"]
        return found is not None

    def refreshes(self) -> bool:
        return self.keeps(self.asks())

    def is_in(self) -> bool:
        return self.world.call(self.access).status == 200


@pytest.fixture
def client(world: World) -> Client:
    tokens = world.login(user_agent="Browser/1")
    world.clock.forward(HOUR)
    return Client(world, tokens.refresh_token)


def goes_on(client: Client) -> bool:
    """Say whether the session is as good as new."""
    for _ in range(3):
        client.world.clock.forward(HOUR)
        if not client.refreshes() or not client.is_in():
            return False
    return not [one for one in client.world.events if isinstance(one, Reused)]


# --- honest clients


@accepts("RT-12")
@pytest.mark.parametrize("later", [3, HOUR, 3 * DAY], ids=["3s", "1h", "3d"])
@pytest.mark.parametrize("agent", ["Browser/1", "Browser/2"], ids=["same", "updated"])
def test_a_lost_response(client: Client, later: float, agent: str) -> None:
    client.asks()  # and hears nothing
    client.world.clock.forward(later)
    client.agent = agent
    assert client.refreshes()
    assert goes_on(client)


@accepts("RT-11")
@pytest.mark.parametrize("last", [0, 1, 2])
def test_tabs_with_one_token_store_whose_answers_come_in_any_order(
    client: Client, last: int
) -> None:
    answers = [client.asks(), client.asks()]
    client.world.clock.forward(15)
    answers.append(client.asks())  # a third request was under way for long
    for found in (*(one for one in answers if one is not answers[last]), answers[last]):
        assert client.keeps(found)
    assert goes_on(client)


@accepts("RT-11")
def test_tabs_that_go_on_refreshing_in_step(client: Client) -> None:
    for _ in range(5):
        client.world.clock.forward(HOUR)
        tabs = [client.asks() for _ in range(3)]
        client.world.clock.forward(2)
        tabs.append(client.asks())
        assert all(client.keeps(found) for found in tabs)
    assert goes_on(client)


@accepts("RT-12")
@pytest.mark.parametrize("later", [0, WINDOW, 3 * DAY])
def test_a_client_that_used_the_new_tokens_and_died_before_saving_them(
    client: Client, later: float
) -> None:
    doomed = client.copy()
    assert doomed.refreshes()
    assert doomed.is_in()
    client.world.clock.forward(later)
    assert client.refreshes()
    assert goes_on(client)


@accepts("RT-12")
@pytest.mark.parametrize("lost", range(1, 9))
def test_a_failover_that_lost_writes(client: Client, lost: int) -> None:
    world = client.world
    (grant_id,) = (one.id for one in world.each(lambda site: site.ask("grants", "alice")))
    before = world.row(grant_id)
    for _ in range(lost):
        assert client.refreshes()
        world.clock.forward(WINDOW)
    world.each(lambda site: site.put_back(before))
    assert client.refreshes()
    restored = [one for one in world.events if isinstance(one, Restored)]
    assert [one.lost for one in restored] == [lost]
    assert goes_on(client)


@accepts("RT-12")
def test_a_failover_and_a_lost_response(client: Client) -> None:
    world = client.world
    (grant_id,) = (one.id for one in world.each(lambda site: site.ask("grants", "alice")))
    before = world.row(grant_id)
    assert client.refreshes()
    world.clock.forward(WINDOW)
    client.asks()  # lost on the way, and then by the store
    world.each(lambda site: site.put_back(before))
    assert client.refreshes()
    assert goes_on(client)


# --- thieves

PACES = {
    "in-step": (0, 0),
    "two-seconds-before": (0, 2),
    "two-seconds-after": (2, 0),
    "half-a-window-apart": (0, 30),
}


@refuses("RT-13")
@pytest.mark.parametrize("behind", [0, 1], ids=["newest", "one-behind"])
@pytest.mark.parametrize("agent", ["Browser/1", "curl/8"])
@pytest.mark.parametrize(("thief_at", "victim_at"), PACES.values(), ids=PACES)
def test_a_thief_is_found_within_five_windows_and_all_are_out(
    client: Client, thief_at: float, victim_at: float, agent: str, behind: int
) -> None:
    thief = client.copy(agent)
    if behind:
        client.refreshes()
    world, start = client.world, client.world.clock.now
    pace = sorted([(thief_at, thief), (victim_at, client)], key=lambda pair: pair[0])

    def both_served(window: int) -> bool:
        served = []
        for at, one in pace:
            world.clock.now = start + window * WINDOW + at
            served.append(one.refreshes())
        return all(served)

    assert not all(both_served(window) for window in range(1, 6))
    world.clock.forward(1)
    for one in (thief, client):
        assert not one.refreshes()
        assert not one.is_in()
    (reuse,) = [one for one in world.events if isinstance(one, Reused)]
    assert reuse.user_agent_changed in ((False,) if agent == client.agent else (False, True))


@refuses("RT-07")
def test_a_thief_who_stays_ahead_is_found_when_the_victim_comes_back(client: Client) -> None:
    thief = client.copy()
    for _ in range(4):
        assert thief.refreshes()
        client.world.clock.forward(WINDOW)
    assert not client.refreshes()
    assert not thief.refreshes()
    assert not thief.is_in()


@refuses("RT-13")
def test_two_clients_with_a_copy_each_are_as_two_holders(client: Client) -> None:
    other = client.copy("Phone/1")
    for _ in range(3):
        client.world.clock.forward(WINDOW)
        client.refreshes()
        other.refreshes()
    assert (client.refreshes(), other.refreshes()) == (False, False)
    assert [one for one in client.world.events if isinstance(one, Reused)]


# --- old backups, and ends that were lost


@refuses("RT-12")
def test_an_old_backup_is_no_theft_and_logs_in_nobody(client: Client) -> None:
    world = client.world
    (grant_id,) = (one.id for one in world.each(lambda site: site.ask("grants", "alice")))
    before = world.row(grant_id)
    for _ in range(9):
        assert client.refreshes()
        world.clock.forward(WINDOW)
    world.each(lambda site: site.put_back(before))
    assert not client.refreshes()
    assert world.row(grant_id) == before
    assert Ahead(grant_id=grant_id, gap=9) in world.events


@refuses("RT-14")
def test_an_end_that_a_failover_lost_is_repeated(client: Client) -> None:
    world = client.world
    (grant_id,) = (one.id for one in world.each(lambda site: site.ask("grants", "alice")))
    assert client.refreshes()
    before = world.row(grant_id)
    world.revoke(client.token)
    world.each(lambda site: site.put_back(before))
    assert world.is_alive(grant_id)
    assert not client.is_in()
    assert not client.refreshes()
    assert not world.is_alive(grant_id)


@accepts("RT-15")
def test_whichever_process_serves_it_a_refresh_is_the_same() -> None:
    with opened(DURABLE) as world:
        client = Client(world, world.login().refresh_token)
        for number in range(4):
            if number % 2:
                world.each(Site.restart)
            world.clock.forward(HOUR)
            client.asks()
            assert client.refreshes()
        hows = [one.how for one in world.events if isinstance(one, Refreshed)]
        assert hows == ["rotated", "repeated"] * 4
