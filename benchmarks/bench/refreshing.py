"""A refresh through WSGI, ours and those of two packages, each with the settings it starts with."""
# pyright: reportMissingImports=false, reportMissingModuleSource=false

import json
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

from flask import Flask

from benchmarks.measure import measure
from benchmarks.refresh import Client
from jwt_middleware import wsgi as door

from .report import Row, compared, micros
from .scene import Function, wsgi_app

SECRET = "a secret of sixty-four octets, as HMAC with SHA-256 would have it"
FORM = "application/x-www-form-urlencoded"


def post(app: Any, path: str, body: bytes = b"", kind: str = FORM, token: str = "") -> Any:
    """Return the JSON that an application answers with."""
    status: list[str] = []
    environ = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_TYPE": kind,
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_HOST": "localhost",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(body),
        "wsgi.errors": BytesIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if token:
        environ["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    answer = app(environ, lambda line, headers, exc_info=None: status.append(line))
    found = b"".join(answer)
    assert status[-1].startswith("200"), (status, found)
    return found


def ours() -> Function:
    """Return a rotation, each with the token of the one before."""
    client = Client("memory://", settle=0)
    app = door.JWTMiddleware(wsgi_app, client.settings)
    token = client.token

    def call() -> None:
        nonlocal token
        answer = json.loads(post(app, "/auth/refresh", FORM_BEGIN + token))
        token = answer["refresh_token"].encode()

    return call


FORM_BEGIN = b"grant_type=refresh_token&refresh_token="


def flask_jwt_extended() -> Function:
    """Return a refresh as in the documentation of Flask-JWT-Extended."""
    from flask_jwt_extended import (
        JWTManager,
        create_access_token,
        create_refresh_token,
        get_jwt_identity,
        jwt_required,
    )

    app = Flask("refreshing")
    app.config["JWT_SECRET_KEY"] = SECRET
    JWTManager(app)

    @app.post("/refresh")
    @jwt_required(refresh=True)
    def refresh() -> Any:
        return {"access_token": create_access_token(identity=get_jwt_identity(), fresh=False)}

    with app.app_context():
        token = create_refresh_token(identity="alice")
    return lambda: json.loads(post(app, "/refresh", token=token))


def simplejwt() -> Function:
    """Return a refresh as Simple JWT's own view serves it, with rotation."""
    import django
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.urls import path

    if not settings.configured:
        settings.configure(
            SECRET_KEY=SECRET,
            ALLOWED_HOSTS=["*"],
            ROOT_URLCONF=__name__,
            INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
            SIMPLE_JWT={"ROTATE_REFRESH_TOKENS": True, "CHECK_USER_IS_ACTIVE": False},
        )
        django.setup()
    from rest_framework_simplejwt.tokens import RefreshToken
    from rest_framework_simplejwt.views import TokenRefreshView

    urlpatterns[:] = [path("refresh", TokenRefreshView.as_view())]
    app = get_wsgi_application()
    token = RefreshToken()

    def call() -> None:
        body = json.dumps({"refresh": str(token)}).encode()
        json.loads(post(app, "/refresh", body, "application/json"))

    return call


urlpatterns: list[Any] = []  # where Django looks for them


_MAKERS: dict[str, tuple[Callable[[], Function], str]] = {
    "ours": (ours, "ES256"),
    "Flask-JWT-Extended, no rotation": (flask_jwt_extended, "HS256"),
    "Simple JWT, rotation": (simplejwt, "HS256"),
}


def rows(rounds: int) -> Iterator[Row]:
    """Compare whole requests."""
    functions = {name: make() for name, (make, _) in _MAKERS.items()}
    times = measure(functions, rounds=rounds)
    for name, (_, algorithm) in _MAKERS.items():
        row = Row(name, (micros(times.typical(name)), algorithm))
        yield compared(row, times.rounds[name], times.rounds["ours"])
