"""Both stores and a small model, led through the same steps, always answer the same.

The memory store and the model also where the clock is set back and forward.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from itertools import dropwhile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from jwt_middleware.stores import END_BEFORE, Advanced, Mark, Store
from jwt_middleware.stores.memory import MemoryStore
from jwt_middleware.stores.sqlite import SQLiteStore
from jwt_middleware.values.tokens import Grant
from tests.stores import LIFE, RETENTION, SetClock, new_grant

SUBJECTS = st.sampled_from(["alice", "Alice", "bob"])
REASONS = st.sampled_from(["logout", "reused"])
SECONDS = st.sampled_from([0.001, 1, 59, 60, 61, LIFE / 2, RETENTION, LIFE - 1, LIFE])
HOUR, MONTH = 3600.0, 31 * 86400.0


class Model:
    """What a store is, as briefly as it can be said: rows in the order of their beginning."""

    def __init__(self, clock: SetClock) -> None:
        self.clock = clock
        self.rows: dict[str, Grant] = {}
        self.mark: Mark | None = None
        self.ends: list[tuple[float, str]] = []
        self.forgotten = 0  # ends at the beginning of these

    def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        if grant.id in self.rows:
            return ()
        begun = max(self.clock(), self.mark.before if self.mark else 0)
        self.rows[grant.id] = replace(grant, created_at=begun)
        over = self.grants(grant.subject)[limit:]
        return tuple(one.id for one in over if self.end(one.id, "limit"))

    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        row = self.row(grant_id)
        if row is None or row not in self._living() or row.generation != source or source == target:
            return Advanced(False, row)
        row = replace(row, generation=target, parent=parent, rotated_at=self.clock())
        self.rows[grant_id] = row
        return Advanced(True, row)

    def use(self, grant_id: str) -> None:
        row = self.row(grant_id)
        if row is not None and row in self._living():
            self.rows[grant_id] = replace(row, last_used_at=self.clock())

    def end(self, grant_id: str, reason: str) -> bool:
        row = self.row(grant_id)
        if row is None or row.ended_at is not None:
            return False
        self.rows[grant_id] = replace(row, ended_at=self.clock(), end_reason=reason)
        self.ends.append((self.clock(), grant_id))
        return True

    def end_subject(self, subject: str, reason: str) -> tuple[str, ...]:
        return tuple(one.id for one in self.grants(subject) if self.end(one.id, reason))

    def end_before(self, time: float | None) -> Mark | None:
        before = self.clock() if time is None else time
        if before > self.clock():
            return None
        self.mark = max(self.mark or Mark(0, 0), Mark(before, self.clock()), key=lambda one: one[0])
        return self.mark

    def grants(self, subject: str) -> tuple[Grant, ...]:
        return tuple(one for one in self._living() if one.subject == subject)[::-1]

    def ended_in(self, seconds: float) -> set[str]:
        """Return the first end of these last seconds and all after it: their times may be wrong."""
        since = self.clock() - seconds
        kept = self.ends[self.forgotten :]
        return {one for _, one in dropwhile(lambda end: end[0] < since, kept)}

    def purge(self, now: float) -> int:
        before, forgotten = len(self.rows), self.forgotten
        self.rows = {
            one.id: one
            for one in self.rows.values()
            if now < max(one.expires_at, (one.ended_at or 0) + RETENTION)
        }
        kept = dropwhile(lambda end: end[0] + RETENTION <= now, self.ends[self.forgotten :])
        self.forgotten = len(self.ends) - len(list(kept))
        return before - len(self.rows) + self.forgotten - forgotten

    def row(self, grant_id: str) -> Grant | None:
        row = self.rows.get(grant_id)
        return row if row is None or self.mark is None else self.mark.applied(row)

    def _living(self) -> list[Grant]:
        rows = [row for row in map(self.row, self.rows) if row is not None]
        return [one for one in rows if one.ended_at is None and self.clock() < one.expires_at]


class Stores(RuleBasedStateMachine):
    """Every step goes to the model, to memory and to SQLite."""

    grant_ids = Bundle("grant_ids")

    def __init__(self) -> None:
        super().__init__()
        self.clock = SetClock()
        self.model = Model(self.clock)
        self.memory = MemoryStore(clock=self.clock, retention=RETENTION)
        self.folder = tempfile.TemporaryDirectory()
        self.sqlite = self.open()
        self.cursors: dict[str, tuple[Any, int]] = {}  # with the ends that had been read
        self.seen: dict[str, Grant] = {}
        self.generations = {1}
        self.admitted: dict[str, float] = {}

    def open(self) -> SQLiteStore:
        path = Path(self.folder.name, "grants.db")
        return SQLiteStore(path, clock=self.clock, retention=RETENTION, synchronous="NORMAL")

    def stores(self) -> dict[str, Store]:
        return {"memory": self.memory, "sqlite": self.sqlite}

    def all(self, verb: str, *args: Any) -> Any:
        answers = [getattr(store, verb)(*args) for store in self.stores().values()]
        if verb in ("add", "end_subject"):  # ids in any order
            answers = list(map(set, answers))
        assert answers == [answers[0]] * len(answers)
        return answers[0]

    @rule(target=grant_ids, subject=SUBJECTS, limit=st.integers(1, 3))
    def add(self, subject: str, limit: int) -> str:
        grant = new_grant(self.clock(), subject=subject)
        assert self.all("add", grant, limit) == set(self.model.add(grant, limit))
        return grant.id

    @rule(grant_id=grant_ids, limit=st.integers(1, 3))
    def add_again(self, grant_id: str, limit: int) -> None:
        grant = new_grant(self.clock(), id=grant_id, scope="other")
        assert self.all("add", grant, limit) == set(self.model.add(grant, limit))
        self.seen.pop(grant_id, None)  # begun anew, where it had been forgotten

    @rule(
        grant_id=grant_ids,
        choose=st.data(),
        gap=st.sampled_from([0, 1, 1, 1, 3]),
        parent=st.sampled_from([None, "a", "b"]),
    )
    def advance(self, grant_id: str, choose: Any, gap: int, parent: str | None) -> None:
        source = choose.draw(st.sampled_from(sorted(self.generations, reverse=True)))
        self.generations.add(source + gap)
        args = (grant_id, source, source + gap, parent)
        assert self.all("advance", *args) == self.model.advance(*args)

    @rule(grant_id=grant_ids)
    def use(self, grant_id: str) -> None:
        self.all("use", grant_id)
        self.model.use(grant_id)

    @rule(grant_id=grant_ids, reason=REASONS)
    def end(self, grant_id: str, reason: str) -> None:
        assert self.all("end", grant_id, reason) == self.model.end(grant_id, reason)

    @rule(subject=SUBJECTS, reason=REASONS)
    def end_subject(self, subject: str, reason: str) -> None:
        found = self.all("end_subject", subject, reason)
        assert found == set(self.model.end_subject(subject, reason))

    @rule(ago=st.sampled_from([None, None, 0, 0.001, 1, 60, LIFE, -0.001, -HOUR]))
    def end_before(self, ago: float | None) -> None:
        time = None if ago is None else self.clock() - ago
        assert self.all("end_before", time) == self.model.end_before(time)

    @rule(key=st.sampled_from(["one", "two"]), seconds=SECONDS)
    def admit(self, key: str, seconds: float) -> None:
        expected = self.admitted.get(key, 0.0) <= self.clock()
        assert self.all("admit", key, self.clock() + seconds) is expected
        if expected:
            self.admitted[key] = self.clock() + seconds

    @rule(seconds=SECONDS)
    def let_time_pass(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def purge(self) -> None:
        now = self.clock()
        keys = len(self.admitted)
        self.admitted = {key: until for key, until in self.admitted.items() if now < until}
        forgotten = self.model.purge(now) + keys - len(self.admitted)
        assert self.all("purge", now) == forgotten
        self.seen = {one: row for one, row in self.seen.items() if one in self.model.rows}

    @rule()
    def restart(self) -> None:
        self.sqlite.close()
        self.sqlite = self.open()

    @rule()
    def follow_the_ended(self) -> None:
        model = self.model
        for name, store in self.stores().items():
            cursor, read = self.cursors.get(name, (None, 0))
            new = model.ends[max(read, model.forgotten) :]
            expected = {one for _, one in new} if cursor else model.ended_in(RETENTION)
            found = store.ended(cursor, RETENTION)
            assert set(found.grant_ids) == expected
            assert (found.more, found.mark, found.notices) == (False, model.mark, ())
            self.cursors[name] = found.cursor, len(model.ends)

    @invariant()
    def all_agree(self) -> None:
        for subject in ("alice", "Alice", "bob"):
            assert self.all("grants", subject) == self.model.grants(subject)
        for grant_id in self.model.rows:
            row = self.model.row(grant_id)
            assert self.all("is_living", grant_id) is (row is not None and row.ended_at is None)
        expected = self.model.ended_in(RETENTION)
        for store in self.stores().values():
            assert set(store.ended(None, RETENTION).grant_ids) == expected

    @invariant()
    def generations_only_grow_and_ended_stays_ended(self) -> None:
        for grant_id in self.model.rows:
            row: Grant = self.all("advance", grant_id, 0, 0, None).grant
            before = self.seen.get(grant_id, row)
            assert row.generation >= before.generation
            if before.end_reason == END_BEFORE:  # a later mark has a later time
                row = replace(row, ended_at=before.ended_at)
            if before.ended_at is not None:
                assert row == before
            assert row.expires_at == before.expires_at
            self.seen[grant_id] = row

    def teardown(self) -> None:
        self.sqlite.close()
        self.folder.cleanup()


class WrongClock(Stores):
    """The memory store alone: the clock is set back and forward, by hours and months."""

    def stores(self) -> dict[str, Store]:
        return {"memory": self.memory}

    @rule(seconds=st.sampled_from([-MONTH, -HOUR, -61, -0.001, HOUR, MONTH]))
    def set_the_clock(self, seconds: float) -> None:
        self.clock.now += seconds


TestStores = Stores.TestCase
TestWrongClock = WrongClock.TestCase
# A step is some 30 verbs, and an example a file: a third of the examples that others have.
TestStores.settings = settings(max_examples=settings().max_examples // 3, stateful_step_count=40)
TestWrongClock.settings = TestStores.settings
