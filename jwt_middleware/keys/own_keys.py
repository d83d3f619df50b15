"""The stages of our own keys: next, active, retired. Pure: time in, a new file out.

A key is published before it signs, and still verifies after it has stopped signing. So a rotation
makes no good token invalid: every service has fetched the key before that key signs its first
token.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from json import dumps
from typing import Any

from ..jose.binding import UnusableKey
from ..jose.jwk import Key, is_foreign
from ..values.errors import ConfigurationError

LATEST = 1 << 37  # seconds: the year 6325; a later `since` is a mistake
MAX_SET_AGE = 3600.0  # seconds for which services may use a set; `KeySet.remote` allows no more


class KeyStage(StrEnum):
    """The present use of a key of ours. In each stage the key is published and verifies."""

    NEXT = "next"  # signs after the next rotation
    ACTIVE = "active"  # signs
    RETIRED = "retired"  # has signed


@dataclass(frozen=True, slots=True)
class FileKey:
    """A key in a file, with its state."""

    key: Key
    state: KeyStage
    since: float | None  # seconds since 1970-01-01 UTC; None: the file doesn't say
    member: Mapping[str, Any]  # as it stands in the file, with members that aren't ours

    def to_member(self) -> dict[str, Any]:
        """Return the JWK with its state, and with `key_ops`, which other software understands."""
        found = {name: value for name, value in self.member.items() if name not in _OURS}
        found["state"] = str(self.state)
        if self.since is not None:
            found["since"] = int(self.since)
        if self.state is not KeyStage.ACTIVE:
            found["key_ops"] = ["verify"]
        return found


_OURS = ("state", "since", "key_ops")


def limited(key: Key, member: Mapping[str, Any]) -> Key:
    """Return a key with what its member's `state` permits: only the active one signs.

    Raises:
        UnusableKey: the state is none, or the rest of the member says otherwise.

    """
    if "state" not in member:
        return key
    try:
        state = KeyStage(member["state"])
    except ValueError:
        raise UnusableKey(f"its state must be one of {', '.join(KeyStage)}") from None
    if state is KeyStage.ACTIVE and not key.signs:
        raise UnusableKey("it is the active one, and has no private part that may sign")
    if not key.verifies:
        raise UnusableKey(f"it is {state}, and its key_ops don't let it verify")
    return key if state is KeyStage.ACTIVE else replace(key, operations=frozenset(("verify",)))


def held(members: Sequence[Mapping[str, Any]], keys: Iterable[Key]) -> tuple[FileKey, ...]:
    """Return the keys of a file with their states, the active one first. Raises ConfigurationError.

    `members` are those of the file, and `keys` the keys read from them. Where no member has a
    state, the first key that can sign is active, and the others are retired.
    """
    ours = [member for member in members if not is_foreign(member)]
    pairs = list(zip(ours, keys, strict=True))
    if not any("state" in member for member in ours):
        first = next((key for _, key in pairs if key.signs), None)
        found = [
            FileKey(key, KeyStage.ACTIVE if key is first else KeyStage.RETIRED, None, member)
            for member, key in pairs
        ]
    elif all("state" in member for member in ours):
        found = [
            FileKey(key, KeyStage(member["state"]), _since(member), member) for member, key in pairs
        ]
    else:
        raise ConfigurationError("keys", "some have a state and others none", "give each one")
    for state in (KeyStage.ACTIVE, KeyStage.NEXT):
        count = sum(one.state is state for one in found)
        if count > 1 or (state is KeyStage.ACTIVE and not count):
            raise ConfigurationError(
                "keys",
                f"{count} keys are {state}",
                "one key signs, and one at most is next",
            )
    return ordered(found)


def _since(member: Mapping[str, Any]) -> float | None:
    since = member.get("since")
    if since is not None and (type(since) not in (int, float) or not 0 <= since < LATEST):
        raise ConfigurationError("keys", "a `since` is no time in seconds since 1970-01-01 UTC")
    return since


def begun(key: Key, following: Key, now: float) -> tuple[FileKey, ...]:
    """Return a first active key, and the one that will follow it."""
    return followed((FileKey(key, KeyStage.ACTIVE, now, key.to_jwk()),), following, now)


def followed(found: Iterable[FileKey], following: Key, now: float) -> tuple[FileKey, ...]:
    """Return the keys with one that will be active after the next rotation."""
    return ordered((*found, FileKey(following, KeyStage.NEXT, now, following.to_jwk())))


_STEP = {KeyStage.NEXT: KeyStage.ACTIVE, KeyStage.ACTIVE: KeyStage.RETIRED}


def rotated(found: Iterable[FileKey], following: Key, now: float) -> tuple[FileKey, ...]:
    """Return the keys after a rotation: what was next signs, what signed is retired."""
    stepped = [
        replace(one, state=_STEP[one.state], since=now)
        if one.state in _STEP
        # A key without a known time counts from now: keeping it too long is safe.
        else replace(one, since=now if one.since is None else one.since)
        for one in found
    ]
    return followed(stepped, following, now)


def of(found: Iterable[FileKey], state: KeyStage) -> FileKey | None:
    """Return the first key in a state."""
    return next((one for one in found if one.state is state), None)


def ordered(found: Iterable[FileKey]) -> tuple[FileKey, ...]:
    """Return the keys in the order of a file: active, next, and the youngest of the retired."""
    order = (KeyStage.ACTIVE, KeyStage.NEXT, KeyStage.RETIRED)
    return tuple(sorted(found, key=lambda one: (order.index(one.state), -(one.since or 0))))


def free_at(one: FileKey, keep: float) -> float | None:
    """Return when a key may enter its next state; None: the file doesn't say when this one began.

    A next key may be made active then. A retired key may be removed then: it must be kept for
    `keep` seconds.
    """
    return (
        None
        if one.since is None
        else one.since + (MAX_SET_AGE if one.state is KeyStage.NEXT else keep)
    )


def document(
    found: Iterable[FileKey], before: Mapping[str, Any] | None = None, others: Iterable[Any] = ()
) -> bytes:
    """Return the JWK Set file of these keys; `before` and `others` are what else stood in it."""
    keys = [*(one.to_member() for one in found), *others]
    return (dumps({**(before or {}), "keys": keys}, indent=2) + "\n").encode()
