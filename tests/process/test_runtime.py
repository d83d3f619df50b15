"""The live side of settings: the drivers that carry asks out, one runtime each, and who is told."""

import asyncio
import copy
import logging
import pickle
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import pytest

from jwt_middleware import ConfigurationError, Event, Settings, current_token
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.core.decide import Core
from jwt_middleware.process.runtime import Runtime
from jwt_middleware.values import reasons
from jwt_middleware.values.errors import InvalidToken, Unavailable
from jwt_middleware.values.flows import Flow, arun, ask, ask_to_the_end, run
from jwt_middleware.values.requests import Reply, Request
from jwt_middleware.values.tokens import ANONYMOUS, Forward
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware
from tests.world import World
from tests.wrapped import FACTORY

REQUEST = Request("GET", "/me", lambda _: None)


class Asking(Core):
    """A core whose flow is a given one, with the real core's answers to errors."""

    def __init__(self, flow: Callable[[], Flow[Forward]], settings: Settings | None = None) -> None:
        super().__init__(settings or FACTORY.settings())
        self._flow = flow

    def let_in(self, request: Request) -> Flow[Forward]:
        return (yield from self._flow())


def drive_sync(flow: Callable[[], Flow[Forward]]) -> Forward | Reply:
    return run(Asking(flow).decide(REQUEST))


def drive_async(flow: Callable[[], Flow[Forward]]) -> Forward | Reply:
    return asyncio.run(arun(Asking(flow).decide(REQUEST)))


both = pytest.mark.parametrize("drive", [drive_sync, drive_async])
Drive = Callable[[Callable[[], Flow[Forward]]], Forward | Reply]


def unavailable(*_: object) -> Any:
    raise Unavailable(detail="store")


# The drivers


@both
def test_a_flow_that_asks_nothing_is_at_its_end(drive: Drive) -> None:
    def flow() -> Flow[Forward]:
        yield from ()
        return ANONYMOUS

    assert drive(flow) is ANONYMOUS


@both
def test_each_answer_leads_to_the_next_line(drive: Drive) -> None:
    asked: list[Any] = []

    def store(*args: Any, word: str = "") -> int:
        asked.append((*args, word))
        return len(asked)

    def flow() -> Flow[Forward]:
        first = yield from ask(store)
        second = yield from ask(partial(store, word="again"), first)
        asked.append(second)
        return ANONYMOUS

    assert drive(flow) is ANONYMOUS
    assert asked == [("",), (1, "again"), 2]


def test_what_can_be_awaited_is_awaited_under_asgi() -> None:
    seen: list[str] = []

    async def store(name: str) -> str:
        await asyncio.sleep(0)
        return f"row of {name}"

    def flow() -> Flow[Forward]:
        seen.append((yield from ask(cast(Any, store), "alice")))
        return ANONYMOUS

    assert drive_async(flow) is ANONYMOUS
    assert seen == ["row of alice"]


@both
def test_a_flow_goes_on_without_an_answer_where_it_says_so(drive: Drive) -> None:
    error = Unavailable(detail="store")
    failures: list[Unavailable] = []

    def store() -> None:
        raise error

    def flow() -> Flow[Forward]:
        try:
            yield from ask(store)
        except Unavailable as given:
            failures.append(given)
        return ANONYMOUS

    assert drive(flow) is ANONYMOUS
    assert failures == [error]


def test_an_awaitable_that_fails_is_raised_at_the_same_line() -> None:
    async def store() -> None:
        await asyncio.sleep(0)
        unavailable()

    def flow() -> Flow[Forward]:
        try:
            yield from ask(cast(Any, store))
        except Unavailable:
            return ANONYMOUS
        raise AssertionError("the flow must not come here")

    assert drive_async(flow) is ANONYMOUS


