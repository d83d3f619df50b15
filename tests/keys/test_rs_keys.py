"""RS-15 to RS-20, RS-27, RS-29: a key is typed, strong and bound to one algorithm at its load."""

import random
import string
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from jwt_middleware import ConfigurationError, KeySet
from jwt_middleware.jose.algorithms import ALGORITHMS
from jwt_middleware.jose.binding import UnusableKey
from jwt_middleware.jose.jwk import Key, from_jwk, from_object
from jwt_middleware.jose.jws import join
from jwt_middleware.jose.strict_json import b64url_encode
from jwt_middleware.testing import TokenFactory
from jwt_middleware.testing.mint import json_octets, seal
from tests.rules import accepts, refuses
from tests.world import World, standing

FACTORY = TokenFactory(clock=standing)
CLAIMS = json_octets(FACTORY.claims())
KEYS: dict[str, Key] = {
    name: KeySet.generate(name).keys[0] for name in ("ES256", "ES384", "ES512", "RS256", "Ed25519")
}
SECRET = "N7v2Qx9LrT4bKw8ZfY1mHc6DgJ3sPaE5uVtXoR0iBqMnWlUzSdCyOhGe-FkIjAp_2468"


def private(name: str, **changes: Any) -> dict[str, Any]:
    """Return a private JWK, changed."""
    return KEYS[name].to_jwk() | changes


def public(name: str, **changes: Any) -> dict[str, Any]:
    """Return a public JWK, changed; a member that becomes None is left out."""
    members = KEYS[name].public_jwk() | changes
    return {member: value for member, value in members.items() if value is not None}


def octets(secret: str | bytes, **members: Any) -> dict[str, Any]:
    """Return a secret as a JWK."""
    raw = secret.encode() if isinstance(secret, str) else secret
    return {"kty": "oct", "k": b64url_encode(raw).decode(), "alg": "HS256", **members}


def read(*jwks: dict[str, Any], algorithm: str | None = None) -> KeySet:
    return KeySet.from_jwks({"keys": list(jwks)}, algorithm=algorithm)


def answer_of(keys: KeySet, key: Key, **header: Any) -> str | None:
    """Return why a token signed by `key` is refused by `keys`; None when it is let in."""
    found = FACTORY.header(**{"alg": key.algorithm.name, "kid": key.kid} | header)
    answer = World(FACTORY.settings(keys=keys)).get(token=seal(json_octets(found), CLAIMS, key))
    assert answer.status == (200 if answer.reached else 401)
    return answer.reason


@accepts("RS-15")
def test_one_issuer_may_have_keys_of_several_kinds_while_all_are_public_or_all_secret() -> None:
    mixed = KeySet(KEYS.values())
    assert [answer_of(mixed, key) for key in mixed.keys] == [None] * len(KEYS)
    secrets = KeySet.secret(SECRET, SECRET[::-1])
    assert [answer_of(secrets, key) for key in secrets.keys] == [None, None]


@refuses("RS-15")
@pytest.mark.parametrize("name", KEYS)
def test_secrets_and_public_keys_do_not_mix(name: str) -> None:
    for make in (
        lambda: KeySet((KEYS[name], KeySet.secret(SECRET).keys[0])),
        lambda: read(octets(SECRET), public(name)),
        lambda: read(private(name), octets(SECRET)),
    ):
        with pytest.raises(ConfigurationError, match="one kind for one issuer"):
            make()


@accepts("RS-16")
def test_a_key_without_alg_takes_the_one_that_was_named_or_its_curves() -> None:
    rsa_key = read(public("RS256", alg=None), algorithm="PS384").keys[0]
    assert rsa_key.algorithm.name == "PS384"
    assert read(octets(SECRET, alg="HS512")).algorithms == {"HS512"}
    curves = read(
        *(public(name, alg=None) for name in ("ES256", "ES384", "Ed25519")), algorithm="RS256"
    )
    assert curves.algorithms == {"ES256", "ES384", "Ed25519"}


@refuses("RS-16")
@pytest.mark.parametrize("name", [name for name in ALGORITHMS if ALGORITHMS[name].kty == "RSA"])
def test_a_key_checks_one_algorithm_even_if_the_signature_of_another_is_right(name: str) -> None:
    key = from_object(KEYS["RS256"].private, "PS256", kid="k")
    message = (
        b64url_encode(json_octets(FACTORY.header(alg=name, kid="k"))) + b"." + b64url_encode(CLAIMS)
    )
    token = join(message, ALGORITHMS[name].primitive.sign(message, key.private))
    answer = World(FACTORY.settings(keys=KeySet((key,)))).get(token=token)
    assert answer.reason == (None if name == "PS256" else "algorithm_not_allowed")


