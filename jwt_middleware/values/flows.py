"""Flows: logic that asks for what it can't know and then goes on, for sync and async code alike.

A flow is a generator. `answer = yield from ask(store.advance, grant_id, ...)` suspends it; a driver
makes the call, waits for the answer or awaits it, and resumes the flow with the answer. What the
call raises is raised in the flow at that line, where `try/except` can go on without an answer.
`run` and `arun` are the two drivers, for the core, the grants and the stores alike. Sync and async
differ in two things only: the functions that a flow is given to ask, and the driver.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from inspect import isawaitable
from typing import Any, ParamSpec, TypeAlias, TypeVar, TypeVarTuple

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# One call that a flow wants to be made: the function, its arguments, and a flag. The answer may
# have to be awaited. With the flag, the flow is carried to its end from here on, even if its caller
# is cancelled.
AskedCall: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...], bool]
Flow: TypeAlias = Generator[AskedCall, Any, T]
# Takes the rest of a flow, and carries it to its end even if the caller is cancelled.
Carry: TypeAlias = Callable[[Coroutine[Any, Any, Any]], Awaitable[Any]]


def ask(call: Callable[[*Ts], T], *args: *Ts) -> Flow[T]:
    """Return what `call(*args)` answers. Typed by the synchronous kind of the call."""
    answer: T = yield call, args, False
    return answer


def ask_to_the_end(call: Callable[[*Ts], T], *args: *Ts) -> Flow[T]:
    """Do what `ask` does, and carry out the rest of the flow even if the request is cancelled.

    Requests are cancelled in `arun` only: in `run` this is the same as `ask`.
    """
    answer: T = yield call, args, True
    return answer


def run(flow: Flow[T]) -> T:
    """Carry a flow to its end in this thread. Raises what the flow raises."""
    try:
        call, args, _ = next(flow)
        while True:
            try:
                answer = call(*args)
            except BaseException as error:  # noqa: BLE001  (the flow decides)
                call, args, _ = flow.throw(error)
            else:
                call, args, _ = flow.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result


async def arun(flow: Flow[T], carry: Carry | None = None) -> T:
    """Carry a flow to its end, awaiting what has to be awaited. Raises what the flow raises."""
    try:
        asked = next(flow)
    except StopIteration as end:
        result: T = end.value
        return result
    found: T = await _resumed(flow, asked, carry)
    return found


async def _resumed(flow: Flow[Any], asked: AskedCall, carry: Carry | None) -> Any:
    try:
        while True:
            call, args, is_carried = asked
            if is_carried and carry is not None:
                return await carry(_resumed(flow, asked, None))
            try:
                answer = call(*args)
                if isawaitable(answer):
                    answer = await answer
            except BaseException as error:  # noqa: BLE001  (the flow decides)
                asked = flow.throw(error)
            else:
                asked = flow.send(answer)
    except StopIteration as end:
        return end.value
