"""The levels of the schema in PostgreSQL: each is made from the one before."""

from __future__ import annotations

from typing import Final

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
    (
        # They say nothing secret, and functions that run with the rights of a former version's role
        # read the mark. It is a row `mark`: before, a space, made_at.
        "GRANT SELECT ON <schema>.facts TO PUBLIC",
        # Pages of ends are read in these two orders.
        "CREATE INDEX ends_in_order ON <schema>.ends (xid, id)",
        "CREATE INDEX ends_by_time ON <schema>.ends (ended_at, id)",
        "DROP INDEX <schema>.ends_xid",
        # The last day was copied before; and now what a token of a day's life may need beyond.
        """INSERT INTO <schema>.ends (id, ended_at) SELECT id, ended_at FROM <schema>.grants,
            (SELECT max(ended_at) AS at FROM <schema>.grants) AS last
            WHERE ended_at >= last.at - 86760 AND ended_at < last.at - 86400""",
        # Names the history that the numbers of transactions belong to: server, timeline, and the
        # last crash. None of them changes without an end of all connections. A crash gives out
        # again the numbers of transactions that hadn't reached the disk, also of ones that were
        # rolled back; it leaves no trace but that the statistics begin anew.
        # (Before 15 to ask for that reads a large file: there a restart stands for it.)
        # '-' is what a managed server doesn't let us see.
        """CREATE FUNCTION <schema>.history() RETURNS text LANGUAGE plpgsql AS $$
        DECLARE
            server text := '-';
            timeline text := '-';
            crash timestamptz := pg_postmaster_start_time();
        BEGIN
            IF pg_is_in_recovery() THEN
                RETURN NULL;
            END IF;
            BEGIN
                server := system_identifier FROM pg_control_system();
            EXCEPTION WHEN OTHERS THEN
                NULL;
            END;
            BEGIN
                timeline := left(pg_walfile_name(pg_current_wal_lsn()), 8);
            EXCEPTION WHEN OTHERS THEN
                NULL;
            END;
            IF current_setting('server_version_num')::integer >= 150000 THEN
                crash := pg_stat_get_bgwriter_stat_reset_time();
            END IF;
            RETURN concat_ws(' ', server, timeline, coalesce(date_part('epoch', crash)::text, '-'));
        END $$""",
        # The following three know the mark, also where a process of a former version calls them.
        # A grant that `add_grant` stamps under the lock is later than those that it counts.
        """CREATE OR REPLACE FUNCTION <schema>.add_grant(
            fresh <schema>.grants, most bigint, shift double precision
        ) RETURNS SETOF text LANGUAGE plpgsql AS $$
        DECLARE
            oldest double precision;
        BEGIN
            PERFORM pg_advisory_xact_lock(<locks>, hashtext(fresh.subject));
            oldest := <before>;
            fresh.created_at := greatest(date_part('epoch', clock_timestamp()) + shift, oldest);
            INSERT INTO <schema>.grants SELECT fresh.* ON CONFLICT (id) DO NOTHING;
            IF NOT FOUND THEN
                RETURN;
            END IF;
            PERFORM <durable>;
            PERFORM FROM <schema>.grants
            WHERE <living of fresh.subject> AND created_at >= oldest
                AND expires_at > date_part('epoch', now()) + shift
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
                WHERE <living of fresh.subject> AND id <> fresh.id AND created_at >= oldest
                    AND expires_at > date_part('epoch', now()) + shift
                ORDER BY created_at DESC, id DESC OFFSET most - 1
            ) RETURNING id;
        END $$""",
        """CREATE OR REPLACE FUNCTION <schema>.end_grants(
            whose text, why text, shift double precision
        ) RETURNS SETOF text LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_advisory_xact_lock(<locks>, hashtext(whose));
            PERFORM <durable>;
            RETURN QUERY UPDATE <schema>.grants SET
                ended_at = date_part('epoch', clock_timestamp()) + shift, end_reason = why
            WHERE <living of whose> AND created_at >= <before>
                AND expires_at > date_part('epoch', now()) + shift
            RETURNING id;
            IF NOT FOUND THEN
                PERFORM <written>;
            END IF;
        END $$""",
        """CREATE OR REPLACE FUNCTION <schema>.advance_grant(
            which text, source bigint, target bigint, exchanged text, shift double precision
        ) RETURNS double precision LANGUAGE plpgsql AS $$
        DECLARE
            stamp double precision;
        BEGIN
            UPDATE <schema>.grants SET
                generation = target, parent = exchanged,
                rotated_at = date_part('epoch', clock_timestamp()) + shift
            WHERE id = which AND generation = source AND ended_at IS NULL
                AND created_at >= <before> AND expires_at > date_part('epoch', now()) + shift
            RETURNING rotated_at INTO stamp;
            RETURN stamp;
        END $$""",
        "UPDATE <schema>.facts SET value = '4' WHERE name = 'level'",
    ),
)
REFUSED_LEVEL: Final = 2  # the last level that older packages can't work with
