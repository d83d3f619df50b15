"""Settings from outside: environment variables, TOML, mappings; and the JSON Schema of their form.

All is derived from dataclass fields and their annotations: a new group of settings needs no code
here. Values get their type here; whether they are right and safe is for the dataclasses to say.
What a value holds never gets into a message: it may be a secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from datetime import date
from inspect import cleandoc
from json import loads
from types import NoneType, UnionType
from typing import (
    Any,
    Literal,
    NamedTuple,
    TypeAlias,
    TypeGuard,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from ..keys import file
from ..keys.key_set import KeySet
from ..keys.remote import Remote
from ..stores.contract import AsyncStore, Store
from ..token.profiles import PROFILES, Profile
from ..values.errors import ConfigurationError

T = TypeVar("T")
Schema: TypeAlias = dict[str, Any]

# What annotations name, and an import of the settings doesn't load.
_LOADED_HERE = {"Store": Store, "AsyncStore": AsyncStore}

# Kubernetes sets these for every service of the namespace: one called `jwt-middleware`, or
# `jwt-middleware-redis`, makes names that look like ours.
_SERVICE_LINK = re.compile(
    r"(?:[A-Z0-9_]+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?"
    r"|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)
_NUMBER = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")
_FUNCTION = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"
_SURROGATE = re.compile("[\ud800-\udfff]")
_STEPS = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*\Z")
_ARRAYS = """as in '["a", "b"]' or '[{"path": "/login", "public": true}]'"""
_ARGUMENT = re.compile(r"^    (\w+): (.+(?:\n {8}.+)*)", re.MULTILINE)


# -- The three sources. Each returns what it made, or the error, which `made` raises.


def from_env(
    cls: type[T], environ: Mapping[str, str] | None, prefix: str
) -> T | ConfigurationError:
    """Make a `cls` of the variables whose names begin with `prefix`."""
    return _caught(_from_env, cls, os.environ if environ is None else environ, prefix)


def from_toml(cls: type[T], path: str | os.PathLike[str], table: str) -> T | ConfigurationError:
    """Make a `cls` of one table of a TOML file. Relative paths count from the file's folder."""
    return _caught(_from_toml, cls, os.fspath(path), table)


def from_mapping(cls: type[T], mapping: Mapping[str, Any]) -> T | ConfigurationError:
    """Make a `cls` of a mapping such as JSON gives; a value may be the real object already."""
    return _caught(_convert, cls, mapping, Place("", "", "."))


def made(found: T | ConfigurationError) -> T:
    """Return what was made, or raise what went wrong: here, where no variable holds a secret."""
    if isinstance(found, ConfigurationError):
        raise found
    return found


def _caught(make: Callable[..., T], *args: Any) -> T | ConfigurationError:
    # Tools that report errors show the variables of every frame of a traceback, and of those behind
    # it. Ours have held secrets, so the error goes on without them. A cause is kept: it is the
    # application's own, from a module that couldn't be imported.
    try:
        return make(*args)
    except ConfigurationError as error:
        bare = ConfigurationError(error.field, error.problem, error.remedy)
        bare.__cause__ = error.__cause__
        return bare


class Place(NamedTuple):
    """Where a value stands, in its source's words: `JWT_MIDDLEWARE_KEYS__PEM`, `routes[0].path`."""

    name: str
    first: str  # stands between this name and the next
    joint: str  # stands between all names after that: "__" for variables, "." elsewhere
    folder: str = ""  # where relative paths count from

    def field(self, name: str) -> Place:
        """Return the place of a field of this value."""
        spelled = name.upper() if self.joint == "__" else name
        return self._replace(name=self.name + self.first + spelled, first=self.joint)

    def item(self, position: int) -> Place:
        """Return the place of an item of this array."""
        return self._replace(name=f"{self.name}[{position}]")

    def wrong(self, problem: str, remedy: str = "") -> ConfigurationError:
        """Return the error that says what is wrong here."""
        return ConfigurationError(self.name or "settings", problem, remedy)


