"""Pages that go away and come back, and pages in frames, with the browser's client in Chromium.

Chromium keeps a page that is left for when the user comes back (its back/forward cache). It runs
nothing there, gets no events of other tabs, and still has the locks that it held.
"""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from typing import TYPE_CHECKING

import pytest

from .scripted import Answer, Scripted, begin, make, open_page, outcome, scripted, tokens

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Frame, Page

LOGIN, REFRESH, REVOKE = "/auth/login", "/auth/refresh", "/auth/revoke"
NEVER = 3_600_000  # milliseconds, longer than any test waits
LATER = """addEventListener("pagehide", () => {
    const now = Date.now;
    Date.now = () => now() + 600_000;
});"""
BACK = "setTimeout(() => history.back())"
# The driver loses sight of a page that comes back: the page tells the server what it has heard of,
# at once and after each event. What another tab wrote arrives by another process, and may be late.
TELL = """addEventListener("pageshow", ({ persisted }) => {
    if (!persisted) return;
    const tell = () => fetch(`/back/${JSON.stringify(told)}`);
    for (const type of ["login", "refresh"]) client.addEventListener(type, tell);
    setTimeout(tell);
});"""


@pytest.fixture
def servers(context: BrowserContext) -> Iterator[list[Scripted]]:
    with scripted(context, 2) as found:
        yield found


def log_in(page: Page | Frame, server: Scripted, members: dict[str, object]) -> None:
    server.say(LOGIN, Answer(200, members))
    begin(page, f"client.login('{LOGIN}', {{}})")
    assert outcome(page) == 200


def pending(page: Page, count: int) -> None:
    """Wait until so many wait for the lock."""
    page.wait_for_function(
        f"navigator.locks.query().then(({{ pending }}) => pending.length === {count})"
    )


def test_a_page_that_is_left_during_a_refresh_holds_nobody_up(
    context: BrowserContext, servers: list[Scripted]
) -> None:
    server, _ = servers
    first = open_page(context, f"{server.url}/page")
    log_in(first, server, tokens(1))
    second = open_page(context, f"{server.url}/page", lockTimeout=NEVER)
    third = open_page(context, f"{server.url}/page")
    first.evaluate(TELL)
    gate = Event()
    server.say(REFRESH, Answer(200, tokens(2), gate=gate), Answer(200, tokens(3)))
    begin(first, "client.refresh()")
    server.wait(REFRESH)
    begin(second, "client.refresh().then((tokens) => tokens.access_token)")
    pending(second, 1)
    first.goto(f"{server.url}/page/other")
    assert outcome(second) == "a3"
    third.wait_for_function("client.tokens.access_token === 'a3'")  # the first reads it, too
    gate.set()
    first.evaluate(BACK)
    server.wait('/back/[["login",false],["refresh",true]]')  # it was kept, and not made anew
    assert second.evaluate("client.tokens.access_token") == "a3"


@pytest.mark.parametrize("mode", ["header", "cookie"])
def test_a_page_that_comes_back_hears_of_the_login_that_it_missed(
    context: BrowserContext, servers: list[Scripted], mode: str
) -> None:
    server, _ = servers
    alice, bob = ("alice", "bob") if mode == "cookie" else (None, None)
    first = open_page(context, f"{server.url}/page", mode=mode)
    log_in(first, server, tokens(1, sid=alice))
    second = open_page(context, f"{server.url}/page", mode=mode)
    first.evaluate(TELL)
    first.goto(f"{server.url}/page/other")
    log_in(second, server, tokens(100, sid=bob))
    first.evaluate(BACK)
    server.wait('/back/[["login",false],["login",true]]')


def test_a_page_that_comes_back_is_refreshed_again(
    context: BrowserContext, servers: list[Scripted]
) -> None:
    server, _ = servers
    page = open_page(context, f"{server.url}/page", keepFresh=True)
    log_in(page, server, tokens(1))
    page.evaluate(TELL)
    # What becomes due while the page is away is done when it is back.
    page.evaluate(LATER)
    server.say(REFRESH, Answer(200, tokens(2)))
    page.goto(f"{server.url}/page/other")
    page.evaluate(BACK)
    server.wait('/back/[["login",false]]')
    server.wait(REFRESH)


