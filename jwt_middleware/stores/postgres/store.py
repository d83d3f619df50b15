"""Grants in PostgreSQL: shared by all machines that reach its primary.

A verb is one prepared statement in a transaction of its own, and one round trip; time is the
server's. Two stores run the same flows, one sync and one async.
"""

from __future__ import annotations

import math
import re
import time
from asyncio import timeout as atimeout
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Concatenate, Final, Generic, Self, TypeVar

from ...values import forks
from ...values.errors import ConfigurationError, StoreUnavailable
from ...values.flows import Flow, P, T, arun, ask, run
from ..contract import Cursor, Ended
from ..store_options import STORE_TIMEOUT, wrong_store
from ..two_kinds import awaited, waiting
from .sql import statements

try:
    import psycopg
    from psycopg_pool import AsyncConnectionPool, ConnectionPool

    from .address import conninfo, postgres_address
    from .connections import FOR_LOOPS, FOR_THREADS, Connections, Psycopg
    from .server_check import check_server
    from .verbs import VerbOptions, Verbs
    from .wire import Fetch, TimedOut
except ImportError:
    raise wrong_store(
        "postgresql:// needs psycopg and its pool",
        "pip install 'wsgi-asgi-jwt-middleware[postgres]'",
    ) from None

LONGEST_VERB: Final = 9.0  # seconds; together with the time to cancel a statement, below 10
_FAULTS = (psycopg.Error, OSError, UnicodeError)

Pool = TypeVar("Pool")


