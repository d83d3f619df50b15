"""Log in, read the notes, log out: `python -m command_line_client login alice`."""

from __future__ import annotations

import os
import sys
from getpass import getpass
from pathlib import Path

import httpx2

from .kept_login import KeptLogin, LoggedOut

URL = os.environ.get("NOTES_URL", "http://127.0.0.1:8000")
HOME = Path(os.environ.get("NOTES_HOME", Path.home()))


def main(arguments: list[str]) -> int:
    """Run one command; return the exit status."""
    kept = KeptLogin(URL, HOME / ".local/state/notes", HOME / ".config/notes")
    try:
        match arguments:
            case ["login", user]:
                kept.log_in(user, os.environ.get("NOTES_PASSWORD") or getpass())
                print(f"logged in as {user}")
            case ["notes"]:
                with httpx2.Client(base_url=URL, auth=kept) as client:
                    print(client.get("/notes").raise_for_status().json()["notes"])
            case ["logout"]:
                kept.log_out()
                print("logged out")
            case _:
                print("commands: login USER, notes, logout", file=sys.stderr)
                return 2
    except LoggedOut:
        print("not logged in: login USER", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
