"""Django, wrapped as a whole, as in wsgi.py and asgi.py; its own RemoteUserMiddleware logs in."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import django
import pytest
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
from werkzeug.test import Client

from jwt_middleware import Route, current_token
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware

from .wrapped import FACTORY, SETTINGS, Promises, report

django_settings.configure(
    ALLOWED_HOSTS=["*"],
    AUTHENTICATION_BACKENDS=["django.contrib.auth.backends.RemoteUserBackend"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
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
def account(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"user": request.user.get_username(), "type": request.META["AUTH_TYPE"]})


def shop(request: HttpRequest) -> HttpResponse:
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


@pytest.fixture
def calls() -> list[str]:
    CALLS.clear()
    return CALLS


class TestWSGI(Promises):
    @pytest.fixture
    def client(self) -> Client:
        return Client(WSGIMiddleware(get_wsgi_application(), SETTINGS))


class TestASGI(Promises):
    @pytest.fixture
    def client(self) -> TestClient:
        return TestClient(ASGIMiddleware(get_asgi_application(), SETTINGS))


@pytest.fixture
def users() -> Iterator[None]:
    call_command("migrate", verbosity=0)
    yield
    connection.close()


@pytest.mark.usefixtures("users")
def test_remote_user_logs_in_for_the_request_that_carries_the_token() -> None:
    routes = (Route("/shop", optional=True),)
    client = Client(WSGIMiddleware(get_wsgi_application(), SETTINGS.replace(routes=routes)))

    def whose(**claims: Any) -> Any:
        return client.get("/account", headers=FACTORY.bearer(**claims)).json

    assert whose() == {"user": "alice", "type": "Bearer"}
    assert client.get("/shop", headers=FACTORY.bearer()).json == {"anonymous": False}
    # Django keeps a session in a cookie. It doesn't outlive the token, nor outweigh another one's.
    assert client.get_cookie("sessionid") is not None
    assert whose(sub="Žofie") == {"user": "Žofie", "type": "Bearer"}
    assert client.get("/shop").json == {"anonymous": True}
    # A client that speaks for itself isn't the user of the same name.
    machine = FACTORY.bearer(sub="alice", client_id="alice")
    assert client.get("/shop", headers=machine).json == {"anonymous": True}


def test_the_token_is_current_in_a_stream_of_either_kind() -> None:
    by_wsgi = Client(WSGIMiddleware(get_wsgi_application(), SETTINGS))
    by_asgi = TestClient(ASGIMiddleware(get_asgi_application(), SETTINGS))
    headers = FACTORY.bearer()
    assert by_wsgi.get("/stream", headers=headers).text == "alice alice "
    assert by_asgi.get("/astream", headers=headers).text == "alice alice "
    assert current_token() is None
