"""RT-20 and RT-21: tokens in cookies, and who else could make a browser send them."""

from collections.abc import Iterator
from http.cookies import SimpleCookie
from typing import Any

import pytest
from django.http import HttpResponse
from flask import Flask
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.testclient import TestClient
from werkzeug.test import Client as WSGIClient

from jwt_middleware import ConfigurationError, Cookies, Refresh, Route, Settings, Tokens
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware
from tests.browser import (
    FIELD,
    OWN_PAGE,
    Browser,
    Page,
    access_name,
    refresh_name,
    set_cookies,
)
from tests.grant.test_rt_revocation import of_no_grant
from tests.issuing import (
    AUDIENCE,
    DAY,
    DOORS,
    FAULTY,
    HOUR,
    KEYS,
    LASTS,
    REFRESH,
    REVOKE,
    Site,
    World,
    memory,
    opened,
    refresh_form,
    single,
)
from tests.rules import accepts, refuses
from tests.world import shake_hands

SHOP, EVIL = "https://shop.login.example", "https://evil.example"

SHOP_PAGE = (FIELD, ("Origin", SHOP), ("Sec-Fetch-Site", "same-site"))
NO_BROWSER = (FIELD,)


@pytest.fixture
def world() -> Iterator[World]:
    with opened(DOORS, refresh={"cookies": Cookies(access=True)}, origins=(SHOP,)) as one:
        yield one


@pytest.fixture
def browser(world: World) -> Browser:
    return Browser(world)


def cleared(name: str, attributes: str) -> str:
    return f"{name}=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; {attributes}"


SECURE = "Path=/; HttpOnly; SameSite=Strict; Secure"


def all_cleared(tokens: Tokens) -> tuple[str, ...]:
    return cleared(refresh_name(tokens), SECURE), cleared(access_name(tokens), SECURE)


# --- RT-20: what is set


@accepts("RT-20")
def test_the_cookies_have_every_attribute_of_safety(world: World) -> None:
    tokens = world.login()
    refresh, access = set_cookies(tokens)
    pair, seconds = f"{refresh_name(tokens)}={tokens.refresh_token}", 7 * DAY
    assert refresh == f"{pair}; Max-Age={seconds}; {SECURE}"
    pair, seconds = f"{access_name(tokens)}={tokens.access_token}", tokens["expires_in"]
    assert access == f"{pair}; Max-Age={seconds}; {SECURE}"


COOKIES = {
    "refresh-only": (
        {"cookies": Cookies()},
        ["__Host-refresh_token-*=*; Max-Age=604800; " + SECURE],
    ),
    "by-another-name": (
        {"cookies": Cookies(name="r")},
        ["__Host-r-*=*; Max-Age=604800; " + SECURE],
    ),
    "at-another-path": (
        {"cookies": Cookies(), "path": "/token", "idle_limit": HOUR},
        ["__Host-refresh_token-*=*; Max-Age=3600; " + SECURE],
    ),
    "lax": (
        {"cookies": Cookies(access=True, access_same_site="Lax", access_name="a")},
        [
            "__Host-refresh_token-*=*; Max-Age=604800; " + SECURE,
            "__Host-a-*=*; Max-Age=*; Path=/; HttpOnly; SameSite=Lax; Secure",
        ],
    ),
}


@accepts("RT-20")
@pytest.mark.parametrize(("group", "expected"), COOKIES.values(), ids=COOKIES)
def test_options_change_what_they_name(group: dict[str, Any], expected: list[str]) -> None:
    with opened(DOORS, refresh=group) as world:
        tokens = world.login()
        found = [
            field.replace(tokens.refresh_token, "*")
            .replace(tokens.access_token, "*")
            .replace(f"-{tokens.grant_id[-8:]}=", "-*=")
            .replace(f"Max-Age={tokens['expires_in']};", "Max-Age=*;")
            for field in set_cookies(tokens)
        ]
        assert found == expected


LOOPBACK = (
    "http://localhost:8000",
    "http://127.0.0.1",
    "http://[::1]:5000",
    "http://a.localhost/x",
)


@accepts("RT-20")
@pytest.mark.parametrize("issuer", LOOPBACK)
def test_on_loopback_the_prefix_and_secure_fall_away(issuer: str) -> None:
    with opened(DOORS, issuer=issuer, refresh={"cookies": Cookies(access=True)}) as world:
        browser = Browser(world)
        tokens = browser.login()
        for field in set_cookies(tokens):
            assert field.startswith(("refresh_token-", "access_token-"))
            assert "Secure" not in field
            assert "HttpOnly; SameSite=Strict" in field
        assert browser.refresh().status == 200
        assert browser.request("GET", "/").user == "alice"
        plain = "Path=/; HttpOnly; SameSite=Strict"
        assert browser.logout().cookies == tuple(
            cleared(f"{name}-{tokens.grant_id[-8:]}", plain)
            for name in ("refresh_token", "access_token")
        )


@accepts("RT-20")
@pytest.mark.parametrize("issuer", ["https://localhost", "https://127.0.0.1:8443"])
def test_https_on_loopback_is_as_safe_as_anywhere(issuer: str) -> None:
    with opened(DOORS, issuer=issuer, refresh={"cookies": Cookies()}) as world:
        assert set_cookies(world.login())[0].startswith("__Host-")


