"""What `manage.py check` says, and what stops the start as well."""

from typing import Any

import pytest
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.conf import settings as project_settings
from django.core import checks
from django.core.asgi import get_asgi_application
from django.test import modify_settings, override_settings

from jwt_middleware import ConfigurationError, Refresh
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.django import JWTMiddleware
from jwt_middleware.django.channels import JWTAuthMiddleware
from tests.django.asking import Asking, bearer, both
from tests.django.project import JWT, MIDDLEWARE, OURS


class Inherits(JWTMiddleware):
    """A middleware of a project's own, in place of ours."""


def plain(get_response: Any) -> Any:
    return get_response


def found(**changed: Any) -> list[str]:
    """Return the ids of what the check finds."""
    with override_settings(**changed):
        messages = checks.run_checks(tags=["jwt_middleware"])
    return [one.id.removeprefix("jwt_middleware.") for one in messages]


def without(name: str) -> list[str]:
    return [one for one in MIDDLEWARE if one != name]


def test_the_tests_project_is_right() -> None:
    assert found() == []
    assert found(MIDDLEWARE=[*without(OURS), "tests.django.test_checks.Inherits"]) == []
    assert found(MIDDLEWARE=["no.such.Middleware", *MIDDLEWARE]) == []  # Django says that itself
    assert found(MIDDLEWARE=["tests.django.test_checks.plain", *MIDDLEWARE]) == []


@pytest.mark.parametrize(
    "given", [None, 7, "no.such.name", "tests.django.project.MIDDLEWARE", {"issuer": "x"}]
)
def test_wrong_settings_are_named(given: Any) -> None:
    assert found(JWT_MIDDLEWARE=given) == ["E001"]
    with override_settings(JWT_MIDDLEWARE=given), pytest.raises(ConfigurationError) as told:
        Asking("wsgi").get("/me")
    assert told.value.field in ("JWT_MIDDLEWARE", "audience")


def test_missing_settings_are_named() -> None:
    with override_settings():
        del project_settings.JWT_MIDDLEWARE
        assert found() == ["E001"]


@both
@pytest.mark.parametrize(
    ("middleware", "named"),
    [
        ([OURS, *without(OURS)], "SecurityMiddleware stands below"),
        ([MIDDLEWARE[0], OURS, *MIDDLEWARE[1:5]], "SessionMiddleware stands below"),
        ([*MIDDLEWARE[:4], OURS, MIDDLEWARE[4]], "AuthenticationMiddleware stands below"),
        (
            ["django.middleware.cache.FetchFromCacheMiddleware", *MIDDLEWARE],
            "FetchFromCacheMiddleware stands above",
        ),
        (
            ["django.middleware.cache.CacheMiddleware", *MIDDLEWARE],
            "FetchFromCacheMiddleware stands above",
        ),
    ],
)
def test_a_wrong_order_is_named_and_stops_the_start(
    kind: str, middleware: list[str], named: str
) -> None:
    assert "E002" in found(MIDDLEWARE=middleware)
    with (
        override_settings(MIDDLEWARE=middleware),
        pytest.raises(ConfigurationError, match=f"^MIDDLEWARE: {named} ours: "),
    ):
        Asking(kind).get("/me")


@both
@pytest.mark.parametrize("field", ["first_name", "nothing", "groups"])
def test_a_field_that_does_not_tell_users_apart_is_named(kind: str, field: str) -> None:
    assert found(JWT_MIDDLEWARE_USER_FIELD=field) == ["E003"]
    with (
        override_settings(JWT_MIDDLEWARE_USER_FIELD=field),
        pytest.raises(ConfigurationError, match=f"^JWT_MIDDLEWARE_USER_FIELD: .*'{field}'"),
    ):
        Asking(kind).get("/me")
    assert found(JWT_MIDDLEWARE_USER_FIELD="username") == []


def test_a_project_that_lacks_ours_is_warned() -> None:
    assert found(MIDDLEWARE=without(OURS)) == ["W001"]


