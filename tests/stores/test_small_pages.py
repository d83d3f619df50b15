"""The feed of ended grants in pages of two or three ids: the cases of the contract follow them all.

No case makes 10,000 ends, so here the stores' pages are small, and those of memory and the journal
purge one row of each kind at a time.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from examples import own_store
from jwt_middleware.stores import memory
from jwt_middleware.stores.postgres import PostgresStore, sql
from jwt_middleware.stores.redis import feed
from jwt_middleware.stores.sqlite import SQLiteStore, ends_feed
from jwt_middleware.testing.store_contract import CASES, Case
from tests.engines import redis as engines
from tests.stores.test_own_store import opened

park = engines.park

each_case = pytest.mark.parametrize(
    "case", [case for case in CASES if "end" in str(case) or "purge" in str(case)], ids=str
)


@each_case
def test_memory(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "PAGE", 2)
    monkeypatch.setattr(memory, "PURGE_AT_MOST", 1)
    case.run(lambda clock, retention: memory.MemoryStore(clock=clock, retention=retention))


@each_case
def test_the_example(case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(own_store, "PAGE", 2)
    monkeypatch.setattr(own_store, "BITE", 1)
    case.run(lambda clock, retention: opened(tmp_path / "grants", clock, retention))


@each_case
def test_sqlite(case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ends_feed, "PAGE", 2)
    url = f"sqlite:///{tmp_path}/grants.db?synchronous=NORMAL"
    case.run(lambda clock, retention: SQLiteStore.from_url(url, clock=clock, retention=retention))


@each_case
def test_postgres(
    case: Case, monkeypatch: pytest.MonkeyPatch, postgres_url: str, schema: str
) -> None:
    monkeypatch.setitem(sql._SHORTHANDS, "<size>", "2")
    case.run(
        lambda clock, retention: PostgresStore(
            postgres_url, retention=retention, schema=schema, offset=lambda: clock.offset
        )
    )


@each_case
def test_redis(case: Case, monkeypatch: pytest.MonkeyPatch, park: engines.Park) -> None:
    monkeypatch.setattr(feed, "PAGE_OF_A_SHARD", 3)
    monkeypatch.setattr(feed, "_COUNT", b"3")
    url = park("single", "valkey").url
    case.run(
        lambda clock, retention: engines.a_store(
            url, retention=retention, offset=lambda: clock.offset
        )
    )
