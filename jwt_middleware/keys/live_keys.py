"""The keys of one issuer in this process: the known keys, and the one running fetch.

WSGI and ASGI, all threads and all tasks share them. A fetch is one short-lived thread and one
future; a request waits for the future, with a time-out, or doesn't wait at all. A request that
stops waiting changes nothing for the others. Where no thread can be started, a request that would
have waited does the fetch itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import astuple, replace
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ..jose.jwk import Key
from ..values import forks, reasons
from ..values.errors import ConfigurationError, InvalidToken, KeysUnavailable
from ..values.events import Event, KeysBack, KeysChanged, KeysFailed, KeySkipped
from ..values.flows import Flow, ask, run
from ..values.randomness import fraction
from .freshness import JOINED, OLD, FetchPlan, Freshness, fixed
from .key_set import KeySet
from .key_sources import FoundKeys, Skipped, Source
from .stranger_limits import Places
from .waits import new_future, result_within

if TYPE_CHECKING:
    from concurrent.futures import Future

MAX_ALOFT = 2  # threads of fetches; where that many hang, another would hang, too

Tell: TypeAlias = Callable[[tuple[Event, ...]], None]
# Waits for a future, sync or async, for at most some seconds. Raises TimeoutError.
WaitFor: TypeAlias = Callable[["Future[Any]", float], Any]


class _Flight(NamedTuple):
    """One fetch."""

    number: int
    begun: float
    future: Future[None]
    watched: AbstractContextManager[object]  # made where the fetch is asked for


class _Wait(NamedTuple):
    """What a request waits for, and how long."""

    future: Future[None]
    seconds: float
    must: bool = True  # else the request goes on with the known keys after that time


class LiveKeys:
    """The present keys of a `KeySet`. `tell` is given events, in the thread that fetches.

    `places` is set for an issuer that has had no good token yet: then a fetch needs a place. What
    `watch` makes is entered around each fetch.
    """

    def __init__(
        self,
        key_set: KeySet,
        issuer: str,
        *,
        clock: Callable[[], float],
        tell: Tell,
        stands_alone: bool = True,
        places: Places | None = None,
        watch: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._watch = watch
        self.key_set = key_set
        self.places = places
        self.issuer = issuer
        self.source: Source | None = key_set.source
        self._clock = clock
        self._tell = tell
        self._found: FoundKeys | None = None
        self._skipped: frozenset[Skipped] = frozenset()
        self._failed_since: float | None = None
        if self.source is None:
            self.fresh = fixed(key_set.by_kid)
        else:
            # Load the module now. If the process forked while another thread was importing it, the
            # child would wait for the lock on that import for ever.
            new_future()
            self.fresh = Freshness(self.source.limits(), stands_alone=stands_alone)
            if key_set.keys:
                # They were read when the settings were made, maybe long ago: look again at once.
                self.fresh.succeeded(clock(), key_set.by_kid, lifetime=-OLD, spread=0)
        self.reset()

    def reset(self) -> None:
        """Begin without a fetch, with a new lock: a forked child must not use its parent's."""
        self._lock = Lock()
        self._flight: _Flight | None = None  # the one that requests wait for
        self._aloft = 0
        self._flights = 0
        self._taken = 0  # the newest flight that brought keys
        self.fresh.reset()

    def find(self, kid: str | None, now: float) -> Key:
        """Return the issuer's key called `kid`, after a fetch where one is due.

        Raises:
            InvalidToken: the issuer has no such key.
            KeysUnavailable: it can't be found out at the moment, because the source fails.

        """
        return run(self.finding(result_within, kid, now))

    def renew(self, now: float, *, lacking: bool = False) -> None:
        """Begin a fetch of our own keys if one is due; meanwhile the known keys sign.

        The request waits in two cases: after an idle time, because the signing key may have
        changed, and where a token's key is `lacking` here, because the source may have it now.

        Raises:
            KeysUnavailable: it can't be found out at the moment.

        """
        run(self.renewing(result_within, now, lacking=lacking))

    def begin(self, now: float) -> None:
        """Begin a fetch if one is due, and don't wait for it."""
        with suppress(InvalidToken, KeysUnavailable):
            self._decide(None, now)

    def finding(self, wait_for: WaitFor, kid: str | None, now: float) -> Flow[Key]:
        """Do what `find` does, as a flow. A request that stops waiting doesn't stop the fetch."""
        wait = self._decide(kid, now)
        if wait is not None:
            try:
                yield from ask(wait_for, wait.future, wait.seconds)
            except TimeoutError:
                if wait.must:
                    raise self._unavailable(now) from None
        return self._look(kid)

    def renewing(self, wait_for: WaitFor, now: float, *, lacking: bool = False) -> Flow[None]:
        """Do what `renew` does, as a flow."""
        name = "" if lacking else next(iter(self.fresh.keys))
        # InvalidToken: the source was looked at a moment ago, or doesn't have the key.
        with suppress(InvalidToken, TimeoutError):
            wait = self._decide(name, now)
            if wait is not None:
                yield from ask(wait_for, wait.future, wait.seconds)

    def _decide(self, kid: str | None, now: float) -> _Wait | None:
        """Return what to wait for, if anything. Raises InvalidToken, KeysUnavailable."""
        if self.source is None:
            return None
        forks.notice()  # before the lock: after a fork, a thread of the parent may hold it
        # DNS look-ups have no time-out, so the wait of the request has one.
        limits = self.source.limits()
        events: tuple[Event, ...] = ()
        with self._lock:
            if self.fresh.is_lost(now):
                self._flight = None
                events = self._note_failure(now, f"no answer in {limits.lease:g} s")
            # After an idle time: a known key may have been stolen, and so removed, in between.
            was_old = limits.near and self.fresh.is_old(now)
            plan = self.fresh.plan(kid, now)
            begun = self._prepare(now) if plan in ("start", "ask") else None
            flight, patient = self._flight, self.fresh.is_worth_waiting(now)
        self._tell(events)
        if begun is not None:
            self._take_off(begun, plan)
        if plan == "unknown":
            raise InvalidToken(reasons.KEY_UNKNOWN)
        if plan == "refuse":
            raise self._unavailable(now)
        if flight is not None and was_old and plan in ("go on", "start"):
            return _Wait(flight.future, JOINED, must=False)
        if flight is None or plan not in ("ask", "join"):
            return None
        return _Wait(flight.future, limits.lease if patient or plan == "ask" else JOINED)

    def _look(self, kid: str | None) -> Key:
        """Return the key from the known keys. Raises InvalidToken, KeysUnavailable."""
        now = self._clock()
        usable = self.fresh.is_usable(now)
        key = self.fresh.keys.get(kid) if usable else None
        if key is not None:
            return key
        if not usable or self.fresh.is_failing:
            raise self._unavailable(now)
        raise InvalidToken(reasons.KEY_UNKNOWN)

    def _unavailable(self, now: float) -> KeysUnavailable:
        return KeysUnavailable(f"the keys of {self.issuer}", self.fresh.retry_after(now))

    # --- the fetch

    def _prepare(self, now: float) -> _Flight | None:
        """Return a new flight, whose lease has begun already. The lock is held."""
        self._flight = None
        if self._aloft >= MAX_ALOFT:
            self.fresh.failed(now)
            return None
        self._aloft += 1
        self._flights += 1
        self._flight = _Flight(self._flights, now, new_future(), self._watch())
        self._flight.future.set_running_or_notify_cancel()
        return self._flight

    def _take_off(self, flight: _Flight, plan: FetchPlan) -> None:
        places = self.places
        if places is None:
            self._start(flight, plan)
            return
        place = places.ask()
        if place is None:
            self._end(flight, self._failed(flight, None))
            return
        flight.future.add_done_callback(lambda _: places.leave())
        place.add_done_callback(lambda _: self._start(flight, plan))

    def _start(self, flight: _Flight, plan: FetchPlan) -> None:
        """Begin a flight that has its place, or needs no place."""
        if self._flight is not flight:  # it waited so long for a place that it counts as failed
            self._end(flight, self._failed(flight, None))
            return
        thread = Thread(target=self._fly, args=(flight,), name="jwt_middleware_keys", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            if plan == "ask":
                self._fly(flight)
            else:
                # The known keys serve, and a request with one of them never waits for the network.
                self._end(flight, self._failed(flight, KeysUnavailable(str(error))))

    def _fly(self, flight: _Flight) -> None:
        events: tuple[Event, ...] = ()
        try:
            with flight.watched:
                found = self._fetch(flight.begun)
            events = self._succeeded(flight, *found)
        except KeysUnavailable as error:
            events = self._failed(flight, error)
        except BaseException:
            # The thread or the process is ending: no answer will come.
            events = self._failed(flight, KeysUnavailable("the fetch was broken off"))
            raise
        finally:
            self._end(flight, events)

    def _end(self, flight: _Flight, events: tuple[Event, ...]) -> None:
        flight.future.set_result(None)
        self._tell(events)

    def _fetch(self, begun: float) -> tuple[FoundKeys, KeySet, frozenset[Skipped]]:
        """Look at the source once, and read what is found. Raises KeysUnavailable."""
        source = self.source
        assert source is not None  # noqa: S101  (or nothing would ever be due)
        try:
            found = source.fetch(self.issuer, self._found, begun)
            if self._found is not None and found.octets == self._found.octets:
                return found, self.key_set, self._skipped
            keys, skipped = source.read(found.octets)
            key_set = KeySet(keys)
        except KeysUnavailable:
            raise
        except ConfigurationError as error:
            raise KeysUnavailable(str(error)) from None
        except Exception as error:
            # The application's fetcher may raise anything; a request gets its 503 all the same.
            raise KeysUnavailable(f"{type(error).__name__}: {error}") from error
        if self.key_set.signer is not None and key_set.signer is None:
            raise KeysUnavailable("none of the keys that were found can sign")
        if {key.is_symmetric for key in (*self.key_set.keys, *key_set.keys)} == {True, False}:
            raise KeysUnavailable("secrets were found where public keys were, or the reverse")
        return found, key_set, frozenset(skipped)

    def _succeeded(
        self, flight: _Flight, found: FoundKeys, key_set: KeySet, skipped: frozenset[Skipped]
    ) -> tuple[Event, ...]:
        now = self._clock()
        with self._lock:
            self._land(flight)
            if flight.number < self._taken:
                # It ended after a newer flight: its keys may have been withdrawn since.
                return ()
            self._taken = flight.number
            before, was_skipped = self.key_set, self._skipped
            since, self._failed_since = self._failed_since, None
            self.key_set, self._skipped, self._found = key_set, skipped, found
            begun = min(flight.begun, now)  # a clock may have been set back meanwhile
            self.fresh.succeeded(begun, key_set.by_kid, found.lifetime, fraction())
        events: list[Event] = []
        if since is not None:
            events.append(KeysBack(issuer=self.issuer, seconds=max(now - since, 0.0)))
        added, removed = _lacking(before, key_set), _lacking(key_set, before)
        if before.keys and (added or removed):
            events.append(KeysChanged(issuer=self.issuer, added=added, removed=removed))
        events += [
            KeySkipped(issuer=self.issuer, kid=one.kid, problem=one.problem)
            for one in sorted(skipped - was_skipped, key=astuple)
        ]
        return tuple(events)

    def _failed(self, flight: _Flight, error: KeysUnavailable | None) -> tuple[Event, ...]:
        """Return the events of a flight that brought no keys; `error` is None: it had no place."""
        now = self._clock()
        with self._lock:
            if not self._land(flight):
                return ()  # it ended past its lease: already counted as a failure, with its event
            if error is None:
                self.fresh.put_off(now)
                return ()
            self.fresh.failed(now)
            return self._note_failure(now, error.detail)

    def _note_failure(self, now: float, detail: str) -> tuple[Event, ...]:
        """Return the events of a failure: one for the first in a row. The lock is held."""
        if self._found is not None:
            self._found = replace(self._found, memo=None)
        if self._failed_since is not None:
            return ()
        self._failed_since = now
        return (KeysFailed(issuer=self.issuer, detail=detail),)

    def _land(self, flight: _Flight) -> bool:
        """Say whether this was the flight that requests wait for. The lock is held."""
        self._aloft -= 1
        is_current = self._flight is flight
        if is_current:
            self._flight = None
        return is_current


def _lacking(some: KeySet, others: KeySet) -> tuple[str, ...]:
    """Return the names in `others` that `some` lacks, or has for another key."""
    known = {(key.kid, key.algorithm.name): _verifying(key) for key in some.keys}
    lacking = {
        key.kid
        for key in others.keys
        if known.get((key.kid, key.algorithm.name)) != _verifying(key)
    }
    return tuple(sorted(lacking))


def _verifying(key: Key) -> Mapping[str, object]:
    # `key_ops` says whether the key signs; it makes no difference for verifying.
    return key.to_jwk() | {"key_ops": key.verifies}
