"""From the URL of a Redis or Valkey to a client that has time-outs and repeats nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from ...values.errors import ConfigurationError
from .links import AWAITED, WAITING, Kit, no_wait

TIMEOUT: Final = 5.0  # seconds; every store's time-out is below 10
POOL_MAX: Final = 50  # connections of a process, or of its event loop, to one server


class Address:
    """Where a URL leads, and how a client is made for it."""

    def __init__(
        self,
        kind: str,
        hosts: Sequence[tuple[str, int]],
        service: str,
        settings: Mapping[str, Any],
        sentinel: Mapping[str, Any],
        pool_max: int,
        timeout: float,
    ) -> None:
        self._given = kind, hosts, service, settings, sentinel
        # In turns: whoever can't be reached takes its share of the time.
        share = {"": 2, "sentinel": 2, "cluster": len(hosts) + 1}[kind]
        each = {"socket_timeout": timeout / share, "socket_connect_timeout": timeout / share}
        asking = timeout / 2 / len(hosts)
        self._kind = kind
        self._hosts = hosts
        self._service = service
        self._settings = {**settings, **each, "protocol": 2}
        self._sentinel = {
            **sentinel,
            "socket_timeout": asking,
            "socket_connect_timeout": asking,
            "protocol": 2,
        }
        self._pool_max = pool_max
        self._wait = timeout / 2

    def within(self, timeout: float) -> Address:
        """Return the same with another time-out, for who asks one thing at a time."""
        return Address(*self._given, pool_max=2, timeout=timeout)

    def client(self) -> Any:
        """Return a client that waits."""
        return self._made(WAITING)

    def async_client(self) -> Any:
        """Return a client that is awaited."""
        return self._made(AWAITED)

    def _made(self, kit: Kit) -> Any:
        if self._kind == "cluster":
            return kit.cluster(
                startup_nodes=[kit.node(*one) for one in self._hosts],
                # Of the reads that find the way: the node that doesn't answer, then a new map.
                retry=kit.retry(no_wait(), 1),
                dynamic_startup_nodes=False,
                max_connections=self._pool_max,
                **self._settings,
            )
        once = kit.retry(no_wait(), 0)
        given = {**self._settings, "retry": once, "max_connections": self._pool_max}
        if self._kind == "sentinel":
            few = {**self._sentinel, "retry": once}
            sentinel = kit.sentinel(self._hosts, sentinel_kwargs=few, **given)
            sentinel.sentinels = Queue(sentinel.sentinels)
            return sentinel.master_for(self._service)
        ((host, port),) = self._hosts
        kind = kit.tls if given.pop("ssl", False) else kit.connection
        pool = kit.pool(connection_class=kind, host=host, port=port, timeout=self._wait, **given)
        return kit.client.from_pool(pool)


class Queue(list[Any]):
    """Sentinels in the order in which they are asked; whoever answered comes first.

    redis-py puts it there by swapping two. Where two requests do so at once, during a failover, one
    Sentinel would be there twice, and another lost for ever.
    """

    def __iter__(self) -> Iterator[Any]:
        return iter(self[:])

    def __setitem__(self, place: Any, one: Any) -> None:
        if place == 0:
            super().__setitem__(slice(None), [one, *(other for other in self if other is not one)])


_USAGE: Final = (
    "redis://user:password@host:6379/0, redis+sentinel://host1:26379,host2:26379/mymaster, "
    "redis+cluster://host1:6379,host2:6379; rediss for TLS; %40 for an @ in the password"
)
_PORTS: Final = {"": 6379, "sentinel": 26379, "cluster": 6379}
_OPTIONS: Final[Mapping[str, Callable[[str], Any]]] = {
    "prefix": str,
    "timeout": float,
    "wait_replicas": int,
    "wait_timeout": float,
    "pool_max": int,
}
_SENTINELS_OPTIONS: Final = ("sentinel_username", "sentinel_password")
_TLS_OPTIONS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_password")


def parse_url(url: str) -> tuple[Address, dict[str, Any]]:
    """Return the address that a URL gives, and the store's own options.

    `redis://host`, `redis+sentinel://host,host/service`, `redis+cluster://host,host`; `rediss` for
    TLS. Options: `prefix`, `timeout`, `wait_replicas`, `wait_timeout` (see `RedisStore`),
    `pool_max` (connections to one server), `client_name`; with TLS `ssl_ca_certs`, `ssl_certfile`,
    `ssl_keyfile`, and but for a Cluster `ssl_password` (that key's); with Sentinel
    `sentinel_username`, `sentinel_password`.

    Raises:
        ConfigurationError: for anything else. It never quotes the URL, which holds a password.

    """
    match = re.fullmatch(
        r"(rediss?)(?:\+(sentinel|cluster))?://(?:([^@/?#]*)@)?([^@/?#]+)(?:/([^?#]*))?(?:\?([^#]*))?",
        url,
    )
    if match is None:
        raise _wrong("is no address of Redis", _USAGE)
    scheme, kind, user, hosts, path, query = (one or "" for one in match.groups())
    settings: dict[str, Any] = {}
    if user:
        name, _, password = user.partition(":")
        settings |= {"username": unquote(name) or None, "password": unquote(password)}
    service, db = _path(kind, path)
    if db:
        settings["db"] = db
    allowed = {*_OPTIONS, "client_name"}
    if scheme == "rediss":
        settings["ssl"] = True
        allowed.update(_TLS_OPTIONS)
        if kind == "cluster":
            allowed.remove("ssl_password")  # redis-py's awaited Cluster knows none
    if kind == "sentinel":
        allowed.update(_SENTINELS_OPTIONS)
    options: dict[str, Any] = {}
    sentinel = {"ssl": True} if scheme == "rediss" else {}
    for name, value in _query(query, allowed).items():
        if name in _OPTIONS:
            options[name] = value
        elif name in _SENTINELS_OPTIONS:
            sentinel[name.removeprefix("sentinel_")] = value
        else:
            settings[name] = value
            sentinel[name] = value
    pool_max = options.pop("pool_max", POOL_MAX)
    if pool_max < 1:
        raise _wrong("pool_max must be at least 1", f"{POOL_MAX} is usual")
    timeout = options.get("timeout", TIMEOUT)
    places = [_host(one, _PORTS[kind]) for one in hosts.split(",")]
    if not kind and len(places) > 1:
        raise _wrong("redis:// has one host", _USAGE)
    return Address(kind, places, service, settings, sentinel, pool_max, timeout), options


def _path(kind: str, path: str) -> tuple[str, int]:
    """Return the service's name and the number of the database."""
    service, _, db = path.partition("/") if kind == "sentinel" else ("", "", path)
    if bool(service) != (kind == "sentinel") or (db and (kind == "cluster" or not db.isdecimal())):
        raise _wrong("the path of the address can't be", _USAGE)
    return unquote(service), int(db or 0)


def _query(query: str, allowed: set[str]) -> dict[str, Any]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
        found = {name: _OPTIONS.get(name, str)(value) for name, value in pairs if name in allowed}
    except ValueError:
        raise _wrong("an option can't be read", "?prefix=jwt&timeout=2.5") from None
    if unknown := {name for name, _ in pairs} - allowed:
        raise _wrong(
            f"has no option {', '.join(sorted(unknown))} here",
            f"there are {', '.join(sorted(allowed))}",
        )
    if len(found) < len(pairs):
        raise _wrong("an option is given twice", "give it once")
    return found


def _host(text: str, port: int) -> tuple[str, int]:
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]+))(?::([0-9]{1,5}))?", text)
    if match is None:
        raise _wrong("an address can't be read", _USAGE)
    return match[1] or unquote(match[2]), int(match[3] or port)


def _wrong(problem: str, remedy: str) -> ConfigurationError:
    return ConfigurationError("refresh.store", problem, remedy)
