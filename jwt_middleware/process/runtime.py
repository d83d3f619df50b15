"""The live side of one Settings, in this process: store, issuers' keys, cache, threads, log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from inspect import isawaitable, iscoroutinefunction
from itertools import count
from threading import Lock, Thread
from time import monotonic
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet

from ..core.decide import Core
from ..core.known_tokens import Cache
from ..core.trusted_issuers import Issuers, Trust
from ..keys.freshness import JOINED
from ..keys.live_keys import LiveKeys
from ..keys.stranger_limits import MAX_PLACES
from ..settings.settings import Settings
from ..values import forks, reasons
from ..values.errors import (
    ConfigurationError,
    EndGrant,
    InvalidToken,
    OAuthError,
    StoreUnavailable,
    Unavailable,
)
from ..values.events import Event, StoreBack, StoreFailed, SyncLate
from ..values.tokens import AccessToken, Hidden
from .event_log import EventLog

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Task
    from concurrent.futures import Future, ThreadPoolExecutor
    from contextvars import ContextVar

    from ..grant.ended_grants import EndedGrants
    from ..grant.ports import Ports
    from ..keys.signer import ExternalKey
    from ..values.flows import Keep

# What blocks under ASGI has so many: the store, and each hook. The application's stay its own.
EXECUTOR_THREADS = 8
CALL_LIMIT = 10.0  # seconds; every store's own time-out is shorter
MAX_HUNG = 32  # threads of a kind that didn't come back in time, and are replaced
SYNC_LIMIT = 0.5  # seconds that a request waits to hear of ended grants
GLANCE = 0.05  # seconds that it waits for a store that has failed just before, and may hang
MARGIN = 60.0  # seconds, and the leeway: an end is remembered for so long beyond a token's life

_UNDER_ASGI = "; in asynchronous code the door of ASGI, and await issuer.aissue(...)"
_VERBS = ("add", "advance", "use", "end", "end_subject", "grants", "purge")
_HOOKS = {
    "claims_for": reasons.CLAIMS_HOOK,
    "issuer_for": reasons.ISSUER_HOOK,
    "signer": reasons.SIGNER,
}
_STRANGERS = "strangers"  # the kind of threads for `issuer_for`, where nobody knows the issuer
_ENDINGS = frozenset(("end", "end_subject"))
_lock = Lock()
_runtimes: WeakSet[Runtime] = WeakSet()


class _Question:
    """One call of `issuer_for`, which all wait for who bring tokens of that name."""

    __slots__ = ("begun", "outcome")

    def __init__(self, outcome: Future[Trust | OAuthError]) -> None:
        self.begun = monotonic()
        self.outcome = outcome
        outcome.set_running_or_notify_cancel()  # who stops waiting doesn't cancel it


class Runtime:
    """What the doors of one settings object share: what one revokes, all refuse at once."""

    ended: EndedGrants  # where there are grants
    keep: Keep  # where there is a core for who awaits

    def __init__(self, settings: Settings) -> None:
        # Not at the top: importing the package costs what `import jwt` costs.
        from logging import getLogger

        self.current = _context_variable()
        self._log = getLogger("jwt_middleware")
        self._told = EventLog(self._log, settings.clock)
        self._on_event = settings.on_event
        self._settings = settings
        self._cores: dict[bool, Core] = {}
        self._failed_since: float | None = None
        self._turn = 0  # of the last change between answering and failing
        self._turns = count(1)
        self._late = False
        self.issuers = Issuers(settings, self.tell)
        kept = settings.token_cache
        self.cache = Cache(kept.entries, hashed=kept.hashed) if kept.entries else None
        self.store: Any = None  # for who waits
        self.astore: Any = None  # for who awaits; the same, where the engine has one kind only
        group = settings.refresh
        if group is not None:
            # Not at the top: a service that only verifies has no use for these.
            from ..grant.ended_grants import LONGEST, EndedGrants
            from ..stores.opening import open_store

            margin = MARGIN + settings.leeway
            self.store, self.astore = open_store(
                group.store,
                clock=settings.clock,
                # However long this issuer's tokens live: another's may live longer.
                retention=LONGEST + margin,
                serve=group.serve,
            )
            self.ended = EndedGrants(
                every=group.sync_every,
                limit=group.sync_limit,
                life=float(group.access_lifetime),
                margin=margin,
                passing=group.sync_failure == "open",
            )
        self.reset()
        _runtimes.add(self)

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
        with _lock:
            live = vars(settings)
            if "_runtime" not in live:
                live["_runtime"] = cls(settings)
            runtime: Runtime = live["_runtime"]
            return runtime

    def reset(self) -> None:
        """Begin with nothing open, as a forked child does: the parent's locks aren't its own."""
        self._sync_lock = Lock()
        self._asked_at = float("inf")  # the thread that holds it asks the store since then
        self._state_lock = Lock()
        self._executors: dict[str, ThreadPoolExecutor] = {}
        self._hung: dict[str, int] = {}  # threads, by kind
        self._questions: dict[str, _Question] = {}  # by the issuer's name
        self._asking: set[Task[None]] = set()  # a loop keeps none of its tasks alive
        self._syncing: tuple[AbstractEventLoop, Task[None]] | None = None
        if self.store is not None:
            self.ended.reset()
        self.issuers.reset()

    # --- the two kinds of doors

    def core(self, *, asynchronous: bool) -> Core:
        """Return the core for one kind of door. Raises ConfigurationError if it can't be."""
        forks.notice()
        with _lock:
            if asynchronous not in self._cores:
                ended = self.ended if self._settings.refresh is not None else None
                ports = self._aports() if asynchronous else self._ports()
                self._cores[asynchronous] = Core(
                    self._settings, ports, ended, self.issuers, self.cache, self._hear_of
                )
            return self._cores[asynchronous]

    def _ports(self) -> Ports:
        from ..grant.ports import Ports
        from ..keys.signer import ExternalKey

        hook = self.issuers.find_more
        _check_waits("issuer_for", hook)
        ports = Ports()
        if hook is not None:
            ports = replace(ports, find_issuer=partial(self._find_issuer, hook))
        group = self._settings.refresh
        if group is None:
            return ports
        signer = self._settings.keys.signer
        _check_waits("refresh.store", self.store.advance, remedy="give its sync kind")
        _check_waits("refresh.claims_for", group.claims_for)
        if isinstance(signer, ExternalKey):
            _check_waits("keys", signer.signer.sign, "their signer is")
        return replace(
            ports,
            store=self._verbs(self._call),
            sync=self._sync,
            claims_for=group.claims_for and partial(self._answer, "claims_for", group.claims_for),
            sign=self._sign,
        )

    def _aports(self) -> Ports:
        from ..grant.ports import Ports
        from .kept_flows import carry_to_the_end

        self.keep = partial(carry_to_the_end, self.tell)
        hook: Any = self.issuers.find_more
        ports = Ports(find_key=cast("Any", LiveKeys.afind), renew_keys=cast("Any", LiveKeys.arenew))
        if hook is not None:
            ports = replace(ports, find_issuer=partial(self._afind_issuer, hook))
        group = self._settings.refresh
        if group is None:
            return ports
        claims_for = group.claims_for and partial(self._aanswer, "claims_for", group.claims_for)
        return replace(
            ports,
            store=self._verbs(self._acall),
            sync=cast("Any", self._async_sync),
            claims_for=cast("Any", claims_for),
            sign=cast("Any", self._asign),
        )

    def _verbs(self, call: Callable[..., Any]) -> Any:
        return SimpleNamespace(**{verb: partial(call, verb) for verb in _VERBS})

    # --- the store

    def _call(self, verb: str, *args: Any) -> Any:
        forks.notice()
        turn = next(self._turns)
        try:
            answer = getattr(self.store, verb)(*args)
        except Exception as error:  # noqa: BLE001  (whatever it is, the client may come again)
            raise self._store_failed(verb, error, turn) from None
        if isawaitable(answer):
            # Decorated, so that its start couldn't see it: nothing has been done.
            raise _asynchronous("refresh.store", f"{verb} is", "give its sync kind", answer)
        if self._failed_since is not None:
            self._store_answered(turn)
        return answer

    async def _acall(self, verb: str, *args: Any) -> Any:
        forks.notice()
        turn = next(self._turns)
        call = getattr(self.astore, verb)
        try:
            if not getattr(self.astore, "blocking", True):
                answer = call(*args)
                answer = await answer if isawaitable(answer) else answer
            else:
                is_async = _is_async(call)
                doing = call(*args) if is_async else await self._in_executor("store", call, *args)
                answer = await _limited(doing, verb) if isawaitable(doing) else doing
        except Exception as error:  # noqa: BLE001  (whatever it is, the client may come again)
            raise self._store_failed(verb, error, turn) from None
        if self._failed_since is not None:
            self._store_answered(turn)
        return answer

    def _store_failed(self, verb: str, error: Exception, turn: int) -> Exception:
        if isinstance(error, ConfigurationError):
            return error
        if not isinstance(error, StoreUnavailable | TimeoutError):
            # The contract names one error; another is a bug of the store, and still no reason to
            # log out.
            self._log.error("store.%s raised %s", verb, type(error).__name__, exc_info=error)
        detail = error.detail if isinstance(error, StoreUnavailable) else type(error).__name__
        with self._state_lock:
            # What began before the last change says nothing about what is now.
            is_news = self._failed_since is None and turn > self._turn
            if is_news:
                self._failed_since = self._settings.clock()
                self._turn = next(self._turns)
        if is_news:
            self.tell((StoreFailed(verb=verb, detail=detail),))
        return StoreUnavailable(f"{verb}: {detail}")

    def _store_answered(self, turn: int) -> None:
        with self._state_lock:
            if self._failed_since is None or turn <= self._turn:
                return
            since = self._failed_since
            self._failed_since = None
            self._turn = next(self._turns)
        self.tell((StoreBack(seconds=max(self._settings.clock() - since, 0.0)),))

    async def _in_executor(
        self, kind: str, call: Callable[..., Any], *args: Any, limited: bool = True
    ) -> Any:
        """Call in a thread of ours. Raises TimeoutError when it takes longer than `CALL_LIMIT`."""
        from asyncio import wait_for, wrap_future
        from concurrent.futures import ThreadPoolExecutor
        from contextvars import copy_context

        # One for each kind: a hook that hangs must not keep a log-out from the store, nor strangers
        # who make up issuers a refresh from its claims, or an issuer's name from being asked for.
        executor = self._executors.get(kind)
        if executor is None:
            size = MAX_PLACES if kind == _STRANGERS else EXECUTOR_THREADS
            executor = ThreadPoolExecutor(size, f"jwt_middleware_{kind}")
            self._executors[kind] = executor
        # With the context of the request, in which `current_token` knows it.
        work = executor.submit(copy_context().run, call, *args)
        try:
            return await wait_for(wrap_future(work), CALL_LIMIT if limited else None)
        except TimeoutError:
            if not work.done():
                self._replace(kind, executor, work)
            raise

    def _replace(self, kind: str, executor: ThreadPoolExecutor, work: Future[Any]) -> None:
        """Give up a thread that hangs: the next calls get new ones, if not too many hang."""
        with self._state_lock:
            self._hung[kind] = self._hung.get(kind, 0) + 1
            if self._hung[kind] <= MAX_HUNG and self._executors.get(kind) is executor:
                del self._executors[kind]  # its threads end when they have done what waits there
        # After the lock: where it has just come back, this calls at once.
        work.add_done_callback(lambda _: self._came_back(kind))

    def _came_back(self, kind: str) -> None:
        with self._state_lock:
            self._hung[kind] -= 1

    # --- ended grants

    def _sync(self, arrival: float) -> None:
        """Bring the ended grants up to date for a request of `arrival`; one asks for all."""
        forks.notice()
        if not self._takes_turn(arrival):
            return
        if self.ended.is_failing(arrival):
            self._hear_aside(arrival)
        else:
            self._hear(arrival)

    def _hear(self, arrival: float) -> None:
        """Ask the store in one's turn, which ends with it."""
        try:
            if not self.ended.serves(arrival):
                self._check_not_resting()
                started, asked = self._settings.clock(), self.ended.question()
                self._asked_at = monotonic()
                try:
                    found = self._call("ended", *asked)
                except StoreUnavailable:
                    self._sync_failed()
                    raise
                self._sync_succeeded(started, asked, found)
        finally:
            self._asked_at = float("inf")
            self._sync_lock.release()

    def _hear_aside(self, arrival: float) -> None:
        """Let a thread of its own ask a store that may hang: a server has few for its requests."""
        from concurrent.futures import Future

        heard: Future[None] = Future()

        def hear() -> None:
            try:
                self._hear(arrival)
            except BaseException as error:  # noqa: BLE001  (raised to who waits for it, if anybody)
                heard.set_exception(error)
            else:
                heard.set_result(None)

        try:
            Thread(target=hear, name="jwt_middleware_sync", daemon=True).start()
        except RuntimeError:  # no thread can be had
            self._hear(arrival)
            return
        try:
            heard.result(GLANCE)
        except TimeoutError:
            raise StoreUnavailable("sync: the store has failed, and is asked again") from None

    def _takes_turn(self, arrival: float) -> bool:
        """Wait for a turn to ask; False: another's answer serves. Raises StoreUnavailable."""
        while not self._sync_lock.acquire(timeout=self._time_left()):
            if self.ended.serves(arrival):
                return False
            # The thread that asks is held up for as long as the store's own time-out. It shall be
            # the only one: for all others the store has failed.
            self._check_not_resting()
            if not self._time_left():
                self._sync_failed()
                raise self._store_failed("ended", TimeoutError(), next(self._turns))
        return True

    def _time_left(self) -> float:
        """Return the seconds that the present question may still take."""
        now = monotonic()
        return max(min(self._asked_at, now) + SYNC_LIMIT - now, 0)

    def _check_not_resting(self) -> None:
        # Whoever was waiting while another's question failed doesn't ask it again.
        if self.ended.is_resting(self._settings.clock()):
            raise StoreUnavailable("sync: the store has just failed")

    def _sync_succeeded(self, started: float, asked: Any, found: Any) -> None:
        self.ended.succeeded(started, asked, *found)
        self._late = False

    def _sync_failed(self) -> None:
        now = self._settings.clock()
        self.ended.failed(now)
        if self.ended.is_late(now) and not self._late:
            self._late = True
            group = self._settings.refresh
            passing = group is not None and group.sync_failure == "open"
            self.tell((SyncLate(seconds=now - self.ended.synced_at, passing=passing),))

    async def _async_sync(self, arrival: float) -> None:
        from asyncio import get_running_loop, shield

        loop = get_running_loop()
        while not self.ended.serves(arrival):
            self._check_not_resting()
            before = self._syncing
            joined = before is not None and before[0] is loop and not before[1].done()
            if before is None or not joined:
                task = loop.create_task(self._ask_ended())
                task.add_done_callback(_retrieve)
                self._syncing = (loop, task)
            else:
                task = before[1]
            # Shielded: a client that goes away must not take the answer from all who wait for it.
            await shield(task)
            if not joined:
                return

    async def _ask_ended(self) -> None:
        from asyncio import wait_for

        started, asked = self._settings.clock(), self.ended.question()
        try:
            found = await wait_for(self._acall("ended", *asked), SYNC_LIMIT)
        except (StoreUnavailable, TimeoutError) as error:
            self._sync_failed()
            if isinstance(error, StoreUnavailable):
                raise
            raise self._store_failed("ended", error, next(self._turns)) from None
        self._sync_succeeded(started, asked, found)

    # --- the application's hooks

    def _answer(self, name: str, hook: Callable[[Any], Any], asked: Any) -> Any:
        try:
            return hook(asked)
        except EndGrant:
            raise
        except Exception as error:  # noqa: BLE001  (whatever it is, the client may come again)
            raise self._hook_failed(name, error) from None

    async def _aanswer(
        self, name: str, hook: Callable[[Any], Any], asked: Any, *, kind: str = ""
    ) -> Any:
        try:
            return await self._awaited(kind or name, hook, Hidden(asked))
        except EndGrant:
            raise
        except Exception as error:  # noqa: BLE001  (whatever it is, the client may come again)
            raise self._hook_failed(name, error) from None

    async def _awaited(self, kind: str, call: Callable[..., Any], *asked: Any) -> Any:
        from asyncio import wait_for

        if _is_async(call):
            return await wait_for(call(*map(_shown, asked)), CALL_LIMIT)
        answer = await self._in_executor(kind, _called, call, *asked)
        return await wait_for(answer, CALL_LIMIT) if isawaitable(answer) else answer

    # --- whose tokens: one question for a name at a time

    def _find_issuer(self, hook: Callable[[str], Any], name: str) -> Trust:
        """Return the issuer of that name, from who asks the application. Raises OAuthError."""
        forks.notice()
        question, asks = self._join(name)
        if asks:
            self._ask(hook, name, question)
        try:
            return _told(question.outcome.result(JOINED))
        except TimeoutError:
            raise _unanswered() from None

    async def _afind_issuer(self, hook: Callable[[str], Any], name: str) -> Trust:
        """Do what `_find_issuer` does, in a task."""
        from asyncio import create_task, shield, wait_for, wrap_future

        question, asks = self._join(name)
        if asks:
            # In a task of its own: who goes away takes the answer from nobody.
            task = create_task(self._aask(hook, name, question))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
            await shield(task)
        try:
            return _told(await wait_for(wrap_future(question.outcome), JOINED))
        except TimeoutError:
            raise _unanswered() from None

    def _join(self, name: str) -> tuple[_Question, bool]:
        """Return the question for a name, and whether it is the caller's to ask it."""
        from concurrent.futures import Future

        with self._state_lock:
            question = self._questions.get(name)
            # By then it has a place, and its answer or its time-out: else it won't come.
            if question is not None and monotonic() - question.begun < JOINED + CALL_LIMIT:
                return question, False
            question = self._questions[name] = _Question(Future())
            return question, True

    def _ask(self, hook: Callable[[str], Any], name: str, question: _Question) -> None:
        outcome: Trust | OAuthError = _unanswered()
        place: Future[None] | None = None
        try:
            # Who had the question before may have its answer since.
            found = self.issuers.find(name, self._settings.clock())
            if found is None:
                if not self.issuers.is_known(name):
                    place = self._place()
                    place.result(JOINED)
                answer = self._answer("issuer_for", hook, name)
                found = self.issuers.adopt(name, answer, self._settings.clock())
            outcome = found
        except TimeoutError:
            outcome = _busy()
        except OAuthError as error:
            outcome = error
        finally:
            self._answered(name, question, outcome, place)

    async def _aask(self, hook: Callable[[str], Any], name: str, question: _Question) -> None:
        from asyncio import wait_for, wrap_future

        outcome: Trust | OAuthError = _unanswered()
        place: Future[None] | None = None
        try:
            found = self.issuers.find(name, self._settings.clock())
            if found is None:
                kind = "issuer_for"
                if not self.issuers.is_known(name):
                    place, kind = self._place(), _STRANGERS
                    await wait_for(wrap_future(place), JOINED)
                answer = await self._aanswer("issuer_for", hook, name, kind=kind)
                found = self.issuers.adopt(name, answer, self._settings.clock())
            outcome = found
        except TimeoutError:
            outcome = _busy()
        except OAuthError as error:
            outcome = error
        finally:
            self._answered(name, question, outcome, place)

    def _place(self) -> Future[None]:
        place = self.issuers.places.ask()
        if place is None:
            raise _busy()
        return place

    def _answered(
        self,
        name: str,
        question: _Question,
        outcome: Trust | OAuthError,
        place: Future[None] | None,
    ) -> None:
        if place is not None and not place.cancel():  # it was given
            self.issuers.places.leave()
        with self._state_lock:
            if self._questions.get(name) is question:
                del self._questions[name]
        question.outcome.set_result(outcome)

    def _sign(self, key: ExternalKey, message: Hidden[bytes]) -> bytes:
        from ..keys.signer import checked

        try:
            return checked(key, message.value, key.signer.sign(message.value))
        except Exception as error:  # noqa: BLE001  (whatever it is, the client may come again)
            raise self._hook_failed("signer", error) from None

    async def _asign(self, key: ExternalKey, message: Hidden[bytes]) -> bytes:
        from ..keys.signer import checked

        try:
            signature = await self._awaited("signer", key.signer.sign, message)
            return checked(key, message.value, signature)
        except Exception as error:  # noqa: BLE001  (whatever it is, the client may come again)
            raise self._hook_failed("signer", error) from None

    def _hook_failed(self, name: str, error: Exception) -> Unavailable:
        # The client may come again; the application's own fault must be seen by those who can mend
        # it.
        self._told.fault(name, error)
        return Unavailable(_HOOKS[name], type(error).__name__)

    # --- events, beginning and end

    def tell(self, events: tuple[Event, ...]) -> None:
        """Log the events and hand them to the application; what its callback raises, too."""
        for event in events:
            self._told.event(event)
            if self._on_event is None:
                continue
            try:
                self._on_event(event)
            except Exception:  # noqa: BLE001
                # The answer is decided; a broken counter must not change it.
                self._log.exception("on_event failed for %s", event.name)

    def _hear_of(self, error: OAuthError) -> None:
        self._told.refusal(error, has_let_in=self.issuers.has_let_in)

    def check_workers(self, *, at_startup: bool = False) -> bool:
        """Refuse to be one of several workers with what only one process knows, or warn of it."""
        from .several_workers import check_workers  # not at the top: doors alone need it, once

        return check_workers(self._settings, self.store, at_startup=at_startup)

    def check_place(self) -> None:
        """Look whether the store can be there at all, before a start. Raises ConfigurationError."""
        check_place = getattr(self.store, "check_place", None)
        if check_place is not None:
            check_place()

    def check(self) -> None:
        """Check the store at start: address, rights, schema. Raises ConfigurationError."""
        check = getattr(self.store, "check", None)
        if check is not None and not iscoroutinefunction(check):
            answer = check()
            if isawaitable(answer):
                raise _asynchronous("refresh.store", "is", "give its sync kind", answer)

    async def acheck(self) -> None:
        """Do what `check` does, for doors that await."""
        forks.notice()
        check = getattr(self.astore, "check", None)
        if check is None:
            return
        if iscoroutinefunction(check):
            await check()
        else:
            answer = await self._in_executor("store", check, limited=False)
            if isawaitable(answer):
                await answer

    def close(self) -> None:
        """Close what is open. A later request opens it anew."""
        answer = self._closed()
        if isawaitable(answer):
            getattr(answer, "close", dict)()  # nobody here can await it

    def _closed(self) -> Any:
        forks.notice()
        executors, self._executors = self._executors, {}
        for executor in executors.values():
            executor.shutdown(wait=False)
        close = getattr(self.store, "close", None)
        return close() if close is not None else None

    async def aclose(self) -> None:
        """Do what `close` does, for doors that await."""
        close = getattr(self.astore, "aclose", None)
        for answer in (close() if close is not None else None, self._closed()):
            if isawaitable(answer):
                await answer


