"""Stores with one fault each, and the case of the contract that finds it."""

from __future__ import annotations

from dataclasses import replace
from time import sleep
from typing import Any

from jwt_middleware.stores import END_BEFORE, Advanced, Cursor, Ended, Mark, Page
from jwt_middleware.stores.memory import MemoryStore
from jwt_middleware.testing import Clock
from jwt_middleware.testing.store_contract import RETENTION
from jwt_middleware.values.bare_grants import bare_grant
from jwt_middleware.values.tokens import Grant


class Broken(MemoryStore):
    """A store with one fault: a verb of the memory store, replaced."""

    def __init__(self, clock: Clock, retention: float) -> None:
        super().__init__(clock=clock, retention=retention)

    def alive(self, subject: str) -> list[Grant]:
        """Return the rows of a subject that have not ended, whatever the mark says."""
        rows = (self._grants[one] for one in self._subjects.get(subject, ()))
        return [one for one in rows if one.ended_at is None and self._clock() < one.expires_at]


class KeepsTheCallersBeginning(Broken):
    def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        is_new = grant.id not in self._grants
        found = super().add(grant, limit)
        if is_new:
            row = self._grants[grant.id]
            self._grants[grant.id] = replace(row, created_at=grant.created_at)
        return found


class StampsWithItsClockAlone(Broken):
    def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        is_new = grant.id not in self._grants
        found = super().add(grant, limit)
        if is_new:
            row = self._grants[grant.id]
            self._grants[grant.id] = replace(row, created_at=self._clock())
        return found


class RevivesByAdd(Broken):
    def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        found = super().add(grant, limit)
        self._grants[grant.id] = grant
        return found


class ForgetsTheFirstParent(Broken):
    def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        return super().add(replace(grant, parent=None), limit)


class AddsWithoutALock(Broken):
    def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        known = grant.id in self._grants
        sleep(0.05)
        if known:
            return ()
        found = super().add(replace(grant, id=f"{grant.id} {grant.scope}"), limit)
        self._grants[grant.id] = self._grants.pop(f"{grant.id} {grant.scope}")
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


class EndsOneForTheLimit(Broken):
    def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        super().add(grant, 1000)
        living = self._living(grant.subject)
        over = [one.id for one in living[: max(len(living) - limit, 0)]]
        return tuple(one for one in over[:1] if self.end(one, "limit"))


class CountsWhatAMarkEnded(Broken):
    def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        super().add(grant, 1000)
        alive = self.alive(grant.subject)
        return tuple(one.id for one in alive[: max(len(alive) - limit, 0)])


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


class MovesWhatIsBound(Broken):
    """Whoever asks: before the rule has looked at the key."""

    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        grant = self._grants.get(grant_id)
        if grant is None or grant.bound_key is None:
            return super().advance(grant_id, source, target, parent)
        self._grants[grant_id] = replace(grant, bound_key=None)
        advanced, row = super().advance(grant_id, source, target, parent)
        row = replace(row or grant, bound_key=grant.bound_key)
        self._grants[grant_id] = row
        return Advanced(advanced, row)


class ReadsThenWrites(Broken):
    """The lost update: between the look and the write another may come."""

    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        grant = self._grants.get(grant_id)
        if grant is None or grant.generation != source or source == target or grant.ended_at:
            return Advanced(False, grant)
        sleep(0.05)
        grant = replace(grant, generation=target, parent=parent, rotated_at=self._clock())
        self._grants[grant_id] = grant
        return Advanced(True, grant)


class TakesTheLoserForTheWinner(Broken):
    """Who asked for the generation that the grant has, must have made it."""

    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        sleep(0.001)  # so that threads meet here
        advanced, row = super().advance(grant_id, source, target, parent)
        has_it = row is not None and row.generation == target != source and row.ended_at is None
        return Advanced(advanced or has_it, row)


class LooksForTheEndTooEarly(Broken):
    """Between the look and the write the grant may end."""

    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        row = self._grants.get(grant_id)
        if row is None or row.ended_at is not None or source == target:
            return super().advance(grant_id, source, target, parent)
        sleep(0.05)
        with self._locked():
            row = self._grants[grant_id]
            if row.generation != source:
                return Advanced(False, row)
            self._grants[grant_id] = row = replace(row, generation=target)
            return Advanced(True, row)


