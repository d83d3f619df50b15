"""For OpenTelemetry: what is measured, as instruments of its API, and spans of what waits.

A count is read when the SDK collects. A verb of the store, and a look at an issuer's keys, are
spans of kind INTERNAL: what an instrumented client sends meanwhile is a span of its own, inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from types import TracebackType
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from .process.measures import Totals
from .values import forks
from .values.errors import ConfigurationError
from .values.metrics import INSTRUMENTS, STORE_BUCKETS, STORE_TIME, Instrument, Labels, Measured

try:
    from opentelemetry import context, metrics, trace
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
    from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, TracerProvider
except ImportError:
    raise ConfigurationError(
        "jwt_middleware.otel",
        "needs the API of OpenTelemetry, which isn't here",
        "pip install 'wsgi-asgi-jwt-middleware[otel]'",
    ) from None

__all__ = ["TO_GLOBAL_PROVIDERS", "OpenTelemetry"]

INSTRUMENTATION = "jwt_middleware"  # the name of what measures

_Callback: TypeAlias = Callable[[CallbackOptions], Iterable[Observation]]


class OpenTelemetry:
    """Hand what is measured to the SDK of OpenTelemetry: `Settings(metrics=...)`.

    Args:
        meter_provider: takes the metrics; None: the global one.
        tracer_provider: takes the spans; None: the global one.

    Without an SDK, the API drops both. Several settings of one process may go to one provider:
    their counts are added up.

    """

    def __init__(
        self,
        meter_provider: MeterProvider | None = None,
        tracer_provider: TracerProvider | None = None,
    ) -> None:
        self._meters = meter_provider
        self._tracers = tracer_provider
        self._tracer: Tracer | None = None
        self._observed: _Observed | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # Settings are pickled for a process that is spawned. Providers are this process's own.
        return OpenTelemetry, ()

    def begin(self, source: Measured) -> None:
        """See `Metrics.begin`."""
        # Once: what was made before the SDK was set goes on there by the API's own proxies.
        if self._observed is None:
            provider = self._meters or metrics.get_meter_provider()
            with _making:
                self._observed = _providers.get(provider) or _Observed(provider)
                _providers[provider] = self._observed
        self._observed.totals.add(source)

    def note(self) -> None:
        """Do nothing: the SDK asks."""

    def observe(self, instrument: Instrument, labels: Labels, value: float) -> None:
        """See `Metrics.observe`."""
        attributes = dict(zip(instrument.labels, labels, strict=True))
        if self._observed is not None:
            self._observed.store_time.record(value, attributes)

    def span(self, name: str, attributes: Mapping[str, str]) -> _Span:
        """See `Metrics.span`."""
        if self._tracer is None:
            self._tracer = trace.get_tracer(INSTRUMENTATION, tracer_provider=self._tracers)
        return _Span(self._tracer, name, attributes)

    def close(self) -> None:
        """Do nothing: the SDK collects once more when it is shut down."""


class _Observed:
    """The instruments of one provider, which read the totals of this process."""

    def __init__(self, provider: MeterProvider) -> None:
        self.totals = Totals()
        meter = provider.get_meter(INSTRUMENTATION)
        for one in INSTRUMENTS:
            if one.kind == "counter":
                meter.create_observable_counter(
                    one.name, [self._reading(one, self.totals.totals)], one.unit, one.text
                )
            elif one.kind == "gauge":
                meter.create_observable_gauge(
                    one.name, [self._reading(one, self.totals.gauges)], one.unit, one.text
                )
        self.store_time = meter.create_histogram(
            STORE_TIME.name,
            STORE_TIME.unit,
            STORE_TIME.text,
            explicit_bucket_boundaries_advisory=STORE_BUCKETS,
        )

    def _reading(
        self, wanted: Instrument, read: Callable[[], Mapping[tuple[Instrument, Labels], float]]
    ) -> _Callback:
        def observations(_: CallbackOptions) -> Iterable[Observation]:
            return [
                Observation(value, dict(zip(one.labels, labels, strict=True)))
                for (one, labels), value in read().items()
                if one is wanted
            ]

        return observations


class _Span:
    """A span that begins when it is entered, below the span in which it was made."""

    __slots__ = ("_attributes", "_context", "_name", "_span", "_token", "_tracer")

    def __init__(self, tracer: Tracer, name: str, attributes: Mapping[str, str]) -> None:
        self._tracer = tracer
        self._name = name
        self._attributes = attributes
        self._context = context.get_current()
        self._span: Any = None
        self._token: Any = None

    def __enter__(self) -> None:
        self._span = self._tracer.start_span(
            self._name, self._context, SpanKind.INTERNAL, self._attributes
        )
        self._token = context.attach(trace.set_span_in_context(self._span, self._context))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        context.detach(self._token)
        if kind is not None:
            # Its text may name a server, or a user.
            self._span.set_attribute("error.type", kind.__name__)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


# For settings from a file: metrics = "jwt_middleware.otel:TO_GLOBAL_PROVIDERS".
TO_GLOBAL_PROVIDERS = OpenTelemetry()
_making = Lock()
_providers: WeakKeyDictionary[MeterProvider, _Observed] = WeakKeyDictionary()


def _forked() -> None:
    global _making
    _making = Lock()


forks.in_child(_forked)
