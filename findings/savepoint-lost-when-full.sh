#!/usr/bin/env bash
# SQLite 3.54.1 (in apsw 3.54.1.0): the form of a statement decides whether a full disk ends all.
#
# A SAVEPOINT should contain the error of one statement. It does for a constraint, and for "database
# or disk is full" in an INSERT of two rows. In an INSERT of one row, the same error rolls back the
# whole transaction: the savepoint is gone, ROLLBACK TO fails, and whoever doesn't look goes on with
# each statement committed by itself. So it is with UPDATE, if its WHERE names one row by its key.
# The documentation says that the transaction "might be rolled back", not when: SQLite can undo a
# statement by itself only if it keeps a journal for it, and it keeps one for what may write several
# rows. SQLite 3.40.1, below Python's own sqlite3 module, did the same.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check apsw==3.54.1.0

cat >try.py <<'PY'
import apsw

print("SQLite", apsw.sqlite_lib_version())
db = apsw.Connection("small.db")
db.execute("CREATE TABLE letters (id INTEGER PRIMARY KEY, body BLOB)")
db.execute("PRAGMA max_page_count = 20")
for statement in (
    "INSERT INTO letters VALUES (1, 'again')",
    "INSERT INTO letters VALUES (2, zeroblob(1000000)), (3, 'short')",
    "INSERT INTO letters VALUES (2, zeroblob(1000000))",
    "UPDATE letters SET body = zeroblob(1000000)",
    "UPDATE letters SET body = zeroblob(1000000) WHERE id = 1",
):
    print(statement)
    db.execute("BEGIN")
    db.execute("INSERT INTO letters VALUES (1, 'first')")
    db.execute("SAVEPOINT inner")
    for step in (statement, "ROLLBACK TO inner"):
        try:
            db.execute(step)
        except apsw.Error as error:
            print("  error:", error)
    rows = db.execute("SELECT count(*) FROM letters").fetchall()[0][0]
    print(f"  in_transaction: {db.in_transaction}, rows: {rows}")
    if db.in_transaction:
        db.execute("ROLLBACK")
PY

cat >expected <<'TEXT'
SQLite 3.54.1
INSERT INTO letters VALUES (1, 'again')
  error: UNIQUE constraint failed: letters.id
  in_transaction: True, rows: 1
INSERT INTO letters VALUES (2, zeroblob(1000000)), (3, 'short')
  error: database or disk is full
  in_transaction: True, rows: 1
INSERT INTO letters VALUES (2, zeroblob(1000000))
  error: database or disk is full
  error: no such savepoint: inner
  in_transaction: False, rows: 0
UPDATE letters SET body = zeroblob(1000000)
  error: database or disk is full
  in_transaction: True, rows: 1
UPDATE letters SET body = zeroblob(1000000) WHERE id = 1
  error: database or disk is full
  error: no such savepoint: inner
  in_transaction: False, rows: 0
TEXT
venv/bin/python try.py | tee seen
diff expected seen
