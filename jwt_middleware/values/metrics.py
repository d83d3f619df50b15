"""What can be measured: the table of instruments, the counts, and what takes them elsewhere.

The table is closed, and so are the values of every label: they come from the settings and from this
package, never from a request. So no stranger can make a series.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from itertools import count
from typing import Literal, NamedTuple, Protocol, TypeAlias

from . import reasons
from .events import Ahead, Event, Issued, KeyMismatch, Refreshed, Restored, Reused, Revoked

Labels: TypeAlias = tuple[str, ...]  # the values, in the order of the instrument's names


class Instrument(NamedTuple):
    """One line of the table. The name is OpenTelemetry's form; Prometheus' is made from it."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str  # by UCUM, as OpenTelemetry has it: "s", "{request}"
    labels: tuple[str, ...]
    text: str
    # How a gauge is put together from several settings of one process, and from several processes.
    # A time is the newest: a process that nobody asks doesn't look, and its time is old.
    joined: Literal["sum", "max"] = "sum"


LET_IN = Instrument(
    "jwt_middleware.requests.let_in",
    "counter",
    "{request}",
    ("rule", "token"),
    "Requests that reached the application, by route rule; the token was known, new, or none.",
)
REFUSED = Instrument(
    "jwt_middleware.requests.refused",
    "counter",
    "{request}",
    ("rule", "reason"),
    "Requests that were refused, by route rule or endpoint, and by reason.",
)
EVENTS = Instrument(
    "jwt_middleware.events",
    "counter",
    "{event}",
    ("event",),
    "Events by name: issued is a login, reused a stolen refresh token.",
)
REFRESHES = Instrument(
    "jwt_middleware.refreshes",
    "counter",
    "{refresh}",
    ("outcome",),
    "Authentic refresh tokens of living grants, by what the rotation rule made of them.",
)
ENDED = Instrument(
    "jwt_middleware.grants.ended",
    "counter",
    "{grant}",
    ("reason",),
    "Grants that this process ended, by reason.",
)
FETCHES = Instrument(
    "jwt_middleware.keys.fetches",
    "counter",
    "{fetch}",
    ("issuer", "outcome"),
    "Looks at an issuer's key set, by outcome.",
)
KEYS_FETCHED = Instrument(
    "jwt_middleware.keys.fetched_timestamp",
    "gauge",
    "s",
    ("issuer",),
    "When the key set in use was fetched, in seconds since 1970.",
    "max",
)
SYNCED = Instrument(
    "jwt_middleware.feed.synced_timestamp",
    "gauge",
    "s",
    (),
    "When the store was last asked which grants have ended, in seconds since 1970.",
    "max",
)
KNOWN = Instrument(
    "jwt_middleware.tokens.known", "gauge", "{token}", (), "Verified tokens in the cache."
)
STORE_TIME = Instrument(
    "jwt_middleware.store.duration",
    "histogram",
    "s",
    ("verb", "outcome"),
    "Time of one call of the store.",
)
INSTRUMENTS = (
    *(LET_IN, REFUSED, EVENTS, REFRESHES, ENDED, FETCHES),
    *(KEYS_FETCHED, SYNCED, KNOWN, STORE_TIME),
)

# The bounds of its buckets: from a store in memory to the time-outs of the slowest.
STORE_BUCKETS = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)

KNOWN_TOKEN, NEW_TOKEN, NO_TOKEN = "known", "new", "none"
OTHER_RULE = "other"  # a path that no rule names; rules begin with a slash or a method
UNNAMED = "others"  # all issuers together that the settings don't name
OTHER = "other"  # a reason in the application's own words
OUTCOMES = (
    *("rotated", "kept", "repeated", "migrated"),  # those of `Refreshed.how`
    *("restored", "reused", "ahead", "key_mismatch"),
)
END_REASONS = ("logout", "replaced", "reused", "room", OTHER)
REASONS = frozenset(str(one) for name, one in vars(reasons).items() if name.isupper())
FETCH_OUTCOMES = ("ok", "failed")


