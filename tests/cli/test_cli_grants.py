"""`jwt-middleware grants`: what an operator sees and ends, on a real file."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jwt_middleware import Refresh, Settings, StoreUnavailable
from jwt_middleware.cli import grants as command
from jwt_middleware.cli.__main__ import main
from jwt_middleware.grant.issuing import former_mark
from jwt_middleware.stores.memory import MemoryStore
from jwt_middleware.stores.postgres.rights import rights_sql
from jwt_middleware.stores.postgres.schema import schema_sql
from jwt_middleware.stores.postgres.schema_levels import SCHEMA_LEVELS
from jwt_middleware.stores.sqlite import SQLiteStore
from jwt_middleware.testing import TokenFactory
from jwt_middleware.values.tokens import FrozenDict, Grant
from tests.stores import new_grant

FACTORY = TokenFactory()
CLAIMS = FrozenDict(roles=("editor",))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SQLiteStore]:
    url = f"sqlite:///{tmp_path}/grants.db?synchronous=NORMAL"
    monkeypatch.setenv("JWT_MIDDLEWARE_REFRESH__STORE", url)
    store = SQLiteStore.from_url(url, clock=time.time, retention=700)
    yield store
    store.close()


def added(store: SQLiteStore, ago: float = 0, **fields: Any) -> Grant:
    grant = new_grant(time.time() - ago, **fields)
    store.add(grant, 100)
    return grant


def living(store: SQLiteStore, *grants: Grant) -> list[bool]:
    rows = [store.advance(one.id, 1, 1, None).grant for one in grants]
    return [row is not None and row.ended_at is None for row in rows]


Capture = pytest.CaptureFixture[str]


def test_list_shows_who_is_logged_in(store: SQLiteStore, capsys: Capture) -> None:
    alice, bob = added(store, 60), added(store, subject="bob", scope="")
    gone = added(store)
    store.end(gone.id, "logout")
    assert main(["grants", "list"]) == 0
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    assert first.startswith(f"{alice.id}  alice  web  begun 2")
    assert first.endswith("  scope read write")
    assert second.startswith(f"{bob.id}  bob  web  begun ")
    assert "scope" not in second
    assert err == "2 living grants\n"


def test_list_shows_one_subjects_the_newest_first(store: SQLiteStore, capsys: Capture) -> None:
    old, new = added(store, 60), added(store)
    added(store, subject="bob")
    assert main(["grants", "list", "--subject", "alice"]) == 0
    out = capsys.readouterr().out
    assert [line.partition(" ")[0] for line in out.splitlines()] == [new.id, old.id]


def test_list_goes_through_all_pages(
    store: SQLiteStore, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "GRANTS_A_PAGE", 3)
    made = {added(store, subject=f"user {number}").id for number in range(9)}
    assert main(["grants", "list"]) == 0
    out = capsys.readouterr().out
    assert {line.partition(" ")[0] for line in out.splitlines()} == made


def test_list_as_json_has_every_field(store: SQLiteStore, capsys: Capture) -> None:
    grant = added(store, claims=CLAIMS)
    assert main(["grants", "list", "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert set(found) == set(Grant.__dataclass_fields__)
    assert (found["id"], found["claims"]) == (grant.id, {"roles": ["editor"]})
    assert err == ""


def test_a_subject_can_not_command_the_terminal(store: SQLiteStore, capsys: Capture) -> None:
    added(store, subject="\x1b[2J")
    assert main(["grants", "list"]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_a_reader_that_has_seen_enough_is_no_error(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    added(store)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert main(["grants", "list"]) == 0


def test_end_ends_what_is_named(store: SQLiteStore, capsys: Capture) -> None:
    one, two, other = added(store), added(store), added(store)
    assert main(["grants", "end", one.id, two.id, "nobody's"]) == 0
    assert capsys.readouterr().out == "Ended 2 grants.\n"
    assert living(store, one, two, other) == [False, False, True]
    row = store.advance(one.id, 1, 1, None).grant
    assert row is not None
    assert row.end_reason == "operator"


def test_end_ends_all_of_a_subject(store: SQLiteStore, capsys: Capture) -> None:
    one, two, other = added(store), added(store), added(store, subject="bob")
    assert main(["grants", "end", "--subject", "alice"]) == 0
    assert capsys.readouterr().out == "Ended 2 grants.\n"
    assert living(store, one, two, other) == [False, False, True]
    # The tokens of a former library that haven't come yet are over, too.
    assert not store.admit(former_mark("alice"), -1.0)
    assert store.admit(former_mark("bob"), -1.0)


def begun(store: SQLiteStore, moment: float, **fields: Any) -> Grant:
    """Add a grant that began at a time: the store stamps its own."""
    grant = added(store, **fields)
    store._write(
        lambda db: db.execute("UPDATE grants SET created_at = ? WHERE id = ?", (moment, grant.id))
    )
    return grant


@pytest.mark.parametrize("when", ["2026-01-01T00:00Z", "2026-01-01T01:00+01:00"])
def test_end_ends_all_that_began_before(store: SQLiteStore, capsys: Capture, when: str) -> None:
    moment = 1_767_225_600.0
    old = [begun(store, moment - number) for number in range(1, 6)]
    new = begun(store, moment)
    assert main(["grants", "end", "--all-before", when]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Ended all grants that began before 2026-01-01T00:00:00+00:00, by one")
    assert out.endswith(
        "within `leeway` + 60 s of that time, services ask the store for each one's grant.\n"
    )
    assert living(store, *old, new) == [False] * 5 + [True]
    assert main(["grants", "list"]) == 0
    assert capsys.readouterr().err == "1 living grants\n"


def test_end_ends_all_that_live_now(store: SQLiteStore) -> None:
    old = [begun(store, time.time() - 1), begun(store, 0.0)]
    assert main(["grants", "end", "--all-before", "now"]) == 0
    assert living(store, *old, added(store)) == [False, False, True]


def test_an_end_of_what_will_begin_is_refused(store: SQLiteStore, capsys: Capture) -> None:
    one = added(store)
    assert main(["grants", "end", "--all-before", "2999-01-01T00:00Z"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "2999-01-01T00:00:00+00:00 is later than the store's now (here it is 2" in err
    assert living(store, one) == [True]


def test_long_work_tells_how_far_it_is(
    store: SQLiteStore, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [500, 500, 200, 0]
    monkeypatch.setattr(SQLiteStore, "purge", lambda *_: answers.pop(0))
    times = iter(range(1000))
    monkeypatch.setattr(time, "monotonic", lambda: next(times) * 0.7)
    assert main(["grants", "purge"]) == 0
    out, err = capsys.readouterr()
    assert out == "Forgot 1,200 rows that were over.\n"
    lines = err.splitlines()[-1:]
    assert lines == ["forgot 1,000 rows so far"]


def test_purge_believes_the_clock_that_the_operator_has_looked_at(
    store: SQLiteStore, capsys: Capture
) -> None:
    added(store, expires_at=time.time() - 40 * 86400)
    added(store, expires_at=time.time() - 86400)
    assert store.purge(time.time()) == 1, "it takes a month's leap for a fault"
    assert main(["grants", "purge"]) == 0
    assert capsys.readouterr().out == "Forgot 1 rows that were over.\n"


def test_backup_and_restore(store: SQLiteStore, capsys: Capture, tmp_path: Path) -> None:
    one, other = added(store), added(store)
    target = tmp_path / "copy.db"
    assert main(["grants", "backup", str(target)]) == 0
    assert capsys.readouterr() == (f"Wrote {target}, {target.stat().st_size:,} octets.\n", "")
    store.end(one.id, "logout")
    assert main(["grants", "restore", str(target)]) == 0
    out, err = capsys.readouterr()
    assert out == f"Restored {target}. Processes that run go on with it.\n"
    assert "is logged in again" in err
    assert "jwt-middleware grants end --all-before now" in err
    assert living(store, one, other) == [True, True]


def test_purge_forgets_what_is_over(store: SQLiteStore, capsys: Capture) -> None:
    over = [added(store, 2000, subject=f"user {number}") for number in range(3)]
    alive = added(store)
    assert main(["grants", "purge"]) == 0
    assert capsys.readouterr().out == "Forgot 3 rows that were over.\n"
    assert [store.advance(one.id, 1, 1, None).grant for one in over] == [None] * 3
    assert living(store, alive) == [True]


def test_the_address_may_stand_in_a_file_or_on_the_line(
    store: SQLiteStore, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added(store)
    url = os.environ["JWT_MIDDLEWARE_REFRESH__STORE"]
    monkeypatch.delenv("JWT_MIDDLEWARE_REFRESH__STORE")
    assert main(["grants", "list", "--store", url]) == 0
    (tmp_path / "url").write_text(url + "\n")
    monkeypatch.setenv("JWT_MIDDLEWARE_REFRESH__STORE_FILE", str(tmp_path / "url"))
    assert main(["grants", "list"]) == 0
    monkeypatch.setenv("SHOP_REFRESH__STORE", url)
    assert main(["grants", "list", "--prefix", "SHOP_"]) == 0
    assert capsys.readouterr().err == "1 living grants\n" * 3


def test_the_store_is_that_of_the_applications_settings(
    store: SQLiteStore, capsys: Capture, tmp_path: Path
) -> None:
    added(store)
    FACTORY.keys.save(tmp_path / "keys.json")
    (tmp_path / "app.toml").write_text(
        f"""
        [jwt_middleware]
        issuer = "https://login.example"
        audience = "api"
        keys = "keys.json"
        refresh.store = "sqlite:///{tmp_path}/grants.db"
        """
    )
    assert main(["grants", "end", "--subject", "alice", "--toml", str(tmp_path / "app.toml")]) == 0
    assert capsys.readouterr().out == "Ended 1 grants.\n"


def only_verifies() -> Settings:
    return FACTORY.settings()


def own_store() -> Settings:
    return FACTORY.settings(refresh=Refresh(store=MemoryStore(clock=time.time, retention=700)))


@pytest.mark.parametrize(
    ("arguments", "sql"),
    [
        ("", schema_sql()),
        ("--schema shop", schema_sql("shop")),
        (f"--since {len(SCHEMA_LEVELS)}", schema_sql(since=len(SCHEMA_LEVELS))),
        ("--rights app", schema_sql() + rights_sql("app")),
        (
            "--schema shop --rights r --hears-only",
            schema_sql("shop") + rights_sql("r", "shop", serve=False),
        ),
    ],
)
def test_schema_prints_the_sql(arguments: str, sql: str, capsys: Capture) -> None:
    assert main(["grants", "schema", *arguments.split()]) == 0
    assert capsys.readouterr() == (sql, "")


def test_schema_needs_no_driver(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert main(["grants", "schema"]) == 0
    assert "CREATE TABLE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            "list",
            "--toml FILE, --settings MODULE:NAME, or JWT_MIDDLEWARE_REFRESH__STORE",
        ),
        (
            "list --settings tests.cli.test_cli_grants:only_verifies",
            "has no `refresh`, and so no store",
        ),
        ("list --settings tests.cli.test_cli_grants:own_store", "has a store without URL"),
        ("list --store memory://", "memory:// is a process's own"),
        ("list --store oracle://", "no store has the scheme 'oracle'"),
        ("list --store sqlite:////nowhere/grants.db", "/nowhere/grants.db can't be used"),
        ("end --store sqlite:///grants.db", "one of the arguments"),
        ("end --all-before yesterday", "'yesterday' is no time like 2027-01-31T04:00Z"),
        ("end --all-before 2027-01-31T04:00", "names no zone; with a Z behind it is UTC"),
        ("backup --store postgresql://db/app x", "back PostgreSQL up with pg_dump"),
        ("restore --store rediss+sentinel://a x", "RDB (BGSAVE) and the append-only file"),
        ("backup --store sqlite:////nowhere/grants.db x/y", "x/y: No such file or directory"),
        ("restore --store sqlite:////nowhere/grants.db x/y", "x/y is no backup"),
        ("restore --store sqlite:///grants.db", "FILE"),
        ("backup --store memory:// x", "memory:// is a process's own"),
        ("schema --schema Shop", "schema must be a name of a-z, 0-9 and _"),
        ("schema --since 99", "--since: invalid choice: 99"),
        ("schema --hears-only", "--rights ROLE says whose"),
        ("schema --store sqlite:///grants.db", "--store"),
        ("", "COMMAND"),
    ],
)
def test_what_goes_wrong_is_one_line_and_exit_2(
    arguments: str, says: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JWT_MIDDLEWARE_REFRESH__STORE", raising=False)
    assert main(["grants", *arguments.split()]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert says in err


def test_a_file_that_is_not_there_is_named(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JWT_MIDDLEWARE_REFRESH__STORE_FILE", "/nowhere/url")
    assert main(["grants", "list"]) == 2
    assert "/nowhere/url: No such file" in capsys.readouterr().err


def test_a_store_that_fails_meanwhile_is_told(
    store: SQLiteStore, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreUnavailable("disk I/O error")

    monkeypatch.setattr(SQLiteStore, "end", fail)
    assert main(["grants", "end", "x"]) == 2
    assert "doesn't answer: disk I/O error; to run it again is safe" in capsys.readouterr().err
