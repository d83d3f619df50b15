"""What a rule asks for, of a token that is valid: scopes, and how its user has authenticated."""

from __future__ import annotations

from ..request.routes import RouteRule
from ..token.claims import time_of
from ..values import reasons
from ..values.errors import (
    InsufficientAuthentication,
    InsufficientScope,
    InvalidToken,
    MissingCredentials,
)
from ..values.tokens import AccessToken


def check_demands(rule: RouteRule, token: AccessToken | None, now: float, leeway: float) -> None:
    """Check what a rule asks for, of a token that is valid. Raises OAuthError."""
    if token is None:
        raise MissingCredentials
    if rule.needs_proof and token.bound_key is None and token.bound_certificate is None:
        raise InvalidToken(reasons.NOT_BOUND)
    # RFC 6749 s3.3: scope values are case-sensitive, and their order means nothing.
    if rule.scopes and not rule.scopes.issubset(token.scopes):
        raise InsufficientScope(rule.scope)
    if rule.max_age is None and not rule.acr_values:
        return
    claims = token.claims
    if rule.max_age is not None:
        # RFC 9470 s4: at most max_age since `auth_time`. A token without it is refused.
        authenticated = time_of(claims, "auth_time")
        if authenticated is None or not (
            authenticated - leeway <= now <= authenticated + rule.max_age + leeway
        ):
            raise InsufficientAuthentication(
                reasons.AUTHENTICATION_AGE, max_age=rule.max_age, acr_values=rule.acr_values
            )
    if rule.acr_values and claims.get("acr") not in rule.acr_values:
        raise InsufficientAuthentication(
            reasons.AUTHENTICATION_CONTEXT, max_age=rule.max_age, acr_values=rule.acr_values
        )
