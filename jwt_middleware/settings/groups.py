"""The groups of settings. Where `Refresh` or `Cookies` is None, its feature is off."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, Literal, cast

from ..keys.key_set import KeySet
from ..request.origins import is_loopback
from ..token.profiles import RFC_9068, Profile
from ..values.errors import ConfigurationError
from ..values.tokens import AccessToken, Grant, Tokens
from . import fields

if TYPE_CHECKING:
    from ..request.cookies import Jars
    from ..stores.contract import AsyncStore, Store

DAY = 86400  # seconds
MAX_ENTRIES = 1_000_000  # of the token cache; some 2.5 GB in each process
MAX_DAYS = 400  # browsers keep no cookie longer (RFC 6265bis s5.5)


@dataclass(frozen=True, kw_only=True, eq=False)
class Cookies:
    """Tokens in cookies, for browser clients whose scripts shall not hold them (RFC 10017).

    The refresh token always, the access token with `access=True`. Every request that a cookie
    vouches for must carry the `header`, unless its method is safe, and come from our own origin or
    one of `Settings.origins`.

    Args:
        name: the refresh cookie is called `__Host-`, this, and characters of the grant's id: a name
            for each login, so that a late answer about one can't touch another.
        access: whether the access token travels in a cookie, too.
        access_name: the same of the access cookie.
        access_same_site: "Strict", or "Lax" where links from other sites shall find the user logged
            in.
        header: a field that scripts of ours send, and that neither forms nor browsers by themselves
            do.

    Raises:
        ConfigurationError: names the field, what is wrong, and the way out.

    """

    name: str = "refresh_token"
    access: bool = False
    access_name: str = "access_token"
    access_same_site: Literal["Strict", "Lax"] = "Strict"
    header: str = "X-Requested-With"

    def __post_init__(self) -> None:
        # Not at the top: what a group stands for is loaded where it is on.
        from .group_checks import check_cookies

        check_cookies(self)

    def jars(self, issuer: str) -> Jars:
        """Return the cookies of both kinds of tokens. They go to the whole host, and to no other.

        A browser takes a name with `__Host-` from this very host only (RFC 6265bis s4.1.3.2): a
        sibling host of the same domain can plant any other, below any path.
        """
        from ..request.cookies import Jar, Jars

        plain = is_loopback(issuer)
        prefix, secure = ("", "") if plain else ("__Host-", "; Secure")

        def jar(name: str, same_site: str) -> Jar:
            attributes = f"Path=/; HttpOnly; SameSite={same_site}{secure}"
            return Jar(prefix=f"{prefix}{name}-", attributes=attributes)

        return Jars(
            refresh=jar(self.name, "Strict"),
            access=jar(self.access_name, self.access_same_site) if self.access else None,
        )

    def check_sizes(self, tokens: Tokens, jars: Jars) -> None:
        """Check that a browser takes the cookies. Raises ValueError."""
        jars.refresh.check_size(tokens.refresh_token)
        if jars.access is not None:
            jars.access.check_size(tokens.access_token)

    def carry(self, tokens: Tokens, jars: Jars, idle: int | None) -> Tokens:
        """Return the tokens with their cookies, and without what the cookies carry.

        `idle` is for how long the browser keeps the refresh cookie, in seconds; None: it has it.
        """
        grant_id, cookies = tokens.grant_id, []
        if idle is not None:
            cookies.append(jars.refresh.set(grant_id, tokens.refresh_token, idle))
        hidden = {"refresh_token"}
        if jars.access is not None:
            cookies.append(jars.access.set(grant_id, tokens.access_token, tokens["expires_in"]))
            hidden.add("access_token")
        members = {name: value for name, value in tokens.items() if name not in hidden}
        return Tokens(
            members | {"sid": grant_id},
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token,
            grant_id=grant_id,
            cookies=tuple(cookies),
        )


@dataclass(frozen=True, kw_only=True)
class TokenCache:
    """Verified access tokens, kept so that the next request with one costs next to nothing.

    Every hit checks again what moves with time or can be taken back: the token's times, its
    issuer's keys, ended grants, the route. Tokens of more than 4 KiB aren't kept.

    Args:
        entries: the most tokens that are kept, about 2.5 KB each; 0: none.
        hashed: keep their SHA-256 instead, so that no usable token stays in memory.

    Raises:
        ConfigurationError: names the field, what is wrong, and the way out.

    """

    # more than most processes have users at one time
    entries: int = field(default=4096, metadata={"minimum": 0, "maximum": MAX_ENTRIES})
    hashed: bool = False

    def __post_init__(self) -> None:
        if type(self.entries) is not int or not 0 <= self.entries <= MAX_ENTRIES:
            raise ConfigurationError(
                "token_cache.entries", f"must be a whole number up to {MAX_ENTRIES}", "0 keeps none"
            )
        if not isinstance(cast("Any", self.hashed), bool):
            raise ConfigurationError("token_cache.hashed", "must be True or False")


@dataclass(frozen=True, kw_only=True, eq=False)
class Former:
    """What signed refresh tokens before a change of `secret`, of keys or of the issuer's name.

    It verifies them until a date, so that the change logs nobody out, and signs nothing. Say what
    was: `secret` where there was one, else `keys`; `issuer` where its name was another. Where that
    alone was another, the present secrets are meant.

    Args:
        until: when its tokens stop being taken: a date (its first moment, UTC), a date and a time
            (UTC where no offset is given), as text or as such an object; or seconds since 1970.
            After `absolute_limit` there are none left. Earlier where it leaked.
        secret: what `Refresh.secret` was.
        keys: the keys whose private parts, or secrets, the secrets of refresh tokens were derived
            from. Where they come from the same file as `Settings.keys`, they follow it.
        issuer: what `Settings.issuer` was; "": the same as now.

    Raises:
        ConfigurationError: names the field, what is wrong, and the way out.

    """

    until: str | float | date
    secret: str | bytes | tuple[str | bytes, ...] = field(default=(), repr=False)
    keys: KeySet | None = None
    issuer: str = ""

    def __post_init__(self) -> None:
        from .group_checks import check_former  # as above

        check_former(self)

    @property
    def ends_at(self) -> float:
        """Return `until` in seconds since 1970-01-01 UTC."""
        return cast("float", self.until)

    @property
    def secrets(self) -> tuple[str | bytes, ...]:
        """Return all secrets that are given themselves."""
        return cast("tuple[str | bytes, ...]", self.secret)


@dataclass(frozen=True, kw_only=True, eq=False)
class Refresh:
    """Issue tokens: logins begin grants, and refresh tokens buy new access tokens.

    Args:
        store: where grants live: a URL, or an object with the verbs of `stores.Store` or
            `AsyncStore`.
        serve: False for a service that shares the store and issues nothing: it has no endpoints,
            needs public keys only, and asks the store for what has ended and nothing else.
        secret: what refresh tokens are signed with, at least 32 random octets; of several the first
            signs, and all verify. None: derived from the signing key.
        former: what signed them before a change, each until a date: nobody is logged out by it.
        cookies: tokens in cookies; None: in the JSON bodies and the Authorization header.
        claims_for: called with the `Grant` at every refresh, and at `issue` without claims: returns
            the application's claims, or raises `EndGrant`. Sync, or async for ASGI.
        client_id: the client of logins that don't name one (RFC 9068 requires the claim).
        path: where the endpoints `/refresh` and `/revoke` are.
        jwks_path: where the key set is, when tokens are signed asymmetrically.
        metadata: publish where the endpoints and the keys are (RFC 8414), for an issuer whose name
            is a URL. False where something else does that.
        public_url: the URL at which clients reach the root of this application, for the metadata.
            "": the issuer's host. Its origin counts as our own, as the issuer's does.
        access_lifetime: seconds; each token's is shortened by up to 5 %, so that a fleet doesn't
            refresh in step.
        idle_limit: seconds without a refresh after which a grant is gone.
        absolute_limit: seconds after the login at which a grant ends, whatever happens.
        grants_per_subject: one more login ends the oldest.
        settle: seconds for which a fresh refresh token stays as it is, 0 to 300.
        restore_limit: rotations that a failover of the store may lose without logging anyone out.
        sync_every: seconds between questions for ended grants; 0: every request asks.
        sync_limit: seconds without an answer after which `sync_failure` holds.
        sync_failure: "closed" refuses tokens of our own grants then (503), "open" lets them pass.

    Raises:
        ConfigurationError: names the field, what is wrong, and the way out.

    """

    # Not shown: a URL may hold the password of an engine.
    store: str | Store | AsyncStore = field(repr=False)
    serve: bool = True
    secret: str | bytes | tuple[str | bytes, ...] = field(default=(), repr=False)
    former: tuple[Former, ...] = ()
    cookies: Cookies | None = None
    claims_for: Callable[[Grant], Any] | None = None
    client_id: str = "first-party"
    path: str = "/auth"
    jwks_path: str = "/.well-known/jwks.json"
    metadata: bool = True
    public_url: str = ""
    # seconds; long enough to be cheap, short enough for services without a store
    access_lifetime: float = field(default=600, metadata={"minimum": 10, "maximum": DAY})
    # seconds; a week's holiday is no reason to log in anew
    idle_limit: float = field(default=7 * DAY, metadata={"minimum": 60, "maximum": MAX_DAYS * DAY})
    # seconds; the longest that a thief whose victim never comes back has
    absolute_limit: float = field(
        default=30 * DAY, metadata={"minimum": 60, "maximum": MAX_DAYS * DAY}
    )
    # more devices than anyone has, fewer than a script that logs in for ever makes
    grants_per_subject: int = field(default=100, metadata={"minimum": 1, "maximum": 10000})
    # seconds; a burst of tabs, a restart of a browser
    settle: float = field(default=60, metadata={"minimum": 0, "maximum": 300})
    restore_limit: int = field(default=8, metadata={"minimum": 0, "maximum": 64})
    # seconds; a log-out is in force everywhere after twice that
    sync_every: float = field(default=1, metadata={"minimum": 0, "maximum": 60})
    # seconds; a failover of most engines takes 30
    sync_limit: float = field(default=120, metadata={"minimum": 1, "maximum": 3600})
    sync_failure: Literal["closed", "open"] = "closed"

    def __post_init__(self) -> None:
        from .group_checks import check_refresh  # as above

        check_refresh(self)

    @property
    def secrets(self) -> tuple[str | bytes, ...]:
        """Return all secrets for refresh tokens; none: they are derived."""
        return cast("tuple[str | bytes, ...]", self.secret)


@dataclass(frozen=True, kw_only=True, eq=False)
class TrustedIssuer:
    """Another issuer whose access tokens are taken. Its keys verify its own tokens and no other's.

    Args:
        issuer: the exact `iss` of its tokens.
        audience: the name or names that its tokens call this service by.
        keys: its keys, in general `KeySet.remote()`.
        profile: which header type and which claims are required: most issuers need
            `profiles.FOREIGN`, and then an audience that their ID tokens don't have.
        scopes: the scope values that it may give; what else its tokens say opens nothing here.
            None: whatever they say.
        user: a function of the verified `AccessToken` that returns our user's name, or None for
            nobody. Without it nobody is set: another issuer's "admin" is not ours. It must be pure:
            its answer is kept with the token.

    Raises:
        ConfigurationError: names the field, what is wrong, and the way out.

    """

    issuer: str
    audience: str | tuple[str, ...]
    keys: KeySet
    profile: Profile = RFC_9068
    scopes: tuple[str, ...] | None = None
    user: Callable[[AccessToken], str | None] | None = None

    def __post_init__(self) -> None:
        for name, check in _OF_AN_ISSUER.items():
            object.__setattr__(self, name, check(name, getattr(self, name)))
        fields.check_source(self.issuer, self.keys)


_OF_AN_ISSUER: Mapping[str, Callable[[str, Any], Any]] = {
    "issuer": fields.identifier,
    "audience": fields.audience,
    "keys": fields.key_set,
    "profile": fields.profile,
    "scopes": fields.optional(fields.scopes),
    "user": fields.optional(fields.function),
}
