"""How commands reach the engine, for one server and for a Cluster, as flows of redis-py's calls.

Each command is sent once: if the answer to `advance` is lost, the step may have been done, and must
not be sent again. So connections are used directly, without redis-py's `execute_command`, which
retries by default.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from operator import methodcaller
from typing import Any, Final, NamedTuple, TypeAlias

import redis.asyncio.cluster
import redis.asyncio.retry
import redis.cluster
from redis import exceptions as errors
from redis.client import NEVER_DECODE

from ...values.flows import Flow, ask
from ..store_options import wrong_store
from .server_facts import is_from_replica

Command: TypeAlias = tuple[bytes, ...]
Question: TypeAlias = Command | bytes  # as octets it is packed already
NodeAddress: TypeAlias = tuple[str, int]  # a node's host and port

LIMIT: Final = 10  # seconds: every time-out is below

# Faults between here and a server. An error that the server sends is an answer, not a fault.
FAULTS: Final = (
    errors.RedisError,
    errors.RedisClusterException,
    errors.ChildDeadlockedError,
    OSError,
)


class Kit(NamedTuple):
    """The parts of redis-py that are sync or async, and how each is called.

    What an async function returns must be awaited, so flows `ask` for all of them.
    """

    redis: Any  # the module: in both kinds it has the same names
    sleep: Callable[[float], Any]
    close: Callable[[Any], Any]  # a client and its connections
    close_node: Callable[[Any], Any]
    disconnect: Callable[[Any], Any]  # a connection, without waiting for the server
    initialize: Callable[[Any], Any]  # a Cluster's client: asks the nodes for their slots
    read: Callable[[Any, int], Any]  # so many answers from a connection


def _read(connection: Any, count: int) -> list[Any]:
    """Return answers to commands; an error that the server sends is one of them."""
    replies: list[Any] = []
    for _ in range(count):
        try:
            replies.append(connection.read_response(disable_decoding=True))
        except errors.ResponseError as error:
            replies.append(error)
    return replies


async def _aread(connection: Any, count: int) -> list[Any]:
    replies: list[Any] = []
    for _ in range(count):
        try:
            replies.append(await connection.read_response(disable_decoding=True))
        except errors.ResponseError as error:
            replies.append(error)
    return replies


WAITING: Final = Kit(
    redis=redis,
    sleep=time.sleep,
    close=methodcaller("close"),
    close_node=lambda node: node.redis_connection.close(),
    disconnect=methodcaller("disconnect"),
    initialize=lambda _: None,  # the sync client has asked them when it was made
    read=_read,
)
AWAITED: Final = Kit(
    redis=redis.asyncio,
    sleep=asyncio.sleep,
    close=methodcaller("aclose"),
    close_node=methodcaller("disconnect"),
    disconnect=methodcaller("disconnect", nowait=True),
    initialize=methodcaller("initialize"),
    read=_aread,
)


class ServerLink:
    """One server: that of a URL, or the primary that Sentinel names now.

    Args:
        kit: of the client's kind, sync or async.
        client: redis-py's.
        is_ours: whether `close` closes the client.
        patience: seconds; if getting a connection takes longer, nothing is sent.

    """

    _may_meet_replica = True  # in a Cluster a replica says where the primary is

    def __init__(self, kit: Kit, client: Any, *, is_ours: bool, patience: float) -> None:
        self.kit = kit
        self.client = client
        self.patience = patience
        self._is_ours = is_ours

    def send(
        self, key: bytes, commands: Sequence[Question], where: NodeAddress | None = None
    ) -> Flow[list[Any]]:
        """Send commands in one packet to the node of a key, and return the answer to each.

        An error that the server sends is one of the answers. Raises one of FAULTS.
        """
        return self._exchange(self._node(key, where), commands)

    def prepared(self, command: Command) -> Question:
        """Return a command in the form that is sent most quickly, if it is sent often."""
        return _packed(command)

    def groups(self, logs: Mapping[str, bytes]) -> Flow[list[list[str]]]:
        """Return the letters of the shards, grouped by node, which the keys of their logs show.

        Here there is one node, so nothing is asked.
        """
        yield from ()
        return [list(logs)]

    def find(self, _key: bytes) -> Flow[None]:
        """Ask again which node a key is on. Here there is one node, so nothing is asked."""
        yield from ()

    def check_timeout(self) -> None:
        """Raise ConfigurationError for a client that waits longer than a store may."""
        retry, settings = self._retries()
        seconds = settings.get("socket_timeout")
        if not seconds or seconds >= LIMIT:
            raise wrong_store("the client waits for ever, or nearly so", "socket_timeout=2.5")
        to_connect = settings.get("socket_connect_timeout") or seconds
        times = 0 if retry is None else retry.get_retries()
        if times < 0 or to_connect + times * (to_connect + _longest_pause(retry)) >= LIMIT:
            raise wrong_store(
                f"the client tries {times if times > 0 else 'for ever'} times again to connect: "
                "while the server is away, a request would wait so long",
                "retry=Retry(NoBackoff(), 0) and socket_connect_timeout=2.5; redis.retry (or "
                "redis.asyncio.retry) and redis.backoff have these",
            )

    def _retries(self) -> tuple[Any, Mapping[str, Any]]:
        """Return how a client tries again to connect, and the settings of its connections."""
        settings = self._pool(self._node(b"", None)).connection_kwargs
        return settings.get("retry"), settings

    def close(self) -> Flow[None]:
        """Close what was opened here."""
        if self._is_ours:
            yield from ask(self.kit.close, self.client)
            manager = getattr(self.client.connection_pool, "sentinel_manager", None)
            for sentinel in manager.sentinels if manager is not None else ():
                yield from ask(self.kit.close, sentinel)

    def _node(self, _key: bytes, _where: NodeAddress | None) -> Any:
        return self.client

    def _pool(self, node: Any) -> Any:
        return node.connection_pool

    def _exchange(self, node: Any, commands: Sequence[Question]) -> Flow[list[Any]]:
        """Send commands once and read their answers, on a connection that is alive."""
        begun = time.monotonic()
        pool = self._pool(node)
        connection = yield from ask(pool.get_connection)
        is_fit = False
        try:
            if time.monotonic() - begun > self.patience:
                raise errors.TimeoutError("to connect took too long")
            yield from ask(connection.send_packed_command, _packet(commands))
            replies: list[Any] = yield from ask(self.kit.read, connection, len(commands))
            # Close the connection to a replica, such as a former primary: the name, or Sentinel,
            # may now lead to the primary.
            if self._may_meet_replica and any(map(is_from_replica, replies[:2])):
                raise errors.ReadOnlyError("a replica")
            is_fit = True
        finally:
            if not is_fit:
                yield from ask(self.kit.disconnect, connection)
            yield from ask(pool.release, connection)
        return replies


class ClusterLink(ServerLink):
    """A Cluster. redis-py knows which node a key is on; it learns that by a read with retries."""

    _may_meet_replica = False

    def __init__(self, kit: Kit, client: Any, *, is_ours: bool, patience: float) -> None:
        super().__init__(kit, client, is_ours=is_ours, patience=patience)
        self._lost: set[int] = set()  # slots whose node didn't answer
        # Nodes that are getting their first slot: redis-py doesn't know them yet.
        self._newcomers: dict[NodeAddress, Any] = {}

    def send(
        self, key: bytes, commands: Sequence[Question], where: NodeAddress | None = None
    ) -> Flow[list[Any]]:
        """See `ServerLink.send`. `where` is the node that the server has referred to by ASK."""
        yield from self._find_lost(key)
        # ASKING is for the next command only, whatever that is.
        asking = () if where is None else ((b"ASKING",),)
        sent = [part for one in commands for part in (*asking, one)]
        try:
            yield from ask(self.kit.initialize, self.client)
            replies = yield from self._exchange(self._node(key, where), sent)
        except BaseException:
            self._lost.add(self.client.keyslot(key))
            raise
        return replies[len(asking) :: len(asking) + 1]

    def groups(self, logs: Mapping[str, bytes]) -> Flow[list[list[str]]]:
        """See `ServerLink.groups`."""
        yield from ask(self.kit.initialize, self.client)
        for log in logs.values():
            yield from self._find_lost(log)
        found: dict[str, list[str]] = {}
        for letter, log in logs.items():
            found.setdefault(self._node(log, None).name, []).append(letter)
        return list(found.values())

    def find(self, key: bytes) -> Flow[None]:
        """See `ServerLink.find`."""
        yield from ask(self.client.execute_command, "EXISTS", key)
        self._lost.discard(self.client.keyslot(key))

    def close(self) -> Flow[None]:
        """See `ServerLink.close`."""
        for node in self._newcomers.values():
            yield from ask(self.kit.close_node, node)
        self._newcomers.clear()
        if self._is_ours:
            yield from ask(self.kit.close, self.client)

    def _retries(self) -> tuple[Any, Mapping[str, Any]]:
        # The nodes' connections don't try again, but the client does when it looks for a node.
        return self.client.retry, self.client.get_connection_kwargs()

    def _find_lost(self, key: bytes) -> Flow[None]:
        if self.client.keyslot(key) in self._lost:
            yield from self.find(key)

    def _node(self, key: bytes, where: NodeAddress | None) -> Any:
        if where is None:
            return self.client.get_node_from_key(key)
        return self.client.get_node(*where) or self._newcomers.setdefault(
            where, self._newcomer(where)
        )

    def _newcomer(self, where: NodeAddress) -> Any:
        return self.kit.redis.cluster.ClusterNode(*where)

    def _pool(self, node: Any) -> Any:
        return self.client.get_redis_connection(node).connection_pool


class AwaitedClusterLink(ClusterLink):
    """An async Cluster: there the node object holds its connections, and lends none."""

    def prepared(self, command: Command) -> Question:
        """See `ServerLink.prepared`. Here redis-py packs."""
        return command

    def _newcomer(self, where: NodeAddress) -> Any:
        return self.kit.redis.cluster.ClusterNode(*where, **self.client.get_connection_kwargs())

    def _exchange(self, node: Any, commands: Sequence[Question]) -> Flow[list[Any]]:
        raw = {NEVER_DECODE: True}
        sent = [redis.asyncio.cluster.PipelineCommand(0, *one, **raw) for one in commands]
        yield from ask(node.execute_pipeline, sent)
        replies: list[Any] = [one.result for one in sent]
        for reply in replies:
            if isinstance(reply, Exception) and not isinstance(reply, errors.ResponseError):
                raise reply
        return replies


def open_link(kit: Kit, client: Any, *, patience: float) -> ServerLink:
    """Return the link of a client, or of the client that a function makes, which we then close."""
    opened = client() if callable(client) else client
    kind = ServerLink
    if isinstance(opened, kit.redis.RedisCluster):
        kind = AwaitedClusterLink if kit is AWAITED else ClusterLink
    return kind(kit, opened, is_ours=callable(client), patience=patience)


def _longest_pause(retry: Any) -> float:
    """Return how long a client may wait between two attempts to connect, in seconds."""
    backoff = getattr(retry, "_backoff", None)
    pause = getattr(backoff, "_cap", None)  # a random pause is shorter
    if pause is None and backoff is not None:
        pause = backoff.compute(1)
    return pause or 0.0


def _packet(commands: Sequence[Question]) -> list[bytes]:
    # The packing of redis-py in a third of the time, because all arguments here are octets. Joined,
    # because redis-py makes a system call for each member of the list.
    return [b"".join([one if isinstance(one, bytes) else _packed(one) for one in commands])]


def _packed(command: Command) -> bytes:
    return b"*%d\r\n" % len(command) + b"".join(map(_bulk_string, command))


def _bulk_string(octets: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(octets), octets)
