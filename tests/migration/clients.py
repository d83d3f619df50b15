"""Clients of former applications, as they were written for these, and tokens that nobody may take.

Some keep a new refresh token where an answer brings one. Others were written for answers that have
none, and keep the old one for ever.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from time import time
from typing import Any

import httpx2
import jwt

from .switching import Asks

Forge = Callable[[Asks], tuple[int, list[str]]]
Ask = Callable[[Asks], httpx2.Response]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def form(token: str) -> dict[str, str]:
    return {"grant_type": "refresh_token", "refresh_token": token}


class Pair:
    """A client with an access and a refresh token, which refreshes by a Bearer header."""

    def __init__(self, number: int) -> None:
        self.name, self._password = f"user{number}", f"password{number}"
        self._adopts = number % 2 == 0
        self._turn = number
        self.access = self.refresh = ""

    def log_in(self, asks: Asks) -> None:
        found = asks("POST", "/login", json={"name": self.name, "password": self._password}).json()
        self.access, self.refresh = found["access_token"], found["refresh_token"]

    def log_out(self, asks: Asks) -> None:
        for token in (self.access, self.refresh):
            assert asks("DELETE", "/logout", headers=bearer(token)).status_code == 200

    def me(self, asks: Asks) -> str | None:
        self._turn += 1
        if self._turn % 3 == 0 and not self._refreshes(asks):
            return None
        answer = asks("GET", "/api/me", headers=bearer(self.access))
        if answer.status_code == 401 and self._refreshes(asks):  # what every client does
            answer = asks("GET", "/api/me", headers=bearer(self.access))
        return answer.json()["name"] if answer.status_code == 200 else None

    def _refreshes(self, asks: Asks) -> bool:
        return self._keeps(asks("POST", "/refresh", headers=bearer(self.refresh)))

    def _keeps(self, answer: httpx2.Response, more: str = "_token") -> bool:
        """Keep an answer's tokens. Their names are `access` and `refresh`, each with `more`."""
        if answer.status_code != 200:
            return False
        found = answer.json()
        self.access = found[f"access{more}"]
        if self._adopts:
            self.refresh = found.get(f"refresh{more}", self.refresh)
        return True


class Single:
    """A client of FastAPI Users, with one token. A new version asks for ours where it can."""

    def __init__(self, number: int) -> None:
        self.name = f"user{number}@shop.example"
        self._is_new = number % 2 == 0
        self._turn = number
        self.access = self._refresh = ""

    def log_in(self, asks: Asks) -> None:
        user = {"email": self.name, "password": "wonderland"}
        assert asks("POST", "/auth/register", json=user).status_code == 201
        credentials = {"username": self.name, "password": "wonderland"}
        self.access = asks("POST", "/auth/jwt/login", data=credentials).json()["access_token"]

    def me(self, asks: Asks) -> str | None:
        self._turn += 1
        if self._is_new and self._turn % 3 == 0:
            if not self._refresh:
                self._keep(asks("POST", "/api/move", headers=bearer(self.access)))
            elif not self._keep(asks("POST", "/auth/refresh", data=form(self._refresh))):
                return None
        answer = asks("GET", "/api/me", headers=bearer(self.access))
        return answer.json()["name"] if answer.status_code == 200 else None

    def _keep(self, answer: httpx2.Response) -> bool:
        if answer.status_code != 200:
            return False
        found = answer.json()
        self.access, self._refresh = found["access_token"], found["refresh_token"]
        return True


def claims_of(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


def made_from(token: str, secret: str) -> dict[str, str]:
    """Return tokens like this one that nobody may accept."""
    claims = claims_of(token)
    head, body, signature = token.split(".")
    unsigned = jwt.encode(claims | {"sub": "user0"}, secrets.token_urlsafe(32)).split(".")[1]
    return {
        "of another secret": jwt.encode(claims, secrets.token_urlsafe(32)),
        "with alg none": jwt.encode(claims, "", algorithm="none"),
        "without a signature": f"{head}.{body}.",
        "with another's signature": f"{head}.{unsigned}.{signature}",
        "expired": jwt.encode(claims | {"exp": int(time()) - 60}, secret),
    }


def as_access(tokens: Mapping[str, str]) -> dict[str, Ask]:
    """Return requests that bring these tokens as access tokens."""

    def asked(token: str) -> Ask:
        return lambda asks: asks("GET", "/api/me", headers=bearer(token))

    return {f"access: {how}": asked(token) for how, token in tokens.items()}


def as_refresh(tokens: Mapping[str, str]) -> dict[str, Ask]:
    """Return requests that bring these tokens as refresh tokens, in every way that there is."""

    def in_header(token: str) -> Ask:
        return lambda asks: asks("POST", "/refresh", headers=bearer(token))

    def in_form(token: str) -> Ask:
        return lambda asks: asks("POST", "/auth/refresh", data=form(token))

    return {
        f"refresh, in {way}: {how}": asked(token)
        for how, token in tokens.items()
        for way, asked in (("a header", in_header), ("a form", in_form))
    }


def forging(requests: Mapping[str, Ask]) -> Forge:
    """Return what sends all of these, and says how many, and which were accepted."""

    def forge(asks: Asks) -> tuple[int, list[str]]:
        accepted = [how for how, ask in requests.items() if ask(asks).status_code < 400]
        return len(requests), accepted

    return forge


def forged_pairs(secret: str, whole: Pair, gone: Pair) -> Forge:
    """Return attacks with tokens like those of `whole`, and with those of `gone`: logged out."""
    blocked = {"a blocked one": gone.access}, {"a blocked one": gone.refresh}
    return forging(
        as_access(made_from(whole.access, secret) | {"a refresh token": whole.refresh} | blocked[0])
        | as_refresh(
            made_from(whole.refresh, secret) | {"an access token": whole.access} | blocked[1]
        )
    )


def forged_singles(secret: str, whole: Single) -> Forge:
    """Return attacks with tokens like that of `whole`."""
    others = {
        f"one for {audience or 'nobody'}": jwt.encode(
            {**claims_of(whole.access), "aud": audience}, secret
        )
        for audience in ("fastapi-users:reset", "fastapi-users:verify", "")
    }
    return forging(
        as_access(made_from(whole.access, secret) | others)
        | as_refresh({"an access token": whole.access})
    )
