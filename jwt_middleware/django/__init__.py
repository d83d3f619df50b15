"""The door for Django's `MIDDLEWARE`, and bridges to Channels, REST framework and drf-spectacular.

In the settings of the project:

    INSTALLED_APPS = [..., "jwt_middleware.django"]
    MIDDLEWARE = [..., "django.contrib.auth.middleware.AuthenticationMiddleware",
                  "jwt_middleware.django.JWTMiddleware"]
    JWT_MIDDLEWARE = Settings(...)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .middleware import JWTMiddleware
    from .project import jwt_issuer, jwt_settings

__all__ = ["JWTMiddleware", "jwt_issuer", "jwt_settings"]


def __getattr__(name: str) -> Any:
    # Not at the top: Django imports this package, as an application, before its settings are read
    # and its models are there.
    if name == "JWTMiddleware":
        from .middleware import JWTMiddleware

        return JWTMiddleware
    if name in ("jwt_issuer", "jwt_settings"):
        from . import project

        return getattr(project, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
