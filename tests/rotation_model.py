"""The rotation rule, model-checked: all runs of a small world that calls `first` and `decide`.

**What is modelled.** One grant. Its row is (generation, parent, rotated_at), changed by the
compare-and-swap of the store's verb `advance`. The victim's client has up to three tabs and *one*
token store (a cookie, localStorage). A tab sends the token that the store holds at that moment. The
server handles the request some time later, in one or several swaps between which others may come.
The answer arrives some time after that, in any order, and is written into the store, over whatever
stands there by then. Or it is lost; or it comes, and the client dies before it is saved and goes on
with what it had. A request and its answer take 15 seconds together at most. With `crash`, the
client may fall back to what its store held some seconds ago, while requests are on their way. A
failover of the server's store loses the last writes of the row: up to two in a run. A thief copies
the token that the store holds, once or twice, at any moment, and refreshes at any pace. With
`hoards` he also keeps every token that he was ever given, and presents whichever he likes.

An answer brings a new refresh token where the outcome is Rotated or Repeated. **Kept and Restored
repeat the presented one**, because many clients keep only what an answer says (RFC 6749 s6: "MAY
issue a new refresh token"). Such an answer, come late, can put an old token over a newer one, so
that it matters what a `Client` does with it. One IGNORES a token that equals the one it sent. So
does a cookie jar, because Kept and Restored set no cookie; `kept_sets_cookie` shows why not. One
COMPARES: it writes an answer's token only while its store still holds the one that it sent. And one
WRITES whatever it gets: it can log itself out, by five requests within one `settle` at the least.

**The two properties.** (a) `find_logout`: without a thief, no honest request is ever refused.
(b) `find_windows`: cut the time since the last theft into windows, each of which ends as soon as
`settle` has passed *and* victim and thief have both been served in it. No run has endlessly many:
in the graph of all states, no cycle contains the end of a window. So the most that any run has is
a number, the bound. The victim counts as served when it has saved the new tokens; one that never
`adopts` any, as soon as the server has answered. Such a victim beside a thief who never adopts
either: both are served until the absolute end, by design, for the server sees one client that has
lost every answer (`test_rotation_model.py` shows it).

**Why a small world is enough.** The rule compares generations by their difference, `jti`s by
equality, and times by their distance; `test_rotation.py` holds it to that. So a state keeps the
distances: the row is generation 0, now is 0, names are given in order of appearance, and all that
is older than any limit is equally old. Tokens so far back that even lost writes can't make them
good again are all the same token: it ends the grant, whoever shows it. What is left is finite, and
is searched whole.

**Why ticks are enough.** Time runs in ticks of 15 seconds: settle is 4, lateness 1. What happens at
time t happens in tick floor(t / 15), any number of things in any order. What is d ticks apart is
truly more than d - 1 and less than d + 1 ticks apart, and the model takes every course that any
of these distances permits: a token of exactly 4 ticks is young *and* is old (the clock is read at
the tick and half a tick before it); a request lives until the end of the tick after its own, up to
30 seconds; a server may have read its clock and then waited for the store. Thus it has all real
runs and some more, and what it can't do can't happen. Windows of less than 60 seconds count, too,
so that the bound is an upper bound; `on_the_tick` drops the half ticks, so that all runs are real
ones, and gives a lower bound. The tests repeat some searches in finer ticks.

**What is left out, and why.** The absolute end: it logs out by design, and thieves the sooner. The
idle limit: days, where this is about seconds; `idle_model.py` has it. Without them `rotated_at` and
`last_used_at` have no part in the rule (`test_rotation.py`). Bound grants: never rotated, and
another key is refused before anything else. The User-Agent: no argument of the rule. `end` is one
step with the decision, because no answer goes out before it; should a failover lose it, every
process that knows of it ends the grant again before it asks the rule. A request of the thief's is
one step: to wait for an answer is to be slow.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cache
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from jwt_middleware.grant import rotation_rule as rotation
from jwt_middleware.grant.refresh import SWAPS
from jwt_middleware.grant.rotation_rule import Limits, Outcome, Presented, Swap
from jwt_middleware.values.tokens import FrozenDict, Grant

SETTLE = 60  # seconds; only to tell runs in
SERVED = {Outcome.KEPT, Outcome.ROTATED, Outcome.REPEATED, Outcome.RESTORED}
MINTED = {Outcome.ROTATED, Outcome.REPEATED}
VICTIM, THIEF, BOTH = 1, 2, 3


class Client(Enum):
    """What a client does with the refresh token of an answer."""

    IGNORES = "ignores one that equals the one it sent"
    COMPARES = "writes it if its store still holds the one it sent"
    WRITES = "writes it"


First: TypeAlias = Callable[[Presented, float, Limits], Swap]
Decide: TypeAlias = Callable[[Presented, Swap, bool, Grant | None, float, Limits], Outcome | Swap]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """The rule as it is, or broken on purpose."""

    first: First = rotation.first
    decide: Decide = rotation.decide
    settle: int = 4  # ticks
    restore: int = 8
    one_successor: bool = False  # all siblings of a generation share one `jti`
    row_clock: bool = False  # `decide` reads `rotated_at`: else it is left out of the states
    kept_sets_cookie: bool = False  # Kept and Restored set the cookie anew, which a jar writes

    @property
    def limits(self) -> Limits:
        """Return the numbers of the rule, in ticks."""
        return Limits(settle=self.settle, idle=math.inf, restore=self.restore)


def on_the_tick(rule: Rule) -> Rule:
    """Return the rule with clocks that are read at ticks only: then every run is a real one."""

    def first(presented: Presented, now: float, limits: Limits) -> Swap:
        return rule.first(presented, math.ceil(now), limits)

    def decide(
        presented: Presented,
        swap: Swap,
        advanced: bool,
        row: Grant | None,
        now: float,
        limits: Limits,
    ) -> Outcome | Swap:
        return rule.decide(presented, swap, advanced, row, math.ceil(now), limits)

    return replace(rule, first=first, decide=decide)


@dataclass(frozen=True, kw_only=True)
class World:
    """How much may happen in a run."""

    late: int = 1  # ticks that a request and its answer may take together
    tabs: int = 1  # requests of the victim's that are under way at once
    burst: int = 0  # requests that it sends within one `settle` and a tick; 0: any number
    client: Client = Client.IGNORES
    adopts: bool = True  # False: it presents the token of its login for ever
    lost_writes: int = 0  # by failovers, in one run
    crash: int = 0  # ticks for which the victim's store is not yet durable; 0: no crashes
    copies: int = 0  # times that the thief copies the token
    hoards: bool = False
    thief_adopts: bool = True  # False: he presents the token that he copied for ever


class Token(NamedTuple):
    """A refresh token; `age` in ticks."""

    generation: int
    jti: int
    age: int


class Row(NamedTuple):
    """The row of the grant; `rotated` is the age of `rotated_at`."""

    generation: int
    parent: int | None
    rotated: int


class Pending(NamedTuple):
    """A swap that the server is about to try, for a request that it handles already."""

    swap: Swap
    tick: int  # when it read its clock
    now: float  # what it read
    tries: int  # that are left


class Flight(NamedTuple):
    """A request of the victim's on its way to the server, in it, or coming back."""

    token: Token
    waited: int
    pending: Pending | None = None
    answer: Token | None = None