def _check_waits(
    field: str, call: Callable[..., Any] | None, subject: str = "is", *, remedy: str = "use def"
) -> None:
    if call is not None and _is_async(call):
        raise _asynchronous(field, subject, remedy)


def _asynchronous(
    field: str, subject: str, remedy: str, answer: object = None
) -> ConfigurationError:
    getattr(answer, "close", dict)()  # or Python would warn that it was never awaited
    problem = f"{subject} asynchronous, and a WSGI door can't await"
    return ConfigurationError(field, problem, remedy + _UNDER_ASGI)


def _told(outcome: Trust | OAuthError) -> Trust:
    """Return the issuer that a question found. Raises OAuthError: one of its own for each."""
    if isinstance(outcome, InvalidToken):
        raise InvalidToken(outcome.reason, outcome.detail)
    if isinstance(outcome, OAuthError):
        raise Unavailable(outcome.reason, outcome.detail)
    return outcome


def _unanswered() -> Unavailable:
    return Unavailable(reasons.ISSUER_HOOK, "it hasn't answered yet")


def _busy() -> Unavailable:
    return Unavailable(reasons.UNAVAILABLE, "too many issuers that nobody knows, at a time")


def _is_async(hook: Callable[..., Any]) -> bool:
    return iscoroutinefunction(hook) or iscoroutinefunction(type(hook).__call__)


