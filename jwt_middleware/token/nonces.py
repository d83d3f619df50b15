"""Nonces for proofs that need no memory: a time and its HMAC, under a secret of all processes.

RFC 9449 s8: the server says a nonce, and the client's next proofs contain it. So a proof can't be
made long before it is used, and a client whose clock is wrong is served, too: only the age of the
nonce counts, by our own clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hmac import compare_digest

from ..jose.jwk import Key
from ..jose.strict_json import b64url_decode, b64url_encode

_TAG = 16  # octets of the HMAC: nobody guesses 128 bits within the life of a nonce
_TIME = 5  # octets of seconds since 1970-01-01 UTC
_LENGTH = 28  # characters of base64url
_PREFIX = b"DPoP nonce 1\0"  # the secret makes other HMACs, too, and none of a text like this


class Nonces:
    """Makes and recognizes nonces. The first secret makes them, all recognize them.

    Args:
        secrets: returns the HMAC keys of now, which all processes share.
        every: seconds after which a new nonce is said.
        lifetime: seconds after which a nonce is recognized no longer.

    """

    __slots__ = ("_every", "_lifetime", "_made", "_secrets")

    def __init__(
        self, secrets: Callable[[], Sequence[Key]], *, every: float, lifetime: float
    ) -> None:
        self._secrets = secrets
        self._every = every
        self._lifetime = lifetime
        self._made: tuple[int, Key | None, str] = (-1, None, "")

    def make(self, now: float) -> str:
        """Return the nonce of this time: the same one for a while, in every process."""
        begun, key, made = int(now - now % self._every), self._secrets()[0], self._made
        if made[0] != begun or made[1] is not key:
            octets = begun.to_bytes(_TIME, "big")
            tag = key.sign(_PREFIX + octets)[:_TAG]
            made = self._made = begun, key, b64url_encode(octets + tag).decode()
        return made[2]

    def is_current(self, nonce: str, now: float) -> bool:
        """Say whether this is a nonce of ours, and young enough."""
        if len(nonce) != _LENGTH or not nonce.isascii():
            return False
        try:
            octets = b64url_decode(nonce.encode())
        except ValueError:
            return False
        begun, tag = octets[:_TIME], octets[_TIME:]
        if not self._is_young(int.from_bytes(begun, "big"), now):
            return False
        return any(compare_digest(tag, one.sign(_PREFIX + begun)[:_TAG]) for one in self._secrets())

    def end_of(self, nonce: str) -> float:
        """Return when a nonce of ours is recognized no longer, in seconds since 1970-01-01 UTC."""
        begun = b64url_decode(nonce.encode())[:_TIME]
        return int.from_bytes(begun, "big") + self._lifetime

    def _is_young(self, begun: int, now: float) -> bool:
        # One from ahead is of a process whose clock runs ahead, or of before ours was set back.
        return -self._lifetime < now - begun < self._lifetime
