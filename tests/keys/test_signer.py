"""Keys that sign elsewhere: in a process that really holds them, and that fails as any may."""

from __future__ import annotations

import asyncio
import copy
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from examples import own_signer
from examples.own_signer import AsyncKeeper, Keeper, kept
from jwt_middleware import ConfigurationError, Issuer, KeySet, Refresh, Settings, Unavailable
from jwt_middleware import keys as key_sets
from jwt_middleware.jose import jws
from jwt_middleware.keys.signer import ExternalKey, Signer
from jwt_middleware.process import awaiting
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware
from tests.issuing import (
    AUDIENCE,
    DOORS,
    ISSUER,
    JSON,
    KEY_SET,
    MINUTE,
    Kind,
    Randomness,
    World,
    memory,
    single,
)

SECRET = "8yN3vQf0-hK2mWxZ7bTg5RcEj1LpAuSd"
OTHER = KeySet.generate("ES256").keys[0]
TOKEN = b"a message"


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[bytes, Path]]:
    """Another process with a private key; its public one, and where it listens."""
    with kept(tmp_path_factory.mktemp("vault")) as (public, path):
        yield public, path


class Local:
    """A signer that holds its key here, and fails when told to."""

    def __init__(self, algorithm: str = "ES256", *, raw: bool = True) -> None:
        self.held = KeySet.generate(algorithm).keys[0]
        self.raw = raw
        self.answer: Any = None  # instead of a signature
        self.calls: list[bytes] = []
        self.threads: set[str] = set()

    @property
    def key_set(self) -> KeySet:
        return KeySet.external(self.held.public_jwk(), self)

    def sign(self, message: bytes) -> Any:
        self.calls.append(message)
        self.threads.add(threading.current_thread().name)
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not None:
            return self.answer
        signature = self.held.sign(message)
        return signature if self.raw else in_der(signature)


class Awaited(Local):
    """The same, awaited."""

    async def sign(self, message: bytes) -> Any:
        await asyncio.sleep(0)
        if self.answer is hanging:
            await asyncio.sleep(60)
        return super().sign(message)


class Promised(Local):
    """One that returns what is to be awaited, and doesn't say so."""

    def sign(self, message: bytes) -> Any:
        async def signed() -> Any:
            return signature

        signature = super().sign(message)
        return signed()


hanging = object()


def in_der(raw: bytes) -> bytes:
    half = len(raw) // 2
    r, s = (int.from_bytes(part, "big") for part in (raw[:half], raw[half:]))
    return encode_dss_signature(r, s)


def public_pem(key: Any) -> bytes:
    return key.public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def settings(keys: KeySet, **changes: Any) -> Settings:
    group: dict[str, Any] = {"store": "memory://", "secret": SECRET}
    return Settings(
        issuer=ISSUER, audience=AUDIENCE, keys=keys, refresh=Refresh(**group), **changes
    )


def opened(door: Kind, keys: KeySet, **refresh: Any) -> Any:
    return single(door, keys=keys, refresh={"secret": SECRET, **refresh})


each_door = pytest.mark.parametrize("door", DOORS, ids=[name for name, _ in DOORS])
ASGI: Kind = ("asgi", memory)
WSGI: Kind = ("wsgi", memory)


# --- it signs


@each_door
@pytest.mark.parametrize("keeper", [Keeper, AsyncKeeper])
def test_another_process_signs_what_is_issued_here(
    vault: tuple[bytes, Path], door: Kind, keeper: Any
) -> None:
    public, path = vault
    keys = KeySet.external(public, keeper(path))
    if (door, keeper) == (WSGI, AsyncKeeper):
        with pytest.raises(ConfigurationError, match="can't await"):
            opened(door, keys).__enter__()
        return
    with opened(door, keys) as site:
        world = World([site], site.clock, Randomness())
        tokens = world.login(claims={"roles": ["editor"]})
        assert world.call(tokens.access_token).token.claims["roles"] == ("editor",)  # type: ignore[union-attr]
        world.clock.forward(2 * MINUTE)
        found = world.renewed(tokens.refresh_token)
        assert world.call(found["access_token"]).status == 200
        verifying = KeySet.from_jwks(world.get(KEY_SET).body)
        jws.check_signature(jws.parse(found["access_token"]), verifying.keys[0])


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "RS256", "PS256", "Ed25519"])
@each_door
def test_every_asymmetric_algorithm_can_sign_elsewhere(door: Kind, algorithm: str) -> None:
    signer = Local(algorithm)
    with opened(door, signer.key_set) as site:
        world = World([site], site.clock, Randomness())
        for signer.raw in (True, False) if algorithm.startswith("ES") else (True,):
            token = world.login().access_token
            assert world.call(token).status == 200
            assert jws.parse(token).header.algorithm == algorithm
    assert len(signer.calls) == 1 + algorithm.startswith("ES")


