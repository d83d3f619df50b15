"""Whatever is sent: nothing raises, both doors agree, and what passes is what the rules let pass.

The rules are stated here a second time, in other words and without a line of the package's, from
RFC 6750, 7515, 7519 and 9068. `World.request` asserts that the doors agree.
"""

import base64
import json
import re
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import assume, given
from hypothesis import strategies as st

from jwt_middleware import KeySet, Route, Settings
from jwt_middleware.jose import jwk
from jwt_middleware.testing import TokenFactory
from tests.rules import refuses
from tests.world import World

NOW = 1_800_000_000
ISSUER, AUDIENCE, KID = "https://login.example", "https://api.example", "the-key"
PRIVATE = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ROUTES = (
    Route("/health", public=True),
    Route("/static/*", public=True, methods=("GET",)),
    Route("/admin/*", scope="admin"),
)
WORLD = World(
    Settings(
        issuer=ISSUER,
        audience=AUDIENCE,
        keys=KeySet([jwk.from_object(PRIVATE, kid=KID)]),
        routes=ROUTES,
        clock=lambda: NOW,
    )
)


def b64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def sealed(header: bytes, payload: bytes) -> str:
    """Return a token with the issuer's own, good signature over whatever these octets are."""
    message = f"{b64url(header)}.{b64url(payload)}"
    return f"{message}.{b64url(PRIVATE.sign(message.encode()))}"


HEADER: dict[str, Any] = {"alg": "Ed25519", "kid": KID, "typ": "at+jwt"}
CLAIMS: dict[str, Any] = {
    "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "client_id": "app", "jti": "1",
    "iat": NOW, "exp": NOW + 600, "scope": "read",
}  # fmt: skip
GOOD = sealed(json.dumps(HEADER).encode(), json.dumps(CLAIMS).encode())


# The rules, once more.


class Wrong(Exception):
    """This is no JSON as a token may hold it."""


def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if sorted(set(names)) != sorted(names):
        raise Wrong
    return dict(pairs)


def no_constant(_: str) -> None:
    raise Wrong


def strict_object(octets: bytes) -> dict[str, Any] | None:
    """Return the one JSON object that these octets are, or None."""
    try:
        text = octets.decode("utf-8")
        found = json.loads(text, object_pairs_hook=members, parse_constant=no_constant)
        written = json.dumps(found, ensure_ascii=False, allow_nan=False)  # refuses 1e999
        written.encode("utf-8")  # refuses lone surrogates
    except (ValueError, RecursionError, Wrong):
        return None
    return found if isinstance(found, dict) and not text.startswith("\ufeff") else None


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_time(value: object) -> bool:
    return is_number(value) and 0 <= value < 253402300800  # type: ignore[operator]


def is_name(value: object) -> bool:
    unseen = "[\x00-\x1f\x7f-\x9f\u2028\u2029]"
    return isinstance(value, str) and value != "" and not re.search(unseen, value)


def is_audience(value: object) -> bool:
    if isinstance(value, list):
        return AUDIENCE in value and all(isinstance(one, str) for one in value)
    return value == AUDIENCE


def scopes(value: object) -> set[str]:
    word = r"[\x21\x23-\x5b\x5d-\x7e]+"
    if isinstance(value, list):
        return {one for one in value if isinstance(one, str) and re.fullmatch(word, one)}
    if isinstance(value, str) and re.fullmatch(f"{word}( {word})*", value):
        return set(value.split(" "))
    return set()


def is_scope(value: object) -> bool:
    return value == "" or (isinstance(value, str) and scopes(value) != set())


def good_header(header: dict[str, Any] | None) -> bool:
    if header is None or header.keys() & {"crit", "b64", "enc", "zip", "cty"}:
        return False
    typ = header.get("typ")
    return (
        header.get("alg") == "Ed25519"
        and ("kid" not in header or header["kid"] == KID)
        and isinstance(typ, str)
        and typ.lower() in ("at+jwt", "application/at+jwt")
    )


def good_claims(claims: dict[str, Any] | None) -> bool:
    if claims is None or not {"iss", "aud", "sub", "client_id", "jti", "iat", "exp"} <= set(claims):
        return False
    return (
        claims["iss"] == ISSUER
        and is_audience(claims["aud"])
        and all(is_name(claims[name]) for name in ("sub", "client_id", "jti"))
        and is_name(claims.get("sid", "absent"))
        and all(is_time(claims.get(name, 0)) for name in ("exp", "iat", "nbf"))
        and claims["exp"] + 30 > NOW
        and claims["iat"] - 30 <= NOW
        and claims.get("nbf", 0) - 30 <= NOW
        and "cnf" not in claims
        and is_scope(claims.get("scope", ""))
    )


