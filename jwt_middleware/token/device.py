"""Proofs by the key of a device (DBSC, W3C draft), and what we write so that nothing is stored.

A browser makes a key for a login, in its TPM, and signs a challenge of ours with it. Challenges,
the browser's session and the cookie of a device that has signed are texts with an HMAC, under the
secrets of refresh tokens: notes to ourselves. Each has a purpose, which the HMAC is about, too, so
that none passes for another; and each ends with the time until which it holds.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import cast

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ..jose import jws
from ..jose.binding import UnusableKey
from ..jose.jwk import Key, from_jwk, from_object, is_private
from ..jose.jws import Parsed
from ..jose.strict_json import b64url_decode, b64url_encode
from ..values import reasons
from ..values.errors import InvalidProof, InvalidToken
from ..values.tokens import FrozenDict
from .proof import MAX_PROOF
from .refresh import RefreshKeys

DEVICE_TYPE = "dbsc+jwt"
# The draft has RS256, too; an EC key's public part is short enough to travel in an identifier.
DEVICE_ALGORITHM = "ES256"
MAX_NOTE = 512  # characters; a grant's id has 23, a device's key 44, an HMAC 22
_MAC = 16  # octets of the HMAC: nobody guesses 128 bits


def write_note(keys: RefreshKeys, purpose: str, *parts: str, until: float, about: str = "") -> str:
    """Return the parts, which have no dot, as one text of ours that is good before `until`.

    `about` isn't in the text: whoever reads it must know that it is about the same.
    """
    text = ".".join((*parts, str(int(until))))
    return f"{text}.{_tag(keys.signer, purpose, about, text).decode()}"


def read_note(
    keys: RefreshKeys, purpose: str, note: str, now: float, *, about: str = ""
) -> list[str] | None:
    """Return the parts of a text of ours; None: it isn't ours, or its time is over."""
    if len(note) > MAX_NOTE or not note.isascii():
        return None
    text, _, tag = note.rpartition(".")
    came = tag.encode()
    if not any(
        compare_digest(came, _tag(key, purpose, about, text)) for key in keys.verifying(now)
    ):
        return None
    *parts, until = text.split(".")
    return parts if now < int(until) else None


def _tag(key: Key, purpose: str, about: str, text: str) -> bytes:
    # The secret makes other HMACs, too, and none of a text like this.
    message = f"device {purpose} 1\0{about}\0{text}".encode()
    return b64url_encode(key.sign(message)[:_MAC])


def registered(text: str) -> tuple[str, str]:
    """Return the key that a proof brings, and the challenge that it signs. Raises InvalidProof."""
    parsed = _well_formed(text)
    jwk = parsed.header.members.get("jwk")
    if type(jwk) is not FrozenDict or is_private(jwk):
        raise InvalidProof(reasons.PROOF_KEY)
    try:
        key = from_jwk(jwk, algorithm=DEVICE_ALGORITHM)
    except UnusableKey as error:
        raise InvalidProof(reasons.PROOF_KEY, str(error)) from None
    challenge = _signed(parsed, key)
    public = cast("ec.EllipticCurvePublicKey", key.public)
    point = public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return b64url_encode(point).decode(), challenge


def challenge_signed(text: str, device: str) -> str:
    """Return the challenge that a device's key has signed. Raises InvalidProof."""
    # Such a proof brings no key: it is by the one that was registered.
    point = b64url_decode(device.encode())
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    return _signed(_well_formed(text), from_object(public, DEVICE_ALGORITHM))


def _well_formed(text: str) -> Parsed:
    if len(text) > MAX_PROOF:
        raise InvalidProof(reasons.PROOF_MALFORMED, "too long")
    try:
        parsed = jws.parse(text)
    except InvalidToken:
        raise InvalidProof(reasons.PROOF_MALFORMED) from None
    # What signs a proof must sign nothing else that passes for one.
    if parsed.header.members.get("typ") != DEVICE_TYPE:
        raise InvalidProof(reasons.PROOF_TYPE)
    if parsed.header.algorithm != DEVICE_ALGORITHM:
        raise InvalidProof(reasons.PROOF_ALGORITHM)
    return parsed


def _signed(parsed: Parsed, key: Key) -> str:
    try:
        jws.check_signature(parsed, key)
    except InvalidToken:
        raise InvalidProof(reasons.PROOF_SIGNATURE) from None
    challenge = parsed.claims.get("jti")
    if type(challenge) is not str:
        raise InvalidProof(reasons.PROOF_CLAIM)
    return challenge
