"""RT-01 to RT-05, RT-16 and RT-23: what the refresh endpoint takes, gives and refuses."""

import json
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from jwt_middleware import (
    ConfigurationError,
    Cookies,
    EndGrant,
    Grant,
    KeySet,
    Refresh,
    Settings,
    StoreUnavailable,
)
from jwt_middleware.jose.jwk import Key, from_secret
from jwt_middleware.testing import ABSENT
from jwt_middleware.testing.mint import json_octets, present, seal
from jwt_middleware.token.refresh import RefreshKeys, check, derive, from_text, mint
from jwt_middleware.values.events import Refused
from tests.issuing import (
    AUDIENCE,
    DAY,
    DOORS,
    FAULTY,
    FORM,
    HOUR,
    ISSUER,
    JSON,
    KEYS,
    LASTS,
    MINUTE,
    REFRESH,
    REVOKE,
    SITES,
    Site,
    World,
    memory,
    opened,
    single,
)
from tests.rules import accepts, refuses
from tests.world import Answer

SECRET = sha256(b"what refresh tokens are signed with").digest()


@pytest.fixture
def world() -> Iterator[World]:
    with opened(refresh={"secret": SECRET}) as one:
        yield one


@pytest.fixture
def doors() -> Iterator[World]:
    """Open a world for what never comes as far as a store."""
    with opened(DOORS, refresh={"secret": SECRET}) as one:
        yield one


