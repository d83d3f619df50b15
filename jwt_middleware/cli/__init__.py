"""The command line: `jwt-middleware demo`, `keys` and `grants`."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime


class Refusal(Exception):
    """What the user asked for can't be done; the message says why, and what can."""


def timed(seconds: float) -> str:
    """Return a time in words that `fromisoformat` takes: UTC, to the minute."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%MZ")


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table, its columns under each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()
