"""RS-10 to RS-14, RS-21 to RS-26: a token is one text, and says nothing about how to check it."""

import json
import socket
from base64 import urlsafe_b64decode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwt_middleware import KeySet, profiles
from jwt_middleware.jose.algorithms import ALGORITHMS
from jwt_middleware.jose.jws import join
from jwt_middleware.jose.strict_json import BASE64URL, b64url_encode
from jwt_middleware.testing import ABSENT, TokenFactory
from jwt_middleware.testing.mint import json_octets, seal, sealed
from tests.rules import accepts, refuses
from tests.world import World, standing

FACTORY = TokenFactory(clock=standing)
GOOD = FACTORY.token()
WORLD = World(FACTORY.settings())
HEADER, CLAIMS = json_octets(FACTORY.header()), json_octets(FACTORY.claims())


def refused(token: str, world: World = WORLD) -> str | None:
    """Return why, after checking that the answer is that of every bad token."""
    answer = world.get(token=token)
    assert (answer.status, answer.error, answer.reached) == (401, "invalid_token", False)
    return answer.reason


def with_header(**members: Any) -> str:
    return FACTORY.token(header=members)


# -- RS-10 to RS-13: the text


@accepts("RS-10")
def test_all_characters_of_base64url_stand_in_a_token() -> None:
    token = FACTORY.token(note="\u07ff\u07ff~~~???")
    assert {"-", "_"} < set(token)
    assert WORLD.get(token=token).reached


@refuses("RS-10")
@given(
    st.integers(0, len(GOOD)), st.characters(exclude_categories=()) | st.sampled_from("aA-_.= \t")
)
def test_a_character_more_is_refused_wherever_it_stands(position: int, character: str) -> None:
    answer = WORLD.get(token=GOOD[:position] + character + GOOD[position:])
    assert answer.status in (400, 401) or (character in " \t" and position in (0, len(GOOD)))
    assert answer.reached is (answer.status == 200)


@refuses("RS-10")
@pytest.mark.parametrize("dots", [0, 1, 3, 4, 5, 100])
def test_a_token_has_exactly_two_dots(dots: int) -> None:
    segments = [*GOOD.split("."), *["e30"] * 100]
    assert refused(".".join(segments[: dots + 1])) == "token_segments"


@refuses("RS-10")
@pytest.mark.parametrize("value", ["=", "=="])
def test_padding_is_refused(value: str) -> None:
    assert refused(GOOD + value) == "token_segments"


@refuses("RS-10")
def test_the_json_serializations_are_refused() -> None:
    protected, payload, signature = GOOD.split(".")
    flat = {"protected": protected, "payload": payload, "signature": signature}
    general = {"payload": payload, "signatures": [{"protected": protected, "signature": signature}]}
    for value in (flat, general, flat | {"header": {"alg": "none"}}):
        for text in (json.dumps(value), json_octets(value).decode()):
            assert WORLD.get(token=text).status == 400
        assert refused(b64url_encode(json_octets(value)).decode()) == "token_segments"


@accepts("RS-11")
@refuses("RS-11")
@pytest.mark.parametrize("segment", [0, 1, 2])
@pytest.mark.parametrize("spaces", [0, 1, 2])
def test_a_segment_has_one_last_character(segment: int, spaces: int) -> None:
    # With 0, 1 or 2 spaces more, the JSON texts have every number of unused bits.
    token = seal(HEADER + b" " * spaces, CLAIMS + b" " * spaces, FACTORY.key)
    segments = token.split(".")
    reached = 0
    for character in BASE64URL.decode():
        other = [*segments]
        other[segment] = other[segment][:-1] + character
        reached += WORLD.get(token=".".join(other)).reached
    assert reached == 1
    assert WORLD.get(token=token).reached


@refuses("RS-11")
def test_a_second_spelling_is_refused_even_if_it_is_signed() -> None:
    octets = CLAIMS + b" " * (1 if len(CLAIMS) % 3 == 0 else 0)
    text = b64url_encode(octets)
    spellings = [text[:-1] + bytes((last,)) for last in BASE64URL]
    same = [one for one in spellings if urlsafe_b64decode(one + b"==") == octets]
    assert len(same) in (4, 16)
    for spelling in same:
        token = sealed(b64url_encode(HEADER) + b"." + spelling, FACTORY.key)
        assert WORLD.get(token=token).reached is (spelling == text)


