"""Django's own door, through Django's own clients, under WSGI and under ASGI."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db.backends.utils import CursorWrapper
from django.test import override_settings

from jwt_middleware import (
    ConfigurationError,
    Cookies,
    Refresh,
    Route,
    StoreUnavailable,
    TrustedIssuer,
    current_token,
)
from jwt_middleware.core.decide import Core
from jwt_middleware.django import jwt_issuer, jwt_settings
from jwt_middleware.testing import TokenFactory
from jwt_middleware.values.events import Refused
from tests.django import urls
from tests.django.asking import Asking, asking, bearer, both, tables
from tests.django.project import AUTHENTICATION, JWT, MIDDLEWARE, OURS, VERSION
from tests.rules import accepts, refuses
from tests.wrapped import FACTORY, SETTINGS, Promises

INVALID = 'Bearer realm="api", error="invalid_token"'
PASSWORD = "correct horse battery staple"


@pytest.fixture(autouse=True, scope="module")
def _tables() -> None:
    tables()


@pytest.fixture
def alice() -> Iterator[Any]:
    one = get_user_model().objects.create_user("alice", password=PASSWORD)
    yield one
    get_user_model().objects.all().delete()


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the queries of all threads from now on."""
    found: list[str] = []
    execute = CursorWrapper.execute

    def executed(cursor: Any, sql: str, params: Any = None) -> Any:
        found.append(sql)
        return execute(cursor, sql, params)

    monkeypatch.setattr(CursorWrapper, "execute", executed)
    return found


@pytest.fixture(params=["wsgi", "asgi"])
def ask(request: pytest.FixtureRequest) -> Asking:
    return Asking(request.param)


class TestPromises(Promises):
    @pytest.fixture(params=["wsgi", "asgi"])
    def client(self, request: pytest.FixtureRequest) -> Iterator[Asking]:
        with asking(request.param, SETTINGS.replace()) as one:
            yield one

    @pytest.fixture
    def calls(self) -> list[str]:
        urls.CALLS.clear()
        return urls.CALLS


# --- the user


