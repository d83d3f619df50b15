"""RS-01 to RS-03 and RS-09: the token comes in one Authorization header, and in no other way."""

from collections.abc import Callable

import pytest
from flask import Flask
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route as Endpoint
from starlette.testclient import TestClient

from jwt_middleware import Route
from jwt_middleware.asgi import JWTMiddleware as ASGIMiddleware
from jwt_middleware.testing import TokenFactory
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware
from tests.rules import accepts, refuses
from tests.world import World, standing

FACTORY = TokenFactory(clock=standing)
GOOD = FACTORY.token()
WORLD = World(FACTORY.settings(routes=(Route("/optional", optional=True),)))
AUTHORIZATION = "Authorization"


@accepts("RS-01")
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
@pytest.mark.parametrize("gap", [" ", "  ", " " * 50], ids=len)
def test_the_scheme_has_any_case_and_one_space_or_more(scheme: str, gap: str) -> None:
    assert WORLD.get(headers=[(AUTHORIZATION, f"{scheme}{gap}{GOOD}")]).reached


@accepts("RS-01")
@pytest.mark.parametrize("space", [" ", "\t", " \t "], ids=repr)
def test_space_around_the_field_is_none_of_its_value(space: str) -> None:
    # RFC 9110 s5.5; most servers cut it off, not all.
    assert WORLD.get(headers=[(AUTHORIZATION, f"{space}Bearer {GOOD}{space}")]).reached


NO_TOKEN68 = {
    "nothing": "Bearer",
    "a-space": "Bearer ",
    "a-tab": "Bearer\t",
    "a-tab-before": f"Bearer\t{GOOD}",
    "space-and-tab-before": f"Bearer \t{GOOD}",
    "two-tokens": f"Bearer {GOOD} {GOOD}",
    "two-tokens-and-a-tab": f"Bearer {GOOD}\t{GOOD}",
    "a-parameter": f"Bearer {GOOD} realm=x",
    "a-semicolon": f"Bearer {GOOD};",
    "quotes": f'Bearer "{GOOD}"',
    "angle-brackets": f"Bearer <{GOOD}>",
    "a-name": f"Bearer token={GOOD}",
    "padding-inside": f"Bearer {GOOD}=x",
    "padding-only": "Bearer ===",
    "a-nul-behind": f"Bearer {GOOD}\0",
    "a-nul-before": f"Bearer \0{GOOD}",
    "crlf": f"Bearer {GOOD}\r\n",
    "a-newline": f"Bearer {GOOD}\n",
    "delete": f"Bearer {GOOD}\x7f",
    "latin-1": f"Bearer {GOOD}".encode() + b"\xe9",
    "utf-8": f"Bearer {GOOD}\N{EURO SIGN}",
    "no-break-space": f"Bearer \N{NO-BREAK SPACE}{GOOD}",
    "percent": "Bearer %2E%2E",
    "json": 'Bearer {"a":1}',
}


@refuses("RS-01")
@pytest.mark.parametrize("value", NO_TOKEN68.values(), ids=NO_TOKEN68.keys())
def test_what_is_no_token68_makes_a_bad_request(value: str | bytes) -> None:
    # An optional route takes a missing token, and no bad one.
    for path in ("/", "/optional"):
        answer = WORLD.get(path, headers=[(AUTHORIZATION, value)])
        assert (answer.status, answer.error, answer.reached) == (400, "invalid_request", False)


OTHER_SCHEMES = {
    "nothing": "",
    "no-scheme": GOOD,
    "jwt": f"JWT {GOOD}",
    "dpop": f"DPoP {GOOD}",
    "basic": "Basic YTpi",
    "colon": f"Bearer: {GOOD}",
    "equals-sign": f"Bearer={GOOD}",
    "longer": f"Bearers {GOOD}",
    "a-space-inside": f"Be arer {GOOD}",
    "no-break-space-behind": f"Bearer\N{NO-BREAK SPACE}{GOOD}",
    "no-break-space-before": f"\N{NO-BREAK SPACE}Bearer {GOOD}",
    "vertical-tab": f"Bearer\v{GOOD}",
}


@refuses("RS-01")
@pytest.mark.parametrize("value", OTHER_SCHEMES.values(), ids=OTHER_SCHEMES.keys())
def test_another_scheme_counts_as_no_credentials(value: str) -> None:
    answer = WORLD.get(headers=[(AUTHORIZATION, value)])
    assert (answer.status, answer.error, answer.reached) == (401, None, False)


@refuses("RS-01")
@pytest.mark.parametrize(
    "name", ["Proxy-Authorization", "X-Authorization", "X-Access-Token", "Sec-WebSocket-Protocol"]
)
def test_no_other_header_carries_a_token(name: str) -> None:
    assert WORLD.get(headers=[(name, f"Bearer {GOOD}")]).reason == "credentials_missing"
    assert WORLD.get("/optional", headers=[(name, f"Bearer {GOOD}")]).token is None


