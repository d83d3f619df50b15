"""What a store does with the grants of one subject, one step after another: pure, without a clock.

It is the contract of `jwt_middleware.stores` as briefly as it can be said. Times aren't modelled:
the contract suite looks at them. All grants live longer than a history, so none expires. An answer
is what a store answers, in a form that JSON keeps: ids that come in any order are sorted, and of a
row there is what is modelled of it.

The oldest grant is the one that was added first: also where a store goes by `created_at`, which it
stamps in the same step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

from jwt_middleware.values.tokens import Grant


class Row(NamedTuple):
    """What is modelled of a grant."""

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
    """One call of a verb. Where it is about one grant, `subject` is that of the grant."""

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


def row(grant: Grant) -> Row:
    """Return what is modelled of a grant that a store has returned."""
    is_ended = grant.ended_at is not None
    return Row(grant.id, grant.generation, grant.parent, is_ended, grant.end_reason)


def _add(state: State, grant_id: str, limit: int) -> tuple[State, Answer]:
    if any(one.grant_id == grant_id for one in state):
        return state, ()
    others = _living(state)
    grown = (*state, Row(grant_id, 1, None, False, None))
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


def _is_living(state: State, grant_id: str) -> tuple[State, Answer]:
    return state, grant_id in _living(state)


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
    "is_living": _is_living,
}