@pytest.mark.parametrize("make", [Awaited, Promised])
def test_an_awaited_signer_is_for_asgi(make: type[Local]) -> None:
    signer = make()
    with opened(ASGI, signer.key_set) as site:
        world = World([site], site.clock, Randomness())
        assert world.call(world.login().access_token).status == 200


def test_an_awaited_signer_is_refused_at_a_wsgi_door() -> None:
    given = settings(Awaited().key_set)
    with pytest.raises(ConfigurationError, match="can't await"):
        WSGIMiddleware(lambda environ, start_response: [], given)
    issuer = Issuer(given)
    with pytest.raises(ConfigurationError, match="can't await"):
        issuer.issue("alice")
    assert asyncio.run(issuer.aissue("alice")).access_token


def test_a_blocking_signer_holds_no_event_loop_up() -> None:
    signer = Local()
    with opened(ASGI, signer.key_set) as site:
        site.ask("issue", "alice")
    assert all(name.startswith("jwt_middleware_signer") for name in signer.threads)


# --- what goes wrong over there


def test_a_service_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    with kept(tmp_path) as (public, path):
        issuer = Issuer(settings(KeySet.external(public, Keeper(path))))
        assert issuer.issue("alice")
    with pytest.raises(Unavailable) as refused:
        issuer.issue("alice")
    assert refused.value.status == 503
    with kept(tmp_path) as (again, _):
        assert again == public
        assert issuer.issue("alice")
    assert len(issuer.grants("alice")) == 2  # the login that failed has begun nothing


FAULTS = {
    "raises": OSError("no route"),
    "unavailable": Unavailable(),
    "another key's": OTHER.sign(TOKEN),
    "another key's, in DER": in_der(OTHER.sign(TOKEN)),
    "of another message": None,
    "cut": b"\x30\x45\x02",
    "empty": b"",
    "text": "signature",
    "no octets": 7,
}


