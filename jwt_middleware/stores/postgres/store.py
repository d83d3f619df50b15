"""Grants in PostgreSQL: shared by all machines that reach its primary.

A verb is one prepared statement in a transaction of its own, and one round trip; time is the
server's. Two stores carry the same verbs out, one by waiting and one by awaiting.
"""

from __future__ import annotations

import logging
import math
import re
import time
from asyncio import AbstractEventLoop, get_running_loop, timeout
from asyncio import Lock as ALock
from asyncio import sleep as asleep
from collections.abc import Awaitable, Callable
from functools import partial
from threading import Lock
from typing import Any, Final, Self
from weakref import WeakSet

from ...values import forks
from ...values.errors import ConfigurationError, StoreUnavailable
from ...values.tokens import Grant
from ..contract import HEARING, Advanced, Cursor, Ended, Page
from .sql import wrong

try:
    import psycopg
    import psycopg_pool

    from .address import conninfo, parse_url
    from .verbs import Flow, Rows, Statement, T, Verbs
    from .wire import TimedOut, afetch, fetch, is_dead, leaves_sound
except ImportError:
    raise wrong(
        "postgresql:// needs psycopg and its pool",
        "pip install 'wsgi-asgi-jwt-middleware[postgres]'",
    ) from None


TIMEOUT: Final = 5.0  # seconds for a verb, whatever it waits for; every store's is below 10
LONGEST: Final = 9.0  # seconds; beside it there is the time to cancel what hangs
POOL: Final = "jwt_middleware"  # what the driver's log calls ours
WARNED_EVERY: Final = 60.0  # seconds between two of its warnings about ours
REFUSED_AFTER: Final = 0.5  # seconds; then it matters whether connecting has failed meanwhile


class _Postgres:
    """What both kinds share: the address, the statements, and what their answers mean."""

    def __init__(
        self,
        address: str = "",
        *,
        retention: float,
        schema: str = "jwt_middleware",
        pool_min: int = 0,
        pool_max: int = 10,
        timeout: float = TIMEOUT,
        synchronous_commit: str = "on",
        serve: bool = True,
        offset: Callable[[], float] = float,
    ) -> None:
        if not 0 < timeout <= LONGEST:
            raise wrong("timeout must be more than 0 and at most 9 seconds", "5 is usual")
        if not 0 <= pool_min <= pool_max or not pool_max:
            raise wrong("pool_max must be at least 1, and pool_min not more", "0 and 10 are usual")
        if synchronous_commit not in ("on", "off"):
            raise wrong("synchronous_commit must be on or off", "off may lose rotations only")
        self._verbs = Verbs(
            schema,
            retention=retention,
            serve=serve,
            is_waiting=synchronous_commit == "on",
            offset=offset,
        )
        self._timeout = timeout
        self._sizes = {"min_size": pool_min, "max_size": pool_max}
        self._conninfo = conninfo(address, timeout)
        self._refused_at = -math.inf  # when the last attempt to connect failed
        self._is_prepared = False
        self._begin()
        _stores.add(self)

    @classmethod
    def from_url(
        cls, url: str, *, clock: Callable[[], float], retention: float, serve: bool = True
    ) -> Self:
        """Return the store at `postgresql://...`; the server's clock counts, `clock` does not.

        Options in the query: `schema`, `pool_min`, `pool_max`, `timeout` (seconds) and
        `synchronous_commit` (on or off). All others are libpq's, such as `sslmode`.
        """
        address, options = parse_url(url)
        return cls(address, retention=retention, serve=serve, **options)

    def _begin(self) -> None:
        """Have nothing open, as a forked child does."""

    def _refused(self, error: Exception) -> ConfigurationError:
        kind = _kind(error)
        remedy = next((text for name, text in _REMEDIES.items() if name in kind), _REMEDY)
        if re.search(r"certificate|SSL error|support SSL", str(error)):
            remedy = _REMEDY_FOR_TLS
        return wrong(f"PostgreSQL can't be used: {kind}", remedy)

    # --- connections

    def _settings(self) -> Statement:
        """Return what a connection of our own pool is told when it is new."""
        limit = f"{self._timeout * 1000:.0f}"  # ms
        names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        settings: dict[str, str] = dict.fromkeys(names, limit)
        settings["default_transaction_isolation"] = "'read committed'"
        return Statement("; ".join(f"SET {name} = {value}" for name, value in settings.items()))

    def _pool_options(self) -> dict[str, Any]:
        return {
            **self._sizes,
            "kwargs": {"autocommit": True},
            # A connection that can't be made is not tried again until somebody asks for one: else
            # the pool would sleep when the server is back.
            "reconnect_timeout": 0,
            "reconnect_failed": self._refuse,
            "name": POOL,
            "open": False,
        }

    def _refuse(self, _: object) -> None:
        self._refused_at = time.monotonic()

    def _patience(self, begun: float, deadline: float) -> float:
        """Return seconds to wait for a connection: short ones first, to see whether any come."""
        now = time.monotonic()
        return (
            deadline - now if now - begun >= REFUSED_AFTER else min(REFUSED_AFTER, deadline - now)
        )

    def _gives_up(self, begun: float, deadline: float) -> bool:
        return self._refused_at >= begun or time.monotonic() >= deadline