@refuses("RT-20")
@pytest.mark.parametrize(
    "issuer",
    [
        *("http://login.example", "http://localhost.evil.example", "http://localhost@evil.example"),
        *("http://10.0.0.1", "http://127.0.0.1.evil.example", "login", "urn:login"),
        *("HTTPS://login.example", "http://localhost:80@evil.example", "ftp://localhost"),
    ],
)
def test_cookies_never_travel_in_clear(issuer: str) -> None:
    with pytest.raises(ConfigurationError, match=r"refresh\.cookies"):
        Settings(
            issuer=issuer,
            audience=AUDIENCE,
            keys=KEYS,
            refresh=Refresh(store="memory://", cookies=Cookies()),
        )


# --- RT-20: what a page of ours does


@accepts("RT-20")
@pytest.mark.parametrize("page", [OWN_PAGE, SHOP_PAGE, NO_BROWSER], ids=["own", "shop", "none"])
def test_a_session_in_cookies(browser: Browser, page: Page) -> None:
    first = browser.login(scope="read")
    assert browser.request("GET", "/", page).user == "alice"
    browser.world.clock.forward(HOUR)
    answer = browser.refresh(page)
    assert answer.status == 200
    # Scripts see nothing of what the cookies carry.
    assert set(answer.json) == {"token_type", "expires_in", "scope", "sid", *LASTS}
    assert set(first) == {"token_type", "expires_in", "scope", "sid", *LASTS}
    assert answer.json["sid"] == first["sid"] == first.grant_id
    assert answer.header("cache-control") == "no-store"
    (refresh, access) = answer.cookies
    assert f"; Max-Age=604800; {SECURE}" in refresh
    assert f"; Max-Age={answer.json['expires_in']}; {SECURE}" in access
    assert browser.request("POST", "/orders", page).user == "alice"
    answer = browser.logout(page)
    assert (answer.status, answer.cookies, browser.cookies) == (200, all_cleared(first), {})
    assert browser.request("GET", "/", page).status == 401
    assert not browser.world.is_alive(first.grant_id)


@accepts("RT-20")
def test_the_access_token_is_in_the_body_where_it_has_no_cookie() -> None:
    with opened(DOORS, refresh={"cookies": Cookies()}) as world:
        browser = Browser(world)
        browser.login()
        world.clock.forward(HOUR)
        answer = browser.refresh()
        assert set(answer.json) == {"access_token", "token_type", "expires_in", "sid", *LASTS}
        assert len(answer.cookies) == 1
        assert world.call(answer.json["access_token"]).user == "alice"


@accepts("RT-20")
@pytest.mark.parametrize(
    "body", ["", "grant_type=refresh_token", "grant_type=refresh_token&scope=a"]
)
def test_the_cookie_takes_the_tokens_place_in_the_form(browser: Browser, body: str) -> None:
    browser.login(scope="a b")
    kind = ("Content-Type", "application/x-www-form-urlencoded")
    length = ("Content-Length", str(len(body)))
    headers = [kind, length, *browser.sent()]
    answer = browser.world.send("POST", REFRESH, body=body.encode(), headers=headers)
    assert (answer.status, answer.json["scope"]) == (200, "a" if "scope" in body else "a b")


@accepts("RT-20")
def test_a_client_without_cookies_keeps_its_tokens_itself(world: World) -> None:
    tokens = world.login()
    world.clock.forward(HOUR)
    answer = world.refresh(tokens.refresh_token)
    assert {"access_token", "refresh_token"} <= answer.json.keys()
    assert answer.cookies == ()
    assert world.call(answer.json["access_token"]).user == "alice"
    assert world.revoke(tokens.refresh_token).status == 200
    assert not world.is_alive(tokens.grant_id)


def test_a_refusal_names_the_header_that_was_forgotten(browser: Browser) -> None:
    browser.login()
    for path in (REFRESH, REVOKE, "/orders"):
        answer = browser.request("POST", path, OWN_PAGE[1:])
        told = answer.json.get("detail") or answer.json["error_description"]
        assert told == "With cookies the request needs the header X-Requested-With"
        foreign = browser.request("POST", path, (FIELD, ("Origin", EVIL)))
        assert "known origin" in (foreign.json.get("detail") or foreign.json["error_description"])


# --- RT-20: what other sites do

