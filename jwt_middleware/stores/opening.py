"""From a URL to a store. An engine is imported when its URL is opened, and never otherwise."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from ..values.errors import ConfigurationError

_ENGINES = {
    "memory": ("memory", "MemoryStore"),
    "sqlite": ("sqlite", "SQLiteStore"),
}


def open_store(store: Any, *, clock: Callable[[], float], retention: float) -> Any:
    """Return the store at a URL; an object with the verbs of a store is returned as it is.

    Raises:
        ConfigurationError: for an unknown scheme and for what the engine's own reading of the URL
            refuses.

    """
    if not isinstance(store, str):
        return store
    scheme = store.partition("://")[0]
    if scheme not in _ENGINES:
        raise ConfigurationError(
            "refresh.store", f"no store has the scheme {scheme!r}", f"one of {', '.join(_ENGINES)}"
        )
    module, name = _ENGINES[scheme]
    engine = getattr(import_module(f".{module}", __package__), name)
    return engine.from_url(store, clock=clock, retention=retention)
