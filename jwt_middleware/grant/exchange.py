"""Grants begin, are exchanged and end: flows of asks around the rotation rule. Nothing here waits.

A flow takes what to do with its result, `then`, so that the endpoint makes a response of it and the
issuer hands it to the application.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple, NoReturn, TypeAlias

from ..keys.live_keys import LiveKeys
from ..settings.groups import Refresh
from ..settings.refresh_secrets import follows_keys
from ..settings.settings import Settings
from ..stores.contract import Advanced, new_grant_id
from ..token import access, refresh
from ..token.claims import is_scope
from ..token.refresh import RefreshKeys, RefreshToken
from ..values import reasons
from ..values.decisions import Ask, Done, Step
from ..values.errors import (
    EndGrant,
    InvalidGrant,
    InvalidScope,
    KeysUnavailable,
    StoreUnavailable,
    Unavailable,
)
from ..values.events import Ahead, Event, Issued, KeyMismatch, Refreshed, Restored, Reused, Revoked
from ..values.tokens import Grant, Held, Hidden, Tokens
from .ended_grants import EndedGrants
from .minting import Made, Sign, Signing
from .prepared import Prepared
from .rotation_rule import Limits, Outcome, Presented, Swap, decide, first, gate, last_use

SWAPS = 3  # tries; a fourth would mean that the grant moves faster than anyone can refresh
PURGE_EVERY = 600.0  # seconds

_HOW: Mapping[Outcome, Literal["rotated", "kept", "repeated"]] = {
    Outcome.ROTATED: "rotated",
    Outcome.KEPT: "kept",
    Outcome.REPEATED: "repeated",
}
# Tuples, because an outcome is found by identity sooner than by its hash.
_SERVED = (*_HOW, Outcome.RESTORED)
_KEEPS = (Outcome.KEPT, Outcome.RESTORED)  # the client has a refresh token that stays good

Claims: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What the flows may ask for, in the form that their door can wait for. See `Store`."""

    add: Callable[..., Any]
    advance: Callable[..., Any]
    use: Callable[..., Any]
    end: Callable[..., Any]
    end_subject: Callable[..., Any]
    grants: Callable[..., Any]
    purge: Callable[..., Any]
    sync: Callable[[float], Any]  # bring `EndedGrants` up to date, for a request that arrived then
    claims_for: Callable[[Grant], Any] | None  # returns claims, or an EndGrant
    sign: Sign  # for a key that signs elsewhere
    tell: Callable[[tuple[Event, ...]], None]  # takes what a request that is gone doesn't tell


class Begun(NamedTuple):
    """A login's tokens, and the grants that are over since, or were before."""

    tokens: Tokens
    replaced: tuple[str, ...]


class _Attempt(NamedTuple):
    """One refresh on its way."""

    signing: Signing
    token: RefreshToken
    text: Hidden[str]  # of the token
    presented: Presented
    scope: str  # asked for; "" for all of the grant's
    agent: str | None  # of the answer
    agent_changed: bool | None
    now: float
    then: Callable[[Tokens, tuple[Event, ...]], Step]
    refused: Callable[[InvalidGrant], Step]  # by what the store or the application says