class _Text(str):
    """The text of a variable: what it stands for, its field's annotation says."""

    __slots__ = ("variable",)
    variable: str


def _from_env(cls: type[T], environ: Mapping[str, str], prefix: str) -> T:
    if not prefix:
        raise ConfigurationError("prefix", "is empty", "or every variable would be a setting")
    known = dict(_variables(cls, ()))
    files = {f"{name}_FILE": found for name, found in known.items()}
    data: dict[str, Any] = {}
    for variable in sorted(environ):
        name = variable.removeprefix(prefix)
        found = known.get(name) or files.get(name)
        if name == variable or (found is None and _SERVICE_LINK.fullmatch(name)):
            continue
        if found is None:
            remedy = _suggestion(name.upper(), known, prefix)
            raise ConfigurationError(variable, "no such setting", remedy)
        path, is_path = found
        place = Place(variable, ".", ".")
        # The text of a key set is a path already: KEYS_FILE is another spelling of KEYS.
        is_text = name in known or is_path
        text = _Text(environ[variable] if is_text else _contents(environ[variable], place))
        text.variable = variable
        _put(data, path, text, place)
    return _build(cls, data, Place(prefix, "", "__"))


def _variables(
    cls: Any, above: tuple[str, ...]
) -> Iterator[tuple[str, tuple[tuple[str, ...], bool]]]:
    """Yield the name of each variable; the path to its field, and whether its text is a file's."""
    for field, hint in _fields(cls):
        path = (*above, field.name)
        alternatives = _alternatives(hint)
        yield "__".join(path).upper(), (path, KeySet in alternatives)
        for one in alternatives:
            group = Keys if one is KeySet else one
            if _kind(group) is _GROUP:
                yield from _variables(group, path)


def _put(data: dict[str, Any], path: tuple[str, ...], text: _Text, place: Place) -> None:
    for name in path[:-1]:
        group: Any = data.setdefault(name, {})
        if isinstance(group, _Text):
            raise place.wrong(f"excludes {group.variable}", "keep one of them")
        data = group
    if data.setdefault(path[-1], text) is not text:
        raise place.wrong("is given in another variable, too", "keep one of them")


def _from_toml(cls: type[T], path: str, table: str) -> T:
    from tomllib import TOMLDecodeError
    from tomllib import loads as loads_toml

    place = Place(path, ": ", ".", os.path.dirname(path))
    try:
        found: Any = loads_toml(_contents(path, place))
    except TOMLDecodeError as error:
        raise place.wrong(f"is not TOML: {error}") from None
    for name in table.split(".") if table else ():
        if not _is_mapping(found) or name not in found:
            raise place.wrong(f"has no table [{table}]", 'table="..." names another, "" the file')
        found, place = found[name], place.field(name)
    built: T = _convert(cls, found, place)
    return built


def _contents(path: str, place: Place) -> str:
    """Return the text of a file, without the newline at its end."""
    try:
        text = _octets(path, place).decode()
    except UnicodeDecodeError:
        raise place.wrong("the file is not text in UTF-8", "write octets in base64url") from None
    return text.removesuffix("\n").removesuffix("\r")


def _octets(path: str, place: Place, remedy: str = "") -> bytes:
    try:
        return file.read_key_file(path)
    except ConfigurationError as error:
        # Without the path: people put a secret where the path of its file belongs.
        problem = error.problem.removeprefix(f"{path}: ")
        raise place.wrong(f"the file can't be read: {problem}", remedy) from None


# -- From values to dataclasses.


