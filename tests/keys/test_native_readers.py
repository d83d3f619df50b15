"""The rows of docs/readers.md that aren't Python's or Node's: what a cell says is what happens.

The versions are those of Debian 12; Envoy's is that of a wheel. Another version fails here: run
what has changed, and change the page.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from typing import NamedTuple

import pytest

from tests.keys.native import Issuer, Reader, Refused
from tests.keys.native.programs import command, program
from tests.keys.native.servers import (
    ENVOY,
    dovecot,
    envoy,
    haproxy,
    mod_auth_openidc,
    mod_oauth2,
    njs,
)
from tests.keys.test_readers import COLUMNS, PAGE

pytestmark = pytest.mark.long


class Row(NamedTuple):
    """What is run for a reader of the page.

    Each way to run it has a name: what stands in the cell of an algorithm that needs this way.
    """

    ways: dict[str, Reader]
    packages: tuple[str, ...]  # what it needs of Debian; the version of the first is the page's


# The program in Go, and that in Ruby, import all libraries of their language.
GO = {
    "golang-jwt": "golang-github-golang-jwt-jwt-dev",
    "go-jose.v2": "golang-gopkg-square-go-jose.v2-dev",
    "dgrijalva/jwt-go": "golang-github-dgrijalva-jwt-go-dev",
    "jose2go": "golang-github-dvsekhvalnov-jose2go-dev",
    "coreos/go-oidc": "golang-github-coreos-go-oidc-dev",
}
RUBY = {"ruby-jwt": "ruby-jwt", "json-jwt": "ruby-json-jwt"}


def row(reader: Reader, *packages: str, **ways: Reader) -> Row:
    return Row({"ok": reader} | {f"`{name}`": way for name, way in ways.items()}, packages)


def go(name: str, **ways: Reader) -> Row:
    return row(program(name, "reader.go"), GO[name], *GO.values(), "golang-go", **ways)


def ruby(name: str) -> Row:
    return row(program("ruby", name, "reader.rb"), RUBY[name], *RUBY.values(), "ruby")


def perl(name: str, package: str) -> Row:
    return row(program("perl", name, "reader.pl"), package)


JOSE = command("jose", "jws", "ver", "-i", "-", "-k", "KEYS", "-O", "-")
RNBYC = command("rnbyc", "-t", "TOKEN", "-P", "KEYS", says="Token signature verified")
ROWS = {
    "jose": row(JOSE, "jose"),
    "libcjose": row(program("libcjose.c"), "libcjose-dev", "gcc"),
    "rnbyc": row(RNBYC, "rnbyc"),
    "libjwt": row(program("libjwt.c"), "libjwt-dev", "gcc"),
    "cpp-jwt": row(program("cpp_jwt.cpp"), "libcpp-jwt-dev", "libssl-dev", "g++"),
    "Dovecot": row(dovecot, "dovecot-imapd", "dovecot-core"),
    "ruby-jwt": ruby("ruby-jwt"),
    "json-jwt": ruby("json-jwt"),
    "Crypt::JWT": perl("Crypt::JWT", "libcrypt-jwt-perl"),
    "Mojo::JWT": perl("Mojo::JWT", "libmojo-jwt-perl"),
    "golang-jwt": go("golang-jwt"),
    "go-jose.v2": go("go-jose.v2"),
    "dgrijalva/jwt-go": go("dgrijalva/jwt-go"),
    "jose2go": go("jose2go"),
    "coreos/go-oidc": go(
        "coreos/go-oidc", SupportedSigningAlgs=program("SupportedSigningAlgs", "reader.go")
    ),
    "Rust's jsonwebtoken": row(program("jsonwebtoken"), "librust-jsonwebtoken-dev", "cargo"),
    "HAProxy": row(haproxy, "haproxy"),
    "mod_auth_openidc": row(
        mod_auth_openidc(),
        "libapache2-mod-auth-openidc",
        "apache2",
        **{"plain#KID#secret": mod_auth_openidc(shared=True)},
    ),
    "mod_oauth2": row(mod_oauth2(), "libapache2-mod-oauth2", "apache2"),
    "njs": Row(
        {"ok": njs(as_pem=False), "PEM": njs(as_pem=True)}, ("libnginx-mod-http-js", "nginx")
    ),
    "Envoy": row(envoy()),
}
# These are given a set; the others get the one key of a token.
OF_SETS = ROWS.keys() - {
    *("libcjose", "libjwt", "cpp-jwt", "Mojo::JWT", "golang-jwt", "dgrijalva/jwt-go", "jose2go"),
    *("HAProxy", "njs", "Dovecot"),
}


def readers(names: Iterable[str]) -> pytest.MarkDecorator:
    """Run a test for each of these readers; each is compiled by one process."""
    params = [pytest.param(one, marks=pytest.mark.xdist_group(one)) for one in sorted(names)]
    return pytest.mark.parametrize("name", params)


# All verify signatures. What else they let in stands in the last cell of the row, in these words.
LETS_IN = {
    "checks neither `exp` nor `aud`": {"late", "elsewhere"},
    "`aud` is unchecked": {"elsewhere"},
}
FAILS_FOR_AN_ARRAY = "fails for an array"


def installed(package: str) -> str:
    """Return the version of a Debian package as its authors count; nothing: it isn't there."""
    if shutil.which("dpkg-query") is None:
        return ""
    said = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Version}", package],
        capture_output=True,
        text=True,
        check=False,
    )
    status, _, version = said.stdout.partition(" ")
    return re.sub(r"^\d+:|[+~-].*$", "", version) if status == "installed" else ""


