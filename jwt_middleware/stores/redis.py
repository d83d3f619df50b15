"""Grants in Redis 6.2 or newer, or Valkey: one server, the primary that Sentinel names, a Cluster.

A verb is one script at one shard, so it is atomic, takes its time from the engine's clock, and is
one round trip. A grant's row, its subject's index and its shard's log of ended grants have one hash
tag, and so one slot. Everything expires by itself: there is nothing to purge.

What is sent here is sent once: whoever doesn't hear the answer to `advance` can't know whether it
was done, and must not ask again. So the connections are used directly, beneath redis-py's own
`execute_command`, which repeats by default. Only what can't have been done is repeated: a script
that the server didn't know, a command that it sent elsewhere (MOVED, ASK, TRYAGAIN).
"""

import os
import re
import struct
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from hashlib import sha1
from json import dumps, loads
from operator import methodcaller
from typing import Any, Final, TypeAlias, TypeVar, cast
from urllib.parse import parse_qsl, unquote
from weakref import WeakKeyDictionary

from ..jose.strict import parse_object
from ..values.errors import ConfigurationError, StoreUnavailable
from ..values.frozen import FrozenDict
from ..values.model import Grant
from . import SHARDS, Advanced, Cursor, Ended, new_grant_id, shard
from .memory import OVERLAP


def _wrong(problem: str, remedy: str) -> ConfigurationError:
    return ConfigurationError("refresh.store", problem, remedy)


try:
    import redis
    import redis.asyncio
    from redis.asyncio.cluster import ClusterNode as AsyncClusterNode
    from redis.asyncio.cluster import PipelineCommand
    from redis.backoff import NoBackoff
    from redis.client import NEVER_DECODE
    from redis.cluster import ClusterNode
    from redis.exceptions import (
        AskError,
        ChildDeadlockedError,
        MovedError,
        NoPermissionError,
        NoScriptError,
        RedisClusterException,
        RedisError,
        ResponseError,
        TryAgainError,
    )
    from redis.retry import Retry
except ImportError:
    raise _wrong(
        "needs redis-py, which isn't here", "pip install 'wsgi-asgi-jwt-middleware[redis]'"
    ) from None

T = TypeVar("T")

OLDEST: Final = (6, 2)
TIMEOUT: Final = 5.0  # seconds; every store's time-out is below 10
POOL_MAX: Final = 50  # connections of a process, or of its event loop, to one server
HOPS: Final = 8  # times that a command follows its key to another node of a Cluster
PAUSE: Final = 0.05  # seconds between two tries while the keys of a slot are on their way

# The rights that the verbs need, for `ACL SETUSER`; <prefix> is the store's. Those of a service
# that only hears of ended grants (serve=False) let it run no script and change nothing.
RIGHTS: Final = (
    "~{<prefix>?:}* ~<prefix>:k:* +evalsha +eval +get +set +del +exists +time "
    "+zadd +zrangebyscore +zremrangebyscore +pexpire +wait"
)
RIGHTS_TO_HEAR: Final = "~{<prefix>?:}e +time +zrangebyscore +exists"
RIGHTS_IN_A_CLUSTER: Final = "+cluster|slots"

# A row: generation, rotated_at, created_at, expires_at, ended_at (0: alive), 6 octets each, times
# in milliseconds; parent, with its length + 1 in 3 octets (0: None); then [subject, client_id,
# scope, bound_key if any] as JSON, a line feed, the claims as JSON if any, and once the grant has
# ended a line feed and the reason. JSON on one line has no line feed in it.
HEAD: Final = struct.Struct(">HIHIHIHIHIBH")

