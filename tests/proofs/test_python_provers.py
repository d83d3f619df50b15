"""Clients of Python whose proofs are made by others: by joserfc, and in sessions of Authlib's.

Authlib makes no proofs itself; its hooks let its user add them to what it sends. Libraries that do
make them are in tests/clients/test_provers.py.
"""

from __future__ import annotations

import time
from base64 import urlsafe_b64encode
from collections.abc import Generator
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from authlib.integrations.requests_client import (  # type: ignore[import-untyped]
    OAuth2Session,
)
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.registry import Header

from jwt_middleware import Proofs
from tests.proofs.bound_site import BoundSite, served
from tests.rules import accepts, refuses

Key = ECKey | OKPKey | RSAKey
KEYS: dict[str, Any] = {
    "ES256": lambda: ECKey.generate_key("P-256"),
    "ES384": lambda: ECKey.generate_key("P-384"),
    "ES512": lambda: ECKey.generate_key("P-521"),
    "Ed25519": lambda: OKPKey.generate_key("Ed25519"),
    "EdDSA": lambda: OKPKey.generate_key("Ed25519"),
    "PS256": lambda: RSAKey.generate_key(2048),
}
EVERY = Proofs(access=True, algorithms=tuple(KEYS))


class Holder:
    """A client with a key of joserfc's, and the nonce of the last answer."""

    def __init__(self, site: BoundSite, algorithm: str = "ES256") -> None:
        self.site = site
        self.algorithm = algorithm
        self.key: Key = KEYS[algorithm]()
        self.nonce: str | None = None

    def proof(self, method: str, url: str, token: str | None = None) -> str:
        header: Header = {
            "typ": "dpop+jwt",
            "alg": self.algorithm,
            "jwk": self.key.as_dict(private=False),
        }
        claims = {"jti": str(uuid4()), "htm": method, "htu": url, "iat": int(time.time())}
        if token is not None:
            digest = sha256(token.encode()).digest()
            claims["ath"] = urlsafe_b64encode(digest).rstrip(b"=").decode()
        if self.nonce is not None:
            claims["nonce"] = self.nonce
        return jwt.encode(header, claims, self.key, algorithms=[self.algorithm])

    def send(
        self, method: str, path: str, token: str | None = None, **more: Any
    ) -> httpx2.Response:
        """Send a request with a proof, and again with the nonce that the first answer has."""
        url = self.site.url + path
        while True:
            fields = {"DPoP": self.proof(method, url, token)}
            if token is not None:
                fields["Authorization"] = f"DPoP {token}"
            answer = httpx2.request(method, url, headers=fields, trust_env=False, **more)
            before, self.nonce = self.nonce, answer.headers.get("DPoP-Nonce", self.nonce)
            if "use_dpop_nonce" not in answer.text or self.nonce == before:
                return answer


@pytest.fixture(params=["asgi", "wsgi"])
def site(request: pytest.FixtureRequest) -> Generator[BoundSite]:
    with served(request.param, EVERY) as one:
        yield one


@accepts("RS-50", "RS-51", "RS-52", "RS-56", "RT-22")
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize("algorithm", KEYS)
def test_proofs_by_joserfc(site: BoundSite, algorithm: str) -> None:
    client = Holder(site, algorithm)
    login = client.send("POST", "/login").json()
    assert login["token_type"] == "DPoP"
    assert site.bound_keys == [client.key.thumbprint()]
    site.clock.forward(620)
    form = {"grant_type": "refresh_token", "refresh_token": login["refresh_token"]}
    for kind in ("json", "data"):
        body: dict[str, Any] = {kind: form}
        found = client.send("POST", "/auth/refresh", **body).json()
        assert (found["token_type"], found["refresh_token"]) == ("DPoP", login["refresh_token"])
        for path in ("/", "/orders/1", "/orders?page=2"):
            assert client.send("GET", path, found["access_token"]).status_code == 200
    assert set(site.refused()) == {"proof_nonce"}


@refuses("RS-52", "RT-22")
def test_a_thief_with_a_key_of_his_own(site: BoundSite) -> None:
    client, thief = Holder(site), Holder(site)
    login = client.send("POST", "/login").json()
    form = {"grant_type": "refresh_token", "refresh_token": login["refresh_token"]}
    refused = thief.send("POST", "/auth/refresh", json=form)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert thief.send("GET", "/", login["access_token"]).status_code == 401
    bearer = {"Authorization": f"Bearer {login['access_token']}"}
    assert httpx2.get(site.url, headers=bearer, trust_env=False).status_code == 401
    assert client.send("POST", "/auth/refresh", json=form).status_code == 200


@accepts("RT-22")
def test_a_session_of_authlibs_with_a_hook(site: BoundSite) -> None:
    client = Holder(site)
    login = client.send("POST", "/login").json()
    endpoint = f"{site.url}/auth/refresh"
    session: Any = OAuth2Session("web", token=login, token_endpoint=endpoint)
    session.trust_env = False

    def with_proof(url: str, headers: dict[str, str], body: str) -> Any:
        return url, {**headers, "DPoP": client.proof("POST", url)}, body

    session.register_compliance_hook("refresh_token_request", with_proof)
    for _ in range(2):
        found = session.refresh_token(endpoint, refresh_token=login["refresh_token"])
        assert (found["token_type"], found["refresh_token"]) == ("DPoP", login["refresh_token"])
        assert client.send("GET", "/", found["access_token"]).status_code == 200


def test_the_versions_are_those_of_the_page() -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "proofs.md").read_text("utf-8")
    for name in ("joserfc", "Authlib"):
        assert f"| {name} {version(name)} |" in page
