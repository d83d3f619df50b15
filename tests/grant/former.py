"""Tokens as former libraries write them, and settings that take them."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import jwt

from jwt_middleware import Migration, migrations
from tests.issuing import DAY
from tests.world import NOW

SECRET = sha256(b"what the former library signed with").hexdigest()
OTHER = sha256(b"what nobody signed with").hexdigest()
UNTIL = NOW + 20 * DAY
OLD_PATH = "/api/token/refresh/"

_TIMES = {"iat": NOW - DAY, "exp": NOW + 10 * DAY}


def written(
    claims: dict[str, Any],
    secret: Any = SECRET,
    *,
    algorithm: str = "HS256",
    headers: dict[str, Any] | None = None,
) -> str:
    """Return a token with these claims; None as a value leaves the claim out."""
    found = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(found, secret, algorithm, headers)


def flask_jwt(kind: str, sub: Any = "alice", *, secret: Any = SECRET, **claims: Any) -> str:
    """Return a token of Flask-JWT-Extended 4.7."""
    own = {"fresh": False, "jti": f"jti of {sub}", "type": kind, "sub": sub, "csrf": "c"}
    return written({**_TIMES, **own, "nbf": NOW - DAY, **claims}, secret)


def simplejwt(kind: str, user_id: Any = "7", **claims: Any) -> str:
    """Return a token of simplejwt 5.5."""
    return written({**_TIMES, "token_type": kind, "jti": "0f", "user_id": user_id, **claims})


def fastapi_users(sub: str = "alice", **claims: Any) -> str:
    """Return the token of FastAPI Users 15."""
    return written({"sub": sub, "aud": ["fastapi-users:auth"], "exp": NOW + DAY, **claims})


def migration(**changes: Any) -> Migration:
    """Return a group that takes the tokens of Flask-JWT-Extended."""
    given: dict[str, Any] = {
        "library": migrations.FLASK_JWT_EXTENDED,
        "until": UNTIL,
        "secret": SECRET,
        "routes": ("/api/*",),
        "path": OLD_PATH,
    }
    return Migration(**(given | changes))
