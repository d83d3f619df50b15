"""Under load, the server of a former application is replaced by ours: nobody is logged out."""

from __future__ import annotations

import runpy
import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from jwt_middleware import KeySet

from .clients import Pair, Single, as_refresh, forged_pairs, forged_singles, forging
from .pages import named_blocks, write_shop
from .switching import Story, asking, served, switch

USERS = 32
GUNICORN = ("gunicorn", "--bind=127.0.0.1:{port}", "--workers=2", "--threads=4", "{module}:app")
UVICORN = ("uvicorn", "--port={port}", "--log-level=warning", "{module}:app")

_NAMES = f'USERS.update({{f"user{{n}}": f"password{{n}}" for n in range({USERS + 3})}})\n'
# As slow as a password's hash should be, it is all that the test would wait for.
_QUICK = """
from fastapi_users.password import PasswordHelper
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

_quick = PasswordHelper(PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),)))
UserManager.__init__ = lambda self, users: BaseUserManager.__init__(self, users, _quick)
"""


@pytest.fixture
def secret() -> str:
    return secrets.token_urlsafe(32)


def grants(folder: Path) -> list[int]:
    """Return for each subject how many living grants it has."""
    living = "SELECT count(*) FROM grants WHERE ended_at IS NULL GROUP BY subject"
    with closing(sqlite3.connect(folder / "grants.db")) as database:
        found = database.execute(living).fetchall()
    return [count for (count,) in found]


def switched(
    folder: Path, command: tuple[str, ...], secret: str, also: Callable[[], object] = int
) -> Story:
    """Let users of an application with access and refresh tokens live through the switch."""
    KeySet.generate().save(folder / "keys.json")
    clients = [Pair(number) for number in range(USERS)]
    whole, gone, leaving = (Pair(USERS + number) for number in range(3))
    with served(folder, command, "before", JWT_SECRET_KEY=secret) as servers:
        with asking(servers.url) as asks:
            for one in (whole, gone, leaving):
                one.log_in(asks)
            gone.log_out(asks)
        story = switch(servers, clients, forged_pairs(secret, whole, gone), also)
        with asking(servers.url) as asks:
            leaving.log_out(asks)  # as it always did, and for good
            story.accepted += forging(as_refresh({"a left one": leaving.refresh}))(asks)[1]
    return story


def test_flask_jwt_extended(tmp_path: Path, secret: str) -> None:
    write_shop("from-flask-jwt-extended.md", tmp_path, _NAMES)
    story = switched(tmp_path, GUNICORN, secret)
    assert (story.logged_out, story.accepted) == ([], [])
    assert grants(tmp_path) == [1] * USERS


def test_authx(tmp_path: Path, secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = "from-authx.md"
    write_shop(page, tmp_path, _NAMES)
    script = tmp_path / "move_blocklist.py"
    script.write_text(named_blocks(page)[script.name], "utf-8")
    monkeypatch.chdir(tmp_path)
    story = switched(tmp_path, UVICORN, secret, lambda: runpy.run_path(str(script)))
    assert (story.logged_out, story.accepted) == ([], [])
    assert grants(tmp_path) == [1] * USERS


def test_fastapi_users(tmp_path: Path, secret: str) -> None:
    write_shop("from-fastapi-users.md", tmp_path, _QUICK)
    KeySet.generate().save(tmp_path / "keys.json")
    clients = [Single(number) for number in range(USERS)]
    whole = Single(USERS)
    with served(tmp_path, UVICORN, "before", SECRET=secret) as servers:
        with asking(servers.url) as asks:
            whole.log_in(asks)
        story = switch(servers, clients, forged_singles(secret, whole))
    assert (story.logged_out, story.accepted) == ([], [])
    assert grants(tmp_path) == [1] * (USERS // 2)  # those that have a new version


def test_a_switch_without_their_tokens_is_noticed(tmp_path: Path, secret: str) -> None:
    write_shop("from-flask-jwt-extended.md", tmp_path, _NAMES)
    after = tmp_path / "after.py"
    code = after.read_text("utf-8").replace('path="/refresh",', 'path="/elsewhere",')
    after.write_text(code.replace("is_blocked=is_blocked,", ""), "utf-8")
    story = switched(tmp_path, GUNICORN, secret)
    assert story.logged_out
    assert "access: a blocked one" in story.accepted
