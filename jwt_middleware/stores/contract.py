"""The store of grants: one row per grant, nine verbs, each atomic. A store knows no JWT.

A store of your own is as good as ours when it passes `jwt_middleware.testing.store_contract`.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final, NamedTuple, Protocol, TypeAlias

from ..values.randomness import identifier
from ..values.tokens import Grant

SHARDS: Final = "abcdefghijklmnop"  # 16: enough for any cluster, few enough to ask each of them

HEARING: Final = 0.5  # seconds for `ended`: a request, and so a thread, waits for it

Cursor: TypeAlias = object  # opaque: how far a reader of ended grants has read


def shard(subject: str) -> str:
    """Return the letter of the shard that all grants of a subject belong to."""
    return SHARDS[sha256(subject.encode()).digest()[0] % len(SHARDS)]


def new_grant_id(subject: str) -> str:
    """Return the id of a new grant: its shard's letter, then 128 random bits.

    So a store that spans several machines finds a grant by its id alone, and all other grants of
    its subject in the same place. On one machine the letter means nothing.
    """
    return shard(subject) + identifier()


class Advanced(NamedTuple):
    """Whether `advance` changed the row, and the row as it is now; None: there is no such row."""

    advanced: bool
    grant: Grant | None


class Ended(NamedTuple):
    """The ids of ended grants, and the cursor for the next question."""

    grant_ids: tuple[str, ...]
    cursor: Cursor


class Page(NamedTuple):
    """Some living grants, and the position of the next page; None: these were the last."""

    grants: tuple[Grant, ...]
    position: Cursor | None


class Store(Protocol):
    """What the middleware needs of a store. Every verb is one atomic step, in one round trip.

    Every verb raises `StoreUnavailable`, and nothing else, when the engine doesn't answer or can't
    write; then the step may have been done or not. Every time-out is below 10 seconds. A verb reads
    from the primary, because a replica may not know the newest log-outs. Rows are kept until
    `expires_at`. An engine uses its own clock, a store inside the process `Settings.clock`.
    """

    def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        """Add a new grant, and end the oldest grants of its subject beyond `limit`.

        Returns the ids that were ended for it (reason "limit"). Adding an id a second time changes
        nothing. The id is one that `new_grant_id(grant.subject)` has made.
        """
        ...

    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        """Set generation to `target`, `parent`, and `rotated_at` to now: a compare-and-swap.

        Swaps only where the generation is `source`, the grant isn't ended and isn't past
        `expires_at`. Where `source` is `target` this is a read: it writes nothing and says
        advanced=False. Returns the row as it is after this step, from the primary.
        """
        ...

    def use(self, grant_id: str) -> None:
        """Record that a refresh was served without a rotation: `last_used_at` is the store's now.

        Only where the grant exists, isn't ended and isn't past `expires_at`; else it changes
        nothing, and is no error. Nothing else in the row changes, and an ended grant stays ended.
        """
        ...

    def end(self, grant_id: str, reason: str) -> bool:
        """End a grant for ever: durable before it returns. Says whether the grant was alive before.

        `ended_at` is the store's now. Ending a grant that has ended or doesn't exist is no error.
        """
        ...

    def end_subject(self, subject: str, reason: str) -> tuple[str, ...]:
        """End all living grants of a subject, and return their ids; durable before it returns."""
        ...

    def grants(self, subject: str) -> tuple[Grant, ...]:
        """Return the living grants of a subject, the newest first."""
        ...

    def ended(self, cursor: Cursor | None, horizon: float) -> Ended:
        """Return the grants that ended since `cursor`; for None, in the last `horizon` seconds.

        The cursor lies 60 seconds back, so that ends that were committed late are never missed;
        reading an id twice does no harm. Ends are kept for at least `retention` seconds, which is
        given to the store when it is made: longer than the life of any access token of any issuer.
        For a longer `horizon`, the ends that are still kept are returned.

        A request waits for this verb. Half a second is a good time-out, because a thread that waits
        can't serve other requests of its server.
        """
        ...

    def admit(self, key: str, until: float) -> bool:
        """Say whether `key` is new, and remember it until `until` (for proofs)."""
        ...

    def purge(self, now: float) -> int:
        """Delete grants past `expires_at` and keys past `until`, some thousand; return how many.

        A grant that ended is also kept for `retention` after its end, else a reader would miss the
        end. A store's own records of ends, beside the grants, aren't counted. An engine with its
        own clock deletes only what is over by that clock, too.
        """
        ...


STORE_VERBS: Final = tuple(name for name in vars(Store) if not name.startswith("_"))


class Listing(Protocol):
    """A further verb for the command line, which a store may lack. No request uses it."""

    def page(self, position: Cursor | None, count: int) -> Page:
        """Return about `count` living grants, in any order; None: the first of them.

        A grant that lives during the whole listing is on at least one page, and may be on two.
        """
        ...


class AsyncStore(Protocol):
    """The same nine verbs, awaited. See `Store` for what each promises."""

    async def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        """See `Store.add`."""
        ...

    async def advance(
        self, grant_id: str, source: int, target: int, parent: str | None
    ) -> Advanced:
        """See `Store.advance`."""
        ...

    async def use(self, grant_id: str) -> None:
        """See `Store.use`."""
        ...

    async def end(self, grant_id: str, reason: str) -> bool:
        """See `Store.end`."""
        ...

    async def end_subject(self, subject: str, reason: str) -> tuple[str, ...]:
        """See `Store.end_subject`."""
        ...

    async def grants(self, subject: str) -> tuple[Grant, ...]:
        """See `Store.grants`."""
        ...

    async def ended(self, cursor: Cursor | None, horizon: float) -> Ended:
        """See `Store.ended`."""
        ...

    async def admit(self, key: str, until: float) -> bool:
        """See `Store.admit`."""
        ...

    async def purge(self, now: float) -> int:
        """See `Store.purge`."""
        ...
