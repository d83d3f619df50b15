"""A clock for tests: time runs, and can be set."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(eq=False)
class Clock:
    """Time that runs and can be set, forward and back: `Settings(clock=Clock())`.

    Attributes:
        offset: seconds that it is ahead of the real time.

    """

    offset: float = 0.0

    def __call__(self) -> float:
        """Return seconds since 1970-01-01 UTC."""
        return time.time() + self.offset

    def advance(self, seconds: float) -> None:
        """Let time pass.

        Args:
            seconds: seconds; a negative number goes back.

        """
        self.offset += seconds
