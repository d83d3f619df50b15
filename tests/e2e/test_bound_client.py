"""jwt-client.js with a login that is bound to a key, in Chromium, before the real service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from jwt_middleware.testing import Prover
from jwt_middleware.values.events import KeyMismatch, Refreshed

from . import browsing
from .bound import KEYS, LOG_IN, LOGIN, ME, REFRESH, REFRESHES, REVOKE, WHO, Service, serving
from .scripted import begin, open_page, outcome

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

STALE = 700.0  # seconds; longer than a nonce is good, and less than a client's clock may be wrong
FRESH = 280.0  # seconds; a nonce is good for 300 at least
COPY = "(names) => names.map((name) => [name, localStorage.getItem(name)])"
PASTE = "(entries) => entries.forEach(([name, text]) => localStorage.setItem(name, text))"


# Where the refresh token is, and whether access tokens are bound, too.
ALL = [("header", False), ("header", True), ("cookie", False), ("cookie", True)]
HEADER, COOKIE = ALL[1:3]


@pytest.fixture(params=[HEADER, COOKIE], ids=str)
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    mode, access = request.param
    with serving(mode, access=access) as found:
        yield found


def opened(context: BrowserContext, service: Service) -> Page:
    url = f"{service.url}/page"
    return open_page(context, url, mode=service.mode, key="required")


def keys(page: Page) -> Any:
    """Return what scripts of the page's origin see of its keys; a removal may be on its way."""
    return page.evaluate(KEYS)


def shut(page: Page, *, count: int) -> None:
    page.wait_for_function(f"async () => (await {KEYS}).types.length === {count}")


def check_key(page: Page) -> None:
    found = keys(page)
    assert found["types"] == ["private"]
    assert (found["exported"], found["tried"]) == (0, 3)
    assert '"d"' not in found["text"]
    assert '"alg"' not in found["text"]


@pytest.mark.parametrize("service", ALL, ids=str, indirect=True)
def test_a_page_proves_a_key_that_no_script_can_export(
    context: BrowserContext, service: Service
) -> None:
    page = opened(context, service)
    assert page.evaluate(LOG_IN) == 200
    assert page.evaluate("client.isBound")
    check_key(page)
    for _ in range(2):
        assert page.evaluate(WHO) == "alice"
        assert page.evaluate(REFRESHES)
        page = opened(context, service)  # as a reload does
        assert page.evaluate("client.isBound")
    assert page.evaluate(WHO) == "alice"
    check_key(page)
    # The nonce is asked for once; then it is kept, over reloads, too.
    assert [one.status for one in service.to(LOGIN)] == [401, 200]
    assert {one.status for one in service.to(REFRESH)} == {200}
    is_bound = page.evaluate("client.tokens.token_type") == "DPoP"
    assert is_bound is service.settings.proofs.access  # type: ignore[union-attr]
    for one in service.to(ME):
        assert (one.status, one.scheme) == (200, "DPoP" if is_bound else "Bearer")
        assert (one.proof is not None) is is_bound
    assert {event.how for event in service.events if isinstance(event, Refreshed)} == {"kept"}
    made = service.proofs()
    assert len({one.thumbprint for one in made}) == 1
    assert len({one.jti for one in made}) == len(made)
    page.evaluate("client.logout()")
    assert [one.proof for one in service.to(REVOKE)] == [None]
    shut(page, count=0)


def test_the_key_is_still_there_after_the_browser_was_closed(
    browser: Browser, service: Service, tmp_path: Path
) -> None:
    def start() -> BrowserContext:
        return browser.browser_type.launch_persistent_context(
            tmp_path, executable_path=browsing.chromium(), args=list(browsing.SWITCHES)
        )

    with start() as context:
        assert opened(context, service).evaluate(LOG_IN) == 200
    with start() as context:
        page = opened(context, service)
        assert page.evaluate("[client.isLoggedIn, client.isBound]") == [True, True]
        assert page.evaluate(REFRESHES)
        assert page.evaluate(WHO) == "alice"
        check_key(page)
    assert len({one.thumbprint for one in service.proofs()}) == 1


LOGINS = "count => told.filter(([type]) => type === 'login').length === count"


def test_two_tabs_prove_one_key_and_a_logout_removes_it(
    context: BrowserContext, service: Service
) -> None:
    first, second = (opened(context, service) for _ in range(2))
    assert first.evaluate(LOG_IN) == 200
    second.wait_for_function("told.length > 0")
    for page in (second, first, second):
        assert page.evaluate(REFRESHES)
        assert page.evaluate(WHO) == "alice"
    assert len({one.thumbprint for one in service.proofs()}) == 1
    second.evaluate("client.logout()")
    first.wait_for_function("told.at(-1)[0] === 'logout'")
    shut(first, count=0)
    # Each login has a key of its own: it can't be told from the key that they belong to one user.
    assert first.evaluate(LOG_IN) == 200
    second.wait_for_function(LOGINS, arg=2)  # of two that come at once, it would see the last only
    assert first.evaluate(LOG_IN) == 200
    shut(first, count=1)
    assert len({one.thumbprint for one in service.proofs()}) == 3
    second.wait_for_function(LOGINS, arg=3)
    assert second.evaluate(REFRESHES)
    assert second.evaluate(WHO) == "alice"