@accepts("RS-12")
def test_utf_8_and_escapes_are_read_as_the_same_text() -> None:
    name = "Zoë 😀"
    for text in (json.dumps(name), json.dumps(name, ensure_ascii=False)):
        claims = CLAIMS.replace(b'"alice"', text.encode())
        answer = WORLD.get(token=seal(b" \t\r\n" + HEADER, claims + b"\n ", FACTORY.key))
        assert answer.user == name


BROKEN_TEXT = {
    "utf-16": lambda text: text.decode().encode("utf-16"),
    "utf-16-le": lambda text: text.decode().encode("utf-16-le"),
    "utf-32-be": lambda text: text.decode().encode("utf-32-be"),
    "utf-7-mark": lambda text: b"+/v8-" + text,
    "byte-order-mark": lambda text: b"\xef\xbb\xbf" + text,
    "overlong": lambda text: text.replace(b"a", b"\xc1\xa1", 1),
    "surrogate": lambda text: text[:-1] + b',"x":"\xed\xa0\x80"}',
    "surrogate-pair": lambda text: text[:-1] + b',"x":"\xed\xa0\xbd\xed\xb8\x80"}',
    "escaped-surrogate": lambda text: text[:-1] + rb',"x":"\ud83d"}',
    "escaped-surrogate-in-a-name": lambda text: text[:-1] + rb',"\uDE00":1}',
    "escaped-surrogate-in-an-array": lambda text: text[:-1] + rb',"x":[{"y":"\ud83dx"}]}',
    "beyond-unicode": lambda text: text[:-1] + b',"x":"\xf4\x90\x80\x80"}',
    "latin-1": lambda text: text[:-1] + b',"x":"\xe9"}',
    "nothing": lambda text: b"",
    "space": lambda text: b" ",
    "null": lambda text: b"null",
    "true": lambda text: b"true",
    "number": lambda text: b"1",
    "string": lambda text: json.dumps(text.decode()).encode(),
    "array": lambda text: b"[" + text + b"]",
    "two-objects": lambda text: text + text,
    "tail": lambda text: text + b"x",
    "nul": lambda text: text + b"\0",
    "no-break-space": lambda text: text + b"\xc2\xa0",
    "form-feed": lambda text: b"\f" + text,
    "not-closed": lambda text: text[:-1],
    "comment": lambda text: text + b"//",
    "trailing-comma": lambda text: text[:-1] + b",}",
    "single-quotes": lambda text: text.replace(b'"', b"'"),
    "raw-line-break": lambda text: text[:-1] + b',"x":"\n"}',
    "hexadecimal": lambda text: text[:-1] + b',"x":0x1}',
    "leading-zero": lambda text: text[:-1] + b',"x":01}',
    "nan": lambda text: text[:-1] + b',"x":NaN}',
    "infinity": lambda text: text[:-1] + b',"x":[-Infinity]}',
    "too-large": lambda text: text[:-1] + b',"x":1e999}',
    "33-deep": lambda text: text[:-1] + b',"x":' + b"[" * 32 + b"]" * 32 + b"}",
    "33-deep-behind-brackets-in-a-string": lambda text: (
        text[:-1] + b',"s":"\\"]]]}}}","x":' + b'{"y":[' * 16 + b"]}" * 16 + b"}"
    ),
}


@refuses("RS-12")
@pytest.mark.parametrize("spoil", BROKEN_TEXT.values(), ids=BROKEN_TEXT.keys())
def test_what_is_not_one_json_object_in_utf_8_is_refused(spoil: Any) -> None:
    assert refused(seal(spoil(HEADER), CLAIMS, FACTORY.key)) in ("token_json", "token_encoding")
    assert refused(seal(HEADER, spoil(CLAIMS), FACTORY.key)) in ("token_json", "token_encoding")


