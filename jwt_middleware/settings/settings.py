"""The one settings object: frozen, checked when made, copied and pickled at will."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from types import SimpleNamespace
from typing import Any

from ..keys.key_set import KeySet
from ..request.origins import origin_of
from ..request.routes import Route
from ..token.access import Check
from ..token.profiles import RFC_9068, Profile
from ..values.events import Event
from . import field_checks
from .checking import check_fields, checked, each, each_a, is_a, optional, seconds
from .consistency import OF_ISSUING, OF_RESOURCE, OF_SETTINGS, check_together
from .groups import Refresh, TokenCache, TrustedIssuer
from .refresh_secrets import idle_former
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


def _loading() -> Any:
    """Return the module that reads settings from outside.

    Not imported at the top: it takes a tenth of the time of the whole import, and not everyone
    configures so.
    """
    from . import loading

    return loading


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

    issuer: str = field(metadata=checked(field_checks.exact_name))
    audience: str | tuple[str, ...] = field(metadata=checked(field_checks.audiences))
    keys: KeySet = field(metadata=checked(field_checks.key_set))
    trusted_issuers: tuple[TrustedIssuer, ...] = field(
        default=(), metadata=checked(each_a(TrustedIssuer, "TrustedIssuer(issuer=..., ...)"))
    )
    issuer_for: Callable[[str], Any] | None = field(
        default=None, metadata=checked(field_checks.hook("the `iss`", "def issuer_for(iss): ..."))
    )
    refresh: Refresh | None = field(
        default=None,
        metadata=checked(optional(is_a(Refresh, "a Refresh group", 'Refresh(store="...")'))),
    )
    resource: Resource | None = field(
        default=None,
        metadata=checked(
            optional(is_a(Resource, "a Resource group", 'Resource(identifier="https://...")'))
        ),
    )
    routes: tuple[Route, ...] = field(default=(), metadata=checked(field_checks.routes))
    profile: Profile = field(default=RFC_9068, metadata=checked(field_checks.profile))
    # Envoy and Spring use 60
    leeway: float = seconds(
        30, 0, MAX_LEEWAY, "more would accept tokens long after their end", "set the clocks by NTP"
    )
    realm: str = field(default="api", metadata=checked(field_checks.realm))
    origins: tuple[str, ...] = field(default=(), metadata=checked(field_checks.origins))
    problem_details: bool = field(default=False, metadata=checked(field_checks.true_or_false))
    checks: tuple[Check, ...] = field(default=(), metadata=checked(each(field_checks.function)))
    token_cache: TokenCache = field(
        default_factory=TokenCache,
        metadata=checked(is_a(TokenCache, "a TokenCache group", "TokenCache(entries=0): none")),
    )
    on_event: Callable[[Event], None] | None = field(
        default=None, metadata=checked(optional(field_checks.function))
    )
    clock: Callable[[], float] = field(default=wall_clock, metadata=checked(field_checks.clock))

    def __post_init__(self) -> None:
        check_fields(self)
        check_together(self, OF_SETTINGS)
        if self.refresh is not None:
            check_together(self, OF_ISSUING)
        if self.resource is not None:
            check_together(self, OF_RESOURCE)

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

    def idle_former(self) -> int:
        """Return the number of the first entry of `Refresh.former` that does nothing; 0: none.

        Whoever gives what signs now as what signed before would log everybody out, and not know.
        """
        group = self.refresh
        return 0 if group is None else idle_former(group, self.keys, self.issuer)

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
        loading = _loading()
        found = loading.from_env(cls, environ, prefix)
        del environ  # see `loading.made`
        settings: Settings = loading.made(found)
        return settings

    @classmethod
    def from_toml(cls, path: str | PathLike[str], table: str = "jwt_middleware") -> Settings:
        """Make settings of one table of a TOML file; "a.b" is one in another, "" the whole file.

        Relative paths in it count from the folder of the file.
        """
        loading = _loading()
        settings: Settings = loading.made(loading.from_toml(cls, path, table))
        return settings

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Settings:
        """Make settings of a mapping as JSON or YAML gives it, for which `json_schema` is.

        A value may also be the real thing: a KeySet, a Route, a function. In all sources a function
        can be named, "module:function": who writes the configuration chooses code that runs here.
        """
        loading = _loading()
        found = loading.from_mapping(cls, mapping)
        del mapping  # see `loading.made`
        settings: Settings = loading.made(found)
        return settings

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema (draft 2020-12) of what `from_mapping` and `from_toml` take."""
        from .json_schema import json_schema  # loads what `_loading` does

        return json_schema(cls)

    def replace(self, **changes: Any) -> Settings:
        """Return a copy with these fields changed, checked again."""
        return replace(self, **changes)

    def __getstate__(self) -> dict[str, Any]:
        # The live side (`process/runtime.py`) hangs on the object and belongs to this process.
        return {name: value for name, value in vars(self).items() if name in _FIELDS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


_FIELDS = frozenset(Settings.__annotations__)
