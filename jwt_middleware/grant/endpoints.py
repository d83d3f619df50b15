"""The endpoints: refresh (RFC 6749 s6), revocation (RFC 7009), key set (RFC 7517 s5).

One more, for page loads, is in `continuing`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from ..request.body_parameters import MAX_BODY, check_length, faulty, parameters
from ..request.cookies import Jars, check_once, check_same_site, one_value
from ..request.credentials import basic
from ..request.documents import Document, other_method
from ..request.navigation import Pages
from ..request.origins import Anyone, Origins
from ..settings.issuing_groups import Cookies
from ..settings.settings import timer
from ..token.former_libraries import PYJWT
from ..token.refresh import RefreshToken
from ..token.scopes import is_scope
from ..values import reasons
from ..values.errors import (
    InvalidGrant,
    InvalidRequest,
    InvalidScope,
    InvalidToken,
    OAuthError,
    UnsupportedGrantType,
    UnsupportedTokenType,
)
from ..values.events import Revoked
from ..values.flows import Flow, ask
from ..values.requests import Headers, Reply, Request, Response
from ..values.tokens import NOTHING_HELD, AccessToken, Held, Hidden
from .bound_grants import nonce_field, shown_keys
from .continuing import ENDS, Continuing, Exchanged
from .device_endpoints import DeviceEndpoints
from .issuing import Issuing
from .migrating import end_held, end_migrated, exchange_cookie, migrate
from .refresh import Asked, Granted, exchange
from .token_answer import token_answer
from .token_requests import as_answered, as_before, nothing_came

JSON_TYPE = ("content-type", "application/json")
# RFC 6749 s5.1: on every answer "containing tokens, credentials, or other sensitive information".
NO_STORE: Headers = (("cache-control", "no-store"), ("pragma", "no-cache"))
MOST_COOKIES = 4  # that a refresh tries; each is a question to the store
# Keys are public. A page that checks tokens itself reads them, whose origin isn't known beforehand.
_ANYONE = Anyone()
_TWO_TOKENS = "A refresh token came in the body, and another one in a cookie"
_TWO_CLIENTS = "The parameter client_id and the Authorization field name different clients"


class Parameters:
    """The parameters of a token request's body. Its `repr` shows nothing: it holds tokens."""

    __slots__ = ("_found",)

    def __init__(self, found: dict[str, str]) -> None:
        self._found = found

    def __bool__(self) -> bool:
        return bool(self._found)

    def get(self, name: str) -> str | None:
        """Return a parameter that isn't a token."""
        return self._found.get(name)

    def token(self, name: str) -> Hidden[str] | None:
        """Return a parameter that is a token."""
        text = self._found.get(name)
        return None if text is None else Hidden(text)

    def naming(self, text: Hidden[str]) -> Parameters:
        """Return the same with this refresh token, and the `grant_type` for it, if it has none."""
        return Parameters(
            {"grant_type": "refresh_token", **self._found, "refresh_token": text.value}
        )


