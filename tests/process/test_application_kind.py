"""An application at the wrong door is told at once which door is the right one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import flask
import pytest
import starlette.applications

from jwt_middleware import ConfigurationError, asgi, wsgi
from jwt_middleware.testing import TokenFactory

SETTINGS = TokenFactory().settings()


def of_wsgi(environ: Any, start_response: Any) -> Any:
    return []


async def of_asgi(scope: Any, receive: Any, send: Any) -> None:
    pass


class OfWSGI:
    def __call__(self, environ: Any, start_response: Any, *, debug: bool = False) -> Any:
        return []


class OfASGI:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        pass


WSGI = [of_wsgi, OfWSGI(), OfWSGI().__call__, partial(of_wsgi), flask.Flask("shop")]
ASGI = [of_asgi, OfASGI(), partial(of_asgi), starlette.applications.Starlette()]


@pytest.mark.parametrize("app", WSGI)
def test_a_wsgi_application_at_the_asgi_door(app: Callable[..., Any]) -> None:
    wsgi.JWTMiddleware(app, SETTINGS)
    with pytest.raises(
        ConfigurationError, match=r"(?s)WSGI application \(environ, start_resp"
    ) as no:
        asgi.JWTMiddleware(app, SETTINGS)
    assert no.value.remedy == "from jwt_middleware.wsgi import JWTMiddleware"


@pytest.mark.parametrize("app", ASGI)
def test_an_asgi_application_at_the_wsgi_door(app: Callable[..., Any]) -> None:
    asgi.JWTMiddleware(app, SETTINGS)
    with pytest.raises(
        ConfigurationError, match=r"ASGI application \(scope, receive, send\)"
    ) as no:
        wsgi.JWTMiddleware(app, SETTINGS)
    assert no.value.remedy == "from jwt_middleware.asgi import JWTMiddleware"


def test_what_cannot_be_seen_is_taken() -> None:
    unclear: list[Any] = [
        lambda *args: [],
        lambda environ, start_response, receive=None: [],
        lambda one: [],
        dict.get,
        type("WithoutSignature", (), {"__call__": None, "__signature__": "none"})(),
        print,
    ]
    for app in unclear:
        asgi.JWTMiddleware(app, SETTINGS)
        wsgi.JWTMiddleware(app, SETTINGS)
