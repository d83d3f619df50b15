"""The demo, played in Chromium: what its page promises happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .browsing import Demo, cookies

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

YOUNG = 5  # seconds; more than the demo's settle time, so that a refresh token rotates


def events(page: Page) -> list[str]:
    """The titles of the server's events, the oldest first."""
    page.evaluate("document.getElementById('bare').click()")  # the page looks at once after a call
    page.get_by_text("Refused with 401").first.wait_for()
    return page.locator("#events .pill").all_inner_texts()[::-1]


def wait_for_event(page: Page, title: str, count: int = 1) -> None:
    page.locator("#events .pill", has_text=title).nth(count - 1).wait_for()


def requests(page: Page) -> list[str]:
    """What the tab sent, the latest first: who, what, status and note."""
    lines = page.locator("#requests .line").all()
    return [" ".join(line.locator(":not(time)").all_inner_texts()) for line in lines]


def status(page: Page, text: str) -> None:
    page.locator("#status", has_text=text).wait_for()


def stored(page: Page) -> str:
    return str(page.evaluate("localStorage.getItem('demo')"))


def press(page: Page, button: str) -> None:
    page.get_by_role("button", name=button, exact=True).click()


def test_a_login_shows_both_tokens_and_opens_what_its_scope_allows(demo: Demo) -> None:
    page = demo.open()
    demo.log_in(page)
    access, refresh = page.locator("#access"), page.locator("#refresh-token")
    assert 'sub "alice"' in access.inner_text()
    assert 'typ "at+jwt"' in access.inner_text()
    assert 'typ "rt+jwt"' in refresh.inner_text()
    assert "alice" not in refresh.inner_text()
    assert page.locator("#access .raw .signature").inner_text() in stored(page)
    press(page, "GET /api/me")
    status(page, '/api/me answered {"you": "alice"')
    press(page, "GET /api/admin")
    status(page, "/api/admin was refused: 403")
    assert 'error="insufficient_scope"' in page.locator("#requests li").first.inner_text()
    press(page, "Forged")
    status(page, "the signature doesn't fit")
    assert 'error="invalid_token"' in page.locator("#requests li").first.inner_text()
    press(page, "No token")
    status(page, "no error code")
    assert "error=" not in page.locator("#requests li").first.inner_text()


def test_an_access_token_is_refreshed_silently_before_it_ends(demo: Demo) -> None:
    page = demo.open()
    demo.log_in(page)
    before = stored(page)
    demo.wait(16, page)
    wait_for_event(page, "Rotated")
    status(page, "Refreshed")
    assert stored(page) != before
    assert requests(page)[0] == "you POST /auth/refresh 200"
    assert int(page.locator("#left").inner_text().removesuffix(" s")) > 10


def test_an_expired_access_token_is_refused_refreshed_and_the_call_repeated(demo: Demo) -> None:
    page = demo.open()
    demo.log_in(page)
    page.get_by_role("switch").uncheck()
    demo.wait(25, page)
    page.locator("#left", has_text="expired").wait_for()
    press(page, "GET /api/me")
    status(page, "/api/me answered")
    assert requests(page)[:3] == [
        "you GET /api/me 200",
        "you POST /auth/refresh 200",
        "you GET /api/me 401",
    ]


def test_two_tabs_that_refresh_at_once_refresh_once(demo: Demo) -> None:
    device = demo.device()
    first, second = demo.open(device), demo.open(device)
    demo.log_in(first)
    second.get_by_role("button", name="Refresh now").wait_for()
    demo.wait(YOUNG)
    for page in (first, second):
        page.evaluate("setTimeout(() => document.getElementById('refresh').click(), 100)")
    wait_for_event(first, "Rotated")
    wait_for_event(second, "Rotated")
    for page in (first, second):
        press(page, "GET /api/me")
        status(page, "/api/me answered")
    assert events(first).count("Rotated") == 1


MEET = """
    // Both tabs have read the one store before either sends: the server sees one token twice.
    const other = new BroadcastChannel("meet");
    const met = new Promise((resolve) => (other.onmessage = resolve));
    const real = window.fetch;
    window.fetch = async (request, init) => {
        if (request.url?.endsWith("/auth/refresh")) {
            other.postMessage("here");
            await met;
        }
        return real(request, init);
    };
    Object.defineProperty(navigator, "locks", { value: undefined });
"""


