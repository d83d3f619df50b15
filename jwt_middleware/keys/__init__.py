"""Key sets: the keys that one issuer signs with, looked up by `kid`, equal or not at all."""

from collections.abc import Callable, Iterable, Mapping
from json import dumps
from os import PathLike
from types import MappingProxyType
from typing import Any

from ..jose import jwk
from ..jose.jwk import Key, UnusableKey
from ..jose.strict import parse_object
from ..values import randomness
from ..values.errors import ConfigurationError, InvalidToken, Reason
from . import file

__all__ = ["Key", "KeySet"]


class KeySet:
    """The keys of one issuer. Every key is typed, strong enough, and bound to one algorithm.

    The first key that can sign is the one that signs. Pickling a key set writes its secrets.
    """

    __slots__ = ("_by_kid", "keys")

    def __init__(self, keys: Iterable[Key]) -> None:
        self.keys = tuple(keys)
        if not all(isinstance(key, Key) for key in self.keys):
            raise ConfigurationError(
                "keys", "a KeySet is made of keys", "KeySet.load, .pem, .secret or .from_jwks"
            )
        if not self.keys:
            raise ConfigurationError(
                "keys", "the key set is empty", "KeySet.generate() makes a key"
            )
        self._by_kid = MappingProxyType({key.kid: key for key in self.keys})
        if len(self._by_kid) != len(self.keys):
            raise ConfigurationError("keys", "two keys have the same kid", "give each key its own")
        # RFC 8725 s3.1; a set that has both would let a public key's name lead to a secret, or the
        # reverse.
        if len({key.is_symmetric for key in self.keys}) > 1:
            raise ConfigurationError(
                "keys", "secrets and asymmetric keys in one set", "use one kind for one issuer"
            )

    @classmethod
    def generate(cls, algorithm: str = "ES256", *, kid: str | None = None) -> "KeySet":
        """Make a key set of one new key. It is gone when the process ends: `save` keeps it.

        ES256 by default: short signatures, quick to make, and read by every library.
        """
        return cls(
            (_usable("keys", jwk.generate, algorithm, kid=kid, secret=randomness.octets(64)),)
        )

    @classmethod
    def secret(cls, *secrets: str | bytes, algorithm: str = "HS256") -> "KeySet":
        """Use secrets, the first to sign and all to verify: for one service that trusts itself.

        Each needs as many octets as the hash (32 for HS256, RFC 7518 s3.2), and to be random.
        """
        return cls(_usable("keys", jwk.from_secret, _octets(one), algorithm) for one in secrets)

    @classmethod
    def pem(
        cls,
        *pems: str | bytes,
        algorithm: str | None = None,
        kid: str | None = None,
        password: bytes | None = None,
    ) -> "KeySet":
        """Read private or public keys in PEM. RSA needs `algorithm`, a curve says its own."""
        return cls(
            _usable("keys", jwk.from_pem, _octets(one), algorithm, kid=kid, password=password)
            for one in pems
        )

    @classmethod
    def from_jwks(
        cls, jwks: Mapping[str, Any] | str | bytes, *, algorithm: str | None = None
    ) -> "KeySet":
        """Read a JWK Set (RFC 7517 s5). `algorithm` is for its RSA keys and secrets without `alg`.

        A key that can't be used is an error, because somebody configured it.
        """
        if not isinstance(jwks, Mapping):
            octets = _octets(jwks)
            try:
                jwks = parse_object(octets)
            except ValueError:
                raise ConfigurationError(
                    "keys", "not one JSON object without duplicate members", "give a JWK Set"
                ) from None
        members = jwks.get("keys")
        if not isinstance(members, list | tuple):
            raise ConfigurationError("keys", "not a JWK Set", 'it has a member "keys", an array')
        # RFC 7517 s5: "SHOULD ignore JWKs within a JWK Set that use "kty" (key type) values that
        # are not understood": a newer kind of key must not keep the others from being used.
        return cls(
            _usable(f"keys[{position}]", _from_member, member, algorithm)
            for position, member in enumerate(members)
            if not (isinstance(member, Mapping) and jwk.is_foreign(member))
        )

    @classmethod
    def load(cls, path: str | PathLike[str], *, algorithm: str | None = None) -> "KeySet":
        """Read a JWK Set file, such as `save` writes."""
        return cls.from_jwks(file.read(path), algorithm=algorithm)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the whole set, secrets too, to a file for its owner only; all or nothing."""
        jwks = {"keys": [key.to_jwk() for key in self.keys]}
        file.write(path, (dumps(jwks, indent=2) + "\n").encode())

    @property
    def algorithms(self) -> frozenset[str]:
        """Return the algorithms that a token can have: the keys' own."""
        return frozenset(key.algorithm.name for key in self.keys)

    @property
    def signer(self) -> Key | None:
        """Return the key that signs, or None where this set only verifies."""
        return next((key for key in self.keys if key.signs), None)

    def find(self, kid: str | None) -> Key:
        """Return the key called `kid`; without one, the only key. Raises InvalidToken."""
        if kid is None:
            # RFC 7515 s4.1.4 leaves `kid` out at will. To try every key would let a token choose
            # the algorithm.
            if len(self.keys) == 1:
                return self.keys[0]
            raise InvalidToken(Reason.KEY_UNKNOWN)
        key = self._by_kid.get(kid)
        if key is None:
            raise InvalidToken(Reason.KEY_UNKNOWN)
        return key

    def public_jwks(self) -> dict[str, list[dict[str, str]]]:
        """Return the public parts as a JWK Set (RFC 7517 s5); empty for secrets."""
        return {"keys": [key.public_jwk() for key in self.keys if not key.is_symmetric]}

    def __repr__(self) -> str:
        return f"KeySet({', '.join(map(repr, self.keys))})"

    def __reduce__(self) -> tuple[type["KeySet"], tuple[tuple[Key, ...]]]:
        return KeySet, (self.keys,)


def _octets(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise ConfigurationError(
            "keys",
            f"must be text or octets, not {type(value).__name__}",
            "is the environment variable set?",
        )
    try:
        return value.encode()
    except UnicodeEncodeError:
        # Without its cause, which holds the text.
        raise ConfigurationError("keys", "the text can't be encoded", "give octets") from None


def _from_member(member: object, algorithm: str | None) -> Key:
    if not isinstance(member, Mapping):
        raise UnusableKey("a key must be a JSON object (RFC 7517 s5)")
    return jwk.from_jwk(member, algorithm=algorithm)


def _usable(field: str, make: Callable[..., Key], *args: object, **options: object) -> Key:
    try:
        return make(*args, **options)
    except UnusableKey as error:
        raise ConfigurationError(field, str(error)) from None
