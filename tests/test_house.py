"""The house stays small and plain, and the map of it in CONTRIBUTING.md shows it as it is."""

import os
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from tools import hops, house, layers
from tools import map as drawn

ROOT = Path(__file__).parent.parent
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
# Coverage doesn't follow these processes: it would be slow there, and see nothing new.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("COV")}


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a tool from the root of the repository."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )


# --- how large, how entangled


@cache
def found() -> dict[str, int | list[str]]:
    return house.measures(house.modules(ROOT))


@pytest.mark.parametrize("what", house.LIMITS)
def test_the_house_keeps_its_measure(what: str) -> None:
    one = found()[what]
    count = one if isinstance(one, int) else len(one)
    assert count <= house.LIMITS[what], one


SMALL = {
    "__init__.py": "",
    "a.py": "from . import b\n\n\ndef same(): ...\n\n\ndef _own(): ...\n",
    "b.py": "def same():\n    from .c import x\n    return x\n",
    "c.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .a import same\nx = 1\n",
    "long.py": "def long():\n" + "    x = 1\n" * 60 + "\n" * 400,
    "testing/__init__.py": "\n" * 500,
}


def test_the_measures_find_what_they_are_for(tmp_path: Path) -> None:
    for name, text in SMALL.items():
        path = tmp_path / house.PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    p = house.PACKAGE
    assert house.measures(house.modules(tmp_path)) == {
        "statements": 5 + 3 + 4 + 61,  # of a, b, c, long
        "long files": [f"461 {p}.long"],
        "long functions": [f"61 {p}.long.long"],
        "cycles of imports": [f"{p}.a {p}.b {p}.c"],
        "imports inside functions": [f"{p}.b:2 from .c import x"],
        "names in two modules": ["same: a, b"],
        "public names in two modules": ["same: a, b"],
    }


# --- how far one has to walk


def test_a_request_changes_the_file_seldom() -> None:
    done = run("tools/hops.py", "--gate")
    assert done.returncode == 0, done.stdout + done.stderr


def test_over_the_limit_is_told() -> None:
    call = hops.Call("a.py", 1, "f", 0, changes_file=True, is_closure=False)
    for kind, limit in hops.LIMITS.items():
        within, beyond = (hops.Way((call,) * count, 0) for count in (limit, limit + 1))
        assert hops.over({f"{kind}, WSGI": within, "known token, WSGI": beyond}) == []
        assert len(hops.over({f"{kind}, WSGI": beyond})) == 1


WALKED = {
    "__init__.py": "",
    "door.py": """
        from .inner import Thing, flow
        def enter():
            thing = Thing()
            near(thing)
            return list(flow(lambda: thing.name))
        def near(thing):
            return [thing.name for _ in (1, 2)]
    """,
    "inner.py": """
        class Thing:
            @property
            def name(self):
                return "x"
        def flow(call):
            yield call()
            yield 2
    """,
}


@pytest.fixture
def walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, hops.Way]]:
    """Return a package, and a way through it."""
    package = tmp_path / "walked"
    package.mkdir()
    for name, text in WALKED.items():
        (package / name).write_text(textwrap.dedent(text), "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    enter = import_module("walked.door").enter
    recorder = hops.Recorder(package)
    try:
        with recorder:
            assert enter() == ["x", 2]
        yield package, recorder.way()
    finally:
        threading.setprofile(None)
        for name in ("walked", "walked.door", "walked.inner"):
            sys.modules.pop(name, None)


def test_calls_files_and_changes_are_counted(walked: tuple[Path, hops.Way]) -> None:
    _, way = walked
    steps = [(call.depth, call.file, call.name, call.changes_file) for call in way.calls]
    assert steps == [
        (0, "door.py", "enter", False),
        (1, "door.py", "near", False),
        (2, "inner.py", "Thing.name", True),
        (2, "inner.py", "Thing.name", True),
        (1, "inner.py", "flow", True),
        (2, "door.py", "enter.<lambda>", True),
        (3, "inner.py", "Thing.name", True),
    ]
    # The flow went on twice: to its second answer, and to its end.
    assert (way.files, way.changes, way.closures, way.resumptions) == (2, 5, 1, 2)


# --- the map


def test_the_map_shows_the_house_as_it_is(tmp_path: Path) -> None:
    copy = tmp_path / CONTRIBUTING.name
    copy.write_text(CONTRIBUTING.read_text("utf-8"), "utf-8")
    done = run("-m", "tools.map", "--into", str(copy))
    assert done.returncode == 0, done.stderr
    assert copy.read_text("utf-8") == CONTRIBUTING.read_text("utf-8"), "make map"


def test_the_layers_are_all_there() -> None:
    shown = layers.picture()
    for layer in layers.layers():
        for room in layer:
            assert re.search(rf"^{room}(?:/|\.py) ", shown, re.MULTILINE), room


def test_a_way_shows_changes_of_file_below_their_caller(walked: tuple[Path, hops.Way]) -> None:
    package, way = walked
    lines = [line.rstrip() for line in drawn.shown(way, package).splitlines()]
    assert lines == [
        " 1. door.py enter",
        " 2.   inner.py Thing.name",
        " 3.   inner.py Thing.name",
        " 4.   inner.py flow",
        " 5.     door.py enter.<lambda>",
        " 6.       inner.py Thing.name",
    ]


def test_the_files_that_a_newcomer_is_sent_to_exist() -> None:
    roots = ROOT, ROOT / house.PACKAGE, ROOT / "tests"
    named = set(re.findall(r"`([\w./-]+(?:/|\.(?:py|toml|md)))`", CONTRIBUTING.read_text("utf-8")))
    assert len(named) > 40
    for name in named - {"stores/NAME.py"}:
        assert any((root / name).exists() for root in roots), name