def test_two_tabs_without_web_locks_both_stay_logged_in(demo: Demo) -> None:
    device = demo.device()
    device.add_init_script(MEET)
    first, second = demo.open(device), demo.open(device)
    demo.log_in(first)
    second.get_by_role("button", name="Refresh now").wait_for()
    demo.wait(YOUNG)
    press(first, "Refresh now")
    press(second, "Refresh now")
    for page in (first, second):
        wait_for_event(page, "Rotated")
        wait_for_event(page, "Repeated")
    for page in (first, second):
        demo.wait(YOUNG)
        press(page, "Refresh now")
        wait_for_event(page, "Rotated", 2)
        press(page, "GET /api/me")
        status(page, "/api/me answered")
    assert "Reuse found" not in events(first)


def test_a_lost_answer_is_asked_for_again_with_the_same_token(demo: Demo) -> None:
    page = demo.open()
    demo.log_in(page)
    demo.wait(YOUNG)
    press(page, "Lose the next answer")
    status(page, "The same refresh token goes out again")
    page.clock.fast_forward(1000)
    wait_for_event(page, "Repeated")
    status(page, "Refreshed")
    assert requests(page)[:2] == [
        "you POST /auth/refresh 200",
        "you POST /auth/refresh 200 the answer got lost",
    ]
    demo.wait(YOUNG)
    press(page, "Refresh now")
    wait_for_event(page, "Rotated", 2)


def test_a_server_in_trouble_is_asked_again_with_the_same_token(demo: Demo) -> None:
    page = demo.open()
    demo.log_in(page)
    demo.wait(YOUNG)
    sent: list[str | None] = []

    def trouble(route: Route) -> None:
        sent.append(route.request.post_data)
        match len(sent):
            case 1:
                route.fulfill(status=503)
            case 2:  # a captive portal
                route.fulfill(status=200, content_type="text/html", body="<h1>Welcome</h1>")
            case 3:
                route.abort()
            case _:
                route.continue_()

    page.route("**/auth/refresh", trouble)
    press(page, "Refresh now")
    for tries in (1, 2, 3):
        page.locator("#requests li").nth(tries - 1).wait_for()
        status(page, "goes out again")
        page.clock.fast_forward(6000)
    wait_for_event(page, "Rotated")
    assert len(sent) == 4
    assert len(set(sent)) == 1


def test_without_a_network_nobody_is_logged_out(demo: Demo) -> None:
    device = demo.device()
    page = demo.open(device)
    demo.log_in(page)
    demo.wait(YOUNG)
    device.set_offline(True)
    press(page, "Refresh now")
    for tries in range(2, 5):
        page.locator("#requests li").nth(tries - 2).wait_for()
        status(page, "goes out again")
        page.clock.fast_forward(6000)
    status(page, "You stay logged in")
    device.set_offline(False)
    press(page, "Refresh now")
    status(page, "Refreshed")
    wait_for_event(page, "Rotated")


def test_a_thief_goes_on_until_the_victim_refreshes_and_both_are_out(demo: Demo) -> None:
    page = demo.open()
    demo.log_in(page)
    demo.wait(YOUNG)
    press(page, "Steal my refresh token")
    for generation in (2, 3):
        press(page, "Refresh as the thief")
        wait_for_event(page, "Rotated", generation - 1)
        demo.wait(YOUNG)
    page.locator("#thief-state", has_text="inside").wait_for()
    assert requests(page)[0] == "thief GET /api/me 200"
    press(page, "Refresh now")
    page.get_by_role("alert").get_by_text("Reuse found").wait_for()
    press(page, "Refresh as the thief")
    page.locator("#thief-state", has_text="out").wait_for()
    assert requests(page)[:3] == [
        "thief GET /api/me 401",
        "thief POST /auth/refresh 400 invalid_\u200bgrant",
        "you POST /auth/refresh 400 invalid_\u200bgrant",
    ]
    assert stored(page) == "None"
    press(page, "Log in again")
    demo.log_in(page)


def test_a_thief_who_is_behind_gives_both_away(demo: Demo) -> None:
    page = demo.open()
    demo.log_in(page)
    demo.wait(YOUNG)
    press(page, "Steal my refresh token")
    for generation in (2, 3):
        press(page, "Refresh now")
        wait_for_event(page, "Rotated", generation - 1)
        demo.wait(YOUNG)
    press(page, "Refresh as the thief")
    page.locator("#thief-state", has_text="out").wait_for()
    wait_for_event(page, "Reuse found")
    press(page, "GET /api/me")
    page.get_by_role("alert").get_by_text("Reuse found").wait_for()