OTHER_SITES: dict[str, Page] = {
    "a-form": (("Origin", EVIL), ("Sec-Fetch-Site", "cross-site")),
    "a-form-of-an-old-browser": (("Origin", EVIL),),
    "nothing-at-all": (),
    "a-link": (("Sec-Fetch-Site", "cross-site"),),
    "an-own-page-without-the-field": OWN_PAGE[1:],
    "a-known-page-without-the-field": SHOP_PAGE[1:],
    "the-field-from-another-site": (FIELD, ("Origin", EVIL), ("Sec-Fetch-Site", "cross-site")),
    "the-field-and-an-origin": (FIELD, ("Origin", EVIL)),
    "the-field-and-a-site": (FIELD, ("Sec-Fetch-Site", "cross-site")),
    "a-sibling-host": (
        FIELD,
        ("Origin", "https://x.login.example"),
        ("Sec-Fetch-Site", "same-site"),
    ),
    "a-sibling-host-without-origin": (FIELD, ("Sec-Fetch-Site", "same-site")),
    "typed-by-the-user": (FIELD, ("Sec-Fetch-Site", "none")),
    "a-sandbox": (FIELD, ("Origin", "null")),
    "an-empty-origin": (FIELD, ("Origin", "")),
    "an-origin-and-a-half": (FIELD, ("Origin", f"{SHOP}.evil.example")),
    "an-origin-in-capitals": (FIELD, ("Origin", SHOP.upper())),
    "two-origins": (FIELD, ("Origin", SHOP), ("Origin", EVIL)),
    "two-sites": (FIELD, ("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "cross-site")),
    "a-site-in-capitals": (FIELD, ("Sec-Fetch-Site", "Same-Origin")),
    "another-field": (("X-Requested", "fetch"), *OWN_PAGE[1:]),
}


@refuses("RT-20")
@pytest.mark.parametrize("page", OTHER_SITES.values(), ids=OTHER_SITES)
def test_another_site_neither_refreshes_nor_logs_out_nor_writes(
    browser: Browser, page: Page
) -> None:
    tokens = browser.login()
    browser.world.clock.forward(300)
    for path in (REFRESH, REVOKE, "/orders"):
        answer = browser.request("POST", path, page)
        assert (answer.status, answer.reason) == (403, "cross_site")
        assert answer.json["error"] == "invalid_request"
        assert (answer.cookies, answer.reached) == ((), False)
        assert answer.header("cache-control") == "no-store"
    row = browser.world.row(tokens.grant_id)
    assert (row.generation, row.ended_at) == (1, None)
    assert browser.refresh().status == 200


@refuses("RT-20")
@pytest.mark.parametrize(
    "page", [OTHER_SITES["a-form"], OTHER_SITES["a-form-of-an-old-browser"]], ids=["new", "old"]
)
@pytest.mark.parametrize("cookie", [None, "theme=dark"])
def test_another_site_cannot_make_a_browser_drop_its_cookies(
    world: World, page: Page, cookie: str | None
) -> None:
    # SameSite=Strict keeps the cookie at home when a foreign form is sent; but a browser takes what
    # the answer to a top-level navigation sets or clears.
    headers = [*page, *([("Cookie", cookie)] if cookie else [])]
    for path, form in (
        (REVOKE, {}),
        (REVOKE, {"token": "x"}),
        (REVOKE, {"token": world.login().refresh_token}),
        (REFRESH, {}),
        (REFRESH, refresh_form("x")),
        (REFRESH, refresh_form(world.login("mallory").refresh_token)),
    ):
        assert world.post(path, form, headers=headers).cookies == (), (path, form)


@refuses("RT-20")
def test_a_cookie_and_a_token_are_two_credentials(browser: Browser) -> None:
    tokens = browser.login()
    headers = browser.sent()
    answer = browser.world.post(REFRESH, refresh_form(tokens.refresh_token), headers=headers)
    assert (answer.status, answer.reason) == (400, "credentials_twice")
    assert browser.world.is_alive(tokens.grant_id)


@refuses("RT-20")
def test_no_cookie_passes_as_another_kind(world: World) -> None:
    tokens = world.login()
    swapped = {
        REFRESH: f"{refresh_name(tokens)}={tokens.access_token}",
        "/": f"{access_name(tokens)}={tokens.refresh_token}",
    }
    answer = world.send("POST", REFRESH, headers=[*OWN_PAGE, ("Cookie", swapped[REFRESH])])
    assert (answer.reason, answer.cookies) == ("type_not_allowed", ())
    assert world.get(headers=[("Cookie", swapped["/"])]).reason == "type_not_allowed"
    end = tokens.grant_id[-8:]
    for prefix in ("", "__Secure-"):
        pairs = (
            f"{prefix}refresh_token-{end}={tokens.refresh_token}",
            f"{prefix}access_token-{end}={tokens.access_token}",
        )
        cookie = ("Cookie", "; ".join(pairs))
        assert world.get(headers=[cookie]).reason == "credentials_missing"
        answer = world.send("POST", REFRESH, headers=[*OWN_PAGE, cookie])
        assert answer.reason == "parameter_malformed"


@refuses("RT-20", "RT-26")
def test_a_cookie_of_another_grants_name_is_none(world: World) -> None:
    # A name belongs to one grant, so that to clear it can't touch another's.
    tokens, other = world.login(), world.login()
    cookie = ("Cookie", f"{refresh_name(other)}={tokens.refresh_token}")
    answer = world.send("POST", REFRESH, headers=[*OWN_PAGE, cookie])
    assert (answer.status, answer.reason, answer.cookies) == (400, "cookie_misnamed", ())
    answer = world.send("POST", REVOKE, headers=[*OWN_PAGE, cookie])
    assert (answer.status, answer.cookies) == (200, ())
    assert world.is_alive(tokens.grant_id)


@refuses("RT-20")
def test_a_useless_cookie_is_cleared(browser: Browser) -> None:
    tokens = browser.login()
    browser.world.revoke_all("alice")
    answer = browser.refresh()
    assert (answer.reason, answer.cookies) == ("grant_ended", all_cleared(tokens))
    assert browser.cookies == {}


# --- the access token in a cookie


@accepts("RT-20")
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_safe_methods_need_no_field(browser: Browser, method: str) -> None:
    browser.login()
    for page in ((), (("Origin", EVIL), ("Sec-Fetch-Site", "cross-site")), OWN_PAGE):
        assert browser.request(method, "/", page).user == "alice"


@refuses("RT-20")
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "get", "QUERY", "X"])
def test_every_other_method_does(browser: Browser, method: str) -> None:
    browser.login()
    assert browser.request(method, "/", ()).reason == "cross_site"
    assert browser.request(method, "/", OTHER_SITES["a-form"]).status == 403
    assert browser.request(method, "/", OWN_PAGE).user == "alice"


