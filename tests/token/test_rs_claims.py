"""RS-30 to RS-38, RS-40: what a token says is checked, letter for letter and second for second."""

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwt_middleware import AccessToken, ConfigurationError, Route, profiles
from jwt_middleware.testing import ABSENT, TokenFactory
from jwt_middleware.testing.mint import json_octets, seal
from tests.rules import accepts, refuses
from tests.world import World

NOW = 1_800_000_000
LEEWAY = 30  # seconds, the default
FACTORY = TokenFactory(clock=lambda: NOW)
ROUTES = (Route("/read/*", scope="read"), Route("/optional", optional=True))
WORLD = World(FACTORY.settings(routes=ROUTES))
EXACT = World(FACTORY.settings(leeway=0))


def let_in(*, world: World = WORLD, **claims: Any) -> AccessToken:
    """Return what the application reads of a token with these claims."""
    answer = world.get(token=FACTORY.token(**claims))
    assert (answer.status, answer.reason) == (200, None)
    assert answer.token is not None
    return answer.token


def refused(*, world: World = WORLD, **claims: Any) -> str | None:
    """Return why, after checking that the answer is that of every bad token."""
    answer = world.get(token=FACTORY.token(**claims))
    assert (answer.status, answer.error, answer.reached) == (401, "invalid_token", False)
    return answer.reason


def one(name: str, value: object) -> dict[str, Any]:
    return {name: value}


def literal(name: str, text: bytes) -> str:
    """Return a token in whose claims `name` is written just so."""
    claims = json_octets(FACTORY.claims(**{name: "@"})).replace(b'"@"', text)
    return seal(json_octets(FACTORY.header()), claims, FACTORY.key)


NO_TIMES: list[Any] = [
    True,
    False,
    None,
    "",
    str(NOW),
    [NOW],
    {},
    -1,
    253402300800,
    10**18,
    10**400,
    NOW * 1000,
]
NO_JSON_NUMBERS = [
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e400",
    b"-1e400",
    b"0x6B49D200",
    b"1_800_000_900",
]
NO_JSON_NUMBERS += [b"+1800000900", b"1800000900.", b"01800000900", b"1" * 5000]
times = pytest.mark.parametrize("value", NO_TIMES, ids=lambda value: repr(value)[:24])
no_numbers = pytest.mark.parametrize("text", NO_JSON_NUMBERS, ids=lambda text: text.decode()[:24])


@accepts("RS-30")
@pytest.mark.parametrize("exp", [NOW + 1, NOW + 0.5, NOW + 10**9, 253402300799])
def test_a_token_is_good_before_it_expires(exp: float) -> None:
    assert let_in(exp=exp, world=EXACT).expires_at == exp


@accepts("RS-30")
@pytest.mark.parametrize("text", [b"1.8000009e9", b"18000009E2", b"1800000900.0"])
def test_a_time_may_be_written_in_any_way_that_json_has(text: bytes) -> None:
    assert WORLD.get(token=literal("exp", text)).reached


@accepts("RS-30")
@pytest.mark.parametrize("leeway", [0, 0.5, 30, 300])
def test_the_leeway_is_added_to_the_second(leeway: float) -> None:
    world = World(FACTORY.settings(leeway=leeway))
    let_in(exp=NOW - leeway + 0.25, world=world)
    # RFC 7519 s4.1.4: "on or after which the JWT MUST NOT be accepted for processing".
    assert refused(exp=NOW - leeway, world=world) == "expired"


@refuses("RS-30")
@pytest.mark.parametrize("exp", [NOW, NOW - 0.5, NOW - 1, 1, 0])
def test_a_token_is_bad_from_the_second_of_its_expiry(exp: float) -> None:
    assert refused(exp=exp, world=EXACT) == "expired"


@refuses("RS-30")
@times
def test_exp_is_a_number_of_seconds_in_this_era(value: object) -> None:
    assert refused(exp=value) == "claim_malformed"


@refuses("RS-30")
@no_numbers
def test_exp_is_a_json_number(text: bytes) -> None:
    assert WORLD.get(token=literal("exp", text)).reason == "token_json"


