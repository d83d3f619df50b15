"""One attack, and what attacks are made of."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import urandom
from typing import Any

from ..jose import jwk
from ..jose.jwk import Key
from ..jose.jws import join
from ..jose.strict_json import b64url_encode
from .mint import json_octets, present, sealed


@dataclass(frozen=True, slots=True)
class Attack:
    """One hostile request: what to send to a resource that needs a token, and what must come back.

    `str(attack)` is its name, for `pytest.mark.parametrize(..., ids=str)`.

    Attributes:
        name: what it is called.
        headers: names and values; text stands for octets, as Latin-1.
        rule: the rule that it breaks, with its number in this project.
        statuses: what a resource may answer. Another status has let the attack in (2xx), or failed
            on it.
        method: the method to send.
        path: with its query, below the application's root; "": any resource.

    """

    name: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    rule: str
    statuses: tuple[int, ...] = (401,)
    method: str = "GET"
    path: str = ""

    def __str__(self) -> str:
        return self.name

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        """Return octets, for clients of the httpx family, which take ASCII text only."""
        return [(name.encode(), value.encode("latin-1")) for name, value in self.headers]

    @property
    def joined(self) -> dict[str, str]:
        """Return a dict, for clients that take one: equal names are joined (RFC 9110 s5.3)."""
        found: dict[str, str] = {}
        for name, value in self.headers:
            found[name] = f"{found[name]}, {value}" if name in found else value
        return found


@dataclass(frozen=True, slots=True)
class Forge:
    """The parts that attacks are made of: the trusted key, a good header and good claims."""

    key: Key
    header: Mapping[str, Any]
    claims: Mapping[str, Any]

    def message(self, *, header: Mapping[str, Any] | None = None, **claims: Any) -> bytes:
        """Return the signing input of a token, with the same arguments as `token`."""
        head = json_octets(present(self.header, header or {}))
        return b64url_encode(head) + b"." + b64url_encode(self.with_claims(**claims))

    def token(self, *, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """Return a token by the trusted key, which differs from a good one in these members."""
        return sealed(self.message(header=header, **claims), self.key)

    def with_claims(self, **claims: Any) -> bytes:
        """Return good claims as JSON, with these changes."""
        return json_octets(present(self.claims, claims))

    def by_hmac(self, secret: bytes, *, alg: str = "HS256", **header: Any) -> str:
        """Return a token with an HMAC under `secret`, a text that the attacker knows."""
        message = self.message(header={"alg": alg, **header})
        return join(message, hmac.digest(secret, message, f"sha{alg[2:]}"))

    def stranger(self) -> Key:
        """Return a new key with the trusted key's name and algorithm."""
        return jwk.generate(self.key.algorithm.name, kid=self.key.kid, secret=urandom(64))


def in_bearer(name: str, rule: str, token: str, *statuses: int) -> Attack:
    """Return the attack that has this token in a Bearer header."""
    return Attack(name, (("Authorization", f"Bearer {token}"),), rule, statuses or (401,))
