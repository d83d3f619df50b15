"""The poller: one thread of a process, which asks the store for ended grants when requests need it.

It begins with the first request that needs it, in a forked child anew, and ends after an idle
minute. So the question waits for no thread that serves requests or calls other verbs, and requests
decide how long they wait for it.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from threading import Condition, Thread, current_thread
from time import monotonic
from typing import TYPE_CHECKING

from ..keys.waits import new_future

if TYPE_CHECKING:
    from concurrent.futures import Future

IDLE_LIMIT = 60.0  # seconds without a request, after which the thread ends
HUNG = 30.0  # seconds that a question may take; then another thread asks. Stores give up before
MOST_HUNG = 8  # threads that are left behind so


class Round:
    """One question for ended grants, whose answer any number of requests wait for."""

    __slots__ = ("begun", "done", "started")

    def __init__(self) -> None:
        self.started = inf  # by `Settings.clock`
        self.begun = inf  # on the monotonic clock
        self.done: Future[None] = new_future()
        self.done.set_running_or_notify_cancel()  # a request that stops waiting can't cancel it

    def finish(self, error: BaseException | None = None) -> None:
        """Wake those who wait, unless that was done before."""
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)


class Poller:
    """Runs one round after the other, each when a request joins it.

    Args:
        ask: asks the store, and finishes the round, whatever comes. It raises nothing.
        serves: takes the start of a round and the arrival of a request, by `Settings.clock`; says
            whether that round's answer is new enough.

    """

    def __init__(
        self, ask: Callable[[Round], None], serves: Callable[[float, float], bool]
    ) -> None:
        self._ask = ask
        self._serves = serves
        self.reset()

    def reset(self) -> None:
        """Begin without a thread, as a forked child must."""
        self._changed = Condition()
        self._thread: Thread | None = None
        self._running: Round | None = None
        self._next: Round | None = None
        self._hung: list[Thread] = []

    def join(self, arrival: float) -> Round:
        """Return the round that serves a request of `arrival`, and begin it if it isn't running.

        Raises:
            RuntimeError: no thread can be had.

        """
        with self._changed:
            running = self._running
            if (
                running is not None
                and not running.done.done()
                and self._serves(running.started, arrival)
            ):
                return running
            found = self._next = self._next or Round()
            try:
                self._have_thread()
            except RuntimeError:
                self._next = None
                raise
            self._changed.notify()
            return found

    def begun(self) -> float:
        """Return when the running round began, on the monotonic clock; inf: none is running."""
        running = self._running
        return inf if running is None else running.begun

    def close(self) -> None:
        """Let the thread end, after its round."""
        with self._changed:
            self._thread = None
            self._changed.notify_all()

    def _have_thread(self) -> None:
        running = self._running
        if running is not None and monotonic() - running.begun > HUNG:
            self._hung = [one for one in self._hung if one.is_alive()]
            if self._thread is not None and len(self._hung) < MOST_HUNG:
                self._hung.append(self._thread)
                self._thread = self._running = None
        if self._thread is None or not self._thread.is_alive():
            fresh = Thread(target=self._poll, name="jwt_middleware_poller", daemon=True)
            fresh.start()
            self._thread = fresh

    def _poll(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._has_news, IDLE_LIMIT)
                if not self._is_ours():
                    return
                if self._next is None:
                    self._thread = None
                    return
                one = self._running = self._next
                self._next = None
            self._ask(one)
            with self._changed:
                if self._running is one:
                    self._running = None

    def _has_news(self) -> bool:
        return self._next is not None or not self._is_ours()

    def _is_ours(self) -> bool:
        """Say whether the thread that asks is still the one that runs the rounds."""
        return self._thread is current_thread()