class PostgresStore(_Postgres):
    """Grants in PostgreSQL, for doors that wait.

    An end is durable whatever the role's default is: what was logged out stays so. A login is, too.
    With `synchronous_commit="off"` a rotation doesn't wait for the disk; a crash may take back
    those of its last half second, and the clients go on all the same ("Restored"). With it on, a
    rotation is as durable as the server's own setting says.

    It connects when it is first used, and in a forked child anew. `check` has a connection of its
    own.

    Args:
        address: postgresql://user@host:5432/database, or key=value pairs; what isn't given is
            libpq's default. Of several hosts the one that can be written to is taken.
        retention: seconds that ends are kept, longer than any access token can live.
        schema: the name of the schema that is made for the grants.
        pool_min, pool_max: connections that are kept, and the most of this process.
        timeout: seconds that a verb takes at most, for all that it waits for; at most 9.
        synchronous_commit: on or off, for rotations.
        serve: False for a service that only asks for ended grants: it needs, and checks, less.
        offset: returns seconds to be added to the server's clock; for tests.

    Raises:
        ConfigurationError: for a value that can't be; what is wrong with the server, `check` finds.

    """

    blocking = True  # it waits for the network: not in an event loop
    _given: psycopg_pool.ConnectionPool[Any] | None = None

    @classmethod
    def from_pool(
        cls, pool: psycopg_pool.ConnectionPool[Any], *, retention: float, **options: Any
    ) -> Self:
        """Return a store that borrows from the application's own pool, and never closes it.

        Options are those of the class. To open it, to size it and to make it anew after a fork is
        the application's; set its connections a statement_timeout below 10 seconds.
        """
        store = cls(retention=retention, **options)
        store._given = pool
        return store

    def _begin(self) -> None:
        self._lock = Lock()
        self._preparing = Lock()
        self._pool: psycopg_pool.ConnectionPool[Any] | None = None

    def _forget(self) -> None:
        _inherited.append(self._pool)
        self._begin()

    def check(self) -> None:
        """Look at the server, and make the schema or bring it up to date.

        Does nothing where the application's own pool isn't open yet: the first verb does it then.

        Raises:
            ConfigurationError: says what is wrong with server, schema or rights, and the way out.

        """
        if self._given is not None and self._given.closed:
            return
        try:
            self._make_ready(time.monotonic() + self._timeout)
        except _FAULTS as error:
            raise self._refused(error) from None

    def close(self) -> None:
        """Close our own pool. A later verb opens it anew."""
        forks.notice()
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _make_ready(self, deadline: float) -> None:
        def look(connection: Any) -> None:
            _drive(self._verbs.prepare(), partial(fetch, connection), deadline)

        self._alone(look, deadline)
        self._is_prepared = True

    def _get_ready(self, deadline: float) -> None:
        """Do it for all threads that come at once: one does, the others wait for it."""
        if not self._preparing.acquire(timeout=max(deadline - time.monotonic(), 0)):
            raise TimedOut
        try:
            if not self._is_prepared:
                self._make_ready(deadline)
        finally:
            self._preparing.release()

    def _run(self, flow: Flow[T], timeout: float = LONGEST) -> T:
        forks.notice()
        deadline = time.monotonic() + min(timeout, self._timeout)
        try:
            if not self._is_prepared:
                self._get_ready(deadline)
            return _drive(flow, self._pooled, deadline)
        except ConfigurationError as error:
            # `check` tells it to whoever starts the service; a verb has one error only.
            raise StoreUnavailable(error.problem) from None
        except _FAULTS as error:
            raise StoreUnavailable(_kind(error)) from None

    def _alone(self, use: Callable[[Any], T], deadline: float) -> T:
        """Use a connection that no verb has; with the application's own pool, one of that."""
        if self._given is not None:
            return self._lent(use, deadline)
        connection = psycopg.Connection.connect(self._conninfo, autocommit=True)
        try:
            fetch(connection, self._settings(), deadline)
            return use(connection)
        finally:
            connection.close()

    def _pooled(self, statement: Statement, deadline: float) -> Rows:
        return self._lent(lambda connection: fetch(connection, statement, deadline), deadline)

    def _lent(self, use: Callable[[Any], T], deadline: float) -> T:
        pool = self._given or self._pool or self._opened()
        connection = self._taken(pool, deadline)
        is_sound, autocommit = False, connection.autocommit
        try:
            if not autocommit:
                connection.autocommit = True
            found = use(connection)
            is_sound = True
            return found
        except psycopg.Error as error:
            is_sound = leaves_sound(error)
            raise
        finally:
            if not is_sound:
                connection.close()
            elif not autocommit:
                connection.autocommit = False
            pool.putconn(connection)

    def _taken(self, pool: Any, deadline: float) -> Any:
        begun = time.monotonic()
        while True:
            try:
                connection = pool.getconn(self._patience(begun, deadline))
            except psycopg_pool.PoolTimeout:
                if self._gives_up(begun, deadline):
                    raise
                continue
            if not is_dead(connection):
                return connection
            connection.close()
            pool.putconn(connection)

    def _opened(self) -> psycopg_pool.ConnectionPool[Any]:
        with self._lock:
            if self._pool is None:
                self._pool = psycopg_pool.ConnectionPool(
                    self._conninfo, configure=self._configure, **self._pool_options()
                )
                self._pool.open()
            return self._pool

    def _configure(self, connection: Any) -> None:
        connection.execute(self._settings().sql)

    # --- the verbs

    def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        """See `Store.add`."""
        return self._run(self._verbs.add(grant, limit))

    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        """See `Store.advance`."""
        return self._run(self._verbs.advance(grant_id, source, target, parent))

    def use(self, grant_id: str) -> None:
        """See `Store.use`."""
        return self._run(self._verbs.use(grant_id))

    def end(self, grant_id: str, reason: str) -> bool:
        """See `Store.end`."""
        return self._run(self._verbs.end(grant_id, reason))

    def end_subject(self, subject: str, reason: str) -> tuple[str, ...]:
        """See `Store.end_subject`."""
        return self._run(self._verbs.end_subject(subject, reason))

    def grants(self, subject: str) -> tuple[Grant, ...]:
        """See `Store.grants`."""
        return self._run(self._verbs.grants(subject))

    def ended(self, cursor: Cursor | None, horizon: float) -> Ended:
        """See `Store.ended`."""
        # Where a thread waits for it, it is lost to its server: not for long.
        return self._run(self._verbs.ended(cursor, horizon), HEARING)

    def admit(self, key: str, until: float) -> bool:
        """See `Store.admit`."""
        return self._run(self._verbs.admit(key, until))

    def purge(self, now: float) -> int:
        """See `Store.purge`."""
        return self._run(self._verbs.purge(now))

    def page(self, position: Cursor | None, count: int) -> Page:
        """See `Listing.page`: in the order of their ids."""
        return self._run(self._verbs.page(position, count))