@pytest.mark.parametrize("closes", [True, False])
def test_a_page_that_goes_away_while_it_waits_still_logs_out(
    context: BrowserContext, servers: list[Scripted], *, closes: bool
) -> None:
    server, _ = servers
    page = open_page(context, f"{server.url}/page", lockTimeout=NEVER)
    log_in(page, server, tokens(1))
    other = open_page(context, f"{server.url}/page")
    server.say(REVOKE, Answer(200, {}))
    other.evaluate("void navigator.locks.request('jwt:refresh', () => new Promise(() => {}))")
    begin(page, "client.logout()")
    pending(other, 1)
    if closes:
        page.close()
    else:
        page.goto(f"{server.url}/page/other")
    [sent] = server.wait(REVOKE)
    assert sent.form == {"token": "r1"}


# --- frames


def framed(page: Page, url: str) -> Frame:
    page.evaluate(
        """(url) => {
            const frame = document.createElement("iframe");
            frame.src = url;
            document.body.append(frame);
        }""",
        url,
    )
    page.wait_for_function("frames.length === 1")
    frame = page.frames[1]
    frame.wait_for_url(url)
    return frame


def answers_as_ours(server: Scripted) -> None:
    """Set the cookie at login, and answer a refresh by whether it comes."""
    cookie = ("Set-Cookie", "refresh-alice=r1; Path=/; HttpOnly; SameSite=Strict")
    server.say(LOGIN, Answer(200, tokens(1, sid="alice"), (cookie,)))
    server.say(REVOKE, Answer(200, {}))
    server.answers_by_cookie(
        REFRESH, Answer(200, tokens(2, sid="alice")), Answer(400, {"error": "invalid_request"})
    )


def test_in_a_frame_of_another_site_a_login_by_cookie_is_refused_at_once(
    context: BrowserContext, servers: list[Scripted]
) -> None:
    server, stranger = servers
    answers_as_ours(server)
    page = context.new_page()
    page.goto(stranger.url.replace("127.0.0.1", "localhost") + "/page")
    frame = framed(page, f"{server.url}/page")
    make(frame, mode="cookie")
    begin(frame, f"client.login('{LOGIN}', {{}})")
    assert outcome(frame) == "CookiesBlocked"
    assert frame.evaluate("[client.isLoggedIn, told]") == [False, []]
    assert [one.form for one in server.to(REVOKE)] == [{"token": "a1"}]
    assert [one.cookie for one in server.to(REFRESH)] == [None]


@pytest.mark.parametrize("key", ["none", "required"])
def test_in_a_frame_of_its_own_site_a_login_by_cookie_works(
    context: BrowserContext, servers: list[Scripted], key: str
) -> None:
    server, neighbour = servers
    answers_as_ours(server)
    page = context.new_page()
    page.goto(f"{neighbour.url}/page")
    frame = framed(page, f"{server.url}/page")
    make(frame, mode="cookie", key=key)
    begin(frame, f"client.login('{LOGIN}', {{}})")
    assert outcome(frame) == 200
    assert frame.evaluate("client.tokens.access_token") == "a1"
    assert server.to(REVOKE) == []
    # The question for the cookie is a refresh, and the login's key is proved with it.
    [asked] = server.to(REFRESH)
    assert (asked.proof is not None) == (key == "required")


def test_a_lost_answer_to_the_question_for_the_cookie_refuses_no_login(
    context: BrowserContext, servers: list[Scripted]
) -> None:
    server, neighbour = servers
    answers_as_ours(server)
    server.say(REFRESH, Answer(307, "", (("Location", "/elsewhere"),)))
    page = context.new_page()
    page.goto(f"{neighbour.url}/page")
    frame = framed(page, f"{server.url}/page")
    make(frame, mode="cookie")
    begin(frame, f"client.login('{LOGIN}', {{}})")
    assert outcome(frame) == 200
