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
from typing import Final

from jwt_middleware.stores import Store, shard
from jwt_middleware.values.errors import StoreUnavailable
from tests.stores import new_grant

from . import model
from .checker import Operation
from .model import UNKNOWN, Answer, Call

THREADS: Final = {8: 10, 12: 8, 16: 7, 32: 4}  # the threads of a history, and the calls of each
GRANTS: Final = 6  # of each subject
WEIGHTS: Final = {"advance": 48, "read": 14, "add": 16, "grants": 8, "end": 10, "end_subject": 4}


class Plan:
    """What all threads of a history know. `run` makes its ids other than those of other runs."""

    def __init__(self, run: str, seed: int) -> None:
        random = Random(seed)
        self.run = run
        self.seed = seed
        self.threads = random.choice(tuple(THREADS))
        names = ("alice", "bob")[: random.choice((1, 2))]
        self.subjects = tuple(f"{name} {run} {seed}" for name in names)
        self.grants = {
            subject: tuple(_id(subject, number) for number in range(GRANTS))
            for subject in self.subjects
        }

    def names(self) -> dict[str, str]:
        """Return what a reader calls the subjects and grants."""
        names = {subject: subject.split()[0] for subject in self.subjects}
        for subject, ids in self.grants.items():
            names |= {one: f"{names[subject]}/{number}" for number, one in enumerate(ids)}
        return names

    def program(self, number: int) -> Generator[Call, Answer, None]:
        """Yield the calls of a thread, one after another, and take the answer to each."""
        random = Random(f"{self.seed} {number}")
        seen: dict[str, int] = {}  # generations, as this thread knows them
        turns = THREADS[self.threads]
        for turn in range(turns):
            subject = random.choice(self.subjects)
            first = turn * (GRANTS - 1) // turns
            grant_id = self.grants[subject][first + random.randrange(2)]
            verb = random.choices(tuple(WEIGHTS), tuple(WEIGHTS.values()))[0]
            known = seen.get(grant_id, 1)
            call = _call(random, subject, verb, grant_id, known, f"{number}.{turn}")
            answer = yield call
            if call.verb == "advance" and answer != UNKNOWN and answer[1] is not None:
                seen[grant_id] = answer[1].generation


def _id(subject: str, number: int) -> str:
    """Return an id as `new_grant_id` makes them, but always the same."""
    octets = sha256(f"{subject} {number}".encode()).digest()[:16]
    return shard(subject) + urlsafe_b64encode(octets).decode().rstrip("=")


def _call(
    random: Random, subject: str, verb: str, grant_id: str, known: int, parent: str
) -> Call:
    match verb:
        case "advance":
            # Now and then from a generation that is gone, and further than by one, as Restored.
            source = random.choices((known, known - 1), (9, 1))[0]
            gap = random.choices((1, 3), (9, 1))[0]
            new = random.choices((parent, None), (9, 1))[0]
            return Call(subject, "advance", (grant_id, source, source + gap, new))
        case "read":
            return Call(subject, "advance", (grant_id, known, known, None))
        case "add":
            return Call(subject, "add", (grant_id, random.randint(1, 3)))
        case "end":
            return Call(subject, "end", (grant_id, random.choice(("logout", "reused"))))
        case "end_subject":
            return Call(subject, "end_subject", ("logout",))
    return Call(subject, "grants", ())


def perform(
    store: Store, plan: Plan, numbers: range, at: int, threads: Executor
) -> list[Operation]:
    """Run the programs of some threads at a store, all from the moment `at` on."""
    all_here = Barrier(len(numbers))

    def run(number: int) -> list[Operation]:
        found: list[Operation] = []
        program = plan.program(number)
        all_here.wait()
        _sleep_until(at)
        with suppress(StopIteration):
            call = next(program)
            while True:
                found.append(_operation(store, call, str(number)))
                call = program.send(found[-1].answer)
        return found

    return [one for found in threads.map(run, numbers) for one in found]


def _sleep_until(at: int) -> None:
    while (left := at - time.monotonic_ns()) > 0:
        time.sleep(left / 1e9)


def _operation(store: Store, call: Call, who: str) -> Operation:
    # CLOCK_MONOTONIC, on Linux and on macOS: one clock for all processes of the machine.
    invoked = time.monotonic_ns()
    try:
        answer = _asked(store, call)
    except StoreUnavailable:
        answer = UNKNOWN
    return Operation(who, call, answer, invoked, time.monotonic_ns())


def _asked(store: Store, call: Call) -> Answer:
    subject, verb, args = call
    match verb:
        case "add":
            return tuple(sorted(store.add(new_grant(time.time(), id=args[0], subject=subject), args[1])))
        case "advance":
            advanced, grant = store.advance(*args)
            return advanced, None if grant is None else model.row(grant)
        case "end":
            return store.end(*args)
        case "end_subject":
            return tuple(sorted(store.end_subject(subject, *args)))
    return tuple(map(model.row, store.grants(subject)))
