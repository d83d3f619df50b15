"""A view that reads `request.user`, beside Django's sessions: `python -m benchmarks.django_users`.

One process, one SQLite database, one connection that stays open, no server: Django's handler is
called with an environment, under WSGI, in turns. Both have the middlewares of `startproject`; ours
has one more. The session is logged in once; its view costs two queries, the session's and the
user's. A token's costs one, and a view that reads `request.jwt` alone none. `--gate` says by its
exit code whether the limits hold.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.http import HttpResponse
from django.urls import path

from jwt_middleware.testing import TokenFactory

from .measure import measure

ROUNDS = 200
MOST = 0.7  # of the time with sessions
NAMES = (b"alice", b"1")  # her name, and her primary key
FACTORY = TokenFactory()
OURS = "jwt_middleware.django.JWTMiddleware"
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
HEADERS = {
    "HTTP_HOST": "api.example",
    "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "HTTP_ACCEPT": "*/*",
}


def user(request: Any) -> HttpResponse:
    return HttpResponse(request.user.get_username())


def subject(request: Any) -> HttpResponse:
    return HttpResponse(request.jwt.subject)


def nobody(request: Any) -> HttpResponse:
    return HttpResponse(b"alice")


urlpatterns = [path("user", user), path("subject", subject), path("nobody", nobody)]


def set_up(folder: Path) -> None:
    settings.configure(
        ALLOWED_HOSTS=["api.example"],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(folder / "users.db"),
                "CONN_MAX_AGE": None,
            }
        },
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "jwt_middleware.django",
        ],
        JWT_MIDDLEWARE=FACTORY.settings(),
        MIDDLEWARE=MIDDLEWARE,
        ROOT_URLCONF=__name__,
        SECRET_KEY="signs the sessions of one measurement, and nothing else",
        USE_TZ=True,
    )
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def called(where: str, middleware: list[str], **fields: str) -> Callable[[], None]:
    """Return one request as a function; it must be answered with the user's name."""
    from django.core.wsgi import get_wsgi_application
    from django.test import override_settings

    with override_settings(MIDDLEWARE=middleware):
        app: Any = get_wsgi_application()
    statuses: list[str] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> None:
        statuses.append(status)

    def call() -> None:
        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": where,
            "SERVER_NAME": "api.example",
            "SERVER_PORT": "80",
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": sys.stderr,
            **HEADERS,
            **fields,
        }
        response = app(environ, start_response)
        body = b"".join(response)
        response.close()
        if statuses.pop() != "200 OK" or body not in NAMES:
            raise AssertionError(body)

    return call


def queries(call: Callable[[], None]) -> int:
    """Return how many queries one request makes."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    call()
    with CaptureQueriesContext(connection) as found:
        call()
    return len(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gate", action="store_true")
    gate = parser.parse_args().gate
    with tempfile.TemporaryDirectory() as folder:
        set_up(Path(folder))
        from django.contrib.auth import get_user_model
        from django.test import Client

        alice = get_user_model().objects.create_user("alice")
        browser = Client()
        browser.force_login(alice)
        session = f"sessionid={browser.cookies['sessionid'].value}"
        token = FACTORY.bearer(sub=str(alice.pk))["Authorization"]
        bare, ours = MIDDLEWARE, [*MIDDLEWARE[:5], OURS, *MIDDLEWARE[5:]]
        calls = {
            "no user is asked for": called("/nobody", bare),
            "request.user, of a session": called("/user", bare, HTTP_COOKIE=session),
            "request.user, of a token": called("/user", ours, HTTP_AUTHORIZATION=token),
            "request.jwt alone": called("/subject", ours, HTTP_AUTHORIZATION=token),
        }
        asked = {name: queries(one) for name, one in calls.items()}
        times = measure(calls, rounds=ROUNDS, burst=5_000_000)
    base = "request.user, of a session"
    print(f"Django {django.__version__}, Python {sys.version.split()[0]}\n")
    print("| A view in which | µs | of a session's | queries |\n|---|---|---|---|")
    for name in calls:
        ratio, (low, high) = times.ratio(name, base), times.spread(name, base)
        print(
            f"| {name} | {times.typical(name) / 1000:.0f} | {ratio:.2f} ({low:.2f} to {high:.2f}) "
            f"| {asked[name]} |"
        )
    kept = times.ratio("request.user, of a token", base) <= MOST
    kept = kept and list(asked.values()) == [0, 2, 1, 0]
    return int(gate and not kept)


if __name__ == "__main__":
    sys.exit(main())
