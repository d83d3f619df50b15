"""Which hosts are this very machine. These may be reached without TLS."""

from __future__ import annotations

import re

# RFC 6761 s6.3: "localhost" and the names below it; RFC 1122 s3.2.1.3 and RFC 4291 s2.5.3.
_LOOPBACK = re.compile(r"(?:.+\.)?localhost|127(?:\.[0-9]{1,3}){3}|::1|\[::1\]")


def is_loopback_host(host: str) -> bool:
    """Say whether a host, in lower case, is this machine."""
    return _LOOPBACK.fullmatch(host) is not None
