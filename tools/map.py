"""Remake the map of the package in a page: the layers, and the ways of a request and a refresh.

    python -m tools.map [--into CONTRIBUTING.md]

The page has a place for each, between two comments with its name. A way shows each call that
changes the file, as `tools/hops.py` counts them, below the call that it was made from; functions
that are called within a file are left out (`tools/hops.py --list` shows them). Beside a function
stands the beginning of its docstring.
"""

from __future__ import annotations

import argparse
import ast
import textwrap
from functools import cache
from pathlib import Path

from benchmarks.bench.report import put
from tools import hops, house, layers

WIDTH = 118  # columns
WORDS = 68  # the column where docstrings begin
LEAST = 20  # columns of a docstring; a shorter piece says nothing


def texts(root: Path = house.ROOT) -> dict[str, str]:
    """Return the texts for the page, by the name of their place."""
    found = hops.measured(root)
    return {
        "The layers": _fenced(layers.picture(root)),
        **{
            f"The way of a {title}": _fenced(shown(found[case], root / house.PACKAGE))
            for title, case in hops.WAYS.items()
        },
    }


def shown(way: hops.Way, package: Path) -> str:
    """Return the first call and every call that changes the file, numbered, indented by caller."""
    lines: list[str] = []
    above: list[int] = []  # the depths of the shown calls that are not over yet
    for call in way.calls:
        while above and above[-1] >= call.depth:
            above.pop()
        if call.changes_file or not lines:
            line = f"{len(lines) + 1:2}. {'  ' * len(above)}{call.file} {call.name}  "
            line = line.ljust(WORDS)
            room = WIDTH - len(line)
            words = docstring(package / call.file, call.line) if room >= LEAST else ""
            lines.append(f"{line}{textwrap.shorten(words, room, placeholder=' ...')}".rstrip())
            above.append(call.depth)
    return "\n".join(lines)


def docstring(path: Path, line: int) -> str:
    """Return the first sentence of a function's docstring; nothing, where it has none."""
    text = _docstrings(path).get(line, "").partition("\n\n")[0]
    return " ".join(text.split()).partition(". ")[0].rstrip(".")


@cache
def _docstrings(path: Path) -> dict[int, str]:
    tree = ast.parse(path.read_text("utf-8"), str(path))
    return {
        # The interpreter counts a function from its first decorator.
        min([one.lineno, *(node.lineno for node in one.decorator_list)]): ast.get_docstring(one)
        or ""
        for one in house.functions(tree)
    }


def _fenced(text: str) -> str:
    return f"```text\n{text}\n```"


def main() -> None:
    """Print the map, or put it into a page."""
    parser = argparse.ArgumentParser(description="remake the map of the package")
    parser.add_argument("--into", type=Path, help="a page that has places for it")
    page = parser.parse_args().into
    found = texts()
    if page is None:
        for name, text in found.items():
            print(f"{name}\n\n{text}\n")
        return
    text = page.read_text("utf-8")
    for name, part in found.items():
        text = put(text, name, part)
    page.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
