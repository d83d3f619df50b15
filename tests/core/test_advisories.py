"""What has gone wrong elsewhere: one test for each public advisory or report, named by its number.

Reports without a CVE or GHSA number go by project and thread. What concerns features to come
(caches, rotation, remote key sets, proofs, forms, cookies) comes with them.
"""

import ast
import asyncio
import inspect
import json
import logging
import math
import re
import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

import jwt_middleware
from jwt_middleware import ConfigurationError, KeySet, Route
from jwt_middleware.asgi import JWTMiddleware
from jwt_middleware.jose.algorithms import Mac
from jwt_middleware.jose.binding import UnusableKey
from jwt_middleware.jose.jwk import from_object
from jwt_middleware.jose.jws import join
from jwt_middleware.jose.strict_json import b64url_encode, parse_object
from jwt_middleware.request.credentials import bearer
from jwt_middleware.request.routes import Routes
from jwt_middleware.testing import ABSENT, Attack, TokenFactory
from jwt_middleware.testing.mint import json_octets, seal
from jwt_middleware.values.errors import OAuthError
from tests.world import World, standing

FACTORY = TokenFactory(clock=standing)
GOOD = FACTORY.token()
ROUTES = (
    Route("/health", public=True),
    Route("/static/*", public=True),
    Route("/optional", optional=True),
    Route("/admin/*", scope="admin"),
)
WORLD = World(FACTORY.settings(routes=ROUTES))
HEADER, CLAIMS = json_octets(FACTORY.header()), json_octets(FACTORY.claims())


def reason(token: str, world: World = WORLD) -> str | None:
    """Return why a token is refused, after checking that it is."""
    answer = world.get(token=token)
    assert (answer.status, answer.reached) in ((401, False), (400, False))
    return answer.reason


def case(number: str, *values: Any) -> Any:
    return pytest.param(*values, id=number)


# -- Which algorithm, and which key


ENCODINGS = [
    case("CVE-2015-9235", "pem"),
    case("CVE-2017-11424", "pkcs1"),
    case("CVE-2022-29217", "ssh"),
    case("CVE-2026-48526", "jwk"),
    case("GHSA-r6x4", "jwks"),
    case("GHSA-ffc3", "pem-after-a-byte-order-mark"),
    case("GHSA-p4g4", "der"),
    case("GHSA-w2cx", "jwk-with-spaces"),
    case("CVE-2024-33663", "ssh"),
    case("CVE-2024-33663-by-der", "der"),
    case("CVE-2024-37568", "pem-with-crlf"),
    case("CVE-2023-48223", "pem-without-last-newline"),
    case("CVE-2026-34950", "pem-after-a-newline"),
    case("CVE-2026-22817", "modulus-in-base64url"),
    case("PyJWT-2.15.1-frameless", "pem-without-its-frame"),
    case("PyJWT-2.15.1-modulus", "modulus"),
]


RSA_ONLY = ("pkcs1", "modulus", "modulus-in-base64url")


@cache
def attacked(algorithm: str) -> tuple[World, dict[str, Attack]]:
    factory = TokenFactory(algorithm=algorithm)
    return World(factory.settings()), {str(attack): attack for attack in factory.attacks()}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_public_key_is_no_secret_in_any_encoding(encoding: str) -> None:
    for algorithm in ("RS256",) if encoding in RSA_ONLY else ("RS256", "ES256", "Ed25519"):
        world, attacks = attacked(algorithm)
        for name in (f"hs256-by-public-key-{encoding}", f"hs512-by-public-key-{encoding}"):
            answer = world.get(headers=attacks[name].headers)
            assert (answer.status, answer.reason) == (401, "algorithm_not_allowed")


def spki(key: Any, form: Encoding = Encoding.PEM) -> bytes:
    encoded: bytes = key.public.public_bytes(form, PublicFormat.SubjectPublicKeyInfo)
    return encoded


