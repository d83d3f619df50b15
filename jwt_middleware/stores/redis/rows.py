"""The rows of grants in Redis, octet by octet, and the mark of a mass end.

A row: generation, rotated_at, created_at, expires_at, 6 octets each, times in milliseconds. Then in
UTF-8 parent, subject, client_id, scope, claims as JSON and, if any, bound_key, with an octet 255
between two; 254 is a parent that isn't known. Once the grant has ended: 253, ended_at in decimal,
255, the reason. These three octets are in no UTF-8 (RFC 3629 s3).

The former version would read a further field of a row as `bound_key`. So the further fields of a
grant have a key of their own beside the row, in the same slot and with the same expiry, and only
where one of them differs from its default: last_used_at and idle_limit in milliseconds, 6 octets
each, all 255 where there is none; then an octet of flags: 1 for a session, 2 if a label in UTF-8
follows.

The mark: `before` and `made_at` in milliseconds, in decimal, with a space between.
"""

from __future__ import annotations

from hashlib import sha1
from struct import Struct, error
from typing import Any, Final

from ...jose.strict_json import to_json
from ...values.errors import StoreUnavailable
from ...values.tokens import Grant
from ..contract import Mark
from ..grant_rows import has_more, read_claims

_HEAD: Final = Struct(">HIHIHIHI")
_MORE_HEAD: Final = Struct(">HIHIB")
_NO_NUMBER: Final = b"\xff" * 6
_IS_SESSION, _HAS_LABEL = 1, 2
_BETWEEN, _UNKNOWN, _ENDED = b"\xff", b"\xfe", b"\xfd"
# The three octets decoded with "surrogateescape", so that one call decodes a row.
_BETWEEN_TEXT, _UNKNOWN_TEXT, _ENDED_TEXT = "\udcff", "\udcfe", "\udcfd"


def milliseconds(seconds: float) -> int:
    """Return the nearest number of milliseconds."""
    return round(1000 * seconds)


def digest(subject: str) -> str:
    """Return the name of a subject's index, as the script "end" computes it.

    It keeps the key short, however long the subject is. It is SHA-1, because scripts have no other
    hash. If two subjects shared a digest, ending the grants of one would end those of the other.
    """
    return sha1(subject.encode(), usedforsecurity=False).hexdigest()[:22]


def six(number: int) -> bytes:
    """Return a number in 6 octets, as in a row."""
    return number.to_bytes(6, "big")


def parent_field(parent: str | None) -> bytes:
    """Return the field `parent` of a row."""
    return _UNKNOWN if parent is None else parent.encode()


def packed(grant: Grant) -> bytes:
    """Return the row of a grant that hasn't ended."""
    times = (grant.rotated_at, grant.created_at, grant.expires_at)
    head = b"".join(map(six, (grant.generation, *map(milliseconds, times))))
    claims = to_json(grant.claims) if grant.claims else ""
    fields = [grant.subject, grant.client_id, grant.scope, claims]
    if grant.bound_key is not None:
        fields.append(grant.bound_key)
    return head + _BETWEEN.join([parent_field(grant.parent), *map(str.encode, fields)])


def packed_more(grant: Grant) -> bytes:
    """Return the further fields of a grant; nothing where all have their defaults."""
    if not has_more(grant):
        return b""
    numbers = (grant.last_used_at, grant.idle_limit)
    head = b"".join(_NO_NUMBER if one is None else six(milliseconds(one)) for one in numbers)
    flags = _IS_SESSION * grant.is_session + _HAS_LABEL * (grant.label is not None)
    return head + bytes((flags,)) + (grant.label or "").encode()


def unpacked(grant_id: str, row: bytes, start: int = 0, more: bytes | None = None) -> Grant:
    """Return a grant from its row and further fields. Raises StoreUnavailable if it is damaged."""
    try:
        extras: dict[str, Any] = {} if more is None else _unpacked_more(more)
        a, generation, b, rotated, c, created, d, expires = _HEAD.unpack_from(row, start)
        text = row[start + 24 :].decode("utf-8", "surrogateescape")
        text, _, ending = text.partition(_ENDED_TEXT)
        parent, subject, client_id, scope, claims, *key = text.split(_BETWEEN_TEXT)
        ended_at, _, reason = ending.partition(_BETWEEN_TEXT)
        return Grant(
            id=grant_id,
            subject=subject,
            client_id=client_id,
            scope=scope,
            claims=read_claims(claims),
            bound_key=key[0] if key else None,
            generation=(a << 32) + generation,
            parent=None if parent == _UNKNOWN_TEXT else parent,
            rotated_at=((b << 32) + rotated) / 1000,
            created_at=((c << 32) + created) / 1000,
            expires_at=((d << 32) + expires) / 1000,
            ended_at=int(ended_at) / 1000 if ending else None,
            end_reason=reason if ending else None,
            **extras,
        )
    except (ValueError, error):
        raise StoreUnavailable("a damaged row") from None


def _unpacked_more(more: bytes) -> dict[str, Any]:
    a, used, b, idle, flags = _MORE_HEAD.unpack_from(more)
    return {
        "last_used_at": None if more[:6] == _NO_NUMBER else ((a << 32) + used) / 1000,
        "idle_limit": None if more[6:12] == _NO_NUMBER else ((b << 32) + idle) / 1000,
        "is_session": bool(flags & _IS_SESSION),
        "label": more[_MORE_HEAD.size :].decode() if flags & _HAS_LABEL else None,
    }


def unpacked_mark(text: bytes | None) -> Mark | None:
    """Return the mark of a mass end. Raises StoreUnavailable if it is damaged."""
    if text is None:
        return None
    try:
        before, made_at = map(int, text.split(b" "))
    except ValueError:
        raise StoreUnavailable("a damaged mark") from None
    return Mark(before / 1000, made_at / 1000)
