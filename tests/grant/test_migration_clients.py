"""RT-33, RT-34: how the clients of former libraries go on, at the old path and by old cookies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from jwt_middleware import Cookies, Proofs, Route, TokenCache, migrations
from jwt_middleware.request.body_parameters import MAX_BODY
from jwt_middleware.values.events import Revoked
from tests.grant.former import OLD_PATH, OTHER, fastapi_users, flask_jwt, migration, simplejwt
from tests.issuing import DAY, DOORS, HOUR, MINUTE, REFRESH, REVOKE, SITES, World, opened
from tests.rules import accepts, refuses
from tests.world import NOW, Answer

OLD, ACCESS = flask_jwt("refresh"), flask_jwt("access")
PAGE = (("X-CSRF-TOKEN", "c"), ("Origin", "https://login.example"))
JSON_TYPE = (("Content-Type", "application/json"),)


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("Authorization", f"Bearer {token}"),)


def cookie(*values: str) -> tuple[tuple[str, str], ...]:
    return (("Cookie", "; ".join(values)),)


@pytest.fixture
def world() -> Iterator[World]:
    with opened(refresh={"migrate": migration()}) as one:
        yield one


@pytest.fixture
def django() -> Iterator[World]:
    with opened(refresh={"migrate": migration(library=migrations.SIMPLEJWT)}) as one:
        yield one


@pytest.fixture
def browser() -> Iterator[World]:
    cookies = Cookies(access=True, header="X-CSRF-TOKEN")
    with opened(refresh={"migrate": migration(), "cookies": cookies}) as one:
        yield one


# --- what is sent


@accepts("RT-33")
def test_flask_jwt_extended_sends_it_in_the_header(world: World) -> None:
    """With an empty body, with none, and with an empty object."""
    assert world.send("POST", OLD_PATH, headers=bearer(OLD)).status == 200
    assert world.send("POST", OLD_PATH, headers=(*JSON_TYPE, *bearer(OLD))).status == 200
    answer = world.post_json(OLD_PATH, {}, headers=bearer(OLD))
    assert answer.status == 200, answer.reason
    assert {"access_token", "refresh_token"} <= answer.json.keys()
    # What it has now is sent in the same way: the client's code isn't changed.
    world.clock.forward(HOUR)
    ours = world.send("POST", OLD_PATH, headers=bearer(answer.json["refresh_token"]))
    assert ours.status == 200
    assert world.call(ours.json["access_token"]).user == "alice"


@accepts("RT-33")
def test_simplejwt_sends_and_reads_names_of_its_own(django: World) -> None:
    old = simplejwt("refresh")
    headers = bearer(simplejwt("access", exp=NOW - DAY))  # clients send it with every request
    answer = django.post_json(OLD_PATH, {"refresh": old}, headers=headers)
    assert answer.json["access"] == answer.json["access_token"]
    assert answer.json["refresh"] == answer.json["refresh_token"]
    assert django.call(answer.json["access"]).user == "7"
    django.clock.forward(HOUR)
    again = django.post_json(OLD_PATH, {"refresh": answer.json["refresh"]})
    assert again.status == 200
    assert django.post(OLD_PATH, {"refresh": again.json["refresh"]}).status == 200
    # The names are the old path's.
    ours = django.refresh(again.json["refresh"])
    assert {"access", "refresh"}.isdisjoint(ours.json)
    assert django.post_json(REFRESH, {"refresh": again.json["refresh"]}).status == 400


@accepts("RT-33")
@pytest.mark.parametrize("path", [REFRESH, OLD_PATH])
def test_the_form_of_the_rfc_is_taken_at_both_paths(path: str, world: World) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": OLD}
    assert world.post(path, form).status == 200
    assert world.post_json(path, form).status == 200
    assert world.post(path, {**form, "grant_type": "password"}).json["error"] == (
        "unsupported_grant_type"
    )


@refuses("RT-33", "RT-24")
def test_the_old_path_has_the_bounds_of_ours(world: World) -> None:
    assert world.send("POST", OLD_PATH).status == 400
    assert world.send("POST", OLD_PATH, headers=bearer(ACCESS)).reason == "claim_not_allowed"
    ours = world.login("bob")
    assert world.send("POST", OLD_PATH, headers=bearer(ours.access_token)).status == 400
    assert world.send("POST", OLD_PATH, headers=(("Authorization", "Bearer"),)).status == 400
    assert world.send("POST", OLD_PATH, headers=bearer("x" * 9000)).status == 401
    assert world.post(OLD_PATH, {"refresh_token": "x" * MAX_BODY}).status == 413
    assert world.get(OLD_PATH).status == 405
    # Elsewhere the header stays what it is: at our endpoint it is ignored.
    assert world.send("POST", REFRESH, headers=bearer(OLD)).status == 400
    # Not at a path beside it.
    assert world.send("POST", OLD_PATH.rstrip("/"), headers=bearer(OLD)).status == 401


@refuses("RT-33")
def test_without_a_path_there_is_none() -> None:
    with opened(DOORS, refresh={"migrate": migration(path="")}) as world:
        assert world.send("POST", OLD_PATH, headers=bearer(OLD)).status == 401
        assert world.refresh(OLD).status == 200


# --- cookies


def named(tokens: Any) -> list[str]:
    return [one.partition("=")[0] for one in tokens]


@accepts("RT-33", "RT-20")
@pytest.mark.parametrize("path", [REFRESH, OLD_PATH])
def test_an_old_cookie_becomes_ours(path: str, browser: World) -> None:
    headers = (*PAGE, *cookie(f"refresh_token_cookie={OLD}", f"access_token_cookie={ACCESS}"))
    answer = browser.send("POST", path, headers=headers)
    assert answer.status == 200, answer.reason
    assert "refresh_token" not in answer.json
    refresh, access, *cleared = answer.cookies
    assert refresh.startswith("__Host-refresh_token-")
    assert access.startswith("__Host-access_token-")
    assert named(cleared) == ["refresh_token_cookie", "access_token_cookie"]
    assert all("Max-Age=0" in one and "Path=/" in one for one in cleared)
    pair = [one.partition(";")[0] for one in (refresh, access)]
    seen = browser.get("/", headers=(*PAGE, *cookie(*pair)))
    assert (seen.status, seen.user) == (200, "alice")
    # Where the old one stays, because its path was another, ours goes first.
    browser.clock.forward(HOUR)
    both = (*PAGE, *cookie(f"refresh_token_cookie={OLD}", pair[0]))
    assert browser.send("POST", path, headers=both).status == 200


@refuses("RT-20")
def test_another_site_cant_send_the_old_cookie(browser: World) -> None:
    old = cookie(f"refresh_token_cookie={OLD}")
    for headers in (
        (),
        (*PAGE[:1], ("Origin", "https://evil.example")),
        PAGE[1:],
        (("X-CSRF-TOKEN", "c"), ("Sec-Fetch-Site", "cross-site")),
    ):
        for path in (REFRESH, OLD_PATH, REVOKE):
            answer = browser.send("POST", path, headers=(*headers, *old))
            assert (answer.status, answer.reason) == (403, "cross_site")
    assert browser.each(lambda site: site.ask("grants", "alice")) == ()


@refuses("RT-21")
def test_two_old_cookies_of_one_name_are_refused(browser: World) -> None:
    other = flask_jwt("refresh", "bob")
    headers = (*PAGE, *cookie(f"refresh_token_cookie={OLD}", f"refresh_token_cookie={other}"))
    assert browser.send("POST", REFRESH, headers=headers).reason == "cookie_twice"
    same = (*PAGE, *cookie(*[f"refresh_token_cookie={OLD}"] * 2))
    assert browser.send("POST", REFRESH, headers=same).status == 200


@refuses("RT-33")
def test_a_log_out_ends_the_old_cookie_too(browser: World) -> None:
    headers = (*PAGE, *cookie(f"refresh_token_cookie={OLD}"))
    answer = browser.send("POST", REVOKE, headers=headers)
    assert (answer.status, named(answer.cookies)) == (200, ["refresh_token_cookie"])
    assert [event.reason for event in browser.events if isinstance(event, Revoked)] == ["logout"]
    again = browser.send("POST", REFRESH, headers=headers)
    assert (again.reason, named(again.cookies)) == ("grant_ended", ["refresh_token_cookie"])
    others = (*PAGE, *cookie(f"refresh_token_cookie={flask_jwt('refresh', secret=OTHER)}"))
    assert browser.send("POST", REFRESH, headers=others).cookies == ()


@refuses("RT-33")
def test_a_log_out_of_one_login_leaves_the_others(browser: World) -> None:
    headers = (*PAGE, *cookie(f"refresh_token_cookie={OLD}"))
    assert browser.post(REVOKE, {"sid": "another"}, headers=headers).status == 200
    assert browser.send("POST", REFRESH, headers=headers).status == 200


@refuses("RT-33")
def test_another_login_ends_the_old_cookie(browser: World) -> None:
    """Else the next page would be the former user's."""

    def logs_in(site: Any) -> tuple[str, ...]:
        held = site.settings.refresh.jars("https://login.example").held(
            f"refresh_token_cookie={OLD}; other=1"
        )
        tokens = site.ask("issue", "bob", replaces=held)
        return tuple(value for _, value in tokens.cookies)

    cookies = browser.each(logs_in)
    assert named(cookies)[2:] == ["refresh_token_cookie"]
    headers = (*PAGE, *cookie(f"refresh_token_cookie={OLD}"))
    assert browser.send("POST", REFRESH, headers=headers).reason == "grant_ended"


