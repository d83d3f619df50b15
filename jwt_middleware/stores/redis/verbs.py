"""The verbs of the Redis stores, as flows: the commands, and the meaning of their answers.

A verb is one script at one shard, so it is atomic, takes its time from the engine's clock, and is
one round trip. A grant's row, its subject's index and its shard's log of ended grants have one hash
tag, and so one slot. Everything expires by itself: there is nothing to purge.

If the answer to `advance` is lost, the step may have been done, and must not be sent again. So only
commands that were surely not done are repeated: a script that the server didn't know, and a command
that it redirected (MOVED, ASK, TRYAGAIN).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, cast

from redis import exceptions as errors

from ...values.errors import StoreUnavailable
from ...values.flows import Flow, ask
from ...values.tokens import Grant
from ..contract import SHARDS, Advanced, Cursor, Ended, Page, shard
from ..memory import OVERLAP
from ..store_options import STORE_TIMEOUT, check_store_timeout, wrong_store
from .links import Command, NodeAddress, ServerLink
from .scripts import (
    DIGESTS,
    NOWHERE,
    TEXTS,
    digest,
    milliseconds,
    packed,
    packed_more,
    parent_field,
    six,
    unpacked,
)

HOPS: Final = 8  # times that a command follows its key to another node of a Cluster
MOVING_PAUSE: Final = 0.05  # seconds between two tries while the keys of a slot are moving


class RedisVerbs:
    """The verbs of one store, whose options `RedisStore` explains.

    Args:
        link: returns the link of this process, or of this event loop.

    """

    def __init__(
        self,
        link: Callable[[], ServerLink],
        *,
        retention: float,
        prefix: str = "jwt",
        timeout: float = STORE_TIMEOUT,
        serve: bool = True,
        wait_replicas: int = 0,
        wait_timeout: float | None = None,
        offset: Callable[[], float] = float,
    ) -> None:
        if not prefix or not re.fullmatch(r"[\x21-\x7e]+", prefix) or set(prefix) & set("{}*?[]\\"):
            raise wrong_store("prefix must be visible ASCII without {}*?[]\\", "prefix=jwt")
        check_store_timeout(timeout)
        if wait_timeout is None:
            wait_timeout = timeout / 5
        if wait_replicas < 0 or not 0 < wait_timeout <= timeout / 4:
            raise wrong_store(
                "wait_timeout must be more than 0 seconds, and at most a quarter of timeout",
                "wait_replicas=1, wait_timeout=1 and timeout=5 are usual",
            )
        self.link = link
        self.prefix = prefix
        self.timeout = timeout
        self.serve = serve
        self._wait_replicas = wait_replicas
        self._wait = b"WAIT", b"%d" % wait_replicas, b"%d" % milliseconds(wait_timeout)
        self._offset = offset
        # Milliseconds that a log of ended grants goes back: a day, because the runtime sets
        # `retention` so, however long tokens live. A process of the former version beside this one
        # shortens the log to the life of its own tokens, whenever it ends a grant.
        self._keep = b"%d" % milliseconds(retention + OVERLAP)
        # With one more character after the letter, each sixteenth of a Cluster's slots has a shard.
        self._open = f"{{{prefix}".encode()
        self.logs = {letter: self._open + f"{letter}:}}e".encode() for letter in SHARDS}

    # --- keys

    def row(self, grant_id: str) -> bytes:
        """Return the key of a grant's row."""
        octets = grant_id.encode()
        return b"%b%b:}g%b" % (self._open, octets[:1], octets[1:])

    def beside(self, grant_id: str) -> bytes:
        """Return the key of what a grant has beyond its row."""
        return self.row(grant_id).replace(b":}g", b":}m", 1)

    def index(self, subject: str) -> bytes:
        """Return the key of the list of a subject's grants."""
        return self._open + f"{shard(subject)}:}}s{digest(subject)}".encode()

    # --- the verbs

    def add(self, grant: Grant, limit: int) -> Flow[tuple[str, ...]]:
        """See `Store.add`."""
        keys = self.index(grant.subject), self.logs[shard(grant.subject)], self.row(grant.id)
        ids = yield from self._script(
            "add",
            keys,
            self._keep,
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
        found = yield from self._script(
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
        yield from self._script("use", (self.row(grant_id), self.beside(grant_id)))

    def end(self, grant_id: str, reason: str) -> Flow[bool]:
        """See `Store.end`."""
        # Not from `logs`: an id that isn't from our stores may begin with any character.
        keys = self.row(grant_id), self._open + grant_id.encode()[:1] + b":}e"
        was_alive = yield from self._script(
            "end", keys, self._keep, grant_id.encode(), reason.encode(), is_durable=True
        )
        return bool(was_alive)

    def end_subject(self, subject: str, reason: str) -> Flow[tuple[str, ...]]:
        """See `Store.end_subject`."""
        keys = self.index(subject), self.logs[shard(subject)]
        ids = yield from self._script(
            "end_subject", keys, self._keep, reason.encode(), is_durable=True
        )
        return tuple(map(bytes.decode, ids))

    def grants(self, subject: str) -> Flow[tuple[Grant, ...]]:
        """See `Store.grants`."""
        keys = self.index(subject), self.logs[shard(subject)]
        found = yield from self._script("grants", keys, self._keep)
        rows = zip(found[::3], found[1::3], found[2::3], strict=True)
        return tuple(unpacked(one.decode(), row, 0, more) for one, row, more in rows)[::-1]

    def ended(self, cursor: Cursor | None, horizon: float) -> Flow[Ended]:
        """See `Store.ended`. The cursor has a time for each shard, from the clock of its node."""
        since = cast("Mapping[str, float]", cursor)
        found: list[bytes] = []
        after: dict[str, float] = {}
        for letters in (yield from self.link().groups(self.logs)):
            if cursor is None:
                now = yield from self.time(letters[0])
                since = dict.fromkeys(letters, now - horizon)
            asked = [
                (b"ZRANGEBYSCORE", self.logs[one], b"%d" % milliseconds(since[one]), b"+inf")
                for one in letters
            ]
            clock, *lists = yield from self.link().send(asked[0][1], ((b"TIME",), *asked))
            now = self._now(clock)
            for letter, command, answer in zip(letters, asked, lists, strict=True):
                if isinstance(answer, Exception):
                    # The slot has moved, or is moving.
                    (answer,) = yield from self.follow(command[1], command)  # noqa: PLW2901
                found += answer
                after[letter] = now - OVERLAP
        return Ended(tuple(map(bytes.decode, found)), after)

    def admit(self, key: str, until: float) -> Flow[bool]:
        """See `Store.admit`."""
        # A digest, because a client may have chosen a long key or one with strange characters. If
        # two keys share a digest, the second isn't admitted, so an attacker gains nothing by that.
        name = f"{self.prefix}:k:{sha256(key.encode()).hexdigest()[:32]}".encode()
        return bool((yield from self._script("admit", (name,), b"%d" % milliseconds(until))))

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
        log = self.logs[groups[index][0]]
        scan = b"SCAN", begin, b"MATCH", self._open + b"?:}g*", b"COUNT", b"%d" % count
        (begin, keys), clock = yield from self.follow(log, scan, (b"TIME",))
        # In the key the tag ends after the letter; in the id the rest follows the letter directly.
        ids = [key[len(self._open) :].replace(b":}g", b"", 1).decode() for key in keys]
        asked = [(b"GET", key) for one in ids for key in (self.row(one), self.beside(one))]
        parts = (yield from self.link().send(log, asked)) if asked else []
        now = self._now(clock)
        rows = zip(ids, parts[::2], parts[1::2], strict=True)
        grants = [unpacked(one, row, 0, more) for one, row, more in rows if row]
        living = [one for one in grants if one.ended_at is None and now < one.expires_at]
        if begin == b"0":
            index += 1
        return Page(tuple(living), (index, begin) if index < len(groups) else None)

    # --- commands to the engine

    def time(self, letter: str) -> Flow[float]:
        """Return the time of the node that has a shard, in seconds since 1970-01-01 UTC."""
        (clock,) = yield from self.follow(self.logs[letter], (b"TIME",))
        return self._now(clock)

    def _now(self, clock: Sequence[bytes]) -> float:
        seconds, micros = map(int, clock)
        return seconds + micros / 1e6 + milliseconds(self._offset()) / 1000

    def _script(
        self, name: str, keys: Sequence[bytes], *given: bytes, is_durable: bool = False
    ) -> Flow[Any]:
        """Run a script. `is_durable`: raise StoreUnavailable unless enough replicas have it."""
        offset = b"%d" % milliseconds(self._offset())
        commands = [(b"EVALSHA", DIGESTS[name], b"%d" % len(keys), *keys, offset, *given)]
        if is_durable and self._wait_replicas:
            commands.append(self._wait)
        found, *replicas = yield from self.follow(keys[0], *commands)
        if replicas and replicas[0] < self._wait_replicas:
            raise StoreUnavailable(f"WAIT: {replicas[0]} of {self._wait_replicas} replicas")
        return found

    def follow(self, key: bytes, *commands: Command) -> Flow[list[Any]]:
        """Send commands to the node of a key; send them again only if nothing was done.

        Returns their answers; raises the first error among them.
        """
        link = self.link()
        where: NodeAddress | None = None
        hops = 0
        while True:
            replies = yield from link.send(key, commands, where)
            error = next((one for one in replies if isinstance(one, Exception)), None)
            if error is None:
                return replies
            hops += 1
            if hops == HOPS:
                raise error
            match error:
                case errors.NoScriptError():
                    (_, name, *rest), *others = commands
                    commands = (b"EVAL", TEXTS[name], *rest), *others
                case errors.MovedError():
                    where = None
                    yield from link.find(key)
                case errors.AskError():
                    where = error.host, error.port
                case errors.TryAgainError():
                    yield from ask(link.kit.sleep, MOVING_PAUSE)
                case _:
                    raise error
