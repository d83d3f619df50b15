"""Requests, responses and tokens, as plain values."""

from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, repr=False)
class AccessToken:
    """A verified access token (RFC 9068). Its `repr` holds no claim, so that logs don't either."""

    claims: FrozenDict  # all of them, as signed
    own: bool = True  # of our own issuer: its subjects are our users, its `sid` is a grant of ours

    @property
    def issuer(self) -> str:
        """Return the claim `iss`."""
        issuer: str = self.claims["iss"]
        return issuer

    @property
    def subject(self) -> str:
        """Return the claim `sub`: a user of the issuer's, or a client that acts for itself."""
        subject: str = self.claims["sub"]
        return subject

    @property
    def scope(self) -> str:
        """Return the scope: words separated by spaces, compared by case (RFC 6749 s3.3), or ""."""
        scope: str = self.claims.get("scope", "")
        return scope

    @property
    def client_id(self) -> str | None:
        """Return the client; None where a foreign issuer doesn't say."""
        return self.claims.get("client_id")

    @property
    def grant_id(self) -> str | None:
        """Return the grant, the claim `sid`: in our own issuer's tokens only."""
        return self.claims.get("sid") if self.own else None

    @property
    def expires_at(self) -> float:
        """Return the end, in seconds since 1970-01-01 UTC."""
        expires_at: float = self.claims["exp"]
        return expires_at

    def __repr__(self) -> str:
        return f"AccessToken(expires_at={self.expires_at})"

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
