"""Redis and Valkey keep the contract: single, Cluster and Sentinel, sync and async."""

from __future__ import annotations

import pytest

from jwt_middleware.testing.store_contract import CASES, Case
from tests.engines import redis as engines

park = engines.park

TOPOLOGIES = [
    pytest.param(
        topology,
        engine,
        id=f"{topology}-{engine}",
        marks=pytest.mark.xdist_group(f"{topology} {engine}"),
    )
    for topology in ("single", "cluster", "sentinel")
    for engine in engines.ENGINES
]
everywhere = pytest.mark.parametrize(("topology", "engine"), TOPOLOGIES)
each_case = pytest.mark.parametrize("case", CASES, ids=str)


@each_case
@everywhere
def test_keeps_the_contract(case: Case, park: engines.Park, topology: str, engine: str) -> None:
    url = park(topology, engine).url
    case.run(
        lambda clock, retention: engines.a_store(
            url, retention=retention, offset=lambda: clock.offset
        )
    )


@each_case
@everywhere
def test_keeps_the_contract_awaited(
    case: Case, park: engines.Park, topology: str, engine: str
) -> None:
    url = park(topology, engine).url
    case.run(
        lambda clock, retention: engines.an_async_store(
            url, retention=retention, offset=lambda: clock.offset
        )
    )
