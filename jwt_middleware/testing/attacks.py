"""Requests that must be refused, each spoilt in one way and named after it.

They are collected from RFC 8725 and its revision, RFC 7515, 7519, 6750 and 9068, and from the
advisories of JWT libraries. Where a signature can be real it is real: a verifier that overlooks
what the name says would let the request in.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from json import dumps
from os import urandom
from typing import TYPE_CHECKING, Any

from ..jose import jwk
from ..jose.algorithms import ALGORITHMS
from ..jose.jwk import Key, PrivateKey, PublicKey
from ..jose.jws import MAX_TOKEN, join
from ..jose.strict_json import BASE64URL, b64url_encode
from .mint import ABSENT, json_octets, seal, sealed

if TYPE_CHECKING:
    from .factory import TokenFactory


@dataclass(frozen=True, slots=True)
class Attack:
    """One hostile request: what to send to a resource that needs a token, and what must come back.

    `str(attack)` is its name, for `pytest.mark.parametrize(..., ids=str)`. A resource that answers
    anything but `statuses`, above all 2xx, has let it in, or has fallen over it.
    """

    name: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)  # text stands for octets, as Latin-1
    rule: str  # the rule that it breaks, as this project numbers them
    statuses: tuple[int, ...] = (401,)

    def __str__(self) -> str:
        return self.name

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        """Return octets, for clients of the httpx family, which take ASCII text only."""
        return [(name.encode(), value.encode("latin-1")) for name, value in self.headers]

    @property
    def joined(self) -> dict[str, str]:
        """Return a dict, for clients that take one: equal names are joined (RFC 9110 s5.3)."""
        found: dict[str, str] = {}
        for name, value in self.headers:
            found[name] = f"{found[name]}, {value}" if name in found else value
        return found


def catalogue(factory: TokenFactory) -> Iterator[Attack]:
    """Yield every attack, made with this factory's keys and names."""
    forge = _Forge(factory)
    for group in _GROUPS:
        yield from group(forge)


class _Forge:
    """What the attacks are made of: a good header, good claims, the key, and a stranger's key."""

    def __init__(self, factory: TokenFactory) -> None:
        self.factory = factory
        self.key = factory.key
        self.header = json_octets(factory.header())
        self.claims = json_octets(factory.claims())
        self.now = factory.claims()["iat"]
        self.good = factory.token()

    def message(self, *, header: Mapping[str, Any] | None = None, **claims: Any) -> bytes:
        """Return what is signed of a token."""
        token = self.factory.token(header=header, **claims)
        return token.rpartition(".")[0].encode()

    def stranger(self) -> Key:
        """Return a new key that bears the trusted key's name and algorithm."""
        return jwk.generate(self.key.algorithm.name, kid=self.key.kid, secret=urandom(64))

    def claim(self, name: str, value: object) -> str:
        """Return a token whose claim `name` is `value`."""
        return self.write(claims=json_octets(self.factory.claims(**{name: value})))

    def literal(self, name: str, value: bytes) -> str:
        """Return a token in whose claims `name` is written as `value`, which needn't be JSON."""
        claims = json_octets(self.factory.claims(**{name: "@literal@"}))
        return self.write(claims=claims.replace(b'"@literal@"', value))

    def write(self, *, header: bytes | None = None, claims: bytes | None = None) -> str:
        """Return a token of these octets, signed by the trusted key."""
        return seal(
            self.header if header is None else header,
            self.claims if claims is None else claims,
            self.key,
        )

    def attack(self, name: str, rule: str, token: str, *statuses: int) -> Attack:
        """Put a token into a Bearer header."""
        headers = (("Authorization", f"Bearer {token}"),)
        return Attack(name, headers, rule, statuses or (401,))


