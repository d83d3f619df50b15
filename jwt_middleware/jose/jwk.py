"""JSON Web Keys (RFC 7517): typed, strong enough, and bound to exactly one algorithm when loaded.

A key that can't be used is refused when it is loaded, with the reason. So no request meets a weak
key, or one that was read in part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from typing import Any, TypeAlias, cast

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import InvalidKeyError

from .algorithms import Algorithm, Mac, verifier
from .binding import Names, UnusableKey, algorithm_called, bind, natural, second_name
from .strict_json import b64url_decode, b64url_encode, to_json
from .weak_keys import is_of_small_order, weak_modulus

PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

MAX_KID = 256  # characters
MAX_RSA_BITS = 8192  # with a larger modulus each check of a signature takes longer
MAX_RSA_EXPONENT = 1 << 32  # with a larger exponent, too: 5 ms with one of 3071 bits

# RFC 7638 s3.2, RFC 8037 s2: the members of the public part, in the order of their names.
_PUBLIC_MEMBERS: Mapping[str, tuple[str, ...]] = {
    "RSA": ("e", "kty", "n"),
    "EC": ("crv", "kty", "x", "y"),
    "OKP": ("crv", "kty", "x"),
    "oct": ("k", "kty"),
}
_PRIVATE_MEMBERS = ("d", "p", "q", "dp", "dq", "qi", "oth")
_PYJWT_READERS: Mapping[str, Any] = {"RSA": RSAAlgorithm, "EC": ECAlgorithm, "OKP": OKPAlgorithm}


_SIGN_AND_VERIFY = frozenset(("sign", "verify"))
NOT_FOR_SIGNATURES = "its `use` is not sig (RFC 7517 s4.2)"
NO_OPERATION = "its key_ops allow neither to sign nor to verify (RFC 7517 s4.3)"
# Nothing is wrong with such a key of another issuer.
FOR_SOMETHING_ELSE = (NOT_FOR_SIGNATURES, NO_OPERATION)


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """One key, bound to one algorithm (RFC 8725 s3.1). It has no way to show its secret part.

    What signs and what verifies is chosen when the key is made: `sign(message)` returns a
    signature, where there is a private part; `verify(message, signature)` says whether it is this
    key's.

    Attributes:
        kid: its name.
        algorithm: the one that it works with.
        public: None for a secret.
        private: None where this process only verifies.
        operations: what `key_ops` allows.
        second_name: another name of the same algorithm that tokens may have.
        beside: the issuer's keys with this `kid` for other algorithms, which only a published set
            may have.

    """

    kid: str
    algorithm: Algorithm
    public: PublicKey | None
    private: PrivateKey | bytes | None
    operations: frozenset[str] = _SIGN_AND_VERIFY
    second_name: str | None = None
    beside: tuple[Key, ...] = field(default=(), repr=False)
    sign: Callable[[bytes], bytes] = field(init=False)
    verify: Callable[[bytes, bytes], bool] = field(init=False)

    def __post_init__(self) -> None:
        chosen: tuple[object, object]
        if isinstance(self.private, bytes):
            mac = Mac(self.private, self.algorithm)
            chosen = mac.sign, mac.verify
        else:
            primitive = self.algorithm.primitive
            chosen = partial(primitive.sign, key=self.private), verifier(primitive, self.public)
        for name, bound in zip(("sign", "verify"), chosen, strict=True):
            object.__setattr__(self, name, bound)

    def __repr__(self) -> str:
        part = "secret" if self.is_symmetric else "private" if self.private else "public"
        return f"<Key kid={self.kid!r} alg={self.algorithm.name} {part}>"

    @property
    def is_symmetric(self) -> bool:
        """Say whether one secret both signs and verifies."""
        return self.public is None

    @property
    def signs(self) -> bool:
        """Say whether this key can and may sign."""
        return self.private is not None and "sign" in self.operations

    @property
    def verifies(self) -> bool:
        """Say whether this key may verify."""
        return "verify" in self.operations

    def of_this_kid(self, algorithm: str) -> Key | None:
        """Return the key with this `kid` that is for an algorithm, by either of its names."""
        return next(
            (
                one
                for one in (self, *self.beside)
                if algorithm in (one.algorithm.name, one.second_name)
            ),
            None,
        )

    def public_jwk(self) -> dict[str, str]:
        """Return the public part as a JWK, with `kid`, `alg` and `use` (RFC 7517 s4)."""
        if self.is_symmetric:
            raise UnusableKey("a secret has no public part")
        return self._jwk_of(self.public)

    def to_jwk(self) -> dict[str, Any]:
        """Return the whole key as a JWK, a secret: for a file with mode 0600, or a pickle."""
        found: dict[str, Any] = {**self._jwk_of(self.private or self.public)}
        if self.operations != _SIGN_AND_VERIFY:
            found["key_ops"] = sorted(self.operations)
        return found

    def _jwk_of(self, part: object) -> dict[str, str]:
        return _jwk_members(part) | {"kid": self.kid, "alg": self.algorithm.name, "use": "sig"}

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(from_jwk, algorithm=self.second_name), (self.to_jwk(),)


def thumbprint(members: Mapping[str, Any]) -> str:
    """Return the SHA-256 thumbprint of a JWK, in base64url (RFC 7638 s3)."""
    text = to_json({name: members[name] for name in _PUBLIC_MEMBERS[members["kty"]]})
    return b64url_encode(sha256(text.encode()).digest()).decode()


def is_foreign(jwk: Mapping[str, Any]) -> bool:
    """Say whether a JWK is of a type that isn't known here. A key set may contain such keys."""
    kty = jwk.get("kty")
    # A known type in other letter case is a mistake, not a newer type.
    return isinstance(kty, str) and kty.lower() not in map(str.lower, _PUBLIC_MEMBERS)


