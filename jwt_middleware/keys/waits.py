"""Wait for what another thread does: in a thread or in a task, and no longer than a time-out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Future


def new_future() -> Future[None]:
    """Return a future that isn't done."""
    # Not at the top: it loads `logging`, 3 ms that a process with keys at hand doesn't need.
    from concurrent.futures import Future

    return Future()


def done_within(future: Future[None], seconds: float) -> bool:
    """Wait in this thread, and say whether the future was done in time."""
    try:
        future.result(seconds)
    except TimeoutError:
        return False
    return True


async def adone_within(future: Future[None], seconds: float) -> bool:
    """Do what `done_within` does, in a task."""
    from asyncio import wait_for, wrap_future  # not at the top: threads don't need it

    try:
        # To stop waiting doesn't cancel it: it runs (`set_running_or_notify_cancel`).
        await wait_for(wrap_future(future), seconds)
    except TimeoutError:
        return False
    return True
