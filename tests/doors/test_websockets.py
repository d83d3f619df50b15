"""Websockets: tokens among the subprotocols, refusals that a page can see, and fresh tokens."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jwt_middleware import (
    ConfigurationError,
    Cookies,
    Route,
    Unavailable,
    WebSockets,
    current_token,
)
from jwt_middleware.asgi import JWTMiddleware, is_current, renew
from jwt_middleware.process.runtime import Runtime
from jwt_middleware.request import subprotocol
from jwt_middleware.testing import TokenFactory
from jwt_middleware.values.errors import ConnectionCut, OAuthError
from tests.issuing import REFRESH, FaultyStore, form_octets, posted, refresh_form
from tests.rules import accepts, refuses
from tests.world import by_asgi

from .connecting import Opened, Site, door, echo, looks, socket, until

FACTORY = TokenFactory()
SUBPROTOCOL = FACTORY.settings(websockets=WebSockets(subprotocol=True))
EXPLAIN = WebSockets(subprotocol=True, explain=True)
LEEWAY, LIFE = 30, 600


class Seen:
    """A websocket application that keeps its scope, and accepts with what it is told."""

    def __init__(self, **accept: Any) -> None:
        self.scope: dict[str, Any] = {}
        self._accept = accept

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        await receive()
        await send({"type": "websocket.accept", **self._accept})
        await send({"type": "websocket.send", "text": "hello"})
        await send({"type": "websocket.close", "code": 1000})


def offering(app: Any, *offered: str, headers: Any = (), path: str = "/ws") -> Opened:
    fields = [(b"sec-websocket-protocol", ", ".join(offered).encode())] if offered else []
    return socket(
        app, None, path, headers=[*fields, *headers], subprotocols=list(offered), extensions={}
    )


# The token in Sec-WebSocket-Protocol


@accepts("RS-68")
async def test_a_token_among_the_subprotocols_lets_in_and_is_taken_out() -> None:
    inside = Seen()
    one = offering(JWTMiddleware(inside, SUBPROTOCOL), "bearer", FACTORY.token())
    assert await one.over() is None
    assert one.sent[0] == {"type": "websocket.accept", "subprotocol": "bearer"}
    assert inside.scope["jwt_middleware.token"].subject == "alice"
    assert inside.scope["subprotocols"] == []
    assert inside.scope["headers"] == []


@accepts("RS-68")
@pytest.mark.parametrize("at", [0, 1, 2])
async def test_the_application_chooses_among_the_others(at: int) -> None:
    inside = Seen(subprotocol="chat.v2")
    offered = ["chat.v1", "chat.v2"]
    offered[at:at] = ["bearer", FACTORY.token()]
    one = offering(JWTMiddleware(inside, SUBPROTOCOL), *offered, headers=[(b"origin", b"x")])
    assert await one.over() is None
    assert one.sent[0]["subprotocol"] == "chat.v2"
    assert inside.scope["subprotocols"] == ["chat.v1", "chat.v2"]
    assert inside.scope["headers"] == [
        (b"origin", b"x"),
        (b"sec-websocket-protocol", b"chat.v1, chat.v2"),
    ]


@accepts("RS-68")
async def test_without_the_word_everything_stays() -> None:
    inside = Seen()
    bearer = FACTORY.bearer()["Authorization"].encode()
    app = JWTMiddleware(inside, SUBPROTOCOL)
    one = offering(app, "chat", headers=[(b"authorization", bearer)])
    assert await one.over() is None
    assert one.sent[0] == {"type": "websocket.accept"}
    assert inside.scope["subprotocols"] == ["chat"]


@refuses("RS-68")
async def test_a_token_among_the_subprotocols_counts_only_where_configured() -> None:
    inside, token = Seen(), FACTORY.token()
    one = offering(JWTMiddleware(inside, FACTORY.settings()), "bearer", token)
    assert await one.over() is None
    assert one.kinds == ["close"]
    assert inside.scope == {}


@refuses("RS-68")
async def test_on_a_public_route_the_token_is_taken_out_as_well() -> None:
    inside, token = Seen(), FACTORY.token()
    settings = SUBPROTOCOL.replace(routes=(Route("/open", public=True),))
    one = offering(JWTMiddleware(inside, settings), "bearer", token, path="/open")
    assert await one.over() is None
    assert token not in str(inside.scope)
    assert token not in str(one.sent)
    assert inside.scope["jwt_middleware.token"] is None


@refuses("RS-68")
async def test_in_a_request_that_is_no_websocket_it_counts_for_nothing() -> None:
    field = [(b"sec-websocket-protocol", f"bearer, {FACTORY.token()}".encode())]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": field}
    app = JWTMiddleware(echo, SUBPROTOCOL)
    one = Opened(app, scope, {"type": "http.request", "body": b""})
    assert await one.over() is None
    assert one.sent[0]["status"] == 401


@refuses("RS-68")
@pytest.mark.parametrize(
    ("offered", "reason"),
    [
        (["bearer"], "credentials_malformed"),
        (["chat", "bearer"], "credentials_malformed"),
        (["bearer", "{token}", "bearer", "{token}"], "credentials_twice"),
        (["bearer", "bearer", "{token}"], "credentials_twice"),
        (["bearer", "a b"], "credentials_malformed"),
        (["bearer", "x" * 9000], "token_too_long"),
        (["bearer", "chat", "{token}"], "token_segments"),
        (["Bearer", "{token}"], "credentials_missing"),
        (["{token}"], "credentials_missing"),
    ],
)
async def test_anything_else_is_refused_and_never_told(offered: list[str], reason: str) -> None:
    events: list[Any] = []
    token = FACTORY.token()
    app = JWTMiddleware(echo, SUBPROTOCOL.replace(on_event=events.append))
    one = offering(app, *[name.format(token=token) for name in offered])
    assert await one.over() is None
    assert one.kinds == ["close"]
    assert [event.reason for event in events] == [reason]
    assert token not in repr((events, one.sent))


@refuses("RS-03", "RS-68")
async def test_a_second_token_in_the_header_is_refused() -> None:
    events: list[Any] = []
    app = JWTMiddleware(echo, SUBPROTOCOL.replace(on_event=events.append))
    bearer = FACTORY.bearer()["Authorization"].encode()
    one = offering(app, "bearer", FACTORY.token(), headers=[(b"authorization", bearer)])
    assert await one.over() is None
    assert [event.reason for event in events] == ["credentials_twice"]


def test_a_name_that_is_shown_is_never_a_token() -> None:
    token = FACTORY.token()
    assert subprotocol.shown([]) is None
    assert subprotocol.shown([token]) is None
    assert subprotocol.shown([token, "chat"]) == "chat"
    assert subprotocol.shown(["chat", "bearer", token]) == "bearer"


@pytest.mark.parametrize(
    "given", [{"close_code": 1000}, {"close_code": True}, {"explain": 1}, {"subprotocol": None}]
)
def test_the_group_is_checked(given: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"websockets\.{next(iter(given))}"):
        WebSockets(**given)
    with pytest.raises(ConfigurationError, match="websockets"):
        FACTORY.settings(websockets=given)


# Refusals that a page can see


@pytest.mark.parametrize(
    ("token", "path", "code"),
    [
        ({"exp": 1}, "/ws", 4401),
        ({"scope": "read"}, "/admin", 4403),
        ({"scope": "read"}, "/recent", 4403),
        (None, "/ws", 4401),
    ],
)
async def test_a_page_sees_why_it_is_not_let_in(token: Any, path: str, code: int) -> None:
    settings = FACTORY.settings(
        websockets=EXPLAIN, routes=(Route("/admin", scope="admin"), Route("/recent", max_age=60))
    )
    offered = () if token is None else ("bearer", FACTORY.token(**token))
    one = offering(JWTMiddleware(echo, settings), *offered, path=path)
    assert await one.over() is None
    assert one.sent == [
        {
            "type": "websocket.accept",
            "subprotocol": "bearer" if offered else None,
            "headers": [],
        },
        {"type": "websocket.close", "code": code, "reason": ""},
    ]


async def test_a_malformed_handshake_is_refused_as_ever() -> None:
    settings = FACTORY.settings(websockets=EXPLAIN)
    one = offering(JWTMiddleware(echo, settings), "bearer")
    assert await one.over() is None
    assert one.kinds == ["close"]
    gone = Opened(
        JWTMiddleware(echo, settings),
        {"type": "websocket", "path": "/", "headers": []},
        {"type": "websocket.disconnect"},
    )
    assert await gone.over() is None
    assert gone.sent == []


async def test_a_page_may_try_again_later() -> None:
    site = Site(FaultyStore, websockets=EXPLAIN)
    token = (await site.login()).access_token
    app = door(site)
    Runtime.of(site.settings).store.fails.add("ended")
    one = socket(app, token)
    assert await one.over() is None
    assert one.code == 1013


@refuses("RS-09")
@pytest.mark.parametrize(
    ("origin", "kinds"),
    [
        ("https://login.example", ["accept", "close"]),
        ("https://app.example", ["accept", "close"]),
        ("https://evil.example", ["close"]),
        (None, ["accept", "close"]),
    ],
)
async def test_another_sites_page_does_not_learn_about_cookies(origin: Any, kinds: Any) -> None:
    site = Site(
        websockets=EXPLAIN,
        origins=("https://app.example",),
        refresh={"cookies": Cookies(access=True)},
    )
    fields = [] if origin is None else [(b"origin", origin.encode())]
    one = offering(door(site), headers=fields)
    assert await one.over() is None
    assert one.kinds == kinds


# Fresh tokens


class Renewing:
    """An application that renews with each text, and answers with what came of it."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            try:
                token = await renew(scope, message["text"])
            except (OAuthError, OSError) as error:
                await send({"type": "websocket.send", "text": type(error).__name__})
            else:
                assert token is scope["jwt_middleware.token"] is current_token()
                assert scope["state"]["jwt"] is token
                assert scope["user"].display_name == "alice"
                scopes = " ".join(scope["auth"].scopes)
                await send({"type": "websocket.send", "text": scopes})