@refuses("RT-20")
def test_a_cookie_beside_a_header_is_two_credentials(browser: Browser) -> None:
    tokens = browser.login()
    headers = browser.sent()
    answer = browser.world.get("/", tokens.access_token, headers=headers)
    assert (answer.status, answer.reason) == (400, "credentials_twice")
    answer = browser.world.get("/", headers=[*headers, ("Authorization", "Bearer")])
    assert answer.status == 400


def test_a_bad_access_cookie_is_a_bad_token() -> None:
    routes = (Route("/open", public=True), Route("/maybe", optional=True))
    with opened(DOORS, refresh={"cookies": Cookies(access=True)}, routes=routes) as world:
        browser = Browser(world)
        name = access_name(browser.login())
        world.clock.forward(2 * HOUR)
        assert browser.request("GET", "/").reason == "expired"
        assert browser.request("GET", "/maybe").reason == "expired"
        assert browser.request("POST", "/open", ()).token is None
        assert browser.request("POST", "/open", ()).reached
        browser.cookies[name] = '"x"'
        assert browser.request("GET", "/").reason == "token_segments"
        browser.cookies[name] = ""
        assert browser.request("GET", "/").reason == "credentials_missing"
        assert browser.request("GET", "/maybe").reached


PAGES = {
    "own": (OWN_PAGE[1:], True),
    # Chromium sends no Sec-Fetch-* with a handshake.
    "own-without-site": ((("Origin", "https://login.example"),), True),
    "shop": ((("Origin", SHOP),), True),
    "no-browser": ((), True),
    "evil": ((("Origin", EVIL),), False),
    "evil-with-site": ((("Origin", EVIL), ("Sec-Fetch-Site", "cross-site")), False),
    "sandbox": ((("Origin", "null"),), False),
}


@pytest.mark.parametrize(("page", "is_let_in"), PAGES.values(), ids=PAGES)
def test_a_handshake_with_a_cookie_comes_from_a_page_of_ours(page: Page, is_let_in: bool) -> None:
    async def chat(scope: Any, receive: Any, send: Any) -> None:
        assert scope["jwt_middleware.token"].subject == "alice"
        await receive()
        await send({"type": "websocket.accept"})

    group = {"cookies": Cookies(access=True)}
    with single(("asgi", memory), refresh=group, origins=(SHOP,)) as site:
        tokens = site.ask("issue", "alice")
        cookie = ("Cookie", f"{access_name(tokens)}={tokens.access_token}")
        app = ASGIMiddleware(chat, site.settings)
        message = site.runner.run(shake_hands(app, "/chat", [*page, cookie]))
        if is_let_in:
            assert message["type"] == "websocket.accept"
        else:
            assert message["status"] == 403
        # In a header there is nothing that another site could make a browser send.
        bearer = ("Authorization", f"Bearer {tokens.access_token}")
        message = site.runner.run(shake_hands(app, "/chat", [*page, bearer]))
        assert message["type"] == "websocket.accept"


@pytest.mark.parametrize(("page", "is_let_in"), PAGES.values(), ids=PAGES)
def test_so_does_one_that_is_only_an_upgrade(browser: Browser, page: Page, is_let_in: bool) -> None:
    # Under WSGI a handshake is a GET, for libraries that take the connection over.
    browser.login()
    upgrade = (*page, ("Connection", "Upgrade"), ("Upgrade", "WebSocket"))
    assert browser.request("GET", "/chat", upgrade).reached is is_let_in
    # It takes nothing from what other methods need.
    assert browser.request("POST", "/chat", upgrade).status == 403


# --- RT-21 and other odd Cookie headers


def tossed(name: str, *values: str) -> list[list[tuple[str, str]]]:
    """Return headers with the cookie several times: in one field, and in a field each."""
    pairs = [f"{name}={value}" for value in values]
    return [
        [("Cookie", "; ".join(pairs))],
        [("Cookie", ";".join(pairs))],
        [("Cookie", f"a=b; {pairs[0]}; c=d; " + " ;\t".join(pairs[1:]) + " ; e")],
        [("Cookie", pair) for pair in pairs],
    ]