class MakesWhatItAdvances(Broken):
    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        if grant_id not in self._grants:
            now = self._clock()
            self._grants[grant_id] = bare_grant(grant_id, "", now=now, expires_at=now + 1000)
        return super().advance(grant_id, source, target, parent)


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


class MakesWhatIsUsed(Broken):
    def use(self, grant_id: str) -> None:
        now = self._clock()
        row = bare_grant(grant_id, "", now=now, expires_at=now + 1000)
        self._grants.setdefault(grant_id, row)
        super().use(grant_id)


class UsesWithoutALock(Broken):
    """It writes the row as it was before, with the use: what came in between is lost."""

    def use(self, grant_id: str) -> None:
        row = self._grants.get(grant_id)
        if row is not None and self._is_current(row):
            sleep(0.01)
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


class KeepsASubjectAlive(Broken):
    """As with one key for all grants of a subject, that expires with the last."""

    def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        ends = [one.expires_at for one in self.grants(grant.subject)]
        return super().add(replace(grant, expires_at=max(ends, default=grant.expires_at)), limit)


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
        sleep(0.05)
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


class GoesByTheClock(Broken):
    """Its cursor is a time, and a clock that was set back gives new ends older times."""

    def ended(self, cursor: Cursor | None, horizon: float) -> Ended:
        now = self._clock()
        since: Any = now - horizon if cursor is None else cursor
        return Ended(tuple(one for at, one in self._ended if at >= since), now, False, self._mark)


class ReturnsAllThatEverEnded(Broken):
    def ended(self, cursor: Cursor | None, horizon: float) -> Ended:
        return Ended(tuple(one for _, one in self._ended), cursor)


class SkipsEnds(Broken):
    """Its cursor counts on nothing ending between the look and the cursor."""

    def ended(self, cursor: Cursor | None, horizon: float) -> Ended:
        start: Any = 0 if cursor is None else cursor
        found = tuple(one for _, one in self._ended[start:])
        sleep(0.005)
        return Ended(found, len(self._ended))


class HandsOutEachEndOnce(Broken):
    """A queue: what one reader has taken no other finds."""

    own: Cursor | None = None

    def ended(self, cursor: Cursor | None, horizon: float) -> Ended:
        found = super().ended(self.own, horizon)
        self.own = found.cursor
        return found


class DropsTheRest(Broken):
    """Its page is short, and the cursor lies behind all that has ended."""

    def ended(self, cursor: Cursor | None, horizon: float) -> Ended:
        found = super().ended(cursor, horizon)
        return found._replace(grant_ids=found.grant_ids[:2])


class SaysMoreForEver(Broken):
    def ended(self, cursor: Cursor | None, horizon: float) -> Ended:
        return super().ended(cursor, horizon)._replace(more=True)


class ReturnsMoreThanAPage(Broken):
    def ended(self, cursor: Cursor | None, horizon: float) -> Ended:
        found = super().ended(cursor, horizon)
        return found._replace(grant_ids=found.grant_ids * 10_001)


class CountsWhatIsKept(Broken):
    """Its cursor is a place among the ends that are kept, and those before it are purged."""

    def ended(self, cursor: Cursor | None, horizon: float) -> Ended:
        place: Any = 0 if cursor is None else cursor
        found = tuple(one for _, one in self._ended[place:])
        return Ended(found, max(place, len(self._ended)), False, self._mark)


class BelievesThatAllLive(Broken):
    def is_living(self, grant_id: str) -> bool:
        return grant_id in self._grants


class AppliesNoMark(Broken):
    def _row(self, grant_id: str) -> Grant | None:
        return self._grants.get(grant_id)


class ListsWhatAMarkEnded(Broken):
    """`advance` knows the mark; what goes by the subject doesn't."""

    def _living(self, subject: str) -> list[Grant]:
        return self.alive(subject)


class UsesWhatAMarkEnded(Broken):
    def use(self, grant_id: str) -> None:
        row = self._grants.get(grant_id)
        if row is not None and self._is_current(row):
            self._grants[grant_id] = replace(row, last_used_at=self._clock())