async def renewed(one: Opened, text: str) -> str:
    before = len(one.sent)
    one.receive({"type": "websocket.receive", "text": text})
    await until(lambda: len(one.sent) > before)
    answer: str = one.sent[-1]["text"]
    return answer


async def refreshed(site: Site, tokens: Any, **parameters: str) -> str:
    """Return a fresh access token of the same grant."""
    body = form_octets(refresh_form(tokens.refresh_token, **parameters))
    _, _, answer = await by_asgi(door(site), posted(REFRESH, body))
    text: str = json.loads(answer)["access_token"]
    return text


@accepts("RS-67")
async def test_a_websocket_goes_on_with_a_fresh_token() -> None:
    site = Site()
    tokens = await site.login(scope="read")
    one = socket(door(site, Renewing()), tokens.access_token)
    await until(lambda: one.sent)
    site.clock.forward(500)
    assert await renewed(one, await refreshed(site, tokens)) == "read authenticated"
    site.clock.forward(LIFE + LEEWAY - 500)
    await looks()
    assert not one.task.done()
    site.clock.forward(500)
    assert await one.over() is None
    assert site.ended == [("expired", "websocket")]


@refuses("RS-67")
async def test_a_websocket_goes_on_with_no_other_token() -> None:
    site = Site(routes=(Route("/ws", scope="read"),))
    tokens = await site.login(scope="read")
    one = socket(door(site, Renewing()), tokens.access_token)
    await until(lambda: one.sent)
    site.clock.forward(500)
    other_user = await site.login("bob", scope="read")
    other_grant = await site.login(scope="read")
    assert await renewed(one, other_user.access_token) == "InvalidToken"
    assert await renewed(one, other_grant.access_token) == "InvalidToken"
    assert await renewed(one, tokens.refresh_token) == "InvalidToken"
    assert await renewed(one, "no token ä") == "InvalidRequest"
    assert await renewed(one, "") == "InvalidRequest"
    told = [event for event in site.events if event.name == "refused"]
    assert [event.reason for event in told][:2] == ["renewed_by_another_login"] * 2
    assert {event.path for event in told} == {"/ws"}
    # It goes on with the token that it has, to its end.
    site.clock.forward(LIFE + LEEWAY - 500)
    assert await one.over() is None
    assert one.code == 4401


