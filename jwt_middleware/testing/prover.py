"""A client that holds a key, and proves it for each request (DPoP, RFC 9449)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import urandom
from typing import Any

from ..jose import jwk
from ..jose.jwk import Key
from ..settings.settings import wall_clock
from ..token.proof import DPOP_TYPE, token_hash
from .mint import json_octets, present, seal


class Prover:
    """Makes proofs, for tests of applications with `Settings.proofs`.

    A token is bound by `factory.token(cnf=prover.cnf)`. Each proof is good for one request.

    Args:
        algorithm: what proofs are signed with.
        root: the URL at which clients reach the root of the application (`Proofs.urls`).
        clock: seconds since 1970-01-01 UTC.

    """

    def __init__(
        self,
        root: str = "https://api.example",
        *,
        algorithm: str = "ES256",
        clock: Callable[[], float] = wall_clock,
    ) -> None:
        self.key: Key = jwk.generate(algorithm)
        self.root = root
        self.clock = clock
        self.nonce: str | None = None  # that the last answer said

    @property
    def jwk(self) -> dict[str, str]:
        """Return the public key, as a proof brings it."""
        members = self.key.public_jwk()
        return {name: value for name, value in members.items() if name not in ("kid", "alg", "use")}

    @property
    def thumbprint(self) -> str:
        """Return the key's thumbprint (RFC 7638), which a bound token names."""
        return jwk.thumbprint(self.jwk)

    @property
    def cnf(self) -> dict[str, str]:
        """Return the claim `cnf` of a token that is bound to the key (RFC 9449 s6.1)."""
        return {"jkt": self.thumbprint}

    def proof(
        self,
        method: str,
        path: str,
        token: str | None = None,
        *,
        header: Mapping[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """Return a proof for one request, good unless a keyword spoils it.

        Args:
            method: of the request.
            path: of the request, below `root`.
            token: the access token that goes with it.
            header: members that the header has besides or instead of its own; `ABSENT` drops one.
            claims: the same for the claims.

        """
        made = {"typ": DPOP_TYPE, "alg": self.key.algorithm.name, "jwk": self.jwk}
        said: dict[str, Any] = {
            "jti": urandom(16).hex(),
            "htm": method,
            "htu": self.root + path,
            "iat": int(self.clock()),
        }
        if token is not None:
            said["ath"] = token_hash(token)
        if self.nonce is not None:
            said["nonce"] = self.nonce
        return seal(
            json_octets(present(made, header or {})), json_octets(present(said, claims)), self.key
        )

    def headers(self, method: str, path: str, token: str, **claims: Any) -> dict[str, str]:
        """Return the fields of a request with a bound token and its proof (RFC 9449 s7.1).

        Args:
            method: of the request.
            path: of the request, below `root`.
            token: the access token.
            claims: of the proof, as for `proof`.

        """
        proof = self.proof(method, path, token, **claims)
        return {"Authorization": f"DPoP {token}", "DPoP": proof}