@accepts("RS-03")
def test_one_credential_beside_other_headers_is_one() -> None:
    others = [("Cookie", "theme=dark"), ("Accept", "text/html, */*"), ("Origin", "null")]
    assert WORLD.get(token=GOOD, headers=others).reached


BEARER = f"Bearer {GOOD}"
TWO = {
    "the-same-twice": (BEARER, BEARER),
    "three-times": (BEARER, BEARER, BEARER),
    "good-and-bad": (BEARER, "Bearer x"),
    "bad-and-good": ("Bearer x", BEARER),
    "bearer-and-basic": (BEARER, "Basic YTpi"),
    "basic-and-bearer": ("Basic YTpi", BEARER),
    "basic-and-lower-case": ("Basic YTpi", BEARER.lower()),
    "digest-and-bearer": ('Digest username="a", realm="b"', BEARER),
    "empty-and-bearer": ("", BEARER),
    "bearer-and-empty": (BEARER, ""),
    "in-one-line": (f"{BEARER}, {BEARER}",),
    "in-one-line-without-space": (f"{BEARER},{BEARER}",),
    "in-one-line-with-spaces": (f"{BEARER},   bearer {GOOD}",),
    "a-comma-behind": (f"{BEARER},",),
    "a-comma-before": (f"Bearer ,{GOOD}",),
    "empty-bearer-and-bearer": (f"Bearer, {BEARER}",),
}


@refuses("RS-03")
@pytest.mark.parametrize("values", TWO.values(), ids=TWO.keys())
def test_two_credentials_are_a_bad_request(values: tuple[str, ...]) -> None:
    for path in ("/", "/optional"):
        answer = WORLD.get(path, headers=[(AUTHORIZATION, value) for value in values])
        assert (answer.status, answer.error) == (400, "invalid_request")
        assert answer.reason == "credentials_twice"


Client = Callable[..., tuple[int, str | None]]


def flask_client(path: str, **options: object) -> tuple[int, str | None]:
    app = Flask(__name__)
    app.add_url_rule("/", view_func=lambda: "in", methods=["GET", "POST"])
    app.wsgi_app = WSGIMiddleware(app.wsgi_app, FACTORY.settings())  # type: ignore[method-assign]
    answer = app.test_client().open(path, **options)  # type: ignore[arg-type]
    return answer.status_code, answer.headers.get("www-authenticate")


def starlette_client(path: str, **options: object) -> tuple[int, str | None]:
    endpoint = Endpoint("/", lambda request: PlainTextResponse("in"), methods=["GET", "POST"])
    app = ASGIMiddleware(Starlette(routes=[endpoint]), FACTORY.settings())
    answer = TestClient(app).request(url=path, **options)  # type: ignore[arg-type]
    return answer.status_code, answer.headers.get("www-authenticate")


CLIENTS = pytest.mark.parametrize("client", [flask_client, starlette_client])
BARE = (401, 'Bearer realm="api"')  # no error code: nothing was recognised as credentials


@refuses("RS-02")
@CLIENTS
@pytest.mark.parametrize("name", ["access_token", "token", "authorization", "jwt", "bearer"])
def test_a_token_in_the_query_opens_nothing(client: Client, name: str) -> None:
    assert client(f"/?{name}={GOOD}", method="GET") == BARE
    assert client(f"/?{name}=Bearer%20{GOOD}", method="GET") == BARE


@accepts("RS-02")
@CLIENTS
def test_the_query_is_the_applications_own(client: Client) -> None:
    # What stands there is neither a second credential nor looked at.
    for query in (f"access_token={GOOD}", "access_token=bad", "token=a&token=b"):
        assert client(f"/?{query}", method="GET", headers=FACTORY.bearer())[0] == 200


@refuses("RS-02")
@CLIENTS
def test_a_token_in_a_form_opens_nothing(client: Client) -> None:
    # RFC 6750 s2.2 allows it; OAuth 2.1 s5.1 doesn't, and reading bodies isn't ours.
    assert client("/", method="POST", data={"access_token": GOOD}) == BARE


@refuses("RS-09")
@pytest.mark.parametrize("name", ["access_token", "__Host-access_token", "jwt", "Authorization"])
def test_a_token_in_a_cookie_opens_nothing(name: str) -> None:
    for cookie in (f"{name}={GOOD}", f'{name}="Bearer {GOOD}"', f"a=b; {name}={GOOD}"):
        answer = WORLD.get(headers=[("Cookie", cookie)])
        assert (answer.status, answer.error, answer.reached) == (401, None, False)
        assert WORLD.get("/optional", headers=[("Cookie", cookie)]).token is None


@accepts("RS-09")
def test_cookies_are_the_applications_own() -> None:
    assert WORLD.get(token=GOOD, headers=[("Cookie", f"access_token={GOOD}; a=b")]).reached
    # Nothing that we answer sets one, so that a browser never sends a token by itself.
    for answer in (WORLD.get(), WORLD.get(token=GOOD), WORLD.get(token="bad")):
        assert answer.header("set-cookie") is None
