"""The table of docs/refresh.md once more, on PostgreSQL, Redis and Valkey, alone and in company."""

from __future__ import annotations

from collections.abc import Callable, Generator

import pytest

from jwt_middleware import Cookies
from tests.browser import Browser
from tests.engines import redis, sites
from tests.grant.test_own_limits import logins_with_limits_of_their_own
from tests.grant.test_scenarios import (
    EVERY,
    PACES,
    STORIES,
    Story,
    goes_on,
    is_found_within_five_windows,
    logged_in,
    two_copies_are_as_theft,
)
from tests.issuing import HOUR, Kind, opened
from tests.request.test_jar import ROUTES
from tests.request.test_jar import STORIES as LATE
from tests.rules import accepts, refuses

park = redis.park

ENGINES = {
    "postgresql": None,
    "redis": ("single", "redis"),
    "valkey": ("single", "valkey"),
    "cluster": ("cluster", "valkey"),
    "sentinel": ("sentinel", "redis"),
}
each_engine = pytest.mark.parametrize(
    "kinds",
    [pytest.param(one, marks=pytest.mark.xdist_group(f"sites {one}")) for one in ENGINES],
    indirect=True,
)


@pytest.fixture
def kinds(request: pytest.FixtureRequest) -> Generator[tuple[Kind, ...], None, None]:
    where = ENGINES[request.param]
    if where is None:
        with sites.on_postgres(request.getfixturevalue("postgres_url")) as found:
            yield found
        return
    with sites.on_redis(request.getfixturevalue("park")(*where).url) as found:
        yield found


@accepts("RT-11", "RT-12")
@each_engine
@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_an_honest_client_stays_logged_in(story: Story, kinds: tuple[Kind, ...]) -> None:
    with opened(kinds) as world:
        client = logged_in(world)
        story(client)
        goes_on(client)


@accepts("RT-26")
@each_engine
@pytest.mark.parametrize("story", LATE.values(), ids=LATE)
def test_what_comes_late_leaves_the_new_login(
    story: Callable[[Browser], None], kinds: tuple[Kind, ...]
) -> None:
    with opened(kinds, refresh={"cookies": Cookies(access=True)}, routes=ROUTES) as world:
        browser = Browser(world)
        browser.logs_in("alice")
        world.clock.forward(HOUR)
        story(browser)


@refuses("RT-13")
@each_engine
@pytest.mark.parametrize("every", EVERY.values(), ids=[f"every {one}" for one in EVERY])
@pytest.mark.parametrize(("thief_at", "victim_at"), PACES.values(), ids=PACES)
@pytest.mark.parametrize("start", ["the newest", "one behind", "one ahead"])
def test_a_thief_is_found_within_five_windows(
    start: str, thief_at: float, victim_at: float, every: float, kinds: tuple[Kind, ...]
) -> None:
    with opened(kinds) as world:
        is_found_within_five_windows(world, start, thief_at, victim_at, every)


@accepts("RT-09", "RT-10")
@refuses("RT-09", "RT-10")
@each_engine
def test_a_login_with_limits_of_its_own_ends_by_them(kinds: tuple[Kind, ...]) -> None:
    with opened(kinds) as world:
        logins_with_limits_of_their_own(world)


@refuses("RT-13")
@each_engine
def test_two_clients_with_a_copy_each_are_as_theft(kinds: tuple[Kind, ...]) -> None:
    with opened(kinds) as world:
        two_copies_are_as_theft(world)


@refuses("RT-07", "RT-25")
@accepts("RT-25")
@each_engine
def test_a_log_out_ends_both_tokens(kinds: tuple[Kind, ...]) -> None:
    with opened(kinds) as world:
        client = logged_in(world)
        assert client.refreshes()
        assert client.is_in()
        assert world.revoke(client.token).status == 200
        assert not client.is_in()
        assert not client.refreshes()
