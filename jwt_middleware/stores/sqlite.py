"""Grants in one SQLite file: durable, and shared by the threads and processes of one machine.

A process has two connections, opened when they are first needed: one writes, one reads, and threads
take turns at each. SQLite lets one writer in at a time anyway, and who queues here is woken when it
is his turn; a read takes microseconds and waits for no writer (https://www.sqlite.org/wal.html).
Processes take turns by trying again twice a millisecond. SQLite's own busy handler comes to sleep
for 100 ms between two tries: a logout would wait in vain while others are busy refreshing.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Final
from urllib.parse import parse_qsl, unquote
from weakref import ReferenceType, ref

from ..values import forks
from ..values.errors import ConfigurationError, StoreUnavailable
from ..values.tokens import Grant
from .contract import Advanced, Cursor, Ended, Page
from .grant_rows import FIELDS, read, written
from .memory import OVERLAP, PURGE_AT_MOST, since

OLDEST: Final = (3, 35)  # the first with RETURNING
TIMEOUT: Final = 5.0  # seconds to wait for a turn; every store's time-out is below 10
PAUSE: Final = 0.0005  # seconds between two tries
PURGE_BATCH: Final = 500  # rows of one transaction: other writers wait no longer than that

APPLICATION_ID: Final = 0x4A575447  # "JWTG": this file is ours
# The levels of the schema, each made from the one before. What has been released is never changed.
# An index of the living and one of the ended: a grant is in one of them, so both stay small.
#
# `PRAGMA user_version` is the last level that a package which doesn't know it can't work with: an
# older package refuses the file. A level that only adds leaves it, and processes of the former
# package go on beside those of the new one. How far the additions have come is the fact `level`.
MIGRATIONS: Final = (
    (
        """CREATE TABLE grants (
            number INTEGER PRIMARY KEY,  -- the order of their beginning
            id TEXT NOT NULL UNIQUE,
            subject TEXT NOT NULL,
            client_id TEXT NOT NULL,
            scope TEXT NOT NULL,
            claims TEXT,  -- JSON; NULL for {}
            bound_key TEXT,
            generation INTEGER NOT NULL,
            parent TEXT,
            rotated_at REAL NOT NULL,
            created_at REAL NOT NULL,
            expires_at REAL NOT NULL,
            ended_at REAL,
            end_reason TEXT
        )""",
        "CREATE INDEX grants_living ON grants (subject) WHERE ended_at IS NULL",
        "CREATE INDEX grants_ended ON grants (ended_at) WHERE ended_at IS NOT NULL",
        "CREATE INDEX grants_expiring ON grants (expires_at)",
        """CREATE TABLE admitted (
            key TEXT PRIMARY KEY NOT NULL,
            until REAL NOT NULL
        ) WITHOUT ROWID""",
        "CREATE INDEX admitted_until ON admitted (until)",
    ),
    (
        "ALTER TABLE grants ADD COLUMN last_used_at REAL",
        "ALTER TABLE grants ADD COLUMN label TEXT",
        "ALTER TABLE grants ADD COLUMN idle_limit REAL",
        "ALTER TABLE grants ADD COLUMN is_session INTEGER NOT NULL DEFAULT 0",
        # The ends in their order. A trigger writes them, so that an end has a number whichever
        # package made it; those of the last day get theirs now.
        """CREATE TABLE ends (
            number INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given twice
            id TEXT NOT NULL,
            ended_at REAL NOT NULL
        )""",
        """INSERT INTO ends (id, ended_at) SELECT id, ended_at FROM grants
            WHERE ended_at >= (SELECT max(ended_at) FROM grants) - 86400 ORDER BY ended_at""",
        """CREATE TRIGGER grants_end AFTER UPDATE OF ended_at ON grants
            WHEN OLD.ended_at IS NULL AND NEW.ended_at IS NOT NULL BEGIN
                INSERT INTO ends (id, ended_at) VALUES (NEW.id, NEW.ended_at);
            END""",
        # What is about the whole store.
        "CREATE TABLE facts (name TEXT PRIMARY KEY NOT NULL, value) WITHOUT ROWID",
        "INSERT INTO facts VALUES ('level', 2)",
    ),
)
VERSION: Final = 1  # of the levels the last one that an older package can't work with

_NAMES = {
    "<row>": ", ".join(FIELDS),
    "<values>": ", ".join(f":{name}" for name in FIELDS),
    "<living>": "subject = :subject AND ended_at IS NULL AND expires_at > :now",
}


def _sql(text: str) -> str:
    for name, meaning in _NAMES.items():
        text = text.replace(name, meaning)
    return text


# All that is ever asked. A test holds that none of it reads a whole table.
SQL: Final = {
    "add": _sql("INSERT INTO grants (<row>) VALUES (<values>) ON CONFLICT (id) DO NOTHING"),
    "limit": _sql(
        "UPDATE grants SET ended_at = :now, end_reason = 'limit' WHERE number IN "
        "(SELECT number FROM grants WHERE <living> ORDER BY number DESC LIMIT -1 OFFSET :limit) "
        "RETURNING id"
    ),
    "read": _sql("SELECT <row> FROM grants WHERE id = :id"),
    "advance": _sql(
        "UPDATE grants SET generation = :target, parent = :parent, rotated_at = :now "
        "WHERE id = :id AND generation = :source AND ended_at IS NULL AND expires_at > :now "
        "RETURNING <row>"
    ),
    "use": _sql(
        "UPDATE grants SET last_used_at = :now "
        "WHERE id = :id AND ended_at IS NULL AND expires_at > :now"
    ),
    "end": _sql(
        "UPDATE grants SET ended_at = :now, end_reason = :reason "
        "WHERE id = :id AND ended_at IS NULL"
    ),
    "end_subject": _sql(
        "UPDATE grants SET ended_at = :now, end_reason = :reason WHERE <living> RETURNING id"
    ),
    "grants": _sql("SELECT <row> FROM grants WHERE <living> ORDER BY number DESC"),
    "page": _sql(
        "SELECT number, <row> FROM grants WHERE number > :position AND ended_at IS NULL "
        "AND expires_at > :now ORDER BY number LIMIT :count"
    ),
    "ended": _sql("SELECT id FROM grants WHERE ended_at >= :since"),
    "admit": _sql(
        "INSERT INTO admitted (key, until) VALUES (:key, :until) "
        "ON CONFLICT (key) DO UPDATE SET until = excluded.until WHERE admitted.until <= :now"
    ),
    "purge": _sql(
        "DELETE FROM grants WHERE number IN (SELECT number FROM grants WHERE expires_at <= :at "
        "AND (ended_at IS NULL OR ended_at + :retention <= :at) LIMIT :batch)"
    ),
    # Looks at no more than it may delete: the oldest have the lowest numbers.
    "purge_ends": _sql(
        "DELETE FROM ends WHERE number IN (SELECT number FROM (SELECT number, ended_at FROM ends "
        "ORDER BY number LIMIT :batch) WHERE ended_at + :retention <= :at)"
    ),
    "purge_keys": _sql(
        "DELETE FROM admitted WHERE key IN "
        "(SELECT key FROM admitted WHERE until <= :at LIMIT :batch)"
    ),
}


class SQLiteStore:
    """Grants in a file of their own, on a local disk.

    With `synchronous="FULL"` an acknowledged logout survives a power cut. With "NORMAL" it survives
    the end of the process; a power cut may take back the last moments, and a commit costs a tenth.

    SQLite keeps `-wal` and `-shm` beside the file, so to copy the file alone makes no backup; this
    does: `sqlite3 grants.db ".backup copy.db"`. On a network file system the file would be damaged.
    It is made readable for its owner alone, because it tells who is logged in; nothing in it can
    be presented to anybody.

    Args:
        path: the file; it is made when it isn't there, its directory is not.
        clock: seconds since 1970-01-01 UTC.
        retention: seconds that ends are kept, longer than any access token can live.
        synchronous: FULL or NORMAL.
        timeout: seconds that a verb waits for its turn, less than 10.

    Raises:
        ConfigurationError: for a value that can't be; what is wrong with the file, `check` finds.

    """

    blocking = True  # it waits for the disk: not in an event loop

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        clock: Callable[[], float],
        retention: float,
        synchronous: str = "FULL",
        timeout: float = TIMEOUT,
    ) -> None:
        if synchronous not in ("FULL", "NORMAL"):
            raise _wrong("synchronous must be FULL or NORMAL", "OFF can lose the whole file")
        if not 0 < timeout < 10:
            raise _wrong("timeout must be more than 0 and less than 10 seconds", "5 is usual")
        name = os.fspath(path)
        if name in ("", ":memory:") or "\0" in name:
            raise _wrong("needs the path of a file", "sqlite:///grants.db; or memory://")
        self._path = Path(name).absolute()  # a daemon may change its directory later
        self._clock = clock
        self._retention = retention
        self._synchronous = synchronous
        self._timeout = timeout
        self._is_prepared = False
        self._preparing = _Line(self._path, self._connect, timeout)
        self._reader = _Line(self._path, self._open, timeout)
        self._writer = _Line(self._path, self._open, timeout)
        self.lines = (self._preparing, self._reader, self._writer)
        _stores.append(ref(self, _stores.remove))

    @classmethod
    def from_url(cls, url: str, *, clock: Callable[[], float], retention: float) -> SQLiteStore:
        """Return the store at `sqlite:///path?synchronous=...&timeout=...`; see `parse_url`."""
        path, options = parse_url(url)
        return cls(path, clock=clock, retention=retention, **options)

    # --- beginning and end

    def check_place(self) -> None:
        """Look for the directory, when the ASGI door is made. Raises ConfigurationError.

        There `check` comes later, with the lifespan, and not at all where a server has none.
        """
        if not os.path.isdir(self._path.parent):
            raise _wrong(f"{self._path.parent} is no directory", "make it first, on a local disk")

    def check(self) -> None:
        """Make the file and its schema, or bring the schema up to date, and write to it once.

        Raises:
            ConfigurationError: says what is wrong with the file, and the way out.

        """
        if sqlite3.sqlite_version_info < OLDEST:
            raise _wrong(
                f"SQLite {sqlite3.sqlite_version} is older than {'.'.join(map(str, OLDEST))}",
                "use a Python that comes with a newer one",
            )
        try:
            self._prepare()
        except StoreUnavailable as error:
            kind = error.detail.removeprefix("SQLITE_").partition("_")[0]
            remedy = _REMEDIES.get(kind, _REMEDY)
            raise _wrong(f"{self._path} can't be used: {error.detail}", remedy) from None

    def close(self) -> None:
        """Close what is open. A later verb opens it anew."""
        forks.notice()
        for line in self.lines:
            line.close()

    def _prepare(self) -> None:
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                self._create()
                with self._preparing.taken() as (db, _):
                    self._make_schema(db, deadline)
                self._is_prepared = True
                return
            except StoreUnavailable as error:
                # A change to WAL mode doesn't wait for its turn: SQLite gives up at once.
                if not error.detail.startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                    raise
                time.sleep(PAUSE)
            finally:
                self._preparing.close()

    def _create(self) -> None:
        # Before SQLite would, for the mode; `-wal` and `-shm` get the same. Only a file that is new
        # is closed here: to close another would take away the locks of this process's connections
        # (https://www.sqlite.org/howtocorrupt.html, 2.2).
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            pass
        except OSError as error:
            raise StoreUnavailable(type(error).__name__) from None

    def _make_schema(self, db: sqlite3.Connection, deadline: float) -> None:
        self._look_at(db, may_be_empty=True)
        if _value(db, "PRAGMA journal_mode = WAL") != "wal":
            raise _wrong(f"{self._path}: its file system can't share memory", "use a local disk")
        _begin(db, deadline)
        # Looked at again: another process may have been faster.
        self._look_at(db, may_be_empty=True)
        for script in MIGRATIONS[_level(db) :]:
            for statement in script:
                db.execute(statement)
        # At every start: a file that can't be written to is found out now, not at the first login.
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")

    def _look_at(self, db: sqlite3.Connection, *, may_be_empty: bool) -> None:
        """Look whether the file is ours, and not too new. Raises ConfigurationError."""
        application, version, tables = db.execute(
            "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema) "
            "FROM pragma_application_id, pragma_user_version"
        ).fetchone()
        if may_be_empty and not (application or version or tables):
            return
        if application != APPLICATION_ID:
            raise _wrong(
                f"{self._path} is a database of something else",
                "give the grants a file of their own",
            )
        if version > len(MIGRATIONS):
            raise _wrong(
                f"{self._path} was made by a newer version of this package: its schema is "
                f"{version}, and {len(MIGRATIONS)} is known here",
                "update this one, too",
            )

    def _open(self) -> sqlite3.Connection:
        # rw: never make the file here. Were it gone, an empty one would log everybody out silently.
        db = self._connect()
        try:
            self._look_at(db, may_be_empty=False)
            if _level(db) < len(MIGRATIONS):
                # A backup that an older package made has taken its place.
                self._make_schema(db, time.monotonic() + self._timeout)
        except BaseException:
            db.close()
            raise
        return db

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            f"{self._path.as_uri()}?mode=rw",
            uri=True,
            isolation_level=None,  # transactions begin and end where it is written
            check_same_thread=False,  # threads take turns
            timeout=self._timeout,
        )
        try:
            db.execute(f"PRAGMA synchronous = {self._synchronous}")
            if self._synchronous == "FULL":
                db.execute("PRAGMA fullfsync = ON")  # macOS: past the cache of the drive, too
                db.execute("PRAGMA checkpoint_fullfsync = ON")
        except BaseException:
            db.close()
            raise
        return db

    # --- the verbs

    def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        """See `Store.add`."""
        row = written(grant)
        with self._writing() as (db, now):
            if not db.execute(SQL["add"], row).rowcount:
                return ()
            asked = {"subject": grant.subject, "now": now, "limit": limit}
            return tuple(one for (one,) in db.execute(SQL["limit"], asked).fetchall())

    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        """See `Store.advance`."""
        if source == target:
            with self._reading() as db:
                return Advanced(False, _read(db, grant_id))
        with self._writing() as (db, now):
            asked = {
                "id": grant_id,
                "source": source,
                "target": target,
                "parent": parent,
                "now": now,
            }
            rows = db.execute(SQL["advance"], asked).fetchall()
            if rows:
                return Advanced(True, read(rows[0]))
            return Advanced(False, _read(db, grant_id))

    def use(self, grant_id: str) -> None:
        """See `Store.use`."""
        with self._writing() as (db, now):
            db.execute(SQL["use"], {"id": grant_id, "now": now})

    def end(self, grant_id: str, reason: str) -> bool:
        """See `Store.end`."""
        with self._writing() as (db, now):
            asked = {"id": grant_id, "reason": reason, "now": now}
            return db.execute(SQL["end"], asked).rowcount > 0

    def end_subject(self, subject: str, reason: str) -> tuple[str, ...]:
        """See `Store.end_subject`."""
        with self._writing() as (db, now):
            asked = {"subject": subject, "reason": reason, "now": now}
            return tuple(one for (one,) in db.execute(SQL["end_subject"], asked).fetchall())

    def grants(self, subject: str) -> tuple[Grant, ...]:
        """See `Store.grants`."""
        with self._reading() as db:
            asked = {"subject": subject, "now": self._clock()}
            return tuple(map(read, db.execute(SQL["grants"], asked).fetchall()))

    def ended(self, cursor: Cursor | None, horizon: float) -> Ended:
        """See `Store.ended`."""
        with self._reading() as db:
            now = self._clock()
            asked = {"since": since(cursor, now, horizon)}
            rows = db.execute(SQL["ended"], asked).fetchall()
            return Ended(tuple(one for (one,) in rows), now - OVERLAP)

    def admit(self, key: str, until: float) -> bool:
        """See `Store.admit`."""
        with self._writing() as (db, now):
            asked = {"key": key, "until": until, "now": now}
            return db.execute(SQL["admit"], asked).rowcount > 0

    def purge(self, now: float) -> int:
        """See `Store.purge`."""
        asked = {"at": now, "retention": self._retention, "batch": PURGE_BATCH}
        self._purge(SQL["purge_ends"], asked)
        return self._purge(SQL["purge"], asked) + self._purge(SQL["purge_keys"], asked)

    def _purge(self, sql: str, asked: dict[str, float]) -> int:
        total = 0
        while total < PURGE_AT_MOST:
            with self._writing() as (db, _):
                count = db.execute(sql, asked).rowcount
            total += count
            if count < PURGE_BATCH:
                break
        return total

    def page(self, position: Cursor | None, count: int) -> Page:
        """See `Listing.page`: in the order of their beginning."""
        with self._reading() as db:
            asked = {"position": position or 0, "count": count, "now": self._clock()}
            rows = db.execute(SQL["page"], asked).fetchall()
            return Page(tuple(read(row[1:]) for row in rows), rows[-1][0] if rows else None)

    # --- turns

    @contextmanager
    def _turn(self, line: _Line) -> Generator[tuple[sqlite3.Connection, float], None, None]:
        try:
            if not self._is_prepared:
                self._prepare()
            with line.taken() as turn:
                yield turn
        except ConfigurationError as error:
            # `check` tells it to whoever starts the service; a verb has one error only.
            raise StoreUnavailable(error.problem) from None

    @contextmanager
    def _reading(self) -> Generator[sqlite3.Connection, None, None]:
        with self._turn(self._reader) as (db, deadline):
            # Waits only where another process is mending what a third has left when it was killed.
            # In tenths of a second, so that there are few different statements to be kept.
            tenths = max(int(10 * (deadline - time.monotonic())), 1)
            db.execute(f"PRAGMA busy_timeout = {100 * tenths}")
            yield db

    @contextmanager
    def _writing(self) -> Generator[tuple[sqlite3.Connection, float], None, None]:
        """Lead a transaction: what fails before its end is taken back as a whole."""
        with self._turn(self._writer) as (db, deadline):
            _begin(db, deadline)
            # Now, not before the wait for the turn: a reader of ended grants goes by that time.
            yield db, self._clock()
            db.execute("COMMIT")


def _begin(db: sqlite3.Connection, deadline: float) -> None:
    """Wait until this process may write."""
    db.execute("PRAGMA busy_timeout = 0")
    while True:
        try:
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not _kind(error).startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                raise
            time.sleep(PAUSE)
        else:
            return


class _Line:
    """One connection that threads take turns at: opened when needed, and anew after every fault."""

    __slots__ = ("_db", "_file", "_is_held", "_lock", "_open", "_opener", "_path", "_timeout")

    def __init__(self, path: Path, open_: Callable[[], sqlite3.Connection], timeout: float) -> None:
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._is_held = False
        self._lock = Lock()
        self._open = open_
        self._opener = 0  # the process that has opened it
        self._path = path
        self._timeout = timeout

    def __del__(self, getpid: Callable[[], int] = os.getpid) -> None:
        if self._db is None:
            return
        if self._opener == getpid():
            self._db.close()
        else:
            _inherited.append(self._db)

    @contextmanager
    def taken(self) -> Generator[tuple[sqlite3.Connection, float], None, None]:
        """Take a turn, and say when it has to be over.

        After any error the connection is closed, which takes back what it has begun.
        """
        forks.notice()
        deadline = time.monotonic() + self._timeout
        lock = self._lock
        if not lock.acquire(timeout=self._timeout):
            raise StoreUnavailable("SQLITE_BUSY: another thread has its turn")
        is_done = False
        try:
            yield self._live(), deadline
            is_done = True
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable(_kind(error)) from None
        finally:
            if not is_done or forks.is_before_silent_fork():
                self._drop()
            lock.release()

    def _live(self) -> sqlite3.Connection:
        if _inherited:
            raise StoreUnavailable(
                "this process was forked while the file was open: start it anew; a server that "
                "forks without Python's hooks has to make the application in each worker"
            )
        found = os.stat(self._path)
        file = (found.st_dev, found.st_ino)
        if file != self._file:
            # It was moved away, or a backup took its place: nobody would read what is written here.
            self._drop()
        if self._db is None:
            self._file = file  # taken before it is opened, so that a change meanwhile is seen
            self._opener = os.getpid()
            self._db = self._open()
        return self._db

    def _drop(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def close(self) -> None:
        """Close the connection when its turn is over."""
        with self._lock:
            self._drop()

    def before_fork(self) -> None:
        """Close the connection and let nobody open it, until the fork is done."""
        self._is_held = self._lock.acquire(timeout=self._timeout)
        if self._is_held:
            self._drop()

    def after_fork(self) -> None:
        """Let the parent's threads go on."""
        if self._is_held:
            self._is_held = False
            self._lock.release()

    def begin_as_child(self) -> None:
        """Begin anew in the child: its lock may be a thread's that isn't there."""
        self._is_held = False
        self._lock = Lock()
        if self._db is not None:
            _inherited.append(self._db)
            self._db = None


