"""Claims as an object of the application's class: a dataclass, a pydantic model, a msgspec Struct.

The other libraries check values themselves. For a dataclass it is done here, because a claim of
another type than its annotation says would be worse than none: `"admin" in token.roles` is true for
the text "no admin", too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

_Model = TypeVar("_Model")
_Reader = Callable[[Any], Any]  # takes a JSON value, returns it as annotated; raises ValueError

_ARRAY_KINDS: Mapping[Any, Callable[[Any], Any]] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
}
_PLAIN = (str, int, float, bool, NoneType)


def claims_as_model(model: type[_Model], claims: Mapping[str, Any]) -> _Model:
    """Return the claims as an object of `model`, to whose fields they belong by name.

    Raises:
        ValueError: a claim is missing, or isn't what its annotation says.
        TypeError: `model` is a class of another kind, or has annotations that can't be checked.

    """
    plain = _plain(claims)
    validate = getattr(model, "model_validate", None)  # pydantic's; its error is a ValueError
    if validate is not None:
        made: _Model = validate(plain)
        return made
    if hasattr(model, "__struct_fields__"):
        msgspec: Any = sys.modules["msgspec"]  # it has made the class
        try:
            return msgspec.convert(plain, model)  # type: ignore[no-any-return]
        except msgspec.ValidationError as error:
            raise ValueError(f"{model.__name__}: {error}") from None
    if not is_dataclass(model):
        raise TypeError(f"{model!r} is no dataclass, pydantic model or msgspec Struct")
    return _dataclass_reader(model)(plain)  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    """Return a JSON value with dictionaries and lists that may be changed."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


@lru_cache
def _dataclass_reader(model: Any) -> _Reader:
    hints = get_type_hints(model)
    readers = {
        one.name: (
            _reader(hints[one.name], f"{model.__name__}.{one.name}"),
            one.default is MISSING and one.default_factory is MISSING,
        )
        for one in fields(model)
        if one.init
    }

    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"{model.__name__}: not an object")
        found = {}
        for name, (reader, is_required) in readers.items():
            if name in value:
                found[name] = reader(value[name])
            elif is_required:
                raise ValueError(f"{model.__name__}.{name}: the token has no such claim")
        return model(**found)

    return read


def _reader(hint: Any, name: str) -> _Reader:
    """Return the reader for an annotation. Raises TypeError for one that can't be checked."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return lambda value: value
    if hint in _PLAIN:
        return _exact(hint, name)
    if origin in (Union, UnionType):
        return _first_of([_reader(one, name) for one in arguments], name)
    if origin is Literal:
        return _exact_value(arguments, name)
    if hint in _ARRAY_KINDS or (origin in _ARRAY_KINDS and arguments[1:] in ((), (...,))):
        each = _reader(arguments[0], name) if arguments else _reader(Any, name)
        return _array(_ARRAY_KINDS[origin or hint], each, name)
    if hint is dict or (origin is dict and arguments[0] is str):
        return _object(_reader(arguments[1], name) if arguments else _reader(Any, name), name)
    if is_dataclass(hint):
        return _dataclass_reader(cast("Any", hint))
    raise TypeError(f"{name}: {hint!r} can't be checked: use a pydantic model or a msgspec Struct")


def _exact(kind: type, name: str) -> _Reader:
    # `type`, because a bool is an int. A whole number is good where one with a point may stand.
    kinds = (int, float) if kind is float else (kind,)

    def read(value: Any) -> Any:
        if type(value) not in kinds:
            raise ValueError(f"{name}: must be {kind.__name__}, not {type(value).__name__}")
        return value

    return read


def _exact_value(values: tuple[Any, ...], name: str) -> _Reader:
    def read(value: Any) -> Any:
        if not any(type(one) is type(value) and one == value for one in values):
            raise ValueError(f"{name}: must be one of {values}")
        return value

    return read


def _first_of(readers: list[_Reader], name: str) -> _Reader:
    def read(value: Any) -> Any:
        for one in readers:
            try:
                return one(value)
            except ValueError:
                continue
        raise ValueError(f"{name}: is of none of its types, but {type(value).__name__}")

    return read


def _array(make: Callable[[Any], Any], each: _Reader, name: str) -> _Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, list):
            raise ValueError(f"{name}: must be an array, not {type(value).__name__}")
        try:
            return make(map(each, value))
        except TypeError:  # a set of objects
            raise ValueError(f"{name}: its members can't be in a set") from None

    return read


def _object(each: _Reader, name: str) -> _Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"{name}: must be an object, not {type(value).__name__}")
        return {key: each(one) for key, one in value.items()}

    return read
