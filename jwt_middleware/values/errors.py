"""Errors know their answer and keep their reason to themselves.

`status`, `error` and the parameters of a challenge are for the client. The `reason` is for events,
logs and tests only: it would help the sender of a forged token to make a better one.
"""

from __future__ import annotations

from typing import Self

from . import reasons
from .events import Event
from .reasons import Reason
from .requests import Headers


class ConfigurationError(ValueError):
    """A setting is wrong or unsafe. Raised when settings or keys are made, never by a request.

    The message names the field, what is wrong, and the way out. It never holds the value of a
    secret.

    Attributes:
        field: the setting, as in `refresh.store`, or its variable.
        problem: what is wrong.
        remedy: the way out; "": the problem says it.

    """

    def __init__(self, field: str, problem: str, remedy: str = "") -> None:
        self.field = field
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{field}: {problem}" + (f" ({remedy})" if remedy else ""))

    def __reduce__(self) -> tuple[type[ConfigurationError], tuple[str, str, str]]:
        return type(self), (self.field, self.problem, self.remedy)


class OAuthError(Exception):
    """A refusal: `status` and `error` are the answer (RFC 6749 s5.2, RFC 6750 s3.1)."""

    status: int = 400
    error: str | None = None
    description: str = ""
    retry_after: int | None = None  # seconds
    grant_id: str | None = None
    events: tuple[Event, ...] = ()  # other events to report, before the refusal
    clears: Headers = ()  # Set-Cookie fields, of grants that have ended; or a device's challenge
    # The challenge's parameters beside `error` and `error_description`.
    parameters: tuple[tuple[str, str], ...] = ()

    def __init__(self, reason: Reason, detail: str = "") -> None:
        # `detail` says which claim or rule; it must never hold a token or the value of a claim.
        self.reason = reason
        self.detail = detail

    def of(self, grant_id: str, *events: Event) -> Self:
        """Return this error with its grant, and with the events about that grant."""
        self.grant_id = grant_id
        self.events = events
        return self

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


class InvalidRequest(OAuthError):
    """The request is malformed (RFC 6750 s3.1)."""

    status, error = 400, "invalid_request"
    description = "The request is malformed, or carries credentials more than once"

    def __init__(self, reason: Reason, detail: str = "", *, description: str = "") -> None:
        super().__init__(reason, detail)
        if description:
            # One of a few: an answer is made once for each. So never a name that the client sent.
            self.description = description


class MissingCredentials(OAuthError):
    """The request came without credentials: a challenge without an error code (RFC 6750 s3.1)."""

    status, error = 401, None
    description = "This resource needs an access token"

    def __init__(self) -> None:
        super().__init__(reasons.MISSING)


class InvalidToken(OAuthError):
    """The access token doesn't open anything. All causes give one and the same answer."""

    status, error = 401, "invalid_token"
    description = "The access token is malformed, expired, revoked or otherwise invalid"


class InvalidProof(OAuthError):
    """The proof that a client holds a key is missing, wrong or of another request (RFC 9449 s7.1).

    At a protected resource 401, at a token endpoint 400 (s5).
    """

    status, error = 401, "invalid_dpop_proof"
    description = "The DPoP proof is missing, invalid, not of this request or was used before"


class NonceNeeded(InvalidProof):
    """The proof must be made again, with the nonce of this answer (RFC 9449 s8, s9)."""

    error = "use_dpop_nonce"
    description = "The DPoP proof needs the nonce of the header DPoP-Nonce"

    def __init__(self, nonce: str) -> None:
        super().__init__(reasons.PROOF_NONCE)
        self.nonce = nonce


class DeviceProofNeeded(OAuthError):
    """The browser is to sign a challenge with its device's key (DBSC). No other 4xx says so."""

    status, error = 403, "device_proof_needed"
    description = "The key of this device must sign the challenge of Secure-Session-Challenge"


class InsufficientScope(OAuthError):
    """The token is good, but its scope is too small for this resource (RFC 6750 s3.1)."""

    status, error = 403, "insufficient_scope"
    description = "The access token lacks a scope that this resource needs"

    def __init__(self, scope: str) -> None:
        super().__init__(reasons.SCOPE, scope)


class InsufficientAuthentication(OAuthError):
    """The user's authentication is too old or of too low a class (RFC 9470 s3)."""

    status, error = 401, "insufficient_user_authentication"
    description = "This resource needs a more recent or a stronger authentication of the user"

    def __init__(
        self, reason: Reason, *, max_age: int | None = None, acr_values: tuple[str, ...] = ()
    ) -> None:
        super().__init__(reason)
        if acr_values:
            self.parameters += (("acr_values", " ".join(acr_values)),)
        if max_age is not None:
            self.parameters += (("max_age", str(max_age)),)


class NoLogin(OAuthError):
    """The token is good, but belongs to no user's login here, which the endpoint is about."""

    status, error = 403, "insufficient_scope"
    description = "This endpoint needs an access token that a user got by a login here"

    def __init__(self) -> None:
        super().__init__(reasons.NO_LOGIN)


