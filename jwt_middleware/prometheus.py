"""For Prometheus: what is measured, as metrics of `prometheus_client`.

A count is read when Prometheus asks. Where several processes answer as one (`prometheus_client`'s
multiprocess mode), each writes its own into the files of that mode, a second after it has changed.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable, Mapping
from threading import Lock, Thread
from time import sleep
from typing import Any, Literal
from weakref import WeakKeyDictionary

from .process.measures import Totals
from .values import forks
from .values.errors import ConfigurationError
from .values.metrics import INSTRUMENTS, STORE_BUCKETS, STORE_TIME, Instrument, Labels, Measured

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Metric
except ImportError:
    raise ConfigurationError(
        "jwt_middleware.prometheus",
        "needs Prometheus' client, which isn't here",
        "pip install 'wsgi-asgi-jwt-middleware[prometheus]'",
    ) from None

__all__ = ["IN_DEFAULT_REGISTRY", "Prometheus"]

WRITE_EVERY = 1.0  # seconds, in multiprocess mode
_MODES: Mapping[str, Literal["livesum", "livemax"]] = {"sum": "livesum", "max": "livemax"}


class Prometheus:
    """Publish what is measured in a registry of `prometheus_client`: `Settings(metrics=...)`.

    Args:
        registry: where; None: the default one, which `start_http_server` and `make_wsgi_app` show.

    Several settings of one process may go to one registry: their counts are added up.

    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._registry = registry

    def __reduce__(self) -> tuple[Any, ...]:
        # Settings are pickled for a process that is spawned. A registry is this process's own.
        return Prometheus, ()

    @property
    def _published(self) -> _Published:
        registry = REGISTRY if self._registry is None else self._registry
        with _making:
            found = _registries.get(registry)
            if found is None:
                found = _registries[registry] = _Published()
                if not found.writes:
                    registry.register(found)
            return found

    def begin(self, source: Measured) -> None:
        """See `Metrics.begin`."""
        self._published.totals.add(source)

    def note(self) -> None:
        """See `Metrics.note`."""
        self._published.wake()

    def observe(self, instrument: Instrument, labels: Labels, value: float) -> None:
        """See `Metrics.observe`."""
        self._published.store_time.labels(*labels).observe(value)

    def span(self, name: str, attributes: Mapping[str, str]) -> None:
        """Return None: Prometheus has no spans."""

    def close(self) -> None:
        """See `Metrics.close`."""
        self._published.close()


class _Published:
    """The metrics of one registry, in this process. It is a collector, too."""

    def __init__(self) -> None:
        # As `prometheus_client` itself decides. In that mode nobody asks this process: it writes.
        self.writes = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        self.totals = Totals()
        self.store_time = _made(STORE_TIME)
        # The others, each when there is something to say: a gauge begins with 0, which is a time.
        self._metrics: dict[Instrument, Any] = {}
        self._told: dict[tuple[Instrument, Labels], float] = {}
        self.reset()
        if self.writes:
            atexit.register(self.close)

    def reset(self) -> None:
        """Begin with nothing told, as a forked child does."""
        self.lock = Lock()
        self._thread: Thread | None = None
        self._told.clear()

    def describe(self) -> Iterable[Metric]:
        """Return the names, for the registry."""
        return [found for one in INSTRUMENTS for found in _made(one).describe()]

    def collect(self) -> Iterable[Metric]:
        """Return the metrics as they are now."""
        self.write()
        metrics = *self._metrics.values(), self.store_time
        return [found for one in metrics for found in one.collect()]

    def write(self) -> None:
        """Bring the metrics up to date: what has changed."""
        with self.lock:
            told = self._told
            for key, number in self.totals.totals().items():
                if told.get(key) != number:
                    self._metric(*key).inc(number - told.get(key, 0))
                    told[key] = number
            for key, value in self.totals.gauges().items():
                if told.get(key) != value:
                    self._metric(*key).set(value)
                    told[key] = value

    def _metric(self, one: Instrument, labels: Labels) -> Any:
        if one not in self._metrics:
            self._metrics[one] = _made(one)
        metric = self._metrics[one]
        return metric.labels(*labels) if labels else metric

    def wake(self) -> None:
        """Begin to write each second, where this process must."""
        if not self.writes or self._thread is not None:
            return
        self._thread = Thread(target=self._write_on, name="jwt_middleware_metrics", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no thread can be had: it is written at the end
            self._thread = None

    def _write_on(self) -> None:
        try:
            while True:
                sleep(WRITE_EVERY)
                self.write()
        finally:  # it failed; another begins with the next count
            self._thread = None

    def close(self) -> None:
        """Write what isn't written."""
        if self.writes:
            self.write()


def _made(one: Instrument) -> Any:
    """Return a metric of `prometheus_client`, in no registry."""
    unit = "seconds" if one.unit == "s" else ""
    name = one.name.replace(".", "_")
    if one.kind == "counter":
        return Counter(name, one.text, one.labels, unit=unit, registry=None)
    if one.kind == "histogram":
        return Histogram(
            name, one.text, one.labels, unit=unit, registry=None, buckets=STORE_BUCKETS
        )
    mode = _MODES[one.joined]
    return Gauge(name, one.text, one.labels, unit=unit, registry=None, multiprocess_mode=mode)


# For settings from a file: metrics = "jwt_middleware.prometheus:IN_DEFAULT_REGISTRY".
IN_DEFAULT_REGISTRY = Prometheus()
_making = Lock()
_registries: WeakKeyDictionary[CollectorRegistry, _Published] = WeakKeyDictionary()


def _renew() -> None:
    global _making
    _making = Lock()
    for one in _registries.values():
        one.reset()


def _hold() -> None:
    # Nobody may write during a fork: the client's lock would stay locked in the child.
    _making.acquire()
    for one in _registries.values():
        one.lock.acquire()


def _let_go() -> None:
    for one in _registries.values():
        one.lock.release()
    _making.release()


forks.in_child(_renew)
getattr(os, "register_at_fork", dict)(before=_hold, after_in_parent=_let_go)
