"""Grants in Redis or Valkey."""

from __future__ import annotations

from .store import AsyncRedisStore, RedisStore

__all__ = ["AsyncRedisStore", "RedisStore"]
