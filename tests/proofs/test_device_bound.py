"""Cookies that are bound to a device (DBSC): what a copy of them is worth, at each moment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.http import HttpResponse
from werkzeug.wrappers import Response as FlaskResponse

from jwt_middleware import Cookies, Proofs, Route
from jwt_middleware.jose import jwk
from jwt_middleware.jose.strict_json import b64url_encode
from jwt_middleware.testing.mint import ABSENT
from jwt_middleware.token import device, refresh
from jwt_middleware.values.errors import InvalidProof
from jwt_middleware.values.events import KeyMismatch, Refused
from jwt_middleware.values.proved_key import ProvedKey
from tests.browser import access_name, refresh_name
from tests.issuing import (
    DOORS,
    DURABLE,
    FAULTY,
    HOUR,
    MINUTE,
    REFRESH,
    REVOKE,
    SITES,
    World,
    opened,
)
from tests.proofs.bound_browser import (
    BY_ITSELF,
    REGISTER,
    RENEW,
    BoundBrowser,
    device_name,
    offer,
)
from tests.world import NOW, Answer

BOUND = {"cookies": Cookies(access=True, device_bound=True)}
LASTS = 300  # seconds that the cookie of the device lasts
SERVED = LASTS + 30  # that it is taken


@pytest.fixture
def sites() -> Iterator[World]:
    with opened(SITES, refresh=BOUND) as found:
        yield found


@pytest.fixture
def world() -> Iterator[World]:
    with opened(DOORS, refresh=BOUND) as found:
        yield found


def marked(browser: BoundBrowser, tokens: Any) -> str | None:
    """Return the device's key that the refresh cookie is marked with."""
    text = browser.cookies[refresh_name(tokens)]
    site = browser.world.sites[0]
    keys = site.issuer._issuing().signing().refresh
    recognized, read = refresh._recognize(text, keys), refresh._read_token(text, keys, NOW)
    assert recognized == read
    return read[0].device


def registered(world: World) -> tuple[BoundBrowser, Any]:
    """Return a browser whose refresh cookie is marked, after its first renewal."""
    browser = BoundBrowser(world)
    tokens = browser.login()
    world.clock.forward(LASTS)
    browser.forget(tokens)
    assert browser.renew().status == 200
    assert marked(browser, tokens) is not None
    return browser, tokens


# --- the way of an honest browser


def test_a_login_offers_a_registration_and_the_answer_says_what_to_hold(world: World) -> None:
    browser = BoundBrowser(world)
    tokens = browser.login()
    answer = browser.answer
    assert answer is not None
    assert (answer.status, answer.header("cache-control")) == (200, "no-store")
    assert answer.json == {
        "session_identifier": browser.session,
        "refresh_url": RENEW,
        "scope": {"include_site": False},
        "credentials": [
            {
                "type": "cookie",
                "name": device_name(tokens),
                "attributes": "Path=/; HttpOnly; SameSite=Strict; Secure",
            }
        ],
    }
    (cookie,) = answer.cookies
    assert cookie.startswith(device_name(tokens) + "=")
    assert "; Max-Age=300; " in cookie
    # The grant's row knows nothing: only a login binds.
    row = world.row(tokens.grant_id)
    assert (row.bound_key, row.generation) == (None, 1)


def test_the_browser_renews_all_cookies_by_itself(sites: World) -> None:
    browser = BoundBrowser(sites)
    tokens = browser.login()
    before = dict(browser.cookies)
    for round_ in range(1, 6):
        sites.clock.forward(LASTS)
        browser.forget(tokens)
        answer = browser.renew()
        assert (answer.status, len(answer.cookies)) == (200, 3)
        assert answer.json["session_identifier"] == browser.session
        assert sites.row(tokens.grant_id).generation == 1 + round_
    assert browser.cookies.keys() == before.keys()
    assert browser.cookies[access_name(tokens)] != before[access_name(tokens)]
    assert sites.get("/", headers=browser.sent()).status == 200
    assert b"device" not in (browser.world.sites[0].application.cookie or "").encode()


