"""The live side of settings that issue: which stores and hooks a door can wait for, and how."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jwt_middleware import (
    ConfigurationError,
    Event,
    Grant,
    Issuer,
    KeySet,
    Refresh,
    Settings,
    StoreUnavailable,
    Tokens,
)
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.process import awaiting, runtime
from jwt_middleware.process.runtime import Runtime
from jwt_middleware.stores.memory import MemoryStore
from jwt_middleware.testing import TokenFactory
from jwt_middleware.values.events import StoreBack, StoreFailed
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware
from tests.grant.test_rt_exchange import claims_of
from tests.issuing import HOUR, REFRESH, REVOKE, Clock, form_octets, posted, refresh_form
from tests.races import Process
from tests.waiting import until
from tests.world import Application, Raw, Sent, by_asgi, by_wsgi, encoded

KEYS = KeySet.generate("Ed25519")
Hook = Callable[[Grant], Any]


def settings_with(store: Any, **refresh: Any) -> Settings:
    told: list[Event] = []
    made = Settings(
        issuer="https://login.example",
        audience="https://api.example",
        keys=KEYS,
        on_event=told.append,
        refresh=Refresh(store=store, settle=0, **refresh),
    )
    TOLD[id(made)] = told
    return made


TOLD: dict[int, list[Event]] = {}


def told(settings: Settings) -> list[Event]:
    return TOLD[id(settings)]


def refreshing(token: str) -> Sent:
    return posted(REFRESH, form_octets(refresh_form(token)))


def calling(token: str) -> Sent:
    return Sent("GET", "/", encoded((), token))


class Plain:
    """A store of the user's: verbs, and nothing else. It can fail, hang, and say who called."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._real = MemoryStore(clock=clock, retention=HOUR)
        self.error: BaseException | None = None
        self.leave = threading.Event()
        self.leave.set()
        self.threads: set[str] = set()

    def _do(self, verb: str, *args: Any) -> Any:
        self.threads.add(threading.current_thread().name)
        self.leave.wait(20)
        if self.error is not None:
            raise self.error
        return getattr(self._real, verb)(*args)

    def add(self, *args: Any) -> Any:
        return self._do("add", *args)

    def advance(self, *args: Any) -> Any:
        return self._do("advance", *args)

    def use(self, *args: Any) -> Any:
        return self._do("use", *args)

    def end(self, *args: Any) -> Any:
        return self._do("end", *args)

    def end_subject(self, *args: Any) -> Any:
        return self._do("end_subject", *args)

    def grants(self, *args: Any) -> Any:
        return self._do("grants", *args)

    def end_before(self, *args: Any) -> Any:
        return self._do("end_before", *args)

    def is_living(self, *args: Any) -> Any:
        return self._do("is_living", *args)

    def ended(self, *args: Any) -> Any:
        return self._do("ended", *args)

    def admit(self, *args: Any) -> Any:
        return self._do("admit", *args)

    def purge(self, *args: Any) -> Any:
        return self._do("purge", *args)


class Awaited:
    """An asynchronous store of the user's, around a plain one."""

    def __init__(self) -> None:
        self.plain = Plain()

    async def add(self, *args: Any) -> Any:
        await asyncio.sleep(0)
        return self.plain.add(*args)

    async def advance(self, *args: Any) -> Any:
        await asyncio.sleep(0)
        return self.plain.advance(*args)

    async def use(self, *args: Any) -> Any:
        return self.plain.use(*args)

    async def end(self, *args: Any) -> Any:
        return self.plain.end(*args)

    async def end_subject(self, *args: Any) -> Any:
        return self.plain.end_subject(*args)

    async def grants(self, *args: Any) -> Any:
        return self.plain.grants(*args)

    async def end_before(self, *args: Any) -> Any:
        return self.plain.end_before(*args)

    async def is_living(self, *args: Any) -> Any:
        return self.plain.is_living(*args)

    async def ended(self, *args: Any) -> Any:
        await asyncio.sleep(0)
        return self.plain.ended(*args)

    async def admit(self, *args: Any) -> Any:
        return self.plain.admit(*args)

    async def purge(self, *args: Any) -> Any:
        return self.plain.purge(*args)


