"""Without what only POSIX has: what can be imitated of Windows here, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jwt_middleware.keys import file
from tests.processes import ROOT

# What Python's documentation has as "Availability: Unix", and a folder that can't be opened.
TAKE_AWAY = """
import os, sys
for name in ("fork", "forkpty", "register_at_fork", "fchown", "fchmod", "chown", "lchown",
             "getppid", "O_NOFOLLOW", "O_DIRECTORY", "O_NONBLOCK", "O_CLOEXEC"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
real_open = os.open

def open_no_folder(path, *args, **kwargs):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied")
    return real_open(path, *args, **kwargs)

os.open = open_no_folder
"""

CORE = """
from pathlib import Path
from werkzeug.test import Client
from jwt_middleware import Issuer, KeySet, Refresh, Settings
from jwt_middleware.cli.__main__ import main
from jwt_middleware.wsgi import JWTMiddleware

folder = Path(sys.argv[1])
KeySet.generate().save(folder / "keys.json")
(folder / "keys.json").chmod(0o666)  # as Windows shows it
assert main(["keys", "rotate", "--force", "--file", str(folder / "keys.json")]) in (0, None)
settings = Settings(
    issuer="https://login.example", audience="https://api.example",
    keys=KeySet.load(folder / "keys.json"),
    refresh=Refresh(store=f"sqlite:///{folder}/grants.db"),
)

def hello(environ, start_response):
    start_response("200 OK", [])
    return [environ["REMOTE_USER"].encode()]

issuer, client = Issuer(settings), Client(JWTMiddleware(hello, settings))
tokens = issuer.issue("alice")
form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
fresh = client.post("/auth/refresh", data=form).json
bearer = {"Authorization": "Bearer " + fresh["access_token"]}
assert client.get("/", headers=bearer).text == "alice"
assert client.post("/auth/revoke", data={"token": fresh["refresh_token"]}).status_code == 200
assert client.get("/", headers=bearer).status_code == 401
assert issuer.grants("alice") == ()
settings.close()
print("done")
"""

SUITE = """
import pytest
sys.exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""


def run(code: str, *args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", TAKE_AWAY + code, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def test_keys_a_login_a_refresh_and_a_log_out_need_no_posix(tmp_path: Path) -> None:
    done = run(CORE, tmp_path)
    assert done.stdout.endswith("done\n"), done.stderr


@pytest.mark.long
def test_the_suite_of_the_exchange_needs_no_posix() -> None:
    names = ("test_scenarios", "test_rt_exchange", "test_rt_rotation", "test_rt_revocation")
    done = run(SUITE, *(f"tests/{name}.py" for name in (*names, "test_cookies", "test_core")))
    assert done.returncode == 0, done.stdout


def test_a_key_file_is_changed_where_there_are_neither_modes_nor_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As above, in this process.
    monkeypatch.setattr(file, "_HAS_MODES", False)
    path = tmp_path / "keys.json"
    file.write_key_file(path, b"one")
    path.chmod(0o666)
    file.change_key_file(path, lambda before: before + b" two")
    assert path.read_bytes() == b"one two"
