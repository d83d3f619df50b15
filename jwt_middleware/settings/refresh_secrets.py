"""Which secrets sign and verify refresh tokens: configured or derived, present and former. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ..jose.jwk import Key
from ..keys.key_set import KeySet
from ..keys.key_sources import Source
from ..token.refresh import FormerKey, RefreshKeys, derive, from_text
from .issuing_groups import Former, Refresh


def refresh_keys(
    key_set: KeySet, group: Refresh, issuer: str, source: Source | None = None
) -> RefreshKeys:
    """Return the secrets for refresh tokens, those of `Refresh.former` among them.

    `key_set` are the issuer's keys as they are now, and `source` is where they come from.
    """
    return RefreshKeys(
        present_secrets(key_set, group, issuer),
        issuer,
        [
            FormerKey(key, one.issuer or issuer, one.ends_at)
            for one in group.former
            for key in former_secrets(one, key_set, group, issuer, source)
        ],
    )


def present_secrets(key_set: KeySet, group: Refresh, issuer: str) -> Iterator[Key]:
    """Yield the present secrets, the one that signs first: configured, or derived from our keys."""
    if group.secrets:
        return map(from_text, group.secrets)
    return _derived(key_set, issuer)


def former_secrets(
    one: Former, key_set: KeySet, group: Refresh, issuer: str, source: Source | None
) -> Iterator[Key]:
    """Yield the secrets that signed refresh tokens at that time."""
    name = one.issuer or issuer
    if not one.secrets and one.keys is None:
        # Only the name was different.
        yield from present_secrets(key_set, group, name)
    yield from map(from_text, one.secrets)
    if one.keys is not None:
        # The same file as the present keys: a key that is removed from it, perhaps because it
        # leaked, must remove its secret here, too.
        is_ours = one.keys.source is not None and one.keys.source == source
        yield from _derived(key_set if is_ours else one.keys, name)


def follows_keys(group: Refresh, source: Source | None) -> bool:
    """Say whether the secrets may change with the issuer's own keys."""
    return not group.secrets or any(
        one.keys is not None and one.keys.source is not None and one.keys.source == source
        for one in group.former
    )


def _derived(key_set: KeySet, issuer: str) -> Iterator[Key]:
    """Return a secret for each private key, and first for the one that signs.

    The secret of the next key is known before the key signs, and that of a retired key is kept.
    """
    private = (key for key in key_set.keys if key.private is not None)
    return (
        derive(key, issuer) for key in sorted(private, key=lambda key: key is not key_set.signer)
    )
