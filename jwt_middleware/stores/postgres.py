"""Grants in PostgreSQL: shared by all machines that reach its primary.

What is asked, what an answer means and what is asked again stands here once, as generators: they
yield a statement and are sent its rows, or have its error thrown at them. The two stores carry that
out, one by waiting and one by awaiting. A verb is one prepared statement in a transaction of its
own, and one round trip; time is the server's.
"""

import math
import os
import re
import time
from asyncio import AbstractEventLoop, get_running_loop
from asyncio import sleep as asleep
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from hashlib import sha256
from json import dumps
from threading import Lock
from typing import Any, Final, NamedTuple, Self, TypeAlias, TypeVar
from urllib.parse import unquote
from weakref import WeakSet

from ..jose.strict import parse_object
from ..values.errors import ConfigurationError, StoreUnavailable
from ..values.frozen import FrozenDict
from ..values.model import Grant
from ..values.randomness import fraction
from . import Advanced, Cursor, Ended
from .memory import OVERLAP, PURGE_AT_MOST


def _wrong(problem: str, remedy: str) -> ConfigurationError:
    return ConfigurationError("refresh.store", problem, remedy)


try:
    import psycopg
    import psycopg_pool
    from psycopg import waiting
    from psycopg.conninfo import conninfo_to_dict, make_conninfo
    from psycopg.rows import tuple_row
    from psycopg.types.numeric import Int8
except ImportError:
    raise _wrong(
        "postgresql:// needs psycopg and its pool",
        "pip install 'wsgi-asgi-jwt-middleware[postgres]'",
    ) from None

OLDEST: Final = 13  # of the server
TIMEOUT: Final = 5.0  # seconds for a verb, whatever it waits for; every store's is below 10
LONGEST: Final = 9.0  # seconds; beside it there is the time to cancel what hangs
CANCELLING: Final = 0.5  # seconds to ask a server to give up
REFUSED_AFTER: Final = 0.5  # seconds; then it matters whether connecting has failed meanwhile
LOOK_EVERY: Final = 0.1  # seconds between two looks at the time while waiting for an answer
TRIES: Final = 4
PAUSE: Final = 0.05  # seconds, at most, before the second try
PURGE_BATCH: Final = 500  # rows of one transaction: others wait no longer than that

# Locks of the database are numbers that all its users share: ours have this as their first.
LOCKS: Final = 0x4A575447
# The schema's versions, each made from the one before. What has been released is never changed.
# Fixed widths come first, so that nothing is lost to alignment. No index has a column that a
# rotation changes, and pages keep room for one: so it stays in its page, and writes to no index
# (heap-only tuples). The living of a subject are found by a hash: half of what its text would take.
MIGRATIONS: Final = (
    (
        "CREATE TABLE <schema>.version (number integer NOT NULL)",
        "INSERT INTO <schema>.version VALUES (0)",
        """CREATE TABLE <schema>.grants (
            generation bigint NOT NULL,
            rotated_at double precision NOT NULL,
            created_at double precision NOT NULL,
            expires_at double precision NOT NULL,
            ended_at double precision,
            id text COLLATE "C" PRIMARY KEY,
            subject text COLLATE "C" NOT NULL,
            client_id text COLLATE "C" NOT NULL,
            scope text COLLATE "C" NOT NULL,
            parent text COLLATE "C",
            claims text COLLATE "C",  -- JSON; NULL for {}
            bound_key text COLLATE "C",
            end_reason text COLLATE "C"
        ) WITH (fillfactor = 80)""",
        "CREATE INDEX grants_living ON <schema>.grants USING hash (subject) WHERE ended_at IS NULL",
        "CREATE INDEX grants_ended ON <schema>.grants (ended_at) WHERE ended_at IS NOT NULL",
        "CREATE INDEX grants_expiring ON <schema>.grants (expires_at)",
        """CREATE TABLE <schema>.admitted (
            key bytea PRIMARY KEY,  -- its SHA-256: an index takes no long text
            until double precision NOT NULL
        )""",
        "CREATE INDEX admitted_until ON <schema>.admitted (until)",
        # Each statement of a function sees what was committed before it began; so whoever waited
        # for the lock counts the grants of whoever had it. A single statement would not.
        """CREATE FUNCTION <schema>.add_grant(
            fresh <schema>.grants, most bigint, shift double precision
        ) RETURNS SETOF text LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_advisory_xact_lock(<locks>, hashtext(fresh.subject));
            INSERT INTO <schema>.grants SELECT fresh.* ON CONFLICT (id) DO NOTHING;
            IF FOUND THEN
                PERFORM <durable>;
                RETURN QUERY UPDATE <schema>.grants SET
                    ended_at = date_part('epoch', clock_timestamp()) + shift, end_reason = 'limit'
                WHERE ended_at IS NULL AND id IN (
                    SELECT id FROM <schema>.grants
                    WHERE subject = fresh.subject AND ended_at IS NULL
                        AND expires_at > date_part('epoch', now()) + shift AND id <> fresh.id
                    ORDER BY created_at DESC, id DESC OFFSET most - 1
                ) RETURNING id;
            END IF;
        END $$""",
    ),
)

