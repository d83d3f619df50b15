"""One login for ten processes and a day, in every store; and what a bound login costs."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

from jwt_middleware import Proofs
from jwt_middleware.core.decide import Core
from jwt_middleware.testing import Prover
from jwt_middleware.values.events import KeyMismatch, Reused
from tests.engines.redis import park  # noqa: F401
from tests.rules import accepts, refuses

from .test_replays import store  # noqa: F401
from .test_rt_bound import NO_NONCES, ROOT, Service

PROCESSES, STEPS, DAY = 10, 240, 86400


@pytest.fixture(params=["wsgi", "asgi"])
def service(request: pytest.FixtureRequest, store: str) -> Iterator[Service]:  # noqa: F811
    with asyncio.Runner() as runner:
        made = Service(request.param, proofs=Proofs(), store=store, settle=0)
        made.run = runner.run
        made.now = time.time()  # stores have clocks of their own
        yield made
        runner.run(made.settings.aclose())


class Client:
    """A process of the client: the key, and its own copy of the refresh token and of the nonce."""

    def __init__(self, service: Service, key: Prover, token: str) -> None:
        self._service = service
        self._key = key
        self._nonce: str | None = None
        self.token = token

    def start(self) -> None:
        """Start again, with the token of the file; only the nonce is forgotten."""
        self._nonce = None

    def refresh(self, *, is_lost: bool) -> tuple[int, Any]:
        """Refresh, and once more where a nonce was asked for."""
        status, answer = self._ask()
        if answer.get("error") == "use_dpop_nonce":
            status, answer = self._ask()
        if status == 200 and not is_lost:
            self.token = answer["refresh_token"]
        return status, answer

    def _ask(self) -> tuple[int, Any]:
        self._key.nonce = self._nonce
        status, headers, answer = self._service.refresh(self.token, self._key)
        self._nonce = headers.get("dpop-nonce", self._nonce)
        return status, answer


def client_of(service: Service) -> tuple[Client, Prover]:
    """Log in with a proof; return a process that has the tokens, and its key."""
    key = Prover(ROOT, clock=lambda: service.now)
    key.nonce = service.login(key)[1]["dpop-nonce"]
    return Client(service, key, service.login(key)[2]["refresh_token"]), key


@accepts("RT-22")
@refuses("RT-22")
def test_ten_processes_a_day_of_refreshes_lost_answers_and_restarts(service: Service) -> None:
    chance = random.Random(20)
    first, key = client_of(service)
    processes = [Client(service, key, first.token) for _ in range(PROCESSES)]
    (before,) = service.issuer.grants("alice")
    thief, tried = Client(service, Prover(ROOT, clock=lambda: service.now), first.token), 0
    for step in range(STEPS):
        service.now += chance.random() * 2 * DAY / STEPS
        one = chance.choice(processes)
        if chance.random() < 0.1:
            one.start()
        if step % 60 == 59:
            service.restart()
        assert one.refresh(is_lost=chance.random() < 0.5)[0] == 200
        if step % 20 == 7:
            assert service.refresh(first.token)[2]["error"] == "invalid_grant"
            status, answer = thief.refresh(is_lost=False)
            assert (status, answer["error"]) == (400, "invalid_grant")
            tried += 2
    (after,) = service.issuer.grants("alice")
    assert (after.id, after.generation, after.bound_key) == (before.id, 1, key.thumbprint)
    assert len(service.said(KeyMismatch)) == tried
    assert not service.said(Reused)
    # The log-out of one is that of all.
    service.issuer.revoke(after.id)
    for one in processes:
        status, answer = one.refresh(is_lost=False)
        assert (status, answer["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize("door", ["wsgi", "asgi"])
def test_a_request_of_a_bound_login_goes_the_way_of_any_known_token(
    door: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(door, proofs=NO_NONCES)
    key = Prover(ROOT, clock=lambda: service.now)
    tokens = service.login(key)[2]
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert service.send("GET", "/", bearer)[0] == 200

    def decide(*_: object) -> None:
        raise AssertionError("not from the cache")

    monkeypatch.setattr(Core, "decide", decide)
    assert service.send("GET", "/", bearer)[0] == 200
