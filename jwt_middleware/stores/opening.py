"""From a URL to a store. An engine is imported when its URL is opened, and never otherwise."""

from collections.abc import Callable, Mapping
from typing import Any

from ..values.errors import ConfigurationError
from . import Store


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
    return _ENGINES[scheme](store, clock=clock, retention=retention)


def _memory(url: str, **given: Any) -> Store:
    from .memory import MemoryStore

    return MemoryStore.from_url(url, **given)


def _sqlite(url: str, **given: Any) -> Store:
    from .sqlite import SQLiteStore

    return SQLiteStore.from_url(url, **given)


_ENGINES: Mapping[str, Callable[..., Store]] = {"memory": _memory, "sqlite": _sqlite}
