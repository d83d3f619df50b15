"""Where an issuer's keys are, from its name alone: OpenID Connect Discovery, then RFC 8414."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from jwt_middleware import KeySet
from jwt_middleware.keys import Fetched
from jwt_middleware.keys.key_sources import metadata_urls
from jwt_middleware.keys.remote import DISCOVERY_AGE
from jwt_middleware.values.errors import KeysUnavailable
from jwt_middleware.values.events import KeysFailed
from tests.issuing import HOUR, Clock
from tests.keyserver import KeyServer, Play, answer, document, hang, key_set
from tests.keyserver.site import DOORS, Author, Site, settle
from tests.rules import accepts, refuses

OIDC, OAUTH = "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def discovering(door: str, author: Author, **more: Any) -> Site:
    return Site(door, author.settings(KeySet.remote(**more)))


def why_not(site: Site, author: Author) -> str:
    """Return what the operator is told, where the client gets a 503."""
    assert not site.served(author.token())
    settle()
    (failed,) = site.told
    assert isinstance(failed, KeysFailed)
    return failed.detail


@pytest.mark.parametrize(
    ("issuer", "first", "second"),
    [
        ("https://login.example", OIDC, OAUTH),
        ("https://login.example/", OIDC, OAUTH),
        ("https://login.example/realms/staff", f"/realms/staff{OIDC}", f"{OAUTH}/realms/staff"),
        ("https://login.example/a/b/", f"/a/b{OIDC}", f"{OAUTH}/a/b"),
    ],
)
def test_metadata_is_where_the_standards_say(issuer: str, first: str, second: str) -> None:
    host = "https://login.example"
    assert metadata_urls(issuer) == (host + first, host + second)


@accepts("RS-72")
@pytest.mark.parametrize("path", ["", "/realms/staff", "/tenant/"])
@pytest.mark.parametrize("kind", ["OpenID Connect", "RFC 8414"])
def test_the_keys_are_found_from_the_issuer_alone(
    kind: str, path: str, door: str, server: KeyServer, clock: Clock
) -> None:
    issuer = server.base + path
    author = Author(issuer, clock)
    server.publish(key_set(author.keys))
    first, second = (url.removeprefix(server.base) for url in metadata_urls(issuer))
    server.describe(first if kind == "OpenID Connect" else second, issuer=issuer)
    site = discovering(door, author)
    assert site.served(author.token())
    tried = [first] if kind == "OpenID Connect" else [first, second]
    assert server.fetches == [*tried, "/jwks"]


@pytest.mark.parametrize(
    "play",
    [
        answer("", status=500),
        answer("", "Location: /jwks", status=302),
        answer("<!doctype html><p>One page for all paths"),
        document({"issuer": "https://another.example", "jwks_uri": "https://another.example/jwks"}),
        document([]),
    ],
)
def test_what_is_no_metadata_in_one_place_is_looked_for_in_the_other(
    play: Play, door: str, server: KeyServer, clock: Clock
) -> None:
    author = Author(server.base, clock)
    server.publish(key_set(author.keys))
    server.pages[OIDC] = play
    server.describe(OAUTH)
    assert discovering(door, author).served(author.token())
    assert server.fetches == [OIDC, OAUTH, "/jwks"]


def test_who_does_not_answer_in_one_place_is_not_asked_in_the_other(
    door: str, server: KeyServer, clock: Clock
) -> None:
    author = Author(server.base, clock)
    server.pages[OIDC] = hang
    server.describe(OAUTH)
    site = discovering(door, author, timeout=0.5)
    assert "openid-configuration doesn't answer in 0.5 s" in why_not(site, author)
    assert server.fetches == [OIDC]


@refuses("RS-72")
@pytest.mark.parametrize(
    "other",
    [
        lambda issuer: issuer + "/",
        lambda issuer: issuer.upper(),
        lambda issuer: issuer.replace("http:", "https:"),
        lambda issuer: issuer.replace("http", "HTTP"),
        lambda issuer: issuer + "/realms/staff",
        lambda issuer: f" {issuer}",
        lambda issuer: issuer + "\u200b",
        lambda issuer: issuer + "?",
        lambda issuer: "",
        lambda issuer: None,
        lambda issuer: [issuer],
        lambda issuer: {"issuer": issuer},
        lambda issuer: 5,
    ],
)
def test_metadata_of_another_issuer_is_not_used(
    other: Callable[[str], Any], door: str, server: KeyServer, clock: Clock
) -> None:
    author = Author(server.base, clock)
    server.publish(key_set(author.keys))
    for path in (OIDC, OAUTH):
        server.describe(path, issuer=other(server.base))
    detail = why_not(discovering(door, author), author)
    assert detail.count("its issuer is not the configured one") == 2
    assert server.count == 0


@refuses("RS-72")
def test_a_slash_at_the_end_is_another_issuer(door: str, server: KeyServer, clock: Clock) -> None:
    author = Author(f"{server.base}/", clock)
    server.publish(key_set(author.keys))
    for path in (OIDC, OAUTH):
        server.describe(path)
    assert "its issuer is not the configured one" in why_not(discovering(door, author), author)


@refuses("RS-72")
@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        (None, "is no absolute URL"),
        (5, "is no absolute URL"),
        (["https://keys.example/set"], "is no absolute URL"),
        ("", "is no absolute URL"),
        ("/jwks", "is no absolute URL"),
        ("//keys.example/set", "is no absolute URL"),
        ("file:///etc/keys.json", "is no absolute URL"),
        ("ftp://keys.example/set", "is no absolute URL"),
        ('data:application/json,{"keys":[]}', "is no absolute URL"),
        ("https://alice:secret@keys.example/set", "is no absolute URL"),
        ("https://keys.example/set#1", "is no absolute URL"),
        ("http://keys.example/set", "is not https"),
        ("https://keys.example:99999/", "is no URL"),
    ],
)
def test_a_key_set_that_lies_nowhere_is_not_fetched(
    uri: Any, problem: str, door: str, server: KeyServer, clock: Clock
) -> None:
    author = Author(server.base, clock)
    for path in (OIDC, OAUTH):
        server.describe(path, jwks_uri=uri)
    detail = why_not(discovering(door, author), author)
    assert f"jwks_uri {problem}" in detail
    assert "secret" not in detail
    assert server.fetches == [OIDC, OAUTH]


@refuses("RS-72")
def test_a_key_set_without_a_place_is_not_fetched(
    door: str, server: KeyServer, clock: Clock
) -> None:
    author = Author(server.base, clock)
    server.pages[OIDC] = document({"issuer": server.base})
    assert "jwks_uri is no absolute URL" in why_not(discovering(door, author), author)


@refuses("RS-72")
@pytest.mark.parametrize("host", ["10.0.0.1", "[fd00::1]", "169.254.169.254"])
def test_metadata_leads_to_no_private_address(
    host: str, door: str, server: KeyServer, clock: Clock
) -> None:
    author = Author(server.base, clock)
    server.describe(jwks_uri=f"https://{host}:9/jwks")
    assert "address" in why_not(discovering(door, author), author)


class Web:
    """A fetcher for whom everything is where it is said to be."""

    def __init__(self, **pages: Any) -> None:
        self.pages = pages
        self.asked: list[str] = []

    def fetch(self, url: str, *, timeout: float, limit: int) -> Fetched:
        self.asked.append(url)
        if url not in self.pages:
            raise KeysUnavailable(f"{url} is nowhere")
        return Fetched(200, json.dumps(self.pages[url]).encode())


@refuses("RS-72")
@pytest.mark.parametrize(
    "uri", ["http://localhost:8080/jwks", "https://127.0.0.1/jwks", "http://[::1]/jwks"]
)
def test_who_answers_from_outside_leads_nobody_to_this_machine(
    uri: str, door: str, clock: Clock
) -> None:
    author = Author("https://login.example", clock)
    metadata = {"issuer": "https://login.example", "jwks_uri": uri}
    web = Web(**{f"https://login.example{path}": metadata for path in (OIDC, OAUTH)})
    detail = why_not(discovering(door, author, fetcher=web), author)
    assert "jwks_uri leads to this machine" in detail
    assert uri not in web.asked


def test_a_place_is_found_anew_once_a_day_and_after_a_failure(
    door: str, server: KeyServer, clock: Clock
) -> None:
    author = Author(server.base, clock)
    token = author.token(exp=int(clock()) + 3 * int(DISCOVERY_AGE))
    server.publish(key_set(author.keys))
    server.describe()
    site = discovering(door, author, lifetime=3600)
    for _ in range(23):
        assert site.served(token)
        settle()
        clock.forward(HOUR)
    assert server.fetches.count(OIDC) == 1
    assert server.count == 23
    clock.forward(HOUR)
    assert site.served(token)
    settle()
    assert server.fetches.count(OIDC) == 2
    # The issuer moves its keys: the old place is empty, and the metadata knows the new one.
    del server.pages["/jwks"]
    server.describe(jwks_uri=f"{server.base}/moved")
    server.pages["/moved"] = key_set(author.keys)
    clock.forward(HOUR)
    assert site.served(token)
    settle()
    assert server.fetches[-1] == "/jwks"
    clock.forward(1.01)
    assert site.served(token)
    settle()
    assert server.fetches[-2:] == [OIDC, "/moved"]
