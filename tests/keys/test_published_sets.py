"""Key sets as other issuers publish them: made-up keys in the shapes that are in use.

Each token goes through both middlewares. The same shapes in a set of our own are still refused.
"""

from __future__ import annotations

import json
import pickle
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from jwt_middleware import ConfigurationError, KeySet, Settings
from jwt_middleware.jose.jwk import Key, from_object
from jwt_middleware.jose.published_jwk import as_specified
from jwt_middleware.jose.strict_json import b64url_decode, b64url_encode
from jwt_middleware.keys import Fetched
from jwt_middleware.keys.jwk_sets import published_keys
from jwt_middleware.testing import ABSENT, TokenFactory
from jwt_middleware.testing.mint import json_octets, seal
from jwt_middleware.values.events import KeysChanged, KeySkipped
from tests.issuing import Clock
from tests.keyserver.site import settle
from tests.rules import accepts, refuses
from tests.world import NOW, World, standing

FACTORY = TokenFactory(clock=standing)
CLAIMS = json_octets(FACTORY.claims(exp=NOW + 86400))
NAMES = ("RS256", "ES256", "ES384", "ES512", "Ed25519")
KEYS: dict[str, Key] = {name: KeySet.generate(name).keys[0] for name in NAMES}
OTHER_RSA = KeySet.generate("RS256").keys[0]
Members = dict[str, Any]


def public(name: str, **changes: Any) -> Members:
    """Return a published key; a member that becomes None is left out."""
    members = KEYS[name].public_jwk() | changes
    return {member: value for member, value in members.items() if value is not None}


class Published:
    """A fetcher that has a set, and an issuer whose keys it fetches."""

    def __init__(self, *members: Mapping[str, Any], **options: Any) -> None:
        self.members: tuple[Mapping[str, Any], ...] = members
        self.clock = Clock()
        keys = KeySet.remote("https://keys.example/jwks", fetcher=self, **options)
        self.world = World(FACTORY.settings(keys=keys, clock=self.clock))

    def fetch(self, url: str, *, timeout: float, limit: int) -> Fetched:
        return Fetched(200, json.dumps({"keys": self.members}).encode())

    def answers(self, key: Key, **header: Any) -> str | None:
        """Return why a token signed by `key` is refused; None when it is let in."""
        named = {"alg": key.algorithm.name, "kid": key.kid} | header
        found = FACTORY.header(**named)
        answer = self.world.get(token=seal(json_octets(found), CLAIMS, key))
        settle()
        assert answer.status == {None: 200, "keys_unavailable": 503}.get(answer.reason, 401)
        return answer.reason

    @property
    def skipped(self) -> dict[str, str]:
        return {one.kid: one.problem for one in self.world.events if isinstance(one, KeySkipped)}


def named(name: str, kid: str = "one", key: Key | None = None) -> Key:
    """Return a private key for this algorithm, called `kid`."""
    found = key or KEYS["RS256" if name[0] in "RP" else name]
    return from_object(found.private, name, kid=kid)


def octets_of(name: str, member: str) -> bytes:
    return b64url_decode(KEYS[name].public_jwk()[member].encode())


# --- the same number in another spelling


def zero(octets: bytes) -> str:
    return b64url_encode(b"\0" + octets).decode()


def padded(octets: bytes) -> str:
    return urlsafe_b64encode(octets).decode()


def standard(octets: bytes) -> str:
    return b64encode(octets).decode()


def bare_standard(octets: bytes) -> str:
    return b64encode(octets).decode().rstrip("=")


def half_standard(octets: bytes) -> str:
    """Return base64url in which the first character of two alphabets is base64's."""
    text = b64url_encode(octets).decode()
    at = next(place for place, one in enumerate(text) if one in "-_")
    return text[:at] + text[at].translate(str.maketrans("-_", "+/")) + text[at + 1 :]