@each_door
@pytest.mark.parametrize("fault", FAULTS)
def test_a_signature_that_is_none_is_our_fault_and_never_a_token(
    door: Kind, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    signer = Local()
    with opened(door, signer.key_set, settle=0) as site:
        world = World([site], site.clock, Randomness())
        tokens = world.login()
        signer.answer = FAULTS[fault] or signer.held.sign(TOKEN)
        with pytest.raises(Unavailable):
            world.login("bob")
        assert world.each(lambda site: site.ask("grants", "bob")) == ()
        for _ in range(2):
            answer = world.refresh(tokens.refresh_token)
            assert (answer.status, answer.header("retry-after")) == (503, "1")
            assert answer.header("content-type") == JSON
            assert answer.json["error"] == "temporarily_unavailable"
            assert answer.reason == "signer_failed"
        assert "signer raised" in caplog.text
        signer.answer = None
        # The first of these has rotated; the client's retry finds it done, and nobody is out.
        found = world.renewed(tokens.refresh_token)
        assert world.call(found["access_token"]).status == 200
        assert world.renewed(found["refresh_token"])["access_token"]
        assert world.is_alive(tokens.grant_id)


@each_door
def test_where_there_is_one_form_another_keys_signature_is_none(door: Kind) -> None:
    signer = Local("Ed25519")
    with opened(door, signer.key_set) as site:
        signer.answer = signer.held.sign(TOKEN)
        with pytest.raises(Unavailable, match="InvalidSignature"):
            site.ask("issue", "alice")


@pytest.mark.parametrize("make", [Local, Awaited])
def test_a_signer_that_hangs_is_given_up(
    make: type[Local], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(awaiting, "CALL_LIMIT", 0.05)
    signer, free = make(), threading.Event()
    if make is Local:
        monkeypatch.setattr(signer, "sign", lambda message: free.wait(10))
    signer.answer = hanging
    with opened(ASGI, signer.key_set) as site:
        world = World([site], site.clock, Randomness())
        with pytest.raises(Unavailable, match="signer_failed: TimeoutError"):
            world.login()
        free.set()


@each_door
def test_a_token_that_is_too_large_is_refused_as_ever(door: Kind) -> None:
    with opened(door, Local().key_set) as site:
        world = World([site], site.clock, Randomness())
        with pytest.raises(ValueError, match="8192 is the most"):
            world.login(claims={"note": "x" * 8192})
        assert world.each(lambda site: site.ask("grants", "alice")) == ()


@each_door
def test_fresh_claims_go_to_the_signer(door: Kind) -> None:
    signer = Local()
    claims: dict[str, Any] = {"roles": ["reader"]}
    with opened(door, signer.key_set, claims_for=lambda grant: claims, settle=0) as site:
        world = World([site], site.clock, Randomness())
        tokens = world.login()
        claims["roles"] = ["x" * 9000]
        assert world.refresh(tokens.refresh_token).reason == "claims_hook_failed"
        claims["roles"] = ["editor"]
        found = world.renewed(tokens.refresh_token)
        token = world.call(found["access_token"]).token
        assert token is not None
        assert token.claims["roles"] == ("editor",)


# --- rotation


@each_door
def test_keys_before_and_after_are_in_the_set(door: Kind) -> None:
    old, signer, following = Local(), Local(), Local()
    with opened(door, old.key_set) as site:
        world = World([site], site.clock, Randomness())
        token = world.login().access_token
    others = KeySet.pem(*(public_pem(one.held) for one in (following, old)))
    keys = KeySet((*signer.key_set.keys, *others.keys))
    with opened(door, keys) as site:
        world = World([site], site.clock, Randomness())
        assert world.call(token).status == 200
        assert jws.parse(world.login().access_token).header.kid == signer.held.kid
        found = [key["kid"] for key in world.get(KEY_SET).json["keys"]]
        assert found == [one.held.kid for one in (signer, following, old)]


# --- configuration


def test_a_derived_secret_is_impossible_and_one_of_its_own_is_asked_for() -> None:
    with pytest.raises(ConfigurationError) as refused:
        Settings(
            issuer=ISSUER,
            audience=AUDIENCE,
            keys=Local().key_set,
            refresh=Refresh(store="memory://"),
        )
    assert refused.value.field == "refresh.secret"
    assert "can't be derived" in str(refused.value)
    # Who only hears of ended grants signs nothing.
    store = "sqlite:///grants.db"
    Settings(
        issuer=ISSUER,
        audience=AUDIENCE,
        keys=Local().key_set,
        refresh=Refresh(store=store, serve=False),
    )


PRIVATE_PEM = OTHER.private.private_bytes(  # type: ignore[union-attr]
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
)


@pytest.mark.parametrize(
    ("public", "signer", "says"),
    [
        (PRIVATE_PEM, Local(), "it has its private part"),
        (OTHER.to_jwk(), Local(), "it has its private part"),
        (KeySet.generate("HS256").keys[0].to_jwk(), Local(), "it has its private part"),
        ("no key", Local(), "not a private or public key in PEM"),
        ({}, Local(), "'kty' must be"),
        (None, Local(), "must be text or octets"),
        (public_pem(OTHER), OTHER.sign, "is no signer: it needs a method sign(message)"),
        (public_pem(OTHER), None, "NoneType is no signer"),
        (public_pem(KeySet.generate("RS256").keys[0]), Local(), "could serve several algorithms"),
    ],
)
def test_what_is_no_public_key_with_a_signer_is_refused(
    public: Any, signer: Any, says: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        KeySet.external(public, signer)
    assert says in str(refused.value)
    assert "sign" in str(refused.value) or "key" in str(refused.value)


def test_an_external_key_is_named_and_bound_as_others_are() -> None:
    rsa, signer = KeySet.generate("RS256").keys[0], Local()
    (key,) = KeySet.external(public_pem(rsa), signer, algorithm="PS384", kid="2027").keys
    assert (key.kid, key.algorithm.name, key.signs, key.verifies) == ("2027", "PS384", True, True)
    (key,) = KeySet.external(OTHER.public_jwk(), signer, kid="2028").keys
    assert key.kid == "2028"
    (key,) = KeySet.external(public_pem(OTHER).decode(), signer).keys
    assert key.kid == OTHER.kid
    assert repr(key) == f"<Key kid={OTHER.kid!r} alg=ES256 external>"
    assert key.public_jwk() == OTHER.public_jwk()
    assert key.to_jwk() == OTHER.public_jwk()


def test_settings_with_a_signer_can_be_copied_and_pickled(vault: tuple[bytes, Path]) -> None:
    public, path = vault
    given = settings(KeySet.external(public, Keeper(path)))
    for one in (pickle.loads(pickle.dumps(given)), copy.deepcopy(given), given.replace()):
        (key,) = one.keys.keys
        assert isinstance(key, ExternalKey)
        assert Issuer(one).issue("alice").access_token


# --- the example


def test_the_example_does_what_its_first_lines_say() -> None:
    command = [sys.executable, own_signer.__file__]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    known, login, outage, back = done.stdout.splitlines()
    assert "external" in known
    assert "A login" in login
    assert "503, signer_failed" in outage
    assert back.startswith("It is back")
    assert "PRIVATE" not in done.stdout


def test_the_other_side_signs_whole_hashes_only(vault: tuple[bytes, Path]) -> None:
    _, path = vault
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(b"short")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""
    assert isinstance(OTHER.public, ec.EllipticCurvePublicKey)


def test_what_signs_is_named_beside_the_key_set() -> None:
    assert key_sets.Signer is Signer
    assert not hasattr(key_sets, "Sealer")
