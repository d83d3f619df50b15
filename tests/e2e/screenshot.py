"""Play the demo from a login to a thief's end, and take its picture.

python -m tests.e2e.screenshot docs/demo.png
python -m tests.e2e.screenshot --dark --width 360 phone.png
"""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import TYPE_CHECKING

from .browsing import Demo, browsing, demo

if TYPE_CHECKING:
    from playwright.sync_api import Page


def play(stage: Demo, page: Page) -> None:
    """Tell the whole story; the thief and the silent refresh act at their own time."""

    def press(button: str) -> None:
        page.get_by_role("button", name=button, exact=True).click()

    def wait(seconds: float, event: str, count: int) -> None:
        stage.wait(seconds, page)
        page.locator("#events .pill", has_text=event).nth(count - 1).wait_for()

    stage.log_in(page)
    press("GET /api/me")
    page.locator("#status", has_text="answered").wait_for()
    press("GET /api/admin")
    wait(4, "Refused with 403", 1)
    press("Lose the next answer")
    wait(1, "Repeated", 1)
    wait(15, "Rotated", 2)
    press("Steal my refresh token")
    wait(3.5, "Rotated", 3)  # the thief
    wait(6.1, "Rotated", 4)  # again
    wait(5, "Reuse found", 1)  # the page, silently
    wait(2, "Refused with 401", 1)  # the thief, too late
    page.locator("#thief-state", has_text="out").wait_for()
    page.locator("#banner", has_text="Reuse found").wait_for()


def main() -> None:
    """Write the picture."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--scale", type=float, default=1)
    arguments = parser.parse_args()
    with browsing() as browser, demo(browser) as stage:
        page = stage.open(
            viewport={"width": arguments.width, "height": 800},
            color_scheme="dark" if arguments.dark else "light",
            device_scale_factor=arguments.scale,
        )
        play(stage, page)
        page.screenshot(path=arguments.path, full_page=True)


if __name__ == "__main__":
    main()