@refuses("RS-30")
@pytest.mark.parametrize(
    "leeway", [300.5, 301, 3600, -1, float("inf"), float("nan"), True, "30", None]
)
def test_a_leeway_of_more_than_minutes_is_refused_at_the_start(leeway: object) -> None:
    with pytest.raises(ConfigurationError, match="leeway"):
        FACTORY.settings(leeway=leeway)


@accepts("RS-31")
@pytest.mark.parametrize("nbf", [NOW, NOW - 1, 0, ABSENT])
def test_a_token_is_good_from_the_second_of_nbf(nbf: object) -> None:
    let_in(nbf=nbf, world=EXACT)
    let_in(nbf=NOW + LEEWAY)


@refuses("RS-31")
def test_a_token_is_bad_before_nbf() -> None:
    for world, nbf in ((EXACT, NOW + 1), (EXACT, NOW + 0.5), (WORLD, NOW + LEEWAY + 1)):
        assert refused(nbf=nbf, world=world) == "not_yet_valid"


@refuses("RS-31")
@times
def test_nbf_where_it_is_given_is_a_number_of_seconds(value: object) -> None:
    assert refused(nbf=value) == "claim_malformed"


@accepts("RS-32")
@pytest.mark.parametrize("iat", [NOW, NOW - 10**8, 0, NOW + LEEWAY])
def test_a_token_may_be_old_and_its_issuers_clock_a_little_ahead(iat: float) -> None:
    let_in(iat=iat)


@refuses("RS-32")
def test_a_token_from_the_future_is_refused() -> None:
    for world, iat in ((EXACT, NOW + 1), (WORLD, NOW + LEEWAY + 1), (WORLD, NOW + 3600)):
        assert refused(iat=iat, world=world) == "issued_in_future"


@refuses("RS-32")
@times
def test_iat_is_a_number_of_seconds(value: object) -> None:
    assert refused(iat=value) == "claim_malformed"


@refuses("RS-32")
def test_iat_is_checked_where_a_profile_leaves_it_out() -> None:
    world = World(FACTORY.settings(profile=profiles.FOREIGN))
    let_in(iat=ABSENT, world=world)
    assert refused(iat="now", world=world) == "claim_malformed"
    assert refused(iat=NOW + 3600, world=world) == "issued_in_future"


COMPOSED, DECOMPOSED = (
    unicodedata.normalize(form, "https://zoë.example") for form in ("NFC", "NFD")
)


@accepts("RS-33")
@pytest.mark.parametrize(
    "issuer", ["https://login.example", "https://login.example/", "HTTPS://X", COMPOSED, DECOMPOSED]
)
def test_iss_is_the_configured_one(issuer: str) -> None:
    world = World(FACTORY.settings(issuer=issuer))
    assert let_in(iss=issuer, world=world).issuer == issuer


@refuses("RS-33")
@pytest.mark.parametrize(
    "iss",
    [
        "https://login.example/",
        "https://LOGIN.example",
        "HTTPS://login.example",
        "http://login.example",
        "https://login.exampl",
        "https://login.example.evil.example",
        "https://login.example:443",
        "https://login.example?",
        "https://login.example#",
        "https://evil@login.example",
        " https://login.example",
        "https://login.example ",
        "https://login.example\0",
        "https://login.ex\u0430mple",
        "https://\uff4cogin.example",
        "",
        ["https://login.example"],
        {"https://login.example": 1},
        True,
        None,
    ],
    ids=repr,
)
def test_any_other_iss_is_refused(iss: object) -> None:
    assert refused(iss=iss) == "issuer_not_trusted"


@refuses("RS-33")
def test_two_spellings_of_one_letter_are_two_issuers() -> None:
    for ours, theirs in ((COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)):
        assert ours != theirs
        assert (
            refused(iss=theirs, world=World(FACTORY.settings(issuer=ours))) == "issuer_not_trusted"
        )


US = FACTORY.audience


@accepts("RS-34")
@pytest.mark.parametrize("aud", [US, [US], ["https://other.example", US], [US, US]], ids=repr)
def test_aud_names_us_alone_or_among_others(aud: object) -> None:
    let_in(aud=aud)


