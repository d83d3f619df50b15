"""What counts as a use, model-checked: all runs of one client and one grant, over days.

**What is modelled.** One grant and one client that holds one token. It refreshes whenever it likes,
and adopts the token of an answer or doesn't: the answer was lost, or it is a client that goes on
with its first token for ever. Beside it, somebody reads the row (a list of the user's devices), and
somebody without the key of a bound grant is refused. A failover of the server's store may lose the
last writes. The rule's own `first` and `decide` are asked; what is recorded, `Rule.records` says.

**The two properties.** No *logout*: a refresh is Gone only where the last one that was served is
longer ago than the idle limit. Nothing *undead*: where the last one that was served is longer ago
than the limit and one gate, every refresh is Gone, whatever was read or refused meanwhile. The
absolute end is left out: it comes, whatever is used.

**Why a model of its own.** `rotation_model.py` runs in ticks of 15 seconds, and an idle limit has
tens of thousands of them. Here a tick is half a gate, or a gate. Neither needs what the other has:
a request takes seconds, so that in these ticks no two are under way at once; and who is a thief is
decided by generations and names, in which the idle limit has no part. All that the limit does is to
refuse more, which can't worsen what that model shows about victims and thieves.

**Why it is enough.** The rule compares sums of a time and a limit. All times are whole ticks here,
and limit and gate are whole numbers of ticks, so every inequality is met with less, equal and more.
Between the ticks nothing else can happen; the tests repeat it in finer ticks. A
state keeps distances only, and all that is older than limit and gate is equally old. So the states
are finitely many, and are searched whole.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from jwt_middleware.grant import rotation_rule as rotation
from jwt_middleware.grant.rotation_rule import Limits, Outcome, Presented, Swap
from jwt_middleware.values.tokens import FrozenDict, Grant
from tests.rotation_model import SERVED, Decide, First

HOUR = 3600
IDLE = 10 * HOUR  # the gate is an hour

Records = Callable[[Outcome | None, Grant, float, Limits], bool]


def records(outcome: Outcome | None, row: Grant, now: float, limits: Limits) -> bool:
    """Say whether a use is recorded, after the decision; None: the row was only read."""
    idle = row.idle_limit or limits.idle
    return outcome in SERVED and now - row.used_at >= rotation.gate(idle)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """The rule as it is, or broken on purpose."""

    first: First = rotation.first
    decide: Decide = rotation.decide
    records: Records = records
    idle: float = IDLE  # seconds, of the settings

    @property
    def limits(self) -> Limits:
        """Return the numbers of the rule; a tick is longer than `settle`."""
        return Limits(settle=60, idle=self.idle, restore=8)


@dataclass(frozen=True, kw_only=True)
class World:
    """What may happen in a run."""

    adopts: tuple[bool, ...] = (True, False)  # what the client does with the token of an answer
    bound: bool = False  # the grant is bound to a key, which not everybody has
    idle_limit: float | None = None  # seconds, of the row
    lost_writes: int = 0  # by failovers
    tick: int = HOUR // 2  # seconds


class Row(NamedTuple):
    """The row of the grant; times are ages, in ticks."""

    generation: int
    parent: int | None
    rotated: int
    used: int | None


class State(NamedTuple):
    """Everything that matters at one moment. Ages are in ticks."""

    row: Row
    past: tuple[Row, ...]  # what a failover may bring back, the latest last
    generation: int  # of the client's token
    jti: int
    issued: int
    served: int  # the last refresh that was served
    losses: int


class Move(NamedTuple):
    """One thing that can happen."""

    what: str
    after: State
    outcome: Outcome | None = None


NEW = 99  # the name of a `jti` that was just minted


class Model:
    """The world's moves under a rule."""

    def __init__(self, rule: Rule, world: World) -> None:
        self.rule = rule
        self.world = world
        idle = world.idle_limit or rule.idle
        self.limit = idle / world.tick
        self.end = (idle + rotation.gate(idle)) / world.tick
        self.oldest = int(max(self.end, rule.idle / world.tick + 2)) + 1

    def start(self) -> State:
        """Return the state after a login."""
        return State(Row(0, None, 0, None), (), 0, 0, 0, 0, self.world.lost_writes)

    def _grant(self, row: Row) -> Grant:
        tick = self.world.tick
        return Grant(
            id="",
            subject="",
            client_id="",
            scope="",
            claims=FrozenDict(),
            bound_key="key" if self.world.bound else None,
            generation=row.generation,
            parent=None if row.parent is None else str(row.parent),
            rotated_at=self.now - row.rotated * tick,
            created_at=0,
            expires_at=2 * self.now,
            last_used_at=None if row.used is None else self.now - row.used * tick,
            idle_limit=self.world.idle_limit,
        )

    now = 1_800_000_000.0  # in every state: ages are what differs

    def refresh(self, state: State, key: str | None) -> tuple[State, Outcome]:
        """Present the client's token, and carry out what the rule says."""
        world, limits = self.world, self.rule.limits
        issued_at = self.now - state.issued * world.tick
        presented = Presented(
            state.generation, str(state.jti), issued_at, world.bound, key, world.idle_limit
        )
        decision: Outcome | Swap = self.rule.first(presented, self.now, limits)
        while isinstance(decision, Swap):
            swap, row = decision, state.row
            advanced = row.generation == swap.source != swap.target and not world.bound
            if advanced:
                parent = None if swap.parent is None else int(swap.parent)
                row = row._replace(generation=swap.target, parent=parent, rotated=0)
                state = self._write(state, row)
            grant = self._grant(row)
            decision = self.rule.decide(presented, swap, advanced, grant, self.now, limits)
        return self._record(state, decision), decision

    def _record(self, state: State, outcome: Outcome | None) -> State:
        if self.rule.records(outcome, self._grant(state.row), self.now, self.rule.limits):
            return self._write(state, state.row._replace(used=0))
        return state

    def _write(self, state: State, row: Row) -> State:
        past = (*state.past, state.row)[-state.losses :] if state.losses else ()
        return state._replace(row=row, past=past)

    def moves(self, state: State) -> Iterator[Move]:
        """Yield everything that can happen next."""
        after, outcome = self.refresh(state, "key" if self.world.bound else None)
        served = after._replace(served=0) if outcome in SERVED else after
        minted = outcome in (Outcome.ROTATED, Outcome.REPEATED)
        for adopts in self.world.adopts if minted else (False,):
            how = ", and the client adopts the new token" if adopts else ""
            held = served
            if adopts:
                held = served._replace(generation=after.row.generation, jti=NEW, issued=0)
            yield Move(f"a refresh: {outcome.value}{how}", held, outcome)
        if self.world.bound:
            after, outcome = self.refresh(state, "another key")
            yield Move(f"a refresh with another key: {outcome.value}", after)
        yield Move("somebody reads the row", self._record(state, None))
        for lost in range(1, min(state.losses, len(state.past)) + 1):
            back, past = state.past[-lost], state.past[:-lost]
            what = f"A FAILOVER LOSES {lost} WRITE{'S'[: lost - 1]}"
            yield Move(what, state._replace(row=back, past=past, losses=state.losses - lost))
        yield Move("", self._tick(state))

    def _tick(self, state: State) -> State:
        def older(row: Row) -> Row:
            return row._replace(
                rotated=self._age(row.rotated),
                used=None if row.used is None else self._age(row.used),
            )

        return state._replace(
            row=older(state.row),
            past=tuple(map(older, state.past)),
            issued=self._age(state.issued),
            served=self._age(state.served),
        )

    def _age(self, age: int) -> int:
        return min(age + 1, self.oldest)

    def canonical(self, state: State) -> State:
        """Return the state with its row at generation 0 and names by appearance."""
        names: dict[int, int] = {}
        base = state.row.generation

        def row(one: Row) -> Row:
            parent = None if one.parent is None else names.setdefault(one.parent, len(names))
            return one._replace(generation=one.generation - base, parent=parent)

        jti = names.setdefault(state.jti, 0)
        past = tuple(map(row, state.past[-state.losses :])) if state.losses else ()
        return state._replace(
            row=row(state.row), past=past, generation=state.generation - base, jti=jti
        )


