"""How settings are checked: rules are data, a field has its check with it, and one loop runs them.

A check takes the field's name, as messages have it, and a value; it returns the value as it is
kept, or raises ConfigurationError with the field, the problem and the way out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, fields
from typing import Any, NamedTuple, TypeAlias

from ..values.errors import ConfigurationError

FieldCheck: TypeAlias = Callable[[str, Any], Any]


class Rule(NamedTuple):
    """What a value, or a whole group, must not be: the test, the problem in words, the way out.

    `broken` returns what is wrong, or something false where nothing is. In the words `{}` stands
    for that, and `{value}` for the value: only where it can be no secret.
    """

    broken: Callable[[Any], Any]
    problem: str
    remedy: str


def hold(name: str, value: Any, rules: tuple[Rule, ...]) -> None:
    """Check a value by each rule in turn. Raises ConfigurationError."""
    for rule in rules:
        found = rule.broken(value)
        if found:
            problem, remedy = (words.format(found, value=value) for words in rule[1:])
            raise ConfigurationError(name, problem, remedy)


def check_fields(group: Any, above: str = "") -> None:
    """Check every field of a group, and keep what its check returns. Raises ConfigurationError.

    `above` stands before the names of the fields in messages: "refresh.cookies." say.
    """
    for one in fields(group):
        kept = one.metadata["check"](above + one.name, getattr(group, one.name))
        object.__setattr__(group, one.name, kept)


# -- What makes checks.


def by(*rules: Rule) -> FieldCheck:
    """Return the check that holds a value to these rules, and keeps it as it is."""

    def check(name: str, value: Any) -> Any:
        hold(name, value, rules)
        return value

    return check


def is_a(kind: type, words: str, example: str) -> FieldCheck:
    """Return the check that a value is of a class, which `words` name: "a Refresh group"."""
    return by(
        Rule(
            lambda value: not isinstance(value, kind) and type(value).__name__,
            f"must be {words}, not {{}}",
            example,
        )
    )


def choice(*names: str, remedy: str) -> FieldCheck:
    """Return the check that a value is one of these texts."""
    quoted = " or ".join(f'"{name}"' for name in names)
    return by(Rule(lambda value: value not in names, f"must be {quoted}", remedy))


def optional(check: FieldCheck) -> FieldCheck:
    """Return the check of a field that may be None, and else is what `check` says."""
    return lambda name, value: None if value is None else check(name, value)


def or_empty(check: FieldCheck) -> FieldCheck:
    """Return the check of a field that may be "", and else is what `check` says."""
    return lambda name, value: "" if value == "" else check(name, value)


def listed(name: str, value: Any) -> tuple[Any, ...]:
    """Return a field with any number of values as a tuple. Raises ConfigurationError."""
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__"):
        raise ConfigurationError(name, "must be a tuple", "a single one needs a comma: (value,)")
    return tuple(value)


def each(check: FieldCheck) -> FieldCheck:
    """Return the check of a field with any number of values, each of which is what `check` says."""
    return lambda name, value: tuple(check(name, one) for one in listed(name, value))


def each_a(kind: type, example: str) -> FieldCheck:
    """Return the check of a field with any number of objects of one class."""
    return each(
        by(
            Rule(
                lambda value: not isinstance(value, kind) and type(value).__name__,
                f"{{}} is no {kind.__name__}",
                example,
            )
        )
    )


# -- What makes fields. A JSON Schema takes `minimum` and `maximum` from the same metadata.


def checked(check: FieldCheck) -> Mapping[str, FieldCheck]:
    """Return the metadata of a field that has this check."""
    return {"check": check}


def seconds(default: float, minimum: float, maximum: float, why: str, remedy: str = "") -> Any:
    """Return a field with a number of seconds; `why` says what its bounds are for."""
    return _number((int, float), default, minimum, maximum, f"seconds: {why}", remedy)


def count(default: int, minimum: int, maximum: int, unit: str, why: str) -> Any:
    """Return a field with a whole number of something; `why` says what its bounds are for."""
    return _number((int,), default, minimum, maximum, f"{unit}: {why}", "")


def _number(
    kinds: tuple[type, ...], default: float, minimum: float, maximum: float, what: str, remedy: str
) -> Any:
    whole = "a whole number of " if kinds == (int,) else ""
    rule = Rule(
        # `type`, because True is an int; NaN is between no two numbers.
        lambda value: type(value) not in kinds or not minimum <= value <= maximum,
        f"must be {whole}{minimum} to {maximum} {what}",
        remedy or f"the default is {default}",
    )
    metadata = {"check": by(rule), "minimum": minimum, "maximum": maximum}
    return field(default=default, metadata=metadata)
