"""The keys of one issuer in this process: what is known of them, and the one fetch on its way.

Both doors share it, all threads and all tasks. A fetch is one short-lived thread and one future; a
request waits for the future, with a time-out, or doesn't wait at all. Who gives up, or is
cancelled, takes nothing from the others. Where no thread can be had, who asks fetches.
"""

from collections.abc import Callable
from contextlib import suppress
from threading import Lock, Thread
from typing import TYPE_CHECKING, TypeAlias

from ..jose.jwk import Key
from ..values.errors import ConfigurationError, InvalidToken, KeysUnavailable, Reason
from ..values.events import Event, KeysBack, KeysChanged, KeysFailed, KeySkipped
from ..values.randomness import fraction
from . import KeySet
from .freshness import OLD, Freshness, Plan, fixed
from .source import Found, Skipped, Source

if TYPE_CHECKING:
    from concurrent.futures import Future

MAX_ALOFT = 2  # threads of fetches that didn't come back in time: one more would wait like them

Tell: TypeAlias = Callable[[tuple[Event, ...]], None]


class LiveKeys:
    """What a `KeySet` is at this moment. `tell` takes events, in whichever thread fetches."""

    def __init__(
        self, key_set: KeySet, issuer: str, *, clock: Callable[[], float], tell: Tell
    ) -> None:
        self.key_set = key_set
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
            self.fresh = Freshness(self.source.limits())
            if key_set.keys:
                # They were read when the settings were made, who knows when: by now there may be
                # others.
                self.fresh.succeeded(clock(), key_set.by_kid, lifetime=-OLD, spread=0)
        self.reset()

    def reset(self) -> None:
        """Begin with no fetch under way, as a forked child does: the lock is its parent's."""
        self._lock = Lock()
        self._flight: Future[None] | None = None
        self._aloft = 0
        self.fresh.reset()

    def find(self, kid: str | None, now: float) -> Key:
        """Return the issuer's key called `kid`, after a fetch where one is due.

        Raises:
            InvalidToken: the issuer has no such key.
            KeysUnavailable: nobody can say at the moment.

        """
        flight = self._decide(kid, now)
        if flight is not None:
            try:
                flight.result(self._patience)
            except TimeoutError:
                raise self._unavailable(now) from None
        return self._look(kid)

    async def afind(self, kid: str | None, now: float) -> Key:
        """Do what `find` does, in a task: a client that goes away doesn't stop the fetch."""
        flight = self._decide(kid, now)
        if flight is not None:
            from asyncio import wait_for, wrap_future

            try:
                # A future that runs isn't cancelled by who stops waiting for it.
                await wait_for(wrap_future(flight), self._patience)
            except TimeoutError:
                raise self._unavailable(now) from None
        return self._look(kid)

    def renew(self, now: float) -> None:
        """Begin a fetch if it is time, for keys of our own: what is known goes on to sign.

        It is waited for only where nobody has looked for long, in a process that was idle say: by
        now another key may sign, and this one be about to go.
        """
        flight = self._renew(now)
        if flight is not None:
            with suppress(TimeoutError):
                flight.result(self._patience)

    async def arenew(self, now: float) -> None:
        """Do what `renew` does, in a task."""
        flight = self._renew(now)
        if flight is not None:
            from asyncio import wait_for, wrap_future

            with suppress(TimeoutError):
                await wait_for(wrap_future(flight), self._patience)

    def _renew(self, now: float) -> "Future[None] | None":
        was_old = self.fresh.is_old(now)
        self._decide(next(iter(self.fresh.keys)), now)
        return self._flight if was_old else None

    def _decide(self, kid: str | None, now: float) -> "Future[None] | None":
        """Return the flight to wait for, if there is one. Raises InvalidToken, KeysUnavailable."""
        if self.source is None:
            return None
        with self._lock:
            plan = self.fresh.plan(kid, now)
            begun = self._prepare(now) if plan in (Plan.START, Plan.ASK) else None
            flight = self._flight
        if begun is not None:
            self._take_off(begun, now)
        if plan is Plan.UNKNOWN:
            raise InvalidToken(Reason.KEY_UNKNOWN)
        if plan is Plan.REFUSE:
            raise self._unavailable(now)
        return flight if plan in (Plan.ASK, Plan.JOIN) else None

    def _look(self, kid: str | None) -> Key:
        """Return the key from what is known now, after a plan that let the request go on."""
        now = self._clock()
        usable = self.fresh.is_usable(now)
        key = self.fresh.keys.get(kid) if usable else None
        if key is not None:
            return key
        if not usable or self.fresh.is_failing:
            raise self._unavailable(now)
        raise InvalidToken(Reason.KEY_UNKNOWN)

    def _unavailable(self, now: float) -> KeysUnavailable:
        return KeysUnavailable(f"the keys of {self.issuer}", self.fresh.retry_after(now))

    @property
    def _patience(self) -> float:
        # A name server that hangs knows no time-out; who waits does.
        return self.source.limits().lease if self.source is not None else 0

    # --- the fetch

    def _prepare(self, now: float) -> "Future[None] | None":
        """Make the future of a flight whose lease was taken. The lock is held."""
        from concurrent.futures import Future

        self._flight = None
        if self._aloft >= MAX_ALOFT:
            self.fresh.failed(now)
            return None
        self._aloft += 1
        flight: Future[None] = Future()
        flight.set_running_or_notify_cancel()
        self._flight = flight
        return flight

    def _take_off(self, flight: "Future[None]", now: float) -> None:
        thread = Thread(
            target=self._fly, args=(flight, now), name="jwt_middleware_keys", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            self._fly(flight, now)

    def _fly(self, flight: "Future[None]", begun: float) -> None:
        events: tuple[Event, ...] = ()
        try:
            found, key_set, skipped = self._fetch(begun)
        except KeysUnavailable as error:
            events = self._failed(flight, error)
        else:
            events = self._succeeded(flight, begun, found, key_set, skipped)
        finally:
            flight.set_result(None)
        self._tell(events)

    def _fetch(self, begun: float) -> tuple[Found, KeySet, frozenset[Skipped]]:
        """Look at the source once, and read what is found. Raises KeysUnavailable."""
        source = self.source
        assert source is not None  # noqa: S101  (or nothing would ever be due)
        try:
            found = source.fetch(self.issuer, self._found, begun)
        except KeysUnavailable:
            raise
        except Exception as error:
            # A fetcher of the application's may raise anything; a request gets its 503 anyway.
            raise KeysUnavailable(f"{type(error).__name__}: {error}") from error
        if self._found is not None and found.octets == self._found.octets:
            return found, self.key_set, self._skipped
        try:
            key_set, skipped = source.read(found.octets)
        except ConfigurationError as error:
            raise KeysUnavailable(str(error)) from None
        if self.key_set.signer is not None and key_set.signer is None:
            raise KeysUnavailable("none of the keys that were found can sign")
        if {key.is_symmetric for key in (*self.key_set.keys, *key_set.keys)} == {True, False}:
            raise KeysUnavailable("secrets were found where public keys were, or the reverse")
        return found, key_set, frozenset(skipped)

    def _succeeded(
        self,
        flight: "Future[None]",
        begun: float,
        found: Found,
        key_set: KeySet,
        skipped: frozenset[Skipped],
    ) -> tuple[Event, ...]:
        now = self._clock()
        with self._lock:
            self._land(flight)
            before, was_skipped = self.key_set, self._skipped
            since, self._failed_since = self._failed_since, None
            self.key_set, self._skipped, self._found = key_set, skipped, found
            self.fresh.succeeded(begun, key_set.by_kid, found.lifetime, fraction())
        events: list[Event] = []
        if since is not None:
            events.append(KeysBack(issuer=self.issuer, seconds=max(now - since, 0.0)))
        old, new = ({key.kid for key in one.keys} for one in (before, key_set))
        if old and before is not key_set:
            added, removed = tuple(sorted(new - old)), tuple(sorted(old - new))
            events.append(KeysChanged(issuer=self.issuer, added=added, removed=removed))
        events += [
            KeySkipped(issuer=self.issuer, kid=one.kid, problem=one.problem)
            for one in sorted(skipped - was_skipped)
        ]
        return tuple(events)

    def _failed(self, flight: "Future[None]", error: KeysUnavailable) -> tuple[Event, ...]:
        now = self._clock()
        with self._lock:
            if self._land(flight):
                # Whoever was lost has been counted when its time was over.
                self.fresh.failed(now)
            if self._found is not None:
                self._found = self._found._replace(memo=None)
            is_news = self._failed_since is None
            if is_news:
                self._failed_since = now
        return (KeysFailed(issuer=self.issuer, detail=error.detail),) if is_news else ()

    def _land(self, flight: "Future[None]") -> bool:
        """Say whether this was the flight that everybody waits for. The lock is held."""
        self._aloft -= 1
        is_current = self._flight is flight
        if is_current:
            self._flight = None
        return is_current
