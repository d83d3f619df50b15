"""A login: a grant begins, and both its tokens are made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from typing import Any, NamedTuple, cast

from ..settings.consistency import OF_LIMITS
from ..settings.issuing_groups import Refresh
from ..stores.contract import new_grant_id
from ..token import access
from ..token.scopes import is_scope
from ..values.errors import ConfigurationError, Unavailable
from ..values.events import Event, Issued
from ..values.flows import Flow, ask
from ..values.proved_key import ProvedKey
from ..values.tokens import Grant, Held, Hidden, Tokens
from .issuing import Issuing
from .migrating import Derived, end_held, row_of
from .refresh import Asked, exchange

# How often a login removes some hundred rows that are over: so seldom that most logins don't wait
# for it, and often enough to remove more than logins add. While there is more to remove, sooner.
PURGE_EVERY = 600.0  # seconds
LOGINS_A_PURGE = 100
LOGINS_WHILE_BEHIND = 10
BEHIND = 400  # rows that one purge removed: there are surely more

SHORTEST_ONCE = 22  # characters: 128 bits in base64url
MOST_LABEL = 200  # characters: a line of a list of devices
# No control characters, which change what a terminal or a log shows, and no halves of UTF-16 pairs,
# which no store can write.
_LABEL = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]*")
_CHECKS = {one.name: one.metadata["check"] for one in fields(Refresh)}


@dataclass(frozen=True, slots=True)
class Login:
    """What the application says about a login: `Issuer.issue` explains it."""

    subject: str = field(repr=False)
    _: KW_ONLY
    scope: str
    claims: Mapping[str, Any] | None = field(repr=False)
    client_id: str | None
    user_agent: str | None = field(repr=False)
    label: str | None = field(repr=False)
    idle_limit: float | None
    absolute_limit: float | None
    session: bool
    once: Hidden[str] | None = None
    proof: ProvedKey | None = None


class Begun(NamedTuple):
    """A login's tokens, the grants that it ended or found ended, and the events to report."""

    tokens: Hidden[Tokens]
    replaced: tuple[str, ...]
    events: tuple[Event, ...]


class _Lasts(NamedTuple):
    idle_limit: float
    absolute_limit: float
    access_lifetime: float
    settle: float


def begin(issuing: Issuing, login: Login, replaces: Held | None, now: float) -> Flow[Begun]:
    """Begin a grant for a login that has been checked.

    Raises:
        ValueError: for what can't stand in a token or a row, for a limit out of its bounds, for
            tokens that are too large, and for a claim that the first refresh would drop.
        EndGrant: `claims_for` refuses.
        InvalidGrant: the grant of `once` has ended.
        Unavailable: the store, a hook or the signer doesn't answer.

    """
    grant = _grant_of(issuing, login, now)
    yield from issuing.renew_keys(now)
    if login.once is not None and (yield from row_of(issuing, grant.id)) is not None:
        return (yield from _begin_again(issuing, login, grant, replaces, now))
    signing = issuing.signing()
    fresh = grant
    if issuing.ports.claims_for is not None:
        fresh = yield from _with_claims(issuing, grant)
        # The row keeps what the login itself gave, which the hook finds there at each refresh.
        grant = fresh if login.claims is None else grant
    # Made before the store is asked, so that too large a token fails before anything has changed.
    made = yield from signing.access_token(fresh, grant.scope, now)
    agent = signing.refresh.agent(login.user_agent)
    tokens = Hidden(signing.tokens(grant, made, grant.scope, now, agent=agent))
    ids, events = yield from _end_replaced(issuing, replaces, grant.id, now)
    ended = yield from ask(issuing.ports.store.add, grant, issuing.group.grants_per_subject)
    issuing.ended.add(ended, now)
    yield from _purge_sometimes(issuing, now)
    issued = Issued(grant_id=grant.id, client_id=grant.client_id, ended=ended)
    return Begun(tokens, ids, (*events, issued))


def _end_replaced(
    issuing: Issuing, replaces: Held | None, begun: str, now: float
) -> Flow[tuple[tuple[str, ...], tuple[Event, ...]]]:
    """End what the browser still holds, but not the grant that begins; return ids and events."""
    # Ended in the store, not only removed from the browser: a late answer about them may bring
    # their cookie back, and a thief may have a copy of it.
    if replaces is None:
        return (), ()
    living, over = issuing.read([Hidden(value) for _, value in replaces.refresh], now)
    ids = tuple(token.grant_id for _, token in living if token.grant_id != begun)
    events = yield from issuing.end_each(ids, "replaced", now)
    events += yield from end_held(issuing, replaces, "replaced", now)
    return ids + over, events