@accepts("RT-21")
def test_one_cookie_among_others_is_one(browser: Browser) -> None:
    tokens = browser.login()
    name = refresh_name(tokens)
    for others in ("a=b", f"x{name}=evil", f"{name}x=evil", f"a={name}", "__Host-other=1; =x"):
        cookie = f"{others}; {name}={tokens.refresh_token}"
        answer = browser.world.send("POST", REFRESH, headers=[*OWN_PAGE, ("Cookie", cookie)])
        assert answer.status == 200, others


def twins(mine: Tokens, theirs: Tokens) -> list[list[tuple[str, str]]]:
    good, evil = mine.refresh_token, theirs.refresh_token
    pairs = ((good, evil), (evil, good), (good, good), (good, ""), ("", good), (good, "", ""))
    return [fields for values in pairs for fields in tossed(refresh_name(mine), *values)]


@refuses("RT-21")
def test_a_cookie_that_comes_twice_is_refused_and_nothing_is_cleared(world: World) -> None:
    # To clear would remove the host's own, and leave the one that was planted.
    mine, theirs = world.login(), world.login("mallory")
    for cookies in twins(mine, theirs):
        answer = world.send("POST", REFRESH, headers=[*OWN_PAGE, *cookies])
        assert (answer.status, answer.reason, answer.cookies) == (400, "cookie_twice", ())
    for tokens in (mine, theirs):
        row = world.row(tokens.grant_id)
        assert (row.generation, row.ended_at) == (1, None)


@refuses("RT-21")
def test_a_log_out_ends_each_of_two_that_is_one_of_ours(world: World) -> None:
    mine, theirs = world.login(), world.login("mallory")
    for cookies in twins(mine, theirs):
        answer = world.send("POST", REVOKE, headers=[*OWN_PAGE, *cookies])
        assert (answer.status, answer.cookies) == (200, ())
    assert not world.is_alive(mine.grant_id)
    assert world.is_alive(theirs.grant_id), "that isn't the name of its cookie"


@refuses("RT-21")
def test_two_access_cookies_are_refused(world: World) -> None:
    mine, theirs = world.login(), world.login("mallory")
    for cookies in tossed(access_name(mine), mine.access_token, theirs.access_token):
        answer = world.get(headers=cookies)
        assert (answer.status, answer.reason) == (400, "cookie_twice")


NAME = "__Host-refresh_token-Ab3_-xyz"

ODD = [
    *("", ";", ";;;", "=", "=;=", "; =x; ", "a", "a;b", "$Version=1; $Path=/", "a=b=c=d", "\t"),
    *(NAME, f"{NAME}=", f"{NAME};", "__Host-", f"{NAME}x=evil", f"{NAME[:-1]}=evil"),
    # A browser may send a nameless cookie like this; RFC 6265bis has it as the value of no name.
    *(
        f"={NAME}=evil",
        f"{NAME} =evil",
        f"{NAME.lower()}=evil",
    ),
    *("é=ü", "a=\x00", "a=\x7f", "a=" + "x" * 9000, "a=b; " * 2000, f"a=b,{NAME}=c"),
    *("a[]=b", "a=(b)", "a=b\\", 'a="b', f"a=\u00a0{NAME}=evil"),
]


@pytest.mark.parametrize("cookie", ODD, ids=lambda text: repr(text[:40]))
def test_an_odd_cookie_header_is_none(world: World, cookie: str) -> None:
    sent: list[Any] = [*OWN_PAGE, ("Cookie", cookie.encode("latin-1"))]
    answer = world.send("POST", REFRESH, headers=sent)
    assert (answer.status, answer.reason) == (400, "parameter_malformed")
    said = "The request has neither a refresh cookie nor parameters"
    assert answer.json["error_description"] == said
    assert world.send("POST", REVOKE, headers=sent).status == 200
    assert world.get(headers=[("Cookie", cookie.encode("latin-1"))]).reason == "credentials_missing"


@pytest.mark.parametrize(
    "value", ['"{0}"', "{0},", "x", "{0}=", "{0} ", " {0}", "%7B", "{0}\x00", "\xa0{0}"], ids=repr
)
def test_a_cookie_is_the_token_to_the_octet(world: World, value: str) -> None:
    tokens = world.login()
    pair = f"{refresh_name(tokens)}={value.replace('{0}', tokens.refresh_token)}"
    cookie = pair.encode("latin-1")
    answer = world.send("POST", REFRESH, headers=[*OWN_PAGE, ("Cookie", cookie)])
    # White space around a pair is no part of it (RFC 6265 s5.4); nothing else is forgiven.
    assert answer.status == (200 if value == "{0} " else 400)


@given(st.text(st.characters(max_codepoint=255)), st.sampled_from(["j", "__Host-a", "a"]))
@example(",@", "j")  # a second Cookie line that a server joined isn't read, and is removed
@example(" x@", "j")
def test_reading_cookies_finds_what_is_there_and_raises_nothing(header: str, name: str) -> None:
    jars = Cookies(name=name.removeprefix("__Host-"), access=True).jars("https://login.example")
    header = header.replace("@", f"__Host-{name.removeprefix('__Host-')}-12345678=")
    held = jars.held(header)
    assert all(f"{one}={value}" in header for one, value in held.refresh)
    left = jars.without_refresh(header)
    assert jars.held(left).refresh == ()
    assert len(left) <= len(header)
    if jars.refresh.prefix not in header:
        assert left == header


