"""What happened, as values: for the application's callback and for its log. The list is closed.

No event ever holds a token, a secret or the value of a claim. It may hold a grant's id, which opens
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A request was refused.

    Attributes:
        reason: a stable name, for alerts; never told to the client.
        status: the status that was sent.
        method: the request's.
        path: the request's.
        detail: which claim, header or rule.
        grant_id: the login, if it is known.

    """

    name: ClassVar[Literal["refused"]] = "refused"

    reason: str
    status: int
    method: str
    path: str
    detail: str = ""
    grant_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A login: a grant began.

    Attributes:
        grant_id: the login.
        client_id: the client.
        ended: the older grants that were ended to make room for it.

    """

    name: ClassVar[Literal["issued"]] = "issued"

    grant_id: str
    client_id: str
    ended: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """A refresh token bought a new access token.

    Attributes:
        grant_id: the login.
        how: what the rule decided: `rotated`, `kept` or `repeated`; or `migrated`: the token was
            one of the former library, and a grant began with it, told once for each.
        generation: the number of the generation that the grant has now.
        user_agent_changed: whether another User-Agent sent it than before; None: not known.

    """

    name: ClassVar[Literal["refreshed"]] = "refreshed"

    grant_id: str
    how: Literal["rotated", "kept", "repeated", "migrated"]
    generation: int
    user_agent_changed: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """The store had lost some rotations; the client's token brought them back.

    Attributes:
        grant_id: the login.
        generation: the number of the generation that the grant has now.
        lost: how many rotations the store had lost.
        user_agent_changed: whether another User-Agent sent it than before; None: not known.

    """

    name: ClassVar[Literal["restored"]] = "restored"

    grant_id: str
    generation: int
    lost: int
    user_agent_changed: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reused:
    """Two clients hold tokens of one grant, one of them a thief: the grant and its tokens ended.

    Attributes:
        grant_id: the login.
        gap: generations between the token and the grant.
        seconds: seconds since the last rotation.
        user_agent_changed: whether another User-Agent sent it than before; None: not known.

    """

    name: ClassVar[Literal["reused"]] = "reused"

    grant_id: str
    gap: int
    seconds: float
    user_agent_changed: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """A token is further ahead of its row than a failover explains: the store is an old backup.

    Attributes:
        grant_id: the login.
        gap: generations that the row is behind.

    """

    name: ClassVar[Literal["ahead"]] = "ahead"

    grant_id: str
    gap: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyMismatch:
    """A bound grant's refresh token came with another key's proof, or with none.

    Attributes:
        grant_id: the login.
        user_agent_changed: whether another User-Agent sent it than before; None: not known.

    """

    name: ClassVar[Literal["key_mismatch"]] = "key_mismatch"

    grant_id: str
    user_agent_changed: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """Grants ended on purpose: a log-out, `Issuer.revoke`, or `EndGrant` of `claims_for`.

    Attributes:
        grant_ids: the logins.
        reason: the word that `Issuer.revoke` or `EndGrant` was given; `logout` for a log-out.

    """

    name: ClassVar[Literal["revoked"]] = "revoked"

    grant_ids: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionEnded:
    """An open connection was ended, because its token no longer holds.

    Attributes:
        reason: `expired`, `grant_ended`, or `sync_too_old`: the store doesn't answer.
        kind: `websocket` or `stream`.
        path: the connection's.
        grant_id: the login, if there is one.

    """

    name: ClassVar[Literal["connection_ended"]] = "connection_ended"

    reason: str
    kind: Literal["websocket", "stream"]
    path: str
    grant_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFailed:
    """The store stopped answering. Reported once, until it is back.

    Attributes:
        verb: what the store was asked.
        detail: why it failed.

    """

    name: ClassVar[Literal["store_failed"]] = "store_failed"

    verb: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreBack:
    """The store answers again.

    Attributes:
        seconds: seconds since it failed.

    """

    name: ClassVar[Literal["store_back"]] = "store_back"

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncLate:
    """No answer about ended grants for longer than `sync_limit`. Reported once.

    Attributes:
        seconds: seconds since the last answer.
        passing: whether tokens of our own grants still pass: `Refresh(sync_failure="open")`.

    """

    name: ClassVar[Literal["sync_late"]] = "sync_late"

    seconds: float
    passing: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreNotice:
    """The store has noticed something that an operator must hear of.

    Attributes:
        notice: a failover, a restored backup, evicted keys, in a sentence.

    """

    name: ClassVar[Literal["store_notice"]] = "store_notice"

    notice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysChanged:
    """An issuer's key set has other keys than before. Tokens of removed keys open nothing now.

    Attributes:
        issuer: whose keys they are.
        added: the new keys, by their `kid`.
        removed: the keys that are gone, likewise.

    """

    name: ClassVar[Literal["keys_changed"]] = "keys_changed"

    issuer: str
    added: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySkipped:
    """A key in an issuer's set can't be used; the others can. Reported once.

    Attributes:
        issuer: whose key it is.
        kid: its name.
        problem: why it can't be used.

    """

    name: ClassVar[Literal["key_skipped"]] = "key_skipped"

    issuer: str
    kid: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysFailed:
    """An issuer's keys can't be fetched; known keys stay in use. Reported once, until they can.

    Attributes:
        issuer: whose keys they are.
        detail: why: the name, the certificate, the status, ...

    """

    name: ClassVar[Literal["keys_failed"]] = "keys_failed"

    issuer: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysBack:
    """An issuer's key set can be fetched again.

    Attributes:
        issuer: whose keys they are.
        seconds: seconds since it failed.

    """

    name: ClassVar[Literal["keys_back"]] = "keys_back"

    issuer: str
    seconds: float


# Any of the events; `match` on its class, or look at `name`.
Event: TypeAlias = (
    Refused
    | Issued
    | Refreshed
    | Restored
    | Reused
    | Ahead
    | KeyMismatch
    | Revoked
    | ConnectionEnded
    | StoreFailed
    | StoreBack
    | SyncLate
    | StoreNotice
    | KeysChanged
    | KeySkipped
    | KeysFailed
    | KeysBack
)
