"""The ASGI door by itself: what it hands on, what it leaves alone, and what it sends."""

import asyncio
from types import MappingProxyType
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction

from jwt_middleware import ConfigurationError, Route, current_token
from jwt_middleware.asgi import JWTMiddleware
from jwt_middleware.testing import TokenFactory
from tests.rules import refuses
from tests.wrapped import FACTORY, SETTINGS, forged

Messages = list[dict[str, Any]]


def headers(fields: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in fields.items()]


def http(path: str = "/me", fields: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """Return the scope of a GET, with alice's token unless other fields are given."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers(FACTORY.bearer() if fields is None else fields),
    }
    return scope | more


def websocket(fields: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    scope = http(fields=fields) | {"type": "websocket", "subprotocols": []} | more
    del scope["method"]
    return scope


async def call(app: Any, scope: dict[str, Any], *received: dict[str, Any]) -> Messages:
    """Call `app` as a server does, and return what it sent."""
    coming, sent = list(received), []

    async def receive() -> dict[str, Any]:
        return coming.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


class Inside:
    """An application that keeps what it was given."""

    scope: dict[str, Any]
    calls = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope, self.receive, self.send = scope, receive, send
        self.calls += 1
        self.current = current_token()


@pytest.fixture
def inside() -> Inside:
    return Inside()


@pytest.fixture
def app(inside: Inside) -> JWTMiddleware:
    return JWTMiddleware(inside, SETTINGS)


# What is handed on


async def test_the_scope_is_copied_and_ours_stands_in_the_copy_only(
    app: JWTMiddleware, inside: Inside
) -> None:
    scope = http(client=("203.0.113.9", 1), server=("api.example", 443))
    before = dict(scope)
    await call(app, scope)
    assert scope == before
    assert inside.scope is not scope
    ours = {"jwt_middleware.token", "jwt_middleware.door", "user", "auth", "state"}
    # The key that a login proved: not in a request whose token is known, which is no login.
    assert inside.scope.keys() - scope.keys() in (ours, ours | {"jwt_middleware.proof"})
    assert {name: inside.scope[name] for name in before} == before
    assert inside.scope["jwt_middleware.token"].subject == "alice"


async def test_what_came_in_under_our_names_is_overwritten(
    app: JWTMiddleware, inside: Inside
) -> None:
    theirs = {"jwt_middleware.token": "root", "user": "root", "auth": "root"}
    await call(app, http("/open", {}, state={"jwt": "root"}, **theirs))
    assert inside.scope["jwt_middleware.token"] is inside.scope["state"]["jwt"] is None
    assert inside.scope["user"].is_authenticated is False
    assert inside.scope["auth"].scopes == ()


async def test_the_state_of_the_request_is_kept(app: JWTMiddleware, inside: Inside) -> None:
    pool = object()
    state = {"pool": pool}
    await call(app, http(state=state))
    assert inside.scope["state"] is state
    assert state == {"pool": pool, "jwt": inside.scope["jwt_middleware.token"]}


async def test_without_a_state_each_request_gets_its_own(
    app: JWTMiddleware, inside: Inside
) -> None:
    scope = http()
    await call(app, scope)
    first = inside.scope["state"]
    await call(app, scope)
    assert "state" not in scope
    assert inside.scope["state"] is not first


async def test_a_scope_of_any_mapping_with_no_root_is_read(
    app: JWTMiddleware, inside: Inside
) -> None:
    scope: Any = MappingProxyType(http(root_path=None))
    await call(app, scope)
    assert inside.scope["user"].display_name == "alice"


async def test_receive_is_the_servers_own_and_a_websockets_send(inside: Inside) -> None:
    receive, send = object(), object()
    door: Any = JWTMiddleware(inside, SETTINGS)
    await door(http(), receive, send)
    assert inside.receive is receive
    await door(websocket(), receive, send)
    assert (inside.receive, inside.send) == (receive, send)
    # Without a token there is nothing to watch.
    await door(http("/open", {}), receive, send)
    assert (inside.receive, inside.send) == (receive, send)


async def test_send_returns_what_the_servers_own_returns(inside: Inside) -> None:
    answers = [object(), object()]
    sent: list[Any] = []

    def send(message: Any) -> Any:
        sent.append(message)
        return answers[len(sent) - 1]

    door: Any = JWTMiddleware(inside, SETTINGS)
    await door(http(), None, send)
    messages: list[Any] = [
        {"type": "http.response.start", "status": 200},
        {"type": "http.response.body", "more_body": False},
    ]
    watched: Any = inside.send
    assert [watched(message) for message in messages] == answers
    assert all(one is other for one, other in zip(sent, messages, strict=True))
    assert iscoroutinefunction(inside.send)  # pyright: ignore[reportDeprecated]  (asgiref asks)


async def test_the_first_parameter_is_called_app(inside: Inside) -> None:
    await call(JWTMiddleware(app=inside, settings=SETTINGS), http())
    assert inside.calls == 1


@refuses("RS-37")
async def test_a_client_that_speaks_for_itself_is_no_user(
    app: JWTMiddleware, inside: Inside
) -> None:
    robot = FACTORY.bearer(sub="robot", client_id="robot", scope="read")
    await call(app, http(fields=robot))
    assert inside.scope["jwt_middleware.token"].is_client
    user = inside.scope["user"]
    assert (user.is_authenticated, user.display_name, user.identity) == (False, "", "")
    # It was authenticated all the same, and may do what its scope says.
    assert inside.scope["auth"].scopes == ("read", "authenticated")


async def test_a_subject_beyond_ascii_comes_as_it_is(app: JWTMiddleware, inside: Inside) -> None:
    await call(app, http(fields=FACTORY.bearer(sub="Žofie 🦊")))
    assert inside.scope["user"].identity == "Žofie 🦊"


@pytest.mark.parametrize(
    ("path", "root", "public"),
    [
        ("/open", "", True),
        ("/api/open", "/api", True),  # as uvicorn, and a mount, put it
        ("/api/open", "/api/", False),
        ("/open", "/api", True),  # as hypercorn and granian do
        ("/apiopen", "/api", False),
        ("/apix/open", "/api", False),
        ("/api/api/open", "/api", False),
        ("/api", "/api", False),
        ("/open/open", "/open", True),
        ("/éé/open", "/éé", True),
    ],
)
async def test_a_root_is_cut_at_a_segment_only(
    inside: Inside, path: str, root: str, public: bool
) -> None:
    settings = SETTINGS.replace(routes=(Route("/open", public=True),))
    sent = await call(JWTMiddleware(inside, settings), http(path, {}, root_path=root))
    assert inside.calls == public
    assert [message.get("status") for message in sent if "status" in message] == [401] * (
        not public
    )


async def test_the_raw_path_and_the_query_mean_nothing(app: JWTMiddleware, inside: Inside) -> None:
    await call(app, http("/me", {}, raw_path=b"/open", query_string=b"/open"))
    await call(app, http("/me", {"Host": "api.example/open?", "X-Original-Url": "/open"}))
    assert inside.calls == 0


# What is left alone


@pytest.mark.parametrize("error", [ValueError("theirs"), asyncio.CancelledError("theirs")])
async def test_what_the_application_raises_is_the_same_object(error: BaseException) -> None:
    async def fails(scope: Any, receive: Any, send: Any) -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        await call(JWTMiddleware(fails, SETTINGS), http())
    assert raised.value is error
    assert raised.value.__context__ is None
    assert current_token() is None


async def test_lifespan_passes_as_it_is(app: JWTMiddleware, inside: Inside) -> None:
    state: dict[str, Any] = {}
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": state}
    receive, send = object(), object()
    await app(scope, receive, send)  # type: ignore[arg-type]
    assert inside.scope is scope
    assert scope.keys() == {"type", "asgi", "state"}
    assert state == {}
    assert (inside.receive, inside.send, inside.current) == (receive, send, None)


@pytest.mark.parametrize("kind", ["telnet", "", "HTTP", "websocket.http", None])
async def test_a_scope_of_another_type_goes_nowhere(
    app: JWTMiddleware, inside: Inside, kind: Any
) -> None:
    with pytest.raises(RuntimeError, match=f"scope type {kind!r} can't be checked"):
        await call(app, http() | {"type": kind})
    assert inside.calls == 0


# Whose token is current


async def test_tasks_side_by_side_see_their_own_token() -> None:
    seen: list[tuple[str, str]] = []
    everyone = asyncio.Barrier(5)

    async def inside(scope: Any, receive: Any, send: Any) -> None:
        mine = scope["jwt_middleware.token"]
        for _ in range(3):
            await everyone.wait()
            token = current_token()
            assert token is not None
            assert token is mine
            seen.append((mine.subject, token.subject))

    app = JWTMiddleware(inside, SETTINGS)
    await asyncio.gather(
        *(call(app, http(fields=FACTORY.bearer(sub=f"user{n}"))) for n in range(5))
    )
    assert set(seen) == {(f"user{n}", f"user{n}") for n in range(5)}
    assert len(seen) == 15


async def test_a_task_that_the_application_starts_keeps_the_token() -> None:
    started: list[asyncio.Task[str]] = []
    answered = asyncio.Event()

    async def later() -> str:
        await answered.wait()
        token = current_token()
        return token.subject if token else "nobody"

    async def inside(scope: Any, receive: Any, send: Any) -> None:
        started.append(asyncio.create_task(later()))

    await call(JWTMiddleware(inside, SETTINGS), http())
    assert current_token() is None
    answered.set()
    assert await started[0] == "alice"


async def test_one_door_inside_another_has_its_own_word(app: JWTMiddleware, inside: Inside) -> None:
    outer = JWTMiddleware(app, SETTINGS.replace(routes=()))
    await call(outer, http())
    assert inside.current is inside.scope["jwt_middleware.token"]
    assert current_token() is None
    await call(outer, http("/open"))
    assert inside.current is inside.scope["jwt_middleware.token"] is None


# What is sent


async def test_a_refusal_is_one_start_and_one_body(app: JWTMiddleware, inside: Inside) -> None:
    start, body = await call(app, http(fields=forged()))
    assert (start["type"], start["status"]) == ("http.response.start", 401)
    assert body["type"] == "http.response.body"
    found = dict(start["headers"])
    assert all(type(one) is bytes for pair in start["headers"] for one in pair)
    assert all(name == name.lower() for name in found)
    assert int(found[b"content-length"]) == len(body["body"]) > 0
    assert not body.get("more_body")
    assert inside.calls == 0


async def test_two_authorization_fields_are_refused(app: JWTMiddleware, inside: Inside) -> None:
    twice = headers(FACTORY.bearer()) * 2
    start, _ = await call(app, http() | {"headers": twice})
    assert (start["status"], inside.calls) == (400, 0)


async def test_an_empty_authorization_field_is_one_too(app: JWTMiddleware, inside: Inside) -> None:
    good = headers(FACTORY.bearer())
    await call(app, http() | {"headers": good})  # from now on the token is known
    for twice in ([(b"authorization", b""), *good], [*good, (b"authorization", b"")]):
        start, _ = await call(app, http() | {"headers": twice})
        assert (start["status"], inside.calls) == (400, 1)


async def test_a_head_request_is_refused_without_content(app: JWTMiddleware) -> None:
    start, body = await call(app, http(fields={}) | {"method": "HEAD"})
    assert (start["status"], body["body"]) == (401, b"")
    # RFC 9110 s9.3.2: the fields are those of a GET.
    assert int(dict(start["headers"])[b"content-length"]) > 0


CONNECT = {"type": "websocket.connect"}
DENIAL: dict[str, Any] = {"websocket.http.response": {}}


@pytest.mark.parametrize("extensions", [DENIAL, DENIAL | {"tls": {}}])
@pytest.mark.parametrize(("fields", "status"), [({}, 401), ({"Authorization": "Bearer"}, 400)])
async def test_a_websocket_is_refused_by_an_answer_where_the_server_can_send_one(
    app: JWTMiddleware, inside: Inside, extensions: Any, fields: dict[str, str], status: int
) -> None:
    start, body = await call(app, websocket(fields, extensions=extensions), CONNECT)
    assert (start["type"], start["status"]) == ("websocket.http.response.start", status)
    assert b"www-authenticate" in dict(start["headers"])
    assert (body["type"], body["body"][:1]) == ("websocket.http.response.body", b"{")
    assert inside.calls == 0


@pytest.mark.parametrize("more", [{}, {"extensions": None}, {"extensions": {"tls": {}}}])
async def test_a_websocket_is_closed_before_it_is_accepted_elsewhere(
    app: JWTMiddleware, inside: Inside, more: dict[str, Any]
) -> None:
    sent = await call(app, websocket(forged(), **more), CONNECT)
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": ""}]
    assert inside.calls == 0


async def test_nothing_is_sent_to_a_websocket_that_has_gone(app: JWTMiddleware) -> None:
    gone = {"type": "websocket.disconnect", "code": 1006}
    assert await call(app, websocket({}, extensions=DENIAL), gone) == []


@pytest.mark.parametrize("path", ["/open", "/me"])
async def test_a_websocket_that_may_pass_is_left_to_the_application(
    app: JWTMiddleware, inside: Inside, path: str
) -> None:
    assert await call(app, websocket(path=path), CONNECT) == []
    assert (inside.calls, inside.scope["type"]) == (1, "websocket")
    token = inside.scope["jwt_middleware.token"]
    assert (token is None) is (path == "/open")
    assert inside.current is inside.scope["state"]["jwt"] is token


async def test_a_websocket_counts_as_a_get(inside: Inside) -> None:
    routes = (
        Route("/chat", methods=("GET",), public=True),
        Route("/news", methods=("POST",), public=True),
    )
    app = JWTMiddleware(inside, SETTINGS.replace(routes=routes))
    assert await call(app, websocket({}, path="/chat"), CONNECT) == []
    (closed,) = await call(app, websocket({}, path="/news"), CONNECT)
    assert (closed["type"], inside.calls) == ("websocket.close", 1)


def test_an_application_that_changes_the_path_inside_us_is_refused_at_construction() -> None:
    # FastAPI(root_path=...) moves the root after the rules have read the path.
    class Rooted(Inside):
        root_path = "/api"

    with pytest.raises(ConfigurationError, match="root_path='/api'"):
        JWTMiddleware(Rooted(), SETTINGS)

    class Foldered(Rooted):
        import_name = "flask_like"  # there, `root_path` is a folder

    assert isinstance(JWTMiddleware(Foldered(), SETTINGS).app, Foldered)


def test_another_event_loop_is_refused_at_the_start() -> None:
    # Driven by hand, as trio would; the test with hypercorn on trio is among those of the servers.
    told: list[Any] = []

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        told.append(message)

    door = JWTMiddleware(receive, TokenFactory().settings())  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="the ASGI door needs asyncio"):
        door({"type": "lifespan"}, receive, send).send(None)
    assert [one["type"] for one in told] == ["lifespan.startup.failed"]
    assert "hypercorn --worker-class asyncio" in told[0]["message"]
