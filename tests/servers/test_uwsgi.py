"""uWSGI itself: it makes the application in its master, and forks workers without hooks.

`make uwsgi` compiles it, in an environment of its own; `make long` does that first.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from jwt_middleware import KeySet
from tests.processes import HOST, ROOT, free_port
from tests.waiting import PATIENCE

pytestmark = pytest.mark.long

UWSGI = ROOT / ".venv-uwsgi" / "bin" / "uwsgi"
ROUNDS = 60
KINDS = {
    "as it comes": (),
    "with threads": ("--enable-threads", "--threads=4"),
    "with its hooks": ("--py-call-uwsgi-fork-hooks",),
    "made in each worker": ("--lazy-apps",),
}


@contextmanager
def serving(folder: Path, store: str, *options: str) -> Generator[int]:
    """Give the port of a master with two workers."""
    assert UWSGI.exists(), "make uwsgi"
    keys, port, log = folder / "keys.json", free_port(), folder / "uwsgi.log"
    KeySet.generate().save(keys)
    command = [str(UWSGI), "--master", "--processes=2", "--need-app", "--die-on-term", *options]
    command += [f"--http-socket={HOST}:{port}", "--module=tests.servers.login_app:app"]
    command += [f"--virtualenv={sys.prefix}", f"--pythonpath={ROOT}"]
    variables = {"TEST_KEYS": str(keys), "TEST_STORE": store}
    with log.open("wb") as said:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | variables,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while b"spawned uWSGI worker 2" not in log.read_bytes():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
        sys.stdout.write(log.read_text())


def asked(
    port: int, method: str, path: str, token: str = "", form: Mapping[str, str] | None = None
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if form is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    connection.request(method, path, urlencode(form) if form is not None else None, headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, json.loads(body) if body else None


def one_round(port: int) -> tuple[list[int], set[int]]:
    """Log in, refresh, call and log out, whichever worker takes each; return what was answered."""
    status, login = asked(port, "GET", "/login")
    if status != 200:
        return [status], set()
    form = {"grant_type": "refresh_token", "refresh_token": login["refresh_token"]}
    refreshed, fresh = asked(port, "POST", "/auth/refresh", form=form)
    if refreshed != 200:
        return [status, refreshed], set()
    called, hello = asked(port, "GET", "/", fresh["access_token"])
    out, _ = asked(port, "POST", "/auth/revoke", form={"token": fresh["refresh_token"]})
    return [status, refreshed, called, out], {login["worker"], hello["worker"]}


def check_all_rounds(port: int) -> None:
    with ThreadPoolExecutor(8) as threads:
        rounds = list(threads.map(lambda _: one_round(port), range(ROUNDS)))
    assert [answers for answers, _ in rounds] == [[200, 200, 200, 200]] * ROUNDS
    assert len(set[int]().union(*(workers for _, workers in rounds))) == 2, "both workers"


@pytest.mark.parametrize("kind", KINDS)
def test_its_workers_use_one_sqlite_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "grants.db"
    with serving(tmp_path, f"sqlite:///{path}", *KINDS[kind]) as port:
        check_all_rounds(port)
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert db.execute("SELECT count(*) FROM grants WHERE ended_at > 0").fetchone() == (ROUNDS,)
    db.close()


@pytest.mark.parametrize("kind", KINDS)
def test_its_workers_have_connections_of_their_own_to_postgresql(
    tmp_path: Path, postgres_url: str, schema: str, kind: str
) -> None:
    with serving(tmp_path, f"{postgres_url}?schema={schema}", *KINDS[kind]) as port:
        check_all_rounds(port)


def test_a_worker_that_is_killed_has_a_successor(tmp_path: Path) -> None:
    path = tmp_path / "grants.db"
    with serving(tmp_path, f"sqlite:///{path}") as port:
        check_all_rounds(port)
        _, login = asked(port, "GET", "/login")
        os.kill(login["worker"], signal.SIGKILL)
        # The other serves; the master forks another, in which nothing is open either.
        check_all_rounds(port)
