"""`jwt-middleware grants` on PostgreSQL, Redis and Valkey."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from typing import Any

import pytest

from jwt_middleware.cli import grants as command
from jwt_middleware.cli.__main__ import main
from jwt_middleware.stores.opening import open_store
from jwt_middleware.values.tokens import FrozenDict, Grant
from tests.engines import redis
from tests.grant.test_scenarios_engines import ENGINES
from tests.stores import RETENTION, new_grant

park = redis.park


@pytest.fixture(
    params=[pytest.param(one, marks=pytest.mark.xdist_group(f"sites {one}")) for one in ENGINES]
)
def store(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Generator[Any, None, None]:
    where = ENGINES[request.param]
    if where is None:
        schema = request.getfixturevalue("schema")
        url = f"{request.getfixturevalue('postgres_url')}?schema={schema}"
    else:
        url = f"{request.getfixturevalue('park')(*where).url}?prefix=operated"
    monkeypatch.setenv("JWT_MIDDLEWARE_REFRESH__STORE", url)
    one = open_store(url, clock=time.time, retention=700).plain
    one.check()
    yield one
    one.close()


def added(store: Any, ago: float = 0, **fields: Any) -> Grant:
    now = time.time()
    grant = new_grant(now - ago, **{"expires_at": now + 900} | fields)
    store.add(grant, 100)
    return grant


def is_alive(store: Any, grant: Grant) -> bool:
    row = store.advance(grant.id, 1, 1, None).grant
    return row is not None and row.ended_at is None


def test_operators_see_and_end_what_lives(
    store: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "GRANTS_A_PAGE", 7)
    claims = FrozenDict(roles=("editor",))
    old = [added(store, subject=f"user {number}", claims=claims) for number in range(20)]
    time.sleep(1.1)  # the store stamps when a grant began, and the command is told whole seconds
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    young = [added(store, subject=f"user {number}", scope="") for number in range(20)]
    gone = added(store)
    store.end(gone.id, "logout")

    assert main(["grants", "list", "--json"]) == 0
    listed = {json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()}
    assert listed == {one.id for one in (*old, *young)}

    assert main(["grants", "end", "--all-before", when]) == 0
    assert capsys.readouterr().out.startswith("Ended all grants that began before 20")
    assert not any(is_alive(store, one) for one in old)
    assert all(is_alive(store, one) for one in young)
    assert store.ended(None, RETENTION).mark is not None
    assert main(["grants", "end", "--all-before", "2999-01-01T00:00Z"]) == 2
    assert "later than the store's now" in capsys.readouterr().err

    assert main(["grants", "end", "--subject", "user 3"]) == 0
    assert main(["grants", "end", young[4].id]) == 0
    assert main(["grants", "list"]) == 0
    assert capsys.readouterr().err == "18 living grants\n"
    assert main(["grants", "purge"]) == 0
