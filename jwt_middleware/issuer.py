"""What the application calls: to get tokens after it has checked a login, and to end grants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from .core.decide import Core
from .grant.endpoints import Endpoints
from .grant.issuing import Issuing
from .grant.login import Login, begin
from .grant.migrating import end_held
from .process.current_token import current_token
from .process.runtime import Runtime
from .settings.settings import Settings
from .values.errors import ConfigurationError, EndGrant, InvalidGrant
from .values.events import Revoked
from .values.flows import Flow, T, arun, ask, run
from .values.proved_key import ProvedKey
from .values.readiness import Readiness
from .values.requests import Headers
from .values.response_cookies import add_cookies
from .values.tokens import Grant, Held, Hidden, Tokens

# The default of `revoke`. Not None: where a mistake makes the user's name None, nobody's grant must
# end.
_ANYBODY: Any = ...


class Issuer:
    """Begin and end grants. Each verb has a twin with `a` in front, for asynchronous code.

    It shares the store and the caches with the middlewares of the same settings. A revocation is in
    force in this process when the call returns. In other processes with the same store it is in
    force within about two seconds.

    Args:
        settings: the application's, the same object as its middleware has.

    Raises:
        ConfigurationError: when the settings have no `refresh` group, or the store can't be used.

    """

    def __init__(self, settings: Settings) -> None:
        if settings.refresh is None:
            raise ConfigurationError(
                "refresh", "is None: these settings only verify", 'refresh=Refresh(store="...")'
            )
        if not settings.refresh.serve:
            raise ConfigurationError(
                "refresh.serve", "is False: these settings issue nothing", "leave it out here"
            )
        self._settings = settings
        self._runtime = Runtime.of(settings)
        self._jars = settings.refresh.jars(settings.issuer)

    def issue(
        self,
        subject: str,
        *,
        scope: str = "",
        claims: Mapping[str, Any] | None = None,
        client_id: str | None = None,
        replaces: Held | str | None = None,
        user_agent: str | None = None,
        label: str | None = None,
        idle_limit: float | None = None,
        absolute_limit: float | None = None,
        session: bool = False,
        once: str | None = None,
        proof: ProvedKey | None = None,
    ) -> Tokens:
        """Begin a grant for a login that has been checked; return both tokens (RFC 6749 s5.1).

        Args:
            subject: the user's identifier, which stays the same for ever (RFC 9068 s2.2: `sub`).
            scope: what the tokens allow, words separated by spaces; a refresh can only narrow it.
            claims: the application's own, which every access token has. With `Refresh.claims_for`:
                facts about this login, which the hook finds in `grant.claims` and must return, too.
            client_id: the client; `Refresh.client_id` for the application's own.
            replaces: what the browser holds of earlier logins, which end now: with cookies
                `environ["jwt_middleware.held"]` or `scope[...]`; else a refresh token.
            user_agent: the request's: events say when a token is used by another one.
            label: what the user knows this device by, at most 200 characters; in no token.
            idle_limit: seconds, in place of `Refresh.idle_limit`, within its bounds.
            absolute_limit: seconds, in place of `Refresh.absolute_limit`.
            session: the cookies go when the browser is closed.
            once: what an old login is known by, of 128 random bits: a session's key, or of a token
                what was signed. It leads to one grant. `auth_time` is 0 unless `claims` know it.
            proof: the key that the request proved, `environ["jwt_middleware.proof"]` on a route
                with `own_origin`: each refresh needs a proof by it.

        Raises:
            ValueError: for a value that can't be, such as a claim that the issuer sets itself, and
                for tokens over 8 KiB.
            Unavailable: when `claims_for` or an external signer fails, or the grant can't be stored
                (StoreUnavailable); then there is none.
            EndGrant: when `claims_for` refuses, and when the grant of `once` has ended.
        """
        held = _held(replaces)
        del replaces  # error trackers send the locals of frames
        login = Login(
            subject,
            scope=scope,
            claims=claims,
            client_id=client_id,
            user_agent=user_agent,
            label=label,
            idle_limit=idle_limit,
            absolute_limit=absolute_limit,
            session=session,
            once=None if once is None else Hidden(once),
            proof=proof,
        )
        del once  # as `replaces`
        return run(self._begin(self._issuing(), held, login))

    async def aissue(
        self,
        subject: str,
        *,
        scope: str = "",
        claims: Mapping[str, Any] | None = None,
        client_id: str | None = None,
        replaces: Held | str | None = None,
        user_agent: str | None = None,
        label: str | None = None,
        idle_limit: float | None = None,
        absolute_limit: float | None = None,
        session: bool = False,
        once: str | None = None,
        proof: ProvedKey | None = None,
    ) -> Tokens:
        """Do what `issue` does, in asynchronous code."""
        held = _held(replaces)
        del replaces  # as above
        login = Login(
            subject,
            scope=scope,
            claims=claims,
            client_id=client_id,
            user_agent=user_agent,
            label=label,
            idle_limit=idle_limit,
            absolute_limit=absolute_limit,
            session=session,
            once=None if once is None else Hidden(once),
            proof=proof,
        )
        del once  # as `replaces`
        return await self._arun(self._begin(self._aissuing(), held, login))

    def revoke(self, grant_id: str, *, subject: str = _ANYBODY, reason: str = "revoked") -> bool:
        """End a grant with all its tokens; say whether it was alive.

        Args:
            grant_id: of `Tokens.grant_id`, or of a request's token.
            subject: whose grant it must be. Else the grant stays, and the answer is False: so give
                it wherever the id comes from a request.
            reason: for the event and the row.

        Raises:
            ValueError: the id or the subject is no text.
            StoreUnavailable: then it may have ended; to repeat is safe.

        """
        return run(self._end(self._issuing(), grant_id, subject, reason))

    async def arevoke(
        self, grant_id: str, *, subject: str = _ANYBODY, reason: str = "revoked"
    ) -> bool:
        """Do what `revoke` does, in asynchronous code."""
        return await self._arun(self._end(self._aissuing(), grant_id, subject, reason))

    def revoke_token(self, token: str) -> bool:
        """End the grant of a token that a client sends to log out; say whether it was alive.

        For a path of the application's own; `POST /auth/revoke` is there in any case. The token is
        verified: ours of either kind, or a refresh token of a former library (`Refresh.migrate`),
        whose grant may not have begun yet. Any other text ends nothing, and neither does an access
        token of a former library, which has no grant: it serves until it expires.

        Args:
            token: what the client sent.

        Raises:
            ValueError: the token is no text.
            Unavailable: `Migration.is_blocked` or `Migration.subject` fails.
            StoreUnavailable: then it may have ended; to repeat is safe.

        """
        text = _hidden(token)
        del token  # as in `issue`
        return run(self._end_of(self._runtime.core(asynchronous=False), text))

    async def arevoke_token(self, token: str) -> bool:
        """Do what `revoke_token` does, in asynchronous code."""
        text = _hidden(token)
        del token  # as in `issue`
        return await self._arun(self._end_of(self._runtime.core(asynchronous=True), text))

    def revoke_all(self, subject: str, *, reason: str = "revoked") -> tuple[str, ...]:
        """End all grants of a user, say after a change of password; return their ids.

        Args:
            subject: the user, as in `issue`.
            reason: for the event and the rows.

        Raises:
            ValueError: the subject is no text, as it was when the tokens were issued.
            StoreUnavailable: then some may have ended; to repeat is safe.

        """
        return run(self._end_all(self._issuing(), subject, reason))

    async def arevoke_all(self, subject: str, *, reason: str = "revoked") -> tuple[str, ...]:
        """Do what `revoke_all` does, in asynchronous code."""
        return await self._arun(self._end_all(self._aissuing(), subject, reason))

    def grants(self, subject: str) -> tuple[Grant, ...]:
        """Return a user's living grants, the newest first: one per device or browser.

        Args:
            subject: the user, as in `issue`.

        Raises:
            ValueError: the subject is no text.
            StoreUnavailable: the store doesn't answer.

        """
        return run(self._living(self._issuing(), subject))

    async def agrants(self, subject: str) -> tuple[Grant, ...]:
        """Do what `grants` does, in asynchronous code."""
        return await self._arun(self._living(self._aissuing(), subject))

    def ready(self) -> Readiness:
        """Say whether this process can serve, as `jwt_middleware.readiness.ready` does."""
        return run(self._runtime.probe(asynchronous=False).look())

    async def aready(self) -> Readiness:
        """Do what `ready` does, in asynchronous code."""
        return await self._arun(self._runtime.probe(asynchronous=True).look())

    def clear_cookies(self, response: Any, grant_id: str | None = None) -> None:
        """Add the Set-Cookie fields that remove a login's cookies: for a log-out by a form.

        The login doesn't end: `revoke` it first, because a copy of a cookie stays good.

        Args:
            response: one of Flask, Starlette, FastAPI, Django or the like.
            grant_id: the login; without it the request's own, that of `current_token()`.

        Raises:
            ValueError: there is no such login, say on a public route, where no token is read.

        """
        if grant_id is None:
            token = current_token()
            grant_id = token.grant_id if token is not None else None
        _check_text("grant_id", grant_id)
        jars = self._jars
        found = (jars.refresh, jars.access, jars.device) if jars is not None else ()
        name = cast("str", grant_id)
        add_cookies(response, tuple(jar.clear(jar.name(name)) for jar in found if jar is not None))

    def log_out(self, response: Any, held: Held | None = None) -> tuple[str, ...]:
        """End the request's login, and every other whose cookie it brought; return their ids.

        The fields that remove their cookies are added to `response`, as by `clear_cookies`. Let the
        route be `public` with `own_origin`: then it works when the access token has expired, too.

        Args:
            response: one of Flask, Starlette, FastAPI, Django or the like.
            held: `environ["jwt_middleware.held"]` or `scope["jwt_middleware.held"]`. Two tabs may
                have logged in at once: then the browser has two logins. Needed with cookies.

        Raises:
            ValueError: tokens are in cookies, and `held` isn't given.
            StoreUnavailable: then some may have ended; to repeat is safe.

        """
        core = self._runtime.core(asynchronous=False)
        ids, cookies = run(self._log_out(core, held))
        add_cookies(response, cookies)
        return ids

    async def alog_out(self, response: Any, held: Held | None = None) -> tuple[str, ...]:
        """Do what `log_out` does, in asynchronous code."""
        core = self._runtime.core(asynchronous=True)
        ids, cookies = await self._arun(self._log_out(core, held))
        add_cookies(response, cookies)
        return ids

    # --- the flows, and what they need for each kind of caller

    def _issuing(self) -> Issuing:
        # It isn't None: the settings have a `refresh` group.
        return cast("Issuing", self._runtime.core(asynchronous=False).issuing)

    def _aissuing(self) -> Issuing:
        return cast("Issuing", self._runtime.core(asynchronous=True).issuing)

    async def _arun(self, flow: Flow[T]) -> T:
        return await arun(flow, self._runtime.carry)

    def _begin(self, issuing: Issuing, held: Held | None, login: Login) -> Flow[Tokens]:
        try:
            begun = yield from begin(issuing, login, held, self._settings.clock())
        except InvalidGrant as error:
            yield from ask(self._runtime.tell, error.events)
            raise EndGrant(error.reason) from None
        yield from ask(self._runtime.tell, begun.events)
        cookies, tokens = issuing.group.cookies, begun.tokens.value
        if cookies is None or issuing.jars is None:
            return tokens
        tokens = cookies.carry(tokens, issuing.jars)
        # A grant that is bound to a key needs proofs of that one, which browsers don't send.
        if issuing.devices is not None and login.proof is None:
            tokens.cookies += issuing.devices.offer(tokens, self._settings.clock())
        if held is not None:
            tokens.cookies += issuing.jars.cleared(held, begun.replaced)
            tokens.cookies += issuing.jars.former_cleared(held)
        return tokens

    def _end(self, issuing: Issuing, grant_id: str, subject: str, reason: str) -> Flow[bool]:
        _check_text("grant_id", grant_id)
        now = self._settings.clock()
        if subject is _ANYBODY:
            events = yield from issuing.end_each((grant_id,), reason, now)
        else:
            _check_text("subject", subject)
            events = yield from issuing.end_own(grant_id, subject, reason, now)
        yield from ask(self._runtime.tell, events)
        return bool(events)

    def _end_of(self, core: Core, text: Hidden[str]) -> Flow[bool]:
        endpoints = cast("Endpoints", core.endpoints)
        events = yield from endpoints.end_of(text, self._settings.clock())
        yield from ask(self._runtime.tell, events)
        return bool(events)

    def _end_all(self, issuing: Issuing, subject: str, reason: str) -> Flow[tuple[str, ...]]:
        _check_text("subject", subject)
        ended = yield from issuing.end_subject(subject, reason, self._settings.clock())
        if ended:
            yield from ask(self._runtime.tell, (Revoked(grant_ids=ended, reason=reason),))
        return ended

    def _log_out(self, core: Core, held: Held | None) -> Flow[tuple[tuple[str, ...], Headers]]:
        issuing, token = cast("Issuing", core.issuing), current_token()
        now = self._settings.clock()
        ids: tuple[str, ...] = ()
        if token is not None and token.grant_id is not None:
            ids = (token.grant_id,)
        cleared: Headers = ()
        former: tuple[Revoked, ...] = ()
        if core.jars is not None:
            if held is None:
                raise ValueError(
                    'held: give the cookies of the request, environ["jwt_middleware.held"] or '
                    'scope["jwt_middleware.held"]'
                )
            texts = [Hidden(value) for _, value in held.refresh]
            yield from issuing.find_lacking_key(texts, now)
            came, over = cast("Endpoints", core.endpoints).grants_of(held, now)
            ids = tuple(dict.fromkeys(ids + came))
            cleared = core.jars.cleared(held, ids + over) + core.jars.former_cleared(held)
            former = yield from end_held(issuing, held, "logout", now)
        events = yield from issuing.end_each(ids, "logout", now)
        yield from ask(self._runtime.tell, former + events)
        return ids, cleared

    def _living(self, issuing: Issuing, subject: str) -> Flow[tuple[Grant, ...]]:
        _check_text("subject", subject)
        return (yield from ask(issuing.ports.store.grants, subject))


def _held(replaces: Held | str | None) -> Held | None:
    # Error trackers would send a text in a local, if the store or `claims_for` failed.
    return Held((("", replaces),), ()) if isinstance(replaces, str) else replaces


def _hidden(token: str) -> Hidden[str]:
    _check_text("token", token)
    return Hidden(token)


_WAYS = {
    "subject": "str(user.id)",
    "grant_id": "tokens.grant_id, or token.grant_id in a request",
    "token": "what the client sent, without the word Bearer",
}


def _check_text(name: str, value: object) -> None:
    """Check that the id or subject is text. One of another type would match nothing, silently."""
    if not isinstance(value, str):
        raise ValueError(f"{name}: must be text, not {type(value).__name__}: {_WAYS[name]}")