@refuses("RS-16")
def test_a_key_that_could_serve_several_algorithms_must_be_told_which() -> None:
    key = KEYS["RS256"].public
    assert key is not None
    pem = key.public_bytes(Encoding.PEM, PublicFormat.PKCS1)
    for make in (
        lambda: read(public("RS256", alg=None)),
        lambda: read(public("RS256", alg=None), algorithm="ES256"),
        lambda: read({"kty": "oct", "k": octets(SECRET)["k"]}),
        lambda: KeySet.pem(pem),
    ):
        with pytest.raises(ConfigurationError, match="name one"):
            make()


@accepts("RS-17")
@pytest.mark.parametrize("name", KEYS)
def test_a_key_whose_parts_agree_is_read(name: str) -> None:
    assert answer_of(read(public(name)), KEYS[name]) is None
    assert read(private(name)).keys[0].signs


POINT = KEYS["ES256"].public_jwk()
DISAGREEING: dict[str, dict[str, Any]] = {
    "alg-of-another-curve": public("ES256", alg="ES384"),
    "alg-of-another-type": public("ES256", alg="RS256"),
    "rsa-with-es256": public("RS256", alg="ES256"),
    "okp-with-es256": public("Ed25519", alg="ES256"),
    "ec-with-hs256": public("ES256", alg="HS256"),
    "ec-with-eddsa": public("ES256", alg="EdDSA"),
    "secret-with-rs256": octets(SECRET, alg="RS256"),
    "kty-of-another-type": public("ES256", kty="OKP"),
    "kty-in-lower-case": public("ES256", kty="ec"),
    "kty-missing": public("ES256", kty=None),
    "kty-an-array": public("ES256", kty=["EC"]),
    "crv-of-another-size": public("ES256", crv="P-384", alg="ES384"),
    "crv-secp256k1": public("ES256", crv="secp256k1", alg="ES256"),
    "crv-missing": public("ES256", crv=None),
    "crv-a-number": public("ES256", crv=256),
    "point-not-on-the-curve": public("ES256", y=POINT["x"]),
    "point-at-infinity": public("ES256", x="A" * 43, y="A" * 43),
    "point-with-a-zero-more": public("ES256", x="AA" + POINT["x"][:-1] + "A"),
    "point-cut-short": public("ES256", x=POINT["x"][:-4]),
    "point-missing": public("ES256", y=None),
    "x-with-padding": public("ES256", x=POINT["x"] + "="),
    "x-not-canonical": public("ES256", x=POINT["x"][:-1] + "B"),
    "x-empty": public("Ed25519", x=""),
    "x-of-33-octets": public("Ed25519", x="A" * 44),
    "private-part-of-another-key": private("ES256") | {"x": POINT["y"], "y": POINT["x"]},
    "private-part-of-an-own-kind": private("ES256", d=KeySet.generate().keys[0].to_jwk()["d"]),
    "ed25519-of-two-keys": private("Ed25519", x=KeySet.generate("Ed25519").keys[0].to_jwk()["x"]),
    "modulus-with-a-zero-in-front": public("RS256", n="AA" + public("RS256")["n"]),
    "alg-none": public("ES256", alg="none"),
    "alg-in-lower-case": public("ES256", alg="es256"),
    "alg-of-encryption": public("RS256", alg="RSA-OAEP"),
    "alg-a-number": public("ES256", alg=256),
}


@refuses("RS-17")
@pytest.mark.parametrize("jwk", DISAGREEING.values(), ids=DISAGREEING.keys())
def test_a_key_whose_parts_disagree_is_refused_at_load(jwk: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"keys\[1\]"):
        read(public("ES512"), jwk)


