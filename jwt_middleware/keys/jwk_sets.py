"""Read a JWK Set (RFC 7517 s5) into keys: our own set, or one that another issuer publishes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from ..jose.jwk import Key, UnusableKey, from_jwk, is_foreign, is_private
from ..jose.strict_json import parse_object
from ..values.errors import ConfigurationError
from .key_sources import Skipped
from .own_keys import limited

MAX_PUBLISHED = 256  # keys of one issuer; the largest have a few dozen
MAX_LOGGED = 200  # characters


def configured_keys(
    jwks: Mapping[str, Any] | str | bytes, algorithm: str | None
) -> tuple[Key, ...]:
    """Return the keys of a set of our own, each of which must be usable. Raises ConfigurationError.

    Where keys have a `state`, only the active one signs. `algorithm` is for keys without `alg`.
    """
    # RFC 7517 s5: "SHOULD ignore JWKs within a JWK Set that use "kty" (key type) values that are
    # not understood": a newer kind of key must not keep the others from being used.
    return tuple(
        usable(f"keys[{position}]", _configured_key, member, algorithm)
        for position, member in enumerate(_members_of_set(jwks))
        if not (isinstance(member, Mapping) and is_foreign(member))
    )


def _configured_key(member: object, algorithm: str | None) -> Key:
    if not isinstance(member, Mapping):
        raise UnusableKey("a key must be a JSON object (RFC 7517 s5)")
    return limited(from_jwk(member, algorithm=algorithm), member)


def published_keys(
    octets: bytes, algorithm: str | None
) -> tuple[tuple[Key, ...], tuple[Skipped, ...]]:
    """Return the keys of another issuer's set, and the unusable ones, which are skipped.

    Raises:
        ConfigurationError: it is no JWK Set, it has no usable key, two keys have one name, or it
            holds a secret or a private part: such a key is public now, and nothing it signs can be
            trusted.

    """
    keys, skipped = [], []
    members = _members_of_set(octets)
    if len(members) > MAX_PUBLISHED:
        raise ConfigurationError("keys", f"has more than {MAX_PUBLISHED} keys")
    for position, member in enumerate(members):
        if not isinstance(member, Mapping):
            raise ConfigurationError(f"keys[{position}]", "a key must be a JSON object")
        if is_private(member):
            raise ConfigurationError(f"keys[{position}]", "is a secret, and published")
        try:
            keys.append(from_jwk(member, algorithm=algorithm))
        except UnusableKey as error:
            # Cut: these texts are logged, and the set comes from outside.
            kid = member.get("kid")
            name = kid[:MAX_LOGGED] if isinstance(kid, str) else ""
            skipped.append(Skipped(name, str(error)[:MAX_LOGGED]))
    names = Counter([*(key.kid for key in keys), *(one.kid for one in skipped if one.kid)])
    if any(count > 1 for count in names.values()):
        raise ConfigurationError("keys", "two keys have the same kid")
    if not any(key.verifies for key in keys):
        reason = skipped[0].problem if skipped else "it is empty"
        raise ConfigurationError("keys", f"no key of the set can be used: {reason}")
    return tuple(keys), tuple(skipped)


def _members_of_set(jwks: Mapping[str, Any] | str | bytes) -> tuple[Any, ...]:
    if not isinstance(jwks, Mapping):
        octets = key_octets(jwks)
        try:
            jwks = parse_object(octets)
        except ValueError:
            raise ConfigurationError(
                "keys",
                "not one JSON object without duplicate members",
                "give a JWK Set; PEM is for KeySet.pem",
            ) from None
    members = jwks.get("keys")
    if not isinstance(members, list | tuple):
        raise ConfigurationError("keys", "not a JWK Set", 'it has a member "keys", an array')
    return tuple(members)


def key_octets(value: Any) -> bytes:
    """Return a configured text as octets. Raises ConfigurationError."""
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
        # `from None`: the cause holds the text, which may be a secret.
        raise ConfigurationError("keys", "the text can't be encoded", "give octets") from None


def usable(field: str, make: Callable[..., Key], *args: object, **options: object) -> Key:
    """Return the key that `make` makes of a setting. Raises ConfigurationError if it can't."""
    try:
        return make(*args, **options)
    except UnusableKey as error:
        raise ConfigurationError(field, str(error)) from None
