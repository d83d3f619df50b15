"""A store that is far away, or must wake up first, is slow: no known token is refused for that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from threading import Timer
from typing import Any
from urllib.parse import urlsplit

import pytest

from jwt_middleware.stores.opening import open_store
from jwt_middleware.values.events import StoreFailed
from tests.engines import redis
from tests.engines.postgres import fresh_schema
from tests.engines.proxy import Proxy
from tests.issuing import (
    REFRESH,
    Clock,
    Kind,
    Site,
    form_octets,
    posted,
    refresh_form,
)
from tests.world import Answer, Sent, encoded

park = redis.park

ROUND_TRIP = 0.15  # seconds
LATEST = 2 + 2 * ROUND_TRIP  # seconds after which a log-out is in force
SLACK = 1.0  # seconds, for a machine that is busy

Far = tuple[Site, Proxy, Any]  # a site, the way to its store, and the store as another process has


@pytest.fixture(params=["wsgi", "asgi"])
def door(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(params=["postgresql", "valkey"])
def far(
    request: pytest.FixtureRequest,
    door: str,
    postgres_url: str,
    park: Callable[..., Any],
    tmp_path: Any,
) -> Generator[Far, None, None]:
    port: int | None
    with ExitStack() as stack:
        if request.param == "valkey":
            port = park("single", "valkey").port
            url = f"redis://127.0.0.1:{port}/0?prefix=far{time.monotonic_ns()}"
        else:
            schema = stack.enter_context(fresh_schema(postgres_url))
            port = urlsplit(postgres_url).port
            url = f"{postgres_url}{'&' if '?' in postgres_url else '?'}schema={schema}"
        assert port is not None
        proxy = stack.enter_context(Proxy(port))
        distant = url.replace(f":{port}", f":{proxy.port}")

        def make(_: Clock, __: Any) -> str:
            return distant

        clock = RealClock()
        kind: Kind = (door, make)
        site = Site(kind, clock, tmp_path, refresh={})
        near = open_store(url, clock=time.time, retention=86400).plain
        try:
            yield site, proxy, near
        finally:
            near.close()
            site.close()


class RealClock(Clock):
    """The time, and what a test has moved it on."""

    def __init__(self) -> None:
        super().__init__()
        self.moved = 0.0

    def __call__(self) -> float:
        return time.time() + self.moved


def call(site: Site, token: str) -> Answer:
    return site.send(Sent("GET", "/", encoded((), token)))


def wait(site: Site, seconds: float) -> None:
    if site.door == "asgi":
        site.runner.run(asyncio.sleep(seconds))
    else:
        time.sleep(seconds)


def failures(site: Site) -> list[StoreFailed]:
    return [one for one in site.events if isinstance(one, StoreFailed)]


def test_a_round_trip_of_150_ms_refuses_no_known_token(far: Far) -> None:
    site, proxy, near = far
    proxy.delay = ROUND_TRIP / 2
    tokens, ended = site.ask("issue", "alice"), site.ask("issue", "bob")
    assert call(site, ended.access_token).status == 200
    near.end(ended.grant_id, "logout")
    begun = time.monotonic()
    out: float | None = None
    while time.monotonic() < begun + LATEST + SLACK:
        assert call(site, tokens.access_token).status == 200
        if out is None and call(site, ended.access_token).status == 401:
            out = time.monotonic() - begun
        wait(site, 0.05)
    assert out is not None
    assert out < LATEST + SLACK
    assert failures(site) == []


def test_a_store_that_wakes_in_2_s_refuses_no_known_token(far: Far) -> None:
    site, proxy, near = far
    tokens, ended = site.ask("issue", "alice"), site.ask("issue", "bob")
    assert call(site, tokens.access_token).status == 200
    near.end(ended.grant_id, "logout")
    proxy.cut()
    proxy.hang()
    assert isinstance(site.clock, RealClock)
    site.clock.moved = 300  # idle for longer than `sync_limit`
    Timer(2, proxy.resume).start()
    assert call(site, tokens.access_token).status == 200
    assert call(site, ended.access_token).reason == "grant_ended"
    assert failures(site) == []


def test_nobody_gets_a_503_during_and_after_a_mass_end(far: Far) -> None:
    site, _, near = far
    olds = [site.ask("issue", f"user {number}") for number in range(20)]
    assert {call(site, one.access_token).status for one in olds} == {200}
    wait(site, 1)  # so that the mark's time is a later one
    assert near.end_before(None) is not None
    begun = time.monotonic()
    news, seen = [], set[int]()
    while time.monotonic() < begun + LATEST + SLACK:
        news.append(site.ask("issue", "alice"))
        seen.update(call(site, one.access_token).status for one in olds)
        assert {call(site, one.access_token).status for one in news[-5:]} == {200}
        wait(site, 0.05)
    assert seen <= {200, 401}
    assert {call(site, one.access_token).status for one in olds} == {401}
    refused = site.send(posted(REFRESH, form_octets(refresh_form(olds[0].refresh_token))))
    assert (refused.status, refused.json["error"]) == (400, "invalid_grant")
    assert failures(site) == []
