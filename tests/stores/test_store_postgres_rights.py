"""With exactly the rights of the docs a service does its work, and with less it says so."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from jwt_middleware.cli.__main__ import main
from jwt_middleware.stores.postgres import schema as postgres_schema
from jwt_middleware.stores.postgres.rights import rights_sql
from jwt_middleware.stores.postgres.schema import schema_sql
from jwt_middleware.stores.postgres.schema_levels import SCHEMA_LEVELS
from jwt_middleware.values.errors import ConfigurationError, StoreUnavailable
from tests.engines.postgres import ask, postgres
from tests.processes import ROOT
from tests.stores import RETENTION, new_grant

ADDED = (".facts", "grants_more", ".ends", "add_grant_with")  # what level 3 brought


@pytest.fixture
def role(postgres_url: str, schema: str) -> Iterator[str]:
    name = f"role_{schema}"
    ask(postgres_url, f"CREATE ROLE {name} LOGIN PASSWORD '{name}'")
    yield name
    ask(postgres_url, f"DROP OWNED BY {name}")
    ask(postgres_url, f"DROP ROLE {name}")


@pytest.fixture
def its_url(postgres_url: str, role: str) -> str:
    return as_role(postgres_url, role)


def as_role(url: str, role: str) -> str:
    """Return the address for a role whose password is its name."""
    where, name = urlsplit(url), quote(role, safe="")
    return where._replace(netloc=f"{name}:{name}@{where.netloc.rpartition('@')[2]}").geturl()


def test_a_role_that_serves_needs_no_more_than_these(
    postgres_url: str, schema: str, role: str, its_url: str
) -> None:
    ask(postgres_url, schema_sql(schema))
    ask(postgres_url, rights_sql(role, schema))
    later = [0.0]
    with postgres(its_url, schema=schema, offset=lambda: later[0]) as store:
        store.check()
        store.add(new_grant(time.time(), id="one"), 1)
        assert store.add(new_grant(time.time(), id="two"), 1) == ("one",)
        assert store.advance("two", 1, 2, None).advanced
        assert [one.id for one in store.grants("alice")] == ["two"]
        store.use("two")
        store.add(new_grant(time.time(), id="three", subject="bob", label="phone"), 1)
        assert store.end("two", "logout")
        assert store.end_subject("alice", "logout") == ()
        assert set(store.ended(None, RETENTION).grant_ids) == {"one", "two"}
        assert store.admit("key", 1.0)
        later[0] = 10_000
        assert store.purge(time.time() + 10_000) == 6
        mark = store.end_before(None)
        assert mark is not None
        assert store.ended(None, RETENTION).mark == mark
    for table in ("ends", "grants_more"):
        assert ask(postgres_url, f"SELECT count(*) FROM {schema}.{table}") == 0


def test_a_role_that_only_reads_what_ended_can_do_nothing_else(
    postgres_url: str, schema: str, role: str, its_url: str
) -> None:
    with postgres(postgres_url, schema=schema) as store:
        store.add(new_grant(time.time(), id="ended"), 5)
        store.add(new_grant(time.time(), id="living"), 5)
        store.end("ended", "logout")
    ask(postgres_url, rights_sql(role, schema, serve=False))
    # Such a role may well be one that can't write.
    ask(postgres_url, f"ALTER ROLE {role} SET default_transaction_read_only = on")
    with postgres(its_url, schema=schema, serve=False) as store:
        store.check()
        ended = store.ended(None, RETENTION)
        assert ended.grant_ids == ("ended",)
        assert store.ended(ended.cursor, RETENTION).grant_ids == ()
        assert [store.is_living(one) for one in ("living", "ended", "none")] == [True, False, False]
        refused: list[tuple[Any, ...]] = [
            (store.add, new_grant(time.time()), 1),
            (store.advance, "living", 1, 2, None),
            (store.advance, "living", 1, 1, None),
            (store.use, "living"),
            (store.end, "living", "logout"),
            (store.end_subject, "alice", "logout"),
            (store.grants, "alice"),
            (store.end_before, 1.0),
            (store.admit, "key", 1.0),
            (store.purge, 1.0),
        ]
        for verb, *args in refused:
            with pytest.raises(StoreUnavailable, match=r"InsufficientPrivilege|ReadOnly"):
                verb(*args)
        assert store.ended(None, RETENTION).grant_ids == ("ended",), "it goes on"
    ask(postgres_url, f"ALTER ROLE {role} RESET default_transaction_read_only")
    with postgres(its_url, schema=schema, serve=False) as store:
        for verb, *args in refused:
            with pytest.raises(StoreUnavailable, match="InsufficientPrivilege"):
                getattr(store, verb.__name__)(*args)


@pytest.mark.parametrize("serve", [True, False])
def test_each_right_that_is_missing_is_named(
    postgres_url: str, schema: str, role: str, its_url: str, serve: bool
) -> None:
    ask(postgres_url, schema_sql(schema))
    granted = rights_sql(role, schema, serve=serve).splitlines()
    ask(postgres_url, f"REVOKE SELECT ON {schema}.facts FROM PUBLIC")
    for missing in granted:
        ask(postgres_url, "".join(granted))
        revoke = missing.replace("GRANT ", "REVOKE ", 1).replace(" TO ", " FROM ", 1)
        ask(postgres_url, revoke)
        lacks = pytest.raises(ConfigurationError, match="lacks rights")
        with postgres(its_url, schema=schema, serve=serve) as store, lacks as caught:
            store.check()
        assert missing.rstrip(";") in str(caught.value.remedy)
    ask(postgres_url, "".join(granted))
    with postgres(its_url, schema=schema, serve=serve) as store:
        store.check()


def test_who_hears_needs_the_present_schema_and_the_rights_to_it(
    postgres_url: str, schema: str, role: str, its_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    granted = rights_sql(role, schema, serve=False).splitlines()
    with monkeypatch.context() as patch:
        patch.setattr(postgres_schema, "SCHEMA_LEVELS", SCHEMA_LEVELS[:3])
        ask(postgres_url, schema_sql(schema))
    former = [one.replace(", created_at", "") for one in granted]
    ask(postgres_url, "".join(former))
    with postgres(its_url, schema=schema, serve=False) as store:
        with pytest.raises(ConfigurationError, match="isn't up to date") as caught:
            store.check()
        assert caught.value.remedy == "start the service that issues tokens first"
        ask(postgres_url, schema_sql(schema, since=3))
        with pytest.raises(ConfigurationError, match="lacks rights") as caught:
            store.check()
        assert caught.value.remedy == granted[2].rstrip(";")
        ask(postgres_url, granted[2])
        store.check()


def test_who_hears_refuses_a_schema_that_it_can_not_know(
    postgres_url: str, schema: str, role: str, its_url: str
) -> None:
    ask(postgres_url, schema_sql(schema))
    ask(postgres_url, "".join(rights_sql(role, schema, serve=False).splitlines()[:3]))
    ask(postgres_url, f"UPDATE {schema}.version SET number = {len(SCHEMA_LEVELS) + 1}")
    refused = pytest.raises(ConfigurationError, match="newer version of this package")
    with postgres(its_url, schema=schema, serve=False) as store, refused:
        store.check()


def test_a_role_with_the_rights_of_before_may_not_issue_and_each_is_named(
    postgres_url: str, schema: str, role: str, its_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    granted = rights_sql(role, schema).splitlines()
    added = [one for one in granted if any(name in one for name in ADDED)]
    assert len(added) == 4
    with monkeypatch.context() as patch:
        patch.setattr(postgres_schema, "SCHEMA_LEVELS", SCHEMA_LEVELS[:2])
        ask(postgres_url, schema_sql(schema))
    ask(postgres_url, "".join(one for one in granted if one not in added))
    with postgres(its_url, schema=schema) as store:
        with pytest.raises(ConfigurationError, match="may not make it") as caught:
            store.check()
        assert f"grants schema --schema {schema} --since 2" in str(caught.value.remedy)
        ask(postgres_url, schema_sql(schema, since=2))
        with pytest.raises(ConfigurationError, match="lacks rights") as caught:
            store.check()
        assert caught.value.remedy == "; ".join(one.rstrip(";") for one in added)
        ask(postgres_url, "".join(added))
        store.check()


def test_a_role_that_may_not_make_the_schema_says_who_can(schema: str, its_url: str) -> None:
    with postgres(its_url, schema=schema) as store:
        with pytest.raises(ConfigurationError, match="may not make it") as caught:
            store.check()
        command = f"jwt-middleware grants schema --schema {schema} --since 0"
        assert command in str(caught.value.remedy)
        with pytest.raises(StoreUnavailable, match="may not make it"):
            store.grants("alice")


def test_what_the_command_prints_is_enough(
    postgres_url: str, schema: str, capsys: pytest.CaptureFixture[str]
) -> None:
    role = f'{schema} App-"Ann"'  # nearly as odd as a name can be
    exactly = '"{}"'.format(role.replace('"', '""'))
    ask(postgres_url, f"CREATE ROLE {exactly} LOGIN PASSWORD '{role}'")
    try:
        assert main(["grants", "schema", "--schema", schema, "--rights", role]) == 0
        ask(postgres_url, capsys.readouterr().out)
        with postgres(as_role(postgres_url, role), schema=schema) as store:
            store.check()
            assert store.grants("alice") == ()
    finally:
        ask(postgres_url, f"DROP OWNED BY {exactly}")
        ask(postgres_url, f"DROP ROLE {exactly}")


def test_a_schema_that_was_made_for_a_role_is_filled_by_it(
    postgres_url: str, schema: str, role: str, its_url: str
) -> None:
    ask(postgres_url, f"CREATE SCHEMA {schema} AUTHORIZATION {role}")
    with postgres(its_url, schema=schema) as store:
        store.check()
        assert store.grants("alice") == ()


def test_who_only_reads_waits_for_who_makes_the_schema(
    postgres_url: str, schema: str, role: str, its_url: str
) -> None:
    with postgres(its_url, schema=schema, serve=False) as store:
        with pytest.raises(ConfigurationError, match="isn't there") as caught:
            store.check()
        assert "start the service that issues tokens first" in str(caught.value.remedy)


@pytest.mark.parametrize(("role", "serve"), [("app", True), ("reader", False)])
def test_the_docs_name_these_rights(role: str, serve: bool) -> None:
    docs = (ROOT / "docs" / "stores.md").read_text("utf-8")
    for line in rights_sql(role, serve=serve).splitlines():
        assert line.replace('"', "") in docs
