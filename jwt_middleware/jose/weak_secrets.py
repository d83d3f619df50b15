"""Secrets that can be guessed: words, patterns and other keys instead of random octets."""

from __future__ import annotations

import math
import re
from binascii import a2b_base64
from contextlib import suppress
from itertools import pairwise

from cryptography.hazmat.primitives import serialization

_OTHER_KEYS = re.compile(rb'---- ?BEGIN|^\s*(?:ssh-|ecdsa-|sk-ssh|sk-ecdsa)|"kty"')
# RFC 9562 s4: a UUID has 122 random bits at most; some versions hold a time and an address instead.
_UUID = re.compile(rb"(?i)\s*(urn:uuid:)?\{?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\}?\s*")
_MAKE_ONE = "make one: python -c 'import secrets; print(secrets.token_urlsafe(64))'"


def guessable(secret: bytes) -> str:
    """Return the reason why this certainly isn't a random secret, or "" if it may be one.

    RFC 8725 s3.5: "human-memorizable passwords MUST NOT be directly used as the key". The limits
    are measured: of 1,000 random secrets in any alphabet, none is refused. A long passphrase in
    another language than English is not found.
    """
    if _OTHER_KEYS.search(secret) or _is_der(secret) or _is_der(_without_base64(secret)):
        return (
            "this secret is an asymmetric key or a JWK in some encoding: load it as what it is "
            "(KeySet.pem, KeySet.from_jwks)"
        )
    if _UUID.fullmatch(secret):
        return f"this secret is a UUID, an identifier and no key: {_MAKE_ONE}"
    if _repeats(secret) or _counts(secret):
        return f"this secret repeats itself or counts: {_MAKE_ONE}"
    text = secret.decode("latin-1").lower()
    if _is_made_of_words(text) or _is_typed_along_a_row(text):
        return f"this secret can be guessed, it is words or a row of keys: {_MAKE_ONE}"
    return ""


def _repeats(secret: bytes) -> bool:
    counts = [secret.count(octet) for octet in set(secret)]
    entropy = -sum(n * math.log2(n / len(secret)) for n in counts)
    triples = {secret[at : at + 3] for at in range(len(secret) - 2)}
    # By these measures 32 random octets have about 157 of 160 bits, and 64 hexadecimal digits about
    # 245. Nearly all of their triples differ.
    return entropy < 96 or len(triples) < 0.75 * (len(secret) - 2)


def _counts(secret: bytes) -> bool:
    # Neighbours that are equal or next to each other: a fifth of random hexadecimal digits.
    near = sum(abs(left - right) <= 1 for left, right in pairwise(secret))
    return near > 0.6 * len(secret)


_FAVOURITES = re.compile("secret|password|passphrase|changeme|insecure|example|default|letmein")
# The pairs of letters that make up more than half of English, and a seventh of random letters.
_LETTERS = (
    "thheineranreonatenndtiesorteofedisitalarsttontngsehaasouioleve"
    "comedehiriroicneearacelichllbemasiomurcaeltalansdifohopeecprno"
    "ctusacotiltrlyncetutsssorsunlowageiewheekeeysh"
)
_PAIRS = frozenset(map("".join, zip(_LETTERS[::2], _LETTERS[1::2], strict=True)))
_BY_CHANCE = 0.14


def _is_made_of_words(text: str) -> bool:
    if _FAVOURITES.search(text):
        return True
    pairs = [text[at : at + 2] for at in range(len(text) - 1)]
    letters = [pair for pair in pairs if pair.isascii() and pair.isalpha()]
    if not set(text) - set("0123456789abcdef"):
        return False  # hexadecimal digits make no words, and pairs of a to f are common
    expected = len(letters) * _BY_CHANCE
    # Six standard deviations above what random letters have; English has seven and more.
    spread = 6 * math.sqrt(expected * (1 - _BY_CHANCE))
    return sum(pair in _PAIRS for pair in letters) > max(expected + spread, 6)


_ROW = "qwertyuiopasdfghjklzxcvbnm"
_RUN = 4  # neighbouring keys in a row; random letters have such a run once in 20,000 places


def _is_typed_along_a_row(text: str) -> bool:
    runs = sum(text[at : at + _RUN] in _ROW for at in range(len(text) - _RUN + 1))
    return runs > len(text) / 3


def _without_base64(secret: bytes) -> bytes:
    """Return the octets of a PEM without its first and last line; b"" if it isn't base64."""
    try:
        return a2b_base64(secret)
    except ValueError:
        return b""


def _is_der(secret: bytes) -> bool:
    # X.690 s8.1.3: a SEQUENCE, two octets of length, and as many octets: an encrypted key, too.
    if secret[:2] == b"\x30\x82" and int.from_bytes(secret[2:4], "big") == len(secret) - 4:
        return True
    for load in (
        serialization.load_der_public_key,
        lambda data: serialization.load_der_private_key(data, None),
    ):
        with suppress(Exception):  # for other input than DER the exception differs by version
            load(secret)
            return True
    return False
