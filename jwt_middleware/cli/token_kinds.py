"""Whose token it is, and of which kind: guessed from what it says, for advice and nothing else.

What a token says may be a lie. So nothing here lets anything in: it names settings to think about.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..jose.jws import Parsed
from ..token import profiles
from ..token.claims import Policy, check_type, check_values, missing_claims
from ..token.profiles import PROFILES, Profile
from ..token.refresh import REFRESH_TYPE
from ..token.scopes import values_of
from ..values.errors import InvalidToken

ID_TOKEN, REFRESH_TOKEN, LOGOUT_TOKEN = "an ID token", "a refresh token", "a logout token"
# OpenID Connect Core s2, s3.1.3.6, s3.3.2.11: members of ID tokens.
_OF_ID_TOKENS = ("nonce", "at_hash", "c_hash", "s_hash")
# OpenID Connect Core s5.4, s11: scopes that ask for claims about the user, and open nothing.
_OPENID_SCOPES = {"openid", "profile", "email", "address", "phone", "offline_access"}
# Values by which issuers tell their kinds of tokens apart: Keycloak in `typ`, Cognito in
# `token_use`, our own in the header.
_KINDS: Mapping[tuple[str, str], str] = {
    ("typ", "Bearer"): "",
    ("token_use", "access"): "",
    ("header typ", "at+jwt"): "",
    ("typ", "ID"): ID_TOKEN,
    ("token_use", "id"): ID_TOKEN,
    ("typ", "Refresh"): REFRESH_TOKEN,
    ("typ", "Offline"): REFRESH_TOKEN,
    ("token_use", "refresh"): REFRESH_TOKEN,
    ("header typ", REFRESH_TYPE): REFRESH_TOKEN,
    ("typ", "Logout"): LOGOUT_TOKEN,
    ("header typ", "logout+jwt"): LOGOUT_TOKEN,
}


class _Marks(NamedTuple):
    """What an issuer's tokens of all kinds have, and tokens of others don't."""

    profile: Profile
    claims: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()
    iss: str = ""  # a part of the issuer's name


_MARKS = (
    _Marks(profiles.GOOGLE_ID_TOKEN, iss="//accounts.google.com"),
    _Marks(profiles.AUTH0, iss=".auth0.com/"),
    _Marks(profiles.KUBERNETES, frozenset(("kubernetes.io",))),
    _Marks(profiles.FIREBASE_ID_TOKEN, frozenset(("firebase",))),
    _Marks(profiles.COGNITO, frozenset(("token_use", "sub")), iss="cognito"),
    _Marks(profiles.COGNITO, frozenset(("token_use", "origin_jti"))),
    _Marks(profiles.ENTRA, frozenset(("tid", "ver"))),
    _Marks(profiles.KEYCLOAK, frozenset(("typ", "azp"))),
    _Marks(profiles.OKTA, frozenset(("cid", "scp"))),
    _Marks(profiles.BETTER_AUTH, frozenset(("emailVerified", "createdAt"))),
    _Marks(profiles.SPRING, frozenset(("nbf", "jti", "scope")), frozenset(("client_id", "azp"))),
)


def preset_of(claims: Mapping[str, Any]) -> Profile | None:
    """Return the profile that is named after the issuer of such claims."""
    for one in _MARKS:
        is_named = one.iss in str(claims.get("iss", ""))
        if is_named and one.claims <= claims.keys() and one.without.isdisjoint(claims):
            return one.profile
    return None


def fits(parsed: Parsed, profile: Profile) -> bool:
    """Say whether a token has the type, the claims and the values that a profile asks for."""
    policy = Policy(issuer="", audience=frozenset(), profile=profile, leeway=0)
    try:
        check_type(parsed, profile)
        if missing_claims(parsed.claims, policy):
            return False
        check_values(parsed.claims, policy, 0)
    except InvalidToken:
        return False
    return True


def other_kind(parsed: Parsed, profile: Profile) -> str:
    """Return what a token is in place of an access token, or "" if nothing speaks for that."""
    claims = parsed.claims
    preset = preset_of(claims)
    if profile.id_tokens or (preset is not None and preset.id_tokens):
        return ""  # there, an ID token is what is wanted
    header = str(parsed.header.members.get("typ", "")).lower().removeprefix("application/")
    said = {"typ": claims.get("typ"), "token_use": claims.get("token_use"), "header typ": header}
    for name, value in said.items():
        kind = _KINDS.get((name, value)) if isinstance(value, str) else None
        if kind is not None:
            return kind
    return ID_TOKEN if _is_id_token(claims) else ""


def _is_id_token(claims: Mapping[str, Any]) -> bool:
    if any(one in claims for one in _OF_ID_TOKENS):
        return True
    # It is for the client that asked, alone, and gives nothing but claims about its user.
    client, audience = claims.get("azp"), claims.get("aud")
    if client is None or audience not in (client, (client,)):
        return False
    given = (values_of(claims.get(one)) for one in ("scope", "scp", "roles", "permissions"))
    return {one for values in given for one in values} <= _OPENID_SCOPES


def is_preset(profile: Profile) -> bool:
    """Say whether a profile is one of ours, unchanged."""
    return PROFILES.get(profile.name) == profile


def as_written(profile: Profile, **changes: object) -> str:
    """Return a profile with these fields as it stands in the settings."""
    fields = ", ".join(f"{name}={value!r}" for name, value in changes.items())
    if not is_preset(profile):
        return f"{fields} in its profile"
    return f"profile=profiles.{profile.name}" + (f".replace({fields})" if fields else "")
