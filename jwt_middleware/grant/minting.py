"""The tokens of an answer: what they are made with, and how. Who gets any is decided elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn, cast

from ..jose import jws
from ..jose.jwk import Key
from ..keys.key_set import KeySet
from ..keys.signer import ExternalKey
from ..settings.groups import Refresh
from ..settings.refresh_secrets import refresh_keys
from ..settings.settings import Settings
from ..token import access, refresh
from ..token.access import Mint
from ..values.decisions import Ask, Step
from ..values.errors import Unavailable
from ..values.randomness import draw
from ..values.tokens import Grant, Hidden, Tokens

Sign = Callable[[ExternalKey, Hidden[bytes]], Any]


class Made(NamedTuple):
    """An access token, and the `jti` of the refresh token beside it: they are drawn at once."""

    access_token: str
    expires_at: int
    refresh_jti: str


class Signing:
    """What tokens are made with, as long as the keys stay as they are.

    `sign` asks for a signature by a key that is elsewhere.
    """

    __slots__ = (
        "_cookies",
        "_external",
        "_jars",
        "_lifetime",
        "_mint",
        "_sign",
        "refresh",
    )

    def __init__(self, keys: KeySet, settings: Settings, group: Refresh, sign: Sign) -> None:
        issuer = settings.issuer
        # There is one: settings that issue are checked for it, and so is what follows.
        signer = cast("Key", keys.signer)
        self.refresh = refresh_keys(keys, group, issuer, settings.keys.source)
        self._mint = Mint(signer, issuer=issuer, audience=tuple(settings.audience))
        self._external = signer if isinstance(signer, ExternalKey) else None
        self._sign = sign
        self._lifetime = group.access_lifetime
        self._cookies = group.cookies
        if group.cookies is not None:
            self._jars = group.cookies.jars(issuer)

    def access_token(
        self, grant: Grant, scope: str, now: float, then: Callable[[Made], Step]
    ) -> Step:
        """Go on with an access token, signed here, or by what has the key."""
        refresh_jti, jti, jitter = draw()
        lifetime = min(self._lifetime, max(grant.expires_at - now, 1))
        external = self._external
        if external is None:
            token, expires_at = self._mint.token(
                grant, jti=jti, scope=scope, now=now, lifetime=lifetime, jitter=jitter
            )
            return then(Made(token, expires_at, refresh_jti))
        octets, expires_at = self._mint.message(
            grant, jti=jti, scope=scope, now=now, lifetime=lifetime, jitter=jitter
        )

        message = Hidden(octets)  # two thirds of a token

        def failed(error: Unavailable) -> NoReturn:
            raise error.of(grant.id)

        return Ask(
            self._sign,
            (external, message),
            lambda signature: then(Made(jws.join(octets, signature), expires_at, refresh_jti)),
            failed,
        )

    def tokens(
        self,
        grant: Grant,
        made: Made,
        scope: str,
        now: float,
        *,
        agent: str | None,
        kept: Hidden[str] | None = None,
    ) -> Tokens:
        """Return what the client gets: a new refresh token, or again the one that is `kept`.

        Raises ValueError for tokens that nobody would take.
        """
        access.check_size(made.access_token)
        # RFC 6749 s5.1. In seconds from now, rounded down: a client must not rely on the last one.
        members: dict[str, Any] = {
            "access_token": made.access_token,
            "token_type": "Bearer",
            "expires_in": max(int(made.expires_at - now), 0),
        }
        # RFC 6749 s6: the server "MAY issue a new refresh token". Many clients keep only what an
        # answer says, so that it always says one.
        if kept is not None:
            refresh_token = kept.value
        else:
            refresh_token = refresh.mint(
                self.refresh, grant=grant, jti=made.refresh_jti, now=now, agent=agent
            )
        members["refresh_token"] = refresh_token
        if scope:
            members["scope"] = scope
        tokens = Tokens(
            members,
            access_token=made.access_token,
            refresh_token=refresh_token,
            grant_id=grant.id,
        )
        if self._cookies is not None:
            self._cookies.check_sizes(tokens, self._jars)
        return tokens
