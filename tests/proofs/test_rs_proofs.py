"""RS-50 to RS-58 through both doors: what a request with a bound token must show."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from itertools import repeat
from secrets import randbits
from typing import Any

import pytest

from jwt_middleware import Proofs, Refresh, Resource, Route, TrustedIssuer
from jwt_middleware.jose.jwk import from_jwk
from jwt_middleware.testing import ABSENT, Prover, TokenFactory
from jwt_middleware.token.proof import token_hash
from tests.proofs.shown import Fields, Shown
from tests.rules import accepts, refuses
from tests.world import NOW, Answer, World

WITH_NONCES = Proofs(
    urls=("https://api.example",), secret="n" * 8 + "QW3rT9zXc5vB7nM1kL2jH4gF6dS8aP0o"
)
BOTH = 'DPoP realm="api", '


@pytest.fixture
def shown() -> Shown:
    return Shown()


# --- RS-50: one well-formed proof, by the key that it brings


@accepts("RS-50", "RS-51", "RS-52")
@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "Ed25519", "EdDSA"])
def test_a_bound_token_with_its_proof_is_let_in(algorithm: str) -> None:
    shown = Shown(algorithm=algorithm)
    answer = shown.ask()
    assert (answer.status, answer.user) == (200, "alice")
    assert answer.token is not None
    assert answer.token.bound_key == shown.prover.thumbprint
    token = shown.token()
    shown.ask(token=token)
    seen = {id(shown.ask("POST", "/somewhere", token).token) for _ in range(3)}
    assert len(seen) == 1, "it is verified again, though it is known"


@accepts("RS-50")
@pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
def test_a_proof_by_rsa_where_it_is_configured(algorithm: str) -> None:
    proofs = Proofs(urls=("https://api.example",), nonces=False, algorithms=(algorithm,))
    assert Shown(algorithm=algorithm, proofs=proofs).ask().status == 200


@accepts("RS-50")
def test_members_that_nobody_knows_are_ignored(shown: Shown) -> None:
    token = shown.token()
    header = {"kid": "mine", "x5c": ["x"], "typ": "application/DPoP+JWT"}
    assert shown.ask(token=token, header=header, exp=1, aud="anybody").status == 200
    jwk = {**shown.prover.jwk, "alg": "ES256", "key_ops": ["verify"], "ext": True}
    assert shown.ask(token=token, header={"jwk": jwk}).status == 200


def private(prover: Prover) -> dict[str, Any]:
    return {**prover.key.to_jwk()}


SPOILT_HEADERS: dict[str, Any] = {
    "no typ": lambda p: {"typ": ABSENT},
    "typ of a token": lambda p: {"typ": "at+jwt"},
    "typ JWT": lambda p: {"typ": "JWT"},
    "typ no text": lambda p: {"typ": 1},
    "no alg": lambda p: {"alg": ABSENT},
    "alg none": lambda p: {"alg": "none"},
    "alg HS256": lambda p: {"alg": "HS256"},
    "alg RS256, which isn't allowed": lambda p: {"alg": "RS256"},
    "alg of another curve": lambda p: {"alg": "ES384"},
    "no jwk": lambda p: {"jwk": ABSENT},
    "jwk null": lambda p: {"jwk": None},
    "jwk a text": lambda p: {"jwk": "key"},
    "jwk empty": lambda p: {"jwk": {}},
    "jwk private": lambda p: {"jwk": private(p)},
    "jwk a secret": lambda p: {"jwk": {"kty": "oct", "k": "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"}},
    "jwk of another key": lambda p: {"jwk": Prover().jwk},
    "jwk for encryption": lambda p: {"jwk": {**p.jwk, "use": "enc"}},
    "jwk cut": lambda p: {"jwk": {**p.jwk, "x": p.jwk["x"][:-4]}},
    "kid instead of jwk": lambda p: {"jwk": ABSENT, "kid": "mine"},
    "crit": lambda p: {"crit": ["exp"]},
    "b64": lambda p: {"b64": False},
}
SPOILT_CLAIMS: dict[str, Any] = {
    "no jti": {"jti": ABSENT},
    "jti a number": {"jti": 7},
    "jti empty": {"jti": ""},
    "jti of a kilobyte": {"jti": "j" * 1000},
    "no htm": {"htm": ABSENT},
    "htm a list": {"htm": ["GET"]},
    "no htu": {"htu": ABSENT},
    "htu a number": {"htu": 5},
    "no iat": {"iat": ABSENT},
    "iat a text": {"iat": str(int(NOW))},
    "iat true": {"iat": True},
    "ath a number": {"ath": 5},
    "nonce null": {"nonce": None},
}


@refuses("RS-50")
@pytest.mark.parametrize("name", SPOILT_HEADERS)
def test_a_proof_with_a_wrong_header_is_refused(shown: Shown, name: str) -> None:
    answer = shown.ask(header=SPOILT_HEADERS[name](shown.prover))
    assert (answer.status, answer.error, answer.reached) == (401, "invalid_dpop_proof", False)


@refuses("RS-50")
@pytest.mark.parametrize("name", SPOILT_CLAIMS)
def test_a_proof_with_a_wrong_claim_is_refused(shown: Shown, name: str) -> None:
    answer = shown.ask(**SPOILT_CLAIMS[name])
    assert (answer.status, answer.error, answer.reached) == (401, "invalid_dpop_proof", False)


def fields(token: str, *proofs: str) -> list[tuple[str, str]]:
    return [("Authorization", f"DPoP {token}"), *(("DPoP", one) for one in proofs)]


@refuses("RS-50")
def test_no_proof_two_proofs_and_none_that_is_one(shown: Shown) -> None:
    token = shown.token()

    def refused(*proofs: str) -> str | None:
        answer = shown.send("GET", "/", lambda: fields(token, *proofs))
        assert (answer.status, answer.error) == (401, "invalid_dpop_proof")
        return answer.reason

    def good() -> str:
        return shown.prover.proof("GET", "/", token)

    assert refused() == "proof_missing"
    assert refused(good(), good()) == "proof_twice"
    assert refused(f"{good()}, {good()}") == "proof_twice"
    for text in ("", "x", "a.b", token, good() + "=", good()[:-2], "x" * 5000, good() + ".x"):
        assert refused(text) in (
            "proof_malformed",
            "proof_type",
            "proof_signature",
            "proof_missing",
        )


@refuses("RS-50")
@pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
def test_an_algorithm_that_isnt_allowed(algorithm: str) -> None:
    answer = Shown(algorithm=algorithm).ask()
    assert (answer.status, answer.reason) == (401, "proof_algorithm")


@refuses("RS-50")
@pytest.mark.parametrize(("bits", "reason"), [(4096, "proof_signature"), (4104, "proof_key")])
def test_a_key_of_more_than_4096_bits_is_nobodys_to_choose(bits: int, reason: str) -> None:
    proofs = Proofs(urls=("https://api.example",), nonces=False, algorithms=("RS256",))
    shown = Shown(proofs=proofs)
    # Any number without small factors will do for a modulus.
    header = {"alg": "RS256", "jwk": next(filter(None, map(some_key, repeat(bits))))}
    answer = shown.ask(header=header)
    assert (answer.status, answer.reason) == (401, reason)


def some_key(bits: int) -> dict[str, str] | None:
    number = randbits(bits) | 1 << (bits - 1) | 1
    modulus = urlsafe_b64encode(number.to_bytes(bits // 8)).rstrip(b"=").decode()
    jwk = {"kty": "RSA", "e": "AQAB", "n": modulus}
    try:
        from_jwk(jwk, algorithm="RS256")
    except ValueError:
        return None
    return jwk


# --- RS-51: of this request


@accepts("RS-51")
@pytest.mark.parametrize(
    "url",
    [
        "https://api.example/orders/1",
        "HTTPS://API.EXAMPLE/orders/1",
        "https://api.example:443/orders/1",
        "https://api.example/orders/1?page=2#end",
        "https://api.example/%6Frders/1",
        "https://api.example/x/../orders/./1",
    ],
)
def test_equivalent_urls_are_one(shown: Shown, url: str) -> None:
    assert shown.ask("GET", "/orders/1", htu=url).status == 200


@accepts("RS-51")
def test_a_root_may_have_several_names_and_a_path() -> None:
    proofs = Proofs(urls=("https://shop.example/api", "http://localhost:8000"), nonces=False)
    shown = Shown(proofs=proofs)
    for root in ("https://shop.example/api", "http://localhost:8000", "http://LOCALHOST:8000"):
        assert shown.ask(htu=f"{root}/").status == 200
        assert shown.ask("GET", "/ä b", htu=f"{root}/%C3%A4%20b").status == 200
    for root in ("https://shop.example", "https://localhost:8000", "http://localhost"):
        assert shown.ask(htu=f"{root}/").reason == "proof_of_another_url"


@refuses("RS-51")
@pytest.mark.parametrize(
    "url",
    [
        "http://api.example/orders/1",
        "https://api.example:8443/orders/1",
        "https://other.example/orders/1",
        "https://api.example.evil.example/orders/1",
        "https://user@api.example/orders/1",
        "https://api.example/orders/2",
        "https://api.example/Orders/1",
        "https://api.example/orders/1/",
        "https://api.example",
        "/orders/1",
        "//api.example/orders/1",
        "ftp://api.example/orders/1",
        "https://api.example:port/orders/1",
        "https://api.example/orders /1",
        "https://api.example/orders/%FF",
        "https:///orders/1",
        "https://api.example/" + "o" * 2100,
        "https://api.exämple/orders/1",
    ],
)
def test_another_url_is_another_request(shown: Shown, url: str) -> None:
    answer = shown.ask("GET", "/orders/1", htu=url)
    assert (answer.status, answer.error) == (401, "invalid_dpop_proof")
    assert answer.reason == "proof_of_another_url"


@refuses("RS-51")
@pytest.mark.parametrize("method", ["POST", "get", "PUT", "HEAD"])
def test_another_method_is_another_request(shown: Shown, method: str) -> None:
    assert shown.ask("GET", "/", htm=method).reason == "proof_of_another_method"


@refuses("RS-51")
def test_a_host_field_names_no_url(shown: Shown) -> None:
    token = shown.token()

    def spoofed() -> list[tuple[str, str]]:
        proof = shown.prover.proof("GET", "/", token, htu="https://evil.example/")
        return [
            *fields(token, proof),
            ("Host", "evil.example"),
            ("X-Forwarded-Host", "evil.example"),
        ]

    assert shown.send("GET", "/", spoofed).status == 401


# --- RS-52: of this token, by its key


@refuses("RS-52")
def test_a_proof_of_another_token_or_of_none(shown: Shown) -> None:
    token = shown.token()
    assert shown.ask(token=token).status == 200
    for ath in (ABSENT, token_hash(shown.token()), "x", token_hash(token)[:-1]):
        answer = shown.ask(token=token, ath=ath)
        assert (answer.status, answer.reason) == (401, "proof_of_another_token")


@refuses("RS-52")
def test_a_proof_by_another_key(shown: Shown) -> None:
    token, thief = shown.token(), Prover(clock=lambda: shown.now)
    assert shown.ask(token=token).status == 200
    answer = shown.send("GET", "/", lambda: thief.headers("GET", "/", token))
    assert (answer.status, answer.reason) == (401, "proof_by_another_key")


# --- RS-53: never as a bearer token


@accepts("RS-53")
def test_an_unbound_token_is_a_bearer_token(shown: Shown) -> None:
    assert shown.world.get(token=shown.factory.token()).status == 200


@refuses("RS-53")
def test_a_bound_token_is_no_bearer_token(shown: Shown) -> None:
    token = shown.token()
    for _ in range(2):  # new, and known
        answer = shown.world.get(token=token)
        assert (answer.status, answer.error, answer.reached) == (401, "invalid_token", False)
        assert answer.challenge.startswith('Bearer realm="api", error="invalid_token"')
        assert 'DPoP realm="api", algs="ES256' in answer.challenge
        sent = {"DPoP": shown.prover.proof("GET", "/", token)}
        assert shown.world.get(token=token, headers=list(sent.items())).status == 401
        assert shown.ask(token=token).status == 200


@refuses("RS-53")
def test_an_unbound_token_needs_the_scheme_bearer(shown: Shown) -> None:
    token = shown.factory.token()
    for _ in range(3):
        answer = shown.ask(token=token)
        assert (answer.status, answer.error) == (401, "invalid_token")
        assert answer.reason == "token_not_bound"
        assert answer.challenge.startswith(BOTH)
    assert shown.world.get(token=token).status == 200
    assert shown.ask(token=token).status == 401


@refuses("RS-53")
@pytest.mark.parametrize(
    "cnf",
    [
        None,
        {},
        "x",
        {"jkt": 5},
        {"jkt": "short"},
        {"jkt": None},
        {"jwk": {}},
        {"kid": "x"},
        {"x5t#S256": "A" * 43},
    ],
)
def test_a_token_that_is_bound_otherwise_is_refused(shown: Shown, cnf: Any) -> None:
    assert shown.ask(token=shown.token(cnf=cnf)).status == 401
    assert shown.world.get(token=shown.token(cnf=cnf)).status == 401
    both = shown.token(cnf={**shown.prover.cnf, "x5t#S256": "A" * 43})
    assert shown.ask(token=both).status == 401


def test_without_the_setting_bound_tokens_are_refused() -> None:
    shown = Shown(proofs=None, routes=())
    answer = shown.ask()
    assert (answer.status, answer.error, answer.challenge) == (401, None, 'Bearer realm="api"')
    assert shown.world.get(token=shown.token()).reason == "sender_constrained"


# --- RS-54, RS-55: new, and once


@accepts("RS-54")
@pytest.mark.parametrize("seconds", [-85, -10, 0, 10, 30])
def test_a_proof_is_good_for_a_minute_and_the_leeway(shown: Shown, seconds: int) -> None:
    assert shown.ask(iat=int(NOW) + seconds).status == 200


@refuses("RS-54")
@pytest.mark.parametrize("seconds", [-3600, -90, 31, 3600, 10**12])
def test_an_old_proof_and_one_from_ahead_are_refused(shown: Shown, seconds: int) -> None:
    assert shown.ask(iat=int(NOW) + seconds).status == 401


def through(shown: Shown, door: str, method: str, path: str, sent: Fields) -> Answer:
    pairs = sent.items() if isinstance(sent, dict) else sent
    octets = [(name, value.encode()) for name, value in pairs]
    answer: Answer = getattr(shown.world, f"through_{door}")(method, path, octets)
    return answer


@pytest.mark.parametrize("in_store", [True, False])
@refuses("RS-54", "RS-55")
def test_a_proof_is_good_once(in_store: bool) -> None:
    shown = Shown(refresh=Refresh(store="memory://") if in_store else None)
    token = shown.token()
    sent = shown.prover.headers("GET", "/a", token, jti="one")
    assert through(shown, "wsgi", "GET", "/a", sent).status == 200
    for door in ("wsgi", "asgi"):
        answer = through(shown, door, "GET", "/a", sent)
        assert (answer.status, answer.error) == (401, "invalid_dpop_proof")
        assert answer.reason == "proof_replayed"
        # Another spelling, another URL and another method make no other proof of it.
        for method, path, url in (
            ("GET", "/a", "https://API.example/a?x"),
            ("GET", "/b", "https://api.example/b"),
            ("POST", "/a", "https://api.example/a"),
        ):
            again = shown.prover.headers(method, path, token, jti="one", htu=url)
            assert through(shown, door, method, path, again).reason == "proof_replayed"
        shown.now += 89
        assert through(shown, door, "GET", "/a", sent).reason == "proof_replayed"
        shown.now += 1
        assert through(shown, door, "GET", "/a", sent).reason == "proof_too_old"
        shown.now = NOW


@accepts("RS-55")
def test_what_fails_otherwise_uses_up_no_proof(shown: Shown) -> None:
    token, allowed = shown.token(), shown.token(scope="admin")
    for door in ("wsgi", "asgi"):

        def ask(text: str, **claims: Any) -> int:
            sent = shown.prover.headers("GET", "/admin", text, jti=f"of {door}", **claims)  # noqa: B023
            return through(shown, door, "GET", "/admin", sent).status  # noqa: B023

        assert ask(allowed, ath="x") == 401
        assert ask(token) == 403  # its scope is too small
        assert ask(allowed) == 200
        assert ask(allowed) == 401


# --- RS-56: nonces


@accepts("RS-56")
def test_a_nonce_is_asked_for_told_once_and_taken() -> None:
    shown = Shown(proofs=WITH_NONCES)
    answer = shown.ask()
    assert (answer.status, answer.error, answer.reason) == (401, "use_dpop_nonce", "proof_nonce")
    assert answer.challenge.startswith('DPoP realm="api", error="use_dpop_nonce"')
    assert answer.header("cache-control") == "no-store"
    shown.prover.nonce = answer.header("dpop-nonce")
    assert shown.prover.nonce is not None
    assert shown.ask().status == 200
    assert shown.ask().header("dpop-nonce") is None
    shown.now += 299
    assert shown.ask().status == 200
    # A clock of the client's that is wrong by ten minutes: the nonce says how old the proof is.
    assert shown.ask(iat=int(shown.now) - 600).status == 200
    assert shown.ask(iat=int(shown.now) + 600).status == 200
    assert shown.ask(iat=int(shown.now) - 3600).reason == "proof_too_old"


@refuses("RS-56")
def test_a_proof_without_a_good_nonce_is_refused() -> None:
    shown = Shown(proofs=WITH_NONCES)
    nonce = shown.prover.nonce = shown.ask().header("dpop-nonce") or ""
    for spoilt in (ABSENT, nonce[:-1], nonce + "A", "A" * 28, nonce.lower(), "é" * 28, "n" * 200):
        answer = shown.ask(nonce=spoilt)
        assert (answer.status, answer.error) == (401, "use_dpop_nonce"), spoilt
        assert answer.header("dpop-nonce") == nonce
    shown.now += 600
    answer = shown.ask()
    assert answer.error == "use_dpop_nonce"
    assert answer.header("dpop-nonce") not in (None, nonce)


@refuses("RS-56")
def test_a_nonce_of_another_service_is_none() -> None:
    one, other = (
        Shown(proofs=WITH_NONCES),
        Shown(
            proofs=Proofs(
                urls=("https://api.example",), secret="M3nB6vC9xZ2aS5dF8gH1jK4lQ7wE0rT3yU6i"
            )
        ),
    )
    one.prover.nonce = other.ask().header("dpop-nonce")
    assert one.ask().error == "use_dpop_nonce"


# --- RS-57, RS-58: challenges, and scripts that read them


def asked_from(origin: str) -> Answer:
    """Return the answer to a script of this origin that proves its key, and lacks a nonce."""
    shown = Shown(proofs=WITH_NONCES, origins=("https://app.example",))
    token = shown.token()
    return shown.send(
        "GET", "/", lambda: [*shown.prover.headers("GET", "/", token).items(), ("Origin", origin)]
    )


@accepts("RS-57")
def test_scripts_may_read_challenge_and_nonce_and_send_proofs() -> None:
    exposed = asked_from("https://app.example").header("access-control-expose-headers") or ""
    assert {"WWW-Authenticate", "DPoP-Nonce"} <= set(exposed.split(", "))


@refuses("RS-57")
def test_other_sites_scripts_may_not() -> None:
    answer = asked_from("https://evil.example")
    assert answer.header("access-control-allow-origin") is None
    assert answer.header("access-control-expose-headers") is None


@accepts("RS-58")
def test_the_challenges_name_both_schemes_or_the_only_one(shown: Shown) -> None:
    algs = 'algs="ES256 ES384 ES512 Ed25519 EdDSA"'
    # RFC 9449 s7.1, s7.2: without credentials no error.
    assert shown.world.get().challenge == f'Bearer realm="api", DPoP realm="api", {algs}'
    assert shown.world.get("/bound").challenge == f'DPoP realm="api", {algs}'
    for path in ("/bound", "/"):
        answer = shown.ask(path=path, ath="x")
        assert answer.challenge.startswith('DPoP realm="api", error="invalid_dpop_proof", ')
        assert algs in answer.challenge
        assert ("Bearer" in answer.challenge) is (path == "/")


@refuses("RS-58")
def test_an_unbound_token_doesnt_open_a_route_that_needs_a_proof(shown: Shown) -> None:
    token = shown.factory.token()
    for _ in range(2):
        assert shown.world.get(token=token).status == 200
        answer = shown.world.get("/bound", token)
        assert (answer.status, answer.error, answer.reason) == (
            401,
            "invalid_token",
            "token_not_bound",
        )
        assert answer.challenge.startswith('DPoP realm="api", error="invalid_token"')
    assert shown.ask(path="/bound").status == 200


@refuses("RS-58", "RS-03")
@pytest.mark.parametrize(
    "authorization",
    ["DPoP", "DPoP ", "DPoP a b", "DPoP a,b", "DPoP a, Bearer b", "DPoP\ta", "dpop =", "DPoP é"],
)
def test_malformed_credentials_of_the_scheme_are_a_bad_request(
    shown: Shown, authorization: str
) -> None:
    answer = shown.world.get(headers=[("Authorization", authorization)])
    assert (answer.status, answer.error) == (400, "invalid_request")


@accepts("RS-58", "RS-01")
@pytest.mark.parametrize("scheme", ["DPoP", "dpop", "DPOP"])
def test_the_scheme_is_written_in_any_case(shown: Shown, scheme: str) -> None:
    token = shown.token()

    def made() -> list[tuple[str, str]]:
        return [
            ("Authorization", f"{scheme} {token}"),
            ("DPoP", shown.prover.proof("GET", "/", token)),
        ]

    assert shown.send("GET", "/", made).status == 200


# --- beside the rules


def test_a_proof_on_a_public_route_is_not_read(shown: Shown) -> None:
    answer = shown.world.get("/public", headers=[("DPoP", "nonsense"), ("Authorization", "DPoP x")])
    assert (answer.status, answer.token) == (200, None)
    assert shown.ask(path="/optional").status == 200
    assert shown.ask(path="/optional", ath="x").status == 401


def test_a_service_may_need_proofs_on_every_route() -> None:
    proofs = Proofs(urls=("https://api.example",), nonces=False, required=True)
    routes = (Route("/old", proof="accepted"), Route("/scoped", scope="read"))
    shown = Shown(proofs=proofs, routes=routes)
    bearer = shown.factory.token(scope="read")
    assert shown.world.get(token=bearer).reason == "token_not_bound"
    assert shown.world.get("/scoped", bearer).status == 401
    assert shown.world.get("/old", bearer).status == 200
    assert shown.world.get("//old", bearer).status == 400  # an odd spelling opens nothing
    assert shown.ask().status == 200
    assert shown.ask(path="/old").status == 200
    assert Shown(proofs=proofs, routes=()).world.get(token=bearer).status == 401


def test_another_issuer_whose_tokens_must_be_bound() -> None:
    other = TokenFactory(issuer="https://other.example", clock=lambda: NOW)
    trusted = TrustedIssuer(
        issuer=other.issuer, audience=other.audience, keys=other.keys, proof="required"
    )
    shown = Shown(trusted_issuers=(trusted,))
    assert shown.world.get(token=other.token()).reason == "claim_missing"
    assert shown.ask(token=other.token(cnf=shown.prover.cnf)).status == 200


def test_the_metadata_say_what_proofs_are_made_with() -> None:
    proofs = Proofs(urls=("https://api.example",), nonces=False, required=True)
    resource = Resource(identifier="https://api.example")
    shown = Shown(proofs=proofs, resource=resource)
    found = shown.world.get("/.well-known/oauth-protected-resource").json
    assert found["dpop_signing_alg_values_supported"] == list(proofs.algorithms)
    assert found["dpop_bound_access_tokens_required"] is True
    without = World(shown.settings.replace(proofs=None, routes=()))
    found = without.get("/.well-known/oauth-protected-resource").json
    assert not {name for name in found if name.startswith("dpop")}