# SQLite's locks don't hold in a child that has inherited a connection, and sooner or later the file
# is damaged (https://www.sqlite.org/howtocorrupt.html, 2.6): so nothing is open during a fork. What
# uWSGI forks runs no hook: before that, a line closes its connection after each turn.
_stores: list[ReferenceType[SQLiteStore]] = []
_inherited: list[sqlite3.Connection] = []  # all the same, by a verb that hung; kept, never closed


def before_fork() -> None:
    """Close what is open, and keep it closed until the fork is done."""
    for line in _lines():
        line.before_fork()


def after_fork() -> None:
    """Let the parent go on."""
    for line in _lines():
        line.after_fork()


def begin_as_child() -> None:
    """Let the child begin with nothing open."""
    for line in _lines():
        line.begin_as_child()


def _lines() -> Iterable[_Line]:
    stores = [store() for store in tuple(_stores)]
    return (line for store in stores if store is not None for line in store.lines)


# Windows doesn't fork, and has no such function: `dict` takes the same names and does nothing.
getattr(os, "register_at_fork", dict)(before=before_fork, after_in_parent=after_fork)
forks.in_child(begin_as_child)


def parse_url(url: str) -> tuple[str, dict[str, Any]]:
    """Return the path and the options of `sqlite:///relative.db` or `sqlite:////absolute.db`.

    Options: `synchronous` (FULL or NORMAL) and `timeout` (seconds). In the path, `%3F` is a
    question mark, and so on (RFC 3986 s2.1).

    Raises:
        ConfigurationError: for anything else.

    """
    host, slash, rest = url.removeprefix("sqlite://").partition("/")
    path, _, query = rest.partition("?")
    if not url.startswith("sqlite://") or host or not slash or not path or "#" in url:
        raise _wrong(
            f"{url!r} is no address of a file",
            "sqlite:///grants.db from here, sqlite:////var/lib/app/grants.db from the root",
        )
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
        options = {name: _OPTIONS[name](value) for name, value in pairs}
    except KeyError as error:
        raise _wrong(f"has no option {error}", f"there are {', '.join(_OPTIONS)}") from None
    except ValueError:
        raise _wrong(f"{query!r} can't be read", "?synchronous=NORMAL&timeout=2.5") from None
    if len(options) < len(pairs):
        raise _wrong(f"{query!r} gives an option twice", "give it once")
    return unquote(path), options