@accepts("RS-34")
@refuses("RS-34")
def test_each_of_our_names_is_one_of_ours() -> None:
    world = World(FACTORY.settings(audience=("api", "https://api.example")))
    for aud in ("api", "https://api.example", ["api", "x"]):
        let_in(aud=aud, world=world)
    for aud in ("ap", "api https://api.example", "a", ["API"], ["api.example"]):
        assert refused(aud=aud, world=world) == "audience_not_ours"


NOT_US = ["", "https://other.example", f"{US}/", US.upper(), US[:-1], f"{US}.evil", f" {US}"]
NOT_US += [f"{US} x", f"{US},x"]
NONE_OF_US = [[], [""], ["https://other.example"], [US[:-1]], [f"{US}/"], ["*"]]


@refuses("RS-34")
@pytest.mark.parametrize("aud", [*NOT_US, *NONE_OF_US], ids=repr)
def test_aud_that_does_not_name_us_is_refused(aud: object) -> None:
    assert refused(aud=aud) == "audience_not_ours"


@refuses("RS-34")
@pytest.mark.parametrize(
    "aud",
    [{}, {US: True}, False, True, 0, 1, 1.5, None, [US, 5], [5, US], [[US]], [None], [{}]],
    ids=repr,
)
def test_aud_of_another_type_is_refused_even_beside_our_name(aud: object) -> None:
    assert refused(aud=aud) == "claim_malformed"


@refuses("RS-34")
@pytest.mark.parametrize(
    "audience", [(), [], "", ("",), ("a", ""), None, 5, {}, (5,), "a b"], ids=repr
)
def test_a_service_that_does_not_know_its_name_is_refused_at_the_start(audience: object) -> None:
    with pytest.raises(ConfigurationError, match="audience"):
        FACTORY.settings(audience=audience)


REQUIRED = ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"]


@accepts("RS-35")
def test_the_claims_of_rfc_9068_are_enough() -> None:
    assert set(let_in().claims) == set(REQUIRED)


@refuses("RS-35")
@pytest.mark.parametrize("claim", REQUIRED)
def test_each_claim_of_rfc_9068_is_required(claim: str) -> None:
    assert refused(**one(claim, ABSENT)) == "claim_missing"


@refuses("RS-35")
@pytest.mark.parametrize("claim", ["sub", "client_id", "jti", "sid"])
@pytest.mark.parametrize("value", [5, 0, 1.5, True, None, "", [], ["alice"], {}], ids=repr)
def test_an_identifier_is_a_string(claim: str, value: object) -> None:
    assert refused(**one(claim, value)) == "claim_malformed"


@accepts("RS-35")
@refuses("RS-35")
def test_the_foreign_profile_requires_fewer() -> None:
    world = World(FACTORY.settings(profile=profiles.FOREIGN))
    assert let_in(client_id=ABSENT, iat=ABSENT, jti=ABSENT, world=world).client_id is None
    for claim in ("iss", "exp", "aud", "sub"):
        assert refused(world=world, **one(claim, ABSENT)) == "claim_missing"
    for claim in ("client_id", "jti"):
        assert refused(world=world, **one(claim, 5)) == "claim_malformed"


@accepts("RS-36")
@pytest.mark.parametrize(
    "sub", ["alice", "a b", "0", "a@b.example", "Zoë", "名前", "a\u00ad", "😀", " "]
)
def test_a_subject_is_any_text_that_can_stand_in_a_line(sub: str) -> None:
    token = let_in(sub=sub)
    assert (token.subject, token.principal) == (sub, (FACTORY.issuer, sub))


@accepts("RS-36")
def test_one_subject_of_two_issuers_is_two_users() -> None:
    other = World(FACTORY.settings(issuer="https://other.example"))
    theirs = let_in(iss="https://other.example", world=other)
    assert theirs.subject == let_in().subject
    assert theirs.principal != let_in().principal


