"""How the words of a verb reach the engine: four links, for one server or a Cluster, sync or async.

What is sent here is sent once: whoever doesn't hear the answer to `advance` can't know whether it
was done, and must not ask again. So the connections are used directly, beneath redis-py's own
`execute_command`, which repeats by default.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar, cast

from ...values.errors import ConfigurationError, StoreUnavailable

try:
    import redis
    import redis.asyncio
    import redis.asyncio.cluster
    import redis.asyncio.retry
    import redis.asyncio.sentinel
    import redis.backoff
    import redis.client
    import redis.cluster
    import redis.exceptions
    import redis.retry
    import redis.sentinel
except ImportError:
    raise ConfigurationError(
        "refresh.store",
        "needs redis-py, which isn't here",
        "pip install 'wsgi-asgi-jwt-middleware[redis]'",
    ) from None

T = TypeVar("T")

Command: TypeAlias = tuple[bytes, ...]
Step: TypeAlias = Callable[[Any], Any]  # what to do with a link; its driver hands back the answer
Talk: TypeAlias = Generator[Step, Any, T]

errors = redis.exceptions
# All that a link raises. What the server refuses is an answer, and handed back as one.
FAULTS: Final = (
    errors.RedisError,
    errors.RedisClusterException,
    errors.ChildDeadlockedError,
    OSError,
)


class Kit(NamedTuple):
    """What redis-py has in two kinds."""

    client: Any
    pool: Any
    connection: Any
    tls: Any
    sentinel: Any
    cluster: Any
    node: Any
    retry: Any


WAITING: Final = Kit(
    redis.Redis,
    redis.BlockingConnectionPool,
    redis.Connection,
    redis.SSLConnection,
    redis.sentinel.Sentinel,
    redis.RedisCluster,
    redis.cluster.ClusterNode,
    redis.retry.Retry,
)
AWAITED: Final = Kit(
    redis.asyncio.Redis,
    redis.asyncio.BlockingConnectionPool,
    redis.asyncio.Connection,
    redis.asyncio.SSLConnection,
    redis.asyncio.sentinel.Sentinel,
    redis.asyncio.RedisCluster,
    redis.asyncio.cluster.ClusterNode,
    redis.asyncio.retry.Retry,
)
no_wait = redis.backoff.NoBackoff


def lead(talk: Talk[T], link: Any) -> T:
    try:
        step = next(talk)
        while True:
            step = talk.send(step(link))
    except StopIteration as done:
        return cast("T", done.value)


async def alead(talk: Talk[T], link: Any) -> T:
    try:
        step = next(talk)
        while True:
            step = talk.send(await step(link))
    except StopIteration as done:
        return cast("T", done.value)


class _Waiting:
    def pause(self, seconds: float) -> None:
        time.sleep(seconds)


class _Awaited:
    async def pause(self, seconds: float) -> None:
        from asyncio import sleep

        await sleep(seconds)


class Server(_Waiting):
    """One server: a URL's, or the primary that Sentinel names now."""

    def __init__(self, client: Any, *, owned: bool, patience: float) -> None:
        self._client = client
        self._owned = owned
        self._patience = patience

    def send(self, _: bytes, commands: Sequence[Command], __: Any) -> list[Any]:
        return _exchange(self._client.connection_pool, commands, self._patience)

    def groups(self, logs: Mapping[str, bytes]) -> list[list[str]]:
        return [list(logs)]

    def find(self, key: bytes) -> None:
        """Do nothing: there is one place."""

    def check_timeout(self) -> None:
        _check_timeout(self._client.connection_pool)

    def close(self) -> None:
        if self._owned:
            self._client.close()
            for sentinel in _sentinels(self._client):
                sentinel.close()


