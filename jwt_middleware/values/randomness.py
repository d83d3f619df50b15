"""The one place that randomness comes from."""

from binascii import b2a_base64
from os import urandom


def octets(count: int) -> bytes:
    """Return `count` octets from the operating system's generator."""
    return urandom(count)


def identifier() -> str:
    """Return 128 random bits as base64url, for a grant or a `jti` (RFC 6749 s10.10)."""
    return b2a_base64(octets(16), newline=False).translate(_URL_SAFE, b"=").decode()


def fraction() -> float:
    """Return a number from 0 to below 1, to spread what would otherwise happen in step."""
    return int.from_bytes(octets(4), "big") / (1 << 32)


_URL_SAFE = bytes.maketrans(b"+/", b"-_")
