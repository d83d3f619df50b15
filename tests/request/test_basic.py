"""`Authorization: Basic` at the endpoints: a browser behind a staging site's password adds it.

Beside a cookie it is none of ours. With a token in the body, a client without a password may name
itself by it (RFC 6749 s2.3.1).
"""

from __future__ import annotations

from base64 import b64encode

import pytest

from jwt_middleware import Cookies
from tests.browser import OWN_PAGE, Browser, Page
from tests.issuing import DOORS, HOUR, REFRESH, REVOKE, World, opened
from tests.rules import accepts, refuses


def basic(user: str, password: str = "") -> tuple[str, str]:
    return "Authorization", "Basic " + b64encode(f"{user}:{password}".encode()).decode()


FOREIGN: dict[str, Page] = {
    "basic": (basic("staging", "secret"),),
    "basic-without-password": (basic("someone"),),
    "digest": (("Authorization", 'Digest username="x"'),),
    "negotiate": (("Authorization", "Negotiate YII="),),
    "bearer": (("Authorization", "Bearer expired"),),
}


@accepts("RT-20")
@pytest.mark.parametrize("field", FOREIGN.values(), ids=FOREIGN)
def test_beside_a_cookie_the_header_is_none_of_ours(field: Page) -> None:
    with opened(DOORS, refresh={"cookies": Cookies()}) as world:
        browser = Browser(world)
        tokens = browser.login()
        world.clock.forward(HOUR)
        page = (*OWN_PAGE, *field)
        assert browser.refresh(page).status == 200
        assert browser.logout(page, sid=tokens.grant_id).status == 200
        assert not world.is_alive(tokens.grant_id)


@pytest.fixture
def world() -> object:
    with opened(DOORS) as one:
        yield one


NAMES = {
    "first-party": "first-party",
    "the web app": "the+web+app",
    "café:1": "caf%C3%A9%3A1",
    "a+b%": "a%2Bb%25",
}


@accepts("RT-04")
@pytest.mark.parametrize(("client_id", "sent"), NAMES.items(), ids=NAMES)
def test_a_client_without_a_password_is_the_one_it_names(
    world: World, client_id: str, sent: str
) -> None:
    tokens = world.login(client_id=client_id)
    world.clock.forward(HOUR)
    answer = world.refresh(tokens.refresh_token, headers=[basic(sent)])
    assert answer.status == 200, answer.reason
    same = world.refresh(answer.json["refresh_token"], headers=[basic(sent)], client_id=client_id)
    assert same.status == 200
    assert world.revoke(tokens.refresh_token, headers=[basic(sent)]).status == 200
    assert not world.is_alive(tokens.grant_id)


@refuses("RT-04", "RT-18")
def test_another_client_gets_and_ends_nothing(world: World) -> None:
    tokens = world.login()
    answer = world.refresh(tokens.refresh_token, headers=[basic("another")])
    assert (answer.status, answer.json["error"], answer.reason) == (
        400,
        "invalid_grant",
        "client_mismatch",
    )
    assert world.revoke(tokens.refresh_token, headers=[basic("another")]).status == 200
    assert world.is_alive(tokens.grant_id)


@refuses("RT-03")
def test_two_clients_in_one_request_are_one_too_many(world: World) -> None:
    token = world.login().refresh_token
    for send in (world.refresh, world.revoke):
        answer = send(token, headers=[basic("first-party")], client_id="another")
        assert (answer.status, answer.json["error"]) == (400, "invalid_request")


BAD = {
    "a-password": basic("first-party", "secret"),
    "nobody": basic(""),
    "no-base64": ("Authorization", "Basic !!!"),
    "no-utf-8": ("Authorization", "Basic /w=="),
    "nothing": ("Authorization", "Basic"),
    "digest": ("Authorization", 'Digest username="x"'),
    "a-scheme-of-ones-own": ("Authorization", "first-party"),
}


@refuses("RT-03")
@pytest.mark.parametrize("field", BAD.values(), ids=BAD)
def test_authentication_is_nothing_that_is_done_here(world: World, field: tuple[str, str]) -> None:
    token = world.login().refresh_token
    for path, answer in (
        (REFRESH, world.refresh(token, headers=[field])),
        (REVOKE, world.revoke(token, headers=[field])),
    ):
        assert (answer.status, answer.json["error"]) == (401, "invalid_client"), path
        # For "Basic" a browser asks its user for a password.
        assert answer.header("www-authenticate") == 'Bearer realm="api"'
