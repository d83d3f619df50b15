"""Pictures of the site, light and dark, wide and narrow; nothing may be wider than the screen.

python -m tools.docsite.shots [--html .site/html] [--into .site/shots]
"""

from __future__ import annotations

import argparse
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import which
from threading import Thread

from playwright.sync_api import Page, ViewportSize, sync_playwright

from .staging import ROOT

PAGES = {
    "index": "index.html",
    "guide": "refresh.html",
    "settings": "settings.html",
    "reference": "reference/jwt_middleware.html",
    "error": "errors/expired.html",
    "rules": "rfcs.html",
    "search": "search.html?q=audience",
}
WIDTHS = {"wide": 1280, "narrow": 390}  # pixels
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serving(html: Path) -> Generator[str]:
    """Serve a built site on a free port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(html)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def shoot(page: Page, url: str, into: Path) -> Iterator[str]:
    """Take a picture of each page as this window shows it; yield the pages that are too wide."""
    for name, path in PAGES.items():
        page.goto(f"{url}/{path}", wait_until="networkidle")
        page.screenshot(path=into.with_name(f"{name}-{into.name}.png"))
        if page.evaluate(TOO_WIDE) > 0:
            yield f"{name}-{into.name}"


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(prog="python -m tools.docsite.shots")
    parser.add_argument("--html", type=Path, default=ROOT / ".site" / "html")
    parser.add_argument("--into", type=Path, default=ROOT / ".site" / "shots")
    given = parser.parse_args()
    given.into.mkdir(parents=True, exist_ok=True)
    wide: list[str] = []
    with serving(given.html) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=which("chromium"), args=["--no-sandbox"]
        )
        for scheme in ("light", "dark"):
            for size, width in WIDTHS.items():
                view = ViewportSize(width=width, height=900)
                page = browser.new_page(viewport=view, color_scheme=scheme)
                wide += shoot(page, url, given.into / f"{scheme}-{size}")
                page.close()
        browser.close()
    print(f"{len(list(given.into.glob('*.png')))} pictures are in {given.into}")
    if wide:
        raise SystemExit(f"wider than the screen: {', '.join(wide)}")


if __name__ == "__main__":
    main()
