"""Requests, responses and tokens, as plain values."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from .frozen import FrozenDict


class Request:
    """What the core reads of an HTTP request or of a WebSocket handshake.

    `path` is decoded and relative to the root that the application is mounted at. `header` takes a
    lower-case name and returns the field's value, several joined by ", " as RFC 9110 s5.3 says, or
    None.
    """

    __slots__ = ("header", "method", "path")

    def __init__(self, method: str, path: str, header: Callable[[str], str | None]) -> None:
        self.method = method
        self.path = path
        self.header = header


@dataclass(frozen=True, slots=True)
class Response:
    """An answer of ours. Header names are lower-case; the body is complete."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A verified access token (RFC 9068). Its `repr` holds no claim, so that logs don't either."""

    issuer: str = field(repr=False)
    subject: str = field(repr=False)
    scope: str = field(repr=False)  # space-delimited and case-sensitive (RFC 6749 s3.3), may be ""
    client_id: str | None = field(repr=False)
    grant_id: str | None = field(repr=False)  # the claim `sid`, in our own issuer's tokens
    expires_at: float  # seconds since 1970-01-01 UTC
    claims: FrozenDict = field(repr=False)  # all of them, as signed

    @property
    def principal(self) -> tuple[str, str]:
        """Return (issuer, subject): a subject is unique within its issuer (RFC 7519 s4.1.2)."""
        return self.issuer, self.subject

    @property
    def is_client(self) -> bool:
        """Say whether a client speaks for itself: then the subject is no user (RFC 9700 s4.15)."""
        return self.subject == self.client_id


class User(NamedTuple):
    """What Starlette expects at `request.user`."""

    is_authenticated: bool
    display_name: str

    @property
    def identity(self) -> str:
        """Return the subject; "" for nobody."""
        return self.display_name


class Auth(NamedTuple):
    """What Starlette expects at `request.auth`: the token's scopes, and `authenticated`."""

    scopes: tuple[str, ...]
