"""Places for work that strangers can cause: questions about an issuer, and fetches of its keys.

Anybody can write any `iss` into a token, and each name may cost a call of the application's
function, a thread and a fetch. So only a few are under way at a time, and only a few wait. An
issuer needs no place once one of its tokens was good.
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
PLACE_TIMEOUT = 1.0  # seconds; if no place has come free for this long, no more requests wait


class Places:
    """Give out at most `MAX_PLACES` at a time, in the order in which they were asked for."""

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

        The caller cancels a future that it no longer wants; where `cancel` returns False, the place
        was given, and the caller calls `leave`.
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
        """Give the place back: the next request in line gets it."""
        place = self._next()
        if place is not None:
            # Outside the lock: this call starts the work that waited for the place.
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
