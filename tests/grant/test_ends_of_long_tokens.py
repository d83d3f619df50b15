"""RT-29: an end is remembered for as long as a token of the grant can live, whoever issued it.

A service that only reads the store may think of other lifetimes than the issuer: the token says how
long it lives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace as replaced
from typing import Any

import pytest

from jwt_middleware import KeySet, Refresh, Settings
from jwt_middleware.jose import jws
from jwt_middleware.process.runtime import Runtime
from jwt_middleware.token import access
from jwt_middleware.values.bare_grants import bare_grant
from tests.issuing import AUDIENCE, DAY, HOUR, ISSUER, KEYS, MINUTE, Site, memory, single
from tests.issuing import sqlite as in_a_file
from tests.rules import accepts, refuses
from tests.world import Answer, Sent, encoded

PUBLIC = KeySet.from_jwks(KEYS.public_jwks())
LIVES = 3600  # seconds that the issuer's access tokens do; the reader's own are 600


class Reader(Site):
    """A service that shares the issuer's store and issues nothing."""

    def __init__(self, door: str, issuing: Site, **options: Any) -> None:
        self.door, self.clock, self.folder = door, issuing.clock, issuing.folder
        self.events, self.numbers = [], 0
        self.settings = Settings(
            issuer=ISSUER,
            audience=AUDIENCE,
            keys=PUBLIC,
            clock=issuing.clock,
            on_event=self.events.append,
            refresh=Refresh(store=in_a_file(issuing.clock, issuing.folder), serve=False, **options),
        )
        self.runner = asyncio.Runner()
        self._open_door()

    def call(self, token: str) -> Answer:
        return self.send(Sent("GET", "/", encoded((), token)))


@pytest.fixture
def issuing() -> Iterator[Site]:
    with single(("wsgi", in_a_file), refresh={"access_lifetime": LIVES}) as site:
        yield site


@pytest.fixture(params=["wsgi", "asgi"])
def reader(request: pytest.FixtureRequest, issuing: Site) -> Iterator[Reader]:
    site = Reader(request.param, issuing)
    yield site
    site.close()


@refuses("RT-29")
def test_a_token_that_lives_longer_is_refused_until_its_end(issuing: Site, reader: Reader) -> None:
    tokens = issuing.issuer.issue("alice")
    issuing.issuer.revoke(tokens.grant_id)
    answers = []
    for minute in (0, 5, 10, 12, 15, 30, 50, 56):
        issuing.clock.now = 1_800_000_000.0 + minute * MINUTE
        answers.append(reader.call(tokens.access_token).reason)
    assert answers == ["grant_ended"] * 8
    issuing.clock.now = 1_800_000_000.0 + LIVES + 30
    assert reader.call(tokens.access_token).reason == "expired"


@accepts("RT-29")
def test_who_has_not_ended_passes_all_that_time(issuing: Site, reader: Reader) -> None:
    tokens = issuing.issuer.issue("alice")
    issuing.issuer.revoke(issuing.issuer.issue("bob").grant_id)
    for minute in (0, 5, 12, 30, 50):
        issuing.clock.now = 1_800_000_000.0 + minute * MINUTE
        assert reader.call(tokens.access_token).status == 200


@refuses("RT-29")
def test_the_first_such_token_waits_until_enough_was_read(issuing: Site, reader: Reader) -> None:
    # Known by a short token's standards: the reader has read what ended within its own 600 s.
    tokens = issuing.issuer.issue("alice")
    issuing.issuer.revoke(tokens.grant_id)
    issuing.clock.forward(15 * MINUTE)
    short = minted(issuing.clock, "a" * 23, 300)
    assert reader.call(short).status == 200
    known = Runtime.of(reader.settings).ended
    assert tokens.grant_id not in known
    assert reader.call(tokens.access_token).reason == "grant_ended"
    assert tokens.grant_id in known
    assert reader.call(short).status == 200


@refuses("RT-29")
def test_a_token_that_is_known_waits_too(issuing: Site, reader: Reader) -> None:
    # Its first answer was 503: what the cache keeps must not pass by a memory that is too short.
    tokens = issuing.issuer.issue("alice")
    issuing.clock.forward(15 * MINUTE)
    assert reader.call(minted(issuing.clock, "a" * 23, 300)).status == 200
    issuing.issuer.revoke(tokens.grant_id)
    moved = issuing.folder / "grants.db"
    away = moved.rename(issuing.folder / "away.db")
    assert reader.call(tokens.access_token).status == 503
    assert reader.call(tokens.access_token).status == 503
    assert reader.call(minted(issuing.clock, "a" * 23, 300)).status == 200, "that is known of"
    away.rename(moved)
    issuing.clock.forward(30)
    for _ in range(3):
        assert reader.call(tokens.access_token).reason == "grant_ended"


@refuses("RT-29")
def test_a_lifetime_that_was_lowered_opens_nothing(issuing: Site) -> None:
    tokens = issuing.issuer.issue("alice")
    issuing.issuer.revoke(tokens.grant_id)
    issuing.clock.forward(30 * MINUTE)
    group = replaced(issuing.settings.refresh, access_lifetime=60)  # type: ignore[type-var]
    lowered = issuing.settings.replace(refresh=group)
    issuing.settings.close()
    issuing.settings = lowered
    issuing._open()
    assert issuing.send(Sent("GET", "/", encoded((), tokens.access_token))).reason == "grant_ended"


@refuses("RT-29")
def test_while_the_store_is_away_it_is_our_fault_and_not_the_tokens() -> None:
    with single(("wsgi", in_a_file), refresh={"access_lifetime": LIVES}) as issuing:
        reader = Reader("wsgi", issuing, sync_failure="open")
        tokens = issuing.issuer.issue("alice")
        (issuing.folder / "grants.db").rename(issuing.folder / "away.db")
        # Where being up counts more, they pass as all do.
        assert reader.call(tokens.access_token).status == 200
        reader.close()


def minted(clock: Callable[[], float], grant_id: str, life: float) -> str:
    """Return a token of the issuer's key that lives as long as one likes."""
    grant = bare_grant(grant_id, "alice", now=0, expires_at=2e9, client_id="app")
    signer = jws.TokenWriter(KEYS.signer, access.ACCESS_TYPE)  # type: ignore[arg-type]
    now = int(clock())
    wording = access.beginning(ISSUER, (AUDIENCE,))
    return signer.sign(access.payload(wording, grant, "j", "", now, int(now + life)))


@pytest.mark.parametrize("door", ["wsgi", "asgi"])
@refuses("RT-29")
def test_no_memory_is_longer_than_a_day(door: str) -> None:
    with single((door, memory)) as site:
        day, more = (minted(site.clock, "a" * 23, life) for life in (DAY, DAY + 1))
        for _ in range(2):
            assert site.send(Sent("GET", "/", encoded((), day))).status == 200
            answer = site.send(Sent("GET", "/", encoded((), more)))
            assert (answer.status, answer.reason) == (401, "life_too_long")
        site.clock.forward(12 * HOUR)
        site.ask("revoke", "a" * 23)
        assert site.send(Sent("GET", "/", encoded((), day))).reason == "grant_ended"
