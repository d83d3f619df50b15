"""What commands say, line by line: what was looked at, what was found there, and the way out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Literal, NamedTuple, TypeAlias

from ..keys.file import File
from ..keys.key_set import KeySet
from ..keys.remote import Remote
from . import told

State: TypeAlias = Literal["ok", "warn", "FAIL", "-"]  # "-": nobody got so far

UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


class Line(NamedTuple):
    """One thing that was looked at."""

    state: State
    what: str
    seen: str
    remedy: str = ""

    def __str__(self) -> str:
        shown = f"{self.state:<4}  {self.what:<12}  {told(self.seen)}"
        return shown + (f"\n{'':20}-> {told(self.remedy)}" if self.remedy else "")


def write(lines: Iterable[Line], *, as_json: bool = False) -> list[Line]:
    """Print each line when it is there; return them all."""
    form: Callable[[Line], str] = _object if as_json else str
    found = []
    for line in lines:
        sys.stdout.write(form(line) + "\n")
        sys.stdout.flush()
        found.append(line)
    return found


def moment(seconds: float, now: float) -> str:
    """Return a time as people and logs have it, and how far it is from now."""
    when = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"{when}, " + (
        f"in {span(seconds - now)}" if seconds > now else f"{span(now - seconds)} ago"
    )


def span(seconds: float) -> str:
    """Return a length of time: in the largest unit that it has, and what is left in the next."""
    whole = int(seconds)
    for (size, unit), (smaller, name) in pairwise(UNITS):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {name}" if rest else "")
    return f"{whole} s"


def origin(keys: KeySet) -> str:
    """Return where keys come from, in words."""
    match keys.source:
        case File(path=path):
            return path
        case Remote(url=None):
            return "the issuer's metadata"
        case Remote(url=url):
            return f"{url}"
        case _:
            return "the settings"


def _object(line: Line) -> str:
    return json.dumps(
        {
            "state": line.state.lower(),
            "what": line.what,
            "seen": told(line.seen),
            "remedy": told(line.remedy),
        }
    )
