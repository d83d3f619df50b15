"""What the core answers to a request: a step, as a value. Nothing here waits.

`run` and `arun` (in `runtime.py`) carry the asks out; they are all that differs between the
synchronous and the asynchronous world.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from .errors import Unavailable
from .events import Event
from .model import AccessToken, Auth, Response, User


class Forward(NamedTuple):
    """Call the application, with this verified token (None: a public route, or nobody)."""

    token: AccessToken | None
    user: User
    auth: Auth
    user_name: str | None = None  # REMOTE_USER: only for users of our own issuer


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer the request ourselves."""

    response: Response
    events: tuple[Event, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Done:
    """The application's own call is carried out: this is its result."""

    value: Any
    events: tuple[Event, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Ask:
    """Do this one piece of I/O, then go on with its answer.

    `call(*args)` returns the answer, or an awaitable of it under ASGI. `failed` takes an
    `Unavailable` where the flow can go on without the answer; without it, the error becomes the
    reply.
    """

    call: Callable[..., Any]
    args: tuple[Any, ...]
    then: Callable[[Any], "Step"]
    failed: Callable[[Unavailable], "Step"] | None = None


Step: TypeAlias = Forward | Reply | Done | Ask

NOBODY = Forward(None, User(is_authenticated=False, display_name=""), Auth(()))
