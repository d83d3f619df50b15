"""RT-06 to RT-13 and RT-15: rotation as clients and thieves meet it, through the doors."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from jwt_middleware.grant.rotation_rule import GATE
from jwt_middleware.values.events import Refreshed, Reused
from tests.grant.test_rt_exchange import claims_of
from tests.issuing import (
    DAY,
    DURABLE,
    FAULTY,
    HOUR,
    MINUTE,
    REFRESH,
    SITES,
    Kind,
    Site,
    World,
    form_octets,
    memory,
    opened,
    posted,
    refresh_form,
    single,
)
from tests.rules import accepts, refuses
from tests.world import Answer


def how(answer: Answer) -> str:
    """Return what became of a refresh, by its event."""
    refreshed = [event for event in answer.events if isinstance(event, Refreshed)]
    return refreshed[0].how if refreshed else answer.reason or ""


def rotated(world: World, token: str) -> str:
    """Return the refresh token that this one is exchanged for, an hour later."""
    world.clock.forward(HOUR)
    answer = world.refresh(token)
    assert how(answer) == "rotated"
    found: str = answer.json["refresh_token"]
    return found


@accepts("RT-06")
def test_a_refresh_token_that_is_used_is_replaced(world: World) -> None:
    tokens = world.login()
    seen = [tokens.refresh_token]
    for generation in range(2, 6):
        seen.append(rotated(world, seen[-1]))
        assert world.row(tokens.grant_id).generation == generation
    assert len(set(seen)) == 5


@accepts("RT-06")
def test_a_token_younger_than_a_minute_is_kept(world: World) -> None:
    tokens = world.login()
    world.clock.forward(MINUTE - 1)
    answer = world.refresh(tokens.refresh_token)
    assert how(answer) == "kept"
    # The same, or none, which means the same (RFC 6749 s6).
    assert answer.json.get("refresh_token", tokens.refresh_token) == tokens.refresh_token
    assert answer.json["access_token"] != tokens.access_token
    world.clock.forward(1)
    assert how(world.refresh(tokens.refresh_token)) == "rotated"


@refuses("RT-06")
def test_a_token_whose_successor_was_used_is_never_served_again(world: World) -> None:
    first = world.login().refresh_token
    rotated(world, rotated(world, first))
    assert world.refresh(first).reason == "refresh_token_reused"


@accepts("RT-07")
def test_who_only_uses_the_newest_goes_on(world: World) -> None:
    tokens = world.login()
    token = tokens.refresh_token
    for _ in range(20):
        token = rotated(world, token)
    assert world.is_alive(tokens.grant_id)


@refuses("RT-07")
def test_reuse_ends_the_whole_grant(world: World) -> None:
    tokens = world.login()
    second = rotated(world, tokens.refresh_token)
    third = rotated(world, second)
    access = world.renewed(third)["access_token"]
    other = world.login()
    assert world.call(access).status == 200
    answer = world.refresh(tokens.refresh_token)
    assert (answer.status, answer.json["error"]) == (400, "invalid_grant")
    assert answer.events[0] == Reused(
        grant_id=tokens.grant_id, gap=2, seconds=0, user_agent_changed=None
    )
    for token in (tokens.refresh_token, second, third):
        assert world.refresh(token).reason == "grant_ended"
    assert world.call(access).reason == "grant_ended"
    assert world.row(tokens.grant_id).end_reason == "reused"
    # Another login of the same user has nothing to do with it.
    assert world.call(other.access_token).status == 200


@accepts("RT-08", "RT-09")
def test_a_grant_that_is_used_lives_until_its_absolute_end(world: World) -> None:
    tokens = world.login()
    token, end = tokens.refresh_token, world.clock.now + 30 * DAY
    while world.clock.now + 6 * DAY < end:
        world.clock.forward(6 * DAY - HOUR)
        token = rotated(world, token)
        assert claims_of(token)["exp"] == claims_of(tokens.refresh_token)["exp"] == end
    world.clock.now = end - 1
    found = world.renewed(token)
    # RFC 9700 s4.14.2: nothing of a grant is good for longer than the grant.
    assert claims_of(found["access_token"])["exp"] <= end
    assert claims_of(found["refresh_token"])["exp"] == end


@refuses("RT-08")
def test_a_token_used_four_weeks_ago_still_gives_the_thief_away(world: World) -> None:
    tokens = world.login()
    token = tokens.refresh_token
    for _ in range(5):
        world.clock.forward(5 * DAY)
        token = rotated(world, token)
    assert world.refresh(tokens.refresh_token).reason == "refresh_token_reused"
    assert world.refresh(token).reason == "grant_ended"


@refuses("RT-09")
def test_no_rotation_moves_the_absolute_end(world: World) -> None:
    tokens = world.login()
    token, end = tokens.refresh_token, world.clock.now + 30 * DAY
    for _ in range(5):
        world.clock.forward(6 * DAY - 2 * HOUR)
        token = rotated(world, token)
    world.clock.now = end - MINUTE
    access = world.renewed(token)["access_token"]
    world.clock.now = end
    assert world.refresh(token).reason == "expired"
    world.clock.forward(30)  # the leeway
    assert world.call(access).reason == "expired"


@accepts("RT-10")
def test_a_grant_is_idle_for_seven_days_at_most(world: World) -> None:
    token = world.login().refresh_token
    for _ in range(3):
        world.clock.forward(7 * DAY)
        answer = world.refresh(token)
        assert how(answer) == "rotated"
        token = answer.json["refresh_token"]


@refuses("RT-10")
def test_an_idle_grant_is_gone(world: World) -> None:
    tokens = world.login()
    world.clock.forward(7 * DAY + GATE + 1)
    assert world.refresh(tokens.refresh_token).reason == "grant_ended"
    # That alone is no theft.
    assert world.is_alive(tokens.grant_id)
    assert not [event for event in world.events if isinstance(event, Reused)]


@refuses("RT-10")
def test_a_change_of_password_ends_all_of_a_users_grants(world: World) -> None:
    mine = [world.login() for _ in range(3)]
    other = world.login("bob")
    ended = world.revoke_all("alice")
    assert set(ended) == {tokens.grant_id for tokens in mine}
    for tokens in mine:
        assert world.refresh(tokens.refresh_token).reason == "grant_ended"
        assert world.call(tokens.access_token).reason == "grant_ended"
    assert world.call(other.access_token).status == 200
    assert world.revoke_all("alice") == ()


# --- RT-11: at the same time


def together(site: Site, tokens: list[str]) -> list[tuple[int, str]]:
    """Present the tokens at once; return what each was answered: a status, and another token."""
    requests = [posted(REFRESH, form_octets(refresh_form(token))) for token in tokens]
    found = [(status, json.loads(body)) for status, _, body in site.at_once(requests)]
    return [(status, members.get("refresh_token", "")) for status, members in found]


@pytest.fixture(params=SITES, ids=lambda kind: f"{kind[0]}-{kind[1].__name__}")
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    kind: Kind = request.param
    with single(kind) as one:
        yield one


@accepts("RT-11")
def test_all_who_present_one_token_at_once_are_served(site: Site) -> None:
    tokens = site.ask("issue", "alice")
    site.clock.forward(HOUR)
    answers = together(site, [tokens.refresh_token] * 12)
    assert {status for status, _ in answers} == {200}
    assert len({token for _, token in answers}) == 12
    assert {claims_of(token)["gen"] for _, token in answers} == {2}
    hows = sorted(event.how for event in site.events if isinstance(event, Refreshed))
    assert hows == ["repeated"] * 11 + ["rotated"]
    assert site.row(tokens.grant_id).generation == 2


@refuses("RT-11")
def test_only_one_of_them_leads_on(site: Site) -> None:
    tokens = site.ask("issue", "alice")
    site.clock.forward(HOUR)
    siblings = [token for _, token in together(site, [tokens.refresh_token] * 6)]
    site.clock.forward(HOUR)
    # Each is a line of its own now, and two of them are two holders.
    answers = together(site, siblings)
    assert [status for status, _ in answers].count(200) <= 1
    assert site.row(tokens.grant_id).end_reason == "reused"
    for _, token in answers:
        if token:
            assert together(site, [token]) == [(400, "")]


@accepts("RT-11")
def test_one_token_store_with_many_tabs_goes_on(site: Site) -> None:
    token = site.ask("issue", "alice").refresh_token
    for _ in range(3):
        site.clock.forward(HOUR)
        answers = together(site, [token] * 4)
        assert {status for status, _ in answers} == {200}
        token = answers[0][1]  # whichever was written last


# --- RT-12 and RT-13: lost answers, and second holders


@accepts("RT-12")
@pytest.mark.parametrize("later", [3, HOUR, 3 * DAY], ids=["3s", "1h", "3d"])
def test_a_lost_answer_is_asked_for_again(world: World, later: float) -> None:
    browser, updated = [("User-Agent", "Browser/1")], [("User-Agent", "Browser/2")]
    tokens = world.login(user_agent="Browser/1")
    world.clock.forward(HOUR)
    world.renewed(tokens.refresh_token, headers=browser)  # the answer is lost
    world.clock.forward(later)
    answer = world.refresh(tokens.refresh_token, headers=updated)
    assert answer.events == (
        Refreshed(grant_id=tokens.grant_id, how="repeated", generation=2, user_agent_changed=True),
    )
    assert world.call(answer.json["access_token"]).status == 200
    again = world.refresh(tokens.refresh_token)
    assert how(again) == "repeated"
    assert how(world.refresh(again.json["refresh_token"])) == "kept"
    rotated(world, again.json["refresh_token"])


@refuses("RT-12")
def test_a_retry_after_the_idle_limit_is_too_late(world: World) -> None:
    token = world.login().refresh_token
    rotated(world, token)
    world.clock.forward(7 * DAY + GATE + 1)
    assert world.refresh(token).reason == "grant_ended"


@accepts("RT-28")
def test_a_client_that_never_adopts_a_new_token_stays_in(world: World) -> None:
    # Google's library for Node keeps its first one. Idle means: not used.
    tokens = world.login()
    end = world.row(tokens.grant_id).expires_at
    rotated(world, tokens.refresh_token)
    before = world.row(tokens.grant_id)
    while world.clock.now + DAY < end:
        world.clock.forward(DAY)
        assert how(world.refresh(tokens.refresh_token)) == "repeated"
        row = world.row(tokens.grant_id)
        assert row == replace(before, last_used_at=row.last_used_at), "no window slides"
    world.clock.now = end
    assert world.refresh(tokens.refresh_token).reason == "expired"


@accepts("RT-28")
def test_a_use_is_recorded_once_an_hour(world: World) -> None:
    tokens = world.login()
    rotated(world, tokens.refresh_token)
    begin, found = world.clock.now, []
    for _ in range(9):
        world.clock.forward(GATE / 4)
        assert how(world.refresh(tokens.refresh_token)) == "repeated"
        used_at = world.row(tokens.grant_id).last_used_at
        found.append(None if used_at is None else round((used_at - begin) / GATE, 2))
    assert found == [None, None, None, 1, 1, 1, 1, 2, 2]


@accepts("RT-28")
def test_a_kept_answer_is_a_use_too(world: World) -> None:
    # A refresh every half minute, each with a token that is young.
    with opened(refresh={"idle_limit": 660, "settle": 60}) as world:
        tokens = world.login()
        world.clock.forward(59)
        for _ in range(3):
            assert how(world.refresh(tokens.refresh_token)) == "kept"
        assert world.row(tokens.grant_id).last_used_at is None, "a gate is 66 s"


@refuses("RT-28")
def test_a_refused_refresh_and_a_look_are_no_use(world: World) -> None:
    tokens = world.login()
    begin = world.clock.now
    for _ in range(7):
        world.clock.forward(DAY)
        assert world.refresh(tokens.refresh_token, client_id="another").status == 400
        assert world.refresh(tokens.refresh_token, scope="more").status == 400
        world.each(lambda site: site.ask("grants", "alice"))
    row = world.row(tokens.grant_id)
    assert (row.last_used_at, row.rotated_at) == (None, begin)
    world.clock.forward(GATE + 1)
    assert world.refresh(tokens.refresh_token).reason == "grant_ended"


@refuses("RT-28")
def test_an_ended_grant_is_not_used_any_more(world: World) -> None:
    tokens = world.login()
    rotated(world, tokens.refresh_token)
    world.clock.forward(DAY)
    world.revoke_all("alice")
    before = world.row(tokens.grant_id)
    assert world.refresh(tokens.refresh_token).status == 400
    assert world.row(tokens.grant_id) == before


@accepts("RT-28")
def test_a_kept_answer_repeats_the_token_that_came(world: World) -> None:
    # Of thirty client libraries fourteen keep what an answer says, and nothing else.
    tokens = world.login()
    for _ in range(3):
        answer = world.refresh(tokens.refresh_token)
        assert how(answer) == "kept"
        assert answer.json["refresh_token"] == tokens.refresh_token
        world.clock.forward(19)


def grown(world: World, *, depth: int = 4, siblings: int = 3) -> tuple[str, list[list[str]]]:
    """Return a grant's id and all its tokens: by generation, of which the first leads on."""
    tokens = world.login()
    tree = [[tokens.refresh_token]]
    while len(tree) < depth:
        world.clock.forward(HOUR)
        tree.append([world.renewed(tree[-1][0])["refresh_token"] for _ in range(siblings)])
    return tokens.grant_id, tree


