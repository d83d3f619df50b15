"""A refresh: a refresh token is exchanged for a new access token and a new refresh token.

`exchange` reads from top to bottom: client, scope, proof, the store's `advance`, the decision of
the rotation rule, claims, signature, answer. What fails before `advance` changes nothing. After it
there may be a rotation that the client doesn't know of: its next try is answered as "repeated".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from ..token import access
from ..token.refresh import RefreshKeys, RefreshToken
from ..values import reasons
from ..values.errors import (
    EndGrant,
    InvalidGrant,
    InvalidScope,
    OtherClient,
    StoreUnavailable,
    Unavailable,
)
from ..values.events import Ahead, KeyMismatch, Refreshed, Restored, Reused, Revoked
from ..values.flows import Flow, ask
from ..values.requests import Request
from ..values.tokens import Grant, Hidden, Tokens
from .bound_grants import check_key
from .issuing import Issuing
from .rotation_rule import Outcome, Presented, Swap, decide, first, is_use_due

SWAPS = 3  # tries; a fourth would mean that the grant changes faster than it can be refreshed

_HOW: Mapping[Outcome, Literal["rotated", "kept", "repeated"]] = {
    Outcome.ROTATED: "rotated",
    Outcome.KEPT: "kept",
    Outcome.REPEATED: "repeated",
}
_KEEPS = (Outcome.KEPT, Outcome.RESTORED)  # the client has a refresh token that stays good


class Asked(NamedTuple):
    """The parameters of a refresh request, beside the token."""

    scope: str  # "" for all of the grant's
    client_id: str | None
    user_agent: str | None
    now: float  # seconds since 1970-01-01 UTC, when it came
    request: Request | None = None  # None: a page load, which can bring no proof
    shown: Mapping[str, str] = MappingProxyType({})  # keys that devices have shown, by grant
    binds: bool = False  # the device itself asks: the next refresh token is marked with its key


class Granted(NamedTuple):
    """The answer to a refresh, and the events to report."""

    tokens: Tokens
    event: Refreshed | Restored
    more: tuple[Revoked, ...] = ()


def exchange(
    issuing: Issuing, text: Hidden[str], token: RefreshToken, asked: Asked
) -> Flow[Granted]:
    """Exchange an authentic refresh token, whose text is `text` (RFC 6749 s6).

    Raises:
        InvalidGrant: the token can't be exchanged; the error names the grant and what happened to
            it.
        InvalidScope: more is asked for than was granted.
        Unavailable: the store, a hook or the signer doesn't answer; it is safe to repeat the
            request.

    """
    if asked.client_id is not None and asked.client_id != token.client_id:
        # RFC 6749 s6: "the refresh token is bound to the client to which it was issued".
        raise OtherClient().of(token.grant_id)
    scope = _narrowed(asked.scope, token) if asked.scope else ""
    signing = issuing.signing()
    agent = signing.refresh.agent(asked.user_agent)
    changed = _is_another_agent(signing.refresh, token, agent, asked.user_agent)
    key = None
    if token.bound_key is not None:
        key = check_key(issuing, token, asked.request, changed, asked.now)
    device, shown = None, asked.shown.get(token.grant_id)
    if issuing.devices is not None:
        issuing.devices.check(token, shown, asked.request, changed)
        device = shown if asked.binds else token.device
    row, outcome, lost = yield from _advance(issuing, token, changed, key, asked.now)
    event: Refreshed | Restored
    if outcome is Outcome.RESTORED:
        event = Restored(
            grant_id=row.id, generation=row.generation, lost=lost, user_agent_changed=changed
        )
    else:
        event = Refreshed(
            grant_id=row.id,
            how=_HOW[outcome],
            generation=row.generation,
            user_agent_changed=changed,
        )
    grant, hook = row, issuing.ports.claims_for
    if hook is not None:
        grant = yield from _with_fresh_claims(issuing, hook, row, asked.now)
    scope = scope or grant.scope
    made = yield from signing.access_token(grant, scope, asked.now)
    kept = text if outcome in _KEEPS else None
    try:
        tokens = Hidden(
            signing.tokens(grant, made, scope, asked.now, agent=agent, kept=kept, device=device)
        )
    except ValueError:
        too_large = Unavailable(reasons.CLAIMS_HOOK, "the access token is too large")
        raise too_large.of(grant.id) from None
    if is_use_due(row, asked.now, issuing.limits):
        yield from _record_use(issuing, row)
    if row.id in issuing.ended:
        # Meanwhile the user may have logged out or in, and that answer may have reached the browser
        # before this one.
        raise InvalidGrant(reasons.GRANT_ENDED).of(row.id)
    return Granted(tokens.value, event)


def _advance(
    issuing: Issuing, token: RefreshToken, changed: bool | None, key: str | None, now: float
) -> Flow[tuple[Grant, Outcome, int]]:
    """Ask the store until the rule has decided; return row, outcome, and the lost rotations.

    Raises InvalidGrant if the token can't be exchanged.
    """
    presented = Presented(
        token.generation,
        token.jti,
        token.issued_at,
        bound=token.bound_key is not None,
        key=key,
        idle=token.idle,
    )
    swap = first(presented, now, issuing.limits)
    for _ in range(SWAPS):
        try:
            advanced, row = yield from ask(issuing.ports.store.advance, token.grant_id, *swap)
        except Unavailable as error:
            raise error.of(token.grant_id) from None
        if token.grant_id in issuing.ended:
            # This process knows that the grant has ended. A failover may have lost that write, so
            # it is repeated.
            yield from issuing.end(token.grant_id, "ended", now)
            raise InvalidGrant(reasons.GRANT_ENDED).of(token.grant_id)
        decision = decide(presented, swap, advanced, row, now, issuing.limits)
        if not isinstance(decision, Swap):
            break
        swap = decision
    else:
        raise StoreUnavailable("the grant moved during every try")
    if row is None or decision is Outcome.GONE:
        raise InvalidGrant(reasons.GRANT_ENDED).of(token.grant_id)
    if decision is Outcome.REFUSED:
        mismatch = KeyMismatch(grant_id=row.id, user_agent_changed=changed)
        raise InvalidGrant(reasons.KEY_MISMATCH).of(row.id, mismatch)
    gap = token.generation - row.generation
    if decision is Outcome.AHEAD:
        raise InvalidGrant(reasons.AHEAD).of(row.id, Ahead(grant_id=row.id, gap=gap))
    if decision is Outcome.REUSED:
        # The end first, then the answer: a thief must not hear of it while his tokens still work.
        # If the end fails, the answer is 503, and the next try decides again.
        yield from issuing.end(row.id, "reused", now)
        seconds = max(now - row.rotated_at, 0.0)
        reused = Reused(grant_id=row.id, gap=-gap, seconds=seconds, user_agent_changed=changed)
        raise InvalidGrant(reasons.REUSED).of(row.id, reused)
    return row, decision, swap.target - swap.source


def _with_fresh_claims(
    issuing: Issuing, hook: Callable[[Grant], Mapping[str, Any]], row: Grant, now: float
) -> Flow[Grant]:
    """Return the grant with the claims that the application's hook gives, unless it ends it."""
    try:
        fresh = yield from ask(hook, row)
        claims = access.own_claims(fresh, row)
    except EndGrant as refusal:
        yield from issuing.end(row.id, refusal.reason, now)
        revoked = Revoked(grant_ids=(row.id,), reason=refusal.reason)
        raise InvalidGrant(reasons.GRANT_REFUSED).of(row.id, revoked) from None
    except Unavailable as error:
        raise error.of(row.id) from None
    except (TypeError, ValueError) as error:
        raise Unavailable(reasons.CLAIMS_HOOK, str(error)).of(row.id) from None
    return replace(row, claims=claims)


def _record_use(issuing: Issuing, row: Grant) -> Flow[None]:
    """Record that a refresh was served. Raises nothing."""
    with suppress(Unavailable):  # the client gets its answer, and the next refresh records
        yield from ask(issuing.ports.store.use, row.id)


def _narrowed(scope: str, token: RefreshToken) -> str:
    """Return the requested scope, in the order of the grant's words. Raises InvalidScope."""
    # RFC 6749 s6: "The requested scope MUST NOT include any scope not originally granted".
    asked, granted = set(scope.split()), token.scope.split()
    if not asked.issubset(granted):
        raise InvalidScope(reasons.SCOPE_WIDENED).of(token.grant_id)
    # The request may repeat one word a thousand times.
    return " ".join(one for one in granted if one in asked)


def _is_another_agent(
    keys: RefreshKeys, token: RefreshToken, agent: str | None, user_agent: str | None
) -> bool | None:
    """Say whether the User-Agent is another than the token was given to; None: not known."""
    seen = agent if token.kid == keys.signer.kid else keys.agent(user_agent, token.kid)
    return None if token.agent is None or seen is None else token.agent != seen
