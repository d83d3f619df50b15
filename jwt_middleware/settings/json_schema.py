"""The JSON Schema of settings, made from the fields, annotations and bounds of the settings."""

from __future__ import annotations

import re
from dataclasses import MISSING, is_dataclass
from inspect import cleandoc
from typing import Any, TypeAlias, get_args

from .key_locations import WAYS, KeyLocation
from .value_kinds import (
    ARRAY,
    BASE,
    CHOICE,
    KEY_SET,
    LIBRARY,
    NO_FORM,
    PRESETS,
    PROFILE,
    SET,
    alternatives,
    fields_of,
    kind_for,
)

Schema: TypeAlias = dict[str, Any]

_ARGUMENT = re.compile(r"^    (\w+): (.+(?:\n {8}.+)*)", re.MULTILINE)


def json_schema(cls: type) -> Schema:
    """Return the JSON Schema (draft 2020-12) of the mappings that `from_mapping` and TOML take."""
    definitions: Schema = {}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": cls.__name__,
        **_of_group(cls, definitions),
        "$defs": definitions,
    }


def _of_group(cls: type, definitions: Schema) -> Schema:
    descriptions = _descriptions(cls)
    properties: Schema = {}
    for field, hint in fields_of(cls):
        bounds = {
            name: field.metadata[name] for name in ("minimum", "maximum") if name in field.metadata
        }
        properties[field.name] = schema = _of_hint(hint, definitions) | bounds
        if field.name in descriptions:
            schema["description"] = descriptions[field.name]
        made = field.default if field.default_factory is MISSING else field.default_factory()
        if made is not MISSING:
            schema["default"] = _plain(made)
    return {
        "type": "object",
        "description": cleandoc(cls.__doc__ or "").partition("\n")[0],
        "properties": properties,
        "required": [name for name, schema in properties.items() if "default" not in schema],
        "additionalProperties": False,
    }


def _of_hint(hint: Any, definitions: Schema) -> Schema:
    found = [_of_one(one, definitions) for one in alternatives(hint)]
    found = [one for one in found if one != NO_FORM] or [dict(NO_FORM)]
    found = [one for place, one in enumerate(found) if one not in found[:place]]
    return found[0] if len(found) == 1 else {"anyOf": found}


def _of_one(hint: Any, definitions: Schema) -> Schema:
    kind = kind_for(hint)
    if kind.schema is not None:
        return dict(kind.schema)
    if kind is CHOICE:
        return {"enum": list(get_args(hint))}
    if kind in (ARRAY, SET):
        return {"type": "array", "items": _of_hint(get_args(hint)[0], definitions)}
    if kind in (PROFILE, LIBRARY):
        presets, default = PRESETS[hint]
        names: Schema = {"enum": list(presets)}
        table = _reference(hint, definitions)
        base = names | {"description": "the one that it differs from", "default": default.name}
        definitions[hint.__name__]["properties"].setdefault(BASE, base)
        return {"anyOf": [names, table]}
    if kind is KEY_SET:
        path = {"type": "string", "description": _descriptions(KeyLocation).get("file", "")}
        exactly_one = {"oneOf": [{"required": [way]} for way in WAYS]}
        return {"anyOf": [path, _reference(KeyLocation, definitions) | exactly_one]}
    return _reference(hint, definitions)


def _reference(cls: type, definitions: Schema) -> Schema:
    if cls.__name__ not in definitions:
        definitions[cls.__name__] = _of_group(cls, definitions)
    return {"$ref": f"#/$defs/{cls.__name__}"}


def _descriptions(cls: type) -> dict[str, str]:
    """Return what a class says about its fields, under "Args:" in its docstring."""
    arguments = cleandoc(cls.__doc__ or "").partition("Args:\n")[2].partition("\n\n")[0]
    return {name: " ".join(text.split()) for name, text in _ARGUMENT.findall(arguments)}


def _plain(value: Any) -> Any:
    """Return a default as a document would write it."""
    if isinstance(value, tuple | frozenset):
        return [_plain(one) for one in (value if isinstance(value, tuple) else sorted(value))]
    if type(value) in PRESETS:
        return value.name
    if is_dataclass(value):
        return {
            field.name: _plain(getattr(value, field.name)) for field, _ in fields_of(type(value))
        }
    return f"{value.__module__}:{value.__qualname__}" if callable(value) else value