_FIELDS = tuple(Grant.__dataclass_fields__)
_COLUMNS = re.findall(r"(?m)^            (\w+) (?:bigint|double|text)", MIGRATIONS[0][2])
_NAMES = {
    "<locks>": str(LOCKS),
    # Whatever the role's default is, what ended stays ended. A stricter default stays.
    "<durable>": "set_config('synchronous_commit', replace(current_setting('synchronous_commit'), "
    "'off', 'on'), true)",
    "<row>": ", ".join(_FIELDS),
    "<values>": ", ".join(f"%({name})s" for name in _COLUMNS),
    "<living>": "subject = %(subject)s AND ended_at IS NULL AND expires_at > <now>",
    "<open>": "generation = %(source)s AND ended_at IS NULL AND expires_at > <now>",
    # When it is done, not when it began to wait: a reader of ended grants goes by that time.
    "<stamp>": "date_part('epoch', clock_timestamp()) + %(offset)s",
    "<now>": "(date_part('epoch', now()) + %(offset)s)",  # the same throughout a statement
}
# All that is ever asked. A test holds that none of it reads a whole table.
SQL: Final = {
    "add": "SELECT <schema>.add_grant(ROW(<values>)::<schema>.grants, %(limit)s, %(offset)s)",
    "read": "SELECT <row> FROM <schema>.grants WHERE id = %(id)s",
    # One snapshot for both halves. Where the first half had to wait for another's write, and then
    # found the row changed, the second half returns it as it was: that one is <open> still.
    "advance": "WITH swapped AS (UPDATE <schema>.grants "
    "SET generation = %(target)s, parent = %(parent)s, rotated_at = <stamp> "
    "WHERE id = %(id)s AND <open> RETURNING <row>, true, <rotation>) SELECT * FROM swapped "
    "UNION ALL SELECT <row>, false, <open> FROM <schema>.grants "
    "WHERE id = %(id)s AND NOT EXISTS (SELECT FROM swapped)",
    "end": "UPDATE <schema>.grants SET ended_at = <stamp>, end_reason = %(reason)s "
    "WHERE id = %(id)s AND ended_at IS NULL RETURNING <durable>",
    "end_subject": "UPDATE <schema>.grants SET ended_at = <stamp>, end_reason = %(reason)s "
    "WHERE <living> RETURNING id, <durable>",
    "grants": "SELECT <row> FROM <schema>.grants WHERE <living> ORDER BY created_at DESC, id DESC",
    # A clock that was set back stamps ends with times that the cursor has passed already.
    "ended": "SELECT <now> - %(overlap)s, ARRAY(SELECT id FROM <schema>.grants WHERE ended_at >= "
    "CASE WHEN %(cursor)s::float8 IS NULL THEN <now> - %(retention)s "
    "ELSE least(%(cursor)s::float8, <now> - %(overlap)s) END)",
    "admit": "INSERT INTO <schema>.admitted (key, until) VALUES (%(key)s, %(until)s) "
    "ON CONFLICT (key) DO UPDATE SET until = excluded.until WHERE admitted.until <= <now> "
    "RETURNING true",
    "purge": "DELETE FROM <schema>.grants WHERE ctid = ANY (ARRAY(SELECT ctid FROM <schema>.grants "
    "WHERE expires_at <= %(at)s AND (ended_at IS NULL OR ended_at + %(retention)s <= %(at)s) "
    "ORDER BY expires_at LIMIT %(batch)s FOR UPDATE SKIP LOCKED)) RETURNING true",
    "version": "SELECT number FROM <schema>.version",
    "purge_keys": "DELETE FROM <schema>.admitted WHERE ctid = ANY (ARRAY(SELECT ctid "
    "FROM <schema>.admitted WHERE until <= %(at)s "
    "ORDER BY until LIMIT %(batch)s FOR UPDATE SKIP LOCKED)) RETURNING true",
}
# What a role needs that doesn't own the schema: all verbs, or `ended` alone.
RIGHTS: Final = {
    True: (
        ("USAGE", "SCHEMA <schema>"),
        ("SELECT", "<schema>.version"),
        ("SELECT, INSERT, UPDATE, DELETE", "<schema>.grants"),
        ("SELECT, INSERT, UPDATE, DELETE", "<schema>.admitted"),
    ),
    False: (
        ("USAGE", "SCHEMA <schema>"),
        ("SELECT", "<schema>.version"),
        ("SELECT (id, ended_at)", "<schema>.grants"),
    ),
}

