"""Open connections under ASGI, which end when their token no longer holds, though nobody asks.

Websockets and event streams end with their token; these and all other streamed responses when its
grant ends. One timer for each event loop, which runs only while there is something to watch, looks
at the time, and keeps the news of ended grants coming. What ends is found by its grant, or on top
of a heap, so that thousands of open connections cost nothing while nothing happens.

This module loads asyncio, so it is imported with the first asynchronous middleware only.
"""

from __future__ import annotations

from asyncio import (
    AbstractEventLoop,
    Task,
    TimerHandle,
    _get_running_loop,
    current_task,
    get_running_loop,
    sleep,
)
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from contextlib import suppress
from contextvars import Context
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import Any, TypeAlias, cast

from ..core.close_codes import TRY_AGAIN_LATER
from ..core.decide import Core
from ..core.known_tokens import Entry
from ..core.open_tokens import ended_event, is_event_stream
from ..settings.settings import Settings
from ..values import reasons
from ..values.errors import ConnectionCut, InvalidToken, OAuthError, Unavailable
from ..values.events import Event
from ..values.flows import arun
from ..values.reasons import Reason
from ..values.requests import Request
from .connection import Connection, NextToken, mark_as_async
from .live_store import LiveStore

_Message: TypeAlias = MutableMapping[str, Any]
_Send: TypeAlias = Callable[[_Message], Awaitable[None]]

# Seconds that an application has to end by itself when its websocket was closed, and again after it
# was cancelled.
GRACE = 5.0
CLOSE_WAIT = 0.3  # seconds for a websocket's close; then the application is cancelled at once
SHORTEST_PAUSE = 0.05  # seconds, where the clock stands still, too
# Extensions of ASGI by which an application hands a whole file to the server.
FILE_SENDING = frozenset({"http.response.pathsend", "http.response.zerocopysend"})
MOST_GONE = 64  # connections that have gone and may stay in the heap


class OpenConnections:
    """The open connections of one Settings in this process, by event loop."""

    def __init__(
        self,
        core: Core,
        settings: Settings,
        store: LiveStore | None,
        begin_sync: Callable[[LiveStore, float], object],
        tell: Callable[[tuple[Event, ...]], None],
    ) -> None:
        self.core = core
        self.tell = tell
        self.tokens = core.open_tokens
        # For the door, which doesn't load asyncio.
        self.running_loop, self.current_task = _get_running_loop, current_task
        self.mark_as_async = mark_as_async
        self.close_code = settings.websockets.close_code
        self._store = store
        self._begin_sync = begin_sync
        if store is not None:
            store.ended.hear = self.hear
        self.reset()

    def reset(self) -> None:
        """Watch nothing, as a forked child must."""
        self._by_loop: dict[AbstractEventLoop, _OfLoop] = {}

    def here(self) -> _OfLoop:
        """Return the connections of the running event loop."""
        loop = get_running_loop()
        found = self._by_loop.get(loop)
        if found is None:
            for one in [one for one in self._by_loop if one.is_closed()]:
                self.drop(one)
            found = self._by_loop[loop] = _OfLoop(self, loop)
        return found

    def drop(self, loop: AbstractEventLoop) -> None:
        """Forget an event loop: it is closed, or nothing is watched there."""
        self._by_loop.pop(loop, None)

    def hear(self, octets: Collection[bytes]) -> None:
        """Take the news of ended grants, or of a mark, in any thread."""
        for one in tuple(self._by_loop.values()):
            one.hear(octets)

    def sync(self, now: float) -> None:
        """Begin to ask the store for ended grants, if that is due and it wasn't closed."""
        store = self._store
        if store is not None and not store.is_closed and store.ended.is_due_for_open(now):
            self._begin_sync(store, now)

    async def verify(self, one: Connection, credentials: NextToken) -> Entry:
        """Return the decision about the next token of a connection. Raises OAuthError."""
        field, proof = credentials.value
        header = {"dpop": proof}.get
        request = Request("GET", one.path, header, is_websocket=True, credentials=field)
        del field, proof, header  # error trackers send locals
        try:
            step = await arun(self.core.let_in(request))
            token, before = step.token, one.entry.verified
            if (
                token is None
                or token.principal != before.principal
                or (step.grant_id, token.own) != (one.entry.grant_id, before.own)
            ):
                raise InvalidToken(reasons.OTHER_LOGIN)
        except OAuthError as error:
            self.tell(self.core.refuse(request, error).events)
            raise
        return cast("Entry", step)

    # --- what the door calls

    def watch_socket(self, entry: Entry, path: str, send: _Send) -> Connection:
        """Watch a websocket from its handshake on. The application keeps the server's `send`."""
        one = Connection(self.here(), entry, path, self.current_task(), send)
        one.end = self.tokens.end_of(entry.verified)
        if not self.core.keeps("GET", path):
            self.here().add(one)
        return one

    def withhold(self, scope: MutableMapping[str, Any], path: str) -> None:
        """Let the application send its files itself: what a server sends alone can't be ended."""
        offered = scope["extensions"]
        if not offered or FILE_SENDING.isdisjoint(offered) or self._store is None:
            return
        if not self.core.keeps(scope["method"], path):
            left = [name for name in offered if name not in FILE_SENDING]
            scope["extensions"] = {name: offered[name] for name in left}

    def begin(
        self, entry: Entry, task: Task[Any] | None, method: str, path: str, headers: object
    ) -> Connection:
        """Watch a response whose first chunk, but not the last, is on its way."""
        one = Connection(self.here(), entry, path, task)
        if is_event_stream(headers):
            one.end = self.tokens.end_of(entry.verified)
        has_grant = self.tokens.ended is not None and entry.grant_id is not None
        is_watched = (one.end < inf or has_grant) and not self.core.keeps(method, path)
        # It is done where a task that the application has forgotten goes on to send.
        if is_watched and not (task is not None and task.done()):
            self.here().add(one)
        return one


