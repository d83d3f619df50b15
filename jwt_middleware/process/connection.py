"""One open connection under ASGI: its token, and how the application's call is ended.

A response is ended by an error, so that the server doesn't complete it: half a file must not look
like a whole one. This module loads asyncio.
"""

from __future__ import annotations

import inspect
from asyncio import CancelledError, Task, coroutines, timeout
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from math import inf
from typing import Any, Protocol, TypeAlias, cast

from ..core.known_tokens import Entry
from ..values.errors import ConnectionCut
from ..values.reasons import Reason
from ..values.tokens import AccessToken, Hidden
from .current_token import CURRENT
from .event_log import logger

SPOIL_LIMIT = 5.0  # seconds, where the client doesn't read

# The Authorization field of a websocket's next token, and its proof.
NextToken: TypeAlias = Hidden[tuple[bytes, str | None]]
_Message: TypeAlias = MutableMapping[str, Any]
_Send: TypeAlias = Callable[[_Message], Awaitable[None]]


def mark_as_async(function: Callable[..., Any]) -> None:
    """Mark a function that returns an awaitable: asgiref warns of a `send` that isn't marked."""
    getattr(inspect, "markcoroutinefunction", _mark_for_asyncio)(function)


def _mark_for_asyncio(function: Any) -> None:
    # Python 3.11 has no public way. asgiref and asyncio look for this attribute.
    function._is_coroutine = getattr(coroutines, "_is_coroutine", None)


class Home(Protocol):
    """Where a connection is watched."""

    def forget(self, one: Connection) -> None:
        """Watch it no longer."""
        ...

    async def renew(self, one: Connection, credentials: NextToken) -> Entry:
        """Return the decision about its next token. Raises OAuthError."""
        ...


class Connection:
    """A websocket, or a response that is streamed."""

    __slots__ = (
        *("_before", "_cancels", "_home", "_send", "_task"),
        *("cancel_at", "closing", "end", "entry", "is_open", "path", "reason"),
    )

    def __init__(
        self, home: Home, entry: Entry, path: str, task: Task[Any] | None, send: _Send | None = None
    ) -> None:
        self.entry = entry
        self.path = path
        self.end = inf  # when its token expires, by `Settings.clock`; inf: it may outlive the token
        self.is_open = False  # whether it is watched
        self.reason: Reason | None = None  # why it was ended
        self.cancel_at = inf  # on the loop's clock
        self.closing: Task[None] | None = None  # a loop itself keeps no task alive
        self._home = home
        self._task = task
        self._send = send  # a websocket's; None: a response
        self._cancels = self._before = 0

    @property
    def is_websocket(self) -> bool:
        """Say whether it isn't a response."""
        return self._send is not None

    def forget(self) -> None:
        """Watch it no longer: it is over, or its last chunk is on its way."""
        self._home.forget(self)

    async def close(self, code: int) -> None:
        """Close the websocket, or refuse its handshake. Does nothing if it is closed already."""
        message = {"type": "websocket.close", "code": code, "reason": str(self.reason)}
        with suppress(Exception):
            await cast("_Send", self._send)(message)

    def cancel(self) -> None:
        """Cancel the application's call, where an event loop's task runs it."""
        if self._task is None:
            return
        if not self._cancels:
            self._before = self._task.cancelling()
        self._cancels += 1
        self._task.cancel()

    def _uncancel(self) -> bool:
        """Take our cancellations back. Say whether there were any, and the server has made none."""
        # As asyncio.timeout does: the server's own cancellation stays in force.
        left, has_cancelled = self._before, self._cancels > 0
        for _ in range(self._cancels):
            left = cast("Task[Any]", self._task).uncancel()
        self._cancels = 0
        return has_cancelled and left <= self._before

    def took(self, error: BaseException) -> bool:
        """Say whether an error of the application comes from the end of its connection."""
        if self.reason is None:
            return False
        is_ours = self._uncancel()
        if not isinstance(error, Exception):
            return is_ours and isinstance(error, CancelledError)
        # A server refuses messages after the end in words of its own, and frameworks wrap them.
        name = type(error).__name__
        logger().debug("the application raised %s after its connection ended", name, exc_info=error)
        return True

    async def finish(self, send: _Send) -> None:
        """Raise ConnectionCut where the server would otherwise complete a response that was cut."""
        if self.reason is None:
            return
        self._uncancel()
        if self.is_websocket:
            return
        # A middleware around this one may take the end of the call for the end of the response, and
        # complete it: Starlette's BaseHTTPMiddleware does. It fails by a message that it doesn't
        # know, as servers do; without its assertions (python -O) by a body that isn't octets.
        with suppress(Exception):
            async with timeout(SPOIL_LIMIT):
                await send(
                    {
                        "type": "jwt_middleware.connection_ended",
                        "body": str(self.reason),
                        "more_body": True,
                    }
                )
        raise ConnectionCut(self.reason)

    async def renew(self, credentials: NextToken, scope: MutableMapping[str, Any]) -> Any:
        """Go on with another token, in the scope too. Raises OAuthError and ConnectionCut."""
        entry = await self._home.renew(self, credentials)
        token: AccessToken = entry.verified
        scope["jwt_middleware.token"] = scope["state"]["jwt"] = token
        scope["user"], scope["auth"] = entry.user, entry.auth
        CURRENT.set(token)
        return token