@refuses("RS-36")
@given(
    st.sampled_from(["sub", "jti", "client_id", "sid"]),
    st.text(max_size=3),
    st.sampled_from([*map(chr, (*range(32), *range(127, 160))), "\u2028", "\u2029"]),
    st.text(max_size=3),
)
def test_an_identifier_with_a_control_character_is_refused(
    claim: str, before: str, control: str, after: str
) -> None:
    assert refused(**one(claim, before + control + after)) == "claim_malformed"


@refuses("RS-36")
@pytest.mark.parametrize(
    "text", [rb'"\ud800"', rb'"a\udfff"', rb'"\udc00\ud800"', b'"\xed\xa0\x80"']
)
def test_a_subject_with_half_a_character_is_refused(text: bytes) -> None:
    for claim in ("sub", "jti"):
        assert WORLD.get(token=literal(claim, text)).reason == "token_json"


@accepts("RS-37")
def test_a_user_is_somebody_else_than_the_client() -> None:
    answer = WORLD.get(token=FACTORY.token(sub="alice", client_id="app"))
    assert answer.user == "alice"
    assert answer.token is not None
    assert not answer.token.is_client


@refuses("RS-37")
@pytest.mark.parametrize("name", ["app", "admin", "alice"])
def test_a_client_that_acts_for_itself_is_no_user_even_with_a_users_name(name: str) -> None:
    answer = WORLD.get(token=FACTORY.token(sub=name, client_id=name))
    assert (answer.status, answer.user) == (200, None)
    assert answer.token is not None
    assert answer.token.is_client


@accepts("RS-38")
@pytest.mark.parametrize("scope", ["read", "write read", "read write", "a:b/c? read #"])
def test_a_scope_is_one_of_the_words(scope: str) -> None:
    assert WORLD.get("/read/x", FACTORY.token(scope=scope)).reached


@refuses("RS-38")
@pytest.mark.parametrize(
    "scope", [ABSENT, "", "READ", "Read", "readx", "xread", "read:all", "write", "rea d"]
)
def test_a_part_another_case_and_nothing_are_not_the_scope(scope: object) -> None:
    answer = WORLD.get("/read/x", FACTORY.token(scope=scope))
    assert (answer.status, answer.error, answer.reached) == (403, "insufficient_scope", False)


NO_STRINGS = [["read"], {"read": True}, True, None, 5]
NO_SCOPES = [" read", "read ", "read  write", "read\twrite", "read\n", 'read"', "read\\", "read\0"]
NO_SCOPES += ["r\u00e9ad read", "read\N{NO-BREAK SPACE}write", "\u2003read"]


@refuses("RS-38")
@pytest.mark.parametrize("scope", [*NO_STRINGS, *NO_SCOPES], ids=repr)
def test_a_scope_outside_the_grammar_spoils_the_token(scope: object) -> None:
    for path in ("/read/x", "/", "/optional"):
        answer = WORLD.get(path, FACTORY.token(scope=scope))
        assert (answer.status, answer.reason) == (401, "claim_malformed")


@accepts("RS-40")
@given(
    st.dictionaries(
        st.text(min_size=1).map(lambda name: f"x{name}"),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: (
                st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2)
            ),
            max_leaves=4,
        ),
        max_size=3,
    )
)
def test_what_we_do_not_know_is_ignored_in_claims_and_header(extra: dict[str, Any]) -> None:
    answer = WORLD.get(token=FACTORY.token(header=extra, **extra))
    assert answer.token is not None
    assert set(extra) <= set(answer.token.claims)


@refuses("RS-40")
def test_an_unknown_member_excuses_nothing() -> None:
    headers: list[dict[str, Any]] = [
        {"crit": ["x"], "x": 1},
        {"typ": "JWT", "Typ": "at+jwt"},
        {"ALG": "ES256", "alg": "none"},
    ]
    for header in headers:
        assert WORLD.get(token=FACTORY.token(header=header)).status == 401
    assert refused(EXP=NOW + 600, exp=NOW - 600) == "expired"
    assert refused(Aud=US, AUD=US, aud="x") == "audience_not_ours"
    assert refused(expires_in=600, exp=ABSENT) == "claim_missing"
