"""One text for one value: canonical base64url, strict JSON, and claims that nobody can change."""

import base64
import copy
import json
import pickle
from collections.abc import Callable
from os import urandom
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwt_middleware.jose import jws
from jwt_middleware.jose.jwk import from_jwk, generate
from jwt_middleware.jose.strict_json import (
    MAX_BRACKETS,
    MAX_DEPTH,
    b64url_decode,
    b64url_encode,
    parse_object,
    to_json,
)
from jwt_middleware.values import reasons
from jwt_middleware.values.errors import InvalidToken
from jwt_middleware.values.reasons import Reason
from jwt_middleware.values.tokens import FrozenDict
from tests.rules import accepts, refuses

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

# What is JSON: finite numbers, and text that UTF-8 can hold. Small, because there are many.
texts = st.text(st.characters(codec="utf-8"), max_size=6)
floats = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.integers() | floats | texts
values = st.recursive(
    scalars,
    lambda some: st.lists(some, max_size=3) | st.dictionaries(texts, some, max_size=3),
    max_leaves=5,
)
objects = st.dictionaries(texts, values, max_size=4)


def frozen(value: Any) -> Any:
    """Return what a parsed value should be equal to: arrays are tuples, at every depth."""
    if isinstance(value, list):
        return tuple(frozen(one) for one in value)
    if isinstance(value, dict):
        return {name: frozen(one) for name, one in value.items()}
    return value


@given(objects)
def test_what_was_read_is_written_as_anything_is(value: dict[str, Any]) -> None:
    read = parse_object(to_json(value).encode())
    assert to_json(read) == to_json(value)


@accepts("RS-11")
@given(st.binary())
def test_octets_survive_base64url(octets: bytes) -> None:
    text = b64url_encode(octets)
    assert text == base64.urlsafe_b64encode(octets).rstrip(b"=")
    if octets:
        assert b64url_decode(text) == octets


@refuses("RS-11")
@given(st.text(LETTERS, min_size=1))
def test_a_text_is_decoded_only_if_it_is_the_one_text_of_its_octets(text: str) -> None:
    lenient = base64.urlsafe_b64decode(text + "==") if len(text) % 4 != 1 else b""
    if b64url_encode(lenient).decode() == text:
        assert b64url_decode(text.encode()) == lenient
    else:
        with pytest.raises(ValueError):
            b64url_decode(text.encode())


@refuses("RS-10", "RS-11")
@pytest.mark.parametrize(
    "text",
    [
        *["", "A", "AAAAA", "AB", "AAB", "AA A", "AA\n", "é", "AAAé"],
        *["AA==", "AAA=", "A+==", "++++", "+AAA", "/AAA", "=AAA", "AA=A", "AAA=AAAA", "AA==AAAA"],
    ],
)
def test_what_is_not_canonical_base64url_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        b64url_decode(text.encode())


@accepts("RS-12", "RS-13")
@given(objects, st.booleans(), st.sampled_from([None, 1]))
def test_an_object_is_read_as_the_standard_library_reads_it(
    value: dict[str, Any], ascii_only: bool, indent: int | None
) -> None:
    octets = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    found = parse_object(b" \t\r\n" + octets + b"\n")
    assert found == frozen(json.loads(octets)) == frozen(value)
    assert type(found) is FrozenDict


@accepts("RS-12")
@pytest.mark.parametrize(
    "octets",
    [
        b'{"a":[1],"b":2,"c":[]}',
        b'{"a":{"b":{},"c":[{}]},"d":[[]]}',
        b'{"a":[[],1,{"b":[2]}],"c":3}',
        b'{"a":"[{","b":[1]}',
        b'{"a":"["}',
    ],
)
def test_every_array_is_frozen_wherever_it_stands(octets: bytes) -> None:
    assert parse_object(octets) == frozen(json.loads(octets))


@refuses("RS-12", "RS-13")
@given(st.binary() | values.map(lambda value: json.dumps(value).encode()) | st.text().map(
    lambda text: ("{" + text + "}").encode("utf-8", "surrogatepass")
))  # fmt: skip
def test_whatever_comes_is_an_object_or_an_error(octets: bytes) -> None:
    try:
        found = parse_object(octets)
    except ValueError:
        return
    assert found == frozen(json.loads(octets.decode("utf-8")))


@refuses("RS-12", "RS-13")
@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b" ",
        b"null",
        b"5",
        b'"text"',
        b"[]",
        b'[{"a":1}]',
        b"{}{}",
        b"{} x",
        b"{",
        b'{"a":1,}',
        b"{'a':1}",
        b'{"a":01}',
        b'{"a":\x0b1}',
        b'\xc2\xa0{"a":1}',
        b'{"a":"\n"}',
        b'{"a":"\\x"}',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-16-le"),
        '{"a":1}'.encode("utf-32"),
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xc0\xaf"}',
        b'{"a":"\xff"}',
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'{"a":[{"b":{"c":1,"c":2}}]}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e400}',
        b'{"a":-1e400}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":"\\ud800"}',
        b'{"\\udc00":1}',
        b'{"a":{"b":["\\ud83d"]}}',
        b'{"a":[[{"\\ud800":1}]]}',
        b'{"a":"\\udc00\\ud800"}',
    ],
)
def test_what_is_not_one_clean_object_is_refused(octets: bytes) -> None:
    with pytest.raises(ValueError):
        parse_object(octets)


@accepts("RS-12")
def test_escapes_that_mean_something_are_read() -> None:
    found = parse_object(b'{"\\u0061":"\\ud83d\\udd11","b":["\\u00e9",{"c":"\\n"},1.5,-0,1e3]}')
    assert found == {"a": "\U0001f511", "b": ("é", {"c": "\n"}, 1.5, 0, 1000.0)}


