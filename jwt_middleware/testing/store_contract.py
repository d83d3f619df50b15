"""The contract of `jwt_middleware.stores.Store` as cases that run against any store, yours too.

    import pytest
    from jwt_middleware.testing import store_contract

    @pytest.mark.parametrize("case", store_contract.CASES, ids=str)
    def test_my_store_keeps_the_contract(case: store_contract.Case) -> None:
        case.run(lambda clock, retention: MyStore(..., clock=clock, retention=retention))

Give every case an empty store, made for it. A `Store` is called from many threads at once. An
`AsyncStore` is awaited on one event loop, which runs in a thread of its own; what makes it may be
`async def`, and then runs in that loop, too. At the end `aclose` or `close` is called, if there is
one.

The cases move time: a store inside the process asks `clock()`, an engine that uses its own clock
adds `clock.offset` to it, in seconds. The two may differ by `SKEW`.

`ended` answers in pages of at most `PAGE` ids, and no case makes so many ends. Run the cases once
more on a store that is made with pages of two ids: all of them follow the pages.

No case can show that an end survives a power cut, that no replica answers, that a cursor of another
history (after a failover, after a backup was restored) is noticed, or that `purge` deletes in small
bites: that is yours to test. Nothing here needs a test framework; a broken promise is a
`ContractBroken`, which is an AssertionError.
"""

from __future__ import annotations

import time
from asyncio import Runner, new_event_loop, run_coroutine_threadsafe
from collections.abc import Awaitable, Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, fields, replace
from functools import partial
from inspect import isawaitable, iscoroutinefunction
from itertools import chain, islice, pairwise
from math import inf
from operator import call
from threading import Barrier, Thread
from typing import Any, Final, TypeAlias, TypeVar, cast

from ..stores.contract import END_BEFORE, PAGE, AsyncStore, Cursor, Ended, Store, new_grant_id
from ..values.bare_grants import bare_grant
from ..values.randomness import identifier
from ..values.tokens import FrozenDict, Grant
from .clock import Clock

__all__ = ["CASES", "RETENTION", "SKEW", "Case", "ContractBroken"]

RETENTION: Final = 700.0  # seconds; what the store is made with
SKEW: Final = 5.0  # seconds that an engine's clock may differ from this process's
RACERS: Final = 50  # threads that ask for one thing at once
GRANT_LIFE: Final = 1000.0  # seconds that the grants of the cases last
VERB_PATIENCE: Final = 30.0  # seconds that a single verb of an AsyncStore may take
MONTH: Final = 31 * 86400.0  # seconds

R = TypeVar("R")


class ContractBroken(AssertionError):
    """A store didn't do what the contract says."""


AnyStore: TypeAlias = Store | AsyncStore
Make: TypeAlias = Callable[[Clock, float], AnyStore | Awaitable[AnyStore]]


@dataclass(frozen=True)
class Case:
    """One promise of the contract. `str(case)` is its name.

    Attributes:
        name: what it is called.
        promise: a sentence of the contract.
        check: what tries it.

    """

    name: str
    promise: str = field(repr=False)
    check: Callable[[Store, Clock], None] = field(repr=False)

    def __str__(self) -> str:
        return self.name

    def run(self, make: Make) -> None:
        """Check a store, which must be empty.

        Args:
            make: returns an empty store, given a clock and a retention in seconds.

        Raises:
            ContractBroken: says what was promised, what was found and what was expected.

        """
        clock = Clock()
        with _made_store(make, clock) as store:
            try:
                self.check(store, clock)
            except ContractBroken as error:
                raise ContractBroken(f"{self.promise} {error}") from None


_cases: list[Case] = []


def _case(check: Callable[[Store, Clock], None]) -> Callable[[Store, Clock], None]:
    promise = " ".join((check.__doc__ or "").split())
    _cases.append(Case(check.__name__.strip("_"), promise, check))
    return check


# --- add


@_case
def _add_keeps_every_field(store: Store, clock: Clock) -> None:
    """A row comes back as it was added, whatever characters are in it."""
    for grant in (_new_grant(clock), *_odd_grants(clock)):
        _expect(store.add(grant, 100), (), "ids that `add` ended")
        _same_row(_row_or_none(store, grant), grant)


@_case
def _claims_come_back_read_only(store: Store, clock: Clock) -> None:
    """Claims come back as they were: objects read-only, arrays as tuples."""
    grant = _added(store, clock, claims=_CLAIMS)
    claims = _row(store, grant).claims
    _expect(claims, _CLAIMS, "claims")
    for one in (claims, claims["address"], claims["list"][1]):
        _expect(type(one), FrozenDict, "the type of an object in the claims")


@_case
def _add_twice_changes_nothing(store: Store, clock: Clock) -> None:
    """To add an id twice changes nothing, neither the row nor who is over the limit."""
    grant = _added(store, clock)
    for change in (
        partial(store.advance, grant.id, 1, 2, "parent"),
        partial(store.end, grant.id, "logout"),
    ):
        change()
        before = _row(store, grant)
        _expect(store.add(replace(grant, scope="other"), 1), (), "ids that `add` ended")
        _same_row(_row_or_none(store, grant), before)


@_case
def _add_keeps_a_first_parent(store: Store, clock: Clock) -> None:
    """A row begins with the parent that it is given: what led to it comes again as generation 0."""
    grant = _added(store, clock, parent="what led to it")
    _same_row(_row_or_none(store, grant), grant)
    for target in (0, 1):
        _expect(store.advance(grant.id, 0, target, "again").advanced, False, "advanced from 0")
    _same_row(_row_or_none(store, grant), grant)
    row = _rotated(store, clock, grant)
    _expect(store.add(grant, 100), (), "ids that `add` ended")
    _same_row(_row_or_none(store, grant), row)


