"""Requests whose credentials or whose token are not well-formed."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from json import dumps

from ..jose.jws import MAX_TOKEN
from ..jose.strict_json import BASE64URL, b64url_encode, to_json
from .attack import Attack, Forge, Group
from .mint import sealed


def _header_fields(forge: Forge) -> Iterator[Attack]:
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


def _segments(forge: Forge) -> Iterator[Attack]:
    header, claims, signature = forge.good.split(".")
    long = forge.token(pad="a" * MAX_TOKEN)
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
        yield forge.attack(name, "RS-10", to_json(serialization), 400)
    # CVE-2022-39227: a JSON serialization whose member name is a compact token.
    polyglot = to_json({f"{header}.{claims}.": "", "protected": header})
    yield forge.attack("json-and-compact-at-once", "RS-10", polyglot, 400)


def _spellings(forge: Forge) -> Iterator[Attack]:
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
    standard = b64encode(forge.with_claims(note="\u07ff\u07ff\u07ff~~~???"))
    mixed = b64url_encode(forge.header) + b"." + standard.rstrip(b"=")
    yield forge.attack("standard-base64-alphabet", "RS-10", sealed(mixed, forge.key))


def _with_rest(text: bytes) -> bytes:
    """Return the same JSON, at a length whose base64 has unused bits."""
    return text if len(text) % 3 else text + b" "


def _with_unused_bits(octets: bytes) -> bytes:
    """Return base64url of `octets` whose last character has an unused bit set."""
    text = b64url_encode(octets)
    return text[:-1] + BASE64URL[BASE64URL.index(text[-1]) | 1 :][:1]


def _not_strict_json(forge: Forge) -> Iterator[Attack]:
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


MALFORMED: tuple[Group, ...] = (_header_fields, _segments, _spellings, _not_strict_json)
