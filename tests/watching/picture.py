"""Use a shop for two minutes, and draw the dashboard from what Prometheus has scraped.

Grafana isn't needed: each panel's own query is asked for the whole time, and a page in Chromium
draws the series as lines, in the dashboard's order.

    python -m tests.watching.picture docs/watching.png
"""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from contextlib import ExitStack
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

from tests.e2e.browsing import browsing

from .scraped import DASHBOARD, Served, Shop, prometheus, shop

WIDTH, HEIGHT = 372, 128  # of one panel's lines, in pixels
COLOURS = ("#1f60c4", "#c4162a", "#37872d", "#fa6400", "#8f3bb8", "#e0b400", "#0a868c", "#b877d9")
MOST = 7  # series that a panel shows: those with most
PAGE = """<!doctype html><meta charset="utf-8"><style>
body { font: 12px/1.3 "DejaVu Sans", sans-serif; margin: 12px; background: #f4f5f5; color: #24292e }
main { display: grid; grid-template-columns: repeat(3, 400px); gap: 8px }
section { background: #fff; border: 1px solid #dcdfe2; border-radius: 3px; padding: 8px 12px }
h2 { font-size: 12px; margin: 0 0 4px }
svg text { font-size: 10px; fill: #52575c }
ul { list-style: none; margin: 2px 0 0; padding: 0; height: 32px; overflow: hidden }
li { display: inline; margin-right: 10px; white-space: nowrap }
li::before { content: "\\25ac "; color: var(--line) }
</style><main>"""

Series = tuple[str, list[tuple[float, float]]]


def play(made: Shop, seconds: float) -> None:
    """Use the shop: users come, a thief, forged tokens, a store and a key endpoint that fail."""
    begun, stalled = time.monotonic(), list[Thread]()
    for _ in range(30):
        made.log_in()
    while (at := (time.monotonic() - begun) / seconds) < 1:
        for _ in range(4):
            made.browse()
        if made.random.random() < 0.06 and not made.waits:
            made.log_in()
        if made.random.random() < 0.03 and not made.waits:
            made.log_out()
        if made.random.random() < 0.02 and 0.3 < at < 0.5:
            made.steal()
        if 0.15 < at < 0.3 and made.random.random() < 0.4:
            head, payload, signature = made.users[0]["access"].split(".")
            made.get("/items", f"{head}.{payload}.{signature[9:]}{signature[:9]}")
        if at > 0.6 and not stalled:
            stalled.append(Thread(target=_refresh_meanwhile, args=(made, seconds * 0.1)))
            stalled[0].start()
        made.partner.fails = at > 0.72
        time.sleep(0.02)
    stalled[0].join()


def _refresh_meanwhile(made: Shop, pause: float) -> None:
    """Let some users refresh while the store doesn't answer."""
    made.waits = True
    with made.store.paused():
        until = time.monotonic() + pause
        while time.monotonic() < until:
            made.refresh(made.users[0])
    made.waits = False


def series(served: Served, panel: Any, begun: float, ended: float) -> list[Series]:
    """Return the lines of a panel."""
    found: list[Series] = []
    for target in panel["targets"]:
        expression = target["expr"].replace("$__rate_interval", "10s").replace("$job", ".+")
        data = served.get("query_range", query=expression, start=begun, end=ended, step=1)
        for one in data["result"]:
            name = target["legendFormat"]
            for label, value in one["metric"].items():
                name = name.replace(f"{{{{{label}}}}}", value)
            points = [(at, float(value)) for at, value in one["values"] if value != "NaN"]
            if points:
                found.append((name, points))
    most = sorted(found, key=lambda line: -max(value for _, value in line[1]))
    return most[:MOST]


def drawn(panel: Any, lines: list[Series], begun: float, ended: float) -> str:
    """Return a panel as HTML."""
    top = max((value for _, points in lines for _, value in points), default=0) or 1
    low, wide, high = 44, WIDTH - 50, HEIGHT - 18
    unit = {"s": " s", "percentunit": ""}.get(panel["fieldConfig"]["defaults"]["unit"], "")
    parts = [f'<section><h2>{escape(panel["title"])}</h2><svg width="{WIDTH}" height="{HEIGHT}">']
    for share in (0, 0.5, 1):
        y = 6 + high * (1 - share)
        parts.append(
            f'<line x1="{low}" x2="{low + wide}" y1="{y}" y2="{y}" stroke="#e5e7e9"/>'
            f'<text x="{low - 3}" y="{y + 3}" text-anchor="end">{_short(top * share)}{unit}</text>'
        )
    for colour, (_, points) in zip(COLOURS, lines, strict=False):
        path = " ".join(
            f"{low + wide * (at - begun) / (ended - begun):.1f},{6 + high * (1 - value / top):.1f}"
            for at, value in points
        )
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.4"/>'
        )
    items = "".join(
        f'<li style="--line: {colour}">{escape(name)}</li>'
        for colour, (name, _) in zip(COLOURS, lines, strict=False)
    )
    return f"{''.join(parts)}</svg><ul>{items}</ul></section>"


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.2g}"


def main() -> None:
    """Write the picture."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--seconds", type=float, default=120)
    arguments = parser.parse_args()
    board = json.loads(DASHBOARD.read_text("utf-8"))
    with ExitStack() as stack:
        made, port = stack.enter_context(shop())
        folder = Path(stack.enter_context(TemporaryDirectory()))
        served = stack.enter_context(prometheus(folder, port, every="1s"))
        begun = time.time()
        play(made, arguments.seconds)
        ended = time.time()
        panels = [
            drawn(panel, series(served, panel, begun, ended), begun, ended)
            for panel in board["panels"]
        ]
    with browsing() as browser:
        page = browser.new_page(viewport={"width": 1240, "height": 800})
        page.set_content(PAGE + "".join(panels) + "</main>")
        page.screenshot(path=arguments.path, full_page=True)


if __name__ == "__main__":
    main()
