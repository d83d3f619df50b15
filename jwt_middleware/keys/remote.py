"""Key sets that an issuer publishes: where they are, and how long an answer is used.

One fetch is one GET over https, or up to three with discovery, with one time-out for all of them.
The keys in the answer are checked by the caller.
"""

from __future__ import annotations

import os
import re
from dataclasses import Field, dataclass, field, replace
from os import PathLike, fspath
from time import monotonic
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

from ..jose.algorithms import ALGORITHMS
from ..jose.binding import UnusableKey, each_named
from ..jose.jwk import Key
from ..jose.strict_json import parse_object
from ..values.errors import ConfigurationError, KeysUnavailable
from ..values.loopback import is_loopback_host
from .freshness import KeyLimits
from .jwk_sets import published_keys
from .key_sources import (
    Fetched,
    Fetcher,
    FoundKeys,
    Skipped,
    metadata_urls,
    server_of,
    unusable,
)

__all__ = ["Remote"]

MAX_SET = 1 << 20  # octets; a set of a hundred RSA keys with certificates has a tenth of it
MIN_LIFETIME, MAX_LIFETIME = 60, 3600  # seconds; whatever Cache-Control says
DISCOVERY_AGE = 86400.0  # seconds for which the place of a key set is believed
LEASE_MARGIN = 1.0  # seconds beyond its time-out after which a fetch counts as failed

