"""The kit for users' tests: fixtures, a clock, users, a browser, settings of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client
from werkzeug.wrappers import Response

from jwt_middleware import (
    ConfigurationError,
    Cookies,
    Issuer,
    KeySet,
    Refresh,
    Route,
    Settings,
    current_token,
    profiles,
)
from jwt_middleware.testing import Attack, Clock, TokenFactory, as_browser, as_user
from jwt_middleware.testing.pytest_plugin import (
    jwt_attack,
    jwt_clock,
    jwt_factory,
    jwt_settings,
    pytest_generate_tests,
)
from jwt_middleware.wsgi import JWTMiddleware
from tests.world import World

__all__ = ["jwt_attack", "jwt_clock", "jwt_factory", "jwt_settings", "pytest_generate_tests"]

# As an application has them: keys elsewhere, a database, rules.
MINE = Settings(
    issuer="https://shop.example",
    audience=("https://api.shop.example", "https://shop.example/mobile"),
    keys=KeySet.remote("https://keys.shop.example/jwks.json"),
    routes=(Route("/orders", scope="orders:read"),),
)


def test_a_token_of_the_factory_opens_until_it_expires(
    jwt_factory: TokenFactory, jwt_clock: Clock
) -> None:
    world = World(jwt_factory.settings())
    token = jwt_factory.token(sub="bob")
    assert world.get(token=token).user == "bob"
    jwt_clock.advance(629)
    assert world.get(token=token).reached
    jwt_clock.advance(2)  # 600 seconds, and the leeway of 30
    assert world.get(token=token).reason == "expired"


def test_an_attack_is_refused(jwt_attack: Attack, jwt_factory: TokenFactory) -> None:
    world = World(jwt_factory.settings())
    assert world.get(headers=list(jwt_attack.headers)).status in jwt_attack.statuses


class TestWithSettingsOfOnesOwn:
    @pytest.fixture
    def jwt_settings(self) -> Settings:
        return MINE

    def test_they_keep_their_rules_and_take_the_factorys_tokens(
        self, jwt_factory: TokenFactory, jwt_clock: Clock
    ) -> None:
        mine = jwt_factory.settings()
        assert (mine.issuer, mine.audience, mine.routes) == (
            MINE.issuer,
            MINE.audience,
            MINE.routes,
        )
        assert (mine.keys, mine.clock) == (jwt_factory.keys, jwt_clock)
        world = World(mine)
        good = jwt_factory.token(scope="orders:read")
        assert world.get("/orders", token=good).reached
        assert world.get("/orders", token=jwt_factory.token()).status == 403
        assert world.get("/orders", token=TokenFactory.like(MINE).token()).status == 401

    def test_an_attack_is_refused(self, jwt_attack: Attack, jwt_factory: TokenFactory) -> None:
        world = World(jwt_factory.settings())
        assert world.get(headers=list(jwt_attack.headers)).status in jwt_attack.statuses


def test_a_database_becomes_memory_and_a_store_of_ones_own_stays() -> None:
    with_url = TokenFactory().settings(refresh=Refresh(store="sqlite:///never-made.db"))
    found = TokenFactory.like(with_url).settings(refresh__settle=0).refresh
    assert found is not None
    assert (found.store, found.settle) == ("memory://", 0)
    store: Any = object.__new__(type("Mine", (), dict.fromkeys(VERBS, print)))
    with_object = TokenFactory().settings(refresh=Refresh(store=store))
    group = TokenFactory.like(with_object).settings().refresh
    assert group is not None
    assert group.store is store
    one_audience = MINE.replace(audience="https://api.shop.example")
    assert TokenFactory.like(one_audience).audience == "https://api.shop.example"


def test_a_service_that_only_reads_the_store_has_one_of_its_own_in_tests() -> None:
    reading = MINE.replace(
        keys=KeySet.remote(), refresh=Refresh(store="postgresql://db/grants", serve=False)
    )
    factory = TokenFactory.like(reading)
    world = World(factory.settings())
    assert world.get("/", token=factory.token(scope="orders:read")).reached
    assert world.get("/", token=factory.token(sid="0123456789abcdef")).reached


VERBS = (
    *("add", "advance", "use", "end", "end_subject", "end_before", "is_living"),
    *("grants", "ended", "admit", "purge"),
)


@pytest.mark.parametrize("name", ["KEYCLOAK", "COGNITO", "OKTA"])
def test_attacks_for_a_profile_that_refuses_everything_are_refused(name: str) -> None:
    mine = MINE.replace(profile=getattr(profiles, name))
    with pytest.raises(ConfigurationError, match="profile: reads no token of this factory"):
        TokenFactory.like(mine).attacks()
    assert TokenFactory.like(mine.replace(profile=profiles.RFC_9068)).attacks()
    assert TokenFactory.like(mine.replace(profile=profiles.FOREIGN)).attacks()


def test_a_clock_is_itself_and_no_other() -> None:
    assert Clock() != Clock()
    assert len({Clock(), Clock()}) == 2


def test_code_may_run_as_a_user() -> None:
    with as_user("alice", scope="read write", roles=["editor"], plan={"a": [1]}) as token:
        assert current_token() is token
        assert (token.subject, set(token.scopes)) == ("alice", {"read", "write"})
        assert token.claims["roles"] == ("editor",)
        assert token.claims["plan"] == {"a": (1,)}
        assert not token.is_client
        with as_user("bob"):
            inner = current_token()
            assert inner is not None
            assert (inner.subject, set(inner.scopes)) == ("bob", set[str]())
        assert current_token() is token
    assert current_token() is None
    with pytest.raises(RuntimeError), as_user("alice"):
        raise RuntimeError
    assert current_token() is None
    with pytest.raises(ValueError, match="scope"), as_user("alice", scope="two  spaces"):
        pass


def test_a_browser_comes_back_with_its_cookies() -> None:
    factory = TokenFactory()
    cookies = Refresh(store="memory://", cookies=Cookies(access=True))
    settings = factory.settings(refresh=cookies)
    client = Client(JWTMiddleware(Response(b"in"), settings), use_cookies=False)
    fields = as_browser(Issuer(settings).issue("alice"), settings)
    assert client.get("/", headers=fields).data == b"in"
    assert client.post("/", headers=fields).data == b"in"
    assert client.post("/auth/refresh", headers=fields).status_code == 200
    del fields["X-Requested-With"]  # as from another site's form
    assert client.post("/", headers=fields).status_code == 403
    for without in (factory.settings(), factory.settings(refresh=Refresh(store="memory://"))):
        with pytest.raises(ValueError, match="no cookies are set"):
            as_browser(Issuer(settings).issue("alice"), without)


def test_a_browser_may_load_a_page_and_send_a_form() -> None:
    settings = TokenFactory().settings(
        login_url="/login",
        routes=[Route("/login", public=True, own_origin=True)],
        refresh=Refresh(store="memory://", cookies=Cookies(access=True, forms=True)),
    )
    client = Client(JWTMiddleware(Response(b"in"), settings), use_cookies=False)
    tokens = Issuer(settings).issue("alice")
    assert client.get("/", headers=as_browser(tokens, settings, by="load")).data == b"in"
    assert client.post("/", headers=as_browser(tokens, settings, by="form")).data == b"in"
    nobody = client.get("/notes", headers=as_browser(None, settings, by="load"))
    assert (nobody.status_code, nobody.location) == (303, "/login?next=/notes")
    assert client.get("/notes", headers=as_browser(None, settings)).status_code == 401


def test_pytest_finds_the_fixtures_by_itself(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        "def test_it(jwt_factory, jwt_clock, jwt_settings):\n"
        "    assert jwt_factory.settings().clock is jwt_clock and jwt_settings is None\n"
        "def test_attacks(jwt_attack):\n"
        "    assert jwt_attack.statuses\n"
    )
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:faker", "-p", "no:cacheprovider", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    assert f"{1 + len(TokenFactory().attacks())} passed" in ran.stdout
