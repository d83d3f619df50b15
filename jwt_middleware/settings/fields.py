"""Checks of fields that several groups of settings have: each returns the value as it is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import iscoroutinefunction
from typing import Any, TypeVar

from ..keys.key_set import KeySet
from ..keys.key_sources import unusable
from ..token.claims import is_scope
from ..token.profiles import Profile
from ..values.errors import ConfigurationError

T = TypeVar("T")

MIN_CLOCK = 1_000_000_000  # seconds: the year 2001; what counts from a start is below


def identifier(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(name, "must be a non-empty string", "as the tokens have it")
    if not value.isprintable() or " " in value:
        raise ConfigurationError(
            name, f"{value!r} has white space or a character nobody can see", "leave it out"
        )
    return value


def audience(name: str, value: Any) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else listed(name, value)
    if not names:
        # RFC 9068 s4: "MUST validate that the aud claim contains a resource indicator value
        # corresponding to an identifier the resource server expects for itself".
        raise ConfigurationError(
            name, "is empty: tokens for every other service would pass", "name this service"
        )
    return tuple(identifier(name, one) for one in names)


def listed(name: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__"):
        raise ConfigurationError(name, "must be a tuple", "a single one needs a comma: (value,)")
    return tuple(value)


def each(kind: type[T], example: str) -> Callable[[str, Any], tuple[T, ...]]:
    """Return the check of a field with any number of one kind."""

    def check(name: str, value: Any) -> tuple[T, ...]:
        found = listed(name, value)
        for one in found:
            if not isinstance(one, kind):
                problem = f"{type(one).__name__} is no {kind.__name__}"
                raise ConfigurationError(name, problem, example)
        return found

    return check


def group(
    kind: type[T], example: str, *, can_be_off: bool = True
) -> Callable[[str, Any], T | None]:
    """Return the check of a field that is a group of settings; None: the feature is off."""

    def check(name: str, value: Any) -> T | None:
        if isinstance(value, kind) or (value is None and can_be_off):
            return value
        problem = f"must be a {kind.__name__} group, not {type(value).__name__}"
        raise ConfigurationError(name, problem, example)

    return check


def optional(check: Callable[[str, Any], T]) -> Callable[[str, Any], T | None]:
    """Return the check of a field that may be None, and else is what `check` says."""
    return lambda name, value: None if value is None else check(name, value)


def url(name: str, value: Any) -> str:
    problem = "has a fragment" if "#" in str(value) else unusable(value)
    if problem:
        # Without the value: people put a password into a URL.
        raise ConfigurationError(name, problem, "an https URL; http is only for loopback")
    return str(value)


def scopes(name: str, value: Any) -> tuple[str, ...]:
    found = listed(name, value)
    if not all(isinstance(one, str) and one and " " not in one and is_scope(one) for one in found):
        raise ConfigurationError(name, "has one that is no scope (RFC 6749 s3.3)", '("read",)')
    return found


def key_set(name: str, value: Any) -> KeySet:
    if not isinstance(value, KeySet):
        raise ConfigurationError(
            name,
            f"must be a KeySet, not {type(value).__name__}: text never becomes a key by guessing",
            "KeySet.load, .remote, .pem, .secret, .from_jwks or .generate",
        )
    if value.keys and not any(key.verifies for key in value.keys):
        raise ConfigurationError(
            name, "no key may verify: every token would be refused", 'key_ops needs "verify"'
        )
    return value


# What is read without asking whether it is there. Without `exp` and `aud` a token would be good for
# ever, and for every service (RFC 9068 s2.2, RFC 8725 s3.9).
_NEEDED = frozenset(("iss", "sub", "aud", "exp"))
# RFC 8725 s3.12: "Use Mutually Exclusive Validation Rules for Different Kinds of JWTs".
_OTHER_KINDS = frozenset(("rt+jwt", "dpop+jwt", "logout+jwt", "secevent+jwt"))


def profile(name: str, value: Any) -> Profile:
    if not isinstance(value, Profile):
        raise ConfigurationError(name, "must be a Profile", "profiles.RFC_9068 or profiles.FOREIGN")
    for which in ("types", "required"):
        names = getattr(value, which)
        if not isinstance(names, frozenset) or not all(isinstance(one, str) for one in names):
            raise ConfigurationError(
                name,
                f"`{which}` of {value.name} must be a frozenset of text",
                'frozenset(("iss",))',
            )
    missing = _NEEDED - value.required
    if missing:
        raise ConfigurationError(
            name,
            f"{value.name} doesn't require {', '.join(sorted(missing))}",
            "add to `required`, as profiles.FOREIGN has it",
        )
    unmatched = [typ for typ in value.types if typ != typ.lower().removeprefix("application/")]
    if unmatched or not value.types:
        raise ConfigurationError(
            name,
            f"the types of {value.name} match no token",
            'lower-case and without "application/", as in "at+jwt"',
        )
    others = _OTHER_KINDS.intersection(value.types)
    if others:
        raise ConfigurationError(
            name,
            f"{', '.join(sorted(others))} is another kind of token (RFC 8725 s3.12)",
            "an access token's type is at+jwt, or JWT, or absent",
        )
    return value


def function(name: str, value: Any) -> Any:
    if not callable(value):
        raise ConfigurationError(name, f"{type(value).__name__} can't be called", "give a function")
    if iscoroutinefunction(value) or iscoroutinefunction(type(value).__call__):
        # Nothing would await it: a check would refuse every token, an event would be lost.
        raise ConfigurationError(
            name, "is asynchronous, and must not wait", "give a plain function"
        )
    return value


def without_metadata(issuer: str) -> str:
    """Return why an issuer can have no metadata, or "" if it can."""
    # RFC 8414 s2: "a URL that uses the "https" scheme and has no query or fragment components".
    problem = unusable(issuer)
    return problem or ("has a query or a fragment" if "?" in issuer or "#" in issuer else "")


def check_source(issuer: str, keys: KeySet) -> None:
    """Check that keys to be discovered can be. Raises ConfigurationError."""
    source: Any = keys.source
    if getattr(source, "url", "") is not None:
        return
    problem = without_metadata(issuer)
    if problem:
        raise ConfigurationError(
            "keys",
            f"are to be found through the issuer's metadata, and the issuer {problem}",
            "KeySet.remote(url) where the key set is",
        )
