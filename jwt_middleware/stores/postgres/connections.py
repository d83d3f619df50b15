"""Connections to PostgreSQL: made, kept in a pool, lent for one use, given back.

The steps are flows (`values/flows.py`), the same for threads and for event loops. `Psycopg` holds
the calls that they ask for, because psycopg has each of them in a sync and an async kind.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple
from weakref import WeakSet

import psycopg
import psycopg_pool

from ...values import forks
from ...values.flows import Flow, T, ask
from .wire import (
    Fetch,
    Statement,
    fetch_over,
    is_dead,
    leaves_sound,
    wait_in_loop,
    wait_in_thread,
)

POOL_NAME: Final = "jwt_middleware"  # the name of our pools in the driver's log
WARNED_EVERY: Final = 60.0  # seconds between two of the driver's warnings about them
REFUSED_AFTER: Final = (
    0.5  # seconds; after that, give up if a connection attempt has failed meanwhile
)


class Psycopg(NamedTuple):
    """The parts of psycopg and Python that are sync or async."""

    connection: Any
    pool: Any
    lock: Callable[[], Any]
    loop: Callable[[], Any]  # the event loop that a pool belongs to; None: to the whole process
    wait: Callable[..., Any]
    sleep: Callable[[float], Any]


FOR_THREADS: Final = Psycopg(
    connection=psycopg.Connection,
    pool=psycopg_pool.ConnectionPool,
    lock=threading.Lock,
    loop=lambda: None,
    wait=wait_in_thread,
    sleep=time.sleep,
)
FOR_LOOPS: Final = Psycopg(
    connection=psycopg.AsyncConnection,
    pool=psycopg_pool.AsyncConnectionPool,
    lock=asyncio.Lock,
    loop=asyncio.get_running_loop,
    wait=wait_in_loop,
    sleep=asyncio.sleep,
)


class OwnPool(NamedTuple):
    """A store's pool in one process, or in one event loop, and what belongs to it."""

    pool: Any  # opened at first use
    preparing: Any  # a lock: the first call checks the server, the others wait for it
    made: WeakSet[Any]  # the pool's connections, to be closed when their loop has gone


