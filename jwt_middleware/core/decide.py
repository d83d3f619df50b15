"""Decide what to do with a request. Nothing here waits, reads, writes or knows a framework."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from ..jose import jws
from ..jose.jwk import Key
from ..jose.jws import Parsed
from ..keys.live_keys import LiveKeys
from ..request.credentials import bearer
from ..request.origins import Origins, is_preflight
from ..request.refusals import Refusals
from ..request.routes import RouteRule, Routes
from ..settings.groups import Refresh
from ..settings.settings import Settings, timer
from ..token.claims import accept, check_type, lifetime, time_of
from ..values import reasons
from ..values.decisions import Ask, Forward, Reply, Step, nobody
from ..values.errors import (
    InsufficientAuthentication,
    InsufficientScope,
    InvalidRequest,
    InvalidToken,
    MissingCredentials,
    OAuthError,
)
from ..values.events import Refused
from ..values.requests import Request, Response
from ..values.tokens import AccessToken, FrozenDict, Hidden, User
from .known_tokens import Cache, Entry, life_of, slimmed
from .trusted_issuers import Issuers, Trust

if TYPE_CHECKING:  # what groups of settings stand for, loaded where they are on
    from ..grant.ended_grants import EndedGrants
    from ..grant.endpoints import Endpoints
    from ..grant.exchange import Exchange, Ports
    from ..request.access_cookie import AccessCookie
    from ..request.documents import Document


@dataclass(frozen=True, slots=True)
class Lookups:
    """How to ask for what the core may not know, in the form that its door can wait for."""

    key: Callable[[LiveKeys, str | None, float], Any] = LiveKeys.find
    renew: Callable[[LiveKeys, float], Any] = LiveKeys.renew
    # Asks the application's `Settings.issuer_for`; returns a `Trust`, or raises OAuthError.
    issuer: Callable[[str], Any] | None = None


@dataclass(slots=True)
class _Attempt:
    """A token on its way in."""

    rule: RouteRule
    parsed: Parsed
    came: _Came


@dataclass(slots=True)
class _Came:
    """An access token as it came."""

    text: str
    credentials: str | bytes | None  # in which it stood, as a whole

    def __repr__(self) -> str:
        return "<credentials>"


Warm: TypeAlias = Callable[[str, str, str | bytes], Forward | None]


def _warm(
    recall: Callable[[str | bytes], Entry | None],
    timed: Any,
    served: Mapping[str, object],
    routes: Routes,
    lets_pass: Callable[[str, float, float], bool] | None,
) -> Warm:
    """Return what serves a token that is known. What it needs is at hand, for every request."""
    has_rules, find = not routes.is_uniform, routes.find
    has_endpoints = bool(served)

    def warm(method: str, path: str, credentials: str | bytes) -> Forward | None:
        """Return what `begin` would lead to, for a token that is known and has nothing to ask.

        None says that there is more to it, and nothing else.
        """
        entry = recall(credentials)
        if entry is None:
            return None
        del credentials  # error trackers send what is in frames, and a clock may fail
        now, keys = timed.time(), entry.keys
        # As `holds`, written out: under a server each call counts, and this is a part in twenty of
        # all that is added to a request. Comparisons in a chain would be calls.
        if not (entry.start <= now and now < entry.end):
            return None
        if not (keys.since <= now and now < keys.due and keys.generation == entry.generation):
            return None
        if has_endpoints and path in served:
            return None
        if has_rules:
            try:
                rule = find(method, path)
            except InvalidRequest:
                return None
            if rule.is_special or (rule.scopes and not rule.scopes <= entry.scopes):
                return None
        if lets_pass is not None:
            grant_id = entry.grant_id
            if grant_id is not None and not lets_pass(grant_id, entry.life, now):
                return None
        entry.seen = True
        return entry

    return warm


class Core:
    """Request -> step, error -> answer. What doesn't depend on the request is made here, once."""

    def __init__(
        self,
        settings: Settings,
        ports: Ports | None = None,
        ended: EndedGrants | None = None,
        issuers: Issuers | None = None,
        lookups: Lookups | None = None,
        cache: Cache | None = None,
        hear: Callable[[OAuthError], None] | None = None,
    ) -> None:
        self._hear = hear  # takes every refusal, to tell of faults that stand behind some
        self._routes = Routes(settings.routes)
        self._cache = cache
        self._issuers = issuers or Issuers(settings)
        self._own_keys = self._issuers.own.keys
        self._lookups = lookups or Lookups()
        self._leeway = settings.leeway
        self._nobody = nobody()
        cookies = settings.refresh.cookies if settings.refresh is not None else None
        self.jars = cookies.jars(settings.issuer) if cookies is not None else None
        known = frozenset(settings.origins) | settings.own_origins
        self._check_own_origin: Callable[[Request], None] | None = None
        self._access_cookie: AccessCookie | None = None
        if any(route.own_origin for route in settings.routes):
            from ..request.cookies import check_own_origin

            self._check_own_origin = partial(check_own_origin, origins=known)
        if cookies is not None and self.jars is not None and self.jars.access is not None:
            from ..request.access_cookie import AccessCookie
            from ..request.cookies import check_sender

            self._access_cookie = AccessCookie(
                self.jars,
                self.jars.access,
                check_sender=partial(check_sender, header=cookies.header, origins=known),
                issuer=settings.issuer,
                has_key=lambda kid: kid in self._own_keys.fresh.keys,
                has_ended=(ended if ended is not None else frozenset[str]()).__contains__,
                is_known=lambda text: cache is not None and cache.get(text) is not None,
            )
        self._origins = Origins(
            settings.origins,
            credentials=cookies is not None,
            header=cookies.header if cookies is not None else "",
        )
        resource = settings.resource
        self._refusals = Refusals(
            realm=settings.realm,
            metadata_url=resource.metadata_url if resource is not None else "",
            problem_details=settings.problem_details,
        )
        self._documents: dict[str, Document] = {}
        if resource is not None or settings.refresh is not None:
            from .metadata import documents

            self._documents = documents(settings)
        self._clock = settings.clock
        self._headers = self._issuers.headers
        self.exchange: Exchange | None = None
        self._endpoints: Endpoints | None = None
        self._unless_ended: Callable[[Forward, str, float, float], Step] | None = None
        lets_pass: Callable[[str, float, float], bool] | None = None
        if settings.refresh is not None and ports is not None and ended is not None:
            from ..grant.ended_grants import unless_ended

            group = settings.refresh
            self._unless_ended = partial(unless_ended, ports.sync, ended)
            lets_pass = ended.lets_pass
            if group.serve:
                self.exchange, self._endpoints = self._issuing(settings, group, ports, ended, known)
        # What we answer ourselves, and no token opens or closes.
        self._served: dict[str, Callable[[Request], Step]] = {
            path: partial(_published, document) for path, document in self._documents.items()
        }
        if self._endpoints is not None:
            for path, endpoint in self._endpoints.paths.items():
                self._served[path] = partial(self._with_own_keys, endpoint)
        self.warm = _warm(
            # Where a cookie may have come, too, it is one credential too many.
            recall=cache.get if cache is not None and self._access_cookie is None else _forget,
            timed=timer(self._clock),
            served=self._served,
            routes=self._routes,
            lets_pass=lets_pass,
        )

    def _issuing(
        self,
        settings: Settings,
        group: Refresh,
        ports: Ports,
        ended: EndedGrants,
        known_origins: frozenset[str],
    ) -> tuple[Exchange, Endpoints]:
        # Not at the top: a service that only verifies has no use for these.
        from ..grant.endpoints import Endpoints
        from ..grant.exchange import Exchange

        live = self._own_keys
        exchange = Exchange(settings, group, ports, ended, live, self._lookups.renew)
        endpoints = Endpoints(
            settings, group, exchange, self._origins, known_origins, self.verify, live
        )
        return exchange, endpoints

    def begin(self, request: Request) -> Step:
        """Return the first step for a request. Raises OAuthError, for `refuse`."""
        ours = self._served.get(request.path)
        if ours is not None and not request.is_websocket:
            return ours(request)
        rule = self._routes.find(request.method, request.path)
        if (
            self._check_own_origin is not None
            and (rule.public or rule.optional)
            and (rule.own_origin or self._routes.logs_in(request.method, request.path))
        ):
            self._check_own_origin(request)
        if rule.public:
            return self._nobody
        came = self._came(request)
        if came is None:
            # Absent isn't wrong: an optional route takes a missing token, never a bad one.
            if rule.optional:
                return self._nobody
            # A preflight never carries credentials; it reaches the application only where its
            # origin was configured, because an application may serve OPTIONS like any method.
            if is_preflight(request) and self._origins.knows(request):
                return self._nobody
            raise MissingCredentials
        now = self._clock()
        if self._cache is not None and came.credentials is not None:
            entry = self._cache.get(came.credentials)
            if entry is not None and entry.holds(now):
                entry.seen = True
                return self._let_in(rule, entry, now)
        parsed = jws.parse(came.text, self._headers)
        name = _issuer_of(parsed)
        attempt = _Attempt(rule, parsed, came)
        trust = self._issuers.find(name, now)
        if trust is not None:
            return self._check(attempt, trust, now)
        return Ask(
            # There is one: else nobody would know more, and `find` has said so.
            cast("Callable[[str], Any]", self._lookups.issuer),
            (name,),
            lambda found: self._check(attempt, found, now),
        )

    def renewed(self, now: float, then: Callable[..., Step], *args: Any) -> Step:
        """Go on with our own keys, after a look for others if one is due: they sign, too."""
        keys = self._own_keys
        fresh = keys.fresh
        if fresh.since <= now < fresh.due:
            return then(*args)
        # What is known goes on to sign, whatever the look brings.
        return Ask(self._lookups.renew, (keys, now), lambda _: then(*args), lambda _: then(*args))

    def _with_own_keys(self, endpoint: Callable[[Request], Step], request: Request) -> Step:
        return self.renewed(self._clock(), endpoint, request)

    def _check(self, attempt: _Attempt, trust: Trust, now: float) -> Step:
        """Go on with the issuer's key, after a question for it if one is due."""
        parsed = attempt.parsed
        if parsed.header_segment not in trust.headers:
            check_type(parsed, trust.policy.profile)
        fresh = trust.keys.fresh
        key = fresh.keys.get(parsed.header.kid)
        if key is not None and fresh.since <= now < fresh.due:
            return self._admit(attempt, trust, key, now)
        return Ask(
            self._lookups.key,
            (trust.keys, parsed.header.kid, now),
            # Later, if it had to wait.
            lambda found: self._admit(attempt, trust, found, self._clock()),
        )

    def _admit(self, attempt: _Attempt, trust: Trust, key: Key, now: float) -> Step:
        """Let a token in that holds. Raises OAuthError."""
        fresh, parsed = trust.keys.fresh, attempt.parsed
        generation = fresh.generation  # before anything is checked: what changes later is noticed
        token = self._accept(parsed, trust, key, now)
        self._issuers.proved(trust)
        is_present = fresh.keys.get(parsed.header.kid) is key
        if self._cache is None or attempt.came.credentials is None or not is_present:
            return self._let_in(attempt.rule, Forward(token, _user(token, trust)), now)
        token = slimmed(token)
        start, end = lifetime(token.claims, self._leeway)
        entry = Entry(
            token,
            _user(token, trust),
            start=max(start, trust.since),
            end=min(end, trust.until),
            keys=fresh,
            generation=generation,
        )
        self._cache.put(attempt.came.credentials, entry)
        return self._let_in(attempt.rule, entry, now)

    def _let_in(self, rule: RouteRule, forward: Forward, now: float) -> Step:
        """Go on with a token that holds, where this route takes it. Raises OAuthError."""
        _authorize(rule, forward, now, self._leeway)
        token = forward.token
        if token is None or token.grant_id is None or self._unless_ended is None:
            return forward
        return self._unless_ended(forward, token.grant_id, life_of(token), now)

    def _came(self, request: Request) -> _Came | None:
        """Return the access token of the request, from the one place that has it."""
        text = bearer(request.header("authorization"))
        if self._access_cookie is None:
            return None if text is None else _Came(text, self._name_of(request, text))
        cookie = self._access_cookie.read(request)
        if cookie is None:
            return None if text is None else _Came(text, text)
        if text is not None:
            raise InvalidRequest(reasons.CREDENTIALS_TWICE)
        self._access_cookie.check_sender(request)
        return _Came(cookie, cookie)

    def _name_of(self, request: Request, text: str) -> str | bytes | None:
        """Return what a token is kept by, in the form that its door has headers in.

        RFC 9110 s11.1 lets the scheme be written in any case, and space around it: one spelling is
        kept, the commonest, or one token would take the room of a thousand.
        """
        given = request.credentials
        if given is None:
            return None
        name = f"Bearer {text}".encode() if isinstance(given, bytes) else f"Bearer {text}"
        return given if given == name else name

    def verify(self, text: Hidden[str], now: float) -> AccessToken:
        """Return the access token that a text is, as far as is known now. Raises InvalidToken."""
        parsed = jws.parse(text.value, self._headers)
        trust = self._issuers.find(_issuer_of(parsed), now)
        if trust is None:
            raise InvalidToken(reasons.ISSUER)
        if parsed.header_segment not in trust.headers:
            check_type(parsed, trust.policy.profile)
        fresh = trust.keys.fresh
        key = fresh.keys.get(parsed.header.kid)
        if key is None or not (fresh.since <= now < fresh.due or fresh.is_usable(now)):
            raise InvalidToken(reasons.KEY_UNKNOWN)
        return self._accept(parsed, trust, key, now)

    def _accept(self, parsed: Parsed, trust: Trust, key: Key, now: float) -> AccessToken:
        jws.check_signature(parsed, key)
        self._remember(parsed, trust)
        return accept(parsed, trust.policy, now)

    def _remember(self, parsed: Parsed, trust: Trust) -> None:
        # Only what a key of the issuer's has signed is remembered.
        segment = parsed.header_segment
        if segment not in trust.headers or segment not in self._headers:
            self._issuers.remember(trust, segment, parsed.header)

    def refuse(self, request: Request, error: OAuthError) -> Reply:
        """Make an answer of an error: the one place where one becomes bytes."""
        if self._hear is not None:
            self._hear(error)
        ours = None if request.is_websocket else self._ours(request.path)
        # Only an odd path has no rule, and its refusal is a 400.
        is_challenged = ours is None and error.status in (401, 403)
        scope = self._routes.find(request.method, request.path).scope if is_challenged else ""
        response = self._refusals.answer(error, at_resource=ours is None, scope=scope)
        more = (
            self._origins.headers(request) if ours is None else ours.refusal_headers(request, error)
        )
        headers = response.headers + more
        # RFC 9110 s9.3.2: the fields of a GET, and no content.
        body = b"" if request.method == "HEAD" else response.body
        event = Refused(
            reason=error.reason,
            status=error.status,
            method=_told(request.method),
            path=_told(request.path),
            detail=error.detail,
            grant_id=error.grant_id,
        )
        return Reply(Response(response.status, headers, body), (*error.events, event))

    def _ours(self, path: str) -> Document | Endpoints | None:
        """Return what of ours is at a path; None: a resource of the application's."""
        return self._documents.get(path) or (self._endpoints if path in self._served else None)


