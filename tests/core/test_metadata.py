"""RS-07, RS-70, RS-71: the metadata of the resource and of the issuer, and the way to them."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from jwt_middleware import (
    ConfigurationError,
    Cookies,
    KeySet,
    Refresh,
    Resource,
    Route,
    Settings,
    TrustedIssuer,
)
from jwt_middleware.testing import TokenFactory
from tests.issuing import DOORS, JSON, KEYS, opened
from tests.rules import accepts, refuses
from tests.world import Answer, Sent, World, by_asgi, by_wsgi, shake_hands, standing

API = "https://api.example"
PREFIX = "/.well-known/oauth-protected-resource"
ISSUER_PATH = "/.well-known/oauth-authorization-server"
FACTORY = TokenFactory(audience=API, clock=standing)
ROUTES = (
    Route("/open", public=True),
    Route("/write", scope="write"),
    Route("/strong", acr_values=("mfa",)),
)


def world(identifier: str = API, *, settings: dict[str, Any] | None = None, **group: Any) -> World:
    resource = Resource(identifier=identifier, **group)
    given: dict[str, Any] = {"audience": identifier, "resource": resource, "routes": ROUTES}
    return World(FACTORY.settings(**given | (settings or {})))


WORLD = world()


def told(answer: Answer) -> str | None:
    """Return where a challenge says that the metadata is."""
    found = re.findall(r'\bresource_metadata="([^"]*)"', answer.challenge)
    assert len(found) <= 1
    return found[0] if found else None


def cors(answer: Answer) -> dict[str, str]:
    return {
        name.removeprefix("access-control-"): value
        for name, value in answer.headers
        if name.startswith("access-control-")
    }


# --- the challenge


@accepts("RS-07")
@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", (), 401),
        ("/", (("Authorization", "Basic YTpi"),), 401),
        ("/", (("Authorization", "Bearer bad"),), 401),
        ("/", (("Authorization", "Bearer"),), 400),
        ("/write", FACTORY.bearer(aud=API).items(), 403),
        ("/strong", FACTORY.bearer(aud=API).items(), 401),
        ("//write", (), 400),
    ],
)
def test_every_challenge_names_the_metadata(path: str, headers: Any, status: int) -> None:
    answer = WORLD.get(path, headers=headers)
    assert answer.status == status
    assert told(answer) == API + PREFIX
    assert answer.challenge.startswith(f'Bearer realm="api", resource_metadata="{API}{PREFIX}"')
    if path == "/" and answer.status == 401 and answer.reason == "credentials_missing":
        assert "error" not in answer.challenge


@refuses("RS-07")
@pytest.mark.parametrize(
    "header",
    [
        ("Host", "evil.example"),
        ("X-Forwarded-Host", "evil.example"),
        ("Forwarded", "host=evil.example;proto=http"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Prefix", "/evil"),
    ],
)
def test_no_header_changes_where_the_metadata_is(header: tuple[str, str]) -> None:
    assert told(WORLD.get(headers=[header])) == API + PREFIX
    assert WORLD.get(PREFIX, headers=[header]).json["resource"] == API
    with opened(DOORS, audience=API, resource=Resource(identifier=API)) as issuing:
        for path in (PREFIX, ISSUER_PATH):
            assert "evil" not in issuing.get(path, headers=[header]).body.decode()


@accepts("RS-06", "RS-07")
@pytest.mark.parametrize(
    ("token", "status", "error"),
    [
        (None, 401, None),
        ("bad", 401, "invalid_token"),
        (FACTORY.token(exp=1, scope="pay"), 401, "invalid_token"),
        (FACTORY.token(scope="pay", acr="pwd"), 401, "insufficient_user_authentication"),
        (FACTORY.token(acr="mfa"), 403, "insufficient_scope"),
    ],
    ids=["missing", "malformed", "expired", "weak", "small"],
)
def test_every_refusal_says_which_scope_to_come_with(
    token: str | None, status: int, error: str | None
) -> None:
    routes = (Route("/pay", scope="pay", acr_values=("mfa",)), Route("/open", optional=True))
    one = world(settings={"routes": routes})
    for path in ("/pay", "/pay/"):
        answer = one.get(path, token)
        assert (answer.status, answer.error, told(answer)) == (status, error, API + PREFIX)
        assert re.findall(r' scope="([^"]*)"', answer.challenge) == ["pay"]
    # Where the route asks for none, none is named.
    for path in ("/", "/open"):
        assert "scope=" not in one.get(path, "bad").challenge


def test_a_refused_cookie_and_an_ended_grant_are_told_the_scope_too() -> None:
    with opened(
        DOORS,
        audience=API,
        refresh={"cookies": Cookies(access=True)},
        resource=Resource(identifier=API),
        routes=(Route("/write", scope="write"),),
    ) as issuing:
        login = issuing.login(scope="write")
        cookies = "; ".join(value.partition(";")[0] for _, value in login.cookies)
        crossing = issuing.post("/write", headers=[("Cookie", cookies)])
        issuing.revoke_all("alice")
        ended = issuing.get("/write", login.access_token)
    assert (crossing.status, crossing.reason) == (403, "cross_site")
    assert (ended.status, ended.reason) == (401, "grant_ended")
    for answer in (crossing, ended):
        assert told(answer) == API + PREFIX
        assert ' scope="write"' in answer.challenge


def test_a_handshake_is_told_too() -> None:
    start = asyncio.run(shake_hands(WORLD.asgi, "/write"))
    assert b' scope="write"' in dict(start["headers"])[b"www-authenticate"]
    start = asyncio.run(shake_hands(WORLD.asgi, "/"))
    assert (
        f'resource_metadata="{API}{PREFIX}"'.encode() in dict(start["headers"])[b"www-authenticate"]
    )
    # And it is refused at the path of a document, which is for GET.
    assert asyncio.run(shake_hands(WORLD.asgi, PREFIX))["status"] == 401


def test_the_endpoints_are_no_protected_resource() -> None:
    with opened(DOORS, audience=API, resource=Resource(identifier=API)) as issuing:
        for answer in (
            issuing.post("/auth/refresh", {"grant_type": "refresh_token", "refresh_token": "x"}),
            issuing.post("/auth/refresh", headers=[("Authorization", "Basic YTpi")]),
            issuing.send("GET", "/auth/revoke"),
        ):
            assert told(answer) is None


def test_without_the_group_nothing_is_said_and_the_path_is_the_applications() -> None:
    plain = World(FACTORY.settings())
    assert plain.get().challenge == 'Bearer realm="api"'
    assert plain.get(PREFIX).reason == "credentials_missing"
    assert plain.get(PREFIX, FACTORY.token()).reached


# --- the resource's document


@accepts("RS-70")
@pytest.mark.parametrize(
    ("identifier", "path"),
    [
        ("https://h.example", PREFIX),
        ("https://h.example/", PREFIX),
        ("https://h.example/mcp", f"{PREFIX}/mcp"),
        ("https://h.example/mcp/", f"{PREFIX}/mcp/"),
        ("https://h.example:8443/a/b", f"{PREFIX}/a/b"),
        ("https://h.example/v1:x/@b", f"{PREFIX}/v1:x/@b"),
        ("http://127.0.0.1:8000/mcp", f"{PREFIX}/mcp"),
    ],
)
def test_the_document_stands_between_host_and_path(identifier: str, path: str) -> None:
    one = world(identifier)
    host = re.match(r"https?://[^/]+", identifier)
    assert host is not None
    assert told(one.get()) == host[0] + path
    answer = one.get(path)
    assert (answer.status, answer.header("content-type"), answer.reached) == (200, JSON, False)
    assert answer.json["resource"] == identifier


@refuses("RS-70")
@pytest.mark.parametrize(
    ("identifier", "path"),
    [
        ("https://h.example/mcp/", f"{PREFIX}/mcp"),
        ("https://h.example/mcp", f"{PREFIX}/mcp/"),
        ("https://h.example/mcp", PREFIX),
        ("https://h.example/", f"{PREFIX}/"),
        ("https://h.example/mcp", f"/mcp{PREFIX}"),
        ("https://h.example/mcp", f"{PREFIX}//mcp"),
        ("https://h.example/mcp", f"{PREFIX}/MCP"),
    ],
)
def test_at_any_other_path_there_is_none(identifier: str, path: str) -> None:
    answer = world(identifier).get(path)
    assert answer.status in (400, 401)
    assert "resource" not in answer.json


@refuses("RS-70")
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "get", "PROPFIND"])
def test_it_is_for_get_and_head_only(method: str) -> None:
    answer = WORLD.request(method, PREFIX, FACTORY.token())
    assert (answer.status, answer.header("allow"), answer.reached) == (
        405,
        "GET, HEAD, OPTIONS",
        False,
    )
    assert cors(answer) == {"allow-origin": "*"}


@accepts("RS-70")
def test_it_is_kept_confirmed_and_has_a_head() -> None:
    whole = WORLD.get(PREFIX)
    tag = whole.header("etag") or ""
    assert whole.header("cache-control") == "public, max-age=600"
    assert whole.header("vary") is None
    head = WORLD.request("HEAD", PREFIX)
    assert (head.status, head.headers, head.body) == (200, whole.headers, b"")
    known = WORLD.get(PREFIX, headers=[("If-None-Match", tag)])
    assert (known.status, known.body, known.header("etag")) == (304, b"", tag)


@accepts("RS-70")
@pytest.mark.parametrize(
    "headers", [(), (("Authorization", "Bearer bad"),), (("Cookie", "a=b"), ("Authorization", ""))]
)
def test_nobody_needs_a_token_for_it_and_none_is_read(headers: Any) -> None:
    answer = world(settings={"routes": (Route("/*", scope="admin"),)}).get(PREFIX, headers=headers)
    assert (answer.status, answer.events) == (200, ())


def test_scripts_of_every_origin_may_read_it_without_credentials() -> None:
    origin = ("Origin", "https://inspector.example")
    assert cors(WORLD.get(PREFIX, headers=[origin])) == {"allow-origin": "*"}
    ask = (
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", "mcp-protocol-version"),
    )
    answer = WORLD.request("OPTIONS", PREFIX, headers=[origin, *ask])
    assert answer.status == 204
    assert cors(answer) == {
        "allow-origin": "*",
        "allow-methods": "GET, HEAD",
        "allow-headers": "*",
        "max-age": "600",
    }
    assert cors(WORLD.request("OPTIONS", PREFIX)) == {}


@accepts("RS-70")
def test_what_is_not_set_is_left_out() -> None:
    assert WORLD.get(PREFIX).json == {
        "resource": API,
        "authorization_servers": [FACTORY.issuer],
        "bearer_methods_supported": ["header"],
    }
    whole = world(
        scopes_supported=("read", "write"),
        name="Notes \u00e9",
        documentation="https://docs.example/api?v=1",
        policy_uri="https://docs.example/policy",
        tos_uri="https://docs.example/terms",
    )
    assert whole.get(PREFIX).json == {
        "resource": API,
        "authorization_servers": [FACTORY.issuer],
        "scopes_supported": ["read", "write"],
        "bearer_methods_supported": ["header"],
        "resource_name": "Notes \u00e9",
        "resource_documentation": "https://docs.example/api?v=1",
        "resource_policy_uri": "https://docs.example/policy",
        "resource_tos_uri": "https://docs.example/terms",
    }


def other(issuer: str, audience: str = API) -> TrustedIssuer:
    return TrustedIssuer(issuer=issuer, audience=audience, keys=KeySet.generate())


def test_the_issuers_are_those_whose_tokens_for_the_identifier_are_taken() -> None:
    trusted = (
        other("https://partner.example/realm"),
        other("https://entra.example", "api://1234"),
        other("legacy"),
        other("https://odd.example/?realm=x"),
    )
    settings = {"trusted_issuers": trusted}
    named = ["https://entra.example"]
    found = world(settings=settings).get(PREFIX).json["authorization_servers"]
    assert found == [FACTORY.issuer, "https://partner.example/realm"]
    found = world(settings=settings, authorization_servers=named).get(PREFIX).json
    assert found["authorization_servers"] == named
    assert "authorization_servers" not in world(authorization_servers=()).get(PREFIX).json


def test_a_tenant_may_be_named_where_a_function_knows_them() -> None:
    tenant = "https://tenant.example"
    one = world(settings={"issuer_for": lambda _: None}, authorization_servers=[tenant])
    assert one.get(PREFIX).json["authorization_servers"] == [tenant]


@pytest.mark.parametrize("root", ["/shop", "/a/b"])
def test_below_a_root_the_document_is_where_the_host_has_it(root: str) -> None:
    one = world(API + root)
    path = PREFIX + root
    sent = Sent("GET", path)
    # WSGI servers cut the root or find none; ASGI servers put it in front, or leave the path alone.
    answers = [
        by_wsgi(one.wsgi, sent),
        asyncio.run(by_asgi(one.asgi, Sent("GET", path, root=root))),
        asyncio.run(by_asgi(one.asgi, sent, root_path=root)),
        asyncio.run(by_asgi(one.asgi, sent)),
    ]
    assert [status for status, _, _ in answers] == [200] * 4
    assert len({body for _, _, body in answers}) == 1


# --- identifiers, code point by code point

TWINS = [
    f"{API}/",
    "https://API.example",
    "https://api.example:443",
    "https://api.example./",
    "HTTPS://api.example",
]


@accepts("RS-71")
def test_a_token_for_the_identifier_is_taken() -> None:
    assert WORLD.get(token=FACTORY.token(aud=API)).reached
    assert WORLD.get(PREFIX).json["resource"] == API


@refuses("RS-71")
@pytest.mark.parametrize(
    "twin", [*TWINS, "https://api.example/caf\u00e9", "https://api.exampl\u0435"]
)
def test_a_twin_of_the_identifier_is_another(twin: str) -> None:
    assert WORLD.get(token=FACTORY.token(aud=twin)).reason == "audience_not_ours"
    with pytest.raises(ConfigurationError, match=r"resource\.identifier: .*audience"):
        FACTORY.settings(audience=twin, resource=Resource(identifier=API))


@refuses("RS-71")
def test_composed_and_decomposed_are_two() -> None:
    composed, decomposed = f"{API}/caf\u00e9", f"{API}/cafe\u0301"
    # As a URL neither is one; as mere names they are two.
    for one in (composed, decomposed, f"{API}/caf%C3%A9"):
        with pytest.raises(ConfigurationError, match=r"resource\.identifier"):
            Resource(identifier=one)
    names = World(FACTORY.settings(audience=composed))
    assert names.get(token=FACTORY.token(aud=composed)).reached
    assert names.get(token=FACTORY.token(aud=decomposed)).reason == "audience_not_ours"


@refuses("RS-71")
@pytest.mark.parametrize("twin", [f"{FACTORY.issuer}/", f"{FACTORY.issuer}:443"])
def test_a_twin_of_an_issuer_is_not_trusted(twin: str) -> None:
    with pytest.raises(ConfigurationError, match=r"authorization_servers: .* isn't trusted"):
        world(authorization_servers=(twin,))


# --- settings that can't be meant


def make(**changes: Any) -> Resource:
    given: dict[str, Any] = {"identifier": API}
    return Resource(**(given | changes))


WRONG = [
    ("identifier", None, "is no absolute URL"),
    ("identifier", "", "is no absolute URL"),
    ("identifier", "api", "is no absolute URL"),
    ("identifier", "http://api.example", "is not https"),
    ("identifier", "https://api.example/#x", "has a fragment"),
    ("identifier", "https://api.example?x=1", "has a query"),
    ("identifier", "https://api.example/x?", "has a query"),
    ("identifier", "https://u:p@api.example", "is no absolute URL"),
    ("identifier", "https://api.example//mcp", "isn't the same for every client"),
    ("identifier", "https://api.example/../mcp", "isn't the same for every client"),
    ("identifier", "https://api.example/%6dcp", "isn't the same for every client"),
    ("identifier", "https://api.example/a;b", "isn't the same for every client"),
    ("authorization_servers", "https://login.example", "must be a tuple"),
    ("authorization_servers", ("login",), "is no absolute URL"),
    ("authorization_servers", (None,), "is no absolute URL"),
    ("scopes_supported", "read", "must be a tuple"),
    ("scopes_supported", ("read write",), "no scope"),
    ("scopes_supported", ("",), "no scope"),
    ("scopes_supported", (5,), "no scope"),
    ("scopes_supported", ('"',), "no scope"),
    ("name", None, "text that people can read"),
    ("name", "a\nb", "text that people can read"),
    ("documentation", "docs", "is no absolute URL"),
    ("policy_uri", "http://docs.example", "is not https"),
    ("tos_uri", None, "is no absolute URL"),
]


@pytest.mark.parametrize(("field", "value", "words"), WRONG)
def test_a_wrong_value_names_the_field_the_rule_and_the_way_out(
    field: str, value: Any, words: str
) -> None:
    with pytest.raises(ConfigurationError) as found:
        make(**{field: value})
    assert found.value.field == f"resource.{field}"
    assert words in found.value.problem
    assert found.value.remedy
    assert "u:p@" not in str(found.value)


def test_the_group_is_a_group() -> None:
    with pytest.raises(ConfigurationError, match="resource: must be a Resource group, not str"):
        FACTORY.settings(resource=API)


def test_all_sources_mean_the_same(tmp_path: Path) -> None:
    KEYS.save(tmp_path / "keys.json")
    table: dict[str, Any] = {
        "identifier": API,
        "authorization_servers": ["https://login.example"],
        "scopes_supported": ["read"],
        "name": "Notes",
        "documentation": "https://docs.example",
        "policy_uri": "https://docs.example/policy",
        "tos_uri": "https://docs.example/tos",
    }
    flat = {
        "JWT_MIDDLEWARE_ISSUER": "https://login.example",
        "JWT_MIDDLEWARE_AUDIENCE": API,
        "JWT_MIDDLEWARE_KEYS": str(tmp_path / "keys.json"),
        "JWT_MIDDLEWARE_RESOURCE__AUTHORIZATION_SERVERS": '["https://login.example"]',
        "JWT_MIDDLEWARE_RESOURCE__SCOPES_SUPPORTED": '["read"]',
    }
    flat |= {
        f"JWT_MIDDLEWARE_RESOURCE__{name.upper()}": value
        for name, value in table.items()
        if isinstance(value, str)
    }
    base = {"issuer": "https://login.example", "audience": API, "keys": KEYS}
    by_hand = make(**table)
    for made in (Settings.from_env(flat), Settings.from_mapping(base | {"resource": table})):
        assert vars(made.resource) == vars(by_hand)


# --- the issuer's document

LOGIN = "https://login.example"


@pytest.mark.parametrize(
    ("issuer", "path"),
    [
        (LOGIN, ISSUER_PATH),
        (f"{LOGIN}/", ISSUER_PATH),
        (f"{LOGIN}/tenant", f"{ISSUER_PATH}/tenant"),
        (f"{LOGIN}/tenant/", f"{ISSUER_PATH}/tenant"),  # RFC 8414 s3.1 removes this slash
    ],
)
def test_the_issuer_says_where_its_endpoints_are(issuer: str, path: str) -> None:
    with opened(DOORS, issuer=issuer) as one:
        answer = one.get(path)
        assert (answer.status, answer.header("content-type")) == (200, JSON)
        assert cors(answer) == {"allow-origin": "*"}
        assert answer.json == {
            "issuer": issuer,
            "token_endpoint": f"{LOGIN}/auth/refresh",
            "revocation_endpoint": f"{LOGIN}/auth/revoke",
            "jwks_uri": f"{LOGIN}/.well-known/jwks.json",
            "response_types_supported": [],
            "grant_types_supported": ["refresh_token"],
            "token_endpoint_auth_methods_supported": ["none"],
            "revocation_endpoint_auth_methods_supported": ["none"],
            "refresh_token_expiration_types_supported": ["authorization", "token_timeout"],
        }
        assert one.send("POST", path).status == 405


@pytest.mark.parametrize(
    ("refresh", "root"),
    [
        ({"public_url": "https://shop.example/app"}, "https://shop.example/app"),
        ({"cookies": Cookies()}, LOGIN),
    ],
)  # fmt: skip
def test_endpoints_elsewhere_are_told_by_what_is_configured(
    refresh: dict[str, Any], root: str
) -> None:
    with opened(DOORS, refresh={"path": "/session", "jwks_path": "/keys", **refresh}) as one:
        found = one.get(ISSUER_PATH).json
        assert found["token_endpoint"] == f"{root}/session/refresh"
        assert found["revocation_endpoint"] == f"{root}/session/revoke"
        assert found["jwks_uri"] == f"{root}/keys"


def test_secrets_have_no_place_and_the_resource_is_named() -> None:
    with opened(
        DOORS, keys=KeySet.generate("HS256"), audience=API, resource=Resource(identifier=API)
    ) as one:
        found = one.get(ISSUER_PATH).json
        assert "jwks_uri" not in found
        assert found["protected_resources"] == [API]
        assert one.get(PREFIX).json["authorization_servers"] == [LOGIN]


@pytest.mark.parametrize(
    ("issuer", "refresh"),
    [
        ("first-party", {}),
        (f"{LOGIN}?tenant=x", {}),
        (f"{LOGIN}/#x", {}),
        ("http://login.example", {}),
        (LOGIN, {"metadata": False}),
    ],
)
def test_an_issuer_without_a_place_or_turned_off_has_no_document(
    issuer: str, refresh: dict[str, Any]
) -> None:
    with opened(DOORS, issuer=issuer, refresh=refresh) as one:
        tokens = one.login()
        assert one.get(ISSUER_PATH).reason == "credentials_missing"
        assert one.get(ISSUER_PATH, tokens.access_token).reached


def test_who_issues_nothing_publishes_no_issuer(tmp_path: Path) -> None:
    group = Refresh(store=f"sqlite:///{tmp_path}/grants.db", serve=False)
    one = World(FACTORY.settings(refresh=group))
    assert one.get(ISSUER_PATH).reason == "credentials_missing"
    one.settings.close()
