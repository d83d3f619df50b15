"""RT-22: a grant that is bound to a key at its login, through both doors and in every store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from jwt_middleware import ConfigurationError, Issuer, Proofs, Refresh, Route, Settings
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.stores.memory import MemoryStore
from jwt_middleware.testing import Prover, TokenFactory
from jwt_middleware.token import refresh
from jwt_middleware.values.events import Event, KeyMismatch, Refused, Reused
from jwt_middleware.values.proved_key import ProvedKey
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware
from tests.rules import accepts, refuses
from tests.world import NOW, Sent, by_asgi, by_wsgi

ROUTES = (Route("/login", public=True, own_origin=True),)
ROOT = "https://login.example"


class Service:
    """An issuer behind one door, whose login binds to the key that its request proves."""

    def __init__(self, door: str, *, proofs: Proofs | None, store: Any = "memory://", **more: Any):
        self.now = NOW
        self.door = door
        self.run: Callable[[Any], Any] = asyncio.run  # one event loop for each request
        self.events: list[Event] = []
        self.factory = TokenFactory(clock=lambda: self.now)
        self.settings: Settings = self.factory.settings(
            routes=ROUTES,
            proofs=proofs,
            refresh=Refresh(store=store, **more),
            on_event=self.events.append,
        )
        self.open()

    def open(self) -> None:
        """Start, or start again."""
        self.issuer = Issuer(self.settings)
        if self.door == "wsgi":
            self.app: Any = WSGIMiddleware(self._wsgi, self.settings)
        else:
            self.app = ASGIMiddleware(self._asgi, self.settings)

    def restart(self) -> None:
        """Start again, as another process with the same settings does."""
        if self.door == "wsgi":
            self.settings.close()
        else:
            self.run(self.settings.aclose())
        self.settings = self.settings.replace()
        self.open()

    def _wsgi(self, environ: Any, start_response: Any) -> list[bytes]:
        body = b"application"
        if environ["PATH_INFO"] == "/login":
            proof = environ["jwt_middleware.proof"]
            body = json.dumps(self.issuer.issue("alice", proof=proof)).encode()
        start_response("200 OK", [("content-type", "application/json")])
        return [body]

    async def _asgi(self, scope: Any, receive: Any, send: Any) -> None:
        body = b"application"
        if scope["path"] == "/login":
            proof = scope["jwt_middleware.proof"]
            body = json.dumps(await self.issuer.aissue("alice", proof=proof)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    def send(
        self, method: str, path: str, headers: dict[str, str], members: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], Any]:
        body = json.dumps(members).encode() if members else b""
        fields = [(name, value.encode()) for name, value in headers.items()]
        if body:
            fields += [
                ("content-type", b"application/json"),
                ("content-length", str(len(body)).encode()),
            ]
        sent = Sent(method, path, fields, body)
        if self.door == "wsgi":
            status, found, content = by_wsgi(self.app, sent)
        else:
            status, found, content = self.run(by_asgi(self.app, sent))
        named = {name.lower(): value for name, value in found}
        is_json = content[:1] == b"{"
        return status, named, json.loads(content) if is_json else content

    def login(self, prover: Prover | None = None, **claims: Any) -> Any:
        proof = {} if prover is None else {"DPoP": prover.proof("POST", "/login", **claims)}
        return self.send("POST", "/login", proof)

    def refresh(self, token: str, prover: Prover | None = None, **claims: Any) -> Any:
        proof = {} if prover is None else {"DPoP": prover.proof("POST", "/auth/refresh", **claims)}
        members = {"grant_type": "refresh_token", "refresh_token": token}
        return self.send("POST", "/auth/refresh", proof, members)

    def said(self, kind: type[Event]) -> list[Any]:
        return [one for one in self.events if isinstance(one, kind)]


NO_NONCES = Proofs(nonces=False)


@pytest.fixture(params=["wsgi", "asgi"])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    made = Service(request.param, proofs=NO_NONCES)
    yield made
    made.settings.close()


@pytest.fixture
def prover(service: Service) -> Prover:
    return Prover(ROOT, clock=lambda: service.now)


@accepts("RT-22")
def test_a_bound_grant_is_refreshed_by_its_key_as_often_as_it_comes(
    service: Service, prover: Prover
) -> None:
    status, _, tokens = service.login(prover)
    assert (status, tokens["token_type"]) == (200, "Bearer")
    (grant,) = service.issuer.grants("alice")
    assert grant.bound_key == prover.thumbprint
    found = tokens
    for _ in range(5):
        service.now += 3600
        status, _, found = service.refresh(tokens["refresh_token"], prover)
        assert (status, found["refresh_token"]) == (200, tokens["refresh_token"])
    assert found["access_token"] != tokens["access_token"]
    (same,) = service.issuer.grants("alice")
    assert (same.generation, same.parent) == (1, None)
    # A request with its access token costs and needs what it always did.
    status, *_ = service.send("GET", "/", {"Authorization": f"Bearer {found['access_token']}"})
    assert status == 200


@refuses("RT-22")
@pytest.mark.parametrize("how", ["no proof", "another key", "a proof of the login"])
def test_a_copied_token_buys_nothing_and_changes_nothing(
    service: Service, prover: Prover, how: str
) -> None:
    tokens = service.login(prover)[2]
    (before,) = service.issuer.grants("alice")
    service.now += 7200
    thief = Prover(ROOT, clock=lambda: service.now)
    for _ in range(3):
        if how == "no proof":
            status, _, answer = service.refresh(tokens["refresh_token"])
        elif how == "another key":
            status, _, answer = service.refresh(tokens["refresh_token"], thief)
        else:
            status, _, answer = service.refresh(
                tokens["refresh_token"], prover, htu=f"{ROOT}/login"
            )
        expected = "invalid_dpop_proof" if how == "a proof of the login" else "invalid_grant"
        assert (status, answer["error"]) == (400, expected)
    (after,) = service.issuer.grants("alice")
    assert after == before
    assert not service.said(Reused)
    if how != "a proof of the login":
        assert [one.grant_id for one in service.said(KeyMismatch)] == [before.id] * 3
    assert service.refresh(tokens["refresh_token"], prover)[0] == 200


@refuses("RT-22")
def test_a_copied_token_is_refused_before_the_store_is_asked(
    service: Service, prover: Prover, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = service.login(prover)[2]

    def broken(*_: object) -> None:
        raise OSError("the store is away")

    monkeypatch.setattr("jwt_middleware.stores.memory.MemoryStore.advance", broken)
    assert service.refresh(tokens["refresh_token"])[0] == 400
    assert service.refresh(tokens["refresh_token"], Prover(ROOT, clock=lambda: NOW))[0] == 400
    assert service.refresh(tokens["refresh_token"], prover)[0] == 503


@accepts("RT-22")
def test_a_bound_refresh_asks_the_store_once(
    service: Service, prover: Prover, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens, asked = service.login(prover)[2], []
    for verb in ("add", "advance", "end", "end_subject", "is_living", "grants", "use", "admit"):
        real = getattr(MemoryStore, verb)

        def counted(*given: Any, real: Any = real, verb: str = verb) -> Any:
            asked.append(verb)
            return real(*given)

        monkeypatch.setattr(MemoryStore, verb, counted)
    for _ in range(3):
        assert service.refresh(tokens["refresh_token"], prover)[0] == 200
    assert asked == ["advance"] * 3


@refuses("RT-22")
def test_a_proof_at_the_refresh_of_an_unbound_grant_binds_nothing(
    service: Service, prover: Prover
) -> None:
    tokens = service.login()[2]
    service.now += 100
    status, _, found = service.refresh(tokens["refresh_token"], prover)
    assert status == 200
    assert found["refresh_token"] != tokens["refresh_token"]
    service.now += 100
    assert service.refresh(found["refresh_token"])[0] == 200
    assert service.refresh(found["refresh_token"], prover, htm="GET")[0] == 200  # not even read
    (grant,) = service.issuer.grants("alice")
    assert grant.bound_key is None


@refuses("RT-22")
@pytest.mark.parametrize("spoilt", [{"htm": "GET"}, {"iat": 5}, {"htu": "https://evil.example/"}])
def test_a_login_with_a_bad_proof_is_no_login(
    service: Service, prover: Prover, spoilt: dict[str, Any]
) -> None:
    status, headers, answer = service.login(prover, **spoilt)
    assert (status, answer["error"]) == (401, "invalid_dpop_proof")
    assert headers["www-authenticate"].startswith("DPoP ")
    assert service.issuer.grants("alice") == ()
    once = prover.proof("POST", "/login")
    assert service.send("POST", "/login", {"DPoP": once})[0] == 200
    assert service.send("POST", "/login", {"DPoP": once})[0] == 401


@accepts("RS-56", "RT-22")
@pytest.mark.parametrize("door", ["wsgi", "asgi"])
def test_the_endpoint_says_its_nonce_and_the_next_one(door: str) -> None:
    service = Service(door, proofs=Proofs())
    prover = Prover(ROOT, clock=lambda: service.now)
    status, headers, answer = service.login(prover)
    assert (status, answer["error"]) == (401, "use_dpop_nonce")
    prover.nonce = headers["dpop-nonce"]
    tokens = service.login(prover)[2]
    service.now += 3600
    status, headers, answer = service.refresh(tokens["refresh_token"], prover)
    assert (status, answer["error"]) == (400, "use_dpop_nonce")
    assert headers["cache-control"] == "no-store"
    prover.nonce = headers["dpop-nonce"]
    service.now += 300
    status, headers, _ = service.refresh(tokens["refresh_token"], prover)
    assert status == 200
    assert headers["dpop-nonce"] != prover.nonce
    reasons = [one.reason for one in service.said(Refused)]
    assert reasons == ["proof_nonce", "proof_nonce"]


@accepts("RS-52", "RT-22")
@pytest.mark.parametrize("door", ["wsgi", "asgi"])
def test_access_tokens_may_be_bound_as_well(door: str) -> None:
    service = Service(door, proofs=Proofs(nonces=False, access=True))
    prover = Prover(ROOT, clock=lambda: service.now)
    tokens = service.login(prover)[2]
    assert tokens["token_type"] == "DPoP"
    refreshed = service.refresh(tokens["refresh_token"], prover)[2]
    assert refreshed["token_type"] == "DPoP"
    for text in (tokens["access_token"], refreshed["access_token"]):
        assert service.send("GET", "/", {"Authorization": f"Bearer {text}"})[0] == 401
        assert service.send("GET", "/", prover.headers("GET", "/", text))[0] == 200
    unbound = service.login()[2]
    assert unbound["token_type"] == "Bearer"
    assert (
        service.send("GET", "/", {"Authorization": f"Bearer {unbound['access_token']}"})[0] == 200
    )


def test_without_the_setting_a_bound_grant_waits(service: Service, prover: Prover) -> None:
    tokens = service.login(prover)[2]
    key = ProvedKey(prover.thumbprint)
    without = Service(service.door, proofs=None)
    with pytest.raises(ValueError, match=r"Settings\.proofs is None"):
        without.issuer.issue("alice", proof=key)
    with pytest.raises(ValueError, match="own_origin"):
        service.issuer.issue("alice", proof="a text")  # type: ignore[arg-type]
    # The same secrets, without proofs: a fault of the configuration logs nobody out.
    forgot = service.settings.replace(proofs=None)
    service.settings = forgot
    service.open()
    assert service.refresh(tokens["refresh_token"], prover)[0] == 503


@refuses("RT-22")
def test_a_token_that_doesnt_say_that_its_grant_is_bound_buys_nothing(
    service: Service, prover: Prover
) -> None:
    service.login(prover)
    (row,) = service.issuer.grants("alice")
    issuing = service.issuer._runtime.core(asynchronous=False).issuing
    assert issuing is not None
    keys = issuing.signing().refresh
    unmarked = refresh.mint(
        keys, grant=replace(row, bound_key=None), jti="j", now=NOW - 3600, agent=None
    )
    for key in (None, prover):  # a proof isn't even read for a token that isn't marked
        status, _, answer = service.refresh(unmarked, key)
        assert (status, answer["error"]) == (400, "invalid_grant")
    assert service.issuer.grants("alice") == (row,)
    assert len(service.said(KeyMismatch)) == 2


def test_a_login_that_may_have_begun_before_is_bound_to_no_key(
    service: Service, prover: Prover
) -> None:
    with pytest.raises(ValueError, match="once"):
        service.issuer.issue("alice", once="s" * 40, proof=ProvedKey(prover.thumbprint))


def test_a_rule_asks_for_a_proof_in_one_of_two_words() -> None:
    wanted: Any = "always"
    with pytest.raises(ConfigurationError, match=r"proof.*required"):
        Route("/", proof=wanted)
