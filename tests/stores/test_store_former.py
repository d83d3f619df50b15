"""A process of the former version goes on beside one of this, on one store, and no end is missed.

The former version is the package as it was in a commit of this repository, in a process of its own.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from jwt_middleware.stores import Store
from jwt_middleware.stores.opening import open_store
from jwt_middleware.values.tokens import FrozenDict, Grant
from tests.engines import postgres as engine
from tests.engines import redis as redis_engines
from tests.processes import ROOT, Process
from tests.stores import RETENTION, new_grant

park = redis_engines.park
COMMIT = "52a4c44"  # the last one whose rows had no last use
PROGRAM = Path(__file__).parent.parent / "stores" / "former.py"
FORMER_FIELDS = tuple(Grant.__dataclass_fields__)[:13]


@pytest.fixture(scope="session")
def former_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the package as it was. A skip is a failure in CI: see conftest.py."""
    command = ["git", "-C", str(ROOT), "archive", COMMIT, "jwt_middleware"]
    try:
        archive = subprocess.run(command, check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"no history with {COMMIT}: a clone that isn't shallow has it")
    folder = tmp_path_factory.mktemp("former")
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder


def former_sql(package: Path, call: str) -> str:
    """Return SQL that the former version prints."""
    program = f"from jwt_middleware.stores.postgres_sql import *; print({call})"
    # `-c` finds the package of its folder first.
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, cwd=package, check=True, capture_output=True, text=True)
    return found.stdout


