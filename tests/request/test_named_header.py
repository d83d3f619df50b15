"""RS-66: a token in the header of a gateway, only where that is configured, and alone."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64encode
from typing import Any

import pytest

from jwt_middleware import ConfigurationError, Cookies, Refresh, Route, TokenCache
from jwt_middleware.jose.jws import MAX_TOKEN
from jwt_middleware.process.runtime import Runtime
from jwt_middleware.testing import TokenFactory
from jwt_middleware.values.events import Refused
from tests.rules import accepts, refuses
from tests.world import World, shake_hands, standing

FACTORY = TokenFactory(clock=standing)
GOOD, OTHER = FACTORY.token(), FACTORY.token(sub="bob")
NAME = "Cf-Access-Jwt-Assertion"
ROUTES = (Route("/open", public=True), Route("/optional", optional=True))


def made(**more: Any) -> World:
    return World(FACTORY.settings(routes=ROUTES, credentials_header=NAME, **more))


WORLD = made()


@accepts("RS-66")
@pytest.mark.parametrize("entries", [4096, 0])
@pytest.mark.parametrize("name", [NAME, NAME.lower(), NAME.upper()])
def test_the_token_comes_alone_in_the_named_header(name: str, entries: int) -> None:
    world = made(token_cache=TokenCache(entries=entries))
    for value in (GOOD, f" {GOOD}\t"):
        for _ in range(2):  # new, and known
            answer = world.get(headers=[(name, value)])
            assert answer.reached
            assert answer.token is not None
            assert answer.token.subject == "alice"


@accepts("RS-66", "RS-01")
def test_a_token_in_authorization_is_taken_as_always() -> None:
    for _ in range(2):
        assert WORLD.get(token=GOOD).reached
        assert WORLD.get(token=GOOD, headers=[(NAME, "")]).reached


@refuses("RS-66", "RS-03")
@pytest.mark.parametrize(
    "authorization", [f"Bearer {GOOD}", f"Bearer {OTHER}", "Bearer x", "Basic eDp5", "DPoP x", ""]
)
@pytest.mark.parametrize("known", [False, True])
def test_it_never_comes_beside_authorization(authorization: str, known: bool) -> None:
    world = made()
    if known:
        assert world.get(token=GOOD).reached
        assert world.get(headers=[(NAME, GOOD)]).reached
    headers = [(NAME, GOOD), ("Authorization", authorization)]
    for path in ("/", "/optional"):
        for sent in (headers, headers[::-1]):
            answer = world.get(path, headers=sent)
            assert (answer.status, answer.error, answer.reached) == (400, "invalid_request", False)
            assert answer.reason == "credentials_twice"
    assert world.get("/open", headers=headers).reached, "a public route reads no credentials"


@refuses("RS-66", "RS-03")
def test_it_comes_once() -> None:
    for headers in (
        [(NAME, GOOD), (NAME, GOOD)],
        [(NAME, GOOD), (NAME, OTHER)],
        [(NAME, f"{GOOD}, {GOOD}")],
        [(NAME, f"{GOOD},")],
    ):
        answer = WORLD.get(headers=headers)
        assert (answer.status, answer.reason) == (400, "credentials_twice")


@refuses("RS-66")
@pytest.mark.parametrize("name", [NAME, "X-Goog-IAP-JWT-Assertion", "X-Amzn-Oidc-Data"])
def test_without_the_setting_no_other_header_is_read(name: str) -> None:
    world = World(FACTORY.settings(routes=ROUTES))
    assert world.get(headers=[(name, GOOD)]).status == 401
    assert world.get("/optional", headers=[(name, "nonsense")]).reached
    assert world.get(token=GOOD, headers=[(name, OTHER)]).reached
    assert made().get(headers=[("X-Other", GOOD)]).status == 401


@refuses("RS-66", "RS-01")
@pytest.mark.parametrize(
    "value",
    [
        f"Bearer {GOOD}",
        f"{GOOD} {GOOD}",
        f'"{GOOD}"',
        f"{GOOD}\0",
        f"{GOOD}\N{EURO SIGN}",
        GOOD.encode() + b"\xe9",
        "===",
        '{"a":1}',
    ],
)
def test_what_is_no_token_alone_is_a_bad_request(value: str | bytes) -> None:
    for path in ("/", "/optional"):
        answer = WORLD.get(path, headers=[(NAME, value)])
        assert (answer.status, answer.error, answer.reached) == (400, "invalid_request", False)
        assert answer.reason == "credentials_malformed"


@refuses("RS-66", "RS-10", "RS-11")
def test_a_padded_token_is_refused_with_the_reason() -> None:
    """AWS's load balancer signs the padded text, which has other texts with the same meaning."""
    header, claims, signature = GOOD.split(".")
    parts = [
        urlsafe_b64encode(octets).decode()
        for octets in (b'{"alg":"ES256","kid":"1"}', claims.encode()[:40], signature.encode()[:64])
    ]
    assert "=" in parts[0]
    answer = WORLD.get(headers=[(NAME, ".".join(parts))])
    refused = [one for one in answer.events if isinstance(one, Refused)]
    assert (answer.status, answer.reason) == (400, "credentials_malformed")
    assert {one.detail for one in refused} == {"its base64url is padded (RFC 7515 s2)"}
    assert header not in repr(refused)


