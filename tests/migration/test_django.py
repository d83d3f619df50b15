"""Under load, Django projects are replaced by ours: nobody is logged out."""

from __future__ import annotations

import secrets
import sqlite3
from contextlib import closing
from pathlib import Path

import jwt
import pytest

from tests.waiting import until

from .browsers import Browser, Reader
from .clients import Ask, Pair, as_access, bearer, forging, form, made_from
from .projects import GUNICORN, build, checked
from .switching import Asks, asking, served, switch

USERS = 32


class Phone(Pair):
    """A client of simplejwt."""

    def __init__(self, number: int, *, adopts: bool) -> None:
        super().__init__(number)
        self._adopts = adopts
        self.refused: list[str] = []

    def log_in(self, asks: Asks) -> None:
        user = {"username": self.name, "password": self._password}
        found = asks("POST", "/api/token/", json=user).json()
        self.access, self.refresh = found["access"], found["refresh"]

    def log_out(self, asks: Asks) -> None:
        answer = asks("POST", "/api/token/blacklist/", json={"refresh": self.refresh})
        assert answer.status_code == 200

    def _refreshes(self, asks: Asks) -> bool:
        answer = asks("POST", "/api/token/refresh/", json={"refresh": self.refresh})
        if answer.status_code != 200:
            self.refused.append(f"{answer.status_code} {answer.text[:300]}")
        return self._keeps(answer, more="")


def as_refresh(tokens: dict[str, str]) -> dict[str, Ask]:
    """Return requests that bring these tokens as refresh tokens, in every way that there is."""

    def in_json(token: str) -> Ask:
        return lambda asks: asks("POST", "/api/token/refresh/", json={"refresh": token})

    def in_form(token: str) -> Ask:
        return lambda asks: asks("POST", "/auth/refresh", data=form(token))

    def in_header(token: str) -> Ask:
        return lambda asks: asks("POST", "/api/token/refresh/", headers=bearer(token))

    ways = {"JSON": in_json, "a form": in_form, "a header": in_header}
    return {
        f"refresh, in {way}: {how}": asked(token)
        for how, token in tokens.items()
        for way, asked in ways.items()
    }


# What a project without rotation and without the blacklist doesn't have.
PLAIN = {
    r', "rest_framework_simplejwt.token_blacklist"': "",
    r'    "(ROTATE_REFRESH_TOKENS|BLACKLIST_AFTER_ROTATION)": True,\n': "",
    r"    TokenBlacklistView,\n": "",
    r"    path\(.api/token/blacklist/., TokenBlacklistView.*\n": "",
    r"            is_blocked=tokens.is_blocked,\n": "",
}


@pytest.mark.parametrize("rotates", [False, True], ids=["plain", "rotated and blacklisted"])
def test_simplejwt(tmp_path: Path, *, rotates: bool) -> None:
    secret = secrets.token_urlsafe(48)
    build(
        "from-simplejwt.md",
        tmp_path,
        users=USERS + 2,
        without=None if rotates else PLAIN,
        JWT_SIGNING_KEY=secret,
    )
    # With the blacklist an old token is over once it was exchanged: all clients keep the new one.
    clients = [Phone(n, adopts=rotates or n % 2 == 0) for n in range(USERS)]
    whole, gone = Phone(USERS, adopts=False), Phone(USERS + 1, adopts=False)
    with served(tmp_path, GUNICORN, "before", JWT_SIGNING_KEY=secret) as servers:
        with asking(servers.url) as asks:
            whole.log_in(asks)
            gone.log_in(asks)
            if rotates:
                gone.log_out(asks)
        opened = made_from(whole.access, secret) | {"a refresh token": whole.refresh}
        bought = made_from(whole.refresh, secret) | {"an access token": whole.access}
        if rotates:
            bought["a blacklisted token"] = gone.refresh
        story = switch(servers, clients, forging(as_access(opened) | as_refresh(bought)))
        with asking(servers.url) as asks:  # a log-out at the old path, by an old token and by ours
            for one in (whole, clients[0]):
                assert one._refreshes(asks)
                one.log_out(asks)
                assert not one._refreshes(asks)
    assert (story.logged_out, story.accepted) == ([], []), [one.refused for one in clients]
    assert story.forged
    assert rows(tmp_path) == (USERS + 1, USERS + 1)


def test_sessions(tmp_path: Path) -> None:
    build("from-django-sessions.md", tmp_path, users=USERS + 1)
    with served(tmp_path, GUNICORN, "before") as servers:

        def browser() -> Browser:
            return Browser(servers.port, ISSUER)

        readers = [Reader(n, browser()) for n in range(USERS)]
        gone = Reader(USERS, browser())
        with asking(servers.url) as asks:
            gone.log_in(asks)
        session = gone.browser.cookies["sessionid"]
        gone.log_out()
        stolen = [
            {"sessionid": session},
            {"sessionid": secrets.token_hex(16)},
            {},
            *forged_cookies(),
        ]

        def forge(_: Asks) -> tuple[int, list[str]]:
            accepted = []
            for cookies in stolen:
                thief = browser()
                thief.cookies |= cookies
                answer = thief.get("/notes/")
                accepted += [str(cookies)] if answer.text.startswith("Notes of") else []
            return len(stolen), accepted

        story = switch(servers, readers, forge)
        after = readers[0]
        old = dict(after.browser.cookies)
        after.log_out()
        with asking(servers.url) as asks:
            assert after.me(asks) != after.name
            after.browser.cookies |= old  # a copy of all that it had, the old session among it
            until(lambda: after.me(asks) != after.name)  # the other worker learns of it in 2 s
    assert (story.logged_out, story.accepted) == ([], [])
    assert rows(tmp_path) == (USERS, USERS)


ISSUER = "https://shop.example.com"


def forged_cookies() -> list[dict[str, str]]:
    """Return tokens in cookies of ours, by a key that isn't the shop's."""
    key = secrets.token_bytes(32)
    claims = {"iss": ISSUER, "aud": f"{ISSUER}/pages", "sub": "1", "exp": 2**33, "iat": 0}
    claims |= {"jti": "j", "client_id": "first-party", "sid": "AAAAAAAAAAAAAAAAAAAAAA"}
    return [
        {f"__Host-{kind}_token-AAAAAAAA": jwt.encode(claims, key, headers={"typ": typ})}
        for kind, typ in (("access", "at+jwt"), ("refresh", "rt+jwt"))
    ]


def rows(folder: Path) -> tuple[int, int]:
    """Return how many grants there are, and of how many users."""
    with closing(sqlite3.connect(folder / "after" / "grants.db")) as database:
        found = database.execute("SELECT count(*), count(DISTINCT subject) FROM grants").fetchone()
    return found[0], found[1]


def test_the_command_reads_the_project_of_the_page(tmp_path: Path) -> None:
    secret = secrets.token_urlsafe(48)
    build("from-simplejwt.md", tmp_path, users=0, JWT_SIGNING_KEY=secret)
    done = checked(tmp_path, JWT_SIGNING_KEY=secret)
    assert done.returncode == 1, done.stderr
    assert secret not in done.stdout
    for line in (
        "library=migrations.SIMPLEJWT,",
        'path="/api/token/refresh/",',
        'Route("/api/token/", public=True, own_origin=True),',
        "is_blocked=is_blocked,",
    ):
        assert line in done.stdout