def test_remote_user_beside_ours_is_warned_of() -> None:
    remote = "django.contrib.auth.middleware.PersistentRemoteUserMiddleware"
    assert found(MIDDLEWARE=[*MIDDLEWARE, remote]) == ["W002"]


@both
def test_a_store_that_can_not_be_is_named_at_the_start(kind: str, tmp_path: Any) -> None:
    lost = JWT.replace(refresh=Refresh(store=f"sqlite:///{tmp_path}/no/such/folder/grants.db"))
    with override_settings(JWT_MIDDLEWARE=lost), pytest.raises(ConfigurationError):
        Asking(kind).get("/me")


def test_without_drf_spectacular_its_extension_is_not_loaded() -> None:
    with modify_settings(INSTALLED_APPS={"remove": ["drf_spectacular"]}):
        assert found() == []


@both
def test_a_project_without_users_is_served(kind: str) -> None:
    no_users = {"remove": ["django.contrib.auth", "django.contrib.admin"]}
    with modify_settings(INSTALLED_APPS=no_users), override_settings(MIDDLEWARE=[OURS]):
        ask = Asking(kind)
        answer = ask.get("/me", headers=bearer(1))
        assert answer.json["subject"] == "1"
        assert not hasattr(answer.request, "user")
        assert ask.get("/open").status_code == 200


# --- websockets

SOCKETS = URLRouter([])


def asgi(app: Any) -> list[str]:
    """Return what the check finds for an application, where Channels is installed."""
    globals()["application"] = app
    with modify_settings(INSTALLED_APPS={"append": "channels"}):
        return found(ASGI_APPLICATION=f"{__name__}.application")


class Odd:
    """A wrapper that keeps what it wraps where nobody looks."""

    __slots__ = ("deep",)


def test_sockets_that_ask_for_no_token_are_named() -> None:
    http = get_asgi_application()
    for app in (
        ProtocolTypeRouter({"http": http, "websocket": SOCKETS}),
        ProtocolTypeRouter({"http": http, "websocket": AllowedHostsOriginValidator(SOCKETS)}),
        ProtocolTypeRouter({"http": ASGIMiddleware(http, JWT), "websocket": SOCKETS}),
        Odd(),
    ):
        assert asgi(app) == ["E005"]


@pytest.mark.parametrize("cache", ["UpdateCacheMiddleware", "CacheMiddleware"])
def test_a_cache_that_would_keep_one_users_answer_for_all_is_named(cache: str) -> None:
    name = f"django.middleware.cache.{cache}"
    assert found(MIDDLEWARE=[*MIDDLEWARE, name]) == ["E002"]
    if cache == "UpdateCacheMiddleware":
        assert found(MIDDLEWARE=[name, *MIDDLEWARE]) == []


def test_another_finding_hides_no_open_socket() -> None:
    app = ProtocolTypeRouter({"websocket": SOCKETS})
    without_ours = [one for one in MIDDLEWARE if one != OURS]
    with override_settings(MIDDLEWARE=without_ours):
        assert set(asgi(app)) == {"W001", "E005"}


def test_sockets_behind_a_middleware_of_ours_are_right() -> None:
    http, door = get_asgi_application(), JWTAuthMiddleware(SOCKETS)
    for app in (
        ProtocolTypeRouter({"http": http}),
        ProtocolTypeRouter({"http": http, "websocket": door}),
        ProtocolTypeRouter({"http": http, "websocket": AllowedHostsOriginValidator(door)}),
        ASGIMiddleware(ProtocolTypeRouter({"http": http, "websocket": SOCKETS}), JWT),
    ):
        assert asgi(app) == []


def test_an_application_that_can_not_be_loaded_is_named() -> None:
    with modify_settings(INSTALLED_APPS={"append": "channels"}):
        assert found(ASGI_APPLICATION="tests.django.no_such.application") == ["E004"]
        assert found(ASGI_APPLICATION=None) == []
