"""What happened, as values: for the application's callback and for its log. The list is closed.

No event ever holds a token, a secret or the value of a claim. It may hold a grant's id, which opens
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A request was refused. `reason` is stable, meant for alerts, and not told to the client."""

    name: ClassVar[Literal["refused"]] = "refused"

    reason: str  # one of `reasons`
    status: int
    method: str
    path: str
    detail: str = ""  # which claim, header or rule
    grant_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A login: a grant began. `ended` are the older grants that were ended to make room for it."""

    name: ClassVar[Literal["issued"]] = "issued"

    grant_id: str
    client_id: str
    ended: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """A refresh token bought a new access token."""

    name: ClassVar[Literal["refreshed"]] = "refreshed"

    grant_id: str
    how: Literal["rotated", "kept", "repeated"]
    generation: int
    user_agent_changed: bool | None = None  # None: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """The store had lost `lost` rotations; the client's token brought them back."""

    name: ClassVar[Literal["restored"]] = "restored"

    grant_id: str
    generation: int
    lost: int
    user_agent_changed: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reused:
    """Two clients hold tokens of one grant, one of them a thief: the grant and its tokens ended."""

    name: ClassVar[Literal["reused"]] = "reused"

    grant_id: str
    gap: int  # generations between the token and the grant
    seconds: float  # since the last rotation
    user_agent_changed: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """A token is further ahead of its row than a failover explains: the store is an old backup."""

    name: ClassVar[Literal["ahead"]] = "ahead"

    grant_id: str
    gap: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyMismatch:
    """A bound grant's refresh token came with another key's proof, or with none."""

    name: ClassVar[Literal["key_mismatch"]] = "key_mismatch"

    grant_id: str
    user_agent_changed: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """Grants ended on purpose: a log-out, `Issuer.revoke`, or `EndGrant` of `claims_for`."""

    name: ClassVar[Literal["revoked"]] = "revoked"

    grant_ids: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionEnded:
    """An open connection was ended, because its token no longer holds."""

    name: ClassVar[Literal["connection_ended"]] = "connection_ended"

    reason: str  # "expired", "grant_ended"; "sync_too_old": the store doesn't answer
    kind: Literal["websocket", "stream"]
    path: str
    grant_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFailed:
    """The store stopped answering. Reported once, until it is back."""

    name: ClassVar[Literal["store_failed"]] = "store_failed"

    verb: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreBack:
    """The store answers again."""

    name: ClassVar[Literal["store_back"]] = "store_back"

    seconds: float  # since it failed


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncLate:
    """No answer about ended grants for longer than `sync_limit`. Reported once."""

    name: ClassVar[Literal["sync_late"]] = "sync_late"

    seconds: float
    passing: bool  # whether tokens of our own grants still pass: Refresh(sync_failure="open")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreNotice:
    """The store has noticed something that an operator must hear of."""

    name: ClassVar[Literal["store_notice"]] = "store_notice"

    notice: str  # a failover, a restored backup, evicted keys, in a sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysChanged:
    """An issuer's key set has other keys than before. Tokens of removed keys open nothing now."""

    name: ClassVar[Literal["keys_changed"]] = "keys_changed"

    issuer: str
    added: tuple[str, ...]  # by their `kid`
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySkipped:
    """A key in an issuer's set can't be used; the others can. Reported once."""

    name: ClassVar[Literal["key_skipped"]] = "key_skipped"

    issuer: str
    kid: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysFailed:
    """An issuer's keys can't be fetched; known keys stay in use. Reported once, until they can."""

    name: ClassVar[Literal["keys_failed"]] = "keys_failed"

    issuer: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysBack:
    """An issuer's key set can be fetched again."""

    name: ClassVar[Literal["keys_back"]] = "keys_back"

    issuer: str
    seconds: float  # since it failed


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
