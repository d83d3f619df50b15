"""The mounted endpoints as HTTP: methods, paths, caching, CORS, faults, and the key set."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jwt
import pytest

from jwt_middleware import ConfigurationError, Cookies, Issuer, KeySet, Refresh, Route
from jwt_middleware.stores import Advanced
from jwt_middleware.values.events import StoreBack, StoreFailed
from tests.issuing import (
    AUDIENCE,
    DOORS,
    FAULTY,
    HOUR,
    ISSUER,
    JSON,
    KEY_SET,
    KEYS,
    REFRESH,
    REVOKE,
    FaultyStore,
    World,
    memory,
    opened,
    refresh_form,
    single,
)
from tests.world import Answer, Sent, shake_hands
from tests.world import World as Verifying

SHOP, EVIL = "https://shop.example", "https://evil.example"


@pytest.fixture
def world() -> Iterator[World]:
    with opened(DOORS, origins=(SHOP,)) as one:
        yield one


def from_(origin: str, *more: tuple[str, str]) -> list[tuple[str, str]]:
    return [("Origin", origin), *more]


def preflight(origin: str, method: str = "POST") -> list[tuple[str, str]]:
    return from_(origin, ("Access-Control-Request-Method", method))


def cors(answer: Answer) -> dict[str, str]:
    """Return the CORS headers, and Vary."""
    names = ("access-control-", "vary")
    return {name: value for name, value in answer.headers if name.startswith(names)}


# --- methods


@pytest.mark.parametrize(
    ("path", "allow"),
    [(REFRESH, "POST, OPTIONS"), (REVOKE, "POST, OPTIONS"), (KEY_SET, "GET, HEAD, OPTIONS")],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "get", "X!"])
def test_a_method_that_is_not_allowed_hears_which_are(
    world: World, path: str, allow: str, method: str
) -> None:
    if method in allow:
        return
    answer = world.send(method, path)
    assert (answer.status, answer.header("allow")) == (405, allow)
    assert answer.header("cache-control") == "no-store"
    assert not answer.reached
    assert answer.body == b"" if method == "HEAD" else answer.json["error"] == "invalid_request"
    assert int(answer.header("content-length") or 0) > 0  # of what a GET would get


@pytest.mark.parametrize(
    ("path", "allow"),
    [(REFRESH, "POST, OPTIONS"), (REVOKE, "POST, OPTIONS"), (KEY_SET, "GET, HEAD, OPTIONS")],
)
def test_options_are_told_without_a_body(world: World, path: str, allow: str) -> None:
    answer = world.send("OPTIONS", path)
    assert (answer.status, answer.header("allow"), answer.body) == (204, allow, b"")
    assert not cors(answer)
    assert answer.header("content-type") is None


# --- CORS


def test_a_known_origins_preflight_is_answered(world: World) -> None:
    answer = world.send("OPTIONS", REFRESH, headers=preflight(SHOP))
    assert answer.status == 204
    assert cors(answer) == {
        "access-control-allow-origin": SHOP,
        "access-control-allow-methods": "POST",
        "access-control-allow-headers": "Authorization, Content-Type",
        "access-control-max-age": "600",
        "access-control-expose-headers": "WWW-Authenticate, Retry-After",
        "vary": "Origin",
    }


ANYONE = {"access-control-allow-origin": "*"}


@pytest.mark.parametrize("origins", [(SHOP,), ()], ids=["origins", "none"])
def test_pages_of_every_origin_read_the_keys(origins: tuple[str, ...]) -> None:
    with opened(DOORS, origins=origins) as world:
        for origin in (SHOP, EVIL, "null"):
            answer = world.get(KEY_SET, headers=from_(origin))
            assert (answer.status, cors(answer)) == (200, ANYONE)
            etag = ("If-None-Match", answer.header("etag") or "")
            answer = world.get(KEY_SET, headers=from_(origin, etag))
            assert (answer.status, cors(answer)) == (304, ANYONE)
            answer = world.send("POST", KEY_SET, headers=from_(origin))
            assert (answer.status, cors(answer)) == (405, ANYONE)
            answer = world.send("OPTIONS", KEY_SET, headers=preflight(origin, "GET"))
            assert answer.status == 204
            assert cors(answer) == {
                **ANYONE,
                "access-control-allow-methods": "GET, HEAD",
                "access-control-allow-headers": "*",
                "access-control-max-age": "600",
            }


@pytest.mark.parametrize(
    "origin", [EVIL, "null", f"{SHOP}.evil.example", f"{SHOP}:443", "https://SHOP.example", "", "*"]
)
def test_an_unknown_origins_preflight_allows_nothing(world: World, origin: str) -> None:
    for path in (REFRESH, REVOKE):
        assert cors(world.send("OPTIONS", path, headers=preflight(origin))) == {"vary": "Origin"}


def test_two_origins_are_none(world: World) -> None:
    answer = world.send("OPTIONS", REFRESH, headers=[*preflight(SHOP), ("Origin", EVIL)])
    assert cors(answer) == {"vary": "Origin"}


def test_every_answer_of_an_endpoint_can_be_read_by_a_known_origin(world: World) -> None:
    tokens = world.login()
    form = refresh_form(tokens.refresh_token)
    for headers, expected in ((from_(SHOP), SHOP), (from_(EVIL), None), ((), None)):
        answers = [
            world.post(REFRESH, form, headers=headers),
            world.post(REFRESH, {"grant_type": "x"}, headers=headers),
            world.post(REFRESH, form, headers=[*headers, ("Authorization", "Basic YTpi")]),
            world.post(REVOKE, {"token": "x"}, headers=headers),
            world.post(REVOKE, headers=headers),
            world.send("PUT", REVOKE, headers=headers),
        ]
        assert [one.status for one in answers] == [200, 400, 401, 200, 400, 405]
        for answer in answers:
            assert cors(answer).get("access-control-allow-origin") == expected
            # Without cookies no origin's script needs the browser's credentials.
            assert "access-control-allow-credentials" not in cors(answer)
            assert cors(answer)["vary"] == "Origin"


def test_without_origins_nothing_is_said_about_them() -> None:
    with opened(DOORS) as world:
        for answer in (
            world.send("OPTIONS", REFRESH, headers=preflight(SHOP)),
            world.post(REFRESH, headers=from_(SHOP)),
        ):
            assert cors(answer) == {}


# --- what is kept, and by whom


def test_no_answer_of_a_token_endpoint_is_kept(world: World) -> None:
    tokens = world.login()
    form = refresh_form(tokens.refresh_token)
    answers = [
        world.post(REFRESH, form),
        world.post(REFRESH, form, headers=[("Content-Length", "x")]),
        world.post(REFRESH, form, headers=[("Authorization", "Basic YTpi")]),
        world.post(REFRESH, refresh_form(tokens.refresh_token, scope="more")),
        world.post(REFRESH, refresh_form("x")),
        world.send("PUT", REFRESH),
        world.post(REVOKE, {"token": tokens.refresh_token}),
        world.post(REVOKE),
    ]
    assert [one.status for one in answers] == [200, 400, 401, 400, 400, 405, 200, 400]
    for answer in answers:
        assert answer.header("cache-control") == "no-store", answer.status
        assert answer.header("pragma") == "no-cache", answer.status
        assert answer.header("content-type") == JSON, answer.status
        assert answer.header("content-length") == str(len(answer.body))
        assert answer.header("set-cookie") is None
        assert not answer.reached


# --- faults


VERBS = {"advance": REFRESH, "end": REVOKE}


@pytest.mark.parametrize("problem_details", [False, True], ids=["plain", "problem"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_store_that_fails_is_our_fault_and_to_be_tried_again(
    verb: str, problem_details: bool
) -> None:
    with opened(FAULTY, problem_details=problem_details) as world:
        tokens = world.login()
        world.clock.forward(HOUR)
        world.each(lambda site: site.store.fails.add(verb))
        form = {"token": tokens.refresh_token, **refresh_form(tokens.refresh_token)}
        for _ in range(2):
            answer = world.post(VERBS[verb], form)
            assert answer.status == 503
            assert answer.header("retry-after") == "1"
            assert answer.header("www-authenticate") is None
            assert answer.json["error"] == "temporarily_unavailable"
            assert b"engine" not in answer.body
            assert answer.reason == "store_unavailable"
        world.each(lambda site: site.store.fails.clear())
        world.clock.forward(2)
        assert world.post(VERBS[verb], form).status == 200
        told = [one for one in world.events if isinstance(one, StoreFailed | StoreBack)]
        assert told == [
            StoreFailed(verb=verb, detail="no route to the engine"),
            StoreBack(seconds=2),
        ]


def test_a_write_that_was_done_before_the_fault_loses_nothing() -> None:
    with opened(FAULTY) as world:
        tokens = world.login()
        world.clock.forward(HOUR)

        def fail(site: Any) -> None:
            site.store.fails.add("advance")
            site.store.is_done_before_it_fails = True

        world.each(fail)
        assert world.refresh(tokens.refresh_token).status == 503
        world.each(lambda site: site.store.fails.clear())
        assert world.row(tokens.grant_id).generation == 2
        found = world.renewed(tokens.refresh_token)  # repeated
        world.clock.forward(HOUR)
        world.renewed(found["refresh_token"])


class RestlessStore(FaultyStore):
    """A store whose grants are always a generation behind, and never where they were."""

    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        self.calls.append("advance")
        _, row = self._store.advance(grant_id, 0, 0, None)
        assert row is not None
        return Advanced(False, replace(row, generation=row.generation - 1))


def test_a_grant_that_moves_during_every_try_is_to_be_tried_again() -> None:
    with opened((("wsgi", RestlessStore), ("asgi", RestlessStore))) as world:
        tokens = world.login()
        world.clock.forward(HOUR)
        answer = world.refresh(tokens.refresh_token)
        assert (answer.status, answer.header("retry-after")) == (503, "1")
        assert world.each(lambda site: site.store.calls.count("advance")) == 3


def test_claims_that_are_too_large_are_our_fault() -> None:
    roles = [{}, {"roles": ["x" * 9000]}, {"roles": ["x"]}]
    with opened((("wsgi", memory),), refresh={"claims_for": lambda _: roles.pop(0)}) as world:
        token = world.login().refresh_token
        assert world.refresh(token).reason == "claims_hook_failed"
        assert world.refresh(token).status == 200


def test_problem_details_keep_the_codes_of_oauth() -> None:
    with opened(DOORS, problem_details=True) as world:
        answer = world.post(REFRESH, refresh_form("x"))
        assert answer.header("content-type") == "application/problem+json"
        assert answer.json == {
            "type": "about:blank",
            "title": "Bad Request",
            "status": 400,
            "detail": "The refresh token is expired, revoked, used up or was issued to another "
            "client",
            "error": "invalid_grant",
        }
        for answer in (world.send("PUT", REFRESH), world.post(REFRESH, {"a": "x" * 17000})):
            assert answer.json["status"] == answer.status
            assert answer.json["title"]


# --- paths


def test_the_paths_are_configured() -> None:
    paths = {"path": "/api/v1/token.d", "jwks_path": "/keys"}
    with opened(DOORS, refresh=paths) as world:
        tokens = world.login()
        form = refresh_form(tokens.refresh_token)
        assert world.post("/api/v1/token.d/refresh", form).status == 200
        assert world.get("/keys").json == KEYS.public_jwks()
        assert world.post("/api/v1/token.d/revoke", {"token": tokens.refresh_token}).status == 200
        assert not world.is_alive(tokens.grant_id)
        for path in (REFRESH, REVOKE, KEY_SET):
            assert world.get(path).status == 401


ELSEWHERE = [
    *("/auth", "/auth/", "/auth/refresh/", "//auth/refresh", "/auth//refresh", "/AUTH/refresh"),
    *(
        "/auth/refresh;x",
        "/auth/./refresh",
        "/x/../auth/refresh",
        "/auth/refresh\n",
        "/auth/Revoke",
    ),
    *("/auth/refresh%20", "/auth%2frefresh", "/.well-known/jwks.json/", "/.well-known/jwks"),
]


@pytest.mark.parametrize("path", ELSEWHERE, ids=repr)
def test_whatever_is_not_the_very_path_is_the_applications(world: World, path: str) -> None:
    tokens = world.login()
    answer = world.post(path, refresh_form(tokens.refresh_token))
    assert (answer.status, answer.reason) == (401, "credentials_missing")
    assert world.call(tokens.access_token).reached


def test_a_rule_for_the_path_neither_opens_nor_closes_an_endpoint() -> None:
    routes = (Route("/auth/*", scope="admin"), Route("/.well-known/*", public=True))
    with opened(DOORS, routes=routes) as world:
        assert world.refresh(world.login().refresh_token).status == 200
        assert not world.get(KEY_SET).reached


@pytest.mark.parametrize("root", ["/shop", "/a/b"])
def test_a_mounted_application_has_its_endpoints_below_its_root(world: World, root: str) -> None:
    tokens = world.login()
    body = "&".join(f"{name}={value}" for name, value in refresh_form(tokens.refresh_token).items())
    headers = [("Content-Type", "application/x-www-form-urlencoded")]
    headers.append(("Content-Length", str(len(body))))
    answer = world.send("POST", REFRESH, root=root, body=body.encode(), headers=headers)
    assert answer.status == 200
    assert world.send("GET", KEY_SET, root=root).json == KEYS.public_jwks()


def test_a_service_that_only_verifies_has_no_endpoints() -> None:
    with single(("wsgi", memory)) as site:
        verifying = Verifying(site.settings.replace(refresh=None))
        with pytest.raises(ConfigurationError, match="refresh"):
            Issuer(verifying.settings)
        for path in (REFRESH, REVOKE, KEY_SET):
            assert verifying.request("POST", path).reason == "credentials_missing"
        assert verifying.get(token=site.issuer.issue("alice").access_token).user == "alice"


def test_a_handshake_at_an_endpoints_path_is_refused_as_anywhere() -> None:
    with single(("asgi", memory), refresh={"cookies": Cookies()}) as site:
        answers = [
            site.runner.run(shake_hands(site.asgi, path, [("Cookie", "a=b")]))
            for path in ("/", REFRESH, REVOKE, KEY_SET)
        ]
        assert answers[0]["status"] == 401
        # RFC 9110 s15.5.2: a 401 "MUST send a WWW-Authenticate header field".
        assert (b"www-authenticate", b'Bearer realm="api"') in answers[0]["headers"]
        assert [one for one in answers if one != answers[0]] == []


# --- the key set


def test_the_key_set_verifies_our_tokens_for_another_library() -> None:
    with single(("wsgi", memory), keys=KeySet.generate()) as site:
        answer = site.send(Sent("GET", KEY_SET))
        assert (answer.status, answer.header("content-type")) == (200, JSON)
        token = site.issuer.issue("alice").access_token
    key = jwt.PyJWKSet.from_dict(answer.json)[jwt.get_unverified_header(token)["kid"]]
    options: Any = {"verify_exp": False, "verify_iat": False}  # our clock is not its
    claims = jwt.decode(
        token, key, algorithms=["ES256"], audience=AUDIENCE, issuer=ISSUER, options=options
    )
    assert claims["sub"] == "alice"


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "Ed25519"])
def test_the_key_set_is_public_only(algorithm: str) -> None:
    with opened(DOORS, keys=KeySet.generate(algorithm)) as world:
        (key,) = world.get(KEY_SET).json["keys"]
        assert not key.keys() & {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
        assert (key["alg"], key["use"]) == (algorithm, "sig")


def test_a_key_that_only_verifies_is_published_beside_the_one_that_signs() -> None:
    old = KeySet.generate("ES256")
    keys = KeySet((*KEYS.keys, *KeySet.from_jwks(old.public_jwks()).keys))
    with opened(DOORS, keys=keys) as world:
        published = [one["kid"] for one in world.get(KEY_SET).json["keys"]]
        assert published == [KEYS.keys[0].kid, old.keys[0].kid]
        assert world.refresh(world.login().refresh_token).status == 200


def test_secrets_are_no_key_set() -> None:
    with opened(DOORS, keys=KeySet.generate("HS256")) as world:
        assert world.get(KEY_SET).reason == "credentials_missing"
        tokens = world.login()
        assert world.get(KEY_SET, tokens.access_token).reached  # it is the application's path
        assert world.refresh(tokens.refresh_token).status == 200


def test_the_key_set_is_kept_for_ten_minutes_and_confirmed_by_its_tag(world: World) -> None:
    whole = world.get(KEY_SET)
    tag = whole.header("etag") or ""
    assert tag.startswith('"')
    assert tag.endswith('"')
    assert whole.header("cache-control") == "public, max-age=600"
    assert whole.header("set-cookie") is None
    head = world.send("HEAD", KEY_SET)
    assert (head.status, head.headers, head.body) == (200, whole.headers, b"")
    for known in (tag, f"W/{tag}", f'"x", {tag}', f'{tag},"x"', "*"):
        for method in ("GET", "HEAD"):
            answer = world.send(method, KEY_SET, headers=[("If-None-Match", known)])
            assert (answer.status, answer.body) == (304, b""), known
            assert answer.header("etag") == tag
            assert answer.header("cache-control") == "public, max-age=600"
            assert answer.header("content-type") is None
    for other in ('"x"', "", tag[:-2] + '"', '"*"', "x" * 5000):
        assert world.get(KEY_SET, headers=[("If-None-Match", other)]).status == 200, other


def test_another_key_has_another_tag(world: World) -> None:
    with opened(DOORS, keys=KeySet.generate()) as other:
        assert other.get(KEY_SET).header("etag") != world.get(KEY_SET).header("etag")


# --- settings that can't be meant


@pytest.mark.parametrize("name", ["path", "jwks_path"])
@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "auth", "/auth/", "//auth", "/a b", "/a;b", "/a\r\nSet-Cookie: x", "/a?b"),
        *("/a#b", "/%61", "/ä", "/a*", "/{a}", "/..", "/a/../b", "/.", "/a/."),
    ],
    ids=repr,
)
def test_a_path_that_no_browser_asks_for_is_refused(name: str, path: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"refresh\.{name}"):
        Refresh(store="memory://", **{name: path})  # type: ignore[arg-type]


def test_two_endpoints_at_one_path_are_refused() -> None:
    for path in ("/auth/refresh", "/auth/revoke"):
        with pytest.raises(ConfigurationError, match="another endpoint"):
            Refresh(store="memory://", jwks_path=path)


def test_the_answer_is_readable_json_whatever_the_scope_says(world: World) -> None:
    scope = "a<script> !#$%&'()*+,-./:;<=>?@[]^_`{|}~"
    answer = world.refresh(world.login(scope=scope).refresh_token)
    assert json.loads(answer.body)["scope"] == scope
