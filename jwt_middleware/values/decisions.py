"""What the core answers to a request: a step, as a value. Nothing here waits.

`run` and `arun` (in `process/drivers.py`) carry the asks out; they are all that differs between the
synchronous and the asynchronous world.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, TypeAlias

from .errors import Unavailable
from .events import Event
from .requests import Response
from .tokens import AccessToken, Auth, User


# Tokens have few different scopes: thousands that are kept share what is made of these.
@lru_cache(maxsize=256)
def _scopes(scope: str) -> tuple[Auth, frozenset[str]]:
    """Return a token's scopes as Starlette reads them, and as the issuer gave them."""
    words = scope.split()
    return Auth((*words, "authenticated")), frozenset(words)


class Forward:
    """Call the application, with this verified token (None: a public route, or nobody).

    `user` is a user of ours, or nobody: another issuer's names and a client's own are none of ours.
    `remote_user` is the name as a WSGI environment has it (PEP 3333: octets, handed on as Latin-1).
    `scopes` are the token's; `auth` has one more, which opens nothing here.
    """

    __slots__ = ("auth", "remote_user", "scopes", "token", "user")

    def __init__(self, token: AccessToken | None, user: User) -> None:
        self.token = token
        self.user = user
        name = user.display_name
        self.remote_user = name if name.isascii() else name.encode().decode("latin-1")
        self.auth, self.scopes = (Auth(()), frozenset()) if token is None else _scopes(token.scope)


@dataclass(slots=True)
class Reply:
    """Answer the request ourselves."""

    response: Response
    events: tuple[Event, ...] = ()


@dataclass(slots=True)
class Done:
    """The application's own call is carried out: this is its result."""

    value: Any
    events: tuple[Event, ...] = ()

    def __repr__(self) -> str:
        return "<Done>"  # a login's result is its tokens


@dataclass(slots=True)
class Ask:
    """Do this one piece of I/O, then go on with its answer.

    `call(*args)` returns the answer, or an awaitable of it under ASGI. `failed` takes an
    `Unavailable` where the flow can go on without the answer; without it, the error becomes the
    reply. `tell` is there where the rest of the flow must not be lost with a request that is
    cancelled: it is carried out to its end, and `tell` takes what would have been told.
    """

    call: Callable[..., Any]
    args: tuple[Any, ...]
    then: Callable[[Any], Step]
    failed: Callable[[Unavailable], Step] | None = None
    tell: Callable[[tuple[Event, ...]], None] | None = None


Step: TypeAlias = Forward | Reply | Done | Ask


@cache
def nobody() -> Forward:
    """Return the step for who comes without a token; its user is nobody."""
    return Forward(None, User(is_authenticated=False, display_name=""))