T = TypeVar("T")
Rows: TypeAlias = list[tuple[Any, ...]]


class Statement(NamedTuple):
    """One question to the server: one round trip."""

    sql: str
    params: Mapping[str, Any] | None = None  # None: any number of statements, never prepared


# What a verb or a check is made of: a number is a pause, in seconds.
Flow: TypeAlias = Generator[Statement | float, Rows, T]


def schema_sql(schema: str = "jwt_middleware", *, since: int = 0) -> str:
    """Return the SQL that brings the schema up to date, for a team that runs such itself.

    It does what `check` does where the role may: in one transaction, one worker at a time. `since`
    is the version that is there, 0 for none. The version is the number in the table `version`.
    """
    name = _quoted(schema)
    make = [f"CREATE SCHEMA IF NOT EXISTS {name}"] if not since else []
    scripts = [statement for script in MIGRATIONS[since:] for statement in script]
    statements = ["BEGIN", _lock_sql(schema), *make, *scripts, _NUMBER, "COMMIT"]
    return "".join(f"{_sql(one).replace('<schema>', name)};\n" for one in statements)


def rights_sql(role: str, schema: str = "jwt_middleware", *, serve: bool = True) -> str:
    """Return the GRANTs for a role that doesn't own the schema.

    With `serve=False`, for a service of `Refresh(serve=False)`: it can call `ended`, and nothing
    else; it can't read who is logged in.
    """
    name = _quoted(schema)
    return "".join(
        f"GRANT {right} ON {where.replace('<schema>', name)} TO {role};\n"
        for right, where in RIGHTS[serve]
    )


def _quoted(schema: str) -> str:
    if not re.fullmatch("[a-z_][a-z0-9_]{0,62}", schema):
        raise _wrong("schema must be a name of a-z, 0-9 and _", "jwt_middleware is usual")
    return f'"{schema}"'


def _sql(text: str) -> str:
    for name, meaning in _NAMES.items():
        text = text.replace(name, meaning)
    return text


