"""What attackers and unlucky users met: cookies of several logins, and the doors of a login."""

from __future__ import annotations

from pathlib import Path

import pytest

from jwt_middleware import Cookies, Issuer, KeySet, Refresh, Route, Settings
from jwt_middleware.keys import file
from tests.browser import OWN_PAGE, Browser, refresh_name, set_cookies
from tests.issuing import AUDIENCE, DOORS, HOUR, ISSUER, REFRESH, SITES, Clock, Kind, opened
from tests.rules import accepts, refuses

OTHER = "https://other.example"  # an issuer beside ours, on the same host
EVIL = (("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site"))


# --- other sites' requests


@refuses("RT-27")
@pytest.mark.parametrize("wide", ["public", "optional"])
@pytest.mark.parametrize(
    ("path", "other"),
    [
        ("/signin", "/signin/"),
        ("/signin/", "/signin"),
        ("/signin/*", "/signin"),
        ("/signin/*", "/signin/"),
    ],
)
def test_the_path_with_or_without_its_last_slash_is_closed_to_other_sites(
    wide: str, path: str, other: str
) -> None:
    # Litestar 2.25 serves both alike, and a rule for all paths lets the other one in.
    opens_all = Route("/*", public=wide == "public", optional=wide == "optional")
    routes = (opens_all, Route(path, public=True, own_origin=True))
    with opened(DOORS, routes=routes) as world:
        for method in ("POST", "post", "PUT"):
            answer = world.send(method, other, headers=EVIL)
            assert (answer.status, answer.reason, answer.reached) == (403, "cross_site", False)
        assert world.send("GET", other, headers=EVIL).reached
        assert world.send("POST", other, headers=OWN_PAGE).reached
        assert world.send("POST", "/other", headers=EVIL).reached
        assert world.send("POST", "/signin/x/y", headers=OWN_PAGE).reached


@accepts("RT-27")
def test_a_path_with_its_last_slash_stays_closed_where_nothing_opens_it() -> None:
    with opened(DOORS, routes=(Route("/signin", public=True, own_origin=True),)) as world:
        assert world.send("POST", "/signin/", headers=OWN_PAGE).status == 401


@refuses("RT-27")
def test_methods_that_log_in_are_closed_below_another_rule_too() -> None:
    routes = (
        Route("/*", public=True),
        Route("/signin", methods=("POST",), public=True, own_origin=True),
    )
    with opened(DOORS, routes=routes) as world:
        assert world.send("POST", "/signin/", headers=EVIL).status == 403
        assert world.send("PUT", "/signin/", headers=EVIL).reached


# --- one jar, several logins


@accepts("RT-26")
def test_of_two_logins_of_one_second_one_is_taken_by_both_cookies() -> None:
    # Neither knew of the other. The page must not be one user by the access cookie, and after its
    # refresh another.
    for order in (1, -1):
        with opened(SITES, refresh={"cookies": Cookies(access=True)}) as world:
            browser = Browser(world)
            browser.login("alice")
            browser.login("bob")
            browser.cookies = dict([*browser.cookies.items()][::order])
            who = browser.request("GET", "/").user
            for _ in range(3):
                sid = browser.refresh().json["sid"]
                assert world.row(sid).subject == who
                assert browser.request("GET", "/").user == who
                world.clock.forward(HOUR)


@accepts("RT-26")
def test_a_refresh_that_names_its_client_takes_that_clients_login() -> None:
    with opened(SITES, refresh={"cookies": Cookies()}) as world:
        browser = Browser(world)
        shop = browser.login("alice", client_id="shop")
        world.clock.forward(1)
        staff = browser.login("bob", client_id="staff")
        world.clock.forward(HOUR)
        for client, tokens in (("shop", shop), ("staff", staff), ("shop", shop)):
            form = f"grant_type=refresh_token&client_id={client}"
            answer = browser.request("POST", REFRESH, form=form)
            assert (answer.status, answer.json["sid"]) == (200, tokens.grant_id)
            world.clock.forward(HOUR)
        answer = browser.request("POST", REFRESH, form="grant_type=refresh_token&client_id=other")
        assert (answer.status, answer.reason, answer.cookies) == (400, "client_mismatch", ())


# --- another application of this host


@accepts("RT-26")
@pytest.mark.parametrize("kind", DOORS, ids=lambda kind: kind[0])
def test_another_applications_cookie_holds_nobody_up_while_the_key_file_is_broken(
    tmp_path: Path, kind: Kind
) -> None:
    path = tmp_path / "keys.json"
    KeySet.generate("Ed25519").save(path)
    clock, theirs = Clock(), KeySet.generate("Ed25519")
    group = Refresh(store="memory://", cookies=Cookies())
    settings = Settings(issuer=OTHER, audience=AUDIENCE, keys=theirs, refresh=group, clock=clock)
    foreign, mine = (
        Issuer(one).issue("carol") for one in (settings, settings.replace(issuer=ISSUER))
    )
    with opened((kind,), keys=KeySet.load(path), refresh={"cookies": Cookies()}) as world:
        browser = Browser(world)
        browser.take(set_cookies(foreign))
        sid = browser.login().grant_id
        assert len(browser.cookies) == 2
        world.clock.forward(HOUR)
        file.write_key_file(path, b"")
        for _ in range(2):
            answer = browser.refresh()
            assert (answer.status, answer.json["sid"]) == (200, sid)
            world.clock.forward(HOUR)
        assert browser.logout().status == 200
        assert not world.is_alive(sid)
        assert browser.cookies.keys() == {refresh_name(foreign)}
        # Of keys that may be in the file, nobody says that they are none of ours.
        answer = world.refresh(mine.refresh_token)
        assert (answer.status, answer.reason) == (503, "keys_unavailable")
