"""A mass end, and a process that starts among many ends: `python -m benchmarks.mass_end [--gate]`.

A million grants are put into each engine by its own means; then `end_before(None)` ends them all.
And beside a hundred thousand grants that each ended by itself a process begins: how long its first
request takes, and how long a reader needs for all pages. All are timed by the clock on the wall.
The servers and the file don't wait for the disk, which a write more would not show.
"""

from __future__ import annotations

import argparse
import io
import sqlite3
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from jwt_middleware import Issuer, KeySet, Refresh, Settings
from jwt_middleware.process.runtime import Runtime
from jwt_middleware.stores.postgres import PostgresStore
from jwt_middleware.stores.redis import RedisStore
from jwt_middleware.stores.redis.rows import packed
from jwt_middleware.stores.sqlite import SQLiteStore
from jwt_middleware.values.tokens import Grant
from jwt_middleware.wsgi import JWTMiddleware
from tests.engines import postgres, redis

from .grants import new_grant

GRANTS, ENDS = 1_000_000, 100_000
QUICK = (20_000, 20_000)
SECONDS = 1.0  # for a mass end, and for the first answer of a process
HORIZON = 670  # seconds
MANY = 1000  # commands in one pipeline of Redis
COLUMNS = "id, subject, client_id, scope, generation, rotated_at, created_at, expires_at"

Load = Callable[[Iterable[Grant]], None]
EndAll = Callable[[], None]


def values(one: Grant) -> list[Any]:
    return [getattr(one, name) for name in COLUMNS.split(", ")]


@contextmanager
def on_postgres() -> Generator[tuple[str, Load, EndAll]]:
    server = postgres.Server(synchronous_commit="off", max_wal_size="4GB")
    try:
        url = server.start().url()

        def load(grants: Iterable[Grant]) -> None:
            copy: Any = f"COPY jwt_middleware.grants ({COLUMNS}) FROM STDIN"
            with psycopg.connect(url) as db, db.cursor().copy(copy) as rows:
                for one in grants:
                    rows.write_row(values(one))
            server.ask("VACUUM ANALYZE jwt_middleware.grants")

        def end_all() -> None:  # each in a transaction of its own
            server.ask(
                "DO $$ DECLARE one text; BEGIN FOR one IN SELECT id FROM jwt_middleware.grants LOOP"
                " UPDATE jwt_middleware.grants SET"
                " ended_at = date_part('epoch', clock_timestamp()),"
                " end_reason = 'logout' WHERE id = one; COMMIT; END LOOP; END $$"
            )

        yield url, load, end_all
    finally:
        server.stop()


@contextmanager
def on_redis() -> Generator[tuple[str, Load, EndAll]]:
    with redis.Server("redis") as server, server.client() as client:
        store = RedisStore(client, retention=700)
        grant_ids: list[str] = []

        def load(grants: Iterable[Grant]) -> None:
            pipeline = client.pipeline(transaction=False)
            for number, one in enumerate(grants):
                grant_ids.append(one.id)
                pipeline.set(store._verbs.row(one.id), packed(one))
                if number % MANY == 0:
                    pipeline.execute()
            pipeline.execute()

        def end_all() -> None:
            for one in grant_ids:
                store.end(one, "logout")

        yield server.url, load, end_all
        store.close()


@contextmanager
def on_sqlite() -> Generator[tuple[str, Load, EndAll]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "grants.db")

        def change(sql: str, rows: Iterable[list[Any]] = ([],)) -> None:
            db = sqlite3.connect(path)
            with db:
                db.executemany(sql, rows)
            db.close()

        def load(grants: Iterable[Grant]) -> None:
            places = ", ".join("?" for _ in COLUMNS.split(", "))
            insert = f"INSERT INTO grants ({COLUMNS}) VALUES ({places})"
            change(insert, (values(one) for one in grants))

        def end_all() -> None:
            change(f"UPDATE grants SET ended_at = {time.time()}, end_reason = 'logout'")

        yield f"sqlite:///{path}?synchronous=NORMAL", load, end_all