@_case
def _many_that_add_one_id_make_one_row(store: Store, clock: Clock) -> None:
    """Of many that add the same id one makes the row, and none ends another for it."""
    subject, living = _several(store, clock, 2)
    grant = _new_grant(clock, subject=subject, parent="what led to it")
    answers = _race(RACERS, lambda number: store.add(replace(grant, scope=f"s{number}"), 3))
    _expect(set(answers), {()}, "ids that `add` ended")
    row = _row(store, grant)
    _same_row(row, replace(grant, scope=row.scope))
    _expect(len(store.grants(subject)), 3, "living")
    store.end(grant.id, "logout")
    ended = _row(store, grant)
    answers = _race(RACERS, lambda _: store.add(grant, 1))
    _expect(set(answers), {()}, "ids that `add` ended, of an ended grant")
    _same_row(_row_or_none(store, grant), ended)
    _expect(set(_ids(store.grants(subject))), set(_ids(living)), "living")


@_case
def _add_stamps_the_beginning(store: Store, clock: Clock) -> None:
    """`add` sets created_at to the store's now, and nothing sets it later."""
    for wrong in (-3600, 3600):
        grant = _added(store, clock, created_at=clock() + wrong)
        begun = _row(store, grant).created_at
        _is_now(begun, clock, "created_at")
        clock.advance(100)
        store.advance(grant.id, 1, 2, "parent")
        store.use(grant.id)
        store.add(grant, 100)
        _expect(_row(store, grant).created_at, begun, "created_at later")


@_case
def _add_ends_the_oldest_over_the_limit(store: Store, clock: Clock) -> None:
    """`add` ends the oldest of its subject that are over the limit, and returns their ids."""
    subject = identifier()
    grants = [_new_grant(clock, subject=subject, after=number) for number in range(5)]
    for number, grant in enumerate(grants):
        _expect(store.add(grant, 3), _ids(grants[max(number - 3, 0) : max(number - 2, 0)]), "ended")
    _expect(_ids(store.grants(subject)), _ids(reversed(grants[2:])), "living")
    for grant in grants[:2]:
        _has_ended(_row(store, grant), grant, clock, "limit")
    _has(_all_ended(store, None).grant_ids, grants[:2], "`ended` after `add`")


@_case
def _add_ends_all_over_a_smaller_limit(store: Store, clock: Clock) -> None:
    """Where the limit has become smaller, `add` ends several."""
    subject, grants = _several(store, clock, 5)
    last = _new_grant(clock, subject=subject, after=5)
    _expect(set(store.add(last, 2)), set(_ids(grants[:4])), "ended")
    _expect(_ids(store.grants(subject)), _ids((last, grants[4])), "living")


@_case
def _add_counts_the_living_of_one_subject(store: Store, clock: Clock) -> None:
    """The limit counts the living grants of one subject: none that ended or expired, no others."""
    other = _added(store, clock)
    subject, (ended, living) = _several(store, clock, 2)
    _added(store, clock, subject=subject, life=100, after=1)
    store.end(ended.id, "logout")
    clock.advance(101)
    _expect(store.add(_new_grant(clock, subject=subject), 2), (), "ids that `add` ended")
    _expect(_row(store, living).ended_at, None, "ended_at")
    _expect(_row(store, other).ended_at, None, "ended_at of another subject's grant")


@_case
def _adds_at_once_keep_to_the_limit(store: Store, clock: Clock) -> None:
    """However many logins come at once, no more live than the limit allows, and none is lost."""
    subject = identifier()
    grants = [_new_grant(clock, subject=subject) for _ in range(RACERS)]
    ended = _race(len(grants), lambda number: store.add(grants[number], 5))
    living = _ids(store.grants(subject))
    _expect(len(living), 5, "living")
    _expect(sorted(chain(living, *ended)), sorted(_ids(grants)), "living or ended, each once")


# --- advance


@_case
def _advance_swaps_and_returns_the_new_row(store: Store, clock: Clock) -> None:
    """`advance` sets generation, parent and rotated_at, and returns the row as it now is."""
    grant = _added(store, clock)
    clock.advance(100)
    rotated = _rotated(store, clock, grant)
    _same_row(_row_or_none(store, grant), rotated)
    advanced, row = store.advance(grant.id, 2, 9, None)
    _expect((advanced, _there(row).generation, _there(row).parent), (True, 9, None), "a restore")


@_case
def _advance_to_the_same_generation_reads(store: Store, clock: Clock) -> None:
    """Where source is target `advance` writes nothing and says so, whatever the generation is."""
    grant = _added(store, clock)
    clock.advance(100)
    for generation in (1, 1, 2, 0):
        _same_row(_not_advanced(store, grant, generation, generation), grant)


@_case
def _advance_from_another_generation_does_nothing(store: Store, clock: Clock) -> None:
    """`advance` swaps only where the generation is the source; else it returns the row as it is."""
    grant = _added(store, clock, generation=5)
    for source, target in ((4, 5), (4, 6), (6, 7), (1, 2)):
        _same_row(_not_advanced(store, grant, source, target), grant)


@_case
def _advance_of_an_ended_grant_does_nothing(store: Store, clock: Clock) -> None:
    """What has ended never advances, and the row says that it has ended."""
    grant = _added(store, clock)
    store.end(grant.id, "logout")
    for _ in range(2):
        _has_ended(_there(_not_advanced(store, grant, 1, 2)), grant, clock, "logout")


@_case
def _advance_of_a_bound_grant_does_nothing(store: Store, clock: Clock) -> None:
    """A grant that is bound to a key never advances, whoever asks; it can be used and ended."""
    given: dict[str, Any] = {"label": "phone", "idle_limit": 60.0, "is_session": True}
    grant = _added(store, clock, bound_key="Q" * 43, **given)
    _same_row(_row_or_none(store, grant), grant)
    clock.advance(100)
    for source, target in ((1, 2), (1, 9), (2, 3), (1, 1)):
        _same_row(_not_advanced(store, grant, source, target), grant)
    store.use(grant.id)
    row = _there(_row_or_none(store, grant))
    _is_now(row.last_used_at or 0.0, clock, "last_used_at")
    _expect(store.end(grant.id, "logout"), True, "was alive")
    _has_ended(_there(_not_advanced(store, grant, 1, 2)), row, clock, "logout")


@_case
def _advance_of_an_expired_grant_does_nothing(store: Store, clock: Clock) -> None:
    """What is past its end never advances; the row is kept until then."""
    grant = _added(store, clock, life=100)
    clock.advance(100 - SKEW - 1)
    _expect(store.advance(grant.id, 1, 2, None).advanced, True, "advanced shortly before")
    clock.advance(2 * SKEW + 2)
    row = _not_advanced(store, grant, 2, 3)
    _expect(row is None or row.generation == 2, True, "untouched")


