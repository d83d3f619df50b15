"""A log-out at a path of the application's own ends the grant of the token that the client sent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.grant.former import flask_jwt, migration
from tests.issuing import DOORS, HOUR, World, opened
from tests.rules import refuses

OLD = flask_jwt("refresh")


@pytest.fixture
def world() -> Iterator[World]:
    with opened(refresh={"migrate": migration()}) as one:
        yield one


def ends(world: World, token: object) -> bool:
    return world.each(lambda site: bool(site.ask("revoke_token", token)))


@refuses("RT-14")
@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
def test_a_token_of_ours_ends_its_grant_once(kind: str, world: World) -> None:
    tokens, other = world.login(), world.login()
    assert ends(world, getattr(tokens, kind))
    assert not world.is_alive(tokens.grant_id)
    assert world.is_alive(other.grant_id)
    assert world.events[-1].name == "revoked"
    assert world.call(tokens.access_token).status == 401
    assert not ends(world, tokens.refresh_token)


@refuses("RT-33")
def test_an_old_refresh_token_ends_the_grant_that_it_led_to(world: World) -> None:
    answer = world.refresh(OLD)
    assert ends(world, OLD)
    assert world.call(answer.json["access_token"]).status == 401
    assert world.refresh(answer.json["refresh_token"]).status == 400
    assert world.refresh(OLD).status == 400


@refuses("RT-33")
def test_an_old_refresh_token_that_never_came_opens_nothing_afterwards(world: World) -> None:
    assert ends(world, OLD)
    assert world.refresh(OLD).status == 400
    assert world.refresh(flask_jwt("refresh", "bob")).status == 200


def test_any_other_text_ends_nothing(world: World) -> None:
    tokens = world.login()
    world.clock.forward(HOUR)  # the access token has expired
    for text in ("", "x", tokens.refresh_token + "x", tokens.access_token, flask_jwt("access")):
        assert not ends(world, text)
    assert world.is_alive(tokens.grant_id)


def test_a_token_is_text() -> None:
    with opened(DOORS) as world, pytest.raises(ValueError, match="token: must be text, not bytes"):
        ends(world, b"x")
