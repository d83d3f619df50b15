"""Decide what to do with a request. Nothing here waits, reads, writes or knows a framework."""

from json import dumps

from .jose import jws
from .request.challenges import challenge
from .request.credentials import bearer
from .request.origins import Origins, is_preflight
from .request.routes import Routes, Rule
from .settings import Settings
from .token.access import Policy, accept, check_type
from .token.claims import time_of
from .values.errors import (
    InsufficientAuthentication,
    InsufficientScope,
    MissingCredentials,
    OAuthError,
    Reason,
    Unavailable,
)
from .values.events import Refused
from .values.frozen import FrozenDict
from .values.model import AccessToken, Request, Response, User
from .values.steps import NOBODY, Forward, Reply, Step

MAX_HEADERS = 64


class Core:
    """Request -> step, error -> answer. What doesn't depend on the request is made here, once."""

    __slots__ = (
        "_answers",
        "_clock",
        "_headers",
        "_keys",
        "_origins",
        "_policy",
        "_problem",
        "_realm",
        "_routes",
    )

    def __init__(self, settings: Settings) -> None:
        self._routes = Routes(settings.routes)
        self._keys = settings.keys
        self._policy = Policy(
            issuer=settings.issuer,
            audience=frozenset(settings.audience),
            profile=settings.profile,
            leeway=settings.leeway,
            checks=settings.checks,
        )
        self._origins = Origins(settings.origins)
        self._realm = settings.realm
        self._problem = settings.problem_details
        self._clock = settings.clock
        self._headers: dict[bytes, jws.Header] = {}
        self._answers: dict[tuple[object, ...], Response] = {}

    def begin(self, request: Request) -> Step:
        """Return the first step for a request. Raises OAuthError, for `refuse`."""
        rule = self._routes.find(request.method, request.path)
        if rule.public:
            return NOBODY
        token = bearer(request.header("authorization"))
        if token is None:
            # Absent isn't wrong: an optional route takes a missing token, never a bad one.
            if rule.optional:
                return NOBODY
            # A preflight never carries credentials; it reaches the application only where its
            # origin was configured, because an application may serve OPTIONS like any method.
            if is_preflight(request) and self._origins.knows(request):
                return NOBODY
            raise MissingCredentials(scope=rule.scope)
        now = self._clock()
        forward = _hand_over(self.verify(token, now), own=self._policy.own)
        _authorize(rule, forward, now, self._policy.leeway)
        return forward

    def verify(self, text: str, now: float) -> AccessToken:
        """Return the access token that a text is. Raises InvalidToken."""
        parsed = jws.parse(text, self._headers)
        header = parsed.header
        if parsed.header_segment in self._headers:
            jws.check_signature(parsed, self._keys.find(header.kid))
        else:
            check_type(parsed, self._policy.profile)
            jws.check_signature(parsed, self._keys.find(header.kid))
            # Only what a key of the issuer's has signed is remembered, and it has few headers.
            if len(self._headers) < MAX_HEADERS:
                self._headers[parsed.header_segment] = header
        return accept(parsed, self._policy, now)

    def refuse(self, request: Request, error: OAuthError) -> Reply:
        """Make an answer of an error: the one place where one becomes bytes."""
        # Derived from settings and never from what was sent, so that this can't grow without end.
        key = (type(error), error.retry_after, *error.parameters())
        response = self._answers.get(key)
        if response is None:
            response = self._answers[key] = self._answer(error)
        headers = response.headers + self._origins.headers(request)
        # RFC 9110 s9.3.2: the fields of a GET, and no content.
        body = b"" if request.method == "HEAD" else response.body
        event = Refused(
            reason=error.reason,
            status=error.status,
            method=request.method,
            path=request.path,
            detail=error.detail,
        )
        return Reply(Response(response.status, headers, body), (event,))

    def _answer(self, error: OAuthError) -> Response:
        # RFC 6750 s3.1: without credentials, neither an error code nor other error information.
        code = {} if error.error is None else {"error": error.error}
        if self._problem:
            content_type = "application/problem+json"
            title = _TITLES[error.status]
            body = {"type": "about:blank", "title": title, "status": error.status}
            body |= {"detail": error.description, **code}
        else:
            content_type = "application/json"
            body = {**code, "error_description": error.description}
        content = dumps(body, separators=(",", ":")).encode()
        if isinstance(error, Unavailable):
            way_on = ("retry-after", str(error.retry_after))
        else:
            way_on = ("www-authenticate", challenge(self._realm, error))
        headers = (
            ("content-type", content_type),
            ("content-length", str(len(content))),
            # What was refused to one must not be kept for another, nor for the same one's next try.
            ("cache-control", "no-store"),
            way_on,
        )
        return Response(error.status, headers, content)


_TITLES = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 503: "Service Unavailable"}


def _hand_over(token: AccessToken, *, own: bool) -> Forward:
    """Prepare what the application reads. Only our own issuer's users are its users."""
    if token.is_client or not own:
        return Forward(token, NOBODY.user)
    return Forward(token, User(True, token.subject))


def _authorize(rule: Rule, forward: Forward, now: float, leeway: float) -> None:
    """Check what the route asks for beyond a valid token. Raises OAuthError."""
    # RFC 6749 s3.3: scope values are case-sensitive, and their order means nothing.
    if rule.scopes and not rule.scopes.issubset(forward.auth.scopes):
        raise InsufficientScope(rule.scope)
    if rule.max_age is None and not rule.acr_values:
        return
    claims = forward.token.claims if forward.token is not None else FrozenDict()
    if rule.max_age is not None:
        # RFC 9470 s4: no more than max_age since `auth_time`; without one, nobody knows.
        authenticated = time_of(claims, "auth_time")
        if authenticated is None or not (
            authenticated - leeway <= now <= authenticated + rule.max_age + leeway
        ):
            raise InsufficientAuthentication(
                Reason.AUTHENTICATION_AGE, max_age=rule.max_age, acr_values=rule.acr_values
            )
    if rule.acr_values and claims.get("acr") not in rule.acr_values:
        raise InsufficientAuthentication(
            Reason.AUTHENTICATION_CONTEXT, max_age=rule.max_age, acr_values=rule.acr_values
        )
