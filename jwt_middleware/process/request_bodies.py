"""The body of a request that we answer: read for an endpoint of ours, or drained when refused.

A server that has sent its answer closes the connection, or resets it, while the client still sends
its body. A proxy in between then loses the answer, and its client gets a 502 instead of the 401
that tells it to refresh its token. So the announced body is read and thrown away first, within
bounds of size and time.

Under WSGI a read can't be given up: it holds its thread until the client sends, or until the
server's own time-out. So the number of threads that wait at a time is bounded.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import suppress
from functools import cache
from threading import Lock, Semaphore
from time import monotonic
from typing import Any
from weakref import WeakValueDictionary

from ..request.body_parameters import check_length
from ..values import reasons
from ..values.errors import InvalidRequest, OAuthError, TooLarge, Unavailable
from ..values.requests import Request
from ..values.tokens import Hidden

READ_SECONDS = 10.0  # for the whole body of a token request
DRAIN_SECONDS = 2.0
DRAIN_LIMIT = 8 * 1024 * 1024  # octets; most proxies refuse larger bodies, too
TOO_LARGE = 413  # this status tells the client that the body isn't wanted
PIECE = 1024  # octets of one read under WSGI; the time is checked between reads
# Threads of one process that wait for bodies of refused requests. Few are enough behind a proxy
# that buffers, because it sends the whole body at once.
DRAINS = 2
# Threads that wait for bodies of token requests from one address; each address has its own.
READS = 2
RECENT = 64  # semaphores that are kept after their use
TURN_SECONDS = 0.05  # that a token request waits for its turn; most bodies are there at once

_DRAINING = "a refused request"  # stands where the name of a turn is an address otherwise


class AsyncBody:
    """The body of a request under ASGI."""

    __slots__ = ("_receive",)

    def __init__(self, receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> None:
        self._receive = receive

    async def read(self, limit: int) -> Hidden[bytes]:
        """Return the whole body. Raises InvalidRequest or TooLarge."""
        try:
            async with _limited_to(READ_SECONDS):
                return Hidden(b"".join([chunk async for chunk in self._chunks(limit)]))
        except TimeoutError:
            raise InvalidRequest(reasons.BODY_TOO_SLOW) from None

    async def drain(self, request: Request, status: int) -> None:
        """Throw away what the client of a refused request still sends, so that it gets the answer.

        Does nothing for a body that an endpoint has begun to read: the body has been read, or the
        read has failed.
        """
        length = request.header("content-length")
        is_sent = _drainable(length) if length else request.header("transfer-encoding") is not None
        if not is_sent or _is_left(request, status):
            return
        with suppress(Exception):  # the answer is decided: a fault here must not change it
            async with _limited_to(DRAIN_SECONDS):
                async for _ in self._chunks(DRAIN_LIMIT):
                    pass

    async def _chunks(self, limit: int) -> AsyncIterator[bytes]:
        """Yield the body as it comes. Raises TooLarge; InvalidRequest if the client disconnects."""
        is_coming = True
        while is_coming:
            message = await self._receive()
            if message["type"] != "http.request":
                raise InvalidRequest(reasons.BODY)
            chunk = message.get("body", b"")
            limit -= len(chunk)
            if limit < 0:
                raise TooLarge(reasons.BODY_TOO_LARGE)
            yield chunk
            is_coming = message.get("more_body", False)


class Body:
    """The body of a request under WSGI."""

    __slots__ = ("_environ",)

    def __init__(self, environ: dict[str, Any]) -> None:
        self._environ = environ

    def read(self, limit: int) -> Hidden[bytes]:
        """Return the whole body. Raises InvalidRequest, TooLarge or Unavailable."""
        length = self._environ.get("CONTENT_LENGTH")
        if not length and not self._environ.get("wsgi.input_terminated"):
            return Hidden(b"")
        turn = _turn(self._environ.get("REMOTE_ADDR", ""), READS)
        if not turn.acquire(timeout=TURN_SECONDS):
            raise Unavailable(reasons.BODIES)
        try:
            body = b"".join(self._pieces(int(length) if length else limit + 1, READ_SECONDS))
        except TimeoutError:
            raise InvalidRequest(reasons.BODY_TOO_SLOW) from None
        except Exception:  # noqa: BLE001  (each server has errors of its own for bad bodies)
            raise InvalidRequest(reasons.BODY) from None
        finally:
            turn.release()
        if len(body) > limit:
            raise TooLarge(reasons.BODY_TOO_LARGE)
        if length and len(body) != int(length):
            raise InvalidRequest(reasons.BODY)  # the client has gone
        return Hidden(body)

    def drain(self, request: Request, status: int) -> None:
        """Do what `AsyncBody.drain` does, if the length is known: else a read may never end."""
        size, turn = _drainable(request.header("content-length")), _turn(_DRAINING, DRAINS)
        if not size or _is_left(request, status) or not turn.acquire(blocking=False):
            return
        try:
            with suppress(Exception):
                for _ in self._pieces(size, DRAIN_SECONDS):
                    pass
        finally:
            turn.release()

    def _pieces(self, size: int, seconds: float) -> Iterator[bytes]:
        """Yield the next octets, at most `size`. Raises TimeoutError, and the server's errors."""
        read, end = self._environ["wsgi.input"].read, monotonic() + seconds
        while size > 0:
            if monotonic() > end:
                raise TimeoutError
            piece: bytes = read(min(size, PIECE))  # may return less than is still to come
            if not piece:
                return
            size -= len(piece)
            yield piece


def _limited_to(seconds: float) -> Any:
    # Not at the top: a WSGI process doesn't need asyncio.
    from asyncio import timeout

    return timeout(seconds)


def _is_left(request: Request, status: int) -> bool:
    """Say whether a body is left unread, however long it is."""
    # RFC 9110 s10.1.1: a client that expects "100 (Continue)" waits for it before it sends the
    # body. A read would make the server send the 100, and the client a body that is thrown away.
    return request.is_websocket or status == TOO_LARGE or request.header("expect") is not None


def _drainable(length: str | None) -> int:
    """Return how many octets there are to drain; 0: none, too many, or an unknown number."""
    try:
        check_length(length, DRAIN_LIMIT)
    except OAuthError:
        return 0
    return int(length or 0)


def _turn(name: str, most: int) -> Semaphore:
    """Return the semaphore that lets at most `most` threads wait for octets under one name."""
    lock, turns, recent = _turns(os.getpid())
    with lock:
        turn = turns.get(name)
        if turn is None:
            turn = turns[name] = Semaphore(most)
        recent.append(turn)
    return turn


@cache
def _turns(process: int) -> tuple[Lock, WeakValueDictionary[str, Semaphore], deque[Semaphore]]:
    # One for each process: a forked child must not wait for its parent's threads. A semaphore lives
    # as long as a thread holds it, or waits for it, and the last ones a little longer: to make one
    # takes as long as a tenth of a signature.
    return Lock(), WeakValueDictionary(), deque(maxlen=RECENT)
