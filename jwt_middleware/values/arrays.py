"""Fields with several values, or a table: a list or dict may be given, and is kept read-only."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any, TypeAlias, TypeVar

from .tokens import FrozenDict

_T = TypeVar("_T")

# Not `Sequence[T]`: a type checker would then take "GET" for several texts, one for each letter.
Several: TypeAlias = tuple[_T, ...] | list[_T]


def freeze_fields(instance: Any, *, sets: Collection[str]) -> None:
    """Replace lists and tables in a frozen dataclass's fields by what nobody can change.

    For `__post_init__`. Whether the values are right is checked later, with the settings.

    Args:
        instance: the dataclass.
        sets: names of the fields that become sets.

    """
    for one in fields(instance):
        value = getattr(instance, one.name)
        if one.name in sets and isinstance(value, set | list | tuple):
            value = frozenset(value)
        elif isinstance(value, list):
            value = tuple(tuple(x) if isinstance(x, list) else x for x in value)
        elif isinstance(value, Mapping):
            value = FrozenDict(value)
        object.__setattr__(instance, one.name, value)
