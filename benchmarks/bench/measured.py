"""What `Settings(metrics=...)` costs a request with a known token, beside the same without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.measure import measure
from jwt_middleware import Route

from .report import AtMost, Row, Section, added, compared, micros
from .scene import Function, always, asgi, wsgi

if TYPE_CHECKING:
    from .costs import Scene

# The rule of `scene.PATH` asks for a scope: the dearest kind that the warm path decides about.
RULES = (
    Route("/login", public=True),
    Route("/admin/*", scope="admin"),
    Route("/items/*", scope="read"),
)


class Unread:
    """Metrics that nobody reads: both bridges are beside the way of such a request."""

    def begin(self, source: object) -> None: ...

    def note(self) -> None: ...

    def observe(self, instrument: object, labels: object, value: float) -> None: ...

    def span(self, name: str, attributes: Mapping[str, str]) -> None: ...

    def close(self) -> None: ...


def sections(scene: Scene) -> Iterator[Section]:
    """Yield the section."""
    yield Section(
        "What metrics add to a request",
        ("one request, µs", "added, µs"),
        "over raw",
        partial(rows, scene),
        "A known token, with `Settings(metrics=...)` over without; raw is one check of an RS256 "
        "signature. Without, the same function runs as before there were metrics.",
        rounds=200,
    )


def rows(scene: Scene, rounds: int) -> Iterator[Row]:
    """Compare each door with itself."""
    one = always(scene.issuer.token)
    functions: dict[str, Function] = {"raw": scene.raw}
    for door, make, call in (("ASGI", scene.asgi, asgi), ("WSGI", scene.wsgi, wsgi)):
        for kind, routes in (("no rules", ()), ("a rule with a scope", RULES)):
            given: dict[str, Any] = {"routes": routes}
            functions[f"{door}, {kind}"] = call(make(**given), one)
            functions[f"{door}, {kind}, measured"] = call(make(**given, metrics=Unread()), one)
    times = measure(functions, rounds=rounds)
    for name in functions:
        measured = f"{name}, measured"
        if measured not in functions:
            continue
        extra = added(times, measured, name)
        costs = micros(times.typical(measured)), micros(sorted(extra)[len(extra) // 2])
        # 0.3 µs, where raw takes 15.
        row = Row(name, costs, goal=0.015, gate=AtMost(0.02, 0))
        yield compared(row, extra, times.rounds["raw"])