def is_private(jwk: Mapping[str, Any]) -> bool:
    """Say whether a JWK is a secret, or has a private part (RFC 7518 s6)."""
    return any(name in jwk for name in ("k", *_PRIVATE_MEMBERS)) or jwk.get("kty") == "oct"


def from_jwk(jwk: Mapping[str, Any], *, algorithm: Names = None) -> Key:
    """Read one JWK. `algorithm` is used for a key without `alg` (which is optional).

    Of several names, each type of key takes its own. Where one is a name of the key's own
    algorithm, tokens may have its other name, too.

    Raises:
        UnusableKey: with the reason; the message holds no part of the key.

    """
    kty = _text_member(jwk, "kty")
    if kty not in _PUBLIC_MEMBERS:
        raise UnusableKey(f"key type {kty!r} is not supported")
    for name in _PUBLIC_MEMBERS[kty]:
        _text_member(jwk, name)
    # Before `alg` is read: an encryption key has an unknown `alg`, but `use` is the better reason.
    operations = _check_use(jwk)
    curve = jwk.get("crv")
    name = jwk["alg"] if "alg" in jwk else natural(kty, curve, algorithm)
    bound = bind(name, kty, curve)
    kid = _checked_kid(jwk["kid"]) if "kid" in jwk else thumbprint(jwk)
    if kty == "oct":
        key = from_secret(_octets_member(jwk, "k"), bound.name, kid=kid)
    else:
        for name in (*_PUBLIC_MEMBERS[kty], *_PRIVATE_MEMBERS):
            if name in jwk and name not in ("kty", "crv"):
                _check_length(name, len(_octets_member(jwk, name)), curve)
        try:
            read = _PYJWT_READERS[kty].from_jwk(dict(jwk))
        except (InvalidKeyError, ValueError, TypeError, KeyError):
            # The cause is dropped, because its text and its traceback may show members of the key.
            raise UnusableKey("its members don't make a key") from None
        key = from_object(read, bound.name, kid=kid)
        if any(jwk[name] != value for name, value in _jwk_members(key.public).items()):
            # A private key with another key's public part would make signatures that can't be
            # verified.
            raise UnusableKey("its public part doesn't belong to its private part")
    key = replace(key, operations=operations, second_name=second_name(bound, algorithm))
    if not key.signs and not key.verifies:
        raise UnusableKey(NO_OPERATION)
    return key


