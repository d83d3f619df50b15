"""The one settings object: frozen, checked when made, copied and pickled at will."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .groups import Refresh
from .keys import KeySet
from .request.challenges import QUOTABLE
from .request.origins import check_origin, is_loopback
from .request.routes import Route, Routes
from .token.access import Check
from .token.profiles import RFC_9068, Profile
from .values.errors import ConfigurationError
from .values.events import Event

MAX_LEEWAY = 300  # seconds; more would keep tokens alive that were meant to be dead


@dataclass(frozen=True, kw_only=True, eq=False)
class Settings:
    """What access tokens must be, which routes need them, and who is told.

    Args:
        issuer: the exact `iss` of the access tokens, in general the issuer's https URL.
        audience: the name or names that this service goes by; one must be in the token's `aud`.
        keys: the issuer's keys.
        refresh: issue tokens, and mount the endpoints that refresh and revoke them; None: only
            verify.
        routes: the rules for paths. What no rule names needs a valid token.
        profile: which header type and which claims are required.
        leeway: seconds that the issuer's clock may differ from ours, 0 to 300.
        realm: the `realm` of challenges (RFC 9110 s11.5).
        origins: exact origins whose scripts may read our refusals (CORS). The application's answers
            are never touched.
        problem_details: answer with `application/problem+json` (RFC 9457) instead of the OAuth
            shape.
        checks: functions of the `AccessToken` that must return True, run after all other checks.
            They must be pure: their answer is kept with the token.
        on_event: called with every event, in the thread or task that serves the request. Must not
            wait.
        clock: seconds since 1970-01-01 UTC.

    Raises:
        ConfigurationError: names the field, what is wrong, and the way out.

    """

    issuer: str
    audience: str | tuple[str, ...]
    keys: KeySet
    refresh: Refresh | None = None
    routes: tuple[Route, ...] = ()
    profile: Profile = RFC_9068
    leeway: float = 30  # seconds; Envoy and Spring use 60
    realm: str = "api"
    origins: tuple[str, ...] = ()
    problem_details: bool = False
    checks: tuple[Check, ...] = ()
    on_event: Callable[[Event], None] | None = None
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            object.__setattr__(self, name, check(name, getattr(self, name)))
        if self.refresh is not None:
            _check_issuing(self, self.refresh)

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

    def replace(self, **changes: Any) -> "Settings":
        """Return a copy with these fields changed, checked again."""
        return replace(self, **changes)

    def __getstate__(self) -> dict[str, Any]:
        # The live side (`runtime.py`) hangs on the object and belongs to this process.
        return {name: value for name, value in vars(self).items() if name in _FIELDS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


_FIELDS = frozenset(Settings.__dataclass_fields__)


def _identifier(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(name, "must be a non-empty string")
    if not value.isprintable() or " " in value:
        raise ConfigurationError(name, f"{value!r} has white space or a character nobody can see")
    return value


def _audience(name: str, value: Any) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else tuple(_listed(name, value))
    if not names:
        # RFC 9068 s4: "MUST validate that the aud claim contains a resource indicator value
        # corresponding to an identifier the resource server expects for itself".
        raise ConfigurationError(
            name, "is empty: tokens for every other service would pass", "name this service"
        )
    return tuple(_identifier(name, one) for one in names)


def _listed(name: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__"):
        raise ConfigurationError(name, "must be a tuple", "a single one needs a comma: (value,)")
    return tuple(value)


def _key_set(name: str, value: Any) -> KeySet:
    if not isinstance(value, KeySet):
        raise ConfigurationError(
            name,
            f"must be a KeySet, not {type(value).__name__}: text never becomes a key by guessing",
            "KeySet.load, .pem, .secret, .from_jwks or .generate",
        )
    return value


def _refresh(name: str, value: Any) -> Refresh | None:
    if value is not None and not isinstance(value, Refresh):
        raise ConfigurationError(name, f"must be a Refresh group, not {type(value).__name__}")
    return value


def _check_issuing(settings: "Settings", group: Refresh) -> None:
    """Check what only goes together."""
    if settings.keys.signer is None:
        raise ConfigurationError(
            "keys",
            "none of them can sign, and `refresh` issues tokens",
            "give a private key or a secret, or leave `refresh` out",
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
    if settings.audience == (settings.issuer,):
        raise ConfigurationError(
            "audience",
            "is the issuer itself, which refresh tokens name",
            "name the service that takes the access tokens",
        )


def _routes(name: str, value: Any) -> tuple[Route, ...]:
    routes = _listed(name, value)
    for one in routes:
        if not isinstance(one, Route):
            raise ConfigurationError(
                name, f"{type(one).__name__} is no Route", 'Route("/login", ...)'
            )
    Routes(routes)
    return routes


def _profile(name: str, value: Any) -> Profile:
    if not isinstance(value, Profile):
        raise ConfigurationError(name, "must be a Profile", "profiles.RFC_9068 or profiles.FOREIGN")
    return value


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
        raise ConfigurationError(name, "must be visible ASCII without quotes (RFC 6750 s3)")
    return value


def _origins(name: str, value: Any) -> tuple[str, ...]:
    origins = _listed(name, value)
    for one in origins:
        check_origin(one)
    return origins


def _bool(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(name, "must be True or False")
    return value


def _callables(name: str, value: Any) -> tuple[Check, ...]:
    return tuple(_callable(name, one) for one in _listed(name, value))


def _callable(name: str, value: Any) -> Any:
    if not callable(value):
        raise ConfigurationError(name, f"{type(value).__name__} can't be called", "give a function")
    return value


def _callable_or_none(name: str, value: Any) -> Any:
    return None if value is None else _callable(name, value)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "issuer": _identifier,
    "audience": _audience,
    "keys": _key_set,
    "refresh": _refresh,
    "routes": _routes,
    "profile": _profile,
    "leeway": _leeway,
    "realm": _realm,
    "origins": _origins,
    "problem_details": _bool,
    "checks": _callables,
    "on_event": _callable_or_none,
    "clock": _callable,
}
