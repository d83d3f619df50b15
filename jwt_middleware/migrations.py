"""Libraries that an application comes from: presets by their names, and `FormerLibrary`."""

from __future__ import annotations

from .token.former_libraries import (
    AUTHLIB,
    AUTHX,
    FASTAPI_USERS,
    FLASK_JWT_EXTENDED,
    LIBRARIES,
    PYJWT,
    SIMPLEJWT,
    FormerLibrary,
)

__all__ = [
    "AUTHLIB",
    "AUTHX",
    "FASTAPI_USERS",
    "FLASK_JWT_EXTENDED",
    "LIBRARIES",
    "PYJWT",
    "SIMPLEJWT",
    "FormerLibrary",
]