class State(NamedTuple):
    """Everything that matters at one moment."""

    row: Row
    past: tuple[Row, ...]  # what failovers may bring back, the latest last
    store: Token  # what the victim's tabs share
    disk: Token  # what a crash brings back
    unsaved: int  # ticks since the two differ
    flights: tuple[Flight, ...]
    sent: tuple[int, ...]  # the ages of the latest requests, where a burst is limited
    copies: tuple[Token, ...]  # the thief's
    uncopied: int
    losses: int  # writes that may still be lost
    window: int  # the age of this window
    seen: int  # who was served in it


class Move(NamedTuple):
    """One thing that can happen."""

    what: str
    token: Token | None
    outcome: Outcome | Swap | None
    minted: Token | None
    after: State
    served: int = 0
    logout: bool = False
    ended: bool = False


NEW = 1_000  # the name of a `jti` that was just minted; `canonical` gives it a proper one
NOBODY = -1  # the name of all that can never be served again


@dataclass(frozen=True)
class Finding:
    """What a search has found."""

    states: int
    outcomes: set[Outcome] = field(repr=False)  # all that were seen
    trace: str = field(default="", repr=False)  # a counterexample; "": there is none
    windows: float = 0  # the most in which both are served; inf: for ever


class Model:
    """The world's moves under a rule."""

    def __init__(self, rule: Rule, world: World) -> None:
        self.rule = rule
        self.world = world
        self.settle = rule.settle
        # Older makes no difference: old even by a clock that was read `late` and a half tick ago.
        self.oldest = rule.settle + world.late + 1
        self.ages = (*range(self.oldest), self.oldest, self.oldest)
        self.outcomes: set[Outcome] = set()
        self.ask_first = cache(self._ask_first)
        self.ask = cache(self._ask)

    def start(self) -> State:
        """Return the state after a login."""
        token = Token(0, 0, 0)
        world = self.world
        return State(
            Row(0, None, 0), (), token, token, 0, (), (), (), world.copies, world.lost_writes, 0, 0
        )

    # The server: `advance`, and the rule itself.

    def _ask_first(self, token: Token, now: float) -> Swap:
        presented = Presented(token.generation, str(token.jti), -token.age)
        return self.rule.first(presented, now, self.rule.limits)

    def _ask(
        self, token: Token, swap: Swap, advanced: bool, row: Row, now: float
    ) -> Outcome | Swap:
        grant = Grant(
            id="",
            subject="",
            client_id="",
            scope="",
            claims=FrozenDict(),
            bound_key=None,
            generation=row.generation,
            parent=None if row.parent is None else str(row.parent),
            rotated_at=-row.rotated,
            created_at=-math.inf,
            expires_at=math.inf,
        )
        presented = Presented(token.generation, str(token.jti), -token.age)
        decision = self.rule.decide(presented, swap, advanced, grant, now, self.rule.limits)
        if isinstance(decision, Outcome):
            self.outcomes.add(decision)
        return decision

    def swap(
        self, state: State, token: Token, swap: Swap, now: float
    ) -> tuple[State, Outcome | Swap]:
        """Carry out one `advance`, and ask the rule what comes of it."""
        row = state.row
        advanced = row.generation == swap.source != swap.target
        if advanced:
            past = (*state.past, row)[-state.losses :] if state.losses else ()
            row = Row(swap.target, None if swap.parent is None else int(swap.parent), 0)
            state = state._replace(row=row, past=past)
        return state, self.ask(token, swap, advanced, row, now)

    def _mint(self, state: State, age: int) -> Token:
        """Return a sibling of the present generation."""
        generation = state.row.generation
        if self.rule.one_successor:
            held = (state.store, state.disk, *state.copies)
            for token in (*held, *(one.answer or one.token for one in state.flights)):
                if token.generation == generation:
                    return Token(generation, token.jti, age)
        return Token(generation, NEW, age)

    # What can happen next.

    def moves(self, state: State) -> Iterator[Move]:
        """Yield everything that can happen next."""
        burst = self.world.burst
        if len(state.flights) < self.world.tabs and (not burst or len(state.sent) < burst):
            flights = (*state.flights, Flight(state.store, 0))
            sent = state._replace(flights=flights, sent=(*state.sent, 0))
            yield Move("a tab sends", state.store, None, None, sent)
        for at, flight in enumerate(state.flights):
            if at and flight == state.flights[at - 1]:
                continue  # a twin of the one before: the same moves
            rest = state._replace(flights=state.flights[:at] + state.flights[at + 1 :])
            if flight.answer is None:
                yield from self._handle(rest, flight)
            elif self.world.client is Client.COMPARES and flight.token != state.store:
                yield Move("a tab doesn't save", flight.answer, None, None, rest, VICTIM)
            else:
                stored = rest._replace(store=flight.answer)
                yield Move("a tab saves", flight.answer, None, None, stored, VICTIM)
            if flight.answer or flight.pending:
                yield Move("the answer is lost:", flight.answer, None, None, rest)
        yield from self._crash(state)
        for lost in range(1, min(state.losses, len(state.past)) + 1):
            back = state._replace(
                row=state.past[-lost], past=state.past[:-lost], losses=state.losses - lost
            )
            what = f"A FAILOVER LOSES {lost} WRITE{'S'[: lost - 1]}"
            yield Move(what, None, None, None, back)
        if state.uncopied:
            yield Move(
                "THE THIEF COPIES",
                state.store,
                None,
                None,
                state._replace(
                    copies=(*state.copies, state.store),
                    uncopied=state.uncopied - 1,
                    window=0,
                    seen=0,
                ),
            )
        for at in range(len(state.copies)):
            yield from self._steal(state, at)
        yield Move("", None, None, None, self._tick(state))

    def _handle(self, rest: State, flight: Flight) -> Iterator[Move]:
        """Yield what the server can do for a request: one swap, and the decision on it."""
        token, waited, pending, _ = flight
        if pending is not None:
            tries = [pending]
        else:
            # It read its clock when the request came, and may have waited for the store since.
            clocks = [(-ago, -ago - half) for ago in range(waited + 1) for half in (0, 0.5)]
            tries = [Pending(self.ask_first(token, now), tick, now, SWAPS) for tick, now in clocks]
        seen = set()
        for swap, tick, now, left in tries:
            after, decision = self.swap(rest, token, swap, now)
            answer = self._answer(after, token, decision, -tick)
            flight = Flight(token, waited, None, answer)
            if isinstance(decision, Swap):
                flight = Flight(token, waited, Pending(decision, tick, now, left - 1))
            if (decision, flight, after.row) in seen:
                continue
            seen.add((decision, flight, after.row))
            if answer or (isinstance(decision, Swap) and left > 1):  # else 503: as if it were lost
                after = after._replace(flights=(*rest.flights, flight))
            served = VICTIM if decision in SERVED and not answer else 0
            logout = isinstance(decision, Outcome) and decision not in SERVED
            yield Move("the server takes", token, decision, answer, after, served, logout, logout)

    def _answer(
        self, state: State, token: Token, decision: Outcome | Swap, age: int
    ) -> Token | None:
        """Return the refresh token that a client would write when the answer comes."""
        if decision not in SERVED or not self.world.adopts:
            return None
        if decision in MINTED:
            return self._mint(state, age)
        writes = self.world.client is Client.WRITES or self.rule.kept_sets_cookie
        return token if writes else None

    def _crash(self, state: State) -> Iterator[Move]:
        if self.world.crash and state.disk != state.store:
            saved = state._replace(disk=state.store, unsaved=0)
            yield Move("the store is durable with", state.store, None, None, saved)
            lost = state._replace(store=state.disk, unsaved=0)
            yield Move("THE CLIENT CRASHES and goes on with", state.disk, None, None, lost)

    def _steal(self, state: State, at: int) -> Iterator[Move]:
        """Yield what comes of it when the thief presents one of his tokens."""
        token = state.copies[at]
        others = state.copies if self.world.hoards else state.copies[:at] + state.copies[at + 1 :]
        for now in (0, -0.5):
            after, decision = self.swap(state, token, self.ask_first(token, now), now)
            for _ in range(SWAPS - 1):
                if isinstance(decision, Swap):
                    after, decision = self.swap(after, token, decision, now)
            minted = None
            if decision in MINTED and self.world.thief_adopts:
                minted = self._mint(after, 0)
                after = after._replace(copies=(*others, minted))
            if decision in SERVED:
                yield Move("THE THIEF PRESENTS", token, decision, minted, after, THIEF)
            else:
                ended = decision is Outcome.REUSED
                yield Move("THE THIEF PRESENTS", token, decision, None, after, ended=ended)

    def _tick(self, state: State) -> State:
        def older(token: Token) -> Token:
            return Token(token.generation, token.jti, token.age + 1)

        def flying(flight: Flight) -> Flight:
            token, waited, pending, answer = flight
            if pending:
                swap, tick, now, left = pending
                pending = Pending(swap, tick - 1, now - 1, left)
            return Flight(older(token), waited + 1, pending, older(answer) if answer else None)

        disk, unsaved = state.disk, state.unsaved + 1
        if unsaved > self.world.crash:
            disk, unsaved = state.store, 0
        return state._replace(
            row=state.row._replace(rotated=state.row.rotated + 1),
            past=tuple(row._replace(rotated=row.rotated + 1) for row in state.past),
            store=older(state.store),
            disk=older(disk),
            unsaved=unsaved,
            flights=tuple(flying(one) for one in state.flights if one.waited < self.world.late),
            sent=tuple(age + 1 for age in state.sent if age < self.settle),
            copies=tuple(older(token) for token in state.copies),
            window=state.window + 1,
        )

    # Windows, and one name for all states that differ in names only.

    def watch(self, state: State, served: int) -> tuple[State, bool]:
        """Note who was served; say whether a window of the last copy has ended with it."""
        if not state.copies:
            return state, False
        seen = state.seen | served
        if state.window >= self.settle and seen == BOTH:
            return state._replace(window=0, seen=0), not state.uncopied
        return state._replace(seen=seen), False

    def canonical(self, state: State) -> tuple[State, dict[int, int]]:
        """Return the state with its row at generation 0 and names by appearance; the new names."""
        names: dict[int, int] = {}
        base = state.row.generation
        # What can't be served even when all writes that may be lost are lost.
        dead = -2 - state.losses
        lost, ages = Token(dead, NOBODY, self.oldest), self.ages

        def name(jti: int) -> int:
            return names.setdefault(jti, len(names))

        def token(one: Token) -> Token:
            generation, jti, age = one
            generation -= base
            if generation <= dead:
                return lost
            return Token(generation, name(jti), ages[age])

        def row(one: Row) -> Row:
            generation, parent, rotated = one
            rotated = min(rotated, self.oldest) if self.rule.row_clock else 0
            return Row(generation - base, None if parent is None else name(parent), rotated)

        def pending(one: Pending) -> Pending:
            source, target, parent = one.swap
            parent = None if parent is None else str(name(int(parent)))
            return one._replace(swap=Swap(source - base, target - base, parent))

        def flight(one: Flight) -> Flight:
            given, waited, at_work, answer = one
            # Where only the answer counts, the token that bought it doesn't.
            if answer is not None and self.world.client is not Client.COMPARES:
                given = answer
            return Flight(
                token(given),
                waited,
                pending(at_work) if at_work else None,
                token(answer) if answer else None,
            )

        def order(one: Token) -> tuple[int, int, int]:
            return one.generation, one.age, names.get(one.jti, NEW)

        def turn(one: Flight) -> tuple[object, ...]:
            answer = one.answer or one.token
            return (
                one.waited,
                one.answer is None,
                order(answer),
                order(one.token),
                one.pending or (),
            )

        here = row(state.row)
        past = tuple([row(one) for one in state.past[-state.losses :]]) if state.losses else ()
        store = token(state.store)
        disk = token(state.disk) if self.world.crash else store
        # Tabs are alike, and so are copies: sorted by all but names, then by names known so far.
        flights = state.flights if len(state.flights) < 2 else sorted(state.flights, key=turn)
        flights = tuple([flight(one) for one in flights])
        copies = self._worth(state, dead + base) if self.world.hoards else state.copies
        copies = copies if len(copies) < 2 else sorted(copies, key=order)
        copies = tuple([token(one) for one in copies])
        return State(
            here,
            past,
            store,
            disk,
            0 if disk == store else state.unsaved,
            flights,
            state.sent if self.world.burst else (),
            copies,
            state.uncopied,
            state.losses,
            min(state.window, self.settle) if copies else 0,
            state.seen if copies else 0,
        ), names

    def _worth(self, state: State, dead: int) -> list[Token]:
        """Return the thief's tokens without those that buy nothing, and one of each kind.

        Of two that are equal but for their names, which nothing else bears, one is as good.
        """
        known = {row.parent for row in (state.row, *state.past)}
        known |= {state.store.jti, state.disk.jti}
        known |= {(one.answer or one.token).jti for one in state.flights}
        worth: dict[tuple[int, int, int], Token] = {}
        for one in state.copies:
            alike = (one.generation, min(one.age, self.oldest), one.jti if one.jti in known else -1)
            if one.generation > dead:
                worth.setdefault(alike, one)
        return list(worth.values())


