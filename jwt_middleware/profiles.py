"""The profiles of access tokens: presets by the name of their standard or issuer, and `Profile`."""

from __future__ import annotations

from .token.profiles import (
    AUTH0,
    BETTER_AUTH,
    COGNITO,
    ENTRA,
    FIREBASE_ID_TOKEN,
    FOREIGN,
    GOOGLE_ID_TOKEN,
    KEYCLOAK,
    KUBERNETES,
    OKTA,
    PROFILES,
    RFC_9068,
    SPRING,
    Profile,
)

__all__ = [
    "AUTH0",
    "BETTER_AUTH",
    "COGNITO",
    "ENTRA",
    "FIREBASE_ID_TOKEN",
    "FOREIGN",
    "GOOGLE_ID_TOKEN",
    "KEYCLOAK",
    "KUBERNETES",
    "OKTA",
    "PROFILES",
    "RFC_9068",
    "SPRING",
    "Profile",
]