def test_a_thief_of_a_login_that_is_bound_to_a_key_gets_nothing_and_the_user_stays_in(
    demo: Demo,
) -> None:
    page = demo.open()
    demo.log_in(page, bound_to="a key")
    assert 'cnf {"jkt":' in page.locator("#access").inner_text()
    assert page.locator("#facts", has_text="bound to").is_visible()
    # The first proof had no nonce. No other request is refused.
    assert requests(page) == ["you POST /login 200", "you POST /login 401"]
    demo.wait(YOUNG)
    press(page, "Steal my refresh token")
    press(page, "Refresh as the thief")
    page.locator("#thief-state", has_text="no key").wait_for()
    assert requests(page)[:2] == [
        "thief GET /api/me 401",
        "thief POST /auth/refresh 400 invalid_\u200bgrant",
    ]
    wait_for_event(page, "Wrong key")
    press(page, "Refresh now")
    status(page, "Refreshed")
    press(page, "GET /api/me")
    status(page, "/api/me answered")
    press(page, "Refresh as the thief")
    page.locator("#thief-text", has_text="Tried 2 times").wait_for()
    demo.wait(16, page)
    wait_for_event(page, "Kept", 2)  # silently
    assert page.locator("#chain li").all_inner_texts() == ["1\nyou\nthief"]
    assert page.locator("#banner").inner_text() == ""
    assert "Reuse found" not in events(page)
    for size in (360, 320):
        page.set_viewport_size({"width": size, "height": 740})
        assert page.evaluate(WIDTHS)[0] <= size
    count, poor = page.evaluate(CONTRAST)
    assert (count > 20, poor) == (True, [])
    press(page, "Log out")
    page.get_by_role("alert").get_by_text("Logged out").wait_for()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_login_by_cookie_is_bound_as_well_under_each_name_of_the_machine(
    demo: Demo, host: str
) -> None:
    demo.url = demo.url.replace("127.0.0.1", host)
    page = demo.open()
    page.get_by_role("radio", name="HttpOnly cookie").check()
    demo.log_in(page, bound_to="a key")
    press(page, "Refresh now")
    status(page, "Refreshed")
    page.reload()
    wait_for_event(page, "Kept", 2)
    press(page, "GET /api/me")
    status(page, "/api/me answered")
    assert page.locator("#facts", has_text="bound to").is_visible()


def test_without_keys_in_the_browser_the_page_says_so(demo: Demo) -> None:
    device = demo.device()
    device.add_init_script("Object.defineProperty(crypto, 'subtle', { value: undefined })")
    page = demo.open(device)
    page.get_by_role("radio", name="a key").check()
    press(page, "Log in")
    status(page, "Browsers have keys only at localhost and over https")
    page.get_by_role("radio", name="nothing").check()
    device.set_offline(True)
    press(page, "Log in")
    status(page, "Nothing was answered")


def test_a_logout_in_one_tab_is_one_in_all(demo: Demo) -> None:
    device = demo.device()
    first = demo.open(device)
    demo.log_in(first)
    with device.expect_page() as opened:
        press(first, "Open a second tab")
    second = opened.value
    second.get_by_role("button", name="Log out", exact=True).click()
    second.get_by_role("alert").get_by_text("Logged out").wait_for()
    first.get_by_role("alert").get_by_text("Logged out in another tab").wait_for()
    assert stored(first) == "None"


def test_log_out_everywhere_reaches_other_devices(demo: Demo) -> None:
    phone, desk = demo.open(), demo.open()
    demo.log_in(phone)
    demo.log_in(desk)
    press(desk, "Log out everywhere")
    desk.get_by_role("alert").get_by_text("Logged out").wait_for()
    press(phone, "GET /api/me")
    phone.get_by_role("alert").get_by_text("The server ended this login").wait_for()
    assert "2 grants ended" in phone.locator("#events").inner_text()


def test_in_cookie_mode_no_script_sees_the_refresh_token(demo: Demo) -> None:
    device = demo.device()
    page = demo.open(device)
    page.get_by_role("radio", name="HttpOnly cookie").check()
    demo.log_in(page)
    (cookie,) = cookies(device)
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert (cookie["name"][:13], cookie["path"]) == ("demo_refresh-", "/")
    reachable = page.evaluate(
        "document.cookie + JSON.stringify(localStorage) + document.body.innerText"
    )
    assert cookie["value"] not in reachable
    assert page.get_by_role("button", name="Steal").get_attribute("aria-disabled") == "true"
    demo.wait(YOUNG)
    page.reload()
    wait_for_event(page, "Rotated")
    press(page, "GET /api/me")
    status(page, "/api/me answered")
    (rotated,) = cookies(device)
    assert rotated["value"] != cookie["value"]
    press(page, "Log out")
    page.get_by_role("alert").get_by_text("Logged out").wait_for()
    wait_for_event(page, "Revoked")
    assert cookies(device) == []