@_case
def _each_grant_lasts_as_long_as_it_says(store: Store, clock: Clock) -> None:
    """Grants of one subject end each at its own time: none keeps another alive, or ends it."""
    subject = identifier()
    long, short, middle = (
        _added(store, clock, subject=subject, life=life) for life in (13 * MONTH, 100.0, MONTH)
    )
    for left, over in (((middle, long), short), ((long,), middle)):
        clock.advance(over.expires_at - clock() + SKEW + 1)
        _expect(_ids(store.grants(subject)), _ids(left), "living, the newest first")
        _expect(store.advance(over.id, 1, 2, None).advanced, False, "what is over advanced")
        for grant in left:
            _same_row(_row_or_none(store, grant), grant)
    clock.advance(12 * MONTH - 3 * SKEW - 3)
    _rotated(store, clock, long)


@_case
def _advance_of_nothing_returns_nothing(store: Store, clock: Clock) -> None:
    """For an id that doesn't exist `advance` returns no row, and makes none."""
    for target in (1, 2, 1):
        _expect(tuple(store.advance(identifier(), 1, target, None)), (False, None), "answer")


@_case
def _one_of_many_advances_wins(store: Store, clock: Clock) -> None:
    """Of many that swap the same generation one wins, and all get the row that the winner made."""
    grant = _added(store, clock)
    answers = _race(RACERS, lambda number: store.advance(grant.id, 1, 2, f"parent {number}"))
    winners = [number for number, answer in enumerate(answers) if answer.advanced]
    _expect(len(winners), 1, "winners")
    for answer in answers:
        row = _there(answer.grant)
        _expect((row.generation, row.parent), (2, f"parent {winners[0]}"), "row")


@_case
def _no_advance_is_lost_or_done_twice(store: Store, clock: Clock) -> None:
    """A grant that many advance has as many generations as there were wins."""
    grant = _added(store, clock)

    def climb(_: int) -> list[int]:
        won, seen = [], 1
        for _ in range(10):
            advanced, row = store.advance(grant.id, seen, seen + 1, None)
            if advanced:
                won.append(seen)
            seen = _there(row).generation
        return won

    won = [one for wins in _race(8, climb) for one in wins]
    generation = _row(store, grant).generation
    _expect(sorted(won), list(range(1, generation)), f"wins for generation {generation}")


@_case
def _nothing_advances_after_the_end(store: Store, clock: Clock) -> None:
    """Once `end` has returned nothing advances, however closely the two met."""
    for grant in [_added(store, clock) for _ in range(10)]:

        def work(number: int, grant: Grant = grant) -> int:
            if number == 0:
                store.end(grant.id, "logout")
                return _row(store, grant).generation
            seen = 1
            for _ in range(5):
                seen = _there(store.advance(grant.id, seen, seen + 1, None).grant).generation
            return seen

        at_the_end, *_ = _race(4, work)
        row = _row(store, grant)
        _expect(row.generation, at_the_end, "generation after the end")
        _expect(row.end_reason, "logout", "end_reason")


# --- use, and what else of a row isn't the rotation's


@_case
def _what_a_login_brings_of_its_own_stays(store: Store, clock: Clock) -> None:
    """Label, idle limit, session flag and last use come back as added, whatever is done then."""
    plain = _added(store, clock)
    rows = [
        _added(store, clock, subject=plain.subject, **given)
        for given in (
            {"label": "Zoë's 'phone' 🧑‍💻 %s {0} \\"},
            {"label": ""},
            {"idle_limit": 5400.25},
            {"is_session": True},
            {"last_used_at": clock() - 50},
            {"label": "long " * 1000, "idle_limit": 60.0, "is_session": True},
        )
    ]
    for number, grant in enumerate(rows):
        _same_row(_row_or_none(store, grant), grant)
        _expect(store.add(replace(grant, label="another"), 100), (), "ids that `add` ended")
        _same_row(_row_or_none(store, grant), grant)
        row = _rotated(store, clock, grant)
        (found,) = (one for one in store.grants(grant.subject) if one.id == grant.id)
        _same_row(found, row)
        if number % 2:
            store.end(grant.id, "logout")
            _has_ended(_row(store, grant), row, clock, "logout")
    store.add(replace(plain, label="added twice", is_session=True), 100)
    _same_row(_row_or_none(store, plain), plain)


@_case
def _use_is_recorded_and_changes_nothing_else(store: Store, clock: Clock) -> None:
    """`use` sets last_used_at to now, as often as it is called, and nothing else of the row."""
    for given in ({}, {"label": "phone", "idle_limit": 60.0, "is_session": True}):
        grant = _added(store, clock, **given)
        for _ in range(2):
            clock.advance(100)
            store.use(grant.id)
            row = _row(store, grant)
            _is_now(row.last_used_at, clock, "last_used_at")
            _same_row(row, replace(grant, last_used_at=row.last_used_at))


@_case
def _use_stays_whatever_comes_after(store: Store, clock: Clock) -> None:
    """What `use` recorded stays when the grant rotates, and when it ends."""
    grant = _added(store, clock)
    store.use(grant.id)
    used_at = _row(store, grant).last_used_at
    clock.advance(100)
    row = _rotated(store, clock, replace(grant, last_used_at=used_at))
    for one in (_row(store, grant), store.grants(grant.subject)[0]):
        _same_row(one, row)
    store.end(grant.id, "logout")
    _has_ended(_row(store, grant), row, clock, "logout")


@_case
def _use_of_an_ended_grant_does_nothing(store: Store, clock: Clock) -> None:
    """`use` of what has ended changes nothing, and brings nothing back to life."""
    subject, grants = _several(store, clock, 2)
    store.use(grants[1].id)
    store.end_subject(subject, "logout")
    before = [_row(store, grant) for grant in grants]
    clock.advance(100)
    for grant, row in zip(grants, before, strict=True):
        store.use(grant.id)
        _same_row(_row_or_none(store, grant), row)
    _expect(store.grants(subject), (), "living")


