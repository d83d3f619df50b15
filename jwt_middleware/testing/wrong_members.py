"""Tokens by the trusted key whose header or claims say what must not be taken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .attack import Attack, Forge, Group
from .mint import ABSENT


def _extensions(forge: Forge) -> Iterator[Attack]:
    return _with_header_members(
        forge,
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
    id_token = forge.token(header={"typ": "JWT"}, nonce="n-0S6_WzA2Mj", auth_time=forge.now)
    yield forge.attack("id-token", "RS-25", id_token)


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
    # Files and rows whose contents an attacker knows, as the secret that `kid` leads to.
    for name, kid, secret in (
        ("kid-leads-to-dev-null", "../../../../../../dev/null", b""),
        ("kid-leads-to-proc", "/proc/sys/kernel/randomize_va_space", b"2\n"),
        ("kid-injects-sql", "x' UNION SELECT 'known';--", b"known"),
        ("kid-injects-a-command", "key|echo known", b"known"),
    ):
        yield forge.attack(name, "RS-26", forge.by_hmac(secret, kid=kid))


def _with_header_members(forge: Forge, *table: tuple[str, str, dict[str, Any]]) -> Iterator[Attack]:
    for name, rule, header in table:
        yield forge.attack(name, rule, forge.token(header=header))


def _times(forge: Forge) -> Iterator[Attack]:
    now = forge.now
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
        # What the claims have there needn't be JSON.
        claims = forge.with_claims(**{claim: "@literal@"}).replace(b'"@literal@"', literal)
        yield forge.attack(name, rule, forge.write(claims=claims))


def _issuer_and_audience(forge: Forge) -> Iterator[Attack]:
    issuer, audience = forge.good_claims["iss"], forge.good_claims["aud"]
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
        if value != forge.good_claims.get(claim):  # an issuer without letters has no other case
            yield forge.attack(name, rule, forge.token(**{claim: value}))


WRONG_MEMBERS: tuple[Group, ...] = (
    _extensions,
    _types,
    _key_ids,
    _times,
    _issuer_and_audience,
    _other_claims,
)