@refuses("RT-33")
def test_a_login_may_replace_an_old_token_given_as_text(world: World) -> None:
    world.login("alice", replaces=OLD)
    assert world.refresh(OLD).reason == "grant_ended"
    world.login("alice", replaces=flask_jwt("refresh", secret=OTHER))


@refuses("RT-33")
def test_log_out_of_the_application_ends_the_old_cookie() -> None:
    class Response:
        headers: Any = None

    cookies = Cookies()
    with opened(refresh={"migrate": migration(), "cookies": cookies}) as browser:

        def logs_out(site: Any) -> Any:
            from werkzeug.datastructures import Headers

            held = site.settings.refresh.jars("https://login.example").held(
                f"refresh_token_cookie={OLD}"
            )
            response = Response()
            response.headers = Headers()
            site.ask("log_out", response, held)
            return [value.partition("=")[0] for _, value in response.headers]

        assert browser.each(logs_out) == ["refresh_token_cookie"]
        headers = (
            ("X-Requested-With", "x"),
            *PAGE[1:],
            *cookie(f"refresh_token_cookie={OLD}"),
        )
        assert browser.send("POST", REFRESH, headers=headers).reason == "grant_ended"


@accepts("RT-33", "RT-32")
def test_a_page_load_goes_on_by_the_old_cookie() -> None:
    navigation = (
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Dest", "document"),
        ("Sec-Fetch-Site", "none"),
    )
    group = {"migrate": migration(), "cookies": Cookies(access=True, forms=True)}
    routes = (Route("/login", public=True, own_origin=True),)
    with opened(refresh=group, login_url="/login", routes=routes) as browser:
        came = (*navigation, *cookie(f"refresh_token_cookie={OLD}"))
        away = browser.get("/cart", headers=came)
        assert (away.status, away.header("location")) == (303, "/auth/continue?next=/cart")
        back = browser.send("GET", "/auth/continue", query="next=%2Fcart", headers=came)
        assert (back.status, back.header("location")) == (303, "/cart")
        refresh, access, cleared = back.cookies
        assert cleared.startswith("refresh_token_cookie=;")
        now = cookie(access.partition(";")[0], refresh.partition(";")[0])
        assert browser.get("/cart", headers=(*navigation, *now)).user == "alice"
        # When the login has ended, the old cookie leads to the login page, and goes.
        browser.revoke_all("alice")
        out = browser.send("GET", "/auth/continue", query="next=%2Fcart", headers=came)
        assert (out.status, out.header("location")) == (303, "/login?next=/cart")
        lone = (*navigation, *cookie(f"access_token_cookie={flask_jwt('access', exp=NOW - DAY)}"))
        out = browser.send("GET", "/auth/continue", query="next=%2Fcart", headers=lone)
        assert (out.status, out.header("location")) == (303, "/login?next=/cart")


