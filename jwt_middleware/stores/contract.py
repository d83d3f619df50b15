"""The store of grants: one row per grant, eleven verbs, each atomic. A store knows no JWT.

A store of your own is as good as ours when it passes `jwt_middleware.testing.store_contract`.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Final, NamedTuple, Protocol, TypeAlias

from ..values.randomness import identifier
from ..values.tokens import Grant

SHARDS: Final = "abcdefghijklmnop"  # 16: enough for any cluster, few enough to ask each of them

PAGE: Final = 10_000  # ends in one answer of `ended`, at most
# The `end_reason` of a grant that the mark of a mass end has ended.
END_BEFORE: Final = "end_before"

Cursor: TypeAlias = object  # opaque: how far a reader of ended grants has read


def shard(subject: str) -> str:
    """Return the letter of the shard that all grants of a subject belong to.

    Args:
        subject: whose grants they are.

    """
    return SHARDS[sha256(subject.encode()).digest()[0] % len(SHARDS)]


def new_grant_id(subject: str) -> str:
    """Return the id of a new grant: its shard's letter, then 128 random bits.

    So a store that spans several machines finds a grant by its id alone, and all other grants of
    its subject in the same place. On one machine the letter means nothing.

    Args:
        subject: whose grant it is.

    """
    return shard(subject) + identifier()


class Advanced(NamedTuple):
    """What `advance` did, and found.

    Attributes:
        advanced: whether the row changed.
        grant: the row as it is now; None: there is none.

    """

    advanced: bool
    grant: Grant | None


class Mark(NamedTuple):
    """A mass end: no grant that began before `before` lives. Both times are the store's.

    Attributes:
        before: seconds since 1970-01-01 UTC.
        made_at: the time when the mark was written; a grant that it has ended has this `ended_at`.

    """

    before: float
    made_at: float

    def applied(self, grant: Grant) -> Grant:
        """Return the grant as it is under this mark."""
        if grant.ended_at is not None or grant.created_at >= self.before:
            return grant
        return replace(grant, ended_at=self.made_at, end_reason=END_BEFORE)


class Ended(NamedTuple):
    """The ids of ended grants, and the cursor for the next question.

    Attributes:
        grant_ids: the ids, `PAGE` at most.
        cursor: where the next question begins.
        more: whether there are more: ask again at once, with this cursor.
        mark: that of the store, in every answer.
        notices: what an operator must hear of the store, a sentence each.

    """

    grant_ids: tuple[str, ...]
    cursor: Cursor
    more: bool = False
    mark: Mark | None = None
    notices: tuple[str, ...] = ()


class Page(NamedTuple):
    """One answer of `Listing.page`.

    Attributes:
        grants: some living grants.
        position: where the next page begins; None: these were the last.

    """

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
        """Add a new grant, and end the oldest grants of its subject beyond a limit.

        `created_at` becomes the store's now, or the mark's `before` if that is later: a mass end
        compares it. Returns the ids that were ended for the limit (reason "limit"). Adding an id a
        second time changes nothing, also of many that add it at once, and of a grant that has
        ended.

        Args:
            grant: the new row. Its id is one that `new_grant_id(grant.subject)` has made, or begins
                as such a one.
            limit: how many living grants a subject may have; the oldest beyond it end.

        """
        ...

    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        """Set generation to `target`, `parent`, and `rotated_at` to now: a compare-and-swap.

        Swaps only where the generation is `source`, the grant isn't ended, isn't past `expires_at`,
        and is bound to no key: `bound_key` is None. Where `source` is `target` this is a read: it
        writes nothing and says advanced=False. Returns the row as it is after this step, from the
        primary. A row that began before the mark's `before` has ended: `ended_at` is `made_at`, the
        reason `END_BEFORE`.

        Args:
            grant_id: the grant.
            source: the number of the generation that it must have.
            target: the number of the generation that it gets.
            parent: the `jti` that is exchanged; None: unknown.

        """
        ...

    def use(self, grant_id: str) -> None:
        """Record that a refresh was served without a rotation: `last_used_at` is the store's now.

        Only where the grant exists, isn't ended and isn't past `expires_at`; else it changes
        nothing, and is no error. Nothing else in the row changes, and an ended grant stays ended.

        Args:
            grant_id: the grant.

        """
        ...

    def end(self, grant_id: str, reason: str) -> bool:
        """End a grant for ever: durable before it returns. Says whether the grant was alive before.

        `ended_at` is the store's now. Ending a grant that has ended or doesn't exist is no error.

        Args:
            grant_id: the grant.
            reason: for `end_reason`.

        """
        ...

    def end_subject(self, subject: str, reason: str) -> tuple[str, ...]:
        """End all living grants of a subject, and return their ids; durable before it returns.

        Args:
            subject: whose grants end.
            reason: for `end_reason`.

        """
        ...

    def grants(self, subject: str) -> tuple[Grant, ...]:
        """Return the living grants of a subject, the newest first.

        Args:
            subject: whose grants they are.

        """
        ...

    def end_before(self, time: float | None) -> Mark | None:
        """End all grants that began before a time, by one mark for the whole store; durable.

        A grant that began at that very time lives. Returns the mark that is in force then. Where an
        earlier call ended as much, that is the former mark, and nothing changes. Else the new one
        takes its place, also for the grants that had ended by the former one. Returns None, and
        changes nothing, for a time later than the store's now. From here on a grant that the mark
        ended is like any ended one, for every verb, but `ended` doesn't return its id.

        Args:
            time: seconds since 1970-01-01 UTC by the store's clock; None: now.

        """
        ...

    def is_living(self, grant_id: str) -> bool:
        """Say whether a grant's row is there and hasn't ended, also where it is past `expires_at`.

        A service that only reads what has ended asks this, too, with its own rights.

        Args:
            grant_id: the grant.

        """
        ...

    def ended(self, cursor: Cursor | None, horizon: float) -> Ended:
        """Return the grants that ended since the last question, or lately.

        At most `PAGE` ids; where there are more, the answer says so. A cursor loses no end, also
        those that were committed late or while a clock was set back, and repeats hardly any. It
        names the history of the store: after a failover, a restored backup or a reload, an end may
        have a lower number than the cursor. Then the answer begins anew, as for None, and one of
        the `notices` says so.

        Ends are kept for at least `retention` seconds, which is given to the store when it is made:
        longer than the life of any access token of any issuer. For a longer `horizon`, or a cursor
        that is older, the ends that are still kept are returned.

        One thread or task of a process asks this once a second, beside all other verbs. It has a
        connection of its own, so that it waits for none of them.

        Args:
            cursor: that of the last answer; None: begin.
            horizon: seconds to look back at the beginning.

        """
        ...

    def admit(self, key: str, until: float) -> bool:
        """Say whether a key is new, and remember it for a time (for proofs).

        With a time that is over, it only asks.

        Args:
            key: a digest of a proof, say.
            until: the time, in seconds since 1970-01-01 UTC, until which it is remembered.

        """
        ...

    def purge(self, now: float) -> int:
        """Delete some hundred rows that are over; return how many, and 0 if nothing is left.

        These are grants past `expires_at`, keys past `until`, and the store's own records of ends
        that are older than `retention`. A grant that ended is also kept for `retention` after its
        end, else a reader would miss the end. An engine with its own clock deletes only what is
        over by that clock, too.

        Args:
            now: the caller's time, in seconds since 1970-01-01 UTC; infinity: the store's own clock
                alone counts, because an operator has looked at it.

        """
        ...


STORE_VERBS: Final = tuple(name for name in vars(Store) if not name.startswith("_"))


class Listing(Protocol):
    """A further verb for the command line, which a store may lack. No request uses it."""

    def page(self, position: Cursor | None, count: int) -> Page:
        """Return some living grants, in any order.

        A grant that lives during the whole listing is on at least one page, and may be on two. One
        that has ended, by the mark, too, is on none.

        Args:
            position: that of the last page; None: the first page.
            count: about how many grants.

        """
        ...


class AsyncStore(Protocol):
    """The same verbs, awaited. See `Store` for what each promises."""

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

    async def end_before(self, time: float | None) -> Mark | None:
        """See `Store.end_before`."""
        ...

    async def is_living(self, grant_id: str) -> bool:
        """See `Store.is_living`."""
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
