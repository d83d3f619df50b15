"""How async code calls and waits (ASGI, and `aissue`): in tasks, and in threads of our own.

This module loads asyncio, so it is imported with the first asynchronous middleware only.
"""

from __future__ import annotations

from asyncio import (
    CancelledError,
    Task,
    create_task,
    ensure_future,
    get_running_loop,
    shield,
    wait,
    wait_for,
    wrap_future,
)
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import Context, copy_context
from inspect import isawaitable
from math import inf
from threading import Lock
from time import monotonic
from typing import Any

from ..keys.stranger_limits import MAX_PLACES
from ..values import forks
from ..values.errors import ConfigurationError, StoreUnavailable
from ..values.events import Event, Refused
from ..values.flows import Flow, arun
from ..values.requests import Reply
from ..values.tokens import Hidden
from .hooks import CALL_LIMIT, STRANGERS, is_async
from .live_store import LiveStore
from .poller import Round

EXECUTOR_THREADS = 8  # of each kind
MAX_HUNG = 32  # threads of a kind that hang beyond their time-out; so many are replaced
_ENDINGS = ("end", "end_subject")


class Awaiting:
    """How async code calls and waits. What is asynchronous runs in the task that asks."""

    drive = staticmethod(arun)

    def __init__(self, store: Any, tell: Callable[[tuple[Event, ...]], None]) -> None:
        self._store = store
        self._tell = tell
        self.executors = Executors()
        self.reset()

    def reset(self) -> None:
        """Begin with no threads and no running question, as a forked child must."""
        self.executors.reset()
        self._tasks: set[Task[None]] = set()  # a loop itself keeps no task alive
        self._syncing: tuple[Task[None] | None, Round] = None, Round()

    async def call_verb(self, verb: str, args: tuple[Any, ...]) -> Any:
        """Call a verb of the store. Raises what it raises, and TimeoutError."""
        threads = "store" if getattr(self._store, "blocking", True) else ""
        return await self.call(
            threads,
            getattr(self._store, verb),
            Hidden(args),
            # Not cancelled on a time-out: the end of a grant may still succeed, and should.
            is_shielded=verb in _ENDINGS,
        )

    async def call(
        self,
        threads: str,
        call: Callable[..., Any],
        args: Hidden[tuple[Any, ...]],
        *,
        is_shielded: bool = False,
    ) -> Any:
        """Call an async function in this task, a sync one in one of `threads`, where given.

        Raises what it raises, and TimeoutError.
        """
        if is_async(call) or not threads:
            answer = call(*args.value)
        else:
            answer = await self.executors.call(threads, CALL_LIMIT, _called, call, args)
        if not isawaitable(answer):
            return answer
        return await wait_for(shield(ensure_future(answer)) if is_shielded else answer, CALL_LIMIT)

    async def wait(self, future: Future[Any], seconds: float) -> Any:
        """Return the result of a future that threads share. Raises TimeoutError.

        A request that stops waiting doesn't cancel a running future
        (`set_running_or_notify_cancel`).
        """
        return await wait_for(wrap_future(future), seconds)

    def carry(self, flow: Flow[None]) -> Awaitable[None]:
        """Run a flow to its end in a task of its own, even if all requests stop waiting for it."""
        return shield(self._keep(create_task(arun(flow))))

    async def carry_rest(self, rest: Coroutine[Any, Any, Any]) -> Any:
        """Run the rest of a flow to its end, even if its request is cancelled meanwhile.

        For example a log-out that was sent to the store: it may be done, and then its event must be
        told.
        """
        task = create_task(rest)
        try:
            return await shield(task)
        except CancelledError:
            task.add_done_callback(self._tell_late)  # this also keeps the task alive
            raise

    def _tell_late(self, task: Task[Any]) -> None:
        # The calls of `Issuer` tell their events themselves; those of a reply are told with it.
        if not task.cancelled() and task.exception() is None and isinstance(task.result(), Reply):
            # The client has gone: an end is told, but not a refusal, which the client doesn't get.
            events = task.result().events
            self._tell(tuple(one for one in events if not isinstance(one, Refused)))

    def _keep(self, task: Task[None]) -> Task[None]:
        self._tasks.add(task)
        task.add_done_callback(self.done)
        return task

    def done(self, task: Task[None]) -> None:
        """Drop a task that is done, and read its error: asyncio warns of unread ones."""
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()

    async def sync(self, store: LiveStore, arrival: float) -> None:
        """Bring the ended grants up to date for a request of `arrival`. Raises StoreUnavailable."""
        is_served = False
        while not is_served:
            one = self.begin_sync(store, arrival)
            # A task that runs already may have asked too early for this request.
            is_served = not store.is_awaited or store.ended.serves(one.started, arrival)
            try:
                await wait_for(wrap_future(one.done), store.time_left(one))
            except TimeoutError:
                raise store.overdue(one) from None
            except ConfigurationError:
                if not store.is_awaited:
                    raise
                is_served = False  # a thread has found out that the store must be awaited

    def begin_sync(self, store: LiveStore, arrival: float) -> Round:
        """Begin a round for a request of `arrival`, and return it, or the one that runs now."""
        if not store.is_awaited:
            return store.join(arrival)
        forks.notice()
        task, one = self._syncing
        if task is None or task.done() or task.get_loop() is not get_running_loop():
            one = Round()
            self._syncing = self._keep(create_task(self._hear(store, one))), one
        return one

    async def _hear(self, store: LiveStore, one: Round) -> None:
        try:
            await arun(store.hear(self.call_verb, one))
        except Exception as error:  # noqa: BLE001  (the request that waits raises it)
            one.finish(error)
        finally:
            one.finish(StoreUnavailable("ended: the task was cancelled"))


