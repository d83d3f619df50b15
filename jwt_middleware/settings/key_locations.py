"""Where keys are, as TOML, variables or mappings say it: a file, a URL, or the keys themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from ..keys import file
from ..keys.key_set import KeySet
from ..keys.remote import Remote
from ..values.errors import ConfigurationError
from .places import Place, octets_of


@dataclass(frozen=True, kw_only=True, repr=False)
class KeyLocation:
    """Where the issuer's keys are: exactly one of `file`, `remote`, `jwks`, `pem` and `secret`.

    Args:
        file: path of a JWK Set file (RFC 7517 s5), such as `KeySet.save` writes; it is read again
            when it is replaced.
        remote: a key set that the issuer publishes; an empty table: found through its metadata.
        jwks: the JWK Set itself, or its JSON text.
        pem: private or public keys in PEM.
        secret: secrets for HMAC, the first to sign, all to verify; for one service on its own.
        algorithm: of the keys that don't name one: RSA keys, and secrets (default for these:
            HS256). In a set, several names are for keys of several types.
        kid: the name of the key in `pem`, if that isn't its thumbprint (RFC 7638).
        password: the password of an encrypted `pem`.

    """

    file: str | None = None
    remote: Remote | None = None
    jwks: Mapping[str, Any] | str | None = None
    pem: str | tuple[str, ...] | None = None
    secret: str | tuple[str, ...] | None = None
    algorithm: str | tuple[str, ...] | None = None
    kid: str | None = None
    password: str | None = None


def _several(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


# Each takes the value of its field (for a file, its contents), and the whole table.
WAYS: Mapping[str, Callable[[Any, KeyLocation], KeySet]] = {
    "file": lambda octets, said: KeySet.from_jwks(octets, algorithm=said.algorithm),
    "remote": lambda remote, said: KeySet(
        (), replace(remote, algorithm=remote.algorithm or said.algorithm)
    ),
    "jwks": lambda jwks, said: KeySet.from_jwks(jwks, algorithm=said.algorithm),
    "pem": lambda pem, said: KeySet.pem(
        *_several(pem),
        algorithm=cast("str | None", said.algorithm),
        kid=said.kid,
        password=None if said.password is None else said.password.encode(),
    ),
    "secret": lambda secret, said: KeySet.secret(
        *_several(secret), algorithm=cast("str", said.algorithm or "HS256")
    ),
}


def from_location(said: KeyLocation, place: Place) -> KeySet:
    """Return the keys that are where a table says. Raises ConfigurationError."""
    given = [way for way in WAYS if getattr(said, way) is not None]
    if len(given) != 1:
        problem = f"has {' and '.join(given)}" if given else "doesn't say where the keys are"
        raise place.wrong(problem, f"give exactly one of {', '.join(WAYS)}")
    for only in ("kid", "password"):
        if given != ["pem"] and getattr(said, only) is not None:
            raise place.field(only).wrong("goes with pem only", "leave it out")
    if given[0] in ("pem", "secret") and isinstance(said.algorithm, tuple):
        raise place.field("algorithm").wrong(f"has several names, and {given[0]} takes one")
    return load_keys(given[0], said, place.field(given[0]))


def load_keys(way: str, said: KeyLocation, place: Place) -> KeySet:
    """Return the keys that are found in one of the ways. Raises ConfigurationError."""
    value, path = getattr(said, way), ""
    if way == "file":
        path = place.path(value)
        value = octets_of(
            path,
            place,
            "this is the path of a JWK Set file; keys at a URL, or found by the issuer's name, "
            "go to `remote`, others to `pem`, `jwks` or `secret`",
        )
    try:
        found = WAYS[way](value, said)
        return KeySet(found.keys, file.file_source(path, said.algorithm)) if path else found
    except ConfigurationError as error:
        # "keys[1]" is a member of the key set that was given here.
        inner = "" if error.field == "keys" else f".{error.field}"
        raise place._replace(name=place.name + inner).wrong(error.problem, error.remedy) from None
