"""Metrics that a test reads: they keep what they are given."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import AbstractContextManager, contextmanager

from jwt_middleware.values.metrics import Instrument, Labels, Measured


class Recorder:
    """Keeps what one or several settings measure."""

    def __init__(self) -> None:
        self.sources: list[Measured] = []
        self.observed: list[tuple[str, Labels]] = []
        self.spans: list[tuple[str, Mapping[str, str], str]] = []  # and the error, or ""
        self.notes = 0
        self.is_closed = False

    def begin(self, source: Measured) -> None:
        self.sources.append(source)

    def note(self) -> None:
        self.notes += 1

    def observe(self, instrument: Instrument, labels: Labels, value: float) -> None:
        assert value >= 0
        self.observed.append((instrument.name, labels))

    def span(self, name: str, attributes: Mapping[str, str]) -> AbstractContextManager[object]:
        return self._span(name, attributes)

    @contextmanager
    def _span(self, name: str, attributes: Mapping[str, str]) -> Generator[None]:
        error = ""
        try:
            yield
        except BaseException as raised:
            error = type(raised).__name__
            raise
        finally:
            self.spans.append((name, attributes, error))

    def close(self) -> None:
        self.is_closed = True

    def counts(self, *, zeros: bool = False) -> dict[str, dict[Labels, float]]:
        """Return the counts by instrument and labels, without those at zero."""
        return _sorted(
            (one, labels, number)
            for source in self.sources
            for one, labels, number in source.counts()
            if number or zeros
        )

    def gauges(self) -> dict[str, dict[Labels, float]]:
        return _sorted(one for source in self.sources for one in source.gauges())


def _sorted(found: Iterable[tuple[Instrument, Labels, float]]) -> dict[str, dict[Labels, float]]:
    by_name: dict[str, dict[Labels, float]] = {}
    for one, labels, value in found:
        assert len(labels) == len(one.labels)
        of_one = by_name.setdefault(one.name.removeprefix("jwt_middleware."), {})
        of_one[labels] = value if one.kind == "gauge" else of_one.get(labels, 0) + value
    return by_name
