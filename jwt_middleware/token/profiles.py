"""What an issuer's access tokens look like, and where they say what. Presets have the name of their
standard, or of the issuer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from ..values.arrays import Several, freeze_fields
from ..values.tokens import FrozenDict

# A claim's name, or its path. In a text each dot leads into an object, unless the text is a name
# with a namespace (`:` or `/` is in it). Several texts are the steps themselves.
ClaimPath: TypeAlias = str | tuple[str, ...]

_WITHOUT_RULES = frozenset(("iss", "exp", "aud", "sub"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The header type and the claims that an issuer's access tokens must have, and what they mean.

    One of your own begins with what `FOREIGN` says. `required` has the names of RFC 9068: "aud" is
    there if the `audience_claim` is; "sub" and "client_id" are if one of their claims is.

    Args:
        name: what messages call it.
        types: values of the header `typ`, lower-case and without "application/"; "" stands for a
            token without `typ`. Every other type is refused, which keeps refresh tokens, logout
            tokens and proofs out (RFC 8725 s3.11, s3.12).
        required: the claims that must be there.
        claims: claims that must have exactly this value, of this type and in this case, such as
            {"token_use": "access"}: they tell access tokens from the issuer's other tokens.
        audience_claim: the claim that says whom the token is for, if that isn't `aud`. Only beside
            `claims` that the issuer's other tokens don't have: `iss` or `sub` alone won't do.
        subject_claims: the first of these that is there, and not "", names the subject.
        client_claims: the first of these that is there names the client.
        scope_claims: where scopes stand: names or paths of claims, of a text with words or an array
            of texts. The first that is there counts, even if it is empty or malformed. A malformed
            one gives no scope.
        scope_is_text: the claim `scope` must be one text by the grammar of RFC 6749 s3.3, as RFC
            9068 s2.2.3 says: a token with another is refused, not without scopes.
        scope_union: all of these claims count, not only the first. A client's scope and a user's
            roles are different rights: together they let a client do what its user may do.
        scope_prefix: what a value must begin with to be a scope here; it is cut off. Other values
            give nothing.
        scope_map: our scope for each value of theirs, or several separated by spaces. If there is a
            map, values that it doesn't name give nothing.
        scope_implies: for each scope those that it includes, separated by spaces. What these
            include is included, too.
        id_tokens: these are ID tokens, because the issuer has no others for us: the audience is the
            client's own name. `jwt-middleware check` warns.

    """

    name: str = "of your own"
    types: frozenset[str] = frozenset(("", "jwt", "at+jwt"))  # RFC 7515 s4.1.9
    required: frozenset[str] = _WITHOUT_RULES
    claims: Mapping[str, str | bool | int] = field(default_factory=FrozenDict)
    audience_claim: str = "aud"
    subject_claims: Several[str] = ("sub",)
    client_claims: Several[str] = ("client_id",)
    scope_claims: Several[ClaimPath] = ("scope",)
    scope_is_text: bool = False
    scope_union: bool = False
    scope_prefix: str = ""
    scope_map: Mapping[str, str] = field(default_factory=FrozenDict)
    scope_implies: Mapping[str, str] = field(default_factory=FrozenDict)
    id_tokens: bool = False

    def __post_init__(self) -> None:
        freeze_fields(self, sets=("types", "required"))

    def replace(self, **changes: Any) -> Profile:
        """Return a copy with these fields changed: `profiles.KEYCLOAK.replace(scope_map=...)`.

        Args:
            **changes: fields by their names.

        """
        return replace(self, **changes)


# The default: tokens as RFC 9068 has them, header type and all.
RFC_9068 = Profile(
    name="RFC_9068",
    # RFC 9068 s4: "The resource server MUST verify that the "typ" header value is "at+jwt" or
    # "application/at+jwt" and reject tokens carrying any other value".
    types=frozenset(("at+jwt",)),
    required=frozenset(("iss", "exp", "aud", "sub", "client_id", "iat", "jti")),  # s2.2
    scope_is_text=True,
)