def _convert(hint: Any, value: Any, place: Place) -> Any:
    """Return `value` as what the annotation `hint` says. Raises ConfigurationError."""
    alternatives = _alternatives(hint)
    kinds = [_kind(one) for one in alternatives]
    if isinstance(value, _Text):
        # From here on it is JSON, whose members have names of their own.
        place = Place(value.variable, ".", ".")
        value = _read(alternatives, str(value), place)
    if value is None and alternatives != _options(hint):
        return None
    for kind, one in zip(kinds, alternatives, strict=True):
        if kind.takes(value):
            return kind.convert(one, value, place)
    raise place.wrong(f"must be {_words(kinds)}")


def _read(alternatives: tuple[Any, ...], text: str, place: Place) -> Any:
    """Return what the text of a variable stands for, as JSON would have it."""
    kinds = [_kind(one) for one in alternatives]
    if not text:
        raise place.wrong("is empty", "unset it for the default")
    # What begins like an array or an object is one, wherever there can be one.
    if any(kind.opener == text[0] for kind in kinds):
        return _json(text, place)
    for kind in kinds:
        if kind.read is not None:
            return kind.read(text, place)
    group = next((one for one in alternatives if _kind(one) is _GROUP), None)
    raise place.wrong(f"must be {_words(kinds)}, in JSON", _members(group, place) or _ARRAYS)


def _members(group: Any, place: Place) -> str:
    """Return how to give the members of a group, say `JWT_MIDDLEWARE_TOKEN_CACHE__ENTRIES`."""
    if group is None:
        return ""
    name = place.name.removesuffix("_FILE")
    first = f"{name}__{fields(group)[0].name.upper()}"
    return f"its members have variables of their own, the first is {first}"


def _json(text: str, place: Place) -> Any:
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


def _build(cls: type[T], data: Mapping[Any, Any], place: Place) -> T:
    """Make a dataclass of a mapping. Raises ConfigurationError in the words of the source."""
    known = {field.name: (field, hint) for field, hint in _fields(cls)}
    for name in data:
        if name not in known:
            raise place.field(str(name)).wrong("no such setting", _suggestion(str(name), known))
    values: dict[str, Any] = {}
    for name, (field, hint) in known.items():
        if name in data:
            values[name] = _convert(hint, data[name], place.field(name))
        elif _is_required(field):
            raise place.field(name).wrong("is missing", "set it: it has no default")
    try:
        return cls(**values)
    except ConfigurationError as error:
        where = _named(error.field, known, place)
        raise where.wrong(error.problem, error.remedy) from None


def _named(name: str, known: Mapping[str, Any], place: Place) -> Place:
    """Return the place of the field that an error names, as this source calls it.

    From inside of a group, "refresh.cookies.name" is its field `name`; "Route('/login').path" is
    `path`; and from the settings, "refresh.cookies" is a field of a field.
    """
    found = _STEPS.search(name)
    steps = found[0].split(".") if found else []
    while steps and steps[0] not in known:
        del steps[0]
    for step in steps:
        place = place.field(step)
    return place


