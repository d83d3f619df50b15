"""Swagger UI, which FastAPI's /docs loads from a content delivery network; here it is npm's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from tests import npm

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

HERE = Path(__file__).parent
# The only version that FastAPI's page names: 5, whichever is the newest.
NAMED = re.compile(r"https://cdn\.jsdelivr\.net/npm/swagger-ui-dist@5/([\w.-]+)")


def serve(page: Page) -> None:
    """Answer in place of the network, so that FastAPI's page is tested as it is."""
    npm.install(HERE)
    page.route(re.compile("https://"), _answer)


def _answer(route: Route) -> None:
    found = NAMED.fullmatch(route.request.url)
    if found is None:
        route.abort()  # an icon
        return
    route.fulfill(path=HERE / "node_modules" / "swagger-ui-dist" / found[1])