class AsyncPostgresStore(_Postgres):
    """The same for doors that await: `PostgresStore` says what there is to know.

    Every event loop has a pool of its own; one whose loop has gone is thrown away.
    """

    _given: psycopg_pool.AsyncConnectionPool[Any] | None = None

    @classmethod
    def from_pool(
        cls, pool: psycopg_pool.AsyncConnectionPool[Any], *, retention: float, **options: Any
    ) -> Self:
        """See `PostgresStore.from_pool`."""
        store = cls(retention=retention, **options)
        store._given = pool
        return store

    def _begin(self) -> None:
        self._loops: dict[AbstractEventLoop, _Loop] = {}

    def _forget(self) -> None:
        _inherited.append(self._loops)
        self._begin()

    async def check(self) -> None:
        """See `PostgresStore.check`."""
        if self._given is not None and self._given.closed:
            return
        try:
            await self._make_ready(time.monotonic() + self._timeout)
        except _FAULTS as error:
            raise self._refused(error) from None

    async def aclose(self) -> None:
        """Close our own pool of this loop. A later verb opens it anew."""
        forks.notice()
        self._drop_orphans()
        here = self._loops.pop(get_running_loop(), None)
        if here is not None and here.pool is not None:
            await here.pool.close()

    async def _make_ready(self, deadline: float) -> None:
        async def look(connection: Any) -> None:
            await _adrive(self._verbs.prepare(), partial(afetch, connection), deadline)

        await self._alone(look, deadline)
        self._is_prepared = True

    async def _get_ready(self, deadline: float) -> None:
        """Do it for all tasks that come at once: one does, the others wait for it."""
        async with timeout(deadline - time.monotonic()), self._here().preparing:
            if not self._is_prepared:
                await self._make_ready(deadline)

    async def _run(self, flow: Flow[T]) -> T:
        forks.notice()
        deadline = time.monotonic() + self._timeout
        try:
            if not self._is_prepared:
                await self._get_ready(deadline)
            return await _adrive(flow, self._pooled, deadline)
        except ConfigurationError as error:
            raise StoreUnavailable(error.problem) from None
        except _FAULTS as error:
            raise StoreUnavailable(_kind(error)) from None

    async def _alone(self, use: Callable[[Any], Awaitable[T]], deadline: float) -> T:
        """See `PostgresStore._alone`."""
        if self._given is not None:
            return await self._lent(use, deadline)
        connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
        try:
            await afetch(connection, self._settings(), deadline)
            return await use(connection)
        finally:
            await connection.close()

    async def _pooled(self, statement: Statement, deadline: float) -> Rows:
        return await self._lent(
            lambda connection: afetch(connection, statement, deadline), deadline
        )

    async def _lent(self, use: Callable[[Any], Awaitable[T]], deadline: float) -> T:
        pool = self._given or await self._opened()
        connection = await self._taken(pool, deadline)
        is_sound, autocommit = False, connection.autocommit
        try:
            if not autocommit:
                await connection.set_autocommit(True)
            found = await use(connection)
            is_sound = True
            return found
        except psycopg.Error as error:
            is_sound = leaves_sound(error)
            raise
        finally:
            if not is_sound:
                await connection.close()
            elif not autocommit:
                await connection.set_autocommit(False)
            await pool.putconn(connection)

    async def _taken(self, pool: Any, deadline: float) -> Any:
        begun = time.monotonic()
        while True:
            try:
                connection = await pool.getconn(self._patience(begun, deadline))
            except psycopg_pool.PoolTimeout:
                if self._gives_up(begun, deadline):
                    raise
                continue
            if not is_dead(connection):
                return connection
            await connection.close()
            await pool.putconn(connection)

    def _here(self) -> _Loop:
        loop = get_running_loop()
        if loop not in self._loops:
            self._drop_orphans()
            self._loops[loop] = _Loop()
        return self._loops[loop]

    async def _opened(self) -> Any:
        here = self._here()
        if here.pool is None:
            here.pool = psycopg_pool.AsyncConnectionPool(
                self._conninfo, configure=partial(self._configure, here), **self._pool_options()
            )
            await here.pool.open()
        return here.pool

    async def _configure(self, here: _Loop, connection: Any) -> None:
        here.connections.add(connection)
        await connection.execute(self._settings().sql)

    def _drop_orphans(self) -> None:
        for loop in [loop for loop in self._loops if loop.is_closed()]:
            for connection in self._loops.pop(loop).connections:
                connection.pgconn.finish()

    # --- the verbs

    async def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        """See `Store.add`."""
        return await self._run(self._verbs.add(grant, limit))

    async def advance(
        self, grant_id: str, source: int, target: int, parent: str | None
    ) -> Advanced:
        """See `Store.advance`."""
        return await self._run(self._verbs.advance(grant_id, source, target, parent))

    async def use(self, grant_id: str) -> None:
        """See `Store.use`."""
        return await self._run(self._verbs.use(grant_id))

    async def end(self, grant_id: str, reason: str) -> bool:
        """See `Store.end`."""
        return await self._run(self._verbs.end(grant_id, reason))

    async def end_subject(self, subject: str, reason: str) -> tuple[str, ...]:
        """See `Store.end_subject`."""
        return await self._run(self._verbs.end_subject(subject, reason))

    async def grants(self, subject: str) -> tuple[Grant, ...]:
        """See `Store.grants`."""
        return await self._run(self._verbs.grants(subject))

    async def ended(self, cursor: Cursor | None, horizon: float) -> Ended:
        """See `Store.ended`."""
        return await self._run(self._verbs.ended(cursor, horizon))

    async def admit(self, key: str, until: float) -> bool:
        """See `Store.admit`."""
        return await self._run(self._verbs.admit(key, until))

    async def purge(self, now: float) -> int:
        """See `Store.purge`."""
        return await self._run(self._verbs.purge(now))


