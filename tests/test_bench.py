"""The tables of `make bench`: what they say of numbers that are known."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from benchmarks.bench import scene
from benchmarks.bench.report import (
    NONE,
    Allowance,
    AtLeast,
    AtMost,
    Limit,
    Row,
    Section,
    added,
    compared,
    number,
    put,
)
from benchmarks.bench.servers import LOAD, UNITS
from benchmarks.measure import Times
from jwt_middleware import asgi, wsgi

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("gate", "value", "allowed", "kept"),
    [
        (AtMost(2), 2.0, NONE, True),
        (AtMost(2), 2.1, NONE, False),
        (AtMost(2), 2.1, Allowance(0.1), True),
        (AtMost(0), 1, Allowance(0.1), False),
        (AtLeast(50), 50, NONE, True),
        (AtLeast(50), 46, NONE, False),
        (AtLeast(50), 46, Allowance(0.1), True),
        (None, 1e9, NONE, True),
        # Python's part is a half, and takes as long again.
        (AtMost(2, 1), 3.0, Allowance(0, 2), True),
        (AtMost(2, 1), 3.1, Allowance(0, 2), False),
        (AtMost(2, 1), 3.2, Allowance(0.1, 2), True),
        (AtMost(2, 0), 4.0, Allowance(0, 2), True),
        (AtMost(2, 0), 4.1, Allowance(0, 2), False),
        (AtMost(2), 2.1, Allowance(0, 2), False),  # beside Python it makes no difference
        (AtLeast(50), 46, Allowance(0, 2), False),
    ],
)
def test_a_gate_is_kept_up_to_what_is_allowed(
    gate: Limit | None, value: float, allowed: Allowance, kept: bool
) -> None:
    row = Row("it", ("1.00",), value, gate=gate)
    assert row.kept(allowed) is kept
    assert ("FAIL" in row.text(allowed)) is not kept
    assert ("PASS" in row.text(allowed)) is (kept and gate is not None)


def test_a_line_has_a_cell_for_each_head() -> None:
    section = Section("Title", ("µs", "ms"), "ratio", lambda rounds: ())
    head = section.head().splitlines()[0]
    row = compared(Row("it", ("1", "2"), goal=2, gate=AtMost(4)), [2, 4, 60], [1, 2, 20])
    assert row.text(NONE) == "| it | 1 | 2 | 2.00 | 2.00 to 3.00 | 2 | ≤ 4 | PASS |"
    assert row.text(NONE).count("|") == head.count("|")


def section(*values: tuple[float, float]) -> Section:
    """Return a section with two lines, which finds these values one after the other."""
    attempts = iter(values)

    def rows(rounds: int) -> Iterator[Row]:
        for name, value in zip("ab", next(attempts), strict=True):
            yield Row(f"{name} {rounds}", (), value, gate=AtMost(1))

    return Section("", (), "", rows, rounds=10)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([(1, 1)], [1, 1]),
        ([(2, 1), (1, 5)], [1, 1]),  # what was kept once isn't measured down again
        ([(2, 2), (3, 1), (4, 9)], [4, 1]),
    ],
)
def test_what_misses_its_gate_gets_another_attempt(
    values: list[tuple[float, float]], found: list[float]
) -> None:
    rows = [*section(*values).measured(share=1, allowed=NONE, attempts=3)]
    assert [row.value for row in rows] == found


def test_a_share_of_the_rounds_is_never_too_few() -> None:
    for share, rounds in ((2, 20), (0.1, 5)):
        row, _ = section((1, 1)).measured(share=share, allowed=NONE, attempts=1)
        assert row.what == f"a {rounds}"


def test_what_is_added_is_counted_round_by_round() -> None:
    times = Times({"ours": [12, 25], "bare": [10, 20]})
    assert added(times, "ours", "bare") == [2, 5]


def test_a_table_is_put_where_the_page_has_a_place_for_it() -> None:
    page = "# Page\n<!-- It -->\nold\n<!-- end of It -->\nmore\n"
    assert put(page, "It", "new\nlines") == page.replace("old", "new\nlines")
    assert put(page.replace("old\n", ""), "It", "new") == page.replace("old", "new")
    for name in ("Other", "Page"):
        with pytest.raises(ValueError, match="no place"):
            put(page, name, "new")


@pytest.mark.parametrize(
    ("value", "text"), [(0.07111, "0.0711"), (1.5, "1.50"), (41.55, "41.5"), (7123.4, "7123")]
)
def test_a_number_has_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_both_interfaces_are_called_as_servers_call_them() -> None:
    issuer = scene.Issuer("ES256")
    one = scene.always(issuer.token)
    for call, status, app in (
        (scene.asgi, scene.asgi_status, asgi.JWTMiddleware(scene.asgi_app, issuer.settings())),
        (scene.wsgi, scene.wsgi_status, wsgi.JWTMiddleware(scene.wsgi_app, issuer.settings())),
    ):
        assert scene.checked(status, app, issuer.token, issuer.forged) is app
        call(app, one)()
        with pytest.raises(AssertionError):
            scene.checked(status, app, issuer.forged, issuer.forged)
        with pytest.raises(AssertionError):
            scene.checked(status, app, issuer.token, issuer.token)


def test_an_application_that_waits_is_measured_in_a_loop() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="waits"):
        scene.asgi(app, scene.always(""))()
    with closing(asyncio.new_event_loop()) as loop:
        scene.asgi_in_loop(app, scene.always(""), loop)()


WRK = """Running 2s test @ http://127.0.0.1:8000/items/1
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.33ms  123.00us   9.87ms   95.00%
  Latency Distribution
     50%    1.30ms
     99%  850.00us
  24000 requests in 2.10s, 3.10MB read
Requests/sec:  11428.57
"""


def test_the_report_of_wrk_is_understood() -> None:
    found = LOAD.search(WRK)
    assert found is not None
    assert float(found["p99"]) * UNITS[found["unit"]] == pytest.approx(0.85)
    assert (int(found["count"]), float(found["seconds"])) == (24000, 2.1)


def test_a_tree_beside_another_one() -> None:
    # Beside itself: every line is measured.
    out = subprocess.run(
        [sys.executable, "-m", "benchmarks.against", ".", "--rounds", "2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lines = [one for one in out.splitlines() if not one.startswith(" ")]
    assert len(lines) == 8
    assert all(float(cell) > 0 for one in lines for cell in one[32:].split()[:3]), out