@pytest.mark.parametrize(
    "encode",
    [
        case("CVE-2015-9235", spki),
        case("CVE-2026-34950", lambda key: b" \n" + spki(key)),
        case("GHSA-p4g4", lambda key: spki(key, Encoding.DER)),
        case(
            "CVE-2022-29217",
            lambda key: key.public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        ),
        case("CVE-2026-48526", lambda key: json_octets(key.public_jwk())),
        case("GHSA-r6x4", lambda key: json_octets({"keys": [key.public_jwk()]})),
        case("GHSA-ffc3-pem", lambda key: b"\xef\xbb\xbf" + spki(key)),
        case("GHSA-ffc3-jwk", lambda key: b"\xef\xbb\xbf" + json_octets(key.public_jwk())),
        case("PyJWT-2.15.1-frameless", lambda key: b"".join(spki(key).splitlines()[1:-1])),
        case("PyJWT-2.15.1-der-in-base64", lambda key: b64encode(spki(key, Encoding.DER))),
    ],
)
def test_a_public_key_is_not_taken_where_a_secret_is_configured(encode: Any) -> None:
    for algorithm in ("RS256", "ES256", "Ed25519"):
        with pytest.raises(ConfigurationError, match="asymmetric key"):
            KeySet.secret(encode(KeySet.generate(algorithm).keys[0]))


@pytest.mark.parametrize("spelling", ["none", "None", "NONE", "nOnE"])
@pytest.mark.parametrize("number", [case("CVE-2015-9235", 0), case("GHSA-88q6-jcjg-hvmw", 64)])
def test_alg_none_is_refused_without_and_with_a_signature(number: int, spelling: str) -> None:
    header = b64url_encode(json_octets(FACTORY.header(alg=spelling)))
    token = join(header + b"." + b64url_encode(CLAIMS), bytes(number))
    assert reason(token) == ("algorithm_not_allowed" if number else "token_encoding")


@pytest.mark.parametrize("alg", [case("CVE-2026-22817", "HS256"), case("CVE-2026-22818", "PS256")])
def test_a_key_without_alg_never_takes_the_tokens(alg: str) -> None:
    factory = TokenFactory(algorithm="RS256")
    jwk = {name: value for name, value in factory.key.public_jwk().items() if name != "alg"}
    with pytest.raises(ConfigurationError, match="name one"):
        KeySet.from_jwks({"keys": [jwk]})
    keys = KeySet.from_jwks({"keys": [jwk]}, algorithm="RS256")
    world = World(factory.settings(keys=keys))
    assert world.get(token=factory.token()).reached
    assert reason(factory.token(header={"alg": alg}), world) == "algorithm_not_allowed"


def test_cve_2026_48523_an_allowed_algorithm_is_not_one_for_every_key() -> None:
    # GHSA-jq35-7prp-9v3f: the header's name was compared with a list, the key's own was computed.
    keys = KeySet((KeySet.generate("RS256", kid="rsa").keys[0], KeySet.generate(kid="ec").keys[0]))
    world = World(FACTORY.settings(keys=keys))
    for key, other in zip(keys.keys, reversed(keys.keys), strict=True):
        header = FACTORY.header(kid=key.kid, alg=other.algorithm.name)
        assert reason(seal(json_octets(header), CLAIMS, key), world) == "algorithm_not_allowed"


def test_ghsa_jc38_x7x8_2xc8_an_unprotected_header_says_nothing() -> None:
    protected, payload, signature = GOOD.split(".")
    parts = {"payload": payload, "signature": signature, "header": {"alg": "ES256"}}
    for value in (parts, parts | {"protected": protected}, {"signatures": [parts]} | parts):
        assert reason(json_octets(value).decode()) in ("credentials_malformed", "credentials_twice")


def test_cve_2026_27962_a_key_that_the_token_brings_is_not_trusted() -> None:
    stranger = TokenFactory()
    for kid in (ABSENT, stranger.key.kid, FACTORY.key.kid):
        header = {"jwk": stranger.key.public_jwk(), "kid": kid}
        assert reason(stranger.token(header=header)) in ("signature_invalid", "key_unknown")


