"""What the threads of a history do to a store: a short random program each, the same for a seed.

All know the ids in advance and go through them in step, so that they collide: at any moment they
are at two or three grants of one or two subjects, some of which another thread has yet to add.
"""

from __future__ import annotations

import time
from base64 import urlsafe_b64encode
from collections.abc import Generator
from concurrent.futures import Executor
from contextlib import suppress
from hashlib import sha256
from random import Random
from threading import Barrier
from typing import Any, Final, NamedTuple

from jwt_middleware.stores import Store, shard
from jwt_middleware.values.errors import StoreUnavailable
from jwt_middleware.values.tokens import Grant
from tests.stores import new_grant

from . import model
from .checker import Operation
from .model import UNKNOWN, Answer, Call

TURNS: Final = {8: 12, 12: 9, 16: 7, 32: 4}  # the threads that a history has, and turns of each
GRANTS: Final = 12  # of each subject
SPREAD: Final = 2  # grants that a thread is at, at any moment
WEIGHTS: Final = {"advance": 66, "read": 10, "grants": 10, "end": 5, "add": 7, "end_subject": 2}


class Plan:
    """What all threads of a history know. `run` makes its ids other than those of other runs."""

    def __init__(self, run: str, seed: int) -> None:
        random = Random(seed)
        self.run = run
        self.seed = seed
        self.threads = random.choice(tuple(TURNS))
        names = ("alice", "bob")[: random.choice((1, 2))]
        self.subjects = tuple(f"{name} {run} {seed}" for name in names)
        self.grants = {
            subject: tuple(_id(subject, number) for number in range(GRANTS))
            for subject in self.subjects
        }

    def parts(self) -> dict[str, Any]:
        """Return what makes the same plan elsewhere."""
        return {"run": self.run, "seed": self.seed}

    def names(self) -> dict[str, str]:
        """Return what a reader calls the subjects and grants."""
        names = {subject: subject.split()[0] for subject in self.subjects}
        for subject, ids in self.grants.items():
            names |= {one: f"{names[subject]}/{number}" for number, one in enumerate(ids)}
        return names

    def program(self, number: int) -> Generator[Call, Answer, None]:
        """Yield the calls of a thread, one after another, and take the answer to each.

        It goes on to the next grant where one has ended, and adds the one that isn't there.
        """
        random = Random(f"{self.seed} {number}")
        # Drawn before the start: time between two calls is time in which nothing meets.
        turns = [_turn(random, f"{number}.{turn}") for turn in range(TURNS[self.threads])]
        views = [_View(subject, ids) for subject, ids in self.grants.items()]
        yield Call(views[0].subject, "grants", ())
        for turn in turns:
            view = views[turn.draw % len(views)]
            call = view.call(turn)
            view.learn(call, (yield call))


class _Turn(NamedTuple):
    """What chance says of a turn."""

    verb: str
    draw: int
    behind: int
    gap: int
    parent: str | None
    limit: int
    reason: str


def _turn(random: Random, parent: str) -> _Turn:
    # Now and then from a generation that is gone, or further than by one, as Restored does.
    return _Turn(
        verb=random.choices(tuple(WEIGHTS), tuple(WEIGHTS.values()))[0],
        draw=random.randrange(1000),
        behind=random.choices((0, 1), (9, 1))[0],
        gap=random.choices((1, 3), (9, 1))[0],
        parent=random.choices((parent, None), (9, 1))[0],
        limit=random.randint(1, 4),
        reason=random.choice(("logout", "reused")),
    )