def test_a_page_refreshes_as_before_beside_it(world: World) -> None:
    browser, tokens = registered(world)
    world.clock.forward(2 * MINUTE)
    assert browser.refresh().status == 200
    assert marked(browser, tokens) is not None  # still
    assert browser.logout(sid=tokens.grant_id).status == 200
    assert browser.cookies == {}


def test_after_an_idle_week_end_one_more_round_trip_is_needed(world: World) -> None:
    browser, tokens = registered(world)
    world.clock.forward(60 * HOUR)
    browser.forget(tokens)
    answer = browser.prove()
    assert (answer.status, answer.reason) == (403, "proof_nonce")
    assert browser.prove().status == 200


def test_an_old_challenge_is_taken_though_a_newer_one_was_said(world: World) -> None:
    browser, _ = registered(world)
    world.clock.forward(MINUTE)
    old = browser.challenge
    assert browser.ask(RENEW).status == 403  # another tab, which has asked for another one
    assert browser.challenge != old
    world.clock.forward(MINUTE)
    assert browser.ask(RENEW, proof=browser.proof(old)).status == 200


def test_a_lost_answer_to_the_registration_changes_nothing(world: World) -> None:
    browser = BoundBrowser(world)
    tokens = browser.login()
    browser.forget(tokens)
    browser.session = browser.challenge = ""
    world.clock.forward(HOUR)
    assert browser.refresh().status == 200
    world.clock.forward(HOUR)
    assert browser.refresh().status == 200
    assert marked(browser, tokens) is None


def test_lost_answers_of_renewals_and_two_at_once_log_nobody_out(sites: World) -> None:
    browser, tokens = registered(sites)
    for _ in range(4):
        sites.clock.forward(LASTS)
        held = dict(browser.cookies)
        browser.forget(tokens)
        assert browser.renew().status == 200
        browser.cookies = held  # the answer is lost
        assert browser.renew().status == 200
    assert sites.is_alive(tokens.grant_id)


def test_a_browser_that_doesnt_know_it_goes_on_as_today(world: World) -> None:
    browser = BoundBrowser(world)
    tokens = world.login()
    browser.take(tuple(value for name, value in tokens.cookies if name == "set-cookie"))
    for _ in range(3):
        world.clock.forward(HOUR)
        assert browser.refresh().status == 200
    assert browser.cookies.keys() == {refresh_name(tokens), access_name(tokens)}


def test_a_young_refresh_token_is_kept_and_marked_later(world: World) -> None:
    browser = BoundBrowser(world)
    tokens = browser.login()
    before = browser.cookies[refresh_name(tokens)]
    assert browser.renew().status == 200
    assert browser.cookies[refresh_name(tokens)] == before


# --- a thief


def test_a_copy_of_all_cookies_is_worth_something_for_minutes(sites: World) -> None:
    browser, tokens = registered(sites)
    thief = browser.copied()
    sites.clock.forward(SERVED - 1)
    assert thief.refresh().status == 200
    sites.clock.forward(1)
    answer = thief.refresh()
    assert (answer.status, answer.reason) == (400, "device_not_shown")
    assert isinstance(answer.events[0], KeyMismatch)
    sites.clock.forward(11 * MINUTE)
    assert sites.get("/", headers=thief.sent()).status == 401
    # The honest browser never noticed.
    assert browser.renew().status == 200
    assert sites.is_alive(tokens.grant_id)


def test_the_refresh_cookie_alone_buys_nothing_and_changes_nothing(world: World) -> None:
    browser, tokens = registered(world)
    thief = browser.copied()
    thief.cookies = {refresh_name(tokens): browser.cookies[refresh_name(tokens)]}
    before = world.row(tokens.grant_id)
    world.clock.forward(HOUR)
    text = thief.cookies[refresh_name(tokens)]
    for answer in (thief.refresh(), world.refresh(text)):
        assert (answer.status, answer.json["error"]) == (400, "invalid_grant")
        assert (answer.reason, answer.cookies) == ("device_not_shown", ())
    assert world.row(tokens.grant_id) == before


