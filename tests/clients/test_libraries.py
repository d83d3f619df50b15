"""Clients that other people wrote refresh here as their documentation says, and stay logged in.

A refresh within `settle` once brought no refresh token, which RFC 6749 s6 allows, and each of these
then lost the one it had. What each raises is its own, and differs.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.grant.test_rt_exchange import claims_of
from tests.libraries import SETTLE, Client, Site, install, served, version_of
from tests.rules import accepts

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("libraries")]


class Library(NamedTuple):
    """What is one library's own: how it fails, and what it does then."""

    language: str
    ended: str  # its error when the grant has ended
    away: str  # its error when we answer 503
    asks: tuple[str, ...] = ("refresh_token",)  # the grant types that it tries then
    tries: int = 1  # how often it asks by itself at 503
    after_a_loss: str = "repeated"  # what becomes of its next try after a lost answer
    adopts: bool = True  # the new refresh token of an answer; else it sends the first one for ever


# Two log in with the user's password when the grant has ended, and when an answer was lost, because
# they drop the refresh token before they send it.
PASSWORD = Library(
    "python",
    ended="InvalidGrantRequest",
    away="InvalidGrantRequest",
    asks=("refresh_token", "password"),
    after_a_loss="issued",
)

LIBRARIES = {
    "requests-oauth2client": Library("python", "InvalidGrant", "UnknownTokenEndpointError"),
    "httpx-auth": PASSWORD,
    "requests-auth": PASSWORD,
    "httpx-oauth": Library("python", "RefreshTokenError", "RefreshTokenError"),
    "aioauth-client": Library("python", "OAuthError", "OAuthError"),
    "rauth": Library("python", "KeyError", "KeyError"),
    "requests-oauthlib": Library("python", "InvalidGrantError", "TemporarilyUnavailableError"),
    "aiohttp-oauthlib": Library("python", "InvalidGrantError", "TemporarilyUnavailableError"),
    "Authlib": Library("python", "OAuthError", "HTTPError"),
    "google-auth": Library("python", "RefreshError", "RefreshError", tries=3),
    "social-auth-core": Library("python", "AuthCredentialError", "AuthProviderError"),
    "oauth2-client": Library("python", "OAuthError", "OAuthError"),
    "openid-client": Library("npm", "ResponseBodyError", "ClientError"),
    "oauth4webapi": Library("npm", "ResponseBodyError", "OperationProcessingError"),
    "simple-oauth2": Library("npm", "Error", "Error"),
    "@fastify/oauth2": Library("npm", "Error", "Error"),
    "keycloak-js": Library("npm", "NetworkError", "NetworkError"),
    "passport-oauth2-refresh": Library("npm", "Object", "Object"),
    "arctic": Library("npm", "OAuth2RequestError", "UnexpectedResponseError"),
    "axios-auth-refresh": Library("npm", "AxiosError", "AxiosError"),
    "@badgateway/oauth2-client": Library("npm", "OAuth2HttpError", "OAuth2HttpError"),
    "client-oauth2": Library("npm", "Error", "Error"),
    "google-auth-library": Library("npm", "GaxiosError", "GaxiosError", tries=4, adopts=False),
    "@bity/oauth2-auth-code-pkce": Library(
        "npm", "ErrorInvalidGrant", "ErrorTemporarilyUnavailable"
    ),
    "@modelcontextprotocol/sdk": Library("npm", "InvalidGrantError", "TemporarilyUnavailableError"),
    "oidc-client-ts": Library("npm", "ErrorResponse", "ErrorResponse"),
}


DOCS = Path(__file__).parent.parent.parent / "docs"
# The first table of the page, each row as its cells; and the one of the other page.
PAGE = (DOCS / "refresh.md").read_text("utf-8")
SECTION = PAGE[PAGE.index("#### Client libraries") :].partition("These ran against it once")[0]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in SECTION.splitlines()
    if line.startswith("| ")
]
METADATA = (DOCS / "metadata.md").read_text("utf-8").partition("### Libraries that look for")[2]


def version_in(name: str) -> re.Pattern[str]:
    """Return what finds a library with its version in a cell."""
    return re.compile(rf"(?:^|[ ,]){re.escape(name)} (\d[\w.]*)")


def row_of(name: str) -> list[str]:
    return next(one for one in ROWS if version_in(name).search(one[0]))


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
def test_six_refreshes_in_a_row_beyond_settle(name: str, client: Client, site: Site) -> None:
    for _ in range(6):
        site.clock.forward(SETTLE + 1)
        assert site.lets_in(client.refresh())
    later = "rotated" if LIBRARIES[name].adopts else "repeated"
    assert site.outcomes == ["rotated", *[later] * 5]
    assert site.asked == ["refresh_token"] * 6


@accepts("RT-12")
def test_a_lost_answer_is_asked_for_again(name: str, client: Client, site: Site) -> None:
    library = LIBRARIES[name]
    site.clock.forward(SETTLE + 1)
    site.loses_an_answer = True
    if not library.adopts:  # it asks again by itself, too
        assert site.lets_in(client.refresh())
        assert site.outcomes == ["rotated", "repeated"]
        return
    error = client.fails()
    assert error in ("Error", "Object") or f"`{error}`" in row_of(name)[2]
    assert site.outcomes == ["rotated"]
    for seconds in (1, 1, SETTLE + 1, 1):
        site.clock.forward(seconds)
        assert site.lets_in(client.refresh())
    assert site.outcomes == ["rotated", library.after_a_loss, "kept", "rotated", "kept"]


@accepts("RT-12")
def test_a_store_that_was_away_logs_nobody_out(name: str, client: Client, site: Site) -> None:
    library = LIBRARIES[name]
    site.clock.forward(SETTLE + 1)
    site.is_away = True
    assert client.fails() == library.away
    assert site.asked == [*library.asks] * library.tries
    site.is_away = False
    assert site.lets_in(client.refresh())


def test_an_ended_grant_is_its_own_error(name: str, client: Client, site: Site) -> None:
    held = client.refresh()
    site.issuer.revoke(claims_of(held.access_token)["sid"])
    site.is_known = False
    site.forget()
    assert client.fails() == LIBRARIES[name].ended
    assert site.asked == list(LIBRARIES[name].asks)


def test_the_pages_say_it_of_this_version(name: str) -> None:
    library = LIBRARIES[name]
    named, row = version_in(name), row_of(name)
    version = version_of(library.language, name)
    assert named.findall(row[0]) == [version]
    assert set(named.findall(METADATA)) <= {version}
    for error, cell in ((library.away, row[3]), (library.ended, row[4])):
        assert error in ("Error", "Object") or f"`{error}`" in cell
    assert ("**tries again by itself**" in row[3]) == (library.tries > 1)
