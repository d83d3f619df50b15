"""The statements for PostgreSQL. This module needs no driver."""

from __future__ import annotations

from typing import Final

from ..contract import PAGE
from .schema import expanded

OLDEST_SERVER: Final = 13  # of the server

_SHORTHANDS = {
    # A reading statement finds out by itself whether it is on a replica: a balancer may send each
    # one elsewhere. So at least one row comes back, which begins with that and with the mark. The
    # function is volatile; therefore Pgpool-II doesn't send the statement to a replica.
    "<always>": "SELECT pg_is_in_recovery(), <mark>, <row> FROM (SELECT) AS always LEFT JOIN",
    # What `ended` returns, beside: what this statement sees, which table it is, the number of the
    # last one of a full page, the mark; and the ids, NULL for none. Each process asks once a
    # second, mostly for nothing, and a column takes more octets than its value: so one text says
    # all, and names are short.
    "<feed>": "SELECT pg_is_in_recovery() AS r, concat_ws(' ', pg_current_snapshot(), "
    "'<schema>.ends'::regclass::oid, <last>, <mark>) AS s, array_agg(id) AS i",
    "<last>": "coalesce((array_agg(place))[<size>]::text, '-')",
    # The history that the numbers of transactions belong to.
    "<history>": "<schema>.history() AS h",
    # What was committed since the cursor's snapshot, whenever it began. A number that this server
    # has not reached yet came from another one, by a dump: it means nothing here. The subquery is
    # worked out once, the bare parameter would be for each row.
    "<news>": "FROM (SELECT xid AS place, id FROM <schema>.ends "
    "WHERE (xid, id) > (%(place)s::text::xid8, %(id)s) "
    "AND xid < pg_snapshot_xmax(pg_current_snapshot()) "
    "AND NOT pg_visible_in_snapshot(xid, (SELECT %(seen)s::text::pg_snapshot)) "
    "ORDER BY xid, id LIMIT <size>) AS page",
    "<size>": str(PAGE),
}
# All statements of the verbs. A test checks that none of them reads a whole table.
STATEMENTS: Final = {
    "add": "SELECT <schema>.add_grant(ROW(<values>)::<schema>.grants, %(limit)s, %(offset)s)",
    "add_with": "SELECT <schema>.add_grant_with(ROW(<values>)::<schema>.grants, %(last_used_at)s, "
    "%(label)s, %(idle_limit)s, %(is_session)s, %(limit)s, %(offset)s)",
    "read": "<always> (<one>) ON id = %(id)s",
    # Returns the row as it was before, and the time of the swap; from these and the new values
    # follows the row as it is. If the swap waits for another write, and then finds the row changed,
    # the old row is returned without a swap: then the row is read again.
    "advance": "SELECT <mark>, <row>, <rotation>, CASE WHEN bound_key IS NULL THEN "
    "<schema>.advance_grant(id, %(source)s, %(target)s, %(parent)s, %(offset)s) END "
    "FROM <one> WHERE id = %(id)s",
    # If the grant is ended meanwhile, the use was before the end, so the row is still right.
    "use": "INSERT INTO <schema>.grants_more (id, last_used_at) SELECT id, <stamp> "
    "FROM <schema>.grants WHERE id = %(id)s AND ended_at IS NULL AND created_at >= <before> "
    "AND expires_at > <now> ON CONFLICT (id) "
    "DO UPDATE SET last_used_at = excluded.last_used_at RETURNING <rotation>",
    "end": "WITH done AS (UPDATE <schema>.grants SET ended_at = <stamp>, end_reason = <reason> "
    "WHERE id = %(id)s AND ended_at IS NULL AND created_at >= <before> RETURNING true, <durable>) "
    "SELECT * FROM done UNION ALL SELECT <written> IS NULL, <durable> FROM <schema>.grants "
    "WHERE id = %(id)s AND NOT EXISTS (SELECT FROM done)",
    "end_subject": "SELECT <schema>.end_grants(%(subject)s, <reason>, %(offset)s)",
    "grants": "<always> (SELECT * FROM <each> WHERE <living> AND created_at >= <before>) "
    "AS found ON true ORDER BY created_at DESC, id DESC",
    # With grants that ended by the mark: else one page might read a million of them.
    "page": "<always> (SELECT * FROM <each> WHERE id > %(position)s AND ended_at IS NULL "
    "AND expires_at > <now> ORDER BY id LIMIT %(count)s) AS found ON true ORDER BY id",
    "is_living": "SELECT pg_is_in_recovery(), <mark>, created_at, ended_at "
    "FROM (SELECT) AS always LEFT JOIN <schema>.grants ON id = %(id)s",
    # The later of two marks stays. It is written again in any case, so that the commit waits for
    # all that an earlier one must wait for.
    "end_before": "INSERT INTO <schema>.facts AS old (name, value) "
    "SELECT 'mark', concat_ws(' ', coalesce(%(time)s::float8, now), now) "
    "FROM (SELECT <stamp> AS now OFFSET 0) AS clock WHERE coalesce(%(time)s::float8, now) <= now "
    "ON CONFLICT (name) DO UPDATE SET value = CASE "
    "WHEN split_part(excluded.value, ' ', 1)::float8 > split_part(old.value, ' ', 1)::float8 "
    "THEN excluded.value ELSE old.value END RETURNING value, <durable>",
    "ended": "<feed>, <history> <news>",
    # The same where the history is known, because it can't change while the connection lives.
    "ended_again": "<feed> <news>",
    # Where nothing at all was committed since the last answer: it reads no table, which is most of
    # the work.
    "glance": "SELECT pg_is_in_recovery() AS r, pg_current_snapshot()::text AS s, <history>",
    "glance_again": "SELECT pg_is_in_recovery() AS r, pg_current_snapshot()::text AS s",
    # The time of the last one comes once more as a number, because a text may have fewer digits.
    "ended_lately": "<feed>, (array_agg(place))[<size>] AS p, <history> "
    "FROM (SELECT ended_at AS place, id FROM <schema>.ends "
    "WHERE (ended_at, id) > (coalesce(%(place)s::float8, <now> - %(horizon)s), %(id)s) "
    "ORDER BY ended_at, id LIMIT <size>) AS page",
    "admit": "INSERT INTO <schema>.admitted (key, until) VALUES (%(key)s, %(until)s) "
    "ON CONFLICT (key) DO UPDATE SET until = excluded.until WHERE admitted.until <= <now> "
    "RETURNING true",
    "purge": "DELETE FROM <schema>.grants WHERE ctid = ANY (ARRAY(SELECT ctid FROM <schema>.grants "
    "WHERE expires_at <= <over> AND (ended_at IS NULL OR ended_at + %(retention)s <= <over>) "
    "ORDER BY expires_at LIMIT %(batch)s FOR UPDATE SKIP LOCKED)) RETURNING true",
    "purge_ends": "DELETE FROM <schema>.ends WHERE ctid = ANY (ARRAY(SELECT ctid "
    "FROM <schema>.ends WHERE ended_at <= <over> - %(retention)s "
    "ORDER BY ended_at LIMIT %(batch)s FOR UPDATE SKIP LOCKED)) RETURNING true",
    "version": "SELECT number FROM <schema>.version, <at primary>",
    "level": "SELECT value::integer FROM <schema>.facts, <at primary> WHERE name = 'level'",
    "purge_keys": "DELETE FROM <schema>.admitted WHERE ctid = ANY (ARRAY(SELECT ctid "
    "FROM <schema>.admitted WHERE until <= <over> "
    "ORDER BY until LIMIT %(batch)s FOR UPDATE SKIP LOCKED)) RETURNING true",
}
# Those that write nothing, and say first whether they were on a replica.
READING_VERBS: Final = frozenset(
    {"read", "grants", "page", "is_living", "ended", "ended_lately", "glance"}
)


def statements(schema: str, *, is_waiting: bool) -> dict[str, str]:
    """Return the statements for a schema, with rotations that wait for the disk or don't."""
    rotation = "false" if is_waiting else "set_config('synchronous_commit', 'off', true) IS NULL"
    found = {}
    for verb, statement in STATEMENTS.items():
        text = statement.replace("<rotation>", rotation)
        for name, meaning in _SHORTHANDS.items():
            text = text.replace(name, meaning)
        found[verb] = expanded(text, schema)
    return found


# The questions of the check at the start.
SERVER = (
    "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), "
    "pg_is_in_recovery(), current_setting('transaction_read_only') = 'on', "
    "current_setting('transaction_isolation'), current_user::text, version()"
)
SCHEMA = "SELECT true FROM pg_namespace WHERE nspname = %(schema)s"
TABLES = (
    "SELECT relname::text FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
    "WHERE nspname = %(schema)s AND relname IN ('version', 'facts')"
)
