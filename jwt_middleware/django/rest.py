"""For Django REST framework: its `request.user` and `request.auth` are the token's."""

from __future__ import annotations

from typing import Any

from rest_framework.authentication import BaseAuthentication

from ..request.refusals import challenge
from ..values.errors import ConfigurationError, MissingCredentials
from .project import jwt_settings

__all__ = ["JWTAuthentication"]


class JWTAuthentication(BaseAuthentication):
    """Hand on what the middleware has found; without a token there is nobody.

        REST_FRAMEWORK = {
            "DEFAULT_AUTHENTICATION_CLASSES": ["jwt_middleware.django.rest.JWTAuthentication"],
        }

    It checks nothing itself. A client's own token, and one of another issuer, has no user:
    `request.user` is anonymous, and `request.auth` the token.

    Raises:
        ConfigurationError: for a request that hasn't passed through the middleware.

    """

    def authenticate(self, request: Any) -> tuple[Any, Any] | None:
        """Return the user and the token, or None on a public route."""
        inner = request._request
        if not hasattr(inner, "jwt"):
            raise ConfigurationError(
                "MIDDLEWARE",
                "the request hasn't passed through jwt_middleware.django.JWTMiddleware",
                "put it below AuthenticationMiddleware",
            )
        if inner.jwt is None:
            return None
        # Looked up here, so that a user who is refused isn't found out in the middle of a view.
        user = inner.user
        user.is_authenticated  # noqa: B018
        return user, inner.jwt

    def authenticate_header(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, request: Any
    ) -> str:
        """Return the challenge of a 401, as the middleware's own (RFC 6750 s3)."""
        settings = jwt_settings()
        metadata_url = settings.resource.metadata_url if settings.resource is not None else ""
        by = settings.proofs
        schemes = (("Bearer", ""), *([("DPoP", " ".join(by.algorithms))] if by is not None else ()))
        return challenge(
            settings.realm,
            MissingCredentials(),
            metadata_url=metadata_url,
            schemes=schemes[1:] if by is not None and by.required else schemes,
        )
