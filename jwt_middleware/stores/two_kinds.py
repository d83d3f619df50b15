"""Two kinds of a store from one set of verbs: a verb is a flow, and each kind carries it out.

Such a store has a method `_carry_out(flow, *args)`, which makes the flow with what the store knows,
and drives it: by `run` in the kind that waits, by `arun` in the kind that is awaited.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import CoroutineType
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from ..values.flows import Flow

VerbArgs = ParamSpec("VerbArgs")
VerbAnswer = TypeVar("VerbAnswer")


def waiting(
    flow: Callable[Concatenate[Any, VerbArgs], Flow[VerbAnswer]],
) -> Callable[Concatenate[Any, VerbArgs], VerbAnswer]:
    """Return the method that carries a flow out and returns its answer."""

    @wraps(flow)
    def verb(store: Any, /, *args: VerbArgs.args, **kwargs: VerbArgs.kwargs) -> VerbAnswer:
        return cast("VerbAnswer", store._carry_out(flow, *args, **kwargs))

    return verb


def awaited(
    flow: Callable[Concatenate[Any, VerbArgs], Flow[VerbAnswer]],
) -> Callable[Concatenate[Any, VerbArgs], CoroutineType[Any, Any, VerbAnswer]]:
    """Return the coroutine method that does the same."""

    @wraps(flow)
    async def verb(store: Any, /, *args: VerbArgs.args, **kwargs: VerbArgs.kwargs) -> VerbAnswer:
        return cast("VerbAnswer", await store._carry_out(flow, *args, **kwargs))

    # What mypy takes for a Coroutine is a CoroutineType to pyright, which asks for no less.
    return verb  # type: ignore[return-value]
