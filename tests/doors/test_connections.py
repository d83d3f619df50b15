"""Open connections under ASGI: they end when their token no longer holds, and not before."""

from __future__ import annotations

import asyncio
import pickle
from functools import partial
from typing import Any

import pytest

from jwt_middleware import (
    ConfigurationError,
    Issuer,
    Route,
    Settings,
    WebSockets,
    current_token,
)
from jwt_middleware.asgi import JWTMiddleware
from jwt_middleware.process import open_connections
from jwt_middleware.process.runtime import Runtime
from jwt_middleware.testing import TokenFactory
from jwt_middleware.values import reasons
from jwt_middleware.values.errors import ConnectionCut
from tests.issuing import AwaitedStore, FaultyStore
from tests.rules import accepts, refuses

from .connecting import (
    EVENTS,
    FILE,
    Opened,
    Site,
    door,
    echo,
    get,
    http_scope,
    looks,
    socket,
    streaming,
    until,
)

LEEWAY = 30
LIFE = 600


async def opened(site: Site, app: Any, token: str) -> Opened:
    """Return a response that has begun."""
    one = get(door(site, app), token)
    await until(lambda: one.kinds == ["start", "body"])
    return one


# They end with the token


@refuses("RS-67")
async def test_a_websocket_ends_when_its_token_expires() -> None:
    site = Site()
    one = socket(door(site), (await site.login()).access_token)
    await until(lambda: one.sent)
    site.clock.forward(LIFE + LEEWAY)
    assert await one.over() is None
    assert (one.kinds, one.code) == (["accept", "close"], 4401)
    assert site.ended == [("expired", "websocket")]


@accepts("RS-67")
async def test_a_websocket_is_served_until_the_second_before() -> None:
    site = Site()
    one = socket(door(site), (await site.login()).access_token)
    await until(lambda: one.sent)
    # A token lives up to 5 % shorter than the setting says.
    site.clock.forward(LIFE * 0.95 + LEEWAY - 1)
    await looks()
    one.receive({"type": "websocket.receive", "text": "still there?"})
    await until(lambda: one.sent[-1].get("text") == "still there?")
    await one.close()
    assert site.ended == []


@refuses("RS-67")
async def test_an_event_stream_ends_when_its_token_expires() -> None:
    site = Site()
    one = await opened(site, streaming(EVENTS), (await site.login()).access_token)
    site.clock.forward(LIFE + LEEWAY)
    error = await one.over()
    assert isinstance(error, ConnectionCut)
    assert str(error) == "jwt_middleware ended this connection on purpose: expired"
    assert one.kinds == ["start", "body"]
    assert site.ended == [("expired", "stream")]


@accepts("RS-67")
async def test_a_download_may_outlive_its_token() -> None:
    site = Site()
    go_on = asyncio.Event()

    async def rest(scope: Any, send: Any) -> None:
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"last"})

    one = await opened(site, streaming(FILE, rest), (await site.login()).access_token)
    site.clock.forward(LIFE + LEEWAY)
    await looks()
    go_on.set()
    assert await one.over() is None
    assert one.kinds == ["start", "body", "body"]


@refuses("RS-67")
@pytest.mark.parametrize("store", ["memory://", AwaitedStore])
@pytest.mark.parametrize("headers", [EVENTS, FILE, []])
async def test_every_stream_ends_when_its_grant_ends(headers: Any, store: Any) -> None:
    site = Site(store)
    tokens = await site.login()
    one = await opened(site, streaming(headers), tokens.access_token)
    other = await opened(site, streaming(headers), (await site.login("bob")).access_token)
    await site.issuer.arevoke(tokens.grant_id)
    assert isinstance(await one.over(), ConnectionCut)
    assert site.ended == [("grant_ended", "stream")]
    assert not other.task.done()
    await other.close()


