"""JSON Web Keys as other issuers write them: the same numbers in another spelling.

Only the spelling of numbers is forgiven, and only in sets that others publish. What comes out is
read by `jwk.from_jwk`, with all of its checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .strict_json import b64url_decode, b64url_encode

# The members that are numbers or points, and whether octets in front of them may be zero.
_MEMBERS: Mapping[str, tuple[tuple[str, bool], ...]] = {
    # RFC 7518 s2: "The representation MUST NOT [...] include extra zero-valued octets". A signed
    # big integer of Java has one in front, where the first bit is set.
    "RSA": (("n", True), ("e", True)),
    # s6.2.1.2: a coordinate has the full size, with its zeros in front.
    "EC": (("x", False), ("y", False)),
    "OKP": (("x", False),),
}
_TO_BASE64URL = str.maketrans("+/", "-_")


def as_specified(jwk: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a JWK whose numbers are spelled as RFC 7518 s6 asks.

    A member that can't be read remains as it is: `jwk.from_jwk` says what is wrong with it.
    """
    kty = jwk.get("kty")
    members = _MEMBERS.get(kty, ()) if isinstance(kty, str) else ()
    respelled = {
        name: _respelled(jwk[name], may_have_zeros=zeros) for name, zeros in members if name in jwk
    }
    return {**jwk, **respelled}


def _respelled(text: Any, *, may_have_zeros: bool) -> Any:
    if not isinstance(text, str):
        return text
    bare = text.rstrip("=")
    # Padding fills a group of four (RFC 4648 s4); a text is base64 or base64url, not both.
    if len(bare) < len(text) and (len(text) % 4 or len(text) - len(bare) > 2):
        return text
    if not set("+/").isdisjoint(bare) and not set("-_").isdisjoint(bare):
        return text
    try:
        octets = b64url_decode(bare.translate(_TO_BASE64URL).encode())
    except ValueError:
        return text
    return b64url_encode(octets.lstrip(b"\0") if may_have_zeros else octets).decode()