class Counts:
    """The counts of one settings object, in this process: plain integers that only grow.

    A count is an `itertools.count`: one call of C adds one, and no other thread comes between. In a
    free-threaded Python 3.13 two threads at the same count may lose one of two.

    Args:
        rules: the names of the route rules.
        events: the names of all events.
        issuers: the names of the issuers whose keys are fetched, `UNNAMED` among them.
        note: is called after each count that isn't that of a known token.

    """

    __slots__ = ("_cells", "_note")

    def __init__(
        self,
        rules: Iterable[str],
        events: Iterable[str],
        issuers: Iterable[str],
        note: Callable[[], None],
    ) -> None:
        self._cells: dict[tuple[Instrument, Labels], count[int]] = {}
        self._note = note
        # From zero: a counter that begins with its first event shows no increase for it. Only the
        # refusals aren't here: a hundred reasons for each rule.
        tokens = KNOWN_TOKEN, NEW_TOKEN, NO_TOKEN
        for labels in ((rule, token) for rule in rules for token in tokens):
            self.adder(LET_IN, *labels)
        for labels in ((issuer, outcome) for issuer in issuers for outcome in FETCH_OUTCOMES):
            self.adder(FETCHES, *labels)
        for one, names in ((EVENTS, events), (REFRESHES, OUTCOMES), (ENDED, END_REASONS)):
            for name in names:
                self.adder(one, name)

    def adder(self, instrument: Instrument, *labels: str) -> Callable[[], int]:
        """Return what adds one to a count. The caller vouches for the labels."""
        return self._cells.setdefault((instrument, labels), count()).__next__

    def let_in(self, rule: str, token: str) -> None:
        """Count a request that is let in, and whose token wasn't found on the warm path."""
        self._add(LET_IN, rule, token)

    def refused(self, rule: str, reason: str) -> None:
        """Count a request that is refused."""
        self._add(REFUSED, rule, reason if reason in REASONS else OTHER)

    def fetched(self, issuer: str, *, failed: bool) -> None:
        """Count a look at an issuer's key set."""
        self._add(FETCHES, issuer, FETCH_OUTCOMES[failed])

    def told(self, event: Event) -> None:
        """Count an event, and what it says."""
        self._add(EVENTS, event.name)
        match event:
            case Refreshed():
                self._add(REFRESHES, event.how)
            case Restored() | Reused() | Ahead() | KeyMismatch():
                self._add(REFRESHES, event.name)
            case _:
                pass
        for reason, number in _ends(event):
            for _ in range(number):
                self._add(ENDED, reason if reason in END_REASONS else OTHER)

    def _add(self, instrument: Instrument, *labels: str) -> None:
        self.adder(instrument, *labels)()
        self._note()

    def read(self) -> Iterator[tuple[Instrument, Labels, int]]:
        """Yield every count as it is now."""
        for (instrument, labels), cell in tuple(self._cells.items()):
            # Its `repr` is the only look at a count that doesn't move it: "count(5)".
            yield instrument, labels, int(repr(cell)[6:-1])


def _ends(event: Event) -> tuple[tuple[str, int], ...]:
    """Return the reason for which an event's grants ended, and how many did."""
    match event:
        case Reused():
            return (("reused", 1),)
        case Revoked():
            return ((event.reason, len(event.grant_ids)),)
        case Issued():
            return (("room", len(event.ended)),)
        case _:
            return ()


class Measured(Protocol):
    """What one settings object has measured in this process."""

    def counts(self) -> Iterable[tuple[Instrument, Labels, int]]:
        """Return all counts; they only grow."""
        ...

    def gauges(self) -> Iterable[tuple[Instrument, Labels, float]]:
        """Return what is so at this moment."""
        ...


class Metrics(Protocol):
    """What `Settings(metrics=...)` takes: it carries the measured to where somebody looks.

    `jwt_middleware.prometheus.Prometheus` and `jwt_middleware.otel.OpenTelemetry` are two. None of
    its methods may wait or raise: they are called while a request is served.
    """

    def begin(self, source: Measured) -> None:
        """Take what a settings object measures from now on. Called once for each, per process."""
        ...

    def note(self) -> None:
        """Hear that something other than a known token was counted, in the thread that did it."""
        ...

    def observe(self, instrument: Instrument, labels: Labels, value: float) -> None:
        """Take one value of a histogram."""
        ...

    def span(
        self, name: str, attributes: Mapping[str, str]
    ) -> AbstractContextManager[object] | None:
        """Return a span of a trace, which begins where it is entered; None: no spans.

        Its parent is the span in which this is called. Another thread may enter it.
        """
        ...

    def close(self) -> None:
        """Write what was counted and isn't written yet: the process may end."""
        ...
