"""What is made of the issuer's own keys once, and anew when they have changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from ..keys.key_set import KeySet
from ..keys.live_keys import LiveKeys

T = TypeVar("T")


class Prepared(Generic[T]):
    """A value that follows the keys: `get` compares one number while they stay as they are."""

    __slots__ = ("_live", "_made", "_make")

    def __init__(self, live: LiveKeys, make: Callable[[KeySet], T]) -> None:
        self._live = live
        self._make = make
        self._made = live.fresh.generation, make(live.key_set)

    def get(self) -> T:
        """Return the value for the keys as they are now."""
        # Read before the keys, so that one thread can't take old keys for new ones; both are kept
        # together, so that no thread can part what another made.
        generation = self._live.fresh.generation
        made = self._made
        if made[0] != generation:
            made = self._made = generation, self._make(self._live.key_set)
        return made[1]
