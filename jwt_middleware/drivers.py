"""The two drivers: they carry out what a core asks for. All that differs is who waits."""

from __future__ import annotations

from inspect import isawaitable
from typing import cast

from .core import Core
from .values import forks
from .values.errors import OAuthError, Unavailable
from .values.model import Request
from .values.steps import Ask, Done, Forward, Reply, Step


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


async def afinish(step: Step) -> Forward | Reply | Done:
    """Carry out every ask, in this task. Raises what the last one leaves."""
    while isinstance(step, Ask):
        try:
            answer = step.call(*step.args)
            if isawaitable(answer):
                answer = await answer
        except Unavailable as error:
            step = _failed(step, error)
        else:
            step = step.then(answer)
    return step


def _failed(step: Ask, error: Unavailable) -> Step:
    if step.failed is None:
        raise error
    return step.failed(error)
