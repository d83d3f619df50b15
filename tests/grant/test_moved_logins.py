"""A login that was moved here is older than its grant: it never passes as a fresh one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from jwt_middleware import Grant, Route
from tests.grant.former import flask_jwt, migration
from tests.issuing import DOORS, HOUR, World, opened
from tests.rules import accepts, refuses
from tests.world import NOW

OLD = flask_jwt("refresh", auth_time=NOW - 1000 * HOUR, roles=["editor"])
ONCE = "the key of a session, which nobody can guess"
FRESH: dict[str, Any] = {"routes": (Route("/password", max_age=HOUR),)}


def roles(_: Grant | None) -> Mapping[str, Any]:
    return {"roles": ["reader"]}


HOOKS = pytest.mark.parametrize("hook", [None, roles], ids=["no hook", "a hook"])


def is_stale(world: World, token: str, claims: Mapping[str, Any]) -> bool:
    """Say whether a token has these claims, and opens what wants a fresh login no more."""
    seen = world.get("/other", token).token
    assert seen is not None
    assert claims.items() <= seen.claims.items()
    return world.get("/password", token).reason == "authentication_too_old"


@refuses("RT-33")
@HOOKS
def test_an_old_refresh_token_makes_no_fresh_login(hook: Any) -> None:
    with opened(refresh={"migrate": migration(), "claims_for": hook}, **FRESH) as world:
        answer = world.refresh(OLD)
        assert is_stale(world, answer.json["access_token"], {"auth_time": 0})
        world.clock.forward(HOUR)
        ours = world.renewed(answer.json["refresh_token"])
        assert is_stale(world, ours["access_token"], {"auth_time": 0})


@refuses("RT-33")
@HOOKS
def test_an_old_login_that_is_moved_once_is_no_fresh_one(hook: Any) -> None:
    with opened(refresh={"claims_for": hook}, **FRESH) as world:
        tokens = world.login(once=ONCE)
        for access in (tokens.access_token, world.login(once=ONCE).access_token):
            assert is_stale(world, access, {"auth_time": 0})
        world.clock.forward(HOUR)
        ours = world.renewed(tokens.refresh_token)
        assert is_stale(world, ours["access_token"], {"auth_time": 0})


@accepts("RT-33")
@HOOKS
def test_the_application_may_know_when_it_was(hook: Any) -> None:
    kept = migration(claims=("auth_time",))
    with opened(refresh={"migrate": kept, "claims_for": hook}, **FRESH) as world:
        answer = world.refresh(OLD)
        assert is_stale(world, answer.json["access_token"], {"auth_time": NOW - 1000 * HOUR})
        tokens = world.login(once=ONCE, claims={"auth_time": int(NOW)} | dict(roles(None)))
        assert world.get("/password", tokens.access_token).status == 200


def test_a_login_is_fresh() -> None:
    with opened(DOORS, **FRESH) as world:
        assert world.get("/password", world.login().access_token).status == 200
