"""The applications that the guides show: the tests serve what the pages print."""

from __future__ import annotations

import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(
    r"^```python\n# (?P<name>[a-z_]+\.py[a-z, :]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
BLOCKS = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text_of(page: str) -> str:
    """Return a guide as it is written."""
    return (DOCS / page).read_text("utf-8")


def named_blocks(page: str) -> dict[str, str]:
    """Return the blocks of a guide that begin with a file's name, by that line."""
    return {block["name"]: block["code"] for block in _BLOCK.finditer(text_of(page))}


def without_grant(name: str) -> str:
    """Return a cookie's name without the grant's characters, which may contain hyphens."""
    prefix = "__Host-" if name.startswith("__Host-") else ""
    return prefix + name.removeprefix(prefix).partition("-")[0]


def write_shop(page: str, folder: Path, more: str) -> None:
    """Write the guide's two applications to `before.py` and `after.py`, with `more` users."""
    found = named_blocks(page)
    for name in ("before", "after"):
        code = found["shop.py: what stays"] + more + found[f"shop.py: {name}"]
        (folder / f"{name}.py").write_text(code, "utf-8")


def load_module(page: str, part: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the module of one of the guide's two applications, in this process."""
    write_shop(page, folder, "")
    spec = cast("ModuleSpec", spec_from_file_location(part, folder / f"{part}.py"))
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, part, module)  # annotations are looked up by the module's name
    cast("Loader", spec.loader).exec_module(module)
    return module
