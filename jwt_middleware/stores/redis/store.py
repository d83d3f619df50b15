"""Grants in Redis 6.2 or newer, or Valkey: one server, the primary that Sentinel names, a Cluster.

Two stores, one sync and one async, run the same verbs (`verbs.py`).
"""

from __future__ import annotations

import os
import time
from asyncio import AbstractEventLoop, get_running_loop
from asyncio import timeout as time_limit
from collections.abc import Callable
from threading import Lock
from typing import Any, Concatenate
from weakref import WeakKeyDictionary

from ...values.errors import StoreUnavailable
from ...values.flows import Flow, P, T, arun, run
from ..contract import Cursor, Ended
from ..store_options import wrong_store
from ..two_kinds import awaited, waiting
from .address import parse_redis_url
from .links import AWAITED, FAULTS, WAITING, ServerLink, open_link
from .start_checks import check_all, kind_of, refused
from .verbs import RedisVerbs


class FeedPace:
    """How often ended grants are asked for, so that a connection that is seldom used isn't kept.

    Args:
        idle: seconds, the option `feed_idle`. After a longer pause before a question the connection
            is closed behind the answer, so that it doesn't stay open for the next pause.

    """

    def __init__(self, idle: float) -> None:
        if not idle >= 0:
            raise wrong_store("feed_idle must not be negative", "leave it out to stay connected")
        self._idle = idle
        self._asked_at = float("-inf")

    def is_slow(self) -> bool:
        """Note that a question was answered; say whether the pause before it was too long."""
        before, self._asked_at = self._asked_at, time.monotonic()
        return self._asked_at - before > self._idle


