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
    Rows,
    Session,
    Statement,
    TimedOut,
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
    acquire: Callable[[Any, float], Any]  # take a lock within seconds; says whether it could


def _setting(settings: dict[str, str]) -> str:
    """Return SQL that sets them, behind other columns."""
    return "".join(f", set_config('{name}', '{value}', false)" for name, value in settings.items())


def _acquire(lock: Any, seconds: float) -> bool:
    return bool(lock.acquire(timeout=max(seconds, 0)))


async def _aacquire(lock: Any, seconds: float) -> bool:
    try:
        return bool(await asyncio.wait_for(lock.acquire(), seconds))
    except TimeoutError:
        return False


FOR_THREADS: Final = Psycopg(
    connection=psycopg.Connection,
    pool=psycopg_pool.ConnectionPool,
    lock=threading.Lock,
    loop=lambda: None,
    wait=wait_in_thread,
    sleep=time.sleep,
    acquire=_acquire,
)
FOR_LOOPS: Final = Psycopg(
    connection=psycopg.AsyncConnection,
    pool=psycopg_pool.AsyncConnectionPool,
    lock=asyncio.Lock,
    loop=asyncio.get_running_loop,
    wait=wait_in_loop,
    sleep=asyncio.sleep,
    acquire=_aacquire,
)


class Feed:
    """The connection that asks what has ended, and waits for no other verb."""

    def __init__(self, lock: Any) -> None:
        self.lock = lock
        self.connection: Any = None  # made at first use, and after a fault
        self.used_at = -math.inf  # monotonic seconds


class OwnPool(NamedTuple):
    """A store's pool in one process, or in one event loop, and what belongs to it."""

    pool: Any  # opened at first use
    preparing: Any  # a lock: the first call checks the server, the others wait for it
    made: WeakSet[Any]  # its connections, to be closed when their loop has gone
    feed: Feed


class Connections:
    """The connections of one store: from a pool of its own, or from the application's."""

    given: Any = None  # the application's own pool, which is never closed here

    def __init__(
        self,
        kind: Psycopg,
        conninfo: str,
        timeout: float,
        sizes: dict[str, int],
        feed_idle: float = math.inf,
    ) -> None:
        self._kind = kind
        self._conninfo = conninfo
        self._sizes = sizes
        self._feed_idle = feed_idle  # seconds
        self._refused_at = -math.inf  # when the last attempt to connect failed
        self._own_pools: dict[Any, OwnPool] = {}  # by event loop
        limit = f"{timeout * 1000:.0f}"  # ms
        settings = {
            "statement_timeout": limit,
            "lock_timeout": limit,
            "idle_in_transaction_session_timeout": limit,
            "default_transaction_isolation": "read committed",
        }
        # What is set in each new session of ours.
        self._limits = _setting(settings)
        # And in that of the feed: to plan a poll takes longer than to answer it. A plan for the
        # values of the moment always looks cheaper than one that is kept, and that one must read in
        # the order of an index, however few rows there were when it was made.
        kept = {"plan_cache_mode": "force_generic_plan"}
        kept |= {"enable_seqscan": "off", "enable_bitmapscan": "off"}
        self._feed_limits = self._limits + _setting(kept)
        _all_connections.add(self)

    # --- lending

    def fetching(self, deadline: float) -> Fetch:
        """Return a function that sends each statement on a connection of the pool."""
        return partial(self._lend, deadline, self._fetch)

    def _lend(self, deadline: float, use: Callable[..., Flow[T]], *args: Any) -> Flow[T]:
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
            found = yield from use(connection, deadline, *args)
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
            return (
                yield from self._lend(
                    deadline, lambda one, _: use(partial(self._fetch, one, deadline))
                )
            )
        connection = yield from self._connect()
        try:
            return (yield from use(partial(self._fetch, connection, deadline)))
        finally:
            yield from ask(connection.close)

    def feed_fetching(self, deadline: float) -> Fetch:
        """Return a function that sends each statement on the connection for ended grants."""
        if self.given is not None:
            return self.fetching(deadline)
        return partial(self._ask_feed, deadline)

    def _ask_feed(self, deadline: float, statement: Statement) -> Flow[Rows]:
        own = self.own_pool()
        feed = own.feed
        if not (yield from ask(self._kind.acquire, feed.lock, deadline - time.monotonic())):
            raise TimedOut
        try:
            connection = feed.connection
            if connection is not None and is_dead(connection):
                yield from ask(connection.close)
                connection = None
            if connection is None:
                if time.monotonic() >= deadline:  # an attempt before this one took all the time
                    raise TimedOut
                connection = yield from self._connect()
                own.made.add(connection)
            feed.connection, is_kept = connection, False
            try:
                rows = yield from self._fetch(connection, deadline, statement)
                # Whoever asks seldom leaves the server no idle connection meanwhile.
                is_kept = time.monotonic() - feed.used_at <= self._feed_idle
                return rows
            except psycopg.Error as error:
                is_kept = leaves_sound(error)
                raise
            finally:
                feed.used_at = time.monotonic()
                if not is_kept:
                    feed.connection = None
                    yield from ask(connection.close)
        finally:
            feed.lock.release()

    def connect_again(self) -> Flow[None]:
        """Make a connection beside others, and close it. Raises what psycopg raises."""
        connection = yield from self._connect()
        yield from ask(connection.close)

    def _connect(self) -> Flow[Any]:
        connect = partial(self._kind.connection.connect, autocommit=True)
        connection = yield from ask(connect, self._conninfo)
        Session.of(connection, self._feed_limits)
        return connection

    def _fetch(self, connection: Any, deadline: float, statement: Statement) -> Flow[Rows]:
        return fetch_over(self._kind.wait, connection, deadline, statement)

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
            Session.of(connection, self._limits)
            return self._kind.sleep(0)  # the pool awaits it, or doesn't

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
        return OwnPool(pool, self._kind.lock(), made, Feed(self._kind.lock()))

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
            if own.feed.connection is not None:
                yield from ask(own.feed.connection.close)


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
