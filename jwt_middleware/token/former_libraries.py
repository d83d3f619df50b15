"""What the tokens of other libraries look like, for `Refresh(migrate=...)`. Presets have a
library's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..values.arrays import Several, freeze_fields
from ..values.tokens import FrozenDict
from .profiles import ClaimPath


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerLibrary:
    """How a library writes its tokens, and how its clients send them and read the answer.

    One of your own begins with what `PYJWT` says. A claim must tell access from refresh tokens,
    because an access token must never buy tokens: `refresh` and `access` name the same claim with
    different values.

    Args:
        name: what messages call it.
        types: values of the header `typ`, lower-case and without "application/"; "" stands for a
            token without `typ`.
        refresh: claims that a refresh token must have, with exactly this value, type and case. None
            where refresh tokens are no JWTs, or there are none.
        access: the same for access tokens.
        separate_keys: refresh tokens are signed by keys that sign nothing else, and these are the
            keys that the migration is given. Then no claim has to tell them apart, and no access
            token is verified.
        audience: what `aud` has where the application didn't configure it.
        subject_claim: the claim that names the user: a text, or a whole number, which is read as
            its digits.
        client_claim: the claim that names the client, if a token has it.
        scope_claims: where scopes stand: the first of these names or paths that is there counts.
        parameter: what a client's request calls the refresh token, in a form or in JSON.
        bearer: clients send the refresh token as `Authorization: Bearer`.
        answer: names that clients read in the answer at the old path, by ours: {"access_token":
            "access"}. They stand beside ours.
        refresh_cookie: the name of the cookie with the refresh token; "": there is none.
        access_cookie: the same for the access token.

    """

    name: str = "of your own"
    types: frozenset[str] = frozenset(("jwt",))
    refresh: Mapping[str, str | bool | int] | None = field(default_factory=FrozenDict)
    access: Mapping[str, str | bool | int] = field(default_factory=FrozenDict)
    separate_keys: bool = False
    audience: str = ""
    subject_claim: str = "sub"
    client_claim: str = "client_id"
    scope_claims: Several[ClaimPath] = ("scope",)
    parameter: str = "refresh_token"
    bearer: bool = False
    answer: Mapping[str, str] = field(default_factory=FrozenDict)
    refresh_cookie: str = ""
    access_cookie: str = ""

    def __post_init__(self) -> None:
        freeze_fields(self, sets=("types",))

    def replace(self, **changes: Any) -> FormerLibrary:
        """Return a copy with some fields changed: `SIMPLEJWT.replace(subject_claim="sub")`.

        Args:
            changes: new values, by the names of the fields.

        """
        return replace(self, **changes)

    @property
    def tells_apart(self) -> bool:
        """Say whether one claim has one value in refresh tokens, and another in access tokens."""
        refresh = self.refresh or {}
        return any(
            name in refresh and not is_same(refresh[name], value)
            for name, value in self.access.items()
        )

    @property
    def tells_refresh(self) -> bool:
        """Say whether a refresh token can't be one of the library's access tokens."""
        return self.refresh is not None and (self.separate_keys or self.tells_apart)

    @property
    def tells_access(self) -> bool:
        """Say whether an access token can't be another token of the library."""
        if self.separate_keys:
            return False
        # Without refresh tokens there may be ID tokens, and those that reset a password.
        is_named = bool(self.access or self.audience) or self.types == frozenset(("at+jwt",))
        return self.tells_apart if self.refresh is not None else is_named


def is_same(given: object, value: object) -> bool:
    """Say whether two values of claims are equal and of one type: 1 isn't True."""
    return type(given) is type(value) and given == value


# Flask-JWT-Extended 4.
FLASK_JWT_EXTENDED = FormerLibrary(
    name="FLASK_JWT_EXTENDED",
    refresh={"type": "refresh"},
    access={"type": "access"},
    bearer=True,
    refresh_cookie="refresh_token_cookie",
    access_cookie="access_token_cookie",
)

# djangorestframework-simplejwt 5. A sliding token is neither: it refreshes itself.
SIMPLEJWT = FormerLibrary(
    name="SIMPLEJWT",
    refresh={"token_type": "refresh"},
    access={"token_type": "access"},
    subject_claim="user_id",
    parameter="refresh",
    answer={"access_token": "access", "refresh_token": "refresh"},
)

# AuthX 1: the claims and the places of Flask-JWT-Extended, times with fractions of a second.
AUTHX = FLASK_JWT_EXTENDED.replace(name="AUTHX", scope_claims=("scopes",))

# FastAPI Users: one token, the access token. The audience tells it from those that reset a password
# or verify an address, which may have the same secret.
FASTAPI_USERS = FormerLibrary(
    name="FASTAPI_USERS", refresh=None, audience="fastapi-users:auth", scope_claims=()
)

# Authlib's `JWTBearerTokenGenerator` of RFC 9068. Its refresh tokens are random texts.
AUTHLIB = FormerLibrary(name="AUTHLIB", types=frozenset(("at+jwt",)), refresh=None)

# Written by hand: nothing is known but the header that PyJWT writes.
PYJWT = FormerLibrary(name="PYJWT")

# All of these presets, by their names.
LIBRARIES = {
    library.name: library
    for library in (FLASK_JWT_EXTENDED, SIMPLEJWT, AUTHX, FASTAPI_USERS, AUTHLIB, PYJWT)
}
