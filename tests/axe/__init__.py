"""axe-core, which looks in a page for what keeps people out: labels, contrast, names, order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests import npm

if TYPE_CHECKING:
    from playwright.sync_api import Page

HERE = Path(__file__).parent
RUN = """async () => (await axe.run()).violations.map(
    ({ id, impact, nodes }) => `${id} (${impact}): ${nodes.map((one) => one.html).join("; ")}`)"""


def install() -> None:
    """Fetch axe-core, unless it is there."""
    npm.install(HERE)


def violations(page: Page) -> list[str]:
    """Return what a page does wrong, of any weight."""
    # The driver runs it, so that the page's Content-Security-Policy says nothing against it.
    page.evaluate((HERE / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8"))
    found: list[str] = page.evaluate(RUN)
    return found