SPELLINGS: dict[str, Callable[[bytes], str]] = {
    "PayPal, Yahoo: a zero in front": zero,
    "SAP: a zero in front, padded": lambda octets: padded(b"\0" + octets),
    "Battle.net: a zero in front, in standard base64": lambda octets: standard(b"\0" + octets),
    "many zeros in front": lambda octets: zero(bytes(9) + octets),
    "padded": padded,
    "standard base64": standard,
    "standard base64 without padding": bare_standard,
}


@accepts("RS-64", "RS-19")
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_published_modulus_is_the_same_number_however_it_is_spelled(spelling: str) -> None:
    spell = SPELLINGS[spelling]
    odd = public("RS256", n=spell(octets_of("RS256", "n")), e=spell(octets_of("RS256", "e")))
    assert Published(odd).answers(KEYS["RS256"]) is None
    # Without a kid its name is the thumbprint of the number (RFC 7638), not of the spelling.
    del odd["kid"]
    assert Published(odd, public("ES256")).answers(KEYS["RS256"]) is None
    with pytest.raises(ConfigurationError):
        KeySet.from_jwks({"keys": [odd]})


@accepts("RS-64")
@pytest.mark.parametrize("name", ["ES256", "ES384", "ES512", "Ed25519"])
@pytest.mark.parametrize("spell", [padded, standard, bare_standard])
def test_a_published_point_may_be_padded_or_in_standard_base64(
    name: str, spell: Callable[[bytes], str]
) -> None:
    members = public(name)
    spelled = {one: spell(octets_of(name, one)) for one in ("x", "y") if one in members}
    assert Published(members | spelled).answers(KEYS[name]) is None


@refuses("RS-17", "RS-64")
@pytest.mark.parametrize("member", ["x", "y"])
def test_a_coordinate_has_its_full_size_and_the_message_says_how_large_it_is(member: str) -> None:
    point = next(
        numbers
        for numbers in iter(
            lambda: ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers(), None
        )
        if getattr(numbers, member) < 1 << 248
    )
    whole = {one: getattr(point, one).to_bytes(32, "big") for one in ("x", "y")}
    good = {one: b64url_encode(octets).decode() for one, octets in whole.items()}
    base = {"kty": "EC", "crv": "P-256", "kid": "short", "alg": "ES256"} | good
    assert [key.kid for key in published_keys(json_octets({"keys": [base]}), None)[0]] == ["short"]
    for cut, size in ((whole[member][1:], 31), (b"\0" + whole[member], 33)):
        short = base | {member: b64url_encode(cut).decode()}
        site = Published(short, public("ES256"))
        assert site.answers(KEYS["ES256"]) is None
        problem = site.skipped["short"]
        assert f"'{member}' has {size} octets, and a coordinate on P-256 has 32" in problem
        with pytest.raises(ConfigurationError, match=f"{size} octets"):
            KeySet.from_jwks({"keys": [short]})


@refuses("RS-64", "RS-19")
@pytest.mark.parametrize(
    "n",
    [
        pytest.param("AAAA", id="only-zeros"),
        pytest.param(zero(bytes.fromhex("ff" * 128)), id="1024-bits-behind-a-zero"),
        pytest.param(padded(octets_of("RS256", "n")) + "==", id="more-padding"),
        pytest.param(padded(octets_of("RS256", "n")).rstrip("=") + "=", id="less-padding"),
        pytest.param("=" + KEYS["RS256"].public_jwk()["n"], id="padding-in-front"),
        pytest.param(half_standard(octets_of("RS256", "n")), id="both-alphabets"),
        pytest.param(KEYS["RS256"].public_jwk()["n"] + "\n", id="a-line-end"),
        pytest.param(KEYS["RS256"].public_jwk()["n"][:-1] + "B", id="bits-that-count-nothing"),
        pytest.param("é" + KEYS["RS256"].public_jwk()["n"], id="no-ascii"),
        pytest.param(65537, id="a-number"),
        pytest.param(["AQAB"], id="an-array"),
        pytest.param("", id="nothing"),
    ],
)
def test_what_is_no_spelling_of_a_number_is_no_key(n: Any) -> None:
    site = Published(public("RS256", n=n), public("ES256"))
    assert site.answers(KEYS["RS256"]) == "key_unknown"
    assert site.answers(KEYS["ES256"]) is None
    assert list(site.skipped) == [KEYS["RS256"].kid]