@refuses("RS-67")
async def test_an_end_that_only_the_store_knows_is_heard_without_a_request(tmp_path: Any) -> None:
    here = Site(f"sqlite:///{tmp_path}/grants.db")
    there = Site(f"sqlite:///{tmp_path}/grants.db")  # another process, as it were
    tokens = await here.login()
    one = socket(door(here), tokens.access_token)
    file = await opened(here, streaming(FILE), tokens.access_token)
    await until(lambda: one.sent)
    await there.issuer.arevoke(tokens.grant_id)
    here.clock.forward(0.06)
    assert await one.over() is None
    assert one.code == 4401
    assert isinstance(await file.over(), ConnectionCut)
    await here.settings.aclose()
    await there.settings.aclose()


@refuses("RS-67")
async def test_a_mark_ends_what_is_older_and_asks_for_the_rest() -> None:
    site = Site()
    old = await site.login("old")
    site.clock.forward(200)  # beyond what clocks may differ
    young = await site.login("young")
    app = door(site)
    sockets = [socket(app, one.access_token) for one in (old, young, young)]
    await until(lambda: all(one.sent for one in sockets))
    store = Runtime.of(site.settings).store
    store.end_before(site.clock() - 150)
    site.clock.forward(0.06)  # the sync is due
    assert await sockets[0].over() is None
    assert sockets[0].code == 4401
    await looks()
    assert [one.task.done() for one in sockets] == [True, False, False]
    # The next mark is after its beginning, but not so long that its token tells: the store does.
    site.clock.forward(1)
    store.end_before(site.clock())
    assert [await one.over() for one in sockets[1:]] == [None, None]
    assert [one.code for one in sockets] == [4401] * 3


@refuses("RS-67")
async def test_an_end_between_the_decision_and_the_first_chunk_is_not_missed() -> None:
    site = Site()
    tokens = await site.login()
    begin = asyncio.Event()

    async def late(scope: Any, receive: Any, send: Any) -> None:
        await begin.wait()
        await streaming(FILE)(scope, receive, send)

    one = get(door(site, late), tokens.access_token)
    await looks(1)
    await site.issuer.arevoke(tokens.grant_id)
    begin.set()
    assert isinstance(await one.over(), ConnectionCut)
    assert one.kinds == ["start", "body"]