@refuses("RS-17")
@pytest.mark.parametrize("curve", [ec.SECP256K1(), ec.SECP224R1(), ec.BrainpoolP256R1()])
def test_a_curve_that_no_algorithm_here_takes_is_refused(curve: ec.EllipticCurve) -> None:
    pem = ec.generate_private_key(curve).public_key()
    with pytest.raises(ConfigurationError, match="keys"):
        KeySet.pem(pem.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


@accepts("RS-18")
@pytest.mark.parametrize(
    "members",
    [
        {},
        {"use": "sig"},
        {"key_ops": ["verify"]},
        {"use": "sig", "key_ops": ["verify"]},
        {"key_ops": ["verify", "x"]},
    ],
    ids=str,
)
def test_a_key_that_is_meant_for_verifying_verifies(members: dict[str, Any]) -> None:
    assert answer_of(read(public("ES256", use=None) | members), KEYS["ES256"]) is None


@refuses("RS-18")
@pytest.mark.parametrize(
    "members",
    [
        {"use": "enc"},
        {"use": "SIG"},
        {"use": ""},
        {"use": 1},
        {"key_ops": []},
        {"key_ops": ["encrypt"]},
        {"key_ops": ["Verify"]},
        {"key_ops": ["verify", "verify"]},
        {"key_ops": "verify"},
        {"key_ops": [1]},
        {"use": "enc", "key_ops": ["verify"]},
    ],
    ids=str,
)
def test_a_key_that_is_meant_for_something_else_is_refused_at_load(members: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"RFC 7517 s4\.[23]"):
        read(public("ES256") | members)


@refuses("RS-18")
def test_a_secret_that_may_only_sign_verifies_nothing() -> None:
    keys = read(
        octets(SECRET, kid="signs", key_ops=["sign"]),
        octets(SECRET, kid="checks", key_ops=["verify"]),
    )
    signs, checks = keys.keys
    assert keys.signer is signs
    assert answer_of(keys, signs) == "key_not_for_verifying"
    assert answer_of(keys, signs, kid="checks") is None
    assert not checks.signs


def rsa_of(bits: int, exponent: int = 65537) -> rsa.RSAPublicKey:
    """Return an RSA public key of that size, which nobody has the private part of."""
    modulus = (3 << (bits - 2)) + 1
    while any(modulus % factor == 0 for factor in range(3, 1 << 12, 2)):
        modulus += 2
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


@accepts("RS-19")
def test_keys_of_the_least_and_the_largest_size_are_taken() -> None:
    for name, size in (("HS256", 32), ("HS384", 48), ("HS512", 64)):
        assert KeySet.secret(SECRET[:size], algorithm=name).algorithms == {name}
    for bits, exponent in ((2048, 3), (2048, 65537), (2048, 2**32 - 1), (3072, 17), (8192, 65537)):
        assert from_object(rsa_of(bits, exponent), "RS256").verifies


@refuses("RS-19")
@pytest.mark.parametrize(
    ("name", "size"), [("HS256", 31), ("HS384", 47), ("HS512", 63), ("HS256", 0)]
)
def test_a_secret_shorter_than_the_hash_is_refused(name: str, size: int) -> None:
    with pytest.raises(ConfigurationError, match=r"RFC 7518 s3\.2"):
        KeySet.secret(SECRET[:size], algorithm=name)


@refuses("RS-19")
@pytest.mark.parametrize(
    ("bits", "exponent"),
    [
        (1024, 65537),
        (2047, 65537),
        (8193, 65537),
        (16384, 65537),
        (2048, 2**32 + 1),
        (3072, 2**3070 + 1),
    ],
)
def test_a_small_a_huge_and_a_slow_rsa_key_are_refused(bits: int, exponent: int) -> None:
    for name in ("RS256", "PS512"):
        with pytest.raises(UnusableKey, match="RSA"):
            from_object(rsa_of(bits, exponent), name)


def modulus_key(modulus: int) -> rsa.RSAPublicKey:
    return rsa.RSAPublicNumbers(65537, modulus).public_key()


@refuses("RS-19")
@pytest.mark.parametrize("factor", [2, 3, 5, 7, 641, 4093], ids=str)
def test_an_rsa_modulus_with_a_small_factor_is_refused(factor: int) -> None:
    rest = rsa_of(2048).public_numbers().n
    weak = "is even" if factor == 2 else "has a small factor"
    with pytest.raises(UnusableKey, match=f"RSA modulus {weak}: the private key can be computed"):
        from_object(modulus_key(rest * factor), "RS256")


@refuses("RS-19")
def test_rsa_primes_next_to_each_other_are_refused() -> None:
    # CVE-2022-26320: Fermat's method of 1643 factors these at once, however long they are.
    first, second = (1 << 1024) - 105, (1 << 1024) - 179
    for modulus in (first * first, first * second):
        with pytest.raises(UnusableKey, match="a square, or its factors are so close"):
            from_object(modulus_key(modulus), "PS256")


FIELD = 2**255 - 19
CURVE = -121665 * pow(121666, -1, FIELD)  # the `d` of RFC 8032 s5.1
ORDER = 2**252 + 27742317777372353535851937790883648493  # its `L`; the curve has 8 * L points
Point = tuple[int, int]


def sum_of(p: Point, q: Point) -> Point:
    """Return the sum of two points, by the affine law of the curve (RFC 8032 s5.1.4)."""
    product = CURVE * p[0] * q[0] * p[1] * q[1]
    x = (p[0] * q[1] + q[0] * p[1]) * pow(1 + product, -1, FIELD)
    y = (p[1] * q[1] + p[0] * q[0]) * pow(1 - product, -1, FIELD)
    return x % FIELD, y % FIELD


def multiple(p: Point, times: int) -> Point:
    total = (0, 1)
    for digit in f"{times:b}":
        total = sum_of(total, total)
        if digit == "1":
            total = sum_of(total, p)
    return total


def points() -> Iterator[Point]:
    """Yield points of the curve, with a small y (RFC 8032 s5.1.3)."""
    for y in range(2, 60):
        square = (y * y - 1) * pow(CURVE * y * y + 1, -1, FIELD) % FIELD
        x = pow(square, (FIELD + 3) // 8, FIELD)
        for root in (x, x * pow(2, (FIELD - 1) // 4, FIELD) % FIELD):
            if root * root % FIELD == square:
                yield root, y


SMALL = {multiple(point, ORDER) for point in points()}


def texts_of(point: Point) -> Iterator[bytes]:
    """Yield every text of a point: y may be spelled y + p, and x = 0 has two signs."""
    x, y = point
    for spelled in (y, y + FIELD):
        for sign in {x & 1, 1} if x == 0 else {x & 1}:
            if spelled < 1 << 255:
                yield (spelled | sign << 255).to_bytes(32, "little")


@refuses("RS-19")
def test_an_ed25519_key_of_small_order_is_refused_in_every_spelling() -> None:
    # libsodium's `has_small_order`, RFC 8032 s8.9: one signature is good for every message.
    assert len(SMALL) == 8
    found = {text for point in SMALL for text in texts_of(point)}
    assert len(found) == 14
    for text in found:
        jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64url_encode(text).decode()}
        with pytest.raises(UnusableKey, match="small order: anybody can sign"):
            from_jwk(jwk)
        with pytest.raises(UnusableKey, match="small order"):
            from_object(Ed25519PublicKey.from_public_bytes(text))


@accepts("RS-19")
def test_other_points_of_ed25519_are_taken() -> None:
    for point in points():
        for text in texts_of(point):
            assert from_object(Ed25519PublicKey.from_public_bytes(text)).verifies


@refuses("RS-19")
@pytest.mark.parametrize("e", ["AQ", "Ag", "AAEAAQ", "AQAC", ""])
def test_an_rsa_exponent_that_is_even_one_or_not_minimal_is_refused(e: str) -> None:
    with pytest.raises(ConfigurationError):
        read(public("RS256", e=e))


GENERATORS: dict[str, Callable[[random.Random], str]] = {
    "hexadecimal": lambda source: source.randbytes(32).hex(),
    "letters-and-digits": lambda source: "".join(
        source.choices(string.ascii_letters + string.digits, k=40)
    ),
    "small-letters-and-digits": lambda source: "".join(
        source.choices(string.ascii_lowercase + string.digits, k=40)
    ),
    "printable": lambda source: "".join(source.choices(string.printable[:94], k=40)),
    "octets": lambda source: source.randbytes(32).decode("latin-1"),
}


@accepts("RS-20")
@pytest.mark.parametrize("generate", GENERATORS.values(), ids=GENERATORS.keys())
def test_a_random_secret_is_taken_in_whatever_letters(generate: Callable[..., str]) -> None:
    source = random.Random(20)
    refused = 0
    for _ in range(1000):
        try:
            KeySet.secret(generate(source).encode("latin-1"))
        except ConfigurationError:
            refused += 1
    assert refused == 0


PASSWORDS = [
    "secret",
    "your-256-bit-secret",
    "a-string-secret-at-least-256-bits-long",
    "correct horse battery staple and more of that",
    "thisisaverylongsecretkeyforjwt!!",
    "super-secret-key-that-is-32-bytes!",
    "changemechangemechangemechangeme",
    "secretsecretsecretsecretsecretsecret",
    "00000000000000000000000000000000",
    "\0" * 64,
    "qwertyuiopasdfghjklzxcvbnm1234567890",
    "django-insecure-abcdefghijklmnopqrstuvwxyz123456",
    "12345678901234567890123456789012",
    "0123456789abcdef0123456789abcdef",
    "1234" * 16,
    "P@ssw0rd!" * 4,
    "Tr0ub4dor&3" * 3,
    "my_super_secret_jwt_key_do_not_share_1234",
    "MY-SECRET-KEY-FOR-JWT-TOKENS-2024-PRODUCTION",
]


@refuses("RS-20")
@pytest.mark.parametrize("password", PASSWORDS, ids=repr)
def test_what_people_think_up_is_no_secret(password: str) -> None:
    for make in (lambda: KeySet.secret(password), lambda: read(octets(password))):
        with pytest.raises(ConfigurationError):
            make()


@accepts("RS-27")
def test_a_set_of_keys_with_names_of_their_own_is_read() -> None:
    keys = read(*(public(name, kid=name) for name in KEYS))
    assert [key.kid for key in keys.keys] == list(KEYS)
    assert answer_of(keys, KEYS["RS256"], kid="RS256") is None


@accepts("RS-27")
def test_a_key_of_a_type_that_nobody_here_knows_is_skipped() -> None:
    # RFC 7517 s5: "SHOULD ignore JWKs within a JWK Set that use "kty" values that are
    # not understood by them".
    unknown = {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA", "kid": "later"}
    keys = read(unknown, public("ES256"))
    assert [key.kid for key in keys.keys] == [KEYS["ES256"].kid]


@refuses("RS-27")
@pytest.mark.parametrize(
    "jwks",
    [
        pytest.param([public("ES256", kid="a"), public("RS256", kid="a")], id="equal-kids"),
        pytest.param([public("ES256"), public("ES256")], id="one-key-twice"),
        pytest.param([public("ES256", kid="a"), octets(SECRET, kid="b")], id="mixed-kinds"),
        pytest.param([], id="none"),
        pytest.param([{"kty": "AKP", "kid": "a"}], id="none-that-is-known"),
        pytest.param([public("ES256", kid="")], id="empty-kid"),
        pytest.param([public("ES256", kid="k" * 257)], id="kid-too-long"),
        pytest.param([public("ES256") | {"kid": 5}], id="kid-a-number"),
        pytest.param([public("ES256") | {"kid": None}], id="kid-null"),
        pytest.param(["ES256"], id="no-object"),
        pytest.param({}, id="no-array"),
    ],
)
def test_a_set_that_can_not_be_meant_is_refused_whole(jwks: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^keys"):
        KeySet.from_jwks({"keys": jwks})


@accepts("RS-29")
@pytest.mark.parametrize("name", ["Ed25519", "EdDSA"])
def test_ed25519_goes_by_its_own_name_and_by_the_old_one_where_that_is_configured(
    name: str,
) -> None:
    keys = read(private("Ed25519", alg=name))
    assert answer_of(keys, keys.keys[0]) is None


@refuses("RS-29")
@pytest.mark.parametrize(("configured", "sent"), [("Ed25519", "EdDSA"), ("EdDSA", "Ed25519")])
def test_in_a_set_that_names_one_the_other_name_is_another_algorithm(
    configured: str, sent: str
) -> None:
    keys = read(private("Ed25519", alg=configured))
    assert answer_of(keys, keys.keys[0], alg=sent) == "algorithm_not_allowed"


@refuses("RS-29")
def test_no_other_curve_comes_in_under_the_open_name() -> None:
    other = ed448.Ed448PrivateKey.generate().public_key()
    raw = b64url_encode(other.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
    for name in ("EdDSA", "Ed448", "Ed25519"):
        with pytest.raises(ConfigurationError):
            read({"kty": "OKP", "crv": "Ed448", "x": raw, "alg": name})
        with pytest.raises(UnusableKey):
            from_object(other, name)
    x25519 = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    with pytest.raises(ConfigurationError):
        read({"kty": "OKP", "crv": "X25519", "x": b64url_encode(x25519).decode(), "alg": "EdDSA"})
