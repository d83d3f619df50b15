"""A statement over a connection of psycopg's, by its libpq: sent, waited for, and its rows read.

Not by psycopg's cursor, for two reasons. It works out the same things anew at every call, which
takes as long as all the rest; here what a connection has learned of a statement is kept beside it.
And a cursor that is cancelled waits for the server, even for one that hangs.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg
from psycopg import waiting
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import InvalidSqlStatementName, error_from_result
from psycopg.generators import execute
from psycopg.pq import ExecStatus, Format

from ...values.flows import Flow, ask

CANCELLING: Final = 0.5  # seconds to ask a server to give up
LOOK_EVERY: Final = 0.1  # seconds between two looks at the time while waiting for an answer

Rows: TypeAlias = list[tuple[Any, ...]]


class TimedOut(psycopg.Error):
    """The server took longer than a verb may. What it was asked may be done, or be done yet."""


class Statement(NamedTuple):
    """One question to the server: one round trip."""

    sql: str
    params: Mapping[str, Any] | None = None  # None: any number of statements, never prepared
    reads: bool = False  # nothing is lost when it is given up and goes on


# Returns the rows of a statement. It knows where to take a connection from, and the deadline.
Fetch: TypeAlias = Callable[[Statement], Flow[Rows]]
# psycopg's own kind of generator, not a flow: it yields what it waits for at the socket, and is
# resumed with whether the socket is ready, at every look at the time.
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
    """Return the rows of a statement; `wait` carries an exchange out on the connection.

    Raises TimedOut, and what the server says.
    """
    try:
        return (yield from ask(wait, connection, _timed(deadline, _fetched(connection, statement))))
    except TimedOut:
        # It may be waiting for a lock: what is given up here must not be done much later.
        if not statement.reads:
            with suppress(psycopg.Error):
                yield from ask(partial(connection.cancel_safe, timeout=CANCELLING))
        raise


def is_dead(connection: Any) -> bool:
    """Say whether an idle connection has ended, by what has come in: nothing is asked."""
    try:
        # Twice: the first may read the server's last message, and then the second finds the end.
        connection.pgconn.consume_input()
        connection.pgconn.consume_input()
    except psycopg.Error:
        return True
    return False


def leaves_sound(error: psycopg.Error) -> bool:
    """Say whether the connection may do better next time. On any other error it is thrown away."""
    # Rolled back, short of something, waited too long. Not where the server is read-only: it may
    # have been the primary before, and a new connection finds the one that is.
    return (error.sqlstate or "").startswith(("40", "53", "55P03", "57014"))


def _timed(deadline: float, exchange: _Exchange) -> _Exchange:
    """Do what `exchange` does, but raise TimedOut when it takes too long."""
    ready = None
    try:
        while True:
            ready = yield exchange.send(ready)
            if not ready and time.monotonic() > deadline:
                raise TimedOut
    except StopIteration as end:
        rows: Rows = end.value
        return rows


def _fetched(connection: Any, statement: Statement) -> _Exchange:
    sql, params, _ = statement
    if params is None:
        connection.pgconn.send_query(sql.encode())
        results = yield from execute(connection.pgconn)
        adapter = Transformer.from_context(connection)
        rows, *_ = [_rows(result, adapter) for result in results]
        return rows
    known: dict[str, _Prepared] = vars(connection).setdefault(_KNOWN, {})
    if sql not in known:
        known[sql] = _Prepared(connection, sql)
    try:
        return (yield from known[sql].asked(params))
    except InvalidSqlStatementName:
        # A pool of the application's may make its connections forget what they have prepared. The
        # server has done nothing then, so it is safe to ask again.
        known[sql] = _Prepared(connection, sql)
        return (yield from known[sql].asked(params))


class _Prepared:
    """A statement that a connection knows, and how its values are written and its rows are read."""

    def __init__(self, connection: Any, sql: str) -> None:
        self._names = tuple(dict.fromkeys(re.findall(r"%\((\w+)\)s", sql)))
        for place, name in enumerate(self._names, 1):
            sql = sql.replace(f"%({name})s", f"${place}")
        self._sql = sql.encode()
        self._connection = connection
        self._adapter = Transformer.from_context(connection)
        self._formats = [PyFormat.AUTO] * len(self._names)
        self._prepared: dict[Any, bytes] = {}  # by the parameters' types: None has its own

    def asked(self, params: Mapping[str, Any]) -> _Exchange:
        adapter, pgconn = self._adapter, self._connection.pgconn
        values = adapter.dump_sequence([params[name] for name in self._names], self._formats)
        types, formats = adapter.types, adapter.formats
        if self._connection.prepare_threshold is None:  # as its owner wants it
            pgconn.send_query_params(self._sql, values, types, formats, Format.BINARY)
        else:
            if types not in self._prepared:
                name = b"_jwt_middleware_%d" % next(_numbers)
                pgconn.send_prepare(name, self._sql, types)
                (result,) = yield from execute(pgconn)
                _rows(result, adapter)
                self._prepared[types] = name
            # Binary: its numbers take less to write and to read.
            pgconn.send_query_prepared(self._prepared[types], values, formats, Format.BINARY)
        (result,) = yield from execute(pgconn)
        return _rows(result, adapter)


def _rows(result: Any, adapter: Any) -> Rows:
    if result.status == ExecStatus.TUPLES_OK:
        adapter.set_pgresult(result)
        rows: Rows = adapter.load_rows(0, result.ntuples, tuple)
        return rows
    if result.status != ExecStatus.COMMAND_OK:
        raise error_from_result(result)
    return []


_KNOWN: Final = "_jwt_middleware_statements"
_numbers = count()
