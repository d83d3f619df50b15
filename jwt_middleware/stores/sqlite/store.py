"""Grants in one SQLite file: durable, and shared by the threads and processes of one machine.

A process has three connections, opened when they are first needed: one writes, one reads, one asks
for what has ended. Threads take turns to read: a read takes microseconds and waits for no writer
(https://www.sqlite.org/wal.html). SQLite lets one writer in at a time anyway: what threads want to
write meanwhile is one commit. Processes take turns by trying again twice a millisecond. SQLite's
own busy handler sleeps up to 100 ms between two tries: a log-out could time out while other
processes refresh all the time.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from ...values.errors import ConfigurationError, StoreUnavailable
from ...values.flows import T
from ...values.tokens import Grant
from ..contract import Advanced, Cursor, Ended, Mark, Page
from ..grant_rows import read, written
from ..store_options import (
    STORE_TIMEOUT,
    check_engine_version,
    check_store_timeout,
    read_options,
    wrong_store,
)
from .backups import back_up, restore
from .connections import SharedConnection, error_name, retry_while_busy
from .ends_feed import mark_of, read_ends
from .grouped_commits import GroupedWriter
from .purging import Purging
from .schema import SQLITE_LEVELS, SQLITE_STATEMENTS, check_owner, make_schema, schema_level

OLDEST_SQLITE: Final = (3, 35)  # the first with RETURNING
# Octets of `-wal`, to which it is cut after a long reader has let it grow. It is usually written
# back at 4 MB, so that it isn't cut all the time.
LARGEST_LOG: Final = 8 * 2**20


class SQLiteStore:
    """Grants in a file of their own, on a local disk.

    With `synchronous="FULL"` an acknowledged logout survives a power cut. With "NORMAL" it survives
    the end of the process; a power cut may undo the last commits, and a commit costs a tenth.

    SQLite keeps `-wal` and `-shm` beside the file, so a copy of the file alone is no backup; this
    is one: `jwt-middleware grants backup FILE`. On a network file system the file would be
    damaged. The file is readable by its owner only, because it lists the logins. It holds no token
    or secret that could be used.

    Args:
        path: the file, which is created if it doesn't exist; its directory must exist.
        clock: seconds since 1970-01-01 UTC.
        retention: seconds that ends are kept, longer than any access token can live.
        synchronous: FULL or NORMAL.
        timeout: seconds that a verb waits for its turn, less than 10.

    Raises:
        ConfigurationError: for an impossible value. `check` finds what is wrong with the file.

    """

    blocking = True  # it waits for the disk: don't call it in an event loop

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        clock: Callable[[], float],
        retention: float,
        synchronous: str = "FULL",
        timeout: float = STORE_TIMEOUT,
    ) -> None:
        if synchronous not in ("FULL", "NORMAL"):
            raise wrong_store("synchronous must be FULL or NORMAL", "OFF can lose the whole file")
        check_store_timeout(timeout)
        name = os.fspath(path)
        if name in ("", ":memory:") or "\0" in name:
            raise wrong_store("needs the path of a file", "sqlite:///grants.db; or memory://")
        self._path = Path(name).absolute()  # a daemon may change its directory later
        self._clock = clock
        self._purging = Purging(clock, retention)
        self._synchronous = synchronous
        self._timeout = timeout
        self._is_prepared = False
        self._preparing = SharedConnection(self._path, timeout, self._set_up)
        self._reader = SharedConnection(self._path, timeout, self._set_up_and_check)
        self._writer = GroupedWriter(self._path, timeout, self._set_up_and_check)
        self._poller = SharedConnection(self._path, timeout, self._set_up_and_check)

    @classmethod
    def from_url(cls, url: str, *, clock: Callable[[], float], retention: float) -> SQLiteStore:
        """Return the store at `sqlite:///path?synchronous=...`; see `parse_sqlite_url`."""
        path, options = parse_sqlite_url(url)
        return cls(path, clock=clock, retention=retention, **options)

    # --- beginning and end

    def check_place(self) -> None:
        """Check for the directory, when the ASGI middleware is made. Raises ConfigurationError.

        There `check` comes later, with the lifespan, and never where a server has no lifespan.
        """
        if not os.path.isdir(self._path.parent):
            raise wrong_store(
                f"{self._path.parent} is no directory", "make it first, on a local disk"
            )

    def check(self) -> None:
        """Make the file and its schema, or bring the schema up to date, and write to it once.

        Raises:
            ConfigurationError: says what is wrong with the file, and the way out.

        """
        check_engine_version(
            "SQLite",
            sqlite3.sqlite_version_info,
            OLDEST_SQLITE,
            "use a Python that comes with a newer one",
        )
        try:
            self._prepare()
        except StoreUnavailable as error:
            kind = error.detail.removeprefix("SQLITE_").partition("_")[0]
            remedy = _SQLITE_REMEDIES.get(kind, _SQLITE_REMEDY)
            raise wrong_store(f"{self._path} can't be used: {error.detail}", remedy) from None

    def close(self) -> None:
        """Close what is open. A later verb opens it anew."""
        for shared in (self._preparing, self._reader, self._writer, self._poller):
            shared.close()

    # --- by the command line

    def backup(self, target: Path) -> None:
        """See `back_up`."""
        with closing(self._preparing):
            back_up(self._preparing, self._path, target)

    def restore(self, source: Path) -> None:
        """See `backups.restore`; where there is no file, it is made."""
        with closing(self._preparing):
            restore(self._preparing, self._path, source, self._create)

    # --- preparing

    def _prepare(self) -> None:
        deadline = time.monotonic() + self._timeout
        # Retried, because SQLite doesn't wait for a lock to change to WAL mode: it fails at once.
        retry_while_busy(lambda: self._prepare_once(deadline), deadline)
        self._is_prepared = True

    def _prepare_once(self, deadline: float) -> None:
        self._create()
        try:
            with self._preparing.taken() as (db, _):
                make_schema(db, self._path, deadline)
        finally:
            self._preparing.close()

    def _create(self) -> None:
        # Created here, not by SQLite, to set the mode; `-wal` and `-shm` get the same. Only a new
        # file is closed here: closing an existing one would drop the locks of this process's
        # connections (https://www.sqlite.org/howtocorrupt.html, 2.2).
        try:
            self._check_not_moved()
            self._path.touch(0o600, exist_ok=False)
        except FileExistsError:
            return
        except OSError as error:
            raise StoreUnavailable(error_name(error)) from None
        logging.getLogger("jwt_middleware").warning(
            "%s wasn't there, so it was made anew: nobody is logged in. If it has been moved or "
            "deleted, stop all processes that use it, and put it back",
            self._path,
        )

    def _check_not_moved(self) -> None:
        """Raise ConfigurationError where the file was moved away under processes that use it."""
        if self._path.exists():
            return
        for suffix in ("-wal", "-shm"):
            beside = self._path.with_name(self._path.name + suffix)
            # The file is looked for again: another process may have made both meanwhile.
            if beside.exists() and not self._path.exists():
                raise wrong_store(
                    f"{self._path} isn't there, but {beside.name} is: it was moved or deleted "
                    "while processes used it, and a new one would log everybody out",
                    "stop them and put it back, beside its -wal; or move its -wal and -shm away, "
                    "too, and run `jwt-middleware grants restore` with a backup, or begin anew",
                )

    def _set_up(self, db: sqlite3.Connection) -> None:
        db.execute(f"PRAGMA synchronous = {self._synchronous}")
        db.execute(f"PRAGMA journal_size_limit = {LARGEST_LOG}")
        if self._synchronous == "FULL":
            db.execute("PRAGMA fullfsync = ON")  # macOS: write through the drive's cache, too
            db.execute("PRAGMA checkpoint_fullfsync = ON")

    def _set_up_and_check(self, db: sqlite3.Connection) -> None:
        self._set_up(db)
        check_owner(db, self._path, may_be_empty=False)
        if schema_level(db) < len(SQLITE_LEVELS):
            # A backup made by an older package has replaced the file.
            make_schema(db, self._path, time.monotonic() + self._timeout)

    # --- the verbs
    # Each reads the clock during its turn, not before, because readers of ended grants compare that
    # time.

    def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        """See `Store.add`."""
        row = written(grant)

        def work(db: sqlite3.Connection) -> tuple[str, ...]:
            if not self._ask(db, "add", **row).rowcount:
                return ()
            return _grant_ids(self._ask(db, "limit", subject=grant.subject, limit=limit))

        return self._write(work)

    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        """See `Store.advance`."""
        if source == target:
            with self._reading(self._reader) as db:
                return Advanced(False, _grant_of(db, grant_id))

        def work(db: sqlite3.Connection) -> Advanced:
            rows = self._ask(
                db, "advance", id=grant_id, source=source, target=target, parent=parent
            ).fetchall()
            if rows:
                return Advanced(True, read(rows[0]))
            return Advanced(False, _grant_of(db, grant_id))

        return self._write(work)

    def use(self, grant_id: str) -> None:
        """See `Store.use`."""
        self._write(lambda db: self._ask(db, "use", id=grant_id))

    def end(self, grant_id: str, reason: str) -> bool:
        """See `Store.end`."""
        return self._write(lambda db: self._ask(db, "end", id=grant_id, reason=reason).rowcount > 0)

    def end_subject(self, subject: str, reason: str) -> tuple[str, ...]:
        """See `Store.end_subject`."""
        return self._write(
            lambda db: _grant_ids(self._ask(db, "end_subject", subject=subject, reason=reason))
        )

    def end_before(self, time: float | None) -> Mark | None:
        """See `Store.end_before`."""

        def work(db: sqlite3.Connection) -> Mark | None:
            now = self._clock()
            mark = Mark(now if time is None else time, now)
            if mark.before > now:
                return None
            former = mark_of(db.execute(SQLITE_STATEMENTS["mark"]).fetchone())
            if former is not None and former.before >= mark.before:
                return former
            for name, value in (("before", mark.before), ("marked_at", mark.made_at)):
                self._ask(db, "set_fact", name=name, value=value)
            return mark

        return self._write(work)

    def is_living(self, grant_id: str) -> bool:
        """See `Store.is_living`."""
        with self._reading(self._reader) as db:
            (count,) = self._ask(db, "is_living", id=grant_id).fetchone()
            return bool(count)

    def grants(self, subject: str) -> tuple[Grant, ...]:
        """See `Store.grants`."""
        with self._reading(self._reader) as db:
            return tuple(map(read, self._ask(db, "grants", subject=subject).fetchall()))

    def ended(self, cursor: Cursor | None, horizon: float) -> Ended:
        """See `Store.ended`."""
        with self._reading(self._poller) as db:
            return read_ends(db, self._poller.file, cursor, self._clock() - horizon)

    def admit(self, key: str, until: float) -> bool:
        """See `Store.admit`."""
        return self._write(lambda db: self._ask(db, "admit", key=key, until=until).rowcount > 0)

    def purge(self, now: float) -> int:
        """See `Store.purge`; a clock that has gone far ahead isn't believed."""
        return self._write(lambda db: self._purging.purge(db, now))

    def page(self, position: Cursor | None, count: int) -> Page:
        """See `Listing.page`; here the oldest first."""
        with self._reading(self._reader) as db:
            rows = self._ask(db, "page", position=position or 0, count=count).fetchall()
            return Page(tuple(read(row[1:]) for row in rows), rows[-1][0] if rows else None)

    def _ask(self, db: sqlite3.Connection, statement: str, **given: Any) -> sqlite3.Cursor:
        return db.execute(SQLITE_STATEMENTS[statement], {"now": self._clock(), **given})

    # --- turns

    @contextmanager
    def _reading(self, shared: SharedConnection) -> Generator[sqlite3.Connection, None, None]:
        try:
            if not self._is_prepared:
                self._prepare()
            with shared.taken() as (db, _):
                yield db
        except ConfigurationError as error:
            # `check` raises it unchanged at the start; a verb may raise StoreUnavailable only.
            raise StoreUnavailable(error.problem) from None

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a transaction: after an error before its end, all of the work is rolled back."""
        try:
            if not self._is_prepared:
                self._prepare()
            return self._writer.write(work)
        except ConfigurationError as error:
            raise StoreUnavailable(error.problem) from None


def _grant_ids(found: sqlite3.Cursor) -> tuple[str, ...]:
    return tuple(one for (one,) in found.fetchall())


def _grant_of(db: sqlite3.Connection, grant_id: str) -> Grant | None:
    row = db.execute(SQLITE_STATEMENTS["read"], {"id": grant_id}).fetchone()
    if row is None:
        return None
    grant, mark = read(row[:-2]), mark_of(row[-2:])
    return grant if mark is None else mark.applied(grant)


def parse_sqlite_url(url: str) -> tuple[str, dict[str, Any]]:
    """Return the path and the options of `sqlite:///relative.db` or `sqlite:////absolute.db`.

    Options: `synchronous` (FULL or NORMAL) and `timeout` (seconds). In the path, `%3F` is a
    question mark, and so on (RFC 3986 s2.1).

    Raises:
        ConfigurationError: for anything else.

    """
    host, slash, rest = url.removeprefix("sqlite://").partition("/")
    path, _, query = rest.partition("?")
    if not url.startswith("sqlite://") or host or not slash or not path or "#" in url:
        raise wrong_store(
            f"{url!r} is no address of a file",
            "sqlite:///grants.db from here, sqlite:////var/lib/app/grants.db from the root",
        )
    try:
        return unquote(path), read_options(query, _SQLITE_OPTIONS)
    except KeyError as error:
        raise wrong_store(
            f"has no option {error}", f"there are {', '.join(_SQLITE_OPTIONS)}"
        ) from None


_SQLITE_OPTIONS: dict[str, Callable[[str], Any]] = {"synchronous": str.upper, "timeout": float}

_SQLITE_REMEDY = "its directory must be there, and this process be allowed to write to both"
_SQLITE_REMEDIES = {
    "BUSY": "end the program that holds a lock on it",
    "CORRUPT": "restore a backup; or move it away, and everybody logs in anew",
    "FULL": "make room on the disk",
    "IOERR": "the disk fails, or it is no local one",
    "NOTADB": "give the grants a file of their own",
}