class Exchange:
    """What begins, exchanges and ends grants: prepared once per door, and when keys change."""

    def __init__(
        self,
        settings: Settings,
        group: Refresh,
        ports: Ports,
        ended: EndedGrants,
        live: LiveKeys,
        renew: Callable[..., Any],
    ) -> None:
        self.ports = ports
        self._renew = renew
        self.ended = ended
        self._live = live
        self._signing = Prepared(live, lambda keys: Signing(keys, settings, group, ports.sign))
        self._group = group
        self._follows_keys = follows_keys(group, settings.keys.source)
        self._limits = Limits(
            settle=group.settle, idle=group.idle_limit, restore=group.restore_limit
        )
        self._purged_at = float("-inf")

    def begin(
        self,
        *,
        subject: str,
        scope: str,
        claims: Claims | None,
        client_id: str | None,
        replaces: Held | None,
        now: float,
        user_agent: str | None = None,
    ) -> Step:
        """Begin a grant for a login that has been checked; the result is a `Begun`.

        Raises ValueError for bad input.
        """
        signing = self._signing.get()
        subject = _subject(subject)
        grant = Grant(
            id=new_grant_id(subject),
            subject=subject,
            client_id=_client(client_id or self._group.client_id, subject),
            scope=_scope(scope),
            claims=access.own_claims(claims or {}),
            bound_key=None,
            generation=1,
            parent=None,
            rotated_at=now,
            created_at=now,
            expires_at=now + self._group.absolute_limit,
        )

        def fill(fresh: Any) -> Step:
            if isinstance(fresh, EndGrant):
                raise fresh
            return sign(replace(grant, claims=access.own_claims(fresh)))

        def sign(final: Grant) -> Step:
            return signing.access_token(
                final, final.scope, now, lambda made: replace_old(final, made)
            )

        def replace_old(final: Grant, made: Made) -> Step:
            # Made before the store is asked: what is too large fails before anything has changed.
            agent = signing.refresh.agent(user_agent)
            tokens = signing.tokens(final, made, final.scope, now, agent=agent)
            # Ended, not only forgotten by the browser: an answer about them may still be on its way
            # and bring their cookie back. And a thief may have what the browser still holds.
            living, over = self.read(_texts(replaces), now)
            ids = tuple(token.grant_id for _, token in living)
            begun = Begun(tokens, ids + over)
            return self.end_each(ids, "replaced", now, lambda events: add(final, begun, events))

        def add(final: Grant, begun: Begun, events: tuple[Event, ...]) -> Step:
            limit = self._group.grants_per_subject
            return Ask(self.ports.add, (final, limit), lambda ended: added(begun, ended, events))

        def added(begun: Begun, ended: tuple[str, ...], events: tuple[Event, ...]) -> Step:
            self.ended.add(ended, now)
            event = Issued(grant_id=grant.id, client_id=grant.client_id, ended=ended)
            return self._purge_sometimes(now, Done(begun, (*events, event)))

        if claims is None and self.ports.claims_for is not None:
            return Ask(self.ports.claims_for, (grant,), fill)
        return sign(grant)

    @property
    def keys(self) -> RefreshKeys:
        """Return the secrets of refresh tokens, as they are now."""
        return self._signing.get().refresh

    def read(
        self, texts: Iterable[Hidden[str]], now: float
    ) -> tuple[list[tuple[Hidden[str], RefreshToken]], tuple[str, ...]]:
        """Return the refresh tokens of ours among some texts, and the grants of those too old."""
        living, over = [], []
        for text in texts:
            try:
                living.append((text, refresh.check(text.value, self.keys, now=now)))
            except InvalidGrant as error:
                # Only an authentic token is known to be past its end.
                if error.reason == reasons.EXPIRED and error.grant_id is not None:
                    over.append(error.grant_id)
        return living, tuple(over)

    def check(self, text: Hidden[str], now: float) -> RefreshToken:
        """Return a refresh token of ours, or raise InvalidGrant, or KeysUnavailable."""
        try:
            return refresh.check(text.value, self.keys, now=now)
        except InvalidGrant as error:
            # Another process may have signed it by a key in a file that can't be read here: that is
            # no fault of the client's.
            fresh = self._live.fresh
            if error.reason == reasons.KEY_UNKNOWN and fresh.is_failing and self._follows_keys:
                raise KeysUnavailable("of refresh tokens", fresh.retry_after(now)) from None
            raise

    def lacks_key(self, text: Hidden[str], now: float) -> bool:
        """Say whether a refresh token may be by a key that another process has found already."""
        try:
            self.check(text, now)
        except InvalidGrant as error:
            return error.reason == reasons.KEY_UNKNOWN and self._follows_keys
        return False

    def look(self, now: float, then: Callable[[], Step]) -> Step:
        """Go on after a look for keys that aren't known here yet: they log nobody out."""
        return Ask(partial(self._renew, lacking=True), (self._live, now), lambda _: then())

    def refresh(
        self,
        token: RefreshToken,
        *,
        scope: str,
        client_id: str | None,
        text: Hidden[str],
        user_agent: str | None,
        now: float,
        then: Callable[[Tokens, tuple[Event, ...]], Step],
        refused: Callable[[InvalidGrant], Step],
    ) -> Step:
        """Exchange a refresh token (RFC 6749 s6). What fails before the store changes nothing."""
        if client_id is not None and client_id != token.client_id:
            # RFC 6749 s6: "the refresh token is bound to the client to which it was issued".
            raise InvalidGrant(reasons.CLIENT).of(token.grant_id)
        if scope:
            scope = _narrowed(scope, token)
        is_bound = token.bound_key is not None
        presented = Presented(token.generation, token.jti, token.issued_at, is_bound)
        signing = self._signing.get()
        keys = signing.refresh
        agent = keys.agent(user_agent)
        seen = agent if token.kid == keys.signer.kid else keys.agent(user_agent, token.kid)
        changed = None if token.agent is None or seen is None else token.agent != seen
        attempt = _Attempt(
            signing, token, text, presented, scope, agent, changed, now, then, refused
        )
        return self._swap(attempt, first(presented, now, self._limits), SWAPS)

    def _swap(self, attempt: _Attempt, swap: Swap, left: int) -> Step:
        if not left:
            raise StoreUnavailable("the grant moved during every try")
        return Ask(
            self.ports.advance,
            (attempt.token.grant_id, *swap),
            lambda answer: self._decide(attempt, swap, answer, left - 1),
            lambda error: _raise(error.of(attempt.token.grant_id)),
        )

    def _decide(self, attempt: _Attempt, swap: Swap, answer: Advanced, left: int) -> Step:
        token, (advanced, row) = attempt.token, answer
        if token.grant_id in self.ended:
            # Known to have ended, whatever the row says: a failover may have lost that write, so it
            # is repeated.
            refusal = InvalidGrant(reasons.GRANT_ENDED).of(token.grant_id)
            return self.end(
                token.grant_id, "ended", attempt.now, lambda _: attempt.refused(refusal)
            )
        decision = decide(attempt.presented, swap, advanced, row, attempt.now, self._limits)
        if isinstance(decision, Swap):
            return self._swap(attempt, decision, left)
        if row is not None and decision in _SERVED:
            return self._serve(attempt, swap, decision, row)
        if row is None or decision is Outcome.GONE:
            return attempt.refused(InvalidGrant(reasons.GRANT_ENDED).of(token.grant_id))
        if decision is Outcome.REFUSED:
            mismatch = KeyMismatch(grant_id=row.id, user_agent_changed=attempt.agent_changed)
            return attempt.refused(InvalidGrant(reasons.KEY_MISMATCH).of(row.id, mismatch))
        gap = token.generation - row.generation
        if decision is Outcome.AHEAD:
            ahead = Ahead(grant_id=row.id, gap=gap)
            return attempt.refused(InvalidGrant(reasons.AHEAD).of(row.id, ahead))
        # Reused. The end first, then the answer: a thief must not be told before he is out.
        event = Reused(
            grant_id=row.id,
            gap=-gap,
            seconds=max(attempt.now - row.rotated_at, 0.0),
            user_agent_changed=attempt.agent_changed,
        )
        refusal = InvalidGrant(reasons.REUSED).of(row.id, event)
        return self.end(row.id, "reused", attempt.now, lambda _: attempt.refused(refusal))

    def _serve(self, attempt: _Attempt, swap: Swap, outcome: Outcome, row: Grant) -> Step:
        changed = attempt.agent_changed
        how = _HOW.get(outcome)
        event: Event
        if how is None:
            event = Restored(
                grant_id=row.id,
                generation=row.generation,
                lost=swap.target - swap.source,
                user_agent_changed=changed,
            )
        else:
            event = Refreshed(
                grant_id=row.id, how=how, generation=row.generation, user_agent_changed=changed
            )
        kept = attempt.text if outcome in _KEEPS else None
        signing, now = attempt.signing, attempt.now

        def sign(final: Grant) -> Step:
            scope = attempt.scope or final.scope
            return signing.access_token(final, scope, now, lambda made: finish(final, scope, made))

        def finish(final: Grant, scope: str, made: Made) -> Step:
            try:
                tokens = signing.tokens(final, made, scope, now, agent=attempt.agent, kept=kept)
            except ValueError:
                error = Unavailable(reasons.CLAIMS_HOOK, "the access token is too large")
                raise error.of(final.id) from None
            return self._use(row, now, lambda: answer(tokens))

        def answer(tokens: Tokens) -> Step:
            if row.id in self.ended:
                # Meanwhile: somebody logged out or in, and that answer may have come already.
                return attempt.refused(InvalidGrant(reasons.GRANT_ENDED).of(row.id))
            return attempt.then(tokens, (event,))

        if self.ports.claims_for is None:
            return sign(row)
        return Ask(
            self.ports.claims_for,
            (row,),
            lambda fresh: self._given(attempt, row, fresh, sign),
            lambda error: _raise(error.of(row.id)),
        )

    def _given(
        self, attempt: _Attempt, grant: Grant, fresh: Any, then: Callable[[Grant], Step]
    ) -> Step:
        """Go on with the claims that the application's hook gave, or end the grant as it wishes."""
        now = attempt.now
        if isinstance(fresh, EndGrant):
            event = Revoked(grant_ids=(grant.id,), reason=fresh.reason)
            refusal = InvalidGrant(reasons.GRANT_REFUSED).of(grant.id, event)
            return self.end(grant.id, fresh.reason, now, lambda _: attempt.refused(refusal))
        try:
            claims = access.own_claims(fresh)
        except (TypeError, ValueError) as error:
            raise Unavailable(reasons.CLAIMS_HOOK, str(error)).of(grant.id) from None
        return then(replace(grant, claims=claims))

    def _use(self, row: Grant, now: float, then: Callable[[], Step]) -> Step:
        """Record that a refresh was served, where no rotation has and the last record is old."""
        if now - last_use(row) < gate(row.idle_limit or self._limits.idle):
            return then()
        # A fault costs a record; the client has its answer, and the next one records.
        return Ask(self.ports.use, (row.id,), lambda _: then(), lambda _: then())

    def end_each(
        self,
        grant_ids: tuple[str, ...],
        reason: str,
        now: float,
        then: Callable[[tuple[Event, ...]], Step],
        ended: tuple[str, ...] = (),
    ) -> Step:
        """End several grants, one after the other, and go on with what there is to tell."""
        if not grant_ids:
            return then((Revoked(grant_ids=ended, reason=reason),) if ended else ())
        first, *rest = grant_ids
        return self.end(
            first,
            reason,
            now,
            lambda was_alive: self.end_each(
                tuple(rest), reason, now, then, (*ended, first) if was_alive else ended
            ),
        )

    def end(self, grant_id: str, reason: str, now: float, then: Callable[[bool], Step]) -> Step:
        """End a grant; in this process its access tokens are dead when `then` is called."""

        def ended(was_alive: bool) -> Step:
            self.ended.add((grant_id,), now)
            return then(was_alive)

        return Ask(
            self.ports.end,
            (grant_id, reason),
            ended,
            lambda error: _raise(error.of(grant_id)),
            self.ports.tell,
        )

    def end_subject(self, subject: str, reason: str, now: float) -> Step:
        """End all grants of a subject."""

        def ended(grant_ids: tuple[str, ...]) -> Step:
            self.ended.add(grant_ids, now)
            events = (Revoked(grant_ids=grant_ids, reason=reason),) if grant_ids else ()
            return Done(grant_ids, events)

        return Ask(self.ports.end_subject, (subject, reason), ended, tell=self.ports.tell)

    def grants(self, subject: str) -> Step:
        """Return the living grants of a subject."""
        return Ask(self.ports.grants, (subject,), Done)

    def _purge_sometimes(self, now: float, done: Done) -> Step:
        if now - self._purged_at < PURGE_EVERY:
            return done
        self._purged_at = now
        # Nobody's login fails because old rows couldn't be forgotten.
        return Ask(self.ports.purge, (now,), lambda _: done, lambda _: done)


