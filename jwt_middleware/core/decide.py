"""Decide what to do with a request. Nothing here waits, reads, writes or knows a framework."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ..grant.ended_grants import EndedGrants
from ..grant.ports import Ports
from ..jose import jws
from ..request.cookies import check_own_origin
from ..request.credentials import Credentials, attempts_proof
from ..request.documents import Answering, Document
from ..request.origins import is_preflight
from ..request.refusals import told, with_one_vary
from ..request.routes import RouteRule, Routes
from ..settings.proof_groups import needs_proof as all_need_proof
from ..settings.proof_groups import proof_rules
from ..settings.settings import Settings, timer
from ..token.claims import check_type
from ..values import reasons
from ..values.errors import (
    InvalidToken,
    MissingCredentials,
    NonceNeeded,
    OAuthError,
)
from ..values.events import Refused
from ..values.flows import Flow, ask
from ..values.metrics import KNOWN_TOKEN, NEW_TOKEN, NO_TOKEN, Counts
from ..values.requests import Reply, Request, Response
from ..values.tokens import (
    ANONYMOUS,
    NOTHING_HELD,
    AccessToken,
    Forward,
    Held,
    Hidden,
)
from .answering import origins_of, refusals_of, sender_check
from .close_codes import CloseCodes
from .credential_readers import cookie_reader, header_reader
from .demands import check_demands
from .known_tokens import Cache, Entry, by_rules, know_nothing, warm_path
from .metadata import documents
from .open_tokens import OpenTokens
from .possession import possession_of
from .trusted_issuers import Issuers, foreign_user
from .used_proofs import UsedProofs

if TYPE_CHECKING:
    from ..grant.endpoints import Endpoints
    from ..grant.issuing import Issuing
    from ..grant.sessions import Sessions
    from ..request.navigation import Pages
    from .former_access import FormerAccess


class Core:
    """Request -> decision, error -> answer. All that doesn't depend on the request is made once.

    Args:
        settings: what is configured.
        ports: what flows may ask for.
        ended: the grants that this process knows to have ended; None: there are no grants.
        issuers: whose tokens are accepted; the WSGI and the ASGI middleware share one object.
        cache: known tokens, shared as well; None: none are kept.
        used: the proofs that this process has seen used, shared as well.
        hear: is called with every refusal, to report the faults that caused some of them.
        probe: answers at `Settings.ready_path`.
        counts: where requests are counted; None: they aren't.

    """

    # What the settings mount beside the application; None: nothing of this kind.
    issuing: Issuing | None = None
    endpoints: Endpoints | None = None
    _sessions: Sessions | None = None
    _pages: Pages | None = None
    _former: FormerAccess | None = None

    def __init__(
        self,
        settings: Settings,
        ports: Ports | None = None,
        ended: EndedGrants | None = None,
        issuers: Issuers | None = None,
        cache: Cache | None = None,
        hear: Callable[[OAuthError], None] | None = None,
        probe: Answering | None = None,
        counts: Counts | None = None,
        used: UsedProofs | None = None,
    ) -> None:
        self._ports = ports or Ports()
        self._ended = ended
        self.open_tokens = OpenTokens(settings, self._ports, ended)
        self._issuers = issuers or Issuers(settings)
        self._cache = cache
        self._hear = hear
        self._counts = counts
        self._timed = timer(settings.clock)
        self._leeway = settings.leeway
        self._routes = Routes(settings.routes, proof=all_need_proof(settings))
        self._has_logins = any(route.own_origin for route in settings.routes)
        self.jars = settings.refresh.jars(settings.issuer) if settings.refresh is not None else None
        self._known_origins = frozenset(settings.origins) | settings.own_origins
        self._origins = origins_of(settings)
        check, forms = sender_check(settings, self._known_origins)
        own_keys = self._issuers.own.keys
        self._access_cookie = cookie_reader(self.jars, check, settings, own_keys, cache, ended)
        by_cookie = self._access_cookie is not None
        self._close_codes = CloseCodes(settings, self._known_origins, by_cookie=by_cookie)
        # The paths that we answer ourselves, whatever token comes.
        self._documents: dict[str, Document | Answering] = {**documents(settings)}
        self._documents |= {settings.ready_path: probe} if settings.ready_path and probe else {}
        if settings.refresh is not None:
            self._mount(settings, check)
        self._has_pages = forms or self._pages is not None
        rules = self.issuing.proofs if self.issuing else proof_rules(settings)
        self._possession = possession_of(settings, rules, self._ports, self._timed, used)
        self._came = header_reader(settings, self._possession)
        self._refusals = refusals_of(settings, rules)
        self._get = cache.get if cache is not None else know_nothing
        # Without paths, rules and grants, which the long way looks at itself.
        self._recall = warm_path(self._get, self._timed)
        # Where a token may come in a cookie or another field, Authorization alone can't decide.
        by_field = bool(settings.credentials_header)
        get = self._get if self._access_cookie is None and not by_field else know_nothing
        looks = partial(
            warm_path,
            timed=self._timed,
            ours={**self._documents, **(self.endpoints.paths if self.endpoints else {})},
            below=self._sessions.path if self._sessions is not None else "",
            lets_pass=ended.lets_pass if ended is not None else None,
        )
        self.warm = by_rules(looks, get, self._routes, counts)

    def _mount(self, settings: Settings, check: Callable[[Request], None]) -> None:
        # Not at the top: most services only verify, and would load all that issues tokens.
        from . import mounted

        given = settings, self._ports, self._ended
        self._former = mounted.former_access(*given, check, self.jars)
        self._pages = mounted.pages_of(settings, self.jars, check, self._is_ours)
        self.issuing = mounted.issuing_of(*given, self._issuers.own.keys, self.jars)
        if self.issuing is not None:
            parts = self.issuing, self._origins, self._known_origins
            self.endpoints = mounted.Endpoints(*parts, self.verify, self._pages)
            self._sessions = mounted.sessions_of(*parts, self._authenticate)

    def decide(self, request: Request) -> Flow[Forward | Reply]:
        """Decide about a request. Raises nothing: a refusal is a decision, too."""
        try:
            ours = self._ours(request)
            if ours is None:
                step = yield from self.let_in(request)
                if step.token is None:
                    self._count_anonymous(request)
                return step
            if isinstance(ours, Document):
                return Reply(ours.answer(request))
            return (yield from ours.answer(request))
        except OAuthError as error:
            if self._has_pages and self._is_old_login(request, error):
                self._count_anonymous(request)
                return ANONYMOUS
            return self.refuse(request, error)

    def _count_anonymous(self, request: Request) -> None:
        if self._counts is not None:
            self._counts.let_in(self._rule_name(request), NO_TOKEN)

    def _rule_name(self, request: Request) -> str:
        """Return what metrics call the rule, or our own resource, that a request falls under."""
        ours, sessions = self._ours(request), self._sessions
        if ours is None:
            return self._routes.find(request.method, request.path, unchecked=True).name
        return f"{sessions.path}/*" if sessions and ours is sessions else request.path

    def _is_old_login(self, request: Request, error: OAuthError) -> bool:
        """Say whether a cookie that was good once came to a route that is for everyone."""
        # Pages with forms have no script that would refresh the token. In a header it is a
        # client's, which is told.
        return (
            isinstance(error, InvalidToken)
            and error.reason in (reasons.EXPIRED, reasons.GRANT_ENDED)
            and self._ours(request) is None
            and self._routes.find(request.method, request.path).optional
            and self._came(request) is None
        )

    def let_in(self, request: Request) -> Flow[Forward]:
        """Return the decision to call the application for this user. Raises OAuthError."""
        rule = self._routes.find(request.method, request.path)
        logs_in = (
            self._has_logins
            and (rule.public or rule.optional)
            and (rule.own_origin or self._routes.logs_in(request.method, request.path))
        )
        if logs_in:
            check_own_origin(request, self._known_origins)
        if self._pages is not None and (rule.public or rule.optional):
            self._pages.check_login(request)
        came = former = None
        if not rule.public:
            former = None if self._former is None else self._former.at(request.path)
            came = self._credentials(request)
            if came is None and former is not None:
                came = former.in_cookie(request)
        if came is not None:
            return (yield from self._admit(request, came, rule, former))
        if logs_in and self._possession is not None:
            return self._possession.of_login(request, self._timed.time())
        # An optional route accepts a missing token, never a bad one. A preflight never carries
        # credentials. It reaches the application only if its origin is configured, because an
        # application may serve OPTIONS like any method.
        is_open = rule.public or rule.optional
        if is_open or (is_preflight(request) and self._origins.knows(request)):
            return ANONYMOUS
        raise MissingCredentials

    def _authenticate(self, request: Request) -> Flow[Forward]:
        """Return who asks an endpoint of ours that needs a user. Raises OAuthError."""
        came = self._credentials(request)
        if came is None:
            raise MissingCredentials
        return (yield from self._admit(request, came, self._routes.of_endpoints))

    def _credentials(self, request: Request) -> Credentials | None:
        came = self._came(request)
        return came if self._access_cookie is None else self._access_cookie.choose(came, request)

    def _admit(
        self,
        request: Request,
        came: Credentials,
        rule: RouteRule,
        former: FormerAccess | None = None,
    ) -> Flow[Entry]:
        """Return the decision about a token that came; `rule` asks for more. Raises OAuthError."""
        entry, state, possession, proof = None, KNOWN_TOKEN, self._possession, None
        if came.name is not None and not came.is_proved and self._get(came.name) is not None:
            entry = self._recall("", "", came.name)
        elif came.name is not None and possession is not None:
            entry = possession.recall("", "", came.name)
        if entry is None and former is not None:
            entry = yield from former.admit(came)
        if entry is None:
            state = NEW_TOKEN
            entry = yield from self._verify_new(came, self._timed.time())
        now = self._timed.time()  # the flow may have waited meanwhile
        if possession is not None:
            proof = possession.check(request, came, entry, now)
        if rule.scopes or rule.is_special:
            check_demands(rule, entry.token, now, self._leeway)
        if self._ended is not None and entry.grant_id is not None:
            yield from self.open_tokens.check_ended(self._ended, entry, entry.grant_id, now)
        if proof is not None and possession is not None:
            yield from possession.use(proof)
        if self._counts is not None and rule is not self._routes.of_endpoints:
            self._counts.let_in(rule.name, state)
        return entry

    def _verify_new(self, came: Credentials, now: float) -> Flow[Entry]:
        """Verify a token that isn't in the cache, and put it there. Raises OAuthError."""
        parsed = jws.parse(came.text, self._issuers.headers)
        name = _issuer_of(parsed)
        trust = self._issuers.find(name, now)
        if trust is None:
            trust = yield from ask(self._ports.find_issuer, name)
        fresh, kid = trust.keys.fresh, parsed.header.kid
        key = fresh.keys.get(kid)
        if key is None or not fresh.since <= now < fresh.due:
            check_type(parsed, trust.policy.profile)  # before a key is looked for
            key = yield from ask(self._ports.find_key, trust.keys, kid, now)
            now = self._timed.time()
        generation = fresh.generation  # read first: a later change is noticed
        token, (start, end, life) = self._issuers.accept(parsed, trust, key, now)
        entry = Entry(token, None if trust.policy.own else foreign_user(token, trust))
        entry.keys, entry.generation, entry.seen, entry.hashed = fresh, generation, False, ""
        entry.start, entry.life = float(max(start, trust.since)), life
        entry.end = float(min(end, trust.until))
        if self._ended is not None:
            entry.prepare_grant()
        cache, possession = self._cache, self._possession
        if possession is not None and (came.is_proved or "cnf" in token.claims):
            cache = possession.cache  # not that of the warm path, which looks at no proof
        if cache is not None and came.name is not None and fresh.keys.get(kid) is key:
            cache.put(came.name, entry)
        return entry

    def keeps(self, method: str, path: str) -> bool:
        """Say whether connections of a request stay open, whatever becomes of their token."""
        return self._routes.find(method, path, unchecked=True).keeps

    def verify(self, text: Hidden[str], now: float) -> AccessToken:
        """Return the access token that a text is, as far as is known now. Raises InvalidToken."""
        parsed = jws.parse(text.value, self._issuers.headers)
        trust = self._issuers.find(_issuer_of(parsed), now)
        if trust is None:
            raise InvalidToken(reasons.ISSUER)
        fresh = trust.keys.fresh
        key = fresh.keys.get(parsed.header.kid)
        if key is None or not (fresh.since <= now < fresh.due or fresh.is_usable(now)):
            raise InvalidToken(reasons.KEY_UNKNOWN)
        return self._issuers.accept(parsed, trust, key, now)[0]

    def refuse_view(
        self, request: Request, token: AccessToken | None, rule: RouteRule, held: Held | None
    ) -> Reply | None:
        """Check a rule that stands beside a view, for a request that was let in. None: it holds.

        `held` are the cookies that the application doesn't see.
        """
        try:
            check_demands(rule, token, self._timed.time(), self._leeway)
        except OAuthError as error:
            # On a public route no token is read: a new one would be refused as well, without end.
            is_public = self._routes.find(request.method, request.path, unchecked=True).public
            return self.refuse(request, error, rule, NOTHING_HELD if is_public else held)
        return None

    def refuse(
        self,
        request: Request,
        error: OAuthError,
        beside: RouteRule | None = None,
        held: Held | None = None,
    ) -> Reply:
        """Turn an error into an answer. This is the only place that does.

        `beside` is the rule that the view has itself.
        """
        if self._hear is not None:
            self._hear(error)
        if self._counts is not None:
            self._counts.refused(self._rule_name(request), error.reason)
        ours = self._ours(request)
        at_resource = ours is None or ours is self._sessions
        # Only an odd path has no rule, and its refusal is a 400.
        scope, needs_proof = "", False
        if at_resource and error.status in (401, 403):
            rule = self._routes.of_endpoints
            if ours is None:
                rule = self._routes.find(request.method, request.path)
            scope, needs_proof = rule.scope, rule.needs_proof
            if beside is not None:
                scope = " ".join(dict.fromkeys(f"{scope} {beside.scope}".split()))
        response = self._pages.instead(request, error, held) if self._pages is not None else None
        if response is None:
            response = self._refusals.answer(
                error,
                at_resource=at_resource,
                scope=scope,
                by_proof=attempts_proof(request),
                needs_proof=needs_proof,
            )
            if self._pages is not None and ours is None:
                response = self._pages.readable(request, error, response)
        more = (
            self._origins.headers(request) if ours is None else ours.refusal_headers(request, error)
        )
        if isinstance(error, NonceNeeded):
            more += (("dpop-nonce", error.nonce),)
        headers = with_one_vary(response.headers + more)
        # RFC 9110 s9.3.2: the same header fields as for GET, and no content.
        body = b"" if request.method == "HEAD" else response.body
        event = Refused(
            reason=error.reason,
            status=response.status,
            method=told(request.method),
            path=told(request.path),
            detail=error.detail,
            grant_id=error.grant_id,
        )
        answer = Response(response.status, headers, body)
        return Reply(answer, (*error.events, event), self._close_codes.of(request, error))

    def _ours(self, request: Request) -> Document | Answering | None:
        """Return our own resource for a request; None: it is for the application."""
        return None if request.is_websocket else self._at(request.path)

    def _is_ours(self, path: str) -> bool:
        return self._at(path) is not None

    def _at(self, path: str) -> Document | Answering | None:
        if self.endpoints is not None and path in self.endpoints.paths:
            return self.endpoints
        if self._sessions is not None and path in self._sessions:
            return self._sessions
        return self._documents.get(path)


def _issuer_of(parsed: jws.Parsed) -> Any:
    try:
        return parsed.claims["iss"]
    except KeyError:
        raise InvalidToken(reasons.CLAIM_MISSING, "iss") from None
