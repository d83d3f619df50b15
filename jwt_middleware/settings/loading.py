"""Settings from outside: environment variables, TOML, mappings.

All is derived from dataclass fields and their annotations (`value_kinds.py`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from tomllib import TOMLDecodeError
from tomllib import loads as loads_toml
from typing import Any, TypeVar

from ..keys.key_set import KeySet
from ..values.errors import ConfigurationError
from .key_locations import KeyLocation
from .places import Place, VariableText, text_of
from .value_kinds import alternatives, build, convert, fields_of, is_group, is_mapping, suggestion

Made = TypeVar("Made")

# Kubernetes sets these for every service of the namespace: one called `jwt-middleware`, or
# `jwt-middleware-redis`, makes names that look like ours.
_SERVICE_LINK = re.compile(
    r"(?:[A-Z0-9_]+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?"
    r"|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)


# -- The three sources. Each returns what it made, or the error, which `made` raises.


def from_env(
    cls: type[Made], environ: Mapping[str, str] | None, prefix: str
) -> Made | ConfigurationError:
    """Make a `cls` of the variables whose names begin with `prefix`."""
    return _caught(_from_env, cls, os.environ if environ is None else environ, prefix)


def from_toml(
    cls: type[Made], path: str | os.PathLike[str], table: str
) -> Made | ConfigurationError:
    """Make a `cls` of one table of a TOML file. Relative paths count from the file's folder."""
    return _caught(_from_toml, cls, os.fspath(path), table)


def from_mapping(cls: type[Made], mapping: Mapping[str, Any]) -> Made | ConfigurationError:
    """Make a `cls` of a mapping such as JSON gives; a value may be the real object already."""
    return _caught(convert, cls, mapping, Place("", "", "."))


def made(found: Made | ConfigurationError) -> Made:
    """Return what was made, or raise what went wrong: here, where no variable holds a secret."""
    if isinstance(found, ConfigurationError):
        raise found
    return found


def _caught(make: Callable[..., Made], *args: Any) -> Made | ConfigurationError:
    # Tools that report errors show the variables of every frame of a traceback, and of those behind
    # it. Ours have held secrets, so the error goes on without them. A cause is kept: it is the
    # application's own, from a module that couldn't be imported.
    try:
        return make(*args)
    except ConfigurationError as error:
        bare = ConfigurationError(error.field, error.problem, error.remedy)
        bare.__cause__ = error.__cause__
        return bare


def _from_env(cls: type[Made], environ: Mapping[str, str], prefix: str) -> Made:
    if not prefix:
        raise ConfigurationError("prefix", "is empty", "or every variable would be a setting")
    known = dict(variables(cls))
    files = {f"{name}_FILE": found for name, found in known.items()}
    data: dict[str, Any] = {}
    for variable in sorted(environ):
        name = variable.removeprefix(prefix)
        found = known.get(name) or files.get(name)
        if name == variable or (found is None and _SERVICE_LINK.fullmatch(name)):
            continue
        if found is None:
            remedy = suggestion(name.upper(), known, prefix)
            raise ConfigurationError(variable, "no such setting", remedy)
        path, is_path = found
        place = Place(variable, ".", ".")
        # The text of a key set is a path already: KEYS_FILE is another spelling of KEYS.
        is_text = name in known or is_path
        text = VariableText(environ[variable] if is_text else text_of(environ[variable], place))
        text.variable = variable
        _put(data, path, text, place)
    return build(cls, data, Place(prefix, "", "__"))


def variables(
    cls: Any, above: tuple[str, ...] = ()
) -> Iterator[tuple[str, tuple[tuple[str, ...], bool]]]:
    """Yield the name of each variable; the path to its field, and whether its text is a file's."""
    for field, hint in fields_of(cls):
        path = (*above, field.name)
        kinds = alternatives(hint)
        yield "__".join(path).upper(), (path, KeySet in kinds)
        for one in kinds:
            group = KeyLocation if one is KeySet else one
            if is_group(group):
                yield from variables(group, path)


def _put(data: dict[str, Any], path: tuple[str, ...], text: VariableText, place: Place) -> None:
    for name in path[:-1]:
        group: Any = data.setdefault(name, {})
        if isinstance(group, VariableText):
            raise place.wrong(f"excludes {group.variable}", "keep one of them")
        data = group
    if data.setdefault(path[-1], text) is not text:
        raise place.wrong("is given in another variable, too", "keep one of them")


def _from_toml(cls: type[Made], path: str, table: str) -> Made:
    place = Place(path, ": ", ".", os.path.dirname(path))
    try:
        found: Any = loads_toml(text_of(path, place))
    except TOMLDecodeError as error:
        raise place.wrong(f"is not TOML: {error}") from None
    for name in table.split(".") if table else ():
        if not is_mapping(found) or name not in found:
            raise place.wrong(f"has no table [{table}]", 'table="..." names another, "" the file')
        found, place = found[name], place.field(name)
    built: Made = convert(cls, found, place)
    return built
