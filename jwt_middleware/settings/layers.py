"""Several sources of settings, one over the other: a later one changes single fields of groups.

Here values are still as their sources have them. Each keeps the place where it stands, so that an
error names the source that gave the wrong value, and a relative path counts from its own file.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any, NamedTuple

from ..keys.key_set import KeySet
from .key_locations import WAYS, KeyLocation
from .places import Place, Variable
from .value_kinds import alternatives, fields_of, from_json, is_group


class Layer(NamedTuple):
    """What a source says about the fields of a group, and where that stands."""

    data: Any  # a mapping, by the names of fields
    place: Place


def laid_over(cls: Any, lower: Layer, upper: Layer) -> Layer:
    """Return what `lower` says, changed by `upper`: groups field by field, all else as a whole.

    Raises ConfigurationError where the two can't be joined.
    """
    groups = {field.name: _group_in(hint) for field, hint in fields_of(cls)}
    data = dict(lower.data)
    places = {name: lower.place.field(name) for name in data}
    for name, value in upper.data.items():
        place = upper.place.field(name)
        over: tuple[Any, Place] = value, place
        if name in data and (group := groups.get(name)) is not None:
            over = _joined(group, (data[name], places[name]), over)
        data[name], places[name] = over
    return Layer(data, upper.place._replace(inner=places))


def _group_in(hint: Any) -> Any:
    """Return the class of a field that is a group, or None."""
    groups = (KeyLocation if one is KeySet else one for one in alternatives(hint))
    return next(filter(is_group, groups), None)


def _joined(group: Any, lower: tuple[Any, Place], upper: tuple[Any, Place]) -> tuple[Any, Place]:
    """Return the value of a field that is a group, and that two layers give."""
    over = fields_in(group, *upper)
    if over is None:
        return upper
    under = fields_in(group, *lower)
    if under is None and not isinstance(lower[0], group | KeySet):
        return upper
    if under is None:
        raise over.place.wrong(
            f"changes a part of what {lower[1].name} gives as an object",
            "give it as a table there, or change it by settings.replace(...)",
        )
    before, now = (WAYS.keys() & layer.data.keys() for layer in (under, over))
    if group is KeyLocation and before and now and before != now:
        return upper  # the keys are in another place: what was said of the first is void
    return laid_over(group, under, over)


def fields_in(group: Any, value: Any, place: Place) -> Layer | None:
    """Return the fields of a group that a value gives; None: it gives none.

    A path stands for the table of keys in that file. Raises ConfigurationError for a variable that
    isn't JSON.
    """
    if isinstance(value, Variable):
        place = value.place
        if value.text.startswith("{"):
            return Layer(from_json(value.text, place), place)
        value = value.text
    if isinstance(value, Mapping):
        return Layer(value, place)
    if group is KeyLocation and isinstance(value, str | PathLike):
        return Layer({"file": fspath(value)}, place._replace(inner={"file": place}))
    return None
