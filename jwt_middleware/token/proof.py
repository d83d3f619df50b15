"""DPoP proofs (RFC 9449): a JWT by which a client shows, for one request, that it holds a key.

Read first, with the key that the proof itself brings: that shows only that somebody holds this key.
Then compared with the request, and with the key that a token or a grant is bound to. Nothing here
waits; whether a proof came before is asked elsewhere, by its `replay_key`, and last.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import rsa

from ..jose import jws
from ..jose.binding import UnusableKey
from ..jose.jwk import Key, from_jwk, is_private, thumbprint
from ..jose.jws import Header, Parsed
from ..jose.strict_json import b64url_encode
from ..values import reasons
from ..values.errors import InvalidProof, InvalidToken
from ..values.reasons import Reason
from ..values.tokens import FrozenDict
from .claims import time_of
from .target_uri import Target, is_at

DPOP_TYPE = "dpop+jwt"
MAX_PROOF = 4096  # octets: that of an RSA key of 4096 bits has 1,900
MAX_JTI = 256  # characters; RFC 9449 s11.1: "large jti values" fill a memory of what came
MAX_NONCE = 256  # characters
MAX_HOLDER_BITS = 4096  # the key is the sender's, and each check of a larger one takes longer
MOST_HOLDERS = 1024  # of proofs that were good, each with its key, about 3 KB

# Without RSA: a check costs a stranger nothing and us as much as his key is large.
PROVED_BY = ("ES256", "ES384", "ES512", "Ed25519", "EdDSA")


class _Holder(NamedTuple):
    """Who signs proofs with one header: its key."""

    header: Header
    key: Key
    thumbprint: str


class Proof(NamedTuple):
    """What an authentic proof says. Whether it is of this request isn't known yet.

    `issued_at` is in seconds since 1970-01-01 UTC.
    """

    jti: str
    method: str
    url: str
    issued_at: float
    token_hash: str | None
    nonce: str | None
    header_segment: bytes
    holder: _Holder

    @property
    def thumbprint(self) -> str:
        """Return the thumbprint of the key that has signed it (RFC 7638)."""
        return self.holder.thumbprint

    @property
    def replay_key(self) -> str:
        """Return what this proof is known by, once it was used: of its key and its `jti` alone.

        Another spelling of the method or of the URL makes no other proof of it.
        """
        return sha256(f"{self.holder.thumbprint}\0{self.jti}".encode()).hexdigest()


class ProofReader:
    """Reads proofs. The keys of those that were good are kept, so that they aren't read again.

    Args:
        algorithms: names of asymmetric algorithms; a proof by another one is refused.

    """

    def __init__(self, algorithms: Sequence[str] = PROVED_BY) -> None:
        self.algorithms = tuple(algorithms)
        self._holders: OrderedDict[bytes, _Holder] = OrderedDict()
        self._headers: dict[bytes, Header] = {}

    def read(self, text: str) -> Proof:
        """Return what a proof says, its signature being good. Raises InvalidProof.

        RFC 9449 s4.3, checks 2 to 7.
        """
        if len(text) > MAX_PROOF:
            raise InvalidProof(reasons.PROOF_MALFORMED, "too long")
        try:
            parsed = jws.parse(text, self._headers)
            holder = self._holders.get(parsed.header_segment) or self._holder(parsed.header)
            jws.check_signature(parsed, holder.key)
        except InvalidToken as error:
            raise InvalidProof(_AS_OF_PROOFS.get(error.reason, reasons.PROOF_MALFORMED)) from None
        return _said(parsed, holder)

    def keep(self, proof: Proof) -> None:
        """Keep the key of a proof that was good in every way, for the next one with its header."""
        # Only such a one: a stranger could otherwise push out the others with keys that he makes.
        holders, segment = self._holders, proof.header_segment
        if segment in holders:
            return
        while len(holders) >= MOST_HOLDERS:
            try:
                gone, _ = holders.popitem(last=False)
            except KeyError:  # another thread was faster
                break
            self._headers.pop(gone, None)
        holders[segment] = proof.holder
        self._headers[segment] = proof.holder.header

    def _holder(self, header: Header) -> _Holder:
        """Return the key that a proof brings in its header. Raises InvalidProof."""
        typ, jwk = header.members.get("typ"), header.members.get("jwk")
        # RFC 9449 s4.3: "The typ JOSE Header Parameter has the value dpop+jwt"; RFC 7515 s4.1.9
        # says how it is compared.
        if type(typ) is not str or typ.lower().removeprefix("application/") != DPOP_TYPE:
            raise InvalidProof(reasons.PROOF_TYPE)
        # s4.2: "MUST NOT be none or an identifier for a symmetric algorithm".
        if header.algorithm not in self.algorithms:
            raise InvalidProof(reasons.PROOF_ALGORITHM)
        # s4.3: "The jwk JOSE Header Parameter does not contain a private key".
        if type(jwk) is not FrozenDict or is_private(jwk):
            raise InvalidProof(reasons.PROOF_KEY)
        try:
            key = from_jwk(jwk, algorithm=header.algorithm)
        except UnusableKey as error:
            raise InvalidProof(reasons.PROOF_KEY, str(error)) from None
        if isinstance(key.public, rsa.RSAPublicKey) and key.public.key_size > MAX_HOLDER_BITS:
            raise InvalidProof(reasons.PROOF_KEY, f"more than {MAX_HOLDER_BITS} bits")
        return _Holder(header, key, thumbprint(jwk))


_AS_OF_PROOFS: Mapping[Reason, Reason] = {
    reasons.SIGNATURE: reasons.PROOF_SIGNATURE,
    reasons.ALGORITHM: reasons.PROOF_ALGORITHM,
    reasons.KEY_USE: reasons.PROOF_KEY,
}


def _said(parsed: Parsed, holder: _Holder) -> Proof:
    claims = parsed.claims
    get = claims.get
    jti, method, url, issued_at = get("jti"), get("htm"), get("htu"), time_of(claims, "iat")
    hashed, nonce = get("ath"), get("nonce")
    # RFC 9449 s4.3: "all required claims per Section 4.2 are contained in the JWT".
    if not (type(jti) is str and type(method) is str and type(url) is str):
        raise InvalidProof(reasons.PROOF_CLAIM)
    if issued_at is None:
        raise InvalidProof(reasons.PROOF_CLAIM)
    if type(hashed) is not str and "ath" in claims:
        raise InvalidProof(reasons.PROOF_CLAIM)
    if type(nonce) is not str and "nonce" in claims:
        raise InvalidProof(reasons.PROOF_CLAIM)
    if not 0 < len(jti) <= MAX_JTI or (nonce is not None and len(nonce) > MAX_NONCE):
        raise InvalidProof(reasons.PROOF_CLAIM, "empty, or too long")
    return Proof(jti, method, url, issued_at, hashed, nonce, parsed.header_segment, holder)


def check_request(proof: Proof, method: str, roots: tuple[Target, ...], path: str) -> None:
    """Check that a proof is of this request: its method, and its path below one of our roots.

    Raises InvalidProof. RFC 9449 s4.3, checks 8 and 9.
    """
    if proof.method != method:  # RFC 9110 s9.1: methods are case-sensitive
        raise InvalidProof(reasons.PROOF_METHOD)
    if not is_at(proof.url, roots, path):
        raise InvalidProof(reasons.PROOF_TARGET)


def check_age(proof: Proof, now: float, *, lifetime: float, leeway: float) -> None:
    """Check that a proof was made within `lifetime` seconds. Raises InvalidProof (s4.3, 11)."""
    if not now - lifetime - leeway < proof.issued_at <= now + leeway:
        raise InvalidProof(reasons.PROOF_AGE)


def check_token(proof: Proof, hashed: str, bound_key: str) -> None:
    """Check that a proof is about an access token, by the key that the token is bound to.

    `hashed` is the token's `token_hash`. Raises InvalidProof. RFC 9449 s4.3, check 12.
    """
    if proof.token_hash != hashed:  # who sends the proof has sent the token, too: no secret
        raise InvalidProof(reasons.PROOF_TOKEN)
    if proof.holder.thumbprint != bound_key:  # both are public
        raise InvalidProof(reasons.PROOF_OTHER_KEY)


def token_hash(access_token: str) -> str:
    """Return the claim `ath` for an access token: its SHA-256 in base64url (RFC 9449 s4.2)."""
    return b64url_encode(sha256(access_token.encode("ascii")).digest()).decode()
