"""What a flow may ask for, in the form that its door can wait for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..keys.live_keys import LiveKeys
from ..keys.signer import ExternalKey
from ..stores.contract import Store
from ..values.errors import EndGrant
from ..values.tokens import Grant, Hidden


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The functions that flows ask, all with the types of their synchronous kind.

    Behind a door that awaits each is a coroutine function: `ask` is typed by the answer, and the
    driver awaits it. Whatever fails raises an `Unavailable`, and nothing else.
    """

    # `LiveKeys.find(keys, kid, now)` and `LiveKeys.renew(keys, now, lacking=...)`.
    find_key: Callable[..., Any] = LiveKeys.find
    renew_keys: Callable[..., None] = LiveKeys.renew
    # Asks the application's `Settings.issuer_for`; returns a `Trust`, or raises an OAuthError.
    find_issuer: Callable[[str], Any] | None = None
    store: Store | None = None
    # Brings `EndedGrants` up to date, for a request that arrived then.
    sync: Callable[[float], None] | None = None
    # Asks `Refresh.claims_for`, which may refuse.
    claims_for: Callable[[Grant], Mapping[str, Any] | EndGrant] | None = None
    # Asks for a signature by a key that is elsewhere.
    sign: Callable[[ExternalKey, Hidden[bytes]], bytes] | None = None
