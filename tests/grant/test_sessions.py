"""RT-31: users see and end their own logins by the session endpoints, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from jwt_middleware import Cookies, Route, Tokens
from jwt_middleware.testing import Attack, TokenFactory
from jwt_middleware.values.events import Revoked
from tests.browser import FIELD, OWN_PAGE, Browser, access_name, refresh_name
from tests.grant.test_rt_exchange import claims_of
from tests.grant.test_rt_revocation import of_no_grant
from tests.issuing import DAY, DOORS, FAULTY, HOUR, KEYS, SITES, Site, World, opened
from tests.rules import accepts, refuses
from tests.world import NOW, Answer, standing

SESSIONS = "/auth/sessions"
OTHERS = f"{SESSIONS}/end-others"
ON = {"sessions": True}
SHOP = "https://shop.example"


@pytest.fixture
def world() -> Iterator[World]:
    with opened(SITES, refresh=ON) as one:
        yield one


@pytest.fixture
def doors() -> Iterator[World]:
    with opened(DOORS, refresh=ON) as one:
        yield one


def shown(world: World, tokens: Tokens) -> list[dict[str, Any]]:
    answer = world.get(SESSIONS, tokens.access_token)
    assert answer.status == 200
    assert answer.header("cache-control") == "no-store"
    assert answer.header("content-type") == "application/json"
    assert not answer.reached
    found: list[dict[str, Any]] = answer.json["sessions"]
    return found


def end(world: World, grant_id: str, token: str | None, **more: Any) -> Answer:
    return world.send("DELETE", f"{SESSIONS}/{grant_id}", token=token, **more)


# --- seen


@accepts("RT-31")
def test_users_see_their_own_logins_and_which_one_they_use(world: World) -> None:
    phone = world.login(label="Zoë's phone", client_id="mobile")
    world.login("bob", label="not hers")
    world.clock.forward(HOUR)
    laptop = world.login(label="Firefox <b>", absolute_limit=2 * DAY)
    now = int(world.clock.now)
    first = {
        "id": phone.grant_id,
        "label": "Zoë's phone",
        "created_at": int(NOW),
        "last_used_at": int(NOW),
        "expires_at": int(NOW) + 30 * DAY,
        "current": False,
        "client_id": "mobile",
    }
    second = {
        "id": laptop.grant_id,
        "label": "Firefox <b>",
        "created_at": now,
        "last_used_at": now,
        "expires_at": now + 2 * DAY,
        "current": True,
        "client_id": "first-party",
    }
    assert shown(world, laptop) == [second, first]
    world.renewed(phone.refresh_token)  # a rotation is a use
    assert shown(world, laptop) == [second, first | {"last_used_at": now}]


@refuses("RT-31")
def test_nothing_of_another_users_is_seen(world: World) -> None:
    mine, other = world.login(label="mine"), world.login("bob", label="secret", client_id="tv")
    answer = world.get(SESSIONS, mine.access_token)
    assert [one["id"] for one in answer.json["sessions"]] == [mine.grant_id]
    body = answer.body.decode().replace(mine.grant_id, "")  # which is random, and may contain "tv"
    for text in ("bob", "secret", "tv", other.grant_id):
        assert text not in body


def test_a_login_that_nobody_can_use_any_more_is_not_shown(doors: World) -> None:
    library = doors.login(label="library", idle_limit=HOUR)
    here = doors.login()
    doors.clock.forward(1.1 * HOUR)
    assert doors.refresh(library.refresh_token).status == 200  # at the last moment
    doors.clock.forward(1.2 * HOUR)
    fresh = doors.renewed(here.refresh_token)["access_token"]
    answer = doors.get(SESSIONS, fresh)
    assert [one["label"] for one in answer.json["sessions"]] == [None, "library"]
    doors.clock.forward(1)
    answer = doors.get(SESSIONS, fresh)
    assert [one["label"] for one in answer.json["sessions"]] == [None]
    assert doors.refresh(library.refresh_token).reason == "grant_ended"


def test_the_login_that_asks_is_always_shown() -> None:
    # Its refresh token may be over while its access token is still good.
    limits = {"idle_limit": 660, "access_lifetime": 600, "settle": 60}
    with opened(DOORS, refresh=ON | limits) as world:
        tokens = world.login()

        def forget(site: Site) -> None:
            row = site.store._grants[tokens.grant_id]
            long_ago = row.rotated_at - HOUR
            site.store._grants[tokens.grant_id] = replace(row, rotated_at=long_ago)

        world.each(forget)
        assert [one["current"] for one in shown(world, tokens)] == [True]


# --- ended


@accepts("RT-31")
def test_users_end_one_of_their_logins(world: World) -> None:
    here, lost, other = world.login(), world.login(label="lost"), world.login()
    answer = end(world, lost.grant_id, here.access_token)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.header("cache-control") == "no-store"
    assert answer.events == (Revoked(grant_ids=(lost.grant_id,), reason="logout"),)
    assert world.row(lost.grant_id).end_reason == "logout"
    assert world.call(lost.access_token).reason == "grant_ended"
    assert world.refresh(lost.refresh_token).reason == "grant_ended"
    assert [one["id"] for one in shown(world, here)] == [other.grant_id, here.grant_id]
    # Again, as after a lost answer: it isn't there any more.
    assert end(world, lost.grant_id, here.access_token).status == 404
    # This very login, too.
    assert end(world, here.grant_id, here.access_token).status == 204
    assert end(world, other.grant_id, here.access_token).reason == "grant_ended"
    assert world.is_alive(other.grant_id)


@accepts("RT-31")
def test_users_end_all_their_other_logins(world: World) -> None:
    logins = [world.login() for _ in range(3)]
    here, bob = logins[1], world.login("bob")
    answer = world.send("POST", OTHERS, token=here.access_token)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.header("cache-control") == "no-store"
    ended = (logins[2].grant_id, logins[0].grant_id)
    assert answer.events == (Revoked(grant_ids=ended, reason="logout"),)
    for tokens in (logins[0], logins[2]):
        assert world.call(tokens.access_token).reason == "grant_ended"
        assert world.refresh(tokens.refresh_token).reason == "grant_ended"
    for tokens in (here, bob):
        assert world.call(tokens.access_token).status == 200
        assert world.refresh(tokens.refresh_token).status == 200
    again = world.send("POST", OTHERS, token=here.access_token)
    assert (again.status, again.events) == (204, ())


@refuses("RT-31")
def test_another_users_login_is_as_one_that_does_not_exist(world: World) -> None:
    mine, other = world.login(), world.login("bob")
    before = world.row(other.grant_id)
    found = end(world, other.grant_id, mine.access_token)
    assert found.status == 404
    assert found.json["error"] == "not_found"
    assert found.challenge == ""
    assert found.reason == "session_not_found"
    assert world.row(other.grant_id) == before
    assert world.call(other.access_token).status == 200
    for unknown in (
        "axxxxxxxxxxxxxxxxxxxxxx",
        "x",
        "",
        "/",
        "a b",
        "é",
        "\0",
        "%00",
        "*",
        "x" * 65,
    ):
        answer = end(world, unknown, mine.access_token)
        assert (answer.status, answer.headers, answer.body) == (404, found.headers, found.body)
    world.clock.forward(31 * DAY)
    late = world.login()
    assert end(world, mine.grant_id, late.access_token).status == 404  # past its absolute end


@refuses("RT-31")
def test_what_can_be_no_id_does_not_reach_the_store() -> None:
    """A store may be unable to take a NUL or half a pair, and would be called unavailable."""
    with opened(FAULTY, refresh=ON) as world:
        mine = world.login()
        world.each(lambda site: site.store.fails.add("advance"))
        for text in ("\0", "é", "a/b", "x" * 65, ""):
            assert end(world, text, mine.access_token).status == 404
        assert end(world, "x" * 64, mine.access_token).status == 503


@refuses("RT-31")
@pytest.mark.parametrize("path", [SESSIONS, f"{SESSIONS}/an-id", OTHERS])
def test_who_is_no_user_with_a_login_here_is_refused(doors: World, path: str) -> None:
    tokens = doors.login()
    method = {SESSIONS: "GET", OTHERS: "POST"}.get(path, "DELETE")
    bare = doors.send(method, path)
    assert (bare.status, bare.json["error_description"]) == (
        401,
        "This resource needs an access token",
    )
    assert bare.challenge.startswith("Bearer realm=")
    bad = doors.send(method, path, token="x.y.z")
    assert (bad.status, bad.error) == (401, "invalid_token")
    refresh = doors.send(method, path, token=tokens.refresh_token)
    assert (refresh.status, refresh.error) == (401, "invalid_token")
    without = doors.send(method, path, token=of_no_grant(tokens.access_token))
    assert (without.status, without.error) == (403, "insufficient_scope")
    assert without.reason == "not_a_login"
    assert doors.is_alive(tokens.grant_id)
    doors.each(lambda site: site.ask("revoke", tokens.grant_id))
    ended = doors.send(method, path, token=tokens.access_token)
    assert (ended.status, ended.reason) == (401, "grant_ended")


@refuses("RT-31")
def test_a_client_that_acts_for_itself_has_no_logins() -> None:
    with opened(DOORS, refresh=ON, keys=FACTORY.keys, issuer=FACTORY.issuer) as world:
        user = world.login()
        claims = claims_of(user.access_token)
        own = FACTORY.token(**(claims | {"sub": claims["client_id"]}))
        answer = world.get(SESSIONS, own)
        assert (answer.status, answer.reason) == (403, "not_a_login")


def test_no_rule_of_the_routes_opens_or_closes_them() -> None:
    routes = (Route("/auth/*", public=True), Route("/*", scope="admin"))
    with opened(DOORS, refresh=ON, routes=routes) as world:
        assert world.get(SESSIONS).status == 401
        tokens = world.login()
        assert [one["current"] for one in shown(world, tokens)] == [True]
        # A token that is known goes the same way.
        assert [one["current"] for one in shown(world, tokens)] == [True]


# --- methods, faults, and off


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        (SESSIONS, "GET, HEAD, OPTIONS"),
        (OTHERS, "POST, OPTIONS"),
        (f"{SESSIONS}/an-id", "DELETE, OPTIONS"),
    ],
)
def test_methods_that_an_endpoint_does_not_know(doors: World, path: str, allow: str) -> None:
    token = doors.login().access_token
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "delete"):
        if method in allow:
            continue
        for credentials in (token, None):
            answer = doors.send(method, path, token=credentials)
            assert (answer.status, answer.header("allow")) == (405, allow)
            assert answer.header("cache-control") == "no-store"
            assert not answer.reached
            assert answer.body == b"" or method != "HEAD"
    options = doors.send("OPTIONS", path)
    assert (options.status, options.header("allow")) == (204, allow)


def test_head_is_get_without_its_content(doors: World) -> None:
    token = doors.login(label="phone").access_token
    whole = doors.get(SESSIONS, token)
    head = doors.send("HEAD", SESSIONS, token=token)
    assert (head.status, head.headers, head.body) == (200, whole.headers, b"")
    assert int(whole.header("content-length") or 0) == len(whole.body) > 100


def test_a_page_of_a_known_origin_may_ask() -> None:
    with opened(DOORS, refresh=ON, origins=(SHOP,)) as world:
        here, other = world.login(), world.login()
        asks = [("Origin", SHOP), ("Access-Control-Request-Method", "DELETE")]
        for path, methods in (
            (SESSIONS, "GET, HEAD"),
            (OTHERS, "POST"),
            (f"{SESSIONS}/{other.grant_id}", "DELETE"),
        ):
            preflight = world.send("OPTIONS", path, headers=asks)
            assert preflight.header("access-control-allow-origin") == SHOP
            assert preflight.header("access-control-allow-methods") == methods
        token, origin = here.access_token, [("Origin", SHOP)]
        for answer in (
            world.get(SESSIONS, token, headers=origin),
            world.get(SESSIONS, headers=origin),
            end(world, other.grant_id, token, headers=origin),
            end(world, other.grant_id, token, headers=origin),
            world.send("POST", OTHERS, token=token, headers=origin),
        ):
            assert answer.header("access-control-allow-origin") == SHOP
        evil = world.get(SESSIONS, token, headers=[("Origin", "https://evil.example")])
        assert evil.header("access-control-allow-origin") is None


def test_without_the_store_the_answer_says_so_and_nothing_is_claimed() -> None:
    with opened(FAULTY, refresh=ON) as world:
        here, other = world.login(), world.login()
        world.call(here.access_token)
        for verb, method, path in (
            ("grants", "GET", SESSIONS),
            ("grants", "POST", OTHERS),
            ("end", "POST", OTHERS),
            ("advance", "DELETE", f"{SESSIONS}/{other.grant_id}"),
            ("end", "DELETE", f"{SESSIONS}/{other.grant_id}"),
        ):
            world.each(lambda site, verb=verb: site.store.fails.add(verb))  # type: ignore[misc]
            answer = world.send(method, path, token=here.access_token)
            assert (answer.status, answer.header("retry-after")) == (503, "1")
            world.each(lambda site: site.store.fails.clear())
            assert world.is_alive(other.grant_id)
        assert end(world, other.grant_id, here.access_token).status == 204


def test_they_are_off_unless_they_are_turned_on() -> None:
    with opened(DOORS) as world:
        tokens, other = world.login(), world.login()
        for method, path in (
            ("GET", SESSIONS),
            ("DELETE", f"{SESSIONS}/{other.grant_id}"),
            ("POST", OTHERS),
        ):
            assert world.send(method, path).status == 401
            assert world.send(method, path, token=tokens.access_token).reached
        assert world.is_alive(other.grant_id)


def test_they_stand_below_the_path_of_the_endpoints_and_nothing_else_is_theirs() -> None:
    with opened(DOORS, refresh=ON | {"path": "/token"}) as world:
        tokens = world.login()
        assert world.get("/token/sessions", tokens.access_token).json["sessions"]
        for path in ("/token/sessionsx", "/token/session", "/auth/sessions", "//token/sessions"):
            for _ in range(2):
                assert world.get(path, tokens.access_token).reached


# --- cookies


@pytest.fixture
def browser() -> Iterator[Browser]:
    routes = (Route("/login", public=True, own_origin=True),)
    cookies = Cookies(access=True)
    with opened(DOORS, refresh=ON | {"cookies": cookies}, routes=routes) as world:
        browser = Browser(world)
        browser.login()
        yield browser


@accepts("RT-31")
def test_a_page_in_cookie_mode_does_the_same(browser: Browser) -> None:
    world, other = browser.world, browser.world.login(label="phone")
    answer = browser.asks("GET", SESSIONS, page=())
    assert [one["current"] for one in answer.json["sessions"]] == [False, True]
    answer = browser.request("DELETE", f"{SESSIONS}/{other.grant_id}")
    assert (answer.status, answer.cookies) == (204, ())
    assert not world.is_alive(other.grant_id)
    assert len(browser.cookies) == 2


@refuses("RT-31")
@pytest.mark.parametrize(
    "page",
    [
        (),
        (FIELD, ("Origin", "https://evil.example")),
        (FIELD, ("Sec-Fetch-Site", "cross-site")),
        OWN_PAGE[1:],
    ],
)
def test_another_site_ends_nothing_by_the_browsers_cookie(
    browser: Browser, page: tuple[tuple[str, str], ...]
) -> None:
    world, other = browser.world, browser.world.login()
    for method, path in (("DELETE", f"{SESSIONS}/{other.grant_id}"), ("POST", OTHERS)):
        answer = browser.asks(method, path, page)
        assert (answer.status, answer.reason) == (403, "cross_site")
    assert world.is_alive(other.grant_id)


@accepts("RT-26")
def test_the_cookies_of_what_was_ended_go_and_no_others(browser: Browser) -> None:
    world = browser.world
    own = dict(browser.cookies)
    world.clock.forward(1)
    newer = browser.login()  # beside the first one: a late answer, say
    answer = browser.request("POST", OTHERS)
    assert answer.status == 204
    assert set(browser.cookies) == {refresh_name(newer), access_name(newer)}
    assert {one.partition("=")[0] for one in answer.cookies} == set(own)
    answer = browser.request("DELETE", f"{SESSIONS}/{newer.grant_id}")
    assert (answer.status, browser.cookies) == (204, {})


def test_two_ways_at_once_are_refused(browser: Browser) -> None:
    token = browser.world.login().access_token
    answer = browser.world.get(SESSIONS, token, headers=browser.sent())
    assert (answer.status, answer.reason) == (400, "credentials_twice")


def test_with_the_access_token_in_a_header_the_refresh_cookie_goes_too() -> None:
    with opened(DOORS, refresh=ON | {"cookies": Cookies()}) as world:
        browser = Browser(world)
        tokens = browser.login()
        cookies = browser.sent(page=())
        answer = end(world, tokens.grant_id, tokens.access_token, headers=cookies)
        assert answer.status == 204
        browser.take(answer.cookies)
        assert browser.cookies == {}


# --- by name

FACTORY = TokenFactory(algorithm="Ed25519", clock=standing)  # its signatures can be compared


def attacks(grant_id: str, settings: Any) -> tuple[Attack, ...]:
    return tuple(one for one in FACTORY.attacks(settings, grant_id=grant_id) if one.path)


@refuses("RT-31")
@pytest.mark.parametrize("cookies", [None, Cookies(), Cookies(access=True)])
def test_every_attack_by_name_is_refused_and_ends_nothing(cookies: Cookies | None) -> None:
    given = {"keys": FACTORY.keys, "issuer": FACTORY.issuer, "audience": FACTORY.audience}
    with opened(DOORS, refresh=ON | {"cookies": cookies}, **given) as world:
        victim = world.login("bob", label="secret")
        mine = world.login()
        found = attacks(victim.grant_id, world.sites[0].settings)
        names = {one.name for one in found}
        assert "session-of-another-user" in names
        has_cookie = cookies is not None and cookies.access
        assert ("session-ended-by-another-site" in names) is has_cookie
        for attack in found:
            parts = urlsplit(attack.path)
            answer = world.send(
                attack.method, unquote(parts.path), headers=attack.headers, query=parts.query
            )
            assert (answer.status in attack.statuses, answer.reached) == (True, False), attack
            assert b"secret" not in answer.body
            assert world.is_alive(victim.grant_id)
            assert world.is_alive(mine.grant_id)
        assert world.call(victim.access_token).status == 200


def test_without_the_endpoints_there_are_no_attacks_on_them() -> None:
    assert attacks("an-id", None) == ()
    assert attacks("an-id", FACTORY.settings()) == ()
    with opened(DOORS[:1], keys=KEYS) as world:
        assert attacks("an-id", world.sites[0].settings) == ()


@refuses("RT-31")
def test_another_sites_form_behind_a_gateway_ends_nothing() -> None:
    """The gateway adds the user's token to whatever the browser sends."""
    with opened(DOORS, refresh=ON, credentials_header="X-Access-Token") as world:
        mine, other = world.login(), world.login()
        token = ("X-Access-Token", mine.access_token)
        evil = [token, ("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")]
        answer = world.send("POST", OTHERS, headers=evil)
        assert (answer.status, answer.reason) == (403, "cross_site")
        own = [token, ("Sec-Fetch-Site", "same-origin")]
        assert len(world.send("GET", SESSIONS, headers=own).json["sessions"]) == 2
        assert world.send("POST", OTHERS, headers=own).status == 204
        (left,) = world.send("GET", SESSIONS, headers=own).json["sessions"]
        assert (left["id"], other.grant_id != mine.grant_id) == (mine.grant_id, True)
