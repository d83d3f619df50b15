"""What tests need of npm: fetched once, into a folder that git ignores, as its lock file says."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def install(folder: Path) -> None:
    """Fetch what a folder's lock file names, unless it is there; skip, loudly, where it can't be.

    Tests that share a folder are of one `xdist_group`: two processes can't install into it.
    """
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} on the PATH: apt-get install nodejs npm")
    done = folder / "node_modules" / ".package-lock.json"
    if done.exists() and done.stat().st_mtime >= (folder / "package-lock.json").stat().st_mtime:
        return
    command = ["npm", "ci", "--ignore-scripts"]
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(f"npm ci in {folder.parent.name}/{folder.name}: {found.stderr.strip()[-300:]}")
    done.touch()
