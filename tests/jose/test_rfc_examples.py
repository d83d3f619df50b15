"""The examples that the RFCs print: each is read, verified, reproduced or refused as its RFC says.

The vectors lie in tests/vectors, one file per RFC, each entry with its section.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from jwt_middleware import KeySet, Settings, profiles
from jwt_middleware.jose import jwk, jws
from jwt_middleware.jose.strict_json import b64url_decode, b64url_encode
from jwt_middleware.values import reasons
from jwt_middleware.values.errors import InvalidToken
from tests.rules import accepts, refuses
from tests.world import World

VECTORS = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in sorted((Path(__file__).parent.parent / "vectors").glob("rfc*.json"))
}

# The signatures of these are the same at every signing, so that ours must be the printed ones.
DETERMINISTIC = ("HS256", "RS256", "EdDSA")


def entries(kind: str) -> list[Any]:
    """Return every entry of one kind as a test parameter that bears its section."""
    found = [entry for vectors in VECTORS.values() for entry in vectors.get(kind, ())]
    assert found, kind
    return [pytest.param(entry, id=entry["section"]) for entry in found]


def parts(example: dict[str, Any]) -> tuple[bytes, bytes]:
    """Return the signing input and the signature of a printed token."""
    signing_input, _, signature = example["token"].encode().rpartition(b".")
    return signing_input, b64url_decode(signature)


EXAMPLES = entries("examples")
WITH_CLAIMS = [example for example in EXAMPLES if example.values[0]["payload"].startswith("{")]
REPRODUCED = [example for example in EXAMPLES if example.values[0]["algorithm"] in DETERMINISTIC]


@accepts("RS-17")
@pytest.mark.parametrize("example", EXAMPLES)
def test_the_signature_is_good(example: dict[str, Any]) -> None:
    key = jwk.from_jwk(example["key"], algorithm=example["algorithm"])
    signing_input, signature = parts(example)
    assert b64url_decode(signing_input.partition(b".")[2]).decode() == example["payload"]
    assert key.verify(signing_input, signature)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_signature_is_good_for_nothing_else(example: dict[str, Any]) -> None:
    key = jwk.from_jwk(example["key"], algorithm=example["algorithm"])
    signing_input, signature = parts(example)
    spoilt = bytes([signature[0] ^ 1]) + signature[1:]
    assert not key.verify(signing_input + b"A", signature)
    assert not key.verify(signing_input, spoilt)
    assert not key.verify(signing_input, signature[:-1])


@pytest.mark.parametrize("example", REPRODUCED)
def test_we_sign_as_the_rfc_does(example: dict[str, Any]) -> None:
    key = jwk.from_jwk(example["key"], algorithm=example["algorithm"])
    signing_input, signature = parts(example)
    assert key.sign(signing_input) == signature


@accepts("RS-12")
@pytest.mark.parametrize("example", WITH_CLAIMS)
def test_the_token_is_read_and_verified(example: dict[str, Any]) -> None:
    parsed = jws.parse(example["token"])
    jws.check_signature(parsed, jwk.from_jwk(example["key"], algorithm=example["algorithm"]))
    assert parsed.claims == {"iss": "joe", "exp": 1300819380, "http://example.com/is_root": True}


@refuses("RS-12")
@pytest.mark.parametrize("example", [e for e in EXAMPLES if e not in WITH_CLAIMS])
def test_a_payload_that_is_no_json_is_no_token(example: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken) as refused:
        jws.parse(example["token"])
    assert refused.value.reason == reasons.NOT_JSON


@refuses("RS-10", "RS-14", "RS-22", "RS-23")
@pytest.mark.parametrize("example", entries("refused"))
def test_what_is_no_signed_compact_token_is_refused(example: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken) as refused:
        jws.parse(example["token"])
    assert refused.value.reason == example["reason"]


@pytest.mark.parametrize("example", entries("public"))
def test_the_public_key_verifies_what_the_private_one_signs(example: dict[str, Any]) -> None:
    signed = next(e.values[0] for e in EXAMPLES if e.values[0]["section"] == example["of"])
    public = jwk.from_jwk(example["key"], algorithm=signed["algorithm"])
    private = jwk.from_jwk(signed["key"], algorithm=signed["algorithm"])
    assert public.verify(*parts(signed))
    assert not public.signs
    assert private.signs
    assert public.public_jwk() == private.public_jwk()


@pytest.mark.parametrize("example", entries("thumbprints"))
def test_the_thumbprint_is_the_printed_one(example: dict[str, Any]) -> None:
    assert jwk.thumbprint(example["key"]) == example["thumbprint"]
    nameless = {name: value for name, value in example["key"].items() if name != "kid"}
    assert jwk.from_jwk(nameless).kid == example["thumbprint"]


def test_base64url_is_as_printed() -> None:
    example = VECTORS["rfc7515"]["base64url"]
    assert b64url_encode(bytes(example["octets"])).decode() == example["text"]
    assert list(b64url_decode(example["text"].encode())) == example["octets"]


@refuses("RS-35")
def test_the_token_of_rfc_7519_is_authentic_and_still_opens_nothing() -> None:
    (example,) = VECTORS["rfc7519"]["examples"]
    world = World(
        Settings(
            issuer="joe",
            audience="api",
            keys=KeySet.from_jwks({"keys": [example["key"]]}, algorithm="HS256"),
            profile=profiles.FOREIGN,
            clock=lambda: 1300819379,
        )
    )
    answer = world.get(token=example["token"])
    assert (answer.status, answer.reason) == (401, reasons.CLAIM_MISSING)
