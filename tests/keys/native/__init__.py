"""Gateways and libraries that aren't Python's: what they are given of our issuer.

A reader is a function of an issuer. It gives the issuer's tokens to what it is about, and returns
the subject of each that was accepted, None for the others. It raises `Refused` if a server doesn't
start with these keys.
"""

from __future__ import annotations

import json
import secrets
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from jwt_middleware import KeySet, Refresh
from jwt_middleware.asgi import JWTMiddleware
from jwt_middleware.jose.jwk import Key
from jwt_middleware.jose.strict_json import b64url_encode
from jwt_middleware.testing import TokenFactory
from tests.serving import asgi

HERE = Path(__file__).parent
JWKS, METADATA = "/.well-known/jwks.json", "/.well-known/oauth-authorization-server"
AN_HOUR = 3600


class Refused(Exception):
    """A server doesn't start with these keys, or with this algorithm."""


class Issuer:
    """An issuer of ours, whose keys readers find in every form.

    Args:
        algorithm: of the key that signs.
        beside: of a key that stands before it in the set, and signs nothing.
        typ: what the tokens say that they are, instead of `at+jwt`.

    """

    def __init__(self, algorithm: str, *, beside: str = "", typ: str = "at+jwt") -> None:
        self.algorithm, self.typ = algorithm, typ
        self.heard: list[str] = []  # why programs refused tokens, in their words
        self.factory = TokenFactory(algorithm=algorithm)
        if self.factory.key.is_symmetric:  # a secret that can stand in a configuration file
            self.factory.keys = KeySet(KeySet.secret(secrets.token_urlsafe(48)).keys)
        self.key = self.factory.key
        others = KeySet.generate(beside).keys if beside else ()
        self.keys = KeySet((self.key, *others))
        self.published = [self._jwk(one) for one in (*others, self.key)]

    def _jwk(self, key: Key) -> dict[str, Any]:
        if not key.is_symmetric:
            return dict(key.public_jwk())
        octets = b64url_encode(self.secret).decode()
        return {"kty": "oct", "k": octets, "kid": key.kid, "alg": self.algorithm}

    @property
    def secret(self) -> bytes:
        octets: Any = self.key.private
        return bytes(octets)

    def pem(self) -> str:
        key: Any = self.key.public
        return str(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())

    def tokens(self) -> dict[str, str]:
        """Return a good token, one whose `aud` is an array, and three bad ones."""
        factory, now = self.factory, int(time.time())
        forger = TokenFactory(algorithm=self.algorithm, issuer=factory.issuer)
        header = {"typ": self.typ}
        return {
            "good": factory.token(header=header),
            "array": factory.token(header=header, aud=[factory.audience]),
            "late": factory.token(header=header, iat=now - 2 * AN_HOUR, exp=now - AN_HOUR),
            "elsewhere": factory.token(header=header, aud="https://elsewhere.example"),
            "forged": forger.token(header=header | {"kid": self.key.kid}),
        }

    @contextmanager
    def folder(self) -> Generator[Path]:
        """Give a folder with `keys.jwks`, `key.jwk`, and `key.pem` or `secret`."""
        # Not in pytest's folder: another user has no way there.
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "keys.jwks").write_text(json.dumps({"keys": self.published}))
            (folder / "key.jwk").write_text(json.dumps(self.published[-1]))
            if self.key.is_symmetric:
                (folder / "secret").write_bytes(self.secret)
            else:
                (folder / "key.pem").write_text(self.pem())
            yield folder

    @contextmanager
    def served(self) -> Generator[str]:
        """Serve our own endpoints, the key set and the metadata; give the URL."""

        def application(url: str) -> JWTMiddleware:
            self.factory.issuer = url
            settings = self.factory.settings(keys=self.keys, refresh=Refresh(store="memory://"))
            return JWTMiddleware(_no_application, settings)

        with asgi(application) as url:
            yield url


async def _no_application(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("only our endpoints are asked")


Verdicts = dict[str, str | None]
Reader = Callable[[Issuer], Verdicts]