# What people put into a URL by mistake must not come into a log by it.
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_.-]*")
MAX_TOLD = 512  # characters of what a client sent, in an event


def _told(text: str) -> str:
    return _TOKEN.sub("[token]", text[:MAX_TOLD])


def _published(document: Document, request: Request) -> Step:
    return Reply(document.answer(request))


def _issuer_of(parsed: Parsed) -> Any:
    try:
        return parsed.claims["iss"]
    except KeyError:
        raise InvalidToken(reasons.CLAIM_MISSING, "iss") from None


def _forget(credentials: str | bytes) -> None:
    """Know no token, where none is kept or where it alone doesn't decide."""


def _user(token: AccessToken, trust: Trust) -> User:
    """Return who the application's user is. Only our own issuer's users are its users."""
    if token.is_client:
        return nobody().user
    if trust.policy.own:
        return User(True, token.subject)
    if trust.user is None:
        return nobody().user
    try:
        name: Any = trust.user(token)
    except Exception as error:
        # As with a check: what can't decide doesn't let in.
        raise InvalidToken(reasons.USER_HOOK, type(error).__name__) from error
    if name is None:
        return nobody().user
    if not isinstance(name, str) or not name or not name.isprintable():
        raise InvalidToken(reasons.USER_HOOK, "not a name")
    return User(True, name)


def _authorize(rule: RouteRule, forward: Forward, now: float, leeway: float) -> None:
    """Check what the route asks for beyond a valid token. Raises OAuthError."""
    # RFC 6749 s3.3: scope values are case-sensitive, and their order means nothing.
    if rule.scopes and not rule.scopes.issubset(forward.scopes):
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
                reasons.AUTHENTICATION_AGE, max_age=rule.max_age, acr_values=rule.acr_values
            )
    if rule.acr_values and claims.get("acr") not in rule.acr_values:
        raise InsufficientAuthentication(
            reasons.AUTHENTICATION_CONTEXT, max_age=rule.max_age, acr_values=rule.acr_values
        )