@both
def test_what_a_flow_goes_on_from_is_the_call_and_not_what_follows_it(drive: Drive) -> None:
    def flow() -> Flow[Forward]:
        try:
            row = yield from ask(lambda: "row")
        except Unavailable:
            return ANONYMOUS
        return cast(Forward, unavailable(row))

    reply = drive(flow)
    assert isinstance(reply, Reply)
    assert reply.response.status == 503


@both
def test_what_fails_once_more_is_the_end(drive: Drive) -> None:
    def flow() -> Flow[Forward]:
        try:
            yield from ask(unavailable)
        except Unavailable:
            yield from ask(unavailable)
        return ANONYMOUS

    reply = drive(flow)
    assert isinstance(reply, Reply)
    assert reply.response.status == 503


def asks(call: Callable[[], Any]) -> Callable[[], Flow[Forward]]:
    def flow() -> Flow[Forward]:
        try:
            yield from ask(call)
        except Unavailable:
            return ANONYMOUS
        raise AssertionError("the flow must not come here")

    return flow


@both
def test_an_error_with_an_answer_becomes_the_answer(drive: Drive) -> None:
    def store() -> None:
        raise InvalidToken(reasons.KEY_UNKNOWN)

    reply = drive(asks(store))
    assert isinstance(reply, Reply)
    assert (reply.response.status, cast(Any, reply.events[0]).reason) == (401, reasons.KEY_UNKNOWN)


@both
@pytest.mark.parametrize("error", [ZeroDivisionError("ours"), asyncio.CancelledError()])
def test_any_other_error_is_nobodys_answer(drive: Drive, error: BaseException) -> None:
    def store() -> None:
        raise error

    with pytest.raises(type(error)):
        drive(asks(store))


@both
def test_a_call_that_raises_stop_iteration_ends_no_flow(drive: Drive) -> None:
    def store() -> None:
        raise StopIteration("not the flow's own")

    with pytest.raises(RuntimeError, match="StopIteration"):
        drive(asks(store))


async def test_what_is_kept_is_carried_to_its_end_though_nobody_waits() -> None:
    begun, go, done = asyncio.Event(), asyncio.Event(), asyncio.Event()
    kept: list[asyncio.Task[Any]] = []

    async def end() -> str:
        begun.set()
        await go.wait()
        return "ended"

    def flow() -> Flow[str]:
        answer = yield from ask_to_the_end(cast(Any, end))
        yield from ask(done.set)
        return cast(str, answer)

    async def keep(rest: Any) -> Any:
        kept.append(asyncio.ensure_future(rest))
        return await asyncio.shield(kept[0])

    task = asyncio.ensure_future(arun(flow(), keep))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not done.is_set()
    go.set()
    assert await kept[0] == "ended"
    assert done.is_set()
    assert await arun(flow()) == "ended"  # where nothing is given to keep it, it is one of many


@pytest.mark.parametrize("problem_details", [False, True])
def test_what_is_unavailable_is_503_through_both_doors(problem_details: bool) -> None:
    world = World(FACTORY.settings(problem_details=problem_details))

    def flow() -> Flow[Forward]:
        return (yield from ask(unavailable))

    core = Asking(flow, world.settings)
    world.asgi._core = world.wsgi._core = core
    answer = world.get(token=FACTORY.token())
    assert (answer.status, answer.reached, answer.reason) == (503, False, "unavailable")
    assert answer.json["error"] == "temporarily_unavailable"
    assert answer.header("retry-after") == "1"
    # The token may be good: nothing asks the client for another one.
    assert answer.header("www-authenticate") is None
    assert answer.header("cache-control") == "no-store"


# One runtime for one settings object


def test_both_doors_share_the_runtime_of_their_settings() -> None:
    settings = FACTORY.settings()

    async def inside(scope: Any, receive: Any, send: Any) -> None: ...

    doors = (
        ASGIMiddleware(inside, settings),
        ASGIMiddleware(inside, settings),
        WSGIMiddleware(lambda environ, start_response: [], settings),
    )
    assert {id(door.runtime) for door in doors} == {id(Runtime.of(settings))}


