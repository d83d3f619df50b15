"""The group of settings for a change of library: its tokens are taken until a date."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal, cast

from ..keys.key_set import KeySet
from ..token.former_libraries import FormerLibrary
from ..token.former_tokens import FormerTokens
from ..values.arrays import Several
from . import field_checks, migration_checks
from .checking import check_fields, checked_by, choice, optional, setting
from .consistency import check_together


@dataclass(frozen=True, kw_only=True, eq=False)
class Migration:
    """Take the tokens of another library until a date, so that the change logs no user out.

    An old refresh token leads to one grant, however often it comes: the grant's id is made of the
    token. From then on the grant decides, as for any other. An old access token opens only the
    `routes`, until it expires.

    Args:
        library: what its tokens look like: a preset of `migrations`, or a `FormerLibrary`.
        until: when its tokens stop being taken: as `Former.until`, at most `absolute_limit` from
            now.
        secret: what signed them, one or several, at least 32 random octets each (HS256).
        algorithm: of `secret`.
        keys: instead of `secret`, the keys that verify them.
        issuer: their exact `iss`; "": they have none.
        audience: the name or names of which one is in their `aud`; "": they have none, or what
            the library writes by itself.
        routes: paths on which its access tokens are taken, as in `Route`: `/api/*`. None where the
            library doesn't tell access from refresh tokens.
        path: where its clients refresh: a POST there is answered as at our own endpoint, with our
            refresh tokens, too, sent and answered as the library did. "": only at ours.
        is_blocked: the former blocklist: called with a verified token's claims, a mapping; True
            refuses. At each use of an old refresh token, and when an old access token is first
            seen. Sync, or async for ASGI.
        subject: called with the claims where users' ids change: returns the id here, always the
            same for one user, or None to refuse. Sync, or async for ASGI.
        scope: what tokens allow that say no scope themselves.
        claims: the application's own claims that the grant takes over from the refresh token. With
            `claims_for` the hook finds them in `grant.claims`. Without "auth_time" among them, the
            tokens say 0: that login isn't fresh.

    Raises:
        ConfigurationError: names the field, what is wrong, and the way out.

    """

    library: FormerLibrary = field(metadata=checked_by(migration_checks.library))
    until: str | float | date = field(metadata=checked_by(field_checks.since_1970))
    secret: str | bytes | Several[str | bytes] = setting(
        (), migration_checks.former_texts, repr=False
    )
    algorithm: Literal["HS256", "HS384", "HS512"] = setting(
        "HS256", choice("HS256", "HS384", "HS512", remedy="for other algorithms give `keys`")
    )
    keys: KeySet | None = setting(None, optional(field_checks.key_set))
    issuer: str = setting("", optional(field_checks.exact_name, ""))
    audience: str | Several[str] = setting("", migration_checks.audience)
    routes: Several[str] = setting((), migration_checks.former_routes)
    path: str = setting("", migration_checks.path)
    is_blocked: Callable[[Mapping[str, Any]], Any] | None = setting(
        None, field_checks.hook("the claims", "def is_blocked(claims): ...")
    )
    subject: Callable[[Mapping[str, Any]], Any] | None = setting(
        None, field_checks.hook("the claims", "def subject(claims): ...")
    )
    scope: str = setting("", migration_checks.scope)
    claims: Several[str] = setting((), migration_checks.claims)

    def __post_init__(self) -> None:
        check_fields(self, "refresh.migrate.")
        check_together(self, migration_checks.OF_MIGRATION)

    @property
    def ends_at(self) -> float:
        """Return `until` in seconds since 1970-01-01 UTC."""
        return cast("float", self.until)

    @property
    def audiences(self) -> frozenset[str]:
        """Return the names of which one is in `aud`; none: tokens without `aud`."""
        default = (self.library.audience,) if self.library.audience else ()
        return frozenset(self.audience or default)

    def tokens(self, settings: Any) -> FormerTokens:
        """Return what verifies its tokens, for the settings that this group is in."""
        return FormerTokens(
            self.library,
            migration_checks.former_keys(self),
            issuer=self.issuer,
            audience=self.audiences,
            leeway=settings.leeway,
            until=self.ends_at,
            own_issuer=settings.issuer,
        )

    @property
    def tells_access(self) -> bool:
        """Say whether an access token can't be another token of the library."""
        library = self.library
        is_named = library.refresh is None and not library.separate_keys and bool(self.audience)
        return library.tells_access or is_named
