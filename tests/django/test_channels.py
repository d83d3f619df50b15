"""The door for Channels, which websockets go through, because they never pass `MIDDLEWARE`."""

from collections.abc import Iterator
from typing import Any

import pytest
from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.contrib.auth import get_user_model
from django.test import Client, modify_settings, override_settings
from django.urls import path
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from jwt_middleware import Cookies, Refresh
from jwt_middleware.django.channels import JWTAuthMiddleware
from jwt_middleware.issuer import Issuer
from jwt_middleware.testing import Clock
from jwt_middleware.values.events import Refused
from tests.django.asking import bearer, tables
from tests.django.project import JWT
from tests.rules import refuses


class Chat(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        await self.accept()
        scope: Any = self.scope  # to Channels' own types it is Django's
        user, token = scope["user"], scope["jwt_middleware.token"]
        assert "jwt_middleware.user_outside" not in scope
        seen = {"user": user.get_username(), "in": user.is_authenticated, "pk": user.pk}
        await self.send_json({**seen, "sub": token and token.subject})
        await self.close()


class Waits(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        await self.accept()


PATHS: Any = [path(name, Chat.as_asgi()) for name in ("chat", "open")]
PATHS += [path("waits", Waits.as_asgi())]
SOCKETS = URLRouter(PATHS)
NOBODY = {"user": "", "in": False, "pk": None}


@pytest.fixture(autouse=True, scope="module")
def _tables() -> None:
    tables()


@pytest.fixture
def alice() -> Iterator[Any]:
    one = get_user_model().objects.create_user("alice")
    yield one
    get_user_model().objects.all().delete()


def client(inner: Any = SOCKETS, outside: Any = None) -> TestClient:
    door: Any = JWTAuthMiddleware(inner)
    app: Any = ProtocolTypeRouter({"websocket": outside(door) if outside else door})
    return TestClient(app, base_url="https://testserver")


def first_words(one: TestClient, where: str, headers: Any = ()) -> Any:
    with one.websocket_connect(where, headers=dict(headers)) as socket:
        return socket.receive_json()


def test_the_user_of_a_socket_is_the_tokens(alice: Any) -> None:
    one = client()
    for _ in range(2):  # a known token's user is looked up again: it may have been locked out
        seen = first_words(one, "/chat", bearer(alice.pk))
        assert seen == {"user": "alice", "in": True, "pk": alice.pk, "sub": str(alice.pk)}


def test_no_token_opens_nothing() -> None:
    for headers in ({}, {"Authorization": "Bearer a.b.c"}, bearer(1, exp=0)):
        with pytest.raises(WebSocketDenialResponse) as refused:
            first_words(client(), "/chat", headers)
        assert refused.value.status_code == 401
    with pytest.raises(WebSocketDenialResponse):
        first_words(client(), "/nowhere")


def test_a_user_who_is_not_there_or_not_active_is_refused(alice: Any) -> None:
    events: list[Any] = []
    alice.is_active = False
    alice.save()
    for subject in (alice.pk, "nobody"):
        settings = override_settings(JWT_MIDDLEWARE=JWT.replace(on_event=events.append))
        with settings, pytest.raises(WebSocketDenialResponse) as refused:
            first_words(client(), "/chat", bearer(subject))
        assert refused.value.status_code == 401
        assert 'error="invalid_token"' in refused.value.headers["WWW-Authenticate"]
    assert [one.reason for one in events if isinstance(one, Refused)] == ["user_refused"] * 2


def test_a_client_is_nobody(alice: Any) -> None:
    headers = bearer(alice.pk, client_id=str(alice.pk))
    assert first_words(client(), "/chat", headers) == {**NOBODY, "sub": str(alice.pk)}


def test_a_public_socket_has_whom_djangos_session_says(alice: Any) -> None:
    assert first_words(client(), "/open") == {**NOBODY, "sub": None}
    browser = Client()
    browser.force_login(alice)
    cookie = {"Cookie": f"sessionid={browser.cookies['sessionid'].value}"}
    outside = client(outside=AuthMiddlewareStack)
    assert first_words(outside, "/open", cookie)["user"] == "alice"
    # On a route that needs a token the session isn't asked.
    bob = get_user_model().objects.create_user("bob")
    assert first_words(outside, "/chat", bearer(bob.pk) | cookie)["user"] == "bob"
    with pytest.raises(WebSocketDenialResponse):
        first_words(outside, "/chat", cookie)
    inside = client(AuthMiddlewareStack(SOCKETS))
    assert first_words(inside, "/chat", bearer(bob.pk) | cookie)["user"] == "bob"


def test_in_cookie_mode_other_sites_pages_open_nothing(alice: Any) -> None:
    group = Refresh(store="memory://", cookies=Cookies(access=True))
    settings = JWT.replace(refresh=group)
    tokens = Issuer(settings).issue(str(alice.pk))
    jar = "; ".join(value.partition(";")[0] for _, value in tokens.cookies)
    page, one = {"Cookie": jar, "Origin": JWT.issuer}, client()
    with override_settings(JWT_MIDDLEWARE=settings):
        assert first_words(one, "/chat", page)["user"] == "alice"
        with pytest.raises(WebSocketDenialResponse) as refused:
            first_words(one, "/chat", page | {"Origin": "https://evil.example"})
    assert refused.value.status_code == 403


def test_a_door_made_before_goes_by_the_settings_of_a_test(alice: Any) -> None:
    one, settings = client(), JWT.replace(refresh=Refresh(store="memory://"))
    issuer = Issuer(settings)
    sent = {"Authorization": f"Bearer {issuer.issue(str(alice.pk)).access_token}"}
    with override_settings(JWT_MIDDLEWARE=settings):
        assert first_words(one, "/chat", sent)["user"] == "alice"
        issuer.revoke_all(str(alice.pk))
        with pytest.raises(WebSocketDenialResponse):
            first_words(one, "/chat", sent)
    assert first_words(one, "/chat", bearer(alice.pk))["user"] == "alice"


def test_a_project_without_users_has_the_tokens_own() -> None:
    class Seen(AsyncJsonWebsocketConsumer):
        async def connect(self) -> None:
            await self.accept()
            scope: Any = self.scope
            await self.send_json(scope["user"].display_name)
            await self.close()

    paths: Any = [path("chat", Seen.as_asgi())]
    no_users = {"remove": ["django.contrib.auth", "django.contrib.admin"]}
    with modify_settings(INSTALLED_APPS=no_users):
        one = client(URLRouter(paths))
    assert first_words(one, "/chat", bearer("alice")) == "alice"


@refuses("RS-67")
@pytest.mark.parametrize("reason", ["grant_ended", "expired"])
def test_a_socket_is_closed_when_its_login_ends_and_when_its_token_expires(
    reason: str, alice: Any
) -> None:
    clock = Clock()
    settings = JWT.replace(clock=clock, refresh=Refresh(store="memory://"))
    issuer = Issuer(settings)
    tokens = issuer.issue(str(alice.pk))
    headers = {"Authorization": f"Bearer {tokens.access_token}"}
    with (
        override_settings(JWT_MIDDLEWARE=settings),  # its store is the issuer's
        client().websocket_connect("/waits", headers=headers) as socket,
    ):
        if reason == "expired":
            clock.advance(700)
        else:
            issuer.revoke(tokens.grant_id)
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
    assert (closed.value.code, closed.value.reason) == (4401, reason)
