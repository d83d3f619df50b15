"""The stores that a fleet is tested with: a name, and what opens it.

An engine is one entry more in `STORES`: its address, and what stops its server and lets it go on.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from .shared import Page

TIME_OUT = 0.5  # seconds, of a question about ended grants
LONG_TIME_OUT = 5.0  # of an engine that has one for all its verbs


@dataclass(frozen=True)
class Shared:
    """A store that several processes open."""

    url: str
    pause: Callable[[], None]  # from now on it takes questions and answers none
    go_on: Callable[[], None]


@contextmanager
def sqlite(folder: Path, page: Page) -> Generator[Shared]:
    # A file has no server to stop; the processes hold their questions back.
    def hang(seconds: float) -> Callable[[], None]:
        return lambda: setattr(page, "hangs", seconds)

    url = f"sqlite:///{folder}/grants.db?synchronous=NORMAL"  # it needn't survive a power cut
    yield Shared(url, hang(TIME_OUT), hang(0))


@contextmanager
def slow_sqlite(folder: Path, page: Page) -> Generator[Shared]:
    with sqlite(folder, page) as quick:
        yield Shared(quick.url, lambda: setattr(page, "hangs", LONG_TIME_OUT), quick.go_on)


Opens = Callable[[Path, Page], AbstractContextManager[Shared]]

STORES: dict[str, Opens] = {"sqlite": sqlite}
# What hangs in more ways than one.
HANGING: dict[str, Opens] = STORES | {"sqlite-with-a-long-time-out": slow_sqlite}
