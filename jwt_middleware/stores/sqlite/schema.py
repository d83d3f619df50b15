"""The schema of the SQLite file, how it is brought up to date, and all SQL statements."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, Final

from ..grant_rows import FIELDS
from ..store_options import wrong_store
from .connections import begin_writing

APPLICATION_ID: Final = 0x4A575447  # "JWTG": this file is ours
# The levels of the schema, each made from the one before. A released level is never changed. There
# is an index of living grants and one of ended grants: each grant is in one of them, so both stay
# small. A level that only adds to the schema leaves `PRAGMA user_version` as it is, so that
# processes of the former package keep working beside those of the new one; the fact `level` counts
# such levels, too.
SQLITE_LEVELS: Final = (
    (
        """CREATE TABLE grants (
            number INTEGER PRIMARY KEY,  -- the order of their beginning
            id TEXT NOT NULL UNIQUE,
            subject TEXT NOT NULL,
            client_id TEXT NOT NULL,
            scope TEXT NOT NULL,
            claims TEXT,  -- JSON; NULL for {}
            bound_key TEXT,
            generation INTEGER NOT NULL,
            parent TEXT,
            rotated_at REAL NOT NULL,
            created_at REAL NOT NULL,
            expires_at REAL NOT NULL,
            ended_at REAL,
            end_reason TEXT
        )""",
        "CREATE INDEX grants_living ON grants (subject) WHERE ended_at IS NULL",
        "CREATE INDEX grants_ended ON grants (ended_at) WHERE ended_at IS NOT NULL",
        "CREATE INDEX grants_expiring ON grants (expires_at)",
        """CREATE TABLE admitted (
            key TEXT PRIMARY KEY NOT NULL,
            until REAL NOT NULL
        ) WITHOUT ROWID""",
        "CREATE INDEX admitted_until ON admitted (until)",
    ),
    (
        "ALTER TABLE grants ADD COLUMN last_used_at REAL",
        "ALTER TABLE grants ADD COLUMN label TEXT",
        "ALTER TABLE grants ADD COLUMN idle_limit REAL",
        "ALTER TABLE grants ADD COLUMN is_session INTEGER NOT NULL DEFAULT 0",
        # The ends in their order. A trigger writes them, so that ends made by any package have a
        # number. The ends of the last day get their numbers now.
        """CREATE TABLE ends (
            number INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given twice
            id TEXT NOT NULL,
            ended_at REAL NOT NULL
        )""",
        """INSERT INTO ends (id, ended_at) SELECT id, ended_at FROM grants
            WHERE ended_at >= (SELECT max(ended_at) FROM grants) - 86400 ORDER BY ended_at""",
        """CREATE TRIGGER grants_end AFTER UPDATE OF ended_at ON grants
            WHEN OLD.ended_at IS NULL AND NEW.ended_at IS NOT NULL BEGIN
                INSERT INTO ends (id, ended_at) VALUES (NEW.id, NEW.ended_at);
            END""",
        # Facts about the whole store.
        "CREATE TABLE facts (name TEXT PRIMARY KEY NOT NULL, value) WITHOUT ROWID",
        "INSERT INTO facts VALUES ('level', 2)",
    ),
    (
        # A reader of ends that is new begins with a time. One that isn't names the history that it
        # has read: `grants restore` begins another, in which numbers may be given again.
        "CREATE INDEX ends_at ON ends (ended_at)",
        "INSERT INTO facts VALUES ('history', lower(hex(randomblob(16))))",
        "UPDATE facts SET value = 3 WHERE name = 'level'",
    ),
)
# `PRAGMA user_version`: the last level that older packages can't work with. An older package reads
# this number, and refuses the file.
LAST_BREAKING_LEVEL: Final = 1

# All statements of the verbs. A test checks that none of them reads a whole table. The mark of a
# mass end is two facts, `before` and `marked_at`: nothing that was created before `before` lives.
_TEMPLATES: Final = {
    "add": "INSERT INTO grants (<row>) VALUES (<values>) ON CONFLICT (id) DO NOTHING",
    "limit": (
        "UPDATE grants SET ended_at = :now, end_reason = 'limit' WHERE number IN "
        "(SELECT number FROM grants WHERE <current> ORDER BY number DESC LIMIT -1 OFFSET :limit) "
        "RETURNING id"
    ),
    "read": "SELECT <row>, <mark> FROM grants WHERE id = :id",
    "advance": (
        "UPDATE grants SET generation = :target, parent = :parent, rotated_at = :now "
        "WHERE id = :id AND generation = :source AND <living> AND expires_at > :now "
        "AND bound_key IS NULL RETURNING <row>"
    ),
    "use": (
        "UPDATE grants SET last_used_at = :now WHERE id = :id AND <living> AND expires_at > :now"
    ),
    "end": ("UPDATE grants SET ended_at = :now, end_reason = :reason WHERE id = :id AND <living>"),
    "end_subject": (
        "UPDATE grants SET ended_at = :now, end_reason = :reason WHERE <current> RETURNING id"
    ),
    "is_living": "SELECT count(*) FROM grants WHERE id = :id AND <living>",
    "grants": "SELECT <row> FROM grants WHERE <current> ORDER BY number DESC",
    "page": (
        "SELECT number, <row> FROM grants WHERE number > :position AND <living> "
        "AND expires_at > :now ORDER BY number LIMIT :count"
    ),
    "mark": "SELECT <mark>",
    "set_fact": (
        "INSERT INTO facts VALUES (:name, :value) "
        "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
    ),
    # AUTOINCREMENT keeps the last number that was given in `sqlite_sequence`, also after a purge.
    "newest_end": (
        "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'ends'), 0), "
        "(SELECT value FROM facts WHERE name = 'history'), <mark>"
    ),
    # `+`: else SQLite looks for the smallest number by reading the table from its beginning.
    "first_end": "SELECT min(+number) FROM ends WHERE ended_at >= :since",
    "ends": "SELECT number, id FROM ends WHERE number > :number ORDER BY number LIMIT :count",
    "admit": (
        "INSERT INTO admitted (key, until) VALUES (:key, :until) "
        "ON CONFLICT (key) DO UPDATE SET until = excluded.until WHERE admitted.until <= :now"
    ),
    "believed": (
        "SELECT (SELECT value FROM facts WHERE name = 'believed'), "
        "(SELECT value FROM facts WHERE name = 'believed_at'), (SELECT min(expires_at) FROM grants)"
    ),
    "purge": (
        "DELETE FROM grants WHERE number IN (SELECT number FROM grants WHERE expires_at <= :at "
        "AND (ended_at IS NULL OR ended_at + :retention <= :at) LIMIT :batch)"
    ),
    "purge_ends": (
        "DELETE FROM ends WHERE number IN "
        "(SELECT number FROM ends WHERE ended_at <= :at - :retention LIMIT :batch)"
    ),
    "purge_keys": (
        "DELETE FROM admitted WHERE key IN "
        "(SELECT key FROM admitted WHERE until <= :now LIMIT :batch)"
    ),
}
_BEFORE: Final = "(SELECT value FROM facts WHERE name = 'before')"
_MARKED_AT: Final = _BEFORE.replace("before", "marked_at")
_PARTS: Final = {
    "<current>": "subject = :subject AND <living> AND expires_at > :now",
    "<living>": f"ended_at IS NULL AND created_at >= coalesce({_BEFORE}, created_at)",
    "<mark>": f"{_BEFORE}, {_MARKED_AT}",
    "<row>": ", ".join(FIELDS),
    "<values>": ", ".join(f":{one}" for one in FIELDS).replace(
        ":created_at", f"max(:now, coalesce({_BEFORE}, :now))"
    ),
}


def _completed(text: str) -> str:
    for name, part in _PARTS.items():
        text = text.replace(name, part)
    return text


SQLITE_STATEMENTS: Final = {name: _completed(text) for name, text in _TEMPLATES.items()}


def make_schema(db: sqlite3.Connection, path: Path, deadline: float) -> None:
    """Make the schema, or bring it up to date, and write to the file in any case.

    So a file that can't be written is an error at the start, not at the first login. Raises
    ConfigurationError.
    """
    check_owner(db, path, may_be_empty=True)
    if _value(db, "PRAGMA journal_mode = WAL") != "wal":
        raise wrong_store(f"{path}: its file system can't share memory", "use a local disk")
    begin_writing(db, deadline)
    # Read again under the lock: another process may have made it meanwhile.
    check_owner(db, path, may_be_empty=True)
    for script in SQLITE_LEVELS[schema_level(db) :]:
        for statement in script:
            db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {LAST_BREAKING_LEVEL}")
    db.execute("COMMIT")


def check_owner(db: sqlite3.Connection, path: Path, *, may_be_empty: bool) -> None:
    """Raise ConfigurationError unless the file is ours, and not too new."""
    application, version, tables = db.execute(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema) "
        "FROM pragma_application_id, pragma_user_version"
    ).fetchone()
    if may_be_empty and not (application or version or tables):
        return
    if application != APPLICATION_ID:
        raise wrong_store(
            f"{path} is a database of something else", "give the grants a file of their own"
        )
    if version > len(SQLITE_LEVELS):
        raise wrong_store(
            f"{path} was made by a newer version of this package: its schema is "
            f"{version}, and {len(SQLITE_LEVELS)} is known here",
            "update this one, too",
        )


def schema_level(db: sqlite3.Connection) -> int:
    """Return the level of the schema; 0: there is none."""
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
    if "facts" in tables:
        return int(_value(db, "SELECT value FROM facts WHERE name = 'level'"))
    return int("grants" in tables)


def _value(db: sqlite3.Connection, sql: str) -> Any:
    return db.execute(sql).fetchone()[0]
