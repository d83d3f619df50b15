"""Several processes at one file, and a process that is killed in the middle of whatever it does."""

from __future__ import annotations

import sqlite3
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.stores import Process, new_grant, sqlite

PROCESSES = 4


def start(stack: ExitStack, count: int, *args: object) -> list[Process]:
    """Start a program several times, and let all go at the same moment."""
    processes = [stack.enter_context(Process(*map(str, args))) for _ in range(count)]
    for process in processes:
        assert process.hear() == "ready"
    for process in processes:
        process.go()
    return processes


@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
def test_of_many_processes_one_wins_each_generation(tmp_path: Path, synchronous: str) -> None:
    path, top = tmp_path / "grants.db", 200
    with sqlite(path, time.time, synchronous=synchronous) as store, ExitStack() as stack:
        grant = new_grant(time.time())
        store.add(grant, 100)
        climbers = start(stack, PROCESSES, "climb", path, grant.id, top)
        won = [climber.hear() for climber in climbers]
        row = store.advance(grant.id, 1, 1, None).grant
    assert sorted(one for wins in won for one in wins) == list(range(1, top))
    assert row is not None
    assert row.generation == top
    assert row.parent is not None
    assert row.parent.endswith(f" {top - 1}"), "the winner's"


def test_nothing_advances_in_any_process_once_the_end_has_returned(tmp_path: Path) -> None:
    path = tmp_path / "grants.db"
    grants = [new_grant(time.time()) for _ in range(40)]
    ids = [grant.id for grant in grants]
    with sqlite(path, time.time, synchronous="NORMAL") as store, ExitStack() as stack:
        for grant in grants:
            store.add(grant, 1000)
        climbers = start(stack, 2, "climb_until_the_end", path, *ids)
        rows = []
        for grant_id in ids:
            row = store.advance(grant_id, 0, 0, None).grant
            while row is not None and row.generation < 3:  # until they are at it
                row = store.advance(grant_id, 0, 0, None).grant
            assert store.end(grant_id, "logout")
            rows.append(store.advance(grant_id, 0, 0, None).grant)
        assert [climber.hear() for climber in climbers] == ["done", "done"]
        assert [store.advance(grant_id, 0, 0, None).grant for grant_id in ids] == rows


@pytest.mark.parametrize("steps", [1, 2, 7, 30, 111, 400])
def test_a_killed_process_leaves_every_step_done_or_undone(tmp_path: Path, steps: int) -> None:
    path = tmp_path / "grants.db"
    with Process("write", path) as writer:
        said = [writer.hear() for _ in range(steps)]
        writer.kill()
        while (one := writer.hear()) is not None:
            said.append(one)
        writer.wait()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with sqlite(path, time.time) as store:
        rows = {}
        for number in range(len(said)):
            grant_id = f"grant {number}"
            row = store.advance(grant_id, 0, 0, None).grant
            if row is not None:
                rows[number] = (row.generation, row.end_reason)
        assert rows in (model(said), model([*said, following(said[-1])]))
        assert store.add(new_grant(time.time()), 100) == ()


def model(steps: list[tuple[str, int]]) -> dict[int, tuple[int, str | None]]:
    """Return generation and end of each grant after these steps of the program `write`."""
    rows: dict[int, tuple[int, str | None]] = {}
    for verb, number in steps:
        if verb == "add":
            rows[number] = (1, None)
            living = [one for one, (_, reason) in rows.items() if reason is None]
            for one in living[:-3]:
                rows[one] = (rows[one][0], "limit")
        elif verb == "advance":
            rows[number] = (2, None)
        else:
            rows[number] = (2, "logout")
    return rows


def following(step: tuple[str, int]) -> tuple[str, int]:
    verb, number = step
    if verb == "add":
        return "advance", number
    return ("end", number) if verb == "advance" and number % 4 == 3 else ("add", number + 1)
