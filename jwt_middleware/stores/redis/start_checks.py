"""What a Redis store checks when it starts: the server, its memory, and the user's rights."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from itertools import count
from typing import Any, Final

from redis import exceptions as errors

from ...values.bare_grants import bare_grant
from ...values.errors import ConfigurationError, StoreUnavailable
from ...values.flows import Flow
from ..contract import SHARDS, new_grant_id, shard
from ..store_options import check_engine_version, wrong_store
from . import server_facts
from .commands import FORMER_OVERLAP
from .verbs import RedisVerbs

OLDEST_REDIS: Final = (6, 2)

# The rights that the verbs need, for `ACL SETUSER`; <prefix> is the store's. A service that only
# only reads (serve=False) needs no right to run a script or to change anything: it reads the log of
# ends, the mark of a mass end, and the row of a grant whose token it has been shown.
RIGHTS_TO_SERVE: Final = (
    "~{<prefix>?:}* ~<prefix>:k:* +evalsha +eval +get +set +del +exists +time +info "
    "+zadd +zrangebyscore +zrevrange +zremrangebyscore +pexpire +wait"
)
RIGHTS_TO_HEAR: Final = (
    "~{<prefix>?:}e ~{<prefix>?:}t ~{<prefix>?:}g* "
    "+time +info +get +zrangebyscore +zrevrange +exists"
)
RIGHTS_IN_A_CLUSTER: Final = "+cluster|slots +command"


def check_all(verbs: RedisVerbs) -> Flow[None]:
    """Check every node, and call each verb once with a grant made for this test.

    Raises ConfigurationError, and what the verbs raise: `refused` turns that into a remedy.
    """
    link = verbs.link()
    for letters in (yield from link.groups(verbs.logs)):
        log = verbs.logs[letters[0]]
        (hello,) = yield from verbs.follow(log, (b"HELLO",))
        if not isinstance(hello, dict):  # RESP2 has no maps, only lists
            hello = dict(zip(hello[::2], hello[1::2], strict=True))
        _check_server(hello)
        if verbs.serve:
            (memory,) = yield from link.send(log, (server_facts.MEMORY,))
            _check_memory(memory)
            for letter in letters if len(letters) < len(SHARDS) else letters[:1]:
                yield from _try_verbs(verbs, letter)
    yield from verbs.ended(None, FORMER_OVERLAP)
    yield from verbs.is_living(new_grant_id("jwt-middleware check"))


def _try_verbs(verbs: RedisVerbs, letter: str) -> Flow[None]:
    subjects = (f"jwt-middleware check {number}" for number in count())
    subject = next(one for one in subjects if shard(one) == letter)
    now = (yield from verbs.time(letter)) / 1000
    # It expires by itself, without a purge.
    grant = bare_grant(new_grant_id(subject), subject, now=now, expires_at=now + 1)
    yield from verbs.add(grant, 1)
    yield from verbs.advance(grant.id, 1, 2, None)
    yield from verbs.use(grant.id)
    yield from verbs.grants(subject)
    yield from verbs.end(grant.id, "check")
    yield from verbs.end_subject(subject, "check")
    yield from verbs.admit(grant.id, now + 1)


def _check_server(hello: Mapping[bytes, Any]) -> None:
    if hello.get(b"server") == b"fakeredis":
        raise wrong_store(
            "this is fakeredis, whose scripts lack struct and cmsgpack",
            "memory:// for tests, or a real server",
        )
    version = tuple(map(int, re.findall(rb"[0-9]+", hello[b"version"])[:2]))
    check_engine_version("Redis", version, OLDEST_REDIS, "update it")
    if hello[b"mode"] == b"sentinel":
        raise wrong_store("this is a Sentinel", "redis+sentinel://host:26379/mymaster")
    if hello[b"role"] != b"master":
        raise wrong_store("this is a replica", "give the primary's address, or Sentinel's")


def _check_memory(info: bytes | Exception) -> None:
    if isinstance(info, errors.NoPermissionError):
        return  # the user needn't have this right
    if isinstance(info, Exception):
        raise info
    if server_facts.may_forget(info):
        raise wrong_store(
            "its maxmemory-policy lets it forget logins, and who has logged out, when it is full",
            "maxmemory-policy noeviction; give caches a server of their own",
        )


_OTHER_HOST: Final = "a certificate of another host"


def _tls_kind(error: BaseException | None) -> str | None:
    """Return what is wrong with a certificate or its file; redis-py says ConnectionError only."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            # OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH.
            is_other = getattr(error, "verify_code", None) in (62, 64)
            return _OTHER_HOST if is_other else type(error).__name__
        if isinstance(error, FileNotFoundError | PermissionError):
            return type(error).__name__
        error = error.__cause__ or error.__context__
    return None


