"""What a rule of `jwt-middleware check` is: where it looks, and what it finds there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

from .. import Settings

# Returns the places that a rule checks: the name of a field, and the object that has it.
Look: TypeAlias = Callable[[Settings], Iterable[tuple[str, Any]]]


class Risk(NamedTuple):
    """One rule. The id never changes in later versions; `problems` is given what `places` found."""

    id: str
    places: Look
    problems: Callable[[Any, Settings], Iterable[str]]
    remedy: str


def group_field(name: str, field: str) -> Look:
    """Check a field of a group, if the group is there."""
    return lambda settings: [
        (f"{name}.{field}", one) for one in (getattr(settings, name),) if one is not None
    ]
