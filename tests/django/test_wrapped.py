"""Django, wrapped as a whole, as in wsgi.py and asgi.py: alone, and with our middleware inside."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.contrib.auth import get_user_model
from django.core.asgi import get_asgi_application
from django.core.handlers.asgi import ASGIRequest
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import override_settings
from django.urls import path
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from jwt_middleware import Cookies, Issuer, Refresh, Route, Settings, current_token
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.core.decide import Core
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware
from tests.django import urls
from tests.django.asking import bearer, both, tables
from tests.django.project import JWT, MIDDLEWARE
from tests.wrapped import FACTORY, SETTINGS, Promises, report

CALLS: list[str] = []


def view(request: HttpRequest) -> HttpResponse:
    CALLS.append(request.path)
    handed_over: Any = request.scope if isinstance(request, ASGIRequest) else request.META
    return JsonResponse(report(handed_over["jwt_middleware.token"]))


urlpatterns = [
    *(path(name, view) for name in ("me", "open", "admin/users")),
    path("stream", urls.stream),
    path("astream", urls.astream),
]


@pytest.fixture(autouse=True, scope="module")
def _outside_alone() -> Iterator[None]:
    with override_settings(MIDDLEWARE=[], ROOT_URLCONF=__name__):
        yield


def wsgi_client(settings: Settings = SETTINGS) -> Client:
    app: Any = get_wsgi_application()
    return Client(WSGIMiddleware(app, settings), use_cookies=False)


def asgi_client(settings: Settings = SETTINGS) -> TestClient:
    return TestClient(ASGIMiddleware(get_asgi_application(), settings))


@pytest.fixture
def calls() -> list[str]:
    CALLS.clear()
    return CALLS


class TestWSGI(Promises):
    @pytest.fixture
    def client(self) -> Client:
        return wsgi_client()


class TestASGI(Promises):
    @pytest.fixture
    def client(self) -> TestClient:
        return asgi_client()


def test_the_token_is_current_in_a_stream_of_either_kind() -> None:
    headers = FACTORY.bearer()
    assert wsgi_client().get("/stream", headers=headers).text == "alice alice "
    assert asgi_client().get("/astream", headers=headers).text == "alice alice "
    assert current_token() is None


# --- with ours in MIDDLEWARE, too


def client_of(kind: str, settings: Settings) -> Any:
    return wsgi_client(settings) if kind == "wsgi" else asgi_client(settings)


@pytest.fixture
def decided(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the paths that are decided about from now on, each time."""
    found: list[str] = []
    decide = Core.decide

    def noted(core: Core, request: Any) -> Any:
        found.append(request.path)
        return decide(core, request)

    monkeypatch.setattr(Core, "decide", noted)
    return found


INSIDE = {"MIDDLEWARE": MIDDLEWARE, "ROOT_URLCONF": "tests.django.urls"}


@pytest.fixture
def user() -> Iterator[Any]:
    tables()
    one = get_user_model().objects.create_user("Žofie")
    yield one
    one.delete()


@both
def test_both_with_the_same_settings_check_once(kind: str, user: Any, decided: list[str]) -> None:
    settings = JWT.replace(refresh=Refresh(store="memory://", cookies=Cookies()))
    with override_settings(JWT_MIDDLEWARE=settings, **INSIDE):
        client = client_of(kind, settings)
        headers = bearer(user.pk)
        for path_asked in ("/me", "/user", "/cookies"):  # a new token, and then a known one
            assert client.get(path_asked, headers=headers).status_code == 200
        assert client.get("/me").status_code == 401
        assert client.get("/site/user").status_code == 200
        assert decided == ["/me", "/me", "/site/user"]


@both
def test_both_give_the_tokens_user(kind: str, user: Any) -> None:
    with override_settings(JWT_MIDDLEWARE=JWT, JWT_MIDDLEWARE_USER_FIELD="username", **INSIDE):
        client = client_of(kind, JWT)
        assert json.loads(client.get("/user", headers=bearer("Žofie")).text)["pk"] == user.pk
        assert client.get("/user", headers=bearer("nobody")).status_code == 401
        machine = bearer("Žofie", client_id="Žofie")
        for found in (
            client.get("/user", headers=machine),
            client.get("/site/user", headers=bearer("Žofie")),
        ):
            assert json.loads(found.text)["in"] is False


