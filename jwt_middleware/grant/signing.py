"""What is made with the issuer's own keys: both tokens, and the key set that is published."""

from __future__ import annotations

from typing import Any, cast

from ..jose import jws
from ..jose.jwk import Key
from ..keys.key_set import KeySet
from ..keys.signer import ExternalKey
from ..request.cookies import Jars
from ..settings.issuing_groups import Refresh
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

    Its `repr` shows nothing: error trackers send the locals of frames.
    """

    __slots__ = ("access_token", "expires_at", "refresh_jti")

    def __init__(self, access_token: str, expires_at: int, refresh_jti: str) -> None:
        self.access_token = access_token
        self.expires_at = expires_at
        self.refresh_jti = refresh_jti

    def __repr__(self) -> str:
        return "<Made>"


class Signing:
    """Makes tokens, as long as the issuer's keys stay as they are.

    `generation` counts the changes of the keys: with another number this object is out of date.
    `refresh` are the secrets of refresh tokens.
    """

    __slots__ = (
        "_binds",
        "_cookies",
        "_external",
        "_idle",
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
        # One key signs: the settings of an issuer and later key sets are checked for it.
        key = cast("Key", key_set.signer)
        self.generation = generation
        self.key_set = key_set
        self.refresh = refresh_keys(key_set, group, settings.issuer, settings.keys.source)
        self._signer = jws.TokenWriter(key, access.ACCESS_TYPE)
        self._external = key if isinstance(key, ExternalKey) else None
        self._wording = access.beginning(settings.issuer, tuple(settings.audience))
        self._lifetime = group.access_lifetime
        self._idle = group.idle_limit
        self._binds = settings.proofs is not None and settings.proofs.access
        self._cookies = group.cookies
        self._jars = jars
        self._ports = ports

    def access_token(self, grant: Grant, scope: str, now: float) -> Flow[Made]:
        """Make an access token, signed here or by an external signer (RFC 9068 s2)."""
        refresh_jti, jti, jitter = draw()
        lifetime = min(self._lifetime, max(grant.expires_at - now, 1))
        expires_at = int(now + lifetime * (1 - access.JITTER * jitter))
        given = self._wording, grant, jti, scope, int(now), expires_at, self._binds
        if self._external is None:
            return Made(self._signer.sign(access.payload(*given)), expires_at, refresh_jti)
        # Hidden: without its signature it is still two thirds of a token.
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
        device: str | None = None,
    ) -> Tokens:
        """Return the token response, with a new refresh token, or with the one that is `kept`.

        A new one is marked with the key of the `device` that its cookie is bound to.

        Raises:
            ValueError: servers or browsers would refuse tokens of this size.

        """
        access.check_size(made.access_token)
        # RFC 6749 s6: the server "MAY issue a new refresh token". Many clients keep only the
        # members of the last answer, so that each answer has a refresh token.
        keys, jti = self.refresh, made.refresh_jti
        refresh_token = (
            kept.value
            if kept is not None
            else refresh.mint(keys, grant=grant, jti=jti, now=now, agent=agent, device=device)
        )
        # RFC 6749 s5.1: seconds from now, rounded down, so that the token isn't used after its end.
        # The last two are of draft-ietf-oauth-refresh-token-expiration-03 (of July 2026, a working
        # group's document); `refresh_token_expires_in` says to clients of today what
        # `refresh_token_timeout` says. A refresh moves the idle limit, also where it is kept: the
        # record of its use may be missing for a gate, which the rotation rule adds to the limit.
        left = max(int(int(grant.expires_at) - now), 0)
        unused = min(int(grant.idle_limit or self._idle), left)
        members: dict[str, Any] = {
            "access_token": made.access_token,
            # RFC 9449 s5: what the client must send it with.
            "token_type": "DPoP" if self._binds and grant.bound_key is not None else "Bearer",
            "expires_in": max(int(made.expires_at - now), 0),
            "refresh_token": refresh_token,
            "refresh_token_expires_in": unused,
            "refresh_token_timeout": unused,
            "authorization_expires_in": left,
        }
        if scope:
            members["scope"] = scope
        tokens = Tokens(
            members,
            access_token=made.access_token,
            refresh_token=refresh_token,
            grant_id=grant.id,
            is_session=grant.is_session,
        )
        if self._cookies is not None and self._jars is not None:
            self._cookies.check_sizes(tokens, self._jars)
        return tokens
