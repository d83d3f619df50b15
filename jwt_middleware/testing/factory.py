"""Make access tokens that a Settings accepts, and others that it must refuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import urandom
from typing import Any

from ..jose.jwk import Key
from ..keys.key_set import KeySet
from ..settings.settings import Settings, wall_clock
from ..stores.memory import MemoryStore
from ..token.profiles import RFC_9068, Profile
from ..values.errors import ConfigurationError
from .attack import Attack, Forge
from .attacks import catalogue
from .mint import present
from .page_attacks import page_attacks
from .proof_attacks import proof_attacks
from .session_attacks import session_attacks

TOKEN_LIFETIME = 600  # seconds; as long as a real access token's
ENDS_KEPT = 86400.0  # seconds that a test's store remembers an end


class TokenFactory:
    """Make tokens, and the settings that accept them. Every factory has a key of its own.

    Give your application the settings of the same factory whose tokens and attacks you send. Tokens
    of another factory are refused because of their key alone, so such a test would show nothing.

    Args:
        algorithm: what the tokens are signed with, as in `KeySet.generate`.
        issuer: the `iss` of the tokens.
        audience: the `aud` of the tokens.
        clock: seconds since 1970-01-01 UTC, for the tokens and for `settings()`.

    Raises:
        ConfigurationError: for an algorithm that isn't supported.

    To test with settings of your own: `TokenFactory.like(settings)`.

    """

    def __init__(
        self,
        *,
        algorithm: str = "ES256",
        issuer: str = "https://login.example",
        audience: str = "https://api.example",
        clock: Callable[[], float] = wall_clock,
    ) -> None:
        # Wrapped, because generated keys cause a warning at the start: other processes don't have
        # them.
        self.keys = KeySet(KeySet.generate(algorithm).keys)
        self.issuer = issuer
        self.audience = audience
        self.clock = clock
        self._like: Settings | None = None

    @classmethod
    def like(
        cls,
        settings: Settings,
        *,
        algorithm: str = "ES256",
        clock: Callable[[], float] = wall_clock,
    ) -> TokenFactory:
        """Return a factory for settings of your own; your application gets its `settings()`.

        They are yours but for the keys and the clock, which are the factory's, and for the store: a
        URL becomes "memory://". So tests need no network, no key file and no database.

        Tokens look as RFC 9068 has them. A profile of another issuer's needs the claims of that
        issuer: `factory.token(header={"typ": "JWT"}, scp="read", ...)`.

        Args:
            settings: those of your application.
            algorithm: as for the class.
            clock: as for the class: seconds since 1970-01-01 UTC.

        """
        audience = settings.audience
        made = cls(
            algorithm=algorithm,
            issuer=settings.issuer,
            audience=audience if isinstance(audience, str) else audience[0],
            clock=clock,
        )
        made._like = settings
        return made

    @property
    def key(self) -> Key:
        """Return the one key, with its private part."""
        return self.keys.keys[0]

    def settings(self, **overrides: Any) -> Settings:
        """Return settings that accept this factory's tokens; a keyword sets any other field.

        Args:
            **overrides: fields by their names; after `like` also those of a group, as in
                `Settings.replace`.

        Raises:
            ConfigurationError: for a wrong or unsafe value, as from `Settings`.

        """
        if self._like is not None:
            return self._settings_like(self._like).replace(**overrides)
        mine: dict[str, Any] = {
            "issuer": self.issuer,
            "audience": self.audience,
            "keys": self.keys,
            "clock": self.clock,
        }
        return Settings(**(mine | overrides))

    def _settings_like(self, mine: Settings) -> Settings:
        changes: dict[str, Any] = {"keys": self.keys, "clock": self.clock}
        group = mine.refresh
        if group is not None and isinstance(group.store, str):
            # An object where the URL is refused: no issuer shares it, which a test doesn't need.
            store = MemoryStore(clock=self.clock, retention=ENDS_KEPT)
            changes["refresh__store"] = "memory://" if group.serve else store
        return mine.replace(**changes)

    def claims(self, **claims: Any) -> dict[str, Any]:
        """Return the claims of a token that is good for 600 seconds (RFC 9068 s2.2).

        Args:
            **claims: other values, times in seconds since 1970-01-01 UTC; `ABSENT` leaves a claim
                out.

        """
        now = int(self.clock())
        return present(
            {
                "iss": self.issuer,
                "aud": self.audience,
                "sub": "alice",
                "client_id": "test-client",
                "iat": now,
                "exp": now + TOKEN_LIFETIME,
                "jti": urandom(16).hex(),
            },
            claims,
        )

    def header(self, **members: Any) -> dict[str, Any]:
        """Return the header of a good token (RFC 9068 s2.1).

        Args:
            **members: as in `claims`.

        """
        return present(
            {"alg": self.key.algorithm.name, "kid": self.key.kid, "typ": "at+jwt"}, members
        )

    def token(self, *, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """Return a signed token, good unless a keyword spoils it.

        Args:
            header: members that the header has besides or instead of its own; `ABSENT` drops one.
            claims: the same for the claims: `token(sub="bob", scope="read", nbf=ABSENT)`.

        Raises:
            ValueError: for a value that isn't JSON, such as NaN. (Attacks write such text by hand.)

        """
        return Forge(self.key, self.header(), self.claims()).token(header=header, **claims)

    def bearer(self, *, header: Mapping[str, Any] | None = None, **claims: Any) -> dict[str, str]:
        """Return the headers that carry `token(...)` (RFC 6750 s2.1), for any test client.

        Args:
            header: as in `token`.
            **claims: as in `token`.

        """
        return {"Authorization": f"Bearer {self.token(header=header, **claims)}"}

    def attacks(
        self, settings: Settings | None = None, *, grant_id: str = "another-grant-AAAAAAAA"
    ) -> tuple[Attack, ...]:
        """Return hostile requests, each spoilt in one way and otherwise good.

        Send them where a token is needed. They are for the default `RFC_9068` profile and for
        tokens in the Authorization header; `Attack` says what to expect. None may be answered
        with a Set-Cookie field.

        Args:
            settings: which trust this factory: then the attacks on their endpoints, on pages with
                forms and with bound tokens come, too; each has a `method`, and perhaps a `path`.
            grant_id: a login of another user than "alice", which must survive.

        Raises:
            ConfigurationError: the profile reads no token of this factory, so that attacks would
                show nothing.

        """
        if self._like is not None and not _reads_ours(self._like.profile):
            raise ConfigurationError(
                "profile",
                "reads no token of this factory, so that attacks would be refused because of it "
                "alone, and show nothing",
                "TokenFactory.like(settings.replace(profile=profiles.RFC_9068))",
            )
        forge = Forge(self.key, self.header(), self.claims())
        more: tuple[Attack, ...] = ()
        if settings is not None:
            more = (*session_attacks(forge, settings, grant_id), *page_attacks(forge, settings))
            more += (*proof_attacks(forge, settings),)
        return (*catalogue(self.key, self.header(), self.claims()), *more)


def _reads_ours(profile: Profile) -> bool:
    """Say whether a profile takes tokens as RFC 9068 has them, and asks for no more."""
    return (
        "at+jwt" in profile.types
        and profile.required <= RFC_9068.required
        and "sub" in profile.subject_claims
        and "client_id" in profile.client_claims
        and not profile.claims
        and profile.audience_claim == "aud"
    )