ENGINES: dict[str, Callable[[], Any]] = {
    "PostgreSQL": on_postgres,
    "Redis": on_redis,
    "SQLite": on_sqlite,
}


def opened(url: str) -> PostgresStore | RedisStore | SQLiteStore:
    """Return another store of this address, as the command line has one."""
    settings = _settings(url, KeySet.generate())
    store: PostgresStore | RedisStore | SQLiteStore = Runtime.of(settings).store
    return store


def _settings(url: str, keys: KeySet) -> Settings:
    return Settings(
        issuer="https://login.example",
        audience="https://api.example",
        keys=keys,
        refresh=Refresh(store=url),
    )


def first_request(url: str, keys: KeySet, token: str) -> tuple[str, float]:
    """Return the answer to the first request of a middleware, and the seconds since it was made."""
    told: list[str] = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b""]

    def start_response(status: str, *_: Any) -> None:
        told.append(status)

    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/",
        "HTTP_AUTHORIZATION": f"Bearer {token}",
        "wsgi.input": io.BytesIO(),
    }
    begun = time.perf_counter()
    settings = _settings(url, keys)
    JWTMiddleware(application, settings)(environ, start_response)
    took = time.perf_counter() - begun
    settings.close()
    return told[0], took


def mass_end(engine: Any, count: int) -> list[tuple[str, float]]:
    """Return the seconds of a mass end, of a refused refresh after it, and of a login."""
    with engine() as (url, load, _):
        store = opened(url)
        store.check()
        last = new_grant()
        store.add(last, 100)
        load(new_grant() for _ in range(count - 1))
        time.sleep(0.01)  # so that each began before the mark
        begun = time.perf_counter()
        mark = store.end_before(None)
        took = time.perf_counter() - begun
        assert mark is not None
        begun = time.perf_counter()
        row = store.advance(last.id, 1, 2, None)
        after = time.perf_counter() - begun
        assert not row.advanced
        begun = time.perf_counter()
        store.add(new_grant(), 100)
        login = time.perf_counter() - begun
        store.close()
    return [
        (f"`end_before` on {count} grants", took),
        ("`advance` of one of them", after),
        ("`add`", login),
    ]


def start(engine: Any, count: int) -> list[tuple[str, float]]:
    """Return the seconds of the first request among many ends, and of a reader for all of them."""
    with engine() as (url, load, end_all):
        store = opened(url)
        store.check()
        load(new_grant() for _ in range(count))
        end_all()
        begun = time.perf_counter()
        found: set[str] = set()
        cursor, more, pages = None, True, 0
        while more:
            answer = store.ended(cursor, HORIZON)
            found.update(answer.grant_ids)
            cursor, more, pages = answer.cursor, answer.more, pages + 1
        took = time.perf_counter() - begun
        assert len(found) >= count, f"{len(found)} of {count} ends were read"
        store.close()
        keys = KeySet.generate()
        settings = _settings(url, keys)
        token = Issuer(settings).issue("alice", scope="read").access_token
        settings.close()
        status, answered = first_request(url, keys, token)
        assert status == "200 OK", status
    return [
        (f"first request of a process among {count} ends", answered),
        (f"all {pages} pages of them", took),
    ]


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description="a mass end, and a start among many ends")
    parser.add_argument("--quick", action="store_true", help="a look: 20,000 of each")
    parser.add_argument("--gate", action="store_true", help="exit with 1 where a limit is missed")
    parser.add_argument("--engine", choices=ENGINES, action="append")
    arguments = parser.parse_args()
    grants, ends = QUICK if arguments.quick else (GRANTS, ENDS)
    missed = 0
    for name in arguments.engine or ENGINES:
        for what, count in ((mass_end, grants), (start, ends)):
            for line, seconds in what(ENGINES[name], count):
                missed += seconds > SECONDS
                print(f"{name:11}{line:50}{seconds * 1000:10.1f} ms   <= {SECONDS} s", flush=True)
    return int(arguments.gate and missed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