def version_here(name: str) -> str:
    """Return the version that is here; where there is none, the test is skipped, loudly."""
    packages = ROWS[name].packages
    if not packages:
        assert shutil.which(ENVOY), "make matrix"
        said = subprocess.run([ENVOY, "--version"], capture_output=True, text=True, check=True)
        return str(re.findall(r"/(\d+\.\d+\.\d+)/", said.stdout)[0])
    if missing := [one for one in packages if not installed(one)]:
        pytest.skip(f"no {name} here: apt-get install {' '.join(missing)}")
    return installed(packages[0])


def cells_of(name: str, table: str = PAGE) -> list[str]:
    """Return the cells of the first row of the page that names a reader in the version here."""
    called = rf"(?<![\w/]){re.escape(name)} {re.escape(version_here(name))}(?![\w.])"
    rows = re.findall(rf"^\| ([^|]*{called}[^|]* \|.*) \|$", table, re.MULTILINE)
    assert rows, f"the page has another version of {name} than {version_here(name)}"
    return [cell.strip() for cell in rows[0].split("|")]


def accepted(reader: Reader, issuer: Issuer) -> set[str]:
    """Return which of an issuer's tokens a reader accepts; none: it doesn't start."""
    try:
        verdicts = reader(issuer)
    except Refused:
        return set()
    assert set(verdicts.values()) <= {"alice", None}
    return {token for token, subject in verdicts.items() if subject}


def outcome(ways: dict[str, Reader], algorithm: str, lets_in: set[str]) -> str:
    """Return what stands in the cell of an algorithm."""
    for cell, reader in ways.items():
        if found := accepted(reader, Issuer(algorithm)):
            assert found == lets_in, f"{algorithm}, {cell}"
            return cell
    return "no"


@readers(ROWS)
def test_a_row_says_what_its_reader_does(name: str) -> None:
    _, *cells, known = cells_of(name)
    lets_in = {"good", "array"} - ({"array"} if FAILS_FOR_AN_ARRAY in known else set())
    lets_in = lets_in.union(*(more for words, more in LETS_IN.items() if words in known))
    found = [{outcome(ROWS[name].ways, one, lets_in) for one in column} for column in COLUMNS]
    partly = {"ES384 alone": {"ok", "no"}}
    assert found == [partly.get(cell, {cell}) for cell in cells]


WORDS = {"libjwt": ("EINVAL", os.strerror(errno.EINVAL)), "cpp-jwt": ("type mismatch",) * 2}
WORDS |= {"Dovecot": ("Cannot find 'typ' field",) * 2}


@readers(WORDS)
@pytest.mark.parametrize("algorithm", ["ES256", "HS256"])
def test_who_refuses_the_type_would_take_another(name: str, algorithm: str) -> None:
    """The same token, but for its type: so that is what the table of types has it for."""
    cells = cells_of(name, PAGE.partition("## The type of the token")[2])
    reader, issuer = ROWS[name].ways["ok"], Issuer(algorithm)
    assert accepted(reader, issuer) == set()
    assert (cells[1].strip("`"), set(issuer.heard)) == (WORDS[name][0], {WORDS[name][1]})
    found = accepted(reader, Issuer(algorithm, typ="JWT"))
    assert "good" in found
    assert "forged" not in found


@readers(OF_SETS)
@pytest.mark.parametrize("beside", ["Ed25519", "EdDSA"])
def test_a_second_kind_of_key_spoils_one_set(name: str, beside: str) -> None:
    version = version_here(name)
    reader = (
        list(ROWS[name].ways.values())[-1] if name == "coreos/go-oidc" else ROWS[name].ways["ok"]
    )
    found = accepted(reader, Issuer("ES256", beside=beside))
    if (name, beside) != ("Rust's jsonwebtoken", "Ed25519"):
        assert "good" in found
        return
    assert found == set()
    assert f"jsonwebtoken {version} where one says `Ed25519`" in " ".join(PAGE.split())


def test_envoy_doesnt_start_if_it_can_use_no_key_of_its_configuration() -> None:
    rule = "leaves such a key alone, and doesn't start where `local_jwks` has no other."
    assert f"Envoy {version_here('Envoy')} {rule}" in " ".join(PAGE.split())
    reader = envoy(local=True)
    for beside in ("", "EdDSA", "Ed25519"):
        assert "good" in accepted(reader, Issuer("ES256", beside=beside))
    with pytest.raises(Refused, match="has invalid local jwks"):
        reader(Issuer("Ed25519"))


@pytest.mark.parametrize(
    ("name", "module", "rule"),
    [
        ("mod_auth_openidc", mod_auth_openidc, "Require claim aud:"),
        ("mod_oauth2", mod_oauth2, "Require oauth2_claim aud:"),
    ],
)
def test_apache_checks_the_audience_if_told(
    name: str, module: Callable[..., Reader], rule: str
) -> None:
    assert f"`{rule}`" in cells_of(name)[-1]
    issuer = Issuer("ES256")
    reader = module(require=rule + issuer.factory.audience)
    assert accepted(reader, issuer) == {"good", "array"}
