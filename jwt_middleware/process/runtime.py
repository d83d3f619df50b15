"""The live side of one Settings, in this process: store, issuers' keys, cache, threads, log."""

from __future__ import annotations

from contextlib import nullcontext
from inspect import isawaitable, iscoroutinefunction
from threading import Lock
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet

from ..core.decide import Core
from ..core.known_tokens import Cache
from ..core.trusted_issuers import Issuers
from ..core.used_proofs import UsedProofs
from ..grant.ended_grants import EndedGrants
from ..settings.settings import Settings
from ..values import forks
from ..values.errors import ConfigurationError
from ..values.flows import Carry
from .current_token import CURRENT
from .event_log import EventLog
from .hooks import Hooks, unawaited
from .live_store import LiveStore
from .measures import Measures
from .ports import Waiting, check_waits, ports
from .probe import Probe
from .several_workers import check_workers

if TYPE_CHECKING:
    from .awaiting import Awaiting
    from .open_connections import OpenConnections

_making = Lock()  # of runtimes and their cores
_runtimes: WeakSet[Runtime] = WeakSet()


class Runtime:
    """What all middlewares of one settings object share: if one revokes a grant, all refuse it."""

    ended: EndedGrants  # where there are grants
    carry: Carry  # where async code runs

    def __init__(self, settings: Settings) -> None:
        self.current = CURRENT
        self._settings = settings
        # None: nothing is measured.
        measures = self.measures = Measures(settings) if settings.metrics else None
        self._counts = measures.counted if measures is not None else None
        self._log = EventLog(
            settings.clock, settings.on_event, None if self._counts is None else self._counts.told
        )
        self.tell = self._log.tell
        self.issuers = Issuers(settings, self.tell, measures.key_fetch if measures else nullcontext)
        kept, group = settings.token_cache, settings.refresh
        self.cache = Cache(kept.entries, hashed=kept.hashed) if kept.entries else None
        self.used_proofs = UsedProofs(settings.clock)
        self.hooks = Hooks(self.issuers, self._log, settings.clock)
        self.live_store: LiveStore | None = None
        self.store: Any = None  # the sync kind
        self.astore: Any = None  # the async kind; the same object where the engine has one kind
        if group is not None:
            live = self.live_store = LiveStore(
                group,
                self._log,
                clock=settings.clock,
                leeway=settings.leeway,
                watch=None if measures is None else measures.store_call,
            )
            self.store, self.astore, self.ended = live.plain, live.awaited, live.ended
        self.awaiting: Awaiting | None = None
        self.connections: OpenConnections | None = None
        self._cores: dict[bool, Core] = {}
        self._probes: dict[bool, Probe] = {}
        _runtimes.add(self)
        if measures is not None:
            live_store = self.live_store
            measures.begin(
                self.issuers, self.cache, live_store.ended if live_store is not None else None
            )

    @classmethod
    def of(cls, settings: Settings) -> Runtime:
        """Return the runtime of a settings object, and make it at the first call."""
        if not isinstance(settings, Settings):
            raise ConfigurationError(
                "settings",
                f"must be a Settings, not {type(settings).__name__}",
                "JWTMiddleware(app, settings)",
            )
        forks.notice()
        with _making:
            live = vars(settings)
            if "_runtime" not in live:
                live["_runtime"] = cls(settings)
            return cast("Runtime", live["_runtime"])

    def reset(self) -> None:
        """Begin with nothing open, with new locks: a forked child must not use its parent's."""
        parts = self.issuers, self.hooks, self.live_store, self.awaiting, self.connections
        for part in (*parts, *self._probes.values()):
            if part is not None:
                part.reset()

    # --- the two kinds, sync and async

    def core(self, *, asynchronous: bool) -> Core:
        """Return the core of one kind, sync or async. Raises ConfigurationError if it can't be."""
        forks.notice()
        with _making:
            if asynchronous not in self._cores:
                if not asynchronous:
                    check_waits(self._settings, self.store)
                kind = self._make_awaiting() if asynchronous else Waiting(self.store)
                asked = ports(kind, self._settings, self.hooks, self.live_store)
                ended = self.ended if self.live_store is not None else None
                probe = Probe(self._settings, asked, self.issuers, ended, self._is_closed)
                self._probes[asynchronous] = probe
                self._cores[asynchronous] = Core(
                    self._settings,
                    asked,
                    ended,
                    self.issuers,
                    self.cache,
                    lambda error: self._log.refusal(error, has_let_in=self.issuers.has_let_in),
                    probe,
                    self._counts,
                    self.used_proofs,
                )
            return self._cores[asynchronous]

    def probe(self, *, asynchronous: bool) -> Probe:
        """Return what looks whether this process can serve. Raises ConfigurationError as `core`."""
        self.core(asynchronous=asynchronous)
        return self._probes[asynchronous]

    def _is_closed(self) -> bool:
        return self.live_store is not None and self.live_store.is_closed

    def open_connections(self) -> OpenConnections:
        """Return the open connections of the async kind."""
        # Not at the top, as in `_make_awaiting`.
        from .open_connections import OpenConnections

        core = self.core(asynchronous=True)
        with _making:
            if self.connections is None:
                begin_sync = self._make_awaiting().begin_sync
                self.connections = OpenConnections(
                    core, self._settings, self.live_store, begin_sync, self.tell
                )
            return self.connections

    def _make_awaiting(self) -> Awaiting:
        # Not at the top: it loads asyncio, which a WSGI process doesn't need.
        from .awaiting import Awaiting

        if self.awaiting is None:
            self.awaiting = Awaiting(self.astore, self.tell)
            self.carry = self.awaiting.carry_rest
        return self.awaiting

    # --- beginning and end

    def check_workers(self, *, at_startup: bool = False) -> bool:
        """Do what `several_workers.check_workers` does, for these settings and their store."""
        return check_workers(self._settings, self.store, at_startup=at_startup)

    def check_place(self) -> None:
        """Check that the store's place is there, before a start. Raises ConfigurationError."""
        check_place = getattr(self.store, "check_place", None)
        if check_place is not None:
            check_place()

    def check(self) -> None:
        """Check the store at start: address, rights, schema. Raises ConfigurationError."""
        check = getattr(self.store, "check", None)
        if check is not None and not iscoroutinefunction(check):
            unawaited(check(), "is")

    async def acheck(self) -> None:
        """Do what `check` does, for async code."""
        forks.notice()
        check = getattr(self.astore, "check", None)
        if check is not None:
            threads, is_plain = self._make_awaiting().executors, not iscoroutinefunction(check)
            answer = await threads.call("store", None, check) if is_plain else check()
            if isawaitable(answer):
                await answer
        if self.live_store is not None:
            # The feed's connection is made, and ends are read, before the first request comes.
            self._make_awaiting().begin_sync(self.live_store, self._settings.clock())

    def close(self) -> None:
        """Close what is open. A later request opens it anew."""
        answer = self._closed()
        if isawaitable(answer):
            getattr(answer, "close", dict)()  # nothing here can await it

    async def aclose(self) -> None:
        """Do what `close` does, for async code."""
        close = getattr(self.astore, "aclose", None)
        for answer in (close() if close is not None else None, self._closed()):
            if isawaitable(answer):
                await answer

    def _closed(self) -> Any:
        """Close the threads and the store; return what the caller must await, if anything."""
        forks.notice()
        if self.measures is not None:
            self.measures.close()
        if self.live_store is not None:
            self.live_store.close()
        if self.awaiting is not None:
            self.awaiting.executors.close()
        close = getattr(self.store, "close", None)
        return close() if close is not None else None


def _after_fork() -> None:
    global _making
    _making = Lock()
    for runtime in _runtimes:
        runtime.reset()


forks.in_child(_after_fork)
