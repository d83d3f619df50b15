"""The events by name, for `match`, `isinstance` and annotations in `Settings(on_event=...)`."""

from __future__ import annotations

from .values.events import (
    Ahead,
    ConnectionEnded,
    Event,
    Issued,
    KeyMismatch,
    KeysBack,
    KeysChanged,
    KeysFailed,
    KeySkipped,
    Refreshed,
    Refused,
    Restored,
    Reused,
    Revoked,
    StoreBack,
    StoreFailed,
    StoreNotice,
    SyncLate,
)

__all__ = [
    "Ahead",
    "ConnectionEnded",
    "Event",
    "Issued",
    "KeyMismatch",
    "KeySkipped",
    "KeysBack",
    "KeysChanged",
    "KeysFailed",
    "Refreshed",
    "Refused",
    "Restored",
    "Reused",
    "Revoked",
    "StoreBack",
    "StoreFailed",
    "StoreNotice",
    "SyncLate",
]
