"""Sites before real engines: what makes their stores, and what makes these forget.

An engine has a clock of its own: it is shifted, so that it shows the time of the test's clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from jwt_middleware.stores.postgres import AsyncPostgresStore, PostgresStore
from jwt_middleware.stores.redis import AsyncRedisStore, RedisStore
from jwt_middleware.stores.redis.address import parse_redis_url
from jwt_middleware.stores.redis.rows import packed
from jwt_middleware.values.flows import run
from jwt_middleware.values.tokens import Grant
from tests.engines.postgres import fresh_schema
from tests.issuing import HOUR, Clock, Kind

_numbers = count()


def shifted(clock: Clock) -> Callable[[], float]:
    return lambda: clock.now - time.time()


class OnPostgres:
    """Makes a store in a schema of its own."""

    def __init__(self, kind: Any, url: str, schema: str) -> None:
        self.__name__ = kind.__name__
        self._kind = kind
        self._url = url
        self._schema = schema

    def __call__(self, clock: Clock, _: Path) -> Any:
        return self._kind(self._url, retention=HOUR, schema=self._schema, offset=shifted(clock))

    def put_back(self, grant: Grant) -> None:
        """Make it forget what happened to a grant since."""
        sql: Any = (
            f"UPDATE {self._schema}.grants SET generation = %s, parent = %s, "
            "rotated_at = %s, ended_at = NULL, end_reason = NULL WHERE id = %s"
        )
        with psycopg.connect(self._url, autocommit=True) as db:
            db.execute(sql, (grant.generation, grant.parent, grant.rotated_at, grant.id))


class OnRedis:
    """Makes a store whose keys have a prefix of their own."""

    def __init__(self, kind: Any, url: str) -> None:
        self.__name__ = kind.__name__
        self._kind = kind
        self._url = url
        self._prefix = f"site{next(_numbers)}"

    def __call__(self, clock: Clock, _: Path) -> Any:
        return self._opened(self._kind, offset=shifted(clock))

    def _opened(self, kind: Any, **options: Any) -> Any:
        address, _ = parse_redis_url(self._url)
        client = address.async_client if kind is AsyncRedisStore else address.client
        return kind(client, retention=HOUR, prefix=self._prefix, **options)

    def put_back(self, grant: Grant) -> None:
        """Make it forget what happened to a grant since."""
        store = self._opened(RedisStore)
        key = store._verbs.row(grant.id)
        run(store._verbs.follow(key, (b"SET", key, packed(grant), b"KEEPTTL")))
        store.close()


@contextmanager
def on_postgres(url: str) -> Generator[tuple[Kind, Kind], None, None]:
    """Give both doors, each before a store of its own."""
    with ExitStack() as stack:
        first, second = (stack.enter_context(fresh_schema(url)) for _ in range(2))
        yield (
            ("wsgi", OnPostgres(PostgresStore, url, first)),
            ("asgi", OnPostgres(AsyncPostgresStore, url, second)),
        )


@contextmanager
def on_redis(url: str) -> Generator[tuple[Kind, Kind], None, None]:
    """Give both doors, each before a store of its own."""
    yield ("wsgi", OnRedis(RedisStore, url)), ("asgi", OnRedis(AsyncRedisStore, url))
