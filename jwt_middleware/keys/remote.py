"""Key sets that an issuer publishes: where they are, and how they are fetched.

One fetch is one GET over https, or two with discovery: no redirect is followed, no proxy asked, and
it ends in time whatever the other side sends or doesn't. What comes is checked by who asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from io import BufferedReader, RawIOBase
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import SplitResult, urlsplit

from ..jose.algorithms import ALGORITHMS
from ..jose.strict import parse_object
from ..values.errors import ConfigurationError, KeysUnavailable
from ..values.later import pattern, record
from . import KeySet
from .freshness import Limits
from .source import Fetched, Fetcher, Found, Skipped, is_loopback, metadata_urls, unusable

if TYPE_CHECKING:
    import socket
    from ipaddress import IPv4Address, IPv6Address

MAX_SET = 1 << 20  # octets; a set of a hundred RSA keys with certificates has a tenth of it
MIN_LIFETIME, MAX_LIFETIME = 60, 3600  # seconds; whatever Cache-Control says
DISCOVERY_AGE = 86400.0  # seconds for which the place of a key set is believed
MARGIN = 1.0  # seconds beyond its time-out after which a fetch is taken for lost

_MAX_AGE = pattern(r"(?:^|,)\s*max-age\s*=\s*\"?([0-9]{1,9})")
_NOT_KEPT = pattern(r"(?:^|,)\s*no-(?:store|cache)")


@record(slots=False)
class Remote:
    """A key set that an issuer publishes, or (without `url`) names in its metadata.

    Args:
        url: the https URL of the JWK Set; None: found through the issuer's metadata (OpenID Connect
            Discovery, RFC 8414), which must bear exactly the issuer's name.
        algorithm: of RSA keys that don't say their own: "RS256" for most issuers that leave it out.
        timeout: seconds that one fetch takes at most, from the first octet to the last.
        lifetime: seconds between fetches, where the answer has no Cache-Control.
        stale_limit: seconds for which the keys serve beyond their time while no answer comes.
        cool_down: seconds between a fetch and the next for the sake of an unknown `kid`.
        private_addresses: allow a host with a private address, such as one in the same cluster.
        fetcher: an object with the method of `Fetcher`, instead of the standard library's client.

    Raises:
        ConfigurationError: names the field, what is wrong, and the way out.

    """

    url: str | None = None
    algorithm: str | None = None
    # seconds; a key endpoint that needs longer has a problem that waiting doesn't mend
    timeout: float = field(default=5, metadata={"minimum": 0.1, "maximum": 30})
    lifetime: float = field(
        default=600, metadata={"minimum": MIN_LIFETIME, "maximum": MAX_LIFETIME}
    )
    # seconds; longer than most outages, shorter than the life of a key that was stolen
    stale_limit: float = field(default=3600, metadata={"minimum": 0, "maximum": 86400})
    cool_down: float = field(default=30, metadata={"minimum": 1, "maximum": 600})
    private_addresses: bool = False
    fetcher: Fetcher | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.url is not None:
            problem = unusable(self.url)
            if problem:
                raise ConfigurationError("keys.url", problem, "an https URL; http on loopback only")
        if self.algorithm is not None:
            _check_algorithm(self.algorithm)
        for name, one in self.__dataclass_fields__.items():
            if one.metadata:
                _check_range(name, getattr(self, name), **one.metadata)
        if not isinstance(cast("Any", self.private_addresses), bool):
            raise ConfigurationError("keys.private_addresses", "must be True or False")
        if self.fetcher is not None and not callable(getattr(self.fetcher, "fetch", None)):
            raise ConfigurationError("keys.fetcher", "has no method `fetch`", "see keys.Fetcher")
        if self.fetcher is None:
            _load()

    def limits(self) -> Limits:
        """Return how long what it gives serves."""
        return Limits(stale=self.stale_limit, cool_down=self.cool_down, lease=self.timeout + MARGIN)

    def fetch(self, issuer: str, before: Found | None, now: float) -> Found:
        """Fetch the set once. Raises KeysUnavailable; waits for a time-out at most."""
        deadline = monotonic() + self.timeout
        url, known = self.url, cast("_Place | None", before and before.memo)
        if url is None:
            # Found anew once a day, and by who comes after a failure: issuers move.
            if known is None or not 0 <= now - known.found_at < DISCOVERY_AGE:
                known = _Place(self._discover(issuer, deadline), now)
            url = known.url
        answer = self._get(url, deadline)
        if answer.status != 200:
            raise KeysUnavailable(f"{url} answers {answer.status}")
        return Found(answer.body, self._lifetime(answer), known)

    def read(self, octets: bytes) -> tuple[KeySet, tuple[Skipped, ...]]:
        """Return the keys of a published set. Raises ConfigurationError."""
        return KeySet.published(octets, algorithm=self.algorithm)

    def _get(self, url: str, deadline: float) -> Fetched:
        fetcher = self.fetcher or HttpFetcher(private_addresses=self.private_addresses)
        answer = fetcher.fetch(url, timeout=max(deadline - monotonic(), 0.0), limit=MAX_SET)
        if len(answer.body) > MAX_SET:
            raise KeysUnavailable(f"{url} answers more than {MAX_SET} octets")
        return answer

    def _lifetime(self, answer: Fetched) -> float:
        said = (answer.cache_control or "").lower()
        if _NOT_KEPT().search(said):
            return MIN_LIFETIME
        found = _MAX_AGE().search(said)
        return min(max(int(found[1]), MIN_LIFETIME), MAX_LIFETIME) if found else self.lifetime

    def _discover(self, issuer: str, deadline: float) -> str:
        """Return the `jwks_uri` of the issuer's metadata. Raises KeysUnavailable."""
        problems = []
        for url in metadata_urls(issuer):
            # Who doesn't answer here won't there; who answers with a page for all has the other.
            answer = self._get(url, deadline)
            try:
                return _key_set_of(answer, issuer, url)
            except KeysUnavailable as error:
                problems.append(error.detail)
        raise KeysUnavailable("; ".join(problems))


