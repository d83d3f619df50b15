"""Which algorithm a key is bound to: the one that it names, or that was configured for its type.

RFC 8725 s3.1: "each key MUST be used with exactly one algorithm, and this MUST be checked".
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from .algorithms import ALGORITHMS, BY_CURVE, Algorithm

# What is configured for keys that don't name their algorithm: one name, or one for each type.
Names: TypeAlias = str | tuple[str, ...] | None

# RFC 9864 s2.2: "EdDSA" leaves the curve open, "Ed25519" names it. For a key on this curve they are
# two names of one algorithm.
_OTHER_NAMES: Mapping[str, str] = MappingProxyType({"EdDSA": "Ed25519", "Ed25519": "EdDSA"})


class UnusableKey(ValueError):
    """The key can't or must not be used. The message says why, and holds no part of the key."""


def each_named(given: Any) -> tuple[str, ...]:
    """Return configured names as a tuple: one algorithm at most for each type of key.

    Raises:
        UnusableKey: a name isn't one of an algorithm, or two are for one type of key.

    """
    names = (given,) if isinstance(given, str) else () if given is None else given
    if not isinstance(names, list | tuple):
        raise UnusableKey("must be the name of an algorithm, or several")
    takers: dict[tuple[str, str | None], str] = {}
    for name in names:
        one = algorithm_called(name)
        # An RSA key and a secret have no curve.
        before = takers.setdefault((one.kty, one.crv), name)
        if before is not name:
            raise UnusableKey(
                f"{before} and {name} are for one type of key: name the one that its keys are for"
            )
    if len({kty == "oct" for kty, _ in takers}) > 1:
        raise UnusableKey("names of secrets and of public keys: use one kind for one issuer")
    return tuple(names)


def bind(name: object, kty: str, curve: object) -> Algorithm:
    """Return the algorithm called `name`, if it goes with the type and the curve."""
    bound = algorithm_called(name)
    if not _fits(bound, kty, curve):
        raise UnusableKey(
            f"{bound.name} doesn't go with a key of type {kty} {curve or ''}".rstrip()
        )
    return bound


def natural(kty: str, curve: object, configured: Names = None) -> str:
    """Return the algorithm of a key without `alg`: the configured one that fits, or its curve's."""
    for name in each_named(configured):
        if _fits(ALGORITHMS[name], kty, curve):
            return name
    if isinstance(curve, str) and curve in BY_CURVE:
        return BY_CURVE[curve]
    if curve is not None:
        raise UnusableKey(f"curve {curve!r} is not supported")
    raise UnusableKey(
        f"a key of type {kty} without `alg` could serve several algorithms: name one, "
        'algorithm="..." (RFC 8725 s3.1)'
    )


def second_name(bound: Algorithm, configured: Names) -> str | None:
    """Return the other name of a key's algorithm, if the configuration has either; else None."""
    other = _OTHER_NAMES.get(bound.name)
    is_named = not {bound.name, other}.isdisjoint(each_named(configured))
    return other if is_named else None


def algorithm_called(name: object) -> Algorithm:
    """Return the algorithm that has exactly this name."""
    if not isinstance(name, str) or name not in ALGORITHMS:
        raise UnusableKey(f"algorithm {name!r} is not supported: one of {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name]


def _fits(algorithm: Algorithm, kty: str, curve: object) -> bool:
    return algorithm.kty == kty and algorithm.crv in (None, curve)
