"""For drf-spectacular: how a client of the REST interface sends its token."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension


class BearerScheme(OpenApiAuthenticationExtension):
    """Describe `JWTAuthentication`; the Authorize button of its pages then takes a token."""

    target_class = "jwt_middleware.django.rest.JWTAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """Return the security scheme (OpenAPI 3.0.3 s4.7.23)."""
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