_NO_RIGHT: Final = re.compile("ACL failure in script|user executing the script|-NOPERM")


# What redis-py calls an error of this code where a script before Redis 7 isn't in between.
_NAMES: Final = {"OOM": "OutOfMemoryError", "READONLY": "ReadOnlyError"}


def kind_of(error: Exception) -> str:
    """Return the server's error code, or the error's class; no message: it may quote a value."""
    if isinstance(error, StoreUnavailable):
        return error.detail
    if (kind := _tls_kind(error)) is not None:
        return kind
    if type(error) is errors.ResponseError:
        # From a script before Redis 7: "ERR Error running script ...: -OOM command not allowed
        # ...".
        text = str(error)
        if _NO_RIGHT.search(text):
            return "NoPermissionError"
        if match := re.match(r"(?:ERR )?unknown command ['`]?([A-Za-z]+)", text):
            return f"no command {match[1].upper()}"
        if match := re.match(r"(?:.*: -)?([A-Z]{3,})\b", text):
            return _NAMES.get(match[1], match[1])
    return type(error).__name__


_TLS_REMEDY: Final = (
    "where it speaks TLS the address begins with rediss, and gives ssl_certfile and ssl_keyfile if "
    "it wants a certificate"
)
_REDIS_REMEDY: Final = f"is the address right, and the server up? W{_TLS_REMEDY[1:]}"
_PROXY_REMEDY: Final = (
    "a proxy such as twemproxy (nutcracker) lacks TIME, HELLO, INFO and WAIT, and may hang up for "
    "each: give the address of the server itself"
)
_NO_LUA_REMEDY: Final = (
    "it runs no scripts: in Valkey Lua is a module, which must be built and loaded, and no command "
    "may be renamed"
)
_FILES_OF_ADDRESS: Final = (
    "the files that the address names must be there, and this process may read them"
)
_REDIS_REMEDIES: Final = {
    "MovedError": "this is a Cluster: redis+cluster://host1:6379,host2:6379",
    "RedisClusterException": "are these nodes of a Cluster, and is one of them up?",
    "AuthenticationError": "is the password right? In a URL %40 stands for an @, and so on",
    # redis-py doesn't tell what each Sentinel said.
    "MasterNotFoundError": "no Sentinel that answers knows a primary of this name; by rediss one "
    "answers that has a certificate of the host, and of the CA in ssl_ca_certs",
    "ReadOnlyError": "this is a replica: give the primary's address, or Sentinel's",
    "OutOfMemoryError": "give it more memory: nothing can be written",
    "MISCONF": "it can't write to its disk: its log says why",
    "NOREPLICAS": "fewer replicas are connected than its min-replicas-to-write",
    "BusyLoadingError": "it is still reading its data: start again in a moment",
    "FileNotFoundError": _FILES_OF_ADDRESS,
    "PermissionError": _FILES_OF_ADDRESS,
    _OTHER_HOST: "the address must have a name that stands in the server's certificate",
    "SSLCertVerificationError": "name the CA of the server's certificate: "
    "rediss://host?ssl_ca_certs=/path/to/ca.pem",
    "SSLError": "ssl_ca_certs, ssl_certfile and ssl_keyfile must be PEM files that go together, "
    "and be given if the server wants a certificate; ssl_password opens the key",
}


def _has_hung_up(error: BaseException | None) -> bool:
    """Say whether a server was reached and closed the connection."""
    while error is not None:
        if isinstance(error, ConnectionResetError) or "closed by server" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def refused(verbs: RedisVerbs, error: Exception) -> ConfigurationError:
    """Return the error that says why a store can't be used, and the remedy."""
    kind = kind_of(error)
    remedy = _REDIS_REMEDIES.get(kind, _REDIS_REMEDY)
    if kind.startswith("no command"):
        remedy = _NO_LUA_REMEDY if "EVAL" in kind else _PROXY_REMEDY
    if kind == "ConnectionError" and _has_hung_up(error):
        kind, remedy = f"{kind}, it hangs up", f"{_TLS_REMEDY}; {_PROXY_REMEDY}"
    if kind == "NoPermissionError":
        rights = RIGHTS_TO_SERVE if verbs.serve else RIGHTS_TO_HEAR
        remedy = (
            f"ACL SETUSER <user> {rights.replace('<prefix>', verbs.prefix)}, and in a Cluster "
            f"{RIGHTS_IN_A_CLUSTER}"
        )
    return wrong_store(f"it can't be used: {kind}", remedy)