@accepts("RT-13")
def test_the_parent_and_any_sibling_of_its_children_are_served(world: World) -> None:
    _, tree = grown(world)
    assert how(world.refresh(tree[-2][0])) == "repeated"
    for sibling in range(3):
        _, tree = grown(world)
        world.clock.forward(HOUR)
        assert how(world.refresh(tree[-1][sibling])) == "rotated"


BRANCHES = [(0, 0), (1, 0), (1, 1), (1, 2), (2, 1), (2, 2)]


@refuses("RT-13")
@pytest.mark.parametrize(("generation", "sibling"), BRANCHES)
def test_whatever_else_was_ever_answered_is_reuse(
    world: World, generation: int, sibling: int
) -> None:
    grant_id, tree = grown(world)
    access = world.renewed(tree[-1][1])["access_token"]
    assert world.call(access).status == 200
    assert world.refresh(tree[generation][sibling]).reason == "refresh_token_reused"
    assert not world.is_alive(grant_id)
    assert world.call(access).reason == "grant_ended"
    for token in tree[-1]:
        assert world.refresh(token).reason == "grant_ended"


@refuses("RT-13")
def test_a_thief_is_not_told_before_he_is_out() -> None:
    with opened(FAULTY) as world:
        grant_id, tree = grown(world, depth=3, siblings=1)
        world.each(lambda site: site.store.fails.add("end"))
        answer = world.refresh(tree[0][0])
        assert (answer.status, answer.json["error"]) == (503, "temporarily_unavailable")
        assert not [event for event in answer.events if isinstance(event, Reused)]
        assert world.is_alive(grant_id)
        world.each(lambda site: site.store.fails.clear())
        assert world.refresh(tree[0][0]).reason == "refresh_token_reused"
        assert not world.is_alive(grant_id)


