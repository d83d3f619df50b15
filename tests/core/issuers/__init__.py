"""What issuers really serve: metadata, key sets, access tokens and ID tokens, with made-up keys.

`served.py` has the shapes, in which the members stand that the issuer sends, and no others. Where a
shape was seen: `run` on loopback, or read in the issuer's source or documentation (`read`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from jwt_middleware.jose.jwk import Key, generate
from jwt_middleware.keys.key_sources import Fetched, metadata_urls
from jwt_middleware.testing.attack import Forge
from tests.world import NOW

CERTIFICATE = "MIICmzCCAYMCBgGXcZ8v" + "A" * 860 + "=="  # the look of one


@cache
def key(algorithm: str, kid: str) -> Key:
    """Return the key of that name, one for all tests of a process: RSA takes a while."""
    return generate(algorithm, kid=kid)


@dataclass(frozen=True, kw_only=True)
class Served:
    """One issuer, as its users meet it."""

    name: str  # as docs/issuers.md has it
    seen: str
    issuer: str
    audience: str
    scope: str  # what one of the token's scopes is called here
    header: dict[str, Any]
    claims: dict[str, Any]
    id_header: dict[str, Any] = field(default_factory=dict)
    id_claims: dict[str, Any] = field(default_factory=dict)  # none: it has no ID tokens
    # Its ID tokens have all that its access tokens have: only the audience tells them apart.
    by_audience: bool = False
    jwks_url: str = ""
    # Members of its signing key as they are published, "@" for a value that is the key's own.
    jwk: Mapping[str, Any]
    more_keys: tuple[Mapping[str, Any], ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)  # none: it publishes none

    @property
    def key(self) -> Key:
        return key(self.header["alg"], self.header.get("kid", "without a name"))

    @property
    def set(self) -> dict[str, Any]:
        own, others = self.key.public_jwk(), key("RS256", "another").public_jwk()
        keys = [_filled(self.jwk, own), *(_filled(one, others) for one in self.more_keys)]
        return {"keys": keys}

    def fetch(self, url: str, *, timeout: float, limit: int) -> Fetched:
        """Answer as the issuer's server does (`keys.Fetcher`)."""
        documents = {self.jwks_url: self.set}
        if self.metadata:
            documents[metadata_urls(self.issuer)[0]] = {**self.metadata}
        found = documents.get(url)
        body = json.dumps(found or {"error": "not_found"}).encode()
        return Fetched(200 if found else 404, body)

    def token(self, *, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """Return an access token, but for these members."""
        return self._signed(self.header, self.claims, header, claims)

    def id_token(self, **claims: Any) -> str:
        """Return an ID token of the same login, but for these claims."""
        return self._signed(self.id_header or self.header, self.id_claims, None, claims)

    def _signed(self, header: Mapping[str, Any], claims: Mapping[str, Any], *changes: Any) -> str:
        now = int(NOW)
        times = {"iat": now, "exp": now + 300, "nbf": now, "auth_time": now - 60}
        good = {name: times.get(name, value) for name, value in claims.items()}
        return Forge(self.key, header, {**good, "iss": self.issuer}).token(
            header=changes[0], **changes[1]
        )


def _filled(shape: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    return {name: own.get(name, "@") if value == "@" else value for name, value in shape.items()}