@refuses("RS-66")
def test_a_bad_token_is_refused_as_in_authorization() -> None:
    for value, reason in (
        ("opaque", "token_segments"),
        (GOOD[:-4] + "AAAA", "signature_invalid"),
        (FACTORY.token(exp=standing() - 99), "expired"),
        ("x" * (MAX_TOKEN + 1), "token_too_long"),
    ):
        by_name = WORLD.get(headers=[(NAME, value)])
        by_scheme = WORLD.get(token=value)
        assert by_name.reason == by_scheme.reason == reason
        assert (by_name.status, by_name.body) == (by_scheme.status, by_scheme.body)


@accepts("RS-66")
def test_a_websocket_brings_it_too() -> None:
    reached = asyncio.run(shake_hands(WORLD.asgi, "/", [(NAME, GOOD)]))
    assert reached["type"] == "http.response.start", "which is what this application says"
    both = [(NAME, GOOD), ("Authorization", f"Bearer {GOOD}")]
    refused = asyncio.run(shake_hands(WORLD.asgi, "/", both))
    assert (refused["type"], refused["status"]) == ("websocket.http.response.start", 400)


@refuses("RS-66", "RS-03")
def test_it_never_comes_beside_an_access_cookie() -> None:
    refresh = Refresh(store="memory://", cookies=Cookies(access=True))
    world = made(refresh=refresh, issuer=FACTORY.issuer)
    assert world.get(headers=[(NAME, GOOD)]).reached
    cookie = f"__Host-access_token-12345678={GOOD}"
    answer = world.get(headers=[(NAME, GOOD), ("Cookie", cookie)])
    assert (answer.status, answer.reason) == (400, "credentials_twice")


def test_the_warm_path_is_as_ever_without_the_setting() -> None:
    """And with it `Authorization` alone decides about nothing, because the other may have come."""
    plain = Runtime.of(World(FACTORY.settings()).settings)
    for asynchronous in (False, True):
        assert plain.core(asynchronous=asynchronous).warm("GET", "/", b"Bearer x") is None
        named = Runtime.of(WORLD.settings).core(asynchronous=asynchronous)
        assert WORLD.get(token=GOOD).reached
        assert named.warm("GET", "/", f"Bearer {GOOD}") is None
        assert named.warm("GET", "/", f"Bearer {GOOD}".encode()) is None


@pytest.mark.parametrize(
    "name",
    [
        *("Authorization", "authorization", "Proxy-Authorization", "Cookie", "Host", "DPoP"),
        *("Content-Type", "Sec-WebSocket-Protocol", "Connection", "Origin", "Transfer-Encoding"),
        *("X_Token", "X Token", "X-Token:", "", "é", "1-Token", 5, None, b"X-Token"),
    ],
)
def test_a_name_that_means_something_else_is_refused(name: Any) -> None:
    if name == "":
        assert FACTORY.settings(credentials_header="").credentials_header == ""
        return
    with pytest.raises(ConfigurationError) as refused:
        FACTORY.settings(credentials_header=name)
    assert refused.value.field == "credentials_header"
    assert refused.value.remedy
