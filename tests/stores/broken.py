"""Stores with one fault each, and the case of the contract that finds it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from jwt_middleware.stores import Advanced, Cursor, Ended
from jwt_middleware.stores.memory import MemoryStore
from jwt_middleware.testing.store_contract import Clock
from jwt_middleware.values.tokens import Grant


class Broken(MemoryStore):
    """A store with one fault: a verb of the memory store, replaced."""

    def __init__(self, clock: Clock, retention: float) -> None:
        super().__init__(clock=clock, retention=retention)


class RevivesByAdd(Broken):
    def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        found = super().add(grant, limit)
        self._grants[grant.id] = grant
        return found


class LosesRows(Broken):
    def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        return ()


class EndsTheNewest(Broken):
    def _living(self, subject: str) -> list[Grant]:
        return super()._living(subject)[::-1]


class CountsEveryone(Broken):
    def _living(self, subject: str) -> list[Grant]:
        return [one for one in self._grants.values() if one.ended_at is None]


class CountsTheExpired(Broken):
    def _living(self, subject: str) -> list[Grant]:
        rows = (self._grants[one] for one in self._subjects.get(subject, ()))
        return [one for one in rows if one.ended_at is None]


class HasNoLimit(Broken):
    def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        return super().add(grant, 1000)


class CutsLongText(Broken):
    def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        return super().add(replace(grant, subject=grant.subject[:255]), limit)


class FoldsSubjects(Broken):
    def grants(self, subject: str) -> tuple[Grant, ...]:
        names = [one for one in self._subjects if one.lower() == subject.lower()]
        return tuple(grant for one in names for grant in super(FoldsSubjects, self).grants(one))


class ThawsClaims(Broken):
    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        advanced, row = super().advance(grant_id, source, target, parent)
        if row is not None:
            claims: Any = dict(row.claims)
            row = replace(row, claims=claims)
        return Advanced(advanced, row)


class ReadsThenWrites(Broken):
    """The lost update: between the look and the write another may come."""

    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        grant = self._grants.get(grant_id)
        if grant is None or grant.generation != source or source == target or grant.ended_at:
            return Advanced(False, grant)
        time.sleep(0.05)
        grant = replace(grant, generation=target, parent=parent, rotated_at=self._clock())
        self._grants[grant_id] = grant
        return Advanced(True, grant)


class AnswersWithTheOldRow(Broken):
    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        before = self._grants.get(grant_id)
        return Advanced(super().advance(grant_id, source, target, parent).advanced, before)


class AdvancesFromAnywhere(Broken):
    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        row = self._grants.get(grant_id)
        if row is not None and source != target:
            source = row.generation
        return super().advance(grant_id, source, target, parent)


class WritesWhenItReads(Broken):
    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        row = self._grants.get(grant_id)
        if row is not None and source == target:
            self._grants[grant_id] = replace(row, rotated_at=self._clock())
        return super().advance(grant_id, source, target, parent)


class AdvancesTheDead(Broken):
    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        row = self._grants.get(grant_id)
        if row is None or row.ended_at is None or source == target:
            return super().advance(grant_id, source, target, parent)
        self._grants[grant_id] = replace(row, generation=target)
        return Advanced(True, self._grants[grant_id])


class AdvancesTheExpired(Broken):
    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        row = self._grants.get(grant_id)
        if row is None or source == target or row.generation != source:
            return super().advance(grant_id, source, target, parent)
        self._grants[grant_id] = replace(row, generation=target, parent=parent)
        return Advanced(True, self._grants[grant_id])


class KeepsNoTime(Broken):
    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        before = self._grants.get(grant_id)
        advanced, row = super().advance(grant_id, source, target, parent)
        if advanced and row is not None and before is not None:
            row = self._grants[grant_id] = replace(row, rotated_at=before.rotated_at)
        return Advanced(advanced, row)


class RevivesByUse(Broken):
    def use(self, grant_id: str) -> None:
        row = self._grants.get(grant_id)
        if row is not None:
            now = self._clock()
            self._grants[grant_id] = replace(row, ended_at=None, end_reason=None, last_used_at=now)


class UsesTheDead(Broken):
    def use(self, grant_id: str) -> None:
        row = self._grants.get(grant_id)
        if row is not None:
            self._grants[grant_id] = replace(row, last_used_at=self._clock())


class UsesTheExpired(Broken):
    def use(self, grant_id: str) -> None:
        row = self._grants.get(grant_id)
        if row is not None and row.ended_at is None:
            self._grants[grant_id] = replace(row, last_used_at=self._clock())


class TakesAUseForARotation(Broken):
    def use(self, grant_id: str) -> None:
        super().use(grant_id)
        row = self._grants.get(grant_id)
        if row is not None and row.last_used_at is not None:
            self._grants[grant_id] = replace(row, rotated_at=row.last_used_at)


class RecordsNoUse(Broken):
    def use(self, grant_id: str) -> None:
        pass


class RecordsAReadAsAUse(Broken):
    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        if source == target:
            self.use(grant_id)
        return super().advance(grant_id, source, target, parent)


class LosesTheUseByARotation(Broken):
    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        advanced, row = super().advance(grant_id, source, target, parent)
        if advanced and row is not None:
            row = self._grants[grant_id] = replace(row, last_used_at=None)
        return Advanced(advanced, row)


class KeepsNoLabel(Broken):
    def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        return super().add(replace(grant, label=None), limit)


class IgnoresTheHorizon(Broken):
    def ended(self, cursor: Cursor | None, horizon: float) -> Ended:
        return super().ended(cursor, self._retention)


class EndsAgain(Broken):
    def end(self, grant_id: str, reason: str) -> bool:
        was_alive = super().end(grant_id, reason)
        if grant_id in self._grants:
            self._grants[grant_id] = replace(self._grants[grant_id], end_reason=reason)
        return was_alive


class EndsAtUnknownTimes(Broken):
    def end(self, grant_id: str, reason: str) -> bool:
        was_alive = super().end(grant_id, reason)
        if was_alive:
            self._grants[grant_id] = replace(self._grants[grant_id], ended_at=1.0)
        return was_alive


class RemembersEndsOfNothing(Broken):
    def end(self, grant_id: str, reason: str) -> bool:
        return super().end(grant_id, reason) or grant_id not in self._grants


class TellsEveryoneThatItWasAlive(Broken):
    def end(self, grant_id: str, reason: str) -> bool:
        row = self._grants.get(grant_id)
        was_alive = row is not None and row.ended_at is None
        time.sleep(0.05)
        super().end(grant_id, reason)
        return was_alive


class EndsOneOfASubject(Broken):
    def end_subject(self, subject: str, reason: str) -> tuple[str, ...]:
        return tuple(one.id for one in self._living(subject)[:1] if self.end(one.id, reason))


class ReturnsAPage(Broken):
    def grants(self, subject: str) -> tuple[Grant, ...]:
        return super().grants(subject)[:100]


class BeginsWithTheOldest(Broken):
    def grants(self, subject: str) -> tuple[Grant, ...]:
        return super().grants(subject)[::-1]


class HasNoOverlap(Broken):
    def ended(self, cursor: Cursor | None, horizon: float) -> Ended:
        now = self._clock()
        since = now - horizon if cursor is None else cursor
        return Ended(tuple(one for at, one in self._ended if at >= since), now)  # type: ignore[operator]


class ReturnsAllThatEverEnded(Broken):
    def ended(self, cursor: Cursor | None, horizon: float) -> Ended:
        return Ended(tuple(one for _, one in self._ended), cursor)


class SkipsEnds(Broken):
    """Its cursor counts on nothing ending between the look and the cursor."""

    def ended(self, cursor: Cursor | None, horizon: float) -> Ended:
        start = 0 if cursor is None else int(cursor)  # type: ignore[call-overload]
        found = tuple(one for _, one in self._ended[start:])
        time.sleep(0.005)
        return Ended(found, len(self._ended))


class AdmitsForEver(Broken):
    def admit(self, key: str, until: float) -> bool:
        known = key in self._admitted
        return super().admit(key, until) and not known


class AdmitsTwo(Broken):
    def admit(self, key: str, until: float) -> bool:
        known = self._admitted.get(key, 0.0) > self._clock()
        time.sleep(0.05)
        self._admitted[key] = until
        return not known


class NeverForgets(Broken):
    def purge(self, now: float) -> int:
        return 0


class ForgetsAll(Broken):
    def purge(self, now: float) -> int:
        count = len(self._grants)
        self._grants.clear()
        self._subjects.clear()
        self._ended.clear()
        return count


class ForgetsEnds(Broken):
    def purge(self, now: float) -> int:
        retention, self._retention = self._retention, 0.0
        try:
            return super().purge(now)
        finally:
            self._retention = retention


class AlwaysFindsMore(Broken):
    def purge(self, now: float) -> int:
        return super().purge(now) + 1


FAULTS: dict[type[Broken], str] = {
    LosesRows: "add_keeps_every_field",
    RevivesByAdd: "add_twice_changes_nothing",
    EndsTheNewest: "add_ends_the_oldest_over_the_limit",
    CountsEveryone: "add_counts_the_living_of_one_subject",
    CountsTheExpired: "add_counts_the_living_of_one_subject",
    HasNoLimit: "adds_at_once_keep_to_the_limit",
    CutsLongText: "add_keeps_every_field",
    FoldsSubjects: "subjects_are_exact",
    ThawsClaims: "claims_come_back_read_only",
    ReadsThenWrites: "one_of_many_advances_wins",
    AnswersWithTheOldRow: "advance_swaps_and_returns_the_new_row",
    AdvancesFromAnywhere: "advance_from_another_generation_does_nothing",
    WritesWhenItReads: "advance_to_the_same_generation_reads",
    AdvancesTheDead: "advance_of_an_ended_grant_does_nothing",
    AdvancesTheExpired: "advance_of_an_expired_grant_does_nothing",
    KeepsNoTime: "advance_swaps_and_returns_the_new_row",
    RevivesByUse: "use_of_an_ended_grant_does_nothing",
    UsesTheDead: "use_of_an_ended_grant_does_nothing",
    UsesTheExpired: "use_of_an_expired_grant_does_nothing",
    TakesAUseForARotation: "use_is_recorded_and_changes_nothing_else",
    RecordsNoUse: "use_is_recorded_and_changes_nothing_else",
    RecordsAReadAsAUse: "advance_to_the_same_generation_reads",
    LosesTheUseByARotation: "use_stays_whatever_comes_after",
    KeepsNoLabel: "what_a_login_brings_of_its_own_stays",
    IgnoresTheHorizon: "ended_begins_with_the_horizon",
    EndsAgain: "end_is_for_ever",
    EndsAtUnknownTimes: "end_is_for_ever",
    RemembersEndsOfNothing: "end_of_nothing_is_no_error",
    TellsEveryoneThatItWasAlive: "one_of_many_ends_is_the_first",
    EndsOneOfASubject: "end_subject_ends_all_of_one_subject",
    ReturnsAPage: "grants_are_complete",
    BeginsWithTheOldest: "grants_are_the_living_newest_first",
    HasNoOverlap: "ended_finds_what_came_late",
    ReturnsAllThatEverEnded: "ended_goes_on_from_the_cursor",
    SkipsEnds: "no_reader_misses_an_end",
    AdmitsForEver: "admit_lets_a_key_pass_once",
    AdmitsTwo: "one_of_many_is_admitted",
    NeverForgets: "purge_forgets_what_has_expired",
    ForgetsAll: "purge_forgets_what_has_expired",
    ForgetsEnds: "purge_keeps_ends_for_the_readers",
    AlwaysFindsMore: "purge_forgets_what_has_expired",
}
