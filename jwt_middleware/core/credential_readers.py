"""Where an access token may come from, as the settings say: header fields, a cookie."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..grant.ended_grants import EndedGrants
from ..keys.live_keys import LiveKeys
from ..request.access_cookie import AccessCookie
from ..request.cookies import Jars
from ..request.credentials import Credentials, in_either_scheme, in_header, in_named_header
from ..request.subprotocol import in_subprotocol
from ..settings.settings import Settings
from ..values.requests import Request
from .known_tokens import Cache
from .possession import Possession


def header_reader(
    settings: Settings, possession: Possession | None
) -> Callable[[Request], Credentials | None]:
    """Return the function that takes the token out of the header fields of a request."""
    reader: Callable[[Request], Credentials | None] = in_header
    if possession is not None and settings.proofs is not None:
        reader = partial(in_either_scheme, is_known=possession.is_known)
    named = settings.credentials_header.lower()
    if named:
        reader = partial(in_named_header, name=named, otherwise=reader)
    if settings.websockets.subprotocol:
        return partial(in_subprotocol, otherwise=reader)
    return reader


def cookie_reader(
    jars: Jars | None,
    check: Callable[[Request], None],
    settings: Settings,
    own_keys: LiveKeys,
    cache: Cache | None,
    ended: EndedGrants | None,
) -> AccessCookie | None:
    """Return what chooses among access cookies; None: the token comes in header fields only."""
    if jars is None or jars.access is None:
        return None
    known_ends = ended if ended is not None else frozenset[str]()
    return AccessCookie(
        jars,
        jars.access,
        check=check,
        issuer=settings.issuer,
        has_key=lambda kid: kid in own_keys.fresh.keys,
        has_ended=known_ends.__contains__,
        is_known=lambda text: cache is not None and cache.get(text) is not None,
    )
