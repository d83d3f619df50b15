"""JSON Web Signatures and Keys (RFC 7515, 7517, 7518): strict, typed, no clock, no policy."""

from __future__ import annotations

import jwt

OLDEST = (2, 14)

# A module `jwt` without a version is another distribution than PyJWT, with the same module name.
_version = getattr(jwt, "__version__", "unknown")
if tuple(int(part) for part in _version.split(".")[:3] if part.isdigit()) < OLDEST:
    raise ImportError(
        f"jwt_middleware needs PyJWT {'.'.join(map(str, OLDEST))} or newer, and version {_version} "
        f"is found at {jwt.__file__}: pip install --upgrade PyJWT, and uninstall what else is "
        "called jwt"
    )
