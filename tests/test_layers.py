"""Imports point down, only the edges wait, read or write, and no class is called a Manager.

Read from the source, lazy imports and those under TYPE_CHECKING included: an import that is hidden
in a function is a dependency all the same.
"""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

PACKAGE = "jwt_middleware"
ROOT = Path(__file__).parent.parent / PACKAGE

# From the bottom up, as DESIGN has it: a folder may import every folder before it, no other.
# So jose, token and request take narrow values and never meet Settings. The doors stand beside each
# other, with the package itself, which re-exports what a user imports: it may name the issuer, a
# door, but lazily. What is made for tests and the command line stand above all.
LAYERS: tuple[set[str], ...] = (
    {"values"},
    {"jose"},
    {"token"},
    {"request"},
    {"keys"},
    {"stores"},
    {"settings"},
    {"grant"},
    {"core"},
    {"process"},
    # What re-exports names, and the bridges to frameworks.
    {
        "events",
        "migrations",
        "profiles",
        "mcp",
        "falcon",
        "fastapi",
        "flask",
        "litestar",
        "otel",
        "prometheus",
        "quart",
        "starlette",
    },
    {"asgi", "wsgi", "issuer", "readiness", "__init__"},
    # A door made of the others.
    {"django"},
    {"cli", "testing"},
)
HEIGHT = {room: height for height, layer in enumerate(LAYERS) for room in layer}

# What waits, reads, writes or runs beside us.
EFFECTS = {
    *("_thread", "asyncio", "concurrent", "multiprocessing", "queue", "signal", "threading"),
    *("ctypes", "fcntl", "glob", "io", "pathlib", "shutil", "sqlite3", "subprocess", "tempfile"),
    *("http", "select", "selectors", "socket", "socketserver", "ssl", "urllib"),
}
PURE = {"urllib.parse"}  # of the above
OF_OS = {"PathLike", "fspath", "urandom"}  # all that the inside may take from os
# These are the ones that may; the live side, the doors and what stands above them may as well.
EDGES = (
    "keys/file.py",
    "keys/http.py",
    "keys/live_keys.py",
    "keys/remote.py",
    "keys/stranger_limits.py",
    "keys/waits.py",
    "settings/loading.py",
    "settings/places.py",
    "stores/",
    "values/forks.py",
)

# Only the doors and what stands above them may know a framework; a store knows its engine's driver.
THIRD_PARTY = {"jwt", "cryptography"}
DRIVERS = {"psycopg", "psycopg_pool", "redis"}


@dataclass(frozen=True)
class Import:
    """One name imported somewhere: `target` is a module, `name` what was taken from it."""

    line: int
    target: str
    name: str | None
    lazy: bool


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def module_of(path: Path) -> str:
    parts = (PACKAGE, *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = sorted(ROOT.rglob("*.py"))
MODULES = {module_of(path) for path in PATHS}
each_module = pytest.mark.parametrize(
    "path", PATHS, ids=[path.relative_to(ROOT).as_posix() for path in PATHS]
)


def imports(path: Path) -> Iterator[Import]:
    """Yield every import in a module, with relative ones resolved."""
    module = module_of(path).split(".")
    package = module if path.name == "__init__.py" else module[:-1]
    functions = [
        n for n in ast.walk(tree(path)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lazy = {id(inner) for function in functions for inner in ast.walk(function)}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name, None, id(node) in lazy)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            target = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{target}.{alias.name}"
                if inner in MODULES:  # from . import submodule
                    yield Import(node.lineno, inner, None, id(node) in lazy)
                else:
                    yield Import(node.lineno, target, alias.name, id(node) in lazy)


def room_of(module: str) -> str:
    """Return the room that a module of the package is in."""
    name = module.split(".")[1] if "." in module else "__init__"
    assert name in HEIGHT, f"{module}: give it a place in LAYERS"
    return name


def typing_only(path: Path, item: Import) -> bool:
    """Whether an import is under `if TYPE_CHECKING:` and so never runs."""
    return any(
        isinstance(node, ast.If)
        and ast.unparse(node.test) == "TYPE_CHECKING"
        and node.lineno <= item.line <= (node.end_lineno or 0)
        for node in tree(path).body
    )


def is_inside(path: Path) -> bool:
    """Whether a module stands below the runtime and is not an edge."""
    below = HEIGHT[room_of(module_of(path))] < HEIGHT["process"]
    return below and not path.relative_to(ROOT).as_posix().startswith(EDGES)


@each_module
def test_imports_point_down(path: Path) -> None:
    room = room_of(module_of(path))
    for item in imports(path):
        if item.target.split(".")[0] != PACKAGE:
            continue
        other = room_of(item.target)
        if room == "__init__" and other == "issuer" and (item.lazy or typing_only(path, item)):
            continue
        assert other == room or HEIGHT[other] < HEIGHT[room], (
            f"{path}:{item.line}: {room} must not import {other}"
        )


@each_module
def test_only_the_edges_wait_read_or_write(path: Path) -> None:
    if not is_inside(path):
        return
    for item in imports(path):
        where = f"{path}:{item.line}: {item.target} belongs to the edges"
        if item.target == "os":
            assert item.name in OF_OS, where
        assert item.target.split(".")[0] not in EFFECTS or item.target in PURE, where
        if item.target == "time":  # settings hold the clock, everybody else is given the time
            assert room_of(module_of(path)) == "settings", where
    calls = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    names = [call.func.id for call in calls if isinstance(call.func, ast.Name)]
    assert not {"open", "print", "input", "breakpoint"} & set(names), path


@each_module
def test_only_the_doors_know_a_framework(path: Path) -> None:
    room = room_of(module_of(path))
    if HEIGHT[room] >= HEIGHT["flask"] and room not in ("__init__", "events", "profiles"):
        return
    allowed = THIRD_PARTY | {PACKAGE} | (DRIVERS if room == "stores" else set())
    for item in imports(path):
        top = item.target.split(".")[0]
        assert top in allowed or top in sys.stdlib_module_names, f"{path}:{item.line}: {top}"


@each_module
def test_no_import_is_hidden_from_these_tests(path: Path) -> None:
    assert "importlib" not in {item.target.split(".")[0] for item in imports(path)}
    assert "__import__" not in {n.id for n in ast.walk(tree(path)) if isinstance(n, ast.Name)}


def test_randomness_has_one_home() -> None:
    sources = {("os", "urandom"), ("secrets", None), ("random", None), ("uuid", None)}
    homes = {
        path.relative_to(ROOT).as_posix()
        for path in PATHS
        if HEIGHT[room_of(module_of(path))] < HEIGHT["testing"]
        for item in imports(path)
        if (item.target, item.name) in sources or (item.target, None) in sources
    }
    assert len(homes) <= 1, homes


@each_module
def test_no_class_is_named_for_nothing(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ClassDef):
            assert not re.search("Manager|Handler|Service|Helper|Util", node.name), node.name
