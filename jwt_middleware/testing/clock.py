"""A clock for tests: time runs, and can be set."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(eq=False)
class Clock:
    """Time that runs and can be set, forward and back: `Settings(clock=Clock())`."""

    offset: float = 0.0  # seconds

    def __call__(self) -> float:
        """Return seconds since 1970-01-01 UTC."""
        return time.time() + self.offset

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.offset += seconds
