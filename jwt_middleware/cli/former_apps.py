"""Find out which library an application takes its tokens or logins from: `migrate check APP`.

An application is only looked at. Of its functions those are called that make the application, or a
strategy of fastapi-users.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from inspect import isfunction, unwrap
from pkgutil import resolve_name
from typing import Any, TypeAlias

from . import Refusal
from .configured import imported_object
from .endpoints import Endpoint, endpoints_of
from .former_app import FormerApp, unknown
from .former_django import of_django, of_django_handler
from .former_fastapi_users import of_backend, of_fastapi_users, of_strategy
from .former_flask import of_authx, of_authx_config, of_flask

ReadsApp: TypeAlias = Callable[[Any], FormerApp | None]  # None: the object says nothing

# What reads an object, by the package and the name of its class: so no library is imported that
# isn't used. Those before know more than those behind.
READERS: Mapping[tuple[str, str], ReadsApp] = {
    ("flask", "Flask"): of_flask,
    ("django", "WSGIHandler"): of_django_handler,
    ("django", "ASGIHandler"): of_django_handler,
    ("authx", "AuthX"): of_authx,
    ("authx", "AuthXConfig"): of_authx_config,
    ("fastapi_users", "FastAPIUsers"): of_fastapi_users,
    ("fastapi_users", "AuthenticationBackend"): of_backend,
    ("fastapi_users", "JWTStrategy"): of_strategy,
}


def former_app(name: str) -> tuple[FormerApp, list[Endpoint]]:
    """Return what an application has, and its endpoints as far as they can be seen.

    `name`: MODULE:NAME, or the module of Django's settings.

    Raises:
        Refusal: it can't be imported.

    """
    if ":" not in name:
        return of_django(_django_settings(name)), []
    try:
        app = imported_object(name, "APP", call=isfunction)
    except Refusal as refusal:
        raise _unread(name, refusal.__cause__) if refusal.__cause__ else refusal from None
    endpoints: list[Endpoint] = []
    with suppress(Exception):  # it has no table of endpoints, or one that isn't complete
        endpoints = endpoints_of(app)
    known = [*READERS.values()]
    readers = [(_reader_of(one), one) for one in _around(endpoints)]
    around = [(read, one) for read, one in readers if read is not None]
    around.sort(key=lambda pair: known.index(pair[0]))
    for read, one in [(_reader_of(app), app), *around]:
        found = read(one) if read is not None else None
        if found is not None:
            return found, endpoints
    return unknown(), endpoints


def _reader_of(one: Any) -> ReadsApp | None:
    """Return what reads an object; None: its class isn't known."""
    for cls in type(one).__mro__:
        read = READERS.get((cls.__module__.partition(".")[0], cls.__name__))
        if read is not None:
            return read
    return None


def _django_settings(name: str) -> Mapping[str, Any]:
    """Return the settings of a module, and Django's defaults. They aren't put in force."""
    sys.path.insert(0, os.getcwd())
    try:
        return {**vars(resolve_name("django.conf.global_settings")), **vars(resolve_name(name))}
    except Exception as error:  # noqa: BLE001 (the application's module may raise anything)
        raise _unread(name, error) from None
    finally:
        sys.path.pop(0)


def _unread(name: str, error: BaseException) -> Refusal:
    """Return the refusal for an application that can't be imported."""
    # The text of another error may hold a value of the configuration, which may be the secret:
    # pydantic quotes what it refuses.
    says_names = isinstance(error, ImportError | AttributeError | NameError | SyntaxError)
    said = f": {error}" if says_names else ", whose text isn't shown here: it may hold a secret"
    return Refusal(
        f"APP {name}: {type(error).__name__}{said} (MODULE:NAME is an application, a module alone "
        "is Django's settings)"
    )


def _around(endpoints: Iterable[Endpoint]) -> Iterator[Any]:
    """Yield what views close over, and what stands beside them in their modules."""
    views = [unwrap(one.view) for one in endpoints if callable(one.view)]
    for view in views:
        for cell in getattr(view, "__closure__", None) or ():
            with suppress(ValueError):  # nothing is in it yet
                yield cell.cell_contents
    for view in views:
        yield from tuple(getattr(view, "__globals__", {}).values())
