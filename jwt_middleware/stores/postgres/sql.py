"""The SQL statements for PostgreSQL, and the schema. This module needs no driver."""

from __future__ import annotations

import re
from typing import Final

from ..grant_rows import FIELDS, MORE
from ..store_options import wrong_store

OLDEST_SERVER: Final = 13  # of the server

# Advisory locks are numbers that all users of the database share: ours have this as their first.
LOCKS: Final = 0x4A575447
# The levels of the schema, each made from the one before. A released level is never changed. The
# table `version` holds the last level that older packages can't work with: an older package refuses
# the schema. A level that only adds something leaves this number, so that processes of the former
# package keep working beside those of the new one. The fact `level` counts all levels, additions
# too.
# Columns of fixed width come first, so that alignment wastes no room. No index has a column that a
# rotation changes, and pages keep room for one more row. So a rotated row stays in its page, and no
# index is written (heap-only tuples). The living grants of a subject are found by a hash, which
# takes a third of the room of its text.
SCHEMA_LEVELS: Final = (
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
            end_reason text COLLATE "C"  -- NULL for 'logout'
        ) WITH (fillfactor = 80)""",
        "CREATE INDEX grants_living ON <schema>.grants (hashtext(subject)) WHERE ended_at IS NULL",
        "CREATE INDEX grants_ended ON <schema>.grants (ended_at) WHERE ended_at IS NOT NULL",
        "CREATE INDEX grants_expiring ON <schema>.grants (expires_at)",
        """CREATE TABLE <schema>.admitted (
            key bytea PRIMARY KEY,  -- its SHA-256: an index takes no long text
            until double precision NOT NULL
        )""",
        "CREATE INDEX admitted_until ON <schema>.admitted (until)",
        # Each statement of a function sees what was committed before that statement began. So a
        # login that waited for the lock counts the grants of the login that held it. In a single
        # SQL statement it would not.
        """CREATE FUNCTION <schema>.add_grant(
            fresh <schema>.grants, most bigint, shift double precision
        ) RETURNS SETOF text LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_advisory_xact_lock(<locks>, hashtext(fresh.subject));
            INSERT INTO <schema>.grants SELECT fresh.* ON CONFLICT (id) DO NOTHING;
            IF NOT FOUND THEN
                RETURN;
            END IF;
            PERFORM <durable>;
            PERFORM FROM <schema>.grants
            WHERE <living of fresh.subject> AND expires_at > date_part('epoch', now()) + shift
            ORDER BY created_at DESC, id DESC OFFSET most;
            IF NOT FOUND THEN
                RETURN;
            END IF;
            -- Who ends one of them meanwhile makes room: first nobody can, then they are counted.
            PERFORM FROM <schema>.grants WHERE <living of fresh.subject> FOR UPDATE;
            RETURN QUERY UPDATE <schema>.grants SET
                ended_at = date_part('epoch', clock_timestamp()) + shift, end_reason = 'limit'
            WHERE id IN (
                SELECT id FROM <schema>.grants
                WHERE <living of fresh.subject> AND id <> fresh.id
                    AND expires_at > date_part('epoch', now()) + shift
                ORDER BY created_at DESC, id DESC OFFSET most - 1
            ) RETURNING id;
        END $$""",
        # This takes the same lock, so that it misses no login that comes while it waits for a row.
        """CREATE FUNCTION <schema>.end_grants(
            whose text, why text, shift double precision
        ) RETURNS SETOF text LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_advisory_xact_lock(<locks>, hashtext(whose));
            PERFORM <durable>;
            RETURN QUERY UPDATE <schema>.grants SET
                ended_at = date_part('epoch', clock_timestamp()) + shift, end_reason = why
            WHERE <living of whose> AND expires_at > date_part('epoch', now()) + shift
            RETURNING id;
            IF NOT FOUND THEN
                PERFORM <written>;
            END IF;
        END $$""",
        "REVOKE ALL ON FUNCTION <schema>.<add> FROM PUBLIC",
        "REVOKE ALL ON FUNCTION <schema>.<end> FROM PUBLIC",
    ),
    (
        # Cheaper than one statement that swaps in one part and reads in another. It returns NULL
        # where it didn't swap.
        """CREATE FUNCTION <schema>.advance_grant(
            which text, source bigint, target bigint, exchanged text, shift double precision
        ) RETURNS double precision LANGUAGE plpgsql AS $$
        DECLARE
            stamp double precision;
        BEGIN
            UPDATE <schema>.grants SET
                generation = target, parent = exchanged,
                rotated_at = date_part('epoch', clock_timestamp()) + shift
            WHERE id = which AND generation = source AND ended_at IS NULL
                AND expires_at > date_part('epoch', now()) + shift
            RETURNING rotated_at INTO stamp;
            RETURN stamp;
        END $$""",
        "REVOKE ALL ON FUNCTION <schema>.<advance> FROM PUBLIC",
    ),
    (
        # Facts about the whole store.
        """CREATE TABLE <schema>.facts (
            name text COLLATE "C" PRIMARY KEY,
            value text COLLATE "C" NOT NULL
        )""",
        "INSERT INTO <schema>.facts VALUES ('level', '3')",
        # A table of its own, because the `add_grant` of the former package takes a row of `grants`
        # in its old form. A grant has a row here only where one of these columns differs from its
        # default.
        """CREATE TABLE <schema>.grants_more (
            last_used_at double precision,
            idle_limit double precision,
            is_session boolean NOT NULL DEFAULT false,
            id text COLLATE "C" PRIMARY KEY REFERENCES <schema>.grants ON DELETE CASCADE,
            label text COLLATE "C"
        ) WITH (fillfactor = 80)""",
        # The ends in the order of their transactions. A trigger writes them with its owner's
        # rights, so that the ends made by every package and role are here. The ends of the last day
        # are copied now.
        """CREATE TABLE <schema>.ends (
            xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
            ended_at double precision NOT NULL,
            id text COLLATE "C" NOT NULL
        )""",
        "CREATE INDEX ends_xid ON <schema>.ends (xid)",
        """INSERT INTO <schema>.ends (id, ended_at) SELECT id, ended_at FROM <schema>.grants
            WHERE ended_at >= (SELECT max(ended_at) FROM <schema>.grants) - 86400""",
        """CREATE FUNCTION <schema>.keep_end() RETURNS trigger LANGUAGE plpgsql
        SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
        BEGIN
            INSERT INTO <schema>.ends (id, ended_at) VALUES (NEW.id, NEW.ended_at);
            RETURN NULL;
        END $$""",
        "REVOKE ALL ON FUNCTION <schema>.keep_end() FROM PUBLIC",
        """CREATE TRIGGER keep_end AFTER UPDATE OF ended_at ON <schema>.grants FOR EACH ROW
            WHEN (OLD.ended_at IS NULL AND NEW.ended_at IS NOT NULL)
            EXECUTE FUNCTION <schema>.keep_end()""",
        # For a grant that has a row in `grants_more`. The lock is the one that `add_grant` takes.
        """CREATE FUNCTION <schema>.add_grant_with(
            fresh <schema>.grants, used double precision, name text, idle double precision,
            session boolean, most bigint, shift double precision
        ) RETURNS SETOF text LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_advisory_xact_lock(<locks>, hashtext(fresh.subject));
            PERFORM FROM <schema>.grants WHERE id = fresh.id;
            IF FOUND THEN
                RETURN;
            END IF;
            RETURN QUERY SELECT <schema>.add_grant(fresh, most, shift);
            INSERT INTO <schema>.grants_more (id, last_used_at, label, idle_limit, is_session)
            VALUES (fresh.id, used, name, idle, session);
        END $$""",
        "REVOKE ALL ON FUNCTION <schema>.<add with> FROM PUBLIC",
    ),
)
REFUSED_LEVEL: Final = 2  # the last level that older packages can't work with

_COLUMNS = re.findall(r"(?m)^            (\w+) (?:bigint|double|text)", SCHEMA_LEVELS[0][2])
_LIVING = "hashtext(subject) = hashtext({0}) AND subject = {0} AND ended_at IS NULL"
_SHORTHANDS = {
    "<add>": "add_grant(<schema>.grants, bigint, double precision)",
    "<add with>": "add_grant_with(<schema>.grants, double precision, text, double precision, "
    "boolean, bigint, double precision)",
    "<end>": "end_grants(text, text, double precision)",
    "<advance>": "advance_grant(text, bigint, bigint, text, double precision)",
    "<locks>": str(LOCKS),
    # An end is durable, whatever the role's default is. A stricter default is kept.
    "<durable>": "set_config('synchronous_commit', replace(current_setting('synchronous_commit'), "
    "'off', 'on'), true)",
    # Writes a message, because a commit waits for standbys only if it has written something; then
    # it waits for all earlier writes, too. A client that ends a grant a second time may repeat an
    # end that no standby received in time, so this commit must wait, too.
    "<written>": "pg_logical_emit_message(true, 'jwt_middleware', '')",
    # NULL stands for the usual reason: it takes no room, so the rows of a full page still fit when
    # they end.
    "<row>": ", ".join(FIELDS)
    .replace("end_reason", "CASE WHEN ended_at IS NOT NULL THEN coalesce(end_reason, 'logout') END")
    .replace("is_session", "coalesce(is_session, false)"),
    # A row with its row in `grants_more`; and the same for several rows. There OFFSET 0 makes the
    # planner look up each row by the index, however many rows it expects.
    "<one>": "<schema>.grants LEFT JOIN <schema>.grants_more USING (id)",
    "<each>": "<schema>.grants LEFT JOIN LATERAL (SELECT <more> FROM <schema>.grants_more "
    "WHERE grants_more.id = grants.id OFFSET 0) AS more ON true",
    "<more>": ", ".join(MORE),
    "<reason>": "nullif(%(reason)s, 'logout')",
    "<values>": ", ".join(f"%({name})s" for name in _COLUMNS),
    "<living>": _LIVING.format("%(subject)s") + " AND expires_at > <now>",
    "<living of fresh.subject>": _LIVING.format("fresh.subject"),
    "<living of whose>": _LIVING.format("whose"),
    # The time of the write, not of the transaction's beginning: a transaction may wait for a lock,
    # and readers of ended grants compare this time.
    "<stamp>": "date_part('epoch', clock_timestamp()) + %(offset)s",
    "<now>": "(date_part('epoch', now()) + %(offset)s)",  # the same throughout a statement
    # At most the server's time: else a process whose clock is fast would delete living grants.
    "<over>": "least(%(at)s, date_part('epoch', now()) + %(offset)s)",
}
# All statements of the verbs. A test checks that none of them reads a whole table.
STATEMENTS: Final = {
    "add": "SELECT <schema>.add_grant(ROW(<values>)::<schema>.grants, %(limit)s, %(offset)s)",
    "add_with": "SELECT <schema>.add_grant_with(ROW(<values>)::<schema>.grants, %(last_used_at)s, "
    "%(label)s, %(idle_limit)s, %(is_session)s, %(limit)s, %(offset)s)",
    "read": "SELECT <row> FROM <one> WHERE id = %(id)s",
    # Returns the row as it was before, and the time of the swap; from these and the new values
    # follows the row as it is. If the swap waits for another write, and then finds the row changed,
    # the old row is returned without a swap: then the row is read again.
    "advance": "SELECT <row>, <rotation>, <schema>.advance_grant(id, %(source)s, %(target)s, "
    "%(parent)s, %(offset)s) FROM <one> WHERE id = %(id)s",
    # If the grant is ended meanwhile, the use was before the end, so the row is still right.
    "use": "INSERT INTO <schema>.grants_more (id, last_used_at) SELECT id, <stamp> "
    "FROM <schema>.grants WHERE id = %(id)s AND ended_at IS NULL AND expires_at > <now> "
    "ON CONFLICT (id) DO UPDATE SET last_used_at = excluded.last_used_at RETURNING <rotation>",
    "end": "WITH done AS (UPDATE <schema>.grants SET ended_at = <stamp>, end_reason = <reason> "
    "WHERE id = %(id)s AND ended_at IS NULL RETURNING true, <durable>) SELECT * FROM done "
    "UNION ALL SELECT <written> IS NULL, <durable> FROM <schema>.grants "
    "WHERE id = %(id)s AND NOT EXISTS (SELECT FROM done)",
    "end_subject": "SELECT <schema>.end_grants(%(subject)s, <reason>, %(offset)s)",
    "grants": "SELECT <row> FROM <each> WHERE <living> ORDER BY created_at DESC, id DESC",
    "page": "SELECT <row> FROM <each> WHERE id > %(position)s AND ended_at IS NULL "
    "AND expires_at > <now> ORDER BY id LIMIT %(count)s",
    # Never later than the overlap: after the clock was set back, new ends have times before the
    # cursor.
    "ended": "SELECT <now> - %(overlap)s, ARRAY(SELECT id FROM <schema>.grants WHERE ended_at >= "
    "CASE WHEN %(cursor)s::float8 IS NULL THEN <now> - %(horizon)s "
    "ELSE least(%(cursor)s::float8, <now> - %(overlap)s) END)",
    "admit": "INSERT INTO <schema>.admitted (key, until) VALUES (%(key)s, %(until)s) "
    "ON CONFLICT (key) DO UPDATE SET until = excluded.until WHERE admitted.until <= <now> "
    "RETURNING true",
    "purge": "DELETE FROM <schema>.grants WHERE ctid = ANY (ARRAY(SELECT ctid FROM <schema>.grants "
    "WHERE expires_at <= <over> AND (ended_at IS NULL OR ended_at + %(retention)s <= <over>) "
    "ORDER BY expires_at LIMIT %(batch)s FOR UPDATE SKIP LOCKED)) RETURNING true",
    # Reads only rows that it may delete: the oldest have the lowest transactions.
    "purge_ends": "DELETE FROM <schema>.ends WHERE ctid = ANY (ARRAY(SELECT ctid "
    "FROM <schema>.ends WHERE ctid = ANY (ARRAY(SELECT ctid FROM (SELECT ctid, ended_at "
    "FROM <schema>.ends ORDER BY xid LIMIT %(batch)s) AS oldest "
    "WHERE ended_at + %(retention)s <= <over>)) FOR UPDATE SKIP LOCKED)) RETURNING true",
    "version": "SELECT number FROM <schema>.version",
    "level": "SELECT value::integer FROM <schema>.facts WHERE name = 'level'",
    "purge_keys": "DELETE FROM <schema>.admitted WHERE ctid = ANY (ARRAY(SELECT ctid "
    "FROM <schema>.admitted WHERE until <= <over> "
    "ORDER BY until LIMIT %(batch)s FOR UPDATE SKIP LOCKED)) RETURNING true",
}
# Those statements that write nothing.
READING_VERBS: Final = frozenset({"read", "grants", "page", "ended"})
# The rights of a role that doesn't own the schema: for all verbs, or for `ended` only.
RIGHTS: Final = {
    True: (
        ("USAGE", "SCHEMA <schema>"),
        ("SELECT", "<schema>.version"),
        ("SELECT, INSERT, UPDATE", "<schema>.facts"),
        ("SELECT, INSERT, UPDATE, DELETE", "<schema>.grants"),
        ("SELECT, INSERT, UPDATE", "<schema>.grants_more"),
        ("SELECT, UPDATE, DELETE", "<schema>.ends"),
        ("SELECT, INSERT, UPDATE, DELETE", "<schema>.admitted"),
        ("EXECUTE", f"FUNCTION <schema>.{_SHORTHANDS['<add>']}"),
        ("EXECUTE", f"FUNCTION <schema>.{_SHORTHANDS['<add with>']}"),
        ("EXECUTE", f"FUNCTION <schema>.{_SHORTHANDS['<end>']}"),
        ("EXECUTE", f"FUNCTION <schema>.{_SHORTHANDS['<advance>']}"),
    ),
    False: (
        ("USAGE", "SCHEMA <schema>"),
        ("SELECT", "<schema>.version"),
        ("SELECT (id, ended_at)", "<schema>.grants"),
        ("SELECT", "<schema>.facts"),
        ("SELECT", "<schema>.ends"),
    ),
}
# The rights that a service needs to start. A service that only reads ended grants also starts
# without the last two, which a former version didn't need, and logs a warning.
NEEDED: Final = {True: RIGHTS[True], False: RIGHTS[False][:3]}


def schema_sql(schema: str = "jwt_middleware", *, since: int = 0) -> str:
    """Return the SQL that brings the schema up to date, for a team that runs such SQL by hand.

    It does what `check` does where the role has the rights: in one transaction, one worker at a
    time. `since` is the present level, 0 for no schema. It is the value of `level` in the table
    `facts`; where there is no such table yet, the number in the table `version`.
    """
    make = ["CREATE SCHEMA IF NOT EXISTS <schema>"] if not since else []
    scripts = [statement for script in SCHEMA_LEVELS[since:] for statement in script]
    number = f"{_SET_NUMBER} {min(REFUSED_LEVEL, len(SCHEMA_LEVELS))}"
    numbered = [number] if since < REFUSED_LEVEL else []
    lines = ["BEGIN", lock_sql(schema), *make, *scripts, *numbered, "COMMIT"]
    return "".join(f"{_expanded(one, schema)};\n" for one in lines)


def rights_sql(role: str, schema: str = "jwt_middleware", *, serve: bool = True) -> str:
    """Return the GRANTs for a role that doesn't own the schema.

    With `serve=False`, for a service of `Refresh(serve=False)`: it can call `ended`, and nothing
    else; it can't read the list of logins.
    """
    return "".join(f"{grant_sql(*right, role, schema)};\n" for right in RIGHTS[serve])


def grant_sql(right: str, where: str, role: str, schema: str) -> str:
    """Return the statement that gives a role, whatever its name is, a right of `RIGHTS`."""
    name = role.replace('"', '""')
    return f'GRANT {right} ON {_expanded(where, schema)} TO "{name}"'


def statements(schema: str, *, is_waiting: bool) -> dict[str, str]:
    """Return the statements for a schema, with rotations that wait for the disk or don't."""
    rotation = "false" if is_waiting else "set_config('synchronous_commit', 'off', true) IS NULL"
    return {
        verb: _expanded(text, schema).replace("<rotation>", rotation)
        for verb, text in STATEMENTS.items()
    }


