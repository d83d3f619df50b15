"""Grants in Redis or Valkey."""

from __future__ import annotations

import re

from ..store_options import wrong_store

INSTALL = "pip install 'wsgi-asgi-jwt-middleware[redis]'"
try:
    import redis
except ImportError:
    raise wrong_store("needs redis-py, which isn't here", INSTALL) from None
# Checked before the modules that use it are imported: in an older one they'd fail somewhere.
if tuple(map(int, re.findall(r"[0-9]+", redis.__version__)[:2])) < (6, 4):
    raise wrong_store(f"needs redis-py 6.4 or newer, and this is {redis.__version__}", INSTALL)

from .store import AsyncRedisStore, RedisStore  # noqa: E402 (after the check)

__all__ = ["AsyncRedisStore", "RedisStore"]