class Search:
    """Every state that a world can come to, shortest runs first."""

    def __init__(self, rule: Rule, world: World) -> None:
        self.model = Model(rule, world)
        self.states = [self.model.canonical(self.model.start())[0]]
        self.came_from = [0]  # for each state the one before, on a shortest run
        self.steps: list[list[int]] = []  # for each state those that come next
        self.ends: list[tuple[int, int]] = []  # the steps that end a window
        self.logout: tuple[int, Move] | None = None
        self._explore()

    def _explore(self) -> None:
        model = self.model
        theft = model.world.copies > 0
        index = {self.states[0]: 0}
        for here, state in enumerate(self.states):  # it grows meanwhile
            steps = set()
            for move in model.moves(state):
                if move.logout and not theft:
                    self.logout = here, move
                    return
                if move.ended:
                    continue
                after, ends = model.watch(move.after, move.served)
                after, _ = model.canonical(after)
                there = index.setdefault(after, len(self.states))
                if there == len(self.states):
                    self.states.append(after)
                    self.came_from.append(here)
                if ends:
                    self.ends.append((here, there))
                steps.add(there)
            if theft:
                self.steps.append(list(steps))

    def shortest_to(self, there: int) -> list[int]:
        """Return the states of a shortest run to this one."""
        path = [there]
        while path[-1]:
            path.append(self.came_from[path[-1]])
        return path[::-1]

    def layers(self) -> list[set[int]]:
        """Return, for n = 0, 1, ..., the states that have a run with n windows to come.

        Each is within the one before. Where two are equal, it is so for every n: there is a cycle.
        """
        before: list[list[int]] = [[] for _ in self.states]
        for here, steps in enumerate(self.steps):
            for there in steps:
                before[there].append(here)
        layers = [set(range(len(self.states)))]
        while layers[-1] and (len(layers) < 2 or layers[-1] != layers[-2]):
            layer = {here for here, there in self.ends if there in layers[-1]}
            todo = list(layer)
            while todo:
                for here in before[todo.pop()]:
                    if here not in layer:
                        layer.add(here)
                        todo.append(here)
            layers.append(layer)
        return layers

    def next_window(self, here: int, layer: set[int]) -> list[int]:
        """Return a shortest run from here that ends a window and then stands in `layer`."""
        ends = {start: there for start, there in self.ends if there in layer}
        came_from = {here: here}
        todo = deque([here])
        while (at := todo.popleft()) not in ends:
            for there in self.steps[at]:
                if there not in came_from:
                    came_from[there] = at
                    todo.append(there)
        path = [ends[at], at]
        while path[-1] != here:
            path.append(came_from[path[-1]])
        return path[::-1]