class _Place(NamedTuple):
    """Where discovery found a key set."""

    url: str
    found_at: float


def _key_set_of(answer: Fetched, issuer: str, url: str) -> str:
    if answer.status != 200:
        raise KeysUnavailable(f"{url} answers {answer.status}")
    try:
        metadata = parse_object(answer.body)
    except ValueError:
        raise KeysUnavailable(f"{url}: not one JSON object without duplicate members") from None
    # RFC 8414 s3.3: "The "issuer" value returned MUST be identical to the authorization server's
    # issuer identifier value [...] If these values are not identical, the data [...] MUST NOT be
    # used."
    if metadata.get("issuer") != issuer:
        raise KeysUnavailable(f"{url}: its issuer is not the configured one")
    jwks_uri: Any = metadata.get("jwks_uri")
    problem = unusable(jwks_uri)
    # Who answers from outside must not lead us inside.
    if not problem and is_loopback(urlsplit(jwks_uri)) and not is_loopback(urlsplit(url)):
        problem = "leads to this machine"
    if problem:
        raise KeysUnavailable(f"{url}: jwks_uri {problem}")
    return str(jwks_uri)


def _check_algorithm(name: object) -> None:
    found = ALGORITHMS.get(name) if isinstance(name, str) else None
    if found is None or found.kty == "oct":
        raise ConfigurationError(
            "keys.algorithm", "is no algorithm of published keys", 'as in "RS256"'
        )


def _check_range(name: str, value: Any, minimum: float, maximum: float) -> None:
    if type(value) not in (int, float) or not minimum <= value <= maximum:
        default = Remote.__dataclass_fields__[name].default
        raise ConfigurationError(
            f"keys.{name}", f"must be {minimum} to {maximum} seconds", f"the default is {default}"
        )


def _load() -> tuple[object, ...]:
    """Import what a fetch needs, before a process forks while another thread imports it.

    In the child that thread is gone, and the lock that it holds on the module is held for ever.
    """
    import ipaddress
    import ssl
    from concurrent.futures import Future
    from encodings import idna
    from http import client

    return ipaddress, ssl, Future, idna, client


class HttpFetcher:
    """The standard library's HTTP client: certificates checked, no redirect, no proxy, in time."""

    def __init__(self, *, private_addresses: bool = False) -> None:
        self._private = private_addresses

    def fetch(self, url: str, *, timeout: float, limit: int) -> Fetched:
        """Do what `Fetcher.fetch` says. Raises KeysUnavailable."""
        from http.client import HTTPException

        deadline = monotonic() + timeout
        try:
            return self._fetch(urlsplit(url), url, deadline, limit)
        except TimeoutError:
            raise KeysUnavailable(f"{url} doesn't answer in {timeout:.1f} s") from None
        except (OSError, HTTPException) as error:
            raise KeysUnavailable(f"{url}: {type(error).__name__}: {_told(error)}") from None

    def _fetch(self, parts: SplitResult, url: str, deadline: float, limit: int) -> Fetched:
        from contextlib import closing
        from http.client import HTTPConnection

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
        import socket

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
        from ipaddress import ip_address

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
        from ssl import create_default_context

        context = create_default_context()
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
    from ipaddress import IPv4Address, IPv6Address, IPv6Network

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
