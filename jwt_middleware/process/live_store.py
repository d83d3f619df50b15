"""The store of one process: calls its verbs, and asks it which grants have ended.

Every call shows whether the store answers, and each change of that is told as an event. Of all
requests that need the newly ended grants, one asks the store, and the others wait for its answer.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import count
from math import inf
from threading import Lock, Thread
from time import monotonic
from typing import Any, TypeAlias

from ..grant.ended_grants import LONGEST, EndedGrants
from ..settings.groups import Refresh
from ..stores.opening import open_store
from ..values import forks
from ..values.errors import ConfigurationError, StoreUnavailable
from ..values.events import StoreBack, StoreFailed, SyncLate
from ..values.flows import Flow, ask, run
from .event_log import EventLog

SYNC_LIMIT = 0.5  # seconds that a request waits to hear of ended grants
GLANCE = 0.05  # seconds that it waits where the store's last call failed: the store may hang
END_MARGIN = 60.0  # seconds; an end is remembered for this and the leeway beyond a token's life

# Calls a verb of the store, sync or async: given its name, and a tuple of its arguments.
CallVerb: TypeAlias = Callable[[str, tuple[Any, ...]], Any]


class LiveStore:
    """One store in its sync and async kinds, its health, and the grants that have ended.

    Calls overlap, and end in another order than they began. So every call, and every change between
    answering and failing, gets the next of `numbers`: the result of a call that began before the
    last change is ignored.
    """

    def __init__(
        self, group: Refresh, log: EventLog, *, clock: Callable[[], float], leeway: float
    ) -> None:
        margin = END_MARGIN + leeway
        self.plain, self.awaited = open_store(
            group.store,
            clock=clock,
            # The longest life of any token, not of this issuer's: others share the store.
            retention=LONGEST + margin,
            serve=group.serve,
        )
        self._passing = group.sync_failure == "open"
        self.ended = EndedGrants(
            every=group.sync_every,
            limit=group.sync_limit,
            life=float(group.access_lifetime),
            margin=margin,
            passing=self._passing,
        )
        self._clock = clock
        self._log = log
        self.numbers = count(1)
        self._changed = 0  # the number of the last change
        self._failed_since: float | None = None
        self._is_late = False  # the known ended grants are out of date, and that was told
        self.reset()

    def reset(self) -> None:
        """Begin with no running question and new locks: a forked child can't use its parent's."""
        self._lock = Lock()
        self.turn = Lock()  # the thread that holds it asks for ended grants
        self._asked_at = inf  # on the monotonic clock: when that thread did
        self.ended.reset()

    # --- calls, and what they say of the store

    def call(self, call: CallVerb, verb: str, *args: Any) -> Flow[Any]:
        """Call a verb. Raises StoreUnavailable, or ConfigurationError for a store of a wrong kind.

        Any other error of the verb becomes StoreUnavailable: the client may try again.
        """
        forks.notice()
        number = next(self.numbers)
        try:
            answer = yield from ask(call, verb, args)
        except ConfigurationError:
            raise
        except Exception as error:  # noqa: BLE001
            raise self.failed(verb, error, number) from None
        if self._failed_since is not None:
            self.note(number)
        return answer

    def failed(self, verb: str, error: Exception, number: int) -> StoreUnavailable:
        """Record that a call failed, and return the error for the request."""
        if not isinstance(error, StoreUnavailable | TimeoutError):
            # The contract permits one error. Any other is a bug of the store, so log it.
            self._log.raised(f"store.{verb}", error)
        detail = error.detail if isinstance(error, StoreUnavailable) else type(error).__name__
        self.note(number, StoreFailed(verb=verb, detail=detail))
        return StoreUnavailable(f"{verb}: {detail}")

    def note(self, number: int, failure: StoreFailed | None = None) -> None:
        """Record how a call ended, and tell an event if that is a change."""
        with self._lock:
            since, now = self._failed_since, self._clock()
            if (since is None) is (failure is None) or number <= self._changed:
                return
            self._failed_since = now if failure is not None else None
            self._changed = next(self.numbers)
        failed_for = max(now - since, 0.0) if since is not None else 0.0
        self._log.tell((failure or StoreBack(seconds=failed_for),))

    # --- ended grants

    def ask_ended(self, call: CallVerb) -> Flow[None]:
        """Ask which grants have ended since the last time. Raises StoreUnavailable."""
        self._check_not_resting()
        started, asked = self._clock(), self.ended.question()
        try:
            found = yield from self.call(call, "ended", *asked)
        except StoreUnavailable:
            self._sync_failed()
            raise
        self.ended.succeeded(started, asked, *found)
        self._is_late = False

    def sync(self, call: CallVerb, arrival: float) -> None:
        """Bring the ended grants up to date for a request of `arrival`; one thread asks for all.

        Raises:
            StoreUnavailable: the store doesn't answer.

        """
        forks.notice()
        while not self.turn.acquire(timeout=self._time_left()):
            if self.ended.serves(arrival):
                return
            # The thread that asks may be blocked for the store's whole time-out. Block no other
            # thread: for the others, the store has failed.
            self._check_not_resting()
            if not self._time_left():
                self._sync_failed()
                raise self.failed("ended", TimeoutError(), next(self.numbers))
        if not self.ended.is_failing(arrival):
            self._ask_in_turn(call, arrival)
            return
        # Ask a store that may hang in a new thread: a server has few threads for requests.
        thread = Thread(
            target=self._ask_aside, args=(call, arrival), name="jwt_middleware_sync", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # no thread can be had
            self._ask_in_turn(call, arrival)
            return
        thread.join(GLANCE)
        if not self.ended.serves(arrival):
            raise StoreUnavailable("sync: the store has failed, and is asked again")

    def _time_left(self) -> float:
        """Return the seconds that the present question may still take."""
        now = monotonic()
        return max(min(self._asked_at, now) + SYNC_LIMIT - now, 0)

    def _ask_in_turn(self, call: CallVerb, arrival: float) -> None:
        """Ask, unless another's answer serves by now, and give the turn back."""
        try:
            if not self.ended.serves(arrival):
                self._asked_at = monotonic()
                run(self.ask_ended(call))
        finally:
            self._asked_at = inf
            self.turn.release()

    def _ask_aside(self, call: CallVerb, arrival: float) -> None:
        with suppress(Exception):  # the waiting request sees that no answer came
            self._ask_in_turn(call, arrival)

    def _check_not_resting(self) -> None:
        # Another request asked while this one waited, and failed: don't ask again.
        if self.ended.is_resting(self._clock()):
            raise StoreUnavailable("sync: the store has just failed")

    def _sync_failed(self) -> None:
        now = self._clock()
        self.ended.failed(now)
        if self.ended.is_late(now) and not self._is_late:
            self._is_late = True
            self._log.tell((SyncLate(seconds=now - self.ended.synced_at, passing=self._passing),))