# --- old access tokens


@accepts("RT-34")
@pytest.mark.parametrize("entries", [4096, 0])
def test_an_old_access_token_opens_the_named_routes(entries: int) -> None:
    cache = TokenCache(entries=entries, hashed=True)
    group = {"migrate": migration(scope="read")}
    with opened(DOORS, refresh=group, token_cache=cache) as world:
        for _ in range(3):
            assert world.get("/api/things", ACCESS).user == "alice"
        token = world.get("/api/things", ACCESS).token
        assert token is not None
        assert (token.issuer, token.subject, token.client_id) == (
            "https://login.example",
            "alice",
            "first-party",
        )
        assert (token.grant_id, token.scope, token.claims["aud"]) == (
            None,
            "read",
            "https://api.example",
        )
        assert (token.claims["csrf"], token.claims["jti"]) == ("c", "jti of alice")


@refuses("RT-34")
def test_an_old_access_token_opens_no_other_route(world: World) -> None:
    assert world.get("/api/things", ACCESS).status == 200  # it is known now
    for path in ("/", "/api", "/apis", "/other/api/x", "/api//x", "/api/../x", "/api/%2e"):
        answer = world.get(path, ACCESS)
        assert (answer.status, answer.reason) == (401, "claim_missing"), path


@accepts("RT-34")
def test_fastapi_users_tokens_are_access_tokens_only() -> None:
    group = migration(library=migrations.FASTAPI_USERS, path="")
    with opened(DOORS, refresh={"migrate": group}) as world:
        token = fastapi_users()
        assert world.get("/api/x", token).user == "alice"
        assert world.refresh(token).status == 400
        assert world.get("/api/x", fastapi_users(aud=["fastapi-users:reset"])).status == 401


