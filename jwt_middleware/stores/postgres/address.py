"""Turn an address of PostgreSQL into the driver's arguments. Errors never quote the address."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ..store_options import wrong_store


def postgres_address(url: str) -> tuple[str, dict[str, Any]]:
    """Split `postgresql://...` into libpq's part and our own options.

    Raises:
        ConfigurationError: for an unknown option, and for an unreadable address. The error never
            quotes the address, which may hold a password.

    """
    address, _, query = url.partition("?")
    options: dict[str, Any] = {}
    theirs = []
    known = {one.keyword.decode() for one in psycopg.pq.Conninfo.get_defaults()}
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        if name not in _OUR_OPTIONS:
            if name not in known:
                shown = repr(name) if name.isidentifier() else "what is given"
                raise wrong_store(
                    f"has no option {shown}",
                    f"there are {', '.join(_OUR_OPTIONS)}, and those of libpq",
                )
            theirs.append(pair)
            continue
        if name in options:
            raise wrong_store(f"gives {name} twice", "give it once")
        try:
            options[name] = _OUR_OPTIONS[name](unquote(value))
        except ValueError:
            raise wrong_store(f"{name} can't be read", "?timeout=2.5&pool_max=20") from None
    return f"{address}?{'&'.join(theirs)}" if theirs else address, options


_OUR_OPTIONS: dict[str, Callable[[str], Any]] = {
    "schema": str,
    "pool_min": int,
    "pool_max": int,
    "feed_idle": float,
    "timeout": float,
    "synchronous_commit": str.lower,
}


def conninfo(address: str, timeout: float) -> str:
    """Return an address for libpq, with a time limit added for each step that could hang."""
    try:
        given = conninfo_to_dict(address)
        # libpq checks the port only when it connects, and quotes it in its error. The port may be
        # part of a password that holds a colon without its escape.
        tuple(int(one or 0) for one in str(given.get("port", "")).split(","))
    except (psycopg.Error, ValueError):
        raise wrong_store(
            "its address can't be read",
            "postgresql://user@host:5432/database; in a password, %40 is @, and so on",
        ) from None
    hosts = str(given.get("host", "")).count(",") + 1
    ours: dict[str, Any] = {
        "application_name": "jwt_middleware",
        "client_encoding": "utf8",
        # Seconds for each host; libpq takes no less than 2.
        "connect_timeout": math.ceil(max(timeout / hosts, 2)),
        # How soon a host that has disappeared is noticed: seconds; the last is in ms.
        "keepalives_idle": 10,
        "keepalives_interval": 3,
        "keepalives_count": 3,
        "tcp_user_timeout": math.ceil(timeout * 1000),
        **({"target_session_attrs": "read-write"} if hosts > 1 else {}),
    }
    return make_conninfo("", **{**ours, **given})
