"""What verifying costs, over the raw check of the same token: `python -m benchmarks.verify`.

Ours is `Core.verify` of a token that has not been seen before: strict parser, header, key,
signature, every claim. Raw is the call of `cryptography` alone, on parts that are
decoded already. Interpreters differ: Debian's is built with profiles, one from source often isn't.
"""

import argparse
import gc
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from json import dumps, loads
from typing import Any

import cryptography
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from jwt_middleware import Settings
from jwt_middleware.core.decide import Core
from jwt_middleware.jose.jws import MAX_TOKEN
from jwt_middleware.jose.strict_json import b64url_decode, b64url_encode
from jwt_middleware.testing import TokenFactory
from jwt_middleware.values.errors import OAuthError
from jwt_middleware.values.flows import run
from jwt_middleware.values.requests import Request
from jwt_middleware.values.tokens import Forward, Hidden

from .measure import Times, measure

Function = Callable[[], object]

NOW = 1_800_000_000
TWELVE: dict[str, Any] = {
    "scope": "read write",
    "sid": "zq4yJ3b9TfK2mWv7",
    "auth_time": NOW - 300,
    "roles": ["editor", "author"],
    "email": "alice@example.com",
}  # with the seven that RFC 9068 requires


@dataclass(frozen=True)
class Line:
    """One line of the table: what is compared with which raw check, and how much it may cost."""

    what: str
    base: str
    gate: float | None = None


LINES = (
    Line("RS256", "raw RS256", 1.75),
    Line("ES256", "raw ES256", 1.4),
    Line("Ed25519", "raw Ed25519", 1.2),
    Line("HS256", "raw HS256", 7),
    Line("RS256, the whole request", "raw RS256"),
    Line("RS256, 8 KB", "raw RS256, 8 KB", 4),
    Line("malformed: five segments", "raw RS256", 0.15),
    Line("malformed: padding", "raw RS256", 0.15),
    Line("malformed: not canonical", "raw RS256", 0.15),
    Line("malformed: a claim twice", "raw RS256"),
    Line("unknown kid", "raw RS256", 0.5),
    Line("bad signature", "raw RS256", 1.5),
)


def functions() -> Iterator[tuple[str, Function]]:
    """Yield everything that is measured, by the names in LINES."""
    for algorithm in ("RS256", "ES256", "Ed25519", "HS256"):
        factory = TokenFactory(algorithm=algorithm, clock=lambda: NOW)
        token = factory.token(**TWELVE)
        yield f"raw {algorithm}", raw(factory, token)
        yield algorithm, good(factory, token)
        if algorithm == "RS256":
            yield from of_rs256(factory, token)


def of_rs256(factory: TokenFactory, token: str) -> Iterator[tuple[str, Function]]:
    """Yield what is compared with the check of one RS256 signature."""
    large = large_token(factory)
    yield "raw RS256, 8 KB", raw(factory, large)
    yield "RS256, 8 KB", good(factory, large)
    yield "RS256, the whole request", whole(factory, token)
    header, payload, signature = token.split(".")
    quarter = len(payload) // 4
    twice = dumps(loads(b64url_decode(payload.encode()))).replace('"sub"', '"iss": "x", "sub"')
    twice = b64url_encode(twice.encode()).decode()
    bad = "A" * 10 + signature[10:]
    for what, text in {
        "malformed: five segments": f"{token[:quarter]}.{token[quarter + 1 : -9]}.{token[-8:]}",
        "malformed: padding": token + "==",
        "malformed: not canonical": token[:-1] + chr(ord(token[-1]) + 1),
        "malformed: a claim twice": f"{header}.{twice}.{signature}",
        "unknown kid": factory.token(header={"kid": "another"}, **TWELVE),
        "bad signature": f"{header}.{payload}.{bad}",
    }.items():
        yield what, refused(factory, text)


def large_token(factory: TokenFactory) -> str:
    """Return a token that is nearly as long as one may be: a user in many groups."""
    groups: list[str] = []
    token = factory.token(**TWELVE, groups=groups)
    while len(token) <= MAX_TOKEN - 60:
        groups.append(f"{len(groups):08x}-7d2b-4f0e-9c61-3b9a5e8f1d24")
        token = factory.token(**TWELVE, groups=groups)
    return token


