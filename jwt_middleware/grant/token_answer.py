"""The body of an answer with tokens (RFC 6749 s5.1)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

_NUMBERS = frozenset(
    (
        "expires_in",
        "refresh_token_expires_in",
        "refresh_token_timeout",
        "authorization_expires_in",
    )
)


def token_answer(members: Mapping[str, str | int]) -> bytes:
    """Return the members of an answer as JSON."""
    return (_template(tuple(members)) % tuple(members.values())).encode()


@lru_cache  # there are few sets of members
def _template(names: tuple[str, ...]) -> str:
    """Return the JSON text of an object with these members, with `%` in place of the values."""
    # No value needs an escape: tokens are base64url and dots, and a scope has neither quotes nor
    # backslashes (RFC 6749 s3.3). To escape would cost a tenth of a signature.
    pairs = [f'"{name}":%d' if name in _NUMBERS else f'"{name}":"%s"' for name in names]
    return "{" + ",".join(pairs) + "}"
