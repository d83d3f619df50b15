"""The verbs of the PostgreSQL stores: the statement, the meaning of its answer, the retries.

They are flows (`values/flows.py`) over a `fetch`, which knows the connection and the time left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, cast

import psycopg
import psycopg_pool
from psycopg.types.numeric import Int8

from ...values.flows import Flow, ask
from ...values.randomness import fraction
from ...values.tokens import Grant
from ..contract import Advanced, Cursor, Ended, Mark, Page
from ..grant_rows import FIELDS, has_more, read, written
from .feed_cursor import FeedAnswer, FeedCursor, first_cursor
from .sql import READING_VERBS
from .wire import Fetch, Rows, Statement

TRIES: Final = 4
RETRY_PAUSE: Final = 0.05  # seconds, at most, before the second try
PURGED_AT_ONCE: Final = 500  # rows of each kind; others wait for no more than that
_ROTATED: Final = slice(FIELDS.index("generation"), FIELDS.index("rotated_at") + 1)


@dataclass(frozen=True)
class VerbOptions:
    """The options that all verbs of a store use."""

    schema: str
    statements: Mapping[str, str]  # by verb
    retention: float  # seconds
    serve: bool
    offset: Callable[[], float]  # seconds, to be added to the server's clock
    sleep: Callable[[float], Any]


class Verbs:
    """The verbs as flows: one object for each call of a store, with the call's time limit."""

    def __init__(self, options: VerbOptions, fetch: Fetch) -> None:
        self._options = options
        self._fetch = fetch

    def add(self, grant: Grant, limit: int) -> Flow[tuple[str, ...]]:
        """See `Store.add`."""
        row = written(grant) | {"generation": Int8(grant.generation), "limit": Int8(limit)}
        rows = yield from self._ask("add_with" if has_more(grant) else "add", **row)
        return tuple(one for (one,) in rows)

    def advance(
        self, grant_id: str, source: int, target: int, parent: str | None
    ) -> Flow[Advanced]:
        """See `Store.advance`."""
        if source == target:
            return (yield from self._read(grant_id))
        rows = yield from self._ask(
            "advance", id=grant_id, source=Int8(source), target=Int8(target), parent=parent
        )
        if not rows:
            # A replica may not have the row yet. Only a read finds that out: where there is no row,
            # nothing was to be written. If the read finds one, a login has come in between.
            found = yield from self._read(grant_id)
            if found.grant is None:
                return found
            return (yield from self.advance(grant_id, source, target, parent))
        mark, *row, _, rotated_at = rows[0]
        if rotated_at is not None:
            row[_ROTATED] = target, parent, rotated_at
            return Advanced(True, read(row))
        grant = _marked(mark, row)
        if grant.generation == source and grant.ended_at is None:
            # The swap waited for another write, and this row is from before it: read it again.
            return (yield from self._read(grant_id))
        return Advanced(False, grant)

    def _read(self, grant_id: str) -> Flow[Advanced]:
        found = _found((yield from self._ask("read", id=grant_id)))
        return Advanced(False, found[0] if found else None)

    def use(self, grant_id: str) -> Flow[None]:
        """See `Store.use`."""
        yield from self._ask("use", id=grant_id)

    def end(self, grant_id: str, reason: str) -> Flow[bool]:
        """See `Store.end`."""
        rows = yield from self._ask("end", id=grant_id, reason=reason)
        return any(was_alive for was_alive, _ in rows)

    def end_subject(self, subject: str, reason: str) -> Flow[tuple[str, ...]]:
        """See `Store.end_subject`."""
        rows = yield from self._ask("end_subject", subject=subject, reason=reason)
        return tuple(one for (one,) in rows)

    def grants(self, subject: str) -> Flow[tuple[Grant, ...]]:
        """See `Store.grants`."""
        return tuple(_found((yield from self._ask("grants", subject=subject))))

    def end_before(self, time: float | None) -> Flow[Mark | None]:
        """See `Store.end_before`."""
        rows = yield from self._ask("end_before", time=None if time is None else float(time))
        return _mark(rows[0][0]) if rows else None

    def is_living(self, grant_id: str) -> Flow[bool]:
        """See `Store.is_living`."""
        ((_, text, created_at, ended_at),) = yield from self._ask("is_living", id=grant_id)
        mark = _mark(text)
        if created_at is None or ended_at is not None:
            return False
        return mark is None or bool(created_at >= mark.before)

    def ended(self, cursor: Cursor | None, horizon: float) -> Flow[Ended]:
        """See `Store.ended`."""
        known = cast("FeedCursor | None", cursor)
        answer = yield from self._poll(known, horizon)
        notices: tuple[str, ...] = ()
        if known is not None and (notice := known.contradiction(answer)):
            notices, known = (notice,), None
            answer = yield from self._poll(known, horizon)
        then = first_cursor(answer) if known is None else known.after(answer)
        mark, more = _mark(answer.mark), answer.last is not None
        return Ended(tuple(answer.grant_ids), then, more, mark, notices)

    def _poll(self, cursor: FeedCursor | None, horizon: float) -> Flow[FeedAnswer]:
        """Ask for the page behind a cursor: by transactions, or by time until it has read all.

        Where nothing was committed between two polls, the next one first asks for that alone.
        """
        asked_at = time.monotonic()
        if cursor is not None and cursor.is_quiet:
            ((_, snapshot, history),) = yield from self._ask("glance")
            times = asked_at, time.monotonic()
            if (answer := cursor.unchanged(history, snapshot, times)) is not None:
                return answer
        place, grant_id = (cursor.place if cursor is not None else None) or (None, "")
        if cursor is None or cursor.seen is None:
            asked = self._ask("ended_lately", place=place, id=grant_id, horizon=float(horizon))
        else:
            place = place or str(cursor.bound)
            asked = self._ask("ended", place=place, id=grant_id, seen=cursor.seen)
        ((_, text, grant_ids, *by_time, history),) = yield from asked
        snapshot, table, last, *mark = text.split(" ", 3)
        return FeedAnswer(
            f"{history} {table}",
            snapshot,
            mark[0] if mark else None,
            grant_ids or [],
            None if last == "-" else (*(by_time or (last,)), grant_ids[-1]),
            asked_at,
            time.monotonic(),
        )

    def admit(self, key: str, until: float) -> Flow[bool]:
        """See `Store.admit`."""
        digest = sha256(key.encode("utf-8", "surrogatepass")).digest()
        return bool((yield from self._ask("admit", key=digest, until=float(until))))

    def purge(self, now: float) -> Flow[int]:
        """See `Store.purge`."""
        ends = yield from self._purge("purge_ends", now)
        grants = yield from self._purge("purge", now)
        return ends + grants + (yield from self._purge("purge_keys", now))

    def _purge(self, statement: str, now: float) -> Flow[int]:
        asked = {"at": float(now), "retention": self._options.retention}
        rows = yield from self._ask(statement, batch=Int8(PURGED_AT_ONCE), **asked)
        return len(rows)

    def page(self, position: Cursor | None, count: int) -> Flow[Page]:
        """See `Listing.page`; here in the order of the ids."""
        rows = yield from self._ask("page", position=position or "", count=Int8(count))
        found = _found(rows)
        living = tuple(one for one in found if one.ended_at is None)
        return Page(living, found[-1].id if found else None)

    def _ask(self, verb: str, /, **params: Any) -> Flow[Rows]:
        """Send a statement, and send it again only where it can't take effect twice.

        A transaction that the server rolled back is tried again. A statement may have been done if
        its connection broke: a read is sent again. A write is not, because the second answer would
        differ from the first. A read that came to a replica is sent again, too: a new connection
        may lead to the primary.
        """
        params["offset"] = float(self._options.offset())
        texts = self._options.statements
        again = texts.get(f"{verb}_again", "")
        statement = Statement(texts[verb], params, verb in READING_VERBS, again)
        tries = 0
        while True:
            try:
                return (yield from self._fetch(statement))
            except psycopg.Error as error:
                tries += 1
                is_undone = (error.sqlstate or "").startswith("40")
                if tries == TRIES or not (is_undone or (statement.reads and _is_lost(error))):
                    raise
            yield from ask(self._options.sleep, RETRY_PAUSE * tries * fraction())


def _is_lost(error: psycopg.Error) -> bool:
    """Say whether a connection broke, or led to a replica; False where none could be made."""
    if isinstance(error, psycopg_pool.PoolTimeout | psycopg_pool.PoolClosed):
        return False
    state = error.sqlstate
    if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
        return True
    return isinstance(error, psycopg.OperationalError) and (
        state is None or state.startswith(("08", "57P"))
    )


def _mark(text: str | None) -> Mark | None:
    return Mark(*map(float, text.split())) if text is not None else None


def _marked(mark: str | None, row: Sequence[Any]) -> Grant:
    """Return the grant of a row as it is under the mark."""
    grant, its_mark = read(row), _mark(mark)
    return grant if its_mark is None else its_mark.applied(grant)


def _found(rows: Rows) -> list[Grant]:
    """Return the grants of a reading statement; where there are none, it has one row of NULLs."""
    return [_marked(mark, row) for _, mark, *row in rows if row[0] is not None]
