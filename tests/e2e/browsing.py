"""Chromium, driven by Playwright, and a demo to drive it at: for the tests and the screenshot."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIServer

from jwt_middleware.cli.demo import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

# No calls home, and no sandbox, which a container's root can't have.
SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str | None:
    """Return the browser's path: $CHROMIUM, or the first one installed."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def browsing() -> Generator[Browser, None, None]:
    """Give a browser without windows, whose back/forward cache is on as everywhere."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(),
            args=list(SWITCHES),
            # A driver sees nothing of a page that was put away and comes back, so the page tells.
            ignore_default_args=["--disable-back-forward-cache"],
        )
        browser.new_context().close()
        yield browser
        browser.close()


def cookies(context: BrowserContext) -> list[dict[str, Any]]:
    """Return all cookies of a device."""
    return [dict(cookie) for cookie in context.cookies()]


@contextmanager
def listening(server: WSGIServer) -> Generator[WSGIServer, None, None]:
    """Let a server serve in a thread, until the end."""
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()


class Demo:
    """A running demo, whose clock can be moved, and a browser to play it with."""

    def __init__(self, url: str, clock: Clock, browser: Browser) -> None:
        self.url = url
        self.clock = clock
        self.browser = browser
        self.contexts: list[BrowserContext] = []
        self.complaints: list[str] = []

    def device(self, **options: Any) -> BrowserContext:
        """Return a browser of one user: tabs of it share their storage."""
        options.setdefault("viewport", {"width": 1280, "height": 900})
        options.setdefault("reduced_motion", "reduce")  # drawn by software, motion costs seconds
        context = self.browser.new_context(**options)
        context.set_default_timeout(5000)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on("console", lambda said: self._listen(said.type, said.text))
        self.contexts.append(context)
        return context

    def _listen(self, kind: str, text: str) -> None:
        # A refused request is in the console, too, and belongs to the story.
        if kind in ("error", "warning") and "Failed to load resource" not in text:
            self.complaints.append(text)

    def open(self, context: BrowserContext | None = None, **options: Any) -> Page:
        """Open a tab, in which the time of the page can be moved, too."""
        page = (context or self.device(**options)).new_page()
        page.clock.install()
        page.goto(self.url)
        return page

    def log_in(
        self, page: Page, *, name: str = "alice", role: str = "editor", bound_to: str = "nothing"
    ) -> None:
        """Log in by hand."""
        page.get_by_label("Name").fill(name)
        page.get_by_role("radio", name=role).check()
        page.get_by_role("radio", name=bound_to, exact=True).check()
        page.get_by_role("button", name="Log in", exact=True).click()
        page.get_by_role("button", name="Refresh now").wait_for()

    def wait(self, seconds: float, *pages: Page) -> None:
        """Let time pass, on the server and in the pages."""
        self.clock.seconds += seconds
        for page in pages:
            page.clock.fast_forward(int(seconds * 1000))


class Clock:
    """The server's clock, which runs, and can be put forward."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return time.time() + self.seconds


@contextmanager
def demo(browser: Browser) -> Generator[Demo, None, None]:
    """Give a demo with a database of its own."""
    clock = Clock()
    with serving(clock=clock) as server, listening(server):
        found = Demo(server.url, clock, browser)
        try:
            yield found
        finally:
            for context in found.contexts:
                context.close()