def _credentials(forge: _Forge) -> Iterator[Attack]:
    good = forge.good
    bearer = ("Authorization", f"Bearer {good}")
    lines: tuple[tuple[str, str, int, tuple[str, ...]], ...] = (
        ("no-scheme", "RS-04", 401, (good,)),
        ("another-scheme", "RS-04", 401, (f"JWT {good}",)),
        ("scheme-with-colon", "RS-01", 401, (f"Bearer: {good}",)),
        ("scheme-with-equals-sign", "RS-01", 401, (f"Bearer={good}",)),
        ("bearer-without-token", "RS-01", 400, ("Bearer",)),
        ("tab-after-bearer", "RS-01", 400, (f"Bearer\t{good}",)),
        ("two-tokens", "RS-01", 400, (f"Bearer {good} {good}",)),
        ("quoted-token", "RS-01", 400, (f'Bearer "{good}"',)),
        ("latin-1-after-the-token", "RS-01", 400, (f"Bearer {good}\xe9",)),
        ("no-break-space-after-bearer", "RS-01", 401, (f"Bearer\xa0{good}",)),
        ("two-bearers-in-one-line", "RS-03", 400, (f"Bearer {good}, Bearer {good}",)),
        ("two-bearers-without-space", "RS-03", 400, (f"Bearer {good},Bearer {good}",)),
        ("two-headers", "RS-03", 400, (f"Bearer {good}", f"Bearer {good}")),
        ("basic-header-before-bearer", "RS-03", 400, ("Basic YTpi", f"Bearer {good}")),
        ("basic-header-after-bearer", "RS-03", 400, (f"Bearer {good}", "Basic YTpi")),
    )
    for name, rule, status, values in lines:
        yield Attack(name, tuple(("Authorization", value) for value in values), rule, (status,))
    for name, rule, header in (
        ("token-in-a-cookie", "RS-09", ("Cookie", f"access_token={good}")),
        ("token-in-proxy-authorization", "RS-01", ("Proxy-Authorization", bearer[1])),
        ("token-in-x-authorization", "RS-01", ("X-Authorization", bearer[1])),
        ("token-in-x-forwarded-authorization", "RS-01", ("X-Forwarded-Authorization", bearer[1])),
        ("user-named-by-a-header", "RS-01", ("X-Remote-User", "admin")),
        ("middleware-skipped-by-a-header", "RS-01", ("X-Middleware-Subrequest", "middleware")),
    ):
        yield Attack(name, (header,), rule)


def _segments(forge: _Forge) -> Iterator[Attack]:
    header, claims, signature = forge.good.split(".")
    long = forge.factory.token(pad="a" * MAX_TOKEN)
    for name, rule, token, status in (
        ("padding", "RS-10", f"{header}.{claims}.{signature}=", 401),
        ("padding-inside", "RS-10", f"{header}=.{claims}.{signature}", 400),
        ("white-space-inside", "RS-10", f"{header}. {claims}.{signature}", 400),
        ("percent-encoded-dots", "RS-10", forge.good.replace(".", "%2E"), 400),
        ("one-segment", "RS-10", header, 401),
        ("two-segments", "RS-10", f"{header}.{claims}", 401),
        ("four-segments", "RS-10", f"{forge.good}.{signature}", 401),
        ("five-segments", "RS-23", f"{header}..{claims}.{signature}.{signature}", 401),
        ("empty-segments", "RS-10", "..", 401),
        ("no-header", "RS-10", f".{claims}.{signature}", 401),
        ("no-claims", "RS-10", f"{header}..{signature}", 401),
        ("dot-in-front", "RS-10", f".{forge.good}", 401),
        ("dot-at-the-end", "RS-10", f"{forge.good}.", 401),
        ("a-megabyte-of-dots", "RS-10", "." * (1 << 20), 401),
        ("longer-than-any-good-token", "RS-10", long, 401),
    ):
        yield forge.attack(name, rule, token, status)
    flattened = {"protected": header, "payload": claims, "signature": signature}
    general = {"payload": claims, "signatures": [{"protected": header, "signature": signature}]}
    unprotected = {"payload": claims, "header": {"alg": "none"}, "signature": signature}
    for name, serialization in (
        ("json-serialization-flattened", flattened),
        ("json-serialization-general", general),
        ("json-serialization-with-unprotected-header", unprotected),
    ):
        yield forge.attack(name, "RS-10", json_octets(serialization).decode(), 400)
    # CVE-2022-39227: a JSON serialization whose member name is a compact token.
    polyglot = json_octets({f"{header}.{claims}.": "", "protected": header}).decode()
    yield forge.attack("json-and-compact-at-once", "RS-10", polyglot, 400)