@both
def test_both_hand_on_what_the_browser_holds(kind: str) -> None:
    settings = JWT.replace(refresh=Refresh(store="memory://", cookies=Cookies()))
    with override_settings(JWT_MIDDLEWARE=settings, **INSIDE):
        client = client_of(kind, settings)
        first = client.post("/login?sub=7")
        cookie = {"Cookie": first.headers["Set-Cookie"].partition(";")[0] + "; theme=dark"}
        seen = client.get("/cookies", headers=bearer(7) | cookie)
        assert json.loads(seen.text)["cookies"] == ["theme"]
        second = client.post("/login?sub=7", headers=cookie)
        (living,) = Issuer(settings).grants("7")
        assert living.id == json.loads(second.text)["sid"]


@both
def test_both_with_other_settings_check_each_by_its_own(kind: str) -> None:
    inner = JWT.replace(routes=(Route("/me", scope="inner"),))
    outer = JWT.replace(routes=(Route("/me", scope="outer"),))
    with override_settings(JWT_MIDDLEWARE=inner, **INSIDE):
        client = client_of(kind, outer)
        for scope, status in (("outer", 403), ("inner", 403), ("inner outer", 200)):
            answer = client.get("/me", headers=bearer(1, scope=scope))
            assert answer.status_code == status, scope


# --- Channels, wrapped as a whole
class Chat(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        await self.accept()
        scope: Any = self.scope  # to Channels' own types it is Django's
        user, token = scope["user"], scope["jwt_middleware.token"]
        await self.send_json(
            {"user": user.display_name, "in": user.is_authenticated, "sub": token and token.subject}
        )
        await self.close()


def channels(settings: Settings) -> TestClient:
    routes: list[Any] = [path("chat", Chat.as_asgi()), path("open", Chat.as_asgi())]
    sockets = URLRouter(routes)
    app = ProtocolTypeRouter({"websocket": AuthMiddlewareStack(sockets)})
    return TestClient(ASGIMiddleware(app, settings))


def test_the_user_of_a_channels_socket_is_the_tokens() -> None:
    # AuthMiddlewareStack looks for a session, finds none, and keeps whom it found in the scope.
    client = channels(SETTINGS)
    for _ in range(3):  # a known token's user is shared by all its requests
        with client.websocket_connect("/chat", headers=FACTORY.bearer(sub="alice")) as socket:
            assert socket.receive_json() == {"user": "alice", "in": True, "sub": "alice"}
    with pytest.raises(WebSocketDisconnect):
        client.websocket_connect("/chat").__enter__()


def test_a_public_socket_of_channels_has_nobody() -> None:
    client = channels(SETTINGS.replace(routes=(Route("/open", public=True),)))
    with client.websocket_connect("/open") as socket:
        assert socket.receive_json() == {"user": "", "in": False, "sub": None}


@pytest.mark.parametrize("outer", [True, False])
def test_a_mounted_project_goes_by_the_path_that_it_resolves(outer: bool) -> None:
    """The middleware outside has decided on another path: that opens nothing inside."""
    mine = FACTORY.settings(
        routes=(
            Route("/admin/*", scope="admin"),
            Route("/app/open/*", public=True),
            Route("/app/both", public=True),
            Route("/both", public=True),
        )
    )
    with override_settings(MIDDLEWARE=["jwt_middleware.django.JWTMiddleware"], JWT_MIDDLEWARE=mine):
        inside: Any = get_wsgi_application()
        mounted: Any = DispatcherMiddleware(lambda *_: [], {"/app": inside})
        door: Any = WSGIMiddleware(mounted, mine) if outer else mounted
        client = Client(door, use_cookies=False)
        assert client.get("/app/admin/users", headers=FACTORY.bearer()).status_code == 403
        good = FACTORY.bearer(scope="admin")
        assert client.get("/app/admin/users", headers=good).status_code == 200
        assert client.get("/app/open/me").status_code == 401


def test_what_is_not_modified_leads_nowhere() -> None:
    with override_settings(MIDDLEWARE=["jwt_middleware.django.JWTMiddleware"], JWT_MIDDLEWARE=JWT):
        app: Any = get_wsgi_application()
        client: Any = Client(app)
        etag = client.get("/.well-known/jwks.json").headers["ETag"]
        again = client.get("/.well-known/jwks.json", headers={"If-None-Match": etag})
        assert (again.status_code, again.headers.get("Location")) == (304, None)