_OPTIONS: dict[str, Callable[[str], Any]] = {"synchronous": str.upper, "timeout": float}

_REMEDY = "its directory must be there, and this process be allowed to write to both"
_REMEDIES = {
    "BUSY": "end the program that holds a lock on it",
    "CORRUPT": "restore a backup; or move it away, and everybody logs in anew",
    "FULL": "make room on the disk",
    "IOERR": "the disk fails, or it is no local one",
    "NOTADB": "give the grants a file of their own",
}


def _wrong(problem: str, remedy: str) -> ConfigurationError:
    return ConfigurationError("refresh.store", problem, remedy)


def _value(db: sqlite3.Connection, sql: str) -> Any:
    return db.execute(sql).fetchone()[0]


def _level(db: sqlite3.Connection) -> int:
    """Return the level of the schema; 0: there is none."""
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
    if "facts" in tables:
        return int(_value(db, "SELECT value FROM facts WHERE name = 'level'"))
    return int("grants" in tables)


def _kind(error: Exception) -> str:
    # Never the message: it could quote a value.
    return getattr(error, "sqlite_errorname", type(error).__name__)


def _read(db: sqlite3.Connection, grant_id: str) -> Grant | None:
    row = db.execute(SQL["read"], {"id": grant_id}).fetchone()
    return None if row is None else read(row)
