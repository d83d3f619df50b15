"""The verbs of the PostgreSQL stores: what is asked, what an answer means, what is asked again.

They stand here once, as generators: they yield a statement and are sent its rows, or have its error
thrown at them. Nothing here waits or knows a connection.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from hashlib import sha256
from logging import getLogger
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import psycopg
import psycopg_pool
from psycopg.types.numeric import Int8

from ...values.randomness import fraction
from ...values.tokens import Grant
from ..contract import Advanced, Cursor, Ended, Page
from ..grant_rows import FIELDS, has_more, read, written
from ..memory import OVERLAP, PURGE_AT_MOST
from .sql import (
    MIGRATIONS,
    NEEDED,
    OLDEST,
    RIGHTS,
    SCHEMA,
    SERVER,
    TABLES,
    exact,
    lock_sql,
    quoted,
    right_sql,
    schema_sql,
    statements,
    wrong,
)

TRIES: Final = 4
PAUSE: Final = 0.05  # seconds, at most, before the second try
PURGE_BATCH: Final = 500  # rows of one transaction: others wait no longer than that
_ROTATED: Final = slice(FIELDS.index("generation"), FIELDS.index("rotated_at") + 1)

T = TypeVar("T")
Rows: TypeAlias = list[tuple[Any, ...]]


class Statement(NamedTuple):
    """One question to the server: one round trip."""

    sql: str
    params: Mapping[str, Any] | None = None  # None: any number of statements, never prepared
    reads: bool = False  # nothing is lost when it is given up and goes on


# What a verb or a check is made of: a number is a pause, in seconds.
Flow: TypeAlias = Generator[Statement | float, Rows, T]


class Verbs:
    """The nine verbs and the look at the start, for one schema."""

    def __init__(
        self,
        schema: str,
        *,
        retention: float,
        serve: bool,
        is_waiting: bool,
        offset: Callable[[], float],
    ) -> None:
        self._statements = statements(schema, is_waiting=is_waiting)
        self._schema = schema
        self._retention = float(retention)
        self._serve = serve
        self._offset = offset

    def add(self, grant: Grant, limit: int) -> Flow[tuple[str, ...]]:
        row = written(grant)
        row |= {"generation": Int8(grant.generation), "limit": Int8(limit)}
        rows = yield from self._ask("add_with" if has_more(grant) else "add", self._now(row))
        return tuple(one for (one,) in rows)

    def advance(
        self, grant_id: str, source: int, target: int, parent: str | None
    ) -> Flow[Advanced]:
        if source == target:
            return (yield from self._read(grant_id))
        asked = {"id": grant_id, "source": Int8(source), "target": Int8(target), "parent": parent}
        rows = yield from self._ask("advance", self._now(asked))
        if not rows:
            return Advanced(False, None)
        *row, _, rotated_at = rows[0]
        if rotated_at is not None:
            row[_ROTATED] = target, parent, rotated_at
            return Advanced(True, read(row))
        found = read(row)
        if found.generation == source and found.ended_at is None:
            return (yield from self._read(grant_id))
        return Advanced(False, found)

    def _read(self, grant_id: str) -> Flow[Advanced]:
        rows = yield from self._ask("read", {"id": grant_id}, reads=True)
        return Advanced(False, read(rows[0]) if rows else None)

    def use(self, grant_id: str) -> Flow[None]:
        yield from self._ask("use", self._now({"id": grant_id}))

    def end(self, grant_id: str, reason: str) -> Flow[bool]:
        rows = yield from self._ask("end", self._now({"id": grant_id, "reason": reason}))
        return any(was_alive for was_alive, _ in rows)

    def end_subject(self, subject: str, reason: str) -> Flow[tuple[str, ...]]:
        asked = {"subject": subject, "reason": reason}
        rows = yield from self._ask("end_subject", self._now(asked))
        return tuple(one for (one,) in rows)

    def grants(self, subject: str) -> Flow[tuple[Grant, ...]]:
        rows = yield from self._ask("grants", self._now({"subject": subject}), reads=True)
        return tuple(map(read, rows))

    def ended(self, cursor: Cursor | None, horizon: float) -> Flow[Ended]:
        asked = {"cursor": cursor, "overlap": OVERLAP, "horizon": float(horizon)}
        ((cursor, grant_ids),) = yield from self._ask("ended", self._now(asked), reads=True)
        return Ended(tuple(grant_ids), cursor)

    def admit(self, key: str, until: float) -> Flow[bool]:
        digest = sha256(key.encode("utf-8", "surrogatepass")).digest()
        rows = yield from self._ask("admit", self._now({"key": digest, "until": float(until)}))
        return bool(rows)

    def purge(self, now: float) -> Flow[int]:
        given = {"at": float(now), "retention": self._retention, "batch": Int8(PURGE_BATCH)}
        asked = self._now(given)
        yield from self._purge("purge_ends", asked)
        grants = yield from self._purge("purge", asked)
        return grants + (yield from self._purge("purge_keys", asked))

    def _purge(self, statement: str, asked: dict[str, Any]) -> Flow[int]:
        total = 0
        while total < PURGE_AT_MOST:
            rows = yield from self._ask(statement, asked)
            total += len(rows)
            if len(rows) < PURGE_BATCH:
                break
        return total

    def page(self, position: Cursor | None, count: int) -> Flow[Page]:
        asked: dict[str, Any] = {"position": position or "", "count": Int8(count)}
        rows = yield from self._ask("page", self._now(asked), reads=True)
        found = tuple(map(read, rows))
        return Page(found, found[-1].id if found else None)

    def _now(self, params: dict[str, Any]) -> dict[str, Any]:
        params["offset"] = float(self._offset())
        return params

    def _ask(self, verb: str, params: dict[str, Any], *, reads: bool = False) -> Flow[Rows]:
        """Ask, and again where that can't do anything twice.

        A transaction that the server took back may be tried again. What was sent when a connection
        broke may have been done: a read is asked again, a write is not, for the answer would not be
        the one to what was asked.
        """
        tries = 0
        while True:
            try:
                return (yield Statement(self._statements[verb], params, reads))
            except psycopg.Error as error:
                tries += 1
                is_undone = (error.sqlstate or "").startswith("40")
                if tries == TRIES or not (is_undone or (reads and _is_lost(error))):
                    raise
            yield PAUSE * tries * fraction()

    # --- beginning

    def prepare(self) -> Flow[None]:
        """Look at the server, and make the schema or bring it up to date."""
        ((number, encoding, is_standby, is_read_only, isolation, role),) = yield Statement(
            SERVER, {}
        )
        if number < OLDEST * 10000:
            raise wrong(f"PostgreSQL {number // 10000} is too old", f"{OLDEST} is the first")
        if encoding != "UTF8":
            raise wrong(f"the database's encoding is {encoding}", "make one with ENCODING 'UTF8'")
        if is_standby or (self._serve and is_read_only):
            raise wrong(
                "the server is read-only",
                "give the primary's address; of several hosts, libpq takes the one that is",
            )
        if isolation != "read committed":
            # Who waits for another's login must see it, or would not count it.
            raise wrong(f"the pool's sessions are {isolation}", "default: READ COMMITTED")
        level = yield from self._level()
        if self._serve and level < len(MIGRATIONS):
            yield from self._upgrade()
        elif not level:
            raise wrong(
                f"the schema {self._schema} isn't there",
                "start the service that issues tokens first",
            )
        missing = yield from self._missing(role)
        needed = [one for right, one in missing.items() if right in NEEDED[self._serve]]
        if needed:
            raise wrong(f"the role {role} lacks rights", "; ".join(needed))
        if missing:
            getLogger("jwt_middleware").warning(
                "The role %s may not read all that the schema %s has for it, and goes on without: "
                "it hears of every ended grant. When the service that issues tokens is up to date, "
                "let the owner run: %s",
                role,
                self._schema,
                "; ".join(missing.values()),
            )

    def _missing(self, role: str) -> Flow[dict[tuple[str, str], str]]:
        """Return the rights that the role lacks, each with the statement that grants it."""
        missing = {}
        for right, where in RIGHTS[self._serve]:
            try:
                ((has,),) = yield Statement(right_sql(right, where, self._schema), {})
            except (
                psycopg.errors.InsufficientPrivilege,  # to look into the schema
                psycopg.errors.UndefinedTable,  # of a schema that isn't up to date
            ):
                has = False
            if not has:
                what = where.replace("<schema>", quoted(self._schema))
                missing[right, where] = f"GRANT {right} ON {what} TO {exact(role)}"
        return missing

    def _level(self) -> Flow[int]:
        """Return the level of the schema; 0: there is none."""
        tables = yield Statement(TABLES, {"schema": self._schema})
        if ("version",) not in tables:
            return 0
        try:
            ((level,),) = yield Statement(self._statements["version"])
            if level > len(MIGRATIONS):
                raise wrong(
                    f"the schema {self._schema} was made by a newer version of this package: it is "
                    f"{level}, and {len(MIGRATIONS)} is known here",
                    "update this one, too",
                )
            if ("facts",) in tables:
                ((level,),) = yield Statement(self._statements["level"])
        except psycopg.errors.InsufficientPrivilege:
            return len(MIGRATIONS)  # the rights are looked at next, and named
        return int(level)

    def _upgrade(self) -> Flow[None]:
        yield Statement("BEGIN")
        yield Statement(lock_sql(self._schema))
        # Looked at again: another process may have been faster.
        level = yield from self._level()
        if level < len(MIGRATIONS):
            # The statements, without the BEGIN and the lock that have been and the COMMIT to come.
            statements = schema_sql(self._schema, since=level).splitlines(keepends=True)[2:-1]
            if not level and (yield Statement(SCHEMA, {"schema": self._schema})):
                statements = statements[1:]  # to make it needs rights even where it is there
            try:
                yield Statement("".join(statements))
            except psycopg.errors.InsufficientPrivilege:
                raise wrong(
                    f"the schema {self._schema} isn't there or not up to date, and this role may "
                    "not make it",
                    "let its owner run what this prints: jwt-middleware grants schema "
                    f"--schema {self._schema} --since {level}",
                ) from None
        yield Statement("COMMIT")


def _is_lost(error: psycopg.Error) -> bool:
    """Say whether the connection broke; not where none could be had."""
    if isinstance(error, psycopg_pool.PoolTimeout | psycopg_pool.PoolClosed):
        return False
    state = error.sqlstate
    return isinstance(error, psycopg.OperationalError) and (
        state is None or state.startswith(("08", "57P"))
    )
