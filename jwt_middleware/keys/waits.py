"""Futures that another thread completes, and waiting for them with a time-out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import Future


def new_future() -> Future[Any]:
    """Return a future that isn't done."""
    # Not at the top: it loads `logging` (3 ms), which a process with fixed keys doesn't need.
    from concurrent.futures import Future

    return Future()


def result_within(future: Future[Any], seconds: float) -> Any:
    """Wait in this thread for a future's result, and return it. Raises TimeoutError."""
    return future.result(seconds)