def test_only_the_numbers_of_known_types_are_spelled_anew() -> None:
    for jwk in (
        {"kty": "AKP", "x": "AA=="},
        {"kty": ["RSA"], "n": "AA=="},
        {"n": "AA=="},
        {"kty": "RSA", "kid": "AA==", "x5c": ["AA=="], "use": "sig"},
    ):
        assert as_specified(jwk) == jwk


@refuses("RS-27.remote")
@pytest.mark.parametrize("member", ["d", "k", "p"])
def test_a_private_part_in_another_spelling_spoils_the_set(member: str) -> None:
    site = Published(public("RS256", **{member: "AAAA=="}), public("ES256"))
    assert site.answers(KEYS["ES256"]) == "keys_unavailable"


# --- one kid for several keys

RSA_NAMES = ("RS256", "RS384", "RS512", "PS256")


@accepts("RS-64", "RS-16")
def test_keys_of_one_kid_are_told_apart_by_their_alg() -> None:
    """ForgeRock's and OpenAM's sets: one key, one kid, a member for each algorithm."""
    site = Published(
        *(public("RS256", kid="one", alg=name) for name in RSA_NAMES),
        public("RS256", kid="one", alg="RSA-OAEP-256", use="enc"),
        public("ES256", kid="one"),
        public("ES384"),
    )
    for name in (*RSA_NAMES, "ES256"):
        assert site.answers(named(name)) is None
    assert site.answers(KEYS["ES384"]) is None
    assert list(site.skipped.values()) == ["its `use` is not sig (RFC 7517 s4.2)"]


@refuses("RS-64", "RS-16", "RS-14")
def test_each_of_them_is_for_its_own_alg_alone() -> None:
    site = Published(public("RS256", kid="one"), public("ES256", kid="one"))
    assert site.answers(named("RS256")) is None
    for name in ("RS384", "PS256", "ES384"):
        assert site.answers(named(name)) == "algorithm_not_allowed"
    for alg in ("none", "HS256", "", "rs256"):
        assert site.answers(named("RS256"), alg=alg) == "algorithm_not_allowed"
    # The key of the other algorithm doesn't verify, whatever the header says.
    assert site.answers(named("RS256"), alg="ES256") == "signature_invalid"
    assert site.answers(named("ES256"), alg="RS256") == "signature_invalid"


@refuses("RS-26", "RS-64")
def test_a_token_without_kid_does_not_choose_among_keys_of_one_kid() -> None:
    site = Published(public("RS256", kid="one"), public("ES256", kid="one"))
    assert site.answers(named("RS256"), kid=ABSENT) == "key_unknown"
    assert site.answers(named("RS256")) is None


@accepts("RS-64")
@pytest.mark.parametrize(
    "twin",
    [
        pytest.param(public("RS256"), id="identical"),
        pytest.param(public("RS256", n=zero(octets_of("RS256", "n"))), id="a-zero-in-front"),
        pytest.param(public("RS256", use=None, x5c=["AA=="]), id="other-members"),
        pytest.param(public("RS256", use="enc"), id="for-encryption"),
        pytest.param(
            OTHER_RSA.public_jwk() | {"kid": KEYS["RS256"].kid, "use": "enc"}, id="another-for-enc"
        ),
        pytest.param(public("RS256", use=None, key_ops=["encrypt"]), id="other-operations"),
        pytest.param(public("RS256", use="enc", alg="RSA-OAEP"), id="rsa-oaep"),
        pytest.param(public("RS256", use=None, alg="RSA-OAEP"), id="rsa-oaep-without-use"),
        pytest.param({"kty": "AKP", "kid": KEYS["RS256"].kid, "alg": "ML-DSA-44"}, id="unknown"),
        pytest.param({"kty": "AKP", "kid": 5, "alg": ["RS256"]}, id="odd-members"),
    ],
)
def test_an_equal_key_or_one_for_something_else_does_not_count(twin: Members) -> None:
    for members in ((public("RS256"), twin), (twin, public("RS256"))):
        assert Published(*members).answers(KEYS["RS256"]) is None