def find_logout(rule: Rule, world: World) -> Finding:
    """Look for an honest request that is refused, property (a)."""
    search = Search(rule, world)
    trace = ""
    if search.logout:
        here, move = search.logout
        told = Story(search.model)
        trace = told.tell([search.states[at] for at in search.shortest_to(here)], move)
    return Finding(len(search.states), search.model.outcomes, trace)


def find_windows(rule: Rule, world: World) -> Finding:
    """Find the most windows in which victim and thief are both served, property (b)."""
    search = Search(rule, world)
    layers = search.layers()
    story = Story(search.model)
    windows: float = len(layers) - 2
    run, cycle = [0], [0]
    if not layers[-1]:
        for layer in reversed(layers[:-2]):
            run += search.next_window(run[-1], layer)[1:]
        trace = story.tell([search.states[at] for at in run])
    else:
        windows = math.inf
        # Any state of the last layer can go on to another of it, so that one must come again.
        marks = [0]
        while run[-1] not in [run[at] for at in marks[:-1]]:
            run += search.next_window(run[-1], layers[-1])[1:]
            marks.append(len(run) - 1)
        begin = run.index(run[-1])
        cycle = run[begin:]
        trace = story.tell([search.states[at] for at in run[: begin + 1]])
        trace += "\n       and from here on for ever:\n"
        trace += story.tell([search.states[at] for at in cycle])
    return Finding(len(search.states), search.model.outcomes, trace, windows)


