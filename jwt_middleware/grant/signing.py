"""What is made of the issuer's own keys: both tokens, and the key set that is published."""

from __future__ import annotations

from typing import Any, cast

from ..jose import jws
from ..jose.jwk import Key
from ..keys.key_set import KeySet
from ..keys.signer import ExternalKey
from ..request.cookies import Jars
from ..settings.groups import Refresh
from ..settings.refresh_secrets import refresh_keys
from ..settings.settings import Settings
from ..token import access, refresh
from ..values.errors import Unavailable
from ..values.flows import Flow, ask
from ..values.randomness import draw
from ..values.tokens import Grant, Hidden, Tokens
from .ports import Ports


class Made:
    """An access token, its `exp`, and the `jti` of the refresh token beside it.

    It shows nothing: error trackers send what is in frames.
    """

    __slots__ = ("access_token", "expires_at", "refresh_jti")

    def __init__(self, access_token: str, expires_at: int, refresh_jti: str) -> None:
        self.access_token = access_token
        self.expires_at = expires_at
        self.refresh_jti = refresh_jti

    def __repr__(self) -> str:
        return "<Made>"


class Signing:
    """What tokens are made with, as long as the issuer's keys stay as they are.

    `generation` is the number of the keys' last change: with another number this is out of date.
    `refresh` are the secrets of refresh tokens.
    """

    __slots__ = (
        "_cookies",
        "_external",
        "_jars",
        "_lifetime",
        "_ports",
        "_signer",
        "_wording",
        "generation",
        "key_set",
        "refresh",
    )

    def __init__(
        self,
        key_set: KeySet,
        generation: int,
        settings: Settings,
        group: Refresh,
        ports: Ports,
        jars: Jars | None,
    ) -> None:
        # There is one that signs: settings that issue are checked for it, and so are later sets.
        key = cast("Key", key_set.signer)
        self.generation = generation
        self.key_set = key_set
        self.refresh = refresh_keys(key_set, group, settings.issuer, settings.keys.source)
        self._signer = jws.TokenWriter(key, access.ACCESS_TYPE)
        self._external = key if isinstance(key, ExternalKey) else None
        self._wording = access.beginning(settings.issuer, tuple(settings.audience))
        self._lifetime = group.access_lifetime
        self._cookies = group.cookies
        self._jars = jars
        self._ports = ports

    def access_token(self, grant: Grant, scope: str, now: float) -> Flow[Made]:
        """Make an access token, signed here, or by what has the key (RFC 9068 s2)."""
        refresh_jti, jti, jitter = draw()
        lifetime = min(self._lifetime, max(grant.expires_at - now, 1))
        expires_at = int(now + lifetime * (1 - access.JITTER * jitter))
        given = self._wording, grant, jti, scope, int(now), expires_at
        if self._external is None:
            return Made(self._signer.sign(access.payload(*given)), expires_at, refresh_jti)
        # Hidden, for unsigned it is two thirds of a token.
        message = Hidden(self._signer.message(access.payload(*given)))
        try:
            signature = yield from ask(self._ports.sign, self._external, message)
        except Unavailable as error:
            raise error.of(grant.id) from None
        return Made(jws.join(message.value, signature), expires_at, refresh_jti)

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

        Raises:
            ValueError: a server or a browser wouldn't take tokens of this size.

        """
        access.check_size(made.access_token)
        # RFC 6749 s6: the server "MAY issue a new refresh token". Many clients keep only what an
        # answer says, so that it always says one.
        refresh_token = (
            kept.value
            if kept is not None
            else refresh.mint(self.refresh, grant=grant, jti=made.refresh_jti, now=now, agent=agent)
        )
        # RFC 6749 s5.1. In seconds from now, rounded down: a client must not rely on the last one.
        members: dict[str, Any] = {
            "access_token": made.access_token,
            "token_type": "Bearer",
            "expires_in": max(int(made.expires_at - now), 0),
            "refresh_token": refresh_token,
        }
        if scope:
            members["scope"] = scope
        tokens = Tokens(
            members,
            access_token=made.access_token,
            refresh_token=refresh_token,
            grant_id=grant.id,
        )
        if self._cookies is not None and self._jars is not None:
            self._cookies.check_sizes(tokens, self._jars)
        return tokens
