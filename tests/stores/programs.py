"""What other processes do to a store: `python -m tests.stores.programs NAME PATH ...`."""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import sys
import time
import warnings
from collections.abc import Callable
from itertools import count
from pathlib import Path
from threading import Barrier, Event, Lock, Thread
from typing import Any

from jwt_middleware.stores.memory import MemoryStore
from jwt_middleware.stores.sqlite import SQLiteStore
from jwt_middleware.values.errors import ConfigurationError, StoreUnavailable
from jwt_middleware.values.tokens import FrozenDict

from . import new_grant


def say(what: object) -> None:
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()


def wait_for_go() -> None:
    say("ready")
    sys.stdin.readline()


def open_store(path: str, clock: Callable[[], float] = time.time, **options: Any) -> SQLiteStore:
    return SQLiteStore(path, clock=clock, retention=700, **options)


def failure(call: Callable[..., object], *args: object) -> str | None:
    """Return the kind of failure, or None for none."""
    try:
        call(*args)
    except StoreUnavailable as error:
        return error.detail
    except ConfigurationError as error:
        return str(error)
    return None


def lock(path: str) -> None:
    """Hold the lock of a writer until told to go."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    wait_for_go()
    db.execute("ROLLBACK")
    db.close()


def check(path: str) -> None:
    """Make the file, at the same moment as others."""
    store = open_store(path)
    wait_for_go()
    say(failure(store.check))
    say(failure(store.add, new_grant(time.time()), 100))


def climb(path: str, grant_id: str, top: str) -> None:
    """Advance a grant against others, and say which generations were won."""
    store = open_store(path)
    wait_for_go()
    won, seen = [], 1
    while seen < int(top):
        advanced, row = store.advance(grant_id, seen, seen + 1, f"{os.getpid()} {seen}")
        assert row is not None
        if advanced:
            won.append(seen)
        seen = row.generation
    say(won)


def climb_until_the_end(path: str, *grant_ids: str) -> None:
    """Advance grants until they have ended; say how far each has come."""
    store = open_store(path)
    wait_for_go()
    for grant_id in grant_ids:
        seen = 1
        while True:
            advanced, row = store.advance(grant_id, seen, seen + 1, "parent")
            assert row is not None
            seen = row.generation
            if row.ended_at is not None:
                assert not advanced
                break
    say("done")


def write(path: str) -> None:
    """Write without end, and say what has been acknowledged."""
    store = open_store(path)
    for number in count():
        store.add(new_grant(time.time(), id=f"grant {number}"), 3)
        say(["add", number])
        store.advance(f"grant {number}", 1, 2, "parent")
        say(["advance", number])
        if number % 4 == 3:
            store.end(f"grant {number}", "logout")
            say(["end", number])


def refresh_in_threads(path: str, synchronous: str) -> None:
    """Rotate a grant in each of 16 threads without end, and say what has been acknowledged."""
    store = open_store(path, synchronous=synchronous)
    told, barrier = Lock(), Barrier(16)

    def climb(grant_id: str) -> None:
        barrier.wait()
        store.add(new_grant(time.time(), id=grant_id, subject=grant_id), 3)
        for generation in count(1):
            assert store.advance(grant_id, generation, generation + 1, "parent").advanced
            with told:
                say([grant_id, generation + 1])

    threads = [Thread(target=climb, args=(f"grant {number}",)) for number in range(16)]
    for thread in threads:
        thread.start()


def poll(path: str) -> None:
    """Follow what has ended until told to go; say all ids and notices."""
    store = open_store(path, timeout=9)
    store.check()
    cursor = store.ended(None, 700).cursor
    found: set[str] = set()
    notices: list[str] = []
    is_over = False

    def follow() -> None:
        nonlocal cursor
        is_last = False
        while not is_last:
            is_last = is_over
            answer = store.ended(cursor, 700)
            cursor = answer.cursor
            found.update(answer.grant_ids)
            notices.extend(answer.notices)

    thread = Thread(target=follow)
    thread.start()
    wait_for_go()
    is_over = True
    thread.join()
    say([sorted(found), notices])


def log_in_and_out(path: str, name: str) -> None:
    """Log in and out until told to go; say which log-outs were acknowledged."""
    store = open_store(path, timeout=9, synchronous="NORMAL")
    is_over = False
    ended = []

    def work() -> None:
        for number in count():
            if is_over:
                return
            store.add(new_grant(time.time(), id=f"{name} {number}", subject=name), 3)
            if store.end(f"{name} {number}", "logout"):
                ended.append(f"{name} {number}")

    threads = Thread(target=work)
    threads.start()
    wait_for_go()
    is_over = True
    threads.join()
    say(ended)


def have_no_rights(path: str) -> None:
    """Use a file that may be read and not written, in a directory that may not be written to."""
    os.chmod(path, 0o444)
    os.chmod(Path(path).parent, 0o555)
    if os.geteuid() == 0:
        os.setuid(65534)
    store = open_store(path)
    say(failure(store.check))
    say(failure(store.add, new_grant(time.time()), 100))
    say(failure(open_store(str(Path(path).parent / "new.db")).check))


def have_no_room(path: str) -> None:
    """Fail in the middle of a commit, for files may not grow; then go on."""
    store = open_store(path)
    store.add(new_grant(time.time(), id="old", claims=FrozenDict(text="x" * 3000)), 1)
    store.grants("alice")
    size = os.stat(f"{path}-wal").st_size
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 4096, hard))
    claims = FrozenDict(text="y" * 3000)
    kinds = [failure(store.add, new_grant(time.time(), claims=claims), 1) for _ in range(2)]
    kinds.append(failure(store.end, "old", "logout"))
    living = [one.id for one in store.grants("alice")]
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    say([kinds, living, store.advance("old", 1, 2, None).advanced])
    store.close()


def fork(path: str) -> None:
    """Fork while connections are open; both go on."""
    store = open_store(path)
    store.add(new_grant(time.time(), id="grant"), 100)
    store.grants("alice")
    is_open = has_open(path)
    child = os.fork()
    if child == 0:
        inherited = has_open(path)
        advanced = store.advance("grant", 1, 2, None).advanced
        say([inherited, advanced, len(store.grants("alice"))])
        store.close()
        os._exit(0)
    os.waitpid(child, 0)
    say([is_open, store.advance("grant", 2, 3, None).advanced, has_open(path)])
    store.close()


def fork_in_a_verb(path: str) -> None:
    """Fork while another thread's verb hangs longer than it may."""
    warnings.simplefilter(
        "ignore", DeprecationWarning
    )  # of Python 3.12: not to fork beside threads
    entered, leave = Event(), Event()
    hangs = False

    def clock() -> float:
        if hangs:
            entered.set()
            leave.wait(60)
        return time.time()

    store = open_store(path, clock, timeout=0.2)
    store.add(new_grant(time.time(), id="grant"), 100)
    hangs = True
    thread = Thread(target=store.end, args=("grant", "logout"))
    thread.start()
    entered.wait(60)
    hangs = False
    child = os.fork()
    if child == 0:
        other = open_store(path)
        say([failure(store.end, "grant", "x"), failure(other.advance, "grant", 1, 1, None)])
        os._exit(0)
    os.waitpid(child, 0)
    leave.set()
    thread.join()
    row = store.advance("grant", 1, 1, None).grant
    say(row and row.end_reason)
    store.close()


def fork_memory() -> None:
    """Fork with a store in memory; the child's would be another."""
    store = MemoryStore(clock=time.time, retention=700)
    child = os.fork()
    if child == 0:
        say(failure(store.grants, "alice"))
        os._exit(0)
    os.waitpid(child, 0)


def has_open(path: str) -> bool:
    """Say whether this process has the file open, by whatever name."""
    wanted = os.stat(path)
    for name in os.listdir("/dev/fd"):
        try:
            found = os.fstat(int(name))
        except OSError:  # the one that listed the directory
            continue
        if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
            return True
    return False


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