@refuses("RS-67")
async def test_a_websocket_goes_on_with_no_other_user() -> None:
    # Without grants only the subject tells two logins apart.
    now = FACTORY.clock()
    settings = FACTORY.settings(clock=lambda: now)
    one = socket(JWTMiddleware(Renewing(), settings), FACTORY.token(sub="alice", iat=now))
    await until(lambda: one.sent)
    assert await renewed(one, FACTORY.token(sub="bob", iat=now)) == "InvalidToken"
    assert await renewed(one, FACTORY.token(sub="alice", iat=now)) == "authenticated"
    await one.close()


@refuses("RS-67")
async def test_an_expired_token_and_a_smaller_scope_renew_nothing() -> None:
    site = Site(routes=(Route("/ws", scope="write"),))
    tokens = await site.login(scope="read write")
    app = door(site, Renewing())
    one = socket(app, tokens.access_token)
    await until(lambda: one.sent)
    narrow = await refreshed(site, tokens, scope="read")
    assert await renewed(one, narrow) == "InsufficientScope"
    site.clock.forward(LIFE + LEEWAY - 31)
    fresh = await refreshed(site, tokens)
    assert await renewed(one, fresh) == "read write authenticated"
    site.clock.forward(31)
    assert await renewed(one, tokens.access_token) == "InvalidToken"
    await one.close()


