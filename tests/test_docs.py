"""Every code block of docs/ runs as it is shown.

The Python blocks of a page run in order, in one module, in an empty folder, and nothing else runs:
what they need stands in them, or in a block above. A block that begins with the name of a file
(`# shop.py`) is that file, too, and where files are tests, pytest runs them. What the page says of
its blocks is checked in comments that readers don't see:

    <!-- test
    assert answer.status_code == 200
    -->

They run in a second pass, and what they define isn't known to the blocks. A block that can't run
says `python no-run`, and begins with a comment that says why. The blocks of `PROJECTS` are the
files of projects that have tests of their own.

TOML and variables are settings, and the options of every `jwt-middleware` are known to it.
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple

import pytest
import time_machine

from jwt_middleware import KeySet, Settings
from jwt_middleware.cli.__main__ import _parser, main

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = sorted([README, *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("README.md")])
PROJECTS = {
    "docs/django.md": "tests/django/test_page.py",
    "docs/django-pages.md": "tests/django/test_page.py",
    "docs/tutorial.md": "tests/e2e/test_tutorial.py",
}

BLOCK = re.compile(
    r"^```(?P<language>\w+)(?P<no_run> no-run)?\n(?P<shown>.*?)^```$"
    r"|^<!-- (?P<kind>test|setup)\n(?P<hidden>.*?)^-->$",
    re.MULTILINE | re.DOTALL,
)
FILE = re.compile(r"# ([\w/]+\.py)(, at the end)?\n")


class Block(NamedTuple):
    """A block of a page: its language, or `test` and `setup` for those that are not shown."""

    language: str
    text: str
    above: int
    runs: bool

    def code(self, page: Path) -> CodeType:
        """Compile it so that errors name the page's line."""
        # No flags of this file's own, such as `from __future__`, reach the block.
        return compile("\n" * self.above + self.text, str(page), "exec", dont_inherit=True)


def blocks(text: str) -> Iterator[Block]:
    for found in BLOCK.finditer(text):
        group = "shown" if found["kind"] is None else "hidden"
        above = text.count("\n", 0, found.start(group))
        yield Block(found["language"] or found["kind"], found[group], above, not found["no_run"])


def of(*languages: str) -> list[Any]:
    """Return the pages that have a block of one of these languages."""
    return [
        pytest.param(page, id=name(page))
        for page in PAGES
        if name(page) not in PROJECTS or "python" not in languages
        if {one.language for one in blocks(page.read_text("utf-8"))} & {*languages}
    ]


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


class Reader:
    """Somebody who pastes the blocks of a page into one module, and files into the folder."""

    def __init__(self, page: Path) -> None:
        self.page = page
        # A real module, because dataclasses and pickle look their module up by name.
        self.module = ModuleType(f"page_{page.stem.replace('-', '_')}")
        self.unseen: dict[str, Any] = {}
        self.files: list[str] = []

    def paste(self, block: Block) -> None:
        if named := FILE.match(block.text):
            path = Path(named[1])
            path.parent.mkdir(parents=True, exist_ok=True)
            before = path.read_text("utf-8") if named[2] else ""
            path.write_text(before + block.text, "utf-8")
            self.files.append(named[1])
        exec(block.code(self.page), self.module.__dict__)

    def enter(self, block: Block) -> None:
        """Make the keys that a shell's lines make."""
        for words in commands(block.text):
            if words[:2] == ["keys", "new"]:
                assert main(words) == 0

    def check(self, block: Block) -> None:
        """Run what readers don't see: it knows the module's names, and the module none of its."""
        self.unseen.update(self.module.__dict__)
        exec(block.code(self.page), self.unseen)

    def close(self) -> None:
        for one in [*self.module.__dict__.values(), *self.unseen.values()]:
            if isinstance(one, Settings):
                one.close()
            if isinstance(one, time_machine.travel):
                one.stop()


