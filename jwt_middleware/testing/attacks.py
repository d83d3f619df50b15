"""Requests that must be refused. Each has one fault, and is named after that fault.

They are collected from RFC 8725 and its revision, RFC 7515, 7519, 6750 and 9068, and from the
advisories of JWT libraries. Signatures are real where possible: a verifier that overlooks the fault
would let the request in. Attacks whose fault is the signature are in `forged`.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from json import dumps
from typing import Any

from ..jose.jwk import Key
from ..jose.jws import MAX_TOKEN
from ..jose.strict_json import BASE64URL, b64url_encode, to_json
from . import forged
from .attack import Attack, Forge, in_bearer
from .mint import ABSENT, json_octets, seal, sealed


def catalogue(key: Key, header: dict[str, Any], claims: dict[str, Any]) -> Iterator[Attack]:
    """Yield every attack on a service that accepts a token with this header and these claims.

    `key` is the one that signs such tokens: nearly all attacks are signed by it.
    """
    forge = Forge(key, header, claims)
    for group in _GROUPS:
        yield from group(forge)


# --- tokens that aren't well-formed


def _header_fields(forge: Forge) -> Iterator[Attack]:
    good = forge.token()
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
        (
            "token-in-websocket-protocol",
            "RS-68",
            ("Sec-WebSocket-Protocol", f"bearer, {bearer[1].removeprefix('Bearer ')}"),
        ),
        ("user-named-by-a-header", "RS-01", ("X-Remote-User", "admin")),
        ("middleware-skipped-by-a-header", "RS-01", ("X-Middleware-Subrequest", "middleware")),
    ):
        yield Attack(name, (header,), rule)


def _segments(forge: Forge) -> Iterator[Attack]:
    good = forge.token()
    header, claims, signature = good.split(".")
    long = forge.token(pad="a" * MAX_TOKEN)
    for name, rule, token, status in (
        ("padding", "RS-10", f"{header}.{claims}.{signature}=", 401),
        ("padding-inside", "RS-10", f"{header}=.{claims}.{signature}", 400),
        ("white-space-inside", "RS-10", f"{header}. {claims}.{signature}", 400),
        ("percent-encoded-dots", "RS-10", good.replace(".", "%2E"), 400),
        ("one-segment", "RS-10", header, 401),
        ("two-segments", "RS-10", f"{header}.{claims}", 401),
        ("four-segments", "RS-10", f"{good}.{signature}", 401),
        ("five-segments", "RS-23", f"{header}..{claims}.{signature}.{signature}", 401),
        ("empty-segments", "RS-10", "..", 401),
        ("no-header", "RS-10", f".{claims}.{signature}", 401),
        ("no-claims", "RS-10", f"{header}..{signature}", 401),
        ("dot-in-front", "RS-10", f".{good}", 401),
        ("dot-at-the-end", "RS-10", f"{good}.", 401),
        ("a-megabyte-of-dots", "RS-10", "." * (1 << 20), 401),
        ("longer-than-any-good-token", "RS-10", long, 401),
    ):
        yield in_bearer(name, rule, token, status)
    flattened = {"protected": header, "payload": claims, "signature": signature}
    general = {"payload": claims, "signatures": [{"protected": header, "signature": signature}]}
    unprotected = {"payload": claims, "header": {"alg": "none"}, "signature": signature}
    for name, serialization in (
        ("json-serialization-flattened", flattened),
        ("json-serialization-general", general),
        ("json-serialization-with-unprotected-header", unprotected),
    ):
        yield in_bearer(name, "RS-10", to_json(serialization), 400)
    # CVE-2022-39227: a JSON serialization whose member name is a compact token.
    polyglot = to_json({f"{header}.{claims}.": "", "protected": header})
    yield in_bearer("json-and-compact-at-once", "RS-10", polyglot, 400)


def _spellings(forge: Forge) -> Iterator[Attack]:
    """Second spellings of one token, signed as they are spelled where that is possible."""
    header, claims = json_octets(forge.header), json_octets(forge.claims)
    head, body = _with_rest(header), _with_rest(claims)
    for name, first, second in (
        ("unused-bits-in-the-header", _with_unused_bits(head), b64url_encode(body)),
        ("unused-bits-in-the-claims", b64url_encode(head), _with_unused_bits(body)),
    ):
        yield in_bearer(name, "RS-11", sealed(first + b"." + second, forge.key))
    message = forge.message()
    signature = forge.key.sign(message)
    if len(signature) % 3:
        token = message + b"." + _with_unused_bits(signature)
        yield in_bearer("unused-bits-in-the-signature", "RS-11", token.decode())
    whole = claims + b" " * (-len(claims) % 3)
    odd = b64url_encode(header) + b"." + b64url_encode(whole) + b"A"
    yield in_bearer("a-character-that-is-no-octet", "RS-11", sealed(odd, forge.key))
    standard = b64encode(forge.with_claims(note="\u07ff\u07ff\u07ff~~~???"))
    mixed = b64url_encode(header) + b"." + standard.rstrip(b"=")
    yield in_bearer("standard-base64-alphabet", "RS-10", sealed(mixed, forge.key))


def _with_rest(text: bytes) -> bytes:
    """Return the same JSON, at a length whose base64 has unused bits."""
    return text if len(text) % 3 else text + b" "


def _with_unused_bits(octets: bytes) -> bytes:
    """Return base64url of `octets` whose last character has an unused bit set."""
    text = b64url_encode(octets)
    return text[:-1] + BASE64URL[BASE64URL.index(text[-1]) | 1 :][:1]


def _not_strict_json(forge: Forge) -> Iterator[Attack]:
    header, claims = json_octets(forge.header), json_octets(forge.claims)
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
        yield in_bearer(name, rule, seal(header, text, forge.key))
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
        yield in_bearer(name, rule, seal(text, claims, forge.key))


# --- well-formed tokens whose contents must be refused


def _extensions(forge: Forge) -> Iterator[Attack]:
    return _with_header_members(
        forge,
        ("crit-of-a-claim", "RS-22", {"crit": ["exp"], "exp": forge.claims["iat"] + 600}),
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
    )


def _types(forge: Forge) -> Iterator[Attack]:
    yield from _with_header_members(
        forge,
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
    )
    # OpenID Connect Core s2: what an ID token has besides.
    others = {"nonce": "n-0S6_WzA2Mj", "auth_time": forge.claims["iat"]}
    id_token = forge.token(header={"typ": "JWT"}, **others)
    yield in_bearer("id-token", "RS-25", id_token)


def _key_ids(forge: Forge) -> Iterator[Attack]:
    yield from _with_header_members(
        forge,
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
        ("kid-of-an-algorithm", "RS-26", {"kid": forge.key.algorithm.name}),
    )
    # `kid` leads to a file or a row whose contents the attacker knows and signs with.
    for name, kid, secret in (
        ("kid-leads-to-dev-null", "../../../../../../dev/null", b""),
        ("kid-leads-to-proc", "/proc/sys/kernel/randomize_va_space", b"2\n"),
        ("kid-injects-sql", "x' UNION SELECT 'known';--", b"known"),
        ("kid-injects-a-command", "key|echo known", b"known"),
    ):
        yield in_bearer(name, "RS-26", forge.by_hmac(secret, kid=kid))


def _with_header_members(forge: Forge, *table: tuple[str, str, dict[str, Any]]) -> Iterator[Attack]:
    for name, rule, header in table:
        yield in_bearer(name, rule, forge.token(header=header))


def _times(forge: Forge) -> Iterator[Attack]:
    now, header = forge.claims["iat"], json_octets(forge.header)
    yield from _with_claim(
        forge,
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
    )
    for name, rule, claim, literal in (
        ("exp-nan", "RS-30", "exp", b"NaN"),
        ("exp-infinity", "RS-30", "exp", b"Infinity"),
        ("exp-1e400", "RS-30", "exp", b"1e400"),
        ("exp-of-5000-digits", "RS-30", "exp", b"1" + b"0" * 4999),
        ("nbf-minus-infinity", "RS-31", "nbf", b"-Infinity"),
        ("iat-hexadecimal", "RS-32", "iat", b"0x10"),
    ):
        # Replaced in the text, since the literal needn't be JSON.
        claims = forge.with_claims(**{claim: "@literal@"}).replace(b'"@literal@"', literal)
        yield in_bearer(name, rule, seal(header, claims, forge.key))


def _issuer_and_audience(forge: Forge) -> Iterator[Attack]:
    issuer, audience = forge.claims["iss"], forge.claims["aud"]
    return _with_claim(
        forge,
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
    )


def _other_claims(forge: Forge) -> Iterator[Attack]:
    return _with_claim(
        forge,
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


def _with_claim(forge: Forge, *table: tuple[str, str, str, Any]) -> Iterator[Attack]:
    for name, rule, claim, value in table:
        if value != forge.claims.get(claim, ABSENT):  # an issuer without letters has no other case
            yield in_bearer(name, rule, forge.token(**{claim: value}))


_GROUPS: tuple[Callable[[Forge], Iterator[Attack]], ...] = (
    _header_fields,
    _segments,
    _spellings,
    _not_strict_json,
    forged.algorithms,
    forged.public_key_as_secret,
    forged.embedded_keys,
    forged.signatures,
    _extensions,
    _types,
    _key_ids,
    _times,
    _issuer_and_audience,
    _other_claims,
)
