"""Print the picture of the layers: each folder, what is in it, and which folders it imports.

    python -m tools.layers

The order is that of `LAYERS` in tests/test_layers.py, reversed: a folder may import only from those
below it. A folder is described by the first sentence of its package's docstring.
"""

from __future__ import annotations

import ast
import textwrap
from collections import defaultdict
from pathlib import Path

from tools import house

WIDTH = 99  # columns, of which names take the first
NAMES = 13  # characters of the longest name
PACKAGE_ITSELF = "__init__"


def layers(root: Path = house.ROOT) -> list[list[str]]:
    """Return the names of every layer, from the top to the bottom."""
    source = (root / "tests" / "test_layers.py").read_text("utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign) and node.value and ast.unparse(node.target) == "LAYERS":
            found: tuple[set[str], ...] = ast.literal_eval(node.value)
            return [sorted(layer) for layer in reversed(found)]
    raise ValueError("tests/test_layers.py has no table LAYERS")


def room_of(module: str) -> str:
    """Return the folder, or the module at the top, that a module of the package stands in."""
    _, _, rest = module.partition(".")
    return rest.partition(".")[0] or PACKAGE_ITSELF


def picture(root: Path = house.ROOT) -> str:
    """Return the picture as text."""
    known = house.modules(root)
    imported: dict[str, set[str]] = defaultdict(set)
    for name, others in house.graph(known).items():
        imported[room_of(name)].update(map(room_of, others))
    lines: list[str] = []
    order = [room for layer in layers(root) for room in layer]
    for layer in layers(root):
        for room in layer:
            module = f"{house.PACKAGE}.{room}" if room != PACKAGE_ITSELF else house.PACKAGE
            path, tree = known[module]
            is_folder = path.name == "__init__.py" and room != PACKAGE_ITSELF
            text = (ast.get_docstring(tree) or "").partition("\n\n")[0]
            below = [one for one in order if one in imported[room] - {room}]
            lines += _lines(f"{room}/" if is_folder else f"{room}.py", text)
            lines += _lines("", f"-> {' '.join(below)}" if below else "-> nothing of ours")
        lines.append("")
    return "\n".join(lines).rstrip()


def _lines(name: str, text: str) -> list[str]:
    indent = " " * (NAMES + 2)
    first = f"{name:{NAMES + 2}}"
    return textwrap.wrap(
        " ".join(text.split()), WIDTH, initial_indent=first, subsequent_indent=indent
    )


if __name__ == "__main__":
    print(picture())
