"""The stores that a fleet is tested with: a name, and what opens it.

An engine is one entry more in `STORES`: its address, and what stops its server and lets it go on.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .shared import Page

TIME_OUT = 0.5  # seconds, as `Store.ended` recommends
LONG_TIME_OUT = 5.0  # of a store that has one for all its verbs


@dataclass(frozen=True)
class Shared:
    """A store that several processes open."""

    url: str
    pause: Callable[[], None]  # from now on it takes questions and answers none
    go_on: Callable[[], None]
    time_out: float  # seconds after which it gives a question about ended grants up


@contextmanager
def sqlite(folder: Path, page: Page, time_out: float = TIME_OUT) -> Generator[Shared]:
    # A file has no server to stop; the processes hold their questions back.
    def hang(seconds: float) -> Callable[[], None]:
        return lambda: setattr(page, "hangs", seconds)

    url = f"sqlite:///{folder}/grants.db?synchronous=NORMAL"  # it needn't survive a power cut
    yield Shared(url, hang(time_out), hang(0), time_out)


Opens = Callable[[Path, Page], AbstractContextManager[Shared]]

STORES: dict[str, Opens] = {"sqlite": sqlite}
HANGING: dict[str, Opens] = STORES | {"sqlite-5s": partial(sqlite, time_out=LONG_TIME_OUT)}
