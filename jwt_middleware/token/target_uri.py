"""Compare the URL that a proof is for with that of a request (RFC 9449 s4.3, RFC 3986 s6.2)."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

MAX_TARGET = 2048  # characters
# RFC 6455 s3: a websocket's handshake is an HTTP request to the same place.
_AS_HTTP = {"https": "https", "http": "http", "wss": "https", "ws": "http"}
_PORTS = {"https": 443, "http": 80}


class Target(NamedTuple):
    """An http URL without query and fragment. Of a root, `path` is without the slash at its end."""

    scheme: str
    host: str
    port: int
    path: str  # decoded


def target_of(url: str) -> Target | None:
    """Return what a URL names; None: it is no http URL.

    URLs that RFC 3986 s6.2.2 and s6.2.3 call equivalent give the same: the letter case of scheme
    and host, the scheme's own port, an empty path, dot segments and percent-encoding don't count.
    Nor do query and fragment: RFC 9449 s4.3 compares "ignoring any query and fragment parts".
    """
    if len(url) > MAX_TARGET or not url.isascii() or not url.isprintable() or " " in url:
        return None
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
        if ":" in host:  # RFC 5952 s4: one form of several; clients use the shortest
            host = str(IPv6Address(host))
        path = _without_dots(parts.path) if "/." in parts.path else parts.path
        path = unquote(path, errors="strict") or "/"
    except ValueError:
        return None
    scheme = _AS_HTTP.get(parts.scheme)
    if scheme is None or not host or "@" in parts.netloc:
        return None
    return Target(scheme, host, _PORTS[scheme] if port is None else port, path)


def _without_dots(path: str) -> str:
    """Return a path without its dot segments (RFC 3986 s5.2.4)."""
    kept: list[str] = []
    for segment in (segments := path.split("/")[1:]):
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    return "/" + "/".join((*kept, *([""] if segments[-1] in (".", "..") else [])))


def root_of(url: str) -> Target | None:
    """Return the root that paths are appended to; None: the URL is no http URL."""
    found = target_of(url)
    return None if found is None else found._replace(path=found.path.rstrip("/"))


@lru_cache(maxsize=512)  # clients ask for few URLs, again and again
def is_at(url: str, roots: tuple[Target, ...], path: str) -> bool:
    """Say whether a URL names a decoded path below one of the roots."""
    found = target_of(url)
    return found is not None and any(found == one._replace(path=one.path + path) for one in roots)
