"""redis-py in its two kinds, one that waits and one that is awaited, and what its errors mean."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import Callable
from operator import methodcaller
from typing import Any, Final, NamedTuple

from ...values.errors import StoreUnavailable
from ..store_options import wrong_store

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
    raise wrong_store(
        "needs redis-py, which isn't here", "pip install 'wsgi-asgi-jwt-middleware[redis]'"
    ) from None

errors = redis.exceptions
# All that fails between here and a server. What the server refuses is an answer.
FAULTS: Final = (
    errors.RedisError,
    errors.RedisClusterException,
    errors.ChildDeadlockedError,
    OSError,
)


class Kit(NamedTuple):
    """What redis-py has in two kinds, and how each is told to do the same.

    What a function of the second kind returns is to be awaited, so flows `ask` for all of them.
    """

    client: Any
    pool: Any
    connection: Any
    tls: Any
    sentinel: Any
    cluster: Any
    node: Any
    retry: Any
    sleep: Callable[[float], Any]
    close: Callable[[Any], Any]  # a client and its connections
    close_node: Callable[[Any], Any]
    disconnect: Callable[[Any], Any]  # a connection, without a word to the server
    initialize: Callable[[Any], Any]  # a Cluster's client: asks the nodes for their slots


WAITING: Final = Kit(
    client=redis.Redis,
    pool=redis.BlockingConnectionPool,
    connection=redis.Connection,
    tls=redis.SSLConnection,
    sentinel=redis.sentinel.Sentinel,
    cluster=redis.RedisCluster,
    node=redis.cluster.ClusterNode,
    retry=redis.retry.Retry,
    sleep=time.sleep,
    close=methodcaller("close"),
    close_node=lambda node: node.redis_connection.close(),
    disconnect=methodcaller("disconnect"),
    initialize=lambda _: None,  # it has asked them when it was made
)
AWAITED: Final = Kit(
    client=redis.asyncio.Redis,
    pool=redis.asyncio.BlockingConnectionPool,
    connection=redis.asyncio.Connection,
    tls=redis.asyncio.SSLConnection,
    sentinel=redis.asyncio.sentinel.Sentinel,
    cluster=redis.asyncio.RedisCluster,
    node=redis.asyncio.cluster.ClusterNode,
    retry=redis.asyncio.retry.Retry,
    sleep=asyncio.sleep,
    close=methodcaller("aclose"),
    close_node=methodcaller("disconnect"),
    disconnect=methodcaller("disconnect", nowait=True),
    initialize=methodcaller("initialize"),
)

OTHER_HOST: Final = "a certificate of another host"


def _tls_kind(error: BaseException | None) -> str | None:
    """Return what is wrong with a certificate or its file: redis-py calls it a ConnectionError."""
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