# --- RT-15: seconds, starts and processes


@accepts("RT-15")
def test_two_rotations_in_one_moment_are_two() -> None:
    with opened(refresh={"settle": 0}) as world:
        tokens = world.login()
        first = world.renewed(tokens.refresh_token)["refresh_token"]
        second = world.renewed(first)["refresh_token"]
        assert world.row(tokens.grant_id).generation == 3
        assert how(world.refresh(second)) == "rotated"


@refuses("RT-15")
def test_reuse_is_found_in_the_very_moment_of_the_rotation() -> None:
    with opened(refresh={"settle": 0}) as world:
        token = world.login().refresh_token
        world.renewed(world.renewed(token)["refresh_token"])
        assert world.refresh(token).reason == "refresh_token_reused"


@accepts("RT-15")
def test_a_restart_logs_nobody_out() -> None:
    with opened(DURABLE) as world:
        tokens = world.login()
        token = rotated(world, tokens.refresh_token)
        world.each(Site.restart)
        assert world.call(world.renewed(token)["access_token"]).status == 200
        assert how(world.refresh(tokens.refresh_token)) == "repeated"


@refuses("RT-15")
def test_a_restart_forgets_neither_use_nor_end() -> None:
    with opened(DURABLE) as world:
        first, other = world.login(), world.login()
        rotated(world, rotated(world, first.refresh_token))
        found = world.renewed(other.refresh_token)
        world.revoke(other.access_token)
        world.revoke(found["refresh_token"])
        world.each(Site.restart)
        assert world.refresh(first.refresh_token).reason == "refresh_token_reused"
        assert world.call(found["access_token"]).reason == "grant_ended"
        assert world.refresh(found["refresh_token"]).reason == "grant_ended"


@refuses("RT-15")
def test_a_clock_that_is_set_back_revives_nothing() -> None:
    with opened((("wsgi", memory), *DURABLE)) as world:
        tokens = world.login()
        world.clock.forward(HOUR)
        used = world.renewed(tokens.refresh_token)["refresh_token"]
        rotated(world, used)
        world.clock.forward(-3 * HOUR)
        assert world.refresh(tokens.refresh_token).reason == "refresh_token_reused"
        assert world.refresh(used).reason == "grant_ended"
