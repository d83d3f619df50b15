"""The one settings object: frozen, checked when made, copied and pickled at will."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from types import SimpleNamespace
from typing import Any

from ..keys.key_set import KeySet
from ..request.origins import check_origin, is_loopback, origin_of
from ..request.refusals import QUOTABLE
from ..request.routes import Route, Routes
from ..token.claims import MAX_TIME, TokenCheck
from ..token.profiles import RFC_9068, Profile
from ..values.errors import ConfigurationError
from ..values.events import Event
from . import fields
from .groups import Refresh, TokenCache, TrustedIssuer
from .resource import Resource

MAX_LEEWAY = 300  # seconds; more would keep tokens alive that were meant to be dead


def wall_clock() -> float:
    """Return the seconds since 1970-01-01 UTC: the default of every clock.

    `time.time` is looked up at each call, because freezegun and others replace it there for a test.
    """
    return time.time()


def timer(clock: Callable[[], float]) -> Any:
    """Return an object whose method `time` is the clock: for `wall_clock`, the module itself.

    That saves the warm path the call of a function between, a part in thirty of all that it does.
    """
    return time if clock is wall_clock else SimpleNamespace(time=clock)


@dataclass(frozen=True, kw_only=True, eq=False)
class Settings:
    """What access tokens must be, which routes need them, and who is told.

    Args:
        issuer: the exact `iss` of the access tokens, in general the issuer's https URL.
        audience: the name or names that this service goes by; one must be in the token's `aud`.
        keys: the issuer's keys.
        trusted_issuers: other issuers whose tokens are taken, each with its own keys and audience.
        issuer_for: called with an `iss` that is none of these; returns its `TrustedIssuer`, or None
            for a stranger. For thousands of tenants: the last 4096 answers are kept, each for ten
            minutes. Anybody can make it run, with any name. Sync, or async for ASGI.
        refresh: issue tokens, and mount the endpoints that refresh and revoke them; None: only
            verify.
        resource: publish what clients must know to get a token for this service, and name the place
            in every challenge.
        routes: the rules for paths. What no rule names needs a valid token.
        profile: which header type and which claims are required.
        leeway: seconds that the issuer's clock may differ from ours, 0 to 300.
        realm: the `realm` of challenges (RFC 9110 s11.5).
        origins: exact origins whose scripts may read our refusals (CORS). The application's answers
            are never touched. Their preflights reach the application without a token, and anyone
            can send one by hand: what it does for OPTIONS must be nothing but to answer it.
        problem_details: refuse with `application/problem+json` (RFC 9457) instead of OAuth's JSON.
        checks: functions of the `AccessToken` that must return True, run after all other checks.
            They must be pure: their answer is kept with the token.
        token_cache: how many verified tokens are kept, and how.
        on_event: called with every event, in the thread or task that serves the request. Must not
            wait.
        clock: a function that returns the seconds since 1970-01-01 UTC.

    Raises:
        ConfigurationError: names the field, what is wrong, and the way out.

    """

    issuer: str
    audience: str | tuple[str, ...]
    keys: KeySet
    trusted_issuers: tuple[TrustedIssuer, ...] = ()
    issuer_for: Callable[[str], Any] | None = None
    refresh: Refresh | None = None
    resource: Resource | None = None
    routes: tuple[Route, ...] = ()
    profile: Profile = RFC_9068
    # seconds; Envoy and Spring use 60
    leeway: float = field(default=30, metadata={"minimum": 0, "maximum": MAX_LEEWAY})
    realm: str = "api"
    origins: tuple[str, ...] = ()
    problem_details: bool = False
    checks: tuple[TokenCheck, ...] = ()
    token_cache: TokenCache = field(default_factory=TokenCache)
    on_event: Callable[[Event], None] | None = None
    clock: Callable[[], float] = wall_clock

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            object.__setattr__(self, name, check(name, getattr(self, name)))
        fields.check_source(self.issuer, self.keys)
        _check_issuers(self)
        if self.refresh is not None:
            _check_group(self, self.refresh)
        if self.resource is not None:
            _check_resource(self, self.resource)

    @property
    def own_origins(self) -> frozenset[str]:
        """Return the origins of this service itself, as its settings say them; never from Host.

        They count as known where a request's origin is checked. CORS is for others.
        """
        group = self.refresh
        if group is None or not group.serve:
            return frozenset()
        found = (origin_of(url) for url in (self.issuer, group.public_url))
        return frozenset(one for one in found if one is not None)

    def close(self) -> None:
        """Close what these settings opened in this process, at the end of a script or a test."""
        runtime = vars(self).get("_runtime")
        if runtime is not None:
            runtime.close()

    async def aclose(self) -> None:
        """Do what `close` does, in asynchronous code."""
        runtime = vars(self).get("_runtime")
        if runtime is not None:
            await runtime.aclose()

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] | None = None, prefix: str = "JWT_MIDDLEWARE_"
    ) -> Settings:
        """Make settings of environment variables, by default those of this process.

        `JWT_MIDDLEWARE_LEEWAY=60` is the field `leeway`, `__` leads into a group
        (`JWT_MIDDLEWARE_KEYS__PEM`), arrays are JSON, and with `_FILE` behind the name the value is
        the text of that file, without the newline at its end. An unknown name is an error; what
        Kubernetes adds for a service is not.
        """
        from . import (
            loading as sources,  # for who configures so; it takes a tenth of the time of the import
        )

        found = sources.from_env(cls, environ, prefix)
        del environ  # see `sources.made`
        return sources.made(found)

    @classmethod
    def from_toml(cls, path: str | PathLike[str], table: str = "jwt_middleware") -> Settings:
        """Make settings of one table of a TOML file; "a.b" is one in another, "" the whole file.

        Relative paths in it count from the folder of the file.
        """
        from . import loading as sources

        return sources.made(sources.from_toml(cls, path, table))

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Settings:
        """Make settings of a mapping as JSON or YAML gives it, for which `json_schema` is.

        A value may also be the real thing: a KeySet, a Route, a function. In all sources a function
        can be named, "module:function": who writes the configuration chooses code that runs here.
        """
        from . import loading as sources

        found = sources.from_mapping(cls, mapping)
        del mapping  # see `sources.made`
        return sources.made(found)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema (draft 2020-12) of what `from_mapping` and `from_toml` take."""
        from . import loading as sources

        return sources.json_schema(cls)

    def replace(self, **changes: Any) -> Settings:
        """Return a copy with these fields changed, checked again."""
        return replace(self, **changes)

    def __getstate__(self) -> dict[str, Any]:
        # The live side (`process/runtime.py`) hangs on the object and belongs to this process.
        return {name: value for name, value in vars(self).items() if name in _FIELDS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


_FIELDS = frozenset(Settings.__annotations__)


def _issuer_for(name: str, value: Any) -> Any:
    if value is not None and not callable(value):
        raise ConfigurationError(
            name, "must be a function of the `iss`", "def issuer_for(iss): ..."
        )
    return value


def _check_issuers(settings: Settings) -> None:
    names = [settings.issuer, *(one.issuer for one in settings.trusted_issuers)]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(
                "trusted_issuers", f"has {name!r} twice, or it is `issuer`", "name each once"
            )


def _check_group(settings: Settings, group: Refresh) -> None:
    """Check what only goes together."""
    # Not at the top: a service that only verifies has no use for them.
    from ..keys.signer import ExternalKey
    from ..token.refresh import from_text

    if group.serve and settings.keys.signer is None:
        raise ConfigurationError(
            "keys",
            "none of them can sign, and `refresh` issues tokens",
            "give a private key or a secret; or serve=False in `refresh`, which issues nothing",
        )
    if group.serve and isinstance(settings.keys.signer, ExternalKey) and not group.secret:
        raise ConfigurationError(
            "refresh.secret",
            "is missing, and can't be derived from a key that never leaves its KMS",
            "give at least 32 random octets: secrets.token_urlsafe(64)",
        )
    if settings.profile.name != "RFC_9068":
        raise ConfigurationError(
            "profile", "what we issue follows RFC 9068", "leave the profile out, or `refresh`"
        )
    if group.cookies is not None and not (
        settings.issuer.startswith("https://") or is_loopback(settings.issuer)
    ):
        raise ConfigurationError(
            "refresh.cookies",
            "cookies with tokens must not travel in clear, and the issuer is no https URL",
            "use https; http is only for loopback",
        )
    # RFC 8725 s3.12: "Use different keys for different kinds of JWTs".
    shared = {key.private for key in settings.keys.keys if key.is_symmetric}
    for name, secrets in (
        ("secret", group.secrets),
        ("former", [secret for one in group.former for secret in one.secrets]),
    ):
        if any(from_text(one).private in shared for one in secrets):
            raise ConfigurationError(
                f"refresh.{name}",
                "signs access tokens, too: who verifies those could make refresh tokens",
                "give it one of its own, or leave it out to derive one",
            )
    if group.former:
        _check_former(settings, group)
    if settings.issuer in settings.audience:
        raise ConfigurationError(
            "audience",
            "has the issuer itself, which is whom refresh tokens are for",
            f'name the service that takes the access tokens: audience="{_api_of(settings.issuer)}"',
        )


def _api_of(issuer: str) -> str:
    """Return a name for a service beside its issuer, to be pasted."""
    return f"{issuer.rstrip('/')}/api" if "://" in issuer else f"{issuer}-api"


def _check_former(settings: Settings, group: Refresh) -> None:
    """Check that no former entry says what is so now: that slip would log everybody out."""
    from .refresh_secrets import former_secrets, present_secrets  # as above

    keys, issuer = settings.keys, settings.issuer
    present = {key.kid for key in present_secrets(keys, group, issuer)}
    for position, one in enumerate(group.former):
        found = former_secrets(one, keys, group, issuer, keys.source)
        if one.issuer in ("", issuer) and present.issuperset(key.kid for key in found):
            raise ConfigurationError(
                "refresh.former",
                f"does nothing: all that its entry {position + 1} verifies is verified now, too",
                "give what signed before the change, or leave it out",
            )


def _check_resource(settings: Settings, group: Resource) -> None:
    # RFC 8707 s2: clients ask for a token for the identifier, and get it with that `aud`.
    if group.identifier not in settings.audience:
        raise ConfigurationError(
            "resource.identifier",
            f"{group.identifier!r} isn't in the audience, so that the tokens that clients get for "
            "it would be refused",
            "name it there in exactly this spelling",
        )
    trusted = {settings.issuer, *(one.issuer for one in settings.trusted_issuers)}
    strangers = [one for one in group.authorization_servers or () if one not in trusted]
    if strangers and settings.issuer_for is None:
        raise ConfigurationError(
            "resource.authorization_servers",
            f"{strangers[0]!r} isn't trusted, so that its tokens would be refused",
            "name it in trusted_issuers, in exactly this spelling",
        )


_each_route = fields.each(Route, 'Route("/login", ...)')


def _routes(name: str, value: Any) -> tuple[Route, ...]:
    routes = _each_route(name, value)
    Routes(routes)
    return routes


def _leeway(name: str, value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value <= MAX_LEEWAY:
        raise ConfigurationError(
            name,
            f"must be 0 to {MAX_LEEWAY} seconds: more would accept tokens long after their end",
            "set the clocks by NTP",
        )
    return float(value)


def _realm(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value or not QUOTABLE.fullmatch(value):
        raise ConfigurationError(
            name,
            "must be ASCII without quotes, backslashes and control characters (RFC 6750 s3)",
            'a plain name, as in "api"',
        )
    return value


def _origins(name: str, value: Any) -> tuple[str, ...]:
    origins = fields.listed(name, value)
    for one in origins:
        check_origin(one)
    return origins


def _bool(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(name, "must be True or False", "a text is neither")
    return value


def _callables(name: str, value: Any) -> tuple[TokenCheck, ...]:
    return tuple(fields.function(name, one) for one in fields.listed(name, value))


def _clock(name: str, value: Any) -> Any:
    try:
        now = fields.function(name, value)()
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError(
            name, f"raised {type(error).__name__}", "it is called without arguments"
        ) from error
    # With another epoch, or in milliseconds, `exp` would mean another day.
    if type(now) not in (int, float) or not fields.MIN_CLOCK <= now < MAX_TIME:
        raise ConfigurationError(
            name, "doesn't return the seconds since 1970-01-01 UTC", "time.time does"
        )
    return value


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "issuer": fields.identifier,
    "audience": fields.audience,
    "keys": fields.key_set,
    "trusted_issuers": fields.each(TrustedIssuer, "TrustedIssuer(issuer=..., ...)"),
    "issuer_for": _issuer_for,
    "refresh": fields.group(Refresh, 'Refresh(store="...")'),
    "resource": fields.group(Resource, 'Resource(identifier="https://...")'),
    "routes": _routes,
    "profile": fields.profile,
    "leeway": _leeway,
    "realm": _realm,
    "origins": _origins,
    "problem_details": _bool,
    "checks": _callables,
    "token_cache": fields.group(TokenCache, "TokenCache(entries=0): none", can_be_off=False),
    "on_event": fields.optional(fields.function),
    "clock": _clock,
}
