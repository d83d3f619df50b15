"""Clients that other people wrote refresh here as their documentation says, and stay logged in.

A refresh within `settle` once brought no refresh token, which RFC 6749 s6 allows, and each of these
then lost the one it had. What each raises is its own, and differs.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple

import pytest

from tests.grant.test_rt_exchange import claims_of
from tests.libraries import SETTLE, Client, Site, install, served
from tests.rules import accepts

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("libraries")]


class Library(NamedTuple):
    """What is one library's own: how it fails, and what it does then."""

    language: str
    ended: str  # its error when the grant has ended
    asks: tuple[str, ...] = ("refresh_token",)  # the grant types that it tries then
    after_a_loss: str = "repeated"  # what becomes of its next try after a lost answer


# Two log in with the user's password when the grant has ended, and when an answer was lost, because
# they drop the refresh token before they send it.
PASSWORD = Library("python", "InvalidGrantRequest", ("refresh_token", "password"), "issued")

LIBRARIES = {
    "requests-oauth2client": Library("python", "InvalidGrant"),
    "httpx-auth": PASSWORD,
    "requests-auth": PASSWORD,
    "httpx-oauth": Library("python", "RefreshTokenError"),
    "aioauth-client": Library("python", "OAuthError"),
    "rauth": Library("python", "KeyError"),
    "openid-client": Library("npm", "ResponseBodyError"),
    "oauth4webapi": Library("npm", "ResponseBodyError"),
    "simple-oauth2": Library("npm", "Error"),
    "@fastify/oauth2": Library("npm", "Error"),
    "keycloak-js": Library("npm", "NetworkError"),
    "passport-oauth2-refresh": Library("npm", "Object"),
    "arctic": Library("npm", "OAuth2RequestError"),
    "axios-auth-refresh": Library("npm", "AxiosError"),
}


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    install()


@pytest.fixture
def site() -> Generator[Site]:
    with served() as one:
        yield one


@pytest.fixture(params=LIBRARIES)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def client(name: str, site: Site) -> Generator[Client]:
    """Give a client that is logged in."""
    with Client(LIBRARIES[name].language, name, site.url) as one:
        one.log_in(dict(site.issuer.issue("alice", client_id="web", scope="read")))
        site.forget()
        yield one


@accepts("RT-28")
def test_six_refreshes_in_a_row_within_settle(client: Client, site: Site) -> None:
    held = []
    for _ in range(6):
        site.clock.forward(SETTLE / 10)
        held.append(client.refresh())
        assert site.lets_in(held[-1])
    assert site.outcomes == ["kept"] * 6
    assert site.asked == ["refresh_token"] * 6
    assert len({one.access_token for one in held}) == 6
    assert len({one.refresh_token for one in held}) == 1


@accepts("RT-06")
def test_six_refreshes_in_a_row_beyond_settle(client: Client, site: Site) -> None:
    for _ in range(6):
        site.clock.forward(SETTLE + 1)
        assert site.lets_in(client.refresh())
    assert site.outcomes == ["rotated"] * 6
    assert site.asked == ["refresh_token"] * 6


@accepts("RT-12")
def test_a_lost_answer_is_asked_for_again(name: str, client: Client, site: Site) -> None:
    site.clock.forward(SETTLE + 1)
    site.loses_an_answer = True
    client.fails()
    assert site.outcomes == ["rotated"]
    for seconds in (1, 1, SETTLE + 1, 1):
        site.clock.forward(seconds)
        assert site.lets_in(client.refresh())
    after = LIBRARIES[name].after_a_loss
    assert site.outcomes == ["rotated", after, "kept", "rotated", "kept"]


def test_an_ended_grant_is_its_own_error(name: str, client: Client, site: Site) -> None:
    held = client.refresh()
    site.issuer.revoke(claims_of(held.access_token)["sid"])
    site.is_known = False
    site.forget()
    assert client.fails() == LIBRARIES[name].ended
    assert site.asked == list(LIBRARIES[name].asks)
