"""Keys and secrets that stand in for those that aren't here, so that all else can be checked.

A pipeline that checks the settings of a service must not have its secrets. What stands in is random
each time, and is good for nothing but the checks of settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING
from typing import Any, get_args

from ..jose.jwk import generate
from ..keys.key_set import KeySet
from ..values.randomness import octets
from .key_locations import KeyLocation
from .layers import Layer, fields_in
from .places import Place, Variable
from .value_kinds import ARRAY, alternatives, fields_of, from_json, is_group, kind_for

STAND_IN_URL = "postgresql:///"  # of a store; connected to by nobody
_SECRETS = ("keys", "secret", "former", "store")  # fields whose value, or a part of it, is a secret


def is_secret(path: Sequence[str]) -> bool:
    """Say whether a field, by the way that leads to it, may hold a secret."""
    return any(step in _SECRETS for step in path)


def with_stand_ins(cls: Any, layer: Layer) -> Layer:
    """Return the values of a group with others for its keys and secrets.

    The URL of a store is kept where it is given.
    """
    data = dict(layer.data)
    for field, hint in fields_of(cls):
        name, kinds = field.name, alternatives(hint)
        is_needed = field.default is field.default_factory is MISSING
        if name not in data and not (is_needed and is_secret((name,))):
            continue
        value, place = data.get(name), layer.place.field(name)
        if KeySet in kinds:
            data[name] = _keys(value, place)
        elif name == "store":
            data[name] = value or STAND_IN_URL
        elif name == "secret":
            data[name] = _text()
        elif isinstance(value, Variable) and value.text == STAND_IN_URL:
            del data[name]  # entries of `former`, in a file
        else:
            data[name] = _inside(kinds, value, place)
    return Layer(data, layer.place)


def _inside(kinds: Sequence[Any], value: Any, place: Place) -> Any:
    """Return a value with stand-ins in the groups that it is, or has."""
    for one in kinds:
        if is_group(one) and (found := fields_in(one, value, place)) is not None:
            return with_stand_ins(one, found).data
        item = get_args(one)[0] if kind_for(one) is ARRAY else None
        if is_group(item):
            return _in_each(item, value, place)
    return value


def _in_each(item: Any, value: Any, place: Place) -> Any:
    if isinstance(value, Variable):
        value = from_json(value.text, value.place)
    if not isinstance(value, list | tuple):
        return value
    return [_inside((item,), one, place.item(number)) for number, one in enumerate(value)]


def _keys(given: Any, place: Place) -> Any:
    """Return keys that sign. A remote set stays, because nothing is fetched when it is made."""
    found = fields_in(KeyLocation, given, place)
    if isinstance(given, KeySet) or (found is not None and "remote" in found.data):
        return given
    return KeySet((generate("ES256", kid=_text()),))


def _text() -> str:
    return octets(32).hex()
