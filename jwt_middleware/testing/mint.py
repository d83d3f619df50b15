"""Write tokens of any contents, good JSON or not."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from ..jose.jwk import Key
from ..jose.jws import join
from ..jose.strict_json import b64url_encode, to_json


class _Absent(Enum):
    ABSENT = "ABSENT"

    def __repr__(self) -> str:
        return self.value


ABSENT: Final = _Absent.ABSENT  # as a claim or a header member: leave it out (None is JSON's null)


def present(members: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `members` with these changes, without those that are `ABSENT`."""
    return {name: value for name, value in {**members, **changes}.items() if value is not ABSENT}


def json_octets(value: Mapping[str, Any]) -> bytes:
    """Return `value` as a token writes it. Raises ValueError for what isn't JSON."""
    return to_json(value).encode()


def seal(header: bytes, claims: bytes, key: Key) -> str:
    """Return the compact JWS (RFC 7515 s3.1) of exactly these octets, which aren't checked."""
    return sealed(b64url_encode(header) + b"." + b64url_encode(claims), key)


def sealed(message: bytes, key: Key) -> str:
    """Return the compact JWS of a signing input that is written already."""
    return join(message, key.sign(message))
