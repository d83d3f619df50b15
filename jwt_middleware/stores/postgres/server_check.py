"""Check a server at the start: its version, the rights, and whether the schema is up to date.

These are flows over a `fetch` whose connection no verb uses meanwhile, because an update of the
schema is one transaction of several statements.
"""

from __future__ import annotations

from collections.abc import Callable

import psycopg

from ...values.flows import Flow
from ..store_options import wrong_store
from .rights import RIGHTS, grant_sql, rights_asked_sql
from .schema import lock_sql, schema_sql
from .schema_levels import SCHEMA_LEVELS
from .sql import OLDEST_SERVER, SCHEMA, SERVER, TABLES
from .verbs import VerbOptions
from .wire import Fetch, Statement


def check_server(
    options: VerbOptions, connect_again: Callable[[], Flow[None]], fetch: Fetch
) -> Flow[None]:
    """Check the server, and make the schema or bring it up to date.

    `connect_again` makes another connection beside that of `fetch`, and closes it.

    Raises:
        ConfigurationError: says what is wrong with server, schema or rights, and the way out.

    """
    rows = yield from fetch(Statement(SERVER, {}))
    ((number, encoding, is_standby, is_read_only, isolation, role, version),) = rows
    if "PGlite" in version:
        try:
            yield from connect_again()
        except psycopg.OperationalError:
            raise wrong_store(
                "PGlite takes one connection at a time", "start its server with -m 20"
            ) from None
    if number < OLDEST_SERVER * 10000:
        raise wrong_store(
            f"PostgreSQL {number // 10000} is too old", f"{OLDEST_SERVER} is the first"
        )
    if encoding != "UTF8":
        raise wrong_store(f"the database's encoding is {encoding}", "make one with ENCODING 'UTF8'")
    if is_standby or (options.serve and is_read_only):
        raise wrong_store(
            "the server is read-only",
            "give the primary's address; of several hosts, libpq takes the one that is",
        )
    if isolation != "read committed":
        # A login waits for another login of its subject, and then must see and count it.
        raise wrong_store(f"the pool's sessions are {isolation}", "default: READ COMMITTED")
    level = yield from _schema_level(options, fetch)
    if level < len(SCHEMA_LEVELS):
        if not options.serve:
            missing = "up to date" if level else "there"
            raise wrong_store(
                f"the schema {options.schema} isn't {missing}",
                "start the service that issues tokens first",
            )
        yield from _upgrade(options, fetch, level)
    yield from _check_rights(options, role, fetch)


def _schema_level(options: VerbOptions, fetch: Fetch) -> Flow[int]:
    """Return the level of the schema; 0: there is none."""
    tables = yield from fetch(Statement(TABLES, {"schema": options.schema}))
    if ("version",) not in tables:
        return 0
    try:
        ((level,),) = yield from fetch(Statement(options.statements["version"]))
        if level > len(SCHEMA_LEVELS):
            raise wrong_store(
                f"the schema {options.schema} was made by a newer version of this package: it is "
                f"{level}, and {len(SCHEMA_LEVELS)} is known here",
                "update this one, too",
            )
        if ("facts",) in tables:
            ((level,),) = yield from fetch(Statement(options.statements["level"]))
    except psycopg.errors.InsufficientPrivilege:
        return len(SCHEMA_LEVELS)  # the rights are checked next, with a better error
    return int(level)


def _upgrade(options: VerbOptions, fetch: Fetch, level: int) -> Flow[None]:
    schema = options.schema
    try:
        yield from fetch(Statement("BEGIN"))
    except psycopg.errors.ProtocolViolation:  # as PgBouncer has it
        raise wrong_store(
            f"the schema {schema} isn't there or not up to date, and the pooler allows no "
            "transactions: it is in statement mode",
            "let the schema's owner run, on the server itself, what this prints: "
            f"jwt-middleware grants schema --schema {schema} --since {level}",
        ) from None
    yield from fetch(Statement(lock_sql(schema)))
    # Read again under the lock: another process may have made it meanwhile.
    level = yield from _schema_level(options, fetch)
    if level < len(SCHEMA_LEVELS):
        # Only the statements: BEGIN and the lock were sent before, COMMIT follows.
        statements = schema_sql(schema, since=level).splitlines(keepends=True)[2:-1]
        if not level and (yield from fetch(Statement(SCHEMA, {"schema": schema}))):
            statements = statements[1:]  # CREATE SCHEMA needs a right even where the schema exists
        try:
            yield from fetch(Statement("".join(statements)))
        except psycopg.errors.InsufficientPrivilege:
            raise wrong_store(
                f"the schema {schema} isn't there or not up to date, and this role may not make it",
                "let its owner run what this prints: jwt-middleware grants schema "
                f"--schema {schema} --since {level}",
            ) from None
    yield from fetch(Statement("COMMIT"))


def _check_rights(options: VerbOptions, role: str, fetch: Fetch) -> Flow[None]:
    """Raise ConfigurationError where the role lacks a right that the store needs."""
    rights, schema = RIGHTS[options.serve], options.schema
    try:
        (found,) = yield from fetch(Statement(rights_asked_sql(rights, schema), {}))
    except psycopg.errors.InsufficientPrivilege:  # the right to look into the schema
        found = ()
        for one in rights:
            try:
                (has,) = yield from fetch(Statement(rights_asked_sql([one], schema), {}))
            except psycopg.errors.InsufficientPrivilege:
                has = (False,)
            found += has
    missing = [
        grant_sql(*one, role, schema) for one, has in zip(rights, found, strict=True) if not has
    ]
    if missing:
        raise wrong_store(f"the role {role} lacks rights", "; ".join(missing))
