"""`login_url` and `Cookies.forms`: what is refused at start, and that all sources mean the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jwt_middleware import ConfigurationError, Cookies, KeySet, Refresh, Route, Settings
from tests.rules import accepts, refuses

from .each_source import from_each

KEYS = KeySet.generate()
LOGIN = Route("/login", public=True, own_origin=True)
COOKIES = Cookies(access=True, forms=True)


def settings(**changes: Any) -> Settings:
    given: dict[str, Any] = {
        "issuer": "https://login.example",
        "audience": "https://api.example",
        "keys": KEYS,
        "routes": (LOGIN,),
        "login_url": "/login",
        "refresh": Refresh(store="memory://", cookies=COOKIES),
    }
    return Settings(**(given | changes))


@accepts("RT-32")
@pytest.mark.parametrize(
    ("url", "routes"),
    [
        ("/login", (LOGIN,)),
        ("/login/", (Route("/login/", public=True, own_origin=True),)),
        ("/accounts/log_in-1.0~x", (Route("/accounts/*", public=True, own_origin=True),)),
        # The form is sent to another path, which says so itself.
        ("/login", (Route("/login", methods=("GET",), public=True),)),
        ("", ()),
    ],
)
def test_the_login_page_is_a_public_page_of_the_application(
    url: str, routes: tuple[Route, ...]
) -> None:
    assert settings(login_url=url, routes=routes).login_url == url


@refuses("RT-32")
@pytest.mark.parametrize(
    "url",
    [
        *("login", "//evil.example", "https://evil.example/login", "javascript:alert(1)", "/"),
        *("/login?a=b", "/login#a", "/a//b", "/a/../b", "/\\evil", "/log in", "/é", "/login//"),
        *(None, 5, b"/login"),
    ],
)
def test_nothing_else_can_be_one(url: Any) -> None:
    with pytest.raises(ConfigurationError, match="login_url"):
        settings(login_url=url)


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no-refresh": ({"refresh": None}, "login_url: is for page loads"),
    "no-cookies": ({"refresh": Refresh(store="memory://")}, "login_url: is for page loads"),
    "no-access-cookie": (
        {"refresh": Refresh(store="memory://", cookies=Cookies())},
        "login_url: is for page loads",
    ),
    "no-endpoints": (
        {"refresh": Refresh(store="sqlite:///g.db", serve=False, cookies=COOKIES)},
        "login_url: is for page loads",
    ),
    "not-public": ({"routes": ()}, "login_url: isn't public"),
    "optional": (
        {"routes": (Route("/login", optional=True, own_origin=True),)},
        r'login_url: isn\'t public.*Route\("/login", public=True, own_origin=True\)',
    ),
    "of-any-site": ({"routes": (Route("/login", public=True),)}, "login_url: takes forms of other"),
    "the-endpoint": (
        {
            "login_url": "/auth/continue",
            "routes": (Route("/auth/*", public=True, own_origin=True),),
        },
        "login_url: is an endpoint of ours",
    ),
    "the-keys": (
        {
            "login_url": "/keys",
            "routes": (Route("/keys", public=True, own_origin=True),),
            "refresh": Refresh(store="memory://", cookies=COOKIES, jwks_path="/keys"),
        },
        "login_url: is an endpoint of ours",
    ),
    "the-sessions": (
        {
            "login_url": "/auth/sessions",
            "routes": (Route("/auth/*", public=True, own_origin=True),),
            "refresh": Refresh(store="memory://", cookies=COOKIES, sessions=True),
        },
        "login_url: is an endpoint of ours",
    ),
    "below-the-sessions": (
        {
            "login_url": "/auth/sessions/x",
            "routes": (Route("/auth/*", public=True, own_origin=True),),
            "refresh": Refresh(store="memory://", cookies=COOKIES, sessions=True),
        },
        "login_url: is an endpoint of ours",
    ),
    "the-metadata": (
        {
            "login_url": "/.well-known/oauth-authorization-server",
            "routes": (Route("/.well-known/*", public=True, own_origin=True),),
        },
        "login_url: is an endpoint of ours",
    ),
    "keys-at-the-endpoint": (
        {"refresh": Refresh(store="memory://", cookies=COOKIES, jwks_path="/auth/continue")},
        "refresh.jwks_path: is another endpoint's path",
    ),
}


@refuses("RT-32")
@pytest.mark.parametrize(("changes", "message"), FAULTS.values(), ids=FAULTS)
def test_a_combination_that_would_go_round_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        settings(**changes)


@refuses("RT-20")
def test_forms_need_the_access_token_in_a_cookie() -> None:
    with pytest.raises(ConfigurationError, match=r"refresh\.cookies\.forms"):
        Cookies(forms=True)
    with pytest.raises(ConfigurationError, match=r"refresh\.cookies\.forms"):
        replace(COOKIES, forms="yes")  # type: ignore[arg-type]


def test_all_sources_mean_the_same(tmp_path: Path) -> None:
    for found in from_each(
        tmp_path,
        mapping={
            "login_url": "/login",
            "routes": [{"path": "/login", "public": True, "own_origin": True}],
            "refresh": {"cookies": {"access": True, "forms": True}},
        },
        variables={
            "LOGIN_URL": "/login",
            "ROUTES": '[{"path": "/login", "public": true, "own_origin": true}]',
            "REFRESH__COOKIES__ACCESS": "true",
            "REFRESH__COOKIES__FORMS": "true",
        },
        toml="""
login_url = "/login"
routes = [{ path = "/login", public = true, own_origin = true }]
refresh.cookies = { access = true, forms = true }
""",
    ):
        assert found.refresh is not None
        assert found.refresh.cookies is not None
        assert (found.login_url, found.refresh.cookies.forms) == ("/login", True)
    schema = Settings.json_schema()
    assert schema["properties"]["login_url"]["type"] == "string"
