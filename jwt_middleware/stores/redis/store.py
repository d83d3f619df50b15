"""Grants in Redis 6.2 or newer, or Valkey: one server, the primary that Sentinel names, a Cluster.

A verb is one script at one shard, so it is atomic, takes its time from the engine's clock, and is
one round trip. A grant's row, its subject's index and its shard's log of ended grants have one hash
tag, and so one slot. Everything expires by itself: there is nothing to purge.

Whoever doesn't hear the answer to `advance` can't know whether it was done, and must not ask again.
So only what can't have been done is repeated: a script that the server didn't know, and a command
that it sent elsewhere (MOVED, ASK, TRYAGAIN).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from operator import methodcaller
from threading import Lock
from typing import Any, Final, TypeVar, cast
from weakref import WeakKeyDictionary

from ...values.errors import ConfigurationError, StoreUnavailable
from ...values.tokens import FrozenDict, Grant
from ..contract import HEARING, SHARDS, Advanced, Cursor, Ended, Page, new_grant_id, shard
from ..memory import OVERLAP
from .address import TIMEOUT, parse_url
from .links import (
    AWAITED,
    FAULTS,
    OTHER_HOST,
    WAITING,
    AsyncCluster,
    AsyncServer,
    Cluster,
    Command,
    Server,
    Talk,
    alead,
    errors,
    kind_of,
    lead,
)
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
    texts,
    unpacked,
)


def _wrong(problem: str, remedy: str) -> ConfigurationError:
    return ConfigurationError("refresh.store", problem, remedy)


T = TypeVar("T")

OLDEST: Final = (6, 2)
HOPS: Final = 8  # times that a command follows its key to another node of a Cluster
PAUSE: Final = 0.05  # seconds between two tries while the keys of a slot are on their way

# The rights that the verbs need, for `ACL SETUSER`; <prefix> is the store's. Those of a service
# that only hears of ended grants (serve=False) let it run no script and change nothing.
RIGHTS: Final = (
    "~{<prefix>?:}* ~<prefix>:k:* +evalsha +eval +get +set +del +exists +time "
    "+zadd +zrangebyscore +zremrangebyscore +pexpire +wait"
)
RIGHTS_TO_HEAR: Final = "~{<prefix>?:}e +time +zrangebyscore +exists"
RIGHTS_IN_A_CLUSTER: Final = "+cluster|slots +command"


_ADVANCE: Final = DIGESTS["advance"]


class _Rules:
    """What both kinds of stores share: keys, what is said to the engine, what its answers mean."""

    def __init__(
        self,
        client: Any,
        *,
        retention: float,
        prefix: str = "jwt",
        timeout: float = TIMEOUT,
        serve: bool = True,
        wait_replicas: int = 0,
        wait_timeout: float | None = None,
        offset: Callable[[], float] | None = None,
    ) -> None:
        if not prefix or not re.fullmatch(r"[\x21-\x7e]+", prefix) or set(prefix) & set("{}*?[]\\"):
            raise _wrong("prefix must be visible ASCII without {}*?[]\\", "prefix=jwt")
        if not 0 < timeout < 10:
            raise _wrong("timeout must be more than 0 and less than 10 seconds", "5 is usual")
        if wait_timeout is None:
            wait_timeout = timeout / 5
        if wait_replicas < 0 or not 0 < wait_timeout <= timeout / 4:
            raise _wrong(
                "wait_timeout must be more than 0 seconds, and at most a quarter of timeout",
                "wait_replicas=1, wait_timeout=1 and timeout=5 are usual",
            )
        self._client = client
        self._retention = retention
        self._prefix = prefix
        self._timeout = timeout
        self._serve = serve
        self._wait = wait_replicas
        self._wait_command: tuple[Command, ...] = (
            ((b"WAIT", b"%d" % wait_replicas, b"%d" % milliseconds(wait_timeout)),)
            if wait_replicas
            else ()
        )
        self._shifted = offset
        # Milliseconds that a log of ended grants goes back: a day, as a runtime gives `retention`,
        # whatever the life of the tokens is. A process of the former version that runs beside cuts
        # it to what its own tokens can live, whenever it ends a grant.
        self._keep = b"%d" % milliseconds(retention + OVERLAP)
        # One character behind the letter makes each sixteenth of a Cluster's slots have a shard.
        self._open = f"{{{prefix}".encode()
        self._logs = {letter: self._open + f"{letter}:}}e".encode() for letter in SHARDS}

    # --- keys

    def _row(self, grant_id: str) -> bytes:
        octets = grant_id.encode()
        return b"%b%b:}g%b" % (self._open, octets[:1], octets[1:])

    def _beside(self, grant_id: str) -> bytes:
        octets = grant_id.encode()
        return b"%b%b:}m%b" % (self._open, octets[:1], octets[1:])

    def _index(self, subject: str) -> bytes:
        return self._open + f"{shard(subject)}:}}s{digest(subject)}".encode()

    def _offset(self) -> bytes:
        return b"%d" % milliseconds(self._shifted()) if self._shifted is not None else b"0"

    # --- the verbs

    def _add(self, grant: Grant, limit: int) -> Talk[tuple[str, ...]]:
        keys = self._index(grant.subject), self._logs[shard(grant.subject)], self._row(grant.id)
        row = packed(grant), b"%d" % milliseconds(grant.expires_at), b"%d" % limit
        given = self._keep, grant.id.encode(), *row, packed_more(grant)
        ids = yield from self._script("add", keys, *given)
        return texts(ids)

    def _advance(
        self, grant_id: str, source: int, target: int, parent: str | None
    ) -> Talk[Advanced]:
        # Written out, for this is what is done most.
        key = self._row(grant_id)
        given = six(source), six(target), parent_field(parent)
        command = b"EVALSHA", _ADVANCE, b"1", key, self._offset(), *given
        (found,) = yield from self._follow(key, (command,))
        if found is None:
            return Advanced(False, None)
        more = None
        if isinstance(found, list):
            found, more = found
            if more == NOWHERE:
                key = self._beside(grant_id)
                (more,) = yield from self._follow(key, ((b"GET", key),))
        return Advanced(found[0] == ord("1"), unpacked(grant_id, found, 1, more))

    def _use(self, grant_id: str) -> Talk[None]:
        yield from self._script("use", (self._row(grant_id), self._beside(grant_id)))

    def _end(self, grant_id: str, reason: str) -> Talk[bool]:
        keys = self._row(grant_id), self._open + grant_id.encode()[:1] + b":}e"
        given = self._keep, grant_id.encode(), reason.encode()
        return bool((yield from self._script("end", keys, *given, lasting=True)))

    def _end_subject(self, subject: str, reason: str) -> Talk[tuple[str, ...]]:
        keys = self._index(subject), self._logs[shard(subject)]
        given = self._keep, reason.encode()
        return texts((yield from self._script("end_subject", keys, *given, lasting=True)))

    def _grants(self, subject: str) -> Talk[tuple[Grant, ...]]:
        keys = self._index(subject), self._logs[shard(subject)]
        found = yield from self._script("grants", keys, self._keep)
        rows = zip(found[::3], found[1::3], found[2::3], strict=True)
        return tuple(unpacked(one.decode(), row, 0, more) for one, row, more in rows)[::-1]

    def _ended(self, cursor: Cursor | None, horizon: float) -> Talk[Ended]:
        since = cast("Mapping[str, float]", cursor)
        found: list[bytes] = []
        after: dict[str, float] = {}
        for letters in (yield methodcaller("groups", self._logs)):
            # The node's own time: others' clocks may differ.
            if cursor is None:
                now = yield from self._time(letters[0])
                since = dict.fromkeys(letters, now - horizon)
            first, begin = self._logs[letters[0]], b"ZRANGEBYSCORE"
            asked = [
                (begin, self._logs[one], b"%d" % milliseconds(since[one]), b"+inf")
                for one in letters
            ]
            clock, *lists = yield methodcaller("send", first, ((b"TIME",), *asked), None)
            now = self._now(clock)
            for letter, command, answer in zip(letters, asked, lists, strict=True):
                if isinstance(answer, Exception):
                    # The slot has moved, or is moving.
                    (answer,) = yield from self._follow(command[1], (command,))  # noqa: PLW2901
                found += answer
                after[letter] = now - OVERLAP
        return Ended(texts(found), after)

    def _admit(self, key: str, until: float) -> Talk[bool]:
        # A digest, because a client may have chosen it, long and strange. Nobody gains by two that
        # share one: the second isn't admitted.
        name = f"{self._prefix}:k:{sha256(key.encode()).hexdigest()[:32]}".encode()
        ends = b"%d" % milliseconds(until)
        return bool((yield from self._script("admit", (name,), ends)))

    def _page(self, position: Cursor | None, count: int) -> Talk[Page]:
        """Go through the keys of one node after the other; not while slots are moving."""
        index, begin = cast("tuple[int, bytes]", position or (0, b"0"))
        groups = yield methodcaller("groups", self._logs)
        log = self._logs[groups[index][0]]
        pattern = self._open + b"?:}g*"
        scan = b"SCAN", begin, b"MATCH", pattern, b"COUNT", b"%d" % count
        ((begin, keys),) = yield from self._follow(log, (scan,))
        found = []
        if keys:
            # The letter stands before the tag's end in the key, and before the rest in the id.
            ids = [key[len(self._open) :].replace(b":}g", b"", 1).decode() for key in keys]
            asked = [(b"GET", key) for one in ids for key in (self._row(one), self._beside(one))]
            clock, *parts = yield methodcaller("send", log, ((b"TIME",), *asked), None)
            now = self._now(clock)
            rows = zip(ids, parts[::2], parts[1::2], strict=True)
            grants = [unpacked(one, row, 0, more) for one, row, more in rows if row]
            found = [one for one in grants if one.ended_at is None and now < one.expires_at]
        if begin == b"0":
            index += 1
        return Page(tuple(found), (index, begin) if index < len(groups) else None)

    # --- what is said to the engine

    def _script(
        self, name: str, keys: Sequence[bytes], *given: Any, lasting: bool = False
    ) -> Talk[Any]:
        wait = self._wait_command if lasting else ()
        script = b"EVALSHA", DIGESTS[name], b"%d" % len(keys), *keys, self._offset(), *given
        found, *acknowledged = yield from self._follow(keys[0], (script, *wait))
        if acknowledged and acknowledged[0] < self._wait:
            raise StoreUnavailable(f"WAIT: {acknowledged[0]} of {self._wait} replicas")
        return found

    def _follow(self, key: bytes, commands: tuple[Command, ...]) -> Talk[list[Any]]:
        """Send commands to where a key is, and once more only if nothing was done."""
        where: tuple[str, int] | None = None
        hops = 0
        while True:
            replies: list[Any] = yield methodcaller("send", key, commands, where)
            for error in replies:
                if isinstance(error, Exception):
                    break
            else:
                return replies
            hops += 1
            if hops == HOPS:
                raise error
            match error:
                case errors.NoScriptError():
                    (_, name, *rest), *others = commands
                    commands = ((b"EVAL", TEXTS[name], *rest), *others)
                case errors.MovedError():
                    where = None
                    yield methodcaller("find", key)
                case errors.AskError():
                    where = error.host, error.port
                case errors.TryAgainError():
                    yield methodcaller("pause", PAUSE)
                case _:
                    raise error

    def _time(self, letter: str) -> Talk[float]:
        (clock,) = yield from self._follow(self._logs[letter], ((b"TIME",),))
        return self._now(clock)

    def _now(self, clock: Sequence[bytes]) -> float:
        seconds, micros = map(int, clock)
        return seconds + micros / 1e6 + int(self._offset()) / 1000

    # --- at start

    def _checked(self) -> Talk[None]:
        """Ask every node who it is, and do each verb once with a grant that nobody has."""
        for letters in (yield methodcaller("groups", self._logs)):
            log = self._logs[letters[0]]
            (hello,) = yield from self._follow(log, ((b"HELLO",),))
            if not isinstance(hello, dict):  # RESP2 has lists only
                hello = dict(zip(hello[::2], hello[1::2], strict=True))
            _check_server(hello)
            if self._serve:
                (memory,) = yield methodcaller("send", log, ((b"INFO", b"memory"),), None)
                _check_memory(memory)
                for letter in letters if len(letters) < len(SHARDS) else letters[:1]:
                    yield from self._tried(letter)
        yield from self._ended(None, OVERLAP)

    def _tried(self, letter: str) -> Talk[None]:
        number, subject = 0, ""
        while shard(subject) != letter:
            number += 1
            subject = f"jwt-middleware check {number}"
        now = yield from self._time(letter)
        nothing = Grant(
            id=new_grant_id(subject),
            subject=subject,
            client_id="",
            scope="",
            claims=FrozenDict(),
            bound_key=None,
            generation=1,
            parent=None,
            rotated_at=now,
            created_at=now,
            expires_at=now + 1,  # the engine forgets it
        )
        yield from self._add(nothing, 1)
        yield from self._advance(nothing.id, 1, 2, None)
        yield from self._use(nothing.id)
        yield from self._grants(subject)
        yield from self._end(nothing.id, "check")
        yield from self._end_subject(subject, "check")
        yield from self._admit(nothing.id, now + 1)

    def _refused(self, error: Exception) -> ConfigurationError:
        kind = kind_of(error)
        remedy = _REMEDIES.get(kind, _REMEDY)
        if kind == "NoPermissionError":
            rights = (RIGHTS if self._serve else RIGHTS_TO_HEAR).replace("<prefix>", self._prefix)
            remedy = f"ACL SETUSER <user> {rights}, and in a Cluster {RIGHTS_IN_A_CLUSTER}"
        return _wrong(f"it can't be used: {kind}", remedy)


class RedisStore(_Rules):
    """Grants in Redis or Valkey, for code that waits.

    Args:
        client: a `redis.Redis` (Sentinel's `master_for`, too) or `redis.RedisCluster` of the
            application's, which closes it; or a function that makes one, called in each process.
            The settings of its retries don't matter here, its time-outs do.
        retention: seconds that ends are kept, longer than any access token can live.
        prefix: what the names of the keys begin with.
        timeout: seconds, less than 10. What takes longer than half of it until it is sent isn't
            sent; the time-outs of an application's own client are its own.
        serve: False: this service only hears of ended grants.
        wait_replicas: replicas that have to have the end of a grant before it is answered.
        wait_timeout: seconds that are waited for them; then it is StoreUnavailable. None: a fifth
            of `timeout`.
        offset: seconds to be added to the engine's clock; for tests.

    Raises:
        ConfigurationError: for a value that can't be; what is wrong with the server, `check` finds.

    """

    blocking = True  # it waits for the network: not in an event loop

    def __init__(self, client: Any, *, retention: float, **options: Any) -> None:
        super().__init__(client, retention=retention, **options)
        self._links: dict[int, Any] = {}
        self._locks: dict[int, Lock] = {}
        self._ear: RedisStore | None = None  # what asks for ended grants, if not this one

    @classmethod
    def from_url(
        cls, url: str, *, clock: Callable[[], float], retention: float, serve: bool = True
    ) -> RedisStore:
        """Return the store at a URL; see `parse_url`. The engine has a clock of its own."""
        address, options = parse_url(url)
        store = cls(address.client, retention=retention, serve=serve, **options)
        # Where a thread waits for ended grants it is lost to its server: not for long.
        ear = address.within(2 * HEARING).client  # half for the way, half for the answer
        store._ear = cls(ear, retention=retention, prefix=store._prefix, serve=False)
        return store

    def check(self) -> None:
        """Try everything that will be needed. Raises ConfigurationError with the way out."""
        try:
            link = self._link()
            link.check_timeout()
            lead(self._checked(), link)
        except (*FAULTS, StoreUnavailable) as error:
            raise self._refused(error) from None

    def close(self) -> None:
        """Close what was opened here, not an application's own client. A later verb opens anew."""
        link = self._links.pop(os.getpid(), None)
        if link is not None:
            link.close()
        if self._ear is not None:
            self._ear.close()

    def _link(self) -> Any:
        # One of each process: what a parent's threads do at a fork to its client, and to its lock,
        # isn't seen here.
        pid = os.getpid()
        link = self._links.get(pid)
        if link is None:
            with self._locks.setdefault(pid, Lock()):
                link = self._links.get(pid) or self._links.setdefault(pid, self._opened())
        return link

    def _opened(self) -> Any:
        client = self._client() if callable(self._client) else self._client
        kind = Cluster if isinstance(client, WAITING.cluster) else Server
        return kind(client, owned=callable(self._client), patience=self._timeout / 2)

    def _do(self, talk: Talk[T]) -> T:
        try:
            return lead(talk, self._link())
        except FAULTS as error:
            raise StoreUnavailable(kind_of(error)) from None

    def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        """See `Store.add`."""
        return self._do(self._add(grant, limit))

    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        """See `Store.advance`."""
        return self._do(self._advance(grant_id, source, target, parent))

    def use(self, grant_id: str) -> None:
        """See `Store.use`."""
        self._do(self._use(grant_id))

    def end(self, grant_id: str, reason: str) -> bool:
        """See `Store.end`."""
        return self._do(self._end(grant_id, reason))

    def end_subject(self, subject: str, reason: str) -> tuple[str, ...]:
        """See `Store.end_subject`."""
        return self._do(self._end_subject(subject, reason))

    def grants(self, subject: str) -> tuple[Grant, ...]:
        """See `Store.grants`."""
        return self._do(self._grants(subject))

    def ended(self, cursor: Cursor | None, horizon: float) -> Ended:
        """See `Store.ended`."""
        return (self._ear or self)._do(self._ended(cursor, horizon))

    def admit(self, key: str, until: float) -> bool:
        """See `Store.admit`."""
        return self._do(self._admit(key, until))

    def purge(self, now: float) -> int:
        """Do nothing: the engine forgets by itself."""
        return 0

    def page(self, position: Cursor | None, count: int) -> Page:
        """See `Listing.page`: in no order, and with the right to `SCAN`."""
        return self._do(self._page(position, count))


class AsyncRedisStore(_Rules):
    """The same, awaited. See `RedisStore` for the arguments.

    The client is one of `redis.asyncio`, or a function that makes one, called in each event loop.
    No verb takes longer than `timeout`.
    """

    def __init__(self, client: Any, *, retention: float, **options: Any) -> None:
        super().__init__(client, retention=retention, **options)
        self._links: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

    @classmethod
    def from_url(
        cls, url: str, *, clock: Callable[[], float], retention: float, serve: bool = True
    ) -> AsyncRedisStore:
        """Return the store at a URL; see `parse_url`. The engine has a clock of its own."""
        address, options = parse_url(url)
        return cls(address.async_client, retention=retention, serve=serve, **options)

    async def check(self) -> None:
        """Try everything that will be needed. Raises ConfigurationError with the way out."""
        from asyncio import timeout

        try:
            async with timeout(2 * self._timeout):
                await alead(self._checked(), self._link())
        except (*FAULTS, StoreUnavailable) as error:
            raise self._refused(error) from None

    async def aclose(self) -> None:
        """Close what was opened in this event loop, not an application's own client."""
        from asyncio import get_running_loop

        link = self._links.pop(get_running_loop(), None)
        if link is not None:
            await link.close()

    def _link(self) -> Any:
        from asyncio import get_running_loop

        loop = get_running_loop()
        link = self._links.get(loop)
        if link is None:
            client = self._client() if callable(self._client) else self._client
            is_cluster = isinstance(client, AWAITED.cluster)
            kind = AsyncCluster if is_cluster else AsyncServer
            link = self._links[loop] = kind(client, owned=callable(self._client))
        return link

    async def _do(self, talk: Talk[T]) -> T:
        from asyncio import timeout

        try:
            async with timeout(self._timeout):
                return await alead(talk, self._link())
        except FAULTS as error:
            raise StoreUnavailable(kind_of(error)) from None

    async def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        """See `Store.add`."""
        return await self._do(self._add(grant, limit))

    async def advance(
        self, grant_id: str, source: int, target: int, parent: str | None
    ) -> Advanced:
        """See `Store.advance`."""
        return await self._do(self._advance(grant_id, source, target, parent))

    async def use(self, grant_id: str) -> None:
        """See `Store.use`."""
        await self._do(self._use(grant_id))

    async def end(self, grant_id: str, reason: str) -> bool:
        """See `Store.end`."""
        return await self._do(self._end(grant_id, reason))

    async def end_subject(self, subject: str, reason: str) -> tuple[str, ...]:
        """See `Store.end_subject`."""
        return await self._do(self._end_subject(subject, reason))

    async def grants(self, subject: str) -> tuple[Grant, ...]:
        """See `Store.grants`."""
        return await self._do(self._grants(subject))

    async def ended(self, cursor: Cursor | None, horizon: float) -> Ended:
        """See `Store.ended`."""
        return await self._do(self._ended(cursor, horizon))

    async def admit(self, key: str, until: float) -> bool:
        """See `Store.admit`."""
        return await self._do(self._admit(key, until))

    async def purge(self, now: float) -> int:
        """Do nothing: the engine forgets by itself."""
        return 0


# --- what the server says

_REMEDY: Final = (
    "is the address right, and the server up? Where it speaks TLS the address begins with rediss, "
    "and gives ssl_certfile and ssl_keyfile if it wants a certificate"
)
_FILES: Final = "the files that the address names must be there, and this process may read them"
_REMEDIES: Final = {
    "MovedError": "this is a Cluster: redis+cluster://host1:6379,host2:6379",
    "RedisClusterException": "are these nodes of a Cluster, and is one of them up?",
    "AuthenticationError": "is the password right? In a URL %40 stands for an @, and so on",
    # redis-py hides what each of them said.
    "MasterNotFoundError": "no Sentinel that answers knows a primary of this name; by rediss one "
    "answers that has a certificate of the host, and of the CA in ssl_ca_certs",
    "ReadOnlyError": "this is a replica: give the primary's address, or Sentinel's",
    "OutOfMemoryError": "give it more memory: nothing can be written",
    "MISCONF": "it can't write to its disk: its log says why",
    "NOREPLICAS": "fewer replicas are connected than its min-replicas-to-write",
    "BusyLoadingError": "it is still reading its data: start again in a moment",
    "FileNotFoundError": _FILES,
    "PermissionError": _FILES,
    OTHER_HOST: "the address must have a name that stands in the server's certificate",
    "SSLCertVerificationError": "name the CA of the server's certificate: "
    "rediss://host?ssl_ca_certs=/path/to/ca.pem",
    "SSLError": "ssl_ca_certs, ssl_certfile and ssl_keyfile must be PEM files that go together, "
    "and be given if the server wants a certificate; ssl_password opens the key",
}


def _check_server(hello: Mapping[bytes, Any]) -> None:
    version = tuple(map(int, re.findall(rb"[0-9]+", hello[b"version"])[:2]))
    if version < OLDEST:
        raise _wrong(
            f"Redis {'.'.join(map(str, version))} is older than {'.'.join(map(str, OLDEST))}",
            "update it",
        )
    if hello[b"mode"] == b"sentinel":
        raise _wrong("this is a Sentinel", "redis+sentinel://host:26379/mymaster")
    if hello[b"role"] != b"master":
        raise _wrong("this is a replica", "give the primary's address, or Sentinel's")


def _check_memory(info: bytes | Exception) -> None:
    if isinstance(info, errors.NoPermissionError):
        return  # it needn't be allowed
    if isinstance(info, Exception):
        raise info
    lines = info.splitlines()
    if b"maxmemory:0" not in lines and b"maxmemory_policy:noeviction" not in lines:
        raise _wrong(
            "its maxmemory-policy lets it forget logins, and who has logged out, when it is full",
            "maxmemory-policy noeviction; give caches a server of their own",
        )
