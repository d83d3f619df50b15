"""The proofs that one process has seen used, where there is no store for all processes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from ..values.errors import Unavailable
from ..values.reasons import PROOFS_FULL

MOST_USED = 100_000  # proofs, about 25 MB; each is remembered for some minutes


class UsedProofs:
    """Remembers each proof until it is good no longer.

    It never forgets one early: where it is full, requests with proofs are refused until there is
    room. Only requests that were good otherwise are remembered, so that strangers can't fill it.
    """

    def __init__(self, clock: Callable[[], float], most: int = MOST_USED) -> None:
        self._clock = clock
        self._most = most
        self._until: OrderedDict[str, float] = OrderedDict()
        self._lock = Lock()

    def admit(self, key: str, until: float) -> bool:
        """Say whether this is the first use of `key`; it is remembered until `until`.

        Raises:
            Unavailable: there is no room.

        """
        now = self._clock()
        with self._lock:
            used = self._until
            if used.get(key, now) > now:
                return False
            # In the order of their coming, which is nearly that of their ends.
            while used and next(iter(used.values())) <= now:
                used.popitem(last=False)
            if len(used) >= self._most:
                raise Unavailable(PROOFS_FULL)
            used[key] = until
            used.move_to_end(key)
            return True