@refuses("RS-64", "RS-27.remote")
@pytest.mark.parametrize(
    "other",
    [
        pytest.param(OTHER_RSA.public_jwk(), id="another-key"),
        pytest.param({"kty": "RSA", "n": zero(b"\xff" * 128), "e": "AQAB"}, id="one-too-weak"),
        pytest.param({"kty": "RSA", "n": "?", "e": "AQAB"}, id="one-that-is-damaged"),
    ],
)
def test_two_different_keys_of_one_kid_and_alg_are_both_refused(other: Members) -> None:
    twin = other | {"kid": KEYS["RS256"].kid, "alg": "RS256"}
    for members in ((public("RS256"), twin), (twin, public("RS256"))):
        site = Published(*members, public("ES256"))
        assert site.answers(KEYS["ES256"]) is None
        assert site.answers(KEYS["RS256"]) == "key_unknown"
        assert site.answers(OTHER_RSA, kid=KEYS["RS256"].kid) == "key_unknown"
        problems = [one.problem for one in site.world.events if isinstance(one, KeySkipped)]
        assert any("another key has the same kid and is for RS256, too" in one for one in problems)
        alone = Published(*members)
        assert alone.answers(KEYS["RS256"]) == "keys_unavailable"


@accepts("RS-64")
def test_a_change_of_one_of_them_is_told_with_its_kid() -> None:
    site = Published(public("RS256", kid="one"), public("ES256", kid="one"))
    assert site.answers(named("RS256")) is None
    site.members = (public("RS256", kid="one"), public("ES384", kid="one"))
    site.clock.forward(590)
    assert site.answers(named("RS256")) is None
    assert site.answers(named("ES384")) is None
    assert site.answers(named("ES256")) == "algorithm_not_allowed"
    changes = [one for one in site.world.events if isinstance(one, KeysChanged)]
    issuer = FACTORY.issuer
    assert changes == [KeysChanged(issuer=issuer, added=("one",), removed=("one",))]


# --- several names


@accepts("RS-16", "RS-29")
def test_each_type_of_key_takes_its_own_of_several_names() -> None:
    """oidc-provider publishes RSA and Ed25519 keys without alg."""
    bare = [public(name, alg=None) for name in NAMES]
    site = Published(*bare, algorithm=("RS256", "EdDSA", "ES256"))
    for name in NAMES:
        assert site.answers(KEYS[name]) is None
    assert KeySet.from_jwks({"keys": bare}, algorithm=("PS384", "Ed25519")).algorithms == {
        *("PS384", "ES256", "ES384", "ES512", "Ed25519")
    }


@refuses("RS-16", "RS-15")
@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("RS256", "PS256"), "RS256 and PS256 are for one type of key"),
        (("Ed25519", "RS256", "EdDSA"), "Ed25519 and EdDSA are for one type of key"),
        (("ES256", "ES256", "HS256"), "use one kind for one issuer"),
        (("HS256", "HS512"), "HS256 and HS512 are for one type of key"),
        (("RS256", "none"), "'none' is not supported"),
        (("RS256", 5), "5 is not supported"),
        (5, "must be the name of an algorithm, or several"),
        ({"RS256": 1}, "must be the name of an algorithm, or several"),
    ],
)
def test_two_names_for_one_type_of_key_are_an_error(names: Any, told: str) -> None:
    for make in (
        lambda: KeySet.remote("https://keys.example/jwks", algorithm=names),
        lambda: KeySet.from_jwks({"keys": [public("ES256")]}, algorithm=names),
    ):
        with pytest.raises(ConfigurationError, match=told) as refused:
            make()
        assert refused.value.field == "keys.algorithm"
    with pytest.raises(ConfigurationError, match="no algorithm of published keys"):
        KeySet.remote("https://keys.example/jwks", algorithm=("HS256",))