def check(token: str, header: bytes, payload: bytes) -> bool:
    """Send a token, expect what the rules say, and say whether it passed."""
    expected = good_header(strict_object(header)) and good_claims(strict_object(payload))
    answer = WORLD.get("/", token)
    assert answer.reached is expected, answer.reason
    if not expected:
        assert (answer.status, answer.error) == (401, "invalid_token")
        return False
    claims = strict_object(payload)
    assert answer.token is not None
    assert claims is not None
    assert answer.token.scopes == scopes(claims.get("scope"))
    return expected


# What is sent.

texts = st.text(max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda some: st.lists(some, max_size=3) | st.dictionaries(texts, some, max_size=3),
    max_leaves=5,
)
ODD_TIMES = [0, -1, True, False, str(NOW), 1e15, 253402300800, 253402300799, None, [NOW]]
times = st.integers(NOW - 40, NOW + 40) | st.floats(NOW - 40, NOW + 40) | st.sampled_from(ODD_TIMES)
audiences = st.sampled_from([AUDIENCE, AUDIENCE + "/", AUDIENCE.upper(), "other", 5, ""])
claim_changes = st.one_of(
    st.tuples(st.sampled_from(["exp", "iat", "nbf"]), times | json_values),
    st.tuples(st.just("aud"), audiences | st.lists(audiences, max_size=3) | json_values),
    st.tuples(st.just("iss"), st.sampled_from([ISSUER, ISSUER + "/", [ISSUER], None])),
    st.tuples(st.just("scope"), st.text(' !"#[\\]~\x7fé', max_size=6) | json_values),
    st.tuples(st.sampled_from(["sub", "jti", "client_id", "sid"]), texts | json_values),
    st.tuples(st.sampled_from(["cnf", "roles", "act", "", "azp"]), json_values),
    st.tuples(st.sampled_from(list(CLAIMS)), st.just(...)),
)
header_changes = st.one_of(
    st.tuples(
        st.just("alg"),
        st.sampled_from(["Ed25519", "EdDSA", "none", "HS256", "ed25519", None, ["Ed25519"]]),
    ),
    st.tuples(st.just("kid"), st.sampled_from([KID, KID[:-1], "", None, 5, "../" + KID]) | texts),
    st.tuples(
        st.just("typ"),
        st.sampled_from(["AT+JWT", "application/at+jwt", "Application/AT+JWT", "JWT", "rt+jwt", ""])
        | json_values,
    ),
    st.tuples(st.sampled_from(["crit", "b64", "enc", "zip", "cty"]), json_values),
    st.tuples(st.sampled_from(["jwk", "jku", "x5c", "more"]), json_values),
    st.tuples(st.sampled_from(list(HEADER)), st.just(...)),
)


def changed(good: dict[str, Any], changes: list[tuple[str, Any]]) -> bytes:
    found = {name: value for name, value in (good | dict(changes)).items() if value is not ...}
    return json.dumps(found).encode()


@st.composite
def spoilt(draw: st.DrawFn, good: str) -> str:
    """Replace, insert, delete or swap: draw one change of a text, that leaves another text."""
    at = draw(st.integers(0, len(good) - 1))
    character = draw(st.sampled_from("Ab0-_=. \n") | st.characters(exclude_categories=()))
    done: str = draw(
        st.sampled_from(
            [
                good[:at] + character + good[at + 1 :],
                good[:at] + character + good[at:],
                good[:at] + good[at + 1 :],
                good[:at] + good[at + 1 : at + 2] + good[at] + good[at + 2 :],
            ]
        )
    )
    assume(done != good)
    return done


# Tokens.


def test_the_good_token_is_good_by_both_statements() -> None:
    assert check(GOOD, json.dumps(HEADER).encode(), json.dumps(CLAIMS).encode())


@refuses("RS-30", "RS-31", "RS-32", "RS-33", "RS-34", "RS-35", "RS-36", "RS-38")
@given(st.lists(claim_changes, min_size=1, max_size=3))
def test_authentic_claims_pass_by_the_rules_only(changes: list[tuple[str, Any]]) -> None:
    header, payload = json.dumps(HEADER).encode(), changed(CLAIMS, changes)
    check(sealed(header, payload), header, payload)


@refuses("RS-14", "RS-22", "RS-23", "RS-24", "RS-26")
@given(st.lists(header_changes, min_size=1, max_size=2))
def test_authentic_headers_pass_by_the_rules_only(changes: list[tuple[str, Any]]) -> None:
    header, payload = changed(HEADER, changes), json.dumps(CLAIMS).encode()
    check(sealed(header, payload), header, payload)