@refuses("RT-34")
def test_where_tokens_must_be_bound_old_ones_and_what_they_lead_to_open_nothing() -> None:
    proofs = Proofs(urls=("https://api.example",), access=True, required=True)
    routes = (Route("/as-before", proof="accepted"),)
    with opened(DOORS, refresh={"migrate": migration()}, proofs=proofs, routes=routes) as world:
        answer = world.refresh(OLD)
        token = answer.json["access_token"]
        assert world.get("/as-before", token).user == "alice"
        for path, one in (("/x", token), ("/api/x", ACCESS)):
            assert world.get(path, one).reason == "token_not_bound"


@refuses("RT-34")
def test_without_a_token_the_named_routes_are_closed(world: World, browser: World) -> None:
    for one in (world, browser):
        assert one.get("/api/x").reason == "credentials_missing"


@refuses("RT-34")
def test_without_routes_no_access_token_is_taken() -> None:
    with opened(DOORS, refresh={"migrate": migration(routes=())}) as world:
        assert world.get("/api/x", ACCESS).status == 401


@refuses("RT-34")
def test_an_old_access_token_buys_nothing(world: World) -> None:
    assert world.refresh(ACCESS).reason == "claim_not_allowed"
    assert world.revoke(ACCESS).status == 200
    assert world.revoke(flask_jwt("access", iss="another's")).status == 200
    assert world.get("/api/x", ACCESS).status == 200
    assert world.each(lambda site: site.ask("grants", "alice")) == ()


@refuses("RT-34")
def test_a_known_old_token_ends_with_its_time(world: World) -> None:
    short = flask_jwt("access", exp=NOW + MINUTE)
    assert world.get("/api/x", short).status == 200
    world.clock.forward(MINUTE + 29)
    assert world.get("/api/x", short).status == 200  # the leeway, as for any access token
    world.clock.forward(1)
    assert world.get("/api/x", short).reason == "expired"


@accepts("RT-34", "RT-20")
def test_an_old_access_cookie_opens_the_named_routes(browser: World) -> None:
    came = cookie(f"access_token_cookie={ACCESS}")
    assert browser.get("/api/x", headers=came).user == "alice"
    assert browser.get("/x", headers=came).reason == "credentials_missing"
    assert browser.send("POST", "/api/x", headers=came).reason == "cross_site"
    assert browser.send("POST", "/api/x", headers=(*PAGE, *came)).status == 200
    # A token in the header is the client's choice.
    ours = browser.login("bob")
    headers = (*came, *bearer(ours.access_token))
    assert browser.get("/api/x", headers=headers).user == "bob"


def answered(world: World, token: str) -> Answer:
    return world.get("/api/x", token)


@refuses("RT-34")
def test_checks_of_the_application_hold_for_old_tokens_too() -> None:
    def check(token: Any) -> bool:
        return bool(token.subject != "mallory")

    with opened(DOORS, refresh={"migrate": migration()}, checks=(check,)) as world:
        assert answered(world, ACCESS).status == 200
        assert answered(world, flask_jwt("access", "mallory")).reason == "check_refused"


@refuses("RT-34")
def test_a_mass_end_ends_old_access_tokens_that_are_new_here(world: World) -> None:
    ours = world.login("bob")
    world.clock.forward(MINUTE)

    def end(site: Any) -> None:
        answer = site.store.end_before(None)
        if hasattr(answer, "close"):
            site.runner.run(answer)

    world.each(end)
    world.clock.forward(MINUTE)
    assert world.call(ours.access_token).reason == "grant_ended"  # so the mark is known here
    assert answered(world, ACCESS).reason == "grant_ended"


@accepts("RT-34")
def test_ours_pass_on_the_named_routes_as_everywhere(world: World) -> None:
    ours = world.login("bob")
    for path in ("/api/x", "/x", "/api/x"):
        assert world.get(path, ours.access_token).user == "bob"


@accepts("RT-34")
@pytest.mark.parametrize("kinds", [SITES])
def test_a_known_old_token_asks_nothing(kinds: Any) -> None:
    asked = []

    def is_blocked(claims: Any) -> bool:
        asked.append(claims)
        return False

    with opened(kinds[:1], refresh={"migrate": migration(is_blocked=is_blocked)}) as world:
        for _ in range(5):
            assert answered(world, ACCESS).status == 200
    assert len(asked) == 1
