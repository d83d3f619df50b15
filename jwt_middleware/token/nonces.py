"""Nonces for proofs that need no memory: a time and its HMAC, under a secret of all processes.

RFC 9449 s8: the server says a nonce, and the client's next proofs contain it. So a proof can't be
made long before it is used, and a client whose clock is wrong is served, too: only the age of the
nonce counts, by our own clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from hmac import compare_digest

from ..jose.jwk import Key, from_secret
from ..jose.strict_json import b64url_decode, b64url_encode

_TAG = 16  # octets of the HMAC: nobody guesses 128 bits within the life of a nonce
_TIME = 5  # octets of seconds since 1970-01-01 UTC
_LENGTH = 28  # characters of base64url


class Nonces:
    """Makes and recognizes nonces. The first secret makes them, all recognize them.

    Args:
        secrets: HMAC keys that all processes share.
        every: seconds after which a new nonce is said.
        lifetime: seconds after which a nonce is recognized no longer.

    """

    __slots__ = ("_every", "_lifetime", "_made", "_secrets")

    def __init__(self, secrets: Iterable[Key], *, every: float, lifetime: float) -> None:
        self._secrets = tuple(secrets)
        self._every = every
        self._lifetime = lifetime
        self._made: tuple[int, str] = (-1, "")

    def make(self, now: float) -> str:
        """Return the nonce of this time: the same one for a while, in every process."""
        begun = int(now - now % self._every)
        made = self._made
        if made[0] != begun:
            octets = begun.to_bytes(_TIME, "big")
            tag = self._secrets[0].sign(_LABEL + octets)[:_TAG]
            made = self._made = begun, b64url_encode(octets + tag).decode()
        return made[1]

    def is_current(self, nonce: str, now: float) -> bool:
        """Say whether this is a nonce of ours that is young enough, and no longer than said."""
        if nonce == self._made[1]:  # what was said to everybody isn't secret
            return self._is_young(self._made[0], now)
        if len(nonce) != _LENGTH or not nonce.isascii():
            return False
        try:
            octets = b64url_decode(nonce.encode())
        except ValueError:
            return False
        begun, tag = octets[:_TIME], octets[_TIME:]
        if not self._is_young(int.from_bytes(begun, "big"), now):
            return False
        return any(compare_digest(tag, one.sign(_LABEL + begun)[:_TAG]) for one in self._secrets)

    def is_last(self, nonce: str, now: float) -> bool:
        """Say whether this is the newest nonce, so that the client needs no other."""
        return nonce == self.make(now)

    def _is_young(self, begun: int, now: float) -> bool:
        # One from ahead is of a process whose clock runs ahead, or of before ours was set back.
        return -self._lifetime < now - begun < self._lifetime


_LABEL = b"DPoP nonce 1\0"


def nonce_key(secret: bytes) -> Key:
    """Return the HMAC key of a secret of at least 32 octets. Raises UnusableKey."""
    return from_secret(secret, "HS256")
