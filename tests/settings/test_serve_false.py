"""A service that shares the store and issues nothing: public keys, no endpoints, one question."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jwt_middleware import ConfigurationError, Issuer, KeySet, Refresh, Settings
from jwt_middleware.stores.sqlite import SQLiteStore
from tests.issuing import AUDIENCE, HOUR, ISSUER, KEY_SET, REFRESH, REVOKE, Clock
from tests.rules import accepts, refuses
from tests.world import World

KEYS = KeySet.generate("ES256")
PUBLIC = KeySet.from_jwks(KEYS.public_jwks())


class Asked:
    """A store that tells what it was asked."""

    blocking = True

    def __init__(self, store: SQLiteStore) -> None:
        self._store = store
        self.verbs: set[str] = set()

    def __getattr__(self, verb: str) -> Any:
        self.verbs.add(verb)
        return getattr(self._store, verb)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/grants.db?synchronous=NORMAL"


def settings(clock: Clock, store: Any, keys: KeySet, **refresh: Any) -> Settings:
    group = Refresh(store=store, **refresh)
    return Settings(issuer=ISSUER, audience=AUDIENCE, keys=keys, clock=clock, refresh=group)


@accepts("RT-25")
@refuses("RT-25")
def test_it_hears_of_a_log_out_that_another_service_made(clock: Clock, url: str) -> None:
    issuing = settings(clock, url, KEYS)
    issuer = Issuer(issuing)
    tokens = issuer.issue("alice")
    world = World(settings(clock, url, PUBLIC, serve=False))
    assert world.get("/", tokens.access_token).user == "alice"
    issuer.revoke(tokens.grant_id)
    clock.forward(2.1)
    answer = world.get("/", tokens.access_token)
    assert (answer.status, answer.reason) == (401, "grant_ended")
    issuing.close()
    world.settings.close()


def test_it_has_no_endpoints(clock: Clock, url: str) -> None:
    world = World(settings(clock, url, PUBLIC, serve=False))
    for path in (REFRESH, REVOKE, KEY_SET):
        assert world.request("POST", path).reason == "credentials_missing"
    world.settings.close()


def test_it_asks_for_nothing_but_what_has_ended(clock: Clock, url: str) -> None:
    store = SQLiteStore.from_url(url, clock=clock, retention=HOUR)
    issuer = Issuer(settings(clock, store, KEYS))
    token = issuer.issue("alice").access_token
    asked = Asked(store)
    world = World(settings(clock, asked, PUBLIC, serve=False))
    asked.verbs.clear()
    for _ in range(3):
        assert world.get("/", token).status == 200
        clock.forward(1.5)
    assert asked.verbs == {"ended"}
    store.close()


def test_it_can_not_issue(clock: Clock, url: str) -> None:
    for keys in (KEYS, PUBLIC):
        with pytest.raises(ConfigurationError, match=r"refresh\.serve: is False: .* nothing"):
            Issuer(settings(clock, url, keys, serve=False))


def test_who_serves_needs_a_key_that_signs(clock: Clock, url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"keys: none .* serve=False"):
        settings(clock, url, PUBLIC)


@pytest.mark.parametrize(
    ("store", "more", "message"),
    [
        ("sqlite:///grants.db", {"secret": "8yN3vQf0-hK2mWxZ7bTg5RcEj1LpAuSd"}, "no use for a s"),
        ("sqlite:///grants.db", {"claims_for": lambda grant: {}}, "no use for a secret or claims"),
        ("memory://", {}, "memory:// is this process's own"),
    ],
)
def test_what_makes_no_sense_is_refused(store: str, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"refresh.serve: .*{message}"):
        Refresh(store=store, serve=False, **more)
