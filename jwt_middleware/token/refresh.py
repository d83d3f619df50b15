"""The refresh token: a JWT of a type of its own, under a secret of its own, without user data.

Only the issuer ever reads it, so that it is signed by HMAC, and no service that verifies access
tokens has a key that would accept it. What it opens is decided by the grant in the store, never by
itself.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..jose import jws
from ..jose.jwk import Key, from_secret
from ..jose.strict import b64url_decode, b64url_encode, quote, to_json
from ..values.errors import InvalidGrant, InvalidToken, Reason
from ..values.frozen import FrozenDict
from ..values.model import Grant

TYPE = "rt+jwt"


class RefreshToken(NamedTuple):
    """An authentic refresh token. Whether it buys anything, the grant's row says."""

    grant_id: str
    generation: int
    jti: str
    client_id: str
    scope: str
    issued_at: float
    bound_key: str | None
    agent: str | None  # keyed hash of the User-Agent that it was given to
    kid: str  # the secret that signed it

    def __repr__(self) -> str:
        return f"<RefreshToken of grant {self.grant_id}, generation {self.generation}>"


class RefreshKeys:
    """The secrets of one issuer's refresh tokens: the first signs, all verify."""

    __slots__ = ("_by_kid", "beginning", "headers", "issuer", "signer", "writer")

    def __init__(self, keys: Iterable[Key], issuer: str) -> None:
        found = tuple(keys)
        self.issuer = issuer
        self.signer = found[0]
        self._by_kid: Mapping[str, Key] = {key.kid: key for key in found}
        # What is the same in every token: to write once, and to recognize.
        writers = [jws.Signer(key, TYPE) for key in found]
        self.writer = writers[0]
        self.beginning = to_json({"iss": issuer, "aud": issuer}).removesuffix("}")
        segments = (writer.header_segment for writer in writers)
        self.headers = {segment: jws.read_header(segment) for segment in segments}

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


# What every refresh token of ours has.
_MEMBERS = {
    "exp": int,
    "sid": str,
    "gen": int,
    "jti": str,
    "client_id": str,
    "scope": str,
    "iat": int,
}
_TYPES = [*_MEMBERS.values()]


def mint(keys: RefreshKeys, *, grant: Grant, jti: str, now: float, agent: str | None) -> str:
    """Return a refresh token of the grant's present generation."""
    # `exp` is the absolute end of the grant, which no rotation moves.
    claims = (
        f'{keys.beginning},"sid":{quote(grant.id)},"gen":{grant.generation},"jti":{quote(jti)},'
        f'"client_id":{quote(grant.client_id)},"scope":{quote(grant.scope)},'
        f'"iat":{int(now)},"exp":{int(grant.expires_at)}'
    )
    if agent is not None:
        claims += f',"agent":{quote(agent)}'
    if grant.bound_key is not None:
        claims += f',"cnf":{{"jkt":{quote(grant.bound_key)}}}'
    return keys.writer.sign(claims + "}")


def check(text: str, keys: RefreshKeys, *, now: float) -> RefreshToken:
    """Return the token if it is one of ours and not past its end. Raises InvalidGrant."""
    try:
        parsed = jws.parse(text, keys.headers)
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
    if claims.get("iss") != keys.issuer or claims.get("aud") != keys.issuer:
        raise InvalidGrant(Reason.ISSUER)
    members: list[Any] = [claims.get(name) for name in _MEMBERS]
    if [*map(type, members)] != _TYPES:
        raise InvalidGrant(Reason.CLAIM_MALFORMED)
    expires_at, grant_id, generation, jti, client_id, scope, issued_at = members
    confirmation = claims.get("cnf")
    token = RefreshToken(
        grant_id=grant_id,
        generation=generation,
        jti=jti,
        client_id=client_id,
        scope=scope,
        issued_at=issued_at,
        bound_key=confirmation.get("jkt") if type(confirmation) is FrozenDict else None,
        agent=claims.get("agent"),
        kid=key.kid,
    )
    if now >= expires_at:
        raise InvalidGrant(Reason.EXPIRED).of(token.grant_id)
    return token


def from_text(secret: str | bytes) -> Key:
    """Return the key of a configured secret. Raises UnusableKey."""
    return from_secret(secret.encode() if isinstance(secret, str) else secret, "HS256")