class Connections:
    """The connections of one store: from a pool of its own, or from the application's."""

    given: Any = None  # the application's own pool, which is never closed here

    def __init__(self, kind: Psycopg, conninfo: str, timeout: float, sizes: dict[str, int]) -> None:
        self._kind = kind
        self._conninfo = conninfo
        self._sizes = sizes
        self._refused_at = -math.inf  # when the last attempt to connect failed
        self._own_pools: dict[Any, OwnPool] = {}  # by event loop
        limit = f"{timeout * 1000:.0f}"  # ms
        settings = {
            "statement_timeout": limit,
            "lock_timeout": limit,
            "idle_in_transaction_session_timeout": limit,
            "default_transaction_isolation": "'read committed'",
        }
        # What is sent on each new connection of ours.
        self._settings = "; ".join(f"SET {name} = {value}" for name, value in settings.items())
        _all_connections.add(self)

    # --- lending

    def fetching(self, deadline: float) -> Fetch:
        """Return a function that sends each statement on a connection of the pool."""
        return lambda statement: self._lend(
            deadline, lambda connection: self._fetch(connection, deadline)(statement)
        )

    def _lend(self, deadline: float, use: Callable[[Any], Flow[T]]) -> Flow[T]:
        """Use a connection of the pool until `deadline`. Raises what psycopg raises."""
        pool = self.given
        if pool is None:
            pool = self.own_pool().pool
            if pool.closed:
                yield from ask(pool.open)  # several threads may come here: one opens the pool
        connection = yield from self._take(pool, deadline)
        is_sound, autocommit = False, connection.autocommit
        try:
            if not autocommit:
                yield from ask(connection.set_autocommit, True)
            found = yield from use(connection)
            is_sound = True
            return found
        except psycopg.Error as error:
            is_sound = leaves_sound(error)
            raise
        finally:
            if not is_sound:
                yield from ask(connection.close)
            elif not autocommit:
                yield from ask(connection.set_autocommit, False)
            yield from ask(pool.putconn, connection)

    def use_one(self, deadline: float, use: Callable[[Fetch], Flow[T]]) -> Flow[T]:
        """Use one connection for all that `use` fetches: a new one, or one of a given pool."""
        if self.given is not None:
            return (yield from self._lend(deadline, lambda one: use(self._fetch(one, deadline))))
        connect = partial(self._kind.connection.connect, autocommit=True)
        connection = yield from ask(connect, self._conninfo)
        try:
            fetch = self._fetch(connection, deadline)
            yield from fetch(Statement(self._settings))
            return (yield from use(fetch))
        finally:
            yield from ask(connection.close)

    def _fetch(self, connection: Any, deadline: float) -> Fetch:
        return partial(fetch_over, self._kind.wait, connection, deadline)

    def _take(self, pool: Any, deadline: float) -> Flow[Any]:
        begun, longest = time.monotonic(), REFUSED_AFTER
        while True:
            try:
                # A short wait first: if connecting fails in that time, a longer wait is useless.
                left = deadline - time.monotonic()
                connection = yield from ask(pool.getconn, min(longest, left))
            except psycopg_pool.PoolTimeout:
                if self._refused_at >= begun or time.monotonic() >= deadline:
                    raise
                longest = math.inf
                continue
            if not is_dead(connection):
                return connection
            yield from ask(connection.close)
            yield from ask(pool.putconn, connection)

    # --- pools

    def own_pool(self) -> OwnPool:
        """Return the pool of this process, or of the running event loop."""
        loop = self._kind.loop()
        own = self._own_pools.get(loop)
        if own is None:
            self._drop_orphans()
            # Several threads may come here, each with a new, closed pool: the first is kept.
            own = self._own_pools.setdefault(loop, self._new_pool())
        return own

    def _new_pool(self) -> OwnPool:
        made: WeakSet[Any] = WeakSet()

        def configure(connection: Any) -> Any:
            made.add(connection)
            return connection.execute(self._settings)

        pool = self._kind.pool(
            self._conninfo,
            **self._sizes,
            kwargs={"autocommit": True},
            configure=configure,
            # 0: after a failure, the pool connects again when a call asks for a connection. By
            # default it tries by itself with growing pauses, long after the server is back.
            reconnect_timeout=0,
            reconnect_failed=self._note_refusal,
            name=POOL_NAME,
            open=False,
        )
        return OwnPool(pool, self._kind.lock(), made)

    def _note_refusal(self, _: object) -> None:
        self._refused_at = time.monotonic()

    def _drop_orphans(self) -> None:
        """Close the pools and connections of event loops that have gone."""
        for loop in [one for one in tuple(self._own_pools) if one is not None and one.is_closed()]:
            for connection in self._own_pools.pop(loop).made:
                connection.pgconn.finish()

    def close(self) -> Flow[None]:
        """Close our own pool of this process or event loop. A later use opens another."""
        forks.notice()
        self._drop_orphans()
        own = self._own_pools.pop(self._kind.loop(), None)
        if own is not None:
            yield from ask(own.pool.close)


# A forked child must not use its parent's connections. It keeps the objects, because deleting them
# could close the connections. libpq's objects also know the process that made them.
_all_connections: WeakSet[Connections] = WeakSet()
_of_parents: list[dict[Any, OwnPool]] = []


def leave_connections_to_parent() -> None:
    """Give the stores of a forked child nothing open, and keep the parent's connections."""
    for one in tuple(_all_connections):
        _of_parents.append(one._own_pools)
        one._own_pools = {}


forks.in_child(leave_connections_to_parent)


class _SeldomWarned(logging.Filter):
    """Let the driver warn of our pools once a minute: it would warn at each attempt to connect.

    The failure itself is an event of ours; the driver's warning says why.
    """

    _next = -math.inf

    def filter(self, record: logging.LogRecord) -> bool:
        is_ours = isinstance(record.args, tuple) and record.args[:1] == (POOL_NAME,)
        if record.levelno < logging.WARNING or not is_ours:
            return True
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + WARNED_EVERY
        return True


logging.getLogger("psycopg.pool").addFilter(_SeldomWarned())
