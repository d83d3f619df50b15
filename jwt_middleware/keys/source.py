"""Where a key set comes from, as data; and what one look there finds."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from .freshness import Limits

if TYPE_CHECKING:
    from . import KeySet


class Fetched(NamedTuple):
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


class Found(NamedTuple):
    """What a look at the source found."""

    octets: bytes  # of a JWK Set
    lifetime: float  # seconds until the next look
    memo: object = None  # what the source wants to be told at the next look


MAX_TOLD = 200  # characters


class Skipped(NamedTuple):
    """A key of a published set that can't be used."""

    kid: str
    problem: str

    def cut(self) -> "Skipped":
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

    def read(self, octets: bytes) -> "tuple[KeySet, Iterable[Skipped]]":
        """Return the keys in what was found, and which can't be used.

        Raises:
            ConfigurationError: the set as a whole must not be used.

        """
        ...
