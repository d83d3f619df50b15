"""Send a statement on psycopg's connection by libpq, wait, and read its rows.

psycopg's cursor isn't used, for two reasons. A cursor prepares the same data at every call, which
takes as long as all the rest; here it is kept with the connection. And a cancelled cursor waits for
the server, even for one that hangs.
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
    reads: bool = False  # it only reads, so it needn't be cancelled when we give up


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

    Raises TimedOut, and what the server says.
    """
    try:
        return (yield from ask(wait, connection, _timed(deadline, _fetched(connection, statement))))
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
        # An application's pool may have discarded the prepared statements of its connection. The
        # server has done nothing then, so asking again is safe.
        known[sql] = _Prepared(connection, sql)
        return (yield from known[sql].asked(params))


class _Prepared:
    """A statement prepared on a connection, with the formats of its values and rows."""

    def __init__(self, connection: Any, sql: str) -> None:
        self._names = tuple(dict.fromkeys(re.findall(r"%\((\w+)\)s", sql)))
        for place, name in enumerate(self._names, 1):
            sql = sql.replace(f"%({name})s", f"${place}")
        self._sql = sql.encode()
        self._connection = connection
        self._adapter = Transformer.from_context(connection)
        self._formats = [PyFormat.AUTO] * len(self._names)
        self._prepared: dict[Any, bytes] = {}  # by the parameters' types; None has its own type

    def asked(self, params: Mapping[str, Any]) -> _Exchange:
        adapter, pgconn = self._adapter, self._connection.pgconn
        values = adapter.dump_sequence([params[name] for name in self._names], self._formats)
        types, formats = adapter.types, adapter.formats
        if (
            self._connection.prepare_threshold is None
        ):  # the pool's owner has switched preparing off
            pgconn.send_query_params(self._sql, values, types, formats, Format.BINARY)
        else:
            if types not in self._prepared:
                name = b"_jwt_middleware_%d" % next(_numbers)
                pgconn.send_prepare(name, self._sql, types)
                (result,) = yield from execute(pgconn)
                _rows(result, adapter)
                self._prepared[types] = name
            # Binary: numbers are quicker to write and to read.
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