def test_the_user_is_looked_up_when_first_asked_for(
    ask: Asking, alice: Any, queries: list[str]
) -> None:
    headers = bearer(alice.pk)
    assert ask.get("/me", headers=headers).status_code == 200
    assert queries == []
    answer = ask.get("/auser" if ask.is_async else "/user", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json["user"] == "alice"
    assert len(queries) == 1
    assert "auth_user" in queries[0]
    assert not answer.cookies
    assert "Cookie" not in answer.headers.get("Vary", "")


def test_a_sync_view_of_an_async_server_has_its_user(alice: Any) -> None:
    answer = Asking("asgi").get("/user", headers=bearer(alice.pk))
    assert answer.json == {
        "user": "alice", "pk": alice.pk, "in": True, "active": True,
    }  # fmt: skip


@both
def test_who_is_not_there_or_not_active_is_refused(
    kind: str, alice: Any, queries: list[str]
) -> None:
    events: list[Any] = []
    alice.is_active = False
    alice.save()
    paths = ["/user", "/account"] + (["/auser"] if kind == "asgi" else [])
    with asking(kind, JWT.replace(on_event=events.append)) as ask:
        for path in paths:
            for subject in (alice.pk, alice.pk + 1000, "nobody", f"{alice.pk}" + "0" * 30):
                queries.clear()
                answer = ask.get(path, headers=bearer(subject))
                assert answer.status_code == 401, answer.text
                assert answer.headers["WWW-Authenticate"].startswith(INVALID)
                assert answer.json["error"] == "invalid_token"
                assert len(queries) <= 1
        told = [one.reason for one in events if isinstance(one, Refused)]
        assert told == ["user_refused"] * 4 * len(paths)
        # Who never asks for the user never learns.
        assert ask.get("/me", headers=bearer(alice.pk)).status_code == 200


@both
def test_a_subject_is_compared_as_it_is_written(kind: str, alice: Any) -> None:
    ask = Asking(kind)
    for spelt in (f"0{alice.pk}", f" {alice.pk}", f"+{alice.pk}", f"{alice.pk}.0", "\uff11"):
        assert ask.get("/user", headers=bearer(spelt)).status_code == 401, spelt
    with asking(kind, JWT_MIDDLEWARE_USER_FIELD="username") as ask:
        assert ask.get("/user", headers=bearer("alice")).status_code == 200
        for spelt in ("Alice", "alice ", str(alice.pk)):
            assert ask.get("/user", headers=bearer(spelt)).status_code == 401, spelt


@both
def test_a_refused_user_is_refused_whoever_asked(kind: str, alice: Any) -> None:
    below = [*MIDDLEWARE, "tests.django.above.AsksForUser"]
    with asking(kind, MIDDLEWARE=below) as ask:
        assert ask.get("/me", headers=bearer(alice.pk)).status_code == 200
        answer = ask.get("/me", headers=bearer("nobody"))
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith(INVALID)


@both
@refuses("RS-37")
def test_other_subjects_are_nobody(kind: str, alice: Any) -> None:
    other = TokenFactory(issuer="https://other.example", audience=FACTORY.audience)
    settings = JWT.replace(
        trusted_issuers=(
            TrustedIssuer(issuer=other.issuer, keys=other.keys, audience=other.audience),
        )
    )
    with asking(kind, settings) as ask:
        for headers in (
            bearer(alice.pk, client_id=str(alice.pk)),  # a client speaks for itself
            other.bearer(sub=str(alice.pk)),  # another issuer's user of the same name
        ):
            path = "/auser" if kind == "asgi" else "/user"
            answer = ask.get(path, headers=headers)
            found = answer.json
            assert (found["user"], found["in"]) == ("", False)
            assert ask.get("/account", headers=headers).status_code == 302  # to LOGIN_URL
            assert ask.get("/me", headers=headers).status_code == 200


@both
@accepts("RS-37")
def test_another_issuers_user_is_whom_the_settings_name(kind: str, alice: Any) -> None:
    other = TokenFactory(issuer="https://other.example", audience=FACTORY.audience)
    trusted = TrustedIssuer(
        issuer=other.issuer,
        keys=other.keys,
        audience=other.audience,
        user=lambda token: str(alice.pk) if token.subject == "a" else None,
    )
    with asking(kind, JWT.replace(trusted_issuers=(trusted,))) as ask:
        assert ask.get("/user", headers=other.bearer(sub="a")).json["user"] == "alice"
        assert ask.get("/user", headers=other.bearer(sub="b")).json["in"] is False


def test_permissions_are_those_of_the_users_row(ask: Asking, alice: Any) -> None:
    headers = bearer(alice.pk)
    assert ask.get("/people", headers=headers).status_code == 403
    alice.is_superuser = True
    alice.save()
    assert ask.get("/people", headers=headers).status_code == 200


# --- public routes belong to Django


@both
def test_on_public_routes_the_session_says_who_it_is(kind: str, alice: Any) -> None:
    ask = Asking(kind)
    assert ask.get("/site/user").json["in"] is False
    if kind == "wsgi":
        ask.client.force_login(alice)
        bob = get_user_model().objects.create_user("bob")
        for _ in range(2):  # a token in between changes nothing about the session
            # No credentials are read there, not even bad ones.
            seen = ask.get("/site/user", headers={"Authorization": "Bearer x"})
            assert seen.json["user"] == "alice"
            assert ask.get("/user", headers=bearer(bob.pk)).json["user"] == "bob"
        # A session opens no route that needs a token.
        assert ask.get("/user").status_code == 401


def test_the_admin_logs_in_and_out_beside_tokens(alice: Any) -> None:
    alice.is_staff = alice.is_superuser = True
    alice.save()
    ask = Asking("wsgi", enforce_csrf_checks=True)
    page = ask.get("/site/admin/login/")
    form = {
        "username": "alice",
        "password": PASSWORD,
        "csrfmiddlewaretoken": page.cookies["csrftoken"].value,
    }
    bare = {**form, "csrfmiddlewaretoken": "x"}
    # Django's own check stays, also where somebody sends a token along.
    for headers in ({}, bearer(alice.pk)):
        assert ask.post("/site/admin/login/", data=bare, headers=headers).status_code == 403
    assert ask.post("/site/admin/login/", data=form).status_code == 302
    assert ask.get("/me", headers=bearer(alice.pk)).status_code == 200
    assert ask.get("/site/admin/auth/user/").status_code == 200
    token = ask.client.cookies["csrftoken"].value
    assert ask.post("/site/admin/logout/", data={"csrfmiddlewaretoken": token}).status_code == 200
    assert ask.get("/site/admin/auth/user/").status_code == 302


def test_an_optional_route_has_the_tokens_user_or_djangos(ask: Asking) -> None:
    seen = [ask.get("/maybe", headers=headers).json for headers in ({}, bearer(7))]
    assert [one["subject"] for one in seen] == [None, "7"]
    assert ask.get("/maybe", headers={"Authorization": "Bearer x.y.z"}).status_code == 401


@both
def test_without_djangos_middleware_there_is_a_user_all_the_same(kind: str, alice: Any) -> None:
    with asking(kind, MIDDLEWARE=[OURS]) as ask:
        assert ask.get("/site/user").json["in"] is False
        assert ask.get("/user", headers=bearer(alice.pk)).json["user"] == "alice"


# --- CSRF


@both
def test_a_bearer_token_needs_no_csrf_token(kind: str) -> None:
    ask = Asking(kind, enforce_csrf_checks=True)
    assert ask.post("/body", headers=bearer(1)).status_code == 200
    assert ask.post("/maybe", headers=bearer(1)).status_code == 200
    assert ask.post("/maybe").status_code == 403  # without a token Django's check stays
    assert ask.post("/open").status_code == 403


@both
def test_in_cookie_mode_our_check_stands_in_for_djangos(kind: str) -> None:
    group = Refresh(store="memory://", cookies=Cookies(access=True))
    with override_settings(JWT_MIDDLEWARE=JWT.replace(refresh=group)):
        ask = Asking(kind, enforce_csrf_checks=True)
        assert ask.post("/login?sub=7").status_code == 200
        assert ask.get("/me").json["subject"] == "7"
        page = {"X-Requested-With": "fetch", "Origin": JWT.issuer}
        assert ask.post("/body", headers=page).status_code == 200
        for headers in (
            {},
            {"Origin": JWT.issuer},
            {**page, "Origin": "https://evil.example"},
            {**page, "Origin": "null", "Sec-Fetch-Site": "cross-site"},
        ):
            assert ask.post("/body", headers=headers).status_code == 403, headers


@both
def test_djangos_check_stays_for_a_token_that_a_gateway_adds(kind: str) -> None:
    # The gateway knows the user by a cookie, which other sites' pages make a browser send.
    token = bearer(1)["Authorization"].removeprefix("Bearer ")
    with override_settings(JWT_MIDDLEWARE=JWT.replace(credentials_header="X-Gateway")):
        ask = Asking(kind, enforce_csrf_checks=True)
        assert ask.get("/me", headers={"X-Gateway": token}).status_code == 200
        assert ask.post("/body", headers={"X-Gateway": token}).status_code == 403
        assert ask.post("/body", headers=bearer(1)).status_code == 200


@both
def test_djangos_check_stays_where_the_project_says_so(kind: str) -> None:
    with override_settings(JWT_MIDDLEWARE_CSRF_CHECK=True):
        assert (
            Asking(kind, enforce_csrf_checks=True).post("/body", headers=bearer(1)).status_code
            == 403
        )


@both
def test_a_safe_method_leaves_djangos_check_to_what_is_made_of_it(kind: str) -> None:
    # Code below ours may make a POST of a GET whose sender we didn't check.
    ask = Asking(kind, enforce_csrf_checks=True)
    answers = {
        method: ask(method, "/me", headers=bearer(1)) for method in ("get", "post", "delete")
    }
    flags = {method: answer.request._dont_enforce_csrf_checks for method, answer in answers.items()}
    assert flags == {"get": False, "post": True, "delete": True}


# --- what is ours


@both
@pytest.mark.parametrize("above", [[], ["tests.django.above.reads_all"]])
def test_login_refresh_and_log_out(kind: str, above: list[str]) -> None:
    with asking(kind, MIDDLEWARE=[*above, *MIDDLEWARE]) as ask:
        page = {"X-Requested-With": "fetch", "Origin": JWT.issuer}
        first = ask.post("/login?sub=7")
        (name,) = first.cookies
        assert name.startswith("__Host-refresh_token-")
        # The refresh token isn't seen by any view, nor by code that has read the cookies before.
        ask.client.cookies["theme"] = "dark"
        seen = ask.get("/cookies", headers=bearer(7)).json
        assert seen["cookies"] == ["theme"]
        assert seen["header"] == "theme=dark"
        assert seen["scope"] == (["theme=dark"] if kind == "asgi" else [])
        second = ask.post("/auth/refresh", headers=page, content_type="application/json")
        assert second.status_code == 200, second.text
        access = second.json["access_token"]
        assert ask.get("/me", headers={"Authorization": f"Bearer {access}"}).status_code == 200
        # A second login of the browser replaces the first.
        third = ask.post("/login?sub=7")
        (living,) = jwt_issuer().grants("7")
        assert living.id == third.json["sid"] != first.json["sid"]
        assert ask.get("/me", headers={"Authorization": f"Bearer {access}"}).status_code == 401
        out = ask.post(
            "/auth/revoke",
            data=f"sid={living.id}",
            content_type="application/x-www-form-urlencoded",
            headers=page,
        )
        assert out.status_code == 200, out.text
        assert jwt_issuer().grants("7") == ()
        assert out.cookies[f"__Host-refresh_token-{living.id[-8:]}"]["max-age"] == "0"
        assert ask.get("/cookies", headers=bearer(7)).status_code == 200


@both
def test_a_body_is_left_to_the_view(kind: str) -> None:
    ask = Asking(kind)
    answer = ask.post(
        "/body", data="a=1&b=2", content_type="application/x-www-form-urlencoded",
        headers=bearer(1),
    )  # fmt: skip
    assert answer.json == {"body": "a=1&b=2", "form": {"a": ["1"], "b": ["2"]}}


@both
def test_other_sites_do_not_log_anybody_in(kind: str) -> None:
    evil = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert Asking(kind).post("/login", headers=evil).status_code == 403


@both
def test_a_login_that_cannot_be_served_now_is_a_503(kind: str) -> None:
    def away(grant: Any) -> Any:
        raise StoreUnavailable("the users' database is away")

    events: list[Any] = []
    group = Refresh(store="memory://", claims_for=away)
    with asking(kind, JWT.replace(refresh=group, on_event=events.append)) as ask:
        answer = ask.post("/login", headers={"Origin": JWT.issuer})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json["error"] == "temporarily_unavailable"
    assert answer.headers["Cache-Control"] == "no-store"
    (refused,) = (one for one in events if isinstance(one, Refused))
    assert (refused.path, refused.status) == ("/login", 503)


@both
def test_the_token_is_current_while_a_body_streams(kind: str) -> None:
    ask = Asking(kind)
    assert ask.get("/stream", headers=bearer("alice")).text == "alice alice "
    assert ask.get("/file", headers=bearer("alice")).text == "a file"
    if kind == "asgi":
        assert ask.get("/astream", headers=bearer("alice")).text == "alice alice "
    assert current_token() is None


def test_between_two_chunks_no_token_is_current() -> None:
    answer = Asking("wsgi").client.get("/stream", headers=bearer("alice"))
    seen = [(chunk, current_token()) for chunk in answer.streaming_content]
    assert seen == [(b"alice ", None)] * 2


@both
def test_caches_are_told_what_an_answer_depends_on(kind: str) -> None:
    ask = Asking(kind)
    assert ask.get("/me", headers=bearer(1)).headers["Vary"] == "Authorization"
    assert "Authorization" in ask.get("/maybe").headers["Vary"]
    with asking(kind, JWT.replace(routes=(Route("/open", public=True),))) as ask:
        assert "Vary" not in ask.get("/open").headers
    settings = JWT.replace(
        refresh=Refresh(store="memory://", cookies=Cookies(access=True)),
        credentials_header="X-Token",
    )
    with asking(kind, settings) as ask:
        answer = ask.get("/me", headers=bearer(1))
        assert answer.headers["Vary"] == "Authorization, X-Token, Cookie"


@pytest.mark.parametrize("field", ["Authorization", "X-Gateway"])
def test_djangos_cache_serves_nobody_anothers_answer(field: str) -> None:
    # Of the field Authorization newer versions take care by themselves.
    cache = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    middleware = [
        "django.middleware.cache.UpdateCacheMiddleware",
        *MIDDLEWARE,
        "django.middleware.cache.FetchFromCacheMiddleware",
    ]
    settings = JWT.replace(credentials_header="X-Gateway")
    sent = {}
    for subject in ("alice", "bob"):
        value = bearer(subject)["Authorization"]
        sent[subject] = {field: value if field == "Authorization" else value[len("Bearer ") :]}
    urls.CALLS.clear()
    with asking("wsgi", settings, MIDDLEWARE=middleware, CACHES=cache) as ask:
        for subject in ("alice", "bob") * 3:
            assert ask.get("/me", headers=sent[subject]).json["subject"] == subject
        assert ask.get("/me").status_code == 401
    assert len(urls.CALLS) == 2


# --- paths


@both
def test_a_slash_is_appended_for_who_may_come_in(kind: str) -> None:
    ask = Asking(kind)
    assert ask.get("/slash").status_code == 401
    answer = ask.get("/slash", headers=bearer(1))
    assert (answer.status_code, answer.headers["Location"]) == (301, "/slash/")
    assert ask.get("/slash/", headers=bearer(1)).status_code == 200


@both
@pytest.mark.parametrize("forced", [None, "/api"])
def test_rules_are_about_the_path_below_the_root(kind: str, forced: str | None) -> None:
    root = {"SCRIPT_NAME" if kind == "wsgi" else "root_path": "/api"} if forced is None else {}
    # Before 5.0 Django's path under ASGI doesn't know of the setting.
    is_cut = kind == "asgi" and (forced is None or VERSION >= (5,))
    prefix = "/api" if is_cut else ""
    with asking(kind, options=root, FORCE_SCRIPT_NAME=forced) as ask:
        assert ask.get(f"{prefix}/open").status_code == 200
        assert ask.get(f"{prefix}/admin/users").status_code == 401
        refused = ask.get(f"{prefix}/admin/users", headers=bearer(1))
        assert refused.status_code == 403
        fresh = ask.post(f"{prefix}/auth/refresh", content_type="application/json")
        assert fresh.status_code == 400, fresh.text


@both
def test_a_wrong_host_is_djangos_to_refuse(kind: str) -> None:
    ask = Asking(kind)
    host = {"Host": "evil.example"}
    assert ask.get("/me", headers=host | bearer(1)).status_code == 400
    with asking(kind, MIDDLEWARE=[OURS]) as ask:
        assert ask.get("/me", headers=host).status_code == 401


# --- settings


def test_the_settings_are_an_object_a_path_or_a_mapping() -> None:
    assert jwt_settings() is JWT
    with override_settings(JWT_MIDDLEWARE="tests.django.project.JWT"):
        assert jwt_settings() is JWT
    mapping = {"issuer": JWT.issuer, "audience": JWT.audience, "keys": JWT.keys}
    with override_settings(JWT_MIDDLEWARE=mapping):
        one = jwt_settings()
        assert one.issuer == JWT.issuer
        assert jwt_settings() is one  # one store in memory, one cache
        assert Asking("wsgi").get("/me").status_code == 401
    with override_settings(JWT_MIDDLEWARE=dict(mapping)):
        assert jwt_settings() is not one


def test_an_async_chain_with_a_sync_part_below_ours_is_served_in_a_thread(alice: Any) -> None:
    with asking("asgi", MIDDLEWARE=[*MIDDLEWARE, "tests.django.above.sync_only"]) as ask:
        assert ask.get("/user", headers=bearer(alice.pk)).status_code == 200
        assert ask.get("/auser", headers=bearer(alice.pk)).status_code == 200
        assert ask.get("/me").status_code == 401
        assert ask.post("/login").status_code == 200
        page = {"X-Requested-With": "fetch", "Origin": JWT.issuer}
        form = "application/x-www-form-urlencoded"
        assert ask.post("/auth/refresh", headers=page, content_type=form).status_code == 200


@both
def test_a_known_token_is_decided_about_without_a_flow(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, headers = Asking(kind), bearer(1)
    assert ask.get("/me", headers=headers).status_code == 200
    monkeypatch.setattr(Core, "decide", None)
    assert ask.get("/me", headers=headers).status_code == 200


def test_the_user_needs_djangos_middleware_above() -> None:
    below = pytest.raises(ConfigurationError, match="AuthenticationMiddleware stands below ours")
    with override_settings(MIDDLEWARE=[OURS, AUTHENTICATION]), below:
        Asking("wsgi").get("/me")
