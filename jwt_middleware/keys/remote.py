"""Key sets that an issuer publishes: where they are, and how long what is found there serves.

One fetch is one GET over https, or up to three with discovery, and one time-out for them all. What
comes is checked by who asked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

from ..jose.algorithms import ALGORITHMS
from ..jose.strict_json import parse_object
from ..values.errors import ConfigurationError, KeysUnavailable
from .freshness import Limits
from .key_set import KeySet
from .key_sources import Fetched, Fetcher, Found, Skipped, is_loopback, metadata_urls, unusable

MAX_SET = 1 << 20  # octets; a set of a hundred RSA keys with certificates has a tenth of it
MIN_LIFETIME, MAX_LIFETIME = 60, 3600  # seconds; whatever Cache-Control says
DISCOVERY_AGE = 86400.0  # seconds for which the place of a key set is believed
MARGIN = 1.0  # seconds beyond its time-out after which a fetch is taken for lost

_MAX_AGE = re.compile(r"(?:^|,)\s*max-age\s*=\s*\"?([0-9]{1,9})")
_NOT_KEPT = re.compile(r"(?:^|,)\s*no-(?:store|cache)")


@dataclass(frozen=True, kw_only=True)
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

    def client(self) -> Fetcher:
        """Return what it is fetched with: its `fetcher`, or else the standard library's client."""
        if self.fetcher is not None:
            return self.fetcher
        from .http import HttpFetcher  # not at the top: who brings a fetcher needs none of it

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
    from concurrent.futures import Future
    from encodings import idna

    from . import http

    return Future, idna, http
