"""What a kind of access token must look like. Presets have the name of their standard."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The header type and the claims that an issuer's access tokens must have.

    `types` are values of the header `typ`, lower-case and without "application/" (RFC 7515 s4.1.9);
    "" stands for a token without `typ`. Every other type is refused, which keeps ID tokens, refresh
    tokens, logout tokens and proofs out (RFC 8725 s3.11, s3.12).
    """

    name: str
    types: frozenset[str]
    required: frozenset[str]


RFC_9068 = Profile(
    name="RFC_9068",
    # RFC 9068 s4: "The resource server MUST verify that the "typ" header value is "at+jwt" or
    # "application/at+jwt" and reject tokens carrying any other value".
    types=frozenset(("at+jwt",)),
    required=frozenset(("iss", "exp", "aud", "sub", "client_id", "iat", "jti")),  # s2.2
)

FOREIGN = Profile(
    name="FOREIGN",
    # For issuers that don't follow RFC 9068. Their ID tokens look the same, so only the audience
    # tells them apart.
    types=frozenset(("", "jwt", "at+jwt")),
    required=frozenset(("iss", "exp", "aud", "sub")),
)

PROFILES = {profile.name: profile for profile in (RFC_9068, FOREIGN)}
