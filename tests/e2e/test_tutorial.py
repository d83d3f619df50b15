"""The page docs/tutorial.md, done as a reader does it: files, a server, a terminal, a browser.

Once in each framework: below a heading with the name of the other one, blocks are left out.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.processes import free_port, wait_open
from tests.test_docs import ROOT, blocks, documents
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PAGE = (ROOT / "docs" / "tutorial.md").read_text("utf-8")
FRAMEWORKS = ("Flask", "FastAPI")
FILE = re.compile(r"(?:#|<!--) ([\w./]+)(, at the end)?(?: -->)?\n")
SERVERS = ("flask ", "uvicorn ")
INSTALLS = ("python3 -m venv", "pip install")
DEFINES = re.compile(r"^\w+\(\) \{")


class Step(NamedTuple):
    """A block of the page, and what it prints, if the page shows that."""

    language: str
    text: str
    printed: str


def steps(framework: str) -> list[Step]:
    """Return what a reader does who takes this framework."""
    headings = [
        (found.start(), found[1]) for found in re.finditer(r"^##+ (.+)$", PAGE, re.MULTILINE)
    ]
    found: list[Step] = []
    for block in blocks(PAGE):
        above = sum(len(line) for line in PAGE.splitlines(keepends=True)[: block.above])
        heading = [name for start, name in headings if start < above][-1]
        if heading in FRAMEWORKS and heading != framework:
            continue
        if block.language in {"json", "text"}:
            found[-1] = found[-1]._replace(printed=block.text)
        else:
            found.append(Step(block.language, block.text, ""))
    return found


class Reader:
    """Somebody with an empty folder and two terminals: one is the server's."""

    def __init__(self, folder: Path, bin_folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.log = bin_folder / "log"
        self.server: subprocess.Popen[bytes] | None = None
        self.serve = ""
        self.is_stale = False
        self.defined = ""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("COV", "PYTEST"))
        }
        path = (str(bin_folder), str(Path(sys.executable).parent), os.environ["PATH"])
        self.environment = kept | {
            "PATH": os.pathsep.join(path),
            "PYTHONDONTWRITEBYTECODE": "1",
            "NO_PROXY": "*",
        }

    def write(self, text: str) -> None:
        named = FILE.match(text)
        assert named is not None, text
        path = self.folder / named[1]
        before = path.read_text("utf-8") + "\n\n" if named[2] else ""
        path.write_text(before + self.here(text), "utf-8")
        self.is_stale = self.is_stale or named[1] == "settings.py"

    def here(self, text: str) -> str:
        """Say the port that is free here."""
        return text.replace("localhost:8000", f"localhost:{self.port}").replace(
            "--port 8000", f"--port {self.port}"
        )

    def run(self, text: str) -> str:
        """Do the lines of a block; return what they printed."""
        lines = [line for line in text.splitlines() if not line.startswith(INSTALLS)]
        if any(line.startswith(SERVERS) for line in lines):
            (self.serve,) = lines
            self.start()
            return ""
        if self.is_stale and any(line.startswith("curl") for line in lines):
            self.start()  # "start the server anew"
        done = subprocess.run(
            ["sh", "-ec", self.defined + self.here("\n".join(lines))],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=10 * PATIENCE,
        )
        assert (done.returncode, done.stderr) == (0, ""), (text, done, self.log.read_text("utf-8"))
        self.defined += "".join(f"{line}\n" for line in lines if DEFINES.match(line))
        return done.stdout

    def start(self) -> None:
        self.stop()
        with self.log.open("wb") as said:
            self.server = subprocess.Popen(
                f"exec {self.here(self.serve)}",
                shell=True,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_open(self.port, self.server, self.log)
        self.is_stale = False

    def stop(self) -> None:
        if self.server is not None:
            os.killpg(self.server.pid, signal.SIGTERM)
            self.server.wait(PATIENCE)


@pytest.fixture(scope="module", params=FRAMEWORKS)
def reader(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reader]:
    """Do all that the page says; the server still runs then."""
    bin_folder = tmp_path_factory.mktemp("bin")
    if shutil.which("curl") is None:
        curl = bin_folder / "curl"
        curl.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT}/tests/curl.py "$@"\n', "utf-8")
        curl.chmod(0o755)
    reading = Reader(tmp_path_factory.mktemp("notes"), bin_folder)
    try:
        for step in steps(request.param):
            if step.language != "sh":
                reading.write(step.text)
                continue
            printed = reading.run(step.text)
            assert not step.printed or is_as_shown(step.printed, printed), (
                step,
                printed,
                reading.log.read_text("utf-8"),
            )
        yield reading
    finally:
        reading.stop()


def is_as_shown(shown: str, printed: str) -> bool:
    if shown.startswith("{"):
        return alike(list(documents(shown)), list(documents(printed)))
    pattern = re.escape(shown.rstrip()).replace(r"\.\.\.", ".*")
    return re.match(pattern, printed) is not None


def alike(shown: Any, printed: Any) -> bool:
    """Compare what is printed with what the page shows: `...` is any text, a number any number."""
    match shown:
        case dict():
            return shown.keys() == printed.keys() and all(
                alike(shown[name], printed[name]) for name in shown
            )
        case list():
            return len(shown) == len(printed) and all(map(alike, shown, printed))
        case int():
            return isinstance(printed, int)
        case str() if shown.endswith("..."):
            return printed.startswith(shown[:-3])
        case _:
            return bool(shown == printed)


def test_what_is_printed_is_compared() -> None:
    assert is_as_shown('{"a": "x...", "b": 5}\n{"c": "d"}', '{"b":6,"a":"xyz"}{"c":"d"}\n')
    for other in ('{"a": "y"}', '{"a": "x", "b": 1}', '{"a": "x"}{}', "{}"):
        assert not is_as_shown('{"a": "x..."}', other)
    assert is_as_shown("5 passed in ...\n", "5 passed in 0.4s\n")
    assert not is_as_shown("5 passed in ...\n", "4 passed, 1 failed in 0.4s\n")


def test_the_page_makes_an_application_that_does_what_it_says(reader: Reader) -> None:
    assert {path.name for path in reader.folder.glob("*.py")} == {
        "app.py",
        "conftest.py",
        "settings.py",
        "test_app.py",
        "users.py",
    }
    # Its tests pass with the cookies, too.
    assert "5 passed" in reader.run("python -m pytest -q")
    log = reader.log.read_text("utf-8")
    assert "Traceback" not in log, log


def test_its_page_works_in_a_browser(reader: Reader, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"http://localhost:{reader.port}/static/index.html")
    status = page.get_by_role("status")
    status.get_by_text("Nobody is logged in").wait_for()
    page.get_by_label("Name").fill("bob")
    page.get_by_label("Password").fill("builder")
    page.get_by_role("button", name="Log in").click()
    status.get_by_text("Hello bob, editor").wait_for()
    page.reload()  # no script has kept a token: the cookie buys another one
    status.get_by_text("Hello bob, editor").wait_for()
    page.get_by_role("button", name="Log out").click()
    status.get_by_text("Nobody is logged in").wait_for()
    assert complaints == []
    context.close()
