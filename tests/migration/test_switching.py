"""Under load, the server of a former application is replaced by ours: nobody is logged out."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from pathlib import Path
from time import time
from typing import Any

import jwt
import pytest

from jwt_middleware import KeySet

from .pages import write_shop
from .switching import Asks, Client, Servers, Story, served, switch

USERS = 32
GUNICORN = ("gunicorn", "--bind=127.0.0.1:{port}", "--workers=2", "--threads=4", "{module}:app")
UVICORN = ("uvicorn", "--port={port}", "--log-level=warning", "{module}:app")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def form(token: str) -> dict[str, str]:
    return {"grant_type": "refresh_token", "refresh_token": token}


class Pair:
    """A client with an access and a refresh token, which refreshes by a Bearer header.

    One that adopts keeps a new refresh token, if an answer brings one. One that doesn't was written
    for the former application, whose answers have none.
    """

    def __init__(self, number: int) -> None:
        self.name, self._password = f"user{number}", f"password{number}"
        self.adopts = number % 2 == 0
        self._turn = number
        self.access = self.refresh = ""

    def log_in(self, asks: Asks) -> None:
        found = asks("POST", "/login", json={"name": self.name, "password": self._password}).json()
        self.access, self.refresh = found["access_token"], found["refresh_token"]

    def me(self, asks: Asks) -> str | None:
        self._turn += 1
        if self._turn % 3 == 0 and not self._refreshes(asks):
            return None
        answer = asks("GET", "/api/me", headers=bearer(self.access))
        if answer.status_code == 401 and self._refreshes(asks):  # what every client does
            answer = asks("GET", "/api/me", headers=bearer(self.access))
        return answer.json()["name"] if answer.status_code == 200 else None

    def _refreshes(self, asks: Asks) -> bool:
        answer = asks("POST", "/refresh", headers=bearer(self.refresh))
        if answer.status_code != 200:
            return False
        found = answer.json()
        self.access = found["access_token"]
        if self.adopts:
            self.refresh = found.get("refresh_token", self.refresh)
        return True


def claims_of(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


def made_from(token: str, secret: str) -> Mapping[str, str]:
    """Return tokens like this one that nobody may accept."""
    claims = claims_of(token)
    signed = token.rpartition(".")[0]
    return {
        "of another secret": jwt.encode(claims, secrets.token_urlsafe(32)),
        "with alg none": jwt.encode(claims, None, algorithm="none"),
        "without a signature": f"{signed}.",
        "expired": jwt.encode(claims | {"exp": int(time()) - 60}, secret),
        "of another subject": f"{signed.replace('.', '.x', 1)}.{token.rpartition('.')[2]}",
    }


def attacks(secret: str, access: str, refresh: str, blocked: tuple[str, str]) -> Any:
    """Return what sends every forged token to every place where it might be taken."""
    as_access = {f"an access token {how}": one for how, one in made_from(access, secret).items()}
    as_refresh = {f"a refresh token {how}": one for how, one in made_from(refresh, secret).items()}
    as_access |= {"a refresh token as access": refresh, "a blocked access token": blocked[0]}
    as_refresh |= {"an access token as refresh": access, "a blocked refresh token": blocked[1]}

    def forge(asks: Asks) -> tuple[int, list[str]]:
        answers = {
            **{how: asks("GET", "/api/me", headers=bearer(one)) for how, one in as_access.items()},
            **{how: asks("POST", "/refresh", headers=bearer(one)) for how, one in as_refresh.items()},
            **{
                f"{how}, as a form": asks("POST", "/auth/refresh", data=form(one))
                for how, one in as_refresh.items()
            },
        }
        return len(answers), [how for how, answer in answers.items() if answer.status_code < 400]

    return forge


def grants(folder: Path) -> dict[str, int]:
    """Return how many grants each subject has."""
    with closing(sqlite3.connect(folder / "grants.db")) as database:
        return dict(database.execute("SELECT subject, count(*) FROM grants GROUP BY subject"))


def switched(folder: Path, command: tuple[str, ...], log_out: Callable[[Asks, Pair], None]) -> Story:
    """Play the story of an application with access and refresh tokens, and return it."""
    from .switching import asking

    secret = secrets.token_urlsafe(32)
    KeySet.generate().save(folder / "keys.json")
    clients = [Pair(number) for number in range(USERS)]
    with served(folder, command, "before", JWT_SECRET_KEY=secret) as servers:
        gone, whose = Pair(USERS), Pair(USERS + 1)
        with asking(servers.url) as asks:
            gone.log_in(asks)
            whose.log_in(asks)
            log_out(asks, gone)
        forge = attacks(secret, whose.access, whose.refresh, (gone.access, gone.refresh))
        return switch(servers, clients, forge)


def test_flask_jwt_extended(tmp_path: Path) -> None:
    page = "from-flask-jwt-extended.md"
    write_shop(page, tmp_path, users=USERS + 2, before="before", after="after")

    def log_out(asks: Asks, one: Pair) -> None:
        for token in (one.access, one.refresh):
            assert asks("DELETE", "/logout", headers=bearer(token)).status_code == 200

    story = switched(tmp_path, GUNICORN, log_out)
    assert (story.logged_out, story.accepted) == ([], [])
    assert set(grants(tmp_path).values()) == {1}