def _lock_sql(schema: str) -> str:
    return f"SELECT pg_advisory_xact_lock({LOCKS}, hashtext('{schema}'))"


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
            raise _wrong("timeout must be more than 0 and at most 9 seconds", "5 is usual")
        if not 0 <= pool_min <= pool_max or not pool_max:
            raise _wrong("pool_max must be at least 1, and pool_min not more", "0 and 10 are usual")
        if synchronous_commit not in ("on", "off"):
            raise _wrong("synchronous_commit must be on or off", "off may lose rotations only")
        name = _quoted(schema)
        rotation = "set_config('synchronous_commit', 'off', true) IS NULL"
        names = {
            "<schema>": name,
            "<rotation>": rotation if synchronous_commit == "off" else "false",
        }
        self._statements = {key: _sql(text) for key, text in SQL.items()}
        for key, meaning in names.items():
            for verb, text in self._statements.items():
                self._statements[verb] = text.replace(key, meaning)
        self._schema = schema
        self._retention = float(retention)
        self._timeout = timeout
        self._serve = serve
        self._offset = offset
        self._sizes = {"min_size": pool_min, "max_size": pool_max}
        self._conninfo = _conninfo(address, timeout)
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
        raise NotImplementedError

    # --- the verbs

    def _add(self, grant: Grant, limit: int) -> Flow[tuple[str, ...]]:
        row = {name: getattr(grant, name) for name in _FIELDS}
        row["claims"] = _to_json(grant.claims)
        row["generation"] = Int8(grant.generation)
        rows = yield from self._ask("add", **row, limit=Int8(limit), offset=self._shift())
        return tuple(one for (one,) in rows)

    def _advance(
        self, grant_id: str, source: int, target: int, parent: str | None
    ) -> Flow[Advanced]:
        if source == target:
            return (yield from self._read(grant_id))
        rows = yield from self._ask(
            "advance",
            id=grant_id,
            source=Int8(source),
            target=Int8(target),
            parent=parent,
            offset=self._shift(),
        )
        if not rows:
            return Advanced(False, None)
        *row, advanced, is_stale = rows[0]
        if not advanced and is_stale:
            return (yield from self._read(grant_id))
        return Advanced(advanced, _grant(row))

    def _read(self, grant_id: str) -> Flow[Advanced]:
        rows = yield from self._ask("read", reads=True, id=grant_id)
        return Advanced(False, _grant(rows[0]) if rows else None)

    def _end(self, grant_id: str, reason: str) -> Flow[bool]:
        rows = yield from self._ask("end", id=grant_id, reason=reason, offset=self._shift())
        return bool(rows)

    def _end_subject(self, subject: str, reason: str) -> Flow[tuple[str, ...]]:
        rows = yield from self._ask(
            "end_subject", subject=subject, reason=reason, offset=self._shift()
        )
        return tuple(one for one, _ in rows)

    def _grants(self, subject: str) -> Flow[tuple[Grant, ...]]:
        rows = yield from self._ask("grants", reads=True, subject=subject, offset=self._shift())
        return tuple(map(_grant, rows))

    def _ended(self, cursor: Cursor | None) -> Flow[Ended]:
        ((cursor, grant_ids),) = yield from self._ask(
            "ended",
            reads=True,
            cursor=cursor,
            overlap=OVERLAP,
            retention=self._retention,
            offset=self._shift(),
        )
        return Ended(tuple(grant_ids), cursor)

    def _admit(self, key: str, until: float) -> Flow[bool]:
        digest = sha256(key.encode("utf-8", "surrogatepass")).digest()
        rows = yield from self._ask("admit", key=digest, until=float(until), offset=self._shift())
        return bool(rows)

    def _purge(self, now: float) -> Flow[int]:
        total = 0
        asked = {"at": float(now), "retention": self._retention, "batch": Int8(PURGE_BATCH)}
        for verb in ("purge", "purge_keys"):
            most = total + PURGE_AT_MOST
            while total < most:
                rows = yield from self._ask(verb, **asked)
                total += len(rows)
                if len(rows) < PURGE_BATCH:
                    break
        return total

    def _shift(self) -> float:
        return float(self._offset())

    def _ask(self, verb: str, *, reads: bool = False, **params: Any) -> Flow[Rows]:
        """Ask, and again where that can't do anything twice.

        A transaction that the server took back may be tried again. What was sent when a connection
        broke may have been done: a read is asked again, a write is not, for the answer would not be
        the one to what was asked.
        """
        tries = 0
        while True:
            try:
                return (yield Statement(self._statements[verb], params))
            except psycopg.Error as error:
                tries += 1
                is_undone = (error.sqlstate or "").startswith("40")
                if tries == TRIES or not (is_undone or (reads and _is_lost(error))):
                    raise
            yield PAUSE * tries * fraction()

    # --- beginning

    def _prepare(self) -> Flow[None]:
        """Look at the server, and make the schema or bring it up to date."""
        schema = _quoted(self._schema)
        ((number, encoding, is_standby, is_read_only, role),) = yield Statement(_SERVER, {})
        if number < OLDEST * 10000:
            raise _wrong(f"PostgreSQL {number // 10000} is too old", f"{OLDEST} is the first")
        if encoding != "UTF8":
            raise _wrong(f"the database's encoding is {encoding}", "make one with ENCODING 'UTF8'")
        if is_standby or (self._serve and is_read_only):
            raise _wrong(
                "the server is read-only",
                "give the primary's address; of several hosts, libpq takes the one that is",
            )
        version = yield from self._version()
        if version < len(MIGRATIONS):
            if not self._serve:
                raise _wrong(
                    f"the schema {self._schema} isn't there or not up to date",
                    "start the service that issues tokens first",
                )
            yield from self._upgrade()
        missing = []
        for right, where in RIGHTS[self._serve]:
            ((has,),) = yield Statement(*_right(right, where, self._schema))
            if not has:
                missing.append(f"GRANT {right} ON {where.replace('<schema>', schema)} TO {role}")
        if missing:
            raise _wrong(f"the role {role} lacks rights", "; ".join(missing))

    def _version(self) -> Flow[int]:
        """Return the schema's version; 0: there is none."""
        if not (yield Statement(_TABLE, {"schema": self._schema})):
            return 0
        try:
            ((version,),) = yield Statement(self._statements["version"])
        except psycopg.errors.InsufficientPrivilege:
            return len(MIGRATIONS)  # the rights are looked at next, and named
        if version > len(MIGRATIONS):
            raise _wrong(
                f"the schema {self._schema} was made by a newer version of this package: it is "
                f"{version}, and {len(MIGRATIONS)} is known here",
                "update this one, too",
            )
        return int(version)

    def _upgrade(self) -> Flow[None]:
        yield Statement("BEGIN")
        yield Statement(_lock_sql(self._schema))
        # Looked at again: another process may have been faster.
        version = yield from self._version()
        if version < len(MIGRATIONS):
            # The statements, without the BEGIN and the lock that have been and the COMMIT to come.
            statements = schema_sql(self._schema, since=version).splitlines(keepends=True)[2:-1]
            if not version and (yield Statement(_SCHEMA, {"schema": self._schema})):
                statements = statements[1:]  # to make it needs rights even where it is there
            try:
                yield Statement("".join(statements))
            except psycopg.errors.InsufficientPrivilege:
                raise _wrong(
                    f"the schema {self._schema} isn't there or not up to date, and this role may "
                    "not make it",
                    "let its owner run what jwt_middleware.stores.postgres.schema_sql returns",
                ) from None
        yield Statement("COMMIT")

    def _refused(self, error: Exception) -> ConfigurationError:
        kind = _kind(error)
        remedy = next((text for name, text in _REMEDIES.items() if name in kind), _REMEDY)
        return _wrong(f"PostgreSQL can't be used: {kind}", remedy)

    # --- connections

    def _settings(self) -> Statement:
        """Return what a connection of our own pool is told when it is new."""
        limit = f"{self._timeout * 1000:.0f}"  # ms
        settings = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        return Statement("; ".join(f"SET {name} = {limit}" for name in settings))

    def _pool_options(self) -> dict[str, Any]:
        return {
            **self._sizes,
            "kwargs": {"autocommit": True},
            # A connection that can't be made is not tried again until somebody asks for one: else
            # the pool would sleep when the server is back.
            "reconnect_timeout": 0,
            "reconnect_failed": self._refuse,
            "name": "jwt_middleware",
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
        retention: seconds, longer than any access token can live.
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
    _given: "psycopg_pool.ConnectionPool[Any] | None" = None

    @classmethod
    def from_pool(
        cls, pool: "psycopg_pool.ConnectionPool[Any]", *, retention: float, **options: Any
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
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _make_ready(self, deadline: float) -> None:
        with self._own(deadline) as connection:
            _drive(self._prepare(), lambda one: _fetch(connection, one, deadline))
        self._is_prepared = True

    def _run(self, flow: Flow[T]) -> T:
        deadline = time.monotonic() + self._timeout
        try:
            if not self._is_prepared:
                self._make_ready(deadline)
            return _drive(flow, lambda one: self._pooled(one, deadline))
        except ConfigurationError as error:
            # `check` tells it to whoever starts the service; a verb has one error only.
            raise StoreUnavailable(error.problem) from None
        except _FAULTS as error:
            raise StoreUnavailable(_kind(error)) from None

    @contextmanager
    def _own(self, deadline: float) -> Generator[Any, None, None]:
        if self._given is not None:
            with self._borrowed(deadline) as connection:
                yield connection
            return
        connection = psycopg.Connection.connect(self._conninfo, autocommit=True)
        try:
            yield connection
        finally:
            connection.close()

    def _pooled(self, statement: Statement, deadline: float) -> Rows:
        with self._borrowed(deadline) as connection:
            return _fetch(connection, statement, deadline)

    @contextmanager
    def _borrowed(self, deadline: float) -> Generator[Any, None, None]:
        pool = self._given or self._pool or self._opened()
        connection = self._taken(pool, deadline)
        is_sound, autocommit = False, connection.autocommit
        try:
            if not autocommit:
                connection.autocommit = True
            yield connection
            is_sound = True
        except psycopg.Error as error:
            is_sound = _leaves_sound(error)
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
            if not _is_dead(connection):
                return connection
            connection.close()
            pool.putconn(connection)

    def _opened(self) -> "psycopg_pool.ConnectionPool[Any]":
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
        return self._run(self._add(grant, limit))

    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        """See `Store.advance`."""
        return self._run(self._advance(grant_id, source, target, parent))

    def end(self, grant_id: str, reason: str) -> bool:
        """See `Store.end`."""
        return self._run(self._end(grant_id, reason))

    def end_subject(self, subject: str, reason: str) -> tuple[str, ...]:
        """See `Store.end_subject`."""
        return self._run(self._end_subject(subject, reason))

    def grants(self, subject: str) -> tuple[Grant, ...]:
        """See `Store.grants`."""
        return self._run(self._grants(subject))

    def ended(self, cursor: Cursor | None) -> Ended:
        """See `Store.ended`."""
        return self._run(self._ended(cursor))

    def admit(self, key: str, until: float) -> bool:
        """See `Store.admit`."""
        return self._run(self._admit(key, until))

    def purge(self, now: float) -> int:
        """See `Store.purge`."""
        return self._run(self._purge(now))


class AsyncPostgresStore(_Postgres):
    """The same for doors that await: `PostgresStore` says what there is to know.

    Every event loop has a pool of its own; one whose loop has gone is thrown away.
    """

    _given: "psycopg_pool.AsyncConnectionPool[Any] | None" = None

    @classmethod
    def from_pool(
        cls, pool: "psycopg_pool.AsyncConnectionPool[Any]", *, retention: float, **options: Any
    ) -> Self:
        """See `PostgresStore.from_pool`."""
        store = cls(retention=retention, **options)
        store._given = pool
        return store

    def _begin(self) -> None:
        # Each pool with its connections: they outlive the loop that could close them.
        self._pools: dict[AbstractEventLoop, tuple[Any, WeakSet[Any]]] = {}

    def _forget(self) -> None:
        _inherited.append(self._pools)
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
        self._drop_orphans()
        pool, _ = self._pools.pop(get_running_loop(), (None, None))
        if pool is not None:
            await pool.close()

    async def _make_ready(self, deadline: float) -> None:
        async with self._own(deadline) as connection:
            await _adrive(self._prepare(), lambda one: _afetch(connection, one, deadline))
        self._is_prepared = True

    async def _run(self, flow: Flow[T]) -> T:
        deadline = time.monotonic() + self._timeout
        try:
            if not self._is_prepared:
                await self._make_ready(deadline)
            return await _adrive(flow, lambda one: self._pooled(one, deadline))
        except ConfigurationError as error:
            raise StoreUnavailable(error.problem) from None
        except _FAULTS as error:
            raise StoreUnavailable(_kind(error)) from None

    @asynccontextmanager
    async def _own(self, deadline: float) -> AsyncGenerator[Any, None]:
        if self._given is not None:
            async with self._borrowed(deadline) as connection:
                yield connection
            return
        connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
        try:
            yield connection
        finally:
            await connection.close()

    async def _pooled(self, statement: Statement, deadline: float) -> Rows:
        async with self._borrowed(deadline) as connection:
            return await _afetch(connection, statement, deadline)

    @asynccontextmanager
    async def _borrowed(self, deadline: float) -> AsyncGenerator[Any, None]:
        pool = self._given or await self._opened()
        connection = await self._taken(pool, deadline)
        is_sound, autocommit = False, connection.autocommit
        try:
            if not autocommit:
                await connection.set_autocommit(True)
            yield connection
            is_sound = True
        except psycopg.Error as error:
            is_sound = _leaves_sound(error)
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
            if not _is_dead(connection):
                return connection
            await connection.close()
            await pool.putconn(connection)

    async def _opened(self) -> Any:
        loop = get_running_loop()
        if loop in self._pools:
            return self._pools[loop][0]
        self._drop_orphans()
        connections: WeakSet[Any] = WeakSet()

        async def configure(connection: Any) -> None:
            connections.add(connection)
            await connection.execute(self._settings().sql)

        pool = psycopg_pool.AsyncConnectionPool(
            self._conninfo, configure=configure, **self._pool_options()
        )
        self._pools[loop] = (pool, connections)
        await pool.open()
        return pool

    def _drop_orphans(self) -> None:
        for loop in [loop for loop in self._pools if loop.is_closed()]:
            _, connections = self._pools.pop(loop)
            for connection in connections:
                connection.pgconn.finish()

    # --- the verbs

    async def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        """See `Store.add`."""
        return await self._run(self._add(grant, limit))

    async def advance(
        self, grant_id: str, source: int, target: int, parent: str | None
    ) -> Advanced:
        """See `Store.advance`."""
        return await self._run(self._advance(grant_id, source, target, parent))

    async def end(self, grant_id: str, reason: str) -> bool:
        """See `Store.end`."""
        return await self._run(self._end(grant_id, reason))

    async def end_subject(self, subject: str, reason: str) -> tuple[str, ...]:
        """See `Store.end_subject`."""
        return await self._run(self._end_subject(subject, reason))

    async def grants(self, subject: str) -> tuple[Grant, ...]:
        """See `Store.grants`."""
        return await self._run(self._grants(subject))

    async def ended(self, cursor: Cursor | None) -> Ended:
        """See `Store.ended`."""
        return await self._run(self._ended(cursor))

    async def admit(self, key: str, until: float) -> bool:
        """See `Store.admit`."""
        return await self._run(self._admit(key, until))

    async def purge(self, now: float) -> int:
        """See `Store.purge`."""
        return await self._run(self._purge(now))


# --- carrying a flow out


def _drive(flow: Flow[T], ask: Callable[[Statement], Rows]) -> T:
    try:
        step = next(flow)
        while True:
            if not isinstance(step, Statement):
                time.sleep(step)
                step = next(flow)
                continue
            try:
                rows = ask(step)
            except psycopg.Error as error:
                step = flow.throw(error)
            else:
                step = flow.send(rows)
    except StopIteration as end:
        answer: T = end.value
        return answer


async def _adrive(flow: Flow[T], ask: Callable[[Statement], Awaitable[Rows]]) -> T:
    try:
        step = next(flow)
        while True:
            if not isinstance(step, Statement):
                await asleep(step)
                step = next(flow)
                continue
            try:
                rows = await ask(step)
            except psycopg.Error as error:
                step = flow.throw(error)
            else:
                step = flow.send(rows)
    except StopIteration as end:
        answer: T = end.value
        return answer


def _fetch(connection: Any, statement: Statement, deadline: float) -> Rows:
    cursor = psycopg.Cursor(connection, row_factory=tuple_row)
    try:
        with connection.lock:
            waiting.wait(_executed(cursor, statement, deadline), connection.fileno(), LOOK_EVERY)
    except TimeoutError:
        # It may be waiting for a lock: what is given up here must not be done much later.
        with suppress(psycopg.Error):
            connection.cancel_safe(timeout=CANCELLING)
        raise
    return cursor.fetchall() if cursor.description else []


async def _afetch(connection: Any, statement: Statement, deadline: float) -> Rows:
    cursor = psycopg.AsyncCursor(connection, row_factory=tuple_row)
    try:
        # Not by `cursor.execute`: cancelled, that would wait for the server, which may hang.
        async with connection.lock:
            await waiting.wait_async(
                _executed(cursor, statement, deadline), connection.fileno(), LOOK_EVERY
            )
    except TimeoutError:
        with suppress(psycopg.Error):
            await connection.cancel_safe(timeout=CANCELLING)
        raise
    return await cursor.fetchall() if cursor.description else []


def _executed(cursor: Any, statement: Statement, deadline: float) -> Generator[Any, Any, None]:
    """Execute as the cursor does, but raise TimeoutError when it takes too long.

    psycopg's flow is resumed when the socket is ready and at every look at the time.
    """
    sql, params = statement
    flow = cursor._execute_gen(sql, params, prepare=params is not None)
    ready = None
    try:
        while True:
            ready = yield flow.send(ready)
            if not ready and time.monotonic() > deadline:
                raise TimeoutError
    except StopIteration:
        return


def _is_dead(connection: Any) -> bool:
    """Say whether an idle connection has ended, by what has come in: nothing is asked."""
    try:
        # Twice: the first may bring the server's last words, and then the second finds the end.
        connection.pgconn.consume_input()
        connection.pgconn.consume_input()
    except psycopg.Error:
        return True
    return False


def _is_lost(error: psycopg.Error) -> bool:
    """Say whether the connection broke; not where none could be had."""
    if isinstance(error, psycopg_pool.PoolTimeout | psycopg_pool.PoolClosed):
        return False
    state = error.sqlstate
    return isinstance(error, psycopg.OperationalError) and (
        state is None or state.startswith(("08", "57P"))
    )


def _leaves_sound(error: psycopg.Error) -> bool:
    """Say whether the connection may do better next time. On any other error it is thrown away."""
    # Rolled back, short of something, waited too long. Not "read-only": that was the primary once.
    return (error.sqlstate or "").startswith(("40", "53", "55P03", "57014"))


def _kind(error: Exception) -> str:
    # Never the message: it could quote a value.
    return type(error).__name__


def _right(right: str, where: str, schema: str) -> tuple[str, dict[str, str]]:
    """Return the question whether the role has a right of `RIGHTS`."""
    name = where.replace("<schema>", _quoted(schema))
    if right.startswith("SELECT ("):
        columns = right.removeprefix("SELECT (").removesuffix(")").split(", ")
        asked = [f"has_column_privilege('{name}', '{column}', 'SELECT')" for column in columns]
    elif where.startswith("SCHEMA"):
        asked = [f"has_schema_privilege('{schema}', '{right}')"]
    else:
        asked = [f"has_table_privilege('{name}', '{one}')" for one in right.split(", ")]
    return f"SELECT {' AND '.join(asked)}", {}


# Fork: a child must not speak on its parent's connections. They are kept, so that nothing in the
# child ends them; libpq's objects know the process that they were made in, too.
_stores: "WeakSet[Any]" = WeakSet()
_inherited: list[Any] = []


def begin_as_child() -> None:
    """Let the child begin with nothing open."""
    for store in tuple(_stores):
        store._forget()


# Windows doesn't fork, and has no such function: `dict` takes the same names and does nothing.
getattr(os, "register_at_fork", dict)(after_in_child=begin_as_child)


def parse_url(url: str) -> tuple[str, dict[str, Any]]:
    """Return libpq's part of `postgresql://...`, and the options that are ours.

    Raises:
        ConfigurationError: for an option of neither, and for what can't be read. It never quotes
            the address, which may hold a password.

    """
    address, _, query = url.partition("?")
    options: dict[str, Any] = {}
    theirs = []
    known = {one.keyword.decode() for one in psycopg.pq.Conninfo.get_defaults()}
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        if name not in _OPTIONS:
            if name not in known:
                shown = repr(name) if name.isidentifier() else "what is given"
                there = ", ".join(_OPTIONS)
                raise _wrong(f"has no option {shown}", f"there are {there}, and those of libpq")
            theirs.append(pair)
            continue
        if name in options:
            raise _wrong(f"gives {name} twice", "give it once")
        try:
            options[name] = _OPTIONS[name](unquote(value))
        except ValueError:
            raise _wrong(f"{name} can't be read", "?timeout=2.5&pool_max=20") from None
    return f"{address}?{'&'.join(theirs)}" if theirs else address, options


_OPTIONS: dict[str, Callable[[str], Any]] = {
    "schema": str,
    "pool_min": int,
    "pool_max": int,
    "timeout": float,
    "synchronous_commit": str.lower,
}


def _conninfo(address: str, timeout: float) -> str:
    try:
        given = conninfo_to_dict(address)
    except psycopg.Error:
        raise _wrong(
            "its address can't be read",
            "postgresql://user@host:5432/database; in a password, %40 is @, and so on",
        ) from None
    several = "," in str(given.get("host", ""))
    ours: dict[str, Any] = {
        "application_name": "jwt_middleware",
        "client_encoding": "utf8",
        "connect_timeout": math.ceil(max(timeout, 2)),  # seconds; libpq takes no less than 2
        # A host that is gone says nothing: seconds and, the last, ms until that is noticed.
        "keepalives_idle": 10,
        "keepalives_interval": 3,
        "keepalives_count": 3,
        "tcp_user_timeout": math.ceil(timeout * 1000),
        **({"target_session_attrs": "read-write"} if several else {}),
    }
    return make_conninfo("", **{**ours, **given})


_FAULTS = (psycopg.Error, OSError, UnicodeError)
_SERVER = (
    "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), "
    "pg_is_in_recovery(), current_setting('transaction_read_only') = 'on', current_user::text"
)
_NUMBER = f"UPDATE <schema>.version SET number = {len(MIGRATIONS)}"
_SCHEMA = "SELECT true FROM pg_namespace WHERE nspname = %(schema)s"
_TABLE = (
    "SELECT true FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
    "WHERE nspname = %(schema)s AND relname = 'version'"
)

_REMEDY = "host, port, database, user and password must be right, and the server be running"
_REMEDIES = {
    "LockNotAvailable": "end the session that holds a lock on the schema",
    "QueryCanceled": "end the session that holds a lock on the schema",
    "DiskFull": "make room on the server's disk",
}


def _grant(row: Any) -> Grant:
    found = dict(zip(_FIELDS, row[: len(_FIELDS)], strict=True))
    found["claims"] = _from_json(found["claims"])
    return Grant(**found)


def _to_json(claims: FrozenDict) -> str | None:
    return dumps(claims, ensure_ascii=False, separators=(",", ":")) if claims else None


def _from_json(text: str | None) -> FrozenDict:
    if text is None:
        return _NOTHING
    try:
        return parse_object(text.encode("utf-8"))
    except ValueError:
        raise StoreUnavailable("a damaged row") from None


_NOTHING = FrozenDict()
