"""The guides name the versions that are installed here, and every setting of these."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import version
from typing import Any

import pytest
from authx import AuthXConfig
from fastapi_users.authentication import (
    AuthenticationBackend,
    Authenticator,
    BearerTransport,
    CookieTransport,
    JWTStrategy,
    RedisStrategy,
)
from fastapi_users.authentication.strategy.db import DatabaseStrategy
from flask import Flask
from flask_jwt_extended import JWTManager

from .pages import text_of

GUIDES = {
    "from-flask-jwt-extended.md": "Flask-JWT-Extended",
    "from-authx.md": "AuthX",
    "from-fastapi-users.md": "fastapi-users",
    "from-flask-login.md": "Flask-Login",
    "from-pyjwt.md": "PyJWT",
}


@pytest.mark.parametrize("page", GUIDES)
def test_a_guide_says_which_version_it_is_tested_with(page: str) -> None:
    named = GUIDES[page].replace("fastapi-users", "FastAPI Users")
    assert f"{named} {version(GUIDES[page])}" in text_of(page)


def mapped(page: str) -> set[str]:
    """Return what stands as code in the first column of the guide's tables."""
    rows = re.findall(r"^\| (`.*?) \|", text_of(page), re.MULTILINE)
    return set(re.findall(r"`([^`]+)`", " ".join(rows)))


def without(page: str, names: Iterable[str]) -> list[str]:
    """Return the names that stand in no row of the guide."""
    found = mapped(page)
    return sorted(name for name in names if name not in found)


def parameters(kind: Any, call: Any = None) -> set[str]:
    """Return what can be configured of a class, as the guide writes it."""
    name = kind.__name__ if call is None else call.__name__
    given = list(inspect.signature(call or kind.__init__).parameters)[1:]
    return {f"{name}({one})" for one in given}


def test_every_setting_of_flask_jwt_extended_is_mapped() -> None:
    app = Flask("any")
    JWTManager(app)
    settings = {name for name in app.config if name.startswith("JWT_")}
    loaders = {name for name in dir(JWTManager) if name.endswith("_loader")}
    assert len(settings) > 40
    assert len(loaders) > 10
    assert without("from-flask-jwt-extended.md", settings | loaders) == []


def test_every_setting_of_authx_is_mapped() -> None:
    assert without("from-authx.md", AuthXConfig.model_fields) == []


def test_every_parameter_of_fastapi_users_is_mapped() -> None:
    kinds = (
        JWTStrategy,
        DatabaseStrategy,
        RedisStrategy,
        BearerTransport,
        CookieTransport,
        AuthenticationBackend,
    )
    names = {name for kind in kinds for name in parameters(kind)}
    names |= parameters(Authenticator, Authenticator.current_user)
    assert without("from-fastapi-users.md", names) == []


def test_every_setting_of_flask_login_is_mapped() -> None:
    flask_login = import_module("flask_login")  # it has no types
    source = inspect.getsource(flask_login.login_manager) + inspect.getsource(flask_login.utils)
    settings = set(re.findall(r'config(?:\.get\(|\[)"([A-Z_]+)"', source))
    manager = flask_login.LoginManager()
    own = {name for name in vars(manager) if not name.startswith("_")}
    own -= {"unauthorized_callback", "needs_refresh_callback"}  # set by these:
    own |= {"unauthorized_handler", "needs_refresh_handler"}
    own |= {"user_loader", "request_loader", "header_loader"}
    assert len(settings) > 9
    assert without("from-flask-login.md", settings | own) == []
