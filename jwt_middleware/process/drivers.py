"""The two drivers: they carry out what a core asks for. All that differs is who waits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, cast

from ..core.decide import Core
from ..values import forks
from ..values.decisions import Ask, Done, Forward, Reply, Step
from ..values.errors import OAuthError, Unavailable
from ..values.events import Event
from ..values.requests import Request

if TYPE_CHECKING:
    from asyncio import Task


def run(core: Core, request: Request) -> Forward | Reply:
    """Lead a request to its end, waiting in this thread."""
    forks.notice()
    try:
        return cast("Forward | Reply", finish(core.begin(request)))
    except OAuthError as error:
        return core.refuse(request, error)


async def arun(core: Core, request: Request) -> Forward | Reply:
    """Lead a request to its end, awaiting what has to be awaited."""
    forks.notice()
    try:
        return cast("Forward | Reply", await afinish(core.begin(request)))
    except OAuthError as error:
        return core.refuse(request, error)


def finish(step: Step) -> Forward | Reply | Done:
    """Carry out every ask, in this thread. Raises what the last one leaves."""
    while isinstance(step, Ask):
        try:
            answer = step.call(*step.args)
        except Unavailable as error:
            step = _failed(step, error)
        else:
            step = step.then(answer)
    return step


async def afinish(step: Step, *, outlives: bool = False) -> Forward | Reply | Done:
    """Carry out every ask. Raises what the last one leaves.

    In this task, and from the first ask with `tell` on in one that isn't cancelled with it: that
    one `outlives` the request.
    """
    while isinstance(step, Ask):
        if step.tell is not None and not outlives:
            return await _carried_out(step, step.tell)
        try:
            answer = step.call(*step.args)
            if isawaitable(answer):
                answer = await answer
        except Unavailable as error:
            step = _failed(step, error)
        else:
            step = step.then(answer)
    return step


async def _carried_out(
    step: Ask, tell: Callable[[tuple[Event, ...]], None]
) -> Forward | Reply | Done:
    from asyncio import CancelledError, create_task, shield

    task = create_task(afinish(step, outlives=True))
    try:
        return await shield(task)
    except CancelledError:
        # The callback keeps the task alive in the meantime.
        task.add_done_callback(partial(_tell_late, tell))
        raise


def _tell_late(
    tell: Callable[[tuple[Event, ...]], None], task: Task[Forward | Reply | Done]
) -> None:
    """Tell what a flow ended with that nobody waits for any more."""
    if task.cancelled():
        return
    error = task.exception()
    ending = error if error is not None else task.result()
    tell(getattr(ending, "events", ()))


def _failed(step: Ask, error: Unavailable) -> Step:
    if step.failed is None:
        raise error
    return step.failed(error)
