"""One GET with the standard library's HTTP client: bounded in octets and in time.

Certificates are checked. No redirect is followed, no proxy asked, and no address connected to that
no key set can have. Loaded only where a set is fetched by it.
"""

from __future__ import annotations

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
from .source import Fetched, is_loopback


class HttpFetcher:
    """The standard library's HTTP client: certificates checked, no redirect, no proxy, in time."""

    def __init__(self, *, private_addresses: bool = False) -> None:
        self._private = private_addresses

    def fetch(self, url: str, *, timeout: float, limit: int) -> Fetched:
        """Do what `Fetcher.fetch` says. Raises KeysUnavailable."""
        deadline = monotonic() + timeout
        try:
            return self._fetch(urlsplit(url), url, deadline, limit)
        except TimeoutError:
            raise KeysUnavailable(f"{url} doesn't answer in {timeout:.1f} s") from None
        except (OSError, HTTPException) as error:
            raise KeysUnavailable(f"{url}: {type(error).__name__}: {_told(error)}") from None

    def _fetch(self, parts: SplitResult, url: str, deadline: float, limit: int) -> Fetched:
        with closing(self._connect(parts, deadline)) as connected:
            connection = HTTPConnection(parts.netloc)
            connection.sock = cast("Any", _Wire(connected, deadline))
            headers = {
                "Accept": "application/jwk-set+json, application/json",
                "Connection": "close",
                "User-Agent": "jwt-middleware",
            }
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", target, headers=headers)
            response = connection.getresponse()
            body = response.read(limit + 1)
            if len(body) > limit:
                raise KeysUnavailable(f"{url} answers more than {limit} octets")
            said = response.getheader("cache-control"), response.getheader("date")
            return Fetched(response.status, body, *said)

    def _connect(self, parts: SplitResult, deadline: float) -> socket.socket:
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # All are looked at before one is used, and by number: a name that means another address the
        # next time it is asked for leads nowhere.
        for *_, address in found:
            self._check_address(parts, str(address[0]))
        problem: OSError = OSError("no address")
        for tried, (family, kind, protocol, _, address) in enumerate(found):
            connected = socket.socket(family, kind, protocol)
            try:
                # One that swallows everything leaves time for the others.
                connected.settimeout(_left(deadline) / (len(found) - tried))
                connected.connect(address)
                connected.settimeout(_left(deadline))
                return self._secured(parts, connected, host)
            except OSError as error:
                connected.close()
                problem = error
        raise problem

    def _check_address(self, parts: SplitResult, text: str) -> None:
        address = ip_address(text.partition("%")[0])
        for one in tuple(_inside(address)) or (address,):
            if is_loopback(parts):
                if not one.is_loopback:
                    raise KeysUnavailable(f"{parts.hostname} is not this machine")
            # A cloud's metadata service gives credentials to whoever asks it; it has no keys.
            elif one.is_link_local or one.is_multicast or one.is_unspecified:
                raise KeysUnavailable(f"{parts.hostname} has an address where no keys can be")
            elif not one.is_global and not self._private:
                raise KeysUnavailable(
                    f"{parts.hostname} has a private address; private_addresses=True allows it"
                )

    def _secured(self, parts: SplitResult, connected: socket.socket, host: str) -> socket.socket:
        if parts.scheme != "https":
            return connected
        context = ssl.create_default_context()
        # RFC 9525 s2: the common name is no name of a host.
        context.hostname_checks_common_name = False
        context.set_alpn_protocols(["http/1.1"])
        return context.wrap_socket(connected, server_hostname=host)


def _left(deadline: float) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _told(error: BaseException) -> str:
    """Return what an error of the network says, in one short line."""
    text = str(getattr(error, "reason", "") or getattr(error, "strerror", "") or error)
    return " ".join(text.split())[:200]


def _inside(address: IPv4Address | IPv6Address) -> Iterator[IPv4Address]:
    """Yield the IPv4 addresses that an IPv6 address leads to: by mapping, 6to4, NAT64."""
    if isinstance(address, IPv6Address):
        if address in IPv6Network("64:ff9b::/96"):  # RFC 6052 s2.1
            yield IPv4Address(int(address) & 0xFFFFFFFF)
        yield from filter(None, (address.ipv4_mapped, address.sixtofour))


class _Wire:
    """What HTTP needs of a socket, until the deadline: a slow drip ends there."""

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._connected = connected
        self._deadline = deadline

    def sendall(self, octets: bytes) -> None:
        self._connected.settimeout(_left(self._deadline))
        self._connected.sendall(octets)

    def recv_into(self, buffer: Any) -> int:
        self._connected.settimeout(_left(self._deadline))
        return self._connected.recv_into(buffer)

    def makefile(self, mode: str) -> BufferedReader:
        return BufferedReader(_Octets(self))

    def close(self) -> None:
        """Leave it open: who opened it closes it, when the answer is there."""


class _Octets(RawIOBase):
    def __init__(self, wire: _Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._wire.recv_into(buffer)
