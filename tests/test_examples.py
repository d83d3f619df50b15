"""Every example starts as its first lines say, and the curl lines it prints do what it promises."""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from .processes import free_port, wait_open

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
LOGINS = [path for path in EXAMPLES if path.stem.endswith("_login")]
STORES = [path for path in EXAMPLES if path.stem.endswith("_store")]  # see test_own_store.py
SIGNERS = [path for path in EXAMPLES if path.stem.endswith("_signer")]  # see test_signer.py
SERVERS = [path for path in EXAMPLES if path.stem.endswith("_server")]  # see test_mcp.py
CHECKS = [path for path in EXAMPLES if path not in (*LOGINS, *STORES, *SIGNERS, *SERVERS)]


def docstring(example: Path) -> str:
    return ast.get_docstring(ast.parse(example.read_text("utf-8"))) or ""


@contextmanager
def started(
    command: Sequence[str], log: Path, **variables: str
) -> Generator[tuple[int, list[str]]]:
    """Start an example in a process of its own; yield its port and the lines that it prints."""
    port = free_port()
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [sys.executable, *command],
            env=os.environ | {"PORT": str(port)} | variables,
            stdout=subprocess.PIPE,
            stderr=errors,
        ) as process,
    ):
        try:
            wait_open(port, process, log)
            assert process.stdout is not None
            # They print first and listen then: it is all there, and the end isn't waited for.
            printed = os.read(process.stdout.fileno(), 1 << 16).decode()
            yield port, printed.splitlines()
        finally:
            process.terminate()


# --- Those that check tokens

CURLS = {"curl": "curl -s --noproxy '*'"} if shutil.which("curl") else {}
CURLS["by hand"] = f"{shlex.quote(sys.executable)} {Path(__file__).parent / 'curl.py'}"
FIRST = next(iter(CURLS))


def answers(lines: list[str], curl: str, folder: Path) -> list[str]:
    """Run the lines in a shell; return what each of those prints that promise a status."""
    script = ["curl() { command " + curl + ' "$@"; }', 'sleep() { echo "$1" > slept; }']
    for line in lines:
        script += [line, f"printf '\\n{END}'"] if re.search(r"# \d{3}", line) else [line]
    command = ["sh", "-e", "-c", "\n".join(script)]
    shown = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert shown.stderr == ""
    return shown.stdout.split(END)[:-1]


END = "=== end of the answer ==="


def statuses(shown: list[str]) -> list[int]:
    found = [re.findall(r"^HTTP/1\.[01] (\d{3})", one, re.MULTILINE) for one in shown]
    assert all(len(one) == 1 for one in found), shown
    return [int(one) for (one,) in found]


def promised(example: Path) -> list[tuple[str, int, bool]]:
    """Return what an example's first lines promise: path, status, and whether a token is sent."""
    pattern = r"^curl -i http://127.0.0.1:8000(/\w*)(.*)# (\d{3})"
    found = re.findall(pattern, docstring(example), re.MULTILINE)
    return [(path, int(status), "$TOKEN" in options) for path, options, status in found]


@pytest.mark.parametrize("example", CHECKS, ids=[path.stem for path in CHECKS])
def test_an_example_does_what_its_first_lines_say(example: Path, tmp_path: Path) -> None:
    with started([str(example)], tmp_path / "log") as (_, printed):
        lines = [line for line in printed if line.startswith("curl")]
        public = lines[0].replace("/notes", "/")
        promises = [*promised(example), ("/", 200, False)]
        for line, (path, _, has_token) in zip([*lines, public], promises, strict=True):
            assert (urlsplit(line.split()[2]).path, "Bearer" in line) == (path, has_token)
        shown = answers([f"{one}  # 000" for one in (*lines, public)], CURLS[FIRST], tmp_path)
        assert statuses(shown) == [status for _, status, _ in promises]


# --- Those that issue them

# A program whose clock is ahead by the seconds in a file: what takes ten takes none.
AHEAD = """
import runpy, sys, time
from pathlib import Path
file, really = Path(sys.argv[1]), time.time
time.time = lambda: really() + (float(file.read_text() or 0) if file.exists() else 0)
sys.argv[:2] = []
runpy.run_path(sys.argv[0], run_name="__main__")
"""
MODES: dict[str, list[str]] = {"headers": [], "cookies": ["--cookies"]}


def story(printed: list[str], mode: str) -> list[str]:
    """Return the lines to try: those without --cookies come first."""
    first, second = re.findall(r"(?:^    .*\n)+", "\n".join([*printed, ""]), re.MULTILINE)
    return [line[4:] for line in (second if mode == "cookies" else first).splitlines()]


def told(example: Path, mode: str, curl: str, folder: Path) -> None:
    """Play the story of one example in one mode."""
    command = ["-c", AHEAD, str(folder / "slept"), str(example), *MODES[mode]]
    with started(command, folder / "log") as (port, printed):
        lines = story(printed, mode)
        assert lines[0].startswith(f"URL=http://127.0.0.1:{port} ")
        promises = [found for line in lines if (found := re.search(r"# (\d{3})(.*)", line))]
        shown = answers(lines, CURLS[curl], folder)
        assert statuses(shown) == [int(one[1]) for one in promises]
        for promise, answer in zip(promises, shown, strict=True):
            if "new role" in promise[2]:
                assert '"editor"' in answer
            if "a reader" in promise[2]:
                assert '"alice"' in answer
                assert '"editor"' not in answer
    assert (folder / "slept").read_text() == "10\n"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("example", LOGINS, ids=[path.stem for path in LOGINS])
def test_a_login_goes_from_its_first_tokens_to_its_end(
    example: Path, mode: str, tmp_path: Path
) -> None:
    told(example, mode, FIRST, tmp_path)


@pytest.mark.parametrize("mode", MODES)
def test_the_story_needs_no_curl(mode: str, tmp_path: Path) -> None:
    told(LOGINS[0], mode, "by hand", tmp_path)


def test_the_story_is_the_same_in_every_framework() -> None:
    first, *others = [docstring(example).split("\n", 1) for example in LOGINS]
    assert others
    for title, lines in others:
        assert title != first[0]
        assert lines == first[1]


def test_there_is_an_example_for_each_way_to_run() -> None:
    names = {"fastapi_app", "flask_app", "plain_asgi", "plain_wsgi", "starlette_app"}
    assert {path.stem for path in CHECKS} == names
    assert {path.stem for path in LOGINS} == {"fastapi_login", "flask_login"}
    assert {path.stem for path in STORES} == {"own_store"}
    assert {path.stem for path in SIGNERS} == {"own_signer"}
    assert {path.stem for path in SERVERS} == {"mcp_server"}
