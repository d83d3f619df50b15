"""The keys of one issuer in this process: what is known of them, and the one fetch on its way.

Both doors share it, all threads and all tasks. A fetch is one short-lived thread and one future; a
request waits for the future, with a time-out, or doesn't wait at all. Who gives up, or is
cancelled, takes nothing from the others. Where no thread can be had, who would wait anyway fetches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass, replace
from threading import Lock, Thread
from typing import TYPE_CHECKING, TypeAlias

from ..jose.jwk import Key
from ..values import forks, reasons
from ..values.errors import ConfigurationError, InvalidToken, KeysUnavailable
from ..values.events import Event, KeysBack, KeysChanged, KeysFailed, KeySkipped
from .freshness import JOINED, OLD, Freshness, Plan, fixed
from .key_set import KeySet
from .key_sources import Found, Skipped, Source
from .stranger_limits import Places

if TYPE_CHECKING:
    from concurrent.futures import Future

MAX_ALOFT = 2  # threads of fetches that didn't come back in time: one more would wait like them

Tell: TypeAlias = Callable[[tuple[Event, ...]], None]


@dataclass(frozen=True, slots=True)
class _Flight:
    """One fetch."""

    number: int
    begun: float
    future: Future[None]


@dataclass(frozen=True, slots=True)
class _Wait:
    """What a request waits for, and how long."""

    future: Future[None]
    seconds: float
    must: bool = True  # or it goes on with the keys that are known, whatever comes


class LiveKeys:
    """What a `KeySet` is at this moment. `tell` takes events, in whichever thread fetches.

    `places` are where a fetch needs one: until a token of the issuer was good.
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
    ) -> None:
        self.key_set = key_set
        self.places = places
        self.issuer = issuer
        self.source: Source | None = key_set.source
        self._clock = clock
        self._tell = tell
        self._found: Found | None = None
        self._skipped: frozenset[Skipped] = frozenset()
        self._failed_since: float | None = None
        if self.source is None:
            self.fresh = fixed(key_set.by_kid)
        else:
            self.fresh = Freshness(self.source.limits(), stands_alone=stands_alone)
            if key_set.keys:
                # They were read when the settings were made, who knows when: by now there may be
                # others.
                self.fresh.succeeded(clock(), key_set.by_kid, lifetime=-OLD, spread=0)
        self.reset()

    def reset(self) -> None:
        """Begin with no fetch under way, as a forked child does: the lock is its parent's."""
        self._lock = Lock()
        self._flight: _Flight | None = None  # the one that everybody waits for
        self._aloft = 0
        self._flights = 0
        self._taken = 0  # the newest flight that brought keys
        self.fresh.reset()

    def find(self, kid: str | None, now: float) -> Key:
        """Return the issuer's key called `kid`, after a fetch where one is due.

        Raises:
            InvalidToken: the issuer has no such key.
            KeysUnavailable: nobody can say at the moment.

        """
        wait = self._decide(kid, now)
        if wait is not None and not _came(wait) and wait.must:
            raise self._unavailable(now)
        return self._look(kid)

    async def afind(self, kid: str | None, now: float) -> Key:
        """Do what `find` does, in a task: a client that goes away doesn't stop the fetch."""
        wait = self._decide(kid, now)
        if wait is not None and not await _acame(wait) and wait.must:
            raise self._unavailable(now)
        return self._look(kid)

    def renew(self, now: float, *, lacking: bool = False) -> None:
        """Begin a fetch if it is time, for keys of our own: what is known goes on to sign.

        It is waited for only where nobody has looked for long, in a process that was idle say: by
        now another key may sign, and this one be about to go. Or where something is by a key that
        is `lacking` here: it may be there by now.

        Raises:
            KeysUnavailable: nobody can say at the moment whether it is.

        """
        wait = self._renew(now, lacking=lacking)
        if wait is not None:
            _came(wait)

    async def arenew(self, now: float, *, lacking: bool = False) -> None:
        """Do what `renew` does, in a task."""
        wait = self._renew(now, lacking=lacking)
        if wait is not None:
            await _acame(wait)

    def _renew(self, now: float, *, lacking: bool) -> _Wait | None:
        name = "" if lacking else next(iter(self.fresh.keys))
        with suppress(InvalidToken):  # somebody has just looked, or has brought other keys
            return self._decide(name, now)
        return None

    def _decide(self, kid: str | None, now: float) -> _Wait | None:
        """Return what to wait for, if anything. Raises InvalidToken, KeysUnavailable."""
        if self.source is None:
            return None
        forks.notice()  # before the lock: that of a parent may be held for ever
        # A name server that hangs knows no time-out; who waits does.
        limits = self.source.limits()
        lease = limits.lease
        events: tuple[Event, ...] = ()
        with self._lock:
            if self.fresh.is_lost(now):
                self._flight = None
                events = self._note_failure(now, f"no answer in {lease:g} s")
            # In a process that was idle, say: by now a key that is known may be in wrong hands.
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
        return _Wait(flight.future, lease if patient or plan == "ask" else JOINED)

    def _look(self, kid: str | None) -> Key:
        """Return the key from what is known now, after a plan that let the request go on."""
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
        """Make a flight whose lease was taken. The lock is held."""
        from concurrent.futures import Future

        self._flight = None
        if self._aloft >= MAX_ALOFT:
            self.fresh.failed(now)
            return None
        self._aloft += 1
        self._flights += 1
        self._flight = _Flight(self._flights, now, Future())
        self._flight.future.set_running_or_notify_cancel()
        return self._flight

    def _take_off(self, flight: _Flight, plan: Plan) -> None:
        places = self.places
        if places is None:
            self._start(flight, plan)
            return
        place = places.ask()
        if place is None:
            self._give_up(flight)
        else:
            place.add_done_callback(lambda _: self._start(flight, plan, places))

    def _give_up(self, flight: _Flight, places: Places | None = None) -> None:
        """End a flight that got no place in time. It says nothing of the issuer, and isn't told."""
        with self._lock:
            if self._land(flight):
                self.fresh.put_off(self._clock())
        self._end(flight, (), places)

    def _start(self, flight: _Flight, plan: Plan, places: Places | None = None) -> None:
        """Begin a flight, which leaves its place at its end."""
        if self._flight is not flight:
            self._give_up(flight, places)  # it waited until it was taken for lost
            return
        thread = Thread(
            target=self._fly, args=(flight, places), name="jwt_middleware_keys", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            if plan == "ask":
                self._fly(flight, places)
            else:
                # The known keys serve, and nobody who has one of them waits for the network.
                self._end(flight, self._failed(flight, KeysUnavailable(str(error))), places)

    def _fly(self, flight: _Flight, places: Places | None) -> None:
        events: tuple[Event, ...] = ()
        try:
            events = self._go(flight)
        finally:
            self._end(flight, events, places)

    def _end(
        self, flight: _Flight, events: tuple[Event, ...], places: Places | None = None
    ) -> None:
        flight.future.set_result(None)
        self._tell(events)
        if places is not None:
            places.leave()

    def _go(self, flight: _Flight) -> tuple[Event, ...]:
        try:
            found = self._fetch(flight.begun)
        except KeysUnavailable as error:
            return self._failed(flight, error)
        except BaseException:
            # It ends the thread, or the process, and no answer will come.
            self._tell(self._failed(flight, KeysUnavailable("the fetch was broken off")))
            raise
        return self._succeeded(flight, *found)

    def _fetch(self, begun: float) -> tuple[Found, KeySet, frozenset[Skipped]]:
        """Look at the source once, and read what is found. Raises KeysUnavailable."""
        source = self.source
        assert source is not None  # noqa: S101  (or nothing would ever be due)
        try:
            found = source.fetch(self.issuer, self._found, begun)
            if self._found is not None and found.octets == self._found.octets:
                return found, self.key_set, self._skipped
            key_set, skipped = source.read(found.octets)
        except KeysUnavailable:
            raise
        except ConfigurationError as error:
            raise KeysUnavailable(str(error)) from None
        except Exception as error:
            # A fetcher of the application's may raise anything; a request gets its 503 anyway.
            raise KeysUnavailable(f"{type(error).__name__}: {error}") from error
        if self.key_set.signer is not None and key_set.signer is None:
            raise KeysUnavailable("none of the keys that were found can sign")
        if {key.is_symmetric for key in (*self.key_set.keys, *key_set.keys)} == {True, False}:
            raise KeysUnavailable("secrets were found where public keys were, or the reverse")
        return found, key_set, frozenset(skipped)

    def _succeeded(
        self, flight: _Flight, found: Found, key_set: KeySet, skipped: frozenset[Skipped]
    ) -> tuple[Event, ...]:
        from ..values.randomness import fraction  # not at the top: most keys are never fetched

        now = self._clock()
        with self._lock:
            self._land(flight)
            if flight.number < self._taken:
                # Taken for lost, and it comes after a newer one: its keys may be withdrawn by now.
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

    def _failed(self, flight: _Flight, error: KeysUnavailable) -> tuple[Event, ...]:
        now = self._clock()
        with self._lock:
            if not self._land(flight):
                return ()  # taken for lost: that has been counted, and told
            self.fresh.failed(now)
            return self._note_failure(now, error.detail)

    def _note_failure(self, now: float, detail: str) -> tuple[Event, ...]:
        """Return what is to be told of a failure: the first only. The lock is held."""
        if self._found is not None:
            self._found = replace(self._found, memo=None)
        if self._failed_since is not None:
            return ()
        self._failed_since = now
        return (KeysFailed(issuer=self.issuer, detail=detail),)

    def _land(self, flight: _Flight) -> bool:
        """Say whether this was the flight that everybody waits for. The lock is held."""
        self._aloft -= 1
        is_current = self._flight is flight
        if is_current:
            self._flight = None
        return is_current


def _came(wait: _Wait) -> bool:
    """Wait in this thread, and say whether it came in time."""
    try:
        wait.future.result(wait.seconds)
    except TimeoutError:
        return False
    return True


async def _acame(wait: _Wait) -> bool:
    """Do what `_came` does, in a task."""
    from asyncio import wait_for, wrap_future

    try:
        # A future that runs isn't cancelled by who stops waiting for it.
        await wait_for(wrap_future(wait.future), wait.seconds)
    except TimeoutError:
        return False
    return True


def _lacking(some: KeySet, others: KeySet) -> tuple[str, ...]:
    """Return the names of other keys that some don't have, or have for another key."""
    known = {key.kid: _verifying(key) for key in some.keys}
    return tuple(sorted(key.kid for key in others.keys if known.get(key.kid) != _verifying(key)))


def _verifying(key: Key) -> Mapping[str, object]:
    # Which of an issuer's keys signs at the moment opens nothing and closes nothing.
    return key.to_jwk() | {"key_ops": key.verifies}
