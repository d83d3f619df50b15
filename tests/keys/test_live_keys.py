"""What is known of an issuer's keys in this process, where they were there from the start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jwt_middleware import KeySet
from jwt_middleware.keys.live_keys import LiveKeys
from jwt_middleware.values.errors import InvalidToken, KeysUnavailable
from jwt_middleware.values.events import Event, KeysBack, KeysChanged, KeysFailed
from tests.issuing import Clock
from tests.keyserver.site import settle

OLD, NEW = KeySet.generate(kid="old"), KeySet.generate(kid="new")


@pytest.fixture
def heard() -> list[Event]:
    return []


def live(keys: KeySet, clock: Clock, heard: list[Event]) -> LiveKeys:
    return LiveKeys(keys, "https://login.example", clock=clock, tell=heard.extend)


def test_keys_without_a_source_are_what_they_are(clock: Clock, heard: list[Event]) -> None:
    one = live(OLD, clock, heard)
    assert one.find("old", clock()) is OLD.keys[0]
    with pytest.raises(InvalidToken):
        one.find("new", clock())
    one.renew(clock())
    assert heard == []


def test_keys_that_sign_are_renewed_beside_the_work(
    clock: Clock, heard: list[Event], tmp_path: Path
) -> None:
    path = tmp_path / "keys.json"
    OLD.save(path)
    one = live(KeySet.load(path), clock, heard)
    one.renew(clock())  # by now there may be others
    settle()
    KeySet((*NEW.keys, *OLD.keys)).save(path)
    clock.forward(1)
    one.renew(clock())
    settle()
    assert one.key_set.signer is not None
    assert one.key_set.signer.kid == "old", "it isn't time"
    clock.forward(5)
    one.renew(clock())
    settle()
    assert one.key_set.signer.kid == "new"
    assert heard == [KeysChanged(issuer="https://login.example", added=("new",), removed=())]
    assert one.find("old", clock()).kid == "old"


def test_keys_that_cannot_sign_do_not_take_the_place_of_those_that_can(
    clock: Clock, heard: list[Event], tmp_path: Path
) -> None:
    path = tmp_path / "keys.json"
    OLD.save(path)
    one = live(KeySet.load(path), clock, heard)
    path.write_text(json.dumps(NEW.public_jwks()))
    one.renew(clock())
    settle()
    assert one.key_set.signer is not None
    assert one.key_set.signer.kid == "old"
    detail = "none of the keys that were found can sign"
    assert heard == [KeysFailed(issuer="https://login.example", detail=detail)]
    with pytest.raises(KeysUnavailable):
        one.find("new", clock())
    NEW.save(path)
    clock.forward(1)
    assert one.find("new", clock()).kid == "new"
    settle()
    assert [type(event) for event in heard] == [KeysFailed, KeysBack, KeysChanged]
