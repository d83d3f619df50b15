"""Histories: made by several processes, judged, told in words, kept in a file.

A race can't be had again by its seed, only its programs; so what was seen is kept, and
`python -m tests.linear FILE` judges it once more.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from jwt_middleware.values.randomness import identifier
from tests.processes import ROOT

from . import checker, model
from .checker import Operation, Verdict, Violation
from .model import UNKNOWN, Call, Row, State
from .program import Plan

LEAD: Final = 2_000_000  # nanoseconds from the word to all processes to the start of their threads
SHOWN: Final = 12  # changes of an order that a reader is shown


class NotLinearizable(AssertionError):
    """No order explains what the threads have seen."""


class History(NamedTuple):
    """A plan, and what came of it."""

    plan: Plan
    operations: tuple[Operation, ...]

    def verdicts(self) -> list[Verdict[State]]:
        """Search for an order for each subject: no verb touches two, so that is as good as one."""
        return [
            checker.check(
                [one for one in self.operations if one.call.subject == subject],
                model.EMPTY,
                model.step,
            )
            for subject in self.plan.subjects
        ]

    def judge(self, path: Path) -> list[Verdict[State]]:
        """Return the verdicts.

        Raises:
            NotLinearizable: says in words why there is no order, and has kept the history at path.

        """
        verdicts = self.verdicts()
        for verdict in verdicts:
            if verdict.violation is not None:
                self.save(path)
                told = Teller(self).violation(verdict.violation)
                raise NotLinearizable(f"{told}\nagain: python -m tests.linear {path}")
        return verdicts

    def save(self, path: Path) -> None:
        """Write it as lines of JSON: the plan, then an operation a line."""
        lines = [self.plan.parts(), *self.operations]
        path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` has written."""
        plan, *operations = map(json.loads, path.read_text().splitlines())
        return cls(Plan(**plan), tuple(map(operation, operations)))


def operation(read: list[Any]) -> Operation:
    """Return an operation out of JSON, which has no tuples."""
    who, (subject, verb, args), answer, invoked, returned = read
    return Operation(who, Call(subject, verb, _tuples(args)), _tuples(answer), invoked, returned)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


class Engine(NamedTuple):
    """How a process opens a store: `kind` is MODULE:CLASS, with a `from_url`."""

    kind: str
    url: str
    options: Mapping[str, Any] | None = None  # more keywords for `from_url`


class Fleet:
    """Processes that share a store, for many histories."""

    def __init__(self, engine: Engine, processes: int) -> None:
        self._args = (engine.kind, engine.url, json.dumps(dict(engine.options or {})))
        self._processes = processes
        self._run = identifier()
        self._workers: list[_Worker] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for _ in range(self._processes):
                self._workers.append(stack.enter_context(_Worker(*self._args)))
            for worker in self._workers:
                assert worker.hear() == "ready"
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:  # noqa: PYI036
        self._stack.__exit__(*error)

    def history(self, seed: int) -> History:
        """Run the programs of a seed, their threads spread evenly over the processes."""
        plan, count = Plan(self._run, seed), self._processes
        at = time.monotonic_ns() + LEAD
        for number, worker in enumerate(self._workers):
            numbers = [plan.threads * one // count for one in (number, number + 1)]
            worker.tell({"plan": plan.parts(), "numbers": numbers, "at": at})
        found = [worker.hear() for worker in self._workers]
        return History(plan, tuple(operation(one) for seen in found for one in seen))


class _Worker:
    def __init__(self, *args: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.linear.worker", *args],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, what: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps(what)}\n")
        self._process.stdin.flush()

    def hear(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.endswith("\n"), "the process has ended: see its standard error"
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        with self._process:  # closes its standard input, and so it ends
            if error is not None:
                self._process.kill()


class Teller:
    """Words for a violation, with short names and milliseconds since the history began."""

    def __init__(self, history: History) -> None:
        self._plan = history.plan
        self._names = history.plan.names()
        self._begin = min(one.invoked for one in history.operations)

    def violation(self, found: Violation[State]) -> str:
        """Say what can't be, what would be, and which changes came before and meanwhile."""
        _, expected = model.perform(found.state, found.operation.call)
        answer = self._answer(found.operation.call.verb, expected)
        return "\n".join(
            [
                f"seed {self._plan.seed}: no order explains these answers",
                "",
                self._line(found.operation),
                "",
                f"  It would be {answer} after all that was answered before; the last changes:",
                "",
                *list(map(self._line, _changes(found.order)))[-SHOWN:],
                "",
                f"  That leaves {', '.join(map(self._row, found.state)) or 'nothing'}",
                "",
                "  What else may have changed something, and was answered later:",
                "",
                *(self._line(one) for one in found.meanwhile if _may_change(one)),
            ]
        )

    def _line(self, one: Operation) -> str:
        invoked, returned = ((time - self._begin) / 1e6 for time in (one.invoked, one.returned))
        answer = self._answer(one.call.verb, one.answer)
        subject, verb, args = one.call
        names = ", ".join(str(self._names.get(arg, arg)) for arg in args or (subject,))
        return f"  {invoked:9.3f} to {returned:9.3f}  {one.who:>2}: {verb}({names}) = {answer}"

    def _answer(self, verb: str, answer: Any) -> str:
        if answer == UNKNOWN:
            return UNKNOWN
        return _WORDS[verb](self, answer)

    def _bool(self, answer: bool) -> str:
        return str(answer)

    def _ids(self, answer: tuple[str, ...]) -> str:
        return f"[{', '.join(self._names[one] for one in answer)}]"

    def _rows(self, answer: tuple[tuple[Any, ...], ...]) -> str:
        return f"[{', '.join(map(self._row, answer))}]"

    def _advanced(self, answer: tuple[bool, tuple[Any, ...] | None]) -> str:
        advanced, row = answer
        return f"{advanced}, {'nothing' if row is None else self._row(row)}"

    def _row(self, row: Iterable[Any]) -> str:
        grant_id, generation, parent, is_ended, reason = Row(*row)
        end = f" ended: {reason}" if is_ended or reason is not None else ""
        return f"<{self._names[grant_id]} {generation} of {parent}{end}>"


def _changes(order: Iterable[Operation]) -> list[Operation]:
    found, state = [], model.EMPTY
    for one in order:
        after = model.step(state, one.call, one.answer)
        assert after is not None
        if after != state:
            found.append(one)
        state = after
    return found


def _may_change(one: Operation) -> bool:
    if one.answer == UNKNOWN or one.call.verb == "add":
        return True
    return bool(one.answer[0] if one.call.verb == "advance" else one.answer) and (
        one.call.verb not in ("grants", "is_living")
    )


_WORDS: Final[dict[str, Callable[[Teller, Any], str]]] = {
    "add": Teller._ids,
    "advance": Teller._advanced,
    "end": Teller._bool,
    "end_subject": Teller._ids,
    "grants": Teller._rows,
    "is_living": Teller._bool,
}
