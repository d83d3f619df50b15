"""Notes on the command line: a program with a login of its own.

python notes.py login alice
python notes.py add "Call the plumber"
python notes.py list
python notes.py logout

NOTES_URL is the server, NOTES_TOKENS the file for the tokens. Only the standard library is needed,
on a system with fcntl (not Windows).
"""

import fcntl
import getpass
import json
import os
import platform
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

URL = os.environ.get("NOTES_URL", "http://localhost:8000")
TOKENS = Path(os.environ.get("NOTES_TOKENS", Path.home() / ".notes" / "tokens.json"))
CLIENT = "notes-program"
TRIES = 5


# --- the file. All processes of this program share it: a copy that goes on by itself is, for the
# --- server, a thief, and all are logged out. So nobody keeps a refresh token in memory.


@contextmanager
def locked() -> Generator[None]:
    """Let one process at a time read, refresh and write."""
    TOKENS.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with TOKENS.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def load() -> dict[str, Any]:
    if not TOKENS.exists():
        sys.exit("You are not logged in: notes.py login NAME")
    found: dict[str, Any] = json.loads(TOKENS.read_text("utf-8"))
    return found


def save(answer: dict[str, Any]) -> None:
    """Write what the server said, whole or not at all, for this user's eyes only."""
    until = time.time() + answer["expires_in"]
    fresh = TOKENS.with_suffix(".new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump({**answer, "until": until}, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(TOKENS)


# --- the server


def ask(method: str, path: str, headers: dict[str, str], body: bytes | None) -> tuple[int, Any]:
    """Return status and JSON. While the server is busy (503), come again when it says."""
    request = Request(URL + path, body, headers, method=method)  # noqa: S310
    for left in reversed(range(TRIES)):
        try:
            with urlopen(request, timeout=30) as answer:  # noqa: S310
                return answer.status, json.loads(answer.read() or b"{}")
        except HTTPError as error:
            if error.code != 503 or not left:
                is_json = error.headers.get_content_type() == "application/json"
                return error.code, json.loads(error.read()) if is_json else {}
            time.sleep(min(float(error.headers.get("Retry-After", 1)), 60))
        except OSError as error:
            sys.exit(f"No answer from {URL} ({error}): try again later")
    raise AssertionError("the last try returns")


def send_form(path: str, **fields: str) -> tuple[int, Any]:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    return ask("POST", path, kind, urlencode(fields | {"client_id": CLIENT}).encode())


def access_token(bad: str = "") -> str:
    """Return an access token that is good for a while, and isn't the one that was refused."""
    with locked():
        tokens = load()
        token: str = tokens["access_token"]
        if token != bad and time.time() < tokens["until"] - 30:
            return token
        # After a lost answer the same refresh token is sent again, at the next call: it stays good.
        status, answer = send_form(
            "/auth/refresh", grant_type="refresh_token", refresh_token=tokens["refresh_token"]
        )
        if answer.get("error") == "invalid_grant":  # only this means that the login has ended
            TOKENS.unlink()
            sys.exit("Your login has ended: notes.py login NAME")
        if status != 200:
            sys.exit(f"The server can't refresh the login now ({status}): try again later")
        save(answer)
        fresh: str = answer["access_token"]
        return fresh


def call(method: str, path: str, sent: dict[str, str] | None = None) -> Any:
    """Call the server as the user who is logged in."""
    body = None if sent is None else json.dumps(sent).encode()
    headers = {"Content-Type": "application/json"}
    token = access_token()
    status, answer = ask(method, path, headers | {"Authorization": f"Bearer {token}"}, body)
    if status == 401:  # it ended earlier than this machine's clock thinks, or the login did
        token = access_token(bad=token)
        status, answer = ask(method, path, headers | {"Authorization": f"Bearer {token}"}, body)
    if status >= 400:
        sys.exit(f"The server refuses ({status}): {answer.get('error', '')}")
    return answer


# --- the commands


def login(name: str) -> None:
    sent = {"name": name, "password": getpass.getpass(), "device": f"notes.py on {platform.node()}"}
    with locked():
        if TOKENS.exists():
            sent["replaces"] = load()["refresh_token"]
        kind = {"Content-Type": "application/json"}
        status, answer = ask("POST", "/api/login", kind, json.dumps(sent).encode())
        if status != 200:
            sys.exit("Wrong name or password" if status == 403 else f"No login ({status})")
        save(answer)


def logout() -> None:
    with locked():
        status, _ = send_form("/auth/revoke", token=load()["refresh_token"])
        if status != 200:
            sys.exit(f"The server can't end the login now ({status}): try again later")
        TOKENS.unlink()


def main(command: str = "", *arguments: str) -> None:
    match command, *arguments:
        case "login", name:
            login(name)
        case ("logout",):
            logout()
        case ("list",):
            print(*call("GET", "/api/notes")["notes"], sep="\n")
        case "add", text:
            call("POST", "/api/notes", {"text": text})
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