def _texts(replaces: Held | None) -> list[Hidden[str]]:
    return [] if replaces is None else [Hidden(value) for _, value in replaces.refresh]


def _narrowed(scope: str, token: RefreshToken) -> str:
    """Return the scope that is asked for, in the grant's words. Raises InvalidScope."""
    # RFC 6749 s6: "The requested scope MUST NOT include any scope not originally granted".
    asked, granted = set(scope.split()), token.scope.split()
    if not asked.issubset(granted):
        raise InvalidScope(reasons.SCOPE_WIDENED).of(token.grant_id)
    # What was asked for may name one a thousand times.
    return " ".join(one for one in granted if one in asked)


def _raise(error: Exception) -> NoReturn:
    raise error


def _subject(subject: Any) -> str:
    if not isinstance(subject, str) or not subject or not subject.isprintable():
        raise ValueError(
            "subject: must be a non-empty string of printable characters; a number: str(user.id)"
        )
    return subject


def _client(client_id: Any, subject: str) -> str:
    if not isinstance(client_id, str) or not client_id or not client_id.isprintable():
        raise ValueError("client_id: must be a non-empty string of printable characters")
    if client_id == subject:
        # RFC 9700 s4.15: who could be called what a client is called could act as that client.
        raise ValueError("subject: is the client's name; the token would be the client's own")
    return client_id


def _scope(scope: Any) -> str:
    if not isinstance(scope, str) or not is_scope(scope):
        raise ValueError(
            'scope: must be words separated by one space (RFC 6749 s3.3), such as "read write"'
        )
    return scope
