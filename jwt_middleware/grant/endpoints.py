"""The endpoints: refresh (RFC 6749 s6), revocation (RFC 7009), key set (RFC 7517 s5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from ..groups import Refresh
from ..keys.live import LiveKeys
from ..request import body
from ..request.body import MAX_BODY
from ..request.cookies import Jar, check_same_site
from ..request.documents import Document, other_method
from ..request.origins import Origins
from ..settings import Settings
from ..token.claims import is_scope
from ..token.refresh import RefreshToken
from ..values import reasons
from ..values.errors import (
    CrossSite,
    InvalidClient,
    InvalidGrant,
    InvalidRequest,
    InvalidScope,
    InvalidToken,
    OAuthError,
    UnsupportedGrantType,
    UnsupportedTokenType,
)
from ..values.events import Event, Revoked
from ..values.later import pattern
from ..values.model import AccessToken, Headers, Request, Response, Tokens
from ..values.steps import Ask, Reply, Step
from .exchange import Exchange
from .prepared import Prepared

JSON = ("content-type", "application/json")
# RFC 6749 s5.1: on every answer "containing tokens, credentials, or other sensitive information".
NO_STORE: Headers = (("cache-control", "no-store"), ("pragma", "no-cache"))
# What a client's authentication (RFC 6749 s2.3) is not.
_NO_CLIENT = pattern(r"(?ai)[ \t]*(?:bearer|\Z)")


class Endpoints:
    """What a request to a mounted endpoint leads to; `paths` says where they are."""

    def __init__(
        self,
        settings: Settings,
        group: Refresh,
        exchange: Exchange,
        origins: Origins,
        verify: Callable[[str, float], AccessToken],
        live: LiveKeys,
    ) -> None:
        self._exchange = exchange
        self._origins = origins
        self._verify = verify
        self._clock = settings.clock
        self._cookies = group.cookies
        self._jar = group.cookies.refresh_jar(group, settings.issuer) if group.cookies else None
        self._access_jar = group.cookies.access_jar(settings.issuer) if group.cookies else None
        self._known_origins = frozenset(settings.origins)
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
        cookies: Headers = ()
        useless = isinstance(error, InvalidGrant) or error.reason == reasons.COOKIE_TWICE
        if useless and self._jar is not None and self._jar.name in (request.header("cookie") or ""):
            # A cookie that buys nothing any more would be sent for weeks.
            cookies = self._cleared_for(request)
        return self._origins.headers(request) + cookies

    # --- refresh

    def _refresh(self, request: Request) -> Step:
        if request.method != "POST":
            return self._other_method(request)
        cookie = self._cookie(request, self._jar) if self._jar is not None else None
        return self._read(request, cookie, self._exchange_token)

    def _exchange_token(self, request: Request, cookie: str | None, found: dict[str, str]) -> Step:
        grant_type = found.get("grant_type")
        if grant_type is None and (found or not cookie):
            raise InvalidRequest(reasons.PARAMETER, "grant_type")
        if grant_type is not None and grant_type != "refresh_token":
            raise UnsupportedGrantType(reasons.GRANT_TYPE)
        text = found.get("refresh_token")
        if cookie is not None:
            if text is not None:
                raise InvalidRequest(reasons.CREDENTIALS_TWICE)
            text = cookie
        if text is None:
            raise InvalidRequest(reasons.PARAMETER, "refresh_token")
        scope = found.get("scope", "")
        if scope and not is_scope(scope):
            raise InvalidScope(reasons.PARAMETER, "scope")
        now = self._clock()

        def exchange() -> Step:
            return self._exchange.refresh(
                self._exchange.check(text, now),
                scope=scope,
                client_id=found.get("client_id"),
                user_agent=request.header("user-agent"),
                now=now,
                then=lambda tokens, events: self._granted(
                    request, tokens, events, cookie is not None
                ),
            )

        try:
            return exchange()
        except InvalidGrant:
            if not self._exchange.lacks_key(text, now):
                raise
        return self._exchange.look(now, exchange)

    def _granted(
        self, request: Request, tokens: Tokens, events: tuple[Event, ...], by_cookie: bool
    ) -> Step:
        if by_cookie and self._cookies is not None and self._jar is not None:
            tokens = self._cookies.carry(tokens, self._jar, self._access_jar, self._idle)
        return Reply(self._json(request, tokens, tokens.cookies), events)

    # --- revocation

    def _revoke(self, request: Request) -> Step:
        if request.method != "POST":
            return self._other_method(request)
        # Without the refresh cookie, whose time may be over, the access cookie says who logs out.
        cookie = self._cookie(request, self._jar) or self._cookie(request, self._access_jar)
        return self._read(request, cookie, self._revoke_token)

    def _revoke_token(self, request: Request, cookie: str | None, found: dict[str, str]) -> Step:
        text = found.get("token")
        if text is None and self._jar is None:
            raise InvalidRequest(reasons.PARAMETER, "token")
        texts, now = [one for one in (text, cookie) if one], self._clock()

        def revoke() -> Step:
            return self._revoke_each(request, texts, found.get("client_id"), now)

        if any(self._exchange.lacks_key(one, now) for one in texts):
            return self._exchange.look(now, revoke)
        return revoke()

    def _revoke_each(
        self, request: Request, texts: list[str], client_id: str | None, now: float
    ) -> Step:
        # In cookie mode the cookies go whatever happens: to log out twice, or too late, is no
        # error.
        reply = Reply(self._json(request, {}, self._cleared_for(request)))
        grant_ids, is_unsupported = [], False
        for one in texts:
            owner = self._owner(one, now)
            # RFC 7009 s2.2: "invalid tokens do not cause an error response". s2.1: a client can
            # revoke its own only; the answer doesn't tell whose it was.
            if owner is None or client_id not in (None, owner.client_id):
                continue
            if owner.grant_id is None:
                is_unsupported = True
            else:
                grant_ids.append(owner.grant_id)
        # Whatever else came: who logs out is logged out.
        if is_unsupported and not grant_ids:
            raise UnsupportedTokenType(reasons.TOKEN_TYPE)
        return self._end(grant_ids, now, reply)

    def _end(self, grant_ids: list[str], now: float, reply: Reply) -> Step:
        if not grant_ids:
            return reply
        grant_id, *others = grant_ids
        event = Revoked(grant_ids=(grant_id,), reason="logout")

        def ended(was_alive: bool) -> Step:
            events = (*reply.events, event) if was_alive else reply.events
            return self._end(others, now, Reply(reply.response, events))

        return self._exchange.end(grant_id, "logout", now, ended)

    def _owner(self, text: str, now: float) -> RefreshToken | AccessToken | None:
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

    def _cookie(self, request: Request, jar: Jar | None) -> str | None:
        """Return the cookie of a request that a page of ours made."""
        if jar is None or self._cookies is None:
            return None
        cookie = jar.read(request)
        if cookie is not None:
            check_same_site(request, self._cookies.header.lower(), self._known_origins)
        return cookie

    def _read(
        self,
        request: Request,
        cookie: str | None,
        then: Callable[[Request, str | None, dict[str, str]], Step],
    ) -> Step:
        # Every browser client sends its expired access token along; it buys nothing and hurts
        # nothing.
        authorization = request.header("authorization")
        if authorization and not _NO_CLIENT().match(authorization):
            raise InvalidClient(reasons.CLIENT_AUTHENTICATION)
        body.check_length(request.header("content-length"))
        kind = request.header("content-type")
        call: Any = request.body  # every door gives one
        return Ask(
            call, (MAX_BODY,), lambda octets: then(request, cookie, body.parameters(kind, octets))
        )

    def _cleared_for(self, request: Request) -> Headers:
        """Return what removes the cookies, for a page of ours: other sites log nobody out."""
        if self._cookies is None:
            return ()
        try:
            check_same_site(request, self._cookies.header.lower(), self._known_origins)
        except CrossSite:
            return ()
        jars = (self._jar, self._access_jar)
        return tuple(jar.clear() for jar in jars if isinstance(jar, Jar))

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


@lru_cache  # answers have few sets of members
def _template(names: tuple[str, ...]) -> str:
    """Return the JSON object of these members, for their values to be filled in with `%`."""
    # Nothing in it needs an escape: tokens are base64url and dots, and a scope has neither quotes
    # nor backslashes (RFC 6749 s3.3). To look for one would cost as much as a signature's tenth.
    pairs = [f'"{name}":%d' if name == "expires_in" else f'"{name}":"%s"' for name in names]
    return "{" + ",".join(pairs) + "}"
