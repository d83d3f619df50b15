"""The store of grants: one row per grant, nine verbs, each atomic. A store knows no JWT.

A store of your own is as good as ours when it passes `jwt_middleware.testing.store_contract`.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final, NamedTuple, Protocol, TypeAlias

from ..values.randomness import identifier
from ..values.tokens import Grant

SHARDS: Final = "abcdefghijklmnop"  # 16: enough for any cluster, few enough to ask each of them

HEARING: Final = 0.5  # seconds for `ended`: a request waits for it, and with it a thread

Cursor: TypeAlias = object  # opaque: where a reader of ended grants has come to


def shard(subject: str) -> str:
    """Return the letter of the shard that all grants of a subject belong to."""
    return SHARDS[sha256(subject.encode()).digest()[0] % len(SHARDS)]


def new_grant_id(subject: str) -> str:
    """Return the id of a new grant: its shard's letter, then 128 random bits.

    So a store that is spread over machines finds a grant by its id alone, and beside it all others
    of its subject. Where there is one machine, the letter means nothing.
    """
    return shard(subject) + identifier()


class Advanced(NamedTuple):
    """What `advance` did, and the row as it now is; None: there is none."""

    advanced: bool
    grant: Grant | None


class Ended(NamedTuple):
    """The ids of ended grants, and the cursor to ask on from."""

    grant_ids: tuple[str, ...]
    cursor: Cursor


class Page(NamedTuple):
    """Some living grants, and where to go on; None: these were the last."""

    grants: tuple[Grant, ...]
    position: Cursor | None


class Store(Protocol):
    """What the middleware needs of a store. Every verb is one atomic step, in one round trip.

    Every verb raises `StoreUnavailable`, and nothing else, when the engine doesn't answer or can't
    write; then the step may have been done or not. Every time-out is below 10 seconds. What a verb
    reads is what the primary has: a replica may not know yet who was logged out. Rows are kept
    until `expires_at`. An engine uses its own clock, a store inside the process `Settings.clock`.
    """

    def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        """Add a new grant, and end the oldest of its subject that are over `limit`.

        Returns the ids that were ended for it (reason "limit"). To add an id twice changes nothing.
        The id is one that `new_grant_id(grant.subject)` has made.
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
        nothing, and is no error. Nothing else of the row changes, and nothing is brought back to
        life.
        """
        ...

    def end(self, grant_id: str, reason: str) -> bool:
        """End a grant for ever: durable before it returns. Says whether it was alive until now.

        `ended_at` is the store's now. To end what has ended, or what doesn't exist, is no error.
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

        The cursor lies 60 seconds back, so that what was committed late is never missed; the reader
        takes an id twice without harm. Ends are kept for `retention` at least, which is given to
        the store when it is made: longer than any access token can live, whoever issued it. Of a
        `horizon` that is longer, what is still there is returned.

        A request waits for it. Half a second is time enough: where a thread waits, it is lost to
        its server for as long as this verb's time-out.
        """
        ...

    def admit(self, key: str, until: float) -> bool:
        """Say whether `key` is seen for the first time; remember it until then (for proofs)."""
        ...

    def purge(self, now: float) -> int:
        """Forget grants past `expires_at` and keys past `until`, some thousand; say how many.

        A grant that ended is kept for `retention` after its end, too, or a reader would miss it.
        What a store keeps of ends beside the grants isn't counted.
        An engine with a clock of its own forgets nothing that is not over by that.
        """
        ...


STORE_VERBS: Final = tuple(name for name in vars(Store) if not name.startswith("_"))


class Listing(Protocol):
    """What the command line needs beside: a store need not have it. No request ever asks."""

    def page(self, position: Cursor | None, count: int) -> Page:
        """Return about `count` living grants, in any order; None: the first of them.

        A grant that lives from the first page to the last is on one of them, and may be on two.
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
