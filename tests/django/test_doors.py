"""Django's door answers what the WSGI and the ASGI middleware answer."""

import asyncio
from http.cookies import SimpleCookie
from io import BytesIO
from typing import Any
from urllib.parse import unquote

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.test import override_settings

from jwt_middleware import Cookies, Issuer, Refresh, Resource, Route, Settings
from jwt_middleware.testing.attack import Attack
from jwt_middleware.wsgi import JWTMiddleware as WSGIMiddleware
from tests.django.asking import bearer, both
from tests.django.project import JWT, OURS
from tests.rules import refuses
from tests.world import Raw, Sent, by_asgi, by_wsgi
from tests.wrapped import FACTORY

SETTINGS = JWT.replace(
    routes=(Route("/open", public=True), Route("/admin/*", scope="admin")),
    refresh=Refresh(store="memory://", cookies=Cookies(access=True)),
    resource=Resource(identifier="https://api.example"),
    origins=("https://app.example",),
)
FORM = "application/x-www-form-urlencoded"
PREFLIGHT = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
PAGE = {"X-Requested-With": "fetch", "Origin": JWT.issuer}


def plain(sent: Sent) -> Raw:
    """Send a request to our WSGI middleware."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"application"]

    return by_wsgi(WSGIMiddleware(app, SETTINGS), sent)


def through(
    kind: str, sent: Sent, settings: Settings = SETTINGS, more: dict[str, Any] | None = None
) -> Raw:
    """Send a request to Django, as a server does; `more` goes into the scope or environment."""
    with override_settings(JWT_MIDDLEWARE=settings, MIDDLEWARE=[OURS]):
        if kind == "wsgi":
            return by_wsgi(WSGIHandler(), sent, **(more or {}))
        return asyncio.run(_by_asgi(sent, more or {}))


async def _by_asgi(sent: Sent, more: dict[str, Any]) -> Raw:
    messages = iter([{"type": "http.request", "body": sent.body}])

    async def receive() -> Any:
        for message in messages:
            return message
        return await asyncio.Event().wait()  # the client stays

    return await by_asgi(ASGIHandler(), sent, receive, **more)


def request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Sent:
    if body:
        headers = {"Content-Type": FORM, "Content-Length": str(len(body)), **headers}
    return Sent(method, path, [(name, value.encode()) for name, value in headers.items()], body)


@both
@pytest.mark.parametrize(
    ("method", "path", "headers", "body"),
    [
        ("GET", "/me", {}, b""),
        ("HEAD", "/me", {}, b""),
        ("GET", "/me", {"Authorization": "Bearer"}, b""),
        ("GET", "/me", {"Authorization": "Bearer a.b.c"}, b""),
        ("GET", "/me", bearer(1, exp=0), b""),
        ("GET", "/admin/x", bearer(1), b""),
        ("GET", "/admin//x", bearer(1), b""),
        ("POST", "/me", {"Origin": "https://app.example"}, b"a body that nobody reads"),
        ("OPTIONS", "/auth/refresh", PREFLIGHT, b""),
        ("OPTIONS", "/auth/refresh", {}, b""),
        ("GET", "/auth/refresh", {}, b""),
        ("POST", "/auth/refresh", {}, b"grant_type=refresh_token&refresh_token=x"),
        ("POST", "/auth/refresh", {}, b"x" * 17_000),
        ("POST", "/auth/revoke", {}, b"token=x"),
        ("GET", "/.well-known/jwks.json", {}, b""),
        ("HEAD", "/.well-known/jwks.json", {}, b""),
        ("GET", "/.well-known/oauth-protected-resource", {}, b""),
    ],
)
def test_an_answer_of_ours_is_the_same(
    kind: str, method: str, path: str, headers: dict[str, str], body: bytes
) -> None:
    sent = request(method, path, headers, body)
    status, wanted, octets = plain(sent)
    got, found, text = through(kind, sent)
    assert (got, text) == (status, octets)
    assert sorted((one.lower(), value) for one, value in found) == sorted(wanted)


@both
def test_cookies_are_set_and_cleared_in_the_same_way(kind: str) -> None:
    issuer, seen = Issuer(SETTINGS), []
    for send in (plain, lambda sent: through(kind, sent)):
        tokens = issuer.issue("7")
        jar = "; ".join(value.partition(";")[0] for _, value in tokens.cookies)
        for path in ("/auth/refresh", "/auth/revoke"):
            status, found, _ = send(request("POST", path, {**PAGE, "Cookie": jar}, b" "))
            texts = [value.strip() for name, value in found if name.lower() == "set-cookie"]
            assert status == 200
            assert texts
            assert all('=""' not in one for one in texts)  # some clients would keep such a value
            seen.append(sorted(map(attributes, texts)))
    assert seen[:2] == seen[2:]


def attributes(text: str) -> tuple[str, bool, list[tuple[str, Any]]]:
    """Return a Set-Cookie field without what every login has of its own."""
    ((_, one),) = SimpleCookie(text).items()
    return (
        one.key[:-8],
        bool(one.value),
        sorted(
            # An access token's life differs from login to login.
            (name, of != "0" if name == "max-age" else str(of))
            for name, of in one.items()
        ),
    )


@pytest.mark.parametrize("joined", [[b"a=1; ", b"b=2"], [b"b=2; ", b"a=1"]])
def test_cookies_in_several_fields_are_all_read(joined: list[bytes]) -> None:
    # As HTTP/2 has them (RFC 9113 s8.2.3). Before 6.0 Django joins them by a comma.
    tokens = Issuer(SETTINGS).issue("7")
    jar = [value.partition(";")[0].encode() for _, value in tokens.cookies]
    headers = [("Cookie", one) for one in (joined[0], *jar, joined[1])]
    headers += [(name, value.encode()) for name, value in PAGE.items()]
    status, _, body = through("asgi", Sent("POST", "/auth/refresh", headers))
    assert status == 200, body


@both
def test_what_came_in_under_our_names_is_not_ours(kind: str) -> None:
    for door in ("forged", None):
        more = {"jwt_middleware.door": door, "jwt_middleware.token": "forged"}
        assert through(kind, request("GET", "/me", {}), more=more)[0] == 401
        status, _, body = through(kind, request("GET", "/me", bearer("alice")), more=more)
        assert status == 200
        assert b'"subject": "alice"' in body


@both
def test_a_body_of_unknown_length_is_read_where_it_has_an_end(kind: str) -> None:
    sent = request("POST", "/auth/refresh", {"Content-Type": FORM}, b"")
    body = b"grant_type=refresh_token&refresh_token=x"
    status, _, answer = through(kind, Sent("POST", sent.path, sent.headers, body))
    # Django reads no such body under WSGI: it takes the length for 0.
    named = b"invalid_grant" if kind == "asgi" else b"invalid_request"
    assert (status, named in answer) == (400, True), answer


def test_a_refused_body_is_read_to_its_end() -> None:
    body = BytesIO(b"x" * 5000)
    sent = request("POST", "/me", {"Content-Length": "5000"})
    status, *_ = through("wsgi", sent, more={"wsgi.input": body})
    assert (status, body.tell()) == (401, 5000)


@both
@pytest.mark.parametrize("attack", FACTORY.attacks(), ids=str)
def test_every_attack_is_refused(kind: str, attack: Attack) -> None:
    settings = FACTORY.settings(routes=(Route("/open", public=True),))
    headers = [(name, value.encode("latin-1")) for name, value in attack.headers]
    assert through(kind, Sent("GET", "/me", headers), settings)[0] in attack.statuses


PAGES = FACTORY.settings(
    login_url="/login",
    routes=(Route("/login", public=True, own_origin=True),),
    refresh=Refresh(store="memory://", sessions=True, cookies=Cookies(access=True, forms=True)),
)
BOBS = Issuer(PAGES).issue("bob").grant_id
OF_PAGES = [
    one for one in FACTORY.attacks(PAGES, grant_id=BOBS) if one.path or one.rule.startswith("RT")
]


@both
@pytest.mark.parametrize("attack", OF_PAGES, ids=str)
@refuses("RT-20", "RT-27", "RT-31", "RT-32")
def test_every_attack_on_pages_and_logins_is_refused(kind: str, attack: Attack) -> None:
    path, _, query = (attack.path or "/me").partition("?")
    headers = [(name, value.encode("latin-1")) for name, value in attack.headers]
    sent = Sent(attack.method, unquote(path), headers, query=query)
    status, fields, _ = through(kind, sent, PAGES)
    assert status in attack.statuses
    assert {"set-cookie", "location"}.isdisjoint(name.lower() for name, _ in fields)
    assert len(Issuer(PAGES).grants("bob")) == 1
