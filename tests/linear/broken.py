"""Stores that aren't linearizable, and one that is, though answers are lost."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any, Final

from jwt_middleware.stores import Advanced, Store
from jwt_middleware.stores.grant_rows import read
from jwt_middleware.stores.memory import MemoryStore
from jwt_middleware.stores.sqlite import SQLiteStore
from jwt_middleware.stores.sqlite.schema import SQLITE_STATEMENTS
from jwt_middleware.values.errors import StoreUnavailable
from jwt_middleware.values.tokens import Grant
from tests.stores.broken import Broken

PAUSE: Final = 0.0005  # seconds between two halves of what should be one step


class AnswersFromOneSnapshot(Broken):
    """PostgreSQL's `WITH done AS (UPDATE ... RETURNING *)` and a SELECT for when it does nothing.

    Both see the rows as they were when the statement began, and the swap lost to what came since.
    """

    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        before = self._grants.get(grant_id)
        time.sleep(PAUSE)
        done = super().advance(grant_id, source, target, parent)
        return done if done.advanced else Advanced(False, before)


class ReadsThenWrites(Broken):
    """The lost update: what came between the look and the write is overwritten."""

    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        row = self._grants.get(grant_id)
        if row is None or row.generation != source or row.ended_at is not None or source == target:
            return Advanced(False, row)
        time.sleep(PAUSE)
        self._grants[grant_id] = row = row.rotated(target, parent, self._clock())
        return Advanced(True, row)


class ReadsFromAReplica(Broken):
    """Writes go to the primary; what is read is what it had shortly before."""

    def __init__(self, clock: Any, retention: float) -> None:
        super().__init__(clock, retention)
        self._past: list[tuple[float, dict[str, Grant]]] = [(0.0, {})]

    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        if source == target:
            return Advanced(False, self._replica().get(grant_id))
        return super().advance(grant_id, source, target, parent)

    def grants(self, subject: str) -> tuple[Grant, ...]:
        rows = reversed(self._replica().values())
        return tuple(one for one in rows if one.subject == subject and one.ended_at is None)

    def _replica(self) -> dict[str, Grant]:
        now = time.monotonic()
        with self._lock:
            self._past.append((now, dict(self._grants)))
            return [rows for at, rows in self._past if at <= now - PAUSE][-1]


class AsksAReplicaWhetherItLives(ReadsFromAReplica):
    """All else is read from the primary."""

    advance, grants = Broken.advance, Broken.grants

    def is_living(self, grant_id: str) -> bool:
        row = self._replica().get(grant_id)
        return row is not None and row.ended_at is None


class EndsLater(Broken):
    """It says that a grant has ended, and sees to it later."""

    def __init__(self, clock: Any, retention: float) -> None:
        super().__init__(clock, retention)
        self._later: dict[str, tuple[float, str]] = {}

    def end(self, grant_id: str, reason: str) -> bool:
        with self._locked():
            row = self._grants.get(grant_id)
            if row is None or row.ended_at is not None or grant_id in self._later:
                return False
            self._later[grant_id] = (time.monotonic() + PAUSE, reason)
            return True

    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        with self._locked():
            if self._later.get(grant_id, (time.monotonic() + 1, ""))[0] < time.monotonic():
                self._end(grant_id, self._later.pop(grant_id)[1])
        return super().advance(grant_id, source, target, parent)


class TakesTheLoserForTheWinner(Broken):
    """Who asked for the generation that the grant has, must have made it."""

    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        advanced, row = super().advance(grant_id, source, target, parent)
        has_it = row is not None and row.generation == target != source and row.ended_at is None
        return Advanced(advanced or has_it, row)


class AsksAgain(Broken):
    """Now and then the connection is lost after the commit, and the statement sent once more."""

    def __init__(self, clock: Any, retention: float) -> None:
        super().__init__(clock, retention)
        self._random = Random(1)

    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        found = super().advance(grant_id, source, target, parent)
        if self._random.random() < 0.1:
            return super().advance(grant_id, source, target, parent)
        return found


class EndsASubjectInSteps(Broken):
    """It ends one grant after the other, and who looks in between sees the half of it."""

    def end_subject(self, subject: str, reason: str) -> tuple[str, ...]:
        found = []
        for one in self._living(subject):
            if self.end(one.id, reason):
                found.append(one.id)
            time.sleep(PAUSE)
        return tuple(found)


class KeepsToTheLimitInSteps(Broken):
    """It counts, then adds: of two that come at once, both have room."""

    def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        if grant.id in self._grants:
            return ()
        living = self._living(grant.subject)
        over = [one.id for one in living[: max(len(living) + 1 - limit, 0)]]
        time.sleep(PAUSE)
        super().add(grant, 1000)
        return tuple(one for one in over if self.end(one, "limit"))


class UpdatesWithoutSwap(SQLiteStore):
    """The lost update once more, between processes."""

    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        row = super().advance(grant_id, source, source, None).grant
        if row is None or row.generation != source or row.ended_at is not None or source == target:
            return Advanced(False, row)
        asked = {"id": grant_id, "target": target, "parent": parent, "now": self._clock()}
        return self._write(
            lambda db: Advanced(True, read(db.execute(_WITHOUT_SWAP, asked).fetchone()))
        )


_WITHOUT_SWAP: Final = re.sub(
    " AND generation .* RETURNING", " RETURNING", SQLITE_STATEMENTS["advance"]
)


class Remembers(SQLiteStore):
    """It keeps the rows that it has read for a moment: right in one process, wrong in several."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._kept: dict[str, tuple[float, Advanced]] = {}

    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        kept_at, kept = self._kept.get(grant_id, (0.0, Advanced(False, None)))
        if source == target and time.monotonic() < kept_at + 40 * PAUSE:
            return kept
        found = super().advance(grant_id, source, target, parent)
        self._kept[grant_id] = (time.monotonic(), Advanced(False, found.grant))
        return found


FAULTS: Final[tuple[Callable[..., MemoryStore], ...]] = (
    AnswersFromOneSnapshot,
    ReadsThenWrites,
    ReadsFromAReplica,
    AsksAReplicaWhetherItLives,
    EndsLater,
    TakesTheLoserForTheWinner,
    AsksAgain,
    EndsASubjectInSteps,
    KeepsToTheLimitInSteps,
)


class Unreliable:
    """A store in front of which an answer is lost now and then.

    The step was then not done, or done, or will be done when nobody waits for it any more.
    """

    def __init__(self, store: Store, later: ThreadPoolExecutor, often: float = 0.1) -> None:
        self._store = store
        self._later = later
        self._often = often
        self._random = Random(1)

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        real: Callable[..., Any] = getattr(self._store, verb)

        def call(*args: Any) -> Any:
            if self._random.random() > self._often:
                return real(*args)
            match self._random.randrange(3):
                case 0:
                    real(*args)
                case 1:
                    self._later.submit(_late, real, args)
            raise StoreUnavailable("the answer is lost")

        return call


def _late(real: Callable[..., Any], args: tuple[Any, ...]) -> None:
    time.sleep(PAUSE)
    real(*args)