def _spellings(forge: _Forge) -> Iterator[Attack]:
    """Second spellings of one token, signed as they are spelled where that is possible."""
    header, claims = _with_rest(forge.header), _with_rest(forge.claims)
    for name, first, second in (
        ("unused-bits-in-the-header", _with_unused_bits(header), b64url_encode(claims)),
        ("unused-bits-in-the-claims", b64url_encode(header), _with_unused_bits(claims)),
    ):
        yield forge.attack(name, "RS-11", sealed(first + b"." + second, forge.key))
    message = forge.message()
    signature = forge.key.sign(message)
    if len(signature) % 3:
        token = message + b"." + _with_unused_bits(signature)
        yield forge.attack("unused-bits-in-the-signature", "RS-11", token.decode())
    whole = forge.claims + b" " * (-len(forge.claims) % 3)
    odd = b64url_encode(forge.header) + b"." + b64url_encode(whole) + b"A"
    yield forge.attack("a-character-that-is-no-octet", "RS-11", sealed(odd, forge.key))
    standard = b64encode(json_octets(forge.factory.claims(note="\u07ff\u07ff\u07ff~~~???")))
    mixed = b64url_encode(forge.header) + b"." + standard.rstrip(b"=")
    yield forge.attack("standard-base64-alphabet", "RS-10", sealed(mixed, forge.key))


def _with_rest(text: bytes) -> bytes:
    """Return the same JSON, at a length whose base64 has unused bits."""
    return text if len(text) % 3 else text + b" "


def _with_unused_bits(octets: bytes) -> bytes:
    """Return base64url of `octets` whose last character has an unused bit set."""
    text = b64url_encode(octets)
    return text[:-1] + BASE64URL[BASE64URL.index(text[-1]) | 1 :][:1]


