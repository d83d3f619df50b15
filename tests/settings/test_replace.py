"""`Settings.replace`, into groups as well, and what type checkers and completion are told."""

from __future__ import annotations

import pydoc

import pytest

import jwt_middleware
from jwt_middleware import (
    ConfigurationError,
    Cookies,
    Issuer,
    Refresh,
    Route,
    Settings,
    profiles,
    required_token,
)
from jwt_middleware.process.current_token import CURRENT
from jwt_middleware.profiles import KEYCLOAK, Profile
from jwt_middleware.testing import TokenFactory


def issuing() -> Settings:
    return TokenFactory().settings(refresh=Refresh(store="memory://", cookies=Cookies()))


def test_replace_reaches_into_groups() -> None:
    mine = issuing()
    group = mine.refresh
    assert group is not None
    new = mine.replace(
        leeway=5, refresh__idle_limit=900, refresh__cookies__access=True, token_cache__entries=0
    )
    assert new.refresh is not None
    assert new.refresh.cookies is not None
    assert (new.leeway, new.refresh.idle_limit, new.refresh.cookies.access) == (5, 900, True)
    assert (new.token_cache.entries, new.refresh.store) == (0, "memory://")
    assert (group.idle_limit, mine.token_cache.entries) == (604800, 4096)  # as they were


def test_a_whole_group_and_a_field_of_it_go_together() -> None:
    new = issuing().replace(refresh=Refresh(store="memory://"), refresh__settle=0)
    assert new.refresh is not None
    assert (new.refresh.settle, new.refresh.cookies) == (0, None)


def test_a_profile_is_a_group_too() -> None:
    new = TokenFactory().settings().replace(profile__scope_prefix="x/")
    assert (new.profile.scope_prefix, new.profile.name) == ("x/", "RFC_9068")


def test_a_wrong_change_names_its_field() -> None:
    with pytest.raises(ConfigurationError, match="refresh: is no group here"):
        TokenFactory().settings().replace(refresh__idle_limit=900)
    with pytest.raises(ConfigurationError, match=r"refresh\.former: is no group here"):
        issuing().replace(refresh__former__until=900)
    with pytest.raises(ConfigurationError, match=r"refresh\.idle_limit: must be 60 to"):
        issuing().replace(refresh__idle_limit=1)
    with pytest.raises(TypeError, match="nothing: no such field"):
        issuing().replace(nothing__idle_limit=1)
    with pytest.raises(TypeError, match="nothing"):
        issuing().replace(refresh__nothing=1)


def test_lists_are_as_good_as_tuples() -> None:
    """A type checker that sees this file takes them, too."""
    factory = TokenFactory()
    mine = Settings(
        issuer=factory.issuer,
        audience=[factory.audience, "https://other.example"],
        keys=factory.keys,
        routes=[Route("/a", methods=["GET"], scope="x"), Route("/b", public=True)],
        origins=["https://shop.example"],
        checks=[lambda token: True],
        profile=Profile(subject_claims=["sub"], scope_claims=["scp"]),
    )
    assert isinstance(mine.audience, tuple)
    assert isinstance(mine.routes, tuple)
    assert mine.routes[0].methods == ("GET",)
    assert mine.profile.scope_claims == ("scp",)


def test_completion_and_help_show_all_that_is_public() -> None:
    assert set(jwt_middleware.__all__) <= set(dir(jwt_middleware))
    assert "class Issuer" in pydoc.plain(pydoc.render_doc(jwt_middleware))
    assert jwt_middleware.Issuer is Issuer
    assert profiles.KEYCLOAK is KEYCLOAK
    assert set(profiles.PROFILES) | {"PROFILES", "Profile"} == set(profiles.__all__)


def test_code_that_needs_a_token_says_so_where_there_is_none() -> None:
    with pytest.raises(LookupError, match="public or optional"):
        required_token()
    token = jwt_middleware.AccessToken({"sub": "alice"})  # type: ignore[arg-type]
    before = CURRENT.set(token)
    try:
        assert required_token() is token
    finally:
        CURRENT.reset(before)
