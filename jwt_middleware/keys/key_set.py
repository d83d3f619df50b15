"""Key sets: the keys that one issuer signs with, found by an equal `kid`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from json import dumps
from os import PathLike, fspath
from types import MappingProxyType
from typing import Any

from ..jose import jwk
from ..jose.binding import Names
from ..jose.jwk import Key
from ..values import reasons
from ..values.errors import ConfigurationError, InvalidToken
from ..values.randomness import octets
from . import signer as signing
from .jwk_sets import configured_keys, key_octets, usable
from .key_sources import Source
from .signer import Signer


class KeySet:
    """The keys of one issuer. Every key has a type, is strong enough, and has one algorithm.

    The first key that can sign is the one that signs. With a `source` (a file, a URL) the keys are
    those that were found there when the set was made; a remote set has none at that time. The
    process that uses the set looks at the source again from time to time. Pickling a key set writes
    its secrets.

    Args:
        keys: the keys, of any other set.
        source: where they come from, if they are to be looked for again.

    Raises:
        ConfigurationError: names what is wrong, and the way out.

    """

    __slots__ = ("by_kid", "is_made_here", "keys", "source")

    def __init__(self, keys: Iterable[Key], source: Source | None = None) -> None:
        self.keys = tuple(keys)
        self.source = source
        self.is_made_here = False  # True: made by `generate`, so other processes don't have them
        if not all(isinstance(key, Key) for key in self.keys):
            raise ConfigurationError(
                "keys", "a KeySet is made of keys", "KeySet.load, .pem, .secret or .from_jwks"
            )
        if not self.keys and source is None:
            raise ConfigurationError(
                "keys", "the key set is empty", "KeySet.generate() makes a key"
            )
        by_kid: dict[str | None, Key] = {}
        for key in self.keys:
            # A published set may have one `kid` for keys of several algorithms; each knows the
            # others.
            if by_kid.setdefault(key.kid, key) is not key and not key.beside:
                raise ConfigurationError(
                    "keys", "two keys have the same kid", "give each key its own"
                )
        if len(self.keys) == 1:
            # RFC 7515 s4.1.4: `kid` is optional. With several keys, trying each of them would let a
            # token choose the algorithm.
            by_kid[None] = self.keys[0]
        self.by_kid: Mapping[str | None, Key] = MappingProxyType(by_kid)
        # RFC 8725 s3.1: in a set with both, the name of a public key could lead to a secret, or the
        # reverse.
        if len({key.is_symmetric for key in self.keys}) > 1:
            raise ConfigurationError(
                "keys", "secrets and asymmetric keys in one set", "use one kind for one issuer"
            )

    @classmethod
    def generate(cls, algorithm: str = "ES256", *, kid: str | None = None) -> KeySet:
        """Make a key set of one new key. It ends with the process, unless you `save` it.

        ES256 by default: short signatures, quick to make, and read by most libraries. "Ed25519" is
        a name that many don't know yet; "EdDSA" makes the same kind of key under its old name.

        Args:
            algorithm: such as `ES256`, `RS256` or `HS256`.
            kid: its name; None: its thumbprint.

        Raises:
            ConfigurationError: for an algorithm that isn't supported.

        """
        keys = cls((usable("keys", jwk.generate, algorithm, kid=kid, secret=octets(64)),))
        keys.is_made_here = True
        return keys

    @classmethod
    def secret(cls, *secrets: str | bytes, algorithm: str = "HS256") -> KeySet:
        """Use secrets, the first to sign and all to verify: for a service that issues and verifies.

        Args:
            secrets: text or octets, random, with at least as many octets as the hash (32 for HS256,
                RFC 7518 s3.2).
            algorithm: HS256, HS384 or HS512.

        Raises:
            ConfigurationError: for a secret that is short or can be guessed.

        """
        return cls(usable("keys", jwk.from_secret, key_octets(one), algorithm) for one in secrets)

    @classmethod
    def pem(
        cls,
        *pems: str | bytes,
        algorithm: str | None = None,
        kid: str | None = None,
        password: bytes | None = None,
    ) -> KeySet:
        """Read private or public keys in PEM.

        Args:
            pems: private or public keys.
            algorithm: for RSA; a curve has only one.
            kid: the name of the key; None: its thumbprint.
            password: of an encrypted private key.

        Raises:
            ConfigurationError: names what is wrong, and the way out.

        """
        return cls(
            usable("keys", jwk.from_pem, key_octets(one), algorithm, kid=kid, password=password)
            for one in pems
        )

    @classmethod
    def from_jwks(cls, jwks: Mapping[str, Any] | str | bytes, *, algorithm: Names = None) -> KeySet:
        """Read a JWK Set (RFC 7517 s5).

        A key that can't be used is an error, because it was configured on purpose. Where keys have
        a `state`, as in the files of `jwt-middleware keys`, only the active one signs.

        Args:
            jwks: a JSON object, or its text.
            algorithm: for RSA keys and secrets without `alg`, such as `RS256`; several are for keys
                of several types: ("RS256", "Ed25519").

        Raises:
            ConfigurationError: names what is wrong, and the way out.

        """
        return cls(configured_keys(jwks, algorithm))

    @classmethod
    def load(cls, path: str | PathLike[str], *, algorithm: Names = None) -> KeySet:
        """Read a JWK Set file, such as `save` writes, and read it again when it is replaced.

        A key whose `state` is next or retired verifies and doesn't sign: see `keys.own_keys`.
        A process notices a new file within seconds. Until then, and while the file can't be read,
        it uses the keys it knows.

        Args:
            path: the file.
            algorithm: as for `from_jwks`.

        Raises:
            ConfigurationError: the file can't be read, or isn't a key set that can be used.

        """
        # Not at the top, as below: only a process that uses files or remote sets loads these.
        from .file import file_source, read_key_file

        contents = read_key_file(path)
        try:
            found = cls.from_jwks(contents, algorithm=algorithm)
        except ConfigurationError as error:
            raise ConfigurationError(
                error.field, f"{error.problem}, in {fspath(path)}", error.remedy
            ) from None
        return cls(found.keys, file_source(path, algorithm))

    @classmethod
    def remote(cls, url: str | None = None, **options: Any) -> KeySet:
        """Use the keys that an issuer publishes at `url`, or names in its metadata (without `url`).

        Nothing is fetched yet: the first token does that, and no request with a known key ever
        waits for the network after that.

        Args:
            url: of the key set; None: the issuer's metadata names it.
            **options: those of `keys.remote.Remote`.

        Raises:
            ConfigurationError: names what is wrong, and the way out.

        """
        from .remote import Remote

        return cls((), Remote(url=url, **options))

    @classmethod
    def external(
        cls,
        public: Mapping[str, Any] | str | bytes,
        signer: Signer,
        *,
        algorithm: str | None = None,
        kid: str | None = None,
    ) -> KeySet:
        """Use a key that can't leave its KMS or HSM.

        `Refresh` then needs a `secret` of its own, because none can be derived. To add earlier and
        later keys, make one set of all: `KeySet((*KeySet.external(...).keys, *others.keys))`.

        Args:
            public: the public key, in PEM or as a JWK.
            signer: the object that signs.
            algorithm: for RSA; a curve has only one.
            kid: the name of the key; None: its thumbprint.

        Raises:
            ConfigurationError: names what is wrong, and the way out.

        """
        given = public if isinstance(public, Mapping) else key_octets(public)
        return cls((usable("keys", signing.external, given, signer, algorithm, kid),))

    def save(self, path: str | PathLike[str]) -> None:
        """Write the whole set, with its secrets, to a file that only its owner can read.

        Args:
            path: the file; one that is there is replaced.

        Raises:
            OSError: the file can't be written.

        """
        jwks = {"keys": [key.to_jwk() for key in self.keys]}
        from .file import write_key_file

        write_key_file(path, (dumps(jwks, indent=2) + "\n").encode())
        self.is_made_here = False

    @property
    def algorithms(self) -> frozenset[str]:
        """Return the algorithms of the keys: a token can have no other."""
        return frozenset(key.algorithm.name for key in self.keys)

    @property
    def signer(self) -> Key | None:
        """Return the key that signs, or None where this set only verifies."""
        return next((key for key in self.keys if key.signs), None)

    def find(self, kid: str | None) -> Key:
        """Return the key called `kid`; without one, the only key. Raises InvalidToken."""
        key = self.by_kid.get(kid)
        if key is None:
            raise InvalidToken(reasons.KEY_UNKNOWN)
        return key

    def public_jwks(self) -> dict[str, list[dict[str, str]]]:
        """Return the public parts as a JWK Set (RFC 7517 s5); empty for secrets."""
        return {"keys": [key.public_jwk() for key in self.keys if not key.is_symmetric]}

    def __repr__(self) -> str:
        parts = (*self.keys, *(() if self.source is None else (self.source,)))
        return f"KeySet({', '.join(map(repr, parts))})"

    def __reduce__(self) -> tuple[type[KeySet], tuple[tuple[Key, ...], Source | None]]:
        return KeySet, (self.keys, self.source)