def _texts(forge: _Forge) -> Iterator[Attack]:
    header, claims = forge.header, forge.claims
    as_text = claims.decode()
    surrogates = claims.replace(b'"alice"', b'"\xed\xa0\x80"')
    overlong = claims.replace(b'"alice"', b'"\xc1\xa1lice"')
    deep = b'{"a":' * 500 + b"1" + b"}" * 500
    for name, rule, text in (
        ("claims-in-utf-16", "RS-12", as_text.encode("utf-16")),
        ("claims-in-utf-16-without-mark", "RS-12", as_text.encode("utf-16-le")),
        ("claims-in-utf-32", "RS-12", as_text.encode("utf-32")),
        ("claims-in-latin-1", "RS-12", claims.replace(b"alice", b"alic\xe9")),
        ("claims-after-a-byte-order-mark", "RS-12", b"\xef\xbb\xbf" + claims),
        ("claims-with-encoded-surrogate", "RS-12", surrogates),
        ("claims-with-overlong-encoding", "RS-12", overlong),
        ("claims-with-escaped-surrogate", "RS-12", claims.replace(b"alice", rb"\ud800")),
        ("claims-with-surrogate-in-a-name", "RS-12", claims[:-1] + rb',"\udfff":1}'),
        ("claims-as-array", "RS-12", b"[" + claims + b"]"),
        ("claims-as-string", "RS-12", dumps(as_text).encode()),
        ("claims-null", "RS-12", b"null"),
        ("claims-twice", "RS-12", claims + claims),
        ("claims-and-a-nul", "RS-12", claims + b"\0"),
        ("claims-with-comment", "RS-12", b"/**/" + claims),
        ("claims-with-trailing-comma", "RS-12", claims[:-1] + b",}"),
        ("claims-in-single-quotes", "RS-12", claims.replace(b'"', b"'")),
        ("claims-nested-500-deep", "RS-12", claims[:-1] + b',"a":' + deep + b"}"),
        ("claims-open-2000-arrays", "RS-12", claims[:-1] + b',"a":' + b"[" * 2000),
        ("subject-twice", "RS-13", b'{"sub":"admin",' + claims[1:]),
        ("subject-twice-once-escaped", "RS-13", rb'{"\u0073ub":"admin",' + claims[1:]),
        ("expiry-twice", "RS-13", b'{"exp":1,' + claims[1:]),
        ("name-twice-in-a-nested-object", "RS-13", claims[:-1] + b',"a":{"b":1,"b":2}}'),
    ):
        yield forge.attack(name, rule, forge.write(claims=text))
    for name, rule, text in (
        ("header-in-utf-16", "RS-12", header.decode().encode("utf-16")),
        ("header-after-a-byte-order-mark", "RS-12", b"\xef\xbb\xbf" + header),
        ("header-as-array", "RS-12", b"[" + header + b"]"),
        ("header-null", "RS-12", b"null"),
        ("header-nested-500-deep", "RS-12", header[:-1] + b',"a":' + deep + b"}"),
        ("alg-twice-none-first", "RS-13", b'{"alg":"none",' + header[1:]),
        ("alg-twice-none-last", "RS-13", header[:-1] + b',"alg":"none"}'),
        ("kid-twice", "RS-13", b'{"kid":"other",' + header[1:]),
    ):
        yield forge.attack(name, rule, forge.write(header=text))


def _algorithms(forge: _Forge) -> Iterator[Attack]:
    for name, spelling in (
        *((spelling, spelling) for spelling in ("none", "None", "NONE", "nOnE")),
        ("none-with-space", "none "),
        ("none-with-zero-width-space", "no\u200bne"),
        ("empty", ""),
    ):
        message = forge.message(header={"alg": spelling})
        yield forge.attack(f"alg-{name}-unsigned", "RS-14", message.decode() + ".")
        yield forge.attack(f"alg-{name}-signed", "RS-14", sealed(message, forge.key))
    own = forge.key.algorithm
    yield forge.attack("unsigned", "RS-14", forge.message().decode() + ".")
    for name, value in (
        ("lower-case", own.name.lower()),
        ("with-space", f"{own.name} "),
        ("as-array", [own.name]),
        ("as-object", {"alg": own.name}),
        ("as-number", 1),
        ("as-true", True),
        ("null", None),
        ("unknown", "XS256"),
        ("missing", ABSENT),
    ):
        yield forge.attack(f"alg-{name}", "RS-14", forge.factory.token(header={"alg": value}))
    for name, cousin in ALGORITHMS.items():
        if cousin != own and (cousin.kty, cousin.crv) == (own.kty, own.crv):
            message = forge.message(header={"alg": name})
            token = join(message, cousin.primitive.sign(message, forge.key.private))
            yield forge.attack(f"alg-{name.lower()}-by-the-same-key", "RS-16", token)


def _confusion(forge: _Forge) -> Iterator[Attack]:
    """The public key, which everybody knows, as the secret of an HMAC (CVE-2015-9235)."""
    message = forge.message(header={"alg": "HS256"})
    for name, secret in (("empty", b""), ("nul", b"\0"), ("word", b"secret")):
        token = join(message, hmac.digest(secret, message, "sha256"))
        yield forge.attack(f"hs256-by-{name}-secret", "RS-16", token)
    if forge.key.public is None:
        return
    for name, secret in _encodings(forge.key, forge.key.public):
        for algorithm, digest in (("HS256", "sha256"), ("HS512", "sha512")):
            message = forge.message(header={"alg": algorithm})
            token = join(message, hmac.digest(secret, message, digest))
            yield forge.attack(f"{algorithm.lower()}-by-public-key-{name}", "RS-16", token)


