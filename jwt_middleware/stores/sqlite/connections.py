"""A connection that the threads of a process share, and how it is closed at a fork.

SQLite's locks don't work in a child that has inherited a connection, and the file would be damaged
(https://www.sqlite.org/howtocorrupt.html, 2.6). So no connection is open during a fork. When uWSGI
forks, no fork hook runs: so before that, a connection is closed after each turn.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from operator import methodcaller
from pathlib import Path
from threading import Lock
from typing import Final
from weakref import ReferenceType, ref

from ...values import forks
from ...values.errors import StoreUnavailable

BUSY_PAUSE: Final = 0.0005  # seconds between two tries to write


class SharedConnection:
    """One connection, used by one thread at a time: opened when needed, reopened after a fault.

    Args:
        path: the file, which must exist.
        timeout: seconds that a thread waits for its turn.
        begin: called with each new connection, before it is used.

    """

    _tries_itself = False  # where another process holds a lock; else SQLite waits for it

    def __init__(
        self, path: Path, timeout: float, begin: Callable[[sqlite3.Connection], None]
    ) -> None:
        self._path = path
        self._timeout = timeout
        self._begin = begin
        self._db: sqlite3.Connection | None = None
        self.file: tuple[int, int] | None = None  # which file is open: device and inode
        self._opener = 0  # the id of the process that opened it
        self._lock = Lock()
        self._is_held = False  # by `before_fork`
        self._tenths: int | None = None  # of a second that SQLite waits for a lock; None: unknown
        _all.append(ref(self, _all.remove))

    def __del__(self, getpid: Callable[[], int] = os.getpid) -> None:
        if self._opener == getpid():
            self._drop()
        else:
            self._keep_open()

    def taken(self) -> AbstractContextManager[tuple[sqlite3.Connection, float]]:
        """Take a turn: give the connection, and the time when the turn must be over.

        After any error the connection is closed, which rolls back its transaction. Raises
        StoreUnavailable.
        """
        forks.notice()
        return self.taken_until(time.monotonic() + self._timeout)

    @contextmanager
    def taken_until(
        self, deadline: float
    ) -> Generator[tuple[sqlite3.Connection, float], None, None]:
        """Take a turn that must be over at a time of `time.monotonic`; see `taken`."""
        lock = self._lock
        if not lock.acquire(timeout=max(deadline - time.monotonic(), 0)):
            raise StoreUnavailable("SQLITE_BUSY: another thread has its turn")
        # Where the file is missing the connection stays open: to close the last one would delete
        # `-wal`, and then the next process would take it for a place where no file has been yet.
        is_done = True
        try:
            found = os.stat(self._path)
            is_done = False
            db = self._live((found.st_dev, found.st_ino))
            self._set_patience(db, deadline)
            yield db, deadline
            is_done = True
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable(error_name(error)) from None
        finally:
            if not is_done or forks.is_before_silent_fork():
                self._drop()
            lock.release()

    def _live(self, file: tuple[int, int]) -> sqlite3.Connection:
        if _inherited_connections:
            raise StoreUnavailable(
                "this process was forked while the file was open: start it anew; a server that "
                "forks without Python's hooks has to make the application in each worker"
            )
        if file != self.file:
            # The file was moved, or replaced by a backup: writes to the old file would be lost.
            self._drop()
        if self._db is None:
            self.file = file  # read before the file is opened, so that a later change is noticed
            self._opener = os.getpid()
            self._db = sqlite3.connect(
                # rw: never create the file here. If the file were missing, an empty one would log
                # all users out.
                f"{self._path.as_uri()}?mode=rw",
                uri=True,
                isolation_level=None,  # we write BEGIN and COMMIT ourselves
                check_same_thread=False,  # a lock lets one thread in at a time
                timeout=self._timeout,
            )
            self._begin(self._db)
            self._tenths = None
        return self._db

    def _set_patience(self, db: sqlite3.Connection, deadline: float) -> None:
        # For what reads, a wait is needed only while another process repairs the file after a third
        # was killed. In tenths of a second, so that it is rarely set.
        left = 0.0 if self._tries_itself else max(deadline - time.monotonic(), 0.1)
        tenths = int(10 * left)
        if tenths != self._tenths:
            db.execute(f"PRAGMA busy_timeout = {100 * tenths}")
            self._tenths = tenths

    def _drop(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def _keep_open(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            _inherited_connections.append(db)

    def close(self) -> None:
        """Close the connection when its turn is over."""
        forks.notice()
        with self._lock:
            self._drop()

    def before_fork(self) -> None:
        """Close the connection, and keep it closed until the fork is done."""
        self._is_held = self._lock.acquire(timeout=self._timeout)
        if self._is_held:
            self._drop()

    def after_fork(self) -> None:
        """Let the parent's threads go on."""
        if self._is_held:
            self._is_held = False
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Make a new lock in the child: the old one may be held by a thread of the parent."""
        self._is_held = False
        self._lock = Lock()
        self._keep_open()


_all: list[ReferenceType[SharedConnection]] = []
# Connections that were open at a fork, because a verb hung: kept, and never closed in the child.
_inherited_connections: list[sqlite3.Connection] = []


def _for_all(do: Callable[[SharedConnection], object]) -> Callable[[], None]:
    """Return a function that calls `do` with each connection of this process."""

    def do_all() -> None:
        for connection in filter(None, [one() for one in tuple(_all)]):
            do(connection)

    return do_all


before_fork = _for_all(methodcaller("before_fork"))
after_fork = _for_all(methodcaller("after_fork"))
after_fork_in_child = _for_all(methodcaller("after_fork_in_child"))
# Windows doesn't fork, and has no such function: `dict` takes the same names and does nothing.
getattr(os, "register_at_fork", dict)(before=before_fork, after_in_parent=after_fork)
forks.in_child(after_fork_in_child)


def retry_while_busy(do: Callable[[], object], deadline: float) -> None:
    """Call `do` again while another process holds the lock. Raises its last error."""
    while True:
        try:
            do()
        except (sqlite3.OperationalError, StoreUnavailable) as error:
            if not error_name(error).startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                raise
            time.sleep(BUSY_PAUSE)
        else:
            return


def begin_writing(db: sqlite3.Connection, deadline: float) -> None:
    """Begin a transaction: wait until no other process writes. Raises sqlite3.OperationalError."""
    db.execute("PRAGMA busy_timeout = 0")
    retry_while_busy(lambda: db.execute("BEGIN IMMEDIATE"), deadline)


def error_name(error: Exception) -> str:
    """Return SQLite's name of an error, or its class, but no message: it may quote a value."""
    if isinstance(error, StoreUnavailable):
        return error.detail
    return getattr(error, "sqlite_errorname", type(error).__name__)
