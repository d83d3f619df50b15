"""Turn the URL of a Redis or Valkey into a client that has time-outs and never retries."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import unquote

from redis.backoff import NoBackoff

from ..store_options import STORE_TIMEOUT, read_options, wrong_store
from .links import AWAITED, WAITING, Kit

POOL_MAX: Final = 50  # connections of a process, or of its event loop, to one server


@dataclass(frozen=True, repr=False)  # the settings hold a password
class Address:
    """Where a URL leads, and how a client is made for it."""

    kind: str  # "", "sentinel" or "cluster"
    hosts: Sequence[tuple[str, int]]
    service: str  # as the Sentinels call it
    settings: Mapping[str, Any]  # of connections to a server
    sentinel: Mapping[str, Any]  # of connections to a Sentinel
    pool_max: int
    timeout: float  # seconds

    def for_one(self) -> Address:
        """Return the same address for one thread or task: it needs one connection to a server."""
        return replace(self, pool_max=2)  # one more for what redis-py asks a Cluster itself

    def client(self) -> Any:
        """Return a sync client."""
        return self._client_of(WAITING)

    def async_client(self) -> Any:
        """Return an async client."""
        return self._client_of(AWAITED)

    def _client_of(self, kit: Kit) -> Any:
        if self.kind == "cluster":
            # The nodes are asked one after the other. Each node gets a share of the time, used up
            # if it can't be reached, and one share remains for the answer.
            return kit.redis.RedisCluster(
                startup_nodes=[kit.redis.cluster.ClusterNode(*one) for one in self.hosts],
                # For the reads that find the right node: one retry, with a new map of the slots.
                retry=kit.redis.retry.Retry(NoBackoff(), 1),
                dynamic_startup_nodes=False,
                max_connections=self.pool_max,
                **_within(self.timeout / (len(self.hosts) + 1), self.settings),
            )
        half = self.timeout / 2  # half to connect, and half for the answer
        once = {"retry": kit.redis.retry.Retry(NoBackoff(), 0)}
        given = _within(half, self.settings) | once | {"max_connections": self.pool_max}
        if self.kind == "sentinel":
            few = _within(half / len(self.hosts), self.sentinel) | once
            sentinel = kit.redis.Sentinel(self.hosts, sentinel_kwargs=few, **given)
            sentinel.sentinels = Queue(sentinel.sentinels)
            return sentinel.master_for(self.service)
        ((host, port),) = self.hosts
        kind = kit.redis.SSLConnection if given.pop("ssl", False) else kit.redis.Connection
        pool = kit.redis.BlockingConnectionPool(
            connection_class=kind, host=host, port=port, timeout=half, **given
        )
        return kit.redis.Redis.from_pool(pool)


def _within(seconds: float, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of connections with the time-outs of one step."""
    limits = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    return {**settings, **limits, "protocol": 2}


class Queue(list[Any]):
    """Sentinels in the order in which they are asked; the one that answered comes first.

    redis-py puts it first by swapping two items. If two requests did so at once, during a failover,
    one Sentinel would be in the list twice, and another would be lost for ever.
    """

    def __iter__(self) -> Iterator[Any]:
        return iter(self[:])

    def __setitem__(self, place: Any, one: Any) -> None:
        if place == 0:
            super().__setitem__(slice(None), [one, *(other for other in self if other is not one)])


_REDIS_ADDRESSES: Final = (
    "redis://user:password@host:6379/0, redis+sentinel://host1:26379,host2:26379/mymaster, "
    "redis+cluster://host1:6379,host2:6379; rediss for TLS; %40 for an @ in the password"
)
_REDIS_PORTS: Final = {"": 6379, "sentinel": 26379, "cluster": 6379}
_REDIS_OPTIONS: Final[Mapping[str, Callable[[str], Any]]] = {
    "prefix": str,
    "timeout": float,
    "wait_replicas": int,
    "wait_timeout": float,
    "pool_max": int,
    "feed_idle": float,
}
_SENTINEL_OPTIONS: Final = {"sentinel_username": "username", "sentinel_password": "password"}
_TLS_OPTIONS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_password")


def parse_redis_url(url: str) -> tuple[Address, dict[str, Any]]:
    """Return the address that a URL gives, and the store's own options.

    `redis://host`, `redis+sentinel://host,host/service`, `redis+cluster://host,host`; `rediss` for
    TLS. Options: `prefix`, `timeout`, `wait_replicas`, `wait_timeout` (see `RedisStore`),
    `pool_max` (connections to one server), `feed_idle` (see `FeedPace`), `client_name`; with TLS
    `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`, and but for a Cluster `ssl_password` (that
    key's); with Sentinel `sentinel_username`, `sentinel_password`.

    Raises:
        ConfigurationError: for anything else. The error never quotes the URL, which holds a
            password.

    """
    match = re.fullmatch(
        r"(rediss?)(?:\+(sentinel|cluster))?://(?:([^@/?#]*)@)?([^@/?#]+)(?:/([^?#]*))?(?:\?([^#]*))?",
        url,
    )
    if match is None:
        raise wrong_store("is no address of Redis", _REDIS_ADDRESSES)
    scheme, kind, user, hosts, path, query = (one or "" for one in match.groups())
    service, db = _service_and_database(kind, path)
    allowed = {*_REDIS_OPTIONS, "client_name"}
    if scheme == "rediss":
        allowed.update(_TLS_OPTIONS)
        if kind == "cluster":
            allowed.remove("ssl_password")  # redis-py's async Cluster has no such option
    if kind == "sentinel":
        allowed.update(_SENTINEL_OPTIONS)
    try:
        given = read_options(query, {name: _REDIS_OPTIONS.get(name, str) for name in allowed})
    except KeyError as error:
        raise wrong_store(
            f"has no option {error.args[0]} here", f"there are {', '.join(sorted(allowed))}"
        ) from None
    options = {name: given.pop(name) for name in _REDIS_OPTIONS if name in given}
    sentinel = {
        _SENTINEL_OPTIONS[name]: given.pop(name) for name in _SENTINEL_OPTIONS.keys() & given
    }
    if scheme == "rediss":
        given["ssl"] = True
    settings = dict(given)
    if user:
        name, _, password = user.partition(":")
        settings |= {"username": unquote(name) or None, "password": unquote(password)}
    if db:
        settings["db"] = db
    pool_max = options.pop("pool_max", POOL_MAX)
    if pool_max < 1:
        raise wrong_store("pool_max must be at least 1", f"{POOL_MAX} is usual")
    timeout = options.get("timeout", STORE_TIMEOUT)
    places = [_host_and_port(one, _REDIS_PORTS[kind]) for one in hosts.split(",")]
    if not kind and len(places) > 1:
        raise wrong_store("redis:// has one host", _REDIS_ADDRESSES)
    return Address(kind, places, service, settings, sentinel | given, pool_max, timeout), options


def _service_and_database(kind: str, path: str) -> tuple[str, int]:
    """Return the service's name and the number of the database."""
    service, _, db = path.partition("/") if kind == "sentinel" else ("", "", path)
    if bool(service) != (kind == "sentinel") or (db and (kind == "cluster" or not db.isdecimal())):
        raise wrong_store("the path of the address can't be", _REDIS_ADDRESSES)
    return unquote(service), int(db or 0)


def _host_and_port(text: str, port: int) -> tuple[str, int]:
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]+))(?::([0-9]{1,5}))?", text)
    if match is None:
        raise wrong_store("an address can't be read", _REDIS_ADDRESSES)
    return match[1] or unquote(match[2]), int(match[3] or port)