class Cluster(_Waiting):
    """A Cluster. The way is found by redis-py, with a read that it may repeat."""

    def __init__(self, client: Any, *, owned: bool, patience: float) -> None:
        self._client = client
        self._owned = owned
        self._patience = patience
        self._lost: set[int] = set()  # slots whose node didn't answer
        self._strangers: dict[tuple[str, int], Any] = {}  # a slot goes to them, they have none yet

    def send(
        self, key: bytes, commands: Sequence[Command], where: tuple[str, int] | None
    ) -> list[Any]:
        slot = self._client.keyslot(key)
        if slot in self._lost:
            self.find(key)
        asking = () if where is None else ((b"ASKING",),)
        try:
            pool = self._pool(key, where)
            return _exchange(pool, (*asking, *commands), self._patience)[len(asking) :]
        except FAULTS:
            self._lost.add(slot)
            raise

    def _pool(self, key: bytes, where: tuple[str, int] | None) -> Any:
        if where is None:
            node = self._client.get_node_from_key(key)
        else:
            node = self._client.get_node(*where)
            if node is None:
                node = self._strangers.setdefault(where, WAITING.node(*where))
        return self._client.get_redis_connection(node).connection_pool

    def groups(self, logs: Mapping[str, bytes]) -> list[list[str]]:
        for log in logs.values():
            if self._client.keyslot(log) in self._lost:
                self.find(log)
        return _grouped(logs, self._client.get_node_from_key)

    def find(self, key: bytes) -> None:
        self._client.execute_command("EXISTS", key)
        self._lost.discard(self._client.keyslot(key))

    def check_timeout(self) -> None:
        _check_timeout(self._pool(b"", None))

    def close(self) -> None:
        for node in self._strangers.values():
            node.redis_connection.close()
        self._strangers.clear()
        if self._owned:
            self._client.close()


class AsyncServer(_Awaited):
    """`Server`, awaited."""

    def __init__(self, client: Any, *, owned: bool) -> None:
        self._client = client
        self._owned = owned

    async def send(self, _: bytes, commands: Sequence[Command], __: Any) -> list[Any]:
        pool = self._client.connection_pool
        connection = await pool.get_connection()
        is_fit = False
        try:
            await connection.send_packed_command(_packet(commands))
            replies = []
            for _command in commands:
                try:
                    replies.append(await connection.read_response(disable_decoding=True))
                except errors.ResponseError as error:
                    replies.append(error)
            is_fit = _is_primary(replies[0])
        finally:
            if not is_fit:
                await connection.disconnect(nowait=True)
            await pool.release(connection)
        return replies

    async def groups(self, logs: Mapping[str, bytes]) -> list[list[str]]:
        return [list(logs)]

    async def find(self, key: bytes) -> None:
        """Do nothing: there is one place."""

    async def close(self) -> None:
        if self._owned:
            await self._client.aclose(close_connection_pool=True)
            for sentinel in _sentinels(self._client):
                await sentinel.aclose()


class AsyncCluster(_Awaited):
    """`Cluster`, awaited."""

    def __init__(self, client: Any, *, owned: bool) -> None:
        self._client = client
        self._owned = owned
        self._lost: set[int] = set()
        self._strangers: dict[tuple[str, int], Any] = {}

    async def send(
        self, key: bytes, commands: Sequence[Command], where: tuple[str, int] | None
    ) -> list[Any]:
        slot = self._client.keyslot(key)
        if slot in self._lost:
            await self.find(key)
        asking = () if where is None else ((b"ASKING",),)
        raw = {redis.client.NEVER_DECODE: True}
        sent = [
            redis.asyncio.cluster.PipelineCommand(0, *one, **raw) for one in (*asking, *commands)
        ]
        try:
            await self._client.initialize()
            await self._node(key, where).execute_pipeline(sent)
            for one in sent:
                if isinstance(one.result, Exception) and not isinstance(
                    one.result, errors.ResponseError
                ):
                    raise one.result
        except BaseException:
            self._lost.add(slot)
            raise
        return [one.result for one in sent[len(asking) :]]

    def _node(self, key: bytes, where: tuple[str, int] | None) -> Any:
        if where is None:
            return self._client.get_node_from_key(key)
        node = self._client.get_node(*where)
        if node is None:
            given = self._client.get_connection_kwargs()
            node = self._strangers.setdefault(where, AWAITED.node(*where, **given))
        return node

    async def groups(self, logs: Mapping[str, bytes]) -> list[list[str]]:
        await self._client.initialize()
        for log in logs.values():
            if self._client.keyslot(log) in self._lost:
                await self.find(log)
        return _grouped(logs, self._client.get_node_from_key)

    async def find(self, key: bytes) -> None:
        await self._client.execute_command("EXISTS", key)
        self._lost.discard(self._client.keyslot(key))

    async def close(self) -> None:
        for node in self._strangers.values():
            await node.disconnect()
        self._strangers.clear()
        if self._owned:
            await self._client.aclose()


