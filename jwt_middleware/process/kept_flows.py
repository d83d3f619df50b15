"""Flows that are carried to their end, though the request that began them is cancelled.

A log-out that has been sent to the store is one: it may be done, and then it is to be told.
"""

from __future__ import annotations

from asyncio import CancelledError, Task, create_task, shield
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeAlias

from ..values.events import Event, Refused

Tell: TypeAlias = Callable[[tuple[Event, ...]], None]


async def carry_to_the_end(tell: Tell, rest: Coroutine[Any, Any, Any]) -> Any:
    """Await the rest of a flow in a task of its own, which isn't cancelled with the caller.

    `tell` takes the events of what comes out when nobody waits for it any more.
    """
    task = create_task(rest)
    try:
        return await shield(task)
    except CancelledError:
        task.add_done_callback(partial(_tell_late, tell))  # which keeps the task alive, too
        raise


def _tell_late(tell: Tell, task: Task[Any]) -> None:
    if task.cancelled():
        return
    error = task.exception()
    ending = error if error is not None else task.result()
    # A refusal that nobody gets is none.
    tell(tuple(one for one in getattr(ending, "events", ()) if not isinstance(one, Refused)))
