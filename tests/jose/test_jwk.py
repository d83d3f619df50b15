"""A key is typed, strong and bound to one algorithm when loaded, or refused with the reason."""

import json
import pickle
import traceback
from collections.abc import Callable
from functools import cache, partial
from math import prod
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa, x25519

from jwt_middleware import KeySet
from jwt_middleware.jose import jwk, weak_keys
from jwt_middleware.jose.algorithms import ALGORITHMS
from jwt_middleware.jose.binding import UnusableKey
from jwt_middleware.jose.jwk import Key
from jwt_middleware.jose.strict_json import b64url_encode
from tests.rules import accepts, refuses

MESSAGE = b"header.payload"


def printed(rfc: str, section: str) -> dict[str, Any]:
    """Return a key out of an RFC: RSA keys take long to make."""
    text = (Path(__file__).parent.parent / "vectors" / f"{rfc}.json").read_text("utf-8")
    (key,) = (e["key"] for e in json.loads(text)["examples"] if e["section"] == section)
    return {name: value for name, value in key.items() if name not in ("kid", "use")}


@cache
def key_of(algorithm: str) -> Key:
    match algorithm[:2]:
        case "RS":
            return jwk.from_jwk(printed("rfc7515", "RFC 7515 A.2"), algorithm=algorithm)
        case "PS":
            return jwk.from_object(key_of("RS256").private, algorithm)
        case _:
            return KeySet.generate(algorithm).keys[0]


@cache
def another(algorithm: str) -> dict[str, Any]:
    if algorithm == "RS256":
        return printed("rfc7520", "RFC 7520 4.1")
    return KeySet.generate(algorithm).keys[0].to_jwk()


def private(algorithm: str, **changes: Any) -> dict[str, Any]:
    """Return a private JWK with these members changed, and those left out that are `...`."""
    members = key_of(algorithm).to_jwk() | changes
    return {name: value for name, value in members.items() if value is not ...}


def public(algorithm: str, **changes: Any) -> dict[str, Any]:
    members = key_of(algorithm).public_jwk() | changes
    return {name: value for name, value in members.items() if value is not ...}