@_case
def _use_of_an_expired_grant_does_nothing(store: Store, clock: Clock) -> None:
    """`use` of what is past its end changes nothing."""
    grant = _added(store, clock, life=100)
    clock.advance(100 + SKEW + 1)
    store.use(grant.id)
    row = _row_or_none(store, grant)
    _expect(row is None or row.last_used_at is None, True, "untouched")


@_case
def _use_of_nothing_makes_nothing(store: Store, clock: Clock) -> None:
    """`use` of an id that doesn't exist is no error, and makes no row."""
    grant = _new_grant(clock)
    store.use(grant.id)
    _expect(_row_or_none(store, grant), None, "row")
    store.add(grant, 100)
    _same_row(_row_or_none(store, grant), grant)


@_case
def _uses_beside_rotations_lose_neither(store: Store, clock: Clock) -> None:
    """Of many that use, rotate and at last end a grant at once each leaves what is its own."""
    grant = _added(store, clock)

    def work(number: int) -> None:
        if number == 0:
            for seen in range(1, 20):
                _expect(store.advance(grant.id, seen, seen + 1, "p").advanced, True, "advanced")
        for _ in range(10 if number else 0):
            store.use(grant.id)

    _race(4, work)
    row = _row(store, grant)
    _expect((row.generation, row.ended_at), (20, None), "row")
    _is_now(row.last_used_at, clock, "last_used_at")

    def finish(number: int) -> None:
        if number:
            store.use(grant.id)
        else:
            store.end(grant.id, "logout")

    _race(4, finish)
    before = _row(store, grant)
    _expect((before.generation, before.end_reason), (20, "logout"), "row")


# --- end, end_subject


@_case
def _end_is_for_ever(store: Store, clock: Clock) -> None:
    """`end` says whether the grant was alive; a second end is no error and changes nothing."""
    grant = _added(store, clock)
    clock.advance(100)
    _expect(store.end(grant.id, "logout"), True, "the first `end`")
    before = _row(store, grant)
    _has_ended(before, grant, clock, "logout")
    clock.advance(100)
    _expect(store.end(grant.id, "reused"), False, "the second `end`")
    _expect(store.end_subject(grant.subject, "reused"), (), "`end_subject` after it")
    _same_row(_row_or_none(store, grant), before)


@_case
def _end_of_nothing_is_no_error(store: Store, clock: Clock) -> None:
    """To end an id that doesn't exist is no error, and a grant with that id later isn't ended."""
    grant = _new_grant(clock)
    _expect(store.end(grant.id, "logout"), False, "`end`")
    _expect(store.end_subject(grant.subject, "logout"), (), "`end_subject`")
    store.add(grant, 100)
    _same_row(_row_or_none(store, grant), grant)


@_case
def _one_of_many_ends_is_the_first(store: Store, clock: Clock) -> None:
    """Of many that end a grant one is told that it was alive, and its reason stays."""
    grant = _added(store, clock)
    answers = _race(RACERS, lambda number: store.end(grant.id, f"reason {number}"))
    _expect(answers.count(True), 1, "told that it was alive")
    _expect(_row(store, grant).end_reason, f"reason {answers.index(True)}", "end_reason")


@_case
def _end_subject_ends_all_of_one_subject(store: Store, clock: Clock) -> None:
    """`end_subject` ends all living grants of a subject, returns their ids, touches no others."""
    subject, (ended, *living) = _several(store, clock, 4)
    other = _added(store, clock)
    _added(store, clock, subject=subject, life=100, after=1)
    store.end(ended.id, "logout")
    clock.advance(101)
    _expect(set(store.end_subject(subject, "disabled")), set(_ids(living)), "ids")
    for grant in living:
        _has_ended(_row(store, grant), grant, clock, "disabled")
    _expect(_row(store, ended).end_reason, "logout", "end_reason of what had ended before")
    _same_row(_row_or_none(store, other), other)
    _expect(store.end_subject(subject, "disabled"), (), "ids at the second time")
    _has(_all_ended(store, None).grant_ids, living, "`ended` after `end_subject`")


# --- grants


@_case
def _grants_are_the_living_newest_first(store: Store, clock: Clock) -> None:
    """`grants` returns the living grants of a subject as they are now, the newest first."""
    subject, rows = _several(store, clock, 5)
    _added(store, clock, subject=subject, life=100)
    _added(store, clock)
    store.end(rows[3].id, "logout")
    rows[1] = _rotated(store, clock, rows[1])
    clock.advance(101)
    found = store.grants(subject)
    expected = [rows[4], rows[2], rows[1], rows[0]]
    _expect(_ids(found), _ids(expected), "ids")
    for row, grant in zip(found, expected, strict=True):
        _same_row(row, grant)
    _expect(store.grants(identifier()), (), "grants of nobody")


@_case
def _grants_are_complete(store: Store, clock: Clock) -> None:
    """`grants` returns all of them, however many there are."""
    subject, grants = _several(store, clock, 120)
    _expect(_ids(store.grants(subject)), _ids(reversed(grants)), "ids")


@_case
def _subjects_are_exact(store: Store, clock: Clock) -> None:
    """Two subjects are one only if every character is the same."""
    subjects = (
        "Ann",
        "ann",
        "ann ",
        " ann",
        "an%",
        "a_n",
        "\u00e1n",
        "a\u0301n",
        "\u0430nn",
        "ann'",
    )
    grants = {subject: _new_grant(clock, subject=subject) for subject in subjects}
    for grant in grants.values():
        store.add(grant, 1)
    for subject, grant in grants.items():
        _expect(_ids(store.grants(subject)), (grant.id,), f"grants of {subject!r}")
    _expect(store.end_subject("an%", "logout"), (grants["an%"].id,), "ended for 'an%'")
    _expect(_ids(store.grants("ann")), (grants["ann"].id,), "grants of 'ann'")


# --- ended


