"""Open a store by its URL. An engine is imported only when one of its URLs is opened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from .store_options import wrong_store

SCHEMES: Final = (
    "memory",
    "sqlite",
    "postgresql",
    "postgres",
    "redis",
    "rediss",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)


class Opened(NamedTuple):
    """One store in its sync and async kinds. Nothing is connected yet."""

    plain: Any
    awaited: Any  # the same object, where the engine has one kind only


def open_store(
    store: Any, *, clock: Callable[[], float], retention: float, serve: bool = True
) -> Opened:
    """Return the store at a URL; an object with the verbs of a store is returned as it is.

    Args:
        store: a URL, or an object.
        clock: seconds since 1970-01-01 UTC, for stores inside the process.
        retention: seconds for which an end is remembered.
        serve: False for a service that only reads what has ended, with the least rights.

    Raises:
        ConfigurationError: for an unknown scheme, for a client that isn't installed, and for a URL
            that the engine can't use.

    """
    if not isinstance(store, str):
        return Opened(store, store)
    scheme = store.partition("://")[0]
    if scheme not in SCHEMES:
        raise wrong_store(f"no store has the scheme {scheme!r}", f"one of {', '.join(SCHEMES)}")
    kinds, options = _classes_of(scheme.partition("+")[0], serve)
    opened = [kind.from_url(store, clock=clock, retention=retention, **options) for kind in kinds]
    return Opened(opened[0], opened[-1])


def _classes_of(engine: str, serve: bool) -> tuple[tuple[Any, ...], dict[str, bool]]:
    """Return an engine's store classes, and the further arguments that they take.

    The imports stand here, so that a process loads only the engine that it uses.
    """
    match engine:
        case "memory":
            from .memory import MemoryStore

            return (MemoryStore,), {}
        case "sqlite":
            from .sqlite import SQLiteStore

            return (SQLiteStore,), {}
        case "postgresql" | "postgres":
            from .postgres.store import AsyncPostgresStore, PostgresStore

            return (PostgresStore, AsyncPostgresStore), {"serve": serve}
        case _:
            from .redis import AsyncRedisStore, RedisStore

            return (RedisStore, AsyncRedisStore), {"serve": serve}