class AddsWhatAMarkEndedAnew(Broken):
    def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        row = self._row(grant.id)
        if row is not None and row.end_reason == END_BEFORE:
            del self._grants[grant.id]
        return super().add(grant, limit)


class TellsEachEndOfAMark(Broken):
    def end_before(self, time: float | None) -> Mark | None:
        living = [one for one in map(self._row, self._grants) if one is not None]
        mark = super().end_before(time)
        if mark is not None:
            ended = [one.id for one in living if one.created_at < mark.before]
            self._ended += [
                (mark.made_at, one) for one in ended if self._grants[one].ended_at is None
            ]
        return mark


class EndsOneByOne(Broken):
    """What the command line did before there was a mark: logins come in between, and end, too."""

    def end_before(self, time: float | None) -> Mark | None:
        mark = super().end_before(self._clock() - 5)
        assert mark is not None
        for _ in range(1000):  # until one has come
            if any(one.created_at >= mark.before for one in list(self._grants.values())):
                break
            sleep(0.005)
        for grant_id in list(self._grants):
            self.end(grant_id, END_BEFORE)
        return mark


class RefusesAMassEnd(Broken):
    def end_before(self, time: float | None) -> Mark | None:
        return None


class ForgetsTheMark(Broken):
    def purge(self, now: float) -> int:
        if self._mark is not None and self._mark.made_at + RETENTION < now:
            self._mark = None
        return super().purge(now)


class TakesTheLastMark(Broken):
    def end_before(self, time: float | None) -> Mark | None:
        if time is not None and time <= self._clock():
            self._mark = None
        return super().end_before(time)


class EndsTheFuture(Broken):
    def end_before(self, time: float | None) -> Mark | None:
        self._mark = Mark(self._clock() if time is None else time, self._clock())
        return self._mark


class AdmitsForEver(Broken):
    def admit(self, key: str, until: float) -> bool:
        known = key in self._admitted
        return super().admit(key, until) and not known


class RemembersAQuestion(Broken):
    def admit(self, key: str, until: float) -> bool:
        return super().admit(key, max(until, self._clock() + 60))


class AdmitsTwo(Broken):
    def admit(self, key: str, until: float) -> bool:
        known = self._admitted.get(key, 0.0) > self._clock()
        sleep(0.05)
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


class PurgesByTheCallersClock(Broken):
    def purge(self, now: float) -> int:
        return self._purge_grants(now) + self._purge_keys(now) + self._purge_ends(now)


class PagesWhatAMarkEnded(Broken):
    def page(self, position: Cursor | None, count: int) -> Page:
        return Page(tuple(one for name in self._subjects for one in self.alive(name)), None)


class PagesForEver(Broken):
    def page(self, position: Cursor | None, count: int) -> Page:
        return Page(tuple(one for name in self._subjects for one in self._living(name)), count)


class PagesWithGaps(Broken):
    def page(self, position: Cursor | None, count: int) -> Page:
        found = [one for name in self._subjects for one in self._living(name)]
        return Page(tuple(found[1:]), None)


