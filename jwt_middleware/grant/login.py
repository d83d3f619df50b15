"""A login: a grant begins, and both its tokens are made."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

from ..stores.contract import new_grant_id
from ..token import access
from ..token.scopes import is_scope
from ..values.errors import Unavailable
from ..values.events import Event, Issued
from ..values.flows import Flow, ask
from ..values.tokens import Grant, Held, Hidden, Tokens
from .issuing import Issuing

# How often a login removes some hundred rows that are over: so seldom that most logins don't wait
# for it, and often enough to remove more than logins add. While there is more to remove, sooner.
PURGE_EVERY = 600.0  # seconds
LOGINS_A_PURGE = 100
LOGINS_WHILE_BEHIND = 10
BEHIND = 400  # rows that one purge removed: there are surely more


class Begun(NamedTuple):
    """A login's tokens, the grants that it ended or found ended, and the events to report."""

    tokens: Hidden[Tokens]
    replaced: tuple[str, ...]
    events: tuple[Event, ...]


def begin(
    issuing: Issuing,
    *,
    subject: str,
    scope: str,
    claims: Mapping[str, Any] | None,
    client_id: str | None,
    replaces: Held | None,
    user_agent: str | None,
    now: float,
) -> Flow[Begun]:
    """Begin a grant for a login that has been checked.

    Raises:
        ValueError: for a claim that can't stand in a token, and for tokens that are too large.
        EndGrant: `claims_for` refuses.
        Unavailable: the store, a hook or the signer doesn't answer.

    """
    subject = _checked_subject(subject)
    grant = Grant(
        id=new_grant_id(subject),
        subject=subject,
        client_id=_checked_client(client_id or issuing.group.client_id, subject),
        scope=_checked_scope(scope),
        claims=access.own_claims(claims or {}),
        bound_key=None,
        generation=1,
        parent=None,
        rotated_at=now,
        created_at=now,
        expires_at=now + issuing.group.absolute_limit,
    )
    yield from issuing.renew_keys(now)
    signing = issuing.signing()
    if claims is None and issuing.ports.claims_for is not None:
        fresh = yield from ask(issuing.ports.claims_for, grant)
        grant = replace(grant, claims=access.own_claims(fresh))
    # Made before the store is asked, so that too large a token fails before anything has changed.
    made = yield from signing.access_token(grant, grant.scope, now)
    agent = signing.refresh.agent(user_agent)
    tokens = Hidden(signing.tokens(grant, made, grant.scope, now, agent=agent))
    # Ended in the store, not only removed from the browser: a late answer about them may bring
    # their cookie back, and a thief may have a copy of it.
    held = () if replaces is None else [Hidden(value) for _, value in replaces.refresh]
    living, over = issuing.read(held, now)
    ids = tuple(token.grant_id for _, token in living)
    events = yield from issuing.end_each(ids, "replaced", now)
    ended = yield from ask(issuing.ports.store.add, grant, issuing.group.grants_per_subject)
    issuing.ended.add(ended, now)
    yield from _purge_sometimes(issuing, now)
    issued = Issued(grant_id=grant.id, client_id=grant.client_id, ended=ended)
    return Begun(tokens, ids + over, (*events, issued))


def _purge_sometimes(issuing: Issuing, now: float) -> Flow[None]:
    issuing.logins += 1
    enough = LOGINS_WHILE_BEHIND if issuing.is_purge_behind else LOGINS_A_PURGE
    if issuing.logins < enough and 0 <= now - issuing.purged_at < PURGE_EVERY:
        return
    issuing.purged_at, issuing.logins, issuing.is_purge_behind = now, 0, False
    with suppress(Unavailable):  # a login doesn't fail because old rows can't be removed
        removed = yield from ask(issuing.ports.store.purge, now)
        issuing.is_purge_behind = removed >= BEHIND


def _checked_subject(subject: Any) -> str:
    if not isinstance(subject, str) or not subject or not subject.isprintable():
        raise ValueError(
            "subject: must be a non-empty string of printable characters; a number: str(user.id)"
        )
    return subject


def _checked_client(client_id: Any, subject: str) -> str:
    if not isinstance(client_id, str) or not client_id or not client_id.isprintable():
        raise ValueError("client_id: must be a non-empty string of printable characters")
    if client_id == subject:
        # RFC 9700 s4.15: a user whose subject equals a client's name could act as that client.
        raise ValueError("subject: is the client's name; the token would be the client's own")
    return client_id


def _checked_scope(scope: Any) -> str:
    if not isinstance(scope, str) or not is_scope(scope):
        raise ValueError(
            'scope: must be words separated by one space (RFC 6749 s3.3), such as "read write"'
        )
    return scope
