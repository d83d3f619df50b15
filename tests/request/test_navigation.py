"""RT-32: which requests load a page, and where these go without a valid token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jwt_middleware import AccessToken, Cookies, Grant, Route, Tokens, current_token
from jwt_middleware.process.current_token import CURRENT
from jwt_middleware.request.navigation import (
    MAX_NEXT,
    Pages,
    is_ahead,
    is_local,
    is_navigation,
)
from jwt_middleware.values.errors import InvalidRequest
from jwt_middleware.values.events import Reused
from jwt_middleware.values.requests import Request
from tests.browser import Browser, access_name, refresh_name
from tests.issuing import DOORS, FAULTY, HOUR, ISSUER, MINUTE, World, opened
from tests.rules import accepts, refuses
from tests.world import Answer

Page = tuple[tuple[str, str], ...]

CONTINUE = "/auth/continue"
EVIL = "https://evil.example"
ROUTES = (
    Route("/login", public=True, own_origin=True),
    Route("/home", optional=True),
    Route("/admin/*", scope="admin"),
    Route("/vault", max_age=60),
)
SETTINGS: dict[str, Any] = {
    "login_url": "/login",
    "routes": ROUTES,
    "refresh": {"cookies": Cookies(access=True, forms=True)},
}


def load(site: str = "same-origin", **more: str) -> Page:
    """Return the fields of a page load in Chromium, caused by this kind of site."""
    found = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": site}
    found |= {name.replace("_", "-"): value for name, value in more.items()}
    return tuple(found.items())


OWN_FORM = load(Origin=ISSUER)
SCRIPT = (
    ("Sec-Fetch-Mode", "cors"),
    ("Sec-Fetch-Dest", "empty"),
    ("Sec-Fetch-Site", "same-origin"),
)


@pytest.fixture
def world() -> Iterator[World]:
    with opened(DOORS, **SETTINGS) as one:
        yield one


@pytest.fixture
def browser(world: World) -> Browser:
    return Browser(world)


def goes_to(answer: Answer) -> tuple[int, str, str]:
    """Return the status, the path and `next` of a redirect, all of whose fields are right."""
    assert answer.status in (303, 307), (answer.status, answer.reason)
    assert not answer.reached
    assert answer.header("cache-control") == "no-store"
    told = answer.header("vary") or ""
    assert {"Accept", "Cookie", "Sec-Fetch-Dest", "Sec-Fetch-Mode"} <= set(told.split(", "))
    assert answer.body == b""
    where = urlsplit(answer.header("location") or "")
    assert (where.scheme, where.netloc) == ("", "")
    return answer.status, where.path, parse_qs(where.query).get("next", [""])[0]


def lapse(browser: Browser, *, seconds: float = 11 * MINUTE) -> None:
    """Let the access token expire; a browser forgets its cookie then, more or less."""
    browser.world.clock.forward(seconds)


def forget_access(browser: Browser) -> None:
    browser.cookies = {name: one for name, one in browser.cookies.items() if "refresh" in name}


# --- what loads a page


def asked(method: str = "GET", **fields: str) -> Request:
    found = {name.replace("_", "-"): value for name, value in fields.items()}
    return Request(method, "/", found.get)


LOADS: dict[str, dict[str, str]] = {
    "a-page-load": {"sec_fetch_mode": "navigate", "sec_fetch_dest": "document"},
    "by-a-service-worker": {"sec_fetch_mode": "navigate", "sec_fetch_dest": "empty"},
    "of-an-old-browser": {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"},
    "spelled-otherwise": {"accept": "application/xml, Text/HTML ; charset=utf-8 ;q=0.5"},
}
NO_LOADS: dict[str, dict[str, str]] = {
    "a-script": {"sec_fetch_mode": "cors", "sec_fetch_dest": "empty", "accept": "text/html"},
    "a-copy-by-a-service-worker": {"sec_fetch_mode": "same-origin", "sec_fetch_dest": "empty"},
    "an-image": {"sec_fetch_mode": "no-cors", "sec_fetch_dest": "image", "accept": "text/html"},
    "a-frame": {"sec_fetch_mode": "navigate", "sec_fetch_dest": "iframe"},
    "an-object": {"sec_fetch_mode": "navigate", "sec_fetch_dest": "object"},
    "of-no-kind": {"sec_fetch_mode": "navigate"},
    "two-modes": {"sec_fetch_mode": "navigate, navigate", "sec_fetch_dest": "document"},
    "nothing-said": {},
    "anything": {"accept": "*/*"},
    "json": {"accept": "application/json, text/plain, */*"},
    "not-html": {"accept": "text/html;q=0, application/json"},
    "not-html-at-all": {"accept": "text/html; q=0.000"},
    "another-html": {"accept": "text/html-sandboxed"},
    "a-prefetch": {**LOADS["a-page-load"], "sec_purpose": "prefetch"},
    "a-prerender": {**LOADS["a-page-load"], "sec_purpose": "prefetch;prerender"},
    "a-prefetch-of-old": {**LOADS["of-an-old-browser"], "purpose": "prefetch"},
    "a-prefetch-of-firefox": {**LOADS["of-an-old-browser"], "x_moz": "Prefetch"},
    "a-preview": {**LOADS["of-an-old-browser"], "x_purpose": "preview"},
}


@accepts("RT-32")
@pytest.mark.parametrize("fields", LOADS.values(), ids=LOADS)
def test_a_page_load_is_known(fields: dict[str, str]) -> None:
    assert is_navigation(asked(**fields))
    assert not is_ahead(asked(**fields))


@refuses("RT-32")
@pytest.mark.parametrize("fields", NO_LOADS.values(), ids=NO_LOADS)
def test_all_else_is_none(fields: dict[str, str]) -> None:
    assert not is_navigation(asked(**fields))


def test_a_handshake_is_none() -> None:
    found = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert not is_navigation(Request("GET", "/", found.get, is_websocket=True))


# --- what `next` may be

LOCAL = ("/", "/a", "/a/b?c=d&e=%2F%2Fevil", "/a?next=https://x.example/", "/%C3%A4")
OTHERS = (
    *("", "a", "?a", "//evil.example", "///evil.example", "/\\evil.example", "\\/evil.example"),
    *("https://evil.example/", "https:evil.example", "javascript:alert(1)", "data:text/html,x"),
    *(" //evil.example", "/\t/evil.example", "/\n/evil.example", "\x01//evil.example"),
    *("/%2Fevil.example", "/%5Cevil.example", "/%2F%2Fevil.example", "/%09/evil.example"),
    *("/./evil", "/../evil", "/..//evil.example", "/%2e%2e/evil", "/a//b", "/a;b", "/a#b"),
    *("/ä", "/a b", "/a\x7f", "/\u2028", "/%00", "/%0d%0aSet-Cookie:a=b", "/\r\nSet-Cookie:a=b"),
    "/" + "a" * MAX_NEXT,
)


@accepts("RT-32")
@pytest.mark.parametrize("text", LOCAL)
def test_a_path_of_this_host_is_local(text: str) -> None:
    assert is_local(text)


@refuses("RT-32")
@pytest.mark.parametrize("text", OTHERS)
def test_nothing_else_is_local(text: str) -> None:
    assert not is_local(text)


@refuses("RT-32")
@given(st.text(alphabet="/\\.:@?#%2fFeE5cC09;ab \t\n\r\x00é", max_size=12))
@example("//evil.example")
def test_what_is_local_stays_on_this_host(text: str) -> None:
    if not is_local(text):
        return
    # As the URL standard reads it: what begins with one slash, followed by no other and by no
    # backslash, is a path; tabs and newlines, which it leaves out before, aren't there.
    assert text[0] == "/"
    assert text[1:2] not in ("/", "\\")
    assert text.isascii()
    assert text.isprintable()
    assert " " not in text


# --- without a token


@accepts("RT-32")
@pytest.mark.parametrize("site", ["same-origin", "same-site", "none"])
def test_a_page_load_without_a_token_goes_to_the_login_page(world: World, site: str) -> None:
    answer = world.send("GET", "/notes", headers=load(site), query="page=2&tag=a%20b")
    assert goes_to(answer) == (303, "/login", "/notes?page=2&tag=a%20b")
    assert answer.reason == "credentials_missing"


@accepts("RT-32")
def test_an_old_browser_and_a_head_go_there_too(world: World) -> None:
    html = (("Accept", "text/html"),)
    assert goes_to(world.send("GET", "/notes", headers=html)) == (303, "/login", "/notes")
    assert goes_to(world.send("HEAD", "/notes", headers=html)) == (303, "/login", "/notes")


@refuses("RT-32")
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("fields", NO_LOADS.values(), ids=NO_LOADS)
def test_what_loads_no_page_is_refused_as_ever(
    world: World, method: str, fields: dict[str, str]
) -> None:
    headers = [(name.replace("_", "-"), value) for name, value in fields.items()]
    answer = world.send(method, "/notes", headers=[*headers, ("Sec-Fetch-Site", "same-origin")])
    assert (answer.status, answer.reached, answer.header("location")) == (401, False, None)
    assert answer.challenge.startswith("Bearer ")


@refuses("RT-32")
def test_other_methods_are_refused_as_ever(world: World) -> None:
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "QUERY"):
        answer = world.send(method, "/notes", headers=OWN_FORM)
        assert (answer.status, answer.header("location")) == (401, None)


@accepts("RT-32")
@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("/a b/ä", "", "/a%20b/%C3%A4"),
        ("/a?b#c", "d=%2F", "/a%3Fb%23c?d=%2F"),
        ("/a", 'q="<b>"&r=ü'.encode().decode("latin-1"), "/a?q=%22%3Cb%3E%22&r=%C3%BC"),
        ("/a", "q=" + "x" * MAX_NEXT, "/a"),
        ("/" + "a" * MAX_NEXT, "", "/"),
    ],
)
def test_next_is_the_address_as_the_browser_has_it(path: str, query: str, expected: str) -> None:
    # Without scopes in the rules, no path is refused because it is odd.
    settings: dict[str, Any] = SETTINGS | {"routes": ROUTES[:1]}
    with opened(DOORS[:1], **settings) as world:
        answer = world.send("GET", path, headers=load(), query=query)
        assert goes_to(answer) == (303, "/login", expected)


@refuses("RT-32")
@pytest.mark.parametrize(
    "path", ["//evil.example/a", "/\\evil.example", "/a/../b", "/a;b", "/a\x01"]
)
def test_an_odd_path_is_no_next(path: str) -> None:
    settings: dict[str, Any] = SETTINGS | {"routes": ROUTES[:1]}
    with opened(DOORS, **settings) as world:
        assert goes_to(world.send("GET", path, headers=load())) == (303, "/login", "/")
    with opened(DOORS, **SETTINGS) as world:  # where a rule asks for a scope
        assert world.send("GET", path, headers=load()).status == 400


@accepts("RT-32")
def test_below_a_root_every_address_has_it(world: World) -> None:
    answer = world.send("GET", "/notes", headers=load(), root="/shop")
    assert goes_to(answer) == (303, "/shop/login", "/shop/notes")
    browser = Browser(world)
    browser.login()
    lapse(browser)
    sent = browser.sent(load())
    answer = world.send("GET", "/notes", headers=sent, root="/shop")
    assert goes_to(answer) == (303, "/shop" + CONTINUE, "/shop/notes")
    answer = world.send("GET", CONTINUE, headers=sent, root="/shop", query="next=/shop/notes")
    assert answer.header("location") == "/shop/notes"
    for own in ("/shop/auth/revoke", "/auth/continue"):
        answer = world.send("GET", CONTINUE, headers=sent, root="/shop", query=f"next={own}")
        assert (answer.status, answer.reason) == (400, "next_not_local")


@accepts("RT-32")
def test_a_root_that_the_server_does_not_say_is_that_of_the_public_url() -> None:
    group = SETTINGS["refresh"] | {"public_url": "https://login.example/shop"}
    with opened(DOORS, **(SETTINGS | {"refresh": group})) as world:
        answer = world.send("GET", "/notes", headers=load())
        assert goes_to(answer) == (303, "/shop/login", "/shop/notes")


def test_a_plain_request_has_a_place_too() -> None:
    pages = Pages(
        login_url="/login",
        continue_path=CONTINUE,
        is_endpoint={CONTINUE}.__contains__,
        root="",
        jars=Cookies(access=True).jars(ISSUER),
        check=lambda _: None,
    )
    request = Request("GET", "/login", lambda _: None, place=("/shop", "next=/shop/auth/continue"))
    with pytest.raises(InvalidRequest, match="next_not_local"):
        pages.check_login(request)
    response = pages.to_login(request, "/shop/a?b=c")
    assert ("location", "/shop/login?next=/shop/a%3Fb%3Dc") in response.headers


@refuses("RT-32")
@pytest.mark.parametrize("root", ["//evil.example", "/\\evil.example", "/a b", "/.."])
def test_a_root_that_a_client_may_have_named_is_not_repeated(root: str) -> None:
    settings: dict[str, Any] = SETTINGS | {"routes": ROUTES[:1]}
    with opened(DOORS[1:], **settings) as world:
        status, path, next_ = goes_to(world.send("GET", "/notes", headers=load(), root=root))
        assert (status, path, next_) == (303, "/login", "/notes")


# --- with a token that has expired


@accepts("RT-32")
@pytest.mark.parametrize("has_access", [True, False])
def test_an_expired_page_load_is_continued_and_comes_back(
    browser: Browser, *, has_access: bool
) -> None:
    browser.login()
    lapse(browser)
    if not has_access:
        forget_access(browser)
    answer = browser.world.send("GET", "/notes", headers=browser.sent(load()), query="a=b")
    assert goes_to(answer) == (303, CONTINUE, "/notes?a=b")
    there = urlsplit(answer.header("location") or "")
    answer = browser.world.send("GET", CONTINUE, headers=browser.sent(load()), query=there.query)
    assert (answer.status, answer.header("location")) == (303, "/notes?a=b")
    assert answer.header("cache-control") == "no-store"
    assert len(answer.cookies) == 2
    browser.take(answer.cookies)
    answer = browser.world.send("GET", "/notes", headers=browser.sent(load()), query="a=b")
    assert (answer.status, answer.user) == (200, "alice")


@accepts("RT-32")
def test_a_removed_cookie_that_comes_back_empty_is_no_login(browser: Browser) -> None:
    browser.login()
    browser.cookies = dict.fromkeys(browser.cookies, "")
    answer = browser.world.send("GET", "/notes", headers=browser.sent(load()))
    assert goes_to(answer) == (303, "/login", "/notes")


def continues(browser: Browser, page: Page | None = None, query: str = "next=/notes") -> Answer:
    answer = browser.world.send(
        "GET", CONTINUE, headers=browser.sent(load() if page is None else page), query=query
    )
    browser.take(answer.cookies)
    return answer


@accepts("RT-32")
def test_a_lost_answer_and_a_second_tab_are_continued(browser: Browser) -> None:
    browser.login()
    lapse(browser)
    answers = [
        browser.world.send("GET", CONTINUE, headers=browser.sent(load()), query="next=/notes")
        for _ in range(3)
    ]
    assert [answer.header("location") for answer in answers] == ["/notes"] * 3
    for answer in answers:
        browser.take(answer.cookies)
        assert browser.request("GET", "/notes", load()).user == "alice"
    assert continues(browser).header("location") == "/notes"


@refuses("RT-32")
def test_a_dead_grant_ends_on_the_login_page_and_its_cookies_go(browser: Browser) -> None:
    tokens = browser.login()
    browser.world.revoke_all("alice")
    assert goes_to(browser.request("GET", "/notes", load())) == (303, CONTINUE, "/notes")
    answer = continues(browser)
    assert goes_to(answer) == (303, "/login", "/notes")
    assert answer.reason == "grant_ended"
    assert browser.cookies == {}
    assert {field.partition("=")[0] for field in answer.cookies} == {
        refresh_name(tokens),
        access_name(tokens),
    }
    assert goes_to(browser.request("GET", "/notes", load())) == (303, "/login", "/notes")


@refuses("RT-32")
def test_a_thief_is_found_by_a_page_load_too(browser: Browser) -> None:
    browser.login()
    stolen = dict(browser.cookies)
    for _ in range(2):
        lapse(browser)
        assert continues(browser).header("location") == "/notes"
    browser.cookies = stolen
    answer = continues(browser)
    assert goes_to(answer) == (303, "/login", "/notes")
    assert any(isinstance(event, Reused) for event in answer.events)


@accepts("RT-32")
def test_of_two_logins_the_living_one_continues(browser: Browser) -> None:
    first = browser.login()
    browser.login("bob")
    browser.world.each(lambda site: site.ask("revoke", first.grant_id))
    lapse(browser)
    assert continues(browser).header("location") == "/notes"
    assert browser.request("GET", "/notes", load()).user == "bob"
    assert refresh_name(first) not in browser.cookies


@refuses("RT-32")
def test_a_refused_user_goes_to_the_login_page() -> None:
    def check(token: AccessToken) -> bool:
        return token.subject != "mallory"

    with opened(DOORS, **SETTINGS, checks=(check,)) as world:
        browser = Browser(world)
        browser.login("mallory")
        assert goes_to(browser.request("GET", "/notes", load())) == (303, CONTINUE, "/notes")
        # No round: a new token would be refused as well.
        assert goes_to(continues(browser)) == (303, "/login", "/notes")


@refuses("RT-32")
def test_a_scope_too_small_is_refused_and_a_stale_login_logs_in_anew(browser: Browser) -> None:
    browser.login()
    assert browser.request("GET", "/admin/x", load()).status == 403
    assert browser.request("GET", "/vault", load()).status == 200
    lapse(browser, seconds=2 * MINUTE)
    # The user is needed here: no exchange makes a login newer.
    assert goes_to(browser.request("GET", "/vault", load())) == (303, "/login", "/vault")


def test_a_refused_page_load_is_a_page(browser: Browser) -> None:
    browser.login()
    refused = browser.request("GET", "/admin/x", load())
    assert (refused.status, refused.header("content-type")) == (403, "text/html; charset=utf-8")
    assert refused.body.startswith(b"<!doctype html>")
    assert b"lacks a scope" in refused.body
    assert refused.header("content-length") == str(len(refused.body))
    assert 'scope="admin"' in (refused.header("www-authenticate") or "")
    assert refused.header("cache-control") == "no-store"
    by_script = browser.request("GET", "/admin/x", SCRIPT)
    assert (by_script.status, by_script.header("content-type")) == (403, "application/json")


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (f"{ISSUER}/notes?page=2", "/notes?page=2"),
        (f"{ISSUER}/notes", "/notes"),
        (f"{ISSUER}/auth/refresh", "/notes/7/end"),  # no page to come back to
        (f"{ISSUER}//evil.example", "/notes/7/end"),
        ("about:client", "/notes/7/end"),
        ("http://[x/", "/notes/7/end"),
        ("", "/notes/7/end"),
    ],
)
def test_after_a_form_of_an_ended_login_comes_the_page_on_which_it_stood(
    browser: Browser, page: str, expected: str
) -> None:
    """Its own address may take forms only."""
    sent = (*OWN_FORM, ("Referer", page)) if page else OWN_FORM
    assert goes_to(browser.request("POST", "/notes/7/end", sent)) == (303, "/login", expected)
    browser.login()
    browser.world.revoke_all("alice")
    answer = browser.request("POST", "/notes/7/end", sent)
    assert goes_to(answer) == (307, CONTINUE, "/notes/7/end")
    answer = browser.world.send(
        "POST", CONTINUE, headers=browser.sent(sent), query="next=/notes/7/end"
    )
    assert goes_to(answer) == (303, "/login", expected)


@refuses("RT-32")
@pytest.mark.parametrize("wide", [{"public": True}, {"optional": True}], ids=str)
def test_the_login_page_checks_next_with_a_last_slash_too(wide: dict[str, Any]) -> None:
    """Flask and others serve both spellings, and a wider rule may open the other one."""
    routes = (Route("/login", public=True, own_origin=True), Route("/*", **wide))
    changed: dict[str, Any] = SETTINGS | {"routes": routes}
    with opened(DOORS, **changed) as world:
        for path in ("/login", "/login/"):
            answer = world.send("GET", path, headers=list(load()), query="next=//evil.example")
            assert (answer.status, answer.reason) == (400, "next_not_local"), path
            assert world.send("GET", path, headers=list(load()), query="next=/notes").reached


def test_what_an_answer_depends_on_stands_in_one_field() -> None:
    with opened(DOORS, **SETTINGS, origins=("https://shop.example",)) as world:
        answer = world.send("GET", "/notes", headers=list(load()))
        (vary,) = [value for name, value in answer.headers if name == "vary"]
        assert {"Origin", "Cookie", "Sec-Fetch-Mode"} <= set(vary.split(", "))


@refuses("RT-32")
def test_a_forged_cookie_goes_to_the_login_page_and_never_further(world: World) -> None:
    browser = Browser(world)
    browser.cookies = {"__Host-access_token-AAAAAAAA": "a.b.c"}
    assert goes_to(browser.request("GET", "/notes", load())) == (303, "/login", "/notes")
    browser.cookies["__Host-refresh_token-AAAAAAAA"] = "a.b.c"
    assert goes_to(browser.request("GET", "/notes", load())) == (303, CONTINUE, "/notes")
    assert goes_to(continues(browser)) == (303, "/login", "/notes")
    browser.cookies = {"__Host-refresh_token-AAAAAAAA": ""}
    assert goes_to(continues(browser)) == (303, "/login", "/notes")


@refuses("RT-32")
def test_a_cookie_that_came_twice_is_refused(browser: Browser) -> None:
    tokens = browser.login()
    pair = f"{refresh_name(tokens)}={tokens.refresh_token}"
    headers = [*load(), ("Cookie", f"{pair}; {pair}")]
    answer = browser.world.send("GET", CONTINUE, headers=headers, query="next=/notes")
    assert (answer.status, answer.reason, answer.cookies) == (400, "cookie_twice", ())


@accepts("RT-32")
def test_a_store_that_fails_is_no_log_out() -> None:
    with opened(FAULTY, **SETTINGS) as world:
        browser = Browser(world)
        browser.login()
        lapse(browser)
        world.each(lambda site: site.store.fails.add("advance"))
        before = dict(browser.cookies)
        answer = continues(browser)
        assert (answer.status, answer.header("retry-after"), answer.cookies) == (503, "1", ())
        assert browser.cookies == before


# --- from another site


@accepts("RT-32")
@pytest.mark.parametrize("lapsed", [False, True])
def test_a_link_elsewhere_ends_on_the_page(browser: Browser, *, lapsed: bool) -> None:
    browser.login()
    if lapsed:
        lapse(browser)
    # A browser sends no Strict cookie: not with the link, and not after our redirect.
    far = load("cross-site")
    answer = browser.world.send("GET", "/notes", headers=far, query="a=%22b%22")
    assert goes_to(answer) == (303, CONTINUE, "/notes?a=%22b%22")
    query = urlsplit(answer.header("location") or "").query
    answer = browser.world.send("GET", CONTINUE, headers=far, query=query)
    assert (answer.status, answer.reached, answer.cookies) == (200, False, ())
    assert answer.header("cache-control") == "no-store"
    assert answer.header("content-security-policy") == "default-src 'none'; frame-ancestors 'none'"
    page = answer.body.decode()
    url = f"/auth/continue?next={quote('/notes?a=%22b%22', safe='/')}&amp;again=1"
    assert f'content="0;url={url}"' in page
    assert f'href="{url}"' in page
    assert "<script" not in page
    answer = continues(browser, query=url.partition("?")[2].replace("&amp;", "&"))
    assert (answer.status, answer.header("location")) == (303, "/notes?a=%22b%22")
    assert browser.request("GET", "/notes", load()).user == "alice"


@refuses("RT-32")
def test_without_any_cookie_there_is_no_second_round(world: World) -> None:
    answer = world.send("GET", CONTINUE, headers=load("cross-site"), query="next=/a&again=1")
    assert goes_to(answer) == (303, "/login", "/a")
    answer = world.send("GET", CONTINUE, headers=load(), query="next=/a")
    assert goes_to(answer) == (303, "/login", "/a")


# --- a form


@accepts("RT-32")
@pytest.mark.parametrize("origin", [ISSUER, "null"])
def test_a_form_with_an_expired_token_comes_back_with_what_it_says(
    browser: Browser, origin: str
) -> None:
    browser.login()
    lapse(browser)
    page, text = load(Origin=origin), "text=" + "x" * 100_000
    answer = browser.request("POST", "/notes", page, text)
    assert goes_to(answer) == (307, CONTINUE, "/notes")
    query = urlsplit(answer.header("location") or "").query
    answer = browser.world.send(
        "POST", CONTINUE, headers=browser.sent(page), query=query, body=text.encode()
    )
    assert (answer.status, answer.header("location")) == (307, "/notes")
    browser.take(answer.cookies)
    answer = browser.request("POST", "/notes", page, text)
    assert (answer.status, answer.user) == (200, "alice")


@accepts("RT-32")
def test_a_form_without_a_login_goes_to_the_login_page(browser: Browser) -> None:
    assert goes_to(browser.request("POST", "/notes", OWN_FORM)) == (303, "/login", "/notes")
    browser.login()
    browser.world.revoke_all("alice")
    assert goes_to(browser.request("POST", "/notes", OWN_FORM)) == (307, CONTINUE, "/notes")
    answer = browser.world.send(
        "POST", CONTINUE, headers=browser.sent(OWN_FORM), query="next=/notes"
    )
    assert goes_to(answer) == (303, "/login", "/notes")


OTHER_FORMS: dict[str, Page] = {
    "another-site": load("cross-site", Origin=EVIL),
    "another-site-without-referrer": load("cross-site", Origin="null"),
    "a-sandbox": load("cross-site", Origin="null"),
    "a-sibling": load("same-site", Origin="https://blog.login.example"),
    "a-sibling-without-referrer": load("same-site", Origin="null"),
    "typed": load("none", Origin="null"),
    "without-origin": load(),
    "of-an-unknown-name": load(Origin="https://other.example"),
    "an-old-browser": (("Accept", "text/html"), ("Origin", ISSUER)),
    "an-old-browser-without-referrer": (("Accept", "text/html"), ("Origin", "null")),
    "said-twice": (("Sec-Fetch-Site", "same-origin, cross-site"), ("Origin", ISSUER)),
}


@refuses("RT-32", "RT-20")
@pytest.mark.parametrize("page", OTHER_FORMS.values(), ids=OTHER_FORMS)
def test_a_form_of_another_site_is_refused(browser: Browser, page: Page) -> None:
    browser.login()
    answer = browser.request("POST", "/notes", page)
    assert (answer.status, answer.reason, answer.reached) == (403, "cross_site", False)
    # An access cookie that is gone, or a Strict one that wasn't sent, makes it no better.
    forget_access(browser)
    answer = browser.request("POST", "/notes", page)
    assert (answer.status, answer.header("location")) == (401, None)
    browser.cookies = {}
    answer = browser.request("POST", "/notes", page)
    assert (answer.status, answer.header("location")) == (401, None)


@refuses("RT-32")
@pytest.mark.parametrize("page", OTHER_FORMS.values(), ids=OTHER_FORMS)
def test_a_form_of_another_site_continues_nothing(browser: Browser, page: Page) -> None:
    browser.login()
    answer = browser.world.send("POST", CONTINUE, headers=browser.sent(page), query="next=/notes")
    assert answer.status in (400, 403)
    assert answer.cookies == ()


@accepts("RT-20")
@pytest.mark.parametrize("origin", [ISSUER, "null"])
def test_a_form_of_our_own_page_needs_no_header(browser: Browser, origin: str) -> None:
    browser.login()
    answer = browser.request("POST", "/notes", load(Origin=origin))
    assert (answer.status, answer.user) == (200, "alice")
    plain = (("Sec-Fetch-Site", "same-origin"), ("Origin", origin))
    assert browser.request("POST", "/notes", plain).status == 200
    # A form knows no other method; a script can send the header.
    assert browser.request("PUT", "/notes", plain).reason == "cross_site"
    agreed = ("X-Requested-With", "fetch")
    assert browser.request("PUT", "/notes", (*plain, agreed)).status == 200


@refuses("RT-20")
def test_without_forms_it_does_and_no_form_is_sent_on() -> None:
    group = {"cookies": Cookies(access=True)}
    with opened(DOORS, **(SETTINGS | {"refresh": group})) as world:
        browser = Browser(world)
        browser.login()
        assert browser.request("POST", "/notes", OWN_FORM).reason == "cross_site"
        forget_access(browser)
        assert browser.request("POST", "/notes", OWN_FORM).status == 401
        assert (
            browser.world.send(
                "POST", CONTINUE, headers=browser.sent(OWN_FORM), query="next=/"
            ).reason
            == "cross_site"
        )


def test_where_forms_are_taken_a_refused_form_is_told_what_a_form_needs(browser: Browser) -> None:
    browser.login()
    answer = browser.request("POST", "/notes", (("Origin", EVIL), ("Sec-Fetch-Site", "cross-site")))
    assert answer.status == 403
    assert answer.json["error_description"] == (
        "With cookies a form must come from a page of this site, and a script's request needs the "
        "header X-Requested-With"
    )


# --- the endpoint


@refuses("RT-32")
@pytest.mark.parametrize("fields", NO_LOADS.values(), ids=NO_LOADS)
def test_it_serves_page_loads_only(browser: Browser, fields: dict[str, str]) -> None:
    browser.login()
    lapse(browser)
    before = browser.world.events
    page = tuple((name.replace("_", "-"), value) for name, value in fields.items())
    answer = continues(browser, page)
    assert (answer.status, answer.reason, answer.cookies) == (400, "navigation_only", ())
    assert len(browser.world.events) == len(before) + 1  # the refusal: nothing was exchanged


BAD_QUERIES = {
    "nothing": "",
    "empty": "next=",
    "without-value": "next",
    "twice": "next=/a&next=//evil.example",
    "the-same-twice": "next=/a&next=/a",
    "a-token": "next=/a&refresh_token=x",
    "a-login": "next=/a&sid=x",
    "many": "next=/a" + "&a=b" * 40,
    "itself": "next=/auth/continue",
    "itself-with-a-query": "next=" + quote("/auth/continue?next=/a"),
    "itself-encoded": "next=" + quote("/%61uth/continue?next=/a"),
    "a-log-out": "next=/auth/revoke",
    "keys": "next=/.well-known/jwks.json",
}


@refuses("RT-32")
@pytest.mark.parametrize("query", BAD_QUERIES.values(), ids=BAD_QUERIES)
def test_a_bad_query_is_refused(browser: Browser, query: str) -> None:
    browser.login()
    answer = continues(browser, query=query)
    assert (answer.status, answer.reason, answer.cookies) == (400, "next_not_local", ())
    assert b"next" in answer.body


@refuses("RT-32")
@pytest.mark.parametrize("text", OTHERS)
def test_it_leads_to_no_other_host(browser: Browser, text: str) -> None:
    browser.login()
    query = "next=" + quote(text, safe="")
    answer = continues(browser, query=query)
    assert (answer.status, answer.reason, answer.cookies) == (400, "next_not_local", ())
    if text:
        answer = browser.world.send("GET", "/login", headers=load(), query=query)
        assert (answer.status, answer.reason, answer.reached) == (400, "next_not_local", False)


@accepts("RT-32")
@pytest.mark.parametrize("query", ["x=y", "x=y&next=", "next=/notes%3Fa%3Db&x=y"])
def test_the_login_page_sees_a_next_of_this_host(world: World, query: str) -> None:
    for method in ("GET", "POST"):
        assert world.send(method, "/login", headers=OWN_FORM, query=query).status == 200


@refuses("RT-32")
@pytest.mark.parametrize(
    "query", ["next=/a&next=/b", "next=/auth/revoke", "ne%78t=//evil.example", "a=b" + "&a" * 40]
)
def test_the_login_page_sees_no_other(world: World, query: str) -> None:
    for method in ("GET", "POST"):
        answer = world.send(method, "/login", headers=OWN_FORM, query=query)
        assert (answer.status, answer.reason) == (400, "next_not_local")


def test_on_other_public_pages_next_is_the_applications() -> None:
    settings: dict[str, Any] = SETTINGS | {"routes": (*ROUTES, Route("/open", public=True))}
    with opened(DOORS, **settings) as world:
        assert world.send("GET", "/open", headers=load(), query="next=//x.example").reached


@refuses("RT-32", "RT-27")
def test_another_site_does_not_log_in(world: World) -> None:
    answer = world.send("POST", "/login", headers=load("cross-site", Origin=EVIL))
    assert (answer.status, answer.reached) == (403, False)


@refuses("RT-32")
def test_other_methods_are_not_known(browser: Browser) -> None:
    browser.login()
    for method in ("HEAD", "PUT", "DELETE"):
        answer = browser.world.send(method, CONTINUE, headers=browser.sent(load()), query="next=/")
        assert (answer.status, answer.header("allow")) == (405, "GET, POST, OPTIONS")
    answer = browser.world.send("OPTIONS", CONTINUE, query="next=/")
    assert (answer.status, answer.header("allow")) == (204, "GET, POST, OPTIONS")


@refuses("RT-32")
def test_the_other_endpoints_answer_a_form_as_ever(browser: Browser) -> None:
    browser.login()
    browser.world.revoke_all("alice")
    answer = browser.request("POST", "/auth/refresh", OWN_FORM)
    assert (answer.status, answer.reason) == (400, "grant_ended")
    basic = (*OWN_FORM, ("Authorization", "Basic eDp5"))
    answer = browser.request("POST", "/auth/refresh", basic, "grant_type=refresh_token&a=b")
    assert (answer.status, answer.header("location")) == (401, None)


def test_without_a_login_page_there_is_no_such_endpoint() -> None:
    settings = {name: value for name, value in SETTINGS.items() if name != "login_url"}
    with opened(DOORS, **settings) as world:
        answer = world.send("GET", CONTINUE, headers=load(), query="next=//evil.example")
        assert (answer.status, answer.reason) == (401, "credentials_missing")
        assert world.send("GET", "/login", query="next=//evil.example").status == 200


# --- a route for those who are logged in and for others


@accepts("RT-32")
@pytest.mark.parametrize("only", ["login_url", "forms"])
def test_an_old_login_counts_as_none_on_an_optional_route(only: str) -> None:
    settings: dict[str, Any] = SETTINGS | {
        "login_url": "/login" if only == "login_url" else "",
        "refresh": {"cookies": Cookies(access=True, forms=only == "forms")},
    }
    with opened(DOORS, **settings) as world:
        browser = Browser(world)
        browser.login()
        for page in (load(), SCRIPT):
            answer = browser.request("GET", "/home", page)
            assert (answer.status, answer.user) == (200, "alice")
        lapse(browser)
        for page in (load(), SCRIPT):
            answer = browser.request("GET", "/home", page)
            assert (answer.status, answer.reached, answer.token) == (200, True, None)
        browser.cookies = {}
        browser.login()
        world.revoke_all("alice")
        answer = browser.request("GET", "/home", load())
        assert (answer.status, answer.token) == (200, None)


@refuses("RT-32")
def test_a_forged_one_never_does(browser: Browser) -> None:
    tokens = browser.login()
    name = access_name(tokens)
    head, claims, signature = tokens.access_token.split(".")
    forged = f"{head}.{claims}.{signature[::-1]}"
    for seconds in (0, HOUR):  # expired, too
        browser.world.clock.forward(seconds)
        for text in (forged, "a.b.c"):
            answer = browser.world.send(
                "GET", "/home", headers=[*SCRIPT, ("Cookie", f"{name}={text}")]
            )
            assert (answer.status, answer.reached) == (401, False)
    # A header is a client's that can refresh: it is told.
    answer = browser.world.send("GET", "/home", token=tokens.access_token)
    assert (answer.status, answer.reason) == (401, "expired")


def test_without_pages_nothing_has_changed_there() -> None:
    settings: dict[str, Any] = {"routes": ROUTES, "refresh": {"cookies": Cookies(access=True)}}
    with opened(DOORS, **settings) as world:
        browser = Browser(world)
        browser.login()
        lapse(browser)
        answer = browser.request("GET", "/home", load())
        assert (answer.status, answer.reason) == (401, "expired")


@refuses("RT-32")
def test_an_endpoint_below_an_optional_route_is_no_application() -> None:
    def claims_for(_: Grant) -> dict[str, Any]:
        world.clock.forward(hook_takes)
        return {}

    hook_takes = 0
    group = SETTINGS["refresh"] | {"claims_for": claims_for}
    settings: dict[str, Any] = SETTINGS | {
        "routes": (*ROUTES, Route("/auth/*", optional=True)),
        "refresh": group,
    }
    with opened(DOORS, **settings) as world:
        browser = Browser(world)
        browser.login()
        lapse(browser)
        hook_takes = HOUR  # the new token has expired before it is checked
        answer = continues(browser)
        assert goes_to(answer) == (303, "/login", "/notes")
        assert answer.reason == "expired"


# --- a log-out


class _Headers:
    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []

    def append(self, name: str, value: str) -> None:
        self.found.append((name, value))


class _Response:
    def __init__(self) -> None:
        self.headers = _Headers()


def test_a_log_out_clears_the_cookies_of_its_login(browser: Browser) -> None:
    tokens = browser.login()
    response = _Response()
    browser.world.site.issuer.clear_cookies(response, tokens.grant_id)
    browser.take(tuple(value for _, value in response.headers.found))
    assert browser.cookies == {}


def test_the_login_is_the_requests_own(browser: Browser) -> None:
    tokens = browser.login()
    token = browser.world.call(tokens.access_token).token
    response = _Response()
    issuer = browser.world.site.issuer
    with pytest.raises(ValueError, match="grant_id"):
        issuer.clear_cookies(response)
    before = CURRENT.set(token)
    try:
        assert current_token() is token
        issuer.clear_cookies(response)
    finally:
        CURRENT.reset(before)
    assert [value.partition("=")[0] for _, value in response.headers.found] == [
        refresh_name(tokens),
        access_name(tokens),
    ]


def test_without_cookies_there_are_none_to_clear() -> None:
    with opened(DOORS[:1]) as world:
        tokens: Tokens = world.login()
        response = _Response()
        world.site.issuer.clear_cookies(response, tokens.grant_id)
        assert response.headers.found == []