def test_a_browser_that_may_not_renew_at_the_moment_is_told_to_come_again(world: World) -> None:
    browser, tokens = registered(world)
    browser.forget(tokens)
    skipped = ("Secure-Session-Skipped", f'server_error;session_identifier="{browser.session}"')
    page = (
        ("X-Requested-With", "fetch"),
        ("Sec-Fetch-Site", "same-origin"),
        skipped,
    )
    answer = browser.request("POST", REFRESH, page)
    assert (answer.status, answer.reason) == (503, "device_not_shown")
    assert answer.header("retry-after") is not None


def test_a_thief_with_the_session_too_has_no_key(world: World) -> None:
    browser, tokens = registered(world)
    thief = browser.copied()
    answer = thief.renew()
    assert (answer.status, answer.reason) == (403, "proof_signature")
    # Nor does a key of his own get in: only the login's answer said how.
    answer = thief.register(browser.challenge)
    assert (answer.status, answer.reason) == (403, "proof_nonce")
    assert world.is_alive(tokens.grant_id)


def test_a_second_key_registered_in_time_doesnt_open_what_the_first_has_marked(
    world: World,
) -> None:
    browser = BoundBrowser(world)
    tokens = world.login()
    offered = offer(tokens)
    assert offered is not None
    browser.take(tuple(value for name, value in tokens.cookies if name == "set-cookie"))
    browser.register(offered)
    world.clock.forward(2 * MINUTE)
    assert browser.renew().status == 200
    thief = browser.copied()
    assert thief.register(offered).status == 200
    answer = thief.renew()
    assert (answer.status, answer.reason) == (403, "device_not_shown")
    answer = thief.refresh()  # with a cookie that says that his key was shown
    assert (answer.status, answer.reason) == (400, "device_not_shown")
    assert browser.renew().status == 200


def test_a_copy_from_before_the_registration_is_found_by_rotation(world: World) -> None:
    browser = BoundBrowser(world)
    tokens = browser.login()
    thief = browser.copied()
    del thief.cookies[device_name(tokens)]
    served = []
    for _ in range(4):
        world.clock.forward(LASTS)
        served.append((thief.refresh().status, browser.renew().status))
    assert served[-1] == (400, 400)
    assert not world.is_alive(tokens.grant_id)


def test_a_registration_must_come_soon(world: World) -> None:
    browser = BoundBrowser(world)
    offered = offer(world.login())
    assert offered is not None
    world.clock.forward(10 * MINUTE)
    answer = browser.register(offered)
    assert (answer.status, answer.reason) == (403, "proof_nonce")
    assert answer.json["error"] == "device_proof_needed"


# --- whatever fails is 403, or the session would end


SPOILT: dict[str, Any] = {
    "proof_type": {"header": {"typ": "JWT"}},
    "proof_algorithm": {"header": {"alg": "RS256"}},
    "proof_claim": {"jti": 7},
    "proof_malformed": {"padding": "x" * 5000},
    "proof_nonce": {"jti": "1800000600.AAAAAAAAAAAAAAAAAAAAAA"},
}


@pytest.mark.parametrize("reason", SPOILT)
def test_a_faulty_proof_is_answered_with_a_challenge(world: World, reason: str) -> None:
    browser, tokens = registered(world)
    before = world.row(tokens.grant_id)
    proof = browser.proof(browser.challenge, **SPOILT[reason])
    answer = browser.ask(RENEW, proof=proof)
    assert (answer.status, answer.reason) == (403, reason)
    assert answer.header("secure-session-challenge") is not None
    assert world.row(tokens.grant_id) == before
    registration = browser.register(browser.challenge, **SPOILT[reason])
    assert (registration.status, registration.reason) == (403, reason)


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "ey.ey.", "é.é.é"])
def test_what_is_no_proof_at_all(world: World, text: str) -> None:
    browser, _ = registered(world)
    answer = browser.ask(RENEW, proof=text)
    assert (answer.status, answer.reason) == (403, "proof_malformed")


