"""Canonical base64url and strict JSON: one text for one value, or a `ValueError`."""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from collections import Counter
from collections.abc import Callable
from json import JSONDecoder, JSONEncoder, encoder
from math import isfinite
from typing import Any, NoReturn, TypeAlias, cast

from ..values.tokens import FrozenDict

MAX_BRACKETS = 1024  # objects and arrays in one text; thousands cost more than a signature
_MANY = MAX_BRACKETS + 1
MAX_DEPTH = 32  # objects and arrays inside each other; real tokens have two or three

_Pairs: TypeAlias = tuple[tuple[str, Any], ...]
_NESTING = frozenset((list, tuple))

BASE64URL = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
# The characters that base64 has and base64url hasn't, as numbers: `in` finds these in octets ten
# times as fast.
_PLUS, _SLASH, _PAD = b"+/="
_PADDING = (b"", b"", b"==", b"=")
# The characters that a segment may end with, by its length. The last character of an incomplete
# group has unused bits. They must be zero (RFC 4648 s3.5), or one token would have several texts. A
# group of a single character can't occur.
_LAST = (BASE64URL, b"", b"AQgw", b"AEIMQUYcgkosw048")


class NotJson(ValueError):
    """The octets of a segment are not one JSON object."""


def parse_segment(segment: bytes) -> FrozenDict:
    """Return the JSON object that is the text of `segment`.

    Raises:
        NotJson: the text isn't one JSON object.
        ValueError: the segment is no canonical base64url.

    """
    octets = b64url_decode(segment)
    try:
        return parse_object(octets)
    except ValueError:
        raise NotJson from None


def b64url_decode(segment: bytes) -> bytes:
    """Return the octets of `segment`, which must be their canonical base64url text (RFC 7515 s2).

    Raises:
        ValueError: for any other text, and for an empty one.

    """
    rest = len(segment) & 3
    if not segment or segment[-1] not in _LAST[rest]:
        raise ValueError("nothing, or not canonical base64url")
    if _PLUS in segment or _SLASH in segment or _PAD in segment:
        raise ValueError("base64, not base64url")
    # `replace` of two rare characters costs less than `translate` of all.
    text = segment.replace(b"-", b"+").replace(b"_", b"/") + _PADDING[rest]
    return a2b_base64(text, strict_mode=True)


def b64url_encode(octets: bytes) -> bytes:
    """Return the base64url text of `octets`, without padding (RFC 7515 s2)."""
    text = b2a_base64(octets, newline=False).rstrip(b"=")
    # `replace` of two rare characters costs less than `translate` of all.
    return text.replace(b"+", b"-").replace(b"/", b"_")


_encoder = JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
# The two ways to write JSON here: any value, and a string alone. Both raise ValueError or TypeError
# for what isn't JSON; a lone surrogate raises when the text is encoded.
to_json: Callable[[Any], str] = _encoder.encode
quote: Callable[[str], str] = cast("Any", encoder).encode_basestring


class MemberTwice(ValueError):
    """A member name comes twice in one object: `name`, which whoever sent the text has chosen."""

    def __init__(self, name: str) -> None:
        super().__init__("a member name comes twice")
        self.name = name


def parse_object(octets: bytes) -> FrozenDict:
    """Return the JSON object whose text is `octets`, read-only, or raise ValueError.

    Refused: any other encoding than UTF-8 and a byte order mark (RFC 8725 s3.7), a member name that
    comes twice (RFC 7519 s4), NaN and Infinity in any spelling, lone surrogates, depth over 32.
    """
    # This takes a third of the time of `count`, and stops at the limit.
    brackets = len(octets) - len(octets.replace(b"{", b"", _MANY).replace(b"[", b"", _MANY))
    if brackets > MAX_DEPTH:
        brackets = _check_nesting(octets)
    text = octets.decode().strip(" \t\n\r")
    try:
        pairs, end = _scan(text, 0)
    except StopIteration:
        raise ValueError("no JSON value") from None
    if end != len(text) or type(pairs) is not tuple:
        raise ValueError("not one JSON object")
    value = _object_of(pairs, brackets - 1)
    if "\\" in text:
        # An escaped lone surrogate can be parsed, but raises wherever the text is written later, in
        # a log or a database. So it raises here.
        to_json(value).encode()
    return value


def _object_of(pairs: _Pairs, within: int) -> FrozenDict:
    """Make an object of its members, with tuples for arrays: at most `within` are nested."""
    members = FrozenDict(pairs)
    # RFC 7519 s4: "JWT parsers MUST either reject JWTs with duplicate Claim Names or use a JSON
    # parser that returns only the lexically last duplicate member name". We reject.
    if len(members) != len(pairs):
        raise MemberTwice(Counter(name for name, _ in pairs).most_common(1)[0][0])
    if within:
        # From the end: nested values are mostly in the applications' claims, which come last.
        for name, member in reversed(pairs):
            if type(member) in _NESTING:
                within -= 1
                dict.__setitem__(members, name, _nested(member, within))
                if not within:
                    break
    return members


def _nested(member: Any, within: int) -> Any:
    if type(member) is list:
        if not within or _NESTING.isdisjoint(map(type, member)):
            return tuple(member)
        return tuple([_nested(one, within) for one in member])
    return _object_of(member, within) if type(member) is tuple else member


def _constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _float(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError("a number too large")
    return number


# The scanner gives an object as the tuple of its members, an array as a list: one pass over them
# finds names that come twice and makes nested values read-only.
_decoder = JSONDecoder(object_pairs_hook=tuple, parse_constant=_constant, parse_float=_float)
# What `raw_decode` calls; it raises StopIteration where no value begins.
_scan: Callable[[str, int], tuple[Any, int]] = cast("Any", _decoder).scan_once

# A string without an end matches to the end of the text: otherwise each quote in it would be tried
# as the beginning of a string.
_JSON_STRING = re.compile(rb'(?s)"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)')
_TO_SQUARE = bytes.maketrans(b"{}", b"[]")
_ALL_ELSE = bytes(range(256)).translate(None, b"[]{}")


def _check_nesting(octets: bytes) -> int:
    """Return how many objects and arrays there are. Brackets in strings don't count."""
    # Before the parser runs: it is recursive, and with a full stack each version of Python does
    # something else. Each round removes the innermost pairs; brackets without a partner stay.
    brackets = _JSON_STRING.sub(b"", octets).translate(_TO_SQUARE, _ALL_ELSE)
    count = brackets.count(b"[")
    if count > MAX_BRACKETS:
        raise ValueError("too many objects and arrays")
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        raise ValueError("nested too deeply, or not closed")
    return count