def _encodings(key: Key, public: PublicKey) -> Iterator[tuple[str, bytes]]:
    """Yield the forms in which a public key has been taken for a secret."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    members = key.public_jwk()
    yield "pem", pem
    yield "pem-without-last-newline", pem.strip()
    yield "pem-after-a-newline", b"\n" + pem
    yield "pem-after-a-byte-order-mark", b"\xef\xbb\xbf" + pem
    yield "pem-with-crlf", pem.replace(b"\n", b"\r\n")
    yield "pem-without-its-frame", b"".join(pem.splitlines()[1:-1])
    yield "der", public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    yield "ssh", public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    yield "jwk", json_octets(members)
    yield "jwk-with-spaces", dumps(members).encode()
    yield "jwks", json_octets({"keys": [members]})
    if isinstance(public, RSAPublicKey):
        modulus = public.public_numbers().n
        yield "pkcs1", public.public_bytes(Encoding.PEM, PublicFormat.PKCS1)
        yield "modulus-in-base64url", members["n"].encode()
        yield "modulus", modulus.to_bytes((modulus.bit_length() + 7) // 8)
    else:
        yield "coordinate-in-base64url", members["x"].encode()


def _embedded(forge: _Forge) -> Iterator[Attack]:
    """A key of the attacker's, in the token or where the token points (RFC 8725 s3.10)."""
    stranger = forge.stranger()
    url = "https://attacker.example/keys"
    members: dict[str, dict[str, Any]] = {
        "key-of-a-stranger": {},
        "jku": {"jku": url},
        "jku-to-a-file": {"jku": "file:///etc/hostname"},
        "x5u": {"x5u": url},
        "x5t": {"x5t": "AAAAAAAAAAAAAAAAAAAAAAAAAAA"},
    }
    if stranger.private is None or isinstance(stranger.private, bytes):
        members["jwk"] = {"jwk": stranger.to_jwk()}
    else:
        members["jwk"] = {"jwk": stranger.public_jwk()}
        members["x5c"] = {"x5c": [_certificate(stranger.private)]}
    for name, member in members.items():
        for how, kid in (("", forge.key.kid), ("-without-kid", ABSENT)):
            header = json_octets(forge.factory.header(**member, kid=kid))
            yield forge.attack(f"{name}{how}", "RS-21", seal(header, forge.claims, stranger))


def _certificate(key: PrivateKey) -> str:
    """Return a certificate that the key has given itself, as in `x5c` (RFC 7515 s4.1.6)."""
    from datetime import UTC, datetime

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "login.example")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
    builder = builder.not_valid_after(datetime(2120, 1, 1, tzinfo=UTC))
    signed = builder.sign(key, None if isinstance(key, Ed25519PrivateKey) else SHA256())
    return b64encode(signed.public_bytes(Encoding.DER)).decode()


def _signatures(forge: _Forge) -> Iterator[Attack]:
    message = forge.message()
    signature = forge.key.sign(message)
    other = forge.key.sign(forge.message(sub="bob"))
    flipped = bytes((signature[0] ^ 1,)) + signature[1:]
    for name, value in (
        ("of-zeros", bytes(len(signature))),  # CVE-2022-21449: (r, s) = (0, 0)
        ("of-ones", b"\xff" * len(signature)),
        ("of-one-octet", b"\0"),
        ("with-a-flipped-bit", flipped),
        ("cut-short", signature[:-1]),
        ("with-an-octet-more", signature + b"\0"),
        ("with-an-octet-in-front", b"\0" + signature),
        ("of-another-token", other),
        *_by_kind(forge.key, signature),
    ):
        yield forge.attack(f"signature-{name}", "RS-05", join(message, value))
    admin = b64url_encode(json_octets(forge.factory.claims(sub="admin")))
    swapped = b".".join((b64url_encode(forge.header), admin, b64url_encode(signature)))
    yield forge.attack("claims-exchanged", "RS-05", swapped.decode())


