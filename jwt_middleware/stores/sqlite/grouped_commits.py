"""Write in groups: what threads want to write at the same time becomes one commit.

A commit waits for the disk, for milliseconds on some. Threads put their work into a queue. One of
them is the leader: it begins a transaction, does its own work and all that is in the queue by then,
commits once, and gives each thread its answer. Then a thread whose work came meanwhile leads.
So an answer goes out after the commit that it is in, as if each thread had committed.

Two leaders at once would do no harm, because each takes the connection's turn. So who leads is
remembered for a limited time only: a leader that vanishes, by a signal's exception at the wrong
moment, stops the others for no longer than that.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any, Final

from ...values import forks
from ...values.errors import StoreUnavailable
from ...values.flows import T
from .connections import SharedConnection, begin_writing, error_name

LARGEST_GROUP: Final = 64  # works in one commit: other processes wait no longer than for these
LEADS_FOR: Final = 3  # times the time-out: longer than any turn takes


class _Work:
    """What one thread wants to be written, and what came of it."""

    __slots__ = ("answer", "do", "error", "is_done", "wake")

    def __init__(self, do: Callable[[sqlite3.Connection], Any]) -> None:
        self.do = do
        self.answer: Any = None
        self.error: Exception | None = None
        self.is_done = False
        self.wake = Lock()  # its thread waits for it: released when it is done, or is to lead


class GroupedWriter(SharedConnection):
    """The connection that writes. `begin` is as in `SharedConnection`."""

    _tries_itself = True

    def __init__(
        self, path: Path, timeout: float, begin: Callable[[sqlite3.Connection], None]
    ) -> None:
        super().__init__(path, timeout, begin)
        self._empty_queue()

    def _empty_queue(self) -> None:
        self._mutex = Lock()
        self._waiting: deque[_Work] = deque()
        self._leader: _Work | None = None
        self._leads_until = 0.0

    def after_fork_in_child(self) -> None:
        """Begin with an empty queue: what is in it is the parent's to do."""
        super().after_fork_in_child()
        self._empty_queue()

    def write(self, do: Callable[[sqlite3.Connection], T]) -> T:
        """Return what `do` returns, called in a transaction and committed with others' work.

        Where `do` raises, its own work is rolled back, and that of no other. Raises its error, and
        StoreUnavailable: where the commit failed, or where the time was over before the work was
        begun. Then the work isn't done, but for a work that hangs: that may be done or not.
        """
        forks.notice()
        work = _Work(do)
        deadline = time.monotonic() + self._timeout
        try:
            if not self._may_lead(work):
                self._wait(work, deadline)
            if not work.is_done:
                self._lead(work, deadline)
        finally:
            if not work.is_done or self._leader is work:
                self._leave(work)
        if work.error is not None:
            raise work.error
        answer: T = work.answer
        return answer

    def _may_lead(self, work: _Work) -> bool:
        """Say whether a work's thread is to lead at once; else put the work into the queue."""
        now = time.monotonic()
        with self._mutex:
            if self._leader is not None and now < self._leads_until:
                work.wake.acquire()
                self._waiting.append(work)
                return False
            self._leader, self._leads_until = work, now + LEADS_FOR * self._timeout
            return True

    def _wait(self, work: _Work, deadline: float) -> None:
        """Wait until a work is done, or is to lead."""
        left = max(deadline - time.monotonic(), 0)
        if not work.wake.acquire(timeout=left) and not work.is_done:
            raise StoreUnavailable("SQLITE_BUSY: another thread has its turn")

    def _leave(self, work: _Work) -> None:
        """Let another thread lead, if this one did; take a work out that nobody has begun."""
        with self._mutex:
            if self._leader is work:
                self._leader = self._waiting.popleft() if self._waiting else None
                if self._leader is not None:
                    self._leads_until = time.monotonic() + LEADS_FOR * self._timeout
                    self._leader.wake.release()
            elif work in self._waiting:
                self._waiting.remove(work)

    def _lead(self, work: _Work, deadline: float) -> None:
        """Do a work and all that waits, and commit."""
        group = [work]
        failure = "the thread that wrote was interrupted"
        try:
            with self.taken_until(deadline) as (db, _):
                try:
                    db.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError:  # another process writes
                    begin_writing(db, deadline)
                self._gather(group)
                if len(group) == 1:
                    work.answer = work.do(db)
                else:
                    for one in group:
                        _do_within_savepoint(db, one)
                db.execute("COMMIT")
                if any(one.error is not None for one in group):
                    self._drop()  # after any error there is a new connection
            work.is_done = True
        except StoreUnavailable as error:
            failure = error.detail
            raise
        finally:
            # Told in any case, also where this thread is interrupted.
            for one in group[1:]:
                if not work.is_done and one.error is None:
                    one.error = StoreUnavailable(failure)
                one.is_done = True
                one.wake.release()

    def _gather(self, group: list[_Work]) -> None:
        with self._mutex:
            while self._waiting and len(group) < LARGEST_GROUP:
                group.append(self._waiting.popleft())


def _do_within_savepoint(db: sqlite3.Connection, work: _Work) -> None:
    """Do one work of several: its error is its own, and takes back nothing of the others'."""
    db.execute("SAVEPOINT work")
    try:
        work.answer = work.do(db)
    except Exception as error:
        if not db.in_transaction:
            raise  # SQLite has rolled back everything, as it does where the disk is full
        is_ours = isinstance(error, sqlite3.Error | OSError)
        work.error = StoreUnavailable(error_name(error)) if is_ours else error
        db.execute("ROLLBACK TO work")
    db.execute("RELEASE work")
