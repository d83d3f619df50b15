"""From the claims of a token to the scopes that it has here: once per token, and exactly.

    the claims that the profile names -> values -> prefix -> map -> what the issuer may give -> what
    these include

What can't be read gives no scope. It never raises: a route that asks for no scope needs none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from ..values.tokens import NO_SCOPES, FrozenDict
from .profiles import ClaimPath, Profile

# RFC 6749 s3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E ), scope = scope-token *( SP scope-token
# ). Some issuers send "" for no scope.
_SCOPE = re.compile(r"(?:[!#-\[\]-~]+(?: [!#-\[\]-~]+)*)?")
_WORD = re.compile(r"[!#-\[\]-~]+")
_ABSENT = object()


def is_scope(value: str) -> bool:
    """Say whether `value` is a scope (RFC 6749 s3.3), or "" for none."""
    return _SCOPE.fullmatch(value) is not None


def is_scope_token(value: object) -> bool:
    """Say whether `value` is one word of a scope (RFC 6749 s3.3)."""
    return isinstance(value, str) and _WORD.fullmatch(value) is not None


def steps_of(path: ClaimPath) -> tuple[str, ...]:
    """Return the names that lead to a claim, from the outside to the inside."""
    if not isinstance(path, str):
        return path
    # A name with a namespace is one name: https://shop.example/roles, cognito:groups.
    return (path,) if ":" in path or "/" in path else tuple(path.split("."))


def values_of(claim: object) -> Iterable[str]:
    """Return what a claim has as scopes: the words of a text, or the texts in an array.

    A text that isn't a scope by RFC 6749 has none. An array's elements are taken whole: one with a
    space in it isn't two.
    """
    if type(claim) is str:
        return claim.split(" ") if claim and is_scope(claim) else ()
    return [one for one in claim if type(one) is str] if type(claim) is tuple else ()


def with_included(implies: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """Return each scope with all that it includes. Raises ValueError if one includes itself."""
    found: dict[str, frozenset[str]] = {}

    def included(scope: str, above: tuple[str, ...]) -> frozenset[str]:
        if scope in above:
            raise ValueError(scope)
        if scope not in found:
            direct = implies.get(scope, "").split()
            parts = [included(one, (*above, scope)) for one in direct]
            found[scope] = frozenset((scope,)).union(*parts)
        return found[scope]

    for scope in implies:
        included(scope, ())
    return found


class ScopeReader:
    """The scopes of one issuer's tokens. `limit`: what the issuer may give; None: all."""

    __slots__ = ("_included", "_limit", "_map", "_name", "_paths", "_prefix", "_union")

    def __init__(self, profile: Profile, limit: frozenset[str] | None = None) -> None:
        self._paths = tuple(map(steps_of, profile.scope_claims))
        # The common case, one name: a single look-up.
        self._name = self._paths[0][0] if [*map(len, self._paths)] == [1] else None
        self._union = profile.scope_union
        self._prefix = profile.scope_prefix
        self._limit = limit
        self._included = with_included(profile.scope_implies)
        # What each of their values gives in the end. Prepared, because the first token with other
        # values waits for it.
        self._map = {
            theirs: self._effective(ours.split()) for theirs, ours in profile.scope_map.items()
        }

    def read(self, claims: FrozenDict) -> frozenset[str]:
        """Return the scopes that a token with these claims has here."""
        if self._name is not None:
            found = claims.get(self._name, _ABSENT)
            if found is _ABSENT:
                return NO_SCOPES
        else:
            found = self._find(claims)
        try:
            return _known(self, found)
        except TypeError:  # an array with an object in it, which no table can have as a key
            return self.scopes_of(found)

    def sources(self, claims: FrozenDict) -> list[tuple[str, Any]]:
        """Return the claims that count in a token, by their paths, for those who seek a fault."""
        there = [(".".join(path), _at(claims, path)) for path in self._paths]
        counted = [(name, found) for name, found in there if found is not _ABSENT]
        return counted if self._union else counted[:1]

    def _find(self, claims: FrozenDict) -> Any:
        """Return the claim that counts, or all of them in a `_Several`."""
        found: Any
        if self._union:
            there = (_at(claims, path) for path in self._paths)
            return _Several(found for found in there if found is not _ABSENT)
        for path in self._paths:
            found = _at(claims, path)
            if found is not _ABSENT:
                return found
        return ""

    def scopes_of(self, found: Any) -> frozenset[str]:
        """Return the scopes that a claim gives, or several claims."""
        values: Iterable[str]
        if type(found) is _Several:
            values = [one for claim in found for one in values_of(claim)]
        else:
            values = values_of(found)
        if self._prefix:
            size = len(self._prefix)
            values = [one[size:] for one in values if one.startswith(self._prefix)]
        if self._map:  # their values may be any text, such as the name of a group
            return NO_SCOPES.union(*[self._map[one] for one in values if one in self._map])
        return self._effective(values)

    def _effective(self, ours: Iterable[str]) -> frozenset[str]:
        """Return those of our scopes that the issuer may give, and what they include."""
        scopes = frozenset(one for one in ours if _WORD.fullmatch(one))
        if self._limit is not None:
            scopes &= self._limit
        if self._included:
            scopes = scopes.union(*(self._included.get(one, NO_SCOPES) for one in scopes))
        return scopes


class _Several(tuple[Any, ...]):
    """Claims that count together."""

    __slots__ = ()


def _at(claims: FrozenDict, path: tuple[str, ...]) -> Any:
    found: Any = claims
    for step in path:
        if type(found) is not FrozenDict:
            return _ABSENT
        found = found.get(step, _ABSENT)
    return found


# Tokens of one issuer have the same few scopes: thousands of cached tokens share one set. Values
# that are equal and of different types, such as 1 and True, are all no scopes.
@lru_cache(maxsize=1024)
def _known(reader: ScopeReader, found: Any) -> frozenset[str]:
    return reader.scopes_of(found)
