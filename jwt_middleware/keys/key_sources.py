"""Where keys come from: sources, what one look at a source finds, and which URLs can be one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from ..jose.jwk import Key
from ..values.loopback import is_loopback_host
from .freshness import KeyLimits

MAX_URL = 2048  # characters; it stands in every message about a failed fetch

# RFC 6749 s3.1: no fragment. No user and password, because the URL is logged.
_URL = re.compile(r"https?://[A-Za-z0-9._~:\[\]-]+(?::[0-9]{1,5})?(?:[/?][!\x22$-~]*)?")


@dataclass(frozen=True, slots=True)
class Fetched:
    """The answer to one GET.

    Args:
        status: the status of the answer.
        body: its octets.
        cache_control: the field, if there is one.
        date: the same.

    """

    status: int
    body: bytes
    cache_control: str | None = None
    date: str | None = None


class Fetcher(Protocol):
    """An object that fetches a URL, for services that need a proxy or another HTTP client."""

    def fetch(self, url: str, *, timeout: float, limit: int) -> Fetched:
        """Return the answer to one GET, whatever its status, without following a redirect.

        It must check certificates. It runs in a thread of its own. Whatever it raises counts as
        "doesn't answer"; a `KeysUnavailable` says why.

        Args:
            url: what to get.
            timeout: seconds within which it must return or raise.
            limit: octets that it may read at most; it raises for more.

        """
        ...


@dataclass(frozen=True, slots=True)
class FoundKeys:
    """What a look at the source found."""

    octets: bytes  # of a JWK Set
    lifetime: float  # seconds until the next look
    memo: object = None  # the source's own note, handed back to it at the next look


@dataclass(frozen=True, slots=True)
class Skipped:
    """A key of a published set that can't be used. The texts are short enough for a log."""

    kid: str
    problem: str


class Source(Protocol):
    """A place that is read again from time to time: a URL, a file."""

    def limits(self) -> KeyLimits:
        """Return how long its keys serve."""
        ...

    def fetch(self, issuer: str, before: FoundKeys | None, now: float) -> FoundKeys:
        """Look once. Raises KeysUnavailable; `before` is what the last look found."""
        ...

    def read(self, octets: bytes) -> tuple[Iterable[Key], Iterable[Skipped]]:
        """Return the keys in these octets, and those that can't be used.

        Raises:
            ConfigurationError: the set as a whole must not be used.

        """
        ...


def metadata_urls(issuer: str) -> tuple[str, str]:
    """Return where an issuer's metadata may be: OpenID Connect Discovery s4, RFC 8414 s3."""
    parts = urlsplit(issuer)
    path = parts.path.removesuffix("/")
    host = f"{parts.scheme}://{parts.netloc}"
    return (
        f"{host}{path}/.well-known/openid-configuration",
        # RFC 8414 s3.1: the well-known string goes between host and path.
        f"{host}/.well-known/oauth-authorization-server{path}",
    )


def server_of(url: str) -> str:
    """Return scheme, host and port of a URL, with the default port written out."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{parts.scheme}://{parts.hostname}:{port}"


def unusable(url: object, *, plain_http: bool = False) -> str:
    """Return why keys can't be fetched from a URL, or "" if they can.

    `plain_http` is for an issuer inside: the fetcher then takes private addresses alone.
    """
    if not isinstance(url, str) or len(url) > MAX_URL or not _URL.fullmatch(url):
        return "is no absolute URL without user, password and fragment"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is no URL"
    if not parts.hostname or port == 0:
        return "has no host, or no port"
    if parts.scheme != "https" and not plain_http and not is_loopback_host(parts.hostname):
        # Without TLS, an attacker on the network can replace the keys, and then sign any token.
        return "is not https, and its host is not this machine"
    return ""