def _expanded(text: str, schema: str) -> str:
    """Return SQL with its names in angle brackets replaced. Raises ConfigurationError."""
    if not re.fullmatch("[a-z_][a-z0-9_]{0,62}", schema):
        raise wrong_store("schema must be a name of a-z, 0-9 and _", "jwt_middleware is usual")
    for name, meaning in _SHORTHANDS.items():
        text = text.replace(name, meaning)
    return text.replace("<schema>", f'"{schema}"')


def lock_sql(schema: str) -> str:
    return f"SELECT pg_advisory_xact_lock({LOCKS}, hashtext('{schema}'))"


def right_sql(right: str, where: str, schema: str) -> str:
    """Return the SQL that asks whether the role has a right of `RIGHTS`."""
    name = _expanded(where, schema)
    if right.startswith("SELECT ("):
        columns = right.removeprefix("SELECT (").removesuffix(")").split(", ")
        asked = [f"has_column_privilege('{name}', '{column}', 'SELECT')" for column in columns]
    elif where.startswith("SCHEMA"):
        asked = [f"has_schema_privilege('{schema}', '{right}')"]
    elif where.startswith("FUNCTION"):
        asked = [f"has_function_privilege('{name.removeprefix('FUNCTION ')}', '{right}')"]
    else:
        asked = [f"has_table_privilege('{name}', '{one}')" for one in right.split(", ")]
    return f"SELECT {' AND '.join(asked)}"


_SET_NUMBER = "UPDATE <schema>.version SET number ="
# The questions of the check at the start.
SERVER = (
    "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), "
    "pg_is_in_recovery(), current_setting('transaction_read_only') = 'on', "
    "current_setting('transaction_isolation'), current_user::text"
)
SCHEMA = "SELECT true FROM pg_namespace WHERE nspname = %(schema)s"
TABLES = (
    "SELECT relname::text FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
    "WHERE nspname = %(schema)s AND relname IN ('version', 'facts')"
)
