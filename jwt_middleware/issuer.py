"""The application's own door: it has checked a login and wants tokens, or ends what it began."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

from .core.decide import Core
from .grant.exchange import Begun, Exchange
from .process.drivers import afinish, finish
from .process.runtime import Runtime
from .settings.settings import Settings
from .values.decisions import Done, Step
from .values.errors import ConfigurationError
from .values.events import Revoked
from .values.tokens import Grant, Held, Tokens


class Issuer:
    """Begin and end grants. Each verb has a twin with `a` in front, for asynchronous code.

    It shares everything with the doors of the same settings: a revocation is in force in this
    process when the call returns, and in every other that shares the store within about two
    seconds.

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
        self._group = settings.refresh
        self._runtime = Runtime.of(settings)

    def issue(
        self,
        subject: str,
        *,
        scope: str = "",
        claims: Mapping[str, Any] | None = None,
        client_id: str | None = None,
        replaces: Held | str | None = None,
        user_agent: str | None = None,
    ) -> Tokens:
        """Begin a grant for a login that has been checked; return both tokens (RFC 6749 s5.1).

        Args:
            subject: the user's identifier, which stays the same for ever (RFC 9068 s2.2: `sub`).
            scope: what the tokens are good for, separated by spaces; refreshing can narrow it only.
            claims: the application's own, such as roles. None: `Refresh.claims_for` is asked.
            client_id: the client; `Refresh.client_id` for the application's own.
            replaces: what the browser still holds of earlier logins, which end: the door's
                `environ["jwt_middleware.held"]` or `scope["jwt_middleware.held"]`, where tokens are
                in cookies; or a refresh token.
            user_agent: the request's, so that events can say when a grant moves to another one.

        Raises:
            ValueError: for a claim that the issuer sets itself, and for tokens over 8 KiB.
            Unavailable: when `claims_for` fails, or what holds the signing key.
            StoreUnavailable: when the grant can't be kept; then there is none. It is Unavailable.
            EndGrant: when `claims_for` refuses.

        """
        replaces = _held(replaces)
        core = self._core()
        step = self._begin(core, subject, scope, claims, client_id, replaces, user_agent)
        return self._carried(self._result(finish(step)), replaces)

    async def aissue(
        self,
        subject: str,
        *,
        scope: str = "",
        claims: Mapping[str, Any] | None = None,
        client_id: str | None = None,
        replaces: Held | str | None = None,
        user_agent: str | None = None,
    ) -> Tokens:
        """Do what `issue` does, in asynchronous code."""
        replaces = _held(replaces)
        core = self._core(asynchronous=True)
        step = self._begin(core, subject, scope, claims, client_id, replaces, user_agent)
        return self._carried(self._result(await afinish(step)), replaces)

    def revoke(self, grant_id: str, *, reason: str = "revoked") -> bool:
        """End a grant with all its tokens; say whether it was alive.

        Raises:
            ValueError: the id is no text.
            StoreUnavailable: then it may have ended; to repeat is safe.

        """
        alive: bool = self._result(finish(self._end(self._exchange(), grant_id, reason)))
        return alive

    async def arevoke(self, grant_id: str, *, reason: str = "revoked") -> bool:
        """Do what `revoke` does, in asynchronous code."""
        exchange = self._exchange(asynchronous=True)
        alive: bool = self._result(await afinish(self._end(exchange, grant_id, reason)))
        return alive

    def revoke_all(self, subject: str, *, reason: str = "revoked") -> tuple[str, ...]:
        """End all grants of a user, say after a change of password; return their ids.

        Raises:
            ValueError: the subject is no text, as it was when the tokens were issued.
            StoreUnavailable: then some may have ended; to repeat is safe.

        """
        _check_text("subject", subject)
        step = self._exchange().end_subject(subject, reason, self._settings.clock())
        ended: tuple[str, ...] = self._result(finish(step))
        return ended

    async def arevoke_all(self, subject: str, *, reason: str = "revoked") -> tuple[str, ...]:
        """Do what `revoke_all` does, in asynchronous code."""
        _check_text("subject", subject)
        exchange = self._exchange(asynchronous=True)
        step = exchange.end_subject(subject, reason, self._settings.clock())
        ended: tuple[str, ...] = self._result(await afinish(step))
        return ended

    def grants(self, subject: str) -> tuple[Grant, ...]:
        """Return a user's living grants, the newest first: one per device or browser."""
        _check_text("subject", subject)
        found: tuple[Grant, ...] = self._result(finish(self._exchange().grants(subject)))
        return found

    async def agrants(self, subject: str) -> tuple[Grant, ...]:
        """Do what `grants` does, in asynchronous code."""
        _check_text("subject", subject)
        step = self._exchange(asynchronous=True).grants(subject)
        found: tuple[Grant, ...] = self._result(await afinish(step))
        return found

    def _exchange(self, *, asynchronous: bool = False) -> Exchange:
        # There is one: the settings have a `refresh` group.
        return cast("Exchange", self._core(asynchronous=asynchronous).exchange)

    def _core(self, *, asynchronous: bool = False) -> Core:
        return self._runtime.core(asynchronous=asynchronous)

    def _begin(
        self,
        core: Core,
        subject: str,
        scope: str,
        claims: Mapping[str, Any] | None,
        client_id: str | None,
        replaces: Held | None,
        user_agent: str | None,
    ) -> Step:
        exchange, now = cast("Exchange", core.exchange), self._settings.clock()
        begin = partial(
            exchange.begin,
            subject=subject,
            scope=scope,
            claims=claims,
            client_id=client_id,
            replaces=replaces,
            now=now,
            user_agent=user_agent,
        )
        return core.renewed(now, begin)

    def _end(self, exchange: Exchange, grant_id: str, reason: str) -> Step:
        _check_text("grant_id", grant_id)
        event = Revoked(grant_ids=(grant_id,), reason=reason)
        return exchange.end(
            grant_id,
            reason,
            self._settings.clock(),
            lambda was_alive: Done(was_alive, (event,) if was_alive else ()),
        )

    def _result(self, step: Step) -> Any:
        done = cast("Done", step)
        self._runtime.tell(done.events)
        return done.value

    def _carried(self, begun: Begun, replaces: Held | None) -> Tokens:
        cookies = self._group.cookies
        if cookies is None:
            return begun.tokens
        jars = cookies.jars(self._settings.issuer)
        tokens = cookies.carry(begun.tokens, jars, int(self._group.idle_limit))
        if replaces is not None:
            tokens.cookies += jars.cleared(replaces, begun.replaced)
        return tokens


def _held(replaces: Held | str | None) -> Held | None:
    # A text in a local would be seen by error trackers, if the store or `claims_for` failed.
    return Held((("", replaces),), ()) if isinstance(replaces, str) else replaces


_WAYS = {"subject": "str(user.id)", "grant_id": "tokens.grant_id, or token.grant_id in a request"}


def _check_text(name: str, value: object) -> None:
    """Check the name of what is to end: one of another type finds nothing, and nothing ends."""
    if not isinstance(value, str):
        raise ValueError(f"{name}: must be text, not {type(value).__name__}: {_WAYS[name]}")