async def _limited(doing: Awaitable[Any], verb: str) -> Any:
    """Await a verb of the store for as long as it may take."""
    from asyncio import ensure_future, shield, wait_for

    if verb in _ENDINGS:
        # What takes too long may succeed all the same, and should.
        doing = shield(ensure_future(doing))
    return await wait_for(doing, CALL_LIMIT)


def _called(call: Callable[..., Any], *asked: Any) -> Any:
    return call(*map(_shown, asked))


def _shown(asked: Any) -> Any:
    """Return what only the call itself is to see: no frame of ours keeps it."""
    return asked.value if isinstance(asked, Hidden) else asked


def _retrieve(task: Task[None]) -> None:
    # Whoever waited has the error already; where all have gone, nobody is to be warned.
    if not task.cancelled():
        task.exception()


def _after_fork() -> None:
    global _lock
    _lock = Lock()
    for runtime in _runtimes:
        runtime.reset()


forks.in_child(_after_fork)


_current: list[ContextVar[AccessToken | None]] = []


def _context_variable() -> ContextVar[AccessToken | None]:
    from contextvars import ContextVar

    if not _current:
        _current.append(ContextVar("jwt_middleware.token", default=None))
    return _current[0]


def current_token() -> AccessToken | None:
    """Return the verified token of the request that this code serves, or None."""
    return _context_variable().get()
