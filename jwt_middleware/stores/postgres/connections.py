"""Connections to PostgreSQL: made, kept in a pool, lent for one use, given back.

The steps are flows (`values/flows.py`), the same for threads and for event loops. `Psycopg` names
what they ask, for psycopg has everything in these two kinds.
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

POOL_NAME: Final = "jwt_middleware"  # what the driver's log calls our pools
WARNED_EVERY: Final = 60.0  # seconds between two of its warnings about them
REFUSED_AFTER: Final = 0.5  # seconds; then it matters whether connecting has failed meanwhile


class Psycopg(NamedTuple):
    """What psycopg and Python have in two kinds."""

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
    """What a store has in one process, or in one event loop of it."""

    pool: Any  # opened at first use, so never where the application's is used
    preparing: Any  # a lock: one call looks at the server first, the others wait for it
    made: WeakSet[Any]  # the pool's connections: nothing closes them when their loop goes


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
        # What a connection of ours is told when it is new.
        self._settings = "; ".join(f"SET {name} = {value}" for name, value in settings.items())
        _all_connections.add(self)

    # --- lending

    def fetching(self, deadline: float) -> Fetch:
        """Return what asks each statement on a connection of the pool."""
        return lambda statement: self._lend(
            deadline, lambda connection: self._fetch(connection, deadline)(statement)
        )

    def _lend(self, deadline: float, use: Callable[[Any], Flow[T]]) -> Flow[T]:
        """Use a connection of the pool until `deadline`. Raises what psycopg raises."""
        pool = self.given
        if pool is None:
            pool = self.own_pool().pool
            if pool.closed:
                yield from ask(pool.open)  # of several threads that come here one opens it
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
        """Use one connection for all that `use` fetches: a new one, or one of the given pool."""
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
                # A short wait first: if connecting fails meanwhile, a long one would be in vain.
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
        """Return the pool of this process, or of the event loop that runs here."""
        loop = self._kind.loop()
        own = self._own_pools.get(loop)
        if own is None:
            self._drop_orphans()
            # Threads may come here at once, each with a pool that isn't open: the first one stays.
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
            # Where connecting fails, the pool tries again when a call asks for a connection. By
            # default it tries by itself, after pauses that grow: long after the server is back.
            reconnect_timeout=0,
            reconnect_failed=self._note_refusal,
            name=POOL_NAME,
            open=False,
        )
        return OwnPool(pool, self._kind.lock(), made)

    def _note_refusal(self, _: object) -> None:
        self._refused_at = time.monotonic()

    def _drop_orphans(self) -> None:
        """Close what belongs to event loops that have gone."""
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


# A forked child must not speak on its parent's connections. It keeps the objects, because to delete
# them could close the connections; libpq's know the process that they were made in, too.
_all_connections: WeakSet[Connections] = WeakSet()
_of_parents: list[dict[Any, OwnPool]] = []


def leave_connections_to_parent() -> None:
    """Let the stores of a forked child begin with nothing open."""
    for one in tuple(_all_connections):
        _of_parents.append(one._own_pools)
        one._own_pools = {}


forks.in_child(leave_connections_to_parent)


class _SeldomWarned(logging.Filter):
    """Let the driver warn once a minute of our pools: while a server is down, it does so each time.

    That the store has failed is an event of ours; the driver's words say why.
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
