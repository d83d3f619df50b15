"""The proofs that one process has seen used, where no store remembers them for all processes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from itertools import islice

from ..values.errors import Unavailable
from ..values.reasons import PROOFS_FULL

_A_TIME = 4  # entries that one request forgets: more than it adds
MOST_USED = 100_000  # proofs, about 25 MB; each is remembered for some minutes
MOST_LOGINS = 10_000  # proofs of logins


class UsedProofs:
    """Remembers each proof until it is good no longer.

    It never forgets one early: where it is full, requests with proofs are refused until there is
    room. Only requests that were good otherwise are remembered, so that strangers can't fill it.
    With `makes_room` the oldest goes instead: for logins, to which any stranger can send proofs by
    keys that he makes. Each step on the dictionary is one call that no thread can interrupt.
    """

    def __init__(
        self, clock: Callable[[], float], most: int = MOST_USED, *, makes_room: bool = False
    ) -> None:
        self._clock = clock
        self._most = most
        self._makes_room = makes_room
        self._until: OrderedDict[str, tuple[float]] = OrderedDict()

    def admit(self, key: str, until: float) -> bool:
        """Say whether this is the first use of `key`; it is remembered until `until`.

        Raises:
            Unavailable: there is no room.

        """
        used, mine = self._until, (until,)
        self._forget(self._clock())
        if len(used) >= self._most and key not in used:
            if not self._makes_room:
                raise Unavailable(PROOFS_FULL)
            with suppress(KeyError):  # other threads were faster
                used.popitem(last=False)
        # Of two threads with one proof, one finds its own entry.
        return used.setdefault(key, mine) is mine

    def _forget(self, now: float) -> None:
        # In the order of their coming, which is nearly that of their ends.
        used = self._until
        for key in [*islice(used, _A_TIME)]:
            ends = used.get(key)
            if ends is None or ends[0] > now:
                return
            used.pop(key, None)
