"""Every Python block of the README and of docs/ runs as it is printed.

The blocks of a page run in order, in one namespace, in an empty directory. What readers need not
see (a key file, an `app` that they have already) stands in a comment and runs as well:

    <!-- setup
    app = make_my_app()
    -->

A block that can't run says `python no-run`, and is compiled only.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, ModuleType

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])

BLOCK = re.compile(
    r"^```python(?P<no_run> no-run)?\n(?P<shown>.*?)^```$|^<!-- setup\n(?P<hidden>.*?)^-->$",
    re.MULTILINE | re.DOTALL,
)


def blocks(page: Path, text: str) -> Iterator[tuple[bool, CodeType]]:
    """Yield whether a block runs, and the block, compiled so that errors name the page's line."""
    for block in BLOCK.finditer(text):
        group = "hidden" if block["hidden"] is not None else "shown"
        above = text.count("\n", 0, block.start(group))
        # No flags of this file's own, such as `from __future__`, reach the block.
        code = compile("\n" * above + block[group], str(page), "exec", dont_inherit=True)
        yield block["no_run"] is None, code


@pytest.mark.parametrize("page", PAGES, ids=[p.relative_to(ROOT).as_posix() for p in PAGES])
def test_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # A real module, because dataclasses and pickle look their module up by name.
    module = ModuleType(f"page_{page.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for runs, code in blocks(page, page.read_text("utf-8")):
        if runs:
            exec(code, module.__dict__)


def test_blocks_are_found_with_their_lines() -> None:
    text = "# Page\n<!-- setup\nx\n-->\n```python\ny\n```\n```python no-run\nz\n```\n```sh\n```\n"
    found = [(runs, [*code.co_lines()][-1][2]) for runs, code in blocks(Path("page.md"), text)]
    assert found == [(True, 3), (True, 6), (False, 9)]


def test_every_python_block_is_run_or_says_why_not() -> None:
    for page in PAGES:
        text = page.read_text("utf-8")
        fences = re.findall(r"^\s*```\s*(?:py|python).*$", text, re.MULTILINE | re.IGNORECASE)
        shown = [block for block in BLOCK.finditer(text) if block["shown"] is not None]
        assert len(fences) == len(shown), page
