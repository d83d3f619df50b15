"""Compare the cost of functions side by side: in turns, in CPU time of this thread, by medians.

A machine's speed changes during a measurement: other processes, clock rates, caches. So the
functions run in short bursts one after the other, each round gives one ratio of neighbours in time,
and the median of those is the answer. Time that this thread doesn't run doesn't count.

Other work on the same core still slows both, and Python more than OpenSSL, so use gates on a
machine at rest.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from time import thread_time_ns

ROUNDS = 200
BURST = 1_000_000  # ns; a clock reading takes less than a thousandth of it


@dataclass(frozen=True)
class Times:
    """What was measured: for each function, ns per call in every round."""

    rounds: Mapping[str, Sequence[float]]

    def typical(self, name: str) -> float:
        """Return the median cost of one call in ns."""
        return median(self.rounds[name])

    def ratio(self, name: str, base: str) -> float:
        """Return the median of the rounds' ratios: how many times what `base` costs."""
        return median(self._ratios(name, base))

    def spread(self, name: str, base: str) -> tuple[float, float]:
        """Return the quartiles around that ratio."""
        low, _, high = quantiles(self._ratios(name, base), n=4)
        return low, high

    def _ratios(self, name: str, base: str) -> list[float]:
        return [one / other for one, other in zip(*self._pair(name, base), strict=True)]

    def _pair(self, name: str, base: str) -> tuple[Sequence[float], Sequence[float]]:
        return self.rounds[name], self.rounds[base]


def measure(
    functions: Mapping[str, Callable[[], object]],
    *,
    rounds: int = ROUNDS,
    burst: int = BURST,
    clock: Callable[[], int] = thread_time_ns,
) -> Times:
    """Run every function in bursts of about `burst` ns, in turns, in changing order."""
    calls = {name: _calls(function, burst, clock) for name, function in functions.items()}
    found: dict[str, list[float]] = {name: [] for name in functions}
    order = list(functions)
    for _ in range(rounds):
        for name in order:
            found[name].append(_cost(functions[name], calls[name], clock))
        # The first function finds other caches than the last, so the order rotates.
        order = [*order[1:], order[0]]
    return Times(found)


def _calls(function: Callable[[], object], burst: int, clock: Callable[[], int]) -> int:
    """Return how many calls fill a burst, seen when all is warm. This warms up, too."""
    calls = 1
    while True:
        # The quickest of a few, because first calls and interrupted calls are slow.
        cost = min(_cost(function, calls, clock) for _ in range(5))
        if cost * calls >= burst / 4:
            return max(1, round(burst / cost))
        calls *= 2


def _cost(function: Callable[[], object], calls: int, clock: Callable[[], int]) -> float:
    begun = clock()
    for _ in range(calls):
        function()
    return (clock() - begun) / calls