def _by_kind(key: Key, signature: bytes) -> Iterator[tuple[str, bytes]]:
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    half = len(signature) // 2
    if key.algorithm.kty == "EC":
        r, s = int.from_bytes(signature[:half]), int.from_bytes(signature[half:])
        yield "with-r-zero", bytes(half) + signature[half:]
        yield "with-s-zero", signature[:half] + bytes(half)
        yield "in-der", encode_dss_signature(r, s)
    if key.algorithm.kty == "OKP":
        # RFC 8032 s5.1.7: S not below the group's order would be a second signature of one message.
        order = 2**252 + 27742317777372353535851937790883648493
        s = int.from_bytes(signature[half:], "little") + order
        yield "with-s-beyond-the-order", signature[:half] + s.to_bytes(half, "little")
    if key.algorithm.kty == "RSA":
        yield "of-the-number-one", bytes(len(signature) - 1) + b"\1"


def _headers(forge: _Forge) -> Iterator[Attack]:
    own = forge.key.algorithm.name
    members: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("crit-of-a-claim", "RS-22", {"crit": ["exp"], "exp": forge.now + 600}),
        ("crit-of-an-unknown-extension", "RS-22", {"crit": ["x"], "x": 1}),
        ("crit-of-a-missing-extension", "RS-22", {"crit": ["x"]}),
        ("crit-empty", "RS-22", {"crit": []}),
        ("crit-null", "RS-22", {"crit": None}),
        ("crit-as-string", "RS-22", {"crit": "exp"}),
        ("crit-of-alg", "RS-22", {"crit": ["alg"]}),
        ("crit-twice-the-same", "RS-22", {"crit": ["b64", "b64"], "b64": True}),
        ("b64-true", "RS-22", {"crit": ["b64"], "b64": True}),
        ("b64-false", "RS-22", {"crit": ["b64"], "b64": False}),
        ("b64-false-without-crit", "RS-22", {"b64": False}),
        ("zip", "RS-23", {"zip": "DEF"}),
        ("enc", "RS-23", {"enc": "A256GCM"}),
        ("cty-jwt", "RS-23", {"cty": "JWT"}),
        ("pbes2-with-endless-count", "RS-23", {"alg": "PBES2-HS256+A128KW", "p2c": 2**31 - 1}),
        ("typ-jwt", "RS-24", {"typ": "JWT"}),
        ("typ-missing", "RS-24", {"typ": ABSENT}),
        ("typ-null", "RS-24", {"typ": None}),
        ("typ-number", "RS-24", {"typ": 5}),
        ("typ-array", "RS-24", {"typ": ["at+jwt"]}),
        ("typ-empty", "RS-24", {"typ": ""}),
        ("typ-with-space", "RS-24", {"typ": "at+jwt "}),
        ("typ-with-parameter", "RS-24", {"typ": "at+jwt;v=1"}),
        ("typ-application-twice", "RS-24", {"typ": "application/application/at+jwt"}),
        ("typ-of-another-tree", "RS-24", {"typ": "text/at+jwt"}),
        ("typ-of-a-proof", "RS-25", {"typ": "dpop+jwt"}),
        ("typ-of-a-logout-token", "RS-25", {"typ": "logout+jwt"}),
        ("typ-of-a-refresh-token", "RS-25", {"typ": "rt+jwt"}),
        ("typ-of-a-security-event", "RS-25", {"typ": "secevent+jwt"}),
        ("typ-of-an-introspection", "RS-25", {"typ": "token-introspection+jwt"}),
        ("kid-unknown", "RS-26", {"kid": "unknown"}),
        ("kid-with-space", "RS-26", {"kid": f"{forge.key.kid} "}),
        ("kid-empty", "RS-26", {"kid": ""}),
        ("kid-null", "RS-26", {"kid": None}),
        ("kid-number", "RS-26", {"kid": 5}),
        ("kid-array", "RS-26", {"kid": [forge.key.kid]}),
        ("kid-object", "RS-26", {"kid": {"$ne": ""}}),
        ("kid-with-nul", "RS-26", {"kid": f"{forge.key.kid}\0"}),
        ("kid-of-3000-characters", "RS-26", {"kid": "k" * 3000}),
        ("kid-of-an-ldap-filter", "RS-26", {"kid": "*)(uid=*))(|(uid=*"}),
        ("kid-of-a-url", "RS-26", {"kid": "https://attacker.example/key"}),
        ("kid-of-an-algorithm", "RS-26", {"kid": own}),
    )
    for name, rule, header in members:
        yield forge.attack(name, rule, forge.factory.token(header=header))
    # OpenID Connect Core s2: what an ID token has besides.
    id_token = forge.factory.token(header={"typ": "JWT"}, nonce="n-0S6_WzA2Mj", auth_time=forge.now)
    yield forge.attack("id-token", "RS-25", id_token)
    # Files and rows whose contents an attacker knows, as the secret that `kid` leads to.
    for name, kid, secret in (
        ("kid-leads-to-dev-null", "../../../../../../dev/null", b""),
        ("kid-leads-to-proc", "/proc/sys/kernel/randomize_va_space", b"2\n"),
        ("kid-injects-sql", "x' UNION SELECT 'known';--", b"known"),
        ("kid-injects-a-command", "key|echo known", b"known"),
    ):
        message = forge.message(header={"alg": "HS256", "kid": kid})
        token = join(message, hmac.digest(secret, message, "sha256"))
        yield forge.attack(name, "RS-26", token)


