"""Key sets: made, read and kept; and every way in which a set or a secret can be no good."""

import json
import os
import pickle
import random
import resource
import stat
import subprocess
import sys
from base64 import b32encode, b64encode, urlsafe_b64encode
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization as form

from jwt_middleware import ConfigurationError, KeySet
from jwt_middleware.jose import jwk, jws
from jwt_middleware.jose.algorithms import ALGORITHMS
from jwt_middleware.keys.file import MAX_FILE
from jwt_middleware.values import reasons
from jwt_middleware.values.errors import InvalidToken
from tests.rules import accepts, refuses


@cache
def made(algorithm: str) -> KeySet:
    return KeySet.generate(algorithm)


def two_keys() -> KeySet:
    return KeySet((*made("ES256").keys, *made("Ed25519").keys))


def parts(keys: KeySet) -> list[dict[str, Any]]:
    return [key.to_jwk() for key in keys.keys]


def why_not(make: Callable[[], object]) -> str:
    with pytest.raises(ConfigurationError) as refused:
        make()
    assert refused.value.field.startswith("keys")
    return str(refused.value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@accepts("RS-14", "RS-29")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_generated_set_signs_and_verifies_under_its_one_name(algorithm: str) -> None:
    keys = made(algorithm)
    assert keys.algorithms == {algorithm}
    assert keys.signer is keys.keys[0]
    parsed = jws.parse(jws.sign({"sub": "alice"}, keys.keys[0], typ="at+jwt"))
    jws.check_signature(parsed, keys.find(keys.keys[0].kid))
    assert algorithm in repr(keys)


def test_every_generated_key_is_another() -> None:
    assert len({KeySet.generate("HS256").keys[0].kid for _ in range(50)}) == 50
    assert KeySet.generate().keys[0].algorithm.name == "ES256"
    assert KeySet.generate(kid="2026-01").keys[0].kid == "2026-01"


@accepts("RS-26")
def test_a_key_is_found_by_its_whole_name() -> None:
    keys = two_keys()
    assert [keys.find(key.kid) for key in keys.keys] == list(keys.keys)
    assert made("ES256").find(None) is made("ES256").keys[0]


@refuses("RS-26")
@pytest.mark.parametrize("kid", [None, "", "unknown", "../../dev/null"])
def test_another_name_finds_nothing(kid: str | None) -> None:
    keys = two_keys()
    for name in (kid, keys.keys[0].kid[:-1], keys.keys[0].kid.upper(), keys.keys[0].kid + " "):
        with pytest.raises(InvalidToken) as refused:
            keys.find(name)
        assert refused.value.reason == reasons.KEY_UNKNOWN


def test_the_first_key_that_can_sign_is_the_one_that_signs() -> None:
    public = jwk.from_jwk(made("Ed25519").keys[0].public_jwk())
    assert KeySet([public, *made("ES256").keys]).signer is made("ES256").keys[0]
    assert KeySet([public]).signer is None


def test_the_public_set_holds_public_parts_of_every_key_and_of_no_secret() -> None:
    published = two_keys().public_jwks()
    assert KeySet.from_jwks(published).signer is None
    assert [key["kid"] for key in published["keys"]] == [key.kid for key in two_keys().keys]
    assert not any("d" in key for key in published["keys"])
    assert made("HS256").public_jwks() == {"keys": []}


@pytest.mark.parametrize("make", [two_keys, partial(made, "HS384"), partial(made, "PS256")])
def test_a_set_survives_pickle_and_file(make: Callable[[], KeySet], tmp_path: Path) -> None:
    keys = make()
    keys.save(tmp_path / "keys.json")
    for copy in (pickle.loads(pickle.dumps(keys)), KeySet.load(tmp_path / "keys.json")):
        assert parts(copy) == parts(keys)
    as_text = (tmp_path / "keys.json").read_text("utf-8")
    for given in (as_text, as_text.encode(), json.loads(as_text)):
        assert parts(KeySet.from_jwks(given)) == parts(keys)


def test_pems_make_a_set_of_several_keys() -> None:
    pems = [
        key.private.private_bytes(  # type: ignore[union-attr]
            form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()
        )
        for key in two_keys().keys
    ]
    assert parts(KeySet.pem(pems[0], pems[1].decode())) == parts(two_keys())
    assert KeySet.pem(pems[0], kid="mine").keys[0].kid == "mine"


@refuses("RS-15")
def test_secrets_and_asymmetric_keys_do_not_share_a_set() -> None:
    assert "in one set" in why_not(lambda: KeySet([*made("HS256").keys, *made("ES256").keys]))


def jwks(*keys: Any) -> dict[str, Any]:
    return {"keys": keys}


ES256 = made("ES256").keys[0].to_jwk()
TWICE = json.dumps(jwks(ES256)).replace('"kty"', '"kty": "EC", "kty"')


@refuses("RS-13", "RS-15", "RS-18", "RS-26", "RS-27")
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, 'not a JWK Set (it has a member "keys", an array)'),
        (ES256, "not a JWK Set"),
        ({"keys": {"a": ES256}}, "not a JWK Set"),
        ({"keys": []}, "the key set is empty (KeySet.generate() makes a key)"),
        (jwks("a"), "keys[0]: a key must be a JSON object"),
        (jwks(ES256, ES256 | {"use": "enc"}), "keys[1]: its `use` is not sig"),
        (jwks(ES256, ES256), "two keys have the same kid"),
        (jwks(ES256, made("HS256").keys[0].to_jwk()), "secrets and asymmetric keys in one set"),
        ("", "not one JSON object without duplicate members"),
        ("[]", "not one JSON object"),
        (b"\xff", "not one JSON object"),
        (TWICE, "not one JSON object without duplicate members"),
        (json.dumps(jwks(ES256)).encode("utf-16"), "not one JSON object"),
    ],
)
def test_an_unusable_set_is_refused_with_the_reason(given: Any, told: str) -> None:
    message = why_not(lambda: KeySet.from_jwks(given))
    assert told in message
    assert ES256["d"] not in message


