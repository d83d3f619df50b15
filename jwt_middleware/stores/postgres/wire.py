"""Send a statement on psycopg's connection by libpq, wait, and read its rows.

psycopg's cursor isn't used, for two reasons. A cursor prepares the same data at every call, which
takes as long as all the rest; here it is kept with the connection. And a cancelled cursor waits for
the server, even for one that hangs.

Between us and the server may be a pooler, which gives each transaction another session of the
server. There a prepared statement may be unknown or somebody else's, and a setting reaches others.
So each new connection asks which process serves it. Where that isn't the one that the server named
when we connected, nothing is prepared or set, and our own clock alone limits the time.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg
from psycopg import waiting
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import (
    DuplicatePreparedStatement,
    InvalidSqlStatementName,
    ReadOnlySqlTransaction,
    error_from_result,
)
from psycopg.generators import execute
from psycopg.pq import ExecStatus, Format

from ...values.flows import Flow, ask
from ...values.randomness import unique_name

CANCELLING: Final = 0.5  # seconds for the request that a server cancel a statement
LOOK_EVERY: Final = 0.1  # seconds between two checks of the deadline while waiting for an answer

Rows: TypeAlias = list[tuple[Any, ...]]


class TimedOut(psycopg.Error):
    """The server took longer than a verb may. The statement may be done now, later, or never."""


class Statement(NamedTuple):
    """One question to the server: one round trip."""

    sql: str
    params: Mapping[str, Any] | None = (
        None  # None: the text may hold several statements, and isn't prepared
    )
    # It only reads, so it needn't be cancelled when we give up. Its rows begin with whether it was
    # answered by a replica.
    reads: bool = False
    # The same without the last column, which can't change while a session lives. It is asked where
    # the session is ours alone, and has told that column.
    again: str = ""


# Returns the rows of a statement. The function knows the source of connections, and the deadline.
Fetch: TypeAlias = Callable[[Statement], Flow[Rows]]
# psycopg's own kind of generator, not a flow. It yields the socket state that it waits for, and is
# resumed with the socket's state, also at each check of the deadline.
_Exchange: TypeAlias = Generator[Any, Any, Rows]


def wait_in_thread(connection: Any, exchange: _Exchange) -> Rows:
    with connection.lock:
        return waiting.wait(exchange, connection.fileno(), LOOK_EVERY)


async def wait_in_loop(connection: Any, exchange: _Exchange) -> Rows:
    async with connection.lock:
        return await waiting.wait_async(exchange, connection.fileno(), LOOK_EVERY)


def fetch_over(
    wait: Callable[[Any, _Exchange], Rows], connection: Any, deadline: float, statement: Statement
) -> Flow[Rows]:
    """Return the rows of a statement; `wait` runs an exchange on the connection.

    Raises TimedOut, ReadOnlySqlTransaction for a replica, and what the server says.
    """
    try:
        exchange = _timed(deadline, _fetched(connection, statement))
        rows = yield from ask(wait, connection, exchange)
        if statement.reads and rows[0][0]:
            raise ReadOnlySqlTransaction("a replica answered")
        return rows
    except TimedOut:
        # Cancel a write: it may be waiting for a lock, and must not be done much later.
        if not statement.reads:
            with suppress(psycopg.Error):
                yield from ask(partial(connection.cancel_safe, timeout=CANCELLING))
        raise


def is_dead(connection: Any) -> bool:
    """Say whether an idle connection has ended, by the data received; nothing is sent."""
    try:
        # Twice: the first call may read the server's last message, the second then finds the end.
        connection.pgconn.consume_input()
        connection.pgconn.consume_input()
    except psycopg.Error:
        return True
    return False


def leaves_sound(error: psycopg.Error) -> bool:
    """Say whether a connection can be used after an error; else it is thrown away."""
    # Rolled back, out of resources, waited too long. Not a read-only server: it may be a former
    # primary, and a new connection finds the present one.
    return (error.sqlstate or "").startswith(("40", "53", "55P03", "57014"))


def _timed(deadline: float, exchange: _Exchange) -> _Exchange:
    """Run `exchange`, but raise TimedOut when it takes too long."""
    ready = None
    try:
        while True:
            ready = yield exchange.send(ready)
            if not ready and time.monotonic() > deadline:
                raise TimedOut
    except StopIteration as end:
        rows: Rows = end.value
        return rows


class Session:
    """What is known of the server's session behind a connection.

    `limits` are settings that are made where the session is ours alone, as SQL of its calls.
    """

    def __init__(self, limits: str = "") -> None:
        self._limits = limits
        # Unique, so that no other process's statement can have one of our names.
        self._name = f"_jwt_middleware_{unique_name()}"
        self._known: dict[str, _Prepared] = {}
        self._told: dict[str, Any] = {}  # the last columns, by what asks again without them
        self._prepares: bool | None = None  # None: not asked yet

    @staticmethod
    def of(connection: Any, limits: str = "") -> Session:
        """Return what is known of a connection; for a new one, nothing."""
        found: Session | None = vars(connection).get(_SESSION)
        if found is None:
            found = vars(connection)[_SESSION] = Session(limits)
        return found

    def asked(self, connection: Any, statement: Statement) -> _Exchange:
        """Ask, where it can be without what the session has told before."""
        if self._prepares is None:
            yield from self._greet(connection)
        sql, again, params = statement.sql, statement.again, statement.params
        told = self._told.get(again) if self._prepares else None
        if told is not None:
            rows = yield from self._asked(connection, again, params)
            if self._prepares:  # else it has turned out that others share the session
                return [(*row, told) for row in rows]
        rows = yield from self._asked(connection, sql, params)
        if again and self._prepares and rows[0][-1] is not None:  # a replica may not know it
            self._told[again] = rows[0][-1]
            self._known[again] = _Prepared(connection, again, f"{self._name}_{len(self._known)}")
        return rows

    def _asked(self, connection: Any, sql: str, params: Any) -> _Exchange:
        """Ask; from the second time on by a prepared statement, where there can be one."""
        known = self._known.get(sql)
        if known is None:
            name = f"{self._name}_{len(self._known)}"
            known = self._known[sql] = _Prepared(connection, sql, name)
            # To prepare takes a round trip of its own: not for what the check asks once.
            return (yield from known.asked_unnamed(params))
        if not self._prepares:
            return (yield from known.asked_unnamed(params))
        try:
            return (yield from known.asked(params))
        except (InvalidSqlStatementName, DuplicatePreparedStatement):
            # A pooler that we didn't see, or an application's pool that discards what is prepared.
            # The server has done nothing then, so asking again is safe.
            self._prepares = False
            return (yield from known.asked_unnamed(params))

    def _greet(self, connection: Any) -> _Exchange:
        """Find out whether the session is ours alone, and if so, set its limits."""
        pid = connection.pgconn.backend_pid
        # The condition needs no row, so it is tested before anything is set. No process is 0.
        # PGlite serves all its clients by one session, and names that one to each of them.
        sql = (
            f"SELECT true{self._limits} WHERE pg_backend_pid() = nullif({pid}, 0) "
            "AND version() NOT LIKE '%PGlite%'"
        )
        rows = yield from _Prepared(connection, sql, "").asked_unnamed({})
        # None: the owner of an application's pool has switched preparing off.
        self._prepares = bool(rows) and connection.prepare_threshold is not None
        return rows


def _fetched(connection: Any, statement: Statement) -> _Exchange:
    if statement.params is not None:
        return (yield from Session.of(connection).asked(connection, statement))
    connection.pgconn.send_query(statement.sql.encode())
    results = yield from execute(connection.pgconn)
    adapter = Transformer.from_context(connection)
    rows, *_ = [_rows(result, adapter) for result in results]
    return rows


class _Prepared:
    """A statement for a connection, with the formats of its values and rows."""

    def __init__(self, connection: Any, sql: str, name: str) -> None:
        self._names = tuple(dict.fromkeys(re.findall(r"%\((\w+)\)s", sql)))
        for place, one in enumerate(self._names, 1):
            sql = sql.replace(f"%({one})s", f"${place}")
        self._sql, self._name = sql.encode(), name
        self._pgconn = connection.pgconn
        self._adapter = Transformer.from_context(connection)
        self._formats = [PyFormat.AUTO] * len(self._names)
        self._prepared: dict[Any, bytes] = {}  # by the parameters' types; None has its own type

    def asked(self, params: Any) -> _Exchange:
        adapter, pgconn = self._adapter, self._pgconn
        values = adapter.dump_sequence([params[name] for name in self._names], self._formats)
        types, formats = adapter.types, adapter.formats
        if types not in self._prepared:
            name = f"{self._name}_{len(self._prepared)}".encode()
            pgconn.send_prepare(name, self._sql, types)
            (result,) = yield from execute(pgconn)
            _rows(result, adapter)
            self._prepared[types] = name
        # Binary: numbers are quicker to write and to read.
        pgconn.send_query_prepared(self._prepared[types], values, formats, Format.BINARY)
        (result,) = yield from execute(pgconn)
        return _rows(result, adapter)

    def asked_unnamed(self, params: Any) -> _Exchange:
        """Ask by one message group, which a pooler sends to one session."""
        adapter = self._adapter
        values = adapter.dump_sequence([params[name] for name in self._names], self._formats)
        types, formats = adapter.types, adapter.formats
        self._pgconn.send_query_params(self._sql, values, types, formats, Format.BINARY)
        (result,) = yield from execute(self._pgconn)
        return _rows(result, adapter)


def _rows(result: Any, adapter: Any) -> Rows:
    if result.status == ExecStatus.TUPLES_OK:
        adapter.set_pgresult(result)
        rows: Rows = adapter.load_rows(0, result.ntuples, tuple)
        return rows
    if result.status != ExecStatus.COMMAND_OK:
        raise error_from_result(result)
    return []


_SESSION: Final = "_jwt_middleware"  # the attribute of a connection that holds its session
