"""The tables of docs/comparison.md: each cell about a library is what the library has just done.

`python -m tests.comparison.test_comparison` prints the table for the page.
"""

import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from jwt_middleware import __version__
from tests.comparison import rows

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "comparison.md"
# By the name of their column, without the version.
LIBRARIES = {
    "this package": "ours",
    "Flask-JWT-Extended": "flask_jwt_extended",
    "simplejwt": "simplejwt",
    "FastAPI Users": "fastapi_users_pages",
    "AuthX": "authx_pages",
    "Authlib": "authlib_pages",
    "PyJWT by hand": "pyjwt_by_hand",
}
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("COV")}


@cache
def seen(module: str) -> dict[str, str]:
    """Run a library, and return what was seen, by row."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", f"tests.comparison.{module}"],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return answers


@cache
def told() -> dict[str, dict[str, str]]:
    """Return the cells of the page, by library and row; `version` is in the column's name."""
    _, _, below = PAGE.read_text("utf-8").partition("## What each does\n")
    table = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in re.findall(r"^\|.*\|$", below.partition("\n## ")[0], re.MULTILINE)
    ]
    found = {}
    for number, title in enumerate(table[0][1:], 1):
        name, _, version = title.strip("*").rpartition(" ")
        found[name] = {"version": version, **{row[0]: row[number] for row in table[2:]}}
    return found


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_page_says_what_the_library_does(library: str) -> None:
    answers = dict(seen(LIBRARIES[library]))
    if library == "this package":
        answers["version"] = __version__  # of the code beside, not of an older installation
    assert told()[library] == answers


def test_every_row_is_there_for_every_library() -> None:
    assert list(told()) == list(LIBRARIES)
    for cells in told().values():
        assert tuple(cells) == ("version", *rows.ROWS)


if __name__ == "__main__":
    everything = {name: seen(module) for name, module in LIBRARIES.items()}
    titles = [f"{name} {one['version']}" for name, one in everything.items()]
    lines = [["", *titles], ["---"] * (len(titles) + 1)]
    lines += [[row, *(one[row] for one in everything.values())] for row in rows.ROWS]
    sys.stdout.writelines(f"| {' | '.join(line)} |\n" for line in lines)
