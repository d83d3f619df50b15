"""Settings from outside: environment variables, TOML, mappings.

All is derived from dataclass fields and their annotations (`value_kinds.py`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from tomllib import TOMLDecodeError
from tomllib import loads as loads_toml
from typing import Any, TypeVar, cast

from ..keys.key_set import KeySet
from ..values.errors import ConfigurationError
from .key_locations import KeyLocation
from .layers import Layer, laid_over
from .places import Place, Variable, text_of
from .stand_ins import STAND_IN_URL, is_secret, with_stand_ins
from .value_kinds import (
    BASE,
    PRESETS,
    alternatives,
    build,
    convert,
    fields_of,
    is_group,
    suggestion,
)

Loaded = TypeVar("Loaded")

# Kubernetes sets these for every service of the namespace: one called `jwt-middleware`, or
# `jwt-middleware-redis`, makes names that look like ours.
_SERVICE_LINK = re.compile(
    r"(?:[A-Z0-9_]+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?"
    r"|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)


def made(found: Loaded | ConfigurationError) -> Loaded:
    """Return the settings, or raise the error from this frame, where no variable holds a secret."""
    if isinstance(found, ConfigurationError):
        raise found
    return found


def caught(make: Callable[..., Loaded], *args: Any) -> Loaded | ConfigurationError:
    """Return what `make` returns, or its error, for `made` to raise."""
    # Error trackers show the variables of every frame of a traceback, and of the error's context.
    # Our frames have held secrets, so the error is returned without them. A cause is kept: it comes
    # from a module of the application that couldn't be imported.
    try:
        return make(*args)
    except ConfigurationError as error:
        bare = ConfigurationError(error.field, error.problem, error.remedy)
        bare.__cause__ = error.__cause__
        return bare


# -- The three sources, and several of them. Each raises ConfigurationError.


def from_mapping(cls: type[Loaded], mapping: Mapping[str, Any]) -> Loaded:
    """Make a `cls` of a mapping such as JSON gives; a value may be the real object already."""
    return cast("Loaded", convert(cls, mapping, Place("", "", ".")))


def from_env(cls: type[Loaded], environ: Mapping[str, str] | None, prefix: str) -> Loaded:
    """Make a `cls` of the variables whose names begin with `prefix`; None: of this process's."""
    return build(cls, *_in_env(cls, os.environ if environ is None else environ, prefix))


def _in_env(
    cls: Any, environ: Mapping[str, str], prefix: str, *, reads_secrets: bool = True
) -> Layer:
    """Return what the variables say. Raises ConfigurationError."""
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
            raise ConfigurationError(
                variable, "no such setting", suggestion(name.upper(), known, prefix)
            )
        path, is_path = found
        # What a variable holds may be JSON, whose members have names of their own.
        place = Place(variable, ".", ".")
        text = environ[variable]
        # The text of a key set is a path already: KEYS_FILE is another spelling of KEYS.
        if name not in known and not is_path:
            is_read = reads_secrets or not is_secret(path)
            text = text_of(text, place) if is_read else STAND_IN_URL
        _put(data, path, Variable(place, text))
    return Layer(data, Place(prefix, "", "__"))


def variables(
    cls: Any, above: tuple[str, ...] = ()
) -> Iterator[tuple[str, tuple[tuple[str, ...], bool]]]:
    """Yield the name of each variable; the path to its field, and whether its text is a file's."""
    for field, hint in fields_of(cls):
        path = (*above, field.name)
        kinds = alternatives(hint)
        yield "__".join(path).upper(), (path, KeySet in kinds)
        for one in kinds:
            if one in PRESETS:
                yield "__".join((*path, BASE)).upper(), ((*path, BASE), False)
            group = KeyLocation if one is KeySet else one
            if is_group(group) or group in PRESETS:
                yield from variables(group, path)


def _put(data: dict[str, Any], path: tuple[str, ...], given: Variable) -> None:
    for name in path[:-1]:
        group: Any = data.setdefault(name, {})
        if isinstance(group, Variable):
            raise given.place.wrong(f"excludes {group.place.name}", "keep one of them")
        data = group
    if data.setdefault(path[-1], given) is not given:
        raise given.place.wrong("is given in another variable, too", "keep one of them")


def from_toml(cls: type[Loaded], path: str | os.PathLike[str], table: str) -> Loaded:
    """Make a `cls` of one table of a TOML file. Relative paths count from the file's folder."""
    return cast("Loaded", convert(cls, *_in_toml(path, table)))


def _in_toml(path: str | os.PathLike[str], table: str) -> Layer:
    """Return what one table of a TOML file says. Raises ConfigurationError."""
    name = os.fspath(path)
    place = Place(name, ": ", ".", os.path.dirname(name))
    try:
        found: Any = loads_toml(text_of(name, place))
    except TOMLDecodeError as error:
        raise place.wrong(f"is not TOML: {error}") from None
    for step in table.split(".") if table else ():
        if not isinstance(found, Mapping) or step not in found:
            raise place.wrong(f"has no table [{table}]", 'table="..." names another, "" the file')
        found, place = found[step], place.field(step)
    return Layer(found, place)


def from_layers(
    cls: type[Loaded],
    layers: tuple[Any, ...],
    environ: Mapping[str, str] | None,
    table: str,
    prefix: str,
    *,
    reads_secrets: bool = True,
) -> Loaded:
    """Make a `cls` of several sources, the later ones over the earlier ones.

    Without `reads_secrets` no file with a secret is read: others stand in for keys and secrets.
    """
    found = [_layer(number, one, table) for number, one in enumerate(layers)]
    if environ is not None:
        found.append(_in_env(cls, environ, prefix, reads_secrets=reads_secrets))
    whole = Layer({}, Place("", "", "."))
    for one in found:
        whole = laid_over(cls, whole, one)
    return build(cls, *(whole if reads_secrets else with_stand_ins(cls, whole)))


def _layer(number: int, given: Any, table: str) -> Layer:
    """Return what one layer says: a path or a mapping. Raises ConfigurationError."""
    place = Place(f"layers[{number}]", ": ", ".")
    if isinstance(given, str | os.PathLike):
        found = _in_toml(given, table)
        if isinstance(found.data, Mapping):
            return found
        raise found.place.wrong("must be a table")
    if given is os.environ:
        raise place.wrong("is the environment", "environ=os.environ, which is laid over the others")
    if isinstance(given, Mapping):
        return Layer(given, place)
    raise place.wrong(f"is {type(given).__name__}", "the path of a TOML file, or a mapping")
