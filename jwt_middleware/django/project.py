"""The Settings that a Django project names in its settings, as `JWT_MIDDLEWARE`."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import Any

from django.conf import settings as project_settings
from django.utils.module_loading import import_string

from ..issuer import Issuer
from ..settings.settings import Settings
from ..values.errors import ConfigurationError
from ..values.tokens import Hidden

NAME = "JWT_MIDDLEWARE"

_making = Lock()
# What was made of mappings, by their identity, each with its mapping, so that no other one gets its
# place in memory. All middlewares of a process must share one Settings: its store may be in memory.
_made: dict[int, tuple[Hidden[Any], Settings]] = {}


def jwt_settings() -> Settings:
    """Return the Settings that `JWT_MIDDLEWARE` is or names: always the same object.

    `JWT_MIDDLEWARE` may be a Settings, the dotted path to one, or a mapping for
    `Settings.from_mapping`.

    Raises:
        ConfigurationError: it is missing, can't be imported, or is none of these.

    """
    # Hidden: a mapping may hold secrets, and error trackers send locals.
    given: Hidden[Any] = Hidden(getattr(project_settings, NAME, None))
    if isinstance(given.value, str):
        given = Hidden(_imported(given.value))
    if isinstance(given.value, Settings):
        return given.value
    if isinstance(given.value, Mapping):
        return _of_mapping(given)
    kind = type(given.value).__name__
    what = "is missing" if given.value is None else f"must not be {kind}"
    raise ConfigurationError(
        NAME, what, "in Django's settings: a Settings, a dotted path to one, or a mapping"
    )


def jwt_issuer() -> Issuer:
    """Return an Issuer for the project's settings: for logins, log-outs and a user's devices.

    Raises:
        ConfigurationError: for wrong settings, or when they have no `refresh` group.

    """
    return Issuer(jwt_settings())


def _imported(path: str) -> Any:
    try:
        return import_string(path)
    except ImportError as error:
        raise ConfigurationError(
            NAME, f"{path!r} can't be imported", '"package.module.name"'
        ) from error


def _of_mapping(given: Hidden[Mapping[str, Any]]) -> Settings:
    name = id(given.value)
    with _making:
        if name not in _made:
            _made[name] = given, Settings.from_mapping(given.value)
        return _made[name][1]
