"""Back up the file of grants, and restore it, while processes use it: by SQLite's backup API.

A copy by the file system lacks what is in `-wal`. And put in the place of a file that is in use, it
stands beside a `-wal` that isn't its own, which restores nothing or damages it.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from ...values.errors import StoreUnavailable
from ...values.randomness import identifier
from ..store_options import wrong_store
from .connections import SharedConnection, error_name
from .ends_feed import mark_of
from .schema import SQLITE_STATEMENTS, check_owner, make_schema, schema_level

PAUSE: Final = 0.0005  # seconds between two tries to write, as other processes try
CHECK_TIMEOUT: Final = 5.0  # seconds; nobody else uses the copy that is checked


def back_up(living: SharedConnection, path: Path, target: Path) -> None:
    """Write all grants of the file at `path` into a new file, as they are at one moment.

    Raises ConfigurationError where the target exists or can't be made, and StoreUnavailable.
    """
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise wrong_store(f"{target} is there already", "name a new file") from None
    except OSError as error:
        raise wrong_store(f"{target}: {error.strerror}") from None
    try:
        with living.taken() as (db, _), closing(_connected(target, "rw")) as copy:
            check_owner(db, path, may_be_empty=False)
            db.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # then it is one file
    except BaseException:
        target.unlink()
        raise


def restore(
    living: SharedConnection, path: Path, source: Path, create: Callable[[], object]
) -> None:
    """Replace what is in the file at `path` by a backup, in one transaction.

    `create` makes the file where there is none. Processes that use the file go on. Readers of ends
    find another history, and begin anew. A mass end of the former content stays in force. Raises
    ConfigurationError for what is no backup, and StoreUnavailable.
    """
    if not source.is_file() or (path.exists() and source.samefile(path)):
        raise wrong_store(f"{source} is no backup", "name a file that `grants backup` has made")
    with _copy_beside(path, source) as copy:
        create()
        with living.taken() as (db, until):
            _keep_mark(db, copy)

            def give_up(status: int, _: int, __: int) -> None:
                if status != sqlite3.SQLITE_DONE and time.monotonic() > until:
                    raise StoreUnavailable("SQLITE_BUSY: another process writes")

            copy.backup(db, progress=give_up, sleep=PAUSE)


@contextmanager
def _copy_beside(path: Path, source: Path) -> Generator[sqlite3.Connection, None, None]:
    """Give a copy of a backup, checked, up to date, and with a history of its own."""
    part = path.with_name(f"{path.name}.restoring-{os.getpid()}")
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with closing(_connected(part, "rw")) as copy:
            # Without a `-wal`, nothing has to be made beside the backup to read it.
            has_log = source.with_name(f"{source.name}-wal").exists()
            with closing(_connected(source, "ro" if has_log else "ro&immutable=1")) as backup:
                backup.backup(copy)
            _check_and_renew(copy, source)
            yield copy
    except (sqlite3.Error, OSError) as error:
        raise wrong_store(f"{source} can't be restored: {error_name(error)}") from None
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            part.with_name(part.name + suffix).unlink(missing_ok=True)


def _check_and_renew(copy: sqlite3.Connection, source: Path) -> None:
    check_owner(copy, source, may_be_empty=False)
    (found,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise wrong_store(f"{source} is damaged", "take an older backup")
    make_schema(copy, source, time.monotonic() + CHECK_TIMEOUT)
    asked = {"name": "history", "value": identifier()}
    copy.execute(SQLITE_STATEMENTS["set_fact"], asked)
    # What a machine has measured says nothing on another one, nor after a rest.
    copy.execute("DELETE FROM facts WHERE name IN ('believed', 'believed_at')")


def _keep_mark(db: sqlite3.Connection, copy: sqlite3.Connection) -> None:
    if schema_level(db) < 2:  # no file, or one without facts
        return
    former = mark_of(db.execute(SQLITE_STATEMENTS["mark"]).fetchone())
    restored = mark_of(copy.execute(SQLITE_STATEMENTS["mark"]).fetchone())
    if former is not None and (restored is None or restored.before < former.before):
        for name, value in (("before", former.before), ("marked_at", former.made_at)):
            copy.execute(SQLITE_STATEMENTS["set_fact"], {"name": name, "value": value})


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, isolation_level=None)