def nested(depth: int, opened: str, inside: str, closed: str) -> bytes:
    """Return an object that is `depth` deep, itself included."""
    return ('{"a":' + opened * (depth - 1) + inside + closed * (depth - 1) + "}").encode()


@pytest.mark.parametrize("brackets", [("[", "", "]"), ('{"b":', "1", "}")])
def test_depth_has_a_limit(brackets: tuple[str, str, str]) -> None:
    assert parse_object(nested(MAX_DEPTH, *brackets))
    for depth, told in ((MAX_DEPTH + 1, "nested too deeply"), (1500, "too many")):
        with pytest.raises(ValueError, match=told):
            parse_object(nested(depth, *brackets))


def test_objects_and_arrays_in_turns_are_as_deep_as_either() -> None:
    def in_turns(pairs: int) -> bytes:
        return b'{"a":[' * pairs + b"]}" * pairs

    assert parse_object(in_turns(MAX_DEPTH // 2))
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_object(in_turns(MAX_DEPTH // 2 + 1))


def test_brackets_inside_of_text_and_side_by_side_are_no_depth() -> None:
    text = '[{"' * 50 + "\\"
    octets = json.dumps({"a": text, '"[': [[]] * 50, "b": [{}] * 50}).encode()
    assert parse_object(octets) == {"a": text, '"[': ((),) * 50, "b": ({},) * 50}


@accepts("RS-12")
def test_brackets_in_strings_are_counted_as_no_objects_and_arrays() -> None:
    for inside in ("[" * 2000, "[{" * 1500, '\\"[' * 1500, "\\\\" + "{" * 2000):
        octets = b'{"s":"' + inside.encode() + b'","a":[[],{"b":[1]}]}'
        assert parse_object(octets) == frozen(json.loads(octets))


@refuses("RS-12")
def test_objects_and_arrays_in_one_text_are_counted() -> None:
    def side_by_side(count: int) -> bytes:
        return b'{"s":"[{","a":[' + b",".join([b"[]"] * (count - 2)) + b"]}"

    assert len(parse_object(side_by_side(MAX_BRACKETS))["a"]) == MAX_BRACKETS - 2
    with pytest.raises(ValueError, match="too many"):
        parse_object(side_by_side(MAX_BRACKETS + 1))


def test_brackets_behind_a_broken_string_are_refused_without_recursion() -> None:
    for octets in (b'{"a":"' + b"[" * 4000, b'{"a":"\\"' + b"[" * 4000, b"]" * 40 + b"[" * 4000):
        with pytest.raises(ValueError):
            parse_object(octets)


@refuses("RS-10")
@pytest.mark.parametrize(
    ("token", "reason"),
    [("a" * (jws.MAX_TOKEN + 1), reasons.TOO_LONG), ("é.e30.AA", reasons.SEGMENTS)],
)
def test_a_token_that_did_not_come_through_a_door_is_parsed_as_strictly(
    token: str, reason: Reason
) -> None:
    with pytest.raises(InvalidToken) as refused:
        jws.parse(token)
    assert refused.value.reason is reason


@refuses("RS-18")
def test_a_key_that_may_only_sign_verifies_nothing() -> None:
    members = generate("HS256", secret=urandom(64)).to_jwk()
    key = from_jwk(members | {"key_ops": ["sign"]})
    with pytest.raises(InvalidToken) as refused:
        jws.check_signature(jws.parse(jws.sign({}, key, typ="at+jwt")), key)
    assert refused.value.reason == reasons.KEY_USE


CLAIMS = b'{"sub":"alice","roles":["a",["b",{"c":[1]}]],"address":{"lines":["x"]}}'

CHANGES: dict[str, Callable[[Any], object]] = {
    "set": lambda claims: claims.__setitem__("sub", "bob"),
    "delete": lambda claims: claims.__delitem__("sub"),
    "clear": lambda claims: claims.clear(),
    "pop": lambda claims: claims.pop("sub"),
    "popitem": lambda claims: claims.popitem(),
    "setdefault": lambda claims: claims.setdefault("admin", True),
    "update": lambda claims: claims.update(sub="bob"),
    "or": lambda claims: claims.__ior__({"sub": "bob"}),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_claims_can_not_be_changed_at_any_depth(change: Callable[[Any], object]) -> None:
    claims = parse_object(CLAIMS)
    before = copy.deepcopy(dict(claims))
    for inside in (claims, claims["address"], claims["roles"][1][1]):
        with pytest.raises(TypeError, match=r"read-only: change a copy, dict\(claims\)"):
            change(inside)
    assert claims == before
    assert isinstance(claims["address"]["lines"], tuple)
    assert isinstance(claims["roles"][1][1]["c"], tuple)


def test_claims_are_a_dictionary_to_read_and_to_copy() -> None:
    claims = parse_object(CLAIMS)
    assert claims.copy() is claims
    mine = dict(claims)
    mine["sub"] = "bob"
    assert (claims["sub"], mine["sub"]) == ("alice", "bob")
    assert claims | {"sub": "bob"} == mine
    assert json.loads(json.dumps(claims)) == json.loads(CLAIMS)


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))]
)
def test_copies_of_claims_stay_read_only(duplicate: Callable[[Any], Any]) -> None:
    claims = parse_object(CLAIMS)
    found = duplicate(claims)
    assert found == claims
    assert type(found) is type(found["address"]) is FrozenDict
    with pytest.raises(TypeError):
        found["sub"] = "bob"