FAULTS: dict[type[Broken], str] = {
    ForgetsTheFirstParent: "add_keeps_a_first_parent",
    AddsWithoutALock: "many_that_add_one_id_make_one_row",
    LosesRows: "add_keeps_every_field",
    MovesWhatIsBound: "advance_of_a_bound_grant_does_nothing",
    KeepsTheCallersBeginning: "add_stamps_the_beginning",
    StampsWithItsClockAlone: "a_login_after_a_mass_end_lives",
    EndsOneForTheLimit: "add_ends_all_over_a_smaller_limit",
    CountsWhatAMarkEnded: "end_before_leaves_room_for_new_logins",
    RevivesByAdd: "add_twice_changes_nothing",
    EndsTheNewest: "add_ends_the_oldest_over_the_limit",
    CountsEveryone: "add_counts_the_living_of_one_subject",
    CountsTheExpired: "add_counts_the_living_of_one_subject",
    HasNoLimit: "adds_at_once_keep_to_the_limit",
    CutsLongText: "add_keeps_every_field",
    FoldsSubjects: "subjects_are_exact",
    ThawsClaims: "claims_come_back_read_only",
    ReadsThenWrites: "one_of_many_advances_wins",
    TakesTheLoserForTheWinner: "no_advance_is_lost_or_done_twice",
    LooksForTheEndTooEarly: "nothing_advances_after_the_end",
    MakesWhatItAdvances: "advance_of_nothing_returns_nothing",
    AnswersWithTheOldRow: "advance_swaps_and_returns_the_new_row",
    AdvancesFromAnywhere: "advance_from_another_generation_does_nothing",
    WritesWhenItReads: "advance_to_the_same_generation_reads",
    AdvancesTheDead: "advance_of_an_ended_grant_does_nothing",
    AdvancesTheExpired: "advance_of_an_expired_grant_does_nothing",
    KeepsNoTime: "advance_swaps_and_returns_the_new_row",
    RevivesByUse: "use_of_an_ended_grant_does_nothing",
    UsesTheDead: "use_of_an_ended_grant_does_nothing",
    UsesTheExpired: "use_of_an_expired_grant_does_nothing",
    MakesWhatIsUsed: "use_of_nothing_makes_nothing",
    UsesWithoutALock: "uses_beside_rotations_lose_neither",
    TakesAUseForARotation: "use_is_recorded_and_changes_nothing_else",
    RecordsNoUse: "use_is_recorded_and_changes_nothing_else",
    RecordsAReadAsAUse: "advance_to_the_same_generation_reads",
    LosesTheUseByARotation: "use_stays_whatever_comes_after",
    KeepsNoLabel: "what_a_login_brings_of_its_own_stays",
    KeepsASubjectAlive: "each_grant_lasts_as_long_as_it_says",
    IgnoresTheHorizon: "ended_begins_with_the_horizon",
    EndsAgain: "end_is_for_ever",
    EndsAtUnknownTimes: "end_is_for_ever",
    RemembersEndsOfNothing: "end_of_nothing_is_no_error",
    TellsEveryoneThatItWasAlive: "one_of_many_ends_is_the_first",
    EndsOneOfASubject: "end_subject_ends_all_of_one_subject",
    ReturnsAPage: "grants_are_complete",
    BeginsWithTheOldest: "grants_are_the_living_newest_first",
    GoesByTheClock: "ended_finds_what_a_wrong_clock_stamped",
    ReturnsAllThatEverEnded: "ended_goes_on_from_the_cursor",
    SkipsEnds: "no_reader_misses_an_end",
    HandsOutEachEndOnce: "ended_begins_anew_for_each_reader",
    DropsTheRest: "ended_comes_in_pages",
    SaysMoreForEver: "ended_comes_in_pages",
    ReturnsMoreThanAPage: "ended_goes_on_from_the_cursor",
    CountsWhatIsKept: "ended_goes_on_after_a_long_time",
    BelievesThatAllLive: "is_living_says_whether_a_grant_has_ended",
    AppliesNoMark: "end_before_ends_what_began_before",
    ListsWhatAMarkEnded: "end_before_ends_what_began_before",
    UsesWhatAMarkEnded: "end_before_ends_what_began_before",
    AddsWhatAMarkEndedAnew: "end_before_ends_what_began_before",
    TellsEachEndOfAMark: "end_before_ends_what_began_before",
    RefusesAMassEnd: "end_before_ends_what_began_before",
    EndsOneByOne: "no_login_lives_on_beside_a_mass_end",
    ForgetsTheMark: "end_before_is_for_ever",
    TakesTheLastMark: "end_before_is_one_mark_that_only_grows",
    EndsTheFuture: "end_before_is_one_mark_that_only_grows",
    AdmitsForEver: "admit_lets_a_key_pass_once",
    RemembersAQuestion: "admit_until_a_past_time_only_asks",
    AdmitsTwo: "one_of_many_is_admitted",
    NeverForgets: "purge_forgets_what_has_expired",
    ForgetsAll: "purge_forgets_what_has_expired",
    ForgetsEnds: "purge_keeps_ends_for_the_readers",
    AlwaysFindsMore: "purge_forgets_what_has_expired",
    PurgesByTheCallersClock: "purge_at_infinity_goes_by_the_store_s_clock",
    PagesWhatAMarkEnded: "page_lists_all_that_live",
    PagesForEver: "page_lists_all_that_live",
    PagesWithGaps: "page_lists_all_that_live",
}
