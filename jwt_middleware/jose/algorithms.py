"""The algorithms of RFC 7518 s3, RFC 8037 and RFC 9864 that a key can be bound to, as a table.

PyJWT's `Algorithm` objects sign and verify, by means of `cryptography`. For RSA and EC our own
objects do: they prepare once what PyJWT's prepare for each signature. What a key may be used for is
decided here and in `jwk.py`, when the key is loaded, and never by a token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hmac import HMAC
from jwt.algorithms import (
    Algorithm as Primitive,
)
from jwt.algorithms import (
    ECAlgorithm,
    HMACAlgorithm,
    OKPAlgorithm,
    RSAAlgorithm,
)

KeyType: TypeAlias = Literal["oct", "RSA", "EC", "OKP"]


class Algorithm(NamedTuple):
    """One signature algorithm: the key that it takes (`kty`, `crv`, `bits`), and what computes it.

    `crv` is the one curve, for EC and OKP (RFC 8725 s3.1: one key, one algorithm); `bits` is the
    least size of a secret or of an RSA modulus.
    """

    name: str
    kty: KeyType
    crv: str | None
    bits: int
    primitive: Primitive  # signs and verifies, in the form that JWS wants


def verifier(primitive: Any, public: Any) -> Callable[[bytes, bytes], bool]:
    """Return `verify(message, signature)` for one public key."""

    def verify(message: bytes, signature: bytes) -> bool:
        return bool(primitive.verify(message, public, signature))

    return verify


class Mac:
    """HMAC (RFC 2104) under one secret: keyed once, because that costs more than one signature."""

    __slots__ = ("_keyed",)

    def __init__(self, secret: bytes, algorithm: Algorithm) -> None:
        self._keyed = HMAC(secret, _HASHES[algorithm.bits]())

    def sign(self, message: bytes) -> bytes:
        """Return the HMAC of `message`."""
        code = self._keyed.copy()
        code.update(message)
        return code.finalize()

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Say whether `signature` is the HMAC of `message`, in constant time."""
        code = self._keyed.copy()
        code.update(message)
        try:
            code.verify(signature)
        except InvalidSignature:
            return False
        return True


class _RSA(RSAAlgorithm):
    """RSA with padding and hash prepared once; PyJWT's makes them for each signature."""

    def __init__(self, algorithm: hashes.HashAlgorithm, scheme: padding.AsymmetricPadding) -> None:
        super().__init__(type(algorithm))
        self._scheme, self._hash = scheme, algorithm

    def sign(self, msg: bytes, key: Any) -> bytes:
        """Return the signature of `msg` (RFC 8017 s8.1.1, s8.2.1)."""
        signature: bytes = key.sign(msg, self._scheme, self._hash)
        return signature

    def verify(self, msg: bytes, key: Any, sig: bytes) -> bool:
        """Say whether `sig` is a signature of `msg`."""
        try:
            key.verify(sig, msg, self._scheme, self._hash)
        except InvalidSignature:
            return False
        return True


def _rsa(algorithm: hashes.HashAlgorithm) -> _RSA:
    return _RSA(algorithm, padding.PKCS1v15())


def _pss(algorithm: hashes.HashAlgorithm) -> _RSA:
    # RFC 7518 s3.5: the mask is made with the same hash, and the salt is as long as its value.
    return _RSA(algorithm, padding.PSS(padding.MGF1(algorithm), algorithm.digest_size))


class _ECDSA(ECAlgorithm):
    """ECDSA with its hash prepared once; PyJWT's makes it for each signature."""

    def __init__(self, hash_alg: type[hashes.HashAlgorithm], size: int) -> None:
        super().__init__(hash_alg)
        self._size = size  # octets of R, and of S

    @cached_property
    def _scheme(self) -> ec.ECDSA:
        # At the first use: it loads a backend, which `import jwt_middleware` should not wait for.
        return ec.ECDSA(self.hash_alg())

    def sign(self, msg: bytes, key: Any) -> bytes:
        """Return R and S, each as long as the order of the curve (RFC 7518 s3.4)."""
        r, s = decode_dss_signature(key.sign(msg, self._scheme))
        return r.to_bytes(self._size, "big") + s.to_bytes(self._size, "big")

    def verify(self, msg: bytes, key: Any, sig: bytes) -> bool:
        """Say whether `sig` is a signature of `msg`, R and S each at its full length."""
        if len(sig) != 2 * self._size:
            return False
        r, s = sig[: self._size], sig[self._size :]
        der = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
        try:
            key.verify(der, msg, self._scheme)
        except InvalidSignature:
            return False
        return True


_HASHES: Mapping[int, Callable[[], hashes.HashAlgorithm]] = MappingProxyType(
    {256: hashes.SHA256, 384: hashes.SHA384, 512: hashes.SHA512}
)

_HMAC, _EC, _OKP = HMACAlgorithm, _ECDSA, OKPAlgorithm

# RFC 7518 s3.2: "A key of the same size as the hash output (for instance, 256 bits for "HS256") or
# larger MUST be used". s3.3 and s3.5: "A key of size 2048 bits or larger MUST be used".
ALGORITHMS = MappingProxyType(
    {
        algorithm.name: algorithm
        for algorithm in (
            Algorithm("HS256", "oct", None, 256, _HMAC(_HMAC.SHA256)),
            Algorithm("HS384", "oct", None, 384, _HMAC(_HMAC.SHA384)),
            Algorithm("HS512", "oct", None, 512, _HMAC(_HMAC.SHA512)),
            Algorithm("RS256", "RSA", None, 2048, _rsa(hashes.SHA256())),
            Algorithm("RS384", "RSA", None, 2048, _rsa(hashes.SHA384())),
            Algorithm("RS512", "RSA", None, 2048, _rsa(hashes.SHA512())),
            Algorithm("PS256", "RSA", None, 2048, _pss(hashes.SHA256())),
            Algorithm("PS384", "RSA", None, 2048, _pss(hashes.SHA384())),
            Algorithm("PS512", "RSA", None, 2048, _pss(hashes.SHA512())),
            Algorithm("ES256", "EC", "P-256", 0, _EC(_EC.SHA256, 32)),
            Algorithm("ES384", "EC", "P-384", 0, _EC(_EC.SHA384, 48)),
            Algorithm("ES512", "EC", "P-521", 0, _EC(_EC.SHA512, 66)),
            Algorithm("Ed25519", "OKP", "Ed25519", 0, _OKP()),
            # RFC 9864 deprecates this name because it leaves the curve open. Here it means one
            # curve, and only keys that are configured with this name use it.
            Algorithm("EdDSA", "OKP", "Ed25519", 0, _OKP()),
        )
    }
)

# The algorithm of a key without `alg`, by its curve. RSA keys and secrets must name theirs.
BY_CURVE = MappingProxyType(
    {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "Ed25519"}
)
