"""PostgreSQL: its schema, its address, its cost, and several processes at it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jwt_middleware.stores.postgres import AsyncPostgresStore, PostgresStore
from jwt_middleware.testing.store_contract import CASES, Case
from tests.engines import postgres as engine

each_case = pytest.mark.parametrize("case", CASES, ids=str)


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    with engine.shared() as address:
        yield address


@pytest.fixture
def schema(url: str) -> Iterator[str]:
    with engine.fresh_schema(url) as name:
        yield name


@each_case
@pytest.mark.parametrize("kind", [PostgresStore, AsyncPostgresStore])
def test_postgres_keeps_the_contract(case: Case, kind: type, url: str, schema: str) -> None:
    case.run(
        lambda clock, retention: kind(
            url, retention=retention, schema=schema, offset=lambda: clock.offset
        )
    )