class _Postgres(Generic[Pool]):
    """The base of both kinds: the options, the check at the start, and how a verb is run."""

    _psycopg: ClassVar[Psycopg]
    # Checks the server if no other call has. Of several calls at once, one checks, the others wait.
    _get_ready: Callable[[float], Any]

    def __init__(
        self,
        address: str = "",
        *,
        retention: float,
        schema: str = "jwt_middleware",
        pool_min: int = 0,
        pool_max: int = 10,
        feed_idle: float = math.inf,
        timeout: float = STORE_TIMEOUT,
        synchronous_commit: str = "on",
        serve: bool = True,
        offset: Callable[[], float] = float,
    ) -> None:
        if not 0 < timeout <= LONGEST_VERB:
            raise wrong_store("timeout must be more than 0 and at most 9 seconds", "5 is usual")
        if not 0 <= pool_min <= pool_max or not pool_max:
            raise wrong_store(
                "pool_max must be at least 1, and pool_min not more", "0 and 10 are usual"
            )
        if not feed_idle >= 0:
            raise wrong_store("feed_idle must not be negative", "leave it out to stay connected")
        if synchronous_commit not in ("on", "off"):
            raise wrong_store("synchronous_commit must be on or off", "off may lose rotations only")
        self._options = VerbOptions(
            schema,
            statements(schema, is_waiting=synchronous_commit == "on"),
            float(retention),
            serve,
            offset,
            self._psycopg.sleep,
        )
        self._timeout = timeout
        self._connections = Connections(
            self._psycopg,
            conninfo(address, timeout),
            timeout,
            {"min_size": pool_min, "max_size": pool_max},
            feed_idle,
        )
        self._is_prepared = False

    @classmethod
    def from_url(
        cls, url: str, *, clock: Callable[[], float], retention: float, serve: bool = True
    ) -> Self:
        """Return the store at `postgresql://...`; the server's clock counts, `clock` does not.

        Options in the query: `schema`, `pool_min`, `pool_max`, `feed_idle` and `timeout` (seconds),
        and `synchronous_commit` (on or off). All others are libpq's, such as `sslmode`.
        """
        address, options = postgres_address(url)
        return cls(address, retention=retention, serve=serve, **options)

    @classmethod
    def from_pool(cls, pool: Pool, *, retention: float, **options: Any) -> Self:
        """Return a store that borrows from the application's own pool, and never closes it.

        The application opens and sizes the pool, and makes a new
        one after a fork. Give its connections a statement_timeout below 10 seconds. `ended` is
        asked on it, too: let it have a connection more than all else needs.

        Args:
            pool: psycopg's, sync or async as the class.
            retention: seconds, as for the class.
            **options: those of the class.

        """
        store = cls(retention=retention, **options)
        store._connections.given = pool
        return store

    def _check(self) -> Flow[None]:
        given = self._connections.given
        if given is not None and given.closed:
            return
        try:
            yield from self._make_ready(time.monotonic() + self._timeout)
        except _FAULTS as error:
            kind = type(error).__name__
            remedy = next(
                text
                for words, text in _POSTGRES_REMEDIES.items()
                if re.search(words, f"{kind}: {error}")
            )
            raise wrong_store(f"PostgreSQL can't be used: {kind}", remedy) from None

    def _make_ready(self, deadline: float) -> Flow[None]:
        check = partial(check_server, self._options, self._connections.connect_again)
        yield from self._connections.use_one(deadline, check)
        self._is_prepared = True

    def _within(
        self,
        fetching: Callable[[float], Fetch],
        verb: Callable[Concatenate[Verbs, P], Flow[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Flow[T]:
        """Run a verb within the store's time; every fault becomes StoreUnavailable."""
        forks.notice()
        deadline = time.monotonic() + self._timeout
        try:
            if not self._is_prepared:
                yield from ask(self._get_ready, deadline)
            return (yield from verb(Verbs(self._options, fetching(deadline)), *args, **kwargs))
        except ConfigurationError as error:
            # `check` raises it as ConfigurationError at the start; a verb may raise one error only.
            raise StoreUnavailable(error.problem) from None
        except _FAULTS as error:
            # Only the class: the message could quote a value.
            raise StoreUnavailable(type(error).__name__) from None


class PostgresStore(_Postgres[ConnectionPool[Any]]):
    """Grants in PostgreSQL, for sync code.

    Ends and logins are always durable, whatever the role's default is. With
    `synchronous_commit="off"` a rotation doesn't wait for the disk: a crash may undo the rotations
    of the last half second, and their clients stay logged in (event "Restored"). With it on, a
    rotation is as durable as the server's own setting says.

    It connects at its first use, and again in a forked child. `check` has a connection of its own.

    Args:
        address: postgresql://user@host:5432/database, or key=value pairs; what isn't given is
            libpq's default. Of several hosts the one that accepts writes is used.
        retention: seconds that ends are kept, longer than any access token can live.
        schema: the name of the schema that is made for the grants.
        pool_min, pool_max: connections that are kept, and the most of this process. `ended` has
            one of its own beside them.
        feed_idle: seconds that this one may be idle. If it was idle longer before a question, it is
            closed behind it. By default it is kept.
        timeout: seconds that a verb takes at most, for all that it waits for; at most 9.
        synchronous_commit: on or off, for rotations.
        serve: False for a service that only asks for ended grants: it needs, and checks, fewer
            rights.
        offset: returns seconds to be added to the server's clock; for tests.

    Raises:
        ConfigurationError: for an impossible value. `check` finds what is wrong with the server.

    """

    blocking = True  # it waits for the network: don't call it in an event loop
    _psycopg = FOR_THREADS

    def check(self) -> None:
        """Look at the server, and make the schema or bring it up to date.

        Does nothing where the application's own pool isn't open yet: the first verb does it then.

        Raises:
            ConfigurationError: says what is wrong with server, schema or rights, and the way out.

        """
        run(self._check())

    def close(self) -> None:
        """Close our own pool. A later verb opens it anew."""
        run(self._connections.close())

    def _get_ready(self, deadline: float) -> None:
        preparing = self._connections.own_pool().preparing
        if not preparing.acquire(timeout=max(deadline - time.monotonic(), 0)):
            raise TimedOut
        try:
            if not self._is_prepared:
                run(self._make_ready(deadline))
        finally:
            preparing.release()

    def _carry_out(
        self,
        verb: Callable[Concatenate[Verbs, P], Flow[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        return run(self._within(self._connections.fetching, verb, *args, **kwargs))

    add = waiting(Verbs.add)
    advance = waiting(Verbs.advance)
    use = waiting(Verbs.use)
    end = waiting(Verbs.end)
    end_subject = waiting(Verbs.end_subject)
    grants = waiting(Verbs.grants)
    end_before = waiting(Verbs.end_before)
    is_living = waiting(Verbs.is_living)
    admit = waiting(Verbs.admit)
    purge = waiting(Verbs.purge)
    page = waiting(Verbs.page)

    def ended(self, cursor: Cursor | None, horizon: float) -> Ended:
        """See `Store.ended`. It has a connection of its own."""
        return run(self._within(self._connections.feed_fetching, Verbs.ended, cursor, horizon))


class AsyncPostgresStore(_Postgres[AsyncConnectionPool[Any]]):
    """The same for async code; see `PostgresStore` for everything else.

    Every event loop has its own pool; a pool whose loop has gone is thrown away.
    """

    _psycopg = FOR_LOOPS

    async def check(self) -> None:
        """See `PostgresStore.check`."""
        await arun(self._check())

    async def aclose(self) -> None:
        """Close our own pool of this loop. A later verb opens it anew."""
        await arun(self._connections.close())

    async def _get_ready(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        async with atimeout(left), self._connections.own_pool().preparing:
            if not self._is_prepared:
                await arun(self._make_ready(deadline))

    async def _carry_out(
        self,
        verb: Callable[Concatenate[Verbs, P], Flow[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        return await arun(self._within(self._connections.fetching, verb, *args, **kwargs))

    add = awaited(Verbs.add)
    advance = awaited(Verbs.advance)
    use = awaited(Verbs.use)
    end = awaited(Verbs.end)
    end_subject = awaited(Verbs.end_subject)
    grants = awaited(Verbs.grants)
    admit = awaited(Verbs.admit)
    purge = awaited(Verbs.purge)
    end_before = awaited(Verbs.end_before)
    is_living = awaited(Verbs.is_living)

    async def ended(self, cursor: Cursor | None, horizon: float) -> Ended:
        """See `Store.ended`. It has a connection of its own."""
        fetching = self._connections.feed_fetching
        return await arun(self._within(fetching, Verbs.ended, cursor, horizon))


# Remedies by words in an error's class or message; the first word found counts.
_POSTGRES_REMEDIES = {
    "certificate|SSL error|support SSL": "with sslmode=verify-full the server's certificate must "
    "be of a CA in the file sslrootcert, and have the host's name; if it wants one of the client, "
    "sslcert and sslkey name the files",
    "TimedOut": "the server must answer, and no session hold a lock on the schema",
    "LockNotAvailable|QueryCanceled": "end the session that holds a lock on the schema",
    "DiskFull": "make room on the server's disk",
    "": "host, port, database, user and password must be right, and the server be running",
}
