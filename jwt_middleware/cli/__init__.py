"""The command line, `jwt-middleware`: one module for each command, and what they share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from inspect import isawaitable
from typing import Any

# A token or its beginning, which a user may put on a command line by mistake. In the middle of a
# word a dot must follow: one in 6,000 thumbprints of keys (`kid`) has these three characters, too.
_LIKE_A_TOKEN = re.compile(
    r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_.-]*)?|eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_.-]+"
)


class Refusal(Exception):
    """The command can't do what was asked; the message says why, and what is possible."""


async def waited(call: Any, *args: Any) -> Any:
    """Call a sync or async function, and return its answer."""
    answer = call(*args)
    return await answer if isawaitable(answer) else answer


def printable(text: str) -> str:
    """Return a text without tokens, and with terminal control characters escaped."""
    return "".join(
        one if one.isprintable() else ascii(one)[1:-1] for one in _LIKE_A_TOKEN.sub("[token]", text)
    )


def timed(seconds: float) -> str:
    """Return a time as text that `fromisoformat` reads: UTC, to the minute."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%MZ")


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()