OCTETS = b64url_encode(bytes(32)).decode()
OTHER_KEYS: dict[str, Any] = {
    "none": ABSENT,
    "a text": "key",
    "no point": {"kty": "EC", "crv": "P-256", "x": OCTETS, "y": OCTETS},
    "of another curve": jwk.generate("ES384").public_jwk(),
    "of another type": jwk.generate("Ed25519").public_jwk(),
    "private": jwk.generate("ES256").to_jwk(),
    "another": jwk.generate("ES256").public_jwk(),
}


@pytest.mark.parametrize("which", OTHER_KEYS)
def test_a_registration_brings_the_public_key_that_signs_it(world: World, which: str) -> None:
    browser = BoundBrowser(world)
    offered = offer(world.login())
    assert offered is not None
    answer = browser.register(offered, {"jwk": OTHER_KEYS[which]})
    assert answer.status == 403
    assert answer.reason in ("proof_key", "proof_signature")
    assert answer.cookies == ()


def test_a_registration_without_a_proof(world: World) -> None:
    answer = BoundBrowser(world).ask(REGISTER)
    assert (answer.status, answer.reason) == (403, "proof_missing")


@pytest.mark.parametrize("which", ["none", "garbage", "a cookie", "longer", "another's", "é"])
def test_a_session_that_isnt_ours(world: World, which: str) -> None:
    browser, tokens = registered(world)
    other = BoundBrowser(world)
    other.login("bob")
    named = {
        "none": "",
        "garbage": "a.b.c",
        "a cookie": browser.cookies[device_name(tokens)],
        "longer": browser.session + "A" * 600,
        "another's": other.session,
        "é": browser.session + "é",
    }[which]
    proof = browser.proof(browser.challenge)
    answer = world.send(
        "POST",
        RENEW,
        headers=[
            *browser.sent(BY_ITSELF),
            ("Sec-Secure-Session-Id", named),
            ("Secure-Session-Response", proof),
        ],
    )
    assert answer.status == 403
    expected = "proof_signature" if which == "another's" else "device_session_unknown"
    assert answer.reason == expected
    assert world.is_alive(tokens.grant_id)


def test_a_challenge_of_another_session_and_texts_of_other_purposes_dont_pass(
    world: World,
) -> None:
    browser, tokens = registered(world)
    twin = BoundBrowser(world, browser.key)
    twin.login("bob")
    for text in (twin.challenge, browser.session, browser.cookies[device_name(tokens)]):
        answer = browser.ask(RENEW, proof=browser.proof(text))
        assert (answer.status, answer.reason) == (403, "proof_nonce")
    # The session's identifier lasts for as long as the login: it is no cookie.
    browser.cookies[device_name(tokens)] = browser.session
    world.clock.forward(HOUR)
    assert browser.refresh().status == 400


FOREIGN = (("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site"))


def test_the_origin_doesnt_count_because_the_proof_does(world: World) -> None:
    browser, tokens = registered(world)
    world.clock.forward(LASTS)
    # A foreign site's image, because of which the browser renews the cookies.
    assert browser.renew(page=FOREIGN).status == 200
    # A foreign site's script, which can't sign.
    before = world.row(tokens.grant_id)
    for session in (browser.session, "x"):
        answer = browser.ask(RENEW, page=FOREIGN, session=session)
        assert answer.status == 403
    assert world.row(tokens.grant_id) == before


def test_a_proof_that_is_replayed_serves_whoever_has_the_cookies_for_minutes(
    world: World,
) -> None:
    browser, tokens = registered(world)
    proof = browser.proof(browser.challenge)
    world.clock.forward(LASTS)
    assert browser.ask(RENEW, proof=proof).status == 200
    # Browsers send one signature again and again: Chromium keeps it as long as the challenge.
    assert browser.ask(RENEW, proof=proof).status == 200
    world.clock.forward(LASTS)
    answer = browser.ask(RENEW, proof=proof)
    assert (answer.status, answer.reason) == (403, "proof_nonce")
    assert world.is_alive(tokens.grant_id)


