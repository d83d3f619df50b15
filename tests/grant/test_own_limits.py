"""A login may have a label, limits and cookies of its own: `issue(label=, idle_limit=, ...)`."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from jwt_middleware import Cookies
from jwt_middleware.grant.login import Login
from jwt_middleware.jose.strict_json import to_json
from tests.browser import Browser, access_name, refresh_name, set_cookies
from tests.grant.test_rt_exchange import claims_of
from tests.issuing import DAY, DOORS, FAULTY, HOUR, MINUTE, SITES, Site, World, opened
from tests.rules import accepts, refuses

GATE = HOUR
ATTRIBUTES = "Path=/; HttpOnly; SameSite=Strict; Secure"


@pytest.fixture
def doors() -> Any:
    with opened(DOORS) as one:
        yield one


def lasts(answer: Any) -> tuple[int, int]:
    return answer["refresh_token_timeout"], answer["authorization_expires_in"]


def logins_with_limits_of_their_own(world: World) -> None:
    """Play three logins of one user: by the settings, at a library, and on an own computer."""
    usual = world.login()
    library = world.login(idle_limit=2 * HOUR, absolute_limit=12 * HOUR, label="library")
    home = world.login(idle_limit=60 * DAY, absolute_limit=90 * DAY, label="home")
    assert [lasts(one) for one in (usual, library, home)] == [
        (7 * DAY, 30 * DAY),
        (2 * HOUR, 12 * HOUR),
        (60 * DAY, 90 * DAY),
    ]
    world.clock.forward(2 * HOUR)
    found = world.renewed(library.refresh_token)
    assert lasts(found) == (2 * HOUR, 10 * HOUR)
    # Unused for its own limit and one gate: over, and not rotated by the refresh that finds out.
    world.clock.forward(2 * HOUR + 12 * MINUTE + 2)
    before = world.row(library.grant_id)
    for _ in range(2):
        for token in (found["refresh_token"], library.refresh_token):
            assert world.refresh(token).reason == "grant_ended"
    after = world.row(library.grant_id)
    assert (
        (after.generation, after.parent) == (before.generation, before.parent) == (2, before.parent)
    )
    assert round(after.used_at - before.used_at) == 0
    # The settings' limit ends the usual one, and not that of the own computer.
    world.clock.forward(8 * DAY)
    assert world.refresh(usual.refresh_token).reason == "grant_ended"
    assert lasts(world.renewed(home.refresh_token))[0] == 60 * DAY
    # An absolute limit of its own, whatever is used meanwhile.
    kiosk = world.login("bob", absolute_limit=HOUR)
    assert lasts(kiosk) == (HOUR, HOUR)
    token = kiosk.refresh_token
    for _ in range(3):
        world.clock.forward(15 * MINUTE)
        token = world.renewed(token)["refresh_token"]
    assert claims_of(token)["exp"] == claims_of(kiosk.refresh_token)["exp"]
    world.clock.forward(15 * MINUTE + 1)
    assert world.refresh(token).reason == "expired"
    assert world.each(lambda site: site.ask("grants", "bob")) == ()


@accepts("RT-09", "RT-10")
@refuses("RT-09", "RT-10")
def test_a_login_with_limits_of_its_own_ends_by_them() -> None:
    with opened(SITES) as world:
        logins_with_limits_of_their_own(world)


@accepts("RT-12")
def test_a_short_limit_changes_nothing_for_who_uses_the_login(doors: World) -> None:
    """Lost answers, another tab, and a token that is never adopted are served as ever."""
    tokens = doors.login(idle_limit=2 * HOUR)
    for _ in range(20):
        doors.clock.forward(2 * HOUR)
        doors.renewed(tokens.refresh_token)
    doors.clock.forward(2 * HOUR + 12 * MINUTE)
    assert doors.refresh(tokens.refresh_token).status == 200


def test_the_label_is_in_the_grant_and_in_no_token() -> None:
    with opened(SITES) as world:
        for label in ("Zoë's 'phone' 🧑‍💻 %s {0} \\ <b>", "x" * 200, "李" * 200):
            tokens = world.login(label=label)
            assert world.row(tokens.grant_id).label == label
            world.clock.forward(HOUR)
            fresh = world.renewed(tokens.refresh_token)
            for token in (*tokens.values(), *fresh.values()):
                assert "label" not in to_json(token)
                if isinstance(token, str) and token.count(".") == 2:
                    assert label not in to_json(claims_of(token))
            (grant,) = (
                one
                for one in world.each(lambda site: site.ask("grants", "alice"))
                if one.id == tokens.grant_id
            )
            assert (grant.label, round(grant.used_at - grant.created_at)) == (label, HOUR)
            assert label not in repr(grant)


def test_no_label_is_none_also_if_it_is_empty(doors: World) -> None:
    for given in (doors.login(), doors.login(label=None), doors.login(label="")):
        assert doors.row(given.grant_id).label is None


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a label too long": (
        {"label": "x" * 201},
        r"label: must be text of at most 200 .*label\)\)\[:200\]",
    ),
    "a label of octets": ({"label": b"phone"}, "label: must be text"),
    "a label with a line break": ({"label": "a\nb"}, r"label: .*isprintable, label\)\)\[:200\]"),
    "a label with an escape": ({"label": "\x1b[2J"}, "label: "),
    "a label with a NUL": ({"label": "a\0"}, "label: "),
    "a label with half a pair": ({"label": "\ud83e"}, "label: "),
    "a label with a C1 control": ({"label": "\x9b31m"}, "label: "),
    "an idle limit of nothing": ({"idle_limit": 0}, "idle_limit: must be 60 to 34560000 seconds"),
    "an idle limit below zero": ({"idle_limit": -5}, "idle_limit: must be 60 to"),
    "an idle limit as text": ({"idle_limit": "3600"}, "idle_limit: must be 60 to"),
    "an idle limit that is true": ({"idle_limit": True}, "idle_limit: must be 60 to"),
    "an idle limit that is no number": ({"idle_limit": float("nan")}, "idle_limit: must be"),
    "an idle limit of 401 days": ({"idle_limit": 401 * DAY}, "idle_limit: .* 400 days"),
    "an absolute limit as text": ({"absolute_limit": "1"}, "absolute_limit: must be 60 to"),
    "an absolute limit of 401 days": ({"absolute_limit": 401 * DAY}, "absolute_limit: .* 400 days"),
    "an absolute limit of infinity": ({"absolute_limit": float("inf")}, "absolute_limit: must be"),
    "idle for longer than it lasts": (
        {"idle_limit": 31 * DAY},
        r"idle_limit: is longer than absolute_limit, .* \(make it shorter, or absolute_limit",
    ),
    "idle for longer than its own": (
        {"idle_limit": 2 * DAY, "absolute_limit": DAY},
        "idle_limit: is longer than absolute_limit",
    ),
    "shorter idle than an access token": (
        {"idle_limit": 659},
        "idle_limit: is shorter than access_lifetime and settle: honest clients would be",
    ),
    "shorter than an access token": (
        {"absolute_limit": 659.5},
        "absolute_limit: is shorter than access_lifetime and settle",
    ),
    "a session that is text": ({"session": "no"}, "session: must be True or False"),
    "a session that is None": ({"session": None}, "session: must be True or False"),
}


@refuses("RT-09", "RT-10")
@pytest.mark.parametrize(("given", "message"), BAD.values(), ids=BAD)
def test_what_a_login_cannot_have_is_a_value_error_and_changes_nothing(
    given: dict[str, Any], message: str
) -> None:
    with opened(FAULTY) as world:

        def issue(site: Site) -> None:
            site.store.calls.clear()
            with pytest.raises(ValueError, match=f"^{message}"):
                site.ask("issue", "alice", **given)
            assert site.store.calls == []

        world.each(issue)
        assert world.events == []


@accepts("RT-09", "RT-10")
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"idle_limit": 660}, (660, 30 * DAY)),
        ({"idle_limit": 660.75}, (660, 30 * DAY)),
        ({"idle_limit": 30 * DAY}, (30 * DAY, 30 * DAY)),
        ({"absolute_limit": 660}, (660, 660)),
        ({"absolute_limit": 400 * DAY}, (7 * DAY, 400 * DAY)),
        ({"idle_limit": 400 * DAY, "absolute_limit": 400 * DAY}, (400 * DAY, 400 * DAY)),
        ({"idle_limit": None, "absolute_limit": None}, (7 * DAY, 30 * DAY)),
    ],
)
def test_limits_may_be_shorter_or_longer_than_the_settings(
    doors: World, given: dict[str, Any], expected: tuple[int, int]
) -> None:
    tokens = doors.login(**given)
    assert lasts(tokens) == expected
    assert lasts(doors.renewed(tokens.refresh_token)) == expected
    assert doors.row(tokens.grant_id).idle_limit == given.get("idle_limit")
    claims = claims_of(tokens.refresh_token)
    assert claims.get("idle") == (None if given.get("idle_limit") is None else expected[0])


# --- cookies


def test_cookies_last_as_long_as_their_login() -> None:
    with opened(DOORS, refresh={"cookies": Cookies(access=True)}) as world:
        for given, seconds in (
            ({}, 7 * DAY),
            ({"idle_limit": 90 * DAY, "absolute_limit": 90 * DAY}, 90 * DAY),
            ({"idle_limit": HOUR}, HOUR),
            ({"absolute_limit": HOUR}, HOUR),
        ):
            browser = Browser(world)
            tokens = browser.login(**given)  # type: ignore[arg-type]
            refresh, _ = set_cookies(tokens)
            pair = f"{refresh_name(tokens)}={tokens.refresh_token}"
            assert refresh == f"{pair}; Max-Age={seconds}; {ATTRIBUTES}"
            world.clock.forward(2 * MINUTE)
            answer = browser.refresh()
            left = min(seconds, lasts(answer.json)[1])
            assert f"; Max-Age={left}; {ATTRIBUTES}" in answer.cookies[0]
            assert f"; Max-Age={answer.json['expires_in']}; {ATTRIBUTES}" in answer.cookies[1]


def test_the_cookies_of_a_session_go_when_the_browser_is_closed() -> None:
    with opened(DOORS, refresh={"cookies": Cookies(access=True)}) as world:
        browser = Browser(world)
        tokens = browser.login(session=True)
        assert tokens.is_session
        assert set_cookies(tokens) == (
            f"{refresh_name(tokens)}={tokens.refresh_token}; {ATTRIBUTES}",
            f"{access_name(tokens)}={tokens.access_token}; {ATTRIBUTES}",
        )
        assert lasts(tokens) == (7 * DAY, 30 * DAY)
        world.clock.forward(10)
        kept = browser.refresh()
        assert len(kept.cookies) == 1
        for _ in range(2):
            world.clock.forward(HOUR)
            rotated = browser.refresh()
            assert len(rotated.cookies) == 2
            assert [one for one in (*kept.cookies, *rotated.cookies) if "Max-Age" in one] == []
        assert world.row(tokens.grant_id).is_session
        # Removing them still works.
        assert all("Max-Age=0" in one for one in browser.logout().cookies)


def test_a_session_without_cookies_is_written_down_and_no_more(doors: World) -> None:
    tokens = doors.login(session=True)
    assert tokens.cookies == ()
    assert doors.row(tokens.grant_id).is_session
    assert list(tokens) == list(doors.login())


# --- ended by their users


@accepts("RT-31")
def test_the_application_ends_a_login_if_it_is_this_users() -> None:
    with opened(SITES) as world:
        mine = world.login()
        assert world.each(lambda site: site.ask("revoke", mine.grant_id, subject="alice")) is True
        assert world.call(mine.access_token).reason == "grant_ended"
        assert world.each(lambda site: site.ask("revoke", mine.grant_id, subject="alice")) is False


@refuses("RT-31")
def test_the_application_ends_no_other_users_login_by_an_id_that_came() -> None:
    with opened(SITES) as world:
        other = world.login("bob")
        before = world.row(other.grant_id)
        for given in (other.grant_id, "unknown", "", "\0", "é", "a/b", "x" * 65):
            revoke = ("revoke", given)
            assert world.each(lambda site, ask=revoke: site.ask(*ask, subject="alice")) is False  # type: ignore[misc]
        assert world.row(other.grant_id) == before
        assert world.call(other.access_token).status == 200
        world.clock.forward(31 * DAY)
        late = ("revoke", other.grant_id)
        assert world.each(lambda site: site.ask(*late, subject="bob")) is False
        assert [one for one in world.events if type(one).__name__ == "Revoked"] == []


def test_a_subject_that_is_no_text_is_an_error(doors: World) -> None:
    tokens = doors.login()

    def revoke(site: Site) -> None:
        for given in (5, None):
            with pytest.raises(ValueError, match=r"subject: must be text, not (int|NoneType)"):
                site.ask("revoke", tokens.grant_id, subject=given)
        assert site.ask("revoke", tokens.grant_id, subject="") is False

    doors.each(revoke)
    assert doors.is_alive(tokens.grant_id)


def test_what_is_said_of_a_login_shows_no_user() -> None:
    login = Login(
        "alice",
        scope="",
        claims={"mail": "alice@example.org"},
        client_id=None,
        user_agent="agent of alice",
        label="alice's phone",
        idle_limit=None,
        absolute_limit=None,
        session=False,
        proof=None,
    )
    assert "alice" not in repr(login)
    assert dataclasses.astuple(login)[0] == "alice"
