"""Lines of tables: the number, its goal and limit, and whether it is within them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median, quantiles
from typing import Protocol

from benchmarks.measure import Times

# Even measurements next to each other differ: the noise of a machine with other work on it.
TOLERANCE = 0.10
ATTEMPTS = 4  # the first, and three more for what missed its gate


@dataclass(frozen=True)
class Allowance:
    """By how much a machine may miss a limit."""

    tolerance: float = 0.0  # for noise
    pace: float = 1.0  # the factor of its Python, compared with its OpenSSL


NONE = Allowance()


class Limit(Protocol):
    """What a number is compared with."""

    def holds(self, value: float, allowed: Allowance) -> bool:
        """Say whether the number is within the limit, or misses it by no more than is allowed."""
        ...


@dataclass(frozen=True)
class AtMost:
    """An upper limit. A part of it may be OpenSSL's; the rest is multiplied by the pace."""

    number: float
    openssl: float | None = None

    def holds(self, value: float, allowed: Allowance) -> bool:
        """Say whether the value is low enough."""
        limit = self.number
        if self.openssl is not None:
            limit = self.openssl + (self.number - self.openssl) * allowed.pace
        return value <= limit * (1 + allowed.tolerance)

    def __str__(self) -> str:
        return f"≤ {self.number:g}"


@dataclass(frozen=True)
class AtLeast:
    """A lower limit."""

    number: float

    def holds(self, value: float, allowed: Allowance) -> bool:
        """Say whether the value is high enough."""
        return value >= self.number * (1 - allowed.tolerance)

    def __str__(self) -> str:
        return f"≥ {self.number:g}"


@dataclass(frozen=True)
class Row:
    """One line. `costs` is in the section's own unit; a goal and a gate are for `value`."""

    what: str
    costs: tuple[str, ...]
    value: float | None = None
    spread: tuple[float, float] | None = None
    goal: float | None = None
    gate: Limit | None = None

    def kept(self, allowed: Allowance) -> bool:
        """Say whether its gate was kept; True without a gate."""
        return self.gate is None or self.value is None or self.gate.holds(self.value, allowed)

    def text(self, allowed: Allowance) -> str:
        """Return the line in Markdown."""
        value = "" if self.value is None else number(self.value)
        spread = "" if self.spread is None else " to ".join(map(number, self.spread))
        verdict = "" if self.gate is None else "PASS" if self.kept(allowed) else "FAIL"
        goal = "" if self.goal is None else f"{self.goal:g}"
        gate = "" if self.gate is None else str(self.gate)
        cells = (self.what, *self.costs, value, spread, goal, gate, verdict)
        return f"| {' | '.join(cells)} |"


@dataclass(frozen=True)
class Section:
    """One table. `rows` measures, and can do so again; `rounds` says how often each is measured."""

    title: str
    costs: tuple[str, ...]  # heads of the columns of `Row.costs`
    ratio: str  # head of the column of `Row.value`
    rows: Callable[[int], Iterable[Row]]
    note: str = ""
    rounds: int = 100

    def measured(self, *, share: float, allowed: Allowance, attempts: int) -> Iterator[Row]:
        """Yield the lines; those that missed their gate get another attempt."""
        rounds = max(5, round(self.rounds * share))
        rows = list(self.rows(rounds))
        for _ in range(attempts - 1):
            if all(row.kept(allowed) for row in rows):
                break
            again = self.rows(rounds)
            rows = [old if old.kept(allowed) else new for old, new in zip(rows, again, strict=True)]
        yield from rows

    def head(self) -> str:
        """Return the note and the table's head in Markdown."""
        heads = ("", *self.costs, self.ratio, "quartiles", "goal", "gate", "")
        rule = ("---", *("--:" for _ in self.costs), "--:", ":-:", "--:", "--:", "---")
        note = f"{self.note}\n\n" if self.note else ""
        return f"{note}| {' | '.join(heads)} |\n|{'|'.join(rule)}|"


def put(page: str, name: str, text: str) -> str:
    """Return a page with this text between the marks with its name."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, found, rest = page.partition(begin)
    _, also, after = rest.partition(end)
    if not (found and also):
        raise ValueError(f"the page has no place for {name!r}: write {begin} and {end}")
    return f"{before}{begin}\n{text}\n{end}{after}"


def number(value: float) -> str:
    """Return a number with three significant digits."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def micros(ns: float) -> str:
    """Return nanoseconds as microseconds."""
    return number(ns / 1000)


def added(times: Times, name: str, bare: str) -> list[float]:
    """Return what `name` costs beyond `bare`, in ns, in every round."""
    return [one - other for one, other in zip(times.rounds[name], times.rounds[bare], strict=True)]


def compared(row: Row, costs: Sequence[float], base: Sequence[float]) -> Row:
    """Return the line with the median and the quartiles of the rounds' ratios."""
    ratios = [one / other for one, other in zip(costs, base, strict=True)]
    low, _, high = quantiles(ratios, n=4)
    return replace(row, value=median(ratios), spread=(low, high))
