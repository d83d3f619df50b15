"""Others agree: what joserfc, Authlib and PyJWT sign verifies here, and ours verifies there."""

import json
import time
import warnings
from functools import cache
from typing import Any, Protocol

# Before the filter below, because it sets one of its own.
import authlib.deprecate  # type: ignore[import-untyped]
import joserfc.jwk
import joserfc.jwt
import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from jwt_middleware import KeySet, Settings
from jwt_middleware.jose import jwk, jws
from jwt_middleware.jose.jwk import Key
from jwt_middleware.jose.strict_json import b64url_decode
from tests.rules import accepts, refuses
from tests.world import World

with warnings.catch_warnings():
    # Its authors point to joserfc, which is here too; it is still an implementation of its own.
    warnings.simplefilter("ignore", authlib.deprecate.AuthlibDeprecationWarning)
    import authlib.jose  # type: ignore[import-untyped]

SECRETS = ("HS256", "HS384", "HS512")
RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519"}
ALGORITHMS = (*SECRETS, *RSA, *CURVES)


class Oracle(Protocol):
    """What we ask of another implementation. A key is the text of a JWK or of a PEM."""

    def sign(self, claims: dict[str, Any], header: dict[str, Any], key: str) -> str: ...

    def verify(self, token: str, algorithm: str, key: str) -> dict[str, Any]: ...


class Joserfc:
    algorithms = (*ALGORITHMS, "Ed25519")  # the one that knows RFC 9864's name

    def sign(self, claims: dict[str, Any], header: dict[str, Any], key: str) -> str:
        algorithm = header["alg"]
        read = self.read(key, _kty(algorithm))
        return joserfc.jwt.encode(header, claims, read, algorithms=[algorithm])

    def verify(self, token: str, algorithm: str, key: str) -> dict[str, Any]:
        read = self.read(key, _kty(algorithm))
        return dict(joserfc.jwt.decode(token, read, algorithms=[algorithm]).claims)

    @staticmethod
    @cache
    def read(key: str, kty: Any) -> Any:
        return joserfc.jwk.import_key(json.loads(key) if key.startswith("{") else key, kty)


class Authlib:
    algorithms = ALGORITHMS

    def sign(self, claims: dict[str, Any], header: dict[str, Any], key: str) -> str:
        encoder = authlib.jose.JsonWebToken([header["alg"]])
        token: bytes = encoder.encode(header, claims, self.read(key))
        return token.decode()

    def verify(self, token: str, algorithm: str, key: str) -> dict[str, Any]:
        return dict(authlib.jose.JsonWebToken([algorithm]).decode(token, self.read(key)))

    @staticmethod
    @cache
    def read(key: str) -> Any:
        return authlib.jose.JsonWebKey.import_key(json.loads(key) if key.startswith("{") else key)


class PyJWT:
    algorithms = ALGORITHMS

    def sign(self, claims: dict[str, Any], header: dict[str, Any], key: str) -> str:
        algorithm = header["alg"]
        return jwt.encode(claims, self.read(key, algorithm), algorithm, headers=header)

    def verify(self, token: str, algorithm: str, key: str) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(
            token, self.read(key, algorithm), algorithms=[algorithm], audience="api"
        )
        return claims

    @staticmethod
    @cache
    def read(key: str, algorithm: str) -> Any:
        return jwt.PyJWK.from_json(key, algorithm).key if key.startswith("{") else key


ORACLES = (Joserfc(), Authlib(), PyJWT())
NAMES = [type(oracle).__name__ for oracle in ORACLES]
EVERY = [
    pytest.param(oracle, algorithm, id=f"{type(oracle).__name__}-{algorithm}")
    for oracle in ORACLES
    for algorithm in oracle.algorithms
]


def _kty(algorithm: str) -> str:
    by_family = {"HS": "oct", "RS": "RSA", "PS": "RSA", "ES": "EC"}
    return by_family.get(algorithm[:2], "OKP")


@cache
def their_key(kind: str) -> Any:
    """Return a private key that joserfc has made; `kind` is a key type or a curve."""
    match kind:
        case "oct":
            return joserfc.jwk.OctKey.generate_key(512)
        case "RSA":
            return joserfc.jwk.RSAKey.generate_key(2048)
        case "Ed25519":
            return joserfc.jwk.OKPKey.generate_key(kind)
        case _:
            return joserfc.jwk.ECKey.generate_key(kind)


def theirs(algorithm: str) -> Any:
    return their_key(
        CURVES.get(algorithm) or {"Ed25519": "Ed25519"}.get(algorithm, _kty(algorithm))
    )


@cache
def ours(algorithm: str) -> Key:
    if algorithm in RSA[1:]:  # one modulus for all, because it takes long to make
        return jwk.from_object(ours(RSA[0]).private, algorithm)
    return KeySet.generate(algorithm).keys[0]


def text(members: dict[str, Any]) -> str:
    return json.dumps(members)


def private_text(key: Any) -> str:
    return text(key.as_dict(private=True))


def public_text(key: Any) -> str:
    return text(key.as_dict(private=key.key_type == "oct"))


def header_for(key: Any, algorithm: str) -> dict[str, str]:
    return {"typ": "at+jwt", "alg": algorithm, "kid": key.thumbprint()}


def claims() -> dict[str, Any]:
    now = int(time.time())
    return {
        "iss": "https://login.example", "aud": "api", "sub": "zoë", "client_id": "app", "jti": "1",
        "iat": now, "exp": now + 600, "roles": ["editor", {"of": "Ωmega \U0001f511"}],
    }  # fmt: skip