async def test_it_is_too_late_when_the_websocket_has_ended() -> None:
    site = Site()
    tokens = await site.login()
    caught: list[BaseException] = []

    async def late(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "websocket.disconnect":
            pass
        site.clock.forward(-LIFE)  # the token is good again, but not for this connection
        try:
            await renew(scope, tokens.access_token)
        except ConnectionCut as error:
            caught.append(error)

    one = socket(door(site, late), tokens.access_token)
    await looks(1)
    site.clock.forward(LIFE + LEEWAY)
    assert await one.over() is None
    assert [str(error.reason) for error in caught] == ["expired"]  # type: ignore[attr-defined]


async def test_a_kept_websocket_may_be_renewed_as_well() -> None:
    site = Site(routes=(Route("/ws", connections="keep"),))
    tokens = await site.login()
    one = socket(door(site, Renewing()), tokens.access_token)
    await until(lambda: one.sent)
    assert await renewed(one, await refreshed(site, tokens)) == "authenticated"
    await one.close()


@pytest.mark.parametrize("scope", [{}, {"jwt_middleware.connection": None}])
async def test_only_a_websocket_that_came_with_a_token_can_be_renewed(scope: Any) -> None:
    with pytest.raises(RuntimeError, match="websocket"):
        await renew(scope, FACTORY.token())


async def test_an_optional_route_cannot_be_renewed_without_a_login() -> None:
    site = Site(routes=(Route("/ws", optional=True),))
    seen = Seen()
    one = socket(door(site, seen), None)
    assert await one.over() is None
    with pytest.raises(RuntimeError, match="websocket"):
        await renew(seen.scope, FACTORY.token())


# is_current


@accepts("RS-67")
@refuses("RS-67")
async def test_a_token_is_current_until_it_expires_or_its_grant_ends() -> None:
    site = Site()
    inside = Seen()
    tokens, other = await site.login(), await site.login()
    verified = []
    for one in (tokens, other):
        await socket(door(site, inside), one.access_token).over()
        verified.append(inside.scope["jwt_middleware.token"])
    assert await is_current(verified[0], site.settings)
    await site.issuer.arevoke(tokens.grant_id)
    assert not await is_current(verified[0], site.settings)
    assert await is_current(verified[1], site.settings)
    site.clock.forward(LIFE + LEEWAY)
    assert not await is_current(verified[1], site.settings)


async def test_whether_a_token_is_current_may_not_be_known() -> None:
    site = Site(FaultyStore)
    inside = Seen()
    await socket(door(site, inside), (await site.login()).access_token).over()
    Runtime.of(site.settings).store.fails.add("ended")
    site.clock.forward(300)
    with pytest.raises(Unavailable):
        await is_current(inside.scope["jwt_middleware.token"], site.settings)
