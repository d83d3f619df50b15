"""How settings are checked: each field carries its check, and one loop runs them all.

A check takes the field's name, as messages show it, and a value. It returns the value that is kept,
or raises ConfigurationError with the field, the problem and the remedy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial, reduce
from typing import Any, TypeAlias, TypeVar

from ..values.errors import ConfigurationError

Default = TypeVar("Default")
FieldCheck: TypeAlias = Callable[[str, Any], Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """The check that a value, or a whole group, is free of one fault. It keeps the value as it is.

    `find` returns what is wrong with the value, or something false where nothing is wrong. In the
    words, `{}` stands for what was found, and `{value}` for the value, which is used only where the
    value can't be a secret.
    """

    find: Callable[[Any], Any]
    problem: str
    remedy: str

    def __call__(self, name: str, value: Any) -> Any:
        found = self.find(value)
        if found:
            raise ConfigurationError(
                name, self.problem.format(found, value=value), self.remedy.format(found)
            )
        return value


def check_fields(group: Any, above: str = "") -> None:
    """Check every field of a group, and keep what its check returns. Raises ConfigurationError.

    `above` is put before the names of the fields in messages, such as "refresh.cookies.".
    """
    for one in fields(group):
        kept = one.metadata["check"](above + one.name, getattr(group, one.name))
        object.__setattr__(group, one.name, kept)


# -- What makes checks.


def in_turn(*checks: FieldCheck) -> FieldCheck:
    """Return a check that runs several checks, each on the result of the one before."""
    return lambda name, value: reduce(lambda kept, check: check(name, kept), checks, value)


def is_a(kind: type, problem: str, remedy: str) -> FieldCheck:
    """Return the check that a value is of a class; `{}` in the problem: its actual class."""
    return Fault(
        lambda value: not isinstance(value, kind) and type(value).__name__, problem, remedy
    )


def choice(*names: str, remedy: str) -> FieldCheck:
    """Return the check that a value is one of these texts."""
    quoted = " or ".join(f'"{name}"' for name in names)
    return Fault(lambda value: value not in names, f"must be {quoted}", remedy)


def optional(check: FieldCheck, absent: str | None = None) -> FieldCheck:
    """Return the check of a field that may be None or "", and else must pass `check`."""
    return lambda name, value: (
        absent if type(value) is type(absent) and value == absent else check(name, value)
    )


def listed(name: str, value: Any) -> tuple[Any, ...]:
    """Return a field with any number of values as a tuple. Raises ConfigurationError."""
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__"):
        raise ConfigurationError(name, "must be a tuple", "a single one needs a comma: (value,)")
    return tuple(value)


def each(check: FieldCheck) -> FieldCheck:
    """Return the check of a field with any number of values, each of which must pass `check`."""
    return lambda name, value: tuple(check(name, one) for one in listed(name, value))


# -- What makes fields. A JSON Schema takes `minimum` and `maximum` from the same metadata.


def checked_by(check: FieldCheck) -> Mapping[str, FieldCheck]:
    """Return the metadata of a field that has this check."""
    return {"check": check}


def setting(default: Default, check: FieldCheck, *, repr: bool = True) -> Default:
    """Return a field with a default and a check."""
    return field(default=default, repr=repr, metadata=checked_by(check))


def _number(
    kinds: tuple[type, ...],
    unit: str,
    default: float,
    minimum: float,
    maximum: float,
    why: str,
    remedy: str = "",
) -> Any:
    whole = "a whole number of " if kinds == (int,) else ""
    is_within = Fault(
        # `type`, because True is an int; NaN is between no two numbers.
        lambda value: type(value) not in kinds or not minimum <= value <= maximum,
        f"must be {whole}{minimum} to {maximum} {unit}: {why}",
        remedy or f"the default is {default}",
    )
    return field(
        default=default, metadata={"check": is_within, "minimum": minimum, "maximum": maximum}
    )


# Fields with a number of seconds, and with a whole number of some unit. Each takes the default, the
# bounds, the reason for the bounds, and perhaps a remedy.
seconds = partial(_number, (int, float), "seconds")
count = partial(_number, (int,))
