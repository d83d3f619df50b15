"""jwt-client.js with a key, where there is none, where it is lost, and where the server is odd."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from jwt_middleware.token.proof import ProofReader

from .bound import KEYS
from .scripted import Answer, Scripted, begin, make, open_page, outcome, scripted, tokens

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page, Route

LOGIN, REFRESH, REVOKE, ME = "/auth/login", "/auth/refresh", "/auth/revoke", "/me"
LOG_IN = f"client.login('{LOGIN}', {{}})"
NONCE = (("DPoP-Nonce", "n1"),)
BLOCKED = "indexedDB.open = () => { throw new DOMException('blocked', 'SecurityError'); };"
FULL = "IDBObjectStore.prototype.put = () => { throw new DOMException('', 'QuotaExceededError'); };"
FORGET = """new Promise((resolve) => {
    indexedDB.deleteDatabase("jwt:keys").onsuccess = () => resolve(true);
})"""
MODES = pytest.mark.parametrize("mode", ["header", "cookie"])


@pytest.fixture
def server(context: BrowserContext) -> Iterator[Scripted]:
    with scripted(context) as [found]:
        yield found


def alice(mode: str, number: int = 1, **more: object) -> Answer:
    return Answer(200, tokens(number, sid="alice" if mode == "cookie" else None, **more))


def logged_in(context: BrowserContext, server: Scripted, mode: str = "header") -> Page:
    page = open_page(context, f"{server.url}/page", mode=mode, key="required")
    server.say(LOGIN, alice(mode))
    begin(page, LOG_IN)
    assert outcome(page) == 200
    return page


# --- no key


def lan(context: BrowserContext, server: Scripted) -> str:
    """Give the server a name in a network without TLS, where browsers have less to offer."""

    def fetch(route: Route) -> None:
        url = route.request.url.replace("http://shop.lan", server.url)
        route.fulfill(response=route.fetch(url=url))

    context.route("http://shop.lan/**", fetch)
    return "http://shop.lan/page"


def test_without_a_secure_context_a_login_that_needs_a_key_says_so(
    context: BrowserContext, server: Scripted
) -> None:
    page = open_page(context, lan(context, server), key="required")
    assert page.evaluate("[isSecureContext, typeof crypto.subtle]") == [False, "undefined"]
    begin(page, LOG_IN)
    assert outcome(page) == "NoKey"
    assert server.to(LOGIN) == []
    assert page.evaluate("[client.isLoggedIn, told]") == [False, []]


@pytest.mark.parametrize("why", ["plain http", "blocked"])
def test_where_there_can_be_no_key_an_optional_one_is_done_without(
    context: BrowserContext, server: Scripted, why: str
) -> None:
    if why == "blocked":
        context.add_init_script(BLOCKED)
    url = lan(context, server) if why == "plain http" else f"{server.url}/page"
    page = open_page(context, url, key="optional")
    server.say(LOGIN, alice("header"))
    server.say(REFRESH, alice("header", 2))
    begin(page, LOG_IN)
    assert outcome(page) == 200
    begin(page, "client.refresh().then((tokens) => tokens.access_token)")
    assert outcome(page) == "a2"
    cause = "TypeError" if why == "plain http" else "SecurityError"
    assert page.evaluate("told") == [["unbound", cause], ["login", False], ["refresh", False]]
    assert page.evaluate("client.isBound") is False
    assert [one.proof for one in (*server.to(LOGIN), *server.to(REFRESH))] == [None, None]


def test_a_key_that_cant_be_stored_is_good_in_its_page(
    context: BrowserContext, server: Scripted
) -> None:
    context.add_init_script(FULL)
    page = logged_in(context, server)
    server.say(REFRESH, alice("header", 2))
    begin(page, "client.refresh().then((tokens) => tokens.access_token)")
    assert outcome(page) == "a2"
    assert [one.proof is not None for one in server.to(REFRESH)] == [True]
    assert page.evaluate("told")[:2] == [["login", False], ["unstored", "QuotaExceededError"]]


@MODES
def test_while_the_key_cant_be_read_nothing_is_sent_and_nobody_is_out(
    context: BrowserContext, server: Scripted, mode: str
) -> None:
    logged_in(context, server, mode).close()
    page = context.new_page()
    page.goto(f"{server.url}/page")
    page.evaluate(f"window.open_ = indexedDB.open.bind(indexedDB); {BLOCKED} null")
    make(page, mode=mode)
    begin(page, "client.refresh()")
    assert outcome(page) == "Unreachable"
    assert page.evaluate("[client.isLoggedIn, client.isBound, told]") == [True, True, []]
    assert server.to(REFRESH) == []
    page.evaluate("indexedDB.open = open_")
    server.say(REFRESH, alice(mode, 2))
    begin(page, "client.refresh().then((tokens) => tokens.access_token)")
    assert outcome(page) == "a2"
    assert [one.proof is not None for one in server.to(REFRESH)] == [True]


@MODES
def test_without_its_key_a_login_is_over_when_the_server_says_so(
    context: BrowserContext, server: Scripted, mode: str
) -> None:
    logged_in(context, server, mode).close()
    page = open_page(context, f"{server.url}/page", mode=mode)
    assert page.evaluate(FORGET)
    server.say(REFRESH, Answer(400, {"error": "invalid_grant"}))
    begin(page, "client.refresh()")
    assert outcome(page) is None
    assert [one.proof for one in server.to(REFRESH)] == [None]
    assert page.evaluate("told") == [["logout", "invalid_grant"]]


@MODES
def test_a_logout_that_the_server_doesnt_hear_of_removes_the_key(
    context: BrowserContext, server: Scripted, mode: str
) -> None:
    page = logged_in(context, server, mode)
    server.say(REVOKE, Answer(503))
    begin(page, "client.logout()")
    assert outcome(page) == "Unreachable"
    page.wait_for_function(f"async () => (await {KEYS}).types.length === 0")


@MODES
def test_a_login_without_a_key_forgets_the_key_of_the_one_before(
    context: BrowserContext, server: Scripted, mode: str
) -> None:
    page = logged_in(context, server, mode)
    page.evaluate("client.key = 'none'")
    begin(page, LOG_IN)
    assert outcome(page) == 200
    assert page.evaluate("client.isBound") is False
    assert [one.proof is not None for one in server.to(LOGIN)] == [True, False]
    page.wait_for_function(f"async () => (await {KEYS}).types.length === 0")


# --- servers


@pytest.mark.parametrize(
    ("path", "call", "answer", "becomes", "times"),
    [
        (
            REFRESH,
            "client.refresh()",
            Answer(400, {"error": "use_dpop_nonce"}, NONCE),
            "Refused",
            2,
        ),
        (REFRESH, "client.refresh()", Answer(400, {"error": "invalid_dpop_proof"}), "Refused", 1),
        (LOGIN, LOG_IN, Answer(401, {"error": "use_dpop_nonce"}, NONCE), 401, 2),
        (LOGIN, LOG_IN, Answer(401, {"error": "use_dpop_nonce"}), 401, 1),  # it says none
        (LOGIN, LOG_IN, Answer(401, {"error": "wrong password"}, NONCE), 401, 1),
        (LOGIN, LOG_IN, Answer(200, "use_dpop_nonce", NONCE), 200, 1),
    ],
)
def test_a_nonce_is_tried_once_and_only_where_it_is_asked_for(
    context: BrowserContext,
    server: Scripted,
    path: str,
    call: str,
    answer: Answer,
    becomes: object,
    times: int,
) -> None:
    page = logged_in(context, server)
    server.asked.clear()
    server.say(path, answer)
    begin(page, call)
    assert outcome(page) == becomes
    assert page.evaluate("[client.isLoggedIn, told]") == [True, [["login", False]]]
    proofs = [ProofReader().read(str(one.proof)) for one in server.to(path)]
    assert [one.nonce for one in proofs] == [None, "n1"][:times]
    assert len({one.jti for one in proofs}) == times


def test_each_try_after_a_lost_answer_has_a_proof_of_its_own(
    context: BrowserContext, server: Scripted
) -> None:
    page = open_page(context, f"{server.url}/page", key="required", delays=[1, 1])
    server.say(LOGIN, alice("header"))
    begin(page, LOG_IN)
    assert outcome(page) == 200
    server.say(REFRESH, Answer(503), Answer(200, "<h1>Welcome</h1>"), alice("header", 2))
    begin(page, "client.refresh().then((tokens) => tokens.access_token)")
    assert outcome(page) == "a2"
    proofs = [ProofReader().read(str(one.proof)) for one in server.to(REFRESH)]
    assert len({one.jti for one in proofs}) == len(proofs) == 3
    assert {(one.method, one.url) for one in proofs} == {("POST", f"{server.url}{REFRESH}")}


@pytest.mark.parametrize("scheme", ["DPoP", "dpop", "Bearer"])
def test_a_call_is_proved_where_its_token_is_bound(
    context: BrowserContext, server: Scripted, scheme: str
) -> None:
    page = open_page(context, f"{server.url}/page", key="required")
    server.say(LOGIN, alice("header", token_type=scheme))
    begin(page, LOG_IN)
    assert outcome(page) == 200
    challenge = ("WWW-Authenticate", 'DPoP error="invalid_token"')
    server.say(ME, Answer(401, {}, (challenge,)), Answer(200, {}))
    server.say(REFRESH, alice("header", 2, token_type=scheme))
    begin(page, f"client.fetch('{ME}?page=2#top')")
    assert outcome(page) == 200
    sent = server.to(ME)
    is_bound = scheme != "Bearer"
    name = "DPoP" if is_bound else "Bearer"
    assert [one.authorization for one in sent] == [f"{name} a1", f"{name} a2"]
    assert [one.proof is not None for one in sent] == [is_bound] * 2
    if is_bound:
        proofs = [ProofReader().read(str(one.proof)) for one in sent]
        assert {(one.method, one.url) for one in proofs} == {("GET", f"{server.url}{ME}")}
        assert len({one.token_hash for one in proofs}) == 2