# --- logging out


def attributes(field: str) -> list[str]:
    return [one for one in field.split("; ")[1:] if not one.startswith(("Max-Age", "Expires"))]


@pytest.mark.parametrize(("group", "_"), COOKIES.values(), ids=COOKIES)
def test_a_cookie_is_cleared_with_the_attributes_it_was_set_with(
    group: dict[str, Any], _: object
) -> None:
    with opened(DOORS, refresh=group) as world:
        tokens = world.login()
        cookie = ("Cookie", "; ".join(one.partition(";")[0] for one in set_cookies(tokens)))
        path = f"{group.get('path', '/auth')}/revoke"
        answer = world.send("POST", path, headers=[*OWN_PAGE, cookie])
        assert not world.is_alive(tokens.grant_id)
        set_, gone = set_cookies(tokens), answer.cookies
        assert [attributes(one) for one in gone] == [attributes(one) for one in set_]
        names = [one.partition("=")[0] for one in set_]
        assert [one.partition(";")[0] for one in gone] == [f"{name}=" for name in names]


@accepts("RT-26")
def test_logging_out_works_however_late(browser: Browser) -> None:
    world = browser.world
    tokens = browser.login()
    browser.cookies.pop(access_name(tokens))  # its Max-Age is over
    world.clock.forward(2 * HOUR)
    before = dict(browser.cookies)
    assert browser.logout().cookies == all_cleared(tokens)[:1]
    assert world.row(tokens.grant_id).end_reason == "logout"
    browser.cookies = before  # the answer was lost
    assert browser.logout().cookies == all_cleared(tokens)[:1]
    answer = browser.logout()  # with nothing left
    assert (answer.status, answer.cookies) == (200, ())
    tokens = browser.login()
    browser.cookies.pop(access_name(tokens))
    world.clock.forward(31 * DAY)
    answer = browser.logout()
    assert (answer.status, answer.cookies) == (200, all_cleared(tokens)[:1])


def test_logging_out_takes_no_notice_of_the_authorization_header(browser: Browser) -> None:
    tokens = browser.login()
    other = browser.world.login()
    page = (*OWN_PAGE, ("Authorization", f"Bearer {other.access_token}"))
    assert browser.logout(page).cookies == all_cleared(tokens)
    assert not browser.world.is_alive(tokens.grant_id)
    assert browser.world.is_alive(other.grant_id)


def test_the_access_cookie_alone_logs_out(browser: Browser) -> None:
    tokens = browser.login()
    browser.cookies.pop(refresh_name(tokens))
    assert browser.logout().cookies == all_cleared(tokens)[1:]
    assert not browser.world.is_alive(tokens.grant_id)


@accepts("RT-26")
def test_a_log_out_ends_the_login_that_it_names(browser: Browser) -> None:
    world = browser.world
    first, second, elsewhere = browser.login(), browser.login("bob"), world.login("carol")
    assert browser.logout(sid=first.grant_id).cookies == all_cleared(first)
    assert not world.is_alive(first.grant_id)
    assert world.is_alive(second.grant_id)
    # What it names must have come: an id opens nothing.
    for grant_id in (elsewhere.grant_id, first.grant_id, "", "x" * 23, "é"):
        answer = browser.logout(sid=grant_id) if grant_id else browser.request("POST", "/")
        assert (answer.status, answer.cookies) == (200, ())
    assert world.is_alive(elsewhere.grant_id)
    assert world.is_alive(second.grant_id)
    assert browser.request("GET", "/").user == "bob"


@accepts("RT-26")
def test_a_log_out_that_names_none_ends_every_login_whose_cookie_came(browser: Browser) -> None:
    both = browser.login(), browser.login("bob")
    answer = browser.logout()
    assert set(answer.cookies) == {*all_cleared(both[0]), *all_cleared(both[1])}
    assert not any(browser.world.is_alive(one.grant_id) for one in both)


@accepts("RT-26")
def test_a_token_in_the_body_names_its_grant_and_no_other(browser: Browser) -> None:
    tokens, other = browser.login(), browser.world.login("bob")
    answer = browser.world.revoke(other.refresh_token, headers=browser.sent())
    assert (answer.status, answer.cookies) == (200, ())
    assert not browser.world.is_alive(other.grant_id)
    assert browser.world.is_alive(tokens.grant_id)
    answer = browser.world.revoke(tokens.access_token, headers=browser.sent())
    assert answer.cookies == all_cleared(tokens)
    assert not browser.world.is_alive(tokens.grant_id)


def test_a_token_of_no_grant_can_not_be_revoked(browser: Browser) -> None:
    tokens = browser.login()
    answer = browser.world.revoke(of_no_grant(tokens.access_token), headers=browser.sent())
    assert (answer.status, answer.json["error"]) == (400, "unsupported_token_type")
    assert browser.world.is_alive(tokens.grant_id)