# A radio button is drawn by the text beside it.
OUTLINE = """() => {
    const { activeElement } = document;
    const isRadio = activeElement.type === "radio";
    const shown = isRadio ? activeElement.nextElementSibling : activeElement;
    const { outlineStyle, outlineWidth } = getComputedStyle(shown);
    return [outlineStyle, parseFloat(outlineWidth)];
}"""


def test_everything_works_by_keyboard_and_shows_where_it_is(demo: Demo) -> None:
    page = demo.open()
    focused = "document.activeElement"

    def tab_to(name: str) -> None:
        for _ in range(30):
            page.keyboard.press("Tab")
            label = page.evaluate(f"{focused}.name || {focused}.id || {focused}.innerText")
            if label == name:
                break
        else:
            pytest.fail(f"{name} isn't reached")
        style, width = page.evaluate(OUTLINE)
        assert (style, width >= 2) == ("solid", True), name

    tab_to("name")
    page.keyboard.type("bob")
    tab_to("role")
    page.keyboard.press("ArrowRight")
    tab_to("keeps")
    tab_to("Log in")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Refresh now").wait_for()
    assert page.evaluate(f"{focused}.id") == "refresh"
    tab_to("admin")
    page.keyboard.press("Space")
    status(page, "/api/admin answered")
    tab_to("steal")
    tab_to("requests-frame")
    tab_to("events-frame")
    tab_to("silent")  # around again
    tab_to("logout")
    page.keyboard.press("Enter")
    page.locator("#banner button:focus").wait_for()


WIDTHS = "[document.documentElement.scrollWidth, window.innerWidth]"


STATES = ("out", "in", "robbed", "ended")


def lead(demo: Demo, page: Page, state: str) -> None:
    """Lead a page from one of the states to the next."""
    match state:
        case "in":
            demo.log_in(page, name="Wolfeschlegelsteinhausenbergerdo")
            press(page, "GET /api/admin")
            status(page, "was refused")
        case "robbed":
            demo.wait(YOUNG)
            press(page, "Steal my refresh token")
            press(page, "Refresh as the thief")
            page.locator("#thief-state", has_text="inside").wait_for()
            demo.wait(YOUNG)
            press(page, "Refresh as the thief")
            wait_for_event(page, "Rotated", 2)
        case "ended":
            press(page, "Refresh now")
            page.get_by_role("button", name="Log in again").wait_for()


def test_a_phone_shows_it_all_without_scrolling_sideways(demo: Demo) -> None:
    page = demo.open(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    for state in STATES:
        lead(demo, page, state)
        width, window = page.evaluate(WIDTHS)
        assert width == window == 360, state
        page.set_viewport_size({"width": 320, "height": 740})  # WCAG 2.2, 1.4.10
        assert page.evaluate(WIDTHS)[0] <= 320, state
        page.set_viewport_size({"width": 360, "height": 740})


CONTRAST = """
() => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => c / 255)
      .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const color = parse(getComputedStyle(one).backgroundColor);
      if ((color[3] ?? 1) === 1) return color;
    }
    return parse(getComputedStyle(document.body).backgroundColor);
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (walker.nextNode()) {
    const { parentElement: element, data } = walker.currentNode;
    const text = data.trim();
    if (!text || !element.checkVisibility() || element.closest("noscript, .hidden")) continue;
    seen += 1;
    const [one, two] = [parse(getComputedStyle(element).color), ground(element)].map(luminance);
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${element.className} ${text.slice(0, 40)}`);
  }
  return [seen, poor];
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_the_contrast_of_wcag_aa(demo: Demo, scheme: str) -> None:
    page = demo.open(color_scheme=scheme, reduced_motion="reduce")
    for state in STATES:
        lead(demo, page, state)
        count, poor = page.evaluate(CONTRAST)
        assert count > 20
        assert poor == [], state
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(14, 17, 24)"
    assert dark is (scheme == "dark")


def test_nothing_moves_for_those_who_asked_for_that(demo: Demo) -> None:
    page = demo.open(reduced_motion="reduce")
    demo.log_in(page)
    demo.wait(YOUNG)
    press(page, "Refresh now")
    wait_for_event(page, "Rotated")
    page.locator(".fresh").first.wait_for()
    assert page.evaluate("document.getAnimations().length") == 0