@pytest.mark.parametrize(
    "make",
    [
        case("CVE-2026-49852", lambda: KeySet.secret("")),
        case("CVE-2026-49852-octets", lambda: KeySet.secret(b"")),
        case("CVE-2026-45363", lambda: KeySet.secret(None)),  # type: ignore[arg-type]
        case("CVE-2026-45363-none-given", lambda: KeySet.secret()),
        case(
            "GHSA-pxh4",
            lambda: KeySet.from_jwks({"keys": [{"kty": "oct", "k": "", "alg": "HS256"}]}),
        ),
        case("CVE-2026-44351", lambda: KeySet.from_jwks(None)),  # type: ignore[arg-type]
        case("CVE-2026-44351-pem", lambda: KeySet.pem("")),
    ],
)
def test_an_empty_key_or_an_unset_variable_is_an_error_at_the_start(make: Any) -> None:
    with pytest.raises(ConfigurationError, match="keys"):
        make()


# Of the curves (FIPS 186-4 D.1.2): the oldest cryptography that is supported doesn't know them.
ORDERS = {
    "ES256": "FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551",
    "ES384": "F" * 48 + "C7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973",
    "ES512": "1" + "F" * 65 + "A51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409",
}


@pytest.mark.parametrize("algorithm", ORDERS)
def test_cve_2022_21449_a_signature_of_zeros_is_none(algorithm: str) -> None:
    factory = TokenFactory(algorithm=algorithm)
    world = World(factory.settings())
    message = factory.token().rpartition(".")[0]
    half = len(factory.key.sign(b"")) // 2
    order = int(ORDERS[algorithm], 16)
    ends = (b"\0" * half, order.to_bytes(half), (1).to_bytes(half), b"\xff" * half)
    for zeros in (r + s for r in ends for s in ends):
        assert reason(join(message.encode(), zeros), world) == "signature_invalid"


def test_cve_2019_14859_a_signature_has_one_encoding() -> None:
    message = GOOD.rpartition(".")[0].encode()
    signature = FACTORY.key.sign(message)
    r, s = signature[:32], signature[32:]
    assert not WORLD.get(token=join(message, s + r)).reached
    for other in (
        encode_dss_signature(int.from_bytes(r), int.from_bytes(s)),
        b"\0" + r + b"\0" + s,
        r.lstrip(b"\0")[1:] + s,
        signature + b"\0",
        signature[:-1],
    ):
        assert reason(join(message, other)) == "signature_invalid"


def test_cve_2022_39227_json_and_compact_at_once_is_refused_before_it_is_read() -> None:
    header, _, signature = GOOD.split(".")
    forged = b64url_encode(json_octets(FACTORY.claims(sub="admin"))).decode()
    mixed = {f"{header}.{forged}.": "", "protected": header, "payload": "x", "signature": signature}
    for token in (json_octets(mixed).decode(), json.dumps(mixed), json.dumps(mixed, indent=1)):
        assert WORLD.get(token=token).status == 400


def test_cve_2020_26160_aud_of_another_type_does_not_skip_its_check() -> None:
    others: list[Any] = [[], {}, 1, True, None, [1], [None], [[FACTORY.audience]], ABSENT]
    for aud in others:
        assert not WORLD.get(token=FACTORY.token(aud=aud)).reached


def test_cve_2025_30144_iss_in_an_array_is_not_iss() -> None:
    for iss in ([FACTORY.issuer], [FACTORY.issuer, "https://evil.example"], {FACTORY.issuer: 1}):
        assert reason(FACTORY.token(iss=iss)) == "issuer_not_trusted"


@pytest.mark.parametrize("number", ["python-sdk-1454", "fastmcp-3204"])
def test_the_audience_is_always_checked(number: str) -> None:
    assert reason(FACTORY.token(aud=f"https://{number}.example")) == "audience_not_ours"
    with pytest.raises(TypeError, match="audience"):
        jwt_middleware.Settings(issuer="i", keys=FACTORY.keys)  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match="audience"):
        FACTORY.settings(audience=())


