"""The rows of docs/readers.md whose libraries come by `make readers`: what a cell says is run.

Each library gets real tokens, and the key set and metadata that we publish. A cell is `ok`, the
setting that helps, `no`, or empty where the library has no place for such a key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.keys.test_readers import COLUMNS, PAGE
from tests.readers import BESIDE, READ, install, read, served

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("readers")]


DOCS = Path(__file__).parent.parent.parent / "docs"
METADATA = (DOCS / "metadata.md").read_text("utf-8").partition("### Libraries that look for")[2]


class Row(NamedTuple):
    """A row of the table: its readers, and the setting that is made for the second try."""

    language: str
    readers: tuple[str, ...]
    setting: str = ""  # as a cell has it
    note: str = ""  # as the last cell has it, where no cell has: it is needed for all


ROWS = (
    Row("python", ("Authlib, `jose`",)),
    Row("python", ("Authlib, `JWTBearerTokenValidator`",), note="the key set must be joserfc's"),
    Row("python", ("jwcrypto",)),
    Row("python", ("python-jose",)),
    Row("python", ("jwskate",)),
    Row("python", ("Flask-JWT-Extended",), "`JWT_ALGORITHM`"),
    Row("python", ("simplejwt",), note="`TOKEN_TYPE_CLAIM=None`"),
    Row(
        "python",
        ("pyjwt-key-fetcher",),
        note='`config_path="/.well-known/oauth-authorization-server"`',
    ),
    Row("python", ("drf-oidc-auth",)),
    Row("python", ("fastmcp, `JWTVerifier`",), "`algorithm=`"),
    Row("npm", ("jose",)),
    Row("npm", ("oauth4webapi",)),
    Row("npm", ("jsonwebtoken", "express-jwt", "passport-jwt", "koa-jwt")),
    Row("npm", ("fast-jwt", "@fastify/jwt")),
    Row("npm", ("@hapi/jwt",), "PEM"),
    Row("npm", ("fastify-jwt-jwks", "fastify-auth0-verify")),
    Row("npm", ("express-oauth2-jwt-bearer",)),
    Row("npm", ("@okta/jwt-verifier",)),
    Row("npm", ("aws-jwt-verify",)),
    Row("npm", ("hono, `jwt`", "hono, `jwk`"), "`typ`"),
    Row("npm", ("jsrsasign",)),
    Row("npm", ("node-jose",)),
)

# What the last cell says, and of whom.
ARRAY_REFUSED = {"jsrsasign": "refuses an array in `aud`"}
SIGNATURE_ALONE = {"node-jose": "checks the signature alone"}
OLD_LET_IN = {"jwcrypto": '`check_claims` must name `"exp": None`'}  # without that setting
STRICT = {
    "Authlib, `JWTBearerTokenValidator`": "takes `at+jwt` alone",
    "oauth4webapi": "takes `at+jwt` alone",
    "jose": '`typ: "at+jwt"` takes that alone',
    "express-oauth2-jwt-bearer": "`strict: true` takes `at+jwt` alone",
}
# Whether a token of another type is let in, without the setting and with it; else it is as ours.
OTHER_TYPE = {
    "Authlib, `JWTBearerTokenValidator`": (False, False),
    "oauth4webapi": (False, False),
    "jose": (True, False),
    "express-oauth2-jwt-bearer": (True, False),
    "hono, `jwt`": (True, False),
    "hono, `jwk`": (True, False),
}
# How a token of ours by ES256 is refused without the setting: the note, and what came.
REFUSED = {
    "Flask-JWT-Extended": ("answers 500 without the setting", "500 "),
    "fastmcp, `JWTVerifier`": ("by default RS256 alone; else None, without a word", "None"),
}
# The readers that a second key in the set stops: where it stands then, and the algorithms.
SPOILT = {
    "python-jose": ("after",),  # their token's key comes after the other
    "node-jose": ("before", "after"),
}

Said = dict[str, Any]


@pytest.fixture(scope="module")
def ask() -> Generator[Callable[[Row, str], Said]]:
    """Give what a reader says of all tokens; each reader is run once."""
    install()
    with served() as cases:

        @cache
        def asked(language: str, reader: str) -> Said:
            found: Said = read(language, reader, cases)
            return found

        yield lambda row, reader: asked(row.language, reader)


@pytest.fixture(params=ROWS, ids=lambda row: row.readers[0])
def row(request: pytest.FixtureRequest) -> Row:
    found: Row = request.param
    return found


def parts(reader: str) -> tuple[str, str]:
    """Return the package's name, and the part of it that the page names."""
    package, _, part = reader.partition(", ")
    return package, part


def cells_of(row: Row) -> list[str]:
    """Return the cells of a row, from the reader's to the note."""
    package, part = parts(row.readers[0])
    named = rf"{re.escape(package)} \d[^|]*{re.escape(part)}"
    found = re.findall(rf"^\| ({named}.*) \|$", PAGE, re.MULTILINE)
    (line,) = [one for one in found if one.count("|") == 8]
    return [cell.strip() for cell in line.split("|")]


