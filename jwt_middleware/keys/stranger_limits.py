"""Places for what unknown names make us do: questions about an issuer, and fetches of its keys.

Whoever writes an `iss` into a token names an issuer, and each name may cost a call of the
application's function, a thread and a fetch. So few are under way at a time, and few wait for it.
An issuer of whom one token was good needs no place.
"""

from __future__ import annotations

from collections import deque
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Future

MAX_PLACES = 16
MAX_WAITING = 64
SLOW = 1.0  # seconds without a place coming free, after which nobody waits for one any more


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
        """Return what is done when there is a place; None: too many wait, or it takes too long.

        Whoever no longer wants it cancels it; where that comes too late, it has to be left.
        """
        from concurrent.futures import Future  # not at the top: most processes ask for none

        place: Future[None] = Future()
        with self._lock:
            now = monotonic()
            if self._taken >= MAX_PLACES:
                self._waiting = deque(one for one in self._waiting if not one.cancelled())
                if len(self._waiting) >= MAX_WAITING or now - self._given_at >= SLOW:
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
            # Not under the lock: this begins what waited for the place.
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