@pytest.mark.parametrize("path", [REGISTER, RENEW])
def test_a_get_is_nobodys(world: World, path: str) -> None:
    assert world.get(path).status == 405


# --- the end


def test_the_end_of_the_grant_ends_the_browsers_session(sites: World) -> None:
    browser, tokens = registered(sites)
    sites.revoke_all("alice")
    answer = browser.renew()
    assert (answer.status, answer.json["error"]) == (400, "invalid_grant")
    assert browser.cookies == {}
    # Without cookies, too: a log-out elsewhere took them.
    answer = browser.renew()
    assert (answer.status, answer.reason) == (400, "grant_ended")
    assert not sites.is_alive(tokens.grant_id)


def test_without_its_refresh_cookie_a_living_session_isnt_ended(world: World) -> None:
    browser, tokens = registered(world)
    held = dict(browser.cookies)
    browser.cookies = {}
    answer = browser.renew(page=FOREIGN)
    assert (answer.status, answer.reason) == (403, "device_not_shown")
    browser.cookies = held
    assert browser.renew().status == 200
    assert world.is_alive(tokens.grant_id)


def test_only_the_device_hears_of_the_end(world: World) -> None:
    browser, _ = registered(world)
    world.revoke_all("alice")
    assert browser.ask(RENEW).status == 403
    thief = browser.copied()
    assert thief.renew().status == 403


def test_a_store_that_doesnt_answer_is_503() -> None:
    with opened(FAULTY, refresh=BOUND) as world:
        browser, tokens = registered(world)
        world.clock.forward(LASTS)
        for site in world.sites:
            site.store.fails |= {"advance", "is_living"}
        assert browser.renew().status == 503
        browser.cookies.pop(refresh_name(tokens))
        assert browser.renew().status == 503


# --- settings


def test_without_the_setting_nothing_is_offered_and_marks_are_ignored() -> None:
    with opened(DURABLE, refresh=BOUND) as world:
        browser, tokens = registered(world)
        for site in world.sites:
            site.restart(refresh={"cookies": Cookies(access=True)})
        world.clock.forward(HOUR)
        browser.forget(tokens)
        assert browser.refresh().status == 200
        assert marked(browser, tokens) is None
        assert world.send("POST", RENEW, headers=browser.sent()).reached  # a path of its own
        assert offer(world.login()) is None


def test_a_login_that_proves_a_key_is_offered_nothing() -> None:
    with opened(DOORS, refresh=BOUND, proofs=Proofs()) as world:
        assert offer(world.login(proof=ProvedKey("A" * 43))) is None


def test_other_origins_that_are_ours_may_have_the_cookie_renewed() -> None:
    own = ("https://app.example", "https://login.example")
    refresh_ = {**BOUND, "public_url": "https://login.example/api"}
    with opened(DOORS, refresh=refresh_, origins=own) as world:
        tokens = world.login()
        (field,) = (value for name, value in tokens.cookies if name.startswith("secure-session"))
        assert 'path="/api/auth/device/register"' in field
        browser = BoundBrowser(world)
        answer = browser.register(offer(tokens) or "")
        assert answer.json["refresh_url"] == "/api" + RENEW
        assert answer.json["allowed_refresh_initiators"] == ["app.example", "login.example"]


def test_a_short_access_token_shortens_the_cookie() -> None:
    with opened(DOORS, refresh={**BOUND, "access_lifetime": 60}) as world:
        browser = BoundBrowser(world)
        browser.login()
        assert browser.answer is not None
        assert "; Max-Age=30; " in browser.answer.cookies[0]


def test_the_fields_of_a_string_are_taken_with_quotes_and_without(world: World) -> None:
    browser, _ = registered(world)
    proof = browser.proof(browser.challenge)
    answer = browser.ask(RENEW, proof=f'"{proof}"', session=f'"{browser.session}";more=1')
    assert answer.status == 200