def test_cve_2021_21378_optional_means_without_a_token_and_not_with_a_bad_one() -> None:
    assert WORLD.get("/optional").token is None
    assert WORLD.get("/optional", GOOD).user == "alice"
    let_in = [a.name for a in FACTORY.attacks() if WORLD.get("/optional", headers=a.headers).token]
    assert let_in == []
    for attack in FACTORY.attacks():
        answer = WORLD.get("/optional", headers=attack.headers)
        missing = (
            answer.reached and WORLD.get(headers=attack.headers).reason == "credentials_missing"
        )
        assert missing or answer.status in (400, 401)


@pytest.mark.parametrize(
    "header",
    [
        case("CVE-2026-32597", {"crit": ["x-policy"], "x-policy": 1}),
        case("CVE-2025-59420", {"crit": ["bork"], "bork": "x"}),
        case("GHSA-hm7r-c7qw-ghp6", {"crit": ["exp"], "exp": 1}),
    ],
)
def test_a_critical_extension_is_refused(header: dict[str, Any]) -> None:
    assert reason(FACTORY.token(header=header)) == "header_unsupported"


def test_cve_2016_7036_macs_are_compared_in_constant_time() -> None:
    # OpenSSL's own comparison, by way of `cryptography`, which says so of `verify`.
    source = inspect.getsource(Mac.verify)
    assert ".verify(" in source
    assert "==" not in source
    # And nothing of ours compares a signature by itself.
    for path in Path(jwt_middleware.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Compare) and any(
                isinstance(operator, ast.Eq | ast.NotEq | ast.In) for operator in node.ops
            ):
                names = re.findall(r"[a-z_]+", ast.unparse(node))
                assert not {"signature", "mac", "digest"} & set(names), f"{path}:{node.lineno}"


# The vulnerable library chose k and a at random and tried again until the sum was prime.
ROCA_MODULUS = math.prod(n for n in range(2, 702) if all(n % d for d in range(2, int(n**0.5) + 1)))
ROCA_CHOICES = (
    (9037783987028967, 10440240472548437464),
    (9029777880220083, 6786411964360313159),
)


def test_cve_2017_15361_a_modulus_of_the_vulnerable_library_is_refused() -> None:
    primes = [k * ROCA_MODULUS + pow(65537, a, ROCA_MODULUS) for k, a in ROCA_CHOICES]
    assert all(pow(3, prime - 1, prime) == 1 for prime in primes)
    key = RSAPublicNumbers(65537, math.prod(primes)).public_key()
    assert key.key_size == 2048
    with pytest.raises(UnusableKey, match="CVE-2017-15361"):
        from_object(key, "RS256")
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(ConfigurationError, match="ROCA"):
        KeySet.pem(pem, algorithm="PS256")


# -- How much work a request can make


