"""Where grants are kept; and what you need to write a store of your own."""

from __future__ import annotations

from .contract import (
    END_BEFORE,
    PAGE,
    SHARDS,
    Advanced,
    AsyncStore,
    Cursor,
    Ended,
    Listing,
    Mark,
    Page,
    Store,
    new_grant_id,
    shard,
)

__all__ = [
    "END_BEFORE",
    "PAGE",
    "SHARDS",
    "Advanced",
    "AsyncStore",
    "Cursor",
    "Ended",
    "Listing",
    "Mark",
    "Page",
    "Store",
    "new_grant_id",
    "shard",
]