def _fields(cls: Any) -> Iterator[tuple[Field[Any], Any]]:
    hints = get_type_hints(cls, localns=_LOADED_HERE)
    return ((field, hints[field.name]) for field in fields(cls))


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _options(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return tuple(one for one in _options(hint) if one is not NoneType)


def _words(kinds: list[_Kind]) -> str:
    return " or ".join(dict.fromkeys(kind.words for kind in kinds))


def _suggestion(name: str, known: Mapping[str, Any], prefix: str = "") -> str:
    from difflib import get_close_matches

    for close in get_close_matches(name, known, n=1):
        return f"did you mean {prefix}{close}?"
    return f"there are {', '.join(prefix + one for one in known)}"


# -- Keys: what no annotation can say.


@dataclass(frozen=True, kw_only=True, repr=False)
class Keys:
    """Where the issuer's keys are: exactly one of `file`, `remote`, `jwks`, `pem` and `secret`.

    Args:
        file: path of a JWK Set file (RFC 7517 s5), such as `KeySet.save` writes; it is read again
            when another is in its place.
        remote: a key set that the issuer publishes; an empty table: found through its metadata.
        jwks: the JWK Set itself, or its JSON text.
        pem: private or public keys in PEM.
        secret: secrets for HMAC, the first to sign, all to verify; for one service on its own.
        algorithm: of the keys that don't say it themselves, RSA keys and secrets (those: HS256).
        kid: what tokens call the key in `pem`, if not by its thumbprint (RFC 7638).
        password: the password of an encrypted `pem`.

    """

    file: str | None = None
    remote: Remote | None = None
    jwks: Mapping[str, Any] | str | None = None
    pem: str | tuple[str, ...] | None = None
    secret: str | tuple[str, ...] | None = None
    algorithm: str | None = None
    kid: str | None = None
    password: str | None = None


def _from_remote(remote: Any, keys: Keys) -> KeySet:
    return KeySet((), replace(remote, algorithm=remote.algorithm or keys.algorithm))


def _from_jwks(jwks: Any, keys: Keys) -> KeySet:
    return KeySet.from_jwks(jwks, algorithm=keys.algorithm)


def _from_pem(pem: Any, keys: Keys) -> KeySet:
    password = None if keys.password is None else keys.password.encode()
    pems = [pem] if isinstance(pem, str) else pem
    return KeySet.pem(*pems, algorithm=keys.algorithm, kid=keys.kid, password=password)


def _from_secret(secret: Any, keys: Keys) -> KeySet:
    secrets = [secret] if isinstance(secret, str) else secret
    return KeySet.secret(*secrets, algorithm=keys.algorithm or "HS256")


_SOURCES = {
    "file": _from_jwks,
    "remote": _from_remote,
    "jwks": _from_jwks,
    "pem": _from_pem,
    "secret": _from_secret,
}


def _key_set(_: Any, value: Any, place: Place) -> KeySet:
    if isinstance(value, KeySet):
        return value
    if not _is_mapping(value):
        return _load("file", Keys(file=os.fsdecode(value)), place)
    keys = _build(Keys, value, place)
    given = [name for name in _SOURCES if getattr(keys, name) is not None]
    if len(given) != 1:
        problem = f"has {' and '.join(given)}" if given else "doesn't say where the keys are"
        raise place.wrong(problem, f"give exactly one of {', '.join(_SOURCES)}")
    for only in ("kid", "password"):
        if given != ["pem"] and getattr(keys, only) is not None:
            raise place.field(only).wrong("goes with pem only", "leave it out")
    return _load(given[0], keys, place.field(given[0]))


def _load(name: str, keys: Keys, place: Place) -> KeySet:
    value, path = getattr(keys, name), ""
    if name == "file":
        remedy = (
            "this is the path of a JWK Set file; keys at a URL, or found by the issuer's name, "
            "go to `remote`, others to `pem`, `jwks` or `secret`"
        )
        path = os.path.join(place.folder, value)
        value = _octets(path, place, remedy)
    try:
        found = _SOURCES[name](value, keys)
        return KeySet(found.keys, file.file_source(path, keys.algorithm)) if path else found
    except ConfigurationError as error:
        # "keys[1]" is a member of the key set that was given here.
        inner = "" if error.field == "keys" else f".{error.field}"
        where = place._replace(name=place.name + inner)
        raise where.wrong(error.problem, error.remedy) from None


# -- The kinds of values that annotations tell apart.


class _Kind(NamedTuple):
    """A kind of value: what it is called, which values are of it, and what becomes of them."""

    words: str
    takes: Callable[[Any], bool]
    convert: Callable[[Any, Any, Place], Any]  # annotation, value, place
    schema: Callable[[Any, Schema], Schema]  # annotation, definitions
    read: Callable[[str, Place], Any] | None = None  # from the text of a variable
    opener: str = ""  # what JSON of this kind begins with


def _same(_: Any, value: Any, place: Place) -> Any:
    return value


def _string(_: Any, value: str, place: Place) -> str:
    if _SURROGATE.search(value):
        raise place.wrong("is not text in UTF-8")
    return value


def _text(text: str, _: Place) -> str:
    return text


def _truth(text: str, place: Place) -> bool:
    if text.lower() not in ("true", "false"):
        raise place.wrong("must be true or false")
    return text.lower() == "true"


def _digits(text: str, place: Place) -> float:
    if not _NUMBER.fullmatch(text):
        raise place.wrong("must be a number, in digits")
    return float(text) if "." in text else int(text)


def _array(hint: Any, value: Any, place: Place) -> tuple[Any, ...]:
    item = get_args(hint)[0]
    return tuple(_convert(item, one, place.item(position)) for position, one in enumerate(value))


def _group(hint: Any, value: Any, place: Place) -> Any:
    return _build(hint, value, place) if _is_mapping(value) else value


def _choice(hint: Any, value: str, place: Place) -> str:
    return _one_of(get_args(hint), value, place)


def _profile(_: Any, value: str | Profile, place: Place) -> Profile:
    return value if isinstance(value, Profile) else PROFILES[_one_of(PROFILES, value, place)]


def _one_of(names: Iterable[str], value: str, place: Place) -> str:
    if value not in names:
        raise place.wrong(f"must be one of {', '.join(names)}")
    return value


def _function(_: Any, value: Any, place: Place) -> Any:
    if not isinstance(value, str):
        return value
    if not re.match(_FUNCTION, value):
        raise place.wrong('must be "module:function"')
    from pkgutil import resolve_name

    try:
        return resolve_name(value)
    except Exception as error:
        # A module of the application's runs here: it may raise anything.
        raise place.wrong(f"can't be imported: {type(error).__name__}: {error}") from error


def _is_mapping(value: Any) -> TypeGuard[Mapping[Any, Any]]:
    return isinstance(value, Mapping)


def _is_group(value: Any) -> bool:
    return isinstance(value, Mapping) or (is_dataclass(value) and not isinstance(value, type))


def _is_object(value: Any) -> bool:
    # An object of the application's has no form in text; its field knows what it must be.
    return value is not None and not isinstance(value, str | int | float | list | tuple | Mapping)


def _of(*types: Any) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, types)


