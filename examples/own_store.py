"""A store of your own, in one file: a journal, to which lines are only added at the end.

`python examples/own_store.py` runs the contract suite on it, and prints each promise that it keeps.

A verb locks the file, reads what others have written since, decides, and writes one line. The line
is on the disk before the answer goes out. So it is right for all threads and processes of a machine
(Linux and macOS, a local disk). Each process holds all grants in memory and looks through them one
by one: that is enough for some thousand logins. For more use `sqlite:///`.

Ends have numbers: the journal has them in order. A cursor is the number of ends read, and the last
of them, which shows whether the file is still the one that was read: a backup may have been put in
its place.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import asdict, replace
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from io import FileIO
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, TypeAlias, cast
from uuid import uuid4

from jwt_middleware import ConfigurationError, Grant, StoreUnavailable
from jwt_middleware.stores import PAGE, Advanced, Cursor, Ended, Mark, Page
from jwt_middleware.testing import store_contract
from jwt_middleware.values.tokens import FrozenDict

TIMEOUT = 5.0  # seconds to wait for a turn
PAUSE = 0.0005  # seconds between two tries
NAME = 33  # octets at the beginning of a file that differ from those of the file it has replaced
BITE = 500  # rows of each kind that one `purge` deletes, at most
OTHER_FILE = (
    "the journal is not the one that was read before, as after a backup was put back: grants that "
    "ended since the backup live again, and all ends that still matter are read anew"
)

End: TypeAlias = tuple[float, str]  # when a grant ended, and its id


class JournalStore:
    """Grants in a journal. Give it as Refresh(store=JournalStore(...)), and call `check` first."""

    def __init__(self, path: str | Path, *, clock: Callable[[], float], retention: float) -> None:
        self._path = Path(path).absolute()
        self._clock = clock
        self._retention = retention
        self._begin(b"")

    def check(self) -> None:
        """Make the file where there is none. Raises ConfigurationError with the way out."""
        try:
            if not self._path.exists():
                fresh = self._written()
                try:
                    os.link(fresh, self._path)  # unless another process was faster
                    self._sync_folder()
                except FileExistsError:
                    pass
                finally:
                    fresh.unlink()
            with self._turn() as (file, _):
                self._write(file)
        except (OSError, StoreUnavailable) as error:
            problem = f"{self._path} can't be used: {error}"
            raise ConfigurationError("refresh.store", problem, "is its folder there?") from None

    # --- the verbs

    def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        with self._turn() as (file, now):
            if grant.id in self._grants:
                return ()
            living = self._living(grant.subject, now)
            over = living[: max(len(living) + 1 - limit, 0)]
            # The clock may have been set back since the mark was made: the new grant lives.
            begun = now if self._mark is None else max(now, self._mark.before)
            added = replace(grant, created_at=begun)
            self._write(file, added, *(_ended(one, "limit", now) for one in over))
            return tuple(one.id for one in over)

    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        with self._turn() as (file, now):
            grant = self._row(grant_id)
            if grant is None or source == target or grant.generation != source:
                return Advanced(False, grant)
            if not _lives(grant, now) or grant.bound_key is not None:
                return Advanced(False, grant)
            self._write(file, grant.rotated(target, parent, now))
            return Advanced(True, self._row(grant_id))

    def use(self, grant_id: str) -> None:
        with self._turn() as (file, now):
            grant = self._row(grant_id)
            if grant is not None and _lives(grant, now):
                self._write(file, replace(grant, last_used_at=now))

    def end(self, grant_id: str, reason: str) -> bool:
        with self._turn() as (file, now):
            grant = self._row(grant_id)
            if grant is None or grant.ended_at is not None:
                return False
            self._write(file, _ended(grant, reason, now))
            return True

    def end_subject(self, subject: str, reason: str) -> tuple[str, ...]:
        with self._turn() as (file, now):
            living = self._living(subject, now)
            self._write(file, *(_ended(one, reason, now) for one in living))
            return tuple(one.id for one in living)

    def grants(self, subject: str) -> tuple[Grant, ...]:
        with self._turn() as (_, now):
            return tuple(reversed(self._living(subject, now)))

    def end_before(self, time: float | None) -> Mark | None:
        with self._turn() as (file, now):
            before = now if time is None else time
            if before > now:
                return None
            if self._mark is None or self._mark.before < before:
                self._write(file, mark=Mark(before, now))
            return self._mark

    def is_living(self, grant_id: str) -> bool:
        with self._turn():
            grant = self._row(grant_id)
            return grant is not None and grant.ended_at is None

    def ended(self, cursor: Cursor | None, horizon: float) -> Ended:
        with self._turn() as (_, now):
            number, last = cast("tuple[int, End | None]", cursor or (0, None))
            begin = max(number - self._forgotten, 0)
            is_other = begin > 0 and self._ends[begin - 1 : begin] != [last]
            if cursor is None or is_other:
                since = now - horizon
                places = (place for place, (at, _) in enumerate(self._ends) if at >= since)
                begin = next(places, len(self._ends))
            end = min(begin + PAGE, len(self._ends))
            return Ended(
                tuple(grant_id for _, grant_id in self._ends[begin:end]),
                (self._forgotten + end, self._ends[end - 1] if end else None),
                more=end < len(self._ends),
                mark=self._mark,
                notices=(OTHER_FILE,) if is_other else (),
            )

    def admit(self, key: str, until: float) -> bool:
        with self._turn() as (file, now):
            if self._keys.get(key, now) > now:
                return False
            self._write(file, keys={key: until})
            return True

    def purge(self, now: float) -> int:
        with self._turn() as (_, own):
            now = min(now, own)  # the caller's may be infinity
            rows, ends = self._grants.values(), islice(self._ends, BITE)
            gone = list(islice((one.id for one in rows if self._is_over(one, now)), BITE))
            past = list(islice((key for key, until in self._keys.items() if until <= now), BITE))
            old = len(list(takewhile(lambda end: end[0] + self._retention <= now, ends)))
            count = len(gone) + len(past) + old
            if count or self._lines > 2 * len(self._grants) + 1000:
                for grant_id in gone:
                    del self._grants[grant_id]
                for key in past:
                    del self._keys[key]
                del self._ends[:old]
                self._forgotten += old
                try:
                    self._written().replace(self._path)  # who waits for the old one's lock notices
                    self._sync_folder()
                finally:
                    self._begin(b"")  # the next verb reads the file, whichever it is
            return count

    def page(self, position: Cursor | None, count: int) -> Page:
        """For `jwt-middleware grants`: see `jwt_middleware.stores.Listing`."""
        with self._turn() as (_, now):
            after = cast("str", position or "")
            found = [one for one in self._living(None, now) if one.id > after]
            found = sorted(found, key=lambda one: one.id)[:count]
            return Page(tuple(found), found[-1].id if len(found) == count else None)

    def _row(self, grant_id: str) -> Grant | None:
        grant = self._grants.get(grant_id)
        return grant if grant is None or self._mark is None else self._mark.applied(grant)

    def _living(self, subject: str | None, now: float) -> list[Grant]:
        # Rows are in the order of their beginning: a row that changes keeps its place.
        ids = [one.id for one in self._grants.values() if subject in (None, one.subject)]
        return [row for row in map(self._row, ids) if row is not None and _lives(row, now)]

    def _is_over(self, grant: Grant, now: float) -> bool:
        ended_at = grant.ended_at
        return grant.expires_at <= now and (ended_at is None or ended_at + self._retention <= now)

    # --- the file

    @contextmanager
    def _turn(self) -> Generator[tuple[FileIO, float], None, None]:
        """Lock the file, and read all that is new in it."""
        deadline = time.monotonic() + TIMEOUT
        try:
            while True:
                with FileIO(self._path, "r+") as file:
                    if self._is_locked(file):
                        try:
                            self._catch_up(file)
                            yield file, self._clock()
                        finally:
                            flock(file, LOCK_UN)  # a child that was forked meanwhile holds it, too
                        return
                if time.monotonic() > deadline:
                    raise StoreUnavailable("others have the file")
                time.sleep(PAUSE)
        except OSError as error:
            raise StoreUnavailable(type(error).__name__) from None

    def _is_locked(self, file: FileIO) -> bool:
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            return False
        return os.path.samestat(os.fstat(file.fileno()), self._path.stat())

    def _begin(self, name: bytes) -> None:
        self._pid = os.getpid()
        self._name = name
        self._read = len(name)  # octets
        self._last = b""  # the last line of these
        self._lines = 0
        self._grants: dict[str, Grant] = {}
        self._keys: dict[str, float] = {}
        self._ends: list[End] = []  # in the order in which they came
        self._forgotten = 0  # ends that `purge` has dropped there
        self._mark: Mark | None = None

    def _catch_up(self, file: FileIO) -> None:
        name = file.read(NAME)
        file.seek(max(self._read - len(self._last), NAME))
        octets = file.read()
        # After a fork: another thread of the parent may have been in the middle of this.
        is_same = (name, os.getpid()) == (self._name, self._pid)
        # A backup that was put in the file's place has its name, but ends earlier or otherwise.
        if not is_same or not octets.startswith(self._last):
            self._begin(name)
            file.seek(NAME)
            octets = file.read()
        # A line without an end was not written completely, and its call was not answered.
        lines = octets[len(self._last) : octets.rfind(b"\n") + 1]
        for line in lines.splitlines(keepends=True):
            self._apply(line)

    def _apply(self, line: bytes) -> None:
        try:
            found = json.loads(line)
            rows = [Grant(**{**row, "claims": _frozen(row["claims"])}) for row in found["grants"]]
        except (ValueError, TypeError, KeyError):
            raise StoreUnavailable("a damaged line") from None
        self._grants.update((row.id, row) for row in rows)
        self._keys.update(found["keys"])
        self._ends += [(at, grant_id) for at, grant_id in found["ends"]]
        self._forgotten += found["forgotten"]
        self._mark = Mark(*found["mark"]) if found["mark"] else self._mark
        self._lines += 1
        self._read += len(line)
        self._last = line

    def _write(
        self,
        file: FileIO,
        *grants: Grant,
        keys: dict[str, float] | None = None,
        mark: Mark | None = None,
    ) -> None:
        """Write one line, all of it or nothing, and wait until it is on the disk."""
        # A row that has ended is written once, when it ends.
        ends = [(one.ended_at, one.id) for one in grants if one.ended_at is not None]
        line = _line(grants, keys or {}, ends, mark)
        file.truncate(self._read)
        file.seek(self._read)
        if file.write(line) != len(line):
            raise StoreUnavailable("the disk is full")
        os.fsync(file.fileno())
        self._apply(line)

    def _written(self) -> Path:
        """Make another file beside it, readable by its owner alone, and return its path."""
        handle, path = tempfile.mkstemp(prefix=f"{self._path.name}.", dir=self._path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(uuid4().hex.encode() + b"\n")
            rows = self._grants.values()
            file.write(_line(rows, self._keys, self._ends, self._mark, self._forgotten))
            file.flush()
            os.fsync(file.fileno())
        return Path(path)

    def _sync_folder(self) -> None:
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _line(
    grants: Iterable[Grant],
    keys: dict[str, float],
    ends: list[End],
    mark: Mark | None,
    forgotten: int = 0,
) -> bytes:
    rows = [asdict(one) for one in grants]
    parts = {"grants": rows, "keys": keys, "ends": ends, "mark": mark, "forgotten": forgotten}
    return json.dumps(parts, separators=(",", ":")).encode() + b"\n"


def _lives(grant: Grant, now: float) -> bool:
    return grant.ended_at is None and now < grant.expires_at


def _ended(grant: Grant, reason: str, now: float) -> Grant:
    return replace(grant, ended_at=now, end_reason=reason)


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return FrozenDict({name: _frozen(one) for name, one in value.items()})
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


if __name__ == "__main__":
    for case in store_contract.CASES:
        with tempfile.TemporaryDirectory() as folder:

            def make(clock: Callable[[], float], retention: float) -> JournalStore:
                store = JournalStore(f"{folder}/grants", clock=clock, retention=retention)
                store.check()
                return store

            case.run(make)
        print(case.promise)