def from_object(key: object, algorithm: str | None = None, *, kid: str | None = None) -> Key:
    """Bind a `cryptography` key to its algorithm, after checking that it is strong enough."""
    if isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)):
        private: PrivateKey | None = key
        public: PublicKey = key.public_key()
    elif isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey)):
        private, public = None, key
    else:
        raise UnusableKey(f"a key of type {type(key).__name__} is not supported")
    try:
        members = _jwk_members(public)
    except InvalidKeyError:
        raise UnusableKey("a key on this curve is not supported") from None
    kty, curve = members["kty"], members.get("crv")
    bound = bind(algorithm or natural(kty, curve, None), kty, curve)
    if isinstance(public, rsa.RSAPublicKey):
        _check_rsa(public, bound)
    elif isinstance(public, ed25519.Ed25519PublicKey) and is_of_small_order(
        public.public_bytes_raw()
    ):
        raise UnusableKey("a point of small order: anybody can sign for this Ed25519 key")
    return Key(_kid_or_thumbprint(kid, members), bound, public, private)


def from_pem(
    pem: bytes,
    algorithm: str | None = None,
    *,
    kid: str | None = None,
    password: bytes | None = None,
) -> Key:
    """Read a private or a public key in PEM (PKCS #8, SubjectPublicKeyInfo, or the older forms)."""
    if b"-----BEGIN CERTIFICATE-----" in pem and b"KEY-----" not in pem:
        raise UnusableKey(
            "a certificate, not a key: `openssl x509 -pubkey -noout -in FILE` prints its key"
        )
    try:
        key = (
            serialization.load_pem_private_key(pem, password)
            if b"PRIVATE KEY-----" in pem
            else serialization.load_pem_public_key(pem)
        )
    except TypeError:
        raise UnusableKey("it is encrypted and no password was given, or the reverse") from None
    except Exception:  # noqa: BLE001  (OpenSSL's reasons vary by version, and may quote the input)
        raise UnusableKey("not a private or public key in PEM, or the password is wrong") from None
    found = from_object(key, algorithm, kid=kid)
    return replace(found, second_name=second_name(found.algorithm, algorithm))


def from_secret(secret: bytes, algorithm: str, *, kid: str | None = None) -> Key:
    """Bind a secret to an HMAC algorithm, after checking that it is long and not a phrase."""
    bound = bind(algorithm, "oct", None)
    if len(secret) * 8 < bound.bits:
        raise UnusableKey(
            f"a secret of {len(secret)} octets is too short: {bound.name} needs at least "
            f"{bound.bits // 8} (RFC 7518 s3.2)"
        )
    from .weak_secrets import guessable  # not at the top: most keys are no secrets

    problem = guessable(secret)
    if problem:
        raise UnusableKey(problem)
    members = {"kty": "oct", "k": b64url_encode(secret).decode()}
    return Key(_kid_or_thumbprint(kid, members), bound, None, secret)


def generate(algorithm: Any, *, kid: str | None = None, secret: bytes = b"") -> Key:
    """Make a new key for `algorithm`; `secret` is the randomness of an HMAC key."""
    bound = algorithm_called(algorithm)
    if bound.kty == "oct":
        return from_secret(secret, algorithm, kid=kid)
    return from_object(_GENERATORS[bound.crv or "RSA"](), algorithm, kid=kid)


_GENERATORS: Mapping[str, Any] = {
    "RSA": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}


