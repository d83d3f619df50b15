"""The keys of an issuer: read, fetched, followed, rotated."""

from __future__ import annotations

from ..jose.jwk import Key
from .key_set import KeySet
from .key_sources import Fetched, Fetcher
from .signer import Signer

__all__ = ["Fetched", "Fetcher", "Key", "KeySet", "Signer"]