class _Loop:
    """What an event loop has of a store; its connections outlive it, if nobody closes them."""

    def __init__(self) -> None:
        self.preparing = ALock()
        self.pool: psycopg_pool.AsyncConnectionPool[Any] | None = None
        self.connections: WeakSet[Any] = WeakSet()


# --- carrying a flow out


def _drive(flow: Flow[T], ask: Callable[[Statement, float], Rows], deadline: float) -> T:
    try:
        step = next(flow)
        while True:
            if not isinstance(step, Statement):
                time.sleep(step)
                step = next(flow)
                continue
            try:
                rows = ask(step, deadline)
            except psycopg.Error as error:
                step = flow.throw(error)
            else:
                step = flow.send(rows)
    except StopIteration as end:
        answer: T = end.value
        return answer


async def _adrive(
    flow: Flow[T], ask: Callable[[Statement, float], Awaitable[Rows]], deadline: float
) -> T:
    try:
        step = next(flow)
        while True:
            if not isinstance(step, Statement):
                await asleep(step)
                step = next(flow)
                continue
            try:
                rows = await ask(step, deadline)
            except psycopg.Error as error:
                step = flow.throw(error)
            else:
                step = flow.send(rows)
    except StopIteration as end:
        answer: T = end.value
        return answer


def _kind(error: Exception) -> str:
    # Never the message: it could quote a value.
    return type(error).__name__


