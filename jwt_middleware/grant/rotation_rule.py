"""The rotation rule, a pure function: what happens to a grant when a refresh token comes.

Every answer mints its own `jti`, and the row keeps `parent`, the `jti` that was exchanged for the
present generation. A client that presents the parent again (a lost response, a second tab, a retry
after days) gets another *sibling* of the present generation. If a sibling of the parent comes, two
clients hold copies, and one of them is a thief. The rule is model-checked, and
`tests/grant/test_rotation_model.py` calls these very functions: no honest client is ever logged
out, no thief is served beside the victim for long.

It has no races, because generations only grow: `advance` always answers with the row as it is now,
and the decision is made on that row.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from ..values.tokens import Grant


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The numbers of the rule."""

    settle: float  # seconds for which a young token is kept rather than rotated
    idle: float  # seconds without use after which a grant is over, if its row has no own limit
    restore: int  # generations that failovers may have lost


GATE = 3600.0  # seconds between two records of a use, or a tenth of the idle limit if that is less


class Presented(NamedTuple):
    """An authentic refresh token, and the thumbprint of the key whose proof came with it."""

    generation: int
    jti: str
    issued_at: float
    bound: bool = False  # the token is bound to a key
    key: str | None = None
    idle: float | None = None  # the row's own idle limit, which the token says; None: it has none


class Swap(NamedTuple):
    """What to ask the store for: `advance(grant_id, *swap)`. With source = target it only reads."""

    source: int
    target: int
    parent: str | None


class Outcome(Enum):
    """What happens to a token that was presented."""

    GONE = "gone"
    REFUSED = "refused"  # the grant is bound to another key; it stays as it is
    KEPT = "kept"  # a new access token; the client keeps the refresh token that it has
    ROTATED = "rotated"
    REPEATED = "repeated"  # another sibling of the present generation
    RESTORED = "restored"  # the store had lost a write; otherwise as kept
    AHEAD = "ahead"  # the store is an old backup: refused, the grant stays as it is
    REUSED = "reused"  # the grant ends, then the client is refused


def first(presented: Presented, now: float, limits: Limits) -> Swap:
    """Return the first swap to ask for: a rotation, unless the token is too young for one."""
    generation = presented.generation
    # A token that is older than the idle limit only reads the row, because the grant may be over,
    # and a rotation would record a use. So the token itself must say which limit its row has.
    if (
        presented.bound
        or _is_young(presented, now, limits)
        or now > presented.issued_at + (presented.idle or limits.idle)
    ):
        return Swap(generation, generation, None)
    return Swap(generation, generation + 1, presented.jti)


def decide(
    presented: Presented, swap: Swap, advanced: bool, row: Grant | None, now: float, limits: Limits
) -> Outcome | Swap:
    """Return what happens to the token, or the next swap to try. The first rule that matches wins.

    Args:
        presented: the token.
        swap: what the store was asked for.
        advanced: whether the store did it.
        row: the grant as it is after that; None: there is none.
        now: seconds since 1970-01-01 UTC, of this process.
        limits: the numbers of the rule.

    """
    if (
        row is None
        or row.ended_at is not None
        or now >= row.expires_at
        or _is_unused(presented, row, now, limits)
    ):
        return Outcome.GONE
    if row.bound_key is not None:
        # Whoever has proved the key is no thief of the token alone, so that there is nothing to
        # find out by rotation: neither which token came counts, nor how often.
        return Outcome.KEPT if row.bound_key == presented.key else Outcome.REFUSED
    if advanced:
        return Outcome.ROTATED if swap.target > presented.generation else Outcome.RESTORED
    ahead = presented.generation - row.generation
    if ahead == 0:
        if _is_young(presented, now, limits):
            return Outcome.KEPT
        return Swap(row.generation, row.generation + 1, presented.jti)
    # After a restore the parent is unknown (None): any token of the last generation may be it.
    if ahead == -1 and row.parent in (presented.jti, None):
        return Outcome.REPEATED
    if 0 < ahead <= limits.restore:
        return Swap(row.generation, presented.generation, None)
    return Outcome.AHEAD if ahead > 0 else Outcome.REUSED


def gate(idle: float) -> float:
    """Return the seconds for which a use isn't recorded again."""
    return min(GATE, idle / 10)


def is_use_due(row: Grant, now: float, limits: Limits) -> bool:
    """Say whether a served refresh must be recorded: the last record is old."""
    return now - row.used_at >= gate(_idle_limit(row, limits))


def is_over(row: Grant, now: float, limits: Limits) -> bool:
    """Say whether no refresh token of a grant can be good any more, because none was used."""
    # The latest one was made at most a gate after the last use that is recorded.
    idle = _idle_limit(row, limits)
    return now > row.used_at + idle + 2 * gate(idle)


def _is_unused(presented: Presented, row: Grant, now: float, limits: Limits) -> bool:
    # A rotation is always recorded, any other refresh at most once per gate. So the last record may
    # be older than the last use by one gate, which is added to the limit. The token's own time
    # counts, too: it was made by a refresh, whose record a failover may have lost.
    idle = _idle_limit(row, limits)
    return now > max(row.used_at, presented.issued_at) + idle + gate(idle)


def _idle_limit(row: Grant, limits: Limits) -> float:
    return row.idle_limit or limits.idle


def _is_young(presented: Presented, now: float, limits: Limits) -> bool:
    # The token's own `iat` counts, not the row's time: a sibling that was made late is young, too.
    return now < presented.issued_at + limits.settle
