"""A token of a former library leads to one grant, however often it comes.

The grant's id is made of the token, and its row begins with the token as the parent of its first
generation: so the token counts as one of generation 0, and the rotation rule does the rest. Sent
again after a lost answer it gets another sibling; sent by a thief, after the user has gone on, it
ends the grant. What has ended stays ended, because the row is kept for longer than the token is
taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any, NamedTuple, cast

from ..jose import jws
from ..jose.strict_json import b64url_encode
from ..request.cookies import Jars, one_value
from ..settings.issuing_groups import Cookies
from ..settings.migration_group import Migration
from ..stores.contract import shard
from ..token import access
from ..token.claims import is_identifier
from ..token.former_tokens import FormerToken
from ..token.refresh import RefreshToken
from ..values import reasons
from ..values.bare_grants import bare_grant
from ..values.errors import InvalidGrant, InvalidToken, OtherClient, Unavailable
from ..values.events import Refreshed, Revoked
from ..values.flows import Flow, ask
from ..values.tokens import FrozenDict, Grant, Held, Hidden
from .continuing import Exchanged
from .issuing import Issuing, former_mark
from .refresh import Asked, Granted, exchange

NONE = -1.0  # a time before any: with it a question to `admit` remembers nothing


class Derived(NamedTuple):
    """The id of a grant, and the `jti` of what led to it, made of a text or a token."""

    grant_id: str
    jti: str

    @classmethod
    def of(cls, kind: str, octets: bytes, subject: str) -> Derived:
        """Return the same for the same octets, in every process and under every secret.

        It isn't keyed: a change of the secrets would make another grant, and undo a log-out. Nobody
        can work back from it, because the octets have at least 128 bits that can't be guessed.
        """
        made = [
            sha256(f"jwt_middleware {kind} {part}\0".encode() + octets).digest()[:16]
            for part in ("grant", "jti")
        ]
        grant_id, jti = (b64url_encode(one).decode() for one in made)
        return cls(shard(subject) + grant_id, jti)

    def token(self, grant: Grant, issued_at: float) -> RefreshToken:
        """Return what led to the grant as a refresh token of generation 0."""
        return RefreshToken(
            grant_id=grant.id,
            generation=0,
            jti=self.jti,
            client_id=grant.client_id,
            scope=grant.scope,
            issued_at=issued_at,
            agent=None,
            bound_key=None,
            kid="",
        )


def migrate(issuing: Issuing, text: Hidden[str], asked: Asked) -> Flow[Granted | None]:
    """Exchange an old refresh token; None: it isn't one, say because it is ours.

    Raises:
        InvalidGrant: it can't be exchanged; the error names the grant, if there is one.
        InvalidScope: more is asked for than was granted.
        Unavailable: the store, a hook or the signer doesn't answer.

    """
    former = _old_token(issuing, text, asked.now)
    if former is None:
        return None
    subject = yield from _subject(issuing, former)
    derived = Derived.of("former", former.signing_input.value, subject)
    row = yield from row_of(issuing, derived.grant_id)
    is_new, ended = row is None, cast("tuple[str, ...]", ())
    if row is None:
        row = _beginning(issuing, former, derived, subject, asked.now)
        if asked.client_id not in (None, row.client_id):  # before anything has changed
            raise OtherClient
        ended = yield from _begin(issuing, row, former, asked.now)
    token = derived.token(row, former.issued_at)
    granted = yield from exchange(issuing, text, token, asked)
    if is_new and isinstance(granted.event, Refreshed):
        more = (Revoked(grant_ids=ended, reason="limit"),) if ended else ()
        granted = Granted(granted.tokens, replace(granted.event, how="migrated"), more)
    return granted


def exchange_cookie(issuing: Issuing, held: Held, asked: Asked) -> Flow[Exchanged]:
    """Exchange an old refresh cookie for ours; none of these came, they would go first.

    Raises as `migrate` does; the error removes a cookie that is over.
    """
    jars, cookies = cast("Jars", issuing.jars), cast("Cookies", issuing.group.cookies)
    name = issuing.former.library.refresh_cookie if issuing.former is not None else ""
    text = one_value(held.former, name)
    try:
        granted = None
        if text is not None:
            granted = yield from migrate(issuing, text, asked)
        if granted is None:
            raise InvalidGrant(reasons.ISSUER)
    except InvalidGrant as error:
        if error.reason in (reasons.GRANT_ENDED, reasons.REUSED, reasons.EXPIRED):
            error.clears = jars.former_cleared(held)
        raise
    tokens = cookies.carry(granted.tokens, jars)
    return Exchanged(tokens, jars.former_cleared(held), (*granted.more, granted.event))


def end_migrated(
    issuing: Issuing, text: Hidden[str], reason: str, now: float
) -> Flow[tuple[Revoked, ...]]:
    """End the grant of an old refresh token, also where it didn't begin yet; return the events.

    So a log-out, or another login, is final for it. A text that is no such token ends nothing.
    """
    try:
        former = _old_token(issuing, text, now)
        if former is None:
            return ()
        subject = yield from _subject(issuing, former)
        derived = Derived.of("former", former.signing_input.value, subject)
        if (yield from row_of(issuing, derived.grant_id)) is None:
            row = _beginning(issuing, former, derived, subject, now)
            yield from ask(issuing.ports.store.add, row, NO_LIMIT)
    except InvalidGrant:
        return ()
    return (yield from issuing.end_each((derived.grant_id,), reason, now))


def end_held(issuing: Issuing, held: Held, reason: str, now: float) -> Flow[tuple[Revoked, ...]]:
    """End the grants of the old refresh tokens that a browser still holds."""
    if issuing.former is None:
        return ()
    names = "", issuing.former.library.refresh_cookie  # "": given as a text, not in a cookie
    came = dict.fromkeys((*held.former, *held.refresh))
    texts = [Hidden(value) for name, value in came if value and name in names]
    del came  # error trackers would send it, if the store failed
    events: tuple[Revoked, ...] = ()
    for text in texts:
        events += yield from end_migrated(issuing, text, reason, now)
    return events


NO_LIMIT = 1_000_000  # of grants: one that ends at once must not end others


def _old_token(issuing: Issuing, text: Hidden[str], now: float) -> FormerToken | None:
    """Return an old refresh token, verified; None: it isn't the library's. Raises InvalidGrant."""
    if issuing.former is None:
        return None
    try:
        parsed = jws.parse(text.value)
        if not issuing.former.is_one(parsed):
            return None
        return issuing.former.verified(parsed, "refresh", now)
    except InvalidToken as error:
        raise InvalidGrant(error.reason, error.detail) from None


def _subject(issuing: Issuing, former: FormerToken) -> Flow[str]:
    try:
        return (yield from former_subject(issuing.ports, former))
    except InvalidToken as error:
        raise InvalidGrant(error.reason, error.detail) from None


def former_subject(ports: Any, former: FormerToken) -> Flow[str]:
    """Return our name of an old token's user. Raises InvalidToken: it is blocked, or nobody's."""
    if ports.is_blocked is not None and (yield from ask(ports.is_blocked, former.claims)):
        raise InvalidToken(reasons.FORMER_BLOCKED)
    if ports.former_subject is None:
        return former.subject
    subject = yield from ask(ports.former_subject, former.claims)
    if subject is None:
        raise InvalidToken(reasons.FORMER_BLOCKED, "subject")
    if not isinstance(subject, str) or not subject or not subject.isprintable():
        raise Unavailable(reasons.MIGRATION_HOOK, "subject: not a name")
    return subject


def row_of(issuing: Issuing, grant_id: str) -> Flow[Grant | None]:
    """Return the row of a grant, ended or not; None: there is none."""
    # With source = target this only reads.
    _, row = yield from ask(issuing.ports.store.advance, grant_id, 0, 0, None)
    return row


def _beginning(
    issuing: Issuing, former: FormerToken, derived: Derived, subject: str, now: float
) -> Grant:
    group = issuing.group
    migration = cast("Migration", group.migrate)
    client_id = former.client_id or group.client_id
    if subject == client_id:
        # RFC 9700 s4.15: as at a login.
        raise InvalidGrant(reasons.CLAIM_MALFORMED, "the subject is the client's name")
    kept = {name: former.claims[name] for name in migration.claims if name in former.claims}
    return replace(
        bare_grant(
            derived.grant_id,
            subject,
            now=now,
            expires_at=now + group.absolute_limit,
            client_id=client_id,
        ),
        scope=" ".join(sorted(former.scopes)) or migration.scope,
        claims=access.own_claims({**access.LONG_AGO, **kept}),
        parent=derived.jti,
    )


def _begin(issuing: Issuing, row: Grant, former: FormerToken, now: float) -> Flow[tuple[str, ...]]:
    """Add the row of a grant that begins, unless all of its user's old tokens are over."""
    # After a mass end the store would give the row a later beginning. So the mark is asked for,
    # and the token's own time compared.
    yield from ask(issuing.ports.sync, now)
    mark = issuing.ended.mark
    if mark is not None and former.issued_at < mark.before:
        raise InvalidGrant(reasons.GRANT_ENDED).of(row.id)
    ended = yield from ask(issuing.ports.store.add, row, issuing.group.grants_per_subject)
    issuing.ended.add(ended, now)
    # After the row was added: `end_subject` makes the mark before it ends the rows, so that one of
    # the two sees the other.
    if not (yield from ask(issuing.ports.store.admit, former_mark(row.subject), NONE)):
        yield from issuing.end(row.id, "ended", now)
    return ended


def claims_here(
    former: FormerToken,
    subject: str,
    *,
    issuer: str,
    audience: tuple[str, ...],
    client_id: str,
    scope: str,
    until: float,
) -> tuple[FrozenDict, frozenset[str]]:
    """Return an old access token's claims as one of ours has them, and its scopes.

    The registered claims are those of our issuer, so that the application reads one vocabulary. It
    has no grant, so that no `sid` stands there.
    """
    others: Mapping[str, Any] = {
        name: value for name, value in former.claims.items() if name not in access.RESERVED
    }
    scopes = former.scopes or frozenset(scope.split())
    found = {
        "iss": issuer,
        "sub": subject,
        "aud": audience[0] if len(audience) == 1 else audience,
        "exp": min(former.expires_at, until),
        "client_id": former.client_id or client_id,
        **others,
    }
    if former.issued_at:
        found["iat"] = former.issued_at
    if is_identifier(former.claims.get("jti")):
        found["jti"] = former.claims["jti"]
    if scopes:
        found["scope"] = " ".join(sorted(scopes))
    return FrozenDict(found), scopes
