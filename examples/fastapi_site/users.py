"""The table of users: names, hashes of passwords, and roles.

python -m fastapi_site.users add-user alice --role editor
"""

import argparse
import getpass
import hashlib
import hmac
import os
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

# What a login with a role may do. Scopes are given at a login, and stay as they are until its end.
SCOPES = {
    "reader": {"notes:read"},
    "editor": {"notes:read", "notes:write"},
    "admin": {"notes:read", "notes:write", "admin"},
}
NOBODY = (os.urandom(16), os.urandom(32))


class Users:
    """Users in a SQLite file. Every call opens it anew, so that threads share nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._table() as table:
            table.execute(
                "CREATE TABLE IF NOT EXISTS users (name TEXT PRIMARY KEY, salt BLOB NOT NULL,"
                " password BLOB NOT NULL, role TEXT NOT NULL)"
            )

    def add(self, name: str, password: str, role: str) -> None:
        """Add a user, or give one another password and role."""
        salt = os.urandom(16)
        with self._table() as table:
            row = (name, salt, _hash(password, salt), role)
            table.execute("INSERT OR REPLACE INTO users VALUES (?, ?, ?, ?)", row)

    def check(self, name: str, password: str) -> bool:
        """Say whether this is the user's password. It takes as long for a name that isn't there."""
        with self._table() as table:
            found = table.execute("SELECT salt, password FROM users WHERE name = ?", (name,))
            salt, expected = found.fetchone() or NOBODY
        return hmac.compare_digest(_hash(password, salt), expected)

    def role(self, name: str) -> str | None:
        """Return a user's role as it is now; None: there is no such user."""
        with self._table() as table:
            found = table.execute("SELECT role FROM users WHERE name = ?", (name,)).fetchone()
        return found and found[0]

    def change_role(self, name: str, role: str) -> bool:
        """Change a user's role. Says whether there is such a user."""
        with self._table() as table:
            done = table.execute("UPDATE users SET role = ? WHERE name = ?", (role, name))
            return done.rowcount == 1

    @contextmanager
    def _table(self) -> Generator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path)) as connection, connection:
            yield connection


def _hash(password: str, salt: bytes) -> bytes:
    # Parameters of OWASP's cheat sheet on storing passwords: 16 MiB, and some tens of milliseconds.
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=5, dklen=32)


def main() -> None:
    """Add a user from the command line."""
    parser = argparse.ArgumentParser(prog="fastapi_site.users")
    command = parser.add_subparsers(required=True).add_parser("add-user")
    command.add_argument("name")
    command.add_argument("--role", choices=SCOPES, default="reader")
    command.add_argument("--password", help="without it you are asked")
    given = parser.parse_args()
    password = given.password or getpass.getpass()
    Users(Path("users.db")).add(given.name, password, given.role)


if __name__ == "__main__":
    main()
