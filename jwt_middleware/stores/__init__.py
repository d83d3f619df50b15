"""Where grants are kept; and what you need to write a store of your own."""

from __future__ import annotations

from .contract import (
    HEARING,
    SHARDS,
    Advanced,
    AsyncStore,
    Cursor,
    Ended,
    Listing,
    Page,
    Store,
    new_grant_id,
    shard,
)

__all__ = [
    "HEARING",
    "SHARDS",
    "Advanced",
    "AsyncStore",
    "Cursor",
    "Ended",
    "Listing",
    "Page",
    "Store",
    "new_grant_id",
    "shard",
]
