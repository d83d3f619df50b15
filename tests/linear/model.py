"""What a store does with the grants of one subject, one step after another: pure, without a clock.

It is the contract of `jwt_middleware.stores` as briefly as it can be said. Times aren't modelled:
the contract suite looks at them. All grants live longer than a history, so none expires. An answer
is what a store answers, in a form that JSON keeps: ids that come in any order are sorted, and of a
row there is what is modelled of it.

The oldest grant is the one that was added first; or, where a store goes by `created_at` (and by ids
where two are equal), the one that is the oldest by the clock of whoever added it. So a grant has an
`age`, and a state is in the order of ages. Where all are equal, that is the order of adding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

from jwt_middleware.values.tokens import Grant

Age: TypeAlias = tuple[()] | tuple[float, str]


class Row(NamedTuple):
    """What is modelled of a grant."""

    age: Age
    grant_id: str
    generation: int
    parent: str | None
    is_ended: bool
    end_reason: str | None


State: TypeAlias = tuple[Row, ...]  # the grants of one subject, the oldest first
Answer: TypeAlias = Any
EMPTY: Final[State] = ()
UNKNOWN: Final = "unknown"  # the answer of what may have happened or not; no verb answers with it


class Call(NamedTuple):
    """One call of a verb. The subject of an `add`, `end` or `advance` is that of the grant."""

    subject: str
    verb: str
    args: tuple[Any, ...]


def step(state: State, call: Call, answer: Answer) -> State | None:
    """Return the state after a call that was answered so; None: this answer is impossible here."""
    after, expected = perform(state, call)
    return after if answer in (UNKNOWN, expected) else None


def perform(state: State, call: Call) -> tuple[State, Answer]:
    """Return the state after a call, and its one possible answer."""
    return _VERBS[call.verb](state, *call.args)


def age(grant: Grant, *, by_creation: bool) -> Age:
    """Return what a store orders a grant by, beside the order of adding."""
    return (grant.created_at, grant.id) if by_creation else ()


def row(grant: Grant, *, by_creation: bool) -> Row:
    """Return what is modelled of a grant that a store has returned."""
    is_ended = grant.ended_at is not None
    return Row(
        age(grant, by_creation=by_creation),
        grant.id,
        grant.generation,
        grant.parent,
        is_ended,
        grant.end_reason,
    )


def _add(state: State, grant_id: str, limit: int, age: Age = ()) -> tuple[State, Answer]:
    if any(one.grant_id == grant_id for one in state):
        return state, ()
    others = _living(state)
    grown = (*state, Row(age, grant_id, 1, None, False, None))
    grown = tuple(sorted(grown, key=lambda one: one.age))
    return _ended(grown, others[: max(len(others) + 1 - limit, 0)], "limit")


def _advance(
    state: State, grant_id: str, source: int, target: int, parent: str | None
) -> tuple[State, Answer]:
    found = next((one for one in state if one.grant_id == grant_id), None)
    if found is None or found.is_ended or found.generation != source or source == target:
        return state, (False, found)
    after = found._replace(generation=target, parent=parent)
    return tuple(after if one is found else one for one in state), (True, after)


def _end(state: State, grant_id: str, reason: str) -> tuple[State, Answer]:
    state, ids = _ended(state, [one for one in _living(state) if one == grant_id], reason)
    return state, bool(ids)


def _end_subject(state: State, reason: str) -> tuple[State, Answer]:
    return _ended(state, _living(state), reason)


def _grants(state: State) -> tuple[State, Answer]:
    return state, tuple(one for one in reversed(state) if not one.is_ended)


def _living(state: State) -> list[str]:
    return [one.grant_id for one in state if not one.is_ended]


def _ended(state: State, ids: list[str], reason: str) -> tuple[State, Answer]:
    after = tuple(
        one._replace(is_ended=True, end_reason=reason) if one.grant_id in ids else one
        for one in state
    )
    return after, tuple(sorted(ids))


_VERBS: Final[dict[str, Callable[..., tuple[State, Answer]]]] = {
    "add": _add,
    "advance": _advance,
    "end": _end,
    "end_subject": _end_subject,
    "grants": _grants,
}