class Finding(NamedTuple):
    """What a search has found; of each property a shortest run that breaks it, or ""."""

    states: int
    logout: str
    undead: str


def find(rule: Rule, world: World) -> Finding:
    """Look at every state that a world can come to."""
    model = Model(rule, world)
    start = model.canonical(model.start())
    came_from: dict[State, tuple[State, str] | None] = {start: None}
    states = [start]
    logout = undead = ""
    for state in states:  # it grows meanwhile
        for move in model.moves(state):
            is_served = move.outcome in SERVED
            if move.outcome and not is_served:
                if not logout and state.served <= model.limit:
                    logout = _tell(model, came_from, state, move)
                continue
            if is_served and state.served > model.end:
                undead = undead or _tell(model, came_from, state, move)
                continue
            after = model.canonical(move.after)
            if after not in came_from:
                came_from[after] = state, move.what
                states.append(after)
    return Finding(len(states), logout, undead)


def _tell(
    model: Model, came_from: dict[State, tuple[State, str] | None], state: State, last: Move
) -> str:
    run = [last.what]
    while (before := came_from[state]) is not None:
        state, what = before
        run.append(what)
    lines, clock = [], 0.0
    for what in reversed(run):
        if what:
            lines.append(f"{clock:6.2f} h {what}")
        else:
            clock += model.world.tick / HOUR
    return "\n".join(lines)
