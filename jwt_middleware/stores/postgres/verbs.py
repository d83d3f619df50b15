"""The verbs of the PostgreSQL stores: the statement, the meaning of its answer, the retries.

They are flows (`values/flows.py`) over a `fetch`, which knows the connection and the time left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import psycopg
import psycopg_pool
from psycopg.types.numeric import Int8

from ...values.flows import Flow, ask
from ...values.randomness import fraction
from ...values.tokens import Grant
from ..contract import Advanced, Cursor, Ended, Page
from ..grant_rows import FIELDS, has_more, read, written
from ..memory import OVERLAP, PURGE_AT_MOST
from .sql import READING_VERBS
from .wire import Fetch, Rows, Statement

TRIES: Final = 4
RETRY_PAUSE: Final = 0.05  # seconds, at most, before the second try
ROWS_AT_ONCE: Final = 500  # rows that one transaction purges; others wait for no more than that
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
            return Advanced(False, None)
        *row, _, rotated_at = rows[0]
        if rotated_at is not None:
            row[_ROTATED] = target, parent, rotated_at
            return Advanced(True, read(row))
        found = read(row)
        if found.generation == source and found.ended_at is None:
            # The swap waited for another write, and this row is from before it: read it again.
            return (yield from self._read(grant_id))
        return Advanced(False, found)

    def _read(self, grant_id: str) -> Flow[Advanced]:
        rows = yield from self._ask("read", id=grant_id)
        return Advanced(False, read(rows[0]) if rows else None)

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
        return tuple(map(read, (yield from self._ask("grants", subject=subject))))

    def ended(self, cursor: Cursor | None, horizon: float) -> Flow[Ended]:
        """See `Store.ended`."""
        ((cursor, grant_ids),) = yield from self._ask(
            "ended", cursor=cursor, overlap=OVERLAP, horizon=float(horizon)
        )
        return Ended(tuple(grant_ids), cursor)

    def admit(self, key: str, until: float) -> Flow[bool]:
        """See `Store.admit`."""
        digest = sha256(key.encode("utf-8", "surrogatepass")).digest()
        return bool((yield from self._ask("admit", key=digest, until=float(until))))

    def purge(self, now: float) -> Flow[int]:
        """See `Store.purge`."""
        yield from self._purge("purge_ends", now)
        grants = yield from self._purge("purge", now)
        return grants + (yield from self._purge("purge_keys", now))

    def _purge(self, statement: str, now: float) -> Flow[int]:
        asked = {"at": float(now), "retention": self._options.retention}
        total = 0
        while total < PURGE_AT_MOST:
            rows = yield from self._ask(statement, batch=Int8(ROWS_AT_ONCE), **asked)
            total += len(rows)
            if len(rows) < ROWS_AT_ONCE:
                break
        return total

    def page(self, position: Cursor | None, count: int) -> Flow[Page]:
        """See `Listing.page`; here in the order of the ids."""
        rows = yield from self._ask("page", position=position or "", count=Int8(count))
        found = tuple(map(read, rows))
        return Page(found, found[-1].id if found else None)

    def _ask(self, verb: str, /, **params: Any) -> Flow[Rows]:
        """Send a statement, and send it again only where it can't take effect twice.

        A transaction that the server rolled back is tried again. A statement may have been done if
        its connection broke: a read is sent again. A write is not, because the second answer would
        differ from the first.
        """
        params["offset"] = float(self._options.offset())
        statement = Statement(self._options.statements[verb], params, verb in READING_VERBS)
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
    """Say whether a connection broke; False where none could be made."""
    if isinstance(error, psycopg_pool.PoolTimeout | psycopg_pool.PoolClosed):
        return False
    state = error.sqlstate
    return isinstance(error, psycopg.OperationalError) and (
        state is None or state.startswith(("08", "57P"))
    )
