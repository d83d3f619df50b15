"""The rotation rule, pure: what becomes of a grant when a refresh token is presented.

Every answer mints its own `jti`, and the row keeps `parent`, the `jti` that was exchanged for the
present generation. A client that presents the parent again (a lost response, a second tab, a retry
after days) gets another *sibling* of the present generation. A sibling of the parent that is
presented shows two holders, of whom one is a thief. The rule is model-checked, and
`tests/grant/test_rotation_model.py` calls these very functions: no honest client is ever logged
out, no thief is served beside the victim for long.

It is free of races because generations only grow: whatever happened since, `advance` answers with
the row as it is, and the decision is made on that row.
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
    idle: float  # seconds without use after which a grant is gone, where its row has no own
    restore: int  # generations that failovers may have lost


GATE = 3600.0  # seconds; at most so often is a use recorded, or after a tenth of the idle limit


class Presented(NamedTuple):
    """An authentic refresh token, and the thumbprint of the key that was proven with it."""

    generation: int
    jti: str
    issued_at: float
    bound: bool = False  # the token is bound to a key
    key: str | None = None


class Swap(NamedTuple):
    """What to ask the store for: `advance(grant_id, *swap)`. With source = target it only reads."""

    source: int
    target: int
    parent: str | None


class Outcome(Enum):
    """What becomes of a presented token."""

    GONE = "gone"
    REFUSED = "refused"  # a bound grant, another key: the grant stays untouched
    KEPT = "kept"  # a new access token; the client keeps the refresh token that it has
    ROTATED = "rotated"
    REPEATED = "repeated"  # another sibling of the present generation
    RESTORED = "restored"  # the store had lost a write; then as kept
    AHEAD = "ahead"  # an old backup: gone, the grant stays untouched
    REUSED = "reused"  # the grant ends, then the answer


def first(presented: Presented, now: float, limits: Limits) -> Swap:
    """Return the first thing to ask: a rotation where the token alone doesn't speak against it."""
    generation = presented.generation
    if (
        presented.bound
        or _is_young(presented, now, limits)
        or now > presented.issued_at + limits.idle
    ):
        return Swap(generation, generation, None)
    return Swap(generation, generation + 1, presented.jti)


def decide(
    presented: Presented, swap: Swap, advanced: bool, row: Grant | None, now: float, limits: Limits
) -> Outcome | Swap:
    """Return what becomes of the token, or the next swap to try. The first line that matches wins.

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
    if row.bound_key is not None and row.bound_key != presented.key:
        return Outcome.REFUSED
    if advanced:
        return Outcome.ROTATED if swap.target > presented.generation else Outcome.RESTORED
    ahead = presented.generation - row.generation
    if ahead == 0:
        if row.bound_key is not None or _is_young(presented, now, limits):
            return Outcome.KEPT
        return Swap(row.generation, row.generation + 1, presented.jti)
    # No parent is known after a restore: then any sibling of the last generation may be the one.
    if ahead == -1 and row.parent in (presented.jti, None):
        return Outcome.REPEATED
    if 0 < ahead <= limits.restore:
        return Swap(row.generation, presented.generation, None)
    return Outcome.AHEAD if ahead > 0 else Outcome.REUSED


def last_use(row: Grant) -> float:
    """Return when the grant last served a refresh, as far as that was recorded."""
    return max(row.rotated_at, row.last_used_at or 0.0)


def gate(idle: float) -> float:
    """Return the seconds within which a use isn't recorded once more."""
    return min(GATE, idle / 10)


def is_use_due(row: Grant, now: float, limits: Limits) -> bool:
    """Say whether a served refresh is to be recorded: no rotation has, and the last is old."""
    return now - last_use(row) >= gate(row.idle_limit or limits.idle)


def _is_unused(presented: Presented, row: Grant, now: float, limits: Limits) -> bool:
    # A rotation is recorded by itself, every other served refresh at most once per gate: so a gate
    # more than the limit may have passed since the last record, and not since the last use. The
    # token, too, was minted for a refresh that was served; a failover may have lost the record.
    idle = row.idle_limit or limits.idle
    return now > max(last_use(row), presented.issued_at) + idle + gate(idle)


def _is_young(presented: Presented, now: float, limits: Limits) -> bool:
    # By the token's own `iat`, not by the row's clock: a sibling that was minted late is young,
    # too.
    return now < presented.issued_at + limits.settle
