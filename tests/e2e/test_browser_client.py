"""examples/browser/jwt-client.js in Chromium, before a server whose answers the test decides."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from .scripted import (
    Answer,
    Scripted,
    begin,
    make,
    open_page,
    outcome,
    scripted,
    tokens,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

LOGIN, REFRESH, REVOKE, ME = "/auth/login", "/auth/refresh", "/auth/revoke", "/me"
MODES = pytest.mark.parametrize("mode", ["header", "cookie"])
STALE: Any = {"expires_in": 0}  # an access token that has to be replaced before it is used
INVALID_GRANT = Answer(400, {"error": "invalid_grant"})
WAITING = "navigator.locks.query().then(({ pending }) => pending.length === 1)"
NEVER = 3_600_000  # milliseconds, longer than any test waits


@pytest.fixture
def server(context: BrowserContext) -> Iterator[Scripted]:
    with scripted(context) as [found]:
        yield found


def alice(mode: str, number: int = 1, **more: object) -> dict[str, object]:
    return tokens(number, sid="alice" if mode == "cookie" else None, **more)


def bob(mode: str, number: int = 100, **more: object) -> dict[str, object]:
    return tokens(number, sid="bob" if mode == "cookie" else None, **more)


def log_in(page: Page, server: Scripted, members: dict[str, object]) -> None:
    server.say(LOGIN, Answer(200, members))
    assert page.evaluate(f"client.login('{LOGIN}', {{}}).then((answer) => answer.status)") == 200


def logged_in(
    context: BrowserContext,
    server: Scripted,
    mode: str,
    members: dict[str, object] | None = None,
    **options: Any,
) -> Page:
    page = open_page(context, f"{server.url}/page", mode=mode, **options)
    log_in(page, server, members or alice(mode))
    return page


def access_token(page: Page) -> Any:
    return page.evaluate("client.tokens?.access_token ?? null")


def told(page: Page) -> Any:
    return page.evaluate("told")


# --- what counts as a login, and what ends one


@pytest.mark.parametrize(
    "members",
    [
        {"mfa_required": True},
        {"access_token": "a1", "sid": "alice"},
        {"access_token": "a1", "sid": "alice", "token_type": "Bearer"},
        {"access_token": "a1", "sid": "alice", "token_type": "Bearer", "expires_in": "600"},
        {"access_token": "a1", "sid": "alice", "expires_in": 600},
        {"token_type": "Bearer", "expires_in": 600},
        "<h1>Welcome to our network</h1>",
    ],
)
@MODES
def test_an_answer_without_tokens_is_no_login(
    context: BrowserContext, server: Scripted, mode: str, members: object
) -> None:
    page = open_page(context, f"{server.url}/page", mode=mode)
    server.say(LOGIN, Answer(200, members))
    begin(page, f"client.login('{LOGIN}', {{}})")
    assert outcome(page) == 200
    assert page.evaluate("[client.isLoggedIn, client.tokens]") == [False, None]
    assert told(page) == []
    begin(page, f"client.adopt({{ mfa_required: true, mode: '{mode}' }})")
    assert outcome(page) == "TypeError"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("new URLSearchParams({ name: 'alice', password: 'a&b' })", {"password": "a&b"}),
        ("{ name: 'alice', password: 'a&b' }", {}),  # JSON, which isn't read here
    ],
)
def test_a_login_is_sent_as_json_or_as_the_form_that_it_is(
    context: BrowserContext, server: Scripted, given: str, sent: dict[str, str]
) -> None:
    page = open_page(context, f"{server.url}/page", mode="header")
    server.say(LOGIN, Answer(200, alice("header")))
    begin(page, f"client.login('{LOGIN}', {given})")
    assert outcome(page) == 200
    assert access_token(page) == "a1"
    (asked,) = server.to(LOGIN)
    assert asked.form.get("password") == sent.get("password")


def test_with_access_cookies_a_login_has_no_token_in_its_answer(
    context: BrowserContext, server: Scripted
) -> None:
    page = logged_in(context, server, "cookie", alice("cookie", access_token=None))
    server.say(ME, Answer(200, {}))
    begin(page, f"client.fetch('{ME}')")
    assert outcome(page) == 200
    assert [one.authorization for one in server.to(ME)] == [None]
    assert server.to(REFRESH) == []


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        (INVALID_GRANT, {"header": "invalid_grant", "cookie": "invalid_grant"}),
        # Our server says so to a request without a cookie; with a token in it, it can't happen.
        (Answer(400, {"error": "invalid_request"}), {"cookie": "no_cookie"}),
        (Answer(400, "<h1>Bad Request</h1>"), {}),
        (Answer(400, '{"error": "invalid_grant"}'), {}),
        (Answer(400, {"error": "invalid_scope"}), {}),
        (Answer(400, {"message": "no route"}), {}),
        (Answer(400, None), {}),
        (Answer(401, {"error": "invalid_grant"}), {}),
        (Answer(403, {"error": "invalid_request"}), {}),
        (Answer(404, "<h1>Not Found</h1>"), {}),
    ],
)
@MODES
def test_only_the_word_of_the_token_endpoint_ends_a_login(
    context: BrowserContext,
    server: Scripted,
    mode: str,
    refusal: Answer,
    expected: dict[str, str],
) -> None:
    page = logged_in(context, server, mode)
    server.say(REFRESH, refusal)
    begin(page, "client.refresh()")
    reason = expected.get(mode)
    assert outcome(page) == (None if reason else "Refused")
    assert page.evaluate("client.isLoggedIn") is (reason is None)
    assert told(page)[1:] == ([["logout", reason]] if reason else [])


# --- redirects


@pytest.mark.parametrize("status", [302, 307])
@MODES
def test_neither_a_password_nor_a_token_follows_a_redirect(
    browser: Browser, mode: str, status: int
) -> None:
    context = browser.new_context()
    with scripted(context, 2) as [server, other]:
        other.allows = server.url
        page = logged_in(context, server, mode)
        for path in (LOGIN, REFRESH, REVOKE):
            server.say(path, Answer(status, "", (("Location", f"{other.url}{path}"),)))
        begin(page, f"client.login('{LOGIN}', {{ password: 'secret' }})")
        assert outcome(page) == "TypeError"
        begin(page, "client.refresh().catch((error) => error.cause.message)")
        assert "is redirected" in outcome(page)
        assert page.evaluate("client.isLoggedIn")
        begin(page, "client.logout()")
        assert outcome(page) == "Unreachable"
        assert other.asked == []


def test_a_redirected_call_takes_no_access_token_to_another_origin(browser: Browser) -> None:
    context = browser.new_context()
    with scripted(context, 2) as [server, other]:
        other.allows = "*"
        page = logged_in(context, server, "header")
        server.say(ME, Answer(307, "", (("Location", f"{other.url}{ME}"),)))
        other.say(ME, Answer(200, {}))
        begin(page, f"client.fetch('{ME}')")
        assert outcome(page) == 200
        assert [one.authorization for one in server.to(ME)] == ["Bearer a1"]
        assert [one.authorization for one in other.to(ME)] == [None]


# --- an answer changes only the login that its request was about


@pytest.mark.parametrize("late", [None, INVALID_GRANT, Answer(400, {"error": "invalid_request"})])
@MODES
def test_a_late_answer_to_the_old_login_leaves_the_new_one_alone(
    context: BrowserContext, server: Scripted, mode: str, late: Answer | None
) -> None:
    # Else the login would wait, as the next test shows.
    first = logged_in(context, server, mode, lockTimeout=50)
    second = open_page(context, f"{server.url}/page", mode=mode, lockTimeout=50)
    late = late or Answer(200, alice(mode, 2))
    gate = Event()
    server.say(REFRESH, Answer(late.status, late.body, gate=gate))
    begin(first, "client.refresh().then(() => client.isLoggedIn)")
    server.wait(REFRESH)
    log_in(second, server, bob(mode))
    first.wait_for_function("told.length === 2")
    gate.set()
    assert outcome(first) is True
    assert told(first) == [["login", False], ["login", True]]
    assert told(second) == [["login", False]]
    assert access_token(second) == "a100"
    assert access_token(first) == (None if mode == "cookie" else "a100")


@MODES
def test_a_login_waits_for_a_refresh_in_another_tab_and_then_stands(
    context: BrowserContext, server: Scripted, mode: str
) -> None:
    first = logged_in(context, server, mode)
    second = open_page(context, f"{server.url}/page", mode=mode, lockTimeout=NEVER)
    gate = Event()
    server.say(REFRESH, Answer(200, alice(mode, 2), gate=gate))
    begin(first, "client.refresh()")
    server.wait(REFRESH)
    server.say(LOGIN, Answer(200, bob(mode)))
    begin(second, f"client.login('{LOGIN}', {{}})")
    second.wait_for_function(WAITING)
    assert len(server.to(LOGIN)) == 1
    gate.set()
    assert outcome(second) == 200
    assert access_token(second) == "a100"


@MODES
def test_a_log_out_is_one_at_once_and_the_server_hears_of_it_after_the_refresh(
    context: BrowserContext, server: Scripted, mode: str
) -> None:
    first = logged_in(context, server, mode)
    second = open_page(context, f"{server.url}/page", mode=mode, lockTimeout=NEVER)
    gate = Event()
    server.say(REFRESH, Answer(200, alice(mode, 2), gate=gate))
    server.say(REVOKE, Answer(200, {}))
    begin(first, "client.refresh()")
    server.wait(REFRESH)
    begin(second, "client.logout()")
    second.wait_for_function(WAITING)
    first.wait_for_function("!client.isLoggedIn")
    assert server.to(REVOKE) == []
    gate.set()
    assert outcome(first) is None
    assert outcome(second) is None
    assert len(server.to(REVOKE)) == 1
    assert told(first) == [["login", False], ["logout", "elsewhere"]]


@MODES
def test_a_new_login_is_not_made_to_wait_for_the_refresh_of_the_old_one(
    context: BrowserContext, server: Scripted, mode: str
) -> None:
    page = logged_in(context, server, mode, lockTimeout=50)
    gate = Event()
    server.say(REFRESH, Answer(200, alice(mode, 2), gate=gate), Answer(200, bob(mode, 101)))
    server.say(ME, Answer(200, {}))
    page.evaluate("void client.refresh()")
    server.wait(REFRESH)
    log_in(page, server, bob(mode, **STALE))
    begin(page, f"client.fetch('{ME}')")
    assert outcome(page) == 200
    gate.set()
    assert [one.authorization for one in server.to(ME)] == ["Bearer a101"]


@MODES
def test_a_log_out_names_its_login_and_does_so_again_after_a_new_one(
    context: BrowserContext, server: Scripted, mode: str
) -> None:
    page = logged_in(context, server, mode)
    server.say(REVOKE, Answer(503), Answer(200, {}))
    begin(page, "client.logout()")
    assert outcome(page) == "Unreachable"
    assert page.evaluate("client.isLoggedIn") is False
    other = open_page(context, f"{server.url}/page", mode=mode)
    begin(page, "client.logout()")
    assert outcome(page) is None
    log_in(other, server, bob(mode))
    page.wait_for_function("client.isLoggedIn")  # what another tab writes arrives later
    begin(page, "client.logout()")
    assert outcome(page) is None
    name = "sid" if mode == "cookie" else "token"
    named = ["alice", "alice", "bob"] if mode == "cookie" else ["r1", "r1", "r100"]
    assert [one.form for one in server.to(REVOKE)] == [{name: one} for one in named]


def test_a_log_out_without_a_known_login_is_sent_once(
    context: BrowserContext, server: Scripted
) -> None:
    page = open_page(context, f"{server.url}/page", mode="cookie", delays=[1, 1])
    server.say(REVOKE, Answer(503))
    begin(page, "client.logout()")
    assert outcome(page) == "Unreachable"
    assert [one.form for one in server.to(REVOKE)] == [{}]


@MODES
def test_a_login_that_another_one_has_overtaken_is_ended(
    context: BrowserContext, server: Scripted, mode: str
) -> None:
    page = open_page(context, f"{server.url}/page", mode=mode, lockTimeout=50)
    other = open_page(context, f"{server.url}/page", mode=mode, lockTimeout=50)
    gate = Event()
    server.say(LOGIN, Answer(200, alice(mode), gate=gate), Answer(200, bob(mode)))
    server.say(REVOKE, Answer(200, {}))
    begin(page, f"client.login('{LOGIN}', {{}})")
    server.wait(LOGIN)
    begin(other, f"client.login('{LOGIN}', {{}})")
    assert outcome(other) == 200
    page.wait_for_function("client.isLoggedIn")
    gate.set()
    assert outcome(page) == "LoginChanged"
    assert [one.form for one in server.to(REVOKE)] == [{"token": "a1"}]
    assert access_token(other) == "a100"
    assert told(page) == [["login", True]]


# What another tab writes comes here by way of the browser's own process, which may be busy.
SEES_LATE = """() => {
    const own = Storage.prototype.getItem;
    const present = { ...localStorage };
    Storage.prototype.getItem = (key) => present[key] ?? null;
    const send = window.fetch;
    window.fetch = async (...args) => {
        const answer = await send(...args);
        setTimeout(() => { Storage.prototype.getItem = own; }, 250);
        return answer;
    };
}"""


@MODES
def test_a_refused_refresh_ends_no_login_that_another_tab_has_just_made(
    context: BrowserContext, server: Scripted, mode: str
) -> None:
    page = logged_in(context, server, mode, lockTimeout=50)
    other = open_page(context, f"{server.url}/page", mode=mode, lockTimeout=50)
    page.evaluate(SEES_LATE)
    gate = Event()
    server.say(REFRESH, Answer(400, INVALID_GRANT.body, gate=gate))
    begin(page, "client.refresh()")
    server.wait(REFRESH)
    log_in(other, server, bob(mode))
    gate.set()
    assert outcome(page) == other.evaluate("mode => mode === 'header' ? client.tokens : null", mode)
    assert page.evaluate("client.isLoggedIn")
    assert access_token(other) == "a100"
    assert "logout" not in [kind for kind, _ in told(page)]


def test_a_refresh_that_finds_another_login_in_the_jar_says_so(
    context: BrowserContext, server: Scripted
) -> None:
    page = logged_in(context, server, "cookie", alice("cookie", **STALE))
    other = open_page(context, f"{server.url}/page", mode="cookie")
    server.say(REFRESH, Answer(200, bob("cookie")))
    server.say(ME, Answer(200, {}))
    begin(page, f"client.fetch('{ME}', {{ method: 'POST', body: 'order for alice' }})")
    assert outcome(page) == "LoginChanged"
    assert server.to(ME) == []
    assert told(page) == [["login", False], ["login", True]]
    other.wait_for_function("told.length === 1")
    assert told(other) == [["login", True]]
    begin(page, f"client.fetch('{ME}')")
    assert outcome(page) == 200
    assert [one.authorization for one in server.to(ME)] == ["Bearer a100"]


def test_a_refused_call_is_not_repeated_under_another_login(
    context: BrowserContext, server: Scripted
) -> None:
    page = logged_in(context, server, "cookie")
    challenge = (("WWW-Authenticate", 'Bearer error="invalid_token"'),)
    server.say(ME, Answer(401, {}, challenge))
    server.say(REFRESH, Answer(200, bob("cookie")))
    begin(page, f"client.fetch('{ME}')")
    assert outcome(page) == 401
    assert len(server.to(ME)) == 1
    assert access_token(page) == "a100"


@pytest.mark.parametrize("repeated", [{}, {"refresh_token": "r1"}])
def test_a_kept_answer_leaves_the_refresh_token_as_it_is(
    context: BrowserContext, server: Scripted, repeated: dict[str, str]
) -> None:
    page = logged_in(context, server, "header")
    kept = {"access_token": "a2", "token_type": "Bearer", "expires_in": 600, **repeated}
    server.say(REFRESH, Answer(200, kept))
    begin(page, "client.refresh().then((tokens) => tokens.refresh_token)")
    assert outcome(page) == "r1"
    assert access_token(page) == "a2"


@pytest.mark.parametrize("repeated", [{}, {"refresh_token": "r1"}, {"refresh_token": "r2"}])
def test_an_answer_is_kept_only_where_the_store_holds_what_was_sent(
    context: BrowserContext, server: Scripted, repeated: dict[str, str]
) -> None:
    first = logged_in(context, server, "header", lockTimeout=50)
    second = open_page(context, f"{server.url}/page", lockTimeout=50)
    gate = Event()
    late = {"access_token": "late", "token_type": "Bearer", "expires_in": 600, **repeated}
    server.say(REFRESH, Answer(200, late, gate=gate), Answer(200, tokens(3)))
    begin(first, "client.refresh().then((tokens) => tokens.refresh_token)")
    server.wait(REFRESH)
    begin(second, "client.refresh().then((tokens) => tokens.refresh_token)")
    assert outcome(second) == "r3"
    first.wait_for_function("client.tokens.access_token === 'a3'")
    gate.set()
    assert outcome(first) == "r3"
    assert access_token(second) == "a3"


# --- nobody waits without need

HOG = "void navigator.locks.request('jwt:refresh', () => new Promise(() => {}))"


@MODES
def test_a_call_with_a_good_token_waits_for_nothing(
    context: BrowserContext, server: Scripted, mode: str
) -> None:
    page = logged_in(context, server, mode)
    page.evaluate("client.ahead = 1")  # old at once, and good for ten minutes
    gate = Event()
    server.say(REFRESH, Answer(200, alice(mode, 2), gate=gate))
    server.say(ME, Answer(200, {}))
    begin(page, f"client.fetch('{ME}')")
    assert outcome(page) == 200
    server.wait(REFRESH)
    gate.set()
    page.wait_for_function("client.tokens.access_token === 'a2'")
    assert [one.authorization for one in server.to(ME)] == ["Bearer a1"]


def test_after_a_failed_refresh_the_next_calls_leave_the_server_alone(
    context: BrowserContext, server: Scripted
) -> None:
    page = logged_in(context, server, "header")
    page.evaluate("client.ahead = 1")
    server.say(REFRESH, Answer(503))
    server.say(ME, Answer(200, {}))
    begin(page, "client.refresh()")
    assert outcome(page) == "Unreachable"
    for _ in range(3):
        begin(page, f"client.fetch('{ME}')")
        assert outcome(page) == 200
    assert len(server.to(REFRESH)) == 1


@MODES
def test_a_lock_that_is_never_given_back_is_done_without(
    context: BrowserContext, server: Scripted, mode: str
) -> None:
    page = logged_in(context, server, mode, lockTimeout=100)
    page.evaluate(HOG)
    server.say(REFRESH, Answer(200, alice(mode, 2)))
    server.say(REVOKE, Answer(200, {}))
    begin(page, "client.refresh().then((tokens) => tokens.access_token)")
    assert outcome(page) == "a2"
    log_in(page, server, bob(mode))
    begin(page, "client.logout()")
    assert outcome(page) is None
    assert len(server.to(REVOKE)) == 1


def test_the_callers_abort_is_heard_and_the_refresh_goes_on_for_others(
    context: BrowserContext, server: Scripted
) -> None:
    page = logged_in(context, server, "header", tokens(1, **STALE))
    gate = Event()
    server.say(REFRESH, Answer(200, tokens(2), gate=gate))
    server.say(ME, Answer(200, {}))
    page.evaluate("window.hand = new AbortController(); null")
    begin(page, f"client.fetch('{ME}', {{ signal: hand.signal }})")
    page.evaluate(f"window.patient = client.fetch('{ME}').then(({{ status }}) => status); null")
    server.wait(REFRESH)
    page.evaluate("hand.abort()")
    assert outcome(page) == "AbortError"
    assert server.to(ME) == []
    gate.set()
    assert page.evaluate("patient") == 200
    assert len(server.to(REFRESH)) == len(server.to(ME)) == 1
    begin(page, f"client.fetch('{ME}', {{ signal: AbortSignal.abort() }})")
    assert outcome(page) == "AbortError"


def test_the_callers_abort_is_heard_while_another_tab_has_the_lock(
    context: BrowserContext, server: Scripted
) -> None:
    page = logged_in(context, server, "header", tokens(1, **STALE), lockTimeout=NEVER)
    page.evaluate(HOG)
    begin(page, f"client.fetch('{ME}', {{ signal: AbortSignal.timeout(50) }})")
    assert outcome(page) == "TimeoutError"
    assert server.to(ME) == server.to(REFRESH) == []


def test_a_refused_token_is_replaced_and_the_abort_is_heard_then_too(
    context: BrowserContext, server: Scripted
) -> None:
    page = logged_in(context, server, "header")
    gate = Event()
    challenge = (("WWW-Authenticate", 'Bearer error="invalid_token"'),)
    server.say(ME, Answer(401, {}, challenge))
    server.say(REFRESH, Answer(200, tokens(2), gate=gate))
    page.evaluate("window.hand = new AbortController(); null")
    begin(page, f"client.fetch('{ME}', {{ signal: hand.signal }})")
    server.wait(REFRESH)
    page.evaluate("hand.abort()")
    assert outcome(page) == "AbortError"
    gate.set()
    assert page.evaluate("client.refresh().then(({ access_token }) => access_token)") == "a2"


# --- storage that is blocked or full

FILL = """() => {
    // To the last letter: halves of what is left, from the largest to one.
    for (let size = 1 << 23, name = 0; size >= 1; size >>= 1) {
        for (;;) {
            try { localStorage.setItem(`fill${(name += 1)}`, "x".repeat(size)); } catch { break; }
        }
    }
}"""


@MODES
def test_a_full_storage_keeps_the_login_in_this_page(
    context: BrowserContext, server: Scripted, mode: str
) -> None:
    page = open_page(context, f"{server.url}/page", mode=mode)
    page.evaluate(FILL)
    log_in(page, server, alice(mode))
    assert told(page) == [["unstored", "QuotaExceededError"], ["login", False]]
    assert access_token(page) == "a1"
    server.say(ME, Answer(200, {}))
    begin(page, f"client.fetch('{ME}')")
    assert outcome(page) == 200
    page.evaluate("localStorage.clear()")
    server.say(REFRESH, Answer(200, alice(mode, 2)))
    begin(page, "client.refresh().then((tokens) => tokens.access_token)")
    assert outcome(page) == "a2"
    assert len(page.evaluate("Object.keys(localStorage)")) == 1  # there is room again
    other = open_page(context, f"{server.url}/page", mode=mode)
    assert other.evaluate("client.isLoggedIn")


def test_no_tab_goes_on_with_a_token_that_a_full_storage_could_not_replace(
    context: BrowserContext, server: Scripted
) -> None:
    page = logged_in(context, server, "header")
    other = open_page(context, f"{server.url}/page")
    page.evaluate(FILL)
    server.say(REFRESH, Answer(200, tokens(2, scope="x" * 5000)))
    begin(page, "client.refresh().then((tokens) => tokens.refresh_token)")
    assert outcome(page) == "r2"
    other.wait_for_function("told.length === 1")
    assert told(other) == [["logout", "elsewhere"]]
    assert told(page)[1:] == [["unstored", "QuotaExceededError"], ["refresh", False]]


@MODES
def test_a_blocked_storage_keeps_the_login_in_this_page(
    context: BrowserContext, server: Scripted, mode: str
) -> None:
    # In such a frame there is neither localStorage nor a lock, and the origin is "null".
    server.allows = "null"
    page = context.new_page()
    page.goto(f"{server.url}/empty")
    page.evaluate(
        """(url) => {
            const frame = document.createElement("iframe");
            frame.sandbox = "allow-scripts";
            frame.src = url;
            document.body.append(frame);
        }""",
        f"{server.url}/page",
    )
    page.wait_for_function("frames.length === 1")
    frame = page.frames[1]
    make(frame, mode=mode, api=server.url)
    blocked = "(() => { try { return localStorage; } catch (error) { return error.name; } })()"
    assert frame.evaluate(blocked) == "SecurityError"
    server.say(LOGIN, Answer(200, alice(mode)))
    server.say(REFRESH, Answer(200, alice(mode, 2)))
    server.say(REVOKE, Answer(200, {}))
    begin(frame, f"client.login('{LOGIN}', {{}})")
    assert outcome(frame) == 200
    assert frame.evaluate("told") == [["unstored", "SecurityError"], ["login", False]]
    begin(frame, "client.refresh().then((tokens) => tokens.access_token)")
    assert outcome(frame) == "a2"
    begin(frame, "client.logout()")
    assert outcome(frame) is None
    assert frame.evaluate("client.isLoggedIn") is False
    assert len(server.to(REVOKE)) == 1