def test_without_the_store_the_cookies_stay_for_another_try() -> None:
    with opened(FAULTY, refresh={"cookies": Cookies(access=True)}) as world:
        browser = Browser(world)
        tokens = browser.login()
        world.each(lambda site: site.store.fails.update(("end", "advance")))
        for answer in (browser.logout(), browser.refresh()):
            assert (answer.status, answer.cookies) == (503, ())
        world.each(lambda site: site.store.fails.clear())
        assert browser.logout().cookies == all_cleared(tokens)
        assert not world.is_alive(tokens.grant_id)


def test_a_login_ends_what_a_token_names(browser: Browser) -> None:
    old = browser.login()
    new = browser.login("bob", replaces=old.refresh_token)
    assert browser.world.row(old.grant_id).end_reason == "replaced"
    assert browser.world.call(old.access_token).reason == "grant_ended"
    assert browser.world.is_alive(new.grant_id)


# --- CORS with credentials


def test_a_known_origins_script_may_send_cookies(browser: Browser) -> None:
    ask = [("Origin", SHOP), ("Access-Control-Request-Method", "POST")]
    answer = browser.world.send("OPTIONS", REFRESH, headers=ask)
    assert answer.status == 204
    assert answer.header("access-control-allow-origin") == SHOP
    assert answer.header("access-control-allow-credentials") == "true"
    assert answer.header("access-control-allow-headers") == (
        "Authorization, Content-Type, X-Requested-With"
    )
    browser.login()
    refused = browser.request("POST", "/orders", SHOP_PAGE[1:])
    for answer in (browser.refresh(SHOP_PAGE), browser.logout(SHOP_PAGE), refused):
        assert answer.header("access-control-allow-origin") == SHOP
        assert answer.header("access-control-allow-credentials") == "true"
        assert answer.header("vary") == "Origin"


def test_another_origins_script_may_not(browser: Browser) -> None:
    browser.login()
    page = (FIELD, ("Origin", EVIL), ("Access-Control-Request-Method", "POST"))
    for path in (REFRESH, REVOKE):
        for method in ("OPTIONS", "POST"):
            answer = browser.request(method, path, page)
            found = [name for name, _ in answer.headers if name.startswith("access-control")]
            assert found == []
            assert answer.header("vary") == "Origin"


# --- on the application's own responses


def flask_response() -> Any:
    return Flask(__name__).response_class("in")


def starlette_response() -> Any:
    return JSONResponse({})


def django_response() -> Any:
    return HttpResponse(b"in", content_type="text/plain; charset=utf-8")  # asks for no settings


def fields(response: Any) -> list[str]:
    if hasattr(response.headers, "getlist"):
        return list(response.headers.getlist("set-cookie"))
    return [morsel.OutputString() for morsel in response.cookies.values()]


def parsed(values: list[str]) -> dict[str, dict[str, Any]]:
    """Return value and attributes of cookies, whatever the order and spelling of these."""
    found = SimpleCookie()
    for value in values:
        found.load(value)
    return {name: {"value": one.value, **dict(one)} for name, one in found.items()}


@pytest.mark.parametrize("make", [flask_response, starlette_response, django_response])
def test_a_frameworks_response_takes_the_cookies(make: Any) -> None:
    with single(("wsgi", memory), refresh={"cookies": Cookies(access=True)}) as site:
        tokens = site.issuer.issue("alice")
    response = make()
    response.set_cookie("theme", "dark")
    tokens.set_cookies(response)
    found = parsed(fields(response))
    expected = parsed(list(set_cookies(tokens)))
    assert {name: found[name] for name in expected} == expected
    assert found["theme"]["value"] == "dark"


def test_without_cookie_mode_there_are_none_to_set() -> None:
    with single(("wsgi", memory)) as site:
        tokens = site.issuer.issue("alice")
    response = starlette_response()
    tokens.set_cookies(response)
    assert (tokens.cookies, fields(response)) == ((), [])


@pytest.mark.parametrize("claims", [{"a": "x" * 4000}, {"a": ["x"] * 1200}], ids=["long", "many"])
def test_a_cookie_that_browsers_drop_is_refused_when_it_is_made(claims: dict[str, Any]) -> None:
    # RFC 6265bis s5.6: name and value over 4096 octets are ignored, without a word to anybody.
    with opened(DOORS, refresh={"cookies": Cookies(access=True)}) as world:

        def issue(site: Site) -> str:
            with pytest.raises(ValueError, match="claims") as caught:
                site.ask("issue", "alice", claims=claims)
            return str(caught.value)

        assert "4096" in world.each(issue)
        assert world.each(lambda site: site.ask("grants", "alice")) == ()


# --- unsafe settings