@accepts("RS-12")
def test_an_object_may_be_32_deep_and_brackets_in_a_string_do_not_count() -> None:
    deep = CLAIMS[:-1] + b',"s":"' + b"[{" * 60 + b'","x":' + b"[" * 31 + b"]" * 31 + b"}"
    assert WORLD.get(token=seal(HEADER, deep, FACTORY.key)).reached


@accepts("RS-13")
def test_a_name_may_come_again_at_another_level() -> None:
    answer = WORLD.get(
        token=FACTORY.token(a={"sub": "b", "a": {"sub": "c"}}, b=[{"a": 1}, {"a": 2}])
    )
    assert answer.user == "alice"


@refuses("RS-13")
@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: b'{"x":1,"x":1,' + text[1:],
        lambda text: b'{"x":1,' + text[1:-1] + b',"x":2}',
        lambda text: rb'{"\u0078":1,"x":2,' + text[1:],
        lambda text: b'{"x":{"y":1,"y":1},' + text[1:],
        lambda text: b'{"x":[[{"y":1,"y":null}]],' + text[1:],
    ],
    ids=["same-value", "apart", "escaped", "nested", "in-an-array"],
)
def test_a_name_that_comes_twice_spoils_the_token(spoil: Any) -> None:
    assert refused(seal(spoil(HEADER), CLAIMS, FACTORY.key)) == "token_json"
    assert refused(seal(HEADER, spoil(CLAIMS), FACTORY.key)) == "token_json"


@refuses("RS-13")
@pytest.mark.parametrize("name", ["iss", "aud", "sub", "exp", "iat", "jti", "client_id"])
def test_neither_of_two_claims_is_chosen(name: str) -> None:
    good = json_octets({name: FACTORY.claims()[name]})[1:-1]
    for other in (b'{"%s":"x",%s' % (name.encode(), CLAIMS[1:]), b"{%s,%s" % (good, CLAIMS[1:])):
        assert refused(seal(HEADER, other, FACTORY.key)) == "token_json"


# -- RS-14, RS-21 to RS-26: the header


@accepts("RS-14")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_works_where_its_key_is_configured(algorithm: str) -> None:
    factory = TokenFactory(algorithm=algorithm)
    assert World(factory.settings()).get(token=factory.token()).reached


NAMES = ["none", "None", "NONE", "nOnE", "es256", "HS256", "ES384", "ES256K", "ES", "ＥS256"]
SPACED = ["none ", " none", "no\u200bne", "ES256 ", "ES256\0", ""]
NO_NAMES = [["ES256"], {"ES256": 1}, 256, True, None, ABSENT]


@refuses("RS-14")
@pytest.mark.parametrize("value", [*NAMES, *SPACED, *NO_NAMES], ids=repr)
def test_alg_is_the_keys_own_or_the_token_is_refused(value: object) -> None:
    message = with_header(alg=value).rpartition(".")[0].encode()
    assert refused(sealed(message, FACTORY.key)) == "algorithm_not_allowed"
    assert refused(message.decode() + ".") == "token_encoding"
    for unsigned in (b"\0", b"e30", bytes(64)):
        assert refused(join(message, unsigned)) == "algorithm_not_allowed"


@accepts("RS-21")
def test_what_the_header_says_about_keys_is_not_read() -> None:
    stranger = KeySet.generate().keys[0].public_jwk()
    for member in ({"jwk": stranger}, {"jku": "https://x.example"}, {"x5c": [5]}, {"x5u": None}):
        assert WORLD.get(token=FACTORY.token(header=member)).reached


@refuses("RS-21")
def test_a_key_that_the_token_brings_or_points_to_is_neither_used_nor_fetched() -> None:
    stranger = TokenFactory()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/keys"
        for kid in (FACTORY.key.kid, stranger.key.kid, ABSENT):
            for member in (
                {"jwk": stranger.key.public_jwk()},
                {"jku": url},
                {"x5u": url},
                {"jwk": stranger.key.public_jwk(), "jku": url, "x5u": url, "x5t": "x"},
            ):
                token = stranger.token(header={"kid": kid, **member})
                assert refused(token) in ("signature_invalid", "key_unknown")
        with pytest.raises(BlockingIOError):
            listener.accept()


