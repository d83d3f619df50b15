"""The one place that randomness comes from."""

from os import urandom


def octets(count: int) -> bytes:
    """Return `count` octets from the operating system's generator."""
    return urandom(count)