def good(factory: TokenFactory, token: str) -> Function:
    """Return our check of a token, after seeing that the token passes."""
    core, text = prepared(factory), Hidden(token)
    assert core.verify(text, NOW).subject
    return lambda: core.verify(text, NOW)


def whole(factory: TokenFactory, token: str) -> Function:
    """Return the whole work of the core for a request, with its route and its header."""
    core, request = prepared(factory), Request("GET", "/", {"authorization": f"Bearer {token}"}.get)
    assert isinstance(run(core.decide(request)), Forward)
    return lambda: run(core.decide(request))


def refused(factory: TokenFactory, token: str) -> Function:
    """Return our check of a token that is refused, up to the error."""
    core, text = prepared(factory), Hidden(token)

    def check() -> bool:
        try:
            core.verify(text, NOW)
        except OAuthError:
            return True
        return False

    # First a good token, as in a real service, so that the issuer's header is known.
    core.verify(Hidden(factory.token()), NOW)
    assert check(), token
    return check


def prepared(factory: TokenFactory) -> Core:
    settings: Settings = factory.settings()
    return Core(settings)


def raw(factory: TokenFactory, token: str) -> Function:
    """Return the check of the signature and nothing else, everything before it done."""
    key: Any = factory.key.public or factory.key.private
    signing_input, _, last = token.encode().rpartition(b".")
    signature, sha256 = b64url_decode(last), hashes.SHA256()
    match factory.key.algorithm.name:
        case "RS256":
            pkcs1 = padding.PKCS1v15()
            return lambda: key.verify(signature, signing_input, pkcs1, sha256)
        case "PS256":
            pss = padding.PSS(padding.MGF1(sha256), padding.PSS.DIGEST_LENGTH)
            return lambda: key.verify(signature, signing_input, pss, sha256)
        case "ES256":
            r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
            der, ecdsa = encode_dss_signature(r, s), ec.ECDSA(sha256)
            return lambda: key.verify(der, signing_input, ecdsa)
        case "HS256":

            def check() -> None:
                mac = hmac.HMAC(key, sha256)
                mac.update(signing_input)
                mac.verify(signature)

            return check
        case _:
            return lambda: key.verify(signature, signing_input)


def rows(rounds: int) -> Iterator[tuple[str, bool]]:
    """Yield the lines of a Markdown table, and whether the gate of each was kept."""
    yield "| token | ours, µs | raw, µs | ratio | quartiles | gate | |", True
    yield "|---|--:|--:|--:|:-:|--:|---|", True
    found = dict(functions())
    # Collections during the measurement skip all objects that were made before it.
    gc.collect()
    gc.freeze()
    for line in LINES:
        pair = {name: found[name] for name in (line.what, line.base)}
        yield row(line, measure(pair, rounds=rounds))


def row(line: Line, times: Times) -> tuple[str, bool]:
    ratio = times.ratio(line.what, line.base)
    low, high = times.spread(line.what, line.base)
    ours, base = (times.typical(name) / 1000 for name in (line.what, line.base))
    kept = line.gate is None or ratio <= line.gate
    gate = f"| {line.gate} | {'PASS' if kept else 'FAIL'} |" if line.gate else "| | |"
    numbers = f"{ours:.1f} | {base:.1f} | {ratio:.2f} | {low:.2f} to {high:.2f}"
    return f"| {line.what} | {numbers} {gate}", kept


def main() -> int:
    """Measure, print, and return 1 if a gate was asked for and missed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--gate", action="store_true", help="exit with 1 if a gate is missed")
    options.add_argument("--rounds", type=int, default=200, help="how often each is measured")
    given = options.parse_args()
    machine = f"{platform.python_implementation()} {platform.python_version()}, cryptography"
    print(f"{machine} {cryptography.__version__}, {platform.machine()}, {os.cpu_count()} cores\n")
    kept = True
    for text, passed in rows(given.rounds):
        print(text, flush=True)
        kept &= passed
    return 1 if given.gate and not kept else 0


if __name__ == "__main__":
    sys.exit(main())
