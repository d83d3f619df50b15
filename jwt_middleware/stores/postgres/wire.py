"""A statement over a connection of psycopg's, by its libpq: sent, waited for, and its rows read.

Not by a cursor, which takes as long as all the rest: it thinks anew about what is the same at every
call. What a connection has learned of a statement is kept beside it. And a cursor that is cancelled
waits for a server that hangs.
"""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Mapping
from contextlib import suppress
from itertools import count
from typing import Any, Final

import psycopg
from psycopg import waiting
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import InvalidSqlStatementName, error_from_result
from psycopg.generators import execute
from psycopg.pq import ExecStatus, Format

from .verbs import Rows, Statement

CANCELLING: Final = 0.5  # seconds to ask a server to give up
LOOK_EVERY: Final = 0.1  # seconds between two looks at the time while waiting for an answer


class TimedOut(psycopg.Error):
    """The server took longer than a verb may. What it was asked may be done, or be done yet."""


def fetch(connection: Any, statement: Statement, deadline: float) -> Rows:
    try:
        with connection.lock:
            flow = _limited(_asked(connection, statement), deadline)
            rows: Rows = waiting.wait(flow, connection.fileno(), LOOK_EVERY)
            return rows
    except TimedOut:
        # It may be waiting for a lock: what is given up here must not be done much later.
        if not statement.reads:
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=CANCELLING)
        raise


async def afetch(connection: Any, statement: Statement, deadline: float) -> Rows:
    try:
        async with connection.lock:
            flow = _limited(_asked(connection, statement), deadline)
            rows: Rows = await waiting.wait_async(flow, connection.fileno(), LOOK_EVERY)
            return rows
    except TimedOut:
        if not statement.reads:
            with suppress(psycopg.Error):
                await connection.cancel_safe(timeout=CANCELLING)
        raise


def is_dead(connection: Any) -> bool:
    """Say whether an idle connection has ended, by what has come in: nothing is asked."""
    try:
        # Twice: the first may bring the server's last words, and then the second finds the end.
        connection.pgconn.consume_input()
        connection.pgconn.consume_input()
    except psycopg.Error:
        return True
    return False


def leaves_sound(error: psycopg.Error) -> bool:
    """Say whether the connection may do better next time. On any other error it is thrown away."""
    # Rolled back, short of something, waited too long. Not "read-only": that was the primary once.
    return (error.sqlstate or "").startswith(("40", "53", "55P03", "57014"))


# What psycopg's waiting is given: it is resumed when the socket is ready and at every look at the
# time, and then is told whether it is ready.
_Flow = Generator[Any, Any, Rows]


def _limited(flow: _Flow, deadline: float) -> _Flow:
    """Go through a flow, but raise TimedOut when it takes too long."""
    ready = None
    try:
        while True:
            ready = yield flow.send(ready)
            if not ready and time.monotonic() > deadline:
                raise TimedOut
    except StopIteration as end:
        rows: Rows = end.value
        return rows


def _asked(connection: Any, statement: Statement) -> _Flow:
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
        # The pool is not ours, and lets its connections forget. So nothing has been done.
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

    def asked(self, params: Mapping[str, Any]) -> _Flow:
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
