"""Requests that must be refused, each spoilt in one way and named after it.

They are collected from RFC 8725 and its revision, RFC 7515, 7519, 6750 and 9068, and from the
advisories of JWT libraries. Where a signature can be real it is real: a verifier that overlooks
what the name says would let the request in.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..jose.jwk import Key
from .attack import Attack, Forge
from .forged import FORGED
from .malformed import MALFORMED
from .wrong_members import WRONG_MEMBERS


def catalogue(key: Key, header: dict[str, Any], claims: dict[str, Any]) -> Iterator[Attack]:
    """Yield every attack on a service that takes the token of this header and these claims.

    `key` is the one that signs such tokens: nearly all attacks are signed by it.
    """
    forge = Forge(key, header, claims)
    for group in (*MALFORMED, *FORGED, *WRONG_MEMBERS):
        yield from group(forge)