@accepts("RS-22")
def test_a_claim_may_be_called_crit() -> None:
    assert WORLD.get(token=FACTORY.token(crit=["exp"], b64=False)).reached


@refuses("RS-22")
@pytest.mark.parametrize(
    "crit", [["exp"], ["alg"], ["x"], ["b64"], ["b64", "b64"], [], [5], {}, "exp", "", True, None]
)
@pytest.mark.parametrize("member", [{}, {"b64": True}, {"b64": False}, {"x": 1, "exp": 1}], ids=str)
def test_any_crit_is_refused(crit: object, member: dict[str, object]) -> None:
    assert refused(with_header(crit=crit, **member)) == "header_unsupported"


@refuses("RS-22")
@pytest.mark.parametrize("b64", [True, False, None])
def test_b64_has_no_place_in_a_token(b64: object) -> None:
    # RFC 7797 s7: JWTs "MUST NOT use" false; true is the default, which nobody needs to write.
    assert refused(with_header(b64=b64)) == "header_unsupported"


@accepts("RS-23")
def test_claims_may_be_called_zip_enc_and_cty() -> None:
    assert WORLD.get(token=FACTORY.token(zip="DEF", enc="A256GCM", cty="JWT")).reached


@refuses("RS-23")
@pytest.mark.parametrize("member", ["zip", "enc", "cty"])
@pytest.mark.parametrize("value", ["DEF", "A256GCM", "JWT", "", None])
def test_compressed_encrypted_and_nested_tokens_are_refused(member: str, value: object) -> None:
    assert refused(with_header(**{member: value})) == "header_unsupported"


@refuses("RS-23")
def test_an_encrypted_token_is_refused_before_it_costs_anything() -> None:
    header = b64url_encode(
        json_octets({"alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2c": 2**31 - 1})
    )
    assert refused(f"{header.decode()}.AAAA.AAAA.AAAA.AAAA") == "token_segments"
    assert refused(f"{header.decode()}..AAAA.AAAA.AAAA") == "token_segments"


@accepts("RS-24")
@pytest.mark.parametrize(
    "typ", ["at+jwt", "AT+JWT", "aT+jWt", "application/at+jwt", "Application/AT+JWT"]
)
def test_typ_is_at_jwt_in_any_case_with_or_without_application(typ: str) -> None:
    assert WORLD.get(token=with_header(typ=typ)).reached


TYPES = ["JWT", "jwt", "JOSE", "at", "at-jwt", "at+jwt;", "at+jwt;a=b", "xat+jwt", "/at+jwt"]
ODD_TYPES = [
    "application/application/at+jwt",
    "text/at+jwt",
    "application/",
    "at+jwt ",
    " at+jwt",
    "at+jwt\0",
    "at+jw\uff54",
    "",
]
NO_TYPES = [5, True, ["at+jwt"], {"typ": "at+jwt"}, None, ABSENT]


@refuses("RS-24")
@pytest.mark.parametrize("typ", [*TYPES, *ODD_TYPES, *NO_TYPES], ids=repr)
def test_any_other_typ_is_refused(typ: object) -> None:
    assert refused(with_header(typ=typ)) == "type_not_allowed"


@accepts("RS-24")
@refuses("RS-24")
def test_the_foreign_profile_takes_tokens_without_a_type_of_their_own() -> None:
    world = World(FACTORY.settings(profile=profiles.FOREIGN))
    for taken in (ABSENT, "JWT", "application/jwt", "at+jwt"):
        assert world.get(token=with_header(typ=taken)).reached
    for other in ("", None, "id+jwt", "rt+jwt", "dpop+jwt", "logout+jwt"):
        assert refused(with_header(typ=other), world) == "type_not_allowed"


