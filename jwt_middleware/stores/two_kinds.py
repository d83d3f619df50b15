"""A sync and an async store from one set of verbs: a verb is a flow, and each kind runs it.

Such a store has a method `_carry_out(flow, *args)`, which makes the flow with the store's own data
and drives it: by `run` in the sync kind, by `arun` in the async kind.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import CoroutineType
from typing import Any, Concatenate, cast

from ..values.flows import Flow, P, T


def waiting(
    flow: Callable[Concatenate[Any, P], Flow[T]],
) -> Callable[Concatenate[Any, P], T]:
    """Return the method that runs a flow and returns its answer."""

    @wraps(flow)
    def verb(store: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return cast("T", store._carry_out(flow, *args, **kwargs))

    return verb


def awaited(
    flow: Callable[Concatenate[Any, P], Flow[T]],
) -> Callable[Concatenate[Any, P], CoroutineType[Any, Any, T]]:
    """Return the coroutine method that does the same."""

    @wraps(flow)
    async def verb(store: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return cast("T", await store._carry_out(flow, *args, **kwargs))

    # mypy infers Coroutine here, pyright infers CoroutineType and requires it.
    return verb  # type: ignore[return-value]
