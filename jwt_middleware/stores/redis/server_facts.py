"""What a server says of itself in `INFO`, as far as a store must know it."""

from __future__ import annotations

import re
from typing import Final

from redis import exceptions as errors

REPLICATION: Final = b"INFO", b"replication"
MEMORY: Final = b"INFO", b"memory"
STATS: Final = b"INFO", b"stats"

_HISTORY: Final = re.compile(rb"^master_replid:(\w+)", re.MULTILINE)
_EVICTED: Final = re.compile(rb"^evicted_keys:(\d+)", re.MULTILINE)


def is_from_replica(reply: object) -> bool:
    """Say whether an answer, to `INFO replication` or to a write, is that of a replica."""
    if isinstance(reply, bytes):
        return reply.startswith(b"# Replication\r\nrole:slave")
    # From a script before Redis 7: "ERR Error running script ...: -READONLY ...".
    return isinstance(reply, errors.ResponseError) and (
        isinstance(reply, errors.ReadOnlyError) or "-READONLY " in str(reply)
    )


def history(replication: bytes) -> bytes:
    """Return the id of a server's history: another one after a failover, and after each start."""
    found = _HISTORY.search(replication)
    return found[1] if found else b""


def may_forget(memory: bytes) -> bool:
    """Say whether a server removes keys that haven't expired when its memory is full."""
    lines = memory.splitlines()
    return b"maxmemory:0" not in lines and b"maxmemory_policy:noeviction" not in lines


def evicted(stats: bytes) -> int:
    """Return how many keys a server has removed, since it was started, to have room."""
    found = _EVICTED.search(stats)
    return int(found[1]) if found else 0
