"""Under load, the tokens of Authlib's authorization server become ours: nobody is logged out."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path
from time import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from joserfc.jwk import RSAKey

from jwt_middleware import KeySet

from .clients import Ask, Pair, as_access, claims_of, forging
from .pages import write_shop
from .switching import Asks, asking, served, switch

USERS = 32
GUNICORN = ("gunicorn", "--bind=127.0.0.1:{port}", "--workers=2", "--threads=4", "{module}:app")
NAMES = f'USERS.update({{f"user{{n}}": f"password{{n}}" for n in range({USERS + 2})}})\n'
# Each refresh rotates, so that many do.
ROTATES = "settings = settings.replace(refresh__settle=0)\nissuer = Issuer(settings)\n"
REDIRECT = {"client_id": "shop-app", "redirect_uri": "https://shop.example/app"}


class App(Pair):
    """The shop's app: a public client with codes and PKCE."""

    def log_in(self, asks: Asks) -> None:
        verifier = secrets.token_urlsafe(40)
        digest = hashlib.sha256(verifier.encode()).digest()
        asked = REDIRECT | {
            "response_type": "code",
            "scope": "read",
            "code_challenge_method": "S256",
        }
        asked["code_challenge"] = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        consent = {"name": self.name, "password": self._password}
        answer = asks("POST", "/oauth/authorize", params=asked, data=consent)
        assert answer.status_code == 302, answer.text
        (code,) = parse_qs(urlsplit(answer.headers["location"]).query)["code"]
        form = REDIRECT | {"grant_type": "authorization_code", "code": code}
        answer = asks("POST", "/oauth/token", data=form | {"code_verifier": verifier})
        assert answer.status_code == 200, answer.text
        found = answer.json()
        self.access, self.refresh = found["access_token"], found["refresh_token"]

    def _refreshes(self, asks: Asks) -> bool:
        return self._keeps(asks("POST", "/oauth/token", data=asked_with(self.refresh)))


def asked_with(token: str) -> dict[str, str]:
    return {"grant_type": "refresh_token", "client_id": "shop-app", "refresh_token": token}


def as_refresh(tokens: dict[str, str]) -> dict[str, Ask]:
    def asked(path: str, token: str) -> Ask:
        return lambda asks: asks("POST", path, data=asked_with(token))

    return {
        f"refresh, at {path}: {how}": asked(path, token)
        for how, token in tokens.items()
        for path in ("/oauth/token", "/auth/refresh")
    }


def mistaken(claims: dict[str, Any], public: bytes) -> str:
    """Return a token by HS256 with a public key as the secret. PyJWT refuses to make one."""
    head, body = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in ({"alg": "HS256", "typ": "at+jwt"}, claims)
    )
    mac = hmac.digest(public, head + b"." + body, "sha256")
    return b".".join((head, body, base64.urlsafe_b64encode(mac).rstrip(b"="))).decode()


def made_from(token: str, key: str) -> dict[str, str]:
    """Return access tokens like this one that nobody may accept."""
    claims, typ = claims_of(token), {"typ": "at+jwt"}
    other = RSAKey.generate_key(2048).as_pem(private=True).decode()
    public = RSAKey.import_key(key).as_pem(private=False)
    head, body, _ = token.split(".")

    def signed(key: str, algorithm: str, **changes: object) -> str:
        return jwt.encode(claims | changes, key, algorithm=algorithm, headers=typ)

    return {
        "of another key": signed(other, "RS256"),
        "by the public key as a secret": mistaken(claims, public),
        "with alg none": jwt.encode(claims, "", algorithm="none", headers=typ),
        "without a signature": f"{head}.{body}.",
        "expired": signed(key, "RS256", exp=int(time()) - 60),
        "of another issuer": signed(key, "RS256", iss="https://other.example"),
        "for another service": signed(key, "RS256", aud="https://other.example"),
        "of another type": jwt.encode(claims, key, algorithm="RS256"),
    }


def test_authlib(tmp_path: Path) -> None:
    write_shop("from-authlib.md", tmp_path, NAMES)
    after = tmp_path / "after.py"
    code = after.read_text("utf-8").replace("issuer = Issuer(settings)\n", ROTATES)
    after.write_text(code, "utf-8")
    key = RSAKey.generate_key(2048).as_pem(private=True).decode()
    (tmp_path / "authlib.pem").write_text(key, "utf-8")
    KeySet.generate().save(tmp_path / "keys.json")
    apps = [App(number) for number in range(USERS)]
    whole, old = App(USERS), App(USERS + 1)
    with served(tmp_path, GUNICORN, "before") as servers:
        with asking(servers.url) as asks:
            whole.log_in(asks)
            old.log_in(asks)
        opened = made_from(whole.access, key) | {"a refresh token": whole.refresh}
        bought = {"an access token": whole.access, "invented": secrets.token_urlsafe(36)}
        story = switch(servers, apps, forging(as_access(opened) | as_refresh(bought)))
        with asking(servers.url) as asks:  # a log-out ends what the old token has led to
            thief = asked_with(old.refresh)
            found = asks("POST", "/oauth/token", data=thief).json()
            asks("POST", "/auth/revoke", data={"token": found["refresh_token"]})
            assert asks("POST", "/oauth/token", data=thief).json() == {"error": "invalid_grant"}
    assert (story.logged_out, story.accepted) == ([], [])
    assert story.forged
    with closing(sqlite3.connect(tmp_path / "grants.db")) as database:
        found = database.execute("SELECT count(*), count(DISTINCT subject) FROM grants").fetchone()
    assert found == (USERS + 1, USERS + 1)
