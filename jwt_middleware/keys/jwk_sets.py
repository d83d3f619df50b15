"""Read a JWK Set (RFC 7517 s5) into keys: our own set, or one that another issuer publishes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from ..jose.binding import Names, UnusableKey, each_named
from ..jose.jwk import (
    FOR_SOMETHING_ELSE,
    Key,
    from_jwk,
    is_foreign,
    is_private,
    thumbprint,
)
from ..jose.published_jwk import as_specified
from ..jose.strict_json import parse_object
from ..values.errors import ConfigurationError
from .key_sources import Skipped
from .own_keys import limited

Read = TypeVar("Read")

MAX_PUBLISHED = 256  # keys of one issuer; the largest have a few dozen
MAX_LOGGED = 200  # characters


def configured_keys(jwks: Mapping[str, Any] | str | bytes, algorithm: Names) -> tuple[Key, ...]:
    """Return the keys of a set of our own, each of which must be usable. Raises ConfigurationError.

    Where keys have a `state`, only the active one signs. `algorithm` is for keys without `alg`.
    """
    named = usable("keys.algorithm", each_named, algorithm)
    # RFC 7517 s5: "SHOULD ignore JWKs within a JWK Set that use "kty" (key type) values that are
    # not understood": a newer kind of key must not keep the others from being used.
    return tuple(
        usable(f"keys[{position}]", _configured_key, member, named)
        for position, member in enumerate(_members_of_set(jwks))
        if not (isinstance(member, Mapping) and is_foreign(member))
    )


def _configured_key(member: object, algorithm: Names) -> Key:
    if not isinstance(member, Mapping):
        raise UnusableKey("a key must be a JSON object (RFC 7517 s5)")
    return limited(from_jwk(member, algorithm=algorithm), member)


def published_keys(octets: bytes, algorithm: Names) -> tuple[tuple[Key, ...], tuple[Skipped, ...]]:
    """Return the keys of another issuer's set, and the unusable ones, which are skipped.

    Raises:
        ConfigurationError: it is no JWK Set, it has no usable key, or it holds a secret or a
            private part: such a key is public now, and nothing it signs can be trusted.

    """
    keys: list[Key] = []
    skipped: list[Skipped] = []
    unread: set[tuple[str, str | None]] = set()
    members = _members_of_set(octets)
    if len(members) > MAX_PUBLISHED:
        raise ConfigurationError("keys", f"has more than {MAX_PUBLISHED} keys")
    for position, member in enumerate(members):
        if not isinstance(member, Mapping):
            raise ConfigurationError(f"keys[{position}]", "a key must be a JSON object")
        if is_private(member):
            raise ConfigurationError(f"keys[{position}]", "is a secret, and published")
        try:
            keys.append(from_jwk(as_specified(member), algorithm=algorithm))
        except UnusableKey as error:
            # Cut: these texts are logged, and the set comes from outside.
            kid, problem = member.get("kid"), str(error)[:MAX_LOGGED]
            name = kid if isinstance(kid, str) else ""
            skipped.append(Skipped(name[:MAX_LOGGED], problem))
            stated = member.get("alg")
            if problem not in FOR_SOMETHING_ELSE and isinstance(stated, str):
                unread.add((name, stated))
    keys, doubtful = _told_apart(keys, unread)
    skipped += doubtful
    if not keys:
        problems = [one.problem for one in skipped]
        telling = [one for one in problems if one not in FOR_SOMETHING_ELSE]
        reason = (*telling, *problems, "it is empty")[0]
        raise ConfigurationError("keys", f"no key of the set can be used: {reason}")
    return tuple(map(_with_others(keys), keys)), tuple(skipped)


def _told_apart(
    keys: Iterable[Key], unread: Collection[tuple[str, str | None]]
) -> tuple[list[Key], list[Skipped]]:
    """Return the keys whose `kid` and algorithm no other key has, and a note for the others.

    `unread` are `kid` and `alg` of keys that can't be used.
    """
    # RFC 7517 s4.5: "different keys within the JWK Set SHOULD use distinct "kid" values". Some
    # issuers have one `kid` for each algorithm of one key.
    named: dict[tuple[str, str], dict[str, Key]] = {}
    for key in keys:
        # Ed25519 and EdDSA count as one name where the configuration takes them for one.
        name = min(key.algorithm.name, key.second_name or key.algorithm.name)
        named.setdefault((key.kid, name), {}).setdefault(thumbprint(key.to_jwk()), key)
    found, doubtful = [], []
    for (kid, name), different in named.items():
        first, *others = different.values()
        if others or any((kid, one) in unread for one in (first.algorithm.name, first.second_name)):
            problem = f"another key has the same kid and is for {name}, too (RFC 7517 s4.5)"
            doubtful.append(Skipped(kid[:MAX_LOGGED], problem))
        else:
            found.append(first)
    return found, doubtful


def _with_others(keys: Iterable[Key]) -> Callable[[Key], Key]:
    """Return a function that gives a key those that have the same `kid`."""
    by_kid: dict[str, list[Key]] = {}
    for key in keys:
        by_kid.setdefault(key.kid, []).append(key)

    def with_others(key: Key) -> Key:
        others = tuple(one for one in by_kid[key.kid] if one is not key)
        return replace(key, beside=others) if others else key

    return with_others


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


def usable(field: str, make: Callable[..., Read], *args: object, **options: object) -> Read:
    """Return what `make` makes of a setting, in general a key. Raises ConfigurationError."""
    try:
        return make(*args, **options)
    except UnusableKey as error:
        raise ConfigurationError(field, str(error)) from None