# --- EdDSA and Ed25519


@accepts("RS-29")
@pytest.mark.parametrize("published", ["EdDSA", "Ed25519", None])
@pytest.mark.parametrize("configured", ["EdDSA", "Ed25519", ("RS256", "EdDSA")])
def test_the_two_names_are_one_where_the_configuration_has_one_of_them(
    published: str | None, configured: Any
) -> None:
    site = Published(public("Ed25519", alg=published), public("ES256"), algorithm=configured)
    for alg in ("EdDSA", "Ed25519"):
        assert site.answers(KEYS["Ed25519"], alg=alg) is None
    for alg in ("ES256", "Ed448", "eddsa", ""):
        assert site.answers(KEYS["Ed25519"], alg=alg) == "algorithm_not_allowed"
    assert site.answers(KEYS["ES256"], alg="EdDSA") == "algorithm_not_allowed"


@refuses("RS-29")
@pytest.mark.parametrize(("published", "sent"), [("EdDSA", "Ed25519"), ("Ed25519", "EdDSA")])
@pytest.mark.parametrize("configured", [None, "RS256", ("RS256", "ES256")])
def test_without_that_they_are_two(published: str, sent: str, configured: Any) -> None:
    site = Published(public("Ed25519", alg=published), algorithm=configured)
    assert site.answers(KEYS["Ed25519"], alg=published) is None
    assert site.answers(KEYS["Ed25519"], alg=sent) == "algorithm_not_allowed"


@accepts("RS-29", "RS-64")
@pytest.mark.parametrize("configured", [None, "EdDSA"])
def test_one_key_may_be_published_under_both_names(configured: str | None) -> None:
    both = [public("Ed25519", alg=name) for name in ("EdDSA", "Ed25519")]
    site = Published(*both, algorithm=configured)
    for alg in ("EdDSA", "Ed25519"):
        assert site.answers(KEYS["Ed25519"], alg=alg) is None


@refuses("RS-29", "RS-64")
def test_two_keys_under_the_two_names_are_two_for_one_algorithm_where_it_is_configured() -> None:
    other = KeySet.generate("EdDSA", kid=KEYS["Ed25519"].kid).keys[0]
    sets = (public("Ed25519"), other.public_jwk())
    apart = Published(*sets)
    assert apart.answers(KEYS["Ed25519"]) is None
    assert apart.answers(other) is None
    assert apart.answers(other, alg="Ed25519") == "signature_invalid"
    together = Published(*sets, public("ES256"), algorithm="EdDSA")
    assert together.answers(KEYS["ES256"]) is None
    assert together.answers(KEYS["Ed25519"]) == "key_unknown"
    assert together.answers(other) == "key_unknown"


@accepts("RS-29")
def test_a_configured_set_keeps_its_second_name_through_pickle() -> None:
    keys = KeySet.from_jwks({"keys": [public("Ed25519")]}, algorithm="EdDSA")
    copy: Settings = pickle.loads(pickle.dumps(FACTORY.settings(keys=keys, clock=standing)))
    for kept in (keys, copy.keys):
        world = World(FACTORY.settings(keys=kept))
        for alg in ("EdDSA", "Ed25519"):
            found = FACTORY.header(alg=alg, kid=KEYS["Ed25519"].kid)
            assert world.get(token=seal(json_octets(found), CLAIMS, KEYS["Ed25519"])).reached
