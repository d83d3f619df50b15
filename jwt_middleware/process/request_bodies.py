"""The body of a request that we answer: read for an endpoint of ours, or drained when refused.

A server that has sent its answer closes the connection, or resets it, while the client still sends
its body. A proxy in between then loses the answer: its client gets a 502 instead of the 401 that
would have made it refresh its token. So what was announced is taken in and thrown away first,
within bounds of size and time.

Under WSGI a read can't be given up: it holds its thread until the client sends, or until the
server's own time-out. What is bounded is how many threads wait at a time.
"""

from __future__ import annotations

import os
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
DRAIN_LIMIT = 8 * 1024 * 1024  # octets; what is larger is mostly refused by proxies, too
TOO_LARGE = 413  # the answer that says itself that the body isn't wanted
PIECE = 1024  # octets that a WSGI server is asked for at a time; in between the time is looked at
# Threads of one process that wait for bodies of refused requests. A proxy that buffers sends all at
# once, so that few are enough for it.
DRAINS = 2
# And for bodies of token requests from one address: other addresses have threads of their own.
READS = 2
TURN_SECONDS = 0.05  # that a token request waits for its turn; most bodies are there at once

_DRAINING = "a refused request"  # in the place of an address


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

        Not for a body that an endpoint has asked for: it has been read, or it is not worth waiting
        for.
        """
        length = request.header("content-length")
        is_sent = _drainable(length) if length else request.header("transfer-encoding") is not None
        if not is_sent or _is_left(request, status):
            return
        with suppress(Exception):  # the answer is decided, whatever becomes of the body
            async with _limited_to(DRAIN_SECONDS):
                async for _ in self._chunks(DRAIN_LIMIT):
                    pass

    async def _chunks(self, limit: int) -> AsyncIterator[bytes]:
        """Yield the body as it comes. Raises TooLarge, and InvalidRequest if the client goes."""
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
        """Do what `AsyncBody.drain` does, if a length is given: else a read may wait for ever."""
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
        """Yield the next octets, at most `size`. Raises TimeoutError, and what the server does."""
        read, end = self._environ["wsgi.input"].read, monotonic() + seconds
        while size > 0:
            if monotonic() > end:
                raise TimeoutError
            piece: bytes = read(min(size, PIECE))  # some servers return less than there will be
            if not piece:
                return
            size -= len(piece)
            yield piece


def _limited_to(seconds: float) -> Any:
    # Not at the top: a process of WSGI has no use for asyncio.
    from asyncio import timeout

    return timeout(seconds)


def _is_left(request: Request, status: int) -> bool:
    """Say whether a body is not to be drained, however long it is."""
    # RFC 9110 s10.1.1: a client that expects "100 (Continue)" may send nothing before it. To ask
    # for the body would make the server say it, and the client send all of the body for nothing.
    return request.is_websocket or status == TOO_LARGE or request.header("expect") is not None


def _drainable(length: str | None) -> int:
    """Return how many octets there are to drain; 0: none, too many, or nobody knows."""
    try:
        check_length(length, DRAIN_LIMIT)
    except OAuthError:
        return 0
    return int(length or 0)


def _turn(name: str, most: int) -> Semaphore:
    """Return what a thread acquires that waits for octets: of a name at most so many can."""
    lock, turns = _turns(os.getpid())
    with lock:
        return turns.setdefault(name, Semaphore(most))


@cache
def _turns(process: int) -> tuple[Lock, WeakValueDictionary[str, Semaphore]]:
    # One for each process: a forked child doesn't wait for threads of its parent's. A turn is kept
    # for as long as a thread has it, or waits for it.
    return Lock(), WeakValueDictionary()