@pytest.mark.parametrize("nothing", [None, 5.0, ["a"], "\ud800"])
@pytest.mark.parametrize("make", [KeySet.secret, KeySet.pem, KeySet.from_jwks, KeySet.load])
def test_an_environment_variable_that_is_not_set_is_a_configuration_error(
    make: Callable[..., KeySet], nothing: Any
) -> None:
    why_not(lambda: make(nothing))


def test_a_number_is_no_file_although_the_system_knows_files_by_number(path: Path) -> None:
    with path.open("wb+") as opened:
        opened.write(json.dumps(jwks(ES256)).encode())
        opened.seek(0)
        why_not(lambda: KeySet.load(opened.fileno()))  # type: ignore[arg-type]
        assert os.fstat(opened.fileno())


def test_a_set_is_made_of_keys_only() -> None:
    assert "empty" in why_not(lambda: KeySet([]))
    assert "empty" in why_not(KeySet.secret)
    assert "empty" in why_not(KeySet.pem)
    why_not(lambda: KeySet([ES256]))  # type: ignore[list-item]


def test_what_is_generated_is_named_by_a_supported_algorithm() -> None:
    assert "'HS1' is not supported: one of HS256," in why_not(lambda: KeySet.generate("HS1"))
    why_not(lambda: KeySet.generate(["ES256"]))  # type: ignore[arg-type]


# Secrets.

RANDOM: dict[str, Callable[[random.Random], str | bytes]] = {
    "octets": lambda chance: chance.randbytes(32),
    "token_hex(16)": lambda chance: chance.randbytes(16).hex(),
    "token_hex(32)": lambda chance: chance.randbytes(32).hex(),
    "token_urlsafe(32)": lambda chance: urlsafe_b64encode(chance.randbytes(32)).rstrip(b"="),
    "openssl rand -base64 32": lambda chance: b64encode(chance.randbytes(32)),
    "letters and digits": lambda chance: b64encode(chance.randbytes(99), b"xX")[:32],
    "base32": lambda chance: b32encode(chance.randbytes(32)),
    "octets that begin like JSON": lambda chance: b"\n{" + chance.randbytes(63),
}


@accepts("RS-20")
@pytest.mark.parametrize("draw", RANDOM.values(), ids=RANDOM)
def test_what_a_generator_gives_is_a_secret(draw: Callable[[random.Random], str | bytes]) -> None:
    # Nobody's service may fail to start by chance: none of many is refused.
    chance = random.Random(7518)
    for _ in range(1500):
        KeySet.secret(draw(chance))


