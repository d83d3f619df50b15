"""The store of one process: calls its verbs, and asks it which grants have ended.

Every call shows whether the store answers, and each change of that is told as an event. Of all
requests that need the newly ended grants, one begins a round of the poller, and the others wait for
its answer. A store that never waits is asked in the request itself. So is any store where no thread
can be had, one request at a time. A store that must be awaited is asked in a task (`awaiting.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from inspect import isawaitable
from itertools import count
from threading import Lock
from time import monotonic
from typing import Any, TypeAlias

from ..grant.ended_grants import LONGEST, EndedGrants
from ..settings.issuing_groups import Refresh
from ..stores.contract import Ended
from ..stores.opening import open_store
from ..values import forks
from ..values.errors import ConfigurationError, StoreUnavailable
from ..values.events import StoreBack, StoreFailed, StoreNotice, SyncLate
from ..values.flows import Flow, ask, run
from .event_log import EventLog
from .hooks import is_async, unawaited
from .poller import Poller, Round

SHORTER = 10  # times, that a request waits less for a sync where it can go on without it
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
        self,
        group: Refresh,
        log: EventLog,
        *,
        clock: Callable[[], float],
        leeway: float,
        watch: Callable[[str], AbstractContextManager[object]] | None = None,
    ) -> None:
        self._watch = watch  # what it makes for a verb is entered around each call
        margin = END_MARGIN + leeway
        # `plain` is asked by the poller, under the ASGI middleware, too.
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
        # A store of the application's that must be awaited: no thread can ask it.
        self.is_awaited = is_async(self.plain.ended)
        self._is_quick = not getattr(self.plain, "blocking", True)
        self._longest = group.sync_wait
        self._poller = Poller(self._run, self.ended.serves)
        self._clock = clock
        self._log = log
        self.numbers = count(1)
        self._changed = 0  # the number of the last change
        self._failed_since: float | None = None
        self._is_late = False  # the known ended grants are out of date, and that was told
        self._is_closed = False
        self.reset()

    def reset(self) -> None:
        """Begin with no running question and new locks: a forked child can't use its parent's."""
        self._lock = Lock()
        self._turn = Lock()  # the request that holds it asks for ended grants, where no thread does
        self._poller.reset()
        self.ended.reset()

    @property
    def is_closed(self) -> bool:
        """Say whether it was closed, and no request has come since."""
        return self._is_closed

    def close(self) -> None:
        """Let the poller's thread end, and tell nothing of it. A later request begins anew."""
        self._is_closed = True
        self._poller.close()

    # --- calls, and what they say of the store

    def call(self, call: CallVerb, verb: str, *args: Any) -> Flow[Any]:
        """Call a verb. Raises StoreUnavailable, or ConfigurationError for a store of a wrong kind.

        Any other error of the verb becomes StoreUnavailable: the client may try again.
        """
        forks.notice()
        number = next(self.numbers)
        if verb != "ended":
            self._is_closed = False
        try:
            if self._watch is None:
                answer = yield from ask(call, verb, args)
            else:
                with self._watch(verb):
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
        if self._is_closed:  # the call was cut off by that
            return StoreUnavailable(f"{verb}: the store was closed")
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

    def hear(self, call: CallVerb, one: Round) -> Flow[None]:
        """Ask which grants have ended since the last time, page by page, and finish the round.

        The round is finished after the first page of several: meanwhile requests ask for their own
        grants. Raises StoreUnavailable.
        """
        one.begun = monotonic()
        started = one.started = self._clock()
        asked = cursor, horizon = self.ended.question()
        try:
            more = True
            while more:
                found = yield from self.call(call, "ended", cursor, horizon)
                ids, cursor, more, mark, notices = Ended(*found)
                self.ended.heard(ids, mark, started, more=more)
                self._log.tell(tuple(StoreNotice(notice=text) for text in notices))
                if more:
                    one.finish()
                    if self._is_closed:
                        raise StoreUnavailable("ended: the store was closed")
        except StoreUnavailable:
            self._sync_failed()
            raise
        self.ended.succeeded(started, asked, cursor)
        self._is_late = False
        one.finish()

    def join(self, arrival: float) -> Round:
        """Return the round that serves a request of `arrival`: it runs now, or has run here."""
        forks.notice()
        self._is_closed = False
        if not self._is_quick:
            try:
                return self._poller.join(arrival)
            except RuntimeError:  # no thread can be had
                pass
        one = Round()
        if not self._turn.acquire(timeout=self._patience()):
            one.finish(StoreUnavailable("ended: another request has its turn"))
            return one
        try:
            # Another request may have asked while this one waited for its turn. If the sync has a
            # time in the future, the clock was set back since.
            now, synced_at = self._clock(), self.ended.synced_at
            if self.ended.is_resting(now):
                one.finish(StoreUnavailable("sync: the store has just failed"))
            elif synced_at <= now and self.ended.serves(synced_at, arrival):
                one.finish()
            else:
                self._run(one)
        finally:
            self._turn.release()
        return one

    def sync(self, arrival: float) -> None:
        """Bring the ended grants up to date for a request of `arrival`. Raises StoreUnavailable."""
        one = self.join(arrival)
        try:
            one.done.result(self.time_left(one))
        except TimeoutError:
            raise self.overdue(one) from None

    def time_left(self, one: Round) -> float:
        """Return the seconds that a request waits for the round that it has joined."""
        now = monotonic()
        return max(self._begun(one, now) + self._patience() - now, 0)

    def overdue(self, one: Round) -> StoreUnavailable:
        """Record that an answer is overdue, and return the error for the request."""
        now = monotonic()
        if now - self._begun(one, now) < self._longest:
            return StoreUnavailable("ended: it hasn't answered yet")
        error = self.failed("ended", TimeoutError(), next(self.numbers))
        self._tell_if_late(self._clock())
        return error

    def _patience(self) -> float:
        # Where enough is known to go on, a store that hangs must not hold up all threads.
        return self._longest if self.ended.is_late(self._clock()) else self._longest / SHORTER

    def _begun(self, one: Round, now: float) -> float:
        # One that waits for the round before it has waited since that one began.
        return min(one.begun, self._poller.begun(), now)

    def _run(self, one: Round) -> None:
        """Run a round in this thread. Raises nothing: the round has the error."""
        try:
            run(self.hear(self._call_plain, one))
        except Exception as error:  # noqa: BLE001  (the request that waits raises it)
            one.finish(error)

    def _call_plain(self, verb: str, args: tuple[Any, ...]) -> Any:
        answer = getattr(self.plain, verb)(*args)
        # Only its answer shows that a decorated verb is async. Nothing has been done then.
        self.is_awaited = isawaitable(answer)
        return unawaited(answer, f"{verb} is")

    def _sync_failed(self) -> None:
        now = self._clock()
        self.ended.failed(now)
        self._tell_if_late(now)

    def _tell_if_late(self, now: float) -> None:
        if self.ended.is_late(now) and not (self._is_late or self._is_closed):
            self._is_late = True
            self._log.tell((SyncLate(seconds=now - self.ended.synced_at, passing=self._passing),))
