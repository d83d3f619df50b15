"""Wait for what comes true soon."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

PATIENCE = 30.0  # seconds for what takes a fraction of one, on a machine that does ten other things


def until(
    condition: Callable[[], Any],
    patience: float = PATIENCE,
    *,
    passing: tuple[type[Exception], ...] = (),
) -> Any:
    """Wait for what comes true soon, and return it. The `passing` errors mean that it isn't yet."""
    deadline = time.monotonic() + patience
    while True:
        with suppress(*passing):
            if found := condition():
                return found
        assert time.monotonic() < deadline, "it doesn't come true"
        time.sleep(0.005)