def _sentinels(client: Any) -> list[Any]:
    manager = getattr(client.connection_pool, "sentinel_manager", None)
    return manager.sentinels if manager is not None else []


def _packet(commands: Sequence[Command]) -> list[bytes]:
    # As redis-py would, in a third of the time: all that is sent here is octets.
    parts = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        parts += [b"$%d\r\n%b\r\n" % (len(one), one) for one in command]
    return [b"".join(parts)]


def _exchange(pool: Any, commands: Sequence[Command], patience: float) -> list[Any]:
    """Send commands and read their answers: each once, on a connection that was found alive."""
    begun = time.monotonic()
    connection = pool.get_connection()
    replies: list[Any] = []
    is_fit = False
    try:
        if time.monotonic() - begun > patience:
            raise errors.TimeoutError("to connect took too long")
        connection.send_packed_command(_packet(commands))
        for _ in commands:
            try:
                replies.append(connection.read_response(disable_decoding=True))
            except errors.ResponseError as error:
                replies.append(error)
        is_fit = _is_primary(replies[0])
    finally:
        if not is_fit:
            connection.disconnect()
        pool.release(connection)
    return replies


def _is_primary(reply: Any) -> bool:
    # Else the connection is closed: by its name, or by Sentinel, another may be found now.
    return not isinstance(reply, errors.ReadOnlyError)


def _grouped(logs: Mapping[str, bytes], node_of: Callable[[bytes], Any]) -> list[list[str]]:
    found: dict[str, list[str]] = {}
    for letter, log in logs.items():
        found.setdefault(node_of(log).name, []).append(letter)
    return list(found.values())


def _check_timeout(pool: Any) -> None:
    connection = pool.get_connection()
    seconds = connection.socket_timeout
    pool.release(connection)
    if not seconds or seconds >= 10:
        raise ConfigurationError(
            "refresh.store", "the client waits for ever, or nearly so", "socket_timeout=2.5"
        )


OTHER_HOST: Final = "a certificate of another host"


def _tls_kind(error: BaseException | None) -> str | None:
    """Return what is wrong with certificates: to redis-py it is like any trouble to connect."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            # OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH.
            is_other = getattr(error, "verify_code", None) in (62, 64)
            return OTHER_HOST if is_other else type(error).__name__
        if isinstance(error, FileNotFoundError | PermissionError):
            return type(error).__name__
        error = error.__cause__ or error.__context__
    return None


_NO_RIGHT: Final = re.compile("ACL failure in script|user executing the script|-NOPERM")


def kind_of(error: Exception) -> str:
    """Return the server's word, or the error's name. Never the message: it could quote a value."""
    if isinstance(error, StoreUnavailable):
        return error.detail
    if (kind := _tls_kind(error)) is not None:
        return kind
    if type(error) is errors.ResponseError:
        # Of a script before Redis 7: "ERR Error running script ...: -OOM command not allowed ...".
        text = str(error)
        if _NO_RIGHT.search(text):
            return "NoPermissionError"
        if match := re.match(r"(?:.*: -)?([A-Z]{3,})\b", text):
            return match[1]
    return type(error).__name__