@refuses("RS-12", "RS-13")
@given(st.booleans(), spoilt(json.dumps(HEADER)), spoilt(json.dumps(CLAIMS)))
def test_authentic_octets_pass_as_strict_json_only(in_header: bool, one: str, two: str) -> None:
    header = (one if in_header else json.dumps(HEADER)).encode("utf-8", "surrogatepass")
    payload = (json.dumps(CLAIMS) if in_header else two).encode("utf-8", "surrogatepass")
    check(sealed(header, payload), header, payload)


@refuses("RS-12")
@given(st.binary(max_size=40) | json_values.map(lambda value: json.dumps(value).encode()))
def test_anything_authentic_as_header_or_payload_is_refused(octets: bytes) -> None:
    assert not check(sealed(octets, json.dumps(CLAIMS).encode()), octets, b"")
    assert not check(sealed(json.dumps(HEADER).encode(), octets), b"", octets)


@cache
def factory(algorithm: str) -> tuple[World, str]:
    made = TokenFactory(algorithm=algorithm, clock=lambda: NOW)
    return World(made.settings()), made.token(scope="read")


@refuses("RS-10", "RS-11")
@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "PS256", "ES256", "ES512", "Ed25519"])
@given(data=st.data())
def test_a_token_with_one_change_never_passes(algorithm: str, data: st.DataObject) -> None:
    world, good = factory(algorithm)
    assert world.get("/", good).reached
    token = data.draw(spoilt(good))
    assume(token.strip(" \t") != good)  # white space around a field's value isn't part of it
    answer = world.get("/", token)
    assert not answer.reached
    assert answer.status in (400, 401)


@refuses("RS-10")
@given(st.text() | st.lists(st.text("Ae0_-", max_size=9), max_size=6).map(".".join))
def test_a_token_made_of_anything_never_passes(token: str) -> None:
    answer = WORLD.get("/", token)
    assert (answer.reached, answer.status in (400, 401)) == (False, True)


# Headers.

BEARER = re.compile(rb"[ \t]*bearer +([A-Za-z0-9._~+/-]+=*)[ \t]*", re.IGNORECASE)
WORDS = (b"Bearer", b"bEARER", b"Basic", b"DPoP", b"realm=x", GOOD.encode(), GOOD.encode()[:-1])
pieces = st.sampled_from([*WORDS, b" ", b"\t", b",", b"=", b'"', b"\x00", b"\xe9", b"\r\n"])
field_values = st.lists(pieces, max_size=5).map(b"".join) | st.binary(max_size=30)


@refuses("RS-01", "RS-03", "RS-04")
@given(st.lists(field_values, max_size=3))
def test_an_authorization_passes_only_if_it_is_one_bearer_and_the_token(sent: list[bytes]) -> None:
    answer = WORLD.get(headers=[("Authorization", value) for value in sent])
    match = BEARER.fullmatch(sent[0]) if len(sent) == 1 else None
    assert answer.reached is (match is not None and match[1] == GOOD.encode())
    assert answer.reached or answer.status in (400, 401)


# Paths and methods.

NAMES = ("health", "static", "admin", "Health", "health ", "%68ealth", "health\n", "é")
segments = st.sampled_from([*NAMES, "", ".", "..", "a;b", "a\\b", "\x00", "?", "#", "*"])
joined = st.lists(segments | st.text(max_size=5), max_size=4).map("/".join)
paths = joined.map("/".__add__) | st.text(max_size=9)
methods = st.sampled_from(["GET", "HEAD", "POST", "OPTIONS", "get", "PRI"]) | st.text(max_size=5)


@given(paths, methods)
def test_nobody_passes_but_on_a_public_path_in_its_canonical_form(path: str, method: str) -> None:
    answer = WORLD.request(method, path)
    plain = re.fullmatch(r"/static(/[A-Za-z0-9._~!$&'()*+,=:@-]+)*/?", path) is not None
    dots = {".", ".."} & set(path.split("/"))
    public = path == "/health" or (
        plain and not dots and path != "/static" and method in ("GET", "HEAD")
    )
    assert answer.reached is public, path
    assert answer.token is None
    assert answer.reached or answer.status in (400, 401)


@refuses("RS-38")
@given(paths, methods)
def test_a_token_without_the_scope_does_not_reach_what_needs_it(path: str, method: str) -> None:
    answer = WORLD.request(method, path, GOOD)
    if path.strip("/").startswith("admin/") or path.strip("/") == "admin":
        assert not answer.reached
    assert answer.reached or answer.status in (400, 403)
