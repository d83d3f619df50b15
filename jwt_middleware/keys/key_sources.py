"""Where a key set comes from, as data; and what one look there finds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import SplitResult, urlsplit

from .freshness import Limits

if TYPE_CHECKING:
    from .key_set import KeySet

MAX_URL = 2048  # characters; it stands in every line that tells of a failure

# RFC 6749 s3.1 has no fragment in such URLs, and whoever puts a password into one has it in logs.
_URL = re.compile(r"https?://[A-Za-z0-9._~:\[\]-]+(?::[0-9]{1,5})?(?:[/?][!\x22$-~]*)?")
# The hosts of request/origins.py, which doesn't know us; a test holds both to one rule.
_LOOPBACK = re.compile(r"(?:.+\.)?localhost|127(?:\.[0-9]{1,3}){3}|::1")


@dataclass(frozen=True, slots=True)
class Fetched:
    """The answer to one GET."""

    status: int
    body: bytes
    cache_control: str | None = None  # the field, if there is one
    date: str | None = None  # the same


class Fetcher(Protocol):
    """What fetches a URL: one method, for who needs a proxy or a client of his own."""

    def fetch(self, url: str, *, timeout: float, limit: int) -> Fetched:
        """Return the answer to one GET, whatever its status, without following a redirect.

        It must return or raise within about `timeout` seconds, read at most `limit` octets (and
        raise for more), and check certificates. It runs in a thread of its own. Whatever it raises
        counts as "doesn't answer"; a `KeysUnavailable` says why.
        """
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """What a look at the source found."""

    octets: bytes  # of a JWK Set
    lifetime: float  # seconds until the next look
    memo: object = None  # what the source wants to be told at the next look


MAX_TOLD = 200  # characters


@dataclass(frozen=True, slots=True)
class Skipped:
    """A key of a published set that can't be used."""

    kid: str
    problem: str

    def cut(self) -> Skipped:
        """Return it short enough for a log: whoever published the set wrote it."""
        return Skipped(self.kid[:MAX_TOLD], self.problem[:MAX_TOLD])


class Source(Protocol):
    """A place that is looked at again and again: a URL, a file."""

    def limits(self) -> Limits:
        """Return how long what it gives serves."""
        ...

    def fetch(self, issuer: str, before: Found | None, now: float) -> Found:
        """Look once. Raises KeysUnavailable; `before` is what the last look found."""
        ...

    def read(self, octets: bytes) -> tuple[KeySet, Iterable[Skipped]]:
        """Return the keys in what was found, and which can't be used.

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


def unusable(url: object) -> str:
    """Return why keys can't be fetched from a URL, or "" if they can."""
    if not isinstance(url, str) or len(url) > MAX_URL or not _URL.fullmatch(url):
        return "is no absolute URL without user, password and fragment"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is no URL"
    if not parts.hostname or port == 0:
        return "has no host, or no port"
    if parts.scheme != "https" and not is_loopback(parts):
        # Who can change keys on their way can sign whatever he likes.
        return "is not https, and its host is not this machine"
    return ""


def is_loopback(parts: SplitResult) -> bool:
    """Say whether a URL leads to this machine."""
    return _LOOPBACK.fullmatch(parts.hostname or "") is not None