NOW = FACTORY.claims()["iat"]
OTHER_KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "id-token": ("JWT", {"nonce": "n", "auth_time": NOW, "aud": "test-client"}),
    "id-token-for-us": ("JWT", {"nonce": "n", "auth_time": NOW}),
    "refresh-token": ("rt+jwt", {"gen": 1, "sid": "g", "aud": FACTORY.issuer}),
    "proof": ("dpop+jwt", {"htm": "GET", "htu": "https://api.example/", "ath": "x"}),
    "logout-token": ("logout+jwt", {"sid": "g", "events": {}}),
    "security-event": ("secevent+jwt", {"events": {}}),
    "introspection": ("token-introspection+jwt", {"token_introspection": {"active": True}}),
    "client-assertion": ("client-authentication+jwt", {"sub": "test-client"}),
    "request-object": ("oauth-authz-req+jwt", {"response_type": "code"}),
    "status-list": ("statuslist+jwt", {"status_list": {}}),
}


@accepts("RS-25")
def test_an_access_token_with_the_claims_of_another_kind_is_an_access_token() -> None:
    for _, claims in OTHER_KINDS.values():
        ours = claims | {"aud": FACTORY.audience}
        assert WORLD.get(
            token=seal(HEADER, json_octets(FACTORY.claims(**ours)), FACTORY.key)
        ).reached


@refuses("RS-25")
@pytest.mark.parametrize(("typ", "claims"), OTHER_KINDS.values(), ids=OTHER_KINDS.keys())
def test_no_other_kind_of_token_passes_as_an_access_token(typ: str, claims: dict[str, Any]) -> None:
    for aud in (claims.get("aud", FACTORY.audience), FACTORY.audience):
        found = FACTORY.claims(**(claims | {"aud": aud}))
        token = seal(json_octets(FACTORY.header(typ=typ)), json_octets(found), FACTORY.key)
        assert refused(token) == "type_not_allowed"


@accepts("RS-26")
def test_kid_chooses_among_several_keys_and_may_be_left_out_with_one() -> None:
    names = ["a", "A", "../a", "' OR 1=1 --", "k" * 256, "ключ"]
    keys = KeySet(KeySet.generate(kid=name).keys[0] for name in names)
    world = World(FACTORY.settings(keys=keys))
    for key in keys.keys:
        header = json_octets(FACTORY.header(kid=key.kid))
        assert world.get(token=seal(header, CLAIMS, key)).reached
    assert WORLD.get(token=with_header(kid=ABSENT)).reached


@refuses("RS-26")
def test_kid_finds_its_own_key_or_none() -> None:
    first, second = KeySet.generate(kid="first").keys[0], KeySet.generate(kid="second").keys[0]
    world = World(FACTORY.settings(keys=KeySet((first, second))))
    for kid, key, reason in (
        ("second", first, "signature_invalid"),
        ("First", first, "key_unknown"),
        ("first ", first, "key_unknown"),
        ("firs", first, "key_unknown"),
        ("0", first, "key_unknown"),
        ("third", first, "key_unknown"),
        (ABSENT, first, "key_unknown"),  # with several keys none is tried
    ):
        token = seal(json_octets(FACTORY.header(kid=kid)), CLAIMS, key)
        assert refused(token, world) == reason


@refuses("RS-26")
@pytest.mark.parametrize(
    ("kid", "reason"),
    [
        ("../../../../../../dev/null", "key_unknown"),
        ("file:///dev/null", "key_unknown"),
        ("x' UNION SELECT 'x", "key_unknown"),
        ("*)(uid=*", "key_unknown"),
        ("$(id)", "key_unknown"),
        ("{0.__class__}", "key_unknown"),
        ("%s%n", "key_unknown"),
        ("\0", "key_unknown"),
        ("k" * 257, "kid_malformed"),
        ("k" * 5000, "kid_malformed"),
        ("", "kid_malformed"),
        (0, "kid_malformed"),
        (True, "kid_malformed"),
        (None, "kid_malformed"),
        ([FACTORY.key.kid], "kid_malformed"),
        ({}, "kid_malformed"),
    ],
    ids=lambda value: "its own kid in a list" if value == [FACTORY.key.kid] else repr(value)[:30],
)
def test_kid_is_a_bounded_string_and_nothing_more(kid: object, reason: str) -> None:
    assert refused(with_header(kid=kid)) == reason
