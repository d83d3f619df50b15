"""The benchmark's arithmetic, on functions that take a time that is known."""

import pytest

from benchmarks.measure import Times, measure
from benchmarks.verify import LINES, Line, functions, row


class Clock:
    """Time that passes only when a function under test says so."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def takes(self, *ns: int) -> "Taker":
        return Taker(self, ns)


class Taker:
    def __init__(self, clock: Clock, ns: tuple[int, ...]) -> None:
        self.clock, self.ns, self.calls = clock, ns, 0

    def __call__(self) -> None:
        self.clock.now += self.ns[min(self.calls, len(self.ns) - 1)]
        self.calls += 1


def test_each_function_costs_what_it_takes() -> None:
    clock = Clock()
    times = measure(
        {"quick": clock.takes(10), "slow": clock.takes(40)}, rounds=5, burst=1000, clock=clock
    )
    assert [len(times.rounds[name]) for name in ("quick", "slow")] == [5, 5]
    assert (times.typical("quick"), times.typical("slow")) == (10, 40)
    assert (times.ratio("slow", "quick"), times.spread("slow", "quick")) == (4, (4, 4))


def test_bursts_are_as_long_as_asked_for_however_slow_the_first_call_is() -> None:
    calls = []
    for rounds in (3, 4):
        clock = Clock()
        function = clock.takes(5000, 10)
        measure({"it": function}, rounds=rounds, burst=1000, clock=clock)
        calls.append(function.calls)
    assert calls[1] - calls[0] == 100


def test_functions_take_turns_at_being_first() -> None:
    clock, order = Clock(), list[str]()

    def function(name: str) -> None:
        order.append(name)
        clock.now += 1000

    measure(
        {name: lambda name=name: function(name) for name in "abc"},  # type: ignore[misc]
        rounds=3,
        burst=1000,
        clock=clock,
    )
    assert "".join(order[-9:]) == "abcbcacab"


def test_one_disturbed_round_changes_nothing() -> None:
    times = Times({"ours": [20, 22, 2000, 18, 20], "raw": [10, 11, 10, 9, 10]})
    assert (times.ratio("ours", "raw"), times.typical("ours")) == (2, 20)


@pytest.mark.parametrize(("gate", "kept"), [(2.0, True), (1.9, False), (None, True)])
def test_a_gate_is_kept_up_to_its_number(gate: float | None, kept: bool) -> None:
    times = Times({"ours": [20_000] * 3, "raw": [10_000] * 3})
    text, passed = row(Line("ours", "raw", gate), times)
    assert passed is kept
    assert text.startswith("| ours | 20.0 | 10.0 | 2.00 | 2.00 to 2.00 |")
    assert ("FAIL" in text) is not kept


def test_what_the_benchmark_measures_works() -> None:
    made = dict(functions())  # asserts that good tokens pass and bad ones don't
    assert {line.what for line in LINES} | {line.base for line in LINES} == made.keys()
    for function in made.values():
        function()
