"""One GET with the standard library's HTTP client: bounded in octets and in time.

Certificates are checked. No redirect is followed, no proxy is used, and no connection is made to
addresses that can't have a key set. Without TLS, where that is allowed, only private addresses are
asked. This module is loaded only where this client fetches a set.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401  (`getaddrinfo` needs it; see `Remote.__post_init__`)
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from io import BufferedReader, RawIOBase
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from time import monotonic
from typing import Any, cast
from urllib.parse import SplitResult, urlsplit

from ..values.errors import KeysUnavailable
from ..values.loopback import is_loopback_host
from .key_sources import Fetched, server_of

MAX_TOKEN_FILE = 16384  # octets of `token_file`; a Kubernetes service account's has some 1200

# The metadata services of clouds publish no keys, and give credentials to every process that asks.
# Most have link-local addresses; these are the others: of AWS, Google, Oracle, Alibaba and Azure.
_CLOUD_METADATA = frozenset(
    ip_address(text)
    for text in (
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "fd00:c1::a9fe:a9fe",
        "192.0.0.192",
        "100.100.100.200",
        "168.63.129.16",
    )
)
# IPv6 networks whose addresses end in an IPv4 address, and are routed to it.
_LAST_OCTETS = (
    IPv6Network("::/96"),  # IPv4-compatible: RFC 4291 s2.5.5.1
    IPv6Network("::ffff:0:0/96"),  # IPv4-mapped: RFC 4291 s2.5.5.2
    IPv6Network("::ffff:0:0:0/96"),  # IPv4-translated: RFC 2765 s2.1
    IPv6Network("64:ff9b::/96"),  # NAT64: RFC 6052 s2.1
)
_LOCAL = IPv6Network("64:ff9b:1::/48")  # NAT64 of one network: RFC 8215
# RFC 5214 s6.1: the interface identifier of ISATAP, before the IPv4 address.
_ISATAP = (b"\0\0\x5e\xfe", b"\2\0\x5e\xfe")


class HttpFetcher:
    """The standard library's HTTP client: certificates checked, no redirect, no proxy, in time.

    `ca_file` has the certificates of the authorities that are trusted instead of the system's. The
    bearer token in `token_file` goes to `token_server` alone, and never without TLS. Both files are
    read at each fetch, because both are replaced while a process runs.
    """

    def __init__(
        self,
        *,
        private_addresses: bool = False,
        ca_file: str | None = None,
        token_file: str | None = None,
        token_server: str = "",
    ) -> None:
        self._private = private_addresses
        self._ca_file = ca_file
        self._token_file = token_file
        self._token_server = token_server

    def fetch(self, url: str, *, timeout: float, limit: int) -> Fetched:
        """Do what `Fetcher.fetch` says. Raises KeysUnavailable."""
        deadline = monotonic() + timeout
        try:
            return self._fetch(urlsplit(url), url, deadline, limit)
        except TimeoutError:
            raise KeysUnavailable(f"{url} doesn't answer in {timeout:.1f} s") from None
        except (OSError, HTTPException) as error:
            raise KeysUnavailable(
                f"{url}: {type(error).__name__}: {_network_error(error)}"
            ) from None

    def _fetch(self, parts: SplitResult, url: str, deadline: float, limit: int) -> Fetched:
        with closing(self._connect(parts, deadline)) as connected:
            connection = HTTPConnection(parts.netloc)
            connection.sock = cast("Any", _Wire(connected, deadline))
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            # The fields aren't kept as a local: error trackers send locals.
            connection.request("GET", target, headers=self._fields(url))
            response = connection.getresponse()
            body = response.read(limit + 1)
            if len(body) > limit:
                raise KeysUnavailable(f"{url} answers more than {limit} octets")
            return Fetched(
                response.status,
                body,
                response.getheader("cache-control"),
                response.getheader("date"),
            )

    def _fields(self, url: str) -> dict[str, str]:
        """Return the fields of the request. Raises KeysUnavailable."""
        fields = {
            "Accept": "application/jwk-set+json, application/json",
            "Connection": "close",
            "User-Agent": "jwt-middleware",
        }
        if self._token_file is None or server_of(url) != self._token_server:
            return fields
        return {**fields, "Authorization": f"Bearer {_bearer_token(self._token_file)}"}

    def _connect(self, parts: SplitResult, deadline: float) -> socket.socket:
        context = _context(self._ca_file) if parts.scheme == "https" else None
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # All addresses are checked before one is used. The connection is then made to the checked
        # address, not to the name: a second look-up of the name could give another address.
        for *_, address in found:
            self._check_address(parts, str(address[0]))
        problem: OSError = OSError("no address")
        for tried, (family, kind, protocol, _, address) in enumerate(found):
            connected = socket.socket(family, kind, protocol)
            try:
                # Share the time, so that an address that never answers leaves some for the others.
                connected.settimeout(_left(deadline) / (len(found) - tried))
                connected.connect(address)
                connected.settimeout(_left(deadline))
                if context is None:
                    return connected
                return context.wrap_socket(connected, server_hostname=host)
            except OSError as error:
                connected.close()
                problem = error
        raise problem

    def _check_address(self, parts: SplitResult, text: str) -> None:
        meant = tuple(_targets(ip_address(text.partition("%")[0])))
        if is_loopback_host(parts.hostname or ""):
            if not all(one.is_loopback for one in meant):
                raise KeysUnavailable(f"{parts.hostname} is not this machine")
        elif any(_has_no_keys(one) for one in meant):
            raise KeysUnavailable(f"{parts.hostname} has an address where no keys can be")
        elif not self._private and any(map(_is_private, meant)):
            raise KeysUnavailable(
                f"{parts.hostname} has a private address; private_addresses=True allows it"
            )
        elif parts.scheme != "https" and not all(map(_is_private, meant)):
            # On the way to a public address, anybody could replace the keys.
            raise KeysUnavailable(f"{parts.hostname} has a public address: that needs https")


def _context(ca_file: str | None) -> ssl.SSLContext:
    """Return what checks the server's certificate. Raises KeysUnavailable."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise KeysUnavailable(f"ca_file {ca_file}: {_network_error(error)}") from None
    # RFC 9525 s2: the common name must not be used as a host name.
    context.hostname_checks_common_name = False
    context.set_alpn_protocols(["http/1.1"])
    return context


