"""RT-26: one cookie jar, many pages: an answer changes only what its own request was about.

A browser takes what an answer sets whenever it arrives, also when the page that asked has gone, and
after a login as somebody else. Each story is played at both doors, before each kind of store, with
the access token in the body and in a cookie.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from inspect import iscoroutine

import pytest

from jwt_middleware import Cookies, Grant, Route
from jwt_middleware.testing import TokenFactory
from tests.browser import FIELD, OWN_PAGE, Browser, access_name, refresh_name
from tests.issuing import (
    AUDIENCE,
    DAY,
    DOORS,
    FAULTY,
    HOUR,
    ISSUER,
    REFRESH,
    REVOKE,
    SITES,
    Site,
    World,
    opened,
)
from tests.rules import accepts, refuses
from tests.world import Answer

ROUTES = (Route("/login", public=True, own_origin=True), Route("/open", public=True))


@pytest.fixture(params=[True, False], ids=["both tokens", "refresh only"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    cookies = {"cookies": Cookies(access=request.param)}
    with opened(SITES, refresh=cookies, routes=ROUTES) as one:
        yield one


@pytest.fixture
def browser(world: World) -> Browser:
    browser = Browser(world)
    browser.logs_in("alice")
    world.clock.forward(HOUR)
    return browser


def is_still(browser: Browser, subject: str) -> None:
    """Show that the browser is logged in as this user, and stays so."""
    for _ in range(3):
        answer = browser.refresh()
        assert answer.status == 200, answer.reason
        (grant,) = browser.world.each(lambda site: site.ask("grants", subject))
        assert answer.json["sid"] == grant.id
        browser.world.clock.forward(HOUR)


def named(answer: Answer) -> set[str]:
    """Return the names of the cookies that an answer sets or clears."""
    return {field.partition("=")[0] for field in answer.cookies}


def ends_elsewhere(world: World, grant_id: str) -> None:
    """End a grant in the store, as another process does."""

    def end(site: Site) -> None:
        done = site.store.end(grant_id, "elsewhere")
        assert site.runner.run(done) if iscoroutine(done) else done

    world.each(end)


# --- an old answer comes after a new login


def late_refusal(browser: Browser) -> None:
    browser.world.revoke_all("alice")
    late = browser.asks("POST", REFRESH)
    assert (late.status, late.reason) == (400, "grant_ended")
    browser.logs_in("bob")
    browser.take(late.cookies)
    is_still(browser, "bob")


def late_success(browser: Browser) -> None:
    late = browser.asks("POST", REFRESH)
    assert late.status == 200
    browser.logs_in("bob")
    browser.take(late.cookies)
    assert len(browser.cookies) in (2, 4), "the old login's cookies are back"
    is_still(browser, "bob")
    assert len(browser.cookies) in (1, 2), "and go with the next answer"


def log_out_sent_again(browser: Browser, *, is_late: bool = False) -> None:
    sid = browser.refresh().json["sid"]
    lost = browser.asks("POST", REVOKE, form=f"sid={sid}")
    assert lost.status == 200
    browser.logs_in("bob")
    if is_late:
        browser.take(lost.cookies)
    assert browser.logout(sid=sid).status == 200
    is_still(browser, "bob")


# What comes late, after a new login.
STORIES: dict[str, Callable[[Browser], None]] = {
    "a refusal": late_refusal,
    "a success": late_success,
    "a log-out, sent again": log_out_sent_again,
    "a log-out, sent again, and its lost answer": partial(log_out_sent_again, is_late=True),
}


@accepts("RT-26")
@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_what_comes_late_leaves_the_new_login(
    story: Callable[[Browser], None], browser: Browser
) -> None:
    story(browser)


def test_a_log_out_that_names_nothing_ends_what_there_is_by_then(browser: Browser) -> None:
    # What remains: docs/cookies.md says so.
    browser.asks("POST", REVOKE)
    browser.logs_in("bob")
    browser.logout()
    assert browser.refresh().status == 400


@accepts("RT-26")
def test_a_log_out_that_is_late_logs_out_whom_it_was_about(browser: Browser) -> None:
    sid = browser.refresh().json["sid"]
    old = Browser(browser.world)
    old.cookies = dict(browser.cookies)  # as the request on its way has them
    browser.logs_in("bob")
    late = old.asks("POST", REVOKE, form=f"sid={sid}")
    browser.take(late.cookies)
    is_still(browser, "bob")
    browser.logout()
    browser.take(late.cookies)
    assert browser.refresh().status == 400


@accepts("RT-26")
def test_a_log_out_that_names_its_client_ends_no_others_login(browser: Browser) -> None:
    other = browser.login("bob", client_id="other-app")
    for client_id in ("nobody's-app", "other-app"):
        answer = browser.logout(client_id=client_id)
        assert answer.status == 200
        assert browser.world.is_alive(other.grant_id) is (client_id != "other-app")
        (grant,) = browser.world.each(lambda site: site.ask("grants", "alice"))
        assert f"__Host-refresh_token-{grant.id[-8:]}" not in named(answer)


@accepts("RT-26")
def test_nobody_is_logged_in_again_by_an_answer_of_before_the_log_out(browser: Browser) -> None:
    late = browser.asks("POST", REFRESH)
    assert late.status == 200
    browser.logout()
    browser.take(late.cookies)
    answer = browser.refresh()
    assert (answer.status, answer.reason) == (400, "grant_ended")
    assert browser.cookies == {}


@accepts("RT-26")
def test_a_login_ends_what_the_browser_still_held(browser: Browser) -> None:
    world = browser.world
    (old,) = world.each(lambda site: site.ask("grants", "alice"))
    names = set(browser.cookies)
    answer = browser.logs_in("bob")
    assert world.row(old.id).end_reason == "replaced"
    assert world.each(lambda site: site.ask("grants", "alice")) == ()
    assert names < named(answer)
    assert len(named(answer)) == 2 * len(names)
    assert len(browser.cookies) == len(names)
    is_still(browser, "bob")


@accepts("RT-26")
def test_two_logins_at_once_leave_one_of_them(browser: Browser) -> None:
    browser.logout()
    answers = browser.asks_to_log_in("bob"), browser.asks_to_log_in("carol")
    for answer in answers:
        browser.take(answer.cookies)
    found = browser.refresh()
    assert found.status == 200
    browser.logs_in("alice")
    for answer in answers:
        browser.take(answer.cookies)
    is_still(browser, "alice")


# --- which cookie a refresh takes


@accepts("RT-26")
def test_a_refresh_goes_on_over_what_is_gone_to_what_lives(world: World) -> None:
    browser = Browser(world)
    alive = browser.login("alice")
    gone = []
    for _ in range(3):
        world.clock.forward(1)
        gone.append(browser.login("bob"))
        ends_elsewhere(world, gone[-1].grant_id)
    world.clock.forward(HOUR)
    answer = browser.refresh()
    assert (answer.status, answer.json["sid"]) == (200, alive.grant_id)
    assert {refresh_name(one) for one in gone} < named(answer)
    assert not any(refresh_name(one) in browser.cookies for one in gone)
    is_still(browser, "alice")


@refuses("RT-26")
def test_it_tries_four_and_clears_what_it_tried(world: World) -> None:
    browser = Browser(world)
    alive = browser.login("alice")
    gone = []
    for _ in range(4):
        world.clock.forward(1)
        gone.append(browser.login("bob"))
        ends_elsewhere(world, gone[-1].grant_id)
    answer = browser.refresh()
    assert (answer.status, answer.reason) == (400, "grant_ended")
    assert {refresh_name(one) for one in gone} <= named(answer)
    assert refresh_name(alive) not in named(answer)
    is_still(browser, "alice")


@refuses("RT-26")
def test_it_goes_on_over_nothing_else(world: World) -> None:
    browser = Browser(world)
    other = browser.login("alice")
    world.clock.forward(1)
    stolen = browser.login("bob")
    held = dict(browser.cookies)
    for _ in range(2):  # the thief's copy is two generations behind
        world.clock.forward(HOUR)
        assert browser.refresh().json["sid"] == stolen.grant_id
    browser.cookies = held
    answer = browser.refresh()
    assert (answer.status, answer.reason) == (400, "refresh_token_reused")
    assert refresh_name(stolen) in named(answer)
    assert refresh_name(other) not in named(answer)
    assert not world.is_alive(stolen.grant_id)
    assert world.is_alive(other.grant_id)


@accepts("RT-26")
def test_the_newest_that_lives_is_taken(world: World) -> None:
    browser = Browser(world)
    browser.login("alice")
    world.clock.forward(1)
    newest = browser.login("bob")
    answer = browser.refresh()
    assert answer.json["sid"] == newest.grant_id
    # By the tokens' own times, whatever their order in the field.
    browser.cookies = dict(reversed(browser.cookies.items()))
    assert browser.refresh().json["sid"] == newest.grant_id


@accepts("RT-26")
def test_a_cookie_past_its_absolute_end_is_cleared(world: World) -> None:
    browser = Browser(world)
    old = browser.login("alice")
    world.clock.forward(31 * DAY)
    answer = browser.refresh()
    assert (answer.status, answer.reason) == (400, "expired")
    assert refresh_name(old) in named(answer)
    assert refresh_name(old) not in browser.cookies
    browser.cookies = {refresh_name(old): old.refresh_token}
    assert refresh_name(old) in named(browser.logs_in("bob"))
    is_still(browser, "bob")


@accepts("RT-26")
def test_a_refresh_clears_beside_it_what_is_past_its_absolute_end(world: World) -> None:
    browser = Browser(world)
    old = browser.login("alice")
    world.clock.forward(31 * DAY)
    kept = {refresh_name(old): old.refresh_token}
    browser.login("bob")
    browser.cookies |= kept
    answer = browser.refresh()
    assert answer.status == 200
    assert refresh_name(old) in named(answer)
    assert refresh_name(old) not in browser.cookies


@refuses("RT-26")
def test_a_cookie_ahead_of_its_row_stays(world: World) -> None:
    # The store is an old backup: the newer one may come back, and the login with it.
    browser = Browser(world)
    tokens = browser.login("alice")
    before = world.row(tokens.grant_id)
    for _ in range(12):
        world.clock.forward(HOUR)
        assert browser.refresh().status == 200
    newest = world.row(tokens.grant_id)
    world.each(lambda site: site.put_back(before))
    answer = browser.refresh()
    assert (answer.status, answer.reason) == (400, "refresh_token_ahead")
    assert named(answer) == set()
    world.each(lambda site: site.put_back(newest))
    is_still(browser, "alice")


@accepts("RT-26")
def test_a_kept_token_is_not_set_anew(world: World) -> None:
    # Its answer, come late, would put it over its own successor.
    browser = Browser(world)
    tokens = browser.login("alice")
    answer = browser.refresh()
    assert answer.status == 200
    assert named(answer) <= {access_name(tokens)}


@accepts("RT-26")
def test_what_is_none_of_ours_is_neither_taken_nor_cleared(browser: Browser) -> None:
    # Of another application on this host, with keys of its own.
    with opened(DOORS[:1], refresh={"cookies": Cookies(access=True, name="x")}) as world:
        # The same randomness as in the other world gives the same ids at first.
        other = [world.login("mallory") for _ in range(5)][-1]
        foreign = {
            f"__Host-refresh_token-{other.grant_id[-8:]}": "e30." + other.refresh_token,
            "__Host-refresh_token-12345678": "x",
            access_name(other): other.access_token + "x",
        }
    browser.cookies |= foreign
    browser.cookies = dict(reversed(browser.cookies.items()))
    for answer in (browser.refresh(), browser.logs_in("bob")):
        assert answer.status == 200
        assert not named(answer) & set(foreign)
    is_still(browser, "bob")
    browser.logout()
    assert set(browser.cookies) == set(foreign)


# --- the access cookie


@accepts("RT-26")
def test_of_several_access_cookies_the_newest_that_is_not_over_counts() -> None:
    with opened(SITES, refresh={"cookies": Cookies(access=True)}) as world:
        browser = Browser(world)
        browser.login("alice")
        world.clock.forward(1)
        newest = browser.login("bob")
        assert browser.request("GET", "/").user == "bob"
        browser.cookies = dict(reversed(browser.cookies.items()))
        assert browser.request("GET", "/").user == "bob"
        world.revoke_all("bob")
        assert browser.request("GET", "/").user == "alice"
        browser.cookies.pop(access_name(newest))
        world.revoke_all("alice")
        assert browser.request("GET", "/").reason == "grant_ended"


@refuses("RT-26")
def test_several_access_cookies_that_are_nobodys_open_nothing() -> None:
    with opened(DOORS, refresh={"cookies": Cookies(access=True)}) as world:
        tokens = world.login()
        name, other = access_name(tokens), access_name(world.login())
        forged = tokens.access_token[:-4] + "AAAA"
        for cookies in (
            {name: "x", other: "y"},
            {name: "x.y.z", other: tokens.access_token + "."},
            {other: tokens.access_token, name: "x"},  # not in the cookie of its grant
            {name: forged, other: "x"},
        ):
            browser = Browser(world)
            browser.cookies = cookies
            answer = browser.request("GET", "/")
            if cookies.get(other) == tokens.access_token:
                # Alone it would open what it is good for; its name only says which to take.
                assert answer.user == "alice"
            else:
                assert answer.status == 401


@refuses("RT-26")
def test_a_newer_access_token_that_is_not_ours_or_not_in_its_cookie_is_passed_over() -> None:
    with opened(DOORS, refresh={"cookies": Cookies(access=True)}) as world:
        browser = Browser(world)
        name = access_name(browser.login("alice"))
        world.clock.forward(5)
        mallory = world.login("mallory")
        sid = "other-application"
        now = int(world.clock())
        theirs = TokenFactory(issuer="https://other.example", clock=world.clock)
        # Of our name, but by a key that is none of ours.
        forger = TokenFactory(issuer=ISSUER, audience=AUDIENCE, clock=world.clock)
        for other, token in (
            (name[:-8] + "planted1", mallory.access_token),
            (name[:-8] + sid[-8:], theirs.token(sid=sid, iat=now)),
            (name[:-8] + sid[-8:], forger.token(sid=sid, iat=now)),
        ):
            browser.cookies = {other: token, name: browser.cookies[name]}
            assert browser.request("GET", "/").user == "alice"


@refuses("RT-26")
def test_an_access_token_in_anothers_cookie_logs_nobody_out() -> None:
    with opened(DOORS, refresh={"cookies": Cookies(access=True)}) as world:
        browser = Browser(world)
        tokens = browser.login("alice")
        planted = access_name(tokens)[:-8] + "planted1"
        browser.cookies = {planted: tokens.access_token}
        answer = browser.logout()
        assert (answer.status, named(answer)) == (200, set())
        assert world.is_alive(tokens.grant_id)


@refuses("RT-26")
def test_another_site_logs_nobody_out_by_the_access_cookie_that_is_left() -> None:
    with opened(DOORS, refresh={"cookies": Cookies(access=True)}) as world:
        browser = Browser(world)
        tokens = browser.login("alice")
        browser.cookies.pop(refresh_name(tokens))
        evil = (("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site"))
        for page in ((), evil, (FIELD, *evil)):
            assert browser.logout(page).status == 403
            assert world.is_alive(tokens.grant_id)
        assert browser.logout().status == 200
        assert not world.is_alive(tokens.grant_id)


@refuses("RT-26")
def test_the_text_of_a_known_access_cookie_is_no_authorization() -> None:
    with opened(SITES, refresh={"cookies": Cookies(access=True)}) as world:
        browser = Browser(world)
        tokens = browser.login("alice")
        for _ in range(2):
            assert browser.request("GET", "/").user == "alice"
        header = ("Authorization", tokens.access_token)
        answer = world.get("/", headers=[header])
        assert (answer.status, answer.reached) == (401, False)
        # Beside the cookie, the two are looked at as if neither were known.
        assert browser.request("GET", "/", (*OWN_PAGE, header)).user == "alice"
        page = (*OWN_PAGE, ("Authorization", f"Bearer {tokens.access_token}"))
        assert browser.request("GET", "/", page).reason == "credentials_twice"


# --- what the application sees


@accepts("RT-26")
def test_the_application_never_sees_a_refresh_token(browser: Browser) -> None:
    world = browser.world
    browser.cookies |= {"theme": "dark", "__Host-refresh_token-short": "kept"}
    browser.logs_in("bob")
    has_access = any(name.startswith("__Host-access_token-") for name in browser.cookies)
    answer = browser.request("GET", "/open")
    assert answer.reached

    def cookie(site: object) -> str:
        found: str = site.application.cookie  # type: ignore[attr-defined]
        return found

    seen = world.each(cookie)
    assert "theme=dark" in seen
    assert "__Host-refresh_token-short=kept" in seen
    assert ("__Host-access_token-" in seen) is has_access
    (grant,) = world.each(lambda site: site.ask("grants", "bob"))
    assert grant.id[-8:] not in seen.replace(f"__Host-access_token-{grant.id[-8:]}", "")


def test_where_nothing_else_came_there_is_no_cookie() -> None:
    with opened(DOORS, refresh={"cookies": Cookies()}, routes=ROUTES) as world:
        browser = Browser(world)
        browser.login()
        assert browser.request("GET", "/open").reached
        assert world.each(lambda site: site.application.cookie) is None


def test_a_known_token_goes_the_same_way() -> None:
    with opened(DOORS, refresh={"cookies": Cookies()}) as world:
        browser = Browser(world)
        tokens = browser.login()
        page = (*OWN_PAGE, ("Authorization", f"Bearer {tokens.access_token}"))
        browser.cookies["theme"] = "dark"
        for _ in range(3):
            assert browser.request("GET", "/", page).user == "alice"
            assert world.each(lambda site: site.application.cookie) == "theme=dark"


# --- faults


def test_a_login_that_can_not_end_the_old_one_begins_nothing() -> None:
    with opened(FAULTY, refresh={"cookies": Cookies()}, routes=ROUTES) as world:
        browser = Browser(world)
        tokens = browser.login()
        world.each(lambda site: site.store.fails.add("end"))
        with pytest.raises(Exception, match="no route"):
            browser.asks_to_log_in("bob")
        world.each(lambda site: site.store.fails.clear())
        assert world.is_alive(tokens.grant_id)
        assert world.each(lambda site: site.ask("grants", "bob")) == ()


@accepts("RT-26")
def test_a_refresh_that_finds_its_grant_ended_meanwhile_sets_nothing() -> None:
    is_ending: list[bool] = []
    sites: list[World] = []

    def claims_for(grant: Grant) -> dict[str, str]:
        if is_ending:  # a log-out that is served while this is asked
            sites[0].site.issuer.revoke(grant.id)
        return {}

    group = {"cookies": Cookies(access=True), "claims_for": claims_for}
    with opened(DOORS, refresh=group) as one:
        sites.append(one)
        browser = Browser(one)
        tokens = browser.login()
        one.clock.forward(HOUR)
        is_ending.append(True)
        answer = browser.refresh()
        assert (answer.status, answer.reason) == (400, "grant_ended")
        assert named(answer) == {refresh_name(tokens), access_name(tokens)}
        assert browser.cookies == {}


@accepts("RT-26")
def test_another_applications_access_cookie_is_nobodys_here() -> None:
    # Two ports of localhost share a jar. With a Bearer header it is no second credential, either.
    group = {"cookies": Cookies(access=True)}
    routes = (Route("/maybe", optional=True),)
    with opened(DOORS, refresh=group, issuer="http://localhost:8001", routes=routes) as other:
        foreign = other.login("mallory")
    name = f"__Host-access_token-{foreign.grant_id[-8:]}"
    with opened(DOORS, refresh=group, routes=routes) as world:
        browser = Browser(world)
        browser.cookies[name] = foreign.access_token
        assert browser.request("GET", "/").reason == "credentials_missing"
        answer = browser.request("GET", "/maybe")
        assert (answer.reached, answer.token) == (True, None)
        token = world.login().access_token
        page = (*OWN_PAGE, ("Authorization", f"Bearer {token}"))
        for _ in range(2):
            assert browser.request("GET", "/", page).user == "alice"
        browser.login("bob")
        for _ in range(2):
            assert browser.request("GET", "/").user == "bob"


def test_what_a_browser_holds_is_shown_to_nobody() -> None:
    with opened(DOORS[:1], refresh={"cookies": Cookies()}, routes=ROUTES) as world:
        browser = Browser(world)
        token = browser.login().refresh_token
        jars = Cookies().jars("https://login.example")
        held = jars.held("; ".join(f"{name}={value}" for name, value in browser.cookies.items()))
        assert held.refresh[0][1] == token
        assert repr(held) == "<Held: 1 logins>"
        for keep in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="tokens are not to be kept"):
                keep(held)
