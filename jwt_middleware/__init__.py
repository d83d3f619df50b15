"""Access and refresh tokens in JWT for WSGI and ASGI applications.

`jwt_middleware.asgi.JWTMiddleware` and `jwt_middleware.wsgi.JWTMiddleware` are the doors; one
`Settings` object configures both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import migrations, profiles
from .keys.key_set import KeySet
from .process.current_token import current_token, required_token
from .request.route import Route
from .settings.groups import Resource, TokenCache, TrustedIssuer, WebSockets
from .settings.issuing_groups import Cookies, Former, Refresh
from .settings.migration_group import Migration
from .settings.proof_groups import ClientCertificates, Proofs
from .settings.settings import Settings
from .values.errors import (
    ConfigurationError,
    ConnectionCut,
    EndGrant,
    KeysUnavailable,
    StoreUnavailable,
    Unavailable,
)
from .values.events import Event
from .values.proved_key import ProvedKey
from .values.tokens import AccessToken, Grant, Tokens

__all__ = [
    "AccessToken",
    "ClientCertificates",
    "ConfigurationError",
    "ConnectionCut",
    "Cookies",
    "EndGrant",
    "Event",
    "Former",
    "Grant",
    "Issuer",
    "KeySet",
    "KeysUnavailable",
    "Migration",
    "Proofs",
    "ProvedKey",
    "Refresh",
    "Resource",
    "Route",
    "Settings",
    "StoreUnavailable",
    "TokenCache",
    "Tokens",
    "TrustedIssuer",
    "Unavailable",
    "WebSockets",
    "current_token",
    "migrations",
    "profiles",
    "required_token",
]
__version__ = "0.2.0"

if TYPE_CHECKING:
    from .issuer import Issuer


def __getattr__(name: str) -> Any:
    # A door, that stands above what is imported here.
    if name == "Issuer":
        from .issuer import Issuer

        return Issuer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    # What `help` and completion show: `Issuer`, too, before it was asked for.
    return sorted({*globals(), *__all__})
