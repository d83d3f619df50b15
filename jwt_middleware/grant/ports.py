"""The functions that a flow may ask for: blocking ones for sync code, coroutines for async."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..jose.jwk import Key
from ..keys.live_keys import LiveKeys
from ..keys.signer import ExternalKey
from ..stores.contract import Store
from ..values.tokens import Grant, Hidden

_NONE: Any = None  # for a core that has nothing to ask, in tests say


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The functions that flows ask, all with the types of their synchronous kind.

    In asynchronous code each is a coroutine function: `ask` is typed by the answer, and the driver
    awaits it. A function that fails raises an `Unavailable`; `find_key` and `find_issuer` raise an
    `InvalidToken` for a key or an issuer that doesn't exist.
    """

    # `LiveKeys.find(keys, kid, now)` and `LiveKeys.renew(keys, now, lacking=...)`.
    find_key: Callable[[LiveKeys, str | None, float], Key] = LiveKeys.find
    renew_keys: Callable[..., None] = LiveKeys.renew
    # Asks the application's `Settings.issuer_for`, and returns a `Trust`.
    find_issuer: Callable[[str], Any] = _NONE
    # The store's verbs, as attributes.
    store: Store = _NONE
    # Brings `EndedGrants` up to date, for a request that arrived at the given time.
    sync: Callable[[float], None] = _NONE
    # Begins to, and doesn't wait for it.
    begin_sync: Callable[[float], None] = _NONE
    # Asks `Refresh.claims_for`, if it is set; raises EndGrant, too.
    claims_for: Callable[[Grant], Mapping[str, Any]] | None = None
    # Asks for a signature by a key outside this process.
    sign: Callable[[ExternalKey, Hidden[bytes]], bytes] = _NONE
    # Asks `Migration.is_blocked` and `Migration.subject`, where they are set.
    is_blocked: Callable[[Mapping[str, Any]], bool] | None = None
    former_subject: Callable[[Mapping[str, Any]], str | None] | None = None