def says(tries: list[Said], token: str = "ours") -> tuple[bool | None, ...]:
    """Return whether each try let the token in; None: the reader has no place for the key."""
    return tuple(
        None if "untried" in one[token] else one[token].get("subject") == "alice" for one in tries
    )


def cell(row: Row, tries: list[Said]) -> str:
    without, made = says(tries)
    if made is None and not without:
        return "" if without is None else "no"
    if without and not row.note:
        return "ok"
    if not made:
        return "no"
    return row.setting or "ok"


def test_a_row_says_what_its_libraries_do(row: Row, ask: Callable[[Row, str], Said]) -> None:
    first, *cells, note = cells_of(row)
    for reader in row.readers:
        for name, version in ask(row, reader)["versions"].items():
            named = re.compile(rf"(?:^|[ ,]){re.escape(parts(name)[0])} (\d[\w.]*)")
            assert named.findall(first) == [version]
            assert set(named.findall(METADATA)) <= {version}
        assert parts(reader)[1] in first
    found = [
        {cell(row, ask(row, reader)["cases"][one]) for reader in row.readers for one in column}
        for column in COLUMNS
    ]
    # A reader of the row that has no place for such a key says nothing about it.
    assert [one - {""} for one in found] == [{text} - {""} for text in cells]
    assert row.note in note


def test_a_note_is_needed(row: Row, ask: Callable[[Row, str], Said]) -> None:
    if not row.note:
        return
    for reader in row.readers:
        tries = [says(one) for one in ask(row, reader)["cases"].values()]
        assert (False, True) in tries
        assert (True, False) not in tries


def test_only_ours_are_let_in(row: Row, ask: Callable[[Row, str], Said]) -> None:
    """Else "ok" would say nothing."""
    for reader in row.readers:
        for tries in ask(row, reader)["cases"].values():
            assert True not in says(tries, "of another key")
            ours = says(tries)
            for other in ("of another audience", "of another issuer", "too old"):
                let_in = says(tries, other)
                if reader in SIGNATURE_ALONE:
                    assert let_in == ours
                elif reader in OLD_LET_IN and other == "too old":
                    assert let_in == (ours[0], False)
                else:
                    assert True not in let_in


def test_an_array_of_audiences(row: Row, ask: Callable[[Row, str], Said]) -> None:
    for reader in row.readers:
        for tries in ask(row, reader)["cases"].values():
            let_in = says(tries, "with an array in aud")
            if reader in ARRAY_REFUSED:
                assert True not in let_in
            else:
                assert let_in == says(tries)


def test_the_type_of_the_token(row: Row, ask: Callable[[Row, str], Said]) -> None:
    for reader in row.readers:
        for tries in ask(row, reader)["cases"].values():
            ours = says(tries)
            if ours[1]:
                assert says(tries, "of typ JWT") == OTHER_TYPE.get(reader, ours)


@pytest.mark.parametrize("notes", [ARRAY_REFUSED, SIGNATURE_ALONE, OLD_LET_IN, STRICT])
def test_what_is_so_is_said(notes: dict[str, str]) -> None:
    for row in ROWS:
        for reader in notes.keys() & set(row.readers):
            assert notes[reader] in cells_of(row)[-1]


def test_hono_says_what_the_page_says(ask: Callable[[Row, str], Said]) -> None:
    (row,) = [one for one in ROWS if one.setting == "`typ`"]
    ((said, way_out),) = re.findall(
        r"^\| hono [^|]*\| `([^`]*)` \| `([^`]*)` \|$", PAGE, re.MULTILINE
    )
    assert way_out == 'verification: { typ: "at+jwt" }'
    for reader in row.readers:
        assert said in ask(row, reader)["cases"]["ES256"][0]["ours"]["says"]


def test_a_refusal_without_the_setting_is_as_the_note_says(
    row: Row, ask: Callable[[Row, str], Said]
) -> None:
    for reader in REFUSED.keys() & set(row.readers):
        note, said = REFUSED[reader]
        assert note in cells_of(row)[-1]
        assert ask(row, reader)["cases"]["ES256"][0]["ours"]["says"].startswith(said)


def test_one_kind_of_key(row: Row, ask: Callable[[Row, str], Said]) -> None:
    """A key that the reader doesn't need changes nothing, or spoils the set."""
    section = PAGE[PAGE.index("## One kind of key") :]
    for reader in row.readers:
        found = ask(row, reader)
        cases = found["cases"]
        for one, where, other in product(READ, ("before", "after"), BESIDE):
            alone, beside = says(cases[one]), says(cases[f"{one} {where} {other}"])
            if where in SPOILT.get(reader, ()):
                assert (alone, beside) == ((True, True), (False, False))
            else:  # a PEM, a way of its own of one try or both, has one key
                for with_both, with_one in zip(beside, alone, strict=True):
                    assert with_both in (None, with_one), (one, where, other)
        if reader in SPOILT:
            assert f"{reader} {found['versions'][reader]}" in section
