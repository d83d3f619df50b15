"""RT-32 in Django: where page loads go without a valid token, and come back from."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import override_settings

from jwt_middleware import Cookies, Refresh, Route
from tests.django.asking import Answer, Asking, asking, both, tables
from tests.django.project import JWT
from tests.django.test_doors import through
from tests.rules import accepts, refuses
from tests.world import Sent

CLOCK = [1.8e9]
PAGES = JWT.replace(
    login_url="/login",
    routes=(
        Route("/login", public=True, own_origin=True),
        Route("/maybe", optional=True),
        Route("/admin/*", scope="admin"),
    ),
    refresh=Refresh(store="memory://", cookies=Cookies(access=True, forms=True)),
    clock=lambda: CLOCK[0],
)
LOAD = {
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Site": "same-origin",
}
FORM = {**LOAD, "Origin": JWT.issuer}


@pytest.fixture
def alice() -> Iterator[Any]:
    tables()
    one = get_user_model().objects.create_user("alice")
    yield one
    get_user_model().objects.all().delete()


@pytest.fixture(params=["wsgi", "asgi"])
def browser(request: pytest.FixtureRequest) -> Iterator[Asking]:
    """Give a client that keeps cookies and asks by https."""
    settings = PAGES.replace(refresh__store="memory://")
    with asking(request.param, settings) as ask:
        yield ask


def load(browser: Asking, path: str) -> Answer:
    return browser.get(path, headers=LOAD, secure=True)


def form(browser: Asking, path: str, **fields: str) -> Answer:
    return browser.post(path, data=fields, headers=FORM, secure=True)


def location(answer: Answer) -> tuple[int, str]:
    return answer.status_code, answer.headers.get("Location", "")


def logged_in(browser: Asking, user: Any) -> None:
    answer = form(browser, f"/login?sub={user.pk}&next=/user")
    assert answer.status_code == 200, answer.text


@accepts("RT-32")
def test_an_expired_page_load_is_continued(browser: Asking, alice: Any) -> None:
    assert location(load(browser, "/user?a=%20b")) == (303, "/login?next=/user%3Fa%3D%2520b")
    logged_in(browser, alice)
    assert load(browser, "/user").json["user"] == "alice"
    CLOCK[0] += 700
    there = "/auth/continue?next=/user%3Fa%3D1"
    assert location(load(browser, "/user?a=1")) == (303, there)
    assert location(load(browser, there)) == (303, "/user?a=1")
    assert load(browser, "/user?a=1").json["user"] == "alice"


@accepts("RT-32")
def test_a_test_client_follows_our_redirects(alice: Any) -> None:
    with asking("wsgi", PAGES.replace(refresh__store="memory://")) as browser:
        logged_in(browser, alice)
        CLOCK[0] += 700
        got = browser.client.get("/user", headers=LOAD, secure=True, follow=True)
        assert got.json()["user"] == "alice"
        there = "/auth/continue?next=/user"
        assert got.redirect_chain == [(there, 303), ("/user", 303)]


@accepts("RT-32")
def test_an_expired_form_comes_back(browser: Asking, alice: Any) -> None:
    logged_in(browser, alice)
    CLOCK[0] += 700
    there = "/auth/continue?next=/body"
    assert location(form(browser, "/body", note="x")) == (307, there)
    assert location(form(browser, there, note="x")) == (307, "/body")
    assert form(browser, "/body", note="x").json["form"] == {"note": ["x"]}


@refuses("RT-32")
def test_nobody_is_led_to_another_host(browser: Asking) -> None:
    for path in ("/login", "/auth/continue"):
        assert load(browser, f"{path}?next=//evil.example").status_code == 400
    assert browser.get("/user", secure=True).status_code == 401
    evil = {**LOAD, "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert browser.post("/login", headers=evil, secure=True).status_code == 403


@refuses("RT-32")
def test_a_user_who_is_refused_goes_to_the_login_page(browser: Asking, alice: Any) -> None:
    logged_in(browser, alice)
    alice.is_active = False
    alice.save()
    # Not to the exchange: the new token would be refused as well, round and round.
    assert location(load(browser, "/user")) == (303, "/login?next=/user")
    assert location(form(browser, "/body", a="1"))[0] == 200  # this view asks for no user
    CLOCK[0] += 700
    assert location(load(browser, "/user")) == (303, "/auth/continue?next=/user")
    assert location(load(browser, "/auth/continue?next=/user")) == (303, "/user")
    assert location(load(browser, "/user")) == (303, "/login?next=/user")


@accepts("RT-32")
def test_an_optional_page_has_the_user_or_none(browser: Asking, alice: Any) -> None:
    assert load(browser, "/maybe").json["subject"] is None
    logged_in(browser, alice)
    assert load(browser, "/maybe").json["subject"] == str(alice.pk)
    CLOCK[0] += 700
    assert load(browser, "/maybe").json["subject"] is None


def sent_to(kind: str, sent: Sent) -> str:
    """Send a page load to Django, as a server does; return where it is led."""
    headers = [(name, value.encode()) for name, value in LOAD.items()]
    status, found, _ = through(kind, replace(sent, headers=headers), PAGES)
    assert status == 303
    return {name.lower(): value for name, value in found}["location"]


@both
@accepts("RT-32")
def test_next_is_the_address_as_the_browser_has_it(kind: str) -> None:
    page = "/login?next=/user%3Fa%3D1%26b%3D%252Fx"
    assert sent_to(kind, Sent("GET", "/user", query="a=1&b=%2Fx")) == page
    below = "/shop/login?next=/shop/user%3Fa%3D1"
    assert sent_to(kind, Sent("GET", "/user", root="/shop", query="a=1")) == below


@both
@accepts("RT-32")
def test_a_root_of_the_projects_own_is_there_too(kind: str) -> None:
    # Before 5.0 Django reads this setting under WSGI alone: there the server says the root as well.
    root = "/shop" if kind == "asgi" else ""
    with override_settings(FORCE_SCRIPT_NAME="/shop"):
        sent = Sent("GET", "/user", root=root)
        assert sent_to(kind, sent) == "/shop/login?next=/shop/user"


@accepts("RT-32")
def test_octets_in_a_query_stay_what_they_are() -> None:
    page = "/login?next=/user%3F%25C3%25A4%3D1"
    octets = "ä=1".encode().decode("latin-1")  # PEP 3333
    assert sent_to("wsgi", Sent("GET", "/user", query=octets)) == page
    assert sent_to("asgi", Sent("GET", "/user", query="ä=1")) == page