class _OfLoop:
    """The open connections of one event loop. All but `hear` runs there."""

    def __init__(self, shared: OpenConnections, loop: AbstractEventLoop) -> None:
        self.shared = shared
        self._loop = loop
        # Empty: what runs here belongs to no request, and must not keep the context of one.
        self._context = Context()
        self._timer: TimerHandle | None = None
        self._open = 0
        self._by_grant: dict[bytes, list[Connection]] = {}
        self._ends: list[tuple[float, int, Connection]] = []  # a heap
        self._numbers = count()
        self._unsure: set[Connection] = set()  # the store has to be asked for their grants
        self._asking: Task[None] | None = None
        self._ending: set[Connection] = set()  # whose application hasn't returned yet

    def add(self, one: Connection) -> None:
        """Watch a connection."""
        one.is_open = True
        self._open += 1
        self._push(one)
        tokens, entry = self.shared.tokens, one.entry
        ended = tokens.ended
        if ended is not None and entry.grant_id is not None:
            self._by_grant.setdefault(entry.grant_octets, []).append(one)
            # Looked at again, now that news of it are heard: its end may have come since.
            if not ended.lets_pass(
                entry.grant_octets, entry.life, entry.issued, tokens.timed.time()
            ):
                self._unsure.add(one)
                self._ask()
        if self._timer is None:
            self._wake(tokens.pause)

    async def renew(self, one: Connection, credentials: NextToken) -> Entry:
        """Let a websocket go on with its next token. Raises OAuthError and ConnectionCut."""
        entry = await self.shared.verify(one, credentials)
        if one.reason is not None:  # meanwhile
            raise ConnectionCut(one.reason)
        one.entry = entry
        one.end = self.shared.tokens.end_of(entry.verified)
        if one.is_open:
            self._push(one)
        return entry

    def forget(self, one: Connection) -> None:
        """Do what `Connection.forget` says."""
        self._ending.discard(one)
        if one.is_open:
            one.is_open = False
            self._open -= 1
            self._unsure.discard(one)
            # Where no ends are known, it is empty, and entries have no octets.
            beside = self._by_grant.get(one.entry.grant_octets) if self._by_grant else None
            if beside is not None:
                beside.remove(one)
                if not beside:
                    del self._by_grant[one.entry.grant_octets]

    def end(self, one: Connection, reason: Reason) -> None:
        """End a connection that is still open, and say so."""
        if not one.is_open:
            return
        self.forget(one)
        one.reason = reason
        self._ending.add(one)
        one.cancel_at = self._loop.time() + GRACE
        shared = self.shared
        if one.is_websocket:
            code = TRY_AGAIN_LATER if reason == reasons.SYNC else shared.close_code
            one.closing = self._loop.create_task(one.close(code), context=self._context)
            self._loop.call_later(CLOSE_WAIT, self._hurry, one, context=self._context)
        else:
            one.cancel()
        shared.tell((ended_event(one.entry, reason, one.path, is_websocket=one.is_websocket),))

    def _hurry(self, one: Connection) -> None:
        # granian sends nothing while its application waits to receive; or the client doesn't read.
        if one in self._ending and one.closing is not None and not one.closing.done():
            one.cancel()

    # --- news

    def hear(self, octets: Collection[bytes]) -> None:
        """Take the news of ended grants, or of a mark where there are none, in any thread."""
        found = [one for one in octets if one in self._by_grant]
        if found or not octets:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._heard, found, context=self._context)

    def _heard(self, octets: Collection[bytes]) -> None:
        for one in octets:
            for connection in tuple(self._by_grant.get(one, ())):
                self.end(connection, reasons.GRANT_ENDED)
        if not octets:
            self._unsure.update(self._of_grants())
            self._ask()

    def _of_grants(self) -> list[Connection]:
        return [one for beside in self._by_grant.values() for one in beside]

    def _ask(self) -> None:
        if self._unsure and (self._asking is None or self._asking.done()):
            self._asking = self._loop.create_task(self._asked(), context=self._context)

    async def _asked(self) -> None:
        """Find out which grants live, one by one; go on at the next look if nobody answers."""
        while self._unsure:
            one = next(iter(self._unsure))
            try:
                await arun(self.shared.tokens.check_open(one.entry, has_end=False))
            except InvalidToken as error:
                self.end(one, error.reason)
            except Unavailable:
                return
            self._unsure.discard(one)
            await sleep(0)

    # --- the timer

    def _look(self) -> None:
        """Look at the time and for news, and end what is to end."""
        shared, tokens, pause = self.shared, self.shared.tokens, self.shared.tokens.pause
        try:
            now = tokens.timed.time()
            while self._ends and self._ends[0][0] <= now:
                end, _, one = heappop(self._ends)
                if one.end == end:  # else it was renewed
                    self.end(one, reasons.EXPIRED)
            if self._by_grant:
                shared.sync(now)
                if tokens.ended is not None and tokens.ended.refuses_open(now):
                    for one in self._of_grants():
                        self.end(one, reasons.SYNC)
            self._ask()
            self._cancel_late()
            if len(self._ends) > 2 * self._open + MOST_GONE:
                self._ends = [
                    found for found in self._ends if found[2].is_open and found[2].end == found[0]
                ]
                heapify(self._ends)
            if self._ends:
                pause = max(min(self._ends[0][0] - now, pause), SHORTEST_PAUSE)
        finally:
            # Also after a fault of the application's clock.
            self._timer = None
            if self._open or self._ending:
                self._wake(pause)
            else:
                shared.drop(self._loop)

    def _wake(self, pause: float) -> None:
        self._timer = self._loop.call_later(pause, self._look, context=self._context)

    def _cancel_late(self) -> None:
        moment = self._loop.time()
        for one in self._ending:
            if moment >= one.cancel_at:
                one.cancel_at = moment + GRACE
                one.cancel()

    def _push(self, one: Connection) -> None:
        if one.end < inf:
            heappush(self._ends, (one.end, next(self._numbers), one))
