"""Key sets that an issuer publishes: where they are, and how long an answer is used.

One fetch is one GET over https, or up to three with discovery, with one time-out for all of them.
The keys in the answer are checked by the caller.
"""

from __future__ import annotations

import re
from dataclasses import Field, dataclass, field
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
from .key_sources import Fetched, Fetcher, FoundKeys, Skipped, metadata_urls, unusable

MAX_SET = 1 << 20  # octets; a set of a hundred RSA keys with certificates has a tenth of it
MIN_LIFETIME, MAX_LIFETIME = 60, 3600  # seconds; whatever Cache-Control says
DISCOVERY_AGE = 86400.0  # seconds for which the place of a key set is believed
LEASE_MARGIN = 1.0  # seconds beyond its time-out after which a fetch counts as failed

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
    fetcher: Fetcher | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.url is not None:
            problem = unusable(self.url)
            if problem:
                raise ConfigurationError("keys.url", problem, "an https URL; http on loopback only")
        self._check_algorithm()
        for name, one in self.__dataclass_fields__.items():
            if one.metadata:
                _check_range(one, getattr(self, name), **one.metadata)
        if not isinstance(cast("Any", self.private_addresses), bool):
            raise ConfigurationError("keys.private_addresses", "must be True or False")
        if self.fetcher is not None and not callable(getattr(self.fetcher, "fetch", None)):
            raise ConfigurationError("keys.fetcher", "has no method `fetch`", "see keys.Fetcher")
        # Load the client now. If the process forked while another thread was importing it, the
        # child would wait for the lock on that import for ever.
        self.client()

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
        answer = self._get(url, deadline)
        if answer.status != 200:
            raise KeysUnavailable(f"{url} answers {answer.status}")
        return FoundKeys(answer.body, self._lifetime(answer), known)

    def read(self, octets: bytes) -> tuple[tuple[Key, ...], tuple[Skipped, ...]]:
        """Return the keys of a published set. Raises ConfigurationError."""
        return published_keys(octets, self.algorithm)

    def client(self) -> Fetcher:
        """Return the configured `fetcher`, or else the standard library's client."""
        if self.fetcher is not None:
            return self.fetcher
        from .http import HttpFetcher  # not at the top: it isn't needed beside another fetcher

        return HttpFetcher(private_addresses=self.private_addresses)

    def _get(self, url: str, deadline: float) -> Fetched:
        answer = self.client().fetch(url, timeout=max(deadline - monotonic(), 0.0), limit=MAX_SET)
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
