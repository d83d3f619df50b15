"""Where grants are kept; what a store of one's own is made with."""

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
