"""Readers that are programs, or libraries with a small program of ours around each."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tests.waiting import PATIENCE

from . import HERE, Issuer, Reader, Verdicts

# Where Debian has the packages of Go; and a build without what a debugger needs.
BUILD = {"GO111MODULE": "off", "GOFLAGS": "", "GOPATH": "/usr/share/gocode"}
BUILD |= {"CARGO_PROFILE_DEV_DEBUG": "0"}
CRATES = """
[source.crates-io]
replace-with = "debian"
[source.debian]
directory = "/usr/share/cargo/registry"
"""
# What makes a program of a source in this folder, with the libraries of Debian.
COMPILERS = {
    "libjwt.c": ("gcc", "-o", "OUT", "SOURCE", "-ljwt"),
    "libcjose.c": ("gcc", "-o", "OUT", "SOURCE", "-lcjose"),
    "cpp_jwt.cpp": ("g++", "-w", "-o", "OUT", "SOURCE", "-lcrypto"),
    "reader.go": ("go", "build", "-o", "OUT", "SOURCE"),
    "jsonwebtoken": ("cargo", "build", "--offline", "--quiet", "--target-dir", "OUT"),
}


def program(*command: str) -> Reader:
    """Return a reader that is a program; the last word is a source in this folder.

    It is called once, with what it has to know and the tokens, and prints a line about each.
    """

    def read(issuer: Issuer) -> Verdicts:
        *words, source = command
        tokens = issuer.tokens()
        known = issuer.algorithm, issuer.factory.issuer, issuer.factory.audience
        with issuer.folder() as folder:
            before, after = _called(words, source)
            said = _run([*before, *after, str(folder), *known, *tokens.values()])
        assert said.returncode == 0, said.stderr
        lines = said.stdout.splitlines()
        issuer.heard += [line.removeprefix("no ") for line in lines if line.startswith("no ")]
        return dict(zip(tokens, map(_subject, lines), strict=True))

    return read


def _called(words: list[str], source: str) -> tuple[list[str], list[str]]:
    """Return how a program begins: `ruby FILE LIBRARY`, or `PROGRAM LIBRARY`."""
    if source in COMPILERS:
        return [str(_compiled(source))], words
    return [words[0], str(HERE / source)], words[1:]


def _run(words: Sequence[str], **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        env=os.environ | more,
        capture_output=True,
        text=True,
        check=False,
        timeout=10 * PATIENCE,
    )


def _subject(line: str) -> str | None:
    verdict, _, rest = line.partition(" ")
    assert verdict in {"ok", "no"}, line
    if verdict == "no":
        return None
    return str(json.loads(rest)["sub"]) if rest.startswith("{") else rest


@cache
def _made() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()  # until this process ends


@cache
def _compiled(source: str) -> Path:
    folder = Path(_made().name)
    out, source_path = folder / Path(source).stem, HERE / source
    words = [{"OUT": str(out), "SOURCE": str(source_path)}.get(w, w) for w in COMPILERS[source]]
    if source == "jsonwebtoken":
        # Cargo writes beside what it builds.
        shutil.copytree(source_path, folder / "crate")
        (folder / "crates.toml").write_text(CRATES)
        manifest = str(folder / "crate" / "Cargo.toml")
        words += ["--manifest-path", manifest, "--config", str(folder / "crates.toml")]
        out = out / "debug" / "reader"
    said = _run(words, **BUILD)
    assert said.returncode == 0, said.stderr
    return out


def command(*words: str, says: str = "") -> Reader:
    """Return a reader that is a command, called for each token.

    TOKEN stands for the token, which is on its standard input, too, KEYS for the file of the set.
    What it `says` of a good token stands before the claims.
    """

    def read(issuer: Issuer) -> Verdicts:
        with issuer.folder() as folder:
            return {
                name: _by_command(words, says, {"TOKEN": token, "KEYS": str(folder / "keys.jwks")})
                for name, token in issuer.tokens().items()
            }

    return read


def _by_command(words: Sequence[str], says: str, values: dict[str, str]) -> str | None:
    said = subprocess.run(
        [values.get(word, word) for word in words],
        input=values["TOKEN"],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.fullmatch(rf"{says}\s*(\{{.*\}})\s*", said.stdout, re.DOTALL)
    return str(json.loads(found[1])["sub"]) if found and not said.returncode else None
