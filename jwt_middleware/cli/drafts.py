"""Settings as text to paste, in Python or TOML, made of values and of expressions in either."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Expression(NamedTuple):
    """A value that is written differently: code in Python, and a value in TOML."""

    python: str
    toml: str


class Group(NamedTuple):
    """A group of settings: its class, and its fields."""

    name: str
    fields: Mapping[str, Any]


def in_python(value: Any, indent: str = "") -> str:
    """Return a value as Python code; a group has a line for each field."""
    inner = indent + "    "
    match value:
        case Expression(python=text):
            return text
        case Group("Route" | "Cookies", fields):  # short: on one line
            return f"{value.name}({', '.join(_arguments(fields))})"
        case Group(name, fields):
            lines = (f"{inner}{key}={in_python(one, inner)},\n" for key, one in fields.items())
            return f"{name}(\n{''.join(lines)}{indent})"
        case tuple() if not _has_groups(value):
            return json.dumps(value).replace("[", "(").replace("]", "," * (len(value) == 1) + ")")
        case tuple():
            lines = (f"{inner}{in_python(one, inner)},\n" for one in value)
            return f"(\n{''.join(lines)}{indent})"
        case str() | dict():
            return json.dumps(value)
    return repr(value)


def _arguments(fields: Mapping[str, Any]) -> Iterator[str]:
    for name, value in fields.items():
        # The path of a route is its only argument that needs no name.
        yield in_python(value) if name == "path" else f"{name}={in_python(value)}"


def in_toml(group: Group, table: str) -> Iterator[str]:
    """Yield the lines of a table: its own values first, then the tables below it."""
    yield f"[{table}]"
    below: list[tuple[str, Any]] = []
    for name, value in group.fields.items():
        if isinstance(value, Group) or _has_groups(value):
            below.append((name, value))
        else:
            yield f"{name} = {_toml_value(value)}"
    for name, value in below:
        if isinstance(value, Group):
            yield ""
            yield from in_toml(value, f"{table}.{name}")
            continue
        for one in value:
            yield ""
            yield f"[[{table}.{name}]]"
            yield from (f"{key} = {_toml_value(inner)}" for key, inner in one.fields.items())


def _has_groups(value: Any) -> bool:
    return isinstance(value, tuple) and any(isinstance(one, Group) for one in value)


def _toml_value(value: Any) -> str:
    if isinstance(value, Expression):
        return value.toml
    # Text, whole numbers, true, false and arrays of them are written in TOML as in JSON.
    return json.dumps(value)
