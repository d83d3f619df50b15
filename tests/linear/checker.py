"""Is there one order of some operations, true to the clock, that explains all their answers?

The search of Wing and Gong (Testing and Verifying Concurrent Objects, 1993): take first what could
have been first, that is, what began before anything else had returned; then go on with the rest.
With Lowe's memory (Testing for Linearizability, 2016): where the same operations have led to the
same state once before, there is nothing new to be found.

An operation whose outcome is unknown may have taken effect at any time after its beginning, or
never. So it never has to be taken, and precedes nothing.

What changes nothing is taken at once, without a look at the alternatives. The model has to make
sure of this: an answer that is possible where it changes nothing changes nothing later, either.
Then any order in which the operation comes later is as good with it here. So only changes make the
search branch, and each says in its answer what it has found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

from .model import UNKNOWN, Answer, Call

MOST: Final = 200_000  # configurations that one search may look at: some seconds, some 100 MB
NEVER: Final = float("inf")

S = TypeVar("S")
Step: TypeAlias = Callable[[S, Call, Answer], S | None]
Configuration: TypeAlias = tuple[int, S]  # which operations are taken, as bits; the state


class Operation(NamedTuple):
    """A call, who made it, what came of it, and between which times, in nanoseconds."""

    who: str
    call: Call
    answer: Answer  # or UNKNOWN
    invoked: int
    returned: int

    @property
    def until(self) -> float:
        """Return the time by which it has taken effect, if it ever does."""
        return NEVER if self.answer == UNKNOWN else self.returned


class Violation(NamedTuple, Generic[S]):
    """The first answer that can't be, while everything that had been answered before it can.

    `order` explains all the others until then and leaves `state`. Beside `operation`, `meanwhile`
    had begun and not returned when it did; some of them may stand in the order, too.
    """

    operation: Operation
    state: S
    order: tuple[Operation, ...]
    meanwhile: tuple[Operation, ...]


class Verdict(NamedTuple, Generic[S]):
    """An order that explains all, or why there is none; and how many configurations it took."""

    order: tuple[Operation, ...]
    violation: Violation[S] | None
    size: int


class TooWide(AssertionError):
    """The search was given up: nothing is shown."""


def check(operations: Iterable[Operation], initial: S, step: Step[S]) -> Verdict[S]:
    """Search for an order of all operations.

    Raises:
        TooWide: when there are more than `MOST` configurations to look at.

    """
    known = sorted(operations, key=lambda one: one.invoked)
    search = _Search(known, NEVER, initial, step)
    if search.end is not None:
        return Verdict(search.order(search.end), None, len(search.before))
    return Verdict((), _violation(known, initial, step), len(search.before))


def _violation(known: list[Operation], initial: S, step: Step[S]) -> Violation[S]:
    """Find the shortest beginning of a history without an order.

    A history that has an order has one at any earlier time, too. So the time is found by halving.
    """
    times = sorted({one.until for one in known} - {NEVER})
    low, high = 0, len(times) - 1
    while low < high:
        middle = (low + high) // 2
        if _Search(known, times[middle], initial, step).end is None:
            high = middle
        else:
            low = middle + 1
    search = _Search(known, times[low], initial, step)
    nearly, missing = search.nearly()
    return Violation(
        missing,
        nearly[1],
        search.order(nearly),
        tuple(one for one in search.begun if one is not missing and one.until >= times[low]),
    )


class _Search(Generic[S]):
    """One search, through all that had begun by `time`.

    What had returned by then has to be taken. What returned later may be, with its own answer: an
    order of the whole history begins with one of these.
    """

    def __init__(self, known: list[Operation], time: float, initial: S, step: Step[S]) -> None:
        self.begun = [one for one in known if one.invoked <= time]
        self._until = [one.until if one.until <= time else NEVER for one in self.begun]
        self._step = step
        self._required = sum(1 << i for i, until in enumerate(self._until) if until < NEVER)
        self.before: dict[Configuration[S], tuple[Configuration[S], int] | None] = {
            (0, initial): None
        }
        self.end = self._run((0, initial))

    def _run(self, first: Configuration[S]) -> Configuration[S] | None:
        stack = [first]
        while stack:
            here = stack.pop()
            if not self._required & ~here[0]:
                return here
            for number, state in self._following(*here):
                there = (here[0] | 1 << number, state)
                if there not in self.before:
                    self.before[there] = (here, number)
                    stack.append(there)
            if len(self.before) > MOST:
                raise TooWide(f"{len(self.begun)} operations, and no end after {MOST} looks")
        return None

    def _following(self, taken: int, state: S) -> list[tuple[int, S]]:
        """Return what may come next, and the states after it; last what is to be tried first."""
        found = []
        for number in self._first(taken):
            one = self.begun[number]
            after = self._step(state, one.call, one.answer)
            if after is None:
                continue
            if after != state:
                found.append((number, after))
            elif self._until[number] < NEVER:
                return [(number, after)]
        return sorted(found, key=lambda one: -self._until[one[0]])

    def _first(self, taken: int) -> Iterator[int]:
        """Yield what isn't taken and began before anything else that isn't taken had returned."""
        earliest = NEVER
        for number in range((~taken & (taken + 1)).bit_length() - 1, len(self.begun)):
            if self.begun[number].invoked > earliest:
                return
            if not taken >> number & 1:
                earliest = min(earliest, self._until[number])
                yield number

    def order(self, end: Configuration[S]) -> tuple[Operation, ...]:
        """Return the operations that have led to a configuration."""
        found = []
        while (before := self.before[end]) is not None:
            end, number = before
            found.append(self.begun[number])
        return tuple(reversed(found))

    def nearly(self) -> tuple[Configuration[S], Operation]:
        """After a search in vain, return what lacks one operation only, the last if possible."""

        def lacks(one: Configuration[S]) -> list[Operation]:
            left = self._required & ~one[0]
            return [found for number, found in enumerate(self.begun) if left >> number & 1]

        def distance(one: Configuration[S]) -> tuple[int, float]:
            return len(lacks(one)), -max(found.until for found in lacks(one))

        nearest = min(self.before, key=distance)
        return nearest, max(lacks(nearest), key=lambda one: one.until)