@pytest.fixture
def reader(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """Give a reader with an empty folder, from which files can be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    reading = Reader(page)
    monkeypatch.setitem(sys.modules, reading.module.__name__, reading.module)
    before = {*sys.modules}
    yield reading
    reading.close()
    for one in {*sys.modules} - before:
        if str(tmp_path) in str(getattr(sys.modules[one], "__file__", "")):
            del sys.modules[one]


@pytest.mark.parametrize("page", of("python"))
def test_the_blocks_run_as_shown(page: Path, reader: Reader) -> None:
    for block in blocks(page.read_text("utf-8")):
        if block.language == "sh":
            reader.enter(block)
        elif block.language == "python" and block.runs:
            reader.paste(block)
    if any(Path(one).name.startswith("test_") for one in reader.files):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stdout
        assert re.search(r"^\d+ passed in ", done.stdout, re.MULTILINE), done.stdout


@pytest.mark.parametrize("page", of("test"))
def test_the_blocks_do_what_the_page_says(page: Path, reader: Reader) -> None:
    for block in blocks(page.read_text("utf-8")):
        if block.language == "sh":
            reader.enter(block)
        elif block.language == "python" and block.runs:
            reader.paste(block)
        elif block.language == "test":
            reader.check(block)


def test_a_hidden_definition_is_unknown_to_the_blocks(tmp_path: Path) -> None:
    reading = Reader(tmp_path / "page.md")
    reading.paste(Block("python", "shown = 1\n", 0, runs=True))
    reading.check(Block("test", "hidden = shown\nshown = 2\n", 0, runs=True))
    reading.check(Block("test", "assert (hidden, shown) == (1, 1)\n", 0, runs=True))
    with pytest.raises(NameError, match="hidden"):
        reading.paste(Block("python", "hidden\n", 0, runs=True))
    reading.paste(Block("python", "assert shown == 1\n", 0, runs=True))


def test_nothing_is_set_up_out_of_sight() -> None:
    for page in PAGES:
        found = [one.language for one in blocks(page.read_text("utf-8"))]
        assert "setup" not in found, page
        # Any other comment has no code in it.
        hidden = re.findall(r"<!--(.*?)-->", page.read_text("utf-8"), re.DOTALL)
        told = [one for one in hidden if "\n" in one and not one.startswith(" test\n")]
        assert told == [], page


def test_blocks_are_found_with_their_lines() -> None:
    text = (
        "# Page\n<!-- test\nx\n-->\n```python\ny\n```\n```python no-run\n# z\n```\n```sh\nw\n```\n"
    )
    found = [(one.language, one.runs, one.above) for one in blocks(text)]
    assert found == [("test", True, 2), ("python", True, 5), ("python", False, 8), ("sh", True, 11)]


def test_every_python_block_is_run_or_says_why_not() -> None:
    for page in PAGES:
        text = page.read_text("utf-8")
        fences = re.findall(r"^\s*```\s*(?:py|python).*$", text, re.MULTILINE | re.IGNORECASE)
        shown = [block for block in blocks(text) if block.language == "python"]
        assert len(fences) == len(shown), page
        for block in shown:
            block.code(page)
            assert block.runs or block.text.startswith("#"), page
    assert all((ROOT / test).is_file() for test in PROJECTS.values())


# What a part of a configuration needs beside it.
REST = {
    "issuer": "https://login.example.com",
    "audience": "https://api.example.com",
    "keys": "keys.json",
}
STORE = {"store": "memory://"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a folder with the files that configurations name."""
    monkeypatch.chdir(tmp_path)
    KeySet.generate().save("keys.json")
    KeySet.generate().save("old-keys.json")


def over(rest: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration in which what is told replaces what is not."""
    both = {
        key: over(rest[key], told[key])
        for key in rest.keys() & told.keys()
        if isinstance(rest[key], dict) and isinstance(told[key], dict)
    }
    return rest | told | both


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("page", of("toml"))
def test_toml_is_settings(page: Path) -> None:
    for block in blocks(page.read_text("utf-8")):
        if block.language == "toml" and block.runs:
            told = tomllib.loads(block.text)
            if mapping := told.get("jwt_middleware"):
                rest = REST | ({"refresh": STORE} if "refresh" in mapping else {})
                Settings.from_mapping(over(rest, mapping))


VARIABLE = re.compile(r"""\b(JWT_MIDDLEWARE_\w+)(?:=|: )("[^"]*"|'[^']*'|\S+)""")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("page", of("sh", "yaml"))
def test_variables_are_settings(page: Path) -> None:
    for block in blocks(page.read_text("utf-8")):
        if block.language in {"sh", "yaml"} and block.runs:
            told = {found[1]: found[2].strip("\"'") for found in VARIABLE.finditer(block.text)}
            if told:
                rest = {"ISSUER": REST["issuer"], "AUDIENCE": REST["audience"], "KEYS": "keys.json"}
                if any("__KEYS__" in one or "_KEYS__" in one for one in told):
                    del rest["KEYS"]
                if any("_REFRESH__" in one for one in told):
                    rest["REFRESH__STORE"] = "memory://"
                Settings.from_env({f"JWT_MIDDLEWARE_{one}": rest[one] for one in rest} | told)


def documents(text: str) -> Iterator[Any]:
    """Yield each JSON document of a text that has one behind the other."""
    while text := text.lstrip():
        found, end = json.JSONDecoder().raw_decode(text)
        yield found
        text = text[end:]


@pytest.mark.parametrize("page", of("json"))
def test_json_is_json(page: Path) -> None:
    for block in blocks(page.read_text("utf-8")):
        if block.language == "json":
            assert list(documents(block.text))


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each `jwt-middleware` of a shell's lines, behind its name."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        found: list[str] | None = None
        for word in words:
            if word == "jwt-middleware":
                found = []
            elif found is not None and set(word) <= set("<>|&;()"):
                yield found
                found = None
            elif found is not None:
                found.append(word)
        if found is not None:
            yield found


def test_commands_are_found() -> None:
    text = "A=1 jwt-middleware x --y 'a b'  # why\ncd z && jwt-middleware t < u\npwd\n"
    assert list(commands(text)) == [["x", "--y", "a b"], ["t"]]


@pytest.mark.parametrize("page", of("sh", "text"))
def test_commands_are_known(page: Path) -> None:
    for block in blocks(page.read_text("utf-8")):
        if block.language in {"sh", "text"} and block.runs:
            for words in commands(block.text):
                assert _parser().parse_args(words).run is not None, words


def parser_of(words: list[str]) -> tuple[argparse.ArgumentParser, list[str]]:
    """Return the parser of a command, and the words behind its name."""
    parser: argparse.ArgumentParser = _parser()
    while words:
        groups = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
        if not groups or words[0] not in groups[0].choices:
            break
        parser = groups[0].choices[words[0]]
        words = words[1:]
    return parser, words


def test_options_in_sentences_are_known() -> None:
    for page in PAGES:
        for told in re.findall(r"`jwt-middleware ([^`]+)`", page.read_text("utf-8")):
            words = told.split()
            parser, rest = parser_of(words)
            assert words != rest or words[0].startswith(("-", "...")), (page, told)
            known = {one for action in parser._actions for one in action.option_strings}
            assert {one.split("=")[0] for one in rest if one.startswith("--")} <= known, (
                page,
                told,
            )
