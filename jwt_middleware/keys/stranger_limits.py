"""Places for work that strangers can cause: questions about an issuer, and fetches of its keys.

Anybody can write any `iss` into a token, and each name may cost a call of the application's
function, a thread and a fetch. So only a few are under way at a time, and only a few wait. An
issuer of whom one token was good needs no place.
"""

from __future__ import annotations

from collections import deque
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

from .waits import new_future

if TYPE_CHECKING:
    from concurrent.futures import Future

MAX_PLACES = 16
MAX_WAITING = 64
PLACE_TIMEOUT = 1.0  # seconds without a place coming free, after which no more requests wait


class Places:
    """At most `MAX_PLACES` are taken at a time, in the order in which they were asked for."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin with all places free, as a forked child does."""
        self._lock = Lock()
        self._taken = 0
        self._given_at = monotonic()  # the last place
        self._waiting: deque[Future[None]] = deque()

    def ask(self) -> Future[None] | None:
        """Return a future that is done when there is a place; None: too many wait, or too long.

        The caller cancels it if it isn't wanted any more; if `cancel` returns False, `leave` it.
        """
        place = new_future()
        with self._lock:
            now = monotonic()
            if self._taken >= MAX_PLACES:
                self._waiting = deque(one for one in self._waiting if not one.cancelled())
                if len(self._waiting) >= MAX_WAITING or now - self._given_at >= PLACE_TIMEOUT:
                    return None
                self._waiting.append(place)
                return place
            self._taken += 1
            self._given_at = now
            place.set_running_or_notify_cancel()
        place.set_result(None)
        return place

    def leave(self) -> None:
        """Give a place to the next who waits for one."""
        place = self._next()
        if place is not None:
            # Not under the lock: this starts the work that waited for the place.
            place.set_result(None)

    def _next(self) -> Future[None] | None:
        with self._lock:
            while self._waiting:
                place = self._waiting.popleft()
                if place.set_running_or_notify_cancel():
                    self._given_at = monotonic()
                    return place
            self._taken -= 1
            return None
