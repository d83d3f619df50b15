"""What a flow may ask for, in the form that its door can wait for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..jose.jwk import Key
from ..keys.live_keys import LiveKeys
from ..keys.signer import ExternalKey
from ..stores.contract import Store
from ..values.tokens import Grant, Hidden

_NONE: Any = None  # a core that is given nothing to ask, for tests say, never asks


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The functions that flows ask, all with the types of their synchronous kind.

    Behind a door that awaits each is a coroutine function: `ask` is typed by the answer, and the
    driver awaits it. What fails raises an `Unavailable`; `find_key` and `find_issuer` raise an
    `InvalidToken` for what there is not.
    """

    # `LiveKeys.find(keys, kid, now)` and `LiveKeys.renew(keys, now, lacking=...)`.
    find_key: Callable[[LiveKeys, str | None, float], Key] = LiveKeys.find
    renew_keys: Callable[..., None] = LiveKeys.renew
    # Asks the application's `Settings.issuer_for`, and returns a `Trust`.
    find_issuer: Callable[[str], Any] = _NONE
    # The store's verbs, as attributes.
    store: Store = _NONE
    # Brings `EndedGrants` up to date, for a request that arrived then.
    sync: Callable[[float], None] = _NONE
    # Asks `Refresh.claims_for`, where there is one; raises EndGrant, too.
    claims_for: Callable[[Grant], Mapping[str, Any]] | None = None
    # Asks for a signature by a key that is elsewhere.
    sign: Callable[[ExternalKey, Hidden[bytes]], bytes] = _NONE
