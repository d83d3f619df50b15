"""The endpoints: refresh (RFC 6749 s6), revocation (RFC 7009), key set (RFC 7517 s5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple, NoReturn, cast

from ..keys.live_keys import LiveKeys
from ..request import body_parameters as body
from ..request.body_parameters import MAX_BODY
from ..request.cookies import Jars, check_once, check_same_site
from ..request.credentials import basic
from ..request.documents import Document, other_method
from ..request.origins import Origins
from ..settings.groups import Cookies, Refresh
from ..settings.settings import Settings
from ..token.claims import is_scope
from ..token.refresh import RefreshToken
from ..values import reasons
from ..values.decisions import Ask, Reply, Step
from ..values.errors import (
    InvalidGrant,
    InvalidRequest,
    InvalidScope,
    InvalidToken,
    OAuthError,
    UnsupportedGrantType,
    UnsupportedTokenType,
)
from ..values.events import Event
from ..values.requests import Headers, Request, Response
from ..values.tokens import AccessToken, Held, Hidden, Tokens
from .exchange import Exchange
from .prepared import Prepared

JSON = ("content-type", "application/json")
# RFC 6749 s5.1: on every answer "containing tokens, credentials, or other sensitive information".
NO_STORE: Headers = (("cache-control", "no-store"), ("pragma", "no-cache"))
MOST = 4  # cookies that a refresh tries: a question to the store each
# What a grant is over by. (One that is ahead of its row stays: an old backup may go again.)
_ENDS = (reasons.GRANT_ENDED, reasons.REUSED, reasons.GRANT_REFUSED, reasons.EXPIRED)
_NOTHING = Held((), ())


class Parameters:
    """What a token request's body says. Nobody else is to see it: there are tokens in it."""

    __slots__ = ("_found",)

    def __init__(self, found: dict[str, str]) -> None:
        self._found = found

    def __bool__(self) -> bool:
        return bool(self._found)

    def get(self, name: str) -> str | None:
        """Return a parameter that is no token."""
        return self._found.get(name)

    def token(self, name: str) -> Hidden[str] | None:
        """Return a parameter that is one."""
        text = self._found.get(name)
        return None if text is None else Hidden(text)


class _Asked(NamedTuple):
    """What a refresh asks for beside the token."""

    scope: str
    client_id: str | None
    now: float