class NotFound(OAuthError):
    """The user has no login of this id, whether another user has or nobody (RFC 9110 s15.5.5)."""

    status, error = 404, "not_found"
    description = "You have no login of this id"

    def __init__(self) -> None:
        super().__init__(reasons.NO_SESSION)


class NotAllowed(OAuthError):
    """The endpoint doesn't know this method (RFC 9110 s15.5.6)."""

    status, error = 405, "invalid_request"
    description = "This endpoint doesn't know this method"

    def __init__(self, allow: str) -> None:
        super().__init__(reasons.METHOD)
        self.parameters = (("allow", allow),)


class TooLarge(OAuthError):
    """The body is larger than any request that could be meant (RFC 9110 s15.5.14)."""

    status, error = 413, "invalid_request"
    description = "The body of the request is too large"


class CrossSite(OAuthError):
    """A request with cookies that another site may have caused."""

    status, error = 403, "invalid_request"
    description = (
        "The request may be another site's: it needs a known origin, and with cookies a header"
    )

    def __init__(
        self, reason: Reason, detail: str, *, header: str = "", forms: bool = False
    ) -> None:
        super().__init__(reason, detail)
        if header and forms:
            self.description = (
                "With cookies a form must come from a page of this site, and a script's request "
                f"needs the header {header}"
            )
        elif header:
            # The header's name isn't secret: it stands in every page that calls us. Another site's
            # script can't send the header without a preflight.
            self.description = f"With cookies the request needs the header {header}"


class InvalidGrant(OAuthError):
    """The refresh token buys nothing (RFC 6749 s5.2). All causes but one give the same answer."""

    status, error = 400, "invalid_grant"
    description = "The refresh token is expired, revoked, used up or was issued to another client"


class OtherClient(InvalidGrant):
    """The token was issued to another client (RFC 6749 s5.2): a mistake in a client's settings.

    It is told to those who hold an authentic token, which opens as much without a `client_id`.
    """

    description = "The refresh token was issued to another client: client_id names a wrong one"

    def __init__(self) -> None:
        super().__init__(reasons.CLIENT, "client_id")


class InvalidClient(OAuthError):
    """The request authenticates a client, which isn't supported here (RFC 6749 s5.2)."""

    status, error = 401, "invalid_client"
    description = "This endpoint takes no client authentication"


class InvalidScope(OAuthError):
    """More scope is asked for than was granted (RFC 6749 s6)."""

    status, error = 400, "invalid_scope"
    description = "The requested scope is malformed or exceeds what was granted"


class UnsupportedGrantType(OAuthError):
    """Only refresh tokens are exchanged here (RFC 6749 s5.2)."""

    status, error = 400, "unsupported_grant_type"
    description = "The only grant type here is refresh_token"


class UnsupportedTokenType(OAuthError):
    """The token can't be revoked: it belongs to no grant (RFC 7009 s2.2.1)."""

    status, error = 400, "unsupported_token_type"
    description = "A token of this kind can't be revoked"


class ConnectionCut(OSError):
    """This connection was ended on purpose, because its token no longer holds.

    For the server, which must not let a cut response look complete. It is an OSError, as that of a
    server whose client has gone: frameworks expect one of `send`.

    Attributes:
        reason: that of the event `connection_ended`: `expired`, say.

    """

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(f"jwt_middleware ended this connection on purpose: {reason}")

    def __reduce__(self) -> tuple[type[ConnectionCut], tuple[Reason]]:
        return type(self), (self.reason,)


class EndGrant(Exception):
    """For `claims_for` to raise: the grant is to end, for a reason such as "user deactivated".

    Args:
        reason: for the event and the row, never for the client.

    """

    def __init__(self, reason: str = "refused") -> None:
        self.reason = reason
        super().__init__(reason)


class Unavailable(OAuthError):
    """A part of ours can't answer now. The client is to repeat the request, which may be good.

    Args:
        reason: what failed, by its name in `errors.md`.
        detail: which verb or issuer, and why; never a token.

    """

    status, error = 503, "temporarily_unavailable"
    description = "The request can't be checked at the moment; try again"
    retry_after = 1

    def __init__(self, reason: Reason = reasons.UNAVAILABLE, detail: str = "") -> None:
        super().__init__(reason, detail)


class StoreUnavailable(Unavailable):
    """The store doesn't answer, or can't write. It is safe to repeat the call.

    Args:
        detail: which verb, and why.

    """

    def __init__(self, detail: str = "") -> None:
        super().__init__(reasons.STORE, detail)


class KeysUnavailable(Unavailable):
    """The issuer's keys can't be fetched at the moment, so that the token can't be checked.

    Args:
        detail: which issuer, and why.
        retry_after: seconds that the client is to wait.

    """

    def __init__(self, detail: str = "", retry_after: int = 1) -> None:
        super().__init__(reasons.KEYS, detail)
        self.retry_after = retry_after