UNSAFE: dict[str, dict[str, Any]] = {
    "a-name-with-space": {"name": "a b"},
    "a-name-with-semicolon": {"name": "a; Domain=example"},
    "a-name-with-equals-sign": {"name": "a=b"},
    "no-name": {"name": ""},
    "a-name-beyond-ascii": {"name": "é"},
    "a-name-with-newline": {"name": "a\n"},
    "an-access-name-with-newline": {"access_name": "a\r\nb"},
    "one-name-for-both": {"name": "t", "access_name": "t"},
    "same-site-none": {"access_same_site": "None"},
    "same-site-in-small-letters": {"access_same_site": "lax"},
    "no-same-site": {"access_same_site": ""},
    "access-as-text": {"access": "yes"},
    "no-field": {"header": ""},
    "a-field-of-any-form": {"header": "Content-Type"},
    "a-field-of-any-form-in-small-letters": {"header": "accept-language"},
    "a-field-with-newline": {"header": "X-A\r\n"},
}


@refuses("RT-20")
@pytest.mark.parametrize("options", UNSAFE.values(), ids=UNSAFE)
def test_an_unsafe_setting_is_refused_at_start(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"refresh\.cookies\."):
        Cookies(**options)


# A browser sends these whoever asks for the request, or a proxy adds them: a check for one of them
# would let everybody in.
AUTOMATIC = [
    *("Host", "User-Agent", "Referer", "Connection", "Content-Length", "Accept-Encoding", "DNT"),
    *("Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-CH-UA", "Upgrade-Insecure-Requests", "Priority"),
    *("Cache-Control", "Pragma", "Save-Data", "Via", "X-Forwarded-For", "X-Real-IP", "Forwarded"),
    *("Authorization", "Proxy-Authorization", "Access-Control-Request-Method", "If-None-Match"),
    *("X-Forwarded-Proto", "Last-Event-ID", "Keep-Alive", "TE", "Date", "X-Request-ID"),
]


@refuses("RT-20")
@pytest.mark.parametrize("name", AUTOMATIC)
def test_a_field_that_comes_by_itself_proves_nothing(name: str) -> None:
    for spelt in (name, name.lower(), name.upper()):
        with pytest.raises(ConfigurationError, match=r"cookies\.header"):
            Cookies(header=spelt)


@accepts("RT-20")
@pytest.mark.parametrize("name", ["X-Requested-With", "X-CSRF", "x-my-app"])
def test_a_field_of_ones_own_is_taken(name: str) -> None:
    page = ((name, "1"), *OWN_PAGE[1:])
    with opened(DOORS, refresh={"cookies": Cookies(header=name)}) as world:
        browser = Browser(world)
        browser.login()
        assert browser.refresh(page).status == 200
        assert browser.refresh(OWN_PAGE).status == (200 if name == FIELD[0] else 403)


# --- two Cookie lines that a server has joined by a comma


@accepts("RT-20")
@pytest.mark.parametrize("comma", [",", ", "])
def test_what_is_joined_behind_our_cookie_is_not_its_value(browser: Browser, comma: str) -> None:
    browser.login()
    own = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    cookie = [("Cookie", f"theme=dark; {own}{comma}size=3; other=x")]
    assert browser.world.get(headers=cookie).user == "alice"
    assert browser.world.send("POST", REFRESH, headers=[*OWN_PAGE, *cookie]).status == 200


@refuses("RT-20")
def test_what_stands_behind_a_comma_may_be_planted_and_is_not_read(world: World) -> None:
    # A host of the domain may set `a=b,__Host-...=token`: the browser sees a cookie called `a`.
    planted = set_cookies(world.login("mallory"))[0].partition(";")[0]
    cookie = [("Cookie", f"a=b,{planted}")]
    answer = world.send("POST", REFRESH, headers=[*OWN_PAGE, *cookie])
    assert (answer.status, answer.reason) == (400, "parameter_malformed")


def test_the_application_gets_no_refresh_token_from_behind_a_comma() -> None:
    jars = Cookies().jars("https://login.example")
    own = f"{jars.refresh.prefix}12345678=token"
    for header, left in {
        f"a=b,{own}": "a=b",
        f"a=b, {own}; c=d": "a=b; c=d",
        f"{own},c=d": "c=d",
        f"{own}, c=d": "c=d",
        f"a=b; {own}": "a=b",
        own: "",
        "a=b,c; d": "a=b,c; d",
        f"x={jars.refresh.prefix},y; z": f"x={jars.refresh.prefix},y; z",
    }.items():
        assert jars.without_refresh(header) == left
    seen: list[str | None] = []

    def inner(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ.get("HTTP_COOKIE"))
        start_response("200 OK", [])
        return []

    async def ainner(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(value.decode() for name, value in scope["headers"] if name == b"cookie")
        await PlainTextResponse("")(scope, receive, send)

    made = Settings(
        issuer="https://login.example",
        audience="https://api.example",
        keys=KEYS,
        routes=(Route("/open", public=True),),
        refresh=Refresh(store="memory://", cookies=Cookies()),
    )
    wsgi = WSGIClient(WSGIMiddleware(inner, made), use_cookies=False)
    wsgi.get("/open", headers={"Cookie": f"a=b,{own}"})
    TestClient(ASGIMiddleware(ainner, made)).get("/open", headers={"Cookie": f"a=b,{own}"})
    wsgi.get("/open", headers={"Cookie": own})
    assert seen == ["a=b", "a=b", None]