class Former(Process):
    """A process of the former version that holds a store."""

    def __init__(self, package: Path, url: str, retention: float = RETENTION) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", str(PROGRAM), url, str(retention)],
            env=os.environ | {"PYTHONPATH": str(package)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert str(self.hear()).startswith(str(package)), "it is the former one"

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            self.tell([verb, *args])
            answer = self.hear()
            assert self._process.poll() is None
            return answer

        return call

    def begin(self, grant: Grant, limit: int = 100) -> Any:
        return self.add(shown(grant), limit)


def shown(grant: Grant) -> dict[str, Any]:
    """Return what the former version knows of a grant, as JSON has it."""
    fields = {name: getattr(grant, name) for name in FORMER_FIELDS}
    return fields | {"claims": dict(grant.claims)}


def same(found: Any, grant: Grant) -> bool:
    """Compare a row with what the former version says; an engine may keep milliseconds only."""
    expected = shown(grant)
    return all(
        abs(one - found[name]) < 0.002 if isinstance(one, float) else one == found[name]
        for name, one in expected.items()
    )


def row(store: Store, grant: Grant) -> Grant:
    found = store.advance(grant.id, 0, 0, None).grant
    assert found is not None
    return found


def odd(**changes: Any) -> Grant:
    """Return a grant with all that the former version doesn't know."""
    extras = {"label": "Zoë's phone", "idle_limit": 5400.5, "is_session": True}
    return new_grant(time.time(), **(extras | changes))


def beside(start: Callable[[], Former], opened: Callable[[], Any]) -> list[str]:
    """Let both work on one store that the former version has made; return the ids that ended.

    The former one is open before the new one brings the store up to date, while it does, and after.
    """
    claims = FrozenDict(roles="editor")
    early, first, second = (new_grant(time.time(), claims=claims) for _ in range(3))
    with start() as former:
        for grant in (early, first, second):
            former.begin(grant)
        assert former.end(early.id, "logout")
        store = opened()
        store.check()
        assert same(shown(row(store, first)), first), "what the former wrote is read"
        ended, cursor = store.ended(None, RETENTION)[:2]
        assert early.id in ended

        # The former goes on, on connections that it had: each of its verbs.
        assert former.advance(first.id, 1, 2, "parent")[0]
        assert row(store, first).generation == 2
        assert former.end(first.id, "logout")
        assert first.id in store.ended(cursor, RETENTION).grant_ids
        third, fourth = (new_grant(time.time() + n, subject="bob") for n in range(2))
        former.begin(third, 1)
        assert former.begin(fourth, 1) == [third.id]
        assert former.end_subject("bob", "disabled") == [fourth.id]
        assert former.admit("key", time.time() + 60)
        assert former.purge(time.time()) == 0
        assert {third.id, fourth.id} <= set(store.ended(cursor, RETENTION).grant_ids)

        # It opens anew, and another one starts, on what is up to date now.
        former.close()
        former.check()
        expected = {one.id for one in (early, first, second, third, fourth)}
        for one in range(3):
            bound = odd(bound_key="key" if one == 1 else None)
            expected.add(bound.id)
            store.add(bound, 100)
            store.use(bound.id)
            extras = row(store, bound)
            assert extras.last_used_at is not None
            with start() if one == 2 else nullcontext(former) as again:
                found = again.advance(bound.id, 1, 2, "parent")
                assert found[0]
                rotated = row(store, bound)
                assert same(found[1], rotated)
                assert any(same(one, rotated) for one in again.grants("alice"))
                assert rotated == replace(
                    extras, generation=2, parent="parent", rotated_at=rotated.rotated_at
                )
                assert again.end(bound.id, "logout")
            after = row(store, bound)
            assert after == replace(rotated, ended_at=after.ended_at, end_reason="logout")
            store.use(bound.id)
            assert row(store, bound) == after
            assert bound.id in former.ended(None)[0]
        assert store.end(second.id, "logout")
        assert second.id in former.ended(None)[0], "each hears of the other's"
        ids = store.ended(None, RETENTION).grant_ids
        assert set(ids) == set(former.ended(None)[0])
        store.close()
        former.close()
    assert expected <= set(ids)
    return list(ids)


class InALoop:
    """An awaited store, called as one that waits."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._loop = asyncio.new_event_loop()

    def __getattr__(self, verb: str) -> Any:
        call = getattr(self._store, verb)
        return lambda *args: self._loop.run_until_complete(call(*args))

    def close(self) -> None:
        self._loop.run_until_complete(self._store.aclose())
        self._loop.close()


# --- SQLite


def ask(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as db:
        found = db.execute(sql).fetchall()
        db.commit()
    return found


def test_sqlite_of_the_former_version_goes_on(former_package: Path, tmp_path: Path) -> None:
    path = tmp_path / "grants.db"
    url = f"sqlite:///{path}?synchronous=NORMAL"
    ids = beside(
        lambda: Former(former_package, url),
        lambda: open_store(url, clock=time.time, retention=RETENTION).plain,
    )
    numbers = ask(path, "SELECT number, id, ended_at FROM ends ORDER BY number")
    assert [number for number, _, _ in numbers] == list(range(1, len(ids) + 1))
    assert sorted(one for _, one, _ in numbers) == sorted(ids)
    ends = ask(path, "SELECT id, ended_at FROM grants WHERE ended_at IS NOT NULL")
    assert dict(ends) == {one: ended_at for _, one, ended_at in numbers}
    assert ask(path, "PRAGMA user_version") == [(1,)]


# --- PostgreSQL


def as_url(url: str, **options: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(options)}"


def numbered(url: str, schema: str) -> set[str]:
    """Return the ids of the ends that were kept, each once, with the time of its grant."""
    found = engine.ask(
        url,
        f"SELECT array_agg(id) FROM {schema}.ends JOIN {schema}.grants USING (id, ended_at)",
    )
    assert len(set(found)) == len(found)
    return set(found)


@pytest.mark.parametrize("kind", ["plain", "awaited"])
def test_postgresql_of_the_former_version_goes_on(
    former_package: Path, postgres_url: str, schema: str, kind: str
) -> None:
    url = as_url(postgres_url, schema=schema)

    def opened() -> Any:
        stores = open_store(url, clock=time.time, retention=RETENTION)
        return stores.plain if kind == "plain" else InALoop(stores.awaited)

    ids = beside(lambda: Former(former_package, url), opened)
    assert numbered(postgres_url, schema) == set(ids)
    assert engine.ask(postgres_url, f"SELECT number FROM {schema}.version") == 2


def test_postgresql_of_the_former_version_knows_the_mark(
    former_package: Path, postgres_url: str, schema: str
) -> None:
    url = as_url(postgres_url, schema=schema)
    with Former(former_package, url) as former, engine.postgres(postgres_url, schema=schema) as new:
        before, after = (new_grant(time.time() - 600) for _ in range(2))
        former.begin(before)
        new.check()
        mark = new.end_before(None)
        assert mark is not None
        assert not former.advance(before.id, 1, 2, "parent")[0], "checked by the function it calls"
        assert former.begin(after, 1) == [], "that is stamped there, and counts none under the mark"
        assert former.advance(after.id, 1, 2, "parent")[0]
        assert row(new, after).created_at >= mark.before
        assert former.end_subject("alice", "logout") == [after.id]
        former.close()


def test_a_role_with_the_rights_of_the_former_version_goes_on_with_it(
    former_package: Path, postgres_url: str, schema: str
) -> None:
    role = f"role_{schema}"
    engine.ask(postgres_url, former_sql(former_package, f"schema_sql({schema!r})"))
    engine.ask(postgres_url, f"CREATE ROLE {role} LOGIN PASSWORD '{role}'")
    engine.ask(postgres_url, former_sql(former_package, f"rights_sql({role!r}, {schema!r})"))
    where = urlsplit(postgres_url)
    host = where.netloc.rpartition("@")[2]
    url = as_url(where._replace(netloc=f"{role}:{role}@{host}").geturl(), schema=schema)
    try:
        with Former(former_package, url) as former:
            before, after, over = (new_grant(time.time()) for _ in range(3))
            for one in (before, after):
                former.begin(one)
            former.end(before.id, "logout")
            with engine.postgres(postgres_url, schema=schema) as store:
                store.check()
                store.use(after.id)
                store.add(odd(id=over.id, expires_at=time.time() - RETENTION), 100)
            former.end(after.id, "logout")
            assert former.purge(time.time()) == 1, "and what is beside it"
            former.close()
            former.check()
            former.begin(new_grant(time.time(), id="last"))
            former.end_subject("alice", "logout")
            assert numbered(postgres_url, schema) == {before.id, after.id, "last"}
            extras = f"SELECT array_agg(id) FROM {schema}.grants_more"
            assert engine.ask(postgres_url, extras) == [after.id]
        with Former(former_package, url) as former:
            assert set(former.ended(None)[0]) == {before.id, after.id, "last"}
    finally:
        engine.ask(postgres_url, f"DROP OWNED BY {role}")
        engine.ask(postgres_url, f"DROP ROLE {role}")


# --- Redis and Valkey


@pytest.mark.parametrize("kind", ["plain", "awaited"])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(one, marks=pytest.mark.xdist_group(f"single-{one}"))
        for one in redis_engines.ENGINES
    ],
)
def test_redis_of_the_former_version_goes_on(
    former_package: Path, park: redis_engines.Park, name: str, kind: str
) -> None:
    server = park("own", name)
    url = f"{server.url}?timeout=5"

    def opened() -> Any:
        stores = open_store(url, clock=time.time, retention=RETENTION)
        return stores.plain if kind == "plain" else InALoop(stores.awaited)

    beside(lambda: Former(former_package, url), opened)
    rows, extras = (server.do("KEYS", f"{{jwt?:}}{letter}*") for letter in "gm")
    extras = [one for one in extras if server.do("PTTL", one) > 10_000]  # not of a check at a start
    assert len(extras) == 3
    for one in extras:
        its_row = one.replace("}m", "}g")
        assert its_row in rows
        assert abs(server.do("PTTL", one) - server.do("PTTL", its_row)) < 100, "one end for both"