@accepts("RS-19")
@pytest.mark.parametrize(("algorithm", "octets"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_a_secret_is_as_long_as_the_hash(algorithm: str, octets: int) -> None:
    secret = random.Random(octets).randbytes(octets)
    assert KeySet.secret(secret, algorithm=algorithm).algorithms == {algorithm}
    told = why_not(lambda: KeySet.secret(secret[1:], algorithm=algorithm))
    assert f"{octets - 1} octets is too short: {algorithm} needs at least {octets}" in told


def test_secrets_rotate() -> None:
    first, second = (random.Random(seed).randbytes(32) for seed in (1, 2))
    keys = KeySet.secret(second, first.hex())
    assert keys.signer is keys.keys[0]
    assert KeySet.secret(second).signer.kid == keys.keys[0].kid  # type: ignore[union-attr]


GUESSABLE = [
    "",
    "secret",
    "my-super-secret-key-change-me-in-production",
    "ThisIsMyVerySecretKeyForJWTSigning12345",
    "THIS_IS_MY_SECRET_KEY_FOR_SIGNING_TOKENS",
    "a_very_long_secret_that_nobody_can_guess",
    "django-insecure-change-me-please-now",
    "your-256-bit-secret-your-256-bit-secret",
    "correct horse battery staple, always",
    "passwordpasswordpasswordpassword",
    "SuperSecretPassword1234567890!!!",
    "ChangeMe!ChangeMe!ChangeMe!12345",
    "a" * 64,
    "ab" * 32,
    "zzYY99" * 10,
    "deadbeef" * 8,
    "0123456789" * 4,
    "12345678901234567890123456789012",
    "0123456789abcdef0123456789abcdef",
    "00112233445566778899aabbccddeeff",
    "abcdefghijklmnopqrstuvwxyz0123456789",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
    "1q2w3e4r5t6y7u8i9o0p1q2w3e4r5t6y",
    "qwertyuiopasdfghjklzxcvbnm123456",
    "8f14e45f-ceea-467f-a8a1-7c3b2f9d6e05",
    "{0B9D6C1E-5C1A-11EF-9B42-0242AC120002}",
    "urn:uuid:01890a5d-ac96-774b-bcce-b302099a8057",
    bytes(32),
    bytes(range(64)),
]


@refuses("RS-20")
@pytest.mark.parametrize("secret", GUESSABLE, ids=repr)
def test_what_people_type_is_no_secret(secret: str | bytes) -> None:
    told = why_not(lambda: KeySet.secret(secret))
    assert "too short" in told or "make one: python -c" in told
    assert len(secret) < 32 or repr(secret)[2:-1] not in told


DER, PEM = form.Encoding.DER, form.Encoding.PEM
SPKI, PKCS1 = form.PublicFormat.SubjectPublicKeyInfo, form.PublicFormat.PKCS1
PKCS8, PLAIN = form.PrivateFormat.PKCS8, form.NoEncryption()
SSH = form.Encoding.OpenSSH, form.PublicFormat.OpenSSH
LOCKED = form.BestAvailableEncryption(b"password")


def encodings() -> dict[str, bytes]:
    """Return an asymmetric key in every form that some library took for an HMAC secret."""
    key = made("RS256").keys[0]
    public, private = key.public, key.private
    pem = public.public_bytes(PEM, SPKI)  # type: ignore[union-attr]
    text = json.dumps(key.public_jwk()).encode()
    return {
        "PEM": pem,
        "PEM, PKCS #1": public.public_bytes(PEM, PKCS1),  # type: ignore[union-attr]
        "PEM after white space": b" \n" + pem,
        "PEM after a byte order mark": b"\xef\xbb\xbf" + pem,
        "PEM without its header": b"".join(pem.splitlines()[1:-1]),
        "private PEM": private.private_bytes(PEM, PKCS8, PLAIN),  # type: ignore[union-attr]
        "DER": public.public_bytes(DER, SPKI),  # type: ignore[union-attr]
        "DER, PKCS #1": public.public_bytes(DER, PKCS1),  # type: ignore[union-attr]
        "DER, short": made("Ed25519").keys[0].public.public_bytes(DER, SPKI),  # type: ignore[union-attr]
        "private DER": private.private_bytes(DER, PKCS8, PLAIN),  # type: ignore[union-attr]
        "encrypted DER": private.private_bytes(DER, PKCS8, LOCKED),  # type: ignore[union-attr]
        "SSH": public.public_bytes(*SSH),  # type: ignore[union-attr]
        "SSH, ECDSA": made("ES256").keys[0].public.public_bytes(*SSH),  # type: ignore[union-attr]
        "SSH, security key": b"sk-ecdsa-sha2-nistp256@openssh.com " + b64encode(os.urandom(100)),
        "SSH2": b"---- BEGIN SSH2 PUBLIC KEY ----\n" + b64encode(os.urandom(100)),
        "JWK": text,
        "JWK after a byte order mark": b"\xef\xbb\xbf" + text,
        "JWK Set": b'\n{"keys": [' + text + b"]}",
        "certificate": b"-----BEGIN CERTIFICATE-----\n" + b64encode(os.urandom(300)),
    }


@refuses("RS-16")
@pytest.mark.parametrize(("what", "secret"), encodings().items(), ids=encodings())
def test_a_key_in_any_encoding_is_no_secret(what: str, secret: bytes) -> None:
    told = why_not(lambda: KeySet.secret(secret))
    assert "load it as what it is (KeySet.pem, KeySet.from_jwks)" in told, what
    assert secret.decode("latin-1")[30:60] not in told


# Files.


def test_a_saved_file_is_for_its_owner_only(path: Path) -> None:
    before = os.umask(0)
    try:
        two_keys().save(path)
        path.chmod(0o644)
        made("ES256").save(str(path))  # replaces it, mode and all
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert parts(KeySet.load(str(path))) == parts(made("ES256"))
    assert os.listdir(path.parent) == [path.name]


def test_a_disk_that_is_full_leaves_the_old_file(path: Path) -> None:
    made("ES256").save(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(OSError):
            two_keys().save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert parts(KeySet.load(path)) == parts(made("ES256"))
    assert os.listdir(path.parent) == [path.name]


def test_what_can_not_be_replaced_leaves_nothing_behind(path: Path) -> None:
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        made("ES256").save(path)
    assert os.listdir(path.parent) == [path.name]


SAVE_FOR_EVER = """
import sys
from jwt_middleware import KeySet
keys = KeySet.load(sys.argv[1])
print("ready", flush=True)
while True:
    keys.save(sys.argv[1])
"""


def test_a_process_that_is_killed_while_saving_leaves_a_whole_file(path: Path) -> None:
    two_keys().save(path)
    saver = [sys.executable, "-c", SAVE_FOR_EVER, str(path)]
    with subprocess.Popen(saver, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for _ in range(200):
            assert parts(KeySet.load(path)) == parts(two_keys())
        process.kill()
    assert parts(KeySet.load(path)) == parts(two_keys())


def test_a_file_that_is_missing_says_how_to_make_one(path: Path) -> None:
    told = why_not(lambda: KeySet.load(path))
    assert str(path) in told
    assert "No such file" in told
    assert "KeySet.generate().save(path)" in told


def test_a_file_that_can_not_be_read_says_why(path: Path, tmp_path: Path) -> None:
    assert "Is a directory" in why_not(lambda: KeySet.load(tmp_path))
    path.symlink_to(path)
    assert "symbolic links" in why_not(lambda: KeySet.load(path))
    assert "Not a directory" in why_not(lambda: KeySet.load(Path(__file__) / "keys.json"))


def test_a_file_has_a_limit(path: Path) -> None:
    text = json.dumps(jwks(ES256)).encode()
    path.write_bytes(text.ljust(MAX_FILE))
    assert parts(KeySet.load(path)) == [ES256]
    path.write_bytes(text.ljust(MAX_FILE + 1))
    assert f"larger than {MAX_FILE} octets" in why_not(lambda: KeySet.load(path))
    path.write_bytes(b"")
    told = why_not(lambda: KeySet.load(path))
    assert "not one JSON object" in told
    assert f"in {path} (give a JWK Set; PEM is for KeySet.pem)" in told


def test_an_algorithm_can_be_given_for_keys_that_name_none(path: Path) -> None:
    nameless = {
        name: value for name, value in made("RS256").keys[0].to_jwk().items() if name != "alg"
    }
    path.write_text(json.dumps(jwks(nameless)), "utf-8")
    assert KeySet.load(path, algorithm="PS256").algorithms == {"PS256"}
    assert "without `alg`" in why_not(lambda: KeySet.load(path))
