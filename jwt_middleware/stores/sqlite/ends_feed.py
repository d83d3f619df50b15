"""What has ended since a cursor: the ends in their numbers, which one writer at a time gives.

A number is given in the transaction that ends the grant, so what a reader finds has no gaps that
are filled later, whatever the clock says. A number is given twice only where the content of the
file was replaced, which a cursor notices by what else is in it.
"""

from __future__ import annotations

import sqlite3
from typing import Any, NamedTuple, cast

from ..contract import PAGE, Cursor, Ended, Mark
from .schema import SQLITE_STATEMENTS


class FileCursor(NamedTuple):
    """A cursor."""

    number: int  # the last end that was read
    history: str  # a fact of the store: `restore` writes another
    file: tuple[int, int] | None  # the device and inode of the file


def read_ends(
    db: sqlite3.Connection, file: tuple[int, int] | None, cursor: Cursor | None, since: float
) -> Ended:
    """Return the ends after a cursor. None, or one of another history: those since a time.

    Where the clock was set back some time ago, ends have lower times than ends before them. So
    from the first end since that time on all are returned, whatever their times are.
    """
    newest, history, *marked = db.execute(SQLITE_STATEMENTS["newest_end"]).fetchone()
    here = FileCursor(newest, history, file)
    read = cast("FileCursor | None", cursor)
    notices = () if read is None else tuple(_what_happened(read, here))
    if read is None or notices:
        (first,) = db.execute(SQLITE_STATEMENTS["first_end"], {"since": since}).fetchone()
        number = newest if first is None else first - 1
    else:
        number = read.number
    rows: list[tuple[int, str]] = []
    if number != newest:  # where nothing is new, a poll is one statement
        asked = {"number": number, "count": PAGE + 1}
        rows = db.execute(SQLITE_STATEMENTS["ends"], asked).fetchall()
    page = rows[:PAGE]
    last = page[-1][0] if page else max(number, newest)
    return Ended(
        tuple(grant_id for _, grant_id in page),
        here._replace(number=last),
        len(rows) > PAGE,
        mark_of(marked),
        notices,
    )


def mark_of(columns: Any) -> Mark | None:
    """Return the mark of the two columns `<mark>` of a statement."""
    before, made_at = columns
    return None if before is None else Mark(before, made_at)


def _what_happened(read: FileCursor, here: FileCursor) -> list[str]:
    """Return a sentence for the operator, where the store isn't the one that was read."""
    if read.history != here.history:
        happened = "the store's content was replaced, as restoring a backup does"
    elif read.file != here.file:
        happened = "the store's file was replaced by another with the same history, as cp -p does"
    elif read.number > here.number:
        happened = (
            f"the store has lost its last ends: {read.number} were read, and it knows of "
            f"{here.number}"
        )
    else:
        return []
    consequence = (
        "Grants that had ended may live again, and logins be gone. All ends that it knows of are "
        "read anew; `jwt-middleware grants end --all-before now` ends all other grants, too"
    )
    return [f"{happened}. {consequence}"]
