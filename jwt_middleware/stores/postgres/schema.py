"""The SQL that makes the schema in PostgreSQL, and the words that it shares with the statements.

This module needs no driver.
"""

from __future__ import annotations

import re
from typing import Final

from ..grant_rows import FIELDS, MORE
from ..store_options import wrong_store
from .schema_levels import REFUSED_LEVEL, SCHEMA_LEVELS

# Advisory locks are numbers that all users of the database share: ours have this as their first.
LOCKS: Final = 0x4A575447
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
    # The mark of a mass end, as text, and its first number.
    "<mark>": "(SELECT value FROM <schema>.facts WHERE name = 'mark')",
    "<before>": "coalesce((SELECT split_part(value, ' ', 1)::double precision "
    "FROM <schema>.facts WHERE name = 'mark'), '-infinity')",
    # At most the server's time: else a process whose clock is fast would delete living grants.
    "<over>": "least(%(at)s, date_part('epoch', now()) + %(offset)s)",
    # Beside a statement's tables. Pgpool-II sends what only reads to a replica, which may not have
    # the schema yet, unless a volatile function is in the statement.
    "<at primary>": "(SELECT pg_is_in_recovery()) AS here",
}


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
    return "".join(f"{expanded(one, schema)};\n" for one in lines)


def expanded(text: str, schema: str) -> str:
    """Return SQL with its names in angle brackets replaced. Raises ConfigurationError."""
    if not re.fullmatch("[a-z_][a-z0-9_]{0,62}", schema):
        raise wrong_store("schema must be a name of a-z, 0-9 and _", "jwt_middleware is usual")
    for name, meaning in _SHORTHANDS.items():
        text = text.replace(name, meaning)
    return text.replace("<schema>", f'"{schema}"')


def lock_sql(schema: str) -> str:
    return f"SELECT pg_advisory_xact_lock({LOCKS}, hashtext('{schema}'))"


_SET_NUMBER = "UPDATE <schema>.version SET number ="
