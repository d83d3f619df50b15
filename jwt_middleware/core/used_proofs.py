"""The proofs that one process has seen used, where no store remembers them for all processes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf

from ..values.errors import Unavailable
from ..values.reasons import PROOFS_FULL

_A_TIME = 4  # entries that one request forgets: more than it adds
MOST_USED = 100_000  # proofs, about 20 MB; each is remembered for some minutes
MOST_LOGINS = 10_000  # proofs of logins


class UsedProofs:
    """Remembers each proof until it is good no longer.

    It never forgets one early: where it is full, requests with proofs are refused until there is
    room. Only requests that were good otherwise are remembered, so that strangers can't fill it.
    With `makes_room` the oldest goes instead: for logins, to which any stranger can send proofs by
    keys that he makes. Each step on the two collections is one call that no thread can interrupt,
    and nothing iterates over them, because another thread may add meanwhile.
    """

    def __init__(
        self, clock: Callable[[], float], most: int = MOST_USED, *, makes_room: bool = False
    ) -> None:
        self._clock = clock
        self._most = most
        self._makes_room = makes_room
        self._used: dict[str, tuple[float, str]] = {}
        # In the order of their coming, which is nearly that of their ends.
        self._order: deque[tuple[float, str]] = deque()

    def admit(self, key: str, until: float) -> bool:
        """Say whether this is the first use of `key`; it is remembered until `until`.

        Raises:
            Unavailable: there is no room.

        """
        used, mine = self._used, (until, key)
        self._forget(self._clock())
        if len(used) >= self._most and key not in used:
            if not self._makes_room:
                raise Unavailable(PROOFS_FULL)
            self._forget(inf, 1)
        # Of two threads with one proof, one finds its own entry.
        if used.setdefault(key, mine) is not mine:
            return False
        self._order.append(mine)
        return True

    def _forget(self, now: float, most: int = _A_TIME) -> None:
        order = self._order
        for _ in range(most):
            try:
                first = order.popleft()
            except IndexError:  # nothing is remembered, or other threads were faster
                return
            # Looked at after it was taken: of two threads, each has its own. Until it is put back
            # only the order lacks it, and its proof is still known.
            if first[0] > now:
                order.appendleft(first)
                return
            self._used.pop(first[1], None)
