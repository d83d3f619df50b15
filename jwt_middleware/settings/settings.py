"""The settings object: frozen, and checked when it is made. It can be copied and pickled."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from os import PathLike
from types import SimpleNamespace
from typing import Any, cast

from ..keys.key_set import KeySet
from ..request.origins import origin_of
from ..request.route import Route
from ..token.claims import TokenCheck
from ..token.profiles import RFC_9068, Profile
from ..values.arrays import Several
from ..values.errors import ConfigurationError
from ..values.events import Event
from ..values.metrics import Metrics
from . import field_checks, header_names, profile_checks
from .checking import check_fields, checked_by, each, is_a, optional, seconds, setting
from .consistency import OF_ISSUING, OF_PAGES, OF_RESOURCE, OF_SETTINGS, check_together
from .endpoint_paths import OF_READINESS
from .groups import Resource, TokenCache, TrustedIssuer, WebSockets
from .issuing_groups import Refresh
from .migration_checks import OF_MIGRATING
from .proof_groups import ClientCertificates, Proofs, check_bindings
from .refresh_secrets import former_secrets, present_secrets

LONGEST_LEEWAY = 300  # seconds; more would accept tokens long after their end


def wall_clock() -> float:
    """Return the seconds since 1970-01-01 UTC: the default of every clock.

    `time.time` is looked up at each call, because freezegun and other test tools replace it there.
    """
    return time.time()


def timer(clock: Callable[[], float]) -> Any:
    """Return an object whose method `time` is the clock: for `wall_clock`, the module itself.

    That saves one function call for each request with a known token, a thirtieth of its cost.
    """
    return time if clock is wall_clock else SimpleNamespace(time=clock)


def _replaced(group: Any, changes: Mapping[str, Any], above: str = "") -> Any:
    """Return a copy of a group with these fields changed, those of its own groups, too."""
    values = {name: value for name, value in changes.items() if "__" not in name}
    inside: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        first, _, rest = name.partition("__")
        if rest:
            inside.setdefault(first, {})[rest] = value
    for name, changed in inside.items():
        part = values[name] if name in values else getattr(group, name, group)
        if part is group:
            raise TypeError(f"{above}{name}: no such field")
        if not is_dataclass(part):
            raise ConfigurationError(
                above + name, "is no group here, so that it has no fields", "give the whole group"
            )
        values[name] = _replaced(part, changed, f"{above}{name}.")
    return replace(group, **values)


def _loading() -> Any:
    """Return the module that reads settings from outside.

    It isn't imported at the top, because that takes a tenth of the time of the whole import, and
    services that are configured in Python don't need it.
    """
    from . import loading

    return loading


@dataclass(frozen=True, kw_only=True, eq=False)
class Settings:
    """What access tokens must be, which routes need them, and where events go.

    Args:
        issuer: the exact `iss` of the access tokens, in general the issuer's https URL.
        audience: the name or names of this service; one must be in the token's `aud`.
        keys: the issuer's keys.
        trusted_issuers: other issuers whose tokens are accepted, each with its own keys and
            audience.
        issuer_for: called with an `iss` that is none of these; returns its `TrustedIssuer`, or None
            where it isn't trusted. For thousands of tenants: the last 4096 answers are kept, each
            for ten minutes. Any client can make it run, with any name. Sync, or async for ASGI.
        refresh: issue tokens, and mount the endpoints that refresh and revoke them; None: only
            verify.
        resource: publish what clients must know to get a token for this service, and name the place
            in every challenge.
        proofs: tokens may be bound to a key of their client (DPoP, RFC 9449); None: bound tokens
            are refused.
        client_certificates: tokens may be bound to the certificate of their client (RFC 8705);
            None: such tokens are refused.
        routes: the rules for paths. A path without a rule needs a valid token.
        login_url: the path of the login page, for pages whose tokens are in cookies: a page load
            without a valid token goes there (303), with `next`, if the refresh cookie can't help.
            A script's request is refused as ever (401). "": all are refused.
        ready_path: where probes ask whether this process can serve (GET, 200 or 503). "": nowhere.
        profile: which header type and which claims are required.
        leeway: seconds that the issuer's clock may differ from ours, 0 to 300.
        credentials_header: another header field in which a gateway hands the token on, alone,
            without a scheme. A request with it and with Authorization is refused. "": none.
        realm: the `realm` of challenges (RFC 9110 s11.5).
        origins: exact origins whose scripts may read our refusals (CORS). The application's answers
            are never touched. Their preflights reach the application without a token, and any
            client can send one: for OPTIONS the application must do nothing but answer.
        problem_details: refuse with `application/problem+json` (RFC 9457) instead of OAuth's JSON.
        checks: functions of the `AccessToken` that must return True, run after all other checks.
            They must be pure: their answer is kept with the token.
        token_cache: how many verified tokens are kept, and how.
        websockets: how a page sends its token, and how a websocket is ended.
        on_event: called with every event, in the thread or task that serves the request. Must not
            wait.
        metrics: where to count requests, tokens and calls of the store, and to make spans: a
            `prometheus.Prometheus`, an `otel.OpenTelemetry`, or both. None: nothing is measured.
        clock: a function that returns the seconds since 1970-01-01 UTC.

    Raises:
        ConfigurationError: names the field, what is wrong, and the way out.

    """

    issuer: str = field(metadata=checked_by(field_checks.exact_name))
    audience: str | Several[str] = field(metadata=checked_by(field_checks.audiences))
    keys: KeySet = field(metadata=checked_by(field_checks.key_set))
    trusted_issuers: Several[TrustedIssuer] = setting(
        (), each(is_a(TrustedIssuer, "{} is no TrustedIssuer", "TrustedIssuer(issuer=..., ...)"))
    )
    issuer_for: Callable[[str], Any] | None = setting(
        None, field_checks.hook("the `iss`", "def issuer_for(iss): ...")
    )
    refresh: Refresh | None = setting(
        None, optional(is_a(Refresh, "must be a Refresh group, not {}", 'Refresh(store="...")'))
    )
    resource: Resource | None = setting(
        None,
        optional(
            is_a(
                Resource,
                "must be a Resource group, not {}",
                'Resource(identifier="https://...")',
            )
        ),
    )
    proofs: Proofs | None = setting(
        None, optional(is_a(Proofs, "must be a Proofs group or None, not {}", "Proofs()"))
    )
    client_certificates: ClientCertificates | None = setting(
        None,
        optional(
            is_a(
                ClientCertificates,
                "must be a ClientCertificates group or None, not {}",
                "ClientCertificates()",
            )
        ),
    )
    routes: Several[Route] = setting((), field_checks.routes)
    login_url: str = setting("", field_checks.login_url)
    ready_path: str = setting("", optional(field_checks.endpoint_path, ""))
    profile: Profile = setting(RFC_9068, profile_checks.profile)
    # Envoy and Spring use 60
    leeway: float = seconds(
        30,
        0,
        LONGEST_LEEWAY,
        "more would accept tokens long after their end",
        "set the clocks by NTP",
    )
    credentials_header: str = setting("", optional(header_names.credentials_header, ""))
    realm: str = setting("api", field_checks.realm)
    origins: Several[str] = setting((), field_checks.origins)
    problem_details: bool = setting(False, field_checks.true_or_false)
    checks: Several[TokenCheck] = setting((), each(field_checks.function))
    token_cache: TokenCache = field(
        default_factory=TokenCache,
        metadata=checked_by(
            is_a(TokenCache, "must be a TokenCache group, not {}", "TokenCache(entries=0): none")
        ),
    )
    websockets: WebSockets = field(
        default_factory=WebSockets,
        metadata=checked_by(
            is_a(WebSockets, "must be a WebSockets group, not {}", "WebSockets(subprotocol=True)")
        ),
    )
    on_event: Callable[[Event], None] | None = setting(None, optional(field_checks.function))
    metrics: Metrics | Several[Metrics] | None = setting(None, field_checks.metrics)
    clock: Callable[[], float] = setting(wall_clock, field_checks.running_clock)

    def __post_init__(self) -> None:
        check_fields(self)
        check_together(self, OF_SETTINGS)
        if self.ready_path:
            check_together(self, OF_READINESS)
        if self.refresh is not None:
            check_together(self, OF_ISSUING)
            if self.refresh.migrate is not None:
                check_together(self, OF_MIGRATING)
        if self.login_url:
            check_together(self, OF_PAGES)
        if self.resource is not None:
            check_together(self, OF_RESOURCE)
        check_bindings(self)

    @property
    def own_origins(self) -> frozenset[str]:
        """Return the origins of this service itself, taken from its settings, never from Host.

        They are allowed where a request's origin is checked. CORS headers are for other origins
        only.
        """
        group = self.refresh
        urls = (self.issuer, group.public_url) if group is not None and group.serve else ()
        return frozenset(filter(None, map(origin_of, urls)))

    def _idle_former(self, group: Refresh) -> int:
        """Return the number of the first entry of `Refresh.former` that does nothing; 0: none.

        Such an entry is a mistake: the new secret stands in both places, and the old one nowhere,
        so all users would be logged out.
        """
        keys, issuer = self.keys, self.issuer
        present = {key.kid for key in present_secrets(keys, group, issuer)}
        return next(
            (
                number
                for number, one in enumerate(group.former, 1)
                if one.issuer in ("", issuer)
                and present.issuperset(
                    key.kid for key in former_secrets(one, keys, group, issuer, keys.source)
                )
            ),
            0,
        )

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
        the text of that file, without the newline at its end. An unknown name is an error; the
        names that Kubernetes adds for a service are not.

        Args:
            environ: names and values; None: `os.environ`.
            prefix: what the names begin with.

        Raises:
            ConfigurationError: names the variable, what is wrong, and the way out.

        """
        loading = _loading()
        found = loading.caught(loading.from_env, cls, environ, prefix)
        del environ  # `made` raises: a frame of its traceback must hold no secret
        return cast("Settings", loading.made(found))

    @classmethod
    def from_toml(cls, path: str | PathLike[str], table: str = "jwt_middleware") -> Settings:
        """Make settings of one table of a TOML file.

        Args:
            path: the file. Relative paths in it count from its folder.
            table: its name; "a.b" is one inside "a", "" the whole file.

        Raises:
            ConfigurationError: names the field, what is wrong, and the way out.

        """
        loading = _loading()
        return cast("Settings", loading.made(loading.caught(loading.from_toml, cls, path, table)))

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Settings:
        """Make settings of a mapping as JSON or YAML gives it; `json_schema` describes it.

        A value may also be the real thing: a KeySet, a Route, a function. In all sources a function
        can be named, "module:function": so write access to the
        configuration is a way to run code here.

        Args:
            mapping: fields by their names; a group is a mapping itself.

        Raises:
            ConfigurationError: names the field, what is wrong, and the way out.

        """
        loading = _loading()
        found = loading.caught(loading.from_mapping, cls, mapping)
        del mapping  # as in `from_env`
        return cast("Settings", loading.made(found))

    @classmethod
    def from_layers(
        cls,
        *layers: str | PathLike[str] | Mapping[str, Any],
        environ: Mapping[str, str] | None = None,
        table: str = "jwt_middleware",
        prefix: str = "JWT_MIDDLEWARE_",
    ) -> Settings:
        """Make settings of several sources, the later ones over the earlier ones.

        A group of settings is changed field by field. All else is replaced as a whole, arrays such
        as `routes` and `trusted_issuers`, too; and so are `keys` where a later layer says that they
        are in another place. An error names the source that gave the wrong value.

        Args:
            layers: paths of TOML files, and mappings as for `from_mapping`, the weakest first.
            environ: variables, such as `os.environ`, over all layers; None: none are read.
            table: the table in each TOML file.
            prefix: how the variables' names begin.

        Raises:
            ConfigurationError: names the source, the field, what is wrong, and the way out.

        """
        loading = _loading()
        found = loading.caught(loading.from_layers, cls, layers, environ, table, prefix)
        del layers, environ  # as in `from_env`
        return cast("Settings", loading.made(found))

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema (draft 2020-12) of what `from_mapping` and `from_toml` take."""
        from .json_schema import json_schema  # loads `_loading`'s modules

        return json_schema(cls)

    def replace(self, **changes: Any) -> Settings:
        """Return a copy with these fields changed, checked again.

        Args:
            **changes: fields by their names. `__` leads into a group, as in variables:
                `replace(refresh__cookies__access=True)`.

        Raises:
            ConfigurationError: for a wrong value, and where a group is None.
            TypeError: for a field that doesn't exist.

        """
        return cast("Settings", _replaced(self, changes))

    def __getstate__(self) -> dict[str, Any]:
        # Fields only: the live side (`process/runtime.py`) is an attribute, too, and belongs to
        # this process.
        return {one.name: getattr(self, one.name) for one in fields(self)}