def test_a_log_out_by_the_application_removes_the_cookie_of_the_device(world: World) -> None:
    response = FlaskResponse()
    tokens = world.login()
    world.sites[0].issuer.clear_cookies(response, tokens.grant_id)
    names = {value.partition("=")[0] for value in response.headers.getlist("set-cookie")}
    assert names == {refresh_name(tokens), access_name(tokens), device_name(tokens)}


def test_a_django_response_gets_the_offer_beside_its_cookies(world: World) -> None:
    response = HttpResponse()
    tokens = world.login()
    tokens.set_cookies(response)
    assert "secure-session-registration" in response.headers
    assert response.cookies.keys() == {refresh_name(tokens), access_name(tokens)}


def test_a_key_that_another_process_signs_with_is_looked_for() -> None:
    keys = refresh.RefreshKeys(
        [
            refresh.from_text(
                bytes.fromhex("e1f0a95c7d3b86429b1c77d05ae23f480d6be94172c8a5f358904ec7b13da62f")
            )
        ],
        "me",
    )
    others = refresh.RefreshKeys(
        [
            refresh.from_text(
                bytes.fromhex("4c9e02d7f8316babe75d1490c6fa832291ab6e3f05d7c8b4fa2471e8396c0d5b")
            )
        ],
        "me",
    )
    both = refresh.RefreshKeys([others.signer, keys.signer], "me")
    text = device.write_note(keys, "cookie", "grant", "key", until=NOW + 5)
    assert device.read_note(keys, "cookie", text, NOW) == ["grant", "key"]
    assert device.read_note(both, "cookie", text, NOW) == ["grant", "key"]
    assert device.read_note(others, "cookie", text, NOW) is None
    assert device.read_note(keys, "cookie", text, NOW + 5) is None
    assert device.read_note(keys, "session", text, NOW) is None
    former = refresh.FormerKey(keys.signer, "was me", NOW + 3)
    renamed = refresh.RefreshKeys([others.signer], "me", [former])
    assert device.read_note(renamed, "cookie", text, NOW + 2) == ["grant", "key"]
    assert device.read_note(renamed, "cookie", text, NOW + 3) is None


def test_a_proof_by_a_key_is_no_proof_by_another() -> None:
    browser = BoundBrowser.__new__(BoundBrowser)
    browser.key = jwk.generate("ES256")
    name, challenge = device.registered(browser.proof("c", {"jwk": browser.jwk}))
    assert challenge == "c"
    assert device.challenge_signed(browser.proof("d"), name) == "d"
    browser.key = jwk.generate("ES256")
    with pytest.raises(InvalidProof):
        device.challenge_signed(browser.proof("d"), name)


def test_the_refusals_are_told(world: World) -> None:
    browser, tokens = registered(world)
    answer = browser.copied().renew()
    (event,) = (one for one in answer.events if isinstance(one, Refused))
    assert (event.status, event.grant_id, event.path) == (403, tokens.grant_id, RENEW)
    assert REVOKE != RENEW
    assert json.loads(answer.body)["error"] == "device_proof_needed"


LOADS = (("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document"), *BY_ITSELF[1:])


def load(world: World, browser: BoundBrowser) -> Answer:
    """Load a page by the refresh cookie."""
    return world.send("GET", "/auth/continue", query="next=%2Fpage", headers=browser.sent(LOADS))


def test_a_page_load_needs_the_device_too() -> None:
    routes = (Route("/login", public=True, own_origin=True),)
    with opened(DOORS, refresh=BOUND, login_url="/login", routes=routes) as world:
        browser, tokens = registered(world)
        thief = browser.copied()
        thief.cookies.pop(device_name(tokens))
        world.clock.forward(2 * MINUTE)
        answer = load(world, thief)
        assert (answer.status, answer.reason) == (303, "device_not_shown")
        assert (answer.header("location") or "").startswith("/login")
        answer = load(world, browser)
        assert (answer.status, answer.header("location")) == (303, "/page")
        browser.take(answer.cookies)
        assert marked(browser, tokens) is not None