@_case
def _ended_begins_with_the_horizon(store: Store, clock: Clock) -> None:
    """For None `ended` returns what ended in the last `horizon` seconds, and nothing older."""
    old, young, living = (_added(store, clock, life=10 * RETENTION) for _ in range(3))
    store.end(old.id, "logout")
    clock.advance(120)
    store.end(young.id, "logout")
    clock.advance(RETENTION - 120 - SKEW)
    _has(_all_ended(store, None).grant_ids, (old, young), "within the retention")
    clock.advance(120)
    found = _all_ended(store, None).grant_ids
    _has(found, (young,), "within the retention")
    _has_none(found, (old, living), "beyond the retention, or alive")
    answer = _all_ended(store, None, RETENTION - 120)
    _has_none(answer.grant_ids, (old, young, living), "beyond the horizon, or alive")
    _has_none(_all_ended(store, answer.cursor).grant_ids, (old, young), "before the cursor")
    _has(_all_ended(store, None).grant_ids, (young,), "within the retention")


@_case
def _ended_goes_on_from_the_cursor(store: Store, clock: Clock) -> None:
    """With a cursor `ended` returns what has ended since, and what was read before no more."""
    grants = [_added(store, clock) for _ in range(4)]
    store.end(grants[0].id, "logout")
    cursor = _all_ended(store, None).cursor
    for before, grant in pairwise(grants):
        clock.advance(2)
        store.end(grant.id, "logout")
        answer = _all_ended(store, cursor)
        _has(answer.grant_ids, (grant,), "since the cursor")
        _has_none(answer.grant_ids, (before,), "since the cursor")
        clock.advance(2)
        store.end(_added(store, clock).id, "logout")
        answer = _all_ended(store, answer.cursor)
        _has_none(answer.grant_ids, (before, grant), "since the cursor")
        cursor = answer.cursor


@_case
def _ended_begins_anew_for_each_reader(store: Store, clock: Clock) -> None:
    """Readers don't take anything from one another: each has its own cursor."""
    first, second = (_added(store, clock) for _ in range(2))
    cursor = _all_ended(store, None).cursor
    store.end(first.id, "logout")
    _has(_all_ended(store, None).grant_ids, (first,), "for a new reader")
    answers = [_all_ended(store, cursor) for _ in range(2)]
    store.end(second.id, "logout")
    for answer in answers:
        _has(answer.grant_ids, (first,), "for each of two readers")
        _has(_all_ended(store, answer.cursor).grant_ids, (second,), "since that")
    _has(_all_ended(store, cursor).grant_ids, (first, second), "for one that comes late")


@_case
def _ended_finds_what_a_wrong_clock_stamped(store: Store, clock: Clock) -> None:
    """A reader with a cursor misses no end when the clock is set back or forward, by any time."""
    hour = 3600
    jumps = (
        *((-hour, hour), (hour, -hour), (-hour, 0), (2 * hour, 0)),
        *((-MONTH, MONTH), (MONTH, -MONTH), (-MONTH, 0), (2 * MONTH, 0)),
    )
    grants = [_added(store, clock, life=10 * MONTH) for _ in jumps]
    cursor = _all_ended(store, None).cursor
    for grant, (before, after) in zip(grants, jumps, strict=True):
        clock.advance(before)
        store.end(grant.id, "logout")
        clock.advance(after)
        answer = _all_ended(store, cursor)
        _has(answer.grant_ids, (grant,), f"after the clock was set by {before} and {after} seconds")
        cursor = answer.cursor


@_case
def _ended_comes_in_pages(store: Store, clock: Clock) -> None:
    """Each page of `ended` goes on where the former one ended, whatever ends in between."""
    begin = store.ended(None, RETENTION).cursor
    subject, grants = _several(store, clock, 9)
    late = _added(store, clock)
    for grant in grants[:4]:
        store.end(grant.id, "logout")
    store.end_subject(subject, "logout")
    for cursor in (None, begin):
        page = store.ended(cursor, RETENTION)
        store.end(late.id, "logout")
        for _ in range(2):
            rest = _all_ended(store, page.cursor)
            _has((*page.grant_ids, *rest.grant_ids), (*grants, late), "on all pages")


@_case
def _ended_goes_on_after_a_long_time(store: Store, clock: Clock) -> None:
    """A cursor that is older than `retention` goes on with the ends that are still kept."""
    cursors = [_all_ended(store, None).cursor]
    for grant in [_added(store, clock, life=10 * RETENTION) for _ in range(3)]:
        store.end(grant.id, "logout")
        cursors.append(_all_ended(store, cursors[-1]).cursor)
    clock.advance(RETENTION + SKEW + 1)
    _purge_all(store, clock)
    cursors.append(_all_ended(store, None).cursor)
    grant = _added(store, clock)
    store.end(grant.id, "logout")
    for cursor in cursors:
        _has(_all_ended(store, cursor).grant_ids, (grant,), "since the cursor")


@_case
def _no_reader_misses_an_end(store: Store, clock: Clock) -> None:
    """A reader that follows the cursor while others end grants finds every end."""
    grants = [_added(store, clock) for _ in range(40)]
    begin = _all_ended(store, None).cursor
    done: list[int] = []

    def read() -> set[str]:
        found, cursor, is_last = set[str](), begin, False
        while not is_last:
            is_last = len(done) == 4
            answer = _all_ended(store, cursor)
            found.update(answer.grant_ids)
            cursor = answer.cursor
        return found

    def work(number: int) -> set[str]:
        if number == 4:
            return read()
        try:
            for grant in grants[number::4]:
                store.end(grant.id, "logout")
                time.sleep(0.001)  # seconds, so that the reader is in their midst
        finally:
            done.append(number)
        return set()

    _has(_race(5, work)[4], grants, "what the reader found")


# --- end_before: mass ends, and is_living


@_case
def _is_living_says_whether_a_grant_has_ended(store: Store, clock: Clock) -> None:
    """`is_living` is true from `add` to the end, and for no id that was never added."""
    grant, other = _added(store, clock), _added(store, clock)
    _expect(store.is_living(grant.id), True, "after `add`")
    store.end(grant.id, "logout")
    _expect((store.is_living(grant.id), store.is_living(other.id)), (False, True), "after `end`")
    store.end_subject(other.subject, "logout")
    _expect(store.is_living(other.id), False, "after `end_subject`")
    _expect(store.is_living(_new_grant(clock).id), False, "of an id that was never added")


