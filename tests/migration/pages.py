"""The applications that the guides show: the tests serve what the pages print."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(
    r"^```python\n# (?P<name>[a-z_]+\.py[a-z, :]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)


def text_of(page: str) -> str:
    """Return a guide as it is written."""
    return (DOCS / page).read_text("utf-8")


def named_blocks(page: str) -> dict[str, str]:
    """Return the blocks of a guide that begin with a file's name, by that line."""
    return {block["name"]: block["code"] for block in _BLOCK.finditer(text_of(page))}


def write_shop(page: str, folder: Path, more: str) -> None:
    """Write the guide's two applications to `before.py` and `after.py`, with `more` users."""
    found = named_blocks(page)
    for name in ("before", "after"):
        code = found["shop.py: what stays"] + more + found[f"shop.py: {name}"]
        (folder / f"{name}.py").write_text(code, "utf-8")
