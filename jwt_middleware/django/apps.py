"""The entry of `INSTALLED_APPS`: checks for `manage.py check`, and the schema extension."""

from __future__ import annotations

from django.apps import AppConfig, apps


class JWTMiddlewareConfig(AppConfig):
    """It has no models and no tables."""

    name = "jwt_middleware.django"
    label = "jwt_middleware"  # "django" would be taken for Django's own
    verbose_name = "JWT middleware"

    def ready(self) -> None:
        """Register what Django and drf-spectacular find by being imported."""
        from . import checks  # noqa: F401

        if apps.is_installed("drf_spectacular"):
            from . import schema  # noqa: F401
