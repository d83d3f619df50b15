"""RT-20 and RT-21: tokens in cookies, and who else could make a browser send them."""

from collections.abc import Iterator
from http.cookies import SimpleCookie
from typing import Any

import pytest
from django.http import HttpResponse
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import JSONResponse

from jwt_middleware import ConfigurationError, Cookies, Refresh, Route, Settings, Tokens
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.request.cookies import Jar
from jwt_middleware.values.errors import InvalidRequest
from jwt_middleware.values.model import Request
from tests.issuing import (
    AUDIENCE,
    DAY,
    DOORS,
    FAULTY,
    HOUR,
    KEYS,
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
from tests.test_rt_revocation import of_no_grant
from tests.world import Answer, shake_hands

SHOP, EVIL = "https://shop.login.example", "https://evil.example"

FIELD = ("X-Requested-With", "fetch")
OWN_PAGE = (FIELD, ("Origin", "https://login.example"), ("Sec-Fetch-Site", "same-origin"))
SHOP_PAGE = (FIELD, ("Origin", SHOP), ("Sec-Fetch-Site", "same-site"))
NO_BROWSER = (FIELD,)

Page = tuple[tuple[str, str], ...]


class Browser:
    """A cookie jar between a page and the world: it keeps and sends what a browser does."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.cookies: dict[str, tuple[str, str]] = {}  # value and path by name

    def take(self, fields: tuple[str, ...]) -> None:
        for field in fields:
            pair, *attributes = field.split("; ")
            name, _, value = pair.partition("=")
            (path,) = (one[5:] for one in attributes if one.startswith("Path="))
            if "Max-Age=0" in attributes:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value, path

    def login(self, subject: str = "alice", **options: Any) -> Tokens:
        tokens = self.world.login(subject, **options)
        self.take(tuple(value for _, value in tokens.cookies))
        return tokens

    def sent(self, path: str, page: Page) -> list[tuple[str, str]]:
        fitting = [f"{name}={value}" for name, (value, at) in self.cookies.items() if path >= at]
        return [*page, ("Cookie", "; ".join(fitting))] if fitting else [*page]

    def request(self, method: str, path: str, page: Page = OWN_PAGE) -> Answer:
        answer = self.world.send(method, path, headers=self.sent(path, page))
        self.take(answer.cookies)
        return answer

    def refresh(self, page: Page = OWN_PAGE) -> Answer:
        return self.request("POST", REFRESH, page)

    def logout(self, page: Page = OWN_PAGE) -> Answer:
        return self.request("POST", REVOKE, page)


@pytest.fixture
def world() -> Iterator[World]:
    with opened(DOORS, refresh={"cookies": Cookies(access=True)}, origins=(SHOP,)) as one:
        yield one


@pytest.fixture
def browser(world: World) -> Browser:
    return Browser(world)


def cleared(name: str, attributes: str) -> str:
    return f"{name}=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; {attributes}"


SECURE = "HttpOnly; SameSite=Strict; Secure"
CLEARED = (
    cleared("__Secure-refresh_token", f"Path=/auth; {SECURE}"),
    cleared("__Host-access_token", f"Path=/; {SECURE}"),
)


# --- RT-20: what is set


def set_cookies(tokens: Tokens) -> tuple[str, ...]:
    assert {name for name, _ in tokens.cookies} <= {"set-cookie"}
    return tuple(value for _, value in tokens.cookies)


@accepts("RT-20")
def test_the_cookies_have_every_attribute_of_safety(world: World) -> None:
    tokens = world.login()
    refresh, access = set_cookies(tokens)
    pair, seconds = f"__Secure-refresh_token={tokens.refresh_token}", 7 * DAY
    assert refresh == f"{pair}; Max-Age={seconds}; Path=/auth; {SECURE}"
    pair, seconds = f"__Host-access_token={tokens.access_token}", tokens["expires_in"]
    assert access == f"{pair}; Max-Age={seconds}; Path=/; {SECURE}"


COOKIES = {
    "refresh-only": (
        {"cookies": Cookies()},
        ["__Secure-refresh_token=*; Max-Age=604800; Path=/auth; " + SECURE],
    ),
    "mounted": (
        {"cookies": Cookies(mount="/shop/v1", name="r")},
        ["__Secure-r=*; Max-Age=604800; Path=/shop/v1/auth; " + SECURE],
    ),
    "at-another-path": (
        {"cookies": Cookies(), "path": "/token", "idle_limit": HOUR},
        ["__Secure-refresh_token=*; Max-Age=3600; Path=/token; " + SECURE],
    ),
    "lax": (
        {"cookies": Cookies(access=True, access_same_site="Lax", access_name="a")},
        [
            "__Secure-refresh_token=*; Max-Age=604800; Path=/auth; " + SECURE,
            "__Host-a=*; Max-Age=*; Path=/; HttpOnly; SameSite=Lax; Secure",
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
            assert field.startswith(("refresh_token=", "access_token="))
            assert "Secure" not in field
            assert "HttpOnly; SameSite=Strict" in field
        assert browser.refresh().status == 200
        assert browser.request("GET", "/").user == "alice"
        assert browser.logout().cookies == (
            cleared("refresh_token", "Path=/auth; HttpOnly; SameSite=Strict"),
            cleared("access_token", "Path=/; HttpOnly; SameSite=Strict"),
        )


@accepts("RT-20")
@pytest.mark.parametrize("issuer", ["https://localhost", "https://127.0.0.1:8443"])
def test_https_on_loopback_is_as_safe_as_anywhere(issuer: str) -> None:
    with opened(DOORS, issuer=issuer, refresh={"cookies": Cookies()}) as world:
        assert set_cookies(world.login())[0].startswith("__Secure-")


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
    assert set(answer.json) == {"token_type", "expires_in", "scope"}
    assert set(first) == {"token_type", "expires_in", "scope"}
    assert answer.header("cache-control") == "no-store"
    (refresh, access) = answer.cookies
    assert f"; Max-Age=604800; Path=/auth; {SECURE}" in refresh
    assert f"; Max-Age={answer.json['expires_in']}; Path=/; {SECURE}" in access
    assert browser.request("POST", "/orders", page).user == "alice"
    answer = browser.logout(page)
    assert (answer.status, answer.cookies, browser.cookies) == (200, CLEARED, {})
    assert browser.request("GET", "/", page).status == 401
    assert not browser.world.is_alive(first.grant_id)


@accepts("RT-20")
def test_the_access_token_is_in_the_body_where_it_has_no_cookie() -> None:
    with opened(DOORS, refresh={"cookies": Cookies()}) as world:
        browser = Browser(world)
        browser.login()
        world.clock.forward(HOUR)
        answer = browser.refresh()
        assert set(answer.json) == {"access_token", "token_type", "expires_in"}
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
    headers = [kind, length, *browser.sent(REFRESH, OWN_PAGE)]
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
    headers = browser.sent(REFRESH, OWN_PAGE)
    answer = browser.world.post(REFRESH, refresh_form(tokens.refresh_token), headers=headers)
    assert (answer.status, answer.reason) == (400, "credentials_twice")
    assert browser.world.is_alive(tokens.grant_id)


@refuses("RT-20")
def test_no_cookie_passes_as_another_kind(world: World) -> None:
    tokens = world.login()
    swapped = {
        REFRESH: f"__Secure-refresh_token={tokens.access_token}",
        "/": f"__Host-access_token={tokens.refresh_token}",
    }
    answer = world.send("POST", REFRESH, headers=[*OWN_PAGE, ("Cookie", swapped[REFRESH])])
    assert (answer.reason, answer.cookies) == ("type_not_allowed", CLEARED)
    assert world.get(headers=[("Cookie", swapped["/"])]).reason == "type_not_allowed"
    plain = f"refresh_token={tokens.refresh_token}; access_token={tokens.access_token}"
    assert world.get(headers=[("Cookie", plain)]).reason == "credentials_missing"
    headers = [*OWN_PAGE, ("Cookie", plain)]
    assert world.send("POST", REFRESH, headers=headers).reason == "parameter_malformed"


@refuses("RT-20")
def test_a_useless_cookie_is_cleared(browser: Browser) -> None:
    browser.login()
    browser.world.revoke_all("alice")
    answer = browser.refresh()
    assert (answer.reason, answer.cookies, browser.cookies) == ("grant_ended", CLEARED, {})


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
    headers = browser.sent("/", OWN_PAGE)
    answer = browser.world.get("/", tokens.access_token, headers=headers)
    assert (answer.status, answer.reason) == (400, "credentials_twice")
    answer = browser.world.get("/", headers=[*headers, ("Authorization", "Bearer")])
    assert answer.status == 400


def test_a_bad_access_cookie_is_a_bad_token() -> None:
    routes = (Route("/open", public=True), Route("/maybe", optional=True))
    with opened(DOORS, refresh={"cookies": Cookies(access=True)}, routes=routes) as world:
        browser = Browser(world)
        browser.login()
        world.clock.forward(2 * HOUR)
        assert browser.request("GET", "/").reason == "expired"
        assert browser.request("GET", "/maybe").reason == "expired"
        assert browser.request("POST", "/open", ()).token is None
        assert browser.request("POST", "/open", ()).reached
        browser.cookies["__Host-access_token"] = '"x"', "/"
        assert browser.request("GET", "/").reason == "token_segments"
        browser.cookies["__Host-access_token"] = "", "/"
        assert browser.request("GET", "/").reason == "credentials_missing"
        assert browser.request("GET", "/maybe").reached


PAGES = {
    "own": (OWN_PAGE[1:], True),
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
        cookie = ("Cookie", f"__Host-access_token={tokens.access_token}")
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


def tossed(*values: str, name: str = "__Secure-refresh_token") -> list[list[tuple[str, str]]]:
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
    name = "__Secure-refresh_token"
    for others in ("a=b", f"x{name}=evil", f"{name}x=evil", f"a={name}", "__Secure-other=1; =x"):
        for cookie in (f"{others}; {name}={tokens.refresh_token}",):
            answer = browser.world.send("POST", REFRESH, headers=[*OWN_PAGE, ("Cookie", cookie)])
            assert answer.status == 200, others


@refuses("RT-21")
@pytest.mark.parametrize("path", [REFRESH, REVOKE])
def test_a_tossed_cookie_is_refused_and_cleared(world: World, path: str) -> None:
    mine, theirs = world.login(), world.login("mallory")
    good, evil = mine.refresh_token, theirs.refresh_token
    for values in (
        (good, evil),
        (evil, good),
        (good, good),
        (good, ""),
        ("", good),
        (good, "", ""),
    ):
        for cookies in tossed(*values):
            answer = world.send("POST", path, headers=[*OWN_PAGE, *cookies])
            assert (answer.status, answer.reason) == (400, "cookie_twice")
            assert answer.cookies == CLEARED
    for tokens in (mine, theirs):
        row = world.row(tokens.grant_id)
        assert (row.generation, row.ended_at) == (1, None)


@refuses("RT-21")
def test_two_access_cookies_are_refused(world: World) -> None:
    mine, theirs = world.login(), world.login("mallory")
    for cookies in tossed(mine.access_token, theirs.access_token, name="__Host-access_token"):
        answer = world.get(headers=cookies)
        assert (answer.status, answer.reason) == (400, "cookie_twice")


ODD = [
    *("", ";", ";;;", "=", "=;=", "; =x; ", "a", "a;b", "$Version=1; $Path=/", "a=b=c=d", "\t"),
    *("__Secure-refresh_token", "__Secure-refresh_token=", "__Secure-refresh_token;", "__Secure-"),
    # A browser may send a nameless cookie like this; RFC 6265bis has it as the value of no name.
    *(
        "=__Secure-refresh_token=evil",
        "__Secure-refresh_token =evil",
        "__secure-refresh_token=evil",
    ),
    *("é=ü", "a=\x00", "a=\x7f", "a=" + "x" * 9000, "a=b; " * 2000, "a=b,__Secure-refresh_token=c"),
    *("a[]=b", "a=(b)", "a=b\\", 'a="b', "a=\u00a0__Secure-refresh_token=evil"),
]


@pytest.mark.parametrize("cookie", ODD, ids=lambda text: repr(text[:40]))
def test_an_odd_cookie_header_is_none(world: World, cookie: str) -> None:
    sent: list[Any] = [*OWN_PAGE, ("Cookie", cookie.encode("latin-1"))]
    answer = world.send("POST", REFRESH, headers=sent)
    assert (answer.status, answer.reason) == (400, "parameter_malformed")
    assert world.send("POST", REVOKE, headers=sent).status == 200
    assert world.get(headers=[("Cookie", cookie.encode("latin-1"))]).reason == "credentials_missing"


@pytest.mark.parametrize(
    "value", ['"{0}"', "{0},", "x", "{0}=", "{0} ", " {0}", "%7B", "{0}\x00", "\xa0{0}"], ids=repr
)
def test_a_cookie_is_the_token_to_the_octet(world: World, value: str) -> None:
    token = world.login().refresh_token
    cookie = f"__Secure-refresh_token={value.replace('{0}', token)}".encode("latin-1")
    answer = world.send("POST", REFRESH, headers=[*OWN_PAGE, ("Cookie", cookie)])
    # White space around a pair is no part of it (RFC 6265 s5.4); nothing else is forgiven.
    assert answer.status == (200 if value == "{0} " else 400)


@given(st.text(st.characters(max_codepoint=255)), st.sampled_from(["j", "__Host-a", "a"]))
def test_reading_a_cookie_raises_one_error_only(header: str, name: str) -> None:
    request = Request("POST", "/", {"cookie": header}.get)
    try:
        value = Jar(name=name, attributes="").read(request)
    except InvalidRequest:
        assert header.count(name) >= 2
    else:
        assert value is None or f"{name}={value}" in header


# --- logging out


def attributes(field: str) -> list[str]:
    return [one for one in field.split("; ")[1:] if not one.startswith(("Max-Age", "Expires"))]


@pytest.mark.parametrize(("group", "_"), COOKIES.values(), ids=COOKIES)
def test_a_cookie_is_cleared_with_the_attributes_it_was_set_with(
    group: dict[str, Any], _: object
) -> None:
    with opened(DOORS, refresh=group) as world:
        tokens = world.login()
        cookie = ("Cookie", set_cookies(tokens)[0].partition(";")[0])
        path = f"{group.get('path', '/auth')}/revoke"
        answer = world.send("POST", path, headers=[*OWN_PAGE, cookie])
        assert not world.is_alive(tokens.grant_id)
        set_, gone = set_cookies(tokens), answer.cookies
        assert [attributes(one) for one in gone] == [attributes(one) for one in set_]
        names = [one.partition("=")[0] for one in set_]
        assert [one.partition(";")[0] for one in gone] == [f"{name}=" for name in names]


def test_logging_out_works_however_late(browser: Browser) -> None:
    world = browser.world
    tokens = browser.login()
    browser.cookies.pop("__Host-access_token")  # its Max-Age is over
    world.clock.forward(2 * HOUR)
    assert browser.logout().cookies == CLEARED
    assert world.row(tokens.grant_id).end_reason == "logout"
    for _ in range(2):  # again, and with nothing left
        answer = browser.logout()
        assert (answer.status, answer.cookies) == (200, CLEARED)
    browser.login()
    world.clock.forward(31 * DAY)
    answer = browser.logout()
    assert (answer.status, answer.cookies) == (200, CLEARED)


def test_logging_out_takes_no_notice_of_the_authorization_header(browser: Browser) -> None:
    tokens = browser.login()
    other = browser.world.login()
    page = (*OWN_PAGE, ("Authorization", f"Bearer {other.access_token}"))
    assert browser.logout(page).cookies == CLEARED
    assert not browser.world.is_alive(tokens.grant_id)
    assert browser.world.is_alive(other.grant_id)


def test_the_access_cookie_alone_logs_out(browser: Browser) -> None:
    tokens = browser.login()
    browser.cookies.pop("__Secure-refresh_token")
    assert browser.logout().cookies == CLEARED
    assert not browser.world.is_alive(tokens.grant_id)


def test_a_token_in_the_body_does_not_keep_the_cookies_grant_alive(browser: Browser) -> None:
    tokens, other = browser.login(), browser.world.login("bob")
    page = browser.sent(REVOKE, OWN_PAGE)
    answer = browser.world.revoke(other.refresh_token, headers=page)
    assert answer.cookies == CLEARED
    assert not browser.world.is_alive(tokens.grant_id)
    assert not browser.world.is_alive(other.grant_id)
    tokens = browser.login()
    machine = of_no_grant(tokens.access_token)
    answer = browser.world.revoke(machine, headers=browser.sent(REVOKE, OWN_PAGE))
    assert (answer.status, answer.cookies) == (200, CLEARED)
    assert not browser.world.is_alive(tokens.grant_id)


def test_without_the_store_the_cookies_stay_for_another_try() -> None:
    with opened(FAULTY, refresh={"cookies": Cookies(access=True)}) as world:
        browser = Browser(world)
        tokens = browser.login()
        world.each(lambda site: site.store.fails.update(("end", "advance")))
        for answer in (browser.logout(), browser.refresh()):
            assert (answer.status, answer.cookies) == (503, ())
        world.each(lambda site: site.store.fails.clear())
        assert browser.logout().cookies == CLEARED
        assert not world.is_alive(tokens.grant_id)


def test_a_login_ends_what_the_browser_still_held(browser: Browser) -> None:
    old = browser.login()
    held = browser.cookies["__Secure-refresh_token"][0]
    new = browser.login("bob", replaces=held)
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
    "a-mount-with-slash": {"mount": "/app/"},
    "a-mount-without-slash": {"mount": "app"},
    "a-mount-with-attributes": {"mount": "/a; Domain=example.com"},
    "a-mount-with-dots": {"mount": "/.."},
    "a-mount-of-another-type": {"mount": None},
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
