"""The groups of settings for what issues tokens: grants, their limits, and cookies.

Each field has its default, its check and what its bounds are for. Where `Refresh` or `Cookies` is
None, its feature is off. The docstring of a group says what each field means; the JSON Schema takes
its descriptions from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal, cast

from ..keys.key_set import KeySet
from ..request.cookies import Jar, Jars
from ..request.origins import is_loopback
from ..stores.contract import AsyncStore, Store
from ..values.arrays import Several
from ..values.tokens import Grant, Tokens
from . import field_checks, header_names
from .checking import (
    check_fields,
    checked_by,
    choice,
    count,
    each,
    is_a,
    optional,
    seconds,
    setting,
)
from .consistency import OF_COOKIES, OF_FORMER, OF_REFRESH, check_together
from .migration_group import Migration

DAY = 86400  # seconds
_BROWSERS = "browsers keep no cookie longer than 400 days"  # RFC 6265bis s5.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Cookies:
    """Tokens in cookies, for browser clients whose scripts must not hold them (RFC 10017).

    The refresh token is always in a cookie, the access token only with `access=True`. Unless its
    method is safe, a request that relies on a cookie must carry the `header`, and come from our own
    origin or one of `Settings.origins`. A WebSocket handshake must only come from such an origin.
    With `forms` a form of our own pages needs no header.

    Args:
        name: the refresh cookie's name is `__Host-`, then this, then characters of the grant's id.
            So each login has its own name, and a late answer to one can't change another.
        access: whether the access token travels in a cookie, too.
        access_name: the same for the access cookie.
        access_same_site: "Strict", or "Lax" where the user must be logged in after following a link
            from another site.
        header: a header field that our scripts send, and that forms and browsers by themselves
            don't.
        device_bound: experimental: the login's answer offers browsers that know it to bind these
            cookies to a key of their device (DBSC, W3C draft). Others go on as without.
        forms: whether a POST needs no `header` where the browser says that it comes from this very
            origin (`Sec-Fetch-Site: same-origin`), for pages with HTML forms.

    Raises:
        ConfigurationError: names the field, what is wrong, and the way out.

    """

    name: str = setting("refresh_token", header_names.cookie_name)
    access: bool = setting(False, field_checks.true_or_false)
    access_name: str = setting("access_token", header_names.cookie_name)
    access_same_site: Literal["Strict", "Lax"] = setting(
        # SameSite=None would send the cookie from every site.
        "Strict",
        choice("Strict", "Lax", remedy="None would be an invitation"),
    )
    header: str = setting("X-Requested-With", header_names.own_header)
    forms: bool = setting(False, field_checks.true_or_false)
    device_bound: bool = setting(False, field_checks.true_or_false)

    def __post_init__(self) -> None:
        check_fields(self, "refresh.cookies.")
        check_together(self, OF_COOKIES)

    def jars(self, issuer: str, former: tuple[str, ...] = ()) -> Jars:
        """Return the cookies of both kinds of tokens. They go to one whole host only.

        A browser accepts a name with `__Host-` from this host only (RFC 6265bis s4.1.3.2). Cookies
        with other names could be set by another host of the same domain, for any path.
        """
        prefix, secure = ("", "") if is_loopback(issuer) else ("__Host-", "; Secure")

        def jar(name: str, same_site: str) -> Jar:
            return Jar(
                prefix=f"{prefix}{name}-",
                attributes=f"Path=/; HttpOnly; SameSite={same_site}{secure}",
            )

        return Jars(
            refresh=jar(self.name, "Strict"),
            access=jar(self.access_name, self.access_same_site) if self.access else None,
            former=former,
            device=jar(f"{self.name}-device", "Strict") if self.device_bound else None,
        )

    def check_sizes(self, tokens: Tokens, jars: Jars) -> None:
        """Check that the cookies aren't too large for browsers. Raises ValueError."""
        jars.refresh.check_size(tokens.refresh_token)
        if jars.access is not None:
            jars.access.check_size(tokens.access_token)

    def carry(self, tokens: Tokens, jars: Jars, *, is_kept: bool = False) -> Tokens:
        """Return the tokens with their cookies, and without what the cookies carry.

        `is_kept`: the browser has the refresh cookie already. It keeps cookies for as long as the
        tokens serve; those of a session until it is closed.
        """
        grant_id, access, cookies = tokens.grant_id, jars.access, []
        idle, life = tokens["refresh_token_timeout"], tokens["expires_in"]
        if tokens.is_session:
            idle = life = None
        if not is_kept:
            cookies.append(jars.refresh.set(grant_id, tokens.refresh_token, idle))
        if access is not None:
            cookies.append(access.set(grant_id, tokens.access_token, life))
        hidden = ("refresh_token",) if access is None else ("refresh_token", "access_token")
        members = {name: value for name, value in tokens.items() if name not in hidden}
        return Tokens(
            members | {"sid": grant_id},
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token,
            grant_id=grant_id,
            is_session=tokens.is_session,
            cookies=tuple(cookies),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Former:
    """What signed refresh tokens before a change of `secret`, of keys or of the issuer's name.

    It verifies them until a date, so that the change logs no user out, and signs nothing. Give the
    old values: `secret` where there was one, else `keys`; `issuer` where the name was different.
    With `issuer` alone, the present secrets are used.

    Args:
        until: when its tokens stop being taken: a date (its first moment, UTC), a date and a time
            (UTC where no offset is given), as text or as such an object; or seconds since 1970.
            After `absolute_limit` no such token is left. Choose an earlier date where the secret
            leaked.
        secret: what `Refresh.secret` was.
        keys: the keys whose private parts, or secrets, the secrets of refresh tokens were derived
            from. Where they come from the same file as `Settings.keys`, changes of the file count
            for them, too.
        issuer: what `Settings.issuer` was; "": the same as now.

    Raises:
        ConfigurationError: names the field, what is wrong, and the way out.

    """

    until: str | float | date = field(metadata=checked_by(field_checks.since_1970))
    secret: str | bytes | Several[str | bytes] = setting((), field_checks.secrets, repr=False)
    keys: KeySet | None = setting(None, optional(field_checks.key_set))
    issuer: str = setting("", optional(field_checks.exact_name, ""))

    def __post_init__(self) -> None:
        check_fields(self, "refresh.former.")
        check_together(self, OF_FORMER)

    @property
    def ends_at(self) -> float:
        """Return `until` in seconds since 1970-01-01 UTC."""
        return cast("float", self.until)

    @property
    def secrets(self) -> tuple[str | bytes, ...]:
        """Return all secrets that are given in `secret`, not derived from `keys`."""
        return cast("tuple[str | bytes, ...]", self.secret)


@dataclass(frozen=True, kw_only=True, eq=False)
class Refresh:
    """Issue tokens: a login begins a grant, and its refresh token is exchanged for new tokens.

    Args:
        store: where grants live: a URL, or an object with the verbs of `stores.Store` or
            `AsyncStore`.
        serve: False for a service that shares the store and issues nothing: it has no endpoints,
            needs public keys only, and asks the store for ended grants only.
        secret: what refresh tokens are signed with, at least 32 random octets; of several the first
            signs, and all verify. None: derived from the signing key.
        former: what signed them before a change, each until a date, so that the change logs no user
            out.
        migrate: take the tokens of another library until a date, so that moving in logs no user
            out.
        cookies: tokens in cookies; None: in the JSON bodies and the Authorization header.
        claims_for: called with the `Grant` at every login and refresh: returns the application's
            claims, all of them, or raises `EndGrant`. Sync, or async for ASGI.
        client_id: the client of logins that don't name one (RFC 9068 requires the claim).
        path: where the endpoints `/refresh` and `/revoke` are, and `/sessions` and `/device`.
        sessions: mount `/sessions`, where users see and end their own logins ("your devices").
        jwks_path: where the key set is, when tokens are signed asymmetrically.
        metadata: publish where the endpoints and the keys are (RFC 8414), for an issuer whose name
            is a URL. False where something else does that.
        public_url: the URL at which clients reach the root of this application, for the metadata.
            "": the issuer's host. Its origin counts as our own, as the issuer's does.
        access_lifetime: seconds; shortened for each token by up to 5 %, so that clients don't all
            refresh at the same time.
        idle_limit: seconds without a refresh after which a grant is gone.
        absolute_limit: seconds after the login at which a grant ends in any case.
        grants_per_subject: how many grants a subject may have; one more login ends the oldest.
        settle: seconds for which a new refresh token isn't replaced by a refresh, 0 to 300.
        restore_limit: rotations that a failover of the store may lose without logging the user out.
        sync_every: seconds between questions for ended grants; 0: every request asks.
        sync_wait: seconds that a request waits for such an answer, where nothing newer than
            `sync_limit` is known: after a start or an idle time. Where enough is known to go on
            without, it waits a tenth of that.
        sync_limit: seconds without an answer after which `sync_failure` holds.
        sync_failure: "closed" refuses tokens of our own grants then (503), "open" lets them pass.

    Raises:
        ConfigurationError: names the field, what is wrong, and the way out.

    """

    # Not in the repr: a URL may hold the password of an engine.
    store: str | Store | AsyncStore = field(repr=False, metadata=checked_by(field_checks.store))
    serve: bool = setting(True, field_checks.true_or_false)
    secret: str | bytes | Several[str | bytes] = setting((), field_checks.secrets, repr=False)
    former: Several[Former] = setting(
        (), each(is_a(Former, "{} is no Former", 'Former(until="2030-01-31", secret=...)'))
    )
    migrate: Migration | None = setting(
        None,
        optional(
            is_a(
                Migration,
                "must be a Migration group or None",
                'Migration(library=migrations.SIMPLEJWT, until="2030-01-31", secret=...)',
            )
        ),
    )
    cookies: Cookies | None = setting(
        None, optional(is_a(Cookies, "must be a Cookies group or None", "Cookies()"))
    )
    claims_for: Callable[[Grant], Any] | None = setting(
        None, field_checks.hook("the Grant", "def claims_for(grant): ...")
    )
    client_id: str = setting("first-party", field_checks.client_name)
    path: str = setting("/auth", field_checks.endpoint_path)
    sessions: bool = setting(False, field_checks.true_or_false)
    jwks_path: str = setting("/.well-known/jwks.json", field_checks.endpoint_path)
    metadata: bool = setting(True, field_checks.true_or_false)
    public_url: str = setting("", field_checks.root_url)
    # long enough to be cheap, short enough for services without a store
    access_lifetime: float = seconds(
        600, 10, DAY, "a log-out doesn't reach services without a store before that"
    )
    # a week's holiday must not require a new login
    idle_limit: float = seconds(7 * DAY, 60, 400 * DAY, _BROWSERS)
    # a thief can use a stolen token for at most this long, if its owner never comes back
    absolute_limit: float = seconds(30 * DAY, 60, 400 * DAY, _BROWSERS)
    # more devices than anyone has, fewer than a script that logs in for ever makes
    grants_per_subject: int = count("grants", 100, 1, 10000, "each login is one")
    # a burst of tabs, a restart of a browser
    settle: float = seconds(60, 0, 300, "for that long a thief's copy is served like the original")
    restore_limit: int = count(
        "rotations", 8, 0, 64, "for that many an old copy of the store passes"
    )
    # a log-out is in force everywhere after twice that
    sync_every: float = seconds(1, 0, 60, "a log-out elsewhere is in force after twice that")
    # a database that sleeps wakes in 2, and the connection to another continent takes 1
    sync_wait: float = seconds(5, 0.1, 30, "a request holds a thread of its server meanwhile")
    # a failover of most engines takes 30
    sync_limit: float = seconds(120, 1, 3600, "what ended meanwhile is not known")
    sync_failure: Literal["closed", "open"] = setting(
        "closed", choice("closed", "open", remedy="closed is the safe one")
    )

    def __post_init__(self) -> None:
        check_fields(self, "refresh.")
        check_together(self, OF_REFRESH)

    @property
    def folders(self) -> tuple[str, ...]:
        """Return the beginnings of paths that have endpoints of ours below them."""
        is_bound = self.cookies is not None and self.cookies.device_bound
        named = {"sessions": self.sessions, "device": is_bound}
        return tuple(f"{self.path}/{name}/" for name, is_there in named.items() if is_there)

    @property
    def secrets(self) -> tuple[str | bytes, ...]:
        """Return all secrets for refresh tokens; none: they are derived."""
        return cast("tuple[str | bytes, ...]", self.secret)

    def jars(self, issuer: str) -> Jars | None:
        """Return the cookies of both kinds of tokens; None: tokens aren't in cookies."""
        library = self.migrate.library if self.migrate is not None else None
        names = (library.refresh_cookie, library.access_cookie) if library is not None else ()
        former = tuple(filter(None, names))
        return self.cookies.jars(issuer, former) if self.cookies is not None else None