def _claims(forge: _Forge) -> Iterator[Attack]:
    now, issuer, audience = forge.now, forge.factory.issuer, forge.factory.audience
    claims: tuple[tuple[str, str, str, Any], ...] = (
        ("expired", "RS-30", "exp", now - 3600),
        ("expired-before-1970", "RS-30", "exp", -1),
        ("exp-true", "RS-30", "exp", True),
        ("exp-string", "RS-30", "exp", str(now + 600)),
        ("exp-null", "RS-30", "exp", None),
        ("exp-array", "RS-30", "exp", [now + 600]),
        ("exp-object", "RS-30", "exp", {}),
        ("exp-of-400-digits", "RS-30", "exp", 10**400),
        ("exp-in-milliseconds", "RS-30", "exp", (now + 600) * 1000),
        ("not-yet-valid", "RS-31", "nbf", now + 3600),
        ("nbf-string", "RS-31", "nbf", "0"),
        ("nbf-true", "RS-31", "nbf", True),
        ("nbf-null", "RS-31", "nbf", None),
        ("iat-ahead", "RS-32", "iat", now + 3600),
        ("iat-string", "RS-32", "iat", str(now)),
        ("iat-true", "RS-32", "iat", True),
        ("iat-null", "RS-32", "iat", None),
        ("iss-of-a-stranger", "RS-33", "iss", "https://attacker.example"),
        ("iss-with-slash", "RS-33", "iss", f"{issuer}/"),
        ("iss-in-another-case", "RS-33", "iss", issuer.swapcase()),
        ("iss-cut-short", "RS-33", "iss", issuer[:-1]),
        ("iss-continued", "RS-33", "iss", f"{issuer}.attacker.example"),
        ("iss-with-space", "RS-33", "iss", f" {issuer}"),
        ("iss-with-nul", "RS-33", "iss", f"{issuer}\0"),
        ("iss-with-a-wide-letter", "RS-33", "iss", f"\uff48{issuer[1:]}"),
        ("iss-array", "RS-33", "iss", [issuer]),
        ("iss-null", "RS-33", "iss", None),
        ("aud-of-another-service", "RS-34", "aud", "https://other.example"),
        ("aud-of-other-services", "RS-34", "aud", ["https://a.example", "https://b.example"]),
        ("aud-empty", "RS-34", "aud", ""),
        ("aud-empty-array", "RS-34", "aud", []),
        ("aud-object", "RS-34", "aud", {audience: True}),
        ("aud-false", "RS-34", "aud", False),
        ("aud-zero", "RS-34", "aud", 0),
        ("aud-null", "RS-34", "aud", None),
        ("aud-with-slash", "RS-34", "aud", f"{audience}/"),
        ("aud-in-another-case", "RS-34", "aud", audience.swapcase()),
        ("aud-cut-short", "RS-34", "aud", audience[:-1]),
        ("aud-continued", "RS-34", "aud", f"{audience}.attacker.example"),
        ("aud-in-one-of-several-types", "RS-34", "aud", [audience, 5]),
        ("aud-nested", "RS-34", "aud", [[audience]]),
        ("aud-in-a-list-of-words", "RS-34", "aud", f"{audience} https://other.example"),
        ("iss-missing", "RS-35", "iss", ABSENT),
        ("exp-missing", "RS-35", "exp", ABSENT),
        ("aud-missing", "RS-35", "aud", ABSENT),
        ("sub-missing", "RS-35", "sub", ABSENT),
        ("iat-missing", "RS-35", "iat", ABSENT),
        ("jti-missing", "RS-35", "jti", ABSENT),
        ("client-id-missing", "RS-35", "client_id", ABSENT),
        ("client-id-number", "RS-35", "client_id", 5),
        ("client-id-empty", "RS-35", "client_id", ""),
        ("sub-number", "RS-36", "sub", 0),
        ("sub-empty", "RS-36", "sub", ""),
        ("sub-null", "RS-36", "sub", None),
        ("sub-array", "RS-36", "sub", ["alice"]),
        ("sub-object", "RS-36", "sub", {"$ne": None}),
        ("sub-with-line-break", "RS-36", "sub", "alice\r\nX-Admin: 1"),
        ("sub-with-nul", "RS-36", "sub", "alice\0"),
        ("sub-with-escape", "RS-36", "sub", "alice\x1b[2J"),
        ("sub-with-line-separator", "RS-36", "sub", "alice\u2028bob"),
        ("jti-number", "RS-36", "jti", 5),
        ("jti-with-line-break", "RS-36", "jti", "a\nb"),
        ("scope-array", "RS-38", "scope", ["read", "admin"]),
        ("scope-number", "RS-38", "scope", 1),
        ("scope-null", "RS-38", "scope", None),
        ("scope-with-tab", "RS-38", "scope", "read\tadmin"),
        ("scope-with-quote", "RS-38", "scope", 'read", error="x'),
        ("bound-to-a-key", "RS-53", "cnf", {"jkt": "A" * 43}),
        ("bound-to-a-certificate", "RS-59", "cnf", {"x5t#S256": "A" * 43}),
        ("bound-to-null", "RS-53", "cnf", None),
    )
    good = forge.factory.claims()
    for name, rule, claim, value in claims:
        if value != good.get(claim):  # an issuer without letters has no other case
            yield forge.attack(name, rule, forge.claim(claim, value))
    for name, rule, claim, literal in (
        ("exp-nan", "RS-30", "exp", b"NaN"),
        ("exp-infinity", "RS-30", "exp", b"Infinity"),
        ("exp-1e400", "RS-30", "exp", b"1e400"),
        ("exp-of-5000-digits", "RS-30", "exp", b"1" + b"0" * 4999),
        ("nbf-minus-infinity", "RS-31", "nbf", b"-Infinity"),
        ("iat-hexadecimal", "RS-32", "iat", b"0x10"),
    ):
        yield forge.attack(name, rule, forge.literal(claim, literal))


_GROUPS: tuple[Callable[[_Forge], Iterator[Attack]], ...] = (
    _credentials,
    _segments,
    _spellings,
    _texts,
    _algorithms,
    _confusion,
    _embedded,
    _signatures,
    _headers,
    _claims,
)