# Fork: a child must not speak on its parent's connections. They are kept, so that nothing in the
# child ends them; libpq's objects know the process that they were made in, too.
_stores: WeakSet[Any] = WeakSet()
_inherited: list[Any] = []


def begin_as_child() -> None:
    """Let the child begin with nothing open."""
    for store in tuple(_stores):
        store._forget()


forks.in_child(begin_as_child)


class _Seldom(logging.Filter):
    """Let the driver warn once a minute of our pools: while a server is down, it does so each time.

    That the store has failed is an event of ours; the driver's words say why.
    """

    _next = -math.inf

    def filter(self, record: logging.LogRecord) -> bool:
        is_warning = record.levelno >= logging.WARNING
        if not is_warning or not isinstance(record.args, tuple) or record.args[:1] != (POOL,):
            return True
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + WARNED_EVERY
        return True


logging.getLogger("psycopg.pool").addFilter(_Seldom())

_FAULTS = (psycopg.Error, OSError, UnicodeError)
_REMEDY = "host, port, database, user and password must be right, and the server be running"
_REMEDY_FOR_TLS = (
    "with sslmode=verify-full the server's certificate must be of a CA in the file sslrootcert, "
    "and have the host's name; if it wants one of the client, sslcert and sslkey name the files"
)
_REMEDIES = {
    "TimedOut": "the server must answer, and no session hold a lock on the schema",
    "LockNotAvailable": "end the session that holds a lock on the schema",
    "QueryCanceled": "end the session that holds a lock on the schema",
    "DiskFull": "make room on the server's disk",
}