@pytest.mark.parametrize(
    "token",
    [
        case("CVE-2025-61920", f"{'A' * (5 << 20)}.e30.AAAA"),
        case(
            "GHSA-wphv", FACTORY.token(header={"b64": False, "crit": ["b64"]}, pad="a" * (1 << 20))
        ),
        case("CVE-2026-48525", FACTORY.token(header={"b64": False}, pad="a" * (1 << 20))),
        case("CVE-2025-30204", "." * (1 << 20)),
        case("CVE-2025-27144", "a." * (1 << 19)),
        case("CVE-2025-22868", f"{GOOD}{'.' * (1 << 20)}"),
        case("GHSA-8wjv-100000-deep", seal(HEADER, b"[" * 100_000, FACTORY.key)),
    ],
)
def test_size_is_checked_before_anything_is_read(token: str) -> None:
    assert reason(token) == "token_too_long"
    assert reason(GOOD + "." * (8193 - len(GOOD))) == "token_too_long"
    assert reason(GOOD + "." * (8192 - len(GOOD))) == "token_segments"


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
def test_ghsa_8wjv_a_deep_token_ends_no_stack(opening: str) -> None:
    deep = opening.encode() * (4000 // len(opening))
    for header, claims in ((deep, CLAIMS), (HEADER, deep), (HEADER, CLAIMS[:-1] + b',"a":' + deep)):
        assert reason(seal(header, claims, FACTORY.key)) == "token_json"


@pytest.mark.parametrize(
    "header",
    [
        case("CVE-2023-6681", {"alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2c": 2**31 - 1}),
        case("CVE-2024-28102", {"alg": "dir", "enc": "A256GCM", "zip": "DEF"}),
        case("CVE-2024-33664", {"alg": "dir", "enc": "A128CBC-HS256", "zip": "DEF"}),
        case("GHSA-3677", {"alg": "RSA-OAEP", "enc": "A256GCM", "zip": "DEF"}),
        case("CVE-2024-28176", {"alg": "ECDH-ES", "enc": "A256GCM", "zip": "DEF"}),
        case("CVE-2024-28180", {"alg": "A128KW", "enc": "A256GCM", "zip": "DEF"}),
    ],
)
def test_an_encrypted_token_is_refused_by_its_shape(header: dict[str, Any]) -> None:
    first = b64url_encode(json_octets(header)).decode()
    assert reason(f"{first}.AAAA.AAAA.{'A' * 4000}.AAAA") == "token_segments"
    assert reason(FACTORY.token(header=header)) == "header_unsupported"


def test_cve_2020_10735_a_number_of_thousands_of_digits_is_no_time() -> None:
    for digits in (400, 4000, 5000):
        claims = CLAIMS[:-1] + b',"nbf":1' + b"0" * digits + b"}"
        assert reason(seal(HEADER, claims, FACTORY.key)) in ("claim_malformed", "token_json")


TABLE = Routes(ROUTES)


def read_object(text: str) -> object:
    return parse_object(text.encode())


def find(path: str) -> object:
    return TABLE.find("GET", path)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        case("CVE-2020-5236-padding", bearer, lambda n: "Bearer a" + "=" * n),
        case("CVE-2020-5236-padding-inside", bearer, lambda n: "Bearer a" + "=" * n + "a"),
        case("CVE-2020-5236-commas", bearer, lambda n: "Basic a" + "," * n),
        case("CVE-2020-5236-spaces", bearer, lambda n: "Basic a," + " " * n),
        case("CVE-2024-24762-quotes", read_object, lambda n: '"\\' * (n // 2) + "[" * 33),
        case("CVE-2024-24762-strings", read_object, lambda n: '"a"' * (n // 3) + "[" * 33),
        case("fast-jwt-594-slashes", find, lambda n: "/" * n),
        case("fast-jwt-594-segments", find, lambda n: "/static" + "/a" * (n // 2)),
        case("fast-jwt-594-dots", find, lambda n: "/static/" + "." * n),
    ],
)
def test_no_pattern_takes_more_than_its_share_of_time(
    function: Callable[[str], object], text: Callable[[int], str]
) -> None:
    def seconds(size: int) -> float:
        hostile, best = text(size), math.inf
        for _ in range(5):
            before = time.process_time()
            for _ in range(5):
                with suppress(OAuthError, ValueError):
                    function(hostile)
            best = min(best, time.process_time() - before)
        return best

    # Eight times the text: linear work takes 8 times as long, quadratic work 64 times.
    assert seconds(2000) < 24 * seconds(250) + 0.001


# -- What gets out


@pytest.mark.parametrize("number", ["CVE-2025-65015", "north-mcp-python-sdk-41"])
def test_no_token_is_logged_at_any_level(number: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for token in (FACTORY.token(sub=number, exp=1), FACTORY.token(sub=number)[:-2], f"{number}.a"):
        WORLD.get("/admin", token)
        assert token not in caplog.text
    assert number not in caplog.text
    assert caplog.records


CONTROLS = "\r\n\0\x1b\x9b\u2028"


@pytest.mark.parametrize("number", ["CVE-2020-7694", "CVE-2018-1000164", "CVE-2020-7695"])
def test_nothing_that_was_sent_breaks_a_log_line_or_a_header(
    number: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for control in CONTROLS:
        text = f"a{control}Set-Cookie: forged={number}"
        assert reason(FACTORY.token(sub=text)) == "claim_malformed"
        for answer in (
            WORLD.request("GET", f"/x{text}", GOOD),
            WORLD.request(f"GET{control}", "/x"),
            WORLD.request("GET", "/x", headers=[("Authorization", f"Bearer {text}")]),
        ):
            assert number not in repr(answer.headers)
            assert not any(set(CONTROLS) & set(value) for _, value in answer.headers)
    for record in caplog.records:
        assert not set(CONTROLS) & set(record.getMessage())


# -- Which path, which method


# What a token without the scope meets: the scope's rule, an odd path, or another path than /admin.
SCOPE, ODD, OTHER = 403, 400, 200


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        case("CVE-2026-48710", "/admin", {"Host": "x/health?"}, SCOPE),
        case("CVE-2026-48710-userinfo", "/admin", {"Host": "x@y/health?"}, SCOPE),
        case("CVE-2026-54282", "@google.com", {}, ODD),
        case("CVE-2026-54282-absolute", "http://x/health", {}, ODD),
        case("GHSA-m4f6-p2j8-rq76-slash", "/admin/", {}, SCOPE),
        case("GHSA-m4f6-p2j8-rq76-slashes", "//admin", {}, ODD),
        case("GHSA-m4f6-p2j8-rq76-twice-encoded", "/%61dmin", {}, ODD),
        case("CVE-2025-54576", "/admin?/health", {}, OTHER),
        case("CVE-2025-54576-public-first", "/health?/admin", {}, OTHER),
        case("CVE-2026-41059", "/admin#/health", {}, OTHER),
        case("CVE-2026-41059-public-first", "/health#/../admin", {}, ODD),
        case("CVE-2026-40575", "/admin", {"X-Forwarded-Uri": "/health"}, SCOPE),
        case("CVE-2026-40575-original", "/admin", {"X-Original-URL": "/health"}, SCOPE),
        case("CVE-2026-40575-rewrite", "/admin", {"X-Rewrite-URL": "/health"}, SCOPE),
        case("CVE-2026-40575-prefix", "/admin", {"X-Forwarded-Prefix": "/static"}, SCOPE),
        case("GHSA-5hvv", "/admin", {"User-Agent": "GoogleHC/1.0"}, SCOPE),
        case("CVE-2019-9901", "/static/../admin", {}, ODD),
        case("CVE-2019-9901-public-end", "/admin/../health", {}, ODD),
        case("CVE-2021-29492", "/static/..%2Fadmin", {}, ODD),
        case("CVE-2021-29492-backslash", "/static/..\\admin", {}, ODD),
        case("istio-27409", "/admin;/health", {}, ODD),
        case("istio-27409-public-first", "/health;/admin", {}, ODD),
        case("CVE-2022-22978", "/admin\n", {}, ODD),
        case("CVE-2022-22978-carriage-return", "/health\r", {}, ODD),
        case("CVE-2023-20860", "admin", {}, ODD),
        case("CVE-2023-34034", "/**/admin", {}, OTHER),
        case("tlbx-153", "/admin/x.png", {}, SCOPE),
        case("CVE-2025-29927", "/admin", {"X-Middleware-Subrequest": "middleware"}, SCOPE),
        case("CVE-2020-25032", "/health/../admin", {"Origin": "https://evil.example"}, ODD),
        case("empty", "", {}, OTHER),
    ],
)
def test_no_spelling_of_a_path_and_no_header_opens_it(
    path: str, headers: dict[str, str], status: int
) -> None:
    nobody = WORLD.request("GET", path, headers=headers.items())
    assert (nobody.reached, nobody.status) == (False, 400 if status == ODD else 401)
    assert WORLD.request("GET", path, GOOD, headers=headers.items()).status == status
    # Where no rule has a scope, no path is odd; it isn't public either.
    public_only = World(FACTORY.settings(routes=ROUTES[:2]))
    assert public_only.request("GET", path, headers=headers.items()).status == 401


def test_tlbx_153_a_rule_for_an_ending_can_not_be_written() -> None:
    for path in ("*.png", "/*.png", "/static/*.png", "/**", "/a*/b", "/*/b"):
        with pytest.raises(ConfigurationError, match="path"):
            FACTORY.settings(routes=(Route(path, scope="a"),))
        world = World(
            FACTORY.settings(routes=(Route(path, public=True),) if path[0] == "/" else ())
        )
        assert not world.get("/admin/x.png").reached


def test_cve_2022_22978_a_rule_is_no_pattern() -> None:
    for path in ("/a.b", "/a+", "/(ab)", "/$", "/a.*"):
        world = World(FACTORY.settings(routes=(Route(path, public=True),)))
        assert world.get(path).reached
        others = ("/axb", "/aa", "/a", "/ab", "/", "/axx", f"{path}\n", f"{path}x")
        assert not any(world.get(other).reached for other in others)


@pytest.mark.parametrize(
    "method", ["post", "Post", "POST ", "/POST", "POST/../GET", "P\u00d6ST", ""]
)
def test_kemal_820_a_method_is_one_word_and_another_one_opens_nothing(method: str) -> None:
    routes = (
        Route("/x", methods=("GET",), public=True),
        Route("/x", methods=("POST",), scope="write"),
    )
    world = World(FACTORY.settings(routes=routes))
    assert world.request("GET", "/x").reached
    assert world.request("HEAD", "/x").reached
    assert world.request(method, "/x").status == 401
    if method.upper() == "POST":  # frameworks read `post` as POST
        assert world.request(method, "/x", GOOD).status == 403


@pytest.mark.parametrize(
    "header", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "_method"]
)
def test_revel_1555_a_header_does_not_change_the_method(header: str) -> None:
    routes = (
        Route("/x", methods=("GET",), public=True),
        Route("/x", methods=("DELETE",), scope="admin"),
    )
    world = World(FACTORY.settings(routes=routes))
    assert world.request("DELETE", "/x", GOOD, headers=[(header, "GET")]).status == 403
    assert world.request("POST", "/x", headers=[(header, "GET")]).status == 401


ALIASES = [
    "Remote-User",
    "Remote_User",
    "Remote.User",
    "X-Remote-User",
    "X_Remote_User",
    "Auth-Type",
]


@pytest.mark.parametrize("number", ["CVE-2025-64484", "GHSA-x677", "CVE-2015-0219"])
def test_no_header_says_who_the_user_is(number: str) -> None:
    headers = [
        (name, number) for name in (*ALIASES, "jwt_middleware.token", "Jwt-Middleware-Token")
    ]
    for path in ("/health", "/optional"):
        answer = WORLD.get(path, headers=headers)
        assert (answer.reached, answer.token, answer.user) == (True, None, None)
    assert WORLD.get(token=GOOD, headers=headers).user == "alice"
    assert WORLD.get(headers=headers).status == 401


@pytest.mark.parametrize(
    "path", ["/", "/mcp", "/mcp/sse", "/.well-known/x", "/docs", "/openapi.json"]
)
def test_fastmcp_3704_what_no_rule_names_is_closed(path: str) -> None:
    assert WORLD.get(path).status == 401
    assert World(FACTORY.settings()).get(path).status == 401


PREFLIGHT = (("Origin", "https://a.example"), ("Access-Control-Request-Method", "GET"))
CORS = World(FACTORY.settings(routes=ROUTES, origins=("https://a.example",)))


@pytest.mark.parametrize(
    "present", [(), PREFLIGHT[:1], PREFLIGHT[1:]], ids=["none", "one", "other"]
)
def test_envoy_cors_bypass_only_a_whole_preflight_is_one(
    present: tuple[tuple[str, str], ...],
) -> None:
    assert CORS.request("OPTIONS", "/", headers=PREFLIGHT).reached
    for method in ("OPTIONS", "options", "GET", "POST"):
        assert CORS.request(method, "/", headers=present).status == 401
    for method in ("options", "GET", "OPTIONS "):
        assert CORS.request(method, "/", headers=PREFLIGHT).status == 401
    # With credentials it is no preflight: they are checked like any others.
    assert CORS.request("OPTIONS", "/", "bad", headers=PREFLIGHT).status == 401


@pytest.mark.parametrize("origin", ["https://b.example", "https://a.example.evil", "null", ""])
def test_envoy_cors_bypass_a_preflight_is_no_way_around_the_token(origin: str) -> None:
    # Plain applications and Django's views answer any method: what a preflight reaches is served.
    for path in ("/", "/admin"):
        assert not WORLD.request("OPTIONS", path, headers=PREFLIGHT).reached
        foreign = (("Origin", origin), PREFLIGHT[1])
        assert not CORS.request("OPTIONS", path, headers=foreign).reached


# -- WebSockets and other scopes


def through(scope: dict[str, Any], *received: dict[str, Any]) -> tuple[list[str], bool]:
    """Send a scope through the ASGI door; say what came back, and whether anyone was called."""
    sent: list[str] = []
    reached: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["type"])

    async def receive() -> Any:
        return received[0]

    async def send(message: Any) -> None:
        sent.append(message["type"])
        assert message.get("code", 1008) == 1008

    asyncio.run(JWTMiddleware(app, FACTORY.settings(routes=ROUTES))(scope, receive, send))
    return sent, bool(reached)


@pytest.mark.parametrize("number", ["headroom-3281", "sglang-30800", "pocketpaw-905", "vllm-38294"])
def test_a_websocket_without_a_token_is_closed_before_it_is_accepted(number: str) -> None:
    # vllm-38294: such a scope has no method.
    scope: dict[str, Any] = {
        "type": "websocket",
        "path": f"/{number}",
        "headers": [],
        "root_path": "",
    }
    assert through(scope, {"type": "websocket.connect"}) == (["websocket.close"], False)
    assert through(scope, {"type": "websocket.disconnect"}) == ([], False)
    bad = scope | {"headers": [(b"authorization", b"Bearer bad")], "extensions": {}}
    assert through(bad, {"type": "websocket.connect"}) == (["websocket.close"], False)
    able = bad | {"extensions": {"websocket.http.response": {}}}
    answer = ["websocket.http.response.start", "websocket.http.response.body"]
    assert through(able, {"type": "websocket.connect"}) == (answer, False)
    small = scope | {"path": "/admin", "headers": [(b"authorization", f"Bearer {GOOD}".encode())]}
    assert through(small, {"type": "websocket.connect"}) == (["websocket.close"], False)


async def greet(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(websocket.user.display_name)
    await websocket.close()


def test_headroom_3281_a_websocket_of_a_real_application_needs_its_token() -> None:
    app = Starlette(routes=[WebSocketRoute("/ws", greet)])
    client = TestClient(JWTMiddleware(app, FACTORY.settings()))
    with client.websocket_connect("/ws", headers=FACTORY.bearer()) as socket:
        assert socket.receive_text() == "alice"
    for headers in ({}, FACTORY.bearer(exp=1)):
        with (
            pytest.raises(WebSocketDisconnect),
            client.websocket_connect("/ws", headers=headers),
        ):
            pytest.fail("the handshake was accepted")
    # A token in the query, as browsers' code likes to send it, is no credential.
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(f"/ws?access_token={GOOD}"):
        pytest.fail("the handshake was accepted")


@pytest.mark.parametrize("kind", ["http.push", "webtransport", "lifespan2", "HTTP", ""])
def test_vllm_38294_a_scope_of_an_unknown_type_is_refused(kind: str) -> None:
    with pytest.raises(RuntimeError, match="scope type"):
        through({"type": kind, "path": "/health", "method": "GET", "headers": []}, {"type": kind})
    assert through({"type": "lifespan"}, {"type": "lifespan.startup"}) == ([], True)
