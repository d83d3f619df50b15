"""Corners of the runtime that only a fork, a cancelled task or a late answer comes to."""

import asyncio
import threading
import time
from typing import Any

import pytest

from jwt_middleware import ConfigurationError, Issuer, Refresh, StoreUnavailable
from jwt_middleware.process import awaiting, runtime
from jwt_middleware.process.awaiting import Awaiting
from jwt_middleware.process.runtime import Runtime
from jwt_middleware.testing import TokenFactory

FACTORY = TokenFactory()


class Failing:
    """A store whose every verb fails in one way."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def advance(self, *_: Any) -> Any:
        raise self._error

    add = use = end = end_subject = end_before = is_living = grants = ended = advance
    admit = purge = advance


def issuer(error: Exception, **options: Any) -> Issuer:
    store: Any = Failing(error)
    return Issuer(FACTORY.settings(refresh=Refresh(store=store), **options))


def test_a_forked_child_begins_with_locks_of_its_own() -> None:
    settings = FACTORY.settings(refresh=Refresh(store="memory://"))
    live = Runtime.of(settings)
    store = live.live_store
    assert store is not None
    lock, of_one = runtime._making, store._turn
    runtime._after_fork()
    assert runtime._making is not lock
    assert store._turn is not of_one
    assert Runtime.of(settings) is live


def test_a_task_that_was_cancelled_has_no_error_to_be_taken() -> None:
    async def play() -> None:
        task = asyncio.create_task(asyncio.sleep(60))
        task.add_done_callback(Awaiting(None, print).done)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(play())


def test_what_only_the_configuration_can_mend_is_told_as_such() -> None:
    with pytest.raises(ConfigurationError, match="one process"):
        issuer(ConfigurationError("refresh.store", "is for one process")).issue("alice", claims={})


def test_an_answer_that_was_asked_for_before_the_failure_says_nothing_of_now() -> None:
    told: list[str] = []
    failing = issuer(StoreUnavailable("gone"), on_event=lambda event: told.append(event.name))
    with pytest.raises(StoreUnavailable):
        failing.issue("alice", claims={})
    store = failing._runtime.live_store
    assert store is not None
    store.note(0)
    assert told == ["store_failed"]
    store.note(next(store.numbers))
    assert told == ["store_failed", "store_back"]
    # The same for a failure: what was asked before the store came back.
    store.failed("end", StoreUnavailable("gone"), 1)
    assert told == ["store_failed", "store_back"]
    store.failed("end", StoreUnavailable("gone"), next(store.numbers))
    assert told == ["store_failed", "store_back", "store_failed"]


def test_the_time_in_a_queue_that_moves_is_no_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awaiting, "EXECUTOR_THREADS", 1)

    async def play() -> list[str]:
        executors = awaiting.Executors()

        async def call(number: int) -> str:
            try:
                await executors.call("store", 1.0, time.sleep, 0.4)
            except TimeoutError:
                return "late"
            return "done"

        try:
            return await asyncio.gather(*(call(number) for number in range(5)))
        finally:
            executors.close()

    assert asyncio.run(play()) == ["done"] * 5, "the last waits for 1.6 seconds"


def test_a_queue_that_stands_still_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awaiting, "EXECUTOR_THREADS", 1)
    monkeypatch.setattr(awaiting, "MAX_HUNG", 0)
    gate = threading.Event()

    async def play() -> list[type[BaseException]]:
        executors = awaiting.Executors()
        calls = [executors.call("store", 0.2, gate.wait, 20) for _ in range(3)]
        try:
            found = await asyncio.gather(*calls, return_exceptions=True)
            return [type(one) for one in found if isinstance(one, BaseException)]
        finally:
            gate.set()
            executors.close()

    assert asyncio.run(play()) == [TimeoutError] * 3


def test_settings_without_a_store_have_nothing_to_check() -> None:
    runtime_of_none = Runtime.of(FACTORY.settings())
    asyncio.run(runtime_of_none.acheck())
    assert runtime_of_none.awaiting is None
