"""From a URL to a store. An engine is imported when its URL is opened, and never otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..values.errors import ConfigurationError

Clock = Callable[[], float]


class Opened(NamedTuple):
    """One store, in the kinds that the two kinds of doors need. Nothing is connected yet."""

    plain: Any
    awaited: Any  # the plain one, where the engine has one kind only


def open_store(store: Any, *, clock: Clock, retention: float, serve: bool = True) -> Opened:
    """Return the store at a URL; an object with the verbs of a store is returned as it is.

    Args:
        store: a URL, or an object.
        clock: seconds since 1970-01-01 UTC, for stores inside the process.
        retention: seconds for which an end is remembered.
        serve: False for who only reads what has ended, with the least rights.

    Raises:
        ConfigurationError: for an unknown scheme, for a client that isn't installed, and for what
            the engine's own reading of the URL refuses.

    """
    if not isinstance(store, str):
        return Opened(store, store)
    scheme = store.partition("://")[0]
    if scheme not in _ENGINES:
        raise ConfigurationError(
            "refresh.store", f"no store has the scheme {scheme!r}", f"one of {', '.join(_ENGINES)}"
        )
    return _ENGINES[scheme](store, clock, retention, serve)


def _memory(url: str, clock: Clock, retention: float, _: bool) -> Opened:
    from .memory import MemoryStore

    store = MemoryStore.from_url(url, clock=clock, retention=retention)
    return Opened(store, store)


def _sqlite(url: str, clock: Clock, retention: float, _: bool) -> Opened:
    from .sqlite import SQLiteStore

    store = SQLiteStore.from_url(url, clock=clock, retention=retention)
    return Opened(store, store)


def _postgres(url: str, clock: Clock, retention: float, serve: bool) -> Opened:
    from .postgres.store import AsyncPostgresStore, PostgresStore

    kinds = (PostgresStore, AsyncPostgresStore)
    return _of_each(kinds, url, clock=clock, retention=retention, serve=serve)


def _redis(url: str, clock: Clock, retention: float, serve: bool) -> Opened:
    from .redis.store import AsyncRedisStore, RedisStore

    kinds = (RedisStore, AsyncRedisStore)
    return _of_each(kinds, url, clock=clock, retention=retention, serve=serve)


def _of_each(kinds: tuple[Any, Any], url: str, **given: Any) -> Opened:
    return Opened(*(kind.from_url(url, **given) for kind in kinds))


_ENGINES: Mapping[str, Callable[[str, Clock, float, bool], Opened]] = {
    "memory": _memory,
    "sqlite": _sqlite,
    "postgresql": _postgres,
    "postgres": _postgres,
    "redis": _redis,
    "rediss": _redis,
    "redis+sentinel": _redis,
    "rediss+sentinel": _redis,
    "redis+cluster": _redis,
    "rediss+cluster": _redis,
}