def _jwk_members(key: Any) -> dict[str, str]:
    """Return the members of RFC 7518 s6 that make up `key`, and no others."""
    if isinstance(key, bytes):
        return {"kty": "oct", "k": b64url_encode(key).decode()}
    kind = (
        "RSA"
        if isinstance(key, (rsa.RSAPublicKey, rsa.RSAPrivateKey))
        else "EC"
        if isinstance(key, (ec.EllipticCurvePublicKey, ec.EllipticCurvePrivateKey))
        else "OKP"
    )
    found = cast("dict[str, Any]", _PYJWT_READERS[kind].to_jwk(key, as_dict=True))
    names = (*_PUBLIC_MEMBERS[kind], *_PRIVATE_MEMBERS)
    return {name: found[name] for name in names if name in found}


def _checked_kid(kid: object) -> str:
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID:
        raise UnusableKey(f"kid must be a string of 1 to {MAX_KID} characters (RFC 7517 s4.5)")
    return kid


def _kid_or_thumbprint(kid: object, members: Mapping[str, Any]) -> str:
    return thumbprint(members) if kid is None else _checked_kid(kid)


def _check_use(jwk: Mapping[str, Any]) -> frozenset[str]:
    """Check `use` and `key_ops` (RFC 7517 s4.2, s4.3); return what the key may do."""
    if jwk.get("use") not in (None, "sig"):
        raise UnusableKey(NOT_FOR_SIGNATURES)
    operations = jwk.get("key_ops")
    if operations is None:
        return _SIGN_AND_VERIFY
    if not isinstance(operations, list | tuple) or not all(isinstance(o, str) for o in operations):
        raise UnusableKey("key_ops must be an array of strings (RFC 7517 s4.3)")
    allowed = frozenset(operations)
    if len(allowed) != len(operations):
        raise UnusableKey("key_ops names an operation twice (RFC 7517 s4.3)")
    if "d" in jwk and "sign" in allowed:
        # A private key contains the public one, which verifies.
        allowed |= {"verify"}
    return allowed & _SIGN_AND_VERIFY


def _text_member(jwk: Mapping[str, Any], name: str) -> str:
    value = jwk.get(name)
    if not isinstance(value, str) or not value:
        raise UnusableKey(f"member {name!r} must be a non-empty string")
    return value


def _octets_member(jwk: Mapping[str, Any], name: str) -> bytes:
    text = _text_member(jwk, name)
    try:
        return b64url_decode(text.encode())
    except ValueError:
        raise UnusableKey(f"member {name!r} must be canonical base64url") from None


# RFC 7518 s6.2.1.2: "The length of this octet string MUST be the full size of a coordinate for the
# curve"; RFC 8037 s2.
_COORDINATES: Mapping[object, int] = {"P-256": 32, "P-384": 48, "P-521": 66, "Ed25519": 32}


def _check_length(name: str, length: int, curve: object) -> None:
    size = _COORDINATES.get(curve, length)
    if name in ("x", "y") and length != size:
        raise UnusableKey(
            f"member {name!r} has {length} octets, and a coordinate on {curve} has {size}, zeros "
            "in front included (RFC 7518 s6.2.1.2)"
        )


def _check_rsa(key: rsa.RSAPublicKey, algorithm: Algorithm) -> None:
    numbers = key.public_numbers()
    if not algorithm.bits <= key.key_size <= MAX_RSA_BITS:
        raise UnusableKey(
            f"an RSA modulus of {key.key_size} bits: {algorithm.name} needs at least "
            f"{algorithm.bits} (RFC 7518 s3.3), and {MAX_RSA_BITS} is the most"
        )
    if not (3 <= numbers.e < MAX_RSA_EXPONENT and numbers.e % 2):
        raise UnusableKey("the RSA exponent must be odd, at least 3 and below 2**32")
    problem = weak_modulus(numbers.n)
    if problem:
        raise UnusableKey(f"the RSA modulus {problem}: the private key can be computed from it")