async def a_session(settings: Settings) -> list[int]:
    """Log in, call, refresh, call, log out and call, under ASGI."""
    issuer, app = Issuer(settings), ASGIMiddleware(Application().asgi, settings)
    tokens = await issuer.aissue("alice")
    statuses = [(await by_asgi(app, calling(tokens.access_token)))[0]]
    answer = await by_asgi(app, refreshing(tokens.refresh_token))
    statuses.append(answer[0])
    statuses.append((await by_asgi(app, refreshing(tokens.refresh_token)))[0])
    assert [one.id for one in await issuer.agrants("alice")] == [tokens.grant_id]
    assert await issuer.arevoke(tokens.grant_id)
    assert await issuer.arevoke_all("alice") == ()
    statuses.append((await by_asgi(app, calling(tokens.access_token)))[0])
    await settings.aclose()
    return statuses


A_SESSION = [200, 200, 200, 401]

# --- stores of every kind


def test_an_asynchronous_store_is_awaited_where_the_request_is() -> None:
    store = Awaited()
    assert asyncio.run(a_session(settings_with(store))) == A_SESSION
    assert store.plain.threads == {threading.current_thread().name}


def test_a_blocking_store_runs_in_threads_of_our_own_under_asgi() -> None:
    # A store that hangs must not take the application's threads: the loop's default executor.
    store = Plain()
    assert asyncio.run(a_session(settings_with(store))) == A_SESSION
    assert store.threads
    assert all(name.startswith("jwt_middleware") for name in store.threads)


def test_memory_is_called_directly() -> None:
    settings, before = settings_with("memory://"), set(threading.enumerate())
    assert asyncio.run(a_session(settings)) == A_SESSION
    begun = set(threading.enumerate()) - before
    assert not [one for one in begun if one.name.startswith("jwt_middleware")]


def test_under_wsgi_a_store_runs_in_the_thread_of_the_request() -> None:
    store = Plain()
    settings = settings_with(store)
    tokens = Issuer(settings).issue("alice")
    app = WSGIMiddleware(Application().wsgi, settings)
    assert by_wsgi(app, refreshing(tokens.refresh_token))[0] == 200
    assert store.threads == {threading.current_thread().name}


def test_a_store_that_hangs_leaves_the_applications_threads_alone() -> None:
    store = Plain()
    settings = settings_with(store)

    async def play() -> None:
        app = ASGIMiddleware(Application().asgi, settings)
        tokens = await Issuer(settings).aissue("alice")
        store.leave.clear()
        crowd = [
            asyncio.create_task(by_asgi(app, refreshing(tokens.refresh_token))) for _ in range(40)
        ]
        await asyncio.sleep(0.02)
        # More than the default executor has threads.
        await asyncio.gather(*(asyncio.to_thread(time.sleep, 0) for _ in range(100)))
        assert not any(one.done() for one in crowd)
        store.leave.set()
        answers = await asyncio.gather(*crowd)
        assert {status for status, _, _ in answers} == {200}
        await settings.aclose()

    asyncio.run(play())


def test_a_blocking_store_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Plain()
    settings = settings_with(store)

    async def play() -> list[int]:
        app = ASGIMiddleware(Application().asgi, settings)
        refresh = refreshing((await Issuer(settings).aissue("alice")).refresh_token)
        monkeypatch.setattr(awaiting, "CALL_LIMIT", 0.05)
        store.leave.clear()
        statuses = [(await by_asgi(app, refresh))[0] for _ in range(2)]
        monkeypatch.undo()
        store.leave.set()
        statuses.append((await by_asgi(app, refresh))[0])
        await settings.aclose()
        return statuses

    assert asyncio.run(play()) == [503, 503, 200]
    failed = StoreFailed(verb="advance", detail="TimeoutError")
    changes = [one for one in told(settings) if isinstance(one, StoreFailed | StoreBack)]
    assert [changes[0], type(changes[1])] == [failed, StoreBack]


def test_an_asynchronous_store_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awaiting, "CALL_LIMIT", 0.05)

    class Hanging(Awaited):
        async def advance(self, *args: Any) -> Any:
            await asyncio.Event().wait()

    async def play() -> Raw:
        settings = settings_with(Hanging())
        tokens = await Issuer(settings).aissue("alice")
        app = ASGIMiddleware(Application().asgi, settings)
        return await by_asgi(app, refreshing(tokens.refresh_token))

    status, headers, _ = asyncio.run(play())
    assert status == 503
    assert ("retry-after", "1") in headers


