"""Applications for servers: a framework's first example, bare and with ours around it."""

import os
from typing import Any

from jwt_middleware import KeySet, Settings


def _settings() -> Settings:
    return Settings(
        issuer="https://login.example",
        audience="https://api.example",
        keys=KeySet.load(os.environ["BENCH_KEYS"]),
    )


def bare_asgi() -> Any:
    """Return Starlette alone."""
    from .peers import starlette

    return starlette()


def ours_asgi() -> Any:
    """Return Starlette behind ours."""
    from jwt_middleware.asgi import JWTMiddleware

    return JWTMiddleware(bare_asgi(), _settings())


def bare_wsgi() -> Any:
    """Return Flask alone."""
    from .peers import flask

    return flask()


def ours_wsgi() -> Any:
    """Return Flask behind ours."""
    from jwt_middleware.wsgi import JWTMiddleware

    app = bare_wsgi()
    app.wsgi_app = JWTMiddleware(app.wsgi_app, _settings())
    return app
