"""The stores that a fleet is tested with: a name, and what opens it.

An engine is one entry more in `STORES`: its address, and what stops its server and lets it go on.
Each has a server of its own, which is stopped by a signal: its connections stay, and say nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.engines import postgres, redis

from .shared import TIME_OUT, Page

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


@contextmanager
def postgresql(folder: Path, page: Page) -> Generator[Shared]:
    server = postgres.Server()
    try:
        server.start()
        yield Shared(server.url(), server.pause, server.resume, TIME_OUT)
    finally:
        server.stop()


@contextmanager
def redis_like(folder: Path, page: Page, engine: str) -> Generator[Shared]:
    with redis.Server(engine) as server, ExitStack() as paused:
        yield Shared(
            server.url, lambda: paused.enter_context(server.paused()), paused.close, TIME_OUT
        )


Opens = Callable[[Path, Page], AbstractContextManager[Shared]]

STORES: dict[str, Opens] = {
    "sqlite": sqlite,
    "postgresql": postgresql,
    "redis": partial(redis_like, engine="redis"),
    "valkey": partial(redis_like, engine="valkey"),
}
HANGING: dict[str, Opens] = STORES | {"sqlite-5s": partial(sqlite, time_out=LONG_TIME_OUT)}
