"""One round trip per refresh, and none for a request with a known token, counted at the socket."""

from __future__ import annotations

from collections.abc import Callable, Generator
from urllib.parse import urlsplit

import pytest

from jwt_middleware.stores.postgres import AsyncPostgresStore, PostgresStore
from jwt_middleware.stores.redis import AsyncRedisStore, RedisStore
from tests.engines import redis
from tests.engines.postgres import fresh_schema
from tests.engines.proxy import Proxy
from tests.engines.sites import OnPostgres, OnRedis
from tests.issuing import HOUR, REFRESH, Kind, Site, form_octets, posted, refresh_form, single
from tests.world import Sent, encoded

park = redis.park

Counted = tuple[Kind, Callable[[], int]]  # a site, and the trips that were made for it


@pytest.fixture(params=["wsgi", "asgi"])
def door(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def postgresql(door: str, postgres_url: str) -> Generator[Counted, None, None]:
    port = urlsplit(postgres_url).port
    assert port is not None
    with Proxy(port) as proxy, fresh_schema(postgres_url) as schema:
        kind = PostgresStore if door == "wsgi" else AsyncPostgresStore
        url = postgres_url.replace(f":{port}", f":{proxy.port}")
        yield (door, OnPostgres(kind, url, schema)), lambda: proxy.trips


@pytest.fixture
def valkey(door: str, park: redis.Park) -> Generator[Counted, None, None]:
    wire = redis.Wire(park("single", "valkey").port)
    kind = RedisStore if door == "wsgi" else AsyncRedisStore
    yield (door, OnRedis(kind, wire.url)), lambda: wire.packets
    wire.close()


@pytest.mark.parametrize("engine", ["postgresql", "valkey"])
def test_a_refresh_is_one_round_trip_and_a_known_token_none(
    engine: str, door: str, request: pytest.FixtureRequest
) -> None:
    kind, trips = request.getfixturevalue(engine)
    with single(kind) as site:
        tokens = site.ask("issue", "alice")
        token = tokens.refresh_token
        for number in range(4):
            site.clock.forward(HOUR)
            before = trips()
            token = refreshed(site, token)
            # The second one prepares its statement, the first one loads its script.
            assert number < 2 or trips() == before + 1
        access = site.ask("issue", "alice").access_token
        call(site, access)  # asks for ended grants
        before = trips()
        for _ in range(50):
            call(site, access)
        assert trips() == before


def refreshed(site: Site, token: str) -> str:
    answer = site.send(posted(REFRESH, form_octets(refresh_form(token))))
    assert answer.status == 200
    found: str = answer.json["refresh_token"]
    return found


def call(site: Site, token: str) -> None:
    assert site.send(Sent("GET", "/", encoded((), token))).status == 200