def claims_of(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found


def refused(answer: Answer) -> tuple[int, str]:
    """Return the status and the code of an error, after checking what all of them share."""
    assert set(answer.json) == {"error", "error_description"}
    assert answer.header("content-type") == JSON
    assert answer.header("cache-control") == "no-store"
    assert not answer.reached
    return answer.status, answer.json["error"]


BAD_REQUEST, BAD_GRANT = (400, "invalid_request"), (400, "invalid_grant")


# --- RT-01: the request


@accepts("RT-01")
@pytest.mark.parametrize(
    "kind", [FORM, FORM.upper(), f"{FORM};charset=UTF-8", f"{FORM} ; charset=utf-8"]
)
def test_a_form_refreshes_whatever_its_charset_says(doors: World, kind: str) -> None:
    body = f"grant_type=refresh_token&refresh_token={doors.login().refresh_token}".encode()
    assert doors.post_octets(REFRESH, body, kind).status == 200


@accepts("RT-01")
def test_the_same_as_json_refreshes(world: World) -> None:
    token = world.login().refresh_token
    members = {"grant_type": "refresh_token", "refresh_token": token}
    assert world.post_json(REFRESH, members).json["token_type"] == "Bearer"


@accepts("RT-01")
@pytest.mark.parametrize(
    "more",
    [{"resource": "x"}, {"scope": ""}, {"client_id": ""}, {"": "x"}, {"client_secret": "x"}],
    ids=str,
)
def test_what_is_unknown_or_empty_counts_as_absent(doors: World, more: dict[str, str]) -> None:
    assert doors.renewed(doors.login(scope="read").refresh_token, **more)["scope"] == "read"


@accepts("RT-01")
def test_an_expired_bearer_token_beside_it_does_no_harm(world: World) -> None:
    tokens = world.login()
    world.clock.forward(2 * HOUR)
    bearer = [("Authorization", f"Bearer {tokens.access_token}")]
    for headers in (bearer, [("Authorization", "bearer")], [*bearer, *bearer]):
        assert world.refresh(tokens.refresh_token, headers=headers).status == 200


@refuses("RT-01")
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE", "post", "X"])
def test_no_other_method_refreshes(doors: World, method: str) -> None:
    query = f"grant_type=refresh_token&refresh_token={doors.login().refresh_token}"
    answer = doors.send(method, REFRESH, query=query)
    assert (answer.status, answer.header("allow")) == (405, "POST, OPTIONS")


TOKEN = "grant_type=refresh_token&refresh_token={0}"
BAD_BODIES = {
    "nothing": (FORM, ""),
    "no-grant-type": (FORM, "refresh_token={0}"),
    "an-empty-grant-type": (FORM, "grant_type=&refresh_token={0}"),
    "no-token": (FORM, "grant_type=refresh_token"),
    "an-empty-token": (FORM, "grant_type=refresh_token&refresh_token="),
    "the-token-twice": (FORM, TOKEN + "&refresh_token={0}"),
    "another-token-before": (FORM, "refresh_token=x&" + TOKEN),
    "twice-in-another-spelling": (FORM, TOKEN + "&refresh%5Ftoken={0}"),
    "an-empty-one-twice": (FORM, TOKEN + "&refresh_token="),
    "an-unknown-one-twice": (FORM, TOKEN + "&a=1&a=2"),
    "semicolons": (FORM, "grant_type=refresh_token&a=b;refresh_token={0}"),
    "no-type": ("", TOKEN),
    "text": ("text/plain", TOKEN),
    "multipart": ("multipart/form-data; boundary=x", TOKEN),
    "a-form-as-json": (JSON, TOKEN),
    "json-twice": (
        JSON,
        '{"grant_type":"refresh_token","refresh_token":"x","refresh_token":"{0}"}',
    ),
    "json-of-another-type": (JSON, '{"grant_type":"refresh_token","refresh_token":["{0}"]}'),
    "json-array": (JSON, '["refresh_token","{0}"]'),
    "json-as-a-form": (FORM, '{"grant_type":"refresh_token","refresh_token":"{0}"}'),
    "utf-16": (FORM, "\ufeffgrant_type=refresh_token&refresh_token={0}"),
}


@refuses("RT-01")
@pytest.mark.parametrize(("kind", "body"), BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_malformed_request_changes_nothing(doors: World, kind: str, body: str) -> None:
    tokens = doors.login()
    doors.clock.forward(HOUR)
    octets = body.replace("{0}", tokens.refresh_token).encode()
    assert refused(doors.post_octets(REFRESH, octets, kind)) == BAD_REQUEST
    assert doors.row(tokens.grant_id).generation == 1


@refuses("RT-01")
def test_parameters_in_the_query_are_none(world: World) -> None:
    query = TOKEN.format(world.login().refresh_token)
    assert refused(world.send("POST", REFRESH, query=query)) == BAD_REQUEST


# --- RT-02 and RT-03: the answer


@accepts("RT-02", "RT-03")
def test_the_answer_is_the_rfcs_and_no_cache_keeps_it(world: World) -> None:
    scope = "read write"
    token = world.login(scope=scope).refresh_token
    world.clock.forward(HOUR)
    answer = world.refresh(token)
    assert (answer.status, answer.header("content-type")) == (200, JSON)
    assert set(answer.json) == {
        "access_token",
        "token_type",
        "expires_in",
        "refresh_token",
        "scope",
        *LASTS,
    }
    assert (answer.json["token_type"], answer.json["scope"]) == ("Bearer", scope)
    # RFC 6749 s5.1; up to 5 % of the lifetime are taken off at random.
    assert type(answer.json["expires_in"]) is int
    assert 570 <= answer.json["expires_in"] <= 600
    assert answer.header("cache-control") == "no-store"
    assert answer.header("pragma") == "no-cache"
    assert answer.header("content-length") == str(len(answer.body))


@accepts("RT-02")
def test_without_a_scope_none_is_named(world: World) -> None:
    tokens = world.login()
    assert "scope" not in tokens
    assert "scope" not in world.renewed(tokens.refresh_token)
    assert "scope" not in claims_of(tokens.access_token)


@accepts("RT-02")
def test_expires_in_is_counted_from_before_the_store_was_asked(world: World) -> None:
    found = world.renewed(world.login().refresh_token)
    expires_at = claims_of(found["access_token"])["exp"]
    assert world.clock.now + found["expires_in"] <= expires_at
    world.clock.forward(found["expires_in"] - 1)
    assert world.call(found["access_token"]).status == 200


ERRORS: dict[str, tuple[dict[str, str], dict[str, str], tuple[int, str]]] = {
    "no-parameter": ({}, {}, BAD_REQUEST),
    "another-grant-type": (
        {"grant_type": "password", "username": "a", "password": "b"},
        {},
        (400, "unsupported_grant_type"),
    ),
    "grant-types-are-case-sensitive": (
        {"grant_type": "Refresh_Token", "refresh_token": "x"},
        {},
        (400, "unsupported_grant_type"),
    ),
    "garbage": ({"grant_type": "refresh_token", "refresh_token": "x"}, {}, BAD_GRANT),
    "latin-1": ({"grant_type": "refresh_token", "refresh_token": "é"}, {}, BAD_GRANT),
    "basic": (
        {"grant_type": "refresh_token", "refresh_token": "x"},
        {"Authorization": "Basic YTpi"},
        (401, "invalid_client"),
    ),
    "digest": (
        {"grant_type": "refresh_token", "refresh_token": "x"},
        {"Authorization": 'Digest username="a"'},
        (401, "invalid_client"),
    ),
    "a-malformed-scope": (
        {"grant_type": "refresh_token", "refresh_token": "x", "scope": 'a "b"'},
        {},
        (400, "invalid_scope"),
    ),
}


@refuses("RT-02", "RT-03")
@pytest.mark.parametrize(("form", "headers", "expected"), ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("as_json", [False, True], ids=["form", "json"])
def test_an_error_is_one_of_the_rfcs(
    doors: World,
    form: dict[str, str],
    headers: dict[str, str],
    expected: tuple[int, str],
    as_json: bool,
) -> None:
    post = doors.post_json if as_json else doors.post
    answer = post(REFRESH, form, headers=headers.items())
    assert refused(answer) == expected
    assert answer.header("pragma") == "no-cache"
    # RFC 6749 s5.2: %x20-21 / %x23-5B / %x5D-7E.
    text = answer.json["error_description"]
    assert text.isascii()
    assert text.isprintable()
    assert not set('"\\') & set(text)
    assert (answer.header("www-authenticate") is not None) is (expected[0] == 401)


@refuses("RT-03")
def test_every_useless_refresh_token_gets_the_same_answer(world: World) -> None:
    ended, idle = world.login(), world.login()
    world.each(lambda site: site.ask("revoke", ended.grant_id))
    answers = [
        world.refresh("x"),
        world.refresh(ended.refresh_token),
        world.refresh(idle.access_token),
    ]
    world.clock.forward(8 * 24 * HOUR)
    answers.append(world.refresh(idle.refresh_token))
    assert len({answer.reason for answer in answers}) == 3
    assert {(answer.status, answer.headers, answer.body) for answer in answers} == {
        (400, answers[0].headers, answers[0].body)
    }


@accepts("RT-03")
def test_a_client_that_names_another_hears_it(world: World) -> None:
    tokens, ended = world.login(client_id="mobile"), world.login(client_id="mobile")
    world.each(lambda site: site.ask("revoke", ended.grant_id))
    # Said before the store is asked: it says nothing about the grant.
    answers = [world.refresh(one.refresh_token, client_id="web") for one in (tokens, ended)]
    for answer in answers:
        assert refused(answer) == BAD_GRANT
        assert "client_id" in answer.json["error_description"]
        told = world.events[-1]
        assert isinstance(told, Refused)
        assert (told.reason, told.detail) == ("client_mismatch", "client_id")
    assert answers[0].body == answers[1].body
    assert world.refresh(tokens.refresh_token, client_id="mobile").status == 200


MALFORMED: dict[str, tuple[str, str, str]] = {  # content type, body, what is said
    "no-grant-type": (FORM, "refresh_token=x", "The parameter grant_type is missing"),
    "no-token": (FORM, "grant_type=refresh_token", "The parameter refresh_token is missing"),
    "nothing": (FORM, "", "The parameter grant_type is missing"),
    "token-twice": (
        FORM,
        "grant_type=refresh_token&refresh_token=x&refresh_token=y",
        "The parameter refresh_token comes twice",
    ),
    "scope-twice": (FORM, "scope=a&x=1&scope=b&y=2", "The parameter scope comes twice"),
    "json-twice": (JSON, '{"scope":"a","scope":"b"}', "The parameter scope comes twice"),
    "no-text": (JSON, '{"x":"1","scope":["a"]}', "The parameter scope isn't text"),
    # The sender's own words are never repeated.
    "unknown-twice": (FORM, "evil=1&evil=2", "A parameter comes twice"),
    "unknown-json-twice": (JSON, '{"evil":"1","evil":"2"}', "A parameter comes twice"),
    "unknown-no-text": (JSON, '{"evil":1}', "A parameter isn't text"),
    "no-form": (FORM, "a=%ff", "The body of the request can't be read"),
    "no-json": (JSON, "a=1", "The body of the request can't be read"),
    "too-many": (
        JSON,
        json.dumps({str(one): "x" for one in range(40)}),
        "The body of the request can't be read",
    ),
    "text": ("text/plain", "a=1", f"The body of the request must be {FORM} or {JSON}"),
}


@refuses("RT-01", "RT-03")
@pytest.mark.parametrize(("kind", "body", "said"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_request_hears_what_is_wrong(
    doors: World, kind: str, body: str, said: str
) -> None:
    answer = doors.post_octets(REFRESH, body.encode(), kind)
    assert refused(answer) == BAD_REQUEST
    assert answer.json["error_description"] == said
    told = doors.events[-1]
    assert isinstance(told, Refused)
    assert "evil" not in told.detail
    if told.reason == "parameter_malformed":
        assert told.detail == said.removeprefix("The parameter ").removeprefix("A parameter ")


@refuses("RT-03")
def test_a_revocation_without_a_token_hears_it(doors: World) -> None:
    answer = doors.post(REVOKE, {"client_id": "x"})
    assert refused(answer) == BAD_REQUEST
    assert answer.json["error_description"] == "The parameter token is missing"


# --- RT-02: how long the login lasts


WEEK, MONTH = 7 * DAY, 30 * DAY


def lasts(found: Mapping[str, Any]) -> tuple[int, int]:
    """Return the seconds to the end of the refresh token, if it isn't used, and of the grant."""
    assert found.keys() >= LASTS
    assert {type(found[name]) for name in LASTS} == {int}
    assert found["refresh_token_expires_in"] == found["refresh_token_timeout"]
    return found["refresh_token_timeout"], found["authorization_expires_in"]


@accepts("RT-02")
def test_every_answer_says_how_long_the_login_lasts(world: World) -> None:
    # The example of draft-ietf-oauth-refresh-token-expiration: a week, within a month.
    found: Mapping[str, Any] = world.login()
    assert lasts(found) == (WEEK, MONTH)
    for days, expected in ((7, (WEEK, 23 * DAY)), (7, (WEEK, 16 * DAY)), (7, (WEEK, 9 * DAY))):
        world.clock.forward(days * DAY)
        found = world.renewed(found["refresh_token"])
        assert lasts(found) == expected
    world.clock.forward(7 * DAY)
    found = world.renewed(found["refresh_token"])
    assert lasts(found) == (2 * DAY, 2 * DAY)
    world.clock.forward(30)
    kept = world.renewed(found["refresh_token"])
    assert kept["refresh_token"] == found["refresh_token"]
    assert lasts(kept) == (2 * DAY - 30, 2 * DAY - 30)
    world.clock.forward(2 * DAY - 31)
    assert lasts(world.renewed(kept["refresh_token"])) == (1, 1)
    world.clock.forward(1)
    assert refused(world.refresh(kept["refresh_token"])) == BAD_GRANT


@accepts("RT-02", "RT-28")
def test_a_token_serves_for_as_long_as_is_said(world: World) -> None:
    first = world.login()
    world.clock.forward(59)
    kept = world.renewed(first.refresh_token)
    assert kept["refresh_token"] == first.refresh_token
    world.clock.forward(lasts(kept)[0])
    found = world.renewed(first.refresh_token)
    world.clock.forward(30)
    repeated = world.renewed(first.refresh_token)
    assert repeated["refresh_token"] != found["refresh_token"]
    world.clock.forward(lasts(repeated)[0])
    assert world.refresh(repeated["refresh_token"]).status == 200


def test_a_row_with_an_idle_limit_of_its_own_counts_by_it(doors: World) -> None:
    tokens = doors.login()

    def shorten(site: Site) -> None:
        row = site.store._grants[tokens.grant_id]
        site.store._grants[tokens.grant_id] = replace(row, idle_limit=600.5)

    doors.each(shorten)
    assert lasts(doors.renewed(tokens.refresh_token)) == (600, MONTH)


@accepts("RT-02", "RT-20")
def test_in_cookie_mode_it_is_said_too() -> None:
    with opened(DOORS, refresh={"cookies": Cookies(access=True)}) as world:
        assert lasts(world.login()) == (WEEK, MONTH)


# --- RT-04: scope and client


@accepts("RT-04")
def test_scope_narrows_for_one_access_token_and_the_grant_keeps_all(world: World) -> None:
    token = world.login(scope="read write admin").refresh_token
    for _ in range(2):
        world.clock.forward(2 * MINUTE)
        found = world.renewed(token, scope="write")
        assert (found["scope"], claims_of(found["access_token"])["scope"]) == ("write", "write")
        # RFC 6749 s6: "the refresh token scope MUST be identical to that of the refresh token
        # included by the client in the request".
        token = found["refresh_token"]
        assert claims_of(token)["scope"] == "read write admin"
    assert world.renewed(token)["scope"] == "read write admin"


@accepts("RT-04")
def test_its_own_client_may_name_itself(world: World) -> None:
    token = world.login(client_id="mobile").refresh_token
    found = world.renewed(token, client_id="mobile")
    assert claims_of(found["access_token"])["client_id"] == "mobile"


@refuses("RT-04")
@pytest.mark.parametrize("scope", ["admin", "read admin", "READ", "rea", "readwrite"])
def test_scope_never_widens(doors: World, scope: str) -> None:
    tokens = doors.login(scope="read write")
    doors.clock.forward(HOUR)
    assert refused(doors.refresh(tokens.refresh_token, scope=scope)) == (400, "invalid_scope")
    assert doors.row(tokens.grant_id).generation == 1


@refuses("RT-04")
def test_another_client_gets_nothing_and_changes_nothing(world: World) -> None:
    tokens = world.login()
    world.clock.forward(HOUR)
    assert refused(world.refresh(tokens.refresh_token, client_id="another")) == BAD_GRANT
    row = world.row(tokens.grant_id)
    assert (row.generation, row.ended_at) == (1, None)


@refuses("RT-04")
def test_a_scope_repeated_a_thousand_times_is_no_fault_of_ours(world: World) -> None:
    # It would make an access token that no server takes.
    tokens = world.login(scope="read write")
    world.clock.forward(HOUR)
    answer = world.refresh(tokens.refresh_token, scope=" ".join(["read"] * 2000))
    if answer.status == 200:
        assert answer.json["scope"] == "read"
    else:
        assert refused(answer) == (400, "invalid_scope")
        assert world.row(tokens.grant_id).generation == 1


# --- RT-05 and RT-23: authenticity and kind


@accepts("RT-05")
def test_no_two_refresh_tokens_or_grants_are_alike() -> None:
    with single(("wsgi", memory), refresh={"grants_per_subject": 10000}) as site:
        tokens = [site.issuer.issue("alice") for _ in range(500)]
    seen = [claims_of(one.refresh_token) for one in tokens]
    for name in ("sid", "jti"):
        assert len({one[name] for one in seen}) == len(seen)
        # RFC 6749 s10.10: 128 random bits, and every bit of them varies.
        # Before those of a grant stands the letter of its subject's shard.
        octets = [urlsafe_b64decode(one[name][-22:] + "==") for one in seen]
        numbers = [int.from_bytes(one, "big") for one in octets]
        assert {len(one) for one in octets} == {16}
        assert all(0 < sum(number >> bit & 1 for number in numbers) < 500 for bit in range(128))
    assert all(one.refresh_token.isascii() and one.refresh_token.isprintable() for one in tokens)


def test_what_was_read_of_a_refresh_token_shows_nothing_that_can_be_presented() -> None:
    keys = RefreshKeys([from_text("8yN3vQf0-hK2mWxZ7bTg5RcEj1LpAuSd")], ISSUER)
    with single(("wsgi", memory)) as site:
        grant = site.row(site.issuer.issue("alice").grant_id)
    text = mint(keys, grant=grant, jti="never-shown", now=1_800_000_000, agent=None)
    token = check(text, keys, now=1_800_000_000)
    assert token.jti == "never-shown"
    assert repr(token) == f"<RefreshToken of grant {grant.id}, generation 1>"


@accepts("RT-05")
def test_no_user_data_is_in_a_refresh_token(world: World) -> None:
    tokens = world.login("alice", claims={"email": "alice@example.org"}, user_agent="Browser/1")
    claims = claims_of(tokens.refresh_token)
    assert set(claims) == {
        *("iss", "aud", "sid", "gen", "jti", "client_id", "scope", "iat", "exp", "agent")
    }
    assert (claims["iss"], claims["aud"]) == (ISSUER, ISSUER)
    assert "alice" not in json.dumps(claims)
    assert len(claims["agent"]) == 4  # 24 bits: enough to tell two apart, too few to name one


def forge(text: str, key: Key, header: dict[str, Any], **claims: Any) -> str:
    """Return the token with other claims or another header, signed anew."""
    own = {"alg": key.algorithm.name, "kid": key.kid, "typ": "rt+jwt"}
    return seal(
        json_octets(present(own, header)), json_octets(present(claims_of(text), claims)), key
    )


OURS = from_secret(SECRET, "HS256")
THEIRS = from_secret(sha256(b"another secret").digest(), "HS256", kid=OURS.kid)
# Loading one would be refused; a thief has his own tools.
PUBLIC = Key(KEYS.keys[0].kid, OURS.algorithm, None, json.dumps(KEYS.public_jwks()).encode())
FORGERIES: dict[str, tuple[Key, dict[str, Any], dict[str, Any]]] = {
    "another-secret": (THEIRS, {}, {}),
    "another-secret-and-name": (from_secret(THEIRS.private, "HS256"), {}, {}),  # type: ignore[arg-type]
    "the-public-key-as-secret": (PUBLIC, {}, {}),
    "the-signing-key": (KEYS.keys[0], {}, {}),
    "no-name": (OURS, {"kid": ABSENT}, {}),
    "no-algorithm": (OURS, {"alg": "none"}, {}),
    "another-algorithm": (OURS, {"alg": "HS384"}, {}),
    "no-type": (OURS, {"typ": ABSENT}, {}),
    "an-access-tokens-type": (OURS, {"typ": "at+jwt"}, {}),
    "critical": (OURS, {"crit": ["exp"]}, {}),
    "another-issuer": (OURS, {}, {"iss": "https://other.example"}),
    "another-audience": (OURS, {}, {"aud": AUDIENCE}),
    "past": (OURS, {}, {"exp": 1}),
    "no-end": (OURS, {}, {"exp": ABSENT}),
    "an-end-as-text": (OURS, {}, {"exp": "4102444800"}),
    "no-begin": (OURS, {}, {"iat": ABSENT}),
    "no-generation": (OURS, {}, {"gen": ABSENT}),
    "a-generation-as-text": (OURS, {}, {"gen": "1"}),
    "a-generation-that-is-true": (OURS, {}, {"gen": True}),
    "no-grant": (OURS, {}, {"sid": ABSENT}),
    "a-grant-of-another-type": (OURS, {}, {"sid": 1}),
    "an-unknown-grant": (OURS, {}, {"sid": "AAAAAAAAAAAAAAAAAAAAAA"}),
    "no-jti": (OURS, {}, {"jti": ABSENT}),
    "no-client": (OURS, {}, {"client_id": ABSENT}),
    "no-scope": (OURS, {}, {"scope": ABSENT}),
}


@refuses("RT-05")
@pytest.mark.parametrize(("key", "header", "claims"), FORGERIES.values(), ids=FORGERIES)
def test_a_forged_refresh_token_buys_nothing(
    doors: World, key: Key, header: dict[str, Any], claims: dict[str, Any]
) -> None:
    tokens = doors.login()
    assert refused(doors.refresh(forge(tokens.refresh_token, key, header, **claims))) == BAD_GRANT
    assert doors.is_alive(tokens.grant_id)


@refuses("RT-05")
def test_a_forged_token_never_reaches_the_store() -> None:
    with opened(FAULTY, refresh={"secret": SECRET}) as world:
        token = world.login().refresh_token
        world.each(lambda site: site.store.calls.clear())
        for forgery in (token[:-4], token + "A", forge(token, THEIRS, {}, gen=7), "x", "..", ""):
            world.refresh(forgery)
            world.revoke(forgery)
        assert world.each(lambda site: list(site.store.calls)) == []
        assert world.refresh(token).status == 200
        assert world.each(lambda site: list(site.store.calls)) == ["advance"]


@accepts("RT-05")
def test_a_new_secret_signs_and_the_old_one_still_verifies() -> None:
    old, new = SECRET, sha256(b"the next secret").digest()
    with opened(refresh={"secret": (new, old)}) as world:
        tokens = world.login()
        world.clock.forward(HOUR)
        by_old = forge(tokens.refresh_token, OURS, {})
        found = world.renewed(by_old)["refresh_token"]
        kid = json.loads(urlsafe_b64decode(found.split(".")[0] + "=="))["kid"]
        assert kid == from_secret(new, "HS256").kid


@accepts("RT-23")
def test_each_token_opens_what_it_is_for(world: World) -> None:
    tokens = world.login()
    assert world.call(tokens.access_token).user == "alice"
    assert world.refresh(tokens.refresh_token).status == 200


@refuses("RT-23")
def test_no_token_opens_what_another_is_for(world: World) -> None:
    tokens = world.login()
    assert (world.call(tokens.refresh_token).reason, world.refresh(tokens.access_token).reason) == (
        "type_not_allowed",
        "type_not_allowed",
    )
    # Whatever its type says: the keys differ, too.
    as_access = forge(tokens.refresh_token, OURS, {"typ": "at+jwt"}, aud=AUDIENCE, sub="alice")
    as_refresh = forge(tokens.access_token, KEYS.keys[0], {"typ": "rt+jwt"}, gen=1, aud=ISSUER)
    assert world.call(as_access).reason == "key_unknown"
    assert world.refresh(as_refresh).reason == "key_unknown"
    for kind in ("id+jwt", "JWT", "dpop+jwt", "logout+jwt", "application/rt+jwt", "RT+JWT"):
        other = forge(tokens.refresh_token, OURS, {"typ": kind})
        assert world.refresh(other).reason == "type_not_allowed"
    for path in (REFRESH, REVOKE):
        assert world.post(path, headers=[("Authorization", f"Bearer {tokens.access_token}")]) == (
            world.post(path)
        )


@refuses("RT-23")
def test_one_secret_for_both_kinds_is_refused_at_start() -> None:
    # RFC 8725 s3.12: "Use different keys for different kinds of JWTs".
    other = sha256(b"another secret").digest()
    for secrets in (SECRET, (other, SECRET), (SECRET.hex(), SECRET)):
        with pytest.raises(ConfigurationError, match=r"refresh\.secret"):
            Settings(
                issuer=ISSUER,
                audience=AUDIENCE,
                keys=KeySet.secret(SECRET),
                refresh=Refresh(store="memory://", secret=secrets),
            )


@accepts("RT-23")
def test_a_secret_that_signs_access_tokens_has_another_derived_from_it() -> None:
    keys = KeySet.secret(SECRET)
    with opened(keys=keys) as world:
        tokens = world.login()
        assert world.call(tokens.access_token).status == 200
        assert world.refresh(tokens.refresh_token).status == 200
        assert world.call(tokens.refresh_token).reason == "type_not_allowed"
        assert world.refresh(tokens.access_token).reason == "type_not_allowed"
        derived = derive(keys.keys[0], ISSUER)
        typ = {"typ": "at+jwt"}
        as_access = forge(tokens.refresh_token, derived, typ, aud=AUDIENCE, sub="alice")
        assert world.call(as_access).reason == "key_unknown"


# --- RT-16: the application's hook


class Directory:
    """An application's users, as its hook sees them."""

    def __init__(self) -> None:
        self.roles = ["editor"]
        self.is_active = True
        self.is_broken = False

    def claims_for(self, grant: Grant) -> dict[str, Any]:
        assert grant.subject == "alice"
        if self.is_broken:
            raise LookupError("no such table")
        if not self.is_active:
            raise EndGrant("deactivated")
        return {"roles": list(self.roles)}

    async def aclaims_for(self, grant: Grant) -> dict[str, Any]:
        return self.claims_for(grant)


@accepts("RT-16")
def test_fresh_claims_come_with_every_refresh() -> None:
    users = Directory()
    with opened(refresh={"claims_for": users.claims_for}) as world:
        tokens = world.login()
        assert claims_of(tokens.access_token)["roles"] == ["editor"]
        users.roles = ["reader"]
        found = world.renewed(tokens.refresh_token)
        answer = world.call(found["access_token"])
        assert answer.token is not None
        assert answer.token.claims["roles"] == ("reader",)
        assert "roles" not in claims_of(found["refresh_token"])


@accepts("RT-16")
def test_an_asynchronous_hook_is_awaited() -> None:
    asynchronous = tuple(kind for kind in SITES if kind[0] == "asgi")
    with opened(asynchronous, refresh={"claims_for": Directory().aclaims_for}) as world:
        found = world.renewed(world.login().refresh_token)
        assert claims_of(found["access_token"])["roles"] == ["editor"]


@refuses("RT-16")
def test_a_user_whom_the_hook_refuses_is_out_everywhere() -> None:
    users = Directory()
    with opened(refresh={"claims_for": users.claims_for}) as world:
        tokens = world.login()
        users.is_active = False
        assert refused(world.refresh(tokens.refresh_token)) == BAD_GRANT
        row = world.row(tokens.grant_id)
        assert (row.ended_at, row.end_reason) == (world.clock.now, "deactivated")
        users.is_active = True
        assert refused(world.refresh(tokens.refresh_token)) == BAD_GRANT
        assert world.call(tokens.access_token).reason == "grant_ended"


@refuses("RT-16")
def test_a_hook_that_fails_logs_nobody_out(caplog: pytest.LogCaptureFixture) -> None:
    users = Directory()
    with opened(refresh={"claims_for": users.claims_for}) as world:
        tokens = world.login()
        world.clock.forward(HOUR)
        users.is_broken = True
        answer = world.refresh(tokens.refresh_token)
        assert refused(answer) == (503, "temporarily_unavailable")
        assert answer.header("retry-after") == "1"
        assert "claims_for raised LookupError" in caplog.text
        users.is_broken = False
        assert world.refresh(tokens.refresh_token).status == 200


@refuses("RT-16")
@pytest.mark.parametrize(
    "claims",
    [
        None,
        5,
        "text",
        {"sub": "root"},
        {"sid": "x"},
        {"a": float("nan")},
        {"a": {1, 2}},
        [("sub", "root")],
    ],
    ids=str,
)
def test_a_hook_cannot_forge_what_the_issuer_says(claims: Any) -> None:
    answers: list[Any] = [{}, claims]
    with opened((("wsgi", memory),), refresh={"claims_for": lambda _: answers.pop(0)}) as world:
        token = world.login().refresh_token
        assert refused(world.refresh(token)) == (503, "temporarily_unavailable")


# --- at the login

BAD_LOGINS: dict[str, tuple[str, dict[str, Any]]] = {
    "no-subject": ("", {}),
    "a-newline": ("alice\n", {}),
    "a-lone-surrogate": ("\ud800", {}),
    "the-clients-name": ("first-party", {}),
    "a-clients-name": ("mobile", {"client_id": "mobile"}),
    "a-client-with-newline": ("alice", {"client_id": "a\r\nb"}),
    "a-scope-with-quotes": ("alice", {"scope": 'read "write"'}),
    "a-scope-with-newline": ("alice", {"scope": "read\nwrite"}),
    "two-spaces": ("alice", {"scope": "read  write"}),
    "a-scope-as-a-list": ("alice", {"scope": ["read"]}),
    "nan": ("alice", {"claims": {"a": float("nan")}}),
    "no-json": ("alice", {"claims": {"a": object()}}),
    "too-large": ("alice", {"claims": {"a": "x" * 8000}}),
    **{
        f"the-claim-{name}": ("alice", {"claims": {name: "x"}})
        for name in ("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "scope", "sid")
    },
    "the-claim-cnf": ("alice", {"claims": {"cnf": {"jkt": "x"}}}),
    "pairs-of-claims": ("alice", {"claims": [("sub", "root")]}),
}


@refuses("RT-05")
@pytest.mark.parametrize(("subject", "options"), BAD_LOGINS.values(), ids=BAD_LOGINS)
def test_a_login_with_bad_input_begins_nothing(subject: str, options: dict[str, Any]) -> None:
    with opened(DOORS) as world:
        old = world.login("bob")

        def issue(site: Site) -> None:
            with pytest.raises(ValueError, match=r"subject|client_id|scope|claims"):
                site.ask("issue", subject, replaces=old.refresh_token, **options)

        world.each(issue)
        assert world.each(lambda site: site.ask("grants", subject)) == ()
        assert world.is_alive(old.grant_id)


def test_a_login_without_the_store_begins_nothing() -> None:
    with opened(FAULTY) as world:
        world.each(lambda site: site.store.fails.add("add"))

        def issue(site: Site) -> None:
            with pytest.raises(StoreUnavailable):
                site.ask("issue", "alice")

        world.each(issue)
        world.each(lambda site: site.store.fails.clear())
        assert world.each(lambda site: site.ask("grants", "alice")) == ()
        assert world.call(world.login().access_token).status == 200


@pytest.mark.parametrize("error", [RuntimeError("gone"), EndGrant("disabled")], ids=type)
def test_a_refresh_that_the_application_refuses_is_no_use(error: Exception) -> None:
    is_failing: list[bool] = []

    def claims_for(grant: Grant) -> dict[str, str]:
        if is_failing:
            raise error
        return {}

    with opened(DOORS, refresh={"claims_for": claims_for}) as world:
        tokens = world.login()
        world.clock.forward(HOUR)
        world.renewed(tokens.refresh_token)
        # The same token once more is served without a rotation, and would be recorded.
        world.clock.forward(2 * HOUR)
        is_failing.append(True)
        assert world.refresh(tokens.refresh_token).status in (400, 503)
        assert world.row(tokens.grant_id).last_used_at is None
        if isinstance(error, RuntimeError):
            is_failing.clear()
            world.renewed(tokens.refresh_token)
            assert world.row(tokens.grant_id).last_used_at == world.clock.now
