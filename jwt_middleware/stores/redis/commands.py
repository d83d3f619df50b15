"""How the verbs of a Redis store ask the engine: the names of keys, scripts, and what is repeated.

If the answer to `advance` is lost, the step may have been done, and must not be sent again. So only
commands that were surely not done are repeated: a script that the server didn't know, or that needs
the mark of a mass end from another node, and a command that it redirected (MOVED, ASK, TRYAGAIN).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from redis import exceptions as errors

from ...values.errors import StoreUnavailable
from ...values.flows import Flow, ask
from ..contract import SHARDS, shard
from ..store_options import STORE_TIMEOUT, check_store_timeout, wrong_store
from .links import Command, NodeAddress, Question, ServerLink
from .rows import digest, milliseconds
from .scripts import DIGESTS, NO_MARK, TEXTS, UNKNOWN_MARK
from .server_facts import REPLICATION

HOPS: Final = 8  # times that a command follows its key to another node of a Cluster
MOVING_PAUSE: Final = 0.05  # seconds between two tries while the keys of a slot are moving
# Seconds that a process of the former version reads back in the log of ends, and that the clocks of
# nodes may differ.
FORMER_OVERLAP: Final = 60.0


class Commands:
    """Commands to one store, whose options `RedisStore` explains.

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
        self.keep = b"%d" % milliseconds(retention + FORMER_OVERLAP)
        # With one more character after the letter, each sixteenth of a Cluster's slots has a shard.
        self.open = f"{{{prefix}".encode()
        self.logs = {letter: self.open + f"{letter}:}}e".encode() for letter in SHARDS}

    # --- keys

    def row(self, grant_id: str) -> bytes:
        """Return the key of a grant's row."""
        octets = grant_id.encode()
        return b"%b%b:}g%b" % (self.open, octets[:1], octets[1:])

    def beside(self, grant_id: str) -> bytes:
        """Return the key of what a grant has beyond its row."""
        return self.row(grant_id).replace(b":}g", b":}m", 1)

    def index(self, subject: str) -> bytes:
        """Return the key of the list of a subject's grants."""
        return self.open + f"{shard(subject)}:}}s{digest(subject)}".encode()

    def log(self, grant_id: str) -> bytes:
        """Return the key of the log of ends in a grant's shard."""
        # Not from `logs`: an id that isn't from our stores may begin with any character.
        return self.open + grant_id.encode()[:1] + b":}e"

    # --- commands to the engine

    def time(self, letter: str) -> Flow[int]:
        """Return the time of the node that has a shard, in milliseconds since 1970-01-01 UTC."""
        (clock,) = yield from self.follow(self.logs[letter], (b"TIME",))
        return self.now(clock)

    def now(self, clock: Sequence[bytes]) -> int:
        """Return the milliseconds that `TIME` has answered, as scripts see them."""
        seconds, micros = map(int, clock)
        return seconds * 1000 + micros // 1000 + milliseconds(self._offset())

    def script(
        self, name: str, keys: Sequence[bytes], *given: bytes, is_durable: bool = False
    ) -> Flow[Any]:
        """Run a script. `is_durable`: raise StoreUnavailable unless enough replicas have it."""
        offset = b"%d" % milliseconds(self._offset())
        is_waited_for = is_durable and self._wait_replicas
        waiting = (self._wait,) if is_waited_for else ()
        mark = b""
        while True:
            one = b"EVALSHA", DIGESTS[name], b"%d" % len(keys), *keys, offset, mark, *given
            try:
                found, *replicas = yield from self.follow(keys[0], one, *waiting)
            except errors.ResponseError as error:
                if mark or not str(error).startswith(UNKNOWN_MARK):
                    raise
                key = mark_beside(keys[0])
                mark = (yield from self.follow(key, (b"GET", key)))[0] or NO_MARK
                continue
            if replicas and replicas[0] < self._wait_replicas:
                raise StoreUnavailable(f"WAIT: {replicas[0]} of {self._wait_replicas} replicas")
            return found

    def get(self, keys: Sequence[bytes]) -> Flow[list[Any]]:
        """Return the values of keys, all of one node if possible; one server must be the primary.

        What has moved to another node is asked for there.
        """
        commands = [(b"GET", key) for key in keys]
        replies = yield from self.link().send(keys[0], (REPLICATION, *commands))
        for place, reply in enumerate(replies):
            if isinstance(reply, errors.ResponseError):
                if not place:
                    raise reply
                (replies[place],) = yield from self.follow(keys[place - 1], commands[place - 1])
        return replies[1:]

    def follow(self, key: bytes, *commands: Question) -> Flow[list[Any]]:
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
                    (_, name, *rest), *others = cast("tuple[Command, ...]", commands)
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


def mark_beside(key: bytes) -> bytes:
    """Return the key of the mark in the shard of another key."""
    return key[: key.index(b"}") + 1] + b"t"
