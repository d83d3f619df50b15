"""The output of commands, line by line: what was checked, what was found, and the remedy."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Literal, NamedTuple, TypeAlias

from ..keys.file import File
from ..keys.key_set import KeySet
from ..keys.remote import Remote
from . import printable

LineState: TypeAlias = Literal["ok", "warn", "FAIL", "-"]  # "-": not checked

UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


class Line(NamedTuple):
    """One thing that was checked."""

    state: LineState
    what: str
    seen: str
    remedy: str = ""

    def __str__(self) -> str:
        shown = f"{self.state:<4}  {self.what:<12}  {printable(self.seen)}"
        return shown + (f"\n{'':20}-> {printable(self.remedy)}" if self.remedy else "")

    def to_json(self) -> str:
        """Return one JSON object, for other programs."""
        return json.dumps(
            {
                "state": self.state.lower(),
                "what": self.what,
                "seen": printable(self.seen),
                "remedy": printable(self.remedy),
            }
        )


def write_lines(
    lines: Iterable[Line], *, as_json: bool, bad: tuple[LineState, ...] = ("warn", "FAIL")
) -> int:
    """Print each line as soon as it comes; return the exit status, 1 if any line is bad."""
    status = 0
    for line in lines:
        sys.stdout.write((line.to_json() if as_json else str(line)) + "\n")
        sys.stdout.flush()
        status |= line.state in bad
    return status


def moment(seconds: float, now: float) -> str:
    """Return a time as a date and time in UTC, and how far it is from now."""
    when = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"{when}, " + (
        f"in {span(seconds - now)}" if seconds > now else f"{span(now - seconds)} ago"
    )


def span(seconds: float) -> str:
    """Return a length of time in its largest unit, and the rest in the next unit."""
    whole = int(seconds)
    for (size, unit), (smaller, name) in pairwise(UNITS):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {name}" if rest else "")
    return f"{whole} s"


def origin(keys: KeySet) -> str:
    """Return in words where keys come from."""
    match keys.source:
        case File(path=path):
            return path
        case Remote(url=None):
            return "the issuer's metadata"
        case Remote(url=url):
            return f"{url}"
        case _:
            return "the settings"