WAY_TO_URL = (
    "an https URL; http on loopback, and inside a private network with both private_addresses=True "
    "and plain_http=True"
)
_MAX_AGE = re.compile(r"(?:^|,)\s*max-age\s*=\s*\"?([0-9]{1,9})")
_NOT_KEPT = re.compile(r"(?:^|,)\s*no-(?:store|cache)")


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A key set that an issuer publishes, or (without `url`) names in its metadata.

    Args:
        url: the https URL of the JWK Set; None: found through the issuer's metadata (OpenID Connect
            Discovery, RFC 8414), which must bear exactly the issuer's name.
        algorithm: of RSA keys that don't name one: "RS256" for most issuers that leave it out.
            Several names: each is for the keys of its type.
        timeout: seconds that one fetch takes at most, from the first octet to the last.
        lifetime: seconds between fetches, where the answer has no Cache-Control.
        stale_limit: seconds for which the keys serve beyond their lifetime while no answer comes.
        cool_down: seconds between a fetch and the next one for an unknown `kid`.
        private_addresses: allow a host with a private address, such as one in the same cluster.
        plain_http: allow http to such a host; needs `private_addresses`, too. Anybody on that
            network can then replace the keys, and sign any token.
        ca_file: path of a file in PEM with the authorities that sign the server's certificate,
            instead of the system's. It is read at each fetch.
        token_file: path of a file with a bearer token for the key server, as Kubernetes' has. It is
            read at each fetch, and goes to the host of `url` (without `url`, of the issuer) alone.
        fetcher: an object with the method of `Fetcher`, instead of the standard library's client.

    Raises:
        ConfigurationError: names the field, what is wrong, and the way out.

    """

    url: str | None = None
    algorithm: str | tuple[str, ...] | None = None
    # seconds; a key endpoint that needs longer has a problem that waiting won't solve
    timeout: float = field(default=5, metadata={"minimum": 0.1, "maximum": 30})
    lifetime: float = field(
        default=600, metadata={"minimum": MIN_LIFETIME, "maximum": MAX_LIFETIME}
    )
    # seconds; longer than most outages, shorter than the life of a key that was stolen
    stale_limit: float = field(default=3600, metadata={"minimum": 0, "maximum": 86400})
    cool_down: float = field(default=30, metadata={"minimum": 1, "maximum": 600})
    private_addresses: bool = False
    plain_http: bool = False
    ca_file: PathLike[str] | str | None = None
    token_file: PathLike[str] | str | None = None
    fetcher: Fetcher | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self._check_network()
        self._check_algorithm()
        for name, one in self.__dataclass_fields__.items():
            if one.metadata:
                _check_range(one, getattr(self, name), **one.metadata)
        # Load the client now. If the process forked while another thread was importing it, the
        # child would wait for the lock on that import for ever.
        self.client("")

    def _check_network(self) -> None:
        for name in ("private_addresses", "plain_http"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigurationError(f"keys.{name}", "must be True or False")
        if self.plain_http and not self.private_addresses:
            raise ConfigurationError(
                "keys.plain_http",
                "is for private addresses, which aren't allowed here",
                "private_addresses=True, too; or https",
            )
        problem = "" if self.url is None else unusable(self.url, plain_http=self.plain_http)
        if problem:
            raise ConfigurationError("keys.url", problem, WAY_TO_URL)
        for name in ("ca_file", "token_file"):
            self._check_path(name, getattr(self, name))
        is_plain = self.plain_http or (self.url or "").startswith("http:")
        if is_plain and self.token_file is not None:
            raise ConfigurationError(
                "keys.token_file",
                "would be sent in clear by plain http, for anybody to read and use",
                "https, and ca_file for an authority of your own",
            )
        if self.fetcher is None:
            return
        if isinstance(self.fetcher, type) or not callable(getattr(self.fetcher, "fetch", None)):
            raise ConfigurationError(
                "keys.fetcher", "is no object with a method `fetch`", "see keys.Fetcher"
            )

    def _check_path(self, name: str, path: object) -> None:
        if path is None:
            return
        if not isinstance(path, str | PathLike) or not fspath(path):
            raise ConfigurationError(f"keys.{name}", "is no path of a file", "a path as text")
        if self.fetcher is not None:
            raise ConfigurationError(
                f"keys.{name}",
                "is for the standard client, and `fetcher` is another",
                "one of both",
            )
        # Made absolute now, as with key files: a process may change its folder.
        object.__setattr__(self, name, os.path.abspath(path))

    def _check_algorithm(self) -> None:
        try:
            names = each_named(self.algorithm)
        except UnusableKey as error:
            raise ConfigurationError("keys.algorithm", str(error), 'as in "RS256"') from None
        if any(ALGORITHMS[name].kty == "oct" for name in names):
            raise ConfigurationError(
                "keys.algorithm", "is no algorithm of published keys", 'as in "RS256"'
            )

    def limits(self) -> KeyLimits:
        """Return how long its keys serve."""
        return KeyLimits(
            stale=self.stale_limit, cool_down=self.cool_down, lease=self.timeout + LEASE_MARGIN
        )

    def fetch(self, issuer: str, before: FoundKeys | None, now: float) -> FoundKeys:
        """Fetch the set once. Raises KeysUnavailable; waits for a time-out at most."""
        deadline = monotonic() + self.timeout
        url, known = self.url, cast("_Place | None", before and before.memo)
        if url is None:
            # Looked for again once a day, and after each failure: issuers move their key sets.
            if known is None or not 0 <= now - known.found_at < DISCOVERY_AGE:
                known = _Place(self._discover(issuer, deadline), now)
            url = known.url
        answer = self._get(url, issuer, deadline)
        if answer.status != 200:
            raise KeysUnavailable(f"{url} answers {answer.status}{self._why_no_token(url, issuer)}")
        return FoundKeys(answer.body, self._lifetime(answer), known)

    def discovered(self, issuer: str) -> str:
        """Return where the issuer's metadata say that its keys are. Raises KeysUnavailable."""
        problem = unusable(issuer, plain_http=self.plain_http)
        if problem:
            raise KeysUnavailable(f"{issuer} {problem}")
        return self._discover(issuer, monotonic() + self.timeout)

    def _why_no_token(self, url: str, issuer: str) -> str:
        if self.token_file is None or server_of(url) == server_of(self.url or issuer):
            return ""
        return "; the token goes to the issuer's host alone: give the set's url"

    def read(self, octets: bytes) -> tuple[tuple[Key, ...], tuple[Skipped, ...]]:
        """Return the keys of a published set. Raises ConfigurationError."""
        return published_keys(octets, self.algorithm)

    def client(self, issuer: str) -> Fetcher:
        """Return the configured `fetcher`, or else the standard library's client.

        The token in `token_file` is for the host of `url`, or for that of the issuer.
        """
        if self.fetcher is not None:
            return self.fetcher
        from .http import HttpFetcher  # not at the top: it isn't needed beside another fetcher

        return HttpFetcher(
            private_addresses=self.private_addresses,
            ca_file=cast("str | None", self.ca_file),
            token_file=cast("str | None", self.token_file),
            token_server=server_of(self.url or issuer) if self.token_file is not None else "",
        )

    def through(self, fetcher: Fetcher) -> Remote:
        """Return the same source with another fetcher, which has its own files."""
        return replace(self, fetcher=fetcher, ca_file=None, token_file=None)

    def _get(self, url: str, issuer: str, deadline: float) -> Fetched:
        client = self.client(issuer)
        answer = client.fetch(url, timeout=max(deadline - monotonic(), 0.0), limit=MAX_SET)
        if len(answer.body) > MAX_SET:
            raise KeysUnavailable(f"{url} answers more than {MAX_SET} octets")
        return answer

    def _lifetime(self, answer: Fetched) -> float:
        said = (answer.cache_control or "").lower()
        if _NOT_KEPT.search(said):
            return MIN_LIFETIME
        found = _MAX_AGE.search(said)
        return min(max(int(found[1]), MIN_LIFETIME), MAX_LIFETIME) if found else self.lifetime

    def _discover(self, issuer: str, deadline: float) -> str:
        """Return the `jwks_uri` of the issuer's metadata. Raises KeysUnavailable."""
        problems = []
        for url in metadata_urls(issuer):
            # If the issuer doesn't answer, stop: the other URL is on the same host. If it answers
            # with something else, the other URL may still have the document.
            answer = self._get(url, issuer, deadline)
            try:
                return _key_set_of(answer, issuer, url, plain_http=self.plain_http)
            except KeysUnavailable as error:
                problems.append(error.detail)
        raise KeysUnavailable("; ".join(problems))


class _Place(NamedTuple):
    """Where discovery found a key set."""

    url: str
    found_at: float


def _key_set_of(answer: Fetched, issuer: str, url: str, *, plain_http: bool) -> str:
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
    # Metadata that came by TLS don't lead to keys that come without.
    problem = unusable(jwks_uri, plain_http=plain_http and url.startswith("http:"))
    # A stranger's answer must not make us send requests to services on this machine.
    if not problem and _is_here(jwks_uri) and not _is_here(url):
        problem = "leads to this machine"
    if problem:
        raise KeysUnavailable(f"{url}: jwks_uri {problem}")
    return str(jwks_uri)


def _is_here(url: str) -> bool:
    return is_loopback_host(urlsplit(url).hostname or "")


def _check_range(one: Field[Any], value: Any, minimum: float, maximum: float) -> None:
    if type(value) not in (int, float) or not minimum <= value <= maximum:
        raise ConfigurationError(
            f"keys.{one.name}",
            f"must be {minimum} to {maximum} seconds",
            f"the default is {one.default}",
        )