def _begin_again(
    issuing: Issuing, login: Login, grant: Grant, replaces: Held | None, now: float
) -> Flow[Begun]:
    """Do what a refresh does when its answer was lost: `once` has led to this grant before."""
    once = cast("Hidden[str]", login.once)
    token = Derived.of("once", once.value.encode(), grant.subject).token(grant, 0.0)
    granted = yield from exchange(issuing, once, token, Asked("", None, login.user_agent, now))
    ids, events = yield from _end_replaced(issuing, replaces, grant.id, now)
    return Begun(Hidden(granted.tokens), ids, (*events, granted.event))


def _grant_of(issuing: Issuing, login: Login, now: float) -> Grant:
    group = issuing.group
    subject = _checked_subject(login.subject)
    if type(login.session) is not bool:
        raise ValueError("session: must be True or False")
    derived, claims = None, login.claims or {}
    if login.once is not None:
        claims = {**access.LONG_AGO, **claims}
        derived = Derived.of("once", _checked_once(login.once).value.encode(), subject)
    return Grant(
        id=new_grant_id(subject) if derived is None else derived.grant_id,
        subject=subject,
        client_id=_checked_client(login.client_id or group.client_id, subject),
        scope=_checked_scope(login.scope),
        claims=access.own_claims(claims),
        bound_key=_checked_key(issuing, login),
        generation=1,
        parent=None if derived is None else derived.jti,
        rotated_at=now,
        created_at=now,
        expires_at=now + _checked_limits(group, login.idle_limit, login.absolute_limit),
        label=_checked_label(login.label),
        idle_limit=None if login.idle_limit is None else float(login.idle_limit),
        is_session=login.session,
    )


def _with_claims(issuing: Issuing, grant: Grant) -> Flow[Grant]:
    """Return the grant with the claims of the application's hook. Raises ValueError, EndGrant."""
    found = yield from ask(cast("Any", issuing.ports.claims_for), grant)
    fresh = access.own_claims(found, grant)
    # At each refresh the hook's answer is the whole. Were it more here, a claim of the login would
    # be in its first token alone.
    lost = grant.claims.keys() - fresh.keys()
    if lost:
        raise ValueError(
            f"claims: {min(lost)!r} isn't in what claims_for returns, so that the first refresh "
            f"would drop it: return it there, too, as grant.claims.get({min(lost)!r})"
        )
    return replace(grant, claims=fresh)


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


def _checked_label(label: Any) -> str | None:
    if label is None:
        return None
    if not isinstance(label, str) or len(label) > MOST_LABEL or not _LABEL.fullmatch(label):
        raise ValueError(
            f"label: must be text of at most {MOST_LABEL} characters, without control characters: "
            f'"".join(filter(str.isprintable, label))[:{MOST_LABEL}]'
        )
    return label or None


def _checked_once(once: Hidden[Any]) -> Hidden[str]:
    if not isinstance(once.value, str) or len(once.value) < SHORTEST_ONCE:
        raise ValueError(
            f"once: must be text of at least {SHORTEST_ONCE} characters, 128 random bits: who can "
            "guess it gets the user's login"
        )
    return once


def _checked_key(issuing: Issuing, login: Login) -> str | None:
    proof: Any = login.proof
    if proof is None:
        return None
    if login.once is not None:
        raise ValueError("proof: not with `once`, whose login may have begun without the key")
    if not isinstance(proof, ProvedKey):
        raise ValueError(
            "proof: must be what the middleware has proved of a request to a route with "
            'own_origin=True: scope["jwt_middleware.proof"] or environ["jwt_middleware.proof"]'
        )
    if issuing.proofs is None:
        raise ValueError("proof: Settings.proofs is None, so that no refresh could prove the key")
    return proof.thumbprint


def _checked_limits(group: Refresh, idle: Any, absolute: Any) -> float:
    """Return the absolute limit of a login that may have limits of its own. Raises ValueError."""
    own = {"idle_limit": idle, "absolute_limit": absolute}
    given = {name: value for name, value in own.items() if value is not None}
    if not given:
        return group.absolute_limit
    try:
        for name, value in given.items():
            _CHECKS[name](name, value)
        end: float = given.get("absolute_limit", group.absolute_limit)
        # Where only the absolute limit is given, it may be shorter than the settings' idle limit:
        # then the login ends before it can be idle for so long.
        rest: float = given.get("idle_limit", min(group.idle_limit, end))
        lasts = _Lasts(rest, end, group.access_lifetime, group.settle)
        for _, check in OF_LIMITS:
            check("idle_limit" if idle is not None else "absolute_limit", lasts)
    except ConfigurationError as error:
        raise ValueError(f"{error.field}: {error.problem} ({error.remedy})") from None
    return end