def _exactly(*types: type) -> Callable[[Any], bool]:
    return lambda value: type(value) in types  # a bool is an int in Python


def _fixed(**schema: Any) -> Callable[[Any, Schema], Schema]:
    return lambda hint, defs: dict(schema)


def _choice_schema(hint: Any, defs: Schema) -> Schema:
    return {"enum": list(get_args(hint))}


def _array_schema(hint: Any, defs: Schema) -> Schema:
    return {"type": "array", "items": _schema(get_args(hint)[0], defs)}


def _group_schema(hint: Any, defs: Schema) -> Schema:
    if hint.__name__ not in defs:
        defs[hint.__name__] = _object_schema(hint, defs)
    return {"$ref": f"#/$defs/{hint.__name__}"}


def _keys_schema(_: Any, defs: Schema) -> Schema:
    path = {"type": "string", "description": _descriptions(Keys).get("file", "")}
    exactly_one = [{"required": [name]} for name in _SOURCES]
    return {"anyOf": [path, _group_schema(Keys, defs) | {"oneOf": exactly_one}]}


_NO_FORM: Schema = {"not": {}}  # what a document can't hold

_STRING = _Kind("text", _of(str), _string, _fixed(type="string"), _text)
_BOOLEAN = _Kind("true or false", _exactly(bool), _same, _fixed(type="boolean"), _truth)
_INTEGER = _Kind("a whole number", _exactly(int), _same, _fixed(type="integer"), _digits)
_FLOAT = _Kind("a number", _exactly(int, float), _same, _fixed(type="number"), _digits)
_ARRAY = _Kind("an array", _of(list, tuple), _array, _array_schema, opener="[")
_TABLE = _Kind("a table", _is_mapping, _same, _fixed(type="object"), opener="{")
_GROUP = _Kind("a table", _is_group, _group, _group_schema, opener="{")
_OCTETS = _Kind("octets", _of(bytes), _same, _fixed(**_NO_FORM))
# TOML has them; elsewhere they are text, whose form the field knows.
_DATE = _Kind("a date", _of(date), _same, _fixed(**_NO_FORM))
_OBJECT = _Kind("an object", _is_object, _same, _fixed(**_NO_FORM))
_CHOICE = _Kind("text", _of(str), _choice, _choice_schema, _text)
_CALLABLE = _Kind(
    'a function or "module:function"',
    _of(str, Callable),
    _function,
    _fixed(type="string", pattern=_FUNCTION),
    _text,
)
_KEY_SET = _Kind(
    "a KeySet, the path of a JWK Set file or a table",
    _of(str, os.PathLike, Mapping, KeySet),
    _key_set,
    _keys_schema,
    _text,
    opener="{",
)
_PROFILE = _Kind(
    "a profile or its name", _of(str, Profile), _profile, _fixed(enum=list(PROFILES)), _text
)