@_case
def _end_before_ends_what_began_before(store: Store, clock: Clock) -> None:
    """`end_before` ends every grant that began before the time, for each verb, and no later one."""
    subject, former = _several(store, clock, 3)
    rotated = _rotated(store, clock, former[0])
    store.end(former[1].id, "logout")
    clock.advance(10)
    mark = store.end_before(None)
    if mark is None:
        raise ContractBroken("`end_before` of now was refused")
    _is_now(mark.before, clock, "before")
    _is_now(mark.made_at, clock, "made_at")
    clock.advance(10)
    later = _added(store, clock, subject=subject)
    _expect(_ids(store.grants(subject)), (later.id,), "living")
    _expect(store.is_living(later.id), True, "the later one lives")
    _rotated(store, clock, later)
    for grant, generation in ((rotated, 2), (former[2], 1)):
        for target in (generation, generation + 1):
            row = _there(_not_advanced(store, grant, generation, target))
            _has_ended(row, grant, clock, END_BEFORE, since=10)
        _expect(store.is_living(grant.id), False, "lives")
        _expect(store.end(grant.id, "logout"), False, "`end` of one that ended by it")
        _expect(store.add(grant, 100), (), "ids that `add` of it ended")
        store.use(grant.id)
        _expect(_row(store, grant).last_used_at, None, "last_used_at")
        _expect(store.is_living(grant.id), False, "lives after all that")
    _expect(_row(store, former[1]).end_reason, "logout", "end_reason of what had ended before")
    _expect(store.end_subject(subject, "disabled"), (later.id,), "ids that `end_subject` ended")
    answer = _all_ended(store, None)
    _expect(answer.mark, mark, "the mark in `ended`")
    _has(answer.grant_ids, (former[1], later), "`ended` beside the mark")
    _has_none(answer.grant_ids, (former[0], former[2]), "`ended`, for which the mark is enough")


@_case
def _end_before_is_for_ever(store: Store, clock: Clock) -> None:
    """The mark stays, however long ago it was made, and when `purge` has deleted all it can."""
    grant = _added(store, clock, life=10 * RETENTION)
    clock.advance(10)
    mark = store.end_before(None)
    clock.advance(5 * RETENTION)
    _purge_all(store, clock)
    _expect(_all_ended(store, None).mark, mark, "the mark in `ended`")
    _expect(store.is_living(grant.id), False, "lives")
    _expect(store.advance(grant.id, 1, 2, None).advanced, False, "advanced")


@_case
def _end_before_leaves_room_for_new_logins(store: Store, clock: Clock) -> None:
    """The limit of `add` counts no grant that ended by the mark."""
    subject, _ = _several(store, clock, 3)
    clock.advance(10)
    store.end_before(None)
    clock.advance(10)
    added = [_new_grant(clock, subject=subject, after=number) for number in range(3)]
    for grant in added:
        _expect(store.add(grant, 3), (), "ids that `add` ended")
    _expect(_ids(store.grants(subject)), _ids(reversed(added)), "living")


@_case
def _end_before_is_one_mark_that_only_grows(store: Store, clock: Clock) -> None:
    """Of several times the latest counts; a time in the future is refused and changes nothing."""
    old = _added(store, clock)
    cursor = _all_ended(store, None).cursor
    clock.advance(50)
    young = _added(store, clock)
    clock.advance(50)
    _expect(store.end_before(clock() + 10 + SKEW), None, "the answer for a time in the future")
    _expect(_all_ended(store, None).mark, None, "the mark after that")
    first = store.end_before(clock() - 75)
    _expect((store.is_living(old.id), store.is_living(young.id)), (False, True), "they live")
    _expect(store.end_before(clock() - 1000), first, "the mark after an earlier time")
    second = store.end_before(clock() - 25)
    _expect((store.is_living(old.id), store.is_living(young.id)), (False, False), "they live")
    _expect(second is not None and first is not None and second > first, True, "the mark grew")
    _expect(_all_ended(store, cursor).mark, second, "the mark for a reader with a cursor")


@_case
def _a_login_after_a_mass_end_lives(store: Store, clock: Clock) -> None:
    """A grant that is added after `end_before` lives, also where the clock was set back since."""
    mark = store.end_before(None)
    for back in (0, 3600, MONTH):
        clock.advance(-back)
        grant = _added(store, clock, life=2 * MONTH)
        _expect(store.is_living(grant.id), True, "lives")
        advanced, row = store.advance(grant.id, 1, 2, "parent")
        _expect((advanced, _there(row).ended_at), (True, None), "advanced, ended_at")
        is_later = mark is not None and _there(row).created_at >= mark.before
        _expect(is_later, True, "it began after the time of the mark")


@_case
def _no_login_lives_on_beside_a_mass_end(store: Store, clock: Clock) -> None:
    """Of logins and rotations beside `end_before` each is before it and has ended, or after it."""
    grants = [_added(store, clock) for _ in range(8)]
    clock.advance(10)

    def work(number: int) -> Grant | None:
        if number == 0:
            store.end_before(None)
            return None
        store.advance(grants[number - 1].id, 1, 2, "parent")
        return _added(store, clock)

    late = [one for one in _race(9, work) if one is not None]
    mark = _all_ended(store, None).mark
    for grant in grants:
        _expect(store.is_living(grant.id), False, "one that began before lives")
    for grant in late:
        row = _row(store, grant)
        is_later = mark is not None and row.created_at >= mark.before
        _expect(row.ended_at is None, is_later, "one that began meanwhile lives")


# --- admit


@_case
def _admit_lets_a_key_pass_once(store: Store, clock: Clock) -> None:
    """`admit` says whether a key is seen for the first time, and remembers it until then."""
    for key in (identifier(), *_ODD_TEXTS):
        until = clock() + 100
        _expect(store.admit(key, until), True, "the first time")
        _expect(store.admit(key, until), False, "the second time")
        _expect(store.admit(key, until + 1000), False, "the second time, until later")
        _expect(store.admit(key + "x", until), True, "another key")
        clock.advance(100 + SKEW)
        _expect(store.admit(key, clock() + 100), True, "the first time after it was forgotten")
        _expect(store.admit(key, clock() + 100), False, "the second time after that")