class Story:
    """Tells a run in words, with names that tokens keep.

    `2b` is the second token of generation 2. In capitals: what isn't done by client or server.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.clock = 0
        self.base = 1  # the generation of the row, as users count
        self.names = {0: "1a"}
        self.minted = {1: 1}

    def tell(self, states: list[State], last: Move | None = None) -> str:
        """Tell how each state came from the one before, and the last move."""
        lines = []
        for here, there in pairwise(states):
            move, names, ends = self._find(here, there)
            lines += self._line(move)
            if ends:
                lines.append("       --- both were served in this window ---")
            self.base += move.after.row.generation
            self.names = {new: self.names[old] for old, new in names.items() if old in self.names}
        if last:
            lines += self._line(last)
        return "\n".join(lines)

    def _find(self, here: State, there: State) -> tuple[Move, dict[int, int], bool]:
        for move in self.model.moves(here):
            if not move.ended:
                after, ends = self.model.watch(move.after, move.served)
                after, names = self.model.canonical(after)
                if after == there:
                    return move, names, ends
        raise AssertionError("no such move")

    def _line(self, move: Move) -> list[str]:
        if not move.what:
            self.clock += SETTLE // self.model.settle
            return []
        text = f"{self.clock:4d} s {move.what}"
        if move.token:
            text += f" {self.names.get(move.token.jti, 'an old one')}"
        if isinstance(move.outcome, Outcome):
            text += f": {move.outcome.value}"
        elif move.outcome:
            source, target = move.outcome.source + self.base, move.outcome.target + self.base
            text += f": to be tried, generation {source} -> {target}"
        if move.minted:
            generation = self.base + move.minted.generation
            if move.minted.jti == NEW:
                self.minted[generation] = self.minted.get(generation, 0) + 1
                letter = chr(ord("a") + self.minted[generation] - 1)
                self.names[NEW] = f"{generation}{letter}"
            text += f", answers {self.names[move.minted.jti]}"
        return [text]


def found_after(rule: Rule, processes: int, in_a_row: int) -> set[int]:
    """Return at which refreshes it is found that several processes have a copy of one token.

    They share a file that each has read when it began, and from then on each goes on with the token
    in its memory. None refreshes more than `in_a_row` times between two refreshes of another, and
    each waits for its answer. What is refreshed within `settle` changes nothing and isn't counted.
    """
    model = Model(rule, World())
    found: set[int] = set()

    def may(at: int, turns: tuple[int, ...]) -> bool:
        for other in set(range(processes)) - {at}:
            last = max((turn for turn, one in enumerate(turns) if one == other), default=-1)
            if turns[last + 1 :].count(at) == in_a_row:
                return False
        return True

    def go_on(state: State, held: tuple[Token, ...], turns: tuple[int, ...]) -> None:
        for at, token in enumerate(held):
            if not may(at, turns):
                continue
            after, decision = model.swap(state, token, model.ask_first(token, 0), 0)
            while isinstance(decision, Swap):
                after, decision = model.swap(after, token, decision, 0)
            count = len(turns) + 1
            if decision is Outcome.REUSED:
                found.add(count)
                continue
            minted = Token(after.row.generation, count, model.oldest)  # old when it is presented
            go_on(after, (*held[:at], minted, *held[at + 1 :]), (*turns, at))

    go_on(model.start(), (Token(0, 0, model.oldest),) * processes, ())
    return found