class RedisStore:
    """Grants in Redis or Valkey, for sync code.

    Args:
        client: a `redis.Redis` (Sentinel's `master_for`, too) or `redis.RedisCluster` of the
            application's, which closes it; or a function that makes one, called in each process.
            Its settings for retries aren't used here; its time-outs are.
        retention: seconds that ends are kept, longer than any access token can live.
        prefix: what the names of the keys begin with.
        timeout: seconds, less than 10. A command that couldn't be sent within half of it isn't
            sent. An application's own client keeps its own time-outs.
        serve: False for a service that only reads ended grants.
        wait_replicas: how many replicas must have received the end of a grant before the verb
            returns.
        wait_timeout: seconds to wait for these replicas; then StoreUnavailable is raised. None: a
            fifth of `timeout`.
        offset: seconds to be added to the engine's clock; for tests.

    Raises:
        ConfigurationError: for an impossible value. `check` finds what is wrong with the server.

    """

    blocking = True  # it waits for the network: don't call it in an event loop

    def __init__(self, client: Any, *, retention: float, **options: Any) -> None:
        self._client = client
        self._verbs = RedisVerbs(self._link, retention=retention, **options)
        self._links: dict[int, ServerLink] = {}
        self._locks: dict[int, Lock] = {}
        self._ear: RedisStore | None = None  # for `ended`: with a client of its own
        self._pace = FeedPace(float("inf"))

    @classmethod
    def from_url(
        cls, url: str, *, clock: Callable[[], float], retention: float, serve: bool = True
    ) -> RedisStore:
        """Return the store at a URL; see `parse_redis_url`. The engine has a clock of its own."""
        address, options = parse_redis_url(url)
        pace = FeedPace(options.pop("feed_idle", float("inf")))
        store = cls(address.client, retention=retention, serve=serve, **options)
        store._ear = cls(address.for_one().client, retention=retention, serve=serve, **options)
        store._pace = pace
        return store

    def check(self) -> None:
        """Try everything that will be needed. Raises ConfigurationError with the way out."""
        try:
            self._link().check_timeout()
            run(check_all(self._verbs))
        except (*FAULTS, StoreUnavailable) as error:
            raise refused(self._verbs, error) from None

    def close(self) -> None:
        """Close what was opened here, not an application's client. A later verb opens it again."""
        link = self._links.pop(os.getpid(), None)
        if link is not None:
            run(link.close())
        if self._ear is not None:
            self._ear.close()

    def _link(self) -> ServerLink:
        # One link for each process: after a fork, the parent's client and its lock may be in use by
        # threads that the child doesn't have.
        pid = os.getpid()
        link = self._links.get(pid)
        if link is None:
            with self._locks.setdefault(pid, Lock()):
                link = self._links.get(pid) or self._links.setdefault(
                    pid, open_link(WAITING, self._client, patience=self._verbs.timeout / 2)
                )
        return link

    def _carry_out(
        self,
        flow: Callable[Concatenate[Any, P], Flow[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        try:
            return run(flow(self._verbs, *args, **kwargs))
        except FAULTS as error:
            raise StoreUnavailable(kind_of(error)) from None

    add = waiting(RedisVerbs.add)
    advance = waiting(RedisVerbs.advance)
    use = waiting(RedisVerbs.use)
    end = waiting(RedisVerbs.end)
    end_subject = waiting(RedisVerbs.end_subject)
    grants = waiting(RedisVerbs.grants)
    end_before = waiting(RedisVerbs.end_before)
    is_living = waiting(RedisVerbs.is_living)
    admit = waiting(RedisVerbs.admit)
    purge = waiting(RedisVerbs.purge)
    page = waiting(RedisVerbs.page)

    def ended(self, cursor: Cursor | None, horizon: float) -> Ended:
        """See `Store.ended`."""
        ear = self._ear or self
        try:
            return ear._carry_out(RedisVerbs.ended, cursor, horizon)
        finally:
            if self._pace.is_slow() and self._ear is not None:
                self._ear.close()


class AsyncRedisStore:
    """The same for async code. See `RedisStore` for the arguments.

    The client is one of `redis.asyncio`, or a function that makes one, called in each event loop.
    No verb takes longer than `timeout`.
    """

    def __init__(self, client: Any, *, retention: float, **options: Any) -> None:
        self._client = client
        self._verbs = RedisVerbs(self._link, retention=retention, **options)
        self._links: WeakKeyDictionary[AbstractEventLoop, ServerLink] = WeakKeyDictionary()
        self._ear: AsyncRedisStore | None = None  # for `ended`: with a client of its own
        self._pace = FeedPace(float("inf"))

    @classmethod
    def from_url(
        cls, url: str, *, clock: Callable[[], float], retention: float, serve: bool = True
    ) -> AsyncRedisStore:
        """Return the store at a URL; see `parse_redis_url`. The engine has a clock of its own."""
        address, options = parse_redis_url(url)
        pace = FeedPace(options.pop("feed_idle", float("inf")))
        store = cls(address.async_client, retention=retention, serve=serve, **options)
        ear = address.for_one().async_client
        store._ear = cls(ear, retention=retention, serve=serve, **options)
        store._pace = pace
        return store

    async def check(self) -> None:
        """Try everything that will be needed. Raises ConfigurationError with the way out."""
        try:
            self._link().check_timeout()
            async with time_limit(2 * self._verbs.timeout):
                await arun(check_all(self._verbs))
        except (*FAULTS, StoreUnavailable) as error:
            raise refused(self._verbs, error) from None

    async def aclose(self) -> None:
        """Close what was opened in this event loop, not an application's own client."""
        link = self._links.pop(get_running_loop(), None)
        if link is not None:
            await arun(link.close())
        if self._ear is not None:
            await self._ear.aclose()

    def _link(self) -> ServerLink:
        loop = get_running_loop()
        if loop not in self._links:
            self._links[loop] = open_link(AWAITED, self._client, patience=self._verbs.timeout / 2)
        return self._links[loop]

    async def _carry_out(
        self,
        flow: Callable[Concatenate[Any, P], Flow[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        try:
            async with time_limit(self._verbs.timeout):
                return await arun(flow(self._verbs, *args, **kwargs))
        except FAULTS as error:
            raise StoreUnavailable(kind_of(error)) from None

    add = awaited(RedisVerbs.add)
    advance = awaited(RedisVerbs.advance)
    use = awaited(RedisVerbs.use)
    end = awaited(RedisVerbs.end)
    end_subject = awaited(RedisVerbs.end_subject)
    grants = awaited(RedisVerbs.grants)
    end_before = awaited(RedisVerbs.end_before)
    is_living = awaited(RedisVerbs.is_living)
    admit = awaited(RedisVerbs.admit)
    purge = awaited(RedisVerbs.purge)

    async def ended(self, cursor: Cursor | None, horizon: float) -> Ended:
        """See `Store.ended`."""
        ear = self._ear or self
        try:
            return await ear._carry_out(RedisVerbs.ended, cursor, horizon)
        finally:
            if self._pace.is_slow() and self._ear is not None:
                await self._ear.aclose()
