"""The verbs of the Redis stores, as flows: the commands, and the meaning of their answers.

A verb is one script at one shard, so it is atomic, takes its time from the engine's clock, and is
one round trip. A grant's row, its subject's index, its shard's log of ended grants and the shard's
copy of the mark have one hash tag, and so one slot. Everything expires by itself, but for the mark:
there is nothing to purge.
"""

from __future__ import annotations

from hashlib import sha256
from typing import cast

from ...values.flows import Flow
from ...values.tokens import Grant
from ..contract import SHARDS, Advanced, Cursor, Ended, Mark, Page, shard
from . import feed
from .commands import Commands, mark_beside
from .rows import (
    milliseconds,
    packed,
    packed_more,
    parent_field,
    six,
    unpacked,
    unpacked_mark,
)
from .scripts import NOWHERE


class RedisVerbs(Commands):
    """The verbs of one store; `Commands` explains the arguments."""

    def add(self, grant: Grant, limit: int) -> Flow[tuple[str, ...]]:
        """See `Store.add`."""
        keys = self.index(grant.subject), self.logs[shard(grant.subject)], self.row(grant.id)
        ids = yield from self.script(
            "add",
            keys,
            self.keep,
            grant.id.encode(),
            packed(grant),
            b"%d" % milliseconds(grant.expires_at),
            b"%d" % limit,
            packed_more(grant),
        )
        return tuple(map(bytes.decode, ids))

    def advance(
        self, grant_id: str, source: int, target: int, parent: str | None
    ) -> Flow[Advanced]:
        """See `Store.advance`."""
        found = yield from self.script(
            "advance", (self.row(grant_id),), six(source), six(target), parent_field(parent)
        )
        if found is None:
            return Advanced(False, None)
        more = None
        if isinstance(found, list):
            found, more = found
            if more == NOWHERE:
                key = self.beside(grant_id)
                (more,) = yield from self.follow(key, (b"GET", key))
        return Advanced(found[0] == ord("1"), unpacked(grant_id, found, 1, more))

    def use(self, grant_id: str) -> Flow[None]:
        """See `Store.use`."""
        yield from self.script("use", (self.row(grant_id), self.beside(grant_id)))

    def end(self, grant_id: str, reason: str) -> Flow[bool]:
        """See `Store.end`."""
        keys = self.row(grant_id), self.log(grant_id)
        was_alive = yield from self.script(
            "end", keys, self.keep, grant_id.encode(), reason.encode(), is_durable=True
        )
        return bool(was_alive)

    def end_subject(self, subject: str, reason: str) -> Flow[tuple[str, ...]]:
        """See `Store.end_subject`."""
        keys = self.index(subject), self.logs[shard(subject)]
        ids = yield from self.script(
            "end_subject", keys, self.keep, reason.encode(), is_durable=True
        )
        return tuple(map(bytes.decode, ids))

    def grants(self, subject: str) -> Flow[tuple[Grant, ...]]:
        """See `Store.grants`."""
        keys = self.index(subject), self.logs[shard(subject)]
        found = yield from self.script("grants", keys, self.keep)
        rows = zip(found[::3], found[1::3], found[2::3], strict=True)
        return tuple(unpacked(one.decode(), row, 0, more) for one, row, more in rows)[::-1]

    def end_before(self, time: float | None) -> Flow[Mark | None]:
        """See `Store.end_before`. Each shard has a copy, the one that the feed reads comes last.

        All have the time of one node. What began within the same millisecond has ended, too.
        """
        now = yield from self.time(SHARDS[0])
        before = now + 1 if time is None else milliseconds(time)
        if time is not None and before > now:
            return None
        found = None
        for log in reversed(self.logs.values()):
            found = yield from self.script(
                "end_before", (mark_beside(log),), b"%d" % before, b"%d" % now, is_durable=True
            )
        return unpacked_mark(found)

    def is_living(self, grant_id: str) -> Flow[bool]:
        """See `Store.is_living`. It runs no script, so that it needs only the right to read."""
        key = self.row(grant_id)
        # In this order: a mark that is made between the two is seen.
        row, mark = yield from self.get((key, mark_beside(key)))
        return bool(row) and _under(unpacked_mark(mark), unpacked(grant_id, row)).ended_at is None

    def ended(self, cursor: Cursor | None, horizon: float) -> Flow[Ended]:
        """See `Store.ended`."""
        return feed.ended(self, cursor, horizon)

    def admit(self, key: str, until: float) -> Flow[bool]:
        """See `Store.admit`."""
        # A digest, because a client may have chosen a long key or one with strange characters. If
        # two keys share a digest, the second isn't admitted, so an attacker gains nothing by that.
        name = f"{self.prefix}:k:{sha256(key.encode()).hexdigest()[:32]}".encode()
        return bool((yield from self.script("admit", (name,), b"%d" % milliseconds(until))))

    def purge(self, now: float) -> Flow[int]:
        """Do nothing, and return 0: rows and keys expire by themselves."""
        yield from ()
        return 0

    def page(self, position: Cursor | None, count: int) -> Flow[Page]:
        """See `Listing.page`; here in no order. It needs the right to `SCAN`.

        Reads the keys of one node after the other; don't use it while slots are moving.
        """
        index, begin = cast("tuple[int, bytes]", position or (0, b"0"))
        groups = yield from self.link().groups(self.logs)
        letters = groups[index]
        log = self.logs[letters[0]]
        scan = b"SCAN", begin, b"MATCH", self.open + b"?:}g*", b"COUNT", b"%d" % count
        (begin, keys), clock = yield from self.follow(log, scan, (b"TIME",))
        # In the key the tag ends after the letter; in the id the rest follows the letter directly.
        ids = [key[len(self.open) :].replace(b":}g", b"", 1).decode() for key in keys]
        asked = [mark_beside(self.logs[one]) for one in letters]
        asked += [key for one in ids for key in (self.row(one), self.beside(one))]
        parts = yield from self.get(asked)
        made = dict(zip(letters, map(unpacked_mark, parts), strict=False))
        rows = zip(ids, parts[len(letters) :: 2], parts[len(letters) + 1 :: 2], strict=True)
        now = self.now(clock) / 1000
        grants = [
            _under(made[one[0]], unpacked(one, row, 0, more)) for one, row, more in rows if row
        ]
        living = [one for one in grants if one.ended_at is None and now < one.expires_at]
        if begin == b"0":
            index += 1
        return Page(tuple(living), (index, begin) if index < len(groups) else None)


def _under(mark: Mark | None, grant: Grant) -> Grant:
    return grant if mark is None else mark.applied(grant)
