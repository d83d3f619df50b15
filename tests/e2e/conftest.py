"""One browser for a module, not for the session: while it runs, this thread has an event loop."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from . import browsing

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if find_spec("playwright") is None or browsing.chromium() is None:
        pytest.skip("LEFT OUT: no test ran in a browser. Needs Chromium (apt-get install chromium)")
    with browsing.browsing() as found:
        yield found


@pytest.fixture
def context(browser: Browser) -> BrowserContext:
    context = browser.new_context()
    context.set_default_timeout(10_000)
    return context


@pytest.fixture
def demo(browser: Browser) -> Iterator[browsing.Demo]:
    with browsing.demo(browser) as found:
        yield found
        assert found.complaints == []