def world(keys: KeySet) -> World:
    return World(Settings(issuer="https://login.example", audience="api", keys=keys))


pytestmark = pytest.mark.filterwarnings(
    "ignore:EdDSA is deprecated"
)  # joserfc's advice; RFC 9864's too


@accepts("RS-11", "RS-14", "RS-16", "RS-17", "RS-29")
@pytest.mark.parametrize(("oracle", "algorithm"), EVERY)
def test_what_they_sign_opens_here(oracle: Oracle, algorithm: str) -> None:
    key, given = theirs(algorithm), claims()
    token = oracle.sign(given, header_for(key, algorithm), private_text(key))
    keys = KeySet.from_jwks(f'{{"keys": [{public_text(key)}]}}', algorithm=algorithm)
    answer = world(keys).get(token=token)
    assert answer.reached, answer.reason
    assert answer.token is not None
    assert answer.token.claims == given | {"roles": ("editor", {"of": "Ωmega \U0001f511"})}


@accepts("RS-29")
@pytest.mark.parametrize(("oracle", "algorithm"), EVERY)
def test_what_we_sign_verifies_there(oracle: Oracle, algorithm: str) -> None:
    key, given = ours(algorithm), claims()
    public = key.to_jwk() if key.is_symmetric else key.public_jwk()
    assert oracle.verify(jws.sign(given, key, typ="at+jwt"), algorithm, text(public)) == given


@refuses("RS-16", "RS-17")
@pytest.mark.parametrize(("oracle", "algorithm"), EVERY)
def test_a_signature_by_another_key_is_good_on_neither_side(oracle: Oracle, algorithm: str) -> None:
    key, other = ours(algorithm), theirs(algorithm)
    forged = oracle.sign(
        claims(), header_for(other, algorithm) | {"kid": key.kid}, private_text(other)
    )
    assert world(KeySet([key])).get(token=forged).reason == "signature_invalid"
    with pytest.raises(Exception, match=r"(?i)bad_signature|signature verification failed"):
        oracle.verify(jws.sign(claims(), key, typ="at+jwt"), algorithm, public_text(other))


@accepts("RS-17")
@pytest.mark.parametrize("algorithm", ["RS256", *CURVES])
@pytest.mark.parametrize("oracle", ORACLES, ids=NAMES)
def test_pem_keys_mean_the_same_on_both_sides(oracle: Oracle, algorithm: str) -> None:
    key = theirs(algorithm)
    private, public = (key.as_pem(private=private).decode() for private in (True, False))
    token = oracle.sign(claims(), header_for(key, algorithm), private)
    assert world(KeySet.pem(public, algorithm=algorithm)).get(token=token).reached
    given, signer = claims(), KeySet.pem(private, algorithm=algorithm).signer
    assert signer is not None
    assert oracle.verify(jws.sign(given, signer, typ="at+jwt"), algorithm, public) == given


@pytest.mark.parametrize("algorithm", ["RS256", *CURVES])
def test_our_keys_travel_as_pem(algorithm: str) -> None:
    key, given = ours(algorithm), claims()
    assert key.public is not None
    pem = key.public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    token = jws.sign(given, key, typ="at+jwt")
    for oracle in ORACLES:
        assert oracle.verify(token, algorithm, pem.decode()) == given


@pytest.mark.parametrize("algorithm", SECRETS)
def test_a_raw_secret_is_the_same_secret_everywhere(algorithm: str) -> None:
    secret = their_key("oct")
    keys = KeySet.secret(b64url_decode(secret.as_dict()["k"].encode()), algorithm=algorithm)
    assert keys.keys[0].kid == secret.thumbprint()
    for oracle in ORACLES:
        token = oracle.sign(claims(), header_for(secret, algorithm), private_text(secret))
        assert world(keys).get(token=token).reached


def test_their_key_sets_load_here_and_thumbprints_agree() -> None:
    made = [their_key(kind) for kind in ("RSA", *CURVES.values())]
    for private in (False, True):
        exported = joserfc.jwk.KeySet(made).as_dict(private=private)
        keys = KeySet.from_jwks(exported, algorithm="RS256").keys
        assert [key.kid for key in keys] == [key.thumbprint() for key in made]
        assert all(key.signs is private for key in keys)
        for key in exported["keys"]:
            assert jwk.thumbprint(key) == joserfc.jwk.import_key(key).thumbprint()


def test_our_key_sets_load_there_and_thumbprints_agree() -> None:
    keys = KeySet([ours(algorithm) for algorithm in ("RS256", *CURVES)])
    kids = [key.kid for key in keys.keys]
    exported: Any = keys.public_jwks()
    assert [key.thumbprint() for key in joserfc.jwk.KeySet.import_key_set(exported).keys] == kids
    by_authlib = authlib.jose.JsonWebKey.import_key_set(exported)
    assert [key.thumbprint() for key in by_authlib.keys] == kids
    assert [key.key_id for key in jwt.PyJWKSet.from_dict(exported).keys] == kids


def test_a_secret_has_the_same_thumbprint_everywhere() -> None:
    secret = ours("HS256")
    assert joserfc.jwk.import_key(secret.to_jwk()).thumbprint() == secret.kid
    assert authlib.jose.JsonWebKey.import_key(secret.to_jwk()).thumbprint() == secret.kid
