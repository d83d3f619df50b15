"""The compact serialization of RFC 7515, read strictly: one text for one token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any, NamedTuple

from ..values import reasons
from ..values.errors import InvalidToken
from ..values.reasons import Reason
from ..values.tokens import FrozenDict
from .jwk import MAX_KID, Key
from .strict_json import BASE64URL, NotJson, b64url_decode, b64url_encode, parse_segment, to_json

MAX_TOKEN = 8192  # octets; proxies and servers cut headers at 8 to 16 KiB

# RFC 7515 s4.1.11: an extension that isn't understood makes the JWS invalid. We understand none, so
# `crit` is refused in any form. `b64` is RFC 7797's, MUST NOT be in a JWT (s7). `enc` and `zip`
# belong to JWE; `cty` says that a token is nested in this one (RFC 7519 s5.2).
_UNSUPPORTED = frozenset(("crit", "b64", "enc", "zip", "cty"))


class Header(NamedTuple):
    """A header with supported members only. Its values come from the sender and aren't checked."""

    algorithm: str
    kid: str | None
    members: FrozenDict


@dataclass(slots=True)
class Parsed:
    """A well-formed token. Its contents can't be trusted until the signature has been checked."""

    header: Header
    header_segment: bytes
    claims: FrozenDict
    signing_input: bytes
    signature: bytes

    def __repr__(self) -> str:
        return "<Parsed>"  # its segments are the token


_NO_HEADERS: Mapping[bytes, Header] = {}
_DOT, _EQUALS = b".="  # numbers, which `in` finds in octets ten times as fast


def parse(token: str, known: Mapping[bytes, Header] = _NO_HEADERS) -> Parsed:
    """Return the parts of a compact JWS whose payload is a JSON object, or raise InvalidToken.

    The cheapest checks come first: size, characters, base64url, UTF-8, JSON, header. `known` are
    headers by their segment, of tokens whose signature was good: these aren't read again.
    """
    if len(token) > MAX_TOKEN:
        raise InvalidToken(reasons.TOO_LONG)
    try:
        octets = token.encode("ascii")
    except UnicodeEncodeError:
        raise InvalidToken(reasons.SEGMENTS) from None
    signing_input, _, last = octets.rpartition(b".")
    first, _, second = signing_input.partition(b".")
    # RFC 8725bis s3.14: exactly two dots. RFC 7515 s2: "with all trailing '=' characters omitted".
    if _DOT in second or _EQUALS in octets:
        raise InvalidToken(reasons.SEGMENTS)
    try:
        # The signature first: it is the shortest segment, and a token that was cut off has its
        # fault there.
        signature = b64url_decode(last)
        header = known.get(first) or read_header(parse_segment(first))
        claims = parse_segment(second)
    except NotJson:
        raise InvalidToken(reasons.NOT_JSON) from None
    except ValueError:
        raise InvalidToken(_segments_fault(octets)) from None
    return Parsed(header, first, claims, signing_input, signature)


def _segments_fault(octets: bytes) -> Reason:
    """Return what is wrong with a token that has a segment that isn't base64url."""
    # RFC 8725bis s3.14: only these characters, and exactly two dots.
    is_compact = octets.translate(None, BASE64URL) == b".."
    return reasons.ENCODING if is_compact else reasons.SEGMENTS


def read_header(members: FrozenDict) -> Header:
    """Return the header that has these members. Raises InvalidToken."""
    if not _UNSUPPORTED.isdisjoint(members):
        raise InvalidToken(reasons.HEADER_UNSUPPORTED)
    algorithm = members.get("alg")
    if type(algorithm) is not str:
        raise InvalidToken(reasons.ALGORITHM)
    kid = members.get("kid")
    if "kid" in members and (type(kid) is not str or not 0 < len(kid) <= MAX_KID):
        raise InvalidToken(reasons.KEY_ID)
    return Header(algorithm, kid, members)


def check_signature(parsed: Parsed, key: Key) -> None:
    """Check the signature, and that the algorithm is the key's. Raises InvalidToken."""
    # RFC 8725 s3.1: the caller's algorithm, never the token's. A key is bound to one, so that this
    # comparison is the whole allow-list: it refuses `none` and every other algorithm. A published
    # set may have a key of the same `kid` for the token's algorithm; that one is bound, too.
    if parsed.header.algorithm != key.algorithm.name:
        other = key.of_this_kid(parsed.header.algorithm)
        if other is None:
            raise InvalidToken(reasons.ALGORITHM)
        key = other
    if "verify" not in key.operations:
        raise InvalidToken(reasons.KEY_USE)
    if not key.verify(parsed.signing_input, parsed.signature):
        raise InvalidToken(reasons.SIGNATURE)


class TokenWriter:
    """A key, and the header of the tokens that it signs, written once: `alg`, `kid` and `typ`."""

    __slots__ = ("_begin", "_key", "header_segment", "kid")

    def __init__(self, key: Key, typ: str) -> None:
        header = {"alg": key.algorithm.name, "kid": key.kid, "typ": typ}
        self._key = key
        self.kid = key.kid
        self.header_segment = b64url_encode(to_json(header).encode())
        self._begin = self.header_segment + b"."

    def message(self, payload: str) -> bytes:
        """Return what is to be signed for a payload, the text of a JSON object."""
        return self._begin + b64url_encode(payload.encode())

    def sign(self, payload: str) -> str:
        """Return the compact JWS of a payload, the text of a JSON object. Raises ValueError."""
        message = self._begin + b64url_encode(payload.encode())
        return join(message, self._key.sign(message))

    def has_signed(self, signing_input: bytes, signature_segment: bytes) -> bool:
        """Say whether the secret made this HMAC, which has only one text. In constant time."""
        return compare_digest(b64url_encode(self._key.sign(signing_input)), signature_segment)


def join(message: bytes, signature: bytes) -> str:
    """Return the compact JWS of a message and its signature."""
    return (message + b"." + b64url_encode(signature)).decode()


def sign(claims: Mapping[str, Any], key: Key, *, typ: str) -> str:
    """Return the compact JWS of `claims` by `key`, with the header `alg`, `kid` and `typ`."""
    return TokenWriter(key, typ).sign(to_json(claims))