@_case
def _admit_until_a_past_time_only_asks(store: Store, clock: Clock) -> None:
    """`admit` until a time that is over says whether the key is remembered, and remembers none."""
    key = identifier()
    for _ in range(2):
        _expect(store.admit(key, -1.0), True, "asked before")
    _expect(store.admit(key, clock() + 100), True, "the first time")
    for _ in range(2):
        _expect(store.admit(key, -1.0), False, "asked after")
    clock.advance(100 + SKEW)
    _expect(store.admit(key, -1.0), True, "asked when it was forgotten")


@_case
def _one_of_many_is_admitted(store: Store, clock: Clock) -> None:
    """Of many that bring the same key one is admitted."""
    key, until = identifier(), clock() + 100
    _expect(_race(RACERS, lambda _: store.admit(key, until)).count(True), 1, "admitted")


# --- purge


@_case
def _purge_forgets_what_has_expired(store: Store, clock: Clock) -> None:
    """`purge` forgets grants past their end and keys past theirs, says how many, and no others."""
    subject, (living, ended) = _several(store, clock, 2)
    expired = [_added(store, clock, subject=subject, life=100) for _ in range(3)]
    store.end(ended.id, "logout")
    before = _row(store, ended)
    young, old = identifier(), identifier()
    store.admit(young, clock() + GRANT_LIFE)
    store.admit(old, clock() + 100)
    clock.advance(100 + RETENTION)
    # Fewer where an engine has dropped some by itself; one is the record of an end.
    _expect(_purge_all(store, clock) in range(6), True, "as many as there were")
    for grant in expired:
        _expect(_row_or_none(store, grant), None, "an expired row")
    _same_row(_row_or_none(store, living), living)
    _same_row(_row_or_none(store, ended), before)
    _expect(_ids(store.grants(subject)), (living.id,), "grants")
    _expect(store.admit(young, clock() + GRANT_LIFE), False, "a key that isn't past its time")
    _expect(store.admit(old, clock() + GRANT_LIFE), True, "a key past its time")
    _expect(_purge_all(store, clock), 0, "forgotten at the second time")


@_case
def _purge_keeps_ends_for_the_readers(store: Store, clock: Clock) -> None:
    """A grant that ended is kept for `retention` after its end, or a reader would miss it."""
    grants = [_added(store, clock, life=100) for _ in range(2)]
    clock.advance(100 - SKEW - 1)
    store.end(grants[0].id, "logout")
    store.end_subject(grants[1].subject, "logout")
    clock.advance(2 * SKEW + 2)
    _purge_all(store, clock)
    _has(_all_ended(store, None).grant_ids, grants, "ended shortly before they expired")
    clock.advance(RETENTION + SKEW)
    _purge_all(store, clock)
    _has_none(_all_ended(store, None).grant_ids, grants, "ended before the retention")
    for grant in grants:
        _expect(_row_or_none(store, grant), None, "a row that nobody needs")


@_case
def _purge_at_infinity_goes_by_the_store_s_clock(store: Store, clock: Clock) -> None:
    """For infinity `purge` deletes what is over by the store's own clock, and nothing else."""
    living, ended = _added(store, clock), _added(store, clock)
    expired = _added(store, clock, life=100)
    key = identifier()
    store.admit(key, clock() + GRANT_LIFE)
    store.end(ended.id, "logout")
    clock.advance(100 + SKEW + 1)
    _purge_all(store, clock, inf)
    _expect(_row_or_none(store, expired), None, "an expired row")
    _same_row(_row_or_none(store, living), living)
    _has(_all_ended(store, None).grant_ids, (ended,), "`ended`")
    _expect(store.admit(key, clock() + GRANT_LIFE), False, "a key that isn't past its time")


# --- page: a store may lack it


@_case
def _page_lists_all_that_live(store: Store, clock: Clock) -> None:
    """`page`, if there is one, lists each grant that lives, and none that has ended in any way."""
    page = getattr(store, "page", None)
    if page is None:
        return
    over = [_added(store, clock), _added(store, clock, life=5)]
    clock.advance(5 + SKEW + 1)
    store.end_before(None)
    clock.advance(1)
    over.append(_added(store, clock))
    store.end(over[-1].id, "logout")
    living = {grant.id: grant for grant in (_added(store, clock) for _ in range(7))}
    found, position = list[Grant](), None
    for _ in range(1000):
        grants, position = page(position, 3)
        found += grants
        if position is None:
            break
    else:
        raise ContractBroken("`page` never comes to an end")
    _has(_ids(found), living.values(), "listed")
    _has_none(_ids(found), over, "listed")
    for row in found:
        _same_row(row, living[row.id])


# All cases, in the order of the contract's verbs.
CASES: Final = tuple(_cases)


# --- what the cases are made of

_ODD_TEXTS = (
    "'; DROP TABLE grants; --",
    'back\\slash "quoted" %s %(x)s {0} $1 :name ?',
    "Zoë Ωmega 李雷 🧑‍💻 \u202eright to left\u202c",
    "{grants}:*?[a-z]",
    "long " * 1000,
    "  spaces  ",
)
_CLAIMS = FrozenDict(
    roles=("editor", "Zoë 🧑‍💻"),
    address=FrozenDict({"": None, "street": 'a "b" \\ c\n\u2028'}),
    list=((), FrozenDict(deep=((1, 2.5, 1e300),)), False),
    large=2**60 + 1,
    empty=FrozenDict(),
)


def _new_grant(
    clock: Clock,
    *,
    subject: str | None = None,
    life: float = GRANT_LIFE,
    after: float = 0,
    **fields: Any,
) -> Grant:
    # `after`: milliseconds, so that it is clear which one is older.
    now = clock() + after / 1000
    subject = identifier() if subject is None else subject
    plain = bare_grant(new_grant_id(subject), subject, now=now, expires_at=now + life)
    return replace(plain, **{"client_id": "web", "scope": "read write", **fields})


def _added(store: Store, clock: Clock, **given: Any) -> Grant:
    """Add a new grant, where no limit matters, and return it."""
    grant = _new_grant(clock, **given)
    store.add(grant, 1000)
    return grant