def number(value: int) -> str:
    return b64url_encode(value.to_bytes((value.bit_length() + 7) // 8, "big")).decode()


def why_not(load: Callable[[], object]) -> str:
    with pytest.raises(UnusableKey) as refused:
        load()
    return str(refused.value)


EVERY = pytest.mark.parametrize("algorithm", ALGORITHMS)


@EVERY
@accepts("RS-16", "RS-18", "RS-19")
def test_a_key_survives_the_way_through_its_jwk_and_through_pickle(algorithm: str) -> None:
    key = key_of(algorithm)
    signature = key.sign(MESSAGE)
    for copy in (jwk.from_jwk(key.to_jwk()), pickle.loads(pickle.dumps(key))):
        assert (copy.kid, copy.algorithm, copy.signs, copy.verifies) == (
            key.kid, key.algorithm, True, True
        )  # fmt: skip
        assert copy.verify(MESSAGE, signature)
        assert key.verify(MESSAGE, copy.sign(MESSAGE))
        assert not copy.verify(MESSAGE + b".", signature)


@EVERY
def test_a_public_part_verifies_and_holds_no_private_member(algorithm: str) -> None:
    key = key_of(algorithm)
    if key.is_symmetric:
        assert "no public part" in why_not(key.public_jwk)
        return
    members = key.public_jwk()
    assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & members.keys()
    only_public = pickle.loads(pickle.dumps(jwk.from_jwk(members)))
    assert only_public.verify(MESSAGE, key.sign(MESSAGE))
    assert (only_public.signs, only_public.verifies) == (False, True)
    assert only_public.to_jwk() == members


@EVERY
@accepts("RS-41")
def test_a_key_shows_its_name_and_nothing_of_itself(algorithm: str) -> None:
    key = key_of(algorithm)
    kind = "secret" if key.is_symmetric else "private"
    assert repr(key) == str(key) == f"<Key kid={key.kid!r} alg={algorithm} {kind}>"
    if not key.is_symmetric:
        assert repr(jwk.from_jwk(key.public_jwk())).endswith(" public>")


@accepts("RS-16")
@pytest.mark.parametrize(
    ("members", "given", "bound"),
    [
        (public("ES256", alg=...), None, "ES256"),
        (public("ES384", alg=...), None, "ES384"),
        (public("ES512", alg=...), None, "ES512"),
        (public("Ed25519", alg=...), None, "Ed25519"),
        (public("Ed25519", alg=...), "EdDSA", "EdDSA"),
        (public("RS256", alg=...), "PS384", "PS384"),
        (public("RS256"), "PS384", "RS256"),
        # In a mixed set the name is meant for the keys that it fits.
        (public("ES256", alg=...), "RS256", "ES256"),
    ],
)
def test_a_key_is_bound_to_its_own_algorithm_or_to_the_one_that_is_configured(
    members: dict[str, Any], given: str | None, bound: str
) -> None:
    assert jwk.from_jwk(members, algorithm=given).algorithm.name == bound


HUGE = (1 << 16383) | 1
ROCA = 2 * prod(weak_keys._ROCA_PRIMES) * (1 << 1960) + 1  # 1 is a power of 65537 modulo everything

MODULUS = (1 << 2047) + 29  # whatever its factors are, none is small
ROOT = (1 << 1024) - 39  # the same

es, rs, ed = partial(public, "ES256"), partial(public, "RS256"), partial(public, "EdDSA")
private_es, private_rs = partial(private, "ES256"), partial(private, "RS256")
hs = partial(private, "HS256")
SHORT = b64url_encode(bytes(range(31))).decode()
ZERO = b64url_encode(bytes(32)).decode()

UNUSABLE: dict[str, tuple[dict[str, Any], str]] = {
    "no kty": (es(kty=...), "'kty' must be a non-empty string"),
    "kty null": (es(kty=None), "'kty' must be a non-empty string"),
    "kty of another case": (es(kty="ec"), "key type 'ec' is not supported"),
    "kty of another kind": (es(kty="AKP"), "key type 'AKP' is not supported"),
    "alg none": (es(alg="none"), "algorithm 'none' is not supported"),
    "alg null": (es(alg=None), "algorithm None is not supported"),
    "alg list": (es(alg=["ES256"]), r"algorithm \['ES256'\] is not supported"),
    "alg of another case": (es(alg="es256"), "'es256' is not supported"),
    "alg for encryption": (rs(alg="RSA-OAEP"), "'RSA-OAEP' is not supported"),
    "alg of another type": (es(alg="RS256"), "RS256 doesn't go with .* EC P-256"),
    "HMAC under a public key": (rs(alg="HS256"), "HS256 doesn't go with .* RSA$"),
    "RSA under a secret": (hs(alg="RS256"), "RS256 doesn't go with .* oct"),
    "alg of another curve": (es(alg="ES384"), "ES384 doesn't go with .* P-256"),
    "RSA without alg": (rs(alg=...), "without `alg` could serve several"),
    "secret without alg": (hs(alg=...), "without `alg` could serve several"),
    "secp256k1": (es(alg=..., crv="secp256k1"), "'secp256k1' is not supported"),
    "Ed448": (ed(alg=..., crv="Ed448"), "'Ed448' is not supported"),
    "Ed448 as EdDSA": (ed(crv="Ed448"), "EdDSA doesn't go with .* Ed448"),
    "X25519": (ed(alg=..., crv="X25519"), "'X25519' is not supported"),
    "curve is no string": (es(alg=..., crv=5), "'crv' must be a non-empty string"),
    "curve of another type": (ed(crv="P-256"), "doesn't go with .* OKP P-256"),
    "x missing": (es(x=...), "'x' must be a non-empty string"),
    "x a number": (es(x=5), "'x' must be a non-empty string"),
    "x padded": (es(x=es()["x"] + "="), "'x' must be canonical"),
    "x after a space": (es(x=" " + es()["x"]), "'x' must be canonical"),
    "x beyond ASCII": (es(x="é"), "'x' must be canonical"),
    "x too short": (es(x="AQ"), "'x' has 1 octets, and a coordinate on P-256 has 32"),
    "not on the curve": (es(y=es()["x"]), "don't make a key"),
    "Ed25519 too short": (ed(x="AQ"), "'x' has 1 octets, .* on Ed25519 has 32"),
    "RSA 1024": (rs(n=number((1 << 1023) | 1)), "1024 bits: RS256 needs at least 2048"),
    "RSA 2047": (rs(n=number((1 << 2046) | 1)), "2047 bits: RS256 needs at least 2048"),
    "RSA 16384": (rs(n=number(HUGE)), "16384 bits: .* 8192 is the most"),
    "RSA exponent even": (rs(e=number(65536)), "don't make a key|must be odd"),
    "RSA exponent 1": (rs(e=number(1)), "don't make a key|must be odd"),
    "RSA exponent large": (rs(e=number((1 << 32) + 1)), "must be odd, .* below 2"),
    "RSA exponent huge": (rs(e=number((1 << 2047) | 1)), "must be odd, .* below 2"),
    "RSA weak structure": (rs(n=number(ROCA)), "CVE-2017-15361"),
    "RSA even": (rs(n=number(MODULUS + 1)), "is even"),
    "RSA small factor": (rs(n=number(3 * MODULUS)), "has a small factor: .* can be computed"),
    "RSA square": (rs(n=number(ROOT**2)), "a square"),
    "Ed25519 of small order": (ed(x=number(1 << 248)), "small order: anybody can sign"),
    "RSA zero in front": (rs(n="AAAA" + rs()["n"]), "doesn't belong to its private part"),
    "RSA of three primes": (private_rs(oth="AA"), "don't make a key"),
    "RSA with an array of primes": (private_rs(oth=[{}]), "'oth' must be"),
    "RSA without q": (private_rs(q=...), "don't make a key"),
    "RSA modulus of another": (private_rs(n=another("RS256")["n"]), "don't make a key"),
    "RSA exponent of another": (private_rs(e="Aw"), "don't make a key"),
    "EC private of another": (private_es(d=another("ES256")["d"]), "don't make a key"),
    "EC private zero": (private_es(d=ZERO), "don't make a key"),
    "EC private an array": (private_es(d=["AQ"]), "'d' must be"),
    # In the words of PyJWT, and on its oldest version in ours.
    "OKP private of another": (
        private("EdDSA", d=another("EdDSA")["d"]),
        "don't make a key|doesn't belong",
    ),
    "use enc": (es(use="enc"), "`use` is not sig"),
    "use enc, for an algorithm that encrypts": (rs(use="enc", alg="RSA-OAEP"), "`use` is not sig"),
    "use enc, on a curve for it": (ed(use="enc", alg="ECDH-ES", crv="X25519"), "`use` is not sig"),
    "use of another case": (es(use="SIG"), "`use` is not sig"),
    "use a list": (es(use=["sig"]), "`use` is not sig"),
    "key_ops a string": (es(key_ops="verify"), "must be an array of strings"),
    "key_ops of numbers": (es(key_ops=[1]), "must be an array of strings"),
    "key_ops twice": (es(key_ops=["verify", "verify"]), "names an operation twice"),
    "key_ops empty": (es(key_ops=[]), "allow neither to sign nor to verify"),
    "key_ops encrypt": (es(key_ops=["encrypt"]), "allow neither to sign nor to verify"),
    "key_ops sign, public key": (es(key_ops=["sign"]), "allow neither to sign nor to verify"),
    "kid empty": (es(kid=""), "kid must be a string of 1 to 256"),
    "kid null": (es(kid=None), "kid must be a string of 1 to 256"),
    "kid a number": (es(kid=5), "kid must be a string of 1 to 256"),
    "kid too long": (es(kid="k" * 257), "kid must be a string of 1 to 256"),
    "secret empty": (hs(k=""), "'k' must be a non-empty string"),
    "secret missing": (hs(k=...), "'k' must be a non-empty string"),
    "secret too short": (hs(k=SHORT), "a secret of 31 octets is too short"),
}


@refuses("RS-14", "RS-16", "RS-17", "RS-18", "RS-19", "RS-29")
@pytest.mark.parametrize(("members", "reason"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_unusable_jwk_is_refused_with_the_reason(members: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnusableKey, match=reason) as refused:
        jwk.from_jwk(members)
    told = "".join(traceback.format_exception(refused.value))
    for name in ("d", "k", "n", "p", "q", "x", "y"):
        value = members.get(name)
        assert not (isinstance(value, str) and len(value) > 8 and value in told), name


@accepts("RS-18")
@pytest.mark.parametrize(
    ("operations", "signs", "verifies"),
    [
        (None, True, True),
        (["sign", "verify"], True, True),
        (("sign", "verify"), True, True),
        # Whoever holds the private key holds the public one.
        (["sign"], True, True),
        (["verify"], False, True),
        (["verify", "encrypt"], False, True),
    ],
)
def test_key_ops_say_what_a_private_key_does(operations: Any, signs: bool, verifies: bool) -> None:
    key = jwk.from_jwk(private("ES256", key_ops=operations))
    for one in (key, pickle.loads(pickle.dumps(key))):
        assert (one.signs, one.verifies) == (signs, verifies)


@pytest.mark.parametrize("operations", [["sign"], ["verify"]])
def test_a_secret_does_only_what_its_key_ops_say(operations: list[str]) -> None:
    key = jwk.from_jwk(private("HS256", key_ops=operations))
    assert [key.signs, key.verifies] == ["sign" in operations, "verify" in operations]
    assert key.to_jwk()["key_ops"] == operations


def test_a_private_rsa_key_may_leave_its_primes_out() -> None:
    key = jwk.from_jwk(private("RS256", **dict.fromkeys(("p", "q", "dp", "dq", "qi"), ...)))
    assert key_of("RS256").verify(MESSAGE, key.sign(MESSAGE))


def test_what_a_jwk_says_besides_changes_nothing() -> None:
    members = public("ES256", kid=..., x5c=["AA=="], x5t="AA", use=None, key_ops=None, more={})
    assert jwk.from_jwk(members).kid == key_of("ES256").kid == jwk.thumbprint(members)


@accepts("RS-19", "RS-26")
def test_the_limits_themselves_are_allowed() -> None:
    assert jwk.from_jwk(public("ES256", kid="k" * 256)).kid == "k" * 256
    jwk.from_jwk(public("RS256", n=number((1 << 8191) + 3), e="Aw"))
    assert key_of("RS256").to_jwk()["e"] == "AQAB"
    jwk.from_jwk(public("RS256", e=number((1 << 32) - 1)))


PEM, PKCS8 = form.Encoding.PEM, form.PrivateFormat.PKCS8
SPKI = form.PublicFormat.SubjectPublicKeyInfo


def pem_of(key: Any, style: Any = PKCS8, password: bytes | None = None) -> bytes:
    if hasattr(key, "public_key"):
        how = form.BestAvailableEncryption(password) if password else form.NoEncryption()
        return bytes(key.private_bytes(PEM, style, how))
    return bytes(key.public_bytes(PEM, style))


@accepts("RS-16")
@pytest.mark.parametrize("style", [PKCS8, form.PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("algorithm", ["PS256", "ES512"])
def test_a_private_pem_is_read(algorithm: str, style: form.PrivateFormat) -> None:
    key = jwk.from_pem(pem_of(key_of(algorithm).private, style), algorithm)
    assert (key.kid, key.signs, key.algorithm.name) == (key_of(algorithm).kid, True, algorithm)


@pytest.mark.parametrize(
    ("algorithm", "style"), [("RS256", SPKI), ("RS256", form.PublicFormat.PKCS1), ("Ed25519", SPKI)]
)
def test_a_public_pem_is_read(algorithm: str, style: form.PublicFormat) -> None:
    key = jwk.from_pem(pem_of(key_of(algorithm).public, style), algorithm, kid="mine")
    assert (key.kid, key.signs, key.verifies) == ("mine", False, True)


def test_an_encrypted_pem_needs_its_password() -> None:
    pem = pem_of(key_of("ES256").private, password=b"open")
    assert jwk.from_pem(pem, password=b"open").kid == key_of("ES256").kid
    assert "no password was given" in why_not(lambda: jwk.from_pem(pem))
    assert "password is wrong" in why_not(lambda: jwk.from_pem(pem, password=b"shut"))
    plain = pem_of(key_of("ES256").private)
    assert "or the reverse" in why_not(lambda: jwk.from_pem(plain, password=b"open"))


BRAINPOOL = ec.BrainpoolP256R1()
CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nMIIBAA==\n-----END CERTIFICATE-----\n"


UNUSABLE_PEM: dict[str, tuple[Callable[[], bytes], str | None, str]] = {
    "RSA 1024": (lambda: pem_of(rsa.generate_private_key(65537, 1024)), "RS256", "1024 bits"),
    "RSA without alg": (lambda: pem_of(key_of("RS256").private), None, "could serve several"),
    "alg of another type": (lambda: pem_of(key_of("RS256").private), "ES256", "doesn't go with"),
    "HMAC": (lambda: pem_of(key_of("ES256").public, SPKI), "HS256", "HS256 doesn't go with"),
    "alg none": (lambda: pem_of(key_of("ES256").private), "nOnE", "'nOnE' is not supported"),
    "secp256k1": (lambda: pem_of(ec.generate_private_key(ec.SECP256K1())), None, "not supported"),
    "brainpool": (lambda: pem_of(ec.generate_private_key(BRAINPOOL)), None, "not supported"),
    "Ed448": (lambda: pem_of(ed448.Ed448PrivateKey.generate()), "EdDSA", "Ed448.* not supported"),
    "X25519": (lambda: pem_of(x25519.X25519PrivateKey.generate()), None, "X25519.* not supported"),
    "DSA": (lambda: pem_of(dsa.generate_private_key(1024)), None, "DSA.* is not supported"),
    "certificate": (lambda: CERTIFICATE, "RS256", "a certificate, not a key: `openssl x509"),
    "nothing": (lambda: b"", None, "not a private or public key in PEM"),
    "a beginning": (lambda: b"-----BEGIN PRIVATE KEY-----", None, "not a private or public key"),
    "something else": (lambda: b"secret" * 9, None, "not a private or public key in PEM"),
}


@refuses("RS-16", "RS-17", "RS-19", "RS-29")
@pytest.mark.parametrize(("make", "algorithm", "reason"), UNUSABLE_PEM.values(), ids=UNUSABLE_PEM)
def test_an_unusable_pem_is_refused_with_the_reason(
    make: Callable[[], bytes], algorithm: str | None, reason: str
) -> None:
    pem = make()
    with pytest.raises(UnusableKey, match=reason) as refused:
        jwk.from_pem(pem, algorithm)
    told = "".join(traceback.format_exception(refused.value))
    assert not any(line.decode() in told for line in pem.splitlines() if len(line) > 40)


@refuses("RS-26")
@pytest.mark.parametrize("kid", ["k" * 257, 5])
def test_a_kid_that_no_token_of_ours_could_bear_is_refused(kid: Any) -> None:
    secret = key_of("HS512").private
    assert isinstance(secret, bytes)
    pem = pem_of(key_of("ES256").private)
    assert "kid must be" in why_not(lambda: jwk.generate("ES256", kid=kid))
    assert "kid must be" in why_not(lambda: jwk.from_pem(pem, kid=kid))
    assert "kid must be" in why_not(lambda: jwk.from_secret(secret, "HS512", kid=kid))


@refuses("RS-14")
@pytest.mark.parametrize("algorithm", ["none", "es256", "RS-256"])
def test_an_algorithm_that_does_not_exist_is_an_error_and_not_a_hint(algorithm: str) -> None:
    assert "is not supported" in why_not(lambda: jwk.generate(algorithm))
    assert "is not supported" in why_not(
        lambda: jwk.from_jwk(public("ES256", alg=...), algorithm=algorithm)
    )


@pytest.mark.parametrize(("algorithm", "size"), [("ES256", 64), ("ES384", 96), ("ES512", 132)])
def test_an_ecdsa_signature_has_one_length_however_small_its_numbers_are(
    algorithm: str, size: int
) -> None:
    key = jwk.generate(algorithm)
    for number in range(600):  # one in 128 has a number that begins with eight zeros
        message = str(number).encode()
        signature = key.sign(message)
        assert len(signature) == size
        assert key.verify(message, signature)


@pytest.mark.parametrize(("algorithm", "size"), [("ES256", 32), ("ES384", 48), ("ES512", 66)])
def test_an_ecdsa_signature_has_one_text(algorithm: str, size: int) -> None:
    key = jwk.generate(algorithm)
    signature = key.sign(MESSAGE)
    r, s = signature[:size], signature[size:]
    assert key.verify(MESSAGE, r + s)
    for other in (r + b"\0" + s, r + b"\0" * size + s, b"\0" + r + s, r + s + b"\0", r, b""):
        assert not key.verify(MESSAGE, other)
