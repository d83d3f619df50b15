"""The attacks on pages: each is refused for what it is named after, and would work but for that."""

from __future__ import annotations

import asyncio

import pytest

from jwt_middleware import Cookies, Refresh, Route
from jwt_middleware.testing import Attack, TokenFactory
from tests.rules import refuses
from tests.world import Answer, Sent, World, by_asgi, by_wsgi, encoded, standing

FACTORY = TokenFactory(clock=standing)
SETTINGS = FACTORY.settings(
    login_url="/login",
    routes=(Route("/login", public=True, own_origin=True),),
    refresh=Refresh(store="memory://", cookies=Cookies(access=True, forms=True)),
)
WORLD = World(SETTINGS)
KNOWN = {attack.name for attack in FACTORY.attacks()}
ATTACKS = [attack for attack in FACTORY.attacks(SETTINGS) if attack.name not in KNOWN]
REASONS = {
    "RT-20": {"cross_site"},
    "RT-27": {"cross_site"},
    "RT-32": {"next_not_local", "navigation_only", "cookie_twice", "cross_site"},
}


def sent(attack: Attack) -> tuple[Answer, Answer]:
    path, _, query = (attack.path or "/notes").partition("?")
    one = Sent(attack.method, path, encoded(attack.headers, None), query=query)
    answers = []
    for send in (
        lambda: by_wsgi(WORLD.wsgi, one),
        lambda: asyncio.run(by_asgi(WORLD.asgi, one)),
    ):
        WORLD.application.seen, before = None, len(WORLD.events)
        answers.append(WORLD.application.answer(send(), WORLD.events[before:]))
    return answers[0], answers[1]


@refuses("RT-20", "RT-27", "RT-32")
@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_an_attack_on_pages_is_refused_for_what_it_is_named_after(attack: Attack) -> None:
    by_one, by_other = sent(attack)
    assert by_one == by_other
    assert by_one.status in attack.statuses, by_one.reason
    assert by_one.reason in REASONS[attack.rule]
    assert (by_one.reached, by_one.cookies, by_one.header("location")) == (False, (), None)


def test_the_same_requests_without_their_fault_are_served() -> None:
    own = {"Sec-Fetch-Site": "same-origin", "Origin": FACTORY.issuer}
    for attack in ATTACKS:
        if attack.rule not in ("RT-20", "RT-27"):
            continue
        fields = tuple((name, value) for name, value in attack.headers if name not in own)
        good = Attack(
            attack.name, (*fields, *own.items()), "", method=attack.method, path=attack.path
        )
        assert sent(good)[0].status == 200, attack.name
    for name in ("prefetch", "frame-of-another-site", "script-that-continues"):
        (attack,) = (one for one in ATTACKS if one.name == name)
        load = (("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document"))
        answer, _ = sent(Attack(name, load, "", path=attack.path))
        assert (answer.status, answer.header("location")) == (303, "/login?next=/")


def test_there_are_names_for_all_that_a_page_must_refuse() -> None:
    names = [attack.name for attack in ATTACKS]
    assert len(set(names)) == len(names) == len(ATTACKS) > 40
    assert {"login-csrf", "prefetch", "prerender"} < set(names)
    for place in ("open-redirect", "login-page-leads"):
        assert {f"{place}-by-{one}" for one in ("two-slashes", "javascript")} < set(names)
    assert [one for one in names if one.startswith("session-fixation")] != []


def test_settings_without_pages_have_none() -> None:
    for refresh in (
        None,
        Refresh(store="memory://"),
        Refresh(store="memory://", cookies=Cookies()),
    ):
        assert {one.name for one in FACTORY.attacks(FACTORY.settings(refresh=refresh))} == KNOWN
    with_cookies = Refresh(store="memory://", cookies=Cookies(access=True))
    more = {one.name for one in FACTORY.attacks(FACTORY.settings(refresh=with_cookies))} - KNOWN
    assert {name.partition("-")[0] for name in more} == {"form", "script"}
