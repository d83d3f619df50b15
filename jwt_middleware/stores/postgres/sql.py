"""What is asked of PostgreSQL, and the schema that answers. No driver is needed to read it."""

from __future__ import annotations

import re
from typing import Final

from ..grant_rows import FIELDS, MORE
from ..store_options import wrong_store

OLDEST_SERVER: Final = 13  # of the server

# Locks of the database are numbers that all its users share: ours have this as their first.
LOCKS: Final = 0x4A575447
# The levels of the schema, each made from the one before. What has been released is never changed.
# The table `version` has the last level that a package which doesn't know it can't work with: an
# older package refuses the schema. A level that only adds leaves it, and processes of the former
# package go on beside those of the new one. How far the additions have come is the fact `level`.
#
# Fixed widths come first, so that nothing is lost to alignment. No index has a column that a
# rotation changes, and pages keep room for one: so it stays in its page, and writes to no index
# (heap-only tuples). The living of a subject are found by a hash: a third of the room of its text.
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
        # It takes the same lock, so that it misses no login that comes while it waits for a row.
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
        # What is about the whole store.
        """CREATE TABLE <schema>.facts (
            name text COLLATE "C" PRIMARY KEY,
            value text COLLATE "C" NOT NULL
        )""",
        "INSERT INTO <schema>.facts VALUES ('level', '3')",
        # Beside the grants, for the former package's `add_grant` is given a row of theirs as it
        # was. A grant has a row here only where one of these isn't as it is by default.
        """CREATE TABLE <schema>.grants_more (
            last_used_at double precision,
            idle_limit double precision,
            is_session boolean NOT NULL DEFAULT false,
            id text COLLATE "C" PRIMARY KEY REFERENCES <schema>.grants ON DELETE CASCADE,
            label text COLLATE "C"
        ) WITH (fillfactor = 80)""",
        # The ends in the order of their transactions. A trigger writes them, with its owner's
        # rights, so that an end is here whichever package and role made it; those of the last day
        # come now.
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
REFUSED_LEVEL: Final = 2  # of the levels the last one that an older package can't work with

_COLUMNS = re.findall(r"(?m)^            (\w+) (?:bigint|double|text)", SCHEMA_LEVELS[0][2])
_LIVING = "hashtext(subject) = hashtext({0}) AND subject = {0} AND ended_at IS NULL"
_SHORTHANDS = {
    "<add>": "add_grant(<schema>.grants, bigint, double precision)",
    "<add with>": "add_grant_with(<schema>.grants, double precision, text, double precision, "
    "boolean, bigint, double precision)",
    "<end>": "end_grants(text, text, double precision)",
    "<advance>": "advance_grant(text, bigint, bigint, text, double precision)",
    "<locks>": str(LOCKS),
    # Whatever the role's default is, what ended stays ended. A stricter default stays.
    "<durable>": "set_config('synchronous_commit', replace(current_setting('synchronous_commit'), "
    "'off', 'on'), true)",
    # Writes a message. A commit waits for standbys only where it has written, and then for all that
    # was before it. Who ends what has ended may be repeating an end that no standby had in time: so
    # that must wait, too.
    "<written>": "pg_logical_emit_message(true, 'jwt_middleware', '')",
    # NULL stands for the usual reason: it takes no room, so a full page holds its rows when they
    # end, too.
    "<row>": ", ".join(FIELDS)
    .replace("end_reason", "CASE WHEN ended_at IS NOT NULL THEN coalesce(end_reason, 'logout') END")
    .replace("is_session", "coalesce(is_session, false)"),
    # A row with its row in `grants_more`; and the same for several rows, where OFFSET 0 makes the
    # planner look each up by the index, whatever it thinks of their number.
    "<one>": "<schema>.grants LEFT JOIN <schema>.grants_more USING (id)",
    "<each>": "<schema>.grants LEFT JOIN LATERAL (SELECT <more> FROM <schema>.grants_more "
    "WHERE grants_more.id = grants.id OFFSET 0) AS more ON true",
    "<more>": ", ".join(MORE),
    "<reason>": "nullif(%(reason)s, 'logout')",
    "<values>": ", ".join(f"%({name})s" for name in _COLUMNS),
    "<living>": _LIVING.format("%(subject)s") + " AND expires_at > <now>",
    "<living of fresh.subject>": _LIVING.format("fresh.subject"),
    "<living of whose>": _LIVING.format("whose"),
    # The time of the write, not of the transaction's beginning, which may have waited for a lock: a
    # reader of ended grants goes by it.
    "<stamp>": "date_part('epoch', clock_timestamp()) + %(offset)s",
    "<now>": "(date_part('epoch', now()) + %(offset)s)",  # the same throughout a statement
    # At most the server's time: a process whose clock runs ahead would delete grants that live.
    "<over>": "least(%(at)s, date_part('epoch', now()) + %(offset)s)",
}
# All that is ever asked. A test holds that none of it reads a whole table.
STATEMENTS: Final = {
    "add": "SELECT <schema>.add_grant(ROW(<values>)::<schema>.grants, %(limit)s, %(offset)s)",
    "add_with": "SELECT <schema>.add_grant_with(ROW(<values>)::<schema>.grants, %(last_used_at)s, "
    "%(label)s, %(idle_limit)s, %(is_session)s, %(limit)s, %(offset)s)",
    "read": "SELECT <row> FROM <one> WHERE id = %(id)s",
    # The row as it was when this began, and the time of the swap: with that, and with what was to
    # be set, the row as it is. Where the swap had to wait for another's write, and then found the
    # row changed, the row that is returned looks as if it could be swapped: it is read once more.
    "advance": "SELECT <row>, <rotation>, <schema>.advance_grant(id, %(source)s, %(target)s, "
    "%(parent)s, %(offset)s) FROM <one> WHERE id = %(id)s",
    # Where the grant is ended meanwhile, the use was before the end: the row is right all the same.
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
    # Never later than the overlap: a clock that was set back stamps ends with times before the
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
    # Looks at no more than it may delete: the oldest have the lowest transactions.
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
# Of these, the ones that write nothing.
READING_VERBS: Final = frozenset({"read", "grants", "page", "ended"})
# What a role gets that doesn't own the schema: all verbs, or `ended` alone.
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
# The rights without which a service doesn't start. One that only hears of ended grants goes on
# without the last two, for which a former version didn't ask, and logs a warning.
NEEDED: Final = {True: RIGHTS[True], False: RIGHTS[False][:3]}


def schema_sql(schema: str = "jwt_middleware", *, since: int = 0) -> str:
    """Return the SQL that brings the schema up to date, for a team that runs such itself.

    It does what `check` does where the role may: in one transaction, one worker at a time. `since`
    is the level that is there, 0 for none. It is the value of `level` in the table `facts`; where
    there is no such table yet, the number in the table `version`.
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
    else; it can't read who is logged in.
    """
    return "".join(f"{grant_sql(*right, role, schema)};\n" for right in RIGHTS[serve])


def grant_sql(right: str, where: str, role: str, schema: str) -> str:
    """Return the statement that gives a role, whatever its name is, a right of `RIGHTS`."""
    name = role.replace('"', '""')
    return f'GRANT {right} ON {_expanded(where, schema)} TO "{name}"'


def statements(schema: str, *, is_waiting: bool) -> dict[str, str]:
    """Return what is asked of a schema, with rotations that wait for the disk or don't."""
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
    """Return the question whether the role has a right of `RIGHTS`."""
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
# What is asked at start.
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