class Endpoints:
    """What a request to a mounted endpoint leads to; `paths` says where they are."""

    def __init__(
        self,
        settings: Settings,
        group: Refresh,
        exchange: Exchange,
        origins: Origins,
        known_origins: frozenset[str],
        verify: Callable[[Hidden[str], float], AccessToken],
        live: LiveKeys,
    ) -> None:
        self._exchange = exchange
        self._origins = origins
        self._verify = verify
        self._clock = settings.clock
        self._cookies = group.cookies
        self._jars = group.cookies.jars(settings.issuer) if group.cookies else None
        self._known_origins = known_origins
        self._idle = int(group.idle_limit)
        self.paths: dict[str, Callable[[Request], Step]] = {
            f"{group.path}/refresh": self._refresh,
            f"{group.path}/revoke": self._revoke,
        }
        # Secrets are published to nobody; a set stays of its kind, whatever follows it.
        if settings.keys.public_jwks()["keys"]:
            self._key_set = Prepared(live, lambda keys: Document(keys.public_jwks(), origins))
            self.paths[group.jwks_path] = self._jwks

    def refusal_headers(self, request: Request, error: OAuthError) -> Headers:
        """Return what a refusal by an endpoint carries beside the usual."""
        return self._origins.headers(request) + error.clears

    # --- refresh

    def _refresh(self, request: Request) -> Step:
        if request.method != "POST":
            return self._other_method(request)
        held = self._held(request)
        check_once(held.refresh)
        self._check_page(request, held.refresh)
        return self._read(request, partial(self._exchange_token, request, held))

    def _exchange_token(self, request: Request, held: Held, found: Parameters) -> Step:
        grant_type, text = found.get("grant_type"), found.token("refresh_token")
        cookies = [Hidden(value) for _, value in held.refresh if value]
        by_cookie = bool(cookies) and text is None
        # Beside a cookie a browser may send what another's password needs.
        client_id = found.get("client_id") if by_cookie else _client_id(request, found)
        if grant_type is None and (found or not cookies):
            raise InvalidRequest(reasons.PARAMETER, "grant_type")
        if grant_type is not None and grant_type != "refresh_token":
            raise UnsupportedGrantType(reasons.GRANT_TYPE)
        if text is None and not cookies:
            raise InvalidRequest(reasons.PARAMETER, "refresh_token")
        scope = found.get("scope") or ""
        if scope and not is_scope(scope):
            raise InvalidScope(reasons.PARAMETER, "scope")
        asked = _Asked(scope, client_id, self._clock())
        if text is None:
            exchange = partial(self._exchange_cookies, request, held, asked)
            return self._known(cookies, asked.now, exchange)
        if self._exchange.read(cookies, asked.now)[0]:
            raise InvalidRequest(reasons.CREDENTIALS_TWICE)
        return self._exchange_text(request, asked, text)

    def _exchange_text(self, request: Request, asked: _Asked, text: Hidden[str]) -> Step:
        def granted(tokens: Tokens, events: tuple[Event, ...]) -> Step:
            return Reply(self._json(request, tokens, ()), events)

        def exchange() -> Step:
            token = self._exchange.check(text, asked.now)
            return self._exchange_one(request, asked, token, text, granted, _raise)

        try:
            return exchange()
        except InvalidGrant:
            if not self._exchange.lacks_key(text, asked.now):
                raise
        return self._exchange.look(asked.now, exchange)

    def _exchange_one(
        self,
        request: Request,
        asked: _Asked,
        token: RefreshToken,
        text: Hidden[str],
        granted: Callable[[Tokens, tuple[Event, ...]], Step],
        refused: Callable[[InvalidGrant], Step],
    ) -> Step:
        return self._exchange.refresh(
            token,
            scope=asked.scope,
            client_id=asked.client_id,
            text=text,
            user_agent=request.header("user-agent"),
            now=asked.now,
            then=granted,
            refused=refused,
        )

    def _exchange_cookies(self, request: Request, held: Held, asked: _Asked) -> Step:
        """Exchange the newest of the browser's cookies whose grant lives."""
        jars, cookies = self._both()
        living, over = self._of_cookies(held, asked.now)
        if asked.client_id is not None:
            # As a log-out does: another client's login in this jar is none of its business.
            living = [one for one in living if one[1].client_id == asked.client_id] or living
        # The newest first, and last what is known to be over. The order only saves questions: a
        # login ends every grant whose cookie it brought, so that one of them lives. Of two logins
        # of one second the access cookie's is the same one.
        ended = self._exchange.ended
        living.sort(
            key=lambda one: (one[1].grant_id not in ended, one[1].issued_at, one[1].grant_id),
            reverse=True,
        )
        gone = [*over, *(token.grant_id for _, token in living if token.grant_id in ended)]

        def refused(error: InvalidGrant) -> Step:
            if error.reason in _ENDS and error.grant_id is not None:
                gone.append(error.grant_id)
            if error.reason == reasons.GRANT_ENDED and rest:
                return one_more()
            error.clears = jars.cleared(held, gone)
            raise error

        def one_more() -> Step:
            text, token = rest.pop(0)

            def granted(tokens: Tokens, events: tuple[Event, ...]) -> Step:
                # The cookie of a kept token isn't set anew: that answer, come late, would put an
                # old token over a newer one.
                is_kept = tokens.refresh_token == text.value
                carried = cookies.carry(tokens, jars, None if is_kept else self._idle)
                more = carried.cookies + jars.cleared(held, gone)
                return Reply(self._json(request, carried, more), events)

            return self._exchange_one(request, asked, token, text, granted, refused)

        rest = living[:MOST]
        if not rest:
            return refused(self._first_error(held, asked.now))
        return one_more()

    def _of_cookies(
        self, held: Held, now: float
    ) -> tuple[list[tuple[Hidden[str], RefreshToken]], tuple[str, ...]]:
        """Return the refresh tokens that are in the cookie of their own grant, and what is over.

        Others are none of ours: of another application on this host, say.
        """
        jars, _ = self._both()
        living, over = self._exchange.read((Hidden(value) for _, value in held.refresh), now)
        pairs = set(held.refresh)
        return [
            one for one in living if (jars.refresh.name(one[1].grant_id), one[0].value) in pairs
        ], over

    def _first_error(self, held: Held, now: float) -> InvalidGrant:
        """Return why the first cookie isn't taken."""
        for _, text in held.refresh:
            try:
                self._exchange.check(Hidden(text), now)
            except InvalidGrant as error:
                return error
        return InvalidGrant(reasons.COOKIE_MISNAMED)

    def _known(self, texts: Iterable[Hidden[str]], now: float, then: Callable[[], Step]) -> Step:
        """Go on after a look for keys, where a token may be by one that isn't known here yet."""
        if any(self._exchange.lacks_key(one, now) for one in texts):
            return self._exchange.look(now, then)
        return then()

    # --- revocation

    def _revoke(self, request: Request) -> Step:
        if request.method != "POST":
            return self._other_method(request)
        held = self._held(request)
        self._check_page(request, (*held.refresh, *held.access))
        return self._read(request, partial(self._revoke_token, request, held))

    def _revoke_token(self, request: Request, held: Held, found: Parameters) -> Step:
        text, now = found.token("token"), self._clock()
        if text is None and self._jars is None:
            raise InvalidRequest(reasons.PARAMETER, "token")
        if text is not None:
            client_id = _client_id(request, found)
            return self._known(
                (text,), now, lambda: self._revoke_named(request, held, text, client_id, now)
            )
        texts = [Hidden(value) for _, value in held.refresh]
        return self._known(texts, now, lambda: self._revoke_held(request, held, found, now))

    def _revoke_named(
        self,
        request: Request,
        held: Held,
        text: Hidden[str],
        client_id: str | None,
        now: float,
    ) -> Step:
        owner = self._owner(text, now)
        # RFC 7009 s2.2: "invalid tokens do not cause an error response". s2.1: a client can revoke
        # its own only; the answer doesn't tell whose it was.
        if owner is None or client_id not in (None, owner.client_id):
            return Reply(self._json(request, {}, ()))
        if owner.grant_id is None:
            raise UnsupportedTokenType(reasons.TOKEN_TYPE)
        return self._end(request, held, (owner.grant_id,), (), now)

    def _revoke_held(self, request: Request, held: Held, found: Parameters, now: float) -> Step:
        """End the login that is named by `sid`, else all whose cookie came."""
        jars, _ = self._both()
        named, client_id = found.get("sid"), found.get("client_id")
        living, over = self._of_cookies(held, now)
        owners: list[RefreshToken | AccessToken] = [token for _, token in living]
        # Without the refresh cookie, whose time may be over, the access cookie says who logs out.
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
        return self._end(request, held, tuple(ids), over, now)

    def _end(
        self,
        request: Request,
        held: Held,
        grant_ids: tuple[str, ...],
        over: tuple[str, ...],
        now: float,
    ) -> Step:
        # To log out twice, or too late, is no error: then, too, the cookie goes.
        cleared = self._jars.cleared(held, grant_ids + over) if self._jars is not None else ()
        return self._exchange.end_each(
            grant_ids,
            "logout",
            now,
            lambda events: Reply(self._json(request, {}, cleared), events),
        )

    def _owner(self, text: Hidden[str], now: float) -> RefreshToken | AccessToken | None:
        try:
            return self._exchange.check(text, now)
        except InvalidGrant:
            pass
        try:
            return self._verify(text, now)
        except InvalidToken:
            return None

    # --- the key set

    def _jwks(self, request: Request) -> Step:
        return Reply(self._key_set.get().answer(request))

    # --- what they share

    def _other_method(self, request: Request) -> Step:
        return Reply(other_method(request, self._origins, "POST"))

    def _held(self, request: Request) -> Held:
        if self._jars is None:
            return _NOTHING
        return self._jars.held(request.header("cookie"))

    def _both(self) -> tuple[Jars, Cookies]:
        # There are both where a cookie came.
        return cast("Jars", self._jars), cast("Cookies", self._cookies)

    def _check_page(self, request: Request, came: tuple[tuple[str, str], ...]) -> None:
        """Check that a page of ours made a request with cookies. Raises CrossSite."""
        if came:
            _, cookies = self._both()
            check_same_site(request, cookies.header, self._known_origins)

    def _read(self, request: Request, then: Callable[[Parameters], Step]) -> Step:
        length = request.header("content-length")
        body.check_length(length)
        if length and not int(length):
            return then(
                Parameters({})
            )  # some servers hand on no body then, and to ask for it would be to wait
        kind = request.header("content-type")
        call: Any = request.body  # every door gives one
        return Ask(
            call, (MAX_BODY,), lambda came: then(Parameters(body.parameters(kind, came.value)))
        )

    def _json(self, request: Request, members: Mapping[str, str | int], more: Headers) -> Response:
        content = (_template(tuple(members)) % tuple(members.values())).encode()
        headers: Headers = (
            JSON,
            ("content-length", str(len(content))),
            *NO_STORE,
            *self._origins.headers(request),
            *more,
        )
        return Response(200, headers, content)


def _client_id(request: Request, found: Parameters) -> str | None:
    """Return the client that a request with a token in its body names. Raises OAuthError."""
    named, authenticated = found.get("client_id"), basic(request.header("authorization"))
    if named is not None and authenticated not in (None, named):
        raise InvalidRequest(reasons.CREDENTIALS_TWICE, "client_id")
    return named or authenticated


def _raise(error: InvalidGrant) -> NoReturn:
    raise error


@lru_cache  # answers have few sets of members
def _template(names: tuple[str, ...]) -> str:
    """Return the JSON object of these members, for their values to be filled in with `%`."""
    # Nothing in it needs an escape: tokens are base64url and dots, and a scope has neither quotes
    # nor backslashes (RFC 6749 s3.3). To look for one would cost as much as a signature's tenth.
    pairs = [f'"{name}":%d' if name == "expires_in" else f'"{name}":"%s"' for name in names]
    return "{" + ",".join(pairs) + "}"
