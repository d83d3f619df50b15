"""Our stores keep the contract; and the contract's cases find a store that doesn't."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jwt_middleware.stores import Advanced, Cursor, Ended, Mark
from jwt_middleware.stores.memory import MemoryStore
from jwt_middleware.stores.sqlite import SQLiteStore
from jwt_middleware.testing import Clock
from jwt_middleware.testing.store_contract import CASES, Case, ContractBroken
from jwt_middleware.values.tokens import Grant
from tests.stores.broken import FAULTS, Broken

each_case = pytest.mark.parametrize("case", CASES, ids=str)


@each_case
def test_memory_keeps_the_contract(case: Case) -> None:
    case.run(lambda clock, retention: MemoryStore(clock=clock, retention=retention))


@each_case
@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
def test_sqlite_keeps_the_contract(case: Case, synchronous: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/grants.db?synchronous={synchronous}"
    case.run(lambda clock, retention: SQLiteStore.from_url(url, clock=clock, retention=retention))


class AwaitedStore:
    """The memory store as an AsyncStore."""

    def __init__(self, clock: Clock, retention: float) -> None:
        self._store = MemoryStore(clock=clock, retention=retention)
        self.is_closed = False

    async def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        return self._store.add(grant, limit)

    async def advance(
        self, grant_id: str, source: int, target: int, parent: str | None
    ) -> Advanced:
        return self._store.advance(grant_id, source, target, parent)

    async def use(self, grant_id: str) -> None:
        self._store.use(grant_id)

    async def end(self, grant_id: str, reason: str) -> bool:
        return self._store.end(grant_id, reason)

    async def end_subject(self, subject: str, reason: str) -> tuple[str, ...]:
        return self._store.end_subject(subject, reason)

    async def grants(self, subject: str) -> tuple[Grant, ...]:
        return self._store.grants(subject)

    async def end_before(self, time: float | None) -> Mark | None:
        return self._store.end_before(time)

    async def is_living(self, grant_id: str) -> bool:
        return self._store.is_living(grant_id)

    async def ended(self, cursor: Cursor | None, horizon: float) -> Ended:
        return self._store.ended(cursor, horizon)

    async def admit(self, key: str, until: float) -> bool:
        return self._store.admit(key, until)

    async def purge(self, now: float) -> int:
        return self._store.purge(now)

    async def aclose(self) -> None:
        self.is_closed = True


@each_case
def test_an_awaited_store_keeps_the_contract(case: Case) -> None:
    case.run(AwaitedStore)


def test_an_awaited_store_may_be_made_and_is_closed_in_the_loop() -> None:
    made: list[AwaitedStore] = []

    async def make(clock: Clock, retention: float) -> AwaitedStore:
        made.append(AwaitedStore(clock, retention))
        return made[0]

    CASES[0].run(make)
    assert made[0].is_closed


def test_a_store_without_an_end_is_just_left() -> None:
    class Endless(AwaitedStore):
        aclose = None  # type: ignore[assignment]

        def __getattribute__(self, name: str) -> Any:
            if name == "aclose":
                raise AttributeError(name)
            return super().__getattribute__(name)

    CASES[0].run(Endless)


@pytest.mark.parametrize("broken", FAULTS, ids=lambda broken: broken.__name__)
def test_the_cases_find_a_store_that(broken: type[Broken]) -> None:
    (case,) = (case for case in CASES if str(case) == FAULTS[broken])
    with pytest.raises(ContractBroken) as caught:
        case.run(broken)
    assert str(caught.value).startswith(case.promise)


def test_each_case_finds_a_store() -> None:
    assert {str(case) for case in CASES} - set(FAULTS.values()) == set()


def test_every_promise_is_a_sentence() -> None:
    assert len({str(case) for case in CASES}) == len(CASES)
    for case in CASES:
        assert case.promise.endswith("."), case
