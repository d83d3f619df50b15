"""The example of a store of one's own keeps the contract, and what its first lines say beside."""

from __future__ import annotations

import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from math import inf
from pathlib import Path

import pytest

from examples import own_store
from examples.own_store import JournalStore
from jwt_middleware import ConfigurationError, StoreUnavailable
from jwt_middleware.cli import grants as command
from jwt_middleware.testing import store_contract
from tests.processes import ROOT
from tests.stores import RETENTION, new_grant


def opened(
    path: Path, clock: Callable[[], float] = time.time, retention: float = 700
) -> JournalStore:
    store = JournalStore(path, clock=clock, retention=retention)
    store.check()
    return store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "grants"


@pytest.fixture
def store(path: Path) -> JournalStore:
    return opened(path)


@pytest.mark.parametrize("case", store_contract.CASES, ids=str)
def test_it_keeps_the_contract(case: store_contract.Case, path: Path) -> None:
    case.run(lambda clock, retention: opened(path, clock, retention))


def test_it_does_what_its_first_lines_say(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = store_contract.CASES[:2]
    monkeypatch.setattr(store_contract, "CASES", few)
    runpy.run_path(str(ROOT / "examples" / "own_store.py"), run_name="__main__")
    assert capsys.readouterr().out.splitlines() == [one.promise for one in few]


CLIMB = """
import sys, time
from examples.own_store import JournalStore
store = JournalStore(sys.argv[1], clock=time.time, retention=700)
seen, won = 1, []
while seen < int(sys.argv[3]):
    advanced, row = store.advance(sys.argv[2], seen, seen + 1, "parent")
    won += [seen] if advanced else []
    seen = row.generation
    if seen % 20 == 0:
        store.purge(time.time())
print(*won)
"""


def climber(path: Path, grant_id: str, top: int) -> subprocess.Popen[str]:
    program = [sys.executable, "-c", CLIMB, str(path), grant_id, str(top)]
    return subprocess.Popen(program, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_of_many_processes_one_wins_each_generation(store: JournalStore, path: Path) -> None:
    grant = new_grant(time.time())
    store.add(grant, 100)
    for number in range(600):  # rows that are over, so that the file is made anew meanwhile
        store.admit(f"key {number}", time.time() + number / 300)
    climbers = [climber(path, grant.id, 120) for _ in range(3)]
    won = [int(word) for one in climbers for word in one.communicate()[0].split()]
    assert sorted(won) == list(range(1, 120))
    assert [one.generation for one in store.grants("alice")] == [120]


def test_what_was_answered_survives_a_kill(store: JournalStore, path: Path) -> None:
    grant = new_grant(time.time())
    store.add(grant, 100)
    with climber(path, grant.id, 10**6) as process:
        while store.grants("alice")[0].generation < 50:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    (row,) = store.grants("alice")
    assert opened(path).grants("alice") == (row,)
    assert store.advance(grant.id, row.generation, row.generation + 1, None).advanced


def test_a_line_that_was_not_finished_was_never_written(store: JournalStore, path: Path) -> None:
    store.add(new_grant(time.time(), id="one"), 100)
    with path.open("ab") as file:
        file.write(b'{"grants":[{"id":"two"')
    assert [one.id for one in store.grants("alice")] == ["one"]
    assert store.end("one", "logout")
    assert opened(path).ended(None, RETENTION).grant_ids == ("one",)


def test_a_damaged_line_is_told(store: JournalStore, path: Path) -> None:
    with path.open("ab") as file:
        file.write(b'{"grants":[{"id":"secret"}],"keys":{}}\n')
    with pytest.raises(StoreUnavailable, match=r"a damaged line$") as caught:
        store.grants("alice")
    assert "secret" not in str(caught.value)


LIMITED = """
import resource, signal, sys, time
from examples.own_store import JournalStore
from jwt_middleware import StoreUnavailable
from tests.stores import new_grant
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = JournalStore(sys.argv[1], clock=time.time, retention=700)
store.check()
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
added = 0
try:
    while True:
        store.add(new_grant(time.time(), id=f"number {added}"), 100)
        added += 1
except StoreUnavailable as error:
    print(added, len(store.grants("alice")), error.detail)
"""


def test_a_full_disk_takes_nothing_but_the_last_line(path: Path) -> None:
    command = [sys.executable, "-c", LIMITED, str(path)]
    printed = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout
    added, living, detail = printed.split(maxsplit=2)
    assert 5 < int(added) == int(living)
    assert detail in ("the disk is full\n", "OSError\n")
    store = opened(path)
    assert len(store.grants("alice")) == int(added)
    assert store.end("number 0", "logout")


def test_a_child_goes_on_and_has_nothing_of_its_parents(store: JournalStore) -> None:
    grant = new_grant(time.time())
    store.add(grant, 100)
    child = os.fork()
    if child == 0:
        done = False
        try:
            done = store.advance(grant.id, 1, 2, None).advanced
        finally:
            os._exit(0 if done else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert store.advance(grant.id, 2, 3, None).advanced


def test_who_waits_too_long_is_told(
    store: JournalStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_store, "TIMEOUT", 0.05)
    other = opened(path)
    with store._turn(), pytest.raises(StoreUnavailable, match="others have the file"):
        other.grants("alice")


def test_a_folder_that_is_not_there_is_told_at_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is its folder there"):
        opened(tmp_path / "nowhere" / "grants")


def test_a_file_that_is_gone_is_not_made_anew(store: JournalStore, path: Path) -> None:
    # An empty one would log everybody out without a word.
    path.unlink()
    with pytest.raises(StoreUnavailable, match="FileNotFoundError"):
        store.grants("alice")


def ended(store: JournalStore, *ids: str) -> None:
    for one in ids:
        store.add(new_grant(time.time(), id=one), 100)
        store.end(one, "logout")


@pytest.mark.parametrize("since", [(), ("four",), ("four", "five"), ("four", "five", "six")])
@pytest.mark.parametrize("is_moved", [True, False])
def test_a_backup_that_was_put_back_is_noticed(
    store: JournalStore, path: Path, tmp_path: Path, since: tuple[str, ...], is_moved: bool
) -> None:
    ended(store, "one")
    copy = shutil.copy(path, tmp_path / "copy")
    ended(store, "two", "three")
    cursor = store.ended(None, RETENTION).cursor
    (shutil.move if is_moved else shutil.copyfile)(copy, path)
    ended(store, *since)  # fewer than the reader has seen, as many, and more
    found = store.ended(cursor, RETENTION)
    assert found.grant_ids == ("one", *since)
    assert found.notices == (own_store.OTHER_FILE,)
    again = store.ended(found.cursor, RETENTION)
    assert (again.grant_ids, again.notices) == ((), ())
    assert opened(path).ended(None, RETENTION).grant_ids == found.grant_ids


def test_a_cursor_goes_on_in_the_file_that_purge_has_made(store: JournalStore, path: Path) -> None:
    ended(store, "one", "two")
    cursor = store.ended(None, RETENTION).cursor
    store.admit("key", 1.0)
    other = opened(path)
    assert other.purge(time.time()) == 1
    ended(other, "three")
    found = store.ended(cursor, RETENTION)
    assert (found.grant_ids, found.notices) == (("three",), ())


def test_purge_deletes_some_hundred_at_a_time(store: JournalStore) -> None:
    for number in range(own_store.BITE + 1):
        store.admit(f"key {number}", 1.0)
    assert [store.purge(inf) for _ in range(3)] == [own_store.BITE, 1, 0]


def test_only_its_owner_reads_the_file(store: JournalStore, path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    store.admit("key", 1.0)
    assert store.purge(time.time()) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_operators_see_all_pages(store: JournalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [new_grant(time.time(), subject=f"user {number}") for number in range(6)]
    for grant in made:
        store.add(grant, 100)
    monkeypatch.setattr(command, "GRANTS_A_PAGE", 3)
    assert sorted(one.id for one in command._every(store)) == sorted(one.id for one in made)
