"""Forks that run no hook of Python's, as uWSGI's: workers share nothing that was opened before."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from jwt_middleware.stores.sqlite import connections
from jwt_middleware.values import forks
from tests.processes import Process

GOOD = [200, 1401]  # as `Service.use` says it


class Program(Process):
    module = "tests.stores.silent_forks"


def all_said(program: str, *args: object) -> list[Any]:
    """Return all that a program and its children say until they have ended."""
    said = []
    with Program(program, *args) as process:
        while (one := process.hear()) is not None:
            said.append(one)
        assert process.wait() == 0
    return said


def integrity(path: Path) -> list[tuple[str]]:
    db = sqlite3.connect(path)
    try:
        return db.execute("PRAGMA integrity_check").fetchall()
    finally:
        db.close()


def test_workers_and_their_parent_use_one_sqlite_file(tmp_path: Path) -> None:
    path = tmp_path / "grants.db"
    *said, ends = all_said("serve", f"sqlite:///{path}")
    assert sorted(said, key=str) == sorted([GOOD, GOOD, GOOD, 8], key=str)
    assert ends == [0, 0, 0]
    assert integrity(path) == [("ok",)]


def test_workers_have_connections_of_their_own_to_postgresql(
    postgres_url: str, schema: str
) -> None:
    *said, ends = all_said("serve", f"{postgres_url}?schema={schema}")
    assert sorted(said, key=str) == sorted([GOOD, GOOD, GOOD, 8], key=str)
    assert ends == [0, 0, 0]


def test_a_worker_that_finds_the_file_open_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "grants.db"
    refused, parent = all_said("fork_while_open", f"sqlite:///{path}")
    assert len(refused) == 2
    assert all("make the application in each worker" in one for one in refused)
    assert parent == GOOD
    assert integrity(path) == [("ok",)]


def test_a_worker_closes_nothing_of_its_parents(tmp_path: Path) -> None:
    path = tmp_path / "grants.db"
    assert all_said("drop_in_child", f"sqlite:///{path}") == [GOOD]
    assert integrity(path) == [("ok",)]


def test_a_line_that_another_process_opened_is_kept_and_not_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As the child sees it; the test that really forks is the one above.
    inherited: list[Any] = []
    monkeypatch.setattr(connections, "_inherited_connections", inherited)
    line = connections.SharedConnection(tmp_path / "x.db", 1.0, lambda _: None)
    (tmp_path / "x.db").touch()
    with line.taken() as (db, _):
        db.execute("SELECT 1")
    line.__del__(lambda: -1)
    assert inherited == [db]
    line.close()
    db.close()


def test_threads_that_come_at_once_find_all_begun_anew() -> None:
    assert all_said("begin_at_once") == [True, []]


def test_what_has_begun_does_not_begin_again(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    monkeypatch.setattr(forks, "_beginnings", [lambda: begun.append("once")])
    monkeypatch.setattr(forks, "_pid", -1)
    forks.notice()
    forks.notice()
    forks._begin_in_child()  # a thread that had to wait for the one that began
    assert begun == ["once"]