class Endpoints:
    """The answers to requests at the mounted endpoints. `paths` says where these are."""

    def __init__(
        self,
        issuing: Issuing,
        origins: Origins,
        known_origins: frozenset[str],
        verify: Callable[[Hidden[str], float], AccessToken],
        pages: Pages | None = None,
    ) -> None:
        group = issuing.group
        self._issuing = issuing
        self._origins = origins
        self._known_origins = known_origins
        self._verify = verify
        self._timed = timer(issuing.settings.clock)
        self._jars = issuing.jars
        self._library = group.migrate.library if group.migrate is not None else PYJWT
        self._former_path = group.migrate.path if group.migrate is not None else ""
        self.paths: dict[str, Callable[[Request], Flow[Reply]]] = {
            f"{group.path}/refresh": self._refresh,
            f"{group.path}/revoke": self._revoke,
        }
        if self._former_path:
            self.paths[self._former_path] = self._refresh
        if pages is not None:
            continuing = Continuing(
                pages, origins, self._continue, lambda text: verify(text, self._timed.time())
            )
            self.paths[pages.continue_path] = continuing.answer
        if issuing.devices is not None:
            jars, _ = self._both()
            self.paths |= DeviceEndpoints(
                issuing, issuing.devices, jars, origins, self._exchange_cookies
            ).paths
        # Secrets are never published. A key set that is reloaded stays of its kind, public keys or
        # secrets.
        if issuing.settings.keys.public_jwks()["keys"]:
            self.paths[group.jwks_path] = self._publish_keys
            self._published: tuple[int, Document] | None = None

    def answer(self, request: Request) -> Flow[Reply]:
        """Answer a request to one of `paths`, with the present keys. Raises OAuthError."""
        yield from self._issuing.renew_keys(self._timed.time())
        return (yield from self.paths[request.path](request))

    def refusal_headers(self, request: Request, error: OAuthError) -> Headers:
        """Return the extra header fields of a refusal by an endpoint."""
        readers = _ANYONE if request.path == self._issuing.group.jwks_path else self._origins
        return readers.headers(request) + error.clears

    # --- refresh

    def _refresh(self, request: Request) -> Flow[Reply]:
        if request.method != "POST":
            return Reply(other_method(request, self._origins, "POST"))
        held = self._held(request)
        old = one_value(held.former, self._library.refresh_cookie) if held.former else None
        if held.refresh or old is not None:
            check_once(held.refresh)
            self._check_page(request)
        found = yield from self._read(request)
        if request.path == self._former_path:
            has_cookie = old is not None or bool(held.refresh)
            text = as_before(self._library, request, found.token, has_cookie=has_cookie)
            found = found if text is None else found.naming(text)
        grant_type, text = found.get("grant_type"), found.token("refresh_token")
        cookies = [Hidden(value) for _, value in held.refresh if value] + ([old] if old else [])
        # Beside a cookie a browser may send an Authorization field for a site's own password.
        by_cookie = bool(cookies) and text is None
        client_id = (
            found.get("client_id") if by_cookie else _client_id(request, found.get("client_id"))
        )
        if grant_type is None and (found or not cookies):
            raise nothing_came(self._jars, has_parameters=bool(found))
        if grant_type is not None and grant_type != "refresh_token":
            raise UnsupportedGrantType(reasons.GRANT_TYPE)
        scope = found.get("scope") or ""
        if text is None and not cookies:
            raise faulty("refresh_token", "is missing")
        if scope and not is_scope(scope):
            raise InvalidScope(reasons.PARAMETER, "scope")
        now = self._timed.time()
        shown, agent = shown_keys(self._issuing, held, now), request.header("user-agent")
        asked = Asked(scope, client_id, agent, now, request, shown)
        nonce = nonce_field(self._issuing, request, now)
        if text is None:
            yield from self._issuing.find_lacking_key(cookies, asked.now)
            tokens, cleared, events = yield from self._exchange_cookies(held, asked)
            more = tokens.cookies + cleared + nonce
            return Reply(self._json(request, tokens, more), events)
        if cookies and self._issuing.read(cookies, asked.now)[0]:
            raise InvalidRequest(reasons.CREDENTIALS_TWICE, description=_TWO_TOKENS)
        granted = yield from self._exchange(text, asked)
        return Reply(self._json(request, granted.tokens, nonce), (*granted.more, granted.event))

    def _exchange(self, text: Hidden[str], asked: Asked) -> Flow[Granted]:
        """Exchange a refresh token of ours, or of the former library."""
        try:
            token = self._issuing.check(text, asked.now)
        except InvalidGrant:
            return self._exchange_other(text, asked)
        return exchange(self._issuing, text, token, asked)

    def _exchange_other(self, text: Hidden[str], asked: Asked) -> Flow[Granted]:
        """Exchange what isn't a good token of ours by the keys that are known."""
        migrated = yield from migrate(self._issuing, text, asked)
        if migrated is not None:
            return migrated
        yield from self._issuing.find_lacking_key((text,), asked.now)
        token = self._issuing.check(text, asked.now)
        return (yield from exchange(self._issuing, text, token, asked))

    def _continue(self, request: Request, held: Held) -> Flow[Exchanged]:
        """Exchange cookies for a page load, which asks for nothing but the page."""
        now = self._timed.time()
        texts = [Hidden(value) for _, value in held.refresh if value]
        yield from self._issuing.find_lacking_key(texts, now)
        agent, shown = request.header("user-agent"), shown_keys(self._issuing, held, now)
        asked = Asked("", None, agent, now, request, shown)
        return (yield from self._exchange_cookies(held, asked))

    def _exchange_cookies(self, held: Held, asked: Asked) -> Flow[Exchanged]:
        """Exchange the newest of the browser's cookies whose grant lives."""
        if not any(value for _, value in held.refresh):
            return (yield from exchange_cookie(self._issuing, held, asked))
        jars, cookies = self._both()
        living, over = self._of_cookies(held, asked.now)
        if asked.client_id is not None:
            # A client uses only its own logins of this browser, as a log-out does.
            living = [one for one in living if one[1].client_id == asked.client_id] or living
        # The newest first, and last the ones that are known to be over. The order only saves
        # questions to the store: a login ends every grant whose cookie came with it, so that only
        # one lives. Of two logins in one second the choice for the access cookie is the same.
        ended = self._issuing.ended
        living.sort(
            key=lambda one: (one[1].grant_id not in ended, one[1].issued_at, one[1].grant_id),
            reverse=True,
        )
        gone = [*over, *(token.grant_id for _, token in living if token.grant_id in ended)]
        refusal = self._first_error(held, asked.now) if not living else None
        for text, token in living[:MOST_COOKIES]:
            try:
                granted = yield from exchange(self._issuing, text, token, asked)
            except InvalidGrant as error:
                refusal = error
                if error.reason != reasons.GRANT_ENDED:
                    break
                gone.append(token.grant_id)
                continue
            # The cookie of a kept token isn't set anew: if the answer came late, it would replace a
            # newer token.
            is_kept = granted.tokens.refresh_token == text.value
            carried = cookies.carry(granted.tokens, jars, is_kept=is_kept)
            return Exchanged(carried, jars.cleared(held, gone), (granted.event,))
        refused = cast("InvalidGrant", refusal)
        if refused.reason in ENDS and refused.grant_id is not None:
            gone.append(refused.grant_id)
        refused.clears = jars.cleared(held, gone)
        raise refused

    def _of_cookies(
        self, held: Held, now: float
    ) -> tuple[list[tuple[Hidden[str], RefreshToken]], tuple[str, ...]]:
        """Return the refresh tokens that are in the cookie of their own grant, and the grants over.

        Others aren't ours: they may belong to another application on this host.
        """
        jars, _ = self._both()
        living, over = self._issuing.read((Hidden(value) for _, value in held.refresh), now)
        pairs = set(held.refresh)
        return [
            one for one in living if (jars.refresh.name(one[1].grant_id), one[0].value) in pairs
        ], over

    def _first_error(self, held: Held, now: float) -> InvalidGrant:
        """Return the reason why the first cookie isn't accepted."""
        for _, text in held.refresh:
            try:
                self._issuing.check(Hidden(text), now)
            except InvalidGrant as error:
                return error
        return InvalidGrant(reasons.COOKIE_MISNAMED)

    # --- revocation

    def _revoke(self, request: Request) -> Flow[Reply]:
        if request.method != "POST":
            return Reply(other_method(request, self._origins, "POST"))
        held = self._held(request)
        if held.refresh or held.access or held.former:
            self._check_page(request)
        found = yield from self._read(request)
        text, now = found.token("token"), self._timed.time()
        former: tuple[Revoked, ...] = ()
        if text is None and self._jars is None:
            raise faulty("token", "is missing")
        if text is None:
            texts = [Hidden(value) for _, value in held.refresh]
            yield from self._issuing.find_lacking_key(texts, now)
            named, client_id = found.get("sid"), found.get("client_id")
            grant_ids, over = self.grants_of(held, now, named=named, client_id=client_id)
            if named is None:
                former = yield from end_held(self._issuing, held, "logout", now)
        else:
            client_id = _client_id(request, found.get("client_id"))
            yield from self._issuing.find_lacking_key((text,), now)
            owner = self._owner(text, now)
            if owner is None:
                former = yield from end_migrated(self._issuing, text, "logout", now)
            # RFC 7009 s2.2: "invalid tokens do not cause an error response". s2.1: a client can
            # revoke only its own tokens; the answer doesn't say whose token it was.
            if owner is None or client_id not in (None, owner.client_id):
                return Reply(self._json(request, {}, ()), former)
            if owner.grant_id is None:
                raise UnsupportedTokenType(reasons.TOKEN_TYPE)
            grant_ids, over = (owner.grant_id,), ()
        # A second log-out, or a late one, isn't an error, and removes the cookie, too.
        cleared: Headers = ()
        if self._jars is not None:
            cleared = self._jars.cleared(held, grant_ids + over)
            cleared += self._jars.former_cleared(held) if text is None else ()
        events = yield from self._issuing.end_each(grant_ids, "logout", now)
        return Reply(self._json(request, {}, cleared), former + events)

    def grants_of(
        self, held: Held, now: float, *, named: str | None = None, client_id: str | None = None
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the grants whose cookies came, or the `named` one of them; and those over."""
        jars, _ = self._both()
        living, over = self._of_cookies(held, now)
        owners: list[RefreshToken | AccessToken] = [token for _, token in living]
        # If the refresh cookie is gone, because it has expired, the access cookie names the login.
        for name, text in [(name, Hidden(value)) for name, value in held.access]:
            owner = self._owner(text, now)
            if owner is not None and jars.access is not None and owner.grant_id is not None:
                owners += [owner] if jars.access.name(owner.grant_id) == name else []
        ids = {
            one.grant_id: None
            for one in owners
            if one.grant_id is not None
            and named in (None, one.grant_id)
            and client_id in (None, one.client_id)
        }
        return tuple(ids), over

    def end_of(self, text: Hidden[str], now: float) -> Flow[tuple[Revoked, ...]]:
        """End the grant of a token, ours or an old refresh token; return the events."""
        yield from self._issuing.find_lacking_key((text,), now)
        owner = self._owner(text, now)
        if owner is None:
            return (yield from end_migrated(self._issuing, text, "logout", now))
        grant_ids = () if owner.grant_id is None else (owner.grant_id,)
        return (yield from self._issuing.end_each(grant_ids, "logout", now))

    def _owner(self, text: Hidden[str], now: float) -> RefreshToken | AccessToken | None:
        try:
            return self._issuing.check(text, now)
        except InvalidGrant:
            pass
        try:
            return self._verify(text, now)
        except InvalidToken:
            return None

    # --- the key set

    def _publish_keys(self, request: Request) -> Flow[Reply]:
        signing = self._issuing.signing()
        if self._published is None or self._published[0] != signing.generation:
            document = Document(signing.key_set.public_jwks(), _ANYONE)
            self._published = signing.generation, document
        yield from ()  # a flow as the others are, with nothing to ask
        return Reply(self._published[1].answer(request))

    # --- what they share

    def _held(self, request: Request) -> Held:
        return NOTHING_HELD if self._jars is None else self._jars.held(request.header("cookie"))

    def _both(self) -> tuple[Jars, Cookies]:
        # Both are set where a cookie came.
        return cast("Jars", self._jars), cast("Cookies", self._issuing.group.cookies)

    def _check_page(self, request: Request) -> None:
        """Check that a page of ours made a request with cookies. Raises CrossSite."""
        _, cookies = self._both()
        check_same_site(request, cookies.header, self._known_origins, forms=cookies.forms)

    def _read(self, request: Request) -> Flow[Parameters]:
        length = request.header("content-length")
        check_length(length)
        if length and not int(length):
            return Parameters({})  # some servers hand on no body then, and reading it would wait
        body = yield from ask(request.body, MAX_BODY)
        return Parameters(parameters(request.header("content-type"), body.value))

    def _json(self, request: Request, members: Mapping[str, str | int], more: Headers) -> Response:
        if request.path == self._former_path:
            members = as_answered(self._library, members)
        content = token_answer(members)
        headers: Headers = (
            JSON_TYPE,
            ("content-length", str(len(content))),
            *NO_STORE,
            *self._origins.headers(request),
            *more,
        )
        return Response(200, headers, content)


def _client_id(request: Request, named: str | None) -> str | None:
    """Return the client that a request with a token in its body names. Raises OAuthError."""
    field = request.header("authorization")
    authenticated = basic(field) if field is not None else None
    if named is not None and authenticated not in (None, named):
        raise InvalidRequest(reasons.CREDENTIALS_TWICE, "client_id", description=_TWO_CLIENTS)
    return named or authenticated
