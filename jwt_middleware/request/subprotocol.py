"""The access token of a WebSocket handshake in `Sec-WebSocket-Protocol`, where that is configured.

A page can't set header fields there, but it can name subprotocols:
`new WebSocket(url, ["chat", "bearer", token])`. The token stands right behind the word `bearer`.
"""

from __future__ import annotations

from collections.abc import Callable

from ..jose.jws import MAX_TOKEN
from ..values import reasons
from ..values.errors import InvalidRequest, InvalidToken
from ..values.requests import Request
from .credentials import Credentials, is_b64token

FIELD = "sec-websocket-protocol"
MARK = "bearer"  # RFC 6455 s4.1: subprotocols are compared exactly
LONGEST_NAME = 64  # characters; no token is so short


def split(value: str) -> list[str]:
    """Return the subprotocols that a field offers (RFC 6455 s4.1)."""
    return [name for name in (one.strip(" \t") for one in value.split(",")) if name]


def others(offered: list[str]) -> list[str]:
    """Return the subprotocols without the token and its mark: what an application may choose."""
    return [
        name
        for before, name in zip(["", *offered], offered, strict=False)
        if MARK not in (before, name)
    ]


def shown(offered: list[str]) -> str | None:
    """Return one of the subprotocols for an answer of ours, and never a token; None: there is none.

    A browser takes no answer that names none of those it has offered.
    """
    names = [name for name in others(offered) if len(name) <= LONGEST_NAME]
    return MARK if MARK in offered else next(iter(names), None)


def in_subprotocol(
    request: Request, *, otherwise: Callable[[Request], Credentials | None]
) -> Credentials | None:
    """Return the token of a handshake's subprotocols, else what `otherwise` finds.

    Raises:
        InvalidRequest: for the mark without a token, for two of them, and for a second token in
            another place.
        InvalidToken: for a token over the size limit.

    """
    elsewhere = otherwise(request)
    if not request.is_websocket:
        return elsewhere
    offered = split(request.header(FIELD) or "")
    if MARK not in offered:
        return elsewhere
    # RFC 6750 s2: "Clients MUST NOT use more than one method to transmit the token in each
    # request".
    if elsewhere is not None or offered.count(MARK) > 1:
        raise InvalidRequest(reasons.CREDENTIALS_TWICE)
    text = offered[(offered.index(MARK) + 1) :][:1]
    if not text or not is_b64token(text[0]):
        raise InvalidRequest(reasons.CREDENTIALS_MALFORMED)
    if len(text[0]) > MAX_TOKEN:
        raise InvalidToken(reasons.TOO_LONG)
    return Credentials(text[0], f"Bearer {text[0]}".encode())