_KINDS: Mapping[Any, _Kind] = {
    str: _STRING,
    bytes: _OCTETS,
    bool: _BOOLEAN,
    int: _INTEGER,
    float: _FLOAT,
    date: _DATE,
    tuple: _ARRAY,
    Mapping: _TABLE,
    Literal: _CHOICE,
    Callable: _CALLABLE,
    KeySet: _KEY_SET,
    Profile: _PROFILE,
}


def _kind(hint: Any) -> _Kind:
    found = _KINDS.get(get_origin(hint) or hint)
    return found or (_GROUP if is_dataclass(hint) else _OBJECT)


# -- The JSON Schema.


def json_schema(cls: type) -> Schema:
    """Return the JSON Schema (draft 2020-12) of the mappings that `from_mapping` and TOML take."""
    defs: Schema = {}
    schema = _object_schema(cls, defs)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": cls.__name__,
        **schema,
        "$defs": defs,
    }


def _object_schema(cls: type, defs: Schema) -> Schema:
    descriptions = _descriptions(cls)
    properties: Schema = {}
    for field, hint in _fields(cls):
        schema = _schema(hint, defs) | dict(field.metadata)
        if field.name in descriptions:
            schema["description"] = descriptions[field.name]
        if field.default_factory is not MISSING:
            schema["default"] = _plain(field.default_factory())
        elif field.default is not MISSING:
            schema["default"] = _plain(field.default)
        properties[field.name] = schema
    return {
        "type": "object",
        "description": cleandoc(cls.__doc__ or "").partition("\n")[0],
        "properties": properties,
        "required": [field.name for field, _ in _fields(cls) if _is_required(field)],
        "additionalProperties": False,
    }


def _schema(hint: Any, defs: Schema) -> Schema:
    found = [_kind(one).schema(one, defs) for one in _alternatives(hint)]
    found = [one for one in found if one != _NO_FORM] or [_NO_FORM]
    if _alternatives(hint) != _options(hint):
        found.append({"type": "null"})
    return found[0] if len(found) == 1 else {"anyOf": found}


def _descriptions(cls: type) -> dict[str, str]:
    """Return what a class says about its fields, under "Args:" in its docstring."""
    arguments = cleandoc(cls.__doc__ or "").partition("Args:\n")[2].partition("\n\n")[0]
    return {name: " ".join(text.split()) for name, text in _ARGUMENT.findall(arguments)}


def _plain(value: Any) -> Any:
    """Return a default as a document would write it."""
    if isinstance(value, tuple):
        items: tuple[Any, ...] = value
        return [_plain(one) for one in items]
    if isinstance(value, Profile):
        return value.name
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field, _ in _fields(type(value))}
    return f"{value.__module__}:{value.__qualname__}" if callable(value) else value
