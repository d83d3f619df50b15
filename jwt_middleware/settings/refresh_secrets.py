"""Which secrets sign and verify refresh tokens: configured or derived, present and former. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ..jose.jwk import Key
from ..keys.key_set import KeySet
from ..keys.key_sources import Source
from ..token.refresh import FormerKey, RefreshKeys, derive, from_text
from .groups import Former, Refresh


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
    """Yield what verifies now, and first what signs: configured, else derived from private keys."""
    if group.secrets:
        return map(from_text, group.secrets)
    return _derived(key_set, issuer)


def former_secrets(
    one: Former, key_set: KeySet, group: Refresh, issuer: str, source: Source | None
) -> Iterator[Key]:
    """Yield what signed refresh tokens then."""
    name = one.issuer or issuer
    if not one.secrets and one.keys is None:
        # Only the name was another.
        yield from present_secrets(key_set, group, name)
    yield from map(from_text, one.secrets)
    if one.keys is not None:
        # The file that the present keys are in: a key that is taken out of it, because it leaked
        # say, takes its secret with it here, too.
        is_ours = one.keys.source is not None and one.keys.source == source
        yield from _derived(key_set if is_ours else one.keys, name)


def follows_keys(group: Refresh, source: Source | None) -> bool:
    """Say whether a secret may come or go with the issuer's own keys."""
    return not group.secrets or any(
        one.keys is not None and one.keys.source is not None and one.keys.source == source
        for one in group.former
    )


def _derived(key_set: KeySet, issuer: str) -> Iterator[Key]:
    """Return a secret for each private key, and first for the one that signs.

    The next key's is known before it signs, and a retired one's is kept.
    """
    private = (key for key in key_set.keys if key.private is not None)
    return (
        derive(key, issuer) for key in sorted(private, key=lambda key: key is not key_set.signer)
    )