class Slow(Awaited):
    """An awaited store that a task can be cancelled in the middle of, as a driver's query is."""

    def __init__(self) -> None:
        super().__init__()
        self.is_ending = asyncio.Event()

    async def _slowly(self, verb: str, *args: Any) -> Any:
        if verb.startswith("end"):
            self.is_ending.set()
        await asyncio.sleep(0.01)
        return getattr(self.plain, verb)(*args)

    async def advance(self, *args: Any) -> Any:
        return await self._slowly("advance", *args)

    async def end(self, *args: Any) -> Any:
        return await self._slowly("end", *args)

    async def end_subject(self, *args: Any) -> Any:
        return await self._slowly("end_subject", *args)


ENDINGS: dict[str, Callable[[Any, Issuer, Tokens], Any]] = {
    # A page that logs out and closes: some servers cancel a request when its client goes away.
    "a log-out": lambda app, _, tokens: by_asgi(
        app, posted(REVOKE, form_octets({"token": tokens.refresh_token}))
    ),
    # A thief who hangs up as soon as he has sent what he stole.
    "a reuse": lambda app, _, tokens: by_asgi(app, refreshing(tokens.refresh_token)),
    "a revocation": lambda _, issuer, tokens: issuer.arevoke(tokens.grant_id),
    "a revocation of all": lambda _, issuer, __: issuer.arevoke_all("alice"),
}


@pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS)
def test_what_ends_a_grant_is_carried_out_though_the_client_has_gone(end: Any) -> None:
    store = Slow()
    settings = settings_with(store)

    async def play() -> list[int]:
        issuer, app = Issuer(settings), ASGIMiddleware(Application().asgi, settings)
        tokens = await issuer.aissue("alice")
        token = tokens.refresh_token
        for _ in range(2):
            _, _, body = await by_asgi(app, refreshing(token))
            token = json.loads(body)["refresh_token"]
        task = asyncio.ensure_future(end(app, issuer, tokens))
        await store.is_ending.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0.05)
        answers = [await by_asgi(app, refreshing(token))]
        answers.append(await by_asgi(app, calling(tokens.access_token)))
        return [status for status, _, _ in answers]

    # The refresh meets what has ended; the access token, two seconds later at the latest.
    assert asyncio.run(play()) == [400, 401]


def test_a_client_that_goes_away_in_the_middle_of_a_refresh_comes_again() -> None:
    settings = settings_with(Slow())

    async def play() -> None:
        app = ASGIMiddleware(Application().asgi, settings)
        token = (await Issuer(settings).aissue("alice")).refresh_token
        for after in (0, 0.005, 0.012, 0.02):
            task = asyncio.create_task(by_asgi(app, refreshing(token)))
            await asyncio.sleep(after)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            status, _, body = await by_asgi(app, refreshing(token))
            assert status == 200
            token = json.loads(body)["refresh_token"]

    asyncio.run(play())


def test_an_asynchronous_store_before_a_wsgi_door_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match=r"refresh\.store: is asynchronous"):
        WSGIMiddleware(Application().wsgi, settings_with(Awaited()))
    with pytest.raises(ConfigurationError, match=r"refresh\.store: is asynchronous"):
        Issuer(settings_with(Awaited())).issue("alice")