@pytest.mark.parametrize(
    "copied",
    [
        copy.copy,
        copy.deepcopy,
        lambda settings: pickle.loads(pickle.dumps(settings)),
        lambda settings: settings.replace(),
        lambda settings: settings.replace(leeway=0),
    ],
    ids=["copy", "deepcopy", "pickle", "replace", "change"],
)
def test_a_copy_gets_a_runtime_of_its_own(copied: Callable[[Settings], Settings]) -> None:
    settings = FACTORY.settings()
    runtime = Runtime.of(settings)
    twin = copied(settings)
    assert vars(twin).keys() == Settings.__dataclass_fields__.keys()
    assert Runtime.of(twin) is not runtime
    assert Runtime.of(settings) is runtime
    assert World(twin).get(token=FACTORY.token()).status == 200


@pytest.mark.parametrize("door", [ASGIMiddleware, WSGIMiddleware])
def test_what_is_no_settings_is_told_when_the_door_is_made(door: Any) -> None:
    def app() -> None: ...

    with pytest.raises(ConfigurationError, match=r"^settings: must be a Settings, not function"):
        door(FACTORY.settings(), app)


def test_threads_that_race_for_a_runtime_get_one() -> None:
    for _ in range(20):
        settings = FACTORY.settings()
        start = threading.Barrier(8)
        found: list[Runtime] = []

        def find(settings: Settings = settings, start: Any = start, found: Any = found) -> None:
            start.wait()
            found.append(Runtime.of(settings))

        threads = [threading.Thread(target=find) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({id(one) for one in found}) == 1
        assert len(found) == 8


def test_outside_of_a_request_no_token_is_current() -> None:
    assert current_token() is None


# Who is told


def test_each_refusal_is_one_event_and_what_passes_is_none() -> None:
    told: list[Any] = []
    world = World(FACTORY.settings(on_event=told.append))
    assert world.get(token=FACTORY.token()).status == 200
    assert told == []
    world.request("PUT", "/page/1", FACTORY.token(exp=1))
    assert told[0] == told[1]  # one by each door
    (event,) = told[1:]
    assert (event.name, event.reason, event.status) == ("refused", reasons.EXPIRED, 401)
    assert (event.method, event.path) == ("PUT", "/page/1")


def test_the_log_has_one_line_for_an_event_whatever_was_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    world = World(FACTORY.settings())
    world.request("GET\r\n", "/\r\nINFO root logged in\x1b[2J\u2028", "no token")
    for record in caplog.records:
        assert (record.name, record.levelno) == ("jwt_middleware", logging.INFO)
        message = record.getMessage()
        assert message.startswith("refused: ")
        assert "credentials_malformed" in message
        assert message.isprintable()
        assert "no token" not in message
    assert len(caplog.records) == 2


def test_a_callback_that_fails_is_logged_and_the_answer_stands(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(event: Event) -> None:
        raise ZeroDivisionError("a counter of theirs")

    answer = World(FACTORY.settings(on_event=broken)).get()
    assert (answer.status, answer.reason) == (401, "credentials_missing")
    failures = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [record.getMessage() for record in failures] == ["on_event failed for refused"] * 2
    for record in failures:
        assert record.exc_info is not None
        assert record.exc_info[0] is ZeroDivisionError


def test_one_event_after_a_failing_callback_is_told_all_the_same() -> None:
    told: list[Any] = []

    def broken(event: Event) -> None:
        told.append(event)
        raise ZeroDivisionError

    settings = FACTORY.settings(on_event=broken)
    reply = (
        Runtime.of(settings).core(asynchronous=False).refuse(REQUEST, InvalidToken(reasons.EXPIRED))
    )
    Runtime.of(settings).tell(reply.events * 2)
    assert told == list(reply.events * 2)


def test_the_callback_runs_where_the_request_is_served() -> None:
    threads: list[int] = []
    world = World(FACTORY.settings(on_event=lambda _: threads.append(threading.get_ident())))
    world.get()
    assert threads == [threading.get_ident()] * 2
