"""Django, wrapped as a whole, as in wsgi.py and asgi.py; its own RemoteUserMiddleware logs in."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import django
import pytest
from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings as django_settings
from django.contrib.auth.decorators import login_required
from django.core.asgi import get_asgi_application
from django.core.handlers.asgi import ASGIRequest
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from werkzeug.test import Client

from jwt_middleware import Route, Settings, current_token
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware
from tests.wrapped import FACTORY, SETTINGS, Promises, report

django_settings.configure(
    ALLOWED_HOSTS=["*"],
    AUTHENTICATION_BACKENDS=["django.contrib.auth.backends.RemoteUserBackend"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "see users()"}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.auth.middleware.RemoteUserMiddleware",
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY="signs the sessions of one run of the tests",
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    USE_TZ=True,
)
django.setup()
CALLS: list[str] = []


def view(request: HttpRequest) -> HttpResponse:
    CALLS.append(request.path)
    handed_over: Any = request.scope if isinstance(request, ASGIRequest) else request.META
    return JsonResponse(report(handed_over["jwt_middleware.token"]))


@login_required
def account(request: Any) -> HttpResponse:
    return JsonResponse({"user": request.user.get_username(), "type": request.META["AUTH_TYPE"]})


def shop(request: Any) -> HttpResponse:
    return JsonResponse({"anonymous": request.user.is_anonymous})


def stream(request: HttpRequest) -> StreamingHttpResponse:
    def chunks() -> Iterator[str]:
        for _ in range(2):
            token = current_token()
            yield f"{token.subject if token else None} "

    return StreamingHttpResponse(chunks())


async def astream(request: HttpRequest) -> StreamingHttpResponse:
    async def chunks() -> AsyncIterator[str]:
        for _ in range(2):
            token = current_token()
            yield f"{token.subject if token else None} "

    return StreamingHttpResponse(chunks())


urlpatterns = [
    *(path(name, view) for name in ("me", "open", "admin/users")),
    path("account", account),
    path("shop", shop),
    path("stream", stream),
    path("astream", astream),
]


def wsgi_client(settings: Settings = SETTINGS) -> Client:
    app: Any = get_wsgi_application()
    return Client(WSGIMiddleware(app, settings))


def asgi_client() -> TestClient:
    return TestClient(ASGIMiddleware(get_asgi_application(), SETTINGS))


@pytest.fixture
def calls() -> list[str]:
    CALLS.clear()
    return CALLS


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> None:
    connection.settings_dict["NAME"] = str(tmp_path_factory.mktemp("django") / "users.db")
    call_command("migrate", verbosity=0)
    connection.close()


@pytest.mark.usefixtures("users")
class TestWSGI(Promises):
    @pytest.fixture
    def client(self) -> Client:
        return wsgi_client()


class TestASGI(Promises):
    @pytest.fixture
    def client(self) -> TestClient:
        return asgi_client()


@pytest.mark.usefixtures("users")
def test_remote_user_logs_in_for_the_request_that_carries_the_token() -> None:
    client = wsgi_client(SETTINGS.replace(routes=(Route("/shop", optional=True),)))

    def whose(**claims: Any) -> Any:
        return client.get("/account", headers=FACTORY.bearer(**claims)).json

    assert whose() == {"user": "alice", "type": "Bearer"}
    assert client.get("/shop", headers=FACTORY.bearer()).json == {"anonymous": False}
    # Django keeps a session in a cookie. It doesn't outlive the token, nor outweigh another one's.
    assert client.get_cookie("sessionid") is not None
    assert whose(sub="bob") == {"user": "bob", "type": "Bearer"}
    assert client.get("/shop").json == {"anonymous": True}
    # A client that speaks for itself isn't the user of the same name.
    machine = FACTORY.bearer(sub="alice", client_id="alice")
    assert client.get("/shop", headers=machine).json == {"anonymous": True}


@pytest.mark.usefixtures("users")
def test_remote_user_beyond_ascii_comes_as_pep_3333_hands_all_strings_on() -> None:
    client = wsgi_client()
    seen = client.get("/account", headers=FACTORY.bearer(sub="Žofie")).json
    assert seen is not None
    # As behind every server: Django takes it as it is. `token.subject` has no such form.
    assert seen["user"].encode("latin-1").decode() == "Žofie"


@pytest.mark.usefixtures("users")
def test_the_token_is_current_in_a_stream_of_either_kind() -> None:
    headers = FACTORY.bearer()
    assert wsgi_client().get("/stream", headers=headers).text == "alice alice "
    assert asgi_client().get("/astream", headers=headers).text == "alice alice "
    assert current_token() is None


# --- Channels


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
