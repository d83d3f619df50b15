"""What FAPI 2.0's conformance suite tries with proofs, in our words, wherever we take one.

Each is sent to a protected resource, to the refresh endpoint, and to a login, through both doors; a
request has a query. At the end a good proof is still good. The suite's own cases, and beside them
what it asks of a token endpoint: `nbf` and `exp` in a proof, and clocks that are wrong by 10 s.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Generator
from typing import Any

import pytest

from jwt_middleware import Issuer, Proofs, Refresh, Route
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.testing import ABSENT, Prover, TokenFactory
from jwt_middleware.token.proof import token_hash
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware
from tests.rules import accepts, refuses
from tests.world import NOW, Sent, by_asgi, by_wsgi

LOGIN, REFRESH, RESOURCE = "/login", "/auth/refresh", "/orders/1"
METHODS = {LOGIN: "POST", REFRESH: "POST", RESOURCE: "GET"}
HOUR = 3600


class Place:
    """A service behind one door, a client with a bound login, and where the client asks."""

    def __init__(self, door: str, path: str, *, nonces: bool) -> None:
        self.path = path
        self.method = METHODS[path]
        self._door = door
        factory = TokenFactory(clock=lambda: NOW)
        self.settings = factory.settings(
            proofs=Proofs(access=True, nonces=nonces),
            routes=(Route(LOGIN, public=True, own_origin=True),),
            refresh=Refresh(store="memory://", cookies=None),
        )
        self._issuer = Issuer(self.settings)
        self._application: Any = (
            WSGIMiddleware(self._wsgi, self.settings)
            if door == "wsgi"
            else ASGIMiddleware(self._asgi, self.settings)
        )
        self.prover = Prover(factory.issuer, clock=lambda: NOW)
        self.thief = Prover(factory.issuer, clock=lambda: NOW)
        self.nonces = nonces
        self._login: Any = {}
        at, self.path, self.method = path, LOGIN, "POST"
        if nonces:
            said = self.send([self.prover.proof("POST", LOGIN)])
            self.thief.nonce = self.prover.nonce = said[1]["dpop-nonce"]
        self._login = json.loads(self.send([self.prover.proof("POST", LOGIN)])[2])
        self.path, self.method = at, METHODS[at]

    @property
    def token(self) -> str | None:
        """Return the access token that goes with the request, if one does."""
        found: str | None = self._login["access_token"] if self.path == RESOURCE else None
        return found

    def good(self, prover: Prover | None = None, **spoilt: Any) -> str:
        return (prover or self.prover).proof(self.method, self.path, self.token, **spoilt)

    def send(self, proofs: list[str], scheme: str = "DPoP", name: str = "DPoP") -> Any:
        """Return status, fields and content of a request with these proofs."""
        sent = Sent(self.method, self.path, [(name, one.encode()) for one in proofs])
        if self.path == RESOURCE:
            sent.headers.append(("Authorization", f"{scheme} {self.token}".encode()))
        if self.path == REFRESH:
            form = {"grant_type": "refresh_token", "refresh_token": self._login["refresh_token"]}
            body = json.dumps(form).encode()
            sent = Sent(self.method, self.path, sent.headers, body)
            sent.headers.append(("content-type", b"application/json"))
            sent.headers.append(("content-length", str(len(body)).encode()))
        if self._door == "wsgi":
            status, found, content = by_wsgi(self._application, sent, QUERY_STRING="page=2")
        else:
            asked = by_asgi(self._application, sent, query_string=b"page=2")
            status, found, content = asyncio.run(asked)
        return status, {key.lower(): value for key, value in found}, content

    def _content(self, path: str, proved: Any) -> bytes:
        tokens = self._issuer.issue("alice", proof=proved) if path == LOGIN else {}
        return json.dumps(dict(tokens)).encode()

    def _wsgi(self, environ: Any, start_response: Any) -> list[bytes]:
        content = self._content(environ["PATH_INFO"], environ["jwt_middleware.proof"])
        start_response("200 OK", [("content-type", "application/json")])
        return [content]

    async def _asgi(self, scope: Any, receive: Any, send: Any) -> None:
        content = self._content(scope["path"], scope["jwt_middleware.proof"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": content})


@pytest.fixture(params=["wsgi", "asgi"])
def door(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(params=[True, False], ids=["nonces", "no nonces"])
def nonces(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=METHODS)
def place(request: pytest.FixtureRequest, door: str, nonces: bool) -> Generator[Place]:
    made = Place(door, request.param, nonces=nonces)
    yield made
    made.settings.close()


def unsigned(place: Place) -> str:
    return place.good(header={"alg": "none"}).rpartition(".")[0] + "."


def misnamed(place: Place) -> str:
    """Return a proof that was signed, and whose `alg` was then given another name."""
    return ".".join(
        (place.good(header={"alg": ABSENT}).split(".")[0], *place.good().split(".")[1:])
    )


def with_another_signature(place: Place) -> str:
    first, second = place.good(), place.good()
    return ".".join((*first.split(".")[:2], second.split(".")[2]))


GOOD: dict[str, Callable[[Place], list[str]]] = {
    "as it should be": lambda p: [p.good()],
    "htu with a query and a fragment": lambda p: [
        p.good(htu=f"{p.prover.root}{p.path}?page=2#first")
    ],
    "htu with another query": lambda p: [p.good(htu=f"{p.prover.root}{p.path}?other")],
    "htu without the query of the request": lambda p: [p.good(htu=f"{p.prover.root}{p.path}")],
    "htu in upper case": lambda p: [p.good(htu=p.prover.root.upper() + p.path)],
    "htu with the scheme's own port": lambda p: [p.good(htu=f"{p.prover.root}:443{p.path}")],
    "more members": lambda p: [p.good(header={"tx": int(NOW) + HOUR}, tx_key=int(NOW) + HOUR)],
    "10 s behind": lambda p: [p.good(iat=int(NOW) - 10)],
    "8 s ahead": lambda p: [p.good(iat=int(NOW) + 8)],
    "nbf and exp": lambda p: [p.good(nbf=int(NOW), exp=int(NOW) + 300)],
}
BAD: dict[str, Callable[[Place], list[str]]] = {
    "two": lambda p: [p.good(), p.good()],
    "two in one": lambda p: [f"{p.good()},{p.good()}"],
    "without its signature": lambda p: [p.good().rpartition(".")[0]],
    "no typ": lambda p: [p.good(header={"typ": ABSENT})],
    "another typ": lambda p: [p.good(header={"typ": "dpop+jwt+other"})],
    "no alg": lambda p: [misnamed(p)],
    "no jwk": lambda p: [p.good(header={"jwk": ABSENT})],
    "no jti": lambda p: [p.good(jti=ABSENT)],
    "no htm": lambda p: [p.good(htm=ABSENT)],
    "no htu": lambda p: [p.good(htu=ABSENT)],
    "no iat": lambda p: [p.good(iat=ABSENT)],
    "alg none": lambda p: [unsigned(p)],
    "another signature": lambda p: [with_another_signature(p)],
    "the private key": lambda p: [p.good(header={"jwk": p.prover.key.to_jwk()})],
    "another method": lambda p: [p.good(htm="PUT")],
    "another URL": lambda p: [p.good(htu="https://www.example.org/")],
    "another path": lambda p: [p.good(htu=f"{p.prover.root}{p.path}/more")],
    "an hour ahead": lambda p: [p.good(iat=int(NOW) + HOUR)],
    "an hour behind": lambda p: [p.good(iat=int(NOW) - HOUR)],
}
BAD_AT_RESOURCES: dict[str, Callable[[Place], list[str]]] = {
    "no ath": lambda p: [p.good(ath=ABSENT)],
    "another ath": lambda p: [p.good(ath=token_hash("another"))],
    "none": lambda _: [],
}


def check_still_good(place: Place) -> None:
    assert place.send([place.good()])[0] == 200


@accepts("RS-50", "RS-51", "RS-54", "RT-22")
@pytest.mark.parametrize("name", GOOD)
def test_what_is_good_is_taken(place: Place, name: str) -> None:
    assert place.send(GOOD[name](place))[0] == 200


@accepts("RS-50", "RS-58")
@pytest.mark.parametrize("scheme", ["DPoP", "dpop", "DPOP"])
@pytest.mark.parametrize("name", ["DPoP", "DPOP", "dpop"])
def test_names_of_fields_and_schemes_have_no_case(place: Place, scheme: str, name: str) -> None:
    assert place.send([place.good()], scheme=scheme, name=name)[0] == 200


@refuses("RS-50", "RS-51", "RS-54", "RT-22")
@pytest.mark.parametrize("name", BAD)
def test_what_is_bad_is_refused(place: Place, name: str) -> None:
    status, fields, content = place.send(BAD[name](place))
    assert status == (400 if place.path == REFRESH else 401)
    assert json.loads(content)["error"] == "invalid_dpop_proof"
    assert fields["cache-control"] == "no-store"
    if place.path != REFRESH:
        assert fields["www-authenticate"].startswith("DPoP ")
    check_still_good(place)


@refuses("RS-50", "RS-52", "RS-53")
@pytest.mark.parametrize("name", BAD_AT_RESOURCES)
@pytest.mark.parametrize("scheme", ["DPoP", "Bearer"])
def test_what_is_bad_with_a_token_is_refused(
    door: str, nonces: bool, name: str, scheme: str
) -> None:
    place = Place(door, RESOURCE, nonces=nonces)
    status, fields, _ = place.send(BAD_AT_RESOURCES[name](place), scheme=scheme)
    assert status == 401
    assert fields["www-authenticate"].startswith(f"{scheme} ")
    assert place.send([place.good()], scheme="Bearer")[0] == 401
    check_still_good(place)
    place.settings.close()


@refuses("RS-52", "RT-22")
@pytest.mark.parametrize("path", [REFRESH, RESOURCE])
def test_another_key_is_refused(door: str, nonces: bool, path: str) -> None:
    place = Place(door, path, nonces=nonces)
    status, _, content = place.send([place.good(place.thief)])
    expected = (400, "invalid_grant") if path == REFRESH else (401, "invalid_dpop_proof")
    assert (status, json.loads(content)["error"]) == expected
    check_still_good(place)
    place.settings.close()


@refuses("RS-55")
@pytest.mark.parametrize("path", [LOGIN, RESOURCE])
def test_a_jti_is_good_once(door: str, nonces: bool, path: str) -> None:
    place = Place(door, path, nonces=nonces)
    assert place.send([place.good(jti="the same")])[0] == 200
    assert place.send([place.good(jti="the same")])[0] == 401
    check_still_good(place)
    place.settings.close()


@refuses("RS-56")
def test_a_proof_needs_the_nonce_that_was_said(place: Place) -> None:
    for nonce in (ABSENT, "", "another"):
        status, fields, content = place.send([place.good(nonce=nonce)])
        if not place.nonces:
            assert status == 200
            continue
        assert status == (400 if place.path == REFRESH else 401)
        assert json.loads(content)["error"] == "use_dpop_nonce"
        assert fields["dpop-nonce"] == place.prover.nonce
    check_still_good(place)