@pytest.mark.parametrize("error", [KeyError("alice"), RuntimeError("row 7: alice"), OSError(28)])
def test_a_store_that_breaks_its_contract_logs_nobody_out(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    store = Plain()
    settings = settings_with(store)
    tokens = Issuer(settings).issue("alice")
    wsgi = WSGIMiddleware(Application().wsgi, settings)
    asgi = ASGIMiddleware(Application().asgi, settings)
    store.error = error
    for answer in (
        by_wsgi(wsgi, refreshing(tokens.refresh_token)),
        asyncio.run(by_asgi(asgi, refreshing(tokens.refresh_token))),
    ):
        assert answer[0] == 503
        assert ("retry-after", "1") in answer[1]
        assert b"alice" not in answer[2]
    with pytest.raises(StoreUnavailable):
        Issuer(settings).revoke(tokens.grant_id)
    faults = [one for one in caplog.records if one.getMessage().startswith("store.")]
    assert {one.levelno for one in faults} == {logging.ERROR}
    name = type(error).__name__
    expected = [f"store.{verb} raised {name}" for verb in ("advance", "advance", "end")]
    assert [one.getMessage() for one in faults] == expected
    assert all(one.exc_info and one.exc_info[1] is error for one in faults)
    failed = [one for one in told(settings) if isinstance(one, StoreFailed)]
    assert failed == [StoreFailed(verb="advance", detail=name)], "without its text"
    store.error = None
    assert by_wsgi(wsgi, refreshing(tokens.refresh_token))[0] == 200
    settings.close()


def test_what_ends_a_program_ends_it() -> None:
    store = Plain()
    settings = settings_with(store)
    tokens = Issuer(settings).issue("alice")
    app = WSGIMiddleware(Application().wsgi, settings)
    store.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        by_wsgi(app, refreshing(tokens.refresh_token))
    store.error = None
    assert by_wsgi(app, refreshing(tokens.refresh_token))[0] == 200


def test_a_store_fails_and_comes_back_once_whatever_number_of_threads_sees_it() -> None:
    store = Plain()
    barrier = threading.Barrier(16)

    def slow() -> float:
        time.sleep(0.001)  # here, another thread gets its turn
        return time.time()

    events: list[Event] = []
    settings = settings_with(store).replace(clock=slow, on_event=events.append)
    tokens = Issuer(settings).issue("alice")
    app = WSGIMiddleware(Application().wsgi, settings)

    def some() -> None:
        barrier.wait()
        by_wsgi(app, refreshing(tokens.refresh_token))

    for error in (StoreUnavailable("down"), None):
        store.error = error
        threads = [threading.Thread(target=some) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    seen = [type(one) for one in events if isinstance(one, StoreFailed | StoreBack)]
    assert seen == [StoreFailed, StoreBack]


# --- hooks of every kind


def roles(grant: Grant) -> dict[str, Any]:
    return {"where": threading.current_thread().name, "generation": grant.generation}


async def aroles(grant: Grant) -> dict[str, Any]:
    await asyncio.sleep(0)
    return roles(grant)


class Roles:
    """A hook that is an object, and asynchronous."""

    async def __call__(self, grant: Grant) -> dict[str, Any]:
        return await aroles(grant)


def claims_in(answer: Raw) -> dict[str, Any]:
    status, _, body = answer
    assert status == 200, body
    return claims_of(json.loads(body)["access_token"])


async def after_a_refresh(settings: Settings) -> dict[str, Any]:
    tokens = await Issuer(settings).aissue("alice")
    app = ASGIMiddleware(Application().asgi, settings)
    try:
        return claims_in(await by_asgi(app, refreshing(tokens.refresh_token)))
    finally:
        await settings.aclose()


def test_a_plain_hook_runs_in_a_thread_of_ours_under_asgi() -> None:
    claims = asyncio.run(after_a_refresh(settings_with("memory://", claims_for=roles)))
    assert claims["where"].startswith("jwt_middleware")
    assert claims["generation"] == 2


ASYNCHRONOUS: dict[str, Hook] = {
    "a function": aroles,
    "a method": Roles().__call__,
    "what returns an awaitable": lambda grant: aroles(grant),
}


@pytest.mark.parametrize("hook", ASYNCHRONOUS.values(), ids=ASYNCHRONOUS)
def test_an_asynchronous_hook_is_awaited_in_its_loop(hook: Hook) -> None:
    claims = asyncio.run(after_a_refresh(settings_with("memory://", claims_for=hook)))
    assert (claims["where"], claims["generation"]) == (threading.current_thread().name, 2)


def test_under_wsgi_a_hook_runs_in_the_thread_of_the_request() -> None:
    settings = settings_with("memory://", claims_for=roles)
    tokens = Issuer(settings).issue("alice")
    app = WSGIMiddleware(Application().wsgi, settings)
    claims = claims_in(by_wsgi(app, refreshing(tokens.refresh_token)))
    assert claims["where"] == threading.current_thread().name


@pytest.mark.parametrize("hook", [aroles, Roles().__call__], ids=["function", "method"])
def test_an_asynchronous_hook_before_a_wsgi_door_is_a_configuration_error(hook: Hook) -> None:
    settings = settings_with("memory://", claims_for=hook)
    with pytest.raises(ConfigurationError, match=r"refresh\.claims_for: is asynchronous"):
        WSGIMiddleware(Application().wsgi, settings)


def test_hooks_that_hang_keep_the_store_from_nothing() -> None:
    # Somebody's directory service answers after a minute: known tokens must go on, and log-outs.
    leave, hanging = threading.Event(), threading.Semaphore(0)

    def hang(_: Grant) -> dict[str, Any]:
        hanging.release()
        leave.wait(20)
        return {}

    clock = Clock()
    store = Plain(clock)
    settings = settings_with(store, claims_for=hang).replace(clock=clock)

    async def play() -> None:
        app = ASGIMiddleware(Application().asgi, settings)
        issuer = Issuer(settings)
        leave.set()
        tokens = await issuer.aissue("alice")
        hanging.acquire()
        leave.clear()
        refresh = refreshing(tokens.refresh_token)
        stuck = [asyncio.create_task(by_asgi(app, refresh)) for _ in range(30)]
        for _ in range(8):
            await asyncio.to_thread(hanging.acquire)
        try:
            clock.forward(200)  # more than `sync_limit`
            assert (await by_asgi(app, calling(tokens.access_token)))[0] == 200
            assert await asyncio.wait_for(issuer.arevoke(tokens.grant_id), 5)
        finally:
            leave.set()
            await asyncio.gather(*stuck)
            await settings.aclose()

    asyncio.run(play())


def test_names_that_strangers_make_up_hold_no_refresh_up() -> None:
    leave, asked = threading.Event(), threading.Semaphore(0)

    def look_up(_: str) -> None:
        asked.release()
        leave.wait(20)

    settings = settings_with("memory://", claims_for=lambda grant: {"roles": ["reader"]})
    settings = settings.replace(issuer_for=look_up)
    strange = [TokenFactory(issuer=f"https://{number}.example").token() for number in range(30)]

    async def play() -> None:
        app = ASGIMiddleware(Application().asgi, settings)
        tokens = await Issuer(settings).aissue("alice", claims={})
        stuck = [asyncio.create_task(by_asgi(app, calling(one))) for one in strange]
        for _ in range(8):
            await asyncio.to_thread(asked.acquire)
        try:
            refreshed = by_asgi(app, refreshing(tokens.refresh_token))
            assert (await asyncio.wait_for(refreshed, 5))[0] == 200
        finally:
            leave.set()
            assert {one[0] for one in await asyncio.gather(*stuck)} == {401}
            await settings.aclose()

    asyncio.run(play())


# --- one process, several processes


@pytest.mark.parametrize("store", ["memory://", None], ids=["by URL", "an object"])
def test_what_a_server_says_at_a_request_is_no_proof_of_several_processes(
    store: str | None,
) -> None:
    # bjoern, fastwsgi, a2wsgi and others say so with one.
    made = store or MemoryStore(clock=time.time, retention=HOUR)
    settings = settings_with(made)
    app = WSGIMiddleware(Application().wsgi, settings)
    tokens = Issuer(settings).issue("alice")
    for sent, status in (
        (calling(tokens.access_token), 200),
        (calling("x"), 401),
        (refreshing(tokens.refresh_token), 200),
        (refreshing("x"), 400),
    ):
        assert by_wsgi(app, sent, **{"wsgi.multiprocess": True})[0] == status


def test_a_file_is_not(tmp_path: Path) -> None:
    settings = settings_with(f"sqlite:///{tmp_path}/grants.db")
    app = WSGIMiddleware(Application().wsgi, settings)
    tokens = Issuer(settings).issue("alice")
    sent = calling(tokens.access_token)
    assert by_wsgi(app, sent, **{"wsgi.multiprocess": True})[0] == 200
    settings.close()


def test_settings_that_only_verify_run_in_any_number_of_processes() -> None:
    settings = settings_with("memory://")
    token = Issuer(settings).issue("alice").access_token
    app = WSGIMiddleware(Application().wsgi, settings.replace(refresh=None))
    assert by_wsgi(app, calling(token), **{"wsgi.multiprocess": True})[0] == 200


@pytest.mark.parametrize("door", ["wsgi", "asgi"])
def test_memory_is_refused_in_a_forked_child(door: str) -> None:
    with Process("fork_memory", door) as process:
        for who in ("refresh", "call", "issue"):
            assert "memory:// is one process's own" in process.hear(), who
        assert process.hear() == "the parent goes on: 200"
        assert process.wait() == 0


@pytest.mark.parametrize("door", ["wsgi", "asgi"])
def test_a_forked_child_begins_with_nothing_open(tmp_path: Path, door: str) -> None:
    # While other threads hold every lock that there is.
    with Process("fork_in_the_middle", door, tmp_path / "grants.db") as process:
        assert process.hear() == {"child": [200, 200], "parent": [200, 200]}
        assert process.wait() == 0


def test_after_a_fork_no_lock_is_held_by_a_thread_that_is_not_there() -> None:
    live = Runtime.of(settings_with("memory://"))
    live.core(asynchronous=True)
    assert live.awaiting is not None
    kind = type(threading.Lock())
    parts = (live.hooks, live.live_store, live.awaiting.executors)
    locks = [one for part in parts for one in vars(part).values() if isinstance(one, kind)]
    assert len(locks) == 4
    for lock in locks:
        lock.acquire()
    runtime._after_fork()
    found = [one for part in parts for one in vars(part).values() if isinstance(one, kind)]
    assert len(found) == len(locks)
    assert not any(lock.locked() for lock in found)


def test_a_runtime_that_is_gone_is_kept_by_nobody() -> None:
    settings = settings_with("memory://")
    Issuer(settings).issue("alice")
    before = len(runtime._runtimes)
    TOLD.pop(id(settings))
    del settings
    gc.collect()
    assert len(runtime._runtimes) < before


# --- beginning and end


async def lifespan(app: Any, *, shut_down: bool = True) -> list[dict[str, Any]]:
    """Begin and end an ASGI application as a server does; return what it said."""
    said: list[dict[str, Any]] = []
    messages = [{"type": "lifespan.startup"}] + [{"type": "lifespan.shutdown"}] * shut_down

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    return said


async def with_lifespan(scope: Any, receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def unusable(folder: Path) -> Iterator[tuple[str, Any, str]]:
    (folder / "text").write_text("no database, and long enough to be seen as none " * 10)
    yield "a file that is a folder", f"sqlite:///{folder}", "can't be used"
    yield "no database", f"sqlite:///{folder}/text", "SQLITE_NOTADB"
    yield "a store that says so", Checked(ConfigurationError("refresh.store", "no table")), "table"
    yield "a store that is down", Checked(StoreUnavailable("no route")), "no route"
    yield "a store that breaks", Checked(OSError("no route")), "no route"
    yield "an awaited store", AwaitedCheck(StoreUnavailable("no route")), "no route"


class Checked(Plain):
    """A store with a check of its own."""

    def __init__(self, problem: Exception) -> None:
        super().__init__()
        self._problem = problem

    def check(self) -> None:
        raise self._problem


class AwaitedCheck(Awaited):
    """An awaited one."""

    def __init__(self, problem: Exception) -> None:
        super().__init__()
        self._problem = problem

    async def check(self) -> None:
        raise self._problem


def test_a_store_that_cannot_be_used_fails_the_start_under_asgi(tmp_path: Path) -> None:
    # A server that only sees an exception takes it for "no lifespan here", and serves.
    for what, store, problem in unusable(tmp_path):
        settings = settings_with(store)
        said: list[dict[str, Any]] = []

        async def play(settings: Settings, said: list[dict[str, Any]]) -> None:
            async def receive() -> Any:
                return {"type": "lifespan.startup"}

            async def send(message: Any) -> None:
                said.append(message)

            app = ASGIMiddleware(with_lifespan, settings)
            try:
                await app({"type": "lifespan"}, receive, send)
            finally:
                await settings.aclose()

        with pytest.raises((ConfigurationError, StoreUnavailable, OSError)):
            asyncio.run(play(settings, said))
        assert [one["type"] for one in said] == ["lifespan.startup.failed"], what
        assert problem in said[0]["message"], what


def test_a_store_that_cannot_be_used_fails_the_construction_under_wsgi(tmp_path: Path) -> None:
    for what, store, problem in unusable(tmp_path):
        if isinstance(store, Awaited):
            continue
        with pytest.raises((ConfigurationError, StoreUnavailable, OSError)) as raised:
            WSGIMiddleware(Application().wsgi, settings_with(store))
        assert problem in str(raised.value), what


def test_a_folder_that_is_not_there_fails_the_construction(tmp_path: Path) -> None:
    # A server without a lifespan (Mangum, say) would serve, and answer each refresh 503.
    settings = settings_with(f"sqlite:///{tmp_path}/no/grants.db")
    with pytest.raises(ConfigurationError, match=r"no is no directory \(make it first"):
        ASGIMiddleware(with_lifespan, settings)
    with pytest.raises(ConfigurationError, match="FileNotFoundError"):
        WSGIMiddleware(Application().wsgi, settings)


def test_the_application_sees_the_messages_of_its_lifespan_unchanged(tmp_path: Path) -> None:
    settings = settings_with(f"sqlite:///{tmp_path}/grants.db")
    said = asyncio.run(lifespan(ASGIMiddleware(with_lifespan, settings)))
    assert said == [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]
    assert (tmp_path / "grants.db").exists(), "made at the start"


class Closed(Plain):
    """A store that says how often it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class AwaitedClose(Awaited):
    """An awaited one."""

    closed = 0

    async def aclose(self) -> None:
        self.closed += 1


class CloseAwaited(Awaited):
    """One that calls it `close`."""

    closed = 0

    async def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("kind", [Closed, AwaitedClose, CloseAwaited])
def test_the_store_is_closed_with_the_application(kind: Any) -> None:
    store = kind()
    asyncio.run(lifespan(ASGIMiddleware(with_lifespan, settings_with(store))))
    assert store.closed == 1


def test_close_ends_the_threads_and_a_later_request_begins_anew(tmp_path: Path) -> None:
    settings = settings_with(f"sqlite:///{tmp_path}/grants.db")
    before = set(threading.enumerate())  # other tests have left theirs

    async def play() -> None:
        for _ in range(2):
            assert await a_session(settings) == A_SESSION
            await asyncio.sleep(0.01)

    asyncio.run(play())

    def left() -> list[str]:
        threads = set(threading.enumerate()) - before
        return [one.name for one in threads if one.name.startswith("jwt_middleware")]

    until(lambda: not left())
    assert open_files(tmp_path / "grants.db") == 0
    tokens = Issuer(settings).issue("alice")
    assert open_files(tmp_path / "grants.db") > 0
    settings.close()
    settings.close()
    assert open_files(tmp_path / "grants.db") == 0
    assert Issuer(settings).revoke(tokens.grant_id)
    settings.close()


def open_files(path: Path) -> int:
    """Say how often this process has the file open."""
    count = 0
    for name in os.listdir("/dev/fd"):
        try:
            count += os.path.samestat(os.fstat(int(name)), path.stat())
        except OSError:  # the one that listed the directory
            continue
    return count


def test_settings_that_opened_nothing_close_nothing() -> None:
    settings = settings_with("memory://")
    settings.close()
    asyncio.run(settings.aclose())
    assert "_runtime" not in vars(settings)


def test_issuer_and_both_doors_share_one_store() -> None:
    settings = settings_with("memory://")
    tokens = Issuer(settings).issue("alice")
    wsgi = WSGIMiddleware(Application().wsgi, settings)
    asgi = ASGIMiddleware(Application().asgi, settings)
    assert by_wsgi(wsgi, calling(tokens.access_token))[0] == 200
    assert asyncio.run(by_asgi(asgi, calling(tokens.access_token)))[0] == 200
    asyncio.run(Issuer(settings).arevoke(tokens.grant_id))
    assert by_wsgi(wsgi, calling(tokens.access_token))[0] == 401
    assert asyncio.run(by_asgi(asgi, calling(tokens.access_token)))[0] == 401
    copy = settings.replace()
    assert Runtime.of(copy).store is not Runtime.of(settings).store


def test_many_threads_that_come_first_make_one_runtime() -> None:
    settings = settings_with("memory://")
    barrier, found = threading.Barrier(16), set[int]()

    def come() -> None:
        barrier.wait()
        found.add(id(Runtime.of(settings)))
        found.add(id(Runtime.of(settings).core(asynchronous=False).issuing and settings))

    threads = [threading.Thread(target=come) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {id(Runtime.of(settings)), id(settings)}
