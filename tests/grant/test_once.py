"""`issue(once=...)`: an old login that is no token leads to one grant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from jwt_middleware import Cookies, EndGrant
from jwt_middleware.values.events import Issued, Refreshed, Reused
from tests.issuing import HOUR, World, opened
from tests.rules import accepts, refuses

KEY = "kq3v0zj1n8s5w2y7c4x9b6m1t8r5p2d0"  # as a session's key is


@pytest.fixture
def world() -> Iterator[World]:
    with opened() as one:
        yield one


@accepts("RT-33")
def test_the_same_text_leads_to_the_same_grant(world: World) -> None:
    first = world.login(once=KEY, scope="read", label="phone")
    again = world.login(once=KEY, scope="write", label="another", user_agent="x")
    assert first.grant_id == again.grant_id
    assert (again["scope"], world.row(first.grant_id).label) == ("read", "phone")
    assert first.refresh_token != again.refresh_token
    assert [type(event) for event in world.events] == [Issued, Refreshed]
    assert world.login(once=KEY + "x").grant_id != first.grant_id
    # Each of the two answers may be the one that arrived.
    world.clock.forward(HOUR)
    assert world.refresh(again.refresh_token).status == 200


@accepts("RT-33")
def test_another_users_same_text_is_another_grant(world: World) -> None:
    assert world.login("alice", once=KEY).grant_id != world.login("bob", once=KEY).grant_id


@accepts("RT-33")
def test_what_the_browser_holds_of_this_very_login_lives_on() -> None:
    with opened(refresh={"cookies": Cookies()}) as world:
        first = world.login(once=KEY)

        def again(site: Any) -> Any:
            (one,) = [value for _, value in first.cookies]
            held = site.settings.refresh.jars("https://login.example").held(one.partition(";")[0])
            return site.ask("issue", "alice", once=KEY, replaces=held)

        tokens = world.each(again)
        assert tokens.grant_id == first.grant_id
        assert world.is_alive(first.grant_id)


def refusal(site: Any) -> str:
    with pytest.raises(EndGrant) as found:
        site.ask("issue", "alice", once=KEY)
    return found.value.reason


@refuses("RT-33")
def test_a_log_out_cant_be_undone(world: World) -> None:
    tokens = world.login(once=KEY)
    world.revoke(tokens.refresh_token)
    for _ in range(2):
        assert world.each(refusal) == "grant_ended"


@refuses("RT-33")
def test_after_two_rotations_the_text_is_a_second_holders(world: World) -> None:
    token = world.login(once=KEY).refresh_token
    for _ in range(2):
        world.clock.forward(HOUR)
        token = world.renewed(token)["refresh_token"]
    assert world.each(refusal) == "refresh_token_reused"
    assert [event for event in world.events if isinstance(event, Reused)]
    assert world.refresh(token).reason == "grant_ended"


@refuses("RT-33")
@pytest.mark.parametrize("once", ["short", "x" * 21, 5, b"x" * 40])
def test_a_text_that_can_be_guessed_is_refused(once: Any, world: World) -> None:
    with pytest.raises(ValueError, match=r"^once: must be text of at least 22 characters"):
        world.login(once=once)
