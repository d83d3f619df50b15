"""Where a guide moves an old token or cookie, what was signed names the login, and not its text.

A signature can be spelled in several ways, and so can the scheme before it. Each spelling would
lead to another login: a log-out could be undone, and a thief with a copy wouldn't be found.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fastapi.testclient import TestClient
from werkzeug.test import Client

from jwt_middleware import Issuer, KeySet

from .clients import bearer
from .pages import BLOCKS, load_module, text_of

Given = list[str | None]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Given:
    """Give what the guide's application passes as `once`."""
    found: Given = []

    def seen(issue: Callable[..., Any]) -> Callable[..., Any]:
        def issuing(self: Issuer, subject: str, **options: Any) -> Any:
            found.append(options.get("once"))
            return issue(self, subject, **options)

        return issuing

    for name in ("issue", "aissue"):
        monkeypatch.setattr(Issuer, name, seen(getattr(Issuer, name)))
    return found


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Run the blocks of a guide up to its end, which other ways follow; return their names."""
    monkeypatch.chdir(tmp_path)

    def names_of(page: str) -> dict[str, Any]:
        module = ModuleType("guide")
        monkeypatch.setitem(sys.modules, "guide", module)  # annotations are looked up there
        for code in BLOCKS.findall(text_of(page).partition("\n## The end")[0]):
            exec(code, module.__dict__)
        return module.__dict__

    return names_of


def test_pyjwt(read: Callable[[str], dict[str, Any]], given: Given) -> None:
    page = read("from-pyjwt.md")
    assert given == [page["tutorial"].rpartition(".")[0]]


def test_auth0(read: Callable[[str], dict[str, Any]], given: Given) -> None:
    page = read("from-auth0-cognito.md")
    assert {*given} == {page["old"].rpartition(".")[0]}


def test_fastapi_users(read: Callable[[str], dict[str, Any]], given: Given) -> None:
    page = read("from-fastapi-users.md")
    assert {*given} == {page["old"].rpartition(".")[0]}


def test_a_scheme_in_other_letters_undoes_no_log_out(
    read: Callable[[str], dict[str, Any]],
) -> None:
    page = read("from-fastapi-users.md")
    with TestClient(page["app"]) as client:
        old = {"Authorization": f"bearer {page['old']}"}  # RFC 9110 s11.1: in any case
        tokens = client.post("/api/move", headers=old).json()
        revoked = client.post("/auth/revoke", data={"token": tokens["refresh_token"]})
        assert revoked.status_code == 200
        for headers in (old, bearer(page["old"])):
            assert client.post("/api/move", headers=headers).status_code == 401


def test_flask_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Given) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET_KEY", secrets.token_urlsafe(32))
    KeySet.generate().save(tmp_path / "keys.json")
    before, after = (
        load_module("from-flask-login.md", part, tmp_path, monkeypatch)
        for part in ("before", "after")
    )
    form = {"name": "alice", "password": "wonderland"}
    session = Client(before.app).post("/login", data=form).headers["Set-Cookie"].partition(";")[0]
    answer = Client(after.app, use_cookies=False).get(
        "/login", base_url="https://shop.example", headers={"Cookie": session}
    )
    assert answer.status_code == 303
    assert given == [session.removeprefix("session=").rpartition(".")[0]]