# A script finds the engine's time in milliseconds, shifted by ARGV[1], in `now`.
_NOW: Final = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[1]
"""
# First everything is read, then written: should a read fail, because a Cluster is just moving the
# slot, nothing is done by half. And the first write is a SET, which a full memory or disk refuses.
_ENDING: Final = """
local head = string.match(KEYS[2], '^(.-).:}')
local index, log, keep = KEYS[1], KEYS[2], tonumber(ARGV[2])
local function living()
  local found, packed = {}, redis.call('GET', index)
  for _, id in ipairs(packed and cmsgpack.unpack(packed) or {}) do
    local key = head .. string.sub(id, 1, 1) .. ':}g' .. string.sub(id, 2)
    local row = redis.call('GET', key)
    if row then
      local expires, ended = struct.unpack('>I6I6', row, 19)
      if ended == 0 and now < expires then
        found[#found + 1] = {id = id, key = key, row = row, expires = expires}
      end
    end
  end
  return found
end
local function finish(grants, reason)
  local ids = {}
  for i, one in ipairs(grants) do
    local row = string.sub(one.row, 1, 24) .. struct.pack('>I6', now) .. string.sub(one.row, 31)
    redis.call('SET', one.key, row .. '\\n' .. reason, 'KEEPTTL')
    redis.call('ZADD', log, now, one.id)
    ids[i] = one.id
  end
  if #ids > 0 then
    redis.call('ZREMRANGEBYSCORE', log, '-inf', now - keep)
    redis.call('PEXPIRE', log, keep)
  end
  return ids
end
local function remember(grants)
  local ids, expires = {}, 0
  for i, one in ipairs(grants) do
    ids[i] = one.id
    expires = math.max(expires, one.expires)
  end
  if #ids > 0 then
    redis.call('SET', index, cmsgpack.pack(ids), 'PX', expires - now)
  else
    redis.call('DEL', index)
  end
end
"""
_SCRIPTS: Final = {
    # KEYS index, log, row; ARGV offset, keep, id, row, expires_at, limit
    "add": _NOW
    + _ENDING
    + """
if redis.call('EXISTS', KEYS[3]) == 1 then return {} end
local grants, over, rest = living(), {}, {}
local expires, limit = tonumber(ARGV[5]), tonumber(ARGV[6])
if now < expires then
  grants[#grants + 1] = {id = ARGV[3], key = KEYS[3], row = ARGV[4], expires = expires}
end
redis.call('SET', KEYS[3], ARGV[4], 'PX', math.max(expires - now, 1))
for i, one in ipairs(grants) do
  local part = i <= #grants - limit and over or rest
  part[#part + 1] = one
end
local ids = finish(over, 'limit')
remember(rest)
return ids
""",
    # KEYS row; ARGV offset, source, target, parent
    "advance": _NOW
    + """
local row = redis.call('GET', KEYS[1])
if not row then return false end
local generation, _, _, expires, ended, length = struct.unpack('>I6I6I6I6I6I3', row)
if now >= expires then return false end
if ended > 0 or generation ~= tonumber(ARGV[2]) or ARGV[2] == ARGV[3] then return '0' .. row end
row = struct.pack('>I6I6', ARGV[3], now) .. string.sub(row, 13, 30) .. ARGV[4]
  .. string.sub(row, 34 + math.max(length - 1, 0))
redis.call('SET', KEYS[1], row, 'KEEPTTL')
return '1' .. row
""",
    # KEYS row, log; ARGV offset, keep, id, reason
    "end": _NOW
    + _ENDING
    + """
local row = redis.call('GET', KEYS[1])
if not row then return 0 end
local expires, ended, length = struct.unpack('>I6I6I3', row, 19)
if ended > 0 or now >= expires then return 0 end
local whose = string.match(row, '^[^\\n]*', 34 + math.max(length - 1, 0))
local digest = string.sub(redis.sha1hex(cjson.decode(whose)[1]), 1, 22)
index = string.match(log, '^.-}') .. 's' .. digest
local rest = {}
for _, one in ipairs(living()) do
  if one.id ~= ARGV[3] then rest[#rest + 1] = one end
end
finish({{id = ARGV[3], key = KEYS[1], row = row}}, ARGV[4])
remember(rest)
return 1
""",
    # KEYS index, log; ARGV offset, keep, reason
    "end_subject": _NOW
    + _ENDING
    + """
local grants = living()
if #grants == 0 then return {} end
local ids = finish(grants, ARGV[3])
redis.call('DEL', index)
return ids
""",
    # KEYS index, log; ARGV offset, keep
    "grants": _NOW
    + _ENDING
    + """
local found = {}
for _, one in ipairs(living()) do
  found[#found + 1] = one.id
  found[#found + 1] = one.row
end
return found
""",
    # KEYS key; ARGV offset, until. Later than the engine would forget it: its time may be shifted.
    "admit": _NOW
    + """
local before, ends = redis.call('GET', KEYS[1]), tonumber(ARGV[2])
if before and tonumber(before) > now then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', math.max(ends - now, 1))
return 1
""",
}
SCRIPTS: Final = {name: text.encode() for name, text in _SCRIPTS.items()}
_DIGESTS: Final = {
    name: sha1(text, usedforsecurity=False).hexdigest().encode() for name, text in SCRIPTS.items()
}
_TEXTS: Final = {_DIGESTS[name]: text for name, text in SCRIPTS.items()}

Command: TypeAlias = tuple[Any, ...]
Step: TypeAlias = Callable[[Any], Any]  # what to do with the link; a driver hands back the answer
Talk: TypeAlias = Generator[Step, Any, T]

_FAULTS: Final = (RedisError, RedisClusterException, ChildDeadlockedError, OSError)


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
        wait_timeout: float = 1.0,
        offset: Callable[[], float] = lambda: 0.0,
    ) -> None:
        if not prefix or not re.fullmatch(r"[\x21-\x7e]+", prefix) or set(prefix) & set("{}*?[]\\"):
            raise _wrong("prefix must be visible ASCII without {}*?[]\\", "prefix=jwt")
        if not 0 < timeout < 10:
            raise _wrong("timeout must be more than 0 and less than 10 seconds", "5 is usual")
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
            ((b"WAIT", wait_replicas, round(1000 * wait_timeout)),) if wait_replicas else ()
        )
        self._shifted = offset
        self._keep = round(
            1000 * (retention + OVERLAP)
        )  # ms that the log of ended grants goes back
        # One character behind the letter makes each sixteenth of a Cluster's slots have a shard.
        self._open = f"{{{prefix}".encode()
        self._logs = {letter: self._open + f"{letter}:}}e".encode() for letter in SHARDS}

    # --- keys

    def _row(self, grant_id: str) -> bytes:
        octets = grant_id.encode()
        return b"%b%b:}g%b" % (self._open, octets[:1], octets[1:])

    def _index(self, subject: str) -> bytes:
        # A digest, so that a key is short, whatever a subject is: SHA-1, for scripts have no other.
        # Who finds two subjects that share one has two accounts that end together.
        digest = sha1(subject.encode(), usedforsecurity=False).hexdigest()[:22]
        return self._open + f"{shard(subject)}:}}s{digest}".encode()

    def _offset(self) -> int:
        return _ms(self._shifted())

    # --- the verbs

    def _add(self, grant: Grant, limit: int) -> Talk[tuple[str, ...]]:
        keys = self._index(grant.subject), self._logs[shard(grant.subject)], self._row(grant.id)
        row = _packed(grant), _ms(grant.expires_at), limit
        ids = yield from self._script("add", keys, self._keep, grant.id.encode(), *row)
        return _texts(ids)

    def _advance(
        self, grant_id: str, source: int, target: int, parent: str | None
    ) -> Talk[Advanced]:
        keys = (self._row(grant_id),)
        found = yield from self._script("advance", keys, source, target, _sized(parent))
        if found is None:
            return _NOTHING_ADVANCED
        return Advanced(found[:1] == b"1", _grant(grant_id, found, 1))

    def _end(self, grant_id: str, reason: str) -> Talk[bool]:
        keys = self._row(grant_id), self._open + grant_id.encode()[:1] + b":}e"
        given = self._keep, grant_id.encode(), reason.encode()
        return (yield from self._script("end", keys, *given, lasting=True)) == 1

    def _end_subject(self, subject: str, reason: str) -> Talk[tuple[str, ...]]:
        keys = self._index(subject), self._logs[shard(subject)]
        given = self._keep, reason.encode()
        return _texts((yield from self._script("end_subject", keys, *given, lasting=True)))

    def _grants(self, subject: str) -> Talk[tuple[Grant, ...]]:
        keys = self._index(subject), self._logs[shard(subject)]
        found = yield from self._script("grants", keys, self._keep)
        pairs = zip(found[::2], found[1::2], strict=True)
        return tuple(_grant(one.decode(), row) for one, row in pairs)[::-1]

    def _ended(self, cursor: Cursor | None) -> Talk[Ended]:
        since = cast("Mapping[str, float]", cursor)
        found: list[bytes] = []
        after: dict[str, float] = {}
        for letters in (yield methodcaller("groups", self._logs)):
            # The node's own time: others' clocks may differ.
            if cursor is None:
                now = yield from self._time(letters[0])
                since = dict.fromkeys(letters, now - self._retention)
            asked = [
                (b"ZRANGEBYSCORE", self._logs[one], _ms(since[one]), b"+inf") for one in letters
            ]
            first = self._logs[letters[0]]
            clock, *lists = yield methodcaller("send", first, ((b"TIME",), *asked), None)
            now = self._now(clock)
            for letter, command, ids in zip(letters, asked, lists, strict=True):
                if isinstance(ids, Exception):
                    # The slot has moved, or is moving.
                    (ids,) = yield from self._follow(self._logs[letter], (command,))
                found += ids
                after[letter] = now - OVERLAP
        return Ended(_texts(found), after)

    def _admit(self, key: str, until: float) -> Talk[bool]:
        digest = sha1(key.encode(), usedforsecurity=False).hexdigest()
        keys = (f"{self._prefix}:k:{digest}".encode(),)
        return (yield from self._script("admit", keys, _ms(until))) == 1

    # --- what is said to the engine

    def _script(
        self, name: str, keys: Sequence[bytes], *given: Any, lasting: bool = False
    ) -> Talk[Any]:
        wait = self._wait_command if lasting else ()
        script = b"EVALSHA", _DIGESTS[name], len(keys), *keys, self._offset(), *given
        found, *acknowledged = yield from self._follow(keys[0], (script, *wait))
        if acknowledged and acknowledged[0] < self._wait:
            raise StoreUnavailable(f"WAIT: {acknowledged[0]} of {self._wait} replicas")
        return found

    def _follow(self, key: bytes, commands: tuple[Command, ...]) -> Talk[list[Any]]:
        """Send commands to where a key is, and once more only if nothing was done."""
        where: tuple[str, int] | None = None
        for _ in range(HOPS):
            replies = yield methodcaller("send", key, commands, where)
            error = next((one for one in replies if isinstance(one, Exception)), None)
            match error:
                case None:
                    return cast("list[Any]", replies)
                case NoScriptError():
                    (_, digest, *rest), *others = commands
                    commands = ((b"EVAL", _TEXTS[digest], *rest), *others)
                case MovedError():
                    where = None
                    yield methodcaller("find", key)
                case AskError():
                    where = error.host, error.port
                case TryAgainError():
                    yield methodcaller("pause", PAUSE)
                case _:
                    raise error
        raise StoreUnavailable("the slot is moving")

    def _time(self, letter: str) -> Talk[float]:
        (clock,) = yield from self._follow(self._logs[letter], ((b"TIME",),))
        return self._now(clock)

    def _now(self, clock: Sequence[bytes]) -> float:
        seconds, micros = map(int, clock)
        return seconds + micros / 1e6 + self._shifted()

    # --- at start

    def _checked(self) -> Talk[None]:
        """Ask every node who it is, and do each verb once with a grant that nobody has."""
        for letters in (yield methodcaller("groups", self._logs)):
            log = self._logs[letters[0]]
            (hello,) = yield from self._follow(log, ((b"HELLO",),))
            _check_server(hello if isinstance(hello, dict) else dict(_pairs(hello)))
            if self._serve:
                (memory,) = yield methodcaller("send", log, ((b"INFO", b"memory"),), None)
                _check_memory(memory)
                for letter in letters if len(letters) < len(SHARDS) else letters[:1]:
                    yield from self._tried(letter)
        yield from self._ended(None)

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
            claims=_NOTHING,
            bound_key=None,
            generation=1,
            parent=None,
            rotated_at=now,
            created_at=now,
            expires_at=now + 1,  # the engine forgets it
        )
        yield from self._add(nothing, 1)
        yield from self._advance(nothing.id, 1, 2, None)
        yield from self._grants(subject)
        yield from self._end(nothing.id, "check")
        yield from self._end_subject(subject, "check")
        yield from self._admit(nothing.id, now + 1)

    def _refused(self, error: Exception) -> ConfigurationError:
        kind = _kind(error)
        remedy = _REMEDIES.get(kind, "is the address right, and the server up?")
        if kind == "NoPermissionError":
            rights = (RIGHTS if self._serve else RIGHTS_TO_HEAR).replace("<prefix>", self._prefix)
            remedy = f"ACL SETUSER <user> {rights}, and in a Cluster {RIGHTS_IN_A_CLUSTER}"
        return _wrong(f"Redis can't be used: {kind}", remedy)


class RedisStore(_Rules):
    """Grants in Redis or Valkey, for code that waits.

    Args:
        client: a `redis.Redis` (Sentinel's `master_for`, too) or `redis.RedisCluster` of the
            application's, which closes it; or a function that makes one, called in each process.
            The settings of its retries don't matter here, its time-outs do.
        retention: seconds, longer than any access token can live.
        prefix: what the names of the keys begin with.
        timeout: seconds, less than 10. What takes longer than half of it until it is sent isn't
            sent; the time-outs of an application's own client are its own.
        serve: False: this service only hears of ended grants.
        wait_replicas: replicas that have to have the end of a grant before it is answered.
        wait_timeout: seconds that are waited for them; then it is StoreUnavailable.
        offset: seconds to be added to the engine's clock; for tests.

    Raises:
        ConfigurationError: for a value that can't be; what is wrong with the server, `check` finds.

    """

    blocking = True  # it waits for the network: not in an event loop

    def __init__(self, client: Any, *, retention: float, **options: Any) -> None:
        super().__init__(client, retention=retention, **options)
        self._links: dict[int, Any] = {}

    @classmethod
    def from_url(cls, url: str, *, clock: Callable[[], float], retention: float) -> "RedisStore":
        """Return the store at a URL; see `parse_url`. The engine has a clock of its own."""
        address, options = parse_url(url)
        return cls(address.client, retention=retention, **options)

    def check(self) -> None:
        """Try everything that will be needed. Raises ConfigurationError with the way out."""
        try:
            link = self._link()
            link.check_timeout()
            _lead(self._checked(), link)
        except _FAULTS as error:
            raise self._refused(error) from None

    def close(self) -> None:
        """Close what was opened here, not an application's own client. A later verb opens anew."""
        link = self._links.pop(os.getpid(), None)
        if link is not None:
            link.close()

    def _link(self) -> Any:
        # One of each process: what a parent's threads do to its own at a fork isn't seen here.
        pid = os.getpid()
        link = self._links.get(pid)
        if link is None:
            client = self._client() if callable(self._client) else self._client
            kind = _Cluster if isinstance(client, redis.RedisCluster) else _Server
            made = kind(client, owned=callable(self._client), patience=self._timeout / 2)
            link = self._links.setdefault(pid, made)
            if link is not made:
                made.close()  # another thread was faster
        return link

    def _do(self, talk: Talk[T]) -> T:
        try:
            return _lead(talk, self._link())
        except _FAULTS as error:
            raise StoreUnavailable(_kind(error)) from None

    def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        """See `Store.add`."""
        return self._do(self._add(grant, limit))

    def advance(self, grant_id: str, source: int, target: int, parent: str | None) -> Advanced:
        """See `Store.advance`."""
        return self._do(self._advance(grant_id, source, target, parent))

    def end(self, grant_id: str, reason: str) -> bool:
        """See `Store.end`."""
        return self._do(self._end(grant_id, reason))

    def end_subject(self, subject: str, reason: str) -> tuple[str, ...]:
        """See `Store.end_subject`."""
        return self._do(self._end_subject(subject, reason))

    def grants(self, subject: str) -> tuple[Grant, ...]:
        """See `Store.grants`."""
        return self._do(self._grants(subject))

    def ended(self, cursor: Cursor | None) -> Ended:
        """See `Store.ended`."""
        return self._do(self._ended(cursor))

    def admit(self, key: str, until: float) -> bool:
        """See `Store.admit`."""
        return self._do(self._admit(key, until))

    def purge(self, now: float) -> int:
        """Do nothing: the engine forgets by itself."""
        return 0


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
        cls, url: str, *, clock: Callable[[], float], retention: float
    ) -> "AsyncRedisStore":
        """Return the store at a URL; see `parse_url`. The engine has a clock of its own."""
        address, options = parse_url(url)
        return cls(address.async_client, retention=retention, **options)

    async def check(self) -> None:
        """Try everything that will be needed. Raises ConfigurationError with the way out."""
        from asyncio import timeout

        try:
            async with timeout(2 * self._timeout):
                await _alead(self._checked(), self._link())
        except _FAULTS as error:
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
            is_cluster = isinstance(client, redis.asyncio.RedisCluster)
            kind = _AsyncCluster if is_cluster else _AsyncServer
            link = self._links[loop] = kind(client, owned=callable(self._client))
        return link

    async def _do(self, talk: Talk[T]) -> T:
        from asyncio import timeout

        try:
            async with timeout(self._timeout):
                return await _alead(talk, self._link())
        except _FAULTS as error:
            raise StoreUnavailable(_kind(error)) from None

    async def add(self, grant: Grant, limit: int) -> tuple[str, ...]:
        """See `Store.add`."""
        return await self._do(self._add(grant, limit))

    async def advance(
        self, grant_id: str, source: int, target: int, parent: str | None
    ) -> Advanced:
        """See `Store.advance`."""
        return await self._do(self._advance(grant_id, source, target, parent))

    async def end(self, grant_id: str, reason: str) -> bool:
        """See `Store.end`."""
        return await self._do(self._end(grant_id, reason))

    async def end_subject(self, subject: str, reason: str) -> tuple[str, ...]:
        """See `Store.end_subject`."""
        return await self._do(self._end_subject(subject, reason))

    async def grants(self, subject: str) -> tuple[Grant, ...]:
        """See `Store.grants`."""
        return await self._do(self._grants(subject))

    async def ended(self, cursor: Cursor | None) -> Ended:
        """See `Store.ended`."""
        return await self._do(self._ended(cursor))

    async def admit(self, key: str, until: float) -> bool:
        """See `Store.admit`."""
        return await self._do(self._admit(key, until))

    async def purge(self, now: float) -> int:
        """Do nothing: the engine forgets by itself."""
        return 0


# --- talks are led by one of two drivers


def _lead(talk: Talk[T], link: Any) -> T:
    try:
        step = next(talk)
        while True:
            step = talk.send(step(link))
    except StopIteration as done:
        return cast("T", done.value)


async def _alead(talk: Talk[T], link: Any) -> T:
    try:
        step = next(talk)
        while True:
            step = talk.send(await step(link))
    except StopIteration as done:
        return cast("T", done.value)


# --- and do what they do with one of four links


class _Server:
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

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def check_timeout(self) -> None:
        _check_timeout(self._client.connection_pool)

    def close(self) -> None:
        if self._owned:
            self._client.close()


class _Cluster:
    """A Cluster. The way is found by redis-py, with a read that it may repeat."""

    def __init__(self, client: Any, *, owned: bool, patience: float) -> None:
        self._client = client
        self._owned = owned
        self._patience = patience
        self._is_lost = False
        self._strangers: dict[tuple[str, int], Any] = {}  # a slot goes to them, they have none yet

    def send(
        self, key: bytes, commands: Sequence[Command], where: tuple[str, int] | None
    ) -> list[Any]:
        if self._is_lost:
            self.find(key)
        asking = () if where is None else ((b"ASKING",),)
        try:
            pool = self._pool(key, where)
            return _exchange(pool, (*asking, *commands), self._patience)[len(asking) :]
        except _FAULTS:
            self._is_lost = True
            raise

    def _pool(self, key: bytes, where: tuple[str, int] | None) -> Any:
        if where is None:
            node = self._client.get_node_from_key(key)
        else:
            node = self._client.get_node(*where)
            if node is None:
                node = self._strangers.setdefault(where, ClusterNode(*where))
        return self._client.get_redis_connection(node).connection_pool

    def groups(self, logs: Mapping[str, bytes]) -> list[list[str]]:
        return _grouped(logs, self._client.get_node_from_key)

    def find(self, key: bytes) -> None:
        self._client.execute_command("EXISTS", key)
        self._is_lost = False

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def check_timeout(self) -> None:
        _check_timeout(self._pool(b"", None))

    def close(self) -> None:
        for node in self._strangers.values():
            node.redis_connection.close()
        self._strangers.clear()
        if self._owned:
            self._client.close()


class _AsyncServer:
    """`_Server`, awaited."""

    def __init__(self, client: Any, *, owned: bool) -> None:
        self._client = client
        self._owned = owned

    async def send(self, _: bytes, commands: Sequence[Command], __: Any) -> list[Any]:
        pool = self._client.connection_pool
        connection = await pool.get_connection()
        is_done = False
        try:
            await connection.send_packed_command(_packet(connection, commands))
            replies = []
            for _command in commands:
                try:
                    replies.append(await connection.read_response(disable_decoding=True))
                except ResponseError as error:
                    replies.append(error)
            is_done = True
        finally:
            if not is_done:
                await connection.disconnect(nowait=True)
            await pool.release(connection)
        return replies

    async def groups(self, logs: Mapping[str, bytes]) -> list[list[str]]:
        return [list(logs)]

    async def find(self, key: bytes) -> None:
        """Do nothing: there is one place."""

    async def pause(self, seconds: float) -> None:
        await _sleep(seconds)

    async def close(self) -> None:
        if self._owned:
            await self._client.aclose(close_connection_pool=True)


class _AsyncCluster:
    """`_Cluster`, awaited."""

    def __init__(self, client: Any, *, owned: bool) -> None:
        self._client = client
        self._owned = owned
        self._is_lost = False
        self._strangers: dict[tuple[str, int], Any] = {}

    async def send(
        self, key: bytes, commands: Sequence[Command], where: tuple[str, int] | None
    ) -> list[Any]:
        if self._is_lost:
            await self.find(key)
        asking = () if where is None else ((b"ASKING",),)
        raw = {NEVER_DECODE: True}
        sent = [PipelineCommand(0, *one, **raw) for one in (*asking, *commands)]
        try:
            await self._client.initialize()
            await self._node(key, where).execute_pipeline(sent)
            for one in sent:
                if isinstance(one.result, Exception) and not isinstance(one.result, ResponseError):
                    raise one.result
        except BaseException:
            self._is_lost = True
            raise
        return [one.result for one in sent[len(asking) :]]

    def _node(self, key: bytes, where: tuple[str, int] | None) -> Any:
        if where is None:
            return self._client.get_node_from_key(key)
        node = self._client.get_node(*where)
        if node is None:
            given = self._client.get_connection_kwargs()
            node = self._strangers.setdefault(where, AsyncClusterNode(*where, **given))
        return node

    async def groups(self, logs: Mapping[str, bytes]) -> list[list[str]]:
        await self._client.initialize()
        return _grouped(logs, self._client.get_node_from_key)

    async def find(self, key: bytes) -> None:
        await self._client.execute_command("EXISTS", key)
        self._is_lost = False

    async def pause(self, seconds: float) -> None:
        await _sleep(seconds)

    async def close(self) -> None:
        for node in self._strangers.values():
            await node.disconnect()
        self._strangers.clear()
        if self._owned:
            await self._client.aclose()


async def _sleep(seconds: float) -> None:
    from asyncio import sleep

    await sleep(seconds)


def _packet(connection: Any, commands: Sequence[Command]) -> Any:
    if len(commands) == 1:
        return connection.pack_command(*commands[0])
    return connection.pack_commands(commands)


def _exchange(pool: Any, commands: Sequence[Command], patience: float) -> list[Any]:
    """Send commands and read their answers: each once, on a connection that was found alive."""
    begun = time.monotonic()
    connection = pool.get_connection()
    is_done = False
    try:
        if time.monotonic() - begun > patience:
            raise redis.TimeoutError("to connect took too long")
        connection.send_packed_command(_packet(connection, commands))
        replies = []
        for _ in commands:
            try:
                replies.append(connection.read_response(disable_decoding=True))
            except ResponseError as error:
                replies.append(error)
        is_done = True
    finally:
        if not is_done:
            connection.disconnect()
        pool.release(connection)
    return replies


def _grouped(logs: Mapping[str, bytes], node_of: Callable[[bytes], Any]) -> list[list[str]]:
    found: dict[str, list[str]] = {}
    for letter, log in logs.items():
        found.setdefault(node_of(log).name, []).append(letter)
    return list(found.values())


# --- addresses


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

    def client(self) -> Any:
        """Return a client that waits."""
        from redis.sentinel import Sentinel

        if self._kind == "cluster":
            return redis.RedisCluster(
                startup_nodes=[ClusterNode(*one) for one in self._hosts],
                retry=Retry(NoBackoff(), 1),
                dynamic_startup_nodes=False,
                max_connections=self._pool_max,
                **self._settings,
            )
        given = {**self._settings, "retry": Retry(NoBackoff(), 0)}
        if self._kind == "sentinel":
            few = {**self._sentinel, "retry": Retry(NoBackoff(), 0)}
            sentinel = Sentinel(self._hosts, sentinel_kwargs=few, **given)
            return sentinel.master_for(self._service, max_connections=self._pool_max)
        ((host, port),) = self._hosts
        kind = redis.SSLConnection if given.pop("ssl", False) else redis.Connection
        pool = redis.BlockingConnectionPool(
            connection_class=kind,
            host=host,
            port=port,
            max_connections=self._pool_max,
            timeout=self._wait,
            **given,
        )
        return redis.Redis.from_pool(pool)

    def async_client(self) -> Any:
        """Return a client that is awaited."""
        from redis.asyncio.retry import Retry as AsyncRetry
        from redis.asyncio.sentinel import Sentinel

        if self._kind == "cluster":
            return redis.asyncio.RedisCluster(
                startup_nodes=[AsyncClusterNode(*one) for one in self._hosts],
                retry=AsyncRetry(NoBackoff(), 1),
                dynamic_startup_nodes=False,
                max_connections=self._pool_max,
                **self._settings,
            )
        given = {**self._settings, "retry": AsyncRetry(NoBackoff(), 0)}
        if self._kind == "sentinel":
            few = {**self._sentinel, "retry": AsyncRetry(NoBackoff(), 0)}
            sentinel = Sentinel(self._hosts, sentinel_kwargs=few, **given)
            return sentinel.master_for(self._service, max_connections=self._pool_max)
        ((host, port),) = self._hosts
        is_tls = given.pop("ssl", False)
        kind = redis.asyncio.SSLConnection if is_tls else redis.asyncio.Connection
        pool = redis.asyncio.BlockingConnectionPool(
            connection_class=kind,
            host=host,
            port=port,
            max_connections=self._pool_max,
            timeout=self._wait,
            **given,
        )
        return redis.asyncio.Redis.from_pool(pool)


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
    "serve": lambda text: {"true": True, "false": False}[text],
    "pool_max": int,
}
_SENTINELS_OPTIONS: Final = ("sentinel_username", "sentinel_password")
_TLS_OPTIONS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_password")


def parse_url(url: str) -> tuple[Address, dict[str, Any]]:
    """Return the address that a URL gives, and the store's own options.

    `redis://host`, `redis+sentinel://host,host/service`, `redis+cluster://host,host`; `rediss` for
    TLS. Options: `prefix`, `timeout`, `serve`, `wait_replicas`, `wait_timeout` (see `RedisStore`),
    `pool_max` (connections to one server), `client_name`; with TLS `ssl_ca_certs`, `ssl_certfile`,
    `ssl_keyfile`, `ssl_password`; with Sentinel `sentinel_username`, `sentinel_password`.

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
    except (KeyError, ValueError):
        raise _wrong("an option can't be read", "?prefix=jwt&timeout=2.5&serve=false") from None
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


# --- what the server says

_REMEDIES: Final = {
    "AuthenticationError": "is the password right? In a URL %40 stands for an @, and so on",
    "MasterNotFoundError": "no Sentinel that answers knows a primary of this name",
    "ReadOnlyError": "this is a replica: give the primary's address, or Sentinel's",
    "OutOfMemoryError": "give it more memory: nothing can be written",
    "MISCONF": "it can't write to its disk: its log says why",
    "NOREPLICAS": "fewer replicas are connected than its min-replicas-to-write",
    "BusyLoadingError": "it is still reading its data: start again in a moment",
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
    if isinstance(info, NoPermissionError):
        return  # it needn't be allowed
    if isinstance(info, Exception):
        raise info
    found = dict(line.partition(b":")[::2] for line in info.splitlines())
    limit, policy = found.get(b"maxmemory", b"0"), found.get(b"maxmemory_policy", b"")
    if limit != b"0" and policy != b"noeviction":
        raise _wrong(
            "its maxmemory-policy lets it forget logins, and who has logged out, when it is full",
            "maxmemory-policy noeviction; give caches a server of their own",
        )


def _check_timeout(pool: Any) -> None:
    connection = pool.get_connection()
    seconds = connection.socket_timeout
    pool.release(connection)
    if not seconds or seconds >= 10:
        raise _wrong("the client waits for ever, or nearly so", "socket_timeout=2.5")


def _kind(error: Exception) -> str:
    """Return the server's word, or the error's name. Never the message: it could quote a value."""
    # A script's error has the word within: "ERR Error running script ...: -OOM command ...".
    match = re.match(r"(?:.*: -)?([A-Z]{3,})\b", str(error))
    if type(error) is ResponseError and match:
        return match[1]
    return type(error).__name__


# --- rows


def _ms(seconds: float) -> int:
    return round(1000 * seconds)


def _sized(text: str | None) -> bytes:
    if text is None:
        return b"\0\0\0"
    octets = text.encode()
    return (len(octets) + 1).to_bytes(3, "big") + octets


def _packed(grant: Grant) -> bytes:
    times = grant.generation, _ms(grant.rotated_at), _ms(grant.created_at), _ms(grant.expires_at), 0
    whose = [grant.subject, grant.client_id, grant.scope]
    if grant.bound_key is not None:
        whose.append(grant.bound_key)
    claims = _json(grant.claims) if grant.claims else b""
    head = b"".join(one.to_bytes(6, "big") for one in times)
    return b"%b%b%b\n%b" % (head, _sized(grant.parent), _json(whose), claims)


def _json(value: Any) -> bytes:
    return dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _grant(grant_id: str, octets: bytes, start: int = 0) -> Grant:
    try:
        a, generation, b, rotated, c, created, d, expires, e, ended, f, length = HEAD.unpack_from(
            octets, start
        )
        start += HEAD.size
        size = (f << 16) + length
        end = start + size - 1 if size else start
        whose, claims, *reason = octets[end:].split(b"\n", 2)
        subject, client_id, scope, *key = loads(whose)
        return Grant(
            id=grant_id,
            subject=subject,
            client_id=client_id,
            scope=scope,
            claims=parse_object(claims) if claims else _NOTHING,
            bound_key=key[0] if key else None,
            generation=(a << 32) + generation,
            parent=octets[start:end].decode() if size else None,
            rotated_at=((b << 32) + rotated) / 1000,
            created_at=((c << 32) + created) / 1000,
            expires_at=((d << 32) + expires) / 1000,
            ended_at=((e << 32) + ended) / 1000 if reason else None,
            end_reason=reason[0].decode() if reason else None,
        )
    except (ValueError, struct.error):
        raise StoreUnavailable("a damaged row") from None


def _texts(found: Iterable[bytes]) -> tuple[str, ...]:
    return tuple([one.decode() for one in found])


def _pairs(flat: Sequence[Any]) -> Iterable[tuple[Any, Any]]:
    return zip(flat[::2], flat[1::2], strict=True)


_NOTHING: Final = FrozenDict()
_NOTHING_ADVANCED: Final = Advanced(False, None)
