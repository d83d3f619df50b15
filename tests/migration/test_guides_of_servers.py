"""The guides from simplejwt, Django's sessions and Authlib: versions, and every setting."""

from __future__ import annotations

import inspect
import re
from importlib.metadata import version
from typing import Any

import pytest
from authlib.integrations.flask_oauth2 import (  # type: ignore[import-untyped]
    AuthorizationServer,
)
from authlib.oauth2.rfc9068 import (  # type: ignore[import-untyped]
    JWTBearerTokenGenerator,
    JWTBearerTokenValidator,
)
from django.conf import global_settings

from tests.django import project

from .pages import text_of
from .test_guides import parameters, without

GUIDES = {
    "from-simplejwt.md": ("simplejwt", "djangorestframework-simplejwt"),
    "from-django-sessions.md": ("Django", "Django"),
    "from-authlib.md": ("Authlib", "Authlib"),
}


@pytest.mark.parametrize("page", GUIDES)
def test_a_guide_says_which_version_it_is_tested_with(page: str) -> None:
    name, package = GUIDES[page]
    release = ".".join(version(package).split(".")[: 3 if name == "Authlib" else 2])
    assert f"{name} {release}" in " ".join(text_of(page).split())


def test_every_setting_of_simplejwt_is_mapped() -> None:
    assert project.JWT is not None  # Django is set up
    from rest_framework_simplejwt.settings import DEFAULTS

    page = "from-simplejwt.md"
    families = [one.rstrip("*") for one in re.findall(r"`([A-Z_]+\*)`", text_of(page))]
    prefixes = [one for one in families if one != "TOKEN_"]
    names = [name for name in DEFAULTS if not name.startswith(tuple(prefixes))]
    serializers = [name for name in names if name.endswith("_SERIALIZER")]
    assert len(names) > 25
    assert without(page, set(names) - set(serializers)) == []
    assert "`TOKEN_*_SERIALIZER`" in text_of(page)


def test_every_setting_of_sessions_is_mapped() -> None:
    settings = {name for name in dir(global_settings) if name.startswith(("SESSION_", "LOGIN_"))}
    assert len(settings) > 12
    assert without("from-django-sessions.md", settings) == []


def test_every_parameter_of_authlibs_tokens_is_mapped() -> None:
    kinds: tuple[Any, ...] = (JWTBearerTokenGenerator, JWTBearerTokenValidator)
    names = {name for kind in kinds for name in parameters(kind)}
    names -= {"JWTBearerTokenValidator(args)", "JWTBearerTokenValidator(kwargs)"}
    hooks = {
        name
        for name, one in vars(JWTBearerTokenGenerator).items()
        if name.startswith("get_") and inspect.isfunction(one)
    }
    source = inspect.getsource(AuthorizationServer)
    settings = set(re.findall(r'config\.get\("(OAUTH2_[A-Z_0-9]+)"', source))
    assert len(settings) > 4
    shown = without("from-authlib.md", names | hooks | settings)
    # The table joins the parameters of one row.
    text = text_of("from-authlib.md")
    assert [one for one in shown if "(" not in one or one.partition("(")[2][:-1] not in text] == []
