"""What one Settings measures in this process, and how bridges read it.

Nothing here knows Prometheus or OpenTelemetry. Counts are plain integers; a bridge reads them when
somebody looks. So a request pays for one addition.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from threading import Lock
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, cast, get_args
from weakref import WeakKeyDictionary, WeakSet

from ..request.routes import Routes
from ..settings.settings import Settings
from ..values import forks
from ..values.events import Event
from ..values.metrics import (
    KEYS_FETCHED,
    KNOWN,
    STORE_TIME,
    SYNCED,
    UNNAMED,
    Counts,
    Instrument,
    Labels,
    Measured,
    Metrics,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..core.known_tokens import Cache
    from ..core.trusted_issuers import Issuers
    from ..grant.ended_grants import EndedGrants

_UNTRACED = "ended"  # it is asked beside the requests, for all of them


class Measures:
    """The counts of one Settings, what times its calls, and what is read of its live parts."""

    issuers: Issuers
    cache: Cache | None
    ended: EndedGrants | None

    def __init__(self, settings: Settings) -> None:
        self._metrics = cast("tuple[Metrics, ...]", settings.metrics)
        named = (settings, *settings.trusted_issuers)
        fetched = [one.issuer for one in named if one.keys.source is not None]
        self.counted = Counts(
            (one.name for one in Routes(settings.routes).rules),
            (one.name for one in get_args(Event)),
            (*fetched, *((UNNAMED,) if settings.issuer_for is not None else ())),
            self._note,
        )

    def begin(self, issuers: Issuers, cache: Cache | None, ended: EndedGrants | None) -> None:
        """Let bridges read, now that there is something to read."""
        self.issuers, self.cache, self.ended = issuers, cache, ended
        for one in self._metrics:
            one.begin(self)

    def close(self) -> None:
        """Have all written that was counted."""
        for one in self._metrics:
            one.close()

    def counts(self) -> Iterator[tuple[Instrument, Labels, int]]:
        """See `Measured.counts`."""
        return self.counted.read()

    def gauges(self) -> Iterator[tuple[Instrument, Labels, float]]:
        """See `Measured.gauges`."""
        for name, when in self.issuers.fetched():
            yield KEYS_FETCHED, (name,), when
        if self.cache is not None:
            yield KNOWN, (), len(self.cache)
        if self.ended is not None and self.ended.synced_at > 0:
            yield SYNCED, (), self.ended.synced_at

    def _note(self) -> None:
        for one in self._metrics:
            one.note()

    # --- what is timed

    def store_call(self, verb: str) -> AbstractContextManager[object]:
        """Return what times a call of the store, and makes a span of it."""
        spans = (
            ()
            if verb == _UNTRACED
            else self._spans(f"jwt_middleware.store {verb}", {"jwt_middleware.store.verb": verb})
        )
        return _Timed(spans, partial(self._store_called, verb))

    def key_fetch(self, issuer: str) -> AbstractContextManager[object]:
        """Return what counts a look at an issuer's key set, and makes a span of it."""
        spans = self._spans("jwt_middleware.keys fetch", {"jwt_middleware.issuer": issuer})
        return _Timed(spans, partial(self._fetched, issuer))

    def _spans(
        self, name: str, attributes: dict[str, str]
    ) -> tuple[AbstractContextManager[object], ...]:
        found = [one.span(name, attributes) for one in self._metrics]
        return tuple(one for one in found if one is not None)

    def _store_called(self, verb: str, seconds: float, error: type[BaseException] | None) -> None:
        # A request that was cancelled has no outcome of the store's.
        failed = error is not None and issubclass(error, Exception)
        outcome = "failed" if failed else "ok" if error is None else "broken_off"
        for one in self._metrics:
            one.observe(STORE_TIME, (verb, outcome), seconds)
            one.note()

    def _fetched(self, issuer: str, _: float, error: type[BaseException] | None) -> None:
        self.counted.fetched(issuer, failed=error is not None)


class _Timed:
    """Times what is done inside, and lets it be a span."""

    __slots__ = ("_begun", "_done", "_spans")

    def __init__(
        self,
        spans: tuple[AbstractContextManager[object], ...],
        done: Callable[[float, type[BaseException] | None], None],
    ) -> None:
        self._spans = spans
        self._done = done
        self._begun = 0.0

    def __enter__(self) -> None:
        for one in self._spans:
            one.__enter__()
        self._begun = perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done(perf_counter() - self._begun, kind)
        for one in reversed(self._spans):
            one.__exit__(kind, error, trace)


class Totals:
    """Reads what several settings objects have measured, for one bridge: their sums.

    A settings object that is gone leaves behind what was read of it, so that no sum ever falls. A
    forked child begins with zero: what was counted before is its parent's.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._seen: WeakKeyDictionary[Measured, dict[tuple[Instrument, Labels], int]]
        self._seen = WeakKeyDictionary()
        self._totals: dict[tuple[Instrument, Labels], int] = {}
        _all_totals.add(self)

    def add(self, source: Measured) -> None:
        """Read this one, too."""
        with self._lock:
            self._seen.setdefault(source, {})

    def totals(self) -> dict[tuple[Instrument, Labels], int]:
        """Return all counts as they are now."""
        with self._lock:
            self._read()
            return dict(self._totals)

    def gauges(self) -> dict[tuple[Instrument, Labels], float]:
        """Return what is so at this moment."""
        with self._lock:
            sources = tuple(self._seen)
        found: dict[tuple[Instrument, Labels], float] = {}
        for source in sources:
            for instrument, labels, value in source.gauges():
                key = instrument, labels
                join = sum if instrument.joined == "sum" else max
                found[key] = join((found[key], value)) if key in found else value
        return found

    def _read(self) -> None:
        for source, seen in self._seen.items():
            for instrument, labels, number in source.counts():
                key = instrument, labels
                self._totals[key] = self._totals.get(key, 0) + number - seen.get(key, 0)
                seen[key] = number

    def forget(self) -> None:
        """Begin with zero, as a forked child does."""
        self._lock = Lock()
        self._read()
        self._totals = dict.fromkeys(self._totals, 0)


_all_totals: WeakSet[Totals] = WeakSet()


def _forget() -> None:
    for one in _all_totals:
        one.forget()


forks.in_child(_forget)