def test_two_tabs_without_web_locks_both_stay_in(context: BrowserContext, service: Service) -> None:
    context.add_init_script("Object.defineProperty(navigator, 'locks', { value: undefined })")
    pages = [opened(context, service) for _ in range(2)]
    assert pages[0].evaluate(LOG_IN) == 200
    pages[1].wait_for_function("told.length > 0")
    for _ in range(3):
        for page in pages:
            begin(page, REFRESHES)
        assert [outcome(page) for page in pages] == [True, True]
    assert [page.evaluate(WHO) for page in pages] == ["alice", "alice"]


@pytest.mark.parametrize("service", [HEADER], ids=str, indirect=True)
def test_a_copy_of_the_tokens_opens_nothing_without_the_key(
    context: BrowserContext, browser: Browser, service: Service
) -> None:
    page = opened(context, service)
    assert page.evaluate(LOG_IN) == 200
    tokens = page.evaluate("client.tokens")
    members = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    thief = Prover(service.url, clock=service.clock)
    with httpx2.Client(base_url=service.url) as client:
        bare = client.post(REFRESH, data=members)
        assert (bare.status_code, bare.json()["error"]) == (400, "invalid_grant")
        asked = client.post(REFRESH, data=members, headers={"DPoP": thief.proof("POST", REFRESH)})
        thief.nonce = asked.headers["DPoP-Nonce"]
        proof = thief.proof("POST", REFRESH)
        own = client.post(REFRESH, data=members, headers={"DPoP": proof})
        assert (own.status_code, own.json()["error"]) == (400, "invalid_grant")
        if tokens["token_type"] == "DPoP":
            bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
            proved = thief.headers("GET", ME, tokens["access_token"])
            for headers in (bearer, proved):
                assert client.get(ME, headers=headers).status_code == 401
    # Another browser, with all that scripts can read in this one.
    other = browser.new_context()
    copied = opened(other, service)
    copied.evaluate(PASTE, page.evaluate(COPY, page.evaluate("Object.keys(localStorage)")))
    assert copied.evaluate("[client.isLoggedIn, client.isBound]") == [True, True]
    assert copied.evaluate("client.refresh()") is None
    assert copied.evaluate("told") == [["logout", "invalid_grant"]]
    other.close()
    assert sum(isinstance(event, KeyMismatch) for event in service.events) == 3
    # The owner doesn't even notice.
    assert page.evaluate(REFRESHES)
    assert page.evaluate(WHO) == "alice"
    assert page.evaluate("told") == [["login", False], ["refresh", False]]


# With a body that is sent again, and says so by coming back.
POSTED = f"client.fetch('{ME}', {{ method: 'POST', body: '!' }}).then((answer) => answer.text())"


@pytest.mark.parametrize("service", [HEADER], ids=str, indirect=True)
def test_each_answer_of_the_refresh_endpoint_says_the_next_nonce(
    context: BrowserContext, service: Service
) -> None:
    page = opened(context, service)
    assert page.evaluate(LOG_IN) == 200
    for _ in range(3):
        service.clock.seconds += FRESH
        assert page.evaluate(REFRESHES)
    assert page.evaluate(POSTED) == "alice!"
    assert {one.status for one in (*service.to(REFRESH), *service.to(ME))} == {200}
    assert len({one.nonce for one in service.proofs()} - {None}) > 2


@pytest.mark.parametrize("service", [HEADER], ids=str, indirect=True)
@pytest.mark.parametrize(
    ("path", "call", "expected", "asks"),
    [(REFRESH, REFRESHES, True, 400), (ME, POSTED, "alice!", 401)],
)
def test_a_nonce_that_is_too_old_costs_one_more_request(
    context: BrowserContext, service: Service, path: str, call: str, expected: object, asks: int
) -> None:
    page = opened(context, service)
    assert page.evaluate(LOG_IN) == 200
    service.clock.seconds += STALE
    assert page.evaluate(call) == expected
    assert [one.status for one in service.to(path)] == [asks, 200]
    made = service.proofs()
    assert len({one.jti for one in made}) == len(made)


@pytest.mark.parametrize("service", [HEADER], ids=str, indirect=True)
def test_a_clock_that_is_wrong_by_an_hour_logs_nobody_out(
    context: BrowserContext, service: Service
) -> None:
    page = opened(context, service)
    assert page.evaluate(LOG_IN) == 200
    service.clock.seconds += 3600
    begin(page, "client.refresh()")
    assert outcome(page) == "Refused"
    assert page.evaluate("[client.isLoggedIn, told]") == [True, [["login", False]]]
    service.clock.seconds -= 3600
    assert page.evaluate(REFRESHES)


def test_a_refused_login_leaves_no_key(context: BrowserContext, service: Service) -> None:
    page = opened(context, service)
    nobody = f"client.login('{LOGIN}', {{ name: 'nobody' }}).then((answer) => answer.status)"
    assert page.evaluate(nobody) == 403
    assert keys(page)["types"] == []
    assert page.evaluate(LOG_IN) == 200
    assert page.evaluate(nobody) == 403  # the login before goes on, with its key
    assert page.evaluate(REFRESHES)
    assert page.evaluate(WHO) == "alice"
    check_key(page)