def _several(store: Store, clock: Clock, count: int) -> tuple[str, list[Grant]]:
    """Add grants of one new subject, the oldest first; return the subject, and them."""
    subject = identifier()
    return subject, [_added(store, clock, subject=subject, after=one) for one in range(count)]


def _odd_grants(clock: Clock) -> Iterable[Grant]:
    for text in _ODD_TEXTS:
        words: dict[str, Any] = dict.fromkeys(("client_id", "scope", "bound_key", "parent"), text)
        yield _new_grant(clock, subject=text, claims=FrozenDict({text: text}), **words)
    # The rule of rotation looks a few generations around; a client of ten years has 5 million.
    yield _new_grant(clock, claims=_CLAIMS, generation=2**31 + 1, scope="", client_id="")


def _row_or_none(store: Store, grant: Grant) -> Grant | None:
    return store.advance(grant.id, grant.generation, grant.generation, None).grant


def _row(store: Store, grant: Grant) -> Grant:
    return _there(_row_or_none(store, grant))


def _purge_all(store: Store, clock: Clock, now: float | None = None) -> int:
    counts = list(islice(iter(lambda: store.purge(clock() if now is None else now), 0), 1000))
    if len(counts) == 1000:
        raise ContractBroken("`purge` never comes to an end")
    return sum(counts)


def _all_ended(store: Store, cursor: Cursor | None, horizon: float = RETENTION) -> Ended:
    """Return what has ended since a cursor, of all pages, and what the last page says beside."""
    found: list[str] = []
    for _ in range(1000):
        answer = store.ended(cursor, horizon)
        _expect(len(answer.grant_ids) <= PAGE, True, "at most `PAGE` ids in an answer")
        found += answer.grant_ids
        cursor = answer.cursor
        if not answer.more:
            return answer._replace(grant_ids=tuple(found))
    raise ContractBroken("`ended` says for ever that there is more")


def _ids(grants: Iterable[Grant]) -> tuple[str, ...]:
    return tuple(grant.id for grant in grants)


def _there(row: Grant | None) -> Grant:
    if row is None:
        raise ContractBroken("There is no row.")
    return row


def _expect(found: object, expected: object, what: str) -> None:
    if found != expected:
        raise ContractBroken(f"{what}: found {found!r}, expected {expected!r}")


def _same_row(found: Grant | None, expected: Grant) -> None:
    row = _there(found)
    for one in fields(Grant):
        mine, yours = getattr(expected, one.name), getattr(row, one.name)
        # `add` stamps it with the store's clock.
        most = SKEW if one.name == "created_at" else 0.001
        if isinstance(mine, float) and isinstance(yours, float) and abs(mine - yours) < most:
            continue
        _expect(yours, mine, one.name)


def _is_now(found: float | None, clock: Clock, what: str) -> None:
    if found is None or abs(found - clock()) > SKEW:
        raise ContractBroken(f"{what}: found {found!r}, expected {clock()!r} or nearly so")


def _has_ended(row: Grant, before: Grant, clock: Clock, reason: str, *, since: float = 0) -> None:
    """Check that a row is the one before, ended `since` seconds ago for this reason, no more."""
    _same_row(row, replace(before, ended_at=row.ended_at, end_reason=reason))
    _is_now(None if row.ended_at is None else row.ended_at + since, clock, "ended_at")


def _rotated(store: Store, clock: Clock, grant: Grant) -> Grant:
    """Rotate a grant of the first generation, check the row that comes back, and return it."""
    advanced, row = store.advance(grant.id, 1, 2, "parent")
    _expect(advanced, True, "advanced")
    row = _there(row)
    _is_now(row.rotated_at, clock, "rotated_at")
    _same_row(row, replace(grant, generation=2, parent="parent", rotated_at=row.rotated_at))
    return row


def _not_advanced(store: Store, grant: Grant, source: int, target: int) -> Grant | None:
    """Check that `advance` swaps nothing, and return the row that it returns."""
    advanced, row = store.advance(grant.id, source, target, "parent")
    _expect(advanced, False, f"advanced from {source}")
    return row


def _has(found: Iterable[str], grants: Iterable[Grant], what: str) -> None:
    _expect(set(_ids(grants)) - set(found), set(), f"{what}: missing")


def _has_none(found: Iterable[str], grants: Iterable[Grant], what: str) -> None:
    _expect(set(_ids(grants)) & set(found), set(), what)


def _race(count: int, work: Callable[[int], R]) -> list[R]:
    """Do something in many threads that begin at the same moment; return what each returned."""
    barrier = Barrier(count)

    def start(number: int) -> R:
        barrier.wait(VERB_PATIENCE)
        return work(number)

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(start, range(count)))


# --- both kinds of stores

Wait: TypeAlias = Callable[..., Any]  # calls something, and awaits what comes if it must be


@contextmanager
def _made_store(make: Make, clock: Clock) -> Generator[Store, None, None]:
    """Make a store, and give it as the cases call it; close it at the end, if it can be closed."""
    made: Any = make(clock, RETENTION)
    is_awaited = isawaitable(made) or iscoroutinefunction(made.advance)
    with _loop() if is_awaited else nullcontext[Wait](call) as wait:
        store = wait(lambda: made)
        try:
            yield cast("Store", _Synchronous(store, wait))
        finally:
            wait(getattr(store, "aclose", None) or getattr(store, "close", lambda: None))


@dataclass(frozen=True)
class _Synchronous:
    """A store of either kind as the cases call it: every verb returns when it is done."""

    _store: AnyStore
    _wait: Wait

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        return partial(self._wait, getattr(self._store, verb))


@contextmanager
def _loop() -> Generator[Wait, None, None]:
    """Run an event loop in a thread of its own, and yield what calls and awaits there."""

    async def step(verb: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        answer = verb(*args)
        return await answer if isawaitable(answer) else answer

    with Runner(loop_factory=new_event_loop) as runner:
        loop = runner.get_loop()
        thread = Thread(target=loop.run_forever)
        thread.start()
        try:
            yield lambda verb, *args: run_coroutine_threadsafe(step(verb, args), loop).result(
                VERB_PATIENCE
            )
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(VERB_PATIENCE)
