"""The refresh token: a JWT of a type of its own, under a secret of its own, without user data.

Only the issuer ever reads it, so that it is signed by HMAC, and no service that verifies access
tokens has a key that would accept it. What it opens is decided by the grant in the store, never by
itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..jose import jws
from ..jose.jwk import Key, from_secret
from ..jose.strict import b64url_decode, b64url_encode
from ..values.errors import InvalidGrant, InvalidToken, Reason
from ..values.frozen import FrozenDict
from ..values.model import Grant
from .claims import time_of

TYPE = "rt+jwt"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshToken:
    """An authentic refresh token. Whether it buys anything, the grant's row says."""

    grant_id: str
    generation: int
    jti: str = field(repr=False)
    client_id: str
    scope: str
    issued_at: float
    bound_key: str | None
    agent: str | None  # keyed hash of the User-Agent that it was given to
    kid: str  # the secret that signed it
    text: str = field(repr=False)


class RefreshKeys:
    """The secrets that refresh tokens are signed with: the first signs, all verify."""

    __slots__ = ("_by_kid", "signer")

    def __init__(self, keys: Iterable[Key]) -> None:
        found = tuple(keys)
        self.signer = found[0]
        self._by_kid: Mapping[str, Key] = {key.kid: key for key in found}

    def find(self, kid: str | None) -> Key | None:
        """Return the key called `kid`, or None."""
        return self._by_kid.get(kid) if kid is not None else None

    def agent(self, user_agent: str | None, kid: str | None = None) -> str | None:
        """Return 24 bits that tell one User-Agent from another and say nothing about it.

        They are keyed by the secret called `kid`, else by the one that signs.
        """
        if user_agent is None:
            return None
        keyed = (self.find(kid) or self.signer).sign(
            b"agent\0" + user_agent.encode("utf-8", "replace")
        )
        return b64url_encode(keyed[:3]).decode()


def derive(key: Key, issuer: str) -> Key:
    """Derive the secret for refresh tokens from a signing key (HKDF, RFC 5869)."""
    # Not at the top: a service that only verifies has no use for it.
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    jwk = key.to_jwk()
    # The private exponent or scalar: the one member that stays the same in every encoding of the
    # key.
    material = b64url_decode((jwk.get("d") or jwk["k"]).encode())
    info = b"jwt_middleware refresh token secret 1\0" + issuer.encode()
    return from_secret(HKDF(SHA256(), 32, salt=None, info=info).derive(material), "HS256")


def mint(
    keys: RefreshKeys, *, issuer: str, grant: Grant, jti: str, now: float, agent: str | None
) -> str:
    """Return a refresh token of the grant's present generation."""
    claims: dict[str, Any] = {
        "iss": issuer,
        "aud": issuer,
        "sid": grant.id,
        "gen": grant.generation,
        "jti": jti,
        "client_id": grant.client_id,
        "scope": grant.scope,
        "iat": int(now),
        # The absolute end of the grant, which no rotation moves.
        "exp": int(grant.expires_at),
    }
    if agent is not None:
        claims["agent"] = agent
    if grant.bound_key is not None:
        claims["cnf"] = {"jkt": grant.bound_key}
    return jws.sign(claims, keys.signer, typ=TYPE)


def check(text: str, keys: RefreshKeys, *, issuer: str, now: float) -> RefreshToken:
    """Return the token if it is one of ours and not past its end. Raises InvalidGrant."""
    try:
        parsed = jws.parse(text)
        if parsed.header.members.get("typ") != TYPE:
            raise InvalidToken(Reason.TYPE)
        key = keys.find(parsed.header.kid)
        if key is None:
            raise InvalidToken(Reason.KEY_UNKNOWN)
        jws.check_signature(parsed, key)
    except InvalidToken as error:
        raise InvalidGrant(error.reason, error.detail) from None
    claims = parsed.claims
    # It is authentic, so that what follows only fails for another issuer's or another version's
    # token.
    if claims.get("iss") != issuer or claims.get("aud") != issuer:
        raise InvalidGrant(Reason.ISSUER)
    expires_at, issued_at = time_of(claims, "exp"), time_of(claims, "iat")
    generation = claims.get("gen")
    if expires_at is None or issued_at is None or type(generation) is not int:
        raise InvalidGrant(Reason.CLAIM_MALFORMED)
    token = RefreshToken(
        grant_id=_text(claims, "sid"),
        generation=generation,
        jti=_text(claims, "jti"),
        client_id=_text(claims, "client_id"),
        scope=_text(claims, "scope"),
        issued_at=issued_at,
        bound_key=_bound_key(claims),
        agent=claims.get("agent"),
        kid=key.kid,
        text=text,
    )
    if now >= expires_at:
        raise InvalidGrant(Reason.EXPIRED).of(token.grant_id)
    return token


def _text(claims: FrozenDict, name: str) -> str:
    value = claims.get(name)
    if type(value) is not str:
        raise InvalidGrant(Reason.CLAIM_MALFORMED, name)
    return value


def _bound_key(claims: FrozenDict) -> str | None:
    confirmation = claims.get("cnf")
    return _text(confirmation, "jkt") if type(confirmation) is FrozenDict else None


def from_text(secret: str | bytes) -> Key:
    """Return the key of a configured secret. Raises UnusableKey."""
    return from_secret(secret.encode() if isinstance(secret, str) else secret, "HS256")