class _View:
    """What a thread knows of a subject's grants."""

    def __init__(self, subject: str, ids: tuple[str, ...]) -> None:
        self.subject = subject
        self._left = list(ids)  # not known to have ended
        self._generations = dict.fromkeys(ids, 1)
        self._missing: str | None = ids[0]

    def call(self, turn: _Turn) -> Call:
        """Return the call of a turn."""
        grant_id = self._left[min(turn.draw // 2 % SPREAD, len(self._left) - 1)]
        known = self._generations[grant_id]
        verb = turn.verb
        args: tuple[Any, ...] = ()
        if verb == "advance" and self._missing is not None:
            verb, grant_id = "add", self._missing
        match verb:
            case "advance":
                source = known - turn.behind
                args = (grant_id, source, source + turn.gap, turn.parent)
            case "read" if turn.draw // 4 % 2:
                verb, args = "is_living", (grant_id,)
            case "read":
                verb, args = "advance", (grant_id, known, known, None)
            case "add":
                args = (grant_id, turn.limit)
            case "end":
                args = (grant_id, turn.reason)
            case "end_subject":
                args = (turn.reason,)
        return Call(self.subject, verb, args)

    def learn(self, call: Call, answer: Answer) -> None:
        """Take in what the call was answered."""
        if answer == UNKNOWN:
            return
        if call.verb == "add":
            self._missing = None
        elif call.verb == "grants" and answer:
            living = [one.grant_id for one in answer]
            newest = self._left.index(living[0]) if living[0] in self._left else 0
            self._left = [one for one in self._left[:newest] if one in living] + self._left[newest:]
            self._generations |= {one.grant_id: one.generation for one in answer}
        elif call.verb == "advance" and answer[1] is None:
            self._missing = call.args[0]
        elif call.verb == "advance":
            self._generations[call.args[0]] = answer[1].generation
            if answer[1].is_ended and len(self._left) > 1:
                self._left = [one for one in self._left if one != call.args[0]]


def _id(subject: str, number: int) -> str:
    """Return an id as `new_grant_id` makes them, but always the same."""
    octets = sha256(f"{subject} {number}".encode()).digest()[:16]
    return shard(subject) + urlsafe_b64encode(octets).decode().rstrip("=")


def perform(
    store: Store, plan: Plan, numbers: range, at: int, threads: Executor
) -> list[Operation]:
    """Run the programs of some threads at a store, all from the moment `at` on."""
    all_here = Barrier(len(numbers))

    def run(number: int) -> list[Operation]:
        found: list[Operation] = []
        program = plan.program(number)
        call = next(program)
        all_here.wait()
        _sleep_until(at)
        with suppress(StopIteration):
            while True:
                found.append(_operation(store, call, str(number)))
                call = program.send(found[-1].answer)
        return found

    return [one for found in threads.map(run, numbers) for one in found]


def _sleep_until(at: int) -> None:
    while (left := at - time.monotonic_ns()) > 0:
        time.sleep(left / 1e9)


def _operation(store: Store, call: Call, who: str) -> Operation:
    grant = None
    if call.verb == "add":
        grant = new_grant(time.time(), id=call.args[0], subject=call.subject)
    # CLOCK_MONOTONIC, on Linux and on macOS: one clock for all processes of the machine.
    invoked = time.monotonic_ns()
    try:
        answer = _asked(store, call, grant)
    except StoreUnavailable:
        answer = UNKNOWN
    returned = time.monotonic_ns()
    return Operation(who, call, _seen(call.verb, answer), invoked, returned)


def _asked(store: Store, call: Call, grant: Grant | None) -> Any:
    subject, verb, args = call
    if grant is not None:
        return store.add(grant, args[1])
    match verb:
        case "advance":
            return store.advance(*args)
        case "end":
            return store.end(*args)
        case "end_subject":
            return store.end_subject(subject, *args)
        case "is_living":
            return store.is_living(*args)
    return store.grants(subject)


def _seen(verb: str, answer: Any) -> Answer:
    """Return an answer of a store's as the model gives it."""

    def row(one: Grant | None) -> model.Row | None:
        return None if one is None else model.row(one)

    if answer == UNKNOWN:
        return UNKNOWN
    match verb:
        case "add" | "end_subject":
            return tuple(sorted(answer))
        case "advance":
            return answer.advanced, row(answer.grant)
        case "grants":
            return tuple(map(row, answer))
    return answer
