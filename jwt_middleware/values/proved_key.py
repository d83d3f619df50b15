"""The key that a request to a login has proved to hold."""

from __future__ import annotations

from dataclasses import dataclass

from .tokens import NOBODY, Forward


@dataclass(frozen=True, slots=True)
class ProvedKey:
    """The key that a request has proved to hold: for `Issuer.issue(proof=...)`, which binds to it.

    Attributes:
        thumbprint: that of the key, SHA-256 in base64url (RFC 7638). It is no secret.

    """

    thumbprint: str


class ForwardLogin(Forward):
    """The decision to let in a request to a route that logs in, with the key that it proved."""

    __slots__ = ("proved",)

    def __init__(self, proved: ProvedKey | None) -> None:
        super().__init__(None, NOBODY)
        self.proved = proved