def _bearer_token(path: str) -> str:
    """Return the token in a file. Raises KeysUnavailable, whose text holds none of it."""
    try:
        with open(path, "rb") as opened:
            octets = opened.read(MAX_TOKEN_FILE + 1).strip()
    except (OSError, ValueError) as error:
        raise KeysUnavailable(f"token_file {path}: {_network_error(error)}") from None
    # RFC 6750 s2.1: nothing else can stand after "Bearer".
    if len(octets) <= MAX_TOKEN_FILE and re.fullmatch(rb"[A-Za-z0-9\-._~+/]+=*", octets):
        return octets.decode()
    del octets  # error trackers send locals
    raise KeysUnavailable(f"token_file {path}: it has no bearer token (RFC 6750 s2.1)")


def _left(deadline: float) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _network_error(error: BaseException) -> str:
    """Return the text of a network error, in one short line."""
    text = str(getattr(error, "reason", "") or getattr(error, "strerror", "") or error)
    return " ".join(text.split())[:200]


def _is_private(address: IPv4Address | IPv6Address) -> bool:
    return not address.is_global or address in _LOCAL


def _has_no_keys(address: IPv4Address | IPv6Address) -> bool:
    return (
        address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address in _CLOUD_METADATA
    )


def _targets(address: IPv4Address | IPv6Address) -> Iterator[IPv4Address | IPv6Address]:
    """Yield where an address leads: to itself, or to the IPv4 address inside of it."""
    if isinstance(address, IPv4Address):
        yield address
        return
    octets = address.packed
    if any(address in net for net in _LAST_OCTETS) and int(address) > 1:
        yield IPv4Address(octets[12:])
    elif address.sixtofour is not None:
        yield address.sixtofour
    else:
        yield address
    if octets[8:12] in _ISATAP:
        yield IPv4Address(octets[12:])
    if address in _LOCAL:
        # RFC 6052 s2.2: the place depends on the length of the network's prefix, which we don't
        # know, so all are tried. The ninth octet isn't part of the address.
        joined = octets[:8] + octets[9:]
        for place in (joined[6:10], joined[7:11], joined[8:12], octets[12:]):
            if any(place):
                yield IPv4Address(place)


class _Wire(RawIOBase):
    """A socket for `HTTPConnection` with one deadline for all reads, however small they are."""

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._connected = connected
        self._deadline = deadline

    def sendall(self, octets: bytes) -> None:
        self._connected.settimeout(_left(self._deadline))
        self._connected.sendall(octets)

    def makefile(self, mode: str) -> BufferedReader:
        return BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connected.settimeout(_left(self._deadline))
        return self._connected.recv_into(buffer)

    def close(self) -> None:
        """Stay open: the connection is closed before the answer is read, the socket afterwards."""