@refuses("RS-67")
async def test_an_application_that_catches_the_cancellation_cannot_complete_the_response() -> None:
    site = Site()
    tokens = await site.login()
    caught: list[BaseException] = []

    async def stubborn(scope: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            caught.append(error)
        try:
            await send({"type": "http.response.body", "body": b"last"})
        except OSError as error:
            caught.append(error)

    one = await opened(site, streaming(FILE, stubborn), tokens.access_token)
    await site.issuer.arevoke(tokens.grant_id)
    assert isinstance(await one.over(), ConnectionCut)
    assert [type(error) for error in caught] == [asyncio.CancelledError, ConnectionCut]
    assert one.kinds == ["start", "body"]
    assert one.task.cancelling() == 0


@refuses("RS-67")
async def test_an_application_that_goes_on_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(open_connections, "GRACE", 0.0)
    site = Site()
    tokens = await site.login()
    caught = 0

    async def deaf(scope: Any, receive: Any, send: Any) -> None:
        nonlocal caught
        while caught < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                caught += 1

    one = socket(door(site, deaf), tokens.access_token)
    await looks(1)
    await site.issuer.arevoke(tokens.grant_id)
    assert await one.over() is None
    assert (caught, one.code, one.task.cancelling()) == (3, 4401, 0)


async def test_a_cancellation_of_the_servers_stays_in_force() -> None:
    site = Site()
    tokens = await site.login()
    mine = asyncio.Event()

    async def slow(scope: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            mine.set()
            await asyncio.Event().wait()

    one = await opened(site, streaming(FILE, slow), tokens.access_token)
    await site.issuer.arevoke(tokens.grant_id)
    await mine.wait()
    one.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one.over()


async def test_what_stops_a_process_is_never_taken(caplog: pytest.LogCaptureFixture) -> None:
    site = Site()
    tokens = await site.login()

    async def exits(scope: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise GeneratorExit from None

    one = await opened(site, streaming(FILE, exits), tokens.access_token)
    await site.issuer.arevoke(tokens.grant_id)
    assert isinstance(await one.over(), GeneratorExit)


async def test_what_the_application_raises_afterwards_is_no_error_of_a_websocket(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", "jwt_middleware")
    site = Site()
    tokens = await site.login()

    async def complains(scope: Any, receive: Any, send: Any) -> None:
        await echo(scope, receive, send)
        raise RuntimeError("unexpected message after close")

    one = socket(door(site, complains), tokens.access_token)
    await until(lambda: one.sent)
    await site.issuer.arevoke(tokens.grant_id)
    assert await one.over() is None
    assert "the application raised RuntimeError after its connection ended" in caplog.text
    assert tokens.access_token not in caplog.text
    assert "connection_ended: a websocket at /ws was ended: grant_ended" in caplog.text


async def test_a_server_that_refuses_the_close_changes_nothing() -> None:
    site = Site()
    tokens = await site.login()
    one = socket(door(site), tokens.access_token)

    async def refusing(message: Any) -> None:
        raise RuntimeError("already closed")

    await until(lambda: one.sent)
    (connection,) = Runtime.of(site.settings).open_connections().here()._of_grants()
    connection._send = refusing
    await site.issuer.arevoke(tokens.grant_id)
    await until(lambda: site.ended)
    await looks()
    one.receive({"type": "websocket.disconnect", "code": 1006})
    assert await one.over() is None


async def test_a_close_that_does_not_get_through_cancels_the_application() -> None:
    site = Site()
    tokens = await site.login()
    freed = asyncio.Event()

    async def waiting(scope: Any, receive: Any, send: Any) -> None:
        try:
            await echo(scope, receive, send)
        finally:
            freed.set()

    one = socket(door(site, waiting), tokens.access_token)

    async def only_then(message: Any) -> None:  # as granian does
        await freed.wait()
        one.sent.append(message)

    await until(lambda: one.sent)
    (connection,) = Runtime.of(site.settings).open_connections().here()._of_grants()
    connection._send = only_then
    await site.issuer.arevoke(tokens.grant_id)
    assert await one.over() is None
    await until(lambda: one.code == 4401)


async def test_an_application_has_time_to_end_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(open_connections, "CLOSE_WAIT", 0.02)
    site = Site()
    tokens = await site.login()
    saved = asyncio.Event()

    async def saves(scope: Any, receive: Any, send: Any) -> None:
        await echo(scope, receive, send)
        await saved.wait()

    one = socket(door(site, saves), tokens.access_token)
    await until(lambda: one.sent)
    await site.issuer.arevoke(tokens.grant_id)
    await until(lambda: one.code == 4401)
    await looks()
    assert one.task.cancelling() == 0
    saved.set()
    assert await one.over() is None


async def test_a_client_that_leaves_at_the_same_moment() -> None:
    site = Site()
    tokens = await site.login()
    sockets = [socket(door(site), tokens.access_token) for _ in range(20)]
    await until(lambda: all(one.sent for one in sockets))
    for one in sockets[::2]:
        one.receive({"type": "websocket.disconnect", "code": 1001})
    await site.issuer.arevoke(tokens.grant_id)
    assert {await one.over() for one in sockets} == {None}
    registry = Runtime.of(site.settings).open_connections()
    await until(lambda: not registry._by_loop)


# What isn't touched


@accepts("RS-67")
async def test_an_ordinary_answer_and_a_long_poll_are_never_watched() -> None:
    site = Site()
    answer = asyncio.Event()

    async def poll(scope: Any, receive: Any, send: Any) -> None:
        await answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"news", "more_body": False})

    tokens = await site.login()
    one = get(door(site, poll), tokens.access_token)
    await looks(1)
    await site.issuer.arevoke(tokens.grant_id)
    site.clock.forward(LIFE + LEEWAY)
    await looks()
    answer.set()
    assert await one.over() is None
    assert site.ended == []


@accepts("RS-67")
async def test_what_an_application_does_after_its_response_is_not_cancelled() -> None:
    site = Site()
    tokens = await site.login()
    done = asyncio.Event()
    at_work = asyncio.Event()

    async def rest(scope: Any, send: Any) -> None:
        await send({"type": "http.response.body", "body": b"more", "more_body": True})
        await send({"type": "http.response.body", "body": b"last"})
        await send({"type": "http.response.trailers", "headers": []})
        at_work.set()
        await done.wait()

    one = get(door(site, streaming(FILE, rest)), tokens.access_token)
    await at_work.wait()
    await site.issuer.arevoke(tokens.grant_id)
    await looks()
    done.set()
    assert await one.over() is None
    assert site.ended == []


@accepts("RS-67")
async def test_a_route_may_keep_its_connections() -> None:
    site = Site(
        routes=(
            Route("/kept/*", connections="keep"),
            Route("/kept/not", connections="end"),
        )
    )
    tokens = await site.login()
    kept = [
        socket(door(site), tokens.access_token, "/kept/ws"),
        get(door(site, streaming(EVENTS)), tokens.access_token, "/kept/feed"),
    ]
    ended = socket(door(site), tokens.access_token, "/kept/not")
    await until(lambda: all(one.sent for one in (*kept, ended)))
    await site.issuer.arevoke(tokens.grant_id)
    site.clock.forward(LIFE + LEEWAY)
    assert await ended.over() is None
    await looks()
    assert [one.task.done() for one in kept] == [False, False]
    for one in kept:
        await one.close()
    assert site.ended == [("grant_ended", "websocket")]


OFFERED: dict[str, Any] = {"http.response.pathsend": {}, "http.response.debug": {"a": 1}}


@refuses("RS-67")
@pytest.mark.parametrize(
    ("path", "offered", "seen"),
    [
        ("/file", OFFERED, {"http.response.debug": {"a": 1}}),
        ("/file", {"http.response.debug": {}}, {"http.response.debug": {}}),
        ("/file", {}, {}),
        ("/file", None, None),
        ("/kept/file", OFFERED, OFFERED),
        ("/public", OFFERED, OFFERED),
    ],
)
async def test_no_server_is_handed_a_file_that_it_would_send_to_the_end(
    path: str, offered: Any, seen: Any
) -> None:
    site = Site(routes=(Route("/kept/*", connections="keep"), Route("/public", public=True)))
    given = dict(offered) if offered is not None else None
    found: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(scope["extensions"])
        await streaming(FILE, _whole)(scope, receive, send)

    one = get(door(site, app), (await site.login()).access_token, path, extensions=given)
    assert await one.over() is None
    assert found == [seen]
    assert given == offered  # that of the server stays as it is


async def test_where_no_grants_end_a_server_may_send_files() -> None:
    factory = TokenFactory()
    found: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(scope["extensions"])
        await streaming(FILE, _whole)(scope, receive, send)

    one = get(JWTMiddleware(app, factory.settings()), factory.token(), extensions=OFFERED)
    assert await one.over() is None
    assert found == [OFFERED]


async def _whole(scope: Any, send: Any) -> None:
    await send({"type": "http.response.body", "body": b"last"})


@pytest.mark.parametrize("given", [{"connections": "close"}, {"connections": "keep", "public": 1}])
def test_connections_end_or_are_kept(given: Any) -> None:
    given = {"public": bool(given.get("public")), "connections": given["connections"]}
    with pytest.raises(ConfigurationError, match="connections"):
        Route("/ws", **given)


@accepts("RS-67")
async def test_without_a_token_nothing_is_watched() -> None:
    site = Site(routes=(Route("/open", public=True), Route("/maybe", optional=True)))
    opened = [
        socket(door(site), None, "/open"),
        socket(door(site), None, "/maybe"),
        get(door(site, streaming(EVENTS)), None, "/open"),
        get(door(site, streaming(EVENTS)), None, "/maybe"),
    ]
    await until(lambda: all(one.sent for one in opened))
    assert not Runtime.of(site.settings).open_connections()._by_loop
    for one in opened:
        await one.close()


async def test_tokens_without_a_grant_end_by_their_time_alone() -> None:
    factory = TokenFactory()
    now = 1_800_000_000.0
    settings: Settings = factory.settings(clock=lambda: now)
    token = factory.token(exp=now + LIFE, iat=now)
    app = JWTMiddleware(echo, settings)
    one = socket(app, token)
    file = get(JWTMiddleware(streaming(FILE), settings), token)
    await until(lambda: one.sent and file.sent)
    now += LIFE + LEEWAY
    assert await one.over() is None
    assert one.code == 4401
    assert not file.task.done()
    await file.close()


# Websockets that aren't open yet, or were never


async def test_a_websocket_that_was_never_accepted_is_refused() -> None:
    site = Site()
    tokens = await site.login()

    async def ponders(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        assert (await receive())["type"] == "websocket.disconnect"

    one = socket(door(site, ponders), tokens.access_token)
    await looks(1)
    await site.issuer.arevoke(tokens.grant_id)
    assert await one.over() is None
    assert one.kinds == ["close"]


async def test_the_close_code_is_a_setting() -> None:
    site = Site(websockets=WebSockets(close_code=3000))
    tokens = await site.login()
    one = socket(door(site), tokens.access_token)
    await until(lambda: one.sent)
    await site.issuer.arevoke(tokens.grant_id)
    await one.over()
    assert one.sent[-1] == {"type": "websocket.close", "code": 3000, "reason": "grant_ended"}


# The store


async def fails(site: Site) -> None:
    Runtime.of(site.settings).store.fails |= {"ended", "is_living"}


@pytest.mark.parametrize(("failure", "ends"), [("closed", True), ("open", False)])
async def test_a_store_that_fails_for_long_ends_them_or_not(failure: str, ends: bool) -> None:
    site = Site(FaultyStore, refresh={"sync_failure": failure, "sync_limit": 100})
    one = socket(door(site), (await site.login()).access_token)
    file = await opened(site, streaming(FILE), (await site.login("bob")).access_token)
    await until(lambda: one.sent)
    await fails(site)
    site.clock.forward(90)
    await until(lambda: "store_failed" in [event.name for event in site.events])
    await looks()
    assert not one.task.done()
    site.clock.forward(20)
    if ends:
        assert await one.over() is None
        assert one.code == 1013  # try again later: it isn't the client's fault
        assert isinstance(await file.over(), ConnectionCut)
        assert sorted(site.ended) == [("sync_too_old", "stream"), ("sync_too_old", "websocket")]
    else:
        await looks()
        assert not one.task.done()
        for open_one in (one, file):
            await open_one.close()


async def test_a_grant_that_nobody_can_ask_for_is_asked_for_again() -> None:
    site = Site(FaultyStore)
    tokens = await site.login()
    one = socket(door(site), tokens.access_token)
    await until(lambda: one.sent)
    store = Runtime.of(site.settings).store
    store.fails.add("is_living")
    site.clock.forward(1)
    store.end_before(site.clock())
    await until(lambda: store.calls.count("is_living") > 1)
    assert not one.task.done()
    store.fails.clear()
    assert await one.over() is None


async def test_with_sync_every_at_zero_they_are_looked_after_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr("jwt_middleware.core.open_tokens.LONGEST_PAUSE", 0.05)
    here = Site(f"sqlite:///{tmp_path}/grants.db", every=0)
    there = Site(f"sqlite:///{tmp_path}/grants.db", every=0)
    tokens = await here.login()
    one = socket(door(here), tokens.access_token)
    await until(lambda: one.sent)
    await there.issuer.arevoke(tokens.grant_id)
    here.clock.forward(1)
    assert await one.over() is None
    await here.settings.aclose()
    await there.settings.aclose()


async def test_a_closed_store_is_not_opened_by_what_is_still_open() -> None:
    site = Site(FaultyStore)
    one = socket(door(site), (await site.login()).access_token)
    await until(lambda: one.sent)
    store = Runtime.of(site.settings).store
    await site.settings.aclose()
    store.calls.clear()
    site.clock.forward(1)
    await looks()
    assert store.calls == []
    site.clock.forward(LIFE + LEEWAY)
    assert await one.over() is None


# Time, loops, processes


async def test_a_clock_that_is_set_back_ends_nothing() -> None:
    site = Site()
    tokens = await site.login()
    one = socket(door(site), tokens.access_token)
    await until(lambda: one.sent)
    site.clock.forward(-3600)
    await looks()
    assert not one.task.done()
    await site.issuer.arevoke(tokens.grant_id)
    assert await one.over() is None


async def test_a_clock_that_fails_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    site = Site()
    tokens = await site.login()
    one = socket(door(site), tokens.access_token)
    await until(lambda: one.sent)
    connections = Runtime.of(site.settings).open_connections()
    timed, faults = connections.tokens.timed, []

    class Broken:
        def time(self) -> float:
            faults.append(1)
            connections.tokens.timed = timed
            raise ZeroDivisionError

    connections.tokens.timed = Broken()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: faults.append(context["exception"]))
    await until(lambda: len(faults) == 2)
    site.clock.forward(LIFE + LEEWAY)
    assert await one.over() is None


def test_each_loop_looks_after_its_own() -> None:
    site = Site()

    async def one_loop() -> tuple[str, str]:
        tokens = await site.login()
        one = socket(door(site), tokens.access_token)
        await until(lambda: one.sent)
        return tokens.grant_id, tokens.access_token  # and the loop ends with it open

    grant_id, _ = asyncio.run(one_loop())
    connections = Runtime.of(site.settings).open_connections()
    site.issuer.revoke(grant_id)  # heard by a loop that is closed

    async def another() -> None:
        tokens = await site.login()
        one = socket(door(site), tokens.access_token)
        await until(lambda: one.sent)
        assert len(connections._by_loop) == 1
        await asyncio.to_thread(site.issuer.revoke, tokens.grant_id)
        assert await one.over() is None

    asyncio.run(another())


def test_a_forked_child_watches_nothing() -> None:
    site = Site()

    async def scenario() -> None:
        one = socket(door(site), (await site.login()).access_token)
        await until(lambda: one.sent)
        runtime = Runtime.of(site.settings)
        connections = runtime.open_connections()
        assert connections._by_loop
        runtime.reset()
        assert not connections._by_loop
        await one.close()

    asyncio.run(scenario())


async def test_the_heap_does_not_keep_what_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_connections, "MOST_GONE", 4)
    site = Site()
    token = (await site.login()).access_token
    app = door(site)
    stays = socket(app, token)
    for _ in range(12):
        one = socket(app, token)
        await until(partial(getattr, one, "sent"))
        one.receive({"type": "websocket.disconnect", "code": 1000})
        await one.over()
    home = Runtime.of(site.settings).open_connections().here()
    await until(lambda: len(home._ends) <= 1 + 4 + 1)
    site.clock.forward(LIFE + LEEWAY)
    assert await stays.over() is None


async def test_a_door_without_a_loop_passes_its_send_on() -> None:
    factory = TokenFactory()
    given: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        given.append(send)

    def send(message: Any) -> None: ...

    scope = http_scope(factory.token())
    call: Any = JWTMiddleware(app, factory.settings())

    def by_hand() -> None:
        with pytest.raises(StopIteration):
            call(scope, None, send).send(None)

    await asyncio.to_thread(by_hand)
    assert given == [send]


async def test_the_fields_that_a_server_has_used_up_are_those_of_an_event_stream() -> None:
    site = Site()
    one = await opened(site, streaming(iter(FILE)), (await site.login()).access_token)  # type: ignore[arg-type]
    site.clock.forward(LIFE + LEEWAY)
    assert isinstance(await one.over(), ConnectionCut)


@pytest.mark.parametrize(("headers", "ends"), [(EVENTS, True), (FILE, False)])
async def test_what_comes_before_the_start_changes_nothing(headers: Any, ends: bool) -> None:
    site = Site()

    async def hints(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.early_hint", "links": [b"</a>"]})
        await streaming(headers)(scope, receive, send)

    one = get(door(site, hints), (await site.login()).access_token)
    await until(lambda: len(one.sent) == 3)
    site.clock.forward(LIFE + LEEWAY)
    if ends:
        assert isinstance(await one.over(), ConnectionCut)
    else:
        await looks()
        assert not one.task.done()
        await one.close()


async def test_chunks_without_a_start_are_the_servers_to_refuse() -> None:
    site = Site()

    async def headless(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.body", "body": b"", "more_body": True})

    one = get(door(site, headless), (await site.login()).access_token)
    assert await one.over() is None


async def test_what_is_told_belongs_to_no_request() -> None:
    seen: list[Any] = []
    site = Site()
    settings = site.settings.replace(on_event=lambda event: seen.append(current_token()))
    issuer = Issuer(settings)
    tokens = await issuer.aissue("alice")
    one = socket(JWTMiddleware(echo, settings), tokens.access_token)
    await until(lambda: one.sent)
    site.clock.forward(LIFE + LEEWAY)
    assert await one.over() is None
    assert seen == [None, None]  # the login and the end


async def test_a_call_that_no_task_runs_is_refused_what_it_sends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = Site()
    tokens = await site.login()
    ended = asyncio.Event()

    async def rest(scope: Any, send: Any) -> None:
        await ended.wait()
        await send({"type": "http.response.body", "body": b"last"})

    app = door(site, streaming(FILE, rest))
    app._current_task = lambda loop=None: None
    one = get(app, tokens.access_token)
    await until(lambda: len(one.sent) == 2)
    await site.issuer.arevoke(tokens.grant_id)
    await until(lambda: site.ended)
    ended.set()
    assert isinstance(await one.over(), ConnectionCut)
    assert one.kinds == ["start", "body"]


async def test_two_middlewares_around_one_application() -> None:
    site = Site()
    tokens = await site.login()
    one = socket(door(site, door(site)), tokens.access_token)
    file = get(door(site, door(site, streaming(FILE))), tokens.access_token)
    await until(lambda: one.sent and file.sent)
    await site.issuer.arevoke(tokens.grant_id)
    assert await one.over() is None
    assert one.code == 4401
    assert isinstance(await file.over(), ConnectionCut)
    assert file.task.cancelling() == 0


async def test_what_is_sent_after_the_call_is_not_watched() -> None:
    site = Site()
    over = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    async def late(scope: Any, receive: Any, send: Any) -> None:
        async def stray() -> None:
            await over.wait()
            await streaming(FILE, lambda scope, send: asyncio.sleep(0))(scope, receive, send)

        tasks.append(asyncio.create_task(stray()))

    one = get(door(site, late), (await site.login()).access_token)
    assert await one.over() is None
    over.set()
    await tasks[0]
    assert one.kinds == ["start", "body"]
    assert not Runtime.of(site.settings).open_connections().here()._by_grant


def test_the_error_can_be_pickled() -> None:
    error = ConnectionCut(reasons.EXPIRED)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.reason) == (str(error), "expired")
