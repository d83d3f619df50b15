"""Verify the tokens of a former library: told apart by issuer and type, then by its own keys.

Nothing of such a token is believed before a key of the library has verified it, and nothing after
the date. One of our own tokens never passes here: its type is another, or its key.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import Any, Literal, NamedTuple, TypeAlias

from ..jose import jws
from ..jose.jwk import Key
from ..jose.jws import Parsed
from ..values import reasons
from ..values.errors import InvalidToken
from ..values.tokens import FrozenDict, Hidden
from .claims import CLAIM_CHECKS, Policy, check_type, is_identifier, missing_claims
from .former_libraries import FormerLibrary
from .profiles import Profile

FormerKind: TypeAlias = Literal["refresh", "access"]

# The issuer has told the token apart; identifiers have other rules here, where a whole number may
# be a user's.
_OF_CLAIMS = tuple(
    CLAIM_CHECKS[name] for name in CLAIM_CHECKS if name not in ("issuer", "identifiers")
)


class FormerToken(NamedTuple):
    """A verified token of the former library, in our words. Its `repr` shows nothing."""

    claims: FrozenDict  # as signed
    subject: str  # as the library names the user
    client_id: str | None
    scopes: frozenset[str]
    issued_at: float  # 0: it doesn't say
    expires_at: float
    signing_input: Hidden[bytes]  # what makes it this token; a signature may have several texts

    def __repr__(self) -> str:
        return "<FormerToken>"


class FormerTokens:
    """The rules for the tokens of one library.

    Args:
        library: what they look like.
        keys: what verifies them.
        issuer: their exact `iss`; "": they have none.
        audience: one of these is in their `aud`; none: they have no `aud`.
        leeway: seconds that clocks may differ by.
        until: seconds since 1970-01-01 UTC, from when on they are refused.
        own_issuer: our own issuer.

    """

    def __init__(
        self,
        library: FormerLibrary,
        keys: Collection[Key],
        *,
        issuer: str,
        audience: frozenset[str],
        leeway: float,
        until: float,
        own_issuer: str,
    ) -> None:
        self.library = library
        self.until = until
        self._issuer = issuer
        self._keys = tuple(keys)
        self._kids = frozenset(key.kid for key in self._keys)
        # Then only the key tells them from ours.
        self._looks_like_ours = issuer == own_issuer and "at+jwt" in library.types
        self._policies: dict[FormerKind, Policy] = {}
        kinds: tuple[tuple[FormerKind, Any], ...] = (
            ("refresh", library.refresh if library.tells_refresh else None),
            ("access", library.access),
        )
        for kind, claims in kinds:
            if claims is not None:
                profile = Profile(
                    name=library.name,
                    types=library.types,
                    required=frozenset(("exp", "sub", "aud") if audience else ("exp", "sub")),
                    claims=claims,
                    subject_claims=(library.subject_claim,),
                    client_claims=(library.client_claim,),
                    scope_claims=library.scope_claims,
                )
                self._policies[kind] = Policy(
                    issuer=issuer, audience=audience, profile=profile, leeway=leeway
                )

    def is_one(self, parsed: Parsed) -> bool:
        """Say whether a token that can't be trusted yet is meant for this library's keys."""
        claims, kid = parsed.claims, parsed.header.kid
        if claims.get("iss") != self._issuer if self._issuer else "iss" in claims:
            return False
        try:
            check_type(parsed, self._policies["access"].profile)
        except InvalidToken:
            return False
        return not self._looks_like_ours or kid is None or kid in self._kids

    def verified(self, parsed: Parsed, kind: FormerKind, now: float) -> FormerToken:
        """Return a token of this kind. Raises InvalidToken."""
        policy = self._policies.get(kind)
        if policy is None:
            raise InvalidToken(reasons.TYPE, "the former library has no such token")
        if now >= self.until:
            raise InvalidToken(reasons.EXPIRED, "the time of the former library is over")
        self._check_signature(parsed)
        claims = parsed.claims
        for missing in missing_claims(claims, policy):
            raise InvalidToken(reasons.CLAIM_MISSING, missing)
        for check in _OF_CLAIMS:
            check(claims, policy, now)
        client_id = claims.get(self.library.client_claim)
        return FormerToken(
            claims,
            self._subject(claims),
            client_id if is_identifier(client_id) else None,
            policy.reader.read(claims),
            float(claims.get("iat", 0)),
            float(claims["exp"]),
            Hidden(parsed.signing_input),
        )

    def _check_signature(self, parsed: Parsed) -> None:
        """Check that one of the keys has signed. Raises InvalidToken."""
        # Several keys, because the application may have changed its secret, and such libraries name
        # no key. Each is for one algorithm, so that the token doesn't choose how it is verified.
        kid = parsed.header.kid
        keys = [key for key in self._keys if key.kid == kid] or self._keys
        for key in keys[:-1]:
            with suppress(InvalidToken):
                return jws.check_signature(parsed, key)
        return jws.check_signature(parsed, keys[-1])

    def _subject(self, claims: FrozenDict) -> str:
        name = self.library.subject_claim
        value: Any = claims[name]
        # Former versions of these libraries wrote a user's number as such.
        text = str(value) if type(value) is int else value
        if not is_identifier(text) or not text.isprintable():
            raise InvalidToken(reasons.CLAIM_MALFORMED, name)
        return str(text)
