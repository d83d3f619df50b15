"""Grants in Redis or Valkey."""

from __future__ import annotations

from ..store_options import wrong_store

try:
    import redis  # noqa: F401 (checked here, before the modules that use it are imported)
except ImportError:
    raise wrong_store(
        "needs redis-py, which isn't here", "pip install 'wsgi-asgi-jwt-middleware[redis]'"
    ) from None

from .store import AsyncRedisStore, RedisStore

__all__ = ["AsyncRedisStore", "RedisStore"]
