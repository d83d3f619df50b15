"""The applications that the guides show: the tests serve what the pages print."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"^```python\n# shop\.py: (?P<part>[a-z, ]+)\n(?P<code>.*?)^```$", re.M | re.S)


def parts(page: str) -> dict[str, str]:
    """Return the blocks of the page's application, by what follows `shop.py:` in the first line."""
    text = (DOCS / page).read_text("utf-8")
    return {block["part"]: block["code"] for block in _BLOCK.finditer(text)}


def write_shop(page: str, folder: Path, *, users: int, before: str, after: str) -> None:
    """Write the page's two applications to `before.py` and `after.py`, with that many users."""
    found = parts(page)
    more = f'USERS.update({{f"user{{n}}": f"password{{n}}" for n in range({users})}})\n'
    for name, part in (("before", before), ("after", after)):
        (folder / f"{name}.py").write_text(found["what stays"] + more + found[part], "utf-8")
