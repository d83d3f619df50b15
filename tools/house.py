"""Print the size of the package, what makes it hard to read, and the limits.

Statements (`ast.stmt`), long files and functions, cycles of imports, imports inside functions, and
top-level names that stand in two modules or more. tests/test_house.py holds the limits.

    python tools/house.py [FOLDER]
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "jwt_middleware"
FOR_TESTS = f"{PACKAGE}.testing"
LONGEST_FILE = 400  # lines; FOR_TESTS, modules that are made for tests, may be longer
LONGEST_FUNCTION = 60  # lines
LIMITS = {
    "statements": 20_400,
    "long files": 0,
    "long functions": 0,
    "cycles of imports": 0,
    "imports inside functions": 34,
    "names in two modules": 30,
    "public names in two modules": 0,
}
# An application imports these from one of several modules: the same name on purpose.
SAME_NAMES = {"JWTMiddleware", "is_current", "jwt_settings", "require"}

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Known: TypeAlias = dict[str, tuple[Path, ast.Module]]  # by a module's dotted name


def modules(root: Path) -> Known:
    """Return the modules of the package below `root` by their dotted names."""
    found: Known = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = path, ast.parse(path.read_text("utf-8"), str(path))
    return found


def functions(tree: ast.Module) -> Iterator[Function]:
    """Yield every function and method of a module."""
    return (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def statements(tree: ast.Module) -> int:
    """Return the number of statements (`ast.stmt`) of a module."""
    return sum(isinstance(node, ast.stmt) for node in ast.walk(tree))


def imports_inside(tree: ast.Module) -> list[ast.stmt]:
    """Return the imports that stand inside functions."""
    found = {
        id(node): node
        for function in functions(tree)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    return list(found.values())


def targets(name: str, path: Path, tree: ast.Module, known: set[str]) -> set[str]:
    """Return the modules of the package that a module imports, at its top or inside functions."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            target = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{target}.{alias.name}"
                found.update({inner if inner in known else target} & known)
    return found - {name}


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or not (Tarjan's way)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        number[name] = low[name] = len(number)
        stack.append(name)
        for other in graph[name]:
            if other not in number:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], number[other])
        if low[name] == number[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in graph:
        if name not in number:
            visit(name)
    return found


def top_level_names(tree: ast.Module) -> set[str]:
    """Return the functions, classes and constants that a module defines at its top."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found.update(one.id for one in node.targets if isinstance(one, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return {name for name in found if not (name.startswith("__") and name.endswith("__"))}


def shared_names(known: Known) -> dict[str, list[str]]:
    """Return the top-level names that stand in two modules or more, and where."""
    homes: dict[str, list[str]] = defaultdict(list)
    for module, (_, tree) in known.items():
        for name in top_level_names(tree):
            homes[name].append(module.removeprefix(PACKAGE + "."))
    return {name: sorted(where) for name, where in sorted(homes.items()) if len(where) > 1}


def graph(known: Known) -> dict[str, set[str]]:
    """Return for every module the modules of the package that it imports."""
    return {name: targets(name, path, tree, set(known)) for name, (path, tree) in known.items()}


def length(path: Path) -> int:
    """Return the number of lines of a file."""
    return len(path.read_text("utf-8").splitlines())


def long_files(known: Known) -> list[str]:
    """Return the files over the limit, the longest first, without modules made for tests."""
    lines = {
        name: length(path)
        for name, (path, _) in known.items()
        if not f"{name}.".startswith(f"{FOR_TESTS}.")
    }
    longest = sorted(lines.items(), key=lambda item: -item[1])
    return [f"{count} {name}" for name, count in longest if count > LONGEST_FILE]


def long_functions(known: Known) -> list[str]:
    """Return the functions over the limit."""
    return [
        f"{lines} {name}.{one.name}"
        for name, (_, tree) in known.items()
        for one in functions(tree)
        if (lines := (one.end_lineno or 0) - one.lineno + 1) > LONGEST_FUNCTION
    ]


def measures(known: Known) -> dict[str, int | list[str]]:
    """Return the measures by their names in LIMITS: a number, or the list of findings."""
    shared = shared_names(known)
    return {
        "statements": sum(statements(tree) for _, tree in known.values()),
        "long files": long_files(known),
        "long functions": long_functions(known),
        "cycles of imports": [" ".join(group) for group in cycles(graph(known))],
        "imports inside functions": [
            f"{name}:{one.lineno} {ast.unparse(one)}"
            for name, (_, tree) in known.items()
            for one in imports_inside(tree)
        ],
        "names in two modules": [f"{name}: {', '.join(homes)}" for name, homes in shared.items()],
        "public names in two modules": [
            f"{name}: {', '.join(homes)}"
            for name, homes in shared.items()
            if not name.startswith("_") and name not in SAME_NAMES
        ],
    }


def main() -> None:
    """Print the measures, and their details."""
    known = modules(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
    print(f"{len(known)} modules, {sum(length(path) for path, _ in known.values())} lines")
    for what, found in measures(known).items():
        count = found if isinstance(found, int) else len(found)
        print(f"{what}: {count}, at most {LIMITS[what]}{'' if count <= LIMITS[what] else ': OVER'}")
        for line in [] if isinstance(found, int) else found:
            print(f"  {line}")


if __name__ == "__main__":
    main()
