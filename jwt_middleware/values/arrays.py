"""The type of a field with several values: a list may be given, and a tuple is kept."""

from __future__ import annotations

from typing import TypeAlias, TypeVar

_T = TypeVar("_T")

# Not `Sequence[T]`: a type checker would then take "GET" for several texts, one for each letter.
Several: TypeAlias = tuple[_T, ...] | list[_T]
