"""The one place that randomness comes from."""

from __future__ import annotations

from binascii import b2a_base64
from os import urandom


def octets(count: int) -> bytes:
    """Return `count` octets from the operating system's generator."""
    return urandom(count)


def identifier() -> str:
    """Return 128 random bits as base64url, for a grant or a `jti` (RFC 6749 s10.10)."""
    return b2a_base64(octets(16), newline=False).translate(_URL_SAFE, b"=").decode()


def unique_name() -> str:
    """Return a name that nobody else has, for things of this process that are no secret."""
    return urandom(16).hex()


def draw() -> tuple[str, str, float]:
    """Return two identifiers and a fraction by one call of the system: each is expensive."""
    drawn = octets(36)
    # 48 characters: two times 22, of 132 bits each, and the four that the last three octets are.
    text = b2a_base64(drawn, newline=False).translate(_URL_SAFE).decode()
    return text[:22], text[22:44], int.from_bytes(drawn[33:], "big") / (1 << 24)


def fraction() -> float:
    """Return a number from 0 to below 1, to spread events that would otherwise happen together."""
    return int.from_bytes(octets(4), "big") / (1 << 32)


_URL_SAFE = bytes.maketrans(b"+/", b"-_")
