"""From values to dataclasses: an annotation says what kind of value a field takes.

A new group of settings needs no code here. Values get their type here; the dataclasses check
whether they are right and safe. No message quotes a value, which may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import date
from difflib import get_close_matches
from functools import reduce
from itertools import dropwhile
from json import loads
from os import PathLike, fspath
from pkgutil import resolve_name
from types import NoneType, UnionType
from typing import (
    Any,
    Literal,
    NamedTuple,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from ..keys.key_set import KeySet
from ..keys.key_sources import Fetcher
from ..token.former_libraries import LIBRARIES, PYJWT, FormerLibrary
from ..token.profiles import FOREIGN, PROFILES, Profile
from ..values.errors import ConfigurationError
from ..values.metrics import Metrics
from .key_locations import KeyLocation, from_location, load_keys
from .places import Place, Variable, no_module

Built = TypeVar("Built")

BASE = "base"  # in a table for a preset: the name of the one that it differs from
# Values that have presets, by name, and the one that a table without `base` differs from.
PRESETS: Mapping[Any, tuple[Mapping[str, Any], Any]] = {
    Profile: (PROFILES, FOREIGN),
    FormerLibrary: (LIBRARIES, PYJWT),
}
_NUMBER = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")
_FUNCTION = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"
_SURROGATE = re.compile("[\ud800-\udfff]")
_FIELD_PATH = re.compile(r"(?:(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*)?\Z")
_ARRAYS = """as in '["a", "b"]' or '[{"path": "/login", "public": true}]'"""


# -- Annotations.


def fields_of(cls: Any) -> Iterator[tuple[Field[Any], Any]]:
    """Yield the fields of a dataclass, each with its annotation."""
    hints = get_type_hints(cls)
    return ((field, hints[field.name]) for field in fields(cls))


def alternatives(hint: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the annotation itself."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


# -- From values to dataclasses.


def convert(hint: Any, value: Any, place: Place) -> Any:
    """Return `value` as what the annotation `hint` says. Raises ConfigurationError."""
    if isinstance(value, Variable):
        place, value = value.place, _parsed_text(hint, value.text, value.place)
    for one in alternatives(hint):
        kind = kind_for(one)
        if kind.takes(value):
            return kind.convert(one, value, place) if kind.convert else value
    raise place.wrong(f"must be {_words(hint)}")


def build(cls: type[Built], data: Mapping[Any, Any], place: Place) -> Built:
    """Make a dataclass of a mapping. Raises ConfigurationError in the words of the source."""
    known = {field.name: (field, hint) for field, hint in fields_of(cls)}
    values = _values(known, data, place)
    for name, (field, _) in known.items():
        if name not in data and field.default is field.default_factory is MISSING:
            raise place.field(name).wrong("is missing", "set it: it has no default")
    try:
        return cls(**values)
    except ConfigurationError as error:
        place = _place_of(error.field, known, place)
        raise place.wrong(error.problem, error.remedy) from None


def _values(
    known: Mapping[str, tuple[Any, Any]], data: Mapping[Any, Any], place: Place
) -> dict[str, Any]:
    """Return the values of the fields that are given. Raises ConfigurationError."""
    for name in data:
        if name not in known:
            raise place.field(str(name)).wrong("no such setting", suggestion(str(name), known))
    return {
        name: convert(hint, data[name], place.field(name))
        for name, (_, hint) in known.items()
        if name in data
    }


def suggestion(name: str, known: Mapping[str, Any], prefix: str = "") -> str:
    """Return the remedy for an unknown name: the closest known one, or all of them."""
    close = get_close_matches(name, known, n=1)
    names = ", ".join(prefix + one for one in close or known)
    return f"did you mean {names}?" if close else f"there are {names}"


def _place_of(name: str, known: Mapping[str, Any], place: Place) -> Place:
    """Return the place of the field that an error names, as this source calls it.

    From inside of a group, "refresh.cookies.name" is its field `name`; "Route('/login').path" is
    `path`; and from the settings, "refresh.cookies" is a field of a field.
    """
    steps = _FIELD_PATH.findall(name)[0].split(".")
    return reduce(Place.field, dropwhile(lambda step: step not in known, steps), place)


def _words(hint: Any) -> str:
    words = dict.fromkeys(kind_for(one).words for one in alternatives(hint))
    return " or ".join(filter(None, words))


def _parsed_text(hint: Any, text: str, place: Place) -> Any:
    """Return what the text of a variable stands for, as JSON would have it."""
    kinds = [kind_for(one) for one in alternatives(hint)]
    if not text:
        raise place.wrong("is empty", "unset it for the default")
    # A text that begins like an array or an object is read as one, where the field takes one.
    if any(kind.opener == text[0] for kind in kinds):
        return from_json(text, place)
    for kind in kinds:
        if kind.read is not None:
            return kind.read(text, place)
    raise place.wrong(f"must be {_words(hint)}, in JSON", _form_of(hint, place))


def _form_of(hint: Any, place: Place) -> str:
    """Return how a variable is written: a group by variables for its members, an array as JSON."""
    for group in filter(is_group, alternatives(hint)):
        name, first = place.name.removesuffix("_FILE"), fields(group)[0].name.upper()
        return f"its members have variables of their own, the first is {name}__{first}"
    return _ARRAYS


def from_json(text: str, place: Place) -> Any:
    """Return what a text in JSON says. Raises ConfigurationError."""

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise place.wrong("a name comes twice in one JSON object")
        return found

    try:
        return loads(text, object_pairs_hook=members)
    except ConfigurationError:
        raise
    except (ValueError, RecursionError):
        raise place.wrong("is not JSON", _ARRAYS) from None


# -- The kinds of values that annotations tell apart.


class Kind(NamedTuple):
    """A kind of value: its name, which values are of it, and how they are converted."""

    words: str  # "": messages leave this kind out
    takes: Callable[[Any], bool]
    # Makes the field's value from annotation, value and place; None: the value is kept.
    convert: Callable[[Any, Any, Place], Any] | None = None
    # Its JSON Schema; None: it is made from the annotation (`json_schema.py`).
    schema: Mapping[str, Any] | None = None
    read: Callable[[str, Place], Any] | None = None  # from the text of a variable, if not JSON
    opener: str = ""  # what JSON of this kind begins with


def is_group(hint: Any) -> bool:
    """Say whether an annotation is a group of settings: a class whose fields have names."""
    return kind_for(hint) is GROUP


def _of(*types: Any) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, types)


def _as_number(text: str, place: Place) -> float:
    if not _NUMBER.fullmatch(text):
        raise place.wrong("must be a number, in digits")
    return float(text) if "." in text else int(text)


def _to_utf8(_: Any, value: str, place: Place) -> str:
    if _SURROGATE.search(value):
        raise place.wrong("is not text in UTF-8")
    return value


def _to_tuple(hint: Any, value: Any, place: Place) -> tuple[Any, ...]:
    item = get_args(hint)[0]
    return tuple(convert(item, one, place.item(position)) for position, one in enumerate(value))


def _one_of(names: Iterable[str], value: str, place: Place) -> str:
    if value not in names:
        raise place.wrong(f"must be one of {', '.join(names)}")
    return value


def _to_named(form: str) -> Callable[[Any, Any, Place], Any]:
    """Return the conversion of the name of an object in a module."""

    def convert(_: Any, value: Any, place: Place) -> Any:
        if not isinstance(value, str):
            return value
        if not re.match(_FUNCTION, value):
            raise place.wrong(f'must be "{form}"')
        try:
            return resolve_name(value)
        except ModuleNotFoundError as error:
            if f"{value.partition(':')[0]}.".startswith(f"{error.name}."):
                raise place.wrong(no_module(str(error.name)), _WHERE_MODULES_ARE) from error
            raise place.wrong(f"can't be imported: {error}") from error
        except Exception as error:
            # A module of the application runs here: it may raise anything.
            raise place.wrong(f"can't be imported: {type(error).__name__}: {error}") from error

    return convert


_WHERE_MODULES_ARE = (
    "start it in the folder of the application's modules, or name that folder: PYTHONPATH, "
    "--app-dir of jwt-middleware and uvicorn, --chdir of gunicorn"
)


def _to_frozenset(hint: Any, value: Any, place: Place) -> frozenset[Any]:
    return frozenset(_to_tuple(hint, value, place))


def _to_preset(hint: Any, value: Any, place: Place) -> Any:
    """Return a preset by its name, or one with some fields changed: {"base": "KEYCLOAK", ...}."""
    presets, default = PRESETS[hint]
    if isinstance(value, str):
        return presets[_one_of(presets, value, place)]
    if not isinstance(value, Mapping):
        return value
    known = {BASE: (None, str)} | {field.name: (field, kind) for field, kind in fields_of(hint)}
    values = _values(known, value, place)
    base = _one_of(presets, values.pop(BASE, default.name), place.field(BASE))
    return presets[base].replace(**values)


def _to_key_set(_: Any, value: Any, place: Place) -> KeySet:
    if isinstance(value, KeySet):
        return value
    if isinstance(value, Mapping):
        return from_location(build(KeyLocation, value, place), place)
    return load_keys("file", KeyLocation(file=fspath(value)), place)


def _as_text(text: str, _: Place) -> str:
    return text


NO_FORM: Mapping[str, Any] = {"not": {}}  # the schema of what a document can't hold

_TEXT = Kind("text", _of(str), _to_utf8, {"type": "string"}, _as_text)
_OBJECT = Kind(
    "an object",
    # An object of the application can't be written as text; its field checks what it must be.
    lambda value: (
        value is not None and not isinstance(value, str | int | float | list | tuple | Mapping)
    ),
    schema=NO_FORM,
)
GROUP = Kind(
    "a table",
    lambda value: (
        isinstance(value, Mapping) or (is_dataclass(value) and not isinstance(value, type))
    ),
    lambda hint, value, place: build(hint, value, place) if isinstance(value, Mapping) else value,
    opener="{",
)
KEY_SET = Kind(
    "a KeySet, the path of a JWK Set file or a table",
    _of(str, PathLike, Mapping, KeySet),
    _to_key_set,
    read=_as_text,
    opener="{",
)
ARRAY = Kind("an array", _of(list, tuple), _to_tuple, opener="[")
SET = Kind("an array", _of(list, tuple, frozenset), _to_frozenset, opener="[")
PROFILE = Kind(
    "a profile, its name or a table",
    _of(str, Mapping, Profile),
    _to_preset,
    read=_as_text,
    opener="{",
)
LIBRARY = PROFILE._replace(
    words="a library, its name or a table", takes=_of(str, Mapping, FormerLibrary)
)
CHOICE = Kind(
    "text",
    _of(str),
    lambda hint, value, place: _one_of(get_args(hint), value, place),
    read=_as_text,
)

_KINDS: Mapping[Any, Kind] = {
    str: _TEXT,
    # `type`, because a bool is an int in Python.
    int: Kind(
        "a whole number", lambda value: type(value) is int, None, {"type": "integer"}, _as_number
    ),
    float: Kind(
        "a number", lambda value: type(value) in (int, float), None, {"type": "number"}, _as_number
    ),
    bool: Kind(
        "true or false",
        _of(bool),
        None,
        {"type": "boolean"},
        # Any other text stays a text, which this kind refuses.
        lambda text, _: {"true": True, "false": False}.get(text.lower(), text),
    ),
    NoneType: Kind("", lambda value: value is None, schema={"type": "null"}),
    bytes: Kind("octets", _of(bytes), schema=NO_FORM),
    # TOML has dates; elsewhere they are text, whose form the field checks.
    date: Kind("a date", _of(date), schema=NO_FORM),
    tuple: ARRAY,
    list: ARRAY,
    frozenset: SET,
    Mapping: Kind("a table", _of(Mapping), schema={"type": "object"}, opener="{"),
    Literal: CHOICE,
    Callable: Kind(
        'a function or "module:function"',
        _of(str, Callable),
        _to_named("module:function"),
        {"type": "string", "pattern": _FUNCTION},
        _as_text,
    ),
    # Relative ones count from the folder of a TOML file.
    PathLike: Kind(
        "a path",
        _of(str, PathLike),
        lambda _, value, place: place.path(value),
        {"type": "string"},
        _as_text,
    ),
    Fetcher: Kind(
        'a Fetcher or "module:name"',
        lambda value: isinstance(value, str) or hasattr(value, "fetch"),
        _to_named("module:name"),
        {"type": "string", "pattern": _FUNCTION},
        _as_text,
    ),
    Metrics: Kind(
        'metrics or "module:name"',
        lambda value: isinstance(value, str) or hasattr(value, "begin"),
        _to_named("module:name"),
        {"type": "string", "pattern": _FUNCTION},
        _as_text,
    ),
    KeySet: KEY_SET,
    Profile: PROFILE,
    FormerLibrary: LIBRARY,
}


def kind_for(hint: Any) -> Kind:
    """Return the kind of value that an annotation, which isn't a union, stands for."""
    found = _KINDS.get(get_origin(hint) or hint)
    return found or (GROUP if is_dataclass(hint) else _OBJECT)
