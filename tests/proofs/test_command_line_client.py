"""The command-line client of examples/: processes that share one login, and a thief beside them."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from examples.command_line_client.kept_login import KeptLogin, LoggedOut
from tests.processes import ROOT, free_port, started, wait_open
from tests.rules import accepts, refuses

PROCESSES = 10
REFRESH = """
import sys
from pathlib import Path
from examples.command_line_client.kept_login import KeptLogin
url, folder, keys, token = sys.argv[1:]
print(KeptLogin(url, Path(folder), Path(keys)).access_token(other_than=token))
"""
BUSY = "503 temporarily_unavailable"
PASSWORD = "correct horse battery staple"


@contextmanager
def served(folder: Path, port: int, secret: str, settle: float = 0) -> Generator[str]:
    """Serve the example by two workers; a refresh token is never too young to be rotated."""
    url = f"http://127.0.0.1:{port}"
    store = f"sqlite:///{folder}/grants.db"
    command = [
        *("gunicorn", "-w", "2", "--threads", "4", "--bind", f"127.0.0.1:{port}"),
        *(
            "--no-control-socket",
            f"examples.command_line_client.server:make_app({url!r}, {store!r})",
        ),
    ]
    log = folder / "server.log"
    process = started(command, port, log, NOTES_SECRET=secret, NOTES_SETTLE=str(settle))
    try:
        wait_open(port, process, log)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


@pytest.fixture
def service(tmp_path: Path) -> Generator[str]:
    with served(tmp_path, free_port(), secrets.token_urlsafe(48)) as url:
        yield url


def command(url: str, folder: Path, *arguments: str) -> tuple[int, str]:
    """Run the example as its page says."""
    more = {"NOTES_URL": url, "NOTES_HOME": str(folder), "NOTES_PASSWORD": PASSWORD}
    done = subprocess.run(
        [sys.executable, "-m", "command_line_client", *arguments],
        cwd=ROOT / "examples",
        env=os.environ | more,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).strip()


def test_log_in_read_and_log_out(service: str, tmp_path: Path) -> None:
    assert command(service, tmp_path, "notes") == (1, "not logged in: login USER")
    assert command(service, tmp_path, "login", "alice") == (0, "logged in as alice")
    assert command(service, tmp_path, "notes") == (0, "notes of alice")
    key = tmp_path / ".config/notes/key.pem"
    tokens = tmp_path / ".local/state/notes/tokens.json"
    assert [file.stat().st_mode & 0o777 for file in (key, tokens)] == [0o600, 0o600]
    # An access token that is over before its time, say because the machine slept.
    kept = json.loads(tokens.read_text())
    tokens.write_text(json.dumps({**kept, "access_token": kept["access_token"][:-8] + "AAAAAAAA"}))
    assert command(service, tmp_path, "notes") == (0, "notes of alice")
    assert command(service, tmp_path, "logout") == (0, "logged out")
    assert command(service, tmp_path, "notes")[0] == 1
    tokens.write_text(json.dumps({**kept, "ends_at": 0}))  # a copy from before
    assert command(service, tmp_path, "notes")[0] == 1
    assert not tokens.exists()


def test_a_lost_server_is_waited_for(tmp_path: Path) -> None:
    port, secret = free_port(), secrets.token_urlsafe(48)
    folder, keys = tmp_path / "state", tmp_path / "keys"
    with served(tmp_path, port, secret) as url:
        kept = KeptLogin(url, folder, keys)
        kept.log_in("alice", PASSWORD)
        first = kept.access_token()
    asking = subprocess.Popen(
        [
            sys.executable,
            "-c",
            REFRESH,
            *(url, str(folder), str(keys), first),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with served(tmp_path, port, secret):
        said, _ = asking.communicate(timeout=120)
    assert asking.returncode == 0
    assert said.strip() not in ("", first)


@accepts("RT-22")
@refuses("RT-22")
@pytest.mark.parametrize("seconds", [5, pytest.param(60, marks=pytest.mark.long)])
def test_ten_processes_share_a_login_and_a_thief_gets_nothing(
    service: str, tmp_path: Path, seconds: int
) -> None:
    folder = tmp_path / "login"
    kept = KeptLogin(service, folder, folder)
    kept.log_in("alice", PASSWORD)
    KeptLogin(service, tmp_path / "elsewhere", tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "key.pem").rename(folder / "thief.pem")
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.proofs.one_process"),
                *(service, str(folder), str(seconds), str(number)),
                *(["thief"] if number == PROCESSES else []),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES + 1)
    ]
    said = [json.loads(one.communicate(timeout=seconds + 120)[0]) for one in processes]
    honest: Counter[str] = Counter()
    for one in said[:PROCESSES]:
        assert one["200"] > 0
        honest.update(one)
    # A nonce is asked for at each start; nobody is ever refused otherwise. On a busy machine bodies
    # come late, and the server reads few at once from one address: to wait, and to ask again.
    refused = {name for name in honest if name[:3] in ("400", "401", "403", "503")}
    assert refused <= {"400 use_dpop_nonce", BUSY}
    assert honest[BUSY] <= honest["200"] / 10
    assert "store_failed" not in (tmp_path / "server.log").read_text()
    assert not {name for name in honest if name.startswith("notes ")} - {"notes 200"}
    thief: dict[str, Any] = {name: number for name, number in said[-1].items() if name != "started"}
    assert thief.keys() <= {"400 use_dpop_nonce", "400 invalid_grant", BUSY}
    assert thief["400 invalid_grant"] > 0
    token = kept.access_token(other_than=kept.access_token())
    with httpx2.Client(base_url=service) as client:
        bearer = {"Authorization": f"Bearer {token}"}
        assert client.get("/notes", headers=bearer).json() == {"notes": "notes of alice"}
    kept.log_out()
    with pytest.raises(LoggedOut):
        kept.access_token()
