"""Faults made on purpose: each is a change of the package that a test must notice.

A mutant stands in a TOML file of this folder: the file it changes, the text that stands there once,
what takes its place, what that would allow, and the tests that notice. Where the package changes,
they change with it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "jwt_middleware"
LIMIT = 600  # seconds for the tests of one mutant, on a busy machine
FAILED = 1  # pytest's exit status for tests that ran and failed: no other is a find


@dataclass(frozen=True)
class Mutant:
    """One change, and the tests that fail with it."""

    name: str
    file: str  # below the package
    old: str
    new: str
    allows: str
    tests: tuple[str, ...]  # as pytest names them, below `tests`

    def problem(self) -> str:
        """Return why it doesn't apply, or ""."""
        count = (PACKAGE / self.file).read_text("utf-8").count(self.old)
        return "" if count == 1 else f"{self.name}: its text stands {count} times in {self.file}"

    def apply(self, copy: Path) -> None:
        path = copy / "jwt_middleware" / self.file
        path.write_text(path.read_text("utf-8").replace(self.old, self.new), "utf-8")


def mutants() -> list[Mutant]:
    found = []
    for path in sorted(Path(__file__).parent.glob("*.toml")):
        for name, given in tomllib.loads(path.read_text("utf-8")).items():
            tests = tuple(given.pop("tests"))
            found.append(Mutant(name=f"{path.stem}.{name}", tests=tests, **given))
    return found


def copied(to: Path) -> Path:
    """Copy the package and its tests: so a test imports the copy, and not what is installed."""
    ignored = shutil.ignore_patterns("__pycache__", "node_modules")
    for folder in ("jwt_middleware", "tests", "examples", "docs"):
        shutil.copytree(ROOT / folder, to / folder, ignore=ignored)
    for file in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / file, to)
    return to


def run(copy: Path, tests: tuple[str, ...]) -> tuple[int, str]:
    """Run tests in a copy, and return pytest's exit status and what it said."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    # Under CI's profile the examples are always the same ones; a skipped test is no find.
    kept |= {"HYPOTHESIS_PROFILE": "ci", "CI": ""}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *named(tests)],
        cwd=copy,
        env=kept | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    return done.returncode, done.stdout[-4000:] + done.stderr[-2000:]


def named(tests: tuple[str, ...]) -> list[str]:
    return [f"tests/{one}" for one in tests]
