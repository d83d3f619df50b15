"""What is made when it is first used, because an import pays for all and a process uses little.

A record is a dataclass to whoever looks, and a plain class to the import: `dataclass` writes and
compiles six functions for each class as soon as there is one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, replace
from functools import cache, partial
from types import MemberDescriptorType
from typing import Any, AnyStr, TypeVar, dataclass_transform, overload

T = TypeVar("T")


def pattern(text: AnyStr) -> Callable[[], re.Pattern[AnyStr]]:
    """Return what returns the regular expression, compiled by the first call."""
    return cache(partial(re.compile, text))


@overload
def record(cls: type[T], /) -> type[T]: ...
@overload
def record(
    *, slots: bool = True, kw_only: bool = True, eq: bool = True, guarded: bool = True
) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def record(cls: Any = None, /, *, guarded: bool = True, **options: bool) -> Any:
    """Make of a class what `@dataclass(frozen=True, slots=True, kw_only=True)` makes of it.

    Whatever is annotated is a field, but for a `ClassVar`. A `__repr__` of the class's own stays.
    The class is made anew, as `dataclass` makes one with slots, so that `super()` without arguments
    doesn't work in it.
    Without `guarded` only type checkers keep a field from being set: half the time, for what is
    made in every request.
    """
    if cls is None:
        return partial(record, guarded=guarded, **options)
    options = _OPTIONS | options
    body = _written(cls)
    for name in _hints(cls):
        default = body.pop(name, MISSING)
        if isinstance(default, Field):
            default = default.default
        if default is not MISSING and not options["slots"]:
            body[name] = default
    if options["slots"]:
        body["__slots__"] = tuple(_hints(cls))
    body["__qualname__"] = cls.__qualname__
    body["__record__"] = cls, options, guarded
    given = _given(slots=options["slots"], eq=options["eq"], guarded=guarded)
    return type(cls)(cls.__name__, cls.__bases__, given | body)


_OF_CLASSES = ("ClassVar", "typing.ClassVar")  # as text, or where annotations are evaluated


def _hints(cls: Any) -> dict[str, Any]:
    """Return the annotations of a class that are fields; those of the class itself are none."""
    hints = cls.__annotations__.items()
    return {name: hint for name, hint in hints if not str(hint).startswith(_OF_CLASSES)}


def _written(cls: Any) -> dict[str, Any]:
    """Return what stands in a class, without what every class has of its own."""
    body: dict[str, Any] = vars(cls).copy()
    body.pop("__dict__", None)
    body.pop("__weakref__", None)
    return body


def _records(cls: Any) -> list[Any]:
    """Return the records that a class is, or is made of, the nearest first."""
    return [one for one in cls.__mro__ if "__record__" in vars(one)]


class _Later:
    """An attribute of records that is made when it is first looked up."""

    __slots__ = ("_make", "_name")

    def __init__(self, name: str, make: Callable[[Any], None]) -> None:
        self._name = name
        self._make = make

    def __get__(self, instance: object, owner: Any) -> Any:
        # Of the first record that still has this in its place; of the first, if another thread has
        # just been sooner. To `inspect` of Python 3.13 the class is the instance.
        sought = instance if isinstance(instance, type) else owner
        records = _records(sought)
        cls = next((one for one in records if vars(one).get(self._name) is self), records[0])
        self._make(cls)
        made = vars(cls)[self._name]
        return made.__get__(instance, owner) if hasattr(made, "__get__") else made


def _look(cls: Any) -> None:
    """Let the standard library make of the class as it was written what it makes of any."""
    source, options, _ = cls.__record__
    body = _written(source)
    body.pop("__setattr__", None)  # of its own: the library would take it for a mistake
    twin = type(source)(source.__name__, source.__bases__, body)
    found = vars(dataclass(init=False, **options)(twin))
    for name, value in _written(cls).items():
        if isinstance(value, _Later) and name in found:
            setattr(cls, name, found[name])


def _fields(cls: Any) -> dict[str, Any]:
    """Return the fields of a record, and first those of the classes that it is made of."""
    source = cls.__record__[0]
    fields: dict[str, Any] = {}
    for base in reversed(cls.__mro__[1:]):
        fields |= getattr(base, "__dataclass_fields__", {})
    for name, hint in _hints(source).items():
        default = vars(source).get(name, MISSING)
        fields[name] = default if isinstance(default, Field) else field(default=default)
        fields[name].type = hint
    return fields


def _begin(cls: Any) -> None:
    """Write `__init__`: where there are slots, faster than that of a frozen dataclass."""
    _, options, guarded = cls.__record__
    fields = _fields(cls)
    scope: dict[str, Any] = {"_set": object.__setattr__}
    positional: list[str] = ["self"]
    keywords: list[str] = []
    lines: list[str] = []
    for name, one in fields.items():
        value, default, fresh = name, one.default, f"_make_{name}()"
        if one.default_factory is not MISSING:
            scope[f"_make_{name}"], default = one.default_factory, _FACTORY
        scope[f"_default_{name}"] = default
        if one.init:
            only = options["kw_only"] if one.kw_only is MISSING else one.kw_only
            optional = "" if default is MISSING else f"=_default_{name}"
            (keywords if only else positional).append(name + optional)
            if default is _FACTORY:
                value = f"{fresh} if {name} is _default_{name} else {name}"
        else:
            value = fresh if default is _FACTORY else f"_default_{name}"
        slot = getattr(cls, name, None)
        if not guarded:
            lines.append(f"self.{name} = {value}")
        elif isinstance(slot, MemberDescriptorType):
            scope[f"_set_{name}"] = slot.__set__
            lines.append(f"_set_{name}(self, {value})")
        else:
            lines.append(f"_set(self, {name!r}, {value})")
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    parameters = ", ".join(positional + ["*"] * bool(keywords) + keywords)
    # A function within one, whose globals are those of the class: annotations are looked up there.
    inner = f"def __init__({parameters}):\n  " + "\n  ".join(lines)
    text = f"def make({', '.join(scope)}):\n {inner}\n return __init__"
    found: dict[str, Any] = {}
    exec(text, vars(sys.modules[cls.__module__]), found)  # noqa: S102  (names from our own source)
    made = found["make"](**scope)
    made.__qualname__, made.__module__ = f"{cls.__qualname__}.__init__", cls.__module__
    made.__annotations__ = {name: one.type for name, one in fields.items() if one.init}
    made.__annotations__["return"] = None
    cls.__init__ = made


def _set(self: Any, name: str, value: object) -> None:
    if _is_fixed(type(self), name):
        raise FrozenInstanceError(f"cannot assign to field {name!r}")
    object.__setattr__(self, name, value)


def _delete(self: Any, name: str) -> None:
    if _is_fixed(type(self), name):
        raise FrozenInstanceError(f"cannot delete field {name!r}")
    object.__delattr__(self, name)


def _is_fixed(cls: Any, name: str) -> bool:
    """Say whether an attribute can't change: all of a record's, and its fields in a subclass."""
    records = _records(cls)
    return cls in records or any(name in _hints(one.__record__[0]) for one in records)


class _Factory:
    """Stands in a signature for what is made anew each time, as in that of a dataclass."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<factory>"


_FACTORY = _Factory()
_OPTIONS = {"frozen": True, "slots": True, "kw_only": True, "eq": True}


@cache
def _given(*, slots: bool, eq: bool, guarded: bool) -> dict[str, Any]:
    """Return what a record has that doesn't bring its own."""
    given: dict[str, Any] = {"__init__": _Later("__init__", _begin)}
    # What the standard library's own dataclass is asked for.
    looks = ["__repr__", "__match_args__", "__dataclass_fields__", "__dataclass_params__"]
    if eq:
        looks += ["__eq__", "__hash__"]
    if slots:  # pickle wants to be told
        looks += ["__getstate__", "__setstate__"]
    given |= {name: _Later(name, _look) for name in looks}
    if guarded:
        given |= {"__setattr__": _set, "__delattr__": _delete}
    return given | {"__replace__": replace}  # for `copy.replace`