# For issuers that don't follow RFC 9068. Their ID tokens look the same, so only the audience tells
# them apart.
FOREIGN = Profile(name="FOREIGN")

# Keycloak's access tokens; its ID, refresh and logout tokens are refused.
KEYCLOAK = Profile(
    name="KEYCLOAK",
    types=frozenset(("jwt", "at+jwt")),
    # Beside the header `typ` there is a claim of that name: "ID" in ID tokens, "Refresh",
    # "Logout". A token that is bound to a key says "DPoP".
    claims={"typ": "Bearer"},
    client_claims=("azp",),
)

# Microsoft Entra ID, tokens of version 1 and 2: scopes are `scp`, or a client's own `roles`.
ENTRA = Profile(
    name="ENTRA",
    types=frozenset(("jwt",)),
    # ID tokens name no client beside their audience.
    required=_WITHOUT_RULES | {"client_id"},
    client_claims=("azp", "appid"),  # tokens of version 2, and of version 1
    # `scp`: what a client may do for its user; `roles`: where it acts for itself, its own rights.
    # A user's `roles` beside `scp` don't count.
    scope_claims=("scp", "roles"),
)

# Okta's custom authorization servers: scopes are `scp`, the client is `cid`.
OKTA = Profile(
    name="OKTA",
    types=frozenset(("", "jwt", "at+jwt")),
    required=_WITHOUT_RULES | {"client_id", "jti"},
    client_claims=("cid",),  # not in ID tokens
    scope_claims=("scp",),
)

# Auth0, by either token profile of an API: its own or RFC 9068.
AUTH0 = Profile(
    name="AUTH0",
    types=frozenset(("jwt", "at+jwt")),  # the API's token profile "Auth0", or "RFC 9068"
    required=_WITHOUT_RULES | {"client_id"},  # not in ID tokens
    client_claims=("azp", "client_id"),
)

# Amazon Cognito: the audience is the claim `client_id`; ID tokens are refused.
COGNITO = Profile(
    name="COGNITO",
    types=frozenset(("", "jwt")),
    required=_WITHOUT_RULES | {"client_id", "jti"},
    # ID tokens have the client in `aud`, and "id" here.
    claims={"token_use": "access"},
    audience_claim="client_id",
)

# Spring Authorization Server.
SPRING = Profile(
    name="SPRING",
    types=frozenset(("", "jwt", "at+jwt")),
    # ID tokens have the same audience, the client's id, and no `nbf`.
    required=_WITHOUT_RULES | {"iat", "nbf"},
)

# Service accounts of a Kubernetes cluster; their tokens have no scopes.
KUBERNETES = Profile(
    name="KUBERNETES",
    types=frozenset(("",)),
    required=_WITHOUT_RULES | {"iat", "kubernetes.io"},
    scope_claims=(),
)

# Better Auth's JWT plugin; its tokens have no scopes.
BETTER_AUTH = Profile(
    name="BETTER_AUTH",
    types=frozenset(("",)),
    required=_WITHOUT_RULES | {"iat"},
    scope_claims=(),
)

# Google's ID tokens, for a service that is the client itself; they have no scopes.
GOOGLE_ID_TOKEN = Profile(
    name="GOOGLE_ID_TOKEN",
    types=frozenset(("jwt",)),
    required=_WITHOUT_RULES | {"iat"},
    client_claims=("azp",),
    scope_claims=(),
    id_tokens=True,
)

# Firebase's and Identity Platform's ID tokens; they have no scopes.
FIREBASE_ID_TOKEN = Profile(
    name="FIREBASE_ID_TOKEN",
    types=frozenset(("jwt",)),
    required=_WITHOUT_RULES | {"iat", "auth_time", "firebase"},
    scope_claims=(),
    id_tokens=True,
)

# All presets by their names, as variables and TOML name them.
PROFILES = {
    profile.name: profile
    for profile in (
        *(RFC_9068, FOREIGN, KEYCLOAK, ENTRA, OKTA, AUTH0, COGNITO, SPRING, KUBERNETES),
        *(BETTER_AUTH, GOOGLE_ID_TOKEN, FIREBASE_ID_TOKEN),
    )
}