class Executors:
    """Threads of our own for what would block an event loop: bounded, and replaced where they hang.

    The loop's default executor is left to the application. The store has its own threads, and so
    has each hook. So a hook that hangs can't delay a log-out in the store, and tokens with made-up
    issuers can't delay the claims of a refresh.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin without threads, as a forked child does."""
        self._lock = Lock()
        self._by_kind: dict[str, _Threads] = {}
        self.hung: defaultdict[str, list[Future[Any]]] = defaultdict(list)  # unfinished calls

    async def call(
        self, kind: str, seconds: float | None, call: Callable[..., Any], *args: Any
    ) -> Any:
        """Return the answer of `call(*args)` in a thread. Raises TimeoutError after `seconds`."""
        threads = self._by_kind.get(kind)
        if threads is None:
            size = MAX_PLACES if kind == STRANGERS else EXECUTOR_THREADS
            threads = self._by_kind[kind] = _Threads(size, f"jwt_middleware_{kind}")
        begun: list[float] = []
        # In the context of the request, so that `current_token` works there, too.
        work = threads.submit(threads.begin, begun, copy_context(), call, args)
        answer, left = wrap_future(work), seconds
        try:
            while not (await wait({answer}, timeout=left))[0]:
                # The time in the queue doesn't count while the queue moves.
                since = begun[0] if begun else threads.moved_at
                left = since + (seconds or inf) - monotonic()
                if left <= 0:
                    self._replace(kind, threads, work)
                    raise TimeoutError
            return answer.result()
        finally:
            work.cancel()  # has an effect only where the caller has gone and it is in the queue

    def _replace(self, kind: str, threads: _Threads, work: Future[Any]) -> None:
        """Give up the threads, one of which hangs: later calls get new ones, unless many hang."""
        with self._lock:
            hung = self.hung[kind] = [*(one for one in self.hung[kind] if not one.done()), work]
            if len(hung) <= MAX_HUNG and self._by_kind.get(kind) is threads:
                del self._by_kind[kind]  # its threads end after the work that is queued there

    def close(self) -> None:
        """Let all threads end after the work that is queued there."""
        executors, self._by_kind = self._by_kind, {}
        for executor in executors.values():
            executor.shutdown(wait=False)


class _Threads(ThreadPoolExecutor):
    """Threads of one kind, which know when one of them last began a call."""

    moved_at = -inf  # on the monotonic clock

    def begin(
        self, begun: list[float], context: Context, call: Callable[..., Any], args: tuple[Any, ...]
    ) -> Any:
        """Call in the context of a request, and record when."""
        self.moved_at = monotonic()
        begun.append(self.moved_at)
        return context.run(call, *args)


def _called(call: Callable[..., Any], args: Hidden[tuple[Any, ...]]) -> Any:
    return call(*args.value)
